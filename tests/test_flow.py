"""Chapter 11a: paths and their slopes against autograd, four names of one prediction, the ideal denoiser, samplers against each other and against what is known, and what is said of bad input."""
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from helpers import message_of, normal
from genesis_course.flow import (SAMPLERS, PlaneNet, ancestral, as_velocity, at_times, circular, convert, ddim, ends_of, euler, flow_loss, heun, ideal_velocity, mix, posterior_mean, steps_to,
                                 straight, velocity_between, waves)

PATHS = [straight, circular]
each_path = pytest.mark.parametrize("path", PATHS)


# Paths

@each_path
@given(t=st.floats(0, 1))
@settings(deadline=None)
def test_slopes_are_those_of_alpha_and_sigma(path, t):
    t = torch.tensor(t, dtype=torch.float64)
    alpha, sigma, *slopes = path(t)
    for function, slope in zip((lambda t: path(t)[0], lambda t: path(t)[1]), slopes): torch.testing.assert_close(torch.func.grad(function)(t), slope)
    assert 0 <= alpha <= 1+1e-12 and -1e-12 <= sigma <= 1

@each_path
def test_a_path_begins_with_noise_and_ends_with_data(path):
    noise, data = normal(4, 2), normal(4, 2, seed=1)
    torch.testing.assert_close(mix(noise, data, torch.zeros(4).double(), path), noise)
    torch.testing.assert_close(mix(noise, data, torch.ones(4).double(), path), data)

@each_path
def test_velocity_is_the_derivative_of_the_mixture(path):
    noise, data, t, h = normal(5, 3, 2), normal(5, 3, 2, seed=1), torch.linspace(0.1, 0.9, 5).double(), 1e-6
    slope = (mix(noise, data, t+h, path)-mix(noise, data, t-h, path))/(2*h)
    torch.testing.assert_close(velocity_between(noise, data, t, path), slope, atol=1e-7, rtol=1e-7)


# Four names

@each_path
@pytest.mark.parametrize("kind", ["velocity", "noise", "data", "score"])
@given(t=st.floats(0.01, 0.99))
@settings(max_examples=20, deadline=None)
def test_every_name_leads_to_every_other(path, kind, t):
    noise, data, t = normal(3, 2), normal(3, 2, seed=1), torch.full((3,), t).double()
    x, truth = mix(noise, data, t, path), velocity_between(noise, data, t, path)
    said = convert(truth, x, t, "velocity", kind, path)
    for end, known in zip(ends_of(said, x, t, kind, path), (noise, data)): torch.testing.assert_close(end, known, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(as_velocity(lambda x, t: said, kind, path)(x, t), truth, atol=1e-6, rtol=1e-6)

def test_score_of_a_gaussian_is_its_slope():
    "Data that are one point: x_t is normal around α times it, so the score is -(x - α d)/σ²"
    x, t, point = normal(6, 2), torch.full((6,), 0.4).double(), normal(1, 2, seed=3)
    found = convert(posterior_mean(x, t, point), x, t, "data", "score")
    torch.testing.assert_close(found, -(x-0.4*point)/0.6**2)


# The ideal denoiser

@each_path
def test_ideal_score_is_the_slope_of_the_log_density(path):
    "Against autograd of the log of a mixture of Gaussians"
    points, x, t = normal(7, 2, seed=1), normal(5, 2).requires_grad_(), torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]).double()
    alpha, sigma, *_ = at_times(path, t, x)
    log_density = (-(x[:, None]-alpha[:, None]*points).square().sum(dim=2)/(2*sigma**2)).logsumexp(dim=1)
    slope, = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(convert(posterior_mean(x, t, points, path), x, t, "data", "score", path), slope)

def test_no_prediction_has_a_smaller_loss_than_the_ideal():
    points, rng = normal(6, 2).float(), torch.Generator().manual_seed(0)
    ideal = ideal_velocity(points)
    def loss(function):
        torch.manual_seed(0)
        return flow_loss(function, (points[torch.randint(6, (4000,), generator=torch.Generator().manual_seed(1))],), times=lambda n: 0.02+0.96*torch.rand(n))
    best = loss(ideal)
    for _ in range(5):
        shift = 0.3*torch.randn(2, generator=rng)
        assert loss(lambda x, t: ideal(x, t)+shift) > best

@each_path
@pytest.mark.parametrize("name", SAMPLERS)
def test_all_samplers_of_the_ideal_field_return_training_points(name, path):
    points, rng = 2*normal(5, 2).float(), torch.Generator().manual_seed(0)
    made = SAMPLERS[name](ideal_velocity(points, path), torch.randn(200, 2, generator=rng), steps_to(300), path, rng)
    distance, nearest = torch.cdist(made, points).min(dim=1)
    assert distance.max() < 0.02 and len(nearest.unique()) == 5

@each_path
def test_one_call_gives_the_mean(path):
    points = normal(9, 2).float()
    made = ddim(ideal_velocity(points, path), torch.randn(20, 2), steps_to(1), path)
    torch.testing.assert_close(made, points.mean(dim=0).expand(20, 2), atol=1e-3, rtol=1e-3)


# Samplers

def gaussian_field(path, mean=1.5, std=0.5):
    "The exact velocity where the data are normal: known in closed form for every x and t"
    def velocity(x, t):
        alpha, sigma, *_ = at_times(path, t, x)
        data = mean + alpha*std**2*(x-alpha*mean)/(alpha**2*std**2+sigma**2)
        return velocity_between((x-alpha*data)/sigma.clamp(min=1e-12), data, t, path)
    return velocity

@each_path
@pytest.mark.parametrize("name, order", [("euler", 1), ("ddim", 1), ("heun", 1.7)])
def test_the_error_falls_as_fast_as_the_method_promises(name, order, path):
    x, exact = normal(200, 1), lambda x: 1.5+0.5*x
    errors = [(SAMPLERS[name](gaussian_field(path), x, steps_to(n).double(), path)-exact(x)).abs().mean().item() for n in (20, 80)]
    assert errors[1] < errors[0]/4**(0.85*order) or errors[0] < 1e-10

@each_path
def test_ancestral_sampling_has_the_right_spread(path):
    rng = torch.Generator().manual_seed(0)
    made = ancestral(gaussian_field(path), torch.randn(20000, 1, generator=rng).double(), steps_to(200).double(), path, rng)
    assert abs(made.mean()-1.5) < 0.03 and abs(made.std()-0.5) < 0.02

def test_euler_is_ddim_on_the_straight_path():
    field, x = gaussian_field(straight), normal(30, 2)
    torch.testing.assert_close(euler(field, x, steps_to(7).double()), ddim(field, x, steps_to(7).double()))

@each_path
def test_a_step_to_the_same_time_would_change_nothing(path):
    x, times = normal(5, 2), torch.tensor([0.3, 0.3+1e-9], dtype=torch.float64)
    for sampler in (euler, ddim): torch.testing.assert_close(sampler(gaussian_field(path), x, times, path), x, atol=1e-6, rtol=1e-6)

@pytest.mark.parametrize("name, calls", [("euler", 6), ("ddim", 6), ("ancestral", 6), ("heun", 11)])
def test_calls_are_what_the_docstring_says(name, calls):
    count = []
    SAMPLERS[name](lambda x, t: count.append(t) or -x, torch.randn(3, 2), steps_to(6))
    assert len(count) == calls and all(t.shape == (3,) and 0 <= t[0] < 1 for t in count)

@each_path
def test_heun_in_single_steps_is_heun_as_a_whole(path):
    "A playground goes step by step; only the step to t = 1 may be one of Euler's"
    field, x, times = gaussian_field(path), normal(20, 1), steps_to(6).double()
    whole = heun(field, x, times, path)
    for pair in zip(times, times[1:]): x = heun(field, x, torch.stack(pair), path)
    torch.testing.assert_close(x, whole)

def test_random_numbers_come_from_the_generator_that_is_given():
    x = torch.randn(4, 2)
    one, two, three = (ancestral(lambda x, t: -x, x, steps_to(5), generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, three)


# Networks and losses

def test_waves_tell_all_times_apart():
    rows = waves(torch.linspace(0, 1, 500))
    assert rows.shape == (500, 8) and (torch.cdist(rows, rows)+torch.eye(500)).min() > 1e-3

@each_path
@pytest.mark.parametrize("predicts", ["velocity", "noise", "data"])
def test_a_network_that_is_right_pays_nothing(path, predicts):
    "One data point: then the noise, and with it everything, can be read from the mixture"
    point = torch.tensor([[1., -2.]])
    def right(x, t): return convert((x-at_times(path, t, x)[0]*point)/at_times(path, t, x)[1], x, t, "noise", predicts, path)
    torch.manual_seed(0)
    assert flow_loss(right, (point.expand(64, 2),), path, predicts, times=lambda n: 0.05+0.9*torch.rand(n)) < 1e-6

def test_what_comes_after_the_data_reaches_the_network():
    seen = []
    flow_loss(lambda x, t, labels: seen.append(labels) or x, (torch.randn(3, 2), torch.arange(3)))
    assert torch.equal(seen[0], torch.arange(3))

def test_a_loss_in_double_precision_stays_there():
    assert flow_loss(PlaneNet(8).double(), (normal(4, 2),)).dtype == torch.float64


# Bad input

X, T = torch.randn(4, 2), torch.rand(4)

@pytest.mark.parametrize("call, words", [
    (lambda: mix(X, X, T+1), ("Times run from 0", "divided by the number of steps")),
    (lambda: mix(X, X, torch.arange(4)), ("one time for each row",)),
    (lambda: mix(X, X, torch.tensor(0.5)), ("expand",)),
    (lambda: mix(X, X[:3], T), ("[4, 2]", "[3, 2]")),
    (lambda: mix(X, X.long(), T), ("float tensor",)),
    (lambda: mix(X, X, T*math.nan), ("Times run",)),
    (lambda: convert(X, X, T, "speed", "noise"), ("velocity",)),
    (lambda: convert(X, X, T, "velocty", "noise"), ("Did you mean 'velocity'",)),
    (lambda: convert(X, X, T, "noise", "picture"), ("picture",)),
    (lambda: steps_to(0), ("calls", "from 1 on")),
    (lambda: steps_to(2.5), ("whole number",)),
    (lambda: steps_to(3, start=1.), ("start",)),
    (lambda: posterior_mean(X, T, torch.zeros(0, 2)), ("empty",)),
    (lambda: posterior_mean(X, T, torch.zeros(3, 5)), ("rows of one shape",)),
    (lambda: euler("network", X, steps_to(3)), ("function",)),
    (lambda: euler(lambda x, t: x, X, torch.tensor([1., 0.5, 0.])), ("rise from 0",)),
    (lambda: euler(lambda x, t: x, X, torch.tensor([0., 2.])), ("rise from 0", "2")),
    (lambda: heun(lambda x, t: x, X, torch.tensor([0.])), ("at least two",)),
    (lambda: ddim(lambda x, t: x, X.long(), steps_to(3)), ("starts from noise",)),
    (lambda: ancestral(lambda x, t: x/0-x/0, X, steps_to(3)), ("t = 0", "NaN")),
    (lambda: flow_loss(PlaneNet(), X), ("batch (data, …)",)),
    (lambda: flow_loss(PlaneNet(), (X,), predicts="score"), ("trained to predict",)),
    (lambda: flow_loss(nn.Identity(), (torch.rand(2, 1, 4, 4),)), ("[-1, 1]", "2*x-1")),
    (lambda: flow_loss(nn.Identity(), (torch.rand(2, 1, 4, 4)*255,)), ("2*x-1",)),
    (lambda: flow_loss(nn.Identity(), (torch.full((2, 1, 4, 4), math.nan),)), ("NaN",)),
    (lambda: PlaneNet()(torch.randn(4, 3), T), ("[B, 2]",)),
    (lambda: PlaneNet(0), ("width",)),
])
def test_bad_input_is_told_in_a_sentence(call, words): message_of(call, *words)
