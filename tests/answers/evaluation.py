"""Further answers to the exercises of chapter 10a."""
import math
import numpy as np
import torch
from torch.nn import functional as F
from genesis_course.evaluation import frechet_distance, precision_recall
from answers import equivalent, right, wrong

# 10.1: FID from features


@right("evaluation.1")
def with_symmetric_matrices(a, b):
    cov_a, cov_b = (x.T.cov() for x in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return ((a.mean(0)-b.mean(0))**2).sum() + torch.trace(cov_a + cov_b) - 2*inner


@right("evaluation.1")
def with_singular_values(a, b):
    "The singular values of A Bᵀ for centred data are the roots of the eigenvalues of Σ₁Σ₂"
    x, y = ((s-s.mean(dim=0))/(len(s)-1)**0.5 for s in (a, b))
    return (a.mean(dim=0)-b.mean(dim=0)).norm()**2 + (x**2).sum() + (y**2).sum() - 2*torch.linalg.svdvals(x @ y.T).sum()


@right("evaluation.1")
def with_numpy(a, b):
    a, b = a.numpy(), b.numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).astype(complex))
    return float(np.sum((a.mean(0)-b.mean(0))**2) + np.trace(cov_a) + np.trace(cov_b) - 2*roots.sum().real)


@right("evaluation.1")
def with_complex_roots(a, b):
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(cov_a.matmul(cov_b)).sqrt().real.sum()
    return (a.mean(0)-b.mean(0)).dot(a.mean(0)-b.mean(0)) + a.var(dim=0).sum() + b.var(dim=0).sum() - 2*roots


@right("evaluation.1")
def of_the_library(a, b): return torch.tensor(frechet_distance(a, b))


@wrong("evaluation.1", says="complex")
def leaves_it_complex(a, b):
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    return (a.mean(0)-b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2*torch.linalg.eigvals(cov_a @ cov_b).sqrt().sum()


@wrong("evaluation.1", says="clamp")
def without_a_clamp(a, b):
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors*(values-1e-12).sqrt() @ vectors.T
    return (a.mean(0)-b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2*torch.linalg.eigvalsh(root @ cov_b @ root).sqrt().sum()


@wrong("evaluation.1", never="A set is at distance 0 from itself")
def with_the_roots_added_once(a, b): return with_symmetric_matrices(a, b) + torch.linalg.eigvals(a.T.cov() @ b.T.cov()).real.clamp(min=0).sqrt().sum()


@wrong("evaluation.1", never="divide by N - 1")
def covariance_of_the_sum_of_squares(a, b): return frechet_distance(a-a.mean(0), b-b.mean(0))


@wrong("evaluation.1", never="one by one")
def twice_the_distance(a, b): return 2*with_symmetric_matrices(a, b)


@wrong("evaluation.1", never="enter squared")
def mean_for_sum(a, b): return with_symmetric_matrices(a, b)/a.shape[1]


@wrong("evaluation.1", never="for d²")
def the_larger_of_it_and_its_square(a, b): return with_symmetric_matrices(a, b)**2


@wrong("evaluation.1", says="number")
def a_list_of_parts(a, b): return [(a.mean(0)-b.mean(0)).square().sum().item(), 0.]


equivalent("evaluation.1", "a distance between sets is a measure: nobody differentiates it", "… detached", "…everything under `no_grad`")
equivalent("evaluation.1", "a number in single precision is as good", "…the result in float64, or whole numbers in float32")
equivalent("evaluation.1", "the difference is squared, and the eigenvalues of a product do not depend on its order",
           "`a.mean(dim=0) - b.mean(dim=0)` → `b.mean(dim=0) - a.mean(dim=0)`", "`cov_a @ cov_b` → `cov_b @ cov_a`",
           "`(a.T.cov(), b.T.cov())` → `(b.T.cov(), a.T.cov())`", "`a.mean(0) - b.mean(0)` → `b.mean(0) - a.mean(0)` in `with_numpy`", "`(torch.cov(a.T), torch.cov(b.T))` → `(torch.cov(b.T), torch.cov(a.T))` in `with_complex_roots`")
equivalent("evaluation.1", "a tensor of one number is as good as a number",
           "`(moved + cov_a.trace() + cov_b.trace() - 2 * roots.sum()).item()` → `moved + cov_a.trace() + cov_b.trace() - 2 * roots.sum()`")

# 10.2: an impostor


@right("evaluation.2")
def drawn_by_pytorch(real):
    gaussian = torch.distributions.MultivariateNormal(real.mean(dim=0), real.T.cov())
    return gaussian.sample((len(real),))


@right("evaluation.2")
def gaussian_of_the_chapter(real):
    mean = real.mean(dim=0)
    mix = torch.randn(len(real), len(real)).to(real)/len(real)**0.5
    return (mean + mix @ (real-mean)).clamp(-1, 1)


@right("evaluation.2")
def with_eigenvectors(real):
    values, vectors = torch.linalg.eigh(real.T.cov())
    return (real.mean(0) + (torch.randn(len(real), real.shape[1]).to(real)*values.clamp(min=0).sqrt()) @ vectors.T).float()


@right("evaluation.2")
def with_numpy_noise(real):
    drawn = np.random.multivariate_normal(real.mean(0).numpy(), real.T.cov().numpy(), len(real))
    return torch.as_tensor(drawn)


@right("evaluation.2")
def uniform_with_the_same_moments(real):
    noise = (torch.rand(len(real), real.shape[1], dtype=real.dtype)-0.5)*math.sqrt(12)
    return real.mean(0) + noise @ torch.linalg.cholesky(real.T.cov()).mT


@right("evaluation.2")
def in_single_precision(real):
    real = real.float()
    return real.mean(dim=0) + torch.randn_like(real) @ torch.linalg.cholesky(real.T.cov()).T


@wrong("evaluation.2", says="lie where real points are", never="another order")
def real_ones_twice(real): return real[torch.arange(len(real))//2*2]


@wrong("evaluation.2", says="should be below 0.001", never="Mean and widths are right")
def wrong_mean(real): return gaussian_of_the_chapter(real) + 0.1


@wrong("evaluation.2", says="should be below 0.001", never="The mean is right")
def one_mean_for_all_features(real): return gaussian_of_the_chapter(real) - real.mean(0) + real.mean()


@wrong("evaluation.2", says="[10, 2]")
def too_few(real): return gaussian_of_the_chapter(real)[:10]


@wrong("evaluation.2", says="list")
def as_lists(real): return gaussian_of_the_chapter(real).tolist()


@wrong("evaluation.2", says="not finite")
def divided_by_zero(real): return gaussian_of_the_chapter(real)/0


@wrong("evaluation.2", says="should be below 0.001", never="nearly zero")
def a_tenth_of_the_width(real): return real.mean(0) + 0.3*(gaussian_of_the_chapter(real)-real.mean(0))


equivalent("evaluation.2", "fakes are judged here, and not trained", "… detached", "…everything under `no_grad`")
equivalent("evaluation.2", "noise that is turned round is the same noise", "`real.mean(dim=0) + torch.randn_like(real) @ root.T` → `real.mean(dim=0) - torch.randn_like(real) @ root.T`",
           "`real.mean(0) + torch.randn(len(real), real.shape[1]).to(real) * values.clamp(min=0).sqrt() @ vectors.T` → `real.mean(0) - torch.randn(len(real), real.shape[1]).to(real) * values.clamp(min=0).sqrt() @ vectors.T` in `with_eigenvectors`",
           "`real.mean(0) + noise @ torch.linalg.cholesky(real.T.cov()).mT` → `real.mean(0) - noise @ torch.linalg.cholesky(real.T.cov()).mT` in `uniform_with_the_same_moments`",
           "`torch.rand(len(real), real.shape[1], dtype=real.dtype) - 0.5` → `0.5 - torch.rand(len(real), real.shape[1], dtype=real.dtype)` in `uniform_with_the_same_moments`")
equivalent("evaluation.2", "nothing has to be cut off here, and the points lie near the origin", "`values.clamp(min=0)` → `values` in `with_eigenvectors`")
equivalent("evaluation.2", "single precision is enough for fakes", "…the result in float64, or whole numbers in float32")

# 10.3: the price of a diagonal

right("evaluation.3", 0.14)
right("evaluation.3", torch.tensor(0.14))
right("evaluation.3", np.float64(0.14))
right("evaluation.3", 2*(9-2)/100)
right("evaluation.3", 2*(100*9+9900*2)/10_000 - 2*2)
wrong("evaluation.3", 0, says="without i = j")
wrong("evaluation.3", 0.07, says="There are two")
wrong("evaluation.3", 0.18, says="in the place of others")
wrong("evaluation.3", 14, says="sum over a row")
wrong("evaluation.3", -0.14, says="sign")
wrong("evaluation.3", 4.14, says="not the answer", never="There are two")
wrong("evaluation.3", 0.0014, says="not the answer", never="sum over a row")
wrong("evaluation.3", 7, says="not the answer")
wrong("evaluation.3", 0.09, says="not the answer", never="in the place")

# 10.4: precision


@right("evaluation.4")
def fake_by_fake(real, fake, k):
    inside = 0
    for point in fake:
        for centre in real:
            radius = (real-centre).norm(dim=1).sort().values[k]
            if (point-centre).norm() <= radius:
                inside += 1
                break
    return inside/len(fake)


@right("evaluation.4")
def with_kthvalue(real, fake, k):
    radii = torch.cdist(real, real).kthvalue(k+1, dim=1).values
    return ((torch.cdist(real, fake) <= radii[:, None]).sum(dim=0) > 0).float().mean()


@right("evaluation.4")
def with_numpy_sort(real, fake, k):
    real, fake = real.double().numpy(), fake.double().numpy()
    def apart(a, b): return np.sqrt(((a[:, None]-b[None])**2).sum(-1))
    return np.mean((apart(fake, real) <= np.sort(apart(real, real), axis=1)[:, k]).any(axis=1))


@right("evaluation.4")
def with_squares(real, fake, k):
    def squared(a, b): return (a[:, None]-b[None]).square().sum(dim=2)
    own = squared(real, real)
    own.fill_diagonal_(math.inf)
    radii = own.sort(dim=1).values[:, k-1]
    return (squared(fake, real) - radii <= 0).any(1).double().mean().item()


@right("evaluation.4")
def of_the_library(real, fake, k): return precision_recall(real, fake, k)[0]


@wrong("evaluation.4", says="The value", never="any, not all")
def always_zero(real, fake, k): return 0.


@wrong("evaluation.4", never="any, not all")
def always_one(real, fake, k): return 1.


@wrong("evaluation.4", says="topk", never="any, not all")
def balls_of_the_farthest(real, fake, k):
    radii = torch.cdist(real, real).topk(k+1).values[:, -1]
    return (torch.cdist(fake, real) <= radii).any(dim=1).double().mean()


@wrong("evaluation.4", never="is that point itself")
def one_neighbour_too_many(real, fake, k): return with_kthvalue(real, fake, min(k+1, len(real)-1))


@wrong("evaluation.4", never="This is recall")
def the_rest(real, fake, k): return 1-with_kthvalue(real, fake, k)


@wrong("evaluation.4", never="counts the fakes")
def divided_by_the_real(real, fake, k): return with_kthvalue(real, fake, k)*len(fake)/len(real)


@wrong("evaluation.4", never="mean radius")
def the_largest_radius(real, fake, k):
    radius = torch.cdist(real, real).kthvalue(k+1, dim=1).values.max()
    return (torch.cdist(fake, real) <= radius).any(dim=1).double().mean()


@wrong("evaluation.4", says="number", never="any")
def which_ones(real, fake, k): return (torch.cdist(fake, real) <= 1).any(dim=1)


equivalent("evaluation.4", "a share is a measure: nobody differentiates it", "… detached", "…everything under `no_grad`")
equivalent("evaluation.4", "a share in single precision is as good", "…the result in float64, or whole numbers in float32")
equivalent("evaluation.4", "distances are the same in both directions, and only their order counts", "`torch.cdist(real, real)` → `torch.cdist(real, real)`", "`real - centre` → `centre - real` in `fake_by_fake`",
           "`point - centre` → `centre - point` in `fake_by_fake`", "`1` → `0` (2) in `with_kthvalue`", "`apart(real, real)` → `apart(real, real)` in `with_numpy_sort`", "`squared(real, real)` → `squared(real, real)` in `with_squares`",
           "`(a[:, None] - b[None]).square().sum(dim=2)` → `(a[:, None] - b[None]).square().mean(dim=2)` in `with_squares`")
equivalent("evaluation.4", "a feature of a generated image never lies exactly on a sphere", "`torch.cdist(fake, real) <= radii` → `torch.cdist(fake, real) < radii`")

# 10.5: a promise about false alarms


@right("evaluation.5")
def with_kth_value(scores, alarms): return scores.kthvalue(math.floor(alarms*(len(scores)+1))).values.item()


@right("evaluation.5")
def with_topk(scores, alarms): return scores.topk(int((scores.numel()+1)*alarms), largest=False).values.max()


@right("evaluation.5")
def with_sorted(scores, alarms): return sorted(scores.tolist())[int(alarms*(1+len(scores)))-1]


@right("evaluation.5")
def one_rank_after_the_other(scores, alarms):
    best = None
    for rank, score in enumerate(np.sort(scores.numpy()), 1):
        if rank <= alarms*(len(scores)+1): best = float(score)
    return best


@right("evaluation.5")
def with_argsort(scores, alarms):
    rank = int(alarms*(len(scores)+1))
    return scores[scores.argsort()[rank-1]]


@wrong("evaluation.5", says="interpolates")
def a_quantile(scores, alarms): return torch.quantile(scores, alarms)


@wrong("evaluation.5", says="Round down", never="interpolates")
def rounded_up_or_down(scores, alarms): return scores.sort().values[round(alarms*(len(scores)+1))-1].item()


@wrong("evaluation.5", never="lower end")
def always_the_largest(scores, alarms): return scores.max()


@wrong("evaluation.5", never="index r - 1")
def rounded_up(scores, alarms): return scores.sort().values[math.ceil(alarms*(len(scores)+1)+1e-9)].item()


@wrong("evaluation.5", never="misses copies")
def the_second_smallest(scores, alarms): return scores.sort().values[1].item()


@wrong("evaluation.5", says="number", never="Sort")
def the_rank(scores, alarms): return scores.sort().values[:int(alarms*(len(scores)+1))]


@wrong("evaluation.5", says="changes what it was given")
def sorts_in_place(scores, alarms):
    scores.copy_(scores.sort().values)
    return scores[int(alarms*(len(scores)+1))-1].item()


equivalent("evaluation.5", "the largest score is never the threshold here", "the last one twice: `for rank, score in enumerate(np.sort(scores.numpy()), 1):` in `one_rank_after_the_other`")
equivalent("evaluation.5", "a threshold is a number that nobody differentiates", "… detached", "…everything under `no_grad`")
equivalent("evaluation.5", "a tensor of one number is as good as a number", "`scores.sort().values[rank - 1].item()` → `scores.sort().values[rank - 1]`")
equivalent("evaluation.5", "a number in double precision is as good", "…the result in float64, or whole numbers in float32")

# Case 38: three ways to a false number


@right("clinic.38")
def embeds_once(sample, real, embed, distance):
    known, n = embed(real), len(real)//2
    return [distance(known[:n], embed(sample(n))), distance(known[n:], known[:n])]


@right("clinic.38")
def with_chunks(sample, real, embed, distance):
    one, other = (embed(part) for part in real[torch.randperm(len(real))].chunk(2))
    made = embed(sample(len(one)))
    return distance(made, one), distance(one, other)


@right("clinic.38")
def mean_of_three_orders(sample, real, embed, distance):
    n, pairs = len(real)//2, []
    for seed in range(3):
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
        first, second = embed(real[order[:n]]), embed(real[order[n:2*n]])
        pairs.append((distance(first, embed(sample(n))), distance(first, second)))
    return tuple(sum(values)/3 for values in zip(*pairs))


@right("clinic.38")
def every_second_one(sample, real, embed, distance):
    return distance(embed(real[::2]), embed(sample(len(real)//2))), distance(embed(real[::2]), embed(real[1::2]))


@wrong("clinic.38", says="share", never="still compares a set with itself")
def halves_that_overlap(sample, real, embed, distance):
    first, second = embed(real[:500]), embed(real[100:600])
    return distance(first, embed(sample(500))), distance(first, second)


@wrong("clinic.38", says="different numbers", never="twice as many")
def few_fakes(sample, real, embed, distance):
    n = len(real)//2
    first, second = embed(real[:n]), embed(real[n:])
    return distance(first, embed(sample(200))), distance(first, second)


@wrong("clinic.38", says="Return a pair")
def figure_only(sample, real, embed, distance): return embeds_once(sample, real, embed, distance)[0]


@wrong("clinic.38", says="resized")
def enlarges_all_by_hand(sample, real, embed, distance):
    large = F.interpolate(real, (28, 28))
    return embeds_once(lambda n: F.interpolate(sample(n), (28, 28)), large, embed, distance)


@wrong("clinic.38", says="none was taken", never="floor still")
def a_floor_of_zero(sample, real, embed, distance):
    n = len(real)//2
    return distance(embed(real[:n]), embed(sample(n))), 0.


@wrong("clinic.38", says="Fewer images, more bias", never="only 100")
def with_two_hundred(sample, real, embed, distance):
    first, second = embed(real[:200]), embed(real[200:400])
    return distance(first, embed(sample(200))), distance(first, second)


@wrong("clinic.38", says="No distance was taken between real and generated")
def both_real(sample, real, embed, distance):
    n = len(real)//2
    return distance(embed(real[:n]), embed(real[n:])), distance(embed(real[:n]), embed(real[n:]))


equivalent("clinic.38", "images are judged here, and nothing is trained", "… detached", "…everything under `no_grad`")
equivalent("clinic.38", "a distance is the same in both directions", "`distance(first, fake)` → `distance(fake, first)`", "`distance(first, second)` → `distance(second, first)`",
           "`distance(known[:n], embed(sample(n)))` → `distance(embed(sample(n)), known[:n])` in `embeds_once`", "`distance(one, other)` → `distance(other, one)` in `with_chunks`",
           "`distance(embed(real[::2]), embed(sample(len(real) // 2)))` → `distance(embed(sample(len(real) // 2)), embed(real[::2]))` in `every_second_one`")
equivalent("clinic.38", "a slice ends where its tensor ends", "`2` → `3` (2)")


@wrong("evaluation.4", never="nearest real point is asked")
def in_one_of_the_two_nearest_balls(real, fake, k):
    radii = torch.cdist(real, real).kthvalue(k+1, dim=1).values
    distances, nearest = torch.cdist(fake, real).topk(2, largest=False)
    return (distances <= radii[nearest]).any(dim=1).double().mean()


@wrong("evaluation.4", never="share of pairs")
def in_two_balls_or_more(real, fake, k):
    radii = torch.cdist(real, real).kthvalue(k+1, dim=1).values
    return ((torch.cdist(fake, real) <= radii).sum(dim=1) > 1).double().mean()


@wrong("evaluation.4", never="share of balls that hold a fake")
def balls_without_a_fake(real, fake, k):
    radii = torch.cdist(real, real).kthvalue(k+1, dim=1).values
    return (torch.cdist(fake, real) > radii).all(dim=0).double().mean()


@wrong("evaluation.4", never="far as the fakes lie apart")
def the_mean_radius_of_the_fakes(real, fake, k):
    radius = torch.cdist(fake, fake).kthvalue(min(k+1, len(fake)), dim=1).values.mean()
    return (torch.cdist(fake, real) <= radius).any(dim=1).double().mean()


@wrong("evaluation.1", never="The trace is missing")
def sum_of_the_moved_means(a, b): return (a.mean(0)-b.mean(0)).abs().sum()


@wrong("evaluation.1", never="root of every entry")
def root_of_the_covariances_entry_by_entry(a, b):
    one, other = a.T.cov(), b.T.cov()
    return (a.mean(0)-b.mean(0)).square().sum() + one.trace() + other.trace() - 2*(one.abs().sqrt() @ other.abs().sqrt()).trace()


@wrong("evaluation.2", never="transposed root")
def the_root_of_the_inverse(real): return real.mean(0) + torch.randn_like(real) @ torch.linalg.cholesky(real.T.cov().inverse())


@wrong("clinic.38", says="first and the floor second", never="pixels")
def the_floor_first(sample, real, embed, distance): return embeds_once(sample, real, embed, distance)[::-1]


@wrong("clinic.38", says="through `embed`", never="Two sets of fakes")
def pixels_for_features(sample, real, embed, distance):
    n = len(real)//2
    return distance(real[:n].flatten(1), sample(n).flatten(1)), distance(real[:n].flatten(1), real[n:].flatten(1))


@wrong("clinic.38", says="sets have", never="smaller, and a good generator")
def all_real_ones_against_half(sample, real, embed, distance):
    n = len(real)//2
    return distance(embed(real), embed(sample(n))), distance(embed(real[:n]), embed(real[n:]))
