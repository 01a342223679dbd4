"""Chapter 23, notebook 2: cases, probe and variants of the optional `DVoRALinear`."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def dvora_cases(rng: torch.Generator) -> list[Case]:
    def case(group: str, note: str, rows: int, columns: int, r: int, **more) -> Case:
        data = {
            "x": torch.randn(2, columns, generator=rng),
            "W": torch.randn(rows, columns, generator=rng),
            "bias": torch.randn(rows, generator=rng) + 1,
            "A": torch.randn(r, columns + 2, generator=rng),
            "B": torch.randn(rows + 3, r, generator=rng),
            "d": torch.randn(r, generator=rng),
            "b": torch.randn(rows, generator=rng),
            "m": 1 + torch.rand(rows, generator=rng),
            "mixed": False,
        }
        return Case(group, data | more, note)

    zero = case("edge", "a row of zeros in the weight", 4, 3, 2)
    zero.data["W"][1], zero.data["b"][1] = 0, 0
    half = case("edge", "a row of zeros in half precision, A and B in float32", 4, 3, 2)
    half.data["W"][2], half.data["b"][2], half.data["m"][2] = 0, 0, 0  # m as it starts: the length of the row
    half.data.update({name: half.data[name].half() for name in ("x", "W", "bias", "d", "b", "m")}, mixed=True)
    return [
        zero,
        half,
        case("plain", "matrices larger than the layer", 3, 5, 2),
        case("edge", "no bias, r above both sides", 2, 3, 6, bias=None),
    ]


def dvora_probe(ns, data):
    """Return output and gradients of a layer with given parameters."""
    W, bias = data["W"], data["bias"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    layer = ns.DVoRALinear(base, data["A"], data["B"])
    if not data["mixed"]:  # else the layer has to bring the dtypes together by itself
        layer = layer.to(W.dtype)
    for name in ("d", "b", "m"):
        getattr(layer, name).data = data[name].clone()
    y = layer(data["x"])
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    gradients = list(torch.autograd.grad((y * weight).sum(), [layer.d, layer.b, layer.m]))
    if not data["mixed"]:
        return {"output": y, "gradients": gradients}
    found = {"output": y.double(), "gradients": [g.double() for g in gradients]}
    return found | {"the output has the dtype of the base": y.dtype == W.dtype}


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


class MistakenVector(VectorLayer):
    mistake = ""

    def forward(self, x):
        rows, columns = self.base.weight.shape
        A, B, exact = self.A[:, :columns], self.B[:rows], x.dtype
        if self.mistake != "half floor":
            exact = torch.promote_types(exact, torch.float32)
        if self.mistake == "one dtype":
            update = self.b[:, None] * (B * self.d) @ A
            exact = update.dtype
        A, B, b, d = (part.to(exact) for part in (A, B, self.b, self.d))
        update = b[:, None] * (B * d) @ A
        if self.mistake == "divides by r":
            update = update / len(self.d)
        if self.mistake == "vectors missing":
            update = B @ A + 0 * update
        V = self.base.weight + update
        norm = (self.base.weight if self.mistake == "old norm" else V).norm(dim=1)
        if self.mistake != "no floor":
            norm = norm.clamp(min=1e-12)
        if self.mistake != "never detached":
            norm = norm.detach()
        scale = torch.ones_like(self.m) + 0 * self.m if self.mistake == "no magnitude" else self.m / norm
        W = scale[:, None] * V
        W = W if self.mistake == "one dtype" else W.to(x.dtype)
        return F.linear(x, W, None if self.mistake == "no bias" else self.base.bias)


class DVoRALinear__one_dtype(MistakenVector):
    mistake = "one dtype"


class DVoRALinear__half_floor(MistakenVector):
    mistake = "half floor"


class DVoRALinear__divides_by_r(MistakenVector):
    mistake = "divides by r"


class DVoRALinear__vectors_missing(MistakenVector):
    mistake = "vectors missing"


class DVoRALinear__old_norm(MistakenVector):
    mistake = "old norm"


class DVoRALinear__never_detached(MistakenVector):
    mistake = "never detached"


class DVoRALinear__no_magnitude(MistakenVector):
    mistake = "no magnitude"


class DVoRALinear__no_floor(MistakenVector):
    mistake = "no floor"


class DVoRALinear__no_bias(MistakenVector):
    mistake = "no bias"


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
    misconceptions=(
        mistaken(
            DVoRALinear__one_dtype,
            "Your layer breaks if A and B have another dtype than the base. Bring the parts that you use to the dtype "
            "that you compute in.",
            "library difference: peft brings them together in the forward pass",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__half_floor,
            "In float16, 1e-12 is 0, and a row of zeros gives 0 / 0 = NaN in spite of your floor. Compute the weight "
            "in float32 where the base has a shorter type, and round at the end.",
            "student mistake: the floor in the dtype of the weight",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__divides_by_r,
            "You divide the update by r. VeRA has no alpha / r.",
            "library difference: LoRA's scaling carried over",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__vectors_missing,
            "Your update is B A without d and b: nothing of it can learn.",
            "card trap: the slide writes A d B b, in the order for row vectors",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__old_norm,
            "You divide by the norm of W0. Divide by that of V, so that the rows get length m.",
            "student mistake: the norm from the constructor",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__never_detached,
            "Your outputs are right, but the gradient goes through the norm: .detach() it.",
            "paper: section 4.3 of Liu et al. treats the norm as a constant",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__no_magnitude,
            "The magnitude m is not used: without m / norm this is plain VeRA.",
            "student mistake: the last step of the decomposition forgotten",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__no_floor,
            "A row of zeros gives 0 / 0. Keep the norm at 1e-12 or more: .clamp(min=1e-12).",
            "student mistake: the floor of DoRALinear not carried over",
            VectorLayer,
            MistakenVector,
        ),
        mistaken(
            DVoRALinear__no_bias,
            "The bias of the base layer is missing in the output.",
            "student mistake: x @ W.T alone",
            VectorLayer,
            MistakenVector,
        ),
    ),
    hints=(
        "Which line of DoRALinear.weight changes, and which stay?",
        "V = base.weight + diag(b) B diag(d) A with the first rows and columns of the shared matrices; then as in "
        "DoRA.",
        "All brought to float32 or longer: V = W + b[:, None] * (B * d) @ A; norm = V.norm(dim=1).clamp(min=1e-12)"
        ".detach(); return F.linear(x, ((self.m / norm)[:, None] * V).to(W.dtype), self.base.bias)",
    ),
    good_for="combining two ideas in three lines",
    minutes=10,
    difficulty="easy",
)
