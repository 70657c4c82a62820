"""The exercise engine: what a reader sees, and progress that survives."""
import json
import re
import subprocess
import sys
import threading
import time
import pytest
from genesis_course import practice
from genesis_course.grading import LOOK, Verdict
from genesis_course.practice import Exercise, check, grade, hint, proofread, record, solution, solved
from genesis_course.room import run_limited
from genesis_course.support import home


def test_unknown_id_is_answered_with_the_nearest():
    assert "start.1" in grade("strat.1", 3).message
    assert "There are:" in grade(7, 3).message


def test_check_hint_and_solution_speak_in_a_plain_script(capsys):
    check("start.2", lambda network: 0)
    check("start.1", 3.258)
    check("start.1", 3.258)
    hint("start.1")
    hint("start.1")
    solution("start.2")
    solution("nothing.1")
    message = capsys.readouterr().out
    assert "✓ Right." in message and 'hint("start.2")' in message and "Hint 1 of 3" in message and "Hint 2 of 3" in message and "p.numel()" in message and "no exercise" in message
    assert "Traceback" not in message
    assert list(solved()) == ["start.1"]


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.alone
def test_an_endless_answer_gives_the_notebook_back(stubborn):
    def endless():
        while True:
            try: time.sleep(0.001)
            except BaseException:
                if not stubborn or threading.current_thread() is threading.main_thread(): raise
                time.sleep(2)
                return
    started = time.perf_counter()
    value, error = run_limited(endless, 0.2)
    assert isinstance(error, TimeoutError) and time.perf_counter()-started < 2


@pytest.mark.alone
def test_python_ends_well_although_an_answer_still_computes(tmp_path):
    "A thread that is inside PyTorch when Python ends would abort the whole process; this one shrugs off the first interruptions"
    (tmp_path/"script.py").write_text("""
import time
import torch
from genesis_course.room import run_limited
end = time.monotonic()+1.5
def answer():
    while time.monotonic() < end:
        try:
            while time.monotonic() < end: torch.ones(300, 300) @ torch.ones(300, 300)
        except BaseException: pass
print(run_limited(answer, 0.3)[1].__class__.__name__)
""")
    done = subprocess.run([sys.executable, str(tmp_path/"script.py")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "TimeoutError", "")


@pytest.mark.alone
def test_an_import_is_not_cut_off(tmp_path, monkeypatch):
    (tmp_path/"slow_to_load.py").write_text("import time\nfor _ in range(20): time.sleep(0.05)\nvalue = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_limited(lambda: __import__("slow_to_load").value, 0.2) == (7, None)


def test_judge_or_observe_that_stumbles_is_no_traceback_for_the_learner():
    stumbling = Exercise("x.1", "t", solution=lambda: 1., observe=lambda answer: {"value": answer()}, judge=lambda seen: f"{seen['value']:.0f} is not one" if seen["value"] != 1 else None)
    assert grade(stumbling, lambda: 2.).message == "2 is not one"
    assert grade(stumbling, lambda: "two").status == "wrong"


def an_exercise():
    "Double a number, written as the answer books are"
    double = Exercise("x.2", "Double a number")
    @double.answer
    def _(x): return 2*x
    @double.slip("the square")
    def _(x): return x*x
    @double.slip("the square, but later in the list")
    def squared(x): return x**2
    @double.observed_by
    def _(answer): return answer(3.)
    return double, squared


def test_decorators_fill_the_exercise_and_hand_back_the_function():
    double, squared = an_exercise()
    assert double.solution(4) == 8 and squared(3) == 9 and double.observe(double.solution) == 6
    assert [(answer(5), remark) for answer, remark in double.wrong] == [(25, "the square"), (25, "the square, but later in the list")]
    assert grade(double, lambda x: x**2).message == "the square", "the first that fits is used"
    @double.judged_by
    def _(seen): return "too small" if seen < 6 else None
    assert grade(double, lambda x: 1.5*x).message == "too small" and grade(double, lambda x: 4*x)
    value = Exercise("x.3", "A number", solution=4.)
    assert value.slip("That is pi.", 3.14) is None and value.wrong == [(3.14, "That is pi.")]
    assert not an_exercise()[0].wrong is an_exercise()[0].wrong, "each exercise has a list of its own"


def test_proofread_finds_a_remark_that_never_comes():
    double, _ = an_exercise()
    with pytest.raises(AssertionError, match="the square"): proofread({"double": double})
    double.wrong.pop()
    assert proofread({"double": double, "something": 3}) == {"x.2": 1}
    double.solution = lambda x: 3*x
    double.wrong.append((lambda x: 3*x, "this is no longer wrong"))
    with pytest.raises(AssertionError, match="x.2"): proofread({"double": double})


def test_solution_of_a_value_bears_its_name(capsys):
    solution("start.1")
    assert capsys.readouterr().out.startswith("loss_at_chance = 3.258")


def luminance(colour):
    linear = [value/12.92 if value <= 0.03928 else ((value+0.055)/1.055)**2.4 for value in (int(colour[i:i+2], 16)/255 for i in (1, 3, 5))]
    return sum(weight*value for weight, value in zip((0.2126, 0.7152, 0.0722), linear))


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light+0.05)/(dark+0.05)


@pytest.mark.parametrize("status", LOOK)
def test_a_verdict_can_be_read_on_a_light_and_on_a_dark_page(status):
    page = Verdict(status, "Use `dim=0`.")._repr_html_()
    colours = re.findall(r"[;\"]color:([^;\"]+)", page)
    assert set(colours) <= {"inherit", "#fff"} and "inherit" in colours, "text has the colour of the page, save on the badge"
    if LOOK[status][0]: assert contrast(LOOK[status][1], "#ffffff") >= 4.5 and f"background:{LOOK[status][1]};color:#fff" in page
    share = float(re.search(r"rgba\(128,128,128,(\.\d+)\)", page).group(1))
    for text, paper in (("#212529", "#ffffff"), ("#dee2e6", "#222222"), ("#e0e0e0", "#111111")):
        under = "#"+"".join(f"{round(share*128+(1-share)*int(paper[i:i+2], 16)):02x}" for i in (1, 3, 5))
        assert contrast(text, under) >= 4.5, f"code on {paper}"


def test_damaged_progress_is_passed_over_and_kept():
    record("start.1")
    path = home()/"progress.jsonl"
    with open(path, "ab") as file: file.write(b'\n\xff\xfe{"id": "start.2", "da\n[]\n7\n{"id": 3}\n{"id": "start.3", "date"')
    record("start.4")
    assert set(solved()) == {"start.1", "start.4"}
    assert b'"start.3"' in path.read_bytes()


@pytest.mark.alone
def test_progress_survives_kill_at_any_moment(tmp_path):
    "A process that records without end is killed; whatever it had written whole is still read, and new records are not swallowed"
    script = "import itertools\nfrom genesis_course.practice import record\nfor i in itertools.count(): record(f'demo.{i}')"
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.time()+60
    while len(solved()) < 5 and time.time() < deadline: time.sleep(0.05)
    process.kill()
    process.wait()
    before = set(solved())
    record("after.1")
    assert len(before) >= 5 and set(solved()) == before | {"after.1"}


def test_torn_record_of_any_length_costs_at_most_itself():
    record("start.1")
    path = home()/"progress.jsonl"
    whole = path.read_bytes()
    line = b"\n"+json.dumps({"id": "start.2", "date": "2026-01-01"}).encode()
    for cut in range(len(line)):
        path.write_bytes(whole+line[:cut])
        record("start.3")
        assert {"start.1", "start.3"} <= set(solved()) <= {"start.1", "start.2", "start.3"}


def test_progress_that_cannot_be_written_is_said_and_the_answer_still_counts(monkeypatch, tmp_path, capsys):
    (tmp_path/"file").write_text("in the way")
    monkeypatch.setenv("GENESIS_HOME", str(tmp_path/"file"))
    check("start.1", 3.258)
    message = capsys.readouterr().out
    assert "✓ Right." in message and "could not be saved" in message and "GENESIS_HOME" in message


def test_progress_table_counts_by_chapter():
    record("start.1")
    table = practice.progress()
    assert table.splitlines()[0].startswith("start") and "next: start.2" in table and "1 of " in table.splitlines()[-1]
