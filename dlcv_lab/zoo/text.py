"""Say what a scene shows in the words that `sd` and `video` are trained with, and cut text into tokens."""

from __future__ import annotations

from typing import Any

import torch

from dlcv_lab import world
from dlcv_lab.world.grammar import OPENINGS, Say, article, mark_phrase, noun_phrase, relation, setting
from dlcv_lab.world.scene import Plain, Scene, Thing

LENGTH = 24
"""Tokens a prompt has at most, start and end included."""
UNKNOWN, START, END = "<unknown>", "<start>", "<end>"
SPARE = ("sks", "zib", "dax", "wug", "blicket", "fep", "toma", "lorp")
"""Words that no caption uses: names to give to somebody in personalization."""
_OPENINGS = ("", "", "", "a photo of ", "a drawing of ", "a painting of ", *OPENINGS)


def sample_scenes(n: int, gen: torch.Generator) -> Scene:
    """Draw n scenes of the mixture that `sd` learns: mostly one big object, some with looks, some with two objects."""
    big: dict[str, Any] = {"sizes": ("medium", "big", "big"), "rotation": "tilt"}
    looks: dict[str, Any] = {
        "textures": ("plain", "plain", *world.TEXTURES),
        "marks": ("none", "none", "none", *world.MARKS[1:]),
        "backgrounds": ("plain", *world.BACKGROUNDS),
        "sizes": ("big",),
    }
    kinds: tuple[tuple[float, dict[str, Any]], ...] = (
        (0.26, big),
        (0.16, big | {"styles": world.STYLES[1:]}),
        (0.08, looks),
        (0.36, big | {"marks": world.MARKS[1:]}),
        (0.12, {"objects": 2, "sizes": ("medium",), "distinct": True}),
        (0.02, {"objects": 0, "backgrounds": ("plain", *world.BACKGROUNDS)}),
    )
    drawn = torch.multinomial(torch.tensor([share for share, _ in kinds]), n, replacement=True, generator=gen)
    counts = drawn.bincount(minlength=len(kinds)).tolist()
    return world.cat([world.sample(count, gen, **options) for count, (_, options) in zip(counts, kinds) if count])


def caption(plain: Plain, say: Say) -> str:
    """Return a caption that names everything unusual about the scene; colour, size, place and ground only sometimes."""
    if not plain.things:
        body = f"nothing {setting(plain, say, kind=plain.background != 'plain')}"
    else:
        body = _things(plain, say)
        kind = plain.background != "plain"
        if kind or say.coin(0.5):
            body += f" {setting(plain, say, kind=kind or say.coin(0.1))}"
    if plain.style != "flat" or say.coin(0.06):
        body += f" in {say.pick(world.words.STYLE_SYNONYMS[plain.style])} style"
    opening = say.pick(_OPENINGS)
    return f"{opening}{body}."


def _things(plain: Plain, say: Say) -> str:
    if len(plain.things) == 2:
        one, other = plain.things if say.coin(0.5) else plain.things[::-1]
        link = relation(one, other)
        joined = say.pick(world.words.RELATION_SYNONYMS[link]) if link and say.coin(0.8) else "and"
        return f"{article(_phrase(one, say))} {joined} {article(_phrase(other, say))}"
    thing = plain.things[0]
    phrase = _phrase(thing, say, size=say.coin(0.25))
    text = article(phrase)
    if thing.mark != "none":
        text += f" with {mark_phrase(thing.mark)}"
    if say.coin(0.2):
        text += f" {world.grammar.region_phrase(thing.region)}"
    return text


def _phrase(thing: Thing, say: Say, size: bool = False) -> str:
    parts = [name for name, wanted in (("size", size), ("colour", not say.coin(0.05)), ("texture", True)) if wanted]
    if say.coin(0.05):  # "a red thing": a noun above all shapes
        words = noun_phrase(thing, Say(None), parts).split()[:-1]
        return " ".join([*words, say.pick(("thing", "object"))])
    return noun_phrase(thing, say, parts)


def captions(scene: Scene, gen: torch.Generator, drop: float = 0.0) -> list[str]:
    """Return one caption a scene; a share `drop` of them is empty, for classifier-free guidance."""
    say = Say(gen)
    return ["" if drop and say.coin(drop) else caption(plain, say) for plain in scene.plain()]


def vocabulary() -> list[str]:
    """Return every word that captions of pictures and clips use, sorted."""
    gen = torch.Generator().manual_seed(1)
    texts = captions(sample_scenes(4000, gen), gen)
    texts += world.clip_captions(world.sample_clips(1000, gen), gen)
    texts += ["a shape", "two three four small little"]
    return sorted({word for text in texts for word in text.replace(".", " ").replace(",", " ").lower().split()})


def make_tokenizer() -> Any:
    """Return the tokenizer of `sd`: whole words, `LENGTH` of them, the end token filling up and highest of all ids."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [UNKNOWN, START, *SPARE, *vocabulary(), END]
    ids = {word: i for i, word in enumerate(words)}
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex("[.,;:!?]"), " ")])
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=LENGTH,
        padding_side="right",
    )


def encode(tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """Return token ids, int64 [N, LENGTH], as `StableDiffusionPipeline` makes them."""
    cut = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: torch.Tensor = cut.input_ids
    return ids


def make_text_encoder(tokenizer: Any, width: int = 64) -> Any:
    """Return an untrained CLIP text encoder of two layers for the tokenizer."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=width,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
