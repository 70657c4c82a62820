"""The genesis command, and the packages that carry the chapters."""
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
import pytest
from genesis_course import cli
from genesis_course.practice import record
from genesis_course.support import CourseError

ROOT = Path(__file__).parent.parent
NAMES = {path.name for path in (ROOT/"nbs").glob("[0-9]*.ipynb")}


def genesis(*arguments, **environment):
    return subprocess.run([sys.executable, "-c", "from genesis_course.cli import main; main()", *arguments], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", **environment})


@pytest.mark.parametrize("words, code, fragment", [(("--help",), 0, "create"), (("create", "--help"), 0, "--size"), (("nonsense",), 2, "nonsense"),
                                                   (("create", "7", "--size", "x"), 2, "valid integer")])
def test_the_command_explains_itself(words, code, fragment):
    "Some pairs of typer and click fail only here"
    done = genesis(*words)
    assert done.returncode == code and fragment in done.stdout+done.stderr and "Traceback" not in done.stderr, done.stderr


def test_copy_never_overwrites_a_readers_work(tmp_path):
    first = genesis("copy", str(tmp_path/"mine"))
    assert first.returncode == 0 and NAMES <= {path.name for path in (tmp_path/"mine").iterdir()}
    mine = tmp_path/"mine"/"00_start.ipynb"
    mine.write_bytes(mine.read_bytes()+b"\n")
    second = genesis("copy", str(tmp_path/"mine"))
    assert "Left as you changed them: 00_start.ipynb" in second.stdout and mine.read_bytes().endswith(b"\n\n")
    assert second.returncode == 0


def test_a_copy_begins_with_its_title_and_keeps_what_is_taught(tmp_path):
    "Directives, the badge and Colab's cell stay behind; every other line and every output comes along"
    cli.copy_chapters(tmp_path)
    for name in sorted(NAMES):
        there, here = (json.loads((folder/name).read_text(encoding="utf-8")) for folder in (ROOT/"nbs", tmp_path))
        assert "".join(here["cells"][0]["source"]).startswith("# "), name
        text = [line for cell in here["cells"] for line in "".join(cell["source"]).splitlines()]
        assert not [line for line in text if line.startswith("#|") or "google.colab" in line or "images/colab.svg" in line], name
        left = [cell for cell in there["cells"] if "google.colab" not in str(cell["source"]) and "images/colab.svg" not in str(cell["source"])]
        def plain(line): return re.sub(r"\]\([^)]*\)", "]()", line)           # where a link leads may differ
        shown = [line for cell in left for line in "".join(cell["source"]).splitlines() if not line.startswith("#|")]
        assert [plain(line) for line in text] == [plain(line) for line in shown], name
        prose = "\n".join("".join(cell["source"]) for cell in here["cells"] if cell["cell_type"] == "markdown")
        for target in re.findall(r"\]\(([\w/]+\.(?:ipynb|png|svg))", prose): assert (tmp_path/target).exists(), f"{name}: {target} is not in the copy"
        assert [cell["outputs"] for cell in here["cells"] if cell.get("outputs")] == [cell["outputs"] for cell in left if cell.get("outputs")], name


def test_a_copy_of_an_older_kind_is_renewed_where_it_was_left_alone(tmp_path):
    raw = (ROOT/"nbs"/"00_start.ipynb").read_bytes()
    for name, data in (("00_start.ipynb", raw), ("01_tensors.ipynb", b"my notes")): (tmp_path/name).write_bytes(data)
    (tmp_path/".copied.json").write_text(json.dumps({name: hashlib.sha256(raw).hexdigest() for name in ("00_start.ipynb", "01_tensors.ipynb")}))
    done = cli.copy_chapters(tmp_path)
    assert (done["00_start.ipynb"], done["01_tensors.ipynb"]) == ("renewed", "yours") and (tmp_path/"01_tensors.ipynb").read_bytes() == b"my notes"


def test_copy_onto_a_file_or_onto_the_chapters_is_refused(tmp_path):
    (tmp_path/"file").write_text("here")
    refused = genesis("copy", str(tmp_path/"file"))
    assert refused.returncode == 1 and "is a file, not a folder" in refused.stderr and "Traceback" not in refused.stderr
    with pytest.raises(CourseError, match="the chapters themselves"): cli.copy_chapters(ROOT/"nbs")


def test_a_damaged_list_of_checksums_costs_nothing(tmp_path):
    cli.copy_chapters(tmp_path)
    (tmp_path/".copied.json").write_text("[{")
    assert set(cli.copy_chapters(tmp_path).values()) == {"unchanged"}


@pytest.mark.slow
def test_doctor_finds_nothing_wrong_here():
    healthy = genesis("doctor", GENESIS_DATA="")
    assert healthy.returncode == 0 and "All is well." in healthy.stdout, healthy.stdout+healthy.stderr
    for word in ("Python", "torch", "device", "GENESIS_DATA", "chapters"): assert word in healthy.stdout


@pytest.mark.slow
def test_doctor_names_the_fault_and_the_remedy(tmp_path):
    ill = genesis("doctor", GENESIS_DATA=str(tmp_path/"nowhere"))
    assert ill.returncode == 1 and "unset GENESIS_DATA" in ill.stdout and "1 thing to mend." in ill.stdout
    (tmp_path/"file").write_text("in the way")
    ill = genesis("doctor", GENESIS_DATA="", GENESIS_HOME=str(tmp_path/"file"))
    assert ill.returncode == 1 and "GENESIS_HOME" in ill.stdout


def test_doctor_names_a_missing_package(monkeypatch):
    monkeypatch.setattr(cli, "NEEDED", ["no-such-package"])
    assert ("no-such-package", "missing", "pip install no-such-package") in cli.examine()


def test_doctor_says_which_extra_a_chapter_misses(monkeypatch):
    known = cli._package
    monkeypatch.setattr(cli, "_package", lambda name: (name, "missing", "…") if name in ("optuna", "cma") else known(name))
    assert cli._extras() == ("chapters' extras", "some are missing: pip install 'genesis_course[levels,search]'", None)


def test_doctor_says_whether_torchvision_loads(monkeypatch):
    assert cli._torchvision()[2] is None and cli._torchvision()[1].startswith("yes")
    monkeypatch.setitem(sys.modules, "torchvision", None)                # as if it were not installed
    assert cli._torchvision() == ("torchvision loads", "no", "pip install torchvision")


def test_doctor_lists_the_data_it_finds(real_data):
    line = next(line for line in genesis("doctor").stdout.splitlines() if "GENESIS_DATA" in line)
    assert "mnist" in line and "shakespeare" in line


@pytest.mark.slow
def test_progress_counts_what_was_solved():
    record("start.1")
    table = genesis("progress")
    assert table.returncode == 0 and re.search(r"start +●○+ +1 of \d", table.stdout) and "1 of " in table.stdout.splitlines()[-1]


def test_lab_without_a_screen_opens_no_browser(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not cli.has_screen()
    assert "--no-browser" in cli.lab_command("mine", screen=False) and "--no-browser" not in cli.lab_command("mine", screen=True)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    "The wheel and the sdist, built without a network"
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]+done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_wheel_carries_the_chapters(packages):
    wheel, = packages.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert NAMES <= {Path(name).name for name in names if name.startswith("genesis_course/notebooks/")}
    assert {"genesis_course/training.py", "genesis_course/exercises/start.py", "genesis_course/notebooks/images/genesis.png"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "nbs/"))]


@pytest.mark.slow
def test_sdist_carries_everything_that_a_test_run_needs(packages):
    sdist, = packages.glob("*.tar.gz")
    names = {name.split("/", 1)[1] for name in tarfile.open(sdist).getnames() if "/" in name}
    assert {"nbs/00_start.ipynb", "nbs/answers/00_start.ipynb", "tests/test_house.py", "conftest.py", "Makefile", "pyproject.toml", "LICENSE", "LICENSE-text"} <= names


@pytest.mark.slow
def test_an_installed_wheel_finds_its_chapters(packages, tmp_path):
    "Without a checkout beside it the package uses the chapters inside the wheel"
    wheel, = packages.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path/"site")
    script = f"import sys; sys.path.insert(0, {str(tmp_path/'site')!r})\nfrom genesis_course import cli\nprint(cli.chapters_folder())\ncli.copy_chapters({str(tmp_path/'mine')!r})"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and str(tmp_path/"site") in done.stdout, done.stderr
    assert NAMES <= {path.name for path in (tmp_path/"mine").iterdir()}
