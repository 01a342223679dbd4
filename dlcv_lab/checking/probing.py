"""What a probe may use besides its arguments. A probe is the given code that calls a student's names on one case."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Unusable(Exception):
    """An answer that a probe cannot go on with. The message is the sentence for the student, who gets it as TY."""


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of the student's that has something to return, and return it.

    Raises:
        Unusable: it is None, or holds None or a NumPy array where a tensor belongs.
    """
    value = function(*args, **kwargs)
    wrong = fault(value)
    if wrong and not isinstance(value, dict):
        raise Unusable(wrong)
    return value


def call_with(function: Callable[..., Any], data: Mapping[str, Any], positional: Sequence[str]) -> Any:
    """Call a function of the student's with a case's data, and return what it returns.

    Args:
        function: may call its positional parameters as it likes.
        data: argument name -> value.
        positional: the names of the parameters before `*`, in their order. Those of them that the data holds without
            a gap are passed by position, everything else by name.
    """
    rest = dict(data)
    args = [rest.pop(name) for name in itertools.takewhile(lambda name: name in data, positional)]
    return function(*args, **rest)


def fault(value: Any, place: str = "") -> str:
    """Say what is no use about an answer, or nothing."""
    if value is None:
        if place:
            return f"{place} of what your code returns is None where a value belongs"
        return "your code returns None: is a `return` missing?"
    if type(value).__module__ == "numpy":
        kind = "NumPy array" if type(value).__name__ == "ndarray" else f"NumPy {type(value).__name__}"
        return f"your code returns a {kind}: return a tensor (torch.from_numpy, or stay in torch throughout)"
    if isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException)):
        name = value.__name__ if isinstance(value, type) else type(value).__name__
        return f"your code returns the exception {name}: write `raise` instead of `return`"
    if isinstance(value, tuple | list):
        return next((wrong for index, item in enumerate(value) if (wrong := fault(item, f"item {index}"))), "")
    if isinstance(value, dict):
        return next((wrong for key, item in value.items() if (wrong := fault(item, f"`{key}`"))), "")
    return ""


def gradients(
    function: Callable[..., Any], inputs: Sequence[Any], weights: Tensor | None = None, **kwargs: Any
) -> tuple[Any, list[Tensor | None]]:
    """Call `function(*inputs, **kwargs)` and return its value and the gradients of `sum(value * weights)`.

    Args:
        function: returns a floating tensor.
        inputs: floating tensors of any shape, of which copies that require gradients are passed on; anything else is
            passed on as it is and has no gradient.
        weights: same shape as the value; ones where it is None.

    Returns:
        The value, and one gradient per floating tensor, None where the value does not depend on it or is detached.

    Raises:
        Unusable: the value is None or no tensor.
    """
    given = [item.detach().clone().requires_grad_() if _floating(item) else item for item in inputs]
    leaves = [item for item in given if _floating(item)]
    value = call(function, *given, **kwargs)
    if not isinstance(value, Tensor):
        raise Unusable(f"your code returns a {type(value).__name__} where a tensor is expected")
    if not value.requires_grad:
        return value, [None] * len(leaves)
    total = value.sum() if weights is None else (value * weights).sum()
    return value.detach(), list(torch.autograd.grad(total, leaves, allow_unused=True))


def _floating(item: Any) -> bool:
    return isinstance(item, Tensor) and item.is_floating_point()


def load_model(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Give a model the parameters and buffers of `state`, and their dtype, and return it.

    Raises:
        RuntimeError: names or shapes differ; torch says which.
    """
    floating = [tensor.dtype for tensor in state.values() if tensor.is_floating_point()]
    if floating:
        model.to(floating[0])
    model.load_state_dict(dict(state))
    return model
