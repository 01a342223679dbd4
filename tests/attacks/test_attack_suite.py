"""What students may try, graded as an ordinary class at every level: no point, no leak, nobody else touched."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import attack_class
import attack_suite
import psutil
import pytest
from attack_class import Course

from autograder.grade.marking import Marker

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

ATTACKS = attack_suite.load()
CLASSES = {
    "lying values", "patched judge", "notebook tricks", "peeking", "forging", "denial", "memory of the past",
    "against the reader",
}  # fmt: skip
LEVELS = [attack_class.best()]
LOWER = attack_class.reachable()[1:]  # a sample; all of it: benches/bench_attacks.py
TRIED = [(level, attack) for level in LEVELS for attack in ATTACKS if attack.at(level)]


def names(value: object) -> str:
    return value.name if isinstance(value, attack_suite.Attack) else str(value)


@pytest.mark.parametrize(("level", "attack"), TRIED, ids=names)
def test_gains_nothing_and_sees_nothing(level: str, attack: attack_suite.Attack, run_at: Callable) -> None:
    line = run_at(level).lines[attack.name]
    assert not line.known_open or attack.counts_as == "rules", "the best level stops every attack on integrity"
    assert not line.leaked, line
    assert line.as_expected, line
    if attack.counts_as == "integrity":
        assert line.gained == 0, line


def sample(level: str) -> list[attack_suite.Attack]:
    """Return the first attack of each class that a level is meant to stop."""
    chosen: dict[str, attack_suite.Attack] = {}
    for attack in ATTACKS:
        meant = attack.counts_as == "integrity" and attack.at(level) and level not in attack.open_at
        if meant and attack.form == "code" and attack.verdicts:
            chosen.setdefault(attack.kind, attack)
    return list(chosen.values())


@pytest.mark.parametrize(("level", "attack"), [(level, one) for level in LOWER for one in sample(level)], ids=names)
def test_a_lower_level_stops_what_it_is_meant_to(
    level: str, attack: attack_suite.Attack, marker_at: Callable[[str], Marker], attacked: Course
) -> None:
    raw = attack_suite.notebook(attack, attacked.release, attacked.values())
    results = marker_at(level).mark_notebook("mallory", attack_class.STEM, raw)
    assert sum(result.score for result in results) == 0, results
    assert str(results[0].verdict) in attack.verdicts, results
    assert not any(attack_class.leaked(result.message) for result in results), results


@pytest.mark.parametrize("level", LOWER)
def test_a_lower_level_goes_on_with_honest_work(
    level: str, marker_at: Callable[[str], Marker], attacked: Course
) -> None:
    honest = attack_suite.notebook(sample(level)[0], attacked.release, answers=attacked.honest)
    results = marker_at(level).mark_notebook("alice", attack_class.STEM, honest)
    assert {str(result.verdict) for result in results} == {"OK"}, results


@pytest.fixture(scope="module")
def marker_at(attacked: Course) -> Iterator[Callable[[str], Marker]]:
    with ExitStack() as stack:
        yield functools.cache(
            lambda level: stack.enter_context(Marker(attack_class.SLUG, b"a secret of the tests", level))
        )


@pytest.mark.parametrize("level", LEVELS)
def test_nobody_else_is_touched_and_the_run_goes_on(level: str, run_at: Callable) -> None:
    run = run_at(level)
    assert not run.graded.aborted, run.graded.said
    assert set(run.graded.students) == {item.student for item in run.handed}
    assert attack_class.untouched(run.handed, run.graded) == []
    verdicts = {e["verdict"] for item in run.graded.students.values() for e in item["exercises"]}
    assert "XX" not in verdicts
    assert "s3cret" not in run.graded.said


def test_the_class_of_attacks_gets_a_table(run_at: Callable) -> None:
    run = run_at(attack_class.best())
    assert "honest" in run.graded.said
    assert not {"\x1b", "\x07", "\u202e", "\u2066"} & set(run.graded.said)
    isolation = {item["isolation"] for item in run.graded.students.values()}
    assert isolation <= {attack_class.best(), f"{attack_class.best()} (cold)"}


def test_the_suite_covers_every_class() -> None:
    integrity = [attack for attack in ATTACKS if attack.counts_as == "integrity"]
    assert {attack.kind for attack in integrity} == CLASSES
    assert len(integrity) >= 45
    assert len(ATTACKS) - len(integrity) >= 5
    assert all(attack.tries and (attack.verdicts or attack.form == "notebook") for attack in ATTACKS)
    assert {attack.name for attack in ATTACKS} == {item["name"] for item in attack_suite.manifest()}


@pytest.fixture(scope="module")
def marker(attacked: Course) -> Iterator[Marker]:
    with Marker(attack_class.SLUG, b"a secret of the tests", attack_class.best()) as made:
        made.mark_notebook("warm", attack_class.STEM, b"")
        yield made


STAYING = ("outlives", "fork_bomb", "threads", "kill_all", "memory_in_children", "sleep", "later_values")


@pytest.mark.parametrize("name", STAYING)
def test_no_process_is_left_behind(name: str, marker: Marker, attacked: Course) -> None:
    before = below(marker)
    attack = next(attack for attack in ATTACKS if attack.name.endswith(f"/{name}"))
    marker.mark_notebook("mallory", attack_class.STEM, attack_suite.notebook(attack, attacked.release))
    end = time.monotonic() + 60
    while below(marker) != before and time.monotonic() < end:
        time.sleep(0.1)
    assert below(marker) == before


def below(marker: Marker) -> set[int]:
    """Return the living processes of the marker's sandbox."""
    process = marker.runner._process
    assert process is not None
    found = set()
    for one in psutil.Process(process.pid).children(recursive=True):
        try:
            if one.status() != psutil.STATUS_ZOMBIE and one.pid != os.getpid():
                found.add(one.pid)
        except psutil.NoSuchProcess:
            continue
    return found
