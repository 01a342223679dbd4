"""Run a student's definitions and a probe on one case: in the notebook, a fresh process and the sandbox alike."""

from __future__ import annotations
import __future__

import ast
import asyncio
import collections
import contextlib
import functools
import inspect
import itertools
import linecache
import operator
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlcv_lab.checking import probing
from dlcv_lab.checking.compare import describe
from dlcv_lab.checking.copying import settled
from dlcv_lab.checking.envelope import EnvelopeError, decode, encode, leaves
from dlcv_lab.checking.forbidding import OperatorWatch
from dlcv_lab.checking.model import Forbid, Job, Outcome, Program
from dlcv_lab.checking.wire import encode_outcome

PRELUDE = """\
import math
import torch
import torch.nn.functional as F
from torch import nn
from dlcv_lab.checking import probing
"""
NOTHING = Forbid()
STANDIN = "<stand-in>"  # what tracebacks call the code of a stand-in, which nobody wrote
_FUTURES = functools.reduce(operator.or_, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))
Probe = Callable[[Any, dict[str, Any]], Any]
_MESSAGE = 600  # characters of an exception's text that are kept
_OURS = str(Path(__file__).resolve().parent.parent)
_SITE = str(Path(torch.__file__).parent.parent)  # in the sandbox it has a name of its own
_numbers = itertools.count(1)


class MissingName(Exception):
    """The probe asked for a name that the student's code does not define."""


class Names:
    """The student's names as attributes, for a probe: `ns.conv2d`.

    What their functions return is noted: a probe that cannot go on with an answer is no mistake of the student's code,
    and what is told is the answer, not the probe's exception.
    """

    def __init__(self, scope: Mapping[str, Any], given: str = "") -> None:
        """Hold the names; `given` is the source of the set-up, whose lines nobody is told as their own."""
        self._scope = scope
        self._given = frozenset(line.strip() for line in given.splitlines())
        self._answers: collections.deque[Any] = collections.deque(maxlen=8)

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._scope[name]
        except KeyError:
            raise MissingName(name) from None
        return self._noting(value) if callable(value) and not isinstance(value, type | torch.nn.Module) else value

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def students(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            self._answers.append(answer)
            return answer

        return students


class _NoShell:
    """Takes the place of IPython's shell, for code that asks for it: whatever it is told to do, it does nothing."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.user_ns = names

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Take the place of `display` and of what a shell does."""


def load_namespace(program: Program, extra: str = "", name: str = "") -> tuple[Names, tuple[str, ...]]:
    """Execute a program, one statement at a time; a statement that raises is skipped and reported.

    Args:
        program: set-up and statements.
        extra: source run last, such as a stand-in.
        name: of the module that the code finds itself in: "__main__", as in a kernel. By default a new one.

    Returns:
        The names it defined, and one sentence per statement that was skipped.
    """
    module = types.ModuleType(name or f"dlcv_student_{next(_numbers)}")
    sys.modules[module.__name__] = module  # dataclasses and pickling look a class's module up
    scope = module.__dict__
    scope |= {"display": _nothing, "get_ipython": lambda: _NoShell(scope)}
    run = _Statements(scope)
    run("the set-up", program.setup)
    above, own, checked = program.stands or (0, 0, 0)
    before: dict[str, Any] = {}
    stands: dict[str, Any] = {}
    for number in range(len(program.statements) + 1):
        if program.stands and number == above:
            before = dict(scope)
        if program.stands and number == own:
            stands = {key: value for key, value in scope.items() if key not in before or before[key] is not value}
        if program.stands and number == checked:
            stands = scope | stands
        if number < len(program.statements):
            run("your code", program.statements[number])
    scope |= stands
    run("the stand-in", extra, STANDIN)
    return Names(scope, program.setup), tuple(run.notes)


class _Statements:
    """Runs texts in the names of a module; one that raises is skipped and noted."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope, self.flags, self.notes = scope, 0, list[str]()

    def __call__(self, place: str, text: str, name: str = "") -> None:
        if not text.strip():
            return
        try:
            self.flags |= _execute(text, self.scope, self.flags, name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            first = text.strip().splitlines()[0][:80]
            self.notes.append(f"a statement of {place} was skipped, it raised {_said(error)}: {first}")


def load_probe(source: str) -> Callable[[Any, dict[str, Any]], Any]:
    """Return the function `run(ns, data)` that a probe's source defines."""
    scope: dict[str, Any] = {"__name__": "dlcv_probe"}
    _execute(PRELUDE + source, scope)
    probe: Callable[[Any, dict[str, Any]], Any] = scope["run"]
    return probe


def _execute(source: str, scope: dict[str, Any], flags: int = 0, name: str = "") -> int:
    """Run a text as a kernel does: no future of this module's, those of earlier texts in `flags`, top-level `await`.
    `name` is that of a file that tracebacks name, by default one of the student's.

    Returns:
        The flags of the futures that the text imports; they hold for all later texts.
    """
    if not name:
        name = "<probe>" if scope.get("__name__") == "dlcv_probe" else f"<student {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    code = compile(source, name, "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    result = eval(code, scope)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(result)
    return code.co_flags & _FUTURES


def run_case(run: Probe, ns: Any, raw: bytes, forbid: Forbid = NOTHING) -> Outcome:
    """Run a probe on fresh inputs decoded from `raw` and return what it gave as plain data.

    The global random state is the same before every case. What the student's code prints is theirs. A keyboard
    interrupt goes through to the caller.
    """
    data = decode(raw, max_bytes=2**40)
    outcome = run_fresh(run, ns, data, forbid)
    return replace(outcome, mutated=_mutated(data, raw))


def run_fresh(run: Probe, ns: Any, data: dict[str, Any], forbid: Forbid = NOTHING) -> Outcome:
    """Run a probe as `run_case` does, on inputs that nobody else holds, and do not look whether they were changed."""
    _seed()
    if isinstance(ns, Names):
        ns._answers.clear()
    watch = OperatorWatch(forbid.aten) if forbid.aten else contextlib.nullcontext()
    started = time.perf_counter()
    try:
        with watch:
            value = run(ns, data)
        outcome = _value(value)
    except MissingName as missing:
        outcome = Outcome("missing", error="NameError", message=f"{missing} is not defined")
    except probing.Unusable as unusable:
        outcome = Outcome("type", message=str(unusable))
    except MemoryError:
        outcome = Outcome("memory", message="out of memory")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit and what students derive from BaseException too
        outcome = _unusable(error, ns) or _raised(error, ns)
    facts: dict[str, Any] = {"seconds": time.perf_counter() - started}
    if isinstance(watch, OperatorWatch):
        facts["forbidden"] = tuple(watch.seen)
    return Outcome(**{**_core(outcome), **facts})


def _seed() -> None:
    """Seed what a case can draw from; `torch.manual_seed` would note a traceback for every kind of device."""
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


def run_job(job: Job, emit: Callable[[int, bytes], None]) -> None:
    """Run every case of a job and hand over each encoded outcome as soon as it is there."""
    with _like_a_kernel():
        names, skipped = load_namespace(job.program, job.standin, "__main__")
        probe = load_probe(job.probe)
        for index, raw in enumerate(job.inputs):
            try:
                outcome = run_case(probe, names, raw, job.forbid)
            except KeyboardInterrupt as error:
                outcome = _raised(error)
            if skipped and (outcome.status == "missing" or outcome.error == "NameError"):
                outcome = replace(outcome, message="; ".join([outcome.message, *skipped])[: 3 * _MESSAGE])
            frame = encode_outcome(outcome)
            if len(frame) > job.limits.output_bytes:
                frame = encode_outcome(Outcome("output", message=f"the answer takes {len(frame)} bytes"))
            emit(index, frame)


@contextlib.contextmanager
def _like_a_kernel() -> Iterator[None]:
    """Let the code's module be `__main__`, and compile nothing: a compiler takes minutes for the same values."""
    main, compiler = sys.modules["__main__"], torch.compile
    torch.compile = _uncompiled
    try:
        yield
    finally:
        sys.modules["__main__"], torch.compile = main, compiler


def _uncompiled(model: Any = None, **options: Any) -> Any:
    """Take the place of `torch.compile`, called or as a decorator: nothing is compiled here."""
    return model if model is not None else _uncompiled


def _value(value: Any) -> Outcome:
    try:
        return Outcome("value", settled(value))
    except EnvelopeError as error:
        return Outcome("type", message=probing.fault(value) or str(error))


def _unusable(error: BaseException, ns: Any) -> Outcome | None:
    """Say what is the matter with an answer where the probe failed that went on with it; None for any other error."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(ns, Names) or any(_is_students(frame) for frame in frames):
        return None
    if isinstance(error, AttributeError) and type(error.obj).__name__ in ns._scope:
        return Outcome("type", message=f"your {type(error.obj).__name__} has no `{error.name}`")
    fault = next((said for answer in reversed(ns._answers) if (said := probing.fault(answer))), "")
    if not fault and isinstance(error, AttributeError):  # what an object of theirs returned, such as a model
        fault = probing.fault(error.obj)
    elif not fault and "NoneType" in _text(error):
        fault = probing.fault(None)
    if not fault and ns._answers and not any("autograd" in Path(frame.filename).parts for frame in frames):
        came = describe(ns._answers[-1])
        fault = f"the check cannot go on with what your code returns ({came}): look again at what is to be returned"
    return Outcome("type", message=fault) if fault else None


def _is_students(frame: traceback.FrameSummary) -> bool:
    """Tell whether a frame is the student's code, or a call of it that failed."""
    if frame.filename.startswith(_OURS):
        return frame.name == "students"
    return frame.filename not in ("<probe>", STANDIN) and not _is_library(frame.filename)


def _raised(error: BaseException, ns: Any = None) -> Outcome:
    bases = tuple(base.__name__ for base in type(error).__mro__ if base is not object)
    return Outcome("raised", error=type(error).__name__, error_bases=bases, message=_text(error), line=_line(error, ns))


def _core(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in ("status", "value", "error", "error_bases", "message", "line")}


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_MESSAGE]
    except Exception:  # a hostile __str__
        return ""


def _said(error: BaseException) -> str:
    text = _text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _line(error: BaseException, ns: Any) -> str:
    """Return the last line of the student's own code in the traceback, of the set-up only where there is no other."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.line and _is_students(frame)]
    frames = [frame for frame in frames if frame.name != "students"]
    given = ns._given if isinstance(ns, Names) else frozenset()
    frames = [frame for frame in frames if frame.line and frame.line.strip() not in given] or frames
    cells = [frame for frame in frames if frame.filename.startswith("<student")] or frames  # else in a live kernel
    return (cells[-1].line or "").strip()[:300] if cells else ""


def _is_library(filename: str) -> bool:
    places = (_OURS, _SITE, sys.base_prefix)
    return "site-packages" in filename or "dist-packages" in filename or filename.startswith(places)


def _mutated(data: Any, raw: bytes) -> tuple[str, ...]:
    """Return the paths of the inputs that are no longer what `raw` holds."""
    before = dict(leaves(decode(raw, max_bytes=2**40)))
    try:
        after = dict(leaves(data))
        changed = [path for path, old in before.items() if path not in after or not _same(old, after[path])]
    except Exception:  # the student's code put something hostile there
        return ("data",)
    changed += [path for path in after if path not in before]
    return tuple(_spoken(path) for path in changed)


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, torch.Tensor):
        if type(new) is not torch.Tensor or old.shape != new.shape or old.dtype != new.dtype:
            return False
        return torch.equal(_bits(old), _bits(new))
    if type(old) in (int, bool, str):
        return type(new) is type(old) and bool(old == new)
    try:
        return encode(old) == encode(new)
    except EnvelopeError:
        return False


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the values as bytes, so that NaN equals itself."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _spoken(path: str) -> str:
    """Write the path of a leaf as a student would: "['x']" is x."""
    if path.startswith("['"):
        name, _, rest = path[2:].partition("']")
        return name + rest
    return path
