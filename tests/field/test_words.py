"""Words of a verdict: each thing once, and nothing that reads like something else."""

from __future__ import annotations

import pytest
import torch

from autograder.feedback import class_report, student_page
from autograder.grade.journal import Entry
from dlcv_lab.checking import execute
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.messages import ENGLISH, as_html, say
from dlcv_lab.checking.model import Case, CaseResult, ExerciseInfo, ExerciseResult, Outcome, Pack, Program, Verdict
from dlcv_lab.checking.report import _value


def entry(student: str, *results: ExerciseResult) -> Entry:
    return Entry(student, "ch03_demo", student, "k", "none", {"lesson_1": results}, {})


def test_no_count_reads_like_pythons_none() -> None:
    assert say("some_right", right=0, count=6) == "0 of 6 cases right."
    assert not [text for text in ENGLISH.values() if text.startswith("None of")]


def test_backticks_become_code_and_nothing_else_acts() -> None:
    assert as_html("`x <b>` & y") == "<code>x &lt;b&gt;</code> &amp; y"


def test_a_page_says_once_what_is_not_attempted() -> None:
    notes = ("cell 3 was skipped: syntax error",)
    untouched = [
        ExerciseResult(f"e{n}", Verdict.NA, 0.0, 1.0, message=say("untouched"), notes=notes) for n in range(17)
    ]
    wrong = ExerciseResult(
        "conv", Verdict.WA, 0.0, 1.0, message="0 of 6 cases right.", hint="Use `stride`.", notes=notes
    )
    page = student_page.page(entry("ann", wrong, *untouched), {}, "Demo")
    assert page.casefold().count("not attempted") == 1
    assert page.count("cell 3 was skipped") == 1
    assert "e0, e1" in page
    assert "Use <code>stride</code>." in page
    assert "`" not in page


def test_the_class_report_names_what_ended_a_run_and_its_codes() -> None:
    late = ExerciseResult("conv", Verdict.TO, 0.0, 1.0, cases=(CaseResult(0, "plain", "n", Verdict.TO, "late"),))
    text = "your code raised ValueError: too large"
    raised = ExerciseResult("conv", Verdict.RE, 0.0, 1.0, cases=(CaseResult(0, "plain", "n", Verdict.RE, text),))
    summary = class_report.summarise([entry("ann", late), entry("bob", raised)], "Demo")
    causes = {cause["key"]: cause["text"] for cause in summary["exercises"][0]["causes"]}
    assert causes == {"ended: TO": "out of time", "ended: RE": "raised an exception: ValueError"}
    page = class_report.page(summary, {})
    assert "TO out of time" in page
    assert "RE raised an exception" in page


def test_what_a_probe_gathered_is_told_by_its_parts() -> None:
    assert _value({"loss": 0.5, "steps": 3}, None) == "loss = the float 0.5, steps = the int 3"


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        ("return x.sum()", "0 of 2 cases right.", "shape ()"),
        ("return x + 1", "0 of 2 cases right. In the case 'a', the largest difference is", "plus -1"),
        ("x += 0 * x + 1\n    return x - 1", "0 of 2 cases right.", "`x` is changed in place"),
        ("return unknown(x)", "0 of 2 cases right. In the case 'a', your code raised NameError", "A name is used"),
        ("return x.double()", "0 of 2 cases right.", "float64"),
    ],
)
def test_the_likely_cause_does_not_repeat_the_sentence_above_it(wrong: str, message: str, hint: str) -> None:
    stub = "def f(x):\n    raise NotImplementedError"
    probe = "def run(ns, data):\n    return ns.f(data['x'])\n"
    info = ExerciseInfo("ch98", "f", "lesson", ("f",), 1.0, True, {"plain": 1.0}, 5, "easy", "", (), ("a", "b", "c"),
                        stub, probe, "", exact_dtype=True)  # fmt: skip
    cases = tuple(Case("plain", {"x": torch.arange(3.0) + number}, note) for number, note in enumerate("ab"))
    pack = Pack(info, cases, tuple(Outcome("value", case.data["x"].double()) for case in cases), ((1e-5,),) * 2)
    names, _ = execute.load_namespace(Program("import torch", (f"def f(x):\n    {wrong}",), attempted=True))
    run = execute.load_probe(probe)
    result = judge_outcomes(pack, [execute.run_case(run, names, encode(case.data)) for case in cases])
    assert result.message.startswith(message), result
    assert result.message == message or "largest" in message or "raised" in message, result.message
    assert hint in result.hint
