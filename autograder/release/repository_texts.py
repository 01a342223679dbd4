"""The texts of a student repository: README, requirements, and what changed since the last release."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HEAD = (
    "# What changed\n\nWritten by each release. Your own notebooks are never changed: copy what you want from here.\n"
)

_README = """\
# Deep Learning for Computer Vision: the workbook

{edition}

## Start

Python 3.11 or newer, on Windows, macOS or Linux; no GPU needed. The grader reads your code with Python {python}.

```bash
python -m venv .venv
# Windows: .venv\\Scripts\\activate     macOS, Linux: source .venv/bin/activate
pip install -r requirements.txt
dlcv lab
```

On a machine without a GPU you can save some gigabytes by installing PyTorch's CPU build first; pytorch.org says how.

## Work

Each notebook explains, asks what you expect, lets you try, and has exercises. In a notebook:

- `check("name")` says at once whether a function is right, and if not, why.
- `hint("name")` gives three hints, one at a time. `stuck("name")` writes a text to paste in a forum.
- `submit("{first}")` runs the saved notebook as the grader will read it, on public cases. The grader draws other,
  secret cases of the same kinds. What you hand in, the way your course asks for it, are the `.ipynb` files of the
  chapter.

On the command line: `dlcv check --all` (all exercises, unofficial), `dlcv progress`, `dlcv next`. Everything works
offline.

## Chapters

{chapters}
"""

_CHECK = Path(__file__).parent / "workflows" / "check.yml"

_EDITIONS = {
    "course": "The course edition: solutions appear here when your instructor publishes them.",
    "self-study": 'The self-study edition: `show_solution("name")` opens after you have tried.',
}


def extras_in(contents: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands behind the package's name, such as "[diffusion,vl]", for all that the chapters need."""
    extras = sorted({extra for chapter in contents for extra in chapter.get("extras", ())})
    return f"[{','.join(extras)}]" if extras else ""


def texts(contents: Sequence[Mapping[str, Any]], edition: str, version: str) -> dict[str, str]:
    """Return file name -> text. `contents` are the chapter.json of all chapters in the repository."""
    lines = []
    for chapter in contents:
        lines.append(f"**{chapter['chapter'].removeprefix('ch').lstrip('0')} {chapter['title']}**\n")
        for notebook in chapter["notebooks"]:
            count = len(notebook["exercises"])
            exercises = f"{count} exercise{'' if count == 1 else 's'}"
            where = f"{chapter['slug']}/{notebook['stem']}.ipynb"
            lines.append(f"- [{notebook['title']}]({where}): {exercises}, about {notebook['minutes']} minutes")
        lines.append("")
    return {
        "README.md": _README.format(
            edition=_EDITIONS[edition],
            first=contents[0]["chapter"],
            chapters="\n".join(lines),
            python=contents[-1].get("python") or ".".join(platform.python_version_tuple()[:2]),
        ).rstrip()
        + "\n",
        "requirements.txt": f"--find-links wheels\ndlcv-lab{extras_in(contents)}=={version}\n",
        ".gitignore": ".venv/\n.ipynb_checkpoints/\n__pycache__/\n.dlcv/progress.json\n",
        ".dlcv/edition.json": json.dumps({"edition": edition}) + "\n",
        ".github/workflows/check.yml": _CHECK.read_text(encoding="utf-8"),
    }


def changes(stage: Path, to: Path, new: Mapping[str, str], old: Mapping[str, str], stale: Sequence[str]) -> list[str]:
    """Return one line per change that a student can notice, compared with the last release."""
    lines = []
    for name, digest in new.items():
        if not name.endswith(".ipynb") or old.get(name) == digest:
            continue
        if name not in old:
            lines.append(f"new: {name}")
        elif (to / name).exists():
            lines.append(f"changed: {name} ({_cells_changed(to / name, stage / name)})")
    packs = {
        name.split("/")[2] for name, digest in new.items() if name.endswith(".pack") and old.get(name, digest) != digest
    }
    lines += [f"checks updated: {slug}" for slug in sorted(packs)]
    opened = {name.split("/")[2] for name in new if name.startswith(".dlcv/solutions/") and name not in old}
    lines += [f"solutions: {slug}" for slug in sorted(opened)]
    lines += [f"removed: {name}" for name in stale if name.endswith(".ipynb")]
    if old and any(name.startswith("wheels/") and name not in old for name in new):
        lines.append("package updated: run `pip install -r requirements.txt` again")
    return lines


def _cells_changed(before: Path, after: Path) -> str:
    try:
        old, new = (
            {cell["id"]: "".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]}
            for path in (before, after)
        )
    except (ValueError, KeyError, TypeError):
        return "rewritten"
    named = [name for name in new if name.startswith("ch") and old.get(name) != new[name]]
    names = [name for name in named if not name.endswith("-card")]
    gone = [
        name for name in old if name.startswith("ch") and name not in new and not name.endswith(("-card", "-check"))
    ]
    parts = [f"exercises: {', '.join(names)}"] if names else []
    parts += [f"dropped: {', '.join(gone)}"] if gone else []
    texts_differ = {text for name, text in old.items() if not name.startswith("ch")} != {
        text for name, text in new.items() if not name.startswith("ch")
    }
    return "; ".join(parts + (["text"] if texts_differ else [])) or "cards"


def add_changes(path: Path, lines: Sequence[str], day: str) -> None:
    """Put an entry on top of CHANGES.md; older entries stay."""
    older = path.read_text(encoding="utf-8").removeprefix(_HEAD).lstrip("\n") if path.exists() else ""
    entry = f"## {day}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{_HEAD}\n{entry}" + (f"\n{older}" if older else ""), encoding="utf-8")
