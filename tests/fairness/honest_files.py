"""Honest notebooks that look unusual: what stands around the code, how cells are arranged, how the file was saved."""

from __future__ import annotations

import copy
import json

from honest_forms import BLUR, HONEST, SHARP, Notebook, cell, code, solution, unusual

# what stands around the code
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
