"""Chapter 25b: ink and slant, marks in pictures and texts, energy, and what is said of bad input."""
import math
import pytest
import torch
from helpers import message_of
from genesis_course.data import load_images, to_floats
from genesis_course.glyphs import draw_glyphs
from genesis_course.responsibility import Green, embed, energy, green_lists, green_score, ink_and_slant, key_dots, mark_scores
from genesis_course.rnn import RecurrentLM, generate


@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)


def rng(seed=0): return torch.Generator().manual_seed(seed)
def glyph(**settings): return to_floats(draw_glyphs(["H"], 28, **settings))


# Ink and slant

def test_ink_is_the_mean_of_the_pixels_from_black_to_white():
    x = torch.rand(4, 1, 6, 7)*2-1
    torch.testing.assert_close(ink_and_slant(x)[0], ((x+1)/2).mean(dim=(1, 2, 3)))
    assert ink_and_slant(torch.full((1, 1, 4, 4), -1.))[1].abs().item() < 1e-3

def test_a_bar_that_leans_has_its_slope():
    rows = torch.arange(40)
    x = torch.full((1, 1, 40, 40), -1.)
    x[0, 0, rows, (20+0.4*(19.5-rows)).round().long()] = 1.
    assert ink_and_slant(x)[1].item() == pytest.approx(0.4, abs=0.03) and ink_and_slant(x.flip(3))[1].item() == pytest.approx(-0.4, abs=0.03)

def test_slant_and_weight_of_glyphs_are_found_again():
    leans = [ink_and_slant(glyph(slant=s))[1].item() for s in (-0.2, 0., 0.2)]
    assert leans[0] < leans[1]-0.1 < leans[2]-0.2
    assert ink_and_slant(glyph(weight=0.05))[0] > ink_and_slant(glyph())[0]+0.02


# Marks in pictures

def test_a_pattern_belongs_to_its_key():
    one = key_dots(5, (20, 30))
    assert one.shape == (20, 30) and set(one.unique().tolist()) == {-1., 1.} and torch.equal(one, key_dots(5, (20, 30))) and not torch.equal(one, key_dots(6, (20, 30)))
    wide = embed(torch.zeros(1, 1, 7, 8), 5, 0.5, 3)[0, 0]
    assert (wide[:3, :3] == wide[0, 0]).all() and (wide[:3, 3:6] == wide[0, 3]).all() and (wide[6:] == 0).all() and (wide[:, 6:] == 0).all()
    assert torch.equal(wide[:6:3, :6:3], 0.5*key_dots(5, (2, 2)))

@pytest.mark.parametrize("block", [1, 3])
def test_only_the_right_key_stands_out(block):
    x = 0.5*torch.randn(3, 1, 60, 60).clamp(-1.5, 1.5)
    wrong, right = mark_scores(embed(x, 77, 0.2, block), range(300), block), mark_scores(embed(x, 77, 0.2, block), [77], block)
    others = torch.cat([wrong[:, :77], wrong[:, 78:]], dim=1)
    assert right.min() > others.max() and 0.5 < others.std() < 1.5 and mark_scores(x, [77], block).abs().max() < 5

def test_a_mark_is_faint_and_stays_in_range():
    x = torch.rand(2, 1, 9, 9)*2-1
    made = embed(x, 1, 0.1)
    assert (made-x).abs().max() <= 0.1+1e-6 and made.abs().max() <= 1 and torch.equal(embed(x, 1, 0.), x)

def test_a_flat_picture_scores_nothing(): assert mark_scores(torch.zeros(1, 1, 9, 9), [1, 2]).abs().max() < 1e-6


# Marks in texts

def test_lists_are_of_one_size_and_belong_to_their_key():
    green = green_lists(40, 3, 0.25)
    assert green.dtype == torch.bool and (green.sum(dim=1) == 10).all() and torch.equal(green, green_lists(40, 3, 0.25)) and not torch.equal(green, green_lists(40, 4, 0.25))

def test_the_score_is_the_formula_of_the_paper():
    green, ids = green_lists(12, 0), torch.randint(12, (80,), generator=rng())
    hits = sum(green[a, b].item() for a, b in zip(ids, ids[1:]))
    assert green_score(ids, green, distinct=False) == pytest.approx((hits-39.5)/math.sqrt(79/4), abs=1e-6)
    pairs = {(a.item(), b.item()) for a, b in zip(ids, ids[1:])}
    hits = sum(green[pair].item() for pair in pairs)
    assert green_score(ids, green) == pytest.approx((hits-len(pairs)/2)/math.sqrt(len(pairs)/4), abs=1e-6)

def test_scores_of_random_texts_are_standard_normal_and_repetition_widens_them_unless_pairs_count_once():
    green = green_lists(30, 1)
    random = torch.tensor([green_score(torch.randint(30, (200,), generator=rng(k)), green, False) for k in range(200)])
    assert abs(random.mean()) < 0.3 and 0.8 < random.std() < 1.2
    loops = [torch.randint(30, (20,), generator=rng(k)).repeat(10) for k in range(200)]
    wide, mended = (torch.tensor([green_score(each, green, distinct) for each in loops]).std().item() for distinct in (False, True))
    assert wide > 2*mended and 0.7 < mended < 1.3

def test_a_green_model_shifts_the_right_logits_and_carries_its_state():
    model, green = RecurrentLM(9, cell="gru", width=8).eval(), green_lists(9, 0, 0.4)
    ids = torch.randint(9, (2, 5))
    plain, _ = model(ids)
    torch.testing.assert_close(Green(model, green, 3.)(ids)[0]-plain, 3.*green[ids].float())
    whole, state = Green(model, green)(ids)
    first, middle = Green(model, green)(ids[:, :2])
    torch.testing.assert_close(torch.cat([first, Green(model, green)(ids[:, 2:], middle)[0]], dim=1), whole)

def test_what_a_strongly_green_model_writes_is_green():
    green = green_lists(10, 0)
    made = generate(Green(RecurrentLM(10, cell="gru", width=8), green, 30.), torch.zeros(1, 1, dtype=torch.long), 60, generator=rng())[0]
    assert green[made[:-1], made[1:]].all() and green_score(made, green, distinct=False) == pytest.approx(math.sqrt(60))


def test_energy_is_power_times_time(): assert energy(3600, 10) == 10 and energy(0, 300) == 0 and energy(36, 100) == 1


# Bad input

REFUSED = [
    (lambda: ink_and_slant(torch.zeros(2, 3, 4, 4)), ("Grey", "[2, 3, 4, 4]")),
    (lambda: ink_and_slant(torch.zeros(2, 1, 1, 4)), ("two rows",)),
    (lambda: embed(load_images("digits").images[:2], 1), ("to_floats",)),
    (lambda: embed(torch.zeros(1, 1, 8, 8), -1), ("key", "-1")),
    (lambda: embed(torch.zeros(1, 1, 8, 8), 1, strength=3), ("strength", "at most 2")),
    (lambda: embed(torch.zeros(1, 1, 8, 8), 1, block=0), ("block", "0")),
    (lambda: mark_scores(torch.zeros(1, 1, 8, 8), [1], block=9), ("9 pixels", "[8, 8]")),
    (lambda: key_dots(1, 8), ("pair", "8")),
    (lambda: key_dots("1", (8, 8)), ("key", "quotation")),
    (lambda: mark_scores(torch.zeros(1, 1, 8, 8), 2026), ("list", "2026")),
    (lambda: mark_scores(torch.zeros(1, 1, 8, 8), []), ("one at least",)),
    (lambda: green_lists(1, 0), ("vocab_size", "1")),
    (lambda: green_lists(10, 0, 1.), ("between 0 and 1",)),
    (lambda: green_lists(3, 0, 0.1), ("empty",)),
    (lambda: green_score(torch.zeros(1, dtype=torch.long), green_lists(4, 0)), ("two tokens",)),
    (lambda: green_score(torch.tensor([0, 4]), green_lists(4, 0)), ("4 tokens", "vocabulary")),
    (lambda: green_score(torch.zeros(2, 3, dtype=torch.long), green_lists(4, 0)), ("one row", "[2, 3]")),
    (lambda: Green("model", green_lists(4, 0)), ("network", "str")),
    (lambda: Green(torch.nn.Linear(2, 2), torch.zeros(4, 3, dtype=torch.bool)), ("[V, V]", "[4, 3]")),
    (lambda: Green(torch.nn.Linear(2, 2), green_lists(4, 0), delta=-1), ("delta", "-1")),
    (lambda: energy(-1, 10), ("seconds", "-1")),
    (lambda: energy(1, "10"), ("watts", "quotation")),
]

@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_bad_input_is_refused_in_a_sentence(number): message_of(REFUSED[number][0], *REFUSED[number][1])
