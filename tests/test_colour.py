"""Chapter 09b: colours against colorsys, paint that can be undone, a probe of neighbours against what is known of norms, and what is said of bad input."""
import colorsys
import pytest
import torch
from torch import nn
from helpers import message_of, normal
from genesis_course.colour import (BatchSpread, colour_numbers, coloured_glyphs, draw_colours, hsv_to_rgb, hue_of, ink_and_paper, opposite_hues, paint, slopes_between, without_colour)
from genesis_course.data import load_images, to_floats
from genesis_course.evaluation import read_digits


def shares(*shape, seed=0): return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# Colours

def test_colours_equal_those_of_the_standard_library():
    hue, saturation, value = shares(3, 200)
    theirs = torch.tensor([colorsys.hsv_to_rgb(*each) for each in zip(hue.tolist(), saturation.tolist(), value.tolist())])
    torch.testing.assert_close(hsv_to_rgb(hue, saturation, value), theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hue_of(theirs), hue, atol=1e-3, rtol=0)


def test_hues_of_grey_and_of_the_pure_colours():
    colours = torch.tensor([[0.5, 0.5, 0.5], [1., 0, 0], [0, 1., 0], [0, 0, 1.], [1., 1., 0], [0, 1., 1.], [1., 0, 1.]])
    torch.testing.assert_close(hue_of(colours), torch.tensor([0, 0, 2, 4, 1, 3, 5])/6)


def test_ink_is_dark_paper_is_pale_and_their_hues_are_opposite():
    ink, paper = draw_colours(500, torch.Generator().manual_seed(0))
    assert (ink.sum(dim=1) < paper.sum(dim=1)).all()
    torch.testing.assert_close((hue_of(ink)-hue_of(paper)) % 1, torch.full((500,), 0.5), atol=1e-3, rtol=0)
    assert torch.equal(ink, draw_colours(500, torch.Generator().manual_seed(0))[0])


# Paint, and back

def test_paint_is_undone():
    glyphs = load_images("glyphs", size=32, count=40, weight=0.04, rotation=0, x=0, y=0, scale=1.)
    ink, paper = draw_colours(40, torch.Generator().manual_seed(1))
    pictures = paint(glyphs.images/255, ink, paper)
    found = ink_and_paper(pictures)
    torch.testing.assert_close(found[0], ink, atol=0.05, rtol=0)
    torch.testing.assert_close(found[1], paper, atol=0.01, rtol=0)
    assert (without_colour(pictures)-to_floats(glyphs.images)).abs().mean() < 0.02
    assert opposite_hues(pictures) > 0.97


def test_coloured_glyphs_are_drawn_anew_for_the_test_and_can_be_read():
    train, again, test, other = coloured_glyphs(60), coloured_glyphs(60), coloured_glyphs(60, split="test"), coloured_glyphs(60, seed=1)
    assert torch.equal(train.images, again.images) and train.images.shape == (60, 3, 16, 16) and train.images.dtype == torch.uint8
    assert not torch.equal(train.images, test.images) and not torch.equal(train.images, other.images)
    assert (read_digits(without_colour(to_floats(test.images))) == test.labels).float().mean() > 0.95


def test_one_colour_is_no_crash_and_random_hues_are_seldom_opposite():
    assert without_colour(torch.zeros(2, 3, 8, 8)).isfinite().all()
    ink, paper = shares(2, 400, 3)
    assert opposite_hues(paint((shares(400, 1, 8, 8, seed=2) > 0.8).float(), ink, paper)) < 0.5
    assert colour_numbers(torch.full((3, 3, 16, 16), 0.25)).unique().tolist() == [0.25] and colour_numbers(torch.zeros(2, 3, 17, 9)).shape == (2, 48)


# Neighbours

class Critic(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(144, 1), nn.Flatten(0))
    def forward(self, x): return self.layers(x)


@pytest.mark.parametrize("norm, sees", [(nn.Identity(), False), (nn.GroupNorm(1, 4), False), (nn.InstanceNorm2d(4), False), (nn.BatchNorm2d(4), True)], ids=["none", "layer", "instance", "batch"])
def test_only_batch_norm_sees_the_neighbours(norm, sees):
    torch.manual_seed(0)
    slopes = slopes_between(Critic(norm), shares(5, 3, 8, 8))
    assert slopes.shape == (5, 5) and (slopes.diagonal() > 0).all()
    away = slopes-slopes.diagonal().diag()
    assert (away.max() > 1e-4) == sees


def test_slopes_are_those_of_a_known_critic():
    x, mix = normal(3, 4), torch.tensor([[1., 2., 0.], [0., 1., 0.], [3., 0., 1.]], dtype=torch.float64)
    slopes = slopes_between(lambda images: mix @ images.sum(dim=1), x)
    torch.testing.assert_close(slopes, 2*mix)                # the gradient of a sum of four numbers has the length 2


def test_spread_of_a_batch_is_one_number_and_passes_gradients():
    layer, features = BatchSpread(), normal(6, 5)
    out = layer(features)
    assert torch.equal(out[:, :5], features) and out.shape == (6, 6) and len(out[:, 5].unique()) == 1
    torch.testing.assert_close(out[0, 5], features.std(dim=0, unbiased=False).mean(), atol=1e-6, rtol=1e-6)
    torch.autograd.gradcheck(layer, [normal(4, 3).requires_grad_()])
    equal = torch.ones(4, 3, requires_grad=True)
    slope, = torch.autograd.grad(layer(equal)[:, 3].sum(), equal)
    assert slope.isfinite().all(), "a batch of equal rows gives no NaN"
    torch.testing.assert_close(layer(features[[3, 1, 0, 2, 5, 4]])[:, 5], out[:, 5])


# Bad input

def test_bad_input_is_explained():
    message_of(lambda: hsv_to_rgb(torch.zeros(2), torch.zeros(3), torch.zeros(2)), "one length")
    message_of(lambda: hue_of(torch.zeros(3)), "[N, 3]")
    message_of(lambda: hue_of(torch.full((2, 3), -1.)), "(x+1)/2")
    message_of(lambda: draw_colours(0), "count")
    message_of(lambda: paint(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3), torch.zeros(2, 3)), "[N, 1, H, W]")
    message_of(lambda: paint(torch.zeros(2, 1, 4, 4), torch.zeros(3, 3), torch.zeros(2, 3)), "one colour")
    message_of(lambda: coloured_glyphs(-1), "count")
    for function in (ink_and_paper, without_colour, opposite_hues, colour_numbers):
        message_of(lambda: function(torch.zeros(2, 1, 4, 4)), "[N, 3, H, W]")
        message_of(lambda: function(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)), "to_floats")
        message_of(lambda: function(torch.full((2, 3, 4, 4), 3.)), "[-1, 1]")
    message_of(lambda: ink_and_paper(torch.zeros(2, 3, 4, 4), share=0), "share")
    message_of(lambda: slopes_between(3, torch.zeros(2, 3)), "critic")
    message_of(lambda: slopes_between(nn.Identity(), torch.zeros(2, 3, dtype=torch.int64)), "floats")
    message_of(lambda: BatchSpread()(torch.zeros(2, 3, 4, 4)), "flatten(1)")
