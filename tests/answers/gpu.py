"""Further answers to the exercises of chapter 21."""
import math
import numpy as np
import torch
from answers import equivalent, right, wrong
from genesis_course.gpu import ring_bytes, step_seconds

# gpu.1: a short mantissa

@right("gpu.1")
def by_adding_a_half(x, bits):
    m, e = torch.frexp(x)
    return torch.ldexp((m*2**(bits+1)+0.5).floor()/2**(bits+1), e)


@right("gpu.1")
def with_a_step_of_each_number(x, bits):
    step = torch.where(x == 0, torch.ones_like(x), 2.**(torch.floor(torch.log2(x.abs().double()))-bits).float())
    return (x/step).round()*step


@right("gpu.1")
def on_the_bits(x, bits):
    "Adds half of the first bit that goes, and clears the rest"
    cut = 23-bits
    if cut == 0: return x.clone()
    number = x.view(torch.int32)+(1 << cut-1)
    return (number & -(1 << cut)).view(torch.float32)


@right("gpu.1")
def in_numpy(x, bits):
    m, e = np.frexp(x.numpy().astype(np.float64))
    return torch.from_numpy(np.ldexp(np.rint(np.ldexp(m, bits+1)), e-bits-1)).float()


@wrong("gpu.1", says="cuts the last bits off", never="One bit too few")
def on_the_bits_without_rounding(x, bits): return (x.view(torch.int32) & -(1 << 23-bits)).view(torch.float32)


@wrong("gpu.1", says="Right for 7 bits", never="cuts")
def always_bf16(x, bits): return x.to(torch.bfloat16).to(torch.float32)


@wrong("gpu.1", never="One bit too few")
def one_bit_too_many(x, bits): return in_numpy(x, bits+1)


@wrong("gpu.1", says="dtype")
def left_in_bf16(x, bits): return x.bfloat16()


@wrong("gpu.1", never="cuts the last bits off")
def towards_minus_infinity(x, bits):
    m, e = torch.frexp(x)
    return torch.ldexp((m*2**(bits+1)).floor()/2**(bits+1), e)


@wrong("gpu.1", says="It changes what it was given", never="cuts")
def in_place(x, bits): return x.copy_(in_numpy(x, bits))


equivalent("gpu.1", "rounding is flat nearly everywhere: its gradient is 0 or no use", "… detached", "…everything under `no_grad`")

# gpu.2: a scale that finds itself

@right("gpu.2")
def in_one_expression(scale, good, finite, patience=2000):
    grown = finite and good+1 >= patience
    return scale*(0.5 if not finite else 2 if grown else 1), (good+1)*(finite and not grown), finite


@right("gpu.2")
def with_modulo(scale, good, finite, patience=2000):
    good = (good+1) % patience if finite else 0
    return np.float64(scale*2. if finite and good == 0 else scale if finite else scale*0.5), good, torch.tensor(finite)


@right("gpu.2")
def as_a_list(scale, good, finite, patience=2000):
    answer = [scale, good+1, 1]
    if not finite: answer = [scale/2., 0, 0]
    elif answer[1] == patience: answer[:2] = 2*scale, 0
    return answer


@wrong("gpu.2", says="must begin at 0 again", never="One step late")
def goes_on_counting(scale, good, finite, patience=2000):
    if not finite: return scale/2, good, False
    return (scale*2, 0, True) if good+1 >= patience else (scale, good+1, True)


@wrong("gpu.2", says="One step late", never="only falls")
def late(scale, good, finite, patience=2000):
    if not finite: return scale/2, 0, False
    return (2*scale, 0, True) if good >= patience else (scale, good+1, True)


@wrong("gpu.2", says="swapped", never="only falls")
def grows_after_an_overflow(scale, good, finite, patience=2000):
    if not finite: return scale*2, 0, False
    return (scale/2, 0, True) if good+1 == patience else (scale, good+1, True)


@wrong("gpu.2", never="swapped")
def without_counting_from_zero_again(scale, good, finite, patience=2000):
    if not finite: return scale/2, 0, False
    return (scale*2, good+1, True) if good+1 == patience else (scale, good+1, True)


@wrong("gpu.2", never="only falls")
def always_2000(scale, good, finite, patience=2000): return in_one_expression(scale, good, finite, 2000)


# gpu.3: how many rows fit

@right("gpu.3")
def by_trying(memory, weights, per_row, states=2):
    left, rows = memory-sum(4*weights for _ in range(2+states)), 0
    while left >= per_row: left, rows = left-per_row, rows+1
    return rows


@right("gpu.3")
def with_divmod(memory, weights, per_row, states=2):
    rows, _ = divmod(memory-weights*4-weights*4-weights*4*states, per_row)
    return rows if rows > 0 else 0


@right("gpu.3")
def in_numpy_numbers(memory, weights, per_row, states=2): return np.int64(np.floor(np.clip(memory-4*weights*(states+2), 0, None)/per_row))


@wrong("gpu.3", says="gradients are missing", never="4 bytes")
def no_gradients(memory, weights, per_row, states=2):
    left = memory-4*weights-4*weights*states
    return max(0, left//per_row)


@wrong("gpu.3", says="4 bytes", never="gradients are missing")
def one_byte(memory, weights, per_row, states=2): return max(0, (memory-weights-weights-states*weights)//per_row)


@wrong("gpu.3", says="not a negative number", never="4 bytes")
def may_be_negative(memory, weights, per_row, states=2): return math.floor((memory-4*weights*(2+states))/per_row)


@wrong("gpu.3", never="4 bytes")
def eight_bytes(memory, weights, per_row, states=2): return max(0, (memory-8*weights*(2+states))//per_row)


@wrong("gpu.3", never="gradients are missing")
def always_adam(memory, weights, per_row, states=2): return with_divmod(memory, weights, per_row, 2)


# gpu.4: segments

right("gpu.4", (20, 200))
right("gpu.4", torch.tensor([20., 200.]))
right("gpu.4", [2*math.sqrt(100), np.sqrt(10_000)*2])
wrong("gpu.4", [10., 100.], says="numbers of segments", never="20")
wrong("gpu.4", [20, 400], says="10,000 layers is not right", never="200")
wrong("gpu.4", [25, 200], says="100 layers is not right", never="20")
wrong("gpu.4", (200., 20.), says="the other order")
wrong("gpu.4", [20], says="2 values")
wrong("gpu.4", 20)

# gpu.5: efficiency

@right("gpu.5")
def from_the_parts(workers, compute, size, bandwidth):
    talking = 2*(workers-1)*(size/workers/bandwidth+2e-5)
    return compute/workers/(compute/workers+talking)


@right("gpu.5")
def as_a_speed_up(workers, compute, size, bandwidth):
    speed_up = step_seconds(1, compute, size, bandwidth)/step_seconds(workers, compute, size, bandwidth)
    return torch.tensor(speed_up/workers, dtype=torch.float64)


@right("gpu.5")
def ideal_over_real(workers, compute, size, bandwidth):
    ideal = np.divide(compute, workers)
    return ideal/(ideal+ring_bytes(size, workers)/bandwidth+(workers-1)*4e-5)


@wrong("gpu.5", says="latency", never="one worker")
def no_latency(workers, compute, size, bandwidth): return compute/workers/step_seconds(workers, compute, size, bandwidth, latency=0)


@wrong("gpu.5", says="That is the speed-up", never="twice")
def the_speed_up(workers, compute, size, bandwidth): return workers*from_the_parts(workers, compute, size, bandwidth)


@wrong("gpu.5", says="Turned round", never="speed-up. Divide")
def the_inverse(workers, compute, size, bandwidth): return 1/from_the_parts(workers, compute, size, bandwidth)


@wrong("gpu.5", never="latency")
def share_of_talking(workers, compute, size, bandwidth): return 1-from_the_parts(workers, compute, size, bandwidth)


# clinic.46: pieces that count too much

@right("clinic.46")
def with_a_weight_first(model, loss, optimizer, microbatches):
    sizes = torch.tensor([float(len(targets)) for _, targets in microbatches])
    model.zero_grad()
    for share, piece in zip(sizes/sizes.sum(), microbatches): (share*loss(model, piece)).backward()
    optimizer.step()


@right("clinic.46")
def scaled_afterwards(model, loss, optimizer, microbatches):
    optimizer.zero_grad(set_to_none=False)
    for piece in microbatches: loss(model, piece).backward(torch.tensor(float(len([*zip(*piece)]))))
    rows = sum(map(len, next(zip(*microbatches))))
    for parameter in model.parameters(): parameter.grad /= rows
    optimizer.step()


@right("clinic.46")
def with_gradients_added_by_hand(model, loss, optimizer, microbatches):
    parameters, rows = list(model.parameters()), sum(len(y) for _, y in microbatches)
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for piece in microbatches:
        sums = [old+len(piece[1])/rows*new for old, new in zip(sums, torch.autograd.grad(loss(model, piece), parameters))]
    for parameter, gradient in zip(parameters, sums): parameter.grad = gradient
    optimizer.step()


@wrong("clinic.46", says="put together again", never="Right for equal pieces")
def one_batch_again(model, loss, optimizer, microbatches):
    x, y = (torch.cat(part) for part in zip(*microbatches))
    optimizer.zero_grad()
    loss(model, (x, y)).backward()
    optimizer.step()


@wrong("clinic.46", says="Right for equal pieces", never="n times too long")
def a_mean_of_means(model, loss, optimizer, microbatches):
    optimizer.zero_grad()
    (sum(loss(model, piece) for piece in microbatches)/len(microbatches)).backward()
    optimizer.step()


@wrong("clinic.46", says="n times too long", never="Right for equal pieces")
def a_sum_of_means(model, loss, optimizer, microbatches):
    optimizer.zero_grad()
    sum(loss(model, piece) for piece in microbatches).backward()
    optimizer.step()


@wrong("clinic.46", never="Right for equal pieces")
def the_rows_of_the_first(model, loss, optimizer, microbatches):
    optimizer.zero_grad()
    rows = len(microbatches)*len(microbatches[0][0])
    for piece in microbatches: (loss(model, piece)*len(piece[0])/rows).backward()
    optimizer.step()


@wrong("clinic.46", says="nothing clears", never="put together")
def never_cleared(model, loss, optimizer, microbatches):
    rows = sum(len(y) for _, y in microbatches)
    for piece in microbatches: (len(piece[1])/rows*loss(model, piece)).backward()
    optimizer.step()


equivalent("clinic.46", "data ask for no gradient, so nothing is cut", "…`microbatches` detached")
equivalent("clinic.46", "inputs and targets have the same number of rows", "`0` → `1`", "`0` → `1` (2)")

equivalent("gpu.2", "the third part is read as true or false", "the result in float64, or whole numbers in float32 in `with_modulo`")


# clinic.110: faster than possible

@right("clinic.110")
def in_a_comprehension(card, launches):
    card.wait()
    started = card.clock
    [launch() for launch in launches]
    card.wait()
    return card.clock-started


@right("clinic.110")
def with_a_negative_start(card, launches):
    card.wait()
    taken = -card.clock
    for launch in launches: launch()
    card.wait()
    return taken+card.clock


@right("clinic.110")
def by_a_number_that_waits(card, launches):
    "`item` of something small waits for all that was launched before"
    card.launch(0.).item()
    started = card.clock
    for number in range(len(launches)): launches[number]()
    card.wait()
    return card.clock-started


# clinic.111: a card that is never ahead

@right("clinic.111")
def with_a_loop_over_pairs(card, batches, step):
    pending = [None]*len(batches)
    for place, batch in enumerate(batches):
        card.work(2.)
        pending[place] = step(batch)
    card.wait()
    return [each.value for each in pending]


@right("clinic.111")
def in_a_dictionary(card, batches, step):
    pending = {}
    for place, batch in enumerate(batches):
        card.work(2.)
        pending[place] = step(batch)
    card.wait()
    return [pending[place].value for place in sorted(pending)]


@right("clinic.111")
def as_a_comprehension(card, batches, step):
    def prepared(batch):
        card.work(2.)
        return step(batch)
    pending = list(map(prepared, batches))
    card.wait()
    return list(map(lambda each: each.value, pending))


equivalent("clinic.111", "the next batch may be prepared before its step or right behind the last: the card works meanwhile", "`card.work(2.0)` after `losses.append(step(batch))`")
