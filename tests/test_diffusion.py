"""Chapter 11b: the U-Net and its parts, forgotten labels, guidance, sampling and reflow, the contest, the recipe, and what is said of bad input."""
import math
import pytest
import torch
from torch import nn
from helpers import message_of, normal
from genesis_course.data import Batches, ImageSet
from genesis_course.diffusion import (TimedBlock, TimeEmbedding, UNet, contest_score, ddpm_loss, few_steps_loss, flow_player, guided, middle_times, reflow_loss, reflow_pairs, sample_pictures, starting_noise)
from genesis_course.flow import SAMPLERS, circular, convert, ddim, euler, flow_loss, mix, steps_to
from genesis_course.state import load_weights
from genesis_course.training import Trainer


@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)


def small(**settings):
    network = UNet(**{"size": 8, "classes": 3, "widths": (8, 16), "told": 8, **settings})
    nn.init.normal_(network.head[-1].weight, std=0.1)          # a new one says 0 whatever it sees
    for part in network.modules():
        if isinstance(part, TimedBlock): nn.init.normal_(part.second.weight, std=0.1)
    return network.eval()


def asked(count=6, size=8, channels=1): return torch.randn(count, channels, size, size), torch.rand(count), torch.arange(count) % 3


# The network

@pytest.mark.parametrize("size", [8, 16, 28])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_comes_out_is_as_large_as_what_goes_in(size, channels):
    x, t, labels = asked(2, size, channels)
    assert UNet(size, channels, widths=(8, 16, 16))(x, t, labels).shape == x.shape

def test_a_new_network_says_nearly_nothing_and_a_new_block_passes_on():
    x, t, labels = asked(4, 16)
    assert UNet()(x, t, labels).abs().max() < 0.5
    block, maps = TimedBlock(8, 8, 4), torch.randn(2, 8, 5, 5)
    assert (block(maps, torch.randn(2, 4))-maps).std(dim=(2, 3)).max() < 1e-6

def test_pictures_do_not_influence_each_other():
    network, (x, t, labels) = small(), asked()
    whole = network(x, t, labels)
    torch.testing.assert_close(torch.cat([network(x[k:k+1], t[k:k+1], labels[k:k+1]) for k in range(6)]), whole, atol=1e-5, rtol=1e-4)

def test_time_class_and_every_pixel_reach_every_pixel():
    network, (x, t, labels) = small(), asked()
    before = network(x, t, labels)
    assert (network(x, (t+0.3) % 1, labels)-before).abs().amin(dim=(1, 2, 3)).max() > 0
    assert ((network(x, t, (labels+1) % 3)-before).flatten(1).norm(dim=1) > 1e-4).all()
    x = x.requires_grad_()
    slope, = torch.autograd.grad(network(x, t, labels)[:, 0, 0, 0].sum(), x)
    assert (slope[:, 0, -1, -1] != 0).all()

def test_every_weight_learns():
    network, (x, t, labels) = small().train(), asked(60)
    flow_loss(network, (x.clamp(-1, 1), labels)).backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.abs().sum()]
    assert not idle

def test_a_network_without_classes_takes_no_labels():
    network, (x, t, labels) = small(classes=None), asked()
    assert network(x, t).shape == x.shape
    message_of(lambda: network(x, t, labels), "without classes")

def test_times_become_vectors_that_differ():
    rows = TimeEmbedding(12)(torch.linspace(0, 1, 50))
    assert rows.shape == (50, 12) and (torch.cdist(rows, rows)+torch.eye(50)).min() > 1e-4


# Forgotten labels

def test_labels_are_forgotten_in_training_only_and_as_often_as_told():
    network, (x, t, labels) = small(drop=0.3), asked(400)
    told = network.tell(t, labels)
    assert torch.equal(network.tell(t, labels), told)
    nothing, some = network.tell(t, None), network.train().tell(t, labels)
    forgotten = (some-nothing).abs().sum(dim=1) < 1e-6
    assert 0.2 < forgotten.float().mean() < 0.4
    torch.testing.assert_close(some[~forgotten], told[~forgotten])

def test_without_labels_any_class_is_drawn():
    network, (x, t, labels) = small(), asked()
    torch.testing.assert_close(network(x, t), network(x, t, None))
    assert not torch.allclose(network(x, t), network(x, t, labels))


# Guidance

def test_guidance_is_a_line_through_two_predictions():
    network, (x, t, labels) = small(), asked()
    one, zero, three = (guided(network, labels, scale)(x, t) for scale in (1., 0., 3.))
    torch.testing.assert_close(one, network(x, t, labels))
    torch.testing.assert_close(zero, network(x, t), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(three, zero+3*(one-zero), atol=1e-4, rtol=1e-4)

def test_without_guidance_a_step_costs_one_call_and_with_it_two():
    network, calls = small(), []
    network.register_forward_hook(lambda *_: calls.append(1))
    for scale, expected in ((1., 4), (1.5, 8)):
        calls.clear()
        sample_pictures(network, [0, 1], calls=4, scale=scale)
        assert len(calls) == expected

def test_guided_noise_is_guided_velocity():
    "Conversion is affine, so it does not matter whether one guides before or after it"
    network, (x, t, labels) = small(), asked()
    before = convert(guided(network, labels, 2.)(x, t), x, t.clamp(0.1, 0.9), "noise", "velocity", circular)
    each = [convert(network(x, t, which), x, t.clamp(0.1, 0.9), "noise", "velocity", circular) for which in (None, labels)]
    torch.testing.assert_close(before, each[0]+2*(each[1]-each[0]), atol=1e-3, rtol=1e-3)


# Losses and times

def test_times_lie_in_the_middle():
    times = middle_times(20000)
    assert times.shape == (20000,) and 0 < times.min() and times.max() < 1
    assert ((times-0.5).abs() < 0.25).float().mean() > 0.7 and abs(times.mean()-0.5) < 0.01

def test_ddpm_loss_of_the_true_noise_is_nothing():
    "All pictures are one: then the noise can be read from the mixture"
    picture = torch.rand(1, 1, 4, 4)*2-1
    def right(x, t, labels):
        alpha, sigma, *_ = (value.view(-1, 1, 1, 1) for value in circular(t))
        return (x-alpha*picture)/sigma
    assert ddpm_loss(right, (picture.expand(50, 1, 4, 4), torch.arange(50))) < 1e-4

def test_reflow_pairs_are_what_the_network_makes_of_the_noise():
    network, labels = small(), torch.tensor([0, 2, 1, 1])
    pictures, same, noise = reflow_pairs(network, labels, calls=3, scale=1.5, seed=4)
    assert torch.equal(same, labels) and torch.equal(noise, starting_noise(network, 4, 4)[0])
    with torch.no_grad(): torch.testing.assert_close(euler(guided(network, labels, 1.5), noise, steps_to(3)).clamp(-1, 1), pictures)

def test_reflow_loss_uses_the_noise_of_the_pair():
    pictures, labels, noise = torch.rand(5, 1, 4, 4)*2-1, torch.arange(5), torch.randn(5, 1, 4, 4)
    assert reflow_loss(lambda x, t, labels: pictures-noise, (pictures, labels, noise)) == 0
    seen = []
    reflow_loss(lambda x, t, labels: seen.append((x, t)) or x, (pictures, labels, noise))
    torch.testing.assert_close(seen[0][0], mix(noise, pictures, seen[0][1]))

def test_the_loss_of_few_steps_is_asked_where_the_student_goes():
    pictures, noise, labels, seen = 2*torch.rand(4, 1, 8, 8)-1, torch.randn(4, 1, 8, 8), torch.arange(4) % 3, []
    def straight_there(x, t, labels): return (pictures-x)/(1-t[0])
    assert few_steps_loss(straight_there, (pictures, labels, noise), 3) < 1e-10
    def constant(x, t, labels):
        seen.append((x, t.unique().item()))
        return torch.full_like(x, 0.4)
    loss = few_steps_loss(constant, (pictures, labels, noise))
    assert [time for _, time in seen] == [0, 0.5]
    torch.testing.assert_close(seen[1][0], noise+0.2)
    torch.testing.assert_close(loss, ((0.4-(pictures-noise)).square().mean()+(0.4-2*(pictures-noise-0.2)).square().mean())/2)

def test_the_loss_of_few_steps_sends_no_gradient_through_the_way():
    pictures, noise, labels = 2*torch.rand(4, 1, 8, 8)-1, torch.randn(4, 1, 8, 8), torch.arange(4) % 3
    first, second = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    few_steps_loss(lambda x, t, labels: (first if t[0] == 0 else second)+0*x, (pictures, labels, noise)).backward()
    torch.testing.assert_close(first.grad, -(pictures-noise).mean().reshape(1))       # of its own error only


# Sampling

def test_a_seed_repeats_the_pictures_and_the_mode_is_kept():
    network = small().train()
    first, second, other = (sample_pictures(network, [0, 1, 2], calls=3, seed=seed) for seed in (1, 1, 2))
    assert network.training and torch.equal(first, second) and not torch.equal(first, other)
    assert not torch.equal(sample_pictures(network, [0], calls=3), sample_pictures(network, [0], calls=3))

@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("path, predicts", [(circular, "noise"), (circular, "velocity")])
def test_every_sampler_draws_with_every_prediction(name, path, predicts):
    made = sample_pictures(small(), [0, 1], calls=3, seed=0, sampler=SAMPLERS[name], path=path, predicts=predicts)
    assert made.shape == (2, 1, 8, 8) and made.isfinite().all() and made.abs().max() <= 1

def test_many_pictures_are_those_of_few():
    network, labels = small(), torch.arange(501) % 3
    many = sample_pictures(network, labels, calls=2, seed=0, sampler=ddim)
    assert many.shape == (501, 1, 8, 8)
    with torch.no_grad(): alone = ddim(guided(network, labels[500:]), starting_noise(network, 501, 0)[0][500:], steps_to(2)).clamp(-1, 1)
    torch.testing.assert_close(many[500:], alone, atol=1e-5, rtol=1e-4)

def test_pictures_without_labels_are_counted():
    assert sample_pictures(small(classes=None), count=3, calls=2).shape == (3, 1, 8, 8)

def test_a_player_learns_to_draw_one_picture():
    picture = ((torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5)*255).to(torch.uint8)
    images = ImageSet(picture.expand(64, 1, 8, 8), torch.arange(64) % 3, list("abc"))
    player, average = flow_player(UNet(8, classes=3, widths=(8, 16), told=16))
    Trainer(player, average, device="cpu").fit(Batches(images, batch_size=32), epochs=60)
    made = sample_pictures(average.module, [0, 1, 2], calls=8, seed=0)
    assert (made-(picture/127.5-1)).abs().mean() < 0.35


# The contest

def test_the_contest_gives_the_same_score_to_the_same_sampler():
    "What the evaluator says is frozen: these numbers must not move"
    for steps, most, known in ((8, 8, 0.185), (50, 50, 0.084)):
        assert abs(contest_score(lambda velocity, x: euler(velocity, x, steps_to(steps)), most)-known) < 0.004

def test_the_contest_counts_calls_and_looks_at_what_comes_back():
    message_of(lambda: contest_score(lambda velocity, x: euler(velocity, x, steps_to(9))), "call 9", "8 are allowed")
    message_of(lambda: contest_score(lambda velocity, x: x.flatten(1)), "pictures")
    message_of(lambda: contest_score(lambda velocity, x: x*math.nan), "NaN")


# What comes with the course

def test_shipped_network_draws_what_it_is_asked_for():
    state, about = load_weights("flow_digits")
    network = UNet(**about["settings"])
    network.load_state_dict(state)
    made = sample_pictures(network, torch.arange(40) % 10, calls=6, scale=1.5, seed=0)
    from genesis_course.evaluation import read_digits
    assert (read_digits(made) == torch.arange(40) % 10).float().mean() > 0.85
    assert about["floor"] < about["fid"] < 2*about["floor"]
    assert all(abs(about[share]-about["real"][share]) < 0.05 for share in ("precision", "recall"))

def test_the_stored_students_have_every_seed():
    students = load_weights("flow_digits")[1]["tables"]["students"]
    seeds = {}
    for run in students: seeds.setdefault(run["who"], set()).add(run["seed"])
    assert len(seeds) == 4 and all(each == {0, 1, 2} for each in seeds.values())


# Bad input

X, T, L = torch.randn(4, 1, 8, 8), torch.rand(4), torch.arange(4) % 3

@pytest.mark.parametrize("call, words", [
    (lambda: UNet(size=18), ("halved 2 times", "20")),
    (lambda: UNet(widths=(12, 24)), ("groups", "(16, 32, 64)")),
    (lambda: UNet(widths=()), ("widths",)),
    (lambda: UNet(classes=1), ("classes",)),
    (lambda: UNet(drop=1.), ("drop",)),
    (lambda: small()(torch.randn(4, 1, 16, 16), T, L), ("[B, 1, 8, 8]", "size=")),
    (lambda: small()(X, T+1, L), ("Times run from 0",)),
    (lambda: small()(X, T, L+1), ("run from 0 to 2",)),
    (lambda: small()(X, T, L.float()), ("whole numbers",)),
    (lambda: guided(small(classes=None), L, 2.), ("without classes",)),
    (lambda: guided(small(), L, -1.), ("scale",)),
    (lambda: sample_pictures(small(), [0], calls=0), ("calls", "from 1 on")),
    (lambda: sample_pictures(small()), ("How many",)),
    (lambda: sample_pictures(small(), count=2, scale=2.), ("towards what",)),
    (lambda: sample_pictures(small(), 7), ("labels",)),
    (lambda: sample_pictures(lambda x, t: x, [0]), ("network",)),
    (lambda: reflow_loss(small(), (X, L)), ("reflow_pairs",)),
    (lambda: few_steps_loss(small(), (X, L)), ("reflow_pairs",)),
    (lambda: few_steps_loss(small(), (X, L, X), 0), ("steps", "from 1 on")),
    (lambda: flow_player("network"), ("network",)),
    (lambda: flow_loss(small(), (X.clamp(0, 1), L)), ("[-1, 1]",)),
])
def test_bad_input_is_told_in_a_sentence(call, words): message_of(call, *words)

def test_a_network_that_lost_its_mind_is_told():
    network = small()
    with torch.no_grad(): network.stem.weight.fill_(math.nan)
    message_of(lambda: sample_pictures(network, [0, 1]), "NaN", "t = 0")
