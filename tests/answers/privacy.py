"""Further answers to the exercises of chapter 25a."""
import torch
from answers import equivalent, right, wrong
from genesis_course.data import first_copy

# 25a.1: found at a fixed price


@right("privacy.1")
def with_topk(inside, outside, rate):
    allowed = int(rate*len(outside) + 1e-9)
    return (inside > outside.topk(allowed+1).values.min()).float().mean()


@right("privacy.1")
def with_kthvalue(inside, outside, rate):
    threshold = outside.kthvalue(len(outside)-int(rate*len(outside) + 1e-9)).values
    return sum(bool(score > threshold) for score in inside)/len(inside)


@right("privacy.1")
def by_trying_every_threshold(inside, outside, rate):
    fits = [t for t in outside if (outside > t).sum() <= rate*len(outside) + 1e-9]
    return (inside > min(fits)).double().mean().item()


@wrong("privacy.1", says="quantile", never="sorted upwards")
def by_quantile(inside, outside, rate): return (inside > outside.quantile(1-rate)).double().mean().item()


@wrong("privacy.1", says="set by the members")
def from_the_members(inside, outside, rate): return (inside > inside.sort(descending=True).values[int(rate*len(inside) + 1e-9)]).double().mean()


@wrong("privacy.1", never="set by the members")
def a_fixed_threshold(inside, outside, rate): return (inside > 1.5).double().mean()


# 25a.2: members among the accused

right("privacy.2", 0.2)
right("privacy.2", 12/61)
right("privacy.2", torch.tensor(0.1967))
wrong("privacy.2", 0.12, says="members that are found")
wrong("privacy.2", 19.7, says="not the answer")
wrong("privacy.2", 0.5, says="not the answer")

# 25a.3: clip, sum, noise


@right("privacy.3")
def with_minimum(gradients, clip, sigma, noise, expected):
    length = gradients.square().sum(dim=1).sqrt()
    factor = torch.where(length > clip, clip/length, torch.ones_like(length))
    return (factor @ gradients + sigma*clip*noise)/expected


@right("privacy.3")
def with_renorm(gradients, clip, sigma, noise, expected):
    clipped = torch.renorm(gradients, p=2, dim=0, maxnorm=clip) if len(gradients) else gradients
    return clipped.sum(dim=0)/expected + noise*(sigma*clip/expected)


@right("privacy.3")
def row_by_row(gradients, clip, sigma, noise, expected):
    total = sigma*clip*noise
    for row in gradients:
        length = float(row.norm())
        total = total + (row if length <= clip else row*(clip/length))
    return total/expected


@wrong("privacy.3", says="Each number is clipped")
def number_by_number(gradients, clip, sigma, noise, expected): return (gradients.clamp(-clip, clip).sum(0) + sigma*clip*noise)/expected


@wrong("privacy.3", never="Nothing is clipped")
def long_from_1_on(gradients, clip, sigma, noise, expected):
    return ((gradients*clip/gradients.norm(dim=1, keepdim=True).clamp(min=1)).sum(0) + sigma*clip*noise)/expected


@wrong("privacy.3", never="Nothing is clipped")
def without_noise(gradients, clip, sigma, noise, expected): return with_minimum(gradients, clip, 0., noise, expected)


@wrong("privacy.3", never="after the division")
def a_mean_of_the_noise(gradients, clip, sigma, noise, expected): return with_minimum(gradients, clip, sigma, noise.mean(), expected)


# 25a.4: once

right("privacy.4", 0.08)
right("privacy.4", 20/256)
wrong("privacy.4", 2, says="exponent")
wrong("privacy.4", 1.25, says="a = 1")
wrong("privacy.4", 0.5, says="not the answer")

# Case 107: an attack that needs no model


@right("clinic.107")
def by_contents(images, count, rng):
    chosen, seen = [], set()
    for row in torch.randperm(len(images), generator=rng).tolist():
        key = images[row].numpy().tobytes()
        if key not in seen: chosen.append(row)
        seen.add(key)
    return torch.tensor(chosen[:count]), torch.tensor(chosen[count:2*count])


@right("clinic.107")
def split_afterwards(images, count, rng):
    alone = first_copy(images).unique()
    return alone[torch.randperm(len(alone), generator=rng)[:2*count]].split(count)


@wrong("clinic.107", says="first_copy")
def random_rows(images, count, rng): return torch.randperm(len(images), generator=rng)[:2*count].split(count)


@wrong("clinic.107", says="Two orders", never="two ends")
def drawn_with_repetition(images, count, rng):
    alone = first_copy(images).unique()
    return tuple(alone[torch.randperm(len(alone), generator=rng)[:count]] for _ in range(2))


# Case 108: a threshold that knows the answer


@right("clinic.108")
def with_a_table(known_inside, known_outside, inside, outside):
    candidates = torch.cat([known_inside, known_outside]).sort().values
    rates = torch.stack([(known_inside >= t).double().mean() + (known_outside < t).double().mean() for t in candidates])
    threshold = candidates[rates.argmax()]
    return ((inside >= threshold).double().mean() + (outside < threshold).double().mean())/2


@wrong("clinic.108", says="still the patient")
def the_best_of_the_new(known_inside, known_outside, inside, outside): return with_a_table(inside, outside, inside, outside)


@wrong("clinic.108", says="flatter")
def of_the_known(known_inside, known_outside, inside, outside): return with_a_table(known_inside, known_outside, known_inside, known_outside)


@wrong("clinic.108", never="flatter")
def always_a_half(known_inside, known_outside, inside, outside): return 0.5


for name in ("privacy.1", "privacy.3", "clinic.107", "clinic.108"):
    equivalent(name, "scores, finished gradients and row numbers are data here, and nobody differentiates the answer", "… detached", "…everything under `no_grad`")
    equivalent(name, "the same numbers in double precision", "…the result in float64, or whole numbers in float32")

equivalent("privacy.1", "any small number keeps rounding from costing an outsider", "`1e-09` → `2e-09`", "`1e-09` → `2e-09` in `with_kthvalue`", "`1e-09` → `2e-09` in `by_trying_every_threshold`")
equivalent("privacy.1", "a number as a tensor", "`(inside > threshold).double().mean().item()` → `(inside > threshold).double().mean()`",
           "`(inside > min(fits)).double().mean().item()` → `(inside > min(fits)).double().mean()` in `by_trying_every_threshold`")
equivalent("privacy.3", "clip/0 is infinite, the factor becomes 1, and 1 times a gradient of 0 is 0", "`gradients.norm(dim=1).clamp(min=1e-12)` → `gradients.norm(dim=1)`", "`1e-12` → `2e-12`")
equivalent("privacy.3", "this version of PyTorch renorms an empty batch too",
           "`torch.renorm(gradients, p=2, dim=0, maxnorm=clip) if len(gradients) else gradients` → `torch.renorm(gradients, p=2, dim=0, maxnorm=clip)` in `with_renorm`")
equivalent("clinic.107", "both groups are random, so either may be called the members", "`(order[:count], order[count:2 * count])` → `(order[count:2 * count], order[:count])`")
equivalent("clinic.108", "a number as a tensor", "`_both_rates(t, known_inside, known_outside).item()` → `_both_rates(t, known_inside, known_outside)`",
           "`_both_rates(threshold, inside, outside).item()` → `_both_rates(threshold, inside, outside)`")

right("privacy.4", torch.tensor(0.0782))


@right("clinic.107")
def one_of_each_by_a_dictionary(images, count, rng):
    first = {image.numpy().tobytes(): row for row, image in reversed(list(enumerate(images)))}
    rows = torch.tensor(sorted(first.values()))
    mixed = rows[torch.rand(len(rows), generator=rng).argsort()]
    return [mixed[:count], mixed[count:2*count]]


@right("clinic.108")
def with_a_loop(known_inside, known_outside, inside, outside):
    best, threshold = -1., None
    for t in sorted(torch.cat([known_inside, known_outside]).tolist()):
        rate = (known_inside >= t).double().mean().item() + (known_outside < t).double().mean().item()
        if rate > best + 1e-12: best, threshold = rate, t
    return (sum(score >= threshold for score in inside.tolist())/len(inside) + sum(score < threshold for score in outside.tolist())/len(outside))/2


@right("clinic.108")
def with_searchsorted(known_inside, known_outside, inside, outside):
    candidates = torch.cat([known_inside, known_outside]).sort().values
    def below(scores, t): return torch.searchsorted(scores.sort().values, t).double()/len(scores)
    threshold = candidates[(below(known_outside, candidates)-below(known_inside, candidates)).argmax()]
    return ((1-below(inside, threshold)+below(outside, threshold))/2).item()
