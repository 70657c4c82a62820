"""Further answers to the exercises of chapter 11b."""
import torch
from answers import equivalent, right, wrong

# 11b.1: guidance


@right("diffusion.1")
def as_a_weighted_sum(network, x, t, labels, any_class, scale):
    everything = network(x, t, labels*0+any_class)
    return scale*network(x, t, labels) + (1-scale)*everything


@right("diffusion.1")
def in_one_call(network, x, t, labels, any_class, scale):
    both = network(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([labels, torch.full_like(labels, any_class)]))
    asked, everything = both.chunk(2)
    return everything.lerp(asked, scale)


@right("diffusion.1")
def with_names(network, x, t, labels, any_class, scale):
    nothing = torch.tensor([any_class]*len(labels))
    base = network(x, t, nothing)
    direction = network(x, t, labels)-base
    return base.add(direction, alpha=scale)


@wrong("diffusion.1", says="sign")
def backwards(network, x, t, labels, any_class, scale):
    everything = network(x, t, torch.full_like(labels, any_class))
    return everything - scale*(network(x, t, labels)-everything)


@wrong("diffusion.1", says="counts from 0")
def as_in_the_paper(network, x, t, labels, any_class, scale):
    asked = network(x, t, labels)
    return (1+scale)*asked - scale*network(x, t, torch.full_like(labels, any_class))


@wrong("diffusion.1", never="sign")
def first_class_for_any(network, x, t, labels, any_class, scale):
    everything = network(x, t, torch.zeros_like(labels))
    return everything + scale*(network(x, t, labels)-everything)


@wrong("diffusion.1", never="exchanged")
def mean_of_both(network, x, t, labels, any_class, scale): return (network(x, t, labels)+network(x, t, torch.full_like(labels, any_class)))/2


equivalent("diffusion.1", "sampling asks for no gradient", "… detached")
equivalent("diffusion.1", "a prediction in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# 11b.2 and 11b.3: numbers

right("diffusion.2", (4/7)**0.5)
right("diffusion.2", 0.756)
right("diffusion.2", 0.7559)
wrong("diffusion.2", 0.571, says="variance")
wrong("diffusion.2", 0.7071, says="alone")
wrong("diffusion.2", 1, says="class itself")
wrong("diffusion.2", 0.5, never="variance")
right("diffusion.3", 2/3)
right("diffusion.3", 0.667)
right("diffusion.3", 0.6667)
wrong("diffusion.3", 0.5, says="clearer")
wrong("diffusion.3", 1/3, says="other way round")
wrong("diffusion.3", 0.8, says="standard deviation")
wrong("diffusion.3", 0.9, never="clearer")

# 11b.4: the contest


@right("diffusion.4")
def with_a_list(velocity, x):
    seen = []
    for k in range(8):
        seen.append(velocity(x, torch.tensor(k/8)))
        x = x + (seen[-1] if k == 0 else (3*seen[-1]-seen[-2])/2)*0.125
    return x


@right("diffusion.4")
def uneven_steps(velocity, x):
    times = [(k/8)**1.3 for k in range(9)]
    before = None
    for k in range(8):
        step, now = times[k+1]-times[k], velocity(x, times[k])
        slope = now if before is None else now + (now-before)*step/(2*(times[k]-times[k-1]))
        x, before = x + step*slope, now
    return x


@right("diffusion.4")
def under_no_grad(velocity, x):
    with torch.no_grad():
        old, t = velocity(x, 0.), 0.125
        x = x + old*0.125
        while t < 0.999:
            new = velocity(x, t)
            x, old, t = x + 0.125*(new + 0.5*(new-old)), new, t+0.125
    return x


@wrong("diffusion.4", says="are allowed", never="Euler")
def nine_calls(velocity, x):
    for k in range(9): x = x + velocity(x, k/9)/9
    return x


@wrong("diffusion.4", says="FID is")
def four_steps(velocity, x):
    for k in range(4): x = x + velocity(x, k/4)/4
    return x


@wrong("diffusion.4", says="pictures")
def flat(velocity, x): return (x + velocity(x, 0.)).flatten(1)


equivalent("diffusion.4", "any sampler that is good enough is right, and these are", "`8` → `9` (3)", "`(k / 8) ** 1.3` → `k / 8` in `uneven_steps`", "`2` → `3` in `uneven_steps`",
           "`0.5` → `1.0` in `under_no_grad`", "`x + old * 0.125` → `x` in `under_no_grad`")
equivalent("diffusion.4", "the contest itself runs without gradients, and puts their mode back", "gradients are left switched off", "gradients are left switched off in `with_a_list`",
           "without `with torch.no_grad():` in `under_no_grad`")
equivalent("diffusion.4", "sampling asks for no gradient", "… detached")
equivalent("diffusion.4", "pictures in double precision are the same pictures", "…the result in float64, or whole numbers in float32")

# Case 61: the average that was none


@right("clinic.61")
@torch.no_grad()
def with_mul_and_add(average, network, decay):
    for mean, now in zip(average.parameters(), network.parameters()): mean.mul_(decay).add_(now, alpha=1-decay)
    for kept, now in zip(average.buffers(), network.buffers()): kept.copy_(now)


@right("clinic.61")
def with_state_dicts(average, network, decay):
    buffers, now = {name for name, _ in network.named_buffers()}, network.state_dict()
    average.load_state_dict({name: now[name] if name in buffers else decay*value+(1-decay)*now[name] for name, value in average.state_dict().items()})


@right("clinic.61")
def with_data(average, network, decay):
    named = dict(network.named_parameters())
    for name, mean in average.named_parameters(): mean.data = decay*mean.data + (1-decay)*named[name].data
    for (_, kept), (_, now) in zip(average.named_buffers(), network.named_buffers()): kept.data.copy_(now.data)


@wrong("clinic.61", says="exchanged")
def other_shares(average, network, decay): with_mul_and_add(average, network, 1-decay)


@wrong("clinic.61", says="buffers were forgotten")
@torch.no_grad()
def parameters_only(average, network, decay):
    for mean, now in zip(average.parameters(), network.parameters()): mean.copy_(decay*mean+(1-decay)*now)


@wrong("clinic.61", says="copies the weights")
def a_copy(average, network, decay): average.load_state_dict(network.state_dict())


@wrong("clinic.61", never="exchanged")
@torch.no_grad()
def added_up(average, network, decay):
    for mean, now in zip(average.parameters(), network.parameters()): mean.add_(now, alpha=1-decay)
    for kept, now in zip(average.buffers(), network.buffers()): kept.copy_(now)


equivalent("clinic.61", "to copy twice is to copy", "the last one twice: `for kept, now in zip(average.buffers(), network.buffers()):`")
equivalent("clinic.61", "it is without gradients already", "everything under `no_grad`", "everything under `no_grad` in `with_state_dicts`", "`kept.data` → `kept` in `with_data`")
equivalent("clinic.61", "weights are moved without gradients, whatever is cut", "… detached")

# Case 62: other pictures every time


@right("clinic.62")
@torch.no_grad()
def with_try(network, x, t, labels):
    mode = network.training
    network.train(False)
    try: return network(x, t, labels)
    finally: network.train(mode)


@right("clinic.62")
def on_a_copy_62(network, x, t, labels):
    import copy
    with torch.no_grad(): return copy.deepcopy(network).eval()(x, t, labels)


@right("clinic.62")
def with_two_branches(network, x, t, labels):
    if not network.training:
        with torch.no_grad(): return network(x, t, labels)
    network.eval()
    with torch.inference_mode(): answer = network(x, t, labels)
    network.train()
    return answer.clone()


@wrong("clinic.62", says="stays in evaluation mode")
def stays(network, x, t, labels):
    with torch.no_grad(): return network.eval()(x, t, labels)


@wrong("clinic.62", says="still the patient")
def asks_twice(network, x, t, labels):
    with torch.no_grad(): return (network(x, t, labels)+network(x, t, labels))/2


@wrong("clinic.62", says="gradients")
def with_gradients(network, x, t, labels):
    mode = network.training
    answer = network.eval()(x, t, labels)
    network.train(mode)
    return answer


equivalent("clinic.62", "sampling asks for no gradient", "… detached")
equivalent("clinic.62", "an answer in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")
equivalent("clinic.62", "where nothing is recorded, cutting changes nothing", "the result is detached", "everything under `no_grad`", "everything under `no_grad` in `with_two_branches`")

# Case 63: step 500 of 1,000


@right("clinic.63")
def of_the_rest(step, last=1000): return (last-step)/last


@right("clinic.63")
def in_floats(step, last=1000): return 1. - step.float()/float(last)


@right("clinic.63")
def with_true_divide(step, last=1000): return torch.true_divide(last-step, last)


@wrong("clinic.63", says="direction")
def not_turned(step, last=1000): return step.float()/last


@wrong("clinic.63", says="counts up to")
def not_divided(step, last=1000): return (last-step)*1.


@wrong("clinic.63", never="direction")
def squared(step, last=1000): return (1-step/last)**2


equivalent("clinic.63", "a division makes floats of whole numbers by itself", "`step.float()` → `step` in `in_floats`")
equivalent("clinic.63", "times are numbers, and no gradient is asked of them", "… detached")
equivalent("clinic.63", "times in double precision are the same times", "…the result in float64, or whole numbers in float32")
