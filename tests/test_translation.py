"""Chapter 17: pairs that are pairs, laws of the translator and of the judges, what each player's loss sees and moves, orders of unpaired batches, photographs from folders, and what is said of bad input."""
import copy
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.nn import functional as F
from helpers import message_of, trials
from genesis_course.cnn import receptive_field
from genesis_course.data import load_images
from genesis_course.gan import discriminator_loss, generator_loss
from genesis_course.training import Trainer
from genesis_course.translation import (INKS, PatchDiscriminator, Translator, Two, Unpaired, cycle_players, glyph_pairs, instance_norm, paired, pix2pix_players, there_and_back, translated)


def pictures(count=4, channels=1, size=8, seed=0): return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))*2-1


# Pairs

def test_a_pair_shows_one_digit_twice():
    outlines, filled, labels = glyph_pairs("colour", count=60)
    assert outlines.shape == (60, 1, 16, 16) and filled.shape == (60, 3, 16, 16) and labels.shape == (60,)
    ink = (filled.amax(dim=1, keepdim=True)+1)/2
    assert ((outlines+1)/2 <= ink+0.01).all()                            # the outline lies on the digit
    colours = ((filled+1)/2).permute(0, 2, 3, 1)[ink[:, 0] > 0.99]
    assert torch.cdist(colours, INKS).min(dim=1).values.max() < 0.02     # and the digit has one of the inks

def test_inks_are_independent_of_the_outline_and_equally_frequent():
    filled = glyph_pairs("colour", count=900)[1]
    used = torch.cdist(((filled+1)/2).amax(dim=(2, 3)), INKS).argmin(dim=1).bincount(minlength=3)
    assert used.min() > 240

def test_slanted_pairs_differ_in_slant_only():
    upright, leaning, _ = glyph_pairs("slant", count=50)
    ink = torch.stack([upright, leaning])+1
    torch.testing.assert_close(ink[0].sum(dim=(1, 2, 3)), ink[1].sum(dim=(1, 2, 3)), rtol=0.08, atol=1.)   # a shear keeps the ink
    columns = torch.arange(16.)
    top, bottom = [(ink[:, :, :, rows]*columns).sum(dim=(2, 3, 4))/ink[:, :, :, rows].sum(dim=(2, 3, 4)) for rows in (slice(0, 6), slice(10, 16))]
    assert ((top[1]-top[0])-(bottom[1]-bottom[0])).mean() > 1.5          # the top goes right, the bottom left

def test_splits_and_seeds_differ_and_repeat():
    train, again, test, other = (glyph_pairs("slant", *what, count=20)[0] for what in (("train",), ("train",), ("test",), ()))
    assert torch.equal(train, again) and torch.equal(train, other) and not torch.equal(train, test)
    assert not torch.equal(train, glyph_pairs("slant", count=20, seed=1)[0])


# Networks

@given(channels=st.integers(1, 3), out=st.integers(1, 3), height=st.sampled_from([8, 12, 20]), width=st.sampled_from([8, 16]), skips=st.booleans())
@trials(15)
def test_a_translator_keeps_the_size_and_the_range(channels, out, height, width, skips):
    network = Translator(channels, out, (8, 8, 16), skips)
    answer = network(torch.randn(2, channels, height, width))
    assert answer.shape == (2, out, height, width) and answer.abs().max() <= 1

def test_a_picture_does_not_depend_on_its_neighbours_in_either_mode():
    torch.manual_seed(0)
    network, x = Translator(), pictures(5)
    for mode in (True, False):
        network.train(mode)
        torch.testing.assert_close(network(x)[2:3], network(x[2:3]))

def test_instance_norm_is_pytorchs():
    x = torch.randn(3, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(instance_norm(6)(x), nn.InstanceNorm2d(6, affine=True)(x))

def test_skips_carry_what_the_narrow_middle_does_not():
    "Without skips everything goes through the middle: where that is silenced, nothing of the picture is left"
    torch.manual_seed(0)
    for skips, expected in ((True, True), (False, False)):
        network = Translator(skips=skips)
        for values in network.grow.parameters(): nn.init.zeros_(values)
        one, other = network(pictures(seed=1)), network(pictures(seed=2))
        assert (not torch.allclose(one, other)) == expected

@given(before=st.sampled_from([1, 3]), after=st.sampled_from([1, 3]), shade=st.floats(-2, 2), seed=st.integers(0, 5))
@trials(15)
def test_a_copier_begins_as_its_picture_through_tanh_whatever_the_seed(before, after, shade, seed):
    torch.manual_seed(seed)
    x = pictures(3, before)
    copy = x if before == after else x.amax(dim=1, keepdim=True).expand(-1, after, -1, -1)
    torch.testing.assert_close(Translator(before, after, copying=True, shade=shade)(x), (copy+shade).tanh())

def test_the_shade_is_a_copiers():
    one, other = [torch.manual_seed(0) and Translator(shade=shade)(pictures()) for shade in (0., -0.5)]
    assert torch.equal(one, other)

@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_logit_sees_its_patch_and_nothing_else(depth):
    torch.manual_seed(0)
    judge = PatchDiscriminator(2, depth=depth)
    assert judge.patch == receptive_field([(4, 2)]*depth+[(3 if depth else 1, 1)])
    x = torch.randn(1, 2, 64, 64, requires_grad=True)
    logits = judge(x)
    assert logits.shape == (1, 1, 64//2**depth, 64//2**depth)
    slope, = torch.autograd.grad(logits[0, 0, logits.shape[2]//2, logits.shape[3]//2], x)
    rows = slope.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.max()-rows.min()+1 == judge.patch


# Losses

def test_pix2pix_is_its_formula():
    torch.manual_seed(0)
    generator, judge, batch = Translator(1, 3), PatchDiscriminator(4), (pictures(), pictures(channels=3, seed=1))
    of_judge, of_generator = pix2pix_players(generator, judge, l1=7., adversarial=0.5)
    fake = generator(batch[0])
    real_logits, fake_logits = (judge(torch.cat([batch[0], other], 1)) for other in (batch[1], fake))
    torch.testing.assert_close(of_judge.loss(judge, batch)["loss"], discriminator_loss(real_logits, fake_logits))
    found = of_generator.loss(generator, batch)
    torch.testing.assert_close(found["loss"], 7*F.l1_loss(fake, batch[1]) + 0.5*generator_loss(fake_logits))
    torch.testing.assert_close(found["distance"], F.l1_loss(fake, batch[1]))

def test_the_judge_of_pairs_moves_no_generator_and_the_other_way_round():
    torch.manual_seed(0)
    generator, judge, batch = Translator(1, 1), PatchDiscriminator(2), (pictures(), pictures(seed=1))
    before = copy.deepcopy((generator.state_dict(), judge.state_dict()))
    players = pix2pix_players(generator, judge)
    players[0].step(players[0].loss(judge, batch)["loss"])
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), generator.state_dict().values()))
    moved = copy.deepcopy(judge.state_dict())
    players[1].step(players[1].loss(generator, batch)["loss"])
    assert all(torch.equal(a, b) for a, b in zip(moved.values(), judge.state_dict().values()))
    assert any(not torch.equal(a, b) for a, b in zip(before[0].values(), generator.state_dict().values()))

def cycle_pair(channels=(1, 3), **settings):
    torch.manual_seed(0)
    a, b = channels
    translators, judges = Two(Translator(a, b), Translator(b, a)), Two(PatchDiscriminator(a), PatchDiscriminator(b))
    return translators, judges, cycle_players(translators, judges, **settings)

def test_cyclegan_is_its_formula():
    translators, judges, (of_judges, of_translators) = cycle_pair((1, 1), cycle=4., identity=2.)
    there, back, (a, b) = translators.first, translators.second, (pictures(), pictures(3, seed=1))
    cycle = F.l1_loss(back(there(a)), a) + F.l1_loss(there(back(b)), b)
    opinion = generator_loss(judges.second(there(a))) + generator_loss(judges.first(back(b)))
    identity = F.l1_loss(there(b), b) + F.l1_loss(back(a), a)
    found = of_translators.loss(translators, (a, b))
    torch.testing.assert_close(found["loss"], opinion + 4*cycle + 2*identity)
    torch.testing.assert_close(found["cycle"], cycle)
    torch.testing.assert_close(of_judges.loss(judges, (a, b)), discriminator_loss(judges.first(a), judges.first(back(b))) + discriminator_loss(judges.second(b), judges.second(there(a))))

def test_a_perfect_pair_of_translators_has_no_cycle_loss_and_a_copier_neither():
    for networks in ((nn.Identity(), nn.Identity()), (Flip(), Flip())):
        judges = Two(PatchDiscriminator(), PatchDiscriminator())
        player = cycle_players(Two(nn.Sequential(networks[0], Scaled()), nn.Sequential(networks[1], Scaled())), judges)[1]
        assert player.loss(player.module, (pictures(), pictures(seed=1)))["cycle"] == 0

class Flip(nn.Module):
    def forward(self, x): return x.flip(3)

class Scaled(nn.Module):
    "Something to train that does nothing at first"
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
    def forward(self, x): return x*self.scale

def test_without_the_cycle_no_way_back_is_computed():
    _, _, (_, of_translators) = cycle_pair((1, 1), cycle=0.)
    assert set(of_translators.loss(of_translators.module, (pictures(), pictures()))) == {"loss", "opinion"}

def test_both_games_run_in_the_trainer():
    generator, judge = Translator(1, 3, (8, 8)), PatchDiscriminator(4, 8)
    trainer = Trainer(pix2pix_players(generator, judge)).fit(paired(pictures(8), pictures(8, 3), batch_size=4), 2)
    assert trainer.step == 4 and {"generator loss", "generator distance", "discriminator loss"} <= set(trainer.history)
    trainer = Trainer(cycle_pair((1, 1))[2]).fit(Unpaired(pictures(8), pictures(12), batch_size=4))
    assert trainer.step == 2 and {"judges loss", "translators cycle"} <= set(trainer.history)


# Unpaired batches

def rows_of(batches): return [tuple(part.flatten(1)[:, 0].round().int().tolist() for part in batch) for batch in batches]

def numbered(count): return torch.arange(float(count))[:, None, None, None].expand(count, 1, 8, 8)

@given(first=st.integers(4, 30), second=st.integers(4, 30), batch=st.integers(1, 4), seed=st.integers(0, 5))
@trials(30)
def test_every_picture_of_the_smaller_heap_is_seen_and_the_orders_are_independent(first, second, batch, seed):
    batches = Unpaired(numbered(first), numbered(second), batch, seed)
    rows = rows_of(batches)
    assert len(rows) == len(batches) == min(first, second)//batch
    for side in zip(*rows):
        seen = [row for part in side for row in part]
        assert len(seen) == len(set(seen)) == batch*len(rows)

def test_epochs_differ_and_a_resumed_run_sees_the_same():
    batches = Unpaired(numbered(12), numbered(20), 4)
    one, two = rows_of(batches), rows_of(batches)
    assert one != two
    batches.set_epoch(1, start=1)
    assert rows_of(batches) == two[1:]
    assert rows_of(Unpaired(numbered(12), numbered(20), 4, seed=1)) != one
    assert [a for a, _ in one] != [b for _, b in one]

def test_processes_share_a_batch():
    whole = rows_of(Unpaired(numbered(12), numbered(12), 4))
    parts = []
    for k in range(2):
        batches = Unpaired(numbered(12), numbered(12), 4)
        batches.set_epoch(0, part=(k, 2))
        parts.append(rows_of(batches))
    assert [sorted(a+b) for (a, _), (b, _) in zip(*parts)] == [sorted(a) for a, _ in whole]

def test_bytes_become_floats_and_photographs_come_from_folders(tmp_path):
    from PIL import Image
    rng = torch.Generator().manual_seed(0)
    for name, count in (("horses", 5), ("zebras", 7)):
        (tmp_path/name/"all").mkdir(parents=True)
        for k in range(count): Image.fromarray(torch.randint(256, (20, 24, 3), generator=rng, dtype=torch.uint8).numpy()).save(tmp_path/name/"all"/f"{k}.png")
    heaps = [load_images(str(tmp_path/name), size=8) for name in ("horses", "zebras")]
    batches = Unpaired(*heaps, batch_size=2)
    first, second = next(iter(batches))
    assert first.shape == (2, 3, 8, 8) and first.dtype == torch.float32 and -1 <= second.min() and second.max() <= 1
    Trainer(cycle_pair((3, 3))[2]).fit(batches)


# There and back

def test_there_and_back_adds_noise_in_the_middle_only():
    torch.manual_seed(0)
    there, back, x = Translator(1, 3), Translator(3, 1), pictures()
    middle, again = there_and_back(there, back, x)
    torch.testing.assert_close(middle, translated(there, x))
    torch.testing.assert_close(again, translated(back, middle))
    noisy, _ = there_and_back(there, back, x, noise=0.3)
    assert abs((noisy-middle).std().item()-0.3) < 0.05
    assert torch.equal(noisy, there_and_back(there, back, x, noise=0.3)[0]) and not torch.equal(noisy, there_and_back(there, back, x, noise=0.3, seed=1)[0])

def test_translate_leaves_mode_and_gradients_alone():
    network = Translator(norm=nn.BatchNorm2d).train()
    before = copy.deepcopy(network.state_dict())
    answer = translated(network, pictures(3))
    assert network.training and not answer.requires_grad and all(torch.equal(a, b) for a, b in zip(before.values(), network.state_dict().values()))


# Bad input

@pytest.mark.parametrize("call, words", [
    (lambda: paired(pictures(3), pictures(4)), ["3 and 4", "Unpaired"]),
    (lambda: paired(pictures(0), pictures(4)), ["first domain is empty", "folder"]),
    (lambda: Unpaired(pictures(4), pictures(0)), ["second domain is empty", "folder"]),
    (lambda: Unpaired(pictures(4), pictures(4), batch_size=8), ["fill one batch", "smaller"]),
    (lambda: Unpaired(pictures(4), pictures(4, size=12), batch_size=2), ["8x8 and 12x12", "size="]),
    (lambda: paired(pictures(4), pictures(4, size=12)), ["8x8 and 12x12"]),
    (lambda: paired("zebras", pictures(4)), ["first domain", "str"]),
    (lambda: Unpaired(pictures(4)[0], pictures(4)), ["[N, C, H, W]"]),
    (lambda: paired(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), pictures(4)), ["to_floats"]),
    (lambda: Translator()(pictures(size=4)), ["4x4", "halves", "size=8"]),
    (lambda: Translator()(torch.zeros(1, 1, 30, 45)), ["30x45", "multiple of 4", "pad"]),
    (lambda: Translator()(pictures(channels=3)), ["[B, 1, H, W]", "in_channels"]),
    (lambda: Translator()(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)), ["to_floats"]),
    (lambda: Translator(widths=(16,)), ["widths"]),
    (lambda: Translator(widths=(16, 0)), ["widths"]),
    (lambda: Translator(in_channels=0), ["in_channels"]),
    (lambda: Translator(copying=True, shade="dark"), ["shade", "'dark'"]),
    (lambda: Translator(copying=True, shade=7.), ["shade", "at most 5"]),
    (lambda: PatchDiscriminator(depth=-1), ["halved"]),
    (lambda: PatchDiscriminator(depth=3)(pictures(size=8)), ["8x8", "size=16"]),
    (lambda: pix2pix_players(Translator()), ["PatchDiscriminator", "adversarial=0"]),
    (lambda: pix2pix_players(Translator(), adversarial=0, l1=0), ["nothing to learn"]),
    (lambda: pix2pix_players(Translator(), PatchDiscriminator(2), l1=-1), ["l1"]),
    (lambda: pix2pix_players("U-Net", PatchDiscriminator(2)), ["str"]),
    (lambda: cycle_players(Translator(), Two(PatchDiscriminator(), PatchDiscriminator())), ["Two(first, second)"]),
    (lambda: cycle_players(*[Two(PatchDiscriminator(), PatchDiscriminator())]*2, cycle=-1), ["cycle"]),
    (lambda: (lambda one: Two(one, one))(Translator()), ["one and the same"]),
    (lambda: glyph_pairs("italic"), ["'colour' and 'slant'"]),
    (lambda: translated(None, pictures()), ["network"]),
    (lambda: there_and_back(Translator(), Translator(), pictures(), noise=-1), ["noise"]),
])
def test_bad_input_is_told_so(call, words): message_of(call, *words)

def test_a_batch_that_is_no_pair_and_pictures_of_another_range_are_told_so():
    players = pix2pix_players(Translator(1, 1), PatchDiscriminator(2))
    message_of(lambda: players[0].loss(players[0].module, pictures()), "paired(…)")
    message_of(lambda: players[1].loss(players[1].module, (pictures(), pictures(), pictures())), "3 parts")
    message_of(lambda: players[0].loss(players[0].module, (pictures(), pictures(channels=3))), "channels")
