"""Further answers to the exercises of chapter 25b."""
import torch
from answers import equivalent, right, wrong

# 25b.1: a p-value from wrong keys


@right("responsibility.1")
def by_a_rank(score, others):
    every = torch.cat([others, torch.tensor([float(score)])])
    return (every >= score).double().mean()


@right("responsibility.1")
def with_a_loop(score, others): return (sum(bool(each >= score) for each in others)+1)/(len(others)+1)


@wrong("responsibility.1", says="can be 0")
def the_plain_share(score, others): return (others >= score).float().mean()


@wrong("responsibility.1", says="at least as high", never="lower")
def strictly_higher(score, others): return (1+(others > score).sum())/(1+len(others))


@wrong("responsibility.1", never="can be 0")
def of_a_normal_distribution(score, others): return (1-torch.distributions.Normal(0., 1.).cdf(torch.tensor(float(score)))).item()


# 25b.2: count the green


@right("responsibility.2")
def by_a_loop(ids, green, share):
    pairs = list(zip(ids.tolist(), ids.tolist()[1:]))
    hits, total = sum(bool(green[a, b]) for a, b in pairs), len(pairs)
    return (hits/total-share)*(total/(share-share**2))**0.5


@right("responsibility.2")
def by_gather(ids, green, share):
    rows = green[ids[:-1]].double().gather(1, ids[1:, None])[:, 0]
    return (rows-share).sum()/(len(rows)*share*(1-share))**0.5


@wrong("responsibility.2", says="Rows and columns")
def the_other_way(ids, green, share): return by_a_loop(ids.flip(0), green, share)


@wrong("responsibility.2", never="variance")
def each_pair_once(ids, green, share):
    pairs = torch.stack([ids[:-1], ids[1:]]).unique(dim=1)
    hits, total = green[pairs[0], pairs[1]].sum().item(), pairs.shape[1]
    return (hits-share*total)/(total*share*(1-share))**0.5


# 25b.3: how long a text?

right("responsibility.3", 178)
right("responsibility.3", 177.8)
right("responsibility.3", (4/0.3)**2)
wrong("responsibility.3", 711, says="0.5, not 1")
wrong("responsibility.3", 13.3, says="Square")
wrong("responsibility.3", 64, says="not the answer")

# 25b.4: what a search costs

right("responsibility.4", 4)
right("responsibility.4", 200*3/60*(300+100)/1000)
wrong("responsibility.4", 3, says="100 W")
wrong("responsibility.4", 4000, says="watt-hours")
wrong("responsibility.4", 1, says="not the answer")

# Case 109: the detector that reads the rounding


@right("clinic.109")
def with_floats_only(real_bytes, fake_floats):
    def grid(x): return ((x.clamp(-1, 1)+1)*127.5).round()/127.5-1
    return real_bytes.float()/127.5-1, grid(fake_floats)


@right("clinic.109")
def with_numbers_of_levels(real_bytes, fake_floats):
    levels = torch.round(fake_floats*127.5+127.5).clamp(0, 255)
    return tuple(each.float().div(127.5).sub(1) for each in (real_bytes, levels))


@wrong("clinic.109", says="still the patient")
def unchanged(real_bytes, fake_floats): return real_bytes/127.5-1, fake_floats


@wrong("clinic.109", says="instead of rounding")
def floored(real_bytes, fake_floats): return real_bytes/127.5-1, ((fake_floats.clamp(-1, 1)+1)*127.5).floor()/127.5-1


@wrong("clinic.109", never="instead of rounding")
def not_clamped(real_bytes, fake_floats): return real_bytes/127.5-1, ((fake_floats+1)*127.5).round()/127.5-1


for name in ("responsibility.1", "responsibility.2", "clinic.109"):
    equivalent(name, "scores, texts and finished pictures are data here, and nobody differentiates the answer", "… detached", "…everything under `no_grad`")
    equivalent(name, "the same numbers in double precision", "…the result in float64, or whole numbers in float32")

equivalent("responsibility.1", "a count as a tensor", "`(others >= score).sum().item()` → `(others >= score).sum()`")
equivalent("responsibility.2", "a count as a tensor", "`green[ids[:-1], ids[1:]].sum().item()` → `green[ids[:-1], ids[1:]].sum()`")
equivalent("responsibility.3", "whether one rounds up or down by one token is no matter", "plus one", "minus one")
equivalent("clinic.109", "bytes become floats in the division", "`each.float()` → `each` in `with_numbers_of_levels`")

right("responsibility.4", 4.0)
right("responsibility.4", torch.tensor(4.))


@right("responsibility.1")
def by_sorting(score, others):
    ordered = others.sort().values
    lower = torch.searchsorted(ordered, torch.tensor(float(score)))
    return (len(others)-lower.item()+1)/(len(others)+1)


@right("responsibility.2")
def with_a_sum_of_standard_scores(ids, green, share):
    hits = torch.stack([green[a, b] for a, b in zip(ids, ids[1:])]).double()
    return ((hits-share)/(share*(1-share))**0.5).sum()/len(hits)**0.5


@right("clinic.109")
def with_a_table_of_levels(real_bytes, fake_floats):
    levels = torch.arange(256)/127.5-1
    index = ((fake_floats.clip(-1, 1)+1)*127.5).round().long()
    return levels[real_bytes.long()], levels[index]
