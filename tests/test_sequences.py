"One sequence to another: equal to PyTorch's layers, blind to padding, five ways of telling the order, byte-pair encoding against a slow second one"
import math
import re
from collections import Counter
from datetime import date
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from helpers import message_of
from genesis_course.attention import causal_mask
from genesis_course.data import load_text
from genesis_course.dates import ALPHABET, MONTHS, PAD, START, date_pairs, padded, say_date
from genesis_course.rnn import next_token_loss
from genesis_course.sequences import (BPE, CrossAttention, EncoderDecoder, Layer, PositionLM, alibi, alignment, join, learn_bpe,
                                      padding_mask, pieces, shifted, sinusoids, translate, translation_loss)

V, KINDS = 12, ["none", "learned", "sinusoidal", "rotary", "ALiBi"]


def ids(*shape, seed=0): return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(seed))


def pair(**settings): return EncoderDecoder(V, width=16, heads=2, **settings).double()


def close(a, b, tolerance=1e-9): return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


# Dates

@settings(max_examples=100, deadline=None)
@given(day=st.dates(date(1900, 1, 1), date(2099, 12, 31)), way=st.integers(0, 3))
def test_a_date_in_words_can_be_read_back(day, way):
    words = say_date(day, way)
    year = int(re.search(r"\d{4}", words).group())
    month = next(number for number, name in enumerate(MONTHS, 1) if name[:3] in words)
    number = int(re.search(r"(?<!\d)\d{1,2}(?!\d)", words).group())
    assert (year, month, number) == (day.year, day.month, day.day)
    assert ALPHABET.decode(padded([words])[0]) == words


def test_ordinals():
    endings = [re.search(r"\d+(\w\w) of", say_date(date(2001, 1, n), 2))[1] for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)]
    assert endings == "st nd rd th th th th st nd rd th st".split()


def test_held_out_days_are_never_shown():
    shown, kept = (set(map(ALPHABET.decode, date_pairs(3000, seed=1, held_out=held)[1])) for held in (False, True))
    assert not shown & kept and len(kept) > 1000
    assert all(torch.equal(a, b) for a, b in zip(date_pairs(20, seed=4), date_pairs(20, seed=4)))


# Encoder and decoder

@pytest.mark.parametrize("heads", [1, 2, 4])
def test_cross_attention_and_its_gradients_equal_torch(heads):
    ours, theirs = CrossAttention(8, heads).double(), nn.MultiheadAttention(8, heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.keys_values.weight]))
        theirs.out_proj.weight.copy_(ours.out.weight)
    x, memory = (torch.randn(3, n, 8, dtype=torch.float64, requires_grad=True) for n in (4, 6))
    real = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    y, weights = theirs(x, memory, memory, key_padding_mask=~real, average_attn_weights=False)
    mine = ours(x, memory, real[:, None, None])
    assert close(mine, y) and close(ours.weights(x, memory, real[:, None, None]), weights)
    for a, b in zip(torch.autograd.grad(mine.sin().sum(), [x, memory]), torch.autograd.grad(y.sin().sum(), [x, memory])): assert close(a, b)


def test_the_layer_equals_torchs_decoder_layer():
    ours, theirs = Layer(8, 2, cross=True).double(), nn.TransformerDecoderLayer(8, 2, 32, dropout=0., activation="gelu", batch_first=True, norm_first=True).double()
    with torch.no_grad():
        for mine, their in ((ours.self_attention, theirs.self_attn), (ours.cross_attention, theirs.multihead_attn)):
            their.in_proj_weight.copy_(torch.cat([mine.query.weight, mine.keys_values.weight]))
            their.out_proj.weight.copy_(mine.out.weight)
            for bias in (their.in_proj_bias, their.out_proj.bias): bias.zero_()
        for mine, their in ((ours.network[0], theirs.linear1), (ours.network[2], theirs.linear2)):
            their.weight.copy_(mine.weight)
            their.bias.copy_(mine.bias)
    x, memory = torch.randn(2, 5, 8).double(), torch.randn(2, 7, 8).double()
    assert close(ours(x, causal_mask(5), memory), theirs(x, memory, tgt_mask=~causal_mask(5)), 1e-7)


def test_sinusoids_are_those_of_the_paper():
    table = sinusoids(50, 8)
    for p in (0, 3, 49):
        for i in range(4):
            angle = p/10_000**(2*i/8)
            assert abs(table[p, 2*i]-math.sin(angle)) < 1e-5 and abs(table[p, 2*i+1]-math.cos(angle)) < 1e-5


@pytest.mark.parametrize("more", [1, 7])
def test_padding_changes_nothing(more):
    model, source, target = pair(layers=2), ids(3, 6), ids(3, 4, seed=1)
    source[0, 4:] = PAD
    assert close(model(source, target), model(F.pad(source, (0, more), value=PAD), target))
    assert close(model(source, target)[:1], model(source[:1, :4], target[:1])), "a row alone, without its padding"
    assert not close(pair(masked=False)(source, target), pair(masked=False)(F.pad(source, (0, more)), target), 1e-3)


def test_the_decoder_sees_all_of_the_source_and_no_later_target():
    model, source, target = pair(), ids(1, 6), ids(1, 5, seed=1)
    before = model(source, target)
    for place in range(6):
        changed = source.clone()
        changed[0, place] = (changed[0, place]-2) % (V-3) + 3
        assert ((model(changed, target)-before).abs().amax(-1) > 1e-9).all()
    changed = target.clone()
    changed[0, 3] = (changed[0, 3]-2) % (V-3) + 3
    moved = (model(source, changed)-before).abs().amax(-1)[0]
    assert (moved[:3] == 0).all() and (moved[3:] > 0).all()


def test_the_loss_is_torchs_on_shifted_targets_and_skips_padding():
    model, source, target = pair(), ids(2, 5), ids(2, 4, seed=1)
    target[1, 2:] = PAD
    read = torch.tensor([[START, *row[:-1]] for row in target.tolist()])
    assert torch.equal(shifted(target), read)
    logs = model(source, read).log_softmax(-1).gather(2, target[..., None])[..., 0]
    assert close(translation_loss(model, (source, target)), -logs[target != PAD].mean())


def test_translate_is_greedy_and_reads_what_it_has_written():
    model, source = pair(), ids(2, 5)
    written = translate(model, source, 6)
    assert torch.equal(model(source, shifted(written)).argmax(-1), written)


def test_alignment_is_a_distribution_over_the_real_source_and_leaves_no_hook():
    model, source, target = pair(layers=2), ids(2, 6), ids(2, 4, seed=1)
    source[0, 3:] = PAD
    weights = alignment(model, source, target)
    assert weights.shape == (2, 4, 6) and close(weights.sum(-1), torch.ones(2, 4, dtype=torch.float64)) and weights[0, :, 3:].max() == 0
    assert not model.decoder[-1].cross_attention._forward_pre_hooks


@pytest.mark.slow
def test_it_learns_to_turn_a_word_round():
    model = EncoderDecoder(V, width=32, heads=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(200):
        source = ids(32, 4, seed=step)
        optimizer.zero_grad()
        translation_loss(model, (source, source.flip(1))).backward()
        optimizer.step()
    source = ids(50, 4, seed=999)
    assert (translate(model, source, 4) == source.flip(1)).all(1).float().mean() > 0.8


# Positions

def test_alibi_is_the_papers_bias():
    bias = alibi(8, 5)
    assert close(-bias[:, 4, 3], 0.5**torch.arange(1., 9))
    assert torch.equal(bias.isinf(), (~causal_mask(5)).expand(8, -1, -1)) and (bias.diagonal(dim1=1, dim2=2) == 0).all()
    assert torch.equal(bias[:, 4, 1:4], bias[:, 3, :3]), "the distance alone counts"


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_the_future(kind):
    model, text = PositionLM(V, kind, width=16, heads=2, layers=2).double(), ids(1, 9)
    changed = text.clone()
    changed[0, 5] = (changed[0, 5]-2) % (V-3) + 3
    moved = (model(changed)[0]-model(text)[0]).abs().amax(-1)[0]
    assert (moved[:5] == 0).all() and (moved[5:] > 0).all()


@pytest.mark.parametrize("kind, tells", list(zip(KINDS, [False, True, True, True, True])))
def test_only_without_positions_is_the_order_of_the_past_unknown(kind, tells):
    "One layer, last position: exchange two earlier tokens"
    model, text = PositionLM(V, kind, width=16, heads=2).double(), ids(1, 8)
    if kind == "learned": nn.init.normal_(model.places)
    exchanged = text.clone()
    exchanged[0, [1, 5]] = torch.tensor([4, 9])
    text[0, [1, 5]] = torch.tensor([9, 4])
    assert close(model(text)[0][:, -1], model(exchanged)[0][:, -1], 1e-7) is not tells


@pytest.mark.parametrize("kind, same", list(zip(KINDS, [True, False, False, True, True])))
def test_rotary_and_alibi_know_distances_only(kind, same):
    "In one layer, a text behind a token that is looked at by nobody reads as the text alone"
    layer = Layer(16, 2, rotary=kind == "rotary").double()
    x = torch.randn(1, 7, 16).double()
    def run(x, start):
        T = x.shape[1]
        if kind == "sinusoidal": x = x + sinusoids(T+start, 16)[start:]
        if kind == "learned": x = x + torch.randn(20, 16, generator=torch.Generator().manual_seed(1)).double()[start:start+T]
        return layer(x, alibi(2, T).double() if kind == "ALiBi" else causal_mask(T))
    if kind in ("sinusoidal", "learned"): assert close(run(x, 0), run(x, 5), 1e-4) is same
    else:
        T, hidden = 7, torch.zeros(1, 4, 16).double()
        mask = alibi(2, T+4).double() if kind == "ALiBi" else torch.zeros(T+4, T+4).double().masked_fill(~causal_mask(T+4), -math.inf)
        mask = mask.expand(2, -1, -1).clone()
        mask[:, 4:, :4] = -math.inf
        assert close(layer(torch.cat([hidden, x], 1), mask)[:, 4:], run(x, 0), 1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    model = PositionLM(V, kind, width=16, heads=2, longest=8)
    next_token_loss(model, (ids(4, 8), ids(4, 8, seed=1))).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


# Byte-pair encoding

def slow_bpe(text, merges):
    "The algorithm as the paper prints it: count every pair anew, then replace in every word"
    words = {tuple(piece): count for piece, count in Counter(pieces(text)).items()}
    learned = []
    for _ in range(merges):
        pairs = Counter()
        for word, count in words.items():
            for a, b in zip(word, word[1:]): pairs[a, b] += count
        if not pairs or max(pairs.values()) < 2: break
        best = sorted(pairs, key=lambda each: (-pairs[each], each))[0]
        replaced = Counter()
        for word, count in words.items():
            new = []
            for symbol in word:
                if new and (new[-1], symbol) == best and not isinstance(new[-1], Joined): new[-1] = Joined(new[-1]+symbol)
                else: new.append(symbol)
            replaced[tuple(map(str, new))] += count
        words = replaced
        learned.append(best)
    return learned


class Joined(str): "A symbol of this round, which does not join again"


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab c.", max_size=60), merges=st.integers(0, 30))
def test_merges_are_those_of_a_slow_second_program(text, merges): assert learn_bpe(text, merges) == slow_bpe(text, merges)


def test_merges_are_those_of_a_slow_second_program_on_the_built_in_text():
    text = load_text("python").text[:30_000]
    assert learn_bpe(text, 120) == slow_bpe(text, 120)


def test_merges_equal_those_of_the_tokenizers_package():
    tokenizers = pytest.importorskip("tokenizers")
    text = load_text("python").text[:30_000]
    coder = tokenizers.Tokenizer(tokenizers.models.BPE())
    coder.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r" ?\w+| ?[^\w\s]+|\s+"), "isolated")
    ours = learn_bpe(text, 60)
    coder.train_from_iterator([text], tokenizers.trainers.BpeTrainer(vocab_size=len(set(text))+60, show_progress=False))
    theirs = set(coder.get_vocab())-set(text)
    assert len(theirs & set(map("".join, ours))) >= 57, "ties may be broken otherwise"


@settings(max_examples=60, deadline=None)
@given(text=st.text("ab c.\nx", max_size=80), merges=st.integers(0, 20))
def test_a_text_comes_back(text, merges):
    assert "".join(pieces(text)) == text
    coder = BPE("ab c.\nx", learn_bpe(text+"ab abc ab abc", merges))
    numbers = coder.encode(text)
    assert coder.decode(numbers) == text and numbers.dtype == torch.int64 and len(numbers) <= len(text)


def test_encoding_replays_the_merges_in_their_order():
    text = load_text("python").text[:20_000]
    merges = learn_bpe(text, 80)
    coder = BPE("".join(sorted(set(text))), merges)
    for piece in list(dict.fromkeys(pieces(text)))[:400]:
        symbols = list(piece)
        for each in merges: symbols = join(symbols, each)
        assert coder.split(piece) == symbols


def test_every_merge_makes_the_text_shorter_by_its_count():
    text = "low low low lower lowest newer newer wider"
    merges = learn_bpe(text, 10)
    lengths = [len(BPE("".join(set(text)), merges[:n]).encode(text)) for n in range(len(merges)+1)]
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == len(lengths)


# Bad input

@pytest.mark.parametrize("call, fragments", [
    (lambda: padded("7 March"), ["list of strings"]), (lambda: padded([]), ["list of strings"]), (lambda: padded(["7 März 1994"]), ["has no 'z'"]),
    (lambda: padded([""]), ["empty"]), (lambda: date_pairs(0), ["count"]), (lambda: say_date(date(2000, 1, 1), 4), ["way"]),
    (lambda: padding_mask(torch.tensor([[3, 0], [0, 0]])), ["nothing but padding"]), (lambda: padding_mask(torch.zeros(2, 3)), ["int64"]),
    (lambda: CrossAttention(10, 4), ["10", "4 heads"]), (lambda: CrossAttention(8, 2)(torch.zeros(2, 3, 8), torch.zeros(2, 3, 4)), ["looked at", "8"]),
    (lambda: CrossAttention(8, 2)(torch.zeros(2, 3, 8), torch.zeros(3, 3, 8)), ["2 rows", "3 memories"]),
    (lambda: sinusoids(4, 5), ["even"]), (lambda: pair()(ids(2, 3)+V, ids(2, 3)), [f"{V}"]), (lambda: pair()(ids(2, 3), ids(3, 3)), ["3 targets", "2 sources"]),
    (lambda: translate(nn.Linear(2, 2), ids(1, 2)), ["EncoderDecoder", "Linear"]), (lambda: alignment(None, ids(1, 2), ids(1, 2)), ["EncoderDecoder"]),
    (lambda: translate(pair(), ids(1, 2), 0), ["length"]), (lambda: alibi(0, 3), ["heads"]), (lambda: PositionLM(V, "alibi"), ["ALiBi"]),
    (lambda: PositionLM(V, width=20, heads=4), ["even", "5"]), (lambda: PositionLM(V, "learned", longest=4)(ids(1, 5)), ["4 learned", "5 tokens"]),
    (lambda: learn_bpe(b"bytes", 3), ["string", "bytes"]), (lambda: learn_bpe("text", -1), ["merges"]), (lambda: BPE("ab", [("a", "c")]), ["pairs"]),
    (lambda: BPE("ab", ["ab"]), ["pairs"]), (lambda: BPE("ab", []).encode("abc"), ["'c'"]), (lambda: BPE("ab", []).decode([2]), ["0 to 1"])])
def test_bad_input_gets_a_sentence(call, fragments): message_of(call, *fragments)
