"""What can be said about a row without running it: the checks that `dlcv assemble` and `dlcv verify` begin with."""

from __future__ import annotations

import ast
import contextlib
import csv
from collections.abc import Iterable, Iterator

from autograder.base import paths
from autograder.chapter import lesson as lessons
from autograder.chapter import source
from autograder.chapter.lesson import DEFINITION_LINES, Lesson
from autograder.chapter.rows import Row, RowError
from autograder.declare import probes, slips
from autograder.declare.exercise import Exercise

DIFFICULTIES = ("easy", "medium", "hard")
CORE_EXERCISES, CORE_MINUTES = 5, 90


def findings(row: Row) -> list[str]:
    """Return what is wrong with a chapter, one sentence each, with the file and the remedy."""
    found = [fault for lesson in row.notebooks for fault in _lesson_faults(row, lesson)]
    for exercise in row.exercises:
        found += [f"{_file(row, exercise)}: {fault}" for fault in _exercise_faults(row, exercise)]
    for question in row.questions:
        if not any(question.name in lesson.named("question") for lesson in row.notebooks):
            found.append(f"{_files(row)}: no lesson asks {question.name!r}; add '# question: {question.name}' to one")
        if len(question.samples) != 3 or not question.rubric.strip():
            found.append(f"{_files(row)}: the question {question.name!r} needs a rubric and three sample answers")
    found += _placed_twice(row)
    return found


def raise_findings(row: Row) -> None:
    """Raise RowError with all findings, if there are any."""
    found = findings(row)
    if found:
        raise RowError("\n".join(found))


def _files(row: Row) -> str:
    return paths.shown(row.exercise_files[0].parent if len(row.exercise_files) > 1 else row.exercise_files[0])


def _file(row: Row, exercise: Exercise) -> str:
    for path in row.exercise_files:
        if f'"{exercise.name}"' in path.read_text(encoding="utf-8"):
            return paths.shown(path)
    return _files(row)


def _lesson_faults(row: Row, lesson: Lesson) -> Iterator[str]:
    names = {exercise.name for exercise in row.exercises}
    yield from lessons.faults(lesson, row.key, names, set(row.question_by_name))
    for key in _unlisted(row, lesson.meta.get("methods", [])):
        yield f"{paths.shown(lesson.path)}: the method {key!r} is not in book/methods.csv; correct the key"
    for cell in lesson.cells:
        if cell.kind == "show":
            for name in cell.names:
                try:
                    text = row.source(name)
                except RowError as error:
                    yield f"{lesson.where(cell)}: {error}"
                    continue
                if len(text.split("\n")) > DEFINITION_LINES:
                    yield f"{lesson.where(cell)}: {name} has more than {DEFINITION_LINES} lines; split it"
    core = [row.exercise_by_name[name] for name in lesson.named("exercise") if name in names]
    core = [exercise for exercise in core if exercise.core]
    minutes = sum(exercise.minutes for exercise in core)
    if len(core) > CORE_EXERCISES or minutes > CORE_MINUTES:
        yield (
            f"{paths.shown(lesson.path)}: {len(core)} core exercises of {minutes} minutes together; at most "
            f"{CORE_EXERCISES} and {CORE_MINUTES} minutes: make some of them extra (core=False)"
        )


def _unlisted(row: Row, keys: Iterable[str]) -> list[str]:
    """Return the keys that are in no list of methods; a chapter that has no methods there yet may name its own."""
    known, own = method_keys(), row.key + "/"
    listed = any(key.startswith(own) for key in known)
    return [key for key in keys if key not in known and (listed or not key.startswith(own))]


def _exercise_faults(row: Row, exercise: Exercise) -> Iterator[str]:
    name = exercise.name
    if len(exercise.misconceptions) < 3:
        yield f"{name} has {len(exercise.misconceptions)} misconceptions; declare at least 3"
    if len(exercise.alternatives) < 2:
        yield f"{name} has {len(exercise.alternatives)} alternatives; declare at least 2"
    if len(exercise.hints) != 3 or not all(hint.strip() for hint in exercise.hints):
        yield f"{name} needs three hints: a question back, a sketch, nearly code"
    if exercise.difficulty not in DIFFICULTIES:
        yield f"{name}: the difficulty is {exercise.difficulty!r}; write one of {', '.join(DIFFICULTIES)}"
    if not exercise.good_for.strip() or exercise.minutes <= 0:
        yield f"{name}: the card needs good_for and minutes"
    if not exercise.groups or any(points <= 0 for points in exercise.groups.values()):
        yield f"{name}: groups gives each group of cases its points, all above 0"
    variants = [variant.name for variant in (*exercise.misconceptions, *exercise.alternatives)]
    for twice in sorted({variant for variant in variants if variants.count(variant) > 1}):
        yield f"{name}: two variants are called {twice!r}; rename one"
    for misconception in exercise.misconceptions:
        if not misconception.hint.strip() or not misconception.source_of.strip():
            yield f"{name}: the misconception {misconception.name!r} needs its hint and source_of"
    for key in _unlisted(row, exercise.methods):
        yield f"{name}: the method {key!r} is not in book/methods.csv; correct the key"
    try:
        if any(name in lesson.named("exercise") for lesson in row.notebooks):
            yield from _source_faults(row, exercise)
        else:
            yield f"no lesson of {row.slug} asks for {name!r}; add a cell '# exercise: {name}', or remove the exercise"
        probes.text_of(exercise, row.source)
    except (RowError, source.SourceError) as error:
        yield str(error)


def _source_faults(row: Row, exercise: Exercise) -> Iterator[str]:
    lesson = row.notebook_of(exercise.name)
    yield from _use_faults(row, lesson, exercise)
    for name in exercise.defines:
        text = row.source(name)
        if faults := source.region_faults(text, name):
            yield from faults
            return  # slips and names are looked for in the region
        if ast.get_docstring(ast.parse(text).body[0]) is None:  # type: ignore[arg-type]
            yield f"{name} has no docstring; say what comes in and what comes out, with shapes"
    cell = row.reference(exercise)
    if len(cell.split("\n")) > DEFINITION_LINES and len(exercise.defines) == 1:
        yield f"{exercise.name}: the cell has {len(cell.split(chr(10)))} lines; {DEFINITION_LINES} are allowed"
    given = setup_names(row, lesson) | {name for used in exercise.uses for name in _defines(row, used)}
    texts = [("the solution", cell)]
    texts += [(f"the variant {variant.name!r}", variant.source()) for variant in exercise.alternatives]
    yield from slips.faults(exercise)
    for mistake in exercise.misconceptions:
        with contextlib.suppress(slips.SlipError):  # told by slips.faults
            texts.append((f"the variant {mistake.name!r}", mistake.source()))
    for what, text in texts:
        foreign = source.free_names(text) - given - set(exercise.defines)
        if foreign:
            yield (
                f"{exercise.name}: {what} uses {', '.join(sorted(foreign))}, neither from the set-up cell of "
                f"{paths.shown(lesson.path)} nor from `uses`; import it inside the function or declare it in uses"
            )


def _use_faults(row: Row, lesson: Lesson, exercise: Exercise) -> Iterator[str]:
    order = lesson.named("exercise")
    for used in exercise.uses:
        if used not in row.exercise_by_name:
            yield f"{exercise.name} uses {used!r}, which is no exercise of {row.slug}; correct `uses`"
        elif used not in order:
            yield f"{exercise.name} uses {used!r} of another notebook; a notebook stands alone: drop it from `uses`"
        elif order.index(used) > order.index(exercise.name):
            yield f"{exercise.name} uses {used!r}, which comes later in {paths.shown(lesson.path)}; swap them"
    for standin in exercise.standins:
        if standin.name not in exercise.uses:
            yield f"{exercise.name}: the stand-in {standin.name!r} stands for nothing in `uses`"


def _defines(row: Row, exercise: str) -> tuple[str, ...]:
    return row.exercise_by_name[exercise].defines if exercise in row.exercise_by_name else ()


def setup_names(row: Row, lesson: Lesson) -> set[str]:
    """Return the names that the set-up cells of a notebook bind."""
    return source.bound_names(setup_of(row, lesson))


def setup_of(row: Row, lesson: Lesson) -> str:
    """Return the text of the set-up cells of a notebook."""
    shown = {
        name: source.without_markers(row.source(name))
        for cell in lesson.cells
        if cell.kind == "show" and "setup" in cell.tags
        for name in cell.names
    }
    return lessons.setup_source(lesson, shown)


def _placed_twice(row: Row) -> Iterator[str]:
    for kind in ("exercise", "question", "show"):
        placed = [name for lesson in row.notebooks for name in lesson.named(kind)]
        for name in sorted({name for name in placed if placed.count(name) > 1}):
            yield f"chapters/{row.slug}: '# {kind}: {name}' stands twice; remove one"
    graded = {name for exercise in row.exercises for name in exercise.defines}
    for lesson in row.notebooks:
        for name in lesson.named("show"):
            if name in graded:
                yield f"{paths.shown(lesson.path)}: {name} is shown here and graded in this chapter; choose one"


def method_keys() -> frozenset[str]:
    return frozenset(row["key"] for row in method_rows())


def method_rows() -> list[dict[str, str]]:
    """Return the rows of book/methods.csv."""
    with paths.methods_table().open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))
