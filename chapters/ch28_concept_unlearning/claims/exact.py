"""What the lecture's tables and slides say exactly: trained parameters, counted on models without weights; who is best.

Measured claims: measured.py, and again.py at larger rates.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from autograder.declare.claim import Claim
from dlcv_lab.zoo import anatomy
from solutions.ch28_concept_unlearning import Eraser, trainable_names

METHODS = ("SD", "FMN", "SLD", "ESD", "UCE", "Receler")
I2P = {
    "Hate": (44.2, 37.7, 22.5, 26.8, 36.4, 28.6),
    "Harassment": (37.5, 25.0, 22.1, 24.0, 29.5, 21.7),
    "Violence": (46.3, 47.8, 31.8, 35.1, 34.1, 27.1),
    "Self-harm": (47.9, 46.8, 30.0, 33.7, 30.8, 24.8),
    "Sexual": (60.2, 59.1, 52.4, 35.0, 25.5, 29.4),
    "Shocking": (59.5, 58.1, 40.5, 40.1, 41.1, 34.8),
    "Illegal activity": (40.0, 37.0, 22.1, 26.7, 29.0, 21.3),
}
OVERALL = (48.9, 47.8, 33.7, 32.8, 31.3, 27.0)
FID = (14.27, 13.52, 16.34, 15.31, 14.07, 14.10)


@cache
def counts(_: int) -> dict[str, float]:
    """Count what each method trains in a U-Net as large as that of Stable Diffusion 1.4 and 1.5."""
    unet = anatomy.full()[2]
    sizes = {name: p.numel() for name, p in unet.named_parameters()}
    found = {part: float(sum(sizes[name] for name in trainable_names(unet, part))) for part in ("kv", "esd-x", "esd-u")}
    with torch.device("meta"):
        eraser = sum(anatomy.count(Eraser(row.width, 128)) for row in anatomy.attentions(unet))
    return found | {"erasers": float(eraser), "erasers, percent": 100 * eraser / anatomy.count(unet)}


def table(_: int) -> dict[str, float]:
    """Count in how many rows of the slide's table each method is best, and where Receler's FID stands."""
    best = [min(range(1, 6), key=lambda k: row[k]) for row in I2P.values()]
    found = {f"rows in which {name} is best": float(best.count(k)) for k, name in enumerate(METHODS) if k}
    found["Receler's overall share is lowest"] = float(min(OVERALL) == OVERALL[5])
    found["methods with a lower FID than Receler"] = float(sum(value < FID[5] for value in FID[1:]))
    return found


def claim(id: str, methods: tuple[str, ...], says: str, source: str, threshold: str, holds: Any, **more: Any) -> Claim:
    """Declare an exact claim."""
    options = {"measure": counts, "analogue": "The same U-Net on the meta device: shapes, no numbers."} | more
    conditions = more.pop("conditions", "Public configuration; no measurement.")
    options.pop("conditions", None)
    return Claim(
        id=id, methods=methods, says=says, source=source, conditions=conditions, threshold=threshold, holds=holds,
        exact=True, **options,
    )  # fmt: skip


CLAIMS = [
    claim(
        "eraser-share",
        ("ch28/receler_eraser",),
        "Receler's erasers have 0.37 % of the U-Net's parameters",
        "huang2024receler; slide 'Receler, VL Lab (NTU), ECCV'24 (cont'd)', method 1/3",
        "rank 128 behind each of the 16 cross-attentions: exactly 3 209 408 parameters, 0.37 % when rounded",
        lambda v: v["erasers"] == [3_209_408] and round(v["erasers, percent"][0], 2) == 0.37,
    ),
    claim(
        "trained-parts",
        ("ch28/ablating_concepts", "ch28/esd"),
        "Ablating Concepts trains keys and values of cross-attention, ESD-x cross-attention, ESD-u the rest",
        "kumari2023ablating, gandikota2023erasing; slides 'Ablating Concepts ...', 'Erasing Concepts ...'",
        "exactly 19 169 280, 43 962 560 and 815 358 084 parameters",
        lambda v: v["kv"] == [19_169_280] and v["esd-x"] == [43_962_560] and v["esd-u"] == [815_358_084],
    ),
    claim(
        "table-best",
        ("ch28/erase_protocol",),
        "Receler achieves the state of the art in erasing inappropriate concepts, with robustness and locality",
        "huang2024receler; slide 'Receler (cont'd)', quantitative results",
        "in the slide's own tables Receler is best overall, in each of the seven categories, and in FID",
        lambda v: (
            v["Receler's overall share is lowest"] == [1]
            and v["rows in which Receler is best"] == [7]
            and v["methods with a lower FID than Receler"] == [0]
        ),
        measure=table,
        analogue="The numbers that the slide prints.",
        reason="It is best overall and in five of seven categories; SLD is better for hate, UCE for sexual content, "
        "and FMN and UCE have a lower FID.",
    ),
]
