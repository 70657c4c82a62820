"""Chapter 07: KL and likelihood against torch.distributions, the bound against integrals that can be computed, shapes of every size, and what is said of bad input."""
import math
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence as torch_kl
from helpers import normal, message_of
from genesis_course.data import Batches, digits_set, to_floats
from genesis_course.training import Player, Trainer
from genesis_course.vae import (VAE, ConvVAE, active_units, bernoulli_log_likelihood, binarise, dense_networks, sample_prior, importance_weighted_bound, interpolate, kl_divergence,
                                kl_per_dimension, log_normal, negative_bound, reparameterise, to_images, to_probabilities, vae_loss)


def black_and_white(*shape, seed=0): return 2.*(torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) > 0.5)-1


class Line(torch.nn.Module):
    "A model whose integral is known on a grid: one latent number, two by two pixels"
    size, latent_dim, channels = 2, 1, 1
    def __init__(self, mean=0.3, log_variance=-0.5):
        super().__init__()
        self.slope, self.at = torch.nn.Parameter(torch.tensor([2., -1., 0.5, 3.])), (mean, log_variance)
    def encode(self, x): return tuple(torch.full((len(x), 1), value) for value in self.at)
    def decode(self, z): return (z*self.slope-0.5).view(-1, 1, 2, 2)
    def forward(self, x):
        mean, log_variance = self.encode(x)
        return self.decode(reparameterise(mean, log_variance)), mean, log_variance
    def log_p(self, x):
        "log p(x) by summing over a fine grid of codes, [N]"
        z = torch.linspace(-9, 9, 4001)[:, None]
        each = torch.stack([bernoulli_log_likelihood(self.decode(z), to_probabilities(one).expand(4001, -1, -1, -1)) for one in x])
        return (each+log_normal(z)).logsumexp(dim=1)+math.log(18/4000)


# The two terms

@given(rows=st.integers(1, 5), dims=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_kl_equals_torch_distributions(rows, dims, seed):
    mean, log_variance = normal(rows, dims, seed=seed), 2*normal(rows, dims, seed=seed+1)
    cloud, prior = Normal(mean, (log_variance/2).exp()), Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(kl_per_dimension(mean, log_variance), torch_kl(cloud, prior))
    torch.testing.assert_close(kl_divergence(mean, log_variance), torch_kl(Independent(cloud, 1), Independent(prior, 1)))

def test_kl_is_zero_only_at_the_prior_and_positive_elsewhere():
    assert kl_divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0
    assert (kl_per_dimension(normal(500, 3), normal(500, 3, seed=1)) > 0).all()

def test_kl_passes_gradcheck(): assert torch.autograd.gradcheck(kl_divergence, [normal(3, 2).requires_grad_(), normal(3, 2, seed=1).requires_grad_()])

@given(seed=st.integers(0, 999), size=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_likelihood_equals_torch_distributions(seed, size):
    logits, x = normal(3, 2, size, size, seed=seed), (normal(3, 2, size, size, seed=seed+1) > 0).double()
    torch.testing.assert_close(bernoulli_log_likelihood(logits, x), Independent(Bernoulli(logits=logits), 3).log_prob(x))

def test_likelihood_of_certain_logits_is_finite():
    x = torch.tensor([[1., 0.]])
    assert bernoulli_log_likelihood(torch.tensor([[500., -500.]]), x).item() == 0
    assert bernoulli_log_likelihood(torch.tensor([[-500., 500.]]), x).item() == -1000

def test_a_grey_pixel_costs_what_its_throws_cost_on_average():
    images, logits = torch.tensor([[[[0.4, -0.8], [1., -1.]]]]), torch.tensor([[[[0.3, -2.], [1., 0.1]]]])
    throws = binarise(images.expand(200_000, -1, -1, -1), torch.Generator().manual_seed(0))
    assert set(throws.unique().tolist()) == {-1., 1.}
    mean = bernoulli_log_likelihood(logits.expand_as(throws), to_probabilities(throws)).mean()
    assert abs(mean-bernoulli_log_likelihood(logits, to_probabilities(images)).item()) < 0.01

def test_log_normal_equals_torch_distributions():
    z, mean, log_variance = normal(5, 3), normal(5, 3, seed=1), normal(5, 3, seed=2)
    torch.testing.assert_close(log_normal(z, mean, log_variance), Independent(Normal(mean, (log_variance/2).exp()), 1).log_prob(z))
    torch.testing.assert_close(log_normal(z), Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1).log_prob(z))

def test_pictures_survive_the_way_through_probabilities():
    images = torch.linspace(-1, 1, 50)
    torch.testing.assert_close(to_images(to_probabilities(images[1:-1]).logit()), images[1:-1])


# The draw

def test_a_draw_has_the_mean_the_spread_and_the_gradient_it_should():
    mean, log_variance = torch.tensor([[0.5, -2.]]).requires_grad_(), torch.tensor([[-1., 0.8]]).requires_grad_()
    z = reparameterise(mean.expand(200_000, 2), log_variance.expand(200_000, 2), torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(dim=0), mean[0], atol=0.01, rtol=0)
    torch.testing.assert_close(z.var(dim=0), log_variance[0].exp(), atol=0.03, rtol=0)
    slopes = torch.autograd.grad(z.square().sum(dim=1).mean(), [mean, log_variance])                   # E z² = μ² + σ²
    torch.testing.assert_close(slopes[0], 2*mean.detach(), atol=0.03, rtol=0)
    torch.testing.assert_close(slopes[1], log_variance.detach().exp(), atol=0.05, rtol=0)

def test_the_same_generator_gives_the_same_draw():
    mean, log_variance = torch.zeros(3, 2), torch.zeros(3, 2)
    first, again = (reparameterise(mean, log_variance, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    model = VAE(8, 2, 8)
    assert torch.equal(sample_prior(model, 4, torch.Generator().manual_seed(1)), sample_prior(model, 4, torch.Generator().manual_seed(1)))


# The bound

@pytest.mark.slow
def test_bound_is_below_the_likelihood_and_climbs_to_it():
    "Against log p(x) summed over a grid: L1 ≤ L10 ≤ L1000 ≈ log p(x)"
    model, x = Line(), black_and_white(16, 1, 2, 2)
    truth = model.log_p(x).mean().item()
    torch.manual_seed(0)
    bounds = [importance_weighted_bound(model, x.repeat(200, 1, 1, 1), count).mean().item() for count in (1, 10, 1000)]
    assert bounds[0] < bounds[1] < truth+0.01 and abs(bounds[2]-truth) < 0.01

def standard_error(draws): return draws.std().item()/len(draws)**0.5

def test_one_sample_is_the_plain_bound_with_the_kl_in_closed_form():
    model, x = Line(), black_and_white(4, 1, 2, 2).repeat(25_000, 1, 1, 1)
    by_draws, by_formula = negative_bound(model, x), vae_loss(model, x)["loss"].item()
    assert abs(by_draws.mean().item()-by_formula) < 6*standard_error(by_draws) < 0.06

def test_what_is_lost_is_the_kl_to_the_true_posterior():
    model, x = Line(), black_and_white(1, 1, 2, 2)
    z = torch.linspace(-9, 9, 4001)[:, None]
    log_q, log_joint = log_normal(z, *model.encode(z)), bernoulli_log_likelihood(model.decode(z), to_probabilities(x).expand(4001, -1, -1, -1))+log_normal(z)
    gap = (log_q.exp()*(log_q-log_joint+model.log_p(x))).sum().item()*18/4000
    bound = negative_bound(model, x.repeat(100_000, 1, 1, 1))
    assert abs(model.log_p(x).item()+bound.mean().item()-gap) < 6*standard_error(bound) < 0.06

def test_chunks_do_not_change_the_bound():
    model, x = VAE(4, 2, 8), black_and_white(7, 1, 4, 4)
    whole, parts = (importance_weighted_bound(model, x, 3, torch.Generator().manual_seed(0), batch_size=size) for size in (1000, 3))
    assert whole.shape == parts.shape == (7,) and whole.isfinite().all() and (whole-parts).abs().max() < 5

def test_many_pixels_do_not_underflow():
    assert importance_weighted_bound(VAE(40, 2, 4), black_and_white(2, 1, 40, 40), 20).isfinite().all()

def test_measuring_leaves_the_model_as_it_was():
    model = ConvVAE(8, 3, 4).train()
    negative_bound(model, black_and_white(4, 1, 8, 8)), active_units(model, black_and_white(4, 1, 8, 8)), sample_prior(model, 2)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())

def test_loss_sums_over_pixels_and_codes_and_averages_over_images():
    torch.manual_seed(0)
    model, x = VAE(4, 3, 8), black_and_white(5, 1, 4, 4)
    torch.manual_seed(1)
    parts = vae_loss(model, (x, None), beta=2.)
    torch.manual_seed(1)
    logits, mean, log_variance = model(x)
    pixels, kl = -Independent(Bernoulli(logits=logits), 3).log_prob((x+1)/2).mean(), kl_divergence(mean, log_variance).mean()
    torch.testing.assert_close(parts["loss"], pixels+2*kl)
    torch.testing.assert_close(parts["reconstruction"], pixels.detach())
    torch.testing.assert_close(parts["kl"], kl.detach())
    assert parts["loss"].requires_grad and not parts["kl"].requires_grad

def test_free_bits_take_the_gradient_from_quiet_units_only():
    model, x = Line(mean=0.1, log_variance=0.), black_and_white(3, 1, 2, 2)
    model.at = tuple(torch.tensor(value, requires_grad=True) for value in model.at)
    model.encode = lambda x: tuple(value.expand(len(x), 1) for value in model.at)
    def slope(**settings):
        torch.manual_seed(0)
        return torch.autograd.grad(vae_loss(model, x, **settings)["loss"], model.at[0])[0].item()
    assert abs(slope()-slope(beta=0.)-0.1) < 1e-5                          # d KL / d mean = mean
    assert abs(slope(free_bits=0.5)-slope(beta=0.)) < 1e-6 and abs(slope(free_bits=1e-4)-slope()) < 1e-6


# Networks

@given(size=st.integers(4, 33), latent=st.integers(1, 5), channels=st.sampled_from([1, 3]))
@settings(max_examples=25, deadline=None)
def test_every_size_comes_back_exactly(size, latent, channels):
    for model in (ConvVAE(size, latent, 2, channels), VAE(size, latent, [4, 3], channels)):
        logits, mean, log_variance = model(torch.zeros(2, channels, size, size))
        assert logits.shape == (2, channels, size, size) and mean.shape == log_variance.shape == (2, latent)

def test_dense_networks_mirror_each_other():
    encoder, decoder = dense_networks(6, 4, 2, [16, 8])
    sides = [[(layer.in_features, layer.out_features) for layer in network if isinstance(layer, torch.nn.Linear)] for network in (encoder, decoder)]
    assert sides == [[(36, 16), (16, 8), (8, 4)], [(2, 8), (8, 16), (16, 36)]]

def test_every_parameter_learns():
    for model in (VAE(8, 2, 8), ConvVAE(8, 2, 4)):
        vae_loss(model, black_and_white(4, 1, 8, 8))["loss"].backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())

@pytest.mark.parametrize("model, lr, limit", [(lambda: VAE(8, 4, 64), 3e-3, 25.8), (lambda: ConvVAE(8, 4, 8), 1e-2, 25.8)])
@pytest.mark.slow
def test_it_learns_digits(model, lr, limit):
    "The mean picture for everything costs 26.8 nats"
    torch.manual_seed(0)
    player = Player(model(), vae_loss, lr=lr)
    run = Trainer(player, device="cpu").fit(Batches(digits_set("train"), batch_size=50), epochs=8)
    assert set(run.history) == {"loss", "reconstruction", "kl"}
    assert negative_bound(player.module, to_floats(digits_set("test").images)).mean() < limit

def test_active_units_see_which_numbers_depend_on_the_image():
    class Half(Line):
        def encode(self, x): return torch.stack([x.flatten(1).sum(dim=1), torch.zeros(len(x)), torch.full((len(x),), 3.)], dim=1), torch.zeros(len(x), 3)
    assert active_units(Half(), black_and_white(600, 1, 2, 2)).tolist() == [True, False, False]

@given(steps=st.integers(2, 9), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_interpolation_is_straight_and_ends_where_it_should(steps, seed):
    a, b = normal(2, 3, seed=seed), normal(2, 3, seed=seed+1)
    path = interpolate(a, b, steps)
    assert path.shape == (steps, 2, 3)
    torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]))
    torch.testing.assert_close(path.diff(dim=0), ((b-a)/(steps-1)).expand(steps-1, 2, 3))


# Bad input

BAD = {
    "images of another size": (lambda: VAE(20, 2)(torch.zeros(1, 1, 28, 28)), "[B, 1, 20, 20]", "size="),
    "one image without a batch": (lambda: VAE(8, 2)(torch.zeros(1, 8, 8)), "[B, 1, 8, 8]"),
    "colour": (lambda: ConvVAE(8, 2)(torch.zeros(1, 3, 8, 8)), "[1, 3, 8, 8]"),
    "bytes": (lambda: VAE(8, 2)(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)), "to_floats"),
    "no tensor": (lambda: VAE(8, 2)([1, 2]), "list"),
    "codes of another model": (lambda: VAE(8, 2).decode(torch.zeros(4, 3)), "[B, 2]", "[4, 3]", "torch.randn(B, 2)"),
    "a single code": (lambda: VAE(8, 2).decode(torch.zeros(2)), "[B, 2]"),
    "range 0 to 255": (lambda: vae_loss(VAE(8, 2), torch.full((2, 1, 8, 8), 255.)), "[-1, 1]", "255"),
    "NaN": (lambda: vae_loss(VAE(8, 2), torch.full((2, 1, 8, 8), math.nan)), "NaN"),
    "an empty batch": (lambda: vae_loss(VAE(8, 2), torch.zeros(0, 1, 8, 8)), "not one image"),
    "pixels in [-1, 1] for a likelihood": (lambda: bernoulli_log_likelihood(torch.zeros(2, 4), -torch.ones(2, 4)), "[0, 1]", "to_probabilities"),
    "logits of another shape": (lambda: bernoulli_log_likelihood(torch.zeros(2, 4), torch.ones(2, 5)), "[2, 4]", "[2, 5]"),
    "bytes as probabilities": (lambda: to_probabilities(torch.zeros(2, dtype=torch.uint8)), "uint8", "to_floats"),
    "mean and log-variance that differ": (lambda: reparameterise(torch.zeros(2, 3), torch.zeros(2, 4)), "[2, 3]", "[2, 4]"),
    "a mean without a batch": (lambda: kl_divergence(torch.zeros(3), torch.zeros(3)), "[B, latent_dim]"),
    "a log-variance that is a number": (lambda: kl_divergence(torch.zeros(2, 3), 0.), "float"),
    "beta below zero": (lambda: vae_loss(VAE(8, 2), torch.zeros(1, 1, 8, 8), beta=-1), "beta"),
    "beta that is not finite": (lambda: vae_loss(VAE(8, 2), torch.zeros(1, 1, 8, 8), beta=math.inf), "beta"),
    "free bits as text": (lambda: vae_loss(VAE(8, 2), torch.zeros(1, 1, 8, 8), free_bits="0.5"), "free_bits"),
    "no samples": (lambda: importance_weighted_bound(VAE(8, 2), torch.zeros(1, 1, 8, 8), 0), "samples"),
    "nothing to measure": (lambda: negative_bound(VAE(8, 2), torch.zeros(0, 1, 8, 8)), "At least 1 image", "[0, 1, 8, 8]"),
    "one image for active units": (lambda: active_units(VAE(8, 2), torch.zeros(1, 1, 8, 8)), "At least 2 images", "[1, 1, 8, 8]"),
    "no latent number": (lambda: VAE(8, 0), "latent_dim", "0"),
    "half a pixel": (lambda: VAE(8.5, 2), "size", "8.5"),
    "a width of zero": (lambda: VAE(8, 2, [16, 0]), "width"),
    "too small to halve twice": (lambda: ConvVAE(3, 2), "4 a side"),
    "one step": (lambda: interpolate(torch.zeros(2), torch.ones(2), 1), "steps"),
    "codes that do not match": (lambda: interpolate(torch.zeros(2), torch.ones(3), 4), "[2]", "[3]"),
    "codes that are no tensors": (lambda: interpolate([0, 1], torch.ones(2), 4), "list", "[2]"),
    "float64 images": (lambda: VAE(8, 2)(torch.zeros(1, 1, 8, 8).double()), "float64", "images.float()"),
    "noise for images": (lambda: VAE(8, 2)(torch.randn(4, 2)), "looks like noise"),
    "images for a code": (lambda: VAE(8, 2).decode(torch.zeros(1, 1, 8, 8)), "looks like images"),
    "whole numbers for a code": (lambda: VAE(8, 2).decode(torch.zeros(4, 2, dtype=torch.int64)), "int64", "float codes"),
    "a latent size of None": (lambda: VAE(8, None), "latent_dim", "None"),
    "a width that is a list": (lambda: ConvVAE(8, 2, [4]), "width", "[4]"),
    "no network to train": (lambda: vae_loss(None, torch.zeros(1, 1, 8, 8)), "network", "NoneType"),
    "a class in place of a network": (lambda: sample_prior(VAE, 3), "network", "type"),
    "half a picture": (lambda: sample_prior(VAE(8, 2), 0.5), "count", "0.5"),
    "nothing in the batch": (lambda: vae_loss(VAE(8, 2), []), "begins with list", "Batches"),
    "labels only": (lambda: vae_loss(VAE(8, 2), ("a", torch.zeros(1, 1, 8, 8))), "begins with str"),
    "logits that are none": (lambda: bernoulli_log_likelihood(None, torch.ones(2, 4)), "NoneType", "[2, 4]"),
    "images in a list": (lambda: negative_bound(VAE(8, 2), [1, 2]), "At least 1 image", "list"),
    "a network that is none": (lambda: active_units("VAE", torch.zeros(4, 1, 8, 8)), "network", "str"),
}

@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_a_sentence(what):
    function, *fragments = BAD[what]
    message_of(function, *fragments)

def test_constant_images_and_a_single_class_are_no_trouble():
    torch.manual_seed(0)
    player = Player(VAE(8, 2, 16), vae_loss, lr=1e-2)
    Trainer(player, device="cpu").fit(Batches(-torch.ones(40, 1, 8, 8), batch_size=10), epochs=30)
    assert negative_bound(player.module, -torch.ones(4, 1, 8, 8)).mean() < 2
