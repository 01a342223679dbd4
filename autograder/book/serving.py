"""`dlcv book --serve`: the book on this machine, made again where a source changed."""

from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autograder.base import paths
from autograder.chapter import book_plan


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line a request, and never from a browser's memory."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder on loopback alone and yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def sources() -> dict[Path, int]:
    """Return the files that pages are made from, with the times of their last change."""
    home = book_plan.book_folder()
    found = [
        path for path in home.rglob("*") if path.suffix in (".md", ".css", ".js", ".html", ".toml", ".bib", ".csv")
    ]
    found += list(paths.chapters().glob("*/lesson*.md"))
    return {path: path.stat().st_mtime_ns for path in found if "vendor" not in path.parts}


def watch(
    build: Callable[[], object], say: Callable[[str], None], *, pause: float = 0.5, turns: int | None = None
) -> None:
    """Build again whenever a source changed, until interrupted; `turns` is for tests.

    A build that fails says why and waits for the next change.
    """
    seen = sources()
    while turns is None or turns > 0:
        turns = None if turns is None else turns - 1
        time.sleep(pause)
        now = sources()
        changed = sorted(path for path in now.keys() | seen.keys() if now.get(path) != seen.get(path))
        seen = now
        if changed:
            say(f"changed: {', '.join(paths.shown(path) for path in changed[:3])}")
            started = time.perf_counter()
            try:
                build()
                say(f"made again in {time.perf_counter() - started:.0f} s; reload the page")
            except Exception as error:  # the author mends it and goes on
                say(f"not made: {error}")
