"""The claims page: what a source says, what was measured here instead, and whether it holds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autograder.chapter.book_plan import Plan

# words of claim ids that are not written in lower case
_NAMES = """
AdaLoRA ALIGN BYOL CIFAR CLIP CNN CPC DeBERTa DeconvNet DoRA DyLoRA ESD FA FCN FMN GAN GLUE INT4 LAION LeNet LiT LLaMA
LoRA LSTM MetaCLIP MLP MMC4 NF4 NT PreLayer QLoRA Receler ReLU RNN RoBERTa SegNet SGD ShareLock SigLIP SLD Sobel
Toeplitz UCE VAE VeRA ViT Xent XOR
"""
SPELLED = {name.lower(): name for name in _NAMES.split()}
SPELLED |= {"bn": "batch norm", "conv": "convolution", "gpt2": "GPT-2", "unet": "U-Net"}

Claim = Mapping[str, Any]  # an entry of chapters/<slug>/claims.json


def anchor(key: str, claim: Claim) -> str:
    """Return the label of a claim on the page: "claim-ch03-fewer-weights"."""
    return re.sub(r"[^a-z0-9]+", "-", f"claim-{key}-{claim['id']}".lower()).strip("-")


def name(claim: Claim) -> str:
    """Return a claim's id as words: "cnn_beats_mlp" -> "CNN beats MLP"."""
    words = re.split(r"[_-]+", str(claim["id"]).rsplit("/", 1)[-1])
    text = " ".join(SPELLED.get(word, word) for word in words if word)
    return text[:1].upper() + text[1:]


def verdict(claim: Claim) -> str:
    return "holds\N{NO-BREAK SPACE}✓" if claim["holds"] else "does not hold here\N{NO-BREAK SPACE}✗"


def deciding(claim: Claim) -> list[str]:
    """Return the labels of the figures that decide a claim: those that its threshold names, else the first three."""
    threshold = set(re.findall(r"[a-z0-9]+", _one_line(claim["threshold"]).lower()))
    named = [label for label in claim["figures"] if set(re.findall(r"[a-z0-9]+", label.lower())) <= threshold]
    return named or list(claim["figures"])[:3]


def verdict_line(key: str, claim: Claim) -> str:
    """Return one line for a chapter's page: the claim's name as a link, its verdict and the figures that decide."""
    some = [(label, claim["figures"][label]) for label in deciding(claim)[:4]]
    figures = "; ".join(f"{label.replace('_', ' ')} {figure_text(figure)}" for label, figure in some)
    return f"{{ref}}`{name(claim)} <{anchor(key, claim)}>`: **{verdict(claim)}** ({figures})"


def figure_text(figure: Mapping[str, Any]) -> str:
    """Write mean and spread with digits that fit the spread: "0.938 ± 0.004", "12042240"."""
    mean, spread = float(figure["mean"]), float(figure["std"])
    if len(figure["values"]) < 2:
        return f"{mean:.10g}"
    if spread == 0:
        return f"{mean:.6g} ± 0"
    digits = max(0, 1 - int(f"{spread:e}".split("e")[1]))
    return f"{mean:.{digits}f} ± {spread:.{digits}f}" if digits <= 6 else f"{mean:.3g} ± {spread:.1g}"


def cited(text: str, keys: Collection[str]) -> str:
    """Turn the citation keys inside a claim's source into citations of the book."""
    parts = re.split(r"([A-Za-z0-9_:-]+)", text)
    return "".join(f"{{cite:t}}`{part}`" if part in keys else part for part in parts)


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())


def claim_block(key: str, claim: Claim, keys: Collection[str]) -> str:
    """Return one claim as a card of the page."""
    seeds = "computed exactly" if claim["exact"] else f"{len(claim['seeds'])} seeds, mean ± standard deviation"
    deciders = deciding(claim)
    order = [*deciders, *(label for label in claim["figures"] if label not in deciders)]
    lines = [(label, f"{label.replace('_', ' ')}: {figure_text(claim['figures'][label])}") for label in order]
    figures = "\n".join(f"  - **{text}**" if label in deciders else f"  - {text}" for label, text in lines)
    entries = [
        ("The source says", f"{_one_line(claim['says'])} ({cited(_one_line(claim['source']), keys)})"),
        ("Measured here", _one_line(claim["analogue"])),
        ("Conditions", _one_line(claim["conditions"])),
        ("Holds if", _one_line(claim["threshold"])),
        (f"Figures ({seeds})", "\n" + figures),
        ("Result", f"**{verdict(claim)}**" + (f" {_one_line(claim['reason'])}" if claim.get("reason") else "")),
    ]
    versions = ", ".join(f"{package} {version}" for package, version in claim["versions"].items())
    took = f"{claim['seconds']:g} s" if claim["seconds"] else "no time beyond runs that other claims made"
    foot = f"Measured on {claim['measured_on']} in {took} with {versions}."
    body = "\n\n".join(f"{term}\n: {text.lstrip()}" for term, text in entries)
    return f"({anchor(key, claim)})=\n### {name(claim)}: {verdict(claim)}\n\n:::{{div}} claim\n{body}\n\n{foot}\n:::\n"


def claims_page(plan: Plan, ledgers: Mapping[str, Sequence[Claim]], keys: Collection[str]) -> str:
    """Return the page of all measured claims.

    Args:
        plan: for the chapters' titles.
        ledgers: slug -> entries of its ledger.
        keys: citation keys of the bibliography.
    """
    claims = [claim for entries in ledgers.values() for claim in entries]
    holding = sum(bool(claim["holds"]) for claim in claims)
    lines = [
        "# The claims",
        "",
        "Lectures and papers claim things: fewer weights, faster training, better accuracy. In each chapter",
        "such claims are made into small experiments that fit on a laptop. Conditions and threshold are",
        "written down before the first run, then everything is measured over several seeds. The outcome",
        "stands here, whatever it is: a claim that does not hold at this scale teaches as much as one that",
        "does.",
        "",
        f"**{len(claims)} measured, {holding} hold, {len(claims) - holding} do not hold here.**"
        if claims
        else "No claim has been measured yet: `dlcv claims run ch03` measures those of chapter 3.",
        "",
    ]
    for chapter in plan.chapters:
        entries = ledgers.get(chapter.slug, ())
        if entries:
            lines += [f"## {chapter.number} {chapter.title}", ""]
            lines += [claim_block(chapter.key, claim, keys) for claim in entries]
    return "\n".join(lines) + "\n"
