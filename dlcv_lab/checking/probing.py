"""What a probe may use besides its arguments. A probe is the given code that calls a student's names on one case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def gradients(
    function: Callable[..., Any], inputs: Sequence[Tensor], weights: Tensor | None = None, **kwargs: Any
) -> tuple[Any, list[Tensor | None]]:
    """Call `function(*inputs, **kwargs)` and return its value and the gradients of `sum(value * weights)`.

    Args:
        function: returns a floating tensor.
        inputs: floating tensors of any shape; copies that require gradients are passed on.
        weights: same shape as the value; ones where it is None.

    Returns:
        The value, and one gradient per input, None where the value does not depend on it or is detached.
    """
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = function(*leaves, **kwargs)
    if not isinstance(value, Tensor) or not value.requires_grad:
        return value, [None] * len(leaves)
    total = value.sum() if weights is None else (value * weights).sum()
    return value.detach(), list(torch.autograd.grad(total, leaves, allow_unused=True))


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
