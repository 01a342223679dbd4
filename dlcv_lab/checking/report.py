"""How a verdict reads: the same words as text and as HTML, never by colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dlcv_lab.checking import compare
from dlcv_lab.checking.envelope import leaves
from dlcv_lab.checking.messages import as_html
from dlcv_lab.checking.model import CaseResult, ExerciseResult, MisconceptionAnswers, Outcome, Pack, Verdict

HEADLINES = {
    Verdict.OK: ("\N{CHECK MARK}", "right"),
    Verdict.PA: ("\N{CIRCLE WITH LEFT HALF BLACK}", "partly right"),
    Verdict.NA: ("\N{WHITE CIRCLE}", "not attempted yet"),
    Verdict.RE: ("\N{BALLOT X}", "raised an exception"),
    Verdict.TY: ("\N{BALLOT X}", "wrong type or shape"),
    Verdict.FO: ("\N{BALLOT X}", "uses what this exercise asks to do without"),
    Verdict.XX: ("?", "could not be judged"),
}
_WRONG = ("\N{BALLOT X}", "wrong")
_FRAMES = {Verdict.OK: "#1a7f5a", Verdict.NA: "#7a828e"}
_FEW = 4  # right cases that are listed one by one
_SMALL = 40  # numbers of a tensor that are printed out


@dataclass(frozen=True)
class CheckReport:
    """What `check` returns. It shows itself in a notebook; `verdict` and `result` are for programs."""

    pack: Pack
    result: ExerciseResult
    outcomes: tuple[Outcome, ...]
    stuck: bool = False
    sample: tuple[MisconceptionAnswers, ExerciseResult] | None = None

    @property
    def verdict(self) -> Verdict:
        return self.result.verdict

    def __bool__(self) -> bool:
        return self.result.verdict is Verdict.OK

    def __repr__(self) -> str:
        return "\n".join(text for _, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        """Return (kind, text) pairs: the one content behind both forms."""
        lines = [("head", self._head())]
        if self.result.message:
            lines.append(("message", self.result.message))
        if self.result.hint:
            lines.append(("hint", f"Likely cause: {self.result.hint}"))
        if self.verdict is not Verdict.NA:
            lines += [("case", text) for text in self._case_lines()]
        first = next((case for case in self.result.cases if case.verdict not in (Verdict.OK, Verdict.NA)), None)
        if first is not None:
            lines += [("detail", text) for text in self._detail(first)]
        lines += [("note", note) for note in self.result.notes]
        if self.stuck:
            lines += [("stuck", text) for text in self._smaller()]
        if self.sample is not None:
            wrong = self.sample[1]
            lines.append(
                ("sample", f"For comparison, what a wrong answer reads: {_sign(wrong)} {wrong.message} {wrong.hint}")
            )
        return lines

    def _head(self) -> str:
        name, verdict = self.result.name, self.result.verdict
        if verdict is Verdict.NA:
            return f"{_sign(self.result)}: {name}. Write it, run its cell, and run this cell again."
        right = sum(case.verdict is Verdict.OK for case in self.result.cases)
        return f"{_sign(self.result)}: {name}, {right} of {len(self.result.cases)} cases"

    def _case_lines(self) -> list[str]:
        """Return one line per case; many right ones are summed up in one."""
        right = [case for case in self.result.cases if case.verdict is Verdict.OK]
        wrong = [case for case in self.result.cases if case.verdict is not Verdict.OK]
        if len(right) <= _FEW:
            return [_case_line(case) for case in self.result.cases]
        groups = ", ".join(dict.fromkeys(case.group for case in right))
        close = "within tolerance" if any(case.max_difference for case in right) else "exact"
        return [f"{HEADLINES[Verdict.OK][0]} {len(right)} cases ({groups}) - {close}", *map(_case_line, wrong)]

    def _detail(self, case: CaseResult) -> list[str]:
        data = self.pack.cases[case.index].data
        given = ", ".join(f"{_argument(path)} = {_given(leaf)}" for path, leaf in leaves(data))
        return [
            f"In the case {_title(case)}:",
            f"  given     {given}",
            f"  came      {_said(self.outcomes[case.index])}",
            f"  expected  {self._expected(case.index)}",
        ]

    def _expected(self, index: int) -> str:
        return _said(self.pack.expected[index], compare.input_dtype(self.pack.cases[index]))

    def _smaller(self) -> list[str]:
        """Print the smallest case that fails with its numbers."""
        failing = [case.index for case in self.result.cases if case.verdict not in (Verdict.OK, Verdict.NA)]
        if not failing:
            return []
        index = min(failing, key=lambda i: sum(leaf.numel() for _, leaf in leaves(self.pack.cases[i].data)
                                               if isinstance(leaf, torch.Tensor)))  # fmt: skip
        lines = [f'The same again, three times. A smaller problem may help; hint("{self.result.name}") may too.']
        lines += [f"  {_argument(path)} = {_numbers(leaf)}" for path, leaf in leaves(self.pack.cases[index].data)]
        if self.pack.expected[index].status == "value":
            lines += [f"  expected{path} = {_numbers(leaf)}" for path, leaf in leaves(self.pack.expected[index].value)]
        if self.outcomes[index].status == "value":
            lines += [f"  yours{path} = {_numbers(leaf)}" for path, leaf in leaves(self.outcomes[index].value)]
        return lines

    def _repr_html_(self) -> str:
        colour = _FRAMES.get(self.result.verdict, "#b3541e")
        parts = []
        for kind, text in self._lines():
            escaped = as_html(text)
            if kind == "head":
                parts.append(f'<p style="margin:0 0 .3em"><strong>{escaped}</strong></p>')
            elif kind == "sample":
                parts.append(f"<details><summary>What a wrong answer reads</summary><p>{escaped}</p></details>")
            elif kind in ("case", "detail", "stuck"):
                parts.append(f'<div style="white-space:pre-wrap;font-family:monospace;font-size:.9em">{escaped}</div>')
            else:
                parts.append(f'<p style="margin:.3em 0">{escaped}</p>')
        style = f"border-left:4px solid {colour};padding:.4em .8em;margin:.4em 0"
        return f'<div class="dlcv-check" role="status" style="{style}">{"".join(parts)}{self._picture()}</div>'

    def _picture(self) -> str:
        """Return the picture "yours / expected" of the first failing case, where the answer is an image."""
        if not self.pack.info.picture:
            return ""
        for case in self.result.cases:
            mine, right = self.outcomes[case.index].value, self.pack.expected[case.index].value
            if case.verdict is Verdict.OK or not (_is_image(mine) and _is_image(right)):
                continue
            from dlcv_lab import show

            low, high = float(right.min()), float(right.max())
            alt = f"your answer beside the expected one, case {_title(case)}"
            pair = [_plane(mine), _plane(right)]
            picture = show.images(pair, titles=["yours", "expected"], vmin=low, vmax=high, alt=alt, display=False)
            return picture.html if picture is not None else ""
        return ""


def _sign(result: ExerciseResult) -> str:
    sign, word = HEADLINES.get(result.verdict, _WRONG)
    return f"{sign} {word}"


def _given(value: Any) -> str:
    """Write a number or a short text as itself, anything larger in words."""
    plain = value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _SMALL)
    return repr(value) if plain else compare.describe(value)


def _argument(path: str) -> str:
    """Write the path of an input as an argument: "['x']" is x."""
    return path.removeprefix("['").replace("']", "", 1) if path.startswith("['") else path


def _title(case: CaseResult) -> str:
    return f"'{case.note}' ({case.group})" if case.note else f"'{case.group}'"


def _case_line(case: CaseResult) -> str:
    sign = HEADLINES[Verdict.OK][0] if case.verdict is Verdict.OK else _WRONG[0]
    return (
        f"{sign} {case.group}: {case.note or 'case'} - {case.text}"
        if case.text
        else f"{sign} {case.group}: {case.note}"
    )


def _said(outcome: Outcome, dtype: torch.dtype | None = None) -> str:
    if outcome.status == "value":
        return _value(outcome.value, dtype)
    if outcome.status == "raised":
        where = f", at: {outcome.line}" if outcome.line else ""
        return f"{outcome.error}: {outcome.message}{where}" if outcome.message else f"{outcome.error}{where}"
    return outcome.message or outcome.status


def _value(value: Any, dtype: torch.dtype | None) -> str:
    if isinstance(value, list | tuple) and 0 < len(value) <= 4:
        return "(" + ", ".join(_value(item, dtype) for item in value) + ")"
    if isinstance(value, dict) and 0 < len(value) <= 4:  # what a probe gathered of several calls, by its names
        return ", ".join(f"{key} = {_value(item, dtype)}" for key, item in value.items())
    text = compare.describe(value, dtype)
    if isinstance(value, torch.Tensor) and 0 < value.numel() <= 6:
        text += f" {_numbers(value)}"
    return text


def _numbers(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        if value.numel() > _SMALL:
            return compare.describe(value)
        return str(torch.round(value, decimals=4).tolist() if value.is_floating_point() else value.tolist())
    return repr(value)


def _is_image(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.ndim in (2, 3, 4)
        and min(value.shape, default=0) > 0
        and bool(value.is_floating_point())
    )


def _plane(value: torch.Tensor) -> torch.Tensor:
    return value.reshape(-1, *value.shape[-2:])[0].float()
