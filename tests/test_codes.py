"""Chapter 07b: densities against torch.distributions, bounds on stored pictures, conditions, nearest entries and gradients that go straight through, and what is said of bad input."""
import math
import pytest
import torch
from torch.distributions import Independent, Normal
from helpers import message_of, normal
from genesis_course.codes import (VQVAE, ConditionalVAE, as_words, codebook_use, conditional_vae_loss, dequantise, discrete_nats, gaussian_log_likelihood, gaussian_vae_loss, nearest_entries,
                                  restyled, revive, sample_asked, spell, vq_loss)
from genesis_course.vae import VAE


def pictures(count=4, size=20, seed=0): return 2*torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))-1


# Normal pixels

@pytest.mark.parametrize("log_variance", [0., -3., normal(2, 3, 3, seed=5), normal(4, 2, 3, 3, seed=6), normal(1, 1, 1, seed=7)], ids=["0", "-3", "a map", "each pixel", "one tensor"])
def test_density_equals_torch_distributions(log_variance):
    mean, x = normal(4, 2, 3, 3), normal(4, 2, 3, 3, seed=1)
    sigma = (torch.as_tensor(log_variance, dtype=x.dtype)/2).exp().expand_as(x)
    torch.testing.assert_close(gaussian_log_likelihood(mean, x, log_variance), Independent(Normal(mean, sigma), 3).log_prob(x))


def test_density_passes_gradcheck():
    torch.autograd.gradcheck(gaussian_log_likelihood, [normal(2, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_(), normal(2, 3, seed=2).requires_grad_()])


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_each_level_gets_its_own_share_of_the_scale(levels):
    x = (2*torch.arange(levels).double()/(levels-1)-1)[:, None].expand(-1, 2000)
    spread = dequantise(x, levels, torch.Generator().manual_seed(0))
    assert -1 <= spread.min() and spread.max() <= 1
    assert torch.equal(((spread+1)/2*levels+1e-9).floor(), torch.arange(levels).double()[:, None].expand(-1, 2000))
    torch.testing.assert_close(spread.mean(dim=1), (2*torch.arange(levels).double()+1)/levels-1, atol=0.1/levels+0.01, rtol=0)


def test_nats_of_dequantised_pictures_bound_those_of_the_levels():
    "One pixel of three levels under a normal density: never below the exact -log P, which an integral gives"
    bell, edges = Normal(0.2, 0.6), torch.linspace(-1, 1, 4)
    exact = -(bell.cdf(edges[1:])-bell.cdf(edges[:-1])).log()
    x = torch.tensor([-1., 0., 1.])[:, None].expand(-1, 100_000).reshape(-1, 1)
    nats = -gaussian_log_likelihood(torch.full_like(x, 0.2), dequantise(x, 3, torch.Generator().manual_seed(0)), 2*math.log(0.6))
    bound = discrete_nats(nats.view(3, -1).mean(dim=1), 1, 3)
    assert (bound > exact).all() and (bound < exact+0.2).all()


def test_the_best_sigma_is_the_best_and_adds_no_gradient():
    torch.manual_seed(0)
    model, x = VAE(8, 3, 16), pictures(size=8)
    def terms(sigma=None):
        torch.manual_seed(1)
        return gaussian_vae_loss(model, x, sigma)
    best = terms()
    for factor in (0.8, 0.95, 1.05, 1.3): assert terms(best["sigma"].item()*factor)["loss"] > best["loss"]
    slopes = [torch.autograd.grad(each["loss"], list(model.parameters())) for each in (best, terms(best["sigma"].item()))]
    for a, b in zip(*slopes): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


# Conditions

def test_a_conditional_vae_depends_on_its_class_and_keeps_its_mode():
    torch.manual_seed(0)
    model, x, labels = ConditionalVAE(20, 4, 3, width=4), pictures(), torch.tensor([0, 1, 2, 0])
    z = torch.randn(4, 4)
    assert not torch.allclose(model.decode(z, labels), model.decode(z, (labels+1) % 3))
    assert not torch.allclose(model.encode(x, labels)[0], model.encode(x, (labels+1) % 3)[0])
    model.train()
    made = restyled(model, x, labels)
    assert made.shape == (4, 3, 1, 20, 20) and made.abs().max() <= 1 and model.training
    torch.testing.assert_close(made[2, 1], 2*model.decode(model.encode(x, labels)[0][[2]], torch.tensor([1])).sigmoid()[0]-1)
    rng = lambda: torch.Generator().manual_seed(3)
    assert torch.equal(sample_asked(model, labels, rng()), sample_asked(model, labels, rng()))
    terms = conditional_vae_loss(model, (x, labels))
    terms["loss"].backward()
    assert terms["loss"] > terms["kl"] >= 0 and all(part.grad is not None for part in model.parameters())


# Codebooks

@pytest.mark.parametrize("shape", [[5], [2, 3], [2, 3, 3]])
def test_nearest_entries_are_nearest(shape):
    vectors, book = normal(*shape, 4), normal(7, 4, seed=1)
    index = nearest_entries(vectors, book)
    distances = (vectors.unsqueeze(-2)-book).square().sum(dim=-1)
    assert list(index.shape) == shape and torch.equal(index, distances.argmin(dim=-1))
    assert torch.equal(nearest_entries(book, book), torch.arange(7))


def test_the_gradient_goes_straight_through():
    "The slope that reaches the vectors is the one that leaves the decoder; the reconstruction teaches the codebook nothing"
    torch.manual_seed(0)
    model, x = VQVAE(8, 4, width=4), pictures()
    logits, vectors, entries, index = model(x)
    torch.testing.assert_close(logits, model.decode(index), atol=1e-5, rtol=1e-5)
    passed = entries.detach().requires_grad_()
    expected, = torch.autograd.grad(model.decoder(passed.permute(0, 3, 1, 2)).square().sum(), passed)
    found = torch.autograd.grad(logits.square().sum(), [vectors, model.codebook], allow_unused=True, retain_graph=True)
    torch.testing.assert_close(found[0], expected, atol=1e-3, rtol=1e-3)
    assert found[1] is None
    assert all(part is not None for part in torch.autograd.grad(vq_loss(model, x)["loss"], list(model.parameters())))


def test_the_use_of_a_codebook_is_counted():
    assert codebook_use(torch.tensor([0, 1, 2, 3]), 4) == {"used": 4, "perplexity": pytest.approx(4)}
    assert codebook_use(torch.zeros(2, 3, 3, dtype=torch.int64), 9) == {"used": 1, "perplexity": pytest.approx(1)}
    assert codebook_use(torch.tensor([0, 0, 0, 5]), 8)["perplexity"] == pytest.approx(math.exp(-0.75*math.log(0.75)-0.25*math.log(0.25)))


def test_dead_entries_and_no_others_are_put_on_vectors():
    book, vectors = normal(5, 2), normal(3, 4, 2, seed=1)
    before = book.clone()
    assert revive(book, torch.tensor([3, 0, 1, 0, 2]), vectors) == 2
    assert torch.equal(book[[0, 2, 4]], before[[0, 2, 4]])
    assert all((vectors.flatten(0, 1) == book[k]).all(dim=1).any() for k in (1, 3))
    assert revive(book, torch.ones(5), vectors) == 0


def test_pictures_become_words_and_words_become_pictures():
    torch.manual_seed(0)
    model, x = VQVAE(8, 4, width=4), pictures(3)
    words = as_words(model, x, torch.tensor([0, 9, 4]))
    assert words.shape == (3, 10) and words[:, 0].tolist() == [8, 17, 12] and words[:, 1:].max() < 8
    torch.testing.assert_close(spell(model, words[:, 1:]), 2*model(x)[0].sigmoid()-1, atol=1e-4, rtol=1e-4)
    assert spell(model, torch.full((2, 9), 17)).shape == (2, 1, 20, 20), "a class word that was drawn by mistake is no crash"


# Bad input

def test_bad_input_is_explained():
    x, model, vq = torch.zeros(2, 1, 20, 20), ConditionalVAE(20, 4, 3, width=2), VQVAE(4, 2, width=2)
    message_of(lambda: gaussian_log_likelihood(torch.zeros(2, 3), torch.zeros(2, 4)), "one shape")
    message_of(lambda: gaussian_log_likelihood(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(5)), "fits the pixels")
    message_of(lambda: gaussian_log_likelihood(torch.zeros(2, 3), torch.zeros(2, 3), float("nan")), "log-variance")
    message_of(lambda: dequantise(x.to(torch.uint8), 17), "to_floats")
    message_of(lambda: dequantise(x+2, 17), "[-1, 1]")
    message_of(lambda: dequantise(x, 1), "at least 2")
    message_of(lambda: dequantise(x, 1.5), "levels")
    message_of(lambda: gaussian_vae_loss(model, x, -1.), "sigma")
    message_of(lambda: model.encode(x, None), "which one")
    message_of(lambda: model.encode(x, torch.tensor([0, 3])), "run from 0 to 2")
    message_of(lambda: model.decode(torch.zeros(2, 5), torch.tensor([0, 1])), "latent_dim")
    message_of(lambda: conditional_vae_loss(model, x), "pairs (images, labels)")
    message_of(lambda: sample_asked(model, [0, 1]), "int64")
    message_of(lambda: nearest_entries(torch.zeros(2, 3), torch.zeros(4, 2)), "codebook [K, D]")
    message_of(lambda: vq.decode(torch.full((1, 3, 3), 4)), "0 to 3")
    message_of(lambda: codebook_use(torch.zeros(3), 4), "int64")
    message_of(lambda: codebook_use(torch.zeros(0, dtype=torch.int64), 4), "not one code")
    message_of(lambda: revive(torch.zeros(4, 2), torch.zeros(3), torch.zeros(5, 2)), "One count")
    message_of(lambda: as_words(vq, x, torch.tensor([0])), "one label")
    message_of(lambda: spell(vq, torch.zeros(2, 8, dtype=torch.int64)), "[N, 9]")
