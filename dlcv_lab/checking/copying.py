"""Copy an answer without the way through bytes, where it is so simple that both give the same."""

from __future__ import annotations

import math
from typing import Any

import torch

from dlcv_lab.checking.envelope import NAMES, decode, encode

_FEW = 1000


def settled(obj: Any) -> Any:
    """Copy plain data as the way through bytes without `layout` would: detached, contiguous, nothing shared.

    Tensors and numbers, alone or in one list, tuple or dictionary, are copied at once; everything else takes the way
    through bytes. Raises `EnvelopeError` as `encode` does.
    """
    if _is_simple(obj):
        return _copied(obj)
    if type(obj) in (list, tuple) and len(obj) < _FEW and all(map(_is_simple, obj)):
        return type(obj)(map(_copied, obj))
    if type(obj) is dict and len(obj) < _FEW and all(map(_is_simple, obj.values())) and all(map(_is_key, obj)):
        return {key: _copied(item) for key, item in obj.items()}
    return decode(encode(obj, layout=False), max_bytes=2**40)


def _is_simple(obj: Any) -> bool:
    """Tell whether a leaf is an ordinary tensor of moderate size, or a number that JSON can say."""
    kind = type(obj)
    if kind is torch.Tensor:
        odd = obj.layout != torch.strided or obj.is_nested or obj.is_quantized or obj.is_conj() or obj.is_neg()
        return not odd and obj.device.type == "cpu" and obj.dtype in NAMES and obj.numel() < 2**20
    if kind is int:
        return bool(-(2**63) <= obj < 2**63)
    return kind is bool or obj is None or (kind is float and math.isfinite(obj))


def _is_key(key: Any) -> bool:
    return type(key) is str and key.isascii()


def _copied(leaf: Any) -> Any:
    return leaf.detach().clone(memory_format=torch.contiguous_format) if type(leaf) is torch.Tensor else leaf
