"""Hooks of the whole test run: oracle tests are recorded for `dlcv methods`, and nothing is left out in silence."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

_ran: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)  # test file -> node id -> keys and outcome
_skipped: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _is_row(item))  # what takes longest begins first
    for item in items:
        keys = [key for mark in item.iter_markers("method") for key in mark.args]
        if keys:
            item.user_properties.append(("methods", keys))


def _is_row(item: pytest.Item) -> bool:
    return item.path.parent.name == "rows"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, but share out the heavy checks of the rows."""
    from xdist.scheduler import LoadFileScheduling

    class FilesAndRows(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            if not file.endswith("rows/test_heavy_checks.py"):
                return file
            return test if test.endswith("-verify]") else file + test[: test.find("-")]

    return FilesAndRows(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else ''}")
    keys = dict(report.user_properties).get("methods")
    if not keys:
        return
    file = report.nodeid.split("::")[0]
    entry = _ran[file].setdefault(report.nodeid, {"keys": keys, "outcome": "passed"})
    if report.failed:
        entry["outcome"] = "failed"
    elif report.skipped:
        entry["outcome"] = "skipped"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if hasattr(session.config, "workerinput"):
        return
    if _ran:
        from autograder.chapter import oracle_record

        option = session.config.option
        chosen = bool(option.keyword or option.markexpr or getattr(option, "lf", False) or option.maxfail)
        picked = any("::" in str(argument) for argument in session.config.args)
        oracle_record.record(_ran, complete=not (chosen or picked or exitstatus not in (0, 1)))
    if os.environ.get("DLCV_STRICT") == "1" and _skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if any("rows/test_heavy_checks.py" in report.nodeid for report in terminalreporter.stats.get("passed", [])):
        from row_choice import choice

        terminalreporter.section("heavy checks of the rows")
        for line in choice().lines():
            terminalreporter.line(line)
    if os.environ.get("DLCV_STRICT") == "1" and _skipped:
        terminalreporter.section("DLCV_STRICT: tests that could not run count as failures", red=True)
        for line in _skipped:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for the whole run: Playwright allows no second one in a process."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    quiet = ("quic", "gpu", "background-networking", "component-update", "sync")
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="session")
def accessible() -> Callable[..., None]:
    """Assert that axe-core finds nothing serious or critical on a page, or within one element of it; `levels` adds."""
    script = (Path(__file__).parent / "browser" / "vendor" / "axe.min.js").read_text(encoding="utf-8")

    def look(page: Any, within: Any = None, levels: tuple[str, ...] = ("serious", "critical")) -> None:
        page.evaluate(script)
        found = page.evaluate("part => axe.run(part || document, {resultTypes: ['violations']})", within)["violations"]
        grave = [f"{item['id']} ({item['impact']}): {item['help']}; {item['nodes'][0]['html'][:200]}; "
                 f"{item['nodes'][0]['failureSummary']}; {len(item['nodes'])} in all"
                 for item in found if item["impact"] in levels]  # fmt: skip
        assert grave == [], page.url + "\n" + "\n".join(grave)

    return look


@pytest.fixture(scope="session")
def shoot() -> Callable[..., None]:
    """Keep a picture of a page in build/screenshots, for people to look at."""
    from autograder.base import paths

    def take(page: Any, name: str, **options: Any) -> None:
        folder = paths.build() / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"{name.replace('/', '-')}.png"
        page.screenshot(path=place, timeout=180_000, animations="disabled", **options)  # or a sidebar half slid in

    return take
