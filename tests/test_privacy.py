"""Chapter 25a: scores and their curve, the likelihood ratio, the clipped and noisy step and its ε, generators as suspects, secrets, and what is said of bad input."""
import csv
import json
import math
from pathlib import Path
import pytest
import torch
from helpers import message_of
from sklearn.metrics import roc_auc_score, roc_curve
from genesis_course.privacy import (ManyNets, auc, batches_of, confidence, each_gradient, epsilon, halves, learn_flow, learn_gan, learn_vae, likelihood_ratio, plain_net, private_mean,
                                    roc, secret_patterns, times_extracted, tpr_at, train_halves, train_privately)

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)


def rng(seed=0): return torch.Generator().manual_seed(seed)
def crowd(count=60): return torch.rand(count, 1, 8, 8)*2-1


# Scores

def test_the_curve_and_its_area_are_those_of_scikit_learn_also_with_ties():
    inside, outside = torch.randn(80).round(decimals=1)+0.5, torch.randn(120).round(decimals=1)
    truth, scores = [1]*80+[0]*120, torch.cat([inside, outside])
    assert auc(inside, outside) == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    mine = roc(inside, outside)
    torch.testing.assert_close(mine[0], torch.tensor(false), atol=1e-9, rtol=0)
    torch.testing.assert_close(mine[1], torch.tensor(true), atol=1e-9, rtol=0)

def test_perfect_useless_and_exchanged_scores():
    low, high = torch.arange(10.), torch.arange(10., 30.)
    assert auc(high, low) == 1 and auc(low, high) == 0 and auc(low, low) == pytest.approx(0.5)
    assert tpr_at(high, low, 0.1) == 1 and tpr_at(low, high, 0.1) == 0

@pytest.mark.parametrize("rate", [0.01, 0.05, 0.29, 0.5])
def test_no_more_outsiders_are_accused_than_allowed_and_one_more_would_be_too_many(rate):
    outside = torch.randn(100)
    allowed = round(100*rate)
    ordered = outside.sort(descending=True).values
    assert tpr_at(outside, outside, rate) == pytest.approx(allowed/100)
    assert tpr_at(ordered[allowed:allowed+1], outside, rate) == 0


# Networks on halves

def test_many_networks_are_as_many_networks():
    nets, x = ManyNets(3, 5, 7, 4), torch.randn(3, 6, 5)
    for shift in nets.shifts: torch.nn.init.normal_(shift)
    alone = torch.stack([plain_net([nets.first[k], nets.shifts[0][k, 0], nets.second[k], nets.shifts[1][k, 0]], x[k]) for k in range(3)])
    torch.testing.assert_close(nets(x), alone)

def test_each_half_is_half_and_random():
    inside = halves(200, 10, rng())
    assert (inside.sum(dim=1) == 5).all() and (inside.double().mean(dim=0)-0.5).abs().max() < 0.15
    assert torch.equal(inside, halves(200, 10, rng())) and not torch.equal(inside, halves(200, 10, rng(1)))

def test_a_member_is_learned_and_an_outsider_is_not():
    x, y = torch.randn(40, 6), torch.randint(10, (40,))                      # labels without any rule: only memory helps
    seen = train_halves(x, y, models=4, epochs=150, batch=20, lr=0.02, looks=(1,))
    assert list(seen) == [1, 150]
    inside, logits = seen[150]
    right = logits.argmax(dim=2) == y
    assert right[inside].double().mean() > 0.95 and right[~inside].double().mean() < 0.4
    torch.testing.assert_close(logits, train_halves(x, y, models=4, epochs=150, batch=20, lr=0.02)[150][1])
    score = likelihood_ratio(inside, confidence(logits, y))
    assert auc(score[inside], score[~inside]) > 0.9

def test_confidence_is_the_logit_of_the_right_class():
    logits, labels = torch.randn(2, 5, 4, dtype=torch.double), torch.tensor([0, 3, 1, 2, 2])
    p = logits.softmax(dim=2).gather(2, labels.expand(2, -1)[..., None])[..., 0]
    torch.testing.assert_close(confidence(logits, labels), (p/(1-p)).log())
    assert torch.isfinite(confidence(1000*logits, labels)).all()

def test_the_ratio_is_that_of_two_normal_distributions_and_does_not_look_at_its_own_target():
    inside, phi = halves(6, 8, rng()), torch.randn(6, 8, dtype=torch.double)
    others = torch.arange(6) != 2
    ins, values = inside[others], phi[others]
    parts = []
    for group in (ins, ~ins):
        mean = torch.stack([values[group[:, n], n].mean() if group[:, n].any() else torch.tensor(0.).double() for n in range(8)])
        spread = (((values-mean)**2)[group]).mean().sqrt()
        parts.append(torch.distributions.Normal(mean, spread).log_prob(phi[2]))
    torch.testing.assert_close(likelihood_ratio(inside, phi)[2], parts[0]-parts[1])
    other = inside.clone()
    other[2] = ~other[2]
    torch.testing.assert_close(likelihood_ratio(other, phi)[2], likelihood_ratio(inside, phi)[2])


# A promise

def test_a_step_is_bounded_by_the_clip_whoever_is_added():
    gradients = [torch.randn(9, 3, 4)*10, torch.randn(9, 5)*10]
    whole = private_mean(gradients, 0.7, 0., 3.)
    less = private_mean([each[1:] for each in gradients], 0.7, 0., 3.)
    moved = sum((a-b).square().sum() for a, b in zip(whole, less)).sqrt()
    assert moved.item() == pytest.approx(0.7/3, rel=1e-5)

def test_short_gradients_are_left_alone_and_the_noise_has_its_size():
    gradients = [1e-3*torch.randn(4, 6)]
    torch.testing.assert_close(private_mean(gradients, 1., 0., 2.)[0], gradients[0].sum(dim=0)/2)
    noisy = private_mean([torch.zeros(1, 20_000)], 0.5, 3., 4.)[0]
    assert noisy.std().item() == pytest.approx(3*0.5/4, rel=0.03)
    assert private_mean([torch.zeros(0, 6)], 1., 0., 2.)[0].abs().sum() == 0

def test_gradients_of_each_example_add_up_to_that_of_the_batch():
    weights = [torch.randn(3, 4, requires_grad=True), torch.randn(4, requires_grad=True), torch.randn(4, 5, requires_grad=True), torch.randn(5, requires_grad=True)]
    x, y = torch.randn(7, 3), torch.randint(5, (7,))
    torch.nn.functional.cross_entropy(plain_net(weights, x), y, reduction="sum").backward()
    for weight, each in zip(weights, each_gradient(weights, x, y)): torch.testing.assert_close(each.sum(dim=0), weight.grad, atol=1e-5, rtol=1e-4)

def test_a_private_network_learns_and_repeats():
    x = torch.randn(80, 4)
    y = (x[:, 0] > 0).long()
    weights = train_privately(x, y, 0.5, steps=80)
    assert (plain_net(weights, x).argmax(dim=1) == y).double().mean() > 0.8
    torch.testing.assert_close(weights, train_privately(x, y, 0.5, steps=80))

@pytest.mark.parametrize("share, sigma, steps, delta, known", [(0.01, 4., 10_000, 1e-5, 1.26), (256/60_000, 1.1, 14_062, 1e-5, 3.01)])
def test_epsilon_is_that_of_known_accountants(share, sigma, steps, delta, known): assert epsilon(share, sigma, steps, delta) == pytest.approx(known, abs=0.01)

def test_epsilon_grows_with_steps_and_share_and_falls_with_noise():
    base = epsilon(0.1, 2., 100)
    assert base < epsilon(0.1, 2., 200) < 2*base+1e-9 and base < epsilon(0.2, 2., 100) and epsilon(0.1, 3., 100) < base < epsilon(0.1, 2., 100, 1e-6)

def test_one_step_of_all_is_near_the_gaussian_mechanism():
    "Whole orders: min over α of α/2σ² + log(1/δ)/(α-1)"
    exact = min(a/(2*5**2)+math.log(1e3)/(a-1) for a in range(2, 129))
    assert epsilon(1-1e-12, 5., 1) == pytest.approx(exact, rel=1e-4)


# Suspects and secrets

@pytest.mark.slow
@pytest.mark.parametrize("learn", [learn_vae, learn_flow, learn_gan])
def test_a_suspect_draws_and_scores_and_knows_what_it_saw(learn):
    seen, new = secret_patterns(60, seed=1), secret_patterns(60, seed=2)
    suspect = learn(seen)
    assert suspect.draw(5).shape == (5, 1, 8, 8) and suspect.draw(5).abs().max() <= 1
    first, again = suspect.score(seen), suspect.score(seen)
    assert first.shape == (60,) and torch.equal(first, again) and not first.requires_grad
    assert auc(first, suspect.score(new)) > 0.8

def test_patterns_are_symmetrical_and_differ():
    made = secret_patterns(20, seed=3)
    assert torch.equal(made, made.flip(3)) and set(made.unique().tolist()) == {-1., 1.} and len(made.flatten(1).unique(dim=0)) == 20
    assert torch.equal(made, secret_patterns(20, seed=3))

def test_what_came_out_is_counted_and_the_nearest_named():
    secrets = secret_patterns(3)
    drawn = torch.cat([secrets[[1, 1, 2]]+0.1*torch.randn(3, 1, 8, 8), torch.zeros(4, 1, 8, 8)])
    counts, nearest = times_extracted(drawn, secrets)
    assert counts.tolist() == [0, 2, 1] and nearest[2] == 2
    assert times_extracted(drawn, secrets, 1.01)[0].tolist() == [4, 6, 5]

def test_batches_have_fifty_pictures(): assert [len(batch[0]) for batch in batches_of(crowd(120))] == [50, 50]

def test_the_stored_table_is_that_of_the_benchmark():
    stored = json.loads((ROOT/"benchmarks"/"results"/"responsibility.json").read_text())["table"]
    with open(ROOT/"nbs"/"responsibility.csv", encoding="utf-8", newline="") as file: rows = list(csv.DictReader(file))
    assert rows == [{key: str(value) for key, value in row.items()} for row in stored] and len({row["name"] for row in rows}) == 4


# Bad input

PAIR = torch.zeros(6, 3), torch.zeros(6, dtype=torch.long)
REFUSED = [
    (lambda: roc(torch.tensor([]), torch.ones(3)), ("members", "at least one")),
    (lambda: roc(torch.ones(3), torch.tensor([1, 2])), ("outsiders", "floats")),
    (lambda: auc(torch.tensor([float("nan")]), torch.ones(2)), ("NaN", "members")),
    (lambda: tpr_at(torch.ones(3), torch.ones(3)), ("3 outsiders", "101")),
    (lambda: tpr_at(torch.ones(300), torch.ones(300), 1), ("below 1",)),
    (lambda: tpr_at(torch.ones(300), torch.ones(300), "1%"), ("number", "'1%'")),
    (lambda: halves(3, 7, rng()), ("even", "7")),
    (lambda: train_halves(PAIR[0][:5], PAIR[1][:5]), ("even", "5")),
    (lambda: train_halves(torch.zeros(6, 1, 8, 8), PAIR[1]), ("[N, F]", "flatten(1)")),
    (lambda: train_halves(PAIR[0], PAIR[1].float()), ("int64", "6")),
    (lambda: train_halves(PAIR[0], PAIR[1]+12), ("ten classes", "12")),
    (lambda: train_halves(*PAIR, models=2), ("3 on", "2")),
    (lambda: train_privately(PAIR[0], PAIR[1]-1, 1.), ("from 0 on",)),
    (lambda: train_privately(PAIR[0][:0], PAIR[1][:0], 1.), ("no example",)),
    (lambda: train_privately(*PAIR, sigma=-1), ("sigma", "-1")),
    (lambda: train_privately(*PAIR, sigma=1., share=1.), ("probability", "below 1")),
    (lambda: epsilon(0.1, 0., 10), ("sigma", "no promise")),
    (lambda: epsilon(0., 1., 10), ("share", "above 0")),
    (lambda: epsilon(0.1, 1., 10, delta=2), ("delta", "small probability")),
    (lambda: confidence(torch.zeros(3, 1), torch.zeros(3).long()), ("two classes",)),
    (lambda: confidence(torch.zeros(3, 4), torch.tensor([0, 4, 1])), ("4 classes", "outside")),
    (lambda: likelihood_ratio(torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3)), ("three models", "2")),
    (lambda: likelihood_ratio(torch.ones(3, 3), torch.zeros(3, 3)), ("bool",)),
    (lambda: learn_vae(crowd(20)), ("50", "20")),
    (lambda: learn_flow(torch.zeros(60, 1, 8, 9)), ("Square", "[60, 1, 8, 9]")),
    (lambda: learn_gan(torch.zeros(60, 1, 8, 8, dtype=torch.uint8)), ("to_floats",)),
    (lambda: secret_patterns(0), ("count", "0")),
    (lambda: secret_patterns(3, size=7), ("even side", "7")),
    (lambda: times_extracted(crowd(3), torch.zeros(2, 1, 9, 9)), ("differ in size",)),
    (lambda: times_extracted(crowd(3)[:0], crowd(2)), ("drawings", "at least one")),
    (lambda: ManyNets(0, 3), ("models", "0")),
]

@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_bad_input_is_refused_in_a_sentence(number): message_of(REFUSED[number][0], *REFUSED[number][1])
