"""Paths, loaders, labels, devices, terminals and proxies as real users have them: each works, or is refused in a sentence."""
import copy
import importlib
import inspect
import io
import os
import pkgutil
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Subset, TensorDataset
import genesis_course
from helpers import message_of, trials
from genesis_course.checkpoints import load_checkpoint, save_checkpoint
from genesis_course.cli import copy_chapters, examine
from genesis_course.command import TensorBoard, train
from genesis_course.creation import create, drawer
from genesis_course.data import Batches, ImageSet, load_images, load_text
from genesis_course.downloads import FILES, ROUNDS, fetch, find_file, read_bytes, read_cifar10, read_idx, read_idx_pair, read_text
from genesis_course.evaluation import as_judged, features
from genesis_course.experiments import run_record
from genesis_course.folders import find_photos
from genesis_course.photos import read_photos
from genesis_course.codeflow import load_creation
from genesis_course.genesis import load_genesis
from genesis_course.plots import save_film, save_picture
from genesis_course.processes import Steps
from genesis_course.recipes import cnn_experiment, finetune_experiment, flow_experiment, gan_experiment, genesis_experiment, gpt_experiment, rnn_experiment, vae_experiment
from genesis_course.search import search
from genesis_course.state import generators_of, load_weights, read_state, save_weights, write_state
from genesis_course.support import CourseError, as_path, data_folder, home, never_fail, write_atomically
from genesis_course.tiles import read_level
from genesis_course.training import Callback, Checkpoint, Player, Trainer, fit, range_test
from genesis_course.tunes import load_tunes
hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies

EIGHT = torch.rand(3, 1, 8, 8)*2-1


def quiet(batches, epochs=1, **options):
    player = Player(nn.Linear(1, 1), lambda module, batch: module(batch[0]).pow(2).mean(), lr=1e-9)
    return Trainer(player, device="cpu", **options).fit(batches, epochs)


ROWS = [(torch.ones(2, 1),)]

# Paths: {where it is from: what is called with a path}
WRITE = {
    "support.write_atomically": lambda path: write_atomically(path, b"kept"),
    "state.write_state": lambda path: write_state(path, {"step": 1}),
    "state.save_weights": lambda path: save_weights(path, nn.Linear(1, 1)),
    "checkpoints.save_checkpoint": lambda path: save_checkpoint(quiet(ROWS), path),
    "training.Checkpoint": lambda path: quiet(ROWS, callbacks=Checkpoint(path)),
    "plots.save_film": lambda path: save_film(path, EIGHT),
    "plots.save_picture": lambda path: save_picture(path, EIGHT),
    "experiments.run_record": lambda path: run_record({}, path=path),
}
FOLDERS = {
    "cli.copy_chapters": lambda path: copy_chapters(path),
    "command.TensorBoard": lambda path: TensorBoard(path),
    "command.train": lambda path: train("cnn", steps=1, out=path, bar=False, device="cpu"),
    "search.search": lambda path: search("cnn", trials=1, steps=1, repeats=0, out=path, device="cpu", say=str),
}
READ = {
    "state.read_state": read_state,
    "state.load_weights": load_weights,
    "checkpoints.load_checkpoint": lambda path: load_checkpoint(quiet(ROWS), path),
    "training.fit": lambda path: fit(nn.Linear(1, 1), F.mse_loss, [(torch.ones(2, 1),)*2], resume=path, device="cpu"),
    "training.Trainer.fit": lambda path: Trainer(Player(nn.Linear(1, 1), lambda module, batch: module(batch[0]).mean()), device="cpu").fit(ROWS, resume=path),
    "genesis.load_genesis": load_genesis,
    "codeflow.load_creation": load_creation,
    "creation.create": lambda path: create("1", source=path),
    "creation.drawer": drawer,
    "downloads.read_bytes": read_bytes,
    "downloads.read_idx": read_idx,
    "downloads.read_idx_pair": lambda path: read_idx_pair(path, path, 10),
    "downloads.read_cifar10": read_cifar10,
    "folders.find_photos": find_photos,
    "photos.read_photos": read_photos,
    "downloads.read_text": read_text,
    "tiles.read_level": read_level,
    "data.load_images": load_images,
    "data.load_text": load_text,
    "tunes.load_tunes": load_tunes,
    "recipes.cnn_experiment": lambda path: cnn_experiment(data=path),
    "recipes.rnn_experiment": lambda path: rnn_experiment(data=path),
    "recipes.gpt_experiment": lambda path: gpt_experiment(data=path),
    "recipes.vae_experiment": lambda path: vae_experiment(data=path),
    "recipes.gan_experiment": lambda path: gan_experiment(data=path),
    "recipes.flow_experiment": lambda path: flow_experiment(data=path),
    "recipes.genesis_experiment": lambda path: genesis_experiment(data=path),
    "recipes.finetune_experiment": lambda path: finetune_experiment(data=path),
}
# What looks like one of them and is none, and why.
OTHERS = {
    "no path": {"adversarial.pgd", "cli.tidied", "controls.as_figure", "controls.pixels", "play.play", "data.Batches", "experiments.fingerprint", "grading.difference", "tensors.Value", "downloads.PublicFile", "downloads.find_file", "downloads.fetch", "practice.record", "pages.table_of", "pages.texts_of", "practice.solved", "score.wav_bytes", "sequences.EncoderDecoder.encode", "sequences.EncoderDecoder.forward", "sequences.alignment", "sequences.shifted", "sequences.translate", "terminal.launch", "terminal.quiet_stderr", "text.longest_copy"},
    "a path from noise to data": {"diffusion.sample_pictures", *(f"flow.{name}" for name in ("ancestral", "as_velocity", "at_times", "convert", "ddim", "ends_of", "euler", "flow_loss", "heun", "ideal_velocity", "mix", "posterior_mean", "velocity_between"))},
    "what it takes has been a path before": {"cli.lab_command", "command.loggers", "folders.Folder", "folders.Found", "folders.counted", "folders.plain", "run.begin", "run.running", "search.open_study", "search.write_search", "support.explain_os_error"},
    "the way of a cloud": {"creation.moments"},
    "typer makes paths of words": {"cli.copy", "cli.create_command", "cli.lab", "cli.train_command", "commands.search_command"},
    "bytes are a graph or a picture here": {"shipping.open_onnx", "shipping.quantize_onnx", "wire.open_picture"},
    "load_genesis is asked": {"server.Models", "server.create_app", "server.serve"},
    "it is what all others ask, or takes no argument": {"support.as_path", "support.home", "support.data_folder", "cli.chapters_folder"},
}
EVERYWHERE = {**WRITE, **FOLDERS, **READ}
CALLED = {"path", "paths", "folder", "root", "source", "destination", "out", "resume", "file", "files", "filename", "directory", "data", "target", "where"}


def comments(function):
    "{parameter: what the comment beside it says}"
    lines = inspect.getsource(function).splitlines()
    return {found[1]: found[2] for line in lines if (found := re.match(r"\s*(?:def \w+\(self,\s*)?\**(\w+)[^#]*#\s*(.*)", line))}


def public():
    "Pairs (place, function): public functions, classes and their methods"
    for module in pkgutil.iter_modules(genesis_course.__path__):
        if module.name.startswith("_") or module.ispkg: continue
        names = vars(importlib.import_module(f"genesis_course.{module.name}"))
        for name in names.get("__all__", ()):
            value = names[name]
            if not callable(value) or value.__module__ != f"genesis_course.{module.name}": continue
            if isinstance(value, type) and issubclass(value, BaseException): continue
            yield f"{module.name}.{name}", value
            if isinstance(value, type): yield from ((f"{module.name}.{name}.{each}", method) for each, method in vars(value).items() if inspect.isfunction(method) and not each.startswith("_"))


def seems_to_take_a_path(function):
    "By the name of a parameter, by the comment beside it, or because it opens something"
    try: parameters, source = set(inspect.signature(function).parameters), inspect.getsource(function)
    except ValueError: return False                          # a class without an __init__ in Python
    told = any(name in parameters and re.search(r"\b(path|file|folder|directory)s?\b", text, re.IGNORECASE) for name, text in comments(function).items())
    return bool(CALLED & parameters) or told or bool(re.search(r"\b(as_path|open|Path)\(|\.(read|write)_(text|bytes)\(|\.mkdir\(", source))


def test_every_public_function_that_takes_a_path_is_tried():
    found = {place for place, function in public() if seems_to_take_a_path(function)}
    known = {*EVERYWHERE, *(place for places in OTHERS.values() for place in places)}
    assert found <= known, found-known
    assert known <= found | {*EVERYWHERE}, "no longer needed"


def test_a_new_function_that_takes_a_path_would_be_found(tmp_path, monkeypatch):
    (tmp_path/"new.py").write_text('def load(\n    name,   # of a file\n):\n    "Its bytes"\n\n\ndef keep(what, place): open(place, "w").write(what)\n\n\ndef count(folder): return 1\n\n\ndef add(a, b): return a+b\n')
    monkeypatch.syspath_prepend(tmp_path)
    new = importlib.import_module("new")
    assert [seems_to_take_a_path(each) for each in (new.load, new.keep, new.count, new.add)] == [True, True, True, False]


def not_paths(folder):
    open_file = open(folder/"open.txt", "w+b")
    return {"too long": "x"*300, "the text itself": "To be, or not to be: that is the question.\n"*40, "too deep": "d/"*4000+"x", "bytes": b"a.st", "an open file": open_file,
            "text in memory": io.StringIO("To be"), "a zero": "a\0b", "half a letter": "a\ud800b", "a number": 7.5, "a list": ["a.st"], "nobody's": "~nobody-has-this-name/a.st"}


@pytest.mark.parametrize("what", list(not_paths(Path("/tmp"))))
@pytest.mark.parametrize("where", EVERYWHERE)
def test_what_is_no_path_is_told_so_and_nothing_is_left_behind(where, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = not_paths(tmp_path)[what]
    before = sorted(tmp_path.rglob("*"))
    message = message_of(lambda: EVERYWHERE[where](value))
    assert len(message) < 450, message
    assert sorted(tmp_path.rglob("*")) == before


RIGHT = {"downloads.read_text": "~/word.txt", "downloads.read_bytes": "~/word.txt", "data.load_text": "~/word.txt", "folders.find_photos": "ein Ordner ü"}


@pytest.mark.parametrize("where", READ)
def test_what_is_missing_or_of_another_kind_is_told_so(where, house):
    "A file that is not there, a folder for a file, a file for a folder"
    (house/"here"/"ein Ordner ü").mkdir()
    (house/"me"/"word.txt").write_bytes(b"a word")
    for value in ("nothing.st", "~/nothing", "no/such/place", "ein Ordner ü", Path("~/word.txt"), "~/word.txt/below"):
        if RIGHT.get(where) == str(value): continue
        message = message_of(lambda: READ[where](value))
        assert len(message) < 450, message


NAMES = ["~/w{}", "~/deep/er/w{}", "a b{}", "Fotos aus Zürich/花{}", "-x{}", "[1]*?{}", "%20#{}", ".hidden{}", "x"*240+"{}", "字"*79+"{}", "./~mine{}"]


@pytest.fixture
def house(tmp_path, monkeypatch):
    "A home, and another folder where one stands"
    (tmp_path/"me").mkdir()
    (tmp_path/"here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path/"me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path/"me"))
    monkeypatch.chdir(tmp_path/"here")
    return tmp_path


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", WRITE)
def test_a_file_is_written_where_its_name_says(where, name, kind, house):
    given = name.format(".gif" if "film" in where else ".st")
    if kind is Path and given.startswith("./"): pytest.skip("pathlib takes ./ away")
    meant = Path(given.replace("~/", f"{house}/me/")) if given.startswith("~/") else house/"here"/given
    WRITE[where](kind(given))
    assert [path for path in house.rglob("*") if path.is_file()] == [meant] and meant.stat().st_size
    WRITE[where](meant)                                      # again: the old one is replaced
    assert [path for path in house.rglob("*") if path.is_file()] == [meant]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read_under_the_same_name(name, house):
    given = name.format(".st")
    save_weights(given, nn.Linear(2, 1))
    assert set(load_weights(given)[0]) == {"weight", "bias"} == set(read_state(given)["weights"])
    write_atomically(name.format(".txt"), b"To be")
    assert read_text(name.format(".txt")) == "To be" and read_bytes(name.format(".txt")) == b"To be"


@pytest.mark.parametrize("name", ["~/texts/t.txt", "~/ein Text ü.txt"])
def test_data_are_found_at_home(name, house):
    from PIL import Image
    write_atomically(name, b"To be, or not to be. "*20)
    assert len(load_text(name)) == 420
    for kind in "ab": write_atomically(f"~/Fotos ü/{kind}/1.png", b"")
    for kind in "ab": Image.new("L", (8, 8), 200).save(house/"me"/"Fotos ü"/kind/"1.png")
    assert load_images("~/Fotos ü").classes == read_photos("~/Fotos ü")[2] == ["a", "b"]


def test_a_run_is_kept_and_resumed_at_home(house):
    assert train("cnn", data="digits", steps=1, out="~/my run", bar=False, device="cpu")
    assert (house/"me"/"my run"/"weights.safetensors").exists() and not list((house/"here").iterdir())
    copy_chapters("~/course")
    assert (house/"me"/"course"/"00_start.ipynb").exists()
    run = quiet(ROWS, callbacks=Checkpoint("~/c.st"))
    assert fit(nn.Linear(1, 1), F.mse_loss, [(torch.ones(2, 1),)*2], epochs=1, resume=None, device="cpu").step == run.step
    again = Trainer(Player(nn.Linear(1, 1), lambda module, batch: module(batch[0]).mean(), lr=1e-9), device="cpu").fit(ROWS, 2, resume="~/c.st")
    assert again.step == 2


def test_weights_in_a_file_without_an_ending_are_found(house):
    save_weights("net", nn.Linear(2, 1))
    assert set(load_weights("net")[0]) == {"weight", "bias"}
    message_of(lambda: load_weights("nothing"), "No weights called 'nothing'")


@given(st.text(max_size=400))
@trials(300)
def test_any_text_is_a_path_or_refused(text):
    try: path = as_path(text)
    except CourseError as error: assert "\n" not in str(error) and len(str(error)) < 450
    else: assert as_path(path) == path and not path.exists() or path.exists()


def test_a_hidden_file_of_the_reader_survives_a_write_beside_it(tmp_path):
    "It looked like what a killed process leaves: .name and eight letters"
    mine = tmp_path/".model.settings"
    mine.write_text("mine")
    os.utime(mine, times=(0, 0))
    for name in ("model", "*", "[a-z]*"): write_atomically(tmp_path/name, b"x")
    assert mine.read_text() == "mine"


# Texts. What comes in is the text, or a sentence; the encoding that the sentence names makes it the text.

SAMPLES = {"Chinese": ("创世记：起初，神创造天地。地是空虚混沌，渊面黑暗；", ["gb18030", "gbk", "gb2312"]), "traditional Chinese": ("起初，神創造天地。地是空虛混沌，淵面黑暗。", ["big5"]), "German": ("Fluß und größere Äpfel sind süß, aber früh grün.", ["latin-1", "cp1252"]),
           "French": ("Il a été à la forêt, où l'être naît; ça va.", ["latin-1", "cp1252"]), "quotation": ("„Schön“, sagte sie – und ging…", ["cp1252"]), "Russian": ("В начале сотворил Бог небо и землю.", ["cp1251"]), "Japanese": ("はじめに神は天と地とを創造された。", ["shift_jis"]),
           "English": ("To be, or not to be: that is the question.", [])}
WIDE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
MARKED = {"utf-8", "utf-8-sig", "utf-16", "utf-32"}


@given(st.sampled_from(list(SAMPLES)), st.data())
@trials(300)
def test_a_text_in_any_encoding_is_read_or_its_encoding_is_named(tmp_path_factory, language, data):
    sample, others = SAMPLES[language]
    encoding = data.draw(st.sampled_from([*WIDE, *others]))
    words = re.findall(r"\S+", sample)
    # one whole sentence at least: a single letter may be of any language
    text = " ".join(data.draw(st.permutations([*words, *data.draw(st.lists(st.sampled_from(words), max_size=30))])))+data.draw(st.sampled_from(["", "\n", "\n\nEnd 2024\n"]))
    path = tmp_path_factory.mktemp("t")/"t.txt"
    path.write_bytes(text.encode(encoding))
    if encoding in MARKED: assert read_text(path) == text
    elif text.isascii() and encoding not in WIDE: assert read_text(path) == text
    else:
        try: assert read_text(path) == text
        except CourseError as error:
            hypothesis.event("named")
            named = re.search(r'encoding="(.*?)"', str(error))[1]
            assert read_text(path, named) == text, (encoding, named)


@given(st.binary(max_size=400), st.sampled_from(["utf-8", "utf-8", "gb18030", "latin-1", "utf-16", "utf-32-le", "big5", "cp1252", "ascii", "utf-7", "idna", "punycode", "hex", "undefined", "", "utf_8 ", None, 7, b"utf-8", "a\0b", "x"*300]))
@trials(500)
def test_any_bytes_in_any_encoding_are_a_text_or_a_sentence(tmp_path_factory, raw, encoding):
    path = tmp_path_factory.mktemp("t")/"t.txt"
    path.write_bytes(raw)
    try: text = read_text(path, encoding)
    except CourseError as error:
        hypothesis.event("refused")
        assert "\n" not in str(error) and len(str(error)) < 450
    else: assert text.strip() and "\0" not in text and not text.startswith("\ufeff")


@pytest.mark.parametrize("mark, encoding", [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"), (b"\x84\x31\x95\x33", "gb18030")])
@pytest.mark.parametrize("asked", ["utf-8", "latin-1", "gb18030", "utf-16"])
def test_a_byte_order_mark_is_believed(mark, encoding, asked, tmp_path):
    (tmp_path/"t.txt").write_bytes(mark+"Fluß, 创世".encode(encoding))
    assert load_text(tmp_path/"t.txt", encoding=asked).text == "Fluß, 创世"


@pytest.mark.parametrize("head, kind", [(b"PK\x03\x04\x14\0\x06\0", "Word"), (b"%PDF-1.7\n", "PDF"), (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office"), (b"{\\rtf1 To be}", "RTF"), (b"\x89PNG\r\n\x1a\n", "picture"), (b"\xff\xd8\xff\xe0", "picture"),
                                        (b"RIFF\x24\0\0\0WAVEfmt ", "no plain text"), (b"a\0b\0\0\0"*9, "no plain text"), (bytes(range(256)), "no plain text")])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "gb18030"])
def test_what_is_no_text_is_refused_in_every_encoding(head, kind, encoding, tmp_path):
    (tmp_path/"t.txt").write_bytes(head+b"rest")
    message_of(lambda: load_text(tmp_path/"t.txt", encoding=encoding), kind, "save it as")


def test_a_damaged_letter_does_not_make_it_another_encoding(tmp_path):
    text = "Süße Äpfel für größere Flüße, natürlich schön.\n"*3
    (tmp_path/"t.txt").write_bytes(text.encode().replace(b"aber", b"").replace(b"nat", b"\xe4nat", 2).replace(b"\xe4nat", b"nat", 1))
    message = message_of(lambda: read_text(tmp_path/"t.txt"), "damaged in 1 place", "0xe4 in line 2")
    assert "encoding=" not in message


def test_a_text_that_is_utf_8_is_not_read_as_rare_signs(tmp_path):
    (tmp_path/"t.txt").write_bytes(b"bush hid the facts")
    message_of(lambda: read_text(tmp_path/"t.txt", "utf-16"), 'encoding="utf-8"')


@pytest.mark.parametrize("recipe", ["rnn", "gpt"])
def test_a_text_of_ones_own_is_long_enough_before_anything_is_trained(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    def run(length, **options):
        Path("t.txt").write_text(("To be, or not to be: that is the question. "*60)[:length])
        return train(recipe, data="t.txt", steps=1, out=f"run-{length}", bar=False, device="cpu", **options)
    least = int(re.search(r"at least ([\d,]+)", message_of(lambda: run(46), "t.txt", "46 characters"))[1].replace(",", ""))
    for length in (0, 1, 9, 99, 414, least-1):
        message_of(lambda: run(length))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "t.txt"] or not (tmp_path/f"run-{length}").exists()
    assert run(least)["bits per character"] > 0 and (tmp_path/f"run-{least}"/"weights.safetensors").exists()
    assert least > 600
    message_of(lambda: run(least+1, batch=3000), "3,000 windows", "smaller batch")


# Pictures in [0, 1] where [-1, 1] is meant

def drawn(name): return (load_images(name, split="train") if name == "digits" else load_images(name, count=200, size=28)).images[:200].float()/255


UNIT = {"as they are": lambda x: x, "a trifle below 0": lambda x: x-1e-6, "a trifle beyond 1": lambda x: x*(1+1e-6), "inverted": lambda x: 1-x, "half precision": lambda x: x.half(), "double": lambda x: x.double(),
        **{f"bicubic to {size}": lambda x, size=size: F.interpolate(x, (size, size), mode="bicubic") for size in (8, 20, 28, 33, 64)}, **{f"bicubic, antialiased, to {size}": lambda x, size=size: F.interpolate(x, (size, size), mode="bicubic", antialias=True) for size in (8, 20, 28, 33, 64)},
        **{f"noise of {noise}": lambda x, noise=noise: x+noise*torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) for noise in (0.005, 0.02, 0.04)}, "inverted and bicubic": lambda x: F.interpolate(1-x, (28, 28), mode="bicubic"),
        "a few real blacks": lambda x: torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 1e-3, torch.tensor(-1.), x)}
SIGNED = {"as they are": lambda x: 2*x-1, "inverted": lambda x: 1-2*x, "bright": lambda x: 0.3+0.7*x, "bright and inverted": lambda x: 1-0.6*x, "greyish black": lambda x: -0.3+1.3*x, "greyish ink": lambda x: 1-1.3*x, "dim": lambda x: 0.4*x-0.2,
          "flat": lambda x: torch.full_like(x, 0.5), "white": lambda x: torch.ones_like(x), "grey": lambda x: torch.zeros_like(x), "black": lambda x: -torch.ones_like(x), "flat, each another": lambda x: torch.linspace(-1, 1, len(x))[:, None, None, None].expand_as(x),
          "a few dark dots": lambda x: torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.003, torch.tensor(-1.), torch.tensor(1.)), "bicubic": lambda x: F.interpolate(2*x-1, (28, 28), mode="bicubic"),
          "white paper with thin ink": lambda x: 1-2*x*(x > 0.9), "noise": lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).mul(0.3).clamp(-1, 1)}


@pytest.mark.parametrize("kind", UNIT)
@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_pictures_in_0_and_1_are_not_judged(name, kind):
    for judge in (as_judged, features): message_of(lambda: judge(UNIT[kind](drawn(name))), "[0, 1]", "2*images-1")


@pytest.mark.parametrize("kind", SIGNED)
@pytest.mark.parametrize("name", ["digits", "glyphs"])
def test_pictures_that_are_bright_or_flat_are_judged(name, kind):
    assert as_judged(SIGNED[kind](drawn(name))).shape == (200, 1, 28, 28)


@given(st.sampled_from(["digits", "glyphs"]), st.floats(-0.02, 0.03), st.floats(0.8, 1.1), st.integers(8, 40), st.sampled_from(["bicubic", "bilinear", "nearest"]))
@trials(80)
def test_the_scale_is_told_from_where_the_mass_lies(name, shift, factor, size, mode):
    x = drawn(name)[:50]
    def resized(x): return F.interpolate(x, (size, size), mode=mode)
    message_of(lambda: as_judged(resized(x*factor+shift)), "[0, 1]")
    as_judged((2*resized(x)-1)*min(factor, 1)+shift)


def test_bytes_on_another_scale_are_not_judged():
    x = drawn("digits")
    message_of(lambda: features((x > 0.5).byte()), "255*images")
    message_of(lambda: features((x*16).round().byte()), "scikit-learn")
    assert features((x*255).round().byte()).shape == features((x*17).round().byte()).shape == (200, 64)


# Loaders with random generators of their own

class Noisy(Dataset):
    "Rows that depend on a generator of the data set's own"
    def __init__(self, rows, rng): self.rows, self.rng = rows, rng
    def __len__(self): return self.rows
    def __getitem__(self, row):
        noise = self.rng.random()
        return torch.tensor([row+noise/2], dtype=torch.float64)


class NumpySampler:
    def __init__(self, rows, rng): self.rows, self.rng = rows, rng
    def __len__(self): return self.rows
    def __iter__(self): return iter(self.rng.permutation(self.rows).tolist())


class Loader:
    "A loader of somebody's own, no DataLoader"
    def __init__(self, rows, size): self.rows, self.size, self.dice = rows, size, random.Random(5)
    def __len__(self): return -(-self.rows//self.size)
    def __iter__(self):
        order = self.dice.sample(range(self.rows), self.rows)
        return (torch.tensor(order[k:k+self.size], dtype=torch.float64)[:, None] for k in range(0, self.rows, self.size))


def torch_rng(): return torch.Generator().manual_seed(3)


def rows_of(rows): return torch.arange(rows, dtype=torch.float64)[:, None]


LOADERS = {
    "generator": lambda rows, size: DataLoader(rows_of(rows), size, shuffle=True, generator=torch_rng()),
    "sampler": lambda rows, size: DataLoader(rows_of(rows), size, sampler=RandomSampler(range(rows), replacement=True, generator=torch_rng())),
    "batch sampler": lambda rows, size: DataLoader(rows_of(rows), batch_sampler=BatchSampler(RandomSampler(range(rows), generator=torch_rng()), size, False)),
    "NumPy sampler": lambda rows, size: DataLoader(rows_of(rows), size, sampler=NumpySampler(rows, np.random.default_rng(3))),
    "old NumPy sampler": lambda rows, size: DataLoader(rows_of(rows), size, sampler=NumpySampler(rows, np.random.RandomState(3))),
    "data set": lambda rows, size: DataLoader(Noisy(rows, random.Random(3)), size, shuffle=True),
    "data set and generator": lambda rows, size: DataLoader(Subset(Noisy(rows, np.random.default_rng(3)), range(rows)), size, shuffle=True, generator=torch_rng()),
    "own loader": Loader,
    "Batches with a noisy transform": lambda rows, size: Batches(rows_of(rows), batch_size=size, transform=Transform()),
    "the common generator": lambda rows, size: DataLoader(rows_of(rows), size, shuffle=True),
}


class Transform:
    def __init__(self): self.rng = np.random.Generator(np.random.MT19937(3))
    def __call__(self, x): return x+self.rng.random()/2


class StopAt(Callback):
    "Ctrl-C after a step"
    def __init__(self, step): self.step = step
    def after_step(self, trainer):
        if trainer.step == self.step: trainer.interrupted = trainer.stop("Ctrl-C") or True


def watched(seen, callbacks=()):
    def loss(module, batch):
        batch = batch[0] if isinstance(batch, tuple) else batch
        seen.append(batch.flatten().tolist())
        return module(batch.float()).mean()
    return Trainer(Player(nn.Linear(1, 1), loss, lr=1e-9), callbacks, device="cpu")


@given(st.sampled_from(list(LOADERS)), st.integers(2, 12), st.integers(1, 5), st.data())
@trials(60, suppress_health_check=list(hypothesis.HealthCheck))
def test_a_loader_with_its_own_generator_resumes_where_it_stopped(tmp_path_factory, kind, rows, size, data):
    path = tmp_path_factory.mktemp("run")/"c.st"
    batches, epochs, from_file = -(-rows//size), 3, data.draw(st.booleans())
    stop = data.draw(st.integers(1, batches*epochs))
    def begin():
        torch.manual_seed(0)
        return LOADERS[kind](rows, size)
    whole, parts = [], []
    watched(whole).fit(begin(), epochs)
    first = watched(parts, [Checkpoint(path), StopAt(stop)])
    loader = begin()
    first.fit(loader, epochs)
    if from_file:
        torch.manual_seed(9)
        loader = LOADERS[kind](rows, size)
        watched(parts, [Checkpoint(path)]).fit(loader, epochs, resume=path)
    else: first.fit(loader, epochs, resume=True)
    assert parts == whole


def test_a_loader_with_other_generators_is_refused_and_nothing_is_changed(tmp_path):
    path, plain, own = tmp_path/"c.st", LOADERS["the common generator"](6, 2), LOADERS["generator"](6, 2)
    watched([], [Checkpoint(path), StopAt(2)]).fit(plain, 2)
    trainer = watched([])
    before = copy.deepcopy(trainer.players[0].module.state_dict())
    message_of(lambda: trainer.fit(own, 2, resume=path), "1 random generator(s) of their own", "knows of 0")
    assert all(torch.equal(before[name], value) for name, value in trainer.players[0].module.state_dict().items()) and trainer.step == 0
    secret = DataLoader(rows_of(6), 2, sampler=NumpySampler(6, type("Dice", (random.SystemRandom,), {"permutation": lambda self, n: np.array(self.sample(range(n), n))})()))
    run = watched([], StopAt(2)).fit(secret, 1)                    # trains, but nobody can say where such a generator stands
    message_of(lambda: run.fit(secret, 1, resume=True), "cannot be put", "a seed")


def test_one_long_epoch_of_a_shuffled_loader_does_not_begin_in_its_middle():
    steps = Steps(LOADERS["generator"](6, 2), 4)
    steps.set_epoch(0, start=2)
    message_of(lambda: [*steps], "cannot begin in the middle")
    assert len([*Steps(LOADERS["generator"](6, 2), 4)]) == 4 and len(generators_of(steps)) == 1


# Half precision

@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6), st.booleans())
@trials(100)
def test_no_number_becomes_infinite_or_zero_in_a_file_of_weights(tmp_path_factory, numbers, buffer):
    module, value = nn.Module(), torch.tensor(numbers)
    if buffer: module.register_buffer("x", value)
    else: module.x = nn.Parameter(value)
    kept = load_weights(save_weights(tmp_path_factory.mktemp("w")/"w.st", module))[0]["x"]
    assert torch.equal(kept.isinf(), value.isinf()) and torch.equal(kept == 0, value == 0)
    if buffer: assert torch.equal(kept, value)
    else: torch.testing.assert_close(kept, value, rtol=2**-10, atol=2**-24)


def test_running_statistics_stay_and_weights_are_halved(tmp_path):
    norm = nn.BatchNorm1d(2)
    norm.running_var.copy_(torch.tensor([160_000., 1e-9]))
    path = save_weights(tmp_path/"w.st", nn.Sequential(nn.Linear(2, 2), norm))
    kept = read_state(path)["weights"]
    assert torch.equal(load_weights(path)[0]["1.running_var"], norm.running_var) and kept["0.weight"].dtype == torch.float16
    message_of(lambda: save_weights(nn.Linear(1, 1), tmp_path/"w.st"), "The file comes first")


# Sets and batches of every dtype and shape

TYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.uint16, torch.uint32]
FORMS = {"tensor": lambda x: x, "needs a gradient": lambda x: x.clone().requires_grad_() if x.is_floating_point() or x.is_complex() else x, "NumPy": lambda x: x.numpy() if x.dtype != torch.bfloat16 else x, "list": lambda x: x.tolist(),
         "other strides": lambda x: x.clone().transpose(0, -1).contiguous().transpose(0, -1), "expanded": lambda x: x[:1].expand_as(x), "big-endian": lambda x: x.numpy().astype(">f8") if x.dtype == torch.float64 else x,
         "reversed": lambda x: x.numpy()[::-1] if x.dtype != torch.bfloat16 else x, "read-only": lambda x: np.frombuffer(x.contiguous().numpy().tobytes(), x.numpy().dtype).reshape(x.shape) if x.dtype != torch.bfloat16 else x,
         "objects": lambda x: np.array(x.tolist(), dtype=object), "words": lambda x: [str(value) for value in x.flatten().tolist()], "ragged": lambda x: [[0]*k for k in range(len(x))], "sparse": lambda x: x.to_sparse() if x.dtype == torch.float32 else x,
         "none": lambda x: None, "a number": lambda x: 3, "a generator": lambda x: (row for row in x)}


def some_rows(shape, dtype): return torch.arange(int(np.prod(shape))).reshape(shape).remainder(2).to(dtype)


@given(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(TYPES), st.sampled_from(list(FORMS)), st.integers(1, 5), st.booleans())
@trials(500)
def test_rows_of_any_kind_come_out_as_they_went_in_or_are_refused(shape, dtype, form, size, shuffle):
    try:
        rows = FORMS[form](some_rows(shape, dtype))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError): hypothesis.assume(False)       # NumPy or torch lacks it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)             # torch's, on read-only arrays and sparse tensors
        try: batches = [batch for batch, in Batches(rows, batch_size=size, shuffle=shuffle)]
        except CourseError as error:
            hypothesis.event("refused")
            assert "\n" not in str(error) and len(str(error)) < 450
        else:
            hypothesis.event("served")
            whole = torch.as_tensor(np.ascontiguousarray(rows).astype(np.float64) if form == "big-endian" and isinstance(rows, np.ndarray) else rows)
            assert sum(map(len, batches)) == len(whole) and all(batch.dtype == whole.dtype for batch in batches)
            if not shuffle: assert torch.equal(torch.cat(batches).to_dense().to(torch.complex128), whole.to_dense().to(torch.complex128))


GOOD = {"shape": (4, 1, 3, 3), "dtype": torch.uint8, "form": "tensor", "label_shape": (4,), "label_dtype": torch.int64, "label_form": "tensor", "classes": ["a", "b"]}
ANY = {"shape": [(4, 3, 3, 3), (4, 3, 3), (4, 9), (3, 3), (), (0, 1, 3, 3), (4, 1, 0, 3)], "dtype": TYPES, "form": list(FORMS), "label_shape": [(4, 1), (1, 4), (3,), (4, 2), (), (0,)], "label_dtype": TYPES, "label_form": list(FORMS),
       "classes": [["a"], [], ("a", "b"), "ab", None, 2, {"a": 0, "b": 1}, np.array(["a", "b"])]}


@given(st.sets(st.sampled_from(list(GOOD)), max_size=3), st.data())
@trials(500)
def test_a_set_of_any_kind_is_served_or_refused(changed, data):
    kind = {name: data.draw(st.sampled_from(ANY[name])) if name in changed else GOOD[name] for name in GOOD}
    try: images, labels = FORMS[kind["form"]](some_rows(kind["shape"], kind["dtype"])), FORMS[kind["label_form"]](some_rows(kind["label_shape"], kind["label_dtype"]))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError): hypothesis.assume(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            made = ImageSet(images, labels, kind["classes"])
            served = list(Batches(made, batch_size=3, shuffle=False))
        except CourseError as error:
            hypothesis.event("refused")
            assert changed and "\n" not in str(error) and len(str(error)) < 450
            return
    hypothesis.event("served")
    assert made.images.dtype == torch.uint8 and made.labels.dtype == torch.int64 and made.labels.shape == made.images.shape[:1]
    assert torch.equal(torch.cat([y for _, y in served]), made.labels) and torch.equal(torch.cat([x for x, _ in served]), made.images.float()/127.5-1)
    assert made.counts().tolist() == [int((made.labels == label).sum()) for label in range(len(made.classes))]


# Labels, rows, devices, schedules

SHAPES = {"[B]": (4,), "[B, 1]": (4, 1), "[B, K]": (4, 3), "[B-1]": (3,), "[1]": (1,), "[]": (), "[B, 2]": (4, 2)}
DTYPES = [torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool, torch.float32, torch.float64, torch.float16]


@given(st.sampled_from(list(SHAPES)), st.sampled_from(DTYPES), st.integers(-1, 2), st.sampled_from([F.cross_entropy, nn.CrossEntropyLoss(), "nll"]), st.booleans())
@trials(250)
def test_labels_of_any_kind_are_learned_from_or_refused(shape, dtype, low, loss, validate):
    if loss == "nll": loss = lambda scores, labels: F.nll_loss(scores.log_softmax(dim=1), labels)
    labels = (torch.arange(12) % 3+low)[:int(np.prod(SHAPES[shape]))].reshape(SHAPES[shape]).to(dtype)
    bad, good = [(torch.randn(4, 5), labels)], [(torch.randn(4, 5), torch.tensor([0, 1, 2, 0]))]
    try: fit(nn.Linear(5, 3), loss, good if validate else bad, valid=bad if validate else None, device="cpu")
    except CourseError as error: assert "\n" not in str(error) and len(str(error)) < 450
    else: assert dtype in (torch.int64, torch.uint8) and shape == "[B]" and labels.max() <= 2 or shape == "[B, K]" and dtype.is_floating_point


@pytest.mark.parametrize("labels, advice", [(torch.tensor([0, 1], dtype=torch.int32), "labels.long()"), (torch.tensor([0., 1.]), "labels.long()"), (torch.tensor([[0], [1]]), "labels.squeeze(1)"),
                                            (torch.tensor([[0.], [1.]]), "labels.squeeze(1).long()"), (torch.tensor([[0, 1, 0], [1, 0, 0]]), "labels.argmax(dim=1)"), (torch.tensor([1, 3]), "labels-1"),
                                            (torch.tensor([0, 7]), "8 outputs"), (torch.tensor([-1, 0]), "below 0"), (torch.tensor([0, 1, 2]), "labels for 3")])
def test_the_remedy_for_labels_is_the_right_one(labels, advice):
    message_of(lambda: fit(nn.Linear(5, 3), F.cross_entropy, [(torch.randn(2, 5), labels)], device="cpu"), advice)
    if "labels" in advice and "for" not in advice:                 # what it advises works
        fit(nn.Linear(5, 3), F.cross_entropy, [(torch.randn(2, 5), eval(advice, {"labels": labels}))], device="cpu")


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(5), nn.Sequential(nn.Unflatten(1, (5, 1)), nn.InstanceNorm1d(5), nn.Flatten())])
def test_a_last_batch_of_one_row_is_explained(norm):
    batches = DataLoader(TensorDataset(torch.randn(5, 5), torch.zeros(5, dtype=torch.int64)), 4)
    message_of(lambda: fit(nn.Sequential(norm, nn.Linear(5, 3)), F.cross_entropy, batches, device="cpu"), "more than one number", "drop_last=True")


def test_other_usual_mistakes_of_a_batch_have_their_sentence():
    x, y = torch.randn(4, 5), torch.tensor([0, 1, 1, 0])
    def trained(network, loss, *batch): return lambda: fit(network, loss, [batch], device="cpu")
    message_of(trained(nn.Linear(5, 3), F.cross_entropy, x.double(), y), "float64", "inputs.to(torch.float32)")
    message_of(trained(nn.Linear(5, 3), F.cross_entropy, torch.ones(4, 5, dtype=torch.uint8), y), "uint8")
    message_of(trained(nn.Linear(5, 1), F.binary_cross_entropy_with_logits, x, y.float()), "predictions.squeeze(1)")
    message_of(trained(nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)), F.binary_cross_entropy_with_logits, x, y), "targets.float()")
    message_of(trained(nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Linear(1, 3)), F.cross_entropy, x, torch.zeros(4, 5, dtype=torch.int64)), "flatten(0, 1)")
    with pytest.raises(RuntimeError, match="cannot be multiplied"): trained(nn.Linear(9, 3), F.cross_entropy, x, y)()      # what it does not know, it leaves alone


def test_a_data_set_is_not_taken_for_batches():
    dataset = TensorDataset(torch.randn(6, 5), torch.zeros(6, dtype=torch.int64))
    for each in (dataset, Subset(dataset, [0, 1])): message_of(lambda: fit(nn.Linear(5, 3), F.cross_entropy, each, device="cpu"), "single rows", "DataLoader(")
    message_of(lambda: Batches(dataset), "Batches")


@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda:99", "mps:7", "", "cpu:x", 3.5, "processor"])
def test_a_device_that_is_not_here_is_told_so(device):
    message_of(lambda: fit(nn.Linear(1, 1), F.mse_loss, [(torch.ones(2, 1),)*2], device=device), "no device", "cpu", '"cuda"')


def network(): return nn.Linear(1, 1)


SCHEDULES = {"class": torch.optim.lr_scheduler.CosineAnnealingLR, "object": torch.optim.lr_scheduler.StepLR(torch.optim.SGD(network().parameters(), lr=1.), 3),
             "plateau": torch.optim.lr_scheduler.ReduceLROnPlateau, "partial": __import__("functools").partial(torch.optim.lr_scheduler.StepLR, step_size=3),
             "number": 0.5, "name": "cosine", "lambda": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3)}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_is_a_function_of_progress(kind):
    message = message_of(lambda: fit(network(), F.mse_loss, [(torch.ones(2, 1),)*2], device="cpu", schedule=SCHEDULES[kind]), "progress")
    assert ("PyTorch" in message) == (kind not in ("number", "name"))


def test_classes_and_objects_are_not_mixed_up():
    batches = [(torch.ones(2, 1),)*2]
    message_of(lambda: fit(network(), nn.MSELoss, batches), "MSELoss()")
    message_of(lambda: fit(network(), "mse", batches), "F.cross_entropy")
    message_of(lambda: fit(network(), F.mse_loss, batches, optimizer=torch.optim.SGD(network().parameters(), lr=1.)), "optimizer=torch.optim.SGD")
    message_of(lambda: fit(network(), F.mse_loss, batches, optimizer="adam"), "is a class")
    message_of(lambda: fit(network(), F.mse_loss, batches, metrics=F.l1_loss), "have names")


# Copies

def test_a_copied_player_moves_itself_and_nobody_else():
    def loss(module, batch): return 1000*module(batch).pow(2).mean()
    player, x = Player(nn.Linear(3, 1), loss, torch.optim.SGD, lr=1., clip=0.1), torch.ones(2, 3)
    before, twin = copy.deepcopy(player.module.state_dict()), copy.deepcopy(player)
    for each in (twin, player):
        untouched = player.module.state_dict() if each is twin else None
        each.step(each.loss(each.network, x))
        moved = sum((value-before[name]).pow(2).sum() for name, value in each.module.state_dict().items()).sqrt()
        assert 0.09 < moved < 0.11                               # one step of length lr × clip
        if untouched: assert all(torch.equal(value, before[name]) for name, value in untouched.items())


# No home

@pytest.fixture
def homeless(monkeypatch):
    "A user without HOME whom the machine does not know"
    pwd = pytest.importorskip("pwd")
    for name in ("HOME", "GENESIS_HOME", "GENESIS_DATA"): monkeypatch.delenv(name, raising=False)
    def unknown(uid): raise KeyError(uid)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_the_doctor_says_what_to_set(homeless):
    message_of(home, "GENESIS_HOME")
    message_of(lambda: fetch("shakespeare"), "GENESIS_HOME")
    message_of(lambda: save_weights("~/w.st", network()), "~", "no such home")
    findings = {what: (finding, remedy) for what, finding, remedy in examine()}
    assert findings["GENESIS_DATA"][1] is None and "GENESIS_HOME=" in findings["course folder"][1]
    assert find_file("nothing.gz") is None and data_folder() is None


def test_a_home_that_is_no_folder_is_not_advised(monkeypatch, tmp_path):
    monkeypatch.delenv("GENESIS_HOME")
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.chdir(tmp_path)
    finding, remedy = next((finding, remedy) for what, finding, remedy in examine() if what == "course folder")
    assert "not a folder" in finding or "a file" in finding, finding
    folder = remedy.split("=", 1)[1].strip("'")
    assert write_atomically(Path(folder)/"x", b"").exists() and Path(folder).parent == tmp_path


HOMELESS = "import pwd, sys\ndef unknown(uid): raise KeyError(uid)\npwd.getpwuid = unknown\nfrom genesis_course.cli import main\nsys.argv = ['genesis', *sys.argv[1:]]\nmain()"


@pytest.mark.skipif(os.name == "nt", reason="Windows knows its users otherwise")
@pytest.mark.slow
@pytest.mark.parametrize("words", [["doctor"], ["progress"], ["create", "7"], ["copy", "~/course"]])
def test_the_command_has_no_traceback_for_a_user_without_a_home(words, tmp_path):
    room = {name: value for name, value in os.environ.items() if name not in ("HOME", "GENESIS_HOME", "GENESIS_DATA")}
    done = subprocess.run([sys.executable, "-c", HOMELESS, *words], capture_output=True, text=True, env=room, cwd=tmp_path)
    assert "Traceback" not in done.stderr and done.stdout+done.stderr, done.stderr
    if words == ["doctor"]: assert "GENESIS_HOME=" in done.stdout and done.returncode == 1
    if words == ["copy", "~/course"]: assert "Stop:" in done.stderr and not list(tmp_path.iterdir())


# Narrow terminals

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NARROW = {"cp1252": {"PYTHONIOENCODING": "cp1252"}, "gbk": {"PYTHONIOENCODING": "gbk"}, "ascii": {"PYTHONIOENCODING": "ascii"}, "latin-1": {"PYTHONIOENCODING": "latin-1:strict"}, "C": C_LOCALE}
TERMINALS = [name if name == "cp1252" else pytest.param(name, marks=pytest.mark.slow) for name in NARROW]      # each asks for a new Python
THREE = [each for each in TERMINALS if each == "cp1252" or each.values[0] in ("gbk", "C")]                      # a letter is one byte, or two, or the locale is none


@pytest.mark.parametrize("words", [["progress"], ["doctor"], ["--help"], ["train", "--help"], ["create", "七", "--picture", "ü.png"], ["copy", "ein Kurs für mich"]])
@pytest.mark.parametrize("terminal", TERMINALS)
def test_a_narrow_terminal_gets_plain_signs(terminal, words, tmp_path):
    if terminal in ("cp1252", "latin-1", "ascii") and words != ["progress"]: pytest.skip("one of each is enough")
    done = subprocess.run([sys.executable, "-m", "genesis_course.cli", *words], capture_output=True, env={**os.environ, **NARROW[terminal]}, cwd=tmp_path)
    errors = done.stderr.decode(errors="replace")
    assert "UnicodeEncodeError" not in errors and "Traceback" not in errors, errors
    assert done.stdout or b"Stop:" in done.stderr


SCRIPT = """
import torch
from genesis_course.support import say
from genesis_course.training import Callback, Player, Trainer
class Stop(Callback):
    def after_step(self, trainer): trainer.interrupted = trainer.stop("Ctrl-C") or True
Trainer(Player(torch.nn.Linear(1, 1), lambda module, x: module(x).mean()), Stop(), device="cpu").fit([torch.ones(2, 1)]*3)
say("\\u2713 \\u751f\\u6210 \\u2026")
"""


@pytest.mark.parametrize("terminal", THREE)
def test_a_script_on_a_narrow_terminal_speaks_on(terminal, tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, env={**os.environ, **NARROW[terminal]}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Stopped after step 1" in done.stdout and b"+ " in done.stdout


CHECK = """
from genesis_course.practice import check, hint, progress, solution
for what in (lambda: check("start.1", 2.3026), lambda: check("start.1", ...), lambda: hint("start.1"), lambda: solution("start.1")): what()
"""


@pytest.mark.parametrize("terminal", THREE)
def test_exercises_are_checked_on_a_narrow_terminal(terminal, tmp_path):
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, env={**os.environ, **NARROW[terminal]}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()


@given(st.text(st.characters(exclude_categories=[]), max_size=60), st.sampled_from(["ascii", "cp1252", "gbk", "utf-8", "latin-1", "cp437", "big5", "shift_jis", "utf-16-le"]))
@trials(300)
def test_no_text_makes_a_stream_fail(text, encoding):
    bytes_ = io.BytesIO()
    stream = io.TextIOWrapper(bytes_, encoding=encoding, newline="\n")
    never_fail(stream, None)
    stream.write(text)
    stream.flush()
    shown = bytes_.getvalue().decode(encoding)
    assert all(a == b for a, b in zip(shown, text) if b.isascii()) or any(not letter.isascii() for letter in text)
    if text.isascii(): assert shown == text


# Proxies

@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "socks5h://me:secret@127.0.0.1:1080", "http://127.0.0.1:9", "http://me:secret@127.0.0.1:9", "https://127.0.0.1:9", "http://", "foo:bar",
                                   "http://127.0.0.1:99999", "http://.bad:1", "me:secret@127.0.0.1:9"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_fails_is_named_without_its_password(variable, proxy, monkeypatch):
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"): monkeypatch.delenv(name)
    monkeypatch.delenv("GENESIS_DATA", raising=False)
    monkeypatch.setenv(variable, proxy)
    message = message_of(lambda: fetch("shakespeare"), "the proxy", f"({variable})", proxy.rpartition("@")[2])
    assert "secret" not in message and "checksum" not in message
    if proxy.startswith("socks"): assert "pip install pysocks" in message


@pytest.mark.parametrize("error, words", [("SSLError", "certificate"), ("InvalidSchema", "no network"), ("InvalidURL", "no network"), ("ConnectionError", "no network"), ("Timeout", "no network"),
                                          ("ProxyError", "no network"), ("ChunkedEncodingError", "no network"), ("InvalidHeader", "no network"), ("HTTPError", "no network")])
def test_errors_of_requests_are_not_taken_for_altered_files(error, words, monkeypatch):
    from requests import exceptions
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"): monkeypatch.delenv(name)
    monkeypatch.delenv("GENESIS_DATA", raising=False)
    tries = []
    def fails(url, *others): raise tries.append(url) or vars(exceptions)[error]("said no")
    monkeypatch.setattr("genesis_course.downloads._retrieve", fails)
    assert "checksum" not in message_of(lambda: fetch("shakespeare"), words)
    assert len(tries) == ROUNDS*len(FILES["shakespeare"].urls)
