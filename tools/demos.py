"""Build the live models: nbs/demos/*.html, a page each, in one file that asks nothing of anyone.

usage: python tools/demos.py [name ...]        without arguments: all of them

A page is made of nbs/demos/src/: core.css and core.js, which all share, NAME.html with the places to fill, NAME.js with the model and
what it shows, and of weights that come with the package, in half precision and base64. tests/test_demos.py holds that they are current.
"""
import base64
import json
import re
import sys
import zlib
from pathlib import Path
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT/"genesis_course"/"weights"
DEMOS = ROOT/"nbs"/"demos"
SOURCES = DEMOS/"src"
KINDS = {"torch.float16": "F16", "torch.float32": "F32", "torch.uint8": "U8"}
HEAD = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<style>
{}</style>"""
SCRIPTS = """<script id="weights" type="application/octet-stream">{}</script>
<script>
{}</script>"""


def parts_of(name, keep=lambda tensor: True):
    "Tensors of shipped weights, {name: (kind, shape, bytes)}, and what is known about them"
    with safe_open(WEIGHTS/f"{name}.safetensors", "pt") as file:
        about = unpacked(json.loads(file.metadata()["genesis_course"]))["about"]
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    kept = {key.removeprefix("/weights/"): value for key, value in sorted(tensors.items()) if str(value.dtype) in KINDS}
    return {key: (KINDS[str(value.dtype)], list(value.shape), value.contiguous().numpy().tobytes()) for key, value in kept.items() if keep(key)}, about


def unpacked(value):
    "The JSON in the head of a file that `write_state` wrote, as it was given"
    if not isinstance(value, dict): return value
    (kind, inside), = value.items()
    if kind == "dict": return {key: unpacked(part) for key, part in inside}
    return inside if kind == "tensor" else [unpacked(part) for part in inside]


def safetensors(tensors, **about):
    "The same tensors in a file with a short head, and a checksum of what follows it"
    head, data = {}, b""
    for name, (kind, shape, content) in tensors.items():
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data)+len(content)]}
        data += content
    text = json.dumps({"__metadata__": {"about": json.dumps({**about, "crc32": zlib.crc32(data)}, ensure_ascii=False)}, **head}, ensure_ascii=False).encode()
    text += b" "*(-len(text) % 8)
    return len(text).to_bytes(8, "little")+text+data


def genesis():
    tensors, about = parts_of("creation")
    encoder, _ = parts_of("creation_encoder")
    return safetensors({**tensors, **{f"encoder.{name}": value for name, value in encoder.items()}}, settings=about["settings"])


def gan():
    tensors, about = parts_of("conditional_gan")
    return safetensors(tensors, settings=about["settings"])


def vae():
    "The page draws and does not read: the encoders stay at home"
    tensors, about = parts_of("planes", lambda name: ".decoder." in name)
    return safetensors(tensors, codes=about["codes"], labels=about["labels"], commonest_digit=about["commonest_digit"])


def reader(): return safetensors(parts_of("features")[0])


def transformer():
    tensors, about = parts_of("transformer")
    return safetensors(tensors, settings=about["settings"], vocabulary="".join(about["vocabulary"]))


def flow():
    tensors, about = parts_of("flow_digits")
    return safetensors(tensors, settings=about["settings"])


def levels():
    tensors, about = parts_of("levels")
    return safetensors(tensors, settings=about["settings"])


def composer():
    tensors, about = parts_of("composer")
    return safetensors(tensors, vocabulary=about["vocabulary"])


MODELS = {"flow": flow, "genesis": genesis, "gan": gan, "vae": vae, "reader": reader, "transformer": transformer, "levels": levels, "composer": composer}


def lean(text):
    "A style sheet or a script without comments and indentation"
    lines = (re.sub(r"(^|\s+)// .*$", "", line).strip() for line in text.splitlines())
    return "".join(line+"\n" for line in lines if line)


def close(script):
    "A script without spaces around its signs and with few ends of lines; what stands in quotation marks, or between the first and the last backtick of a line, stays"
    def tight(line):
        parts = re.split(r'("[^"]*"|`.*`)', line)
        signs = lambda text: re.sub(r"(?<![+-]) ([+-]) (?![+-])", r"\1", re.sub(r" ?([=*/<>?:,;{}()|&!%\[\]]+) ?", r"\1", text))
        return "".join(part if k % 2 else signs(part) for k, part in enumerate(parts))
    lines = (tight(line) for line in lean(script).splitlines())
    return "".join(line+("" if line[-1] in ";{,(" else "\n") for line in lines)


def build(name):
    "The page of a model"
    read = lambda file: (SOURCES/file).read_text(encoding="utf-8")
    page, script = read(f"{name}.html"), close(read("core.js")+read(f"{name}.js"))
    page = page.replace("<!-- head -->", HEAD.format(lean(read("core.css"))))
    return page.replace("<!-- scripts -->", SCRIPTS.format(base64.b64encode(MODELS[name]()).decode(), script))


if __name__ == "__main__":
    if unknown := set(sys.argv[1:])-MODELS.keys(): raise SystemExit(f"No live model is called {min(unknown)!r}. There are: {', '.join(MODELS)}.")
    for name in sys.argv[1:] or MODELS:
        page = build(name)
        (DEMOS/f"{name}.html").write_text(page, encoding="utf-8", newline="\n")
        print(f"{name}: {len(page.encode())/1000:.0f} KB, of them script {len(page.rsplit('<script>', 1)[1])/1000:.1f} KB")
