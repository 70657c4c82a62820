"""Further answers to the exercises of chapter 07b."""
import math
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 7b.1: the σ of a mean

right("codes.1", 19.8)
right("codes.1", np.float64(19.799))
right("codes.1", torch.tensor(392.).sqrt())
right("codes.1", 28/math.sqrt(2))
wrong("codes.1", 392, says="its root")
wrong("codes.1", 28, says="got lost")
wrong("codes.1", 1, says="half of the")
wrong("codes.1", 0.7071, says="plain sum of squares")
wrong("codes.1", 14., says="not the answer")
wrong("codes.1", 784, says="not the answer", never="root")
wrong("codes.1", 19.1, says="not the answer")
wrong("codes.1", float("nan"), says="NaN")

# 7b.2: the loss that chooses its σ


@right("codes.2")
def with_a_detached_variance(mean, x):
    variance = (x-mean).square().mean().detach()
    squares = ((x-mean).square()/variance + variance.log() + math.log(2*math.pi)).flatten(1).sum(1)
    return squares.mean()/2


@right("codes.2")
def with_torch_distributions(mean, x):
    sigma = F.mse_loss(mean, x).sqrt()
    return -torch.distributions.Normal(mean, sigma).log_prob(x).sum()/len(x)


@right("codes.2")
def in_double_precision(mean, x):
    error = (mean.double()-x.double()).pow(2).mean()
    return 0.5*x.shape[1:].numel()*(error.log()+1+np.log(2*np.pi))


@right("codes.2")
def with_gaussian_nll(mean, x):
    variance = ((x-mean)**2).mean()
    each = F.gaussian_nll_loss(mean, x, variance.expand_as(x), full=True, eps=1e-12, reduction="none")
    return each.flatten(1).sum(1).mean()


@wrong("codes.2", never="σ = 1")
def squared_error(mean, x): return (x-mean).square().flatten(1).sum(1).mean()


@wrong("codes.2", never="of one pixel")
def divided_by_the_width(mean, x): return with_a_detached_variance(mean, x)/x.shape[-1] if x.shape[-1] > 1 else 2*with_a_detached_variance(mean, x)


@wrong("codes.2", says="gradient")
def as_a_number(mean, x): return torch.tensor(with_a_detached_variance(mean, x).item())


@wrong("codes.2", never="log 2π is missing")
def without_the_one_and_the_constant(mean, x): return x[0].numel()/2*(x-mean).square().mean().log()


@wrong("codes.2", never="own")
def a_sigma_for_each_pixel(mean, x):
    error = (x-mean).square().mean(dim=0)
    return (1+torch.log(2*math.pi*error)).sum()/2


equivalent("codes.2", "a loss in double precision holds the same numbers", "…the result in float64, or whole numbers in float32",
           "`mean.double()` → `mean` in `in_double_precision`", "`x.double()` → `x` in `in_double_precision`")

# 7b.3: one style, every digit


@right("codes.3")
def class_by_class(encode, decode, images, labels, classes):
    mean = encode(images, labels)[0]
    return torch.stack([decode(mean, torch.full_like(labels, k)) for k in range(classes)], dim=1)


@right("codes.3")
def picture_by_picture(encode, decode, images, labels, classes):
    mean, log_variance = encode(images, labels)
    return torch.stack([decode(code.repeat(classes, 1), torch.arange(classes)) for code in mean])


@right("codes.3")
def with_expand(encode, decode, images, labels, classes):
    mean = encode(images, labels)[0]
    rows = mean[:, None].expand(-1, classes, -1).reshape(-1, mean.shape[1])
    made = decode(rows, torch.arange(classes).expand(len(mean), -1).reshape(-1))
    return made.view(len(mean), classes, *made.shape[1:])


@wrong("codes.3", never="log-variance")
def with_zero_codes(encode, decode, images, labels, classes):
    return class_by_class(lambda *given: [torch.zeros_like(part) for part in encode(*given)], decode, images, labels, classes)


@wrong("codes.3", never="first picture")
def the_last_style(encode, decode, images, labels, classes):
    return class_by_class(lambda *given: [part[-1:].expand_as(part) for part in encode(*given)], decode, images, labels, classes)


@wrong("codes.3", says="shape")
def the_first_picture_only(encode, decode, images, labels, classes): return class_by_class(encode, decode, images, labels, classes)[0]


@wrong("codes.3", never="again and again")
def classes_from_the_end(encode, decode, images, labels, classes): return class_by_class(encode, decode, images, labels, classes).flip(1)


equivalent("codes.3", "pictures in double precision are the same pictures", "…the result in float64, or whole numbers in float32")
equivalent("codes.3", "styles are shown, and nobody differentiates them", "… detached", "…everything under `no_grad`")

# 7b.4: straight through


@right("codes.4")
def with_squares(vectors, codebook):
    chosen = (vectors[:, None]-codebook).square().sum(2).argmin(1)
    return vectors - (vectors-codebook[chosen]).detach()


@right("codes.4")
def row_by_row(vectors, codebook):
    rows = []
    for vector in vectors:
        entry = min(codebook, key=lambda entry: (entry-vector).norm().item())
        rows.append(vector + entry.detach() - vector.detach())
    return torch.stack(rows)


@right("codes.4")
def with_a_function_of_its_own(vectors, codebook):
    class Replace(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v, e): return e[torch.cdist(v, e).argmin(1)].clone()
        @staticmethod
        def backward(ctx, slope): return slope, None
    return Replace.apply(vectors, codebook)


@wrong("codes.4", says="numbers of the entries")
def numbers(vectors, codebook): return torch.cdist(vectors, codebook).argmin(1)


@wrong("codes.4", never="largest product")
def the_first_entry(vectors, codebook): return vectors + (codebook[:1]-vectors).detach()


@wrong("codes.4", never="nothing is replaced")
def half_way(vectors, codebook): return vectors + 0.5*(with_squares(vectors, codebook)-vectors).detach()


@wrong("codes.4", never="No gradient comes")
def twice_the_gradient(vectors, codebook): return 2*vectors + (with_squares(vectors, codebook)-2*vectors).detach()


@wrong("codes.4", says="codebook")
def both(vectors, codebook):
    chosen = codebook[torch.cdist(vectors, codebook).argmin(1)]
    return chosen + vectors - vectors.detach()


equivalent("codes.4", "vectors in double precision hold the same numbers", "…the result in float64, or whole numbers in float32")

# Case 67


@right("clinic.67")
def with_logaddexp(mean, raw, x):
    spread = torch.logaddexp(raw, torch.tensor(-6.))
    return ((x-mean)**2/spread.exp() + spread + math.log(2*math.pi)).flatten(1).sum(1)/2


@right("clinic.67")
def with_softplus_and_normal(mean, raw, x):
    sigma = torch.exp(0.5*(F.softplus(raw+6)-6))
    return -torch.distributions.Normal(mean, sigma).log_prob(x).flatten(1).sum(1)


@right("clinic.67")
def with_log1p(mean, raw, x):
    spread = raw + torch.log1p(torch.exp(-raw-6))
    return 0.5*((x-mean).square()*torch.exp(-spread) + spread + np.log(2*np.pi)).sum(dim=tuple(range(1, x.ndim)))


@wrong("clinic.67", never="clamp")
def a_floor_at_minus_three(mean, raw, x): return with_softplus_and_normal(mean, raw+3, x)


@wrong("clinic.67", says="clamp")
def with_maximum(mean, raw, x):
    spread = torch.maximum(raw, torch.tensor(-6.))
    return ((x-mean)**2/spread.exp() + spread + math.log(2*math.pi)).flatten(1).sum(1)/2


@wrong("clinic.67", never="patient")
def without_the_constant(mean, raw, x): return with_log1p(mean, raw, x) - x[0].numel()/2*math.log(2*math.pi)


equivalent("clinic.67", "a loss in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# Case 68


@right("clinic.68")
def with_eye(z, labels, classes): return torch.hstack([z, torch.eye(classes, dtype=z.dtype)[labels]])


@right("clinic.68")
def with_a_comparison(z, labels, classes):
    return torch.cat((z, (labels[:, None] == torch.arange(classes)).float()), -1)


@right("clinic.68")
def with_scatter(z, labels, classes):
    marks = torch.zeros(len(z), classes).scatter_(1, labels[:, None], 1.)
    return torch.cat([z, marks], dim=1)


@wrong("clinic.68", says="patient")
def the_label_itself(z, labels, classes): return torch.cat([z, labels.unsqueeze(1).float()], 1)


@wrong("clinic.68", never="ten times")
def twos(z, labels, classes): return torch.cat([z, 2*F.one_hot(labels, classes).float()], 1)


@wrong("clinic.68", says="shape")
def one_class_too_few(z, labels, classes): return torch.cat([z, F.one_hot(labels, classes).float()[:, 1:]], 1)


equivalent("clinic.68", "vectors in double precision hold the same numbers", "…the result in float64, or whole numbers in float32")

# Case 69


@right("clinic.69")
def with_cdist(vectors, codebook): return torch.cdist(vectors, codebook).argmin(1)


@right("clinic.69")
def with_differences(vectors, codebook): return (vectors[:, None]-codebook[None]).pow(2).sum(-1).argmin(-1)


@right("clinic.69")
def with_all_three_terms(vectors, codebook):
    squares = (vectors**2).sum(1, keepdim=True) + (codebook**2).sum(1) - 2*vectors @ codebook.t()
    return squares.min(dim=1).indices


@right("clinic.69")
def as_the_largest(vectors, codebook): return (vectors @ codebook.T - codebook.square().sum(1)/2).argmax(1)


@wrong("clinic.69", never="patient")
def sum_of_differences(vectors, codebook): return (vectors[:, None]-codebook).sum(-1).abs().argmin(1) if vectors.shape[1] > 1 else (vectors*0).long()[:, 0]


@wrong("clinic.69", never="farthest")
def always_the_first(vectors, codebook): return torch.zeros(len(vectors), dtype=torch.int64)


@wrong("clinic.69", says="shape")
def one_for_all(vectors, codebook): return with_cdist(vectors, codebook)[0]


equivalent("clinic.69", "numbers of entries have no gradient", "… detached", "…everything under `no_grad`")

equivalent("codes.2", "a square does not mind the order of a difference", "`x - mean` → `mean - x`", "`x - mean` → `mean - x` (2) in `with_a_detached_variance`",
           "`F.mse_loss(mean, x)` → `F.mse_loss(x, mean)` in `with_torch_distributions`",
           "`F.gaussian_nll_loss(mean, x, variance.expand_as(x), full=True, eps=1e-12, reduction='none')` → `F.gaussian_nll_loss(x, mean, variance.expand_as(x), full=True, eps=1e-12, reduction='none')` in `with_gaussian_nll`")
equivalent("codes.2", "the pixels are data, and no gradient is asked of them", "`x` detached", "`x` detached (2)", "`x` detached (2) in `with_a_detached_variance`", "`x` detached in `in_double_precision`",
           "`x` detached (2) in `in_double_precision`")
equivalent("codes.4", "a choice has no gradient, and the difference is detached anyway", "`codebook` detached", "`vectors` detached", "`codebook` detached (2)", "`vectors` detached (3)", "`entry` detached in `row_by_row`",
           "`e` detached (2) in `with_a_function_of_its_own`", "`codebook` detached in `with_a_function_of_its_own`", "`e` detached in `with_a_function_of_its_own`", "`slope` detached in `with_a_function_of_its_own`")
equivalent("codes.4", "a distance has the same smallest entry either way round, as a sum or as a mean", "`vectors[:, None] - codebook` → `codebook - vectors[:, None]` in `with_squares`",
           "`(vectors[:, None] - codebook).square().sum(2)` → `(vectors[:, None] - codebook).square().mean(2)` in `with_squares`", "`entry - vector` → `vector - entry` in `row_by_row`")
equivalent("clinic.67", "a square does not mind the order of a difference", "`gaussian_log_likelihood(mean, x, F.softplus(raw + 6) - 6)` → `gaussian_log_likelihood(x, mean, F.softplus(raw + 6) - 6)`",
           "`x - mean` → `mean - x` in `with_log1p`")
equivalent("clinic.67", "the pixels are data, and no gradient is asked of them", "`x` detached", "`x` detached in `with_logaddexp`")
equivalent("clinic.68", "a one-hot vector takes the dtype of the code when the two are joined", "`torch.eye(classes, dtype=z.dtype)` → `torch.eye(classes)` in `with_eye`",
           "`(labels[:, None] == torch.arange(classes)).float()` → `labels[:, None] == torch.arange(classes)` in `with_a_comparison`")
equivalent("clinic.68", "only the dtype is read there, and the last axis of a matrix is axis 1", "`z` detached (2)", "`z` detached (2) in `with_eye`", "`-1` → `1` in `with_a_comparison`")
equivalent("clinic.69", "the last axis of a matrix is axis 1", "`-1` → `1` in `with_differences`")
equivalent("clinic.69", "the length of a vector is the same for all entries", "`(vectors ** 2).sum(1, keepdim=True)` → `(vectors ** 2).mean(1, keepdim=True)` in `with_all_three_terms`")
