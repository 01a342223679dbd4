"""Known mistakes as slips of the reference: which piece of the solution's own text is replaced by what.

A slip cannot drift from the solution as a copy does: every piece must stand exactly once in the solution regions of
what the exercise defines, and a row whose slip no longer applies is refused (`faults`). Slips compose (`combined`).
"""

from __future__ import annotations

import ast
import difflib
import io
import re
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, pairwise

from autograder.declare.exercise import Exercise, Misconception
from autograder.declare.text import BEGIN, END, Definition


class SlipError(ValueError):
    """A slip that does not fit its solution; the message says which piece, and what to do."""


@dataclass(frozen=True)
class Piece:
    """One replacement: the text `old`, inside a function, method or class where one is named, becomes `new`."""

    old: str
    new: str
    inside: str = ""


@dataclass(frozen=True, kw_only=True)
class Slip(Misconception):
    """A wrong solution that is the reference with other pieces. Make one by `slip`.

    `parts` holds the definitions of the exercise (name, text with region markers); `load_row` fills it in.
    """

    code: tuple[()] = ()
    pieces: tuple[Piece, ...]
    parts: tuple[tuple[str, str], ...] = ()

    def on(self, parts: Mapping[str, str]) -> Slip:
        """Return this slip of the solution whose definitions are `parts`, by name."""
        return replace(self, parts=tuple(parts.items()))

    def source(self) -> str:
        """Return the definitions that the slip changes, without comments, as a student would have written them.

        Raises:
            SlipError: a piece does not stand exactly once in the solution regions, or two pieces overlap.
        """
        edits = [(piece, *self._place(piece)) for piece in self.pieces]
        changed = []
        for part in self.own_parts():
            own = sorted((start, stop, new) for _, where, start, stop, new in edits if where.name == part.name)
            if any(before[1] > after[0] for before, after in pairwise(own)):
                raise SlipError(f"{self._called()} two of its pieces overlap; write them as one piece")
            text = part.text
            for start, stop, new in reversed(own):
                text = text[:start] + new + text[stop:]
            changed += [text] if own else []
        return "\n\n\n".join(changed) + "\n"

    def tree(self) -> str:
        """Return the syntax tree of the whole changed solution, as text.

        Raises:
            SlipError: as `source`, or what it makes is no Python.
        """
        text = self.source()
        try:
            own = {node.name: ast.dump(node) for node in ast.parse(text).body if isinstance(node, Definition)}
        except SyntaxError as error:
            line = text.splitlines()[(error.lineno or 1) - 1].strip()
            raise SlipError(
                f"{self._called()} it makes no valid Python ({error.msg}: {line!r}); mend the replacement "
                "(a block that loses its only line needs `pass`)"
            ) from None
        return "\n".join(own.get(part.name, part.tree) for part in self.own_parts())

    def own_parts(self) -> tuple[Part, ...]:
        """Return the definitions that the slip is a patch of.

        Raises:
            SlipError: no row has bound it to a solution.
        """
        if not self.parts:
            raise SlipError(f"{self._called()} it has no solution yet; take its exercise from load_row(...)")
        return tuple(part_of(name, text) for name, text in self.parts)

    def places(self) -> set[str]:
        """Return the names of the definitions that it changes."""
        return {self._place(piece)[0].name for piece in self.pieces}

    def _called(self) -> str:
        return f"the slip {self.name!r}:"

    def _place(self, piece: Piece) -> tuple[Part, int, int, str]:
        """Find the one place of a piece; return the definition, start and stop in its text, and what comes there."""
        places = [(part, *place) for part in self.own_parts() for place in part.places(piece)]
        whole = [place for place in places if place[3]]
        if len(places) > 1 and len(whole) == 1:
            places = whole
        where = f"inside {piece.inside}" if piece.inside else f"of {', '.join(part.name for part in self.own_parts())}"
        if len(places) > 1:
            raise SlipError(
                f"{self._called()} the piece {piece.old!r} stands {len(places)} times in the solution regions {where}; "
                "write more of its line or lines, or (function, piece) to say in which function or method"
            )
        if not places:
            raise SlipError(
                f"{self._called()} the piece {piece.old!r} does not stand in the solution regions {where}"
                f"{self._near(piece)}; copy it from the solution as it is now, without comments"
            )
        part, start, stop, whole_lines = places[0]
        before = part.text.rfind("\n", 0, start) + 1
        if not piece.new and whole_lines:
            return part, before, min(stop + 1, len(part.text)), ""
        return part, start, stop, piece.new.replace("\n", "\n" + _indent(part.text[before:]))

    def _near(self, piece: Piece) -> str:
        lines = [line.strip() for part in self.own_parts() for line in part.region_text().split("\n")]
        near = difflib.get_close_matches(piece.old.split("\n")[0], lines, n=1, cutoff=0.4)
        return f" (near it: {near[0]!r})" if near else ""


def slip(name: str, pieces: Mapping[str | tuple[str, str], str], hint: str, source_of: str) -> Slip:
    """Declare a known mistake as a patch of the solution's own text.

    Args:
        name: a word or two, as in `ignores_stride`.
        pieces: piece of the solution -> its replacement. A piece is a part of a line, a line, or lines; the first line
            is written without its indentation, the others relative to it. Comments and blank lines of the solution do
            not count. It must stand once in the solution regions: as a key, `("merge", "self.scaling")` looks inside
            `merge` only, and a piece that fills its lines means that line. The replacement "" of whole lines removes
            them.
        hint: the sentence that helps.
        source_of: where the mistake is known from.
    """
    places = [((key, "") if isinstance(key, str) else (key[1], key[0]), new) for key, new in pieces.items()]
    found = tuple(Piece(_tidy(old), _tidy(new), inside) for (old, inside), new in places)
    return Slip(name=name, pieces=found, hint=hint, source_of=source_of)


def combined(first: Slip, second: Slip) -> Slip | None:
    """Return both slips at once, or None where their pieces overlap or the two make no valid Python together."""
    both = Slip(
        name=f"{first.name}+{second.name}",
        pieces=first.pieces + second.pieces,
        hint=f"{first.hint} {second.hint}",
        source_of=f"{first.source_of}; {second.source_of}",
        parts=first.parts,
    )
    try:
        both.tree()
    except SlipError:
        return None
    return both


def pairs(exercise: Exercise) -> Iterator[tuple[int, int, Slip]]:
    """Yield every two slips of an exercise that compose, by their places among its misconceptions, and both at once.

    Left out are slips that share a sentence, twos that make a single slip or the reference, and exercises whose
    solution has a `while`: two changes of it may never end, and this runs in the grader's own process.
    """
    slips = [(place, one) for place, one in enumerate(exercise.misconceptions) if isinstance(one, Slip)]
    if not slips or any("while " in part.region_text() for part in slips[0][1].own_parts()):
        return
    known = {one.tree() for _, one in slips} | {"\n".join(part.tree for part in slips[0][1].own_parts())}
    for (first, one), (second, other) in combinations(slips, 2):
        both = combined(one, other) if one.hint.strip() != other.hint.strip() else None
        if both is not None and both.tree() not in known:
            yield first, second, both


def alike(changes: Sequence[Slip], most: int = 100) -> list[Slip]:
    """Return every two changes that say the same and act in different definitions, both at once; the first `most`.

    Who makes a mistake in one function of an exercise makes it in the others, too.
    """
    found: list[Slip] = []
    for first, second in combinations(changes, 2):
        if len(found) == most:
            break
        if first.hint == second.hint and first.places() != second.places():
            both = combined(first, second)
            if both is not None:
                found.append(replace(both, name=first.name, hint=first.hint))
    return found


def faults(exercise: Exercise) -> Iterator[str]:
    """Say which slips of an exercise do not apply, do not parse, equal another or equal the reference."""
    seen: dict[str, str] = {}
    for mistake in exercise.misconceptions:
        if not isinstance(mistake, Slip):
            continue
        try:
            tree = mistake.tree()
        except SlipError as error:
            yield f"{exercise.name}: {error}"
            continue
        if tree == "\n".join(part_of(*part).tree for part in mistake.parts):
            yield f"{exercise.name}: the slip {mistake.name!r}: it is the reference itself; change what it replaces"
        elif tree in seen:
            yield f"{exercise.name}: the slips {seen[tree]!r} and {mistake.name!r} make the same solution; drop one"
        seen.setdefault(tree, mistake.name)


def _tidy(text: str) -> str:
    """Return a piece without the blank lines and the indentation that a triple-quoted string brings along."""
    return textwrap.dedent(text).strip("\n")


@dataclass(frozen=True)
class Part:
    """One definition without comments: its text, and its regions as (start, stop, owner "LoRALinear.merge")."""

    name: str
    text: str
    regions: tuple[tuple[int, int, str], ...]
    tree: str

    def region_text(self) -> str:
        return "\n".join(self.text[start:stop] for start, stop, _ in self.regions)

    def places(self, piece: Piece) -> Iterator[tuple[int, int, bool]]:
        """Yield start and stop of every occurrence of a piece, and whether it fills its lines."""
        first, *rest = piece.old.split("\n")
        starts = (r"(?<!\w)" if re.match(r"\w", first) else "") + re.escape(first)  # not in the middle of a name
        for begin, end, owner in self.regions:
            if piece.inside and f".{piece.inside}." not in f".{owner}.":
                continue
            for match in re.finditer(starts, self.text):
                start = match.start()
                before = self.text.rfind("\n", 0, start) + 1
                wanted = "\n".join([first, *(_indent(self.text[before:]) + line for line in rest)])
                stop = start + len(wanted)
                if start < begin or stop > end or not self.text.startswith(wanted, start):
                    continue
                after = self.text[stop : stop + 1]
                if not (re.search(r"\w$", wanted) and re.match(r"\w", after)):
                    yield start, stop, not self.text[before:start].strip() and after in ("", "\n")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


@lru_cache(maxsize=1024)
def part_of(name: str, source: str) -> Part:
    """Return a definition as slips see it, from its text with region markers.

    Raises:
        SlipError: the markers do not come in pairs.
    """
    source = source.rstrip()
    lines: list[str | None] = list(source.split("\n"))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start[0] - 1, token.start[1]
        line = lines[row] if row < len(lines) else None
        if token.type == tokenize.COMMENT and line is not None and line.strip() not in (BEGIN, END):
            lines[row] = line[:column].rstrip()
        elif token.type == tokenize.NL and line is not None and not line.strip():
            lines[row] = None  # blank, or nothing but a comment
    marks = [line.strip() for line in lines if line is not None and line.strip() in (BEGIN, END)]
    if marks != [BEGIN, END] * (len(marks) // 2):
        raise SlipError(f"the markers of {name} do not come in pairs of {BEGIN!r} and {END!r}")
    kept: list[str] = []
    spans: list[tuple[int, int]] = []  # lines, stop excluded
    for line in lines:
        if line is None:
            continue
        if line.strip() == BEGIN:
            begin = len(kept)
        elif line.strip() == END:
            spans.append((begin, len(kept)))
        else:
            kept.append(line)
    text, starts = "\n".join(kept), [0]
    for line in kept:
        starts.append(starts[-1] + len(line) + 1)
    tree = ast.parse(text)
    regions = tuple((starts[first], starts[stop] - 1, _owner(tree, first + 1)) for first, stop in spans)
    return Part(name, text, regions, "\n".join(ast.dump(node) for node in tree.body))


def _owner(tree: ast.Module, line: int) -> str:
    """Return the dotted name of the innermost definition that holds a line."""
    names: list[str] = []
    body: Iterable[ast.AST] = tree.body
    while inner := next((n for n in body if isinstance(n, Definition) and _holds(n, line)), None):
        names.append(inner.name)
        body = inner.body
    return ".".join(names)


def _holds(node: Definition, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)
