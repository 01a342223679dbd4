"""Chapter 28, notebook 2, extras: cases, probes and variants of `sld_guidance` and `resteer_loss`."""

import torch

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def sld_cases(rng: torch.Generator) -> list[Case]:
    """Draw noises that are near each other, with the settings of the paper and others."""

    def case(group: str, note: str, step: int, *, equal: bool = False, dtype=torch.float32, **settings) -> Case:
        def draw() -> torch.Tensor:
            return torch.randn(2, 3, 3, generator=rng, dtype=dtype)

        data = {"e_null": draw(), "e_prompt": draw(), "momentum": draw(), "step": step}
        data["e_safe"] = data["e_prompt"] + 0.3 * draw()
        if equal:
            data["e_safe"][0] = data["e_prompt"][0]
        given = {"guidance": 7.5, "scale": 2.0, "warmup": 3, "threshold": 0.1, "momentum_scale": 0.3, "beta": 0.4}
        return Case(group, data | {"settings": given | settings}, note)

    return [
        case("noise", "after the warm-up", 5),
        case("noise", "the first step after it, guidance 1", 3, guidance=1.0),
        case("noise", "during the warm-up", 2),
        case("momentum", "a strong setting", 9, scale=50.0, threshold=0.025, momentum_scale=0.5, beta=0.7),
        case("momentum", "nothing is above the threshold", 4, threshold=1.0, warmup=0, dtype=torch.float64),
        case("momentum", "a difference exactly at the threshold", 4, equal=True, threshold=0.0, scale=0.5),
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


def sld_with_mistake(mistake, e_null, e_prompt, e_safe, momentum, step, k):
    difference = e_prompt - e_safe
    s = (k["scale"] * difference.abs()).clamp(max=1.0)
    if mistake == "larger":
        s = (k["scale"] * difference.abs()).clamp(min=1.0)
    size = difference.abs() if mistake == "unsigned" else difference
    s = torch.where(size > k["threshold"] if mistake == "strict" else size >= k["threshold"], 0.0, s)
    if mistake == "everywhere":
        s = (k["scale"] * difference.abs()).clamp(max=1.0)
    g = s * (e_safe - (e_prompt if mistake == "from the prompt" else e_null)) + k["momentum_scale"] * momentum
    new = k["beta"] * momentum + (1 - k["beta"]) * g
    used = k["momentum_scale"] * new + s * (e_safe - e_null) if mistake == "new momentum" else g
    if step < k["warmup"] and mistake != "no warm-up":
        used = torch.zeros_like(g)
        new = momentum if mistake == "momentum waits" else new
    if mistake == "unscaled":
        return e_null + k["guidance"] * (e_prompt - e_null) - used, new
    return e_null + k["guidance"] * (e_prompt - e_null - used), new


def sld_guidance__larger(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("larger", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__unsigned(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("unsigned", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__everywhere(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("everywhere", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__from_the_prompt(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("from the prompt", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__new_momentum(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("new momentum", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__no_warmup(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("no warm-up", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__momentum_waits(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("momentum waits", e_null, e_prompt, e_safe, momentum, step, k)


def sld_guidance__unscaled(e_null, e_prompt, e_safe, momentum, step, **k):
    return sld_with_mistake("unscaled", e_null, e_prompt, e_safe, momentum, step, k)


def sld_mistake(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function."""
    name = variant.__name__.split("__")[1]
    return Misconception(name=name, code=(sld_with_mistake, variant), hint=hint, source_of=source_of)


SLD = Exercise(
    name="sld_guidance",
    methods=("ch28/sld",),
    groups={"noise": 2, "momentum": 1},
    cases=sld_cases,
    probe=sld_probe,
    alternatives=(
        Alternative(name="masks", code=(sld_guidance__masks,)),
        Alternative(name="in_place", code=(sld_guidance__in_place,)),
    ),
    misconceptions=(
        sld_mistake(
            sld_guidance__larger,
            "Your factor is at least 1, as the paper prints it. It is at most 1: min(1, scale * |difference|).",
            "card trap: the paper prints max(1, .), the code clamps at 1",
        ),
        sld_mistake(
            sld_guidance__unsigned,
            "You compare the size of the difference with the threshold. Compare e_prompt - e_safe with its sign.",
            "card trap: the comparison is signed and element-wise",
        ),
        sld_mistake(
            sld_guidance__everywhere,
            "The threshold makes no difference to your result. The factor is 0 where e_prompt - e_safe >= threshold.",
            "student mistake: the condition forgotten",
        ),
        sld_mistake(
            sld_guidance__from_the_prompt,
            "Your direction is e_safe - e_prompt. It is e_safe - e_null, the guidance towards the unsafe concept.",
            "student mistake: which difference is guidance",
        ),
        sld_mistake(
            sld_guidance__new_momentum,
            "g uses the momentum that came in, not the one that goes out.",
            "card trap: g uses the old nu",
        ),
        sld_mistake(
            sld_guidance__no_warmup,
            "You subtract g from the first step on. While step < warmup the noise is that of ordinary guidance.",
            "student mistake: warm-up forgotten",
        ),
        sld_mistake(
            sld_guidance__momentum_waits,
            "The momentum is updated during the warm-up as well.",
            "card trap: nu is updated during warm-up",
        ),
        sld_mistake(
            sld_guidance__unscaled,
            "g stands inside the bracket and is multiplied by the guidance.",
            "student mistake: the bracket lost",
        ),
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
)


def resteer_cases(rng: torch.Generator) -> list[Case]:
    """Draw attention of several layers; positions differ between examples, one case has none."""

    def case(group: str, note: str, B: int, places: list[int], chosen: int, dtype=torch.float32) -> Case:
        layers = [torch.randn(B, 2, n, 6, generator=rng, dtype=dtype).softmax(-1) for n in places]
        positions = torch.zeros(B, 6, dtype=torch.bool)
        for row in positions:
            row[torch.randperm(6, generator=rng)[:chosen]] = True
        return Case(group, {"probabilities": layers, "positions": positions}, note)

    return [
        case("value", "two layers, one word", 1, [4, 9], 1),
        case("value", "three examples with words at different places", 3, [4, 4, 9], 2),
        case("value", "float64", 2, [9], 1, torch.float64),
        case("edge", "no word belongs to the concept", 2, [4, 4], 0),
    ]


def resteer_probe(ns, data):
    """Return the loss and its gradients."""
    layers = [p.clone().requires_grad_() for p in data["probabilities"]]
    loss = ns.resteer_loss(layers, data["positions"])
    found = torch.autograd.grad(loss, layers, allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(layers, found)]
    return {"loss": loss.detach(), "gradients": zeros}


def resteer_loss__collected(probabilities, positions):
    parts = [p.permute(0, 3, 1, 2)[positions].flatten() for p in probabilities]
    return (torch.cat(parts).pow(2).sum() + 1e-12) ** 0.5


def resteer_loss__loops(probabilities, positions):
    total = 1e-12
    for p in probabilities:
        for example, row in zip(p, positions):
            for w in range(len(row)):
                if row[w]:
                    total = total + (example[:, :, w] ** 2).sum()
    return torch.sqrt(total) if isinstance(total, torch.Tensor) else (probabilities[0] * 0).sum() + total**0.5


def resteer_loss__squared(probabilities, positions):
    return sum((p * positions[:, None, None, :]).square().sum() for p in probabilities) + 1e-12


def resteer_loss__mean(probabilities, positions):
    total = sum((p * positions[:, None, None, :]).square().mean() for p in probabilities)
    return (total + 1e-12).sqrt()


def resteer_loss__sum_of_norms(probabilities, positions):
    return sum(((p * positions[:, None, None, :]).square().sum() + 1e-12).sqrt() for p in probabilities)


def resteer_loss__first_example(probabilities, positions):
    total = sum((p * positions[:1, None, None, :]).square().sum() for p in probabilities)
    return (total + 1e-12).sqrt()


def resteer_loss__others(probabilities, positions):
    total = sum((p * ~positions[:, None, None, :]).square().sum() for p in probabilities)
    return (total + 1e-12).sqrt()


def resteer_mistake(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function."""
    return Misconception(name=variant.__name__.split("__")[1], code=(variant,), hint=hint, source_of=source_of)


RESTEER = Exercise(
    name="resteer_loss",
    methods=("ch28/fmn",),
    groups={"value": 1, "edge": 1},
    cases=resteer_cases,
    probe=resteer_probe,
    alternatives=(
        Alternative(name="collected", code=(resteer_loss__collected,)),
        Alternative(name="loops", code=(resteer_loss__loops,)),
    ),
    misconceptions=(
        resteer_mistake(
            resteer_loss__squared,
            "Your loss is squared. The official code takes the norm: the root of the sum of squares.",
            "card trap: cat(...).norm(), not squared",
        ),
        resteer_mistake(
            resteer_loss__mean,
            "You take means. The norm is a root of a SUM, over layers, heads, places and words.",
            "student mistake: mean for sum",
        ),
        resteer_mistake(
            resteer_loss__sum_of_norms,
            "You add one norm per layer. All probabilities go into one norm.",
            "student mistake: the root taken too early",
        ),
        resteer_mistake(
            resteer_loss__first_example,
            "You use the positions of the first example for all. Every row of `positions` belongs to its own example.",
            "card trap: the official mask is right for a batch of one only",
        ),
        resteer_mistake(
            resteer_loss__others,
            "You punish attention to the other words. Punish attention to the concept's.",
            "student mistake: the mask inverted",
        ),
    ),
    hints=(
        "Along which of the four axes do the words lie? What is the gradient of a root at zero?",
        "Multiply each tensor by positions[:, None, None, :], square, sum everything over all layers, add 1e-12, root.",
        "total = sum((p * positions[:, None, None, :]).square().sum() for p in probabilities); (total + 1e-12).sqrt()",
    ),
    good_for="making pixels look away from a word",
    minutes=10,
)
