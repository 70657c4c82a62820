"Recurrent networks: the same numbers as PyTorch's cells, the laws of reading and writing, a sentence for every mistake"
import importlib.util
import math
import sys
from pathlib import Path
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional as F
from genesis_course.data import Text, load_text
from genesis_course.probes import GraphMemory, draw_surprise, graph_size, influence
from genesis_course.rnn import (CELLS, GRUCell, LSTMCell, RNNCell, RecurrentLM, bits_per_character,
                                complete, detach, generate, next_probabilities, next_token_loss,
                                set_forget_bias, stream, text_loss, unroll)
from genesis_course.support import CourseError
from genesis_course.training import Player, Trainer

PAIRS = [(RNNCell, nn.RNNCell, nn.RNN), (LSTMCell, nn.LSTMCell, nn.LSTM), (GRUCell, nn.GRUCell, nn.GRU)]
each_pair = pytest.mark.parametrize("ours, step, layer", PAIRS, ids=["rnn", "lstm", "gru"])
each_cell = pytest.mark.parametrize("cell", CELLS)
SAMPLE = Text("the quick brown fox jumps over the lazy dog. "*30)

def model(cell="lstm", size=len(SAMPLE.vocabulary), **settings):
    torch.manual_seed(0)
    return RecurrentLM(size, cell, **{"width": 12, **settings}).eval()

def parts(state): return state if isinstance(state, tuple) else (state,)

def close(a, b, tolerance=1e-5): assert torch.allclose(a, b, atol=tolerance, rtol=tolerance), f"differ by {(a-b).abs().max():.3g}"


@each_pair
def test_one_step_equals_torch_with_all_gradients(ours, step, layer):
    torch.manual_seed(0)
    mine, theirs = ours(5, 7), step(5, 7)
    theirs.load_state_dict(mine.state_dict())
    mine.load_state_dict(theirs.state_dict())
    x, h = torch.randn(3, 5), torch.randn(2, 3, 7)
    state = tuple(h) if ours is LSTMCell else h[0]
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for cell, value in zip((mine, theirs), inputs): sum(part.pow(2).sum() for part in parts(cell(value, state))).backward()
    for a, b in zip(parts(mine(x, state)), parts(theirs(x, state))): close(a, b)
    for (name, a), (other, b) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        close(a.grad, b.grad)
    close(inputs[0].grad, inputs[1].grad)


@each_pair
def test_a_fresh_cell_equals_a_fresh_cell_of_torch(ours, step, layer):
    torch.manual_seed(3)
    mine = ours(4, 6).state_dict()
    torch.manual_seed(3)
    theirs = step(4, 6).state_dict()
    for name, value in theirs.items(): assert torch.equal(mine[name], value), f"{name} starts otherwise"


@each_pair
def test_unrolled_cell_equals_the_layer(ours, step, layer):
    torch.manual_seed(0)
    mine, theirs = ours(4, 6), layer(4, 6, batch_first=True)
    theirs.load_state_dict({name+"_l0": value for name, value in mine.state_dict().items()})
    x = torch.randn(2, 40, 4)
    (outputs, state), (expected, last) = unroll(mine, x), theirs(x)
    close(outputs, expected)
    for a, b in zip(parts(state), parts(last)): close(a, b[0])
    outputs.pow(2).sum().backward()
    expected.pow(2).sum().backward()
    for a, b in zip(mine.parameters(), theirs.parameters()): close(a.grad, b.grad, 1e-4)
    halves = unroll(mine, x[:, :13])
    close(torch.cat([halves[0], unroll(mine, x[:, 13:], halves[1])[0]], dim=1), outputs)


def test_gru_is_pytorchs_variant_and_not_the_papers():
    "The reset gate acts after the product; the paper's formula gives other numbers from the same weights"
    torch.manual_seed(0)
    cell, x, h = GRUCell(3, 4), torch.randn(2, 3), torch.randn(2, 4)
    r, z, _ = (F.linear(x, cell.weight_ih, cell.bias_ih)+F.linear(h, cell.weight_hh, cell.bias_hh)).sigmoid().chunk(3, 1)
    w, u, b, c = (part.chunk(3)[2] for part in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh))
    after, before = torch.tanh(x@w.T+b+r*(h@u.T+c)), torch.tanh(x@w.T+b+(r*h)@u.T+c)
    close(cell(x, h), (1-z)*after+z*h)
    assert (cell(x, h)-((1-z)*before+z*h)).abs().max() > 1e-3


def test_forget_bias_is_what_the_gate_starts_with():
    for value in (0., 1., 3.):
        lstm = nn.LSTM(3, 5, num_layers=2)
        set_forget_bias(lstm, value)
        for layer in (0, 1):
            total = getattr(lstm, f"bias_ih_l{layer}")+getattr(lstm, f"bias_hh_l{layer}")
            assert (total[5:10] == value).all() and not (total[:5] == value).all()


@each_cell
def test_state_carried_equals_one_long_pass(cell):
    lm, ids = model(cell, layers=2), SAMPLE.ids[:90].view(2, 45)
    whole, _ = lm(ids)
    first, state = lm(ids[:, :17])
    second, _ = lm(ids[:, 17:], state)
    close(torch.cat([first, second], dim=1), whole)


@each_cell
def test_generate_with_state_equals_recomputing_from_scratch(cell):
    lm, ids = model(cell), SAMPLE.ids[:6].view(2, 3)
    for sampling in (dict(top_k=1), dict(temperature=0.7, top_p=0.9)):
        carried, rng = generate(lm, ids, 12, generator=torch.Generator().manual_seed(5), **sampling), torch.Generator().manual_seed(5)
        slow = ids
        for _ in range(12):
            chances = next_probabilities(lm(slow)[0][:, -1].detach(), **sampling)
            slow = torch.cat([slow, torch.multinomial(chances, 1, generator=rng)], dim=1)
        assert torch.equal(carried, slow)
        assert torch.equal(carried[:, :3], ids) and carried.shape == (2, 15)
    assert torch.equal(generate(lm, ids, 0), ids)


def test_generate_repeats_with_a_generator_and_leaves_other_dice_alone():
    lm, ids = model(dropout=0.5), SAMPLE.ids[None, :4]
    before = torch.random.get_rng_state()
    first, again, other = (generate(lm, ids, 30, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_generate_and_measure_leave_modes_and_gradients_as_they_were():
    lm = model(dropout=0.5).train()
    lm.head.eval()
    assert text_loss(lm, SAMPLE, 16) == text_loss(lm, SAMPLE, 16)      # dropout is off inside
    assert not generate(lm, SAMPLE.ids[None, :4], 3).requires_grad
    assert lm.training and lm.dropout.training and not lm.head.training and torch.is_grad_enabled()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=12), st.floats(0.05, 20), st.floats(0.01, 1))
def test_probabilities_sum_to_one_and_keep_the_order(values, temperature, top_p):
    logits = torch.tensor(values)
    k = max(1, len(values)//2)
    for cut in ({}, dict(top_k=k), dict(top_p=top_p), dict(top_k=k, top_p=top_p)):
        chances = next_probabilities(logits, temperature, **cut)
        assert abs(chances.sum().item()-1) < 1e-5 and (chances >= 0).all()
        assert chances[logits >= logits.max()-1e-4*temperature].max() > 0      # the likeliest, or one that rounding made its equal
        if "top_k" in cut: assert (chances > 0).sum() <= k
    close(next_probabilities(logits, temperature, top_k=len(values), top_p=1.), (logits/temperature).softmax(-1), 1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.floats(0.02, 1), st.integers(0, 10**6))
def test_the_nucleus_is_the_smallest_set_that_reaches_p(size, top_p, seed):
    chances = torch.randn(size, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(0)
    kept = next_probabilities(chances.log(), top_p=top_p)
    inside = chances[kept > 0]
    assert inside.sum() > top_p-1e-5
    assert inside.sum()-inside.min() < top_p+1e-5, "one token too many"
    close(kept[kept > 0], inside/inside.sum())


def test_small_temperature_is_argmax_and_large_is_uniform():
    logits = torch.tensor([[0.3, 2., 1.9, -4.], [5., 1., 0., 4.9]])
    for temperature in (1e-3, 1e-20, 1e-300, 5e-324):
        close(next_probabilities(logits, temperature), F.one_hot(logits.argmax(-1), 4).float())
    close(next_probabilities(logits, 1e9), torch.full((2, 4), 0.25))
    assert next_probabilities(torch.tensor([0., -math.inf])).tolist() == [1., 0.]      # a forbidden token is no fault
    assert next_probabilities(logits.half()).dtype == torch.float32


def test_equal_logits_still_leave_exactly_k_tokens():
    assert (next_probabilities(torch.zeros(6), top_k=2) > 0).sum() == 2
    assert (next_probabilities(torch.zeros(6), top_p=0.5) > 0).sum() == 3


def test_next_token_loss_is_the_sum_by_hand():
    lm, ids = model(), SAMPLE.ids[:20].view(2, 10)
    batch = ids[:, :-1], ids[:, 1:]
    logs = lm(batch[0])[0].log_softmax(-1)
    by_hand = -sum(logs[b, t, ids[b, t+1]] for b in range(2) for t in range(9))/18
    close(next_token_loss(lm, batch), by_hand)


def test_a_uniform_model_costs_log_v():
    lm = model()
    with torch.no_grad():
        for parameter in lm.head.parameters(): parameter.zero_()
    for stateful in (False, True): assert text_loss(lm, SAMPLE, 20, stateful=stateful) == pytest.approx(math.log(len(SAMPLE.vocabulary)), abs=1e-5)
    assert bits_per_character(math.log(8)) == pytest.approx(3)


@each_cell
def test_text_loss_does_not_depend_on_the_cut_when_the_state_is_carried(cell):
    lm = model(cell)
    ids = SAMPLE.ids
    whole = F.cross_entropy(lm(ids[None, :-1])[0][0], ids[1:]).item()
    for context in (1, 7, 64, len(ids)-1): assert text_loss(lm, SAMPLE, context, stateful=True, rows=1) == pytest.approx(whole, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 90), st.integers(1, 40), st.integers(1, 80), st.booleans())
def test_text_loss_counts_every_character_but_the_first_once(length, context, rows, stateful):
    class Fixed(nn.Module):
        "Its loss for a target does not depend on anything else, so the mean over the text is known"
        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.linspace(-1, 2, len(SAMPLE.vocabulary)))
        def forward(self, ids, state=None): return self.scores.expand(*ids.shape, -1), state
    text = Text(SAMPLE.text[:length], SAMPLE.vocabulary)
    lm = Fixed()
    if length <= context: return
    expected = F.cross_entropy(lm.scores.expand(length-1, -1), text.ids[1:]).item()
    assert text_loss(lm, text, context, stateful=stateful, rows=rows) == pytest.approx(expected, abs=1e-5)


def test_without_carry_every_window_starts_blind():
    lm = model()
    windows = [F.cross_entropy(lm(SAMPLE.ids[None, k:k+10])[0][0], SAMPLE.ids[k+1:k+11]).item() for k in (0, 10)]
    assert text_loss(lm, Text(SAMPLE.text[:21], SAMPLE.vocabulary), 10) == pytest.approx(sum(windows)/2, abs=1e-5)


def test_stream_goes_on_where_it_stopped():
    batches = stream(SAMPLE, rows=3, context=8)
    for (inputs, targets), (following, _) in zip(batches, batches[1:]):
        assert torch.equal(inputs[:, 1:], targets[:, :-1]) and torch.equal(targets[:, -1], following[:, 0])
    rows = torch.cat([inputs for inputs, _ in batches], dim=1)
    assert torch.equal(rows.flatten(), SAMPLE.ids[:rows.numel()])


def test_detach_cuts_the_graph_and_keeps_the_numbers():
    lm = model()
    _, state = lm(SAMPLE.ids[None, :9])
    cut = detach(state)
    assert isinstance(cut, tuple) and all(torch.equal(a, b) and not b.requires_grad for a, b in zip(state, cut))
    assert detach(None) is None and detach({"k": [state[0]], "length": 3})["length"] == 3
    sizes = [graph_size(lm(SAMPLE.ids[None, 9:18], s)[0].sum()) for s in (None, cut, state)]
    assert sizes[1] <= sizes[0] < sizes[2] and graph_size(torch.zeros(3)) == 0


def test_graph_memory_counts_what_is_kept_and_what_is_let_go():
    lm, batch = model("gru"), (SAMPLE.ids[None, :20], SAMPLE.ids[None, 1:21])
    with GraphMemory() as memory:
        kept = [next_token_loss(lm, batch)]
        one = memory.bytes
        kept.append(next_token_loss(lm, batch))
        assert memory.bytes == 2*one > 0
        kept.pop().backward()
        assert memory.bytes == one
        kept.clear()
        assert memory.bytes == 0
        with torch.no_grad(): next_token_loss(lm, batch)
        assert memory.bytes == 0


@each_cell
def test_influence_is_zero_above_the_diagonal(cell):
    lm, ids = model(cell), SAMPLE.ids[:12]
    seen = influence(lm, ids)
    assert seen.shape == (12, 12) and seen.triu(1).max() < 1e-5 and (seen.diagonal() > 0).all()
    changed = ids.clone()
    changed[4] = (ids[4]+1) % lm.vocab_size
    close(seen[7, 4], (lm(changed[None])[0]-lm(ids[None])[0])[0, 7].abs().max(), 1e-4)


@each_cell
def test_it_learns_and_two_runs_are_equal_bit_for_bit(cell):
    def run():
        lm = model(cell, width=24)
        Trainer(Player(lm, next_token_loss, lr=2e-2, clip=1.), device="cpu").fit(stream(SAMPLE, rows=6, context=16), epochs=6)
        return lm
    first, again = run(), run()
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values()))
    assert text_loss(first, SAMPLE, 64, stateful=True) < 0.6*math.log(len(SAMPLE.vocabulary))


def test_gradient_reaches_every_parameter():
    for cell in CELLS:
        lm = model(cell, layers=2).train()
        next_token_loss(lm, (SAMPLE.ids[None, :9], SAMPLE.ids[None, 1:10])).backward()
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in lm.parameters())


def test_draw_surprise_draws_one_tile_for_each_character():
    from genesis_course.plots import figure
    with figure() as ax: draw_surprise("abc\ndef", torch.arange(7.), columns=3, title="t", ax=ax)
    assert [t.get_text() for t in ax.texts] == list("abc↵def") and ax.images[0].get_array().shape == (3, 3)


def test_write_begins_with_the_prompt_and_has_the_length():
    passage = complete(model(), SAMPLE, "the fox", 25, temperature=0.8, generator=torch.Generator().manual_seed(0))
    assert passage.startswith("the fox") and len(passage) == 32 and set(passage) <= set(SAMPLE.vocabulary)


def says(*words):
    "The error is a CourseError, one or two sentences, with these words in it"
    return pytest.raises(CourseError, match="(?s)"+"".join(f"(?=.*{word})" for word in words))


@pytest.mark.parametrize("value", [0, -1, 0., math.nan, math.inf, "0.7", None, True])
def test_a_temperature_that_is_none(value):
    with says("temperature must be a number above 0", "top_k=1"): next_probabilities(torch.zeros(4), value)


@pytest.mark.parametrize("value", [0, -3, 5, 2.5, "3", True, math.nan])
def test_a_top_k_outside_the_vocabulary(value):
    with says("top_k must be a whole number from 1 to 4", "vocabulary"): next_probabilities(torch.zeros(4), top_k=value)


@pytest.mark.parametrize("value", [0, -0.1, 1.01, math.nan, "0.9", True])
def test_a_top_p_that_is_no_share(value):
    with says("top_p must be a share above 0 and up to 1"): next_probabilities(torch.zeros(4), top_p=value)


@pytest.mark.parametrize("logits", [[math.nan, 1.], [math.inf, 0.], [-math.inf, -math.inf]])
def test_logits_that_are_no_distribution(logits):
    with says("NaN or infinity", "learning rate"): next_probabilities(torch.tensor(logits))


@pytest.mark.parametrize("value", [-1, 2.5, "10", None, True])
def test_a_length_that_is_none(value):
    with says("length .*a whole number from 0 on"): generate(model(), SAMPLE.ids[None, :3], value)


@pytest.mark.parametrize("ids, word", [(torch.zeros(1, 3), "float32"), (torch.zeros(1, 3, dtype=torch.int32), "int32"), (torch.zeros(3, dtype=torch.int64), r"ids\[None\]"),
                                       (torch.zeros(1, 0, dtype=torch.int64), "at least one"), (torch.full((1, 2), 99), "99"), (torch.full((1, 2), -1), "-1"),
                                       ("the", "str"), ([1, 2], "list")])
def test_ids_that_are_no_token_numbers(ids, word):
    with says(word): model()(ids)


def test_an_unknown_cell_is_named():
    with says("'lstn'", "'rnn', 'lstm', 'gru'"): RecurrentLM(5, "lstn")
    with says("lstm"): RecurrentLM(5, None)
    for bad in (dict(vocab_size=0), dict(vocab_size=5, width=0), dict(vocab_size=5, layers=1.5)):
        with says("whole number"): RecurrentLM(**bad)


def test_unknown_characters_in_a_prompt_are_all_named():
    with says("'é'", "'中'", "leave it out"): complete(model(), SAMPLE, "thé 中")
    for nothing in ("", None, 7):
        with says("at least one character"): complete(model(), SAMPLE, nothing)
    with says("This model knows 5 characters", "28|29|27"): complete(model(size=5), SAMPLE, "the")


def test_a_text_shorter_than_the_context():
    tiny = Text("the fox", SAMPLE.vocabulary)
    with says("64", "7", "smaller context"): text_loss(model(), tiny, 64)
    with says("fit"): tiny.windows(64)
    with says("rows"): stream(tiny, rows=3, context=8)
    for bad in (0, -2, 1.5):
        with says("whole number"): text_loss(model(), SAMPLE, bad)


def test_files_that_hold_no_text(tmp_path):
    (tmp_path/"empty.txt").write_bytes(b"")
    (tmp_path/"blank.txt").write_bytes(b" \n\n")
    (tmp_path/"other.txt").write_bytes("Grüße".encode("latin-1"))
    for name in ("empty.txt", "blank.txt"):
        with says(name, "no text"): load_text(tmp_path/name)
    with says("other.txt", "utf-8", "0xfc"): load_text(tmp_path/"other.txt")
    (tmp_path/"mine.txt").write_text("one two three "*40, encoding="utf-8")
    text = load_text(tmp_path/"mine.txt")
    assert text_loss(RecurrentLM(len(text.vocabulary), width=8), text, 16) > 0


def test_a_state_that_belongs_to_another_model_or_batch():
    ids = SAMPLE.ids[None, :4]
    for cell, state in (("lstm", model("gru")(ids)[1]), ("gru", model()(ids)[1]), ("rnn", "start"), ("lstm", 3)):
        with says("This state does not fit", "state=None"): model(cell)(ids, state)
    for other in (model(width=9), model(layers=2)):
        with says("This state does not fit"): model()(ids, other(ids)[1])
    with says("does not fit", r"\[1, 1, 12\]"): model()(ids, model()(ids.expand(2, -1))[1])


def test_a_batch_that_is_no_pair():
    lm, ids = model(), SAMPLE.ids[:8].view(2, 4)
    for batch in (ids, (ids,), (ids, ids[:, :2]), (ids, ids.T), (ids[:1], ids[0]), ("a", "b")):
        with says("pair", "one token later"): next_token_loss(lm, batch)
    with says("int64"): next_token_loss(lm, (ids, ids.float()))
    with says("99"): next_token_loss(lm, (ids, torch.full_like(ids, 99)))


def test_a_text_that_is_none_or_another_one():
    small = Text("hello world "*30)
    for use in (lambda text: text_loss(model(), text, 8), lambda text: complete(model(), text, "he", 3)):
        with says("This model knows 28 characters", f"has {len(small.vocabulary)}"): use(small)
        for nothing in ("hello world"*9, SAMPLE.ids, None):
            with says("should be a Text"): use(nothing)
    with says("should be a Text"): stream("hello world"*9, 2, 3)


def test_sampling_from_what_are_no_logits_or_dice():
    for nothing in ([1., 2.], None, "abc", torch.tensor(1.), torch.zeros(0)):
        with says("Logits are a tensor"): next_probabilities(nothing)
    for nothing in ("the", [1, 2], None, SAMPLE.ids[:3], SAMPLE.ids[None, :3].float()):
        with says("[Tt]oken"): generate(model(), nothing, 0)
    with says("torch.Generator", "42"): generate(model(), SAMPLE.ids[None, :3], 2, generator=42)
    with says("tensor of token numbers"): influence(model(), "the fox")
    import numpy as np
    close(next_probabilities(torch.zeros(4), np.float32(0.5), top_p=np.float32(0.5)), torch.tensor([0.5, 0.5, 0., 0.]))


def test_layers_and_cells_that_cannot_be():
    for cell in (RNNCell, LSTMCell, GRUCell):
        for sizes in ((0, 4), (3, -4), (3, 1.5)):
            with says("whole number"): cell(*sizes)
        for x in (torch.zeros(3), torch.zeros(2, 5), torch.zeros(2, 4, 3)):
            with says(r"\[B, 3\]", "unroll"): cell(3, 4)(x)
        for x in (torch.zeros(2, 3), torch.zeros(2, 0, 3)):
            with says("at least one step"): unroll(cell(3, 4), x)
    for bad in (2, -0.1, math.nan, "a"):
        with says("dropout: a share"): RecurrentLM(5, dropout=bad)
    for bad in ("x", math.nan, None):
        with says("bias is a number"): RecurrentLM(5, forget_bias=bad)
    for other in (nn.GRU(3, 4), model("lstm")):
        with says("Only an LSTM has a forget gate"): set_forget_bias(other, 1.)
    for bits in ([1., 2.], [1.]*5):
        with says("3 characters", f"{len(bits)} numbers"): draw_surprise("abc", bits)
    with says("whole number"): draw_surprise("abc", [1., 2., 3.], columns=0)


def test_graph_size_sees_into_a_pair():
    assert graph_size(model()(SAMPLE.ids[None, :5])[1]) > 0


@pytest.fixture(scope="module")
def copy_task():
    folder = Path(__file__).parent.parent/"benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("copy_task", folder/"copy_task.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally: sys.path.remove(str(folder))


def test_the_copy_benchmark_finds_where_a_curve_falls(copy_task):
    assert copy_task.falls_under(0.9, {1: 1., 2: 1., 4: 0.8, 8: 0.1}) == 3
    assert copy_task.falls_under(0.9, {1: 1., 2: 0.95}) is None and copy_task.falls_under(0.9, {1: 0.5, 2: 0.1}) == 1
    ids, letters = copy_task.sequences(5, 50, torch.Generator().manual_seed(0))
    assert ids.shape == (50, 6) and torch.equal(ids[:, 0], letters) and letters.max() < 8 <= ids[:, 1:].min()


def test_a_gated_cell_remembers_longer_than_a_plain_one(copy_task):
    plain, gated = (copy_task.accuracy(8, 0, 150, 32, **copy_task.SIDES[name]) for name in ("RNN", "GRU"))
    assert plain < 0.5 < 0.9 < gated
