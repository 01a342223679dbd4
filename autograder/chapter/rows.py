"""A chapter is one row: the same name in chapters/, solutions/, autograder/exercises/ and tests/chapters/.

`load_row("ch03")` gives everything that a chapter declares. What is missing or contradictory is an error that names the
file and the remedy; `autograder.chapter.row_checks` looks at the rest.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import re
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from autograder.base import paths
from autograder.chapter import lesson as lessons
from autograder.chapter.lesson import Lesson
from autograder.chapter.source import SourceError, definition_source, definitions
from autograder.declare.exercise import Exercise, Question

SLUG = re.compile(r"^ch\d{2}_[a-z0-9_]+$")


class RowError(Exception):
    """A chapter that cannot be built; every line of the message names a file and what to do."""


@dataclass(frozen=True)
class Row:
    """One chapter: its notebooks, exercises and questions, and where its solutions are."""

    slug: str
    notebooks: tuple[Lesson, ...]
    exercises: tuple[Exercise, ...]
    questions: tuple[Question, ...]
    solution_files: tuple[Path, ...]  # in the order of the notebooks
    exercise_files: tuple[Path, ...]
    claims: Path

    @property
    def key(self) -> str:
        return self.slug[:4]

    @property
    def number(self) -> int:
        return int(self.slug[2:4])

    @property
    def title(self) -> str:
        """Return the chapter's title: `chapter` of the first notebook's front matter, else the slug in words."""
        words = self.slug[5:].replace("_", " ")
        first = self.notebooks[0].meta if self.notebooks else {}
        return str(first.get("chapter") or words[:1].upper() + words[1:])

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the keys of all methods that the notebooks name, in order, each once."""
        return tuple(dict.fromkeys(key for lesson in self.notebooks for key in lesson.meta.get("methods", [])))

    @cached_property
    def exercise_by_name(self) -> dict[str, Exercise]:
        return {exercise.name: exercise for exercise in self.exercises}

    @cached_property
    def question_by_name(self) -> dict[str, Question]:
        return {question.name: question for question in self.questions}

    def notebook_of(self, exercise: str) -> Lesson:
        """Return the notebook that asks for an exercise.

        Raises:
            RowError: none does.
        """
        for lesson in self.notebooks:
            if exercise in lesson.named("exercise"):
                return lesson
        raise RowError(
            f"{paths.shown(self.exercise_files[0])}: no lesson of {self.slug} asks for exercise {exercise!r}; "
            f"add a cell '# exercise: {exercise}' or remove the exercise"
        )

    def source(self, name: str) -> str:
        """Return the text of one function or class of the solutions.

        Raises:
            RowError: no solution file defines it.
        """
        for path in self.solution_files:
            if name in definitions(path.read_text(encoding="utf-8")):
                return definition_source(path, name)
        files = ", ".join(paths.shown(path) for path in self.solution_files)
        raise RowError(f"{files}: no function or class is called {name!r}; define it there or correct the name")

    def reference(self, exercise: Exercise) -> str:
        """Return the source of the solution cell of an exercise, regions included."""
        return "\n\n\n".join(self.source(name) for name in exercise.defines)

    def module(self) -> ModuleType:
        """Return the imported solutions."""
        return importlib.import_module(f"solutions.{self.slug}")

    def files(self) -> list[Path]:
        """Return every file that the row's notebooks and packs are made from."""
        lessons = [lesson.path for lesson in self.notebooks]
        return [*lessons, *self.solution_files, *self.exercise_files, *paths.bibliography()]


def slugs() -> list[str]:
    """Return the slugs of all chapters that exist, in order.

    Raises:
        RowError: two folders have the same chapter number.
    """
    home = paths.chapters()
    found = (
        sorted(place.name for place in home.iterdir() if place.is_dir() and _holds_lesson(place))
        if home.exists()
        else []
    )
    doubles = [key for key, count in Counter(slug[:4] for slug in found).items() if count > 1]
    if doubles:
        both = ", ".join(slug for slug in found if slug.startswith(doubles[0]))
        raise RowError(f"{paths.shown(home)}: two chapters have the number {doubles[0]}: {both}; rename one")
    return found


def _holds_lesson(place: Path) -> bool:
    return bool(SLUG.match(place.name)) and any(place.glob("lesson*.md"))


def resolve(chapter: str) -> str:
    """Return the slug for "ch03", "3", "03" or the slug itself.

    Raises:
        RowError: there is no such chapter; the nearest name is suggested.
    """
    known = slugs()
    wanted = chapter.strip().rstrip("/").rsplit("/", 1)[-1]
    key = f"ch{int(wanted):02d}" if wanted.isdigit() else wanted
    for slug in known:
        if key in (slug, slug[:4]):
            return slug
    near = difflib.get_close_matches(wanted, [*known, *(slug[:4] for slug in known)], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise RowError(f"there is no chapter {chapter!r}{hint} Known: {', '.join(known) or 'none'}")


def _column(home: Path, slug: str, package: str) -> tuple[Path, ...]:
    """Return the files of a row in solutions/ or autograder/exercises/."""
    single, folder = home / f"{slug}.py", home / slug
    if single.exists() and folder.is_dir():
        raise RowError(f"{paths.shown(single)} and {paths.shown(folder)}/ both exist; keep one of them")
    if single.exists():
        return (single,)
    parts = tuple(sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")) if folder.is_dir() else ()
    if parts and (folder / "__init__.py").exists():
        return parts
    if parts:
        raise RowError(f"{paths.shown(folder)} has no __init__.py; add one that exports what its modules define")
    raise RowError(
        f"chapters/{slug} has no {package}: write {paths.shown(single)}, or the package {paths.shown(folder)}/ with "
        f"one module a notebook (`dlcv new-chapter` makes a skeleton)"
    )


def link_packages() -> None:
    """Let `solutions.<slug>`, `autograder.exercises.<slug>` and `chapters.<slug>.claims` be those of the rows' folder
    (DLCV_ROOT)."""
    import autograder.exercises as exercises_package
    import solutions as solutions_package

    chapters_package = sys.modules.setdefault("chapters", ModuleType("chapters"))  # a folder without __init__.py
    places = {
        solutions_package: [paths.solutions(), Path(str(solutions_package.__file__)).parent],
        exercises_package: [paths.exercises(), Path(str(exercises_package.__file__)).parent],
        chapters_package: [paths.chapters()],
    }
    for package, found in places.items():
        wanted = list(dict.fromkeys(map(str, found)))
        if list(getattr(package, "__path__", ())) != wanted:
            package.__path__ = wanted
            importlib.invalidate_caches()


def load_row(chapter: str) -> Row:
    """Load one chapter by key or slug.

    Raises:
        RowError: the chapter is unknown, a column is missing, or a file of it cannot be read.
    """
    return _load(*_place(chapter))


def load_texts(chapter: str) -> Row:
    """Load a chapter's lessons and the places of its files, as `load_row` does, but import nothing of the chapter: the
    row has no exercises and no questions."""
    return _load_texts(*_place(chapter))


_Columns = tuple[Path, ...]


def _place(chapter: str) -> tuple[Path, str, _Columns, _Columns, object]:
    """Return the root, the slug and the files of a chapter, and a stamp that changes with them."""
    slug = resolve(chapter)
    solution_files = _column(paths.solutions(), slug, "solutions")
    exercise_files = _column(paths.exercises(), slug, "exercises")
    texts = sorted((paths.chapters() / slug).glob("lesson*.md"))
    stamp = tuple(path.stat().st_mtime_ns for path in (*texts, *solution_files, *exercise_files))
    return paths.root(), slug, solution_files, exercise_files, stamp


@functools.lru_cache(maxsize=64)
def _load_texts(root: Path, slug: str, solution_files: _Columns, exercise_files: _Columns, _: object) -> Row:
    folder = paths.chapters() / slug
    try:
        notebooks = tuple(lessons.read(path) for path in sorted(folder.glob("lesson*.md")) if path.stem.count(".") == 0)
    except lessons.LessonError as error:
        raise RowError(str(error)) from None
    return Row(slug, notebooks, (), (), solution_files, exercise_files, folder / "claims.py")


@functools.lru_cache(maxsize=64)
def _load(root: Path, slug: str, solution_files: _Columns, exercise_files: _Columns, stamp: object) -> Row:
    texts = _load_texts(root, slug, solution_files, exercise_files, stamp)
    modules = _import_exercises(slug, exercise_files)
    declared = in_order(_declared(modules, Exercise), "exercise", texts.notebooks)
    questions = in_order(_declared(modules, Question), "question", texts.notebooks)
    where = ", ".join(paths.shown(path) for path in exercise_files)
    for kind, names in (("exercises", [e.name for e in declared]), ("questions", [q.name for q in questions])):
        doubles = [name for name, count in Counter(names).items() if count > 1]
        if doubles:
            raise RowError(f"{where}: two {kind} are called {doubles[0]!r}; names are unique in a chapter: rename one")
    row = replace(texts, questions=tuple(questions))
    try:
        return replace(row, exercises=tuple(_on_its_solution(row, exercise) for exercise in declared))
    except (SourceError, SyntaxError) as error:
        raise RowError(f"solutions of {slug}: {error}") from None


def _on_its_solution(row: Row, exercise: Exercise) -> Exercise:
    """Return the exercise with its known mistakes bound to the text of its solution, which slips are patches of."""
    parts = {name: row.source(name) for name in exercise.defines}
    return replace(exercise, misconceptions=tuple(mistake.on(parts) for mistake in exercise.misconceptions))


def _import_exercises(slug: str, files: _Columns) -> list[ModuleType]:
    """Import the exercises of a chapter: the module, or the package's modules."""
    link_packages()
    name = f"autograder.exercises.{slug}"
    held = sys.modules.get(name)
    if held is not None and not Path(str(held.__file__)).is_relative_to(paths.exercises()):
        forget(slug)
    try:
        package = importlib.import_module(name)
        if not hasattr(package, "__path__"):
            return [package]
        return [importlib.import_module(f"{name}.{path.stem}") for path in files]
    except (ImportError, SyntaxError, AttributeError, NameError, TypeError, LookupError, ValueError) as error:
        told = f"{type(error).__name__}: {error}{_place_in(files, error)}"
        raise RowError(f"autograder/exercises/{slug} cannot be imported: {told}") from error


def _place_in(files: _Columns, error: Exception) -> str:
    """Say at which line of a chapter's files an import ended; nothing where it was not there."""
    own = {str(path.resolve()): path for path in files}
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if (path := own.get(str(Path(frame.filename).resolve()))) is not None:
            return f"; mend {paths.shown(path)}:{frame.lineno}: {frame.line}"
    return ""


_D = TypeVar("_D", Exercise, Question)


def _declared(modules: list[ModuleType], kind: type[_D]) -> list[_D]:
    """Return every exercise, or question, that stands in the modules by name or in a list or tuple, each once."""
    found: dict[int, _D] = {}
    for module in modules:
        for value in vars(module).values():
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, kind):
                    found[id(item)] = item
    return list(found.values())


def in_order(declared: list[_D], kind: Literal["exercise", "question"], notebooks: tuple[Lesson, ...]) -> list[_D]:
    """Return exercises or questions in the order of the lessons' placeholders; what no lesson names comes last."""
    places = {name: index for index, name in enumerate(n for lesson in notebooks for n in lesson.named(kind))}
    return sorted(declared, key=lambda item: places.get(item.name, len(places)))


def forget(slug: str) -> None:
    """Drop the modules of a chapter, so that the next `load_row` reads its files again."""
    for name in list(sys.modules):
        if name.startswith((f"autograder.exercises.{slug}", f"solutions.{slug}", f"chapters.{slug}")):
            del sys.modules[name]
    importlib.invalidate_caches()
    _load.cache_clear()
    _load_texts.cache_clear()
