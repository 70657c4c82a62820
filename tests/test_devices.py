"""Every chapter on a second device: what it makes lies where its neighbours lie. The device is made of the processor, so every machine has it."""
import functools
import json
from pathlib import Path
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook
from genesis_course import run
from second_device import DEVICE, Crossings, Far, second_device
from genesis_course.adversarial import accuracy_under, adversarial_loss, fgsm, pgd
from genesis_course.attention import Transformer, attention as compare, attention_maps
from genesis_course.muon import Muon
from genesis_course.augment import Augment, grad_cam, mixup, warp
from genesis_course.cnn import ResNet
from genesis_course.codeflow import CodeFlow, ParticleDecoder, code_loss, load_creation, redrawing_player
from genesis_course.colour import coloured_glyphs
from genesis_course.data import Batches, Text, digits_set, resize
from genesis_course.diffusion import UNet, flow_player
from genesis_course.evaluation import features, find_copies, measures, read_digits, report
from genesis_course.gan import Discriminator, Generator, Ring, gan_players, noise, sample
from genesis_course.genesis import (GenesisParticle, adversarial_discriminator_loss, genesis_players, load_genesis, pretraining_player,
                                    sunflower, trajectory)
from genesis_course.gpu import AccumulatingTrainer, ActivationCheckpoint, activation_bytes
from genesis_course.imagenet import EfficientNet, photo_features
from genesis_course.optim import SGD, Adam, Momentum, RMSprop, one_cycle
from genesis_course.particles import euler_step, fit_particles, pair_forces, picture, scatter, simulate, splat
from genesis_course.plots import figure, plot_bands, plot_curves, plot_dots, show
from genesis_course.probes import influence
from genesis_course.processes import setup_player
from genesis_course.rnn import RecurrentLM, generate, next_token_loss, text_loss
from genesis_course.run import loss_of
from genesis_course.sequences import EncoderDecoder, PositionLM, alignment, translate, translation_loss
from genesis_course.stable_gan import (EMA, VAEGAN, ConvDiscriminator, ConvGenerator, class_agreement, conditional_players, gradient_penalty,
                                       lazy_regularisation, r1_penalty, sample_class, vaegan_players)
from genesis_course.tensors import gradient_check
from genesis_course.training import Checkpoint, EarlyStopping, Player, Trainer, Validate, accuracy, evaluate, fit
from genesis_course.transfer import add_adapters, freeze, merge, prepare, replace_head
from genesis_course.vae import (VAE, ConvVAE, active_units, binarise, importance_weighted_bound, interpolate, log_normal, sample_prior,
                                vae_loss)


NBS = Path(__file__).parent.parent/"nbs"


@functools.cache
def digits(): return digits_set("train")[:120]


def pairs(**settings): return Batches(digits(), **{"batch_size": 40, "drop_last": True, "device": DEVICE, **settings})
def images(count=6): return (digits().images[:count]/127.5-1).to(DEVICE)
def labels(count=6): return digits().labels[:count].to(DEVICE)
def small(): return ResNet(widths=(4, 8))
def train(players, batches, *callbacks, **settings): return Trainer(players, *callbacks, device=DEVICE, **settings).fit(batches, 2)
def classify(module, batch): return F.cross_entropy(module(batch[0]), batch[1])
def there(*tensors): assert all(isinstance(tensor, Far) for tensor in tensors)


def tensors(): assert gradient_check(lambda x, w: (x @ w).tanh().sum(), torch.randn(3, 2).to(DEVICE), torch.randn(2, 4).to(DEVICE)) < 1e-5


def data():
    for x, y in Batches(digits(), batch_size=50, device=DEVICE, transform=Augment(rotate=5, shift=0.1)): there(x, y)
    there(resize(images(), 12))


def optim():
    for rule in (SGD, Momentum, RMSprop, Adam): train(Player(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), classify, rule, schedule=one_cycle), pairs())


def training(folder):
    batches, network = pairs(), small()
    player = Player(network, classify, clip=1.)
    train(player, batches, [Validate(batches, every=1), EarlyStopping(), Checkpoint(folder/"run.safetensors")])
    there(*network.parameters(), *network.buffers())
    again = Trainer(Player(small(), classify), device=DEVICE).fit(batches, 3, resume=folder/"run.safetensors")
    assert again.step == 9
    fit(small(), F.cross_entropy, batches, valid=batches, metrics={"right": accuracy}, device=DEVICE)
    evaluate(network, batches, lambda module, batch: accuracy(module(batch[0]), batch[1]))


def cnn():
    network, augment = small().to(DEVICE), Augment(rotate=10, shift=0.1, scale=0.1, erase=0.5, flip=True)
    there(augment(images()), warp(images(), rotation=5., x=0.1), *mixup(images(), labels(), 10, 0.4), grad_cam(network, "stage1", images(), labels()),
          grad_cam(network, "stage1", images(), 3))


def rnn():
    ids = torch.arange(60).view(3, 20).remainder(7).to(DEVICE)
    for cell in ("rnn", "lstm", "gru"):
        model = RecurrentLM(7, cell, width=8)
        train(Player(model, next_token_loss), [(ids[:, :-1], ids[:, 1:])])
    influence(model, ids[0])
    there(generate(model, ids[:, :4], 5))
    text = Text("abcdefg"*20)
    text_loss(model, text, 10)
    text_loss(model, text, 10, stateful=True)


def attention():
    ids = torch.arange(60).view(3, 20).remainder(7).to(DEVICE)
    model = Transformer(7, 16, width=8, heads=2, layers=2)
    train(Player(model, next_token_loss, Muon), [(ids[:, :16], ids[:, 1:17])])
    q, k, v = torch.randn(3, 2, 2, 5, 4).to(DEVICE)
    there(*compare(q, k, v, causal=True), *attention_maps(model, ids[:1, :9]))


def sequences():
    source, target = (torch.arange(start, start+24).view(3, 8).remainder(7).add(2).to(DEVICE) for start in (0, 5))
    model = EncoderDecoder(9, width=8, heads=2)
    train(Player(model, translation_loss), [(source, target)])
    there(translate(model, source, 4), alignment(model, source, target))
    for positions in ("none", "learned", "sinusoidal", "rotary", "ALiBi"): train(Player(PositionLM(9, positions, width=8, heads=2), next_token_loss), [(source, target)])


def vae():
    for model in (VAE(8, 3, hidden=16), ConvVAE(8, 3, width=4)):
        train(Player(model, vae_loss), pairs())
        there(sample_prior(model, 4))
        importance_weighted_bound(model, images(), 3)
        active_units(model, images(20))
    codes = torch.randn(4, 3).to(DEVICE)
    there(binarise(images()), interpolate(codes[0], codes[1], 3), log_normal(codes), log_normal(codes, 1., [0., 0., 1.]))


def gan():
    game = Generator(4, 8, hidden=(16,)), Discriminator(8, hidden=(16,))
    train(gan_players(*game, 4), pairs())
    there(sample(game[0], 5, seed=1), noise(3, 4, device=DEVICE))
    ring = Ring()
    points = torch.as_tensor(ring.sample(30)).to(DEVICE)
    ring.log_density(points), ring.coverage(points)


def stable_gan():
    game = ConvGenerator(4, 8, width=4, classes=10), ConvDiscriminator(8, 4, classes=10, spectral=True)
    for penalty in (lazy_regularisation(r1_penalty, 0.5, every=2), gradient_penalty):
        players = conditional_players(*game, penalty=penalty)
        train(players, pairs(), EMA(players[1]))
    there(sample_class(game[0], torch.tensor([1, 2]), seed=1))
    class_agreement(game[0], read_digits, 40)
    train(vaegan_players(VAEGAN(8, 4, width=4)), pairs())


def evaluation():
    real, fake = torch.rand(2, 130, 1, 28, 28).mul(2).sub(1).to(DEVICE)
    there(features(real))
    measures(features(real), features(fake))
    report(real, fake, splits=2)
    find_copies(fake[:5], real[:70], real[70:], alarms=0.1)


def imagenet():
    network = EfficientNet(4).to(DEVICE)
    there(network(images(2).expand(-1, 3, -1, -1).repeat(1, 1, 4, 4)))
    photo_features(network, images(2), 32)


def transfer():
    network = small().to(DEVICE)
    replace_head(network, 4)
    there(*network.parameters())
    add_adapters(network, 1)
    there(*network.parameters())
    merge(network)
    there(network(images()))
    for method in ("head only", "adapters", "gradual unfreezing"):
        network = small().to(DEVICE)
        fit(network, F.cross_entropy, pairs(), device=DEVICE, **prepare(network, method))
    train(Player(freeze(small(), "stem"), classify), pairs())


def adversarial():
    network = small().to(DEVICE).eval()
    there(fgsm(network, images(), labels(), 0.1))
    for norm in (float("inf"), 2):
        for target in (None, (labels()+1) % 10): there(pgd(network, images(), labels(), 0.1, steps=2, target=target, norm=norm))
        there(pgd(network, images(), labels(), 0.1, steps=1, norm=norm, generator=torch.Generator().manual_seed(0)))
    accuracy_under(lambda *given: fgsm(*given, 0.1), network, pairs())
    train(Player(network, adversarial_loss(lambda *given: pgd(*given, 0.1, steps=2))), pairs())


def particles():
    start = scatter(3, 8)
    start = type(start)(*(part.to(DEVICE) for part in start))
    there(picture(splat(*start, 8, 8)), pair_forces(start.position, lambda squared: 1/(1+squared)))
    simulate(start.position, torch.zeros_like(start.position), lambda position: -position, 0.1, 5)
    euler_step(start.position, torch.zeros_like(start.position), -start.position, 0.1)
    fit_particles(images(3), start, steps=3)


def genesis():
    model = GenesisParticle(8, 4, 10, particles=6, steps=2, width=8)
    train(pretraining_player(model), pairs())
    parts = {"enhance": Augment(shift=0.1, rotate=5), "attack": adversarial_discriminator_loss(0.1, steps=2)}
    train(genesis_players(model, ConvDiscriminator(8, 4, classes=10), **parts), pairs())
    there(sunflower(2, 5, device=DEVICE).position, trajectory(model, noise(2, 4, device=DEVICE), labels(2), frames=4))
    shipped = load_genesis()[0].to(DEVICE)
    there(shipped(noise(2, shipped.latent_dim, device=DEVICE), labels(2)))


def gpu():
    AccumulatingTrainer(Player(small(), classify), device=DEVICE, microbatches=2).fit(pairs(), 1)
    player = Player(nn.Sequential(ActivationCheckpoint(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())), nn.Linear(32, 10)).to(DEVICE), classify)
    try: activation_bytes(player, next(iter(pairs())))
    except AttributeError as error: assert "'meta'" in str(error)       # PyTorch 2.4 looks for a module with the label's name


def plots():
    values = torch.rand(5).to(DEVICE)
    plot_curves({"a line": values, "a path": (values, values), "numbers": ([*values], [*values]), "names": (["a", "b"], [1, 2])})
    with figure(ncols=2) as axes:
        plot_bands({"runs": (values, [*values.outer(values)])}, "x", "y", axes[0])
        plot_dots({"runs": values, "numbers": [*values]}, "x", axes[1])
    show(images(3), labels=labels(3))


ROOMS = [tensors, data, optim, training, cnn, rnn, attention, sequences, vae, gan, stable_gan, evaluation, imagenet, transfer, adversarial, particles, genesis, gpu, plots]


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")      # it is none: the numbers arrive
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_a_chapter_makes_its_tensors_beside_their_neighbours(room, tmp_path):
    with second_device(): room(*[tmp_path][:room.__code__.co_argcount])


@pytest.mark.parametrize("fault", [
    lambda x: x + torch.zeros(3), lambda x: x @ torch.randn(3, 2), lambda x: x[0].lerp(torch.rand(3), 0.5), lambda x: torch.cat([x, torch.ones(1, 3)]),
    lambda x: torch.where(x > 0, x, torch.full((3,), 2.)), lambda x: F.cross_entropy(x, torch.tensor([0, 1])), lambda x: nn.Linear(3, 3)(x),
    lambda x: torch.randn(2, 3, device=x.device, generator=torch.Generator()), lambda x: x.numpy(), lambda x: F.embedding(torch.arange(3), x), lambda x: torch.arange(3.)[(x > 0)[0]]])
def test_a_tensor_made_elsewhere_is_caught(fault):
    with second_device(), pytest.raises((RuntimeError, TypeError), match="same device|generator|numpy"): fault(torch.randn(2, 3).to(DEVICE))


def test_the_device_computes_as_the_processor_does():
    ends = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        with second_device():
            network = small()
            Trainer(Player(network, classify, torch.optim.SGD, lr=0.1), device=device).fit(Batches(digits(), batch_size=40, device=device), 1)
            ends.append([parameter.detach().cpu() for parameter in network.parameters()])
    for pair in zip(*ends): torch.testing.assert_close(*pair)


# Cells of chapters that make tensors of their own

def cells(chapter, ids, *changes, **known):
    "What these cells of a chapter define; each change is a pair (text, other text)"
    sources = {cell["id"]: "".join(cell["source"]) for cell in json.loads((NBS/f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]}
    source = "\n".join(sources[each] for each in ids.split())
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    exec(compile(source, chapter, "exec"), known)
    return known


def drawn_generators(monkeypatch):
    "Chapter 10a: a discriminator learns on the device, the generators draw on the processor"
    monkeypatch.setattr(run, "default_device", lambda: DEVICE)
    page = cells("10a_evaluation", "2245e961 19512627 b1724ffa 442091ef 0732475d 668099cb", ("epochs=7", "epochs=1"))
    assert len(page["watched_loss"](page["clouds"])) == 22


def same_seed_other_picture(monkeypatch):
    "Case 83: two pictures for one seed, and no other fault"
    cells("15b_codeflow", "53471621", torch=torch, creation=load_creation()[0].to(DEVICE), labels=labels(8))


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize("page", [drawn_generators, same_seed_other_picture], ids=lambda page: page.__name__)
def test_cells_of_a_chapter_run_where_the_card_is(page, monkeypatch):
    torch.manual_seed(0)
    with second_device(): page(monkeypatch)


@pytest.mark.slow
def test_a_game_where_no_sum_comes_out_twice_resumes_closely():
    "Chapter 09b with the rounding of a card: close to the run that was not stopped, and closer than with weights alone"
    def rounding(optimizer, *_):
        for each in [each for group in optimizer.param_groups for each in group["params"] if each.grad is not None]:
            each.grad += 1e-6*each.grad.abs().max()*torch.randn(each.shape, generator=dice)
    dice, hook = torch.Generator().manual_seed(0), register_optimizer_step_pre_hook(rounding)
    try: page = cells("09b_colour", "8783254b 9968722d dedf6a34 14bd106b 82401a0d", ('device.type == "cpu"', "False"),
                      glyphs=coloured_glyphs(1280), SIZE=16, device="cpu")
    finally: hook.remove()
    assert not page["exact"] and page["apart"](page["whole"], page["resumed"]).max() > 0


class RoundedByRows(RecurrentLM):
    "As on a card, where another kernel computes another number of rows"
    def forward(self, ids, state=None):
        logits, state = super().forward(ids, state)
        return logits+1e-3*len(ids), state


def test_influence_is_not_the_rounding_of_another_kernel():
    torch.manual_seed(0)
    seen = influence(RoundedByRows(7, "gru", width=8), torch.arange(12) % 7)
    assert seen.triu(1).max() < 1e-5 < 1e-2 < seen.diagonal().min()


# A step that a card records (backstage: recording) makes its numbers there and waits for none

def genesis_steps():
    model = GenesisParticle(8, 4, 10, particles=6, steps=2, width=8)
    return [pretraining_player(model), *genesis_players(model, ConvDiscriminator(8, 4, classes=10))]
def codeflow_steps(): return [redrawing_player(ParticleDecoder(8, 4, 10, particles=6, steps=2, width=8, keys=4, told=8, bundle=2))]
def flow_steps(): return [flow_player(UNet(8, 1, 10, widths=(8, 16), told=8))[0]]
def code_steps(): return [flow_player(CodeFlow(4, 10, width=8).measure(torch.randn(9, 4), torch.ones(9, 4)), lambda module, batch: code_loss(module, (batch[0].flatten(1)[:, :4], batch[0].flatten(1)[:, :4].abs(), batch[1])))[0]]
def gan_steps(): return conditional_players(ConvGenerator(4, 8, 4, classes=10), ConvDiscriminator(8, 4, classes=10), penalty=lazy_regularisation(r1_penalty, every=2))

@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize("players", [genesis_steps, codeflow_steps, flow_steps, code_steps, gan_steps])
def test_no_operation_of_a_step_crosses_over_to_the_processor(players):
    torch.manual_seed(0)
    with second_device():
        batch, players = (images(40), labels(40)), players()
        for player in players: setup_player(player, DEVICE), player.module.train()
        for player in players:
            for _ in range(2): player.step(loss_of(player, batch)[0])         # what is made or looked at once
            with Crossings() as crossings:
                for _ in range(8): player.step(loss_of(player, batch)[0])     # with a penalty and without
            assert not crossings.found, (player.name, sorted({*crossings.found}))

def test_what_crosses_over_is_found():
    with second_device(), Crossings() as crossings:
        near, far = torch.ones(2), torch.ones(2, device=DEVICE)
        far + 1, far*far.sum(), near*near.sum().item(), far[0].copy_(far[1])
        assert not crossings.found
        for cross in (lambda: near.to(DEVICE), lambda: far.cpu(), lambda: far.copy_(near), lambda: far.sum().item(), lambda: far.new_tensor([1., 2.]), lambda: torch.tensor([1.], device=DEVICE)):
            crossings.found.clear(), cross()
            assert crossings.found
