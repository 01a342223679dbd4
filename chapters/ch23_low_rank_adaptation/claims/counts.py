"""The tables of the lectures, row by row: trainable parameters counted on models that hold shapes and no numbers.

Every model is built on the meta device from its public configuration and adapted by `peft`; the closed forms of the
notebooks must give the same integer. What a table prints is compared with the count to the digits that it prints.
Measured claims: quality.py (adaptation) and weights.py (4-bit weights, updates).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from autograder.declare.claim import Claim
from solutions.ch23_low_rank_adaptation import (
    adapter_params,
    bitfit_params,
    dora_params,
    lora_params,
    vera_params,
)

ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
GPT2 = {"M": {"n_embd": 1024, "n_layer": 24, "n_head": 16}, "L": {"n_embd": 1280, "n_layer": 36, "n_head": 20}}
LLAMA = {
    "7B": {},
    "13B": {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40},
}
DEBERTA = {
    "vocab_size": 128100, "hidden_size": 1536, "num_hidden_layers": 48, "num_attention_heads": 24,
    "intermediate_size": 6144, "type_vocab_size": 0, "relative_attention": True, "position_buckets": 256,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p", "conv_kernel_size": 3,
    "position_biased_input": False,
}  # fmt: skip
ALL_OF_LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@cache
def model(family: str, size: str) -> nn.Module:
    """Build a model on the meta device: shapes, no numbers."""
    import transformers as hf

    with torch.device("meta"):
        if family == "roberta":
            return hf.RobertaModel(
                hf.RobertaConfig(**ROBERTA, **(LARGE if size == "large" else {})), add_pooling_layer=False
            )
        if family == "gpt2":
            return hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2[size]))
        if family == "deberta":
            return hf.DebertaV2Model(hf.DebertaV2Config(**DEBERTA))
        if family == "llama":
            return hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA[size]))
        return hf.ViTModel(hf.ViTConfig(**(LARGE if size == "L" else {})), add_pooling_layer=False)


def total(family: str, size: str) -> int:
    """Count all parameters; tied ones once."""
    return sum(p.numel() for p in set(model(family, size).parameters()))


def by_peft(family: str, size: str, config: Any) -> int:
    """Count what `peft` would train."""
    import copy

    import peft

    wrapped = peft.get_peft_model(copy.deepcopy(model(family, size)), config, low_cpu_mem_usage=True)
    return sum(p.numel() for p in wrapped.parameters() if p.requires_grad)


def lora(targets: list[str], r: int, **more: Any) -> Any:
    import peft

    return peft.LoraConfig(r=r, target_modules=targets, **more)


def vera(targets: list[str], r: int) -> Any:
    import peft

    return peft.VeraConfig(r=r, target_modules=targets)


def shapes(family: str, size: str, ends: list[str]) -> list[tuple[int, int]]:
    """Return (out, in) of the linear layers whose names end so."""
    found = [m for name, m in model(family, size).named_modules() if name.rpartition(".")[2] in ends]
    return [(m.out_features, m.in_features) for m in found if isinstance(m, nn.Linear)]


@cache
def roberta(_: int) -> dict[str, float]:
    qv, base, large = ["query", "value"], ("roberta", "base"), ("roberta", "large")
    biases = sum(p.numel() for name, p in model(*base).named_parameters() if name.endswith("bias"))
    return {
        "base, full": total(*base),
        "base, BitFit": biases,
        "base, BitFit, closed form": bitfit_params(12, 768, 3072),
        "base, adapters D, r = 16": adapter_params(12, 768, 16),
        "base, adapters D, r = 48": adapter_params(12, 768, 48),
        "base, LoRA": by_peft(*base, lora(qv, 8)),
        "base, LoRA, closed form": lora_params(shapes(*base, qv), 8),
        "base, VeRA": by_peft(*base, vera(qv, 1024)),
        "base, VeRA, closed form": vera_params(shapes(*base, qv), 1024),
        "large, full": total(*large),
        "large, LoRA": by_peft(*large, lora(qv, 8)),
        "large, LoRA, closed form": lora_params(shapes(*large, qv), 8),
        "large, VeRA": by_peft(*large, vera(qv, 256)),
        "large, VeRA, closed form": vera_params(shapes(*large, qv), 256),
        "large, adapters P, r = 64": adapter_params(24, 1024, 64),
        "large, adapters P, r = 64, weights alone": 24 * 2 * 1024 * 64,
        "large, adapters P, r = 16": adapter_params(24, 1024, 16),
        "large, adapters H, r = 64": adapter_params(48, 1024, 64),
        "large, adapters H, r = 64, weights alone": 48 * 2 * 1024 * 64,
        "large, adapters H, r = 8": adapter_params(48, 1024, 8),
        "DeBERTa XXL, LoRA, r = 16, closed form": lora_params([(1536, 1536)] * 96, 16),
    }


@cache
def gpt2(_: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for size, L, d in (("M", 24, 1024), ("L", 36, 1280)):
        found[f"{size}, full"] = total("gpt2", size)
        # peft on the fused q, k, v of c_attn has the count of q and v apart: r (d + 3 d) = 2 r (2 d)
        found[f"{size}, LoRA on c_attn"] = by_peft("gpt2", size, lora(["c_attn"], 4, fan_in_fan_out=True))
        found[f"{size}, LoRA on q and v"] = lora_params([(d, d)] * 2 * L, 4)
        found[f"{size}, VeRA on q and v"] = vera_params([(d, d)] * 2 * L, 1024)
        found[f"{size}, VeRA on c_attn"] = vera_params([(3 * d, d)] * L, 1024)
    medium = model("gpt2", "M").transformer
    found["M, last two blocks"] = sum(p.numel() for block in medium.h[-2:] for p in block.parameters())
    found["M, adapters L, r = 6"] = adapter_params(24, 1024, 6, norms=24)
    found["M, adapters L, r = 224"] = adapter_params(24, 1024, 224, norms=24)
    found["M, adapters H, r = 112"] = adapter_params(48, 1024, 112)
    found["M, adapters H, r = 113"] = adapter_params(48, 1024, 113)
    found["L, adapters L, r = 8"] = adapter_params(36, 1280, 8, norms=36)
    found["L, adapters L, r = 248"] = adapter_params(36, 1280, 248, norms=36)
    found["M, AdaLoRA, r = 4"] = 24 * 2 * (4 * (1024 + 1024) + 4)
    return found


@cache
def llama(_: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for size in ("7B", "13B"):
        linear = shapes("llama", size, ALL_OF_LLAMA)
        found[f"{size}, all"] = total("llama", size)
        found[f"{size}, LoRA"] = by_peft("llama", size, lora(ALL_OF_LLAMA, 64))
        found[f"{size}, LoRA, closed form"] = lora_params(linear, 64)
        found[f"{size}, VeRA"] = by_peft("llama", size, vera(ALL_OF_LLAMA, 1024))
        found[f"{size}, VeRA, closed form"] = vera_params(linear, 1024)
        found[f"{size}, LoRA / VeRA"] = found[f"{size}, LoRA"] / found[f"{size}, VeRA"]
    seven = shapes("llama", "7B", ALL_OF_LLAMA)
    magnitudes = sum(rows for rows, _ in seven)
    found["7B, DoRA"] = by_peft("llama", "7B", lora(ALL_OF_LLAMA, 64, use_dora=True))
    found["7B, DoRA, closed form"] = dora_params(seven, 64)
    counts = {"LoRA": found["7B, LoRA"], "DoRA": found["7B, DoRA"], "VeRA": found["7B, VeRA"]}
    counts["DVoRA"] = found["7B, VeRA"] + magnitudes
    for name, n in counts.items():  # as peft prints it: of all parameters, the new ones included
        found[f"7B, {name}, percent"] = 100 * n / (found["7B, all"] + n)
    return found


@cache
def vit(_: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for size in ("B", "L"):
        qv = ["q_proj", "v_proj"] if shapes("vit", size, ["q_proj"]) else ["query", "value"]
        found[f"{size}, full"] = total("vit", size)
        found[f"{size}, LoRA"] = by_peft("vit", size, lora(qv, 8))
        found[f"{size}, LoRA, closed form"] = lora_params(shapes("vit", size, qv), 8)
        found[f"{size}, VeRA"] = by_peft("vit", size, vera(qv, 256))
        found[f"{size}, VeRA, closed form"] = vera_params(shapes("vit", size, qv), 256)
    return found


def equal(values: dict[str, list[float]], **rows: int) -> bool:
    """Say whether the rows, spelled with _ for what is no letter, have exactly these counts."""
    plain = {"".join(c if c.isalnum() else "_" for c in name): numbers for name, numbers in values.items()}
    return all(number == count for name, count in rows.items() for number in plain[name])


def closed_forms_agree(values: dict[str, list[float]]) -> bool:
    """Say whether each count of peft equals that of the notebook's function."""
    ends = ", closed form"
    pairs = [(name.removesuffix(ends), name) for name in values if name.endswith(ends)]
    return all(values[a] == values[b] for a, b in pairs if a in values)


def table(id: str, says: str, source: str, measure: Any, threshold: str, holds: Any, **more: Any) -> Claim:
    """Declare an exact claim about a table."""
    return Claim(
        id=id,
        methods=more.pop("methods", ("ch23/param_ledger",)),
        says=says,
        source=source,
        analogue=more.pop("analogue", "The same architectures on the meta device; peft's count and the closed form."),
        conditions=more.pop(
            "conditions",
            "Public configurations; poolers, heads and classifiers left out; tied parameters once; modules and ranks "
            "as the papers name them.",
        ),
        threshold=threshold,
        measure=measure,
        holds=holds,
        exact=True,
        **more,
    )


BIG = "slide 'LoRA: Low-Rank Adaptation of LLMs (cont'd)'"
CLAIMS = [
    table(
        "counts-roberta",
        "RoBERTa base: BitFit 0.1M, adapters 0.3M and 0.9M, LoRA 0.3M, VeRA 0.043M; large: LoRA 0.8M, VeRA 0.061M, "
        "adapters 0.8M; DeBERTa XXL: LoRA 4.7M",
        f"hu2022lora, kopiczko2024vera; {BIG}",
        roberta,
        "each row exactly: 102 144, 304 320, 894 528, 294 912, 43 008, 786 432, 61 440, 811 392, 835 968, 4 718 592",
        lambda v: closed_forms_agree(v)
        and equal(
            v, base__BitFit=102_144, base__adapters_D__r___16=304_320, base__adapters_D__r___48=894_528,
            base__LoRA=294_912, base__VeRA=43_008, large__LoRA=786_432, large__VeRA=61_440,
            large__adapters_P__r___16=811_392, large__adapters_H__r___8=835_968,
            DeBERTa_XXL__LoRA__r___16__closed_form=4_718_592,
        ),
        methods=("ch23/param_ledger", "ch23/lora", "ch23/vera"),
    ),
    table(
        "counts-roberta-full",
        "RoBERTa base has 125.0M, large 355.0M parameters",
        f"hu2022lora; {BIG}",
        roberta,
        "the encoders without pooler and head round to the printed 125.0M and 355.0M",
        lambda v: round(v["base, full"][0] / 1e6, 1) == 125.0 and round(v["large, full"][0] / 1e6, 1) == 355.0,
        reason="124.1M and 354.3M: the table rounds to whole millions and writes a zero behind. With pooler and a "
        "classifier of two classes it is 124.6M and 355.4M, no match either.",
    ),
    table(
        "counts-adapters-weights",
        "RoBERTa large: adapters of 3.0M and 6.0M",
        f"hu2022lora; {BIG}",
        roberta,
        "24 and 48 adapters with r = 64, biases included, round to 3.0M and 6.0M",
        lambda v: round(v["large, adapters P, r = 64"][0] / 1e6, 1) == 3.0
        and round(v["large, adapters H, r = 64"][0] / 1e6, 1) == 6.0,
        reason="3.2M and 6.3M. The printed numbers are the weights alone in units of 2^20: 3 and 6 times 1 048 576.",
    ),
    table(
        "counts-gpt2",
        "GPT-2 L has 774.03M parameters; M: last two blocks 25.19M, adapters 0.37M and 11.09M, VeRA 0.098M; "
        "L: adapters 0.88M and 23.00M, VeRA 0.17M",
        f"hu2022lora, kopiczko2024vera; {BIG}",
        gpt2,
        "each row exactly: 774 030 080, 25 192 448, 368 784, 11 089 152, 98 304, 875 808, 23 002 848, 165 888",
        lambda v: equal(
            v, L__full=774_030_080, M__last_two_blocks=25_192_448, M__adapters_L__r___6=368_784,
            M__adapters_L__r___224=11_089_152, M__VeRA_on_q_and_v=98_304, L__adapters_L__r___8=875_808,
            L__adapters_L__r___248=23_002_848, L__VeRA_on_q_and_v=165_888,
        ) and v["M, LoRA on c_attn"] == v["M, LoRA on q and v"],
        methods=("ch23/param_ledger", "ch23/vera"),
    ),
    table(
        "counts-gpt2-full",
        "GPT-2 M has 354.92M parameters",
        f"hu2022lora; {BIG}",
        gpt2,
        "the model with its tied head, in units of 0.01M",
        lambda v: round(v["M, full"][0] / 1e6, 2) == 354.92,
        reason="354 823 168 = 354.82M. The row of GPT-2 L agrees to the digit, so a slip of one digit is likely.",
    ),
    table(
        "counts-gpt2-lora",
        "GPT-2: LoRA trains 0.35M parameters of M and 0.77M of L",
        f"hu2022lora; {BIG}",
        gpt2,
        "rank 4 on query and value, in units of 0.01M",
        lambda v: round(v["M, LoRA on q and v"][0] / 1e6, 2) == 0.35
        and round(v["L, LoRA on q and v"][0] / 1e6, 2) == 0.77,
        reason="393 216 = 0.39M and 737 280 = 0.74M with the official script's rank 4. The printed numbers are 0.1 % "
        "of the model (0.355M, 0.774M), a budget and not a count.",
        methods=("ch23/param_ledger", "ch23/lora"),
    ),
    table(
        "counts-prelayer",
        "GPT-2: PreLayer trains 0.35M parameters of M and 0.77M of L",
        f"hu2022lora; {BIG}",
        lambda _: {"M, numbers per token": 24 * 1024, "L, numbers per token": 36 * 1280},
        "some whole number of tokens gives each, in units of 0.01M; a token costs one vector a layer",
        lambda v: any(round(n * v["M, numbers per token"][0] / 1e6, 2) == 0.35 for n in range(1, 100))
        and any(round(n * v["L, numbers per token"][0] / 1e6, 2) == 0.77 for n in range(1, 100)),
        reason="14 tokens of M have 0.34M and 15 have 0.37M; 16 of L have 0.74M and 17 have 0.78M. The printed numbers "
        "are 0.1 % of the model, as for LoRA.",
    ),
    table(
        "counts-deberta-full",
        "DeBERTa XXL has 1500.0M parameters",
        f"hu2022lora; {BIG}",
        lambda _: {"encoder": total("deberta", "XXL")},
        "the encoder without a head rounds to the printed 1500.0M",
        lambda v: round(v["encoder"][0] / 1e6, 1) == 1500.0,
        reason="1564.5M: the table rounds to whole hundreds and writes a zero behind.",
    ),
    table(
        "counts-gpt2-adapters-h",
        "GPT-2 M: adapters of Houlsby et al. with 11.09M parameters",
        f"hu2022lora; {BIG}",
        gpt2,
        "some whole bottleneck width r gives 11.09M with two adapters a block",
        lambda v: any(round(adapter_params(48, 1024, r) / 1e6, 2) == 11.09 for r in range(1, 400)),
        reason="r = 112 gives 11.06M and r = 113 gives 11.16M; with 24 layer norms besides, 11.11M. The number is "
        "that of the row above.",
    ),
    table(
        "counts-dylora",
        "GPT-2 M: DyLoRA trains 0.39M parameters",
        "valipour2023dylora, kopiczko2024vera; slide 'Results on E2E benchmark with GPT2'",
        gpt2,
        "LoRA's formula with rank 4, in units of 0.01M",
        lambda v: round(v["M, LoRA on q and v"][0] / 1e6, 2) == 0.39,
        methods=("ch23/dylora",),
    ),
    table(
        "counts-adalora",
        "GPT-2 M: AdaLoRA trains 0.38M parameters",
        "zhang2023adalora, kopiczko2024vera; slide 'Results on E2E benchmark with GPT2'",
        gpt2,
        "P, Q and the diagonal of rank 4 on query and value, in units of 0.01M",
        lambda v: round(v["M, AdaLoRA, r = 4"][0] / 1e6, 2) == 0.38,
        reason="393 408 = 0.39M before pruning. The table names no budget, so the row cannot be derived.",
        methods=("ch23/adalora",),
    ),
    table(
        "counts-lora-fa",
        "RoBERTa large: LoRA-FA trains 3.7M parameters",
        "zhang2023lorafa, kopiczko2024vera; slide 'Results on GLUE with RoBERTa'",
        lambda _: {"all six layers of a block, r = 16": sum(16 * rows for rows in (1024,) * 5 + (4096,)) * 24},
        "B of all six linear layers of a block, r = 16, in units of 0.1M",
        lambda v: round(v["all six layers of a block, r = 16"][0] / 1e6, 1) == 3.7,
        reason="3 538 944 = 3.5M is the nearest that we found. The slide names neither layers nor rank.",
        methods=("ch23/lora_fa",),
    ),
    table(
        "counts-llama",
        "LoRA trains 159.9M (7B) and 250.3M (13B) parameters, VeRA 1.6M and 2.4M: 100 times less",
        "kopiczko2024vera; slide 'Instruction tuning: better than LoRA with 100x less parameters'",
        llama,
        "each row exactly: 159 907 840, 250 347 520, 1 589 248, 2 416 640; both ratios above 100",
        lambda v: closed_forms_agree(v)
        and v["7B, LoRA"] == [159_907_840] and v["13B, LoRA"] == [250_347_520]
        and v["7B, VeRA"] == [1_589_248] and v["13B, VeRA"] == [2_416_640]
        and min(v["7B, LoRA / VeRA"] + v["13B, LoRA / VeRA"]) > 100,
        methods=("ch23/param_ledger", "ch23/lora", "ch23/vera"),
    ),
    table(
        "counts-dora",
        "LLaMA-7B: LoRA 2.31 %, DoRA 2.33 %, VeRA 0.02 %, DVoRA 0.04 % of the parameters",
        "liu2024dora, table 5; slide 'DoRA: Weight-Decomposed Low-Rank Adaptation'",
        llama,
        "each percentage cut after two digits, as the table does",
        lambda v: [int(100 * v[f"7B, {name}, percent"][0]) for name in ("LoRA", "DoRA", "VeRA", "DVoRA")]
        == [231, 233, 2, 4],
        methods=("ch23/param_ledger", "ch23/dora"),
    ),
    table(
        "counts-vit",
        "ViT-B: full 85.8M, LoRA 294.9K, VeRA 24.6K; ViT-L: 303.3M, 786.4K, 61.4K",
        "kopiczko2024vera; slide 'Works also on Image Classification with pretrained ViT'",
        vit,
        "each row exactly: 85 798 656, 294 912, 24 576; 303 301 632, 786 432, 61 440",
        lambda v: closed_forms_agree(v)
        and equal(
            v, B__full=85_798_656, B__LoRA=294_912, B__VeRA=24_576, L__full=303_301_632, L__LoRA=786_432, L__VeRA=61_440
        ),
        methods=("ch23/param_ledger", "ch23/lora", "ch23/vera"),
    ),
]  # fmt: skip
