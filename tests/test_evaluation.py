"""Chapter 10: distances against torchmetrics and against laws, copies that are found, and what is said of bad input."""
import contextlib
import importlib
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F
from helpers import normal, message_of
from genesis_course.data import ImageSet, load_images, to_floats
from genesis_course.evaluation import (FeatureNet, as_judged, closeness, extrapolated_distance, features, find_copies, frechet_distance, frechet_gaussians, kernel_distance,
                                       measures, precision_recall, read_digits, report, squared_mmd)
from genesis_course.support import CourseError, import_torchvision
from genesis_course.state import load_weights


@pytest.fixture(scope="module")
def digits(): return load_images("digits", split="train"), load_images("digits", split="test")


@pytest.fixture(scope="module")
def pool(): return features(load_images("digits", split="all"))


# The feature network

def test_shipped_network_reads_what_it_says_it_reads(digits):
    weights, about = load_weights("features")
    assert set(weights) == set(FeatureNet().state_dict())
    assert (read_digits(digits[1]) == digits[1].labels).double().mean() > 0.97
    glyphs = load_images("glyphs", split="test", count=300)
    assert (read_digits(glyphs) == glyphs.labels).double().mean() > 0.98
    assert all(share > 0.98 for share in about["accuracy"].values())

def test_features_do_not_depend_on_batches_or_on_the_way_images_are_handed_in(digits):
    some = digits[0][:1010]
    together = features(some)
    assert together.shape == (1010, 64) and not together.requires_grad
    torch.testing.assert_close(together[1005:], features(some.images[1005:]))
    torch.testing.assert_close(together[:9], features(to_floats(some.images[:9])))
    torch.testing.assert_close(features(to_floats(some.images[:9]).double()), together[:9], rtol=1e-4, atol=1e-4)

def test_judging_leaves_the_dice_alone_and_learns_nothing(digits):
    torch.manual_seed(3)
    before, first = torch.get_rng_state(), features(digits[0][:5])
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(first, features(digits[0][:5]))

@given(size=st.integers(1, 60))
@settings(max_examples=15, deadline=None)
def test_images_of_any_size_are_judged(size): assert as_judged(normal(2, 1, size, size, dtype=torch.float32).clamp(-1, 1)).shape == (2, 1, 28, 28)


# Fréchet distance

@given(means=st.tuples(*[st.floats(-10, 10)]*2), widths=st.tuples(*[st.floats(0, 10)]*2))
@settings(max_examples=100, deadline=None)
def test_in_one_dimension_it_is_the_formula_in_the_head(means, widths):
    (m, n), (s, t) = means, widths
    one = lambda value: torch.tensor([[value]], dtype=torch.float64)
    assert math.isclose(frechet_gaussians(one(m)[0], one(s*s), one(n)[0], one(t*t)), (m-n)**2+(s-t)**2, rel_tol=1e-6, abs_tol=1e-6)

@given(seed=st.integers(0, 99), d=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_frechet_laws(seed, d):
    "Zero for equal sets, symmetric, and blind to a common shift, rotation and order; scale counts squared"
    a, b = normal(40, d, seed=seed), 2*normal(30, d, seed=seed+100)+1
    rotation, value = torch.linalg.qr(normal(d, d, seed=seed+7))[0], frechet_distance(a, b)
    assert abs(frechet_distance(a, a)) < 1e-6 and value >= 0
    for again in (frechet_distance(b, a), frechet_distance(a @ rotation + 5, b @ rotation + 5), frechet_distance(a.flip(0), b), frechet_distance(3*a, 3*b)/9):
        assert math.isclose(again, value, rel_tol=1e-6, abs_tol=1e-7)

def test_commuting_covariances_add_up_direction_by_direction():
    a, b, zero = torch.diag(torch.tensor([1., 4., 9.]).double()), torch.diag(torch.tensor([4., 4., 0.]).double()), torch.zeros(3).double()
    assert math.isclose(frechet_gaussians(zero, a, zero, b), 1+0+9, abs_tol=1e-9)

def test_frechet_survives_flat_directions(pool):
    "One class only, a direction that never varies, float32: a finite number that is not negative"
    flat = pool.clone()
    flat[:, :20] = 0
    sevens = pool[read_digits(load_images("digits", split="all")) == 7]
    for a, b in ((flat, flat), (flat, pool), (sevens, pool), (sevens, sevens)):
        value = frechet_distance(a, b)
        assert math.isfinite(value) and value >= 0
    assert frechet_distance(flat, flat) < 1e-6 and frechet_distance(sevens, pool) > 5

def ready_made(module, kind, **settings):
    "A metric of torchmetrics that takes features as its images"
    with contextlib.suppress(CourseError): import_torchvision()        # torchmetrics imports it where it is installed
    class Same(torch.nn.Module):
        num_features = 64
        def forward(self, x): return x
    return getattr(importlib.import_module(f"torchmetrics.image.{module}"), kind)(feature=Same(), **settings)

def test_frechet_equals_torchmetrics(pool):
    for a, b in ((pool[:800], pool[800:]), (pool[:500], 1.3*pool[1000:]), (normal(200, 64), 2*normal(300, 64, seed=1)+0.5)):
        fid = ready_made("fid", "FrechetInceptionDistance", input_img_size=(1, 8, 8)).set_dtype(torch.float64)
        fid.update(a.double(), real=True)
        fid.update(b.double(), real=False)
        assert math.isclose(frechet_distance(a, b), fid.compute().item(), rel_tol=1e-3)


# KID

def test_mmd_equals_its_definition_in_loops():
    a, b = normal(5, 3), normal(4, 3, seed=1)+0.5
    k = lambda x, y: (float(x @ y)/3+1)**3
    pairs = lambda s: sum(k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j)/(len(s)*(len(s)-1))
    assert math.isclose(squared_mmd(a, b), pairs(a)+pairs(b)-2*sum(k(x, y) for x in a for y in b)/20, rel_tol=1e-9)

def test_mmd_is_unbiased_and_frechet_is_not():
    "Mean over many small draws from one distribution: within four standard errors of 0, and far above 0"
    draws = [(normal(12, 4, seed=2*i), normal(12, 4, seed=2*i+1)) for i in range(400)]
    values = torch.tensor([squared_mmd(a, b) for a, b in draws])
    assert abs(values.mean()) < 4*values.std()/20
    assert torch.tensor([frechet_distance(a, b) for a, b in draws]).mean() > 0.5

def test_kernel_distance_equals_torchmetrics(pool):
    "The whole set as one subset: no chance is left"
    a, b = pool[:600].double(), (1.1*pool[600:1200]).double()
    kid = ready_made("kid", "KernelInceptionDistance", subsets=2, subset_size=600).set_dtype(torch.float64)
    kid.update(a, real=True)
    kid.update(b, real=False)
    theirs = kid.compute()[0].item()
    assert math.isclose(kernel_distance(a, b, subsets=2, size=600)[0], theirs, rel_tol=1e-3) and math.isclose(squared_mmd(a, b), theirs, rel_tol=1e-3)

def test_kernel_distance_repeats_and_gives_its_spread(pool):
    first, second = pool[:700], pool[700:1400]
    assert kernel_distance(first, second) == kernel_distance(first, second)
    mean, spread = kernel_distance(first, second)
    assert abs(mean) < 4*spread
    wide, narrow = (kernel_distance(first, second, size=size)[1] for size in (50, 500))
    assert narrow < wide


# Neighbours

@given(seed=st.integers(0, 99), n=st.integers(5, 30), m=st.integers(5, 30), k=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_precision_and_recall_equal_their_definition_in_loops(seed, n, m, k):
    real, fake = normal(n, 2, seed=seed), 1.5*normal(m, 2, seed=seed+100)
    def inside(points, centres):
        radii = [sorted((c-other).norm().item() for other in centres)[k] for c in centres]
        return sum(any((p-c).norm().item() <= radius+1e-9 for c, radius in zip(centres, radii)) for p in points)/len(points)
    precision, recall = precision_recall(real, fake, neighbours=k)
    assert math.isclose(precision, inside(fake, real), abs_tol=1e-9) and math.isclose(recall, inside(real, fake), abs_tol=1e-9)
    assert precision_recall(fake, real, neighbours=k) == (recall, precision)

def test_a_set_covers_itself_and_not_what_is_far_away():
    a = normal(50, 3)
    assert precision_recall(a, a) == (1, 1) and precision_recall(a, a+100) == (0, 0)

def test_closeness_points_at_the_nearest_row_across_pieces():
    a = normal(2100, 3)
    scores, index = closeness(a, a)
    assert torch.equal(index, torch.arange(2100)) and scores.max() < 1e-5
    distance = torch.cdist(a[:7], a[100:]).sort(dim=1)
    scores, index = closeness(a[:7], a[100:], neighbours=2)
    assert torch.equal(index, distance.indices[:, 0])
    torch.testing.assert_close(scores, distance.values[:, 0]/distance.values[:, 1:3].mean(dim=1))


# Bias

def test_frechet_bias_falls_like_one_over_n(pool):
    def mean(n): return sum(frechet_distance(*pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(s))[:2*n]].chunk(2)) for s in range(40))/40
    assert 1.6 < mean(200)/mean(400) < 2.5
    assert abs(extrapolated_distance(pool, pool)) < 0.1 < mean(400)


# The report

def test_report_has_equal_numbers_and_a_floor(pool):
    worse = report(pool, pool+0.3*normal(1797, 64, dtype=torch.float32), splits=3)
    assert worse.n == 898 and set(worse.fake) == set(worse.floor) == set(measures(pool[:99], pool[99:198]))
    assert worse.fake["FID"][0] > 3*worse.floor["FID"][0] and "898" in repr(worse) and "not Inception" in repr(worse)
    assert report(pool, pool[:300], splits=2).n == 300 and report(pool, pool, n=100, splits=2).n == 100
    assert repr(report(pool, pool, n=100, splits=2)) == repr(report(pool, pool, n=100, splits=2))

def test_report_names_what_is_missing(pool):
    everything = load_images("digits", split="all")
    assert "3, 8" in report(pool, pool[(everything.labels != 3) & (everything.labels != 8)], splits=2).notes[0]
    ones, others = pool[everything.labels == 1], pool[everything.labels != 1]
    assert "collapsed" in report(pool, ones, splits=2).notes[0]
    assert "one class only" in report(ones, others, splits=2).notes[0]
    assert not report(pool, pool, splits=2).notes


# Copies

def test_planted_copies_are_all_found_and_the_innocent_left_alone(digits):
    "Exact, with noise, moved by a pixel of 28, and both: all found; of held-out digits at most 1 percent accused, on average over splits"
    train, held_out = digits
    copies = as_judged(train.images[:60])
    grain = 0.04*normal(*copies.shape, dtype=torch.float32)
    suspects = torch.cat([copies, (copies+grain).clamp(-1, 1), copies.roll(1, 3), (copies.roll((1, -1), (2, 3))+grain).clamp(-1, 1)])
    result = find_copies(suspects, train, held_out, shifts=1)
    assert result.found.all() and torch.equal(result.nearest, torch.arange(60).repeat(4))
    scores, accused = closeness(features(held_out), features(train))[0], []
    for seed in range(100):
        setting, rest = scores[torch.randperm(360, generator=torch.Generator().manual_seed(seed))].chunk(2)
        accused.append((rest < setting.min()).double().mean())                      # rank 1 of 180
    assert torch.stack(accused).mean() <= 0.01

def test_exact_copies_are_found_at_any_rate(digits):
    train, held_out = digits
    for alarms in (0.003, 0.01, 0.1):
        result = find_copies(train.images[::20], train, held_out, alarms=alarms)
        assert result.found.all() and result.alarms <= alarms and "72 of 72" in repr(result)

def test_a_fresh_set_is_not_accused_of_itself(digits):
    train, held_out = digits
    result = find_copies(held_out, train, held_out)
    assert int(result.found.sum()) == 2                  # rank 3 of 360: two lie below it


# Bad input

@pytest.mark.parametrize("function, fragments", [
    (lambda: features(torch.zeros(3, 28, 28)), ["[N, 1, H, W]"]),
    (lambda: features([1, 2]), ["list"]),
    (lambda: features(torch.zeros(3, 1, 28, 28, dtype=torch.int64)), ["int64"]),
    (lambda: features(torch.zeros(3, 3, 28, 28)), ["3 channels", "grey"]),
    (lambda: features(torch.zeros(0, 1, 28, 28)), ["empty"]),
    (lambda: features(torch.rand(5, 1, 8, 8)), ["[0, 1]", "sigmoid"]),
    (lambda: features(255*torch.rand(5, 1, 8, 8)), ["[-1, 1]", "uint8"]),
    (lambda: features(torch.full((5, 1, 8, 8), math.nan)), ["5 of 5", "diverged"]),
    (lambda: frechet_distance(normal(64, 64), normal(900, 64)), ["at least 65", "ten times", "first set has 64"]),
    (lambda: frechet_distance(normal(900, 64), normal(20, 64)), ["second set has 20"]),
    (lambda: frechet_distance(normal(90, 8), normal(90, 9)), ["8 and 9", "different networks"]),
    (lambda: frechet_distance(normal(90, 8), torch.full((90, 8), math.nan)), ["90 of 90", "second", "NaN"]),
    (lambda: frechet_distance(normal(90, 8), torch.ones(90, 8)), ["90 rows of the second", "collapsed"]),
    (lambda: frechet_distance(normal(90, 2, 4, 4), normal(90, 8)), ["[90, 2, 4, 4]", "features(images)"]),
    (lambda: frechet_distance("a", normal(90, 8)), ["str"]),
    (lambda: squared_mmd(normal(1, 8), normal(9, 8)), ["at least 2", "first set has 1"]),
    (lambda: kernel_distance(normal(9, 8), normal(9, 8), size=10), ["size", "2 to 9", "10"]),
    (lambda: kernel_distance(normal(9, 8), normal(9, 8), subsets=1), ["subsets", "2 on"]),
    (lambda: precision_recall(normal(3, 8), normal(9, 8)), ["at least 4", "first set has 3"]),
    (lambda: precision_recall(normal(9, 8), normal(9, 8), neighbours=0), ["neighbours", "1 on"]),
    (lambda: closeness(normal(3, 8), normal(0, 8)), ["second set has 0"]),
    (lambda: report(normal(100, 64), normal(100, 64)), ["at least 130 real", "There are 100"]),
    (lambda: report(normal(200, 64), normal(60, 64)), ["65 images", "60 are generated"]),
    (lambda: report(normal(200, 64), normal(200, 64), n=101), ["n: a whole number", "65 to 100"]),
    (lambda: extrapolated_distance(normal(100, 64), normal(900, 64)), ["at least 260"]),
    (lambda: extrapolated_distance(normal(300, 8), normal(300, 8), points=1), ["points", "2 on"]),
    (lambda: extrapolated_distance(normal(300, 8), normal(300, 8), splits=0), ["splits", "1 on"]),
    (lambda: read_digits(None), ["NoneType", "[N, 1, H, W]"]),
    (lambda: report(normal(200, 64), normal(200, 64), splits=normal(3)), ["splits"]),
])
def test_bad_input_gets_a_sentence(function, fragments): message_of(function, *fragments)

def test_constant_images_are_refused_with_the_reason(digits):
    blank = torch.full((200, 1, 8, 8), -1.)
    message_of(lambda: report(digits[0], blank), "one and the same picture", "Look at them")
    message_of(lambda: frechet_distance(features(digits[0]), features(blank)), "second set", "blank or collapsed")

def test_copies_need_enough_held_out_images(digits):
    train, held_out = digits
    message_of(lambda: find_copies(train, train, held_out[:50]), "99 held-out", "50")
    message_of(lambda: find_copies(train, train, held_out, alarms=0), "between 0 and 1")
    message_of(lambda: find_copies(train, train, None), "NoneType")
    message_of(lambda: find_copies(train, train, held_out, shifts=9), "shifts", "0 to 4")
    message_of(lambda: closeness(normal(5, 3), normal(4, 3)), "neighbours", "1 to 3")

def test_an_image_set_of_colour_says_what_to_do():
    message_of(lambda: features(ImageSet(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ["a"])), "frechet_distance takes any")

def test_resizing_by_hand_is_seen(pool):
    small = to_floats(load_images("digits", split="all").images)
    ours, nearest_pixel = (frechet_distance(pool[:898], features(images)) for images in (small[898:], F.interpolate(small[898:], (28, 28), mode="nearest")))
    assert nearest_pixel > 4*ours
