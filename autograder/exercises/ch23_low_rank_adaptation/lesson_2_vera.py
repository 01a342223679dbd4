"""Chapter 23, notebook 2: cases, probe and variants of `VeRALinear` and its projections."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def vera_cases(rng: torch.Generator) -> list[Case]:
    """Draw layers that are smaller than the shared matrices, ranks above the layer's sides, and sets of shapes."""

    def case(
        group: str, ask: str, note: str, shape: tuple[int, ...], rows: int, r: int, wide=2, tall=3, **more
    ) -> Case:
        columns = shape[-1]
        data = {
            "ask": ask,
            "x": torch.randn(*shape, generator=rng),
            "W": torch.randn(rows, columns, generator=rng),
            "bias": torch.randn(rows, generator=rng) + 1,
            "A": torch.randn(r, columns + wide, generator=rng),
            "B": torch.randn(rows + tall, r, generator=rng),
            "d": torch.randn(r, generator=rng),
            "b": torch.randn(rows, generator=rng),
            "d_initial": None,
        }
        return Case(group, data | more, note)

    seed = int(torch.randint(1000, (), generator=rng))
    drawn = {"ask": "projections", "shapes": [(3, 8), (6, 4), (6, 4)], "r": 5, "seed": seed}
    return [
        Case("projections", drawn, "three layers of two shapes"),
        Case("projections", drawn | {"shapes": [(2, 3)], "r": 7, "seed": 0}, "one small layer, r = 7"),
        case("start", "start", "before training: what is trained, saved and shared", (2, 5), 3, 4),
        case("start", "start", "d_initial = 0.7", (2, 4), 6, 2, d_initial=0.7),
        case("output", "output", "matrices larger than the layer", (4, 5), 3, 2),
        case("output", "output", "one vector, r above both sides, no bias", (3,), 2, 6, bias=None),
        case("output", "output", "a batch of sequences, as many rows as r", (2, 3, 4), 5, 5, wide=0, tall=0),
    ]


def vera_probe(ns, data):
    """Draw projections, or build a layer around a given base and say how it starts or what it computes."""
    if data["ask"] == "projections":
        A, B = ns.shared_projections([tuple(shape) for shape in data["shapes"]], data["r"], seed=data["seed"])
        return {"A": A, "B": B}
    W, bias, A, B = data["W"], data["bias"], data["A"], data["B"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    layer = ns.VeRALinear(base, A, B) if data["d_initial"] is None else ns.VeRALinear(base, A, B, data["d_initial"])
    names = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
    shared = layer.A.data_ptr() == A.data_ptr() and layer.B.data_ptr() == B.data_ptr()
    buffers = sorted(name for name, _ in layer.named_buffers())
    layer = layer.to(W.dtype)
    if data["ask"] == "start":
        start = {
            "trainable": names,
            "saved": sorted(layer.state_dict()),
            "buffers": buffers,
            "memory is shared": shared,
        }
        return start | {"d": layer.d.detach().clone(), "b": layer.b.detach().clone(), "output": layer(data["x"])}
    layer.d.data, layer.b.data = data["d"].clone(), data["b"].clone()
    y = layer(data["x"])
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    gradients = torch.autograd.grad((y * weight).sum(), [layer.d, layer.b])
    return {"output": y, "delta": layer.delta(), "gradients": list(gradients)}


def shared_projections__init(shapes, r, *, seed):
    g = torch.Generator()
    g.manual_seed(seed)
    A = torch.empty(r, max(shape[1] for shape in shapes))
    B = torch.empty(max(shape[0] for shape in shapes), r)
    nn.init.kaiming_uniform_(A, nonlinearity="relu", generator=g)
    nn.init.kaiming_uniform_(B, nonlinearity="relu", generator=g)
    return A, B


def shared_projections__loop(shapes, r, *, seed):
    g, out = torch.Generator().manual_seed(seed), []
    rows, columns = (max(sizes) for sizes in zip(*shapes))
    for size in ((r, columns), (rows, r)):
        bound = (6 / size[1]) ** 0.5
        out.append(torch.empty(size).uniform_(-bound, bound, generator=g))
    return tuple(out)


class VeRALinear__dense(nn.Module):
    def __init__(self, base, A, B, d_initial=0.1):
        super().__init__()
        self.base = base
        for p in base.parameters():
            p.requires_grad_(False)
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)
        self.d = nn.Parameter(torch.ones(A.shape[0]) * d_initial)
        self.b = nn.Parameter(torch.zeros(base.weight.shape[0]))

    def delta(self):
        rows, columns = self.base.weight.shape
        return torch.einsum("o,or,r,ri->oi", self.b, self.B[:rows], self.d, self.A[:, :columns])

    def forward(self, x):
        return self.base(x) + x @ self.delta().T


class VeRALinear__by_linear(nn.Module):
    def __init__(self, base, A, B, d_initial=0.1):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)
        self.d = nn.Parameter(torch.full((B.shape[1],), float(d_initial)))
        self.b = nn.Parameter(torch.full((base.out_features,), 0.0))

    def forward(self, x):
        small = self.d * F.linear(x, self.A[:, : x.shape[-1]])
        return self.base(x) + self.b * F.linear(small, self.B[: len(self.b)])

    def delta(self):
        rows, columns = self.base.weight.shape
        return torch.diag(self.b) @ self.B[:rows] @ torch.diag(self.d) @ self.A[:, :columns]


class Mistaken(nn.Module):
    mistake = ""

    def __init__(self, base, A, B, d_initial=0.1):
        super().__init__()
        self.base = base
        if self.mistake != "base trains":
            base.requires_grad_(False)
        if self.mistake == "copies":
            A, B = A[:, : base.in_features].clone(), B[: base.out_features].clone()
        if self.mistake == "projections train":
            self.A, self.B = nn.Parameter(A), nn.Parameter(B)
        else:
            self.register_buffer("A", A, persistent=self.mistake == "saves all")
            self.register_buffer("B", B, persistent=self.mistake == "saves all")
        self.d = nn.Parameter(torch.full((len(A),), 1.0 if self.mistake == "starts at one" else d_initial))
        self.b = nn.Parameter(torch.zeros(base.out_features))

    def parts(self):
        A, B = self.A[:, : self.base.in_features], self.B[: self.base.out_features]
        if self.mistake == "last rows":
            A, B = self.A[:, -self.base.in_features :], self.B[-self.base.out_features :]
        return A, B

    def delta(self):
        A, B = self.parts()
        if self.mistake == "no b in delta":
            return (B * self.d) @ A
        return self.b[:, None] * (B * self.d) @ A

    def forward(self, x):
        A, B = self.parts()
        branch = (x @ A.T * self.d) @ B.T * self.b
        if self.mistake == "divides by r":
            branch = branch / len(self.d)
        if self.mistake == "bias too":
            return (self.base(x) if self.base.bias is None else self.base(x) + self.base.bias * self.b) + branch
        return self.base(x) + branch


class VeRALinear__base_trains(Mistaken):
    mistake = "base trains"


class VeRALinear__copies(Mistaken):
    mistake = "copies"


class VeRALinear__projections_train(Mistaken):
    mistake = "projections train"


class VeRALinear__saves_all(Mistaken):
    mistake = "saves all"


class VeRALinear__starts_at_one(Mistaken):
    mistake = "starts at one"


class VeRALinear__last_rows(Mistaken):
    mistake = "last rows"


class VeRALinear__no_b_in_delta(Mistaken):
    mistake = "no b in delta"


class VeRALinear__divides_by_r(Mistaken):
    mistake = "divides by r"


def projections_with_mistake(mistake, shapes, r, *, seed):
    g = torch.Generator().manual_seed(seed)
    rows, columns = max(o for o, _ in shapes), max(i for _, i in shapes)
    if mistake == "first shape":
        rows, columns = shapes[0]
    bounds = [math.sqrt(6 / columns), math.sqrt(6 / r)]
    if mistake == "bound of linear":
        bounds = [math.sqrt(1 / columns), math.sqrt(1 / r)]
    if mistake == "same bound":
        bounds = [bounds[0], bounds[0]]
    A, B = torch.empty(r, columns), torch.empty(rows, r)
    for matrix, bound in [(B, bounds[1]), (A, bounds[0])] if mistake == "b first" else [(A, bounds[0]), (B, bounds[1])]:
        matrix.uniform_(-bound, bound, generator=g)
        if mistake == "seeds twice":
            g.manual_seed(seed)
    return A, B


def shared_projections__first_shape(shapes, r, *, seed):
    return projections_with_mistake("first shape", shapes, r, seed=seed)


def shared_projections__bound_of_linear(shapes, r, *, seed):
    return projections_with_mistake("bound of linear", shapes, r, seed=seed)


def shared_projections__same_bound(shapes, r, *, seed):
    return projections_with_mistake("same bound", shapes, r, seed=seed)


def shared_projections__b_first(shapes, r, *, seed):
    return projections_with_mistake("b first", shapes, r, seed=seed)


def shared_projections__seeds_twice(shapes, r, *, seed):
    return projections_with_mistake("seeds twice", shapes, r, seed=seed)


def mistaken(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function or class."""
    helper = Mistaken if isinstance(variant, type) else projections_with_mistake
    return Misconception(name=variant.__name__.split("__")[1], code=(helper, variant), hint=hint, source_of=source_of)


VERA = Exercise(
    name="VeRALinear",
    defines=("shared_projections", "VeRALinear"),
    methods=("ch23/vera",),
    groups={"projections": 1, "start": 1, "output": 2},
    cases=vera_cases,
    probe=vera_probe,
    alternatives=(
        Alternative(name="dense", code=(shared_projections__init, VeRALinear__dense)),
        Alternative(name="by_linear", code=(shared_projections__loop, VeRALinear__by_linear)),
    ),
    misconceptions=(
        mistaken(
            VeRALinear__base_trains,
            "The weights of `base` are still trainable. Freeze them.",
            "student mistake: freezing forgotten where nothing of the base is used as a parameter",
        ),
        mistaken(
            VeRALinear__copies,
            "Your layer keeps its own copy of A and B. Register the matrices as they are and slice when you use "
            "them, so "
            "that all layers share one memory.",
            "card: hidden case same storage (data_ptr) in all layers",
        ),
        mistaken(
            VeRALinear__projections_train,
            "Your A and B are parameters, so they would be trained. Fixed tensors are buffers.",
            "card trap: A and B are frozen, only d and b learn",
        ),
        mistaken(
            VeRALinear__saves_all,
            "A and B are in the state_dict. With persistent=False they are not: the seed brings them back.",
            "library difference: register_buffer saves unless told otherwise",
        ),
        mistaken(
            VeRALinear__starts_at_one,
            "d starts at 1. It starts at `d_initial`, 0.1 by default.",
            "library difference: peft creates d by torch.randn and b by torch.ones before it resets them",
        ),
        mistaken(
            VeRALinear__last_rows,
            "You take the last columns of A and rows of B. This layer uses the first ones.",
            "student mistake: a negative slice",
        ),
        mistaken(
            VeRALinear__no_b_in_delta,
            "Your delta lacks the factor b of its row: diag(b) B diag(d) A.",
            "student mistake: one of the two vectors forgotten in the merge",
        ),
        mistaken(
            VeRALinear__divides_by_r,
            "You divide the branch by r. VeRA has no alpha / r: its vectors set the scale.",
            "library difference: LoRA's scaling carried over",
        ),
        mistaken(
            shared_projections__first_shape,
            "Your matrices fit the first layer. They must be as large as the largest: max over all `in`, max over all "
            "`out`, which may come from different layers.",
            "card trap: layers of different shapes slice one pair",
        ),
        mistaken(
            shared_projections__bound_of_linear,
            "Your bound is that of nn.Linear, sqrt(1 / columns). Kaiming's for a ReLU is sqrt(6 / columns).",
            "library difference: nn.Linear initializes with a = sqrt(5)",
        ),
        mistaken(
            shared_projections__same_bound,
            "B has r columns, so its bound is sqrt(6 / r), another one than that of A.",
            "student mistake: one bound for both",
        ),
        mistaken(
            shared_projections__b_first,
            "You draw B before A. The order matters: the same generator fills A first.",
            "card: peft draws A first, then B",
        ),
        mistaken(
            shared_projections__seeds_twice,
            "You reset the generator before the second matrix, so that B begins with the numbers of A.",
            "student mistake: a new generator for each matrix",
        ),
    ),
    hints=(
        "Which numbers must be in a checkpoint, and which come back from the seed? Which tensor is as long as the "
        "input, "
        "which as long as r, which as long as the output?",
        "Buffers A and B (persistent=False), parameters d (full of d_initial) and b (zeros). Output: x through the "
        "first "
        "`in` columns of A, times d, through the first `out` rows of B, times b. Slice in the methods.",
        "A, B = self.A[:, : self.base.in_features], self.B[: self.base.out_features]; return self.base(x) + (x @ A.T * "
        "self.d) @ B.T * self.b; delta: self.b[:, None] * (B * self.d) @ A",
    ),
    good_for="adapters of a few kilobytes",
    minutes=20,
    core=True,
)
