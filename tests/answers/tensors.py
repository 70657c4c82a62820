"""Further answers to the exercises of chapter 01."""
import math
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from genesis_course.tensors import Value
from answers import equivalent, right, wrong


# tensors.1

@right("tensors.1")
def with_var_mean(x):
    variance, mean = torch.var_mean(x.double(), dim=0)
    return (x-mean)/variance.sqrt().clamp(min=1e-6)


@right("tensors.1")
def with_batch_norm(x): return F.batch_norm(x, None, None, training=True)


@right("tensors.1")
def with_a_floor(x): return (x-x.mean(0))/(x.std(0)+1e-8)


@right("tensors.1")
def of_the_transposed(x):
    y = x.T
    centred = y-y.mean(1, keepdim=True)
    return (centred/centred.norm(dim=1, keepdim=True).clamp(min=1e-6)*len(x)**0.5).T


@wrong("tensors.1", says="Right, but for a constant column of 0.001", never="0/0")
def spread_compared_with_zero(x):
    spread = x.std(dim=0)
    spread[spread == 0] = 1
    return (x-x.mean(dim=0))/spread


@wrong("tensors.1", says="loop", never="rows")
def column_by_column(x): return torch.stack([(column-column.mean())/column.std().clamp(min=1e-6) for column in x.T], dim=1)


@wrong("tensors.1", says="0/0", never="rows")
def forgets_the_constant_column(x): return (x-x.mean(0))/x.std(0)


@wrong("tensors.1", says="one mean and one spread", never="column is a mean over the rows")
def of_the_whole_table(x): return (x-x.mean())/x.std().clamp(min=1e-6)


@wrong("tensors.1", says="variance", never="0/0")
def by_the_variance(x): return (x-x.mean(0))/x.var(0).clamp(min=1e-6)


@wrong("tensors.1", never="0/0")
def without_the_mean(x): return x/x.std(0).clamp(min=1e-6)


equivalent("tensors.1", "the columns are data, and no slope goes back to them", "…detached")
equivalent("tensors.1", "zeros stay zeros, whatever they are divided by", "`1` → `2`")
equivalent("tensors.1", "a floor is small either way", "`1e-08` → `2e-08` in `with_a_floor`", "`1e-06` → `2e-06` in `of_the_transposed`")
equivalent("tensors.1", "the numbers are the same in float64", "…the result in float64, or whole numbers in float32")


# tensors.2

@right("tensors.2")
def with_torch(a, b):
    try: return torch.broadcast_shapes(tuple(a), tuple(b))
    except RuntimeError: return None


@right("tensors.2")
def by_adding(a, b):
    try: return list(torch.empty(a).add(torch.empty(b)).shape)
    except RuntimeError: return None


@right("tensors.2")
def from_the_right(a, b):
    shape, a, b = [], list(a), list(b)
    while a or b:
        m, n = a.pop() if a else 1, b.pop() if b else 1
        if m != n and m != 1 and n != 1: return None
        shape.insert(0, max(m, n))
    return shape


@wrong("tensors.2", says="right: the last axis", never="`zip` stops")
def left_aligned(a, b):
    n = max(len(a), len(b))
    a, b = [*a, *[1]*(n-len(a))], [*b, *[1]*(n-len(b))]
    return None if any(i != j and i != 1 != j for i, j in zip(a, b)) else tuple(map(max, zip(a, b)))


@wrong("tensors.2", never="line the shapes up at their left")
def without_ones(a, b):
    n = max(len(a), len(b))
    a, b = (1,)*(n-len(a))+a, (1,)*(n-len(b))+b
    return a if a == b else None


@wrong("tensors.2", says="clash")
def an_empty_tuple_for_a_clash(a, b): return from_the_right(a, b) or ()


@wrong("tensors.2", says="Sizes 2 and 4 clash", never="left ends")
def the_larger_wins(a, b):
    n = max(len(a), len(b))
    return tuple(max(pair) for pair in zip((1,)*(n-len(a))+a, (1,)*(n-len(b))+b))


equivalent("tensors.2", "the rule treats both shapes alike", "`((1,) * (length - len(a)) + tuple(a), (1,) * (length - len(b)) + tuple(b))` → `((1,) * (length - len(b)) + tuple(b), (1,) * (length - len(a)) + tuple(a))`",
           "`zip(a, b)` → `zip(b, a)`", "`zip(a, b)` → `zip(b, a)` (2)", "`(m, n)` → `(n, m)`")


# tensors.3

@right("tensors.3")
def of_operations(x): return 1/(1+(-x).exp())


@right("tensors.3")
def from_tanh(x): return (x*0.5).tanh()*0.5+0.5


@right("tensors.3")
def with_exp_of_x(x):
    e = math.exp(x.data)
    return Value(e/(1+e), [(x, e/(1+e)**2)])


@right("tensors.3")
def as_a_quotient(x): return x.exp()/(x.exp()+1)


@wrong("tensors.3", says="no slope comes back", never="x(1-x)")
def without_parents(x): return Value(torch.tensor(x.data, dtype=torch.float64).sigmoid().item())


@wrong("tensors.3", says="not a `Value`", never="no parents")
def as_a_number(x): return math.exp(x.data)/(1+math.exp(x.data))


@wrong("tensors.3", says="x(1-x)", never="noted as 1")
def slope_of_the_input(x): return Value(1/(1+math.exp(-x.data)), ((x, x.data-x.data**2),))


@wrong("tensors.3", never="not a `Value`")
def tanh_instead(x): return x.tanh()


@wrong("tensors.3", never="no parents")
def slope_written_to_grad(x):
    y = 1/(1+math.exp(-x.data))
    x.grad += y*(1-y)
    return Value(y)


@wrong("tensors.3", never="not a `Value`")
def half_a_slope(x):
    y = 1/(1+math.exp(-x.data))
    return Value(y, ((x, y*y),))


# tensors.4

@right("tensors.4")
def with_the_largest_value(scores, target):
    largest = max(scores, key=lambda score: score.data)
    return sum((score-largest).exp() for score in scores).log()-(scores[target]-largest)


@right("tensors.4")
def as_minus_log_softmax(scores, target):
    top = sorted(score.data for score in scores)[-1]
    log_total = sum((s-top).exp() for s in scores).log()
    return -(scores[target]+-top-log_total)


@right("tensors.4")
def one_after_the_other(scores, target):
    total = scores[0]
    for score in scores[1:]:
        high, low = (score, total) if score.data > total.data else (total, score)
        total = high+(1+(low-high).exp()).log()
    return total-scores[target]


@right("tensors.4")
def with_the_slopes_of_softmax(scores, target):
    top = max(score.data for score in scores)
    weights = [math.exp(score.data-top) for score in scores]
    total = math.fsum(weights)
    return Value(math.log(total)+top-scores[target].data, tuple((score, weight/total-(i == target)) for i, (score, weight) in enumerate(zip(scores, weights))))


@wrong("tensors.4", says="score of the target", never="Small ones now")
def shifted_by_the_target(scores, target):
    t = scores[target].data
    return sum((s-t).exp() for s in scores).log()+t-scores[target]


@wrong("tensors.4", says="mean", never="score of the target")
def shifted_by_the_mean(scores, target):
    m = sum(scores)*(1/len(scores))
    return sum((s-m).exp() for s in scores).log()+m-scores[target]


@wrong("tensors.4", says="first score", never="mean")
def shifted_by_the_first(scores, target): return sum((s-scores[0]).exp() for s in scores).log()+scores[0]-scores[target]


@wrong("tensors.4", says="overflows in `exp`", never="fixed number")
def not_shifted(scores, target): return -(scores[target].exp()/sum(s.exp() for s in scores)).log()


@wrong("tensors.4", says="not a `Value`", never="overflows")
def with_torch_numbers(scores, target): return F.cross_entropy(torch.tensor([s.data for s in scores], dtype=torch.float64), torch.tensor(target)).item()


@wrong("tensors.4", never="overflows")
def cut_off_from_the_others(scores, target):
    top = max(s.data for s in scores)
    return top+math.log(sum(math.exp(s.data-top) for s in scores))-scores[target]


@wrong("tensors.4", never="shift")
def shifted_by_the_smallest(scores, target):
    low = min(s.data for s in scores)
    return sum((s-low).exp() for s in scores).log()+low-scores[target]


# tensors.5

@right("tensors.5")
def with_sums(X, W, b, T):
    error = torch.einsum("bi,io->bo", X, W)+b-T
    return [torch.einsum("bi,bo->io", X, error)*2/error.numel(), 2*error.mean(0)/error.shape[1]]


@right("tensors.5")
def with_loops(X, W, b, T):
    B, O = T.shape
    dW, db = torch.zeros_like(W), torch.zeros_like(b)
    for row in range(B):
        for o in range(O):
            above = 2*((X[row]*W[:, o]).sum()+b[o]-T[row, o])/(B*O)
            dW[:, o] += above*X[row]
            db[o] += above
    return dW, db


@right("tensors.5")
def with_a_column_of_ones(X, W, b, T):
    wide = torch.cat([X, torch.ones_like(X[:, :1])], dim=1).double()
    both = wide.T@(wide@torch.cat([W, b[None]]).double()-T)/(T.numel()/2)
    return both[:-1], both[-1]


@wrong("tensors.5", says="Autograd", never="order")
def with_autograd(X, W, b, T):
    W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
    return torch.autograd.grad(((X@W+b-T)**2).mean(), (W, b))


@wrong("tensors.5", says="Autograd")
def with_backward(X, W, b, T):
    layer = nn.Linear(X.shape[1], T.shape[1]).to(X.dtype)
    layer.weight.data, layer.bias.data = W.T.clone(), b.clone()
    F.mse_loss(layer(X), T).backward()
    return layer.weight.grad.T, layer.bias.grad


@wrong("tensors.5", says="missing its 2", never="sum, not a mean")
def without_the_two(X, W, b, T):
    error = (X@W+b-T)/T.numel()
    return X.T@error, error.sum(0)


@wrong("tensors.5", says="divide by", never="missing its 2")
def by_the_rows_only(X, W, b, T):
    error = (X@W+b-T)*2/X.shape[0]
    return X.T@error, error.sum(0)


@wrong("tensors.5", says="other order", never="Two gradients")
def bias_first(X, W, b, T): return with_sums(X, W, b, T)[::-1]


@wrong("tensors.5", says="shape", never="sum, not a mean")
def transposed(X, W, b, T):
    dW, db = with_sums(X, W, b, T)
    return dW.T, db


@wrong("tensors.5", says="slope of (Y-T)²", never="missing its 2")
def target_minus_output(X, W, b, T): return tuple(-gradient for gradient in with_sums(X, W, b, T))


@wrong("tensors.5", never="Autograd")
def overwrites_the_target(X, W, b, T):
    T -= X@W+b
    above = -2*T/T.numel()
    return X.T@above, above.sum(0)


equivalent("tensors.5", "a gradient is asked for, and nobody differentiates it again", "…detached")
equivalent("tensors.5", "the numbers are the same in float64", "…the result in float64, or whole numbers in float32")


# tensors.6

right("tensors.6", 1/2)
right("tensors.6", torch.tensor(0.5))
right("tensors.6", np.float32(0.5))
right("tensors.6", 0.4995)
wrong("tensors.6", 0.25, says="jumps across", never="not 2x")
wrong("tensors.6", 1, says="not 2x", never="jumps across")
wrong("tensors.6", 0.6, never="jumps across")
wrong("tensors.6", 0.49)


# clinic.3

@right("clinic.3")
def with_mse_loss(prediction, target): return F.mse_loss(prediction.flatten(), target.flatten())


@right("clinic.3")
def as_columns(prediction, target):
    error = prediction.view(-1, 1)-target.view(-1, 1)
    return (error*error).sum()/len(target)


@right("clinic.3")
def like_the_prediction(prediction, target): return (prediction-target.view_as(prediction)).square().mean()


@right("clinic.3")
def with_a_norm(prediction, target): return torch.dist(prediction.ravel(), target.ravel())**2/prediction.numel()


@wrong("clinic.3", says="no gradient", never="mean")
def cut_off(prediction, target): return F.mse_loss(prediction.detach().flatten(), target.flatten())


@wrong("clinic.3", says="no gradient", never="plain number has")
def made_anew(prediction, target): return torch.tensor(F.mse_loss(prediction.flatten(), target.flatten()).item())


@wrong("clinic.3", says="plain number", never="cuts the prediction off")
def as_a_float(prediction, target): return float(F.mse_loss(prediction.flatten(), target.flatten()))


@wrong("clinic.3", never="without the square")
def absolute(prediction, target): return (prediction.flatten()-target.flatten()).abs().mean()


@wrong("clinic.3", says="patient", never="this is a sum")
def the_patient(prediction, target): return ((target-prediction)**2).mean()


@wrong("clinic.3", says="sum", never="patient")
def summed(prediction, target): return F.mse_loss(prediction.flatten(), target.flatten(), reduction="sum")


@wrong("clinic.3", never="patient")
def squeezed_without_an_axis(prediction, target): return (prediction.squeeze()-target).pow(2).mean()


equivalent("clinic.3", "the square of a difference does not know its sign", "`prediction.reshape(-1) - target.reshape(-1)` → `target.reshape(-1) - prediction.reshape(-1)`")
equivalent("clinic.3", "targets are data, and no slope goes back to them", "`target` detached")
equivalent("tensors.4", "of two equal scores either may be called the higher", "`score.data > total.data` → `score.data >= total.data` in `one_after_the_other`")
equivalent("clinic.3", "the square of a difference does not know its sign", "`prediction - target.view_as(prediction)` → `target.view_as(prediction) - prediction` in `like_the_prediction`",
           "`torch.dist(prediction.ravel(), target.ravel())` → `torch.dist(target.ravel(), prediction.ravel())` in `with_a_norm`")
equivalent("clinic.3", "targets are data, and a size has no slope", "`target` detached in `with_mse_loss`", "`target` detached in `like_the_prediction`", "`prediction` detached in `with_a_norm`")
equivalent("clinic.3", "the number and its gradient are the same in float64", "…the result in float64, or whole numbers in float32")


# clinic.4

@right("clinic.4")
def with_view(classifier, images): return F.softmax(classifier(images.view(-1, 64)/255), dim=1)


@right("clinic.4")
@torch.no_grad()
def from_logarithms(classifier, images):
    scores = classifier((images.float()/255).reshape(len(images), -1))
    return (scores-scores.logsumexp(dim=1, keepdim=True)).exp()


@right("clinic.4")
def one_picture_at_a_time(classifier, images):
    return torch.stack([classifier(image.flatten()/255).softmax(dim=0) for image in images])


@right("clinic.4")
def with_a_named_squeeze(classifier, images): return classifier(images.flatten(1).float().unsqueeze(1)/255).squeeze(1).softmax(dim=1)


@wrong("clinic.4", says="patient", never="over the batch")
def still_the_patient(classifier, images): return F.softmax(classifier(images.flatten(1)[:, None]/255), dim=1)


@wrong("clinic.4", says="over the batch", never="patient")
def along_the_batch(classifier, images): return F.softmax(classifier(images.flatten(1)/255), dim=0)


@wrong("clinic.4", never="patient")
def not_scaled(classifier, images): return classifier(images.flatten(1).float()).softmax(dim=1)


@wrong("clinic.4", never="add up to 1: a sigmoid")
def log_softmax(classifier, images): return classifier(images.flatten(1)/255).log_softmax(dim=1)


@wrong("clinic.4", says="single picture", never="patient")
def squeezed(classifier, images): return classifier(images.flatten(1).unsqueeze(1)/255).softmax(dim=-1).squeeze()


equivalent("clinic.4", "probabilities are read here, nobody trains on them", "…detached", "…everything under `no_grad`")
equivalent("clinic.4", "the numbers are the same in float64", "…the result in float64, or whole numbers in float32")
