"""`submit`: run the saved notebooks as the grader will, on the public cases, and write a receipt. It never refuses."""

from __future__ import annotations

import ast
import datetime
import hashlib
import importlib.metadata
import inspect
import json
import linecache
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv_lab.checking.bindings import Statement
from dlcv_lab.checking.extract import read_programs
from dlcv_lab.checking.model import ExerciseInfo, ExerciseResult, Pack, Program
from dlcv_lab.checking.notebook_reader import UnreadableError
from dlcv_lab.checking.packs import Chapter, PacksError, load_pack
from dlcv_lab.checking.runners import LocalRunner, Runner
from dlcv_lab.checking.submission import judge
from dlcv_lab.files import write_whole

MANIFEST = "submission.json"


@dataclass(frozen=True)
class Receipt:
    """What was handed in, as the public cases see it."""

    chapter: str
    number: str  # short hash of the files
    path: Path
    time: str
    files: Mapping[str, str]  # file name -> SHA-256
    results: tuple[ExerciseResult, ...]
    warnings: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """Return the manifest."""
        return {
            "chapter": self.chapter,
            "receipt": self.number,
            "time": self.time,
            "files": dict(self.files),
            "versions": {name: importlib.metadata.version(name) for name in ("dlcv-lab", "torch")}
            | {"python": platform.python_version()},
            "results": [
                {"name": r.name, "verdict": str(r.verdict), "score": r.score, "max_score": r.max_score,
                 "message": r.message, "hint": r.hint, "attempt": r.attempt, "version": r.version}
                for r in self.results
            ],
            "official": False,
            "warnings": list(self.warnings),
        }  # fmt: skip


def infos_of(chapter: Chapter, stem: str) -> list[ExerciseInfo]:
    """Return the facts about a notebook's exercises, in its order."""
    names = next(notebook.exercises for notebook in chapter.notebooks if notebook.stem == stem)
    return [load_pack(chapter.key, name).info for name in names]


def find_notebooks(chapter: Chapter, folder: Path) -> dict[str, Path]:
    """Return {stem: file} of the chapter's notebooks in `folder`, its subfolder of the chapter's name, or above.

    A file counts if its name begins with the notebook's, as "lesson_1-Copy1.ipynb" does; the
    exact name is preferred, then the one saved last.
    """
    here = folder.resolve()
    for place in (here / chapter.slug, here, *here.parents):
        if place not in (here / chapter.slug, here) and place.name != chapter.slug:
            continue
        found = {}
        for notebook in chapter.notebooks:
            files = [path for path in place.glob(f"{notebook.stem}*.ipynb") if path.is_file()]
            if files:
                exact = [path for path in files if path.stem == notebook.stem]
                found[notebook.stem] = (exact or sorted(files, key=lambda path: path.stat().st_mtime))[-1]
        if found and (place.name == chapter.slug or _looks_like(chapter, found)):
            return found
    return {}


def _looks_like(chapter: Chapter, files: Mapping[str, Path]) -> bool:
    """Tell whether files in a folder of another name belong to the chapter: one of them starts it."""
    mark = f'start(\\"{chapter.key}\\"'
    return any(mark in path.read_text(encoding="utf-8", errors="replace") for path in files.values())


def nothing_here(chapter: Chapter, folder: Path) -> str:
    """Say that a folder holds no notebook of a chapter, and what to do."""
    names = ", ".join(f"{notebook.stem}.ipynb" for notebook in chapter.notebooks)
    return f"no notebook of {chapter.key} ({names}) lies in {folder.resolve()}; go to its folder, or name it with --in"


def judge_public(
    chapter: Chapter, files: Mapping[str, Path], only: str | None = None, runner: Runner | None = None
) -> list[ExerciseResult]:
    """Judge saved notebooks on the public cases, each exercise in a fresh process.

    Args:
        chapter: the chapter.
        files: stem -> file.
        only: one exercise; what it uses is judged too, so that a stand-in can take its place.
        runner: where the code runs; by default plain processes on this machine.
    """
    if runner is None:
        with LocalRunner() as own:
            return judge_public(chapter, files, only, own)
    results: list[ExerciseResult] = []
    for notebook in chapter.notebooks:
        if notebook.stem not in files or (only and only not in notebook.exercises):
            continue
        infos = infos_of(chapter, notebook.stem)
        if only:
            infos = _with_used(infos, only)
        results += judge(files[notebook.stem], infos, _public, runner)
    return [result for result in results if only in (None, result.name)]


def _public(info: ExerciseInfo, program: Program) -> Pack:
    return load_pack(info.chapter, info.name)


def _with_used(infos: list[ExerciseInfo], name: str) -> list[ExerciseInfo]:
    by_name = {info.name: info for info in infos}
    wanted, waiting = set[str](), [name]
    while waiting:
        current = waiting.pop()
        if current in by_name and current not in wanted:
            wanted.add(current)
            waiting += by_name[current].uses
    return [info for info in infos if info.name in wanted]


def submit_folder(
    chapter: Chapter, folder: Path, live: Mapping[str, Any] | None = None, runner: Runner | None = None
) -> Receipt:
    """Judge what is saved in a folder, and write manifest and receipt beside it.

    Args:
        chapter: the chapter.
        folder: where its notebooks lie.
        live: the names of a running notebook, to warn where they differ from the saved file.
        runner: where the code runs; by default plain processes on this machine.

    Raises:
        PacksError: there is no notebook of the chapter, so there is nothing to hand in.
    """
    files = find_notebooks(chapter, folder)
    if not files:
        raise PacksError(nothing_here(chapter, folder))
    warnings = [
        f"{notebook.stem}.ipynb was not found; nothing of it will be graded."
        for notebook in chapter.notebooks
        if notebook.stem not in files
    ]
    results = judge_public(chapter, files, runner=runner)
    here = ".".join(platform.python_version_tuple()[:2])
    if chapter.python and chapter.python != here:
        warnings.append(
            f"The grader reads your code with Python {chapter.python} and this is Python {here}: what the one knows "
            "may be a syntax error for the other."
        )
    for stem, path in files.items():
        if path.stem != stem:
            warnings.append(f"{path.name} is taken for {stem}.ipynb; rename it before you hand it in.")
        others = sorted(other.name for other in path.parent.glob(f"{stem}[!0-9]*.ipynb") if other != path)
        if others:
            warnings.append(
                f"{', '.join(others)} lies beside {path.name} and is not read. If it is the one that you mean, call it "
                f"{stem}.ipynb and remove the other."
            )
        if live is not None:
            warnings += _disagreements(path, infos_of(chapter, stem), live)
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()}
    number = hashlib.sha256("".join(sorted(sums.values())).encode()).hexdigest()[:12]
    place = next(iter(files.values())).parent
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    receipt = Receipt(chapter.key, number, place / MANIFEST, now, sums, tuple(results), tuple(warnings))
    _write(receipt)
    return receipt


def _write(receipt: Receipt) -> None:
    """Write the manifest in one step; a folder that cannot be written is told, never a reason to refuse."""
    text = json.dumps(receipt.data(), indent=1, ensure_ascii=False) + "\n"
    try:
        write_whole(receipt.path, text.encode())
    except OSError as error:
        print(f"The receipt could not be written to {receipt.path} ({error.strerror}). Your notebooks are untouched.")


def _disagreements(path: Path, infos: list[ExerciseInfo], live: Mapping[str, Any]) -> list[str]:
    """Name the exercises whose definition in the running notebook is not the saved one."""
    try:
        programs = read_programs(path.read_bytes(), infos)
    except (UnreadableError, OSError):
        return []
    found = []
    for info in infos:
        saved = {node.name: ast.dump(node) for text in programs[info.name].statements for node in _definitions(text)}
        for name in info.defines:
            running = _live_dump(live.get(name))
            if running is not None and name in saved and running != saved[name]:
                found.append(
                    f"{name} in your running notebook differs from the one saved in {path.name}. "
                    "Save the notebook (Ctrl-S) and submit again, or run its cell again."
                )
    return found


def _definitions(text: str) -> list[ast.FunctionDef | ast.ClassDef]:
    try:
        return [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    except SyntaxError:
        return []


def _live_dump(value: Any) -> str | None:
    """Return the ast of a live function or class, or None where its source is not known."""
    nodes = _definitions(live_source(value))
    return ast.dump(nodes[0]) if nodes else None


def live_sources(names: Mapping[str, Any], roots: Sequence[str], stop: Sequence[str] = ()) -> list[str]:
    """Return the texts of the notebook's own functions and classes that `roots` reach, `stop` left aside."""
    found: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        value = names.get(name)
        own = getattr(value, "__globals__", None) is names or getattr(value, "__module__", "") == names.get("__name__")
        if name in found or name in stop or not own:
            continue
        found[name] = live_source(value)
        waiting += [used for node in _definitions(found[name]) for used in Statement(0, found[name], node).uses]
    return [text for text in found.values() if text]


def live_source(value: Any) -> str:
    """Return the text of a function or class that a cell defined, or "" where it is not known."""
    code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
    if code is None and isinstance(value, type):
        code = next((item.__code__ for item in vars(value).values() if hasattr(item, "__code__")), None)
    if code is None:
        return ""
    text = "".join(linecache.getlines(code.co_filename))
    found = [node for node in _definitions(text) if node.name == getattr(value, "__name__", None)]
    return ast.get_source_segment(text, found[-1]) or "" if found else ""
