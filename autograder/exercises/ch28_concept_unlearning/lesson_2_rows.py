"""Chapter 28, notebook 2, extra: cases, probe and variants of `sld_guidance`."""

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def sld_cases(rng: torch.Generator) -> list[Case]:
    """Draw noises that are near each other, with the settings of the paper and others."""

    def case(group: str, note: str, step: int, *, equal: bool = False, dtype=torch.float32, **settings) -> Case:
        def draw() -> torch.Tensor:
            return torch.randn(2, 3, 3, generator=rng, dtype=dtype)

        data = {"e_null": draw(), "e_prompt": draw(), "momentum": draw(), "step": step}
        data["e_safe"] = data["e_prompt"] + 0.3 * draw()
        if equal:  # quarters, so that the difference is exactly the threshold
            data["e_safe"][0] = (4 * data["e_safe"][0]).round() / 4
            data["e_prompt"][0] = data["e_safe"][0] + 0.25
        given = {"guidance": 7.5, "scale": 2.0, "warmup": 3, "threshold": 0.1, "momentum_scale": 0.3, "beta": 0.4}
        return Case(group, data | {"settings": given | settings}, note)

    return [
        case("noise", "after the warm-up", 5),
        case("noise", "the first step after it, guidance 1", 3, guidance=1.0),
        case("noise", "during the warm-up", 2),
        case("momentum", "a strong setting", 9, scale=50.0, threshold=0.025, momentum_scale=0.5, beta=0.7),
        case("momentum", "nothing is above the threshold", 4, threshold=1.0, warmup=0, dtype=torch.float64),
        case("momentum", "a difference exactly at the threshold", 4, equal=True, threshold=0.25, scale=0.5),
    ]


def sld_probe(ns, data):
    """Return noise and momentum."""
    noises = (data["e_null"], data["e_prompt"], data["e_safe"], data["momentum"])
    noise, momentum = ns.sld_guidance(*noises, data["step"], **data["settings"])
    return {"noise": noise, "momentum": momentum}


def sld_guidance__masks(
    e_null, e_prompt, e_safe, momentum, step, *, guidance, scale, warmup, threshold, momentum_scale, beta
):
    near = (e_prompt - e_safe < threshold).to(e_null.dtype)
    s = near * torch.minimum(scale * (e_prompt - e_safe).abs(), torch.ones_like(e_null))
    g = s * e_safe - s * e_null + momentum_scale * momentum
    noise = e_null + guidance * (e_prompt - e_null)
    if step >= warmup:
        noise = noise - guidance * g
    return noise, torch.lerp(g, momentum, beta)


def sld_guidance__in_place(
    e_null, e_prompt, e_safe, momentum, step, *, guidance, scale, warmup, threshold, momentum_scale, beta
):
    s = (scale * (e_prompt - e_safe).abs()).clip(0, 1)
    s[(e_prompt - e_safe) >= threshold] = 0
    g = (e_safe - e_null) * s
    g += momentum_scale * momentum
    late = 1.0 if step >= warmup else 0.0
    return e_null * (1 - guidance) + guidance * (e_prompt - late * g), beta * momentum + (1 - beta) * g


SLD = Exercise(
    name="sld_guidance",
    methods=("ch28/sld",),
    groups={"noise": 2, "momentum": 1},
    cases=sld_cases,
    probe=sld_probe,
    alternatives=(alternative(sld_guidance__masks), alternative(sld_guidance__in_place)),
    misconceptions=(
        slip("larger", {"clamp(max=1.0)": "clamp(min=1.0)"},
             "Your factor is at least 1, as the paper prints it. It is at most 1: min(1, scale * |difference|).",
             "card trap: the paper prints max(1, .), the code clamps at 1"),
        slip("unsigned", {"difference >= threshold": "difference.abs() >= threshold"},
             "You compare the size of the difference with the threshold. Compare e_prompt - e_safe with its sign.",
             "card trap: the comparison is signed and element-wise"),
        slip("everywhere",
             {"s = torch.where(difference >= threshold, 0.0, (scale * difference.abs()).clamp(max=1.0))":
                "s = (scale * difference.abs()).clamp(max=1.0)"},
             "The threshold makes no difference to your result. The factor is 0 where e_prompt - e_safe >= threshold.",
             "student mistake: the condition forgotten"),
        slip("from_the_prompt", {"e_safe - e_null": "e_safe - e_prompt"},
             "Your direction is e_safe - e_prompt. It is e_safe - e_null, the guidance towards the unsafe concept.",
             "student mistake: which difference is guidance"),
        slip("new_momentum",
             {"change = e_prompt - e_null - (g if step >= warmup else 0.0)":
                "used = momentum_scale * (beta * momentum + (1 - beta) * g) + s * (e_safe - e_null)\n"
                "change = e_prompt - e_null - (used if step >= warmup else 0.0)"},
             "g uses the momentum that came in, not the one that goes out.", "card trap: g uses the old nu"),
        slip("turned_round",
             {"difference >= threshold": "difference < threshold"},
             "You guide where nothing is the matter: s is 0 where the difference is AT LEAST the threshold, "
             "not below it.",
             "student mistake: a mask inverted"),
        slip("added",
             {"- (g if": "+ (g if"},
             "You add g, which steers towards what shall be avoided. It is subtracted.",
             "student mistake: a sign"),
        slip("no_warmup", {"(g if step >= warmup else 0.0)": "g"},
             "You subtract g from the first step on. While step < warmup the noise is that of ordinary guidance.",
             "student mistake: warm-up forgotten"),
        slip("momentum_waits",
             {"return e_null + guidance * change, beta * momentum + (1 - beta) * g":
                "return e_null + guidance * change, beta * momentum + (1 - beta) * g if step >= warmup else momentum"},
             "The momentum is updated during the warm-up as well.", "card trap: nu is updated during warm-up"),
        slip("unscaled",
             {"change = e_prompt - e_null - (g if step >= warmup else 0.0)": "change = e_prompt - e_null",
              "e_null + guidance * change": "e_null + guidance * change - (g if step >= warmup else 0.0)"},
             "g stands inside the bracket and is multiplied by the guidance.", "student mistake: the bracket lost"),
        slip("strict", {"difference >= threshold": "difference > threshold"},
             "Where the difference is exactly the threshold, the factor is 0 as well: >=.",
             "first reader: no case told it from the right answer"),
        slip("signed", {"difference.abs()": "difference"},
             "Your factor lacks the bars: it is min(1, scale * |e_prompt - e_safe|), never negative.",
             "student mistake: the absolute value forgotten"),
        slip("no_momentum", {" + momentum_scale * momentum": ""},
             "momentum_scale * momentum is missing in g.", "student mistake: the second term forgotten"),
        slip("beta_exchanged", {"beta * momentum + (1 - beta) * g": "(1 - beta) * momentum + beta * g"},
             "beta weighs the old momentum, 1 - beta the new g.", "student mistake: the two factors exchanged"),
        slip("one_step_late", {"step >= warmup": "step > warmup"},
             "You leave g out at step == warmup, too. It is left out while step < warmup.", "student mistake: one off"),
    ),
    hints=(
        "Where does the prompt come near the unsafe concept, element by element? What is pushed away, and when?",
        "difference = e_prompt - e_safe; s = min(1, scale * |difference|), 0 where difference >= threshold; g from s, "
        "the direction and the old momentum; new momentum; noise with g only from the warm-up on.",
        "s = torch.where(difference >= threshold, 0.0, (scale * difference.abs()).clamp(max=1.0)); g = s * (e_safe - "
        "e_null) + momentum_scale * momentum; e_null + guidance * (e_prompt - e_null - g)",
    ),
    good_for="steering away without touching a weight",
    minutes=20,
    difficulty="hard",
)  # fmt: skip
