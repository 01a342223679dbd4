"""Chapter 23, notebook 2: the known mistakes with `nf4`."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Misconception, mistaken


def levels_with_mistake(mistake):
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    top = 0.9677083
    if mistake == "uniform":
        return torch.linspace(-1, 1, 16)
    up, down = (quantile(torch.linspace(top, 0.5, n, dtype=torch.float64)[:-1]) for n in (9, 8))
    if mistake == "sides exchanged":
        up, down = down, up
    if mistake == "one probability short":
        up = quantile(torch.linspace(top, 0.5, 8, dtype=torch.float64))
    levels = torch.cat([-down, torch.zeros(1, dtype=torch.float64), up]).sort().values
    if mistake == "unsorted":
        levels = torch.cat([up, torch.zeros(1, dtype=torch.float64), -down])
    if mistake == "sides unsorted":
        levels = torch.cat([-down, torch.zeros(1, dtype=torch.float64), up])
    levels = levels if mistake == "not divided" else levels / levels.abs().max()
    return levels if mistake == "float64" else levels.float()


def nf4_code__uniform():
    return levels_with_mistake("uniform")


def nf4_code__sides_exchanged():
    return levels_with_mistake("sides exchanged")


def nf4_code__unsorted():
    return levels_with_mistake("unsorted")


def nf4_code__sides_unsorted():
    return levels_with_mistake("sides unsorted")


def nf4_code__not_divided():
    return levels_with_mistake("not divided")


def nf4_code__one_probability_short():
    return levels_with_mistake("one probability short")


def nf4_code__float64():
    return levels_with_mistake("float64")


def quantize_with_mistake(mistake, w, code, *, block=64):
    flat = F.pad(w.flatten(), (0, -w.numel() % block))
    rows = flat.view(-1, block)
    absmax = rows.abs().amax(1)
    if mistake == "whole tensor":
        absmax = flat.abs().max().expand(len(rows)).clone()
    if mistake == "signed max":
        absmax = rows.amax(1)
    if mistake == "always float32":
        absmax = absmax.float()
    if mistake == "own levels":
        code = nf4_code()
    divisor = absmax if mistake == "no guard" else torch.where(absmax == 0, 1, absmax)
    scaled = rows if mistake == "not divided" else rows / divisor[:, None]
    index = (scaled[..., None] - code.to(w.dtype)).abs().argmin(-1).flatten()
    if mistake == "rounds down":
        index = (torch.bucketize(scaled, code.to(w.dtype), right=True) - 1).clamp(0, 15).flatten()
    if mistake == "no guard":
        index = torch.where(scaled.flatten().isnan(), 0, index)
    high, low = index[0::2], index[1::2]
    if mistake == "low first":
        high, low = low, high
    if mistake == "absmax one":
        absmax = divisor
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


def quantize_nf4__own_levels(w, code, *, block=64):
    return quantize_with_mistake("own levels", w, code, block=block)


def quantize_nf4__not_divided(w, code, *, block=64):
    return quantize_with_mistake("not divided", w, code, block=block)


def quantize_nf4__absmax_one(w, code, *, block=64):
    return quantize_with_mistake("absmax one", w, code, block=block)


def quantize_nf4__always_float32(w, code, *, block=64):
    return quantize_with_mistake("always float32", w, code, block=block)


def dequantize_with_mistake(mistake, packed, absmax, code, shape):
    if mistake == "own levels":
        code = nf4_code()
    if mistake == "always float32":
        absmax = absmax.float()
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


def dequantize_nf4__own_levels(packed, absmax, code, shape):
    return dequantize_with_mistake("own levels", packed, absmax, code, shape)


def dequantize_nf4__always_float32(packed, absmax, code, shape):
    return dequantize_with_mistake("always float32", packed, absmax, code, shape)


MISTAKES = (
    mistaken(
        nf4_code__uniform,
        "Your levels are equally spaced. In NF4 the PROBABILITIES are, and the levels are their quantiles.",
        "library difference: INT4 has equally spaced levels", levels_with_mistake,
    ),
    mistaken(
        nf4_code__sides_exchanged,
        "You have 8 negative and 7 positive levels. It is the other way round: 8 positive, 7 negative, and zero.",
        "card: linspace(offset, .5, 9) for the positive side, 8 for the negative one", levels_with_mistake,
    ),
    mistaken(
        nf4_code__unsorted,
        "The levels are right, but not in ascending order: index 0 is -1 and index 15 is +1.",
        "student mistake: the sides joined without sorting", levels_with_mistake,
    ),
    mistaken(
        nf4_code__sides_unsorted,
        "The levels are right, but not in ascending order: index 0 is -1 and index 15 is +1.",
        "student mistake: the sides joined without sorting", levels_with_mistake,
    ),
    mistaken(
        nf4_code__one_probability_short,
        "Your positive side ends at the probability 0.5, so 0 is there twice. Take the first 8 of NINE probabilities, "
        "linspace(offset, 0.5, 9)[:-1].",
        "student mistake: 8 probabilities for 8 levels", levels_with_mistake,
    ),
    mistaken(
        nf4_code__float64,
        "Your levels are float64. Compute in float64, then round to float32 at the end.",
        "student mistake: the last conversion forgotten", levels_with_mistake,
        name="float64_levels",
    ),
    mistaken(
        nf4_code__not_divided,
        "Divide by the largest level, so that they run from -1 to 1.",
        "student mistake: the last step forgotten", levels_with_mistake,
    ),
    mistaken(
        quantize_nf4__whole_tensor,
        "You divide by one absmax for the whole tensor. Every block has its own.",
        "student mistake: abs().max() without an axis", quantize_with_mistake,
    ),
    mistaken(
        quantize_nf4__signed_max,
        "You take the largest value of a block; the largest ABSOLUTE value is needed, or negative numbers leave "
        "the range.",
        "student mistake: amax without abs", quantize_with_mistake,
    ),
    mistaken(
        quantize_nf4__no_guard,
        "In a block of zeros you divide 0 by 0. Divide such a block by 1: its indices are those of the level 0.",
        "card: hidden case all-zero block", quantize_with_mistake,
    ),
    mistaken(
        quantize_nf4__rounds_down,
        "You take the level below. Take the nearest one.",
        "library difference: torch.bucketize with the levels, where bitsandbytes uses their middles",
        quantize_with_mistake,
    ),
    mistaken(
        quantize_nf4__low_first,
        "In each byte your two numbers are exchanged: the first one takes the HIGH four bits.",
        "card: bitsandbytes packs the first element into the high nibble", quantize_with_mistake,
        name="packs_low_first",
    ),
    mistaken(
        quantize_nf4__own_levels,
        "quantize_nf4 does not use `code`: with another table of levels it still takes those of NF4.",
        "student mistake: nf4_code() called inside, so that INT4 is compared with itself", quantize_with_mistake,
        name="quantizes_to_own_levels",
    ),
    mistaken(
        quantize_nf4__not_divided,
        "You look for the nearest level of the weight itself. Divide each block by its absmax first: the levels run "
        "from -1 to 1.",
        "student mistake: absmax computed and not used", quantize_with_mistake,
        name="weights_not_divided",
    ),
    mistaken(
        quantize_nf4__absmax_one,
        "A block of zeros is divided by 1, but its absmax is 0: keep the divisor apart from what you return.",
        "student mistake: the guard written into absmax", quantize_with_mistake,
    ),
    mistaken(
        quantize_nf4__always_float32,
        "Your absmax is float32 whatever `w` is. It has the dtype of `w`.",
        "student mistake: .float() on the way", quantize_with_mistake,
        name="absmax_always_float32",
    ),
    mistaken(
        dequantize_nf4__own_levels,
        "dequantize_nf4 does not use `code`: with another table of levels it still returns those of NF4.",
        "student mistake: nf4_code() called inside, so that INT4 is compared with itself", dequantize_with_mistake,
        name="dequantizes_to_own_levels",
    ),
    mistaken(
        dequantize_nf4__always_float32,
        "What you return is float32 whatever the dtype of `absmax` is. It has the dtype of `absmax`.",
        "student mistake: .float() on the way", dequantize_with_mistake,
        name="values_always_float32",
    ),
    mistaken(
        dequantize_nf4__low_first,
        "When you unpack, the two numbers of each byte are exchanged: the high four bits hold the first.",
        "card: bitsandbytes packs the first element into the high nibble", dequantize_with_mistake,
        name="unpacks_low_first",
    ),
    mistaken(
        dequantize_nf4__halves,
        "You return all high halves, then all low halves. They alternate: stack them in a new last axis, then "
        "flatten.",
        "student mistake: cat for stack", dequantize_with_mistake,
    ),
    mistaken(
        dequantize_nf4__levels_alone,
        "You return the levels. Multiply those of each block by its absmax.",
        "student mistake: the scales forgotten", dequantize_with_mistake,
    ),
    mistaken(
        dequantize_nf4__always_64,
        "You assume blocks of 64. The block size is twice the number of bytes divided by the number of blocks.",
        "student mistake: the default block size hard-coded", dequantize_with_mistake,
    ),
    Misconception(
        name="own_levels_twice",
        code=(
            quantize_with_mistake, dequantize_with_mistake, quantize_nf4__own_levels, dequantize_nf4__own_levels,
        ),
        hint="Neither of your functions uses `code`: with another table of levels both still take those of NF4.",
        source_of="student mistake: nf4_code() called inside, so that INT4 is compared with itself",
    ),
)  # fmt: skip
