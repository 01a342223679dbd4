"""How an author declares an exercise. One dataclass of values per exercise; see docs/authoring.md.

Variants (misconceptions, alternatives, stand-ins) are ordinary functions or classes of the exercise module whose name
is the name they stand for, two underscores and a word: `conv2d__ignores_stride` stands for `conv2d`. They may use what
the lesson's set-up cell imports and the exercises named in `uses`, and nothing else: their source travels the same way
as a student's.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from dlcv_lab.checking.model import Case, Forbid, Limits

if TYPE_CHECKING:
    from autograder.declare.draws import Draws

Cases = Callable[["Draws"], list[Case]]
Probe = Callable[[Any, dict[str, Any]], Any] | str  # a name is called with the case's data
Oracle = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A replacement of one or more names of the reference by other code."""

    name: str
    code: tuple[Callable[..., Any] | type, ...]

    def source(self) -> str:
        """Return the code as a student would have written it: every `f__word` renamed to `f`."""
        text = "\n\n".join(textwrap.dedent(inspect.getsource(part)).rstrip() for part in self.code)
        for part in self.code:
            text = re.sub(rf"\b{re.escape(part.__name__)}\b", part.__name__.split("__")[0], text)
        return text + "\n"

    def on(self, parts: Mapping[str, str]) -> Self:
        """Return this variant of the solution whose definitions are `parts`, by name: `load_row` asks for it.

        A function stands for itself; a slip (`autograder.declare.slips`) is a patch of that text.
        """
        return self


@dataclass(frozen=True, kw_only=True)
class Alternative(Variant):
    """A right solution that works differently."""


def alternative(*code: Callable[..., Any] | type, name: str = "") -> Alternative:
    """Return a right solution made of functions or classes, named after the first: `f__word` is "word"."""
    return Alternative(name=name or code[0].__name__.split("__")[1], code=code)


@dataclass(frozen=True, kw_only=True)
class Misconception(Variant):
    """A wrong solution that people write, with the sentence that helps and where the mistake is known from."""

    hint: str
    source_of: str  # "card trap", "library difference: scipy.signal.convolve2d", "student mistake: ..."


def mistaken(
    variant: Callable[..., Any] | type, hint: str, source_of: str, *helpers: Callable[..., Any] | type, name: str = ""
) -> Misconception:
    """Return a misconception named after its function or class, `f__word` as "word"; `helpers` are code it uses."""
    name = name or variant.__name__.split("__")[1]
    return Misconception(name=name, code=(*helpers, variant), hint=hint, source_of=source_of)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise: one solution cell, one check, one line in the gradebook.

    `cases(d)` draws the secret cases, by the methods of `d` (autograder.declare.draws); every draw must contain, for
    each misconception, a case on which it differs from the reference by at least ten tolerances.

    `probe(ns, data)` calls the student's names (attributes of `ns`) on one case and returns plain data; its source text
    is shipped, so it may use only its arguments, its own imports, the prelude (`torch`, `F`, `nn`, `math`, `probing`)
    and what is marked `shipped`. A name in its place is called with the case's data, and that of the exercise is the
    default. A mapping gives groups of points probes of their own; a case may name another by `ask`.

    `oracle(data)` answers a case by other means than the reference, such as a library's function: see
    autograder.declare.oracle.
    """

    name: str
    methods: tuple[str, ...]  # keys of methods.csv
    groups: dict[str, float]  # group of cases -> points
    cases: Cases
    probe: Probe | Mapping[str, Probe] = ""
    oracle: Oracle | Mapping[str, Oracle] | None = None
    alternatives: tuple[Alternative, ...]
    misconceptions: tuple[Misconception, ...]
    hints: tuple[str, str, str]  # a question back, a sketch, nearly code
    good_for: str
    minutes: int
    difficulty: str = "medium"
    core: bool = False
    defines: tuple[str, ...] = ()  # default: (name,)
    returns: tuple[str, ...] = ()  # what the text calls the parts of a tuple that a mere call returns: ("dx", "dw")
    uses: tuple[str, ...] = ()
    standins: tuple[Variant, ...] = ()  # one per used exercise, `name` = the used exercise
    forbid: Forbid = field(default_factory=Forbid)
    limits: Limits = field(default_factory=Limits)
    keeps_inputs: bool = True
    exact_dtype: bool = False
    picture: bool = False
    shrink: Callable[[Case], Iterable[Case]] | None = None  # simpler versions of a case, where the usual cuts fail

    def __post_init__(self) -> None:
        if not self.defines:
            object.__setattr__(self, "defines", (self.name,))
        if not self.probe:
            object.__setattr__(self, "probe", self.name)

    @property
    def points(self) -> float:
        return sum(self.groups.values())


@dataclass(frozen=True, kw_only=True)
class Question:
    """A written question, marked by hand."""

    name: str
    text: str  # markdown
    points: float
    rubric: str  # markdown, for the marker only
    samples: tuple[tuple[float, str], ...] = field(default_factory=tuple)  # (points, sample answer), three of them
