"""The live models: each page is what its sources and weights make, computes what PyTorch computes, and can be used by everybody.

The tests in a browser need Chromium and playwright, and are skipped, with a sentence, where these are missing.
"""
import base64
import functools
import gzip
import html
import http.server
import json
import re
import sys
import threading
from pathlib import Path
import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F
from genesis_course.attention import Transformer, attention_maps
from genesis_course.codeflow import load_creation
from genesis_course.creation import pushed
from genesis_course.evaluation import FeatureNet, read_digits
from genesis_course.genesis import Cloud, squash
from genesis_course.play import live_models, play
from genesis_course.rnn import next_probabilities
from genesis_course.stable_gan import ConvGenerator
from genesis_course.state import load_weights
from genesis_course.vae import VAE, dense_networks, to_images
from helpers import message_of

ROOT = Path(__file__).parent.parent
NBS = ROOT/"nbs"
sys.path.insert(0, str(ROOT/"tools"))
import demos                                                                     # noqa: E402

each_model = pytest.mark.parametrize("name", list(demos.MODELS))
in_browser = pytest.mark.browser
PLACES = {"genesis": "15_genesis", "gan": "09a_stable_gan", "vae": "07a_vae", "transformer": "06a_attention", "reader": "04a_cnn", "flow": "11b_diffusion", "levels": "20_levels", "composer": "19_music"}


def text_of(name): return (demos.DEMOS/f"{name}.html").read_text(encoding="utf-8")


# ---- the files

@each_model
def test_a_page_is_what_its_sources_and_weights_make(name):
    assert text_of(name) == demos.build(name), f"nbs/demos/{name}.html is out of step. Run: python tools/demos.py {name}"


def test_no_page_without_sources_and_no_sources_without_a_page():
    assert {path.stem for path in demos.DEMOS.glob("*.html")} == set(demos.MODELS)
    assert {path.stem for path in demos.SOURCES.glob("*.html")} == set(demos.MODELS)


FIRST = ["genesis", "gan", "vae", "reader", "transformer"]   # these share a budget; each later page has one of its own


def test_all_scripts_are_small():
    "Each page alone, what was written for the first five together, what each later one adds, and what all of them weigh on their way"
    scripts = {name: text_of(name).rsplit("<script>", 1)[1].split("</script>")[0] for name in demos.MODELS}
    own = {name: len(demos.close((demos.SOURCES/f"{name}.js").read_text(encoding="utf-8"))) for name in ["core", *demos.MODELS]}
    assert max(map(len, scripts.values())) < 30_000
    assert sum(own[name] for name in ["core", *FIRST]) + len((NBS/"site.html").read_text(encoding="utf-8")) < 60*1024
    assert all(own[name] < 12*1024 for name in demos.MODELS if name not in FIRST)
    assert sum(len(gzip.compress(scripts[name].encode())) for name in FIRST) < 45_000


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

def cloud_of(position): return Cloud(position.view(1, -1, 2), torch.zeros(1, len(position)//2, 0))


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
    generator, _ = load_creation()
    for k, label in enumerate([7, 2, 0, 4]):
        start = cloud_of(numbers(page, f"page.digits[{k}].steps[0]"))
        assert start.position.shape[1] == particles
        z = float(page.input_value("#noise"))*numbers(page, f"page.digits[{k}].z")[None]
        with torch.no_grad():
            path, hidden = generator.move(z, torch.tensor([label]), start)
            canvas = drawn(page, "", k)
            ours = (generator.draw(path[-1], hidden, canvas.shape[0])[0, 0]+1)/2
        for step, position in enumerate(path):
            assert (numbers(page, f"page.digits[{k}].steps[{step}]").view(1, -1, 2)-position).abs().max() < 1e-4
        print(f"digit {k}: {255*(canvas-ours).abs().mean():.2f} grey levels, positions {max((numbers(page, f'page.digits[{k}].steps[{s}]').view(1, -1, 2)-p).abs().max() for s, p in enumerate(path)):.1e}")
        assert 255*(canvas-ours).abs().mean() < 2.5, "grey levels between canvas and draw()"
    assert not page.faults


@in_browser
@pytest.mark.slow
def test_the_courses_reader_reads_typed_digits_off_the_canvas(visit):
    page, right = visit("genesis", width=1200), 0
    for text in ("01234", "56789", "98765", "43210"):
        page.fill("#digits", text)
        page.click("#new")
        pictures = [drawn(page, "", k)[None, None]*2-1 for k in range(5)]
        small = torch.cat([F.interpolate(x, (28, 28), mode="bicubic", antialias=True) for x in pictures])
        right += (read_digits(small) == torch.tensor([int(digit) for digit in text])).sum().item()
    assert right >= 17, f"{right} of 20 are read"


def by_the_button(position):
    "Every particle thrown as far as the button of the page throws it, in a direction by chance"
    far, angle = squash(position).square().sum(dim=-1, keepdim=True), 2*torch.pi*torch.rand(len(position), 1, 1)
    return (position+14*torch.exp(-far/(2*0.8**2))*0.25*torch.cat([angle.cos(), angle.sin()], dim=2)/4).clamp(-1.8, 1.8)


def by_a_mouse(position): return pushed(position, 1.2, 0.3).clamp(-1.8, 1.8)


@pytest.mark.parametrize("push", [by_the_button, by_a_mouse])
def test_the_law_alone_heals_ten_pushes(push):
    "What the page says of a push: nothing is put back, and nearly all digits are whole again"
    generator, _ = load_creation()
    labels = torch.arange(200) % 10
    for seed in range(3):
        torch.manual_seed(seed)
        z, cloud, read = 0.8*torch.randn(200, generator.latent_dim), generator.sample_cloud(200), []
        with torch.no_grad():
            for _ in range(11):
                path, hidden = generator.move(z, labels, cloud)
                read.append((read_digits(generator.draw(path[-1], hidden)) == labels).float().mean().item())
                cloud = Cloud(push(path[-1]), cloud.particle_noise)
        assert read[0] > 0.97 and min(read) > 0.95*read[0], read


@in_browser
@pytest.mark.slow
def test_ten_pushes_heal(visit):
    page, right = visit("genesis", width=1200), 0
    for text in ("01234", "56789", "98765", "43210"):
        page.fill("#digits", text)
        for _ in range(10): page.click("#push")
        small = torch.cat([F.interpolate(drawn(page, "", k)[None, None]*2-1, (28, 28), mode="bicubic", antialias=True) for k in range(5)])
        right += (read_digits(small) == torch.tensor([int(digit) for digit in text])).sum().item()
    assert right >= 17, f"{right} of 20 are read"


@in_browser
@pytest.mark.slow
def test_genesis_walks_streams_and_stops_where_it_is_asked_to(visit):
    page = visit("genesis")
    before = numbers(page, "page.digits[0].position")
    page.evaluate("document.getElementById('moment').value = 0; document.getElementById('moment').dispatchEvent(new Event('input'))")
    assert torch.equal(numbers(page, "page.digits[0].position"), numbers(page, "page.digits[0].cloud"))
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
@pytest.mark.parametrize("points", [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)], [(0.35, 0.2), (0.65, 0.25), (0.62, 0.45), (0.35, 0.8), (0.7, 0.8)]], ids=["a 7", "a 2"])
def test_the_cloud_redraws_a_digit_of_ones_own(visit, points):
    weights_ = pytest.importorskip("weights", reason="needs tools/weights.py and what it imports")
    page, encoder = visit("genesis"), weights_.DigitEncoder(**load_weights("creation_encoder")[1]["settings"])
    encoder.load_state_dict(load_weights("creation_encoder")[0])
    page.click("#draw")
    assert "Draw a digit" in status(page) and page.evaluate("getComputedStyle(page.context.canvas).touchAction") == "none"
    box = page.locator("#stage").bounding_box()
    left = box["x"]+(box["width"]-box["height"])/2
    page.mouse.move(left+points[0][0]*box["height"], box["y"]+points[0][1]*box["height"])
    page.mouse.down()
    for x, y in points[1:]: page.mouse.move(left+x*box["height"], box["y"]+y*box["height"], steps=12)
    page.mouse.up()
    page.wait_for_function("page.own && page.ready()")
    label = int(page.input_value("#digits"))
    assert label == {3: 7, 5: 2}[len(points)] and f"takes this for a {label}" in status(page)
    pixels, z = numbers(page, "page.own.pixels").view(1, 1, 28, 28), numbers(page, "page.digits[0].z")[None]
    with torch.no_grad(): code, logits = encoder(pixels)
    assert (code-z).abs().max() < 1e-3 and logits.argmax() == label
    generator, cloud = load_creation()[0].decoder, cloud_of(numbers(page, "page.digits[0].steps[0]"))
    with torch.no_grad():
        path, hidden = generator.move(z, torch.tensor([label]), cloud)
        redrawn = generator.draw(path[-1], hidden)
        others = load_creation()[0](torch.randn(20, 32), torch.full((20,), label))
    assert (numbers(page, "page.digits[0].position").view(1, -1, 2)-path[-1]).abs().max() < 1e-4 and read_digits(redrawn) == label
    assert (redrawn-pixels).square().mean() < 0.75*(others-pixels).square().mean(), "nearer to the drawing than other digits of the class are"
    page.click("#new")
    assert page.evaluate("page.own") is None and page.evaluate("getComputedStyle(page.context.canvas).touchAction") == "pan-y" and not page.faults


@in_browser
def test_a_finger_wipes_sideways_and_draws(visit):
    page = visit("genesis", width=390, still=False, touch=True)
    tools, box = page.context.new_cdp_session(page), page.locator("#stage").bounding_box()

    def wipe(points):
        for k, (x, y) in enumerate(points): tools.send("Input.dispatchTouchEvent", {"type": "touchMove" if k else "touchStart", "touchPoints": [{"x": x, "y": y}]})
        tools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wipe([(box["x"]+20+12*k, box["y"]+box["height"]/2) for k in range(15)])
    assert page.evaluate("page.mode") == "push"
    page.wait_for_function("page.ready()", timeout=20_000)
    page.click("#draw")
    box = page.locator("#stage").bounding_box()
    middle = box["x"]+box["width"]/2
    wipe([(middle, box["y"]+box["height"]*(0.15+0.05*k)) for k in range(15)])
    page.wait_for_function("page.own && page.ready()", timeout=20_000)
    assert page.input_value("#digits") == "1" and page.evaluate("scrollY") == 0 and not page.faults


@in_browser
def test_the_address_may_name_the_digits(visit, server):
    page = visit("genesis", address=f"{server[0]}/genesis.html#807")
    assert page.evaluate("page.labels") == [8, 0, 7]
    page = visit("genesis", address=f"{server[0]}/genesis.html#8x7")
    assert page.evaluate("page.labels") == [2, 0, 2, 6] and "“x” is none of them" in status(page)


@in_browser
def test_arrow_keys_push(visit):
    page = visit("genesis", still=False)
    page.focus("#stage")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("page.mode") == "push" and page.evaluate("page.digits[0].velocity.some(v => v < 0)")


# ---- the conditional GAN

@in_browser
def test_gan_draws_what_pytorch_draws(visit):
    page, (weights, about) = visit("gan"), load_weights("conditional_gan")
    network = ConvGenerator(**about["settings"])
    network.load_state_dict(weights)
    network.eval()
    codes = torch.stack([numbers(page, f"page.tiles[{k}].code") for k in range(0, 40, 7)])
    drawn = torch.stack([numbers(page, f"page.model.draw(page.tiles[{k}].code)") for k in range(0, 40, 7)]).view(-1, 1, 28, 28)
    with torch.no_grad(): ours = network.layers(network.stem(codes))
    print(f"pixels differ by {(drawn-ours).abs().max():.1e}")
    assert (drawn-ours).abs().max() < 1e-3
    labels = torch.tensor(page.evaluate("page.tiles.map(tile => tile.label)"))
    noise = torch.stack([numbers(page, f"page.tiles[{k}].z") for k in range(40)])
    with torch.no_grad(): wall = network(noise, labels)
    assert torch.equal(codes[:, 32:], weights["label.weight"][labels[::7]]) and (wall[::7]-ours).abs().max() < 1e-5
    shown = torch.stack([numbers(page, f"page.tiles[{k}].picture.getContext('2d').getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 3)") for k in range(40)])
    assert (shown-127.5*(wall.flatten(1)+1)).abs().max() < 1.01 and (read_digits(wall) == labels).float().mean() > 0.85


@in_browser
@pytest.mark.slow
def test_gan_walks_from_one_digit_to_the_other(visit):
    page = visit("gan")
    page.click("#wall button:nth-child(6)")
    assert status(page) == "From an 8 to a 5."
    assert page.evaluate("page.share") == 1 and page.get_attribute("#wall button:nth-child(6)", "aria-pressed") == "true"
    page.wait_for_function("page.ready()")
    ends = [numbers(page, f"page.model.draw(page.{end}.code)") for end in ("from", "to")]
    line = [numbers(page, f"page.model.draw(page.line[{k}])") for k in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(ends[1:], line[1:])) and not page.faults
    page.select_option("#kind", "7")
    page.wait_for_function("page.ready()")
    assert page.evaluate("page.tiles.every(tile => tile.label === 7)")
    moving = visit("gan", still=False)
    before = moving.evaluate("page.share")
    moving.wait_for_function(f"Math.abs(page.share - {before}) > 0.05", timeout=10_000)


# ---- the plane

@in_browser
def test_planes_draw_what_pytorch_draws(visit):
    page, (weights, about) = visit("vae"), load_weights("planes")
    vae, plain = VAE(20, 2, about["hidden"]), torch.nn.ModuleDict(dict(zip(("encoder", "decoder"), dense_networks(20, 2, 2, about["hidden"]))))
    for name, network in (("vae", vae), ("plain", plain)): network.load_state_dict({key.removeprefix(name+"."): value for key, value in weights.items() if key.startswith(name+".")})
    for map_, decode, reach in (("vae", vae.decode, 3), ("plain", plain["decoder"], 60)):
        codes = (reach*torch.randn(50, 2)).half().float()
        drawn = numbers(page, f"page.decoders.{map_}.draw(Float32Array.from({codes.flatten().tolist()}))").view(50, 1, 20, 20)
        with torch.no_grad(): ours = to_images(decode(codes))
        print(f"{map_}: pixels differ by {(drawn-ours).abs().max():.1e}")
        assert (drawn-ours).abs().max() < 1e-3
    shares = {name: f"{round(100*share)} %" for name, share in about["commonest_digit"].items()}
    assert {name: page.text_content(f"#of-{name}-is") for name in shares} == shares and about["commonest_digit"]["plain"] > 2*about["commonest_digit"]["vae"]


@in_browser
def test_planes_follow_hand_and_keys(visit):
    page = visit("vae")
    box = page.locator("#plain").bounding_box()
    page.mouse.move(box["x"]+box["width"]*0.25, box["y"]+box["height"]*0.25)
    page.mouse.down()
    page.mouse.up()
    assert abs(page.evaluate("page.u")+0.5) < 0.02 and abs(page.evaluate("page.v")-0.5) < 0.02 and "draws the code" in status(page)
    page.focus("#vae")
    page.keyboard.press("ArrowRight")
    assert abs(page.evaluate("page.u")+0.47) < 0.02
    before = page.evaluate("page.maps[0].drawn")
    page.click("#random")
    page.click("#dots")
    assert page.evaluate("page.maps[0].drawn") != before and page.evaluate("page.dots") and "encoder put it" in status(page)
    assert not page.faults


# ---- the reader

@in_browser
@pytest.mark.slow
def test_reader_reads_as_pytorch_reads(visit):
    page, network = visit("reader"), FeatureNet()
    network.load_state_dict(load_weights("features")[0])
    network.eval()
    right = 0
    for digit in range(10):
        page.evaluate(f"page.example({digit})")
        page.wait_for_function("page.ready()" if digit % 3 == 0 else "!page.script.length && page.logits")
        seen = numbers(page, "page.pixels").view(1, 1, 28, 28)
        with torch.no_grad(): logits = network(seen)[0]
        assert (numbers(page, "page.logits")-logits).abs().max() < 1e-3
        right += page.evaluate("page.answer") == digit
        ours = []
        for spot in page.evaluate("page.spots.filter((spot, k) => spot.loss && k % 10 === 0).map(spot => [spot.i, spot.j, [...spot.loss]])"):
            covered = seen.clone()
            covered[..., max(0, spot[0]-2):spot[0]+3, max(0, spot[1]-2):spot[1]+3] = -1
            with torch.no_grad(): pair = [x-torch.stack([x[torch.arange(10) != c].logsumexp(0) for c in range(10)]) for x in (logits, network(covered)[0])]
            ours.append((pair[0]-pair[1]-torch.tensor(spot[2])).abs().max())
        assert max(ours, default=0) < 1e-3
    assert right >= 9, f"{right} of the ten examples are read"
    assert not page.faults


@in_browser
def test_reader_reads_what_a_mouse_and_what_arrow_keys_draw(visit):
    page = visit("reader")
    page.click("#clear")
    assert "clean sheet" in status(page) and page.evaluate("page.logits") is None
    box = page.locator("#paper").bounding_box()
    at = lambda x, y: (box["x"]+x*box["width"], box["y"]+y*box["height"])
    page.mouse.move(*at(0.3, 0.2))
    page.mouse.down()
    for x, y in ((0.7, 0.2), (0.45, 0.85)): page.mouse.move(*at(x, y), steps=12)
    page.mouse.up()
    assert status(page).startswith("It reads a 7")
    page.wait_for_function("page.ready()")
    page.click("#classes button:nth-child(2)")
    assert "Why not a 1?" in status(page)
    page.click("#clear")
    page.focus("#paper")
    page.keyboard.press(" ")
    for _ in range(13): page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert status(page).startswith("It reads a 1")
    page.click("#clear")
    page.mouse.click(*at(0.5, 0.5))                            # a dot is no digit, but no reason to fall over
    assert status(page).startswith("It ") and not page.faults


# ---- the Transformer

@pytest.fixture(scope="module")
def language():
    weights, about = load_weights("transformer")
    network = Transformer(len(about["vocabulary"]), **about["settings"])
    network.load_state_dict(weights)
    return network.eval(), about["vocabulary"]


@in_browser
def test_transformer_says_and_looks_as_pytorch_does(visit, language):
    network, vocabulary = language
    page = visit("transformer")
    text = "".join(page.evaluate("page.letters.map(letter => letter.letter)"))
    assert len(text) > 400
    ids = torch.tensor([[list(vocabulary).index(letter) for letter in text]])
    with torch.no_grad(): logits = network(ids)[0][0]
    maps = attention_maps(network, ids)[:, 0].flatten(0, 1)                    # [layers·heads, T, T]
    worst = looks = 0
    for k in (0, 1, 5, 63, 64, 65, 200, len(text)-1):
        worst = max(worst, (numbers(page, f"page.letters[{k}].said.logits")-logits[k]).abs().max().item())
        for head in range(8):
            look = numbers(page, f"page.letters[{k}].said.looks[{head}]")
            looks = max(looks, (look-maps[head, k, k+1-len(look):k+1]).abs().max().item())
    print(f"logits differ by {worst:.1e}, attention by {looks:.1e}")
    assert worst < 1e-3 and looks < 1e-4
    for temperature, top_p in ((0.3, 1), (0.8, 0.9), (1.7, 0.5), (1., 0.05)):
        ours = next_probabilities(logits[100], temperature, top_p=top_p)
        assert (numbers(page, f"page.chances(page.letters[100].said.logits, {temperature}, {top_p})")-ours).abs().max() < 1e-4
    assert not page.faults


@in_browser
@pytest.mark.parametrize(("text", "words"), [("", "how it should begin"), ("   ", "how it should begin"), ("中文", "“中” is not among the 103 characters")])
def test_transformer_answers_bad_input_with_a_sentence(visit, text, words):
    page = visit("transformer")
    page.fill("#prompt", text)
    page.click("#again")
    assert words in status(page) and page.locator("#text span").count() > 100 and not page.faults


@in_browser
def test_transformer_goes_on_by_itself_and_says_where_it_looked(visit):
    page = visit("transformer")
    page.fill("#prompt", "If the list is empty")
    page.wait_for_function("document.getElementById('text').textContent.startsWith('If the list is empty') && page.letters.length > 200", timeout=20_000)
    page.wait_for_function("page.ready()")
    page.focus("#text")
    page.keyboard.press("ArrowLeft")
    assert "this head looked most" in status(page) and page.locator("#chances li").count() >= 1
    page.select_option("#head", "2")
    assert "this head looked most" in status(page)
    page.click("#more")
    page.wait_for_function("page.letters.length > 600", timeout=20_000)
    assert not page.faults


# ---- in a notebook

def test_play_shows_the_page_and_refuses_a_stranger():
    assert set(live_models()) == set(demos.MODELS)
    for name in demos.MODELS: assert html.escape(text_of(name)) in play(name).data
    for stranger in ("gans", None, ["gan"]): message_of(lambda: play(stranger), "No live model is called", "There are: "+", ".join(sorted(demos.MODELS))+".")


@in_browser
def test_a_page_from_play_works_inside_a_dark_notebook(browser):
    page, asked = browser.new_page(bypass_csp=True), []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(f'<body data-jp-theme-light="false">{play("genesis").data}</body>')
    frame = page.frames[-1]
    frame.wait_for_function("window.page && document.documentElement.dataset.theme === 'dark'")
    assert frame.locator("#status").inner_text() and all(url.startswith(("data:", "about:")) for url in asked)
    page.close()


# ---- what holds for all

@in_browser
@each_model
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 900])
def test_everybody_can_use_the_page(visit, axe, name, width, theme):
    page = visit(name, width=width, theme=theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width and page.evaluate("document.documentElement.dataset.theme") == theme
    page.evaluate(axe)
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


@in_browser
@each_model
@pytest.mark.alone
def test_a_page_is_quick(browser, server, name):
    "Time of the processor, not of the clock: until the model is there, and a frame; four times as much is still less than a second, and two frames of sixty"
    window = browser.new_context(viewport={"width": 900, "height": 850}, bypass_csp=True)
    page = window.new_page()
    page.add_init_script("window.count = 0; const ask = window.requestAnimationFrame.bind(window); window.requestAnimationFrame = f => ask(now => { f(now); window.count++; });")
    tools = window.new_cdp_session(page)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    spent = lambda: next(1000*each["value"] for each in tools.send("Performance.getMetrics")["metrics"] if each["name"] == "TaskDuration")
    page.goto(f"{server[0]}/{name}.html")
    page.wait_for_function("window.page")
    start = spent()
    page.wait_for_timeout(4000)
    page.evaluate({"genesis": "document.getElementById('stream').click()", "transformer": "document.getElementById('more').click()"}.get(name, "0"))
    before, frames = spent(), page.evaluate("count")
    page.wait_for_timeout(2000)
    frames = page.evaluate("count")-frames
    each = (spent()-before)/max(frames, 1)
    print(f"{name}: {start:.0f} ms until it is there, {each:.1f} ms a frame")
    assert start < 600 and (each < 8 or frames < 20), f"{start:.0f} ms until it is there, {each:.1f} ms in each of {frames} frames"
    window.close()
