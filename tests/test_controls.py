"""Controls that move without Python: what is stored shows what the function draws, and every chapter has stored its own."""
import ast
import base64
import io
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
import ipywidgets
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from genesis_course.controls import ALONE, TOGETHER, WEIGHT, as_figure, figure_of, part_of, same_chance, seen, shared_out, thinned
from genesis_course.plots import figure
from genesis_course.support import CourseError

CHAPTERS = sorted((Path(__file__).parent.parent/"nbs").glob("[0-9]*.ipynb"))


class Reader(HTMLParser):
    "The inputs of a stored control by name, its first picture, and its data"
    def __init__(self, text):
        super().__init__()
        self.inputs, self.labels, self.hidden, self.picture, self.data = {}, 0, False, None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("input", "select"): self.inputs[attrs["name"]] = attrs
        if tag == "label": self.labels += 1
        if tag == "fieldset": self.hidden = "hidden" in attrs
        if tag == "img": self.picture = attrs
        if tag == "figure": self.data = json.loads(attrs["data-moves"])


def picture_of(uri): return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA")


def shown(reader, place):
    "The picture that the page shows for a place, as the script puts it together"
    (x, y, width, height), tile = reader.data["box"], reader.data["tile"][place]
    left, top = tile % reader.data["columns"]*width, tile//reader.data["columns"]*height
    piece, whole = picture_of(reader.data["sheet"]).crop((left, top, left+width, top+height)), picture_of(reader.picture["src"])
    whole.paste(piece, (x, y), piece)
    return np.asarray(whole.convert("RGB"))


# ---- what a control can be

def test_every_widget_of_the_chapters_becomes_places():
    cases = {ipywidgets.IntSlider(3, 0, 9): ([*range(10)], 3), ipywidgets.FloatSlider(value=.5, min=0, max=1, step=.25): ([0, .25, .5, .75, 1], 2),
             ipywidgets.Dropdown(options=["a", "b"], value="b"): (["a", "b"], 1), ipywidgets.Dropdown(options=[("one", 1), ("two", 2)]): ([1, 2], 0),
             ipywidgets.Checkbox(value=True): ([False, True], 1), ipywidgets.SelectionSlider(options=["a", "b"]): (["a", "b"], 0),
             ipywidgets.RadioButtons(options=[4, 5]): ([4, 5], 0), ipywidgets.ToggleButton(): ([False, True], 0)}
    for widget, (values, start) in cases.items():
        part = part_of("x", widget)
        assert part.values == values and part.start == start and len(part.shown) == len(values), widget
    for widget in (ipywidgets.fixed(True), ipywidgets.fixed(None), ipywidgets.Text("a")): assert part_of("x", widget) is None


def test_a_logarithmic_slider_holds_the_value_that_it_starts_at():
    part = part_of("rate", ipywidgets.FloatLogSlider(value=.3, base=10, min=-3, max=1, step=.1))
    assert part.values[part.start] == .3 and np.allclose([part.values[0], part.values[-1]], [1e-3, 10]) and len(part.values) == 41


@pytest.mark.parametrize("start", [0, 1, 13, 39, 40])
@pytest.mark.parametrize("count", [2, 3, 8, 25, 41, 60])
def test_thinning_keeps_ends_start_and_order(start, count):
    part = part_of("x", ipywidgets.IntSlider(start, 0, 40))
    thin = thinned(part, count)
    assert len(thin.values) <= count and thin.values == sorted(set(thin.values)) and thin.values[thin.start] == start
    if count > 2: assert thin.values[0] == 0 and thin.values[-1] == 40


def test_places_are_shared_out_within_the_limit():
    slider, choice = part_of("x", ipywidgets.IntSlider(0, 0, 99)), part_of("c", ipywidgets.Dropdown(options=list("abcdef")))
    for parts, most in (([slider], ALONE), ([slider]*2, TOGETHER), ([choice, slider], TOGETHER), ([slider]*4, TOGETHER), ([choice], ALONE)):
        sizes = [len(part.values) for part in shared_out(parts)]
        assert most/2 < np.prod(sizes) <= most or parts == [choice]
    assert len(shared_out([choice, slider])[0].values) == 6, "a choice keeps all of its options"
    with pytest.raises(CourseError, match="216 pictures"): shared_out([choice]*3)


# ---- what is stored shows what the function draws

def draw(height=1, warm=False):
    with figure(width=2, height=1.5, caption=f"{height} high") as ax:
        ax.bar([0], [height], color="C1" if warm else "C0")
        ax.set(ylim=(-3, 3), title="warm" if warm else "cold")


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    "A notebook's way to show things"
    monkeypatch.setattr("genesis_course.plots.in_notebook", lambda: True)
    there = InteractiveShell.initialized()
    yield InteractiveShell.instance()
    if not there: InteractiveShell.clear_instance()


@pytest.fixture
def stored():
    widgets = {"height": ipywidgets.IntSlider(1, -2, 2), "warm": ipywidgets.Checkbox()}
    return Reader(as_figure(draw, widgets, '#| fig-alt: "A bar in a box"'))


def inked(picture):
    "A picture without its white margins"
    marked = (picture != 255).any(-1)
    rows, columns = (np.flatnonzero(marked.any(axis)) for axis in (1, 0))
    return picture[rows[0]:rows[-1]+1, columns[0]:columns[-1]+1]


def test_each_place_shows_what_the_function_draws(stored):
    assert stored.inputs.keys() == {"height", "warm"} and stored.labels == 2 and stored.hidden
    assert stored.picture["alt"] == "A bar in a box"
    for place in range(10):
        height, warm = place//2-2, bool(place % 2)
        (drawn,), words = seen(draw, {"height": height, "warm": warm})
        assert stored.data["words"][stored.data["said"][place]] == words and f"{height} high" in words
        assert np.array_equal(inked(shown(stored, place)), inked(drawn)), (height, warm)
    assert np.array_equal(shown(stored, 6), np.asarray(picture_of(stored.picture["src"]).convert("RGB"))), "it starts at height 1"


def test_axes_stand_still(stored):
    "What does not change is stored once: the tiles hold the bar and the title, not the left axis"
    left, _, width, _ = stored.data["box"]
    assert left > 20 and left+width <= int(stored.picture["width"])


def test_a_control_of_words_stores_words():
    reader = Reader(as_figure(lambda a: print(f"{a} < {a+1}"), {"a": ipywidgets.IntSlider(2, 0, 3)}))
    assert reader.picture is None and "sheet" not in reader.data and reader.data["words"][reader.data["said"][0]] == "<pre>0 &lt; 1</pre>"


def test_what_a_function_refuses_is_shown_as_its_sentence():
    def refuse(a): raise CourseError(f"{a} is too much.")
    assert Reader(as_figure(refuse, {"a": ipywidgets.IntSlider(2, 0, 3)})).data["words"] == [f"<pre>{a} is too much.</pre>" for a in range(4)]


def test_random_numbers_are_as_if_nothing_had_been_drawn():
    draws = lambda: (torch.rand(1).item(), np.random.rand(), random.random())
    with same_chance(): before = draws()
    with same_chance(): as_figure(lambda a: draws() and None, {"a": ipywidgets.IntSlider(0, 0, 5)})
    assert draws() == before
    noisy = Reader(as_figure(lambda a: print(torch.rand(1).item()), {"a": ipywidgets.IntSlider(0, 0, 5)}))
    assert len(noisy.data["words"]) == 1, "noise does not flicker while a slider moves"


def test_a_heavy_sheet_loses_colours_and_then_places():
    rng = np.random.default_rng(0)
    parts = shared_out([part_of(name, ipywidgets.IntSlider(2, 0, 9)) for name in "ab"])
    frames = rng.integers(0, 255, (100, 40, 60, 3), dtype=np.uint8)
    reader = Reader(figure_of(parts, frames, [f"{k}" for k in range(100)], "noise"))
    places = [json.loads(reader.inputs[name]["data-shown"]) for name in "ab"]
    assert len(base64.b64decode(reader.data["sheet"].split(",")[1])) <= WEIGHT and 9 <= len(reader.data["tile"]) < 100
    assert [reader.data["words"][k] for k in reader.data["said"]] == [str(10*int(a)+int(b)) for a in places[0] for b in places[1]]


def test_names_are_escaped():
    part = part_of("x", ipywidgets.Dropdown(options=["a<b", '"c"'], description="<i>"))
    text = figure_of([part], None, ["", ""], "")
    assert "a&lt;b" in text and "&lt;i&gt;" in text and "<i>" not in text


# ---- what the chapters have stored

def controls_of(path):
    "(cell, names of the parameters that its control moves) for each `interact` of a chapter"
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not re.search(r"^interact\(", source, re.MULTILINE): continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "interact": continue
            yield cell, [word.arg for word in node.keywords if getattr(getattr(word.value, "func", None), "id", "") != "fixed"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_control_of_a_chapter_moves_on_the_site(path):
    found = list(controls_of(path))
    assert found and "widget-view" not in path.read_text(encoding="utf-8")
    for cell, names in found:
        texts = ["".join(output["data"]["text/html"]) for output in cell["outputs"] if "text/html" in output.get("data", {})]
        assert len(texts) == 1 and len(cell["outputs"]) == 1, "run: python tools/outputs.py --controls"
        reader = Reader(texts[0])
        assert list(reader.inputs) == names and reader.labels == len(names) and reader.hidden
        count = len(reader.data["said"])
        assert 1 < count <= TOGETHER and len(texts[0]) < 160_000
        assert len(set(zip(reader.data["said"], reader.data.get("tile", reader.data["said"])))) > 1, "nothing moves"
        if reader.picture:
            assert "#| fig-alt:" in "".join(cell["source"]) and reader.picture["alt"] in "".join(cell["source"])
            assert len(reader.data["tile"]) == count and min(picture_of(reader.data["sheet"]).size) > 1


# ---- questions that answer

QUIZ = re.compile(r'<fieldset class="quiz"([^>]*)><legend>(.*?)</legend>(.*?)</fieldset>', re.DOTALL)
ANSWER = re.compile(r'<details( class="right")?><summary>(.*?)</summary>(.*?)</details>', re.DOTALL)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_questions_at_the_end_answer(path):
    text = "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "markdown")
    found = QUIZ.findall(text)
    assert found or "<details><summary>" in text[text.index("## Check yourself"):], "no questions"
    assert len(found) == text.count("<fieldset") and "<fieldset" not in text[:text.index("## Check yourself")]
    for data, question, rest in found:
        answers = ANSWER.findall(rest)
        assert len(answers) > 1 and not ANSWER.sub("", rest).strip(), question
        assert any(right for right, _, _ in answers) and not all(right for right, _, _ in answers), question
        for right, option, remark in answers:
            assert remark.startswith("<b>Right.</b> ") == bool(right) and len(remark.split()) > 2, f"{question} {option}"
            if data: float(option.replace(",", ""))
        if data: assert re.fullmatch(r' data-within="[\d.]+"', data) and sum(bool(right) for right, _, _ in answers) == 1
    assert not re.search(r"<(fieldset|legend|details|summary)[^>]*>[^<]*`", "".join(rest for _, _, rest in found)), "JupyterLab does not read `code` here: write <code>"
