"""The experiments of measured.py: erase the ring from `sd` by every method of the chapter, on one seed at a time.

What one method does on one seed is kept, so that the claims can be measured one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.declare.kept import kept
from dlcv_lab import world, zoo
from solutions.ch28_concept_unlearning import (
    ablation_loss,
    attack_step,
    concept_mask,
    esd_target,
    insert_erasers,
    invert_concept,
    keep_probabilities,
    localisation_loss,
    resteer_loss,
    sld_guidance,
    trainable_names,
    trajectory_pool,
    uce_weight,
)

RING = world.SHAPES.index("ring")
KEPT = ("circle", "triangle", "heart", "cross")
DIRECT = [f"a {c} ring." for c in world.COLOURS]
PARAPHRASE = [f"a {c} {w}." for w, part in (("hoop", 0), ("hollow shape", 1)) for c in world.COLOURS[part::2]]
OTHER = [f"a {c} {s}." for s in KEPT for c in world.COLOURS]
ASKED = torch.tensor([world.SHAPES.index(s) for s in KEPT for _ in world.COLOURS])
CONCEPT = ["a ring.", "a ring.", "a big ring.", "a big ring.", *(f"a {c} ring." for c in world.COLOURS)]
WORD = [2, 2, 3, 3, *[3] * 8]  # where "ring" stands in each of these prompts
SWEEP, STEPS, SAMPLING, EQUAL = (15, 30, 45, 60), 45, 8, 0.90
RATES = {"Ablating": 1e-3, "ESD-x": 1e-3, "ESD-u": 2e-4, "Receler": 6e-3, "FMN": 1e-3}
WEAK = {"scale": 20.0, "warmup": 3, "threshold": 0.0, "momentum_scale": 0.0, "beta": 0.0}
MAX = {"scale": 5000.0, "warmup": 0, "threshold": 1.0, "momentum_scale": 0.5, "beta": 0.7}
Figures = dict[str, float]


@cache
def pipe() -> Any:
    loaded = zoo.load("sd")
    for part in (loaded.unet, loaded.vae, loaded.text_encoder):
        part.requires_grad_(False)
    return loaded


@cache
def base() -> nn.Module:
    return pipe().unet


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def states(prompts: list[str]) -> Tensor:
    ids = pipe().tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return pipe().text_encoder(ids).last_hidden_state


def paint(unet: nn.Module, e: Tensor, seed: int) -> Tensor:
    pipe().unet = unet
    null = states([""] * len(e))
    options = {"num_inference_steps": SAMPLING, "guidance_scale": 4.0, "output_type": "pt"}
    return pipe()(prompt_embeds=e, negative_prompt_embeds=null, generator=generator(seed), **options).images.float()


def look(pictures: Tensor, kind: str = "shape") -> Tensor:
    found = world.read(pictures).labels[kind]
    return found if found.ndim == 1 else found[:, 0]


@cache
def first(seed: int) -> float:
    """Return the untouched model's accuracy on the other shapes."""
    return float((look(paint(base(), states(DIRECT + PARAPHRASE + OTHER), seed))[16:] == ASKED).float().mean())


def evaluate(unet: nn.Module | None, seed: int, pictures: Tensor | None = None) -> Figures:
    """Return the shares of rings and the locality."""
    seen = look(paint(unet, states(DIRECT + PARAPHRASE + OTHER), seed) if pictures is None else pictures)
    ring = (seen == RING).float()
    locality = float((seen[16:] == ASKED).float().mean()) / first(seed)
    return {"direct": float(ring[:8].mean()), "paraphrase": float(ring[8:16].mean()), "locality": locality}


def attacked(unet: nn.Module, seed: int) -> float:
    """Return the share of rings with a learned prompt of four vectors: 40 steps of textual inversion on 24 photos."""
    photos = world.render(world.sample(24, seed=seed, shapes=("ring",), sizes=("big",)))
    latents = pipe().vae.encode(photos * 2 - 1).latent_dist.mean * pipe().vae.config.scaling_factor
    e, g = states(["a shape."]), generator(seed)
    learned = invert_concept(unet, pipe().scheduler, latents, e, first=2, slots=4, steps=40, generator=g, batch=4)
    e = e.repeat(8, 1, 1)
    e[:, 2:6] = learned
    return float((look(paint(unet, e, seed + 1)) == RING).float().mean())


@cache
def pool(seed: int) -> list[dict[str, Any]]:
    """Return what guided sampling of rings passes through, with the frozen predictions and attention."""
    watched = copy.deepcopy(base())
    keepers, e, null = keep_probabilities(watched), states(CONCEPT), states([""] * len(CONCEPT))
    x, parts = torch.randn(len(CONCEPT), 4, 16, 16, generator=generator(seed)), []
    pipe().scheduler.set_timesteps(SAMPLING)
    for t in pipe().scheduler.timesteps:
        with torch.no_grad():
            e0, ec = watched(x, t, null).sample, watched(x, t, e).sample
        attention = [k.probabilities for k in keepers.values()]
        goal = esd_target(e0, ec, 1.0)
        parts.append({"x": x, "t": t.expand(len(x)), "e": e, "erase": goal, "ring": ec, "attention": attention})
        x = pipe().scheduler.step(e0 + 3.0 * (ec - e0), t, x).prev_sample
    return parts


def draw(seed: int, g: torch.Generator) -> tuple[dict[str, Any], Tensor]:
    parts = pool(seed)
    return parts[int(torch.randint(len(parts), (), generator=g))], torch.randint(len(CONCEPT), (4,), generator=g)


def anchored(target: list[str], anchor: list[str], seed: int) -> Callable[..., Tensor]:
    """Return the step loss of Ablating Concepts for two lists of prompts."""
    ea, et = states(anchor), states(target)
    options = {"guidance": 4.0, "steps": SAMPLING, "generator": generator(seed)}
    x0 = trajectory_pool(base(), pipe().scheduler, ea, states([""] * len(ea)), **options)[2]

    def loss(unet: nn.Module, g: torch.Generator) -> Tensor:
        i, t = torch.randint(len(x0), (4,), generator=g), torch.randint(1000, (4,), generator=g)
        x_t = pipe().scheduler.add_noise(x0[i], torch.randn(x0[i].shape, generator=g), t)
        return ablation_loss(unet, x_t, t, et[i], ea[i])

    return loss


def step_loss(method: str, seed: int) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return the model to train (what is to learn requires a gradient) and its loss."""
    if method.startswith("Receler"):
        return receler(seed, mask="without mask" not in method, attack="without attack" not in method)
    unet = copy.deepcopy(base())
    part = {"Ablating": "kv", "ESD-u": "esd-u"}.get(method, "esd-x")
    for name in trainable_names(unet, part):
        unet.get_parameter(name).requires_grad_()
    if method == "Ablating":
        target = [f"a {c} ring." for c in world.COLOURS]
        return unet, anchored(target, [prompt.replace("ring", "circle") for prompt in target], seed)
    if method == "FMN":
        watch = list(keep_probabilities(unet).values())

    def loss(unet: nn.Module, g: torch.Generator) -> Tensor:
        p, i = draw(seed, g)
        output = unet(p["x"][i], p["t"][i], p["e"][i]).sample
        if method != "FMN":
            return F.mse_loss(output, p["erase"][i])
        positions = F.one_hot(torch.tensor(WORD)[i], p["e"].shape[1]).bool()
        return resteer_loss([k.probabilities for k in watch], positions)

    return unet, loss


def receler(seed: int, *, mask: bool, attack: bool, weight: float = 0.1) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Return a model with erasers and its loss, which makes a step of the attacker first."""
    torch.manual_seed(seed)
    unet, wrapped = insert_erasers(base(), 8)
    adv = torch.rand(4, 64, generator=generator(seed)).requires_grad_()
    optimizer, rounds = torch.optim.Adam([adv], lr=0.1), [0]

    def loss(unet: nn.Module, g: torch.Generator) -> Tensor:
        p, i = draw(seed, g)
        e, rounds[0] = p["e"][i].clone(), rounds[0] + 1
        if attack:
            attack_step(unet, p["x"][i], p["t"][i], e, adv, 5, p["ring"][i], optimizer)
            if rounds[0] % 2:
                e[:, 5:9] = adv.detach()
        error = F.mse_loss(unet(p["x"][i], p["t"][i], e).sample, p["erase"][i])
        if not mask:
            return error
        each = [([q[k : k + 1] for q in p["attention"]], [WORD[k]]) for k in i.tolist()]
        found = torch.cat([concept_mask(q, word, size=16, threshold=0.3) for q, word in each])
        return error + weight * localisation_loss([layer.last for layer in wrapped.values()], found)

    return unet, loss


def train(method: str, seed: int, steps: tuple[int, ...]) -> dict[int, nn.Module]:
    """Train a method at its rate and return copies after some numbers of steps."""
    return fit(*step_loss(method, seed), RATES[method.split(" ")[0]], seed, steps)


def fit(
    unet: nn.Module, loss: Callable[..., Tensor], rate: float, seed: int, steps: tuple[int, ...]
) -> dict[int, nn.Module]:
    """Train by Adam what requires a gradient, and return copies after some numbers of steps."""
    learned = [p for p in unet.parameters() if p.requires_grad]
    optimizer, g, kept = torch.optim.Adam(learned, lr=rate), generator(seed), {}
    for step in range(1, max(steps) + 1):
        optimizer.zero_grad()
        loss(unet, g).backward()
        optimizer.step()
        if step in steps:
            with torch.no_grad():
                kept[step] = copy_without_history(unet)
    return kept


def copy_without_history(unet: nn.Module) -> nn.Module:
    """Return a frozen copy; what layers keep of the last pass stays behind."""
    for module in unet.modules():
        if hasattr(module, "last"):
            module.last = None
        if hasattr(getattr(module, "processor", None), "probabilities"):
            module.processor.probabilities = None
    return copy.deepcopy(unet).requires_grad_(False)


def sld(seed: int, settings: dict[str, float]) -> Figures:
    """Paint all prompts with safety guidance away from "a ring."."""
    e = states(DIRECT + PARAPHRASE + OTHER)
    x = torch.randn(len(e), 4, 16, 16, generator=generator(seed))
    three, momentum = torch.cat([states([""] * len(e)), e, states(["a ring."] * len(e))]), torch.zeros_like(x)
    pipe().scheduler.set_timesteps(SAMPLING)
    for k, t in enumerate(pipe().scheduler.timesteps):
        with torch.no_grad():
            noises = base()(torch.cat([x] * 3), t, three).sample.chunk(3)
        noise, momentum = sld_guidance(*noises, momentum, k, guidance=4.0, **settings)
        x = pipe().scheduler.step(noise, t, x).prev_sample
    pictures = pipe().vae.decode(x / pipe().vae.config.scaling_factor).sample.clamp(-1, 1) / 2 + 0.5
    return evaluate(None, seed, pictures)


def uce(words: tuple[str, ...]) -> nn.Module:
    """Return a copy whose keys and values of some words are those of "circle"."""

    def last(word: str) -> Tensor:
        prompts = [f"a {c} {word}." for c in world.COLOURS]
        return states(prompts)[:, len(prompts[0].split())]

    unet = copy.deepcopy(base())
    erase, guide = torch.cat([last(w) for w in words]), last("circle").repeat(len(words), 1)
    keep = torch.cat([last(w) for w in (*KEPT, "square", "arrow")])
    for name, layer in unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")):
            layer.weight.copy_(uce_weight(layer.weight, erase, guide, keep, lam=0.1))
    return unet


def swept(method: str, seed: int) -> Figures:
    """Sweep the steps; interpolate at equal locality, and attack the last model that is not below it by 2 points."""
    models = train(method, seed, SWEEP)
    rows = [{"direct": 1.0, "paraphrase": 1.0, "locality": 1.0}] + [evaluate(m, seed) for m in models.values()]
    found = {f"{key} after {n}": row[key] for n, row in zip(SWEEP, rows[1:]) for key in row}
    below = [k for k, row in enumerate(rows) if row["locality"] < EQUAL]
    if below:
        low, high = rows[below[0]], rows[below[0] - 1]
        share = (high["locality"] - EQUAL) / (high["locality"] - low["locality"])
        found |= {f"{k}, equal": high[k] + share * (low[k] - high[k]) for k in ("direct", "paraphrase")}
    else:
        found |= {f"{k}, equal": rows[-1][k] for k in ("direct", "paraphrase")}
    good = [n for n, row in zip(SWEEP, rows[1:]) if row["locality"] >= EQUAL - 0.02] or [SWEEP[0]]
    found["steps of the attacked"] = float(good[-1])
    found |= {f"{k} of the attacked": v for k, v in rows[SWEEP.index(good[-1]) + 1].items()}
    return found | {"attacked": attacked(models[good[-1]], seed)}


def plain(method: str, seed: int) -> Figures:
    """Measure a method at a fixed number of steps, or one that needs none."""
    if method == "untouched":
        return evaluate(base(), seed) | {"attacked": attacked(base(), seed)}
    if method.startswith("SLD"):
        return sld(seed, WEAK if method == "SLD weak" else MAX)
    if method.startswith("UCE"):
        with torch.no_grad():
            unet = uce(("ring",) if method == "UCE" else ("ring", "hoop", "shape"))
    else:
        steps = 15 if method == "FMN" else STEPS
        unet = train(method, seed, (steps,))[steps]
    found = evaluate(unet, seed)
    return found | ({} if method in ("FMN", "ESD-u") else {"attacked": attacked(unet, seed)})


def concept(kind: str, seed: int) -> Figures:
    """Erase a colour or a style by Ablating Concepts, and read how often it is still there."""
    shapes = ("circle", "ring", "heart", "cross")
    if kind == "colour":
        target, anchor = [f"a red {s}." for s in shapes], [f"a blue {s}." for s in shapes]
        other, asked = [f"a {c} {s}." for s in shapes for c in ("green", "yellow")], ["green", "yellow"] * 4
    else:
        anchor = [f"a {c} circle." for c in world.COLOURS]
        target = [f"{prompt[:-1]} in sketch style." for prompt in anchor]
        other, asked = [f"{prompt[:-1]} in neon style." for prompt in anchor], ["neon"] * 8
    label = "red" if kind == "colour" else "sketch"
    unet, loss = copy.deepcopy(base()), anchored(target, anchor, seed)
    learned = [unet.get_parameter(name).requires_grad_() for name in trainable_names(unet, "kv")]
    optimizer, g = torch.optim.Adam(learned, lr=RATES["Ablating"]), generator(seed)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(unet, g).backward()
        optimizer.step()
    unet.requires_grad_(False)
    shown, found = target * (8 // len(target)), {}
    for name, model in (("before", base()), ("after", unet)):
        seen = look(paint(model, states(shown + other), seed), kind)
        found[f"{kind} {name}"] = float((seen[:8] == world.labels(kind, [label])[0]).float().mean())
        found[f"others {name}"] = float((seen[8:] == world.labels(kind, asked)).float().mean())
    return found


@kept
def cell(method: str, seed: int) -> Figures:
    """Return the figures of one method and seed."""
    how = {"swept": swept, "concept": concept}.get(method.partition(":")[0], plain)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return how(method.partition(":")[2] or method, seed)


def measured(*methods: str) -> Callable[[int], Figures]:
    """Return a measurement of some methods, their names before the figures."""

    def measure(seed: int) -> Figures:
        named = {method: cell(method, seed) for method in methods}
        return {f"{m.partition(':')[2] or m}: {key}": v for m, found in named.items() for key, v in found.items()}

    return measure
