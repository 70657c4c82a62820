"""The film of the course, in which ten even clouds of coloured particles become digits, and the picture of chapter 15b.

usage: python tools/film.py        writes nbs/images/genesis.png, an animated PNG, and nbs/images/creation.png

What shows no films shows the film's poster: the last frame, with the cloud of each digit small in its corner. MNIST is fetched, or read from $GENESIS_DATA.
"""
import io
from pathlib import Path
import torch
from PIL import Image
from genesis_course.codeflow import load_creation
from genesis_course.creation import create
from genesis_course.data import load_images
from genesis_course.plots import as_bytes
from genesis_course.stable_gan import sample_class

IMAGES = Path(__file__).resolve().parent.parent/"nbs"/"images"
SIZE, FRAMES, SECONDS, HOLD, COLOURS = 128, 30, 2.4, 1.8, 128


def two_rows(frames):
    "Strips of ten digits [T, 3, H, W] as two rows of five"
    return torch.cat(frames.chunk(2, dim=3), dim=2)


def poster(frames, share=4):
    "The last frame, and the first one small in the corner of each digit: what it is, without moving"
    sheet, small = frames[-1].clone(), SIZE//share
    cloud = torch.nn.functional.interpolate(frames[:1].float(), scale_factor=1/share, mode="area")[0].round().to(torch.uint8)
    high, wide = sheet.shape[1]/2, sheet.shape[2]/5
    for row in range(2):
        for column in range(5):
            top, left = round(row*high)+4, round(column*wide)+4
            corner = cloud[:, round(row*high/share):, round(column*wide/share):][:, 2:small-2, 2:small-2]
            sheet[:, top:top+corner.shape[1], left:left+corner.shape[2]] = torch.maximum(sheet[:, top:top+corner.shape[1], left:left+corner.shape[2]], corner)
    return sheet


def film_file(frames):
    "The bytes of an animated PNG whose still picture is the poster"
    pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in [poster(frames), *frames]]
    sheet = Image.fromarray(torch.cat([frames[0], frames[len(frames)//3], frames[-1]], dim=1).permute(1, 2, 0).numpy())
    palette = sheet.quantize(COLOURS)                          # one for all frames: half of the bytes
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    pause, file = round(1000*SECONDS/(len(frames)-1)), io.BytesIO()
    pictures[0].save(file, format="PNG", save_all=True, append_images=pictures[1:], default_image=True, duration=[pause]*len(frames[:-1])+[pause+round(1000*HOLD)], loop=0, optimize=True)
    return file.getvalue()


def sixty_and_sixty():
    "Sixty digits that people wrote (left) beside sixty that particles drew, six rows from 0 to 9 each"
    test, rng = load_images("mnist", "test"), torch.Generator().manual_seed(1)
    order, labels = torch.randperm(len(test), generator=rng), torch.arange(60) % 10
    written = torch.stack([test.images[order[test.labels[order] == digit][row]] for row in range(6) for digit in range(10)])
    drawn = as_bytes(sample_class(load_creation()[0], labels, seed=5)).permute(0, 3, 1, 2)
    def block(images): return images.view(6, 10, 28, 28).transpose(1, 2).reshape(168, 280)
    sheet = torch.cat([block(written), torch.full((168, 14), 255, dtype=torch.uint8), block(drawn)], dim=1)
    return Image.fromarray(sheet.numpy()).resize((2*sheet.shape[1], 2*sheet.shape[0]), Image.Resampling.BICUBIC).quantize(32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    data = film_file(two_rows(create("0123456789", FRAMES, SIZE, seed=22, scale=0.75, source="genesis", colour=True)))
    (IMAGES/"genesis.png").write_bytes(data)
    print(f"genesis.png: {len(data)/1e6:.2f} MB")
    sixty_and_sixty().save(IMAGES/"creation.png", optimize=True)
