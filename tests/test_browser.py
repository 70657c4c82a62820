"""A learner's first hour, in a real browser: open the course, run a chapter to its end, move its control, solve an exercise."""
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import pytest

pytestmark = pytest.mark.browser
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs a browser: pip install playwright")
    if not chromium: pytest.skip("needs Chromium on the PATH")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        yield browser.new_page(viewport={"width": 1300, "height": 1000})
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab as `genesis lab` starts it, in a reader's copy; gives its address"
    from genesis_course.cli import copy_chapters, lab_command
    folder = tmp_path_factory.mktemp("reader")
    copy_chapters(folder/"my-course")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*lab_command(folder/"my-course", screen=False, port=port), "--ServerApp.token=reader", "--LabApp.expose_app_in_browser=True"]
    log = open(folder/"log", "w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GENESIS_HOME": str(folder/"home"), "JUPYTERLAB_SETTINGS_DIR": str(folder/"settings")})      # a theme that a test chooses is not the reader's
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/status?token=reader", timeout=2)
            break
        except OSError: time.sleep(0.25)
    yield address, folder
    server.terminate()
    server.wait(20)
    log.close()


NOTEBOOK = "window.jupyterapp.shell.currentWidget"
RUN_ALL = f"async () => {{ {NOTEBOOK}.context.sessionContext.ready && await {NOTEBOOK}.context.sessionContext.ready; await window.jupyterapp.commands.execute('notebook:run-all-cells'); }}"
OUTPUTS = f"() => JSON.stringify([...{NOTEBOOK}.content.model.cells].map(c => [c.type, c.sharedModel.getSource(), c.toJSON().outputs || []]))"


def open_chapter(page, lab, name):
    page.goto(f"{lab[0]}/lab/tree/{name}?token=reader&reset")
    page.wait_for_function(f"() => window.jupyterapp && {NOTEBOOK} && {NOTEBOOK}.content && {NOTEBOOK}.content.model && {NOTEBOOK}.content.model.cells.length > 20", timeout=60_000)


def outputs(page): return json.loads(page.evaluate(OUTPUTS))


def run_cell(page, index, source=None):
    "Put the cursor in a cell, type a new source if there is one, run it"
    if source is not None: page.evaluate(f"([i, text]) => {NOTEBOOK}.content.model.cells.get(i).sharedModel.setSource(text)", [index, source])
    page.evaluate(f"async (i) => {{ {NOTEBOOK}.content.activeCellIndex = i; await window.jupyterapp.commands.execute('notebook:run-cell'); }}", index)


def test_genesis_lab_opens_at_the_first_chapter(page, lab):
    page.goto(f"{lab[0]}/?token=reader")
    page.wait_for_function(f"() => window.jupyterapp && {NOTEBOOK} && {NOTEBOOK}.title.label === '00_start.ipynb'", timeout=60_000)
    assert "/lab/tree/00_start.ipynb" in page.url


def test_chapter_03_runs_to_its_end_its_control_moves_and_an_exercise_is_solved(page, lab):
    open_chapter(page, lab, "03b_training.ipynb")
    page.evaluate(RUN_ALL)
    cells = outputs(page)
    errors = ["".join(output["traceback"])[-400:] for _, _, outs in cells for output in outs if output["output_type"] == "error"]
    assert not errors, errors[0]
    blanks = [source for kind, source, outs in cells if re.search(r"^check\(", source, re.MULTILINE) and "Not yet" not in json.dumps(outs)]
    assert not blanks, f"answered before the reader did: {blanks}"
    slider = next(i for i, (_, source, _) in enumerate(cells) if re.search(r"^interact\(", source, re.MULTILINE))
    page.evaluate(f"async (i) => {{ {NOTEBOOK}.content.activeCellIndex = i; await {NOTEBOOK}.content.scrollToItem(i, 'start'); }}", slider)
    picture = page.locator(".jp-Cell.jp-mod-active .jupyter-widgets img").first
    picture.wait_for(timeout=30_000)
    before = picture.get_attribute("src")
    handle = page.locator(".jp-Cell.jp-mod-active .noUi-handle").first
    handle.focus()
    for _ in range(3): page.keyboard.press("ArrowLeft")
    page.wait_for_function("(old) => { const img = document.querySelector('.jp-Cell.jp-mod-active .jupyter-widgets img'); return img && img.src !== old; }", arg=before, timeout=30_000)

    from genesis_course import practice
    check = next(i for i, (_, source, _) in enumerate(cells) if source.startswith('check("training.1"'))
    name = re.match(r'check\("training.1", (\w+)\)', cells[check][1]).group(1)
    with contextlib.redirect_stdout(io.StringIO()) as printed: practice.solution("training.1")
    answer = printed.getvalue()
    gap = next(i for i in range(check-1, 0, -1) if re.search(rf"^(def|class) {name}\b|^{name} =", cells[i][1], re.MULTILINE))
    run_cell(page, gap, answer)
    run_cell(page, check)
    page.wait_for_function(f"(i) => JSON.stringify({NOTEBOOK}.content.model.cells.get(i).toJSON().outputs).includes('Right')", arg=check, timeout=30_000)
    assert "training.1" in (lab[1]/"home"/"progress.jsonl").read_text()
    if folder := os.environ.get("GENESIS_SCREENSHOTS"): page.screenshot(path=f"{folder}/chapter-03.png")


def test_a_live_model_plays_in_jupyterlab_and_is_as_dark_as_it(page, lab):
    open_chapter(page, lab, "00_start.ipynb")
    page.evaluate(f"async () => {{ await {NOTEBOOK}.context.sessionContext.ready; }}")
    first = next(i for i, (kind, _, _) in enumerate(outputs(page)) if kind == "code")
    run_cell(page, first, 'from genesis_course.play import play\nplay("genesis")')
    inside = page.frame_locator(".jp-OutputArea iframe")
    inside.locator("#status", has_text="Four clouds").wait_for(timeout=60_000)
    assert inside.locator("html").get_attribute("data-theme") == "light"
    page.evaluate("async () => { await window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'}); }")
    inside.locator("html[data-theme=dark]").wait_for(timeout=30_000)
    inside.locator("#digits").fill("7")
    inside.locator("#status", has_text="One cloud of 60 particles: 7.").wait_for(timeout=30_000)
