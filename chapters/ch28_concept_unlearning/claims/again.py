"""The question of robustness, measured a second time: at larger rates.

The first measurement (measured.py) stays as it came out. Rates, sweeps and the locality of the comparison were
chosen on seed 30 alone, with an earlier `sd`, and written down here before any of the seeds 20, 21 and 22 was measured.
They were measured on that `sd` and, nothing else changed, on the present one, whose figures stand in the ledger.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from autograder.declare.claim import Claim
from chapters.ch28_concept_unlearning.claims import erasing_again

MARGIN, WITHIN, FEW = 0.05, 0.02, 0.15
CONDITIONS = (
    "As in the first measurement: concept ring; per noise 8 prompts that name it, 8 with 'hoop' or 'hollow shape', 32 "
    "about circles, triangles, hearts and crosses; 8 DDIM steps, guidance 4; batches of 4. Here two noises a seed, and "
    "larger rates, chosen on seed 30 with an earlier sd: Ablating 3e-3, looked at after 96, 120 and 144 steps; ESD-x "
    "5e-3, after 12, 16 and 24; Receler (rank 8) 6e-3, mask weight 1e-3, one attacking step a round, after 40, 60 and "
    "80. 'equal' is the model of the sweep whose locality is nearest to .95. Attack: two prompts of 4 vectors, each by "
    "40 steps of textual inversion (Adam .1) on 24 rendered rings; 8 pictures each. Means of 3 seeds."
)
SETTINGS: dict[str, Any] = {
    "methods": ("ch28/receler_adversarial", "ch28/receler_eraser", "ch28/esd", "ch28/ablating_concepts"),
    "analogue": "The ring is erased from sd, a Stable Diffusion of 1.3 M parameters; world.read looks for rings.",
    "conditions": CONDITIONS,
    "measure": erasing_again.measured,
    "seeds": (20, 21, 22),
    "cheap": False,
}


def means(values: dict[str, list[float]], figure: str) -> list[float]:
    """Return a figure of the compared models, in the mean of the seeds: Receler, ESD-x, Ablating."""
    return [fmean(values[f"{method}: {figure}, equal"]) for method in ("Receler", "ESD-x", "Ablating")]


def ordered(values: dict[str, list[float]], figure: str) -> bool:
    """Tell whether localities are equal and the three methods stand in the order of the slides, each by the margin."""
    localities, (receler, esd, ablating) = means(values, "locality"), means(values, figure)
    equal = max(localities) - min(localities) <= WITHIN
    return equal and receler <= esd - MARGIN and esd <= ablating - MARGIN


CLAIMS = [
    Claim(
        id="erases-again",
        says="Each of the three methods removes the concept (second measurement, larger rates)",
        source="kumari2023ablating, gandikota2023erasing, huang2024receler",
        threshold="rings by name in at most .15 of the pictures of each compared model",
        holds=lambda v: max(means(v, "direct")) <= FEW,
        reason="Ablating Concepts left none and ESD-x .06; Receler left .23, from 0 to .62 on the three seeds. Why was "
        "not measured.",
        **SETTINGS,
    ),
    Claim(
        id="robust-paraphrase-again",
        says="Receler is more robust than ESD, and ESD than Ablating Concepts (paraphrases; second measurement)",
        source="huang2024receler; slides 'Ablating Concepts ...' and 'Receler (cont'd)'",
        threshold="mean localities within .02 of each other, and rings for paraphrases with Receler < ESD-x < "
        "Ablating, each by .05 or more",
        holds=lambda v: ordered(v, "paraphrase"),
        reason="It came out the other way round: Ablating Concepts left none, Receler and ESD-x .10 each. The "
        "localities are .023 apart, a little more than allowed.",
        **SETTINGS,
    ),
    Claim(
        id="robust-attack-again",
        says="Receler is more robust than ESD, and ESD than Ablating Concepts (learned prompts; second measurement)",
        source="huang2024receler; slides 'Ablating Concepts ...' and 'Receler (cont'd)'",
        threshold="mean localities within .02 of each other, and rings under attack with Receler < ESD-x < Ablating, "
        "each by .05 or more",
        holds=lambda v: ordered(v, "attacked"),
        reason="The order came out, .38 with Receler, .56 with ESD-x, .88 with Ablating Concepts, but at localities "
        ".023 apart, a little more than allowed. On an earlier sd ESD-x stood at .88 as well.",
        **SETTINGS,
    ),
]
