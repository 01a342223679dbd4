"""A content-addressed cache: a result is kept under the hash of everything that it was made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from autograder.base import paths
from dlcv_lab.files import write_whole


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 of the parts, in which no two different lists of parts can be confused."""
    hasher = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        hasher.update(len(raw).to_bytes(8, "little") + raw)
    return hasher.hexdigest()


def files_digest(files: Iterable[Path]) -> str:
    """Return the hash of the files' names and contents; where they lie does not count."""
    parts: list[bytes] = []
    for path in sorted(files, key=lambda path: path.as_posix().split("/")[-2:]):
        parts += ["/".join(path.parts[-2:]).encode(), path.read_bytes()]
    return digest(*parts)


def code_digest(*packages: str) -> str:
    """Return the hash of the Python sources below folders of the checkout such as "dlcv_lab/checking"."""
    found: list[Path] = []
    for package in packages:
        place = paths.CHECKOUT / package
        found += [place] if place.is_file() else place.rglob("*.py")
    return files_digest(found)


def write(path: Path, raw: bytes) -> bool:
    """Write a file in one step, only where it changed; return whether it did."""
    if path.exists() and path.read_bytes() == raw:
        return False
    write_whole(path, raw, sync=False)
    return True


def locked(name: str) -> FileLock:
    """Return a lock between processes, to be used in `with`; the name is that of what is locked."""
    place = paths.cache() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    return FileLock(place / digest(name)[:20])


@contextmanager
def updated(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a JSON file holds, or nothing, to be changed; write it back. Processes wait for each other."""
    with locked(str(path)):
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        yield held
        write(path, (json.dumps(held, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def fetch(kind: str, key: str, to: Path) -> bool:
    """Copy the cached file of `key` to `to`; return False where there is none."""
    held = paths.cache() / kind / key
    if not held.exists():
        return False
    write(to, held.read_bytes())
    return True


def store(kind: str, key: str, path: Path) -> None:
    """Keep a copy of `path` under `key`."""
    write(paths.cache() / kind / key, path.read_bytes())


def empty(kind: str | None = None) -> None:
    """Forget everything of a kind, or all."""
    shutil.rmtree(paths.cache() / kind if kind else paths.cache(), ignore_errors=True)
