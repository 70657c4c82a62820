"""Further answers to the exercises of chapter 15."""
import copy
import math
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong
from genesis_course.genesis import follow

PRECISION = "precision is free: float64 is as right as float32"


# 15.1

@right("genesis.1")
def with_diff(path): return torch.stack(path).diff(dim=0).norm(dim=-1).sum(dim=0).mean(dim=-1)


@right("genesis.1")
def with_pythagoras(path):
    total = 0.
    for k in range(1, len(path)):
        dx, dy = (path[k]-path[k-1]).unbind(dim=2)
        total = total + torch.hypot(dx, dy).mean(dim=1)
    return total


@right("genesis.1")
def by_numpy(path):
    places = np.stack([place.numpy() for place in path]).astype(np.float64)
    return torch.from_numpy(np.sqrt((np.diff(places, axis=0)**2).sum(-1)).sum(0).mean(-1))


@wrong("genesis.1", says="two ends", never="mean length of one step")
def as_the_crow_flies(path): return torch.linalg.norm(path[0]-path[-1], dim=-1).mean(-1)


@wrong("genesis.1", says="taxi")
def by_taxi(path): return torch.stack(path).diff(dim=0).abs().sum(dim=(0, 3)).mean(dim=1)


@wrong("genesis.1", never="sum over all particles")
def without_the_last_step(path): return with_diff(path[:-1]) if len(path) > 2 else with_diff(path)


@wrong("genesis.1", says="path")
def counts_from_the_start(path):
    for place in path[1:]: place -= path[0]
    return with_diff(path)


# 15.2

@right("genesis.2")
def with_a_matrix(hidden):
    count = hidden.shape[1]
    others = (1 - torch.eye(count, dtype=hidden.dtype))/max(1, count-1)
    return others @ hidden


@right("genesis.2")
def one_by_one(hidden):
    count = hidden.shape[1]
    if count == 1: return 0*hidden
    return torch.stack([torch.cat([hidden[:, :i], hidden[:, i+1:]], dim=1).mean(dim=1) for i in range(count)], dim=1)


@right("genesis.2")
def from_the_mean(hidden):
    count = hidden.size(1)
    mean = hidden.mean(dim=1, keepdim=True)
    return hidden*0 if count < 2 else mean + (mean-hidden)/(count-1)


@right("genesis.2")
def in_double(hidden):
    wide = hidden.double()
    return torch.nan_to_num((wide.sum(1, keepdim=True)-wide)/max(hidden.shape[1]-1, 1))


@wrong("genesis.2", says="No gradient")
def detached(hidden): return with_a_matrix(hidden.detach())


@wrong("genesis.2", never="contains the particle")
def cuts_the_sum(hidden): return (hidden.sum(dim=1, keepdim=True).detach()-hidden)/max(1, hidden.shape[1]-1)


@wrong("genesis.2", says="0/0", never="divide by N")
def nan_when_alone(hidden): return (hidden.sum(1, keepdim=True)-hidden)/(hidden.shape[1]-1.)


@wrong("genesis.2", says="contains the particle")
def everybody(hidden): return torch.ones_like(hidden)*hidden.mean(1, keepdim=True)


@wrong("genesis.2", says="hidden")
def in_place(hidden): return hidden.mul_(-1).add_(-hidden.sum(dim=1, keepdim=True))/max(1, hidden.shape[1]-1)


# 15.3

@right("genesis.3")
def of_one_hots(generator, z, a, b, share, cloud):
    one, two = (F.one_hot(torch.full((len(z),), digit), generator.classes).to(z) for digit in (a, b))
    return follow(dynamics=generator.dynamics, cloud=cloud, condition=torch.cat([z, one.lerp(two, share)], dim=-1), steps=generator.steps, dt=generator.dt,
                  damping=generator.damping, force_scale=1)


@right("genesis.3")
def step_by_step(generator, z, a, b, share, cloud):
    eye = torch.eye(generator.classes)
    condition = torch.hstack([z, ((1-share)*eye[a] + share*eye[b]).repeat(len(z), 1)])
    shift, scale = generator.dynamics.film(condition)[:, None].chunk(2, dim=2)
    position, velocity, hidden = cloud.position, 0*cloud.position, torch.zeros(*cloud.position.shape[:2], generator.dynamics.force.in_features)
    path = [position]
    for step in range(generator.steps):
        hidden, force = generator.dynamics(step, hidden, position, velocity, cloud.particle_noise, shift, scale)
        velocity = generator.damping*velocity + generator.dt*force
        position = position + generator.dt*velocity
        path.append(position)
    return path, hidden


@right("genesis.3")
def row_by_row(generator, z, a, b, share, cloud):
    rows = []
    for code in z:
        wish = [0.]*generator.classes
        wish[a] += 1-share
        wish[b] += share
        rows.append(torch.tensor([*code.tolist(), *wish]))
    return follow(generator.dynamics, cloud, torch.stack(rows), generator.steps, generator.dt, generator.damping, 1.)


@wrong("genesis.3", says="two *ways*")
def of_two_ways(generator, z, a, b, share, cloud):
    first, second = (generator.move(z, torch.full((len(z),), digit), cloud) for digit in (a, b))
    return [(1-share)*one + share*two for one, two in zip(first[0], second[0])], (1-share)*first[1] + share*second[1]


@wrong("genesis.3", says="path alone")
def the_path_alone(generator, z, a, b, share, cloud): return of_one_hots(generator, z, a, b, share, cloud)[0]


@wrong("genesis.3", never="exchanged")
def without_damping(generator, z, a, b, share, cloud):
    wish = torch.zeros(len(z), generator.classes)
    wish[:, a] += 1-share
    wish[:, b] += share
    return follow(generator.dynamics, cloud, torch.cat([z, wish], dim=1), generator.steps, generator.dt, 1., 1.)


@wrong("genesis.3", never="in full")
def a_second_assignment(generator, z, a, b, share, cloud):
    wish = torch.zeros(len(z), generator.classes)
    wish[:, a], wish[:, b] = 1-share, share
    return follow(generator.dynamics, cloud, torch.cat([z, wish], dim=1), generator.steps, generator.dt, generator.damping, 1.)


equivalent("genesis.3", "a film is looked at: nobody differentiates it", "… detached", "everything under `no_grad`", "the result is detached")
equivalent("genesis.3", PRECISION, "the result in float64, or whole numbers in float32")


# 15.4

right("genesis.4", [4, 2, 2])
right("genesis.4", (4., 2., 2.))
right("genesis.4", torch.tensor([4, 2, 2]))
right("genesis.4", np.array([4., 2., 2.]))
wrong("genesis.4", 4, says="Three factors", never="dict")
wrong("genesis.4", (8, 2, 2), says="scores", never="Only the scores")
wrong("genesis.4", (4, 2), says="Three factors")


# 15.5

@right("genesis.5")
def with_a_hook_on_a_copy(dynamics, extra):
    law = copy.copy(dynamics)
    law.forward = lambda *given: (lambda hidden, force: (hidden, force + extra(given[2])))(*dynamics(*given))
    return law


@right("genesis.5")
def a_plain_class(dynamics, extra):
    class Law:
        film, force = dynamics.film, dynamics.force

        def __call__(self, step, hidden, position, velocity, particle_noise, shift, scale):
            hidden, force = dynamics(step, hidden, position, velocity, particle_noise, shift, scale)
            return hidden, extra(position) + force
    return Law()


@right("genesis.5")
def a_function_with_attributes(dynamics, extra):
    def law(step, hidden, position, *rest):
        found = dynamics(step, hidden, position, *rest)
        return [found[0], torch.add(found[1], extra(position))]
    law.film, law.force = dynamics.film, dynamics.force
    return law


@right("genesis.5")
def a_module_that_holds_it(dynamics, extra):
    class Law(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = dynamics

        @property
        def film(self): return self.inner.film

        @property
        def force(self): return self.inner.force

        def forward(self, *given):
            hidden, force = self.inner(*given)
            return hidden, force + extra(given[2])
    return Law()


@wrong("genesis.5", says="`film`")
def a_bare_function(dynamics, extra):
    def law(step, hidden, position, *rest):
        hidden, force = dynamics(step, hidden, position, *rest)
        return hidden, force + extra(position)
    return law


@wrong("genesis.5", says="No gradient")
def without_gradients(dynamics, extra):
    def law(*given):
        with torch.no_grad(): hidden, force = dynamics(*given)
        return hidden, force + extra(given[2]).detach()
    law.film, law.force = dynamics.film, dynamics.force
    return law


@wrong("genesis.5", says="dynamics")
def hooks_the_law_itself(dynamics, extra):
    dynamics.register_forward_hook(lambda module, given, found: (found[0], found[1] + extra(given[2])))
    return dynamics


@wrong("genesis.5", says="two things")
def forces_alone(dynamics, extra):
    def law(*given): return dynamics(*given)[1] + extra(given[2])
    law.film, law.force = dynamics.film, dynamics.force
    return law


@wrong("genesis.5", says="other way", never="gone")
def against(dynamics, extra): return a_plain_class(dynamics, lambda x: -extra(x))


@wrong("genesis.5", never="other way")
def twice(dynamics, extra): return a_plain_class(dynamics, lambda x: 2*extra(x))


equivalent("genesis.5", PRECISION, "the result in float64, or whole numbers in float32")


# 15.6

right("genesis.6", "AB")
right("genesis.6", ("B", "a"))
right("genesis.6", {"A", "B"})
right("genesis.6", "A, B")
wrong("genesis.6", "a", says="mirrored", never="heap")
wrong("genesis.6", ["B", "D"], says="Ask of each", never="not all")
wrong("genesis.6", "ABD", says="heap")
equivalent("genesis.6", "a set of letters has no order", "in the other order")


# Case 54

@right("clinic.54")
def a_tanh(raw): return 1.65 + 1.3*torch.tanh(raw)


@right("clinic.54")
def on_a_logarithmic_scale(raw): return (math.log(2.9)*raw.tanh()).exp()


@right("clinic.54")
def an_arc_tangent(raw): return 1.65 + 1.34*torch.atan(raw)*2/math.pi


@right("clinic.54")
def single_precision(raw): return 0.31 + 2.6/(1 + (-raw.float().clamp(-80, 80)).exp()) + 0.


@wrong("clinic.54", says="Softplus is what")
def softplus(raw): return (1+raw.exp()).log().where(raw < 20, raw)


@wrong("clinic.54", says="No gradient")
def detached_sigmoid(raw): return 0.3 + 2.6*raw.detach().sigmoid()


@wrong("clinic.54", says="as low as", never="bounds of `draw`")
def too_narrow(raw): return 1 + raw.sigmoid()


@wrong("clinic.54", says="falls", never="no slope")
def falling(raw): return 0.3 + 2.6*(-raw).sigmoid()


@wrong("clinic.54", says="same shape")
def a_number(raw): return raw.sigmoid().mean()


# Case 55

@right("clinic.55")
def the_arc_tangent(position): return torch.atan(position)*(2/math.pi)


@right("clinic.55")
def in_two_pieces(position): return torch.where(position > 0, 1 - 1/(1+position.clamp(min=0)), 1/(1-position.clamp(max=0)) - 1)


@right("clinic.55")
def a_soft_logarithm(position): return F.softsign(position)


@right("clinic.55")
def a_longer_arm(position): return position/(1.5+position.abs())


@wrong("clinic.55", says="squash")
def the_squash_of_the_page(position): return position*torch.rsqrt(1+position**2)


@wrong("clinic.55", says="millionth", never="1/x³")
def a_tanh_of_exponentials(position): return 2*(2*position).sigmoid() - 1


@wrong("clinic.55", says="slope", never="millionth")
def a_slow_tanh_is_too_short(position): return (0.5*position).tanh()


@wrong("clinic.55", says="No gradient")
def cut(position): return F.softsign(position.detach())


@wrong("clinic.55", says="middle")
def off_the_middle(position): return F.softsign(position-0.2)
equivalent("genesis.1", "a step is as long backwards as forwards",
           "`zip(path, path[1:])` → `zip(path[1:], path)`", "`after - before` → `before - after`", "`path[k] - path[k - 1]` → `path[k - 1] - path[k]` in `with_pythagoras`")
equivalent("genesis.1", "the length of a way is a measure: nobody differentiates it",
           "`path` detached", "`path` detached (2)", "the result is detached")
equivalent("genesis.1", PRECISION,
           "the result in float64, or whole numbers in float32")
equivalent("genesis.2", "shape and precision are read there, not the values",
           "`hidden` detached", "`hidden` detached (2) in `with_a_matrix`", "`hidden` detached in `with_a_matrix`",
           "`torch.eye(count, dtype=hidden.dtype)` → `torch.eye(count)` in `with_a_matrix`")
equivalent("genesis.2", PRECISION,
           "the result in float64, or whole numbers in float32", "the result in float64, or whole numbers in float32 in `one_by_one`")
equivalent("genesis.3", "a film is looked at: nobody differentiates it",
           "everything under `no_grad` in `row_by_row`")
equivalent("genesis.3", PRECISION,
           "the result in float64, or whole numbers in float32 in `row_by_row`")
equivalent("genesis.5", "only the making of the law is under it, not its calls",
           "everything under `no_grad`", "everything under `no_grad` in `a_function_with_attributes`", "everything under `no_grad` in `a_module_that_holds_it`")
equivalent("genesis.5", "a sum does not know its order",
           "`torch.add(found[1], extra(position))` → `torch.add(extra(position), found[1])` in `a_function_with_attributes`")
equivalent("clinic.54", PRECISION,
           "the result in float64, or whole numbers in float32", "`raw.float()` → `raw` in `single_precision`")
equivalent("clinic.54", "every smooth map that rises between the bounds is right",
           "`math.log(2.9) * raw.tanh()` → `raw.tanh()` in `on_a_logarithmic_scale`", "`80` → `79` (2) in `single_precision`", "`80` → `79` in `single_precision`")
equivalent("clinic.55", PRECISION,
           "the result in float64, or whole numbers in float32", "the result in float64, or whole numbers in float32 in `the_arc_tangent`",
           "the result in float64, or whole numbers in float32 in `a_soft_logarithm`")
equivalent("clinic.55", "an arm twice as long is long enough as well",
           "`1` → `2`")
