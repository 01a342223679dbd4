"""One book for all tests here: built strictly, from what is written, into a folder of its own."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def built_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pages of a whole book; executed lessons come from the cache where nothing changed."""

    from autograder import book, evidence, methods, paths

    cache = paths.cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCV_CACHE", str(cache))
        patch.setenv("DLCV_BUILD", str(tmp_path_factory.mktemp("build")))
        return book.build(methods=lambda: methods.report(evidence.gather(refresh=False))).folder


@pytest.fixture(scope="session")
def served(built_book: Path) -> Iterator[str]:
    """The address at which the book is served on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built_book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
