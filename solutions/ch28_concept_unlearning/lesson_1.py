"""Chapter 28, notebook 1: how erasing is measured, Ablating Concepts, and ESD."""

import math
import re

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def wilson_interval(k: int, n: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval (low, high) of a share that was counted as k of n, n at least 1.

    With p = k / n the middle is (p + z^2 / 2n) / (1 + z^2 / n), and half the width is
    z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2). Unlike p +- z sqrt(p (1 - p) / n) it stays within [0, 1] and
    has a width at k = 0 and k = n. z = 1.96 gives 95 %.
    """
    ### BEGIN SOLUTION
    p, shrink = k / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
    ### END SOLUTION


def erase_report(
    direct: Int[Tensor, "D"],
    paraphrase: Int[Tensor, "P"],
    other: Int[Tensor, "N"],
    other_before: Int[Tensor, "N"],
    asked: Int[Tensor, "N"],
    *,
    target: int,
) -> dict[str, float]:
    """Return four figures of an erased model, each a share, from the labels that a judge reads in its pictures.

    A label is a number of 0 or more, or -1 where the judge is unsure; unsure pictures count, as not showing anything.

    Args:
        direct: read in pictures for prompts that name the target.
        paraphrase: read in pictures for prompts that mean the target in other words.
        other: read in pictures for prompts about other concepts.
        other_before: the same prompts and seeds, painted by the model before erasing.
        asked: the label that each of these other prompts asks for.
        target: the label of the erased concept.

    Returns:
        "direct" and "paraphrase", the shares of pictures that show the target (lower is better); "locality", the
        accuracy on other concepts divided by that before erasing (1.0 if that was 0); "score", the harmonic mean of
        1 - direct, 1 - paraphrase and min(locality, 1), which is 0 if one of the three is 0.
    """
    ### BEGIN SOLUTION
    shown = [(seen == target).to(torch.float64).mean().item() for seen in (direct, paraphrase)]
    after, before = ((seen == asked).to(torch.float64).mean().item() for seen in (other, other_before))
    locality = after / before if before > 0 else 1.0
    parts = [1 - shown[0], 1 - shown[1], min(locality, 1.0)]
    score = 3 / sum(1 / part for part in parts) if min(parts) > 0 else 0.0
    return {"direct": shown[0], "paraphrase": shown[1], "locality": locality, "score": score}
    ### END SOLUTION


def make_pairs(prompts: list[str], anchor: str, target: str) -> list[tuple[str, str]]:
    """Return (anchor prompt, target prompt) for each prompt that names the anchor, in order.

    The target prompt is the anchor prompt with every occurrence of the anchor replaced by the target. Only whole words
    count, in small or capital letters ("art" is not in "party", but in "Art, please"); prompts that do not name the
    anchor are left out. Both may consist of several words and of any characters. The target goes in as it is given,
    and the rest of the prompt keeps its letters.
    """
    ### BEGIN SOLUTION
    word = re.compile(rf"(?<!\w){re.escape(anchor)}(?!\w)", re.IGNORECASE)
    return [(prompt, word.sub(lambda _: target, prompt)) for prompt in prompts if word.search(prompt)]
    ### END SOLUTION


def trainable_names(unet: nn.Module, part: str) -> list[str]:
    """Return the names of the parameters that a method trains, in the order of `unet.named_parameters()`.

    - "kv" (Ablating Concepts): the weights of the layers `to_k` and `to_v` in every cross-attention (no biases there).
    - "esd-x": weights and biases of every `nn.Linear` and `nn.Conv2d` inside a cross-attention.
    - "esd-u": weights and biases of every `nn.Linear` and `nn.Conv2d` outside all cross-attentions.

    A cross-attention is a module called exactly `attn2`, at any depth: "attn2" is one of the parts of the name between
    dots. Norms are neither Linear nor Conv2d, so nobody trains them.

    Raises:
        ValueError: `part` is none of the three.
    """
    ### BEGIN SOLUTION
    if part not in ("kv", "esd-x", "esd-u"):
        raise ValueError(f"part is 'kv', 'esd-x' or 'esd-u', not {part!r}")
    chosen = set()
    for name, module in unet.named_modules():
        path = name.split(".")
        inside = "attn2" in path
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or inside == (part == "esd-u"):
            continue
        if part != "kv" or path[-1] in ("to_k", "to_v"):
            chosen |= {f"{name}.{leaf}" for leaf, _ in module.named_parameters()}
    return [name for name, _ in unet.named_parameters() if name in chosen]
    ### END SOLUTION


def ablation_loss(
    unet: nn.Module,
    x_t: Float[Tensor, "B C H W"],
    t: Int[Tensor, "B"],
    target: Float[Tensor, "B N D"],
    anchor: Float[Tensor, "B N D"],
) -> Float[Tensor, ""]:
    """Return the loss of Ablating Concepts: the target's prompt shall get the noise predicted for the anchor's.

    Mean over all elements of the squared difference between `unet(x_t, t, target).sample` and
    `unet(x_t, t, anchor).sample` (Kumari et al., ICCV 2023, equation 5). Both come from the same network that is being
    trained; no gradient flows through the anchor's prediction, which is the label. The network is left as it is: no
    `backward` in here, and no parameter frozen or set free. `target` and `anchor` are text states.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        label = unet(x_t, t, anchor).sample
    return F.mse_loss(unet(x_t, t, target).sample, label)
    ### END SOLUTION


def esd_target(
    e_null: Float[Tensor, "B C H W"], e_cond: Float[Tensor, "B C H W"], eta: float
) -> Float[Tensor, "B C H W"]:
    """Return the noise that ESD teaches: guidance away from the concept, e_null - eta (e_cond - e_null).

    Gandikota et al., ICCV 2023, equation 6, with `e_null` the prediction for the empty prompt and `e_cond` that for the
    concept.
    """
    ### BEGIN SOLUTION
    return (1 + eta) * e_null - eta * e_cond
    ### END SOLUTION


def esd_loss(
    unet: nn.Module,
    frozen: nn.Module,
    x_t: Float[Tensor, "B C H W"],
    t: Int[Tensor, "B"],
    concept: Float[Tensor, "B N D"],
    null: Float[Tensor, "B N D"],
    *,
    eta: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the loss of ESD: mean squared error between `unet`'s prediction for the concept and `esd_target`.

    Both predictions inside the target come from `frozen`, the network before erasing, and carry no gradient. A network
    is called as `unet(x_t, t, states).sample`; `concept` and `null` are the text states of the concept's prompt and of
    the empty prompt.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        e_null, e_cond = frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample
    return F.mse_loss(unet(x_t, t, concept).sample, esd_target(e_null, e_cond, eta))
    ### END SOLUTION


@torch.no_grad()
def trajectory_pool(
    unet: nn.Module,
    scheduler: object,
    concept: Float[Tensor, "B N D"],
    null: Float[Tensor, "B N D"],
    *,
    guidance: float,
    steps: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "S B C H W"], Int[Tensor, "S"], Float[Tensor, "B C H W"]]:
    """Return the latents that guided sampling passes through, before each step, their times, and the final latents."""
    size, channels = unet.config.sample_size, unet.config.in_channels
    x = torch.randn(len(concept), channels, size, size, generator=generator)
    scheduler.set_timesteps(steps)
    passed = []
    for t in scheduler.timesteps:
        passed.append(x)
        e_null, e_cond = unet(torch.cat([x, x]), t, torch.cat([null, concept])).sample.chunk(2)
        x = scheduler.step(e_null + guidance * (e_cond - e_null), t, x).prev_sample
    return torch.stack(passed), scheduler.timesteps.clone(), x
