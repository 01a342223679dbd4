"""Chapter 23, notebook 2: `nf4` (levels, quantise, dequantise)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.declare import Alternative, Draws, Exercise, case, slip
from dlcv_lab.checking import probing
from solutions.ch23_low_rank_adaptation.lesson_2 import nf4_code

CODE = nf4_code()
INT4 = torch.arange(-7.0, 8) / 7  # 15 levels: another table than the one of `nf4_code`


def storable(d: Draws, shape: tuple[int, ...], block: int, code: Tensor = CODE) -> Tensor:
    """Draw numbers that stay clear of the middle between two levels, so that rounding errors decide nothing."""
    n = math.prod(shape)
    index = d.integers(1, len(code) - 2, n)
    room = torch.minimum(code[index] - code[index - 1], code[index + 1] - code[index])
    values = code[index] + 0.3 * room * d.uniform(n, low=-1, high=1)
    values[::block] = 1.0 - 2.0 * d.mask(len(values[::block]))
    values[0] = -1.0  # a block whose largest absolute value is negative
    scale = d.uniform(-(-n // block), low=0.5, high=2.5)
    return (values * scale.repeat_interleave(block)[:n]).view(shape)


def nf4_cases(d):
    """Draw weights whose sizes are no multiples of the block, odd sizes, zeros, an outlier, and other levels."""

    def weights(note, w, code=CODE, **block):
        return case("quantize", note, w=w, code=code.clone(), **block)

    def packed(note, shape, block, code=CODE, dtype=torch.float32):
        blocks = -(-math.prod(shape) // block)
        high, low = d.integers(0, len(code) - 1, 2, blocks * block // 2)
        high[0], low[0] = 1, len(code) - 2  # two numbers that no two tables share, in an order that matters
        absmax = d.uniform(blocks, low=0.5, high=1.5).to(dtype)
        both = (16 * high + low).to(torch.uint8)
        return case("dequantize", note, packed=both, absmax=absmax, code=code.clone(), shape=shape)

    outlier, empty = storable(d, (32,), 16), storable(d, (3, 8), 8)
    outlier[3], empty[1] = 100.0, 0
    return [
        case("levels", "the 16 levels"),
        weights("blocks of 64, the default", storable(d, (4, 48), 64)),
        weights("15 numbers in blocks of 4", storable(d, (3, 5), 4), block=4),
        weights("a block of zeros", empty, block=8),
        weights("an outlier", outlier, block=16),
        weights("another table, of 15 levels", storable(d, (4, 12), 16, INT4), INT4, block=16),
        weights("float64 weights", storable(d, (2, 8), 8).double(), block=8),
        packed("two blocks of 8", (4, 4), 8),
        packed("15 numbers in blocks of 4", (5, 3), 4),
        packed("one number", (1,), 2),
        packed("another table, of 15 levels", (4, 6), 8, INT4),
        packed("float64 scales", (3, 4), 4, dtype=torch.float64),
    ]


def levels_probe(ns, data):
    """Return the levels."""
    code = probing.call(ns.nf4_code)
    return {"levels": code, "dtype": str(code.dtype)}


def quantize_probe(ns, data):
    """Return what a tensor is stored as."""
    options = {"block": data["block"]} if "block" in data else {}
    packed, absmax = probing.call(ns.quantize_nf4, data["w"], data["code"], **options)
    same = absmax.dtype == data["w"].dtype
    return {"absmax": absmax, "packed": packed, "dtype": str(packed.dtype), "absmax has the dtype of w": same}


def dequantize_probe(ns, data):
    """Return what stored numbers stand for."""
    w = probing.call(ns.dequantize_nf4, data["packed"], data["absmax"], data["code"], data["shape"])
    return {"w": w, "same dtype": w.dtype == data["absmax"].dtype}


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


MISTAKES = (
    slip("uniform", {"(levels / levels.max()).float()": "torch.linspace(-1, 1, 16)"},
         "Your levels are equally spaced. In NF4 the PROBABILITIES are, and the levels are their quantiles.",
         "library difference: INT4 has equally spaced levels"),
    slip("sides_exchanged", {"0.5, 9,": "0.5, 8,", "0.5, 8,": "0.5, 9,"},
         "You have 8 negative and 7 positive levels. It is the other way round: 8 positive, 7 negative, and zero.",
         "card: linspace(offset, .5, 9) for the positive side, 8 for the negative one"),
    slip("unsorted", {"negative, torch.zeros": "positive, torch.zeros", "positive]).sort().values": "negative])"},
         "The levels are right, but not in ascending order: index 0 is -1 and index 15 is +1.",
         "student mistake: the sides joined without sorting"),
    slip("sides_unsorted", {".sort().values": ""},
         "The levels are right, but not in ascending order: index 0 is -1 and index 15 is +1.",
         "student mistake: the sides joined without sorting"),
    slip("one_probability_short", {"0.5, 9, dtype=torch.float64)[:-1]": "0.5, 8, dtype=torch.float64)"},
         "Your positive side ends at the probability 0.5, so 0 is there twice. Take the first 8 of NINE "
         "probabilities, linspace(offset, 0.5, 9)[:-1].", "student mistake: 8 probabilities for 8 levels"),
    slip("float64_levels", {".float()": ""},
         "Your levels are float64. Compute in float64, then round to float32 at the end.",
         "student mistake: the last conversion forgotten"),
    slip("not_divided", {"(levels / levels.max())": "levels"},
         "Divide by the largest level, so that they run from -1 to 1.", "student mistake: the last step forgotten"),
    slip("whole_tensor", {"rows.abs().amax(1)": "flat.abs().max().expand(len(rows))"},
         "You divide by one absmax for the whole tensor. Every block has its own.",
         "student mistake: abs().max() without an axis"),
    slip("signed_max", {"rows.abs()": "rows"},
         "You take the largest value of a block; the largest ABSOLUTE value is needed, or negative numbers "
         "leave the range.", "student mistake: amax without abs"),
    slip("no_guard", {"torch.where(absmax == 0, 1, absmax)": "absmax"},
         "In a block of zeros you divide 0 by 0. Divide such a block by 1: its indices are those of the level 0.",
         "card: hidden case all-zero block"),
    slip("rounds_down",
         {"(scaled[..., None] - code.to(w.dtype)).abs().argmin(-1)":
            "(torch.bucketize(scaled, code.to(w.dtype), right=True) - 1).clamp(0, 15)"},
         "You take the level below. Take the nearest one.",
         "library difference: torch.bucketize with the levels, where bitsandbytes uses their middles"),
    slip("packs_low_first", {"index[0::2] * 16 + index[1::2]": "index[1::2] * 16 + index[0::2]"},
         "In each byte your two numbers are exchanged: the first one takes the HIGH four bits.",
         "card: bitsandbytes packs the first element into the high nibble"),
    slip("quantizes_to_own_levels", {"code.to(w.dtype)": "nf4_code().to(w.dtype)"},
         "quantize_nf4 does not use `code`: with another table of levels it still takes those of NF4.",
         "student mistake: nf4_code() called inside, so that INT4 is compared with itself"),
    slip("weights_not_divided", {" / torch.where(absmax == 0, 1, absmax)[:, None]": ""},
         "You look for the nearest level of the weight itself. Divide each block by its absmax first: the "
         "levels run from -1 to 1.", "student mistake: absmax computed and not used"),
    slip("absmax_one",
         {"scaled = rows / torch.where(absmax == 0, 1, absmax)[:, None]":
            "absmax = torch.where(absmax == 0, 1, absmax)\n"
            "scaled = rows / absmax[:, None]"},
         "A block of zeros is divided by 1, but its absmax is 0: keep the divisor apart from what you return.",
         "student mistake: the guard written into absmax"),
    slip("absmax_always_float32", {"rows.abs().amax(1)": "rows.abs().amax(1).float()"},
         "Your absmax is float32 whatever `w` is. It has the dtype of `w`.", "student mistake: .float() on the way"),
    slip("dequantizes_to_own_levels", {"code.to(absmax.dtype)": "nf4_code().to(absmax.dtype)"},
         "dequantize_nf4 does not use `code`: with another table of levels it still returns those of NF4.",
         "student mistake: nf4_code() called inside, so that INT4 is compared with itself"),
    slip("values_always_float32", {"values.flatten()": "values.float().flatten()"},
         "What you return is float32 whatever the dtype of `absmax` is. It has the dtype of `absmax`.",
         "student mistake: .float() on the way"),
    slip("unpacks_low_first", {"packed >> 4, packed & 15": "packed & 15, packed >> 4"},
         "When you unpack, the two numbers of each byte are exchanged: the high four bits hold the first.",
         "card: bitsandbytes packs the first element into the high nibble"),
    slip("halves", {"torch.stack([packed >> 4, packed & 15], dim=1)": "torch.cat([packed >> 4, packed & 15])"},
         "You return all high halves, then all low halves. They alternate: stack them in a new last axis, then "
         "flatten.", "student mistake: cat for stack"),
    slip("levels_alone", {" * absmax[:, None]": ""},
         "You return the levels. Multiply those of each block by its absmax.", "student mistake: the scales forgotten"),
    slip("always_64", {"view(len(absmax), -1) * absmax[:, None]": "mul(absmax.repeat_interleave(64)[: len(index)])"},
         "You assume blocks of 64. The block size is twice the number of bytes divided by the number of blocks.",
         "student mistake: the default block size hard-coded"),
    slip("own_levels_twice",
         {"code.to(w.dtype)": "nf4_code().to(w.dtype)",
          "code.to(absmax.dtype)": "nf4_code().to(absmax.dtype)"},
         "Neither of your functions uses `code`: with another table of levels both still take those of NF4.",
         "student mistake: nf4_code() called inside, so that INT4 is compared with itself"),
)  # fmt: skip

NF4 = Exercise(
    name="nf4",
    defines=("nf4_code", "quantize_nf4", "dequantize_nf4"),
    methods=("ch23/qlora",),
    groups={"levels": 1, "quantize": 2, "dequantize": 2},
    cases=nf4_cases,
    probe={"levels": levels_probe, "quantize": quantize_probe, "dequantize": dequantize_probe},
    alternatives=(
        Alternative(name="bucketize", code=(nf4_code__erfinv, quantize_nf4__bucketize, dequantize_nf4__flat)),
        Alternative(
            name="block_by_block",
            code=(nf4_code__scipy_free, quantize_nf4__block_by_block, dequantize_nf4__block_by_block),
        ),
    ),
    misconceptions=MISTAKES,
    hints=(
        "Between which two levels are most weights of a trained layer, near 0 or near 1? How do two numbers from 0 to "
        "15 fit into one from 0 to 255?",
        "Levels: icdf of linspace(offset, .5, 9)[:-1], minus icdf of linspace(offset, .5, 8)[:-1], 0; sort, divide by "
        "the largest. Quantise: rows of a block each, absmax per row, argmin of the distance to all levels, high * 16 "
        "+ low. Dequantise: packed >> 4 and packed & 15, stacked, looked up, times absmax, cut and reshaped.",
        "index = (scaled[..., None] - code.to(w.dtype)).abs().argmin(-1).flatten(); (index[0::2] * 16 + "
        "index[1::2]).to(torch.uint8); index = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long(); "
        "code[index].view(len(absmax), -1) * absmax[:, None]",
    ),
    good_for="models that would not fit otherwise",
    minutes=25,
    core=True,
)
