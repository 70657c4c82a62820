"""One walk over every exercise and clinic case of the course."""
import ast
import dataclasses
import functools
import html
import importlib
import inspect
import json
import linecache
import re
import time
from pathlib import Path
import numpy as np
import pytest
import torch
from fastcore.nbio import read_nb
from genesis_course import practice
from genesis_course.exercises import chapters

ROOT = Path(__file__).parent.parent
EVERY = [exercise for group in practice.all_exercises().values() for exercise in group]
CALLS = re.compile(r'^check\("([^"]+)",\s*(.+)\)\s*$', re.MULTILINE)


def code_cells(path): return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def blanks():
    "For each id that a chapter checks: the name it passes and the cell with the gap that defines it"
    found = {}
    for path in sorted((ROOT/"nbs").glob("[0-9]*.ipynb")):
        cells = code_cells(path)
        for i, source in enumerate(cells):
            for id, name in CALLS.findall(source):
                gap = next((cell for cell in reversed(cells[:i]) if re.search(rf"^(def {name}\b|class {name}\b|{name}\s*=)", cell, re.MULTILINE)), None)
                assert id not in found, f"{id} is checked twice"
                found[id] = path.name, name, gap
    return found


BLANKS = blanks()


def quick(exercise): return dataclasses.replace(exercise, seconds=min(exercise.seconds, 0.2))


def test_chapters_and_answer_book_hold_the_same_exercises():
    assert {e.id for e in EVERY} == set(BLANKS)
    assert len(EVERY) == len({e.id for e in EVERY})
    for chapter, group in practice.all_exercises().items():
        kinds = [e.id.startswith("clinic.") for e in group]
        assert 3 <= kinds.count(False) <= 6, f"{chapter} has {kinds.count(False)} exercises"
        assert kinds.count(True) >= 1 or meets_an_old_case(chapter), f"{chapter} has no clinic case, and meets none of an earlier chapter again"
        assert all(e.symptom for e in group if e.id.startswith("clinic.")), f"a clinic case of {chapter} has no symptom"


def meets_an_old_case(chapter):
    "Whether a chapter links to a case of the clinic that an earlier one has cured"
    path, = (ROOT/"nbs").glob(f"[0-9]*_{chapter}.ipynb")
    return re.search(r"\]\(\d\d_\w+\.ipynb#case-\d+", path.read_text(encoding="utf-8")) is not None


def test_every_answer_book_is_listed_in_reading_order():
    books = sorted((ROOT/"nbs"/"answers").glob("*.ipynb"))
    assert [re.search(r"default_exp exercises\.(\w+)", path.read_text(encoding="utf-8")).group(1) for path in books] == chapters


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_blank_is_not_yet(exercise):
    chapter, name, gap = BLANKS[exercise.id]
    assert gap and "..." in gap, f"{chapter}: no cell with a gap for {exercise.id}"
    space = {}
    exec("import math\nimport torch\nfrom torch import nn\nfrom torch.nn import functional as F\n", space)
    module = __import__(f"genesis_course.{exercise_chapter(exercise)}", fromlist=["*"])
    space.update({k: v for k, v in vars(module).items() if not k.startswith("_")})
    linecache.cache["gap.py"] = len(gap), None, gap.splitlines(keepends=True), "gap.py"      # a notebook keeps the source of its cells too
    exec(compile(gap, "gap.py", "exec"), space)
    verdict = practice.grade(exercise, space[name])
    assert verdict.status == "blank", f"{exercise.id}: {verdict}"


def exercise_chapter(exercise): return next(chapter for chapter, group in practice.all_exercises().items() if any(e is exercise for e in group))


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_solution_is_right(exercise):
    verdict = practice.grade(exercise, exercise.solution)
    assert verdict.status == "right", f"{exercise.id}: {verdict}"


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_every_wrong_answer_gets_its_own_remark(exercise):
    assert len(exercise.wrong) >= 2, f"{exercise.id} knows {len(exercise.wrong)} wrong answers"
    remarks = [remark for _, remark in exercise.wrong]
    assert len(set(remarks)) == len(remarks), "two wrong answers share a remark"
    for answer, remark in exercise.wrong:
        verdict = practice.grade(exercise, answer)
        assert (verdict.status, verdict.message) == ("wrong", remark), f"{exercise.id}, {remark}: {verdict}"


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_hints_and_insight_are_there(exercise):
    assert len(exercise.hints) >= 2 and exercise.title and exercise.insight
    if not exercise.id.startswith("clinic."): assert exercise.id.startswith(exercise_chapter(exercise)+".")


# What an exercise asks

KINDS = {"warm-up", "build", "think"}


@pytest.mark.parametrize("chapter", chapters)
def test_a_chapter_has_exercises_of_three_kinds_and_says_which(chapter):
    group = [each for each in practice.all_exercises()[chapter] if not each.id.startswith("clinic.")]
    kinds = [each.kind for each in group]
    assert set(kinds) <= KINDS and len(group) >= (6 if chapter == "genesis" else 4), f"{chapter}: {kinds}"
    assert kinds.count("warm-up") <= 1 and kinds.count("build") >= 1 and kinds.count("think") >= 1, f"{chapter}: {kinds}"
    text = next((ROOT/"nbs").glob(f"[0-9]*_{chapter}.ipynb")).read_text(encoding="utf-8")
    for each in group: assert re.search(rf"\*\*Exercise [\w]*\.?{each.id.split('.')[1]}, {each.kind}[.:]?\*\*", text), f"{chapter} does not say that {each.id} is a {each.kind}"


def plain(statement):
    "A statement with its names numbered in the order of their first use"
    names = {}
    class Number(ast.NodeTransformer):
        def visit_Name(self, node): return ast.Name(names.setdefault(node.id, f"name{len(names)}"), ast.Load())
    return ast.dump(Number().visit(ast.parse(ast.unparse(statement))))


def statements(tree): return [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass))
                              and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) and not (isinstance(node, ast.Return) and isinstance(node.value, (ast.Name, type(None))))]


@pytest.mark.parametrize("exercise", [each for each in EVERY if callable(each.solution) and each.kind != "warm-up"], ids=lambda e: e.id)
def test_what_is_asked_does_not_stand_solved_above(exercise):
    chapter, name, gap = BLANKS[exercise.id]
    cells = code_cells(ROOT/"nbs"/chapter)
    above = set()
    for cell in cells[:cells.index(gap)]:
        try: above |= {plain(statement) for statement in statements(ast.parse(re.sub(r"^\s*[%!].*$", "", cell, flags=re.MULTILINE)))}
        except SyntaxError: continue
    tree = ast.parse(inspect.cleandoc(inspect.getsource(exercise.solution)))
    tree.body[0].decorator_list = []
    own = [plain(statement) for statement in statements(tree)]
    assert own and sum(statement in above for statement in own) <= 0.6*len(own), f"{exercise.id}: {sum(statement in above for statement in own)} of {len(own)} statements stand above"


# Each answer book as a page

BOOKS = {re.search(r"default_exp exercises\.(\w+)", path.read_text(encoding="utf-8")).group(1): path for path in sorted((ROOT/"nbs"/"answers").glob("*.ipynb"))}
MARKER = re.compile(r"\*\*Exercise \w+\.\d+[^*]*\*\*(?: \([^)]*\))?[.:]?\s*")
FIRST_HELP = re.compile(r"\(?When you are stuck.*|Work it out on paper; `hint.*|`hint\(.*", re.DOTALL)


@functools.lru_cache(maxsize=None)
def page(chapter):
    "The cells of an answer book as nbdev hands them to the site; what runs code for it is left out"
    process, processors = (pytest.importorskip(f"nbdev.{name}", reason="needs nbdev") for name in ("process", "processors"))
    steps = [step for step in processors.FilterDefaults().procs() if step is not processors.exec_show_docs]
    processor = process.NBProcessor(nb=read_nb(BOOKS[chapter]), procs=steps, rm_directives="quarto")
    processor.process()
    return [(cell.cell_type, cell.source) for cell in processor.nb.cells if cell.get("source")]


def page_code(chapter): return "\n\n".join(source for kind, source in page(chapter) if kind == "code")


def words(text): return re.findall(r"\w{2,}", text.lower())


@pytest.mark.parametrize("chapter", chapters)
def test_page_shows_the_code_of_the_book(chapter):
    lines = [line for source in code_cells(BOOKS[chapter]) if source.startswith("#| exports") for line in source.splitlines()[1:] if line.strip()]
    shown = set(page_code(chapter).splitlines())
    assert len(lines) > 50 and sum(line in shown for line in lines) >= 0.98*len(lines)
    assert max(map(len, lines)) <= 100 and "show_doc(" not in page_code(chapter), "a signature beside the code that says it already"


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_page_shows_question_solution_every_wrong_answer_and_its_remark(exercise):
    chapter, code = exercise_chapter(exercise), page_code(exercise_chapter(exercise))
    name = BLANKS[exercise.id][1]
    for answer in [exercise.solution, *(answer for answer, _ in exercise.wrong)]:
        if callable(answer): assert inspect.getsource(answer).strip() in code, f"not on the page:\n{inspect.getsource(answer)}"
    tree = ast.parse(code)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    slips = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == f"{name}.slip"]
    assert len(slips) == len(exercise.wrong), "every wrong answer stands with its remark"
    for text in [exercise.id, exercise.title, exercise.insight, *exercise.hints, *(remark for _, remark in exercise.wrong)]: assert text in texts, f"not on the page: {text}"
    cells = page(chapter)
    place = next(i for i, (kind, source) in enumerate(cells) if kind == "code" and re.search(rf'^{name} = Exercise\("{exercise.id}"', source, re.MULTILINE))
    heading = max(i for i in range(place) if cells[i][0] == "markdown" and cells[i][1].startswith("## "))
    question = "\n".join(source for kind, source in cells[heading+1:place] if kind == "markdown")
    assert cells[heading][1].lower().endswith(exercise.title.lower()) and len(words(question)) >= 6
    if exercise.id.startswith("clinic."): assert exercise.symptom.rstrip(".") in question and cells[heading][1].startswith(f"## Case {exercise.id[7:]}: ")
    else:
        asked = words(FIRST_HELP.sub("", question_of_the_chapter(exercise.id)))
        assert sum(word in words(question) for word in asked) >= 0.75*len(asked), f"the chapter asks: {question_of_the_chapter(exercise.id)}"


def question_of_the_chapter(id):
    "The text before the cell with the gap, from the number of the exercise on"
    path, _, gap = BLANKS[id]
    cells = json.loads((ROOT/"nbs"/path).read_text(encoding="utf-8"))["cells"]
    place = next(i for i, cell in enumerate(cells) if "".join(cell["source"]) == gap)
    text = "".join(next(cell for cell in reversed(cells[:place]) if cell["cell_type"] == "markdown")["source"])
    assert MARKER.search(text), f"no number stands before the gap of {id}"
    return MARKER.split(text)[-1]


@pytest.mark.parametrize("chapter", chapters)
def test_answer_book_exports_its_exercises_and_nothing_else(chapter):
    module = importlib.import_module(f"genesis_course.exercises.{chapter}")
    assert module.__all__ and all(isinstance(getattr(module, name), practice.Exercise) for name in module.__all__)


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_solution_is_shown_as_a_learner_would_write_it(exercise, capsys):
    practice.solution(exercise.id)
    text = capsys.readouterr().out
    name = BLANKS[exercise.id][1]
    assert re.match(rf"(#.*\n)*(def|class) {name}\b" if callable(exercise.solution) else rf"{name} = ", text) and "@" not in text.split("def ")[0]
    assert isinstance(ast.parse(text).body[0], (ast.FunctionDef, ast.ClassDef, ast.Assign))


def endless(*args, **kwargs):
    while True: time.sleep(0.001)


def raises(*args, **kwargs): raise ZeroDivisionError("by zero")


def leaves(*args, **kwargs): raise SystemExit("bye")


class Stubborn:
    def __init__(self, *args, **kwargs): self.x = torch.zeros(7, 3)
    def __getattr__(self, name): raise RuntimeError(f"no {name} here")


GARBAGE = {"None": None, "text": "banana", "number": 3.7, "NaN": float("nan"), "wrong shape": torch.zeros(5, 4, 3), "int tensor": torch.tensor([1, 2]), "NumPy": np.zeros(3),
           "object": object(), "a list": [1, "two", None], "a dict": {"loss": None}, "endless": endless, "raises": raises, "leaves": leaves, "class": Stubborn,
           "returns None": lambda *a, **k: None, "returns text": lambda *a, **k: "banana", "returns NaN": lambda *a, **k: float("nan"), "returns a NaN tensor": lambda *a, **k: torch.full((2, 2), float("nan")),
           "returns a shape": lambda *a, **k: torch.zeros(5, 4, 3), "returns its input": lambda *a, **k: a[0] if a else None, "returns float64": lambda *a, **k: torch.zeros(3, dtype=torch.float64),
           "takes nothing": lambda: 1, "module": torch.nn.Linear(3, 3)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")      # torch asks a stubborn object for attributes from C; Python 3.13 reports that
@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
@pytest.mark.slow
def test_garbage_gets_a_sentence(exercise):
    for kind, answer in GARBAGE.items():
        state = torch.random.get_rng_state()
        verdict = practice.grade(quick(exercise), answer)
        assert verdict.status in ("blank", "wrong", "trouble") and len(verdict.message) > 15 and "Traceback" not in verdict.message, f"{exercise.id}, {kind}: {verdict}"
        assert torch.equal(state, torch.random.get_rng_state()), f"{exercise.id}, {kind}: the reader's random numbers were disturbed"
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.id)
def test_an_unfilled_gap_shows_a_frequent_mistake_and_what_is_said_to_it(exercise, monkeypatch):
    shown = []
    monkeypatch.setattr(practice, "_say", shown.append)
    practice.check(exercise.id, ...)
    page = shown[0]._repr_html_()
    code = html.unescape(re.search(r"<pre>(.*)</pre>", page, re.DOTALL).group(1))
    assert shown[0].status == "blank" and practice.Verdict("wrong", exercise.wrong[0][1])._repr_html_() in page
    assert re.match(rf"((def|class) {BLANKS[exercise.id][1]}\b|{BLANKS[exercise.id][1]} = )", code) and ast.parse(code)
    practice.check(exercise.id, exercise.solution)
    assert not shown[1].more
