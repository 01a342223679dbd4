"""What to tell when a file cannot be read or written: which one, why, and what to do."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

_ADVICE = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "make room on its disk, or raise the limit on the size of files",
    errno.EROFS: "make its disk writable",
    errno.EACCES: "make it and its folder writable for you",
    errno.EPERM: "make it and its folder writable for you",
    errno.EIO: "look after its disk, which fails, and copy the folder to another one",
}


def told(error: OSError, path: Path | None = None) -> str:
    """Return one sentence that names the file, the reason and the remedy, without a full stop."""
    place = path or error.filename or f"a file, perhaps in {tempfile.gettempdir()}"
    advice = _ADVICE.get(error.errno or 0, "put that right")
    return f"{place} cannot be used ({error.strerror or error}); {advice} and run the same command again"
