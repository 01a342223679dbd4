"""What the exercises of chapter 11 share: data types, weights by a formula, and probes of layers."""

import torch

from autograder.declare import shipped
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64
NO_LIBRARY = Forbid(
    aten=("aten._scaled_dot_product*",),
    names=(
        "F.scaled_dot_product_attention",
        "nn.functional.scaled_dot_product_attention",
        "nn.MultiheadAttention",
    ),
)


@shipped
def filled(model, phase, dtype):
    """Give every weight of a layer a number from a formula, so that packs stay small."""
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            at = torch.arange(value.numel(), dtype=torch.float64)
            wave = torch.sin(at * 12.9898 + 78.233 * phase + sum(map(ord, name)))
            if value.ndim > 1:
                wave = wave * 2 / value.shape[1] ** 0.5
            elif "norm" in name and "weight" in name:
                wave = 1 + 0.5 * wave
            value.copy_(wave.reshape(value.shape))
    return model.to(dtype).eval()


@shipped
def slopes(function, *inputs):
    """Return a layer's output and the gradients of a weighted sum of it."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = probing.call(function, *inputs)
    wave = torch.sin(torch.arange(y.numel()) * 0.7).to(y.dtype).reshape(y.shape)
    found = torch.autograd.grad((y * wave).sum(), inputs, allow_unused=True)
    named = {f"gradient {i}": g for i, g in enumerate(found)}
    return {"output": y.detach()} | named
