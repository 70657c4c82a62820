"Folders and photos as people have them: each photo is loaded as a viewer shows it and with the label that a person would give, or it is counted and named"
import io
import os
import re
import struct
import numpy as np
import pytest
from PIL import Image, ImageCms
from helpers import message_of, trials
from genesis_course.data import load_images
from genesis_course.folders import PARTS, PHOTOS, find_photos
from genesis_course.photos import read_photos
from genesis_course.support import CourseError
hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies

# Modes, depths, containers. A photo is made from shares of white [H, W] in [0, 1]; what a viewer shows of it is 255 times that.

def as_bytes(shares): return (shares*255).round().astype(np.uint8)


def tiff(shares, dtype, white, *, order="<", upside_down=False):
    "A TIFF with one strip, written by hand: Pillow writes few of the kinds that it reads"
    data = (white-shares*white if upside_down else shares*white).astype(np.float64)
    data = (data if "f" in dtype else data.round()).astype(order+dtype)
    kind, (height, width), raw = {"u": 1, "i": 2, "f": 3}[dtype[0]], data.shape, data.tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8*data.itemsize), (259, 3, 1), (262, 3, int(not upside_down)), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(raw)), (339, 3, kind)]
    entries = b"".join(struct.pack(order+"HHI", tag, form, 1)+(struct.pack(order+"HH", value, 0) if form == 3 else struct.pack(order+"I", value)) for tag, form, value in tags)
    return (b"II" if order == "<" else b"MM")+struct.pack(order+"HI", 42, 8+len(raw))+raw+struct.pack(order+"H", len(tags))+entries+bytes(4)


def saved(picture, form, **options):
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def in_mode(mode):
    def made(shares):
        grey = Image.fromarray(as_bytes(shares))
        if mode == "LAB": return ImageCms.profileToProfile(grey.convert("RGB"), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
        if mode == "PA": return grey.convert("P").convert("PA")
        return grey.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "HSV") else grey.convert(mode)
    return made


SHALLOW = {"L": "PNG TIFF JPEG BMP WEBP PPM", "P": "PNG TIFF BMP WEBP", "RGB": "PNG TIFF JPEG BMP WEBP PPM", "RGBA": "PNG TIFF WEBP", "CMYK": "TIFF JPEG", "YCbCr": "TIFF JPEG", "LAB": "TIFF", "LA": "PNG TIFF WEBP", "PA": "TIFF",
           "RGBX": "TIFF JPEG", "HSV": "WEBP"}
DEEP = {"16 bits, PNG": lambda x: saved(Image.fromarray((x*65535).round().astype(np.uint16)), "PNG"), "16 bits, PGM": lambda x: saved(Image.fromarray((x*65535).round().astype(np.uint16)), "PPM"),
        "12 bits of a PGM": lambda x: b"P5 %d %d 4095\n" % x.shape[::-1]+(x*4095).round().astype(">u2").tobytes(), "floats, PFM": lambda x: saved(Image.fromarray(x.astype(np.float32)), "PPM"),
        **{f"{dtype}, white {white}{', big-endian' if order == '>' else ''}{', upside down' if down else ''}": lambda x, a=(dtype, white), k={"order": order, "upside_down": down}: tiff(x, *a, **k)
           for dtype, white, orders, downs in [("u2", 65535, "<>", [False]), ("u2", 65535, "<", [True]), ("u1", 255, "<>", [True]), ("i2", 32767, "<>", [False]), ("i4", 255, "<>", [False]), ("i4", 65535, "<>", [False]), ("i4", 2**31-1, "<>", [False]),
                                              ("u4", 255, "<", [False]), ("u4", 65535, "<", [False]), ("u4", 2**32-1, "<", [False]), ("f4", 1, "<>", [False, True]), ("f4", 255, "<>", [False]), ("f4", 65535, "<>", [False])]
           for order in orders for down in downs}}
KINDS = {**{f"{mode}, {form}": lambda x, mode=mode, form=form: saved(in_mode(mode)(x), form) for mode, forms in SHALLOW.items() for form in forms.split()}, **DEEP}
SUFFIX = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "WEBP": "webp", "PPM": "ppm", "PGM": "pgm", "PFM": "pfm"}


def ending(kind): return next((suffix for form, suffix in SUFFIX.items() if form in kind), "tif")


@st.composite
def pictures(draw):
    "A smooth grey picture that holds black and white, as floats cannot say their range otherwise; its side is a JPEG's block"
    side, turn, flip = 16, draw(st.booleans()), draw(st.booleans())
    ramp = np.linspace(0, 1, side)**draw(st.sampled_from([0.7, 1, 1.5]))
    shares = np.broadcast_to(ramp, (side, side)).copy()
    return (shares.T if turn else shares)[::-1 if flip else 1]


@given(st.sampled_from(list(KINDS)), pictures())
@trials(300)
def test_a_photo_of_any_mode_depth_and_container_looks_as_in_a_viewer(tmp_path_factory, kind, shares):
    path = tmp_path_factory.mktemp("photos")/"a"/f"x.{ending(kind)}"
    path.parent.mkdir()
    path.write_bytes(KINDS[kind](shares))
    images, _, _, notes = read_photos(path.parent.parent)
    off = 9 if "WEBP" in kind or "JPEG" in kind else 2          # they lose a little
    assert np.abs(images.numpy()-255.*shares).max() <= off, kind
    guessed = any(f"{dtype}, white" in kind for dtype in ("i4", "u4", "f4")) or "PFM" in kind
    assert bool(notes) == guessed and all("x." in note and "as white" in note for note in notes), "what no file says is told"


@given(st.lists(st.tuples(st.sampled_from(["i4", "u4", "f4", "i2", "u2"]), st.floats(-3e9, 3e9), st.sampled_from([0., 1., 200., 255., 4095., 65535., 1e6, 2.**31-1, 4e9, float("nan"), float("inf")])), min_size=1, max_size=4))
@trials(150)
def test_deep_photos_are_never_white_or_black_without_a_note(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("photos")/"a"
    folder.mkdir()
    spans = {}
    for k, (dtype, low, high) in enumerate(files):
        least, most = (-3e38, 3e38) if dtype == "f4" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        low, high = (max(least, min(most, value)) for value in (low if k % 2 else 0., high))
        if dtype != "f4" and not np.isfinite(high): high = 0.
        low = min(low, high) if np.isfinite(high) else low
        ramp = np.linspace(low, high, 64).reshape(8, 8)
        spans[f"{k}.tif"] = ramp
        (folder/f"{k}.tif").write_bytes(tiff(ramp, dtype, 1))
    try: images, _, _, notes = read_photos(folder.parent)
    except CourseError as error:
        hypothesis.event("all passed over")
        assert "nothing says which of its values is white" in str(error)
        return
    told = " ".join(notes)
    passed = sum(int(count) for count in re.findall(r"(\d+) files? passed over", told))
    assert len(images)+passed == len(files)
    for image in images:
        if image.min() == image.max() and len(files) == 1: assert np.ptp(next(iter(spans.values()))) == 0 or notes


def test_deep_photos_of_one_folder_are_scaled_alike(tmp_path):
    for name, white in {"a/dark.tif": 200, "b/bright.tif": 65535}.items():
        (tmp_path/name).parent.mkdir()
        (tmp_path/name).write_bytes(tiff(np.ones((8, 8)), "i4", white))
    images, *_, notes = read_photos(tmp_path)
    assert images[:, 0, 0, 0].tolist() == [1, 255] and notes == ["2 files read with 65,535 as white: dark.tif, bright.tif."]


def test_sixteen_bits_that_are_hardly_used_are_told(tmp_path):
    (tmp_path/"a").mkdir()
    (tmp_path/"a"/"x.png").write_bytes(saved(Image.fromarray(np.full((8, 8), 2000, np.uint16)), "PNG"))
    message, = read_photos(tmp_path)[3]
    assert "nearly black" in message and "2,000 of 65,535" in message and "x.png" in message


def test_transparent_places_are_white_in_every_mode(tmp_path):
    (tmp_path/"a").mkdir()
    clear = Image.new("L", (8, 8), 9)
    clear.putpixel((0, 0), 0)
    deep = Image.fromarray(np.full((8, 8), 9*257, np.uint16))
    deep.putpixel((0, 0), 0)
    makers = {"1.png": lambda path: clear.save(path, transparency=0), "2.png": lambda path: clear.convert("P").save(path, transparency=0), "3.png": lambda path: clear.convert("RGB").save(path, transparency=(0, 0, 0)),
              "4.png": lambda path: deep.save(path, transparency=0)}
    for name, save in makers.items(): save(tmp_path/"a"/name)
    images = read_photos(tmp_path)[0]
    assert (images[:, :, 0, 0] == 255).all() and (images[:, :, 4, 4] == 9).all()


def test_what_is_taken_of_a_file_with_several_pictures_is_told(tmp_path):
    (tmp_path/"a").mkdir()
    Image.new("L", (8, 8), 7).save(tmp_path/"a"/"stack.tif", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    images, *_, notes = read_photos(tmp_path)
    assert images.unique().tolist() == [7] and notes == ["1 file with several pictures, the first taken: stack.tif."]


def test_pictures_of_a_kind_that_is_not_read_are_not_called_damaged(tmp_path):
    (tmp_path/"a").mkdir()
    (tmp_path/"a"/"telephone.HEIC").write_bytes(b"....ftypheic")
    (tmp_path/"a"/"halves.tif").write_bytes(tiff(np.ones((8, 8)), "f2", 1))
    (tmp_path/"a"/"x.png").write_bytes(saved(Image.new("L", (8, 8)), "PNG"))
    notes = read_photos(tmp_path)[3]
    assert notes == ["1 file passed over, a TIFF of a kind that is not read: halves.tif.", "1 file passed over, in a format that is not read here: telephone.HEIC. Save as PNG or JPEG."]
    (tmp_path/"b").mkdir()
    (tmp_path/"b"/"telephone.HEIC").write_bytes(b"....ftypheic")
    message_of(lambda: read_photos(tmp_path), "no photo in", "/b.", "Save as PNG or JPEG")


def test_damaged_notes_of_a_camera_do_not_cost_the_photo(tmp_path):
    (tmp_path/"a").mkdir()
    photo = saved(Image.new("RGB", (8, 8), "red"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff rubbish")
    (tmp_path/"a"/"x.jpg").write_bytes(photo)
    assert len(read_photos(tmp_path)[0]) == 1


# Folders. Every photo is a grey of its own, so that one sees which was loaded.

def grey(value): return saved(Image.new("L", (8, 8), value), "PNG")


def plant(folder, *places):
    "A photo at each place; places that end with / are empty folders, others than photos hold a word"
    for value, place in enumerate(places):
        assert not place.startswith("/"), "pathlib would leave the folder"
        path = folder/place
        if place.endswith("/"): path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(grey(value) if path.suffix in PHOTOS else b"a word")
    return folder


def loaded(folder, split="train"):
    "{grey: class} and the notes"
    images, labels, classes, notes = read_photos(folder, split)
    return {int(image[0, 0, 0]): classes[label] for image, label in zip(images, labels)}, notes


WORDS = ["cat", "dog", "bus", "Zug", "花", "a b", "0", "180", "Train", "test", "VAL", "training", "valid", "x.y", "été"]
names = st.lists(st.sampled_from(WORDS), min_size=2, max_size=4, unique_by=str.lower)


def may_be_divided(words): return sum(any(word.lower() in names for names in PARTS.values()) for word in words) > 1 or all(any(word.lower() in names for names in PARTS.values()) for word in words)


@given(names, st.integers(1, 3), st.sampled_from(["", "set", "set/inner", "Fotos 2024"]), st.booleans(), st.booleans(), st.data())
@trials(120)
def test_classes_in_a_folder_get_the_labels_that_a_person_would_give(tmp_path_factory, words, count, above, hidden, beside, data):
    hypothesis.assume(not may_be_divided(words))
    root = tmp_path_factory.mktemp("tree")/"root"
    places = [f"{word}/{'deeper/'*data.draw(st.integers(0, 2))}{k}.png" for word in words for k in range(count)]
    extra = [*[f"{data.draw(st.sampled_from(words))}/.ipynb_checkpoints/h.png", ".thumbs/i.png", ".DS_Store"]*hidden, *["montage.png", "read me.txt"]*beside]
    plant(root/above, *places, *extra)
    found, notes = loaded(root)
    assert found == {value: place.split("/")[0] for value, place in enumerate(places)}
    told = " ".join(notes)
    assert ("2 photos passed over, hidden" in told) == hidden and ("1 photo passed over, outside the folders: montage.png" in told) == beside
    assert ("further down" in told) == bool(above)
    assert sorted(set(found.values())) == read_photos(root)[2]


PART_NAMES = {"train": ["train", "Train", "TRAINING"], "valid": ["val", "Valid", "validation"], "test": ["test", "TEST", "testing"]}


@given(names, st.sampled_from(["train valid", "train test", "train valid test"]), st.sampled_from(["", "set"]), st.data())
@trials(120)
def test_parts_are_numbered_by_the_training_classes(tmp_path_factory, words, roles, above, data):
    root = tmp_path_factory.mktemp("tree")/"root"
    parts = {role: data.draw(st.sampled_from(PART_NAMES[role])) for role in roles.split()}
    held = {role: words if role == "train" else data.draw(st.lists(st.sampled_from(words), min_size=1, unique=True)) for role in parts}
    strange = data.draw(st.sampled_from(["", "zebra"]))
    places = [f"{parts[role]}/{word}/1.png" for role in parts for word in [*held[role], *[strange]*(bool(strange) and role != "train")]]
    plant(root/above, *places)
    for role in parts:
        mine = {value: place.split("/")[-2] for value, place in enumerate(places) if place.split("/")[-3] == parts[role]}
        if strange and role != "train":
            message_of(lambda: read_photos(root, role), "zebra", parts["train"])
            continue
        found, notes = loaded(root, role)
        assert found == mine and read_photos(root, role)[2] == sorted(words)
        missing = sorted(set(words)-set(held[role]))
        assert any("has no photo of" in note and all(word in note for word in missing[:3]) for note in notes) == bool(missing)
        if strange: assert any("zebra" in note for note in notes)


# A tree without any plan: what can be said of it is that nothing is lost in silence and that nothing of a test is learned from.

some = st.sampled_from([*WORDS, "train", "test", "val", ".git", ".ipynb_checkpoints"])
files = st.sampled_from(["1.png", "2.jpg", "3.TIF", "x.txt", ".hidden.png", "._4.png", "noise.gif", "end"])


@st.composite
def trees(draw):
    "Places of photos and of other files, up to four levels deep, and links"
    depth = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(st.lists(some, max_size=depth).map("/".join), files), max_size=12, unique=True)), draw(st.lists(st.tuples(some, st.sampled_from(["..", ".", "nothing", "cat", "train"])), max_size=2, unique_by=lambda link: link[0]))


@given(trees(), st.sampled_from(["train", "valid", "test", "all"]))
@trials(400)
def test_in_any_tree_each_photo_is_loaded_or_counted(tmp_path_factory, tree, split):
    root = (tmp_path_factory.mktemp("tree")/"root")
    root.mkdir()
    files, links = tree
    values = {}
    for value, (folder, name) in enumerate(files):
        path = root/folder/name
        if path.exists() or any(parent.is_file() for parent in path.parents): continue
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = path.suffix.lower() in PHOTOS
        path.write_bytes(grey(value) if photo else b"a word")
        if photo: values[value] = path.relative_to(root)
    for name, target in links:
        if not (root/name).exists(): (root/name).symlink_to(target, target_is_directory=True)
    linked = {name for name, _ in links if (root/name).is_symlink()}
    before = sorted(root.rglob("*"))
    try: images, labels, classes, notes = read_photos(root, split)
    except CourseError as error:
        hypothesis.event("refused")
        assert "\n" not in str(error) and len(str(error)) < 700
        return
    finally: assert sorted(root.rglob("*")) == before
    told = " ".join(notes)
    found = [(values[int(image[0, 0, 0])], classes[label]) for image, label in zip(images, labels)]
    assert all(not part.startswith(".") for path, _ in found for part in path.parts), "nothing hidden is loaded"
    for path, name in found:
        if not linked: assert name in path.parts[:-1] or name in ("root", path.parts[0]) or any(part in told for part in path.parts), (path, name)
    by_folder = {}
    for path, name in found: by_folder.setdefault(path.parent, set()).add(name)
    if not linked:
        assert all(len(names) == 1 for names in by_folder.values()), "photos that lie together have one class"
        visible = {path for path in values.values() if not any(part.startswith(".") for part in path.parts)}
        lost = visible-{path for path, _ in found}
        counted = sum(int(count) for count in re.findall(r"(\d+) photos? passed over, (?:outside|in folders)", told))
        elsewhere = {path for path in lost if any(part.lower() in names for part in path.parts for names in PARTS.values())}       # in another part, as it was asked for
        assert len(lost-elsewhere) <= counted <= len(lost), (values, found, notes)
        hidden = [path for path in values.values() if any(part.startswith(".") for part in path.parts) and not path.name.startswith("._")]
        assert (f"{len(hidden)} photo" in told) == bool(hidden)
    assert sorted(set(labels.tolist())) == list(range(len(classes))) or split not in ("train", "all") or "has no photo of" in told


@pytest.mark.parametrize("places, split, fragments", [
    (["train/a/1.png", "train/b/1.png", "bus/1.png"], "train", ['split="all"', "a class", "bus"]), (["train/a/1.png", "Training/a/2.png"], "train", ["both could be", "Training"]), (["train/a/1.png", "val/b/1.png"], "train", ["no class in common", "a", "b"]),
    (["train/a/1.png", "val/a/1.png", "val/b/1.png"], "valid", ["b", "train has the classes a"]), (["train/a/1.png", "test/1.png"], "test", ["without class folders", "a"]), (["train/1.png", "val/a/1.png"], "train", ["without class folders"]),
    ([*(f"{k}.png" for k in range(10)), "old/x.png"], "train", ["10 photos", "old", "1 more"]), (["a/train/1.png", "a/test/1.png", "b/1.png"], "train", ["part of its own", "turn the folders round"]), (["a/1.png", "b/"], "train", ["no photo in", "remove the folder"]),
    (["train/a/1.png", "val/a/1.png"], "all", ["only train, val"]), (["a/1.png"], "valid", ["split_set"]), ([], "train", ["no photo in"]), (["a/x.gif"], "train", ["no photo in", "x.gif"])])
def test_what_is_unclear_is_said_with_the_way_out(places, split, fragments, tmp_path):
    message_of(lambda: read_photos(plant(tmp_path/"d", *places) if places else plant(tmp_path, "d/")/"d", split), *fragments)


def test_the_ways_out_work(tmp_path):
    plant(tmp_path, "train/a/1.png", "train/b/2.png", "bus/3.png")
    message = message_of(lambda: read_photos(tmp_path))
    assert loaded(tmp_path, "all")[0] == {0: "train", 1: "train", 2: "bus"}
    part = re.search(r'load_images\("(.*?)", split="all"\)', message)[1]
    assert load_images(part, split="all").classes == ["a", "b"]


def test_links_are_followed_and_circles_are_told(tmp_path):
    plant(tmp_path/"elsewhere", "1.png", "deep/2.png")
    root = plant(tmp_path/"root", "b/x.png")
    for name, target in {"a": "../elsewhere", "b/up": "..", "b/lost": "nothing", "b/one.png": "../../elsewhere/1.png"}.items(): (root/name).symlink_to(target)
    images, labels, classes, notes = read_photos(root)
    assert labels.tolist() == [0, 0, 1, 1] and classes == ["a", "b"]
    assert notes == ["1 link passed over, back to a folder around it: b/up.", "1 link passed over, to nothing: b/lost."]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_of_any_kind_are_shown_on_one_line(tmp_path):
    for name in ("line\nbreak", os.fsdecode(b"caf\xe9"), "e\u0301t\u00e9", "tab\tx"): plant(tmp_path, f"{name}/1.png", f"{name}/note.txt")
    images, _, classes, notes = read_photos(tmp_path)
    assert len(images) == 4 and all(name.isprintable() and name.encode() for name in [*classes, *notes])


def test_names_that_look_the_same_are_one_class(tmp_path):
    "An archive from a Mac writes é as two characters"
    plant(tmp_path, "train/\u00e9t\u00e9/1.png", "train/b/2.png", "val/e\u0301te\u0301/3.png")
    assert loaded(tmp_path, "valid")[0] == {2: "\u00e9t\u00e9"}


def test_a_folder_one_may_not_look_into_is_told(tmp_path, monkeypatch):
    plant(tmp_path, "a/1.png", "b/2.png", "b/closed/3.png")
    listing = os.listdir
    def refused(path):
        if str(path).endswith("closed"): raise PermissionError(13, "no")
        return listing(path)
    monkeypatch.setattr("os.listdir", refused)
    assert read_photos(tmp_path)[3] == ["1 folder passed over, closed to you: b/closed."]


def test_a_folder_that_is_none_is_refused(tmp_path):
    message_of(lambda: find_photos(tmp_path/"none"), "no folder")
