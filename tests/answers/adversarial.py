"""Further answers to the exercises of chapter 13."""
import math
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong
from genesis_course.adversarial import fgsm, perturb
from genesis_course.run import in_mode

NO_GRADIENT = "the pictures of an attack are data: nobody differentiates them again"


def slope_of(model, images, labels, reduction="mean"):
    images = images.detach().clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(images), labels, reduction=reduction), images)[0]


# 13.1

@right("adversarial.1")
def of_the_library(model, images, labels, eps): return fgsm(model, images, labels, eps)


@right("adversarial.1")
def with_where(model, images, labels, eps):
    slope = slope_of(model, images, labels, "sum")
    moved = torch.where(slope > 0, images+eps, torch.where(slope < 0, images-eps, images))
    return moved.clamp(min=-1).clamp(max=1)


@right("adversarial.1")
def one_by_one(model, images, labels, eps):
    return torch.cat([torch.maximum(torch.minimum(image + eps*torch.sign(slope_of(model, image, label)), torch.tensor(1.)), torch.tensor(-1.))
                      for image, label in zip(images.split(1), labels.split(1))])


@right("adversarial.1")
def by_log_softmax(model, images, labels, eps):
    images = images.detach().requires_grad_()
    picked = model(images).log_softmax(dim=1)[torch.arange(len(labels)), labels]
    slope, = torch.autograd.grad(-picked.sum(), images)
    return torch.clip(images.detach()+eps*slope.sgn(), -1, 1)


@right("adversarial.1")
def backward_put_back(model, images, labels, eps):
    kept = [p.grad for p in model.parameters()]
    for p in model.parameters(): p.grad = None
    pixels = images.clone().requires_grad_()
    F.cross_entropy(model(pixels), labels).backward()
    for p, grad in zip(model.parameters(), kept): p.grad = grad
    return (images + eps*pixels.grad.sign()).clamp(-1, 1)


@wrong("adversarial.1", says="weight")
def with_backward_on_a_detached_copy(model, images, labels, eps):
    pixels = images.detach().requires_grad_()
    F.cross_entropy(model(pixels), labels, reduction="sum").backward()
    return torch.clip(images + eps*pixels.grad.sign(), -1, 1)


@wrong("adversarial.1", says="images", never="every weight")
def in_place(model, images, labels, eps):
    slope = slope_of(model, images, labels)
    return images.add_(eps*slope.sign()).clamp_(-1, 1)


@wrong("adversarial.1", says="images")
def leaves_a_wish(model, images, labels, eps):
    images.requires_grad_()
    slope, = torch.autograd.grad(F.cross_entropy(model(images), labels), images)
    return (images.detach() + eps*slope.sign()).clamp(-1, 1)


@wrong("adversarial.1", never="goes up the loss")
def pixels_without_a_slope_move_too(model, images, labels, eps):
    slope = slope_of(model, images, labels)
    return (images + eps*torch.where(slope >= 0, 1., -1.)).clamp(-1, 1)


@wrong("adversarial.1", says="sign")
def scaled_gradient(model, images, labels, eps): return (images + eps*slope_of(model, images, labels)).clip(-1, 1)


@wrong("adversarial.1", never="adds the gradient itself")
def of_length_eps(model, images, labels, eps):
    slope = slope_of(model, images, labels)
    return (images + eps*slope/slope.abs().amax(dim=(1, 2, 3), keepdim=True)).clamp(-1, 1)


equivalent("adversarial.1", NO_GRADIENT, "the result is detached", "`images.detach()` → `images`", "`images.detach()` → `images` (2) in `by_log_softmax`")


# 13.2

@right("adversarial.2")
def one_image_at_a_time(gradient, eps, norm):
    changes = []
    for each in gradient:
        if norm == math.inf: change = eps*torch.sgn(each)
        elif norm == 2: change = each*eps/each.square().sum().sqrt()
        else:
            change = torch.zeros_like(each)
            place = int(each.abs().argmax())
            change.view(-1)[place] = math.copysign(eps, each.reshape(-1)[place])
        changes.append(change)
    return torch.stack(changes)


@right("adversarial.2")
def with_masks(gradient, eps, norm):
    if norm == 1: return torch.where(gradient.abs() == gradient.abs().amax(dim=(1, 2, 3), keepdim=True), eps*gradient.sign(), 0.)
    if norm == 2: return eps*F.normalize(gradient.flatten(1), dim=1).view_as(gradient)
    return torch.where(gradient > 0, eps, torch.where(gradient < 0, -eps, 0.))


@right("adversarial.2")
def with_one_hot(gradient, eps, norm):
    flat = gradient.reshape(len(gradient), -1)
    if np.isinf(norm): change = flat/flat.abs().clamp(min=1e-30)
    elif norm == 2: change = flat/torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    else: change = F.one_hot(flat.abs().max(dim=1).indices, flat.shape[1])*flat.sign()
    return (eps*change).reshape(gradient.shape)


@wrong("adversarial.2", says="gradient", never="L2 this divides")
def overwrites(gradient, eps, norm):
    if norm == math.inf: return gradient.sign_().mul_(eps)
    return one_image_at_a_time(gradient, eps, norm)


@wrong("adversarial.2", says="darker")
def always_brighter(gradient, eps, norm):
    if norm != 1: return one_image_at_a_time(gradient, eps, norm)
    return torch.where(gradient.abs() == gradient.abs().amax(dim=(1, 2, 3), keepdim=True), eps, 0.)


@wrong("adversarial.2", never="the right length")
def best_pixel_of_the_batch(gradient, eps, norm):
    if norm != 1: return one_image_at_a_time(gradient, eps, norm)
    return torch.where(gradient.abs() == gradient.abs().max(), eps*gradient.sign(), 0.)


@wrong("adversarial.2", never="largest gradient, whatever")
def one_pixel_of_each_channel(gradient, eps, norm):
    if norm != 1: return one_image_at_a_time(gradient, eps, norm)
    return torch.where(gradient.abs() == gradient.abs().amax(dim=(2, 3), keepdim=True), eps*gradient.sign(), 0.)


@wrong("adversarial.2", says="length of the whole batch")
def batch_length(gradient, eps, norm): return eps*gradient/gradient.square().sum().sqrt() if norm == 2 else one_image_at_a_time(gradient, eps, norm)


equivalent("adversarial.2", "a step of an attack is not differentiated again", "… detached", "the result is detached")
equivalent("adversarial.2", "the largest gradient has the sign 1 or -1, and dividing by it is multiplying", "`eps * flat.gather(1, best).sign()` → `eps / flat.gather(1, best).sign()`")


# 13.3

@right("adversarial.3")
def with_corners(model, images, labels, eps, steps, decay):
    low, high = (images-eps).clamp(min=-1), (images+eps).clamp(max=1)
    x, memory = images.clone(), 0
    for _ in range(steps):
        slope = slope_of(model, x, labels, "sum")
        memory = decay*memory + F.normalize(slope.flatten(1), p=1, dim=1).view_as(slope)
        x = torch.maximum(low, torch.minimum(high, x + 2.5*eps/steps*memory.sign()))
    return x


@right("adversarial.3")
def the_change_is_kept(model, images, labels, eps, steps, decay):
    change, memory = torch.zeros_like(images), torch.zeros_like(images)
    for _ in range(steps):
        change.requires_grad_()
        slope, = torch.autograd.grad(F.cross_entropy(model(images+change), labels), change)
        memory = decay*memory + slope/slope.flatten(1).norm(p=1, dim=1).view(-1, 1, 1, 1)
        change = (change.detach() + 2.5*eps/steps*torch.sgn(memory)).clamp(-eps, eps)
        change = (images+change).clamp(-1, 1) - images
    return images+change


@right("adversarial.3")
def images_one_by_one(model, images, labels, eps, steps, decay):
    found = []
    for image, label in zip(images, labels):
        x, memory = image, 0.
        for _ in range(steps):
            slope = slope_of(model, x[None], label[None])[0]
            memory = memory*decay + slope/slope.abs().sum()
            x = image + torch.clamp(x + 2.5*eps/steps*memory.sign() - image, -eps, eps)
            x = x.clamp(-1, 1)
        found.append(x)
    return torch.stack(found)


@right("adversarial.3")
def a_scaled_memory(model, images, labels, eps, steps, decay):
    "The mean instead of the sum in every division is one factor for all: the sign forgets it"
    x, memory = images, 0.
    for _ in range(steps):
        slope = slope_of(model, x, labels)
        memory = decay*memory + slope/slope.abs().mean(dim=(1, 2, 3), keepdim=True)
        x = x + 2.5*eps/steps*memory.sign()
        x = torch.min(torch.max(x, images-eps), images+eps).clamp(-1, 1)
    return x


@wrong("adversarial.3", says="sum over the whole batch")
def batch_sum(model, images, labels, eps, steps, decay):
    x, memory = images, 0.
    for _ in range(steps):
        slope = slope_of(model, x, labels)
        memory = decay*memory + slope/slope.norm(p=1)
        x = (images + (x - images + 2.5*eps/steps*memory.sign()).clamp(-eps, eps)).clamp(-1, 1)
    return x


@wrong("adversarial.3", says="forgets", never="Adam")
def without_a_memory(model, images, labels, eps, steps, decay):
    return perturb(images, lambda x: F.cross_entropy(model(x), labels), eps, steps)


@wrong("adversarial.3", never="forgets")
def projected_at_the_end(model, images, labels, eps, steps, decay):
    x, memory = images, 0.
    for _ in range(steps):
        slope = slope_of(model, x, labels)
        memory = decay*memory + slope/slope.abs().sum(dim=(1, 2, 3), keepdim=True)
        x = x + 2.5*eps/steps*memory.sign()
    return (images + (x-images).clamp(-eps, eps)).clamp(-1, 1)


@wrong("adversarial.3", never="Minus goes downhill")
def with_a_random_start(model, images, labels, eps, steps, decay):
    return with_corners(model, (images + eps*(2*torch.rand_like(images)-1)).clamp(-1, 1), labels, eps, steps, decay)


@wrong("adversarial.3", says="weight")
def with_backward(model, images, labels, eps, steps, decay):
    x, memory = images, 0.
    for _ in range(steps):
        x = x.detach().requires_grad_()
        F.cross_entropy(model(x), labels).backward()
        memory = decay*memory + x.grad/x.grad.abs().sum(dim=(1, 2, 3), keepdim=True)
        x = (images + (x.detach() - images + 2.5*eps/steps*memory.sign()).clamp(-eps, eps)).clamp(-1, 1)
    return x


equivalent("adversarial.3", NO_GRADIENT, "… detached", "the result is detached")
equivalent("adversarial.3", "the gradient of the last step hangs on a picture that is cut at the top of the loop anyway", "`(images + far).clamp(-1, 1).detach()` → `(images + far).clamp(-1, 1)`", "`change.detach()` → `change` in `the_change_is_kept`")
equivalent("adversarial.3", "the mean is the sum over a number that is the same in every step, and a sign forgets it",
           "`slope.abs().sum(dim=(1, 2, 3), keepdim=True)` → `slope.abs().mean(dim=(1, 2, 3), keepdim=True)`")
equivalent("adversarial.3", "dimension 1 is what `normalize` takes by itself", "`F.normalize(slope.flatten(1), p=1, dim=1)` → `F.normalize(slope.flatten(1), p=1)` in `with_corners`")


# 13.4

@right("adversarial.4")
def counted_one_by_one(before, after, labels):
    hits = [int(a.argmax()) != int(label) for b, a, label in zip(before, after, labels) if int(b.argmax()) == int(label)]
    return sum(hits)/len(hits) if hits else 0


@right("adversarial.4")
def as_a_tensor(before, after, labels):
    right = before.max(dim=1).indices.eq(labels)
    kept = right & after.max(dim=1).indices.eq(labels)
    return 1 - kept.sum()/right.sum() if right.any() else torch.tensor(0.)


@right("adversarial.4")
def by_selection(before, after, labels):
    chosen = before.argmax(1) == labels
    if not chosen.any(): return 0.
    return np.mean((after[chosen].argmax(1) != labels[chosen]).numpy())


@right("adversarial.4")
def without_nan(before, after, labels):
    chosen = (before.argmax(dim=1) == labels).double()
    return torch.nan_to_num((chosen*(after.argmax(dim=1) != labels)).sum()/chosen.sum(), nan=0.).item()


@wrong("adversarial.4", says="rightly")
def of_all(before, after, labels): return ((before.argmax(1) == labels) & (after.argmax(1) != labels)).float().mean()


@wrong("adversarial.4", never="NaN")
def one_if_none(before, after, labels): return counted_one_by_one(before, after, labels) if (before.argmax(1) == labels).any() else 1.


@wrong("adversarial.4", never="every image")
def at_least_two(before, after, labels):
    chosen = before.argmax(1) == labels
    return (chosen & (after.argmax(1) != labels)).sum()/max(2, chosen.sum())


equivalent("adversarial.4", "a share is a measure: nobody differentiates it", "… detached", "the result is detached")
equivalent("adversarial.4", "a tensor of one number is a number", "`(right & wrong_now).sum().item()` → `(right & wrong_now).sum()`", "`right.sum().item()` → `right.sum()`")


# 13.5

right("adversarial.5", 1/16)
right("adversarial.5", np.float64(0.0625))
right("adversarial.5", torch.tensor(1.).div(16))
right("adversarial.5", 0.06251)
wrong("adversarial.5", 1., says="16 long")
wrong("adversarial.5", 0.00390625, says="Squares", never="not 16.")
wrong("adversarial.5", 0.0442, never="Squares")


# Case 48: adversarial.5 of old

@right("clinic.48")
def from_the_library(model, images, labels, eps): return fgsm(model, images, labels, eps)


@right("clinic.48")
def by_perturb(model, images, labels, eps):
    with in_mode([model], False): return perturb(images, lambda x: F.cross_entropy(model(x), labels, reduction="none"), eps)


@right("clinic.48")
def modes_by_hand(model, images, labels, eps):
    modes = {part: part.training for part in model.modules()}
    model.eval()
    pixels = images.clone().requires_grad_()
    slope, = torch.autograd.grad(F.cross_entropy(model(pixels), labels), pixels)
    for part, training in modes.items(): part.training = training
    return torch.clip(images + eps*slope.sign(), -1, 1)


@right("clinic.48")
def on_a_copy(model, images, labels, eps):
    import copy
    twin = copy.deepcopy(model).eval()
    pixels = images.clone().requires_grad_()
    F.cross_entropy(twin(pixels), labels).backward()
    return (images + eps*pixels.grad.sign()).clamp(-1, 1)


@wrong("clinic.48", says="part that rested", never="stays there")
def all_in_training_afterwards(model, images, labels, eps):
    was = model.training
    model.eval()
    slope = slope_of(model, images, labels)
    model.train(was)
    return (images + eps*slope.sign()).clamp(-1, 1)


@wrong("clinic.48", says="stays there")
def left_in_evaluation(model, images, labels, eps):
    model.eval()
    return (images + eps*slope_of(model, images, labels, "sum").sign()).clip(-1, 1)


@wrong("clinic.48", says="deleted")
def zeroes_gradients(model, images, labels, eps):
    with in_mode([model], False):
        pixels = images.clone().requires_grad_()
        F.cross_entropy(model(pixels), labels).backward()
    for p in model.parameters(): p.grad = torch.zeros_like(p)
    return (images + eps*pixels.grad.sign()).clamp(-1, 1)


@wrong("clinic.48", never="deleted")
def freezes_the_weights(model, images, labels, eps):
    for p in model.parameters(): p.requires_grad_(False)
    with in_mode([model], False): return (images + eps*slope_of(model, images, labels).sign()).clamp(-1, 1)


@wrong("clinic.48", says="images")
def overwrites_the_images(model, images, labels, eps):
    with in_mode([model], False): slope = slope_of(model, images, labels)
    return images.add_(eps*slope.sign()).clamp_(-1, 1)


equivalent("clinic.48", NO_GRADIENT, "the result is detached")
equivalent("clinic.48", "`perturb` takes one number as well: its gradient has the same signs", "`F.cross_entropy(model(x), labels, reduction='none')` → `F.cross_entropy(model(x), labels)` in `by_perturb`")


# Case 49: adversarial.6 of old

@right("clinic.49")
def sorted_rows(logits, labels):
    found = []
    for row, label in zip(logits, labels):
        ordered = row.sort(descending=True).values
        rest = torch.cat([row[:label], row[label+1:]])
        found.append((rest.max() - row[label])/(ordered[0] - ordered[2]))
    return torch.stack(found)


@right("clinic.49")
def with_a_mask(logits, labels):
    own = F.one_hot(labels, logits.shape[1]).bool()
    ordered, _ = logits.sort(dim=1)
    return (logits.masked_fill(own, -math.inf).max(dim=1).values - logits[own])/(ordered[:, -1] - ordered[:, -3])


@right("clinic.49")
def in_double(logits, labels):
    wide = logits.double()
    one, two, three = wide.topk(3, dim=1).values.unbind(dim=1)
    own = wide[torch.arange(len(labels)), labels]
    return (torch.where(own == one, two, one) - own)/(one - three)


@wrong("clinic.49", says="No gradient")
def by_hand(logits, labels): return torch.tensor([float(value) for value in sorted_rows(logits, labels)])


@wrong("clinic.49", says="No gradient")
@torch.no_grad()
def without_a_graph(logits, labels): return with_a_mask(logits, labels)


@wrong("clinic.49", says="grows with the factor")
def the_lead(logits, labels): return -(logits.gather(1, labels[:, None])[:, 0] - logits.scatter(1, labels[:, None], -math.inf).amax(dim=1))


@wrong("clinic.49", says="logits", never="saturate")
def writes_into_the_logits(logits, labels):
    with torch.no_grad(): logits[torch.arange(len(labels)), labels] -= 100.
    return sorted_rows(logits, labels)


@wrong("clinic.49", never="grows with the factor")
def over_the_whole_span(logits, labels):
    return with_a_mask(logits, labels)*(logits.topk(3, dim=1).values[:, 0] - logits.topk(3, dim=1).values[:, 2])/(logits.amax(dim=1)-logits.amin(dim=1))


@wrong("clinic.49", never="No gradient")
def a_constant_distance(logits, labels):
    top = logits.topk(3, dim=1).values.detach()
    return (logits.scatter(1, labels[:, None], -math.inf).amax(dim=1) - logits.gather(1, labels[:, None])[:, 0])/(top[:, 0]-top[:, 2])


equivalent("clinic.49", "precision is free: float64 is as right as float32", "the result in float64, or whole numbers in float32", "`logits.double()` → `logits` in `in_double`",
           "the result in float64, or whole numbers in float32 in `in_double`")
equivalent("clinic.49", "the last dimension is the second of two", "`logits.topk(3, dim=1)` → `logits.topk(3)`")
equivalent("clinic.49", "only the shape of these logits is used", "`logits` detached in `with_a_mask`")


# Case 50

right("clinic.50", "BCD")
right("clinic.50", ("D", "c", "b"))
right("clinic.50", {"B", "C", "D"})
right("clinic.50", "B, C and D".replace(" and", ","))
wrong("clinic.50", "B", says="three signs", never="B and C, well")
wrong("clinic.50", ["C", "B"], says="last row")
wrong("clinic.50", "bcde", says="not robust at all")
equivalent("clinic.50", "a set of letters has no order", "in the other order")
equivalent("adversarial.1", NO_GRADIENT,
           "`images` detached", "`images` detached (4)", "`images` detached in `of_the_library`", "`images` detached (2) in `with_where`", "`images` detached (4) in `with_where`",
           "the result is detached in `one_by_one`", "`images` detached in `one_by_one`", "`images` detached in `by_log_softmax`", "`images` detached (4) in `by_log_softmax`",
           "`images` detached in `backward_put_back`")
equivalent("clinic.48", NO_GRADIENT,
           "`images` detached", "`images` detached (2)", "`images` detached in `from_the_library`", "`images` detached in `by_perturb`")
