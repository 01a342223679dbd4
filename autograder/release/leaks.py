"""What must never reach a student: solution bodies, case generators, code of known mistakes, the secret.

Code is compared as runs of Python tokens (12 of a solution; 24 of a case generator or variant, which are full of common
idioms), so that renamed files, other white space and comments hide nothing. What students are meant to see does not
count: stubs, probes, set-up, shown code, hints. Stand-ins travel veiled inside packs, where a search of files cannot
read them: `standin_leaks` opens them.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from autograder.chapter import content_version, row_checks, source
from autograder.chapter.rows import Row
from autograder.release import packing
from dlcv_lab.checking.wire import decode_pack

RUN, LONG_RUN = 12, 24

_TOKEN = re.compile(
    r"[rbfuRBFU]{0,2}(?:'''.*?'''|\"\"\".*?\"\"\")|[rbfuRBFU]{0,2}(?:'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\")"
    r"|\#[^\n]*|[A-Za-z_]\w*|\d[\w.]*|\*\*=?|//=?|->|:=|[<>=!+\-*/%@&|^]=|<<|>>|[^\w\s]",
    re.S,
)


@dataclass(frozen=True)
class Leak:
    """One finding: where it stands and what it is."""

    place: str
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.place} holds {self.what}: {self.text!r}; keep it out of what students get"


def tokens(text: str) -> list[str]:
    """Split code, or any text, into Python-like tokens; comments are dropped."""
    return [token for token in _TOKEN.findall(text) if not token.startswith("#")]


def runs(text: str, length: int = RUN) -> dict[tuple[str, ...], None]:
    """Return all runs of so many tokens of a text, in order."""
    found = tokens(text)
    return dict.fromkeys(tuple(found[index : index + length]) for index in range(len(found) - length + 1))


def body_text(text: str) -> str:
    """Return what stands in the solution regions of a definition, its docstrings aside."""
    parts, inside = [], False
    for line in text.split("\n"):
        if line.strip() in (source.BEGIN, source.END):
            inside = line.strip() == source.BEGIN
        elif inside:
            parts.append(line)
    return "\n".join(parts)


def without_docstrings(text: str) -> str:
    """Return code without the docstrings of its functions and classes."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, source.Definition) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            for index in range(first.lineno - 1, first.end_lineno or first.lineno):
                lines[index] = ""
    return "\n".join(lines)


def secrets_of(row: Row) -> dict[tuple[str, ...], str]:
    """Return run of tokens -> what it belongs to, for everything of a row that must stay inside."""
    found: dict[tuple[str, ...], str] = {}
    for exercise in row.exercises:
        for name in exercise.defines:
            found |= dict.fromkeys(runs(body_text(row.source(name))), f"the solution of {name}")
        texts = [(f"the case generator of {exercise.name}", content_version.cases_of(exercise.cases))]
        for variant in (*exercise.misconceptions, *exercise.alternatives):
            texts.append((f"the variant {variant.name} of {exercise.name}", without_docstrings(variant.source())))
        for what, text in texts:
            for run in runs(text, LONG_RUN):
                if not any(run[index : index + RUN] in found for index in range(LONG_RUN - RUN + 1)):
                    found.setdefault(run, what)  # a slip is the solution but for a piece, which is told already
    for text in public_texts(row):
        for length in (RUN, LONG_RUN):
            for run in runs(text, length):
                found.pop(run, None)
    return found


def public_texts(row: Row) -> Iterator[str]:
    """Yield the texts that students are meant to see."""
    for info in packing.infos_of(row):
        yield from (info.stub, without_docstrings(info.stub), info.probe, info.setup, *info.hints)
    for exercise in row.exercises:
        yield from (misconception.hint for misconception in exercise.misconceptions)
    for lesson in row.notebooks:
        yield row_checks.setup_of(row, lesson)
        for name in lesson.named("show"):
            yield source.without_markers(row.source(name))


def standin_leaks(rows: Iterable[Row]) -> list[Leak]:
    """Return the stand-ins that hold a solution of their own chapter or of one before it.

    A stand-in should wrap a symbol of a library. One that is written out, because no library has it, is found here and
    needs a reason; it is veiled in the pack like all others.

    Args:
        rows: chapters in the order of the course.
    """
    solved: dict[tuple[str, ...], str] = {}
    public: set[tuple[str, ...]] = set()
    found: dict[tuple[str, str], Leak] = {}
    for row in rows:
        for name in {name for exercise in row.exercises for name in exercise.defines}:
            solved |= dict.fromkeys(runs(body_text(row.source(name))), f"the solution of {name}")
        public |= {run for text in public_texts(row) for run in runs(text)}
        for info in packing.infos_of(row):
            for name, text in info.standins.items():
                place = f"{row.key}.{info.name}, stand-in for {name}"
                for run in runs(text):
                    if run in solved and run not in public:
                        found.setdefault((place, solved[run]), Leak(place, solved[run], " ".join(run)))
    return list(found.values())


def find_leaks(
    places: Iterable[Path], rows: Iterable[Row], *, secret: bytes = b"", skip: Iterable[Path] = ()
) -> list[Leak]:
    """Search folders, wheels and files for what must stay inside.

    Args:
        places: folders (searched through), wheels or files.
        rows: the chapters whose solutions, cases and variants are searched for.
        secret: the course's secret.
        skip: folders left out, such as a solution pack that is published on purpose.
    """
    forbidden: dict[tuple[str, ...], str] = {}
    for row in rows:
        forbidden |= secrets_of(row)
    needles = [form for form in (secret, secret.hex().encode(), base64.b64encode(secret)) if len(form) >= 16]
    left_out = [place.resolve() for place in skip]
    found: dict[tuple[str, str], Leak] = {}
    for place, name, raw in _files(places, left_out):
        for needle in needles:
            if needle in raw:
                found.setdefault((place + name, "secret"), Leak(place + name, "the course's secret", "..."))
        if re.match(r"(solutions|autograder)/", name):
            found.setdefault((place + name, "file"), Leak(place + name, "a file of the instructor's side", name))
        for text in texts_of(name, raw):
            for run in [*runs(text), *runs(text, LONG_RUN)]:
                if what := forbidden.get(run):
                    found.setdefault((place + name, what), Leak(place + name, what, " ".join(run)))
    return list(found.values())


def _files(places: Iterable[Path], left_out: list[Path]) -> Iterator[tuple[str, str, bytes]]:
    for place in places:
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            if any(path.resolve().is_relative_to(folder) for folder in left_out) or ".git" in path.parts:
                continue
            name = path.relative_to(place).as_posix() if place.is_dir() else path.name
            if path.suffix in (".whl", ".zip"):
                with zipfile.ZipFile(path) as archive:
                    for entry in archive.namelist():
                        yield f"{name}!", entry, archive.read(entry)
            else:
                yield "", name, path.read_bytes()


def texts_of(name: str, raw: bytes) -> Iterator[str]:
    """Yield the texts inside a file: cells and outputs of notebooks, the strings of a pack, else the file itself."""
    if name.endswith((".ipynb", ".json")):
        try:
            yield from _strings(json.loads(raw))
            return
        except ValueError:
            pass
    if name.endswith(".pack"):
        yield from _pack_strings(raw)
    if not name.endswith((".safetensors", ".png", ".webp", ".so")):
        yield raw.decode("utf-8", errors="ignore")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            if key == "source" and isinstance(part, list):
                yield "".join(map(str, part))
            else:
                yield from _strings(part)
    elif isinstance(value, list | tuple):
        if value and all(isinstance(part, str) for part in value):
            yield "\n".join(value)
        for part in value:
            yield from _strings(part)


def _pack_strings(raw: bytes) -> Iterator[str]:
    pack = decode_pack(raw)
    yield from _strings(asdict(pack.info) | {"standins": {}})  # veiled in the file: see `standin_leaks`
    yield from (case.note for case in pack.cases)
    yield from (answers.hint for answers in pack.misconceptions())
    yield from (change.clause for change in pack.near())
