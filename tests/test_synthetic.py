"""Chapter 24b: painters that see what they are given and nothing else, variances and kinds over generations, and what bad input is told."""
import math
import pytest
import torch
from helpers import message_of
from genesis_course.data import load_images
from genesis_course.synthetic import PAINTERS, expected_variance, feed_on_itself, normal_chains, run_steps, share_alive, vae_painter
from genesis_course.training import Player
from genesis_course.transfer import few_labels


def rng(seed=0): return torch.Generator().manual_seed(seed)


def twenty(): return few_labels(load_images("digits", "train"), 2, seed=0)


# Painters

@pytest.mark.parametrize("name", PAINTERS)
def test_a_painter_draws_what_is_asked_for_from_one_picture_on(name):
    torch.manual_seed(0)
    for few in (twenty(), few_labels(load_images("digits", "train"), 1, seed=0)):
        made = PAINTERS[name](few, steps=3)(torch.arange(7))
        assert made.shape == (7, 1, 8, 8) and made.min() >= -1 and made.max() <= 1 and made.isfinite().all() and not made.requires_grad


@pytest.mark.parametrize("name", PAINTERS)
def test_a_painter_depends_on_the_pictures_that_it_was_given(name):
    few = twenty()
    other = few[torch.arange(20)]
    other.images = few.images.flip(3)
    def drawn(images):
        torch.manual_seed(0)
        draw = PAINTERS[name](images, steps=4)
        torch.manual_seed(1)
        return draw(torch.arange(5))
    assert torch.equal(drawn(few), drawn(few)) and not torch.equal(drawn(few), drawn(other))


def test_a_painter_leaves_its_pictures_as_they_are():
    few = twenty()
    before = few.images.clone()
    vae_painter(few, steps=2)
    assert torch.equal(few.images, before)


@pytest.mark.parametrize("rows, size", [(10, 10), (200, 64)])
def test_batches_are_of_64_or_of_all_there_is(rows, size):
    sizes, layer = [], torch.nn.Linear(1, 1)
    def loss(module, batch): return sizes.append(len(batch[0])) or module(batch[0]).square().mean()
    run_steps(Player(layer, loss), (torch.zeros(rows, 1),), steps=7)
    assert sizes == [size]*7


# Normal distributions

def test_the_expected_variance_is_the_formula():
    assert torch.allclose(expected_variance(20, 10), 0.95**torch.arange(11.).double())
    euler = math.sin(math.pi/math.sqrt(20))/(math.pi/math.sqrt(20))
    assert abs(expected_variance(20, 20_000, accumulate=True)[-1].item()-euler) < 1e-5
    assert expected_variance(20, 1)[-1] == expected_variance(20, 1, accumulate=True)[-1] == 0.95
    assert expected_variance(1, 5, accumulate=True)[-1] == 0


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("count", [5, 40])
def test_the_simulation_agrees_with_the_formula(count, accumulate):
    means, variances = normal_chains(count, 6, accumulate, chains=20_000, seed=1)
    expected = expected_variance(count, 6, accumulate)
    assert means.shape == variances.shape == (7, 20_000)
    error = variances.double().std(dim=1)/math.sqrt(20_000)
    assert ((variances.double().mean(dim=1)-expected).abs() <= 5*error+1e-9).all()
    assert (means.mean(dim=1).abs() < 5*means.std(dim=1)/math.sqrt(20_000)+1e-9).all()


def test_chains_repeat_with_the_seed():
    assert torch.equal(normal_chains(5, 3, chains=4, seed=2)[1], normal_chains(5, 3, chains=4, seed=2)[1])
    assert not torch.equal(normal_chains(5, 3, chains=4, seed=2)[1], normal_chains(5, 3, chains=4, seed=3)[1])


# Kinds

@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_kind_is_gone_after_one_generation_with_the_chance_that_nobody_drew_it(share):
    alive = share_alive(share, 30, 4)
    assert alive[0] == 1 and abs(alive[1].item()-(1-(1-share)**30)) < 1e-9
    assert (alive[1:] <= alive[:-1]+1e-12).all() and len(alive) == 5


def test_what_is_drawn_by_chance_agrees():
    "A hundred thousand families, drawn one by one"
    count, share, generations = 20, 0.1, 5
    shares = torch.full((100_000,), share, dtype=torch.float64)
    for _ in range(generations): shares = torch.distributions.Binomial(count, shares).sample()/count
    assert abs((shares > 0).double().mean().item()-share_alive(share, count, generations)[-1].item()) < 0.006


def test_all_or_none_stay_as_they_are():
    assert torch.equal(share_alive(1., 10, 6), torch.ones(7, dtype=torch.float64)) and share_alive(0., 10, 3)[1:].abs().max() == 0


def test_a_share_in_the_end_survives_with_its_own_probability():
    "Wright 1931: a kind takes over with a probability that equals its share"
    assert abs(share_alive(0.3, 12, 400)[-1].item()-0.3) < 1e-4


# Families

@pytest.mark.parametrize("accumulate, sizes", [(False, [3, 3, 3, 3]), (True, [3, 6, 9, 12])])
def test_a_family_learns_from_what_it_should(accumulate, sizes):
    seen = []
    def fit(data): return seen.append(data.flatten().tolist()) or len(seen)
    def draw(model, count): return torch.full((count, 1), 10.*model)
    models = feed_on_itself(torch.tensor([[1.], [2.], [3.]]), fit, draw, 4, accumulate)
    assert models == [1, 2, 3, 4] and [len(data) for data in seen] == sizes and seen[0] == [1, 2, 3]
    assert seen[3][-3:] == [30, 30, 30] and seen[3][:3] == ([1, 2, 3] if accumulate else [30, 30, 30])


def test_a_family_of_means_and_variances_is_a_chain():
    torch.manual_seed(0)
    real = torch.randn(400, 10)
    def fit(data): return data.mean(dim=1, keepdim=True), data.std(dim=1, correction=0, keepdim=True)
    def draw(model, count): return model[0] + model[1]*torch.randn(count, 10)
    spreads = torch.stack([spread.square().mean() for _, spread in feed_on_itself(real, fit, draw, 6)])
    assert torch.allclose(spreads.double(), expected_variance(10, 6)[1:], atol=0.08)


# Bad input

@pytest.mark.parametrize("call, words", [
    (lambda: vae_painter(torch.zeros(4, 1, 8, 8)), "ImageSet"),
    (lambda: vae_painter(load_images("digits", size=16)[:4]), "8 by 8"),
    (lambda: vae_painter(load_images("digits")[:0]), "at least one"),
    (lambda: vae_painter(twenty(), steps=0), "steps"),
    (lambda: PAINTERS["GAN"](twenty(), steps=1.5), "steps"),
    (lambda: PAINTERS["flow"]("digits"), "ImageSet"),
    (lambda: PAINTERS["particles"](None), "ImageSet"),
    (lambda: expected_variance(0, 5), "count"),
    (lambda: normal_chains(5, -1), "generations"),
    (lambda: share_alive(5, 100, 3), "from 0 to 1"),
    (lambda: share_alive(0.1, 100, 0), "generations"),
    (lambda: feed_on_itself([], max, min), "tensor"),
    (lambda: feed_on_itself(torch.zeros(0, 2), max, min), "at least one"),
    (lambda: feed_on_itself(torch.zeros(3, 2), max, None), "draw"),
    (lambda: feed_on_itself(torch.zeros(3, 2), max, min, 0), "generations"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_told_what_to_do(call, words):
    message = message_of(call)
    assert words in message and len(message) < 400
