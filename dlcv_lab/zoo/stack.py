"""The words of the vision-language stack: one tokenizer with the special tokens that such models need."""

from __future__ import annotations

import functools
import re
from typing import Any

from dlcv_lab import world

from .language import END, PAD, SPARE, START, UNKNOWN, word_list

LENGTH = 256
"""Tokens a text has at most, those of pictures included."""
SPECIALS = (
    "<image>", "<mask>", "<CLS>", "<SEP>", "<ENC>", "<DEC>", "<EOC>", "<RET>", "<IMG>", "<NL>",
    "<USER>", "<ASSISTANT>", "<SENT0>", "<SENT1>", "<SENT2>", "<SENT3>",
)  # fmt: skip
"""A picture's place; a hidden word; classify, separate, match with a picture, describe; the end of a chunk, retrieve a
picture, paint one; a new line; who speaks; which sentence of a dialog."""
NUMBERS = tuple(str(n) for n in range(100))
"""Hundredths of the canvas, as in boxes: one token each. Longer numbers are spelt digit by digit."""
_SIGNS = tuple(".,?!:;()[]'/%+-=")
_MORE = (
    "label labels says say letter number digit box give find point region please select closest following options "
    "predict emotion answer answers candidates outside provide not format did does which who why show shows read "
    "true false first second same different changed said before after next hello good bye thank you for visiting our "
    "page follow us more we had lovely day prices may all rights reserved see week change think maybe clockwise "
    "anticlockwise shrinks dwindles inwards outwards beside near among thing nothing picture pictures"
)
"""Words that no other model of the zoo knows, for labels, boxes, choices and talk."""
PIECES = r"<[^<>\s]+>|[A-Za-z_]+(?:-[A-Za-z]+)*|(?<![0-9])[0-9]{1,2}(?![0-9])|[0-9]|[^\sA-Za-z0-9_]"


@functools.cache
def tokens() -> tuple[str, ...]:
    """Return every token in order of its id: the padding first, the end last."""
    letters = [glyph.lower() for glyph in world.GLYPHS if glyph.isalpha()]
    old = [word for word in word_list() if re.fullmatch(r"[A-Za-z_]+(?:-[A-Za-z]+)*", word)]
    words = dict.fromkeys([*NUMBERS, *_SIGNS, *SPARE, *_MORE.split(), *letters, *old])
    return (PAD, UNKNOWN, START, *SPECIALS, *words, END)


def make_tokenizer(*, closed: bool = False, length: int = LENGTH) -> Any:
    """Return the tokenizer; `closed` puts the end token behind every text, without, a text can be continued."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(tokens())}
    core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    core.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("\n", " <NL> ")])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}" if closed else f"{START} $A",
        special_tokens=[(START, ids[START]), (END, ids[END])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token=UNKNOWN, bos_token=START, eos_token=END, pad_token=PAD,
        additional_special_tokens=list(SPECIALS), model_max_length=length, padding_side="right",
        clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
