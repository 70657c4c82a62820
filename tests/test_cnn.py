"""Chapter 04: convolutions, batch norm and residual networks against PyTorch, augmentation against laws, and what is said of bad input."""
import math
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from helpers import normal, message_of
from genesis_course.augment import Augment, erase, feature_maps, grad_cam, mixup, warp
from genesis_course.cnn import (BatchNorm, ResidualBlock, ResNet, conv2d, conv_block, conv_size,
                                receptive_field, transposed_size)
from genesis_course.data import Batches, digits_set
from genesis_course.resample import resample
from genesis_course.optim import one_cycle
from genesis_course.training import accuracy, fit


# Convolution

@given(height=st.integers(1, 12), width=st.integers(1, 12), k=st.integers(1, 5), l=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 3),
       channels=st.integers(1, 3), out=st.integers(1, 3), bias=st.booleans())
@settings(max_examples=80, deadline=None)
def test_conv2d_equals_torch_with_all_gradients(height, width, k, l, stride, padding, channels, out, bias):
    assume(k <= height+2*padding and l <= width+2*padding)
    inputs = [normal(2, channels, height, width), normal(out, channels, k, l, seed=1)]+([normal(out, seed=2)] if bias else [])
    inputs = [tensor.requires_grad_() for tensor in inputs]
    ours, theirs = (convolve(*inputs, stride=stride, padding=padding) for convolve in (conv2d, F.conv2d))
    assert ours.shape[2:] == (conv_size(height, k, stride, padding), conv_size(width, l, stride, padding))
    torch.testing.assert_close(ours, theirs)
    for mine, right in zip(*(torch.autograd.grad(y.square().sum(), inputs) for y in (ours, theirs))): torch.testing.assert_close(mine, right)

def test_conv2d_passes_gradcheck():
    assert torch.autograd.gradcheck(lambda *inputs: conv2d(*inputs, stride=2, padding=1), [normal(1, 2, 5, 4).requires_grad_(), normal(2, 2, 3, 3, seed=1).requires_grad_(), normal(2, seed=2).requires_grad_()])

@given(dy=st.integers(-3, 3), dx=st.integers(-3, 3), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_convolution_moves_with_the_picture(dy, dx, seed):
    x, weight = F.pad(normal(1, 2, 6, 6, seed=seed), [5]*4), normal(3, 2, 3, 3, seed=seed+1)
    torch.testing.assert_close(conv2d(x.roll((dy, dx), (2, 3)), weight), conv2d(x, weight).roll((dy, dx), (2, 3)))

def test_without_sharing_a_convolution_is_a_matrix():
    "Linear in its input: conv(ax + by) = a conv(x) + b conv(y)"
    x, y, weight = normal(1, 1, 5, 5), normal(1, 1, 5, 5, seed=1), normal(2, 1, 3, 3, seed=2)
    torch.testing.assert_close(conv2d(2*x-3*y, weight), 2*conv2d(x, weight)-3*conv2d(y, weight))

@given(size=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 5), padding=st.integers(0, 4))
@settings(max_examples=100, deadline=None)
def test_sizes_are_those_of_torch(size, kernel, stride, padding):
    if kernel <= size+2*padding: assert conv_size(size, kernel, stride, padding) == F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), stride=stride, padding=padding).shape[-1]
    if (size-1)*stride+kernel > 2*padding: assert transposed_size(size, kernel, stride, padding) == F.conv_transpose1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), stride=stride, padding=padding).shape[-1]

@given(layers=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_receptive_field_is_what_the_gradient_reaches(layers):
    field, step = receptive_field(layers), math.prod(stride for _, stride in layers)
    x = torch.zeros(1, 1, field+3*step, dtype=torch.float64, requires_grad=True)
    y = x
    for kernel, stride in layers: y = F.conv1d(y, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride)
    unit = 1 if y.shape[-1] > 1 else 0
    y[0, 0, unit].backward()
    places = x.grad[0, 0].nonzero()
    assert int(places.max()-places.min())+1 == field if all(k >= s for k, s in layers) else int(places.max()-places.min())+1 <= field
    assert int(places.min()) == unit*step

def test_receptive_field_of_nothing_is_one_pixel(): assert receptive_field([]) == 1


# Batch norm

@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_batch_norm_equals_torch_in_both_modes_with_gradients(momentum):
    ours, theirs = BatchNorm(3, momentum=momentum).double(), nn.BatchNorm2d(3, momentum=momentum).double()
    with torch.no_grad(): [tensor.copy_(normal(3, seed=seed)) for seed, tensor in enumerate(ours.parameters())]
    theirs.load_state_dict(ours.state_dict())
    for mode in (True, True, False):
        x = [(2*normal(4, 3, 5, 2, seed=7)+1).requires_grad_() for _ in range(2)]
        results = [layer.train(mode)(images) for layer, images in zip((ours, theirs), x)]
        torch.testing.assert_close(*results)
        slopes = [torch.autograd.grad(y.pow(3).sum(), [images, *layer.parameters()]) for y, images, layer in zip(results, x, (ours, theirs))]
        for mine, right in zip(*slopes): torch.testing.assert_close(mine, right)
        for name, value in theirs.state_dict().items(): torch.testing.assert_close(ours.state_dict()[name], value)

def test_batch_norm_in_evaluation_ignores_the_company():
    layer = BatchNorm(2).eval()
    x = normal(5, 2, 3, 3, dtype=torch.float32)
    torch.testing.assert_close(layer(x)[:1], layer(x[:1]))
    layer.train()
    assert not torch.allclose(layer(x)[:1], layer(x[:1]))

def test_batch_norm_of_one_number_is_a_sentence(): message_of(lambda: BatchNorm(2)(torch.zeros(1, 2, 1, 1)), "more than one number", "eval()")


# Networks

def test_a_new_residual_block_copies():
    x = torch.rand(2, 4, 5, 7)
    assert torch.equal(ResidualBlock(4, 4)(x), x) and len(list(ResidualBlock(4, 4).shortcut.parameters())) == 0

def test_a_residual_block_is_its_formula():
    block = ResidualBlock(2, 3, stride=2).eval()
    nn.init.ones_(block.change[-1].weight)
    x = torch.rand(2, 2, 7, 5)
    torch.testing.assert_close(block(x), F.relu(block.shortcut(x)+block.change(x)))
    assert block(x).shape == (2, 3, 4, 3)

def test_conv_block_keeps_or_halves_the_size():
    assert conv_block(1, 2, 5)(torch.zeros(2, 1, 9, 9)).shape == (2, 2, 9, 9) and conv_block(1, 2, 3, 2)(torch.zeros(2, 1, 9, 9)).shape == (2, 2, 5, 5)

@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 20, 40), (2, 5, 9)])
@pytest.mark.parametrize("settings", [{}, dict(stem_kernel=5, stem_stride=1, pool="max"), dict(widths=(4, 8), blocks=2, dropout=0.2), dict(widths=[6])])
def test_resnet_reads_images_of_any_size(shape, settings):
    network = ResNet(shape[0], classes=7, **settings)
    assert network(torch.zeros(2, *shape)).shape == (2, 7)
    assert all(parameter.grad_fn is None and parameter.requires_grad for parameter in network.parameters())

def test_resnet_of_the_default_size_is_small(): assert sum(p.numel() for p in ResNet().parameters()) < 100_000

def test_resnet_learns_digits():
    torch.manual_seed(0)
    network = ResNet()
    fit(network, F.cross_entropy, Batches(digits_set("train"), batch_size=50), epochs=3, lr=0.01, schedule=one_cycle, device="cpu")
    x, y = next(iter(Batches(digits_set("test"), batch_size=360)))
    with torch.no_grad(): assert accuracy(network.eval()(x), y) > 0.8

@pytest.mark.slow
def test_training_with_augmentation_repeats_under_its_seed():
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        network = ResNet(widths=(4, 8), dropout=0.2)
        fit(network, F.cross_entropy, Batches(digits_set("train")[:100], batch_size=50, transform=Augment(rotate=5, shift=0.05, erase=0.5)), epochs=2, device="cpu")
        ends.append([parameter.detach().clone() for parameter in network.parameters()])
    assert all(map(torch.equal, *ends))

def test_resnet_survives_a_round_trip_of_its_state():
    first, second = ResNet(widths=(4, 8)).eval(), ResNet(widths=(4, 8)).eval()
    second.load_state_dict(first.state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(first(x), second(x))


# Augmentation

def pictures(count=6, size=12, channels=1, seed=0): return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))*2-1

@pytest.mark.parametrize("size", [(8, 8), (9, 5), (20, 40)])
def test_augment_at_zero_is_the_identity(size):
    x = pictures(3, 40)[:, :, :size[0], :size[1]]
    assert torch.equal(Augment()(x), x)
    torch.testing.assert_close(warp(x), x, atol=1e-5, rtol=0)

@given(dx=st.integers(-5, 5), dy=st.integers(-5, 5))
@settings(max_examples=25, deadline=None)
def test_a_shift_moves_by_exactly_that(dx, dy):
    x = F.pad(pictures(2, 4), [6, 10, 6, 6], value=-1.)          # 16 high, 20 wide
    moved = warp(x, x=dx/20, y=dy/16)
    torch.testing.assert_close(moved, x.roll((dy, dx), (2, 3)), atol=1e-4, rtol=0)

@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact_and_counter_clockwise(turns):
    x = pictures(2, 9)
    torch.testing.assert_close(warp(x, rotation=90.*turns), torch.rot90(x, turns, dims=(2, 3)), atol=1e-4, rtol=0)

def test_a_half_turn_of_a_wide_picture_and_a_turn_there_and_back():
    x = pictures(2, 16)[:, :, :8]
    torch.testing.assert_close(warp(x, rotation=180.), x.flip(2, 3), atol=1e-4, rtol=0)
    y, x = torch.meshgrid(torch.arange(20.), torch.arange(32.), indexing="ij")
    blob = (2*torch.exp(-((y-8)**2+(x-19)**2)/18)-1)[None, None]
    torch.testing.assert_close(warp(warp(blob, rotation=30.), rotation=-30.), blob, atol=0.12, rtol=0)

def test_scale_two_makes_a_square_twice_as_large():
    x = F.pad(torch.ones(1, 1, 4, 4), [4]*4, value=-1.)
    assert (warp(x, scale=2.) > 0).sum() == 64 and (warp(x, scale=0.5) > 0).sum() == 4

def test_warp_agrees_with_scipy():
    "Turned by 20 degrees against the clock, 1.2 times as large, moved by 2 pixels to the right and 1 up; rows and columns, y pointing down"
    from scipy.ndimage import affine_transform
    x = F.pad(pictures(1, 8, seed=3), [6]*4, value=0.)
    cos, sin, centre = math.cos(math.radians(20)), math.sin(math.radians(20)), np.full(2, 9.5)
    back = np.array([[cos, sin], [-sin, cos]])/1.2
    theirs = affine_transform(x[0, 0].double().numpy(), back, centre-back@(centre+[-1, 2]), order=1)
    torch.testing.assert_close(warp(x, rotation=20., x=2/20, y=-1/20, scale=1.2, fill=0.)[0, 0].double(), torch.tensor(theirs), atol=1e-4, rtol=0)

def test_beyond_the_edge_is_black_or_what_was_asked_for():
    assert (warp(torch.zeros(1, 1, 8, 8), x=0.5)[..., :3] == -1).all() and (warp(-torch.ones(1, 1, 8, 8), x=0.5, fill=0.)[..., :3] == 0).all()

def test_augmented_images_stay_in_range_and_differ_from_each_other():
    torch.manual_seed(0)
    x = pictures(1).expand(50, -1, -1, -1)
    y = Augment(rotate=20, shift=0.2, scale=0.2, erase=0.5, flip=True)(x)
    assert y.shape == x.shape and y.abs().max() <= 1+1e-5 and len({image.numpy().tobytes() for image in y}) == 50

def test_augmentation_repeats_under_its_seed_and_leaves_its_input_alone():
    augment, x, ends = Augment(rotate=20, shift=0.2, scale=0.2, erase=0.5, flip=True), pictures(), []
    before = x.clone()
    for _ in range(2):
        torch.manual_seed(5)
        ends.append(augment(x))
    assert torch.equal(*ends) and torch.equal(x, before)

def test_flip_mirrors_about_half():
    torch.manual_seed(0)
    x = pictures(1).expand(400, -1, -1, -1)
    y = Augment(flip=True)(x)
    mirrored = (y == x.flip(3)).flatten(1).all(1)
    assert ((y == x).flatten(1).all(1) | mirrored).all() and 0.4 < mirrored.float().mean() < 0.6

@pytest.mark.parametrize("probability", [0., 0.3, 1.])
def test_erase_hides_a_rectangle_of_the_right_size_in_the_right_share(probability):
    torch.manual_seed(0)
    hidden = erase(torch.ones(500, 1, 40, 60), probability)[:, 0] == 0
    area = hidden.float().mean(dim=(1, 2))
    assert abs((area > 0).float().mean()-probability) < 0.07
    for hole, share in zip(hidden, area):
        if share == 0: continue
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows*columns and 0.01 < share < 0.23

@given(height=st.integers(1, 6), width=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_resampling_is_grid_sample_with_its_first_slope(height, width, seed):
    torch.manual_seed(seed)
    ours, theirs, weight = *(torch.randn(2, 3, 4, 5).repeat(2, 1, 1, 1, 1).requires_grad_().unbind()), torch.randn(2, 3, height, width)
    grid = 2.6*torch.rand(2, height, width, 2)-1.3                    # some of it outside
    ends = resample(ours, grid), F.grid_sample(theirs, grid, align_corners=False)
    slopes = [torch.autograd.grad((end*weight).sum(), images)[0] for end, images in zip(ends, (ours, theirs))]
    torch.testing.assert_close(*ends)
    torch.testing.assert_close(*slopes)

def test_warped_images_can_be_differentiated_twice():
    "What a gradient penalty or an attack asks for, which `grid_sample` refuses in some versions of PyTorch"
    torch.manual_seed(0)
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    def bent(images): return warp(images, rotation=20., x=0.1, scale=1.2).pow(3)
    assert torch.autograd.gradcheck(bent, x) and torch.autograd.gradgradcheck(bent, x)

def test_half_precision_blurs_no_place():
    "The places stay exact; only what is read is rounded"
    x = pictures().bfloat16()
    grid = F.affine_grid(torch.eye(2, 3).expand(len(x), 2, 3), list(x.shape), align_corners=False)
    torch.testing.assert_close(resample(x, grid), x, rtol=1e-2, atol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        x = x.requires_grad_()
        resample(x, grid).sum().backward()
    assert x.grad.dtype == torch.bfloat16 and x.grad.isfinite().all()

def test_augment_can_be_differentiated():
    x = pictures().requires_grad_()
    Augment(rotate=10, shift=0.1, scale=0.1)(x).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


# mixup

@given(alpha=st.floats(0.05, 5), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_mixup_conserves_targets_and_ink(alpha, seed):
    torch.manual_seed(seed)
    x, y = pictures(8, 4), torch.arange(8) % 3
    mixed, targets = mixup(x, y, 3, alpha)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert targets.min() >= 0 and mixed.abs().max() <= 1+1e-6 and mixed.shape == x.shape

def test_mixup_mixes_image_and_target_in_the_same_share():
    "Each image is a plain plane with the number of its class, so the mixed plane must be the mean class of the target"
    torch.manual_seed(0)
    y = torch.arange(40) % 4
    mixed, targets = mixup((y.float()/4).view(-1, 1, 1, 1).expand(-1, 1, 3, 3), y, 4, 1.)
    torch.testing.assert_close(mixed[:, 0, 1, 1], (targets*torch.arange(4.)).sum(1)/4)
    assert 5 < ((targets > 0).sum(1) == 2).sum()

def test_mixup_share_follows_its_beta():
    torch.manual_seed(0)
    _, targets = mixup(torch.zeros(2000, 1, 1, 1), torch.arange(2000), 2000, 0.4)
    share = targets.diagonal()
    assert abs(share.mean()-0.5) < 0.03 and abs(share.var()-1/(4*(2*0.4+1))) < 0.01


# Looking inside

def test_feature_maps_are_what_the_parts_compute_and_modes_return():
    network, x = ResNet(widths=(4, 8)), pictures(2, 8)
    network.stage1.eval()
    modes = [part.training for part in network.modules()]
    maps = feature_maps(network, x)
    assert [part.training for part in network.modules()] == modes and list(maps) == ["stem", "stage1", "stage2"]
    with torch.no_grad(): torch.testing.assert_close(maps["stem"], network.eval().stem(x))
    assert not any(part._forward_hooks for part in network.modules())

def test_grad_cam_is_cam_for_a_mean_and_a_linear_layer():
    network, x = ResNet(widths=(4, 8)).eval(), pictures(3, 8)
    classes = torch.tensor([1, 5, 9])
    maps = feature_maps(network, x)["stage2"]
    heat = F.relu(torch.einsum("bc,bchw->bhw", network.head[-1].weight[classes], maps)).detach()
    heat = F.interpolate(heat[:, None], (8, 8), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(grad_cam(network, "stage2", x, classes), heat/heat.amax((1, 2), keepdim=True).clamp(min=1e-12), atol=1e-5, rtol=1e-4)

def test_grad_cam_leaves_no_trace():
    network, x = ResNet(widths=(4, 8)).requires_grad_(False), pictures(2, 8)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad(): heat = grad_cam(network, network.stage1, x, 3)
    assert heat.shape == (2, 8, 8) and not heat.requires_grad and 0 <= heat.min() and heat.max() <= 1+1e-6
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items()) and network.training
    assert all(p.grad is None for p in network.parameters()) and not x.requires_grad and not any(part._forward_hooks for part in network.modules())


# Bad input

@pytest.mark.parametrize("arguments, fragment", [((4, 5), "does not fit"), ((0, 1), "size"), ((8, 0), "kernel"), ((8, 3, 0), "stride"), ((8, 3, 1, -1), "padding"), ((8.0, 3), "size"), ((8, True), "kernel"), (("8", 3), "size")])
def test_impossible_sizes_are_sentences(arguments, fragment): message_of(lambda: conv_size(*arguments), fragment)

def test_other_impossible_windows_are_sentences():
    message_of(lambda: transposed_size(1, 2, 1, 1), "leaves nothing")
    message_of(lambda: receptive_field([(0, 1)]), "kernel")
    message_of(lambda: conv2d(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 4, 4)), "does not fit")
    message_of(lambda: conv2d(torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 2, 2)), "2 channel(s)")
    message_of(lambda: conv2d(torch.zeros(3, 3), torch.zeros(1, 1, 2, 2)), "[B, C, H, W]")

@pytest.mark.parametrize("x, fragments", [
    (torch.zeros(2, 1, 3, 8), ("3x8", "4 a side")), (torch.zeros(2, 3, 8, 8), ("in_channels=3", "mean(dim=1")), (torch.zeros(1, 8, 8), ("image[None]",)),
    (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), ("uint8", "to_floats")), (torch.zeros(2, 64), ("[2, 64]",)), ([[1]], ("list",)), (torch.zeros(2, 2, 8, 8), ("in_channels=2",))])
def test_images_that_do_not_fit_a_network_are_sentences(x, fragments): message_of(lambda: ResNet()(x), *fragments)

def test_grey_images_for_a_colour_network_are_a_sentence(): message_of(lambda: ResNet(3)(torch.zeros(2, 1, 8, 8)), "in_channels=1", "expand(-1, 3, -1, -1)")

@pytest.mark.parametrize("settings", [dict(widths=()), dict(widths=(8, 0)), dict(widths="16"), dict(blocks=0), dict(classes=2.5), dict(in_channels=0), dict(stem_stride=0), dict(stem_kernel=4),
                                      dict(pool="mean"), dict(dropout=1), dict(dropout="0.1"), dict(blocks=True), dict(pool=None)])
def test_impossible_networks_are_sentences(settings): message_of(lambda: ResNet(**settings), next(iter(settings)))

@pytest.mark.parametrize("settings", [dict(rotate=-1), dict(rotate=181), dict(shift=1.5), dict(shift="0.1"), dict(scale=1), dict(erase=2), dict(erase=-0.1), dict(rotate=math.nan), dict(scale=None), dict(shift=True)])
def test_augmentation_out_of_range_is_a_sentence(settings): message_of(lambda: Augment(**settings), next(iter(settings)))

@pytest.mark.parametrize("images", [torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(8, 8), "images"])
def test_augmentation_of_something_else_is_a_sentence(images): message_of(lambda: Augment(flip=True)(images), "float images")

@pytest.mark.parametrize("alpha", [0, -1, math.inf, math.nan, "0.2", None, True])
def test_an_impossible_alpha_is_a_sentence(alpha): message_of(lambda: mixup(pictures(4), torch.zeros(4, dtype=torch.int64), 3, alpha), "alpha")

def test_mixup_of_unknown_classes_is_a_sentence(): message_of(lambda: mixup(pictures(4), torch.tensor([0, 1, 2, 3]), 3, 0.5), "3 classes")

def test_looking_in_the_wrong_place_is_a_sentence():
    network, x = ResNet(widths=(4, 8)), pictures(2, 8)
    message_of(lambda: grad_cam(network, "stage7", x, 1), "'stage7'", "stem, stage1, stage2, head")
    message_of(lambda: grad_cam(network, nn.Linear(1, 1), x, 1), "no part")
    message_of(lambda: grad_cam(network, "head", x, 1), "before the global average pool")
    message_of(lambda: grad_cam(network, "stage1", x, 10), "0 to 9")
    message_of(lambda: grad_cam(network, "stage1", x, 1.5), "0 to 9")
    message_of(lambda: grad_cam(network, "stage1", torch.zeros(2, 3, 8, 8), 1), "channel")

def test_a_bias_that_would_be_spread_is_a_sentence():
    for bias in (torch.zeros(1), torch.zeros(5), torch.zeros(4, 1), 0.5): message_of(lambda: conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(4, 1, 3, 3), bias), "4 kernels")

def test_convolutions_of_other_things_are_sentences():
    weight = torch.zeros(4, 1, 3, 3)
    for x in (None, [[1]], torch.zeros(8, 8).numpy()): message_of(lambda: conv2d(x, weight), "tensors")
    for dtype in (torch.uint8, torch.float64): message_of(lambda: conv2d(torch.zeros(1, 1, 8, 8, dtype=dtype), weight), str(dtype).removeprefix("torch."))

@pytest.mark.parametrize("layers", [None, [3, 3], (3, 1), [(3,)], "33", [(3, 1), ...], [(3, 1, 0)]])
def test_layers_that_are_no_pairs_are_a_sentence(layers): message_of(lambda: receptive_field(layers), "pairs (kernel, stride)")

@pytest.mark.parametrize("maps", [torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(2, 2), torch.zeros(2, 2, 4, 4, dtype=torch.float64), None, [[1]]])
def test_batch_norm_of_the_wrong_maps_is_a_sentence(maps):
    message_of(lambda: BatchNorm(2)(maps), "[B, 2, H, W]")
    message_of(lambda: BatchNorm(2).eval()(maps), "[B, 2, H, W]")

def test_impossible_layers_are_sentences():
    message_of(lambda: BatchNorm(0), "channels")
    message_of(lambda: conv_block(1, 2, 4), "odd")
    message_of(lambda: conv_block(0, 2), "in_channels")
    for stride in (0, -1, 1.5): message_of(lambda: ResidualBlock(2, 2, stride), "stride")

def test_one_image_in_training_and_double_precision_are_sentences():
    message_of(lambda: ResNet()(torch.zeros(1, 1, 4, 4)), "batch norm", "model.eval()")
    assert ResNet().eval()(torch.zeros(1, 1, 4, 4)).shape == (1, 10) and ResNet()(torch.zeros(1, 1, 5, 4)).shape == (1, 10)
    message_of(lambda: ResNet()(torch.zeros(2, 1, 8, 8, dtype=torch.float64)), "images.float()")
    assert ResNet().double()(torch.zeros(2, 1, 8, 8, dtype=torch.float64)).dtype == torch.float64

def test_an_empty_batch_stays_empty():
    augment = Augment(rotate=5, shift=0.1, scale=0.1, erase=0.5, flip=True)
    assert augment(torch.zeros(0, 1, 8, 8)).shape == (0, 1, 8, 8) and ResNet()(torch.zeros(0, 1, 8, 8)).shape == (0, 10)

def test_impossible_warps_and_holes_are_sentences():
    x = pictures(4)
    message_of(lambda: warp(x.byte()), "to_floats")
    message_of(lambda: erase(x[0]), "float images")
    for scale in (0, -1, math.nan, math.inf): message_of(lambda: warp(x, scale=scale), "scale")
    for rotation in (None, "10", torch.zeros(3), math.nan): message_of(lambda: warp(x, rotation=rotation), "rotation")
    for settings in (dict(probability=2), dict(probability=None), dict(area=0.2), dict(area=(0.5, 0.1)), dict(area=(-1, 0.1)), dict(area=(0, 2))):
        message_of(lambda: erase(x, **settings), next(iter(settings)))
    message_of(lambda: Augment(flip="no"), "flip")
    message_of(lambda: Augment(fill=None), "fill")

@pytest.mark.parametrize("labels", [[0, 1, 2, 1], torch.tensor([[0], [1], [2], [1]]), torch.tensor([0, 1]), torch.zeros(4), torch.zeros(4, 3), None])
def test_mixup_of_labels_of_another_kind_is_a_sentence(labels): message_of(lambda: mixup(pictures(4), labels, 3, 0.5), "one class number", "4 images")

def test_mixup_takes_labels_of_any_whole_dtype():
    for dtype in (torch.uint8, torch.int32): assert mixup(pictures(4), torch.tensor([0, 1, 2, 1], dtype=dtype), 3, 0.5)[1].shape == (4, 3)
    for classes in (None, 3., "3", True, 0): message_of(lambda: mixup(pictures(4), torch.tensor([0, 1, 2, 1]), classes, 0.5), "classes")

@pytest.mark.parametrize("classes", [None, True, "4", [1, 2], torch.tensor([1, 2]), torch.tensor([[1], [2], [3], [4]])])
def test_a_question_of_the_wrong_form_is_a_sentence(classes): message_of(lambda: grad_cam(ResNet(widths=(4, 8)), "stage2", pictures(4, 8), classes), "one class number")

def test_looking_with_or_at_something_else_is_a_sentence():
    network, x = ResNet(widths=(4, 8)), pictures(4, 8)
    for images in (None, x.numpy(), x.byte(), x[0]): message_of(lambda: grad_cam(network, "stage2", images, 1), "float images")
    message_of(lambda: grad_cam(None, "stage2", x, 1), "network")
    message_of(lambda: feature_maps(None, x), "network")
    message_of(lambda: grad_cam(nn.Sequential(nn.Conv2d(1, 2, 3)), "0", x, 1), "logits")
