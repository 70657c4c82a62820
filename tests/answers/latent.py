"""Further answers to the exercises of chapter 11c."""
import torch
from answers import equivalent, right, wrong

# 11c.1: one size for all numbers


@right("latent.1")
def with_std_mean(codes):
    std, mean = torch.std_mean(codes, dim=0)
    return (codes-mean)/std, lambda standard: torch.addcmul(mean, standard, std)


@right("latent.1")
def with_a_named_function(codes):
    centre = codes.sum(dim=0, keepdim=True)/len(codes)
    spread = ((codes-centre).square().sum(dim=0, keepdim=True)/(len(codes)-1)).sqrt()
    def back(standard): return centre + spread*standard
    return (codes-centre)/spread, back


@right("latent.1")
def number_by_number(codes):
    parts = [(column.mean(), column.std()) for column in codes.unbind(dim=1)]
    mean, std = (torch.stack(each) for each in zip(*parts))
    return (codes-mean).div(std), lambda standard: standard.mul(std).add(mean)


@wrong("latent.1", says="One mean")
def one_for_all(codes): return (codes-codes.mean())/codes.std(), lambda standard: standard*codes.std()+codes.mean()


@wrong("latent.1", says="variance")
def by_variance(codes): return (codes-codes.mean(0))/codes.var(0), lambda standard: standard*codes.var(0)+codes.mean(0)


@wrong("latent.1", never="variance")
def biased(codes):
    std = codes.std(0, unbiased=False)
    return (codes-codes.mean(0))/std, lambda standard: standard*std+codes.mean(0)


# 11c.2: two networks draw


@right("latent.2")
def with_full_like(velocity, back, decode, noise, steps):
    for k in range(steps): noise = noise + velocity(noise, torch.full_like(noise[:, 0], k/steps))/steps
    return decode(back(noise))


@right("latent.2")
def with_linspace(velocity, back, decode, noise, steps):
    times = torch.linspace(0, 1, steps+1)
    for t, later in zip(times, times[1:]): noise = noise + (later-t)*velocity(noise, t.expand(len(noise)))
    return decode(back(noise))


@right("latent.2")
def in_a_named_step(velocity, back, decode, noise, steps):
    def step(x, k): return x + velocity(x, torch.ones(x.shape[0])*k/steps)/steps
    x = noise.clone()
    for k in range(steps): x = step(x, k)
    return decode(back(x))


@wrong("latent.2", says="late by a step")
def late(velocity, back, decode, noise, steps):
    for k in range(steps): noise = noise + velocity(noise, torch.full((len(noise),), (k+1)/steps))/steps
    return decode(back(noise))


@wrong("latent.2", never="decoder is missing")
def from_one_to_nothing(velocity, back, decode, noise, steps):
    for k in range(steps): noise = noise - velocity(noise, torch.full((len(noise),), 1-k/steps))/steps
    return decode(back(noise))


# 11c.3 and 11c.4: numbers

right("latent.3", 847872)
right("latent.3", 19*(48*128+128*128*2+128*16)+16*256+256*256)
wrong("latent.3", 778240, says="once")
right("latent.3", 847872.0)
right("latent.4", 1.79)
right("latent.4", 1.7979)
right("latent.4", 1.8)
wrong("latent.4", 0.808, says="variance")

# Case 79: the generator that never copies


@right("clinic.79")
def with_chunks(images, count, rng):
    return images[torch.randperm(len(images), generator=rng)].split([count, len(images)-count])


@right("clinic.79")
def with_a_mask(images, count, rng):
    inside = torch.zeros(len(images), dtype=torch.bool)
    inside[torch.randperm(len(images), generator=rng)[:count]] = True
    return images[inside], images[~inside]


@right("clinic.79")
def with_one_order_of_rows(images, count, rng):
    rows = torch.rand(len(images), generator=rng).argsort()
    return images.index_select(0, rows[:count]), images.index_select(0, rows[count:])


@wrong("clinic.79", says="still the patient")
def two_orders(images, count, rng):
    return images[torch.randperm(len(images), generator=rng)[:count]], images[torch.randperm(len(images), generator=rng)[count:]]


@wrong("clinic.79", says="nothing is random")
def in_order(images, count, rng): return images[:count], images[count:]


@wrong("clinic.79", never="exchanged")
def last_for_training(images, count, rng): return images[-count:], images[:-count]


# Mutants that are right

equivalent("latent.1", "codes are standardised after the training, so no gradient is asked of them", "… detached", "…everything under `no_grad`")
equivalent("latent.1", "a centre is squared away, and one row of sums spreads like a row kept apart", "`codes - centre` → `centre - codes` in `with_a_named_function`", "`codes.sum(dim=0, keepdim=True)` → `codes.sum(dim=0)` in `with_a_named_function`")
equivalent("latent.2", "a sampler goes its way without gradients", "… detached", "…everything under `no_grad`")
equivalent("clinic.79", "pictures are data, and no gradient is asked of them", "… detached", "…everything under `no_grad`")
equivalent("clinic.79", "an order from other random numbers is as random; repeating it is not asked here", "`torch.randperm(len(images), generator=rng)` → `torch.randperm(len(images))`", "`torch.randperm(len(images), generator=rng)` → `torch.randperm(len(images))` in `with_chunks`",
           "`torch.randperm(len(images), generator=rng)` → `torch.randperm(len(images))` in `with_a_mask`", "`torch.rand(len(images), generator=rng)` → `torch.rand(len(images))` in `with_one_order_of_rows`")
