"""Files that were written when parts of the networks had other names."""
import pytest
import torch
from genesis_course.genesis import GenesisParticle, load_genesis
from genesis_course.processes import Steps
from genesis_course.state import load_weights, read_state, renamed, with_new_names, write_state
from genesis_course.training import Checkpoint, Player, Trainer

OLD = ["law.clock", "law.sense.weight", "law.sense.bias", "law.want.0.weight", "law.want.0.bias", "law.want.2.weight", "law.want.2.bias", "law.talk.qkv.weight", "law.talk.out.weight",
       "law.think.0.weight", "law.think.0.bias", "law.think.2.weight", "law.think.2.bias", "law.before_talk.weight", "law.before_talk.bias", "law.before_think.weight", "law.before_think.bias",
       "law.force.weight", "law.force.bias", "look.weight", "look.bias"]


def small(): return GenesisParticle(8, latent_dim=3, classes=2, particles=4, steps=2, width=8, heads=2, noise_dim=2)


def with_old_names(weights):
    "The state dict of a genesis particle as it was called once"
    back = dict(zip(renamed(dict.fromkeys(OLD)), OLD))
    assert set(back) == set(weights)
    return {back[name]: value for name, value in weights.items()}


def test_every_present_name_is_kept_and_every_old_one_translated():
    now = small().state_dict()
    assert list(renamed(now)) == list(now) and set(renamed(with_old_names(now))) == set(now)
    assert list(renamed({"neighbours.shares": 1, "generator.law.talk.out.weight": 2})) == ["causal_conv.weight", "generator.dynamics.attention.out.weight"]


def test_old_weights_load(tmp_path):
    "With the settings as they were called: character and brush"
    generator = small()
    settings = dict(size=8, latent_dim=3, classes=2, particles=4, steps=2, width=8, heads=2, character=2, brush=0.09)
    path = write_state(tmp_path/"old.safetensors", {"weights": with_old_names(generator.state_dict()), "about": {"settings": settings}})
    loaded, about = load_genesis(path)
    assert about["settings"]["noise_dim"] == 2 and about["settings"]["sigma"] == 0.09
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), generator.state_dict().values()))


def test_an_old_checkpoint_resumes_bit_for_bit(tmp_path):
    def trainer():
        torch.manual_seed(1)
        generator = small()
        loss = lambda module, batch: module(batch, torch.zeros(len(batch), dtype=torch.int64)).square().mean()
        return Trainer(Player(generator, loss, lr=1e-2), Checkpoint(tmp_path/"run.safetensors"), device="cpu")
    batches = [torch.randn(4, 3, generator=torch.Generator().manual_seed(0))]
    whole = trainer().fit(Steps(batches, 6))
    trainer().fit(Steps(batches, 3))
    state = read_state(tmp_path/"run.safetensors")
    for saved in state["players"].values(): saved["module"] = with_old_names(saved["module"])
    for new, old in ("rng_state", "dice"), ("epoch_rng_state", "epoch_dice"): state[old] = state.pop(new)
    write_state(tmp_path/"old.safetensors", {**state, "epoch": 0, "position": 3})
    resumed = trainer().fit(Steps(batches, 6), resume=tmp_path/"old.safetensors")
    assert resumed.step == 6
    assert all(torch.equal(a, b) for a, b in zip(whole.players[0].module.parameters(), resumed.players[0].module.parameters()))


@pytest.mark.parametrize("name", ["genesis", "transformer"])
def test_shipped_weights_have_present_names(name):
    weights, about = load_weights(name)
    assert with_new_names({"weights": weights, "about": about})["weights"].keys() == weights.keys()
