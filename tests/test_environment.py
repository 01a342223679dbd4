"""environment.yml, constraints.txt and the two pyproject files name the same packages."""

import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FIXED = "torch torchvision jupyter jupyter-book nbgrader matplotlib ipywidgets open-clip-torch diffusers pytest nbval"


def declared() -> dict[str, Requirement]:
    """Return every requirement of both projects, extras included, by name."""
    found = {}
    for path in (ROOT / "pyproject.toml", ROOT / "autograder" / "pyproject.toml"):
        project = tomllib.loads(path.read_text())["project"]
        lines = chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
        for requirement in map(Requirement, lines):
            found[canonicalize_name(requirement.name)] = requirement
    del found["dlcv-lab"]
    return found


def conda() -> dict[str, Requirement]:
    """Return the requirements that environment.yml hands to pip, by name."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    requirements = [Requirement(line) for line in lines if not line.startswith("-")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_conda_users_get_the_packages_of_both_projects():
    assert {name: str(r.specifier) for name, r in conda().items()} == {
        name: str(r.specifier) for name, r in declared().items()
    }


def test_conda_users_get_the_pinned_versions_and_both_halves():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert {"-c constraints.txt", "-e .", "-e ./autograder"} <= set(lines)


def test_the_packages_that_were_asked_for_are_declared():
    assert set(FIXED.split()) <= set(declared())


@pytest.mark.parametrize("name", sorted(declared()))
def test_every_declared_package_is_pinned_within_its_range(name):
    pin = pins()[name]
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    assert declared()[name].specifier.contains(specifier.version, prereleases=True)


def test_no_pin_names_a_registry_or_a_local_file():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if "://" in line or "@" in line or "+" in line] == []
