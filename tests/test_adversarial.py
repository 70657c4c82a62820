"""Chapter 13: attacks against gradients written by hand and against the laws of a projection, what they leave alone, and what is said of bad input."""
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from helpers import normal, message_of
from genesis_course.adversarial import accuracy_under, adversarial_loss, fgsm, perturb, pgd
from genesis_course.data import Batches, load_images
from genesis_course.evaluation import read_digits
from genesis_course.training import Player, Trainer, accuracy, evaluate


def linear(classes=3, pixels=16, seed=0):
    layer = nn.Linear(pixels, classes).double()
    layer.weight.data, layer.bias.data = normal(classes, pixels, seed=seed), normal(classes, seed=seed+1)
    return nn.Sequential(nn.Flatten(), layer)


def pictures(count=6, side=4, seed=0): return normal(count, 1, side, side, seed=seed).clamp(-1, 1)


def labels(count=6, classes=3): return torch.arange(count) % classes


def delicate():
    "Everything that an attack could disturb: batch norm, dropout, parts in different modes, a frozen layer, a gradient that waits"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    model[5].eval()
    model[4].requires_grad_(False)
    for p in model.parameters():
        if p.requires_grad: p.grad = torch.full_like(p, 0.5)
    return model


def losses(model, x, y): return F.cross_entropy(model(x), y, reduction="none")


# FGSM

def test_fgsm_is_the_gradient_written_by_hand():
    "Cross-entropy of a linear model: its gradient is Wᵀ(p − onehot)"
    model, x, y = linear(), pictures(), labels()
    by_hand = (model(x).softmax(dim=1)-F.one_hot(y, 3)) @ model[1].weight
    assert torch.equal(fgsm(model, x, y, 0.1), (x+0.1*by_hand.detach().view_as(x).sign()).clamp(-1, 1))

def test_fgsm_takes_the_worst_corner_of_all():
    "A neuron on four pixels: none of the 16 corners has a larger loss"
    model, x, y = linear(2, 4), pictures(1, 2)*0.5, labels(1)
    corners = torch.cartesian_prod(*[torch.tensor([-0.2, 0.2]).double()]*4).view(-1, 1, 2, 2)
    worst = losses(model, x+corners, y.expand(16)).max()
    assert torch.isclose(losses(model, fgsm(model, x, y, 0.2), y)[0], worst, atol=1e-12)

def test_in_the_other_norm_the_best_change_lies_along_the_gradient():
    x, w = pictures()*0.1, normal(16, seed=4)
    moved = perturb(x, lambda v: v.flatten(1) @ w, 0.5, norm=2) - x
    torch.testing.assert_close(moved.flatten(1), (0.5*w/w.norm()).expand(6, -1))

def test_an_attack_does_not_depend_on_the_batch_it_is_made_in():
    "Sum or mean, one picture or many; batch norm is asked in evaluation mode"
    model, x, y = delicate(), pictures(), labels()
    together = fgsm(model, x, y, 0.1)
    torch.testing.assert_close(torch.cat([fgsm(model, x[i:i+1], y[i:i+1], 0.1) for i in range(6)]), together)
    def objective(how): return lambda v: getattr(losses(linear(), v, y), how)()
    assert torch.equal(perturb(x, objective("mean"), 0.1), perturb(x, objective("sum"), 0.1))


# PGD and its projection

@given(eps=st.floats(0, 2.5), steps=st.integers(1, 6), step=st.one_of(st.none(), st.floats(0.01, 5)), norm=st.sampled_from([2, math.inf]),
       start=st.booleans(), span=st.tuples(st.floats(-1, -0.2), st.floats(0.2, 1)), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_no_attack_leaves_its_ball_or_the_range(eps, steps, step, norm, start, span, seed):
    x, (low, high) = pictures(seed=seed).clamp(*span), span
    moved = pgd(linear(seed=seed), x, labels(), eps, steps, step, random_start=start, low=low, high=high, norm=norm)
    change = (moved-x).flatten(1)
    assert moved.min() >= low and moved.max() <= high and moved.shape == x.shape and moved.dtype == x.dtype
    assert (change.norm(dim=1) if norm == 2 else change.abs().amax(dim=1)).max() <= eps*(1+1e-9)+1e-12

@given(seed=st.integers(0, 20), eps=st.floats(0.01, 0.5))
@settings(max_examples=20, deadline=None)
def test_more_steps_never_lower_the_loss_of_a_straight_model(seed, eps):
    "With two classes the slope of a linear model never turns"
    model, x, y = linear(2, seed=seed), pictures(seed=seed), labels(classes=2)
    climbs = [losses(model, pgd(model, x, y, eps, steps, eps/5, random_start=False), y) for steps in range(1, 8)]
    for lower, higher in zip([losses(model, x, y), *climbs], climbs): assert (higher >= lower-1e-12).all()
    torch.testing.assert_close(climbs[-1], losses(model, fgsm(model, x, y, eps), y))        # five steps of a fifth are there

def test_from_any_start_the_usual_step_size_reaches_the_corner():
    model, x, y = linear(2), pictures(), labels(classes=2)
    for seed in range(5): torch.testing.assert_close(pgd(model, x, y, 0.3, steps=7, generator=torch.Generator().manual_seed(seed)), fgsm(model, x, y, 0.3))

def test_a_target_is_approached():
    model, x, y = linear(), pictures(), labels()
    target = (y+1) % 3
    moved = pgd(model, x, y, 1., steps=20, target=target)
    assert (losses(model, moved, target) < losses(model, x, target)).all() and accuracy(model(moved), target) > 0.8
    x = x/2                                                          # away from the edges of the range
    torch.testing.assert_close(pgd(model, x, y, 0.1, steps=1, target=target, random_start=False), 2*x-fgsm(model, x, target, 0.1))

def test_a_step_of_pgd_without_a_random_start_is_fgsm():
    model, x, y = linear(), pictures(), labels()
    assert torch.equal(pgd(model, x, y, 0.2, steps=1, random_start=False), fgsm(model, x, y, 0.2))

@pytest.mark.parametrize("norm", [2, math.inf])
def test_the_start_is_somewhere_within_eps_and_its_random_numbers_are_its_own(norm):
    x = torch.zeros(2000, 1, 2, 2)
    def start(rng): return perturb(x, lambda v: 0*v.sum(), 0.5, random_start=True, norm=norm, generator=rng)
    state = torch.get_rng_state()
    first, again, other = (start(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(first, again) and not torch.equal(first, other)
    far = first.flatten(1).norm(dim=1) if norm == 2 else first.abs().flatten()
    assert far.max() <= 0.5+1e-6 and 0.2 < far.mean() < 0.3 and abs(first.mean()) < 0.02

def test_no_distance_is_no_change():
    for norm in (2, math.inf): assert torch.equal(perturb(pictures(), lambda v: v.sum(), 0., steps=3, norm=norm, random_start=True), pictures())

def test_a_flat_objective_moves_nothing_and_says_so_by_that():
    for norm in (2, math.inf): assert torch.equal(perturb(pictures(), lambda v: 0*v.sum(), 0.3, norm=norm), pictures())

def test_codes_without_a_range_can_be_moved():
    z = 5*normal(7, 12)
    moved = perturb(z, lambda v: v.square().sum(dim=1), 2., steps=5, low=-math.inf, high=math.inf, norm=2)
    torch.testing.assert_close(moved, z*(1+2/z.norm(dim=1, keepdim=True)))


# What is left alone

@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_an_attack_leaves_no_trace(attack):
    model, x, y = delicate(), pictures(), labels()
    modes, wants = [part.training for part in model.modules()], [p.requires_grad for p in model.parameters()]
    state, before = {name: value.clone() for name, value in model.state_dict().items()}, x.clone()
    with torch.no_grad(): moved = attack(model, x, y, 0.2)
    assert not moved.requires_grad and torch.equal(x, before) and not x.requires_grad and not torch.equal(moved, x)
    assert all(torch.equal(p.grad, torch.full_like(p, 0.5)) if p.requires_grad else p.grad is None for p in model.parameters())
    assert modes == [part.training for part in model.modules()] and wants == [p.requires_grad for p in model.parameters()]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(moved, attack(model, x, y, 0.2)) or attack is pgd

def test_modes_come_back_also_when_the_attack_fails():
    model = delicate()
    modes = [part.training for part in model.modules()]
    message_of(lambda: pgd(model, pictures(), labels()+7, 0.1))
    assert modes == [part.training for part in model.modules()]

def test_images_of_a_graph_are_cut_off_from_it():
    x = pictures().requires_grad_()
    assert not perturb(2*x/2, lambda v: v.square().sum(), 0.1).requires_grad


# Measuring and training

def test_accuracy_under_no_attack_is_accuracy():
    model, x, y = linear(), pictures(50), labels(50)
    batches = Batches(x, y, batch_size=16, shuffle=False)
    plain = evaluate(model, batches, lambda module, pair: accuracy(module(pair[0]), pair[1]))["loss"]
    assert accuracy_under(None, model, batches) == plain == accuracy_under(lambda m, images, labels: images, model, batches)
    assert accuracy_under(lambda *given: fgsm(*given, 1.), model, batches) < plain

def test_adversarial_loss_is_the_cross_entropy_at_the_attacked_images_and_reaches_the_weights():
    model, x, y = linear(), pictures(), labels()
    attack = lambda *given: fgsm(*given, 0.1)
    loss = adversarial_loss(attack)(model, (x, y))
    assert torch.isclose(loss, F.cross_entropy(model(attack(model, x, y)), y))
    loss.backward()
    assert model[1].weight.grad.abs().sum() > 0

@pytest.mark.parametrize("seed", range(3))
def test_training_under_attack_protects(seed):
    digits, others = load_images("digits", "train"), load_images("digits", "test")
    held, attack = Batches(others, batch_size=360, shuffle=False), lambda *given: pgd(*given, 0.2, steps=3)
    def trained(loss):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        Trainer(Player(model, loss, lr=3e-3), device="cpu").fit(Batches(digits, seed=seed), epochs=8)
        return accuracy_under(lambda *given: pgd(*given, 0.2, steps=10), model, held)
    assert trained(adversarial_loss(attack)) > trained(adversarial_loss(lambda m, x, y: x)) + 0.05


# Bad input

@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf, "0.1", None, True])
def test_bad_eps(eps): message_of(lambda: fgsm(linear(), pictures(), labels(), eps), "eps", "0 or more")

@pytest.mark.parametrize("steps", [0, -1, 2.5, "3", None])
def test_bad_steps(steps): message_of(lambda: pgd(linear(), pictures(), labels(), 0.1, steps=steps), "steps", "from 1 on")

@pytest.mark.parametrize("size", [0, -0.1, math.nan, "x"])
def test_bad_step_size(size): message_of(lambda: pgd(linear(), pictures(), labels(), 0.1, step_size=size), "step_size")

@pytest.mark.parametrize("norm", [1, 0, "inf", None, -math.inf])
def test_bad_norm(norm): message_of(lambda: perturb(pictures(), lambda v: v.sum(), 0.1, norm=norm), "norm is math.inf or 2")

@pytest.mark.parametrize("images", [255*pictures(), pictures()+1.5, pictures()-0.01], ids=["bytes as floats", "shifted", "a little too dark"])
def test_images_outside_their_range(images): message_of(lambda: fgsm(linear(), images, labels(), 0.1), "span", "[-1, 1]")

def test_images_in_another_range_when_told_so():
    x = (pictures()+1)/2
    assert fgsm(linear(), x, labels(), 0.1, low=0., high=1.).min() >= 0

def test_images_that_are_none():
    message_of(lambda: fgsm(linear(), pictures()*math.nan, labels(), 0.1), "NaN")
    message_of(lambda: fgsm(linear(), (255*pictures()).to(torch.uint8), labels(), 0.1), "uint8 [6, 1, 4, 4]", "to_floats")
    for images in (None, "x", torch.zeros(3), pictures()[:0]): message_of(lambda: fgsm(linear(), images, labels(), 0.1), "batch of float images")

@pytest.mark.parametrize("wrong", [labels()[:5], labels().float(), labels()[:, None], labels().int(), None, [0, 1, 2, 0, 1, 2]], ids=["too few", "floats", "a column", "int32", "None", "a list"])
def test_labels_of_the_wrong_kind(wrong): message_of(lambda: fgsm(linear(), pictures(), wrong, 0.1), "Labels are whole numbers")

@pytest.mark.parametrize("wrong", [labels()-1, labels()+1])
def test_labels_that_name_no_class(wrong):
    message_of(lambda: fgsm(linear(), pictures(), wrong, 0.1), "3 classes", "0 to 2")
    message_of(lambda: pgd(linear(), pictures(), labels(), 0.1, target=wrong), "3 classes", "0 to 2")

def test_models_that_are_no_classifiers():
    message_of(lambda: fgsm(lambda x: x, pictures(), labels(), 0.1), "A network is attacked here", "perturb")
    message_of(lambda: fgsm(nn.Identity(), pictures(), labels(), 0.1), "logits [B, classes]")

def test_objectives_that_cannot_be_climbed():
    x = pictures()
    message_of(lambda: perturb(x, linear(), 0.1), "one number", "logits")
    message_of(lambda: perturb(x, lambda v: None, 0.1), "NoneType")
    message_of(lambda: perturb(x, lambda v: v.sum().item(), 0.1), "float")
    message_of(lambda: perturb(x, lambda v: v.detach().sum(), 0.1), "argmax")
    message_of(lambda: perturb(x.float(), lambda v: read_digits(v).sum(), 0.1), "argmax")
    message_of(lambda: perturb(x, lambda v: (v-v).sqrt().sum(), 0.1), "gradient", "NaN")

def test_a_batch_that_is_no_pair(): message_of(lambda: accuracy_under(None, linear(), [torch.zeros(3, 16)]), "pairs")
