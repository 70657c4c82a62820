"""The picture that a link to the site shows elsewhere (1,200×630), from the last frame of the course's film.

usage: python tools/card.py        writes nbs/images/card.png
"""
from pathlib import Path
import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

IMAGES = Path(__file__).resolve().parent.parent/"nbs"/"images"
SIZE = 1200, 630                       # pixels, what social networks ask for
PAPER, INK, BLUE = "#14181d", "#f4efe4", "#56b4e9"


def last_frame(path):
    "The end of a film as numbers [height, width, 3] between 0 and 255"
    with Image.open(path) as film:
        film.seek(getattr(film, "n_frames", 1)-1)
        return np.asarray(film.convert("RGB"))


def tiles(frame, rows=2, columns=5, rim=3):
    "The digits of a frame [height, width, 3], row by row, without the white lines between them"
    high, wide = frame.shape[0]/rows, frame.shape[1]/columns
    for row in range(rows):
        for column in range(columns):
            top, left = round(row*high), round(column*wide)
            yield frame[top+rim:round(top+high)-rim, left+rim:round(left+wide)-rim]


def draw_card(frame):
    "The course's name above ten digits drawn by particles; gives a picture of 1,200×630"
    paper = np.array(to_rgb(PAPER))
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        figure = plt.figure(figsize=(SIZE[0]/100, SIZE[1]/100), dpi=100, facecolor=PAPER)
        figure.text(0.06, 0.83, "Genesis Course", color=INK, size=52, weight="bold")
        figure.text(0.06, 0.73, "Generative deep learning, understood by building it", color=BLUE, size=24)
        for place, tile in enumerate(tiles(frame)):
            row, column = divmod(place, 5)
            axes = figure.add_axes((0.06+0.179*column, 0.365-0.32*row, 0.164, 0.3))
            axes.imshow(1-(1-paper)*(1-tile/255), interpolation="bicubic", aspect="auto")
            axes.axis("off")
        figure.canvas.draw()
        card = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
        plt.close(figure)
    return card


if __name__ == "__main__":
    matplotlib.use("agg")
    draw_card(last_frame(IMAGES/"genesis.png")).quantize(128).save(IMAGES/"card.png", optimize=True)
