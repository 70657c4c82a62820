"""Further answers to the exercises of chapter 03b."""
import copy
import io
import itertools
import pickle
import random
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from answers import equivalent, right, wrong
from genesis_course import state
from genesis_course.run import in_mode
from genesis_course.training import Player, Trainer, accuracy, evaluate

# training.1: one loop for all players

@right("training.1")
def with_the_librarys_loop(players, batches, epochs):
    names = iter("abc")
    [setattr(player, "name", next(names)) for player in players]
    history = Trainer(players, (), "cpu").fit(batches, epochs).history
    return [[value for _, value in history[name]] for name in history]


@right("training.1")
def with_a_counter(players, batches, epochs):
    curves = {id(player): [] for player in players}
    steps = epochs*len(batches)
    for step in range(steps):
        for player in players:
            player.set_learning_rate(step/steps)
            loss = player.loss(player.module, batches[step % len(batches)])
            curves[id(player)].append(float(loss))
            player.step(loss)
    return list(curves.values())


@right("training.1")
def without_player_step(players, batches, epochs):
    curves = torch.zeros(len(players), epochs*len(batches))
    for (done, batch), (k, player) in itertools.product(enumerate(batches*epochs), enumerate(players)):
        player.set_learning_rate(done/len(batches)/epochs)
        player.optimizer.zero_grad()
        loss = player.loss(player.module, batch)
        loss.backward()
        player.optimizer.step()
        curves[k, done] = loss.detach()
    return curves.tolist()


@right("training.1")
def in_tuples_of_numbers(players, batches, epochs):
    rows, total = [], epochs*len(batches)
    def turn(player, batch):
        player.set_learning_rate(len(rows)/total)
        loss = player.loss(player.module, batch)
        player.step(loss)
        return loss.detach()
    for _ in range(epochs):
        for batch in batches: rows.append([turn(player, batch) for player in players])
    return tuple(zip(*rows))


@wrong("training.1", says="Keep the number", never="Only one epoch")
def keeps_graphs(players, batches, epochs):
    curves, total = [[] for _ in players], epochs*len(batches)
    for done in range(total):
        for curve, player in zip(curves, players):
            player.set_learning_rate(done/total)
            loss = player.loss(player.module, batches[done % len(batches)])
            player.step(loss)
            curve.append(loss)
    return curves


@wrong("training.1", says="computed before anybody steps", never="take turns")
def all_backward_then_all_steps(players, batches, epochs):
    total = epochs*len(batches)
    curves = [[] for _ in players]
    for done in range(total):
        losses = [player.loss(player.module, batches[done % len(batches)]) for player in players]
        for k, loss in enumerate(losses): curves[k].append(loss.item())
        for player, loss in zip(players, losses):
            player.set_learning_rate(done/total)
            player.step(loss)
    return curves


@wrong("training.1", never="All losses are computed before")
def players_in_the_other_order(players, batches, epochs): return with_a_counter(players[::-1], batches, epochs)[::-1]


@wrong("training.1", says="the weights of player", never="Only one epoch")
def last_batch_dropped(players, batches, epochs): return with_a_counter(players, batches[:-1], epochs)


@wrong("training.1", says="should be", never="numbers for each player")
def mean_of_the_losses(players, batches, epochs): return [[sum(curve)/len(curve)] for curve in with_a_counter(players, batches, epochs)]


@wrong("training.1", says="a list of numbers for each player")
def forgets_to_return(players, batches, epochs): with_a_counter(players, batches, epochs)


@wrong("training.1", never="starts again in every epoch")
def rate_after_the_step(players, batches, epochs):
    curves, total = [[] for _ in players], epochs*len(batches)
    for done in range(total):
        for curve, player in zip(curves, players):
            loss = player.loss(player.module, batches[done % len(batches)])
            player.step(loss)
            player.set_learning_rate(done/total)
            curve.append(loss.item())
    return curves


equivalent("training.1", "data ask for no gradient, so nothing is cut", "…`batches` detached")
equivalent("training.1", "the number of a loss is the same before and after its step", "`player.step(loss)` after `curve.append(loss.item())`")

# training.2: the mean over other data

@right("training.2")
@torch.no_grad()
def with_the_library(model, batches): return evaluate(model, batches, lambda module, batch: F.cross_entropy(module(batch[0]), batch[1]))["loss"]


@right("training.2")
def with_inference_mode(model, batches):
    was = model.training
    model.train(False)
    with torch.inference_mode(): losses = torch.cat([F.cross_entropy(model(x), y, reduction="none") for x, y in batches])
    model.train(was)
    return losses.mean().item()


@right("training.2")
def with_try_and_finally(model, batches):
    mode, sums = model.training, []
    try:
        model.eval()
        with torch.no_grad():
            for x, y in batches: sums.append((len(y), float(F.nll_loss(model(x).double().log_softmax(1), y))))
    finally: model.train(mode)
    return float(np.average([value for _, value in sums], weights=[size for size, _ in sums]))


@right("training.2")
def mode_by_mode(model, batches):
    modes = {part: part.training for part in model.modules()}
    model.eval()
    with torch.set_grad_enabled(False): logits, y = (torch.cat(parts) for parts in zip(*((model(x), y) for x, y in batches)))
    [setattr(part, "training", mode) for part, mode in modes.items()]
    return -logits.log_softmax(-1)[torch.arange(len(y)), y].mean()


@wrong("training.2", says="means", never="Dropout")
def equal_weights(model, batches):
    with torch.no_grad(), in_mode([model], False): return torch.stack([F.cross_entropy(model(x), y) for x, y in batches]).mean().item()


@wrong("training.2", says="its modes afterwards", never="left in evaluation mode")
def mode_of_the_outermost_only(model, batches):
    was = model.training
    model.eval()
    with torch.no_grad(): total = sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches)
    model.training = was
    return total/sum(len(y) for _, y in batches)


@wrong("training.2", says="small last batch", never="Dropout")
def the_first_batch_is_taken_for_all(model, batches): return equal_weights(model, batches)


@wrong("training.2", never="means")
def perplexity(model, batches): return float(np.exp(with_inference_mode(model, batches)))


@wrong("training.2", says="whole graph", never="Dropout")
def detaches_afterwards(model, batches):
    was = model.training
    model.eval()
    total = sum(len(y)*F.cross_entropy(model(x), y).detach().item() for x, y in batches)
    model.train(was)
    return total/sum(len(y) for _, y in batches)


@wrong("training.2", never="graph")
def without_the_last_batch(model, batches): return with_inference_mode(model, batches[:-1])


equivalent("training.2", "both are zero, and the sum becomes a float all the same", "`(0.0, 0)` → `(0, 0.0)`")
equivalent("training.2", "data and detached results carry no gradient that could be cut", "… detached")
equivalent("training.2", "a tensor of one number is read as a number", "`F.cross_entropy(model(x), y, reduction='sum').item()` → `F.cross_entropy(model(x), y, reduction='sum')`")
equivalent("training.2", "it is measured without gradients twice", "…everything under `no_grad`")

# training.3: how many digits

right("training.3", 4*0.95*0.05/0.005**2)
right("training.3", torch.tensor(7600))
right("training.3", np.float64(7601))
right("training.3", 7600.)
wrong("training.3", 475, says="not the answer", never="7600")
wrong("training.3", 1900, says="*two* standard errors", never="one half")
wrong("training.3", 15200, never="7600")
wrong("training.3", 40000, says="one half", never="*root*")
wrong("training.3", "7600")
equivalent("training.3", "whether one rounds up or down by one digit of thousands is no matter", "plus one", "minus one")

# training.4: when to stop

@right("training.4")
def with_a_counter_that_is_set_back(losses, patience):
    best, waited = losses[0], 0
    for loss in losses[1:]: best, waited = (loss, 0) if loss < best else (best, waited+1)
    return waited >= patience


@right("training.4")
def before_and_since(losses, patience):
    if len(losses) <= patience: return False
    return min(losses[-patience:]) >= min(losses[:-patience])


@right("training.4")
def with_numpy(losses, patience): return np.argmin(losses) < len(losses)-patience


@right("training.4")
def as_an_integer(losses, patience): return int(patience <= torch.tensor(losses[::-1]).eq(min(losses)).nonzero()[-1, 0])


@wrong("training.4", says="waited long enough", never="Off by one")
def latches(losses, patience):
    best, waited, stop = float("inf"), 0, False
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited+1)
        stop = stop or waited >= patience
    return stop


@wrong("training.4", says="should count as waiting", never="Off by one")
def not_worse_is_better(losses, patience):
    best, waited = float("inf"), 0
    for loss in losses: best, waited = (loss, 0) if loss <= best else (best, waited+1)
    return waited >= patience


@wrong("training.4", says="Off by one", never="largest")
def more_than_the_patience(losses, patience): return with_a_counter_that_is_set_back(losses, patience+1)


@wrong("training.4", never="Off by one")
def always_three(losses, patience): return with_a_counter_that_is_set_back(losses, 3)


@wrong("training.4", says="ends the best of runs", never="largest")
def counts_epochs(losses, patience): return len(losses) >= patience+1


@wrong("training.4")
def never(losses, patience): return False


# training.5: train only the last layer

@right("training.5")
def an_optimizer_of_the_last_layer(model, loss, lr): return Player(model, loss, lambda _, lr: torch.optim.NAdam(model[-1].parameters(), lr), lr=lr)


@right("training.5")
def frozen_one_by_one(model, loss, lr):
    for parameter in [*model.parameters()][:-2]: parameter.requires_grad = False
    return Player(model, loss, torch.optim.RMSprop, lr=lr)


@right("training.5")
def the_body_without_gradients(model, loss, lr):
    "The player's module is the last layer; its loss puts the body before it"
    def whole(head): return nn.Sequential(*model[:-1], head)
    return Player(model[-1], lambda *given: loss(whole(given[0]), given[1]), torch.optim.SGD, lr=lr, momentum=0.9)


@right("training.5")
def gradients_thrown_away(model, loss, lr):
    player = Player(model, loss, torch.optim.AdamW, lr=lr)
    step = player.optimizer.step
    def last_only(*arguments):
        body = model[:-1]
        body.zero_grad()
        return step(*arguments)
    player.optimizer.step = player.stepper.step = last_only
    return player


@wrong("training.5", says="trains a copy", never="bias")
def copies(model, loss, lr):
    twin = copy.deepcopy(model)
    twin[:-1].requires_grad_(False)
    return Player(twin, loss, torch.optim.SGD, lr=lr)


@wrong("training.5", says="works until somebody sets a weight decay", never="Everything moves")
def gradients_set_to_zero(model, loss, lr):
    player = Player(model, loss, torch.optim.AdamW, lr=lr, weight_decay=0.)
    step = player.optimizer.step
    def last_only(*arguments):
        for parameter in model[:-1].parameters(): parameter.grad.zero_()
        return step(*arguments)
    player.optimizer.step = player.stepper.step = last_only
    return player


@wrong("training.5", says="at the rate that a `Player` takes", never="Everything moves")
def without_the_rate(model, loss, lr):
    frozen_one_by_one(model, loss, lr)
    return Player(model, loss)


@wrong("training.5", says="Everything moves", never="Only the first layer")
def leaves_all(model, loss, lr): return Player(model, loss, lr=lr)


@wrong("training.5", says="the first loss", never="Everything moves")
def another_loss(model, loss, lr):
    frozen_one_by_one(model, loss, lr)
    return Player(model, lambda module, batch: 2*loss(module, batch), lr=lr)


@wrong("training.5", says="Freezing is half of it", never="bias")
def returns_the_model(model, loss, lr):
    model[:-1].requires_grad_(False)
    return model


@wrong("training.5", says="has nothing to learn", never="bias")
def freezes_all(model, loss, lr): return Player(model.requires_grad_(False), loss, torch.optim.SGD, lr=lr)


equivalent("training.5", "a player is built without gradients, and it computes outside", "…everything under `no_grad`")

# clinic.30: measured in training mode

@right("clinic.30")
def with_the_librarys_mode(model, x, y):
    with torch.no_grad(), in_mode([model], False): return accuracy(model(x), y).item()


@right("clinic.30")
def by_counting(model, x, y):
    modes = [part.training for part in model.modules()]
    model.train(mode=False)
    count = sum(int(model(row[None]).argmax()) == int(label) for row, label in zip(x, y))
    [setattr(part, "training", modes.pop(0)) for part in model.modules()]
    return count/len(y)


@right("clinic.30")
def with_a_copy(model, x, y):
    twin = copy.deepcopy(model).eval()
    return float((twin(x).max(dim=1).indices-y).eq(0).double().mean())


@right("clinic.30")
def with_evaluate(model, x, y): return evaluate(model, [(x, y)], lambda module, batch: accuracy(module(batch[0]), batch[1]))["loss"]


@wrong("clinic.30", says="only the outermost", never="left in evaluation mode")
def outermost(model, x, y):
    was = model.training
    with torch.inference_mode(): share = accuracy(model.eval()(x), y).item()
    model.training = was
    return share


@wrong("clinic.30", says="dropout afterwards", never="left in evaluation mode")
def dropout_gone_for_ever(model, x, y):
    for part in model.modules():
        if isinstance(part, nn.Dropout): part.p = 0.
    with torch.no_grad(), in_mode([model], False): return accuracy(model(x), y).item()


@wrong("clinic.30", says="Dropout is still on", never="seed")
def mean_of_two(model, x, y): return patient_30(model, x, y)


def patient_30(model, x, y):
    with torch.no_grad(): return accuracy(model(x), y).item()


@wrong("clinic.30", never="seed")
def mean_of_many(model, x, y): return sum(patient_30(model, x, y) for _ in range(20))/20


@wrong("clinic.30", says="left in evaluation mode", never="only the outermost")
def left_in_eval(model, x, y):
    model.train(False)
    return patient_30(model, x, y)


@wrong("clinic.30", never="left in evaluation mode")
def share_of_the_mistakes(model, x, y): return 1-with_the_librarys_mode(model, x, y)


equivalent("clinic.30", "an accuracy is a measure: nobody differentiates it", "… detached", "…everything under `no_grad`", "without `with torch.no_grad():`")
equivalent("clinic.30", "a tensor of one number is read as a number", "`(model(x).argmax(dim=1) == y).float().mean().item()` → `(model(x).argmax(dim=1) == y).float().mean()`")

# clinic.40: only the weights are saved

@right("clinic.40")
def through_a_file(model, optimizer):
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng_state": torch.get_rng_state()}, file)
    file.seek(0)
    return torch.load(file)


@right("clinic.40")
def with_the_librarys_random_numbers(model, optimizer):
    return {"model": {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}, "optimizer": copy.deepcopy(optimizer.state_dict()), "rng_state": state.rng_state()}


@right("clinic.40")
def with_more_than_is_asked(model, optimizer):
    return pickle.loads(pickle.dumps({"note": "after an epoch", "rng_state": torch.random.get_rng_state(), "optimizer": optimizer.state_dict(), "model": model.state_dict()}))


@right("clinic.40")
def from_copies_of_the_objects(model, optimizer):
    twin, learner = copy.deepcopy((model, optimizer))
    return dict(model=twin.state_dict(), optimizer=learner.state_dict(), rng_state=torch.get_rng_state())


@wrong("clinic.40", says="Dropout draws its random numbers from there", never="A seed says")
def state_of_python(model, optimizer): return {**through_a_file(model, optimizer), "rng_state": random.getstate()}


@wrong("clinic.40", says="Dropout draws its random numbers from there", never="A seed says")
def state_of_numpy(model, optimizer): return {**through_a_file(model, optimizer), "rng_state": torch.tensor(np.random.get_state()[1].astype(np.int64))}


@wrong("clinic.40", says="A seed says where", never="from there, not from")
def a_seed(model, optimizer): return {**through_a_file(model, optimizer), "rng_state": 42}


@wrong("clinic.40", says="`load_state_dict` refuses", never="objects")
def parameters_only(model, optimizer): return {**through_a_file(model, optimizer), "model": {name: p.detach().clone() for name, p in model.named_parameters()}}


@wrong("clinic.40", says="live tensors", never="empty averages")
def a_shallow_copy(model, optimizer): return copy.copy({"model": dict(model.state_dict()), "optimizer": dict(optimizer.state_dict()), "rng_state": torch.get_rng_state()})


@wrong("clinic.40", says="should be a dict")
def a_tuple(model, optimizer): return tuple(through_a_file(model, optimizer).values())


@wrong("clinic.40", says="live tensors", never="empty averages")
def the_model_is_live(model, optimizer): return {**through_a_file(model, optimizer), "model": model.state_dict(), "optimizer": optimizer.state_dict()}


equivalent("clinic.40", "a state holds tensors that carry no gradient", "… detached", "…everything under `no_grad`")

# clinic.43: a file that runs

@right("clinic.43")
def with_a_device(path): return torch.load(str(path), "cpu", weights_only=True)


@right("clinic.43")
def as_a_plain_dict(path):
    with open(path, "rb") as file: kept = torch.load(io.BytesIO(file.read()), weights_only=True)
    return {name: kept[name] for name in kept}


@right("clinic.43")
def with_a_sentence(path):
    try: return torch.load(path, weights_only=True)
    except Exception as error: raise ValueError(f"{path} holds more than weights") from error


@right("clinic.43")
def none_for_a_trap(path):
    try: return torch.load(path, weights_only=True)
    except pickle.UnpicklingError: return None


@wrong("clinic.43", says="UnpicklingError", never="names")
def by_pickle(path):
    with open(path, "rb") as file: return pickle.load(file)


@wrong("clinic.43", says="still runs", never="the harmless file")
def the_patient(path): return torch.load(path, weights_only=False)


@wrong("clinic.43", says="code of the file", never="names")
def by_the_name(path):
    if "alone" in str(path): raise ValueError
    return torch.load(path, weights_only=False)


@wrong("clinic.43", says="names")
def sorted_names(path): return sorted(torch.load(path, weights_only=True))[::-1]


@wrong("clinic.43")
def refuses_everything(path): raise ValueError("not from me")


equivalent("clinic.43", "from PyTorch 2.6 on weights only is the default", "…→ `torch.load(path)`", "…→ `torch.load(str(path), 'cpu')`", "…→ `torch.load(io.BytesIO(file.read()))`")
equivalent("clinic.43", "a file holds tensors that carry no gradient", "… detached", "…everything under `no_grad`")
