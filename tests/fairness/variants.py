"""Generated right answers to a chapter's exercises: its reference and alternatives, each rewritten at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from rewriting import rewrite

from autograder.base import paths
from autograder.chapter import rows, source
from autograder.declare.exercise import Exercise
from autograder.grade.marking import Marker
from autograder.release import assemble, nbgrader_release, verify
from dlcv_lab.checking.model import ExerciseResult


@dataclass(frozen=True)
class Variant:
    """One right answer: of which exercise, from which text, and the text that is handed in."""

    exercise: str
    origin: str
    text: str


def origins(row: rows.Row, exercise: Exercise) -> dict[str, str]:
    """Return name -> text of the reference and of every alternative, each whole."""
    reference = {name: source.without_markers(row.source(name)) for name in exercise.defines}
    found = {"reference": "\n\n\n".join(reference.values())}
    for alternative in exercise.alternatives:
        text = alternative.source()
        left = [given for name, given in reference.items() if name not in source.bound_names(text)]
        found[alternative.name] = "\n\n\n".join([*left, text])
    return found


def generated(row: rows.Row, count: int, seed: int = 0) -> Iterator[Variant]:
    """Yield `count` variants, the exercises of the chapter in turn."""
    rng = random.Random(seed)
    for number in range(count):
        exercise = row.exercises[number % len(row.exercises)]
        name, text = rng.choice(sorted(origins(row, exercise).items()))
        yield Variant(exercise.name, name, rewrite(text, rng))


def released(row: rows.Row, place: Path) -> dict[str, nbformat.NotebookNode]:
    """Return the released notebooks of a chapter by name."""
    assemble.assemble(row, packs=False)
    made = nbgrader_release.generate(paths.source(row.slug), row.slug, place)
    return {path.stem: nbformat.read(path, as_version=4) for path in made}


def judged(
    marker: Marker, notebooks: dict[str, nbformat.NotebookNode], variants: list[Variant]
) -> Iterator[tuple[Variant, ExerciseResult]]:
    """Hand variants in, as many as fit into a notebook together, and yield what the grader says of each."""
    row = marker.row
    for start in range(0, len(variants), len(row.exercises)):
        batch = {variant.exercise: variant for variant in variants[start : start + len(row.exercises)]}
        texts = {name: variant.text for name, variant in batch.items()}
        for stem, notebook in notebooks.items():
            own = {info.name for info in marker.infos[stem]} & set(batch)
            if own:
                raw = assemble.to_bytes(verify.paste(notebook, row, texts))
                results = {result.name: result for result in marker.mark_notebook(f"student {start}", stem, raw)}
                yield from ((batch[name], results[name]) for name in sorted(own))
