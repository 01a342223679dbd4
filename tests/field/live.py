"""Run notebooks as a kernel does after "Restart and run all", going on after errors: `python live.py FOLDER`.

FOLDER holds notebooks; FOLDER/live.json is written: for each what its cells with a `check` said (in place), and what
`check` says of every exercise afterwards (at the end), and what its cells raised. Each notebook has a process of its
own, forked from one that has imported torch and IPython; `test_one_meaning.py` compares a sample with real kernels.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

EXERCISES = ("box_blur", "unsharp")


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Run the cells of one notebook in this process, which must not be used for another."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.system = shell.system_raw  # as a kernel does: no terminal is imitated, which gives up on a busy machine
    shell.enable_gui = lambda gui=None: None  # a kernel has one; without it `%matplotlib inline` can raise here
    shell.history_manager.enabled = False
    said: dict[str, list[str]] = {name: [] for name in EXERCISES}
    raised: list[str] = []
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code":
            done = shell.run_cell("".join(cell["source"]))
            _note(done.result, said)
            error = done.error_before_exec or done.error_in_exec
            if error is not None:
                raised.append(f"cell {number}: {type(error).__name__}: {error}"[:300])
    end: dict[str, list[str]] = {name: [] for name in EXERCISES}
    for name in EXERCISES:
        _note(shell.run_cell(f"__import__('dlcv_lab').check({name!r})").result, end)
    return {"in place": said, "at the end": {name: verdicts[-1] for name, verdicts in end.items()}, "raised": raised}


def _note(result: Any, said: dict[str, list[str]]) -> None:
    if type(result).__name__ == "CheckReport":
        said[result.result.name].append(str(result.verdict))


def main(folder: Path) -> None:
    import matplotlib
    import torch
    from matplotlib.backends import backend_registry

    import dlcv_lab
    import dlcv_lab.checking.check

    matplotlib.use("agg")
    backend_registry.list_all()  # looks through the installed packages once, not in every child
    os.environ["PIP_NO_INDEX"] = "1"  # a notebook's `!pip install` neither asks the network nor changes this machine
    torch.set_num_threads(1)
    dlcv_lab.check, dlcv_lab.start  # noqa: B018  # loaded late
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        out = folder / f"{path.stem}.live"
        child = os.fork()
        if child == 0:
            _child(path, out)
        os.waitpid(child, 0)
        found[path.stem] = json.loads(out.read_text()) if out.exists() else {"died": True}
    (folder / "live.json").write_text(json.dumps(found, indent=1))


def _child(path: Path, out: Path) -> None:
    """Never returns."""
    try:
        with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nothing:
            os.chdir(place)
            sys.path.insert(0, place)  # as in a kernel
            sys.stdout = sys.stderr = nothing
            told = run(json.loads(path.read_text(encoding="utf-8-sig")))
            os.chdir("/")
        out.write_text(json.dumps(told))
    except BaseException:
        (out.with_suffix(".error")).write_text(traceback.format_exc())
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
