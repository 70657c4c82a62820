"""Chapter 08: losses against PyTorch and the paper's laws, the ring against its own formulas, the two players' steps, and what is said of bad input."""
import copy
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from helpers import normal, message_of
from genesis_course.data import Batches, digits_set, to_floats
from genesis_course.gan import Discriminator, Generator, Ring, dense, discriminator_loss, gan_players, generator_loss, noise, sample, saturating_loss
from genesis_course.guards.gan import check_ranges
from genesis_course.optim import cosine
from genesis_course.training import Checkpoint, Trainer


def rng(seed=0): return torch.Generator().manual_seed(seed)


def small_pair(seed=0):
    torch.manual_seed(seed)
    return Generator(4, 8, 16), Discriminator(8, 16)


def weights(module): return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


# The losses

logits = st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(lambda values: torch.tensor(values, dtype=torch.float64))

@given(real=logits, fake=logits)
@settings(max_examples=60, deadline=None)
def test_losses_are_cross_entropies_with_the_right_labels(real, fake):
    def price(logits, label): return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
    torch.testing.assert_close(discriminator_loss(real, fake), price(real, 1.)+price(fake, 0.))
    torch.testing.assert_close(generator_loss(fake), price(fake, 1.))
    torch.testing.assert_close(saturating_loss(fake), -price(fake, 0.))

@given(fake=logits)
@settings(max_examples=60, deadline=None)
def test_both_generator_losses_pull_the_logits_up_and_sleep_at_opposite_ends(fake):
    fake = fake.requires_grad_()
    awake, asleep = (torch.autograd.grad(loss(fake), fake)[0]*len(fake) for loss in (generator_loss, saturating_loss))
    torch.testing.assert_close(awake, torch.sigmoid(fake)-1)
    torch.testing.assert_close(asleep, -torch.sigmoid(fake))

def test_losses_survive_logits_of_any_size():
    huge = torch.tensor([-1e4, 1e4], requires_grad=True)
    for loss in (generator_loss, saturating_loss, lambda x: discriminator_loss(x, x)):
        value = loss(huge)
        assert value.isfinite() and torch.autograd.grad(value, huge)[0].isfinite().all()

def test_a_discriminator_that_knows_nothing_pays_two_log_two():
    assert discriminator_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(2*math.log(2))

def test_no_discriminator_gets_below_two_log_two_on_equal_samples():
    for seed in range(5):
        same = normal(50, seed=seed)*3
        assert discriminator_loss(same, same) >= 2*math.log(2)-1e-6

def test_no_logit_is_better_than_the_ratio_of_the_densities():
    "Proposition 1 of Goodfellow et al. 2014, on two densities over a few places"
    p, q = normal(6).softmax(0), normal(6, seed=1).softmax(0)
    def loss(l): return (p*F.softplus(-l)+q*F.softplus(l)).sum()
    best = loss(p.log()-q.log())
    assert all(loss(p.log()-q.log()+0.3*normal(6, seed=seed)) > best for seed in range(2, 12))
    m = (p+q)/2
    divergence = ((p*(p/m).log()).sum()+(q*(q/m).log()).sum())/2
    torch.testing.assert_close(best, 2*math.log(2)-2*divergence)


# The ring

@pytest.mark.parametrize("modes, std", [(1, 0.5), (5, 0.3), (8, 0.2)])
def test_density_of_the_ring_integrates_to_one(modes, std):
    side = torch.linspace(-6, 6, 600)
    places = torch.cartesian_prod(side, side)
    total = Ring(modes, std=std).log_density(places).exp().sum()*(side[1]-side[0])**2
    assert total == pytest.approx(1, abs=1e-3)

def test_density_of_the_ring_is_torchs_mixture():
    ring, points = Ring(6, radius=1.5, std=0.3), normal(50, 2)*2
    parts = torch.distributions.Independent(torch.distributions.Normal(ring.centres, 0.3), 1)
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(6)), parts)
    torch.testing.assert_close(ring.log_density(points), mixture.log_prob(points), rtol=1e-4, atol=1e-4)

def test_coverage_of_the_ring_itself_of_a_point_and_of_nothing_near():
    ring = Ring()
    assert ring.coverage(ring.sample(4000, rng()))["modes"] == 8
    one = ring.centres[3].expand(100, 2)
    assert ring.coverage(one) == {"modes": 1, "good": 1.0}
    assert ring.coverage(torch.zeros(100, 2)) == {"modes": 0, "good": 0.0}
    mixed = torch.cat([ring.centres[:2].repeat(49, 1), ring.centres[2:4]])           # two modes with 49 points each, two with one
    assert ring.coverage(mixed) == {"modes": 2, "good": 1.0}

def test_the_ring_samples_with_random_numbers_of_its_own():
    assert torch.equal(Ring().sample(9, rng(3)), Ring().sample(9, rng(3))) and not torch.equal(Ring().sample(9, rng(3)), Ring().sample(9, rng(4)))


# Networks and players

@pytest.mark.parametrize("size, channels, hidden", [(8, 1, (16, 32)), (5, 3, 12), (28, 1, (8,))])
def test_networks_fit_each_other_and_pictures_stay_in_range(size, channels, hidden):
    generator, discriminator = Generator(6, size, hidden, channels), Discriminator(size, hidden, channels, dropout=0.2)
    pictures = generator(100*noise(4, 6, generator=rng()))
    assert pictures.shape == (4, channels, size, size) and pictures.abs().max() <= 1
    assert discriminator(pictures).shape == (4,)

def test_draw_repeats_with_a_seed_and_leaves_mode_and_statistics():
    generator, _ = small_pair()
    before = copy.deepcopy(generator.state_dict())
    first, second = sample(generator, 5, seed=1), sample(generator, 5, seed=1)
    assert torch.equal(first, second) and generator.training and not first.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert not torch.equal(first, sample(generator, 5, seed=2))

def test_each_player_moves_its_own_network_only():
    generator, discriminator = small_pair()
    for player, other in zip(gan_players(generator, discriminator, 4, lr=1e-2), (generator, discriminator)):
        mine, theirs = weights(player.module), weights(other)
        loss = player.loss(player.network, torch.rand(6, 1, 8, 8)*2-1)
        player.step(loss["loss"] if isinstance(loss, dict) else loss)
        assert not torch.equal(mine, weights(player.module)) and torch.equal(theirs, weights(other))

def test_the_discriminators_step_leaves_no_gradient_in_the_generator():
    generator, discriminator = small_pair()
    judge, _ = gan_players(generator, discriminator, 4)
    judge.loss(judge.network, torch.rand(6, 1, 8, 8)*2-1)["loss"].backward()
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())

def test_the_players_loss_is_the_formula_on_the_same_noise():
    generator, discriminator = small_pair()
    judge, forger = gan_players(generator, discriminator, 4)
    real = torch.rand(6, 1, 8, 8)*2-1
    torch.manual_seed(5)
    seen = judge.loss(judge.network, (real, None))
    torch.manual_seed(5)
    fake = generator(noise(6, 4))
    torch.testing.assert_close(seen["loss"], discriminator_loss(discriminator(real), discriminator(fake)))
    torch.testing.assert_close(seen["real logit"], discriminator(real).mean())
    torch.manual_seed(5)
    mine = forger.loss(forger.network, (real, None))
    torch.manual_seed(5)
    torch.testing.assert_close(mine, generator_loss(discriminator(generator(noise(6, 4)))))

def test_a_penalty_is_added_and_logged():
    generator, discriminator = small_pair()
    seen = []
    def penalty(network, real, fake):
        seen.append((network, real.shape, fake.shape))
        return sum(parameter.square().sum() for parameter in network.parameters())
    run = Trainer(gan_players(generator, discriminator, 4, penalty=penalty), device="cpu").fit([torch.rand(6, 1, 8, 8)*2-1])
    assert seen == [(discriminator, torch.Size([6, 1, 8, 8]), torch.Size([6, 1, 8, 8]))] and run.history["discriminator penalty"][0][1] > 0
    assert run.history["discriminator loss"][0][1] > run.history["discriminator penalty"][0][1]

def test_rates_losses_and_settings_reach_the_players():
    generator, discriminator = small_pair()
    players = gan_players(generator, discriminator, 4, lr=(1e-3, 5e-3), schedule=cosine, clip=1.)
    assert [player.name for player in players] == ["discriminator", "generator"]
    assert [player.base_lrs for player in players] == [[5e-3], [1e-3]]
    assert all(player.optimizer.param_groups[0]["betas"] == (0.5, 0.999) and player.clip == 1. for player in players)
    assert gan_players(generator, discriminator, 4, betas=(0.9, 0.99))[0].optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    assert isinstance(gan_players(generator, discriminator, 4, optimizer=torch.optim.SGD)[1].optimizer, torch.optim.SGD)

def test_a_gan_resumes_bit_for_bit(tmp_path):
    data = Batches(digits_set()[:128], batch_size=32)
    def trainer():
        return Trainer(gan_players(*small_pair(), 4, lr=1e-3), Checkpoint(tmp_path/"gan.safetensors"), device="cpu")
    torch.manual_seed(1)
    whole = trainer()
    torch.manual_seed(7)
    whole.fit(data, epochs=2)
    first = trainer()
    torch.manual_seed(7)
    data.set_epoch(0)
    first.fit(data, epochs=1)
    second = trainer()
    second.fit(data, epochs=2, resume=str(tmp_path/"gan.safetensors"))
    for one, other in zip(whole.players, second.players): assert torch.equal(weights(one.module), weights(other.module))

@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.slow
def test_equal_rates_cover_the_ring_and_a_hasty_generator_collapses(seed):
    "The chapter's main claim, on seeds that it does not show"
    ring, modes = Ring(), []
    for lr in (2e-3, (2e-2, 1e-3)):
        torch.manual_seed(seed)
        generator, discriminator = dense(2, 64, 64, 2), dense(2, 64, 64, 1)
        Trainer(gan_players(generator, discriminator, 2, lr=lr), device="cpu").fit([ring.sample(256) for _ in range(300)])
        modes.append(ring.coverage(generator(noise(2000, 2)))["modes"])
    assert modes[0] >= 7 and modes[1] <= 4


# Bad input

REAL = to_floats(digits_set()[:6].images)

def test_ranges_that_differ():
    made = torch.rand(6, 1, 8, 8)
    message_of(lambda: check_ranges(made, REAL), "sigmoid", "tanh", "-1 to 1")
    message_of(lambda: check_ranges(2*made-1, (REAL+1)/2), "no real pixel is below 0", "2*x-1")
    message_of(lambda: check_ranges(2*made-1, 255*(REAL+1)/2), "belong in [-1, 1]", "0 to 2.6e+02")
    message_of(lambda: check_ranges(4*made-2, REAL), "End your generator with tanh")
    message_of(lambda: check_ranges(2*made-1, digits_set()[:6].images), "torch.uint8", "to_floats")
    message_of(lambda: check_ranges(2*made-1, [1, 2]), "list")
    message_of(lambda: check_ranges(2*made-1, torch.full_like(REAL, -1)), "every real pixel has the same value")
    assert check_ranges(2*made-1, REAL) is None
    assert check_ranges(2*made-1, REAL+0.1*normal(6, 1, 8, 8)) is None       # a little noise on the data is a method, not a mistake
    assert check_ranges(normal(5, 2)*9, normal(5, 2)) is None                # points have no range

def test_shapes_that_differ():
    message_of(lambda: check_ranges(torch.zeros(6, 1, 28, 28), REAL), "[1, 28, 28]", "[1, 8, 8]")
    message_of(lambda: check_ranges(torch.zeros(6, 3, 8, 8), REAL), "channels")

def test_players_say_it_before_the_first_step():
    generator = nn.Sequential(nn.Linear(4, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    run = Trainer(gan_players(generator, Discriminator(8, 16), 4), device="cpu")
    message_of(lambda: run.fit([REAL]), "sigmoid")
    assert run.step == 0

def test_latent_sizes_that_do_not_fit():
    generator, discriminator = small_pair()
    message_of(lambda: gan_players(generator, discriminator, 100), "latent_dim is 100", "codes of 4")
    message_of(lambda: generator(noise(3, 5)), "[B, 4]", "[3, 5]", "latent_dim")
    message_of(lambda: generator(REAL), "looks like images")
    message_of(lambda: generator(torch.zeros(3, 4, dtype=torch.long)), "int64")
    message_of(lambda: generator("noise"), "str")
    message_of(lambda: discriminator(noise(3, 4)), "looks like noise")
    message_of(lambda: discriminator(torch.zeros(3, 1, 28, 28)), "[B, 1, 8, 8]", "[3, 1, 28, 28]")
    message_of(lambda: discriminator(digits_set()[:3].images), "uint8")

def test_players_that_cannot_play():
    generator, discriminator = small_pair()
    message_of(lambda: gan_players(generator, generator, 4), "one and the same module")
    message_of(lambda: gan_players(generator, Discriminator(28), 4), "[1, 8, 8]", "[1, 28, 28]")
    message_of(lambda: gan_players(generator, discriminator, 4, lr=(1e-3, 1e-3, 1e-3)), "a pair")
    message_of(lambda: gan_players(generator, discriminator, 4, lr="fast"), "learning rate")
    message_of(lambda: gan_players(None, discriminator, 4), "generator")

@pytest.mark.parametrize("count, latent_dim", [(0, 4), (3, 0), (2.5, 4), ("3", 4), (True, 4), (3, None)])
def test_noise_wants_whole_numbers(count, latent_dim): message_of(lambda: noise(count, latent_dim), "whole number from 1 on")

def test_draw_asks_for_a_latent_size():
    message_of(lambda: sample(dense(2, 4, 2), 3), "latent_dim")
    assert sample(dense(2, 4, 2), 3, latent_dim=2).shape == (3, 2)
    message_of(lambda: sample(small_pair()[0], 0), "count")

def test_dense_wants_widths():
    for widths in [(), (3,), (2, 0, 1), (2, "8", 1), (2, 3.5)]: message_of(lambda: dense(*widths), "widths")

def test_rings_and_points_that_are_none():
    message_of(lambda: Ring(modes=0), "modes")
    message_of(lambda: Ring(radius=-1), "radius")
    message_of(lambda: Ring(std="0.2"), "std")
    message_of(lambda: Ring().coverage(torch.full((3, 2), math.nan)), "NaN", "learning rate")
    message_of(lambda: Ring().coverage(torch.zeros(3, 3)), "[3, 3]")
    message_of(lambda: Ring().coverage(torch.zeros(0, 2)), "at least one")
    message_of(lambda: Ring().coverage("points"), "str")

def test_what_else_can_be_wrong_gets_a_sentence():
    generator, discriminator = small_pair()
    message_of(lambda: Ring().sample(-1), "count")
    message_of(lambda: Ring().log_density(torch.zeros(3, 2, dtype=torch.int64)), "float tensor [B, 2]")
    message_of(lambda: Generator(4, "8"), "size", "quotation marks")
    message_of(lambda: Generator(4, 8, None), "widths of dense", "None")
    message_of(lambda: Discriminator(8, dropout=1.5), "dropout", "1.5")
    message_of(lambda: gan_players(generator, discriminator, 4, losses=generator_loss), "pair of functions")
    message_of(lambda: gan_players(generator, discriminator, "4"), "latent_dim", "'4'")
    message_of(lambda: sample(generator, 3, seed="a"), "seed")
    message_of(lambda: sample("generator", 3), "network")
    message_of(lambda: check_ranges([1, 2], REAL), "returned list")
    message_of(lambda: generator(noise(3, 4).double()), "float64", "[B, 4]")

@pytest.mark.parametrize("batch, fragment", [(None, "NoneType"), ("digits", "str"), ([1, 2], "int"), (torch.tensor(1.), "Tensor"), (torch.zeros(0, 1, 8, 8), "not one image")])
def test_a_batch_without_images_ends_training_with_a_sentence(batch, fragment):
    message_of(lambda: Trainer(gan_players(*small_pair(), 4), device="cpu").fit([batch]), fragment)
