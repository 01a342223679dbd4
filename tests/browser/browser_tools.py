"""What the browser tests share: the real release of chapter 3, hands that fill it in, and a Jupyter server."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat

from autograder.base import paths
from autograder.chapter import rows
from autograder.demo.sample_class import CLASS, fill

START = "from dlcv_lab.cli import main; main()"
PATIENCE = 180  # seconds until a server that does not answer counts as broken


@dataclass(frozen=True)
class Chapter:
    """A release of chapter 3: the instructor's folder and the student's."""

    course: Path
    repository: Path
    slug: str

    def hand_in(self, name: str, *, student: str = "", only: str = "*") -> Path:
        """Put notebooks of a sample student into submitted/, under another student's name where one is given.

        Returns:
            Their folder.
        """
        row = rows.load_row(self.slug)
        sample = next(sample for sample in CLASS if sample.student == name)
        folder = self.course / "submitted" / (student or name) / self.slug
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((self.repository / self.slug).glob(f"{only}.ipynb")):
            nbformat.write(fill(nbformat.read(path, as_version=4), row, sample), folder / path.name)
        return folder


def dlcv(*arguments: str, cwd: Path | None = None, expect: tuple[int, ...] = (0,)) -> str:
    """Run the command line in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", START, *arguments], cwd=cwd, capture_output=True, text=True, env=environment()
    )
    assert done.returncode in expect, f"dlcv {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(paths.CHECKOUT), "OMP_NUM_THREADS": "1"} | more


def release_chapter(place: Path) -> Chapter:
    chapter = Chapter(place / "course", place / "repository", rows.resolve("ch03"))
    dlcv("course", "init", str(chapter.course), "--chapters", "ch03")
    dlcv("release", "ch03", "--to", str(chapter.repository), "--course", str(chapter.course))
    return chapter


@dataclass(frozen=True)
class Server:
    """A Jupyter server on loopback."""

    address: str
    token: str
    log: Path

    def page(self, path: str) -> str:
        return f"{self.address}/{path}{'&' if '?' in path else '?'}token={self.token}"

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def jupyter(
    folder: Path, home: Path, command: Sequence[str] = ("-m", "jupyterlab", "--no-browser")
) -> Iterator[Server]:
    """Start a Jupyter server in `folder`, with what the environment switches on, and stop it again.

    `home` holds its settings, so that nothing of this machine's user is read or written; `command` are the arguments
    of Python.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = Server(f"http://127.0.0.1:{port}", secrets.token_hex(8), home / "log")
    _write_settings(home, port, server.token)
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env=environment(HOME=str(home), JUPYTERLAB_SETTINGS_DIR=str(home / "settings"), **places),
        )  # fmt: skip
    try:
        _wait_for(server, process)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _write_settings(home: Path, port: int, token: str) -> None:
    """Write the server's settings, and those of JupyterLab that keep every cell on the page and ask for no news."""
    server = f"c.ServerApp.port = {port}\nc.ServerApp.allow_root = True\nc.IdentityProvider.token = {token!r}\n"
    files = {
        "config/jupyter_server_config.py": server,
        "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings": '{"windowingMode": "none"}',
        "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings":
            '{"fetchNews": "false", "checkForUpdates": false}',
    }  # fmt: skip
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _wait_for(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, server.said()[-3000:]
        try:
            urllib.request.urlopen(server.page("api/status"), timeout=30).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"Jupyter did not answer within {PATIENCE} s:\n{server.said()[-3000:]}")
