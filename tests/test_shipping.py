"""Chapter 23: every shipped model is the same function as its graph, what cannot be a graph says why, and a batcher loses nothing."""
import copy
import threading
import time
from concurrent.futures import wait
from pathlib import Path
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn import functional as F
import genesis_course.guards.shipping as guards
from genesis_course import shipped as rooms
from genesis_course.augment import warp
from genesis_course.flow import steps_to
from genesis_course.resample import resample
from genesis_course.shipped import SHIPPED, shipped
from genesis_course.shipping import Batcher, Full, export_onnx, weights_hash, largest_difference, model_card, open_onnx, quantize_onnx, quantize_rows, run_onnx, with_fewer_bits
from genesis_course.support import CourseError, checker, guards_rest, without_guards
from helpers import message_of

pytest.importorskip("onnxruntime", reason="needs the extra ship")
pytest.importorskip("onnxscript", reason="needs the extra ship")
ROOT = Path(__file__).parent.parent
REFUSED = {"creation"}          # its two networks are shipped in its place


# ---- graphs

@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHIPPED.keys()-REFUSED))
def test_graph_and_network_are_one_function_in_every_batch_size(name):
    model = shipped(name)
    assert largest_difference(model.module, open_onnx(export_onnx(model.module, model.inputs)), model.inputs, (1, 2, 5)) < 1e-4


def test_every_file_of_weights_is_among_the_shipped_models(monkeypatch):
    used, load = set(), rooms.load_weights
    def noted(source):
        used.add(source)
        return load(source)
    monkeypatch.setattr(rooms, "load_weights", noted)
    for name in SHIPPED: shipped(name)
    assert used | {"genesis", "creation", "letters", "inks"} == {path.stem for path in (ROOT/"genesis_course"/"weights").glob("*.safetensors")}


def test_creation_is_refused_with_its_line_and_its_parts_do_what_it_does():
    whole, flow, decoder = map(shipped, ("creation", "creation_flow", "creation_decoder"))
    message_of(lambda: export_onnx(whole.module, whole.inputs), "cannot branch", "later < 1", "flow.py")
    ask, draw = (open_onnx(export_onnx(part.module, part.inputs)) for part in (flow, decoder))
    z, labels, position = whole.inputs.values()
    def velocity(x, t): return run_onnx(ask, x, torch.full((len(x),), t), labels)[0]
    x, times = z, steps_to(flow.module.prior.calls).tolist()
    for t, later in zip(times, times[1:]):                                       # Heun's method, as whoever serves the graph writes it
        slope = velocity(x, t)
        ahead = x + (later-t)*slope
        x = x + (later-t)*(slope+velocity(ahead, later))/2 if later < 1 else ahead
    picture, = run_onnx(draw, flow.module.prior.unscaled(x), labels, position)
    assert (picture-whole.module(z, labels, position)).abs().max() < 1e-4


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x): return self.function(x)


def count_down(x):
    while x.abs().max() > 1: x = x/2
    return x


@pytest.mark.parametrize("function, fragments", [
    (lambda x: x+1 if x.sum() > 0 else x, ("branch", "x.sum() > 0")), (count_down, ("branch", "while x.abs().max() > 1")),
    (lambda x: torch.linalg.eigvalsh(x.mT @ x), ("no operation for aten._linalg_eigh", "Leave that step out")),
    (lambda x: x+torch.ones(3, 1), ("batch is fixed to 3",)),
    (lambda x: x+torch.rand(x.shape, generator=torch.Generator()), ("cannot be exported",))])
def test_what_cannot_be_a_graph_says_why(function, fragments):
    assert len(message_of(lambda: export_onnx(Function(function), {"x": torch.randn(3, 4)}), *fragments)) < 420


@pytest.mark.parametrize("function", [lambda x: warp(x, rotation=20.), lambda x: resample(x, F.affine_grid(torch.eye(2, 3).expand(x.shape[0], 2, 3)*0.9, list(x.shape), align_corners=False)),
                                      lambda x: F.interpolate(x, (13, 13), mode="bicubic", antialias=True)])
def test_grid_sample_and_its_relatives_can(function):
    x = torch.rand(3, 1, 10, 10)
    module = Function(function)
    assert largest_difference(module, open_onnx(export_onnx(module, {"x": x})), {"x": x}) < 1e-4


def test_random_numbers_inside_are_found_by_the_comparison():
    x = {"x": torch.zeros(3, 4)}
    noisy = Function(lambda x: x+torch.randn_like(x))
    assert largest_difference(noisy, open_onnx(export_onnx(noisy, x)), x) > 0.1


@pytest.mark.parametrize("call, fragments", [
    (lambda: export_onnx("reader", {"x": torch.zeros(2, 1)}), ("torch.nn.Module",)), (lambda: export_onnx(nn.Linear(1, 1), torch.zeros(2, 1)), ("dict of tensors",)),
    (lambda: export_onnx(nn.Linear(1, 1), {"x": torch.zeros(1, 1)}), ("2 or more rows",)), (lambda: export_onnx(nn.Linear(1, 1), {}), ("dict of tensors",)),
    (lambda: export_onnx(nn.Bilinear(1, 1, 1), {"x": torch.zeros(2, 1), "y": torch.zeros(3, 1)}), ("a row for each",)),
    (lambda: export_onnx(nn.Sequential(nn.Dropout(0.5)).train(), {"x": torch.zeros(2, 1)}), ("eval()",)),
    (lambda: open_onnx("no/such/graph.onnx"), ("no file",)), (lambda: open_onnx(b"no graph"), ("no ONNX graph",)), (lambda: largest_difference(nn.Linear(1, 1), b"", {"x": torch.zeros(2, 1)}), ("open_onnx",)),
    (lambda: quantize_rows(torch.zeros(3)), ("[rows, columns]",)), (lambda: quantize_rows(torch.zeros(2, 2), 1), ("bits",)), (lambda: quantize_rows(torch.full((2, 2), torch.nan)), ("NaN",)),
    (lambda: with_fewer_bits(nn.Linear(1, 1), 9), ("bits",)), (lambda: quantize_onnx(Path("x")), ("bytes",)), (lambda: Batcher(3), ("function",)), (lambda: Batcher(len, most=0), ("most",)),
    (lambda: Batcher(len, wait=-1), ("wait",)), (lambda: weights_hash({}), ("torch.nn.Module",)), (lambda: shipped("raeder"), ("Did you mean 'reader'?",)),
    (lambda: model_card("a", nn.Linear(1, 1), "", "", "", "", {}, ["x"]), ("measured",)), (lambda: model_card("a", nn.Linear(1, 1), "", "", "", "", {"a": {"b": 1}}, []), ("every model fails",))])
def test_bad_input_gets_a_sentence(call, fragments): message_of(call, *fragments)


@pytest.mark.parametrize("name, call", [("onnx", lambda: export_onnx(nn.Linear(1, 1), {"x": torch.zeros(2, 1)})), ("onnxruntime", lambda: open_onnx(b"")), ("onnx", lambda: quantize_onnx(b""))])
def test_a_missing_library_is_named_with_its_extra(name, call, monkeypatch):
    monkeypatch.setattr(guards, "find_spec", lambda each: None if each == name else True)
    message_of(call, name, "genesis_course[ship]")


def test_guards_rest_inside_the_block_only_and_also_after_an_error():
    def refuse(): raise CourseError("no")
    checked = checker({"double": lambda x: refuse()})
    @checked
    def double(x): return 2*x
    with without_guards():
        with without_guards(): assert double(1) == 2
        assert double(1) == 2 and guards_rest()
    with pytest.raises(ZeroDivisionError), without_guards(): 1/0
    assert not guards_rest()
    message_of(lambda: double(1), "no")


# ---- weights

def test_a_hash_names_the_weights_and_nothing_else():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    twin, before = copy.deepcopy(module).eval().requires_grad_(False), weights_hash(module)
    assert weights_hash(twin) == before and len(before) == 12
    for name, value in twin.state_dict().items():
        other = copy.deepcopy(twin)
        with torch.no_grad(): other.state_dict()[name].view(-1)[0] += 1
        assert weights_hash(other) != before, name
    assert weights_hash(copy.deepcopy(module).half()) != before


@given(st.integers(1, 6), st.integers(1, 9), st.integers(2, 8), st.integers(0, 1000))
def test_rounding_is_wrong_by_at_most_half_a_scale(rows, columns, bits, seed):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    whole, scale = quantize_rows(weight, bits)
    assert whole.dtype == torch.int8 and whole.abs().max() <= 2**(bits-1)-1 and whole.abs().amax(dim=1).eq(2**(bits-1)-1).all()
    assert ((scale[:, None]*whole-weight).abs() <= scale[:, None]*0.5001).all()


def test_fewer_bits_change_a_copy_and_more_bits_change_it_less():
    module = shipped("reader").module
    before, x = weights_hash(module), shipped("reader").inputs["x"]
    errors = [(with_fewer_bits(module, bits)(x)-module(x)).abs().max().item() for bits in (2, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.5 and weights_hash(module) == before


def test_int8_graph_is_small_and_reads_the_same():
    model = shipped("reader")
    graph = export_onnx(model.module, model.inputs)
    small = quantize_onnx(graph)
    assert len(small) < 0.4*len(graph)
    logits, = run_onnx(open_onnx(small), model.inputs["x"])
    assert logits.shape == (3, 10) and (logits.softmax(1)-model.module(model.inputs["x"]).softmax(1)).abs().max() < 0.2


# ---- a batcher

def test_every_caller_gets_its_own_answer_and_no_batch_is_too_large():
    batcher = Batcher(lambda items: [10*item for item in items], most=7, wait=0.01, room=1000)
    answers = {}
    def call(start):
        for number in range(start, start+20): answers[number] = batcher.submit_all([number])[0].result(timeout=20)
    threads = [threading.Thread(target=call, args=(100*k,)) for k in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    batcher.close()
    assert len(answers) == 160 and all(answer == 10*number for number, answer in answers.items())
    assert sum(size*count for size, count in batcher.sizes.items()) == 160 and max(batcher.sizes) <= 7


def test_a_full_batcher_takes_all_or_nothing_and_recovers():
    gate = threading.Event()
    def compute(items):
        gate.wait(20)
        return items
    batcher = Batcher(compute, most=2, wait=0, room=4)
    first = batcher.submit_all([0])
    while len(batcher): time.sleep(0.001)                    # the worker holds it now
    futures = batcher.submit_all([1, 2, 3])
    with pytest.raises(Full): batcher.submit_all([4, 5])
    assert len(batcher) == 3
    futures += batcher.submit_all([6])
    gate.set()
    assert [each.result(20) for each in first+futures] == [0, 1, 2, 3, 6]
    batcher.close()
    with pytest.raises(Full): batcher.submit_all([7])


def test_closing_answers_what_was_accepted():
    batcher = Batcher(lambda items: items, most=3, wait=5)
    futures = batcher.submit_all(list(range(10)))
    batcher.close()
    assert [each.result(0) for each in futures] == list(range(10)) and not batcher.thread.is_alive()


def test_a_bad_item_spoils_nobody_elses_answer_and_who_gave_up_is_left_out():
    seen = []
    def compute(items):
        seen.append(items)
        return [1/item for item in items]
    batcher = Batcher(compute, wait=0.2)
    futures = batcher.submit_all([1, 0, 2, 4])
    futures[3].cancel()
    wait(futures[:3], 20)
    assert futures[0].result() == 1 and futures[2].result() == 0.5 and isinstance(futures[1].exception(), ZeroDivisionError)
    assert batcher.submit_all([8])[0].result(20) == 1/8 and all(4 not in items for items in seen)
    batcher.close()


# ---- a card

def test_a_card_holds_what_was_measured_and_names_the_weights():
    module = nn.Linear(3, 2)
    card = model_card("Two lines", module, "Shows.", "Doors.", "[B, 3]", "Nothing.", {"old": {"right": 0.5, "count": 10}, "new": {"right": 0.25, "count": 12}}, ["It is random."], level=2)
    assert card.startswith("## Two lines\n") and "| new | 0.25 | 12 |" in card and weights_hash(module) in card and "8 weights" in card and "- It is random." in card
