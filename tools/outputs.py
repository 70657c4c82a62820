"""Run the notebooks in a real kernel, store their outputs, and make the pictures and the README from them.

usage: python tools/outputs.py [notebook ...]        without arguments: all of them
"""
import base64
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbdev.clean import nbdev_clean

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/"nbs"
WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


def order(path): return {"backstage": 0, "answers": 2}.get(path.parent.name, 1), path.name == "index.ipynb", path.name


def run(path):
    "Execute one notebook in its own folder and store what its cells show"
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    # With widgets on a busy machine nbclient now and then overlooks the reply of a cell and finds it when its time is up.
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    print(f"{path.relative_to(ROOT)}: {time.perf_counter()-started:.0f} s", flush=True)
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr": print(f"  cell {number} writes to stderr: {output.text[:120]!r}")
    tidy(notebook)
    nbformat.write(notebook, path)
    nbdev_clean(str(path))


def tidy(notebook):
    "Number the widgets in order of appearance and drop those that nothing shows, so that a second run stores the same bytes"
    state = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
    shown = [output["data"][VIEW]["model_id"] for cell in notebook.cells for output in cell.get("outputs", []) if VIEW in output.get("data", {})]
    reached = []
    while shown:
        model = shown.pop(0)
        if model in reached or model not in state: continue
        reached.append(model)
        shown += re.findall(r"IPY_MODEL_(\w+)", json.dumps(state[model], sort_keys=True))
    names = {model: f"{i:032x}" for i, model in enumerate(reached)}
    text = json.dumps({names[model]: state[model] for model in reached})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(VIEW)
            if view: view["model_id"] = names.get(view["model_id"], view["model_id"])
    for model, name in names.items(): text = text.replace(model, name)
    state = json.loads(text)
    for model in state.values():                        # messages that interact captured carry ids of their own
        if "msg_id" in model.get("state", {}): model["state"]["msg_id"] = ""
    if state: notebook.metadata["widgets"] = {WIDGETS: {"state": state, "version_major": 2, "version_minor": 0}}
    else: notebook.metadata.pop("widgets", None)


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
        chosen = [Path(name).resolve() for name in sys.argv[1:]] or [path for path in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
        for path in sorted(chosen, key=order): run(path)
    pictures()
    readme()
