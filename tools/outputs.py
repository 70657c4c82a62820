"""Run the notebooks in a real kernel, store their outputs, and make the pictures and the README from them.

usage: python tools/outputs.py [--controls] [notebook ...]

Without notebooks: all of them. With --controls only what `interact` shows is stored anew; cells below the last control are not run.
"""
import base64
import copy
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbdev.clean import nbdev_clean
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/"nbs"
CONTROL = re.compile(r"^@?interact\(", re.MULTILINE)
STORING = "from genesis_course.controls import store_controls\nstore_controls()"


def order(path): return {"backstage": 0, "answers": 2}.get(path.parent.name, 1), path.name == "index.ipynb", path.name


def run(path, controls_only=False):
    "Execute one notebook in its own folder and store what its cells show"
    notebook = nbformat.read(path, as_version=4)
    controls = [number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code" and CONTROL.search(cell.source)]
    stored = controls if controls_only else range(len(notebook.cells))
    if not stored: return
    book = copy.deepcopy(notebook)
    book.cells = [nbformat.v4.new_code_cell(STORING if controls else "pass"), *book.cells[:max(stored)+1]]
    started = time.perf_counter()
    # On a busy machine nbclient now and then overlooks the reply of a cell and finds it when its time is up.
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    print(f"{path.relative_to(ROOT)}: {time.perf_counter()-started:.0f} s", flush=True)
    for number in stored:
        cell = notebook.cells[number] = book.cells[number+1]
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr": print(f"  cell {number} writes to stderr: {output.text[:120]!r}")
            if number in controls and "text/html" in output.get("data", {}): print(f"  a control of {len(output.data['text/html']):,} bytes")
    lighten(notebook)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)
    nbdev_clean(str(path))


def lighten(notebook):
    "The same pictures in smaller files"
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = base64.b64encode(lighter(base64.b64decode(output.data["image/png"]))).decode()+"\n"


def lighter(png):
    "The same picture in a smaller file: without an empty fourth channel, grey where it is, in 256 colours where nobody can tell"
    picture = Image.open(io.BytesIO(png))
    if getattr(picture, "n_frames", 1) > 1 or picture.convert("RGBA").getchannel("A").getextrema() != (255, 255): return png
    plain, made = picture.convert("RGB"), [png]
    for other, far in ((plain, 0), (plain.convert("L"), 0), (plain.quantize(256, dither=Image.Dither.NONE, kmeans=2), 64)):
        error = np.abs(np.asarray(other.convert("RGB")).astype(int)-np.asarray(plain))
        if error.max() > far or error.mean() > 0.3 or np.quantile(error, 0.999) > 16: continue
        file = io.BytesIO()
        other.save(file, "PNG", optimize=True, dpi=picture.info.get("dpi"))
        made.append(file.getvalue())
    return min(made, key=len)


def pictures():
    "A cell tagged `picture-NAME` makes nbs/images/NAME.png"
    for path in sorted(NBS.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for tag in cell.metadata.get("tags", []):
                if not tag.startswith("picture-"): continue
                data = next((output["data"]["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})), None)
                if data is None:
                    print(f"{path.name}: the picture {tag} is not there yet; run this notebook too")
                    continue
                target = NBS/"images"/f"{tag.removeprefix('picture-')}.png"
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(base64.b64decode(data))


def readme():
    "README.md from the index: the same text, with links that work at the root of the repository, and a picture that leads to a live model in its place"
    text, _ = MarkdownExporter(exclude_output_prompt=True).from_filename(NBS/"index.ipynb")
    site = re.search(r'site-url: "([^"]+)"', (NBS/"nbdev.yml").read_text(encoding="utf-8")).group(1)
    text = re.sub(r'<iframe [^>]*src="demos/(\w+).html"[^>]* title="([^"]+)"></iframe>', r"[![\2](images/\1.png)](demos/\1.html)", text)
    text = text.replace("](demos/", f"]({site}/demos/")
    text = re.sub(r"\]\((?=images/|[\w-]+\.ipynb)", "](nbs/", text)
    (ROOT/"README.md").write_text("<!-- made from nbs/index.ipynb -->\n\n"+text.strip()+"\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["GENESIS_HOME"] = home
        for name in ("GENESIS_DATA", "GENESIS_DATASET"): os.environ.pop(name, None)
        chosen = [Path(name).resolve() for name in sys.argv[1:] if name != "--controls"] or [path for path in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
        for path in sorted(chosen, key=order): run(path, "--controls" in sys.argv)
    pictures()
    readme()
