"""Further answers to the exercises of chapter 22."""
import itertools
import math
import numpy as np
import torch
from answers import equivalent, right, wrong

# 22.1: the bootstrap


@right("experiments.1")
def in_a_loop(values, level, count, rng):
    means = []
    for _ in range(count):
        means.append(values[torch.randint(len(values), (len(values),), generator=rng)].mean())
    ends = torch.quantile(torch.stack(means), torch.tensor([(1-level)/2, (1+level)/2], dtype=values.dtype))
    return ends[0].item(), ends[1].item()


@right("experiments.1")
def as_a_tensor(values, level, count, rng):
    places = (torch.rand(count, len(values), generator=rng)*len(values)).long()
    return torch.quantile(values[places].mean(1), torch.tensor([0.5-level/2, 0.5+level/2], dtype=torch.float64))


@right("experiments.1")
def with_numpy_quantiles(values, level, count, rng):
    means = values.gather(0, torch.randint(0, len(values), (count*len(values),), generator=rng)).view(count, -1).mean(1)
    return tuple(np.quantile(means.numpy(), [(1-level)/2, 1-(1-level)/2]))


@right("experiments.1")
def with_multinomial(values, level, count, rng):
    places = torch.multinomial(torch.ones(count, len(values)), len(values), replacement=True, generator=rng)
    means = values[places].mean(dim=-1).sort().values
    return means[int((1-level)/2*(count-1))], means[math.ceil((1+level)/2*(count-1))]


@wrong("experiments.1", never="permutations")
def shuffled(values, level, count, rng):
    means = torch.stack([values[torch.randperm(len(values), generator=rng)].mean() for _ in range(count)])
    return means.min().item()+1, means.max().item()+1


@wrong("experiments.1", says="rng")
def without_its_generator(values, level, count, rng):
    means = values[torch.randint(len(values), (count, len(values)))].mean(dim=1)
    return means.quantile((1-level)/2).item(), means.quantile((1+level)/2).item()


@wrong("experiments.1", says="Two numbers")
def the_means_themselves(values, level, count, rng): return values[torch.randint(len(values), (count, len(values)), generator=rng)].mean(dim=1)


@wrong("experiments.1")
def around_the_mean(values, level, count, rng):
    low, high = in_a_loop(values, level, count, rng)
    return low-values.mean().item(), high-values.mean().item()


@wrong("experiments.1")
def of_the_median(values, level, count, rng):
    medians = values[torch.randint(len(values), (count, len(values)), generator=rng)].median(dim=1).values
    return medians.quantile((1-level)/2).item(), medians.quantile((1+level)/2).item()


equivalent("experiments.1", "runs are data, and no gradient is asked of them", "… detached", "…everything under `no_grad`")

# 22.2: flipping signs


@right("experiments.2")
def with_product(differences):
    values = differences.tolist()
    sums = [abs(sum(s*d for s, d in zip(signs, values))) for signs in itertools.product((-1, 1), repeat=len(values))]
    return sum(each >= abs(sum(values)) for each in sums)/len(sums)


@right("experiments.2")
def with_cartesian_product(differences):
    signs = torch.cartesian_prod(*[torch.tensor([1., -1.])]*len(differences)).view(-1, len(differences)).double()
    sums = signs @ differences
    return (sums.abs() >= sums[0].abs()).double().mean()


@right("experiments.2")
def one_half_twice(differences):
    "The first sign stays: the other half is its mirror"
    values = differences.tolist()
    sums = [0.]
    for value in values[1:]: sums = [each+sign*value for each in sums for sign in (1, -1)]
    return np.mean([abs(each+values[0]) >= abs(sum(values)) for each in sums])


@wrong("experiments.2", says="One direction", never="sign test")
def other_direction(differences):
    values = differences.tolist()
    sums = [sum(s*d for s, d in zip(signs, values)) for signs in itertools.product((-1, 1), repeat=len(values))]
    return sum(each >= sum(values) for each in sums)/len(sums)


@wrong("experiments.2", never="sign test")
def one_minus_p(differences): return 1-with_product(differences)


@wrong("experiments.2", never="One direction")
def half_of_it(differences): return with_product(differences)/2


@wrong("experiments.2", never="Divide")
def permuted_not_flipped(differences):
    values = differences.tolist()
    return 1. if len(values) else 0.


equivalent("experiments.2", "differences are data, and no gradient is asked of them", "… detached", "…everything under `no_grad`")

# 22.3: three seeds

right("experiments.3", 1/4)
right("experiments.3", 2/2**3)
right("experiments.3", torch.tensor(0.25))
right("experiments.3", np.float64(0.25))
wrong("experiments.3", 0.5, says="not the answer")
wrong("experiments.3", 1/6, says="not the answer")
wrong("experiments.3", 1, says="not the answer")
wrong("experiments.3", 0.1, says="not the answer", never="bar")
wrong("experiments.3", float("nan"), says="NaN")

# 22.4: random search


@right("experiments.4")
def with_logarithms(score, low, high, trials, rng):
    rates = torch.exp(math.log(low) + torch.rand(trials, generator=rng, dtype=torch.float64)*(math.log(high)-math.log(low)))
    scores = torch.tensor([score(rate.item()) for rate in rates], dtype=torch.float64)
    return rates[scores.argmin()].item(), scores.min().item()


@right("experiments.4")
def one_by_one(score, low, high, trials, rng):
    best = None
    for _ in range(trials):
        rate = 10**(math.log10(low)+math.log10(high/low)*torch.rand(1, generator=rng).item())
        value = score(rate)
        if best is None or value < best[1]: best = [rate, value]
    return best


@right("experiments.4")
def with_a_dict(score, low, high, trials, rng):
    tried = {}
    while len(tried) < trials:
        rate = torch.empty((), dtype=torch.float64).uniform_(math.log(low), math.log(high), generator=rng).exp().item()
        tried[rate] = score(rate)
    return min(tried.items(), key=lambda pair: pair[1])


@wrong("experiments.4", says="ordinary scale")
def evenly(score, low, high, trials, rng):
    rates = (low+(high-low)*torch.rand(trials, generator=rng).double()).tolist()
    scores = [score(rate) for rate in rates]
    return rates[scores.index(min(scores))], min(scores)


@wrong("experiments.4")
def one_trial_too_few(score, low, high, trials, rng): return one_by_one(score, low, high, max(1, trials-1), rng)


@wrong("experiments.4", never="grid")
def without_rng(score, low, high, trials, rng): return one_by_one(score, low, high, trials, torch.Generator().manual_seed(torch.seed() % 2**31))


@wrong("experiments.4", says="Two numbers")
def only_the_rate(score, low, high, trials, rng): return one_by_one(score, low, high, trials, rng)[0]


@wrong("experiments.4", never="ordinary scale")
def beyond_the_ends(score, low, high, trials, rng): return one_by_one(score, low/100, high*100, trials, rng)


equivalent("experiments.4", "a rate is a number, and no gradient is asked of it", "… detached", "…everything under `no_grad`")

# 22.5: twenty ideas

right("experiments.5", 0.64)
right("experiments.5", 0.6415)
right("experiments.5", 1-0.95**20)
right("experiments.5", torch.tensor(0.6415))
wrong("experiments.5", 0.6, says="not the answer")
wrong("experiments.5", 0.5, says="not the answer")
wrong("experiments.5", 20, says="not the answer")
wrong("experiments.5", 0.0025, says="all of them")
wrong("experiments.5", float("nan"), says="NaN")

# Case 80: the best seed


@right("clinic.80")
def with_a_list(method, baseline):
    gaps = [value-method[seed] for seed, value in baseline.items() if seed in method]
    return sum(gaps)/len(gaps)


@right("clinic.80")
def of_two_means(method, baseline):
    both = set(method) & set(baseline)
    return np.mean([baseline[seed] for seed in both])-np.mean([method[seed] for seed in both])


@right("clinic.80")
def with_a_running_mean(method, baseline):
    total, count = 0., 0
    for seed in method:
        if seed in baseline: total, count = total+baseline[seed]-method[seed], count+1
    return total/count


@wrong("clinic.80")
def of_medians(method, baseline):
    both = sorted(set(method) & set(baseline))
    return np.median([baseline[seed]-method[seed] for seed in both])+0.1


@wrong("clinic.80")
def the_pair_of_means(method, baseline): return sum(method.values())/len(method), sum(baseline.values())/len(baseline)


# Case 81: chosen on the test set


@right("clinic.81")
def with_infinity(valid, test): return test[np.argmin([math.inf if math.isnan(each) else each for each in valid])]


@right("clinic.81")
def with_nanargmin(valid, test): return test[int(np.nanargmin(valid))]


@right("clinic.81")
def as_pairs(valid, test): return min((pair for pair in zip(valid, test) if pair[0] == pair[0]), key=lambda pair: pair[0])[1]


@wrong("clinic.81", says="NaN")
def with_argmin(valid, test): return test[int(np.argmin(valid))]


@wrong("clinic.81", never="NaN")
def the_pair(valid, test): return max(as_pairs(valid, test), min(v for v in valid if v == v))+1


# Case 102: the baseline that nobody tuned


@right("clinic.102")
def with_zip(method, baseline):
    a, b = zip(*zip(method, baseline))
    return [min(a), min(b)]


@right("clinic.102")
def as_a_tensor_of_two(method, baseline):
    n = min(len(method), len(baseline))
    return torch.tensor([min(method[:n]), min(baseline[:n])])


@right("clinic.102")
def in_a_loop_over_both(method, baseline):
    best = [math.inf, math.inf]
    for pair in zip(method, baseline): best = [min(best[0], pair[0]), min(best[1], pair[1])]
    return tuple(best)


@wrong("clinic.102", says="pair")
def the_difference(method, baseline):
    a, b = with_zip(method, baseline)
    return b-a


@wrong("clinic.102", never="largest")
def only_the_baseline_cut(method, baseline): return min(method), min(baseline[:len(method)])


equivalent("clinic.102", "an FID in fewer digits is the same FID", "…the result in float64, or whole numbers in float32")
equivalent("clinic.102", "FIDs are data, and no gradient is asked of them", "… detached", "…everything under `no_grad`")

equivalent("experiments.1", "a tensor of one number is a number, and a rounding error in the ends is far below the error of the draws", "`means.quantile((1 - level) / 2).item()` → `means.quantile((1 - level) / 2)`",
           "`means.quantile((1 + level) / 2).item()` → `means.quantile((1 + level) / 2)`", "`ends[1].item()` → `ends[1]` in `in_a_loop`", "…the result in float64, or whole numbers in float32")
equivalent("experiments.1", "one place further among many sorted means is the same quantile", "`1` → `0` (2) in `with_multinomial`")
equivalent("experiments.2", "all signs turned give the same absolute values", "`1 - 2 * (torch.arange(2 ** n)[:, None] >> torch.arange(n) & 1)` → `2 * (torch.arange(2 ** n)[:, None] >> torch.arange(n) & 1) - 1`",
           "`(1, -1)` → `(-1, 1)` in `one_half_twice`")
equivalent("experiments.2", "a tensor of one number is a number", "`(means >= differences.mean().abs()).double().mean().item()` → `(means >= differences.mean().abs()).double().mean()`")
equivalent("experiments.2", "the product of the two is the same", "`zip(signs, values)` → `zip(values, signs)` in `with_product`")
equivalent("experiments.4", "a rate may be a tensor of one number, in single precision", "`torch.rand((), generator=rng).item()` → `torch.rand((), generator=rng)`",
           "`torch.rand(trials, generator=rng, dtype=torch.float64)` → `torch.rand(trials, generator=rng)` in `with_logarithms`")
equivalent("clinic.102", "the smallest of a list stays the smallest when its last number comes twice", "the last one twice: `for pair in zip(method, baseline):` in `in_a_loop_over_both`")
