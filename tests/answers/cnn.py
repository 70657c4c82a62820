"""Further answers to the exercises of chapter 04a."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 4a.1: sizes on paper

right("cnn.1", (24, 12, 6, 4))
right("cnn.1", torch.tensor([24, 12, 6, 4]))
right("cnn.1", np.array([24., 12., 6., 4.]))
right("cnn.1", [torch.tensor(24), np.int64(12), 6., 4])
wrong("cnn.1", [0, 0, 0, 0], says="after the convolution with kernel 5 is not 0", never="24")
wrong("cnn.1", [24, 0, 0, 0], says="after the pooling is not 0", never="12.")
wrong("cnn.1", [24, 12, 0, 0], says="after the convolution with stride 2 is not 0", never="6")
wrong("cnn.1", [24, 12, 6, 0], says="after the last convolution", never="not 4")
wrong("cnn.1", [24, 11, 5, 3], says="after the pooling is not 11", never="Count the places")
wrong("cnn.1", [24, 12, 6], says="here are 3", never="None")
wrong("cnn.1", 24, says="here are 1")
wrong("cnn.1", ["24", "12", "6", "4"], says="after the convolution with kernel 5")
wrong("cnn.1", [24, 12, 6, 6.5], says="after the last convolution is not 6.5", never="Nearly")
wrong("cnn.1", [24, 12, ..., ...], says="gap")

# 4a.2: max pooling


@right("cnn.2")
def with_unfold(x, size): return x.unfold(2, size, size).unfold(3, size, size).amax(dim=(4, 5))


@right("cnn.2")
def with_columns(x, size):
    B, C, H, W = x.shape
    columns = F.unfold(x.reshape(B*C, 1, H, W), size, stride=size)
    return columns.amax(dim=1).view(B, C, H//size, W//size)


@right("cnn.2")
def with_loops(x, size):
    B, C, H, W = x.shape
    y = torch.zeros(B, C, H//size, W//size)
    for i in range(H//size):
        for j in range(W//size): y[:, :, i, j] = x[:, :, i*size:(i+1)*size, j*size:(j+1)*size].flatten(2).max(dim=2).values
    return y


@right("cnn.2")
def one_axis_after_the_other(x, size):
    B, C, H, W = x.shape
    return x.view(B, C, H, W//size, size).max(-1)[0].view(B, C, H//size, size, W//size).max(3)[0]


@right("cnn.2")
def maximum_of_strided_pictures(x, size):
    parts = [x[:, :, i::size, j::size] for i in range(size) for j in range(size)]
    return torch.stack(parts).max(dim=0).values


@right("cnn.2")
def rows_of_windows(x, size):
    rows = [torch.stack([part.amax(dim=(2, 3)) for part in row.split(size, dim=3)], dim=2) for row in x.split(size, dim=2)]
    return torch.stack(rows, dim=2)


@wrong("cnn.2", says="PyTorch's own pooling")
def forbidden(x, size): return F.max_pool2d(x, size)


@wrong("cnn.2", says="PyTorch's own pooling")
def forbidden_module(x, size): return nn.MaxPool2d(size)(x)


@wrong("cnn.2", says="PyTorch's own pooling")
def forbidden_adaptive(x, size): return F.adaptive_max_pool2d(x, (x.shape[2]//size, x.shape[3]//size))


@wrong("cnn.2", says="No gradient")
def without_gradient(x, size): return with_unfold(x.detach(), size)


@wrong("cnn.2", says="No gradient")
def under_no_grad(x, size):
    with torch.no_grad(): return with_unfold(x, size)


@wrong("cnn.2", says="shape", never="start from zero")
def padded(x, size): return with_unfold(F.pad(x, [size, 0, size, 0]), size)


@wrong("cnn.2", never="upper left")
def takes_the_lower_right(x, size): return x[:, :, size-1::size, size-1::size]


@wrong("cnn.2", never="mean of each window")
def takes_the_sum(x, size): return x.unfold(2, size, size).unfold(3, size, size).sum(dim=(4, 5))


@wrong("cnn.2", says="tensor", never="None")
def as_a_list(x, size): return with_unfold(x, size).tolist()


@wrong("cnn.2", never="These are the smallest")
def largest_by_size(x, size):
    windows = x.unfold(2, size, size).unfold(3, size, size).flatten(4)
    return windows.gather(4, windows.abs().argmax(dim=4, keepdim=True))[..., 0]


equivalent("cnn.2", "only the shape of it is read there", "`x` detached")
equivalent("cnn.2", "the maximum over two axes does not depend on their order", "`(3, 5)` → `(5, 3)`", "`(4, 5)` → `(5, 4)` in `with_unfold`", "`(2, 3)` → `(3, 2)` in `rows_of_windows`")

# 4a.3: seeing far

right("cnn.3", [(3, 2), (3, 2), (2, 1), (3, 1)])
right("cnn.3", ((3, 2), (3, 2), (3, 1), (2, 1)))
right("cnn.3", [[3, 2], [2, 1], [2, 1], [3, 2], [3, 1]])
right("cnn.3", torch.tensor([[3, 2], [3, 1], [2, 1], [2, 2], [3, 1]]))
right("cnn.3", [(np.int64(3), 2), (2, 1), (3, 1), (2, 2), (3, 1)])
wrong("cnn.3", [(3, 1), ...], says="gap", never="return")
wrong("cnn.3", [(3, 1), (..., ...)], says="gap", never="return")
wrong("cnn.3", [(5, 2), (5, 2)], says="kernel of 5")
wrong("cnn.3", [(3, 1)]*5, says="sees 11 pixels", never="13")
wrong("cnn.3", [(3, 2), (3, 2), (3, 2), (3, 1)], says="0 a side", never="nothing is left")
wrong("cnn.3", [(3, 1), (3, 1), (3, 2), (3, 1)], says="sees 11 pixels", never="17")
wrong("cnn.3", [(3., 2.), (3., 1.)], says="whole numbers")
wrong("cnn.3", [3, 3, 3], says="pairs")
wrong("cnn.3", [(3, 0)], says="whole numbers")
wrong("cnn.3", [(3, 1)]*7, says="7 layers", never="nine")
equivalent("cnn.3", "with a first window of 2 a unit still sees 18 pixels, and the last map is as large", "number 1: number 1: minus one")

# 4a.4: the gradient of a convolution


@right("cnn.4")
def with_transposed_convolution(x, weight, slope):
    windows = F.unfold(x, weight.shape[2:])
    return F.conv_transpose2d(slope, weight), (slope.flatten(2) @ windows.mT).sum(dim=0).view(weight.shape)


@right("cnn.4")
def with_turned_windows(x, weight, slope):
    K, L = weight.shape[2:]
    for_x = F.conv2d(F.pad(slope, [L-1, L-1, K-1, K-1]), weight.transpose(0, 1).flip(2, 3))
    return [for_x, F.conv2d(x.transpose(0, 1), slope.transpose(0, 1)).transpose(0, 1)]


@right("cnn.4")
def place_by_place(x, weight, slope):
    K, L = weight.shape[2:]
    for_x, for_weight = torch.zeros(x.shape), torch.zeros(weight.shape)
    for a in range(slope.shape[2]):
        for b in range(slope.shape[3]):
            here = slope[:, :, a, b]
            for_x[:, :, a:a+K, b:b+L] += torch.tensordot(here, weight.to(torch.float32), 1) if here.dtype == torch.float32 else torch.tensordot(here, weight, 1).float()
            for_weight += (here[:, :, None, None, None]*x[:, None, :, a:a+K, b:b+L]).sum(dim=0)
    return for_x, for_weight


@right("cnn.4")
def with_fold(x, weight, slope):
    O, C, K, L = weight.shape
    columns = weight.reshape(O, -1).T @ slope.flatten(2)
    for_weight = torch.stack([torch.stack([torch.einsum("bohw,bchw->oc", slope, x[:, :, k:k+slope.shape[2], l:l+slope.shape[3]]) for l in range(L)], -1) for k in range(K)], -2)
    return F.fold(columns, x.shape[2:], (K, L)), for_weight


def convolved(x, weight): return F.conv2d(x, weight)


@wrong("cnn.4", says="PyTorch has differentiated")
def by_autograd(x, weight, slope):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    return torch.autograd.grad(convolved(x, weight), (x, weight), slope)


@wrong("cnn.4", says="PyTorch has differentiated")
def by_backward(x, weight, slope):
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    convolved(x, weight).backward(slope)
    return x.grad, weight.grad


@wrong("cnn.4", says="PyTorch has differentiated")
def by_torch_nn_grad(x, weight, slope): return torch.nn.grad.conv2d_input(x.shape, weight, slope), torch.nn.grad.conv2d_weight(x, weight.shape, slope)


@wrong("cnn.4", says="as a pair")
def for_x_only(x, weight, slope): return F.conv_transpose2d(slope, weight)


@wrong("cnn.4", says="shape", never="turned by half")
def without_a_frame(x, weight, slope): return slope, with_fold(x, weight, slope)[1]


@wrong("cnn.4", never="turned by half a circle")
def turns_the_weights_too(x, weight, slope): return with_fold(x, weight, slope)[0], with_fold(x, weight, slope)[1].flip(2, 3)


@wrong("cnn.4", never="averaged over the images")
def averages_over_places(x, weight, slope): return with_fold(x, weight, slope)[0], with_fold(x, weight, slope)[1]/slope[0, 0].numel()


@wrong("cnn.4", says="changes what it was given")
def overwrites_the_slope(x, weight, slope):
    result = with_fold(x, weight, slope)
    slope.mul_(0)
    return result


equivalent("cnn.4", "a gradient made by hand is used, and not differentiated once more", "… detached", "the result is detached")

# Case 5: a decoder that ends at 20x20


def head(side, maps=8): return [nn.Linear(16, maps*side*side), nn.ReLU(), nn.Unflatten(1, (maps, side, side))]


def double(a, b): return nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)


def patient(): return nn.Sequential(*head(5, 32), double(32, 16), nn.ReLU(), double(16, 1), nn.Tanh())


@right("clinic.5")
def from_one_pixel():
    return nn.Sequential(nn.Unflatten(1, (16, 1, 1)), nn.ConvTranspose2d(16, 8, 7), nn.ReLU(), double(8, 8), nn.ReLU(), nn.ConvTranspose2d(8, 1, 3, 2, 1, output_padding=1), nn.Tanh())


@right("clinic.5")
def stride_four(): return nn.Sequential(*head(7), nn.ConvTranspose2d(8, 1, 4, stride=4), nn.Tanh())


@right("clinic.5")
def with_batch_norm(): return nn.Sequential(*head(7), double(8, 8), nn.BatchNorm2d(8), nn.ReLU(), double(8, 1), nn.Sigmoid())


@right("clinic.5")
def enlarged_and_convolved(): return nn.Sequential(*head(14), double(14-6, 8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))


@right("clinic.5")
def one_large_window(): return nn.Sequential(*head(5, 32), double(32, 16), nn.ReLU(), double(16, 8), nn.ReLU(), nn.ConvTranspose2d(8, 1, 9), nn.Tanh())


@right("clinic.5")
def upsampled_in_the_end(): return nn.Sequential(*head(7), double(8, 1), nn.Upsample(scale_factor=2), nn.Tanh())


@right("clinic.5")
class WithFunctions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.windows = nn.Linear(16, 4*49), nn.Parameter(nn.init.xavier_normal_(torch.empty(4, 1, 8, 8)))

    def forward(self, z): return F.conv_transpose2d(F.leaky_relu(self.first(z)).view(-1, 4, 7, 7), self.windows, stride=4, padding=2).tanh()


@wrong("clinic.5", says="grey border")
def padded_with_zeros_first():
    return nn.Sequential(*head(5, 32), double(32, 16), nn.ReLU(), double(16, 1), nn.ZeroPad2d(4), nn.Tanh())


@wrong("clinic.5", says="repeats", never="zeros")
def padded_with_copies(): return nn.Sequential(patient(), nn.ReplicationPad2d(4))


@wrong("clinic.5", says="repeats", never="zeros")
def padded_with_a_mirror(): return nn.Sequential(patient(), nn.ReflectionPad2d(4))


@wrong("clinic.5", never="repeats")
def padded_and_convolved(): return nn.Sequential(patient(), nn.ZeroPad2d(4), nn.Conv2d(1, 1, 3, padding=1), nn.Tanh())


class Unused(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.network, self.part, self.linear = nn.Identity(), part, nn.Linear(16, 784)

    def forward(self, z):
        if self.part == "called": double(1, 1)(self.linear(z).view(-1, 1, 28, 28))
        if self.part == "times zero": return self.linear(z).view(-1, 1, 28, 28) + 0*double(1, 1)(z.view(-1, 1, 4, 4)).sum()
        return self.linear(z).view(-1, 1, 28, 28).tanh()


@wrong("clinic.5", says="Let transposed convolutions do the growing", never="rim")
def owned_and_never_called():
    network = Unused("owned")
    network.network = nn.ConvTranspose2d(1, 1, 4, 2, 1)
    return network


@wrong("clinic.5", says="does not depend on what the transposed convolution makes")
def called_and_thrown_away(): return Unused("called")


@wrong("clinic.5", says="does not depend on what the transposed convolution makes")
def used_times_zero(): return Unused("times zero")


@wrong("clinic.5", says="enlarges")
def keeps_the_size(): return nn.Sequential(nn.Linear(16, 784), nn.Unflatten(1, (1, 28, 28)), nn.ConvTranspose2d(1, 1, 3, padding=1), nn.Tanh())


@wrong("clinic.5", says="30", never="5, 10, 20, 40")
def ends_at_thirty(): return nn.Sequential(*head(15), double(8, 1), nn.Tanh())


@wrong("clinic.5", says="40", never="doubling jumps")
def five_times_eight(): return nn.Sequential(*head(5), nn.ConvTranspose2d(8, 1, 8, stride=8), nn.Tanh())


@wrong("clinic.5", says="32", never="8 doubles to 32")
def grows_by_kernels(): return nn.Sequential(*head(28), nn.ConvTranspose2d(8, 1, 5), nn.Tanh())


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = stride_four()

    @torch.no_grad()
    def forward(self, z): return self.inner(z)


wrong("clinic.5", Frozen, says="No gradient")
wrong("clinic.5", stride_four(), says="builds and returns a network")


@wrong("clinic.5", says="batch")
def mixes_the_batch():
    class Mixes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = stride_four()

        def forward(self, z): return self.inner(z - z.mean(dim=0))
    return Mixes()


# Case 8: a map and a list


@right("clinic.8")
def as_a_list_of_maps(maps, vector): return torch.cat([vector, maps.flatten(1)], dim=1)


@right("clinic.8")
def with_means(maps, vector): return torch.cat([maps.mean((2, 3)), vector], 1)


@right("clinic.8")
def with_repeat(maps, vector):
    H, W = maps.shape[2:]
    return torch.cat((maps, vector.unsqueeze(-1).unsqueeze(-1).repeat(1, 1, H, W)), 1)


@right("clinic.8")
def multiplied_by_ones(maps, vector): return torch.cat([vector[..., None, None]*torch.ones_like(maps[:, :1]), maps], dim=1)


@right("clinic.8")
def with_a_loop(maps, vector):
    joined = torch.empty(len(maps), maps.shape[1]+vector.shape[1], *maps.shape[2:])
    joined[:, :maps.shape[1]] = maps
    for v in range(vector.shape[1]): joined[:, maps.shape[1]+v] = vector[:, v, None, None]
    return joined


@right("clinic.8")
def with_einops_of_ones(maps, vector): return torch.cat([maps, torch.einsum("bv,bhw->bvhw", vector, torch.ones_like(maps[:, 0]))], dim=1)


@wrong("clinic.8", says="decimal point", never="did not match")
def as_whole_numbers(maps, vector): return with_repeat(maps, vector).long()


@wrong("clinic.8", says="gradients")
def cuts_the_vector(maps, vector): return with_repeat(maps, vector.detach())


@wrong("clinic.8", says="gradients")
def cuts_the_maps(maps, vector): return as_a_list_of_maps(maps.data, vector)


@wrong("clinic.8", says="neither", never="corner")
def only_the_first_row(maps, vector):
    planes = torch.zeros(len(maps), vector.shape[1], *maps.shape[2:])
    planes[:, :, 0] = vector[:, :, None]
    return torch.cat([maps, planes], dim=1)


@wrong("clinic.8", says="neither", never="first one")
def the_vectors_in_other_order(maps, vector): return with_repeat(maps, vector.flip(0))


@wrong("clinic.8", says="tensor is asked for")
def a_pair(maps, vector): return maps, vector


@wrong("clinic.8", says="not finite")
def divided_by_zero(maps, vector): return with_repeat(maps, vector)/0


@wrong("clinic.8", says="Leave the dtype")
def in_double_precision(maps, vector): return with_repeat(maps, vector).double()


@wrong("clinic.8", says="neither", never="only its mean arrives")
def added_to_the_maps(maps, vector): return maps + vector.sum(dim=1)[:, None, None, None]


equivalent("clinic.8", "only the shape of it is read there", "`maps` detached", "`maps` detached in `with_repeat`",
           "`maps` detached (2) in `with_a_loop`", "`maps` detached (3) in `with_a_loop`")
equivalent("clinic.8", "the planes may stand before the maps or after them, and the mean over two axes does not depend on their order", "`(2, 3)` → `(3, 2)` in `with_means`",
           "`(maps, vector.unsqueeze(-1).unsqueeze(-1).repeat(1, 1, H, W))` → `(vector.unsqueeze(-1).unsqueeze(-1).repeat(1, 1, H, W), maps)` in `with_repeat`")


@wrong("clinic.5", says="activation before the first layer", never="rim")
def cuts_half_of_the_code(): return nn.Sequential(nn.ReLU(), *stride_four())


@wrong("clinic.5", says="float64")
def in_double_precision_at_the_end():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = stride_four()

        def forward(self, z): return self.inner(z).double()
    return Doubled()


@wrong("cnn.2", never="far apart")
def one_pixel_further_right(x, size): return with_unfold(x.roll(-1, 3), size)


@wrong("cnn.2", never="runs of pixels")
def the_first_row_of_each_window(x, size): return x[:, :, ::size].unfold(3, size, size).amax(dim=4)


@wrong("cnn.2", never="channels were pooled")
def every_channel_gets_the_largest(x, size):
    y = with_unfold(x, size)
    return y.amax(dim=1, keepdim=True).expand_as(y)


@wrong("cnn.2", never="Right for windows of 2")
def windows_that_are_too_small(x, size): return x.unfold(2, max(1, size-1), size).unfold(3, max(1, size-1), size).amax(dim=(4, 5))


@wrong("cnn.2", says="shape", never="advance by one pixel")
def windows_with_a_gap(x, size): return x.unfold(2, size, size+1).unfold(3, size, size+1).amax(dim=(4, 5))


@wrong("cnn.4", never="`x` comes first")
def for_x_twice(x, weight, slope): return with_fold(x, weight, slope)[0], with_fold(x, weight, slope)[0]


@wrong("cnn.4", never="overwrites")
def only_the_first_place_of_the_window(x, weight, slope):
    for_x = torch.zeros_like(x)
    for_x[:, :, :slope.shape[2], :slope.shape[3]] = torch.einsum("bohw,oc->bchw", slope, weight[:, :, 0, 0])
    return for_x, with_fold(x, weight, slope)[1]


@wrong("cnn.4", never="stayed behind")
def the_mean_slope_everywhere(x, weight, slope): return with_fold(x, weight, slope.mean().expand_as(slope))


@wrong("clinic.5", says="34", never="Without padding each layer")
def seven_and_a_wide_window(): return nn.Sequential(*head(7), double(8, 8), nn.ReLU(), nn.ConvTranspose2d(8, 1, 8, stride=2))


@wrong("clinic.5", says="25", never="kernel of 3 does not quite double")
def five_times_five(): return nn.Sequential(*head(5), nn.ConvTranspose2d(8, 1, 5, stride=5))


@wrong("clinic.5", says="3, 28, 28", never="three channels")
def several_pictures_at_once(): return nn.Sequential(nn.Linear(16, 3*49), nn.Unflatten(1, (3, 7, 7)), nn.ConvTranspose2d(3, 3, 4, stride=4))


@wrong("clinic.8", says="neither", never="ran together")
def one_list_of_all_maps(maps, vector): return torch.cat([maps.flatten(), vector.flatten(), vector.flatten()])


@wrong("clinic.8", says="neither", never="the maps are gone")
def maps_alone(maps, vector): return maps.clone()
