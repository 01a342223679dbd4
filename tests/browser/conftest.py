"""Chapter 3's real release, a Jupyter server on this machine, and pages that must not reach outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_tools import Chapter, release_chapter


@pytest.fixture(scope="session")
def chapter3(tmp_path_factory: pytest.TempPathFactory) -> Chapter:
    """A course folder and a student repository, made by `dlcv course init` and `dlcv release 3`."""
    return release_chapter(tmp_path_factory.mktemp("chapter3"))


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open an address; after the test no script may have failed and nothing may have been asked of other machines."""
    faults: list[str] = []
    contexts: list[Any] = []

    def opened(address: str, *, size: tuple[int, int] = (1280, 900), scheme: str = "light", **more: Any) -> Any:
        context = browser.new_context(viewport=dict(zip(("width", "height"), size)), color_scheme=scheme, **more)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.on("request", lambda request: faults.append(f"outside: {request.url}") if outside(request.url) else None)
        page.goto(address)
        return page

    def outside(url: str) -> bool:
        return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:"))

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
