"""Chapter 23, notebook 2: cases, probe and variants of `nf4` (levels, quantise, dequantise)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case
from solutions.ch23_low_rank_adaptation.lesson_2 import nf4_code

CODE = nf4_code()


def storable(rng: torch.Generator, shape: tuple[int, ...], block: int) -> Tensor:
    """Draw numbers that stay clear of the middle between two levels, so that rounding errors decide nothing."""
    n = math.prod(shape)
    index = torch.randint(1, 15, (n,), generator=rng)
    room = torch.minimum(CODE[index] - CODE[index - 1], CODE[index + 1] - CODE[index])
    values = CODE[index] + 0.3 * room * (2 * torch.rand(n, generator=rng) - 1)
    values[::block] = torch.where(torch.rand(len(values[::block]), generator=rng) < 0.5, -1.0, 1.0)
    values[0] = -1.0  # a block whose largest absolute value is negative
    scale = 0.5 + 2 * torch.rand(-(-n // block), generator=rng)
    return (values * scale.repeat_interleave(block)[:n]).view(shape)


def nf4_cases(rng: torch.Generator) -> list[Case]:
    """Draw weights whose sizes are no multiples of the block, odd sizes, zeros and an outlier."""

    def case(group: str, note: str, w: Tensor, block: int | None = None) -> Case:
        return Case(group, {"ask": group, "w": w, "code": CODE.clone(), "block": block}, note)

    def packed(group: str, note: str, shape: tuple[int, ...], block: int) -> Case:
        blocks = -(-math.prod(shape) // block)
        bytes_ = torch.randint(256, (blocks * block // 2,), generator=rng).to(torch.uint8)
        absmax = 0.5 + torch.rand(blocks, generator=rng)
        return Case(
            group, {"ask": group, "packed": bytes_, "absmax": absmax, "code": CODE.clone(), "shape": shape}, note
        )

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
        packed("dequantize", "two blocks of 8", (4, 4), 8),
        packed("dequantize", "15 numbers in blocks of 4", (5, 3), 4),
        packed("dequantize", "one number", (1,), 2),
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
    return {"absmax": absmax, "packed": packed, "dtype": str(packed.dtype)}


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


def levels_with_mistake(mistake):
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    top = 0.9677083
    if mistake == "uniform":
        return torch.linspace(-1, 1, 16)
    up, down = (quantile(torch.linspace(top, 0.5, n, dtype=torch.float64)[:-1]) for n in (9, 8))
    if mistake == "sides exchanged":
        up, down = down, up
    levels = torch.cat([-down, torch.zeros(1, dtype=torch.float64), up]).sort().values
    if mistake == "unsorted":
        levels = torch.cat([up, torch.zeros(1, dtype=torch.float64), -down])
    return (levels if mistake == "not divided" else levels / levels.abs().max()).float()


def nf4_code__uniform():
    return levels_with_mistake("uniform")


def nf4_code__sides_exchanged():
    return levels_with_mistake("sides exchanged")


def nf4_code__unsorted():
    return levels_with_mistake("unsorted")


def nf4_code__not_divided():
    return levels_with_mistake("not divided")


def quantize_with_mistake(mistake, w, code, *, block=64):
    flat = F.pad(w.flatten(), (0, -w.numel() % block))
    rows = flat.view(-1, block)
    absmax = rows.abs().amax(1)
    if mistake == "whole tensor":
        absmax = flat.abs().max().expand(len(rows)).clone()
    if mistake == "signed max":
        absmax = rows.amax(1)
    divisor = absmax if mistake == "no guard" else torch.where(absmax == 0, 1, absmax)
    scaled = rows / divisor[:, None]
    index = (scaled[..., None] - code.to(w.dtype)).abs().argmin(-1).flatten()
    if mistake == "rounds down":
        index = (torch.bucketize(scaled, code.to(w.dtype), right=True) - 1).clamp(0, 15).flatten()
    if mistake == "no guard":
        index = torch.where(scaled.flatten().isnan(), 0, index)
    high, low = index[0::2], index[1::2]
    if mistake == "low first":
        high, low = low, high
    return (high * 16 + low).to(torch.uint8), absmax


def quantize_nf4__whole_tensor(w, code, *, block=64):
    return quantize_with_mistake("whole tensor", w, code, block=block)


def quantize_nf4__signed_max(w, code, *, block=64):
    return quantize_with_mistake("signed max", w, code, block=block)


def quantize_nf4__no_guard(w, code, *, block=64):
    return quantize_with_mistake("no guard", w, code, block=block)


def quantize_nf4__rounds_down(w, code, *, block=64):
    return quantize_with_mistake("rounds down", w, code, block=block)


def quantize_nf4__low_first(w, code, *, block=64):
    return quantize_with_mistake("low first", w, code, block=block)


def dequantize_with_mistake(mistake, packed, absmax, code, shape):
    high, low = packed >> 4, packed & 15
    if mistake == "low first":
        high, low = low, high
    index = (torch.cat([high, low]) if mistake == "halves" else torch.stack([high, low], 1).flatten()).long()
    values = code.to(absmax.dtype)[index]
    if mistake == "levels alone":
        return values[: math.prod(shape)].view(shape)
    size = 64 if mistake == "always 64" else len(values) // len(absmax)
    scale = absmax.repeat_interleave(size)
    scale = F.pad(scale, (0, max(0, len(values) - len(scale))), value=1.0)[: len(values)]
    return (values * scale)[: math.prod(shape)].view(shape)


def dequantize_nf4__low_first(packed, absmax, code, shape):
    return dequantize_with_mistake("low first", packed, absmax, code, shape)


def dequantize_nf4__halves(packed, absmax, code, shape):
    return dequantize_with_mistake("halves", packed, absmax, code, shape)


def dequantize_nf4__levels_alone(packed, absmax, code, shape):
    return dequantize_with_mistake("levels alone", packed, absmax, code, shape)


def dequantize_nf4__always_64(packed, absmax, code, shape):
    return dequantize_with_mistake("always 64", packed, absmax, code, shape)


def mistaken(helper, variant, hint: str, source_of: str, name: str = "") -> Misconception:
    """Name a misconception after its function."""
    name = name or variant.__name__.split("__")[1]
    return Misconception(name=name, code=(helper, variant), hint=hint, source_of=source_of)


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
    misconceptions=(
        mistaken(
            levels_with_mistake, nf4_code__uniform,
            "Your levels are equally spaced. In NF4 the PROBABILITIES are, and the levels are their quantiles.",
            "library difference: INT4 has equally spaced levels",
        ),
        mistaken(
            levels_with_mistake, nf4_code__sides_exchanged,
            "You have 8 negative and 7 positive levels. It is the other way round: 8 positive, 7 negative, and zero.",
            "card: linspace(offset, .5, 9) for the positive side, 8 for the negative one",
        ),
        mistaken(
            levels_with_mistake, nf4_code__unsorted,
            "The levels are right, but not in ascending order: index 0 is -1 and index 15 is +1.",
            "student mistake: the sides joined without sorting",
        ),
        mistaken(
            levels_with_mistake, nf4_code__not_divided,
            "Divide by the largest level, so that they run from -1 to 1.",
            "student mistake: the last step forgotten",
        ),
        mistaken(
            quantize_with_mistake, quantize_nf4__whole_tensor,
            "You divide by one absmax for the whole tensor. Every block has its own.",
            "student mistake: abs().max() without an axis",
        ),
        mistaken(
            quantize_with_mistake, quantize_nf4__signed_max,
            "You take the largest value of a block; the largest ABSOLUTE value is needed, or negative numbers leave "
            "the range.",
            "student mistake: amax without abs",
        ),
        mistaken(
            quantize_with_mistake, quantize_nf4__no_guard,
            "In a block of zeros you divide 0 by 0. Divide such a block by 1: its indices are those of the level 0.",
            "card: hidden case all-zero block",
        ),
        mistaken(
            quantize_with_mistake, quantize_nf4__rounds_down,
            "You take the level below. Take the nearest one.",
            "library difference: torch.bucketize with the levels, where bitsandbytes uses their middles",
        ),
        mistaken(
            quantize_with_mistake, quantize_nf4__low_first,
            "In each byte your two numbers are exchanged: the first one takes the HIGH four bits.",
            "card: bitsandbytes packs the first element into the high nibble",
            "packs_low_first",
        ),
        mistaken(
            dequantize_with_mistake, dequantize_nf4__low_first,
            "When you unpack, the two numbers of each byte are exchanged: the high four bits hold the first.",
            "card: bitsandbytes packs the first element into the high nibble",
            "unpacks_low_first",
        ),
        mistaken(
            dequantize_with_mistake, dequantize_nf4__halves,
            "You return all high halves, then all low halves. They alternate: stack them in a new last axis, then "
            "flatten.",
            "student mistake: cat for stack",
        ),
        mistaken(
            dequantize_with_mistake, dequantize_nf4__levels_alone,
            "You return the levels. Multiply those of each block by its absmax.",
            "student mistake: the scales forgotten",
        ),
        mistaken(
            dequantize_with_mistake, dequantize_nf4__always_64,
            "You assume blocks of 64. The block size is twice the number of bytes divided by the number of blocks.",
            "student mistake: the default block size hard-coded",
        ),
    ),
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
