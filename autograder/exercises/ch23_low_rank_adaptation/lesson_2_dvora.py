"""Chapter 23, notebook 2: the optional `DVoRALinear`."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Alternative, Exercise, case, slip
from autograder.exercises.ch23_low_rank_adaptation.common import cast, layer_data, linear, slopes
from dlcv_lab.checking import probing


def dvora_cases(d):
    def layer(group, note, rows, columns, r, **more):
        data = layer_data(d, (2, columns), rows, r, wide=2, tall=3)
        vectors = {"d": d.normal(r), "b": d.normal(rows), "m": d.uniform(rows, low=1, high=2)}
        return case(group, note, **data | vectors | more)

    zero = layer("edge", "a row of zeros in the weight", 4, 3, 2)
    zero.data["W"][1], zero.data["b"][1] = 0, 0
    half = layer("edge", "a row of zeros in half precision, A and B in float32", 4, 3, 2)
    for name in ("W", "b", "m"):
        half.data[name][2] = 0  # m as it starts: the length of the row
    return [
        zero,
        cast(half, ("x", "W", "bias", "d", "b", "m"), torch.float16),
        layer("plain", "matrices larger than the layer", 3, 5, 2),
        layer("edge", "no bias, r above both sides", 2, 3, 6, bias=None),
    ]


def dvora_probe(ns, data):
    """Return output and gradients of a layer with given parameters, all in float64, and the output's own dtype."""
    layer = ns.DVoRALinear(linear(data["W"], data["bias"]), data["A"], data["B"])
    for name in ("d", "b", "m"):
        getattr(layer, name).data = data[name].clone()
    y = probing.call(layer, data["x"])
    gradients = {name: g.double() for name, g in slopes(y, d=layer.d, b=layer.b, m=layer.m).items()}
    own = y.dtype == data["W"].dtype
    return {"output": y.double(), "gradients": gradients, "the output has the dtype of the base": own}


class VectorLayer(nn.Module):
    """The given constructor of DVoRALinear."""

    def __init__(self, base, A, B, d_initial=0.1):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)
        self.d = nn.Parameter(torch.full((len(A),), d_initial))
        self.b = nn.Parameter(torch.zeros(base.out_features))
        self.m = nn.Parameter(base.weight.norm(dim=1))


class DVoRALinear__einsum(VectorLayer):
    def forward(self, x):
        rows, columns = self.base.weight.shape
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        b, d = self.b.to(exact), self.d.to(exact)
        update = torch.einsum("o,or,r,ri->oi", b, self.B[:rows].to(exact), d, self.A[:, :columns].to(exact))
        V = self.base.weight + update
        W = self.m.unsqueeze(1) * V / V.detach().norm(dim=1, keepdim=True).clamp_min(1e-12)
        y = x @ W.to(x.dtype).T
        return y if self.base.bias is None else y + self.base.bias


class DVoRALinear__branches(VectorLayer):
    def forward(self, x):
        rows, columns = self.base.weight.shape
        A, B = self.A[:, :columns].to(x.dtype), self.B[:rows].to(x.dtype)
        b, d = self.b.to(x.dtype), self.d.to(x.dtype)
        with torch.no_grad():
            V = self.base.weight + torch.diag(b) @ B @ torch.diag(d) @ A
            norm = (V.float() if V.dtype == torch.half else V).norm(dim=1).clamp(min=1e-12)
        y = F.linear(x, self.base.weight) + b * F.linear(d * F.linear(x, A), B)
        y = (self.m / norm * y).to(x.dtype)
        return y if self.base.bias is None else y + self.base.bias


MISTAKES = (
    slip("one_dtype", {".to(W.dtype)": ""},
         "Your layer breaks if A and B have another dtype than the base. Bring the parts that you use to the "
         "dtype that you compute in.", "library difference: peft brings them together in the forward pass"),
    slip("half_floor", {"torch.promote_types(W.dtype, torch.float32)": "W.dtype"},
         "In float16, 1e-12 is 0, and a row of zeros gives 0 / 0 = NaN in spite of your floor. Compute the "
         "weight in float32 where the base has a shorter type, and round at the end.",
         "student mistake: the floor in the dtype of the weight"),
    slip("divides_by_r", {"self.d.to(exact)": "self.d.to(exact) / len(self.d)"},
         "You divide the update by r. VeRA has no alpha / r.", "library difference: LoRA's scaling carried over"),
    slip("b_missing",
         {"self.b.to(exact)[:, None] * ": ""},
         "`b` is not used. It scales the rows of B, one number per output.",
         "student mistake: one of two vectors forgotten"),
    slip("vectors_missing", {"self.b.to(exact)[:, None] * (B * self.d.to(exact)) @ A": "B @ A"},
         "Your update is B A without d and b: nothing of it can learn.",
         "card trap: the slide writes A d B b, in the order for row vectors"),
    slip("old_norm", {"V.norm(dim=1)": "W.norm(dim=1)"},
         "You divide by the norm of W0. Divide by that of V, so that the rows get length m.",
         "student mistake: the norm from the constructor"),
    slip("never_detached", {".detach()": ""},
         "Your outputs are right, but the gradient goes through the norm: .detach() it.",
         "paper: section 4.3 of Liu et al. treats the norm as a constant"),
    slip("no_magnitude", {"(self.m / norm)[:, None] * V": "V"},
         "The magnitude m is not used: without m / norm this is plain VeRA.",
         "student mistake: the last step of the decomposition forgotten"),
    slip("no_floor", {".clamp(min=1e-12)": ""},
         "A row of zeros gives 0 / 0. Keep the norm at 1e-12 or more: .clamp(min=1e-12).",
         "student mistake: the floor of DoRALinear not carried over"),
    slip("no_bias", {".to(W.dtype), self.base.bias": ".to(W.dtype)"},
         "The bias of the base layer is missing in the output.", "student mistake: x @ W.T alone"),
)  # fmt: skip

DVORA = Exercise(
    name="DVoRALinear",
    methods=("ch23/dora",),
    groups={"plain": 1, "edge": 1},
    cases=dvora_cases,
    probe=dvora_probe,
    alternatives=(
        Alternative(name="einsum", code=(VectorLayer, DVoRALinear__einsum)),
        Alternative(name="branches", code=(VectorLayer, DVoRALinear__branches)),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Which line of DoRALinear.weight changes, and which stay?",
        "V = base.weight + diag(b) B diag(d) A with the first rows and columns of the shared matrices; then as in "
        "DoRA.",
        "All brought to float32 or longer: V = W + b[:, None] * (B * d) @ A; norm = "
        "V.norm(dim=1).clamp(min=1e-12).detach(); return F.linear(x, ((self.m / norm)[:, None] * V).to(W.dtype), "
        "self.base.bias)",
    ),
    good_for="combining two ideas in three lines",
    minutes=10,
    difficulty="easy",
)
