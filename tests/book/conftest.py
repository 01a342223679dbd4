"""One book for all tests here: built strictly, from what is written, into a folder of its own."""

from __future__ import annotations

import fcntl
import functools
import http.server
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # the benches measure what tests here bound
PATIENCE = 180_000  # milliseconds, for machines that have other things to do


@pytest.fixture(scope="session")
def built_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pages of a whole book, built once however many processes share the tests.

    The lessons of the rows that this run checks, and of the model chapter, are executed; the others stand there without
    outputs, so that every page is read. Executed lessons come from the cache where nothing changed. DLCV_TEST_BOOK
    names a folder that was built already.
    """
    if ready := os.environ.get("DLCV_TEST_BOOK"):
        return Path(ready)
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # every process of the run has its own folder in here
    told = place / "book.json"
    with (place / "book.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            told.write_text(json.dumps(build_in(place / "book-of-the-tests")), encoding="utf-8")
    folder, fault = json.loads(told.read_text(encoding="utf-8"))
    if fault:
        pytest.fail(f"the book was not built: {fault}", pytrace=False)
    return Path(folder)


def build_in(place: Path) -> tuple[str, str]:
    """Build the whole book below a folder; return where its pages are, and what was wrong."""
    from row_choice import executed

    from autograder.base import paths
    from autograder.book import web_book
    from autograder.chapter import methods
    from autograder.release import method_evidence

    cache = paths.cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLCV_CACHE", str(cache))
        patch.setenv("DLCV_BUILD", str(place))
        try:
            made = web_book.build(methods=lambda: methods.report(method_evidence.gather()), run=executed())
        except Exception as error:
            return "", f"{type(error).__name__}: {error}"
    return str(made.folder), ""


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


@pytest.fixture
def visit(browser: Any, served: str) -> Iterator[Callable[..., Any]]:
    """Open a page of the book; after the test nothing may have gone wrong or outside."""
    faults: list[str] = []
    contexts: list[Any] = []

    def opened(name: str, *, width: int = 1280, scheme: str = "light", **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: faults.append(request.url) if outside(request.url) else None)
        page.on(
            "response",
            lambda response: faults.append(f"{response.status} {response.url}") if response.status >= 400 else None,
        )
        page.goto(served + (name if "?" in name else f"{name}.html"))
        page.wait_for_load_state("load")
        return page

    def outside(url: str) -> bool:
        return not url.startswith((served, "data:", "blob:"))

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
