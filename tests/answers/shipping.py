"""Further answers to the exercises of chapter 23."""
import copy
import numpy as np
import torch
from answers import equivalent, right, wrong

# 23.1: the same function?


@right("shipping.1")
def with_spreads(original, exported, x):
    def moves(answers): return any(a.shape != answers[0].shape or (a-answers[0]).abs().max() > 1e-4 for a in answers)
    a, b = [original(x) for _ in range(8)], [exported(x) for _ in range(8)]
    if moves(a): return "random" if moves(b) else "frozen"
    return "different" if moves(b) or moves([a[0], b[0]]) else "same"


@right("shipping.1")
def with_a_table(original, exported, x):
    def alike(a, b): return a.size() == b.size() and bool(((a-b).abs() <= 1e-4).all())
    def steady(function):
        first = function(x)
        return all([alike(first, function(x)) for _ in range(10)])
    pair = steady(original), steady(exported)
    return {(False, False): "random", (False, True): "frozen", (True, False): "different"}.get(pair) or ("same" if alike(original(x), exported(x)) else "different")


@right("shipping.1")
def with_a_dict(original, exported, x):
    kept = {name: [function(x).clone() for _ in range(7)] for name, function in (("mine", original), ("theirs", exported))}
    def far(a, b): return tuple(a.shape) != tuple(b.shape) or not torch.isclose(a, b, rtol=0, atol=1e-4).all()
    moves = {name: any(far(answers[0], answer) for answer in answers[1:]) for name, answers in kept.items()}
    if moves["mine"]: return ["frozen", "random"][moves["theirs"]]
    return "different" if moves["theirs"] or far(kept["mine"][0], kept["theirs"][0]) else "same"


@wrong("shipping.1")
def one_shape_for_all(original, exported, x):
    a, b = ([function(x) for _ in range(6)] for function in (original, exported))
    varies = [any(not torch.allclose(each[0], other, atol=1e-4) for other in each) for each in (a, b)]
    if all(varies): return "random"
    if any(varies): return "frozen" if varies[0] else "different"
    return "same" if torch.allclose(a[0], b[0], rtol=0, atol=1e-4) else "different"


@wrong("shipping.1")
def two_calls_only(original, exported, x):
    def varies(function): return not torch.allclose(function(x), function(x), rtol=0, atol=1e-4)
    pair = varies(original), varies(exported)
    if all(pair): return "random"
    if any(pair): return "frozen" if pair[0] else "different"
    a, b = original(x), exported(x)
    return "same" if a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=1e-4) else "different"


@wrong("shipping.1")
def always_the_same(original, exported, x): return "same"


@wrong("shipping.1")
def a_bool(original, exported, x): return with_a_table(original, exported, x) == "same"

# 23.2: whole numbers for weights


@right("shipping.2")
def row_by_row(weight, bits=8):
    whole, scales = [], []
    for row in weight:
        most = max(abs(value) for value in row.tolist())
        scale = most/(2**(bits-1)-1) or 1.
        scales.append(scale)
        whole.append((row/scale).round())
    return torch.stack(whole).to(torch.int8), torch.tensor(scales)


@right("shipping.2")
def with_masked_fill(weight, bits=8):
    scale = weight.abs().max(dim=1).values/(2**(bits-1)-1)
    scale = scale.masked_fill(scale == 0, 1)
    return [torch.round(weight/scale.unsqueeze(1)).char(), scale]


@right("shipping.2")
def with_norms(weight, bits=8):
    scale = torch.linalg.vector_norm(weight, torch.inf, dim=1)/((1 << bits-1)-1)
    scale[scale == 0] = 1
    return torch.clamp((weight.T/scale).T.round(), -127, 127).type(torch.int8), scale


@wrong("shipping.2", says="pair")
def whole_numbers_only(weight, bits=8): return row_by_row(weight, bits)[0]


@wrong("shipping.2")
def whole_numbers_as_floats(weight, bits=8):
    whole, scale = row_by_row(weight, bits)
    return whole.float(), scale


@wrong("shipping.2")
def scales_of_columns(weight, bits=8):
    whole, scale = row_by_row(weight.T, bits)
    return whole.T, scale


@wrong("shipping.2")
def with_an_offset(weight, bits=8):
    low, high = weight.amin(dim=1), weight.amax(dim=1)
    scale = ((high-low)/(2**bits-1)).clamp(min=1e-9)
    return ((weight-low[:, None])/scale[:, None]-2**(bits-1)).round().clamp(-128, 127).to(torch.int8), scale


equivalent("shipping.2", "weights of a file are data, and no gradient is asked of them", "… detached", "…everything under `no_grad`")

# 23.3: who shares a batch?


@right("shipping.3")
def with_a_start(arrivals, most, wait):
    batches, open_at = [], None
    for k, now in enumerate(arrivals):
        if open_at is None or now > open_at+wait or len(batches[-1]) >= most:
            batches.append([k])
            open_at = now
        else: batches[-1].append(k)
    return batches


@right("shipping.3")
def by_jumps(arrivals, most, wait):
    batches, k = [], 0
    while k < len(arrivals):
        end = k
        while end < len(arrivals) and end-k < most and arrivals[end]-arrivals[k] <= wait: end += 1
        batches.append(list(range(k, end)))
        k = end
    return batches


@right("shipping.3")
def as_tuples(arrivals, most, wait): return tuple(tuple(each) for each in by_jumps(arrivals, most, wait))


@wrong("shipping.3")
def one_each(arrivals, most, wait): return [[k] for k in range(len(arrivals))]


@wrong("shipping.3")
def all_together(arrivals, most, wait): return [list(range(len(arrivals)))]


@wrong("shipping.3", says="list of lists")
def sizes(arrivals, most, wait): return [len(each) for each in by_jumps(arrivals, most, wait)]


@wrong("shipping.3")
def counted_from_one(arrivals, most, wait): return [[k+1 for k in each] for each in by_jumps(arrivals, most, wait)]


@wrong("shipping.3")
def the_last_is_forgotten(arrivals, most, wait): return by_jumps(arrivals, most, wait)[:-1]

# 23.4: how long may the queue be?


right("shipping.4", 80)
right("shipping.4", 80.0)
right("shipping.4", torch.tensor(80))
right("shipping.4", np.int64(80))
wrong("shipping.4", 40, says="one second")
wrong("shipping.4", 79, says="not the answer")
wrong("shipping.4", 0, says="not the answer")
wrong("shipping.4", 8000, says="not the answer")

# 23.5: the slowest of twenty

right("shipping.5", 0.182)
right("shipping.5", 1-0.99**20)
right("shipping.5", torch.tensor(0.1821))
wrong("shipping.5", 0.2, says="Nearly")
wrong("shipping.5", 0.99**20, says="fast pages")
wrong("shipping.5", 18.2, says="percent")
wrong("shipping.5", 0.5, says="not the answer")
wrong("shipping.5", float("nan"))

# Case 84


@right("clinic.84")
def a_copy(module):
    network = copy.deepcopy(module).eval()
    @torch.no_grad()
    def answer(x): return network(x)
    return answer


@right("clinic.84")
def mode_by_mode(module):
    @torch.inference_mode()
    def answer(x):
        training = {name: part.training for name, part in module.named_modules()}
        y = module.eval()(x)
        for name, part in module.named_modules(): part.training = training[name]
        return y.clone()
    return answer


@right("clinic.84")
def with_a_list_of_parts(module):
    def answer(x):
        parts = [part for part in module.modules() if part.training]
        for part in parts: part.training = False
        with torch.no_grad(): y = module(x)
        for part in parts: part.training = True
        return y
    return answer


equivalent("clinic.84", "a mode that is put back twice is put back", "the last one twice: `for name, part in module.named_modules():` in `mode_by_mode`")


@wrong("clinic.84")
def puts_all_parts_alike(module):
    def answer(x):
        was = module.training
        with torch.no_grad(): y = module.eval()(x)
        module.train(was)
        return y
    return answer


@wrong("clinic.84")
def the_answer_of_nothing(module): return lambda x: None


@wrong("clinic.84", says="function of a batch")
def the_module(module): return module.eval().state_dict()

# Case 95


@right("clinic.95")
def with_a_view(picture): return (2*picture.to(torch.float32)/255-1).view(1, 1, *picture.shape)


@right("clinic.95")
def with_unsqueeze(picture): return picture.float().sub(127.5).div(127.5).unsqueeze(0).unsqueeze(0)


@right("clinic.95")
def with_a_lerp(picture): return torch.lerp(torch.tensor(-1.), torch.tensor(1.), picture.float()/255).reshape(1, 1, *picture.shape)


equivalent("clinic.95", "two new axes of length 1 are alike, in whatever order they are made", "`(None, None)` → `(None, None)`")


@wrong("clinic.95")
def in_bytes(picture): return (picture//128*2-1)[None, None].float()


@wrong("clinic.95")
def in_float64(picture): return (picture.double()/127.5-1)[None, None]


@wrong("clinic.95")
def with_256(picture): return (picture.float()/128-1)[None, None]

# Case 103


@right("clinic.103")
def with_a_mask(x): return x + (x.mean(dim=1) < 0).float()[:, None]


@right("clinic.103")
def with_sums(x): return torch.where((x.sum(1) < 0).unsqueeze(1), x.add(1), x)


@right("clinic.103")
def with_a_lerp(x): return torch.lerp(x, x+1, (x.mean(1, keepdim=True) < 0).to(x))


@wrong("clinic.103")
def one_row_only(x):
    return torch.where(x[:1].mean() < 0, x+1, x)


@wrong("clinic.103")
def with_at_most_zero(x): return torch.where(x.mean(dim=1, keepdim=True) <= 0, x+1, x)


@wrong("clinic.103")
def counted_rows(x):
    dark = [row.mean().item() < 0 for row in x]
    return x + torch.tensor(dark, dtype=x.dtype)[:, None]


equivalent("shipping.2", "the largest number of a row is 127 by its scale, so a clamp has nothing to do",
           "`127` → `128` in `with_norms`")

equivalent("shipping.1", "the order of the two, one call more or less, or where within 1e-4 the line is drawn, changes nothing",
           "`torch.allclose(a, b, rtol=0, atol=0.0001)` → `torch.allclose(b, a, rtol=0, atol=0.0001)`",
           "`a` detached",
           "`b` detached",
           "`a` detached (2)",
           "`b` detached (2)",
           "`0.0001` → `0.0002`",
           "`x` detached",
           "`6` → `7`",
           "`6` → `5`",
           "`close(each[0], other)` → `close(other, each[0])`",
           "`0` → `1` (2)",
           "`close(mine[0], theirs[0])` → `close(theirs[0], mine[0])`",
           "`0` → `1` (4)",
           "`0` → `1` (5)",
           "`8` → `9` in `with_spreads`",
           "`8` → `9` (2) in `with_spreads`",
           "`a` detached in `with_a_table`",
           "`(a - b).abs() <= 0.0001` → `(a - b).abs() < 0.0001` in `with_a_table`",
           "`a - b` → `b - a` in `with_a_table`",
           "`alike(original(x), exported(x))` → `alike(exported(x), original(x))` in `with_a_table`",
           "`x` detached in `with_a_table`",
           "`far(kept['mine'][0], kept['theirs'][0])` → `far(kept['theirs'][0], kept['mine'][0])` in `with_a_dict`",
           "`1` → `0` in `with_a_dict`",
           "`7` → `6` in `with_a_dict`")

equivalent("clinic.84", "an answer of a service carries no gradient, and a copy of it is the same",
           "`x` detached",
           "everything under `no_grad`",
           "everything under `no_grad` in `a_copy`",
           "everything under `no_grad` in `mode_by_mode`",
           "`y.clone()` → `y` in `mode_by_mode`",
           "everything under `no_grad` in `with_a_list_of_parts`",
           "`x` detached in `with_a_list_of_parts`")

equivalent("clinic.95", "the division makes floats, and two new axes of length 1 are alike",
           "`picture.float()` → `picture`",
           "`0` → `1` in `with_unsqueeze`",
           "`picture.float()` → `picture` in `with_unsqueeze`")

equivalent("clinic.103", "the sign of a sum is that of the mean, True counts as 1, and no gradient is asked of a served picture",
           "`x` detached",
           "`x.mean(dim=1, keepdim=True)` → `x.sum(dim=1, keepdim=True)`",
           "`x` detached (2)",
           "`x` detached (3)",
           "the result is detached",
           "`(x.mean(dim=1) < 0).float()` → `x.mean(dim=1) < 0` in `with_a_mask`",
           "`x` detached in `with_a_mask`",
           "`x` detached (2) in `with_sums`",
           "`x` detached (3) in `with_sums`",
           "`x.mean(1, keepdim=True)` → `x.sum(1, keepdim=True)` in `with_a_lerp`")
