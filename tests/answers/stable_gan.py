"""Further answers to the exercises of chapter 09a."""
import numpy as np
import torch
from answers import equivalent, right, wrong
from genesis_course.exercises.stable_gan import four, stretch
from genesis_course.stable_gan import ConvGenerator
from torch import nn
from torch.nn import functional as F

# 1: a map, flattened

right("stable_gan.1", 4096.)
right("stable_gan.1", torch.tensor(256*4**2))
right("stable_gan.1", np.int64(4096))
wrong("stable_gan.1", 256*64*64, says="shrinks as well")
wrong("stable_gan.1", 512*4*4, says="is not the answer", never="halving")
wrong("stable_gan.1", 256*5*5, says="is not the answer", never="halving")


# 2: how far a layer stretches

@right("stable_gan.2")
def as_the_gradient_of_half_the_square(f, x, steps):
    for _ in range(steps):
        x = (x/x.norm()).requires_grad_()
        (f(x).square().sum()/2).backward()
        x = x.grad
    return x.norm().sqrt()


@right("stable_gan.2")
def by_vjp(f, x, steps):
    for _ in range(steps): _, x = torch.autograd.functional.vjp(f, x/x.norm(), f(x/x.norm()))
    return float(f(x/x.norm()).norm())


@right("stable_gan.2")
def by_the_decomposition(f, x, steps):
    jacobian = torch.autograd.functional.jacobian(f, x)
    return torch.linalg.matrix_norm(jacobian.reshape(-1, x.numel()), 2)


@wrong("stable_gan.2", never="Frobenius")
def the_root_of_the_estimate(f, x, steps): return stretch.solution(f, x, steps)**0.5


@wrong("stable_gan.2", says="never sent back")
def how_much_the_start_is_stretched(f, x, steps): return f(x/x.norm()).norm()


@wrong("stable_gan.2", says="never divided out")
def grows_without_end(f, x, steps):
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (f(x).square().sum()/2).backward()
        x = x.grad
    return x.norm()


@wrong("stable_gan.2", says="never back")
def to_and_to(f, x, steps):
    for _ in range(steps): x = f(x)/f(x).norm()
    return f(x).norm()


@wrong("stable_gan.2", says="number", never="Frobenius")
def gives_the_direction(f, x, steps):
    for _ in range(steps):
        x = x.detach().requires_grad_()
        y = f(x)
        x, = torch.autograd.grad(y, x, (y/y.norm()).detach())
    return x


equivalent("stable_gan.2", "how far a map stretches is measured here, and nobody differentiates it", "the result is detached", "`(y / y.norm()).detach()` → `y / y.norm()`", "`x` detached (3)", "`x` detached (4)",
           "`x` detached (2) in `as_the_gradient_of_half_the_square`", "`x` detached (3) in `as_the_gradient_of_half_the_square`", "`x` detached (3) in `by_vjp`")
equivalent("stable_gan.2", "one number, in whatever precision", "the result in float64, or whole numbers in float32", "the result in float64, or whole numbers in float32 in `as_the_gradient_of_half_the_square`",
           "the result in float64, or whole numbers in float32 in `by_the_decomposition`")
equivalent("stable_gan.2", "a round more or less of thirty makes no difference", "the last one twice: `for _ in range(steps):`", "the last one dropped: `for _ in range(steps):`",
           "the last one twice: `for _ in range(steps):` in `as_the_gradient_of_half_the_square`")
equivalent("stable_gan.2", "f is linear: its gradient is the same wherever it is taken", "`x / x.norm()` → `x.norm() / x` in `by_vjp`", "`x / x.norm()` → `x` in `by_vjp`",
           "only the first row of each argument counts in `by_the_decomposition`", "only the first column or channel of each argument counts in `by_the_decomposition`")


# 3: a plane and its penalties

right("stable_gan.3", (16., 25., 0., 1.))
right("stable_gan.3", torch.tensor([16., 25., 0., 1.]))
right("stable_gan.3", np.array([16, 25, 0, 1]))
right("stable_gan.3", [torch.tensor(16.), 25, 0, np.float64(1)])
wrong("stable_gan.3", [16, 25], says="4 values")
wrong("stable_gan.3", [16, 25, 1, 1], says="third number", never="first")
wrong("stable_gan.3", [16, 50, 0, 2], says="second number", never="γ/2")
wrong("stable_gan.3", [16, 25, 0, 25], says="fourth number", never="Right without")
wrong("stable_gan.3", [1, 25, 0, 1], says="first number")
wrong("stable_gan.3", [float("nan"), 25, 0, 1])
wrong("stable_gan.3", ["16", "25", "0", "1"])


# 4: every label at once

@right("stable_gan.4")
def with_a_weight_for_each_class(discriminator, images):
    weight = discriminator.head.weight+discriminator.label.weight
    return F.linear(discriminator.features(images), weight, discriminator.head.bias.expand(len(weight)))


@right("stable_gan.4")
def class_by_class(discriminator, images):
    h = discriminator.features(images)
    head = discriminator.head(h).squeeze(1)
    vectors = discriminator.label(torch.arange(discriminator.classes))
    return torch.stack([head+(h*vector).sum(dim=1) for vector in vectors], dim=1)


@right("stable_gan.4")
def by_einsum(discriminator, images):
    h = discriminator.layers(images)
    return torch.einsum("bf,cf->bc", h, discriminator.label.weight)+discriminator.head(h)


@wrong("stable_gan.4", says="compute h(x) once")
def one_call_for_each_label(discriminator, images):
    labels = torch.arange(discriminator.classes)
    return torch.stack([discriminator(images, label.expand(len(images))) for label in labels], dim=1)


@wrong("stable_gan.4", says="compute h(x) once")
def one_large_batch(discriminator, images):
    classes = discriminator.classes
    logits = discriminator(images.repeat_interleave(classes, dim=0), torch.arange(classes).repeat(len(images)))
    return logits.view(len(images), classes)


@wrong("stable_gan.4", says="the other way round")
def a_row_for_each_class(discriminator, images):
    h = discriminator.features(images)
    return discriminator.label.weight @ h.T+discriminator.head(h).T


@wrong("stable_gan.4", says="cut off")
def under_no_grad(discriminator, images):
    with torch.no_grad(): return by_einsum(discriminator, images)


@wrong("stable_gan.4", never="cut off")
def with_frozen_vectors(discriminator, images):
    h = discriminator.features(images)
    return discriminator.head(h)+h @ discriminator.label.weight.detach().T


@wrong("stable_gan.4", never="is the same number")
def with_the_mean_of_the_products(discriminator, images):
    h = discriminator.features(images)
    return discriminator.head(h)+h @ discriminator.label.weight.T/h.shape[1]


# Case 31: batch norm in the discriminator

@right("clinic.31")
def in_a_list(discriminator, real, fake): return [discriminator(images) for images in (real, fake)]


@right("clinic.31")
def fakes_as_constants(discriminator, real, fake): return discriminator(real), discriminator(fake.detach())


@right("clinic.31")
def stacked(discriminator, real, fake): return torch.stack([discriminator(real), discriminator(fake)])


@right("clinic.31")
def fakes_first(discriminator, real, fake):
    of_fakes = discriminator(fake)
    return discriminator(real), of_fakes


@wrong("clinic.31", says="still in one batch")
def split_by_length(discriminator, real, fake): return discriminator(torch.cat([real, fake])).split(len(real))


@wrong("clinic.31", says="still in one batch")
def fakes_come_first(discriminator, real, fake):
    logits = discriminator(torch.cat([fake, real]))
    return logits[len(fake):], logits[:len(fake)]


@wrong("clinic.31", says="never learn anything")
def in_evaluation_mode_for_a_moment(discriminator, real, fake):
    discriminator.eval()
    logits = discriminator(real), discriminator(fake)
    discriminator.train()
    return logits


@wrong("clinic.31", says="cut off")
def without_gradients(discriminator, real, fake):
    with torch.no_grad(): return discriminator(real), discriminator(fake)


@wrong("clinic.31", never="in one batch")
def one_tensor_of_all(discriminator, real, fake): return torch.cat([discriminator(real), discriminator(fake)])


@wrong("clinic.31", says="from the fake logits", never="it cannot learn from them")
def fakes_under_no_grad(discriminator, real, fake):
    with torch.no_grad(): of_fakes = discriminator(fake)
    return discriminator(real), of_fakes


equivalent("clinic.31", "the discriminator's own step takes images as constants", "`real` detached", "`fake` detached", "`fake` detached in `fakes_as_constants`",
           "`fake.detach()` → `fake` in `fakes_as_constants`", "`fake` detached in `stacked`", "`fake` detached in `fakes_first`")


# Case 7: three numbers, because of red, green and blue

@right("clinic.7")
def of_transposed_convolutions():
    return nn.Sequential(nn.Linear(32, 32*4*4), nn.ReLU(), nn.Unflatten(1, (32, 4, 4)), nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
                         nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1), nn.Tanh())


@right("clinic.7")
def of_the_chapter(): return ConvGenerator(32, 16, channels=3)


@right("clinic.7")
class OfAClass(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(32, 200), nn.Linear(200, 768)
    def forward(self, z): return torch.tanh(self.out(F.leaky_relu(self.hidden(z), 0.2))).view(-1, 3, 16, 16)


@right("clinic.7")
def of_one_layer(): return nn.Sequential(nn.Linear(32, 768), nn.Unflatten(1, (3, 16, 16)), nn.Hardtanh())


@right("clinic.7")
def enlarged_and_then_convolved():
    return nn.Sequential(nn.Linear(32, 16*8*8), nn.ReLU(), nn.Unflatten(1, (16, 8, 8)), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(16, 3, 3, padding=1), nn.Tanh())


@wrong("clinic.7", says="enlarged", never="three numbers, painted")
def enlarged_between_its_pixels():
    return nn.Sequential(nn.Linear(32, 3*8*8), nn.Unflatten(1, (3, 8, 8)), nn.Tanh(), nn.Upsample(scale_factor=2, mode="bilinear"))


@wrong("clinic.7", says="enlarged", never="three numbers, painted")
def enlarged_before_the_end():
    return nn.Sequential(nn.Linear(32, 3*8*8), nn.Unflatten(1, (3, 8, 8)), nn.Upsample(scale_factor=2, mode="bicubic"), nn.Tanh())


@wrong("clinic.7", says="How many numbers")
def of_the_wrong_size(): return ConvGenerator(32, 32, channels=3)


@wrong("clinic.7", says="or only above or below 0")
def with_half_of_the_noise(): return nn.Sequential(nn.ReLU(), nn.Linear(32, 768), nn.Tanh(), nn.Unflatten(1, (3, 16, 16)))


@wrong("clinic.7", says="do not reach the picture")
class WithThreeNumbersOfTheNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 768)
    def forward(self, z): return torch.tanh(self.out(z[:, :3])).view(-1, 3, 16, 16)


# Case 42: every panel from another batch

@right("clinic.42")
def one_after_another(paint, read, count):
    pictures = paint(count)
    return pictures, torch.cat([read(part) for part in pictures.split(1)])


@right("clinic.42")
def with_a_list_of_readings(paint, read, count):
    pictures = paint(count)
    return pictures, [read(picture[None]).item() for picture in pictures]


@right("clinic.42")
def in_a_list_of_two(paint, read, count):
    batch = paint(count=count)
    return [batch, read(batch)]


@wrong("clinic.42", says="still painted anew")
def two_of_each(paint, read, count):
    shown = torch.cat([paint(count)[k:k+1] for k in range(count)])
    return shown, torch.cat([read(paint(count))[k:k+1] for k in range(count)])


@wrong("clinic.42", says="once for each picture")
def one_by_one(paint, read, count):
    pictures = torch.cat([paint(1) for _ in range(count)])
    return pictures, torch.stack([read(picture[None])[0] for picture in pictures])


@wrong("clinic.42", says="wrong order")
def readings_first(paint, read, count):
    pictures = paint(count)
    return read(pictures), pictures


@wrong("clinic.42", never="painted anew")
def the_first_picture_only(paint, read, count):
    picture = paint(count)[:1].expand(count, -1, -1, -1)
    return picture, read(picture)


equivalent("clinic.42", "5.0 names the same digit as 5", "the result in float64, or whole numbers in float32", "the result in float64, or whole numbers in float32 in `with_a_list_of_readings`",
           "the result in float64, or whole numbers in float32 in `in_a_list_of_two`", "the result in float64, or whole numbers in float32 in `one_after_another`")
equivalent("clinic.42", "two pictures read at a time are read as one at a time", "`1` → `2` in `one_after_another`")
equivalent("clinic.42", "a batch is painted once, and nobody learns from it", "… detached")
