"""The attack suite graded as an ordinary class, once per isolation level."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import attack_class
import attack_suite
import pytest
from attack_class import Course, Graded, Handed, Line

from autograder.chapter import rows

SECONDS = 540  # of one level, on the slowest machine


@dataclass(frozen=True)
class Run:
    """One class graded at one level."""

    handed: list[Handed]
    graded: Graded
    lines: dict[str, Line]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    place = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in attack_class.variables(place).items():
            patch.setenv(name, value)
        yield attack_class.make_course(place)
        rows.forget(attack_class.SLUG)


@pytest.fixture(scope="module")
def run_at(attacked: Course) -> Callable[[str], Run]:
    """Return a function that grades the class at a level; each level is graded once."""

    @functools.cache
    def run(level: str) -> Run:
        attacks = [attack for attack in attack_suite.load() if attack.at(level)]
        handed = attack_class.hand_in(attacked, attacks, every=6)
        graded = attack_class.grade(attacked, level, workers=2, seconds=SECONDS)
        lines = {line.attack: line for line in attack_class.lines(handed, graded, level)}
        print(attack_class.table(level, list(lines.values()), attack_class.untouched(handed, graded), graded))
        return Run(handed, graded, lines)

    return run
