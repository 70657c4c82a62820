"""Mutants of right answers: small changes, each of which the exercise's check should refuse.

python tools/mutants.py                    every exercise; the table goes to benchmarks/results/mutants.json
python tools/mutants.py tensors.1 gan      some exercises, or those of a chapter, with what survived
"""
import argparse
import ast
import copy
import dataclasses
import functools
import importlib
import inspect
import json
import multiprocessing
import random
import sys
import textwrap
import time
import warnings
from pathlib import Path
import torch
from torch import nn
from genesis_course import practice

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/"tests"))
FROM_EACH = 12    # mutants of each further right answer

# Names that are taken for each other
TWINS = {"mean": "sum", "sum": "mean", "max": "min", "min": "max", "amax": "amin", "amin": "amax", "argmax": "argmin", "argmin": "argmax", "std": "var", "var": "std", "zeros": "ones", "ones": "zeros",
         "zeros_like": "ones_like", "ones_like": "zeros_like", "randn": "rand", "rand": "randn", "randn_like": "rand_like", "rand_like": "randn_like", "sin": "cos", "cos": "sin", "sigmoid": "tanh",
         "tanh": "sigmoid", "softmax": "log_softmax", "log_softmax": "softmax", "floor": "ceil", "ceil": "floor", "round": "floor", "exp": "expm1", "log": "log1p", "any": "all", "all": "any", "append": "extend",
         "triu": "tril", "tril": "triu", "mse_loss": "l1_loss", "cross_entropy": "nll_loss", "softplus": "relu", "cumsum": "cumprod", "train": "eval", "eval": "train", "Adam": "SGD", "AdamW": "Adam", "SGD": "Adam",
         "maximum": "minimum", "minimum": "maximum", "add_": "sub_", "sub_": "add_", "mul_": "div_"}
# Steps of a chain x.step().rest() that may be forgotten; those of a new shape are tried by what follows
FORGOTTEN = {"detach", "clamp", "clamp_min", "abs", "square", "sqrt", "log", "exp", "float", "double", "clone", "contiguous", "flip", "relu", "sigmoid", "tanh", "softmax", "log_softmax", "pow", "neg", "t", "mT", "T",
             "flatten", "reshape", "squeeze", "unsqueeze", "transpose", "permute", "sort", "unique", "round", "floor", "cpu", "item"}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
COMPARISONS = {ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
               ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,)}
SYMMETRIC = {"max", "min", "maximum", "minimum"}
IN_ORDER = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)


def without(items, i): return [*items[:i], *items[i+1:]]


def changed(node, **fields):
    twin = copy.copy(node)
    for name, value in fields.items(): setattr(twin, name, value)
    return twin


def changes(node):
    "What an expression may become by a slip"
    match node:
        case ast.BinOp(left, op, right):
            if isinstance(op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)): yield left
            if isinstance(op, (ast.Add, ast.Mult)): yield right
            if isinstance(op, ast.Sub): yield ast.UnaryOp(ast.USub(), right)
            if type(op) in OPERATORS: yield changed(node, op=OPERATORS[type(op)]())
            if isinstance(op, IN_ORDER): yield changed(node, left=right, right=left)
        case ast.UnaryOp(op, operand) if isinstance(op, (ast.USub, ast.Not, ast.Invert)): yield operand
        case ast.Compare(ops=[op], left=left, comparators=[right]):
            for other in COMPARISONS.get(type(op), ()): yield changed(node, ops=[other()])
        case ast.BoolOp(op, values):
            yield changed(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            if len(values) == 2: yield from values
        case ast.Constant(value=bool() as value): yield ast.Constant(not value)
        case ast.Constant(value=int() as value): yield from (ast.Constant(value+1), *([ast.Constant(value-1)] if value > 0 else []))
        case ast.Constant(value=float() as value): yield ast.Constant(2*value if value else 1.)
        case ast.IfExp(body=body, orelse=orelse): yield from (body, orelse)
        case ast.comprehension(ifs=[_, *_]): yield changed(node, ifs=[])
        case ast.Tuple(elts=[a, b], ctx=ast.Load()): yield changed(node, elts=[b, a])
        case ast.Call(func=func, args=args, keywords=keywords):
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if name in TWINS: yield changed(node, func=changed(func, **{"attr" if isinstance(func, ast.Attribute) else "id": TWINS[name]}))
            if len(args) > 1 and name not in SYMMETRIC and not any(isinstance(each, ast.Starred) for each in args): yield changed(node, args=[args[1], args[0], *args[2:]])
            for i in range(len(keywords)): yield changed(node, keywords=without(keywords, i))
            if isinstance(func, ast.Attribute) and name in FORGOTTEN and not (isinstance(func.value, ast.Name) and func.value.id in ("torch", "F", "math", "np")): yield func.value
        case ast.Attribute(value=value, attr="mT" | "T" | "data"): yield value


def steps(block):
    "What a block of statements may become: one left out, or two in the other order"
    for i, statement in enumerate(block):
        doc = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if isinstance(statement, (ast.Expr, ast.AugAssign, ast.If, ast.For, ast.While, ast.Assert)) and not doc: yield [*block[:i], ast.Pass(), *block[i+1:]], f"without `{first_line(statement)}`"
        if isinstance(statement, ast.With): yield [*block[:i], *statement.body, *block[i+1:]], f"without `{first_line(statement)}`"
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
            names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
            if isinstance(target, (ast.Subscript, ast.Attribute)) or isinstance(target, ast.Name) and target.id in names: yield [*block[:i], ast.Pass(), *block[i+1:]], f"without `{first_line(statement)}`"
        if isinstance(statement, ast.For): yield from ((block_with(block, i, changed(statement, iter=ast.Call(ast.Name(name, ast.Load()), [statement.iter], []))), f"{words}: `{first_line(statement)}`")
                                                     for name, words in (("_all_but_the_last", "the last one dropped"), ("_last_one_twice", "the last one twice")))
        following = block[i+1] if i+1 < len(block) else None
        if isinstance(statement, ast.Expr) and isinstance(following, (ast.Expr, ast.AugAssign)) and not doc: yield [*block[:i], following, statement, *block[i+2:]], f"`{first_line(statement)}` after `{first_line(following)}`"


def block_with(block, i, statement): return [*block[:i], statement, *block[i+1:]]


def first_line(node): return ast.unparse(node).splitlines()[0]


class Put(ast.NodeTransformer):
    def __init__(self, old, new): self.old, self.new = old, new
    def visit(self, node): return self.new if node is self.old else self.generic_visit(node)


def tree_of(answer):
    tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    tree.body[0].decorator_list = []
    return tree


def of_syntax(answer):
    "Pairs (what is other, tree), one change in each"
    tree, seen = tree_of(answer), {}
    if not isinstance(tree.body[0], (ast.FunctionDef, ast.ClassDef)): return          # a lambda
    inside = [*tree.body[0].body, *getattr(getattr(tree.body[0], "args", None), "defaults", [])]
    skipped = {id(part) for node in ast.walk(tree) for kept in (getattr(node, "annotation", None), getattr(node, "returns", None), *( [node.exc] if isinstance(node, ast.Raise) and node.exc else [])) if kept
               for part in ast.walk(kept)}
    def put(place, new, words):
        memo = {}
        twin = copy.deepcopy(tree, memo)
        result = ast.fix_missing_locations(Put(memo[id(place)], copy.deepcopy(new)).visit(twin)) if isinstance(place, ast.AST) else None
        seen[words] = seen.get(words, 0)+1
        return words if seen[words] == 1 else f"{words} ({seen[words]})", result
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    parameters = {argument.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for argument in (*node.args, *node.kwonlyargs)}-{"self"}
    for node in [part for each in inside for part in ast.walk(each)]:
        if id(node) in skipped: continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in parameters and id(node) not in called:
            yield put(node, ast.Call(ast.Name("_cut", ast.Load()), [node], []), f"`{node.id}` detached")
        for new in changes(node): yield put(node, new, f"`{ast.unparse(node)}` → `{ast.unparse(new)}`")
        if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS: yield put(node, changed(node, op=OPERATORS[type(node.op)]()), f"`{first_line(node)}` with the other operation")
        if isinstance(node, (ast.If, ast.While)): yield put(node, changed(node, test=ast.UnaryOp(ast.Not(), node.test)), f"`{first_line(node)}` the other way round")
    for node in ast.walk(tree):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if not isinstance(node, ast.Module) and isinstance(block, list):
                for new, words in steps(block): yield put(node, changed(node, **{name: new}), words)


# What an answer might do besides: each is a wrapper of its calls, and says whether it made a difference

def over(value, function):
    "`function` of each tensor in a result"
    if isinstance(value, torch.Tensor): return function(value)
    if isinstance(value, dict): return {key: over(item, function) for key, item in value.items()}
    if type(value) in (list, tuple): return type(value)(over(item, function) for item in value)
    return value


def tensors_in(value, depth=0):
    if isinstance(value, torch.Tensor): yield value
    elif isinstance(value, (list, tuple, dict)) and depth < 4:
        for item in (value.values() if isinstance(value, dict) else value): yield from tensors_in(item, depth+1)


def modules_in(arguments): return [value for value in arguments if isinstance(value, nn.Module)]


def of_floats(arguments): return [value for value in arguments if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel()]


class Habit:
    "A way to change what an answer does without touching its text; `felt` once it made a difference"
    def __init__(self, words, function): self.words, self.function = words, function

    def around(self, answer):
        self.felt, self.kept = False, {}
        def wrap(function, method):
            @functools.wraps(function)
            def call(*arguments, **settings): return self.function(self, functools.partial(function), method, arguments, settings)
            return call
        if not inspect.isclass(answer): return wrap(answer, False)
        methods = {name: wrap(method, True) for name, method in vars(answer).items() if inspect.isfunction(method) and (not name.startswith("_") or name == "__call__")}
        return type(answer.__name__, (answer,), methods)


HABITS = []


def habit(words):
    def add(function):
        HABITS.append((words, function))
        return function
    return add


@habit("the result is detached")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    inputs = any(tensor.is_floating_point() for tensor in tensors_in([*arguments, *settings.values()])) or modules_in(arguments)
    self.felt |= any(tensor.requires_grad or inputs and tensor.is_floating_point() for tensor in tensors_in(result))
    return over(result, torch.Tensor.detach)


@habit("everything under `no_grad`")
def _(self, function, method, arguments, settings):
    def under():
        with torch.no_grad(): return function(*arguments, **settings)
    result = under()
    self.felt |= any(value.requires_grad for value in tensors_in([*arguments, *settings.values()])) or bool(modules_in(arguments[method:]))
    return result


@habit("the result in float64, or whole numbers in float32")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    self.felt |= any(True for _ in tensors_in(result))
    return over(result, lambda tensor: tensor.float() if not tensor.is_floating_point() and not tensor.is_complex() else tensor.double() if tensor.dtype != torch.float64 else tensor.float())


@habit("the first result again and again")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    key = function.func.__name__
    if key not in self.kept: self.kept[key] = over(result, lambda tensor: tensor.clone())
    elif result is not None: self.felt = True
    return self.kept[key] if result is not None else result


@habit("arguments are overwritten afterwards")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    for value in of_floats(arguments[method:]):
        if value.is_leaf and value.data_ptr() not in {tensor.data_ptr() for tensor in tensors_in(result)}:
            value.data.add_(0.1)
            self.felt = True
    return result


@habit("modules are left in the other mode")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    for module in modules_in(arguments[method:]): self.felt = bool(module.train(not module.training))
    return result


@habit("parameters are left frozen")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    for module in modules_in(arguments[method:]):
        for parameter in module.parameters(): self.felt = bool(parameter.requires_grad_(not parameter.requires_grad) is parameter)
    return result


@habit("a hook is left behind")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    for module in modules_in(arguments[method:]): self.felt = bool(module.register_forward_hook(lambda *_: None))
    return result


@habit("the default dtype is left at float64")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    torch.set_default_dtype(torch.float64)
    self.felt = True
    return result


@habit("gradients are left switched off")
def _(self, function, method, arguments, settings):
    result = function(*arguments, **settings)
    torch.set_grad_enabled(False)
    self.felt = True
    return result


@habit("the seed is set")
def _(self, function, method, arguments, settings):
    torch.manual_seed(0)
    self.felt = True
    return function(*arguments, **settings)


def ignoring(axis):
    def look_away(self, function, method, arguments, settings):
        def first(value):
            if not (isinstance(value, torch.Tensor) and value.dim() > axis and value.shape[axis] > 1): return value
            rest = value.narrow(axis, 1, value.shape[axis]-1)
            self.felt |= bool((rest != value.narrow(axis, 0, 1)).any())
            return value.narrow(axis, 0, 1).expand_as(value)
        return function(*arguments[:method], *map(first, arguments[method:]), **settings)
    return look_away


habit("only the first row of each argument counts")(ignoring(0))
habit("only the first column or channel of each argument counts")(ignoring(1))


def all_but_the_last(items): return list(items)[:-1]


def last_one_twice(items):
    items = list(items)
    return items+items[-1:]


class Cut:
    "Detaches a tensor; `felt` once it had one that a gradient could flow through"
    def __init__(self): self.felt = False

    def __call__(self, value):
        self.felt |= any(tensor.is_floating_point() for tensor in tensors_in(value))
        return over(value, torch.Tensor.detach)


def compiled(answer, tree, cut):
    "The function or class of a changed tree, in the surroundings of the old"
    names = {**vars(inspect.getmodule(answer)), "_all_but_the_last": all_but_the_last, "_last_one_twice": last_one_twice, "_cut": cut}
    exec(compile(tree, "<mutant>", "exec"), names)
    return names[tree.body[0].name]


def of_value(value):
    "Other values of the kind of a right one"
    if isinstance(value, bool): yield f"{not value}", not value
    elif isinstance(value, (int, float)):
        for words, other in (("plus one", value+1), ("minus one", value-1), ("its negative", -value), ("twice as large", 2*value), ("half", value/2)):
            if other != value: yield words, other
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            for words, other in of_value(item): yield f"number {i+1}: {words}", type(value)([*value[:i], other, *value[i+1:]])
        if len(set(map(repr, value))) > 1: yield "in the other order", value[::-1]
    elif isinstance(value, dict):
        for key, item in value.items():
            for words, other in of_value(item): yield f"{key}: {words}", {**value, key: other}
    elif isinstance(value, str): yield "another word", value+"x"
    elif isinstance(value, torch.Tensor): yield from (("plus one", value+1), ("its negative", -value))


def mutants(answer):
    "Triples (what is other, the mutant, what knows whether it made a difference or None) of a right answer"
    if not callable(answer) or isinstance(answer, nn.Module):
        for words, value in of_value(answer): yield words, value, None
        return
    for words, tree in of_syntax(answer):
        cut = Cut()
        try: yield words, compiled(answer, tree, cut), cut if words.endswith(" detached") or " detached (" in words else None
        except Exception: continue          # not even Python
    for words, function in HABITS:
        each = Habit(words, function)
        yield words, each.around(answer), each


TOLD = "It also changed"


def verdict_on(exercise, mutant, habit):
    "\"killed\", \"survived\", or None for a habit that made no difference"
    verdict = practice.grade(exercise, mutant)
    if habit and not habit.felt: return None
    return "survived" if verdict.status == "right" and TOLD not in verdict.message else "killed"


def answers_of(chapter):
    "The further answers to a chapter's exercises: `tests/answers/CHAPTER.py`"
    import answers
    importlib.import_module(f"answers.{chapter}") if (ROOT/"tests"/"answers"/f"{chapter}.py").exists() else None
    return answers


def every_mutant(exercise, chapter, most=FROM_EACH):
    "Those of the solution, and some of each further right answer (`most`, drawn at random)"
    every, dice = [*mutants(exercise.solution)], random.Random(exercise.id)
    for answer in answers_of(chapter).RIGHT.get(exercise.id, []):
        more = [(f"{words} in `{answer.__name__}`" if callable(answer) else words, *rest) for words, *rest in mutants(answer)]
        every += dice.sample(more, min(most, len(more)))
    return every


def tried(exercise, chapter, sample=None):
    "Counts of mutants of one exercise: killed, equivalent, survived (in words); `sample`: so many, drawn at random"
    equal = answers_of(chapter).EQUIVALENT.get(exercise.id, {})
    started = time.perf_counter()
    assert practice.grade(exercise, exercise.solution), exercise.id
    quick = dataclasses.replace(exercise, wrong=[], seconds=min(exercise.seconds, 1+3*(time.perf_counter()-started)))
    every = every_mutant(exercise, chapter)
    if sample is not None: every = random.Random(exercise.id).sample(every, min(sample, len(every)))
    found = {"killed": 0, "equivalent": 0, "survived": []}
    for words, mutant, habit in every:
        if any(answers_of(chapter).names(listed, words) for listed in equal): found["equivalent"] += 1
        elif (outcome := verdict_on(quick, mutant, habit)) == "killed": found["killed"] += 1
        elif outcome: found["survived"].append(words)
    return found


def work(pair):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")          # of what mutants do
    id, chapter = pair
    started = time.perf_counter()
    return id, tried(practice.find(id), chapter), time.perf_counter()-started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="ids of exercises, or chapters")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    pairs = [(each.id, chapter) for chapter, group in practice.all_exercises().items() for each in group if not arguments.names or {each.id, chapter} & {*arguments.names}]
    table = {}
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
        for id, found, seconds in pool.imap_unordered(work, pairs):
            table[id] = found
            print(f"{id:<16} killed {found['killed']:>3}   equivalent {found['equivalent']:>3}   survived {len(found['survived']):>3}   {seconds:5.1f} s", *found["survived"], sep="\n    ", flush=True)
    killed, survived = (sum(found["killed"] for found in table.values()), sum(len(found["survived"]) for found in table.values()))
    print(f"{killed} of {killed+survived} refused: {killed/max(1, killed+survived):.1%}")
    if not arguments.names:
        ordered = {id: table[id] for id, _ in pairs}
        (ROOT/"benchmarks"/"results"/"mutants.json").write_text(json.dumps(ordered, indent=1, ensure_ascii=False)+"\n", encoding="utf-8")


if __name__ == "__main__": main()
