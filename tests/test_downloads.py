"Public files: found before they are fetched, whole or absent in the cache, and every failure is a sentence"
import errno
import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import pooch
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from genesis_course.downloads import FILES, PublicFile, cache_folder, fetch, find_file, read_cifar10, read_idx, read_idx_pair, read_text
from genesis_course.photos import read_photos
from genesis_course.support import CourseError

BODY = bytes(range(256))*2000
KNOWN = "sha256:"+hashlib.sha256(BODY).hexdigest()


class Shop(BaseHTTPRequestHandler):
    "A server whose addresses behave: /good, /cut (half of what was promised), /wrong, /missing, /slow (half, then a long pause)"
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing": return self.send_error(404)
        body = BODY[::-1] if self.path == "/wrong" else BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.path in ("/good", "/wrong") else body[:len(body)//2])
        self.wfile.flush()
        if self.path == "/slow": time.sleep(20)

    def log_message(self, *args): pass


@pytest.fixture
def shop(tmp_path, monkeypatch):
    "A server on this machine, an empty cache, and a function that offers a file at some of its addresses"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads, server.block_on_close, server.asked = True, False, []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("GENESIS_HOME", str(tmp_path/"home"))
    monkeypatch.delenv("GENESIS_DATA", raising=False)
    def offer(*pages, known=KNOWN):
        monkeypatch.setitem(FILES, "thing", PublicFile(("things/thing.bin",), known, tuple(f"http://127.0.0.1:{server.server_port}/{page}" for page in pages)))
        return server
    yield offer
    server.shutdown()
    server.server_close()


def cached(): return sorted(path.name for path in cache_folder().rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_then_found(shop):
    server = shop("good")
    assert fetch("thing").read_bytes() == BODY and fetch("thing") == fetch("thing")
    assert server.asked == ["/good"] and cached() == ["thing.bin"]


def test_the_second_mirror_helps_when_the_first_is_dead(shop):
    server = shop("missing", "good")
    assert fetch("thing").read_bytes() == BODY and server.asked == ["/missing", "/good"]


@pytest.mark.parametrize("first", ["wrong", "cut"])
def test_the_second_mirror_helps_when_the_first_delivers_rubbish(shop, first):
    shop(first, "good")
    assert fetch("thing").read_bytes() == BODY and cached() == ["thing.bin"]


@pytest.mark.parametrize("pages, message", [(("cut",), "no network"), (("wrong",), "checksum"), (("missing",), "no network"), (("cut", "missing"), "none of its 2 addresses"), (("wrong", "wrong"), "checksum")])
def test_nothing_half_written_stays_and_the_remedy_is_named(shop, pages, message):
    server = shop(*pages)
    with pytest.raises(CourseError) as caught: fetch("thing")
    assert message in str(caught.value) and "GENESIS_DATA" in str(caught.value) and 'load_images("digits")' in str(caught.value)
    assert cached() == [] and len(server.asked) == 2*len(pages), "each mirror is tried twice"


def test_no_server_at_all_is_a_sentence(shop, monkeypatch):
    shop()
    monkeypatch.setitem(FILES, "thing", PublicFile(("thing.bin",), KNOWN, ("http://127.0.0.1:9/thing",)))
    with pytest.raises(CourseError, match="no network"): fetch("thing")


def test_published_md5_sums_are_checked_too(shop):
    shop("good", known="md5:"+hashlib.md5(BODY).hexdigest())
    assert fetch("thing").read_bytes() == BODY


def test_an_unwritable_cache_is_a_sentence(shop, tmp_path, monkeypatch):
    server = shop("good")
    (tmp_path/"file").write_text("not a folder")
    monkeypatch.setenv("GENESIS_HOME", str(tmp_path/"file"/"home"))
    with pytest.raises(CourseError, match="choose another folder"): fetch("thing")
    assert server.asked == []


def test_a_full_disk_is_a_sentence_and_leaves_nothing(shop, monkeypatch):
    shop("good", "good")
    class Full(io.BytesIO):
        def write(self, data): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(pooch.downloaders, "open", lambda *args, **kwargs: Full(), raising=False)
    with pytest.raises(CourseError, match="the disk is full"): fetch("thing")
    assert cached() == []


def test_a_killed_download_is_never_taken_for_complete(shop):
    server = shop("slow", "good")
    urls = FILES["thing"].urls
    code = f"from genesis_course.downloads import *; FILES['thing'] = PublicFile(('things/thing.bin',), {KNOWN!r}, {urls[:1]!r}); fetch('thing')"
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ}, stderr=subprocess.DEVNULL)
    deadline = time.time()+60
    while not server.asked and time.time() < deadline: time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert server.asked and not find_file("things/thing.bin")
    shop("good")
    assert fetch("thing").read_bytes() == BODY


def test_your_own_folder_comes_first_and_is_not_copied(shop, tmp_path, monkeypatch):
    server = shop("good")
    mine = tmp_path/"mine"/"things"/"thing.bin"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    monkeypatch.setenv("GENESIS_DATA", str(tmp_path/"mine"))
    assert fetch("thing") == mine and server.asked == [] and not cache_folder().exists()


def test_unpacked_files_are_found_in_place_of_packed_ones(shop, tmp_path, monkeypatch):
    shop("good")
    raw = tmp_path/"mine"/"MNIST"/"raw"/"t10k-labels-idx1-ubyte"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 2]))
    monkeypatch.setenv("GENESIS_DATA", str(tmp_path/"mine"))
    assert read_idx(fetch("mnist/test-labels")).tolist() == [7, 2]


def test_every_file_has_a_checksum_and_mirrors_that_are_addresses():
    for key, file in FILES.items():
        kind, digits = file.known.split(":")
        assert len(digits) == {"sha256": 64, "md5": 32}[kind], key
        assert all(url.startswith(("https://", "http://")) for url in file.urls) and len(set(file.urls)) == len(file.urls)
    assert all(len(FILES[key].urls) == 2 for key in FILES if key != "cifar10")


def idx(tensor): return bytes([0, 0, 8, tensor.ndim])+b"".join(size.to_bytes(4, "big") for size in tensor.shape)+tensor.numpy().tobytes()


tensors = st.lists(st.integers(0, 5), min_size=1, max_size=3).flatmap(lambda shape: st.integers(0, 2**31).map(
    lambda seed: torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))))
anywhere = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@anywhere
@given(tensors, st.booleans())
def test_idx_comes_back_as_it_was_written(tmp_path, tensor, packed):
    path = tmp_path/"x"
    path.write_bytes(gzip.compress(idx(tensor)) if packed else idx(tensor))
    assert torch.equal(read_idx(path), tensor) and read_idx(path).shape == tensor.shape


@anywhere
@given(tensors, st.booleans(), st.floats(0, 1, exclude_max=True))
def test_a_truncated_idx_is_never_taken_for_whole(tmp_path, tensor, packed, share):
    whole, path = gzip.compress(idx(tensor)) if packed else idx(tensor), tmp_path/"x"
    path.write_bytes(whole[:int(share*len(whole))])
    with pytest.raises(CourseError): read_idx(path)


@anywhere
@given(tensors, st.integers(0, 10**6))
def test_a_flipped_bit_in_a_packed_file_never_changes_a_pixel(tmp_path, tensor, where):
    raw, path = bytearray(gzip.compress(idx(tensor))), tmp_path/"x"
    raw[where//8%len(raw)] ^= 1 << where%8
    path.write_bytes(raw)
    try: found = read_idx(path)
    except CourseError: return
    assert torch.equal(found, tensor)


@anywhere
@given(st.binary(max_size=60))
def test_any_bytes_are_an_idx_tensor_or_a_sentence(tmp_path, raw):
    path = tmp_path/"x"
    path.write_bytes(raw)
    try: assert read_idx(path).dtype == torch.uint8
    except CourseError as error: assert str(path) in str(error)


@pytest.mark.parametrize("images, labels, message", [
    (torch.zeros(3, 2, 2), torch.zeros(2), "3 images"), (torch.zeros(3, 2, 2), torch.tensor([0, 1, 11]), "label 11"),
    (torch.zeros(3), torch.zeros(3, 2, 2), "swapped"), (torch.zeros(3, 2, 2, 2), torch.zeros(3), "should hold images")])
def test_pairs_that_do_not_belong_together_are_refused(tmp_path, images, labels, message):
    for name, tensor in (("images", images), ("labels", labels)): (tmp_path/name).write_bytes(idx(tensor.to(torch.uint8)))
    with pytest.raises(CourseError, match=message): read_idx_pair(tmp_path/"images", tmp_path/"labels", 10)


def test_a_web_page_saved_as_data_is_recognised(tmp_path):
    (tmp_path/"x").write_text("<html>404</html>")
    with pytest.raises(CourseError, match="web page"): read_idx(tmp_path/"x")


def cifar_records(count, label=3): return b"".join(bytes([label])+bytes([i%256])*1024+b"\x01"*1024+b"\x02"*1024 for i in range(count))


def cifar_archive(path, **batches):
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def test_cifar_is_read_from_a_folder_and_from_an_archive_alike(tmp_path):
    (tmp_path/"cifar-10-batches-bin").mkdir()
    for number in (1, 2): (tmp_path/"cifar-10-batches-bin"/f"data_batch_{number}.bin").write_bytes(cifar_records(5*number))
    archive = cifar_archive(tmp_path/"c.tar.gz", data_batch_1=cifar_records(5), data_batch_2=cifar_records(10), test_batch=cifar_records(3))
    folder = read_cifar10(tmp_path/"cifar-10-batches-bin")
    assert all(torch.equal(a, b) for a, b in zip(folder[:2], read_cifar10(archive)[:2])) and folder[0].shape == (15, 3, 32, 32)
    assert folder[0][1, :, 0, 0].tolist() == [1, 1, 2] and folder[2] == ["This is a part of CIFAR-10: 15 of 50,000 images."]
    assert len(read_cifar10(archive, "test")[1]) == 3 and sorted(path.name for path in tmp_path.iterdir()) == ["c.tar.gz", "cifar-10-batches-bin"], "nothing was unpacked"
    with pytest.raises(CourseError, match="not there"): read_cifar10(tmp_path/"cifar-10-batches-bin", "test")


def test_damaged_cifar_files_are_refused(tmp_path):
    cut = cifar_archive(tmp_path/"cut.tar.gz", data_batch_1=cifar_records(50, 9))
    cut.write_bytes(cut.read_bytes()[:200])
    with pytest.raises(CourseError, match="does not unpack"): read_cifar10(cut)
    (tmp_path/"junk.tar.gz").write_bytes(b"junk"*100)
    with pytest.raises(CourseError, match="does not unpack"): read_cifar10(tmp_path/"junk.tar.gz")
    with pytest.raises(CourseError, match="whole number of records"): read_cifar10(cifar_archive(tmp_path/"odd.tar.gz", data_batch_1=cifar_records(2)[:-7]))
    with pytest.raises(CourseError, match="label 10"): read_cifar10(cifar_archive(tmp_path/"label.tar.gz", data_batch_1=cifar_records(2, 10)))


def photo(path, size=(20, 20), mode="RGB", colour="red", **kwargs):
    from PIL import Image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **kwargs)
    return path


def test_one_broken_photo_among_good_ones_is_named_skipped_and_counted(tmp_path):
    for i in range(3): photo(tmp_path/"a"/f"{i}.png")
    photo(tmp_path/"b"/"x.jpg")
    cut = photo(tmp_path/"b"/"cut.jpg", (200, 200))
    cut.write_bytes(cut.read_bytes()[:300])
    (tmp_path/"b"/"empty.png").write_bytes(b"")
    images, labels, classes, notes = read_photos(tmp_path, size=16)
    assert images.shape == (4, 3, 16, 16) and labels.tolist() == [0, 0, 0, 1] and classes == ["a", "b"]
    assert notes == ["2 files passed over, damaged: cut.jpg, empty.png."]


def test_a_class_without_a_readable_photo_is_refused(tmp_path):
    photo(tmp_path/"a"/"1.png")
    (tmp_path/"b").mkdir()
    with pytest.raises(CourseError, match=r"no photo in .*b\."): read_photos(tmp_path)
    (tmp_path/"b"/"broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(CourseError, match="can be read"): read_photos(tmp_path)


def test_a_gif_is_not_a_photo_and_hidden_files_are_nothing(tmp_path):
    photo(tmp_path/"a"/"1.png")
    photo(tmp_path/"a"/"missing.gif", mode="P", colour=0)
    (tmp_path/"a"/".DS_Store").write_bytes(b"x")
    images, *_, notes = read_photos(tmp_path)
    assert len(images) == 1 and notes == ["1 file passed over, not a photo: missing.gif."]


def test_grey_and_colour_mixed_become_colour_with_a_note(tmp_path):
    photo(tmp_path/"a"/"grey.png", mode="L", colour=100)
    photo(tmp_path/"a"/"red.png")
    images, *_, notes = read_photos(tmp_path)
    assert images[:, :, 0, 0].tolist() == [[100, 100, 100], [255, 0, 0]] and notes == ["1 file grey among colour: made RGB."]


def test_grey_alone_stays_one_channel_and_transparency_becomes_white(tmp_path):
    photo(tmp_path/"grey"/"a.png", mode="L", colour=100)
    assert read_photos(tmp_path)[0].shape == (1, 1, 20, 20)
    photo(tmp_path/"clear"/"b.png", mode="RGBA", colour=(255, 0, 0, 0))
    assert read_photos(tmp_path)[0][0, :, 0, 0].tolist() == [255, 255, 255]


def test_photos_stand_upright_and_are_cut_from_the_centre(tmp_path):
    from PIL import Image
    wide = Image.new("RGB", (40, 20), "blue")
    wide.paste("red", (10, 0, 30, 20))
    (tmp_path/"a").mkdir()
    wide.save(tmp_path/"a"/"wide.png")
    sideways, exif = Image.new("RGB", (20, 20), "black"), Image.Exif()
    sideways.paste("white", (0, 0, 20, 10))
    exif[0x0112] = 6                                    # turn a quarter to the right to look at it
    sideways.save(tmp_path/"a"/"turned.jpg", exif=exif, quality=95)
    turned, centre = read_photos(tmp_path, size=20)[0]
    assert (centre[0] > 200).all() and (centre[2] < 60).all(), "the middle of the wide photo is red"
    assert turned[0, :, 15:].min() > 200 and turned[0, :, :5].max() < 60, "its bright upper half is on the right after turning"


def test_layouts_of_folders(tmp_path):
    photo(tmp_path/"flat"/"1.png")
    assert read_photos(tmp_path/"flat")[2] == ["flat"], "no subfolders are one class"
    for part in ("train", "val"): photo(tmp_path/"set"/part/"cat"/"1.png", colour="red" if part == "train" else "blue")
    assert [read_photos(tmp_path/"set", split)[0][0, 0, 0, 0].item() for split in ("train", "valid", "test")] == [255, 0, 0]
    with pytest.raises(CourseError, match="split_set"): read_photos(tmp_path/"flat", "test")
    with pytest.raises(CourseError, match="only train, val"): read_photos(tmp_path/"set", "all")


def test_text_that_is_not_what_it_claims_names_the_place(tmp_path):
    path = tmp_path/"t.txt"
    path.write_bytes("one\ntwo \u521b\u4e16".encode("gb18030"))
    with pytest.raises(CourseError, match="in line 2"): read_text(path)
    assert read_text(path, "gb18030") == "one\ntwo \u521b\u4e16"
    with pytest.raises(CourseError, match="no encoding"): read_text(path, "utf-99")
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read_text(path) == "a\nb\nc"
    path.write_bytes(b" \n")
    with pytest.raises(CourseError, match="no text"): read_text(path)
    with pytest.raises(CourseError, match="Could not read"): read_text(tmp_path/"absent.txt")
