"""Chapter 23, notebook 2: cases, probe and variants of `DoRALinear`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def dora_cases(rng: torch.Generator) -> list[Case]:
    """Draw layers that are not square, with and without a constant norm, and one with a row of zeros."""

    def case(group: str, note: str, shape: tuple[int, ...], rows: int, r: int, **more) -> Case:
        columns = shape[-1]
        data = {
            "x": torch.randn(*shape, generator=rng),
            "W": torch.randn(rows, columns, generator=rng),
            "bias": torch.randn(rows, generator=rng) + 1,
            "A": torch.randn(r, columns, generator=rng),
            "B": torch.randn(rows, r, generator=rng),
            "m": 1 + torch.rand(rows, generator=rng),
            "alpha": 6.0,
            "detach_norm": None,
            "ask": group,
        }
        return Case(group, data | more, note)

    zero = case("output", "a row of zeros in the weight", (2, 4), 3, 2)
    zero.data["W"][1], zero.data["B"][1] = 0, 0
    tiny = case("output", "a row of tiny numbers in the weight", (2, 4), 3, 2)
    tiny.data["W"][1], tiny.data["B"][1] = tiny.data["W"][1].sign() * 2e-6, 0
    half = case("output", "a row of zeros in half precision", (2, 4), 3, 2)
    half.data["W"][2], half.data["B"][2] = 0, 0
    half.data.update({name: half.data[name].half() for name in ("x", "W", "bias", "A", "B", "m")})
    return [
        case("output", "a batch, r = 2, alpha = 6", (4, 5), 3, 2),
        case("output", "a batch of sequences, no bias", (2, 3, 4), 5, 1, bias=None),
        zero,
        tiny,
        half,
        case("gradient", "the norm is a constant (default)", (3, 5), 4, 2),
        case("gradient", "the norm is differentiated", (3, 5), 4, 2, detach_norm=False),
        case("merge", "a plain layer that computes the same", (3, 4), 5, 2),
        case("merge", "merged without a bias", (3, 4), 2, 2, bias=None),
    ]


def dora_probe(ns, data):
    """Build the layer around a given base, set its parameters, and ask for outputs, gradients or the merged layer."""
    W, bias = data["W"], data["bias"]
    base = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    base.weight.data = W.clone()
    if bias is not None:
        base.bias.data = bias.clone()
    options = {} if data["detach_norm"] is None else {"detach_norm": data["detach_norm"]}
    layer = ns.DoRALinear(base, len(data["A"]), data["alpha"], **options).to(W.dtype)
    lengths = bool(((layer.m - W.norm(dim=1)).abs() < (1e-2 if W.dtype == torch.half else 1e-4)).all())
    for name in ("A", "B", "m"):
        getattr(layer, name).data = data[name].clone()
    y = layer(data["x"])
    if data["ask"] == "output":
        return {"weight": layer.weight(), "output": y, "m starts at the lengths of the rows": lengths}
    if data["ask"] == "merge":
        plain = layer.merge()
        untouched = bool((base.weight == W).all())
        found = {"output": plain(data["x"]), "weight": plain.weight.detach().clone(), "base is untouched": untouched}
        for p in plain.parameters():
            p.data += 1  # what happens to the new layer must not happen to the old one
        apart = bool((base.weight == W).all()) and (bias is None or bool((base.bias == bias).all()))
        found["base is untouched by changes of the new layer"] = apart
        return found | {"kind": type(plain).__name__, "has a bias": plain.bias is not None}
    weight = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    dA, dB, dm = torch.autograd.grad((y * weight).sum(), [layer.A, layer.B, layer.m])
    return {"A": dA, "B": dB, "m": dm}


class DoraLayer(nn.Module):
    """The given constructor; every variant below fills in its own methods."""

    def __init__(self, base, r, alpha, *, detach_norm=True):
        super().__init__()
        self.base, self.scaling, self.detach_norm = base.requires_grad_(False), alpha / r, detach_norm
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        self.m = nn.Parameter(base.weight.norm(dim=1))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))


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


class DoRALinear__normalizes(DoraLayer):
    def weight(self):
        V = self.base.weight + self.scaling * self.B @ self.A
        dtype = V.dtype
        V = V if dtype == torch.float64 else V.float()
        if not self.detach_norm:
            return (self.m[:, None] * F.normalize(V, dim=1, eps=1e-12)).to(dtype)
        return (self.m[:, None] * V / V.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)).to(dtype)

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


class Mistaken(DoraLayer):
    mistake = ""

    def weight(self):
        scaling = 1.0 if self.mistake == "no scaling" else self.scaling
        V = self.base.weight + scaling * self.B @ self.A
        dtype = V.dtype
        V = V.float() if dtype == torch.half and self.mistake != "half floor" else V
        norm = (self.base.weight if self.mistake == "old norm" else V).norm(dim=1, keepdim=True)
        if self.mistake == "columns":
            norm = V.norm(dim=0, keepdim=True)
        if self.mistake == "whole":
            norm = V.norm()
        if self.mistake == "adds a little":
            norm = norm + 1e-6
        elif self.mistake != "no floor":
            norm = norm.clamp(min=1e-12)
        detached = {"always detached": True, "never detached": False}.get(self.mistake, self.detach_norm)
        if detached:
            norm = norm.detach()
        if self.mistake == "update only":
            return (self.base.weight + self.m[:, None] * scaling * (self.B @ self.A) / norm).to(dtype)
        return (self.m[:, None] * V / norm).to(dtype)

    def forward(self, x):
        if self.mistake == "bias scaled" and self.base.bias is not None:
            return F.linear(x, self.weight(), self.base.bias * self.m)
        return F.linear(x, self.weight(), None if self.mistake == "no bias" else self.base.bias)

    def merge(self):
        bias = self.base.bias if self.mistake != "merge drops bias" else None
        out = self.base if self.mistake == "in place" else nn.Linear(*self.base.weight.T.shape, bias=bias is not None)
        out.weight.data = self.weight().detach()
        if bias is not None:
            out.bias.data = bias.data if self.mistake == "shares the bias" else bias.detach().clone()
        return out


class DoRALinear__half_floor(Mistaken):
    mistake = "half floor"


class DoRALinear__no_scaling(Mistaken):
    mistake = "no scaling"


class DoRALinear__old_norm(Mistaken):
    mistake = "old norm"


class DoRALinear__columns(Mistaken):
    mistake = "columns"


class DoRALinear__whole(Mistaken):
    mistake = "whole"


class DoRALinear__no_floor(Mistaken):
    mistake = "no floor"


class DoRALinear__always_detached(Mistaken):
    mistake = "always detached"


class DoRALinear__never_detached(Mistaken):
    mistake = "never detached"


class DoRALinear__update_only(Mistaken):
    mistake = "update only"


class DoRALinear__bias_scaled(Mistaken):
    mistake = "bias scaled"


class DoRALinear__no_bias(Mistaken):
    mistake = "no bias"


class DoRALinear__in_place(Mistaken):
    mistake = "in place"


class DoRALinear__merge_drops_bias(Mistaken):
    mistake = "merge drops bias"


class DoRALinear__shares_the_bias(Mistaken):
    mistake = "shares the bias"


class DoRALinear__adds_a_little(Mistaken):
    mistake = "adds a little"


class DoRALinear__m_at_one(Mistaken):
    def __init__(self, base, r, alpha, *, detach_norm=True):
        super().__init__(base, r, alpha, detach_norm=detach_norm)
        self.m = nn.Parameter(torch.ones(base.out_features))


DORA = Exercise(
    name="DoRALinear",
    methods=("ch23/dora",),
    groups={"output": 2, "gradient": 1, "merge": 1},
    cases=dora_cases,
    probe=dora_probe,
    alternatives=(
        Alternative(name="like_peft", code=(DoraLayer, DoRALinear__like_peft)),
        Alternative(name="normalizes", code=(DoraLayer, DoRALinear__normalizes)),
    ),
    misconceptions=(
        mistaken(
            DoRALinear__half_floor,
            "In float16, 1e-12 is 0, and a row of zeros gives 0 / 0 = NaN in spite of your floor. Compute the weight "
            "in float32 where the base has a shorter type, and round at the end.",
            "library difference: peft divides in the dtype of the weight and gives NaN",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__no_scaling,
            "The update inside V lacks the factor alpha / r, `self.scaling`.",
            "card trap: the slide and equation 5 write W0 + B A",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__old_norm,
            "You divide by the norm of W0. Divide by that of V = W0 + scaling * B A, so that the rows get length m.",
            "student mistake: the norm from the constructor",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__columns,
            "You take the norms of the columns. In the (out, in) layout it is one norm per ROW, dim=1.",
            "card trap: the paper says column-wise, of the transposed matrix; its code takes dim=1",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__whole,
            "You divide by one norm for the whole matrix. Every row has its own.",
            "student mistake: Tensor.norm() without dim",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__no_floor,
            "A row of zeros gives 0 / 0. Keep the norm at 1e-12 or more: .clamp(min=1e-12).",
            "card: hidden case zero row in W0",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__always_detached,
            "With detach_norm=False the norm must be differentiated; yours is always a constant.",
            "card: hidden case gradient with detached and attached norm",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__never_detached,
            "Your outputs are right, but the gradient goes through the norm. With detach_norm it is a constant: "
            ".detach().",
            "paper: section 4.3; peft and the official code detach",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__update_only,
            "You rescale the update alone. The whole of V = W0 + update is brought to length m.",
            "student mistake: W0 + m * update / norm",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__bias_scaled,
            "You multiply the bias by m. Only the weight is decomposed; the bias stays.",
            "card: hidden case bias not rescaled",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__no_bias,
            "The bias of the base layer is missing in the output.",
            "student mistake: x @ W.T alone",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__in_place,
            "Your merge overwrites `base`. Return a new nn.Linear.",
            "library difference: peft merges into the base layer",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__merge_drops_bias,
            "The merged layer has lost the bias.",
            "card: hidden case merge keeps bias",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__shares_the_bias,
            "The bias of the merged layer is the memory of base's bias: who changes one changes both. Clone it.",
            "student mistake: .data for .detach().clone()",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__adds_a_little,
            "You add a small number to every norm, which shortens rows that are small themselves. The norm is at LEAST "
            "1e-12: .clamp(min=1e-12).",
            "student mistake: the usual + eps",
            DoraLayer,
            Mistaken,
        ),
        mistaken(
            DoRALinear__m_at_one,
            "m starts at the lengths of W0's rows, as the given constructor has it. Otherwise the layer does not begin "
            "as the old one.",
            "student mistake: the given constructor edited",
            DoraLayer,
            Mistaken,
        ),
    ),
    hints=(
        "Row i of the new weight has which length, whatever A and B are? And what does `.detach()` change, the "
        "value or "
        "the gradient?",
        "In float32 or longer: V = base.weight + scaling * B @ A; its row norms with dim=1, at least 1e-12, "
        "detached if asked; the weight is V times (m / norm)[:, None]. Forward is F.linear with "
        "the base's bias. Merge copies both into a new nn.Linear.",
        "norm = V.norm(dim=1).clamp(min=1e-12); norm = norm.detach() if self.detach_norm else norm; return "
        "(self.m / norm)[:, None] * V; F.linear(x, self.weight(), self.base.bias)",
    ),
    good_for="seeing an update as a turn and a stretch",
    minutes=20,
    core=True,
)
