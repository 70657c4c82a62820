"""Further answers to the exercises of chapter 10b."""
import math
import numpy as np
import torch
from answers import equivalent, right, wrong

# 10b.1: the Inception Score


@right("measures.1")
def by_entropies(p):
    def entropy(q): return torch.special.entr(q).sum(-1)
    return math.exp((entropy(p.mean(0))-entropy(p).mean()).item())


@right("measures.1")
def row_by_row(p):
    together, total = p.mean(dim=0), 0.
    for row in p: total += sum(float(a)*math.log(a/b) for a, b in zip(row.tolist(), together.tolist()) if a > 0)
    return math.exp(total/len(p))


@right("measures.1")
def with_a_clamp(p):
    q = p.double().clamp(min=1e-30)
    return (q*(q.log()-q.mean(0, keepdim=True).log())).sum(1).mean().exp().item()


@wrong("measures.1", says="equal shares")
def against_equal_shares(p): return torch.xlogy(p, p).sum(1).mean().exp()*p.shape[1]


@wrong("measures.1", never="bits")
def log_two(p): return 2**((torch.xlogy(p, p)-torch.xlogy(p, p.mean(0))).sum(1).mean().item())


@wrong("measures.1", never="equal shares")
def the_number_of_classes(p): return float(p.shape[1])


@wrong("measures.1", never="other way round")
def how_many_are_first(p): return float(len(p.argmax(1).unique()))


equivalent("measures.1", "a result in double precision is the same number", "…the result in float64, or whole numbers in float32")
equivalent("measures.1", "the two arguments are one and the same", "`torch.xlogy(p, p)` → `torch.xlogy(p, p)`")
equivalent("measures.1", "a row and a table of one row are spread alike; a tensor of one number is that number", "`True` → `False` in `with_a_clamp`", "`q.mean(0, keepdim=True)` → `q.mean(0)` in `with_a_clamp`",
           "`(q * (q.log() - q.mean(0, keepdim=True).log())).sum(1).mean().exp().item()` → `(q * (q.log() - q.mean(0, keepdim=True).log())).sum(1).mean().exp()` in `with_a_clamp`")
equivalent("measures.1", "probabilities of an observation carry no gradient", "… detached", "…everything under `no_grad`")

# 10b.2: four of ten

right("measures.2", 4.)
right("measures.2", torch.tensor(4))
right("measures.2", np.float32(4))
wrong("measures.2", 0.25, says="not the answer")
wrong("measures.2", 0.4, says="share of the classes")
wrong("measures.2", 3, says="not the answer")

# 10b.3: density and coverage


@right("measures.3")
def with_topk(real, fake, k):
    radius = torch.cdist(real, real).topk(k+1, dim=1, largest=False).values.amax(1)
    inside = (torch.cdist(fake, real) <= radius).double()
    return [inside.sum(1).mean().item()/k, inside.amax(0).mean().item()]


@right("measures.3")
def point_by_point(real, fake, k):
    balls, covered = 0, 0
    for point in real:
        radius = (real-point).norm(dim=1).sort().values[k]
        within = int(((fake-point).norm(dim=1) <= radius).sum())
        balls, covered = balls+within, covered+(within > 0)
    return balls/(k*len(fake)), covered/len(real)


@right("measures.3")
def with_kth(real, fake, k):
    radius = torch.stack([row.kthvalue(k+1).values for row in torch.cdist(real, real)])
    far = torch.cdist(real, fake)
    return (far <= radius[:, None]).double().mean()*len(real)/k, (far.amin(1) <= radius).double().mean()


@wrong("measures.3", says="as a pair")
def density_only(real, fake, k): return with_topk(real, fake, k)[0]


@wrong("measures.3", never="other way round")
def precision_twice(real, fake, k): return (with_topk(real, fake, k)[1],)*2


@wrong("measures.3", never="around the fakes")
def larger_balls(real, fake, k): return with_topk(real, fake, k+1)


equivalent("measures.3", "a result in double precision is the same number", "…the result in float64, or whole numbers in float32")
equivalent("measures.3", "the last axis is the axis 1 here, and both arguments are one and the same", "`torch.cdist(real, real).sort(dim=1)` → `torch.cdist(real, real).sort()`", "`torch.cdist(real, real)` → `torch.cdist(real, real)`", "`(0, 0)` → `(0, 0)` in `point_by_point`")
equivalent("measures.3", "features of an observation carry no gradient", "… detached", "…everything under `no_grad`")

# 10b.4: the variance of the runs


@right("measures.4")
def with_formulas(values):
    R, P = values.shape
    means = values.sum(1)/P
    within = ((values-means[:, None])**2).sum()/(R*(P-1))
    between = ((means-means.sum()/R)**2).sum()/(R-1)
    return max(0., float(between-within/P))


@right("measures.4")
def from_mean_squares(values):
    R, P = values.shape
    a = P*values.mean(1).var()
    b = values.var(1).mean()
    return torch.relu(a-b)/P


@right("measures.4")
def with_numpy(values):
    x = values.numpy()
    return max(x.mean(1).var(ddof=1)-x.var(1, ddof=1).mean()/x.shape[1], 0)


@wrong("measures.4", never="axes")
def never_negative(values): return (values.mean(1).var()-values.var(1).mean()/values.shape[1]).abs()


@wrong("measures.4", never="whole")
def added(values): return values.mean(1).var()+values.var(1).mean()/values.shape[1]


equivalent("measures.4", "a result in double precision is the same number", "…the result in float64, or whole numbers in float32")
equivalent("measures.4", "measures carry no gradient in an observation", "… detached", "…everything under `no_grad`")

# 10b.5: the standard error

right("measures.5", 0.154)
right("measures.5", 0.15366)
right("measures.5", torch.tensor(0.3**2/4+0.2**2/36).sqrt())
right("measures.5", np.sqrt(0.0225+0.04/36))
wrong("measures.5", 0.15, says="leaves the pictures out")
wrong("measures.5", 0.06, says="independent")
wrong("measures.5", 0.16, says="not the answer")
wrong("measures.5", 0.3, says="not the answer")

# Case 76: batches


@right("clinic.76")
def with_lists_of_numbers(batches):
    count, sharp, rows = 0, 0., None
    for p in batches:
        count += p.shape[0]
        sharp -= torch.special.entr(p).sum().item()
        rows = p.sum(0) if rows is None else rows+p.sum(0)
    q = rows/count
    return math.exp(sharp/count+torch.special.entr(q).sum().item())


@right("clinic.76")
def with_running_means(batches):
    count, sharp, mean = 0, 0., 0.
    for p in batches:
        count += len(p)
        weight = len(p)/count
        sharp = (1-weight)*sharp+weight*torch.xlogy(p, p).sum(1).mean()
        mean = (1-weight)*mean+weight*p.mean(0)
    return (sharp-torch.xlogy(mean, mean).sum()).exp()


@right("clinic.76")
def row_after_row(batches):
    count, sharp, rows = 0, 0., 0.
    for p in batches:
        for row in p: count, sharp, rows = count+1, sharp+torch.xlogy(row, row).sum(), rows+row
    return torch.exp(sharp/count-torch.xlogy(rows/count, rows/count).sum())


@wrong("clinic.76", never="last batch")
def the_best_batch(batches): return max(by_entropies(p) for p in batches)


@wrong("clinic.76", never="twice")
def first_batch(batches): return by_entropies(next(iter(batches)))


equivalent("clinic.76", "a result in double precision is the same number", "…the result in float64, or whole numbers in float32")
equivalent("clinic.76", "the two arguments are one and the same, and a tensor of one number is that number", "`torch.xlogy(p, p)` → `torch.xlogy(p, p)`", "`torch.xlogy(mean, mean)` → `torch.xlogy(mean, mean)`",
           "`torch.special.entr(p).sum().item()` → `torch.special.entr(p).sum()` in `with_lists_of_numbers`")
equivalent("clinic.76", "probabilities of an observation carry no gradient", "… detached", "…everything under `no_grad`")

# Case 77: runs


@right("clinic.77")
def with_a_formula(values):
    each = [float(row.mean()) for row in values]
    mean = sum(each)/len(each)
    return mean, math.sqrt(sum((x-mean)**2 for x in each)/(len(each)-1)/len(each))


@right("clinic.77")
def with_numpy_too(values):
    each = values.numpy().mean(axis=1)
    return [each.mean(), each.std(ddof=1)/np.sqrt(len(each))]


@right("clinic.77")
def with_a_variance(values): return values.mean(), (values.mean(1).var()/values.shape[0]).sqrt()


@wrong("clinic.77", says="as a pair")
def error_only(values): return with_a_variance(values)[1]


@wrong("clinic.77", never="as a pair")
def the_variance(values): return values.mean(), with_a_variance(values)[1]**2


equivalent("clinic.77", "a result in double precision is the same number", "…the result in float64, or whole numbers in float32")
equivalent("clinic.77", "measures carry no gradient in an observation", "… detached", "…everything under `no_grad`")

# Case 78: the radius


@right("clinic.78")
def with_kthvalue(points, k): return torch.cdist(points, points).kthvalue(k+1, dim=1).values


@right("clinic.78")
def without_the_diagonal(points, k):
    far = torch.cdist(points, points).fill_diagonal_(math.inf)
    return far.topk(k, largest=False).values[:, -1]


@right("clinic.78")
def leaving_each_out(points, k):
    radii = []
    for i in range(len(points)): radii.append((torch.cat([points[:i], points[i+1:]])-points[i]).norm(dim=1).sort().values[k-1])
    return torch.stack(radii)


@wrong("clinic.78", never="squared")
def halved(points, k): return with_kthvalue(points, k)/2


@wrong("clinic.78", never="mean distance")
def the_nearest(points, k): return with_kthvalue(points, 1)


equivalent("clinic.78", "distances are symmetric, and both arguments are one and the same", "`torch.cdist(points, points).sort(dim=1)` → `torch.cdist(points, points).sort()`", "`torch.cdist(points, points)` → `torch.cdist(points, points)`", "`1` → `0` (2) in `with_kthvalue`")
equivalent("clinic.78", "features of an observation carry no gradient", "… detached", "…everything under `no_grad`")
