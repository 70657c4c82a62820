"""Further answers to the exercises of chapter 16b."""
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 16b.1: AdaIN


@right("style.1")
def by_moments(content, style):
    flat, other = content.flatten(2), style.flatten(2)
    standard = (flat-flat.mean(2, keepdim=True))/(flat.std(2, keepdim=True)+1e-5)
    return (standard*other.std(2, keepdim=True)+other.mean(2, keepdim=True)).view_as(content)


@right("style.1")
def map_by_map(content, style):
    new = torch.empty_like(content)
    for i in range(content.shape[0]):
        for j in range(content.shape[1]):
            a, b = content[i, j], style[i, j]
            new[i, j] = (a-a.mean())/(a.std()+1e-5)*b.std() + b.mean()
    return new


@right("style.1")
def with_var_mean(content, style):
    var, mean = torch.var_mean(content, dim=(2, 3), keepdim=True)
    new_var, new_mean = torch.var_mean(style, dim=(-2, -1), keepdim=True)
    return torch.addcmul(new_mean, content-mean, new_var.sqrt()/(var.sqrt()+1e-5))


@right("style.1")
def in_double(content, style): return by_moments(content.double(), style.double())


@wrong("style.1", never="batch norm")
def half_of_it(content, style): return (content+by_moments(content, style))/2


@wrong("style.1", never="exchanged")
def the_style_itself(content, style): return style.clone()


@wrong("style.1", never="instance norm")
def means_forgotten(content, style): return by_moments(content, style)-style.mean(dim=(2, 3), keepdim=True)+1


@wrong("style.1", never="variance")
def with_medians(content, style): return by_moments(content, style)+style.flatten(2).median(2).values[..., None, None]-style.mean(dim=(2, 3), keepdim=True)


equivalent("style.1", "maps in double precision are the same maps", "…the result in float64, or whole numbers in float32", "`style.double()` → `style` in `in_double`")
equivalent("style.1", "the goals of the descent need no gradient", "… detached", "…everything under `no_grad`")

# 16b.2: Gram matrices


@right("style.2")
def by_einsum(maps): return torch.einsum("bihw,bjhw->bij", maps, maps)/maps[0, 0].numel()


@right("style.2")
def by_bmm(maps):
    b, c, h, w = maps.shape
    flat = maps.reshape(b, c, h*w)
    return torch.bmm(flat, flat.mT).div(h*w)


@right("style.2")
def entry_by_entry(maps):
    count = maps.shape[1]
    return torch.stack([torch.stack([(maps[:, i]*maps[:, j]).mean(dim=(1, 2)) for j in range(count)], dim=1) for i in range(count)], dim=1)


@right("style.2")
def from_the_covariance(maps):
    flat = maps.double().flatten(2)
    return torch.stack([torch.cov(each, correction=0)+torch.outer(each.mean(1), each.mean(1)) for each in flat])


@wrong("style.2", never="Without the means")
def correlations(maps): return torch.stack([torch.corrcoef(each.flatten(1)) for each in maps])


@wrong("style.2", never="sum over the places")
def divided_twice(maps): return by_einsum(maps)/maps[0, 0].numel()


@wrong("style.2", says="shape", never="of places")
def the_diagonal(maps): return maps.square().mean(dim=(2, 3))


@wrong("style.2", never="whole batch")
def of_the_first(maps): return by_einsum(maps[:1]).expand(len(maps), -1, -1)+1


equivalent("style.2", "sums in double precision are the same sums", "…the result in float64, or whole numbers in float32")

# 16b.3: how much is kept

right("style.3", 820)
right("style.3", 820.)
right("style.3", torch.tensor(820))
right("style.3", np.int64(820))
wrong("style.3", 1600, says="symmetric")
wrong("style.3", 780, says="diagonal")
wrong("style.3", 800, says="diagonal")
wrong("style.3", 10240, says="values")
wrong("style.3", 40, says="not the answer")
wrong("style.3", 821, says="not the answer")

# 16b.4: what AdaIN fixes

right("style.4", 10)
right("style.4", 10.)
right("style.4", torch.tensor(10.))
wrong("style.4", 9, says="variance")
wrong("style.4", 4, says="square")
wrong("style.4", 8, says="positive")
wrong("style.4", 2, says="no mean of squares")
wrong("style.4", -1, says="not the answer")
wrong("style.4", 100, says="not the answer")

# Case 85: the chessboard


@right("clinic.85")
def by_repeating(x, weight):
    large = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(F.pad(large, (1, 1, 1, 1), "replicate"), weight)


@right("clinic.85")
def as_a_layer(x, weight):
    layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode="replicate", bias=False)
    layer.weight.data.copy_(weight)
    return layer(torch.nn.Upsample(scale_factor=2)(x)).detach()


@right("clinic.85")
def with_unfold(x, weight):
    large = F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), (1,)*4, mode="replicate")
    return torch.einsum("bkn,dk->bdn", F.unfold(large, 3), weight.flatten(1)).view(len(x), len(weight), 2*x.shape[2], 2*x.shape[3])


@right("clinic.85")
def reflected(x, weight): return F.conv2d(F.pad(F.interpolate(x, scale_factor=2), (1,)*4, mode="reflect"), weight)


@wrong("clinic.85", never="still the patient")
def upside_down(x, weight): return by_repeating(x, weight.flip(2, 3))


@wrong("clinic.85", never="bilinear")
def four_times_as_large(x, weight): return by_repeating(by_repeating(x, weight)[:, :1].expand(-1, x.shape[1], -1, -1), weight)


equivalent("clinic.85", "a picture in double precision is the same picture", "…the result in float64, or whole numbers in float32")
equivalent("clinic.85", "the question is about the picture; nobody trains these weights here", "… detached", "…everything under `no_grad`")

# Case 88: left and right are neighbours


@right("clinic.88")
def by_diff(images): return sum(images.diff(dim=axis).pow(2).mean() for axis in (2, 3))


@right("clinic.88")
def by_losses(images): return F.mse_loss(images[..., 1:], images[..., :-1]) + F.mse_loss(images[..., 1:, :], images[..., :-1, :])


@right("clinic.88")
def rolled_and_cut(images):
    across, down = images-images.roll(1, 3), images-images.roll(1, 2)
    return across[..., 1:].double().square().mean() + down[..., 1:, :].double().square().mean()


@wrong("clinic.88", never="still the patient")
def wrapped_across_only(images): return (images-images.roll(1, 3)).square().mean() + images.diff(dim=2).square().mean()


@wrong("clinic.88", never="Absolute")
def roots(images): return sum(images.diff(dim=axis).square().mean().sqrt() for axis in (2, 3))


@wrong("clinic.88", says="shape")
def for_each_picture(images): return sum(images.diff(dim=axis).square().mean(dim=(1, 2, 3)) for axis in (2, 3))


@wrong("clinic.88", never="zeros was put")
def two_apart(images): return (images[..., 2:]-images[..., :-2]).square().mean() + (images[..., 2:, :]-images[..., :-2, :]).square().mean()


equivalent("clinic.88", "roughness in double precision is the same roughness", "…the result in float64, or whole numbers in float32")
equivalent("clinic.88", "the question is about the picture; no gradient is asked here", "… detached", "…everything under `no_grad`")
equivalent("clinic.88", "a square has no sign", "`images[..., 1:] - images[..., :-1]` → `images[..., :-1] - images[..., 1:]`", "`images[..., 1:, :] - images[..., :-1, :]` → `images[..., :-1, :] - images[..., 1:, :]`",
           "`F.mse_loss(images[..., 1:], images[..., :-1])` → `F.mse_loss(images[..., :-1], images[..., 1:])` in `by_losses`")
