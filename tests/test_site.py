"""The site: what is set, what the page filter does, and a page in a browser, on a screen and on a telephone, light and dark.

With Quarto on the PATH the pages are Quarto's. Without it they are as near as pandoc, the course's own filter and the
theme's own rules come, in a frame of the same classes.
"""
import functools
import html
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path
from xml.etree import ElementTree
import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parent.parent
NBS = ROOT/"nbs"
SITE = yaml.safe_load((ROOT/"_quarto.yml").read_text(encoding="utf-8"))
OWN = ["theme.scss", "theme-dark.scss", "page.lua", "site.html", "404.qmd"]
THEMES = {"light": ["theme.scss"], "dark": ["theme-dark.scss", "theme.scss"]}         # as Quarto reads them: whoever is first decides


def part(name, kind):
    "The `defaults` or the `rules` of a theme file"
    found = re.search(rf"/\*-- scss:{kind} --\*/\n(.*?)(?=/\*--|\Z)", (NBS/name).read_text(encoding="utf-8"), re.DOTALL)
    return found.group(1)


def variables(theme):
    "What each variable of a theme is in the end"
    values = {}
    for name in THEMES[theme]:
        for variable, value in re.findall(r"^\$([\w-]+): (.+?) !default;", part(name, "defaults"), re.MULTILINE): values.setdefault(variable, value)
    for _ in range(3): values = {key: values.get(value.lstrip("$"), value) for key, value in values.items()}
    return values


def luminance(colour):
    "Relative luminance of #rrggbb (WCAG 2.1)"
    channels = np.array([int(colour[i:i+2], 16)/255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels/12.92, ((channels+0.055)/1.055)**2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high+0.05)/(low+0.05)


# ---- what is set

def test_every_colour_can_be_overridden_and_dark_knows_no_stranger():
    for name in ("theme.scss", "theme-dark.scss"):
        lines = [line for line in part(name, "defaults").splitlines() if line.startswith("$")]
        assert lines and all("!default;" in line for line in lines), f"{name}: without !default the dark theme is overwritten"
    light, dark = variables("light"), variables("dark")
    assert dark.keys() == light.keys() and SITE["format"]["html"]["theme"]["dark"] == ["cosmo", "theme.scss", "theme-dark.scss"]
    assert dark["body-bg"] != light["body-bg"] and dark["sidebar-bg"] != light["sidebar-bg"]


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out_from_its_ground(theme):
    is_ = variables(theme)
    pairs = [("body-color", "body-bg"), ("quiet", "body-bg"), ("link-color", "body-bg"), ("link-color", "code-bg"),
             ("code-color", "code-bg"), ("body-color", "code-block-bg"), ("sidebar-fg", "sidebar-bg"), ("sidebar-hl", "sidebar-bg"), ("footer-fg", "footer-bg")]
    ratios = {pair: round(contrast(is_[pair[0]], is_[pair[1]]), 2) for pair in pairs}
    assert min(ratios.values()) >= 4.5, ratios


def test_a_page_asks_nothing_of_another_host():
    for name in OWN:
        text = (NBS/name).read_text(encoding="utf-8")
        assert not re.findall(r"""(?:url\(|@import|src=|href=)\s*["']?https?:""", text), name
    assert SITE["format"]["html"]["html-math-method"] == "mathml"      # MathJax and KaTeX come from elsewhere
    assert variables("light")["web-font-path"] == "false"              # and so would the fonts of the theme beneath ours
    font = re.search(r'url\("([^"]+)"\)', part("theme.scss", "rules")).group(1)
    assert (NBS/font).read_bytes()[:4] == b"wOF2" and (NBS/font).stat().st_size < 400_000
    assert list((NBS/font).parent.glob("*LICENSE*")), "the font's licence goes with it"


def test_scripts_of_the_site_are_small():
    scripts = re.findall(r"<script>(.*?)</script>", (NBS/"site.html").read_text(encoding="utf-8"), re.DOTALL)
    assert len(scripts) == 3 and max(len(script) for script in scripts) < 2048


def entries(contents, depth=1):
    for entry in contents:
        if "contents" in entry: yield from entries(entry["contents"], depth+1)
        else: yield entry["href"], entry["text"], depth


def test_sidebar_numbers_chapters_and_folds_what_stands_behind_them():
    sidebar = SITE["website"]["sidebar"]
    for href, text, depth in entries(sidebar["contents"]):
        number = re.match(r"(?:answers/)?(\d+)([a-z]?)_", href)
        if number: assert text.startswith(f"{int(number.group(1))}{number.group(2)} · "), f"{href} is called {text!r}"
        assert (depth > sidebar["collapse-level"]) == href.startswith(("answers/", "backstage/")), href


def test_card_favicon_and_lost_page():
    for kind in ("open-graph", "twitter-card"):
        path = SITE["website"][kind]["image"]
        assert path.startswith("/"), "a relative path leads nowhere from answers/ and backstage/"
        with Image.open(NBS/path[1:]) as card: assert card.size == (1200, 630)
        assert (NBS/path[1:]).stat().st_size < 300_000 and SITE["website"][kind]["image-alt"]
    icon = ElementTree.parse(NBS/SITE["website"]["favicon"]).getroot()
    assert icon.tag.endswith("svg") and icon.get("viewBox")
    lost = (NBS/"404.qmd").read_text(encoding="utf-8")
    assert lost.startswith("---\ntitle: ")
    for target in re.findall(r"\]\((/[^)]+)\)", lost): assert (NBS/target[1:]).exists()


def test_card_is_what_the_script_draws():
    spec = importlib.util.spec_from_file_location("card", ROOT/"tools"/"card.py")
    card = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(card)
    drawn = np.asarray(card.draw_card(card.last_frame(NBS/"images"/"genesis.png")).convert("L"), dtype=float)
    with Image.open(NBS/"images"/"card.png") as stored: kept = np.asarray(stored.convert("L"), dtype=float)
    assert abs(drawn-kept).mean() < 4, "the film has changed: run python tools/card.py"


# ---- a page without Quarto

def fence(text): return "`"*(3+max([2]+[len(run) for run in re.findall(r"`{3,}", text)]))


def markdown_of(cell):
    "A processed cell in the form that Quarto hands to pandoc"
    text = "".join(cell["source"])
    if cell["cell_type"] != "code": return text
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#|"))
    alt = re.search(r'^#\| fig-alt: "(.*)"$', text, re.MULTILINE)
    bar = fence(code)
    parts = [] if re.search(r"^#\| echo: false$", text, re.MULTILINE) else [f"{bar} {{.python .cell-code}}\n{code}\n{bar}"]
    for output in cell.get("outputs", []):
        data = {kind: "".join(value) if isinstance(value, list) else value for kind, value in output.get("data", {}).items()}
        if "text/html" in data: shown = f"````{{=html}}\n{data['text/html']}\n````"
        elif "text/markdown" in data: shown = data["text/markdown"]
        elif "image/png" in data:
            words = f'{{fig-alt="{alt.group(1)}"}}' if alt else ""
            shown = f"![](data:image/png;base64,{data['image/png'].replace(chr(10), '')}){words}"
        else:
            shown = data.get("text/plain") or "".join(output.get("text", ""))
            bar = fence(shown)
            shown = f"{bar}\n{shown}\n{bar}"
        parts.append(f"::: {{.cell-output .cell-output-display}}\n{shown}\n:::")
    return ":::: {.cell}\n"+"\n\n".join(parts)+"\n::::"


# Quarto gives its filters a few names of its own, and writes `fig-alt` as `alt`.
PRELUDE = """quarto = {{ json = {{ decode = pandoc.json.decode }}, project = {{ directory = {folder!r}, offset = "." }} }}
local passes = dofile({filter!r})
table.insert(passes, {{ Image = function(image)
  image.attributes.alt = image.attributes["fig-alt"] or image.attributes.alt
  image.attributes["fig-alt"] = nil
  return image
end }})
return passes
"""
ELSEWHERE = ["https://cdn.example/require.min.js", "https://cdn.example/jquery.min.js", "https://cdn.example/dist/embed-amd.js"]


def pandoc_html(text, folder, widgets=None):
    "Markdown through pandoc and the course's filter, with the scripts that Quarto adds for a notebook with widgets"
    pypandoc = pytest.importorskip("pypandoc", reason="needs pandoc: pip install pypandoc_binary")
    (folder/"filter.lua").write_text(PRELUDE.format(folder=str(NBS), filter=str(NBS/"page.lua")), encoding="utf-8")
    raw = lambda text: "- |\n"+"\n".join("  "+line for line in f"```{{=html}}\n{text}\n```".splitlines())
    head = "\n".join(raw(f'<script src="{address}"></script>') for address in ELSEWHERE)
    after = raw(f'<script type=application/vnd.jupyter.widget-state+json>\n{json.dumps(widgets)}\n</script>') if widgets else "- ''"
    text = f"---\nheader-includes:\n{head}\ninclude-after:\n{after}\npagetitle: page\n---\n\n{text}\n"
    options = ["--standalone", "--section-divs", "--mathml", "--wrap=none", f"--lua-filter={folder/'filter.lua'}"]
    return pypandoc.convert_text(text, "html", format="markdown", extra_args=options)


def processed(path):
    "A notebook as nbdev hands it to Quarto, without running its cells"
    from fastcore.nbio import read_nb
    from nbdev.process import NBProcessor
    from nbdev.processors import FilterDefaults
    left_out = ("add_show_docs", "exec_show_docs", "add_fold", "mv_exports")
    steps = [step for step in FilterDefaults().base_procs() if step.__name__ not in left_out]
    notebook = read_nb(path)
    NBProcessor(nb=notebook, procs=steps, rm_directives="quarto").process()
    return notebook


def test_filter_keeps_the_pages_own_and_drops_what_comes_from_elsewhere(tmp_path):
    text = "# A heading\n\n[![Open it](https://cdn.example/badge.svg)](https://there.example)"
    page = pandoc_html(text, tmp_path, widgets={"state": {}})
    assert "cdn.example" not in page and "widget-state" not in page and "A heading" in page
    assert '<a href="https://there.example">Open it</a>' in page
    own = pandoc_html("[![Open it](images/badge.svg)](https://there.example)", tmp_path)
    assert re.search(r'<a href="https://there.example"><img src="images/badge.svg"[^>]* alt="Open it"', own) and "<figcaption" not in own


def test_filter_marks_where_a_name_is_defined_once(tmp_path):
    code = "```{.python .cell-code}\nclass Net(Module):\n    def forward(self, x):\n        return x\n\ndef train(net):\n    def inner(): pass\n```\n"
    page = pandoc_html(f"# Train\n\n{code}\n{code}", tmp_path)
    assert re.findall(r'<span id="([^"]+)"></span>', page) == ["net", "net.forward"] and page.count('id="train"') == 1


def test_filter_sets_functions_as_tex_does(tmp_path):
    tex = lambda source: re.search(r'application/x-tex">([^<]*)<', pandoc_html(f"${source}$", tmp_path)).group(1)
    assert tex(r"2\log 2") == r"2\,\log\, 2" and tex(r"\log(x)") == r"\log(x)" and tex(r"-\log D") == r"-\log\, D"
    assert tex(r"\min_G \max_{D} V") == r"\min_G\, \max_{D}\, V"
    for same in (r"\exp\big(x\big)", r"\sigma x"): assert tex(same) == same


def test_filter_gives_pictures_words_and_tables_a_box(tmp_path):
    caption = '```{=html}\n<p class="caption">Ten draws.</p>\n```'
    table = "|  | b |\n|---|---|\n| c | d |"
    page = pandoc_html(f"![Ten digits](a.png)\n\n::: {{.cell}}\n![](b.png)\n\n{caption}\n:::\n\n{table}\n", tmp_path)
    assert 'alt="Ten digits"' in page and "<figcaption" not in page and 'alt="Ten draws."' in page
    assert page.index('<div class="scroll"') < page.index("<table") and not re.search(r"<th[^>]*>\s*</th>", page)


# ---- pages in a browser

BASE = """
* {{ box-sizing: border-box }} html {{ font-size: {font-size-root} }}
body {{ margin: 0; background: {body-bg}; color: {body-color}; font-family: {font-family-sans-serif} }}
a {{ color: {link-color} }}
code {{ color: {code-color}; background: {code-bg}; font-size: .875em }}
pre, code {{ font-family: {font-family-monospace} }}
.sidebar {{ background: {sidebar-bg}; border: 1px solid #dee2e6 }}
.nav-footer {{ background: {footer-bg}; color: {footer-fg} }}
.visually-hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden }}
main {{ padding: 0 1.5rem; max-width: 920px }}
div.sourceCode {{ overflow-x: auto; background: {code-block-bg}; border-left: 3px solid {code-block-border-left} }}
pre {{ margin: 0 }}
pre > code {{ background: transparent; color: inherit }}
summary, figcaption {{ color: #6c757d }} .description {{ opacity: .9 }}
"""
FRAME = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>
<nav id="quarto-sidebar" class="sidebar sidebar-navigation docked">
<a class="sidebar-item-text sidebar-link" href="index.html">{title}</a></nav>
<main class="content" id="quarto-document-content">
<header id="title-block-header"><h1>{title}</h1><div class="description">{about}</div></header>
{body}</main>
<footer class="footer nav-footer">footer</footer>{script}</body></html>"""


def stand_in(path, folder):
    "One notebook as pages of both themes; gives their names"
    sass = pytest.importorskip("sass", reason="needs libsass: pip install libsass")
    notebook = processed(path)
    book = "\n\n".join(markdown_of(cell) for cell in notebook.cells[1:] if "".join(cell["source"]).strip())
    front = yaml.safe_load(notebook.cells[0]["source"].split("---")[1])
    page = pandoc_html(book, folder)
    body = page.split("<body>")[1].split("</body>")[0]
    made = {}
    for theme, files in THEMES.items():
        scss = "".join(part(name, "defaults") for name in files)+BASE.format_map({key: f"#{{${key}}}" for key in variables(theme)})
        scss += "".join(part(name, "rules") for name in reversed(files))
        made[theme] = f"{path.stem}-{theme}.html"
        words = {"title": html.escape(front["title"]), "about": html.escape(front.get("description", ""))}
        script = (NBS/"site.html").read_text(encoding="utf-8")
        page = FRAME.format(**words, style=sass.compile(string=scss), body=body, script=script)
        (folder/made[theme]).write_text(page, encoding="utf-8")
    shutil.copytree(NBS/"images", folder/"images", dirs_exist_ok=True)
    shutil.copytree(NBS/"fonts", folder/"fonts", dirs_exist_ok=True)
    return made


def by_quarto(paths, folder):
    "The same notebooks, rendered by Quarto; gives the pages' names"
    from fastcore.nbio import write_nb
    shutil.copytree(NBS, folder/"nbs", ignore=shutil.ignore_patterns("*.ipynb", ".quarto", "_*"))
    settings = dict(SITE, project={**SITE["project"], "render": [path.relative_to(NBS).as_posix() for path in paths]})
    settings["website"] = {**SITE["website"], "sidebar": {**SITE["website"]["sidebar"], "contents": settings["project"]["render"]}}
    (folder/"nbs"/"_quarto.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    names = {}
    for path in paths:
        place = folder/"nbs"/path.relative_to(NBS)
        place.parent.mkdir(exist_ok=True)
        notebook = processed(path)
        write_nb(notebook, place)
        name = yaml.safe_load(notebook.cells[0]["source"].split("---")[1]).get("output-file", f"{path.stem}.html")
        page = (path.parent/name).relative_to(NBS).as_posix()
        names[path] = dict.fromkeys(THEMES, page)
    subprocess.run(["quarto", "render", "--no-cache", "--output-dir", str(folder/"site")], cwd=folder/"nbs", check=True, capture_output=True)
    return names


# A chapter with its controls, mathematics, tables and exercises, one of each other kind.
SHOWN = [NBS/"13_adversarial.ipynb", NBS/"answers"/"15_genesis.ipynb", NBS/"backstage"/"06_practice.ipynb", NBS/"benchmarks.ipynb"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "An address and the name of the page of each notebook and theme"
    folder = tmp_path_factory.mktemp("site")
    if shutil.which("quarto"): names, folder = by_quarto(SHOWN, folder), folder/"site"
    else:
        names = {}
        for path in SHOWN:
            part_of = folder/path.relative_to(NBS).parent
            part_of.mkdir(exist_ok=True)
            names[path] = {theme: (path.relative_to(NBS).parent/name).as_posix() for theme, name in stand_in(path, part_of).items()}

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", names
    server.shutdown()


@pytest.mark.browser
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.relative_to(NBS).as_posix())
def test_page_reads_well_on_screen_and_telephone(browser, site, axe, path, theme):
    address, names = site
    for width in (1440, 390):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        page = context.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        if theme == "dark": page.add_init_script("try { localStorage.setItem('quarto-color-scheme', 'alternate') } catch (e) {}")
        page.goto(f"{address}/{names[path][theme]}")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb({}, {}, {})".format(*(int(variables(theme)["body-bg"][i:i+2], 16) for i in (1, 3, 5)))
        foreign = {url for url in asked if not url.startswith((address, "data:"))}
        assert not foreign, f"asks of another host: {sorted(foreign)}"
        assert not errors
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"scrolls sideways at {width} pixels"
        assert page.evaluate("document.querySelector('main').innerText.length") > 2000
        page.evaluate(axe)
        # The whole of axe once, without the thousands of coloured words of code; on the telephone what a narrow page changes.
        what = "document, {runOnly: ['scrollable-region-focusable']}" if width < 1000 else "{exclude: ['main code.sourceCode']}, {}"
        found = page.evaluate(f"axe.run({what})")["violations"]
        assert not found, "\n".join(f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"][:5])
        context.close()


@pytest.fixture
def chapter(browser, site):
    "The chapter's page, open; gives the page, and a function that opens it without its scripts"
    address, names = site
    opened = []
    def opening(**settings):
        opened.append(browser.new_context(viewport={"width": 390, "height": 900}, **settings))
        page = opened[-1].new_page()
        page.goto(f"{address}/{names[SHOWN[0]]['light']}")
        return page
    yield opening
    for context in opened: context.close()


@pytest.mark.browser
def test_a_control_moves_without_a_kernel(chapter):
    page = chapter()
    figure = page.locator("figure.moves")
    slider, seen = figure.locator("input[type=range]").last, lambda: figure.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    start = slider.input_value()
    slider.focus()
    page.keyboard.press("End")
    figure.locator("canvas[role=img]").wait_for()
    last, said = seen(), slider.get_attribute("aria-valuetext")
    assert figure.locator("output").last.inner_text() == said == json.loads(slider.get_attribute("data-shown"))[-1]
    assert len(figure.locator("canvas").get_attribute("aria-label")) > 20
    page.keyboard.press("Home")
    assert seen() != last
    box = slider.bounding_box()
    page.mouse.move(box["x"]+8, box["y"]+box["height"]/2)
    page.mouse.down()
    page.mouse.move(box["x"]+box["width"]-2, box["y"]+box["height"]/2, steps=5)
    page.mouse.up()
    assert seen() == last, "dragged to the end"
    slider.fill(start)
    same = """async figure => { const [first, canvas] = [new Image(), figure.querySelector("canvas")];
      first.src = figure.dataset.first; await first.decode();
      const pixels = source => { const copy = document.createElement("canvas"); [copy.width, copy.height] = [canvas.width, canvas.height];
        const pen = copy.getContext("2d"); pen.drawImage(source, 0, 0); return pen.getImageData(0, 0, copy.width, copy.height).data; };
      const [a, b] = [pixels(first), pixels(canvas)]; return a.every((value, i) => value == b[i]); }"""
    figure.evaluate("(figure, src) => { figure.dataset.first = src; }", chapter(java_script_enabled=False).locator("figure.moves img").get_attribute("src"))
    assert figure.evaluate(same), "back where it started, it shows the first picture"
    select = figure.locator("select").first
    before = seen()
    select.select_option(index=1)
    assert seen() != before


@pytest.mark.browser
def test_without_scripts_a_page_shows_the_first_picture_and_folded_answers(chapter):
    page = chapter(java_script_enabled=False)
    assert page.locator("figure.moves img").is_visible() and not page.locator("figure.moves fieldset").is_visible()
    remark = page.locator("fieldset.quiz").first.locator("details").nth(1)
    closed = remark.bounding_box()["height"]
    remark.locator("summary").click()
    assert remark.bounding_box()["height"] > closed


@pytest.mark.browser
def test_a_quiz_answers(chapter, axe):
    page = chapter()
    quiz = page.locator("fieldset.quiz[data-within]").first
    field, said = quiz.locator("input"), quiz.locator("[role=status]")
    for typed, word, shown in (("0.1", "Not yet.", 1), (" 0.2", "Right.", 1), ("0,2", "Right.", 1), ("7", "Not this number.", 0), ("", "Type a number.", 0)):
        field.fill(typed)
        field.press("Enter")
        assert said.inner_text() == word and quiz.locator("details:visible").count() == shown, typed
    quiz.get_by_text("Show answers").click()
    assert quiz.locator("details:visible").count() == 3
    choice = page.locator("fieldset.quiz:not([data-within])").first
    for each in choice.locator("summary").all():
        each.focus()
        page.keyboard.press("Enter")
    assert choice.locator("details[open]").count() == choice.locator("details").count() and choice.get_by_text("Right.").is_visible()
    page.evaluate(axe)
    found = page.evaluate("axe.run('fieldset.quiz, figure.moves')")["violations"]
    assert not found, "\n".join(f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"][:5])
