"""The live models: each page is what its sources and weights make, computes what PyTorch computes, and can be used by everybody.

The tests in a browser need Chromium and playwright, and are skipped, with a sentence, where these are missing.
"""
import base64
import functools
import http.server
import json
import re
import shutil
import sys
import threading
from pathlib import Path
import numpy as np
import pytest
import torch
import yaml
from genesis_course.evaluation import read_digits
from genesis_course.genesis import Cloud, load_genesis, squash

ROOT = Path(__file__).parent.parent
NBS = ROOT/"nbs"
sys.path.insert(0, str(ROOT/"tools"))
import demos                                                                     # noqa: E402

each_model = pytest.mark.parametrize("name", list(demos.MODELS))
in_browser = pytest.mark.browser
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLACES = {"genesis": "15_genesis", "gan": "09a_stable_gan", "vae": "07a_vae", "transformer": "06a_attention", "reader": "04a_cnn"}


def text_of(name): return (demos.DEMOS/f"{name}.html").read_text(encoding="utf-8")


# ---- the files

@each_model
def test_a_page_is_what_its_sources_and_weights_make(name):
    assert text_of(name) == demos.build(name), f"nbs/demos/{name}.html is out of step. Run: python tools/demos.py {name}"


def test_no_page_without_sources_and_no_sources_without_a_page():
    assert {path.stem for path in demos.DEMOS.glob("*.html")} == set(demos.MODELS)
    assert {path.stem for path in demos.SOURCES.glob("*.html")} == set(demos.MODELS)


def test_all_scripts_together_are_small():
    scripts = [text_of(name).rsplit("<script>", 1)[1].split("</script>")[0] for name in demos.MODELS]
    assert sum(map(len, scripts)) + len((NBS/"site.html").read_text(encoding="utf-8")) <= 60_000*max(1, len(scripts)/5), [len(script) for script in scripts]


@each_model
def test_a_page_asks_nothing_of_another_host(name):
    page = text_of(name)
    assert "default-src 'none'" in page and not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:|//)|@import|url\(|fetch\(|XMLHttpRequest|importScripts|\bimport\(""", page)


@each_model
def test_the_site_carries_the_page_and_shows_it_in_its_chapter(name):
    assert "demos/*.html" in yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))["project"]["resources"]
    frames = re.findall(r'<iframe [^>]*src=\\?"demos/(\w+)\.html\\?"[^>]*>', (NBS/f"{PLACES[name]}.ipynb").read_text(encoding="utf-8"))
    assert frames == [name]
    book = json.loads((NBS/f"{PLACES[name]}.ipynb").read_text(encoding="utf-8"))
    frame = next(match for cell in book["cells"] if (match := re.search(r"<iframe [^>]*>", "".join(cell["source"]))))
    assert 'loading="lazy"' in frame[0] and re.search(r'title="[^"]{15,}"', frame[0])


# ---- in a browser

@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs a browser: pip install playwright")
    if not chromium: pytest.skip("needs Chromium on the PATH")
    with playwright.sync_playwright() as engine:
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server():
    "The pages over http, and what was asked for"
    asked = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): asked.append(self.path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(demos.DEMOS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


@pytest.fixture
def visit(browser, server):
    "visit(name, …) opens a page in a window of its own and waits until its model is there; its errors are in `page.faults`"
    opened = []

    def visit(name, width=900, theme="light", still=True, address=None, wait=True, script=None, touch=False):
        window = browser.new_context(viewport={"width": width, "height": 850}, color_scheme=theme, reduced_motion="reduce" if still else "no-preference",
                                     bypass_csp=True, has_touch=touch)          # only so that a test may look inside
        opened.append(window)
        page = window.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
        if script: page.add_init_script(script)
        page.goto(address or f"{server[0]}/{name}.html")
        if wait: page.wait_for_function("window.page && !document.body.classList.contains('failed') && page.ready()", timeout=60_000)
        return page
    yield visit
    for window in opened: window.close()


def status(page): return page.inner_text("#status")


def numbers(page, expression):
    "A Float32Array of the page"
    data = page.evaluate(f"(() => {{ const x = Float32Array.from({expression}); let s = ''; new Uint8Array(x.buffer).forEach(b => s += String.fromCharCode(b)); return btoa(s); }})()")
    return torch.from_numpy(np.frombuffer(base64.b64decode(data), dtype=np.float32).copy())


# ---- the genesis particle

def drawn(page, expression, digit=0):
    "The square of a digit on the canvas, as coverage in [0, 1]"
    box = page.evaluate(f"(() => {{ const s = Math.floor(page.side), [x, y] = page.corner({digit}); return [s, ...page.context.getImageData(Math.round(x), Math.round(y), s, s).data.filter((_, i) => i % 4 === 3)]; }})()")
    return torch.tensor(box[1:], dtype=torch.float32).view(box[0], box[0])/255


@in_browser
@pytest.mark.parametrize("particles", [40, 200])
def test_genesis_moves_and_paints_as_the_library_does(visit, particles):
    page = visit("genesis")
    page.fill("#particles", str(particles))
    page.fill("#digits", "7204")
    generator, _ = load_genesis()
    for k, label in enumerate([7, 2, 0, 4]):
        start, noise = numbers(page, f"page.digits[{k}].steps[0]").view(1, -1, 2), numbers(page, f"page.digits[{k}].cloud.noise").view(1, particles, 8)
        z = float(page.input_value("#noise"))*numbers(page, f"page.digits[{k}].z")[None]
        with torch.no_grad():
            path, hidden = generator.move(z, torch.tensor([label]), Cloud(start, noise))
            canvas = drawn(page, "", k)
            ours = (generator.draw(path[-1], hidden, canvas.shape[0])[0, 0]+1)/2
        for step, position in enumerate(path):
            assert (numbers(page, f"page.digits[{k}].steps[{step}]").view(1, -1, 2)-position).abs().max() < 1e-4
        print(f"digit {k}: {255*(canvas-ours).abs().mean():.2f} grey levels, positions {max((numbers(page, f'page.digits[{k}].steps[{s}]').view(1, -1, 2)-p).abs().max() for s, p in enumerate(path)):.1e}")
        assert 255*(canvas-ours).abs().mean() < 2.5, "grey levels between canvas and draw()"
    assert not page.faults


@in_browser
def test_the_courses_reader_reads_typed_digits_off_the_canvas(visit):
    page, right = visit("genesis", width=1200), 0
    for text in ("01234", "56789", "98765", "43210"):
        page.fill("#digits", text)
        page.click("#new")
        pictures = [drawn(page, "", k)[None, None]*2-1 for k in range(5)]
        small = torch.cat([torch.nn.functional.interpolate(x, (28, 28), mode="bicubic", antialias=True) for x in pictures])
        right += (read_digits(small) == torch.tensor([int(digit) for digit in text])).sum().item()
    assert right >= 17, f"{right} of 20 are read"


def test_the_law_alone_repairs_fewer_than_half_and_after_seventy_percent_nearly_all():
    "What the page says of a push: every particle is thrown as far as the button throws it, in a direction by chance"
    generator, _ = load_genesis()
    labels = torch.arange(200) % 10
    for seed in range(3):
        torch.manual_seed(seed)
        z, cloud, angle = 0.8*torch.randn(200, generator.latent_dim), generator.sample_cloud(200), 2*torch.pi*torch.rand(200, 1, 1)

        def follow(start):
            with torch.no_grad(): path, hidden = generator.move(z, labels, Cloud(start, cloud.particle_noise))
            return path[-1], (read_digits(generator.draw(path[-1], hidden)) == labels).float().mean().item()
        position, whole = follow(cloud.position)
        far = squash(position).square().sum(dim=-1, keepdim=True)
        thrown = (position+14*torch.exp(-far/(2*0.8**2))*0.25*torch.cat([angle.cos(), angle.sin()], dim=2)/4).clamp(-1.8, 1.8)
        alone, eased = follow(thrown)[1], follow(thrown.lerp(cloud.position, 0.7))[1]
        assert whole > 0.97 and alone < 0.5 and eased > 0.95, (whole, alone, eased)


@in_browser
def test_a_push_heals(visit):
    page = visit("genesis", width=1200)
    page.fill("#digits", "35820")
    right = []
    for _ in range(3):
        page.click("#push")
        small = torch.cat([torch.nn.functional.interpolate(drawn(page, "", k)[None, None]*2-1, (28, 28), mode="bicubic", antialias=True) for k in range(5)])
        right.append((read_digits(small) == torch.tensor([3, 5, 8, 2, 0])).sum().item())
    assert sum(right) >= 13, right


@in_browser
def test_genesis_walks_streams_and_stops_where_it_is_asked_to(visit):
    page = visit("genesis")
    before = numbers(page, "page.digits[0].position")
    page.evaluate("document.getElementById('moment').value = 0; document.getElementById('moment').dispatchEvent(new Event('input'))")
    assert torch.equal(numbers(page, "page.digits[0].position"), numbers(page, "page.digits[0].cloud.position"))
    page.evaluate("document.getElementById('walk').value = 1; document.getElementById('walk').dispatchEvent(new Event('input'))")
    assert "100 %" in status(page) and "1 9 8 4" in status(page)
    assert (numbers(page, "page.digits[0].position")-before).abs().max() > 0.1
    moving = visit("genesis", still=False)
    moving.click("#stream")
    assert moving.evaluate("page.mode") == "flow"
    moving.wait_for_function("page.mode === 'rest'", timeout=20_000)
    box = moving.locator("#stage").bounding_box()
    moving.mouse.move(box["x"]+20, box["y"]+box["height"]/2)
    moving.mouse.move(box["x"]+200, box["y"]+box["height"]/2, steps=8)
    assert moving.evaluate("page.mode") == "push"
    moving.wait_for_function("page.mode === 'rest'", timeout=20_000)
    assert not moving.faults


@in_browser
@pytest.mark.parametrize(("field", "text", "words"), [("digits", "2a", "“a” is none of them"), ("digits", "", "nothing to draw"), ("digits", "123456789", "At most 8"), ("digits", "½", "“½”"),
                                                     ("particles", "10000", "10 to 400"), ("particles", "", "10 to 400"), ("particles", "40.5", "whole number"), ("goal", "x", "“x”")])
def test_genesis_answers_bad_input_with_a_sentence(visit, field, text, words):
    page = visit("genesis")
    before = drawn(page, "")
    page.fill(f"#{field}", text)
    assert words in status(page) and page.evaluate("document.getElementById('status').classList.contains('wrong')")
    assert torch.equal(drawn(page, ""), before) and before.max() > 0.9, "the picture stays"
    assert not page.faults


@in_browser
def test_arrow_keys_push(visit):
    page = visit("genesis", still=False)
    page.focus("#stage")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("page.mode") == "push" and page.evaluate("page.digits[0].velocity.some(v => v < 0)")


# ---- what holds for all

@in_browser
@each_model
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900])
def test_everybody_can_use_the_page(visit, name, width, theme):
    package = pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
    page = visit(name, width=width, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width and page.evaluate("document.documentElement.dataset.theme") == theme
    page.evaluate((Path(package.__file__).parent/"axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert not found, [(one["id"], [node["html"][:90] for node in one["nodes"]]) for one in found]
    small = page.evaluate("[...document.querySelectorAll('button, input, select, textarea')].filter(x => x.offsetParent && x.getBoundingClientRect().height < 44).map(x => x.id || x.outerHTML)")
    assert not small, f"lower than 44 pixels: {small}"
    assert page.evaluate("document.getElementById('status').getAttribute('aria-live')") == "polite" and len(status(page)) > 10
    assert page.evaluate("[...document.querySelectorAll('canvas.stage')].every(x => getComputedStyle(x).touchAction === 'pan-y' || x.classList.contains('paper'))")
    assert not page.faults


@in_browser
@each_model
def test_a_page_makes_one_request_and_obeys_its_own_policy(browser, server, name):
    page, asked = browser.new_page(), []
    faults = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    page.goto(f"{server[0]}/{name}.html")
    page.wait_for_timeout(1500)
    assert [url for url in asked if not url.startswith("data:")] == [f"{server[0]}/{name}.html"] and not faults
    assert "Loading" not in status(page)
    page.close()


@in_browser
@each_model
def test_a_fault_becomes_a_sentence(visit, name, tmp_path):
    damaged, lost, text = tmp_path/"damaged.html", tmp_path/"lost.html", text_of(name)
    place = text.index('octet-stream">')+20_000
    damaged.write_text(text[:place]+("A" if text[place] != "A" else "B")+text[place+1:], encoding="utf-8")
    lost.write_text(re.sub(r'(octet-stream">)[^<]*', r"\1", text), encoding="utf-8")
    for path in (damaged, lost):
        page = visit(name, address=path.as_uri(), wait=False)
        assert "missing or damaged" in status(page) and not page.is_visible(".works")
    page = visit(name, wait=False, script="delete window.ResizeObserver")
    assert "browser lacks" in status(page) and not page.is_visible(".works")
    page = visit(name, wait=False, script="HTMLCanvasElement.prototype.getContext = () => null")
    assert "browser lacks" in status(page)
    (tmp_path/"old.html").write_text(text.replace("<script>\n", "<script>\n(;\n"), encoding="utf-8")
    assert "too old" in status(visit(name, address=(tmp_path/"old.html").as_uri(), wait=False))


@in_browser
@each_model
def test_a_frame_is_as_high_as_its_page_and_as_dark_as_what_is_around(browser, server, tmp_path, name):
    page = browser.new_page(viewport={"width": 800, "height": 900}, bypass_csp=True)
    page.goto(f"{server[0]}/{name}.html")
    page.set_content(f'<body class="quarto-dark"><iframe src="{server[0]}/{name}.html" title="live" style="width:100%"></iframe></body>')
    frame = page.frames[-1]
    frame.wait_for_function("document.documentElement.dataset.theme === 'dark' && document.documentElement.classList.contains('framed')")
    page.wait_for_function("(() => { const f = document.querySelector('iframe'), b = f.contentDocument.body; return Math.abs(f.clientHeight - b.getBoundingClientRect().height) < 4; })()")
    page.evaluate("document.body.className = 'quarto-light'")
    frame.wait_for_function("document.documentElement.dataset.theme === 'light'")
    page.close()
