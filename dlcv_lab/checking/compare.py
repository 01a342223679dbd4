"""Compare an answer with the expected one, leaf by leaf, within tolerances that were measured on the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.messages import spoken
from dlcv_lab.checking.model import Case

FLOORS: dict[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.complex128: 1e-9,
    torch.float32: 1e-5,
    torch.complex64: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 2e-2,
}
MARGIN = 8.0  # a tolerance is this many times the largest deviation seen among right solutions
_HALF = (torch.float16, torch.bfloat16)

Kind = Literal["", "value", "nan", "shape", "dtype", "type", "structure"]


@dataclass(frozen=True)
class Comparison:
    """How an answer compares with the expected one; `text` is a sentence part that is true of the first difference."""

    equal: bool
    kind: Kind = ""
    path: str = ""
    text: str = ""
    max_difference: float | None = None  # over all numeric leaves of equal shape

    @property
    def is_type(self) -> bool:
        return self.kind in ("shape", "dtype", "type", "structure")


def compare(
    got: Any,
    expected: Any,
    tolerances: Sequence[float] = (),
    *,
    exact_dtype: bool = False,
    dtype: torch.dtype | None = None,
    plain: bool = False,
) -> Comparison:
    """Compare plain data with expected plain data.

    `tolerances` holds one number per numeric leaf of `expected` (see `tolerances`); integers, truth values and text
    are compared exactly. A tuple equals a list, a 0-d tensor of the same kind stands for a number, float64 stands for
    float32 unless `exact_dtype`. `dtype` is the floating dtype the inputs had, where the expected values were computed
    in float64. NaN equals NaN only where NaN is expected. `plain`: Python numbers are promised, and no tensor stands
    for one.
    """
    found: Comparison | None = None
    largest: float | None = None
    allowed = iter(tolerances)
    if plain and (at := _tensor_for_number(got, expected)):
        place, tensor = at
        text = f"{describe(tensor)} came where a Python number is promised: take `.item()` of it"
        return _wrong("type", place, text)
    for comparison in _walk(got, expected, "", allowed, exact_dtype, dtype):
        if comparison.max_difference is not None:
            largest = max(largest or 0.0, comparison.max_difference)
        if not comparison.equal and (found is None or (found.kind == "value" and comparison.is_type)):
            found = comparison
    if found is not None:
        return replace(found, max_difference=largest)
    exact = largest is None or largest == 0.0
    return Comparison(True, text="exact" if exact else "within tolerance", max_difference=largest)


def numeric_leaves(value: Any) -> list[tuple[str, Any]]:
    """Return (path, leaf) of the leaves that have a tolerance: tensors, arrays and numbers, truth values aside."""
    return [(path, leaf) for path, leaf in leaves(value) if is_number(leaf) or _is_array(leaf)]


def _tensor_for_number(got: Any, expected: Any) -> tuple[str, torch.Tensor] | None:
    """Return the first tensor that stands where a number is expected, and its path."""
    table = dict(leaves(got))
    for path, leaf in leaves(expected):
        mine = table.get(path)
        if is_number(leaf) and isinstance(mine, torch.Tensor):
            return path, mine
    return None


def is_number(value: Any) -> bool:
    return type(value) in (int, float, complex)


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def as_tensor(value: Any) -> torch.Tensor:
    """Return a numeric leaf as a detached tensor."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, int) and abs(value) >= 2**63:
        return torch.tensor(float(value) if abs(value) < 2**1000 else math.inf, dtype=torch.float64)
    return torch.as_tensor(value)


def scale(value: Any) -> float:
    """Return max|value| over the finite numbers of a leaf, or 1 where all are zero."""
    numbers = _wide(as_tensor(value)).abs()
    if numbers.numel() and math.isfinite(top := float(numbers.max())):
        return top or 1.0
    finite = numbers[torch.isfinite(numbers)]
    top = float(finite.max()) if finite.numel() else 0.0
    return top or 1.0


def deviations(got: Any, expected: Any) -> tuple[float, ...]:
    """Return max|got - expected| per numeric leaf of `expected`; infinite where structure, shape or NaNs differ."""
    table = dict(leaves(got))
    return tuple(
        _difference(as_tensor(table[path]), as_tensor(leaf))
        if path in table and (is_number(table[path]) or _is_array(table[path]))
        else math.inf
        for path, leaf in numeric_leaves(expected)
    )


def tolerances(expected64: Any, runs: Sequence[Sequence[float]], dtype: torch.dtype) -> tuple[float, ...]:
    """Return the tolerance of each numeric leaf: max(dtype floor x scale, 8 x largest deviation of a right solution).

    `runs` holds the `deviations` of the reference in `dtype` and of every alternative. Raises ValueError where one of
    them is not finite: then a solution declared right answers something else.
    """
    floor = FLOORS.get(dtype, FLOORS[torch.float32])
    result = []
    for index, (path, leaf) in enumerate(numeric_leaves(expected64)):
        if not _is_floating(leaf):
            result.append(0.0)
            continue
        worst = max((run[index] for run in runs), default=0.0)
        if not math.isfinite(worst):
            raise ValueError(f"a right solution answers something else at {path or 'the value'}")
        result.append(max(floor * scale(leaf), MARGIN * worst))
    return tuple(result)


def input_dtype(case: Case) -> torch.dtype | None:
    """Return the one floating dtype of a case's tensors, or None where there are none or several."""
    found = {leaf.dtype for _, leaf in leaves(case.data) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def describe(value: Any, dtype: torch.dtype | None = None) -> str:
    """Say what a value is, in a few words: "a float32 tensor of shape (2, 3)".

    `dtype` names the dtype of an expected value that was computed in float64.
    """
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        name = str(_wanted(value, dtype)).removeprefix("torch.")
        return f"{'an' if name[0] == 'i' else 'a'} {name} tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {tuple(value.shape)}" if value.ndim else f"a numpy {value.dtype} number"
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of length {len(value)}"
    if isinstance(value, dict):
        return f"a dictionary with {len(value)} keys"
    return f"the {type(value).__name__} {value!r}"[:60]


def _walk(got: Any, expected: Any, path: str, allowed: Iterator[float], exact: bool, dtype: torch.dtype | None
          ) -> Iterator[Comparison]:  # fmt: skip
    if isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            yield _wrong("structure", path, f"{describe(got)} came where {describe(expected)} is expected")
            _skip(expected, allowed)
            return
        for index, (mine, right) in enumerate(zip(got, expected)):
            yield from _walk(mine, right, f"{path}[{index}]", allowed, exact, dtype)
    elif isinstance(expected, dict):
        if not isinstance(got, dict) or set(got) != set(expected):
            yield _wrong("structure", path, _keys(got, expected))
            _skip(expected, allowed)
            return
        for key, right in expected.items():
            yield from _walk(got[key], right, f"{path}[{key!r}]", allowed, exact, dtype)
    elif is_number(expected) or _is_array(expected):
        yield _number(got, expected, path, next(allowed, None), exact, dtype)
    else:
        same = type(got) is type(expected) and got == expected
        if isinstance(expected, bool) and _is_array(got) and got.ndim == 0 and as_tensor(got).dtype == torch.bool:
            same = bool(got) == expected
        kind: Kind = "value" if type(got) is type(expected) else "type"
        text = f"{describe(got)} came where {describe(expected)} is expected"
        yield Comparison(True) if same else _wrong(kind, path, text)


def _number(got: Any, expected: Any, path: str, allowed: float | None, exact: bool, dtype: torch.dtype | None
            ) -> Comparison:  # fmt: skip
    if not (is_number(got) or _is_array(got)):
        return _wrong("type", path, f"{describe(got)} came where {describe(expected, dtype)} is expected")
    if type(got) is int and type(expected) is int:
        if got == expected:
            return Comparison(True, max_difference=0.0)
        return replace(_wrong("value", path, f"{got} came where {expected} is expected"),
                       max_difference=_difference(as_tensor(got), as_tensor(expected)))  # fmt: skip
    single = is_number(got) or got.ndim == 0
    if is_number(expected):
        if not single:
            return _wrong("type", path, f"{describe(got)} came where a number is expected")
    elif isinstance(got, torch.Tensor) is not isinstance(expected, torch.Tensor):
        return _wrong("type", path, f"{describe(got)} came where {describe(expected, dtype)} is expected")
    mine, right = as_tensor(got), as_tensor(expected)
    if mine.shape != right.shape:
        return _wrong("shape", path, f"the shape is {tuple(mine.shape)}, expected {tuple(right.shape)}")
    if not _dtype_fits(mine, right, exact and not is_number(expected), dtype, plain=is_number(got)):
        want = _wanted(right, dtype)
        return replace(
            _wrong("dtype", path, f"the dtype is {_dtype_name(mine)}, expected {str(want).removeprefix('torch.')}"),
            max_difference=_difference(mine, right),
        )
    difference = _difference(mine, right)
    if allowed is None:
        allowed = FLOORS[torch.float32] * scale(expected) if _is_floating(expected) else 0.0
    if difference <= allowed:
        return Comparison(True, max_difference=difference)
    strange = _strange(mine, right)
    if strange:
        return _wrong("nan", path, strange)
    return replace(_wrong("value", path, f"the largest difference is {difference:.3g}"), max_difference=difference)


def _dtype_fits(mine: torch.Tensor, right: torch.Tensor, exact: bool, dtype: torch.dtype | None, plain: bool) -> bool:
    if right.is_complex():
        return mine.is_complex() or plain
    if right.is_floating_point():
        if exact and dtype is not None:
            return mine.dtype == _wanted(right, dtype)
        if plain:
            return not mine.is_complex()
        half_fits = dtype in _HALF or right.dtype in _HALF
        return mine.is_floating_point() and (half_fits or mine.dtype not in _HALF)
    if right.dtype == torch.bool or mine.dtype == torch.bool:
        return mine.dtype == right.dtype
    if exact:
        return mine.dtype == right.dtype
    return not (mine.is_floating_point() or mine.is_complex())


def _wanted(right: torch.Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and right.dtype == torch.float64 else right.dtype


def _difference(mine: torch.Tensor, right: torch.Tensor) -> float:
    if mine.shape != right.shape:
        return math.inf
    if not mine.numel():
        return 0.0
    if not (mine.is_floating_point() or mine.is_complex() or right.is_floating_point() or right.is_complex()):
        if torch.equal(mine.to(torch.int64), right.to(torch.int64)):
            return 0.0
        return float((mine.to(torch.float64) - right.to(torch.float64)).abs().max()) or 1.0
    a, b = _wide(mine), _wide(right)
    widest = float((a - b).abs().max())
    if math.isfinite(widest):
        return widest
    finite = torch.isfinite(a) & torch.isfinite(b)
    same = (a == b) | (torch.isnan(a) & torch.isnan(b))
    if not bool((finite | same).all()):
        return math.inf
    gaps = (a - b).abs()[finite]
    return float(gaps.max()) if gaps.numel() else 0.0


def _strange(mine: torch.Tensor, right: torch.Tensor) -> str:
    for name, test in (("NaN", torch.isnan), ("infinite", torch.isinf)):
        odd = test(mine) & ~test(right)
        if bool(odd.any()):
            many = f"{int(odd.sum())} of {mine.numel()} numbers are {name}" if mine.ndim else f"the number is {name}"
            return f"{many} where {'NaN is not' if name == 'NaN' else 'a finite number is'} expected"
    return ""


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _is_floating(leaf: Any) -> bool:
    tensor = as_tensor(leaf)
    return tensor.is_floating_point() or tensor.is_complex()


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _keys(got: Any, expected: dict[Any, Any]) -> str:
    if not isinstance(got, dict):
        return f"{describe(got)} came where {describe(expected)} is expected"
    missing = [repr(key) for key in expected if key not in got]
    extra = [repr(key) for key in got if key not in expected]
    parts = [f"missing {', '.join(missing[:5])}"] if missing else []
    parts += [f"not expected {', '.join(extra[:5])}"] if extra else []
    return f"the keys of the dictionary differ: {'; '.join(parts)}"


def _skip(expected: Any, allowed: Iterator[float]) -> None:
    for _ in numeric_leaves(expected):
        next(allowed, None)


def _wrong(kind: Kind, path: str, text: str) -> Comparison:
    return Comparison(False, kind, path, f"at {spoken(path)}, {text}" if path else text)
