"""Seconds to equal FID: the flow of chapter 11b beside smalldiffusion (github.com/yuanchenyang/smalldiffusion), written again from the settings of its Fashion-MNIST U-Net.

    python benchmarks/small_diffusion.py [--seeds 3] [--seconds 40]

Both train the U-Net of chapter 11b on 4,000 drawn digits of 16 by 16 pixels, in batches of 64, told the class, which is forgotten for one picture in ten; both draw 500 digits in twenty calls of the average of their
weights, ten steps with guidance w = 1.5. Theirs: noise predicted, 800 noise levels evenly spaced in log σ from 0.01 to 20, AdamW at 7e-4, an average
with 0.999, DDIM with γ = 1.6. Their network (64 maps, attention) and batch (1,024) were made for a graphics card and would take a dozen steps in this time. Their rate does not fall, so one training is looked at
again and again; ours falls to 0, so each time is a training of its own. Looking is not counted. Seconds are those of one core.
"""
import argparse
import functools
import math
import time
from common import save
import torch
from diffusion import Clock, judge
from genesis_course.data import Batches, load_images
from genesis_course.diffusion import UNet, flow_player, guided, sample_pictures, starting_noise
from genesis_course.evaluation import features
from genesis_course.flow import circular, flow_loss
from genesis_course.training import Callback, Trainer

LEVELS = torch.logspace(math.log10(0.01), math.log10(20), 800)
COUNT = 500


def time_of(sigma): return torch.atan(1/sigma)*2/math.pi      # on the circular path, where (data + σ·noise)/√(1+σ²) lies


def their_times(count): return time_of(LEVELS[torch.randint(len(LEVELS), (count,))])


@torch.no_grad()
def their_samples(network, labels, steps, scale, gamma=1.6):
    "DDIM whose noise looks ahead: γ times the present prediction and 1 - γ times the one before"
    places = [round(len(LEVELS)*(1-k/steps))-1 for k in range(steps)]
    sigmas, ask, before = LEVELS[[*places, 0]], guided(network, labels, scale), None
    x = starting_noise(network, len(labels), 1)[0]*sigmas[0]
    for sigma, later in zip(sigmas, sigmas[1:]):
        noise = ask(x/(1+sigma**2).sqrt(), time_of(sigma).expand(len(x)))
        x = x-(sigma-later)*(noise if before is None else gamma*noise+(1-gamma)*before)
        before = noise
    return x.clamp(-1, 1)


LABELS = torch.arange(COUNT) % 10


class Looks(Callback):
    "At some moments the average is judged, and the clock stands still"
    def __init__(self, clock, moments, average, look): self.clock, self.moments, self.average, self.look, self.found = clock, list(moments), average, look, []
    def after_step(self, trainer):
        if not self.moments or self.clock.progress()*self.clock.seconds < self.moments[0]: return
        started = time.process_time()
        self.found.append({"seconds": self.moments.pop(0), "steps": trainer.step, **self.look(self.average.module)})
        print("theirs", self.found[-1], flush=True)
        self.clock.started += time.process_time()-started


def batches_of(images, seed): return Batches(images, batch_size=64, seed=seed, drop_last=True)


def theirs(images, test, seed, moments):
    torch.manual_seed(seed)
    player, average = flow_player(UNet(), functools.partial(flow_loss, path=circular, predicts="noise", times=their_times), optimizer=torch.optim.AdamW, lr=7e-4, schedule=None, decay=0.999)
    clock = Clock(batches_of(images, seed), moments[-1]+1, [])
    looks = Looks(clock, moments, average, lambda module: judge(their_samples(module, LABELS, 10, 1.5), LABELS, test, COUNT))
    Trainer(player, [average, looks], device="cpu").fit(clock)
    return looks.found


def ours(images, test, seed, seconds):
    torch.manual_seed(seed)
    player, average = flow_player(UNet(), momentum=0.9)
    trainer = Trainer(player, average, device="cpu")
    trainer.fit(Clock(batches_of(images, seed), seconds, [player]))
    found = {"seconds": seconds, "steps": trainer.step, **judge(sample_pictures(average.module, LABELS, 10, 1.5, seed=1), LABELS, test, COUNT)}
    print("ours", found, flush=True)
    return found


def tell(runs):
    "Store the runs, and their ranges as a table"
    table, seeds = [], len({run["seed"] for run in runs})
    for who in ("smalldiffusion", "chapter 11b"):
        for seconds in sorted({run["seconds"] for run in runs if run["who"] == who}):
            here = [run for run in runs if (run["who"], run["seconds"]) == (who, seconds)]
            span = lambda key: f"{min(run[key] for run in here)} to {max(run[key] for run in here)}"
            table.append({"recipe": who, "seconds of one core": seconds, "steps": span("steps"), "FID": span("FID"), "recall": span("recall"), "read as asked for": span("as asked")})
    save("small_diffusion", f"Drawn digits of 16 by 16 pixels, the same U-Net; FID of {COUNT} drawings in ten guided steps, from the best to the worst of {seeds} seeds", table, ["torch"], runs=runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40., help="of one core, for each training of the other implementation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, test = load_images("glyphs", size=16, count=4000), features(load_images("glyphs", "test", size=16, count=4000))
    moments = [options.seconds*share for share in (1/2, 1)]
    runs = []
    for seed in range(options.seeds):
        runs += [{"who": "smalldiffusion", "seed": seed, **found} for found in theirs(images, test, seed, moments)]
        runs += [{"who": "chapter 11b", "seed": seed, **ours(images, test, seed, options.seconds*share)} for share in (1/4, 1/2)]
        tell(runs)
