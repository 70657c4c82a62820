"""The game of chapter 20 in the browser: the same physics as in Python, the same network, and everybody can play it."""
import json
import random
import numpy as np
import pytest
import torch
from genesis_course.levels import KEYS, MASK, MaskedModel, broken, find_mark, prove, step
from genesis_course.state import load_weights
from genesis_course.tiles import COLUMNS, ROWS, build_levels, to_ids, to_levels
from test_demos import numbers, server, status, visit                             # noqa: F401

in_browser = pytest.mark.browser


def rows_of(tiles): return to_levels(torch.as_tensor(tiles).view(1, ROWS, COLUMNS))[0]


@in_browser
def test_physics_is_the_same_in_both_languages(visit):                            # noqa: F811
    "Random keys through levels of the builder and levels of chance: the same state after every tick, or the same death"
    page, rng = visit("levels"), random.Random(0)
    chance = ["".join(rng.choice("......###=[]^o") for _ in range(COLUMNS)) for _ in range(ROWS)]
    levels = build_levels(12, seed=5)[0] + to_levels(torch.randint(7, (8, ROWS, COLUMNS), generator=torch.Generator().manual_seed(0)))
    assert len(chance) == ROWS
    for level in levels:
        runs = [[rng.choice(KEYS) for _ in range(60)] for _ in range(10)] + [[rng.choice(KEYS[:1]+KEYS[4:5]*4) for _ in range(60)] for _ in range(10)]
        theirs = page.evaluate("([level, runs, start]) => runs.map(keys => { const states = [start]; for (const [move, jump] of keys) { if (!states.at(-1)) break; states.push(page.step(level, states.at(-1), move, jump)); } return states; })",
                               [level, runs, [*find_mark(level, "S"), 0]])
        for keys, states in zip(runs, theirs):
            state = (*find_mark(level, "S"), 0)
            ours = [list(state)]
            for move, jump in keys:
                state = step(level, state, move, jump)
                ours.append(state and list(state))
                if state is None: break
            assert states == ours
    assert not page.faults


@in_browser
def test_proofs_are_the_same_and_can_be_played(visit):                            # noqa: F811
    "Python's keys lead to the flag in the browser; the browser's search finds a way as cheap, or none where there is none"
    page = visit("levels")
    levels = build_levels(30, seed=7)[0] + to_levels(torch.randint(7, (30, ROWS, COLUMNS), generator=torch.Generator().manual_seed(1)))
    for level in levels:
        proof, theirs = prove(level), page.evaluate("level => page.prove(level)", level)
        assert bool(theirs["keys"]) == proof.finished
        if not proof.finished:
            assert theirs["reached"] == proof.reached
            continue
        assert sum(2+jump for _, jump in theirs["keys"]) == 2*len(proof.keys)+proof.effort
        page.evaluate("level => { Object.assign(page, { level, proof: page.prove(level), over: false, won: false }); page.again(); }", level)
        page.evaluate("keys => keys.forEach(([move, jump]) => page.press(move, jump))", [list(keys) for keys in proof.keys])
        assert page.evaluate("page.won") and f"Finished in {len(proof.keys)} ticks" in status(page)
    assert not page.faults


@in_browser
def test_the_network_says_what_pytorch_says(visit):                               # noqa: F811
    page = visit("levels")
    weights, about = load_weights("levels")
    model = MaskedModel(**about["settings"])
    model.load_state_dict(weights)
    tiles = to_ids(build_levels(3, seed=2)[0])
    tiles = tiles.masked_fill(torch.rand(tiles.shape) < 0.4, MASK)
    for each in tiles:
        theirs = numbers(page, f"page.model.logits(Uint8Array.from({each.flatten().tolist()}))").view(COLUMNS, 7, ROWS).permute(1, 2, 0)
        with torch.no_grad(): ours = model.eval()(each[None])[0]
        assert (theirs-ours).abs().max() < 1e-3


@in_browser
def test_a_new_level_is_whole_and_can_be_finished(visit):                         # noqa: F811
    page, good = visit("levels"), 0
    for _ in range(12):
        page.click("#new")
        page.wait_for_function("page.ready()")
        level = page.evaluate("page.level")
        tiles = np.array(json.loads(page.evaluate("JSON.stringify([...page.tiles])")))
        assert rows_of(tiles) == level
        good += prove(level).finished and not broken(torch.as_tensor(tiles).view(1, ROWS, COLUMNS)).any().item()
    assert good >= 11 and not page.faults


@in_browser
def test_arrow_keys_buttons_and_a_finger_play(visit):                             # noqa: F811
    page = visit("levels", width=390, touch=True)
    flat = ["."*COLUMNS]*8 + ["S"+"."*(COLUMNS-2)+"G", "#"*COLUMNS]
    page.evaluate("level => { Object.assign(page, { level, proof: page.prove(level) }); page.again(); }", flat)
    page.focus("#stage")
    page.keyboard.down("ArrowRight")
    page.wait_for_function("page.state[0] >= 3")
    page.keyboard.up("ArrowRight")
    page.keyboard.down("ArrowUp")
    page.wait_for_function("page.state[1] < 7")
    page.keyboard.up("ArrowUp")
    page.wait_for_function("page.ready()")
    here = page.evaluate("page.state[0]")
    page.dispatch_event("#left", "pointerdown", {"pointerId": 1})
    page.wait_for_function(f"page.state[0] < {here}")
    page.evaluate("page.held.left = false")
    page.focus("#right")
    page.keyboard.down("Enter")
    page.wait_for_function("page.won", timeout=20_000)
    page.keyboard.up("Enter")
    assert "Finished in" in status(page)
    page.click("#again")
    assert page.evaluate("page.state[0]") == 0 and "start" in status(page)


@in_browser
def test_a_death_is_told_and_the_proof_is_shown(visit):                           # noqa: F811
    page = visit("levels")
    pit = ["."*COLUMNS]*8 + ["S"+"."*(COLUMNS-2)+"G", "##...."+"#"*(COLUMNS-6)]
    page.evaluate("level => { Object.assign(page, { level, proof: page.prove(level) }); page.again(); }", pit)
    page.evaluate("for (let k = 0; k < 6; k++) page.press(1, 0)")
    assert "the end" in status(page) and page.evaluate("page.state[0]") <= 3
    page.click("#proof")
    assert "The proof:" in status(page) and page.get_attribute("#proof", "aria-pressed") == "true"
    assert not page.faults


@in_browser
def test_the_proof_plays_itself_where_motion_is_welcome(visit):                   # noqa: F811
    page = visit("levels", still=False)
    page.click("#proof")
    page.wait_for_function("page.won", timeout=30_000)
    assert "Finished" in status(page) and not page.faults
