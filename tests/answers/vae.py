"""Further answers to the exercises of chapter 07a."""
import math
import numpy as np
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence as torch_kl
from torch.nn import functional as F
from genesis_course.vae import bernoulli_log_likelihood, kl_divergence, kl_per_dimension, reparameterise, vae_loss
from answers import equivalent, right, wrong

IN_FLOAT64 = "…the result in float64, or whole numbers in float32"


# vae.1: the KL between two clouds

@right("vae.1")
def with_distributions(mean, log_variance, prior_mean, prior_log_variance):
    cloud, prior = Normal(mean, (log_variance/2).exp()), Normal(prior_mean, (prior_log_variance/2).exp())
    return torch_kl(cloud, prior).sum(dim=-1)


@right("vae.1")
def in_units_of_the_prior(mean, log_variance, prior_mean, prior_log_variance):
    return kl_divergence((mean-prior_mean)/(prior_log_variance/2).exp(), log_variance-prior_log_variance)


@right("vae.1")
def number_by_number(mean, log_variance, prior_mean, prior_log_variance):
    total = 0
    for j in range(mean.shape[1]):
        share = torch.exp(log_variance[:, j]-prior_log_variance[j])
        total = total + 0.5*(prior_log_variance[j]-log_variance[:, j]+share+(mean[:, j]-prior_mean[j])**2*torch.exp(-prior_log_variance[j])-1)
    return total


@right("vae.1")
def from_standard_deviations(mean, log_variance, prior_mean, prior_log_variance):
    sigma, prior_sigma = torch.exp(0.5*log_variance), torch.exp(0.5*prior_log_variance)
    each = torch.log(prior_sigma/sigma) + (sigma**2+(mean-prior_mean)**2)/(2*prior_sigma**2) - 0.5
    return torch.einsum("bj->b", each)


@wrong("vae.1", says="No gradient comes back", never="symmetric")
@torch.no_grad()
def without_gradients(mean, log_variance, prior_mean, prior_log_variance): return in_units_of_the_prior(mean, log_variance, prior_mean, prior_log_variance)


@wrong("vae.1", says="No gradient reaches `prior_mean`")
def the_prior_does_not_learn(mean, log_variance, prior_mean, prior_log_variance): return in_units_of_the_prior(mean, log_variance, prior_mean.detach(), prior_log_variance)


@wrong("vae.1", never="symmetric")
def variance_for_log_variance(mean, log_variance, prior_mean, prior_log_variance): return number_by_number(mean, log_variance.exp(), prior_mean, prior_log_variance.exp())


@wrong("vae.1", never="N(0, I)")
def forgets_the_minus_one(mean, log_variance, prior_mean, prior_log_variance): return in_units_of_the_prior(mean, log_variance, prior_mean, prior_log_variance)+mean.shape[1]/2


@wrong("vae.1", says="number")
def one_plain_number(mean, log_variance, prior_mean, prior_log_variance): return in_units_of_the_prior(mean, log_variance, prior_mean, prior_log_variance).sum().item()


equivalent("vae.1", "a square has no sign", "`mean - prior_mean` → `prior_mean - mean`")


# vae.2: a whole step of training

@right("vae.2")
def with_the_losses_written_out(encoder, decoder, optimizer, x, noise):
    said = encoder(x)
    half = said.shape[1]//2
    mean, log_variance = said[:, :half], said[:, half:]
    z = mean + log_variance.exp().sqrt()*noise
    pixels = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
    code = 0.5*(mean**2 + log_variance.exp() - 1 - log_variance).sum()
    loss = (pixels+code)/len(x)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@right("vae.2")
def with_a_module_and_the_loss_of_the_chapter(encoder, decoder, optimizer, x, noise):
    class Both(nn.Module):
        def forward(self, images):
            mean, log_variance = encoder((images+1)/2).chunk(2, dim=1)
            return decoder(mean+(log_variance/2).exp()*noise), mean, log_variance
    loss = vae_loss(Both(), 2*x-1)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@right("vae.2")
def image_by_image(encoder, decoder, optimizer, x, noise):
    optimizer.zero_grad()
    total = 0.
    for image, eps in zip(x, noise):
        mean, log_variance = encoder(image[None])[0].chunk(2)
        logits = decoder((mean+torch.exp(0.5*log_variance)*eps)[None])
        cost = -bernoulli_log_likelihood(logits, image[None])[0] + kl_divergence(mean[None], log_variance[None])[0]
        (cost/len(x)).backward()
        total += cost.item()/len(x)
    optimizer.step()
    return total


@right("vae.2")
def with_gradients_asked_for(encoder, decoder, optimizer, x, noise):
    parameters = [*encoder.parameters(), *decoder.parameters()]
    mean, log_variance = torch.tensor_split(encoder(x), 2, dim=1)
    cloud = Normal(mean, torch.exp(log_variance/2))
    logits = decoder(cloud.loc + cloud.scale*noise)
    bound = bernoulli_log_likelihood(logits, x) - torch_kl(cloud, Normal(0., 1.)).sum(dim=1)
    for parameter, slope in zip(parameters, torch.autograd.grad(-bound.mean(), parameters)): parameter.grad = slope
    optimizer.step()
    return -bound.mean()


@wrong("vae.2", says="The value for the loss")
def a_pixel_mean(encoder, decoder, optimizer, x, noise):
    mean, log_variance = encoder(x).chunk(2, dim=1)
    loss = F.binary_cross_entropy_with_logits(decoder(mean+(log_variance/2).exp()*noise), x) + kl_divergence(mean, log_variance).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@wrong("vae.2", says="No weight has moved", never="add up")
def clears_what_it_has_just_found(encoder, decoder, optimizer, x, noise):
    mean, log_variance = encoder(x).chunk(2, dim=1)
    loss = (kl_divergence(mean, log_variance) - bernoulli_log_likelihood(decoder(mean+(log_variance/2).exp()*noise), x)).mean()
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss


@wrong("vae.2", says="`zero_grad`", never="No weight")
def never_clears(encoder, decoder, optimizer, x, noise):
    mean, log_variance = encoder(x).chunk(2, dim=1)
    bound = bernoulli_log_likelihood(decoder(mean+(0.5*log_variance).exp()*noise), x) - kl_divergence(mean, log_variance)
    (-bound).mean().backward()
    optimizer.step()
    return -bound.mean().item()


@wrong("vae.2", says="a `detach` or `no_grad`", never="KL is missing")
def encodes_without_gradients(encoder, decoder, optimizer, x, noise):
    mean, log_variance = encoder(x).chunk(2, dim=1)
    with torch.no_grad(): z = mean + (log_variance/2).exp()*noise
    loss = (kl_divergence(mean, log_variance) - bernoulli_log_likelihood(decoder(z), x)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


@wrong("vae.2", says="should be a number")
def returns_a_dict(encoder, decoder, optimizer, x, noise): return {"loss": image_by_image(encoder, decoder, optimizer, x, noise)}


equivalent("vae.2", "images and noise are given: nobody learns them", "…`x` detached", "…`noise` detached")
equivalent("vae.2", "the step is taken by then: what comes back is for the log", "the result is detached", IN_FLOAT64)


# vae.3: how much a number tells

right("vae.3", np.log2(20))
right("vae.3", torch.tensor(math.log(20)/math.log(2)))
right("vae.3", 4.32)
right("vae.3", np.float32(-math.log2(0.05)))
wrong("vae.3", 3., says="in nats", never="Twice")
wrong("vae.3", 2.497, says="in the middle", never="decimal digits")
wrong("vae.3", 8.64, says="one half", never="nats. A bit")
wrong("vae.3", 5, says="5 is not the answer")
wrong("vae.3", 4.3, says="two decimals", never="sign")


# vae.4: a direction that means something

def unit(direction): return direction/direction.norm()


@right("vae.4")
def from_covariances(codes, factor): return unit((codes-codes.mean(dim=0)).T @ (factor-factor.mean()))


@right("vae.4")
def between_the_halves(codes, factor): return unit(codes[factor > factor.median()].mean(dim=0)-codes[factor <= factor.median()].mean(dim=0))


@right("vae.4")
def with_a_constant_column(codes, factor):
    slope = torch.linalg.lstsq(torch.cat([codes, torch.ones(len(codes), 1)], dim=1), factor[:, None]).solution
    return F.normalize(slope[:-1, 0], dim=0)


@right("vae.4")
def with_pinv_in_float64(codes, factor):
    x, y = (codes-codes.mean(dim=0)).double(), factor.double()
    return unit(torch.linalg.pinv(x) @ y)


@right("vae.4")
def from_correlations(codes, factor): return unit(torch.corrcoef(torch.cat([codes, factor[:, None]], dim=1).T)[-1, :-1])


@wrong("vae.4", says="0.95 is asked for", never="backwards")
def from_the_two_extremes(codes, factor): return unit(codes[factor.argmax()]-codes[factor.argmin()])


@wrong("vae.4", says="0.95 is asked for", never="length")
def covariances_without_centring(codes, factor): return unit(codes.T @ factor)


@wrong("vae.4", says="Divide by the norm", never="correlate")
def not_of_length_one(codes, factor): return torch.linalg.lstsq(codes-codes.mean(dim=0), (factor-factor.mean())[:, None]).solution[:, 0]


@wrong("vae.4", says="[5, 1]", never="correlate")
def a_column(codes, factor): return unit(torch.linalg.lstsq(codes-codes.mean(dim=0), (factor-factor.mean())[:, None]).solution)


@wrong("vae.4", says="backwards", never="0.95")
def downwards(codes, factor): return -from_covariances(codes, factor)


@wrong("vae.4", says="backwards", never="length")
def only_ever_upwards(codes, factor): return unit(from_covariances(codes, factor).abs())


equivalent("vae.4", "the codes are centred, so a constant in the factor meets nothing", "`factor - factor.mean()` → `factor`", "`factor - factor.mean()` → `factor + factor.mean()`",
           "`factor.mean()` → `factor.sum()`")
equivalent("vae.4", "the factor is centred, so the middle of the codes meets nothing", "`codes.mean(dim=0)` → `codes.sum(dim=0)` in `from_covariances`", "`codes - codes.mean(dim=0)` → `codes` in `from_covariances`")
equivalent("vae.4", "a direction is read from codes that have been learned: nobody differentiates it", "… detached", IN_FLOAT64)


# vae.5: how many draws count

@right("vae.5")
def with_logsumexp(log_weights): return torch.exp(2*torch.logsumexp(log_weights, dim=1)-torch.logsumexp(2*log_weights, dim=1))


@right("vae.5")
def with_the_largest_taken_away(log_weights):
    weights = (log_weights-log_weights.amax(dim=1, keepdim=True)).exp()
    return weights.sum(dim=1)**2/(weights**2).sum(dim=1)


@right("vae.5")
def row_by_row(log_weights): return torch.stack([1/F.softmax(row, dim=0).pow(2).sum() for row in log_weights])


@right("vae.5")
def inside_in_float64(log_weights):
    shares = log_weights.double().log_softmax(dim=-1).exp()
    return torch.einsum("bk,bk->b", shares, shares).reciprocal().to(log_weights.dtype)


@wrong("vae.5", says="all its weights are 0", never="Right on paper")
def one_maximum_for_all(log_weights):
    weights = torch.exp(log_weights-torch.max(log_weights))
    return weights.sum(1)**2/weights.pow(2).sum(1)


@wrong("vae.5", says="0/0", never="batch")
def on_paper(log_weights): return torch.exp(log_weights).sum(1).pow(2)/torch.exp(2*log_weights).sum(1)


@wrong("vae.5", never="0/0")
def always_all(log_weights): return torch.full_like(log_weights[:, 0], log_weights.shape[1])


@wrong("vae.5", says="upside down", never="entropy")
def shares_squared(log_weights): return (log_weights-log_weights.logsumexp(dim=1, keepdim=True)).exp().square().sum(dim=1)


equivalent("vae.5", "float32 is exact enough for shares", "`log_weights.double()` → `log_weights` in `inside_in_float64`")
equivalent("vae.5", "a count is a measure: nobody differentiates it", "… detached")


# Case 15: reconstruction of unpaired noise

@right("clinic.15")
def with_mse_loss(encoder, decoder, images): return F.mse_loss(decoder(encoder(images)), images)


@right("clinic.15")
def summed_over_the_pixels(encoder, decoder, images):
    pictures = decoder(encoder(images))
    return (pictures-images).pow(2).flatten(1).sum(dim=1).mean()


@right("clinic.15")
def with_absolute_errors(encoder, decoder, images): return F.l1_loss(decoder(encoder(images)), images)


@right("clinic.15")
def one_by_one(encoder, decoder, images): return torch.stack([(decoder(encoder(image[None]))-image).square().mean() for image in images]).mean()


@wrong("clinic.15", says="reaches no weights", never="encoder, so")
def returns_a_number_without_gradient(encoder, decoder, images): return with_mse_loss(encoder, decoder, images).detach()


@wrong("clinic.15", says="never reaches the decoder", never="never reaches the encoder")
def the_decoder_is_cut(encoder, decoder, images):
    codes = encoder(images)
    return (decoder(codes).detach()+0*codes.sum()-images).square().mean() + codes.square().mean()*0 + (codes-codes.detach()).sum()


@wrong("clinic.15", says="undo each other", never="random")
def with_noise_on_the_codes(encoder, decoder, images):
    codes = encoder(images)
    return F.mse_loss(decoder(codes+0.5*torch.randn_like(codes)), images)


@wrong("clinic.15", says="the last picture", never="undo each other")
def forgets_the_last(encoder, decoder, images): return F.mse_loss(decoder(encoder(images))[:-1], images[:-1])


@wrong("clinic.15", says="turn the sign", never="last")
def rewards_errors(encoder, decoder, images): return -with_mse_loss(encoder, decoder, images)


@wrong("clinic.15", says="`detach` stops the gradient", never="random")
def encodes_under_no_grad(encoder, decoder, images):
    with torch.no_grad(): codes = encoder(images)
    return F.mse_loss(decoder(codes), images)


equivalent("clinic.15", "images are data: nobody differentiates with respect to them", "…`images` detached")
equivalent("clinic.15", "a constant factor leaves the best networks as they are", "`(decoder(encoder(images)) - images).square().mean()` → `(decoder(encoder(images)) - images).square().sum()`")
equivalent("clinic.15", "a distance is the same from both ends", "`F.mse_loss(decoder(encoder(images)), images)` → `F.mse_loss(images, decoder(encoder(images)))` in `with_mse_loss`",
           "`F.l1_loss(decoder(encoder(images)), images)` → `F.l1_loss(images, decoder(encoder(images)))` in `with_absolute_errors`", "`pictures - images` → `images - pictures` in `summed_over_the_pixels`",
           "`decoder(encoder(image[None])) - image` → `image - decoder(encoder(image[None]))` in `one_by_one`")
equivalent("clinic.15", "summed over pixels or images: a constant factor leaves the best networks as they are", "`(pictures - images).pow(2).flatten(1).sum(dim=1)` → `(pictures - images).pow(2).flatten(1).sum()` in `summed_over_the_pixels`",
           "`1` → `2` (2) in `summed_over_the_pixels`", "`(decoder(encoder(image[None])) - image).square().mean()` → `(decoder(encoder(image[None])) - image).square().sum()` in `one_by_one`")
equivalent("clinic.15", "a square has no sign", "`decoder(encoder(images)) - images` → `images - decoder(encoder(images))`")
equivalent("clinic.15", "a loss in float64 teaches the same", IN_FLOAT64)


# Case 16: an autoencoder that is called a VAE

@right("clinic.16")
def with_the_loss_of_the_chapter(model, x): return vae_loss(model, 2*x-1)["loss"]


@right("clinic.16")
def with_distributions_and_rsample(model, x):
    mean, log_variance = model.encode(x)
    cloud = Normal(mean, (log_variance/2).exp())
    pixels = F.binary_cross_entropy_with_logits(model.decode(cloud.rsample()), x, reduction="sum")
    return (pixels + torch_kl(cloud, Normal(0., 1.)).sum())/len(x)


@right("clinic.16")
def with_four_draws_of_each_code(model, x):
    mean, log_variance = model.encode(x)
    pixels = torch.stack([bernoulli_log_likelihood(model.decode(mean+log_variance.exp().sqrt()*torch.randn_like(mean)), x) for _ in range(4)])
    return kl_per_dimension(mean, log_variance).sum(dim=1).mean() - pixels.mean()


@right("clinic.16")
def with_the_kl_estimated_from_the_draw(model, x):
    mean, log_variance = model.encode(x)
    cloud, prior = Normal(mean, (log_variance/2).exp()), Normal(0., 1.)
    z = cloud.rsample()
    return (cloud.log_prob(z).sum(1) - prior.log_prob(z).sum(1) - bernoulli_log_likelihood(model.decode(z), x)).mean()


@wrong("clinic.16", says="cuts it", never="encoder the reconstruction")
def detaches_all(model, x): return with_the_loss_of_the_chapter(model, x).detach()


@wrong("clinic.16", says="in what reaches the encoder", never="decoder as it should")
def detaches_the_draw(model, x):
    mean, log_variance = model.encode(x)
    z = reparameterise(mean, log_variance).detach()
    return kl_divergence(mean, log_variance).mean() - bernoulli_log_likelihood(model.decode(z), x).mean()


@wrong("clinic.16", says="in what reaches the encoder")
def detaches_the_kl(model, x):
    mean, log_variance = model.encode(x)
    return kl_divergence(mean, log_variance).detach().mean() - bernoulli_log_likelihood(model.decode(reparameterise(mean, log_variance)), x).mean()


@wrong("clinic.16", says="same noise", never="in what reaches")
def the_same_noise_for_ever(model, x):
    mean, log_variance = model.encode(x)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    return kl_divergence(mean, log_variance).mean() - bernoulli_log_likelihood(model.decode(mean+(log_variance/2).exp()*noise), x).mean()


@wrong("clinic.16", says="nats, and yours is")
def a_mean_over_pixels(model, x):
    mean, log_variance = model.encode(x)
    return F.binary_cross_entropy_with_logits(model.decode(reparameterise(mean, log_variance)), x) + kl_divergence(mean, log_variance).mean()


@wrong("clinic.16", says="turn the sign", never="nats, and")
def the_bound_itself(model, x): return -with_the_loss_of_the_chapter(model, x)


@wrong("clinic.16", says="one number")
def a_loss_for_each_image(model, x):
    mean, log_variance = model.encode(x)
    return kl_divergence(mean, log_variance) - bernoulli_log_likelihood(model.decode(reparameterise(mean, log_variance)), x)


equivalent("clinic.16", "x are pixels of the data: nobody differentiates with respect to them", "…`x` detached")
equivalent("clinic.16", "any number of draws gives the mean", "`4` → `5` in `with_four_draws_of_each_code`", "`4` → `3` in `with_four_draws_of_each_code`")
equivalent("clinic.16", "a loss in float64 teaches the same", IN_FLOAT64)


# Case 17: two means over two axes

@right("clinic.17")
def both_as_means_over_the_batch(logits, x, mean, log_variance):
    return (kl_divergence(mean, log_variance) - bernoulli_log_likelihood(logits, x)).mean()


@right("clinic.17")
def both_scaled_by_the_pixels(logits, x, mean, log_variance):
    pixels = x[0].numel()
    return F.binary_cross_entropy_with_logits(logits, x) + kl_divergence(mean, log_variance).mean()/pixels


@right("clinic.17")
def both_summed_over_everything(logits, x, mean, log_variance):
    reconstruction = -(x*F.logsigmoid(logits) + (1-x)*F.logsigmoid(-logits)).sum()
    return reconstruction + torch_kl(Normal(mean, (log_variance/2).exp()), Normal(0., 1.)).sum()


@right("clinic.17")
def in_float64(logits, x, mean, log_variance): return both_as_means_over_the_batch(logits.double(), x.double(), mean.double(), log_variance.double())


@wrong("clinic.17", says="cuts it", never="`logits`")
def without_a_gradient(logits, x, mean, log_variance): return both_as_means_over_the_batch(logits, x, mean, log_variance).detach()


@wrong("clinic.17", says="`mean`", never="counted")
def mean_detached(logits, x, mean, log_variance): return both_as_means_over_the_batch(logits, x, mean.detach(), log_variance)


@wrong("clinic.17", says="The KL is a sum now", never="too little")
def only_the_kl_is_summed(logits, x, mean, log_variance): return F.binary_cross_entropy_with_logits(logits, x) + kl_divergence(mean, log_variance).mean()


@wrong("clinic.17", says="counted", never="is a sum now")
def scaled_for_400_pixels(logits, x, mean, log_variance): return F.binary_cross_entropy_with_logits(logits, x) + kl_divergence(mean, log_variance).mean()/400


@wrong("clinic.17", says="this is the bound", never="counted")
def the_bound(logits, x, mean, log_variance): return -both_as_means_over_the_batch(logits, x, mean, log_variance)


equivalent("clinic.17", "x are pixels of the data: nobody differentiates with respect to them", "…`x` detached")
equivalent("clinic.17", "float32 is exact enough for a loss", *(f"`{name}.double()` → `{name}` in `in_float64`" for name in ("logits", "mean", "x")))
equivalent("clinic.17", "a loss in float64 teaches the same", IN_FLOAT64)


# Case 18: a KL below zero

@right("clinic.18")
def from_the_chapter(mean, log_variance): return kl_divergence(mean, log_variance)


@right("clinic.18")
def of_pytorch(mean, log_variance): return torch_kl(Normal(mean, torch.exp(log_variance/2)), Normal(0., 1.)).sum(dim=1)


@right("clinic.18")
def with_expm1_and_a_loop(mean, log_variance):
    total = torch.zeros_like(mean[:, 0])
    for j in range(mean.shape[1]): total = total + 0.5*(torch.expm1(log_variance[:, j]) - log_variance[:, j] + mean[:, j]**2)
    return total


@right("clinic.18")
def with_the_usual_minus(mean, log_variance): return -0.5*torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp(), dim=1)


@wrong("clinic.18", says="No gradient comes back", never="sign")
def a_number_that_teaches_nothing(mean, log_variance): return kl_divergence(mean, log_variance).detach()


@wrong("clinic.18", says="No gradient reaches `log_variance`")
def half_detached(mean, log_variance): return kl_divergence(mean, log_variance.detach())


@wrong("clinic.18", says="absolute value", never="Clamping")
def takes_the_absolute_value(mean, log_variance): return ((mean**2 + log_variance - 1 - torch.exp(log_variance)).sum(1)/2).abs()


@wrong("clinic.18", never="Still the patient")
def one_number_for_all(mean, log_variance): return kl_divergence(mean, log_variance).mean()


@wrong("clinic.18", says="Clamping", never="absolute")
def cut_at_zero(mean, log_variance): return F.relu((mean**2 + log_variance - 1 - torch.exp(log_variance)).sum(1)/2)


# Case 19: in turn, on different targets

@right("clinic.19")
def with_the_loss_of_a_vae(model, x): return [vae_loss(model, 2*x-1)["loss"]]


@right("clinic.19")
def two_losses_that_both_reach_all(model, x):
    mean, log_variance = model.encode(x)
    return [kl_divergence(mean, log_variance).mean(), -bernoulli_log_likelihood(model.decode(reparameterise(mean, log_variance)), x).mean()]


@right("clinic.19")
def summed_over_the_batch(model, x):
    mean, log_variance = model.encode(x)
    cloud = Normal(mean, (log_variance/2).exp())
    return (F.binary_cross_entropy_with_logits(model.decode(cloud.rsample()), x, reduction="sum") + torch_kl(cloud, Normal(0., 1.)).sum(),)


@right("clinic.19")
def one_loss_without_a_list(model, x): return with_the_loss_of_a_vae(model, x)[0]


@wrong("clinic.19", says="times as much", never="detach")
def the_reconstruction_twice(model, x):
    mean, log_variance = model.encode(x)
    reconstruction = -bernoulli_log_likelihood(model.decode(reparameterise(mean, log_variance)), x).mean()
    return [kl_divergence(mean, log_variance).mean()+reconstruction, reconstruction]


@wrong("clinic.19", says="times as much", never="detach")
def with_a_beta(model, x): return [vae_loss(model, 2*x-1, beta=0.3)["loss"]]


@wrong("clinic.19", says="No gradient reaches the model")
def all_detached(model, x): return [vae_loss(model, 2*x-1)["loss"].detach()]


@wrong("clinic.19", never="KL is gone")
def the_bound_is_lowered(model, x): return [-vae_loss(model, 2*x-1)["loss"]]


@wrong("clinic.19", says="list of losses", never="KL is gone")
def a_dict_of_losses(model, x): return vae_loss(model, 2*x-1)


@wrong("clinic.19", says="gradient of the bound")
def noise_of_a_fixed_size(model, x):
    mean, log_variance = model.encode(x)
    return [(kl_divergence(mean, log_variance) - bernoulli_log_likelihood(model.decode(mean+torch.randn_like(mean)), x)).mean()]


equivalent("clinic.19", "x are pixels of the data: nobody differentiates with respect to them", "…`x` detached")
equivalent("clinic.19", "a constant factor leaves the direction of the step as it is",
           "`(kl_divergence(mean, log_variance) - bernoulli_log_likelihood(logits, x)).mean()` → `(kl_divergence(mean, log_variance) - bernoulli_log_likelihood(logits, x)).sum()`")
equivalent("clinic.19", "a loss in float64 teaches the same", IN_FLOAT64)
