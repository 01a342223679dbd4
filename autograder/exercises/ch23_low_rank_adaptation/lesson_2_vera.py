"""Chapter 23, notebook 2: `VeRALinear` with its projections."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Alternative, Exercise, case, shipped, slip
from autograder.exercises.ch23_low_rank_adaptation.common import cast, layer_data, linear, slopes, trainable
from dlcv_lab.checking import probing


def vera_cases(d):
    """Draw layers that are smaller than the shared matrices, ranks above the layer's sides, and sets of shapes."""

    def layer(group, note, shape, rows, r, wide=2, tall=3, **more):
        data = layer_data(d, shape, rows, r, wide=wide, tall=tall) | {"d": d.normal(r), "b": d.normal(rows)}
        return case(group, note, **data | more)

    def mixed(note, dtype):
        return cast(layer("output", note, (2, 5), 3, 2), ("x", "W", "bias", "d", "b"), dtype)

    three = [(3, 8), (6, 4), (6, 4)]
    return [
        case("projections", "three layers of two shapes", shapes=three, r=5, seed=d.whole(0, 999)),
        case("projections", "one small layer, r = 7", shapes=[(2, 3)], r=7, seed=0),
        layer("start", "before training: what is trained, saved and shared", (2, 5), 3, 4),
        layer("start", "d_initial = 0.7", (2, 4), 6, 2, d_initial=0.7),
        layer("output", "matrices larger than the layer", (4, 5), 3, 2),
        layer("output", "one vector, r above both sides, no bias", (3,), 2, 6, bias=None),
        layer("output", "a batch of sequences, as many rows as r", (2, 3, 4), 5, 5, wide=0, tall=0),
        mixed("the base in bfloat16, A and B in float32", torch.bfloat16),
        mixed("the base in float64, A and B in float32", torch.float64),
    ]


def projections_probe(ns, data):
    """Draw the projections, and see whether others would now draw something else."""
    before = torch.get_rng_state()
    A, B = probing.call(ns.shared_projections, data["shapes"], data["r"], seed=data["seed"])
    return {"A": A, "B": B, "the global generator is left alone": torch.equal(before, torch.get_rng_state())}


@shipped
def around(ns, data):
    """Return the student's layer around the given base."""
    start = [data["d_initial"]] if "d_initial" in data else []
    return ns.VeRALinear(linear(data["W"], data["bias"]), data["A"], data["B"], *start)


def start_probe(ns, data):
    """Say how the layer starts."""
    layer, A, B = around(ns, data), data["A"], data["B"]
    start = {
        "trainable": trainable(layer),
        "saved": ", ".join(sorted(layer.state_dict())),
        "buffers": ", ".join(sorted(name for name, _ in layer.named_buffers())),
        "A and B are whole": (layer.A.shape, layer.B.shape) == (A.shape, B.shape),
        "memory is shared": layer.A.data_ptr() == A.data_ptr() and layer.B.data_ptr() == B.data_ptr(),
    }
    layer = layer.to(data["W"].dtype)
    y = probing.call(layer, data["x"])
    return start | {"d": layer.d.detach().clone(), "b": layer.b.detach().clone(), "output": y}


def output_probe(ns, data):
    """Return output, update and gradients of a layer with given vectors, all in float64, and the output's own dtype."""
    layer = around(ns, data)
    layer.d.data, layer.b.data = data["d"].clone(), data["b"].clone()
    y = probing.call(layer, data["x"])
    found = {"output": y.double(), "delta": probing.call(layer.delta).double()}
    found["gradients"] = {name: g.double() for name, g in slopes(y, d=layer.d, b=layer.b).items()}
    return found | {"the output has the dtype of the base": y.dtype == data["W"].dtype}


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


def in_both(old, new):
    """A piece that stands in `forward` and in `delta`."""
    return {("forward", old): new, ("delta", old): new}


A_KEPT, B_KEPT = '"A", A,', '"B", B,'
LAST_A = in_both("self.A[:, : self.base.in_features]", "self.A[:, -self.base.in_features :]")
LAST_B = in_both("self.B[: self.base.out_features]", "self.B[-self.base.out_features :]")
DRAW_A = "A = torch.empty(r, width).uniform_(-bound_a, bound_a, generator=g)"
DRAW_B = "B = torch.empty(height, r).uniform_(-bound_b, bound_b, generator=g)"
MISTAKES = (
    slip("one_dtype",
         in_both("self.base.in_features].to(self.d.dtype)", "self.base.in_features]")
         | in_both("self.base.out_features].to(self.d.dtype)", "self.base.out_features]"),
         "Your layer breaks if A and B have another dtype than the base, as they have in a model in bfloat16. Bring "
         "the parts that you use to the dtype of d: .to(self.d.dtype).",
         "library difference: peft brings them together in the forward pass"),
    slip("base_trains", {"base.requires_grad_(False)": ""},
         "The weights of `base` are still trainable. Freeze them.",
         "student mistake: freezing forgotten where nothing of the base is used as a parameter"),
    slip("copies", {A_KEPT: '"A", A[:, : base.in_features].clone(),', B_KEPT: '"B", B[: base.out_features].clone(),'},
         "Your layer keeps its own copy of A and B. Register the matrices as they are and slice when you use "
         "them, so that all layers share one memory.", "card: hidden case same storage (data_ptr) in all layers"),
    slip("projections_train",
         {'self.register_buffer("A", A, persistent=False)': "self.A = nn.Parameter(A)",
          'self.register_buffer("B", B, persistent=False)': "self.B = nn.Parameter(B)"},
         "Your A and B are parameters, so they would be trained. Fixed tensors are buffers.",
         "card trap: A and B are frozen, only d and b learn"),
    slip("saves_all", {"A, persistent=False": "A", "B, persistent=False": "B"},
         "A and B are in the state_dict. With persistent=False they are not: the seed brings them back.",
         "library difference: register_buffer saves unless told otherwise"),
    slip("starts_at_one", {"d_initial, dtype": "1.0, dtype"},
         "d starts at 1. It starts at `d_initial`, 0.1 by default.",
         "library difference: peft creates d by torch.randn and b by torch.ones before it resets them"),
    slip("last_rows", LAST_A | LAST_B,
         "You take the last columns of A and rows of B. This layer uses the first ones.",
         "student mistake: a negative slice"),
    slip("last_columns_of_a", LAST_A,
         "You take the last columns of A. This layer uses the first ones.",
         "student mistake: a negative slice"),
    slip("last_rows_of_b", LAST_B,
         "You take the last rows of B. This layer uses the first ones.",
         "student mistake: a negative slice"),
    slip("sliced", {A_KEPT: '"A", A[:, : base.in_features],', B_KEPT: '"B", B[: base.out_features],'},
         "Your buffers hold the part that this layer needs. Register A and B whole, and slice in the methods.",
         "student mistake: the slice taken once, in the constructor"),
    slip("whole_copies", {A_KEPT: '"A", A.clone(),', B_KEPT: '"B", B.clone(),'},
         "Your layer keeps its own copy of A and B. Register the matrices as they are, so that all layers "
         "share one memory.", "card: hidden case same storage (data_ptr) in all layers"),
    slip("ignores_d_initial", {"d_initial, dtype": "0.1, dtype"},
         "d starts at 0.1 whatever `d_initial` is.", "student mistake: the default written into the code"),
    slip("b_and_d_exchanged",
         {"d_initial, dtype": "0.0, dtype",
          "torch.zeros(base.out_features, dtype": "torch.full((base.out_features,), d_initial, dtype"},
         "The starts of b and d are exchanged: d starts at d_initial, b at zero.",
         "student mistake: two vectors with short names"),
    slip("no_b_in_delta", {"self.b[:, None] * ": ""},
         "Your delta lacks the factor b of its row: diag(b) B diag(d) A.",
         "student mistake: one of the two vectors forgotten in the merge"),
    slip("divides_by_r", {"@ B.T * self.b": "@ B.T * self.b / len(self.d)"},
         "You divide the branch by r. VeRA has no alpha / r: its vectors set the scale.",
         "library difference: LoRA's scaling carried over"),
    slip("first_shape",
         {"max(columns for _, columns in shapes), max(rows for rows, _ in shapes)": "shapes[0][1], shapes[0][0]"},
         "Your matrices fit the first layer. They must be as large as the largest: max over all `in`, max over "
         "all `out`, which may come from different layers.", "card trap: layers of different shapes slice one pair"),
    slip("sides_exchanged",
         {"max(columns for _, columns in shapes), max(rows for rows, _ in shapes)":
          "max(rows for rows, _ in shapes), max(columns for _, columns in shapes)"},
         "You exchange the sides: a shape is (out, in), A is as wide as the largest in, B as high as the "
         "largest out.",
         "student mistake: (in, out) expected"),
    slip("b_at_one",
         {"torch.zeros(base.out_features": "torch.ones(base.out_features"},
         "`b` starts at one, so that the layer differs from its base before any training. It starts at zero.",
         "student mistake: a scale begins at one"),
    slip("b_added",
         {"@ B.T * self.b": "@ B.T + self.b"},
         "You add `b`. It scales the outputs of the branch: multiply.",
         "student mistake: b taken for a bias"),
    slip("bound_of_linear", {"6 / width": "1 / width", "6 / r": "1 / r"},
         "Your bound is that of nn.Linear, sqrt(1 / columns). Kaiming's for a ReLU is sqrt(6 / columns).",
         "library difference: nn.Linear initializes with a = sqrt(5)"),
    slip("same_bound", {"6 / r": "6 / width"},
         "B has r columns, so its bound is sqrt(6 / r), another one than that of A.",
         "student mistake: one bound for both"),
    slip("bound_of_rows", {"6 / width": "6 / r", "6 / r": "6 / height"},
         "Your bounds come from the rows. They come from the COLUMNS of each matrix: that many numbers are summed.",
         "student mistake: fan-out for fan-in"),
    slip("global_seed", {"torch.Generator().manual_seed(seed)": "torch.manual_seed(seed)"},
         "You seed the generator of the whole program. Make your own, torch.Generator().manual_seed(seed), and "
         "hand it to uniform_: a layer must not change what others draw.", "student mistake: torch.manual_seed(seed)"),
    slip("b_first", {DRAW_A: DRAW_B, DRAW_B: DRAW_A},
         "You draw B before A. The order matters: the same generator fills A first.",
         "card: peft draws A first, then B"),
    slip("seeds_twice", {DRAW_B: "g.manual_seed(seed)\n" + DRAW_B},
         "You reset the generator before the second matrix, so that B begins with the numbers of A.",
         "student mistake: a new generator for each matrix"),
)  # fmt: skip

VERA = Exercise(
    name="VeRALinear",
    defines=("shared_projections", "VeRALinear"),
    methods=("ch23/vera",),
    groups={"projections": 1, "start": 1, "output": 2},
    cases=vera_cases,
    probe={"projections": projections_probe, "start": start_probe, "output": output_probe},
    alternatives=(
        Alternative(name="dense", code=(shared_projections__init, VeRALinear__dense)),
        Alternative(name="by_linear", code=(shared_projections__loop, VeRALinear__by_linear)),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Which numbers must be in a checkpoint, and which come back from the seed? Which tensor is as long as the "
        "input, which as long as r, which as long as the output?",
        "Buffers A and B (persistent=False), parameters d (full of d_initial) and b (zeros). Output: x through the "
        "first `in` columns of A, times d, through the first `out` rows of B, times b. Slice, and bring to the dtype "
        "of d, in the methods.",
        "A, B = self.A[:, : self.base.in_features], self.B[: self.base.out_features], both .to(self.d.dtype); return "
        "self.base(x) + (x @ A.T * self.d) @ B.T * self.b; delta: self.b[:, None] * (B * self.d) @ A",
    ),
    good_for="adapters of a few kilobytes",
    minutes=20,
    core=True,
)
