"""Further answers to the exercises of chapter 05."""
import itertools
import math
import numpy as np
import torch
import torch.nn.functional as F
from genesis_course.rnn import keep_nucleus, next_token_loss
from answers import equivalent, right, wrong

# 5.1: the text aabbaabb…

right("rnn.1", (1, 1, 0))
right("rnn.1", torch.tensor([1., 1., 0.]))
right("rnn.1", np.array([1., 1., 0.]))
right("rnn.1", [torch.tensor(1.), np.float64(1), -0.])

wrong("rnn.1", [1., 0.5, 0.], says="follows each `a`", never="nats")
wrong("rnn.1", [1., 0.4, 0.], says="counts pairs", never="nats")
wrong("rnn.1", [0.5, 0.5, 0.], says="single characters", never="0.5")
wrong("rnn.1", [1., 1., 0.25], says="counts triples")
wrong("rnn.1", [1., 1.], says="3 values")
wrong("rnn.1", [1., 1., -1.], says="not negative")
wrong("rnn.1", [1., 1., float("nan")], says="NaN")
wrong("rnn.1", 1., says="a list or tuple")


# 5.2: a step of an LSTM

@right("rnn.2")
def with_lstm_cell_of_pytorch(x, h, c, W, U, b): return torch.lstm_cell(x, (h, c), W, U, b, torch.zeros(len(b), dtype=b.dtype))


@right("rnn.2")
def with_slices_and_linear(x, h, c, W, U, b):
    n = h.shape[1]
    sums = F.linear(x, W, b)+F.linear(h, U)
    i, f, o = (torch.sigmoid(sums[:, k*n:(k+1)*n]) for k in (0, 1, 3))
    new = c*f+torch.tanh(sums[:, 2*n:3*n])*i
    return torch.stack([torch.tanh(new)*o, new])


@right("rnn.2")
def with_a_product_for_each_gate(x, h, c, W, U, b):
    size = c.shape[1]
    def part(k): return x @ W[k*size:(k+1)*size].mT+h @ U[k*size:(k+1)*size].mT+b[k*size:(k+1)*size]
    c = c/(1+(-part(1)).exp())+part(2).tanh()/(1+(-part(0)).exp())
    return [c.tanh()/(1+(-part(3)).exp()), c]


@right("rnn.2")
def with_one_matrix_for_both(x, h, c, W, U, b):
    i, f, g, o = (torch.cat([x, h], 1) @ torch.cat([W, U], 1).T+b).view(len(x), 4, -1).unbind(1)
    c = torch.addcmul(f.sigmoid()*c, i.sigmoid(), g.tanh())
    return o.sigmoid()*(2*(2*c).sigmoid()-1), c


@wrong("rnn.2", says="no gradient", never="reaches")
def detached(x, h, c, W, U, b):
    h, c = with_lstm_cell_of_pytorch(x, h, c, W, U, b)
    return h.detach(), c.detach()


@wrong("rnn.2", says="no gradient reaches `c`")
def memory_detached(x, h, c, W, U, b): return with_lstm_cell_of_pytorch(x, h, c.detach(), W, U, b)


@wrong("rnn.2", says="Return the pair")
def only_h(x, h, c, W, U, b): return with_lstm_cell_of_pytorch(x, h, c, W, U, b)[0]


@wrong("rnn.2", says="Return the pair", never="order")
def three(x, h, c, W, U, b): return *with_lstm_cell_of_pytorch(x, h, c, W, U, b), c


@wrong("rnn.2", says="fewer digits")
def in_float32(x, h, c, W, U, b): return tuple(part.to(x.dtype).float() for part in with_lstm_cell_of_pytorch(x, h, c, W, U, b))


@wrong("rnn.2", never="changed places")
def gates_in_the_order_of_keras_and_no_bias(x, h, c, W, U, b): return with_lstm_cell_of_pytorch(x, h, c, W, -U, b)


# 5.3: the nucleus

@right("rnn.3")
def with_a_loop(probabilities, top_p):
    kept, total = torch.zeros_like(probabilities), 0.
    for token in sorted(range(len(probabilities)), key=lambda k: -probabilities[k].item()):
        if total >= top_p: break
        kept[token] = probabilities[token]
        total += probabilities[token].item()
    return kept/kept.sum()


@right("rnn.3")
def with_topk(probabilities, top_p):
    sums = probabilities.sort(descending=True).values.cumsum(0)
    best = probabilities.topk(min(len(sums), int((sums < top_p).sum())+1))
    return torch.zeros_like(probabilities).scatter(0, best.indices, best.values/best.values.sum())


@right("rnn.3")
def with_numpy(probabilities, top_p):
    values = probabilities.numpy().astype(np.float64)
    order = np.argsort(-values, kind="stable")
    count = np.searchsorted(np.cumsum(values[order]).astype(np.float32), np.float32(top_p))+1
    kept = np.zeros_like(values)
    kept[order[:count]] = values[order[:count]]
    return kept/kept.sum()


@right("rnn.3")
def of_the_library(probabilities, top_p): return keep_nucleus(probabilities, top_p)


@wrong("rnn.3", says="too early", never="one too many")
def below_p_only(probabilities, top_p):
    ordered, index = probabilities.sort(descending=True)
    return torch.zeros_like(probabilities).scatter(0, index, ordered.where(ordered.cumsum(0) <= top_p, 0.)/ordered[ordered.cumsum(0) <= top_p].sum())


@wrong("rnn.3", says="one too many", never="too early")
def counts_the_sums_up_to_p_and_one(probabilities, top_p):
    ordered, index = probabilities.sort(descending=True)
    k = int((ordered.cumsum(0) <= top_p).sum())+1
    kept = torch.zeros_like(probabilities)
    kept[index[:k]] = ordered[:k]
    return kept/kept.sum()


@wrong("rnn.3", says="fewer digits")
def answers_in_float32(probabilities, top_p): return keep_nucleus(probabilities.float(), top_p)


# 5.4: likelier than greedy

@right("rnn.4")
def that_tries_everything(model, ids, length):
    ends = torch.tensor(list(itertools.product(range(model.vocab_size), repeat=length)))
    texts = torch.cat([ids.expand(len(ends), -1), ends], dim=1)
    logs = model(texts[:, :-1])[0].log_softmax(-1).gather(-1, texts[:, 1:, None])
    return texts[logs.sum(dim=(1, 2)).argmax()][None]


@right("rnn.4")
@torch.no_grad()
def a_beam_that_carries_its_state(model, ids, length):
    logits, state = model(ids)
    logs, beams = logits[:, -1].log_softmax(-1), ids
    sums = torch.zeros(1)
    for _ in range(length):
        sums, best = (sums[:, None]+logs).flatten().topk(3)
        row, token = best // model.vocab_size, best % model.vocab_size
        beams = torch.cat([beams[row], token[:, None]], 1)
        logits, state = model(token[:, None], state[:, row].contiguous())
        logs = logits[:, -1].log_softmax(-1)
    return beams[sums.argmax()][None]


@right("rnn.4")
def a_beam_of_two_in_python(model, ids, length):
    beams = [(1., ids)]
    for _ in range(length):
        longer = [(p*q.item(), torch.cat([tokens, torch.tensor([[k]])], 1)) for p, tokens in beams for k, q in enumerate(model(tokens)[0][0, -1].softmax(-1))]
        beams = sorted(longer, key=lambda pair: -pair[0])[:2]
    return beams[0][1]


@right("rnn.4")
def a_queue_of_the_best_so_far(model, ids, length):
    "Best first: surprises only add up, so the first complete text taken from the queue is the best"
    queue = [(0., ids)]
    while True:
        queue.sort(key=lambda pair: pair[0])
        cost, tokens = queue.pop(0)
        if tokens.shape[1] == ids.shape[1]+length: return tokens.int()
        for k, log in enumerate(model(tokens)[0][0, -1].log_softmax(-1).tolist()): queue.append((cost-log, torch.cat([tokens, torch.tensor([[k]])], 1)))


def _drawn(seed):
    def drawn(model, ids, length):
        rng = torch.Generator().manual_seed(seed)
        for _ in range(length): ids = torch.cat([ids, torch.multinomial(model(ids)[0][:, -1].softmax(-1), 1, generator=rng)], dim=1)
        return ids
    return drawn


for seed in range(6): wrong("rnn.4", _drawn(seed), never="greedily")


@wrong("rnn.4", says="go on greedily", never="probabilities.")
def second_best_then_greedy(model, ids, length):
    token = model(ids)[0][:, -1].sort(descending=True).indices[:, 1:2]
    ids = torch.cat([ids, token], 1)
    for _ in range(length-1): ids = torch.cat([ids, model(ids)[0][:, -1:].argmax(-1)], 1)
    return ids


@wrong("rnn.4", says="forgotten", never="You add")
def beam_without_a_state(model, ids, length):
    beams = [(0., ids)]
    for _ in range(length):
        longer = [(s+q.item(), torch.cat([tokens, torch.tensor([[k]])], 1)) for s, tokens in beams for k, q in enumerate(model(tokens[:, -1:])[0][0, -1].log_softmax(-1))]
        beams = sorted(longer, key=lambda pair: -pair[0])[:4]
    return beams[0][1]


@wrong("rnn.4", says="You add probabilities", never="logits")
def beam_that_adds_probabilities(model, ids, length):
    beams = [(0., ids)]
    for _ in range(length):
        longer = [(s+q.item(), torch.cat([tokens, torch.tensor([[k]])], 1)) for s, tokens in beams for k, q in enumerate(model(tokens)[0][0, -1].softmax(-1))]
        beams = sorted(longer, key=lambda pair: -pair[0])[:4]
    return beams[0][1]


@wrong("rnn.4", says="the shape is", never="dtype")
def without_the_batch(model, ids, length): return a_beam_of_two_in_python(model, ids, length)[0]


@wrong("rnn.4", says="single token")
def the_least_likely(model, ids, length):
    if length > 1: return that_tries_everything(model, ids, length)
    return torch.cat([ids, model(ids)[0][:, -1:].argmin(-1)], 1)


# 5.5: the bias

right("rnn.5", 5)
right("rnn.5", torch.tensor(4.968))
right("rnn.5", np.float64(math.log(0.99309/0.00691)))
right("rnn.5", 4.9)

wrong("rnn.5", 0.993, says="That is the gate", never="multiply")
wrong("rnn.5", 0.5, says="left after 100 steps", never="That is the gate")
wrong("rnn.5", 5.293, says="multiply")
wrong("rnn.5", 4., says="left after 100 steps", never="multiply")
wrong("rnn.5", -1e9, says="left after 100 steps")
wrong("rnn.5", float("nan"))
wrong("rnn.5", [5.], says="a number")


# Case 9

@right("clinic.9")
def with_a_head_for_each_step(recurrent, head, x): return torch.stack([head(output) for output in recurrent(x)[0].unbind(1)], dim=1)


@right("clinic.9")
def with_the_state_carried(recurrent, head, x):
    answers, state = [], None
    for step in x.split(1, dim=1):
        output, state = recurrent(step, state)
        answers.append(head(output))
    return torch.cat(answers, 1)


@right("clinic.9")
def with_everything_read_up_to_each_position(recurrent, head, x): return torch.stack([head(recurrent(x[:, :t+1])[0][:, -1]) for t in range(x.shape[1])], dim=1)


@right("clinic.9")
def with_a_flat_head(recurrent, head, x):
    outputs = recurrent(x)[0]
    return head(outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2])


@wrong("clinic.9", says="no gradient", never="softmax")
def without_gradient(recurrent, head, x): return head(recurrent(x)[0]).detach()


@wrong("clinic.9", says="no gradient reaches `recurrent`")
def recurrent_detached(recurrent, head, x): return head(recurrent(x)[0].detach())


@wrong("clinic.9", never="backwards")
def first_output_everywhere(recurrent, head, x): return head(recurrent(x)[0][:, :1]).expand(-1, x.shape[1], -1)


# Case 20

@right("clinic.20")
def with_transpose(model, ids): return F.cross_entropy(model(ids)[0][:, :-1].transpose(1, 2), ids[:, 1:])


@right("clinic.20")
def with_log_softmax(model, ids): return -model(ids[:, :-1])[0].log_softmax(-1).gather(-1, ids[:, 1:].unsqueeze(-1)).mean()


@right("clinic.20")
def with_the_library(model, ids): return next_token_loss(model, (ids[:, :-1], ids[:, 1:]))


@right("clinic.20")
def with_a_loop_over_time(model, ids):
    losses, state = [], None
    for t in range(ids.shape[1]-1):
        logits, state = model(ids[:, t:t+1], state)
        losses.append(F.cross_entropy(logits[:, 0], ids[:, t+1]))
    return sum(losses)/len(losses)


@right("clinic.20")
def with_float64(model, ids):
    logits = model(ids[:, :-1])[0].double()
    return F.nll_loss(F.log_softmax(logits, 2).flatten(0, 1), ids[:, 1:].reshape(-1))


@wrong("clinic.20", says="no gradient")
def as_a_number(model, ids): return with_the_library(model, ids).item()


@wrong("clinic.20", says="read", never="roll")
def reads_the_future(model, ids):
    logits, _ = model(ids.flip(1))
    return F.cross_entropy(logits.flip(1)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


@wrong("clinic.20", says="wrong axis", never="softmax itself")
def softmax_over_time(model, ids): return F.nll_loss(model(ids[:, :-1])[0].log_softmax(1).flatten(0, 1), ids[:, 1:].flatten())


@wrong("clinic.20", says="softmax itself", never="axis")
def softmax_first(model, ids): return F.cross_entropy(F.softmax(model(ids)[0][:, :-1], -1).transpose(1, 2), ids[:, 1:])


@wrong("clinic.20", says="same tokens", never="backwards")
def patient(model, ids): return F.cross_entropy(model(ids)[0].transpose(1, 2), ids)


# Case 29

@right("clinic.29")
@torch.no_grad()
def under_no_grad(model, batches):
    losses, counts = zip(*[(next_token_loss(model, batch), batch[0].numel()) for batch in batches])
    return float((torch.stack(losses).double() @ torch.tensor(counts).double())/sum(counts))


@right("clinic.29")
def with_detach(model, batches):
    total, count = torch.zeros((), dtype=torch.float64), 0
    for batch in batches:
        total += next_token_loss(model, batch).detach()*batch[1].nelement()
        count += batch[1].nelement()
    return total.item()/count


@right("clinic.29")
def with_sums(model, batches):
    sums = [(F.cross_entropy(model(inputs)[0].transpose(1, 2), targets, reduction="sum").item(), targets.shape[0]*targets.shape[1]) for inputs, targets in batches]
    return np.float64(sum(loss for loss, _ in sums)/sum(count for _, count in sums))


@right("clinic.29")
def with_a_list_first(model, batches):
    batches = list(batches)
    return sum(next_token_loss(model, pair).tolist()*pair[1].numel() for pair in batches)/sum(targets.numel() for _, targets in batches)


@wrong("clinic.29", says="nothing piles up", never="graph behind")
def a_tensor(model, batches): return torch.tensor(with_sums(model, batches))


@wrong("clinic.29", says="leaves gradients", never="pile")
def backward_on_each(model, batches):
    total = count = 0
    for batch in batches:
        loss = next_token_loss(model, batch)
        loss.backward()
        total, count = total+loss.item()*batch[1].numel(), count+batch[1].numel()
    return total/count


@wrong("clinic.29", says="no `len`")
def asks_for_len(model, batches): return sum(next_token_loss(model, batch).item() for batch in batches)/len(batches)


@wrong("clinic.29", says="smaller last batch", never="pile up until")
def mean_of_means(model, batches): return float(np.mean([next_token_loss(model, batch).item() for batch in batches]))


@wrong("clinic.29", says="holds the graphs", never="smaller")
def item_at_the_end(model, batches):
    losses = [(next_token_loss(model, batch), batch[1].numel()) for batch in batches]
    return (sum(loss*n for loss, n in losses)/sum(n for _, n in losses)).item()


# Mutants that are right

equivalent("rnn.3", "what is drawn from is not learned from: nobody differentiates it", "… detached")
equivalent("rnn.3", "every place is overwritten in the next line", "`torch.zeros_like(probabilities)` → `torch.ones_like(probabilities)`")
equivalent("rnn.3", "the last token gets its own probability a second time", "the last one twice: `for token in sorted(range(len(probabilities)), key=lambda k: -probabilities[k].item()):` in `with_a_loop`")
equivalent("rnn.4", "a number that all sums share moves no comparison", "`torch.zeros(1)` → `torch.ones(1)`")
equivalent("rnn.4", "of [beams, V] the axis 1 is the last", "`-1` → `1`")
equivalent("rnn.4", "a distribution for one place has one axis, 0", "`1` → `0` (4) in `a_queue_of_the_best_so_far`")
equivalent("rnn.4", "with every beginning kept it tries everything", "`min(width, logs.numel())` → `max(width, logs.numel())`")
equivalent("rnn.4", "any width above one is a beam", "`4` → `5`", "`4` → `3`")
equivalent("rnn.4", "a search needs no gradients, and keeping them costs memory only", "without `with torch.no_grad():`", "… under `no_grad`")
equivalent("clinic.9", "two steps in a call with the state carried are the same", "`1` → `2` in `with_the_state_carried`")
equivalent("clinic.20", "swapping two axes has no direction", "`model(ids)[0][:, :-1].transpose(1, 2)` → `model(ids)[0][:, :-1].transpose(2, 1)` in `with_transpose`")
equivalent("clinic.20", "the loss of float32 logits in float32 is as good", "`model(ids[:, :-1])[0].double()` → `model(ids[:, :-1])[0]` in `with_float64`")
equivalent("clinic.29", "a measure needs no gradients: this is the cure", "… under `no_grad`")
equivalent("clinic.29", "swapping two axes has no direction", "`model(inputs)[0].transpose(1, 2)` → `model(inputs)[0].transpose(2, 1)` in `with_sums`")
equivalent("rnn.4", "all texts have the same length, so sums and means order them alike", "`logs.sum(dim=(1, 2))` → `logs.mean(dim=(1, 2))` in `that_tries_everything`")
equivalent("rnn.4", "a beginning that stands in the queue twice is looked at twice", "the last one twice: `for k, log in enumerate(model(tokens)[0][0, -1].log_softmax(-1).tolist()):` in `a_queue_of_the_best_so_far`")
