"""Chapter 09: convolutional GANs, spectral norm and penalties against PyTorch and by hand, averages, conditional and three-player games, and what is said of bad input."""
import copy
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from helpers import normal, message_of
from genesis_course.data import Batches, ImageSet
from genesis_course.gan import sample, gan_players, noise
from genesis_course.stable_gan import (EMA, VAEGAN, ConvDiscriminator, ConvGenerator, ResizeConv, SpectralNorm, class_agreement, conditional_players, doubled_sides, sample_class,
                                       gradient_penalty, hinge_discriminator_loss, hinge_generator_loss, lazy_regularisation, power_iteration, r1_penalty,
                                       spectral_norm, vaegan_players, wasserstein_discriminator_loss, wasserstein_generator_loss)
from genesis_course.state import load_weights
from genesis_course.training import Checkpoint, Player, Trainer


def digits(count=64, classes=10, size=8):
    images = (torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))*255).to(torch.uint8)
    return ImageSet(images, torch.arange(count) % classes, [str(k) for k in range(classes)])


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Networks

@given(start=st.integers(4, 7), doublings=st.integers(1, 5))
def test_every_doubled_size_starts_where_it_should(start, doublings):
    sides = doubled_sides(start*2**doublings)
    assert sides[0] == start and all(b == 2*a for a, b in zip(sides, sides[1:])) and sides[-1] == start*2**doublings

@given(inside=st.integers(1, 5), out=st.integers(1, 4), height=st.integers(1, 7), width=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_resize_convolution_is_repeat_and_convolve_with_all_gradients(inside, out, height, width):
    layer, x = ResizeConv(inside, out).double(), normal(2, inside, height, width).requires_grad_()
    slow = F.conv2d(F.interpolate(x, scale_factor=2), layer.weight, padding=1)
    torch.testing.assert_close(layer(x), slow)
    pairs = [torch.autograd.grad(y.square().sum(), [x, layer.weight]) for y in (layer(x), slow)]
    for ours, theirs in zip(*pairs): torch.testing.assert_close(ours, theirs)

@pytest.mark.parametrize("size", [8, 12, 16, 20, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_and_discriminator_fit_each_other(size, channels):
    images = ConvGenerator(5, size, width=2, channels=channels)(noise(3, 5))
    assert images.shape == (3, channels, size, size) and images.abs().max() <= 1
    assert ConvDiscriminator(size, width=2, channels=channels)(images).shape == (3,)

def test_labels_change_what_is_drawn_and_what_is_said():
    generator, discriminator = ConvGenerator(4, 8, 2, classes=3).eval(), ConvDiscriminator(8, 2, classes=3)
    z, labels = noise(3, 4), torch.arange(3)
    x = generator(z, labels)
    assert not torch.allclose(x, generator(z, labels.roll(1)))
    assert not torch.equal(discriminator(x, labels), discriminator(x, labels.roll(1)))

def test_projection_is_written_as_in_the_paper():
    discriminator = ConvDiscriminator(8, 4, classes=3)
    x, labels = torch.randn(5, 1, 8, 8).clamp(-1, 1), torch.tensor([0, 2, 1, 1, 0])
    h = discriminator.features(x)
    by_hand = (discriminator.head.weight+discriminator.label.weight[labels])*h
    torch.testing.assert_close(discriminator(x, labels), by_hand.sum(dim=1)+discriminator.head.bias)


# Spectral norm

@given(rows=st.integers(1, 8), columns=st.integers(1, 8), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_power_iteration_comes_to_the_largest_singular_value(rows, columns, seed):
    matrix, gap = normal(rows, columns, seed=seed), 1.
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    matrix = matrix+gap*s[0]*torch.outer(u[:, 0], v[0])                 # a clear first place
    a, b = power_iteration(matrix, F.normalize(torch.ones(rows).double(), dim=0), F.normalize(normal(columns, seed=seed+1), dim=0), steps=60)
    assert abs(a @ matrix @ b-torch.linalg.svdvals(matrix)[0]) < 1e-6
    assert abs(a.norm()-1) < 1e-9 and abs(b.norm()-1) < 1e-9

@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(3, 5, 4), lambda: nn.Embedding(4, 7)])
def test_spectral_norm_is_torchs_step_for_step(make):
    ours, theirs = make(), make()
    theirs.load_state_dict(ours.state_dict())
    spectral_norm(ours)
    nn.utils.parametrizations.spectral_norm(theirs)
    mine, torchs = ours.parametrizations.weight[0], theirs.parametrizations.weight[0]
    torchs._u.copy_(mine.u)
    torchs._v.copy_(mine.v)
    for layer in (ours, theirs): layer.optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    for step in range(6):
        for layer in (ours, theirs):
            layer.train(step < 4)
            layer.optimizer.zero_grad()
            layer.weight.sin().sum().backward()
            layer.optimizer.step()
        torch.testing.assert_close(ours.parametrizations.weight.original, theirs.parametrizations.weight.original)
        torch.testing.assert_close(mine.u, torchs._u)
        torch.testing.assert_close(mine.v, torchs._v)
        torch.testing.assert_close(ours.weight, theirs.weight)

def test_evaluation_does_not_move_the_vectors():
    layer = spectral_norm(nn.Linear(5, 5)).eval()
    before = layer.parametrizations.weight[0].u.clone()
    for _ in range(3): layer(torch.randn(2, 5))
    assert torch.equal(before, layer.parametrizations.weight[0].u)

def test_a_network_of_bounded_layers_keeps_dense_layers_below_one():
    "After 200 steps power iteration is right to a thousandth, however near the second singular value lies"
    network = ConvDiscriminator(16, 4, spectral=True, classes=3)
    for _ in range(200): network(torch.randn(2, 1, 16, 16), torch.zeros(2, dtype=torch.int64))
    network.eval()
    for layer in (*network.layers, network.head, network.label):
        if hasattr(layer, "weight"): assert torch.linalg.svdvals(layer.weight.flatten(1))[0] < 1.01

def test_spectral_norm_survives_a_copy_and_a_checkpoint():
    network = ConvDiscriminator(8, 2, spectral=True)
    twin = ConvDiscriminator(8, 2, spectral=True)
    twin.load_state_dict(network.state_dict())
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(copy.deepcopy(network).eval()(x), twin.eval()(x))

def test_the_sigma_of_the_graph_is_differentiated():
    "Scaling the weight must not change the normalised weight, so its gradient has no part along the weight"
    weight = normal(4, 6).requires_grad_()
    norm = SpectralNorm(weight.detach()).double()
    for _ in range(200): norm(weight)
    slope, = torch.autograd.grad((norm(weight)*normal(4, 6, seed=3)).sum(), weight)
    assert abs((slope*weight).sum()) < 1e-6


# Losses and penalties

@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_losses_equal_their_formulas(real, fake):
    r, f = (torch.tensor(values, dtype=torch.float64) for values in (real, fake))
    mean = lambda values: sum(values)/len(values)
    assert hinge_discriminator_loss(r, f).item() == pytest.approx(mean([max(0, 1-x) for x in real])+mean([max(0, 1+x) for x in fake]), abs=1e-9)
    assert wasserstein_discriminator_loss(r, f).item() == pytest.approx(mean(fake)-mean(real), abs=1e-9)
    assert hinge_generator_loss(f).item() == wasserstein_generator_loss(f).item() == pytest.approx(-mean(fake), abs=1e-9)

class Curved(nn.Module):
    "a·|x|² + b·x: its slope is 2ax + b"
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.7).double()), nn.Parameter(torch.tensor(0.3).double())
    def forward(self, x): return (self.a*x.square()+self.b*x).flatten(1).sum(dim=1)

def test_r1_and_its_gradient_are_those_worked_out_by_hand():
    network, x = Curved(), normal(5, 1, 3, 4)
    value = r1_penalty(network, x)
    slope = 2*network.a*x+network.b
    torch.testing.assert_close(value, slope.square().flatten(1).sum(dim=1).mean())
    found = torch.autograd.grad(value, list(network.parameters()))
    slope = slope.detach()
    torch.testing.assert_close(found[0], (2*slope*2*x).flatten(1).sum(dim=1).mean())
    torch.testing.assert_close(found[1], (2*slope).flatten(1).sum(dim=1).mean())

def test_gradient_penalty_is_that_worked_out_by_hand():
    network, real, fake = Curved(), normal(6, 1, 2, 2), normal(6, 1, 2, 2, seed=1)
    share = torch.rand(6, 1, 1, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    slope = 2*network.a*(real+share*(fake-real))+network.b
    by_hand = (slope.flatten(1).norm(dim=1)-1).square().mean()
    torch.testing.assert_close(gradient_penalty(network, real, fake, generator=torch.Generator().manual_seed(9)), by_hand)

def test_penalties_pass_gradgradcheck():
    w = normal(12).requires_grad_()
    def penalty(w):
        network = lambda x: (x.flatten(1) @ w).tanh()
        return r1_penalty(network, normal(3, 1, 3, 4)) + gradient_penalty(network, normal(3, 1, 3, 4), normal(3, 1, 3, 4, seed=1), generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(penalty, w)

def test_a_flat_discriminator_can_be_penalised():
    "The root of a slope of 0 has no gradient; NaN would end training"
    network = ConvDiscriminator(8, 2)
    for parameter in network.parameters(): nn.init.zeros_(parameter)
    penalty = gradient_penalty(network, torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
    assert all(slope is None or slope.isfinite().all() for slope in torch.autograd.grad(penalty, list(network.parameters()), allow_unused=True))

def test_a_penalty_now_and_then_is_the_same_on_average():
    lazy = lazy_regularisation(lambda discriminator, real: torch.tensor(3.), weight=2., every=4)
    values = torch.stack([lazy(None, torch.zeros(1)) for _ in range(4000)])
    assert set(values.tolist()) == {0., 24.} and abs(values.mean()-6) < 0.6

def test_labels_reach_the_penalty():
    network = ConvDiscriminator(8, 2, classes=2)
    x, y = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    assert r1_penalty(network, x, labels=y) != r1_penalty(network, x, labels=1-y)


# Averages

class Still(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([4.]))
        self.register_buffer("seen", torch.tensor(0))
    def forward(self, x): return self.weight*x

def train(callbacks, epochs=1, resume=None, steps=6):
    player = Player(Still(), lambda module, batch: module(batch).square().mean(), torch.optim.SGD, lr=0.1)
    average = EMA(player, 0.9)
    Trainer(player, [average, *callbacks], device="cpu").fit([torch.ones(1)]*steps, epochs, resume)
    return player.module, average

def test_ema_is_the_average_that_its_formula_gives():
    weight, mean = 4., 4.
    for step in range(6):
        weight -= 0.1*2*weight
        decay = min(0.9, (1+step)/(10+step))
        mean = decay*mean+(1-decay)*weight
    module, average = train([])
    assert module.weight.item() == pytest.approx(weight, rel=1e-5) and average.module.weight.item() == pytest.approx(mean, rel=1e-5)
    assert not average.module.training and not average.module.weight.requires_grad

def test_a_resumed_average_is_the_uninterrupted_one(tmp_path):
    path = tmp_path/"run.safetensors"
    _, whole = train([], epochs=4)
    train([Checkpoint(path)], epochs=2)
    _, resumed = train([], epochs=4, resume=path)
    assert torch.equal(whole.module.weight, resumed.module.weight) and resumed.steps == whole.steps

def test_ema_follows_a_spectrally_normed_module():
    network = nn.Sequential(spectral_norm(nn.Linear(3, 1)))
    player = Player(network, lambda module, batch: module(batch).mean(), lr=0.1)
    average = EMA(player, 0.5)
    Trainer(player, average, device="cpu").fit([torch.randn(2, 3)]*3)
    assert not torch.equal(average.module[0].weight, network[0].weight) and average.module(torch.randn(2, 3)).isfinite().all()


# Games

def game(classes=10, **settings):
    return conditional_players(ConvGenerator(4, 8, 2, classes=classes), ConvDiscriminator(8, 2, classes=classes), **settings)

def test_each_player_of_a_conditional_gan_moves_only_its_own_weights():
    players = game(penalty=lazy_regularisation(r1_penalty, 1., every=1))
    before = [copy.deepcopy(player.module.state_dict()) for player in players]
    images, labels = torch.randn(32, 1, 8, 8).clamp(-1, 1), torch.arange(32) % 10
    for k, player in enumerate(players):
        other = copy.deepcopy(players[1-k].module)
        loss = player.loss(player.network, (images, labels))
        player.step(loss["loss"] if isinstance(loss, dict) else loss)
        same = [torch.equal(a, b) for a, b in zip(players[1-k].module.parameters(), other.parameters())]
        assert all(same), player.name
        assert any(not torch.equal(a, before[k][name]) for name, a in player.module.state_dict().items())

def test_a_conditional_game_repeats_and_resumes_bit_for_bit(tmp_path):
    def run(epochs, callbacks=(), resume=None):
        torch.manual_seed(3)
        players = game(penalty=lazy_regularisation(r1_penalty, 1., every=2))
        Trainer(players, callbacks, device="cpu").fit(Batches(digits(), batch_size=16), epochs, resume)
        return players[1].module.state_dict()
    whole = run(4)
    run(2, [Checkpoint(tmp_path/"game.safetensors")])
    resumed = run(4, resume=tmp_path/"game.safetensors")
    for name in whole: assert torch.equal(whole[name], resumed[name]), name

@pytest.mark.parametrize("losses, penalty", [((hinge_discriminator_loss, hinge_generator_loss), None),
                                             ((wasserstein_discriminator_loss, wasserstein_generator_loss), lazy_regularisation(gradient_penalty, 10.))])
def test_the_players_of_chapter_08_take_these_losses_and_penalties(losses, penalty):
    players = gan_players(ConvGenerator(4, 8, 2), ConvDiscriminator(8, 2, spectral=True), 4, losses=losses, penalty=penalty)
    history = Trainer(players, device="cpu").fit(Batches(digits(), batch_size=16)).history
    assert all(math.isfinite(value) for curve in history.values() for _, value in curve)

def test_drawing_leaves_mode_and_random_numbers_as_they_were():
    generator = ConvGenerator(4, 8, 2, classes=3)
    state = torch.get_rng_state()
    a, b = sample_class(generator, [0, 1, 2], seed=5), sample_class(generator, torch.arange(3), seed=5)
    assert torch.equal(a, b) and generator.training and torch.equal(state, torch.get_rng_state())
    assert torch.equal(sample_class(generator, [1], seed=1, scale=0.), sample_class(generator, [1], seed=2, scale=0.))

def test_class_agreement_counts():
    class Obedient(nn.Module):
        latent_dim, classes = 2, 4
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
        def forward(self, z, labels): return labels.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    read = lambda images: images[:, 0, 0, 0].long()
    assert class_agreement(Obedient(), read, 40) == 1.
    assert class_agreement(Obedient(), lambda images: torch.zeros(len(images), dtype=torch.int64), 40) == 0.25

def test_three_players_learn_and_each_moves_only_itself():
    model = VAEGAN(8, 4, width=2)
    players = vaegan_players(model, penalty=lazy_regularisation(r1_penalty, 1., every=1))
    assert [player.name for player in players] == ["encoder", "generator", "discriminator"]
    images = torch.randn(16, 1, 8, 8).clamp(-1, 1)
    parts = {"encoder": model.encoder, "generator": model.generator, "discriminator": model.discriminator}
    for player in players:
        before = {name: [p.clone() for p in part.parameters()] for name, part in parts.items()}
        loss = player.loss(player.network, images)
        player.step(loss["loss"] if isinstance(loss, dict) else loss)
        moved = {name: any(not torch.equal(a, b) for a, b in zip(part.parameters(), before[name])) for name, part in parts.items()}
        assert moved == {name: name == player.name for name in parts}

def test_a_vaegan_reconstructs_the_same_twice():
    model, x = VAEGAN(8, 4, width=2), torch.randn(3, 1, 8, 8).clamp(-1, 1)
    assert torch.equal(model.reconstruct(x), model.reconstruct(x)) and model.training
    mean, log_variance = model.encode(x)
    assert mean.shape == log_variance.shape == (3, 4)

def test_shipped_generator_draws_what_it_is_asked_for():
    from genesis_course.evaluation import read_digits
    weights, about = load_weights("conditional_gan")
    generator = ConvGenerator(**about["settings"])
    generator.load_state_dict(weights)
    assert about["agreement"] >= 0.97
    assert class_agreement(generator, read_digits, 500, seed=7) >= 0.95
    variety = sample_class(generator, [3]*50, seed=1).std(dim=0).mean()
    assert variety > 0.1


# Bad input

def test_sizes_that_cannot_be_doubled_are_named():
    for size in (30, 18, 13, 4, 7): message_of(lambda: doubled_sides(size), str(size), "Resize")
    message_of(lambda: ConvGenerator(8, 0), "size", "0")
    message_of(lambda: ConvGenerator(8, "28"), "'28'")

def test_a_single_class_is_refused():
    message_of(lambda: ConvGenerator(8, 8, classes=1), "one class only", "Leave classes out")
    one = [(torch.randn(64, 1, 8, 8).clamp(-1, 1), torch.full((64,), 7))]
    message_of(lambda: Trainer(game(), device="cpu").fit(one), "labels of the first batch are 7", "one class only")

def test_a_small_batch_of_one_class_is_no_accident_of_two():
    "Two classes and a batch of four: all alike once in eight batches"
    Trainer(game(classes=2), device="cpu").fit([(torch.randn(4, 1, 8, 8).clamp(-1, 1), torch.zeros(4, dtype=torch.int64))])

def test_labels_are_checked():
    generator, discriminator = ConvGenerator(4, 8, 2, classes=3), ConvDiscriminator(8, 2)
    z, x = noise(2, 4), torch.zeros(2, 1, 8, 8)
    message_of(lambda: generator(z), "3 classes", "pass labels")
    message_of(lambda: generator(z, torch.tensor([0, 3])), "from 0 to 2", "run from 0 to 3")
    message_of(lambda: generator(z, torch.tensor([0., 1.])), "float32", "int64 [2]")
    message_of(lambda: generator(z, torch.tensor([1])), "[1]", "int64 [2]")
    message_of(lambda: generator(z, [0, 1]), "list")
    message_of(lambda: discriminator(x, torch.tensor([0, 1])), "without classes")
    message_of(lambda: sample_class(ConvGenerator(4, 8, 2), [0, 1]), "without classes")

def test_latent_sizes_and_images_that_do_not_fit_are_named():
    message_of(lambda: ConvGenerator(4, 8, 2)(noise(2, 5)), "[B, 4]", "[2, 5]")
    message_of(lambda: ConvDiscriminator(8, 2)(torch.zeros(2, 1, 9, 9)), "[2, 1, 9, 9]")
    message_of(lambda: ConvDiscriminator(8, 2)(torch.zeros(2, 4)), "looks like noise")
    message_of(lambda: gan_players(ConvGenerator(4, 8, 2), ConvDiscriminator(16, 2), 4), "one size")
    message_of(lambda: gan_players(ConvGenerator(4, 8, 2), ConvDiscriminator(8, 2), 5), "codes of 4")
    message_of(lambda: VAEGAN(8, 4).encode(torch.zeros(2, 1, 16, 16)), "[2, 1, 16, 16]")

def test_ranges_that_differ_are_named():
    bright = [(torch.rand(16, 1, 8, 8), torch.arange(16) % 10)]
    message_of(lambda: Trainer(game(), device="cpu").fit(bright), "no real pixel is below 0")
    blank = [(torch.full((16, 1, 8, 8), -1.), torch.arange(16) % 10)]
    message_of(lambda: Trainer(game(), device="cpu").fit(blank), "same value")

def test_a_conditional_game_says_what_is_missing():
    message_of(lambda: conditional_players(ConvGenerator(4, 8, 2), ConvDiscriminator(8, 2, classes=3)), "classes=None and classes=3")
    message_of(lambda: Trainer(game(), device="cpu").fit([torch.zeros(4, 1, 8, 8)]), "pairs (images, labels)")

def test_settings_out_of_range_are_named():
    message_of(lambda: lazy_regularisation(r1_penalty, -1.), "weight of a penalty", "-1.0")
    message_of(lambda: lazy_regularisation(r1_penalty, 1., every=0), "every", "0")
    message_of(lambda: EMA(nn.Linear(1, 1)), "follows a Player")
    message_of(lambda: EMA(Player(Still(), lambda module, batch: module(batch).mean()), 1.), "decay", "1.0")
    message_of(lambda: spectral_norm(nn.ReLU()), "ReLU")
    message_of(lambda: vaegan_players(nn.Linear(1, 1)), "needs a VAEGAN")
    message_of(lambda: sample_class(ConvGenerator(4, 8, 2, classes=3), [0], scale=-1), "scale")
    message_of(lambda: gradient_penalty(lambda x: x.flatten(1).sum(dim=1), torch.zeros(3, 1, 2, 2), torch.zeros(2, 1, 2, 2)), "as many fakes")

def test_what_else_can_be_wrong_gets_a_sentence():
    generator = ConvGenerator(4, 8, 2, classes=3)
    message_of(lambda: ResizeConv(0, 2), "in_channels", "0")
    message_of(lambda: ConvGenerator(4, 8, 2, classes="ten"), "classes", "'ten'")
    message_of(lambda: lazy_regularisation(r1_penalty(lambda x: x.sum(dim=(1, 2, 3)), torch.zeros(1, 1, 2, 2))), "without parentheses")
    message_of(lambda: r1_penalty(ConvDiscriminator(8, 2), torch.zeros(0, 1, 8, 8)), "at least one")
    message_of(lambda: gradient_penalty(ConvDiscriminator(8, 2), None, None), "NoneType")
    message_of(lambda: sample_class(generator, None), "pass labels")
    message_of(lambda: sample_class(generator, "7"), "int64")
    message_of(lambda: sample_class(generator, [0], seed=-1), "seed")
    message_of(lambda: class_agreement(None, torch.argmax), "network")
    message_of(lambda: Trainer(game(), device="cpu").fit([(torch.zeros(4, 1, 8, 8), None)]), "pairs (images, labels)")
    message_of(lambda: Trainer(game(), device="cpu").fit([[1, 2]]), "pairs (images, labels)")
    message_of(lambda: Trainer(vaegan_players(VAEGAN(8, 4, 2)), device="cpu").fit([torch.zeros(2, 1, 16, 16)]), "VAEGAN", "[2, 1, 16, 16]")
