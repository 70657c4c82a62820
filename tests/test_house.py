"""What holds the house together: notebooks, library, site and text agree with each other."""
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
import pytest
import yaml
from genesis_course.pages import anchor, table_of

ROOT = Path(__file__).parent.parent
NBS = ROOT/"nbs"
BOOKS = sorted(path for path in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
CHAPTERS = sorted(NBS.glob("[0-9]*.ipynb"))
named = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.relative_to(NBS).as_posix())
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name)


def cells(path, kind): return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell): return "".join(cell["source"])


def pictures(cell): return [output for output in cell.get("outputs", []) if any(key.startswith("image/") for key in output.get("data", {}))]


def test_library_is_what_the_notebooks_export(tmp_path):
    "Export into a copy and compare: an edit of genesis_course/, or a forgotten export, fails here"
    for name in ("nbs", "genesis_course"): shutil.copytree(ROOT/name, tmp_path/name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "_quarto.yml"): shutil.copy(ROOT/name, tmp_path/name)
    subprocess.run([str(Path(sys.executable).parent/"nbdev-export")], cwd=tmp_path, check=True, capture_output=True)
    made = {path.relative_to(tmp_path): path.read_text(encoding="utf-8") for path in (tmp_path/"genesis_course").rglob("*.py")}
    kept = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in (ROOT/"genesis_course").rglob("*.py")}
    stale = sorted(str(name) for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
    assert not stale, f"out of step with nbs/: {', '.join(stale)}. Run: make export"


def needs(name, seen=None):
    "Every module of the course that a module imports, and what these import in turn"
    seen = set() if seen is None else seen
    tree = ast.parse((ROOT/"genesis_course"/f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for node in tree.body:                              # what a function imports when it is called comes later
        if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").startswith("genesis_course.")): continue
        base = name.rpartition(".")[0] if node.level == 1 else ""
        used = f"{base}.{node.module}".strip(".") if node.level else node.module.removeprefix("genesis_course.")
        if used not in seen:
            seen.add(used)
            needs(used, seen)
    return seen


def test_no_chapter_leans_on_a_later_one():
    "Reading order is dependency order, also through rooms backstage and guards"
    order = [re.search(r"default_exp (\w+)", path.read_text(encoding="utf-8")).group(1) for path in CHAPTERS]
    for place, name in enumerate(order):
        used = needs(name)
        assert used or name in ("start", "optim"), f"no imports found in {name}: is this test reading it rightly?"
        later = used & set(order[place:])
        assert not later, f"{name} needs {sorted(later)}, which comes later"


def test_importing_a_chapter_stays_light():
    "Heavy libraries load when they are used, not on import"
    heavy = ["matplotlib", "sklearn", "torchvision", "lightning", "IPython", "ipywidgets", "PIL", "pooch", "requests", "pandas", "scipy", "tqdm"]
    modules = [f"genesis_course.{path.stem}" for path in (ROOT/"genesis_course").glob("[a-z]*.py") if path.stem != "cli"]
    script = f"import torch, numpy, sys; before = set(sys.modules)\nfor name in {modules!r}: __import__(name)\nprint([h for h in {heavy!r} if h in sys.modules and h not in before])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@named
def test_notebook_is_small_clean_and_without_errors(path):
    assert path.stat().st_size < 1.5e6
    assert all(source(cell).strip() for kind in ("code", "markdown") for cell in cells(path, kind)), "an empty cell"
    for number, cell in enumerate(cells(path, "code")):
        assert not any(output["output_type"] == "error" for output in cell["outputs"]), f"cell {number} shows an error"
        text = json.dumps(cell["outputs"])
        assert not re.search(r"/(root|home|tmp|work|Users|var/folders)/\w", text), f"cell {number} shows a path of the machine that ran it"
        assert not re.search(r"^\s*!", source(cell), re.MULTILINE), f"cell {number} calls the shell, which no test would see fail"
        assert not any(output.get("name") == "stderr" for output in cell["outputs"]), f"cell {number} stored a warning"


@named
def test_every_figure_says_what_one_sees(path):
    for number, cell in enumerate(cells(path, "code")):
        if pictures(cell): assert re.search(r'^#\| fig-alt: "[^"]{20,}"', source(cell), re.MULTILINE), f"code cell {number} draws a figure without `#| fig-alt:`"
    for cell in cells(path, "markdown"):
        for alt, _ in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", source(cell)): assert len(alt) > 10, f"a picture without alt text: {source(cell)[:60]}"


@named
def test_imports_have_cells_of_their_own(path):
    "The site's build runs cells with imports by themselves; mixed with other code they would fail there"
    for number, cell in enumerate(cells(path, "code")):
        if "google.colab" in source(cell) or not re.search(r"^(import|from) ", source(cell), re.MULTILINE): continue
        kinds = {isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(source(cell)).body}
        assert len(kinds) == 1, f"code cell {number} mixes imports with other code"


def anchors(path):
    heads = [line.lstrip("# ").strip() for cell in cells(path, "markdown") for line in source(cell).splitlines() if re.match(r"#{1,4} ", line)]
    if path.name == "glossary.ipynb": heads += [each["term"] for each in table_of("glossary.csv")]
    return {anchor(head) for head in heads}


@named
def test_internal_links_and_anchors_resolve(path):
    for cell in cells(path, "markdown"):
        for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", source(cell)):
            if re.match(r"https?://|mailto:|attachment:", target): continue
            name, _, anchor = target.partition("#")
            there = (path.parent/name).resolve() if name else path
            assert there.exists(), f"{target} leads nowhere"
            if anchor: assert there.suffix == ".ipynb" and anchor in anchors(there), f"no heading for {target}; there are {sorted(anchors(there))}"


def test_links_to_the_repository_resolve():
    for path in [*BOOKS, ROOT/"README.md"]:
        for target in re.findall(r"genesis-course/genesis-course/(?:blob|tree)/main/([\w./-]+)", path.read_text(encoding="utf-8")): assert (ROOT/target).exists(), f"{path.name}: {target}"


@each_chapter
def test_chapter_has_its_rhythm(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    for heading in ("When it breaks", "What you can do now", "Check yourself", "Further reading"): assert re.search(rf"^## {heading}", text, re.MULTILINE), f"no section {heading!r}"
    assert re.search(r"^#+ Playground", text, re.MULTILINE) and "interact" in code
    assert len(re.findall("<details[ >]", text)) == text.count("</details>") >= 3
    assert f"colab.research.google.com/github/genesis-course/genesis-course/blob/main/nbs/{path.name}" in text
    first = next(i for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]) if cell["cell_type"] == "markdown")
    assert re.match(r"# .+\n> .+", source(json.loads(path.read_text(encoding="utf-8"))["cells"][first]))
    assert any(pictures(cell) for cell in cells(path, "code")), "no stored picture"


@each_chapter
def test_outputs_are_stored(path):
    "A chapter without its outputs shows nothing on the site"
    for number, cell in enumerate(cells(path, "code")):
        last = source(cell).strip().splitlines()[-1] if source(cell).strip() else ""
        if re.match(r"(show|check|plot_curves|interact)\(", last): assert cell["outputs"], f"code cell {number} has no stored output. Run: make outputs"
    assert any("A frequent mistake" in json.dumps(cell["outputs"]) for cell in cells(path, "code")), "no check shows a wrong answer with its remark"


def sidebar(entries):
    for entry in entries:
        if isinstance(entry, str): yield entry
        elif "href" in entry: yield entry["href"]
        else: yield from sidebar(entry["contents"])


def test_site_shows_every_notebook_in_reading_order():
    link = NBS/"_quarto.yml"
    assert link.read_text(encoding="utf-8") == (ROOT/"_quarto.yml").read_text(encoding="utf-8"), "nbs/_quarto.yml must be a link to ../_quarto.yml"
    if os.name != "nt": assert link.is_symlink() and os.readlink(link) == "../_quarto.yml"
    site = yaml.safe_load(link.read_text(encoding="utf-8"))
    shown = list(sidebar(site["website"]["sidebar"]["contents"]))
    assert sorted(shown) == sorted(path.relative_to(NBS).as_posix() for path in BOOKS)
    for folder in ("", "backstage/", "answers/"):
        part = [name for name in shown if re.match(rf"{folder}\d", name)]
        assert part == sorted(part)
    assert site["metadata-files"] == ["nbdev.yml"] and (NBS/"nbdev.yml").exists()
    themes = [name for theme in site["format"]["html"]["theme"].values() for name in theme if name.endswith(".scss")]
    assert themes and all((NBS/name).exists() for name in themes)


def test_readme_is_made_from_the_index(tmp_path):
    sys.path.insert(0, str(ROOT/"tools"))
    import outputs
    before = (ROOT/"README.md").read_text(encoding="utf-8")
    try:
        outputs.readme()
        assert (ROOT/"README.md").read_text(encoding="utf-8") == before, "README.md is out of step with nbs/index.ipynb. Run: make outputs"
    finally: (ROOT/"README.md").write_text(before, encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", before): assert (ROOT/target).exists(), f"README.md: {target} leads nowhere"


def test_nothing_large_and_no_data_in_the_repository():
    if not (ROOT/".git").exists(): pytest.skip("not a checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    sizes = {name: (ROOT/name).stat().st_size for name in names if name and (ROOT/name).is_file()}
    assert sum(sizes.values()) < 60e6 and max(sizes.values()) < 1.5e6
    assert not [name for name in sizes if name.endswith((".pt", ".pth", ".pkl", ".ckpt", ".gz", ".bin"))]


def test_shipped_weights_are_small_and_have_a_recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT/"tools"))
    import weights
    files = list((ROOT/"genesis_course"/"weights").iterdir())
    assert sorted(file.name for file in files) == sorted(f"{name}.safetensors" for name in weights.RECIPES)
    assert max(file.stat().st_size for file in files) < 1e6


def test_every_public_function_says_what_it_does():
    for path in sorted((ROOT/"genesis_course").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if {"exercises", "guards"} & set(path.parts) or path.name.startswith("_"): continue      # a guard says it in its sentences
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"): assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_the_index_lists_every_chapter():
    text = (NBS/"index.ipynb").read_text(encoding="utf-8")
    assert re.findall(r"^ *\"\| \[[^\]]+\]\((\w+\.ipynb)\)", text, re.M) == [path.name for path in CHAPTERS]


HARD_WIRED = re.compile(r"""\.cuda\(|\.to\(\s*["'](?:cuda|cpu|mps)|device\s*=\s*["'](?:cuda|cpu|mps)|torch\.device\(\s*["'](?:cuda|mps)""")


def test_no_device_is_hard_wired():
    "A chapter and the library run where `default_device` says, on a processor or a graphics card, without an edit; only it names them"
    found = []
    for path in CHAPTERS:
        for number, cell in enumerate(cells(path, "code")):
            if "def default_device" not in source(cell): found += [f"{path.name}, code cell {number}: {line.strip()}" for line in source(cell).splitlines() if HARD_WIRED.search(line)]
    for path in sorted((ROOT/"genesis_course").glob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{path.name}: {line.strip()}" for line in lines if HARD_WIRED.search(line) and path.name != "start.py"]
    assert not found, "\n".join(found)
    assert all(HARD_WIRED.search(line) for line in ("x.cuda()", 'Trainer(p, device="cpu")', "x.to('cuda:0')", 'torch.device("cuda")')) and not HARD_WIRED.search("x.to(device)")
