"""Chapter 15b: particles that redraw, a flow on their codes, samplers that repeat themselves, and what bad input is told."""
import math
import pytest
import torch
from torch import nn
from helpers import message_of
from genesis_course.codeflow import (ClassGaussians, CodeFlow, Creation, Glance, ParticleDecoder, code_loss, even_cloud, load_creation, read_codes, redrawing_player)
from genesis_course.creation import create
from genesis_course.data import Batches, ImageSet
from genesis_course.diffusion import UNet, flow_player, sample_pictures
from genesis_course.evaluation import read_digits
from genesis_course.flow import ancestral
from genesis_course.gan import sample
from genesis_course.genesis import Autoencoder, Cloud, GenesisParticle, sunflower, trajectory
from genesis_course.codes import ConditionalVAE, sample_asked
from genesis_course.particles import scatter
from genesis_course.run import repeatable
from genesis_course.stable_gan import ConvGenerator, sample_class
from genesis_course.training import Trainer
from genesis_course.vae import VAE, sample_prior


def rng(seed=0): return torch.Generator().manual_seed(seed)


def stirred(**changes):
    "A small decoder whose forces are not zero"
    torch.manual_seed(0)
    decoder = ParticleDecoder(**{"size": 12, "latent_dim": 6, "classes": 3, "particles": 9, "steps": 3, "width": 16, "keys": 4, "told": 8, **changes})
    nn.init.normal_(decoder.dynamics.force.weight, std=0.3)
    nn.init.normal_(decoder.brush.weight, std=0.3)
    return decoder


def creation(): return Creation(stirred(), CodeFlow(6, 3, width=8, calls=3)).eval()


def given(count=4): return torch.randn(count, 6, generator=rng()), torch.arange(count) % 3


# The law

def test_a_glance_is_torchs_attention_of_one_head():
    torch.manual_seed(0)
    glance, crowd = Glance(8, 4), torch.randn(2, 5, 8)
    q, k, v = glance.qkv(crowd).split([4, 4, 8], dim=2)
    assert torch.allclose(glance(crowd), nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-6)


def test_a_shuffled_cloud_gives_the_same_picture():
    decoder, (code, labels), cloud = stirred(), given(), even_cloud(4, 7, generator=rng())
    order = torch.randperm(7, generator=rng(1))
    with torch.no_grad(): assert torch.allclose(decoder(code, labels, cloud), decoder(code, labels, Cloud(cloud.position[:, order], cloud.particle_noise)), atol=1e-5)


def test_pictures_of_a_batch_do_not_hear_each_other():
    decoder, (code, labels), cloud = stirred(), given(), even_cloud(4, 9, generator=rng())
    with torch.no_grad(): together, alone = decoder(code, labels, cloud), decoder(code[1:2], labels[1:2], Cloud(cloud.position[1:2], cloud.particle_noise[1:2]))
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_each_step_is_told_something_else():
    decoder, (code, labels) = stirred(), given()
    said = decoder.dynamics.tell(decoder.condition(code, labels))
    assert len(said) == 3 and [part.shape for part in said[0]] == [(4, 1, 16), (4, 1, 32)]
    assert not torch.equal(said[0][0], said[1][0]) and not torch.equal(said[1][1], said[2][1])


def test_without_forces_nothing_moves_and_every_weight_gets_a_gradient():
    decoder, (code, labels) = stirred(), given()
    path, _ = decoder.move(code, labels, force_scale=0.)
    assert all(torch.equal(path[0], place) for place in path) and len(path) == 4
    assert len(decoder.move(code, labels, steps=1)[0]) == 2
    decoder(code, labels).square().sum().backward()
    assert not [name for name, parameter in decoder.named_parameters() if not parameter.grad.abs().sum() > 0]


def test_an_even_cloud_is_the_same_sunflower_shaken():
    still, shaken = even_cloud(3, 40, jitter=0.), even_cloud(500, 40, generator=rng())
    assert torch.equal(still.position[0], still.position[2]) and still.position.norm(dim=2).max() < 1
    assert torch.allclose(shaken.position.mean(dim=0), still.position[0], atol=0.01) and abs((shaken.position-still.position[:1]).std().item()-0.05) < 0.002
    golden = math.pi*(3-math.sqrt(5))
    turned = sunflower(1, 40, jitter=0., generator=rng()).position[0]
    assert torch.allclose(turned.norm(dim=1), still.position[0].norm(dim=1), atol=1e-6) and golden > 0


# Codes

def test_class_gaussians_have_the_moments_of_the_samples():
    labels = torch.arange(6000) % 3
    mix = torch.randn(3, 4, 4, generator=rng(1))
    means = torch.einsum("nij,nj->ni", mix[labels], torch.randn(6000, 4, generator=rng(2))) + 5.*labels[:, None]
    stds = torch.full((6000, 4), 0.5)
    prior = ClassGaussians().measure(means, stds, labels)
    codes = prior.carry(torch.randn(30_000, 4, generator=rng(3)), torch.ones(30_000, dtype=torch.long))
    samples = (means + stds*torch.randn(6000, 4, generator=rng(4)))[labels == 1]
    assert torch.allclose(codes.mean(dim=0), samples.mean(dim=0), atol=0.15)
    assert torch.allclose(codes.T.cov(), samples.T.cov(), rtol=0.15, atol=0.25)


def test_a_flow_that_has_learned_nothing_gives_noise_of_the_measured_size():
    flow = CodeFlow(6, 3).measure(3+2*torch.randn(5000, 6, generator=rng()), torch.full((5000, 6), 1.))
    assert torch.allclose(flow.centre, torch.full((6,), 3.), atol=0.1) and torch.allclose(flow.scale, torch.full((6,), 5**0.5), atol=0.1)
    with torch.no_grad():
        for layer in flow.layers: layer.weight.zero_() if isinstance(layer, nn.Linear) else None
        flow.layers[-1].bias.zero_()
        z, labels = given()
        assert torch.allclose(flow.carry(z, labels), flow.centre+flow.scale*z, atol=1e-5)


@pytest.mark.slow
def test_a_flow_learns_codes_of_two_classes():
    torch.manual_seed(0)
    labels = torch.arange(1000) % 2
    means = torch.randn(1000, 2)*0.3 + torch.where(labels[:, None] == 0, -2., 2.)
    flow = CodeFlow(2, 2, width=32).measure(means, torch.full_like(means, 0.1))
    player, average = flow_player(flow, code_loss)
    Trainer(player, average, device="cpu").fit(Batches(means, torch.full_like(means, 0.1), labels, batch_size=100), 60)
    with torch.no_grad(): codes = average.module.carry(torch.randn(400, 2), torch.arange(400) % 2)
    assert ((codes.mean(dim=1) > 0) == (torch.arange(400) % 2 == 1)).float().mean() > 0.97
    assert abs(codes[::2].mean().item()+2) < 0.2 and abs(codes[1::2].std(dim=0).mean().item()-0.32) < 0.12


@pytest.mark.slow
def test_redrawing_learns_and_codes_are_read_in_evaluation_mode():
    torch.manual_seed(0)
    images = ImageSet((torch.rand(40, 1, 12, 12)*255).to(torch.uint8), torch.arange(40) % 3, ["a", "b", "c"])
    player = redrawing_player(stirred())
    errors = [value for _, value in Trainer(player, device="cpu").fit(Batches(images, batch_size=20), 40).history["squared error"]]
    assert sum(errors[-10:]) < 0.9*sum(errors[:10])
    means, stds = read_codes(player.module.train(), 2*torch.rand(7, 1, 12, 12)-1)
    assert means.shape == stds.shape == (7, 6) and (stds > 0).all() and not means.requires_grad and player.module.training


def test_a_creation_is_prior_and_decoder():
    made, (z, labels), cloud = creation(), given(), even_cloud(4, 9, generator=rng())
    with torch.no_grad():
        assert torch.equal(made(z, labels, cloud), made.decoder(made.prior.carry(z, labels), labels, cloud))
        path, hidden = made.move(z, labels, cloud)
        assert torch.equal(made.draw(path[-1], hidden), made(z, labels, cloud))
        assert torch.equal(trajectory(made, z, labels, cloud, frames=5)[-1], made(z, labels, cloud))
        assert made(z, labels, cloud, size=(5, 8)).shape == (4, 1, 5, 8)


# Whoever takes a seed, or a generator, repeats itself and leaves the random numbers of others alone

def stirred_particle():
    particle = GenesisParticle(12, latent_dim=6, classes=3, particles=9, width=16)
    nn.init.normal_(particle.dynamics.force.weight, std=0.3)
    return particle


class Free(nn.Module):
    "A creation that is not told what to draw"
    def __init__(self):
        super().__init__()
        self.decoder, self.latent_dim = stirred(classes=None), 6

    def forward(self, z): return self.decoder(z)


def woken(network):
    "With weights that are not zero, where a network begins with such"
    for parameter in network.parameters(): nn.init.normal_(parameter, std=0.1)
    return network


# {name: (what makes the network, function of it and a seed)}
SAMPLERS = {
    "sample, particles": (Free, lambda made, seed: sample(made, 3, seed=seed)),
    "sample_class, particles": (stirred_particle, lambda made, seed: sample_class(made, [0, 1, 2], seed=seed)),
    "sample_class, a creation": (lambda: creation(), lambda made, seed: sample_class(made, [0, 1, 2], seed=seed)),
    "sample_class, convolutions": (lambda: ConvGenerator(4, 8, 4, classes=3), lambda made, seed: sample_class(made, [0, 1, 2], seed=seed)),
    "sample_pictures": (lambda: woken(UNet(8, classes=3, widths=(8,))), lambda made, seed: sample_pictures(made, [0, 1], calls=2, seed=seed)),
    "sample_pictures, ancestral": (lambda: woken(UNet(8, classes=3, widths=(8,))), lambda made, seed: sample_pictures(made, [0, 1], calls=2, seed=seed, sampler=ancestral)),
    "create": (int, lambda made, seed: create("70", size=32, seed=seed)),
    "sample_prior": (lambda: VAE(6, 3, [8]), lambda made, seed: sample_prior(made, 2, rng(seed))),
    "sample_asked": (lambda: ConditionalVAE(8, 3, 3, width=4), lambda made, seed: sample_asked(made, torch.arange(3), rng(seed))),
    "sunflower": (int, lambda made, seed: sunflower(2, 5, generator=rng(seed)).position),
    "even_cloud": (int, lambda made, seed: even_cloud(2, 5, generator=rng(seed)).position),
    "scatter": (int, lambda made, seed: scatter(2, 5, generator=rng(seed)).position),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_seed_one_picture_whatever_was_drawn_before_and_others_are_left_alone(name):
    make, draw = SAMPLERS[name]
    torch.manual_seed(11)
    made = make()
    torch.manual_seed(1)
    first, after = draw(made, 3), torch.rand(2)
    torch.manual_seed(2)
    again, other = draw(made, 3), draw(made, 4)
    torch.manual_seed(1)
    assert torch.equal(first, again), "the same seed gives another picture"
    assert not torch.equal(first, other), "the seed changes nothing"
    # these three build a network, or throw dice that decide nothing, on the way
    if name not in ("create", "sample_pictures", "sample_pictures, ancestral"): assert torch.equal(after, torch.rand(2)), "the random numbers of everybody else have changed"


def test_repeatable_is_a_block_with_random_numbers_of_its_own():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with repeatable(1): inside = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with repeatable(1): assert torch.equal(torch.rand(3), inside)
    assert not torch.equal(inside, torch.rand(3, generator=rng(1))), "noise of the same seed is something else"
    with repeatable(None): first = torch.rand(3)
    with repeatable(None): assert not torch.equal(torch.rand(3), first)


# The shipped weights

def test_shipped_creation_draws_what_it_is_asked_for():
    made, about = load_creation()
    labels = torch.arange(300) % 10
    assert (read_digits(sample_class(made, labels, seed=1)) == labels).float().mean() > 0.95
    assert sum(parameter.numel() for parameter in made.parameters()) < 60_000 and {"settings", "steps", "fid", "recall", "floor"} <= about.keys()


# Bad input

def test_bad_numbers_are_named():
    for name in ("size", "latent_dim", "particles", "steps", "width", "keys", "told"):
        for wrong in (0, -1, 2.5, "3", None): message_of(lambda: ParticleDecoder(**{"size": 12, name: wrong}), name)
    message_of(lambda: ParticleDecoder(12, channels=2), "channels are 1 (grey) or 3")
    message_of(lambda: ParticleDecoder(12, classes=1), "classes: a whole number from 2 on")
    message_of(lambda: ParticleDecoder(12, dt=0), "dt: a number above 0")
    message_of(lambda: ParticleDecoder(12, damping=1.5), "damping")
    message_of(lambda: even_cloud(0, 3), "clouds")
    message_of(lambda: even_cloud(3, 0), "particles")
    message_of(lambda: CodeFlow(width=0), "width")
    message_of(lambda: CodeFlow(classes=1), "classes")
    message_of(lambda: redrawing_player(stirred(), beta=-1), "beta")
    message_of(lambda: redrawing_player(stirred(), lr=0), "learning rate")
    message_of(lambda: redrawing_player("decoder"), "A network is needed")


def test_bad_wishes_clouds_and_parts_are_named(tmp_path):
    made, (z, labels) = creation(), given()
    message_of(lambda: made(z, labels+1), "0 to 2")
    message_of(lambda: made(z), "must be told which one")
    message_of(lambda: made(torch.randn(4, 5), labels), "[B, 6]")
    message_of(lambda: made.decoder(z, labels, even_cloud(3, 9)), "generator.sample_cloud(4)")
    message_of(lambda: made.decoder(z, labels, size=0), "size:")
    message_of(lambda: made.decoder.move(z, labels, steps=4), "from 0 to 3")
    message_of(lambda: Creation(stirred(), nn.Linear(2, 2)), "carry(noise, labels)")
    message_of(lambda: read_codes(stirred(), torch.zeros(2, 1, 12, 12)), "encoder")
    message_of(lambda: read_codes(Autoencoder(stirred()), torch.zeros(2, 1, 12, 12, dtype=torch.uint8)), "to_floats")
    message_of(lambda: load_creation("genesis"), "does not hold a creation")
    message_of(lambda: load_creation(tmp_path/"nothing.safetensors"), "nothing.safetensors")
