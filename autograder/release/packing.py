"""What travels with a notebook: the facts about each exercise and its check pack of public cases."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from autograder.base import cache, closure, paths
from autograder.chapter import content_version, row_checks, source
from autograder.chapter.extras import extras_of
from autograder.chapter.rows import Row, RowError
from autograder.declare import probes
from autograder.declare.exercise import Exercise
from dlcv_lab.checking.model import ExerciseInfo, Pack

PACK_CODE = (("autograder.release.judged_cases", "public_pack"), ("dlcv_lab.checking.packs", "save_pack"))


def info_of(row: Row, exercise: Exercise) -> ExerciseInfo:
    """Return what a student may know about an exercise.

    Raises:
        RowError: the row does not hold together (see `row_checks`).
    """
    lesson = row.notebook_of(exercise.name)
    reference = row.reference(exercise)
    try:
        probe = probes.text_of(exercise, row.source)
    except source.SourceError as error:
        raise RowError(f"{exercise.name}: {error}") from None
    return ExerciseInfo(
        chapter=row.key,
        name=exercise.name,
        notebook=lesson.stem,
        defines=exercise.defines,
        points=exercise.points,
        core=exercise.core,
        groups=dict(exercise.groups),
        minutes=exercise.minutes,
        difficulty=exercise.difficulty,
        good_for=exercise.good_for,
        uses=exercise.uses,
        hints=exercise.hints,
        stub=source.stub_of(reference),
        probe=probe,
        setup=row_checks.setup_of(row, lesson),
        standins={variant.name: variant.source() for variant in exercise.standins},
        forbid=exercise.forbid,
        limits=exercise.limits,
        keeps_inputs=exercise.keeps_inputs,
        exact_dtype=exercise.exact_dtype,
        picture=exercise.picture,
        returns=exercise.returns,
        version=content_version.version_of(row, exercise, probe),
    )


def infos_of(row: Row, notebook: str | None = None) -> list[ExerciseInfo]:
    """Return the facts about all exercises of a chapter, or of one of its notebooks, in the notebook's order."""
    return [
        info_of(row, row.exercise_by_name[name])
        for lesson in row.notebooks
        if notebook in (None, lesson.stem)
        for name in lesson.named("exercise")
    ]


def timeless(pack: Pack) -> Pack:
    """Drop how long the known mistakes took, so that the same exercise gives the same bytes."""
    answers = tuple(
        replace(wrong, outcomes=tuple(replace(outcome, seconds=0.0) for outcome in wrong.outcomes))
        for wrong in pack.misconceptions()
    )
    pairs = tuple(
        replace(pair, answer=[pair.answer(index) for index in range(len(pack.cases))].__getitem__)
        for pair in pack.pairs()
    )
    return replace(pack, misconceptions=lambda: answers, pairs=lambda: pairs)


def key_of(row: Row, info: ExerciseInfo) -> str:
    """Return the hash of all that the check pack of an exercise is made from."""
    exercise = row.exercise_by_name[info.name]
    modules = [closure.module_name(path) for path in row.exercise_files]
    makes = [*PACK_CODE, *closure.roots_of(exercise.cases, modules)]
    variants = (*exercise.alternatives, *exercise.misconceptions, *exercise.standins)
    runs = [info.setup, row.reference(exercise), *(variant.source() for variant in variants)]
    code = [*map(closure.code_of, runs), closure.of_text(*runs).key, closure.of_names(*makes).key]
    return cache.digest(repr(info), content_version.wording_of(exercise), *code)


def build_packs(row: Row, progress: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Write build/packs/<slug>/<name>.pack for every exercise and the chapter's table of contents.

    A pack is made again only where something changed that it is made from (see `key_of`).
    """
    from autograder.release.judged_cases import public_pack
    from dlcv_lab.checking.packs import save_pack

    home = paths.packs() / row.slug
    made = []
    versions: dict[str, str] = {}
    for info in infos_of(row):
        path = home / f"{info.name}.pack"
        key = key_of(row, info)
        if not cache.fetch("packs", key, path):
            progress(info.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_pack(timeless(public_pack(row.exercise_by_name[info.name], info)), path)
            cache.store("packs", key, path)
        made.append(path)
        versions[info.name] = info.version
    for stale in set(home.glob("*.pack")) - set(made):
        stale.unlink()
    contents = {
        "chapter": row.key,
        "slug": row.slug,
        "title": row.title,
        "extras": extras_of(row),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "version": cache.digest(*versions.values())[:16],
        "versions": versions,
        "notebooks": [
            {
                "stem": lesson.stem,
                "title": lesson.title,
                "minutes": lesson.minutes,
                "exercises": list(lesson.named("exercise")),
                "written": list(lesson.named("question")),
                "written_points": {name: row.question_by_name[name].points for name in lesson.named("question")},
            }
            for lesson in row.notebooks
        ],
    }
    cache.write(home / "chapter.json", (json.dumps(contents, indent=1, ensure_ascii=False) + "\n").encode())
    return [*made, home / "chapter.json"]
