"""A user of its own for every sandbox that root starts: what one sandbox ends can never be another one's process."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_FIRST, _LAST = 64000, 65500  # below `nobody`, above what distributions give away


@dataclass(frozen=True)
class User:
    """A user id that no other sandbox of this machine has while `hold` is open."""

    uid: int
    hold: socket.socket

    def release(self) -> None:
        """Let another sandbox have it."""
        self.hold.close()


def may_change() -> bool:
    """Say whether this process may become one of our users: it is root, and the users exist in its namespace."""
    return os.geteuid() == 0 and _mapped(Path("/proc/self/uid_map").read_text())


def _mapped(table: str) -> bool:
    """Tell whether a table of `first outside count` holds all of our users."""
    rows = [[int(number) for number in line.split()] for line in table.splitlines()]
    return any(first <= _FIRST and first + count > _LAST for first, _, count in rows)


def claim() -> User:
    """Return a user that is free; the kernel frees it when the process that claimed it ends, however it ends.

    Raises:
        OSError: all are taken.
    """
    count = _LAST - _FIRST
    for step in range(count):
        uid = _FIRST + (os.getpid() + step) % count
        hold = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            hold.bind(f"\0dlcv-sandbox-user-{uid}")  # a name in memory: no file is left behind
        except OSError:
            hold.close()
            continue
        return User(uid, hold)
    raise OSError(f"all {count} users from {_FIRST} on are taken by other sandboxes; end some of them")
