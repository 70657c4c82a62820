"Chapter 14: the laws of the particle system and of its renderer."
import math
import pytest
import torch
from torch.nn import functional as F
from helpers import normal, message_of
from genesis_course.data import load_images, to_floats
from genesis_course.particles import Particles, euler_step, fit_particles, pair_forces, picture, scatter, simulate, splat

DOUBLE = torch.float64


def a_cloud(batch=2, count=7, axes=None, seed=0):
    "Position, size and ink of a cloud well inside the square, float64"
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, count) if axes is None else (batch, count, axes)
    return (torch.rand(batch, count, 2, generator=rng, dtype=DOUBLE)-0.5, 0.03+0.05*torch.rand(shape, generator=rng, dtype=DOUBLE), 0.2+torch.rand(batch, count, generator=rng, dtype=DOUBLE))


def dense(position, size, density, height, width, fine=20):
    "Oracle: every particle at every point of a fine grid, then the mean over each pixel"
    size = size[..., None].expand(*size.shape, 2) if size.ndim == 2 else size
    x, y = (((torch.arange(n*fine, dtype=DOUBLE)+0.5)*2/(n*fine)-1) for n in (width, height))
    powers = -((x-position[..., 0, None])**2/(2*size[..., 0, None]**2))[:, :, None, :] - ((y-position[..., 1, None])**2/(2*size[..., 1, None]**2))[:, :, :, None]
    return F.avg_pool2d((density[..., None, None]*powers.exp()).sum(dim=1)[:, None], fine)[:, 0]


def amount(density): return density.sum(dim=(1, 2))*4/(density.shape[1]*density.shape[2])


def spring(position): return -position


def push(squared): return torch.exp(-squared/0.08)


both_sizes = pytest.mark.parametrize("axes", [None, 2])


# The renderer

@both_sizes
def test_splat_is_the_mean_of_the_density_over_each_pixel(axes):
    cloud = a_cloud(axes=axes)
    torch.testing.assert_close(splat(*cloud, 9, 13), dense(*cloud, 9, 13), rtol=0, atol=1e-3)


def test_x_runs_to_the_right_and_y_downwards():
    density = splat(torch.tensor([[[0.25, -0.625]]]), torch.tensor([[0.05]]), torch.ones(1, 1), 8, 4)
    assert divmod(int(density.argmax()), 4) == (1, 2)                # second row from the top, third column from the left
    wide = splat(torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.05]]]), torch.ones(1, 1), 40, 40)
    assert wide[0, 20, 5] > 0.1 > wide[0, 5, 20]


@both_sizes
@pytest.mark.parametrize("height, width", [(1, 1), (3, 50), (28, 28), (40, 7)])
def test_ink_is_conserved_at_every_resolution(axes, height, width):
    position, size, density = a_cloud(axes=axes)
    product = size**2 if axes is None else size.prod(dim=2)
    torch.testing.assert_close(amount(splat(position, size, density, height, width)), (2*math.pi*product*density).sum(dim=1), rtol=1e-5, atol=0)


def test_ink_is_conserved_wherever_a_small_particle_stands():
    position = torch.stack([torch.linspace(-0.5, 0.5, 101, dtype=DOUBLE), torch.linspace(0.3, -0.4, 101, dtype=DOUBLE)], dim=1)[:, None]
    size = torch.full((101, 1), 0.01, dtype=DOUBLE)
    torch.testing.assert_close(amount(splat(position, size, torch.ones_like(size), 28, 28)), torch.full((101,), 2*math.pi*1e-4, dtype=DOUBLE), rtol=1e-9, atol=0)


@both_sizes
def test_resolutions_agree_exactly(axes):
    cloud = a_cloud(axes=axes)
    torch.testing.assert_close(F.avg_pool2d(splat(*cloud, 64, 64)[:, None], 4)[:, 0], splat(*cloud, 16, 16), rtol=0, atol=1e-13)
    torch.testing.assert_close(F.avg_pool2d(splat(*cloud, 30, 8)[:, None], (3, 2))[:, 0], splat(*cloud, 10, 4), rtol=0, atol=1e-13)


@both_sizes
def test_two_clouds_add_and_order_does_not_matter(axes):
    cloud = a_cloud(axes=axes)
    whole, order = splat(*cloud, 12, 10), torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(splat(*(x[:, :3] for x in cloud), 12, 10) + splat(*(x[:, 3:] for x in cloud), 12, 10), whole, rtol=0, atol=1e-13)
    torch.testing.assert_close(splat(*(x[:, order] for x in cloud), 12, 10), whole, rtol=0, atol=1e-13)


def test_clouds_of_a_batch_do_not_know_of_each_other():
    cloud = a_cloud(batch=3)
    torch.testing.assert_close(splat(*cloud, 12, 10)[1:2], splat(*(x[1:2] for x in cloud), 12, 10), rtol=0, atol=0)


def test_a_shift_by_whole_pixels_rolls_the_picture():
    position, size, density = a_cloud()
    position, size = position*0.3, size*0.5
    moved = splat(position+torch.tensor([2*2/20, -3*2/25], dtype=DOUBLE), size, density, 25, 20)
    torch.testing.assert_close(moved, splat(position, size, density, 25, 20).roll((-3, 2), dims=(1, 2)), rtol=0, atol=1e-12)


def test_exchanged_axes_transpose_the_picture():
    position, size, density = a_cloud(axes=2)
    torch.testing.assert_close(splat(position.flip(2), size.flip(2), density, 13, 9), splat(position, size, density, 9, 13).transpose(1, 2), rtol=0, atol=1e-13)


@both_sizes
def test_gradients_are_right(axes):
    inputs = [x.requires_grad_() for x in a_cloud(1, 3, axes)]
    assert torch.autograd.gradcheck(lambda *cloud: splat(*cloud, 4, 5), inputs)
    assert torch.autograd.gradcheck(lambda *cloud: picture(splat(*cloud, 4, 5)), inputs)


def test_round_and_equal_pairs_are_the_same():
    position, size, density = a_cloud()
    torch.testing.assert_close(splat(position, size[..., None].expand(-1, -1, 2), density, 6, 5), splat(position, size, density, 6, 5), rtol=0, atol=0)


def test_no_particles_are_an_empty_picture_and_one_is_one():
    empty = splat(torch.zeros(2, 0, 2), torch.zeros(2, 0), torch.zeros(2, 0), 4, 6)
    assert empty.shape == (2, 4, 6) and not empty.any() and (picture(empty) == -1).all()
    assert splat(torch.zeros(1, 1, 2), torch.full((1, 1), 0.1), torch.ones(1, 1), 4, 6).shape == (1, 4, 6)


def test_the_dtype_stays():
    for dtype in (torch.float32, torch.float64): assert splat(*(x.to(dtype) for x in a_cloud()), 4, 4).dtype == dtype


def test_picture_covers_what_the_ink_covers():
    density = torch.rand(3, 4, 5, dtype=DOUBLE)*4
    images = picture(density)
    assert images.shape == (3, 1, 4, 5)
    torch.testing.assert_close(images[:, 0], 2*(1-torch.exp(-density))-1)
    assert picture(torch.zeros(1, 1, 1)).item() == -1 and picture(torch.full((1, 1, 1), 50.)).item() == 1
    torch.testing.assert_close((1-picture(density[:1]))*(1-picture(density[1:2]))/2, 1-picture(density[:1]+density[1:2]))      # layers in any order


# The particle system

def test_euler_step_is_its_formula():
    x, v, f = normal(3, 4, 2), normal(3, 4, 2, seed=1), normal(3, 4, 2, seed=2)
    position, velocity = euler_step(x, v, f, 0.2, 0.7)
    torch.testing.assert_close(velocity, 0.7*v+0.2*f)
    torch.testing.assert_close(position, x+0.2*velocity)


def test_a_spring_keeps_its_modified_energy_and_explicit_euler_would_not():
    x, v = torch.ones(1, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)
    for _ in range(1000): x, v = euler_step(x, v, -4*x, 0.3)                 # omega = 2, omega*dt = 0.6
    assert abs((v**2+4*x**2-4*0.3*x*v).item()-4) < 1e-10


@pytest.mark.parametrize("product, stays", [(1.9, True), (1.99, True), (2.01, False), (2.2, False)])
def test_a_step_is_stable_below_two(product, stays):
    x, v = torch.ones(1, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)
    for _ in range(500): x, v = euler_step(x, v, -x, product)
    assert (abs(x.item()) < 100) == stays


def test_pair_forces_obey_the_third_law():
    position = normal(2, 30, 2)
    forces = pair_forces(position, push)
    assert forces.shape == (2, 30, 2) and forces.sum(dim=1).abs().max() < 1e-13*forces.abs().sum()
    torque = (position[..., 0]*forces[..., 1]-position[..., 1]*forces[..., 0]).sum(dim=1)       # forces along the joining line: no spin either
    assert torque.abs().max() < 1e-12*forces.abs().sum()


def test_pair_forces_know_no_names_and_no_place():
    position, order = normal(1, 12, 2), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pair_forces(position[:, order], push), pair_forces(position, push)[:, order])
    torch.testing.assert_close(pair_forces(position+3., push), pair_forces(position, push))
    turn = torch.tensor([[0., 1.], [-1., 0.]], dtype=DOUBLE)
    torch.testing.assert_close(pair_forces(position@turn, push), pair_forces(position, push)@turn)


def test_pair_forces_by_hand():
    forces = pair_forces(torch.tensor([[0., 0.], [2., 0.]]), lambda squared: 1/(1+squared))
    assert forces.tolist() == [[pytest.approx(-0.4), 0.], [pytest.approx(0.4), 0.]]


def test_pair_forces_have_a_gradient_where_particles_meet():
    position = torch.zeros(1, 3, 2, requires_grad=True)
    pair_forces(position, push).square().sum().backward()
    assert position.grad.isfinite().all()
    assert pair_forces(torch.zeros(1, 1, 2), push).abs().max() == 0 and pair_forces(torch.zeros(1, 0, 2), push).shape == (1, 0, 2)


def test_simulate_keeps_momentum_and_every_step():
    position, velocity = normal(2, 9, 2), normal(2, 9, 2, seed=1)
    film = simulate(position, velocity, lambda x: pair_forces(x, push), 0.05, 40)
    assert film.shape == (41, 2, 9, 2) and torch.equal(film[0], position)
    centre = film.mean(dim=2)
    torch.testing.assert_close(centre[1:]-centre[:-1], (0.05*velocity.mean(dim=1)).expand(40, 2, 2))
    assert simulate(position, velocity, spring, 0.1, 0).shape == (1, 2, 9, 2)


def test_simulate_is_differentiable_to_the_first_step():
    position, velocity = normal(1, 2, 2), normal(1, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: simulate(position, v, lambda x: pair_forces(x, push)-x, 0.1, 5, 0.9)[-1], [velocity])


def test_simulate_leaves_its_arguments_alone():
    position, velocity = normal(1, 3, 2), normal(1, 3, 2, seed=1)
    before = position.clone(), velocity.clone()
    simulate(position, velocity, spring, 0.1, 5)
    assert torch.equal(position, before[0]) and torch.equal(velocity, before[1])


def test_damping_takes_the_energy():
    film = simulate(torch.ones(1, 1, 2), torch.zeros(1, 1, 2), spring, 0.1, 500, damping=0.9)
    assert film[-1].abs().max() < 1e-3


# Fitting

def test_scatter_has_the_amount_of_ink_it_was_asked_for():
    for size in (0.05, (0.05, 0.1)):
        cloud = scatter(3, 20, size, spread=0.1, amount=0.5, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(amount(splat(*cloud, 30, 30)), torch.full((3,), 0.5), rtol=1e-3, atol=0)
    assert cloud.size.shape == (3, 20, 2) and scatter(3, 20).size.shape == (3, 20)
    assert torch.equal(scatter(1, 5, generator=torch.Generator().manual_seed(1)).position, scatter(1, 5, generator=torch.Generator().manual_seed(1)).position)


@both_sizes
def test_a_drawn_cloud_is_found_again_on_a_picture_that_is_not_square(axes):
    target = Particles(torch.tensor([[[0.4, -0.3]], [[-0.5, 0.2]]]), torch.full((2, 1, 2), 0.15), torch.full((2, 1), 1.5))
    images = picture(splat(*target, 20, 30))
    start = scatter(2, 1, 0.3 if axes is None else (0.3, 0.3), spread=0.05, generator=torch.Generator().manual_seed(0))
    found, errors = fit_particles(images, start)
    assert errors.shape == (200, 2) and errors[-1].max() < 1e-3 < errors[0].min() and found.size.shape == start.size.shape
    torch.testing.assert_close(found.position, target.position, rtol=0, atol=0.03)


def test_fixed_sizes_stay_and_the_start_is_left_alone():
    start = scatter(1, 4, generator=torch.Generator().manual_seed(0))
    before = [x.clone() for x in start]
    found, _ = fit_particles(torch.zeros(1, 1, 8, 8), start, steps=5, learn_size=False)
    assert torch.allclose(found.size, start.size) and not torch.equal(found.position, start.position)
    assert all(torch.equal(x, y) for x, y in zip(start, before)) and not any(x.requires_grad for x in found)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_small_start_far_away_learns_nothing_and_a_large_one_arrives(seed):
    digit = to_floats(load_images("glyphs", characters="3", count=1, size=28, font=0, slant=0, rotation=0, scale=1, x=0, y=0).images)
    heap = 0.05*torch.randn(1, 64, 2, generator=torch.Generator().manual_seed(seed)) - 0.7
    small, large = (fit_particles(digit, scatter(1, 64, size)._replace(position=heap))[1][-1].item() for size in (0.04, 0.4))
    assert large < 0.1*small


# Bad input

def test_shapes_that_are_no_cloud():
    position, size, density = a_cloud()
    message_of(lambda: splat(position[0], size[0], density[0], 4, 4), "[B, N, 2]", "x[None]")
    message_of(lambda: splat(position, size[:, :3], density, 4, 4), "size float64 [2, 3]")
    message_of(lambda: splat(position, size, density[..., None], 4, 4), "density float64 [2, 7, 1]")
    message_of(lambda: splat(position[..., :1], size, density, 4, 4), "position float64 [2, 7, 1]")
    message_of(lambda: splat(position.long(), size, density, 4, 4), "int64")
    message_of(lambda: splat("cloud", size, density, 4, 4), "str")
    message_of(lambda: splat(position, 0.1, density, 4, 4), "size float")


@pytest.mark.parametrize("height, width, name", [(0, 4, "height"), (4, 0, "width"), (4, 2.5, "width"), ("4", 4, "height"), (True, 4, "height")])
def test_pictures_without_pixels(height, width, name): message_of(lambda: splat(*a_cloud(), height, width), name, "whole number")


def test_picture_wants_a_density():
    message_of(lambda: picture(torch.zeros(2, 1, 4, 4)), "[2, 1, 4, 4]", "splat")
    message_of(lambda: picture([1.]), "list")


def test_steps_that_cannot_be_taken():
    x, v = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    for dt in (0, -0.1, math.nan, "0.1", None): message_of(lambda: simulate(x, v, spring, dt, 5), "dt", "above 0")
    for damping in (-0.1, 1.1, math.nan): message_of(lambda: simulate(x, v, spring, 0.1, 5, damping), "damping", "at most 1")
    for steps in (-1, 2.5, "5"): message_of(lambda: simulate(x, v, spring, 0.1, steps), "steps", "whole number")


def test_positions_that_are_none():
    v = torch.zeros(1, 2, 2)
    message_of(lambda: simulate(torch.full((1, 2, 2), math.nan), v, spring, 0.1, 5), "position", "NaN", "before the first step")
    message_of(lambda: simulate(torch.zeros(1, 2, 3), v, spring, 0.1, 5), "[1, 2, 3]")
    message_of(lambda: simulate([0., 0.], v, spring, 0.1, 5), "list")
    message_of(lambda: simulate(torch.zeros(1, 2, 2), torch.full((1, 2, 2), math.inf), spring, 0.1, 5), "velocity", "before the first step")


def test_an_explosion_names_its_step():
    message = message_of(lambda: simulate(torch.ones(1, 1, 2), torch.zeros(1, 1, 2), lambda x: -x, 3., 500), "flew apart", "smaller dt", "ω·dt < 2")
    step = int(message.split("at step ")[1].split()[0])
    assert simulate(torch.ones(1, 1, 2), torch.zeros(1, 1, 2), lambda x: -x, 3., step-1).isfinite().all()


def test_clouds_that_cannot_be_scattered():
    for batch, count in [(0, 3), (3, 0), (2.5, 3), (3, "4")]: message_of(lambda: scatter(batch, count), "whole number")
    for size in (0, -0.1, math.nan, (0.1, 0)): message_of(lambda: scatter(1, 3, size), "size", "above 0")
    for sizes in ((), (0.1, 0.1, 0.1)): message_of(lambda: scatter(1, 3, sizes), "one number, or a pair")
    message_of(lambda: scatter(1, 3, spread=-1), "spread")
    message_of(lambda: scatter(1, 3, amount=0), "amount")


def test_fits_that_cannot_be_made():
    images, start = torch.zeros(2, 1, 8, 8), scatter(2, 3)
    message_of(lambda: fit_particles(torch.zeros(2, 3, 8, 8), start), "grey", "[2, 3, 8, 8]")
    message_of(lambda: fit_particles(images.to(torch.uint8), start), "uint8", "to_floats")
    message_of(lambda: fit_particles(images*3-9, start), "[-1, 1]")
    message_of(lambda: fit_particles(images, scatter(1, 3)), "2 images", "1 clouds")
    message_of(lambda: fit_particles(images, start.position), "scatter")
    message_of(lambda: fit_particles(images, Particles(*(x[:, :0] for x in start))), "without particles")
    for size in (0., -0.1): message_of(lambda: fit_particles(images, start._replace(size=start.size*0+size)), "sizes", "above 0")
    message_of(lambda: fit_particles(images, start._replace(density=start.density*0)), "densities", "above 0")
    message_of(lambda: fit_particles(images, start._replace(position=start.position*math.nan)), "positions", "NaN")
    message_of(lambda: fit_particles(images*math.nan, start), "images", "NaN")
    message_of(lambda: fit_particles(images, start, steps=0), "steps")
    message_of(lambda: fit_particles(images, start, lr=0), "lr")
