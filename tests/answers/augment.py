"""Further answers to the exercises of chapter 04b."""
import numpy as np
import torch
from torch.nn import functional as F
from answers import equivalent, right, wrong

# 4b.1: soft targets


@right("augment.1")
def with_eye(labels, partners, share, classes):
    rows = torch.eye(classes)
    return rows[labels].lerp(rows[partners], (1-share)[:, None])


@right("augment.1")
def with_scatter_add(labels, partners, share, classes):
    targets = torch.zeros(len(labels), classes)
    return targets.scatter_add(1, labels[:, None], share[:, None]).scatter_add(1, partners[:, None], 1-share[:, None])


@right("augment.1")
def with_a_loop(labels, partners, share, classes):
    targets = torch.zeros(len(labels), classes)
    for i, (label, partner, part) in enumerate(zip(labels, partners, share)):
        targets[i, label] += part
        targets[i, partner] += 1-part
    return targets


@right("augment.1")
def in_double_precision(labels, partners, share, classes):
    first, second = F.one_hot(labels, classes).double(), F.one_hot(partners, classes).double()
    return second + share.unsqueeze(1)*(first-second)


@right("augment.1")
def with_comparisons(labels, partners, share, classes):
    names = torch.arange(classes)
    return torch.where(names == labels[:, None], share[:, None], 0) + torch.where(names == partners[:, None], 1-share[:, None], 0)


@right("augment.1")
def from_numbers(labels, partners, share, classes):
    return torch.tensor([[part*(k == a) + (1-part)*(k == b) for k in range(classes)] for a, b, part in zip(labels.tolist(), partners.tolist(), share.tolist())])


@wrong("augment.1", says="larger share", never="assignment")
def with_maximum(labels, partners, share, classes):
    first, second = share[:, None]*F.one_hot(labels, classes), (1-share)[:, None]*F.one_hot(partners, classes)
    return torch.maximum(first, second)


@wrong("augment.1", says="assignment", never="larger share")
def with_put(labels, partners, share, classes):
    targets, rows = torch.zeros(len(labels), classes), torch.arange(len(labels))
    targets[rows, labels] = share
    targets[rows, partners] = 1-share
    return targets


@wrong("augment.1", never="wrong pictures")
def square_of_the_share(labels, partners, share, classes): return with_eye(labels, partners, share.square(), classes)


@wrong("augment.1", says="shape", never="larger part")
def the_classes_only(labels, partners, share, classes): return torch.where(share > 0.5, labels, partners)


@wrong("augment.1", never="sums to 2")
def unweighted_twice(labels, partners, share, classes): return 2*with_eye(labels, partners, share, classes)


@wrong("augment.1", never="half and half")
def always_seventy(labels, partners, share, classes): return with_eye(labels, partners, torch.full_like(share, 0.7), classes)


@wrong("augment.1", says="shape", never="names")
def classes_from_the_data(labels, partners, share, classes): return with_eye(labels, partners, share, 1+int(max(labels.max(), partners.max())))


@wrong("augment.1", never="partner's share is missing")
def the_partner_only(labels, partners, share, classes): return (1-share)[:, None]*F.one_hot(partners, classes)


equivalent("augment.1", "a share is drawn at random, and no gradient is asked of it", "… detached")
equivalent("augment.1", "a target in double precision holds the same numbers", "…the result in float64, or whole numbers in float32",
           "`F.one_hot(labels, classes).double()` → `F.one_hot(labels, classes)` in `in_double_precision`")

# 4b.2: CutMix


@right("augment.2")
def with_a_mask(images, labels, partner, box, classes):
    rows, columns = torch.arange(images.shape[2]), torch.arange(images.shape[3])
    inside = ((rows >= box[0]) & (rows < box[0]+box[2]))[:, None] & ((columns >= box[1]) & (columns < box[1]+box[3]))
    area, targets = inside.double().mean(), torch.eye(classes)[labels]
    return torch.where(inside, images[partner], images), (1-area)*targets + area*targets[partner]


@right("augment.2")
def picture_by_picture(images, labels, partner, box, classes):
    top, left, height, width = box
    new, targets = torch.empty(images.shape), torch.zeros(len(images), classes)
    area = height*width/images[0, 0].numel()
    for i in range(len(images)):
        new[i] = images[i]
        new[i, :, top:top+height, left:left+width] = images[partner[i], :, top:top+height, left:left+width]
        targets[i, labels[i]] += 1-area
        targets[i, labels[partner[i]]] += area
    return [new, targets]


@right("augment.2")
def as_a_blend(images, labels, partner, box, classes):
    top, left, height, width = box
    paste = torch.zeros(images.shape[2:], dtype=torch.float64)
    paste[top:top+height, left:left+width] = 1
    rows = F.one_hot(labels, classes).double()
    return images*(1-paste) + images[partner]*paste, rows.lerp(rows[partner], paste.mean())


@right("augment.2")
def cut_and_joined(images, labels, partner, box, classes):
    top, left, height, width = box
    H, W = images.shape[2:]
    band, other = images[:, :, top:top+height], images[partner][:, :, top:top+height, left:left+width]
    band = torch.cat([band[..., :left], other, band[..., left+width:]], dim=3)
    share = height*width/(H*W)
    return (torch.cat([images[:, :, :top], band, images[:, :, top+height:]], dim=2),
            (1-share)*F.one_hot(labels, classes) + share*F.one_hot(labels[partner], classes))


@wrong("augment.2", says="have changed")
def writes_into_what_it_got(images, labels, partner, box, classes):
    new, targets = with_a_mask(images, labels, partner, box, classes)
    images[:] = new
    return images.clone(), targets


@wrong("augment.2", says="as a pair")
def pictures_only(images, labels, partner, box, classes): return with_a_mask(images, labels, partner, box, classes)[0]


@wrong("augment.2", says="shape", never="images alone")
def labels_for_targets(images, labels, partner, box, classes): return with_a_mask(images, labels, partner, box, classes)[0], labels


@wrong("augment.2", never="one of heights")
def a_share_of_widths(images, labels, partner, box, classes):
    share, targets = box[3]/images.shape[3], torch.eye(classes)[labels]
    return with_a_mask(images, labels, partner, box, classes)[0], (1-share)*targets + share*targets[partner]


@wrong("augment.2", never="ends too early")
def ends_one_row_late(images, labels, partner, box, classes):
    top, left, height, width = box
    return with_a_mask(images, labels, partner, (top, left, height+1, width), classes)[0], with_a_mask(images, labels, partner, box, classes)[1]


@wrong("augment.2", never="other way round")
def pastes_from_itself(images, labels, partner, box, classes): return images.clone(), with_a_mask(images, labels, partner, box, classes)[1]


@wrong("augment.2", never="exchanged")
def targets_of_the_partner(images, labels, partner, box, classes): return with_a_mask(images, labels, partner, box, classes)[0], torch.eye(classes)[labels[partner]]


@wrong("augment.2", never="blends")
def first_channel_only(images, labels, partner, box, classes):
    new, targets = with_a_mask(images, labels, partner, box, classes)
    return torch.cat([new[:, :1], images[:, 1:]], dim=1) if images.shape[1] > 1 else new, targets


equivalent("augment.2", "training pictures are data, and no gradient is asked of them", "… detached")
equivalent("augment.2", "whole numbers times a share are floats as well", "`F.one_hot(labels, classes).float()` → `F.one_hot(labels, classes)`",
           "`F.one_hot(labels, classes).double()` → `F.one_hot(labels, classes)` in `as_a_blend`")
equivalent("augment.2", "a target in double precision holds the same numbers", "…the result in float64, or whole numbers in float32")

# 4b.3: a vote


@right("augment.3")
def with_a_running_sum(network, images, versions):
    total = 0
    for version in versions: total = total + network(version(images)).softmax(-1)/len(versions)
    return total


@right("augment.3")
@torch.no_grad()
def all_at_once(network, images, versions):
    logits = network(torch.cat([version(images) for version in versions]))
    return logits.softmax(1).view(len(versions), len(images), -1).mean(0)


@right("augment.3")
def with_log_sum_exp(network, images, versions):
    logs = torch.stack([network(version(images)).log_softmax(1) for version in versions])
    return (logs.logsumexp(0) - torch.tensor(len(versions)).log()).exp()


@right("augment.3")
def in_double(network, images, versions):
    every = [torch.softmax(network(version(images.clone())).double(), dim=-1) for version in versions]
    return sum(every)/len(every)


@right("augment.3")
def image_by_image(network, images, versions):
    return torch.cat([torch.cat([network(version(images[i:i+1])).softmax(1) for version in versions]).mean(dim=0, keepdim=True) for i in range(len(images))])


@wrong("augment.3", says="Half of the weight", never="last version is in it")
def means_of_means(network, images, versions):
    chances = network(versions[0](images)).softmax(1)
    for version in versions[1:]: chances = (chances+network(version(images)).softmax(1))/2
    return chances


@wrong("augment.3", says="NaN")
def without_a_shift(network, images, versions):
    exponentials = [network(version(images)).exp() for version in versions]
    return torch.stack([each/each.sum(1, keepdim=True) for each in exponentials]).mean(0)


@wrong("augment.3", never="last version")
def the_first_only(network, images, versions): return network(versions[0](images)).softmax(1)


@wrong("augment.3", never="sums to the number")
def divided_by_the_batch(network, images, versions): return with_a_running_sum(network, images, versions)*len(versions)/len(images)


@wrong("augment.3", never="mean of the logits")
def mean_of_log_probabilities(network, images, versions): return torch.stack([network(version(images)).log_softmax(1) for version in versions]).mean(0).exp()


@wrong("augment.3", never="counts which class")
def the_best_class(network, images, versions): return with_a_running_sum(network, images, versions).argmax(1)


@wrong("augment.3", says="shape", never="runs over the batch")
def not_averaged(network, images, versions): return torch.stack([network(version(images)).softmax(1) for version in versions])


@wrong("augment.3", says="changes what it was given")
def leaves_the_other_mode(network, images, versions):
    network.train()
    return with_a_running_sum(network, images, versions)


equivalent("augment.3", "a vote is taken after training, and nobody differentiates it", "… detached", "…everything under `no_grad`")
equivalent("augment.3", "probabilities in double precision are the same probabilities", "…the result in float64, or whole numbers in float32",
           "`network(version(images.clone())).double()` → `network(version(images.clone()))` in `in_double`")

# 4b.4: the smallest loss

right("augment.4", 0.6109)
right("augment.4", 0.61)
right("augment.4", torch.tensor(0.611))
right("augment.4", np.float64(0.6108643))
right("augment.4", torch.tensor([0.7, 0.3]).mul(torch.tensor([0.7, 0.3]).log()).sum().neg())
wrong("augment.4", 0, says="one-hot")
wrong("augment.4", 0.3567, says="the 3 alone")
wrong("augment.4", 0.8813, says="bits")
wrong("augment.4", 0.7, says="not the answer", never="fifty")
wrong("augment.4", 0.5, says="not the answer", never="one-hot")
wrong("augment.4", 0.3, says="not the answer")
wrong("augment.4", 0.21, says="not the answer")
wrong("augment.4", 1.204, says="not the answer", never="wrong logarithms")
wrong("augment.4", float("nan"), says="NaN")
wrong("augment.4", float("inf"), says="not the answer")


@wrong("augment.2", says="The value", never="Rows and columns are exchanged")
def height_and_width_exchanged(images, labels, partner, box, classes):
    top, left, height, width = box
    return with_a_mask(images, labels, partner, (top, left, width, height), classes)[0], with_a_mask(images, labels, partner, box, classes)[1]


@wrong("augment.2", never="every target counts half")
def always_a_third(images, labels, partner, box, classes):
    targets = torch.eye(classes)[labels]
    return with_a_mask(images, labels, partner, box, classes)[0], (2*targets+targets[partner])/3


@wrong("augment.3", never="one after another")
def every_version_twice(network, images, versions): return with_a_running_sum(network, images, [lambda x, v=v: v(v(x)) for v in versions])


@wrong("augment.3", never="images as they are")
def the_original_added(network, images, versions): return with_a_running_sum(network, images, [*versions, lambda x: x])


@wrong("augment.3", never="over the versions. It belongs")
def a_softmax_twice(network, images, versions): return with_a_running_sum(network, images, versions).softmax(1)


@wrong("augment.3", never="over the images of the batch")
def normalised_over_the_batch(network, images, versions):
    chances = with_a_running_sum(network, images, versions)
    return chances/chances.sum(dim=0)
