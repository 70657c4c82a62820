"Films: animated pictures on disk and in a notebook."
import io
import math
import os
import numpy as np
import pytest
import torch
from PIL import Image
from helpers import message_of
from genesis_course import plots
from genesis_course.plots import FILMS, film_bytes, save_film, show_film

kinds = pytest.mark.parametrize("kind", FILMS)


def ramp(count=12, channels=1, height=10, width=14):
    "Frames that grow brighter, from black to white"
    return torch.linspace(-1, 1, count)[:, None, None, None].expand(count, channels, height, width).contiguous()


def opened(data):
    "Frames [T, H, W, 3] of an animated picture, and how long each stays, in milliseconds"
    frames, pauses = [], []
    with Image.open(io.BytesIO(data)) as film:
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
            film.load()
            pauses.append(film.info.get("duration", 0))
    return np.stack(frames), pauses


@kinds
@pytest.mark.parametrize("channels", [1, 3])
def test_a_film_reads_back_frame_by_frame(tmp_path, kind, channels):
    frames = ramp(channels=channels)
    path = save_film(tmp_path/f"film{kind.upper()}", frames)
    seen, _ = opened(path.read_bytes())
    assert seen.shape == (12, 10, 14, 3)
    wanted = ((frames[:, 0].numpy()+1)*127.5)[..., None]
    assert np.abs(seen-wanted).max() < 10                       # sixteen greys: half a step is 8.5


@kinds
def test_bytes_and_floats_make_the_same_film(kind):
    frames = ramp()
    assert film_bytes(frames, kind) == film_bytes(((frames+1)*127.5).round().to(torch.uint8), kind) == film_bytes(frames[:, 0], kind)


def test_it_lasts_as_long_as_asked_and_holds_the_end():
    for kind in (".gif", ".png"):
        _, pauses = opened(film_bytes(ramp(11), kind, seconds=2, hold=1.5))
        assert sum(pauses[:-1]) == pytest.approx(2000, abs=10) and pauses[-1] == pytest.approx(1700, abs=10)


def test_too_many_frames_are_thinned_out_evenly_and_the_last_one_stays():
    "Browsers slow a GIF down that shows more than fifty frames a second"
    frames = torch.linspace(-1, 1, 400)[:, None, None].expand(400, 4, 4)
    seen, pauses = opened(film_bytes(frames, ".png", seconds=0.2))
    assert len(seen) <= 10 and min(pauses) >= 20 and seen[-1].min() == 255 and seen[0].max() == 0


@kinds
def test_one_frame_is_a_film(kind):
    seen, _ = opened(film_bytes(ramp(1), kind))
    assert len(seen) == 1


def test_it_repeats_for_ever():
    with Image.open(io.BytesIO(film_bytes(ramp(), ".gif"))) as film: assert film.info["loop"] == 0


def test_films_of_particles_stay_small():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    angle = torch.linspace(0, 2*math.pi, 60)[:, None, None]
    frames = 2*torch.exp(-((x-0.6*angle.sin())**2+(y+0.6*angle.cos())**2)/0.02)-1
    assert all(len(film_bytes(frames, kind)) < 60_000 for kind in FILMS)


def test_shown_in_a_notebook_it_is_a_picture_with_alt_text(monkeypatch):
    displayed = []
    monkeypatch.setattr(plots, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", displayed.append)
    show_film(ramp(), caption="It grows brighter.", width=200)
    data, metadata = displayed[0]._repr_mimebundle_()
    assert set(data) == {"image/png"} and metadata["image/png"]["alt"] == "It grows brighter." and metadata["image/png"]["width"] == 200
    displayed.clear()
    monkeypatch.setattr(plots, "in_notebook", lambda: False)
    show_film(ramp())
    assert not displayed


# Bad input

def test_endings_that_are_no_film():
    for name in ("film.mp4", "film", "film.jpg"): message_of(lambda: save_film(name, ramp()), ".gif, .webp, .png", "ending")


def test_frames_that_are_none(tmp_path):
    message_of(lambda: save_film(tmp_path/"a.gif", ramp()[:0]), "at least one frame")
    message_of(lambda: save_film(tmp_path/"a.gif", []), "at least one frame")
    message_of(lambda: save_film(tmp_path/"a.gif", None), "at least one frame")
    message_of(lambda: save_film(tmp_path/"a.gif", 3*ramp()), "[-1, 1]")
    message_of(lambda: save_film(tmp_path/"a.gif", ramp()*math.nan), "NaN")
    message_of(lambda: save_film(tmp_path/"a.gif", torch.zeros(4, 2, 8, 8)), "C = 1 or 3")
    assert not list(tmp_path.iterdir())


def test_times_that_are_none():
    message_of(lambda: film_bytes(ramp(), seconds=0), "seconds", "above 0")
    message_of(lambda: film_bytes(ramp(), seconds="3"), "quotation marks")
    message_of(lambda: film_bytes(ramp(), hold=-1), "hold")


def test_a_place_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path/"folder.gif").mkdir()
    message_of(lambda: save_film(tmp_path/"folder.gif", ramp()), "folder.gif", "that is a folder")
    (tmp_path/"file").write_text("mine")
    message_of(lambda: save_film(tmp_path/"file"/"film.gif", ramp()), "choose another folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.gif"] and (tmp_path/"file").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="permissions do not bind this user")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try: message_of(lambda: save_film(tmp_path/"film.gif", ramp()), "may not write there")
    finally: tmp_path.chmod(0o700)


def test_pillow_without_webp_is_named(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    message_of(lambda: film_bytes(ramp(), ".webp"), "WebP", ".gif or .png")
