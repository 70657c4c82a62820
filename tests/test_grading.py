"""The room in which an answer runs: the same surroundings every time, nothing left behind, always a sentence."""
import builtins
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
import numpy as np
import pytest
import torch
from torch import nn
from genesis_course import practice, room
from genesis_course.grading import difference
from genesis_course.practice import Exercise, grade
from genesis_course.room import Bounded, run_limited
from genesis_course.watch import Watch, copy_of, set_device, unchanged


def exercise(solution=lambda x: 2*x, observe=lambda answer: answer(torch.arange(3.)), **more):
    return Exercise("x.1", "Double", solution=solution, observe=observe, **{"seconds": 2., **more})


def surroundings():
    "All that a check could change, in a form that can be compared"
    return {"dtype": torch.get_default_dtype(), "gradients": torch.is_grad_enabled(), "threads": torch.get_num_threads(), "device": torch.get_default_device(),
            "inference": torch.is_inference_mode_enabled(), "strict": torch.are_deterministic_algorithms_enabled(), "anomaly": torch.is_anomaly_enabled(),
            "dice": (random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), np.random.get_state()[2:]),
            "seeders": (random.seed, np.random.seed, torch.manual_seed), "warnings": list(warnings.filters), "environment": dict(os.environ),
            "folder": os.getcwd(), "path": list(sys.path), "names": dict(vars(builtins)), "streams": (sys.stdout, sys.stderr, sys.stdin), "limit": sys.getrecursionlimit(),
            "hooks": (sys.breakpointhook, threading.excepthook, sys.unraisablehook, os._exit), "interrupt": signal.getsignal(signal.SIGINT)}


def go_on():
    end = time.monotonic()+20
    while time.monotonic() < end: pass


MEDDLERS = {
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "whether gradients are recorded": lambda: torch.set_grad_enabled(False),
    "the default device": lambda: torch.set_default_device("meta"),
    "the number of PyTorch's threads": lambda: torch.set_num_threads(2),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "the detection of anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "PyTorch's seed": lambda: torch.manual_seed(0),
    "the seed of `random`": lambda: random.seed(0),
    "NumPy's seed": lambda: np.random.seed(0),
    "the working folder": lambda: os.chdir("/"),
    "environment variables": lambda: os.environ.update(GENESIS_HOME="/nowhere", A_NEW_ONE="1"),
    "`sys.path`": lambda: sys.path.insert(0, "/nowhere"),
    "the filters of warnings": lambda: warnings.simplefilter("error"),
    "Python's own names": lambda: setattr(builtins, "sum", max),
    "the recursion limit": lambda: sys.setrecursionlimit(2500),
    "where `print` writes": lambda: setattr(sys, "stdout", io.StringIO()),
    "a thread that goes on": lambda: threading.Thread(target=go_on, daemon=True).start(),
}


@pytest.mark.parametrize("what", MEDDLERS)
@pytest.mark.parametrize("kind", ["right", "wrong", "raises", "class"])
def test_what_an_answer_leaves_changed_is_put_back_and_told_and_the_answer_still_counts(what, kind):
    def answer(x):
        result = {"right": 2., "wrong": 3., "raises": 2., "class": 2.}[kind]*x
        MEDDLERS[what]()
        if kind == "raises": raise ValueError("of its own")
        return result
    class Doubler(nn.Module):
        def forward(self, x): return answer(x)
    task = exercise()
    if kind == "class":
        class Twice(nn.Module):
            def forward(self, x): return 2*x
        task = exercise(Twice, lambda made: made()(torch.arange(3.)))
    threads, before = threading.active_count(), surroundings()
    verdict = grade(task, Doubler if kind == "class" else answer)
    assert surroundings() == before
    assert verdict.status == {"right": "right", "class": "right", "wrong": "wrong", "raises": "trouble"}[kind], verdict
    assert f"It also changed what the whole program shares ({what}); that is put back." in verdict.message
    assert threading.active_count() <= threads


def test_later_parts_of_a_check_do_not_suffer_from_what_a_call_has_left():
    def observe(answer):
        x = torch.arange(3.).requires_grad_()
        answer(x.detach())
        (x*x).sum().backward()
        return {"gradient": x.grad, "dtype": torch.zeros(2), "value": answer(x.detach())}
    def answer(x):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        return 2*x
    verdict = grade(exercise(observe=observe), answer)
    assert verdict and "the default device, the default dtype, whether gradients are recorded" in verdict.message


def test_what_the_solution_does_too_needs_no_word():
    def seeds(x):
        torch.manual_seed(1)
        return 2*x
    assert "program" not in grade(exercise(seeds), seeds).message
    slipped = exercise()
    @slipped.slip("Tripled.")
    def _(x):
        random.seed(1)
        return 3*x
    assert grade(slipped, slipped.wrong[0][0]).message == "Tripled."


def changes_a_lot():
    torch.manual_seed(3)
    torch.rand(2)
    warnings.simplefilter("ignore")
    print("unseen")


@contextlib.contextmanager
def all_of_them():
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.device("meta"): yield


def test_an_answer_that_tidies_up_itself_hears_nothing(capsys):
    def answer(x):
        with all_of_them(): changes_a_lot()
        return 2*x
    verdict = grade(exercise(), answer)
    assert (verdict.status, verdict.message, capsys.readouterr().out) == ("right", "", "")


@pytest.mark.alone
def test_what_a_library_changes_as_it_is_loaded_is_not_held_against_an_answer(tmp_path, monkeypatch):
    (tmp_path/"sets_things.py").write_text("import os, warnings\nos.environ['FROM_A_LIBRARY'] = '1'\nwarnings.simplefilter('ignore')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    def answer(x):
        import sets_things
        return 2*x
    before = surroundings()
    assert grade(exercise(), answer).message == "" and surroundings() == before


READERS = {
    "float64": lambda: torch.set_default_dtype(torch.float64), "meta": lambda: torch.set_default_device("meta"), "no gradients": lambda: torch.set_grad_enabled(False),
    "strict": lambda: torch.use_deterministic_algorithms(True), "anomaly": lambda: torch.autograd.set_detect_anomaly(True), "warnings are errors": lambda: warnings.simplefilter("error"),
    "numpy raises": lambda: np.seterr(all="raise"), "few calls": lambda: sys.setrecursionlimit(400), "seeds": lambda: [seed(7) for seed in (random.seed, np.random.seed, torch.manual_seed)],
    "threads": lambda: torch.set_num_threads(2)}


@pytest.fixture
def tidy():
    filters, errors, limit = list(warnings.filters), np.geterr(), sys.getrecursionlimit()
    yield
    torch.set_default_dtype(torch.float32)
    set_device(torch.device("cpu"))
    torch.set_grad_enabled(True)
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.set_num_threads(1)
    sys.setrecursionlimit(limit)
    warnings.filters[:] = filters
    np.seterr(**errors)


@pytest.mark.parametrize("setting", READERS)
def test_what_the_reader_has_set_neither_reaches_the_check_nor_is_lost(setting, tidy):
    def observe(answer):
        warnings.warn("by the way", DeprecationWarning)
        layer = nn.Linear(3, 2)
        layer(torch.ones(1, 3)).sum().backward()
        return {"seen": answer(torch.zeros(3)+1), "dtype": torch.zeros(1), "dice": [random.random(), np.random.rand(), torch.rand(1)], "weights": layer.weight.detach(),
                "gradient": layer.weight.grad, "underflow": np.array([1e-300])*np.array([1e-300]), "threads": torch.get_num_threads(), "strict": torch.are_deterministic_algorithms_enabled()}
    task = exercise(observe=observe)
    seen, error = observed(task)
    assert error is None
    READERS[setting]()
    before = surroundings()
    again, error = observed(task)
    assert error is None
    assert surroundings() == before
    assert grade(task, lambda x: x*2) and grade(task, lambda x: x*3).status == "wrong"
    assert surroundings() == before
    set_device(torch.device("cpu"))
    assert difference(again, seen) is None


def observed(task):
    watch = Watch()
    def work():
        with watch.over(task.solution) as answer: return task.observe(answer)
    with room.room() as run: return run(work, 5, watch)


@pytest.mark.slow
def test_solutions_pass_for_a_reader_of_float64():
    "In a Python of its own, where the answer books are read under that setting too; every third exercise"
    script = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
from genesis_course import practice
every = [each for group in practice.all_exercises().values() for each in group]
bad = {each.id: str(verdict) for each in every[::3] if not (verdict := practice.grade(each, each.solution))}
print(len(every[::3]), bad, torch.get_default_dtype())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    count, rest = done.stdout.strip().split(" ", 1)
    assert int(count) > 30 and rest == "{} torch.float64"


# Ends, questions, floods

@pytest.mark.parametrize("end", [lambda: sys.exit(), lambda: sys.exit(3), lambda: exit(), lambda: quit(), lambda: builtins.exit(1), lambda: os._exit(1)],
                         ids=["sys.exit()", "sys.exit(3)", "exit()", "quit()", "builtins.exit(1)", "os._exit(1)"])
def test_an_answer_cannot_end_python(end):
    stdin = sys.stdin
    def answer(x): end()
    message = grade(exercise(), answer).message
    assert "It asks Python to end" in message and "`return`" in message and "Traceback" not in message
    assert sys.stdin is stdin and not stdin.closed


class Shell:
    "What IPython's `exit` speaks to"
    keepkernel_on_exit, ended = None, 0
    def ask_exit(self): self.ended += 1


@pytest.mark.parametrize("keep", [False, True])
def test_the_exit_of_a_notebook_does_not_end_its_kernel(keep, monkeypatch):
    from IPython.core import autocall
    shell = Shell()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    monkeypatch.setattr(practice, "in_notebook", lambda: False)
    leave = autocall.ZMQExitAutocall(shell)
    def answer(x): leave(keep_kernel=keep)
    assert "It asks Python to end" in grade(exercise(), answer).message
    assert shell.ended == 0 and shell.keepkernel_on_exit is None
    shell.ask_exit()
    assert shell.ended == 1, "afterwards it works again"


@pytest.mark.slow
@pytest.mark.alone
def test_a_kernel_survives_exit_in_an_answer():
    "The real thing: a notebook whose answers call exit and quit, and ask a question, keeps its variables"
    import nbformat
    from nbclient import NotebookClient
    cells = ["from genesis_course.practice import grade\nkept = 41",
             "def answer(network): exit()\nverdict = grade('start.2', answer)\nprint(verdict)",
             "def answer(network): quit()\nprint(grade('start.2', answer))",
             "def answer(network): return int(input('how many? '))\nprint(grade('start.2', answer))",
             "print(kept+1)"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=120, kernel_name="python3").execute()
    said = ["".join(output.get("text", "") for output in cell.outputs) for cell in book.cells]
    assert "It asks Python to end" in said[1] and "It asks Python to end" in said[2]
    assert "cannot ask a question" in said[3] and said[4] == "42\n"


@pytest.mark.parametrize("ask", [lambda: input("how many? "), lambda: breakpoint()])
def test_an_answer_that_asks_does_not_wait(ask):
    started = time.monotonic()
    message = grade(exercise(), lambda x: ask()).message
    assert "cannot ask a question" in message and "as an argument" in message and time.monotonic()-started < 1.5


def test_reading_the_keyboard_another_way_finds_nothing():
    assert grade(exercise(), lambda x: 2*x+len(sys.stdin.read())+len(sys.stdin.readline()))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_of_output_is_cut_and_said(stream, capsys):
    def answer(x):
        for _ in range(2000): print("x"*999, file=getattr(sys, stream))
        return 2*x
    verdict = grade(exercise(), answer)
    assert verdict and verdict.message == "It printed 2,000,000 characters; the first 10,000 are shown."
    shown = capsys.readouterr()
    assert len(shown.out)+len(shown.err) == 10_000


def test_a_flood_without_end_is_stopped(capsys):
    def answer(x):
        while True: print("again and again")
    message = grade(exercise(seconds=0.3), answer).message
    assert "It was stopped after 0.3 seconds" in message and "are shown" in message
    assert len(capsys.readouterr().out) <= 10_000


def test_what_an_answer_prints_is_shown_once_and_that_of_the_course_never(capsys):
    def loud(x):
        print("course")
        return 2*x
    def answer(x):
        print("mine", flush=True)
        return 2*x
    assert grade(exercise(loud), answer)
    assert capsys.readouterr().out == "mine\n"


def test_bounded_streams_behave_as_streams_do():
    kept = io.StringIO()
    stream = Bounded(kept, 5)
    assert stream.write("abc") == 3 and stream.write("def") == 3 and stream.writelines(["g", "h"]) is None
    stream.flush()
    assert kept.getvalue() == "abcde" and stream.count == 8 and not stream.isatty()
    assert Bounded(None).write("x") == 1


# Endless things

@pytest.mark.alone
def test_an_answer_that_catches_everything_is_stopped_all_the_same():
    def stubborn(x):
        while True:
            try: x = x+1
            except BaseException: pass
    before, started = threading.active_count(), time.monotonic()
    assert "It was stopped after 0.3 seconds" in grade(exercise(seconds=0.3), stubborn).message
    assert time.monotonic()-started < 3 and threading.active_count() <= before+1


@pytest.mark.alone
def test_an_import_without_end_is_stopped_and_named(tmp_path, monkeypatch):
    (tmp_path/"loops_for_ever.py").write_text("while True: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(room, "OWN_SECONDS", 0.5)
    def answer(x):
        import loops_for_ever
    started = time.monotonic()
    message = grade(exercise(seconds=0.5), answer).message
    assert "the import of `loops_for_ever.py` does not come to its end" in message and time.monotonic()-started < 5
    assert "loops_for_ever" not in sys.modules
    assert room.OWN_SECONDS < room.LIBRARY_SECONDS <= 30


@pytest.mark.alone
def test_imports_without_end_one_after_the_other_are_stopped_too(tmp_path, monkeypatch):
    (tmp_path/"again.py").write_text("import time\ntime.sleep(0.05)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(room, "OWN_SECONDS", 0.5)
    def answer():
        while True:
            import again
            del sys.modules["again"]
    started = time.monotonic()
    _, error = run_limited(answer, 0.3)
    assert isinstance(error, TimeoutError) and time.monotonic()-started < 5


def recursion(x): return recursion(x)+1


def knot():
    rope = []
    rope.append(rope)
    return rope


@pytest.mark.parametrize("answer", [recursion, lambda x: knot(), lambda x: {"a": knot()}], ids=["function", "list", "dict"])
def test_what_has_no_ground_is_a_sentence(answer):
    verdict = grade(exercise(), answer)
    assert verdict.status in ("wrong", "trouble") and verdict.message.endswith(".") and "Traceback" not in verdict.message


def test_a_value_that_holds_itself_is_a_sentence():
    value = Exercise("x.2", "A list", solution=[[1.]], observe=lambda answer: answer)
    assert grade(value, knot()).status == "wrong" and grade(value, [[1.]])


def test_too_deep_a_recursion_names_the_cure():
    assert "calls itself without end" in grade(exercise(), recursion).message


def test_too_much_memory_is_a_sentence():
    def answer(x): raise MemoryError
    assert "more memory than there is" in grade(exercise(), answer).message


class Hostile:
    "Everything about it fails"
    def __getattribute__(self, name): raise RuntimeError("hands off")
    def __eq__(self, other): raise RuntimeError("hands off")
    def __repr__(self): raise RuntimeError("hands off")
    __hash__ = None


class Unspeakable(Exception):
    def __str__(self): raise RuntimeError("hands off")


def raises_unspeakable(x): raise Unspeakable


@pytest.mark.parametrize("answer", [lambda x: Hostile(), raises_unspeakable, lambda x: [Hostile()], lambda x: (_ for _ in ()).throw(KeyboardInterrupt)])
def test_hostile_things_are_answered_with_a_sentence(answer):
    before = surroundings()
    verdict = grade(exercise(), answer)
    assert verdict.status in ("wrong", "trouble") and verdict.message
    assert surroundings() == before


def test_a_comparison_without_end_is_stopped():
    class Slow:
        def __eq__(self, other):
            while True: pass
        __hash__ = None
    assert grade(exercise(lambda x: Slow.__name__, seconds=0.05), lambda x: type("Sly", (str,), {"__eq__": Slow.__eq__, "__hash__": None})("a")).status in ("wrong", "trouble")


def test_a_fault_of_the_course_is_a_sentence_too():
    def broken(x): raise OSError("no such file")
    verdict = grade(exercise(broken), lambda x: 2*x)
    assert verdict.status == "trouble" and "The check itself stumbled over OSError: no such file" in verdict.message


def test_a_thread_that_ends_without_a_word_is_a_sentence():
    import _thread
    assert "asks Python to end" in grade(exercise(), lambda x: _thread.exit()).message
    def loses_a_thread(x):
        thread = threading.Thread(target=lambda: 1/0)
        thread.start()
        thread.join()
        return 2*x
    assert grade(exercise(), loses_a_thread).message == ""


def test_a_thread_of_the_answer_that_fails_prints_no_traceback(capfd):
    def answer(x):
        thread = threading.Thread(target=lambda: 1/0)
        thread.start()
        thread.join()
        return 2*x
    assert grade(exercise(), answer)
    seen = capfd.readouterr()
    assert seen.out == seen.err == ""


def test_an_answer_cannot_check_itself():
    def answer(x): return grade("start.1", 3.258).status
    assert grade(exercise(lambda x: "note"), answer)


def test_checks_from_many_threads_wait_for_each_other():
    before, verdicts = surroundings(), []
    def meddles(x):
        torch.set_default_dtype(torch.float64)
        time.sleep(0.01)
        return 2*x
    def work(): verdicts.append(grade(exercise(), meddles))
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(verdicts) == 6 and all(verdicts) and surroundings() == before


# Ctrl-C

@pytest.mark.alone
@pytest.mark.parametrize("answer", ["computes", "sleeps", "catches", "course"])
def test_ctrl_c_ends_the_answer_and_gives_the_notebook_back(answer):
    def forever(x):
        while True:
            if answer == "sleeps": time.sleep(0.01)
            try: x = x+1
            except BaseException:
                if answer != "catches": raise
    before, count = surroundings(), threading.active_count()
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT) if sys.platform == "win32" else os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    verdict = grade(exercise(forever, seconds=60.) if answer == "course" else exercise(seconds=60.), (lambda x: 2*x) if answer == "course" else forever)
    timer.join()
    assert verdict.status == "trouble" and "The check was interrupted" in verdict.message and time.monotonic()-started < 10
    assert surroundings() == before and threading.active_count() <= count
    assert grade(exercise(), lambda x: 2*x), "the next check is not interrupted"


@pytest.mark.alone
def test_ctrl_c_at_any_moment_leaves_no_trace():
    "Pressed again and again while checks go on: each ends in a verdict, and everything is as before"
    before, over = surroundings(), threading.Event()
    def press():
        while not over.wait(random.Random(5).uniform(0.001, 0.01)): os.kill(os.getpid(), signal.SIGINT)
    thread, seen = threading.Thread(target=press), set()
    with room.shielded():
        thread.start()
        for _ in range(40): seen.add(grade(exercise(), lambda x: 2*x).status)
        over.set()
        thread.join()
        time.sleep(0.05)
    assert seen <= {"right", "trouble"} and "trouble" in seen and surroundings() == before


# What an answer does to its arguments

def in_place(x):
    x.mul_(2)
    return x


def through_data(x):
    x.data.mul_(2)
    return x.clone()


def through_numpy(x):
    x.numpy()[:] *= 2
    return x.clone()


def grows(x): return x.requires_grad_().detach()*2


@pytest.mark.parametrize("answer", [in_place, through_data, through_numpy, grows])
def test_an_answer_that_overwrites_its_argument_is_told_so(answer):
    task = exercise(observe=lambda answer: answer(torch.arange(3.)+1))
    verdict = grade(task, answer)
    assert verdict.status == "wrong" and "changes what it was given: `x`" in verdict.message
    assert grade(exercise(in_place), in_place), "unless the exercise asks for it"
    assert "`x`" in grade(exercise(observe=lambda answer: answer(x=torch.arange(3.)+1)), answer).message


@pytest.mark.parametrize("given, change", [
    ([3, 1, 2], lambda x: x.sort()), ({"a": 1}, lambda x: x.update(a=2)), ({"a": [1.]}, lambda x: x["a"].append(2)), ({1, 2}, lambda x: x.add(3)), (np.zeros(3), lambda x: x.fill(1)),
    ([torch.zeros(2)], lambda x: x[0].add_(1)), ((torch.zeros(2), torch.zeros(2)), lambda x: x[1].add_(1)), (torch.zeros(200_000), lambda x: x.add_(1)),
    (torch.full((2,), float("nan")), lambda x: x.fill_(0)), ([[torch.zeros(1)]], lambda x: x[0].clear())])
def test_changes_of_every_kind_are_seen_and_nothing_else(given, change):
    before = copy_of(given)
    assert unchanged(before, given)
    change(given)
    assert not unchanged(before, given)


@pytest.mark.parametrize("given", [3, "text", None, [float("nan"), torch.tensor(float("nan"))], {"f": print}, torch.zeros(0), torch.zeros(2, device="meta"), knot(), [1]*2000, object(),
                                   torch.zeros(2, 2).to_sparse(), torch.zeros(2, dtype=torch.complex64), torch.zeros(3, dtype=torch.bfloat16), np.array(["a"])], ids=lambda x: type(x).__name__)
def test_what_is_left_alone_is_unchanged(given):
    task = Exercise("x.3", "t", solution=lambda x: 1., observe=lambda answer: answer(given))
    assert grade(task, lambda x: 1.0)


def test_a_method_that_overwrites_is_told_so_and_the_class_is_as_before():
    class Good:
        def __init__(self, factor): self.factor = factor
        def times(self, x): return self.factor*x
    class Bad(Good):
        def times(self, x): return x.mul_(self.factor)
    method = Bad.times
    verdict = grade(exercise(Good, lambda made: made(2.).times(torch.ones(2))), Bad)
    assert verdict.status == "wrong" and "`x`" in verdict.message and Bad.times is method
    assert grade(exercise(Good, lambda made: made(2.).times(torch.ones(2))), Good)


def test_an_answer_that_is_stopped_while_it_clears_up_leaves_no_traceback(capsys):
    "Python reports an exception in a destructor by a hook; the end of an answer's time is no fault"
    going = [True]
    class Sticky:
        def __del__(self):
            end = time.monotonic()+20
            while going and time.monotonic() < end: pass
    def answer(x):
        while going: Sticky()
    verdict = grade(exercise(seconds=0.3), answer)
    going.clear()          # it would compute beside all later tests
    assert "stopped after 0.3 seconds" in verdict.message and "_TimeUp" not in capsys.readouterr().err
