"Tunes: what the composer promises, ABC there and back, sound against its formulas, three ways of writing against each other, relative positions against a slow second one"
import io
import math
import os
import wave
import mido
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from helpers import message_of, trials
from genesis_course.attention import causal_mask
from genesis_course.music import (RATE, ABCCoder, EventCoder, GridCoder, Harmoniser, NGram, RelativeAttention, RelativeLM, bits_a_note, frequency, harmonise,
                                  hidden_loss, organ, perform, pluck, sample_tunes, skew, tune_loss)
from genesis_course.score import draw_roll, draw_score, midi_bytes, roll_frames, rules_kept, staff_step, to_abc, wav_bytes
from genesis_course.tunes import (BARS, CHORDS, FOLLOW, HIGH, LOW, MAJOR, SHARPS, Tune, altered, chorales, compose, harmony_kept, load_chorales, load_tunes, read_abc,
                                  scale, spelled, tonic, tunes_of)

TUNES = compose(300)
CODERS = [ABCCoder, EventCoder, GridCoder]


# The composer

def test_the_composer_keeps_its_rules():
    assert set(rules_kept(TUNES).values()) == {1.}
    assert {tune.metre for tune in TUNES} == {"3/4", "4/4"} and all(tune.key == "C" for tune in TUNES)
    assert all(tune.bars[:2] == tune.bars[4:6] for tune in TUNES)


def test_a_seed_repeats_and_another_one_does_not():
    assert compose(5, seed=3) == compose(5, seed=3) != compose(5, seed=4)
    assert compose(8, seed=3)[:5] == compose(5, seed=3)


def test_the_bits_of_a_choice_are_those_of_its_weights():
    from genesis_course.tunes import Composer
    composer = Composer(0)
    for _ in range(2000): composer.draw({"a": 3, "b": 1})
    expected = 0.75*math.log2(4/3)+0.25*2
    assert abs(composer.bits/2000-expected) < 0.05


def test_strong_beats_take_a_chord_tone_and_the_close_is_on_the_tonic():
    firsts = {bar: {tune.bars[bar][0][0] % 12 for tune in TUNES} for bar in (0, 3, 7)}
    tones = {name: {MAJOR[degree % 7] for degree in CHORDS[name]} for name in CHORDS}
    assert firsts[0] <= tones["I"] and firsts[3] <= tones["V"] and firsts[7] == {0}


def test_chorales_are_triads_over_their_root_in_allowed_order():
    pieces = chorales(40, seed=1)
    assert pieces.shape == (40, 4, 32) and (pieces[:, :-1] > pieces[:, 1:]).all()
    tones = {name: {MAJOR[degree % 7] for degree in chord} for name, chord in CHORDS.items()}
    roots = {0: "I", 2: "ii", 5: "IV", 7: "V", 9: "vi"}
    for piece in pieces:
        names = [roots[int(bass) % 12] for bass in piece[3]]
        for name, column in zip(names, piece.T.tolist()): assert {pitch % 12 for pitch in column} == tones[name]
        assert names[::2] == names[1::2] and names[14] == "V" and names[-1] == "I"
        assert all(b in FOLLOW[a] for a, b in zip(names[1::2], names[2::2]))
    assert harmony_kept(pieces) == [1, 1, 1] and harmony_kept(pieces.roll(1, dims=1))[0] < 0.5 and max(harmony_kept(pieces+1)) < 0.2


# Keys and ABC

def test_keys_agree_with_the_circle_of_fifths():
    assert [tonic(key) for key in ("C", "G", "D", "F", "Bb", "F#", "Am", "Em")] == [0, 7, 2, 5, 10, 6, 9, 4]
    for key in SHARPS: assert set(scale(key)) == {(tonic(key)+step) % 12 for step in MAJOR} and len(set(scale(key).values())) == 7
    assert altered("D") == {**dict.fromkeys("CDEFGAB", 0), "F": 1, "C": 1} and altered("Gm") == altered("Bb")


@given(pitch=st.integers(0, 127), key=st.sampled_from([*SHARPS, "Am", "Bbm"]))
@trials(150)
def test_a_spelling_sounds_as_its_pitch(pitch, key):
    letter, change, octave = spelled(pitch, key)
    assert 12*octave + {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[letter] + change == pitch
    if pitch % 12 in scale(key): assert change == altered(key)[letter]


note = st.tuples(st.one_of(st.none(), st.integers(24, 107)), st.integers(1, 12))


@given(bars=st.lists(st.lists(note, min_size=1, max_size=6), min_size=1, max_size=6), key=st.sampled_from([*SHARPS, "Em", "Cm"]), metre=st.sampled_from(list(BARS)))
@trials(150)
def test_abc_there_and_back(bars, key, metre):
    "With any accidentals, also two of one letter in a bar"
    tune = Tune(metre, key, bars)
    assert read_abc(to_abc(tune)) == tune


def test_abc_by_hand():
    tune = read_abc('X:1\nT:x\nM:C\nL:1/4\nK:G % a comment\n|:"G"G,2 F c\' z/ | ^F =F F _B :|\n')
    assert tune == Tune("4/4", "G", [[(55, 4), (66, 2), (84, 2), (None, 1)], [(66, 2), (65, 2), (65, 2), (70, 2)]])
    assert read_abc("K:F\nBB|B").bars == [[(70, 1), (70, 1)], [(70, 1)]]


@pytest.mark.parametrize("text, said", [
    ("K:C\nC2 ?2", "Line 2, column 4"), ("M:3/4\nK:C\nC2|\n  & G", "Line 4, column 3"), ("K:C\nC/", "Line 2, column 1"), ("K:C\nA,,,,,,,2", "Line 2, column 1"), ("K:C\n(3CDE", "Line 2, column 1"),
    ("", "no notes"), ("K:C\n", "no notes"), ("M:7/8\nK:C\nC", "no metre"), ("K:H\nC", "no key"), ("CDE", "line with its key"), ("L:x\nK:C\nC", "no length"), ("L:1/0\nK:C\nC", "no length"), ("K:C\nC/0", "Line 2")])
def test_abc_that_cannot_be_read_is_told_where(text, said): message_of(lambda: read_abc(text), said)


@given(st.text(max_size=30))
@trials(60)
def test_no_text_brings_the_reader_down(text):
    from genesis_course.support import CourseError
    try: assert read_abc("K:C\n"+text).bars
    except CourseError: pass


def test_a_moved_tune_keeps_its_steps():
    for key in ("G", "F", "Bb", "F#"):
        for tune in TUNES[:20]:
            moved = tune.moved(key)
            by = {a-b for (a, _), (b, _) in zip(moved.notes, tune.notes) if b is not None}
            assert len(by) == 1 and -12 < min(by) < 12 and max(pitch or 0 for pitch, _ in moved.notes) <= HIGH
            back = moved.moved("C")
            assert tune.moved("C").bars == tune.bars and {(a[0]-b[0]) % 12 for a, b in zip(back.notes, tune.notes) if b[0] is not None} == {0}
            assert all(pitch is None or pitch % 12 in scale(key) for pitch, _ in moved.notes)


def test_files_of_tunes(tmp_path, monkeypatch):
    path = tmp_path/"two.abc"
    path.write_text(to_abc(TUNES[0])+"\nX:2\nM:4/4\nK:C\n(3abc\n\n"+to_abc(TUNES[1].moved("G")))
    assert [tune.bars for tune in load_tunes(path)] == [TUNES[0].bars, TUNES[1].moved("G").bars]
    assert tunes_of(path.read_text())[1] == 1
    (tmp_path/"none.abc").write_text("K:C\n(3abc")
    message_of(lambda: load_tunes(tmp_path/"none.abc"), "Line 2, column 1")
    monkeypatch.delenv("GENESIS_DATA", raising=False)
    message_of(lambda: load_tunes("nottingham"), "GENESIS_DATA")
    message_of(lambda: load_chorales("bach"), "GENESIS_DATA")
    message_of(lambda: load_chorales("handel"), "two kinds")


# Sound

def test_frequencies():
    assert frequency(69) == 440 and frequency(81) == 880 and abs(frequency(60)-261.6256) < 1e-3


@pytest.mark.parametrize("pitch", range(LOW, HIGH+1, 3))
def test_a_string_is_in_tune(pitch):
    sound = pluck(pitch, 1.)
    spectrum = torch.fft.rfft(sound*torch.hann_window(len(sound))).abs()
    ratio = spectrum.argmax().item()/frequency(pitch)
    assert abs(ratio-round(ratio)) < 0.012 and round(ratio) >= 1 and len(sound) == RATE
    assert sound[-800:].abs().max() < 0.3*sound[:800].abs().max(), "it dies away"


def test_the_organ_is_its_sum_of_sines_and_does_not_alias():
    sound, time = organ(69, 0.5), torch.arange(4000)/RATE
    middle = slice(400, 3600)
    sines = sum(share*torch.sin(2*math.pi*440*k*time) for k, share in enumerate((1, 0.5, 0.35, 0.15), 1))
    assert torch.allclose(sound[middle], sines[middle], atol=1e-3) and sound[0] == 0 and sound[-1].abs() < 0.02
    spectrum = torch.fft.rfft(organ(96, 0.5)).abs()                      # 2093 hertz: its second partial would be above 4,000
    assert spectrum[1100:].max() < 0.1*spectrum.max() and spectrum[:900].max() < 0.1*spectrum.max()


def test_voices_stay_together_and_rests_are_silent():
    click = lambda pitch, seconds, rate: torch.ones(1)
    lengths = {"long": [(60, 2)]*150, "short": [(60, 1)]*300}
    starts = {name: perform([notes], click, minute=137).nonzero()[:, 0] for name, notes in lengths.items()}
    assert torch.equal(starts["short"][::2], starts["long"])
    assert perform([[(None, 4), (60, 4)]], click)[0] == 0
    sound = perform([[(60, 4)], [(64, 2), (67, 2)]])
    assert sound.abs().max() <= 0.9001 and torch.equal(sound, perform([[(60, 4)], [(64, 2), (67, 2)]]))


def test_a_wav_file_holds_the_sound():
    sound = torch.linspace(-1, 1, 500)
    with wave.open(io.BytesIO(wav_bytes(sound, RATE))) as file:
        assert file.getparams()[:4] == (1, 1, RATE, 500)
        read = np.frombuffer(file.readframes(500), dtype=np.uint8)
    assert np.abs((read-127.5)/127.5-sound.numpy()).max() < 0.005
    for bad in (torch.full((3,), 2.), torch.tensor([]), torch.tensor([math.nan]), torch.zeros(2, 2), [0.]): message_of(lambda: wav_bytes(bad, RATE))


@pytest.mark.parametrize("tune", [TUNES[0], TUNES[1].moved("F"), Tune("6/8", "Em", [[(None, 2), (64, 1)], [(71, 3), (None, 3)]])], ids=str.__class__)
def test_a_midi_file_holds_the_tune(tune):
    file = mido.MidiFile(file=io.BytesIO(midi_bytes(tune, minute=120)))
    time, found = 0, []
    for message in file.tracks[0]:
        time += message.time
        if message.type == "note_on": found.append((message.note, time/48))
    starts, at = [], 0
    for pitch, length in tune.notes:
        if pitch is not None: starts.append((pitch, at))
        at += length
    assert found == starts and {message.key for message in file.tracks[0] if message.type == "key_signature"} == {tune.key}


# Drawings

def test_a_score_and_a_roll_hold_each_note():
    import matplotlib.pyplot as plt
    from matplotlib.patches import Ellipse
    tune, (figure, axes) = TUNES[0].moved("G"), plt.subplots(2)
    draw_score(tune, axes[0])
    draw_roll(tune, axes[1], now=3)
    heads = [patch for patch in axes[0].patches if isinstance(patch, Ellipse)]
    pitched = [note for note in tune.notes if note[0] is not None]
    assert len(heads) == len(pitched) == len(axes[1].patches)
    assert [patch.get_width() for patch in axes[1].patches] == pytest.approx([length-0.15 for _, length in pitched])
    message_of(lambda: draw_score(Tune("4/4", "C", []), axes[0]), "no bars")
    message_of(lambda: draw_roll(Tune("4/4", "C", [[(None, 8)]]), axes[0]), "no note")
    plt.close(figure)
    frames = roll_frames(tune)
    assert len(frames) == 8*BARS[tune.metre] and (frames == 1).any(dim=2).any(dim=1).float().mean() == sum(length for _, length in pitched)/len(frames)
    assert [staff_step(letter, octave) for letter, octave in (("E", 5), ("C", 5), ("F", 6))] == [0, -2, 8]


# Three ways of writing

@pytest.mark.parametrize("kind", CODERS)
def test_a_coder_reads_back_what_it_wrote(kind):
    coder = kind(TUNES)
    ids = coder.encode(TUNES)
    assert ids.dtype == torch.int64 and [coder.decode(row).bars for row in ids] == [tune.bars for tune in TUNES]
    assert [coder.decode(row).metre for row in ids] == [tune.metre for tune in TUNES]


def test_the_grid_has_one_token_for_each_eighth():
    for tune in TUNES[:30]: assert len(GridCoder(TUNES).words(tune)) == 8*BARS[tune.metre]+2


def test_what_is_no_tune_is_read_as_none_or_breaks_a_rule():
    abc, grid = ABCCoder(TUNES), GridCoder(TUNES)
    assert abc.decode(torch.tensor([abc.number[word] for word in ("4/4", "2", "C")])) is None
    assert rules_kept([None])["bars that add up"] == 0 and rules_kept([])["tunes of eight bars"] == 0
    over = grid.decode(torch.tensor([grid.number[word] for word in ["3/4", *["60", *"-"*6, "62", *"-"*4], "]"]]))
    assert over.bars == [[(60, 7)], [(62, 5)]] and rules_kept([over])["bars that add up"] == 0
    assert grid.decode(torch.tensor([grid.number[word] for word in ("4/4", "-", "-")])).bars == [[]]


@pytest.mark.parametrize("kind", CODERS)
def test_a_uniform_model_pays_the_logarithm_of_the_vocabulary(kind):
    coder = kind(TUNES)
    uniform = lambda ids, state=None: (torch.zeros(*ids.shape, len(coder.vocabulary)), None)
    tokens = (coder.encode(TUNES)[:, 1:] != 0).sum().item()
    assert bits_a_note(uniform, coder, TUNES) == pytest.approx(tokens*math.log2(len(coder.vocabulary))/sum(len(tune.notes) for tune in TUNES), rel=1e-4)


def test_an_n_gram_counts():
    model = NGram(torch.tensor([[1, 2, 3, 2, 3, 0]]), 4, order=1, strength=1e-9)
    assert torch.allclose(model.predict((2,)), torch.tensor([0., 0, 0, 1]), atol=1e-6) and torch.allclose(model.predict((3,)), torch.tensor([0., 0, 1, 0]), atol=1e-6)
    for order in (0, 1, 3): assert NGram(torch.tensor([[1, 2, 3, 2, 3, 0]]), 4, order).predict((1, 2)).sum() == pytest.approx(1)
    logits, _ = model(torch.tensor([[1, 2, 3]]))
    assert logits.shape == (1, 3, 4) and torch.allclose(logits[0, 1].exp(), model.predict((2,)), atol=1e-6)


# Relative positions

@pytest.mark.parametrize("length", [1, 2, 5])
def test_skew_against_a_loop(length):
    x, y = torch.randn(2, 3, length, length), None
    y = skew(x)
    for i in range(length):
        for j in range(i+1): assert torch.equal(y[..., i, j], x[..., i, length-1-(i-j)])


def test_relative_attention_against_a_loop():
    layer = RelativeAttention(8, 2, longest=9).double()
    x, T = torch.randn(2, 6, 8, dtype=torch.float64), 6
    with torch.no_grad():
        layer.distance.mul_(40)
        q, k, v = layer.project(x, x)
        expected = torch.zeros_like(q)
        for i in range(T):
            scores = torch.stack([((q[:, :, i]*k[:, :, j]).sum(-1)+(q[:, :, i]*layer.distance[:, 9-1-(i-j)]).sum(-1))/2 for j in range(i+1)], dim=-1)
            expected[:, :, i] = (scores.softmax(-1)[..., None]*v[:, :, :i+1]).sum(2)
        assert torch.allclose(layer(x, x, causal_mask(T)), layer.out(expected.transpose(1, 2).flatten(2)), atol=1e-10)


def test_a_later_token_changes_nothing_and_a_distance_can_be_learned():
    model = RelativeLM(9, width=16, heads=2).eval()
    a, b = torch.randint(9, (2, 12)), None
    b = a.clone()
    b[:, 7:] = (b[:, 7:]+1) % 9
    with torch.no_grad(): assert torch.allclose(model(a)[0][:, :7], model(b)[0][:, :7], atol=1e-5)
    message_of(lambda: RelativeAttention(8, 2, longest=4)(torch.randn(1, 5, 8), torch.randn(1, 5, 8), causal_mask(5)), "4 distances")


# Sampling

@pytest.mark.parametrize("temperature", [0.5, 1., 3.])
def test_the_mask_makes_bars_add_up_whatever_the_model(temperature):
    coder, torch_rng = GridCoder(TUNES), torch.manual_seed(0)
    noise = lambda ids, state=None: (3*torch.randn(*ids.shape, len(coder.vocabulary)), None)
    tunes = sample_tunes(noise, coder, coder.encode(TUNES[:20])[:, :1], temperature=temperature, masked=True)
    kept = rules_kept(tunes)
    assert kept["bars that add up"] == kept["tunes of eight bars"] == 1
    assert [tune.metre for tune in tunes] == [tune.metre for tune in TUNES[:20]]


def test_the_mask_forbids_nothing_that_the_composer_writes():
    coder = GridCoder(TUNES)
    ids = coder.encode(TUNES)
    for time in range(1, ids.shape[1]):
        real = ids[:, time] != 0
        allowed = coder.allowed(ids[:, :time])
        assert allowed.any(dim=1).all() and allowed[torch.arange(len(ids)), ids[:, time]][real].all()


def test_a_prompt_stays_and_a_seed_repeats():
    coder = GridCoder(TUNES)
    model, prompt = RelativeLM(len(coder.vocabulary)), coder.encode([Tune("4/4", "C", [[(60, 2), (64, 2), (67, 4)]])], end=False)
    first, again, other = (sample_tunes(model, coder, prompt, masked=True, seed=seed)[0] for seed in (0, 0, 1))
    assert first == again != other and first.bars[0] == [(60, 2), (64, 2), (67, 4)]


# Voices

def test_only_hidden_places_are_counted_and_known_voices_stay():
    torch.manual_seed(0)
    model, ids = Harmoniser(7, width=16, heads=2).eval(), torch.randint(1, 7, (3, 4, 5))
    assert model(ids).shape == (3, 4, 5, 7) and hidden_loss(model, ids).isfinite()
    given = ids.clone()
    given[:, 1:] = 0
    filled = harmonise(model, given, rounds=3)
    assert torch.equal(filled[:, 0], ids[:, 0]) and (filled > 0).all() and torch.equal(filled, harmonise(model, given, rounds=3))
    with torch.no_grad(): changed = model(torch.cat([ids[..., :4], (ids[..., 4:] % 6)+1], dim=2))
    assert not torch.allclose(changed[..., 0, :], model(ids)[..., 0, :], atol=1e-6), "the future may be looked at"


# Bad input

BAD = {"a pitch of 128": lambda: pluck(128, 1.), "a pitch of 60.5": lambda: organ(60.5, 1.), "no time": lambda: pluck(60, 0), "a voice for voices": lambda: perform([(60, 2)]),
       "a note out of range": lambda: perform([[(200, 2)]]), "a length of 0": lambda: perform([[(60, 0)]]), "silence": lambda: perform([[(None, 2)]]), "no voices": lambda: perform([]),
       "no tunes": lambda: GridCoder([]), "one tune": lambda: GridCoder(TUNES[0]), "an empty tune": lambda: EventCoder([Tune("4/4", "C", [[]])]), "texts": lambda: ABCCoder(["K:C"]),
       "a note that the coder never met": lambda: GridCoder(TUNES).encode([Tune("4/4", "C", [[(30, 8)]])]), "a sample without a metre": lambda: sample_tunes(None, GridCoder(TUNES), torch.tensor([[1]])),
       "a mask for ABC": lambda: sample_tunes(None, ABCCoder(TUNES), ABCCoder(TUNES).encode(TUNES[:1])[:, :1], masked=True), "skew of a vector": lambda: skew(torch.zeros(3)),
       "skew of a rectangle": lambda: skew(torch.zeros(3, 4)), "three voices": lambda: Harmoniser(5)(torch.ones(1, 3, 4).long()), "no rounds": lambda: harmonise(None, None, 0),
       "no tunes wanted": lambda: compose(0), "half a seed": lambda: compose(1, 0.5), "no key": lambda: TUNES[0].moved("H"), "negative order": lambda: NGram(torch.ones(1, 3).long(), 3, -1)}


@pytest.mark.parametrize("what", list(BAD))
def test_bad_input_gets_a_sentence(what): assert len(message_of(BAD[what])) < 400


# Real tunes, where they are

@pytest.mark.skipif(not os.environ.get("GENESIS_DATA"), reason="needs GENESIS_DATA")
def test_nottingham_and_bach():
    from pathlib import Path
    folder = Path(os.environ["GENESIS_DATA"])
    if not (folder/"nottingham-dataset").exists() or not (folder/"JSB-Chorales-dataset").exists(): pytest.skip("not there")
    tunes = load_tunes("nottingham")
    assert len(tunes) > 400
    full = [sum(length for _, length in bar) == BARS[tune.metre] for tune in tunes for bar in tune.bars]
    assert sum(full)/len(full) > 0.8                                     # the others are upbeats, or fill up an upbeat
    pieces = load_chorales("bach")
    assert pieces.shape[1:] == (4, 32) and len(pieces) > 300 and (pieces[:, 0] >= pieces[:, 3]).float().mean() > 0.99


def test_a_second_metre_makes_a_text_unreadable():
    for kind in CODERS:
        coder = kind(TUNES)
        ids = coder.encode(TUNES[:1])[0]
        ids[5] = ids[0]
        assert coder.decode(ids) is None


# What ships

def test_the_stored_runs_say_what_the_chapter_says():
    from genesis_course.state import load_weights
    table = load_weights("composer")[1]["tables"]["networks"]
    assert {len(bits) for bits in table.values()} == {3}
    assert max(table["relative, grid"])+0.3 < min(table["rotary, grid"]+table["LSTM, grid"]) and max(table["relative, grid"])+0.2 < min(table["relative, events"]+table["relative, ABC"])


def test_folk_tunes_need_their_files_and_a_table_of_voices_its_counts(monkeypatch):
    from genesis_course.score import folk_tunes, voice_bits
    monkeypatch.delenv("GENESIS_DATA", raising=False)
    message_of(folk_tunes, "GENESIS_DATA")
    pieces = torch.tensor([[[70, 70], [60, 62], [55, 55], [40, 40]]]*500)
    assert abs(voice_bits(pieces, pieces)-1/3) < 0.5 and voice_bits(pieces, pieces) < voice_bits(pieces, pieces+1)
