"""Chapter 23, notebook 2: `DoRALinear`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Alternative, Exercise, case, mistaken, shipped, slip
from autograder.exercises.ch23_low_rank_adaptation.common import cast, layer_data, linear, slopes
from dlcv_lab.checking import probing


def dora_cases(d):
    """Draw layers that are not square, with and without a constant norm, and with rows of zeros and of tiny numbers."""

    def layer(group, note, shape, rows, r, **more):
        m = d.uniform(rows, low=1, high=2)
        return case(group, note, **layer_data(d, shape, rows, r) | {"m": m, "alpha": 6.0, "options": {}} | more)

    zero = layer("output", "a row of zeros in the weight", (2, 4), 3, 2)
    tiny = layer("output", "a row of tiny numbers in the weight", (2, 4), 3, 2)
    half = layer("output", "a row of zeros in half precision", (2, 4), 3, 2)
    for one, row, size in ((zero, 1, 0), (tiny, 1, 2e-6), (half, 2, 0)):
        one.data["W"][row], one.data["B"][row] = one.data["W"][row].sign() * size, 0
    return [
        layer("output", "a batch, r = 2, alpha = 6", (4, 5), 3, 2),
        layer("output", "a batch of sequences, no bias", (2, 3, 4), 5, 1, bias=None),
        zero,
        tiny,
        cast(half, ("x", "W", "bias", "A", "B", "m"), torch.float16),
        layer("gradient", "the norm is a constant (default)", (3, 5), 4, 2),
        layer("gradient", "the norm is differentiated", (3, 5), 4, 2, options={"detach_norm": False}),
        layer("merge", "a plain layer that computes the same", (3, 4), 5, 2),
        layer("merge", "merged without a bias", (3, 4), 2, 2, bias=None),
    ]


@shipped
def around(ns, data):
    """Return the student's layer with given parameters, and whether m started at the lengths of the rows."""
    W = data["W"]
    layer = ns.DoRALinear(linear(W, data["bias"]), len(data["A"]), data["alpha"], **data["options"]).to(W.dtype)
    lengths = bool(((layer.m - W.norm(dim=1)).abs() < (1e-2 if W.dtype == torch.half else 1e-4)).all())
    for name in ("A", "B", "m"):
        getattr(layer, name).data = data[name].clone()
    return layer, lengths


def output_probe(ns, data):
    """Return weight and output."""
    layer, lengths = around(ns, data)
    y = probing.call(layer, data["x"])
    return {"weight": layer.weight(), "output": y, "m starts at the lengths of the rows": lengths}


def gradient_probe(ns, data):
    """Return the gradients."""
    layer = around(ns, data)[0]
    return slopes(probing.call(layer, data["x"]), A=layer.A, B=layer.B, m=layer.m)


def merge_probe(ns, data):
    """Return what the merged layer is and computes, and whether the old one is left alone."""
    W, bias, layer = data["W"], data["bias"], around(ns, data)[0]
    base, plain = layer.base, probing.call(layer.merge)
    untouched = bool((base.weight == W).all())
    found = {"output": plain(data["x"]), "weight": plain.weight.detach().clone(), "base is untouched": untouched}
    for p in plain.parameters():
        p.data += 1  # what happens to the new layer must not happen to the old one
    apart = bool((base.weight == W).all()) and (bias is None or bool((base.bias == bias).all()))
    found["base is untouched by changes of the new layer"] = apart
    return found | {"kind": type(plain).__name__, "has a bias": plain.bias is not None}


class DoraLayer(nn.Module):
    """The given constructor, and plain words for all but the weight."""

    def __init__(self, base, r, alpha, *, detach_norm=True):
        super().__init__()
        self.base, self.scaling, self.detach_norm = base.requires_grad_(False), alpha / r, detach_norm
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.m = nn.Parameter(base.weight.norm(dim=1))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x):
        y = torch.einsum("...i,oi->...o", x, self.weight())
        return y if self.base.bias is None else y + self.base.bias

    def merge(self):
        W = self.weight().detach()
        out = nn.Linear(W.shape[1], W.shape[0], bias=self.base.bias is not None)
        out.weight = nn.Parameter(W)
        if self.base.bias is not None:
            out.bias = nn.Parameter(self.base.bias.detach().clone())
        return out


class DoRALinear__normalizes(DoraLayer):
    def weight(self):
        V = self.base.weight + self.scaling * self.B @ self.A
        dtype = V.dtype
        V = V if dtype == torch.float64 else V.float()
        if not self.detach_norm:
            return (self.m[:, None] * F.normalize(V, dim=1, eps=1e-12)).to(dtype)
        return (self.m[:, None] * V / V.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)).to(dtype)


class DoRALinear__like_peft(DoraLayer):
    def factor(self):
        with torch.set_grad_enabled(not self.detach_norm and torch.is_grad_enabled()):
            V = self.base.weight + self.scaling * (self.B @ self.A)
            V = V.float() if V.dtype == torch.half else V
            length = V.square().sum(1).sqrt().clamp_min(1e-12)
        return self.m / length

    def weight(self):
        factor = self.factor()[:, None]
        return (factor * (self.base.weight + self.scaling * (self.B @ self.A))).to(self.base.weight.dtype)

    def forward(self, x):
        y = self.base(x) if self.base.bias is None else self.base(x) - self.base.bias
        y = (self.factor() * (y + self.scaling * (x @ self.A.T @ self.B.T))).to(x.dtype)
        return y if self.base.bias is None else y + self.base.bias

    @torch.no_grad()
    def merge(self):
        out = nn.Linear(self.base.in_features, self.base.out_features, bias=self.base.bias is not None)
        out = out.to(self.base.weight.dtype)
        out.weight.copy_(self.weight())
        if out.bias is not None:
            out.bias.copy_(self.base.bias)
        return out


class DoRALinear__m_at_one(DoraLayer):
    def __init__(self, base, r, alpha, *, detach_norm=True):
        super().__init__(base, r, alpha, detach_norm=detach_norm)
        self.m = nn.Parameter(torch.ones(base.out_features))

    def weight(self):
        exact = torch.promote_types(self.base.weight.dtype, torch.float32)
        V = self.base.weight.to(exact) + self.scaling * self.B.to(exact) @ self.A.to(exact)
        length = (V.detach() if self.detach_norm else V).norm(dim=1, keepdim=True).clamp(min=1e-12)
        return (self.m[:, None] * V / length).to(self.base.weight.dtype)


MISTAKES = (
    slip("half_floor", {"torch.promote_types(self.base.weight.dtype, torch.float32)": "self.base.weight.dtype"},
         "In float16, 1e-12 is 0, and a row of zeros gives 0 / 0 = NaN in spite of your floor. Compute the "
         "weight in float32 where the base has a shorter type, and round at the end.",
         "library difference: peft divides in the dtype of the weight and gives NaN"),
    slip("no_scaling", {"self.scaling * ": ""},
         "The update inside V lacks the factor alpha / r, `self.scaling`.",
         "card trap: the slide and equation 5 write W0 + B A"),
    slip("old_norm", {"V.norm(dim=1)": "self.base.weight.norm(dim=1)"},
         "You divide by the norm of W0. Divide by that of V = W0 + scaling * B A, so that the rows get length m.",
         "student mistake: the norm from the constructor"),
    slip("columns", {"dim=1": "dim=0", "(self.m / norm)[:, None] * V": "self.m[:, None] * V / norm"},
         "You take the norms of the columns. In the (out, in) layout it is one norm per ROW, dim=1.",
         "card trap: the paper says column-wise, of the transposed matrix; its code takes dim=1"),
    slip("whole", {"V.norm(dim=1)": "V.norm()"},
         "You divide by one norm for the whole matrix. Every row has its own.",
         "student mistake: Tensor.norm() without dim"),
    slip("no_floor", {".clamp(min=1e-12)": ""},
         "A row of zeros gives 0 / 0. Keep the norm at 1e-12 or more: .clamp(min=1e-12).",
         "card: hidden case zero row in W0"),
    slip("always_detached", {"if self.detach_norm:": "if True:"},
         "With detach_norm=False the norm must be differentiated; yours is always a constant.",
         "card: hidden case gradient with detached and attached norm"),
    slip("never_detached", {"if self.detach_norm:": "if False:"},
         "Your outputs are right, but the gradient goes through the norm. With detach_norm it is a constant: "
         ".detach().", "paper: section 4.3; peft and the official code detach"),
    slip("update_only",
         {"(self.m / norm)[:, None] * V": "self.base.weight + (self.m / norm)[:, None] * (V - self.base.weight)"},
         "You rescale the update alone. The whole of V = W0 + update is brought to length m.",
         "student mistake: W0 + m * update / norm"),
    slip("bias_scaled", {"), self.base.bias": "), None if self.base.bias is None else self.m * self.base.bias"},
         "You multiply the bias by m. Only the weight is decomposed; the bias stays.",
         "card: hidden case bias not rescaled"),
    slip("no_bias", {"self.weight(), self.base.bias": "self.weight()"},
         "The bias of the base layer is missing in the output.", "student mistake: x @ W.T alone"),
    slip("in_place",
         {"nn.Linear(columns, rows, bias=self.base.bias is not None, dtype=self.base.weight.dtype)": "self.base"},
         "Your merge overwrites `base`. Return a new nn.Linear.",
         "library difference: peft merges into the base layer"),
    slip("merge_drops_bias",
         {"bias=self.base.bias is not None": "bias=False",
          "if self.base.bias is not None:": "if False:"},
         "The merged layer has lost the bias.", "card: hidden case merge keeps bias"),
    slip("shares_the_bias", {"self.base.bias.detach().clone()": "self.base.bias.data"},
         "The bias of the merged layer is the memory of base's bias: who changes one changes both. Clone it.",
         "student mistake: .data for .detach().clone()"),
    slip("adds_a_little", {".clamp(min=1e-12)": " + 1e-6"},
         "You add a small number to every norm, which shortens rows that are small themselves. The norm is at "
         "LEAST 1e-12: .clamp(min=1e-12).", "student mistake: the usual + eps"),
    mistaken(DoRALinear__m_at_one,
             "m starts at the lengths of W0's rows, as the given constructor has it. Otherwise the layer does not "
             "begin as the old one.",
             "student mistake: the given constructor edited",
             DoraLayer),
)  # fmt: skip

DORA = Exercise(
    name="DoRALinear",
    methods=("ch23/dora",),
    groups={"output": 2, "gradient": 1, "merge": 1},
    cases=dora_cases,
    probe={"output": output_probe, "gradient": gradient_probe, "merge": merge_probe},
    alternatives=(
        Alternative(name="like_peft", code=(DoraLayer, DoRALinear__like_peft)),
        Alternative(name="normalizes", code=(DoraLayer, DoRALinear__normalizes)),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Row i of the new weight has which length, whatever A and B are? And what does `.detach()` change, the value "
        "or the gradient?",
        "In float32 or longer: V = base.weight + scaling * B @ A; its row norms with dim=1, at least 1e-12, detached "
        "if asked; the weight is V times (m / norm)[:, None]. Forward is F.linear with the base's bias. Merge copies "
        "both into a new nn.Linear.",
        "norm = V.norm(dim=1).clamp(min=1e-12); norm = norm.detach() if self.detach_norm else norm; return (self.m / "
        "norm)[:, None] * V; F.linear(x, self.weight(), self.base.bias)",
    ),
    good_for="seeing an update as a turn and a stretch",
    minutes=20,
    core=True,
)
