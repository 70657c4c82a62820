"""Chapter 15b: particles that redraw, a flow on their codes, samplers that repeat themselves, and what bad input is told."""
import math
import pytest
import torch
from torch import nn
from helpers import message_of
from genesis_course.codeflow import (Brush, ClassGaussians, CodeFlow, Creation, Glance, ParticleDecoder, code_loss, even_cloud, load_creation, read_codes, redrawing_player)
from genesis_course.creation import create, drawer, film, healing_loss, moments, origin_colours, painted, pushed
from genesis_course.data import Batches, ImageSet
from genesis_course.diffusion import UNet, flow_player, sample_pictures
from genesis_course.evaluation import read_digits
from genesis_course.flow import ancestral
from genesis_course.gan import sample
from genesis_course.genesis import Autoencoder, Cloud, GenesisParticle, squash, sunflower, trajectory
from genesis_course.codes import ConditionalVAE, sample_asked
from genesis_course.particles import picture, scatter, splat
from genesis_course.run import repeatable
from genesis_course.stable_gan import ConvGenerator, sample_class
from genesis_course.processes import Steps
from genesis_course.training import Player, Trainer
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


# The brush

def stirred_brush(bundle, channels=1):
    torch.manual_seed(0)
    brush = Brush(16, channels, 0.1, bundle)
    nn.init.normal_(brush.weight, std=0.3)
    return brush, torch.randn(2, 5, 2, generator=rng()), torch.randn(2, 5, 16, generator=rng(1))


def test_a_bundle_of_one_is_the_dab_of_chapter_15():
    brush, position, hidden = stirred_brush(1)
    factors = (1.5*nn.functional.linear(hidden, brush.weight, brush.bias).tanh()).exp()
    wanted = picture(splat(squash(position), 0.1*factors[..., :2], factors[..., 2], 12, 9))
    assert brush.weight.shape == (3, 16) and torch.allclose(brush(position, hidden, 12, 9), wanted, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_bundle_of_three_is_three_dabs_near_their_particle(channels):
    brush, position, hidden = stirred_brush(3, channels)
    place, size, density = brush.dabs(position, hidden)
    assert place.shape == size.shape == (2, 15, 2) and density.shape == (2, 15, channels)
    drawn = torch.cat([picture(splat(place, size, each, 12, 9)) for each in density.unbind(2)], dim=1)
    assert torch.allclose(brush(position, hidden, 12, 9), drawn, atol=1e-6)
    apart = place.view(2, 5, 3, 2)-squash(position)[:, :, None]
    assert apart.abs().max() <= 0.15 and (apart[:, :, 0]-apart[:, :, 1]).abs().max() > 0.01
    place, size, density = brush.dabs(position, hidden, ripe=0.)
    assert torch.equal(place.view(2, 5, 3, 2), squash(position)[:, :, None].expand(-1, -1, 3, -1)) and size.std() < 1e-6 and density.std() < 1e-6


def test_an_untrained_bundle_lies_side_by_side_so_that_its_dabs_learn_different_things():
    torch.manual_seed(0)
    place = Brush(16, 1, 0.1, 3).dabs(torch.zeros(1, 1, 2), torch.zeros(1, 1, 16))[0][0]
    assert place[:, 0].diff().min() > 0.02 and place[:, 1].abs().max() == 0


def test_a_decoder_with_bundles_is_drawn_filmed_and_coloured_like_any_other():
    made, (z, labels), cloud = Creation(stirred(bundle=3), CodeFlow(6, 3, width=8, calls=3)).eval(), given(), even_cloud(4, 9, generator=rng())
    made.decoder(z, labels).square().sum().backward()
    assert not [name for name, parameter in made.decoder.named_parameters() if not parameter.grad.abs().sum() > 0]
    shown, coloured = (film(made, z, labels, cloud, 3, 20, colour) for colour in (False, True))
    with torch.no_grad():
        assert torch.allclose(shown[-1], made(z, labels, cloud, 20), atol=1e-5) and coloured.shape == (3, 4, 3, 20, 20)
        path, hidden = made.move(z, labels, cloud)
        white = painted(made, path[-1], hidden, 20, 1., torch.ones(4, 9, 3))
        assert torch.allclose(white, made.draw(path[-1], hidden, 20).expand(-1, 3, -1, -1), atol=1e-3)


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
        for parameter in flow.net.leave.parameters(): parameter.zero_()
        z, labels = given()
        assert torch.allclose(flow.carry(z, labels), flow.centre+flow.scale*z, atol=1e-5)


def test_guidance_leads_away_from_codes_of_any_class():
    "Ho & Salimans 2022, eq. 6: at 1 as asked, above further than that; and what was not told counts in training only"
    torch.manual_seed(0)
    flow, (z, labels) = CodeFlow(6, 3, calls=1).eval(), given()
    nn.init.normal_(flow.net.leave.weight)
    t = torch.full((4,), 0.3)
    with torch.no_grad():
        asked, any_class = flow(z, t, labels), flow(z, t)
        assert not torch.allclose(asked, any_class) and torch.equal(asked, flow(z, t, labels))
        ways = []
        for flow.guidance in (0.5, 1., 1.5): ways.append(flow.carry(z, labels))
        assert not torch.allclose(ways[0], ways[1]) and not torch.allclose(ways[1], ways[2])
        flow.train()
        heard = flow(z[:1].expand(4000, 6), torch.full((4000,), 0.3), labels[:1].expand(4000))
        apart = (heard-any_class[:1]).abs().amax(dim=1) < 1e-5
        assert 0.08 < apart.float().mean() < 0.12


def test_a_flow_is_led_away_from_a_weaker_one():
    "Karras et al. 2024: at 1 the flow itself, above further along what it has before the weaker one; its own guidance stays"
    torch.manual_seed(0)
    (flow, weak), (z, labels) = [CodeFlow(6, 3, width=width, calls=2).eval() for width in (8, 4)], given()
    for each in (flow, weak): nn.init.normal_(each.net.leave.weight)
    flow.guidance, t = 1.4, torch.full((4,), 0.3)
    with torch.no_grad():
        alone = flow.carry(z, labels)
        flow.weak, flow.lead = weak, 1.
        assert torch.equal(flow.carry(z, labels), alone)
        flow.lead = 1.7
        expected = flow(z, t) + 1.4*(flow(z, t, labels)-flow(z, t)) + 0.7*(flow(z, t, labels)-weak(z, t, labels))
        assert torch.allclose(flow.velocity(labels)(z, t), expected, atol=1e-5) and not torch.allclose(flow.carry(z, labels), alone)


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
    assert sum(parameter.numel() for parameter in made.parameters()) < 300_000 and {"settings", "steps", "fid", "recall", "floor", "read after pushes"} <= about.keys()

@pytest.mark.parametrize("seed", range(3))
def test_a_push_heals_by_the_law_alone(seed):
    "Ten pushes, each as strong as the page's, and the law after each"
    torch.manual_seed(seed)
    made, labels = load_creation()[0], torch.arange(200) % 10
    z, cloud = torch.randn(200, made.latent_dim), made.sample_cloud(200)
    with torch.no_grad():
        path, hidden = made.move(z, labels, cloud)
        for _ in range(10): path, hidden = made.move(z, labels, Cloud(pushed(path[-1]), cloud.particle_noise))
        assert (read_digits(made.draw(path[-1], hidden)) == labels).float().mean() > 0.95

def test_pushes_go_in_all_directions_and_equally_far():
    position = torch.randn(500, 7, 2, generator=rng())
    way = pushed(position, 0.4, generator=rng())-position
    assert torch.allclose(way.norm(dim=2), torch.tensor(0.4), atol=1e-5) and torch.allclose(way, way[:, :1].expand_as(way), atol=1e-6)
    assert way[:, 0].mean(dim=0).norm() < 0.05 and torch.equal(pushed(position, 0.4, generator=rng()), position+way)


def test_a_hand_throws_what_is_near_it_and_a_wide_one_everything_alike():
    position = torch.randn(500, 7, 2, generator=rng())
    way = pushed(position, 0.4, 0.2, rng())-position
    assert way.norm(dim=2).max() <= 0.4 and (way.norm(dim=2) < 0.04).float().mean() > 0.5 and way.norm(dim=2).max() > 0.35
    most = way.gather(1, way.norm(dim=2).argmax(dim=1)[:, None, None].expand(-1, 1, 2))
    assert (way[..., 0]*most[..., 1]-way[..., 1]*most[..., 0]).abs().max() < 1e-5 and ((way*most).sum(dim=2) > -1e-6).all(), "all of a cloud in one direction"
    assert torch.allclose(pushed(position, 0.4, 1e4, rng()), pushed(position, 0.4, generator=rng()), atol=1e-5)
    strong = torch.linspace(0, 1, 500)[:, None, None]
    assert torch.allclose((pushed(position, strong, generator=rng())-position).norm(dim=2), strong[:, 0].expand(-1, 7), atol=1e-5), "each as far as it is told"

def test_healing_is_learned_from_starts_that_were_pushed():
    "A decoder that is trained on pushed starts redraws from them better than it did; the rows that were not pushed stay as the loss says"
    torch.manual_seed(0)
    decoder, loss = stirred(), healing_loss(share=0.5, most=2)
    images, means, labels = -torch.ones(16, 1, *decoder.shape[1:]), torch.randn(16, decoder.latent_dim), torch.arange(16) % 3
    batch = images, means, torch.zeros_like(means), labels
    def ends(): return sum(loss(decoder, batch)["squared error after pushes"].item() for _ in range(5))
    before, player = ends(), Player(decoder, loss, lr=0.01)
    Trainer(player, device="cpu").fit(Steps([batch], 60))
    assert ends() < 0.5*before
    values = loss(decoder, batch)
    plain = healing_loss(share=0.5, most=2, alike=0.)(decoder, batch)
    assert values["loss"] > 0 and set(plain) == {"loss", "squared error", "squared error after pushes"}


def test_shipped_inks_draw_digits_of_one_hue_each():
    "Read in the brightest ink of each pixel; every picture has a clear hue, and all parts of the wheel occur"
    made, about = load_creation("inks")
    labels = torch.arange(300) % 10
    drawn = sample_class(made, labels, seed=5)
    assert drawn.shape == (300, 3, 28, 28) and (read_digits(drawn.amax(dim=1, keepdim=True)) == labels).float().mean() > 0.9
    ink = drawn.add(1).mean(dim=(2, 3))
    assert ((ink.amax(dim=1)-ink.amin(dim=1))/ink.amax(dim=1)).median() > 0.6 and ink.argmax(dim=1).bincount(minlength=3).min() > 50
    assert about["hues"] > 0.9


@pytest.mark.slow
def test_shipped_letters_are_read_as_asked_for():
    "By the network of chapter 12b, which knows 52 letters and has not seen these drawings"
    import string
    from genesis_course.transfer import backbone
    made, about = load_creation("letters")
    labels = torch.tensor([about["characters"].index(sign) for sign in string.ascii_letters]*10)
    small = nn.functional.interpolate(sample_class(made, labels, seed=3), (16, 16), mode="area")
    with torch.no_grad(): read = backbone().eval()(small).argmax(dim=1)
    assert (read == torch.arange(52).repeat(10)).float().mean() > 0.9
    assert set(about["characters"]) == set(string.ascii_letters+string.digits) and made.classes == 62


def test_weights_that_draw_on_request_are_small():
    from pathlib import Path
    import genesis_course
    for name, most in {"genesis": 200_000, "letters": 200_000, "inks": 200_000, "creation": 600_000}.items():
        assert (Path(genesis_course.__file__).parent/"weights"/f"{name}.safetensors").stat().st_size < most, name


# Creation on request: films and letters

def test_a_film_ends_with_the_picture_and_begins_with_equal_round_dabs():
    made, (z, labels), cloud = creation(), given(), even_cloud(4, 9, generator=rng())
    shown = film(made, z, labels, cloud, 6, 20, False)
    with torch.no_grad(): assert torch.allclose(shown[-1], made(z, labels, cloud, 20), atol=1e-5)
    assert torch.equal(film(made, z, labels, cloud, None, 20, False)[0], shown[-1])
    assert torch.allclose(shown[0, 0], painted(made, cloud.position, torch.randn(4, 9, 16), 20, ripe=0.)[0], atol=1e-6), "the first dabs do not depend on the hidden states"
    assert torch.allclose(film(stirred_particle(), z, labels, stirred_particle().sample_cloud(4, generator=rng()), 3, 12, False)[0].isfinite().float().mean(), torch.tensor(1.))


def test_from_frame_to_frame_the_cloud_goes_equally_far():
    path = [torch.zeros(2, 3, 2)]
    for size in (0.1, 2., 0.5): path.append(path[-1]+size*torch.randn(2, 3, 2, generator=rng(1)))
    times = moments(path, 31)
    places = torch.stack([path[min(int(t), 2)].lerp(path[min(int(t), 2)+1], t-min(int(t), 2)) for t in times])
    way = places.diff(dim=0).norm(dim=-1).mean(dim=(1, 2))
    assert times[0] == 0 and abs(times[-1]-3) < 1e-9 and way.max() < 1.01*way.median()
    assert len(moments([path[0]]*3, 4)) == 4, "a cloud that stands still has a film too"


def test_colours_are_those_of_the_place_and_white_paint_is_grey():
    made, (z, labels), cloud = creation(), given(), even_cloud(4, 9, generator=rng())
    path, hidden = made.move(z, labels, cloud)
    with torch.no_grad():
        white = painted(made, path[-1], hidden, 20, 1., torch.ones(4, 9, 3))
        assert torch.allclose(white, made.draw(path[-1], hidden, 20).expand(-1, 3, -1, -1), atol=1e-3)
    tint = origin_colours(torch.tensor([[[0., 0.], [1., 0.], [-1., 0.]]]))
    assert tint[0, 0].std() < 1e-6 and tint[0, 1, 0] > tint[0, 1, 1] and tint[0, 2, 0] < tint[0, 2, 1]


def test_digits_and_letters_are_drawn_and_what_is_unknown_is_named(tmp_path):
    assert drawer("genesis")[1] == drawer("creation")[1] == "0123456789" and len(drawer("letters")[1]) == 62
    assert create("Ab7", size=16, seed=1).shape == create("Ab7", size=16, seed=1, source="letters").shape == (1, 1, 16, 52)
    assert torch.equal(create("26", size=16, seed=1), create(26, size=16, seed=1, source="creation"))
    assert create("7", frames=3, size=16, seed=1, colour=True).shape == (3, 3, 16, 16)
    message_of(lambda: create("naïve 7?"), "letters and digits", "0 to 9, A to Z, a to z", "it does not know 'ï', ' ', '?'")
    message_of(lambda: create("a1b", source="creation"), "each from 0 to 9", "it does not know 'a', 'b'")
    message_of(lambda: create("a"*21), "1 to 20 of them", "this has 21")
    message_of(lambda: create("", source="letters"), "this has 0")
    message_of(lambda: create("7", frames=0), "frames")
    message_of(lambda: create("7", source=tmp_path/"nothing.safetensors"), "nothing.safetensors")


# Bad input

def test_bad_numbers_are_named():
    for name in ("size", "latent_dim", "particles", "steps", "width", "keys", "told"):
        for wrong in (0, -1, 2.5, "3", None): message_of(lambda: ParticleDecoder(**{"size": 12, name: wrong}), name)
    for name in ("width", "blocks", "calls"): message_of(lambda: CodeFlow(**{name: 0}), name)
    message_of(lambda: CodeFlow(guidance=-1), "guidance")
    message_of(lambda: ParticleDecoder(12, channels=2), "channels are 1 (grey) or 3")
    message_of(lambda: ParticleDecoder(12, classes=1), "classes: a whole number from 2 on")
    message_of(lambda: ParticleDecoder(12, dt=0), "dt: a number above 0")
    message_of(lambda: ParticleDecoder(12, damping=1.5), "damping")
    message_of(lambda: even_cloud(0, 3), "clouds")
    message_of(lambda: even_cloud(3, 0), "particles")
    message_of(lambda: CodeFlow(width=0), "width")
    message_of(lambda: CodeFlow(classes=1), "classes")
    message_of(lambda: CodeFlow(6, 3, weak=ClassGaussians()), "a weaker CodeFlow", "ClassGaussians")
    message_of(lambda: CodeFlow(6, 3, weak=CodeFlow(5, 3)), "same length", "6 numbers and 3 classes", "5 and 3")
    message_of(lambda: CodeFlow(6, 3, lead=-1), "lead")
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
