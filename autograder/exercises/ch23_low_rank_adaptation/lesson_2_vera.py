"""Chapter 23, notebook 2: cases, probe and variants of `VeRALinear` and its projections."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.exercise import Alternative, Exercise
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_vera_mistakes import MISTAKES
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
            "mixed": False,
        }
        return Case(group, data | more, note)

    def mixed(note: str, dtype: torch.dtype) -> Case:
        found = case("output", "output", note, (2, 5), 3, 2)
        found.data.update({name: found.data[name].to(dtype) for name in ("x", "W", "bias", "d", "b")}, mixed=True)
        return found

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
        mixed("the base in bfloat16, A and B in float32", torch.bfloat16),
        mixed("the base in float64, A and B in float32", torch.float64),
    ]


def vera_probe(ns, data):
    """Draw projections, or build a layer around a given base and say how it starts or what it computes."""
    if data["ask"] == "projections":
        before = torch.get_rng_state()
        A, B = ns.shared_projections([tuple(shape) for shape in data["shapes"]], data["r"], seed=data["seed"])
        return {"A": A, "B": B, "the global generator is left alone": torch.equal(before, torch.get_rng_state())}
    W, bias, A, B = data["W"], data["bias"], data["A"], data["B"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    layer = ns.VeRALinear(base, A, B) if data["d_initial"] is None else ns.VeRALinear(base, A, B, data["d_initial"])
    names = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
    shared = layer.A.data_ptr() == A.data_ptr() and layer.B.data_ptr() == B.data_ptr()
    buffers = sorted(name for name, _ in layer.named_buffers())
    if not data["mixed"]:  # else the layer has to bring the dtypes together by itself
        layer = layer.to(W.dtype)
    if data["ask"] == "start":
        start = {
            "trainable": ", ".join(names),
            "saved": ", ".join(sorted(layer.state_dict())),
            "buffers": ", ".join(buffers),
            "A and B are whole": (layer.A.shape, layer.B.shape) == (A.shape, B.shape),
            "memory is shared": shared,
        }
        return start | {"d": layer.d.detach().clone(), "b": layer.b.detach().clone(), "output": layer(data["x"])}
    layer.d.data, layer.b.data = data["d"].clone(), data["b"].clone()
    y = layer(data["x"])
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    gradients = torch.autograd.grad((y * weight).sum(), [layer.d, layer.b])
    found = {"output": y, "delta": layer.delta(), "gradients": list(gradients)}
    if data["mixed"]:
        found = {"output": y.double(), "delta": layer.delta().double(), "gradients": [g.double() for g in gradients]}
        found["the output has the dtype of the base"] = y.dtype == W.dtype
    return found


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
        A, B = self.A[:, :columns].to(self.d.dtype), self.B[:rows].to(self.d.dtype)
        return torch.einsum("o,or,r,ri->oi", self.b, B, self.d, A)

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
        small = self.d * F.linear(x, self.A[:, : x.shape[-1]].to(x.dtype))
        return self.base(x) + self.b * F.linear(small, self.B[: len(self.b)].to(x.dtype))

    def delta(self):
        rows, columns = self.base.weight.shape
        A, B = self.A.to(self.b.dtype), self.B.to(self.b.dtype)
        return torch.diag(self.b) @ B[:rows] @ torch.diag(self.d) @ A[:, :columns]


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
    misconceptions=MISTAKES,
    hints=(
        "Which numbers must be in a checkpoint, and which come back from the seed? Which tensor is as long as the "
        "input, "
        "which as long as r, which as long as the output?",
        "Buffers A and B (persistent=False), parameters d (full of d_initial) and b (zeros). Output: x through the "
        "first "
        "`in` columns of A, times d, through the first `out` rows of B, times b. Slice, and bring to the dtype of d, "
        "in the methods.",
        "A, B = self.A[:, : self.base.in_features], self.B[: self.base.out_features], both .to(self.d.dtype); return "
        "self.base(x) + (x @ A.T * self.d) @ B.T * self.b; delta: self.b[:, None] * (B * self.d) @ A",
    ),
    good_for="adapters of a few kilobytes",
    minutes=20,
    core=True,
)
