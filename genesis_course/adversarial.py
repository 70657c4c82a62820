import math
import torch
from torch import nn
from torch.nn import functional as F
from genesis_course.support import CourseError, check_number, check_whole
from genesis_course.training import accuracy, evaluate, in_mode

def perturb(
    images,              # [B, …] floats in [low, high]
    objective,           # function of images: a scalar, or a number for each image, [B]; it is raised
    eps,                 # how far an image may go, in the unit of its pixels
    steps=1,             # of the climb
    step_size=None,      # length of a step; None: eps for one step, 2.5*eps/steps for more
    random_start=False,  # begin somewhere within eps
    low=-1.,             # the darkest pixel of a picture
    high=1.,             # the brightest
    norm=math.inf,       # what "far" means: math.inf, the largest change of a pixel; 2, the length of the change
    generator=None,      # a torch.Generator, for dice of its own
):
    "Images at most eps away on which the objective is larger, [B, …]: steps uphill, each with a projection (Madry et al. 2018, section 2)"
    start, eps, step_size = _check_attack(images, eps, steps, step_size, low, high, norm)
    x = start
    if random_start: x = _project(start+_anywhere(start, eps, norm, generator), start, eps, low, high, norm)
    for _ in range(steps): x = _project(x+_uphill(_slope(objective, x), step_size, norm), start, eps, low, high, norm)
    return x

def _slope(objective, images):
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        value = objective(images)
        slope, = torch.autograd.grad(value.sum(), images)
    return slope

def _length(change): return change.flatten(1).norm(dim=1).view(-1, *[1]*(change.ndim-1))

def _uphill(slope, size, norm):
    return size*slope.sign() if norm == math.inf else size*slope/_length(slope).clamp(min=1e-12)

def _project(x, start, eps, low, high, norm):
    change = x - start
    if norm == math.inf: change = change.clamp(-eps, eps)
    else: change = change*(eps/_length(change).clamp(min=max(eps, 1e-12)))
    return (start+change).clamp(low, high)

def _anywhere(start, eps, norm, generator):
    def dice(draw): return draw(start.shape, generator=generator, dtype=start.dtype, device=generator.device if generator else start.device).to(start.device)
    if norm == math.inf: return eps*(2*dice(torch.rand)-1)
    direction = dice(torch.randn)
    share = torch.rand(len(start), generator=generator, dtype=start.dtype).view(-1, *[1]*(start.ndim-1))
    return eps*direction/_length(direction)*share
def _check_attack(images,eps,steps,step_size,low,high,norm):
    step_size = step_size or (eps if steps==1 else 2.5*eps/steps)
    return images.detach().clamp(low,high), eps, step_size
def _surprise(model, labels):
    def surprise(images): return F.cross_entropy(model(images), labels, reduction="none")
    return surprise
def fgsm(model, images, labels, eps, low=-1., high=1.):
    with in_mode([model], False): return perturb(images, _surprise(model, labels), eps, low=low, high=high)
def pgd(model, images, labels, eps, steps=10, step_size=None, target=None, random_start=True, low=-1., high=1., norm=math.inf, generator=None):
    surprise = _surprise(model, labels if target is None else target)
    goal = surprise if target is None else lambda images: -surprise(images)
    with in_mode([model], False): return perturb(images, goal, eps, steps, step_size, random_start, low, high, norm, generator)
def accuracy_under(attack, model, batches):
    def measure(module, batch):
        images, labels = batch
        return accuracy(module(attack(module, images, labels) if attack else images), labels)
    return evaluate(model, batches, measure)["loss"]
def adversarial_loss(attack):
    def loss(module, batch):
        images, labels = batch
        return F.cross_entropy(module(attack(module, images, labels)), labels)
    return loss
