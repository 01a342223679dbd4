"""Chapter 23, notebook 2: VeRA, DoRA, DVoRA, and 4-bit weights (QLoRA)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn


def shared_projections(
    shapes: list[tuple[int, int]], r: int, *, seed: int
) -> tuple[Float[Tensor, "r in_max"], Float[Tensor, "out_max r"]]:
    """Draw the one pair of random matrices (A, B) that all adapted layers share; `shapes` are their (out, in).

    A is (r, largest in), B is (largest out, r). One generator, `torch.Generator().manual_seed(seed)`, fills A first and
    then B with numbers uniform on [-bound, bound), bound = sqrt(6 / number of columns of that matrix), by
    `torch.empty(...).uniform_(-bound, bound, generator=...)`: the same seed gives the same matrices as `peft`.
    """
    ### BEGIN SOLUTION
    g = torch.Generator().manual_seed(seed)
    width, height = max(columns for _, columns in shapes), max(rows for rows, _ in shapes)
    bound_a, bound_b = math.sqrt(6 / width), math.sqrt(6 / r)
    A = torch.empty(r, width).uniform_(-bound_a, bound_a, generator=g)
    B = torch.empty(height, r).uniform_(-bound_b, bound_b, generator=g)
    return A, B
    ### END SOLUTION


class VeRALinear(nn.Module):
    """Adapt a frozen linear layer by two vectors between fixed random matrices: y = W0 x + b0 + b * (B (d * (A x))).

    Kopiczko et al., ICLR 2024, equation 2; there is no alpha / r. `A` (r, at least in) and `B` (at least out, r) are
    given and may be larger than this layer needs: it uses the first `in` columns of A and the first `out` rows of B.
    They may have another dtype than the base (`shared_projections` makes float32, a base may be bfloat16 or float64):
    the parts are brought to that of `d` where they are used.
    Attributes: `base`; the parameters `d` (r,) and `b` (out,), with base.weight's dtype; the buffers `A` and `B`.
    """

    def __init__(
        self, base: nn.Linear, A: Float[Tensor, "r Ai"], B: Float[Tensor, "Bo r"], d_initial: float = 0.1
    ) -> None:
        """Freeze `base`; start with every entry of `d` at `d_initial` and `b` at zero, so that nothing changes yet.

        Register `A` and `B` whole and without a copy (all layers share their memory) as buffers with
        `persistent=False`: they are neither trained nor saved, the seed is enough.
        """
        super().__init__()
        self.base = base
        ### BEGIN SOLUTION
        base.requires_grad_(False)
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)
        self.d = nn.Parameter(torch.full((len(A),), d_initial, dtype=base.weight.dtype))
        self.b = nn.Parameter(torch.zeros(base.out_features, dtype=base.weight.dtype))
        ### END SOLUTION

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return the output of the base layer plus that of the branch."""
        ### BEGIN SOLUTION
        A, B = self.A[:, : self.base.in_features].to(self.d.dtype), self.B[: self.base.out_features].to(self.d.dtype)
        return self.base(x) + (x @ A.T * self.d) @ B.T * self.b
        ### END SOLUTION

    def delta(self) -> Float[Tensor, "out in"]:
        """Return the update of the weight, diag(b) B diag(d) A."""
        ### BEGIN SOLUTION
        A, B = self.A[:, : self.base.in_features].to(self.d.dtype), self.B[: self.base.out_features].to(self.d.dtype)
        return self.b[:, None] * (B * self.d) @ A
        ### END SOLUTION


class DoRALinear(nn.Module):
    """Adapt magnitude and direction of every row of a frozen weight: W = m * V / |V| with V = W0 + (alpha / r) B A.

    Liu et al., ICML 2024, equation 5. |V| is the Euclidean norm of each of the `out` ROWS of the (out, in) weight, as
    in the official code and in peft (the paper writes columns, of the transposed matrix); it is at least 1e-12, so
    that a row of zeros gives zeros. Attributes: `base`; the parameters `A` (r, in), `B` (out, r), `m` (out,);
    `scaling` = alpha / r; `detach_norm`.
    """

    def __init__(self, base: nn.Linear, r: int, alpha: float, *, detach_norm: bool = True) -> None:
        super().__init__()
        self.base, self.scaling, self.detach_norm = base.requires_grad_(False), alpha / r, detach_norm
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        self.m = nn.Parameter(base.weight.norm(dim=1))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def weight(self) -> Float[Tensor, "out in"]:
        """Return the adapted weight m * V / |V|.

        With `detach_norm` the norm |V| counts as a constant in the backward pass (`.detach()`; section 4.3 of the
        paper), else it is differentiated through like the rest. Computed in float32 where the base has a shorter type
        (float16 rounds 1e-12 to 0), and rounded once at the end: the result has the dtype of base.weight.
        """
        ### BEGIN SOLUTION
        exact = torch.promote_types(self.base.weight.dtype, torch.float32)
        V = self.base.weight.to(exact) + self.scaling * self.B.to(exact) @ self.A.to(exact)
        norm = V.norm(dim=1).clamp(min=1e-12)
        if self.detach_norm:
            norm = norm.detach()
        return ((self.m / norm)[:, None] * V).to(self.base.weight.dtype)
        ### END SOLUTION

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return x times the adapted weight, plus the bias of the base layer, which is not rescaled."""
        ### BEGIN SOLUTION
        return F.linear(x, self.weight(), self.base.bias)
        ### END SOLUTION

    def merge(self) -> nn.Linear:
        """Return a new, plain linear layer that computes the same, with memory of its own; `base` stays as it is.

        Whether its parameters are trainable does not matter.
        """
        ### BEGIN SOLUTION
        rows, columns = self.base.weight.shape
        merged = nn.Linear(columns, rows, bias=self.base.bias is not None, dtype=self.base.weight.dtype)
        merged.weight.data = self.weight().detach().clone()
        if self.base.bias is not None:
            merged.bias.data = self.base.bias.detach().clone()
        return merged
        ### END SOLUTION


class DVoRALinear(nn.Module):
    """DoRA whose direction is changed by VeRA: V = W0 + diag(b) B diag(d) A, and again W = m * V / |V| by rows.

    `A` (r, at least in) and `B` (at least out, r) are fixed, shared and may be too large; the layer uses the first `in`
    columns of A and the first `out` rows of B, whatever their dtype. The norm is at least 1e-12 and a constant in the
    backward pass. The adapted weight is computed in float32 where the base has a shorter type, and rounded once to the
    dtype of base.weight. Trainable are `d` (r,), `b` (out,) and `m` (out,).
    """

    def __init__(
        self, base: nn.Linear, A: Float[Tensor, "r Ai"], B: Float[Tensor, "Bo r"], d_initial: float = 0.1
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.register_buffer("A", A, persistent=False)
        self.register_buffer("B", B, persistent=False)
        self.d = nn.Parameter(torch.full((len(A),), d_initial, dtype=base.weight.dtype))
        self.b = nn.Parameter(torch.zeros(base.out_features, dtype=base.weight.dtype))
        self.m = nn.Parameter(base.weight.norm(dim=1))

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Return x times the adapted weight, plus the bias of the base layer."""
        ### BEGIN SOLUTION
        W = self.base.weight
        exact = torch.promote_types(W.dtype, torch.float32)
        A, B = self.A[:, : self.base.in_features].to(exact), self.B[: self.base.out_features].to(exact)
        V = W.to(exact) + self.b.to(exact)[:, None] * (B * self.d.to(exact)) @ A
        norm = V.norm(dim=1).clamp(min=1e-12).detach()
        return F.linear(x, ((self.m / norm)[:, None] * V).to(W.dtype), self.base.bias)
        ### END SOLUTION


def vera_params(shapes: list[tuple[int, int]], r: int) -> int:
    """Count the trainable numbers of VeRA on weights of the shapes (out, in); random matrices are not trained."""
    ### BEGIN SOLUTION
    return sum(r + rows for rows, _ in shapes)
    ### END SOLUTION


def dora_params(shapes: list[tuple[int, int]], r: int) -> int:
    """Count the trainable numbers of DoRA with a LoRA of rank r inside, on weights of the shapes (out, in)."""
    ### BEGIN SOLUTION
    return sum(r * (rows + columns) + rows for rows, columns in shapes)
    ### END SOLUTION


def decompose_update(W0: Float[Tensor, "out in"], W1: Float[Tensor, "out in"]) -> tuple[float, float]:
    """Return how much the rows changed on average: in length, mean |‖w1‖ - ‖w0‖|, and in direction, mean 1 - cos."""
    magnitude = (W1.norm(dim=1) - W0.norm(dim=1)).abs().mean().item()
    direction = (1 - F.cosine_similarity(W0, W1, dim=1)).mean().item()
    return magnitude, direction


def nf4_code() -> Float[Tensor, "16"]:
    """Return the 16 levels of the NormalFloat-4 data type, in ascending order, as float32 from -1 to 1.

    They sit at quantiles of the standard normal distribution (Dettmers et al., NeurIPS 2023). With offset = 0.9677083,
    the official code's constant (the mean of 1 - 1/30 and 1 - 1/32): 8 positive levels at the quantiles of the first 8
    of 9 equally spaced probabilities from offset down to 0.5; 7 negative levels, the mirrored quantiles of the first 7
    of 8 equally spaced probabilities from offset down to 0.5; and 0. All are divided by the largest. The quantile
    function is `torch.distributions.Normal(0.0, 1.0).icdf(p)`; compute in float64 and round at the end.
    """
    ### BEGIN SOLUTION
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    positive = quantile(torch.linspace(0.9677083, 0.5, 9, dtype=torch.float64)[:-1])
    negative = -quantile(torch.linspace(0.9677083, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat([negative, torch.zeros(1, dtype=torch.float64), positive]).sort().values
    return (levels / levels.max()).float()
    ### END SOLUTION


def quantize_nf4(
    w: Float[Tensor, "*shape"], code: Float[Tensor, "levels"], *, block: int = 64
) -> tuple[UInt8[Tensor, "bytes"], Float[Tensor, "blocks"]]:
    """Store every number of `w` in 4 bits: return (packed, absmax).

    Flatten `w`, cut it into blocks of `block` numbers (`block` is even; the last block is filled up with zeros), and
    divide each block by its largest absolute value, `absmax`; a block of zeros is divided by 1 and has absmax 0.
    Replace each number by the index of the nearest level of `code`, any table of at most 16 ascending levels; of two
    levels that are equally near, take the lower. Two neighbours share a byte: the FIRST one takes the high four bits.
    `packed` has block / 2 bytes per block, `absmax` has the dtype of `w`.
    """
    flat = F.pad(w.flatten(), (0, -w.numel() % block))
    ### BEGIN SOLUTION
    rows = flat.view(-1, block)
    absmax = rows.abs().amax(1)
    scaled = rows / torch.where(absmax == 0, 1, absmax)[:, None]
    index = (scaled[..., None] - code.to(w.dtype)).abs().argmin(-1).flatten()
    return (index[0::2] * 16 + index[1::2]).to(torch.uint8), absmax
    ### END SOLUTION


def dequantize_nf4(
    packed: UInt8[Tensor, "bytes"],
    absmax: Float[Tensor, "blocks"],
    code: Float[Tensor, "levels"],
    shape: tuple[int, ...],
) -> Float[Tensor, "*shape"]:
    """Return the tensor of this shape that `quantize_nf4` stored, in the dtype of `absmax`.

    The block size follows from the number of bytes and the number of blocks.
    """
    ### BEGIN SOLUTION
    index = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    values = code.to(absmax.dtype)[index].view(len(absmax), -1) * absmax[:, None]
    return values.flatten()[: math.prod(shape)].view(shape)
    ### END SOLUTION


def double_quantize(
    absmax: Float[Tensor, "n"], *, block: int = 256
) -> tuple[Int[Tensor, "n"], Float[Tensor, "m"], Float[Tensor, ""]]:
    """Quantise the quantisation constants: return (q, scale, mean) with absmax close to q * scale + mean.

    Subtract the mean of all constants. Cut what is left into blocks of `block` (the last one may be shorter); a block's
    `scale` is its largest absolute value divided by 127, or 1 if the block is all zeros. `q` is what is left divided by
    its block's scale, rounded (`torch.round`), as int8. (The official code uses a nonuniform 8-bit type instead.)
    """
    ### BEGIN SOLUTION
    mean = absmax.mean()
    parts = (absmax - mean).split(block)
    scale = torch.stack([part.abs().max() / 127 for part in parts])
    scale = torch.where(scale == 0, 1, scale)
    q = torch.cat([(part / s).round() for part, s in zip(parts, scale)])
    return q.to(torch.int8), scale, mean
    ### END SOLUTION


def bits_per_param(block: int = 64, block2: int = 256, *, double: bool) -> float:
    """Return the bits that one weight costs: 4, plus its share of the 32-bit scale of its block.

    Doubly quantised, the scale of a block costs 8 bits, plus a share of the 32-bit scale of `block2` scales.
    """
    return 4 + (8 / block + 32 / (block * block2) if double else 32 / block)


class QLoRALinear(nn.Module):
    """A linear layer whose frozen weight is kept in 4 bits, with a 16- or 32-bit LoRA branch beside it.

    y = x dq(W)^T + bias + (alpha / r) x A^T B^T (Dettmers et al., NeurIPS 2023, equation 5). Buffers: `packed`,
    `absmax`, `code`, and `bias` (None without one). Parameters: `A` (r, in) and `B` (out, r). The dense weight is
    rebuilt in every forward pass and is not an attribute: nothing of its size stays in memory.
    """

    def __init__(
        self, base: nn.Linear, code: Float[Tensor, "levels"], r: int, alpha: float, *, block: int = 64
    ) -> None:
        super().__init__()
        self.shape, self.scaling = tuple(base.weight.shape), alpha / r
        packed, absmax = quantize_nf4(base.weight.detach(), code, block=block)
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("code", code)
        self.register_buffer("bias", None if base.bias is None else base.bias.detach().clone())
        self.A = nn.Parameter(torch.empty(r, base.in_features, dtype=base.weight.dtype))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, dtype=base.weight.dtype))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Rebuild the weight with `dequantize_nf4`, apply it with the bias, and add the LoRA branch."""
        ### BEGIN SOLUTION
        W = dequantize_nf4(self.packed, self.absmax, self.code, self.shape)
        return F.linear(x, W, self.bias) + self.scaling * (x @ self.A.T @ self.B.T)
        ### END SOLUTION
