"""Further answers to the exercises of chapter 06a."""
import math
import numpy as np
import torch
import torch.nn.functional as F
from genesis_course.attention import attention, causal_mask
from answers import equivalent, right, wrong

# 6.1: the weights

@right("attention.1")
def with_pytorch_and_the_identity(q, k):
    S = k.shape[-2]
    return F.scaled_dot_product_attention(q, k, torch.eye(S, dtype=k.dtype).expand(*k.shape[:-2], S, S))


@right("attention.1")
def with_einsum_and_scaled_queries(q, k): return torch.einsum("...td,...sd->...ts", q*q.size(-1)**-0.5, k).softmax(-1)


@right("attention.1")
def with_exponentials(q, k):
    scores = (q[..., :, None, :]*k[..., None, :, :]).sum(-1)/math.sqrt(k.shape[-1])
    grown = (scores-scores.max(dim=-1, keepdim=True).values).exp()
    return grown/grown.sum(dim=-1, keepdim=True)


@right("attention.1")
def in_float64(q, k): return torch.softmax(q.double() @ k.double().mT/q.shape[-1]**0.5, dim=-1)


@wrong("attention.1", says="no gradient", never="root")
def detached(q, k): return in_float64(q, k).detach()


@wrong("attention.1", says="no gradient reaches `k`")
def key_detached(q, k): return in_float64(q, k.detach())


@wrong("attention.1", never="number of keys")
def heads_under_the_root(q, k): return (q @ k.mT/math.sqrt(q.shape[1])).softmax(-1)


@wrong("attention.1", says="last two axes")
def turns_all_axes(q, k): return (q @ k.permute(*reversed(range(k.ndim)))/math.sqrt(q.shape[-1])).softmax(-1)


@wrong("attention.1", says="one tensor alone", never="queries")
def with_the_output(q, k): return attention(q, k, k)


@wrong("attention.1", says="fewer digits")
def in_float32(q, k): return in_float64(q, k).float()


# 6.2: causal attention

@right("attention.2")
def of_the_library(q, k, v): return attention(q, k, v, causal=True)[0]


@right("attention.2")
def one_query_at_a_time(q, k, v):
    past = k.shape[-2]-q.shape[-2]+1
    return torch.cat([F.scaled_dot_product_attention(q[..., t:t+1, :], k[..., :past+t, :], v[..., :past+t, :]) for t in range(q.shape[-2])], dim=-2)


@right("attention.2")
def with_pytorch_and_a_shifted_triangle(q, k, v):
    T, S = q.shape[-2], k.shape[-2]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(T, S, dtype=torch.bool).tril(S-T))


@right("attention.2")
def with_scores_added(q, k, v):
    T, S = q.shape[-2], k.shape[-2]
    hidden = torch.full((T, S), -torch.inf, dtype=q.dtype).triu(S-T+1)
    return ((q/q.shape[-1]**0.5) @ k.mT+hidden).softmax(-1) @ v


@right("attention.2")
def with_a_very_small_score(q, k, v): return (q @ k.mT/math.sqrt(k.shape[-1])).masked_fill(~causal_mask(q.shape[-2], k.shape[-2]), -1e9).softmax(-1) @ v


@wrong("attention.2", says="row 0 of your mask", never="too many")
def with_is_causal(q, k, v): return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@wrong("attention.2", says="one tensor alone")
def with_its_weights(q, k, v): return attention(q, k, v, causal=True)


@wrong("attention.2", says="undivided", never="future")
def undivided(q, k, v): return of_the_library(q*math.sqrt(q.shape[-1]), k, v)


@wrong("attention.2", says="NaN", never="undivided")
def hides_itself(q, k, v): return attention(q, k, v, mask=causal_mask(q.shape[-2], k.shape[-2]).roll(-1, 1).tril(-1))[0]


@wrong("attention.2", says="no gradient reaches `v`")
def values_detached(q, k, v): return of_the_library(q, k, v.detach())


# 6.3: turned pairs

right("attention.3", (6*math.cos(9-5), 6*math.cos(109-105), 6.))
right("attention.3", torch.tensor([-3.92, -3.92, 6]))
right("attention.3", np.array([-3.9, -3.9, 6.]))
right("attention.3", [torch.tensor(-3.9219), np.float32(-3.92), 6])

wrong("attention.3", [5.99, 5.99, 6], says="57 degrees", never="how far apart")
wrong("attention.3", [-3.92, 6., 6], says="how far apart", never="degrees")
wrong("attention.3", [-3.92, -3.92, 7], says="full turn", never="degrees")
wrong("attention.3", [3.92, 3.92, 6], says="first score")
wrong("attention.3", [-3.92, -3.92], says="3 values")
wrong("attention.3", [float("nan"), -3.92, 6], says="NaN")


# 6.4: heads side by side

@right("attention.4")
def with_a_concatenation(x): return torch.cat(list(x.unbind(dim=1)), dim=-1)


@right("attention.4")
def with_flatten(x): return x.permute(0, 2, 1, 3).flatten(-2)


@right("attention.4")
def with_einsum(x): return torch.einsum("bhtd->bthd", x).contiguous().view(x.size(0), x.size(2), -1)


@right("attention.4")
def with_a_loop_over_tokens(x): return torch.stack([x[:, :, t].reshape(len(x), -1) for t in range(x.shape[2])], dim=1)


@wrong("attention.4", says="no gradient", never="scrambled")
def merged_and_detached(x): return with_flatten(x).detach()


@wrong("attention.4", says="scrambled")
def viewed(x): return x.contiguous().view(x.shape[0], x.shape[2], -1)


@wrong("attention.4", never="scrambled")
def first_text_only(x): return with_flatten(x[:1]).expand(len(x), -1, -1)


# 6.5: what a cache saves

right("attention.5", (6225, 149, 20160))
right("attention.5", torch.tensor([6225, 149, 20160], dtype=torch.int32))
right("attention.5", np.array([6225., 149., 20160.]))
right("attention.5", [sum(100+i for i in range(50)), 100+49, 2*2*4*63*20])

wrong("attention.5", [11325, 150, 20160], says="first call reads 100", never="keys")
wrong("attention.5", [6225, 150, 20160], says="second is not", never="first call")
wrong("attention.5", [6225, 149, 10080], says="keys *and* values")
wrong("attention.5", [6225, 149, 20480], says="63")
wrong("attention.5", [6225, 149, 149*80*4], says="numbers in the cache", never="63")
wrong("attention.5", 6225, says="a list or tuple")


# Case 21

def band(q, window):
    ago = torch.arange(q.shape[-2])[:, None]-torch.arange(q.shape[-2])
    return (ago >= 0) & (ago < window)


@right("clinic.21")
def with_the_library(q, k, v, window): return attention(q, k, v, mask=causal_mask(q.shape[-2], window=window))[0]


@right("clinic.21")
def with_pytorch(q, k, v, window): return F.scaled_dot_product_attention(q, k, v, attn_mask=band(q, window))


@right("clinic.21")
def one_position_at_a_time(q, k, v, window):
    parts = []
    for t in range(q.shape[-2]):
        first = max(0, t+1-window)
        parts.append(F.scaled_dot_product_attention(q[..., t:t+1, :], k[..., first:t+1, :], v[..., first:t+1, :]))
    return torch.cat(parts, -2)


@right("clinic.21")
def with_triangles(q, k, v, window):
    ones = torch.ones(q.shape[-2], k.shape[-2])
    hidden = ones.triu(1)+ones.tril(-window) > 0
    return (torch.einsum("...td,...sd->...ts", q, k)*q.shape[-1]**-0.5).masked_fill(hidden, -1e30).softmax(-1) @ v


@wrong("clinic.21", says="one tensor alone")
def with_weights(q, k, v, window): return attention(q, k, v, mask=band(q, window))


@wrong("clinic.21", says="window is gone", never="wide")
def without_the_window(q, k, v, window): return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@wrong("clinic.21", says="no gradient")
def without_gradient(q, k, v, window): return with_pytorch(q, k, v, window).detach()


@wrong("clinic.21", says="undivided", never="in view")
def not_divided(q, k, v, window): return with_pytorch(q*q.shape[-1]**0.5, k, v, window)


# Case 44

@right("clinic.44")
def straight_through(logits, embedding, reader):
    soft = logits.softmax(-1)
    hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.)
    return reader((hard-soft.detach()+soft) @ embedding.weight).mean()


@right("clinic.44")
def with_gumbel_noise(logits, embedding, reader): return reader(F.gumbel_softmax(logits, tau=1., hard=False) @ embedding.weight).mean()


@right("clinic.44")
def with_a_hard_gumbel_softmax(logits, embedding, reader): return reader(F.gumbel_softmax(logits, tau=1., hard=True) @ embedding.weight).mean()


@right("clinic.44")
def sharper(logits, embedding, reader): return torch.mean(reader(torch.einsum("btv,vd->btd", F.softmax(logits/0.5, dim=-1), embedding.weight)))


@right("clinic.44")
def straight_through_vectors(logits, embedding, reader):
    soft = logits.softmax(-1) @ embedding.weight
    return reader(soft+(embedding(logits.argmax(-1))-soft).detach()).mean()


@wrong("clinic.44", says="no gradient reaches", never="weights")
def the_patient(logits, embedding, reader): return reader(embedding(logits.argmax(dim=-1))).mean()


@wrong("clinic.44", says="no gradient reaches")
def one_hot(logits, embedding, reader): return reader(F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype) @ embedding.weight).mean()


@wrong("clinic.44", says="no gradient reaches")
def drawn(logits, embedding, reader):
    tokens = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1).view(logits.shape[:2])
    return reader(embedding(tokens)).mean()


@wrong("clinic.44", says="no gradient reaches")
def made_a_leaf(logits, embedding, reader): return reader(F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype).requires_grad_() @ embedding.weight).mean()


@wrong("clinic.44", says="no gradient reaches")
def detached_weights(logits, embedding, reader): return reader(logits.softmax(-1).detach() @ embedding.weight).mean()


@wrong("clinic.44", says="one number")
def not_a_mean(logits, embedding, reader): return reader(logits.softmax(-1) @ embedding.weight)


@wrong("clinic.44", says="hardly better", never="sum to one")
def against_the_gradient(logits, embedding, reader):
    good = reader(logits.softmax(-1) @ embedding.weight).mean()
    return 2*good.detach()-good


# Mutants that are right

SWAP = "`k.transpose(-2, -1)` → `k.transpose(-1, -2)`"
for id in ("attention.1", "attention.2", "clinic.21"): equivalent(id, "swapping two axes has no direction", SWAP)
for id, mutants in {"attention.1": ["`q` detached (2)", "`k` detached (4) in `with_pytorch_and_the_identity`", "`q` detached (2) in `with_einsum_and_scaled_queries`", "`q` detached (2) in `in_float64`"],
                    "attention.2": ["`q` detached", "`k` detached", "`q` detached (3)", "`q` detached (3) in `one_query_at_a_time`", "`q` detached (2) in `with_scores_added`"],
                    "attention.4": ["`x` detached", "`x` detached in `with_einsum`", "`x` detached (2) in `with_einsum`", "`x` detached in `with_a_loop_over_tokens`", "`x` detached (3) in `with_a_loop_over_tokens`"],
                    "clinic.21": ["`k` detached", "`q` detached", "`q` detached (3)", "`k` detached in `with_triangles`", "`q` detached in `with_triangles`"]}.items():
    equivalent(id, "only its shape or dtype is read there, and through those no gradient flows", *mutants)
equivalent("attention.4", "swapping two axes has no direction", "`x.transpose(1, 2)` → `x.transpose(2, 1)`")
equivalent("clinic.21", "either number is far below every score", "`1e+30` → `2e+30` in `with_triangles`")
equivalent("clinic.44", "straight through with the identity backwards is known, and learns as well", "`logits.softmax(-1)` → `logits` in `straight_through`")
equivalent("clinic.44", "any temperature near one is a cure", "`logits / 0.5` → `logits * 0.5` in `sharper`", "`0.5` → `1.0` in `sharper`", "`1.0` → `2.0` in `with_gumbel_noise`", "`1.0` → `2.0` in `with_a_hard_gumbel_softmax`",
           "`F.gumbel_softmax(logits, tau=1.0, hard=False)` → `F.gumbel_softmax(logits, hard=False)` in `with_gumbel_noise`", "`F.gumbel_softmax(logits, tau=1.0, hard=True)` → `F.gumbel_softmax(logits, hard=True)` in `with_a_hard_gumbel_softmax`")
equivalent("clinic.44", "weights with noise are a cure, whether they are made hard forwards or not", "`F.gumbel_softmax(logits, tau=1.0, hard=False)` → `F.gumbel_softmax(logits, tau=1.0)` in `with_gumbel_noise`",
           "`F.gumbel_softmax(logits, tau=1.0, hard=True)` → `F.gumbel_softmax(logits, tau=1.0)` in `with_a_hard_gumbel_softmax`", "`True` → `False` in `with_a_hard_gumbel_softmax`")
