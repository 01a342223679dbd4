"""Judge outcomes against a pack: the one place where verdicts and points are made, for `check` and the grader alike.

A case counts only where a well-formed value arrived and matched. What a process reports about itself (inputs changed,
forbidden operators) can only take away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from dlcv_lab.checking.compare import Comparison, compare, input_dtype
from dlcv_lab.checking.diagnosis.diagnose import NO_GRADIENT, VAGUE, diagnose, known_names, promises_numbers
from dlcv_lab.checking.diagnosis.judged_case import Evidence
from dlcv_lab.checking.explaining import known, known_in_part, known_pair, near
from dlcv_lab.checking.messages import input_name, say, spoken
from dlcv_lab.checking.model import CaseResult, Diagnosis, ExerciseResult, Outcome, Pack, Verdict

_ENDED = {
    "signal": Verdict.SG,
    "timeout": Verdict.TO,
    "memory": Verdict.ML,
    "output": Verdict.OL,
    "type": Verdict.TY,
    "fault": Verdict.XX,
    "missing": Verdict.RE,
}
_FIRST = (Verdict.XX, Verdict.SG, Verdict.ML, Verdict.TO, Verdict.OL, Verdict.FO)  # these name the whole exercise
_NO_ANSWER = Outcome("signal", message="no answer arrived")
_FACTS = re.compile(r"`[^`]+`|\([^()]*\)|\b\w+Error\b|\b(?:float|int|bool|complex)\d*\b|\b\d[\d.e+-]*\b")
_NO_GPU = re.compile(r"\bCUDA\b|NVIDIA driver", re.IGNORECASE)


def judge_outcomes(
    pack: Pack, outcomes: Sequence[Outcome], standin: tuple[Sequence[str], Sequence[Outcome]] | None = None
) -> ExerciseResult:
    """Judge the outcomes of one exercise.

    Args:
        pack: the exercise and its cases.
        outcomes: one per case, with the student's own functions. What is missing counts as no answer, more is ignored.
        standin: names that were replaced by stand-ins, and the outcomes with them; they count where they earn more,
            or where without them nothing but NotImplementedError of a used exercise was to be seen.

    Returns:
        The verdict, the points of every group whose cases are all right, a message of one or two sentences, and the
        likely cause as hint. Time, attempt and version are for the caller to add.
    """
    own = _judge(pack, outcomes)
    if standin is None or own.verdict in (Verdict.OK, Verdict.XX):
        return own
    names, given = standin
    lent = _judge(pack, given)
    tells_more = own.verdict is Verdict.NA and lent.verdict is not Verdict.NA
    if lent.verdict is Verdict.XX or (lent.score <= own.score and not tells_more):
        return own
    key = "standin" if lent.verdict is Verdict.OK else "standin_part" if lent.score else "standin_wrong"
    note = say(key, names=" and ".join(names))
    return replace(lent, notes=(*lent.notes, note))


def with_broken(result: ExerciseResult, used: Sequence[str]) -> ExerciseResult:
    """Say of a wrong result which exercises it uses that are not right, either."""
    if not used or result.verdict in (Verdict.OK, Verdict.NA, Verdict.XX):
        return result
    key = "uses_broken" if len(used) == 1 else "use_broken"
    return replace(result, notes=(*result.notes, say(key, names=" and ".join(f"`{name}`" for name in used))))


def _judge(pack: Pack, given: Sequence[Outcome]) -> ExerciseResult:
    count = len(pack.cases)
    outcomes = [*given[:count], *[_NO_ANSWER] * (count - len(given))]
    judged = [_judge_case(pack, index, outcome) for index, outcome in enumerate(outcomes)]
    cases = tuple(case for case, _ in judged)
    groups = pack.info.groups
    best = sum(groups.values())
    earned = sum(points for group, points in groups.items() if _earns(group, cases))
    verdict = _verdict(cases, earned, best)
    result = ExerciseResult(pack.info.name, verdict, earned, best, cases=cases, version=pack.info.version)
    if verdict is Verdict.XX:
        reason = next((outcome.message for outcome in outcomes if outcome.status == "fault"), "")
        return replace(result, score=0.0, message=say("fault", reason=reason).strip())
    if verdict is Verdict.NA:
        return replace(result, message=say("not_attempted"))
    cause = None if verdict is Verdict.OK else _cause(pack, outcomes, judged)
    hint = cause.text if cause else ""
    message = _message(cases, hint)
    return replace(result, message=message, hint=hint, diagnosis=cause)


def _earns(group: str, cases: Sequence[CaseResult]) -> bool:
    own = [case for case in cases if case.group == group]
    return bool(own) and all(case.verdict is Verdict.OK for case in own)


def _verdict(cases: Sequence[CaseResult], earned: float, best: float) -> Verdict:
    """Return the verdict of an exercise: what ended the process names it, else partly right, else the first failure."""
    failed = [case.verdict for case in cases if case.verdict is not Verdict.OK]
    if Verdict.XX in failed:
        return Verdict.XX
    if not failed:
        return Verdict.OK if cases and earned >= best else Verdict.PA if earned else Verdict.WA
    if 0 < earned < best:
        return Verdict.PA
    for verdict in _FIRST:
        if verdict in failed:
            return verdict
    if all(case.verdict is Verdict.NA for case in cases):
        return Verdict.NA
    return next((verdict for verdict in failed if verdict is not Verdict.NA), Verdict.WA)


def _judge_case(pack: Pack, index: int, outcome: Outcome) -> tuple[CaseResult, Comparison | None]:
    case, expected = pack.cases[index], pack.expected[index]
    comparison = None
    if outcome.status in _ENDED:
        verdict, text = _ENDED[outcome.status], say(f"case.{outcome.status}", message=outcome.message)
    elif expected.status == "raised":
        verdict, text = _judge_error(outcome, expected)
    elif outcome.status == "raised":
        verdict, text = _raised(outcome)
    else:
        comparison = compare(outcome.value, expected.value, pack.tolerances[index],
                             exact_dtype=pack.info.exact_dtype, dtype=input_dtype(case),
                             plain=promises_numbers(pack.info.stub))  # fmt: skip
        names = pack.info.returns
        if names and comparison.path.startswith("["):
            said_, named = (f"at {spoken(comparison.path, each)}" for each in ((), names))
            comparison = replace(comparison, text=comparison.text.replace(said_, named, 1))
        wrong = Verdict.TY if comparison.is_type else Verdict.WA
        verdict, text = (Verdict.OK if comparison.equal else wrong), comparison.text
    if verdict is Verdict.OK and outcome.mutated and pack.info.keeps_inputs:
        verdict, text = Verdict.WA, say("case.mutated", names=_inputs(pack, outcome))
    if outcome.forbidden and verdict in (Verdict.OK, Verdict.WA, Verdict.TY):
        verdict, text = Verdict.FO, say("case.forbidden", names=", ".join(outcome.forbidden))
    largest = comparison.max_difference if comparison else None
    return CaseResult(index, case.group, case.note, verdict, text, largest), comparison


def _inputs(pack: Pack, outcome: Outcome) -> str:
    """Return the inputs that were changed in place, by the names that the student knows."""
    names = known_names(pack.info.stub)
    return ", ".join(dict.fromkeys(input_name(path, names) for path in outcome.mutated))


def _judge_error(outcome: Outcome, expected: Outcome) -> tuple[Verdict, str]:
    """Judge a case that must raise. A stub's NotImplementedError is no RuntimeError here, though Python says so."""
    if outcome.status != "raised":
        return Verdict.WA, say("case.no_error", error=expected.error)
    names = {outcome.error, *outcome.error_bases} if not outcome.unwritten else {outcome.error}
    if expected.error in names:
        return Verdict.OK, say("case.raised_as_expected", error=expected.error)
    verdict, text = _raised(outcome)
    return verdict, text if verdict is Verdict.NA else f"{text}; {expected.error} is expected"


def _raised(outcome: Outcome) -> tuple[Verdict, str]:
    if outcome.unwritten:
        return Verdict.NA, say("case.not_attempted")
    if _NO_GPU.search(outcome.message):  # torch's own text speaks of drivers and processes
        return Verdict.RE, say("case.no_gpu", where=f" in the line `{outcome.line}`" if outcome.line else "")
    later = not outcome.line and any(text in outcome.message for text in NO_GRADIENT)
    return Verdict.RE, say("case.gradient" if later else "case.raised", error=said(outcome))


def said(outcome: Outcome) -> str:
    """Return an exception as one line: "ValueError: too large, in the line `y = f(x)`"."""
    first = outcome.message.strip().split("\n")[0][:240]
    text = f"{outcome.error}: {first}" if first else outcome.error
    return f"{text}, in the line `{outcome.line}`" if outcome.line else text


def _message(cases: Sequence[CaseResult], hint: str) -> str:
    """Return how many cases are right, and what came in the first that is not, unless the hint says that."""
    count, right = len(cases), sum(case.verdict is Verdict.OK for case in cases)
    if right == count:
        return say("one_right" if count == 1 else "all_right", count=count)
    if count == 1:
        text = say("one_wrong")
    else:
        text = say("some_right", right=right, count=count)
    wrong = [case for case in cases if case.verdict is not Verdict.OK]
    first = next((case for case in wrong if case.verdict is not Verdict.NA), wrong[0])
    if first.text and not _says(hint, first.text):
        text += f" In the case '{first.note or first.group}', {first.text}{'' if first.text[-1] in '?!' else '.'}"
    return text


def _says(hint: str, text: str) -> bool:
    """Tell whether a hint holds all that a case's text tells: the text itself, or its shapes, names and numbers."""
    facts = set(_FACTS.findall(text))
    return text in hint or (bool(facts) and facts <= set(_FACTS.findall(hint)) and not text.startswith("the largest"))


def _cause(
    pack: Pack, outcomes: Sequence[Outcome], judged: Sequence[tuple[CaseResult, Comparison | None]]
) -> Diagnosis | None:
    """Return the known mistake that reproduces every outcome, else what the generic rules find."""
    if any(case.verdict in _FIRST for case, _ in judged):
        return None
    # the wrong cases first: they tell soonest that a mistake is another one
    everywhere = sorted(range(len(outcomes)), key=lambda index: judged[index][0].verdict is Verdict.OK)
    # a first try often makes a known mistake and lacks the check for bad input too: then the mistake is still the news
    where_values = [index for index in everywhere if pack.expected[index].status != "raised"]
    for indices in dict.fromkeys((tuple(everywhere), tuple(where_values))):
        if not indices or judged[indices[0]][0].verdict is Verdict.OK:
            continue
        wrong = {index for index in indices if judged[index][0].verdict is not Verdict.OK}
        found = known(pack, outcomes, indices, wrong)
        # exceptions alone are no evidence of two mistakes at once
        if not found and any(outcomes[index].status == "value" for index in wrong):
            found = known_pair(pack, outcomes, indices)
        if found:
            return found
    found = known_in_part(pack, outcomes, [case.verdict for case, _ in judged])
    if found:
        return found
    found = diagnose(
        [
            Evidence(pack.cases[index], outcome, pack.expected[index], pack.tolerances[index], comparison,
                     case.verdict is Verdict.OK, pack.info.returns)
            for index, (outcome, (case, comparison)) in enumerate(zip(outcomes, judged))
        ],
        known_names(pack.info.stub),
    )  # fmt: skip
    if found and found.key not in VAGUE:
        return found
    for indices in dict.fromkeys((tuple(everywhere), tuple(where_values))):
        wrong = {index for index in indices if judged[index][0].verdict is not Verdict.OK}
        if close := near(pack, outcomes, indices, wrong) if wrong else None:
            return close
    return found
