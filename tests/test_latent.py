"""Chapter 11c: codes and their scale, the flow on them, what it draws, and what is said of bad input."""
import math
import pytest
import torch
from helpers import message_of
from genesis_course.data import Batches, load_images
from genesis_course.diffusion import flow_player, guided
from genesis_course.flow import euler, heun, steps_to
from genesis_course.latent import CodeNet, Scale, codes_of, sample_codes, sample_latent
from genesis_course.state import load_weights
from genesis_course.training import Trainer
from genesis_course.vae import VAE, to_images


@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)


def small(**settings): return CodeNet(**{"numbers": 3, "classes": 4, "width": 16, "told": 8, **settings}).eval()
def model(): return VAE(8, 3, 16)
def pictures(count=5): return torch.rand(count, 1, 8, 8)*2-1


# Codes and their scale

def test_codes_are_draws_around_the_mean_of_the_encoder():
    vae, x = model(), pictures(4)
    mean, log_variance = vae.encode(x)
    drawn = torch.stack([codes_of(vae, x) for _ in range(400)])
    torch.testing.assert_close(drawn.mean(dim=0), mean.detach(), atol=0.25, rtol=0)
    torch.testing.assert_close(drawn.std(dim=0), (log_variance/2).exp().detach(), atol=0.2, rtol=0.1)

def test_codes_of_an_image_set_are_those_of_its_tensor_and_keep_the_mode():
    vae, images = VAE(16, 3, 16).train(), load_images("glyphs", size=16, count=510)
    from genesis_course.data import to_floats
    first, second = (codes_of(vae, x, torch.Generator().manual_seed(1)) for x in (images, to_floats(images.images)))
    assert first.shape == (510, 3) and torch.equal(first, second) and vae.training and not first.requires_grad

def test_a_scale_makes_standard_codes_and_leads_back():
    codes = torch.randn(400, 5)*torch.arange(1., 6)+torch.arange(5.)
    scaling = Scale(codes)
    standard = scaling.standard(codes)
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std(dim=0), torch.ones(5))
    torch.testing.assert_close(scaling.back(standard), codes)
    torch.testing.assert_close(scaling.back(torch.zeros(2, 5)), codes.mean(dim=0).expand(2, 5))


# The network

def test_what_comes_out_is_as_long_as_what_goes_in_and_rows_do_not_influence_each_other():
    network, x, t, labels = small(), torch.randn(6, 3), torch.rand(6), torch.arange(6) % 4
    whole = network(x, t, labels)
    assert whole.shape == x.shape
    torch.testing.assert_close(torch.cat([network(x[k:k+1], t[k:k+1], labels[k:k+1]) for k in range(6)]), whole)

def test_time_and_class_are_heard_and_labels_are_forgotten_in_training_only():
    network, x, t, labels = small(drop=0.5), torch.randn(60, 3), torch.rand(60), torch.arange(60) % 4
    known = network(x, t, labels)
    assert not torch.allclose(network(x, 1-t, labels), known) and not torch.allclose(network(x, t, (labels+1) % 4), known)
    assert torch.equal(network(x, t, labels), known)
    changed = (network.train()(x, t, labels)-known).abs().sum(dim=1) > 1e-6
    assert 0.25 < changed.float().mean() < 0.75

def test_a_flow_on_codes_learns_where_each_class_lies():
    "Two classes, two points: the drawn codes come to the point that was asked for"
    labels = torch.arange(512) % 2
    codes = torch.where(labels[:, None] == 0, torch.tensor([1., -1.]), torch.tensor([-1., 1.]))
    player, average = flow_player(CodeNet(2, classes=2, width=32), optimizer=torch.optim.Adam, lr=4e-3)
    Trainer(player, average, device="cpu").fit(Batches(codes, labels, batch_size=64), epochs=20)
    drawn = sample_codes(average.module, [0, 1, 1, 0], seed=0)
    wanted = codes[[0, 1, 1, 0]]
    assert torch.equal(drawn.sign(), wanted.sign()) and (drawn-wanted).abs().mean() < 0.4


# Drawing

def test_samples_are_those_of_the_sampler_and_a_seed_repeats_them():
    network, labels = small().train(), torch.tensor([0, 3, 1])
    first, second = (sample_codes(network, labels, calls=4, scale=1.5, seed=2) for _ in range(2))
    assert network.training and torch.equal(first, second)
    network.eval()
    noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(): torch.testing.assert_close(heun(guided(network, labels, 1.5), noise, steps_to(4)), first)
    assert not torch.equal(sample_codes(network, labels, 4, 1.5, 2, euler), first)

def test_pictures_are_decoded_codes_of_the_right_size():
    vae, network, scaling = model(), small(), Scale(torch.randn(50, 3)*4+2)
    drawn = sample_latent(vae, scaling, network, [0, 1], seed=3)
    with torch.no_grad(): expected = to_images(vae.decode(scaling.back(sample_codes(network, [0, 1], seed=3))))
    assert drawn.shape == (2, 1, 8, 8) and drawn.abs().max() <= 1
    torch.testing.assert_close(drawn, expected)


# The tables that travel with the weights

def test_the_stored_league_has_every_contestant_with_every_seed():
    tables = load_weights("flow_digits")[1]["tables"]
    seeds = {}
    for run in tables["league runs"]: seeds.setdefault(run["name"], set()).add(run["seed"])
    assert len(seeds) == 9 and len({frozenset(each) for each in seeds.values()}) == 1
    assert len({run["seconds"] for run in tables["league runs"]}) == 1
    assert all(run["FID"] > tables["league floor"]["FID"] and 0 <= run["copies"] <= 1 for run in tables["league runs"])

def test_the_stored_copies_have_all_seeds_at_every_place():
    runs = load_weights("flow_digits")[1]["tables"]["copies"]
    places = {}
    for run in runs: places.setdefault((run["pictures"], run["steps"]), set()).add(run["seed"])
    assert len({frozenset(each) for each in places.values()}) == 1 and len(places) == len({place[0] for place in places})*len({place[1] for place in places})


# Bad input

CODES, LABELS = torch.randn(6, 3), torch.arange(6) % 4

@pytest.mark.parametrize("call, words", [
    (lambda: Scale(CODES[0]), ("[N, numbers]",)),
    (lambda: Scale(CODES[:1]), ("One code",)),
    (lambda: Scale(torch.ones(5, 2)), ("same in all",)),
    (lambda: Scale(CODES).standard(torch.randn(2, 4)), ("[N, 3]",)),
    (lambda: Scale(CODES).back(CODES.long()), ("floats",)),
    (lambda: CodeNet(0), ("numbers",)),
    (lambda: CodeNet(3, classes=1), ("classes",)),
    (lambda: CodeNet(3, drop=1.), ("drop",)),
    (lambda: small()(torch.randn(6, 2), torch.rand(6), LABELS), ("[N, 3]",)),
    (lambda: small()(CODES, torch.rand(6)+1, LABELS), ("Times run from 0",)),
    (lambda: small()(CODES, torch.rand(6), LABELS+1), ("run from 0 to 3",)),
    (lambda: codes_of("a model", pictures()), ("network",)),
    (lambda: codes_of(torch.nn.Linear(2, 2), pictures()), ("encode and decode",)),
    (lambda: sample_codes(small(), [0], calls=0), ("calls",)),
    (lambda: sample_codes(small(), [0], scale=-1.), ("scale",)),
    (lambda: sample_codes(small(), [0], seed=-1), ("seed",)),
    (lambda: sample_latent(torch.nn.Linear(2, 2), Scale(CODES), small(), [0]), ("encode and decode",)),
])
def test_bad_input_is_told_in_a_sentence(call, words): message_of(call, *words)

def test_a_flow_that_lost_its_mind_is_told():
    network = small()
    with torch.no_grad(): network.layers[0].weight.fill_(math.nan)
    message_of(lambda: sample_codes(network, [0, 1]), "NaN")
