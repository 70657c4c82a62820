"""Further answers to the exercises of chapter 20."""
import numpy as np
import torch
from answers import equivalent, right, wrong
from genesis_course.levels import KEYS, step
from torch.nn import functional as F

# 20.1: the widest gap

right("levels.1", 7)
right("levels.1", 7.0)
right("levels.1", torch.tensor(7))
right("levels.1", np.int64(7))
wrong("levels.1", 8, says="lands on")
wrong("levels.1", 4, says="upwards only")
wrong("levels.1", 9, says="not the answer")
wrong("levels.1", 0, says="not the answer")
wrong("levels.1", 16, says="not the answer")
wrong("levels.1", 7.4, says="not the answer")

# 20.2: the edges of the graph


@right("levels.2")
def sorted_keys(level, state):
    found = {}
    for keys in sorted(KEYS, key=lambda keys: (keys[1], abs(keys[0])), reverse=True): found[step(level, state, *keys)] = keys
    return {after: keys for after, keys in found.items() if after}


@right("levels.2")
def with_min(level, state):
    ends = {keys: step(level, state, *keys) for keys in KEYS}
    return {after: min((keys for keys in KEYS if ends[keys] == after), key=lambda keys: (keys[1], abs(keys[0]))) for after in ends.values() if after is not None}


@right("levels.2")
def with_true_and_false(level, state):
    found = {}
    for jump in (False, True):
        for move in (0, -1, 1):
            after = step(level, state, move, jump)
            if after and after not in found: found[after] = (move, jump)
    return found


@right("levels.2")
def with_lists_for_keys(level, state): return {after: list(keys) for after, keys in with_min(level, state).items()}


@wrong("levels.2", says="returns None for a player that dies", never="jump key")
def with_death(level, state): return {step(level, state, *keys): keys for keys in reversed(KEYS)}


@wrong("levels.2", never="dead")
def only_the_right(level, state): return {after: keys for after, keys in with_min(level, state).items() if keys[0] == 1}


@wrong("levels.2", never="dead")
def standing_players_only(level, state): return with_min(level, state) if state[2] == 0 else {}


@wrong("levels.2", never="left")
def the_state_itself_left_out(level, state): return {after: keys for after, keys in with_min(level, state).items() if after != state}


@wrong("levels.2", says="A dict is asked for")
def pairs(level, state): return list(with_min(level, state).items())


@wrong("levels.2", never="dead")
def no_jump_in_the_air(level, state): return {after: keys for after, keys in with_min(level, state).items() if not keys[1] or state[2] == 0}


@wrong("levels.2", never="dead")
def jumps_first(level, state):
    found = {}
    for keys in reversed(KEYS):
        after = step(level, state, *keys)
        if after is not None: found.setdefault(after, keys)
    return found


equivalent("levels.2", "what has been found once is kept", "the last one twice: `for jump in (0, 1):`", "the last one twice: `for move in (0, 1, -1):`")

# 20.3: three tiles at once

right("levels.3", 0.25)
right("levels.3", 1/4)
right("levels.3", torch.tensor(0.25))
right("levels.3", 0.2502)
wrong("levels.3", 0.125, says="one of the two rows")
wrong("levels.3", 0.5, says="third tile")
wrong("levels.3", 1, says="do not know of each other")
wrong("levels.3", 0.75, says="impossible")
wrong("levels.3", 25, says="not the answer")
wrong("levels.3", 0.33, says="not the answer")

# 20.4: a mask of what is broken


@right("levels.4")
def with_pad(tiles):
    wide = F.pad(tiles, (1, 1))
    below = F.pad(tiles[:, 1:], (0, 0, 0, 1), value=2)
    return ((tiles == 3) & (wide[:, :, 2:] != 4)) | ((tiles == 4) & (wide[:, :, :-2] != 3)) | (torch.isin(tiles, torch.tensor([1, 3, 4, 5])) & ((below == 0) | (below > 4)))


@right("levels.4")
def with_a_loop(tiles):
    mask = torch.zeros(tiles.shape, dtype=torch.bool)
    count, height, width = tiles.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                tile = int(tiles[n, y, x])
                if tile == 3 and (x+1 == width or tiles[n, y, x+1] != 4): mask[n, y, x] = True
                if tile == 4 and (x == 0 or tiles[n, y, x-1] != 3): mask[n, y, x] = True
                if tile in (1, 3, 4, 5) and y+1 < height and not 1 <= tiles[n, y+1, x] <= 4: mask[n, y, x] = True
    return mask


@right("levels.4")
def as_numbers(tiles): return with_pad(tiles).float()


@right("levels.4")
def written_into(tiles):
    mask = torch.zeros_like(tiles, dtype=torch.bool)
    left, right = tiles == 3, tiles == 4
    mask[:, :, :-1] = left[:, :, :-1] & ~right[:, :, 1:]
    mask[:, :, -1] = left[:, :, -1]
    mask[:, :, 1:] |= right[:, :, 1:] & ~left[:, :, :-1]
    mask[:, :, 0] |= right[:, :, 0]
    heavy, solid = (tiles == 1) | left | right | (tiles == 5), (tiles >= 1) & (tiles <= 4)
    mask[:, :-1] |= heavy[:, :-1] & ~solid[:, 1:]
    return mask


@wrong("levels.4", never="Spikes are not solid")
def pillars_only_left(tiles): return with_pad(tiles) & ~((tiles == 4) & with_pad(torch.where(tiles == 4, 4, tiles)) & (F.pad(tiles[:, 1:], (0, 0, 0, 1), value=2) != 0))


@wrong("levels.4", never="first law is right")
def the_tile_above(tiles):
    above = F.pad(tiles[:, :-1], (0, 0, 1, 0), value=2)
    return torch.isin(tiles, torch.tensor([1, 3, 4, 5])) & ((above == 0) | (above > 4)) | with_pad(tiles) & torch.isin(tiles, torch.tensor([3, 4]))


@wrong("levels.4", never="exchanged")
def nothing_is_broken(tiles): return torch.zeros_like(tiles, dtype=torch.bool)


@wrong("levels.4", says="shape")
def whole_levels(tiles): return with_pad(tiles).flatten(1).any(dim=1)


@wrong("levels.4", never="Spikes are not solid")
def rows_for_columns(tiles): return with_pad(tiles.transpose(1, 2)).transpose(1, 2)


equivalent("levels.4", "a mask of integers has no gradient", "… detached")
equivalent("levels.4", "a mask of ones and zeros may be of floats", "…the result in float64, or whole numbers in float32")
equivalent("levels.4", "beyond the edge no half may stand; ground is none", "`torch.zeros_like(tiles[:, :, :1])` → `torch.ones_like(tiles[:, :, :1])`")

# Case 99


@right("clinic.99")
def by_hand(logits, tiles): return -logits.log_softmax(1).gather(1, tiles[:, None]).mean()


@right("clinic.99")
def flat(logits, tiles): return F.cross_entropy(logits.movedim(1, -1).flatten(0, -2), tiles.flatten())


@right("clinic.99")
def with_nll(logits, tiles): return F.nll_loss(logits.log_softmax(dim=1), tiles)


@wrong("clinic.99", says="sum", never="softmax is taken")
def summed_over_places(logits, tiles): return F.cross_entropy(logits, tiles, reduction="none").sum()


@wrong("clinic.99", never="sign")
def in_bits(logits, tiles): return F.cross_entropy(logits, tiles)/torch.tensor(2.).log()


@wrong("clinic.99", never="sum over all tiles")
def mean_over_levels(logits, tiles): return F.cross_entropy(logits, tiles, reduction="none").flatten(1).sum(1).mean()


equivalent("clinic.99", "a loss in double precision is the same loss", "…the result in float64, or whole numbers in float32")

# Case 100


@right("clinic.100")
def with_a_frame(level, x, y):
    framed = ["#"*(len(level[0])+4)]*3 + [f"##{row}##" for row in level]
    if not 0 <= x < len(level[0]): return True
    return y < len(level) and framed[max(y, -1)+3][x+2] in "#=[]"


@right("clinic.100")
def in_one_line(level, x, y): return x < 0 or x >= len(level[0]) or y < 0 or (y < len(level) and level[y][x] in {"#", "=", "[", "]"})


@right("clinic.100")
def edge_by_edge(level, x, y):
    for outside in (x < 0, x >= len(level[0]), y < 0):
        if outside: return 1
    if y >= len(level): return 0
    return int("#=[]".find(level[y][x]) >= 0)


@wrong("clinic.100", never="ceiling")
def air_everywhere_outside(level, x, y): return 0 <= x < len(level[0]) and 0 <= y < len(level) and level[y][x] in "#=[]"


@wrong("clinic.100", never="Spikes, coins")
def planks_forgotten(level, x, y): return in_one_line(level, x, y) and not (0 <= x < len(level[0]) and 0 <= y < len(level) and level[y][x] == "=")


@wrong("clinic.100", never="left edge")
def walls_below_too(level, x, y): return in_one_line(level, x, y) or y >= len(level)


equivalent("clinic.100", "a frame may be wider than it need be", "`4` → `5` in `with_a_frame`")
equivalent("clinic.100", "an edge may be asked for twice", "the last one twice: `for outside in (x < 0, x >= len(level[0]), y < 0):` in `edge_by_edge`")

# Case 101


@right("clinic.101")
def with_gumbel(logits, generator=None):
    uniform = torch.rand(logits.shape, generator=generator).clamp(1e-9, 1-1e-7)
    return (logits-torch.log(-torch.log(uniform))).argmax(dim=1)


@right("clinic.101")
def place_by_place(logits, generator=None):
    rows = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1]).softmax(-1)
    total = rows.cumsum(-1)
    ball = torch.rand(len(rows), 1, generator=generator)
    return (total < ball).sum(-1).clamp(max=logits.shape[1]-1).view(logits.shape[0], *logits.shape[2:])


@right("clinic.101")
def level_by_level(logits, generator=None):
    levels = [torch.multinomial(each.softmax(0).flatten(1).T, 1, generator=generator).view(each.shape[1:]) for each in logits]
    return torch.stack(levels)


@wrong("clinic.101", says="shape")
def without_the_shape(logits, generator=None): return with_gumbel(logits, generator).flatten()


@wrong("clinic.101", never="patient")
def too_hot(logits, generator=None): return with_gumbel(logits/3, generator)


@wrong("clinic.101", never="All kinds are drawn alike")
def too_cold(logits, generator=None): return with_gumbel(4*logits, generator)


@wrong("clinic.101", never="patient")
def without_the_seed(logits, generator=None): return with_gumbel(logits)


equivalent("clinic.101", "no gradient is asked of a draw", "… detached")
equivalent("clinic.101", "kinds may be counted in floats", "…the result in float64, or whole numbers in float32")
equivalent("clinic.101", "one number in ten million is not missed", "`torch.rand(logits.shape, generator=generator).clamp(1e-09, 1 - 1e-07)` → `torch.rand(logits.shape, generator=generator)` in `with_gumbel`",
           "`1 - 1e-07` → `1` in `with_gumbel`", "`logits.shape[1] - 1` → `logits.shape[1] + 1` in `place_by_place`")
