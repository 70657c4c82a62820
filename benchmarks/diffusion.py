"""The flow of chapter 11b: what guidance and calls do to the network that comes with the course, a league of generators with equal processor time, and when a flow copies.

    GENESIS_DATA=… python benchmarks/diffusion.py digits          the shipped network of MNIST: guidance, and calls from 1 to 32
    python benchmarks/diffusion.py pixels [--seeds 3] [--seconds 45]      the U-Net on the built-in glyphs, in 16 bits where the processor has instructions for them: how good are 2,000 drawings of 18 calls?
    python benchmarks/diffusion.py league [--seeds 3] [--seconds 45]      six generators on the built-in glyphs, each with the same seconds of one core; flow and diffusion in 16 bits, the others as their chapters train them
    python benchmarks/diffusion.py students [--seeds 3] [--seconds 45]      the same U-Net, and a student that learns for 60 seconds to need two steps
    python benchmarks/diffusion.py copies [--seeds 3]             a flow on codes (chapter 11c) of 16 to 4,000 pictures, after 250 to 2,250 steps: how many drawings are copies?

`digits` draws 500 pictures for each row and compares them with all 10,000 test images of MNIST (precision and recall: with 500 of them); the floor is 500 training images against the same.
`league` trains on 4,000 drawn digits of 16 by 16 pixels; a training ends when its processor seconds are used up, and its learning rate follows the same clock. Then 500 drawings, compared with 4,000 glyphs
that were not trained on (precision and recall: 500 of them); copies are what chapter 10a's `find_copies` accuses, of new glyphs 1 %. A row is stored as soon as it is measured, and what is stored is kept.
FID is that of the course's feature network (chapter 10a), not of Inception. Each part replaces its own tables in results/diffusion.json; all of them travel with the weights flow_digits, because chapters 11b and
11c show them.
"""
import argparse
import copy
import functools
import json
import time
from common import RESULTS, save
import torch
from genesis_course.data import Batches, load_images
from genesis_course.diffusion import UNet, ddpm_loss, few_steps_loss, flow_player, guided, reflow_pairs, sample_pictures, starting_noise
from genesis_course.evaluation import features, find_copies, frechet_distance, precision_recall, read_digits
from genesis_course.flow import circular, convert, ddim, euler, heun, steps_to
from genesis_course.genesis import GenesisParticle
from genesis_course.latent import CodeNet, Scale, codes_of, sample_latent
from genesis_course.optim import one_cycle
from genesis_course.recipes import gan_game, genesis_game, reconstruction
from genesis_course.run import in_mode
from genesis_course.stable_gan import ConvDiscriminator, ConvGenerator, sample_class
from genesis_course.state import load_weights, save_weights
from genesis_course.training import Player, Trainer
from genesis_course.vae import VAE, sample_prior, to_images, vae_loss

WEIGHTS = RESULTS.parent.parent/"genesis_course"/"weights"/"flow_digits.safetensors"


def judge(pictures, labels, real, few):
    "FID, precision, recall and the share that is read as asked for"
    drawn = features(pictures)
    precision, recall = precision_recall(real[:few], drawn)
    return {"FID": round(frechet_distance(drawn, real), 3), "precision": round(precision, 3), "recall": round(recall, 3), "as asked": round((read_digits(pictures) == labels).double().mean().item(), 3)}


def digits(options):
    "Tables of the shipped network"
    state, about = load_weights("flow_digits")
    network = UNet(**about["settings"])
    network.load_state_dict(state)
    test, count = features(load_images("mnist", split="test")), 500
    labels = torch.arange(count) % 10
    def row(**settings): return judge(sample_pictures(network, labels, seed=1, **settings), labels, test, count)
    guidance = []
    for scale in (1., 1.15, 1.5, 2., 4.):
        guidance.append({"scale": scale, **row(calls=6, scale=scale, sampler=heun)})
        print(guidance[-1], flush=True)
    calls = []
    for name, sampler, steps in [("euler", euler, n) for n in (1, 2, 4, 8, 16, 32)]+[("heun", heun, n) for n in (2, 4, 8)]:
        used = 2*steps-1 if sampler is heun else steps
        calls.append({"sampler": name, "calls": used, **row(calls=steps, sampler=sampler)})
        print(calls[-1], flush=True)
    floor = frechet_distance(features(load_images("mnist")[:count]), test)
    return {"guidance": guidance, "calls": calls, "floor": round(floor, 3)}


class Clock:
    "Batches until the processor seconds are used up; the learning rates of the players follow the same clock"
    def __init__(self, batches, seconds, players):
        self.batches, self.seconds, self.started = batches, seconds, None
        for player in players:
            if player.schedule: player.schedule = functools.partial(lambda schedule, _: schedule(self.progress()), player.schedule)

    def progress(self): return min(1., (time.process_time()-self.started)/self.seconds)
    def __len__(self): return 10**6
    def __iter__(self):
        self.started = time.process_time()
        while True:
            for batch in self.batches:
                if self.progress() >= 1: return
                yield batch


def trained(players, callbacks, images, seconds, seed, batch=64, precision=None):
    "Trained for so long; how many steps that were"
    trainer = Trainer(players, callbacks, device="cpu", precision=precision)
    trainer.fit(Clock(Batches(*images, batch_size=batch, seed=seed, drop_last=True), seconds, trainer.players))
    return trainer.step


def a_vae(images, seconds, seed):
    "The VAE of chapter 07a, which is not told the class"
    model = VAE(16, 16, 256)
    steps = trained(Player(model, vae_loss, lr=6e-3, schedule=one_cycle, betas=(0.9, 0.99)), [], [images], seconds, seed, 128)
    return {"VAE": lambda labels: sample_prior(model, len(labels), torch.Generator().manual_seed(1))}, model, steps


def a_gan(images, seconds, seed):
    "The conditional GAN of chapter 09a"
    players, average = gan_game(ConvGenerator(32, 16, 16, classes=10), ConvDiscriminator(16, 32, classes=10))
    steps = trained(players, [average], [images], seconds, seed)
    return {"GAN": lambda labels: sample_class(average.module, labels, seed=1)}, average.module, steps


def a_particle(images, seconds, seed):
    "The genesis particle of chapter 15: a third of the time it redraws, the rest it plays"
    generator = GenesisParticle(16, particles=24, width=32)
    trained(reconstruction(generator), [], [images], seconds/3, seed, 32)
    players, average = genesis_game(generator, ConvDiscriminator(16, 32, classes=10), (2e-3, 4e-3), 0.99)
    steps = trained(players, [average], [images], seconds*2/3, seed, 32)
    return {"particle": lambda labels: sample_class(average.module, labels, seed=1)}, average.module, steps


def a_flow(images, seconds, seed):
    "The flow of chapter 11b in its long run, without guidance and with a little of it"
    player, average = flow_player(UNet(), momentum=0.9)
    steps = trained(player, average, [images], seconds, seed, precision="bf16-mixed")
    draw = lambda scale, labels: sample_pictures(average.module, labels, seed=1, scale=scale)
    return {"flow" if scale == 1 else f"flow, w = {scale}": functools.partial(draw, scale) for scale in (1., 1.5)}, average.module, steps


@torch.no_grad()
def clipped(network, labels, calls, scale, seed):
    "DDIM for a network that predicts the noise; what it takes for the picture is clamped to [-1, 1] in every step, as is usual for such networks"
    def velocity(x, t):
        data = convert(guided(network, labels, scale)(x, t), x, t, "noise", "data", circular).clamp(-1, 1)
        return convert(data, x, t, "data", "velocity", circular)
    times = torch.cat([torch.tensor([0.01]), steps_to(calls)[1:]])
    return ddim(velocity, starting_noise(network, len(labels), seed)[0], times, circular).clamp(-1, 1)


def a_diffusion(images, seconds, seed):
    "The same network that predicts the noise, on the circular path; the best of three learning rates (0.02, 0.007 and 0.0025, on a seed that is not in the table)"
    player, average = flow_player(UNet(), ddpm_loss, momentum=0.9, lr=0.007)
    steps = trained(player, average, [images], seconds, seed, precision="bf16-mixed")
    draw = lambda scale, labels: clipped(average.module, labels, 20, scale, 1)
    return {"diffusion" if scale == 1 else f"diffusion, w = {scale}": functools.partial(draw, scale) for scale in (1., 1.5)}, average.module, steps


def flow_on_codes(model, codes, labels, seconds, seed):
    "The flow of chapter 11c on codes that an autoencoder made: `Scale`, averaged network, steps"
    scaling = Scale(codes)
    player, average = flow_player(CodeNet(codes.shape[1]), optimizer=torch.optim.Adam, lr=4e-3)
    return scaling, average.module, trained(player, average, [scaling.standard(codes), labels], seconds, seed, 128)


def a_latent_flow(images, seconds, seed):
    "Two thirds of the time an autoencoder, and then a flow on its codes"
    model = VAE(16, 16, 256)
    trained(Player(model, functools.partial(vae_loss, beta=0.1), lr=6e-3, schedule=one_cycle, betas=(0.9, 0.99)), [], [images], seconds*2/3, seed, 128)
    scaling, network, steps = flow_on_codes(model, codes_of(model, images), images.labels, seconds/3, seed)
    draw = lambda scale, labels: sample_latent(model, scaling, network, labels, seed=1, scale=scale)
    return {"flow on codes" if scale == 1 else f"flow on codes, w = {scale}": functools.partial(draw, scale) for scale in (1., 1.5)}, torch.nn.ModuleList([model, network]), steps


def pixels(options, count=2000):
    "A row for each seed and guidance; the floor is as many new glyphs, as many of each digit"
    images, test = load_images("glyphs", size=16, count=4000), features(load_images("glyphs", "test", size=16, count=4000))
    labels, rows = torch.arange(count) % 10, []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        player, average = flow_player(UNet(), momentum=0.9)
        steps = trained(player, average, [images], options.seconds, seed, precision="bf16-mixed")
        for scale in (1.25, 1.5):                         # five steps of Heun, nine predictions, two calls each
            pictures = sample_pictures(average.module, labels, 5, scale, seed=1, sampler=heun)
            rows.append({"seed": seed, "seconds": options.seconds, "steps": steps, "scale": scale, "calls": 18, **judge(pictures, labels, test, count)})
            print(rows[-1], flush=True)
    others = load_images("glyphs", "test", size=16, count=4000+3*count)[4000:]
    new = features(torch.cat([others.images[others.labels == digit][:count//10] for digit in range(10)]))
    precision, recall = precision_recall(test[:count], new)
    return {"pixels": rows, "pixels floor": {"FID": round(frechet_distance(new, test), 3), "precision": round(precision, 3), "recall": round(recall, 3)}}


def students(options, count=2000, pairs=4000, study=60.):
    "A row for each seed and way to draw: the teacher in five steps of Heun's method and in two of Euler's, its student in two and in one"
    images, test = load_images("glyphs", size=16, count=4000), features(load_images("glyphs", "test", size=16, count=4000))
    labels, rows = torch.arange(count) % 10, stored().get("students", [])
    for seed in range(options.seeds):
        if any(row["seed"] == seed for row in rows): continue
        torch.manual_seed(seed)
        player, average = flow_player(UNet(), momentum=0.9)
        trained(player, average, [images], options.seconds, seed, precision="bf16-mixed")
        teacher = average.module.eval()
        drawn, asked, noise = reflow_pairs(teacher, torch.arange(pairs) % 10, 5, 1.25, seed=7, sampler=heun)
        player, average = flow_player(copy.deepcopy(teacher).requires_grad_(), few_steps_loss, lr=0.01, momentum=0.9)
        steps = trained(player, average, [drawn, asked, noise], study, seed, precision="bf16-mixed")
        student = average.module.eval()
        for who, network, calls, each in [("teacher", teacher, 18, dict(calls=5, scale=1.25, sampler=heun)), ("teacher, two steps", teacher, 4, dict(calls=2, scale=1.25)),
                                          ("student, two", student, 2, dict(calls=2)), ("student, one", student, 1, dict(calls=1))]:
            rows.append({"seed": seed, "who": who, "seconds": options.seconds, "study": study, "steps of the student": steps, "calls": calls, **judge(sample_pictures(network, labels, seed=1, **each), labels, test, count)})
            print(rows[-1], flush=True)
        store({"students": rows})
    return {"students": rows}


CONTESTANTS = {"flow": a_flow, "diffusion": a_diffusion, "flow on codes": a_latent_flow, "GAN": a_gan, "particle": a_particle, "VAE": a_vae}


def league(options, count=500):
    "A row for each generator and seed; the ranges of the rows"
    images, test = load_images("glyphs", size=16, count=4000), features(load_images("glyphs", "test", size=16, count=4000))
    known, labels = features(images), torch.arange(count) % 10
    runs = stored().get("league runs", [])
    for seed in range(options.seeds):
        for name, make in CONTESTANTS.items():
            if any(run["seed"] == seed and run["contestant"] == name for run in runs): continue
            torch.manual_seed(seed)
            samplers, module, steps = make(images, options.seconds, seed)
            for who, draw in samplers.items():
                started = time.process_time()
                pictures = draw(labels)
                each = 1000*(time.process_time()-started)/count
                row = {"contestant": name, "name": who, "seed": seed, "seconds": options.seconds, "steps": steps, "weights": sum(parameter.numel() for parameter in module.parameters()), **judge(pictures, labels, test, count),
                       "copies": round(find_copies(features(pictures), known, test).found.double().mean().item(), 4), "ms a picture": float(f"{each:.2g}")}
                if name == "VAE": row["as asked"] = None
                runs.append(row)
                print(row, flush=True)
            store({"league runs": runs})
    others = load_images("glyphs", "test", size=16, count=4000+3*count)[4000:]
    new = features(torch.cat([others.images[others.labels == digit][:count//10] for digit in range(10)]))     # as many of each digit as were drawn
    precision, recall = precision_recall(test[:count], new)
    floor = {"FID": round(frechet_distance(new, test), 3), "precision": round(precision, 3), "recall": round(recall, 3), "copies": round(find_copies(new, known, test).found.double().mean().item(), 4)}
    return {"league runs": runs, "league floor": floor}


SIZES, MOMENTS = (16, 64, 256, 1024, 4000), (250, 750, 2250)


def copies(options, count=500):
    "How many drawings of a flow on codes are taken for copies, by pictures, steps and seed"
    images, others = load_images("glyphs", size=16, count=4000), load_images("glyphs", "test", size=16, count=1000)
    runs = stored().get("copies", [])
    for seed in range(options.seeds):
        if all(any(run["seed"] == seed and run["pictures"] == size for run in runs) for size in SIZES): continue
        torch.manual_seed(seed)
        model = VAE(16, 16, 256)
        Trainer(Player(model, functools.partial(vae_loss, beta=0.1), lr=6e-3, schedule=one_cycle, betas=(0.9, 0.99)), device="cpu").fit(Batches(images, batch_size=128, seed=seed, drop_last=True), 40)
        rng = torch.Generator().manual_seed(seed)
        codes, held_out = codes_of(model, images, rng), codes_of(model, others, rng)
        redraw = lambda codes: features(to_images(model.decode(codes)).detach())
        new = redraw(held_out)
        for size in SIZES:
            scaling, batch = Scale(codes), 128
            few, classes = scaling.standard(codes[:size]), images.labels[:size]
            player, average = flow_player(CodeNet(16), optimizer=torch.optim.Adam, lr=2e-3, schedule=None)
            trainer = Trainer(player, average, device="cpu")
            more = -(-batch*250//size)                        # so that an epoch is 250 steps, for any number of pictures
            batches = Batches(few.repeat(more, 1), classes.repeat(more), batch_size=batch, seed=seed)
            known, asked = redraw(codes[:size]), classes[torch.arange(count) % size]
            for moment in MOMENTS:
                trainer.fit([pair for pair, _ in zip(Again(batches), range(moment-trainer.step))])
                pictures = sample_latent(model, scaling, average.module, asked, seed=1)
                found = find_copies(features(pictures), known, new)
                runs.append({"seed": seed, "pictures": size, "steps": moment, "copies": round(found.found.double().mean().item(), 4), "median closeness": round(found.score.median().item(), 3), "threshold": round(found.threshold, 3)})
                print(runs[-1], flush=True)
            store({"copies": runs})
    return {"copies": runs}


class Again:
    "The batches, over and over"
    def __init__(self, batches): self.batches = batches
    def __iter__(self):
        while True: yield from self.batches


PATH = RESULTS/"diffusion.json"


def stored(): return json.loads(PATH.read_text())["tables"] if PATH.exists() else {}


def store(new):
    "Put tables beside those that are stored already"
    tables = {**stored(), **new}
    save("diffusion", "The flow of chapter 11b on MNIST: 500 drawings in 6 steps of Heun's method, against the 10,000 test images, for several strengths of guidance", tables.get("guidance", []), ["torch"], tables=tables)


def travel():
    "Let the stored tables travel with the weights"
    state, about = load_weights("flow_digits")
    network = UNet(**about["settings"])
    network.load_state_dict(state)
    save_weights(WEIGHTS, network, **{**about, "tables": stored()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["digits", "pixels", "students", "league", "copies"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=45., help="of one core, for each training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store(globals()[options.part](options))
    travel()
