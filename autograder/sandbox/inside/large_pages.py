"""The warm parent's memory in large pages: a fork then copies one entry for 2 MiB instead of 512 of them.

With torch loaded the parent holds some 400 MiB, and copying the entries is most of what a fork costs. Where the kernel
does not know the request (before Linux 6.1) or has no large page to give, everything stays as it was.
"""

from __future__ import annotations

import ctypes
import select
import socket
from collections.abc import Iterator
from pathlib import Path

_SIZE = 2 * 2**20
_COLLAPSE = 25  # MADV_COLLAPSE


def places(maps: str) -> Iterator[int]:
    """Yield the addresses of whole large pages in private anonymous memory, from the text of /proc/PID/maps."""
    for line in maps.splitlines():
        span, rights, _, _, inode, *name = line.split()
        if rights != "rw-p" or inode != "0" or (name and name[0] != "[heap]"):
            continue
        start, end = (int(number, 16) for number in span.split("-"))
        yield from range(-(-start // _SIZE) * _SIZE, end // _SIZE * _SIZE, _SIZE)


def own_places() -> Iterator[int]:
    """Yield the addresses of this process as they are now; none where /proc cannot be read."""
    try:
        yield from places(Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return


def enlarge_while_idle(waiting: Iterator[int], control: socket.socket) -> None:
    """Turn one place after the other into a large page until a request arrives on `control` or none is left."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    while not select.select([control], [], [], 0)[0]:
        place = next(waiting, None)
        if place is None:
            return
        madvise(place, _SIZE, _COLLAPSE)  # a refusal changes nothing
