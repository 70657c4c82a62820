"""Chapter 10b: Inception Score, density and coverage against other implementations, the split of the variance, the interval, and bad input."""
import math
import numpy as np
import pytest
import torch
from helpers import message_of
from genesis_course.data import load_images
from genesis_course.evaluation import features, read_digits
from genesis_course.measures import class_probabilities, density_coverage, inception_score, run_interval, variance_parts
from genesis_course.support import import_torchvision
hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies


# Inception Score

def test_the_score_is_that_of_torchmetrics():
    import_torchvision()
    image = pytest.importorskip("torchmetrics.image.inception", reason="needs torchmetrics")
    logits = 2*torch.randn(60, 10)
    class Given(torch.nn.Module):
        def forward(self, x): return x
    oracle = image.InceptionScore(feature=Given(), splits=1)
    oracle.update(logits)
    assert inception_score(logits.softmax(dim=1)) == pytest.approx(oracle.compute()[0].item(), rel=1e-4)


@given(st.integers(2, 12), st.integers(1, 5))
def test_one_sure_picture_of_each_class_has_the_highest_score_there_is(classes, copies):
    assert inception_score(torch.eye(classes).repeat(copies, 1)) == pytest.approx(classes, rel=1e-6)


@given(st.integers(1, 30), st.integers(2, 9), st.integers(0, 99))
def test_the_score_lies_between_one_and_the_number_of_classes_in_any_order(rows, classes, seed):
    p = (3*torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))).softmax(dim=1)
    score = inception_score(p)
    assert 1-1e-6 <= score <= classes+1e-6 and score == pytest.approx(inception_score(p.flip(0)), rel=1e-6)
    assert inception_score(p[:1].repeat(3, 1)) == pytest.approx(1, rel=1e-5)


def test_probabilities_are_those_of_the_reader():
    digits = load_images("digits", "test")[:50]
    p = class_probabilities(digits)
    assert torch.equal(p.argmax(dim=1), read_digits(digits)) and torch.allclose(p.sum(dim=1), torch.ones(50))


# Density and coverage

@pytest.mark.parametrize("N, M, D, k", [(50, 70, 3, 5), (40, 40, 8, 1), (2100, 30, 4, 3)])
def test_they_are_those_of_the_authors(N, M, D, k, capsys):
    prdc = pytest.importorskip("prdc", reason="needs prdc")
    real, fake = torch.randn(N, D).double(), 0.7*torch.randn(M, D).double()+0.3
    oracle = prdc.compute_prdc(real.numpy(), fake.numpy(), k)
    assert density_coverage(real, fake, k) == pytest.approx((oracle["density"], oracle["coverage"]), abs=1e-9)


@pytest.mark.parametrize("N, M, k", [(9, 12, 2), (20, 5, 1)])
def test_they_are_what_the_definition_says_point_by_point(N, M, k):
    real, fake = torch.randn(N, 2).double(), torch.randn(M, 2).double()
    inside, covered = 0, 0
    for point in real.tolist():
        radius = sorted(math.dist(point, other) for other in real.tolist())[k]
        within = sum(math.dist(point, other) <= radius for other in fake.tolist())
        inside, covered = inside+within, covered+(within > 0)
    assert density_coverage(real, fake, k) == pytest.approx((inside/(k*M), covered/N))


def test_same_distribution_has_a_density_near_one_and_coverage_as_the_paper_computes():
    "Naeem et al. (2020), section 3.3: 1 - (M-1)…(M-k)/((M+N-1)…(M+N-k)) is the expected coverage; for N = M = 1000 and k = 5 it is 0.969"
    real, fake = torch.randn(2, 1000, 8).double()
    density, coverage = density_coverage(real, fake, 5)
    assert abs(density-1) < 0.1 and abs(coverage-0.969) < 0.02


def test_wild_fakes_do_not_raise_the_coverage_and_one_odd_real_point_raises_density_by_at_most_one_kth():
    real, fake = torch.randn(100, 3).double(), torch.randn(50, 3).double()+4
    wild = torch.cat([fake, 100*torch.randn(5, 3).double()])
    assert density_coverage(real, wild)[1] <= density_coverage(real, fake)[1]+0.01
    odd = torch.cat([real, torch.tensor([[8., 8., 8.]]).double()])
    assert density_coverage(odd, fake, 5)[0] <= density_coverage(real, fake, 5)[0]+0.2+1e-9


# The variance and the interval

def test_the_parts_of_the_variance_are_found_again():
    rng, found = torch.Generator().manual_seed(0), []
    for _ in range(300):
        runs, pictures, references = (spread*torch.randn(shape, generator=rng).double() for spread, shape in ((0.5, (6, 1, 1)), (0.3, (6, 4, 1)), (0.2, (1, 1, 5))))
        found.append(list(variance_parts(runs+pictures+references).values()))
    mean = torch.tensor(found).square().mean(dim=0)
    assert mean.sqrt().tolist() == pytest.approx([0.5, 0.3, 0.2], rel=0.08)


def test_equal_runs_have_no_variance_of_their_own():
    values = torch.tensor([[1., 2., 3.]]).double().repeat(4, 1)[:, :, None].repeat(1, 1, 2)
    assert variance_parts(values)["runs"] == 0 and variance_parts(values)["pictures"] == pytest.approx(1) and variance_parts(values)["references"] == 0


def test_the_interval_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = torch.randn(7).double()
    oracle = stats.t.interval(0.9, 6, loc=values.mean().item(), scale=stats.sem(values.numpy()))
    assert run_interval(values, 0.9) == pytest.approx(oracle) and all(type(end) is float for end in run_interval(values))


# Bad input

def test_what_is_no_probability_is_told_so():
    message_of(lambda: inception_score(torch.randn(5, 10)), "no probabilities", "softmax")
    message_of(lambda: inception_score(torch.ones(5)), "[N, classes]")
    message_of(lambda: inception_score(torch.zeros(0, 10)), "[N, classes]")
    message_of(lambda: inception_score(torch.full((2, 2), float("nan"))), "no probabilities")


def test_features_that_do_not_fit_are_told_so():
    real, fake = torch.randn(6, 3), torch.randn(4, 3)
    message_of(lambda: density_coverage(real, fake, 6), "from 1 to 5")
    message_of(lambda: density_coverage(real, fake, 0), "from 1")
    message_of(lambda: density_coverage(real, fake[:, :2]), "of one network")
    message_of(lambda: density_coverage(real, fake*float("inf")), "fake", "NaN or infinite")
    message_of(lambda: density_coverage(real.long(), fake), "real are features")


def test_numbers_that_say_nothing_about_runs_are_told_so():
    message_of(lambda: run_interval([1.]), "One run says nothing")
    message_of(lambda: run_interval([1., float("nan")]), "NaN")
    message_of(lambda: run_interval([1., 2.], level=95), "between 0 and 1")
    message_of(lambda: run_interval("many"), "Numbers are needed")
    message_of(lambda: variance_parts(np.ones((4, 4))), "[runs, sets, references]")
    message_of(lambda: variance_parts(torch.ones(1, 4, 4)), "two or more of each")
