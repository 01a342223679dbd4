"""Say what a Stable Diffusion is made of: its attention modules by name, their places and sizes, and all counts.

Everything is read off the model, so the same lines describe `sd` and the full-scale one. `python -m
dlcv_lab.zoo.anatomy` writes docs/zoo-sd.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

LORA_RANK = 4


class Attention(NamedTuple):
    """One attention of a U-Net: module name, latent cells a side, width, heads, numbers in all, in to_k and to_v."""

    name: str
    side: int
    width: int
    heads: int
    parameters: int
    keys_and_values: int


def attentions(unet: Any, kind: str = "attn2") -> list[Attention]:
    """Return the cross-attentions ("attn2") or self-attentions ("attn1") in the order data take: down, mid, up.

    `named_modules()` lists the middle last.
    """
    found = []
    levels = len(unet.config.block_out_channels)
    for stage, block, level in _blocks(unet, levels):
        for name, module in block.named_modules():
            if name.endswith(f".{kind}") and hasattr(module, "to_q"):
                side = math.ceil(unet.config.sample_size / 2**level)
                kv = module.to_k.weight.numel() + module.to_v.weight.numel()
                row = Attention(f"{stage}.{name}", side, module.to_q.out_features, module.heads, count(module), kv)
                found.append(row)
    return found


def _blocks(unet: Any, levels: int) -> list[tuple[str, nn.Module, int]]:
    down = [(f"down_blocks.{i}", block, i) for i, block in enumerate(unet.down_blocks)]
    up = [(f"up_blocks.{i}", block, levels - 1 - i) for i, block in enumerate(unet.up_blocks)]
    return [*down, ("mid_block", unet.mid_block, levels - 1), *up]


def count(module: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """Return the number of parameters of a module, of those whose name is wanted."""
    return sum(p.numel() for name, p in module.named_parameters() if wanted(name))


def lora_count(unet: Any, layers: tuple[str, ...]) -> int:
    """Return how many numbers peft adds to the U-Net for LoRA on these linear layers."""
    from peft import LoraConfig

    unet.add_adapter(LoraConfig(r=LORA_RANK, target_modules=list(layers)))
    added = count(unet, lambda parameter: ".lora_" in parameter)
    unet.unload_lora()
    return added


def counts(vae: nn.Module, encoder: nn.Module, unet: Any) -> dict[str, int]:
    """Return the parameter counts that the chapters speak of, by name."""
    return {
        "U-Net": count(unet),
        "text encoder": count(encoder),
        "autoencoder": count(vae),
        "all `attn2`": count(unet, lambda name: ".attn2." in name),
        "`attn2.to_k`, `attn2.to_v`": count(unet, lambda name: ".attn2.to_k." in name or ".attn2.to_v." in name),
        "all `attn1`": count(unet, lambda name: ".attn1." in name),
    }


def lora_counts(unet: Any) -> dict[str, int]:
    """Return what LoRA adds, by the layers it is put on."""
    queries = ("to_q", "to_k", "to_v")
    return {
        f"LoRA of rank {LORA_RANK} on `to_q`, `to_k`, `to_v`": lora_count(unet, queries),
        f"LoRA of rank {LORA_RANK} on these and `to_out.0`": lora_count(unet, (*queries, "to_out.0")),
    }


def tiny() -> tuple[Any, Any, Any, Any]:
    """Return autoencoder, text encoder, U-Net and tokenizer of `sd`, untrained."""
    from .diffusion import make_parts
    from .latents import make_vae

    tokenizer, encoder, unet = make_parts()
    return make_vae(), encoder, unet, tokenizer


def full() -> tuple[Any, Any, Any]:
    """Return autoencoder, text encoder and U-Net as large as Stable Diffusion 1.5's, without weights (meta)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    words = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    with torch.device("meta"):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
        return vae, CLIPTextModel(words), UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


def page() -> str:
    """Return docs/zoo-sd.md."""
    vae, encoder, unet, tokenizer = tiny()
    config = unet.config
    side = vae.config.sample_size
    layers = [
        f"| {i} | `{a.name}` | {a.side} x {a.side} | {a.width} | {a.heads} | {a.parameters:,} | {a.keys_and_values:,} |"
        for i, a in enumerate(attentions(unet))
    ]
    real = full()
    small, large = counts(vae, encoder, unet), counts(*real)
    small, large = small | lora_counts(unet), large | lora_counts(real[-1])
    rows = [f"| {name} | {small[name]:,} | {large[name]:,} |" for name in small]
    return "\n".join(
        [
            "# What `sd` is made of",
            "",
            "Written by `python -m dlcv_lab.zoo.anatomy`; a test compares it with the model. Do not edit.",
            "",
            f"Pictures {side} x {side} x 3; "
            f"latents {config.sample_size} x {config.sample_size} x {config.in_channels}; "
            f"text states {tokenizer.model_max_length} x {encoder.config.hidden_size}; {len(tokenizer)} tokens; "
            f"U-Net channels {tuple(config.block_out_channels)}. Read such numbers from the models "
            "(`unet.config`, `dlcv_lab.zoo.anatomy`), so that a cell also runs at full scale.",
            "",
            "## Parameters",
            "",
            "| part | `sd` | Stable Diffusion 1.5 |",
            "|---|---:|---:|",
            *rows,
            "",
            "## Cross-attentions, in the order in which data pass (down, middle, up)",
            "",
            "`named_modules()` lists the middle last. The self-attention beside each is named `attn1` and has the same",
            "heads and queries; its keys come from the picture.",
            "",
            "| | module | cells | width | heads | parameters | of these to_k, to_v |",
            "|---:|---|---|---:|---:|---:|---:|",
            *layers,
            "",
        ]
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/zoo-sd.md"))
    path: Path = parser.parse_args().path
    path.write_text(page(), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
