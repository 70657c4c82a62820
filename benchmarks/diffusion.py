"""The flow of chapter 11b: what guidance and calls do to the network that comes with the course, and what half a minute of training reaches on the built-in glyphs.

    GENESIS_DATA=… python benchmarks/diffusion.py digits          the shipped network of MNIST: guidance, and calls
    python benchmarks/diffusion.py glyphs [--seeds 3]             a flow and a diffusion model beside each other, with the same network, steps and images

`digits` draws 500 pictures for each row and compares them with all 10,000 test images of MNIST (precision and recall: with 500 of them); the floor is 500 training images against the same.
`glyphs` trains on 4,000 drawn digits of 16 by 16 pixels, 650 steps on batches of 64, one thread; then 2,000 drawings in 20 calls, compared with 4,000 glyphs that were not trained on. Seconds are those of the processor.
FID is that of the course's feature network (chapter 10a), not of Inception. Each part replaces its own tables in results/diffusion.json; all of them travel with the weights flow_digits, because chapter 11b shows them.
"""
import argparse
import json
import time
from common import RESULTS, save
import torch
from genesis_course.data import Batches, load_images
from genesis_course.diffusion import UNet, ddpm_loss, flow_player, sample_pictures
from genesis_course.evaluation import features, frechet_distance, precision_recall, read_digits
from genesis_course.flow import circular, ddim, euler, heun
from genesis_course.recipes import flow_experiment
from genesis_course.state import load_weights, save_weights
from genesis_course.training import Trainer

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
    for scale in (1., 1.5, 2., 4.):
        guidance.append({"scale": scale, **row(calls=12, scale=scale)})
        print(guidance[-1], flush=True)
    calls = []
    for name, sampler, steps in [("euler", euler, n) for n in (1, 2, 4, 8, 16, 32)]+[("heun", heun, n) for n in (2, 4, 8)]:
        used = 2*steps-1 if sampler is heun else steps
        calls.append({"sampler": name, "calls": used, **row(calls=steps, sampler=sampler)})
        print(calls[-1], flush=True)
    floor = frechet_distance(features(load_images("mnist")[:count]), test)
    return {"guidance": guidance, "calls": calls, "floor": round(floor, 3)}


KINDS = {"flow, velocity": dict(), "diffusion, noise": dict(loss=ddpm_loss)}


def glyphs(options, steps=650):
    "A training for each kind and seed, and what its drawings are worth"
    images, real = load_images("glyphs", size=16, count=4000), features(load_images("glyphs", "test", size=16, count=4000))
    labels, runs = torch.arange(2000) % 10, []
    for seed in range(options.seeds):
        for kind, settings in KINDS.items():
            torch.manual_seed(seed)
            player, average = flow_player(UNet(), **settings)
            started, batches = time.process_time(), Batches(images, batch_size=64, seed=seed, drop_last=True)
            Trainer(player, average, device="cpu").fit(batches, epochs=-(-steps//len(batches)))
            seconds = time.process_time()-started
            how = dict(path=circular, predicts="noise", sampler=ddim) if kind != "flow, velocity" else {}
            for scale in (1., 1.5):
                runs.append({"what": kind, "seed": seed, "guidance": scale, "seconds": round(seconds), **judge(sample_pictures(average.module, labels, seed=1, scale=scale, **how), labels, real, 2000)})
                print(runs[-1], flush=True)
    return {"glyphs": runs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["digits", "glyphs"])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS/"diffusion.json"
    tables = json.loads(path.read_text())["tables"] if path.exists() else {}
    tables |= globals()[options.part](options)
    save("diffusion", "The flow of chapter 11b on MNIST: 500 drawings in 12 steps, against the 10,000 test images, for several strengths of guidance", tables.get("guidance", []), ["torch"], tables=tables)
    state, about = load_weights("flow_digits")
    network = UNet(**about["settings"])
    network.load_state_dict(state)
    save_weights(WEIGHTS, network, **{**about, "tables": tables})
