"""Further answers to the exercises of chapter 19."""
import itertools
import math
import numpy as np
import torch
from answers import equivalent, right, wrong
from genesis_course.tunes import HIGH, LOW

# 19.1: a pitch in hertz


@right("music.1")
def from_the_lowest(pitch): return 8.175798915643707*2**(pitch/12)


@right("music.1")
def with_semitones(pitch): return 440.*(2**(1/12))**(pitch-69)


@right("music.1")
def with_exp(pitch): return 440*torch.exp(math.log(2)*(torch.as_tensor(pitch, dtype=torch.float64)-69)/12)


@wrong("music.1", never="falls where")
def from_concert_pitch_442(pitch): return 442*2**((pitch-69)/12)


@wrong("music.1", never="Whole octaves")
def only_the_letter(pitch): return 440*2**((pitch % 12-9)/12)


@wrong("music.1", never="seven or eight")
def eleven_steps(pitch): return 440*2**((pitch-69)/11)


@wrong("music.1", never="base is 2")
def of_a_logarithm(pitch): return 440*torch.log(torch.as_tensor(pitch, dtype=torch.float64)-69)


# 19.2: an organ voice


@right("music.2")
def with_a_product(hertz, seconds, rate, shares):
    k = torch.arange(1, len(shares)+1)
    kept = torch.tensor(shares)*(k*hertz < rate/2)
    return kept @ torch.sin(2*math.pi*hertz*k[:, None]*torch.arange(round(seconds*rate))/rate)


@right("music.2")
def sample_by_sample(hertz, seconds, rate, shares):
    partials = [(k, share) for k, share in enumerate(shares, 1) if k*hertz < rate/2]
    return torch.tensor([sum(share*math.sin(2*math.pi*k*hertz*n/rate) for k, share in partials) for n in range(round(seconds*rate))])


@right("music.2")
def in_numpy(hertz, seconds, rate, shares):
    time, sound = np.arange(round(seconds*rate))/rate, 0
    for k, share in enumerate(shares):
        if hertz*(k+1) >= rate/2: continue
        sound = sound+share*np.sin(2*np.pi*(k+1)*hertz*time)
    return torch.as_tensor(sound+np.zeros(len(time)))


@wrong("music.2", never="high partials are still there")
def without_the_last(hertz, seconds, rate, shares): return with_a_product(hertz, seconds, rate, [*shares[:-1], 0.])


@wrong("music.2", never="sum is divided")
def twice_as_loud(hertz, seconds, rate, shares): return 2*with_a_product(hertz, seconds, rate, shares)


@wrong("music.2", says="shape", never="sample is missing")
def one_sample_more(hertz, seconds, rate, shares): return with_a_product(hertz, seconds+1/rate, rate, shares)


@wrong("music.2", never="octaves")
def odd_partials(hertz, seconds, rate, shares):
    k = torch.arange(1, 2*len(shares)+1, 2)
    return (torch.tensor(shares)*(k*hertz < rate/2)) @ torch.sin(2*math.pi*hertz*k[:, None]*torch.arange(round(seconds*rate))/rate)


@wrong("music.2", never="cosines")
def squared(hertz, seconds, rate, shares): return with_a_product(hertz, seconds, rate, shares).square()


# 19.4: a mask of validity


@right("music.4")
def with_where(room, eighths, bar_line):
    fits = (eighths > 0) & (room[:, None] >= eighths)
    return torch.where(torch.arange(len(eighths)) == bar_line, room[:, None] == 0, fits)


@right("music.4")
def token_by_token(room, eighths, bar_line):
    return torch.tensor([[free == 0 if token == bar_line else 0 < long <= free for token, long in enumerate(eighths.tolist())] for free in room.tolist()])


@right("music.4")
def column_by_column(room, eighths, bar_line):
    allowed = torch.zeros(len(room), len(eighths), dtype=torch.bool)
    for token, long in enumerate(eighths):
        if long > 0: allowed[:, token] = room >= long
    allowed[room == 0, bar_line] = True
    return allowed


@wrong("music.4", says="True and False")
def as_logits(room, eighths, bar_line): return torch.where(with_where(room, eighths, bar_line), 0., -math.inf)


@wrong("music.4", never="always allowed")
def a_bar_line_at_one(room, eighths, bar_line):
    allowed = with_where(room, eighths, bar_line)
    allowed[:, bar_line] = room <= 1
    return allowed


@wrong("music.4", never="no notes get through")
def long_notes_only(room, eighths, bar_line): return with_where(room, eighths, bar_line) & ((eighths > 1) | (torch.arange(len(eighths)) == bar_line))


@wrong("music.4", never="exactly")
def everything(room, eighths, bar_line): return torch.ones(len(room), len(eighths), dtype=torch.bool)


@wrong("music.4", says="changes what it was given")
def counts_in_place(room, eighths, bar_line):
    allowed = with_where(room, eighths, bar_line)
    eighths[bar_line] = 1
    return allowed


# 19.3: a fair comparison

right("music.3", [2.0519, 2.5007, 1.0667])
right("music.3", (2.05, 2.5, 1.07))
right("music.3", torch.tensor([2.052, 2.501, 1.067]))
right("music.3", [0.6*64/27/math.log(2), 1.3*36/27/math.log(2), 0.6*64/36])
wrong("music.3", [1.42, 1.73, 1.07], says="These are nats")
wrong("music.3", [2.05, 1.73, 1.07], says="second is not", never="bits a token")
wrong("music.3", [2.05, 2.5, 0.6], says="third")
wrong("music.3", [2.05, 2.5, 0.34], says="third", never="not in bits")
wrong("music.3", [0.6, 1.3, 1.07], says="first number")
wrong("music.3", [2.5, 2.05, 1.07], says="first number")
wrong("music.3", [float("nan")]*3, says="NaN")

# Case 96


@right("clinic.96")
def with_chain(bars):
    tune = list(itertools.chain(*bars))
    return tune[:-1], tune[1:]


@right("clinic.96")
def with_the_next_bar(bars):
    read, asked = [], []
    for bar, following in zip(bars, [*bars[1:], []]):
        read += bar if following else bar[:-1]
        asked += bar[1:]+following[:1]
    return [read, asked]


@right("clinic.96")
def as_tensors(bars):
    tune = torch.tensor(sum(bars, []))
    return tune[:-1], tune[1:]


@wrong("clinic.96", never="exchanged")
def a_start_that_nobody_asked_for(bars):
    tune = sum(bars, [])
    return [0, *tune[:-1]], tune


@wrong("clinic.96", says="as a pair")
def as_pairs(bars):
    tune = sum(bars, [])
    return list(zip(tune[:-1], tune[1:]))+[(0, 0)]*3


@wrong("clinic.96", never="Both lists are the same")
def without_the_last_bar(bars):
    tune = sum(bars[:-1], [])
    return tune[:-1], tune[1:]


# Case 97


@right("clinic.97")
def with_a_ceiling(pitches, up):
    high, low = int(pitches.max())+up, int(pitches.min())+up
    down, rise = max(0, math.ceil((high-HIGH)/12)), max(0, math.ceil((LOW-low)/12))
    return pitches+up-12*down+12*rise


@right("clinic.97")
def by_trying(pitches, up):
    shifts = sorted(range(-120, 121, 12), key=abs)
    return next(pitches+up+shift for shift in shifts if LOW <= (pitches+up+shift).min() and (pitches+up+shift).max() <= HIGH)


@right("clinic.97")
def from_the_steps(pitches, up):
    first = by_trying(pitches, up)[0]
    return torch.cat([first[None], first+pitches.diff().cumsum(0)])


@wrong("clinic.97", never="Clamping")
def always_lowest(pitches, up):
    moved = by_trying(pitches, up)
    while moved.min()-12 >= LOW: moved = moved-12
    return moved


@wrong("clinic.97", never="One octave is not always enough")
def the_other_way(pitches, up): return by_trying(pitches, -up)


@wrong("clinic.97", never="remainder is still there")
def into_one_octave(pitches, up): return (pitches+up) % 12+60


@wrong("clinic.97", says="changes what it was given")
def in_place(pitches, up):
    pitches += up
    return by_trying(pitches, 0)


# Case 98


@right("clinic.98")
def with_a_zero_in_front(lengths, samples):
    before = torch.cat([lengths.new_zeros(1), lengths[:-1]]).cumsum(0)
    return torch.round(before.double()*samples).to(torch.int64)


@right("clinic.98")
def note_by_note(lengths, samples):
    starts, time = [], 0
    for length in lengths.tolist():
        starts.append(round(time*samples))
        time += length
    return torch.tensor(starts)


@right("clinic.98")
def with_numpy(lengths, samples):
    ends = np.cumsum(lengths.numpy().astype(np.float64))
    return torch.from_numpy(np.rint(np.concatenate([[0.], ends[:-1]])*samples).astype(np.int64))


@wrong("clinic.98", never="whole samples before the sum")
def always_up(lengths, samples): return ((lengths.cumsum(0)-lengths)*samples).ceil().long()


@wrong("clinic.98", never="ends of the notes")
def one_later(lengths, samples): return note_by_note(lengths, samples)+1


@wrong("clinic.98", never="whole number of samples")
def in_seconds(lengths, samples): return note_by_note(lengths, samples)//1000


D = "…the result in float64, or whole numbers in float32"
equivalent("music.1", "a frequency in double precision is the same frequency", D)
equivalent("music.2", "a sound is no loss: nobody differentiates it", "… detached", "…everything under `no_grad`")
equivalent("music.2", "a sound in double precision is the same sound", D)
equivalent("music.2", "a partial at exactly half of the rate is sin(πn) = 0 at each sample", "`k * hertz < rate / 2` → `k * hertz <= rate / 2`")
equivalent("music.4", "where no room is left, no note fits, so the bar line alone decides; elsewhere it lasts 0 eighths and does not fit",
           "`torch.where(torch.arange(len(eighths)) == bar_line, room[:, None] == 0, fits)` → `torch.where(room[:, None] == 0, torch.arange(len(eighths)) == bar_line, fits)` in `with_where`")
equivalent("clinic.96", "numbers are compared as numbers, whatever holds them", D)
equivalent("clinic.97", "a sum is the same the other way round", "`by_trying(pitches, up)` → `by_trying(up, pitches)` in `from_the_steps`")
equivalent("clinic.98", "single precision finds the right sample within half an hour of music", "`before.double()` → `before` in `with_a_zero_in_front`")
