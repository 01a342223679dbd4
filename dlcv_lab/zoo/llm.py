"""`llm_base` and `llm`: a llama of the shared words, before and after it was taught to talk and to obey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcv_lab import world

from . import stack
from .catalogue import CHECKPOINT, Options, Trained
from .language import LanguageModel, fact_sentences, facts, held_out_wording, no_bars, padded, perplexity, well_formed
from .language import known as known_facts
from .training import run_steps, start, step_generator

PLAIN = {"corpus": 0.30, "pages": 0.08, "clips": 0.06, "faces": 0.06, "boxes": 0.10, "facts": 0.40}
"""Shares of the texts that `llm_base` learns from."""
TALK = {
    "corpus": 0.08,
    "facts": 0.32,
    "boxes": 0.06,
    "chat": 0.26,
    "instructions": 0.14,
    "emotions": 0.06,
    "dialogs": 0.08,
}
"""Shares of the texts that `llm` goes on with."""


def texts(shares: dict[str, float], n: int, gen: torch.Generator) -> list[str]:
    """Return about n texts in the given shares."""
    count = {name: round(share * n) for name, share in shares.items()}
    found: list[str] = []
    for name, m in count.items():
        found += _of(name, m, gen) if m else []
    return found


def _of(kind: str, n: int, gen: torch.Generator) -> list[str]:
    def scenes(m: int = n) -> world.Scene:
        return world.sample(m, gen, objects=(1, 3), textures=("plain", *world.TEXTURES))

    if kind == "corpus":
        return world.corpus(n, gen)
    if kind == "chat":
        return world.corpus(n, gen, style="chat")
    if kind == "pages":
        return [" ".join(page.sentences) for page in world.pages(n, gen, 4, 2)]
    if kind == "clips":
        return world.clip_captions(world.sample_clips(n, gen), gen)
    if kind == "faces":
        return world.face_captions(world.sample_faces(n, gen, glasses=0.3), gen)
    if kind == "facts":
        known = fact_sentences()
        return [known[i] for i in torch.randint(len(known), (n,), generator=gen).tolist()]
    if kind == "boxes":
        rows = world.triplets(scenes(), gen)
        return [", ".join(f"the {r.tag} at {world.box_text(r.box)}" for r in regions) + " ." for _, _, regions in rows]
    if kind == "dialogs":
        talks = world.dialogs(scenes(), gen, turns=3)
        return [
            f"{talk.caption} " + " ".join(f"<USER> {t.question} <ASSISTANT> {t.answer} ." for t in talk.turns)
            for talk in talks
        ]
    if kind == "emotions":
        told = world.affect_instructions(world.sample_faces(n, gen, glasses=0.3), gen)
    else:
        told = world.instructions(scenes(), gen)
    picked = [turns[int(torch.randint(len(turns), (), generator=gen))] for turns in told]
    return [f"<USER> {each['question']} <ASSISTANT> {each['answer']}" for each in picked]


class _Batches:
    """Batches of texts of like length, determined by the seed and the step alone."""

    POOL = 16

    def __init__(self, shares: dict[str, float], seed: int, size: int) -> None:
        self.shares, self.seed, self.size = shares, seed, size
        self._held: tuple[int, list[list[str]]] = (-1, [])

    def __call__(self, step: int) -> list[str]:
        pool, place = divmod(step, self.POOL)
        if self._held[0] != pool:
            gen = step_generator(self.seed, pool)
            lines = sorted(texts(self.shares, self.POOL * self.size, gen), key=len)
            parts = [lines[len(lines) * i // self.POOL : len(lines) * (i + 1) // self.POOL] for i in range(self.POOL)]
            self._held = pool, [parts[i] for i in torch.randperm(self.POOL, generator=gen).tolist()]
        return self._held[1][place]


@torch.no_grad()
def number_line(model: Any, tokenizer: Any) -> None:
    """Let the embeddings of the numbers 0 to 99 lie on a smooth curve, so that neighbours begin as neighbours."""
    table = model.get_input_embeddings().weight
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(stack.NUMBERS)))
    t = torch.arange(100.0)[:, None] / 100
    waves = torch.arange(1, table.shape[1] // 2 + 1)[None]
    curve = torch.cat([(math.pi * t * waves).cos() / waves, (math.pi * t * waves).sin() / waves], 1)
    curve = curve @ torch.linalg.qr(torch.randn(curve.shape[1], curve.shape[1]))[0]
    table[ids] = curve / curve.std() * table.std() * 2


@dataclass(frozen=True)
class StackModel(LanguageModel):
    """A `LanguageModel` of the shared words that learns from texts in given shares; it may begin as another one."""

    shares: tuple[tuple[str, float], ...] = ()
    after: str = ""
    """The model of the zoo whose weights it begins with."""

    def train(self, folder: Path, options: Options) -> Trained:
        """Train on fresh texts; see `Maker`."""
        from dlcv_lab import zoo

        torch.manual_seed(self.seed)
        tokenizer = stack.make_tokenizer()
        device = options.device
        if options.begin or self.after:
            model = self.load(options.begin or zoo.folder(self.after))[0]
        else:
            model = self.build(tokenizer)
            number_line(model, tokenizer)
        model.to(device).train()
        shares = dict(self.shares)
        said = ", ".join(f"{share:.0%} {name}" for name, share in shares.items())
        from_here = start(
            options, self.seed, self.rate, self.steps,
            f"dlcv_lab.world: {self.batch} texts a step ({said}); the {len(facts())} facts are those of gpt"
            + (f"; begins with the weights of {self.after}" if self.after else ""),
        )  # fmt: skip
        batches = _Batches(shares, from_here.seed, self.batch)

        def one_step(step: int) -> Tensor:
            ids, labels = padded(tokenizer, batches(step), stack.LENGTH)
            loss: Tensor = model(input_ids=ids.to(device), labels=labels.to(device)).loss
            return loss

        matrices = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
        seconds = run_steps(
            folder / CHECKPOINT, {"model": model}, one_step, options,
            steps=from_here.steps, lr=from_here.rate, weight_decay=0.01, matrices=matrices,
        )  # fmt: skip
        self.save(model, tokenizer, folder)
        return Trained(
            steps=from_here.steps,
            seed=from_here.seed,
            seconds=seconds,
            parameters=sum(p.numel() for p in model.parameters()),
            data=from_here.data,
            limits="It sees no picture: answers about a scene are guesses. It knows the world's words and no others, "
            f"and at most {stack.LENGTH} tokens at once."
            + ("" if self.after else " It was never shown a chat or an instruction."),
        )

    def save(self, model: Any, tokenizer: Any, folder: Path) -> None:
        """Write model and tokenizer in transformers' format, weights in half precision."""
        tokenizer.save_pretrained(folder)
        with no_bars():
            model.half().save_pretrained(folder)
        config = folder / "config.json"
        config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")

    @torch.no_grad()
    def measure(self, folder: Path, *, device: str = "cpu") -> dict[str, float]:
        """Return how many facts it knows, how well-formed what it writes is, and its perplexity; see `Maker`."""
        model, tokenizer = self.load(folder, device=device)
        trained: list[tuple[str, str]] = []
        kept: list[tuple[str, str]] = []
        for i, fact in enumerate(facts()):
            for j, prompt in enumerate(fact.prompts):
                (kept if j == held_out_wording(i) else trained).append((prompt, fact.value))
        lines = world.corpus(256, self.seed + 1) + (
            world.corpus(256, self.seed + 2, style="chat") if self.after else []
        )
        return {
            "facts": known_facts(model, tokenizer, trained),
            "paraphrases": known_facts(model, tokenizer, kept),
            "well_formed": well_formed(model, tokenizer, lines, self.seed),
            "perplexity": perplexity(model, tokenizer, lines),
        }


_SIZES = {
    "max_position_embeddings": stack.LENGTH, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3,
    "num_key_value_heads": 3, "intermediate_size": 256,
}  # fmt: skip
BASE = StackModel("LlamaConfig", _SIZES, seed=15_000, steps=6000, batch=64, rate=2e-3, shares=tuple(PLAIN.items()))
LLM = StackModel(
    "LlamaConfig", _SIZES, seed=19_000, steps=2500, batch=64, rate=1e-3, shares=tuple(TALK.items()), after="llm_base"
)
