"""Chapter 24a: labels that are dealt out, losses without labels, a classifier that is a discriminator, model M2, and what bad input is told."""
import copy
import json
import math
from pathlib import Path
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from helpers import message_of
from genesis_course.augment import Augment
from genesis_course.data import Batches, ImageSet, load_images, to_floats
from genesis_course.gan import discriminator_loss
from genesis_course.pages import table_of
from genesis_course.semisupervised import (M2, Handful, consistency_loss, extra_class_players, fixmatch_loss, handful_loss, m2_loss, pseudo_labels, real_logit, self_training_loss, small_reader)
from genesis_course.stable_gan import ConvGenerator
from genesis_course.training import Player, Trainer
from genesis_course.transfer import few_labels

ROOT = Path(__file__).parent.parent
same = lambda images: images


def rng(seed=0): return torch.Generator().manual_seed(seed)


def twenty(): return few_labels(load_images("digits", "train"), 2, seed=0)


def pictures(count=12): return to_floats(load_images("digits", "test").images[:count])


# The handful

def test_a_handful_deals_only_what_it_holds_with_the_right_labels():
    few = twenty()
    images, labels = Handful(few, count=200)()
    known = {image.numpy().tobytes(): int(label) for image, label in zip(to_floats(few.images), few.labels)}
    assert images.shape == (200, 1, 8, 8) and all(known[image.numpy().tobytes()] == label for image, label in zip(images, labels.tolist()))
    assert len(set(labels.tolist())) == 10


def test_a_handful_repeats_with_the_seed_and_changes_pictures_but_no_labels():
    handful = Handful(twenty(), count=30, transform=lambda images: -images)
    torch.manual_seed(3)
    images, labels = handful()
    torch.manual_seed(3)
    plain, again = Handful(twenty(), count=30)()
    assert torch.equal(images, -plain) and torch.equal(labels, again)


def test_labels_alone_are_the_usual_cross_entropy():
    torch.manual_seed(0)
    network, handful = small_reader().eval(), Handful(twenty(), count=9)
    torch.manual_seed(1)
    loss = handful_loss(handful)(network, (torch.zeros(4, 1, 8, 8),))
    torch.manual_seed(1)
    images, labels = handful()
    assert torch.allclose(loss, F.cross_entropy(network(images), labels))


@pytest.mark.parametrize("size, channels", [(8, 1), (16, 1), (9, 3)])
def test_the_reader_takes_pictures_of_any_size(size, channels):
    assert small_reader(classes=4, width=4, channels=channels)(torch.zeros(2, channels, size, size)).shape == (2, 4)


# Pseudo-labels

def test_pseudo_labels_are_what_the_network_reads_in_evaluation_mode():
    torch.manual_seed(0)
    network, x = small_reader().train(), pictures(40)
    expected = copy.deepcopy(network).eval()(x).softmax(dim=1)
    middle = expected.amax(dim=1).median().item()
    images, labels, chances = pseudo_labels(network, x, middle)
    assert network.training and torch.allclose(chances, expected.amax(dim=1), atol=1e-6)
    kept = chances >= middle
    assert torch.equal(images, x[kept]) and torch.equal(labels, expected.argmax(dim=1)[kept]) and 0 < len(images) < 40


def test_without_a_threshold_all_are_kept_and_with_one_that_nobody_reaches_none():
    network, x = small_reader(), pictures()
    assert len(pseudo_labels(network, x)[0]) == 12 and len(pseudo_labels(network, x, 1.)[0]) == 0


def test_self_training_weighs_both_halves_alike():
    torch.manual_seed(0)
    network, handful = small_reader().eval(), Handful(twenty(), count=8)
    x, guesses = pictures(6), torch.tensor([1, 2, 3, 4, 5, 6])
    torch.manual_seed(1)
    loss = self_training_loss(handful)(network, (x, guesses))
    torch.manual_seed(1)
    images, labels = handful()
    assert torch.allclose(loss, (F.cross_entropy(network(images), labels)+F.cross_entropy(network(x), guesses))/2, atol=1e-6)


# FixMatch

@pytest.mark.parametrize("threshold", [0., 0.5, 0.9, 1.])
def test_the_consistency_loss_is_the_formula_of_the_paper(threshold):
    weak, strong = 3*torch.randn(20, 5, generator=rng()), torch.randn(20, 5, generator=rng(1))
    loss, kept = consistency_loss(weak, strong, threshold)
    total, count = 0., 0
    for a, b in zip(weak.softmax(dim=1), strong.log_softmax(dim=1)):
        if a.max() >= threshold: total, count = total-b[a.argmax()].item(), count+1
    assert math.isclose(loss.item(), total/20, abs_tol=1e-5) and math.isclose(kept.item(), count/20, abs_tol=1e-6)


def test_no_gradient_flows_through_the_target():
    weak, strong = torch.randn(6, 4, generator=rng(), requires_grad=True), torch.randn(6, 4, generator=rng(1), requires_grad=True)
    consistency_loss(weak, strong, 0.)[0].backward()
    assert weak.grad is None and strong.grad.abs().sum() > 0


def test_the_order_of_classes_and_of_pictures_does_not_matter():
    weak, strong = 2*torch.randn(9, 4, generator=rng()), torch.randn(9, 4, generator=rng(1))
    classes, rows = torch.randperm(4, generator=rng()), torch.randperm(9, generator=rng())
    for a, b in ((weak[:, classes], strong[:, classes]), (weak[rows], strong[rows])): assert torch.allclose(torch.stack(consistency_loss(a, b, 0.6)), torch.stack(consistency_loss(weak, strong, 0.6)))


def test_fixmatch_without_a_weight_is_labels_alone_and_says_what_it_kept():
    torch.manual_seed(0)
    network, handful = small_reader(), Handful(twenty(), count=16)
    result = fixmatch_loss(handful, same, same, threshold=0., weight=0.)(network, (pictures(),))
    assert torch.equal(result["loss"], result["labelled"]) and result["kept"] == 1 and result["unlabelled"] > 0
    assert set(result) == {"loss", "labelled", "unlabelled", "kept"}


def test_fixmatch_shows_the_weak_and_the_strong_version_once_each():
    seen = []
    def note(name): return lambda images: seen.append((name, len(images))) or images
    fixmatch_loss(Handful(twenty(), count=4), note("weak"), note("strong"))(small_reader(), (pictures(7),))
    assert sorted(seen) == [("strong", 7), ("weak", 7)]


@pytest.mark.slow
def test_fixmatch_learns():
    torch.manual_seed(0)
    network, weak = small_reader(), Augment(rotate=10, shift=0.08, scale=0.1)
    loss = fixmatch_loss(Handful(twenty(), transform=weak), weak, Augment(rotate=20, shift=0.12, scale=0.2, erase=0.7), threshold=0.6)
    pool = to_floats(load_images("digits", "train").images)
    Trainer(Player(network, loss, torch.optim.AdamW, lr=5e-3)).fit(Batches(pool, batch_size=64, drop_last=True), epochs=6)
    test = load_images("digits", "test")
    assert (pseudo_labels(network, to_floats(test.images))[1].cpu() == test.labels).double().mean() > 0.6


# The extra class

def test_the_real_logit_is_that_of_a_softmax_with_one_more_class_at_zero():
    logits = 3*torch.randn(30, 6, generator=rng())
    with_extra = torch.cat([logits, torch.zeros(30, 1)], dim=1).softmax(dim=1)
    assert torch.allclose(real_logit(logits).sigmoid(), 1-with_extra[:, -1], atol=1e-6)
    assert real_logit(torch.full((2, 4), 1000.)).isfinite().all()


def test_the_game_of_the_extra_class_is_the_cross_entropy_of_seven_classes():
    real, fake = torch.randn(8, 6, generator=rng()), torch.randn(8, 6, generator=rng(1))
    game = discriminator_loss(real_logit(real), real_logit(fake))
    def log_p(logits): return torch.cat([logits, torch.zeros(8, 1)], dim=1).log_softmax(dim=1)
    expected = -(log_p(real)[:, :6].logsumexp(dim=1).mean() + log_p(fake)[:, 6].mean())
    assert torch.allclose(game, expected, atol=1e-6)


def test_each_player_of_the_extra_class_moves_itself_only():
    torch.manual_seed(0)
    classifier, generator = small_reader(), ConvGenerator(4, 8, width=4)
    players = extra_class_players(classifier, generator, Handful(twenty(), count=8))
    assert [player.name for player in players] == ["classifier", "generator"]
    for player, other in ((players[0], generator), (players[1], classifier)):
        before = [parameter.clone() for parameter in other.parameters()]
        loss = player.loss(player.module, (pictures(),))
        player.step(loss["loss"] if isinstance(loss, dict) else loss)
        assert all(torch.equal(a, b) for a, b in zip(before, other.parameters()))


# M2

def test_the_prices_of_m2_are_the_bound_for_each_class():
    torch.manual_seed(0)
    model, x = M2(small_reader(), latent_dim=2, width=4), pictures(3)
    with torch.no_grad():
        for parameter in model.vae.encoder.parameters(): parameter.zero_()
        model.vae.encoder[-1].bias[2:] = -40.                         # no spread: no luck
        prices = model.prices(x)
        one = torch.stack([model.price(x, torch.full((3,), k)) for k in range(10)], dim=1)
    assert prices.shape == (3, 10) and torch.allclose(prices, one, rtol=1e-4)


def test_the_best_guess_pays_the_exact_price_of_an_unknown_class():
    "Kingma et al. 2014: with q = softmax(-prices) the price is -log Σ exp(-prices), and no other q pays less"
    prices = 3*torch.rand(5, 4, generator=rng())
    def price(logits):
        log_q = logits.log_softmax(dim=1)
        return (log_q.exp()*(prices+log_q)).sum(dim=1)
    assert torch.allclose(price(-prices), -(-prices).logsumexp(dim=1), atol=1e-5)
    assert (price(torch.randn(5, 4, generator=rng(1))) >= price(-prices)).all()


def test_m2_teaches_its_classifier_from_unlabelled_pictures():
    torch.manual_seed(0)
    model = M2(small_reader(), latent_dim=2, width=4)
    result = m2_loss(Handful(twenty(), count=8), same, scale=1.)(model, (pictures(),))
    (result["loss"]-F.cross_entropy(torch.zeros(1, 2), torch.tensor([0]))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert set(result) == {"loss", "labelled", "told", "untold"} and result["untold"] > 0


# The table on the page

def test_the_table_of_the_page_is_what_the_benchmark_found():
    stored = json.loads((ROOT/"benchmarks"/"results"/"semisupervised.json").read_text())
    rows = table_of("fewlabels.csv")
    assert [{name: str(value) for name, value in run.items()} for run in stored["runs"]] == rows
    for part, counts in (("labels", {1, 2, 5, 20}), ("made", {1, 10, 100})):
        mine = [run for run in stored["runs"] if run["part"] == part]
        assert all(0 < run["value"] <= 1 for run in mine) and {run["count"] for run in mine} == counts
        for pair in {(run["way"], run["count"]) for run in mine}: assert sorted(run["seed"] for run in mine if (run["way"], run["count"]) == pair) == [100, 101, 102]
    assert all(len(each["tried"]) == 3 for each in stored["settings"].values())


# Bad input

NONE = ImageSet(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(0).long(), list("0123456789"))


@pytest.mark.parametrize("call, words", [
    (lambda: small_reader(classes=0), "classes"),
    (lambda: Handful(torch.zeros(3, 1, 8, 8)), "ImageSet"),
    (lambda: Handful(NONE), "at least one"),
    (lambda: Handful(twenty(), count=0), "count"),
    (lambda: Handful(twenty(), transform=3), "function of images"),
    (lambda: pseudo_labels(small_reader(), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), "to_floats"),
    (lambda: pseudo_labels(small_reader(), pictures(), 95), "from 0 to 1"),
    (lambda: pseudo_labels("network", pictures()), "network"),
    (lambda: consistency_loss(torch.zeros(3, 4), torch.zeros(3, 5)), "logits"),
    (lambda: consistency_loss(torch.zeros(3, 4), torch.zeros(3, 4), -1), "from 0 to 1"),
    (lambda: fixmatch_loss(twenty(), same, same), "Handful"),
    (lambda: fixmatch_loss(Handful(twenty()), None, same), "weak"),
    (lambda: fixmatch_loss(Handful(twenty()), same, same, threshold="high"), "from 0 to 1"),
    (lambda: fixmatch_loss(Handful(twenty()), same, same, weight=-1), "weight"),
    (lambda: extra_class_players(nn.Linear(2, 2), ConvGenerator(4, 8), Handful(twenty())), "Sequential"),
    (lambda: extra_class_players(small_reader(), small_reader(), Handful(twenty())), "latent_dim"),
    (lambda: extra_class_players(small_reader(), ConvGenerator(4, 8), None), "Handful"),
    (lambda: M2("a classifier"), "network"),
    (lambda: M2(small_reader(), classes=0), "classes"),
    (lambda: m2_loss(Handful(twenty()), None), "weak"),
    (lambda: m2_loss(Handful(twenty()), same, scale=-1), "scale"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_bad_input_is_told_what_to_do(call, words):
    message = message_of(call)
    assert words in message and len(message) < 400
