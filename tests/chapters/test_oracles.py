"""Every exercise that declares an oracle agrees with it: one test each, marked with the exercise's methods."""

from __future__ import annotations

from typing import Any

import pytest

from autograder.chapter import rows
from autograder.declare import oracle
from autograder.release import judged_cases, packing
from dlcv_lab.checking.execute import load_namespace, load_probe
from dlcv_lab.checking.model import Program

SEEDS = (b"oracle 0", b"oracle 1", b"oracle 2")
ASKED = [
    pytest.param(row, exercise, marks=pytest.mark.method(*exercise.methods), id=f"{row.key}.{exercise.name}")
    for row in map(rows.load_row, rows.slugs())
    for exercise in row.exercises
    if exercise.oracle is not None
]


@pytest.mark.parametrize(("row", "exercise"), ASKED)
def test_the_reference_agrees_with_its_oracle(row, exercise):
    info = packing.info_of(row, exercise)
    names, notes = load_namespace(Program(info.setup, (judged_cases.source_of(info),), attempted=True))
    assert not notes
    probe = load_probe(info.probe)

    def reference(data: dict[str, Any]) -> Any:
        return probe(names, data)

    for seed in SEEDS:
        assert oracle.compare_all(exercise, reference, judged_cases.draw(exercise, seed)).cases
