"""Further answers to the exercises of chapter 09b."""
import numpy as np
import torch
from torch import nn
from answers import equivalent, right, wrong

# 9b.1: undo the paint


@right("colour.1")
def picture_by_picture(images, ink, paper):
    rows = []
    for picture, i, p in zip((images+1)/2, ink, paper):
        share = torch.einsum("chw,c->hw", picture-p[:, None, None], i-p)/torch.dot(i-p, i-p)
        rows.append(2*share.clamp(0, 1)[None]-1)
    return torch.stack(rows)


@right("colour.1")
def on_the_scale_of_the_images(images, ink, paper):
    i, p = (2*colours[..., None, None]-1 for colours in (ink, paper))
    share = ((images-p)*(i-p)).sum(1, keepdim=True)/((i-p)**2).sum(1, keepdim=True)
    return torch.clip(2*share-1, -1, 1)


@right("colour.1")
def with_a_matrix_product(images, ink, paper):
    line = (ink-paper).double()
    flat = (images.double().flatten(2)+1)/2 - paper.double()[:, :, None]
    share = (line[:, None] @ flat)/line.pow(2).sum(1)[:, None, None]
    return 2*share.clamp(0, 1).view(len(images), 1, *images.shape[2:])-1


@wrong("colour.1", says="scales are mixed")
def without_a_scale(images, ink, paper): return on_the_scale_of_the_images(2*images-1, ink, paper)


@wrong("colour.1", never="exchanged")
def nearest_of_the_two(images, ink, paper): return on_the_scale_of_the_images(images, ink, paper).sign()


@wrong("colour.1", never="brightness")
def the_red_channel(images, ink, paper): return images[:, :1]


@wrong("colour.1", says="shape")
def three_channels(images, ink, paper): return on_the_scale_of_the_images(images, ink, paper).expand(-1, 3, -1, -1)


equivalent("colour.1", "pictures that are judged need no gradient", "… detached", "…everything under `no_grad`")
equivalent("colour.1", "pictures in double precision are the same pictures", "…the result in float64, or whole numbers in float32")

# 9b.2: what a hinge loss tells

right("colour.2", 0.75)
right("colour.2", np.float32(0.75))
right("colour.2", 1-0.5/2)
wrong("colour.2", 0.25, says="in common")
wrong("colour.2", 0.5, says="factor 2")
wrong("colour.2", 1.5, says="above 1")
wrong("colour.2", 2., says="not the answer")
wrong("colour.2", 0.8, says="not the answer")
wrong("colour.2", -0.75, says="not the answer")
wrong("colour.2", float("nan"), says="NaN")

# 9b.3: who looks at whom


@right("colour.3")
def with_jacobian(critic, images):
    jacobian = torch.autograd.functional.jacobian(critic, images)      # B, B, C, H, W
    return jacobian.flatten(2).norm(dim=2)


@right("colour.3")
def with_one_hot_weights(critic, images):
    x = images.clone().requires_grad_()
    logits = critic(x)
    rows = []
    for weights in torch.eye(len(x)):
        slope, = torch.autograd.grad(logits, x, grad_outputs=weights, retain_graph=True)
        rows.append(slope.pow(2).sum(dim=(1, 2, 3)).sqrt())
    return torch.stack(rows)


@right("colour.3")
def a_forward_for_each_row(critic, images):
    table = torch.zeros(len(images), len(images))
    for i in range(len(images)):
        x = images.detach().clone().requires_grad_()
        slope, = torch.autograd.grad(critic(x)[i], x)
        for j in range(len(images)): table[i, j] = slope[j].norm()
    return table


@wrong("colour.3", says="by itself")
def of_the_sum(critic, images):
    x = images.clone().requires_grad_()
    slope, = torch.autograd.grad(critic(x).sum(), x)
    return slope.flatten(1).norm(dim=1).expand(len(x), -1)


@wrong("colour.3", never="exchanged")
def one_length_for_each_row(critic, images): return with_jacobian(critic, images).norm(dim=1)


@wrong("colour.3", never="squared lengths")
def twice_the_length(critic, images): return 2*with_jacobian(critic, images)


@wrong("colour.3", never="the root of the")
def largest_pixel(critic, images):
    return torch.autograd.functional.jacobian(critic, images).flatten(2).abs().amax(dim=2)


equivalent("colour.3", "the slopes are looked at, and nobody differentiates them", "…the result is detached")
equivalent("colour.3", "lengths in double precision are the same lengths", "…the result in float64, or whole numbers in float32")

# 9b.4: the spread of a batch


@right("colour.4")
def with_means(features):
    centred = features-features.mean(0, keepdim=True)
    number = ((centred**2).mean(0)+1e-8).sqrt().mean()
    return torch.hstack([features, number*torch.ones(len(features), 1)])


@right("colour.4")
def with_correction(features):
    number = torch.sqrt(torch.var(features, dim=0, correction=0)+1e-8).sum()/features.shape[1]
    return torch.cat((features, number.repeat(len(features)).unsqueeze(1)), -1)


@right("colour.4")
def with_moments(features):
    double = features.double()
    variance = ((double-double.mean(0)).square()).mean(0)
    return torch.cat([double, (variance+1e-8).pow(0.5).mean().view(1, 1).expand(len(features), 1)], dim=1)


@wrong("colour.4", says="B - 1")
def with_the_usual_variance(features):
    variance = (features-features.mean(0)).square().sum(0)/max(1, len(features)-1)
    return torch.cat([features, (variance+1e-8).sqrt().mean().expand(len(features), 1)], 1)


@wrong("colour.4", never="over the features of one row")
def spread_of_everything(features): return torch.cat([features, (features.var(unbiased=False)+1e-8).sqrt().expand(len(features), 1)], 1)


@wrong("colour.4", never="averaged")
def a_sum_of_deviations(features): return torch.cat([features, (features.var(0, unbiased=False)+1e-8).sqrt().sum().expand(len(features), 1)], 1)


@wrong("colour.4", says="shape")
def two_columns(features): return torch.cat([with_means(features), with_means(features)[:, -1:]], 1)


equivalent("colour.4", "numbers in double precision are the same numbers", "…the result in float64, or whole numbers in float32")

# Case 70


@right("clinic.70")
def instance_norm(channels): return nn.InstanceNorm2d(channels, affine=True)


@right("clinic.70")
def two_groups(channels): return nn.GroupNorm(2, channels)


@right("clinic.70")
class LayerNormOfMaps(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x):
        mean, variance = x.mean(dim=(1, 2, 3), keepdim=True), x.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
        return self.scale*(x-mean)/(variance+1e-5).sqrt()+self.shift


@wrong("clinic.70", says="batch norm")
def batch_norm_with_another_momentum(channels): return nn.BatchNorm2d(channels, momentum=0.01)


@wrong("clinic.70", says="nothing is normalised")
def dropout(channels): return nn.Dropout(0.)


@wrong("clinic.70", says="A module")
def a_function(channels): return lambda x: x/x.std()

# Case 71


@right("clinic.71")
def with_movedim(pixels): return pixels.movedim(-1, 1)


@right("clinic.71")
def with_stack(pixels): return torch.stack([pixels[..., k] for k in range(3)], dim=1)


@right("clinic.71")
def with_einsum(pixels): return torch.einsum("nhwc->nchw", pixels).contiguous()


@wrong("clinic.71", says="old order")
def with_view(pixels): return pixels.contiguous().view(-1, 3, pixels.shape[1], pixels.shape[2])


@wrong("clinic.71", says="on their side")
def with_transpose(pixels): return pixels.transpose(1, 3)


@wrong("clinic.71", never="old order")
def the_first_channel_three_times(pixels): return pixels[..., :1].expand_as(pixels).permute(0, 3, 1, 2)


equivalent("clinic.71", "bytes have no gradient", "… detached", "…everything under `no_grad`")

# Case 72


@right("clinic.72")
def with_clones(network): return {name: value.clone() for name, value in network.state_dict().items()}


@right("clinic.72")
def detached_clones(network): return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


@right("clinic.72")
def through_numpy(network): return {name: torch.from_numpy(value.numpy().copy()).view(value.shape) for name, value in network.state_dict().items()}


@wrong("clinic.72", says="own tensors")
def a_comprehension(network): return {name: value for name, value in network.state_dict().items()}


@wrong("clinic.72", says="without their names")
def tensors_only(network): return [value.clone() for value in network.state_dict().values()]


@wrong("clinic.72", never="own tensors")
def halves(network): return {name: value.clone()/2 for name, value in network.state_dict().items()}


equivalent("clinic.72", "what is kept in memory needs no graph", "… detached", "…everything under `no_grad`")

equivalent("colour.3", "a copy of images that carry no gradient needs no second cut", "`images.detach()` → `images` in `a_forward_for_each_row`")
equivalent("colour.3", "a probe cuts the images off by itself, and returns no graph", "`images` detached", "`images` detached in `with_jacobian`", "`images` detached in `with_one_hot_weights`",
           "`images` detached (3) in `a_forward_for_each_row`", "`images` detached (4) in `a_forward_for_each_row`")
equivalent("colour.3", "every place of the table is written, some of them twice", "the last one twice: `for j in range(len(images)):` in `a_forward_for_each_row`",
           "`torch.zeros(len(images), len(images))` → `torch.ones(len(images), len(images))` in `a_forward_for_each_row`", "the last one twice: `for i in range(len(images)):` in `a_forward_for_each_row`")
equivalent("colour.4", "the small number only keeps the slope of the root finite", "`1e-08` → `2e-08`")
equivalent("colour.4", "only the number of rows is read there", "`features` detached (3)", "`features` detached (4) in `with_correction`")
equivalent("colour.4", "one row of means is subtracted from each row either way", "`True` → `False` in `with_means`")
equivalent("colour.4", "the last axis of a matrix is axis 1", "`-1` → `1` in `with_correction`")
equivalent("clinic.70", "groups of channels of one picture are a norm of one picture, too", "`1` → `2`", "`2` → `1` in `two_groups`",
           "`nn.InstanceNorm2d(channels, affine=True)` → `nn.InstanceNorm2d(channels)` in `instance_norm`")
equivalent("clinic.70", "how gradients pass is not asked, a shift may have either sign, and the maps have a spread", "`x` detached (3) in `LayerNormOfMaps`",
           "`self.scale * (x - mean) / (variance + 1e-05).sqrt() + self.shift` → `self.scale * (x - mean) / (variance + 1e-05).sqrt() - self.shift` in `LayerNormOfMaps`",
           "`variance + 1e-05` → `variance` in `LayerNormOfMaps`")
equivalent("clinic.71", "the numbers are the same wherever they lie in memory", "`torch.einsum('nhwc->nchw', pixels).contiguous()` → `torch.einsum('nhwc->nchw', pixels)` in `with_einsum`")
equivalent("clinic.72", "load_state_dict turns them back into the dtype of the network", "…the result in float64, or whole numbers in float32")
