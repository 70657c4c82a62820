"""Further answers to the exercises of chapter 21b."""
import copy
import math
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong

# finetune.1: bytes of a training


@right("finetune.1")
def four_numbers_each(weights, learning, frozen_bytes=4):
    frozen = weights-learning
    return sum([4*learning, 4*learning, 8*learning, frozen_bytes*frozen])


@right("finetune.1")
def more_than_frozen(weights, learning, frozen_bytes=4): return float(frozen_bytes)*weights+(16-frozen_bytes)*learning


@right("finetune.1")
def one_by_one(weights, learning, frozen_bytes=4): return sum(16 if k < learning else frozen_bytes for k in range(weights))


@wrong("finetune.1", says="frozen weights take their bytes")
def only_those(weights, learning, frozen_bytes=4): return learning*16.


@wrong("finetune.1", says="counted twice", never="frozen weights take")
def both(weights, learning, frozen_bytes=4): return 16*learning+weights*frozen_bytes


@wrong("finetune.1", never="counted twice")
def in_kilobytes(weights, learning, frozen_bytes=4): return four_numbers_each(weights, learning, frozen_bytes)/1000


# finetune.2: two steps

right("finetune.2", (200, 150))
right("finetune.2", torch.tensor([200., 150.]))
right("finetune.2", np.array([200, 150]))
wrong("finetune.2", [150, 200], says="other order")
wrong("finetune.2", [200, 100], says="last quarter is not right")
wrong("finetune.2", [250, 150], says="adapters is not right")
wrong("finetune.2", 200, never="other order")


# finetune.3: a layer with an adapter


def layers(linear, rank, alpha):
    "Two thin linear layers, and what the three functions make of them"
    for each in linear.parameters(): each.requires_grad = False
    down, up = nn.Linear(linear.in_features, rank, bias=False), nn.Linear(rank, linear.out_features, bias=False)
    nn.init.zeros_(up.weight)
    return down, up


@right("finetune.3")
def with_thin_layers(linear, rank, alpha):
    down, up = layers(linear, rank, alpha)
    def merged():
        plain = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None)
        plain.load_state_dict({**linear.state_dict(), "weight": linear.weight+alpha/rank*up.weight @ down.weight})
        return plain
    return lambda x: linear(x)+alpha/rank*up(down(x)), merged, [down.weight, up.weight]


@right("finetune.3")
def the_other_factor_is_zero(linear, rank, alpha):
    linear.requires_grad_(False)
    B, A = nn.Parameter(torch.randn(linear.out_features, rank)/rank), nn.Parameter(torch.zeros(rank, linear.in_features))
    def forward(x): return F.linear(x, linear.weight, linear.bias)+F.linear(F.linear(x, A), B)*alpha/rank
    def merged():
        made = copy.deepcopy(linear)
        made.weight.data = made.weight.data+alpha/rank*(B @ A).detach()
        return made
    return [forward, merged, (A, B)]


@right("finetune.3")
def with_einsum(linear, rank, alpha):
    A, B = nn.Parameter(torch.empty(rank, linear.in_features)), nn.Parameter(torch.zeros(linear.out_features, rank))
    nn.init.kaiming_uniform_(A, a=math.sqrt(5))
    linear.requires_grad_(False)
    def forward(x): return linear(x)+alpha/rank*torch.einsum("...k,ok->...o", torch.einsum("...i,ki->...k", x, A), B)
    def merged():
        made = nn.Linear(*linear.weight.shape[::-1], bias=linear.bias is not None)
        with torch.no_grad():
            made.weight.copy_(linear.weight+alpha/rank*B @ A)
            if linear.bias is not None: made.bias.copy_(linear.bias)
        return made
    return forward, merged, [A, B]


@wrong("finetune.3", says="Both factors begin with zeros")
def both_zero(linear, rank, alpha):
    forward, merged, (A, B) = with_thin_layers(linear, rank, alpha)
    nn.init.zeros_(A)
    return forward, merged, [A, B]


@wrong("finetune.3", says="At first the layer must compute exactly")
def near_zero(linear, rank, alpha):
    forward, merged, (A, B) = with_thin_layers(linear, rank, alpha)
    nn.init.normal_(B, std=1e-3)
    return forward, merged, [A, B]


@wrong("finetune.3", says="can still learn")
def not_frozen(linear, rank, alpha):
    parts = with_einsum(linear, rank, alpha)
    linear.requires_grad_(True)
    return parts


@wrong("finetune.3", says="Three things")
def two_things(linear, rank, alpha): return with_einsum(linear, rank, alpha)[:2]


@wrong("finetune.3", says="[A, B], with the shapes")
def other_order(linear, rank, alpha):
    forward, merged, (A, B) = with_einsum(linear, rank, alpha)
    return forward, merged, [B, A]


@wrong("finetune.3", says="Right numbers", never="frozen")
def whole_matrix(linear, rank, alpha):
    _, merged, (A, B) = with_einsum(linear, rank, alpha)
    return lambda x: F.linear(x, linear.weight+alpha/rank*(B @ A), linear.bias), merged, [A, B]


equivalent("finetune.3", "how large the random factor is, and from which distribution, the question leaves open", "`torch.randn(rank, linear.in_features) / linear.in_features ** 0.5` → `torch.randn(rank, linear.in_features)`",
           "`torch.randn(rank, linear.in_features) / linear.in_features ** 0.5` → `torch.randn(rank, linear.in_features) * linear.in_features ** 0.5`",
           "`torch.randn(rank, linear.in_features) / linear.in_features ** 0.5` → `linear.in_features ** 0.5 / torch.randn(rank, linear.in_features)`",
           "`torch.randn(rank, linear.in_features)` → `torch.rand(rank, linear.in_features)`", "`linear.in_features ** 0.5` → `linear.in_features`", "`linear.in_features ** 0.5` → `linear.in_features * 0.5`",
           "`linear.in_features ** 0.5` → `0.5 ** linear.in_features`", "`0.5` → `1.0`", "`torch.randn(linear.out_features, rank)` → `torch.rand(linear.out_features, rank)` in `the_other_factor_is_zero`")
equivalent("finetune.3", "a parameter made under `no_grad` learns all the same, and the functions are called outside", "everything under `no_grad`")

# finetune.4: who chose the rate?

right("finetune.4", 2.)
right("finetune.4", torch.tensor(2))
right("finetune.4", np.int64(2))
wrong("finetune.4", 1, says="spread")
wrong("finetune.4", 3, says="good for all weights")
wrong("finetune.4", 5, says="not")


# clinic.112: an adapter that learns nothing


@right("clinic.112")
def the_other_is_zero(weight, rank): return nn.Parameter(torch.randn(weight.shape[0], rank)), nn.Parameter(torch.zeros(rank, weight.shape[1]))


@right("clinic.112")
def orthogonal(weight, rank): return nn.Parameter(torch.zeros(len(weight), rank)), nn.Parameter(nn.init.orthogonal_(torch.empty(rank, weight.shape[1])))


@right("clinic.112")
def as_a_linear_layer_begins(weight, rank):
    down, up = nn.Linear(weight.shape[1], rank, bias=False), nn.Linear(rank, weight.shape[0], bias=False)
    nn.init.zeros_(up.weight)
    return [up.weight, down.weight]


@wrong("clinic.112", says="both gradients")
def all_zeros(weight, rank): return nn.Parameter(weight.new_zeros(weight.shape[0], rank)), nn.Parameter(weight.new_zeros(rank, weight.shape[1]))


@wrong("clinic.112", says="exactly 0")
def both_small(weight, rank): return nn.Parameter(1e-3*torch.randn(weight.shape[0], rank)), nn.Parameter(1e-3*torch.randn(rank, weight.shape[1]))


@wrong("clinic.112", says="rank one", never="both gradients")
def all_alike(weight, rank): return nn.Parameter(torch.zeros(weight.shape[0], rank)), nn.Parameter(torch.full((rank, weight.shape[1]), 0.3))


@wrong("clinic.112", never="both gradients")
def one_row_at_a_time(weight, rank):
    "Only the first row of A is not zero, so the others begin at a saddle"
    A = torch.zeros(rank, weight.shape[1])
    A[0] = torch.randn(weight.shape[1])
    return nn.Parameter(torch.zeros(weight.shape[0], rank)), nn.Parameter(A)


equivalent("clinic.112", "of the weight only its shape is used", "… detached", "…only the first row of each argument counts", "…only the first column or channel of each argument counts")
equivalent("clinic.112", "any random numbers that differ from row to row will do", "`torch.randn(rank, columns)` → `torch.rand(rank, columns)`", "`torch.randn(weight.shape[0], rank)` → `torch.rand(weight.shape[0], rank)` in `the_other_is_zero`")
equivalent("clinic.112", "the bias of a layer that only lends its weight is not returned", "`nn.Linear(rank, weight.shape[0], bias=False)` → `nn.Linear(rank, weight.shape[0])` in `as_a_linear_layer_begins`",
           "`nn.Linear(weight.shape[1], rank, bias=False)` → `nn.Linear(weight.shape[1], rank)` in `as_a_linear_layer_begins`")
