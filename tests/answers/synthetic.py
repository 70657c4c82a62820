"""Further answers to the exercises of chapter 24b."""
import math
import torch
from answers import equivalent, right, wrong

# 24b.1: what is left over

right("synthetic.1", 0.599)
right("synthetic.1", 0.95**10)
right("synthetic.1", torch.tensor(0.95).pow(10))
wrong("synthetic.1", 0.5, says="multiply")
wrong("synthetic.1", 0.95**9, says="ten factors")
wrong("synthetic.1", 1-0.95**10, says="lost")
wrong("synthetic.1", 0.95**5, says="root")
wrong("synthetic.1", 0.92, says="not the answer")
wrong("synthetic.1", 1, says="not the answer")

# 24b.2: the next generation


@right("synthetic.2")
def by_torch(chances):
    N = len(chances)-1
    j = torch.arange(N+1, dtype=torch.float64)
    choose = torch.lgamma(torch.tensor(N+1.).double()) - torch.lgamma(j+1) - torch.lgamma(N-j+1)
    shares = (j/N)[:, None]
    steps = (choose + torch.xlogy(j, shares) + torch.xlogy(N-j, 1-shares)).exp()
    return (chances.double() @ steps).to(chances)


@right("synthetic.2")
def one_draw_after_another(chances):
    "N draws, each of the kind with its share: the chain of a sum"
    N = len(chances)-1
    total = torch.zeros_like(chances)
    for i, chance in enumerate(chances.tolist()):
        count = torch.zeros_like(chances)
        count[0] = 1
        for _ in range(N): count = count*(1-i/N) + torch.cat([torch.zeros(1).to(count), count[:-1]])*(i/N)
        total = total + chance*count
    return total


@right("synthetic.2")
def by_binomials(chances):
    N = len(chances)-1
    total = torch.zeros_like(chances)
    for i, chance in enumerate(chances):
        for j in range(N+1): total[j] += chance*math.comb(N, j)*(i/N)**j*(1-i/N)**(N-j)
    return total


@wrong("synthetic.2", says="Nothing moves")
def as_it_was(chances): return chances*1


@wrong("synthetic.2", says="shape")
def without_none(chances): return by_torch(chances)[1:]


@wrong("synthetic.2", never="from")
def mirrored(chances): return by_torch(chances).flip(0)


@wrong("synthetic.2", never="mean share")
def one_example_less(chances):
    N = len(chances)-1
    rows = [[math.comb(N-1, j)*(i/N)**j*(1-i/N)**(N-1-j) if j < N else 0. for j in range(N+1)] for i in range(N+1)]
    return chances @ torch.tensor(rows).to(chances)


# 24b.3: a rare kind

right("synthetic.3", 0.1326)
right("synthetic.3", 0.98**100)
right("synthetic.3", 0.13)
wrong("synthetic.3", 0.867, says="at least one")
wrong("synthetic.3", 0.364, says="50")
wrong("synthetic.3", 0, says="mean")
wrong("synthetic.3", 2, says="not the answer")

# 24b.4: feed it


@right("synthetic.4")
def with_a_while(real, fit, draw, generations, accumulate):
    parts, models = [real], []
    while len(models) < generations:
        models.append(fit(torch.cat(parts)))
        drawn = draw(models[-1], len(real))
        parts = [*parts, drawn] if accumulate else [drawn]
    return models


@right("synthetic.4")
def by_recursion(real, fit, draw, generations, accumulate, data=None):
    data = real if data is None else data
    model = fit(data)
    if generations == 1: return [model]
    drawn = draw(model, real.shape[0])
    return [model, *by_recursion(real, fit, draw, generations-1, accumulate, torch.cat([data, drawn]) if accumulate else drawn)]


@right("synthetic.4")
def everything_first(real, fit, draw, generations, accumulate):
    kept, models = [real], [fit(real)]
    for _ in range(1, generations):
        kept.append(draw(models[-1], len(real)))
        models.append(fit(torch.cat(kept) if accumulate else kept[-1]))
    return models


@wrong("synthetic.4", says="first model")
def always_the_first(real, fit, draw, generations, accumulate):
    data, models = real, [fit(real)]
    for _ in range(1, generations):
        drawn = draw(models[0], len(real))
        data = torch.cat([data, drawn]) if accumulate else drawn
        models.append(fit(data))
    return models


@wrong("synthetic.4", never="first model")
def half_of_the_drawings(real, fit, draw, generations, accumulate): return with_a_while(real, fit, lambda model, count: draw(model, count//2), generations, accumulate)


@wrong("synthetic.4", says="list")
def as_a_dict(real, fit, draw, generations, accumulate): return dict(enumerate(with_a_while(real, fit, draw, generations, accumulate)))


# Case 106


@right("clinic.106")
def few_first(everything, rows, train, labels):
    few = everything[rows]
    made = train(few)(labels)
    return torch.cat([few.images, made]), torch.cat([few.labels, labels])


@right("clinic.106")
def part_by_part(everything, rows, train, labels):
    part = everything[rows]
    draw = train(part)
    return [torch.cat((everything.images[rows], draw(labels)), dim=0), torch.cat((everything.labels[rows], labels), dim=0)]


@right("clinic.106")
def drawn_one_by_one(everything, rows, train, labels):
    few = everything[rows]
    draw = train(few)
    made = [draw(label[None]) for label in labels]
    return torch.cat([few.images, *made]), torch.cat([few.labels, labels])


@wrong("clinic.106", says="patient")
def trained_on_all(everything, rows, train, labels):
    draw, few = train(everything), everything[rows]
    return torch.cat([few.images, draw(labels)]), torch.cat([few.labels, labels])


@wrong("clinic.106", says="pair")
def images_only(everything, rows, train, labels): return few_first(everything, rows, train, labels)[0]


@wrong("clinic.106", never="patient")
def trained_twice(everything, rows, train, labels):
    train(everything)
    return few_first(everything, rows, train, labels)


equivalent("synthetic.2", "chances are counted, and no gradient is asked of them", "… detached", "`chances` detached", "`chances` detached (2)", "`chances` detached (3)", "`chances` detached (3) in `by_torch`", "`chances` detached (2) in `by_binomials`")
equivalent("synthetic.2", "chances in double precision are the same chances", "…the result in float64, or whole numbers in float32")
equivalent("synthetic.4", "data are data, and no gradient is asked of them", "… detached", "`real` detached (2)", "`real` detached (3)", "`real` detached (3) in `by_recursion`", "`real` detached (3) in `everything_first`")
equivalent("clinic.106", "torch joins along the first axis unless told otherwise", "`torch.cat((everything.labels[rows], labels), dim=0)` → `torch.cat((everything.labels[rows], labels))` in `part_by_part`")
