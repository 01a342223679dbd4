"""`dlcv doctor`: look at this machine and name a remedy for every line that fails."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

OLDEST = (3, 11)
PACKAGES = ("torch", "torchvision", "safetensors", "einops", "jaxtyping", "matplotlib", "ipywidgets", "jupyterlab")
EXTRAS = {"vl": ("open_clip", "transformers", "timm", "peft"), "diffusion": ("diffusers", "transformers", "peft")}
ROOM_MIB = 500


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `ok` is None where a line only informs."""

    name: str
    ok: bool | None
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Return every finding, in the order of the report."""
    return [
        finding for look in (_python, _packages, _extras, _packs, _compute, _folder, _sandbox) for finding in look()
    ]


def _python() -> list[Finding]:
    version = platform.python_version()
    ok = sys.version_info >= OLDEST
    remedy = "" if ok else f"install Python {OLDEST[0]}.{OLDEST[1]} or newer and make a new environment with it"
    return [Finding("Python", ok, f"{version} on {platform.system()} {platform.machine()}", remedy)]


def _packages() -> list[Finding]:
    found = []
    for name in PACKAGES:
        try:
            found.append(Finding(name, True, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, False, "not installed", f"pip install {name}"))
    return found


def _extras() -> list[Finding]:
    found = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        text = f"without {', '.join(missing)}: some later chapters need it" if missing else "installed"
        found.append(Finding(f"extra [{extra}]", None, text, f'pip install "dlcv-lab[{extra}]"' if missing else ""))
    return found


def _packs() -> list[Finding]:
    from dlcv_lab.checking import packs

    try:
        held = packs.list_packs()
    except Exception as error:  # whatever is wrong with the packs, the doctor says it and goes on
        return [
            Finding("exercises", False, str(error), "install dlcv-lab again, or copy the course's .dlcv folder here")
        ]
    chapters = sorted({chapter for chapter, _ in held})
    if not held:
        remedy = "work in a folder of the course's repository, or run `dlcv assemble` in the checkout"
        return [Finding("exercises", False, "no check packs found from here", remedy)]
    return [Finding("exercises", True, f"{len(held)} in {', '.join(chapters)}")]


def _compute() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if torch.cuda.is_available():
        device = f"CUDA: {torch.cuda.get_device_name(0)}"
    elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        device = "Apple's MPS"
    else:
        device = "no GPU, and none is needed at laptop scale"
    cores = os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "not set; the lessons set one thread themselves")
    return [Finding("device", None, device), Finding("processor", None, f"{cores} cores, OMP_NUM_THREADS {threads}")]


def _folder() -> list[Finding]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free // 2**20
    room = Finding(
        "disk", free >= ROOM_MIB, f"{free} MiB free", "" if free >= ROOM_MIB else f"free {ROOM_MIB} MiB on this disk"
    )
    writable = os.access(here, os.W_OK)
    remedy = "" if writable else "work in a folder of your own, such as one in your home folder"
    return [room, Finding("this folder", writable, "can be written" if writable else "cannot be written", remedy)]


def _sandbox() -> list[Finding]:
    if importlib.util.find_spec("autograder") is None:
        return []
    levels = importlib.import_module("autograder.sandbox.levels")
    level = levels.detect()
    try:
        levels.require()
    except levels.IsolationError as error:
        return [Finding("grader's sandbox", False, f"isolation level {level}", str(error))]
    means = levels.mechanism(level)
    text = f"isolation level {level}" + (f", jobs shut in by {means}" if means != level else "")
    return [Finding("grader's sandbox", True, text)]
