"""Honest submissions that look unusual: each must get full points.

`HONEST` maps what is unusual to a function that takes the released notebook as JSON and returns what is handed in: the
bytes of a file. `fill` puts text into the solution cells of `box_blur` and `unsharp`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

Notebook = dict[str, Any]
BLUR = """
def box_blur(x, k):
    H, W = x.shape
    if k > min(H, W):
        raise ValueError("too large")
    y = torch.zeros(H - k + 1, W - k + 1, dtype=x.dtype)
    for u in range(k):
        for v in range(k):
            y = y + x[u : u + H - k + 1, v : v + W - k + 1]
    return y / k**2
"""
SHARP = """
def unsharp(x, *, amount=1.0):
    middle = x[1:-1, 1:-1]
    return middle + amount * (middle - box_blur(x, 3))
"""
HONEST: dict[str, Callable[[Notebook], bytes]] = {}


def unusual(name: str) -> Callable[[Callable[[Notebook], Any]], Callable[[Notebook], bytes]]:
    """Register a function that changes a filled notebook, or returns other bytes."""

    def register(change: Callable[[Notebook], Any]) -> Callable[[Notebook], bytes]:
        def hand_in(release: Notebook) -> bytes:
            nb = fill(release)
            made = change(nb)
            return made if isinstance(made, bytes) else json.dumps(made or nb).encode()

        HONEST[name] = hand_in
        return hand_in

    return register


def code(name: str, blur: str = BLUR, sharp: str = SHARP, *before: str) -> None:
    """Register solution cells, with other cells in front of them."""

    def hand_in(release: Notebook) -> bytes:
        nb = fill(release, blur, sharp)
        for source in reversed(before):
            nb["cells"].insert(1, cell(source))
        return json.dumps(nb).encode()

    HONEST[name] = hand_in


def fill(release: Notebook, blur: str = BLUR, sharp: str = SHARP) -> Notebook:
    nb = copy.deepcopy(release)
    for name, text in (("box_blur", blur), ("unsharp", sharp)):
        solution(nb, name)["source"] = text
    return nb


def solution(nb: Notebook, name: str) -> dict[str, Any]:
    return next(one for one in nb["cells"] if one["cell_type"] == "code" and f"def {name}(" in "".join(one["source"]))


def cell(source: str, kind: str = "code") -> dict[str, Any]:
    made: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


# how the code is written
code(
    "float64 inside",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError
    return x.double().unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
""",
)
code(
    "float64 inside, back at the end",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError
    wide = x.to(torch.float64)
    return wide.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3)).to(x.dtype)
""",
)
code(
    "a helper in another cell",
    """
def box_blur(x, k):
    check_size(x, k)
    return windows(x, k).mean((2, 3))
""",
    SHARP,
    "def windows(x, k):\n    return x.unfold(0, k, 1).unfold(1, k, 1)",
    "def check_size(x, k):\n    if k > min(x.shape):\n        raise ValueError(k)",
)
code(
    "lambdas",
    """
too_large = lambda x, k: k > min(x.shape)
box_blur = lambda x, k: fail(k) if too_large(x, k) else x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))


def fail(k):
    raise ValueError(f"a window of {k}")
""",
)
code(
    "a partial",
    BLUR,
    """
from functools import partial


def sharper(x, amount, *, side=3):
    return x[1:-1, 1:-1] * (1 + amount) - amount * box_blur(x, side)


def unsharp(x, *, amount=1.0):
    return partial(sharper, side=3)(x, amount)
""",
)
code(
    "plots, prints and warnings",
    """
import warnings

import matplotlib.pyplot as plt
warnings.warn("this is only a warning")


def box_blur(x, k):
    warnings.warn("inside")
    print("shape", x.shape)
    if k > min(x.shape):
        raise ValueError("too large")
    figure, axes = plt.subplots()
    axes.imshow(x)
    plt.show()
    plt.close(figure)
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))


plt.imshow(torch.zeros(2, 2))
print(box_blur(torch.ones(4, 4), 2))
""",
)
code(
    "type hints of every kind",
    """
from typing import Annotated, Optional


def box_blur(x: "Float[Tensor, 'H W']", k: Optional[int]) -> Annotated[torch.Tensor, "Ho Wo"]:
    size: tuple[int, int] = (x.shape[0], x.shape[1])
    if k > min(size):
        raise ValueError("too large")
    y: torch.Tensor = x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
    return y
""",
)
code(
    "nested functions and a closure",
    """
def box_blur(x, k):
    def fits():
        return k <= min(x.shape)

    def average():
        total = 0

        def add(part):
            nonlocal total
            total = total + part

        for u in range(k):
            for v in range(k):
                add(x[u : x.shape[0] - k + 1 + u, v : x.shape[1] - k + 1 + v])
        return total / (k * k)

    if not fits():
        raise ValueError("too large")
    return average()
""",
)
code(
    "global constants and a table that is filled",
    """
AXES = (2, 3)
STEP: int = 1
NAMES = []
NAMES.append("rows")
NAMES += ["columns"]


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError(" and ".join(NAMES))
    for axis in range(len(NAMES)):
        x = x.unfold(axis, k, STEP)
    return x.mean(AXES)
""",
)
code(
    "a comprehension and sum",
    """
def box_blur(x, k):
    H, W = x.shape[0] - k + 1, x.shape[1] - k + 1
    if H < 1 or W < 1:
        raise ValueError("too large")
    return sum(x[u : u + H, v : v + W] for u in range(k) for v in range(k)) / k**2
""",
)
code(
    "changes a copy in place",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    y = x.clone().unfold(0, k, 1).unfold(1, k, 1).sum((2, 3))
    y /= k
    y.div_(k)
    return y
""",
)
code(
    "fills an empty tensor number by number",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    y = torch.empty(x.size(0) - k + 1, x.size(1) - k + 1)
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = x[i : i + k, j : j + k].mean()
    return y
""",
)
code(
    "through numpy and back",
    """
import numpy as np


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    windows = np.lib.stride_tricks.sliding_window_view(x.numpy(), (k, k))
    return torch.from_numpy(windows.mean(axis=(2, 3)))
""",
)
code(
    "star imports and other names for modules",
    """
from torch.nn.functional import *
import torch as t
import torch.nn.functional as fn


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return conv2d(x[None, None], t.ones(1, 1, k, k) / k**2)[0, 0]
""",
)
code(
    "parameters with other names behind",
    """
def box_blur(x, k, *ignored, debug=False, **more):
    if debug:
        print(x)
    if k > min(x.shape):
        raise ValueError("too large")
    return F.conv2d(input=x.view(1, 1, *x.shape), weight=x.new_full((1, 1, k, k), 1 / k / k))[0, 0]
""",
)
code(
    "its own kind of ValueError",
    """
class TooLarge(ValueError):
    def __init__(self, k):
        super().__init__(f"a window of side {k}")


def box_blur(x, k):
    if k > min(x.shape):
        raise TooLarge(k) from None
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((-1, -2))
""",
)
code(
    "a class with __call__ behind the function",
    """
from dataclasses import dataclass


@dataclass
class Blur:
    side: int

    def __call__(self, x):
        if self.side > min(x.shape):
            raise ValueError(self)
        return x.unfold(0, self.side, 1).unfold(1, self.side, 1).mean((2, 3))


def box_blur(x, k):
    return Blur(k)(x)
""",
)
code(
    "a decorator",
    """
import functools


def loud(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        print(function.__name__)
        return function(*args, **kwargs)

    return wrapped


@loud
@torch.no_grad()
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
""",
)
code(
    "a cumulative sum, another algorithm",
    """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    s = F.pad(x.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    return (s[k:, k:] - s[:-k, k:] - s[k:, :-k] + s[:-k, :-k]) / k**2
""",
)
code(
    "names that are not ASCII",
    """
def box_blur(x, k):
    höhe, ширина = x.shape
    if k > min(höhe, ширина):
        raise ValueError("zu groß – 窓が大きい 🙂")
    β = x.unfold(0, k, 1).unfold(1, k, 1)
    return β.mean((2, 3))
""",
)
code("tabs", BLUR.replace("    ", "\t"), SHARP.replace("    ", "\t"))
code(
    "magics and shell lines",
    "%matplotlib inline\n!pip install nothing\n" + BLUR + "\n%timeit 1 + 1\nbox_blur?\n",
    SHARP,
    "%load_ext autoreload\n%autoreload 2\nfiles = !ls",
    "%%bash\necho done",
    "%config InlineBackend.figure_format = 'svg'",
)
code("a timed solution cell", "%%time\n" + BLUR)
code(
    "a seed and a device at the top",
    "torch.manual_seed(0)\ndevice = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
    + BLUR.replace("dtype=x.dtype", "dtype=x.dtype, device=device"),
)
code(
    "an early try that raises when it is run",
    BLUR,
    SHARP,
    "broken = 1 / 0",
    "y = undefined_name + 1",
    "def half_done(x):\n    return x +",
    "assert False, 'my own test'",
)
code(
    "a type check with assert and isinstance",
    """
def box_blur(x, k):
    assert isinstance(x, torch.Tensor) and x.ndim == 2, type(x)
    assert isinstance(k, int) and k > 0
    match k <= min(x.shape):
        case True:
            return x.unfold(0, k, 1).unfold(1, k, 1).mean((2, 3))
        case _:
            raise ValueError("too large")
""",
)
code(
    "definitions under if and try",
    """
try:
    import einops
except ImportError:
    einops = None

if einops is not None:

    def average(w):
        return einops.reduce(w, "h w a b -> h w", "mean")
else:

    def average(w):
        return w.mean((2, 3))


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return average(x.unfold(0, k, 1).unfold(1, k, 1))
""",
)
code(
    "a cache over calls",
    """
import functools


@functools.lru_cache(maxsize=None)
def ones(k, dtype):
    return torch.ones(1, 1, k, k, dtype=dtype) / k**2


def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return F.conv2d(x[None, None], ones(k, x.dtype))[0, 0]
""",
)


# how the notebook is arranged
def elsewhere(release: Notebook) -> bytes:
    nb = copy.deepcopy(release)
    return json.dumps(nb | {"cells": [*nb["cells"], cell(BLUR), cell(SHARP)]}).encode()


HONEST["solutions in cells of their own, the given ones left as they were"] = elsewhere


@unusual("a solution cell split in two")
def _split(nb: Notebook) -> None:
    at = nb["cells"].index(solution(nb, "box_blur"))
    head = "def shifted(x, u, v, k):\n    return x[u : x.shape[0] - k + 1 + u, v : x.shape[1] - k + 1 + v]\n"
    tail = ("def box_blur(x, k):\n    if k > min(x.shape):\n        raise ValueError(k)\n"
            "    return sum(shifted(x, u, v, k) for u in range(k) for v in range(k)) / k**2\n")  # fmt: skip
    nb["cells"][at]["source"] = head
    nb["cells"].insert(at + 1, {**copy.deepcopy(nb["cells"][at]), "metadata": {}, "id": "split", "source": tail})


@unusual("a duplicated solution cell with its metadata, the last one right")
def _duplicated(nb: Notebook) -> None:
    right = solution(nb, "box_blur")
    wrong = copy.deepcopy(right) | {"source": "def box_blur(x, k):\n    return x\n", "id": "old"}
    nb["cells"].insert(nb["cells"].index(right), wrong)


@unusual("cells run again and out of order, with outputs")
def _run_again(nb: Notebook) -> None:
    for number, one in enumerate(nb["cells"]):
        if one["cell_type"] == "code":
            one["execution_count"] = 100 - number
            one["outputs"] = [{"output_type": "stream", "name": "stderr", "text": ["UserWarning: x\n"]}]


@unusual("a try before the last one, in cells above")
def _tries(nb: Notebook) -> None:
    nb["cells"].insert(1, cell("def box_blur(x, k):\n    return x.mean()\n"))
    nb["cells"].insert(2, cell(SHARP.replace("+ amount", "- amount")))


@unusual("notes, headings and raw cells between")
def _notes(nb: Notebook) -> None:
    for at in range(len(nb["cells"]), 0, -3):
        nb["cells"].insert(at, cell("## Mine\n$x^2$ <b>bold</b>", "markdown"))
    nb["cells"].append(cell("raw", "raw"))


@unusual("graded cells deleted by accident")
def _deleted(nb: Notebook) -> None:
    nb["cells"] = [one for one in nb["cells"] if not one["metadata"].get("nbgrader", {}).get("grade")]


# how the file was saved
@unusual("no metadata at all")
def _bare(nb: Notebook) -> None:
    for one in nb["cells"]:
        one["metadata"] = {}
        one.pop("id", None)
    nb["metadata"] = {}


@unusual("cells without a metadata key")
def _missing(nb: Notebook) -> None:
    for one in nb["cells"]:
        one.pop("metadata")
        one.pop("outputs", None)
        one.pop("execution_count", None)
    nb.pop("metadata")


@unusual("format 4.0, without cell ids")
def _old(nb: Notebook) -> None:
    nb["nbformat_minor"] = 0
    for one in nb["cells"]:
        one.pop("id", None)


@unusual("saved by Colab")
def _colab(nb: Notebook) -> bytes:
    nb["nbformat_minor"] = 0
    nb["metadata"] = {"colab": {"provenance": [], "gpuType": "T4"}, "accelerator": "GPU",
                      "kernelspec": {"name": "python3", "display_name": "Python 3"}}  # fmt: skip
    for number, one in enumerate(nb["cells"]):
        one.pop("id", None)
        one["metadata"] |= {"id": f"aBc{number}", "colab": {"base_uri": "https://localhost:8080/"}}
        if one["cell_type"] == "code":
            one["source"] = "".join(one["source"]).splitlines(keepends=True)
            one["execution_count"] = None
    mount = cell("from google.colab import drive\ndrive.mount('/content/drive')\n%cd /content/drive/MyDrive")
    nb["cells"].insert(0, mount)
    return json.dumps(nb, indent=2, ensure_ascii=False).encode()


@unusual("saved by VS Code")
def _vscode(nb: Notebook) -> bytes:
    nb["metadata"] = {"kernelspec": {"display_name": ".venv", "language": "python", "name": "python3"},
                      "language_info": {"name": "python"}, "orig_nbformat": 4}  # fmt: skip
    for one in nb["cells"]:
        one["metadata"] |= {"vscode": {"languageId": "python"}}
        one["source"] = "".join(one["source"]).splitlines(keepends=True)
    return json.dumps(nb, indent=1).encode()


@unusual("line ends of Windows")
def _windows(nb: Notebook) -> bytes:
    for one in nb["cells"]:
        one["source"] = "".join(one["source"]).replace("\n", "\r\n")
    return json.dumps(nb, indent=1).replace("\n", "\r\n").encode()


@unusual("a byte-order mark")
def _mark(nb: Notebook) -> bytes:
    return b"\xef\xbb\xbf" + json.dumps(nb, ensure_ascii=False).encode()


@unusual("large outputs of pictures")
def _pictures(nb: Notebook) -> None:
    data = {"image/png": "iVBORw0KGgo" * 100_000}
    nb["cells"].append(cell("1") | {"outputs": [{"output_type": "display_data", "data": data, "metadata": {}}]})


@unusual("widgets and unknown keys")
def _widgets(nb: Notebook) -> None:
    nb["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {"x": {"y": None}}}}
    nb["unknown"] = [1, {"deep": [None]}]
    nb["cells"][0]["attachments"] = {}
