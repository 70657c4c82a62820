"""What each of several processes runs in tests/test_processes.py: `torchrun … tests/two.py FOLDER CASE …`; alone it makes the runs to compare with."""
import json
import os
import signal
import sys
import time
from pathlib import Path
import torch
from torch import nn
from torch.nn import functional as F
from genesis_course.cnn import ResNet
from genesis_course.data import Batches, digits_set
from genesis_course.gan import Discriminator, Generator, gan_players
from genesis_course.stable_gan import VAEGAN, ConvDiscriminator, ConvGenerator, conditional_players, lazy_regularisation, r1_penalty, vaegan_players
from genesis_course.support import CourseError
from genesis_course.optim import cosine
from genesis_course.processes import processes
from genesis_course.training import (Callback, Checkpoint, EarlyStopping, Player, PlotLosses,
                                     Trainer, Validate)
from genesis_course.vae import VAE, vae_loss

folder, cases = Path(sys.argv[1]), sys.argv[2:]
rank, ranks = processes()
torch.set_num_threads(1)
DIGITS = digits_set("train")


class Seen(Callback):
    "The first random number after each step"
    def __init__(self): self.rolls = []
    def after_step(self, trainer): self.rolls.append(torch.rand(()).item())


class At(Callback):
    "Do something after a step"
    def __init__(self, step, action): self.step, self.action = step, action
    def after_step(self, trainer):
        if trainer.step == self.step: self.action(trainer)


def plain(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
def read(module, batch): return F.cross_entropy(module(batch[0]), batch[1])
def batches(**settings): return Batches(DIGITS[:320], **{"batch_size": 32, **settings})


def tell(trainer, **more):
    "Leave the weights and what else the test wants to see"
    weights = {player.name: torch.cat([p.detach().flatten() for p in player.module.parameters()]).tolist() for player in trainer.players}
    statistics = {player.name: [b.double().sum().item() for b in player.module.buffers()] for player in trainer.players}
    history = {name: [value for _, value in curve] for name, curve in trainer.history.items()}
    (folder/f"{case}-{ranks}-{rank}.json").write_text(json.dumps({"weights": weights, "statistics": statistics, "history": history, "step": trainer.step, **more}))


def same(make=batches, epochs=2, clip=None):
    seen = Seen()
    tell(Trainer(Player(plain(), read, lr=1e-2, schedule=cosine, clip=clip), seen, device="cpu").fit(make(), epochs), rolls=seen.rolls)


def loader():
    torch.manual_seed(0)
    rows = DIGITS[:320]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows.images/127.5-1, rows.labels), batch_size=32, shuffle=True)


def listed(): return [(pair[0], {"labels": pair[1]}) for pair in batches()]
def read_listed(module, batch): return F.cross_entropy(module(batch[0]), batch[1]["labels"])
def lists(): tell(Trainer(Player(plain(), read_listed, lr=1e-2), device="cpu").fit(listed(), 2))


def methods():
    "A loss that calls methods of its network instead of the network"
    model = VAE(8, 4, hidden=32)
    def loss(module, batch): return (module.decode(module.encode(batch[0])[0])-batch[0]).square().mean()
    tell(Trainer(Player(model, loss, lr=1e-2), device="cpu").fit(batches(), 2))


def gan():
    tell(Trainer(gan_players(Generator(8, 8, 32), Discriminator(8, 32), 8, lr=1e-3), device="cpu").fit(batches(), 2))


def stable():
    "Conditional, with batch norm, spectral norm and a penalty that is looked at now and then, by dice of each process's own"
    pair = ConvGenerator(8, 8, 8, classes=10), ConvDiscriminator(8, 8, classes=10, spectral=True)
    tell(Trainer(conditional_players(*pair, lr=1e-3, penalty=lazy_regularisation(r1_penalty, 0.5, every=2)), device="cpu").fit(batches(), 2))


def vaegan(): tell(Trainer(vaegan_players(VAEGAN(8, 4, 4), penalty=r1_penalty), device="cpu").fit(batches(), 2))


def norm(): tell(Trainer(Player(ResNet(widths=(8, 16)), read, lr=1e-2), device="cpu").fit(batches(), 2))


def stops():
    "Early stopping on a loss with noise in it: all processes must decide alike; the second asks to stop in another run"
    valid = batches(shuffle=False)
    run = Trainer(Player(VAE(8, 4, 32), vae_loss, lr=3e-2), [Validate(valid), EarlyStopping(2), PlotLosses()], device="cpu").fit(batches(), 40)
    asked = Trainer(Player(plain(), read), At(7, lambda trainer: rank and trainer.stop("enough")), device="cpu").fit(batches(), 2)
    tell(run, asked=asked.step, valid=[value for _, value in run.history["valid loss"]])


def resumed():
    "A run with noise that is stopped and resumed, and one that is not"
    path = folder/"resumed.safetensors"
    def trainer(*callbacks):
        torch.manual_seed(0)
        return Trainer(Player(VAE(8, 4, 32), vae_loss, lr=1e-2), [*callbacks, Checkpoint(path, every=5)], device="cpu")
    whole = trainer().fit(batches(), 3)
    trainer(At(15, lambda trainer: setattr(trainer, "interrupted", True) or trainer.stop("Ctrl-C"))).fit(batches(), 3)
    second = trainer().fit(batches(), 3, resume=str(path))
    tell(second, whole=torch.cat([p.detach().flatten() for p in whole.players[0].module.parameters()]).tolist())


def dies(number):
    "One process ends itself in step 12; the last checkpoint is that of step 10"
    def end(trainer):
        if rank == number: os.kill(os.getpid(), signal.SIGKILL)
    Trainer(Player(plain(), read), [Checkpoint(folder/"last.safetensors", every=5), At(12, end)], device="cpu").fit(batches(), 50)


def waits():
    "A long run that says when it has begun"
    class Slow(Callback):
        def after_step(self, trainer):
            time.sleep(0.05)
            if trainer.step == 5: (folder/f"begun-{rank}").write_text("")
    tell(Trainer(Player(plain(), read), [Checkpoint(folder/"waits.safetensors"), Slow()], device="cpu").fit(batches(), 500))


def thawed():
    model = plain()
    model[1].requires_grad_(False)
    try: Trainer(Player(model, read), At(3, lambda trainer: model[1].requires_grad_(True)), device="cpu").fit(batches(), 2)
    except CourseError as error: (folder/f"thawed-{rank}.json").write_text(json.dumps(str(error)))


def refused():
    "What cannot be shared equally"
    message = []
    for wrong in (batches(batch_size=33), Batches(DIGITS[:321], batch_size=32), [next(iter(batches(batch_size=33)))]):
        try: Trainer(Player(plain(), read), device="cpu").fit(wrong)
        except CourseError as error: message.append(str(error))
    (folder/f"refused-{rank}.json").write_text(json.dumps(message))


CASES = {"same": same, "clipped": lambda: same(clip=0.05), "list": lists, "loader": lambda: same(loader), "methods": methods, "gan": gan, "stable": stable,
         "vaegan": vaegan, "norm": norm, "stops": stops, "resumed": resumed, "dies-0": lambda: dies(0), "dies-1": lambda: dies(1), "waits": waits, "thawed": thawed,
         "refused": refused}

for case in cases:
    torch.manual_seed(0)
    CASES[case]()
