"Attention: equal to PyTorch's, blind to the future, the same with a cache as without, and a sentence for every mistake"
import math
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from helpers import message_of
from genesis_course.attention import (Block, CausalDepthwiseConv, MultiHeadAttention, Transformer,
                                      attention, attention_maps, causal_mask, rotate)
from genesis_course.data import Text
from genesis_course.muon import Muon, orthogonal
from genesis_course.rnn import RecurrentLM, generate, next_token_loss, text_loss, complete
from genesis_course.training import Player, Trainer

VOCAB = 11
sizes = st.integers(1, 6)


def awake(seed=0, **settings):
    "A Transformer whose every weight is random: untrained blocks add nothing, and would hide any fault"
    torch.manual_seed(seed)
    model = Transformer(VOCAB, **{"context": 8, "width": 16, "heads": 2, "layers": 2, **settings}).double().eval()
    for parameter in model.parameters(): nn.init.normal_(parameter, std=0.3)
    return model


def tokens(batch=2, length=8, seed=1): return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def close(a, b, tolerance=1e-9): return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def with_gradients(function, *tensors):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    return [output, *torch.autograd.grad(output.sin().sum(), leaves)]


# Oracles

@settings(max_examples=40, deadline=None)
@given(batch=sizes, heads=sizes, queries=sizes, keys=sizes, size=sizes, width=sizes, seed=st.integers(0, 999))
def test_attention_and_its_gradients_equal_torch(batch, heads, queries, keys, size, width, seed):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(batch, heads, *shape, dtype=torch.float64) for shape in ((queries, size), (keys, size), (keys, width)))
    mask = torch.rand(batch, heads, queries, keys) < 0.6
    mask[..., seed % keys] = True
    for ours, theirs in ((lambda q, k, v: attention(q, k, v)[0], F.scaled_dot_product_attention),
                         (lambda q, k, v: attention(q, k, v, mask=mask)[0], lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))):
        for a, b in zip(with_gradients(ours, q, k, v), with_gradients(theirs, q, k, v)): assert close(a, b)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_causal_attention_and_its_gradients_equal_torch(length):
    q, k, v = torch.randn(3, 2, 3, length, 4, dtype=torch.float64)
    ours = with_gradients(lambda q, k, v: attention(q, k, v, causal=True)[0], q, k, v)
    theirs = with_gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v)
    for a, b in zip(ours, theirs): assert close(a, b)


def test_gradcheck():
    q, k, v = (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, causal=True), (q, k, v))


def test_causal_and_mask_act_together():
    q = torch.randn(4, 5)
    band = causal_mask(4, window=2)
    both = attention(q, q, q, causal=True, mask=torch.ones(4, 4, dtype=torch.bool).triu(-1))[1]
    assert torch.equal(both, attention(q, q, q, mask=band)[1]) and torch.equal(both > 0, band)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_layer_equals_torch_multihead_attention(heads):
    ours, theirs = MultiHeadAttention(8, heads, rotary=False).double(), nn.MultiheadAttention(8, heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.out_proj.weight.copy_(ours.out.weight)
    x = torch.randn(3, 6, 8, dtype=torch.float64, requires_grad=True)
    y, weights = theirs(x, x, x, attn_mask=~causal_mask(6), average_attn_weights=False)
    assert close(ours(x)[0], y) and close(ours.weights(x), weights)
    (gx, gw), (tx, tw) = (torch.autograd.grad(output.sin().sum(), [x, weight]) for output, weight in ((ours(x)[0], ours.qkv.weight), (y, theirs.in_proj_weight)))
    assert close(gx, tx) and close(gw, tw)


def test_fast_path_equals_the_written_out_weights():
    "The layer computes with PyTorch's kernel and shows weights of our function: they must belong to each other"
    for length, window in ((6, None), (6, 3), (6, 6), (9, 1)):
        layer, x = MultiHeadAttention(8, 2, window).double(), torch.randn(2, length, 8, dtype=torch.float64)
        v = layer.project(x)[2]
        assert close(layer(x)[0], layer.out((layer.weights(x) @ v).transpose(1, 2).flatten(2)))


def test_rotation_is_a_complex_multiplication():
    x, speeds = torch.randn(7, 8, dtype=torch.float64), 10_000.**(-torch.arange(4, dtype=torch.float64)/4)
    turned = torch.complex(x[:, :4], x[:, 4:])*torch.polar(torch.ones(7, 4, dtype=torch.float64), torch.arange(3., 10., dtype=torch.float64)[:, None]*speeds)
    assert close(rotate(x, start=3), torch.cat([turned.real, turned.imag], dim=1))


# Laws

@settings(max_examples=20, deadline=None)
@given(shift=st.integers(0, 500), seed=st.integers(0, 99))
def test_rotary_scores_depend_on_the_distance_only(shift, seed):
    torch.manual_seed(seed)
    q, k = torch.randn(2, 5, 6, dtype=torch.float64)
    assert close(rotate(q, shift) @ rotate(k, shift).T, rotate(q) @ rotate(k).T, 1e-8)
    assert close(rotate(q, shift).norm(dim=-1), q.norm(dim=-1))


def test_without_positions_attention_is_permutation_equivariant():
    x, order = torch.randn(9, 6, dtype=torch.float64), torch.randperm(9)
    assert close(attention(x[order], x[order], x[order])[0], attention(x, x, x)[0][order])
    assert close(attention(x, x[order], x[order])[0], attention(x, x, x)[0]), "the order of keys and values, moved together, must not matter"
    turned, shuffled = rotate(x), rotate(x[order])
    assert not close(attention(shuffled, shuffled, x[order])[0], attention(turned, turned, x)[0][order], 1e-3), "positions must break the law"


def test_weights_are_distributions():
    x = 30*torch.randn(2, 3, 7, 4)
    weights = attention(x, x, x, causal=True)[1]
    assert close(weights.sum(-1), torch.ones(2, 3, 7), 1e-5) and weights.min() >= 0 and weights.triu(1).max() == 0


def test_huge_scores_stay_finite():
    x = 1e4*torch.randn(5, 4)
    assert attention(x, x, x, causal=True)[0].isfinite().all()


@pytest.mark.parametrize("length, place", [(8, 0), (8, 3), (8, 7), (20, 11)])
def test_changing_a_later_token_never_changes_an_earlier_logit(length, place):
    model, ids = awake(), tokens(length=length)
    changed = ids.clone()
    changed[:, place] = (ids[:, place]+1) % VOCAB
    moved = (model(changed)[0]-model(ids)[0]).abs().amax(dim=-1)
    assert (moved[:, :place] == 0).all() and (moved[:, place] > 0).all()


def test_logits_have_no_gradient_from_the_future():
    model, ids = awake(), tokens()
    embedded = model.embedding(ids).detach().requires_grad_()
    model.embedding.forward = lambda _: embedded
    gradient, = torch.autograd.grad(model(ids)[0][:, 4].sum(), embedded)
    assert (gradient[:, 5:] == 0).all() and (gradient[:, :5].abs().amax(-1) > 0).all()


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 30), seed=st.integers(0, 99), data=st.data())
def test_cache_equals_no_cache_however_the_text_is_cut(length, seed, data):
    "Also beyond the context, also in pieces of any size"
    model, ids = awake(seed=seed), tokens(length=length, seed=seed)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, length-1)), max_size=6)))
    state, parts = None, []
    for piece in ids.tensor_split(cuts, dim=1):
        if not piece.numel(): continue
        logits, state = model(piece, state)
        parts.append(logits)
    assert close(torch.cat(parts, dim=1), model(ids)[0])


def test_cache_never_grows_beyond_the_context():
    model, state = awake(context=5), None
    for token in tokens(length=17).split(1, dim=1): _, state = model(token, state)
    past, caches = state
    assert all(cache[0].shape[2] == cache[1].shape[2] == 4 and cache[2] == 17 for cache in caches) and past.shape[1] == 3


@pytest.mark.parametrize("kernel_size", [0, 3])
def test_one_layer_sees_the_context_and_no_further(kernel_size):
    model, ids = awake(layers=1, context=5, kernel_size=kernel_size), tokens(length=12)
    for place, seen in ((6-kernel_size, False), (7-kernel_size, True)):
        changed = ids.clone()
        changed[:, place] = (ids[:, place]+1) % VOCAB
        assert close(model(changed)[0][:, -1], model(ids)[0][:, -1]) is not seen


def test_a_state_can_be_read_on_twice():
    model, ids = awake(), tokens(length=12)
    state = model(ids[:, :9])[1]
    first, second = (model(ids[:, 9:], state)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_rows_of_a_batch_do_not_know_of_each_other():
    model, ids = awake(), tokens(batch=4)
    assert close(model(ids)[0][2:3], model(ids[2:3])[0])


def test_the_causal_convolution_equals_a_depthwise_convolution():
    layer, x = CausalDepthwiseConv(4).double(), torch.randn(2, 9, 4, dtype=torch.float64)
    nn.init.normal_(layer.weight)
    kernel = torch.cat([layer.weight.flip(0), torch.ones(1, 4)]).T[:, None]
    assert close(layer(x)[0], F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), kernel, groups=4).transpose(1, 2))


@pytest.mark.parametrize("length", [5, 20])
def test_generate_with_a_cache_equals_reading_everything_anew(length):
    model, ids = awake(), tokens(batch=3, length=4)
    written = generate(model, ids, length, temperature=0.8, generator=torch.Generator().manual_seed(3))
    rng, anew = torch.Generator().manual_seed(3), ids
    for _ in range(length):
        with torch.no_grad(): probabilities = (model(anew)[0][:, -1].float()/0.8).softmax(-1)
        anew = torch.cat([anew, torch.multinomial(probabilities, 1, generator=rng)], dim=1)
    assert torch.equal(written, anew)


def test_forward_is_deterministic_and_dropout_sleeps_in_evaluation():
    model, ids = awake(dropout=0.5), tokens()
    assert torch.equal(model(ids)[0], model(ids)[0])
    model.train()
    assert not torch.equal(model(ids)[0], model(ids)[0])


def test_training_repeats_bit_for_bit():
    def train():
        torch.manual_seed(5)
        player = Player(Transformer(VOCAB, context=8, width=16, heads=2, layers=1), next_token_loss, lr=1e-2)
        Trainer(player, device="cpu").fit([(tokens(seed=s)[:, :-1], tokens(seed=s)[:, 1:]) for s in range(4)])
        return player.module
    assert all(torch.equal(a, b) for a, b in zip(train().parameters(), train().parameters()))


def test_every_parameter_learns():
    model = awake().train()
    next_token_loss(model, (tokens()[:, :-1], tokens()[:, 1:])).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_at_the_start_nothing_is_looked_at():
    "Blocks that write zeros at first: an untrained model knows its neighbours only"
    model, ids = Transformer(VOCAB, context=8, width=16, heads=2, layers=3), tokens()
    assert close(model(ids)[0], model.head(model.norm(model.causal_conv(model.embedding(ids))[0])), 1e-6)


def last_gradient(post, depth, width=64):
    "Norm of the gradient of the last matrix of the last of so many blocks, before training (Xiong et al. 2020)"
    class PostNorm(Block):
        def forward(self, x, cache=None):
            found, cache = self.attention(x, cache)
            x = self.norm1(x + found)
            return self.norm2(x + self.network(x)), cache
    blocks, x = nn.ModuleList((PostNorm if post else Block)(width, 4) for _ in range(depth)), torch.randn(8, 32, width)
    for matrix in blocks.parameters():
        if matrix.ndim == 2: nn.init.xavier_uniform_(matrix)
    for block in blocks: x, _ = block(x)
    norm = nn.Identity() if post else nn.LayerNorm(width)
    F.cross_entropy(nn.Linear(width, 50)(norm(x)).flatten(0, 1), torch.randint(50, (256,))).backward()
    return blocks[-1].network[2].weight.grad.norm().item()


def test_a_deep_pre_norm_network_has_a_smaller_last_gradient_and_a_post_norm_one_has_not():
    assert last_gradient(True, 32) > 0.8*last_gradient(True, 1) and last_gradient(False, 32) < 0.5*last_gradient(False, 1)


def test_learns_to_repeat_a_pattern():
    torch.manual_seed(0)
    pattern = torch.arange(VOCAB).repeat(8)[None]
    player = Player(Transformer(VOCAB, context=16, width=32, heads=2, layers=1), next_token_loss, lr=1e-2)
    Trainer(player, device="cpu").fit([(pattern[:, :-1], pattern[:, 1:])]*60)
    assert generate(player.module, pattern[:, :3], 20, top_k=1).tolist()[0] == [i % VOCAB for i in range(23)]


def test_weights_fit_a_model_with_another_context():
    short, far = awake(context=8), awake(context=32, seed=1)
    far.load_state_dict(short.state_dict())
    assert close(short(tokens())[0], far(tokens())[0])


def test_text_loss_with_the_state_carried_equals_one_long_reading():
    text = Text("the cat sat on the mat. "*5)
    torch.manual_seed(0)
    model = Transformer(len(text.vocabulary), context=8, width=16, heads=2, layers=2).double()
    for parameter in model.parameters(): nn.init.normal_(parameter, std=0.3)
    whole = F.cross_entropy(model(text.ids[None, :-1])[0].float().flatten(0, 1), text.ids[1:]).item()
    assert math.isclose(text_loss(model, text, context=8, stateful=True, rows=1), whole, rel_tol=1e-5)


def test_maps_are_the_weights_of_every_head():
    model, ids = awake(layers=3).train(), tokens(length=12)
    maps = attention_maps(model, ids)
    assert maps.shape == (3, 2, 2, 12, 12) and close(maps.sum(-1), torch.ones(3, 2, 2, 12, dtype=torch.float64))
    assert torch.equal(maps > 0, causal_mask(12, window=8).expand_as(maps)) and not maps.requires_grad
    assert model.training and not any(layer._forward_pre_hooks for layer in model.modules())


def test_mixed_precision_runs():
    model, ids = Transformer(VOCAB, context=8, width=16, heads=2, layers=2), tokens(length=12)
    with torch.autocast("cpu", torch.bfloat16): logits, state = model(ids)
    assert logits.isfinite().all() and rotate(torch.ones(300, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


# Muon

@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), scale=st.sampled_from([1e-6, 1., 1e6]), seed=st.integers(0, 99))
def test_orthogonal_keeps_the_directions_and_evens_out_the_lengths(rows, columns, scale, seed):
    torch.manual_seed(seed)
    u, s, v = torch.linalg.svd(torch.randn(rows, columns, dtype=torch.float64), full_matrices=False)
    inside = u.T @ orthogonal(scale*(u*(0.2+s)) @ v) @ v.T
    assert close(inside, inside.diagonal().diag(), 1e-6) and 0.5 < inside.diagonal().min() and inside.diagonal().max() < 1.3


def test_orthogonal_of_zeros_is_zero(): assert orthogonal(torch.zeros(3, 5)).abs().max() == 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_muon_equals_torch():
    "PyTorch orthogonalises in bfloat16, so they agree to a per cent"
    ours, theirs = (nn.Parameter(torch.ones(6, 9)) for _ in range(2))
    pair = Muon([ours], lr=0.02), torch.optim.Muon([theirs], lr=0.02, weight_decay=0., momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        ours.grad = torch.randn(6, 9)
        theirs.grad = ours.grad.clone()
        for optimizer in pair: optimizer.step()
    assert (ours-theirs).norm() < 0.03*(ours-1).norm()


def test_muon_moves_vectors_by_sign_and_kernels_as_matrices():
    vector, kernel = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4, 2, 3))
    vector.grad, kernel.grad = torch.tensor([3., -0.1, 0.]), torch.randn(4, 2, 3)
    Muon([vector, kernel], lr=0.5).step()
    assert torch.allclose(vector, torch.tensor([-0.1, 0.1, 0.])) and kernel.shape == (4, 2, 3)
    assert 0.15 < kernel.square().mean().sqrt()/0.5 < 0.2, "a kernel is scaled by the larger side of its matrix, 4 x 6"


# Bad input

def test_shapes_that_do_not_fit():
    q = torch.randn(2, 5, 4)
    message_of(lambda: attention(q, torch.randn(2, 5, 3), q), "same size", "[2, 5, 3]")
    message_of(lambda: attention(q, q, torch.randn(2, 6, 4)), "needs a value", "5 keys and 6 values")
    message_of(lambda: attention(q, torch.randn(1, 5, 4), q), "same sizes in front")
    message_of(lambda: attention(q[0, 0], q[0, 0], q[0, 0]), "[..., length, size]")
    message_of(lambda: attention(q, q[:, :3], q[:, :3], causal=True), "last of all positions", "5 of 3")
    message_of(lambda: attention(q[..., :0], q[..., :0], q), "1 or more")
    message_of(lambda: attention(q, q[:, :0], q[:, :0]), "one at least must")


@pytest.mark.parametrize("k, fragment", [([[1., 2.]], "list"), (torch.ones(2, 5, 4, dtype=torch.int64), "int64"), (torch.ones(2, 5, 4, dtype=torch.float64), "same dtype"), (None, "NoneType")])
def test_keys_that_are_no_floats(k, fragment):
    message_of(lambda: attention(torch.randn(2, 5, 4), k, torch.randn(2, 5, 4)), fragment)


def test_masks_that_do_not_fit():
    q = torch.randn(2, 5, 4)
    message_of(lambda: attention(q, q, q, mask=torch.ones(5, 6, dtype=torch.bool)), "[2, 5, 5]", "[5, 6]")
    message_of(lambda: attention(q, q, q, mask=torch.ones(3, 2, 5, 5, dtype=torch.bool)), "should fit")
    message_of(lambda: attention(q, q, q, mask=torch.ones(5, 5)), "bool", "float32")
    message_of(lambda: attention(q, q, q, mask="causal"), "bool", "str")
    message_of(lambda: attention(q, q, q, mask=causal_mask(5).tril(-1)), "nothing to look at")
    message_of(lambda: attention(q, q, q, causal=True, mask=torch.ones(5, 5, dtype=torch.bool).triu(1)), "nothing to look at")


def test_sizes_that_do_not_fit():
    message_of(lambda: Transformer(VOCAB, width=30, heads=4), "30 numbers", "4 heads")
    message_of(lambda: Transformer(VOCAB, width=12, heads=4), "even size", "12/4 = 3")
    message_of(lambda: Transformer(0), "vocab_size")
    message_of(lambda: Transformer(VOCAB, layers=0), "layers")
    message_of(lambda: Transformer(VOCAB, context=0), "context")
    message_of(lambda: Transformer(VOCAB, context=2.5), "context")
    message_of(lambda: Transformer(VOCAB, heads=0), "heads")
    message_of(lambda: causal_mask(5, 3), "5", "3")
    for settings in ({"queries": -1}, {"queries": 2.5}, {"queries": "a"}, {"queries": True}, {"queries": 1, "keys": "b"}, {"queries": 3, "window": 0}, {"queries": 3, "window": -1}, {"queries": 3, "window": 2.5}, {"queries": 3, "window": True}):
        message_of(lambda: causal_mask(**settings), "whole number")
    assert causal_mask(0, 4).shape == (0, 4)
    for window in (0, False, 1.5): message_of(lambda: MultiHeadAttention(8, 2, window), "window")
    for kernel_size in (-1, 1.5, None, True, "a"): message_of(lambda: CausalDepthwiseConv(8, kernel_size), "kernel_size")
    for dropout in (1.5, 1, -0.1, math.nan, "a", True): message_of(lambda: Block(8, 2, dropout=dropout), "dropout")
    for expand in (1.5, 0, None): message_of(lambda: Block(8, 2, expand=expand), "expand")


@pytest.mark.parametrize("x, fragment", [(torch.zeros(3, 5), "even"), (torch.ones(3, 4, dtype=torch.int64), "int64"), ([1., 2.], "list"), (torch.zeros(4), "[4]")])
def test_vectors_that_cannot_be_turned(x, fragment): message_of(lambda: rotate(x), fragment)


def test_bases_that_are_none():
    for base in (0, -1., math.nan, math.inf, "a"): message_of(lambda: rotate(torch.ones(2, 4), base=base), "base")


@pytest.mark.parametrize("x", [torch.zeros(5, 8), torch.zeros(2, 5, 6), torch.zeros(2, 5, 1), torch.zeros(2, 5, 8, dtype=torch.float64), torch.zeros(2, 5, 8, dtype=torch.int64), [[1.]], torch.zeros(1, 2, 5, 8)])
def test_tokens_that_do_not_fit_a_layer(x):
    for layer in (MultiHeadAttention(8, 2), Block(8, 2).attention, CausalDepthwiseConv(8), CausalDepthwiseConv(8, kernel_size=0)): message_of(lambda: layer(x), "[B, T, 8]")


@pytest.mark.parametrize("matrix", [torch.ones(3), torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.int64), [[1.]]])
def test_what_is_no_matrix(matrix): message_of(lambda: orthogonal(matrix), "[rows, columns]")


def test_settings_of_muon():
    weights = [nn.Parameter(torch.ones(2, 2))]
    for lr in (-1, 0, "a", math.nan): message_of(lambda: Muon(weights, lr=lr), "learning rate")
    for momentum in (2, -0.1, "a"): message_of(lambda: Muon(weights, momentum=momentum), "momentum")


@pytest.mark.parametrize("ids, fragment", [(torch.tensor([[0, VOCAB]]), "Was the text encoded"), (torch.tensor([[-1, 0]]), "Was the text encoded"), (torch.rand(1, 3), "int64"),
                                           (torch.tensor([1, 2]), "[B, T]"), (torch.zeros(1, 0, dtype=torch.int64), "at least one"), ([[1, 2]], "list"), ("text", "str")])
def test_token_numbers_that_are_none(ids, fragment):
    message_of(lambda: awake()(ids), fragment)


def test_a_state_from_elsewhere():
    model, ids = awake(), tokens(batch=2)
    message_of(lambda: model(ids, awake(layers=3)(ids)[1]), "state")
    message_of(lambda: model(ids, awake(heads=4)(ids)[1]), "state")
    message_of(lambda: model(ids, model(tokens(batch=3))[1]), "state", "3")
    message_of(lambda: model(ids, RecurrentLM(VOCAB, width=16)(ids)[1]), "state")
    message_of(lambda: model(ids, awake(kernel_size=2)(ids)[1]), "does not belong")
    message_of(lambda: model(ids, awake(width=32, heads=2)(ids)[1]), "does not belong")
    message_of(lambda: model(ids, awake(context=20)(tokens(length=15))[1]), "does not belong")
    past, caches = model(ids)[1]
    for state in ((past[:1], caches), (past, [(keys[:, :, 1:], values, read) for keys, values, read in caches]), (past, [(keys[:1], values[:1], read) for keys, values, read in caches]),
                  (past, caches[0]), (past,), (None, caches), "state", 3, (past, [None]*2)):
        message_of(lambda: model(ids, state), "does not belong")


def test_maps_of_a_model_without_attention():
    message_of(lambda: attention_maps(RecurrentLM(VOCAB), tokens()), "RecurrentLM")
    message_of(lambda: attention_maps(awake(), tokens().float()), "int64")
    for model in ("tf", None): message_of(lambda: attention_maps(model, tokens()), type(model).__name__)


def test_maps_that_cannot_be_stacked():
    class Pair(nn.Module):
        def __init__(self, heads, run):
            super().__init__()
            self.layers, self.run = nn.ModuleList(MultiHeadAttention(8, h) for h in heads), run
        def forward(self, ids): return [layer(F.one_hot(ids, 8).float())[0] for layer in self.layers[:self.run]]
    ids = torch.randint(8, (2, 5))
    assert attention_maps(Pair((2, 2), 2), ids).shape == (2, 2, 2, 5, 5)
    for model in (Pair((1, 2), 2), Pair((2, 2), 1), Pair((2, 2), 0)): message_of(lambda: attention_maps(model, ids), "2 layers")


def test_bad_input_to_generate_and_write():
    text, model, ids = Text("abcdefghijk"), awake(), tokens()
    message_of(lambda: generate(model, ids, 3, temperature=0), "temperature")
    message_of(lambda: generate(model, ids, 3, temperature=-1.), "temperature")
    message_of(lambda: generate(model, ids, 3, top_k=VOCAB+1), "top_k")
    message_of(lambda: generate(model, ids[:, :0], 3), "at least one")
    message_of(lambda: complete(model, text, ""), "prompt")
    message_of(lambda: complete(model, text, "abcX"), "'X'")
    assert len(complete(model, text, "abc", length=30)) == 33, "a text longer than the context is written on, and the window slides"


def test_a_block_stands_alone():
    y, cache = Block(8, 2)(torch.randn(2, 5, 8))
    assert y.shape == (2, 5, 8) and cache[2] == 5
