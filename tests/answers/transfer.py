"""Further answers to the exercises of chapter 12b."""
import itertools
import numpy as np
import torch
from answers import equivalent, right, wrong
from genesis_course.exercises.transfer import freeze_body, two_stages
from genesis_course.pretrained import Standardise
from genesis_course.transfer import freeze
from torch import nn
from torch.nn import functional as F

# 1: a rate for each depth

@right("transfer.1")
def from_the_end(count, lr, factor):
    found = [lr]
    while len(found) < count: found.insert(0, found[0]/factor)
    return found


@right("transfer.1")
def as_a_tensor(count, lr, factor): return lr*torch.tensor(factor, dtype=torch.float64)**torch.arange(1-count, 1)


@right("transfer.1")
def as_a_tuple(count, lr, factor): return tuple(lr*factor**(k+1-count) for k in range(count))


@right("transfer.1")
def on_a_logarithmic_scale(count, lr, factor): return np.geomspace(lr/factor**(count-1), lr, count)


@wrong("transfer.1", says="order is turned round")
def from_the_head(count, lr, factor): return [lr/factor**k for k in range(count)]


@wrong("transfer.1", says="a power, not a multiple")
def by_multiples(count, lr, factor): return [lr/max(1., k*factor) for k in range(count-1, -1, -1)]


@wrong("transfer.1", never="turned round")
def one_too_many(count, lr, factor): return [lr/factor**k for k in range(count, -1, -1)]


@wrong("transfer.1", never="one division too small")
def by_a_constant_factor(count, lr, factor): return [lr/2.6**(count-1-k) for k in range(count)]


# 2: who is awake

@right("transfer.2")
def by_place(names, step, every): return [name for place, name in enumerate(names) if len(names)-place <= 1+step//every]


@right("transfer.2")
def by_a_slice(names, step, every): return names[max(0, len(names)-1-step//every):]


@right("transfer.2")
def one_after_another(names, step, every):
    awake, asleep = [names[-1]], list(names[:-1])
    while asleep and step >= every:
        awake.insert(0, asleep.pop())
        step -= every
    return awake


@right("transfer.2")
def turned_twice(names, step, every): return tuple(reversed([*itertools.islice(reversed(names), step//every+1)]))


@wrong("transfer.2", says="It changes what it was given: `names`", never="cut off")
def turned_in_place(names, step, every):
    names.reverse()
    return names[:1+step//every][::-1]


@wrong("transfer.2", says="It changes what it was given: `names`")
def shortened_in_place(names, step, every):
    while len(names) > 1+step//every: names.pop(0)
    return names


@wrong("transfer.2", says="wrong order")
def from_the_head_on(names, step, every): return names[::-1][:1+step//every]


@wrong("transfer.2", says="from the input on")
def input_first(names, step, every): return [name for place, name in enumerate(names) if place <= step//every]


@wrong("transfer.2", says="for 4 parts", never="wrong order")
def one_too_soon(names, step, every): return names[max(0, len(names)-2-step//every):]


equivalent("transfer.2", "counted from the end or from the start, it is the same place", "`len(names) - count` → `-count`")


# 3: an adapter

@right("transfer.3")
def with_layers(x, W, A, B, alpha): return F.linear(x, W)+F.linear(F.linear(x, A), B)*(alpha/A.shape[0])


@right("transfer.3")
def by_einsum(x, W, A, B, alpha):
    inside = torch.einsum("nk,rk->nr", x, A)*alpha/B.shape[1]
    return torch.einsum("nk,dk->nd", x, W)+torch.einsum("nr,dr->nd", inside, B)


@right("transfer.3")
def rank_by_rank(x, W, A, B, alpha):
    return x @ W.T+sum(torch.outer(x @ A[k], B[:, k])*alpha/len(A) for k in range(len(A)))


@right("transfer.3")
def written_as_columns(x, W, A, B, alpha): return torch.addmm(x @ W.mT, x @ A.mT, B.mT, alpha=alpha/len(A))


@wrong("transfer.3", says="second matrix")
def multiplied_out(x, W, A, B, alpha): return x @ W.T+alpha/len(A)*(x @ (B @ A).T)


@wrong("transfer.3", says="second matrix")
def from_the_right(x, W, A, B, alpha): return x @ W.T+alpha/len(A)*x @ (A.T @ B.T)


@wrong("transfer.3", says="It changes what it was given: `B`")
def scales_in_place(x, W, A, B, alpha):
    B.data *= alpha/len(A)
    return x @ W.T+(x @ A.T) @ B.T


@wrong("transfer.3", says="cuts the gradient")
def under_no_grad(x, W, A, B, alpha):
    with torch.no_grad(): return F.linear(x, W)+F.linear(F.linear(x, A), B)*(alpha/A.shape[0])


@wrong("transfer.3", says="the gradient of A", never="A and B learn nothing")
def with_a_frozen_A(x, W, A, B, alpha): return x @ W.T+alpha/len(A)*(x @ A.detach().T) @ B.T


@wrong("transfer.3", says="dtype")
def in_single_precision(x, W, A, B, alpha): return (x @ W.T+alpha/len(A)*(x @ A.T) @ B.T).float()


equivalent("transfer.3", "W₀ is frozen, and learns nothing either way", "`W` detached", "`W` detached in `by_einsum`", "`W` detached in `rank_by_rank`")
equivalent("transfer.3", "its shape alone is asked for", "`A` detached", "`A` detached (2) in `with_layers`", "`B` detached in `by_einsum`", "`A` detached (2) in `written_as_columns`")


# 4: which experiment?

right("transfer.4", 2.)
right("transfer.4", torch.tensor(2))
right("transfer.4", np.int64(2))
wrong("transfer.4", 5, says="is not the answer")
wrong("transfer.4", 1.0, says="All layers read more")
wrong("transfer.4", torch.tensor(3), says="compared with")
wrong("transfer.4", [2], says="should be a number")
wrong("transfer.4", "2", says="should be a number")


# 5: a step of rehearsal

@right("transfer.5")
def on_a_joined_batch(body, new_head, old_head, optimizer, new, old):
    seen, before = body(torch.cat([new[0], old[0]])).split([len(new[0]), len(old[0])])
    loss = F.cross_entropy(old_head(before), old[1])+F.cross_entropy(new_head(seen), new[1])
    body.zero_grad()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@right("transfer.5")
def backward_twice(body, new_head, old_head, optimizer, new, old):
    optimizer.zero_grad(set_to_none=False)
    total = 0.
    for head, (x, y) in ((new_head, new), (old_head, old)):
        loss = F.cross_entropy(head(body(x)), y)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


@right("transfer.5")
def from_log_probabilities(body, new_head, old_head, optimizer, new, old):
    loss = sum(F.nll_loss(head(body(x)).log_softmax(dim=1), y) for head, (x, y) in zip((new_head, old_head), (new, old)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@wrong("transfer.5", says="cut off", never="Only the new batch")
def old_ones_under_no_grad(body, new_head, old_head, optimizer, new, old):
    with torch.no_grad(): before = F.cross_entropy(old_head(body(old[0])), old[1])
    loss = F.cross_entropy(new_head(body(new[0])), new[1])+before
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@wrong("transfer.5", says="never cleared")
def cleared_too_late(body, new_head, old_head, optimizer, new, old):
    loss = sum(F.cross_entropy(head(body(x)), y) for head, (x, y) in ((new_head, new), (old_head, old)))
    loss.backward()
    optimizer.step()
    return loss


@wrong("transfer.5", says="Only the new batch")
def fine_tunes(body, new_head, old_head, optimizer, new, old):
    optimizer.zero_grad()
    loss = F.cross_entropy(new_head(body(new[0])), new[1])
    loss.backward()
    optimizer.step()
    return loss


@wrong("transfer.5", says="The old head has moved", never="places")
def moves_the_old_head_too(body, new_head, old_head, optimizer, new, old):
    old_head.zero_grad()
    loss = from_log_probabilities(body, new_head, old_head, optimizer, new, old)
    with torch.no_grad():
        for parameter in old_head.parameters(): parameter -= 0.5*parameter.grad
    return loss


@wrong("transfer.5", says="the losses", never="half the sum")
def returns_the_new_loss_alone(body, new_head, old_head, optimizer, new, old):
    alone = F.cross_entropy(new_head(body(new[0])), new[1]).item()
    from_log_probabilities(body, new_head, old_head, optimizer, new, old)
    return alone


@wrong("transfer.5", says="the body", never="detach")
def with_a_frozen_body(body, new_head, old_head, optimizer, new, old):
    loss = sum(F.cross_entropy(head(body(x).detach()), y) for head, (x, y) in ((new_head, new), (old_head, old)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


equivalent("transfer.5", "images and labels are constants here", "`new` detached", "`old` detached", "`new` detached in `on_a_joined_batch`", "`old` detached in `on_a_joined_batch`",
           "`old` detached (3) in `on_a_joined_batch`")
equivalent("transfer.5", "after the step the loss is a number to report", "the result is detached", "the result in float64, or whole numbers in float32", "`loss.detach()` → `loss` in `from_log_probabilities`",
           "the result is detached in `from_log_probabilities`")
equivalent("transfer.5", "cleared a second time, or to zero or None, gradients are as clear", "without `body.zero_grad()` in `on_a_joined_batch`", "`False` → `True` in `backward_twice`")


# Case 34: frozen layers that move

@right("clinic.34")
def with_the_hook_of_the_chapter(network): freeze(network, "body")


@right("clinic.34")
def in_a_class_of_its_own(network):
    class Still(type(network.body)):
        def train(self, mode=True): return super().train(False)
    network.body.__class__ = Still
    network.body.requires_grad_(False).eval()


@right("clinic.34")
def with_the_norm_written_into_the_layer(network):
    layer, norm, relu = network.body.requires_grad_(False)
    factor = norm.weight/(norm.running_var+norm.eps).sqrt()
    layer.weight *= factor[:, None]
    layer.bias.copy_((layer.bias-norm.running_mean)*factor+norm.bias)
    network.body = nn.Sequential(layer, relu)


@right("clinic.34")
def norms_alone_are_held(network):
    for layer in network.body.modules():
        for parameter in layer.parameters(): parameter.requires_grad = False
        if isinstance(layer, nn.BatchNorm1d):
            layer.eval()
            layer.train = lambda mode=True, layer=layer: layer


@wrong("clinic.34", says="Make it stay")
def for_a_moment(network):
    for parameter in network.body.parameters(): parameter.requires_grad = False
    network.body.train(False)


@wrong("clinic.34", says="This is the patient")
def weights_only(network):
    for parameter in network.body.parameters(): parameter.requires_grad_(False)


@wrong("clinic.34", says="weights of the body learn")
def without_the_underscore(network):
    network.body.requires_grad = False
    network.body.eval()
    network.body.train = lambda mode=True: network.body


@wrong("clinic.34", says="nothing learns at all")
def head_and_all(network):
    freeze_body.solution(network)
    network.head.requires_grad_(False)
    network.eval()
    network.train = lambda mode=True: network


@wrong("clinic.34", never="Make it stay")
def norms_become_nothing(network):
    network.body.requires_grad_(False)
    network.body[1] = nn.Identity()


equivalent("clinic.34", "nobody asks the body for its mode", "`True` → `False`", "`True` → `False` in `in_a_class_of_its_own`")
equivalent("clinic.34", "two switches, in whichever order", "`network.body.requires_grad_(False)` after `network.body.eval()`")
equivalent("clinic.34", "freezing computes nothing that has a gradient", "everything under `no_grad`", "everything under `no_grad` in `in_a_class_of_its_own`", "everything under `no_grad` in `norms_alone_are_held`")
equivalent("clinic.34", "whoever trains calls `train` first", "modules are left in the other mode", "modules are left in the other mode in `in_a_class_of_its_own`")
equivalent("clinic.34", "a hook may be what holds a body, and one that does nothing is no harm", "a hook is left behind")
equivalent("clinic.34", "the last module of this body is a ReLU, which has nothing to hold", "the last one dropped: `for layer in network.body.modules():` in `norms_alone_are_held`")


# Case 35: unfrozen, and never moved

@right("clinic.35")
def from_a_list(network, batches, half):
    batches = list(batches)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    for may_learn, part in ((False, batches[:half]), (True, batches[half:])):
        network.body.requires_grad_(may_learn)
        for x, y in part:
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()


@right("clinic.35")
def with_a_new_optimiser(network, batches, half):
    network.body.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.head.parameters(), lr=0.01, weight_decay=0.1)
    for step, (x, y) in enumerate(batches):
        if step == half:
            network.body.requires_grad_(True)
            optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@right("clinic.35")
def with_another_group(network, batches, half):
    optimizer = torch.optim.AdamW(network.head.parameters(), lr=0.01, weight_decay=0.1)
    network.body.requires_grad_(False)
    for step, (x, y) in enumerate(batches):
        if step == half: optimizer.add_param_group({"params": network.body.requires_grad_(True).parameters()})
        network.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@right("clinic.35")
def with_two_optimisers(network, batches, half):
    head, body = (torch.optim.AdamW(part.parameters(), lr=0.01, weight_decay=0.1) for part in (network.head, network.body))
    for step, (x, y) in enumerate(batches):
        network.zero_grad()
        F.cross_entropy(network(x), y).backward()
        head.step()
        if step >= half: body.step()


@wrong("clinic.35", says="not as AdamW", never="thrown away")
def with_plain_gradient_descent(network, batches, half):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, weight_decay=0.1)
    for step, (x, y) in enumerate(batches):
        network.body.requires_grad_(step >= half)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.35", says="not as AdamW", never="patient")
def with_decay_in_the_gradient(network, batches, half):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=0.1)
    for step, (x, y) in enumerate(batches):
        network.body.requires_grad_(step >= half)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.35", says="cleared before each step")
def never_cleared(network, batches, half):
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    for step, (x, y) in enumerate(batches):
        network.body.requires_grad_(step >= half)
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.35", says="This is the patient")
def of_the_head_alone(network, batches, half):
    optimizer = torch.optim.AdamW(network.head.parameters(), lr=0.01, weight_decay=0.1)
    network.body.requires_grad_(False)
    for step, (x, y) in enumerate(batches):
        if step == half: network.body.requires_grad_(True)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.35", never="patient")
def without_a_step(network, batches, half):
    network.body.requires_grad_(True)
    for x, y in batches: F.cross_entropy(network(x), y).backward()


@wrong("clinic.35", never="thrown away")
def two_steps_a_batch(network, batches, half): two_stages.solution(network, [batch for batch in batches for _ in range(2)], 2*half)


equivalent("clinic.35", "the head's optimiser does not know the body, so it stands still without a gradient's help", "without `network.body.requires_grad_(False)` in `with_another_group`")


# Case 36: a random head shakes the body

@right("clinic.36")
def head_first(network, batches):
    network.body.requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for step, (x, y) in enumerate(batches):
        if step == 30:
            network.body.requires_grad_(True)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@right("clinic.36")
def with_two_optimisers_of_their_own(network, batches):
    head, body = torch.optim.Adam(network.head.parameters(), lr=0.05), torch.optim.Adam(network.body.parameters(), lr=0.002)
    for x, y in list(batches):
        network.zero_grad()
        F.cross_entropy(network(x), y).backward()
        head.step()
        body.step()


@right("clinic.36")
def with_a_rate_that_rises(network, batches):
    optimizer = torch.optim.AdamW([{"params": network.head.parameters()}, {"params": network.body.parameters(), "lr": 0.}], lr=0.03)
    for step, (x, y) in enumerate(batches):
        optimizer.param_groups[1]["lr"] = 0.0001*step
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.36", says="swapped")
def groups_in_the_wrong_order(network, batches):
    optimizer = torch.optim.Adam([{"params": network.body.parameters(), "lr": 0.03}, {"params": network.head.parameters(), "lr": 0.001}])
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.36", says="feature extraction")
def head_alone(network, batches):
    optimizer = torch.optim.Adam(network.head.parameters(), lr=0.03)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.36", says="The head never moved", never="feature extraction")
def body_alone(network, batches):
    optimizer = torch.optim.Adam(network.body.parameters(), lr=0.001)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


@wrong("clinic.36", says="go through all batches", never="feature extraction")
def stops_too_soon(network, batches): head_first(network, itertools.islice(batches, 8))


@right("clinic.36")
def with_gradients_of_two_batches(network, batches):
    optimizer = torch.optim.Adam([{"params": network.body.parameters(), "lr": 0.002}, {"params": network.head.parameters(), "lr": 0.05}])
    for step, (x, y) in enumerate(batches):
        (F.cross_entropy(network(x), y)/2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()


@wrong("clinic.36", says="pile up")
def never_cleared_in_both_groups(network, batches):
    optimizer = torch.optim.Adam([{"params": network.body.parameters(), "lr": 0.001}, {"params": network.head.parameters(), "lr": 0.03}])
    for x, y in batches:
        F.cross_entropy(network(x), y).backward()
        optimizer.step()


OTHER_RATES = "another rate of this size does it, too"
equivalent("clinic.36", OTHER_RATES, "`0.001` → `0.002`", "`0.03` → `0.06`", "`0.002` → `0.004` in `with_two_optimisers_of_their_own`", "`0.0001` → `0.0002` in `with_a_rate_that_rises`",
           "`0.0001 * step` → `0.0001` in `with_a_rate_that_rises`", "`0.003` → `0.006` in `head_first`", "`0.002` → `0.004` in `with_gradients_of_two_batches`")
equivalent("clinic.36", "a batch more or less of sixty makes no difference", "the last one dropped: `for x, y in batches:`", "the last one twice: `for x, y in batches:`",
           "the last one dropped: `for step, (x, y) in enumerate(batches):` in `with_a_rate_that_rises`", "the last one twice: `for step, (x, y) in enumerate(batches):` in `with_a_rate_that_rises`")
equivalent("clinic.36", "two optimisers of different parameters step in whichever order", "`head.step()` after `body.step()` in `with_two_optimisers_of_their_own`")


equivalent("clinic.36", "gradients of one, two or three batches may make a step", "`step % 2` → `step // 2` in `with_gradients_of_two_batches`", "`2` → `1` (2) in `with_gradients_of_two_batches`",
           "the last one twice: `for step, (x, y) in enumerate(batches):` in `with_gradients_of_two_batches`")


# Case 37: other eyes

@right("clinic.37")
def as_a_layer(images, mean, std): return Standardise(mean, std)(images)


@right("clinic.37")
def in_one_step(images, mean, std):
    mean, std = torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)
    return (images+1-2*mean)/(2*std)


@right("clinic.37")
def channel_by_channel(images, mean, std):
    return torch.stack([(channel/2+0.5-m)/s for channel, m, s in zip(images.unbind(1), mean, std)], dim=1)


@right("clinic.37")
def as_a_fixed_batch_norm(images, mean, std):
    return F.batch_norm((images+1)/2, torch.tensor(mean), torch.tensor(std)**2, eps=0.)


@wrong("clinic.37", says="It changes what it was given: `images`")
def in_place(images, mean, std):
    with torch.no_grad(): images.add_(1).div_(2)
    return channel_by_channel(2*images-1, mean, std)


@wrong("clinic.37", says="no gradient comes back")
def without_gradient(images, mean, std):
    with torch.no_grad(): return in_one_step(images, mean, std)


@wrong("clinic.37", says="meet the channels")
def on_the_last_axis(images, mean, std): return (images/2+0.5-torch.tensor(mean))/torch.tensor(std)


@wrong("clinic.37", says="Division comes first")
def without_brackets(images, mean, std):
    mean, std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    return images/2+0.5-mean/std


@wrong("clinic.37", never="not bytes")
def with_halves_forgotten(images, mean, std): return in_one_step(2*images+1, mean, std)


equivalent("clinic.37", "mean and deviation are constants", "`mean` detached", "`std` detached", "`mean` detached (2)", "`std` detached (2)", "`std` detached (2) in `in_one_step`")
equivalent("clinic.37", "here only a maker of tensors like the images is asked for", "`images` detached")
