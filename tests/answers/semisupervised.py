"""Further answers to the exercises of chapter 24a."""
import math
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 24a.1: enough to choose

right("semisupervised.1", 1636)
right("semisupervised.1", 1636.0)
right("semisupervised.1", np.int64(1636))
right("semisupervised.1", torch.tensor(1636))
right("semisupervised.1", math.ceil(4*(0.9*0.1+0.92*0.08)/0.02**2-1e-9))
wrong("semisupervised.1", 409, says="Twice was asked")
wrong("semisupervised.1", 818, says="squared")
wrong("semisupervised.1", 900, says="90 percent")
wrong("semisupervised.1", 1600, says="not the answer")
wrong("semisupervised.1", 1800, says="not the answer", never="90 percent")
wrong("semisupervised.1", 1640, says="not the answer")
wrong("semisupervised.1", 0, says="not the answer")
wrong("semisupervised.1", float("nan"), says="NaN")

# 24a.2: the unlabelled loss


@right("semisupervised.2")
def by_log_softmax(weak_logits, strong_logits, threshold):
    with torch.no_grad(): chance, target = weak_logits.softmax(-1).max(-1)
    each = -strong_logits.log_softmax(-1).gather(1, target[:, None]).squeeze(1)
    return torch.where(chance >= threshold, each, torch.zeros_like(each)).mean()


@right("semisupervised.2")
def picture_by_picture(weak_logits, strong_logits, threshold):
    total = 0*strong_logits.sum()
    for weak, strong in zip(weak_logits.detach(), strong_logits):
        chances = weak.softmax(dim=0)
        if chances.max() >= threshold: total = total + strong.logsumexp(dim=0) - strong[chances.argmax()]
    return total/len(weak_logits)


@right("semisupervised.2")
def with_one_hot_targets(weak_logits, strong_logits, threshold):
    q = weak_logits.detach().softmax(dim=1)
    target = F.one_hot(q.argmax(dim=1), q.shape[1]).to(strong_logits.dtype)*(q.amax(dim=1, keepdim=True) >= threshold)
    return F.cross_entropy(strong_logits, target)


@right("semisupervised.2")
def rows_that_are_kept(weak_logits, strong_logits, threshold):
    chance, target = weak_logits.softmax(dim=1).max(dim=1)
    kept = chance >= threshold
    return F.cross_entropy(strong_logits[kept], target[kept], reduction="sum")/len(weak_logits)


@right("semisupervised.2")
def with_ignored_labels(weak_logits, strong_logits, threshold):
    chance, target = weak_logits.softmax(dim=1).max(dim=1)
    target = target.masked_fill(chance < threshold, -100)
    return F.cross_entropy(strong_logits, target, reduction="sum")/target.numel()


@wrong("semisupervised.2", never="divide")
def strictly_above_a_lower_threshold(weak_logits, strong_logits, threshold): return by_log_softmax(weak_logits, strong_logits, threshold/2)


@wrong("semisupervised.2", says="value")
def strictly_above(weak_logits, strong_logits, threshold):
    chance, target = weak_logits.softmax(dim=1).max(dim=1)
    return ((chance > threshold)*F.cross_entropy(strong_logits, target, reduction="none")).mean()


@wrong("semisupervised.2", says="One number", never="depends on the size")
def one_for_each_picture(weak_logits, strong_logits, threshold):
    chance, target = weak_logits.softmax(dim=1).max(dim=1)
    return (chance >= threshold)*F.cross_entropy(strong_logits, target, reduction="none")


@wrong("semisupervised.2", says="gradient", never="swapped")
def without_a_gradient(weak_logits, strong_logits, threshold): return by_log_softmax(weak_logits, strong_logits, threshold).detach()


@wrong("semisupervised.2", says="divide by the number", never="ignored")
def mean_of_ignoring(weak_logits, strong_logits, threshold):
    chance, target = weak_logits.softmax(dim=1).max(dim=1)
    return F.cross_entropy(strong_logits, target.masked_fill(chance < threshold, -100))


@wrong("semisupervised.2", never="swapped")
def the_least_likely(weak_logits, strong_logits, threshold):
    q = weak_logits.softmax(dim=1)
    return ((q.amax(dim=1) >= threshold)*F.cross_entropy(strong_logits, q.argmin(dim=1), reduction="none")).mean()


@wrong("semisupervised.2", never="ignored")
def squares(weak_logits, strong_logits, threshold):
    q = weak_logits.detach().softmax(dim=1)
    each = (strong_logits.softmax(dim=1)-F.one_hot(q.argmax(dim=1), q.shape[1])).square().sum(dim=1)
    return ((q.amax(dim=1) >= threshold)*each).mean()


equivalent("semisupervised.2", "a class number carries no gradient, so the graph is cut there anyway", "`weak_logits.detach()` → `weak_logits`", "`weak_logits` detached", "`weak_logits` detached in `by_log_softmax`",
           "`weak_logits` detached in `with_one_hot_targets`", "`weak_logits` detached (2) in `rows_that_are_kept`", "`weak_logits` detached in `with_ignored_labels`")
equivalent("semisupervised.2", "a loss in double precision is the same loss", "…the result in float64, or whole numbers in float32")
equivalent("semisupervised.2", "of two axes the last is the one with number 1", "`-1` → `1` in `by_log_softmax`")
equivalent("semisupervised.2", "zero times any number is zero, and only its graph is wanted", "`strong_logits.sum()` → `strong_logits.mean()` in `picture_by_picture`")

# 24a.3: what is paid

right("semisupervised.3", 0.05)
right("semisupervised.3", 16*0.2/64)
right("semisupervised.3", torch.tensor(0.05))
wrong("semisupervised.3", 0.2, says="all 64")
wrong("semisupervised.3", 1.175, says="not sure")
wrong("semisupervised.3", 3.2, says="mean")
wrong("semisupervised.3", 0.5, says="not the answer")
wrong("semisupervised.3", 0, says="not the answer")

# 24a.4: real or made


@right("semisupervised.4")
def with_softplus(logits):
    s = torch.logsumexp(logits, 1)
    return -F.softplus(-s), -F.softplus(s)


@right("semisupervised.4")
def with_an_extra_class(logits):
    every = torch.cat([logits, logits.new_zeros(len(logits), 1)], dim=1).log_softmax(dim=1)
    return every[:, :-1].logsumexp(dim=1), every[:, -1]


@right("semisupervised.4")
def with_the_largest_taken_out(logits):
    most = logits.amax(dim=1).clamp(min=0)
    z = (logits-most[:, None]).exp().sum(dim=1)
    total = most + (z+(-most).exp()).log()
    return [logits.logsumexp(dim=1)-total, -total]


@wrong("semisupervised.4", says="pair")
def real_only(logits): return with_softplus(logits)[0]


@wrong("semisupervised.4", says="exchanged")
def the_other_order(logits): return with_softplus(logits)[::-1]


@wrong("semisupervised.4", never="exchanged")
def losses(logits):
    real, made = with_softplus(logits)
    return -real, -made


@wrong("semisupervised.4", says="shape", never="batch")
def kept_apart(logits): return F.logsigmoid(logits), F.logsigmoid(-logits)


@wrong("semisupervised.4", says="gradient")
def without_a_graph(logits): return tuple(each.detach() for each in with_softplus(logits))


# 24a.5: a price without a label


@right("semisupervised.5")
def with_the_entropy(prices, logits):
    q = torch.distributions.Categorical(logits=logits)
    return (q.probs*prices).sum(-1) - q.entropy()


@right("semisupervised.5")
def class_by_class(prices, logits):
    log_q = logits - logits.logsumexp(dim=1, keepdim=True)
    return sum(log_q[:, k].exp()*(prices[:, k]+log_q[:, k]) for k in range(logits.shape[1]))


@right("semisupervised.5")
def by_the_divergence(prices, logits):
    "The exact price, and what a wrong guess costs in addition"
    best, log_q = (-prices).log_softmax(dim=1), logits.log_softmax(dim=1)
    return (log_q.exp()*(log_q-best)).sum(dim=1) - (-prices).logsumexp(dim=1)


@wrong("semisupervised.5", says="sign")
def entropy_added(prices, logits): return (logits.softmax(1)*(prices-logits.log_softmax(1))).sum(1)


@wrong("semisupervised.5", says="missing", never="sign")
def no_entropy(prices, logits): return torch.einsum("bk,bk->b", prices, logits.softmax(1))


@wrong("semisupervised.5", never="missing")
def in_bits(prices, logits):
    log_q = logits.log_softmax(1)
    return (log_q.exp()*(prices+log_q/math.log(2))).sum(1)


@wrong("semisupervised.5", says="gradient")
def prices_only_learn(prices, logits): return with_the_entropy(prices, logits.detach())


@wrong("semisupervised.5", says="shape", never="batch")
def not_summed(prices, logits):
    log_q = logits.log_softmax(1)
    return log_q.exp()*(prices+log_q)


# Cases


@right("clinic.104")
def by_argmax(weak_logits, threshold):
    q = F.softmax(weak_logits, dim=1)
    return q.argmax(dim=1), q.amax(dim=1).ge(threshold)


@right("clinic.104")
def with_logs(weak_logits, threshold):
    most, target = weak_logits.log_softmax(1).max(1)
    return target, most.exp() >= threshold-1e-7


@right("clinic.104")
def row_by_row(weak_logits, threshold):
    rows = [row.exp()/row.exp().sum() for row in weak_logits]
    return torch.stack([row.argmax() for row in rows]), torch.tensor([bool(row.max() >= threshold) for row in rows])


@wrong("clinic.104", says="pair")
def which_are_kept(weak_logits, threshold): return by_argmax(weak_logits, threshold)[1]


@wrong("clinic.104", never="patient")
def all_kept(weak_logits, threshold): return weak_logits.argmax(1), torch.ones(len(weak_logits), dtype=torch.bool)


@wrong("clinic.104", never="not* sure")
def nothing_kept(weak_logits, threshold): return weak_logits.argmax(1), torch.zeros(len(weak_logits), dtype=torch.bool)


@right("clinic.105")
def by_bytes(images, test):
    known = {image.numpy().tobytes() for image in test}
    return images[[row for row, image in enumerate(images) if image.numpy().tobytes() not in known]]


@right("clinic.105")
def one_after_another(images, test):
    return images[[not any(torch.equal(image, other) for other in test) for image in images]]


@right("clinic.105")
def by_distance(images, test):
    if not len(test): return images.clone()
    far = (images[:, None].int()-test[None].int()).abs().flatten(2).sum(dim=2)
    return images[far.amin(dim=1) > 0]


@wrong("clinic.105", says="test images are among them")
def everything(images, test): return images[:]


@wrong("clinic.105", never="by place")
def nothing(images, test): return images[:0]


@wrong("clinic.105", never="pixel is enough")
def sorted_by_brightness(images, test):
    kept = by_bytes(images, test)
    return kept[kept.flatten(1).float().mean(1).argsort()]


equivalent("semisupervised.4", "logarithms in double precision are the same logarithms", "…the result in float64, or whole numbers in float32")
equivalent("semisupervised.5", "a price in double precision is the same price", "…the result in float64, or whole numbers in float32")
equivalent("semisupervised.5", "of two axes the last is the one with number 1", "`-1` → `1` in `with_the_entropy`")
equivalent("clinic.104", "a target is a number, and no gradient is asked of it", "`weak_logits` detached")
equivalent("clinic.104", "targets and masks may be counted in floats", "…the result in float64, or whole numbers in float32")
equivalent("clinic.104", "without a dimension torch takes the last of two axes, and warns", "`F.softmax(weak_logits, dim=1)` → `F.softmax(weak_logits)` in `by_argmax`")
