"""A case as Python text that builds it again: what a student pastes into the notebook to see the same failure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from autograder.feedback.smallest import Smallest
from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.execute import PRELUDE
from dlcv_lab.checking.model import ExerciseInfo

MOST = 600  # elements that are written out


def snippet(info: ExerciseInfo, found: Smallest) -> str:
    """Return Python text that rebuilds input, yours and expected; "" where the case is too large to be written out."""
    values = [found.case.data, found.expected.value if found.expected.status == "value" else None]
    if sum(_elements(leaf) for value in values for _, leaf in leaves(value)) > MOST:
        return ""
    lines = [
        f"# {info.key}: paste this below your own cells",
        "import sys",
        PRELUDE.rstrip() + ("\nimport numpy as np" if any(_is_array(v) for v in values) else ""),
        "",
        f"data = {literal(found.case.data)}",
        "",
        info.probe.rstrip(),
        "",
    ]
    if found.expected.status == "value":
        lines += [f"expected = {literal(found.expected.value)}", 'print("expected", expected)']
    else:
        lines += [f'print("expected: {found.expected.error}")']
    lines += ['yours = run(sys.modules["__main__"], data)', 'print("yours   ", yours)']
    return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """Return a Python expression for plain data; tensors keep dtype, memory layout and whether they need gradients."""
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        flat = ", ".join(_number(item) for item in value.ravel().tolist())
        return f"np.array([{flat}], dtype=np.{value.dtype.name}).reshape({tuple(value.shape)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    return _number(value)


def _tensor(tensor: torch.Tensor) -> str:
    values, dtype = tensor.detach(), str(tensor.dtype)
    layout = ""
    if not values.is_contiguous() and values.numel():
        order = sorted(range(values.dim()), key=values.stride().__getitem__, reverse=True)
        dense = values.permute(order)
        if dense.is_contiguous():
            values, layout = dense, f".permute({[order.index(axis) for axis in range(len(order))]})"
        else:
            span = 1 + sum((size - 1) * step for size, step in zip(values.shape, values.stride()))
            layout = f".as_strided({tuple(values.shape)}, {tuple(values.stride())})"
            values = values.as_strided((span,), (1,), values.storage_offset())
    if not values.numel():
        text = f"torch.zeros({tuple(values.shape)}, dtype={dtype})"
    else:
        text = f"torch.tensor({_nested(values.tolist())}, dtype={dtype})"
    return text + layout + (".requires_grad_()" if tensor.requires_grad else "")


def _nested(value: Any) -> str:
    return "[" + ", ".join(map(_nested, value)) + "]" if isinstance(value, list) else _number(value)


def _number(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, complex) and not (math.isfinite(value.real) and math.isfinite(value.imag)):
        return f"complex({_number(value.real)}, {_number(value.imag)})"
    return repr(value)


def _elements(leaf: Any) -> int:
    if isinstance(leaf, torch.Tensor):
        span = 1 + sum((size - 1) * step for size, step in zip(leaf.shape, leaf.stride())) if leaf.numel() else 0
        return max(leaf.numel(), span)
    return int(leaf.size) if isinstance(leaf, np.ndarray) else len(leaf) if isinstance(leaf, str | bytes) else 1


def _is_array(value: Any) -> bool:
    return any(isinstance(leaf, np.ndarray) for _, leaf in leaves(value))
