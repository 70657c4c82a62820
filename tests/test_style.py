"""Chapter 16b: Gram matrices, AdaIN and the descent of a picture keep their laws, and say what they refuse."""
import pytest
import torch
from torch import nn
from genesis_course.imagenet import imagenet_efficientnet
from genesis_course.style import Layered, adain, descend, gram, restyle, seen_maps, style_loss, texture
from genesis_course.support import message_of


@pytest.fixture(scope="module")
def eye(): return imagenet_efficientnet().requires_grad_(False)


def test_a_gram_matrix_forgets_places_and_is_a_matrix_of_products():
    maps = torch.randn(2, 5, 6, 7)
    shuffled = maps.flatten(2)[..., torch.randperm(42)].view_as(maps)
    torch.testing.assert_close(gram(maps), gram(shuffled))
    by_hand = torch.einsum("bchw,bdhw->bcd", maps, maps)/42
    torch.testing.assert_close(gram(maps), by_hand)
    assert torch.linalg.eigvalsh(gram(maps)).min() > -1e-5


def test_adain_gives_the_numbers_of_the_style():
    content, style = torch.randn(2, 4, 9, 9)*3+1, torch.randn(2, 4, 5, 6)*0.5-2
    moved = adain(content, style)
    torch.testing.assert_close(moved.mean(dim=(2, 3)), style.mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved.std(dim=(2, 3)), style.std(dim=(2, 3)), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(adain(content, content), content, atol=1e-3, rtol=1e-3)


def test_the_style_loss_is_zero_at_the_style_and_the_maps_are_the_networks(eye):
    photo = torch.rand(1, 3, 64, 64)*2-1
    assert style_loss(eye, photo)(photo).item() < 1e-6 < style_loss(eye, photo)(-photo).item()
    seen = seen_maps(eye, photo, 4)
    assert seen[0] is photo and torch.equal(seen[-1], eye.maps(photo, 4))


def test_a_layered_picture_begins_where_it_shall_and_descends():
    start = torch.rand(1, 3, 32, 40)*2-1
    assert torch.equal(Layered(start)(), start)
    goal = torch.full_like(start, 0.5)
    assert (descend(start, lambda x: (x-goal).square().mean(), 80, 0.1)-goal).abs().mean() < 0.2*(start-goal).abs().mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gram", "adain"])
def test_a_restyled_photo_comes_nearer_to_the_style_and_keeps_the_content(eye, kind):
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    content = torch.stack([xs, ys, -xs])[None]*0.6
    style = torch.where((xs*12).sin() > 0, 0.7, -0.7)[None, None].expand(1, 3, -1, -1).contiguous()
    made = restyle(eye, content, style, kind, steps=25)
    loss = style_loss(eye, style)
    assert made.shape == content.shape and made.abs().max() <= 1 and loss(made) < loss(content)
    assert torch.corrcoef(torch.stack([made.flatten(), content.flatten()]))[0, 1] > 0.2


@pytest.mark.slow
def test_a_texture_has_the_style_of_its_photo(eye):
    style = (torch.rand(1, 3, 64, 64) < 0.5).float()*1.4-0.7
    loss, noise = style_loss(eye, style), 0.1*torch.randn(1, 3, 64, 64)
    made, again = (texture(eye, style, steps=20, seed=0) for _ in range(2))
    assert loss(made) < 0.5*loss(noise) and torch.equal(made, again)


@pytest.mark.parametrize("change, says", [
    (dict(content=torch.zeros(1, 3, 16, 16)), "too small"), (dict(style=torch.zeros(1, 1, 64, 64)), "as_seen"), (dict(kind="oil"), "adain"), (dict(steps=0), "steps"),
    (dict(network=nn.Linear(2, 2)), "EfficientNet"), (dict(content=torch.zeros(2, 3, 64, 64), style=torch.zeros(3, 3, 64, 64)), "One style"), (dict(lr=-1), "learning rate"),
])
def test_bad_photos_get_a_sentence(eye, change, says):
    settings = dict(network=eye, content=torch.zeros(1, 3, 64, 64), style=torch.zeros(1, 3, 64, 64)) | change
    message = message_of(lambda: restyle(**settings))
    assert message and says in message and len(message) < 300, message
