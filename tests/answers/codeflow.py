"""Further answers to the exercises of chapter 15b."""
import numpy as np
import torch
from answers import equivalent, right, wrong
from genesis_course.codeflow import read_codes
from genesis_course.particles import euler_step


# 15b.2: a better code

@right("codeflow.2")
def with_sgd(decoder, pictures, labels, cloud, code, steps=50, lr=0.01):
    mine, wanted = code.detach().clone().requires_grad_(), [each.requires_grad for each in decoder.parameters()]
    decoder.requires_grad_(False)
    optimizer = torch.optim.SGD([mine], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(decoder(mine, labels, cloud), pictures, reduction="sum").backward()
        optimizer.step()
    for each, before in zip(decoder.parameters(), wanted): each.requires_grad_(before)
    return mine.detach()


@right("codeflow.2")
def by_hand(decoder, pictures, labels, cloud, code, steps=50, lr=0.01):
    found = code.clone()
    for _ in range(steps):
        at = found.clone().requires_grad_()
        found = found - lr*torch.autograd.grad(((decoder(at, labels, cloud)-pictures)**2).sum(), [at])[0]
    return found


@wrong("codeflow.2", never="uphill")
def with_absolute_errors(decoder, pictures, labels, cloud, code, steps=50, lr=0.01):
    found = code.clone()
    for _ in range(steps):
        at = found.clone().requires_grad_()
        found = found - lr*torch.autograd.grad((decoder(at, labels, cloud)-pictures).abs().sum(), [at])[0]
    return found


@wrong("codeflow.2", says="has gradients now")
def leaves_gradients(decoder, pictures, labels, cloud, code, steps=50, lr=0.01):
    mine = code.detach().clone().requires_grad_()
    optimizer = torch.optim.SGD([mine], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (decoder(mine, labels, cloud)-pictures).square().sum().backward()
        optimizer.step()
    return mine.detach()


# 15b.3: an even pace

@right("codeflow.3")
def with_searchsorted(path, moments):
    places = torch.stack([*path]).double()
    lengths = places.diff(dim=0).norm(dim=-1).mean(dim=(1, 2))
    done = torch.cat([torch.zeros(1).double(), lengths.cumsum(0)])/lengths.sum()
    s = torch.as_tensor(moments, dtype=torch.float64)
    k = (torch.searchsorted(done, s, right=True)-1).clamp(0, len(lengths)-1)
    share = ((s-done[k])/(done[k+1]-done[k])).view(-1, 1, 1, 1)
    return places[k] + share*(places[k+1]-places[k])


@right("codeflow.3")
def with_numpy(path, moments):
    places = np.stack([place.numpy() for place in path]).astype(np.float64)
    lengths = np.linalg.norm(np.diff(places, axis=0), axis=-1).mean(axis=(1, 2))
    clock = np.interp(moments, np.concatenate([[0], np.cumsum(lengths)/lengths.sum()]), np.arange(len(places)))
    k = np.minimum(clock.astype(int), len(places)-2)
    part = (clock-k).reshape(-1, 1, 1, 1)
    return torch.from_numpy((1-part)*places[k]+part*places[k+1])


@wrong("codeflow.3", says="same time")
def step_by_step(path, moments):
    frames = []
    for moment in moments:
        k = min(int(moment*(len(path)-1)), len(path)-2)
        frames.append(path[k].lerp(path[k+1], moment*(len(path)-1)-k))
    return torch.stack(frames)


@wrong("codeflow.3", never="runs backwards")
def straight_to_the_end(path, moments): return torch.stack([path[0].lerp(path[-1], moment) for moment in moments])


# 15b.4: a wall

@right("codeflow.4")
def with_where(decoder, condition, cloud, edge):
    x, v, hidden = cloud.position, cloud.position*0, 0.
    path = [x]
    for told in decoder.dynamics.tell(condition):
        hidden, force = decoder.dynamics(hidden, x, v, *told)
        x, v = euler_step(x, v, force, decoder.dt, decoder.damping)
        beyond = torch.stack([x[..., 0] > edge, torch.zeros_like(x[..., 0], dtype=torch.bool)], dim=-1)
        x, v = torch.where(beyond, torch.full_like(x, edge), x), torch.where(beyond, torch.zeros_like(v), v)
        path.append(x)
    return path, hidden


@right("codeflow.4")
def in_place_on_copies(decoder, condition, cloud, edge):
    position, velocity, hidden, path = cloud[0], torch.zeros_like(cloud[0]), 0., [cloud[0]]
    for told in decoder.dynamics.tell(condition):
        hidden, force = decoder.dynamics(hidden, position, velocity, *told)
        velocity = decoder.damping*velocity + decoder.dt*force
        position = (position + decoder.dt*velocity).clone()
        beyond = position[..., 0] > edge
        position[..., 0][beyond], velocity[..., 0][beyond] = edge, 0.
        path.append(position)
    return path, hidden


@wrong("codeflow.4", says="keep their velocity")
def only_a_clamp(decoder, condition, cloud, edge):
    x, v, hidden, path = cloud.position, torch.zeros_like(cloud.position), 0., [cloud.position]
    for told in decoder.dynamics.tell(condition):
        hidden, force = decoder.dynamics(hidden, x, v, *told)
        x, v = euler_step(x, v, force, decoder.dt, decoder.damping)
        x = torch.stack([x[..., 0].clamp(max=edge), x[..., 1]], dim=-1)
        path.append(x)
    return path, hidden


@wrong("codeflow.4", says="through the wall")
def no_wall(decoder, condition, cloud, edge): return decoder.follow(condition, cloud)


# 15b.5: which part next?

right("codeflow.5", "Prior ")
wrong("codeflow.5", "the decoder", never="nearly as good")
wrong("codeflow.5", "encoder", says="second row")


# The clinic

@right("clinic.82")
def with_argsort(autoencoder, images, labels):
    order = torch.rand(len(images)).argsort()
    return *read_codes(autoencoder, images[order]), labels[order]


@right("clinic.82")
def shuffled_afterwards(autoencoder, images, labels):
    means, stds = read_codes(autoencoder, images)
    order = torch.randperm(len(means))
    return means[order], stds[order], labels[order]


@wrong("clinic.82", never="That is the patient")
def deviations_left_behind(autoencoder, images, labels):
    means, stds = read_codes(autoencoder, images)
    order = torch.randperm(len(means))
    return means[order], stds, labels[order]


@right("clinic.83")
@torch.no_grad()
def noise_first(creation, labels, seed):
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(len(labels), creation.latent_dim, generator=rng)
    return creation(z, labels, creation.sample_cloud(len(labels), generator=rng))


@right("clinic.83")
@torch.no_grad()
def inside_a_fork(creation, labels, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return creation(torch.randn(len(labels), creation.latent_dim), labels)


@wrong("clinic.83", says="everybody else's")
@torch.no_grad()
def with_the_global_seed(creation, labels, seed):
    torch.manual_seed(seed)
    cloud = creation.sample_cloud(len(labels))
    return creation(torch.randn(len(labels), creation.latent_dim), labels, cloud)


PRECISION = "precision is free: float64 is as right as float32"
equivalent("codeflow.2", "a search is not differentiated, and pictures and cloud ask for no gradient", "… detached", "…the result is detached", "…everything under `no_grad`")
equivalent("codeflow.2", PRECISION, "…the result in float64, or whole numbers in float32")
equivalent("codeflow.2", "a square has no sign, and codes that are detached in each step need no copy", "…`code.detach().clone()` → `code.detach()`", "…`code.detach()` → `code`",
           "…`decoder(code, labels, cloud) - pictures` → `pictures - decoder(code, labels, cloud)`", "…`decoder(at, labels, cloud) - pictures` → `pictures - decoder(at, labels, cloud)`")
equivalent("codeflow.3", "a film is looked at: nobody differentiates it", "…the result is detached", "… detached")
equivalent("codeflow.3", PRECISION, "…the result in float64, or whole numbers in float32")
equivalent("codeflow.3", "a share of sums is a share of means, a length has no sign, and at the end of one step the next one begins",
           "`(b - a).norm(dim=-1).mean()` → `(b - a).norm(dim=-1).sum()`", "`zip(path, path[1:])` → `zip(path[1:], path)`", "`b - a` → `a - b`", "`1e-12` → `2e-12`", "`1.0` → `2.0`",
           "`step == 0 or done[step] <= moment` → `done[step] <= moment`", "`done[step] <= moment` → `done[step] < moment`", "…`k < len(lengths) - 1` → `k <= len(lengths) - 1`")
equivalent("codeflow.4", "a film is looked at: nobody differentiates it", "…the result is detached", "… detached", "…everything under `no_grad`")
equivalent("codeflow.4", PRECISION, "…the result in float64, or whole numbers in float32")
equivalent("codeflow.4", "nobody stands exactly on the edge without having been put there", "`position[..., :1] <= edge` → `position[..., :1] < edge`")
equivalent("clinic.82", "codes for the flow are data: nobody asks for the images' gradient", "… detached", "…everything under `no_grad`", "…the result is detached")
equivalent("clinic.82", PRECISION, "…the result in float64, or whole numbers in float32")
equivalent("clinic.82", "any other order is as random", "…`7` → `8`")
equivalent("clinic.83", "a drawing is looked at: nobody differentiates it", "… detached", "…everything under `no_grad`", "…the result is detached")
equivalent("clinic.83", PRECISION, "…the result in float64, or whole numbers in float32")


@right("codeflow.2")
def through_functional_grad(decoder, pictures, labels, cloud, code, steps=50, lr=0.01):
    from torch.func import grad
    def error(code): return torch.linalg.vector_norm(decoder(code, labels, cloud)-pictures)**2
    found = code.detach()
    for _ in range(steps): found = found - lr*grad(error)(found)
    return found.detach()


@right("codeflow.3")
def by_walking(path, moments):
    lengths = [(b-a).norm(dim=-1).mean().item() for a, b in zip(path, path[1:])]
    frames = []
    for moment in moments:
        left, k = moment*sum(lengths), 0
        while k < len(lengths)-1 and left > lengths[k]: left, k = left-lengths[k], k+1
        frames.append(path[k] + min(1., left/lengths[k])*(path[k+1]-path[k]))
    return torch.stack(frames)


@right("codeflow.4")
def with_minimum(decoder, condition, cloud, edge):
    x, v, hidden, path = cloud.position, 0*cloud.position, 0., [cloud.position]
    most = torch.tensor([float(edge), float("inf")])
    for told in decoder.dynamics.tell(condition):
        hidden, force = decoder.dynamics(hidden, x, v, *told)
        x, v = euler_step(x, v, force, decoder.dt, decoder.damping)
        v, x = v*(x <= most), torch.minimum(x, most)
        path.append(x)
    return tuple(path), hidden


right("codeflow.5", "PRIOR")
right("codeflow.5", "prior")


@right("clinic.82")
def with_python(autoencoder, images, labels):
    import random
    order = list(range(len(images)))
    random.Random(7).shuffle(order)
    means, stds = read_codes(autoencoder, images[order])
    return [means, stds, labels[order]]


@right("clinic.83")
@torch.no_grad()
def two_generators(creation, labels, seed):
    z = torch.randn(len(labels), creation.latent_dim, generator=torch.Generator().manual_seed(seed))
    return creation(z, labels, creation.sample_cloud(len(labels), generator=torch.Generator().manual_seed(seed+1)))


# 15b.1: another brush

@right("codeflow.1")
def on_the_grid(place, size, density, height, width):
    y, x = torch.meshgrid((torch.arange(height)+0.5)*2/height-1, (torch.arange(width)+0.5)*2/width-1, indexing="ij")
    near = torch.stack([x, y], dim=-1)[None, None] - place[:, :, None, None]
    return (density[:, :, None, None]*(near.abs() < size[:, :, None, None]).all(dim=-1)).sum(dim=1)


@right("codeflow.1")
def dab_by_dab(place, size, density, height, width):
    sheet = np.zeros((len(place), height, width))
    rows, columns = (2*np.arange(height)+1)/height-1, (2*np.arange(width)+1)/width-1
    for b in range(len(place)):
        for (x, y), (a, c), ink in zip(place[b].numpy(), size[b].numpy(), density[b].numpy()):
            sheet[b] += ink*np.outer(np.abs(rows-y) < c, np.abs(columns-x) < a)
    return torch.from_numpy(sheet)


@wrong("codeflow.1", never="exchanged")
def round_ones(place, size, density, height, width):
    y, x = torch.meshgrid((torch.arange(height)+0.5)*2/height-1, (torch.arange(width)+0.5)*2/width-1, indexing="ij")
    near = (torch.stack([x, y], dim=-1)[None, None] - place[:, :, None, None])/size[:, :, None, None]
    return (density[:, :, None, None]*(near.square().sum(dim=-1) < 1)).sum(dim=1)


@wrong("codeflow.1", says="It adds its density")
def without_ink(place, size, density, height, width): return on_the_grid(place, size, torch.ones_like(density), height, width)


# 15b.6: gravity

@right("codeflow.6")
def pair_by_pair(position, g=0.01, s=0.2):
    force = torch.zeros_like(position)
    for i in range(position.shape[1]):
        for j in range(position.shape[1]):
            way = position[:, j]-position[:, i]
            force[:, i] += g*way/(way.square().sum(dim=1, keepdim=True)+s*s)**1.5
    return force


@right("codeflow.6")
def as_a_gradient(position, g=0.01, s=0.2):
    "Force is minus the slope of the potential energy"
    x = position.detach().clone().requires_grad_()
    energy = -g*(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()+s**2).rsqrt().triu(1).sum()
    return -torch.autograd.grad(energy, x)[0]


@wrong("codeflow.6", says="push each other away")
def antigravity(position, g=0.01, s=0.2): return -pair_by_pair(position, g, s)


@wrong("codeflow.6", never="push each other away")
def without_softening(position, g=0.01, s=0.2): return pair_by_pair(position, g, 1e-3)


@right("codeflow.1")
def with_einsum(place, size, density, height, width):
    def within(k, pixels): return ((torch.linspace(-1+1/pixels, 1-1/pixels, pixels, dtype=place.dtype)[None, None]-place[:, :, k:k+1]).abs() < size[:, :, k:k+1]).double()
    return torch.einsum("bn,bnh,bnw->bhw", density.double(), within(1, height), within(0, width))


@right("codeflow.6")
def by_powers(position, g=0.01, s=0.2):
    way = position.unsqueeze(1)-position.unsqueeze(2)
    strength = g/((way**2).sum(-1)+s**2).pow(1.5)
    return torch.einsum("bij,bijk->bik", strength, way)


equivalent("codeflow.1", "a picture is looked at: nobody differentiates it, and an edge has no gradient", "… detached", "…the result is detached")
equivalent("codeflow.1", PRECISION, "…the result in float64, or whole numbers in float32")
equivalent("codeflow.1", "a distance has no sign, and no centre of a pixel lies exactly on an edge", "…`centres - x[..., None]` → `x[..., None] - centres`",
           "`(centres - x[..., None]).abs() < reach[..., None]` → `(centres - x[..., None]).abs() <= reach[..., None]`", "…`np.abs(rows - y) < c` → `np.abs(rows - y) <= c`",
           "…`np.abs(columns - x) < a` → `np.abs(columns - x) <= a`", "…`torch.stack([x, y], dim=-1)[None, None] - place[:, :, None, None]` → `place[:, :, None, None] - torch.stack([x, y], dim=-1)[None, None]`")
equivalent("codeflow.1", "the tests run on the CPU", "`torch.arange(pixels, device=x.device)` → `torch.arange(pixels)`")
equivalent("codeflow.6", "a film is looked at: nobody differentiates it", "… detached", "…the result is detached")
equivalent("codeflow.6", PRECISION, "…the result in float64, or whole numbers in float32")
equivalent("codeflow.6", "distances of so few points come out the same either way", "…`torch.cdist(x, x, compute_mode='donot_use_mm_for_euclid_dist')` → `torch.cdist(x, x)`")
equivalent("codeflow.6", "the energy of a particle with itself is a constant", "…`1` → `0`")
