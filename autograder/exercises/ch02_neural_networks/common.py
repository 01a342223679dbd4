"""What the exercises of chapter 2 share: data types, forbidden operations, points with labels, probes by hand."""

import torch

from autograder.declare import shipped
from dlcv_lab.checking import probing
from dlcv_lab.checking.model import Forbid

DOUBLE = torch.float64
NO_AUTOGRAD = Forbid(names=("torch.autograd", "torch.func"))


def points(d, n, dim=2, dtype=torch.float32):
    """Draw n points with labels of both kinds."""
    t = torch.arange(n).remainder(2).to(dtype)
    return {"x": d.normal(n, dim, dtype=dtype) + (2 * t - 1)[:, None], "t": t}


@shipped
def by_hand(function, data):
    """Call a function that is to derive its gradients itself: there is no graph for `backward`."""
    try:
        with torch.no_grad():
            return probing.call(function, **data)
    except RuntimeError as error:
        if "does not require grad" in str(error):
            raise probing.Unusable("autograd is switched off here: derive the gradient by hand") from None
        raise


@shipped
def named(answer, *names):
    """Return the parts of a tuple by name, so that a verdict can say which is wrong."""
    if not isinstance(answer, tuple | list) or len(answer) != len(names):
        got = f"{len(answer)} values" if isinstance(answer, tuple | list) else f"a {type(answer).__name__}"
        raise probing.Unusable(f"({', '.join(names)}) is expected; your code returns {got}")
    return dict(zip(names, answer))
