"""The shell lines of this repository's workflows, run on this machine with cheap stand-ins.

`make` is run dry, `pip install` needs its files to exist, `sudo` and `gh auth` do nothing.
"""

from __future__ import annotations

import pytest
from workflow_tools import OURS, Place, Step, steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("runner"))


QUICK = [each for path in OURS for each in steps(path) if each.name not in ("prepare", "walk", "install")]


@pytest.mark.parametrize("each", QUICK, ids=lambda each: f"{each.workflow}-{each.job}-{each.name}")
def test_a_step_of_this_repository_runs(place: Place, each: Step):
    place.run(each, place.checkout)
