"""Further answers to the exercises of chapter 00."""
import math
import random
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong

SEED = 42

right("start.1", -math.log(1/26))
right("start.1", torch.tensor(26.).log())
right("start.1", np.log(np.float32(26)))
right("start.1", 3.26)
wrong("start.1", math.log(25), never="That is the")
wrong("start.1", math.log(27))
wrong("start.1", 3.3)
wrong("start.1", 2.303, says="ten digits", never="bits")
wrong("start.1", 4.7, says="bits", never="ten digits")
wrong("start.1", 5.99, says="proportion")


@right("start.2")
def with_a_loop(network):
    total = 0
    for p in network.parameters(): total += p.nelement()
    return total


@right("start.2")
def from_shapes(network): return sum(math.prod(p.shape) for _, p in network.named_parameters())


@right("start.2")
def as_a_tensor(network): return torch.tensor([p.numel() for p in network.parameters()]).sum()


@right("start.2")
def as_one_vector(network): return float(sum(len(p.data.flatten()) for p in network.parameters()))


@wrong("start.2", says="state_dict", never="biases are missing")
def with_buffers(network): return sum(p.numel() for p in [*network.parameters(), *network.buffers()])


@wrong("start.2", never="tensors. Each")
def of_the_first_layer(network): return sum(p.numel() for p in list(network.parameters())[:2])


@wrong("start.2", never="biases are missing")
def weights_by_name(network): return sum(p.numel() for p in network.parameters() if p.ndim < 2)


@wrong("start.2")
def bytes_of_them(network): return sum(4*p.numel() for p in network.parameters())


@right("start.3")
def by_counting_pairs(logits, labels):
    classes = logits.shape[1]
    return (labels*classes+logits.argmax(dim=1)).bincount(minlength=classes**2).view(classes, classes)


@right("start.3")
def as_lists(logits, labels):
    classes = len(logits[0])
    table = [[0]*classes for _ in range(classes)]
    for meant, read in zip(labels.tolist(), logits.max(dim=1).indices.tolist()): table[meant][read] += 1
    return table


@right("start.3")
def as_a_product(logits, labels):
    classes = logits.shape[1]
    return F.one_hot(labels, classes).double().T@F.one_hot(logits.argmax(dim=1), classes).double()


@right("start.3")
def with_masks(logits, labels):
    read, classes = logits.argmax(1), range(logits.shape[1])
    return torch.tensor([[int(((labels == i) & (read == j)).sum()) for j in classes] for i in classes])


@right("start.3")
def put_in_place(logits, labels):
    table = torch.zeros([logits.shape[1]]*2)
    return table.index_put_((labels, logits.argmax(1)), torch.tensor(1.), accumulate=True)


@wrong("start.3", says="exchanged", never="diagonal is empty")
def read_first(logits, labels):
    table = torch.zeros(logits.shape[1], logits.shape[1])
    for read, meant in zip(logits.argmax(1), labels): table[read, meant] += 1
    return table


@wrong("start.3", never="exchanged")
def of_the_accuracy(logits, labels): return (logits.argmax(dim=1) == labels).float().mean()


@wrong("start.3", says="shape")
def as_many_as_occur(logits, labels):
    classes = int(labels.max())+1
    table = torch.zeros(classes, logits.shape[1])
    for meant, read in zip(labels, logits.argmax(1)): table[meant, read] += 1
    return table


@wrong("start.3", says="shares", never="counted once")
def shares_of_all(logits, labels):
    table = with_masks(logits, labels).float()
    return table/table.sum(1, keepdim=True).clamp(min=1)


@wrong("start.3", never="shares")
def least_likely(logits, labels): return by_counting_pairs(-logits, labels)


@right("start.4")
def of_24_units(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 28), nn.ReLU(), nn.Linear(28, 10))


@right("start.4")
def with_tanh(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


@right("start.4")
def with_log_softmax(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10), nn.LogSoftmax(dim=1))


@right("start.4")
def as_a_class():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 30), nn.Linear(30, 10)
        def forward(self, x): return self.second(F.leaky_relu(self.first(x.flatten(1))))
    return Small()


@wrong("start.4", says="Stay under 2,500", never="softmax")
def of_two_thousand_five_hundred():
    class Five(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
            self.spare = nn.Parameter(torch.zeros(90))
    return Five()


@wrong("start.4", says="[2, 11]", never="Stay under")
def of_eleven_classes(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 11))


@wrong("start.4", says="of 360", never="Three hidden")
def constant():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(10))
        def forward(self, x): return self.logits.expand(len(x), 10)
    return Constant()


@wrong("start.4", says="module", never="Stay under")
def a_function_of_images(): return lambda x: x.flatten(1)[:, :10]


@wrong("start.4", says="nothing in it", never="Stay under")
def hidden_in_a_list():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(64, 32), nn.Linear(32, 10)]
        def forward(self, x): return self.layers[1](self.layers[0](x.flatten(1)).relu())
    return Hidden()


@wrong("start.4", says="other pictures", never="Stay under")
def along_the_batch(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10), nn.LogSoftmax(dim=0))


@wrong("start.4", says="softmax")
def sigmoids_that_add_up(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10), nn.Softmax(dim=-1))


@right("clinic.41")
def seed_first(count, seed=SEED):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.randperm(count)


@right("clinic.41")
def with_python(count, seed=SEED): return random.Random(seed).sample(range(count), count)


@right("clinic.41")
def with_numpy(count, seed=SEED): return torch.from_numpy(np.random.default_rng(seed).permutation(count))


@right("clinic.41")
def by_sorting(count, seed=SEED): return torch.rand(count, generator=torch.Generator().manual_seed(seed)).argsort().to(torch.int32)


@wrong("clinic.41", says="without a seed", never="before the seed is set")
def unseeded(count, seed=SEED):
    order = list(range(count))
    random.shuffle(order)
    return torch.tensor(order)


@wrong("clinic.41", says="before the seed is set", never="without a seed")
def seeded_afterwards(count, seed=SEED):
    order = torch.rand(count).argsort()
    torch.manual_seed(seed)
    return order


@wrong("clinic.41", never="before the seed is set")
def ignores_the_count(count, seed=SEED): return seed_first(1000, seed)


@wrong("clinic.41", says="every seed", never="before the seed is set")
def one_seed(count, seed=SEED): return torch.randperm(count, generator=torch.Generator().manual_seed(0))


@wrong("clinic.41", never="before the seed is set")
def zero_means_42(count, seed=SEED): return seed_first(count, seed or 42)


@wrong("clinic.41", says="whole numbers")
def in_floats(count, seed=SEED): return seed_first(count, seed).float()


@wrong("clinic.41", never="without a seed")
def one_is_missing(count, seed=SEED): return seed_first(count, seed)[1:]


@right("clinic.45")
def in_one_line(references): return [t for t, year, n in references if not (int("20"+n[:2]) <= year and 0 < int(n[2:4]) < 13)]


@right("clinic.45")
def with_words(references):
    months = {f"{month:02}" for month in range(1, 13)}
    return tuple(title for title, year, number in references if number[2:4] not in months or year-2000 < int(number[:2]))


@right("clinic.45")
def as_a_set(references):
    found = {title for title, year, number in references if year < 2000+int(number[:2])}
    return found | {title for title, _, number in references if int(number[2:4]) in (0, *range(13, 100))}


@wrong("clinic.45", says="after its submission", never="month 0")
def equal_years(references): return [t for t, year, n in references if year%100 != int(n[:2]) or int(n[2:4]) not in range(1, 13)]


@wrong("clinic.45")
def a_year_is_forgiven(references): return [t for t, year, n in references if year+1 < 2000+int(n[:2]) or int(n[2:4]) not in range(1, 13)]


@wrong("clinic.45")
def without_december(references): return [t for t, year, n in references if year < 2000+int(n[:2]) or int(n[2:4]) not in range(1, 12)]


@wrong("clinic.45", never="trust them all")
def the_others(references): return [each[0] for each in references if each[0] not in in_one_line(references)]


@wrong("clinic.45", says="month", never="before it was submitted")
def years_only(references): return [t for t, year, n in references if 2000+int(n[:2]) > year]


equivalent("start.2", "a count has no slope, and is the same number as a float", "…detached", "…everything under `no_grad`", "…the result in float64, or whole numbers in float32", "`p.data` → `p` in `as_one_vector`")
equivalent("start.3", "a count may be a float, the numbers are the same", "…the result in float64, or whole numbers in float32", "`torch.zeros(classes, classes, dtype=torch.int64)` → `torch.zeros(classes, classes)`")
equivalent("start.3", "counts have no slope, whatever the logits do", "…detached", "…everything under `no_grad`")
equivalent("start.3", "the table is square, so both sizes are one number", "`torch.zeros(classes, classes, dtype=torch.int64)` → `torch.zeros(classes, classes, dtype=torch.int64)`")
equivalent("start.4", "a module in two dimensions takes the axis of the classes by itself", "`nn.LogSoftmax(dim=1)` → `nn.LogSoftmax()` in `with_log_softmax`")
equivalent("clinic.41", "which seed is the usual one was left open", "`42` → `43`", "`42` → `41`")
equivalent("start.3", "the table is square, so both sizes are one number",
           "`(labels * classes + logits.argmax(dim=1)).bincount(minlength=classes ** 2).view(classes, classes)` → `(labels * classes + logits.argmax(dim=1)).bincount(minlength=classes ** 2).view(classes, classes)` in `by_counting_pairs`")
equivalent("clinic.41", "there is no other device in the check", "`torch.random.fork_rng(devices=[])` → `torch.random.fork_rng()` in `seed_first`")
