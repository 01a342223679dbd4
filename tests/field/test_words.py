"""Words of a verdict: each thing once, and nothing that reads like something else."""

from __future__ import annotations

from autograder.feedback import class_report, student_page
from autograder.grade.journal import Entry
from dlcv_lab.checking.messages import ENGLISH, as_html, say
from dlcv_lab.checking.model import CaseResult, ExerciseResult, Verdict
from dlcv_lab.checking.report import _value


def entry(student: str, *results: ExerciseResult) -> Entry:
    return Entry(student, "ch03_demo", student, "k", "none", {"lesson_1": results}, {})


def test_no_count_reads_like_pythons_none() -> None:
    assert say("some_right", right=0, count=6) == "0 of 6 cases right."
    assert not [text for text in ENGLISH.values() if text.startswith("None of")]


def test_backticks_become_code_and_nothing_else_acts() -> None:
    assert as_html("`x <b>` & y") == "<code>x &lt;b&gt;</code> &amp; y"


def test_a_page_says_once_what_is_not_attempted() -> None:
    untouched = [ExerciseResult(f"e{n}", Verdict.NA, 0.0, 1.0, message=say("untouched")) for n in range(17)]
    wrong = ExerciseResult("conv", Verdict.WA, 0.0, 1.0, message="0 of 6 cases right.", hint="Use `stride`.")
    page = student_page.page(entry("ann", wrong, *untouched), {}, "Demo")
    assert page.casefold().count("not attempted") == 1
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
