"""Measured claims about erasing a ring, a colour and a style from `sd`; the experiments are in erasing.py.

Rates, ranks and numbers of steps were chosen on other seeds with an earlier `sd`; conditions and thresholds were fixed
before any of the seeds below was measured.
"""

from __future__ import annotations

import copy
from statistics import fmean
from typing import Any

import torch

from autograder.declare.claim import Claim
from chapters.ch28_concept_unlearning.claims import erasing
from dlcv_lab import world
from solutions.ch28_concept_unlearning import concept_mask, keep_probabilities

RULES = (
    "Concept: ring. Per seed 8 prompts that name it, 8 with 'hoop' or 'hollow shape', 32 about circles, triangles, "
    "hearts and crosses; 8 DDIM steps, guidance 4; unsure readings count as not shown. Locality: accuracy on the 32, "
    "divided by that of the untouched model on the same noise. Adam, batches of 4; rates: Ablating and ESD-x 1e-3, "
    "ESD-u 2e-4, erasers (rank 8) 6e-3, FMN 1e-3; 45 steps, FMN 15. Means of 3 seeds."
)
SWEPT = (
    " Steps are swept over 15, 30, 45, 60. 'equal': linear interpolation along the sweep at a locality of exactly .90 "
    "(the last model where it never falls so low). Attacked is the last model whose locality is at least .88."
)
ATTACK = (
    " Attack: 4 prompt vectors learned against the frozen model by 40 steps of textual inversion (Adam .1, batches of "
    "4) on 24 rendered rings; 8 pictures."
)
RING = "The ring is erased from sd, a Stable Diffusion of 1.3 M parameters; world.read looks for rings."


def mask_overlap(seed: int) -> dict[str, float]:
    """Compare the mask of the word "ring" with the ring itself, in 16 rendered pictures with noise of t = 500."""
    pipe = erasing.pipe()
    scene = world.sample(16, seed=seed, shapes=("ring",), sizes=("big",))
    with torch.no_grad():
        x = pipe.vae.encode(world.render(scene) * 2 - 1).latent_dist.mean * pipe.vae.config.scaling_factor
        t = torch.full((16,), 500)
        noisy = pipe.scheduler.add_noise(x, torch.randn(x.shape, generator=erasing.generator(seed)), t)
        watched = copy.deepcopy(erasing.base())
        kept = keep_probabilities(watched)
        watched(noisy, t, erasing.states([f"a {plain.things[0].colour} ring." for plain in scene.plain()]))
    truth = world.object_masks(scene, 16)[:, 0].bool()
    found = concept_mask([k.probabilities for k in kept.values()], [3], size=16, threshold=0.3).bool()

    def overlap(mask: torch.Tensor) -> float:
        return float(((mask & truth).sum((1, 2)) / (mask | truth).sum((1, 2))).mean())

    return {"overlap": overlap(found), "overlap of the whole picture": overlap(torch.ones_like(truth))}


def mean(values: dict[str, list[float]], name: str) -> float:
    return fmean(values[name])


def claim(
    id: str, keys: str, says: str, source: str, threshold: str, holds: Any, measured: tuple[str, ...], **more: Any
) -> Claim:
    """Declare a claim about methods of the chapter, their keys without 'ch28/', separated by blanks."""
    options = {"analogue": RING, "conditions": RULES, "measure": erasing.measured(*measured)} | more
    return Claim(
        id=id, methods=tuple(f"ch28/{key}" for key in keys.split()), says=says, source=source, threshold=threshold,
        holds=holds, seeds=(20, 21, 22), cheap=False, **options,
    )  # fmt: skip


CLAIMS = [
    claim(
        "protocol-sees",
        "erase_protocol",
        "Any idea how to perform objective evaluation?",
        "slide 'Receler (cont'd)', quantitative results",
        "of the untouched model's pictures the judge reads at least .8 as rings where a ring is asked for, by name and "
        "by other words, and an attacker without any obstacle gets at least .5",
        lambda v: (
            min(mean(v, "untouched: direct"), mean(v, "untouched: paraphrase")) >= 0.8
            and mean(v, "untouched: attacked") >= 0.5
        ),
        ("untouched",),
        conditions=RULES + ATTACK,
        reason="The measure is blind where the untouched model does not paint what is asked.",
    ),
    claim(
        "ablating-erases",
        "ablating_concepts",
        "Replacing the target's output by that of an anchor removes the target",
        "kumari2023ablating; slide 'Ablating Concepts in Text-to-Image Diffusion Models'",
        "after 60 steps rings in at most .15 of the pictures for the word, locality at least .80",
        lambda v: mean(v, "Ablating: direct after 60") <= 0.15 and mean(v, "Ablating: locality after 60") >= 0.8,
        ("swept:Ablating",),
        conditions=RULES + SWEPT,
        reason="60 steps at this rate were too few: nothing else had changed (1.00). Three times the rate, on "
        "another seed and an earlier sd, left no ring after 32 steps.",
    ),
    claim(
        "ablating-paraphrase",
        "ablating_concepts",
        "May be vulnerable to paraphrase",
        "slide 'Ablating Concepts in Text-to-Image Diffusion Models'",
        "at equal locality at least .30 more rings for paraphrases than for the word",
        lambda v: mean(v, "Ablating: paraphrase, equal") >= mean(v, "Ablating: direct, equal") + 0.3,
        ("swept:Ablating",),
        conditions=RULES + SWEPT,
        reason="In a model with 153 words the states of synonyms lie close together, so what happens to the "
        "word happens to them.",
    ),
    claim(
        "colour-and-style",
        "ablating_concepts",
        "Undesired are high-level concepts, styles, objects and persons",
        "slide 'Diffusion Models Concept Unlearning (cont'd)'",
        "45 steps of Ablating Concepts leave red in at most .25 and the sketch style in at most .25 of the pictures, "
        "and of other colours and another style at least .75 of what was there",
        lambda v: all(
            mean(v, f"{kind}: {kind} after") <= 0.25
            and mean(v, f"{kind}: others after") >= 0.75 * mean(v, f"{kind}: others before")
            for kind in ("colour", "style")
        ),
        ("concept:colour", "concept:style"),
        analogue="'red' is ablated to 'blue', 'in sketch style' to nothing. Individuals are left out: sd does not "
        "paint their marks.",
        reason="The style was gone and the colour was not touched at this rate; nothing else was lost.",
    ),
    claim(
        "esd-erases",
        "esd",
        "Fine-tuning towards reversed guidance removes the concept",
        "gandikota2023erasing; slide 'Erasing Concepts from Diffusion Models'",
        "ESD-x after 60 steps: rings in at most .15 of the pictures for the word",
        lambda v: mean(v, "ESD-x: direct after 60") <= 0.15,
        ("swept:ESD-x",),
        conditions=RULES + SWEPT,
        reason="60 steps at this rate were too few. Five times the rate, on another seed and an earlier sd, left no "
        "ring after 16 steps, at a locality of .97.",
    ),
    claim(
        "esd-x-or-u",
        "esd",
        "ESD-x suits styles, ESD-u objects that must be gone under any name; -u interferes more with other concepts",
        "gandikota2023erasing, section 4",
        "after 45 steps ESD-u has a lower locality than ESD-x, and no more rings for paraphrases",
        lambda v: (
            mean(v, "ESD-u: locality") < mean(v, "ESD-x: locality after 45")
            and mean(v, "ESD-u: paraphrase") <= mean(v, "ESD-x: paraphrase after 45")
        ),
        ("ESD-u", "swept:ESD-x"),
        conditions=RULES + SWEPT,
        reason="At its small rate ESD-u had erased nothing after 45 steps, and both localities are near 1.",
    ),
    claim(
        "receler-erases",
        "receler_eraser",
        "A lightweight eraser, trained with ESD's target, removes the concept",
        "huang2024receler; slide 'Receler (cont'd)', method 1/3",
        "after 60 rounds rings in at most .15 of the pictures for the word",
        lambda v: mean(v, "Receler: direct after 60") <= 0.15,
        ("swept:Receler",),
        conditions=RULES + SWEPT,
        reason="The localised regularisation, with the weight .1, holds the erasers back: without the mask .12 "
        "of the rings were left.",
    ),
    claim(
        "mask-finds",
        "receler_localised",
        "Attention maps say where the concept is",
        "huang2024receler; slide 'Receler (cont'd)', method 2/3",
        "intersection over union of the mask with the ring at least .40",
        lambda v: mean(v, "overlap") >= 0.4,
        (),
        measure=mask_overlap,
        analogue="The frozen sd looks at 16 rendered rings with noise of t = 500; truth is the world's mask at "
        "16 x 16.",
        conditions="Prompt 'a ... ring.'; attention of all 16 x 16 layers to the word 'ring'; threshold .3.",
        reason="The mask runs over the ring's edge.",
    ),
    claim(
        "attack-revives",
        "receler_adversarial uce",
        "Robustness: resistance when inputting paraphrased or adversarial attack prompts",
        "huang2024receler; slide 'Reliable Concept Erasing ...'",
        "a learned prompt finds rings (at least .30) in a model whose word was removed in closed form (at most .15)",
        lambda v: mean(v, "UCE: direct") <= 0.15 and mean(v, "UCE: attacked") >= 0.3,
        ("UCE",),
        conditions=RULES + ATTACK,
        reason="See the figures.",
    ),
    claim(
        "mask-keeps",
        "receler_localised",
        "Concept-localised regularisation achieves locality",
        "huang2024receler; slide 'Receler (cont'd)', method 2/3",
        "after 45 rounds the locality with the mask is higher than without it",
        lambda v: mean(v, "Receler: locality after 45") > mean(v, "Receler without mask: locality"),
        ("swept:Receler", "Receler without mask"),
        conditions=RULES + SWEPT + " Mask: threshold .3, weight .1.",
        reason="The difference is smaller than the spread over seeds.",
    ),
    claim(
        "attack-hardens",
        "receler_adversarial",
        "Adversarial prompt learning enhances robustness",
        "huang2024receler; slide 'Receler (cont'd)', method 3/3",
        "after 45 rounds fewer rings for paraphrases, or as many, and fewer under attack, than without the attacker",
        lambda v: (
            mean(v, "Receler: paraphrase after 45") <= mean(v, "Receler without attack: paraphrase")
            and mean(v, "Receler: attacked") < mean(v, "Receler without attack: attacked")
        ),
        ("swept:Receler", "Receler without attack"),
        conditions=RULES + SWEPT + ATTACK,
        reason="With the mask nothing was erased, with or without the attacker, so there was nothing to harden.",
    ),
    claim(
        "robust-paraphrase",
        "receler_adversarial receler_eraser esd ablating_concepts",
        "Receler is more robust than ESD, and ESD than Ablating Concepts (paraphrases)",
        "huang2024receler; slides 'Ablating Concepts ...' and 'Receler (cont'd)'",
        "at equal locality: rings for paraphrases with Receler < ESD-x < Ablating, each by .05 or more",
        lambda v: (
            mean(v, "Receler: paraphrase, equal") <= mean(v, "ESD-x: paraphrase, equal") - 0.05
            and mean(v, "ESD-x: paraphrase, equal") <= mean(v, "Ablating: paraphrase, equal") - 0.05
        ),
        ("swept:Receler", "swept:ESD-x", "swept:Ablating"),
        conditions=RULES + SWEPT,
        reason="Receler's regularisation was too strong for this sd and it erased nothing; no method came down "
        "to a locality of .90 within the sweep.",
    ),
    claim(
        "robust-attack",
        "receler_adversarial receler_eraser esd ablating_concepts",
        "Receler is more robust than ESD, and ESD than Ablating Concepts (learned prompts)",
        "huang2024receler; slides 'Ablating Concepts ...' and 'Receler (cont'd)'",
        "mean localities of the attacked models within .02 of each other, and rings under attack with Receler < ESD-x "
        "< Ablating, each by .05 or more",
        lambda v: (
            max(mean(v, f"{m}: locality of the attacked") for m in ("Receler", "ESD-x", "Ablating"))
            - min(mean(v, f"{m}: locality of the attacked") for m in ("Receler", "ESD-x", "Ablating"))
            <= 0.02
            and mean(v, "Receler: attacked") <= mean(v, "ESD-x: attacked") - 0.05
            and mean(v, "ESD-x: attacked") <= mean(v, "Ablating: attacked") - 0.05
        ),
        ("swept:Receler", "swept:ESD-x", "swept:Ablating"),
        conditions=RULES + SWEPT + ATTACK,
        reason="Receler's regularisation was too strong for this sd and it erased nothing; no method came down "
        "to a locality of .90 within the sweep.",
    ),
    claim(
        "uce-row",
        "uce",
        "UCE removes the word and keeps others (I2P 31.3 %, nudity erased 75.9 %, FID 14.07)",
        "gandikota2024unified, huang2024receler; slide 'Receler (cont'd)', quantitative results",
        "rings in at most .15 of the pictures for the word, locality at least .95",
        lambda v: mean(v, "UCE: direct") <= 0.15 and mean(v, "UCE: locality") >= 0.95,
        ("UCE",),
        conditions=RULES + ATTACK + " lam .1; keys of 'ring' in 8 colours, guide 'circle', kept: 6 shapes.",
        reason="Keys and values of the other words are not enough to keep them.",
    ),
    claim(
        "sld-row",
        "sld",
        "Stronger safety guidance erases more and costs more quality (SLD's FID is the worst of the table, 16.34)",
        "schramowski2023safe, huang2024receler; slide 'Receler (cont'd)', quantitative results",
        "the strongest setting leaves fewer rings than the weakest and has a lower locality",
        lambda v: (
            mean(v, "SLD max: direct") < mean(v, "SLD weak: direct")
            and mean(v, "SLD max: locality") < mean(v, "SLD weak: locality")
        ),
        ("SLD weak", "SLD max"),
        conditions=RULES + " Settings of diffusers, WEAK and MAX; WEAK's warm-up of 15 of 50 steps is 3 of 8.",
        reason="See the figures.",
    ),
    claim(
        "fmn-leaves",
        "fmn",
        "Forget-Me-Not leaves most of the concept (I2P 47.8 % of 48.9 %)",
        "zhang2023forget, huang2024receler; slide 'Receler (cont'd)', quantitative results",
        "after 15 steps rings in at least half of the pictures for paraphrases",
        lambda v: mean(v, "FMN: paraphrase") >= 0.5,
        ("FMN",),
        reason="Attention that may not go to the word 'ring' leaves its synonyms as well.",
    ),
    claim(
        "fmn-row",
        "fmn",
        "Forget-Me-Not erases least (I2P 47.8 % of 48.9 %; nudity erased 44.2 %)",
        "zhang2023forget, huang2024receler; slide 'Receler (cont'd)', quantitative results",
        "more rings for paraphrases than ESD-x after 45 steps",
        lambda v: mean(v, "FMN: paraphrase") > mean(v, "ESD-x: paraphrase after 45"),
        ("FMN", "swept:ESD-x"),
        conditions=RULES + SWEPT,
        reason="Attention that may not go to one word goes nowhere useful, whatever the word was.",
    ),
]
