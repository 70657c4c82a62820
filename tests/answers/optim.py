"""Further answers to the exercises of chapter 03a."""
import math
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong
from genesis_course import optim

# optim.1: the heavy ball

@right("optim.1")
def by_the_optimizer_of_the_library(theta, gradient, velocity, lr, mu):
    parameter = theta.clone().requires_grad_()
    optimizer = optim.Momentum([parameter], lr=lr, momentum=mu)
    optimizer.state[parameter]["v"] = velocity
    parameter.grad = gradient
    optimizer.step()
    return parameter, optimizer.state[parameter]["v"]


@right("optim.1")
def with_copies_that_are_changed(theta, gradient, velocity, lr, mu):
    velocity, theta = velocity.clone(), theta.clone()
    velocity.mul_(mu).add_(gradient)
    theta.sub_(velocity, alpha=lr)
    return [theta, velocity]


@right("optim.1")
def number_by_number(theta, gradient, velocity, lr, mu):
    new = [mu*v+g for v, g in zip(velocity.tolist(), gradient.tolist())]
    return torch.tensor([x-lr*v for x, v in zip(theta.tolist(), new)], dtype=theta.dtype), torch.tensor(new, dtype=theta.dtype)


@right("optim.1")
def in_one_expression(theta, gradient, velocity, lr, mu): return theta-lr*mu*velocity-lr*gradient, torch.add(gradient, velocity, alpha=mu)


@wrong("optim.1", says="one step late", never="lr²")
def stepped_before_the_velocity_is_new(theta, gradient, velocity, lr, mu):
    theta = theta-lr*velocity
    velocity = velocity*mu+gradient
    return theta, velocity


@wrong("optim.1", says="It changes what it was given: `theta`, `velocity`", never="uphill")
def overwrites_both(theta, gradient, velocity, lr, mu):
    velocity *= mu
    velocity += gradient
    theta -= lr*velocity
    return theta, velocity


@wrong("optim.1", never="average of gradients")
def forgets_the_old_velocity(theta, gradient, velocity, lr, mu): return theta-lr*gradient, gradient


@wrong("optim.1", never="average of gradients")
def nesterov(theta, gradient, velocity, lr, mu):
    velocity = mu*velocity+gradient
    return theta-lr*(gradient+mu*velocity), velocity


@wrong("optim.1", says="Return two tensors")
def returns_a_dict(theta, gradient, velocity, lr, mu): return {"theta": theta, "velocity": velocity}


@wrong("optim.1", says="parameters after step 1")
def twice_the_rate(theta, gradient, velocity, lr, mu):
    velocity = mu*velocity+gradient
    return theta-2*lr*velocity, velocity


NOT_DIFFERENTIATED = "an update is no part of a function that anybody differentiates"
equivalent("optim.1", NOT_DIFFERENTIATED, "… detached")
equivalent("optim.2", NOT_DIFFERENTIATED, "… detached")

# optim.2: Adam from its formula

def with_torch(optimizer, theta, g, m, v, t, lr, betas, eps, **settings):
    parameter = theta.clone().requires_grad_()
    mine = optimizer([parameter], lr=lr, betas=betas, eps=eps, **settings)
    parameter.grad = g.clone()
    mine.state[parameter] = {"step": torch.tensor(float(t-1)), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    mine.step()
    return parameter.detach(), mine.state[parameter]["exp_avg"], mine.state[parameter]["exp_avg_sq"]


@right("optim.2")
def by_torch(theta, g, m, v, t, lr, betas, eps): return with_torch(torch.optim.Adam, theta, g, m, v, t, lr, betas, eps)


@right("optim.2")
def with_lerp(theta, g, m, v, t, lr, betas, eps):
    m, v = torch.lerp(g, m, betas[0]), torch.lerp(g.square(), v, betas[1])
    rate = lr/(1-math.pow(betas[0], t))
    return torch.addcdiv(theta, m, (v/(1-math.pow(betas[1], t))).sqrt().add(eps), value=-rate), m, v


@right("optim.2")
def with_the_corrections_in_the_rate(theta, g, m, v, t, lr, betas, eps):
    "The form at the end of section 2 of the paper: one factor, and an eps to match"
    beta_1, beta_2 = betas
    root = math.sqrt(1-beta_2**t)
    m, v = m+(1-beta_1)*(g-m), v+(1-beta_2)*(g*g-v)
    return theta-lr*root/(1-beta_1**t)*m/(v**0.5+eps*root), m, v


@right("optim.2")
def in_numpy(theta, g, m, v, t, lr, betas, eps):
    gradient = g.numpy().astype(np.float64)
    first, second = (beta*mean.numpy()+(1-beta)*part for beta, mean, part in zip(betas, (m, v), (gradient, gradient**2)))
    step = lr*(first/(1-betas[0]**t))/(np.sqrt(second/(1-betas[1]**t))+eps)
    return [torch.from_numpy(part).to(theta.dtype) for part in (theta.numpy()-step, first, second)]


@wrong("optim.2", says="The bias correction is missing", never="Only m")
def rms_with_momentum(theta, g, m, v, t, lr, betas, eps):
    m, v = betas[0]*m+(1-betas[0])*g, betas[1]*v+(1-betas[1])*g*g
    return theta-lr*m/(v.sqrt()+eps), m, v


@wrong("optim.2", says="It changes what it was given", never="correction")
def overwrites_the_means(theta, g, m, v, t, lr, betas, eps):
    m.mul_(betas[0]).add_((1-betas[0])*g)
    v.mul_(betas[1]).add_((1-betas[1])*g*g)
    return theta-lr*(m/(1-betas[0]**t))/((v/(1-betas[1]**t)).sqrt()+eps), m, v


@wrong("optim.2", says="the parameters after step", never="Only m")
def only_v_is_corrected(theta, g, m, v, t, lr, betas, eps):
    m, v = betas[0]*m+(1-betas[0])*g, betas[1]*v+(1-betas[1])*g*g
    return theta-lr*m/((v/(1-betas[1]**t)).sqrt()+eps), m, v


@wrong("optim.2", says="Return three tensors")
def parameters_only(theta, g, m, v, t, lr, betas, eps):
    m, v = betas[0]*m+(1-betas[0])*g, betas[1]*v+(1-betas[1])*g*g
    return theta-lr*(m/(1-betas[0]**t))/((v/(1-betas[1]**t)).sqrt()+eps)


@wrong("optim.2", never="inside the root")
def eps_after_everything(theta, g, m, v, t, lr, betas, eps):
    m, v = betas[0]*m+(1-betas[0])*g, betas[1]*v+(1-betas[1])*g*g
    return theta-lr*((m/(1-betas[0]**t))/((v/(1-betas[1]**t)).sqrt()+1e-12)+eps), m, v


@wrong("optim.2", never="correction")
def with_decay(theta, g, m, v, t, lr, betas, eps): return with_torch(torch.optim.AdamW, theta, g, m, v, t, lr, betas, eps, weight_decay=0.01)


# optim.3: a schedule that begins again

@right("optim.3")
def with_a_closed_formula(schedule, cycles, growth):
    "The piece from a logarithm, where the pieces grow"
    def restarted(t):
        if growth == 1:
            piece = min(int(t*cycles), cycles-1)
            return schedule(t*cycles-piece)
        total = (growth**cycles-1)/(growth-1)
        piece = min(int(math.log(t*total*(growth-1)+1)/math.log(growth)), cycles-1)
        return schedule((t*total-(growth**piece-1)/(growth-1))/growth**piece)
    return restarted


@right("optim.3")
def with_borders(schedule, cycles, growth):
    borders = np.cumsum([0.]+[growth**k for k in range(cycles)])
    borders = borders/borders[-1]
    def restarted(t):
        k = min(np.searchsorted(borders, t, side="right")-1, cycles-1)
        return schedule((t-borders[k])/(borders[k+1]-borders[k]))
    return restarted


@right("optim.3")
def by_recursion(schedule, cycles, growth):
    if cycles == 1: return schedule
    share = 1/sum(growth**k for k in range(cycles))
    rest = by_recursion(schedule, cycles-1, growth)
    return lambda t: schedule(t/share) if t < share else rest((t-share)/(1-share))


@right("optim.3")
class AsAnObject:
    def __init__(self, schedule, cycles, growth):
        self.schedule, self.ends = schedule, torch.tensor([float(growth)**k for k in range(cycles)], dtype=torch.float64).cumsum(0)

    def __call__(self, t):
        place = t*self.ends[-1]
        k = min(int((self.ends <= place).sum()), len(self.ends)-1)
        begin = self.ends[k-1] if k else 0.
        return self.schedule(float((place-begin)/(self.ends[k]-begin)))


@wrong("optim.3", says="same length", never="shrink")
def with_modulo(schedule, cycles, growth): return lambda t: schedule(t*cycles % 1) if t < 1 else schedule(1.)


@wrong("optim.3", says="At t = 1 a new cycle begins", never="same length")
def a_last_piece_that_is_left(schedule, cycles, growth):
    def restarted(t):
        t, length = t*sum(growth**k for k in range(cycles)), 1.
        while t >= length: t, length = t-length, length*growth
        return schedule(t/length)
    return restarted


@wrong("optim.3", says="Return a function of t", never="same length")
def a_number(schedule, cycles, growth): return schedule(1/cycles)


@wrong("optim.3", says="progress", never="a function of t that is called later")
def falls_in_height_too(schedule, cycles, growth):
    inner = with_borders(schedule, cycles, growth)
    return lambda t: inner(t)*(1-t/2)


equivalent("optim.3", "at the very border of two pieces the end of one and the start of the next are both meant", "`passed < length` → `passed <= length`")

# optim.4: the first step

right("optim.4", (10**0.5, 1000**0.5))
right("optim.4", torch.tensor([3.162, 31.62]))
right("optim.4", [np.float64(3.2), 32])
right("optim.4", np.array([3.16, 31.6]))
wrong("optim.4", [32., 3.2], says="other order")
wrong("optim.4", [3.16, 3.16], says="The second number", never="other order")
wrong("optim.4", [0.1, 31.6], says="The first number", never="3.16")
wrong("optim.4", [3.16], says="2 values")
wrong("optim.4", [0., 0.], says="The first number", never="3.16")
wrong("optim.4", ["short", "long"])

# optim.5: the lowest loss

right("optim.5", math.log(math.e+9)-1)
right("optim.5", F.cross_entropy(torch.eye(10), torch.arange(10)))
right("optim.5", np.float64(1.4612))
right("optim.5", 1.461)
wrong("optim.5", 0, says="without the second softmax", never="1.46")
wrong("optim.5", 2.30, never="1.46")
wrong("optim.5", 1.5, says="not the answer", never="1.46")
wrong("optim.5", -1.4612, never="bits")

# clinic.22 and clinic.23: the loop

def loop_with(make, before=lambda model, optimizer: optimizer.zero_grad()):
    def train(model, loss, batches, lr):
        optimizer = make(model.parameters(), lr)
        for batch in batches:
            before(model, optimizer)
            loss(model, batch).backward()
            optimizer.step()
    return train


right("clinic.22", loop_with(lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, foreach=False)))
right("clinic.22", loop_with(lambda parameters, lr: optim.Adam(list(parameters), lr=lr)))
right("clinic.23", loop_with(lambda parameters, lr: optim.SGD(list(parameters), lr=lr), lambda model, optimizer: model.zero_grad(set_to_none=False)))


@right("clinic.22")
def with_inputs_of_backward(model, loss, batches, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for batch in batches:
        parameters = list(model.parameters())
        torch.autograd.backward([loss(model, batch)], inputs=parameters)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


@right("clinic.22")
def formula_by_formula(model, loss, batches, lr):
    parameters = list(model.parameters())
    means = [tuple(torch.zeros(2, *p.shape)) for p in parameters]
    for t, batch in enumerate(batches, 1):
        gradients = torch.autograd.grad(loss(model, batch), parameters)
        with torch.no_grad():
            for k, (p, g) in enumerate(zip(parameters, gradients)):
                moved, m, v = in_numpy(p, g, *means[k], t, lr, (0.9, 0.999), 1e-8)
                means[k] = m, v
                p.copy_(moved)


@right("clinic.23")
def zeroed_after_the_step(model, loss, batches, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    optimizer.zero_grad(set_to_none=False)
    for batch in batches:
        loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()


@right("clinic.23")
def by_hand(model, loss, batches, lr):
    for batch in batches:
        gradients = torch.autograd.grad(loss(model, batch), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients): parameter -= lr*gradient


@right("clinic.23")
def a_new_descent_each_time(model, loss, batches, lr):
    "Plain descent has nothing to forget"
    for batch in batches:
        model.zero_grad()
        loss(model, batch).backward()
        torch.optim.SGD(model.parameters(), lr=lr).step()


@wrong("clinic.22", never="AdamW")
def two_steps_a_batch(model, loss, batches, lr):
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for batch in batches:
        for _ in range(2):
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()


@wrong("clinic.22", says="Adam is still born anew", never="smaller rate")
def made_by_a_helper(model, loss, batches, lr):
    def step(batch):
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    for batch in batches: step(batch)


wrong("clinic.22", loop_with(lambda parameters, lr: torch.optim.RMSprop(parameters, lr=lr)), never="Plain descent")
wrong("clinic.22", loop_with(lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr)), says="AdamW decays")


@wrong("clinic.22", never="`zero_grad` got lost")
def all_but_the_last_batch(model, loss, batches, lr): return loop_with(torch.optim.Adam)(model, loss, batches[:-1], lr)


@wrong("clinic.23", says="every step repeats", never="thrown away")
def zeroed_before_the_loop_only(model, loss, batches, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.zero_grad()
    for batch in batches:
        loss(model, batch).backward()
        optimizer.step()


wrong("clinic.23", loop_with(lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9)), never="thrown away")
wrong("clinic.23", loop_with(lambda parameters, lr: torch.optim.SGD(parameters, lr=lr/10)), never="every step repeats")


@wrong("clinic.23", says="no parameter ever moves", never="every step repeats")
def nothing(model, loss, batches, lr):
    for batch in batches: loss(model, batch).backward()


equivalent("clinic.22", "data ask for no gradient, so nothing is cut", "…`batches` detached")
equivalent("clinic.23", "data ask for no gradient, so nothing is cut", "…`batches` detached")

# clinic.47: a softmax too many

equivalent("clinic.47", "only its shape or dtype is used at this place", "`logits` detached (2) in `with_one_hot_targets`", "`logits` detached (3) in `with_one_hot_targets`")
equivalent("clinic.47", "float32 is exact enough, more is no fault", "`logits.double()` → `logits` in `in_float64`")

@right("clinic.47")
def in_two_steps(logits, targets): return F.nll_loss(F.log_softmax(logits, -1), targets)


@right("clinic.47")
def by_rows(logits, targets): return torch.stack([torch.logsumexp(row, 0)-row[target] for row, target in zip(logits, targets)]).mean()


@right("clinic.47")
def with_one_hot_targets(logits, targets): return F.cross_entropy(logits, F.one_hot(targets, logits.shape[1]).to(logits.dtype))


@right("clinic.47")
def as_a_module(logits, targets): return nn.NLLLoss()(nn.LogSoftmax(1)(logits), targets)


@right("clinic.47")
def in_float64(logits, targets):
    logits = logits.double()
    return (logits.logsumexp(1)-logits.gather(1, targets[:, None]).squeeze(1)).mean().float()


@wrong("clinic.47", says="a softmax too many", never="columns")
def a_softmax_by_hand(logits, targets):
    shares = (logits-logits.amax(dim=1, keepdim=True)).exp()
    return F.cross_entropy(shares/shares.sum(dim=1, keepdim=True), targets)


@wrong("clinic.47", says="No gradient comes back", never="accuracy")
def a_number_instead(logits, targets): return F.cross_entropy(logits, targets).item()


@wrong("clinic.47", says="No gradient comes back", never="accuracy")
def cut(logits, targets): return F.cross_entropy(logits.detach(), targets)


@wrong("clinic.47", never="softmax too many")
def squares(logits, targets): return F.mse_loss(logits, F.one_hot(targets, logits.shape[1]).float())


@wrong("clinic.47", says="shape", never="sum over the batch")
def one_for_each_row(logits, targets): return F.cross_entropy(logits, targets, reduction="none")


@wrong("clinic.47", says="no longer finite", never="No gradient")
def overflowing(logits, targets): return (logits.exp().sum(1).log()-logits[torch.arange(len(targets)), targets]).mean()

# clinic.56: the best test epoch

@right("clinic.56")
def with_pairs(valid, test): return max(zip(valid, test))[1]


@right("clinic.56")
def with_arg_max(valid, test): return float(torch.tensor(test)[torch.tensor(valid).argmax()])


@right("clinic.56")
def with_a_running_best(valid, test):
    best, report = -1., None
    for choice, measured in zip(valid, test):
        if choice > best: best, report = choice, measured
    return np.float64(report)


@wrong("clinic.56", says="still chooses", never="Backwards")
def sorted_test(valid, test): return sorted(test)[-1]


@wrong("clinic.56", says="for the same reason", never="still chooses")
def the_validation(valid, test): return sorted(valid)[-1]


@wrong("clinic.56", never="still chooses")
def the_best_of_both_means(valid, test): return max((a+b)/2 for a, b in zip(valid, test))


@wrong("clinic.56", never="nobody has chosen")
def chosen_by_both(valid, test): return test[max(range(len(test)), key=lambda k: valid[k]+test[k])]


@wrong("clinic.56", says="That is the epoch", never="worst")
def epoch(valid, test): return int(np.argmax(valid))

equivalent("clinic.47", "the logits have two axes: the last is axis 1", "`-1` → `1` in `in_two_steps`")
equivalent("clinic.47", "the mean over all pairs of a row's sum and a target's logit is the same number", "`logits.gather(1, targets[:, None]).squeeze(1)` → `logits.gather(1, targets[:, None])` in `in_float64`")
equivalent("clinic.47", "float32 is exact enough, more is no fault", "without `logits = logits.double()` in `in_float64`")
equivalent("clinic.56", "every accuracy is larger than -2 as well", "`1.0` → `2.0` in `with_a_running_best`")
equivalent("clinic.56", "an epoch that is looked at twice changes neither choice nor report", "the last one twice: `for choice, measured in zip(valid, test):` in `with_a_running_best`")
