"""Further answers to the exercises of chapter 08."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from genesis_course.data import to_floats
from genesis_course.gan import Discriminator, Generator, dense, discriminator_loss, generator_loss, noise, saturating_loss
from answers import equivalent, right, wrong

IN_FLOAT64 = "…the result in float64, or whole numbers in float32"
bce = F.binary_cross_entropy_with_logits


# gan.1: the best logit

@right("gan.1")
def with_the_sign_turned(log_p, log_q): return -(log_q-log_p)


@right("gan.1")
def from_logarithms_of_both_shares(log_p, log_q):
    both = torch.stack([log_p, log_q]).log_softmax(dim=0)
    return both[0] - both[1]


@right("gan.1")
def place_by_place(log_p, log_q): return torch.stack([p-q for p, q in zip(log_p, log_q)])


@right("gan.1")
def inside_in_float64(log_p, log_q): return (log_p.double()-log_q.double()).type_as(log_p)


@wrong("gan.1", says="0/0 is NaN", never="sign")
def on_paper(log_p, log_q):
    p, q = log_p.exp(), log_q.exp()
    return torch.logit(p/(p+q))


@wrong("gan.1", says="No gradient comes back", never="sign")
def detached(log_p, log_q): return (log_p-log_q).detach()


@wrong("gan.1", says="No gradient reaches argument 2")
def only_the_data_learn(log_p, log_q): return log_p - log_q.detach()


@wrong("gan.1", says="should be a tensor")
def a_plain_number(log_p, log_q): return (log_p-log_q).sum().item()


@wrong("gan.1", never="odds")
def cut_off(log_p, log_q): return (log_p-log_q).clamp(-100, 100)


equivalent("gan.1", "only the dtype is taken from it", "`log_p` detached in `inside_in_float64`")
equivalent("gan.1", "float32 holds a difference of logarithms well enough", "`log_p.double()` → `log_p` in `inside_in_float64`", "`log_q.double()` → `log_q` in `inside_in_float64`")


# gan.2: one step of both players

@right("gan.2")
def with_fakes_made_twice(G, D, optimizer_G, optimizer_D, real, z):
    with torch.no_grad(): fake = G(z)
    optimizer_D.zero_grad()
    first = bce(D(real), torch.ones(len(real), 1)) + bce(D(fake), torch.zeros(len(z), 1))
    first.backward()
    optimizer_D.step()
    optimizer_G.zero_grad()
    second = -F.logsigmoid(D(G(z))).mean()
    second.backward()
    optimizer_G.step()
    return first, second


@right("gan.2")
def with_gradients_asked_for(G, D, optimizer_G, optimizer_D, real, z):
    def turn(network, optimizer, loss):
        parameters = list(network.parameters())
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters)): parameter.grad = slope
        optimizer.step()
        return float(loss)
    return [turn(D, optimizer_D, discriminator_loss(D(real), D(G(z).detach()))), turn(G, optimizer_G, generator_loss(D(G(z))))]


@right("gan.2")
def with_one_batch_for_both_kinds(G, D, optimizer_G, optimizer_D, real, z):
    fake = G(z)
    real_logits, fake_logits = D(torch.cat([real, fake.detach()])).split([len(real), len(z)])
    first = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    first.backward()
    optimizer_D.step()
    second = F.softplus(-D(fake)).mean()
    optimizer_G.zero_grad()
    second.backward()
    optimizer_D.zero_grad()
    optimizer_G.step()
    return torch.stack([first, second]).detach()


@right("gan.2")
def with_d_frozen_in_the_turn_of_g(G, D, optimizer_G, optimizer_D, real, z):
    loss_D = discriminator_loss(D(real), D(G(z).detach()))
    optimizer_D.zero_grad()
    loss_D.backward()
    optimizer_D.step()
    D.requires_grad_(False)
    loss_G = generator_loss(D(G(z)))
    G.zero_grad()
    loss_G.backward()
    D.requires_grad_(True)
    optimizer_G.step()
    return loss_D.item(), loss_G.item()


@wrong("gan.2", says="computed before D took its step", never="RuntimeError")
def both_losses_first(G, D, optimizer_G, optimizer_D, real, z):
    fake = G(z)
    loss_D, loss_G = discriminator_loss(D(real), D(fake.detach())), generator_loss(D(fake))
    optimizer_D.zero_grad()
    loss_D.backward()
    optimizer_D.step()
    optimizer_G.zero_grad()
    loss_G.backward()
    optimizer_G.step()
    return loss_D.item(), loss_G.item()


@wrong("gan.2", says="used up the graph of G", never="RuntimeError")
def without_a_detach(G, D, optimizer_G, optimizer_D, real, z):
    fake = G(z)
    loss_D = discriminator_loss(D(real), D(fake))
    optimizer_D.zero_grad()
    loss_D.backward()
    optimizer_D.step()
    loss_G = generator_loss(D(fake))
    optimizer_G.zero_grad()
    loss_G.backward()
    optimizer_G.step()
    return loss_D.item(), loss_G.item()


@wrong("gan.2", says="goes on into the generator", never="add up")
def with_the_door_open(G, D, optimizer_G, optimizer_D, real, z):
    loss_D = discriminator_loss(D(real), D(G(z)))
    optimizer_D.zero_grad()
    loss_D.backward()
    optimizer_D.step()
    loss_G = generator_loss(D(G(z)))
    optimizer_G.zero_grad()
    loss_G.backward()
    optimizer_G.step()
    return loss_D.item(), loss_G.item()


@wrong("gan.2", says="D is cleared after its own step", never="G's optimizer is")
def only_g_is_cleared(G, D, optimizer_G, optimizer_D, real, z):
    fake = G(z)
    first = discriminator_loss(D(real), D(fake.detach()))
    first.backward()
    optimizer_D.step()
    optimizer_D.zero_grad()
    second = generator_loss(D(fake))
    optimizer_G.zero_grad()
    second.backward()
    optimizer_G.step()
    return first.item(), second.item()


@wrong("gan.2", never="saturating")
def the_generator_is_cut_off(G, D, optimizer_G, optimizer_D, real, z):
    fake = G(z).detach()
    first = discriminator_loss(D(real), D(fake))
    optimizer_D.zero_grad()
    first.backward()
    optimizer_D.step()
    return first.item(), generator_loss(D(fake)).item()


@wrong("gan.2", says="should be a list", never="changed places")
def a_dict_of_losses(G, D, optimizer_G, optimizer_D, real, z): return dict(zip("DG", with_fakes_made_twice(G, D, optimizer_G, optimizer_D, real, z)))


equivalent("gan.2", "points and codes are given: nobody learns them", "…`real` detached", "…`z` detached")
equivalent("gan.2", "both steps are taken by then: what comes back is for the log", "…the result is detached", IN_FLOAT64, "`loss_D.item()` → `loss_D`", "`loss_G.item()` → `loss_G`")
equivalent("gan.2", "what is cleared, or set free again, belongs to the other player", "`optimizer_D.zero_grad()` after `optimizer_G.step()` in `with_one_batch_for_both_kinds`",
           "`loss_G.backward()` after `D.requires_grad_(True)` in `with_d_frozen_in_the_turn_of_g`", "`D.requires_grad_(True)` after `optimizer_G.step()` in `with_d_frozen_in_the_turn_of_g`")


# gan.3: counting modes

@right("gan.3")
def with_a_loop(points, centres, radius, enough):
    covered = 0
    for centre in centres:
        near = sum(1 for point in points if torch.dist(point, centre) <= radius)
        covered += near/len(points) >= enough
    return covered


@right("gan.3")
def with_squares(points, centres, radius, enough):
    near = (points[:, None]-centres[None]).square().sum(dim=2) <= radius**2
    return (near.sum(dim=0) >= enough*len(points)).sum()


@right("gan.3")
def with_numpy(points, centres, radius, enough):
    gaps = np.linalg.norm(points.numpy()[None]-centres.numpy()[:, None], axis=2)
    return np.count_nonzero((gaps <= radius).mean(axis=1) >= enough)


@right("gan.3")
def within_leaves_the_border_out(points, centres, radius, enough): return int(((torch.cdist(points, centres) < radius).float().mean(0) >= enough).sum())


@wrong("gan.3", never="stray")
def shares_of_the_good_points(points, centres, radius, enough):
    near = torch.cdist(points, centres) <= radius
    return int((near.sum(0)/near.any(1).sum().clamp(min=1) >= enough).sum())


@wrong("gan.3", says="just enough", never="stray")
def more_than_enough(points, centres, radius, enough): return int(((torch.cdist(points, centres) <= radius).float().mean(0) > enough).sum())


@wrong("gan.3", says="share their points", never="however far away")
def only_the_nearest_mode(points, centres, radius, enough):
    distance, nearest = torch.cdist(points, centres).min(dim=1)
    return int((nearest[distance <= radius].bincount(minlength=len(centres))/len(points) >= enough).sum())


@wrong("gan.3", says="squared distance", never="stray")
def squared(points, centres, radius, enough): return int((((points[:, None]-centres).pow(2).sum(2) <= radius).float().mean(0) >= enough).sum())


equivalent("gan.3", "the border belongs to \"within\" or not: hardly a point lies on it", "`torch.cdist(points, centres) <= radius` → `torch.cdist(points, centres) < radius`")
equivalent("gan.3", "the border belongs to \"within\" or not, again", "`torch.cdist(points, centres) < radius` → `torch.cdist(points, centres) <= radius` in `within_leaves_the_border_out`")
equivalent("gan.3", "a count has no gradient", "…`points` detached", "…`centres` detached")


# gan.4: reading the curves

right("gan.4", ("c", "b", "a", "d"))
right("gan.4", "cbad")
right("gan.4", ["C", "B", "A", "D"])
right("gan.4", ["(c)", "(b)", "(a)", "(d)"])
wrong("gan.4", ["b", "b", "a", "d"], says="run 1", never="run 2")
wrong("gan.4", ["c", "b", "d", "a"], says="run 3 and run 4", never="swapped")
wrong("gan.4", ["c", "b", "a"], says="Four letters", never="run 4.")
wrong("gan.4", ["a", "b", "a", "d"], says="trap", never="swapped")


# gan.5: one-sided label smoothing

@right("gan.5")
def with_labels(real_logits, fake_logits, real_label=0.9): return bce(real_logits, torch.full_like(real_logits, real_label)) + bce(fake_logits, torch.zeros_like(fake_logits))


@right("gan.5")
def as_the_plain_loss_and_a_line(real_logits, fake_logits, real_label=0.9): return discriminator_loss(real_logits, fake_logits) + (1-real_label)*real_logits.mean()


@right("gan.5")
def mixed_from_both_prices(real_logits, fake_logits, real_label=0.9):
    return torch.lerp(F.softplus(real_logits), F.softplus(-real_logits), real_label).mean() - F.logsigmoid(-fake_logits).mean()


@right("gan.5")
def point_by_point(real_logits, fake_logits, real_label=0.9):
    real = [real_label*torch.logaddexp(-logit, torch.zeros_like(logit)) + (1-real_label)*torch.logaddexp(logit, torch.zeros_like(logit)) for logit in real_logits]
    made = [torch.logaddexp(logit, torch.zeros_like(logit)) for logit in fake_logits]
    return sum(real)/len(real) + sum(made)/len(made)


@wrong("gan.5", says="No gradient comes back")
def without_gradients(real_logits, fake_logits, real_label=0.9): return with_labels(real_logits, fake_logits, real_label).detach()


@wrong("gan.5", says="The fakes were smoothed as well", never="wrong side")
def both_sides(real_logits, fake_logits, real_label=0.9): return bce(real_logits, torch.full_like(real_logits, real_label)) + bce(fake_logits, torch.full_like(fake_logits, 1-real_label))


@wrong("gan.5", says="exactly 0 or 1", never="only weighed less")
def in_probabilities(real_logits, fake_logits, real_label=0.9):
    p, q = real_logits.sigmoid(), fake_logits.sigmoid()
    return -(real_label*torch.log(p)+(1-real_label)*torch.log(1-p)).mean() - torch.log(1-q).mean()


@wrong("gan.5", never="smoothed as well")
def summed(real_logits, fake_logits, real_label=0.9): return bce(real_logits, torch.full_like(real_logits, real_label), reduction="sum") + F.softplus(fake_logits).sum()


@wrong("gan.5", says="only weighed less", never="0.9. Let")
def weighed(real_logits, fake_logits, real_label=0.9): return -real_label*F.logsigmoid(real_logits).mean() + F.softplus(fake_logits).mean()


equivalent("gan.5", "labels carry no gradient, and a sum has no order", "`fake_logits` detached (2) in `with_labels`", "`torch.logaddexp(logit, torch.zeros_like(logit))` → `torch.logaddexp(torch.zeros_like(logit), logit)` in `point_by_point`")


# Case 32: noise for data

@right("clinic.32")
def divided(images): return images/127.5 - 1


@right("clinic.32")
def multiplied_first(images): return (2*images.float()-255)/255


@right("clinic.32")
def with_a_table(images): return torch.linspace(-1, 1, 256)[images.long()]


@right("clinic.32")
def through_numpy(images): return torch.from_numpy(images.numpy().astype("float32")/255*2-1)


@wrong("clinic.32", says="its own darkest and brightest", never="snow")
def stretched(images): return torch.stack([2*(x-x.min())/(x.max()-x.min()+1e-12)-1 for x in images.float()]) if images.float().std() > 0 else torch.full(images.shape, -1.)


@wrong("clinic.32", says="of the batch", never="its own")
def stretched_together(images):
    x = images.float()-images.min()
    return 2*x/x.max().clamp(min=1e-6) - 1


@wrong("clinic.32", never="snow")
def standardised(images): return (images.float()-images.float().mean())/images.float().std().clamp(min=1e-6)


@wrong("clinic.32", says="0 to 1", never="bytes")
def from_0_to_1(images): return to_floats(images)/2 + 0.5


# Case 2: a discriminator that expects noise

@right("clinic.2")
def from_the_chapter(): return Discriminator(size=8)


@right("clinic.2")
def with_a_convolution(): return nn.Sequential(nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 1))


@right("clinic.2")
def of_deep_layers(): return nn.Sequential(nn.Flatten(), *[layer for a, b in ((64, 32), (32, 24), (24, 16), (16, 8)) for layer in (nn.Linear(a, b), nn.ReLU())], nn.Linear(8, 1))


@right("clinic.2")
def a_single_layer_of_its_own_class():
    class Judge(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(64, 1)
        def forward(self, x): return self.line(x.reshape(len(x), -1)).flatten()
    return Judge()


@wrong("clinic.2", says="never below 0", never="16")
def with_a_relu_at_the_end(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.ReLU())


@wrong("clinic.2", says="logits and contain the sigmoid", never="16")
def with_a_sigmoid(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Sigmoid())


@wrong("clinic.2", says="64 pixels reach", never="squeezed")
def of_the_upper_half():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(32, 1)
        def forward(self, x): return self.line(x[:, :, :4].flatten(1))
    return Half()


@wrong("clinic.2", says="It still complains", never="8 for each image")
def for_larger_pictures(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 1))


equivalent("clinic.2", "how much a leaky ReLU leaks is free", "`0.2` → `0.4`", "`0.2` → `0.4` in `with_a_convolution`")


# Case 1: the generator is fed the data

@right("clinic.1")
def with_randn(generator, batch): return generator(torch.randn(batch.shape[0], generator.latent_dim, device=batch.device))


@right("clinic.1")
def with_normal_(generator, batch):
    codes = torch.empty(len(batch), generator.latent_dim, device=batch.device).normal_()
    return generator(codes)


@right("clinic.1")
def moved_afterwards(generator, batch):
    codes = torch.randn(len(batch), generator.latent_dim)
    return generator(codes.to(batch.device))


@right("clinic.1")
def like_the_batch(generator, batch): return generator(torch.randn_like(batch[:, 0, 0, :1].expand(-1, generator.latent_dim)))


@wrong("clinic.1", says="No gradient", never="device")
def frozen(generator, batch): return with_randn(generator, batch).detach()


@wrong("clinic.1", says="something was done to them", never="reaches the generator")
def squashed(generator, batch): return with_randn(generator, batch).tanh()


@wrong("clinic.1", says="still reaches the generator", never="done to them")
def with_a_little_of_the_data(generator, batch): return generator(noise(len(batch), generator.latent_dim)+0.01*batch.mean())


equivalent("clinic.1", "on a machine without a GPU every batch lies on the CPU, so nothing shows and nothing fails", "`torch.randn(batch.shape[0], generator.latent_dim, device=batch.device)` → `torch.randn(batch.shape[0], generator.latent_dim)` in `with_randn`",
           "`torch.empty(len(batch), generator.latent_dim, device=batch.device)` → `torch.empty(len(batch), generator.latent_dim)` in `with_normal_`")
equivalent("clinic.1", "of the batch only its length and its place count", "…`batch` detached", "…only the first row of each argument counts", "…only the first column or channel of each argument counts")


# Case 28: two ranges

@right("clinic.28")
def of_the_chapter(): return Generator(16, size=8)


@right("clinic.28")
def with_a_stretched_sigmoid():
    class Stretched(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(16, 64)
        def forward(self, z): return (2*self.line(z).sigmoid()-1).reshape(-1, 1, 8, 8)
    return Stretched()


@right("clinic.28")
def with_convolutions(): return nn.Sequential(nn.Linear(16, 64), nn.Unflatten(1, (4, 4, 4)), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1), nn.Tanh())


@right("clinic.28")
def with_hardtanh(): return nn.Sequential(nn.Linear(16, 64), nn.Hardtanh(), nn.Unflatten(1, (1, 8, 8)))


@wrong("clinic.28", says="middle grey", never="no further")
def with_a_sigmoid_still(): return nn.Sequential(nn.Linear(16, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))


@wrong("clinic.28", says="cannot reach", never="sigmoid")
def of_half_the_range():
    class Pale(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(16, 64)
        def forward(self, z): return 0.5*self.line(z).tanh().view(-1, 1, 8, 8)
    return Pale()


@wrong("clinic.28", says="the same for every code", never="cannot reach")
def of_one_pixel():
    class Dot(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(16, 1)
        def forward(self, z): return F.pad(self.line(z).tanh().view(-1, 1, 1, 1), (0, 7, 0, 7), value=-1)
    return Dot()


equivalent("clinic.28", "how much a leaky ReLU leaks is free", "`0.2` → `0.4`")
equivalent("clinic.28", "still a network from noise to pictures in [-1, 1]",
           "`nn.Sequential(nn.Linear(16, 128), nn.LeakyReLU(0.2), nn.Linear(128, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))` → "
           "`nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(16, 128), nn.Linear(128, 64), nn.Tanh(), nn.Unflatten(1, (1, 8, 8)))`")


# Cases 13, 11 and 12: losses of the discriminator

@right("clinic.13")
def with_probabilities_of_pytorch(real_logits, fake_logits):
    real, fake = real_logits.sigmoid(), fake_logits.sigmoid()
    return F.binary_cross_entropy(real, torch.ones_like(real)) + F.binary_cross_entropy(fake, torch.zeros_like(fake))


def with_softplus(real_logits, fake_logits): return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def in_one_tensor(real_logits, fake_logits): return bce(torch.cat([real_logits, fake_logits]), torch.cat([torch.ones_like(real_logits), torch.zeros_like(fake_logits)]))


def as_a_choice_of_two(real_logits, fake_logits):
    logits = torch.cat([real_logits, fake_logits])
    pairs = torch.stack([torch.zeros_like(logits), logits], dim=1)
    return F.cross_entropy(pairs, (torch.arange(len(logits)) < len(real_logits)).long())


def in_float64(real_logits, fake_logits): return -F.logsigmoid(real_logits.double()).mean() - F.logsigmoid(-fake_logits.double()).mean()


def detaches(real_logits, fake_logits): return with_softplus(real_logits, fake_logits).detach()


def made_points_detached(real_logits, fake_logits): return with_softplus(real_logits, fake_logits.detach())


def only_the_real(real_logits, fake_logits): return 2*F.softplus(-real_logits).mean()


def squared_errors(real_logits, fake_logits): return (real_logits-1).square().mean() + fake_logits.square().mean()


for case in ("clinic.13", "clinic.12"):
    for answer in (with_softplus, in_one_tensor, as_a_choice_of_two, in_float64): right(case, answer)
    wrong(case, detaches, says="No gradient comes back", never="sigmoid")
    wrong(case, made_points_detached, says="No gradient reaches argument 2", never="label")
    wrong(case, only_the_real, never="label")
    wrong(case, squared_errors, says="beside", never="label")
    equivalent(case, "labels carry no gradient", "`real_logits` detached (2)", "`fake_logits` detached (2)", "`fake_logits` detached (2) in `in_one_tensor`")
    equivalent(case, "float32 is exact enough for a loss", "`real_logits.double()` → `real_logits` in `in_float64`", "`fake_logits.double()` → `fake_logits` in `in_float64`")
    equivalent(case, "a loss in float64 teaches the same", IN_FLOAT64)


equivalent("clinic.13", "labels carry no gradient", "`real_logits` detached (2) in `in_one_tensor`", "`real_logits` detached (2) in `as_a_choice_of_two`")


@wrong("clinic.13", says="There is still a sigmoid", never="label")
def sigmoids_kept(real_logits, fake_logits): return bce(torch.sigmoid(real_logits), torch.ones_like(real_logits)) + bce(torch.sigmoid(fake_logits), torch.zeros_like(fake_logits))


@wrong("clinic.12", says="added first", never="all labels")
def added(real_logits, fake_logits): return F.softplus(-(real_logits+fake_logits)).mean()


@right("clinic.11")
def with_the_function_of_pytorch(real, fake): return F.binary_cross_entropy(real, torch.ones_like(real)) + F.binary_cross_entropy(fake, torch.zeros_like(fake))


@right("clinic.11")
def back_to_logits(real, fake): return discriminator_loss(torch.logit(real), torch.logit(fake))


@right("clinic.11")
def all_in_one_mean(real, fake): return -torch.cat([real, 1-fake]).log().mean()


@right("clinic.11")
def with_log1p(real, fake): return -(real.double().log().mean() + torch.log1p(-fake.double()).mean())


@wrong("clinic.11", says="No gradient comes back", never="logits")
def no_gradient(real, fake): return all_in_one_mean(real, fake).detach()


@wrong("clinic.11", says="beside", never="case 13")
def labels_turned(real, fake): return -(torch.log(1-real).mean() + torch.log(fake).mean())


@wrong("clinic.11", says="case 13", never="towards 1")
def as_if_they_were_logits(real, fake): return with_softplus(real, fake)


@wrong("clinic.11", says="least-squares", never="case 13")
def least_squares(real, fake): return F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake))


equivalent("clinic.11", "a loss in float64 teaches the same", IN_FLOAT64)
equivalent("clinic.11", "float32 is exact enough for a loss", "`real.double()` → `real` in `with_log1p`", "`fake.double()` → `fake` in `with_log1p`")
equivalent("clinic.11", "labels carry no gradient", "`real` detached (2) in `with_the_function_of_pytorch`", "`fake` detached (2) in `with_the_function_of_pytorch`")


# Cases 10 and 14: losses of the generator

def label_one(fake_logits): return bce(fake_logits, torch.ones_like(fake_logits))


def of_the_library(fake_logits): return generator_loss(fake_logits)


def of_the_wasserstein_gan(fake_logits): return -fake_logits.mean()


def with_logaddexp(fake_logits): return torch.logaddexp(torch.zeros(()), -fake_logits.double()).mean()


def on_paper_only(fake_logits): return -fake_logits.sigmoid().log().mean()


for case in ("clinic.10", "clinic.14"):
    for answer in (label_one, of_the_library, of_the_wasserstein_gan, with_logaddexp, on_paper_only): right(case, answer)
    equivalent(case, "a factor changes no direction: the learning rate decides how far a step goes",
               "`fake_logits.mean()` → `fake_logits.sum()` in `of_the_wasserstein_gan`", "`torch.logaddexp(torch.zeros(()), -fake_logits.double()).mean()` → `torch.logaddexp(torch.zeros(()), -fake_logits.double()).sum()` in `with_logaddexp`",
               "`fake_logits.sigmoid().log().mean()` → `fake_logits.sigmoid().log().sum()` in `on_paper_only`")
    equivalent(case, "with the arguments swapped it is the Wasserstein loss and a constant: it pulls up everywhere", "`bce(fake_logits, torch.ones_like(fake_logits))` → `bce(torch.ones_like(fake_logits), fake_logits)` in `label_one`")
    equivalent(case, "a loss in float64 teaches the same", IN_FLOAT64)
    equivalent(case, "labels carry no gradient", "`fake_logits` detached (2) in `label_one`")


equivalent("clinic.10", "a factor changes no direction: the learning rate decides how far a step goes", "`F.logsigmoid(fake_logits).mean()` → `F.logsigmoid(fake_logits).sum()`")
equivalent("clinic.14", "labels carry no gradient", "`fake_logits` detached (2)")
equivalent("clinic.10", "-D pulls up everywhere, though weakly at both ends: direction is all that this case asks for", "`fake_logits.sigmoid().log()` → `fake_logits.sigmoid()` in `on_paper_only`")
equivalent("clinic.10", "a sum has no order", "`torch.logaddexp(torch.zeros(()), -fake_logits.double())` → `torch.logaddexp(-fake_logits.double(), torch.zeros(()))` in `with_logaddexp`")
equivalent("clinic.14", "float32 is exact enough for a loss, and a shift of where it flattens leaves it awake far below 0", "`fake_logits.double()` → `fake_logits` in `with_logaddexp`", "`torch.zeros(())` → `torch.ones(())` in `with_logaddexp`")
equivalent("clinic.14", "with the arguments swapped it is the Wasserstein loss and a constant: awake everywhere",
           "`F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))` → `F.binary_cross_entropy_with_logits(torch.ones_like(fake_logits), fake_logits)`")


@right("clinic.10")
def saturating(fake_logits): return saturating_loss(fake_logits)


@wrong("clinic.10", says="still pulled down", never="wants doubt")
def square_of_the_distance_to_one(fake_logits): return (fake_logits-1).square().mean()


@wrong("clinic.10", says="where D is in doubt", never="pulled down:")
def with_a_relu(fake_logits): return F.relu(-fake_logits-5).mean()


@wrong("clinic.10", says="No gradient reaches", never="pulled down:")
def a_constant(fake_logits): return (0*fake_logits).mean()


@wrong("clinic.10", says="lowers D's belief", never="0: up")
def the_patient(fake_logits): return bce(fake_logits, torch.zeros_like(fake_logits))


@wrong("clinic.14", says="logarithm finite", never="sleeps where")
def with_a_small_number(fake_logits): return -(fake_logits.sigmoid()+1e-8).log().mean()


@wrong("clinic.14", says="at a logit of -25", never="case 10")
def with_a_smaller_number(fake_logits): return -(fake_logits.sigmoid()+1e-9).log().mean()


@wrong("clinic.14", says="negative of the loss for label 0", never="case 10")
def the_saturating_one(fake_logits): return saturating_loss(fake_logits)


@wrong("clinic.14", says="case 10", never="sleeps")
def wrong_way_round(fake_logits): return bce(fake_logits, torch.zeros_like(fake_logits))


# Case 25: one batch of fakes for ever

@right("clinic.25")
def one_batch_of_fakes_a_step(G, D, optimizer_G, optimizer_D, batches):
    for real in batches:
        fake = G(noise(len(real), 2))
        optimizer_D.zero_grad()
        discriminator_loss(D(real), D(fake.detach())).backward()
        optimizer_D.step()
        optimizer_G.zero_grad()
        generator_loss(D(fake)).backward()
        optimizer_G.step()


@right("clinic.25")
def with_no_grad_in_the_turn_of_d(G, D, optimizer_G, optimizer_D, batches):
    for real in batches:
        with torch.no_grad(): fake = G(torch.randn(len(real), 2))
        D.zero_grad()
        (bce(D(real), torch.ones(len(real), 1)) + bce(D(fake), torch.zeros(len(real), 1))).backward()
        optimizer_D.step()
        G.zero_grad()
        logits = D(G(torch.randn(len(real), 2)))
        bce(logits, torch.ones_like(logits)).backward()
        optimizer_G.step()


@right("clinic.25")
def with_the_generator_first(G, D, optimizer_G, optimizer_D, batches):
    for i in range(len(batches)):
        optimizer_G.zero_grad()
        generator_loss(D(G(noise(len(batches[i]), 2)))).backward()
        optimizer_G.step()
        fake = G(noise(len(batches[i]), 2)).detach()
        optimizer_D.zero_grad()
        discriminator_loss(D(batches[i]), D(fake)).backward()
        optimizer_D.step()


@right("clinic.25")
def with_the_other_frozen(G, D, optimizer_G, optimizer_D, batches):
    for real in batches:
        optimizer_D.zero_grad()
        discriminator_loss(D(real), D(G(noise(len(real), 2)).detach())).backward()
        optimizer_D.step()
        for parameter in D.parameters(): parameter.requires_grad_(False)
        optimizer_G.zero_grad()
        F.softplus(-D(G(noise(len(real), 2)))).mean().backward()
        optimizer_G.step()
        for parameter in D.parameters(): parameter.requires_grad_(True)


def game(of_d, of_g=lambda D, fake: generator_loss(D(fake)), after=lambda optimizer: None, before=lambda optimizer: optimizer.zero_grad()):
    def play(G, D, optimizer_G, optimizer_D, batches):
        for real in batches:
            before(optimizer_D)
            of_d(D, real, G(noise(len(real), 2)).detach()).backward()
            optimizer_D.step()
            after(optimizer_D)
            optimizer_G.zero_grad()
            of_g(D, G(noise(len(real), 2))).backward()
            optimizer_G.step()
    return play


@wrong("clinic.25", says="changed places", never="generator's step")
def arguments_swapped(*given): game(lambda D, real, fake: discriminator_loss(D(fake), D(real)))(*given)


@wrong("clinic.25", says="discriminator's step", never="`optimizer_G.zero_grad()`")
def the_negative_loss(*given): game(lambda D, real, fake: -discriminator_loss(D(real), D(fake)))(*given)


@wrong("clinic.25", says="discriminator's step", never="`optimizer_G.zero_grad()`")
def only_the_real_half(*given): game(lambda D, real, fake: F.softplus(-D(real)).mean() + 0*D(fake).sum())(*given)


@wrong("clinic.25", says="not after its step", never="optimizer_G")
def cleared_after_the_step(*given): game(lambda D, real, fake: discriminator_loss(D(real), D(fake)), before=lambda optimizer: None, after=lambda optimizer: optimizer.zero_grad())(*given)


@wrong("clinic.25", says="added up", never="`generator_loss`")
def d_never_cleared(*given): game(lambda D, real, fake: discriminator_loss(D(real), D(fake)), before=lambda optimizer: None)(*given)


@wrong("clinic.25", says="(case 10)", never="zeroed")
def a_generator_that_works_for_d(*given): game(lambda D, real, fake: discriminator_loss(D(real), D(fake)), of_g=lambda D, fake: F.softplus(D(fake)).mean())(*given)


@wrong("clinic.25", says="all batches", never="more often")
def only_the_first_batches(G, D, optimizer_G, optimizer_D, batches): one_batch_of_fakes_a_step(G, D, optimizer_G, optimizer_D, batches[:-1])


equivalent("clinic.25", "what is frozen belongs to the other player, whose gradients are cleared before its turn", "without `parameter.requires_grad_(False)` in `with_the_other_frozen`")
equivalent("clinic.25", "the points are data: nobody learns them", "…`batches` detached")
equivalent("clinic.25", "what is cleared belongs to the other player", "`optimizer_D.step()` after `optimizer_G.zero_grad()`")


# Case 24: fakes that are not detached

@right("clinic.24")
def made_without_gradients(G, D, real, z):
    with torch.no_grad(): fake = G(z)
    loss = discriminator_loss(D(real), D(fake))
    loss.backward()
    return loss


@right("clinic.24")
def in_two_halves(G, D, real, z):
    first = F.softplus(-D(real)).mean()
    first.backward()
    second = F.softplus(D(G(z).detach())).mean()
    second.backward()
    return (first+second).detach()


@right("clinic.24")
def for_the_weights_of_d_alone(G, D, real, z):
    loss = discriminator_loss(D(real), D(G(z)))
    loss.backward(inputs=list(D.parameters()))
    return loss.item()


@wrong("clinic.24", says="into its weights", never="frozen")
def cleared_too_late(G, D, real, z):
    loss = discriminator_loss(D(real), D(G(z)))
    loss.backward()
    return loss


@wrong("clinic.24", says="backward got lost", never="nobody")
def no_backward(G, D, real, z): return discriminator_loss(D(real), D(G(z).detach()))


@wrong("clinic.24", says="the noise itself", never="cut")
def judges_the_noise(G, D, real, z):
    loss = discriminator_loss(D(real), D(z.detach()))
    loss.backward()
    return loss


equivalent("clinic.24", "points and codes are given: nobody learns them", "…`real` detached", "…`z` detached")
equivalent("clinic.24", "backward has been called by then: what comes back is for the log", "…the result is detached", IN_FLOAT64, "`(first + second).detach()` → `first + second` in `in_two_halves`", "`loss.item()` → `loss` in `for_the_weights_of_d_alone`")


# Case 26: one optimiser for two players

@right("clinic.26")
def as_a_list(G, D, lr): return [torch.optim.Adam(network.parameters(), lr) for network in (G, D)]


@right("clinic.26")
def with_groups(G, D, lr): return torch.optim.SGD([{"params": G.parameters()}], lr=lr, momentum=0.9), torch.optim.RMSprop([{"params": [p]} for p in D.parameters()], lr=lr)


@right("clinic.26")
def by_name(G, D, lr):
    optimizer_G = torch.optim.RMSprop(dict(G.named_parameters()).values(), lr=lr)
    optimizer_D = torch.optim.RMSprop(dict(D.named_parameters()).values(), lr=lr)
    return optimizer_G, optimizer_D


@wrong("clinic.26", says="`lr` got lost", never="order")
def with_a_rate_of_its_own(G, D, lr): return torch.optim.Adam(G.parameters()), torch.optim.Adam(D.parameters())


@wrong("clinic.26", says="learning rates are", never="got lost")
def a_slower_d(G, D, lr): return torch.optim.Adam(G.parameters(), lr), torch.optim.Adam(D.parameters(), lr/2)


@wrong("clinic.26", says="holds G0", never="wrong order")
def forgets_a_layer(G, D, lr): return torch.optim.Adam(G[0].parameters(), lr), torch.optim.Adam(D.parameters(), lr)


@wrong("clinic.26", says="wrong order", never="both networks")
def swapped(G, D, lr): return tuple(as_a_list(D, G, lr))


equivalent("clinic.26", "the case asks who holds which weights; the averages of Adam are free", "`torch.optim.Adam(G.parameters(), lr=lr, betas=(0.5, 0.999))` → `torch.optim.Adam(G.parameters(), lr=lr)`",
           "`torch.optim.Adam(D.parameters(), lr=lr, betas=(0.5, 0.999))` → `torch.optim.Adam(D.parameters(), lr=lr)`", "`(0.5, 0.999)` → `(0.999, 0.5)`", "`(0.5, 0.999)` → `(0.999, 0.5)` (2)")
equivalent("clinic.26", "the kind of optimiser and what else it is told are free", "`torch.optim.Adam(network.parameters(), lr)` → `torch.optim.SGD(network.parameters(), lr)` in `as_a_list`", "`0.9` → `1.8` in `with_groups`")
equivalent("clinic.26", "an optimiser that is made without gradients still takes steps with them", "…everything under `no_grad`")


# Case 33: one learning rate too high

right("clinic.33", {"generator": 2e-3, "discriminator": 2e-3})
right("clinic.33", {"generator": torch.tensor(4e-3), "discriminator": np.float64(4e-3)})
right("clinic.33", (5e-3, 5e-3))
wrong("clinic.33", {"generator": 1e-4, "discriminator": 1e-3}, says="closer together", never="three hundred")
wrong("clinic.33", {"generator": 0.1, "discriminator": 0.1}, never="three hundred")
wrong("clinic.33", {"generator": 4, "discriminator": 8}, says="between 0 and 1")
wrong("clinic.33", {"generator": 3e-4, "discriminator": 2e-2}, never="three hundred")
equivalent("clinic.33", "several pairs of rates do it", *(f"{player}: {words}" for player in ("generator", "discriminator") for words in ("twice as large", "half")))
equivalent("clinic.33", "several pairs of rates do it, also as a pair", *(f"number {i}: {words}" for i in (1, 2) for words in ("twice as large", "half")))
