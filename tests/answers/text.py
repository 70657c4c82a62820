"""Further answers to the exercises of chapter 18."""
import math
import torch
from answers import equivalent, right, wrong

# 18.1: min-p


@right("text.1")
def with_where(probabilities, share):
    kept = torch.where(probabilities/probabilities.max(dim=-1, keepdim=True).values >= share, probabilities, 0.)
    return torch.nn.functional.normalize(kept, p=1, dim=-1)


@right("text.1")
def by_logits(probabilities, share):
    logs = probabilities.log()
    return logs.masked_fill(probabilities < share*probabilities.amax(-1, keepdim=True), -math.inf).softmax(-1)


@right("text.1")
def row_by_row(probabilities, share):
    rows = []
    for row in probabilities.flatten(0, -2) if probabilities.ndim > 1 else probabilities[None]:
        kept = torch.tensor([chance if chance >= share*max(row.tolist()) else 0. for chance in row.tolist()])
        rows.append(kept/kept.sum())
    return torch.stack(rows).view(probabilities.shape)


@wrong("text.1", never="sum to one")
def in_place_of_the_mean(probabilities, share):
    kept = probabilities*(probabilities >= share*probabilities.mean(-1, keepdim=True))
    return kept/kept.sum(-1, keepdim=True)


@wrong("text.1")
def nothing_cut(probabilities, share): return probabilities


# 18.2: the longest copy


@right("text.2")
def from_the_longest(text, source):
    for length in range(len(text), 0, -1):
        for start in range(len(text)-length+1):
            if text[start:start+length] in source: return text[start:start+length]
    return ""


@right("text.2")
def with_difflib(text, source):
    import difflib
    match = difflib.SequenceMatcher(None, text, source, autojunk=False).find_longest_match()
    return text[match.a:match.a+match.size]


@right("text.2")
def by_ends(text, source):
    start, best = 0, (0, 0)
    for end in range(1, len(text)+1):
        while text[start:end] not in source: start += 1
        if end-start > best[1]-best[0]: best = start, end
    return text[best[0]:best[1]]


@wrong("text.2", never="length. The")
def one_short(text, source): return from_the_longest(text, source)[:-1]


@wrong("text.2", never="words are")
def common_beginning(text, source):
    import os
    return os.path.commonprefix([text, source])


# 18.3: guidance with a floor


@right("text.3")
def with_log_softmax(asked, free, scale, share):
    asked, free = asked.log_softmax(-1), free.log_softmax(-1)
    least = asked.amax(-1, keepdim=True)+(math.log(share) if share else -math.inf)
    return torch.where(asked < least, torch.tensor(-math.inf), scale*asked+(1-scale)*free)


@right("text.3")
def as_a_mixture(asked, free, scale, share):
    best = asked.amax(dim=-1, keepdim=True)
    mixed = scale*asked+(1-scale)*free
    mixed[(asked-best).exp() < share] = -math.inf
    return mixed


@right("text.3")
def by_probabilities(asked, free, scale, share):
    p, q = asked.softmax(-1), free.softmax(-1)
    return torch.where(p >= share*p.max(-1, keepdim=True).values, (q.log()+scale*(p/q).log()), torch.full_like(p, -math.inf))


@wrong("text.3", never="`share` is not used")
def only_the_asked(asked, free, scale, share):
    chances = asked.softmax(-1)
    return asked.masked_fill(chances < share*chances.amax(-1, keepdim=True), -math.inf)


@wrong("text.3")
def largest_of_the_batch(asked, free, scale, share):
    chances = asked.softmax(-1)
    return (free+scale*(asked-free)).masked_fill(chances < share*chances.max(), -math.inf)


# 18.4: what may follow


@right("text.4")
def by_trying(prefix, longest):
    def closed(text):
        depth = 0
        for letter in text: depth += (letter == "(")-(letter == ")")
        return depth
    expects = not prefix or prefix[-1] in "+-*("
    out = set()
    for letter in "0123456789(" if expects else "+-*)=":
        depth = closed(prefix+letter)
        if depth < 0: continue
        if letter in "+-*" or letter == "(": rest = 1+depth
        else: rest = depth
        if letter == "=" or len(prefix)+1+rest <= longest: out.add(letter)
    if closed(prefix): out.discard("=")
    return frozenset(out)


@right("text.4")
def by_the_shortest_end(prefix, longest):
    def shortest(text):
        "Length of the shortest left side that begins so"
        rest = 0 if text[-1:].isdigit() or text[-1:] == ")" else 1
        return len(text)+rest+text.count("(")-text.count(")")
    complete = prefix[-1:] in [*"0123456789)"]
    opened = prefix.count("(") > prefix.count(")")
    letters = [*"+-*", ")" if opened else "="] if complete else [*"0123456789("]
    return {letter for letter in letters if letter == "=" or shortest(prefix+letter) <= longest}


@right("text.4")
def with_python_as_the_judge(prefix, longest):
    import re
    def fits(text):
        opened = text.count("(")-text.count(")")
        ended = text if re.search(r"[\d)]$", text) else text+"1"
        whole = ended+")"*opened
        if len(whole) > longest or opened < 0 or re.search(r"\d\d|\d\(|\)\(|\)\d|\(\)|[-+*(][-+*)]|^[-+*)]", whole): return False
        try: eval(whole)
        except SyntaxError: return False
        return True
    found = {letter for letter in "0123456789+-*()" if fits(prefix+letter)}
    ended = re.search(r"[\d)]$", prefix) and prefix.count("(") == prefix.count(")")
    return found | ({"="} if ended else set())


@wrong("text.4")
def equals_too_soon(prefix, longest): return by_trying(prefix, longest) | {"="}


@wrong("text.4", never="length is not kept")
def no_minus(prefix, longest): return by_trying(prefix, longest)-{"-"}


# 18.5: bits of a secret

right("text.5", (13.3, 10.0, 1.4))
right("text.5", (13.29, 9.97, 1.44))
right("text.5", [math.log2(10_000), math.log2(1000), 1/math.log(2)])
wrong("text.5", (13.3, 10.0, 0.), says="mean is not 0")
wrong("text.5", (13.3, 3.3, 1.44), says="what is *lost*")
wrong("text.5", (9.2, 6.9, 1.), says="natural")
wrong("text.5", (13.3, 10.0, 6.6), says="6.6", never="natural")

# Case 93: half a character


@right("clinic.93")
def by_waiting(pieces):
    shown, kept = [], b""
    for piece in pieces:
        kept += piece
        for cut in range(len(kept), -1, -1):
            try: text = kept[:cut].decode("utf-8")
            except UnicodeDecodeError: continue
            shown.append(text)
            kept = kept[cut:]
            break
    return shown


@right("clinic.93")
def with_an_incremental_decoder(pieces):
    import codecs
    decoder, shown = codecs.lookup("utf-8").incrementaldecoder(errors="strict"), []
    for piece in pieces: shown.append(decoder.decode(piece, final=False))
    return shown


@right("clinic.93")
def by_what_is_new(pieces):
    shown, read, before = [], b"", ""
    for piece in pieces:
        read += piece
        text = read.decode("utf-8", errors="ignore")
        shown.append(text[len(before):])
        before = text
    return shown


@wrong("clinic.93")
def one_text_in_a_list(pieces): return [b"".join(pieces).decode("utf-8", errors="ignore")]


# Case 94: the more often, the likelier


@right("clinic.94")
def divided_or_multiplied(logits, written, penalty):
    punished = logits.clone()
    for token in set(written.tolist()):
        punished[token] = logits[token]/penalty if logits[token] > 0 else logits[token]*penalty
    return punished


@right("clinic.94")
def subtracted(logits, written, penalty):
    logits = logits.clone()
    logits[written] -= penalty
    return logits


@right("clinic.94")
def as_log_probabilities(logits, written, penalty):
    rows = torch.zeros(len(logits)).index_fill(0, written, 1.)
    return logits-rows*math.log(penalty)*(1+logits.abs())


@wrong("clinic.94", says="patient")
def divided(logits, written, penalty):
    written_mask = torch.zeros_like(logits, dtype=torch.bool)
    written_mask[written] = True
    return torch.where(written_mask, logits/penalty, logits)


# Mutants that are right

for id in ("text.1", "text.3", "clinic.94"): equivalent(id, "what is drawn from is not learned from: nobody differentiates it", "… detached")
equivalent("text.2", "from the last place nothing starts but its own character, and a place read twice finds the same", "the last one twice: `for start in range(len(text)):`",
           "the last one twice: `for length in range(len(text), 0, -1):` in `from_the_longest`")
equivalent("text.2", "texts of a few words are too short for difflib's junk", "`difflib.SequenceMatcher(None, text, source, autojunk=False)` → `difflib.SequenceMatcher(None, text, source)` in `with_difflib`")
equivalent("text.3", "two floats are hardly ever equal", "`chances < share * chances.amax(-1, keepdim=True)` → `chances <= share * chances.amax(-1, keepdim=True)`")
equivalent("clinic.93", "the loop has ended before", "the last one twice: `for cut in range(len(kept), -1, -1):` in `by_waiting`")
equivalent("clinic.94", "a logit of exactly 0 stays 0 either way", "`old > 0` → `old >= 0`")
equivalent("clinic.94", "a token that is punished twice from its old logit gets the same one", "the last one twice: `for token in set(written.tolist()):` in `divided_or_multiplied`")
