"""Chapter 18: what wraps a language model leaves it one; rules hold for certain; measures agree with slow ways to compute them."""
import itertools
import json
import math
import random
import re
import pytest
import torch
from torch import nn
from helpers import message_of, trials
from hypothesis import given, strategies as st
from genesis_course.attention import Transformer
from genesis_course.notes import (ADVICE, NOTE_LETTERS, SKIES, SUM_LETTERS, note_bits, seasons_of, value_of, write_note, write_sum)
from genesis_course.rnn import RecurrentLM, generate, next_token_loss
from genesis_course.support import CourseError
from genesis_course.text import (Guided, Plausible, Ruled, allowed_next, beam_search, distinct, exposure, longest_copy, plausible, row_loss)


def small_model(vocab=17, kind="transformer"):
    torch.manual_seed(0)
    model = Transformer(vocab, context=24, width=16, heads=2, layers=1) if kind == "transformer" else RecurrentLM(vocab, width=16)
    return model.eval()


@given(st.integers(0, 10**6), st.sampled_from([0., 0.05, 0.3, 1.]))
@trials(30)
def test_min_p_keeps_what_its_definition_says(seed, share):
    logits = 3*torch.randn(4, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    chances, kept = logits.softmax(-1), plausible(logits, share).isfinite()
    border = (chances/chances.amax(-1, keepdim=True)-share).abs() < 1e-9
    assert (kept == (chances >= share*chances.amax(-1, keepdim=True)))[~border].all() and kept.any(-1).all()


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_wrapped_models_read_token_by_token_as_at_once(kind):
    model, ids = small_model(kind=kind), torch.randint(2, 17, (3, 10), generator=torch.Generator().manual_seed(1))
    for wrapped in (Plausible(model, 0.2), Guided(model, 2.5, 0.1), Ruled(model, SUM_LETTERS, lambda written: set("0123456789") if len(written) % 2 else {"+"})):
        with torch.no_grad():
            whole, state = wrapped(ids)[0], None
            for place in range(ids.shape[1]):
                step, state = wrapped(ids[:, place:place+1], state)
        torch.testing.assert_close(step[:, -1], whole[:, -1], rtol=1e-4, atol=1e-4)


def test_guidance_of_one_is_the_asked_model_and_of_zero_the_free_one():
    model, ids = small_model(), torch.randint(2, 17, (2, 6), generator=torch.Generator().manual_seed(1))
    free = torch.cat([torch.ones(2, 1, dtype=torch.int64), ids[:, 1:]], dim=1)
    with torch.no_grad():
        for scale, same in ((1., ids), (0., free)): torch.testing.assert_close(Guided(model, scale)(ids)[0], model(same)[0], rtol=1e-4, atol=1e-5)


def test_a_beam_as_wide_as_all_texts_finds_the_likeliest():
    model, ids = small_model(5), torch.tensor([[1, 3]])
    def cost(text): return next_token_loss(model, (text[:, :-1], text[:, 1:])).item()
    with torch.no_grad():
        best = min((torch.cat([ids, torch.tensor([rest])], dim=1) for rest in itertools.product(range(5), repeat=4)), key=cost)
        assert beam_search(model, ids, 4, width=625).tolist() == best.tolist()
        greedy = generate(model, ids, 4, 1e-9)
        assert beam_search(model, ids, 4, width=1).tolist() == greedy.tolist()
        assert cost(beam_search(model, ids, 4, width=8)) <= cost(greedy)+1e-6
    assert beam_search(model, ids, 0).tolist() == ids.tolist()


@given(st.text("ab c", max_size=12), st.text("ab c", max_size=20))
@trials(100)
def test_the_longest_copy_is_that_of_all_passages(text, source):
    passages = [text[i:j] for i in range(len(text)) for j in range(i+1, len(text)+1) if text[i:j] in source]
    longest = max(map(len, passages), default=0)
    assert longest_copy(text, source) == next((each for each in passages if len(each) == longest), "")


def test_distinct_counts_passages_of_all_texts():
    assert distinct(["abab"], 2) == 2/3 and distinct(["ab", "ab"], 2) == 1/2 and distinct(["abcdef"]) == 1


def test_exposure_of_the_first_and_the_last():
    losses = torch.arange(1024.)
    assert exposure(losses, 0) == 10 and exposure(losses, 1023) == 0 and exposure(losses, 1) == 9
    assert exposure(torch.zeros(8), 3) == 0, "ties tell nothing"


def reachable(prefix, longest, ends):
    "All sums that the rule can write"
    for letter in allowed_next(prefix, longest):
        if letter == "=": ends.add(prefix)
        else: reachable(prefix+letter, longest, ends)


def test_the_rule_writes_every_short_sum_and_no_other():
    ends, longest = set(), 3
    reachable("", longest, ends)
    form = re.compile(r"\d|\d[-+*]\d|\(\d\)")
    everything = {"".join(each) for length in (1, 2, 3) for each in itertools.product("0123456789+-*()", repeat=length)}
    assert ends == {each for each in everything if form.fullmatch(each)}


@given(st.integers(0, 10**6), st.integers(1, 16))
@trials(100)
def test_no_way_ends_in_a_dead_end(seed, longest):
    rng, written = random.Random(seed), ""
    while not written.endswith("\n"):
        letters = sorted(allowed_next(written, longest))
        assert letters, written
        written += rng.choice(letters)
    left, right = written.strip().split("=")
    assert len(left) <= longest and int(right) == eval(left) == value_of(left)


def test_a_ruled_model_writes_only_right_sums():
    ids, rng = torch.zeros(20, 1, dtype=torch.int64), torch.Generator().manual_seed(0)
    model = Ruled(small_model(), SUM_LETTERS, lambda written: allowed_next(written.rpartition("\n")[2]))
    for row in generate(model, ids, 60, generator=rng):
        for line in SUM_LETTERS.decode(row).split("\n")[1:-1]: assert str(eval(line.split("=")[0])) == line.split("=")[1]


def test_rows_of_different_length_weigh_each_token_alike():
    model = small_model()
    rows = torch.tensor([[2, 5, 7, 0, -100, -100], [3, 9, 4, 4, 8, 0]])
    with torch.no_grad():
        alone = [next_token_loss(model, (rows[:1, :3], rows[:1, 1:4])), next_token_loss(model, (rows[1:, :5], rows[1:, 1:]))]
        torch.testing.assert_close(row_loss(model, rows), (3*alone[0]+5*alone[1])/8)


def test_marks_are_forgotten_in_training_only():
    seen = []
    class Model(nn.Module):
        def forward(self, ids):
            seen.append(ids)
            return torch.zeros(*ids.shape, 17), None
    rows, model = torch.full((400, 4), 5), Model()
    row_loss(model.train(), rows, forget=0.25)
    row_loss(model.eval(), rows, forget=0.25)
    assert 0.15 < (seen[0][:, 0] == 1).float().mean() < 0.35 and (seen[0][:, 1:] == 5).all() and (seen[1] == 5).all()


# The notes, whose rules are known


def test_the_tables_give_the_season_that_they_were_written_with():
    rng = random.Random(1)
    for season in range(4):
        chances = [seasons_of(write_note(season, rng)) for _ in range(500)]
        shares = torch.tensor(chances).mean(dim=0)
        assert shares.argmax() == season and abs(torch.tensor(chances).sum(1)-1).max() < 1e-6
    # calibration: among notes of chance p for winter, a share p are of winter
    drawn = [(season, seasons_of(write_note(season, rng))[0]) for season in range(4) for _ in range(1000)]
    middle = [season == 0 for season, chance in drawn if 0.2 < chance < 0.8]
    expected = [chance for _, chance in drawn if 0.2 < chance < 0.8]
    assert abs(sum(middle)/len(middle)-sum(expected)/len(expected)) < 4*0.5/math.sqrt(len(middle))


def test_bits_of_a_note_are_the_mean_surprise():
    rng, paid = random.Random(2), []
    for season in range(4):
        for _ in range(1500):
            note = write_note(season, rng)
            degrees, sky, advice = int(note.split()[1]), next(sky for sky in SKIES if f": {sky}," in note), next(each for each in ADVICE if each in note)
            weights = [math.exp(-((each-(0, 11, 23, 10)[season])/4)**2/2) for each in range(-9, 35)]
            chance = weights[degrees+9]/sum(weights)*SKIES[sky][season]/sum(row[season] for row in SKIES.values())*ADVICE[advice][season]/sum(row[season] for row in ADVICE.values())
            paid.append(-math.log2(chance/72))
    assert abs(sum(paid)/len(paid)-note_bits()) < 0.1


def test_all_that_is_written_has_its_letters():
    rng = random.Random(3)
    for _ in range(200): NOTE_LETTERS.encode(write_note(rng.randrange(4), rng)), SUM_LETTERS.encode(write_sum(rng))


# Bad input: one sentence each


@pytest.mark.parametrize("call, words", [
    (lambda: Plausible(small_model(), 1.5), "share"), (lambda: Plausible("model"), "network is needed"), (lambda: Guided(small_model(), float("nan")), "scale"),
    (lambda: Guided(small_model(), 2, share=-0.1), "share"), (lambda: Ruled(small_model(), "letters", set), "Text"), (lambda: Ruled(small_model(), SUM_LETTERS, "abc"), "function"),
    (lambda: distinct("one text"), "list"), (lambda: distinct(["ab"], 5), "shorter|smaller|longer"), (lambda: longest_copy(None, "a"), "strings"),
    (lambda: beam_search(small_model(), torch.zeros(2, 3, dtype=torch.int64), 3), "one text"), (lambda: beam_search(small_model(), torch.zeros(1, 0, dtype=torch.int64), 3), "one text"),
    (lambda: allowed_next("3/4"), "sum"), (lambda: allowed_next("((=)"), "sum"), (lambda: value_of("__import__"), "sum"), (lambda: value_of("3+"), "out of place"),
    (lambda: exposure(torch.tensor([1., float("nan")]), 0), "NaN"), (lambda: exposure(torch.ones(3), 3), "secret"), (lambda: exposure([1, 2], 0), "floats"), (lambda: write_note(4, random.Random(0)), "season")])
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(CourseError, match=words): call()


def test_a_rule_that_allows_nothing_or_a_strange_letter_is_named():
    for rule, words in ((lambda written: set(), "nothing"), (lambda written: {"z"}, "'z'")):
        with pytest.raises(CourseError, match=words): generate(Ruled(small_model(), SUM_LETTERS, rule), torch.zeros(1, 1, dtype=torch.int64), 2)


def test_poems_from_files_are_cut_into_passages_and_bad_files_are_told(tmp_path, monkeypatch):
    from genesis_course.notes import POEMS, load_poems
    monkeypatch.delenv("GENESIS_DATA", raising=False)
    assert load_poems() == load_poems("built-in") == POEMS
    message_of(lambda: load_poems("tang"), "GENESIS_DATA")
    message_of(lambda: load_poems("tan"), "two collections", "tang")
    place = tmp_path/"chinese-poetry"/"全唐诗"
    place.mkdir(parents=True)
    long = POEMS[0]+POEMS[1]+POEMS[2][:12]
    lines = lambda poem: [poem[i:i+12] for i in range(0, len(poem), 12)]
    (place/"a.json").write_text(json.dumps([{"paragraphs": lines(long)}, {"paragraphs": lines(POEMS[1])}, {"paragraphs": ["不是五言。"]}]), encoding="utf-8")
    monkeypatch.setenv("GENESIS_DATA", str(tmp_path))
    assert load_poems() == load_poems("tang") == POEMS[:2] and load_poems("built-in") == POEMS
    for bad in ("[1", "{\"a\": 1}", "[{\"title\": 1}]"):
        (place/"b.json").write_text(bad)
        message_of(load_poems, "b.json", "list of poems")
