"""What the exceptions that beginners meet most often mean, in a sentence with the remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from dlcv_lab.checking.diagnosis.judged_case import Evidence
from dlcv_lab.checking.diagnosis.sentences import generic
from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.model import Diagnosis

# key of the sentence -> what the exception's text says
_MEANINGS: dict[str, str] = {
    "overflow": r"^OverflowError",
    "values_and_places": r"torch\.return_types|'tuple' object has no attribute '(?:exp|sum|unsqueeze|float)'",
    "one_truth": r"Boolean value of Tensor with more than one value|truth value of an array with more than one",
    "one_number": r"elements? cannot be converted to Scalar|only one element tensors can be converted"
    r"|only integer tensors of a single element",
    "whole_numbers": r"could not infer output dtype|not implemented for '(?:Long|Int|Byte)'"
    r"|result type Float can't be cast",
    "index_dtype": r"tensors used as indices must be|only applicable to index tensor|Expected dtype int64 for index",
    "views": r"view size is not compatible",
    "no_axes_to_join": r"zero-dimensional tensor .* cannot be concatenated",
    "not_one_loss": r"grad can be implicitly created only for scalar outputs",
    "product_sizes": r"shapes cannot be multiplied|size mismatch, got|inconsistent tensor size",
    "sizes_meet": r"The size of tensor a \(\d+\) must match the size of tensor b",
    "signature": r"^TypeError: (?:\w+\.)?\w+\(\) (?:got an unexpected keyword|missing \d+ required"
    r"|takes \d+ positional)",
}
_TEXTS = {key: re.compile(text, re.IGNORECASE) for key, text in _MEANINGS.items()}
_DTYPES_MEET = re.compile(
    r"same dtype|expected scalar type|but found (?:Double|Float)|(?:float|double) != (?:float|double)", re.IGNORECASE
)


def meaning(errors: Sequence[Evidence]) -> Diagnosis | None:
    """Say what the first exception means that the student's own line raised, where it is a well-known one."""
    for item in errors:
        if not item.outcome.line:
            continue
        text = f"{item.outcome.error}: {item.outcome.message}"
        if _DTYPES_MEET.search(text) and has_float64(item):
            return generic("dtypes_meet", where=item.name)
        for key, pattern in _TEXTS.items():
            if pattern.search(text):
                return generic(key, where=item.name, line=item.outcome.line)
    return None


def has_float64(item: Evidence) -> bool:
    """Tell whether a case has float64 inputs."""
    return any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for _, leaf in leaves(item.case.data))
