"""What the exercises of chapter 23 share: the data of an adapted linear layer, and what their probes build from it."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from autograder.declare import Draws, shipped
from dlcv_lab.checking.model import Case


def layer_data(
    d: Draws, shape: tuple[int, ...], rows: int, r: int, *, wide: int = 0, tall: int = 0, dtype=torch.float32
) -> dict[str, torch.Tensor]:
    """Draw an input of a shape, weight and bias of a layer to `rows` numbers, and the low-rank pair A and B.

    A has `wide` more columns and B `tall` more rows than the layer needs.
    """
    columns = shape[-1]
    return {
        "x": d.normal(*shape, dtype=dtype),
        "W": d.normal(rows, columns, dtype=dtype),
        "bias": d.normal(rows, dtype=dtype) + 1,
        "A": d.normal(r, columns + wide, dtype=dtype),
        "B": d.normal(rows + tall, r, dtype=dtype),
    }


def cast(case: Case, names: Iterable[str], dtype: torch.dtype) -> Case:
    """Return a case with some of its tensors in another dtype."""
    return replace(case, data=case.data | {name: case.data[name].to(dtype) for name in names})


@shipped
def linear(W, bias):
    """Return a linear layer with copies of a weight and a bias, which may be None."""
    layer = nn.Linear(W.shape[1], W.shape[0], bias=bias is not None).to(W.dtype)
    layer.weight.data = W.clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


@shipped
def trainable(layer):
    """Return the names of the trainable parameters, in alphabetic order."""
    return ", ".join(sorted(name for name, p in layer.named_parameters() if p.requires_grad))


@shipped
def slopes(y, **leaves):
    """Return the gradients of a weighted sum of `y`, by name; zeros where it does not depend on a leaf."""
    weights = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    found = torch.autograd.grad((y * weights).sum(), list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, found))
