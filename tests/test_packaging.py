"""settings.ini, setup.py and pyproject.toml agree, and what is built of them can be installed."""
import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from genesis_course import cli
try: import tomllib
except ImportError: import tomli as tomllib      # Python 3.10

get_config = pytest.importorskip("nbdev.config", reason="needs nbdev").get_config
ROOT = Path(__file__).parent.parent
FOLDERS = ["nbs", "genesis_course", "tests", "tools", "benchmarks", "deploy"]
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]


def lines(text): return text.strip().splitlines()


def read(name): return (ROOT/name).read_text(encoding="utf-8")


def parts(requirement): return requirement.name, str(requirement.specifier), *requirement.extras


def run(*command, **options):
    "The standard output of a command; the test fails with everything that it said"
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-2000:]+done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def settings():
    parser = configparser.ConfigParser()
    parser.read_string(read("settings.ini"))
    return parser


@pytest.fixture(scope="module")
def project(): return tomllib.loads(read("pyproject.toml"))


def needs(settings, *extras):
    "The requirements of the package and of some extras, by name, without its own extras"
    package = settings["package"]
    written = lines(package["requirements"])
    for extra in extras: written += lines(settings["extras"][extra])
    found = map(Requirement, written)
    return {canonicalize_name(one.name): one for one in found if one.name != package["name"]}


# What is said

def test_nothing_is_said_twice_but_the_name(settings, project):
    assert project["project"]["name"] == settings["package"]["name"]
    fixed = set(project["project"])-{"name", "dynamic"}
    handed = {"version", "dependencies", "optional-dependencies", "scripts", "entry-points"}
    assert set(project["project"]["dynamic"]) == handed and not handed & fixed
    assert set(settings["package"]) == {"name", "version_file", "requirements"}
    assert "setuptools" not in project["tool"]
    lists = [settings["package"]["requirements"], *settings["extras"].values()]
    names = [Requirement(line).name for text in lists for line in lines(text)]
    names = [name for name in names if name != settings["package"]["name"]]
    assert len(names) == len(set(names)), "a requirement stands in two lists"


def test_the_building_setuptools_is_the_one_that_the_tests_build_with(settings, project):
    needed, = project["build-system"]["requires"]
    assert needed in lines(settings["extras"]["dev"])


def test_constraints_hold_the_floors(settings):
    "Every pin reaches its floor, and all that a learner installs is pinned"
    title, *written = lines(read("constraints.txt"))
    if "that the tests run with" not in title: pytest.skip("other versions, chosen for this run")
    pins = [Requirement(line) for line in written if not line.startswith("#")]
    floors = needs(settings, "lab", "levels", "search", "ship", "dev")
    for pin in pins:
        version, = (one.version for one in pin.specifier)
        floor = floors.get(canonicalize_name(pin.name))
        assert floor is None or floor.specifier.contains(version), pin
    assert set(needs(settings, "lab", "levels", "search", "ship")) <= {canonicalize_name(pin.name) for pin in pins}
    assert all(one.specifier for one in floors.values()), "a requirement without a floor"


def test_the_same_pythons_everywhere(project):
    "requires-python, the classifiers, make, the continuous integration and the README"
    named = "\n".join(project["project"]["classifiers"])
    pythons = re.findall(r"Python :: (3\.\d+)$", named, re.MULTILINE)
    low, high = min(pythons, key=Version), max(pythons, key=Version)
    assert project["project"]["requires-python"] == f">={low}"
    bounds = re.search(r"\((3, \d+)\) <= sys\.version_info\[:2\] <= \((3, \d+)\)", read("Makefile"))
    assert [bound.replace(", ", ".") for bound in bounds.groups()] == [low, high]
    assert f"Python {low} to {high} is needed" in read("Makefile")
    jobs = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"].values()
    matrices = [job["strategy"]["matrix"] for job in jobs if "strategy" in job]
    assert pythons in [matrix["python"] for matrix in matrices if "python" in matrix]
    assert f"Python {low}–{high}" in read("README.md")


def test_the_citation_names_this_version(project):
    cited, fixed = yaml.safe_load(read("CITATION.cff")), project["project"]
    assert cited["version"] == get_config(ROOT).version
    assert " AND ".join(cited["license"]) == fixed["license"]
    assert cited["repository-code"] == fixed["urls"]["Repository"]
    assert cited["url"] == fixed["urls"]["Documentation"]
    assert cited["authors"] == fixed["authors"]


def test_the_doctor_asks_for_every_requirement(settings):
    assert set(needs(settings)) <= {canonicalize_name(name) for name, _, _ in cli.examine()}


# What nbdev makes of it

def test_nbdev_reads_pyproject_beside_settings_ini(settings, project):
    "From any folder of the checkout; nbdev 3 stops at a settings.ini that it finds alone"
    for folder in (ROOT, ROOT/"nbs", ROOT/"nbs"/"answers"):
        config = get_config(folder)
        assert config.config_file == ROOT/"pyproject.toml"
        assert config.lib_name == settings["package"]["name"]
        assert config.lib_path == (ROOT/settings["package"]["version_file"]).parent
        assert config.description == project["project"]["description"]
        assert config.git_url == project["project"]["urls"]["Repository"]
        assert config.doc_host+config.doc_baseurl == project["project"]["urls"]["Documentation"]


def test_nbdev_leaves_the_settings_alone(tmp_path):
    "An export, a cleaning and the set-up of the site write none of these files, not even the same"
    names = ["settings.ini", "setup.py", "pyproject.toml", "nbs/_quarto.yml", "nbs/nbdev.yml"]
    for name in [*names, "nbs/00_start.ipynb", "genesis_course/__init__.py"]:
        (tmp_path/name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT/name, tmp_path/name)
        os.utime(tmp_path/name, (0, 0))
    commands = Path(sys.executable).parent
    run(commands/"nbdev-export", cwd=tmp_path)
    run(commands/"nbdev-clean", cwd=tmp_path)
    run(sys.executable, "-c", "from nbdev.quarto import refresh_quarto_yml as f; f()", cwd=tmp_path)
    assert (tmp_path/"genesis_course"/"start.py").exists()
    assert [name for name in names if (tmp_path/name).stat().st_mtime] == []


# What is built

@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    "A copy of the source, so that building leaves nothing behind in the checkout"
    folder, left_out = tmp_path_factory.mktemp("tree"), shutil.ignore_patterns(".*", "__pycache__")
    for name in FOLDERS: shutil.copytree(ROOT/name, folder/name, ignore=left_out)
    for path in ROOT.iterdir():
        if path.is_file(): shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    "An sdist and the wheel that is built of it, without a network"
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, tree)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    path, = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    "A folder that the wheel was installed into"
    folder = tmp_path_factory.mktemp("site")
    run(*PIP, "--target", folder, wheel)
    return folder


def test_the_wheel_says_what_settings_ini_says(wheel, settings, project):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" in name]
        about = {Path(name).name: archive.read(name).decode() for name in names}
    said = email.message_from_string(about["METADATA"])
    assert said["Name"] == settings["package"]["name"]
    assert said["Version"] == get_config(ROOT).version
    assert said["Summary"] == project["project"]["description"]
    assert said["Requires-Python"] == project["project"]["requires-python"]
    lists = {"": settings["package"]["requirements"], **settings["extras"]}
    pairs = [(extra, line) for extra, text in lists.items() for line in lines(text)]
    wanted = {(extra, *parts(Requirement(line))) for extra, line in pairs}
    found, asked = set(), re.compile(r'extra == "(\w+)"|$')
    for one in map(Requirement, said.get_all("Requires-Dist")):
        found.add((asked.search(str(one.marker)).group(1) or "", *parts(one)))
    assert found == wanted
    points = configparser.ConfigParser()
    points.read_string(about["entry_points.txt"])
    commands = {group: lines(text) for group, text in settings["entry_points"].items()}
    assert points.sections() == list(commands)
    for group, named in commands.items():
        assert [f"{name} = {at}" for name, at in points[group].items()] == named
    assert {"LICENSE", "LICENSE-text"} <= set(about)


def test_the_wheel_carries_modules_weights_and_notebooks_and_nothing_else(wheel, tree):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    library, nbs = tree/"genesis_course", tree/"nbs"
    modules = [*library.rglob("*.py"), *library.glob("weights/*.safetensors")]
    books = [*nbs.glob("*.ipynb"), *nbs.glob("*.csv"), *nbs.glob("images/*"), *nbs.glob("demos/*.html")]
    wanted = {path.relative_to(tree).as_posix() for path in modules}
    wanted |= {f"genesis_course/notebooks/{path.relative_to(nbs).as_posix()}" for path in books}
    assert names == wanted


def test_the_sdist_carries_everything_that_a_test_run_needs(built, tree):
    path, = built.glob("*.tar.gz")
    with tarfile.open(path) as archive: found = archive.getmembers()
    names = {one.name.split("/", 1)[1] for one in found if not one.isdir()}
    files = [path for folder in FOLDERS for path in (tree/folder).rglob("*")
             if path.is_file() and path.parent.name != "__pycache__"]      # another test may have imported the tree
    wanted = {path.relative_to(tree).as_posix() for path in files}
    wanted |= {"settings.ini", "setup.py", "pyproject.toml", "constraints.txt", "MANIFEST.in"}
    wanted |= {"Makefile", "conftest.py", "_quarto.yml", "README.md", "CONTRIBUTING.md"}
    wanted |= {"CITATION.cff", "LICENSE", "LICENSE-text"}
    made = {name for name in names-wanted if "/" in name}
    assert wanted <= names and all(".egg-info/" in name for name in made), wanted-names


@pytest.mark.slow
def test_the_command_of_an_installed_wheel_needs_no_checkout(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", "GENESIS_DATA": ""}
    command = [sys.executable, site/"bin"/"genesis"]
    def genesis(*arguments): return run(*command, *arguments, cwd=tmp_path, env=environment)
    genesis("copy", "mine")
    chapters = {path.name for path in ROOT.glob("nbs/[0-9]*.ipynb")}
    assert chapters and chapters <= {path.name for path in (tmp_path/"mine").iterdir()}
    assert "All is well." in genesis("doctor")
    script = "from genesis_course import cli; print(cli.chapters_folder())"
    found = run(sys.executable, "-c", script, cwd=tmp_path, env=environment)
    assert found.strip() == str(site/"genesis_course"/"notebooks")


@pytest.mark.slow
def test_an_editable_installation_leads_to_the_source(tree, tmp_path):
    "With only the installed link on its path, Python finds the package in the source tree"
    make = "import sys; from setuptools.build_meta import build_editable as f; f(sys.argv[1])"
    run(sys.executable, "-c", make, tmp_path, cwd=tree)
    wheel, = tmp_path.glob("*.whl")
    run(*PIP, "--target", tmp_path/"site", wheel)
    script = f"""import site; from importlib.util import find_spec
site.addsitedir({str(tmp_path/'site')!r})
for name in ("cli", "exercises"): print(find_spec(f"genesis_course.{{name}}").origin)"""
    found = run(sys.executable, "-I", "-S", "-c", script)
    library = tree/"genesis_course"
    assert lines(found) == [str(library/"cli.py"), str(library/"exercises"/"__init__.py")]
