"""A small chapter ch98 with packs, for tests of the verbs: `f` (core) and `g`, which uses `f`."""

import json
from pathlib import Path

import pytest
import torch
from small_packs import pack

from dlcv_lab.checking.model import Case
from dlcv_lab.checking.packs import save_pack

SLUG = "ch98_small"
F_STUB = 'def f(x, stride=1):\n    """Return every stride-th row of 2 x."""\n    raise NotImplementedError'
G_STUB = 'def g(x):\n    """Return the sum of f(x)."""\n    raise NotImplementedError'
X = torch.arange(12.0).reshape(6, 2)


def f(x, stride=1):
    return 2 * x[::stride]


def g(x):
    return f(x).sum(0)


@pytest.fixture(scope="session")
def packs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packs as a release carries it."""
    root = tmp_path_factory.mktemp("packs")
    cases = [Case("plain", {"x": X, "stride": 1}, "stride 1"), Case("stride", {"x": X, "stride": 2}, "stride 2")]
    wrong = [("ignores_stride", "Where does `stride` come in?", lambda x, stride: 2 * x)]
    setup = "import torch\nfrom dlcv_lab import check, hint, needs, predict, start\nstart('ch98')"
    first = pack(f, cases, wrong, chapter="ch98", name="f", setup=setup, stub=F_STUB)
    second = pack(
        g, [Case("plain", {"x": X}, "six rows")], chapter="ch98", name="g", defines=("g",), uses=("f",), setup=setup,
        stub=G_STUB, probe="def run(ns, data):\n    return ns.g(**data)\n", core=False,
        standins={"f": "def f(x, stride=1):\n    return torch.add(x, x)[::stride]\n"},
    )  # fmt: skip
    for made in (first, second):
        save_pack(made, root / SLUG / f"{made.info.name}.pack")
    notebook = {"stem": "lesson_1", "title": "Small", "minutes": 10, "exercises": ["f", "g"]}
    contents = {"chapter": "ch98", "slug": SLUG, "title": "Small", "version": "1", "notebooks": [notebook]}
    (root / SLUG / "chapter.json").write_text(json.dumps(contents))
    return root


@pytest.fixture
def course(packs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of a student, with the packs of ch98 in reach."""
    monkeypatch.setenv("DLCV_PACKS", str(packs_root))
    monkeypatch.delenv("DLCV_BOOK", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
