"""The live flow: it computes what PyTorch computes, paints under finger and keys, and never freezes."""
import pytest
import torch
from genesis_course.diffusion import UNet, guided
from genesis_course.evaluation import read_digits
from genesis_course.flow import euler, steps_to
from genesis_course.state import load_weights
from test_demos import numbers, server, status, visit          # noqa: F401

in_browser = pytest.mark.browser


@pytest.fixture(scope="module")
def trained():
    state, about = load_weights("flow_digits")
    network = UNet(**about["settings"])
    network.load_state_dict(state)
    return network.eval()


def choose(page, **values):
    for name, value in values.items():
        page.evaluate(f"(() => {{ const x = document.getElementById('{name}'); x.value = {value}; x.dispatchEvent(new Event('input')); }})()")


@in_browser
@pytest.mark.parametrize(("digit", "steps", "scale"), [(3, 4, 1.5), (8, 2, 1.), (0, 3, 0.)])
def test_the_page_draws_what_pytorch_draws(visit, trained, digit, steps, scale):   # noqa: F811
    page = visit("flow")
    choose(page, steps=steps, scale=scale)
    page.click(f"#digits button:nth-child({digit+1})")
    page.wait_for_function("page.ready()")
    noise, drawn = (numbers(page, f"page.{name}").view(1, 1, 28, 28) for name in ("noise", "x"))
    with torch.no_grad(): ours = euler(guided(trained, torch.tensor([digit]), scale), noise, steps_to(steps))
    assert (drawn-ours).abs().max() < 1e-3
    calls = steps*(1 if scale == 1 else 2)
    assert f"{digit}, in {calls} calls" in status(page) and not page.faults


@in_browser
def test_digits_that_are_asked_for_can_be_read(visit):                              # noqa: F811
    page, drawn = visit("flow"), []
    choose(page, steps=8, scale=2)
    for digit in range(10):
        page.click(f"#digits button:nth-child({digit+1})")
        page.wait_for_function("page.ready()", timeout=60_000)
        drawn.append(numbers(page, "page.x").view(1, 1, 28, 28).clamp(-1, 1))
    assert (read_digits(torch.cat(drawn)) == torch.arange(10)).sum() >= 9


@in_browser
def test_mouse_and_keys_paint_on_the_noise(visit):                                  # noqa: F811
    page = visit("flow")
    choose(page, steps=1, scale=1)
    before, box = numbers(page, "page.noise"), page.locator("#paper").bounding_box()
    page.mouse.move(box["x"]+0.3*box["width"], box["y"]+0.5*box["height"])
    page.mouse.down()
    page.mouse.move(box["x"]+0.7*box["width"], box["y"]+0.5*box["height"], steps=6)
    page.mouse.up()
    page.wait_for_function("page.ready()")
    painted = numbers(page, "page.noise")
    changed = (painted != before).view(28, 28)
    assert 20 < changed.sum() < 80 and (painted[changed.flatten()] == 2).all() and changed[12:16].sum() == changed.sum()
    assert "painted" in status(page)
    page.focus("#paper")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert not torch.equal(numbers(page, "page.noise"), painted)
    page.click("#new")
    page.wait_for_function("page.ready()")
    assert "painted" not in status(page) and (numbers(page, "page.noise") == 2).sum() == 0 and not page.faults


@in_browser
def test_a_call_is_spread_over_frames(visit):                                       # noqa: F811
    "Between two of its pauses the network works for less than a call takes"
    page = visit("flow")
    pauses = page.evaluate("(() => { let count = 0; for (const each of page.model.velocity(page.noise, 0.5, 3)) count++; return count; })()")
    assert pauses >= 10
    took = page.evaluate("(() => { const start = performance.now(); for (let k = 0; k < 5; k++) for (const each of page.model.velocity(page.noise, 0.5, 3)); return (performance.now()-start)/5; })()")
    print(f"a call takes {took:.0f} ms")


@in_browser
def test_a_hole_heals_and_what_is_left_stays(visit):                                # noqa: F811
    page, healed = visit("flow"), []
    choose(page, steps=8, scale=2)
    for digit in range(10):
        page.click(f"#digits button:nth-child({digit+1})")
        page.wait_for_function("page.ready() && !page.hole", timeout=60_000) if digit == 0 else page.click("#new")
        page.wait_for_function("page.ready()", timeout=60_000)
        before, box = numbers(page, "page.x"), page.locator("#stage").bounding_box()
        page.mouse.move(box["x"]+0.4*box["width"], box["y"]+0.7*box["height"])
        page.mouse.down()
        page.mouse.move(box["x"]+0.6*box["width"], box["y"]+0.7*box["height"], steps=4)
        assert page.evaluate("page.open && !page.work"), "it waits until the finger is lifted"
        page.mouse.up()
        page.wait_for_function("page.ready()", timeout=60_000)
        after, hole = numbers(page, "page.x"), numbers(page, "page.hole").bool()
        assert 30 < hole.sum() < 90 and hole.view(28, 28)[:16].sum() == 0
        assert torch.equal(after[~hole], before[~hole]) and not torch.equal(after[hole], before[hole])
        assert f"hole of {int(hole.sum())} pixels" in status(page)
        healed.append(after.view(1, 1, 28, 28).clamp(-1, 1))
    assert (read_digits(torch.cat(healed)) == torch.arange(10)).sum() >= 8
    page.click("#new")
    page.wait_for_function("page.ready()", timeout=60_000)
    assert page.evaluate("page.hole === null") and "hole" not in status(page) and not page.faults


@in_browser
def test_keys_tear_a_hole_too(visit):                                               # noqa: F811
    page = visit("flow")
    choose(page, steps=2, scale=1)
    page.wait_for_function("page.ready()")
    page.focus("#stage")
    for key in (" ", "ArrowDown", "ArrowDown", " "): page.keyboard.press(key)
    page.wait_for_function("page.ready()")
    assert numbers(page, "page.hole").sum() > 10 and "hole" in status(page) and not page.faults
