"""Chapter 23, notebook 1: `LoRALinear`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, shipped, slip
from autograder.exercises.ch23_low_rank_adaptation.common import layer_data, linear, slopes, trainable
from dlcv_lab.checking import probing


def linear_cases(d):
    """Draw layers that are not square, ranks above the smaller side, inputs with one, two and three axes."""

    def layer(group, note, shape, rows, r, dtype=torch.float32, **more):
        data = layer_data(d, shape, rows, r, dtype=dtype) | {"alpha": 6.0, "dropout": 0.0, "training": False}
        return case(group, note, **data | more)

    turned = torch.linalg.qr(d.normal(2, 6, 6)).Q  # A and B that can be undone without a loss
    large = d.uniform(40, 6, low=0.5, high=1.5)  # a share of a tiny input would be rounding alone
    half = {"x": large, "A": turned[0], "B": turned[1], "dropout": 0.5, "training": True, "ask": "kept"}
    return [
        layer("start", "before training: what is trainable, and with which values", (2, 64), 3, 16),
        layer("start", "a base layer in float64", (2, 4), 3, 2, torch.float64),
        layer("output", "a batch, r = 2, alpha = 6", (4, 5), 3, 2),
        layer("output", "one vector, r larger than the layer", (3,), 2, 4),
        layer("output", "a batch of sequences, no bias", (2, 3, 4), 5, 1, bias=None),
        layer("output", "training with dropout 1: a silent branch", (3, 4), 4, 2, dropout=1.0, training=True),
        layer("output", "evaluation, with a dropout of 1 that must not act", (3, 4), 2, 3, dropout=1.0),
        layer("output", "training with dropout 0.5: which inputs the branch sees", (40, 6), 6, 6, **half),
        layer("merge", "merged, merged twice, unmerged, unmerged twice", (3, 4), 5, 2),
        layer(
            "merge", "merged in training mode, no bias, alpha = 1", (2, 6), 3, 3, bias=None, alpha=1.0, training=True
        ),
    ]


@shipped
def around(ns, data):
    """Return the student's layer around the given base, and what is trainable in it."""
    layer = ns.LoRALinear(linear(data["W"], data["bias"]), len(data["A"]), data["alpha"], data["dropout"])
    shapes = {f"shape of {name}": str(tuple(getattr(layer, name).shape)) for name in "AB"}
    return layer, {"trainable": trainable(layer)} | shapes


@shipped
def filled(ns, data):
    """Return the layer with the given A and B, in the given mode, and what is trainable in it."""
    layer, start = around(ns, data)
    layer = layer.to(data["W"].dtype)
    layer.A.data, layer.B.data = data["A"].clone(), data["B"].clone()
    return layer.train(data["training"]), start


def start_probe(ns, data):
    """Say how the layer starts."""
    layer, start = around(ns, data)
    W, types = data["W"], [layer.A.dtype, layer.B.dtype]
    layer = layer.to(W.dtype)
    A, bound = layer.A.detach(), W.shape[1] ** -0.5  # kaiming_uniform_ with a = sqrt(5) is uniform on +-bound
    drawn = bool(A.abs().max() <= bound) and 0.5 < float(A.std() / bound) < 0.66
    off = probing.call(layer, data["x"]) - F.linear(data["x"], W, data["bias"])
    return start | {
        "A is drawn": bool(A.std() > 0),
        "A is drawn by kaiming_uniform_": drawn or A.numel() < 100,  # a few numbers do not tell
        "B is zero": bool((layer.B == 0).all()),
        "output is that of base": bool((off.abs() < 1e-4).all()),
        "A and B have the dtype of base.weight": types == [W.dtype] * 2,
    }


def output_probe(ns, data):
    """Return output and gradients."""
    layer, start = filled(ns, data)
    x = data["x"].clone().requires_grad_()
    y = probing.call(layer, x)
    return start | {"output": y, "gradients": slopes(y, x=x, A=layer.A, B=layer.B)}


def kept_probe(ns, data):
    """Say which inputs the branch sees: A and B are orthogonal, so each comes back, dropped or times 1 / (1 - p)."""
    layer, start = filled(ns, data)
    branch = probing.call(layer, data["x"]) - F.linear(data["x"], data["W"], data["bias"])
    share = (branch @ data["B"] @ data["A"] / data["alpha"] * len(data["A"]) / data["x"]).detach()
    zero, doubled = (share.abs() < 1e-2), ((share - 2).abs() < 1e-2)
    return start | {
        "every input is dropped or doubled": bool((zero | doubled).all()),
        "about half is dropped": 0.25 < float(zero.float().mean()) < 0.75,
    }


def merge_probe(ns, data):
    """Merge and unmerge twice each; say what changes."""
    layer = filled(ns, data)[0]
    answer, weight = {}, layer.base.weight
    for step in ("merge", "merge again", "unmerge", "unmerge again"):
        getattr(layer, step.split()[0])()
        answer[f"{step}: output"] = layer(data["x"])
        answer[f"{step}: base.weight"] = layer.base.weight.detach().clone()
        answer[f"{step}: merged"] = bool(layer.merged)
    same = layer.base.weight is weight
    return answer | {"the same parameter": same, "still frozen": not layer.base.weight.requires_grad}


class LoRALinear__functional(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        for p in base.parameters():
            p.requires_grad = False
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x):
        y = self.base(x)
        if not self.merged:
            y = y + self.scaling * F.linear(F.linear(self.dropout(x), self.A), self.B)
        return y

    @torch.no_grad()
    def merge(self):
        if self.merged:
            return
        self.base.weight.add_(self.B @ self.A, alpha=self.scaling)
        self.merged = True

    @torch.no_grad()
    def unmerge(self):
        if not self.merged:
            return
        self.base.weight.sub_(self.B @ self.A, alpha=self.scaling)
        self.merged = False


class LoRALinear__dense_branch(nn.Module):
    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        base.requires_grad_(False)
        self.A = nn.Parameter(nn.Linear(base.in_features, r, dtype=base.weight.dtype).weight.detach().clone())
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))

    def update(self):
        return torch.einsum("or,ri->oi", self.B, self.A) * self.scaling

    def forward(self, x):
        branch = 0 if self.merged else torch.einsum("...i,oi->...o", self.dropout(x), self.update())
        return self.base(x) + branch

    def merge(self):
        self.flip(1, not self.merged)

    def unmerge(self):
        self.flip(-1, self.merged)

    def flip(self, sign, needed):
        if needed:
            self.base.weight.data = self.base.weight.data + sign * self.update().detach()
            self.merged = not self.merged


FREEZE = "base.requires_grad_(False)"
ADDS = "self.base.weight.data += (self.scaling * self.B @ self.A).detach()"
NEW = "self.base.weight = nn.Parameter(self.base.weight + self.scaling * self.B @ self.A"
MISTAKES = (
    slip("no_scaling",
         {("forward", "self.scaling * "): "",
          ("merge", "self.scaling * "): "",
          ("unmerge", "self.scaling * "): ""},
         "Your branch is right up to the factor alpha / r, `self.scaling`, which is missing.",
         "card trap: the slide writes h = W0 x + B A x, without alpha / r"),
    slip("forward_unscaled", {("forward", "self.scaling * "): ""},
         "In `forward` the branch lacks the factor alpha / r, `self.scaling`; your `merge` has it.",
         "card trap: the slide writes h = W0 x + B A x, without alpha / r"),
    slip("alpha_alone", {FREEZE: FREEZE + "\nself.scaling = alpha"},
         "Your branch is too large by the factor r: scale by alpha / r, not by alpha.",
         "paper: section 4.1 divides alpha by r, so that r can change without a new learning rate"),
    slip("base_trains", {FREEZE: ""},
         "The weights of `base` are still trainable. Freeze them: base.requires_grad_(False).",
         "student mistake: 'the branch is trained' does not stop the optimizer from training the rest"),
    slip("bias_trains", {FREEZE: "base.weight.requires_grad_(False)"},
         "The bias of `base` is still trainable: you froze its weight alone. Freeze the whole layer: "
         "base.requires_grad_(False).", "student mistake: base.weight.requires_grad_(False)"),
    slip("plain_tensors", {"nn.Parameter(torch.empty": "(torch.empty", "nn.Parameter(torch.zeros": "(torch.zeros"},
         "A and B are plain tensors, so no optimizer finds them and no gradient reaches them. Wrap each in "
         "nn.Parameter.", "student mistake: torch.empty for nn.Parameter(torch.empty)"),
    slip("always_float32",
         {"base.in_features, dtype=base.weight.dtype": "base.in_features",
          "r, dtype=base.weight.dtype": "r"},
         "A and B are float32 whatever `base` is. Give them the dtype of base.weight, or a layer in float64 or "
         "bfloat16 cannot be adapted.", "student mistake: torch.empty without dtype; models are stored in 16 bits"),
    slip("small_rank", {FREEZE: FREEZE + "\nr = min(r, base.in_features, base.out_features)"},
         "You cut the rank to the smaller side of the layer. Any r >= 1 is allowed: A is (r, in), B is (out, r).",
         "student mistake: a rank above min(in, out) taken for an error"),
    slip("drawn_otherwise", {"(self.A, a=math.sqrt(5))": "(self.A)"},
         "A is not drawn as the text says: nn.init.kaiming_uniform_(A, a=math.sqrt(5)), which is uniform "
         "between -1 and +1 over the root of `in`.",
         "library difference: kaiming_uniform_ without `a` draws from a range that is 2.4 times as wide"),
    slip("both_zero", {"nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))": "nn.init.zeros_(self.A)"},
         "A and B are both zero. Then both gradients are zero, for ever: draw A at random, leave B at zero.",
         "student mistake: zero everywhere, 'so that nothing changes at the start'"),
    slip("both_random", {"torch.zeros": "torch.rand"},
         "B is not zero at the start, so your layer begins with a random disturbance of the pretrained one.",
         "student mistake: PyTorch's default initialization for both"),
    slip("a_not_b", {"torch.empty": "torch.zeros", "(self.A, a=math.sqrt(5))": "(self.B, a=math.sqrt(5))"},
         "You made A zero and B nonzero. It would train, too, but the text (and peft) has A random and B zero.",
         "card trap: slides write both 'BA' and 'AB'"),
    slip("adds_twice", {("forward", "if self.merged:"): "if False:"},
         "After `merge` the update is counted twice: it is in the weight, and `forward` still adds the branch.",
         "library difference: peft's forward asks `if self.merged` first"),
    slip("adds_while_training", {("forward", "if self.merged:"): "if self.merged and not self.training:"},
         "In training mode a merged layer counts the update twice: `forward` must ask `self.merged` alone.",
         "student mistake: `if self.merged and not self.training`"),
    slip("no_dropout", {"self.dropout(x)": "x"},
         "Dropout is missing: in training, the branch must see self.dropout(x).",
         "student mistake: the attribute is made and not used"),
    slip("dropout_always", {"self.dropout(x)": "F.dropout(x, self.dropout.p)"},
         "Your dropout acts in evaluation, too. `self.dropout`, an nn.Dropout, is silent after layer.eval(); "
         "F.dropout is not unless you hand it `self.training`.",
         "library difference: F.dropout has training=True by default"),
    slip("dropout_between", {"self.dropout(x) @ self.A.T": "self.dropout(x @ self.A.T)"},
         "You drop numbers behind A, or behind B. Dropout belongs to the input of the branch, before A.",
         "student mistake: dropout behind the first matrix, as in an MLP"),
    slip("dropout_behind", {"(self.dropout(x) @ self.A.T @ self.B.T)": "self.dropout(x @ self.A.T @ self.B.T)"},
         "You drop numbers behind A, or behind B. Dropout belongs to the input of the branch, before A.",
         "student mistake: dropout as the last operation, as in a transformer block"),
    slip("dropout_everywhere", {"self.base(x) + ": "self.base(self.dropout(x)) + "},
         "You drop inputs of the frozen layer, too. Dropout belongs to the input of the branch only.",
         "card trap: dropout only on the LoRA branch input"),
    slip("merges_again", {"if not self.merged:": "if True:"},
         "Merging a second time adds the update once more. Ask `self.merged` first, and set it.",
         "card: hidden case merge twice"),
    slip("merge_unscaled", {("merge", "self.scaling * "): "", ("unmerge", "self.scaling * "): ""},
         "What you merge lacks the factor alpha / r: merged and unmerged layer disagree.",
         "student mistake: the scaling stands in `forward` only"),
    slip("no_no_grad", {ADDS: "self.base.weight += self.scaling * self.B @ self.A"},
         "`merge` changes a parameter while autograd watches. Do it under torch.no_grad(), or change "
         "base.weight.data by a detached update.", "student mistake: base.weight += B @ A without torch.no_grad()"),
    slip("assigns_a_tensor", {ADDS: "self.base.weight = self.base.weight + self.scaling * self.B @ self.A"},
         "`merge` assigns a tensor to base.weight, and only a parameter may stand there. Change its values in "
         "place: base.weight.data += ..., or += under torch.no_grad().",
         "student mistake: base.weight = base.weight + B @ A"),
    slip("new_parameter", {ADDS: NEW + ")"},
         "`merge` puts a new parameter in place of base.weight, and a new nn.Parameter is trainable. Change "
         "the values of the old one in place.",
         "student mistake: nn.Parameter(...) to silence PyTorch's error message"),
    slip("new_frozen_parameter", {ADDS: NEW + ", requires_grad=False)"},
         "`merge` puts a new parameter in place of base.weight; who holds the old one (a tied layer, an "
         "optimizer) does not see the update. Change its values in place.",
         "student mistake: nn.Parameter(...) to silence PyTorch's error message"),
    slip("unmerge_unscaled",
         {("unmerge", "self.scaling * "): ""},
         "unmerge subtracts B A without alpha / r: that is not what merge has added.",
         "student mistake: the factor in one of two places"),
    slip("unmerges_again", {("unmerge", "if self.merged:"): "if True:"},
         "Unmerging a second time subtracts the update once more. Without a merge before, do nothing.",
         "card: hidden case unmerge twice"),
    slip("flag_stays", {"self.merged = False": ""},
         "After `unmerge` your layer still believes that it is merged: set `self.merged = False`.",
         "student mistake: the flag is set in one direction only"),
)  # fmt: skip

LINEAR = Exercise(
    name="LoRALinear",
    methods=("ch23/lora", "ch23/lora_merging"),
    groups={"start": 1, "output": 2, "merge": 2},
    cases=linear_cases,
    probe={"start": start_probe, "output": output_probe, "kept": kept_probe, "merge": merge_probe},
    alternatives=(alternative(LoRALinear__functional), alternative(LoRALinear__dense_branch)),
    misconceptions=MISTAKES,
    hints=(
        "Which of the two matrices has to be zero at the start, so that the layer begins as the base layer and still "
        "gets a gradient? And where is the update when `merged` is True?",
        "Start: freeze base, A of shape (r, in_features) drawn, B of shape (out_features, r) zero, both nn.Parameter. "
        "Forward: base(x), plus, if not merged, scaling times dropout(x) through A, then B (transposed: x is a row). "
        "Merge and unmerge: ask the flag, change base.weight.data by scaling * B @ A, flip the flag.",
        "self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype)); self.B = "
        "nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype)); return self.base(x) + self.scaling "
        "* (self.dropout(x) @ self.A.T @ self.B.T); self.base.weight.data += (self.scaling * self.B @ self.A).detach()",
    ),
    good_for="the layer under most fine-tuned models that people share",
    minutes=20,
    core=True,
)
