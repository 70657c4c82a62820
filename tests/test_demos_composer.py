"""The composer of chapter 19 in the browser: the same network as in Python, bars that add up, a string in tune, and everybody can play it."""
import random
import pytest
import torch
from genesis_course.music import GridCoder, RelativeLM, frequency
from genesis_course.score import rules_kept
from genesis_course.state import load_weights
from genesis_course.tunes import BARS, HIGH, LOW, load_tunes, read_abc
from test_demos import numbers, server, status, visit                             # noqa: F401

in_browser = pytest.mark.browser


@pytest.fixture(scope="module")
def network():
    weights, about = load_weights("composer")
    model = RelativeLM(**about["settings"])
    model.load_state_dict(weights)
    return model.eval(), about["vocabulary"]


def rested(page): page.wait_for_function("page.ready()", timeout=30_000)


def play_keys(page, letters):
    page.focus("#stage")
    for letter in letters: page.keyboard.press(letter)


def test_the_weights_are_those_of_the_chapters_grid(network):
    model, vocabulary = network
    about = load_weights("composer")[1]
    assert vocabulary == GridCoder(load_tunes(count=2000)).vocabulary and model.vocab_size == len(vocabulary)
    assert about["floor"] < about["bits"] < about["floor"]+0.3


@in_browser
def test_the_network_says_what_pytorch_says(visit, network):                      # noqa: F811
    page, (model, vocabulary) = visit("composer"), network
    for tune in load_tunes(count=3, seed=9):
        ids = [vocabulary.index(word) for word in GridCoder([tune]).words(tune)[:-1]]
        theirs = numbers(page, f"(() => {{ page.model.start(); return {ids}.flatMap(id => [...page.model.step(id)]); }})()").view(len(ids), -1)
        with torch.no_grad(): ours = model(torch.tensor([ids]))[0][0]
        print(f"logits differ by {(theirs-ours).abs().max():.1e}")
        assert (theirs-ours).abs().max() < 1e-3
    assert not page.faults


@in_browser
def test_the_mask_is_the_same_in_both_languages(visit, network):                  # noqa: F811
    page, (_, vocabulary), rng = visit("composer"), network, random.Random(0)
    coder = GridCoder(load_tunes(count=2000))
    for metre in BARS:
        if metre not in vocabulary: continue
        for time in (0, 1, BARS[metre], 13, 8*BARS[metre]-1, 8*BARS[metre]):
            ids = torch.tensor([[vocabulary.index(metre), *(rng.randrange(1, len(vocabulary)) for _ in range(time))]])
            theirs = page.evaluate(f"page.vocabulary.map(word => page.isAllowed(word, {time}, '{metre}'))")
            assert theirs == coder.allowed(ids)[0].tolist(), (metre, time)


@in_browser
@pytest.mark.parametrize("temperature", ["0.2", "1", "2"])
def test_bars_add_up_and_the_text_is_the_tune(visit, temperature):                # noqa: F811
    page, tunes = visit("composer"), []
    page.evaluate(f"document.getElementById('temperature').value = {temperature}")
    for metre in ("4/4", "3/4"):
        page.select_option("#metre", metre)
        for _ in range(4):
            page.evaluate("page.compose(false)")
            rested(page)
            tune = read_abc(page.text_content("#text"))
            theirs = page.evaluate("page.notesOf(page.words).map(note => [note.pitch, note.length])")
            assert [list(note) for note in tune.notes] == theirs and tune.metre == metre
            assert [pitch for pitch, _ in tune.notes[:4]] == page.evaluate("page.given.map(note => note.pitch)")
            tunes.append(tune)
    kept = rules_kept(tunes)
    assert kept["bars that add up"] == kept["tunes of eight bars"] == kept["notes in the range"] == 1 and not page.faults


@in_browser
def test_what_it_writes_repeats_and_ends_as_the_composers_tunes_do(visit):        # noqa: F811
    page, tunes = visit("composer"), []
    for _ in range(20):
        page.evaluate("page.compose(false)")
        rested(page)
        tunes.append(read_abc(page.text_content("#text")))
    kept = rules_kept(tunes)
    assert kept["bars 5, 6 as 1, 2"] > 0.6 and kept["ends on the tonic"] > 0.7, kept


@in_browser
def test_letters_buttons_and_a_finger_play_four_notes(visit):                     # noqa: F811
    page = visit("composer", width=390, touch=True)
    play_keys(page, "as")
    assert "D4, and 2 more" in status(page)
    page.click("#play")
    assert "2 more" in status(page) and page.evaluate("page.playing") is None
    page.select_option("#length", "4")
    page.tap("#keys button:nth-child(8)")
    page.focus("#keys button:nth-child(1)")
    page.keyboard.press("Enter")
    page.wait_for_function("!page.left && page.playing")
    assert page.evaluate("page.given") == [{"pitch": 60, "length": 2}, {"pitch": 62, "length": 2}, {"pitch": 69, "length": 4}, {"pitch": 57, "length": 4}]
    assert "are its own" in status(page) and page.evaluate("page.playing.from") == 12, "it plays on from where the four notes end"
    page.click("#play")
    rested(page)
    assert status(page) == "Stopped." and page.text_content("#play") == "Play"
    play_keys(page, "g")
    assert page.evaluate("page.given.length") == 1 and page.evaluate("page.words.join()") == "67,-,-,-"
    assert not page.faults


@in_browser
def test_a_note_ends_at_the_bar_line_and_other_keys_stay_with_the_browser(visit):  # noqa: F811
    page = visit("composer")
    page.select_option("#metre", "3/4")
    page.select_option("#length", "4")
    page.focus("#stage")
    for combination in ("Control+a", "Alt+s", "q", "F"): page.keyboard.press(combination)
    assert page.evaluate("page.given.map(note => note.pitch)") == [65], "a capital letter is the same key; with Control it is not ours"
    play_keys(page, "sdf")
    page.wait_for_function("!page.left")
    lengths = page.evaluate("page.notesOf(page.words).slice(0, 4).map(note => note.length)")
    assert lengths == [4, 2, 4, 2] and not page.faults
    page.focus("#length")
    page.keyboard.press("a")
    assert page.evaluate("page.given.length") == 4


@in_browser
def test_the_tune_runs_through_and_another_is_another(visit):                     # noqa: F811
    page = visit("composer", still=False)
    first = page.text_content("#text")
    page.focus("#stage")
    page.keyboard.press(" ")
    page.wait_for_function("page.place() > 1")
    before = page.evaluate("page.place()")
    page.wait_for_function(f"page.place() > {before}+1")
    page.evaluate("page.playing.started -= 20_000")
    rested(page)
    assert "That was the tune" in status(page)
    page.click("#another")
    page.wait_for_function("!page.left && page.playing")
    page.keyboard.press("Escape")
    assert page.text_content("#text") != first and not page.faults


@in_browser
@pytest.mark.parametrize("script", ["delete window.AudioContext", "window.AudioContext = class { constructor() { throw new Error('none') } }"])
def test_it_works_without_sound(visit, script):                                   # noqa: F811
    page = visit("composer", script=script)
    play_keys(page, "asdf")
    page.wait_for_function("!page.left && page.playing")
    assert "no sound" in status(page) and not page.faults
    page.click("#sound")
    assert page.get_attribute("#sound", "aria-pressed") == "false" and "Without sound" in status(page)
    page.click("#play")
    page.click("#play")
    assert page.evaluate("page.playing.sources.length") == 0 and not page.faults


@in_browser
def test_a_string_is_in_tune_and_dies_away(visit):                                # noqa: F811
    page = visit("composer")
    for pitch in range(LOW, HIGH+1, 4):
        sound, speed = numbers(page, f"page.pluck({pitch}).sound"), page.evaluate(f"page.pluck({pitch}).speed")
        spectrum = torch.fft.rfft(sound*torch.hann_window(len(sound))).abs()
        ratio = spectrum.argmax().item()*32_000/len(sound)*speed/frequency(pitch)
        assert abs(ratio-round(ratio)) < 0.01*round(ratio) and round(ratio) >= 1, pitch
        assert sound[-3200:].abs().mean() < 0.5*sound[:3200].abs().mean()
