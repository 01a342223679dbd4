"""Buttons that open the *release* notebook of a lesson elsewhere: on Colab, Binder, or a JupyterHub.

The addresses lead into the student repository that `dlcv release` writes. What they need is said in `_config.yml`
(`sphinx: config: dlcv_book`) or, without editing the checkout, in the table `[book]` of a course's course.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import nbformat
import yaml
from nbformat.v4 import new_code_cell

from autograder.base import cache, paths
from autograder.chapter import book_plan

FIRST_CELL = "install"
_INSTALL = """\
# where dlcv_lab is missing (Colab, a fresh hub) this cell installs it; elsewhere it does nothing
import importlib.util, os
if importlib.util.find_spec("dlcv_lab") is None:
    wheel = "{wheel}"
    place = ".." if os.path.exists("../" + wheel) else "{address}"
    %pip install --quiet {{place}}/{{wheel}}{extras}"""


class LaunchError(Exception):
    """A setting that cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Places:
    """Where the notebooks and the whole book stand, as one course has it; empty texts leave things out."""

    published: str = ""  # address of the whole book, for links to chapters that a part of it lacks
    repository: str = ""  # https address of the student repository
    branch: str = "main"
    colab: bool = True  # works with GitHub only
    binder: str = "https://mybinder.org"
    hub: str = ""  # a JupyterHub with nbgitpuller

    @property
    def path(self) -> str:
        """Return "owner/name" of the repository."""
        return urlsplit(self.repository).path.strip("/").removesuffix(".git")

    @property
    def raw_files(self) -> str:
        """Return the address below which single files of the repository can be fetched; empty where that is unknown."""
        host = urlsplit(self.repository).netloc
        if host == "github.com":
            return f"https://raw.githubusercontent.com/{self.path}/{self.branch}"
        return f"https://{host}/{self.path}/-/raw/{self.branch}" if "gitlab" in host else ""


def read(course: Path | None = None) -> Places:
    """Return the settings of _config.yml, with those of a course's course.toml in their place.

    Raises:
        LaunchError: a file cannot be read, or a setting is unknown or of the wrong kind.
    """
    config = book_plan.book_folder().parent / "_config.yml"
    try:
        said = yaml.safe_load(config.read_text(encoding="utf-8"))["sphinx"]["config"].get("dlcv_book") or {}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise LaunchError(f"{paths.shown(config)} cannot be read: {type(error).__name__}: {error}") from error
    places = _checked(Places(), said, paths.shown(config))
    if course is None:
        return places
    settings = course / "course.toml"
    try:
        own = tomllib.loads(settings.read_text(encoding="utf-8")).get("book", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise LaunchError(f"{settings} cannot be read: {error}; `dlcv course init` makes a course") from error
    return _checked(places, own, str(settings))


def _checked(places: Places, said: dict[str, Any], where: str) -> Places:
    known = {field.name for field in fields(Places)}
    for name, value in said.items():
        if name not in known:
            raise LaunchError(f"{where}: the book has no setting {name!r}; it has {', '.join(sorted(known))}")
        if type(value) is not type(asdict(Places())[name]):
            raise LaunchError(f"{where}: {name} is {value!r}; write {'true or false' if name == 'colab' else 'a text'}")
        if name in ("published", "repository", "binder", "hub") and value and not value.startswith("https://"):
            raise LaunchError(f"{where}: {name} is {value!r}; write its whole address, beginning with https://")
    return replace(places, **said)


def addresses(places: Places, slug: str, notebook: str) -> dict[str, str]:
    """Return name of a place -> address that opens the release notebook there."""
    file = f"{slug}/{notebook}.ipynb"
    host, branch = urlsplit(places.repository).netloc, quote(places.branch, safe="")
    found: dict[str, str] = {}
    if not places.repository:
        return found
    if places.colab and host == "github.com":
        found["Colab"] = f"https://colab.research.google.com/github/{places.path}/blob/{places.branch}/{file}"
    if places.binder:
        source = f"gh/{places.path}" if host == "github.com" else f"git/{quote(places.repository, safe='')}"
        found["Binder"] = (
            f"{places.binder.rstrip('/')}/v2/{source}/{branch}?urlpath={quote(f'lab/tree/{file}', safe='')}"
        )
    if places.hub:
        tree = f"lab/tree/{places.path.rsplit('/', 1)[-1]}/{file}"
        found["JupyterHub"] = (
            f"{places.hub.rstrip('/')}/hub/user-redirect/git-pull?repo={quote(places.repository, safe='')}"
            f"&branch={branch}&urlpath={quote(tree, safe='')}"
        )
    return found


def add_first_cells(repository: Path, chapters: Mapping[str, Sequence[str]], wheel: str, places: Places) -> None:
    """Let the release notebooks of some chapters install what is missing where a button opens them.

    Args:
        repository: the folder of the student repository.
        chapters: slug -> the package's extras that the chapter needs; only these notebooks are changed.
        wheel: path of the course's wheel inside the repository.
        places: nothing is changed where no repository is configured.
    """
    if not places.raw_files:
        return
    for slug, needed in chapters.items():
        extras = f' "dlcv-lab[{",".join(needed)}]"' if needed else ""
        text = _INSTALL.format(wheel=wheel, address=places.raw_files, extras=extras)
        for path in sorted((repository / slug).glob("*.ipynb")):
            nb = nbformat.read(path, as_version=4)
            first = next(index for index, cell in enumerate(nb.cells) if cell.cell_type == "code")
            nb.cells.insert(first, new_code_cell(text, id=FIRST_CELL))
            cache.write(path, (nbformat.writes(nb, version=4) + "\n").encode())
