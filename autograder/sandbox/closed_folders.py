"""Level `uid`: what another user can reach. A Python below a closed home folder is shown to jobs by a mount of its own.

A job of another user imports modules long after it has lost root's rights. Where a folder above Python or a package is
closed to others (`/root` of mode 700), the warm parent makes itself a view of the file system in which that folder
holds nothing but what jobs need, at the same path. The closed folder itself stays closed and is out of sight.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from autograder.sandbox import imports

_ALL_READ = stat.S_IROTH | stat.S_IXOTH
_SYS_ADMIN = 21  # number of the capability that may mount
REMEDY = (
    "put Python and the environment where every user may read them (Debian, Ubuntu: `apt-get install python3-venv`, "
    "and an environment in /opt), or let the grader mount (docker: `--cap-add SYS_ADMIN`)"
)


def closed_above(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Return the outermost folders that are closed to other users, each with those of `paths` that lie below it."""
    found: dict[str, list[str]] = {}
    for path in dict.fromkeys(form for given in paths for form in (given.absolute(), given.resolve())):
        closed = [parent for parent in path.parents if not parent.stat().st_mode & stat.S_IXOTH]
        if closed:
            found.setdefault(str(closed[-1]), []).append(str(path))
    return found


def needed() -> list[Path]:
    """Return the folders from which a job may import: Python, the installed packages, the student's package."""
    return [Path(sys.base_prefix), *imports.site_packages(), imports.PACKAGE, imports.INSIDE]


def may_mount() -> bool:
    """Tell whether this process may make mounts that it alone sees."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    rights = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return os.geteuid() == 0 and bool(rights >> _SYS_ADMIN & 1)


def trouble() -> str:
    """Return what keeps jobs of another user from Python here, with the remedy; empty where nothing does."""
    own = [str(path) for path in needed() if path.stat().st_mode & _ALL_READ != _ALL_READ]
    if own:
        return f"jobs of another user cannot read {', '.join(own)}: run `chmod -R o+rX` on it"
    closed = closed_above(needed())
    if not closed or may_mount():
        return ""
    return f"jobs of another user cannot read Python, because {', '.join(closed)} is closed to them: {REMEDY}"
