"""The attacks as data: what each tries, what must happen, and the submission it makes.

Every file below `fixtures/` is one attack. Its docstring says what it tries and has these lines:

    class: denial                  one of the classes of docs/threats.md
    verdicts: TO SG                what the exercise may get (code and files)
    form: code                     code (default), notebook, file or folder: see below
    counts as: integrity           or `rules`: an operation that the exercise forbids
    safe: yes                      may run without any isolation
    open at: uid none              levels at which it is known to succeed
    student: NAME                  hand it in under this name

A `code` attack is the text of the solution cell of `box_blur(x, k)`; it may call `wrong(x, k)`, an answer of the right
shape and without value, and what follows a line `# cell: NAME` belongs into another exercise's cell. A `notebook`
attack has `change(cells)`, a `file` attack `raw(honest)`, a `folder` attack `place(folder, notebook)`.

Nothing here knows our grader: `notebook(attack, release)` fills any notebook that has a cell with `def box_blur(`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "fixtures"
WRONG = (
    "def wrong(x, k):\n"
    "    return torch.zeros(max(0, x.shape[0] - k + 1), max(0, x.shape[1] - k + 1), dtype=x.dtype)\n\n\n"
)
WRONG_ANSWERS = {
    "box_blur": f"{WRONG}def box_blur(x, k):\n    return wrong(x, k)\n",
    "unsharp": "def unsharp(x, *, amount=1.0):\n    return 0 * x[1:-1, 1:-1]\n",
}
FORMS = ("code", "notebook", "file", "folder")


@dataclass(frozen=True)
class Attack:
    """One attack, as its file describes it."""

    name: str  # "denial/loop"
    kind: str  # its class
    tries: str
    form: str
    verdicts: tuple[str, ...]
    counts_as: str
    safe: bool
    open_at: tuple[str, ...]
    student: str
    text: str  # of the file, below its docstring

    def at(self, level: str) -> bool:
        """Tell whether it may be run at an isolation level: without isolation only what cannot hurt the machine."""
        return self.safe or level != "none"


def load() -> list[Attack]:
    """Return all attacks, sorted by name."""
    return [_read(path) for path in sorted(FIXTURES.glob("*/*.py"))]


def _read(path: Path) -> Attack:
    _, head, text = path.read_text(encoding="utf-8").split('"""', 2)
    tries, _, rest = head.partition("\n\n")
    facts = dict(re.findall(r"^([a-z ]+): (.*)$", rest, re.MULTILINE))
    form = facts.get("form", "code")
    if form not in FORMS or "class" not in facts:
        raise ValueError(f"{path}: name the class, and a form of {', '.join(FORMS)}")
    return Attack(
        name=f"{path.parent.name}/{path.stem}",
        kind=facts["class"],
        tries=tries,
        form=form,
        verdicts=tuple(facts.get("verdicts", "").split()),
        counts_as=facts.get("counts as", "integrity"),
        safe=facts.get("safe") == "yes",
        open_at=tuple(facts.get("open at", "").split()),
        student=facts.get("student", ""),
        text=text.strip("\n") + "\n",
    )


def manifest() -> list[dict[str, Any]]:
    """Return what another program needs to know about each attack."""
    return [{key: value for key, value in asdict(attack).items() if key != "text"} for attack in load()]


def cells_of(attack: Attack, values: Mapping[str, Iterable[str]] | None = None) -> dict[str, str]:
    """Return {function: text of its solution cell}; `values` fill @WANTED@ and @COURSE@ with lists of paths."""
    if attack.form != "code":
        return dict(WRONG_ANSWERS)
    text = attack.text
    for name in ("WANTED", "COURSE"):
        text = text.replace(f"@{name}@", repr([str(path) for path in (values or {}).get(name, ())]))
    first, *others = re.split(r"^# cell: (\w+)\n", text, flags=re.MULTILINE)
    return {"box_blur": WRONG + first} | dict(zip(others[::2], others[1::2]))


def notebook(
    attack: Attack,
    release: Mapping[str, Any],
    values: Mapping[str, Iterable[str]] | None = None,
    answers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the attack as a notebook: the released one, its solution cells filled in, and changed where it says so.

    Args:
        attack: of any form; a folder attack gives the notebook that it then hides or surrounds.
        release: notebook JSON in which the cell that defines a function is its solution cell.
        values: see `cells_of`.
        answers: hand in these cells instead, to see that a trick takes nothing from a right answer.
    """
    filled: dict[str, Any] = json.loads(json.dumps(release))
    for function, text in (answers or cells_of(attack, values)).items():
        for cell in filled["cells"]:
            if cell["cell_type"] == "code" and f"def {function}(" in "".join(cell["source"]):
                cell["source"] = text
    if attack.form == "notebook":
        _function(attack, "change")(filled["cells"])
    raw = json.dumps(filled).encode()
    return _function(attack, "raw")(raw) if attack.form == "file" else raw


def arrange(attack: Attack, folder: Path, path: Path) -> None:
    """Do what a folder attack does around its notebook, which lies in the student's folder already."""
    if attack.form == "folder":
        _function(attack, "place")(folder, path)


def _function(attack: Attack, name: str) -> Callable[..., Any]:
    scope: dict[str, Any] = {}
    exec(compile(attack.text, attack.name, "exec"), scope)
    return scope[name]
