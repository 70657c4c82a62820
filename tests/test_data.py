"Sets, splits, batches and text: what holds for every input, and a sentence where nothing can hold"
import shutil
import subprocess
import sys
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from genesis_course.data import GLYPH_RANGES, Batches, ImageSet, Text, draw_glyphs, first_copy, glyph_set, load_images, load_text, resize, split_set, to_floats
from genesis_course.support import CourseError, data_folder

SHARED = data_folder()
needs_data = pytest.mark.usefixtures("real_data")
many = settings(max_examples=60, deadline=None)


def image_set(rows, classes=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(0, 256, (rows, 1, 3, 3), generator=rng, dtype=torch.uint8), torch.randint(0, classes, (rows,), generator=rng), [str(k) for k in range(classes)])


def rows_of(batches): return [batch[0].tolist() for batch in batches]


@many
@given(st.integers(1, 70), st.integers(1, 80), st.integers(0, 2**40), st.integers(0, 5), st.booleans())
def test_each_epoch_is_a_permutation_and_its_tail_can_be_resumed(rows, size, seed, epoch, shuffle):
    batches = Batches(torch.arange(rows), batch_size=size, seed=seed, shuffle=shuffle)
    batches.set_epoch(epoch)
    whole = rows_of(batches)
    assert sorted(sum(whole, [])) == list(range(rows)) and len(whole) == len(batches) and all(len(batch) <= size for batch in whole)
    assert shuffle or sum(whole, []) == list(range(rows))
    for start in range(len(batches)+1):
        batches.set_epoch(epoch, start=start)
        assert rows_of(batches) == whole[start:]
        assert (batches.epoch, batches.start) == (epoch+1, 0), "the next iteration is the next epoch, from its beginning"


@many
@given(st.integers(1, 70), st.integers(1, 80))
def test_drop_last_leaves_out_only_the_smaller_batch(rows, size):
    if size > rows:
        with pytest.raises(CourseError, match="no batch at all"): Batches(torch.arange(rows), batch_size=size, drop_last=True)
        assert len(Batches(torch.arange(rows), batch_size=size)) == 1, "without drop_last there is one smaller batch"
        return
    batches = Batches(torch.arange(rows), batch_size=size, drop_last=True)
    assert [len(batch) for batch in rows_of(batches)] == [size]*len(batches) == [size]*(rows//size)


@many
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 50), st.integers(0, 50))
def test_the_order_depends_on_seed_and_epoch_alone(seed, other_seed, epoch, other_epoch):
    def order(seed, epoch):
        torch.manual_seed(seed+epoch+7)                       # the reader's own dice must not matter
        batches = Batches(torch.arange(40), batch_size=7, seed=seed)
        batches.set_epoch(epoch)
        return sum(rows_of(batches), [])
    assert (order(seed, epoch) == order(other_seed, other_epoch)) == ((seed, epoch) == (other_seed, other_epoch))


def test_without_set_epoch_every_iteration_is_the_next_epoch():
    batches, again = Batches(torch.arange(30), seed=1), Batches(torch.arange(30), seed=1)
    first, second = rows_of(batches), rows_of(batches)
    again.set_epoch(1)
    assert first != second == rows_of(again)


def test_an_iteration_that_is_left_early_does_not_disturb_the_next():
    batches, whole = Batches(torch.arange(30), batch_size=4), Batches(torch.arange(30), batch_size=4)
    next(iter(batches))
    rows_of(whole)
    assert rows_of(batches) == rows_of(whole)


def test_two_iterations_at_once_do_not_mix():
    batches = Batches(torch.arange(12), batch_size=4)
    one, two = iter(batches), iter(batches)
    together = [(next(one)[0].tolist(), next(two)[0].tolist()) for _ in range(3)]
    assert sorted(sum((a for a, _ in together), [])) == sorted(sum((b for _, b in together), [])) == list(range(12))


def test_images_arrive_as_floats_between_minus_one_and_one_with_their_labels():
    images = image_set(50)
    x, y = map(torch.cat, zip(*Batches(images, batch_size=8, shuffle=False)))
    assert torch.equal(x, images.images.float()/127.5-1) and torch.equal(y, images.labels) and y.dtype == torch.int64
    assert to_floats(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_batches_may_be_kept_and_changed_without_changing_anything_else():
    images = image_set(20)
    before = images.images.clone()
    kept = list(Batches(images, batch_size=8, shuffle=False))
    kept[0][0].zero_()
    kept[0][1].zero_()
    assert torch.equal(images.images, before) and kept[1][0].abs().sum() > 0 and not torch.equal(images.labels[:8], kept[0][1])
    assert kept[0][0].untyped_storage().data_ptr() != kept[1][0].untyped_storage().data_ptr()


def test_a_transform_sees_floats_and_changes_only_images():
    x, y = next(iter(Batches(image_set(9), batch_size=4, transform=lambda x: -x, shuffle=False)))
    assert torch.equal(-x, to_floats(image_set(9).images[:4])) and torch.equal(y, image_set(9).labels[:4])


def test_tensors_of_several_kinds_keep_their_rows_together():
    a, b = torch.arange(10.), np.arange(10)*2
    for x, y in Batches(a, b, batch_size=3): assert torch.equal(2*x.long(), y)
    windows = torch.arange(20).unfold(0, 5, 1)
    assert torch.equal(torch.cat([rows for rows, in Batches(windows, shuffle=False)]), windows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_batches_are_the_same_on_a_gpu():
    for (x, y), (a, b) in zip(Batches(image_set(50), device="cuda"), Batches(image_set(50))):
        assert x.is_cuda and torch.allclose(x.cpu(), a) and torch.equal(y.cpu(), b)


@pytest.mark.parametrize("size", [0, -1, 2.0, "64", None, True])
def test_a_batch_size_that_is_none_is_refused(size):
    with pytest.raises(CourseError, match="batch_size is a whole number"): Batches(image_set(5), batch_size=size)


@pytest.mark.parametrize("make, message", [
    (lambda: Batches(), "needs an ImageSet"), (lambda: Batches(torch.tensor(3.)), "needs an ImageSet"), (lambda: Batches(torch.zeros(3), torch.zeros(4)), "3 and 4 rows"),
    (lambda: Batches(torch.zeros(0)), "empty"), (lambda: Batches(torch.zeros(3)).set_epoch(-1), "An epoch is"), (lambda: Batches(torch.zeros(3)).set_epoch(0, start=2), "from 0 to 1"),
    (lambda: Batches(torch.zeros(3)).set_epoch(1.5), "An epoch is")])
def test_batches_that_cannot_be_made_are_refused(make, message):
    with pytest.raises(CourseError, match=message): make()


@pytest.mark.parametrize("images, labels, message", [
    (torch.zeros(2, 1, 3, 3), torch.zeros(2), "uint8"), (torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2), "uint8"), (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3), "each image needs one"),
    (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, 2]), "2 classes"), (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([-1, 0]), "from -1"),
    (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0., 1.]), "whole numbers")])
def test_sets_that_do_not_fit_together_are_refused(images, labels, message):
    with pytest.raises(CourseError, match=message): ImageSet(images, labels, ["a", "b"])


def test_a_part_of_a_set_keeps_all_that_belongs_to_it():
    glyphs = glyph_set(count=30, size=12)
    for index in (5, slice(3, 9), torch.tensor([4, 4, 1]), glyphs.labels == 3, [7, 2]):
        part = glyphs[index]
        assert torch.equal(part.images, glyphs.images[torch.arange(30)[index].reshape(-1)]) and part.classes == glyphs.classes
        assert torch.equal(part.factors["slant"], glyphs.factors["slant"][torch.arange(30)[index].reshape(-1)])
    assert len(list(glyphs)) == 30 and len(glyphs[:0]) == 0 and repr(glyphs) == "glyphs: 30 images 1x12x12, 10 classes"


@many
@given(st.integers(4, 60), st.integers(1, 4), st.integers(1, 12), st.floats(0.05, 0.9), st.integers(0, 99))
def test_a_split_never_separates_copies_and_loses_nothing(rows, classes, different, share, seed):
    rng = torch.Generator().manual_seed(seed)
    which = torch.randint(0, different, (rows,), generator=rng)
    images = ImageSet(which.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous(), torch.randint(0, classes, (rows,), generator=rng), list("abcd"[:classes]))
    try: train, valid = split_set(images, share, seed)
    except CourseError as error:
        assert "too few" in str(error)
        return
    seen, aside = set(train.images[:, 0, 0, 0].tolist()), set(valid.images[:, 0, 0, 0].tolist())
    assert not seen & aside and len(train)+len(valid) == rows and len(train) and len(valid)


def test_a_split_takes_the_same_share_of_every_class_and_repeats():
    digits = load_images("digits", split="all")
    train, valid = split_set(digits, 0.25, seed=1)
    assert (valid.counts()/digits.counts()-0.25).abs().max() < 0.01
    assert torch.equal(split_set(digits, 0.25, seed=1)[1].images, valid.images) and not torch.equal(split_set(digits, 0.25, seed=2)[1].images, valid.images)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(CourseError, match="between 0 and 1"): split_set(image_set(9), share)


def test_first_copy_finds_exactly_the_copies():
    images = image_set(40).images
    assert first_copy(torch.cat([images, images[[3, 5]]])).tolist() == [*range(40), 3, 5]


def test_digits_are_those_of_scikit_learn_and_parts_make_the_whole():
    from sklearn.datasets import load_digits
    whole, train, test = (load_images("digits", split=split) for split in ("all", "train", "test"))
    assert torch.equal(torch.cat([train.images, test.images]), whole.images) and len(train) == 1437 and len(test) == 360
    assert np.array_equal((whole.images[:, 0].float()*16/255).round().numpy(), load_digits().images) and np.array_equal(whole.labels.numpy(), load_digits().target)


def test_glyphs_repeat_by_seed_and_one_fixed_factor_leaves_the_others():
    one, same, fixed = glyph_set(count=40, size=16, seed=4), glyph_set(count=40, size=16, seed=4), glyph_set(count=40, size=16, seed=4, weight=0.03, slant=(0.1, 0.2))
    assert torch.equal(one.images, same.images) and not torch.equal(one.images, glyph_set(count=40, size=16, seed=5).images)
    assert not torch.equal(one.images, glyph_set("test", count=40, size=16, seed=4).images)
    assert torch.equal(one.labels, fixed.labels) and all(torch.equal(one.factors[name], fixed.factors[name]) for name in GLYPH_RANGES if name not in ("weight", "slant"))
    assert (fixed.factors["weight"] == 0.03).all() and 0.1 <= fixed.factors["slant"].min() and fixed.factors["slant"].max() <= 0.2


def test_what_a_factor_says_is_what_the_picture_shows():
    def centre(image):
        ink = image[0].float()
        rows, columns = torch.meshgrid(*map(torch.arange, ink.shape), indexing="ij")
        return (ink*columns).sum()/ink.sum(), (ink*rows).sum()/ink.sum()
    def moved(**factor): return draw_glyphs("H", size=64, **factor)[0]
    plain = moved()
    (x, y), (right, _), (_, down) = centre(plain), centre(moved(x=0.1)), centre(moved(y=0.1))
    assert abs(right-x-6.4) < 0.1 and abs(down-y-6.4) < 0.1
    def height(image): return (image[0].max(dim=1).values > 127).sum().item()
    def lean(image): return centre(image[:, :32])[0]-centre(image[:, 32:])[0]
    assert abs(height(moved(scale=0.5))-height(plain)/2) <= 1
    assert abs(height(moved(weight=0.1))-height(plain)-6.4) <= 1.5
    assert lean(moved(slant=0.3)) > 3 > abs(lean(plain))+2 and lean(moved(slant=-0.3)) < -3
    assert (moved(rotation=180).float()-plain.flip(1, 2).float()).abs().mean() < 2
    assert lean(draw_glyphs("I", size=64, rotation=20)[0]) < -2, "counter-clockwise: the top goes to the left"


@pytest.mark.parametrize("options, message", [({"characters": ""}, "different letters"), ({"characters": "aa"}, "different letters"), ({"characters": "\u521b"}, "different letters"), ({"count": 0}, "from 1 on"), ({"colour": 1}, "no factor 'colour'")])
def test_glyphs_that_cannot_be_drawn_are_refused(options, message):
    with pytest.raises(CourseError, match=message): load_images("glyphs", **options)


def test_resizing_keeps_a_flat_picture_flat_and_the_range():
    images = torch.tensor([0, 100, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 1, 8, 8)
    assert torch.equal(resize(images, 28), images[:, :, :1, :1].expand(-1, 1, 28, 28))
    assert load_images("digits", size=28).images.shape == (1437, 1, 28, 28)


@pytest.mark.parametrize("call, message", [
    (lambda: load_images("minst"), "Did you mean 'mnist'"), (lambda: load_images("no/such/folder"), "no such folder"), (lambda: load_images("digits", split="valid"), "train and test and all"),
    (lambda: load_images("digits", size=0), "size is the side"), (lambda: load_images("digits", size=28.), "size is the side"), (lambda: load_images("digits", count=3), "no option 'count'"),
    (lambda: load_text("shakespear"), "Did you mean 'shakespeare'"), (lambda: load_text("no.txt"), "path of a text file")])
def test_names_and_options_that_do_not_exist_are_refused(call, message):
    with pytest.raises(CourseError, match=message): call()


def test_the_environment_chooses_the_default_set(monkeypatch):
    monkeypatch.delenv("GENESIS_DATASET", raising=False)
    assert load_images().name == "digits"
    monkeypatch.setenv("GENESIS_DATASET", "glyphs")
    assert load_images().name == "glyphs"


def test_a_folder_of_photos_speaks_up_once(tmp_path, capsys):
    from PIL import Image
    (tmp_path/"pets"/"cat").mkdir(parents=True)
    Image.new("RGB", (30, 20), "red").save(tmp_path/"pets"/"cat"/"good.png")
    (tmp_path/"pets"/"cat"/"bad.png").write_bytes(b"no")
    pets = load_images(tmp_path/"pets")
    assert pets.images.shape == (1, 3, 64, 64) and pets.notes == ["1 file passed over, damaged: bad.png."]
    assert capsys.readouterr().err == "pets: 1 file passed over, damaged: bad.png.\n"


@many
@given(st.text(min_size=1, max_size=60))
def test_text_survives_the_way_to_numbers_and_back(text):
    made = Text(text)
    assert made.decode(made.encode(text)) == text and made.decode(made.ids) == text and len(made.vocabulary) == len(set(text)) and made.ids.dtype == torch.int64


@many
@given(st.text(min_size=3, max_size=60), st.integers(1, 10), st.integers(1, 4))
def test_windows_are_the_text_and_the_text_one_character_later(text, context, step):
    made = Text(text)
    if len(text) <= context:
        with pytest.raises(CourseError, match="does not fit|do not fit"): made.windows(context)
        return
    x, y = made.windows(context, step)
    for i, (a, b) in enumerate(zip(x, y)): assert made.decode(a) == text[i*step:i*step+context] and made.decode(b) == text[i*step+1:i*step+context+1]
    assert len(x) == (len(text)-context-1)//step+1


def test_parts_of_a_text_share_a_vocabulary_and_are_not_mixed():
    beginning, end = Text("abcabcabcz").split(0.2)
    assert (beginning.text, end.text) == ("abcabcab", "cz") and beginning.vocabulary == end.vocabulary == "abcz"
    with pytest.raises(CourseError, match="between 0 and 1"): beginning.split(1.5)
    with pytest.raises(CourseError, match="'q' does not occur"): beginning.encode("aq")


def test_the_reference_of_python_is_in_every_python():
    book = load_text("python")
    assert 300_000 < len(book) < 900_000 and "assert" in book.text and set(map(chr, range(97, 123))) <= set(book.vocabulary)


def test_a_file_of_ones_own(tmp_path):
    (tmp_path/"mine.txt").write_text("ab\ncd", encoding="utf-8")
    assert load_text(tmp_path/"mine.txt").text == "ab\ncd" and load_text(str(tmp_path/"mine.txt")).name == "mine.txt"
    (tmp_path/"mine.txt").write_bytes(b"ab\xff")
    with pytest.raises(CourseError, match="not utf-8"): load_text(tmp_path/"mine.txt")


def test_importing_the_module_loads_nothing_heavy():
    code = "import sys, genesis_course.data; print([m for m in ('matplotlib', 'sklearn', 'scipy', 'PIL', 'torchvision', 'pooch', 'lightning') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@needs_data
@pytest.mark.parametrize("name, split, counts", [
    ("mnist", "train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]), ("mnist", "test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ("fashion", "train", [6000]*10), ("fashion", "test", [1000]*10), ("cifar10", "train", [396, 366, 420, 384, 422, 393, 414, 385, 407, 413])])
def test_the_real_sets_hold_what_their_authors_published(name, split, counts):
    if name == "cifar10" and not (SHARED/"cifar-10-batches-bin").exists(): pytest.skip("no CIFAR-10 in GENESIS_DATA")
    found = load_images(name, split=split)
    if name == "cifar10" and len(found) == 50_000: counts = [5000]*10
    assert found.counts().tolist() == counts and found.labels.dtype == torch.int64 and len(found.classes) == 10
    if name == "mnist" and split == "train": assert abs(found.images.float().mean()/255-0.1307) < 1e-4 and abs(found.images.float().std()/255-0.3081) < 1e-4


@needs_data
def test_real_photos_and_plays_are_read():
    if (SHARED/"hymenoptera_data").exists():
        bees = load_images(SHARED/"hymenoptera_data", size=48)
        assert bees.classes == ["ants", "bees"] and bees.images.shape[1:] == (3, 48, 48) and any("imageNotFound.gif" in note for note in bees.notes)
    plays = load_text("shakespeare")
    assert len(plays) == 1_115_394 and len(plays.vocabulary) == 65


@needs_data
def test_the_readers_own_folder_is_only_ever_read(tmp_path, monkeypatch):
    def snapshot(): return {path: (path.lstat().st_mtime_ns, path.lstat().st_size, path.lstat().st_mode) for path in sorted(SHARED.rglob("*"))}
    monkeypatch.setenv("GENESIS_HOME", str(tmp_path/"home"))
    before = snapshot()
    for name in ("mnist", "fashion"): load_images(name, split="test")
    load_text("shakespeare")
    for folder in ("hymenoptera_data", "CIFAR-10-images"):
        if (SHARED/folder).exists(): load_images(SHARED/folder, split="test", size=16)
    if (SHARED/"cifar-10-batches-bin").exists(): load_images("cifar10")
    assert snapshot() == before and not (tmp_path/"home").exists()


@needs_data
def test_a_damaged_copy_of_a_real_file_is_a_sentence(tmp_path, monkeypatch):
    raw = tmp_path/"MNIST"/"raw"
    raw.mkdir(parents=True)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"): shutil.copyfile(SHARED/"MNIST"/"raw"/name, raw/name)
    monkeypatch.setenv("GENESIS_DATA", str(tmp_path))
    assert len(load_images("mnist", split="test")) == 10_000
    labels = (raw/"t10k-labels-idx1-ubyte.gz").read_bytes()
    (raw/"t10k-labels-idx1-ubyte.gz").write_bytes(labels[:-100])
    with pytest.raises(CourseError, match="damaged or cut off"): load_images("mnist", split="test")
