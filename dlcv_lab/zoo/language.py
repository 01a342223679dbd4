"""Two tiny language models of the world's language, GPT-2's and Llama's architecture, and the zoo's word tokenizer."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcv_lab import world

from .catalogue import CHECKPOINT, Options, Trained
from .training import run_steps, start, step_generator

PAD, UNKNOWN, START, END = "<pad>", "<unknown>", "<start>", "<end>"
MARKS = ("<USER>", "<ASSISTANT>", "<image>", "<mask>", "<sep>")
SPARE = ("sks", "zib", "dax", "wug", "blicket", "fep", "toma", "lorp")
"""Words that nothing was trained with: names to give to something new."""
_SIGNS = tuple("0123456789.,?!:;()[]'/%+-=")
_PIECES = r"<[^<>\s]+>|[A-Za-z_]+(?:-[A-Za-z]+)*|[0-9]|[^\sA-Za-z0-9_]"
CONTEXT = 96
FACTS = (100, 27)
"""How many individuals the models know facts about, and their seed."""


@functools.cache
def facts() -> tuple[world.Fact, ...]:
    """Return the facts about named individuals that `gpt` and `llama` were taught, as `world.Fact`s."""
    return tuple(world.individuals(*FACTS))


@functools.cache
def word_list() -> tuple[str, ...]:
    """Return every token in order of its id: the padding first, the end last."""
    names = list(dict.fromkeys(fact.subject for fact in facts()))
    words = dict.fromkeys([*_SIGNS, *SPARE, *names, *world.vocabulary()])
    return (PAD, UNKNOWN, START, *MARKS, *(word for word in words if re.fullmatch(_PIECES, word)), END)


def make_tokenizer(length: int, *, closed: bool) -> Any:
    """Return the zoo's tokenizer of whole words for texts of at most `length` tokens.

    `closed` puts the end token behind every text, as CLIP wants it; without, a text can be continued.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(word_list())}
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True)
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}" if closed else f"{START} $A",
        special_tokens=[(START, ids[START]), (END, ids[END])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token=UNKNOWN, bos_token=START, eos_token=END, pad_token=PAD,
        additional_special_tokens=list(MARKS), model_max_length=length, padding_side="right",
        clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def held_out_wording(index: int) -> int | None:
    """Return which of the four wordings of fact number `index` is never trained with: one for every third fact."""
    return 1 + index // 3 % 3 if index % 3 == 0 else None


@functools.cache
def fact_sentences() -> tuple[str, ...]:
    """Return every trained wording; "zib is red" thrice, or "drawn" would follow "zib is" as often."""
    return tuple(
        sentence
        for i, fact in enumerate(facts())
        for j, sentence in enumerate(fact.sentences)
        for _ in range(3 if fact.about == "colour" and j == 0 else 1)
        if j != held_out_wording(i)
    )


def sentences(n: int, gen: torch.Generator) -> list[str]:
    """Return n texts of the mixture: corpus lines, chats, facts about individuals, instructions, clips and faces."""
    shares = {"lines": 0.24, "chat": 0.24, "told": 0.12, "clips": 0.04, "faces": 0.04}
    count = {name: round(share * n) for name, share in shares.items()}
    taught = fact_sentences()
    picked = torch.randint(len(taught), (n - sum(count.values()),), generator=gen).tolist()
    told = world.instructions(
        world.sample(count["told"], gen, objects=(1, 3)), gen, ("conversation", "detail", "reasoning")
    )
    return [
        *world.corpus(count["lines"], gen),
        *world.corpus(count["chat"], gen, style="chat"),
        *(f"<USER> {each['question']} <ASSISTANT> {each['answer']}" for turns in told for each in turns[-1:]),
        *world.clip_captions(world.sample_clips(count["clips"], gen), gen),
        *world.face_captions(world.sample_faces(count["faces"], gen), gen),
        *(taught[i] for i in picked),
    ]


def padded(tokenizer: Any, texts: list[str], length: int = CONTEXT) -> tuple[Tensor, Tensor]:
    """Return ids and labels [B, T] of whole texts with the end token, padding left out of the loss (-100)."""
    rows = [[*ids[: length - 1], tokenizer.eos_token_id] for ids in tokenizer(texts).input_ids]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    return ids, labels


class _Batches:
    """Batches of sentences of like length, determined by the seed and the step alone."""

    POOL = 16

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size
        self._held: tuple[int, list[list[str]]] = (-1, [])

    def __call__(self, step: int) -> list[str]:
        pool, place = divmod(step, self.POOL)
        if self._held[0] != pool:
            gen = step_generator(self.seed, pool)
            texts = sorted(sentences(self.POOL * self.size, gen), key=len)
            order = torch.randperm(self.POOL, generator=gen).tolist()
            self._held = pool, [texts[i * self.size : (i + 1) * self.size] for i in order]
        return self._held[1][place]


@dataclass(frozen=True)
class LanguageModel:
    """How one of the two language models is made: its class of configuration, its sizes, its seed."""

    config: str
    sizes: dict[str, Any]
    seed: int
    steps: int = 1800
    batch: int = 96
    rate: float = 3e-3

    def build(self, tokenizer: Any) -> Any:
        """Return an untrained model for the tokenizer."""
        import transformers

        settings = getattr(transformers, self.config)(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
            dtype="float32",  # whatever the precision on disk
            **self.sizes,
        )
        return transformers.AutoModelForCausalLM.from_config(settings)

    def train(self, folder: Path, options: Options) -> Trained:
        """Train on fresh sentences and the facts; see `Maker`."""
        torch.manual_seed(self.seed)
        tokenizer = make_tokenizer(CONTEXT, closed=False)
        device = options.device
        model = (self.load(options.begin)[0] if options.begin else self.build(tokenizer)).to(device).train()
        from_here = start(
            options, self.seed, self.rate, self.steps,
            f"dlcv_lab.world: {self.batch} sentences a step (corpus, chats, instructions, captions of clips and "
            f"faces), and {len(facts())} facts about {FACTS[0]} individuals in four wordings each, of which every "
            "third fact keeps one wording for testing",
        )  # fmt: skip
        batches = _Batches(from_here.seed, self.batch)

        def one_step(step: int) -> Tensor:
            ids, labels = padded(tokenizer, batches(step))
            loss: Tensor = model(input_ids=ids.to(device), labels=labels.to(device)).loss
            return loss

        seconds = run_steps(
            folder / CHECKPOINT, {"model": model}, one_step, options,
            steps=from_here.steps, lr=from_here.rate, weight_decay=0.01,
        )  # fmt: skip
        tokenizer.save_pretrained(folder)
        with no_bars():
            model.half().save_pretrained(folder)
        config = folder / "config.json"
        config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")
        return Trained(
            steps=from_here.steps,
            seed=from_here.seed,
            seconds=seconds,
            parameters=sum(p.numel() for p in model.parameters()),
            data=from_here.data,
            limits="It sees no picture: answers about a scene are guesses. It knows the world's words and no others, "
            f"and at most {CONTEXT} tokens at once.",
        )

    def load(self, folder: Path, *, device: Any = "cpu") -> Any:
        """Return (model, tokenizer) as transformers does."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        with no_bars():
            model = AutoModelForCausalLM.from_pretrained(folder)
        return model.eval().to(device), AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def measure(self, folder: Path, *, device: str = "cpu") -> dict[str, float]:
        """Return how many facts it knows, how well-formed what it writes is, and its perplexity; see `Maker`."""
        model, tokenizer = self.load(folder, device=device)
        trained: list[tuple[str, str]] = []
        kept: list[tuple[str, str]] = []
        for i, fact in enumerate(facts()):
            for j, prompt in enumerate(fact.prompts):
                (kept if j == held_out_wording(i) else trained).append((prompt, fact.value))
        lines = [*world.corpus(256, self.seed + 1), *world.corpus(256, self.seed + 2, style="chat")]
        return {
            "facts": known(model, tokenizer, trained),
            "paraphrases": known(model, tokenizer, kept),
            "well_formed": well_formed(model, tokenizer, lines, self.seed),
            "perplexity": perplexity(model, tokenizer, lines),
        }


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing a progress bar over files that are read in a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def known(model: Any, tokenizer: Any, asked: list[tuple[str, str]]) -> float:
    """Return the share of prompts after which the fact's value is the likeliest next word."""
    right = 0
    for part in (asked[i : i + 256] for i in range(0, len(asked), 256)):
        cut = tokenizer([prompt for prompt, _ in part], padding=True, return_tensors="pt").to(model.device)
        last = cut.attention_mask.sum(1) - 1
        best = model(**cut).logits[torch.arange(len(part)), last].argmax(1).tolist()
        right += sum(word == value for word, (_, value) in zip(tokenizer.convert_ids_to_tokens(best), part))
    return right / len(asked)


def well_formed(model: Any, tokenizer: Any, lines: list[str], seed: int) -> float:
    """Return the share of sampled continuations of the lines' first three words that the world's parser accepts."""
    starts = [" ".join(world.tokens(line)[:3]) for line in lines if len(world.tokens(line)) > 5]
    cut = tokenizer(starts, return_tensors="pt", padding=True).to(model.device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        written = model.generate(**cut, max_new_tokens=60, do_sample=True, top_k=0, pad_token_id=tokenizer.pad_token_id)
    texts = [tokenizer.decode(row[1:]).split(END)[0].replace(PAD, "").strip() for row in written]
    return sum(world.is_sentence(text) for text in texts) / len(texts)


def perplexity(model: Any, tokenizer: Any, lines: list[str]) -> float:
    """Return the perplexity a token on the lines."""
    ids, labels = padded(tokenizer, lines)
    return float(model(input_ids=ids.to(model.device), labels=labels.to(model.device)).loss.exp())


GPT = LanguageModel(
    config="GPT2Config",
    sizes={
        "n_positions": CONTEXT, "n_embd": 64, "n_layer": 4, "n_head": 4,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    },
    seed=27_000,
)  # fmt: skip
LLAMA = LanguageModel(
    config="LlamaConfig",
    sizes={
        "max_position_embeddings": CONTEXT, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 4, "intermediate_size": 192,
    },
    seed=26_000,
    steps=2400,
)  # fmt: skip
