"""Further answers to the exercises of chapter 17."""
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong
from genesis_course.gan import discriminator_loss, generator_loss

# 17.1: best for L1


@right("translation.1")
def by_sorting(answers): return answers.sort(dim=0)[0][len(answers)//2]


@right("translation.1")
def by_quantile(answers): return torch.quantile(answers, 0.5, dim=0)


@right("translation.1")
def channel_by_channel(answers): return torch.stack([channel.median() for channel in answers.T])


@right("translation.1")
def by_trying_each_value(answers): return torch.stack([channel[(channel[:, None]-channel).abs().sum(dim=1).argmin()] for channel in answers.T])


@wrong("translation.1", says="squared")
def the_mean(answers): return answers.sum(dim=0)/len(answers)


@wrong("translation.1", says="one number")
def over_all(answers): return answers.flatten().median()


# 17.2: the losses of a pair


@right("translation.2")
def in_one_batch(generator, judge, first, second, weight):
    fake = generator(first)
    real_logits, fake_logits = judge(torch.cat([torch.cat([first, second], 1), torch.cat([first, fake.detach()], 1)])).chunk(2)
    return discriminator_loss(real_logits, fake_logits), generator_loss(judge(torch.cat([first, fake], 1))) + weight*F.l1_loss(fake, second)


@right("translation.2")
def from_formulas(generator, judge, first, second, weight):
    with torch.no_grad(): still = generator(first)
    fake = generator(first)
    real_logits, fake_logits = judge(torch.cat((first, second), -3)), judge(torch.cat((first, still), -3))
    return [-F.logsigmoid(real_logits).mean() - F.logsigmoid(-fake_logits).mean(), -F.logsigmoid(judge(torch.cat((first, fake), -3))).mean() + weight*(second-fake).abs().mean()]


@right("translation.2")
def with_bce(generator, judge, first, second, weight):
    def against(pictures, label):
        logits = judge(torch.cat([first, pictures], dim=1))
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
    fake = generator(first)
    return against(second, 1.) + against(fake.clone().detach(), 0.), against(fake, 1.) + weight*F.l1_loss(fake, second)


@wrong("translation.2", says="detach the fake", never="not* detached")
def open_door(generator, judge, first, second, weight):
    fake = generator(first)
    logits = judge(torch.cat([first, fake], dim=1))
    return discriminator_loss(judge(torch.cat([first, second], dim=1)), logits), generator_loss(logits) + weight*F.l1_loss(fake, second)


@wrong("translation.2", says="squared")
def squared(generator, judge, first, second, weight):
    fake = generator(first)
    def logits(pictures): return judge(torch.cat([first, pictures], dim=1))
    return discriminator_loss(logits(second), logits(fake.detach())), generator_loss(logits(fake)) + weight*(fake-second).square().mean()


# 17.3: there and back


@right("translation.3")
def with_l1_loss(there, back, first, second): return F.l1_loss(back(there(first)), first) + F.l1_loss(there(back(second)), second)


@right("translation.3")
def in_steps(there, back, first, second):
    total = 0
    for out, home, pictures in ((there, back, first), (back, there, second)):
        middle = out(pictures)
        total = total + torch.abs(pictures-home(middle)).mean()
    return total


@right("translation.3")
def as_norms(there, back, first, second):
    def apart(one, other): return torch.linalg.vector_norm(one-other, ord=1)/one.numel()
    return apart(there(back(second)), second) + apart(first, back(there(first)))


@wrong("translation.3", says="half-way")
def copying(there, back, first, second): return F.l1_loss(there(first), first) + F.l1_loss(back(second), second)


@wrong("translation.3", says="wrong order")
def wrong_way_round(there, back, first, second): return F.l1_loss(there(back(first)), first) + F.l1_loss(back(there(second)), second)


# 17.4: what was found?

right("translation.4", "abcd")
right("translation.4", ("A", "B", "C", "D"))
right("translation.4", ["(a)", "(b)", "(c)", "(d)"])
wrong("translation.4", ["b", "a", "c", "d"], says="exchanged")
wrong("translation.4", ["a", "b", "c"], says="Four letters")
wrong("translation.4", ["a", "b", "c", "a"], says="translator 4")


# Case 89


def instance_of(norm):
    new = nn.GroupNorm(norm.num_features, norm.num_features, eps=norm.eps).train(norm.training)
    with torch.no_grad():
        new.weight.copy_(norm.weight)
        new.bias.copy_(norm.bias)
    return new


@right("clinic.89")
def by_recursion(network):
    for name, child in network.named_children(): setattr(network, name, instance_of(child) if isinstance(child, nn.BatchNorm2d) else by_recursion(child))
    return network


@right("clinic.89")
def by_path(network):
    for path in [path for path, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)]:
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, instance_of(network.get_submodule(path)))
    return network


@right("clinic.89")
def with_the_same_parameters(network):
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if not isinstance(child, nn.BatchNorm2d): continue
            new = nn.InstanceNorm2d(child.num_features, eps=child.eps, affine=True)
            new.weight, new.bias = child.weight, child.bias
            module._modules[name] = new.train(child.training)
    return network


@wrong("clinic.89", says="weight and bias")
def without_weights(network):
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d): setattr(module, name, nn.GroupNorm(child.num_features, child.num_features, eps=child.eps))
    return network


# Case 90


@right("clinic.90")
def identity_in_steps(there, back, first, second): return sum(F.l1_loss(network(pictures), pictures) for network, pictures in ((there, second), (back, first)))


@right("clinic.90")
def identity_from_above(there, back, first, second): return torch.abs(second-there(second)).mean() + torch.abs(first-back(first)).mean()


@right("clinic.90")
def identity_other_order(there, back, first, second):
    stays, remains = back(first), there(second)
    return (stays-first).abs().sum()/first.numel() + (remains-second).abs().sum()/second.numel()


@wrong("clinic.90", says="copier")
def still_copying(there, back, first, second): return F.l1_loss(there(first), first) + F.l1_loss(back(second), second)


# Case 91


def one_by_one(pictures, moves):
    moved = torch.full_like(pictures, -1.)
    height, width = pictures.shape[2:]
    for new, old, (row, column) in zip(moved, pictures, moves):
        new[:, max(0, row):height+min(0, row), max(0, column):width+min(0, column)] = old[:, max(0, -row):height-max(0, row), max(0, -column):width-max(0, column)]
    return moved


@right("clinic.91")
def with_a_loop(first, second):
    moves = [(int(torch.randint(-2, 3, ())), int(torch.randint(-2, 3, ()))) for _ in range(len(first))]
    return one_by_one(first, moves), one_by_one(second, moves)


@right("clinic.91")
def as_one_picture(first, second):
    moves = torch.randint(-2, 3, (len(first), 2)).tolist()
    return list(one_by_one(torch.cat([first, second], dim=1), moves).split([first.shape[1], second.shape[1]], dim=1))


@right("clinic.91")
def with_one_seed(first, second):
    state, found = torch.get_rng_state(), []
    for pictures in (first, second):
        torch.set_rng_state(state)
        found.append(one_by_one(pictures, torch.randint(-2, 3, (len(pictures), 2)).tolist()))
    return tuple(found)


@wrong("clinic.91", says="of its own")
def two_draws(first, second): return tuple(one_by_one(pictures, torch.randint(-2, 3, (len(pictures), 2)).tolist()) for pictures in (first, second))


@wrong("clinic.91", says="moved alike")
def one_for_all(first, second):
    moves = torch.randint(-2, 3, (1, 2)).expand(len(first), 2).tolist()
    return one_by_one(first, moves), one_by_one(second, moves)


# Case 92


@right("clinic.92")
def with_indices(network, pictures, multiple):
    height, width = pictures.shape[2:]
    rows = torch.arange(-(-height//multiple)*multiple).clamp(max=height-1)
    columns = torch.arange(-(-width//multiple)*multiple).clamp(max=width-1)
    return network(pictures[:, :, rows][:, :, :, columns])[..., :height, :width]


@right("clinic.92")
def with_loops(network, pictures, multiple):
    wide = pictures
    while wide.shape[2] % multiple: wide = torch.cat([wide, wide[:, :, -1:]], dim=2)
    while wide.shape[3] % multiple: wide = torch.cat([wide, wide[..., -1:]], dim=3)
    return network(wide)[:, :, :pictures.shape[2], :pictures.shape[3]]


@right("clinic.92")
def with_a_module(network, pictures, multiple):
    down, right = ((multiple - side % multiple) % multiple for side in pictures.shape[2:])
    answer = network(nn.ReplicationPad2d((0, right, 0, down))(pictures))
    return answer.narrow(2, 0, pictures.shape[2]).narrow(3, 0, pictures.shape[3])


@wrong("clinic.92", says="zeros")
def with_zeros(network, pictures, multiple):
    height, width = pictures.shape[2:]
    return network(F.pad(pictures, (0, -width % multiple, 0, -height % multiple), value=0.))[:, :, :height, :width]


@wrong("clinic.92", says="cut off")
def uncut(network, pictures, multiple): return network(F.pad(pictures, (0, -pictures.shape[3] % multiple, 0, -pictures.shape[2] % multiple), mode="replicate"))


equivalent("translation.1", "the answers are numbers, and no gradient is asked of them", "… detached")
equivalent("translation.1", "float64 holds the same numbers", "…the result in float64, or whole numbers in float32")
equivalent("translation.1", "the smallest mean belongs to the same value as the smallest sum",
           "`(channel[:, None] - channel).abs().sum(dim=1)` → `(channel[:, None] - channel).abs().mean(dim=1)` in `by_trying_each_value`")
for id in ("translation.2", "translation.3", "clinic.90"):
    equivalent(id, "the pictures are given, and no gradient is asked of them", "…`first` detached", "…`second` detached")
    equivalent(id, "a loss in double precision holds the same number", "…the result in float64, or whole numbers in float32")
equivalent("translation.2", "an absolute difference does not ask which of the two was subtracted", "`fake - second` → `second - fake`", "`F.l1_loss(fake, second)` → `F.l1_loss(second, fake)` in `with_bce`")
equivalent("translation.3", "an absolute difference does not ask which of the two was subtracted", "`back(there(first)) - first` → `first - back(there(first))`",
           "`there(back(second)) - second` → `second - there(back(second))`", "`F.l1_loss(back(there(first)), first)` → `F.l1_loss(first, back(there(first)))` in `with_l1_loss`",
           "`apart(first, back(there(first)))` → `apart(back(there(first)), first)` in `as_norms`")
equivalent("clinic.90", "an absolute difference does not ask which of the two was subtracted, nor a sum which came first", "`there(second) - second` → `second - there(second)`",
           "`back(first) - first` → `first - back(first)`", "`first - back(first)` → `back(first) - first` in `identity_from_above`", "`((there, second), (back, first))` → `((back, first), (there, second))` in `identity_in_steps`")
equivalent("clinic.89", "the last of all modules has no children", "the last one dropped: `for module in list(network.modules()):`")
equivalent("clinic.89", "who comes a second time finds no batch norm any more", "…the last one twice: `for module in list(network.modules()):`", "the last one twice: `for name, child in list(module.named_children()):`",
           "the last one twice: `for name, child in network.named_children():` in `by_recursion`")
equivalent("clinic.89", "a layer is built the same without gradients", "everything under `no_grad`", "everything under `no_grad` in `by_path`")
equivalent("clinic.89", "weight and bias come from the old norm in the next line", "`nn.InstanceNorm2d(child.num_features, eps=child.eps, affine=True)` → `nn.InstanceNorm2d(child.num_features, eps=child.eps)` in `with_the_same_parameters`",
           "`True` → `False` in `with_the_same_parameters`")
equivalent("clinic.91", "pictures are data, and no gradient is asked of them", "… detached")
equivalent("clinic.91", "float64 holds the same pictures", "…the result in float64, or whole numbers in float32")
equivalent("clinic.91", "the state is put back before each draw that counts", "`torch.set_rng_state(state)` after `found.append(one_by_one(pictures, torch.randint(-2, 3, (len(pictures), 2)).tolist()))` in `with_one_seed`")
equivalent("clinic.92", "a translated picture is asked for, and no gradient", "… detached", "everything under `no_grad`")
equivalent("clinic.92", "float64 holds the same pictures", "…the result in float64, or whole numbers in float32")
