"""What students may try: no point gained, nothing leaked, the next submission is judged as if nothing had happened."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from grader_helpers import Class, by_name

from autograder import paths
from autograder.grading import Marker
from dlcv_lab.checking.model import ExerciseResult, Verdict

pytestmark = pytest.mark.sandbox

V = Verdict


@dataclass(frozen=True)
class Attack:
    """One submission of `box_blur`: what it tries, its code, and the verdicts that are right for it."""

    tries: str
    code: str
    verdicts: tuple[Verdict, ...]


def body(text: str, before: str = "") -> str:
    """Return a `box_blur` with this body; `before` stands above it in the cell."""
    lines = "\n".join("    " + line for line in text.strip().split("\n"))
    return f"{before}\ndef box_blur(x, k):\n{lines}\n"


LYING = """
class Lie(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True
    def __eq__(self, other): return True
    def __bool__(self): return True
    def allclose(self, *args, **kwargs): return True
"""
WRONG_SHAPE = "torch.zeros(max(0, x.shape[0] - k + 1), max(0, x.shape[1] - k + 1), dtype=x.dtype)"
FORGE = """
import os, struct
from dlcv_lab.checking import wire
from dlcv_lab.checking.model import Outcome
frame = wire.encode_outcome(Outcome("value", value=torch.zeros(4, 4)))
for number in range(3, 64):
    try:
        os.write(number, (struct.pack(">Q", len(frame)) + frame) * 50)
        os.write(number, b'{"killed": null, "signal": 0, "code": 0, "seconds": 0.0, "peak": 0}\\n')
    except OSError:
        pass
"""

ATTACKS = [
    Attack("a Tensor subclass that says yes to every comparison",
           body(f"return torch.Tensor._make_subclass(Lie, {WRONG_SHAPE})", LYING), (V.WA, V.PA, V.TY)),
    Attack("an object that is equal to everything",
           body("return Same()", "class Same:\n    def __eq__(self, other): return True"), (V.TY,)),
    Attack("torch.allclose and builtins patched",
           body(f"import builtins\ntorch.allclose = torch.equal = lambda *a, **k: True\n"
                f"builtins.all = builtins.any = lambda *a: True\nbuiltins.AssertionError = Warning\n"
                f"return {WRONG_SHAPE}"), (V.WA, V.SG)),
    Attack("the judge's own modules patched in the student's process",
           body(f"import dlcv_lab.checking.compare as c, sys\nc.compare = lambda *a, **k: c.Comparison(True)\n"
                f"sys.modules['dlcv_lab.checking.judging'] = None\nreturn {WRONG_SHAPE}"), (V.WA,)),
    Attack("NaN in every place", body(f"return {WRONG_SHAPE} * float('nan')"), (V.WA,)),
    Attack("infinite tolerance by an infinite answer", body(f"return {WRONG_SHAPE} + float('inf')"), (V.WA,)),
    Attack("os._exit(0)", body("import os\nos._exit(0)"), (V.SG,)),
    Attack("SystemExit", body("raise SystemExit(0)"), (V.RE,)),
    Attack("an infinite loop", body("while True: pass"), (V.TO,)),
    Attack("an infinite loop that swallows interrupts",
           body("while True:\n    try:\n        while True: pass\n    except BaseException: pass"), (V.TO,)),
    Attack("a deadlock", body("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()"), (V.TO,)),
    Attack("a fork bomb",
           body("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"), (V.TO, V.SG)),
    Attack("threads without end",
           body("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()"),
           (V.RE, V.TO, V.SG)),
    Attack("a memory bomb", body("x = []\nwhile True: x.append(bytearray(2**22))"), (V.ML, V.TO)),
    Attack("a gigantic tensor", body("return torch.ones(2**36)"), (V.ML,)),
    Attack("recursion without end", body("return box_blur(x, k)"), (V.RE, V.SG)),
    Attack("an answer without end", body("return [torch.zeros(2**16) for _ in range(64)]"), (V.OL, V.ML, V.TO)),
    Attack("printing without end", body("while True: print('x' * 2**16)"), (V.TO,)),
    Attack("a full disk", body("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * 2**20)"), (V.RE,)),
    Attack("the network", body("import socket\nsocket.create_connection(('192.0.2.1', 80), 1)"), (V.RE,)),
    Attack("forged frames and reports on every descriptor",
           body(f"{FORGE}\nreturn {WRONG_SHAPE}"), (V.WA, V.TY, V.PA)),
    Attack("a torn frame, then the end",
           body("import os\nfor n in range(3, 64):\n    try: os.write(n, b'\\x00' * 7 + b'\\xff' * 90)\n"
                "    except OSError: pass\nos._exit(0)"), (V.SG, V.TY)),
    Attack("SIGKILL to the parent and to all",
           body("import os, signal\nfor pid in (os.getppid(), 1, 2, 3, 4, 5, -1):\n"
                "    try: os.kill(pid, signal.SIGKILL)\n    except OSError: pass\nos._exit(1)"), (V.SG,)),
    Attack("the warm parent's memory through ptrace and process_vm_readv",
           body("import ctypes\nlibc = ctypes.CDLL(None)\n"
                "done = [libc.ptrace(16, pid, 0, 0) for pid in range(1, 50)]\n"
                "raise TypeError(f'{done.count(0)} worked')"), (V.RE,)),
    Attack("new namespaces and mounts",
           body("import ctypes\nlibc = ctypes.CDLL(None)\n"
                "done = [libc.unshare(0x10000000), libc.mount(b'x', b'/tmp', b'tmpfs', 0, None), "
                "libc.umount2(b'/proc', 2)]\nraise TypeError(f'{done.count(0)} worked')"), (V.RE,)),
    Attack("a process that outlives its parent and answers later",
           body(f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
                f"        time.sleep(30)\n    os._exit(0)\nreturn {WRONG_SHAPE}"), (V.WA,)),
    Attack("an import hook that sits in the definitions",
           "import sys\nsys.meta_path.insert(0, type('H', (), {'find_spec': staticmethod(lambda *a: 1 / 0)}))\n"
           + body(f"return {WRONG_SHAPE}"), (V.WA, V.RE)),
]  # fmt: skip


@pytest.fixture(scope="module")
def processes(marker: Marker, klass: Class) -> set[str]:
    """The processes of the sandbox once the warm parent runs: nothing may be added to them."""
    marker.mark_notebook("warm", "lesson_1", klass.honest())
    return of_sandbox(marker)


def of_sandbox(marker: Marker) -> set[str]:
    """Return the processes of the marker's sandbox, once the supervisor of the last job has ended too."""
    assert marker.runner._process is not None
    root = marker.runner._process.pid
    for _ in range(200):
        found = {f"{p.pid} {p.info['name']}" for p in psutil.process_iter(["name"]) if is_below(p, root)}
        if sum("python" in name for name in found) <= 1:
            break
        time.sleep(0.05)
    return found


def is_below(process: psutil.Process, root: int) -> bool:
    try:
        family = {process.pid, *(p.pid for p in process.parents())}
        return process.status() != psutil.STATUS_ZOMBIE and root in family
    except psutil.NoSuchProcess:
        return False


def judged(marker: Marker, raw: bytes) -> dict[str, ExerciseResult]:
    return by_name(marker.mark_notebook("mallory", "lesson_1", raw))


def assert_next_is_unaffected(marker: Marker, klass: Class) -> None:
    results = by_name(marker.mark_notebook("alice", "lesson_1", klass.honest()))
    assert [result.verdict for result in results.values()] == [V.OK, V.OK]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.tries.replace(" ", "_"))
def test_gains_nothing(attack: Attack, marker: Marker, klass: Class, processes: set[str]) -> None:
    result = judged(marker, klass.hand_in(box_blur=attack.code))["box_blur"]
    assert result.score == 0, result
    assert result.verdict in attack.verdicts, result
    said = " ".join([result.message, *(case.text for case in result.cases)])
    assert "worked" not in said or "0 worked" in said, said
    assert_next_is_unaffected(marker, klass)
    assert of_sandbox(marker) == processes, "a process was left behind, or the warm parent did not survive"


def test_sees_nothing_of_ours(marker: Marker, klass: Class, tmp_path: Path) -> None:
    """Solutions, exercises, secrets, other files, the host's processes and environment are not there."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    os.environ["DLCV_TEST_TOKEN"] = "s3cret-token"
    wanted = [str(p) for p in (secret, paths.CHECKOUT, paths.CHECKOUT / "solutions", paths.root(), Path.home() / ".ssh",
                               Path("/etc/passwd"), Path("/etc/shadow"), Path("/proc/1/environ"), Path("/proc/self"),
                               Path("/home"), Path("/var"))]  # fmt: skip
    look = body(
        f"import os, sys\nfound = [p for p in {wanted!r} if os.path.exists(p)]\n"
        "found += [m for m in ('solutions', 'autograder') if __import__('importlib.util').util.find_spec(m)]\n"
        "found += [v for v in os.environ.values() if 's3cret' in v]\n"
        "found += [m for m in sys.modules if m.startswith(('solutions', 'autograder'))]\n"
        "raise ValueError(f'found {found}')"
    )
    try:
        result = judged(marker, klass.hand_in(box_blur=look))["box_blur"]
    finally:
        del os.environ["DLCV_TEST_TOKEN"]
    said = " ".join([result.message, *(case.text for case in result.cases)])
    assert "found []" in said, said
    assert result.score == 0


def test_leaves_nothing_for_the_next(marker: Marker, klass: Class) -> None:
    """A file, a patched module or a variable of one job is not there in the next."""
    leave = body(
        "import os, torch\nplaces = ('/tmp/left', '/dev/shm/left', '/dlcv/left', '/left')\n"
        "found = [p for p in places if os.path.exists(p)]\n"
        "found += ['module'] if hasattr(torch, 'left') else []\ntorch.left = 1\n"
        "for p in places:\n"
        "    try: open(p, 'w').close()\n    except OSError: pass\n"
        "raise ValueError(f'found {found}') if x.shape == (6, 6) else KeyError()"
    )
    for _ in range(2):
        result = judged(marker, klass.hand_in(box_blur=leave))["box_blur"]
        assert "found []" in " ".join([result.message, *(case.text for case in result.cases)])


def graded(cell: dict[str, Any]) -> bool:
    return bool(cell["metadata"].get("nbgrader", {}).get("grade"))


def skip(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        cell["metadata"]["tags"] = ["skip-execution"]


def delete(cells: list[dict[str, Any]]) -> None:
    cells[:] = [cell for cell in cells if not graded(cell)]


def duplicate(cells: list[dict[str, Any]]) -> None:
    cells += [dict(cell) for cell in cells]


def edit(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        if graded(cell):
            cell["source"] = "2 + 2"
            cell["metadata"]["nbgrader"] |= {"points": 1000, "grade": False, "solution": True, "schema_version": 1}
            cell["outputs"] = [{"output_type": "execute_result", "data": {"text/plain": "1000"}, "metadata": {},
                                "execution_count": 1}]  # fmt: skip


def hook(cells: list[dict[str, Any]]) -> None:
    cells.insert(0, {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None,
                     "source": "get_ipython().input_transformers_post.append(lambda lines: ['pass\\n'])\n"
                               "def check(*a): return 1000"})  # fmt: skip


def reverse(cells: list[dict[str, Any]]) -> None:
    cells.reverse()


TRICKS = [skip, delete, duplicate, edit, hook, reverse]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
def test_notebook_tricks_change_nothing(trick: Any, marker: Marker, klass: Class) -> None:
    """Tags, metadata, outputs, hooks and the order of cells neither give nor take a point."""
    wrong = judged(marker, klass.hand_in(trick, box_blur=body(f"return {WRONG_SHAPE}")))
    assert (wrong["box_blur"].score, wrong["unsharp"].score) == (0, 0)
    right = judged(
        marker, klass.hand_in(trick, box_blur=klass.reference("box_blur"), unsharp=klass.reference("unsharp"))
    )
    assert [result.verdict for result in right.values()] == [V.OK, V.OK]


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0" * 99, b"[" * 1_000_000, b"\xff\xfe{", b"{}", b'{"nbformat": 3, "cells": []}', b"x" * (20 * 2**20 + 1)],
    ids=["empty", "zeros", "nested", "not_utf8", "no_cells", "old_format", "too_large"],
)
def test_unreadable_files_are_told(raw: bytes, marker: Marker, klass: Class) -> None:
    results = marker.mark_notebook("mallory", "lesson_1", raw)
    assert {result.verdict for result in results} == {V.UR}
    assert all(result.score == 0 and result.message for result in results)
    assert_next_is_unaffected(marker, klass)
