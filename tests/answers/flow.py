"""Further answers to the exercises of chapter 11a."""
import math
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 11a.1: the loss


@right("flow.1")
def with_lerp(network, noise, data, t): return F.mse_loss(network(noise.lerp(data, t[:, None]), t), data-noise)


@right("flow.1")
def with_a_view(network, noise, data, t):
    share = t.view(-1, *[1]*(data.ndim-1))
    velocity = data-noise
    return ((network(noise+share*velocity, t)-velocity)**2).mean()


@right("flow.1")
def row_by_row(network, noise, data, t):
    mixed = torch.stack([moment*b+(1-moment)*a for moment, a, b in zip(t, noise, data)])
    wrong = network(mixed, t)-data+noise
    return wrong.pow(2).sum()/wrong.numel()


@right("flow.1")
def in_double(network, noise, data, t):
    share = t.unsqueeze(1)
    said = network(share*data+(1-share)*noise, t).double()
    return (said-data+noise).square().mean(dim=1).mean()


@wrong("flow.1", says="sign")
def backwards(network, noise, data, t): return F.mse_loss(network(noise.lerp(data, t[:, None]), t), noise-data)


@wrong("flow.1", says="exchanged", never="sign")
def mixture_exchanged(network, noise, data, t): return F.mse_loss(network(data.lerp(noise, t[:, None]), t), data-noise)


@wrong("flow.1", says="gradient")
def cut(network, noise, data, t): return with_lerp(network, noise, data, t).detach()


@wrong("flow.1", never="sum of the squares")
def half_of_it(network, noise, data, t): return with_lerp(network, noise, data, t)/2


@wrong("flow.1", says="sum of the squares")
def sum_of_rows(network, noise, data, t): return F.mse_loss(network(noise.lerp(data, t[:, None]), t), data-noise, reduction="sum")


@wrong("flow.1", never="clean data")
def shown_the_noise(network, noise, data, t): return F.mse_loss(network(noise, t), data-noise)


equivalent("flow.1", "noise, data and times are given, and no gradient is asked of them", "…`noise` detached", "…`data` detached", "…`t` detached")
equivalent("flow.1", "a square does not ask which of the two was subtracted", "`network(mixed, t) - (data - noise)` → `data - noise - network(mixed, t)`")
equivalent("flow.1", "a loss in double precision holds the same number", "the result in float64, or whole numbers in float32",
           "`network(share * data + (1 - share) * noise, t).double()` → `network(share * data + (1 - share) * noise, t)` in `in_double`")

# 11a.2: the best guess


@right("flow.2")
def with_cdist(x, alpha, sigma, points): return torch.softmax(-torch.cdist(x, alpha*points)**2/(2*sigma**2), dim=-1) @ points


@right("flow.2")
def with_log_sum_exp(x, alpha, sigma, points):
    logits = -((x[:, None]-alpha*points)/sigma).square().sum(-1)/2
    return (logits-logits.logsumexp(dim=1, keepdim=True)).exp() @ points


@right("flow.2")
def without_what_is_the_same(x, alpha, sigma, points):
    closeness = alpha*(x.double() @ points.double().T) - alpha**2*points.double().square().sum(dim=1)/2
    return ((closeness/sigma**2).softmax(dim=1) @ points.double()).float()


@right("flow.2")
def by_hand(x, alpha, sigma, points):
    rows = []
    for place in x:
        squares = ((place-alpha*points)**2).sum(dim=1)
        weights = torch.exp(-(squares-squares.min())/(2*sigma**2))
        rows.append((weights[:, None]*points).sum(dim=0)/weights.sum())
    return torch.stack(rows)


@wrong("flow.2", says="alpha")
def at_their_own_place(x, alpha, sigma, points): return torch.softmax(-torch.cdist(x, points)**2/(2*sigma**2), dim=-1) @ points


@wrong("flow.2", says="most likely")
def nearest(x, alpha, sigma, points): return points[torch.cdist(x, alpha*points).argmin(dim=1)]


@wrong("flow.2", never="most likely")
def mean_of_all(x, alpha, sigma, points): return points.mean(dim=0).expand(len(x), -1).clone()


@wrong("flow.2", never="squared")
def from_x_itself(x, alpha, sigma, points): return x/alpha


equivalent("flow.2", "a denoiser is asked for its value, and no gradient is asked of it", "… detached")
equivalent("flow.2", "a square does not ask which of the two was subtracted", "`x[:, None] - alpha * points` → `alpha * points - x[:, None]`")
equivalent("flow.2", "float32 or float64, as the answer likes", "`((closeness / sigma ** 2).softmax(dim=1) @ points.double()).float()` → `(closeness / sigma ** 2).softmax(dim=1) @ points.double()` in `without_what_is_the_same`")
equivalent("flow.2", "a guess in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# 11a.3: a step of DDIM


@right("flow.3")
def as_a_change(x, noise, alpha, sigma, next_alpha, next_sigma):
    data = (x-sigma*noise)/alpha
    return x + (next_alpha-alpha)*data + (next_sigma-sigma)*noise


@right("flow.3")
def in_one_line(x, noise, alpha, sigma, next_alpha, next_sigma): return next_alpha/alpha*x + (next_sigma-next_alpha*sigma/alpha)*noise


@right("flow.3")
def with_addcmul(x, noise, alpha, sigma, next_alpha, next_sigma):
    data = torch.sub(x, noise, alpha=sigma).div(alpha)
    return torch.add(next_alpha*data, noise, alpha=next_sigma)


@wrong("flow.3", says="leaves out the noise")
def jump(x, noise, alpha, sigma, next_alpha, next_sigma): return (x-sigma*noise)*(next_alpha/alpha)


@wrong("flow.3", never="leaves out")
def half_a_step(x, noise, alpha, sigma, next_alpha, next_sigma): return (x+in_one_line(x, noise, alpha, sigma, next_alpha, next_sigma))/2


@wrong("flow.3", says="plus before next_sigma")
def minus(x, noise, alpha, sigma, next_alpha, next_sigma): return next_alpha*((x-sigma*noise)/alpha)-next_sigma*noise


equivalent("flow.3", "sampling asks for no gradient", "… detached")
equivalent("flow.3", "a step in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# 11a.4: half time

right("flow.4", math.tanh(0.4))
right("flow.4", 0.38)
right("flow.4", 0.3799)
wrong("flow.4", 0.2, says="x itself", never="x/α")
wrong("flow.4", 0.4, says="x/α")
wrong("flow.4", 0.69, says="probability", never="x/α")
wrong("flow.4", -0.38, says="sign")
wrong("flow.4", 1, says="sure")
wrong("flow.4", 0.5, never="sure")

# Case 57: what time is it?


@right("clinic.57")
def time_first(x, t): return torch.hstack([t.unsqueeze(1), x])


@right("clinic.57")
def half_a_wave(x, t): return torch.cat([x, (math.pi*t[:, None]).cos(), (math.pi*t[:, None]).sin()], dim=1)


@right("clinic.57")
def time_and_waves(x, t): return torch.cat([x, t[:, None], *[(k*math.pi*t[:, None]).cos() for k in (1, 2, 4)]], dim=1)


@right("clinic.57")
def row_by_row_57(x, t): return torch.tensor([[*place, moment, moment**2] for place, moment in zip(x.tolist(), t.tolist())])


@wrong("clinic.57", says="time")
def place_alone(x, t): return x.clone()


@wrong("clinic.57", says="time", never="place is not")
def first_time_for_all(x, t): return torch.cat([x, t[:1].expand(len(x), 1)], dim=1)


@wrong("clinic.57", never="mean time")
def without_y(x, t): return torch.cat([x[:, :1], t[:, None]], dim=1)


@wrong("clinic.57", says="row for each point")
def flattened(x, t): return torch.cat([x.flatten(), t])


@wrong("clinic.57", never="mean time")
def centred(x, t): return torch.cat([x-x.mean(dim=0), t[:, None]], dim=1)


equivalent("clinic.57", "an input is built from data, and no gradient is asked of it", "… detached")
equivalent("clinic.57", "an input in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# Case 58: the noise that was none


@right("clinic.58")
def with_one_factor(alpha):
    first, last = alpha[0].item(), alpha[-1].item()
    new = (alpha-first)*(last/(last-first))
    return [new, torch.sqrt(1-new.square())]


@right("clinic.58")
def as_a_mixture(alpha):
    share = (alpha-alpha[0])/(alpha[-1]-alpha[0])
    new = alpha[-1]*share
    return new, (1-new*new).sqrt()


@right("clinic.58")
def through_an_angle(alpha):
    new = alpha[-1]*(alpha-alpha[0])/(alpha[-1]-alpha[0])
    return new, new.clamp(max=1).asin().cos()


@wrong("clinic.58", says="last level has become smaller")
def moved_only(alpha):
    new = alpha-alpha[0]
    return new, (1-new**2).sqrt()


@wrong("clinic.58", says="jump")
def first_only(alpha):
    new = alpha.clone()
    new[0] = 0
    return new, (1-new**2).sqrt()


@wrong("clinic.58", says="pair")
def alpha_only(alpha): return with_one_factor(alpha)[0]


@wrong("clinic.58", never="straight path")
def squared(alpha):
    new = with_one_factor(alpha)[0]
    return new, 1-new**2


equivalent("clinic.58", "levels are numbers, and no gradient is asked of them", "… detached")
equivalent("clinic.58", "levels in double precision hold the same numbers", "…the result in float64, or whole numbers in float32")
equivalent("clinic.58", "a tensor of one number counts as a number here", "`alpha[-1].item()` → `alpha[-1]` in `with_one_factor`")
equivalent("clinic.58", "none of these levels is above 1, so there is nothing to clamp", "`(1 - new ** 2).clamp(min=0)` → `1 - new ** 2`")

# Case 59: one thing predicted, another one used


@right("clinic.59")
def by_both_ends(noise, x, t):
    share = t.unsqueeze(1)
    data = (x-(1-share)*noise)/share
    return data-noise


@right("clinic.59")
def with_a_reciprocal(noise, x, t): return (x-noise)*t.reciprocal().view(-1, 1)


@right("clinic.59")
def row_by_row_59(noise, x, t): return torch.stack([(b-a)/moment for a, b, moment in zip(noise, x, t)])


@wrong("clinic.59", says="noise itself")
def as_it_was(noise, x, t): return noise.clone()


@wrong("clinic.59", says="That is the data")
def only_the_data(noise, x, t): return by_both_ends(noise, x, t)+noise


@wrong("clinic.59", never="noise itself")
def with_one_time(noise, x, t): return (x-noise)/t.mean()


equivalent("clinic.59", "sampling asks for no gradient", "… detached")
equivalent("clinic.59", "a velocity in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# Case 60: a sign between two papers


@right("clinic.60")
def with_a_lambda(network): return lambda x, t: network(x, 1-t).neg()


@right("clinic.60")
def with_a_class(network):
    class Turned:
        def __call__(self, x, t): return 0-network(x, torch.ones_like(t)-t)
    return Turned()


@right("clinic.60")
def by_a_product(network):
    def velocity(x, t):
        slope_of_s = -1
        return network(x, 1+slope_of_s*t)*slope_of_s
    return velocity


@wrong("clinic.60", says="patient")
def time_only(network): return lambda x, t: network(x, 1-t)


@wrong("clinic.60", says="direction")
def direction_only(network): return lambda x, t: -network(x, t)


@wrong("clinic.60", never="patient")
def twice_as_fast(network): return lambda x, t: -2*network(x, 1-t)


equivalent("clinic.60", "sampling asks for no gradient", "… detached")
equivalent("clinic.60", "zero minus something is its negative", "`0 - network(x, torch.ones_like(t) - t)` → `-network(x, torch.ones_like(t) - t)` in `with_a_class`")
equivalent("clinic.60", "a velocity in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")
