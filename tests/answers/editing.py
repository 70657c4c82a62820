"""Further answers to the exercises of chapter 16a."""
import math
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 16a.1: a step back


@right("editing.1")
def with_numbers(x, s, t, noise):
    old = t/s*(1-s)
    return x*(t/s) + noise*math.sqrt((1-t)**2-old**2)


@right("editing.1")
def by_factors(x, s, t, noise):
    old, wanted = t*(1-s)/s, 1-t
    return torch.add(x*t/s, noise, alpha=((wanted-old)*(wanted+old))**0.5)


@right("editing.1")
def in_double_precision(x, s, t, noise): return (t*x.double()/s + max(0, (1-t)**2-(t-t*s)**2/s**2)**0.5*noise.double())


@right("editing.1")
def with_tensors(x, s, t, noise):
    s, t = torch.tensor(s, dtype=torch.double), torch.tensor(t, dtype=torch.double)
    return (t/s).float()*x + ((1-t).square()-(t/s-t).square()).clamp(min=0).sqrt().float()*noise


@wrong("editing.1", never="deviations do not add up")
def noise_subtracted(x, s, t, noise): return by_factors(x, s, t, -noise)


@wrong("editing.1", never="some was in x already")
def the_data_alone(x, s, t, noise): return t/s*x


@wrong("editing.1", never="multiply x by t/s")
def times_exchanged(x, s, t, noise): return s/t*x + abs((1-s)**2-(s/t*(1-t))**2)**0.5*noise


@wrong("editing.1", says="shape", never="root")
def the_mean_of_it(x, s, t, noise): return by_factors(x, s, t, noise).mean()


@wrong("editing.1", never="mixes as if x were data")
def circular(x, s, t, noise): return t/s*x + math.sqrt(1-(t/s)**2)*noise


equivalent("editing.1", "a sampler takes this step without gradients", "… detached", "…everything under `no_grad`")
equivalent("editing.1", "noise in double precision is the same noise", "…the result in float64, or whole numbers in float32")

# 16a.2: the mean of salt and pepper

right("editing.2", -0.7)
right("editing.2", -0.6999)
right("editing.2", torch.tensor(-0.7))
right("editing.2", np.float64(0.7*-1+0.15-0.15))
wrong("editing.2", -1, says="median")
wrong("editing.2", -0.55, says="15 percent are white")
wrong("editing.2", 0.7, says="sign")
wrong("editing.2", -0.85, says="not the answer")
wrong("editing.2", 0.15, says="not the answer")
wrong("editing.2", float("nan"), says="NaN")

# 16a.3: what a sample costs

right("editing.3", 3.01)
right("editing.3", 10*math.log10(2))
right("editing.3", torch.tensor(3.0103))
wrong("editing.3", 3, says="not the answer")
wrong("editing.3", 6.02, says="amplitudes")
wrong("editing.3", 1.505, says="half a logarithm")
wrong("editing.3", 2, says="factor is right")
wrong("editing.3", 0.5, says="not the answer")
wrong("editing.3", -3.01, says="positive")

# 16a.4: exactly what was seen


@right("editing.4")
def by_repeating(made, small, factor):
    missing = small-F.avg_pool2d(made, factor)
    return made + missing.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


@right("editing.4")
def block_by_block(made, small, factor):
    new = made.clone()
    for i in range(small.shape[2]):
        for j in range(small.shape[3]):
            place = (..., slice(i*factor, (i+1)*factor), slice(j*factor, (j+1)*factor))
            new[place] += (small[..., i, j]-made[place].mean(dim=(2, 3)))[..., None, None]
    return new


@right("editing.4")
def means_exchanged(made, small, factor):
    b, c, h, w = small.shape
    blocks = made.view(b, c, h, factor, w, factor)
    return (blocks-blocks.mean(dim=(3, 5), keepdim=True)+small[:, :, :, None, :, None]).reshape(made.shape)


@right("editing.4")
def with_the_transposed_operator(made, small, factor):
    ones = torch.ones(made.shape[1], 1, factor, factor)
    return made + F.conv_transpose2d(small-F.avg_pool2d(made, factor), ones, stride=factor, groups=made.shape[1])


@wrong("editing.4", says="changed")
def writes_into_made(made, small, factor):
    made.copy_(by_repeating(made, small, factor))
    return made.clone()


@wrong("editing.4", never="blocks")
def untouched(made, small, factor): return made.clone()


@wrong("editing.4", says="shape")
def only_small(made, small, factor): return F.avg_pool2d(made, factor)


@wrong("editing.4", never="not the least change")
def clamped(made, small, factor): return by_repeating(made, small, factor).clamp(-1, 1)


@wrong("editing.4", never="sign")
def only_the_change(made, small, factor): return by_repeating(made, small, factor)-made


equivalent("editing.4", "pictures are corrected after they are made, without gradients", "… detached", "…everything under `no_grad`")
equivalent("editing.4", "a picture in double precision is the same picture", "…the result in float64, or whole numbers in float32")

# Case 86: six decibels for nothing


@right("clinic.86")
def from_the_root(made, truth, low, high):
    root = (made-truth).square().mean(dim=(1, 2, 3)).sqrt()
    return 20*torch.log10((high-low)/root)


@right("clinic.86")
def with_natural_logarithms(made, truth, low, high):
    return torch.stack([10/math.log(10)*(2*math.log(high-low)-(a-b).pow(2).mean().log()) for a, b in zip(made, truth)])


@right("clinic.86")
def scaled_to_one(made, truth, low, high):
    a, b = ((images.double()-low)/(high-low) for images in (made, truth))
    return -10*(a-b).square().flatten(1).mean(1).log10()


@wrong("clinic.86", never="brightest pixel")
def the_largest_of_all(made, truth, low, high): return 10*torch.log10(truth.max()**2/(made-truth).square().mean(dim=(1, 2, 3)))


@wrong("clinic.86", says="shape")
def for_each_channel(made, truth, low, high): return 10*torch.log10((high-low)**2/(made-truth).square().mean(dim=(2, 3)))


@wrong("clinic.86", never="One number for the whole batch")
def the_mean_repeated(made, truth, low, high): return scaled_to_one(made, truth, low, high).mean().expand(len(made)) + 1


equivalent("clinic.86", "a measure is not differentiated", "… detached", "…everything under `no_grad`")
equivalent("clinic.86", "decibels in double precision are the same decibels", "…the result in float64, or whole numbers in float32")

# Case 87: the target with a hole


@right("clinic.87")
def with_a_clone(images, known):
    seen = images.clone()
    seen[~known] = 0
    return torch.cat([seen, known[:, 0:1].float()], 1), images


@right("clinic.87")
def with_masked_fill(images, known):
    return [torch.cat((images.masked_fill(known.logical_not(), 0.), known.any(dim=1, keepdim=True)*1.), dim=1), images.clone()]


@right("clinic.87")
def as_a_product(images, known):
    out = torch.empty(len(images), images.shape[1]+1, *images.shape[2:])
    out[:, :-1], out[:, -1] = images*known, known[:, 0]
    return out, images


@wrong("clinic.87", says="changes what it was given")
def in_place_after_a_copy(images, known):
    whole = images.clone()
    images[~known] = 0
    return torch.cat([images, known[:, :1].float()], dim=1), whole


@wrong("clinic.87", never="changed")
def filled_with_black(images, known):
    return torch.cat([images.masked_fill(~known, -1.), known[:, :1].float()], dim=1), images


@wrong("clinic.87", never="wrong way round")
def the_mask_first(images, known): return torch.cat([known[:, :1].float(), images*known], dim=1), images


@wrong("clinic.87", never="not holed")
def exchanged(images, known): return images, as_a_product(images, known)[0]


equivalent("clinic.87", "pictures are data, and no gradient is asked of them", "… detached", "…everything under `no_grad`")
equivalent("clinic.87", "a target in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")
