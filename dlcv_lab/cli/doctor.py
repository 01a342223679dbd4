"""`dlcv doctor`: look at this machine and name a remedy for every line that fails."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OLDEST = (3, 11)
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "einops", "jaxtyping", "matplotlib", "ipykernel",
            "ipywidgets", "jupyterlab")  # fmt: skip
EXTRAS = {"vl": ("open_clip", "transformers", "timm", "peft"), "diffusion": ("diffusers", "transformers", "peft")}
ROOM_MIB = 500
KERNEL = "python3"
AGAIN = "python -m pip install --upgrade -r requirements.txt, in the course's folder"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `ok` is None where a line only informs."""

    name: str
    ok: bool | None
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Return every finding, in the order of the report. A look that itself fails is a finding too.

    In a folder that is gone nothing else can be looked at: there torch ends the process while it is loaded.
    """
    if gone := _gone():
        return gone
    looks = (_python, _packages, _extras, _torch, _torchvision, _kernel, _packs, _folder, _sandbox)
    return [finding for look in looks for finding in _guarded(look)]


def _guarded(look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except Exception as error:  # whatever is broken, the doctor says it and goes on
        return [Finding(look.__name__.strip("_"), False, f"{type(error).__name__}: {error}", AGAIN)]


def _gone() -> list[Finding]:
    try:
        Path.cwd()
    except FileNotFoundError:
        return [
            Finding("this folder", False, "it was removed or moved away", "cd to the course's folder, as it is now")
        ]
    return []


def _python() -> list[Finding]:
    version = platform.python_version()
    ok = sys.version_info >= OLDEST
    remedy = f"install Python {OLDEST[0]}.{OLDEST[1]} or newer (python.org) and make a new environment with it"
    where = "a virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    text = f"{version} on {platform.system()} {platform.machine()}, {where}"
    return [Finding("Python", ok, text, "" if ok else remedy)]


def _packages() -> list[Finding]:
    return [_package(name, least) for name, least in _needed().items()]


def _needed() -> dict[str, str]:
    """Return package -> the versions that dlcv-lab asks for, such as ">=2.6"; "" where they are not known."""
    asked = dict.fromkeys(PACKAGES, "")
    if importlib.util.find_spec("packaging") is None:
        return asked
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("dlcv-lab") or []
    except importlib.metadata.PackageNotFoundError:
        return asked
    found = [requirement for requirement in map(Requirement, lines) if requirement.marker is None]
    return asked | {each.name: str(each.specifier) for each in found if each.name in asked}


def _package(name: str, least: str) -> Finding:
    remedy = f'python -m pip install --upgrade "{name}{least}"'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", remedy)
    if least:
        from packaging.specifiers import SpecifierSet

        if not SpecifierSet(least).contains(version, prereleases=True):
            return Finding(name, False, f"{version} is installed and {least} is needed", remedy)
    return Finding(name, True, version)


def _extras() -> list[Finding]:
    """Look for the extras; what a chapter that lies here needs must be there, for the others it is only told."""
    from dlcv_lab.checking import packs

    here: dict[str, tuple[str, ...]] = {}
    with contextlib.suppress(packs.PacksError):  # told further down
        here = {chapter.key: chapter.extras for chapter in packs.chapters().values()}
    found = []
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        needing = ", ".join(key for key, extras in here.items() if extra in extras)
        text = (
            f"without {', '.join(missing)}: {needing or 'some later chapters'} cannot run" if missing else "installed"
        )
        remedy = f'python -m pip install "dlcv-lab[{extra}]"' if missing else ""
        found.append(Finding(f"extra [{extra}]", False if missing and needing else None, text, remedy))
    return found


def _torch() -> list[Finding]:
    """Load torch, which is where a broken installation shows, and say what it computes on."""
    if importlib.util.find_spec("torch") is None:
        return []
    try:
        torch = importlib.import_module("torch")
        torch.ones(2, 2).sum().item()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        remedy = "python -m pip install --force-reinstall torch torchvision"
        if sys.platform == "win32":
            remedy = "install Microsoft's Visual C++ Redistributable (x64), restart, then " + remedy
        said = str(error).strip().splitlines() or [type(error).__name__]
        return [Finding("torch works", False, said[0], remedy)]
    if torch.cuda.is_available():
        device = f"CUDA: {torch.cuda.get_device_name(0)}"
    elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        device = "Apple's MPS"
    else:
        device = "no GPU, and none is needed at laptop scale"
    threads = os.environ.get("OMP_NUM_THREADS", "not set; the lessons set one thread themselves")
    return [
        Finding("torch works", True, "adds numbers up"),
        Finding("device", None, device),
        Finding("processor", None, f"{os.cpu_count() or 1} cores, OMP_NUM_THREADS {threads}"),
    ]


def _torchvision() -> list[Finding]:
    """Load torchvision: beside a torch of another build it is installed, and fails here."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "torchvision")):
        return []
    try:
        importlib.import_module("torch")
    except (ImportError, OSError, RuntimeError, AttributeError):
        return []  # has its own line
    try:
        importlib.import_module("torchvision")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        remedy = "install torch and torchvision anew with one command, both from the same place: "
        remedy += "python -m pip install --force-reinstall torch torchvision, or the line that pytorch.org shows"
        said = str(error).strip().splitlines() or [type(error).__name__]
        return [Finding("torchvision works", False, said[0], remedy)]
    return [Finding("torchvision works", True, "fits this torch")]


def _kernel() -> list[Finding]:
    """Find out which Python a notebook would run: often a Jupyter of another environment is the whole trouble."""
    remedy = f"{_quoted(sys.executable)} -m ipykernel install --sys-prefix, then `dlcv lab` from this environment"
    if importlib.util.find_spec("jupyter_client") is None:
        return [Finding("notebook kernel", False, "jupyter_client is not installed", AGAIN)]
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        program = KernelSpecManager().get_kernel_spec(KERNEL).argv[0]
    except NoSuchKernel:
        return [Finding("notebook kernel", False, f"there is no kernel named {KERNEL}", remedy)]
    found = shutil.which(program) or program
    same = Path(program).name == program or os.path.realpath(found) == os.path.realpath(sys.executable)
    prefixes = Path(found).parent == Path(sys.executable).parent
    if same or prefixes:
        return [Finding("notebook kernel", True, "notebooks run this Python")]
    return [Finding("notebook kernel", False, f"notebooks run {found}, not {sys.executable}", remedy)]


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _packs() -> list[Finding]:
    from dlcv_lab.checking import packs

    try:
        held = packs.list_packs()
    except packs.PacksError as error:
        remedy = "install dlcv-lab again, or copy the course's .dlcv folder here"
        return [Finding("exercises", False, str(error), remedy)]
    chapters = sorted({chapter for chapter, _ in held})
    if not held:
        remedy = "work in a folder of the course's repository, or run `dlcv assemble` in the checkout"
        return [Finding("exercises", False, "no check packs found from here", remedy)]
    return [Finding("exercises", True, f"{len(held)} in {', '.join(chapters)}")]


def _folder() -> list[Finding]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free // 2**20
    roomy = free >= ROOM_MIB
    remedy = "" if roomy else f"make room: {ROOM_MIB} MiB on the disk of {here}"
    findings = [Finding("disk", roomy, f"{free} MiB free", remedy)]
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        away = "work in a folder of your own, such as one in your home folder"
        return [*findings, Finding("this folder", False, f"{here} cannot be written ({error.strerror})", away)]
    return [*findings, Finding("this folder", True, "can be written")]


def _sandbox() -> list[Finding]:
    """Ask the instructor's half about its sandbox, where it is installed (entry-point group `dlcv.doctor`)."""
    group = importlib.metadata.entry_points(group="dlcv.doctor")
    return [Finding(*line) for point in group for line in point.load()()]
