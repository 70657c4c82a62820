"""Further answers to the exercises of chapter 12a."""
import copy
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 12a.1: how many times fewer

right("imagenet.1", 23.76)
right("imagenet.1", 23.8)
right("imagenet.1", torch.tensor(23.762))
right("imagenet.1", np.float64(480*480*25/(480*25+480*480)))
wrong("imagenet.1", 480, says="depthwise step alone")
wrong("imagenet.1", 25, says="pointwise step alone")
wrong("imagenet.1", 20, says="not the answer")
wrong("imagenet.1", 23, says="not the answer")
wrong("imagenet.1", 24.5, says="not the answer")
wrong("imagenet.1", float("nan"), says="NaN")

# 12a.2: depthwise


@right("imagenet.2")
def with_unfold(x, kernels):
    (B, C, H, W), k = x.shape, kernels.shape[1]
    columns = F.unfold(x, k, padding=k//2).view(B, C, k*k, H*W)
    return (columns*kernels.reshape(1, C, k*k, 1)).sum(2).view(B, C, H, W)


@right("imagenet.2")
def with_sliding_windows(x, kernels):
    k = kernels.shape[-1]
    windows = F.pad(x, [k//2]*4).unfold(2, k, 1).unfold(3, k, 1)
    return torch.einsum("bchwij,cij->bchw", windows, kernels)


@right("imagenet.2")
def with_a_diagonal(x, kernels):
    full = torch.zeros(len(kernels), len(kernels), *kernels.shape[1:])
    for c in range(len(kernels)): full[c, c] = kernels[c]
    return F.conv2d(x, full, padding=kernels.shape[1]//2)


@right("imagenet.2")
def image_by_image(x, kernels):
    out = []
    for image in x: out.append(F.conv2d(image[:, None], kernels[:, None], padding=kernels.shape[2]//2)[range(len(image)), range(len(image))])
    return torch.stack(out)


@wrong("imagenet.2", never="smaller")
def turned_by_ninety(x, kernels): return with_unfold(x, kernels.rot90(1, (1, 2)))


@wrong("imagenet.2", never="first one")
def last_kernel_for_all(x, kernels): return with_unfold(x, kernels[-1:].expand_as(kernels))


@wrong("imagenet.2", never="mean over the window")
def in_a_circle(x, kernels):
    k = kernels.shape[-1]
    return sum(kernels[:, i, j].view(-1, 1, 1)*x.roll((k//2-i, k//2-j), (2, 3)) for i in range(k) for j in range(k))


equivalent("imagenet.2", "images and kernels of an observation carry no gradient", "… detached", "…everything under `no_grad`")
equivalent("imagenet.2", "a result in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")
equivalent("imagenet.2", "a kernel is as high as it is wide", "`-1` → `1`", "`1` → `2`", "`-1` → `1` in `with_sliding_windows`")
equivalent("imagenet.2", "an index written as a tuple is the same index", "`(range(len(image)), range(len(image)))` → `(range(len(image)), range(len(image)))` in `image_by_image`")

# 12a.3: nearest mean


@right("imagenet.3")
def with_scatter(seen, labels, new):
    classes = int(labels.max())+1
    sums = torch.zeros(classes, seen.shape[1]).index_add(0, labels, seen)
    return (new[:, None]-sums/labels.bincount()[:, None]).norm(dim=2).argmin(1)


@right("imagenet.3")
def photo_by_photo(seen, labels, new):
    found = []
    for row in new: found.append(min(range(int(labels.max())+1), key=lambda k: ((seen[labels == k].mean(0)-row)**2).sum().item()))
    return torch.tensor(found)


@right("imagenet.3")
def with_a_bias(seen, labels, new):
    means = torch.stack([seen[labels == k].mean(dim=0) for k in labels.unique()])
    return (new @ means.T - 0.5*means.square().sum(1)).argmax(dim=1)


@wrong("imagenet.3", never="sums")
def with_medians(seen, labels, new):
    return torch.cdist(new, torch.stack([seen[labels == k].median(dim=0).values for k in labels.unique()])).argmin(1)


@wrong("imagenet.3", never="first example")
def the_commonest(seen, labels, new): return labels.bincount().argmax().expand(len(new))


equivalent("imagenet.3", "features of an observation carry no gradient", "… detached", "…everything under `no_grad`")
equivalent("imagenet.3", "classes in another kind of number are the same classes", "…the result in float64, or whole numbers in float32")
equivalent("imagenet.3", "a class without examples has no mean, and is never the nearest", "`1` → `2` in `photo_by_photo`")

# 12a.4: the experiment

right("imagenet.4", 3.)
right("imagenet.4", torch.tensor(3))
right("imagenet.4", np.int64(3))
wrong("imagenet.4", 0, says="not the answer")
wrong("imagenet.4", 2, says="same three photos")

# 12a.5: REPAIR


@right("imagenet.5")
def with_scale_and_shift(first, second, middle):
    scale = (first.std(0)+second.std(0))/(2*middle.std(0))
    return scale*middle + (first.mean(0)+second.mean(0))/2 - scale*middle.mean(0)


@right("imagenet.5")
def unit_by_unit(first, second, middle):
    new = torch.empty_like(middle)
    for k in range(middle.shape[1]):
        a, b, m = first[:, k], second[:, k], middle[:, k]
        new[:, k] = (m-m.mean())*(a.std()+b.std())/2/m.std() + (a.mean()+b.mean())/2
    return new


@right("imagenet.5")
def with_a_batch_norm(first, second, middle):
    return F.batch_norm(middle, None, None, (first.std(0, correction=0)+second.std(0, correction=0))/2, (first.mean(0)+second.mean(0))/2, training=True)


@wrong("imagenet.5", never="mixture")
def statistics_of_one(first, second, middle): return with_scale_and_shift(first, first, middle)


@wrong("imagenet.5", never="divide by 2")
def only_plain(first, second, middle): return (middle-middle.mean(0))/middle.std(0)


equivalent("imagenet.5", "what layers compute carries no gradient in an observation", "… detached", "…everything under `no_grad`")
equivalent("imagenet.5", "a result in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")
equivalent("imagenet.5", "to repair the last unit twice gives it the same mean and spread", "the last one twice: `for k in range(middle.shape[1]):` in `unit_by_unit`")

# Case 73: neighbours


@right("clinic.73")
def in_inference_mode(network, photos):
    was = network.training
    with torch.inference_mode(): seen = [network.eval()(photos[i:i+32]) for i in range(0, len(photos), 32)]
    network.train(was)
    return torch.cat(seen)


@right("clinic.73")
def with_a_copy(network, photos):
    with torch.no_grad():
        twin = copy.copy(network)
        before = network.training
        twin.eval()
        try: return torch.cat([network(part) for part in torch.split(photos, 20)])
        finally: network.train(before)


@right("clinic.73")
@torch.no_grad()
def one_at_a_time(network, photos):
    was = network.training
    network.eval()
    seen = torch.stack([network(photo[None])[0] for photo in photos])
    network.train(was)
    return seen


@wrong("clinic.73", says="training mode")
@torch.no_grad()
def with_train(network, photos):
    was = network.training
    network.train()
    seen = torch.cat([network(part) for part in photos.split(32)])
    network.train(was)
    return seen


@wrong("clinic.73", never="memory")
@torch.no_grad()
def forgets_the_last(network, photos):
    was = network.training
    network.eval()
    seen = torch.cat([network(part) for part in photos[:-1].split(32)])
    network.train(was)
    return seen


equivalent("clinic.73", "no gradient is wanted, so one more way not to have it changes nothing", "… detached", "…everything under `no_grad`")
equivalent("clinic.73", "any piece of at most 32 will do", "`20` → `21` in `with_a_copy`")

# Case 74: overlaps


@right("clinic.74")
def with_a_canvas(train, test, side):
    most = int(torch.cat([train, test]).max())+side
    taken = torch.zeros(most, most, dtype=torch.bool)
    for row, column in train.tolist(): taken[row:row+side, column:column+side] = True
    return torch.tensor([not taken[row:row+side, column:column+side].any() for row, column in test.tolist()])


@right("clinic.74")
def patch_by_patch(train, test, side):
    def meets(a, b): return all(x < y+side and y < x+side for x, y in zip(a, b))
    return torch.tensor([not any(meets(a, b) for b in train.tolist()) for a in test.tolist()])


@right("clinic.74")
def with_chebyshev(train, test, side): return torch.cdist(test.float(), train.float(), p=float("inf")).min(dim=1).values >= side


@wrong("clinic.74", never="straight line")
def with_manhattan(train, test, side): return torch.cdist(test.float(), train.float(), p=1).min(dim=1).values >= side


@wrong("clinic.74", never="other way round")
def rows_only(train, test, side): return ((test[:, None, 0]-train[:, 0]).abs() >= side).all(1)


equivalent("clinic.74", "a distance has no direction", "`test[:, None] - train[None]` → `train[None] - test[:, None]`", "`meets(a, b)` → `meets(b, a)` in `patch_by_patch`")
equivalent("clinic.74", "zeros and ones tell as well as False and True what is taken", "`torch.zeros(most, most, dtype=torch.bool)` → `torch.zeros(most, most)` in `with_a_canvas`")

# Case 75: weights


@right("clinic.75")
def with_a_copy_of_the_state(network, weights, new=()):
    own = network.state_dict()
    def kept(name): return any(name.startswith(word) for word in new)
    there = {name[7:] if name.startswith("module.") else name: value for name, value in weights.items()}
    if {name for name in there if not kept(name)} != {name for name in own if not kept(name)}: raise ValueError("these weights do not fit")
    network.load_state_dict({name: value if kept(name) else there[name] for name, value in own.items()})
    return network


@right("clinic.75")
def tensor_by_tensor(network, weights, new=()):
    new, own = tuple(new), network.state_dict()
    there = {}
    for name, value in weights.items():
        name = name.removeprefix("module.")
        if name.startswith(new): continue
        if name not in own: raise ValueError(f"{name} is left over")
        there[name] = value
    for name in own:
        if name not in there and not name.startswith(new): raise ValueError(f"{name} is missing")
    with torch.no_grad():
        for name, value in there.items(): own[name].copy_(value)
    return network


@right("clinic.75")
def with_what_loading_returns(network, weights, new=()):
    new = tuple(new)
    there = {name.removeprefix("module."): value for name, value in weights.items()}
    there = {name: value for name, value in there.items() if not name.startswith(new)}
    missing, unexpected = copy.deepcopy(network).load_state_dict(there, strict=False)
    if unexpected or [name for name in missing if not name.startswith(new)]: raise ValueError("names differ")
    network.load_state_dict(there, strict=False)
    return network


@wrong("clinic.75", never="`module.` in front")
def always_refuses(network, weights, new=()): raise ValueError("no")


@wrong("clinic.75", never="too late")
def loads_nothing(network, weights, new=()): return network


equivalent("clinic.75", "weights are copied without any gradient", "… detached", "…everything under `no_grad`")
equivalent("clinic.75", "in the check `new` is a tuple already", "without `new = tuple(new)` in `with_what_loading_returns`")
