"""The genesis particle: what holds for any weights, what the shipped ones can do, and what bad input is told."""
import math
import subprocess
import sys
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import nn
from helpers import message_of
from genesis_course.augment import Augment
from genesis_course.data import Batches, ImageSet
from genesis_course.evaluation import features, frechet_distance, read_digits
from genesis_course.gan import noise
from genesis_course.creation import create
from genesis_course.plots import frame_grids
from genesis_course.genesis import (Autoencoder, Cloud, Augmented, GenesisParticle, Interaction, adversarial_discriminator_loss, trajectory, genesis_players, load_genesis, pretraining_player,
                                    reconstruction_loss, sunflower, fourier_features)
from genesis_course.stable_gan import ConvDiscriminator, class_agreement, sample_class
from genesis_course.state import save_weights
from genesis_course.training import Checkpoint, Trainer


def rng(seed=0): return torch.Generator().manual_seed(seed)


def stirred(**changes):
    "A small generator whose forces are not zero"
    torch.manual_seed(0)
    generator = GenesisParticle(**{"size": 12, "latent_dim": 6, "classes": 3, "particles": 9, "steps": 3, "width": 16, **changes})
    with torch.no_grad():
        generator.dynamics.force.weight.normal_(std=0.3)
        generator.splat_head.weight.normal_(std=0.3)
    return generator


def conditions(generator, count=4): return noise(count, generator.latent_dim, generator=rng()), torch.arange(count) % generator.classes


def digits(count=40):
    images = (torch.rand(count, 1, 12, 12, generator=rng())*255).to(torch.uint8)
    return ImageSet(images, torch.arange(count) % 3, ["a", "b", "c"])


# Laws

@given(particles=st.integers(1, 12), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_a_shuffled_cloud_gives_the_same_picture(particles, seed):
    generator, cloud = stirred(), sunflower(4, particles, generator=rng(seed))
    order = torch.randperm(particles, generator=rng(seed))
    with torch.no_grad():
        z, labels = conditions(generator)
        assert torch.allclose(generator(z, labels, cloud), generator(z, labels, Cloud(cloud.position[:, order], cloud.particle_noise[:, order])), atol=1e-5)


def test_interaction_is_torchs_attention_without_mask():
    torch.manual_seed(0)
    ours, theirs = Interaction(16, 4), nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    theirs.in_proj_weight.data.copy_(ours.qkv.weight.data)
    theirs.out_proj.weight.data.copy_(ours.out.weight.data)
    crowd = torch.randn(2, 7, 16)
    assert torch.allclose(ours(crowd), theirs(crowd, crowd, crowd)[0], atol=1e-5)


def test_pictures_of_a_batch_do_not_hear_each_other():
    generator, cloud = stirred(), sunflower(4, 9, generator=rng())
    z, labels = conditions(generator)
    with torch.no_grad(): together, alone = generator(z, labels, cloud), generator(z[2:3], labels[2:3], Cloud(cloud.position[2:3], cloud.particle_noise[2:3]))
    assert torch.allclose(together[2:3], alone, atol=1e-5)


def test_without_forces_nothing_moves_and_an_untrained_cloud_stands_still():
    z, labels = conditions(stirred())
    path, _ = stirred().move(z, labels, force_scale=0.)
    assert all(torch.equal(path[0], place) for place in path)
    path, _ = GenesisParticle(12, 6, 3).move(z, labels)
    assert torch.equal(path[0], path[-1])
    path, _ = stirred().move(z, labels)
    assert (path[-1]-path[0]).abs().max() > 0.01


def test_the_wish_acts_on_the_motion():
    generator, cloud = stirred(), sunflower(2, 9, generator=rng())
    z = noise(1, 6, generator=rng()).expand(2, -1)
    path, _ = generator.move(z, torch.tensor([0, 1]), Cloud(cloud.position[:1].expand(2, -1, -1), cloud.particle_noise[:1].expand(2, -1, -1)))
    assert torch.equal(path[0][0], path[0][1]) and (path[-1][0]-path[-1][1]).abs().max() > 1e-3


def test_a_coarse_picture_is_the_mean_of_a_fine_one():
    generator = stirred()
    z, labels = conditions(generator)
    path, hidden = generator.move(z, labels)
    with torch.no_grad(): fine, coarse = (-(((1-generator.draw(path[-1], hidden, size))/2).double()).log() for size in (48, 12))
    assert torch.allclose(nn.functional.avg_pool2d(fine, 4), coarse, rtol=1e-3, atol=1e-4)


@given(height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=15, deadline=None)
def test_pictures_need_not_be_square(height, width):
    generator = stirred()
    with torch.no_grad(): images = generator(*conditions(generator), size=(height, width))
    assert images.shape == (4, 1, height, width) and images.abs().max() <= 1


@pytest.mark.parametrize("count", [1, 2, 200])
def test_any_number_of_particles_may_be_thrown(count):
    generator = stirred()
    z, labels = conditions(generator)
    with torch.no_grad(): assert generator(z, labels, generator.sample_cloud(4, count)).isfinite().all()


def test_ink_and_brush_stay_within_bounds_whatever_the_weights():
    generator = stirred()
    with torch.no_grad(): generator.splat_head.weight.mul_(1e4)
    z, labels = conditions(generator)
    path, hidden = generator.move(z, labels)
    generator(z, labels).sum().backward()
    assert (generator.draw(path[-1], hidden).amax(dim=(1, 2, 3)) > -0.9).all() and generator.dynamics.force.weight.grad.isfinite().all()


def test_every_weight_gets_a_gradient():
    generator = stirred()
    generator(*conditions(generator)).square().sum().backward()
    assert not [name for name, parameter in generator.named_parameters() if parameter.grad is None or not parameter.grad.abs().sum() > 0]


def test_sunflowers_are_even_random_and_repeatable():
    cloud = sunflower(50, 40, jitter=0., generator=rng())
    radius = cloud.position.norm(dim=2)
    assert radius.max() < 1 and torch.allclose((radius < math.sqrt(0.5)).double().mean(), torch.tensor(0.5).double(), atol=0.03)
    assert torch.cdist(cloud.position, cloud.position).add(torch.eye(40)*9).min() > 0.15
    assert torch.equal(sunflower(3, 5, generator=rng(1)).position, sunflower(3, 5, generator=rng(1)).position)
    assert not torch.equal(cloud.position[0], cloud.position[1])


def test_waves_are_sines_and_cosines_of_doubling_frequency():
    seen = fourier_features(torch.tensor([[[1., -0.5]]]), math.pi/2*torch.tensor([1., 2.]))[0, 0]
    half = math.pi/2
    expected = [math.sin(half), math.sin(2*half), math.sin(-half/2), math.sin(-half), math.cos(half), math.cos(2*half), math.cos(-half/2), math.cos(-half)]
    assert torch.allclose(seen, torch.tensor(expected), atol=1e-6)


# Parts and training

@pytest.mark.slow
def test_reconstruction_learns_and_moves_both_networks():
    torch.manual_seed(0)
    generator = stirred()
    player = pretraining_player(generator)
    before = [parameter.clone() for parameter in player.module.parameters()]
    history = Trainer(player, device="cpu").fit(Batches(digits(), batch_size=20), 40).history["squared error"]
    assert sum(value for _, value in history[-10:]) < 0.9*sum(value for _, value in history[:10])
    assert all((old != new).any() for old, new in zip(before, player.module.parameters()))


def test_reconstruction_loss_is_the_bound_of_chapter_07_up_to_a_constant():
    from torch.distributions import Independent, Normal, kl_divergence
    generator = stirred()
    autoencoder, batch = Autoencoder(generator), (2*torch.rand(5, 1, 12, 12)-1, torch.arange(5) % 3)
    torch.manual_seed(1)
    loss = reconstruction_loss(beta=1., std=0.5)(autoencoder, batch)["loss"]
    torch.manual_seed(1)
    redrawn, mean, log_variance = autoencoder(*batch)
    likelihood = Independent(Normal(redrawn, 0.5), 3).log_prob(batch[0]) + 144*math.log(0.5*math.sqrt(2*math.pi))
    kl = kl_divergence(Independent(Normal(mean, (log_variance/2).exp()), 1), Independent(Normal(torch.zeros_like(mean), 1.), 1))
    assert torch.allclose(loss, (kl-likelihood).mean(), rtol=1e-4)


@pytest.mark.parametrize("parts", [{}, {"enhance": Augment(shift=0.1)}, {"attack": adversarial_discriminator_loss(0.1)}, {"enhance": Augment(rotate=5), "attack": adversarial_discriminator_loss(0.05, steps=2)}], ids=["plain", "E", "C", "E and C"])
def test_each_part_can_be_exchanged_and_a_resumed_game_equals_an_uninterrupted_one(parts, tmp_path):
    def players():
        torch.manual_seed(0)
        return genesis_players(stirred(), ConvDiscriminator(12, 4, classes=3), **parts)
    batches, path = Batches(digits(), batch_size=20), tmp_path/"run.safetensors"
    whole = Trainer(players(), device="cpu").fit(batches, 3)
    Trainer(players(), Checkpoint(path), device="cpu").fit(Batches(digits(), batch_size=20), 1)
    resumed = Trainer(players(), device="cpu").fit(Batches(digits(), batch_size=20), 3, resume=path)
    for a, b in zip(whole.players, resumed.players):
        assert all(torch.equal(x, y) for x, y in zip(a.module.state_dict().values(), b.module.state_dict().values(), strict=True))


def test_attacked_pictures_are_harder_and_leave_no_gradient_behind():
    torch.manual_seed(0)
    judge, real, fake, labels = ConvDiscriminator(12, 8, classes=3), 2*torch.rand(30, 1, 12, 12)-1, 2*torch.rand(30, 1, 12, 12)-1, torch.arange(30) % 3
    losses = [adversarial_discriminator_loss(eps)(judge, real, fake, labels=labels).item() for eps in (0., 0.05, 0.2)]
    assert losses[0] < losses[1] < losses[2]
    assert all(parameter.grad is None for parameter in judge.parameters())
    assert adversarial_discriminator_loss(0.1, weight=2.)(judge, real, fake, labels=labels).item() == pytest.approx(2*adversarial_discriminator_loss(0.1)(judge, real, fake, labels=labels).item())


def test_colours_are_inks_of_the_same_particles():
    generator = stirred(channels=3)
    images = generator(*conditions(generator))
    assert images.shape == (4, 3, 12, 12)
    with torch.no_grad(): generator.splat_head.weight[2:].zero_()
    same = generator(*conditions(generator))
    assert torch.allclose(same[:, 0], same[:, 1], atol=1e-6) and torch.allclose(same[:, 0], same[:, 2], atol=1e-6)


# Films

def test_a_film_begins_with_the_cloud_ends_with_the_picture_and_moves_evenly():
    generator, cloud = stirred(), sunflower(4, 9, generator=rng())
    z, labels = conditions(generator)
    frames = trajectory(generator, z, labels, cloud, frames=7)
    with torch.no_grad(): assert torch.equal(frames[-1], generator(z, labels, cloud)) and frames.shape == (7, 4, 1, 12, 12)
    path, hidden = generator.move(z, labels, cloud)
    middle = path[1].lerp(path[2], 0.5)                     # frame 3 of 0 … 6 is the moment 1.5 of 0 … 3
    assert torch.allclose(frames[3], generator.draw(middle, hidden), atol=1e-6)
    assert frame_grids(frames, ncols=2).shape[:2] == (7, 1)


# The shipped weights

def test_shipped_weights_draw_what_they_are_asked_for_and_fall_apart_without_forces():
    generator, about = load_genesis()
    assert class_agreement(generator, read_digits, 500) > 0.95 and sum(parameter.numel() for parameter in generator.parameters()) < 30_000
    labels = torch.arange(300) % 10
    with torch.no_grad():
        path, hidden = generator.move(noise(300, generator.latent_dim, generator=rng()), labels, force_scale=0.)
        assert (read_digits(generator.draw(path[-1], hidden)) == labels).float().mean() < 0.5
    assert {"settings", "parts", "race", "cost"} <= about.keys()


def test_create_repeats_itself_and_draws_the_number():
    first, second = create("2026", frames=5, size=48, seed=4), create(2026, frames=5, size=48, seed=4)
    assert torch.equal(first, second) and first.shape[0] == 5 and first.dtype == torch.uint8
    assert not torch.equal(create("7", size=48, seed=1), create("7", size=48, seed=2))


@pytest.mark.slow
def test_the_command_writes_a_film_and_a_picture(tmp_path):
    done = subprocess.run([sys.executable, "-c", "from genesis_course.cli import main; main()", "create", "7", "--frames", "f.gif", "--picture", "p.png", "--size", "64", "--seed", "1"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path/"f.gif") as opened: assert opened.n_frames > 10
    with Image.open(tmp_path/"p.png") as opened: assert opened.size == (64, 64)


@pytest.mark.parametrize("arguments, fragment", [(["1x!"], "it does not know '!'"), (["7", "--frames", "film.mp4"], ".gif"), (["7", "--size", "0"], "size: a whole number"),
                                                 (["7", "--particles", "0"], "particles: a whole number"), (["7", "--weights", "nowhere.safetensors"], "could not be read")])
@pytest.mark.slow
def test_the_command_says_what_is_wrong(arguments, fragment, tmp_path):
    done = subprocess.run([sys.executable, "-c", "from genesis_course.cli import main; main()", "create", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and fragment in done.stderr and "Traceback" not in done.stderr and not list(tmp_path.iterdir())


# Bad input

def test_bad_numbers_are_named():
    for name in ("size", "latent_dim", "particles", "steps", "width", "heads", "noise_dim", "octaves"):
        for wrong in (0, -1, 2.5, "3", None): message_of(lambda: GenesisParticle(**{"size": 12, name: wrong}), f"{name}:")
    message_of(lambda: GenesisParticle(12, channels=2), "channels are 1 (grey) or 3")
    message_of(lambda: GenesisParticle(12, classes=1), "classes: a whole number from 2 on")
    message_of(lambda: GenesisParticle(12, dt=0), "dt: a number above 0")
    message_of(lambda: GenesisParticle(12, damping=1.5), "damping")
    message_of(lambda: GenesisParticle(12, width=30, heads=4), "30", "heads")
    message_of(lambda: sunflower(1, 0), "particles:")
    message_of(lambda: sunflower(0, 5), "clouds:")


def test_bad_wishes_and_clouds_are_named():
    generator = stirred()
    z, labels = conditions(generator)
    message_of(lambda: generator(z, torch.tensor([0, 1, 2, 3])), "0 to 2")
    message_of(lambda: generator(z), "must be told which one")
    message_of(lambda: generator(noise(4, 5), labels), "[B, 6]")
    message_of(lambda: generator(z, labels, sunflower(3, 9)), "generator.sample_cloud(4)")
    message_of(lambda: generator(z, labels, sunflower(4, 9, noise_dim=3)), "[4, N, 8]")
    message_of(lambda: generator(z, labels, size=0), "size:")
    message_of(lambda: generator(z, labels, size=(8, 8, 8)), "(height, width)")
    message_of(lambda: generator.move(z, labels, steps=4), "from 0 to 3")
    message_of(lambda: trajectory(generator, z, labels, frames=1), "frames:")
    message_of(lambda: Augmented(ConvDiscriminator(12, 4, classes=3), None), "enhancer is a function")
    message_of(lambda: adversarial_discriminator_loss(weight=-1), "weight:")
    message_of(lambda: adversarial_discriminator_loss("x"), "eps")
    message_of(lambda: adversarial_discriminator_loss(0.1, 0), "steps of the attack")
    message_of(lambda: genesis_players(stirred(), ConvDiscriminator(12, 4, classes=3), attack=0.1), "such as adversarial_discriminator_loss(0.1)", "0.1")
    message_of(lambda: genesis_players(stirred(), ConvDiscriminator(12, 4, classes=3), attack=adversarial_discriminator_loss), "such as adversarial_discriminator_loss(0.1)")
    message_of(lambda: stirred().move(*conditions(stirred()), cloud=40), "A cloud is a pair", "int")
    message_of(lambda: create(3, seed=2**70), "seed")
    message_of(lambda: create(3, particles=10**8), "particles")
    message_of(lambda: create(3, scale=1e30), "scale")


def test_no_steps_is_a_cloud_and_not_an_error():
    generator = stirred()
    path, hidden = generator.move(*conditions(generator), steps=0)
    assert len(path) == 1 and generator.draw(path[0], hidden).shape == (4, 1, 12, 12)


def test_bad_weights_are_named(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path/"other.safetensors", nn.Linear(2, 2), settings={"size": 12})
    message_of(lambda: load_genesis(tmp_path/"other.safetensors"), "does not hold a genesis particle")
    save_weights(tmp_path/"bare.safetensors", stirred())
    message_of(lambda: load_genesis(tmp_path/"bare.safetensors"), "not how to build")
    (tmp_path/"broken.safetensors").write_bytes(b"half a file")
    message_of(lambda: load_genesis(tmp_path/"broken.safetensors"), "damaged")
    save_weights(tmp_path/"mine.safetensors", stirred(), settings=dict(size=12, latent_dim=6, classes=3, particles=9, steps=3, width=16))
    assert load_genesis(tmp_path/"mine.safetensors")[0].steps == 3
    message_of(lambda: create("3", source=tmp_path/"mine.safetensors"), "each from 0 to 2")
    message_of(lambda: load_genesis("genisis"), "No weights called")


def test_shipped_weights_are_near_real_digits_they_were_not_trained_on(real_data):
    "FID against MNIST's test images"
    from genesis_course.data import load_images
    drawn = sample_class(load_genesis()[0], torch.arange(3000) % 10, seed=1)
    assert frechet_distance(features(drawn), features(load_images("mnist", split="test"))) < 0.5
