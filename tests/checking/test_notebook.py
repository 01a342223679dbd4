"""The verbs in a real kernel: "Run All" on an untouched release ends without a traceback, and `needs` waits."""

import json
import os

import nbformat
import pytest
from nbclient import NotebookClient

STUB = 'def f(x, stride=1):\n    """Return every stride-th row of 2 x."""\n    raise NotImplementedError'
RIGHT = "def f(x, stride=1):\n    return 2 * x[::stride]"
CELLS = [
    "import torch\nfrom dlcv_lab import check, hint, needs, predict, start\nstart('ch98')",
    STUB,
    'check("f")',
    'needs("f", picture="six numbers")\ny = f(torch.ones(3, 2))\nprint("inside")\ny.shape',
    'needs("f", standin=True)\nz = f(torch.ones(4, 2), stride=2)\n(z.shape, f.__code__.co_filename)',
    "print('y' in globals())\nf.__doc__",
    'predict("Which?", ["a", "b"], mine=...)',
    "needs\n3 + 4",
    "needs('f')\nprint('kept quiet');",
]


def run(cells: list[str], folder) -> list[str]:
    """Run cells in a kernel whose current folder is `folder`; return the text that each shows."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return [
        "".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "") + "\n" for output in cell.outputs
        )
        for cell in book.cells
    ]


@pytest.mark.slow
def test_run_all_on_an_untouched_release_waits_and_goes_on(course):
    shown = run(CELLS, course)
    assert "not attempted yet: f" in shown[2]
    assert shown[3].strip().endswith('it runs once check("f") says right. Then you will see six numbers.')
    assert "inside" not in shown[3]
    assert "A library call takes the place of f in this cell" in shown[4]
    assert "torch.Size([2, 2])" in shown[4]
    assert "stand-in" in shown[4]
    assert shown[5].startswith("False")
    assert "Return every stride-th row" in shown[5]
    assert 'mine="A" to mine="B"' in shown[6]
    assert shown[7].strip() == "7"
    assert "kept quiet" not in shown[8]


@pytest.mark.slow
def test_run_all_with_the_solution_shows_everything(course):
    shown = run([CELLS[0], RIGHT, *CELLS[2:]], course)
    assert "right: f, 2 of 2 cases" in shown[2]
    assert shown[3] == "inside\ntorch.Size([3, 2])\n"
    assert "takes the place" not in shown[4]
    assert shown[5].startswith("True")
    progress = json.loads((course / ".dlcv" / "progress.json").read_text())
    assert progress["exercises"]["ch98.f"]["solved"]
    assert os.listdir(course) == [".dlcv"]
