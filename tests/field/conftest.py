"""The small row of the attack suite, with check packs, for the corpus of notebooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "attacks"), str(TESTS / "fairness")]

import attack_class  # noqa: E402

from autograder.chapter import rows  # noqa: E402
from autograder.release import assemble  # noqa: E402


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[attack_class.Course]:
    place = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in attack_class.variables(place).items():
            patch.setenv(name, value)
        made = attack_class.make_course(place, quick=False)
        assemble.assemble(rows.load_row(attack_class.SLUG))
        rows.forget(attack_class.SLUG)
        yield made
        rows.forget(attack_class.SLUG)
