"The scalar engine against torch, the gradient checker against broken gradients, and the sentences for bad input"
import ast
import inspect
import math
import random
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from genesis_course import tensors
from genesis_course.exercises import tensors as answers
from genesis_course.practice import Exercise, grade
from genesis_course.support import CourseError
from genesis_course.diagrams import draw_graph, draw_shapes
from genesis_course.tensors import Value, as_value, central_difference, gradient_check, shapes, topological_order

small = st.floats(-3, 3, allow_nan=False)
OPERATIONS = {"add": lambda a, b: a+b, "subtract": lambda a, b: a-b, "multiply": lambda a, b: (a*b).tanh(), "divide": lambda a, b: a/(b*b+1), "log": lambda a, b: (a*a+1).log(),
              "exp": lambda a, b: a.tanh().exp(), "relu": lambda a, b: a.relu(), "number first": lambda a, b: 2-a+3*b+1/(a*a+2), "root": lambda a, b: (a*a+1)**0.5,
              "cube": lambda a, b: a.tanh()**3, "negative": lambda a, b: -a, "itself": lambda a, b: a+a*a.tanh()}

@st.composite
def expressions(draw):
    leaves = draw(st.lists(small, min_size=1, max_size=4))
    steps = draw(st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=15))
    return leaves, steps

def build(leaves, steps):
    pool = list(leaves)
    for name, i, j in steps: pool.append(OPERATIONS[name](pool[i % len(pool)], pool[j % len(pool)]))
    return pool[-1]+pool[len(pool)//2]

@settings(max_examples=300, deadline=None)
@given(expressions())
def test_value_and_slopes_equal_torchs_on_random_expressions(expression):
    numbers, steps = expression
    ours, theirs = [Value(x) for x in numbers], [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in numbers]
    mine, torchs = build(ours, steps), build(theirs, steps)
    mine.backward()
    torchs.backward()
    assert math.isclose(mine.data, torchs.item(), rel_tol=1e-9, abs_tol=1e-9)
    for a, b in zip(ours, theirs): assert math.isclose(a.grad, 0. if b.grad is None else b.grad.item(), rel_tol=1e-8, abs_tol=1e-8)

@settings(deadline=None)
@given(small, st.integers(1, 4))
def test_gradients_of_leaves_accumulate_and_inner_ones_start_from_zero(number, times):
    x, t = Value(number), torch.tensor(number, dtype=torch.float64, requires_grad=True)
    y, u = (x*x).tanh()*x, (t*t).tanh()*t
    for _ in range(times):
        y.backward()
        u.backward(retain_graph=True)
    assert math.isclose(x.grad, t.grad.item(), rel_tol=1e-9, abs_tol=1e-9)

def test_backward_on_a_leaf_is_one():
    x = Value(3)
    x.backward()
    assert x.grad == 1

def test_a_value_used_twice_gets_the_sum_of_both_amounts():
    x = Value(3)
    (x*x+x+x).backward()
    assert x.grad == 2*3+2

def test_sixty_doublings_are_visited_once_each():
    x = y = Value(1)
    for _ in range(60): y = y+y
    y.backward()
    assert x.grad == 2.**60 and len(topological_order(y)) == 61

def test_a_chain_of_fifty_thousand_additions_needs_no_recursion():
    x = Value(1)
    sum((x for _ in range(50_000)), Value(0)).backward()
    assert x.grad == 50_000

@settings(max_examples=50, deadline=None)
@given(expressions())
def test_parents_come_before_children(expression):
    numbers, steps = expression
    order = topological_order(build([Value(x) for x in numbers], steps))
    place = {node: i for i, node in enumerate(order)}
    assert len(place) == len(order) and all(place[parent] < place[node] for node in order for parent, _ in node.parents)

def test_the_engine_has_fewer_than_a_hundred_lines():
    source = inspect.getsource(tensors)
    engine = source[source.index("def as_value"):source.index("def _measured_gradient")]
    assert len([line for line in engine.splitlines() if line.strip() and not line.startswith("#")]) < 100

def test_numpy_scalars_are_numbers():
    assert (np.float64(2)*Value(3)).data == 6 and (Value(3)*np.float32(2)).data == 6 and (Value(3)-np.int64(1)).data == 2 and (np.float64(1)-Value(3)).data == -2

def test_as_value_keeps_a_value_and_wraps_a_number():
    x = Value(2)
    assert as_value(x) is x and as_value(2).data == 2.

@pytest.mark.parametrize("attempt, says", [
    (lambda: Value("3"), "text"), (lambda: Value(None), "NoneType"), (lambda: Value([1, 2]), "list"), (lambda: Value(torch.tensor(1.)), ".item()"), (lambda: Value(1j), "complex"),
    (lambda: Value(Value(1)), "Value"), (lambda: Value(1)+"3", "str"), (lambda: "3"*Value(1), "str"), (lambda: Value(1)-"3", "str"), (lambda: None-Value(1), "NoneType"),
    (lambda: Value(1)/torch.ones(2), "Tensor"), (lambda: Value(2)**Value(3), "exponent"), (lambda: Value(2)**"3", "str"),
    (lambda: Value(1)/0, "divides by zero"), (lambda: 1/Value(0), "divides by zero"), (lambda: Value(-8)**0.5, "not a real number"), (lambda: Value(0)**0.5, "finite"),
    (lambda: Value(1e200)**2, "finite"), (lambda: Value(0).log(), "positive"), (lambda: Value(-1).log(), "positive"), (lambda: Value(1000).exp(), "too large")])
def test_bad_numbers_get_a_sentence(attempt, says):
    with pytest.raises(CourseError, match=".") as caught: attempt()
    assert says in str(caught.value) and str(caught.value).rstrip().endswith((".", "!"))

def test_zero_to_the_power_zero_is_one_with_slope_zero():
    x = Value(0)
    y = x**0
    y.backward()
    assert y.data == 1 and x.grad == 0

@settings(deadline=None)
@given(st.sampled_from([lambda x: x.sin(), lambda x: x.exp(), lambda x: x**3]), small)
def test_central_difference_is_close_to_the_slope(f, number):
    x = torch.tensor(number, dtype=torch.float64, requires_grad=True)
    f(x).backward()
    assert math.isclose(central_difference(f, x.detach()).item(), x.grad.item(), rel_tol=1e-6, abs_tol=1e-8)

@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=3), st.integers(0, 1000))
def test_gradient_check_accepts_what_autograd_does(shape, seed):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    assert gradient_check(lambda x: (x.tanh()*x).sum(), x) < 1e-6

class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(context, x): return x*3

    @staticmethod
    def backward(context, above):
        gradient = above*3
        gradient.view(-1)[4] += 0.01
        return gradient

def test_gradient_check_names_the_input_and_the_element():
    with pytest.raises(CourseError, match=r"Input 1 at \[1, 1\].*3\.01.*3 \(1 of 6 elements differ\)"): gradient_check(lambda a, b: (a.sum()*Wrong.apply(b)).sum(), torch.ones(1), torch.ones(2, 3))

def test_gradient_check_sees_a_detached_part():
    with pytest.raises(CourseError, match=r"Input 0 at \[0\]: autograd says 2, the central difference 4"): gradient_check(lambda x: (x*x.detach()).sum(), torch.tensor([2.]))

def test_gradient_check_works_on_transposed_inputs_and_on_functions_that_change_them():
    def clip(x, y): return x.mul_(2).add_(y).pow(2).sum()
    assert gradient_check(clip, torch.randn(3, 2).T, torch.randn(2, 1).expand(2, 3)) < 1e-5

def test_gradient_check_follows_gradients_of_gradients():
    def penalty(x):
        slope, = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        return slope.pow(2).sum()
    assert gradient_check(penalty, torch.tensor([0.5, -1.])) < 1e-6

def test_gradient_check_leaves_its_inputs_alone():
    x = torch.ones(2, requires_grad=True)
    gradient_check(lambda x: x.pow(2).sum(), x)
    assert x.grad is None and x.tolist() == [1, 1]

@pytest.mark.parametrize("attempt, says", [
    (lambda: gradient_check(lambda: torch.ones(1)), "nothing to check"), (lambda: gradient_check(lambda x: x*2, torch.ones(3)), "shape [3]"),
    (lambda: gradient_check(lambda x: 3., torch.ones(3)), "float"), (lambda: gradient_check(lambda x: None, torch.ones(3)), "NoneType"),
    (lambda: gradient_check(lambda x: x.sum(), torch.arange(3)), "int64"), (lambda: gradient_check(lambda x: x.sum(), 3), "int64"),
    (lambda: gradient_check(lambda x: x.sum(), torch.ones(2, dtype=torch.bool)), "bool"), (lambda: gradient_check(lambda x: x.sum(), torch.ones(2, dtype=torch.complex64)), "complex64"),
    (lambda: gradient_check(lambda x: x.sum(), "abc"), "str"), (lambda: gradient_check(lambda x: x.sum(), None), "NoneType"), (lambda: gradient_check(lambda x: x.sum(), [[1.], [2., 3.]]), "list"),
    (lambda: gradient_check(lambda x: x.detach().sum(), torch.ones(3)), "lost track"), (lambda: gradient_check(lambda x: nn.functional.dropout(x).sum(), torch.arange(1., 51).sqrt()), "Two calls"),
    (lambda: gradient_check(lambda x: (x-x).log().sum()*0, torch.ones(3)), "NaN"), (lambda: gradient_check(lambda x: nn.Linear(3, 1)(x).sum(), torch.ones(3)), "float64"),
    (lambda: draw_shapes(torch.ones(2)), "takes shapes"), (lambda: draw_shapes(), "takes shapes"), (lambda: draw_graph(topological_order(sum(Value(i) for i in range(40)))), "smaller expression"),
    (lambda: as_value("x"), "one number"), (lambda: shapes(), "by name"), (lambda: shapes(a=3), "a is int")])
def test_bad_input_gets_a_sentence(attempt, says):
    with pytest.raises(CourseError) as caught: attempt()
    assert says in str(caught.value)

def test_a_relu_at_its_kink_is_reported_as_one():
    with pytest.raises(CourseError, match="kink"): gradient_check(lambda x: x.relu().sum(), torch.zeros(1))

sizes = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4)

@settings(deadline=None)
@given(sizes, sizes)
def test_shapes_and_the_answer_to_exercise_2_agree_with_torch(a, b):
    try: together = list(torch.broadcast_shapes(a, b))
    except RuntimeError: together = None
    message = shapes(a=torch.empty(a), b=torch.empty(b))
    assert message.endswith("these clash") if together is None else f"together {together}" in message
    mine = answers.broadcast_shape.solution(tuple(a), tuple(b))
    assert mine == (together if together is None else tuple(together))

def test_shapes_warns_only_when_the_result_is_larger_than_each():
    assert shapes(p=torch.ones(4, 1), t=torch.ones(4)).endswith("larger than each of them")
    assert shapes(p=torch.ones(4, 3), t=torch.ones(3)).endswith("together [4, 3]")
    assert shapes(p=torch.ones(4)) == "p [4]"

def test_pictures_can_be_drawn_without_a_notebook():
    x = Value(2)
    draw_graph(topological_order((x*x+1).log()), {"x": x}, caption="A graph.")
    draw_graph([x])
    for pair in ([[3, 1], [4]], [[3, 4], [3]], [[], [2]], [[0], [1]], [[5]]): draw_shapes(*pair)

EXERCISES = [value for value in vars(answers).values() if isinstance(value, Exercise)]

class Endless:
    def __call__(self, *_):
        while True: pass

def exit_python(*_): raise SystemExit

@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_garbage_gets_a_sentence(exercise):
    for answer in [None, 3, "text", torch.ones(2), lambda *_: "text", lambda *_: torch.full((2, 2), math.nan), lambda *_: math.nan, lambda *_: [], lambda *_: (None, None), lambda *_: object(),
                   lambda *_: 1/0, lambda: None, lambda *a: a[0], lambda *_: Value(1), lambda *_: torch.ones(3, dtype=torch.int64), exit_python, int]:
        verdict = grade(exercise, answer)
        assert verdict.status != "right" and verdict.message

@pytest.mark.alone
def test_an_endless_answer_is_stopped():
    exercise = answers.standardise
    quick = Exercise(**{**vars(exercise), "seconds": 0.2})
    assert "stopped" in grade(quick, Endless()).message

def test_the_engine_of_another_module_counts_too():
    "A reader's own copy of `Value`, as the chapter defines it, must mix with the library's in the exercises"
    copy = {}
    tree = ast.parse(inspect.getsource(tensors))
    tree.body = [node for node in tree.body if not isinstance(node, ast.ImportFrom)]
    copy.update({**vars(tensors), "__name__": "copy"})
    exec(compile(tree, "copy", "exec"), copy)
    Mine = copy["Value"]
    assert Mine is not Value
    def sigmoid(x):
        y = 1/(1+math.exp(-x.data))
        return Mine(y, ((x, y*(1-y)),), "sigmoid")
    assert grade(answers.sigmoid, sigmoid).status == "right"
    assert grade(answers.cross_entropy, lambda scores, target: answers.cross_entropy.solution(scores, target)+Mine(0)).status == "right"

def test_random_state_is_as_before_after_grading():
    random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), torch.rand(1)
    random.seed(1)
    torch.manual_seed(1)
    grade(answers.layer_gradients, answers.layer_gradients.solution)
    assert (random.random(), torch.rand(1)) == expected
