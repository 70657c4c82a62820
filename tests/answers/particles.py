"""Further answers to the exercises of chapter 14."""
import math
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong
from genesis_course.particles import euler_step, pair_forces

PRECISION = "precision is free: float64 is as right as float32"


# 14.1

@right("particles.1")
def of_the_library(position, velocity, force, dt, damping=1.): return euler_step(position, velocity, force, dt, damping)


@right("particles.1")
def multiplied_out(position, velocity, force, dt, damping=1.):
    return position + damping*dt*velocity + dt**2*force, damping*velocity + force*dt


@right("particles.1")
def as_a_list(position, velocity, force, dt, damping=1.):
    faster = torch.add(velocity*damping, force, alpha=dt)
    return [torch.add(position, faster, alpha=dt), faster]


@right("particles.1")
def in_double(position, velocity, force, dt, damping=1.):
    velocity = damping*velocity.double() + dt*force.double()
    return position.double() + dt*velocity, velocity


@wrong("particles.1", says="velocity", never="energy out of nothing")
def adds_in_place(position, velocity, force, dt, damping=1.):
    velocity = velocity.mul_(damping).add_(force, alpha=dt)
    return position + dt*velocity, velocity


@wrong("particles.1", says="position")
def moves_the_callers_position(position, velocity, force, dt, damping=1.):
    with torch.no_grad(): velocity = damping*velocity + dt*force
    position += dt*velocity
    return position, velocity


@wrong("particles.1", says="No gradient")
def detached(position, velocity, force, dt, damping=1.): return tuple(x.detach() for x in euler_step(position, velocity, force, dt, damping))


@wrong("particles.1", says="*old* velocity", never="push of this step")
def explicit(position, velocity, force, dt, damping=1.): return position + velocity*dt, velocity*damping + force*dt


@wrong("particles.1", never="*old* velocity")
def damped_force(position, velocity, force, dt, damping=1.):
    velocity = velocity + dt*force
    return position + dt*velocity, damping*velocity


equivalent("particles.1", PRECISION, "the result in float64, or whole numbers in float32", "the result in float64, or whole numbers in float32 in `as_a_list`")


# 14.2

@right("particles.2")
def in_a_loop(position, stiffness, length):
    forces = []
    for i, here in enumerate(position):
        total = torch.zeros_like(here)
        for j, there in enumerate(position):
            if i != j:
                r = (here-there).norm()
                total = total - stiffness*(r-length)*(here-there)/r
        forces.append(total)
    return torch.stack(forces)


@right("particles.2")
def with_the_pair_law(position, stiffness, length):
    def law(squared): return -stiffness*(1 - length/squared.clamp(min=1e-16).sqrt())
    return pair_forces(position, law)


@right("particles.2")
def without_the_diagonal(position, stiffness, length):
    apart = position.unsqueeze(1) - position.unsqueeze(0)
    alone = torch.eye(len(position), dtype=position.dtype)
    r = (apart.square().sum(-1) + alone).sqrt()
    return torch.einsum("ij,ijd->id", -stiffness*(r-length)/r*(1-alone), apart)


@right("particles.2")
def with_where(position, stiffness, length):
    apart = position[:, None] - position
    same = torch.eye(len(position), dtype=bool)[..., None]
    r = torch.where(same, 1., apart).norm(dim=2, keepdim=True)
    return torch.where(same, 0., stiffness*(length-r)*apart/r).sum(dim=1)


@right("particles.2")
def normalised(position, stiffness, length):
    apart = position[:, None] - position[None]
    unit = F.normalize(apart, dim=-1)
    return (stiffness*(length - (apart*unit).sum(dim=-1, keepdim=True))*unit).sum(dim=1)


@wrong("particles.2", says="gradient is NaN", never="0/0 is no number")
def hides_nan(position, stiffness, length):
    apart = position[:, None] - position[None]
    r = apart.norm(dim=-1, keepdim=True)
    return torch.nan_to_num(-stiffness*(r-length)*apart/r).sum(dim=1)


@wrong("particles.2", says="gradient is NaN", never="0/0 is no number")
def a_root_without_a_clamp(position, stiffness, length):
    apart = position[:, None] - position[None]
    r = apart.square().sum(dim=-1, keepdim=True).sqrt()
    return (-stiffness*(r-length)*apart/r.clamp(min=1e-9)).sum(dim=1)


@wrong("particles.2", says="No gradient")
def by_numpy(position, stiffness, length):
    p = position.detach().numpy()
    apart = p[:, None]-p[None]
    r = np.sqrt((apart**2).sum(-1, keepdims=True))
    return torch.from_numpy((-stiffness*(r-length)*apart/np.maximum(r, 1e-9)).sum(1))


@wrong("particles.2", says="turned round", never="one of its two ends")
def pushes(position, stiffness, length): return -in_a_loop(position, stiffness, length)


@wrong("particles.2", says="NaN")
def divides_by_zero(position, stiffness, length): return F.normalize(position[:, None]-position[None], dim=-1, eps=0.).mul(-stiffness*(torch.cdist(position, position)-length)[..., None]).sum(1)


@wrong("particles.2", never="no length of their own")
def half_of_each_pair(position, stiffness, length): return in_a_loop(position, stiffness, length)/2


equivalent("particles.2", PRECISION, "the result in float64, or whole numbers in float32")
equivalent("particles.2", "any small number keeps 0/0 away", "`1e-09` → `2e-09`", "`1e-16` → `2e-16` in `with_the_pair_law`")


# 14.3

@right("particles.3")
def by_shapes(particles, height, width):
    dense = torch.empty(particles, height, width, device="meta").numel()
    return [dense, torch.empty(particles, height+1, device="meta").numel() + torch.empty(particles, width+1, device="meta").numel()]


@right("particles.3")
def as_floats(particles, height, width): return float(particles*height*width), float(particles*(height+width+2))


@right("particles.3")
def counted(particles, height, width):
    dense = sum(1 for _ in range(height) for _ in range(width))*particles
    separable = particles*sum(len(range(n+1)) for n in (height, width))
    return torch.tensor(dense), torch.tensor(separable)


@wrong("particles.3", says="edges", never="one particle")
def without_edges(particles, height, width): return particles*height*width, particles*height + particles*width


@wrong("particles.3", never="edges of the pixels, and n")
def one_edge_in_all(particles, height, width): return particles*height*width, particles*(height+width+1)


@wrong("particles.3", says="not multiplied", never="wrong order")
def all_edges(particles, height, width): return particles*height*width, particles*(height+1)*(width+1)


# 14.4

@right("particles.4")
def with_einsum(density):
    _, h, w = density.shape
    x, y = (torch.linspace(-1+1/n, 1-1/n, n, dtype=density.dtype) for n in (w, h))
    share = density/density.sum(dim=(1, 2), keepdim=True)
    return torch.stack([torch.einsum("bhw,w->b", share, x), torch.einsum("bhw,h->b", share, y)], dim=-1)


@right("particles.4")
def pixel_by_pixel(density):
    centres = []
    for image in density:
        h, w = image.shape
        sums = [sum(image[i, j]*value for i in range(h) for j in range(w) for value in [place(i, j)])
                for place in (lambda i, j: (2*j+1)/w-1, lambda i, j: (2*i+1)/h-1)]
        centres.append(torch.stack(sums)/image.sum())
    return torch.stack(centres)


@right("particles.4")
def with_a_mesh(density):
    _, h, w = density.shape
    y, x = torch.meshgrid((torch.arange(h)+0.5)/h*2-1, (torch.arange(w)+0.5)/w*2-1, indexing="ij")
    places = torch.stack([x.flatten(), y.flatten()], dim=1).double()
    flat = density.flatten(1).double()
    return flat @ places / flat.sum(dim=1, keepdim=True)


@wrong("particles.4", says="upside down", never="changed places")
def upwards(density): return with_einsum(density.flip(1))


@wrong("particles.4", says="edge")
def with_linspace(density):
    _, h, w = density.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.stack([(density*x).sum((1, 2)), (density*y).sum((1, 2))], dim=1)/density.sum((1, 2))[:, None]


@wrong("particles.4", says="No gradient")
def cut(density): return with_einsum(density.detach())


@wrong("particles.4", says="density", never="whole *batch*")
def divides_in_place(density):
    with torch.no_grad(): density /= density.sum(dim=(1, 2), keepdim=True)
    return with_einsum(density)


@wrong("particles.4", never="Half a pixel")
def right_edges(density):
    _, h, w = density.shape
    return with_einsum(density) + torch.tensor([1/w, 1/h])


equivalent("particles.4", PRECISION, "the result in float64, or whole numbers in float32")


# Case 51

@right("clinic.51")
def as_the_page_has_it(force, position, dt):
    slope = torch.autograd.functional.jacobian(lambda flat: force(flat.view_as(position)).flatten(), position.flatten())
    longest = 2/(-torch.linalg.eigvals(slope).real.min()).clamp(min=1e-12).sqrt().item()
    return max(1, math.ceil(2*dt/longest))


def row_by_row(force, position):
    "The slope of a force, [2N, 2N]"
    places = position.clone().requires_grad_()
    return torch.stack([torch.autograd.grad(value, places, retain_graph=True)[0].flatten() for value in force(places).flatten()])


@right("clinic.51")
def one_more_and_one_more(force, position, dt):
    squares = (-torch.linalg.eigvals(row_by_row(force, position)).real).clamp(min=0)
    number = 1
    while (squares*(dt/number)**2 > 1).any(): number += 1
    return number


@right("clinic.51")
def by_small_differences(force, position, dt):
    wide, far = position.double(), 1e-5
    columns = []
    for k in range(wide.numel()):
        push = torch.zeros_like(wide).view(-1)
        push[k] = far
        columns.append((force(wide+push.view_as(wide))-force(wide-push.view_as(wide))).flatten()/(2*far))
    stiffest = max(0., -float(np.linalg.eigvals(torch.stack(columns, 1).numpy()).real.min()))
    return torch.tensor(max(1, math.ceil(dt*stiffest**0.5)))


@wrong("clinic.51", says="limit itself", never="Rounded down")
def to_the_limit(force, position, dt): return math.ceil(as_the_page_has_it(force, position, dt/2))


@wrong("clinic.51", never="limit itself")
def one_too_many(force, position, dt): return as_the_page_has_it(force, position, dt)+1


@wrong("clinic.51", says="squared")
def by_the_square(force, position, dt):
    return max(1, math.ceil(dt*float(-torch.linalg.eigvals(row_by_row(force, position)).real.min())))


# Case 52: particles.5 of old

@right("clinic.52")
def of_chapter_15(raw): return 0.1*(2.4*raw.tanh()).exp()


@right("clinic.52")
def arc_tangent(raw): return 0.58 + 1.15*torch.atan(raw)/math.pi


@right("clinic.52")
def on_a_logarithmic_scale(raw): return torch.exp(math.log(0.008) + math.log(180)*torch.sigmoid(raw))


@right("clinic.52")
def in_single_precision(raw): return (0.55*(raw.float()/5).tanh() + 0.551).clone()


@wrong("clinic.52", says="upper bound")
def exponential(raw): return torch.exp(raw)


@wrong("clinic.52", says="No gradient", never="nothing holds it")
def detached_sigmoid(raw): return 0.005 + raw.detach().sigmoid()


@wrong("clinic.52", says="same shape")
def a_softmax_sum(raw): return raw.softmax(dim=0).sum()


@wrong("clinic.52", never="below the clamp")
def clamped_on_both_sides(raw): return raw.clamp(0.01, 1.5)


@wrong("clinic.52", says="above 0")
def tanh(raw): return raw.tanh()


# Case 53: particles.6 of old

def walls(position, velocity): return (position.abs() > 1) & (position*velocity > 0)


@right("clinic.53")
def with_factors(position, velocity, force, dt, steps):
    film = [position]
    for _ in range(steps):
        velocity = velocity + dt*force(film[-1])
        velocity = velocity*(1 - 2*walls(film[-1], velocity).to(velocity.dtype))
        film.append(film[-1] + dt*velocity)
    return torch.stack(film, dim=0)


@right("clinic.53")
def signs(position, velocity, force, dt, steps):
    film = position[None]
    for _ in range(steps):
        velocity = torch.add(velocity, force(position), alpha=dt)
        velocity = torch.where(position > 1, -velocity.abs(), torch.where(position < -1, velocity.abs(), velocity))
        position = position + dt*velocity
        film = torch.cat([film, position[None]])
    return film


@right("clinic.53")
def recursive(position, velocity, force, dt, steps):
    if not steps: return position[None]
    faster = velocity + dt*force(position)
    faster = faster.masked_scatter(walls(position, faster), -faster[walls(position, faster)])
    return torch.cat([position[None], recursive(position + dt*faster, faster, force, dt, steps-1)])


@wrong("clinic.53", says="PyTorch refuses", never="walls are gone")
def clones_first(position, velocity, force, dt, steps):
    position, velocity = position.clone(), velocity.clone()
    film = [position.clone()]
    for _ in range(steps):
        velocity += dt*force(position)
        velocity[walls(position, velocity)] *= -1
        position += dt*velocity
        film.append(position.clone())
    return torch.stack(film)


@wrong("clinic.53", says="torch.stack", never="shape")
def unstacked(position, velocity, force, dt, steps): return list(signs(position, velocity, force, dt, steps))


@wrong("clinic.53", says="walls", never="trembles")
def without_walls(position, velocity, force, dt, steps):
    film = [position]
    for _ in range(steps):
        velocity = velocity + dt*force(position)
        position = position + dt*velocity
        film.append(position)
    return torch.stack(film)


@wrong("clinic.53", never="trembles")
def stuck_at_the_wall(position, velocity, force, dt, steps): return signs(position, velocity, force, dt, steps).clamp(-1, 1)


@wrong("clinic.53", says="velocity")
def writes_into_the_velocity(position, velocity, force, dt, steps):
    film = [position]
    for _ in range(steps):
        with torch.no_grad(): velocity += dt*force(position)
        velocity = torch.where(walls(position, velocity), -velocity, velocity)
        position = position + dt*velocity
        film.append(position)
    return torch.stack(film)


equivalent("clinic.53", PRECISION, "the result in float64, or whole numbers in float32")
equivalent("particles.1", PRECISION,
           "`position.double()` → `position` in `in_double`")
equivalent("particles.2", "a distance is the same from both ends",
           "`here - there` → `there - here` in `in_a_loop`")
equivalent("particles.3", "the same count: where and in which order the values would lie does not matter",
           "`torch.empty(particles, height + 1, device='meta')` → `torch.empty(particles, height + 1)` in `by_shapes`",
           "`torch.empty(particles, width + 1, device='meta')` → `torch.empty(particles, width + 1)` in `by_shapes`",
           "`torch.empty(particles, height + 1, device='meta')` → `torch.empty(height + 1, particles, device='meta')` in `by_shapes`",
           "the result in float64, or whole numbers in float32 in `counted`")
equivalent("particles.4", "shape and precision of the density are read there, not its values",
           "`density` detached", "`density` detached (2)", "`density` detached (3)", "`density` detached (2) in `with_einsum`",
           "`torch.arange(width, dtype=density.dtype)` → `torch.arange(width)`", "`torch.arange(height, dtype=density.dtype)` → `torch.arange(height)`")
equivalent("particles.4", "a sum over two axes does not know their order",
           "`(1, 2)` → `(2, 1)`")
equivalent("clinic.51", "a count of parts is a whole number: nobody differentiates it",
           "`position` detached", "`position` detached (2)", "`torch.linalg.eigvals(slope).real.min().item()` → `torch.linalg.eigvals(slope).real.min()`")
equivalent("clinic.52", "every smooth map that rises between the bounds is right",
           "`0.005 + 1.2 * raw.sigmoid()` → `1.2 * raw.sigmoid()`", "`0.005` → `0.01`", "`1.2 * raw.sigmoid()` → `raw.sigmoid()`",
           "`torch.sigmoid(raw)` → `torch.tanh(raw)` in `on_a_logarithmic_scale`", "`180` → `179` in `on_a_logarithmic_scale`",
           "`math.log(180)` → `math.log1p(180)` in `on_a_logarithmic_scale`", "`5` → `6` in `in_single_precision`")
equivalent("clinic.52", PRECISION,
           "the result in float64, or whole numbers in float32", "the result in float64, or whole numbers in float32 in `arc_tangent`",
           "the result in float64, or whole numbers in float32 in `on_a_logarithmic_scale`", "`raw.float()` → `raw` in `in_single_precision`")
equivalent("clinic.53", "a comparison has no gradient, and neither has what is only compared",
           "`position` detached (5)", "`velocity` detached (5)", "`position` detached (6)", "`velocity` detached (5) in `with_factors`", "`position` detached (4) in `signs`",
           "`position` detached (4) in `recursive`")
equivalent("clinic.53", "who stands still outside has no velocity that could be turned round, and a quotient has the sign of the product",
           "`position * velocity > 0` → `position * velocity >= 0`", "`position * velocity` → `position / velocity`")
equivalent("clinic.51", "what is negative is never above 1 either",
           "`(-torch.linalg.eigvals(row_by_row(force, position)).real).clamp(min=0)` → `-torch.linalg.eigvals(row_by_row(force, position)).real` in `one_more_and_one_more`")
equivalent("particles.2", PRECISION,
           "the result in float64, or whole numbers in float32 in `normalised`")
