"""Chapter 23, notebook 2: cases, probe and variants of `nf4` (levels, quantise, dequantise)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.declare.exercise import Alternative, Exercise
from autograder.exercises.ch23_low_rank_adaptation.lesson_2_nf4_mistakes import MISTAKES
from dlcv_lab.checking.model import Case
from solutions.ch23_low_rank_adaptation.lesson_2 import nf4_code

CODE = nf4_code()
INT4 = torch.arange(-7.0, 8) / 7  # 15 levels: another table than the one of `nf4_code`


def storable(rng: torch.Generator, shape: tuple[int, ...], block: int, code: Tensor = CODE) -> Tensor:
    """Draw numbers that stay clear of the middle between two levels, so that rounding errors decide nothing."""
    n = math.prod(shape)
    index = torch.randint(1, len(code) - 1, (n,), generator=rng)
    room = torch.minimum(code[index] - code[index - 1], code[index + 1] - code[index])
    values = code[index] + 0.3 * room * (2 * torch.rand(n, generator=rng) - 1)
    values[::block] = torch.where(torch.rand(len(values[::block]), generator=rng) < 0.5, -1.0, 1.0)
    values[0] = -1.0  # a block whose largest absolute value is negative
    scale = 0.5 + 2 * torch.rand(-(-n // block), generator=rng)
    return (values * scale.repeat_interleave(block)[:n]).view(shape)


def nf4_cases(rng: torch.Generator) -> list[Case]:
    """Draw weights whose sizes are no multiples of the block, odd sizes, zeros, an outlier, and other levels."""

    def case(group: str, note: str, w: Tensor, block: int | None = None, code: Tensor = CODE) -> Case:
        return Case(group, {"ask": group, "w": w, "code": code.clone(), "block": block}, note)

    def packed(
        note: str, shape: tuple[int, ...], block: int, code: Tensor = CODE, dtype: torch.dtype = torch.float32
    ) -> Case:
        blocks = -(-math.prod(shape) // block)
        high, low = torch.randint(len(code), (2, blocks * block // 2), generator=rng)
        high[0], low[0] = 1, len(code) - 2  # two numbers that no two tables share, in an order that matters
        absmax = (0.5 + torch.rand(blocks, generator=rng)).to(dtype)
        data = {"packed": (16 * high + low).to(torch.uint8), "absmax": absmax, "code": code.clone(), "shape": shape}
        return Case("dequantize", {"ask": "dequantize"} | data, note)

    outlier = storable(rng, (32,), 16)
    outlier[3] = 100.0
    empty = storable(rng, (3, 8), 8)
    empty[1] = 0
    return [
        Case("levels", {"ask": "levels"}, "the 16 levels"),
        case("quantize", "blocks of 64, the default", storable(rng, (4, 48), 64)),
        case("quantize", "15 numbers in blocks of 4", storable(rng, (3, 5), 4), 4),
        case("quantize", "a block of zeros", empty, 8),
        case("quantize", "an outlier", outlier, 16),
        case("quantize", "another table, of 15 levels", storable(rng, (4, 12), 16, INT4), 16, INT4),
        case("quantize", "float64 weights", storable(rng, (2, 8), 8).double(), 8),
        packed("two blocks of 8", (4, 4), 8),
        packed("15 numbers in blocks of 4", (5, 3), 4),
        packed("one number", (1,), 2),
        packed("another table, of 15 levels", (4, 6), 8, INT4),
        packed("float64 scales", (3, 4), 4, dtype=torch.float64),
    ]


def nf4_probe(ns, data):
    """Return the levels, what a tensor is stored as, or what stored numbers stand for."""
    if data["ask"] == "levels":
        code = ns.nf4_code()
        return {"levels": code, "dtype": str(code.dtype)}
    if data["ask"] == "dequantize":
        w = ns.dequantize_nf4(data["packed"], data["absmax"], data["code"], tuple(data["shape"]))
        return {"w": w, "same dtype": w.dtype == data["absmax"].dtype}
    more = {} if data["block"] is None else {"block": data["block"]}
    packed, absmax = ns.quantize_nf4(data["w"], data["code"], **more)
    same = absmax.dtype == data["w"].dtype
    return {"absmax": absmax, "packed": packed, "dtype": str(packed.dtype), "absmax has the dtype of w": same}


def nf4_code__erfinv():
    def quantile(p):
        return math.sqrt(2) * torch.erfinv(2 * p - 1)

    up = torch.tensor([0.9677083 + (0.5 - 0.9677083) * i / 8 for i in range(8)], dtype=torch.float64)
    down = torch.tensor([0.9677083 + (0.5 - 0.9677083) * i / 7 for i in range(7)], dtype=torch.float64)
    levels = torch.cat([-quantile(down), torch.zeros(1, dtype=torch.float64), quantile(up).flip(0)])
    return (levels / quantile(up)[0]).to(torch.float32)


def quantize_nf4__bucketize(w, code, *, block=64):
    flat = torch.zeros(-(-w.numel() // block) * block, dtype=w.dtype)
    flat[: w.numel()] = w.reshape(-1)
    rows = flat.reshape(-1, block)
    absmax = rows.abs().max(dim=1).values
    middles = ((code[1:] + code[:-1]) / 2).to(w.dtype)
    index = torch.bucketize(rows / absmax.clamp(min=1e-30)[:, None], middles).reshape(-1, 2)
    return (index[:, 0] << 4 | index[:, 1]).to(torch.uint8), absmax


def dequantize_nf4__flat(packed, absmax, code, shape):
    n = math.prod(shape)
    out = torch.empty(2 * len(packed), dtype=absmax.dtype)
    out[0::2] = code.to(absmax.dtype)[(packed // 16).long()]
    out[1::2] = code.to(absmax.dtype)[(packed % 16).long()]
    out *= absmax.repeat_interleave(2 * len(packed) // len(absmax))
    return out[:n].reshape(shape)


def nf4_code__scipy_free():
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    found = {0.0}
    for n, sign in ((9, 1), (8, -1)):
        for p in torch.linspace(0.9677083, 0.5, n, dtype=torch.float64).tolist()[:-1]:
            found.add(sign * normal.icdf(torch.tensor(p, dtype=torch.float64)).item())
    return torch.tensor(sorted(value / max(found) for value in found), dtype=torch.float32)


def quantize_nf4__block_by_block(w, code, *, block=64):
    flat, packed, scales = w.flatten(), [], []
    for part in flat.split(block):
        part = F.pad(part, (0, block - len(part)))
        scale = part.abs().max()
        scales.append(scale)
        scaled = part if scale == 0 else part / scale
        index = torch.cdist(scaled[:, None].double(), code[:, None].double()).argmin(1)
        packed.append(16 * index[0::2] + index[1::2])
    return torch.cat(packed).to(torch.uint8), torch.stack(scales)


def dequantize_nf4__block_by_block(packed, absmax, code, shape):
    size = len(packed) // len(absmax)
    parts = []
    for i, scale in enumerate(absmax):
        piece = packed[i * size : (i + 1) * size].long()
        parts.append(code.to(absmax.dtype)[torch.stack([piece // 16, piece % 16], 1).flatten()] * scale)
    return torch.cat(parts)[: math.prod(shape)].reshape(shape)


NF4 = Exercise(
    name="nf4",
    defines=("nf4_code", "quantize_nf4", "dequantize_nf4"),
    methods=("ch23/qlora",),
    groups={"levels": 1, "quantize": 2, "dequantize": 2},
    cases=nf4_cases,
    probe=nf4_probe,
    alternatives=(
        Alternative(name="bucketize", code=(nf4_code__erfinv, quantize_nf4__bucketize, dequantize_nf4__flat)),
        Alternative(
            name="block_by_block",
            code=(nf4_code__scipy_free, quantize_nf4__block_by_block, dequantize_nf4__block_by_block),
        ),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Between which two levels are most weights of a trained layer, near 0 or near 1? How do two numbers from 0 "
        "to 15 "
        "fit into one from 0 to 255?",
        "Levels: icdf of linspace(offset, .5, 9)[:-1], minus icdf of linspace(offset, .5, 8)[:-1], 0; sort, divide "
        "by the "
        "largest. Quantise: rows of a block each, absmax per row, argmin of the distance to all levels, high * 16 "
        "+ low. "
        "Dequantise: packed >> 4 and packed & 15, stacked, looked up, times absmax, cut and reshaped.",
        "index = (scaled[..., None] - code.to(w.dtype)).abs().argmin(-1).flatten(); (index[0::2] * 16 + "
        "index[1::2]).to(torch.uint8); index = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long(); "
        "code[index].view(len(absmax), -1) * absmax[:, None]",
    ),
    good_for="models that would not fit otherwise",
    minutes=25,
    core=True,
)  # fmt: skip
