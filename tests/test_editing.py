"""Chapter 16a: repair, cleaning and enlarging keep their laws, agree with other libraries, and say what they refuse."""
import numpy as np
import pytest
import torch
from torch import nn
from genesis_course.editing import biharmonic, clean, earlier, enlarge, feature_distance, grow_median, posterior_sample, psnr, redraw, repaint, repair, shrink, ssim
from genesis_course.flow import mix
from genesis_course.support import CourseError, import_torchvision, message_of


def hole(size=28, top=10, left=9, height=8, width=10):
    known = torch.ones(size, size, dtype=torch.bool)
    known[top:top+height, left:left+width] = False
    return known


class Shifter(nn.Module):
    "Stands for a flow model of 28 by 28 pictures: everything flows towards one picture"
    def __init__(self, goal=None):
        super().__init__()
        self.shape, self.classes = (1, 28, 28), 10
        self.goal = nn.Parameter(torch.zeros(1, 28, 28) if goal is None else goal)

    def forward(self, x, t, labels=None): return (self.goal-x)/(1-t).clamp(min=1e-3).view(-1, 1, 1, 1)


# Measures


@pytest.mark.parametrize("channels, span", [(1, 2.), (3, 2.), (1, 1.), (3, 255.)])
def test_psnr_and_ssim_agree_with_torchmetrics(channels, span):
    import_torchvision()
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
    truth = torch.rand(4, channels, 24, 31)*span - span/2
    made = truth + 0.1*span*torch.randn_like(truth)
    theirs = structural_similarity_index_measure(made, truth, data_range=span, reduction="none")
    torch.testing.assert_close(ssim(made, truth, span), theirs, atol=1e-4, rtol=1e-4)
    each = torch.stack([peak_signal_noise_ratio(a[None], b[None], data_range=span) for a, b in zip(made, truth)])
    torch.testing.assert_close(psnr(made, truth, span), each, atol=1e-3, rtol=1e-4)


def test_equal_pictures_are_at_the_best_of_each_measure():
    images = torch.rand(3, 1, 28, 28)*2-1
    assert torch.allclose(ssim(images, images), torch.ones(3), atol=1e-5) and psnr(images, images).isinf().all() and feature_distance(images, images).max() < 1e-3


def test_one_picture_does_not_change_the_measure_of_another():
    made, truth = torch.rand(2, 5, 1, 28, 28)*2-1
    for measure in (psnr, ssim, feature_distance): torch.testing.assert_close(measure(made, truth)[2:3], measure(made[2:3], truth[2:3]), atol=1e-4, rtol=1e-4)


# Fillings


def test_biharmonic_agrees_with_scikit_image():
    from skimage.restoration import inpaint_biharmonic
    rng = np.random.default_rng(0)
    smooth = torch.tensor(rng.normal(size=(2, 1, 30, 26))).cumsum(2).cumsum(3)
    smooth = smooth/smooth.abs().amax(dim=(1, 2, 3), keepdim=True)
    known = torch.ones(30, 26, dtype=torch.bool)
    known[8:17, 6:18] = False
    known[21, 9:12] = False
    ours = biharmonic(smooth, known)
    for image, made in zip(smooth, ours):
        theirs = inpaint_biharmonic(image[0].numpy(), (~known).numpy())
        np.testing.assert_allclose(made[0].numpy(), theirs, atol=1e-6)


def test_biharmonic_continues_a_plane_and_a_saddle():
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 24), indexing="ij")
    known = torch.ones(20, 24, dtype=torch.bool)
    known[6:15, 5:16] = False
    for surface in (xs+0.5*ys, xs*ys, xs**2-ys**2, xs**3):
        image = surface.double()[None, None]
        torch.testing.assert_close(biharmonic(image, known), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fill", [grow_median, biharmonic])
def test_a_filling_keeps_what_is_known_and_leaves_its_argument_alone(fill):
    images = torch.rand(3, 2, 20, 20)
    known = torch.rand(3, 1, 20, 20) < 0.7
    before = images.clone()
    made = fill(images, known)
    assert torch.equal(images, before) and made.isfinite().all()
    everywhere = known.expand_as(images)
    assert torch.equal(made[everywhere], images[everywhere])
    hidden = images.masked_fill(~everywhere, 7.)
    torch.testing.assert_close(fill(hidden, known), made)                # what is hidden is not looked at


def test_the_median_of_one_missing_pixel_is_numpys():
    image = torch.rand(1, 1, 5, 5)
    known = torch.ones(5, 5, dtype=torch.bool)
    known[2, 2] = False
    known[1, 1] = False                                                  # seven neighbours are known: an odd number
    around = image[0, 0, 1:4, 1:4][known[1:4, 1:4]]
    assert grow_median(image, known)[0, 0, 2, 2].item() == pytest.approx(np.median(around.numpy()))


def test_a_constant_picture_is_filled_with_its_constant():
    images, known = torch.full((2, 1, 16, 16), 0.3), hole(16, 3, 2, 9, 8)
    for fill in (grow_median, biharmonic): torch.testing.assert_close(fill(images, known), images, atol=1e-5, rtol=0)


# With a flow


@pytest.mark.parametrize("s, t", [(0.5, 0.4), (1., 0.3), (0.9, 0.85), (0.2, 0.2)])
def test_a_step_back_is_distributed_as_the_mixtures_of_that_time(s, t):
    data = torch.full((40_000,), 1.5, dtype=torch.double)
    x = mix(torch.randn_like(data), data, torch.full((40_000,), s, dtype=torch.double))
    back = earlier(x, torch.tensor(s), torch.tensor(t), torch.randn_like(data))
    assert back.mean().item() == pytest.approx(1.5*t, abs=0.02) and back.std().item() == pytest.approx(1-t, abs=0.02)


@pytest.mark.parametrize("fill", [repaint, repair])
def test_a_repair_keeps_what_is_known_and_repeats_with_its_seed(fill):
    images, known, network = torch.rand(2, 1, 28, 28)*2-1, hole(), Shifter()
    network.train()
    made, again = (fill(network, images, known, calls=4, seed=0) for _ in range(2))
    assert network.training and not made.requires_grad
    assert torch.equal(made, again) and torch.equal(made[..., known], images[..., known]) and made.abs().max() <= 1
    hidden = images.clone()
    hidden[..., ~known] = 1.
    torch.testing.assert_close(fill(network, hidden, known, calls=4, seed=0), made)     # what is hidden does not leak


def test_a_flow_that_knows_one_picture_repairs_to_it():
    goal = (torch.rand(1, 28, 28)*2-1)*0.9
    known, images = hole(), goal[None].expand(2, -1, -1, -1)
    for fill in (repaint, repair): torch.testing.assert_close(fill(Shifter(goal), images, known, seed=3), images, atol=1e-3, rtol=0)


class Gaussian(nn.Module):
    "The exact flow of normal data of mean 0.2 and deviation 0.5, the pixels independent"
    def __init__(self):
        super().__init__()
        self.shape, self.classes, self.nothing = (1, 28, 28), None, nn.Parameter(torch.zeros(1))

    def forward(self, x, t, labels=None):
        t = t.view(-1, 1, 1, 1)
        best = 0.2 + 0.25*t*(x-0.2*t)/(0.25*t**2+(1-t)**2)
        return (best-x)/(1-t).clamp(min=1e-6) + 0*self.nothing


def test_what_the_operator_sees_comes_closer_to_what_was_seen():
    seen = shrink(0.2+0.5*torch.randn(4, 1, 28, 28), 4)
    def off(strength):
        made = posterior_sample(Gaussian(), seen, lambda x: shrink(x, 4), strength=strength, calls=30, seed=0)
        return (shrink(made, 4)-seen).square().mean().sqrt().item()
    free, held = off(0.), off(4.)
    assert held < 0.6*free, (free, held)


def test_cleaning_of_normal_pictures_is_the_formula():
    truth = 0.2+0.5*torch.randn(3, 1, 28, 28)
    noisy = truth + 0.4*torch.randn_like(truth)
    best = 0.2 + 0.25/(0.25+0.16)*(noisy-0.2)
    torch.testing.assert_close(clean(Gaussian(), noisy, 0.4), best.clamp(-1, 1), atol=1e-4, rtol=1e-4)


def test_a_sketch_changes_little_with_little_strength_and_wholly_with_much():
    goal, sketch = torch.full((1, 28, 28), 0.5), torch.full((2, 1, 28, 28), -0.5)
    made = redraw(Shifter(goal), sketch, strength=0.5, seed=0)
    torch.testing.assert_close(made, goal.expand_as(made), atol=1e-3, rtol=0)
    still = redraw(Still(), sketch, strength=0.1, seed=0)
    assert (still-0.9*sketch).std() < 0.15


class Still(Shifter):
    def forward(self, x, t, labels=None): return torch.zeros_like(x)


def test_shrinking_keeps_the_mean_and_enlarging_gives_the_size_back():
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(shrink(images, 4).mean(dim=(2, 3)), images.mean(dim=(2, 3)))
    assert enlarge(Shifter(), shrink(images, 4), 4, calls=2, seed=0).shape == images.shape


# Bad input


IMAGES, KNOWN = torch.zeros(2, 1, 28, 28), hole()


@pytest.mark.parametrize("call, says", [
    (lambda: repair(Shifter(), IMAGES, KNOWN[:20, :20]), "another size"),
    (lambda: grow_median(IMAGES, torch.zeros(28, 28, dtype=torch.bool)), "Nothing is known"),
    (lambda: biharmonic(IMAGES, torch.stack([KNOWN, KNOWN & False])[:, None]), "Nothing is known"),
    (lambda: repaint(Shifter(), IMAGES, torch.ones(28, 28, dtype=torch.bool)), "Everything is known"),
    (lambda: repair(Shifter(), IMAGES, KNOWN.float()), "bool"),
    (lambda: repair(Shifter(), IMAGES[..., :20], KNOWN[:, :20]), "draws pictures"),
    (lambda: repair(Shifter(), IMAGES.to(torch.uint8), KNOWN), "to_floats"),
    (lambda: repair(nn.Linear(2, 2), IMAGES, KNOWN), "UNet"),
    (lambda: repair("flow", IMAGES, KNOWN), "network"),
    (lambda: repair(Shifter(), IMAGES, KNOWN, labels=torch.tensor([3, 11])), "0 to 9"),
    (lambda: repaint(Shifter(), IMAGES, KNOWN, again=0), "again"),
    (lambda: shrink(IMAGES, 5), "does not divide"),
    (lambda: enlarge(Shifter(), torch.zeros(1, 1, 7, 7), 3), "another factor"),
    (lambda: posterior_sample(Shifter(), torch.zeros(1, 1, 7, 7), lambda x: x), "operator sees"),
    (lambda: clean(Shifter(), IMAGES, -1.), "sigma"),
    (lambda: redraw(Shifter(), IMAGES, strength=1.5), "strength"),
    (lambda: ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)), "11 by 11"),
    (lambda: psnr(IMAGES, IMAGES[:1]), "one shape"),
    (lambda: psnr(IMAGES, IMAGES, 0), "span"),
    (lambda: feature_distance(torch.zeros(1, 3, 28, 28), torch.zeros(1, 3, 28, 28)), "grey"),
])
def test_bad_input_gets_a_sentence(call, says):
    message = message_of(call)
    assert message and says in message and len(message) < 300, message


def test_a_hole_for_each_image_is_taken_as_well():
    known = torch.stack([hole(), hole(top=4)])[:, None]
    images = torch.rand(2, 1, 28, 28)
    both = biharmonic(images, known)
    torch.testing.assert_close(both[1:], biharmonic(images[1:], known[1:]), atol=1e-5, rtol=1e-5)
    with pytest.raises(CourseError): biharmonic(images, known[:, :, :20])
