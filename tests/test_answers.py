"""Right answers in other forms pass, wrong ones are refused with a remark that is true of them, and so are mutants of the right ones."""
import importlib
import importlib.util
import json
import os
import random
import sys
from pathlib import Path
import numpy as np
import pytest
import torch
from genesis_course import practice, room
from genesis_course.exercises import chapters

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("mutants", ROOT/"tools"/"mutants.py")
mutants = importlib.util.module_from_spec(spec)
sys.modules["mutants"] = mutants
spec.loader.exec_module(mutants)

answers = [mutants.answers_of(chapter) for chapter in chapters][0]
PLACE = {each.id: chapter for chapter, group in practice.all_exercises().items() for each in group}
each_exercise = pytest.mark.parametrize("id", PLACE)
SEEDS = int(os.environ.get("GENESIS_SEEDS", 1))          # make mutants: 20
SAMPLE = 3                                               # mutants of each exercise, and of those that are called right; make mutants: all
pytestmark = pytest.mark.slow


@each_exercise
def test_right_answers_in_other_forms_pass(id, monkeypatch):
    "Under several seeds of the room in which answers run"
    assert len(answers.RIGHT[id]) >= 3, f"{id} has {len(answers.RIGHT[id])} further right answers"
    for seed in range(SEEDS):
        def roll():
            for begin in (random.seed, np.random.seed, torch.manual_seed): begin(seed)
        monkeypatch.setattr(room, "roll_from_zero", roll)
        for answer in [practice.find(id).solution, *answers.RIGHT[id]]:
            verdict = practice.grade(id, answer)
            assert verdict and "It also changed" not in verdict.message, f"{id}, seed {seed}, {getattr(answer, '__qualname__', answer)}: {verdict}"


@pytest.mark.parametrize("id", [id for id in PLACE if answers.WRONG[id]])
def test_wrong_answers_are_refused_with_a_remark_that_is_true_of_them(id):
    for answer, says, never in answers.WRONG[id]:
        verdict, name = practice.grade(id, answer), getattr(answer, "__qualname__", answer)
        assert not verdict, f"{id}, {name} passes"
        assert says is None or says in verdict.message, f"{id}, {name}: {verdict}"
        assert never is None or never not in verdict.message, f"{id}, {name}: {verdict}"


@each_exercise
def test_mutants_of_right_answers_are_refused(id):
    found = mutants.tried(practice.find(id), PLACE[id], sample=SAMPLE)
    assert not found["survived"], found["survived"]


@each_exercise
def test_mutants_that_are_called_right_exist_and_pass(id):
    listed, dice = answers.EQUIVALENT.get(id, {}), random.Random(id)
    made = {words: (mutant, habit) for words, mutant, habit in mutants.every_mutant(practice.find(id), PLACE[id], most=10**6)}
    for words, why in listed.items():
        assert any(answers.names(words, mutant) for mutant in made), f"{id} has no mutant {words}"
        assert len(why.split()) > 3, f"{id}, {words}: why is it right?"
    named = [mutant for mutant in made if any(answers.names(words, mutant) for words in listed)]
    for mutant in named if SEEDS > 1 else dice.sample(named, min(1, len(named))):
        assert mutants.verdict_on(practice.find(id), *made[mutant]) != "killed", f"{id}, {mutant} is refused"


def test_the_table_of_mutants_is_complete_and_its_score_is_kept():
    table = json.loads((ROOT/"benchmarks"/"results"/"mutants.json").read_text(encoding="utf-8"))
    assert set(table) == set(PLACE)
    killed, survived = (sum(len(found[what]) if what == "survived" else found[what] for found in table.values()) for what in ("killed", "survived"))
    assert killed/(killed+survived) >= 0.97
    for id, found in table.items(): assert found["killed"] >= 0.9*(found["killed"]+len(found["survived"])) and found["killed"] >= 3, id


def test_every_file_of_answers_belongs_to_a_chapter():
    assert {path.stem for path in (ROOT/"tests"/"answers").glob("*.py")}-{"__init__"} <= set(chapters)
    for registry in (answers.RIGHT, answers.WRONG, answers.EQUIVALENT): assert {id for id in registry if registry[id]} <= set(PLACE)


def test_a_check_that_looks_at_one_number_lets_mutants_through():
    "The search finds what is planted: a check that sees the shape only, or never looks at the gradient"
    def solution(x, y): return (x-y).square().mean()
    def survivors(observe): return mutants.tried(practice.Exercise("planted.1", "planted", solution=solution, observe=observe), "start")["survived"]
    x, y = torch.tensor([1., 4.], requires_grad=True), torch.tensor([2., 2.])
    assert any("`mean`" in words or ".sum()" in words for words in survivors(lambda answer: answer(x, y).shape == ()))
    blind = survivors(lambda answer: answer(x.detach(), y))
    assert "the result is detached" in blind and "`x` detached" in blind
    seeing = survivors(lambda answer: torch.autograd.grad(answer(x, y), x)[0])
    assert "the result is detached" not in seeing and "`x` detached" not in seeing
