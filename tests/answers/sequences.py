"""Further answers to the exercises of chapter 06b."""
import math
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from answers import equivalent, right, wrong

# 6b.1: cross-attention with a padding mask


@right("sequences.1")
def with_pytorch(q, k, v, lengths):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=(torch.arange(k.shape[1]) < lengths[:, None])[:, None])


@right("sequences.1")
def row_by_row(q, k, v, lengths):
    rows = []
    for i, n in enumerate(lengths.tolist()):
        weights = (q[i] @ k[i, :n].T / math.sqrt(q.shape[-1])).softmax(-1)
        rows.append(weights @ v[i, :n])
    return torch.stack(rows)


@right("sequences.1")
def with_a_mask_that_is_added(q, k, v, lengths):
    hidden = torch.zeros(len(k), 1, k.shape[1], dtype=q.dtype)
    hidden[(torch.arange(k.shape[1]) >= lengths[:, None])[:, None]] = -math.inf
    return torch.baddbmm(hidden, q, k.mT, alpha=q.shape[-1]**-0.5).softmax(-1) @ v


@right("sequences.1")
def renormalised_afterwards(q, k, v, lengths):
    weights = torch.einsum("btd,bsd->bts", q, k).div(math.sqrt(q.shape[-1])).softmax(-1)
    weights = torch.where((torch.arange(k.shape[1]) < lengths[:, None])[:, None], weights, 0)
    return weights/weights.sum(-1, keepdim=True) @ v


@wrong("sequences.1", never="first source")
def with_one_length(q, k, v, lengths): return row_by_row(q, k, v, lengths.max().expand(len(q)))


@wrong("sequences.1", says="one tensor", never="hidden")
def with_the_weights(q, k, v, lengths): return with_pytorch(q, k, v, lengths), lengths


@wrong("sequences.1", says="no gradient", never="mask")
def without_a_gradient(q, k, v, lengths): return with_pytorch(q.detach(), k.detach(), v.detach(), lengths)


# 6b.2: what a longer text costs

right("sequences.2", [560, 3000, 32.5])
right("sequences.2", (560., 3e3, 65/2))
right("sequences.2", torch.tensor([560, 3000, 32.5]))
right("sequences.2", np.array([560, 3000, 32.5]))
wrong("sequences.2", [560, 3, 32.5], says="in tokens")
wrong("sequences.2", [320, 3000, 32.5], says="first number")
wrong("sequences.2", [560, 3000, 2600], says="ratio", never="first number")
wrong("sequences.2", [560, 1500, 32.5], says="second")

# 6b.3: one merge


@right("sequences.3")
def with_an_iterator(symbols, pair):
    joined, waiting = [], iter(symbols)
    held = next(waiting, None)
    while held is not None:
        following = next(waiting, None)
        if (held, following) == pair: held, following = held+following, next(waiting, None)
        joined.append(held)
        held = following
    return joined


@right("sequences.3")
def with_a_stack(symbols, pair):
    joined, fresh = [], False
    for symbol in symbols:
        if joined and not fresh and (joined[-1], symbol) == tuple(pair):
            joined[-1] += symbol
            fresh = True
        else:
            joined.append(symbol)
            fresh = False
    return joined


@right("sequences.3")
def by_recursion(symbols, pair):
    if not symbols: return []
    if tuple(symbols[:2]) == pair: return [pair[0]+pair[1], *by_recursion(symbols[2:], pair)]
    return [symbols[0], *by_recursion(symbols[1:], pair)]


@wrong("sequences.3", never="from the right")
def a_joined_one_joins_again(symbols, pair):
    joined = []
    for symbol in symbols:
        if joined and joined[-1] in (pair[0], pair[0]+pair[1]) and symbol == pair[1]: joined[-1] += symbol
        else: joined.append(symbol)
    return joined


@wrong("sequences.3", says="text")
def as_one_text(symbols, pair): return " ".join(with_a_stack(symbols, pair))


# 6b.4: losses of different tokens

right("sequences.4", [1.88, 1.62, 4.16])
right("sequences.4", [1.3/math.log(2), 3.6/3.2/math.log(2), 1.3*3.2])
right("sequences.4", torch.tensor([1.875, 1.623, 4.16]))
right("sequences.4", (1.876, 1.62, np.float64(4.16)))
wrong("sequences.4", [1.88, 5.19, 4.16], says="3.2")
wrong("sequences.4", [1.3, 1.62, 4.16], says="first number")
wrong("sequences.4", [1.88, 1.62, 6.0], says="nats a token")
wrong("sequences.4", [1.88, 1.62, 3.6], says="third")

# Case 64: a mean that counts the padding


@right("clinic.64")
def line_by_line(x, ids): return torch.stack([row[line != 0].mean(dim=0) for row, line in zip(x, ids)])


@right("clinic.64")
def with_a_product(x, ids):
    weights = (ids > 0).to(x.dtype)
    return ((weights/weights.sum(1, keepdim=True))[:, None] @ x)[:, 0]


@right("clinic.64")
def with_nanmean(x, ids): return x.masked_fill((ids == 0)[..., None], math.nan).nanmean(dim=1)


@wrong("clinic.64", says="longest", never="whole batch")
def divided_by_the_longest(x, ids): return torch.where((ids != 0)[..., None], x, 0).sum(1)/ids.shape[1]


@wrong("clinic.64", never="shortest")
def the_largest(x, ids): return x.masked_fill((ids == 0)[..., None], -math.inf).amax(dim=1)


# Case 65: a mask with the other meaning


@right("clinic.65")
def with_weights(layer, x, ids): return layer(x, x, x, key_padding_mask=ids.eq(0))[0]


@right("clinic.65")
def with_a_mask_of_floats(layer, x, ids):
    hidden = torch.zeros(ids.shape, dtype=x.dtype).masked_fill(ids == 0, -math.inf)
    return layer(query=x, key=x, value=x, key_padding_mask=hidden)[0]


@right("clinic.65")
def each_line_alone(layer, x, ids):
    out = torch.zeros(x.shape, dtype=x.dtype)
    rows = []
    for row, line in zip(x, ids):
        real = row[line != 0][None]
        rows.append(F.pad(layer(real, real, real)[0][0], (0, 0, 0, len(line)-real.shape[1])))
    return out+torch.stack(rows)


@wrong("clinic.65", says="pair", never="zero")
def both_of_them(layer, x, ids): return layer(x, x, x, key_padding_mask=ids == 0)


@wrong("clinic.65", never="True means")
def the_future_hidden(layer, x, ids):
    later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    return layer(x, x, x, key_padding_mask=ids == 0, attn_mask=later)[0]


# Case 66: what the decoder reads, and what it is asked for


@right("clinic.66")
def from_one_text(rows):
    whole = nn.utils.rnn.pad_sequence([torch.tensor([1, *row, 2]) for row in rows], batch_first=True)
    return whole[:, :-1].masked_fill(whole[:, :-1] == 2, 0), whole[:, 1:]


@right("clinic.66")
def filled_by_hand(rows):
    longest = max(map(len, rows))+1
    read, asked = torch.zeros(2, len(rows), longest, dtype=torch.int64)
    for i, row in enumerate(rows):
        read[i, 0], asked[i, len(row)] = 1, 2
        read[i, 1:len(row)+1] = asked[i, :len(row)] = torch.tensor(row)
    return read, asked


@right("clinic.66")
def as_lists_first(rows):
    longest = max(map(len, rows))
    return [torch.tensor([[1, *row, *[0]*(longest-len(row))] for row in rows]), torch.tensor([[*row, 2, *[0]*(longest-len(row))] for row in rows])]


@right("clinic.66")
def the_end_is_read(rows):
    whole = nn.utils.rnn.pad_sequence([torch.tensor([1, *row, 2]) for row in rows], batch_first=True)
    return whole[:, :-1], whole[:, 1:]


@wrong("clinic.66", says="pair")
def only_one(rows): return filled_by_hand(rows)[0]


equivalent("sequences.1", "the last two axes change places, in whichever order they are named", "`k.transpose(1, 2)` → `k.transpose(2, 1)`")
equivalent("sequences.1", "a shape or a dtype is read from it, which has no gradient", "`k` detached", "`q` detached (2)", "`k` detached (2) in `with_pytorch`",
           "`q` detached (2) in `row_by_row`", "`q` detached in `with_a_mask_that_is_added`", "`k` detached (2) in `renormalised_afterwards`")
equivalent("clinic.64", "a dtype is read from it, which has no gradient", "`x` detached in `with_a_product`")
equivalent("clinic.65", "the weights are computed as well, and not returned", "`layer(x, x, x, key_padding_mask=ids == 0, need_weights=False)` → `layer(x, x, x, key_padding_mask=ids == 0)`", "`False` → `True`")
equivalent("clinic.65", "query and key are the same tensor, and may be exchanged",
           "`layer(x, x, x, key_padding_mask=ids == 0, need_weights=False)` → `layer(x, x, x, key_padding_mask=ids == 0, need_weights=False)`")
equivalent("clinic.65", "a shape or a dtype is read from it, which has no gradient", "`x` detached in `with_a_mask_of_floats`", "`x` detached in `each_line_alone`", "`x` detached (2) in `each_line_alone`")
equivalent("clinic.65", "what is added is zero everywhere", "`out + torch.stack(rows)` → `torch.stack(rows)` in `each_line_alone`")
equivalent("clinic.66", "what is read where nothing is asked for makes no difference", "`0` → `1` in `from_one_text`", "`0` → `1` in `as_lists_first`")
