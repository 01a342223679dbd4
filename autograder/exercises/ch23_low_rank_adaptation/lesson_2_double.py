"""Chapter 23, notebook 2: the optional `double_quantize`."""

import torch

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def double_cases(rng: torch.Generator) -> list[Case]:
    """Draw constants that lie near the middle of a step of 8 bits, so that rounding errors decide nothing."""

    def case(group: str, note: str, sizes: list[int], block: int | None = None) -> Case:
        parts = []
        for size in sizes:
            steps = torch.randint(-120, 120, (size,), generator=rng).float()
            steps[0] = 127.0
            steps[1] = -127.0
            parts.append((steps, 0.01 + 0.02 * float(torch.rand((), generator=rng))))
        left = torch.cat([steps * scale for steps, scale in parts]).double()
        # shift one number until the sum is zero, so that subtracting the mean of the constants returns the grid
        absmax = (left - left.mean() + 5.0).float()
        return Case(group, {"absmax": absmax, "block": block}, note)

    return [
        case("plain", "one block", [40]),
        case("plain", "three blocks of 8", [8, 8, 8], 8),
        case("edge", "a shorter last block", [8, 8, 3], 8),
        Case("edge", {"absmax": torch.full((6,), 1.5), "block": 4}, "all constants equal"),
    ]


def double_probe(ns, data):
    """Return scales and mean, and the constants that come back, to within a step."""
    more = {} if data["block"] is None else {"block": data["block"]}
    q, scale, mean = ns.double_quantize(data["absmax"], **more)
    block = data["block"] or 256
    steps = scale.repeat_interleave(block)[: len(q)]
    back = q.to(steps.dtype) * steps + mean
    close = bool(((back - data["absmax"]).abs() <= 0.51 * steps).all())
    return {"scale": scale, "mean": mean, "off by half a step at most": close, "dtype": str(q.dtype), "length": len(q)}


def double_quantize__loop(absmax, *, block=256):
    mean = absmax.mean()
    codes, scales = [], []
    for first in range(0, len(absmax), block):
        part = absmax[first : first + block] - mean
        largest = part.abs().max()
        scale = largest / 127 if largest > 0 else torch.ones_like(largest)
        scales.append(scale)
        codes.append(torch.round(part / scale).to(torch.int8))
    return torch.cat(codes), torch.stack(scales), mean


def double_quantize__padded(absmax, *, block=256):
    mean = absmax.sum() / len(absmax)
    rows = torch.nn.functional.pad(absmax - mean, (0, -len(absmax) % block)).view(-1, block)
    scale = rows.abs().amax(1) / 127
    scale = scale.masked_fill(scale == 0, 1.0)
    return (rows / scale[:, None]).round().flatten()[: len(absmax)].to(torch.int8), scale, mean


def double_with_mistake(mistake, absmax, *, block=256):
    mean = torch.zeros_like(absmax[0]) if mistake == "no mean" else absmax.mean()
    parts = (absmax - mean).split(len(absmax) if mistake == "one block" else block)
    if mistake == "mean per block":
        parts = [part - part.mean() for part in absmax.split(block)]
    scale = torch.stack([part.abs().max() / (128 if mistake == "128" else 127) for part in parts])
    if mistake != "no guard":
        scale = torch.where(scale == 0, 1, scale)
    q = torch.cat([part / s if mistake == "truncates" else (part / s).round() for part, s in zip(parts, scale)])
    return q.nan_to_num().clamp(-128, 127).to(torch.int8), scale, mean


def double_quantize__no_mean(absmax, *, block=256):
    return double_with_mistake("no mean", absmax, block=block)


def double_quantize__one_block(absmax, *, block=256):
    return double_with_mistake("one block", absmax, block=block)


def double_quantize__by_128(absmax, *, block=256):
    return double_with_mistake("128", absmax, block=block)


def double_quantize__no_guard(absmax, *, block=256):
    return double_with_mistake("no guard", absmax, block=block)


def double_quantize__mean_per_block(absmax, *, block=256):
    return double_with_mistake("mean per block", absmax, block=block)


def double_quantize__truncates(absmax, *, block=256):
    return double_with_mistake("truncates", absmax, block=block)


DOUBLE = Exercise(
    name="double_quantize",
    methods=("ch23/qlora",),
    groups={"plain": 1, "edge": 1},
    cases=double_cases,
    probe=double_probe,
    alternatives=(
        Alternative(name="loop", code=(double_quantize__loop,)),
        Alternative(name="padded", code=(double_quantize__padded,)),
    ),
    misconceptions=(
        mistaken(
            double_quantize__no_mean,
            "Subtract the mean first. The constants are all positive, so half of the 256 codes would stay unused.",
            "paper: section 3 subtracts the mean of the constants",
            double_with_mistake,
        ),
        mistaken(
            double_quantize__one_block,
            "You use one scale for all constants. Every block of them has its own.",
            "student mistake: the second level of blocks forgotten",
            double_with_mistake,
        ),
        mistaken(
            double_quantize__by_128,
            "Divide by 127: int8 ends at +127, and the largest constant would become 128.",
            "student mistake: 2 to the power 7",
            double_with_mistake,
        ),
        mistaken(
            double_quantize__no_guard,
            "A block whose constants all equal the mean has the scale 0. Use 1 there.",
            "card: hidden case of a block of zeros, one level up",
            double_with_mistake,
        ),
        mistaken(
            double_quantize__mean_per_block,
            "You subtract the mean of each block. There is ONE mean, of all constants.",
            "student mistake: mean and scale taken in the same loop",
            double_with_mistake,
        ),
        mistaken(
            double_quantize__truncates,
            "Converting to int8 cuts decimals off. Round first.",
            "library difference: Tensor.to(torch.int8) truncates towards zero",
            double_with_mistake,
        ),
    ),
    hints=(
        "What is the smallest, what the largest number that int8 holds, and which constant should land there?",
        "Subtract the mean, split into blocks, scale = largest absolute value / 127 (or 1), round the quotients.",
        "parts = (absmax - mean).split(block); scale = torch.stack([part.abs().max() / 127 for part in parts]); q = "
        "torch.cat([(part / s).round() for part, s in zip(parts, scale)]).to(torch.int8)",
    ),
    good_for="the last third of a bit",
    minutes=10,
    difficulty="easy",
)
