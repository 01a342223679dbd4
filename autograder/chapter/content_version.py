"""The content version of an exercise: a hash of all that decides its points. Wording does not count.

It is stored with the release, with a student's receipt and with every verdict, so that `dlcv regrade` can tell which
verdicts were made by an exercise that has changed since.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from autograder.base import cache
from autograder.base.code_text import code_only
from autograder.chapter import source
from autograder.chapter.rows import Row
from autograder.declare.draws import Draws
from autograder.declare.exercise import Exercise
from dlcv_lab.checking import compare
from dlcv_lab.checking.model import ExerciseInfo

RELEASES = "releases.jsonl"
_EXERCISES = "autograder.exercises."


def version_of(row: Row, exercise: Exercise, probe: str) -> str:
    """Return the content version: reference, what it uses, cases, probe, alternatives, tolerances, points and limits.

    Known mistakes do not count: they earn no points. (Alternatives do, because tolerances are measured on them.)
    """
    used = [row.reference(row.exercise_by_name[name]) for name in exercise.uses if name in row.exercise_by_name]
    variants = [*exercise.alternatives, *exercise.standins]
    facts = json.dumps(
        [
            exercise.groups,
            asdict(exercise.forbid),
            asdict(exercise.limits),
            exercise.keeps_inputs,
            exercise.exact_dtype,
            sorted((str(dtype), floor) for dtype, floor in compare.FLOORS.items()),
            compare.MARGIN,
        ],
        sort_keys=True,
    )
    cases = cases_of(exercise.cases)
    texts = [row.reference(exercise), *used, cases, *_draws_of(cases), probe]
    texts += [variant.source() for variant in variants]
    return cache.digest(*map(code_only, texts), *(variant.name for variant in variants), facts)[:16]


def wording_of(exercise: Exercise) -> str:
    """Return a hash of what is only said about an exercise: its hints, and the known mistakes with their sentences."""
    known = [text for wrong in exercise.misconceptions for text in (wrong.name, wrong.hint, code_only(wrong.source()))]
    return cache.digest(*exercise.hints, *known)[:16]


def verified_as(row: Row, info: ExerciseInfo) -> str:
    """Return the hash under which `dlcv verify` notes an exercise: the content version and the known mistakes."""
    return cache.digest(info.version, wording_of(row.exercise_by_name[info.name]))[:16]


def cases_of(cases: Callable[..., object]) -> str:
    """Return the text of a case generator and of everything in the chapter's exercise modules that it calls.

    Imports are left out: what they bring for other parts of a module is no matter of the cases.
    """
    plain = inspect.unwrap(cases)
    module = inspect.getmodule(plain)
    if module is None or not hasattr(plain, "__name__") or plain.__name__ == "<lambda>":
        return inspect.getsource(plain)
    return "\n".join(_reached(module, plain.__name__, set()))


def _reached(module: ModuleType, name: str, seen: set[tuple[str, str]]) -> list[str]:
    """Return the text that `name` needs in its module, then that of helpers imported from the chapter's others."""
    if (module.__name__, name) in seen:
        return []
    seen.add((module.__name__, name))
    text = source.reachable(source.module_file(module).read_text(encoding="utf-8"), [name])
    tree = ast.parse(text)
    own = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    found = ["\n".join(ast.get_source_segment(text, node) or "" for node in own)]
    for other in sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}):
        helper = getattr(module, other, None)
        home = inspect.getmodule(helper) if inspect.isfunction(helper) or inspect.isclass(helper) else None
        if helper is not None and home is not None and home is not module and home.__name__.startswith(_EXERCISES):
            found += _reached(home, helper.__name__, seen)
    return found


def _draws_of(text: str) -> list[str]:
    """Return the texts of the draws (`d.normal(...)`) that a text uses, and of those that these use."""
    found: dict[str, str] = {}
    queue = [text]
    while queue:
        for name in {node.attr for node in ast.walk(ast.parse(queue.pop())) if isinstance(node, ast.Attribute)}:
            if name in vars(Draws) and name not in found:
                found[name] = textwrap.dedent(inspect.getsource(getattr(Draws, name)))
                queue.append(found[name])
    return [found[name] for name in sorted(found)]


def note_release(journal: Path, row: Row, versions: Mapping[str, str]) -> None:
    """Note in the course which content versions went out; nothing is written where nothing changed."""
    if released(journal, row.slug) == dict(versions):
        return
    when = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"when": when, "chapter": row.slug, "versions": dict(versions)}, ensure_ascii=False)
    journal.mkdir(parents=True, exist_ok=True)
    with (journal / RELEASES).open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def released(journal: Path, slug: str) -> dict[str, str]:
    """Return the content versions of the last release of a chapter, or nothing."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (journal / RELEASES).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                found = dict(told["versions"]) if told["chapter"] == slug else found
    return found
