"""Chapter 23, notebook 1: LoRA for linear layers and convolutions, merging, and exact parameter counts.

Letters: a weight W is (out, in); A is (r, in) and B is (out, r), so that the update B A has the shape of W.
"""

import math
import re

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """Add a trainable low-rank branch to a frozen linear layer: y = W0 x + b + (alpha / r) B A dropout(x).

    Hu et al., ICLR 2022, section 4.1. Attributes: `base`, the given layer; `A` and `B`, the trainable parameters;
    `scaling` = alpha / r; `dropout`, for the input of the branch only; `merged`, whether `base.weight` already holds
    W0 + (alpha / r) B A.
    """

    def __init__(self, base: nn.Linear, r: int, alpha: float, dropout: float = 0.0) -> None:
        """Freeze the parameters of `base`; make `A` (r, in) and `B` (out, r) as parameters with base.weight's dtype.

        Before training the layer must compute exactly what `base` computes: `B` is all zeros, `A` is drawn by
        `nn.init.kaiming_uniform_(A, a=math.sqrt(5))`. Any r >= 1 will do, also r > min(in, out).
        """
        super().__init__()
        self.base, self.scaling, self.merged = base, alpha / r, False
        self.dropout = nn.Dropout(dropout)
        ### BEGIN SOLUTION
        base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        ### END SOLUTION

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return the output of the base layer plus that of the branch; of the base layer alone if merged."""
        ### BEGIN SOLUTION
        if self.merged:
            return self.base(x)
        return self.base(x) + self.scaling * (self.dropout(x) @ self.A.T @ self.B.T)
        ### END SOLUTION

    def merge(self) -> None:
        """Add (alpha / r) B A to `base.weight` in place: the same parameter, frozen as before, with other values.

        Autograd must not watch (`torch.no_grad()`). Merging twice changes nothing more.
        """
        ### BEGIN SOLUTION
        if not self.merged:
            self.base.weight.data += (self.scaling * self.B @ self.A).detach()
            self.merged = True
        ### END SOLUTION

    def unmerge(self) -> None:
        """Undo `merge`, so that the branch is separate again. Without a merge before, nothing happens."""
        ### BEGIN SOLUTION
        if self.merged:
            self.base.weight.data -= (self.scaling * self.B @ self.A).detach()
            self.merged = False
        ### END SOLUTION


def inject_lora(model: nn.Module, targets: list[str], r: int, alpha: float) -> int:
    """Freeze `model`, put a `LoRALinear` in place of its target layers, and return the number of trainable parameters.

    `targets` are regular expressions. A layer is a target if it is an `nn.Linear` and one of them matches its WHOLE
    qualified name (`re.fullmatch`), such as "blocks.0.attn.q": `r".*\\.q"` matches it and does not match
    "blocks.0.attn.qkv". Afterwards only the A's and B's are trainable, whatever was trainable before.
    `nn.Linear` itself is meant, `type(layer) is nn.Linear`, not a class derived from it: the `out_proj` of an
    `nn.MultiheadAttention` is of such a class. Attention reads its weight and never calls it, so a layer around it
    would be passed over.

    Raises:
        ValueError: an expression matches no `nn.Linear`; the message contains the expression. (How far the model is
            changed by then does not matter.)
    """
    ### BEGIN SOLUTION
    model.requires_grad_(False)
    layers = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    for target in targets:
        if not any(re.fullmatch(target, name) for name in layers):
            raise ValueError(f"no linear layer is called {target!r}; there are {', '.join(layers)}")
    for name in layers:
        if any(re.fullmatch(target, name) for target in targets):
            parent, _, child = name.rpartition(".")
            holder = model.get_submodule(parent)
            setattr(holder, child, LoRALinear(getattr(holder, child), r, alpha))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
    ### END SOLUTION


def merge_loras(
    W0: Float[Tensor, "out in"], loras: list[tuple[Float[Tensor, "r in"], Float[Tensor, "out r"], float, float]]
) -> Float[Tensor, "out in"]:
    """Return W0 + sum_i w_i (alpha_i / r_i) B_i A_i for a list of (A_i, B_i, alpha_i, w_i).

    The ranks r_i may differ, weights w_i may be negative, the list may be empty. Sums are accumulated in float32 where
    W0 has a shorter type (bfloat16, float16), and rounded once at the end: the result has the dtype of W0. It has
    memory of its own, for an empty list too, and W0 is not changed.
    """
    ### BEGIN SOLUTION
    exact = torch.promote_types(W0.dtype, torch.float32)
    total = W0.to(exact, copy=True)
    for A, B, alpha, weight in loras:
        total += weight * alpha / len(A) * (B.to(exact) @ A.to(exact))
    return total.to(W0.dtype)
    ### END SOLUTION


def merged_qkv_delta(
    A: Float[Tensor, "nr in"], B: Float[Tensor, "nd r"], *, enable: list[bool]
) -> Float[Tensor, "three_d in"]:
    """Return the update of a fused weight (q, k, v stacked: 3 d rows) when only some of the three are adapted.

    With n = sum(enable), `A` stacks the n matrices A_i (r, in) and `B` the n matrices B_i (d, r), in the order q, k, v
    of those enabled. Rows of an enabled part are B_i A_i (no alpha), rows of a part that is not enabled are zero.
    At least one is enabled. This is what loralib's `MergedLinear` computes by a grouped convolution.
    """
    ### BEGIN SOLUTION
    n, r = sum(enable), B.shape[1]
    d = len(B) // n
    deltas = iter([B[i * d : (i + 1) * d] @ A[i * r : (i + 1) * r] for i in range(n)])
    nothing = torch.zeros(d, A.shape[1], dtype=A.dtype)
    return torch.cat([next(deltas) if part else nothing for part in enable])
    ### END SOLUTION


def extract_lora(
    W0: Float[Tensor, "out in"], W1: Float[Tensor, "out in"], r: int
) -> tuple[Float[Tensor, "r in"], Float[Tensor, "out r"]]:
    """Return (A, B) such that B A is the best rank-r approximation of W1 - W0 in the Frobenius norm.

    By Eckart and Young this is the singular value decomposition cut after r terms; the root of each singular value goes
    into A and into B. 1 <= r <= min(out, in).
    """
    ### BEGIN SOLUTION
    U, S, Vh = torch.linalg.svd(W1 - W0, full_matrices=False)
    root = S[:r].sqrt()
    return root[:, None] * Vh[:r], U[:, :r] * root
    ### END SOLUTION


class LoRAConv2d(nn.Module):
    """Add a low-rank branch to a frozen convolution: k x k convolution to r channels, then 1 x 1 to all channels.

    y = base(x) + (alpha / r) B(A(x)). Attributes: `base`; `A` and `B`, both `nn.Conv2d` without a bias;
    `scaling` = alpha / r; `merged`.
    """

    def __init__(self, base: nn.Conv2d, r: int, alpha: float) -> None:
        """Freeze `base`; make the convolutions `A` (weight (r, C, kh, kw)) and `B` (weight (O, r, 1, 1)).

        `A` walks over the picture exactly as `base` does: the same kernel size, stride, padding, dilation and padding
        mode. `A.weight` keeps PyTorch's initial values, `B.weight` is all zeros; both have base.weight's dtype.

        Raises:
            ValueError: `base.groups` is not 1.
        """
        super().__init__()
        self.base, self.scaling, self.merged = base, alpha / r, False
        ### BEGIN SOLUTION
        if base.groups != 1:
            raise ValueError(f"a convolution in {base.groups} groups has no update of this form")
        base.requires_grad_(False)
        path = {name: getattr(base, name) for name in ("stride", "padding", "dilation", "padding_mode")}
        kind = {"bias": False, "dtype": base.weight.dtype}
        self.A = nn.Conv2d(base.in_channels, r, base.kernel_size, **path, **kind)
        self.B = nn.Conv2d(r, base.out_channels, 1, **kind)
        nn.init.zeros_(self.B.weight)
        ### END SOLUTION

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N O Ho Wo"]:
        """Return base(x) plus the scaled branch; base(x) alone if merged."""
        ### BEGIN SOLUTION
        return self.base(x) if self.merged else self.base(x) + self.scaling * self.B(self.A(x))
        ### END SOLUTION

    def delta(self) -> Float[Tensor, "O C kh kw"]:
        """Return the update of the kernel: (alpha / r) sum_p B[o, p, 0, 0] A[p, c, u, v], p from 0 to r - 1."""
        ### BEGIN SOLUTION
        return self.scaling * torch.einsum("or,rcuv->ocuv", self.B.weight[:, :, 0, 0], self.A.weight)
        ### END SOLUTION

    def merge(self) -> None:
        """Add `delta()` to `base.weight` in place: the same parameter, frozen as before, with other values.

        Autograd must not watch. Merging twice changes nothing more. (`unmerge`, as in LoRALinear, is left out.)
        """
        ### BEGIN SOLUTION
        if not self.merged:
            self.base.weight.data += self.delta().detach()
            self.merged = True
        ### END SOLUTION


def lora_params(shapes: list[tuple[int, int]], r: int) -> int:
    """Count the trainable numbers of LoRA of rank r on weights of the shapes (out, in), whatever their biases."""
    ### BEGIN SOLUTION
    return sum(r * (rows + columns) for rows, columns in shapes)
    ### END SOLUTION


def adapter_params(n: int, d: int, r: int, *, norms: int = 0) -> int:
    """Count n bottleneck adapters (a linear layer d -> r, a nonlinearity, a linear layer r -> d; both with a bias).

    `norms` layer norms of width d (a scale and a shift each) are trained besides.
    """
    ### BEGIN SOLUTION
    return n * (d * r + r + r * d + d) + norms * 2 * d
    ### END SOLUTION


def bitfit_params(L: int, d: int, f: int, *, pooler: bool = False) -> int:
    """Count all biases of a BERT-like encoder with L blocks of width d and a hidden width f of its MLPs.

    Each block has biases in the four linear layers of attention (query, key, value, output), in the two of its MLP
    (d -> f -> d) and in two layer norms. One layer norm follows the embeddings. `pooler` adds a linear layer d -> d.
    """
    ### BEGIN SOLUTION
    return L * (4 * d + f + d + 2 * d) + d + pooler * d
    ### END SOLUTION


def dylora_forward(
    x: Float[Tensor, "N in"],
    W0: Float[Tensor, "out in"],
    A: Float[Tensor, "r in"],
    B: Float[Tensor, "out r"],
    *,
    alpha: float,
    b: int,
) -> Float[Tensor, "N out"]:
    """Return x W0^T plus the branch that uses the first b of r components only, scaled by alpha / b.

    In training DyLoRA draws b anew for every step, 1 <= b <= r, so that one training serves all ranks.
    Valipour et al., EACL 2023.
    """
    ### BEGIN SOLUTION
    return F.linear(x, W0 + alpha / b * B[:, :b] @ A[:b])
    ### END SOLUTION


def prune_lambdas(scores: dict[str, Float[Tensor, "r"]], budget: int) -> dict[str, Tensor]:
    """Say which components to keep: True for the `budget` highest scores of ALL layers together, else False.

    AdaLoRA (Zhang et al., ICLR 2023) writes the update of each layer as P diag(lambda) Q and sets the lambdas with low
    scores to zero, so that important layers end with a higher rank. Returns one boolean tensor per layer, of the shape
    of its scores. budget = 0 keeps none, a budget of at least all components keeps all. No two scores are equal.
    """
    ### BEGIN SOLUTION
    pool = torch.cat(list(scores.values())).sort(descending=True).values
    if budget <= 0:
        return {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    least = pool[min(budget, len(pool)) - 1]
    return {name: score >= least for name, score in scores.items()}
    ### END SOLUTION
