"""Chapter 12: what is frozen stays still, adapters against their formula, rates and unfreezing step by step, what fits and what does not, and what is said of bad input."""
import argparse
import copy
import inspect
import json
import pickle
from pathlib import Path
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from helpers import message_of
from genesis_course.attention import Transformer
from genesis_course.muon import Muon
from genesis_course.cnn import BatchNorm, ResNet, conv_block
from genesis_course.data import Batches, Text, load_images, to_floats
from genesis_course.stable_gan import spectral_norm
from genesis_course.support import CourseError, import_torchvision
from genesis_course.optim import cosine, one_cycle, warm_up
from genesis_course.rnn import bits_per_character, next_token_loss, text_loss
from genesis_course.state import load_weights, save_weights
from genesis_course.training import Callback, Checkpoint, Player, Trainer, fit
from genesis_course.pretrained import Standardise, ants_and_bees, imagenet_resnet18
from genesis_course.submodules import load_pretrained, measure_norms, parts, replace_head, trained_weights
from genesis_course.transfer import (METHODS, GradualUnfreezing, LowRank, add_adapters, backbone, discriminative, few_labels, freeze, left_out, merge,
                                     prepare, unfreeze)

ROOT = Path(__file__).parent.parent


def small(classes=4, seed=0):
    "A residual network whose blocks all do something, as after training: the last batch norm of a new block multiplies by 0"
    torch.manual_seed(seed)
    network = ResNet(1, classes, (4, 8))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d): nn.init.ones_(layer.weight)
    return network


def pictures(count=8, seed=0): return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def pairs(count=6): return [(pictures(seed=step), torch.arange(8) % 4) for step in range(count)]


def state(module): return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before): return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def in_part(names, part): return {name for name in names if name.startswith(part)}


# Freezing

def test_a_frozen_part_stays_bit_for_bit_while_the_trainer_trains():
    network = unfreeze(freeze(small()), "head")
    before = state(network)
    seen = network.eval().stage1(network.stem(pictures())).detach()
    fit(network, F.cross_entropy, pairs(), epochs=2, lr=0.1, weight_decay=0.5, device="cpu")
    assert changed(network, before) == {"head.3.weight", "head.3.bias"}
    assert torch.equal(network.eval().stage1(network.stem(pictures())), seen)

def test_requires_grad_alone_lets_the_statistics_drift():
    network = small()
    for part in (network.stem, network.stage1, network.stage2): part.requires_grad_(False)
    before = state(network)
    fit(network, F.cross_entropy, pairs(), device="cpu")
    assert {name.rpartition(".")[2] for name in changed(network, before) - {"head.3.weight", "head.3.bias"}} == {"running_mean", "running_var", "num_batches_tracked"}

@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), BatchNorm(3)], ids=["torch's", "chapter 04's"])
def test_a_frozen_batch_norm_computes_as_in_evaluation_and_wakes_up_again(norm):
    network = nn.Sequential(norm, nn.Conv2d(3, 1, 1))
    x = torch.randn(4, 3, 5, 5)+2
    quiet = copy.deepcopy(norm).eval()(x)
    freeze(network, "0").train()
    torch.testing.assert_close(norm(x), quiet)
    unfreeze(network, "0")
    assert norm.training and not torch.allclose(norm(x), quiet)

def test_freezing_twice_hangs_one_hook_and_copies_are_frozen_on_their_own():
    network = freeze(freeze(small()))
    assert len(network.stem[1]._forward_pre_hooks) == 1
    other = copy.deepcopy(network)
    unfreeze(network)
    before = state(other)
    other.train()(pictures())
    assert changed(other, before) == set()
    network.train()(pictures())
    assert changed(network, before)

def test_a_batch_norm_without_weights_is_held_and_let_go():
    network = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 1, 1))
    x, before = torch.randn(4, 3, 5, 5)+2, state(network)
    freeze(network).train()(x)
    assert changed(network, before) == set()
    unfreeze(network)(x)
    assert changed(network, before) == {"0.running_mean", "0.running_var", "0.num_batches_tracked"}

def test_dropout_of_a_frozen_part_goes_on():
    network = freeze(nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 1)), "0").train()
    assert (network[0](torch.ones(1000)) == 0).any()

def test_names_reach_into_parts():
    network = freeze(small(), "stage2.0.change", "head.3")
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == in_part(dict(network.named_parameters()), "stage2.0.change") | {"head.3.weight", "head.3.bias"}
    assert trained_weights(network) == sum(p.numel() for name, p in network.named_parameters() if name not in frozen)

def test_parts_are_named_from_the_input_on():
    assert list(parts(small())) == ["stem", "stage1", "stage2", "head"]
    assert list(parts(Transformer(9, 8, 8, 2, 2))) == ["embedding", "causal_conv", "blocks.0", "blocks.1", "norm", "head"]
    assert list(parts(nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))) == ["1", "3"]
    layer = nn.Linear(2, 2)
    assert parts(layer) == {"": layer}

def test_a_part_of_no_name_is_told_with_those_there_are():
    message_of(lambda: freeze(small(), "stage9"), "'stage9'", "Did you mean 'stage")
    message_of(lambda: unfreeze(small(), "backbone"), "Its parts are stem, stage1, stage2, head")
    message_of(lambda: add_adapters(small(), 1, names=["nowhere"]), "no part 'nowhere'")
    message_of(lambda: freeze(small(), ""), "no part ''")
    message_of(lambda: freeze(small(), 3), "no part 3")

def test_a_frozen_network_has_nothing_to_train():
    message_of(lambda: Player(freeze(small()), F.cross_entropy), "nothing to learn")
    message_of(lambda: fit(freeze(small()), F.cross_entropy, pairs()), "nothing to learn")


# Heads and weights

def test_a_new_head_is_new_and_alone():
    network = small()
    before = state(network)
    assert replace_head(network, 7) is network and network.eval()(pictures()).shape == (8, 7)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items() if not name.startswith("head.3"))
    language = replace_head(Transformer(9, 8, 8, 2, 1), 5)
    assert language.head.bias is None and language.head.weight.shape == (5, 8)
    assert replace_head(small().double(), 2).head[3].weight.dtype == torch.float64
    assert replace_head(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5)), 6, "0")[0].weight.shape == (6, 3)

def test_heads_that_cannot_be():
    message_of(lambda: replace_head(small(), 0), "classes", "from 1 on")
    message_of(lambda: replace_head(small(), "10"), "quotation marks")
    message_of(lambda: replace_head(conv_block(1, 2), 3), "no linear layer in this Sequential")
    message_of(lambda: replace_head(small(), 3, "stem"), "'stem' is a Sequential", "'head.3'")
    message_of(lambda: replace_head(small(), 3, "tail"), "no part 'tail'")

def test_weights_of_other_classes_or_another_architecture_are_refused_and_change_nothing():
    network = small(4)
    before = state(network)
    message_of(lambda: load_pretrained(network, small(6).state_dict()), "end in 6 classes, your network in 4", "exclude='head.3'")
    message_of(lambda: load_pretrained(network, ResNet(1, 4, (4, 12)).state_dict()), "another architecture", "stage2")
    message_of(lambda: load_pretrained(network, ResNet(1, 4, (4, 8, 8)).state_dict()), "another architecture", "'stage3", "None here")
    message_of(lambda: load_pretrained(network, {name: value for name, value in before.items() if "stem" not in name}), "the shape None there")
    message_of(lambda: load_pretrained(network, before, exclude="neck"), "no part 'neck'")
    assert changed(network, before) == set()

def test_weights_fit_all_but_the_head():
    network, source = small(4), small(6, seed=1)
    before, theirs = state(network), source.state_dict()
    load_pretrained(network, theirs, exclude="head")
    assert all(torch.equal(value, (before if name.startswith("head") else theirs)[name]) for name, value in network.state_dict().items())

def test_the_backbone_reads_letters_and_its_file_is_small():
    about = load_weights("backbone")[1]
    assert backbone()(torch.zeros(2, 1, 16, 16)).shape == (2, 52) and backbone(3)(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
    assert about["accuracy"] > 0.9 and (ROOT/"genesis_course"/"weights"/"backbone.safetensors").stat().st_size < 4e5
    letters = load_images("glyphs", "test", size=16, count=520, characters="".join(chr(c) for c in [*range(97, 123), *range(65, 91)]))
    with torch.no_grad(): right = (backbone().eval()(to_floats(letters.images)).argmax(dim=1) == letters.labels).double().mean()
    assert right > 0.88

def test_the_stored_runs_are_those_of_the_benchmark():
    stored = json.loads((ROOT/"benchmarks"/"results"/"transfer.json").read_text())["runs"]
    runs = load_weights("backbone")[1]["runs"]
    assert runs == stored
    assert {(run["data"], run["seed"]) for run in runs} == {(data, seed) for data in ("digits", "mnist") for seed in range(3)}
    assert {run["method"] for run in runs} > {"from scratch", "from scratch, 800 steps", "all layers, batch norms frozen", *METHODS}

def test_few_labels_are_as_many_of_each_class_and_repeat():
    digits = load_images("digits")
    few = few_labels(digits, 3, seed=5)
    assert few.counts().tolist() == [3]*10 and torch.equal(few.images, few_labels(digits, 3, seed=5).images)
    assert not torch.equal(few.images, few_labels(digits, 3, seed=6).images)
    message_of(lambda: few_labels(digits, 1000), "not 1,000 images of every class", "the rarest has")
    message_of(lambda: few_labels(digits, 0), "from 1 on")


# Rates by depth

def test_rates_fall_from_part_to_part_and_every_parameter_has_one():
    network = small()
    player = Player(network, F.cross_entropy, discriminative(network, 2.), lr=0.8)
    assert [group["lr"] for group in player.optimizer.param_groups] == [0.1, 0.2, 0.4, 0.8] == player.base_lrs
    grouped = [parameter for group in player.optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(network.parameters()))

def test_a_schedule_keeps_the_ratios():
    network, seen = small(), []
    class Watch(Callback):
        def after_step(self, trainer): seen.append([group["lr"] for group in trainer.players[0].optimizer.param_groups])
    fit(network, F.cross_entropy, pairs(), optimizer=discriminative(network, 2.), lr=0.01, schedule=one_cycle, callbacks=Watch(), device="cpu")
    assert len({round(rates[0], 9) for rates in seen}) > 3 and all(rates[3]/rates[0] == pytest.approx(8) for rates in seen)

def test_tied_and_loose_parameters_are_placed_once():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.loose = nn.Parameter(torch.zeros(2))
            self.first, self.last = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.last.weight = self.first.weight
        def forward(self, x): return self.last(self.first(x+self.loose))
    network = Odd()
    groups = Player(network, F.cross_entropy, discriminative(network, 2.), lr=1.).optimizer.param_groups
    assert [(len(group["params"]), group["lr"]) for group in groups] == [(1, 0.25), (1, 1.)]

@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, Muon])
def test_rates_by_depth_with_other_optimisers(optimizer):
    network = small()
    before = state(network)
    fit(network, F.cross_entropy, pairs(), lr=0.01, optimizer=discriminative(network, optimizer=optimizer), device="cpu")
    assert set(dict(network.named_parameters())) <= changed(network, before)

def test_rates_for_another_network_are_refused():
    message_of(lambda: Player(small(), F.cross_entropy, discriminative(small())), "another network than the player")
    message_of(lambda: discriminative(small(), 0), "factor between the learning rates", "above 0")

def test_a_resumed_run_with_rates_by_depth_ends_in_the_same_weights(tmp_path):
    def trainer():
        network = small()
        return network, Trainer(Player(network, _loss, discriminative(network), lr=0.01), Checkpoint(tmp_path/"run"), device="cpu")
    whole, straight = trainer()
    straight.fit(pairs(), epochs=2)
    _, first = trainer()
    first.fit(pairs(), epochs=1)
    again, second = trainer()
    second.fit(pairs(), epochs=2, resume=tmp_path/"run")
    assert changed(again, state(whole)) == set()

def _loss(network, batch): return F.cross_entropy(network(batch[0]), batch[1])


# Gradual unfreezing

class Awake(Callback):
    "Which parts learn, and which batch norms are in training mode, after every step"
    order = -30                      # before the unfreezing
    def __init__(self): self.seen = []
    def after_step(self, trainer):
        network = trainer.players[0].module
        self.seen.append([name for name, part in parts(network).items() if all(p.requires_grad for p in part.parameters())])

def test_parts_join_from_the_end_and_none_moves_before():
    network, watch = small(), Awake()
    before = state(network)
    trainer = Trainer(Player(network, _loss, lr=0.01), [watch, GradualUnfreezing(every=2)], device="cpu").fit(pairs(3))
    assert watch.seen == [["head"]]*2+[["stage2", "head"]]
    assert changed(network, before) == in_part(before, "head")|in_part(before, "stage2") - {name for name in before if name.endswith("x")}
    trainer.fit(pairs(8))
    assert watch.seen[3:] == [["head"]]*2+[["stage2", "head"]]*2+[["stage1", "stage2", "head"]]*2+[list(parts(network))]*2

def test_without_a_pace_the_run_is_shared_out_evenly():
    watch = Awake()
    fit(small(), F.cross_entropy, pairs(8), callbacks=[watch, GradualUnfreezing()], device="cpu")
    assert [len(names) for names in watch.seen] == [1, 1, 2, 2, 3, 3, 4, 4]

def test_a_resumed_run_is_as_awake_as_before(tmp_path):
    def trainer(watch): return Trainer(Player(small(), _loss, lr=0.01), [watch, GradualUnfreezing(every=4), Checkpoint(tmp_path/"run")], device="cpu")
    trainer(Awake()).fit(pairs(6), epochs=1)
    watch = Awake()
    trainer(watch).fit(pairs(6), epochs=2, resume=tmp_path/"run")
    assert [len(names) for names in watch.seen] == [2, 2, 3, 3, 3, 3]

def test_an_optimiser_that_does_not_know_a_part_is_caught():
    network = freeze(small(), "stem")
    def only_awake(parameters, lr): return torch.optim.Adam([p for p in parameters if p.requires_grad], lr=lr)
    player = Player(network, _loss, only_awake)
    unfreeze(network)
    assert left_out(network, player.optimizer) == ["stem.0.weight", "stem.1.weight", "stem.1.bias"]
    message_of(lambda: Trainer(player, GradualUnfreezing(), device="cpu").fit(pairs()), "built without 3 parameters", "'stem.0.weight'")

def test_a_player_knows_what_is_frozen_now_and_thawed_later():
    network = freeze(small(), "stem")
    player = Player(network, _loss, torch.optim.AdamW, weight_decay=0.5, lr=0.01)
    assert left_out(network, player.optimizer) == []
    before, trainer = state(network), Trainer(player, device="cpu")
    trainer.fit(pairs())
    assert in_part(changed(network, before), "stem") == set()                     # not decayed either
    unfreeze(network)
    trainer.fit(pairs())
    assert "stem.0.weight" in changed(network, before)

def test_paces_that_cannot_be():
    message_of(lambda: GradualUnfreezing(every=0), "steps from one part to the next", "from 1 on")
    message_of(lambda: Trainer(Player(small(), _loss), GradualUnfreezing(), device="cpu").fit(iter(pairs())), "GradualUnfreezing(every=50)")


# Adapters

def with_b(network, seed=0):
    "As if the adapters had been trained"
    rng = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, LowRank): layer.B.data = 0.1*torch.randn(layer.B.shape, generator=rng)
    return network

@pytest.mark.parametrize("layer, x", [(nn.Linear(5, 7), torch.randn(3, 5)), (nn.Conv2d(2, 6, 3, stride=2), torch.randn(2, 2, 9, 9)), (nn.Conv2d(4, 6, 3, groups=2), torch.randn(2, 4, 5, 5)),
                                     (nn.Conv1d(3, 4, 2), torch.randn(2, 3, 8))], ids=["linear", "convolution", "grouped", "1d"])
def test_an_adapter_is_the_formula(layer, x):
    network = nn.Sequential(copy.deepcopy(layer))
    layer, = network
    before, weight = network(x).detach(), layer.weight.detach().clone()
    add_adapters(network, 2, alpha=6., names=["0"])
    torch.testing.assert_close(network(x), before)                                # B = 0: nothing has changed
    adapter = with_b(network)[0].parametrizations.weight[0]
    torch.testing.assert_close(layer.weight, weight+3.*(adapter.B @ adapter.A).view_as(weight))

def test_merged_is_unmerged_exactly_and_taken_off_is_the_old_network():
    network, x = small().eval(), pictures()
    names, before = set(network.state_dict()), network(x).detach()
    adapted = with_b(add_adapters(network, 2))
    out = adapted(x).detach()
    assert not torch.equal(out, before)
    kept, off = merge(copy.deepcopy(adapted)), merge(copy.deepcopy(adapted), keep=False)
    assert torch.equal(kept(x), out) and torch.equal(off(x), before)
    assert torch.equal(adapted(x), out), "a copy was merged, and the original broke"
    assert set(kept.state_dict()) == names == set(off.state_dict()) and not any(isinstance(layer, LowRank) for layer in kept.modules())

@pytest.mark.parametrize("norms", [False, True])
def test_only_adapters_and_what_is_unfrozen_learn_and_batch_norms_if_they_may(norms):
    network = unfreeze(add_adapters(small(), 2, norms=norms), "head")
    before = state(network)
    layers = tuple(name+"." for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)) if norms else ()
    fit(network, F.cross_entropy, pairs(), lr=0.01, device="cpu")
    assert changed(network, before) == {name for name in before if name.startswith(("head.3", *layers)) or name.endswith((".A", ".B"))}

def test_batch_norms_outside_the_adapted_parts_stay_frozen():
    network = add_adapters(small(), 2, names=["stage2"])
    before = state(network)
    network.train()(pictures())
    assert changed(network, before) and all(name.startswith("stage2") for name in changed(network, before))

def test_adapters_count_r_times_rows_and_columns():
    network = add_adapters(nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 3)), 2)
    assert trained_weights(network) == 2*(6+10)
    assert trained_weights(add_adapters(Transformer(9, 8, 8, 2, 2), 2, names=["blocks"])) == 2*2*((8+24)+(8+8)+(8+32)+(32+8))

def test_ranks_that_cannot_be_and_layers_that_are_taken():
    message_of(lambda: add_adapters(small(), 0), "rank of the adapters", "from 1 on")
    message_of(lambda: add_adapters(small(), -2), "rank of the adapters")
    message_of(lambda: add_adapters(small(), 1.5), "rank of the adapters", "1.5")
    message_of(lambda: add_adapters(small(), 5), "A rank of 5", "'stem.0'", "4 by 9", "4 is the most")
    message_of(lambda: add_adapters(small(), 2, alpha=0), "alpha", "above 0")
    message_of(lambda: add_adapters(add_adapters(small(), 1), 1), "has an adapter already")
    message_of(lambda: add_adapters(nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)), 1), "no linear or convolutional layer")
    network = small()
    before = [parameter.requires_grad for parameter in network.parameters()]
    message_of(lambda: add_adapters(network, 5), "is the most")
    assert before == [parameter.requires_grad for parameter in network.parameters()]      # refused before anything was frozen


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_adapters_compute_in_the_precision_of_their_layers(dtype):
    network = with_b(add_adapters(small().to(dtype), 2)).to(dtype)
    assert {p.dtype for p in network.parameters()} == {dtype} == {network.eval()(pictures().to(dtype)).dtype}
    assert {p.dtype for p in merge(network).parameters()} == {dtype}

def test_a_layer_that_shares_its_weight_gets_no_adapter_until_it_is_untied():
    "Merged into a tied weight, the adapter would change the embedding as well"
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
            self.head.weight = self.embedding.weight
        def forward(self, x): return self.head(self.embedding(x))
    network, x = Tied(), torch.arange(9)
    before = state(network)
    message_of(lambda: add_adapters(network, 2, names=["head"]), "'head' shares its weight with 'embedding.weight'", "detach().clone()")
    assert changed(network, before) == set() and all(weight.requires_grad for weight in network.parameters())
    network.head.weight.data = network.embedding.weight.data.view(9, 4)          # tied by memory alone
    message_of(lambda: add_adapters(network, 2, names=["head"]), "shares its weight")
    network.head.weight = nn.Parameter(network.head.weight.detach().clone())
    embedding = network.embedding.weight.detach().clone()
    with_b(add_adapters(network, 2, names=["head"]))
    adapted = network(x)
    torch.testing.assert_close(merge(network)(x), adapted)
    assert torch.equal(network.embedding.weight, embedding) and not torch.equal(network.head.weight, embedding)

def test_one_layer_under_two_names_is_adapted_once():
    linear = nn.Linear(4, 4)
    network, x = nn.Sequential(linear, nn.ReLU(), linear, nn.Linear(4, 2)), torch.randn(3, 4)
    adapted = with_b(add_adapters(network, 2))(x)
    torch.testing.assert_close(merge(network)(x), adapted)
    assert network[0] is network[2]

def test_weights_with_adapters_go_to_a_file_and_come_back(tmp_path):
    network = with_b(add_adapters(small(), 2)).eval()
    save_weights(tmp_path/"adapted", network)
    again = load_pretrained(add_adapters(small(seed=5), 2), load_weights(tmp_path/"adapted")[0]).eval()
    torch.testing.assert_close(again(pictures()), network(pictures()), atol=5e-3, rtol=0)      # kept in half precision
    save_weights(tmp_path/"merged", merge(network))
    torch.testing.assert_close(load_pretrained(small(seed=5), load_weights(tmp_path/"merged")[0]).eval()(pictures()), network(pictures()), atol=5e-3, rtol=0)
    other = add_adapters(small(), 3)
    before = state(other)
    message_of(lambda: load_pretrained(other, load_weights(tmp_path/"adapted")[0]), "another architecture", "parametrizations.weight")
    assert changed(other, before) == set()

@pytest.mark.parametrize("norms", [True, False])
def test_a_resumed_run_with_adapters_ends_in_the_same_weights(tmp_path, norms):
    def trainer():
        network = unfreeze(add_adapters(small(), 2, norms=norms), "head")
        torch.manual_seed(0)
        return with_b(network), Trainer(Player(network, _loss, lr=0.01), Checkpoint(tmp_path/"run"), device="cpu")
    whole, straight = trainer()
    straight.fit(pairs(4), epochs=2)
    _, first = trainer()
    first.fit(pairs(4), epochs=1)
    again, second = trainer()
    second.fit(pairs(4), epochs=2, resume=tmp_path/"run")
    assert changed(again, state(whole)) == set()

def test_a_frozen_network_can_be_pickled_and_stays_frozen():
    network = pickle.loads(pickle.dumps(freeze(small()))).train()
    before = state(network)
    network(pictures())
    assert changed(network, before) == set() and trained_weights(network) == 0

def test_a_merged_network_can_be_pickled_and_takes_adapters_again():
    network = with_b(add_adapters(small(), 2)).eval()
    seen = network(pictures())
    merged = pickle.loads(pickle.dumps(merge(merge(network))))
    torch.testing.assert_close(merged(pictures()), seen)
    torch.testing.assert_close(add_adapters(merged, 1)(pictures()), seen)

@pytest.mark.parametrize("rank", [None, 0, 1.5, True, "2", 1_000_000])
def test_a_rank_that_is_refused_leaves_the_network_as_it_was(rank):
    network = small()
    before = state(network)
    message_of(lambda: add_adapters(network, rank), "rank")
    message_of(lambda: prepare(network, "adapters", rank=rank), "rank")
    assert list(before) == list(network.state_dict()) and changed(network, before) == set()
    assert trained_weights(network) == trained_weights(small())

def test_a_backbone_for_fifty_two_other_classes_has_a_new_head():
    torch.manual_seed(0)
    assert not torch.equal(backbone(52).head[-1].weight, backbone().head[-1].weight)
    for classes in (0, 1.5, True, "10"): message_of(lambda: backbone(classes), "classes", "from 1 on")

def test_weights_of_another_precision_are_taken_and_the_networks_own_is_kept():
    network = small(seed=1)
    for kind in (torch.float16, torch.float64):
        load_pretrained(network, {name: value.to(kind) if value.is_floating_point() else value for name, value in small().state_dict().items()})
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        torch.testing.assert_close(network.stem[0].weight, small().stem[0].weight, atol=1e-3, rtol=1e-3)


# Ways of fine-tuning

@pytest.mark.parametrize("method", METHODS)
def test_each_way_trains_what_it_says_and_learns(method):
    torch.manual_seed(0)
    network = backbone(10)
    before, settings = state(network), prepare(network, method)
    few = few_labels(load_images("digits", size=16), 2)
    run = fit(network, F.cross_entropy, Batches(few, batch_size=20), epochs=15, lr=0.01, device="cpu", **settings)
    losses = [value for _, value in run.history["loss"]]
    assert losses[-1] < 0.7*losses[0]
    still = {"head only": ("stem", "stage1", "stage2", "stage3"), "last layers": ("stem", "stage1", "stage2")}.get(method, ())
    after = merge(network, keep=False).state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert any(name.startswith("head") for name in moved) and not any(name.startswith(still) for name in moved if still)
    if method == "adapters": assert all(name.startswith("head") or "running" in name or "num_batches" in name or before[name].ndim == 1 for name in moved)
    if method in ("all layers", "rates by depth", "gradual unfreezing"): assert in_part(moved, "stem")

def test_a_way_of_no_name():
    message_of(lambda: prepare(backbone(10), "magic"), "no way of fine-tuning called 'magic'", "adapters")



# Bad input, wrappers and what moves without gradients

@pytest.mark.parametrize("weights", [None, "weights.pt", Path("weights.pt"), load_weights("backbone"), small(), {"model": small().state_dict()}, {"stem.0.weight": [1.]}],
                         ids=["None", "text", "path", "pair", "module", "nested", "list"])
def test_what_is_no_state_dict_is_refused_and_nothing_changes(weights):
    network = small()
    before = state(network)
    message_of(lambda: load_pretrained(network, weights), "Weights are a state dict", "load_weights(…)[0]")
    assert changed(network, before) == set()

def test_wrapped_and_adapted_weights_are_told_apart_from_another_architecture():
    plain = small().state_dict()
    for prefix, what in (("module.", "several devices"), ("_orig_mod.", "torch.compile")):
        message_of(lambda: load_pretrained(small(), {prefix+name: value for name, value in plain.items()}), "The network of these weights", what, "network."+prefix[:-1])
    message_of(lambda: load_pretrained(torch.compile(small(), backend="eager"), plain), "Your network went through torch.compile")
    message_of(lambda: load_pretrained(nn.DataParallel(small()), plain), "Your network was wrapped")
    message_of(lambda: load_pretrained(small(), add_adapters(small(), 1).state_dict()), "The network of these weights has adapters")
    message_of(lambda: load_pretrained(add_adapters(small(), 1), plain), "Your network has adapters")
    assert torch.equal(load_pretrained(small(seed=1), plain, exclude=None).stem[0].weight, plain["stem.0.weight"])

@pytest.mark.parametrize("use", [parts, freeze, unfreeze, merge, trained_weights, discriminative, lambda network: load_pretrained(network, {}), lambda network: replace_head(network, 3),
                                 lambda network: add_adapters(network, 1), lambda network: prepare(network, "all layers"), lambda network: left_out(network, torch.optim.Adam(small().parameters()))])
def test_what_is_no_network_is_told_so(use):
    message_of(lambda: use(None), "torch.nn.Module", "this is None")
    message_of(lambda: use(backbone), "put brackets behind it")
    message_of(lambda: use(nn.Sequential(nn.LazyLinear(3))), "unknown size", "one batch")

def test_names_may_be_one_text_and_nothing_else():
    assert trained_weights(add_adapters(small(), 1, names="head")) == trained_weights(add_adapters(small(), 1, names=["head"]))
    network = small()
    message_of(lambda: freeze(network, ["stem", "stage1"]), "no part ['stem', 'stage1']")
    message_of(lambda: freeze(network, network.stem), "no part Sequential(")
    message_of(lambda: replace_head(network, 3, ["head.3"]), "no part ['head.3']")
    message_of(lambda: left_out(network, Player(network, _loss)), "asks an optimiser", "player.optimizer")

def test_few_labels_are_chosen_from_an_image_set():
    digits = load_images("digits")
    for images in (None, digits.images, (digits.images, digits.labels), Batches(digits, batch_size=8)): message_of(lambda: few_labels(images, 1), "from an ImageSet")
    for seed in (None, "0", 1.5): message_of(lambda: few_labels(digits, 1, seed), "seed")

@pytest.mark.parametrize("wrap", [lambda network: torch.compile(network, backend="eager"), nn.DataParallel, nn.Sequential], ids=["compile", "DataParallel", "Sequential"])
def test_a_wrapper_is_no_part(wrap):
    network = wrap(small())
    assert [name.partition(".")[2] for name in parts(network)] == list(parts(small()))
    prepare(network, "head only")
    assert trained_weights(network) == 36
    prepare(network, "all layers")
    assert trained_weights(network) == trained_weights(small())
    prepare(network, "adapters", rank=1)
    assert trained_weights(network) == trained_weights(prepare_adapters(small()))

def prepare_adapters(network):
    prepare(network, "adapters", rank=1)
    return network

@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3, affine=False), nn.InstanceNorm1d(3, track_running_stats=True)], ids=["batch", "instance"])
def test_a_norm_without_weights_is_held_and_let_go(norm):
    network, x = nn.Sequential(nn.Linear(3, 3), norm), torch.randn(4, 3, 5)+2
    def moves():
        before = state(network)
        network.train()[1](x)
        return changed(network, before)
    assert moves() and not (freeze(network) and moves()) and (unfreeze(network) and moves())

@pytest.mark.parametrize("bound", [spectral_norm, nn.utils.parametrizations.spectral_norm], ids=["chapter 09a's", "torch's"])
def test_a_frozen_spectral_norm_stays(bound):
    "Its vectors have settled when the layer is made and would not move; other weights give them somewhere to go"
    network = nn.Sequential(bound(nn.Linear(3, 3)), nn.Linear(3, 1))
    weight = next(p for p in network[0].parameters() if p.ndim == 2)
    with torch.no_grad(): weight.copy_(torch.diag(torch.tensor([3., 2., 1.])))
    freeze(network, "0").train()
    before = state(network)
    network(torch.randn(2, 3))
    assert in_part(changed(network, before), "0") == set()
    unfreeze(network, "0")(torch.randn(2, 3))
    assert in_part(changed(network, before), "0")

def test_a_network_can_be_prepared_once_more_in_another_way():
    network = small()
    prepare(network, "head only")
    for method in ("all layers", "rates by depth", "gradual unfreezing"):
        prepare(freeze(network), method)
        assert trained_weights(network) == trained_weights(small())

@pytest.mark.parametrize("last", [0, -1, 1.5, True, "2", None])
def test_numbers_of_last_layers_that_cannot_be_leave_the_network_as_it_was(last):
    network = small()
    message_of(lambda: prepare(network, "last layers", last=last), "last layers", "from 1 on")
    assert trained_weights(network) == trained_weights(small())

def test_a_lone_layer_is_its_own_head():
    layer = nn.Linear(3, 2)
    prepare(layer, "head only")
    assert trained_weights(layer) == 8
    run = fit(layer, F.cross_entropy, [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))], device="cpu", **prepare(layer, "gradual unfreezing"))
    assert trained_weights(run.players[0].module) == 8
    message_of(lambda: add_adapters(layer, 1), "the last one is left out")

def test_layers_whose_weight_is_not_a_parameter_take_no_adapter():
    network = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    message_of(lambda: add_adapters(network, 1), "another parametrisation")
    assert all(p.requires_grad for p in network.parameters())

def test_standardise_takes_numbers_arrays_and_whole_numbers():
    x = torch.rand(2, 1, 4, 4)
    torch.testing.assert_close(Standardise(0.5, 0.25)(2*x-1), (x-0.5)/0.25)
    assert Standardise(np.array([0.1, 0.2, 0.3]), (1, 1, 1))(torch.zeros(1, 3, 2, 2)).dtype == torch.float32


# A network from outside

@pytest.fixture
def torchvision():
    try: return import_torchvision()
    except CourseError: pytest.skip("torchvision is not installed")

@pytest.fixture
def published(torchvision, tmp_path, monkeypatch):
    "A folder with a file of weights that is called like the published one, of random numbers"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path/"resnet18-f37072fd.pth")
    monkeypatch.setenv("GENESIS_DATA", str(tmp_path))
    return tmp_path

def test_resnet18_is_found_and_sees_images_as_it_knew_them(published, torchvision):
    network, plain = imagenet_resnet18().eval(), torchvision.models.resnet18().eval()
    plain.load_state_dict(torch.load(published/"resnet18-f37072fd.pth", weights_only=True))
    x = torch.rand(2, 3, 64, 64)
    usual = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    known = (x-torch.tensor(usual.mean)[:, None, None])/torch.tensor(usual.std)[:, None, None]
    torch.testing.assert_close(network(2*x-1), plain(known))

@pytest.mark.parametrize("method", METHODS)
def test_resnet18_can_be_fine_tuned_in_each_way(published, method):
    network = replace_head(imagenet_resnet18(), 2)
    assert list(parts(network)) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    fit(network, F.cross_entropy, [(torch.rand(4, 3, 32, 32)*2-1, torch.tensor([0, 1, 0, 1]))], device="cpu", **prepare(network, method))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 2)

def test_resnet18_out_of_reach_is_a_sentence(torchvision, tmp_path, monkeypatch):
    monkeypatch.setenv("GENESIS_DATA", str(tmp_path))
    def no_network(*args, **kwargs): raise OSError("no network")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", no_network, raising=False)
    message_of(imagenet_resnet18, "could not be had (OSError)", "resnet18-f37072fd.pth")
    (tmp_path/"resnet18-f37072fd.pth").write_bytes(b"not a file of weights")
    message_of(imagenet_resnet18, "could not be had")

def test_photos_are_read_when_photos_and_weights_are_there(published):
    "Six small photos of each kind, red and blue"
    assert "GENESIS_DATA names no folder" in ants_and_bees()["photos"]
    for split in ("train", "val"):
        for kind, colour in (("ants", (200, 40, 30)), ("bees", (30, 40, 200))):
            (published/"hymenoptera_data"/split/kind).mkdir(parents=True)
            for number in range(6): Image.new("RGB", (40, 40), tuple(c+number for c in colour)).save(published/"hymenoptera_data"/split/kind/f"{number}.png")
    told = ants_and_bees()
    assert told["ImageNet"] == 1. and 0 <= told["letters"] <= 1
    (published/"resnet18-f37072fd.pth").write_bytes(b"not a file of weights")
    told = ants_and_bees()
    assert "could not be had" in told["ImageNet"] and 0 <= told["letters"] <= 1

def test_standardise_translates_channel_by_channel():
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(Standardise((0.1, 0.2, 0.3), (0.5, 1., 2.))(2*x-1), torch.stack([(x[:, 0]-0.1)/0.5, x[:, 1]-0.2, (x[:, 2]-0.3)/2], dim=1))


# What the page says of the stored runs

def stored(data, labels, method, what="accuracy"):
    runs = [run[what] for run in load_weights("backbone")[1]["runs"] if (run["data"], run["labels"], run["method"]) == (data, labels, method)]
    return sum(runs)/len(runs)

MOVING = ("last layers", "all layers", "rates by depth", "gradual unfreezing", "adapters")

def test_few_labels_go_further_with_a_pretrained_body():
    for data, gain in (("digits", 0.1), ("mnist", 0.3)): assert all(stored(data, 2, method) > stored(data, 2, "from scratch")+gain for method in METHODS)
    assert stored("mnist", 2, "last layers") > stored("mnist", 2, "all layers") + 0.065
    assert all(stored("digits", 5, method) > stored("digits", 5, "from scratch")+0.02 for method in MOVING)

@pytest.mark.parametrize("data, counts", [("digits", (5, 10, 20, 50, 100)), ("mnist", (10, 50, 200))])
def test_with_more_labels_the_head_alone_stays_behind_and_the_other_ways_are_alike(data, counts):
    for count in counts:
        found = [stored(data, count, method) for method in MOVING]
        assert max(found)-min(found) < 0.026 and min(found) > stored(data, count, "head only")+0.015
    assert stored("mnist", 200, "from scratch") > stored("mnist", 200, "all layers")-0.013

def test_the_stored_runs_forget_as_the_page_says():
    letters = {method: stored("digits", 5, method, "letters") for method in (*METHODS, "all layers, batch norms frozen")}
    assert letters["rates by depth"] > letters["last layers"] > letters["adapters"] > letters["all layers"]+0.1 and letters["all layers"] < 0.5
    assert letters["rates by depth"] > 1.8*letters["all layers"] and abs(stored("digits", 5, "rates by depth")-stored("digits", 5, "all layers")) < 0.01
    slow = "all layers, a third of the rate"
    assert stored("digits", 5, "all layers") > stored("digits", 5, "all layers, batch norms frozen")+0.03 and letters["all layers"] > letters["all layers, batch norms frozen"]+0.15
    assert abs(stored("digits", 5, slow)-stored("digits", 5, slow+", batch norms frozen")) < 0.02
    assert stored("digits", 5, slow, "letters") > stored("digits", 5, slow+", batch norms frozen", "letters")+0.15


# Batch norms measured anew

@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNorm], ids=["torch's", "chapter 04's"])
def test_batch_norms_measured_anew_are_those_of_the_images_and_the_rest_stays(kind):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), kind(3), nn.ReLU(), nn.Conv2d(3, 2, 3), kind(2)).train()
    x, before = torch.randn(20, 1, 9, 9)+1, state(network)
    again = measure_norms(network, x)
    assert changed(network, before) == set() and network.training and not again.training and again[1].momentum == network[1].momentum
    seen = network[0](x)
    torch.testing.assert_close(again[1].running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again[1].running_var, seen.var(dim=(0, 2, 3)), rtol=1e-3, atol=1e-5)
    assert torch.allclose(again(x), network(x), atol=1e-2)           # in evaluation now what training mode computes
    moved = changed(again, before)
    assert moved and all("running" in name or "num_batches" in name for name in moved)

def test_frozen_norms_are_not_measured():
    network = freeze(small(), "stem")
    before = state(network)
    moved = changed(measure_norms(network, pictures()), before)
    assert moved and not in_part(moved, "stem")


# Real data

def test_letters_say_little_about_photos(real_data):
    "A linear head on the letters' features of ants and bees, small and grey; seeds 0, 1 and 2: 0.55 to 0.61, and 0.56 is guessing"
    body = backbone()
    body = nn.Sequential(*list(body.children())[:-1], *body.head[:-1]).eval()
    with torch.no_grad():
        data = {split: (body(to_floats(images.images).mean(dim=1, keepdim=True)), images.labels)
                for split in ("train", "valid") for images in [load_images(Path(real_data)/"hymenoptera_data", split, 16)]}
    torch.manual_seed(0)
    head = nn.Linear(64, 2)
    fit(head, F.cross_entropy, Batches(*data["train"], batch_size=32, drop_last=True), epochs=34, lr=0.003, schedule=one_cycle, device="cpu")
    assert (head(data["valid"][0]).argmax(dim=1) == data["valid"][1]).double().mean() < 0.7

def test_letters_help_with_mnist(real_data):
    "Five labels a class; seeds 0, 1 and 2: see the stored runs for more. From scratch the same steps read less"
    train, test = load_images("mnist", size=16), load_images("mnist", "test", size=16)[:2000]
    right = {}
    for name in ("scratch", "transfer"):
        torch.manual_seed(0)
        network = backbone(10) if name == "transfer" else ResNet(**{**load_weights("backbone")[1]["settings"], "classes": 10})
        settings = prepare(network, "last layers") if name == "transfer" else {}
        fit(network, F.cross_entropy, Batches(few_labels(train, 5), batch_size=32, drop_last=True), epochs=200, lr=0.01, schedule=one_cycle, device="cpu", **settings)
        with torch.no_grad(): right[name] = (network.eval()(to_floats(test.images)).argmax(dim=1) == test.labels).double().mean().item()
    assert right["transfer"] > right["scratch"] + 0.05 and right["transfer"] > 0.8


# A Transformer

@pytest.mark.slow
def test_a_transformer_that_has_read_the_manual_learns_code_sooner_and_adapters_come_close():
    "Forty steps on 20,000 characters of a module of the standard library; from scratch at the rate that suits it"
    weights, about = load_weights("transformer")
    vocabulary = about["vocabulary"]
    code = "".join(c for c in inspect.getsource(argparse) if c in set(vocabulary))
    train, test = Text(code[:20_000], vocabulary), Text(code[-10_000:], vocabulary)
    def reader(pretrained):
        model = Transformer(len(vocabulary), **about["settings"])
        return load_pretrained(model, weights) if pretrained else model
    def study(model, lr, **settings):
        windows = train.ids.unfold(0, 65, 1)[torch.randint(len(train)-64, (16*40,))]
        player = Player(model, next_token_loss, lr=lr, schedule=warm_up(cosine), clip=1., **settings)
        Trainer(player, device="cpu").fit(Batches(windows[:, :-1], windows[:, 1:], batch_size=16, shuffle=False))
        return bits_per_character(text_loss(model, test, context=64))
    torch.manual_seed(0)
    came = bits_per_character(text_loss(reader(True), test, context=64))
    scratch, whole = study(reader(False), 0.03, optimizer=Muon), study(reader(True), 0.01, optimizer=Muon)
    adapted = study(unfreeze(add_adapters(reader(True), rank=8), "head", "norm"), 0.01)
    assert whole < min(scratch-0.3, came-0.5) and abs(adapted-whole) < 0.15
