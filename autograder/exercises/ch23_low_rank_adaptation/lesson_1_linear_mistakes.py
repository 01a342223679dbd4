"""Chapter 23, notebook 1: the known mistakes with `LoRALinear`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.exercise import mistaken


class Mistaken(nn.Module):
    mistake = ""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.merged, self.dropout = base, False, nn.Dropout(dropout)
        self.scaling = {"no scaling": 1.0, "alpha alone": alpha}.get(self.mistake, alpha / r)
        if self.mistake not in ("base trains", "bias trains"):
            base.requires_grad_(False)
        if self.mistake == "bias trains":
            base.weight.requires_grad_(False)
        if self.mistake == "small rank":
            r = min(r, base.in_features, base.out_features)
        kind = torch.float32 if self.mistake == "always float32" else base.weight.dtype
        A, B = torch.zeros(r, base.in_features, dtype=kind), torch.zeros(base.out_features, r, dtype=kind)
        self.start(A, B)
        wrap = torch.clone if self.mistake == "plain tensors" else nn.Parameter
        self.A, self.B = wrap(A), wrap(B)

    def start(self, A, B):
        if self.mistake in ("both random", "a not b"):
            nn.init.constant_(B, 0.1)
        if self.mistake == "drawn otherwise":
            nn.init.kaiming_uniform_(A)
        elif self.mistake not in ("both zero", "a not b"):
            nn.init.kaiming_uniform_(A, a=math.sqrt(5))

    def forward(self, x):
        scaling = 1.0 if self.mistake == "forward unscaled" else self.scaling
        if self.mistake == "no dropout":
            branch = x @ self.A.T @ self.B.T
        elif self.mistake == "dropout always":
            branch = F.dropout(x, self.dropout.p) @ self.A.T @ self.B.T
        elif self.mistake == "dropout between":
            branch = self.dropout(x @ self.A.T) @ self.B.T
        elif self.mistake == "dropout behind":
            branch = self.dropout(x @ self.A.T @ self.B.T)
        else:
            branch = self.dropout(x) @ self.A.T @ self.B.T
        silent = self.merged and self.mistake != "adds twice"
        if self.mistake == "adds while training" and self.training:
            silent = False
        y = self.base(self.dropout(x) if self.mistake == "dropout everywhere" else x)
        return y if silent else y + scaling * branch

    def merge(self):
        if self.merged and self.mistake != "merges again":
            return
        update = (1.0 if self.mistake == "merge unscaled" else self.scaling) * self.B @ self.A
        if self.mistake == "no no_grad":
            self.base.weight += update
        elif self.mistake == "assigns a tensor":
            self.base.weight = self.base.weight + update
        elif self.mistake in ("new parameter", "new frozen parameter"):
            self.base.weight = nn.Parameter(self.base.weight + update, requires_grad=self.mistake == "new parameter")
        else:
            self.base.weight.data += update.detach()
        self.merged = True

    def unmerge(self):
        if self.merged or self.mistake == "unmerges again":
            scaling = 1.0 if self.mistake == "merge unscaled" else self.scaling
            self.base.weight.data -= (scaling * self.B @ self.A).detach()
            self.merged = self.mistake == "flag stays"


class LoRALinear__no_scaling(Mistaken):
    mistake = "no scaling"


class LoRALinear__forward_unscaled(Mistaken):
    mistake = "forward unscaled"


class LoRALinear__alpha_alone(Mistaken):
    mistake = "alpha alone"


class LoRALinear__base_trains(Mistaken):
    mistake = "base trains"


class LoRALinear__bias_trains(Mistaken):
    mistake = "bias trains"


class LoRALinear__plain_tensors(Mistaken):
    mistake = "plain tensors"


class LoRALinear__always_float32(Mistaken):
    mistake = "always float32"


class LoRALinear__small_rank(Mistaken):
    mistake = "small rank"


class LoRALinear__drawn_otherwise(Mistaken):
    mistake = "drawn otherwise"


class LoRALinear__both_zero(Mistaken):
    mistake = "both zero"


class LoRALinear__both_random(Mistaken):
    mistake = "both random"


class LoRALinear__a_not_b(Mistaken):
    mistake = "a not b"


class LoRALinear__adds_twice(Mistaken):
    mistake = "adds twice"


class LoRALinear__adds_while_training(Mistaken):
    mistake = "adds while training"


class LoRALinear__no_dropout(Mistaken):
    mistake = "no dropout"


class LoRALinear__dropout_always(Mistaken):
    mistake = "dropout always"


class LoRALinear__dropout_between(Mistaken):
    mistake = "dropout between"


class LoRALinear__dropout_behind(Mistaken):
    mistake = "dropout behind"


class LoRALinear__dropout_everywhere(Mistaken):
    mistake = "dropout everywhere"


class LoRALinear__merges_again(Mistaken):
    mistake = "merges again"


class LoRALinear__merge_unscaled(Mistaken):
    mistake = "merge unscaled"


class LoRALinear__no_no_grad(Mistaken):
    mistake = "no no_grad"


class LoRALinear__assigns_a_tensor(Mistaken):
    mistake = "assigns a tensor"


class LoRALinear__new_parameter(Mistaken):
    mistake = "new parameter"


class LoRALinear__new_frozen_parameter(Mistaken):
    mistake = "new frozen parameter"


class LoRALinear__unmerges_again(Mistaken):
    mistake = "unmerges again"


class LoRALinear__flag_stays(Mistaken):
    mistake = "flag stays"


MISTAKES = (
    mistaken(
        LoRALinear__no_scaling,
        "Your branch is right up to the factor alpha / r, `self.scaling`, which is missing.",
        "card trap: the slide writes h = W0 x + B A x, without alpha / r",
        Mistaken,
    ),
    mistaken(
        LoRALinear__forward_unscaled,
        "In `forward` the branch lacks the factor alpha / r, `self.scaling`; your `merge` has it.",
        "card trap: the slide writes h = W0 x + B A x, without alpha / r",
        Mistaken,
    ),
    mistaken(
        LoRALinear__alpha_alone,
        "Your branch is too large by the factor r: scale by alpha / r, not by alpha.",
        "paper: section 4.1 divides alpha by r, so that r can change without a new learning rate",
        Mistaken,
    ),
    mistaken(
        LoRALinear__base_trains,
        "The weights of `base` are still trainable. Freeze them: base.requires_grad_(False).",
        "student mistake: 'the branch is trained' does not stop the optimizer from training the rest",
        Mistaken,
    ),
    mistaken(
        LoRALinear__bias_trains,
        "The bias of `base` is still trainable: you froze its weight alone. Freeze the whole layer: "
        "base.requires_grad_(False).",
        "student mistake: base.weight.requires_grad_(False)",
        Mistaken,
    ),
    mistaken(
        LoRALinear__plain_tensors,
        "A and B are plain tensors, so no optimizer finds them and no gradient reaches them. Wrap each in "
        "nn.Parameter.",
        "student mistake: torch.empty for nn.Parameter(torch.empty)",
        Mistaken,
    ),
    mistaken(
        LoRALinear__always_float32,
        "A and B are float32 whatever `base` is. Give them the dtype of base.weight, or a layer in float64 or"
        " bfloat16 cannot be adapted.",
        "student mistake: torch.empty without dtype; models are stored in 16 bits",
        Mistaken,
    ),
    mistaken(
        LoRALinear__small_rank,
        "You cut the rank to the smaller side of the layer. Any r >= 1 is allowed: A is (r, in), B is (out, r).",
        "student mistake: a rank above min(in, out) taken for an error",
        Mistaken,
    ),
    mistaken(
        LoRALinear__drawn_otherwise,
        "A is not drawn as the text says: nn.init.kaiming_uniform_(A, a=math.sqrt(5)), which is uniform "
        "between -1 and +1 over the root of `in`.",
        "library difference: kaiming_uniform_ without `a` draws from a range that is 2.4 times as wide",
        Mistaken,
    ),
    mistaken(
        LoRALinear__both_zero,
        "A and B are both zero. Then both gradients are zero, for ever: draw A at random, leave B at zero.",
        "student mistake: zero everywhere, 'so that nothing changes at the start'",
        Mistaken,
    ),
    mistaken(
        LoRALinear__both_random,
        "B is not zero at the start, so your layer begins with a random disturbance of the pretrained one.",
        "student mistake: PyTorch's default initialization for both",
        Mistaken,
    ),
    mistaken(
        LoRALinear__a_not_b,
        "You made A zero and B nonzero. It would train, too, but the text (and peft) has A random and B zero.",
        "card trap: slides write both 'BA' and 'AB'",
        Mistaken,
    ),
    mistaken(
        LoRALinear__adds_twice,
        "After `merge` the update is counted twice: it is in the weight, and `forward` still adds the branch.",
        "library difference: peft's forward asks `if self.merged` first",
        Mistaken,
    ),
    mistaken(
        LoRALinear__adds_while_training,
        "In training mode a merged layer counts the update twice: `forward` must ask `self.merged` alone.",
        "student mistake: `if self.merged and not self.training`",
        Mistaken,
    ),
    mistaken(
        LoRALinear__no_dropout,
        "Dropout is missing: in training, the branch must see self.dropout(x).",
        "student mistake: the attribute is made and not used",
        Mistaken,
    ),
    mistaken(
        LoRALinear__dropout_always,
        "Your dropout acts in evaluation, too. `self.dropout`, an nn.Dropout, is silent after layer.eval(); "
        "F.dropout is not unless you hand it `self.training`.",
        "library difference: F.dropout has training=True by default",
        Mistaken,
    ),
    mistaken(
        LoRALinear__dropout_between,
        "You drop numbers behind A, or behind B. Dropout belongs to the input of the branch, before A.",
        "student mistake: dropout behind the first matrix, as in an MLP",
        Mistaken,
    ),
    mistaken(
        LoRALinear__dropout_behind,
        "You drop numbers behind A, or behind B. Dropout belongs to the input of the branch, before A.",
        "student mistake: dropout as the last operation, as in a transformer block",
        Mistaken,
    ),
    mistaken(
        LoRALinear__dropout_everywhere,
        "You drop inputs of the frozen layer, too. Dropout belongs to the input of the branch only.",
        "card trap: dropout only on the LoRA branch input",
        Mistaken,
    ),
    mistaken(
        LoRALinear__merges_again,
        "Merging a second time adds the update once more. Ask `self.merged` first, and set it.",
        "card: hidden case merge twice",
        Mistaken,
    ),
    mistaken(
        LoRALinear__merge_unscaled,
        "What you merge lacks the factor alpha / r: merged and unmerged layer disagree.",
        "student mistake: the scaling stands in `forward` only",
        Mistaken,
    ),
    mistaken(
        LoRALinear__no_no_grad,
        "`merge` changes a parameter while autograd watches. Do it under torch.no_grad(), or change "
        "base.weight.data by a detached update.",
        "student mistake: base.weight += B @ A without torch.no_grad()",
        Mistaken,
    ),
    mistaken(
        LoRALinear__assigns_a_tensor,
        "`merge` assigns a tensor to base.weight, and only a parameter may stand there. Change its values in "
        "place: base.weight.data += ..., or += under torch.no_grad().",
        "student mistake: base.weight = base.weight + B @ A",
        Mistaken,
    ),
    mistaken(
        LoRALinear__new_parameter,
        "`merge` puts a new parameter in place of base.weight, and a new nn.Parameter is trainable. Change "
        "the values of the old one in place.",
        "student mistake: nn.Parameter(...) to silence PyTorch's error message",
        Mistaken,
    ),
    mistaken(
        LoRALinear__new_frozen_parameter,
        "`merge` puts a new parameter in place of base.weight; who holds the old one (a tied layer, an "
        "optimizer) does not see the update. Change its values in place.",
        "student mistake: nn.Parameter(...) to silence PyTorch's error message",
        Mistaken,
    ),
    mistaken(
        LoRALinear__unmerges_again,
        "Unmerging a second time subtracts the update once more. Without a merge before, do nothing.",
        "card: hidden case unmerge twice",
        Mistaken,
    ),
    mistaken(
        LoRALinear__flag_stays,
        "After `unmerge` your layer still believes that it is merged: set `self.merged = False`.",
        "student mistake: the flag is set in one direction only",
        Mistaken,
    ),
)
