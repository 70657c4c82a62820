"""Further answers to the exercises, a module for each chapter: right ones in other forms, wrong ones with what must not be said to them, mutants that are right."""
from collections import defaultdict

RIGHT = defaultdict(list)          # {id: answers that must pass}
WRONG = defaultdict(list)          # {id: (answer, words its remark holds or None, words its remark must not hold or None)}
EQUIVALENT = defaultdict(dict)     # {id: {what is other in a mutant of tools/mutants.py: why it is right all the same}}


def right(id, *value):
    "Decorator of a right answer that differs from the solution, or a call for a value"
    if value: RIGHT[id].append(*value)
    else: return lambda answer: RIGHT[id].append(answer) or answer


def wrong(id, *value, says=None, never=None):
    "The same of a wrong one; its remark holds the words `says`, and not `never`, which are true of other answers only"
    if value: WRONG[id].append((*value, says, never))
    else: return lambda answer: WRONG[id].append((answer, says, never)) or answer


def equivalent(id, why, *mutants):
    "Mutants, in the words of tools/mutants.py, that answer the question as well; \"… detached\" stands for all that end so"
    EQUIVALENT[id].update(dict.fromkeys(mutants, why))


def names(listed, mutant):
    "Whether words that were listed as right name this mutant"
    return listed == mutant or listed.startswith("…") and mutant.split(" in `")[0].split(" (")[0].endswith(listed[1:])
