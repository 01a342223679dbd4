"""From where a job imports: the installed packages, the student's package, and the warm parent's own files."""

from __future__ import annotations

import importlib.util
import site
import sysconfig
from pathlib import Path

import dlcv_lab

INSIDE = Path(__file__).parent / "inside"
PACKAGE = Path(dlcv_lab.__file__).parent


def site_packages() -> list[Path]:
    """Return the folders that hold the installed packages, those with torch first; never a checkout."""
    torch = importlib.util.find_spec("torch")  # importing it would take longer than all the rest
    if torch is None or torch.origin is None:
        raise ModuleNotFoundError("torch is not installed; install the workbook again (docs/install.md)", name="torch")
    candidates = [Path(torch.origin).parent.parent, Path(sysconfig.get_path("purelib")),
                  Path(sysconfig.get_path("platlib")), *map(Path, site.getsitepackages())]  # fmt: skip
    return list(dict.fromkeys(path.resolve() for path in candidates if path.is_dir()))
