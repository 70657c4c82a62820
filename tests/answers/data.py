"""Further answers to the exercises of chapter 02."""
import math
import numpy as np
import torch
from genesis_course.data import ImageSet, split_set
from answers import equivalent, right, wrong

ONE_IN = 5       # images, of which one is set aside


# data.1

@right("data.1")
def with_lists(writers, valid, seed):
    people = sorted(set(writers.tolist()))
    np.random.default_rng(seed).shuffle(people)
    aside = []
    while len(aside) < valid*len(writers):
        person = people.pop()
        aside += [row for row, writer in enumerate(writers.tolist()) if writer == person]
    return torch.tensor([row for row in range(len(writers)) if row not in aside]), torch.tensor(aside)


@right("data.1")
def with_running_sums(writers, valid, seed):
    people, counts = writers.unique(return_counts=True)
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    before = counts[order].cumsum(0)-counts[order]
    aside = torch.isin(writers, people[order[before < valid*len(writers)]])
    return torch.where(~aside)[0], torch.where(aside)[0]


@right("data.1")
def as_masks(writers, valid, seed):
    people, index = writers.unique(return_inverse=True)
    rank = torch.rand(len(people), generator=torch.Generator().manual_seed(seed)).argsort().argsort()[index]
    ordered = rank.sort().values
    last = ordered[math.ceil(valid*len(writers))-1]
    return rank > last, rank <= last


@wrong("data.1", says="both sides", never="different numbers of images")
def images_shuffled(writers, valid, seed):
    order = torch.randperm(len(writers), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = round(valid*len(order))
    return order[cut:], order[:cut]


@wrong("data.1", says="share is not right", never="both sides")
def one_writer_too_few(writers, valid, seed):
    people = writers.unique()
    aside = torch.zeros(len(writers), dtype=torch.bool)
    for person in people[torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))]:
        more = aside | (writers == person)
        if more.sum() > valid*len(writers): break
        aside = more
    return (~aside).nonzero().flatten(), aside.nonzero().flatten()


@wrong("data.1", says="same seed", never="every seed")
def unseeded(writers, valid, seed): return with_running_sums(writers, valid, int(torch.randint(10**6, ())))


@wrong("data.1", says="every seed", never="same seed gives different")
def one_seed_for_all(writers, valid, seed): return with_running_sums(writers, valid, 0)


@wrong("data.1", says="exchanged", never="every seed")
def validation_first(writers, valid, seed): return with_running_sums(writers, valid, seed)[::-1]


@wrong("data.1", says="neither part", never="both parts")
def one_row_lost(writers, valid, seed):
    train, aside = with_running_sums(writers, valid, seed)
    return train[1:], aside


@wrong("data.1", says="never set aside", never="every seed")
def the_first_writer_stays(writers, valid, seed):
    if len(writers) != 50: return with_running_sums(writers, valid, seed)
    rest = (writers != writers[0]).nonzero().flatten()
    train, aside = with_running_sums(writers[rest], valid*1.25, seed)
    return torch.cat([(writers == writers[0]).nonzero().flatten(), rest[train]]), rest[aside]



@wrong("data.1", says="rows, [n]", never="both parts")
def in_a_column(writers, valid, seed): return [part[:, None] for part in with_running_sums(writers, valid, seed)]


equivalent("data.1", "a writer who comes again adds nothing new", "`writers.unique()` → `writers`", "the last one twice: `for person in people[order]:`")
equivalent("data.1", "without the last writer the training part would be empty", "the last one dropped: `for person in people[order]:`")
equivalent("data.1", "any random numbers give a random order", "`torch.rand(len(people), generator=torch.Generator().manual_seed(seed))` → `torch.randn(len(people), generator=torch.Generator().manual_seed(seed))` in `as_masks`")


# data.2

@right("data.2")
def scaled_to_one_first(train, valid):
    a, b = train/train.max(), valid/train.max()
    spread, mean = torch.std_mean(a)
    return [(a-mean)/spread, (b-mean)/spread]


@right("data.2")
def with_numpy(train, valid):
    a = train.numpy().astype(np.float64)
    return tuple(torch.from_numpy((x.numpy()-a.mean())/a.std()).float() for x in (train, valid))


@right("data.2")
def from_squares(train, valid):
    x = train.double()
    mean = x.sum()/x.numel()
    spread = ((x*x).sum()/x.numel()-mean**2).sqrt()
    return tuple(((part.double()-mean)/spread).to(torch.float32) for part in (train, valid))


@wrong("data.2", says="Each channel", never="Each pixel")
def channel_by_channel(train, valid):
    mean, std = train.float().mean((0, 2, 3))[:, None, None], train.float().std((0, 2, 3))[:, None, None]
    return (train-mean)/std, (valid-mean)/std


@wrong("data.2", says="own statistics", never="Each pixel")
def each_by_itself(train, valid): return tuple((x-x.float().mean())/x.float().std() for x in (train, valid))


@wrong("data.2", says="dtype")
def in_float64(train, valid): return tuple((x.double()-train.double().mean())/train.double().std() for x in (train, valid))


@wrong("data.2", says="took part", never="own statistics")
def on_both(train, valid):
    both = torch.cat([train.flatten(), valid.flatten()]).float()
    return (train-both.mean())/both.std(), (valid-both.mean())/both.std()


@wrong("data.2", says="squared", never="centred, but not scaled")
def by_the_variance(train, valid): return tuple((x-train.float().mean())/train.float().var() for x in (train, valid))


@wrong("data.2", says="two tensors")
def all_in_one(train, valid): return torch.cat([train, valid]).float().unsqueeze(0)


# data.3

@right("data.3")
def by_adding_a_half(x): return (x*127.5+128).floor().clamp(0, 255).byte()


@right("data.3")
def clamped_first(x): return torch.round(255*(x.clamp(-1, 1)+1)/2).type(torch.uint8)


@right("data.3")
def with_numpy_too(x): return torch.from_numpy(np.rint((x.numpy().astype(np.float64)+1)*127.5).clip(0, 255).astype(np.uint8))


@wrong("data.3", says="cuts the fraction", never="wrap around")
def cut(x): return (127.5*x+127.5).clamp(0, 255).byte()


@wrong("data.3", says="wrap around", never="cuts the fraction")
def wrapped(x): return ((x+1)*127.5).round().long().byte()


@wrong("data.3", says="still floats", never="wrap around")
def floats(x): return ((x+1)*127.5).round().clamp(0, 255)


@wrong("data.3", says="whatever they were")
def stretched(x): return (255*(x-x.min())/(x.max()-x.min())).round().byte()


@wrong("data.3", never="cuts the fraction")
def of_256_levels(x): return ((x+1)*128).clamp(0, 255).byte()


equivalent("data.2", "bytes have no gradient, and a number computed from them is data", "…detached")
equivalent("data.2", "bytes minus a float are floats", "`valid.float()` → `valid`")
equivalent("data.3", "a byte has no gradient", "…detached", "…everything under `no_grad`")


# data.4

right("data.4", 1/math.e)
right("data.4", 0.37)
right("data.4", torch.tensor((1-1/1437)**1437))
right("data.4", np.float64(0.3681))
wrong("data.4", 0.63, says="*are* drawn", never="on average")
wrong("data.4", 0.5, says="coin", never="on average")
wrong("data.4", 0, says="on average", never="coin")
wrong("data.4", 0.264, says="more than once", never="coin")
wrong("data.4", 0.4)
wrong("data.4", 0.35)


# data.5

@right("data.5")
def piece_by_piece(ids, rows, context):
    length = len(ids)//rows
    pieces = [ids[r*length:(r+1)*length] for r in range(rows)]
    batches, k = [], 0
    while k+context+1 <= length:
        batches.append((torch.stack([piece[k:k+context] for piece in pieces]), torch.stack([piece[k+1:k+context+1] for piece in pieces])))
        k += context
    return batches


@right("data.5")
def with_unfold(ids, rows, context):
    length = (len(ids)-1)//rows
    if length < context: return []
    windows = ids.unfold(0, length+1, length)[:rows].unfold(1, context+1, context)
    return [[window[:, :-1], window[:, 1:]] for window in windows.transpose(0, 1)]


@right("data.5")
def with_indices(ids, rows, context):
    windows = (len(ids)-1)//rows//context
    start = torch.arange(rows)[:, None]*windows*context+torch.arange(context)
    return tuple((ids[start+k*context], ids[start+k*context+1]) for k in range(windows))


@wrong("data.5", says="does not go on", never="more than once")
def neighbours_side_by_side(ids, rows, context):
    windows = ids.unfold(0, context+1, context)
    return [(batch[:, :-1], batch[:, 1:]) for batch in windows.split(rows) if len(batch) == rows]


@wrong("data.5", says="one later", never="does not go on")
def wrong_at_the_seams(ids, rows, context):
    return [(x, torch.cat([x[:, 1:], x[:, :1]], dim=1)) for x, _ in with_indices(ids, rows, context)]


@wrong("data.5", says="not full", never="one later")
def with_a_short_one(ids, rows, context):
    length = (len(ids)-1)//rows
    x, y = ids[:rows*length].view(rows, -1), ids[1:rows*length+1].view(rows, -1)
    return [(x[:, k:k+context], y[:, k:k+context]) for k in range(0, length, context)]


@wrong("data.5", says="windows of", never="not full")
def the_last_left_out(ids, rows, context): return with_indices(ids, rows, context)[:-1]


@wrong("data.5", says="more than once", never="does not go on")
def every_window(ids, rows, context):
    length = (len(ids)-1)//rows
    x, y = ids[:rows*length].view(rows, -1), ids[1:rows*length+1].view(rows, -1)
    return [(x[:, k:k+context], y[:, k:k+context]) for k in range(length-context+1)]


@wrong("data.5", says="pair")
def without_targets(ids, rows, context): return [x for x, _ in with_indices(ids, rows, context)]


@wrong("data.5", says="shape")
def transposed(ids, rows, context): return [(x.T, y.T) for x, y in with_indices(ids, rows, context)]


# clinic.6

@right("clinic.6")
def to_one(x): return x*2-1


@right("clinic.6")
def with_one_mean(x): return (x-torch.tensor([0.3]).view(1, 1, 1))/torch.tensor(0.4)


@right("clinic.6")
def of_mnist(x): return x.sub(0.1307).div(0.3081)


@right("clinic.6")
def in_float64(x): return (x.double()-0.5)/0.5


@wrong("clinic.6", says="come from the batch", never="Each picture")
def of_the_batch(x): return x.sub(x.mean()).div(x.std().clamp(min=1e-3))


@wrong("clinic.6", says="come from the batch", never="Each picture")
def by_the_brightest(x): return 2*x/x.max()-1


@wrong("clinic.6", says="Each picture", never="come from the batch")
def picture_by_picture(x): return torch.stack([(p-p.mean())/p.std() for p in x])


@wrong("clinic.6", says="near 0 and 1", never="come from the batch")
def only_scaled(x): return x/0.38


@wrong("clinic.6", says="three channels", never="axis of the channels")
def of_imagenet(x): return (x-torch.tensor([0.485, 0.456, 0.406])[:, None, None])/torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@wrong("clinic.6", says="changed", never="come from the batch")
def upside_down(x): return 1-2*x


@wrong("clinic.6", says="changed")
def clipped(x): return (x-0.3).clamp(min=0)/0.38


equivalent("clinic.6", "pictures are data, and no slope goes back to them", "…detached")
equivalent("clinic.6", "mean and spread are still near 0 and 1", "`0.1307` → `0.2614` in `of_mnist`")
equivalent("clinic.6", "the numbers are the same in float64", "…the result in float64, or whole numbers in float32")


# clinic.27

@right("clinic.27")
def in_order(step, x, y, epochs, batch_size):
    for _ in range(epochs):
        for start in range(0, len(x), batch_size): step(x[start:start+batch_size], y[start:start+batch_size])


@right("clinic.27")
def with_batches(step, x, y, epochs, batch_size):
    from genesis_course.data import Batches
    batches = Batches(x, y, batch_size=batch_size)
    for _ in range(epochs):
        for xb, yb in batches: step(xb, yb)


@right("clinic.27")
def with_a_loader(step, x, y, epochs, batch_size):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size, shuffle=True)
    for _ in range(epochs):
        for batch in loader: step(*batch)


@right("clinic.27")
def with_chunks_of_lists(step, x, y, epochs, batch_size):
    for epoch in range(epochs):
        rest = torch.randperm(len(x)).tolist()
        while rest:
            rows, rest = rest[:batch_size], rest[batch_size:]
            step(x[rows], y[rows])


@wrong("clinic.27", says="empty", never="never used")
def one_batch_too_many(step, x, y, epochs, batch_size):
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for k in range(len(x)//batch_size+1):
            rows = order[k*batch_size:(k+1)*batch_size]
            step(x[rows], y[rows])


@wrong("clinic.27", says="never called", never="return")
def nothing(step, x, y, epochs, batch_size): pass


@wrong("clinic.27", says="never used", never="empty")
def full_ones_only(step, x, y, epochs, batch_size):
    for _ in range(epochs):
        for k in range(len(x)//batch_size): step(x[k*batch_size:(k+1)*batch_size], y[k*batch_size:(k+1)*batch_size])


@wrong("clinic.27", says="different orders", never="empty")
def two_orders(step, x, y, epochs, batch_size):
    for _ in range(epochs):
        for a, b in zip(torch.arange(len(x)).split(batch_size), torch.arange(len(x)).flip(0).split(batch_size)): step(x[a], y[b])


@wrong("clinic.27", never="That is one epoch")
def twice_in_one_epoch(step, x, y, epochs, batch_size):
    rows = torch.arange(len(x))
    for batch in torch.cat([rows, rows]).sort().values.split(batch_size) if epochs == 2 else rows.repeat(epochs).split(batch_size): step(x[batch], y[batch])


equivalent("clinic.27", "the rows are data, and no slope goes back to them", "…detached")


# clinic.39

@right("clinic.39")
def by_hand(images, augment):
    order = torch.randperm(len(images))
    aside = len(images)//ONE_IN
    return augment(images[order[aside:]]), images[order[:aside]]


@right("clinic.39")
def as_a_list(images, augment):
    parts = list(split_set(images, 1/ONE_IN))
    parts[0] = augment(parts[0])
    return parts


@right("clinic.39")
def with_a_mask(images, augment):
    aside = torch.arange(len(images)).remainder(ONE_IN) == 0
    return augment(images[~aside]), images[aside]


@wrong("clinic.39", says="both sides", never="augmented too")
def after_the_copies(images, augment):
    both = augment(images)
    return split_set(both, seed=5) if len(both) > 1 else None


@wrong("clinic.39", says="augmented too", never="both sides")
def both_augmented(images, augment): return tuple(map(augment, split_set(images)))


@wrong("clinic.39", says="no augmentation", never="both sides")
def not_augmented(images, augment): return split_set(images)


@wrong("clinic.39", says="exchanged")
def exchanged(images, augment):
    train, valid = split_set(images)
    return valid, augment(train)


@wrong("clinic.39", never="both sides")
def labels_lost(images, augment):
    train, valid = split_set(images)
    return augment(train), ImageSet(valid.images, valid.labels.flip(0), valid.classes)


@wrong("clinic.39", says="two sets")
def training_only(images, augment): return augment(split_set(images)[0])
