"""What a student reads after the deadline and what the instructor reads of the class, for everyone and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.chapter import rows
from autograder.chapter.rows import Row
from autograder.feedback import as_submitted, class_report, student_page
from autograder.feedback.smallest import Smallest
from autograder.grade.journal import Entry
from autograder.release import packing
from dlcv_lab.checking.model import Case, CaseResult, Diagnosis, ExerciseInfo, ExerciseResult, Outcome, Verdict

pytestmark = [pytest.mark.slow, pytest.mark.browser]

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 800}
# what the cells of a submission had shown
CELLS = [
    {"cell_type": "code", "source": "print(conv2d(x, w).shape)", "outputs": [
        {"output_type": "stream", "text": "torch.Size([1, 3, 30, 30])\n" + "a long line of numbers " * 20}]},
    {"cell_type": "code", "source": "show.images(x)", "outputs": [
        {"output_type": "display_data", "data": {"text/html": "<b>no picture</b>"}}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def row() -> Row:
    return rows.load_row("ch03")


@pytest.fixture(scope="module")
def infos(row: Row) -> dict[str, ExerciseInfo]:
    return {info.name: info for info in packing.infos_of(row)}


def result_of(info: ExerciseInfo, verdict: Verdict, hint: str) -> ExerciseResult:
    """Return a result that has everything a page can show."""
    partly = verdict is Verdict.PA
    cases = tuple(
        CaseResult(index, group, f"{group} {index}", Verdict.WA if partly and index else Verdict.OK,
                   "max difference 0.25 where at most 1e-05 is allowed")
        for index, group in enumerate(info.groups)
    )  # fmt: skip
    score = {Verdict.OK: info.points, Verdict.PA: info.points / 2}.get(verdict, 0.0)
    told = verdict not in (Verdict.OK, Verdict.NA)
    return ExerciseResult(
        info.name, verdict, score, info.points, 0.2, "right in some cases" if told else "", hint if told else "",
        Diagnosis("stride_ignored", hint, "misconception") if told else None, cases if partly or not told else (),
        ("right, given a working im2col",) if verdict is Verdict.OK else (), peak_mib=210.0,
    )  # fmt: skip


def entry_of(row: Row, infos: dict[str, ExerciseInfo], student: str, turn: int) -> Entry:
    """Return a judgement in which every verdict comes up, beginning with another one for each student."""
    verdicts = list(Verdict)
    results: dict[str, tuple[ExerciseResult, ...]] = {}
    for index, info in enumerate(infos.values()):
        hint = " ".join(row.exercise_by_name[info.name].misconceptions[0].hint.split())
        found = result_of(info, verdicts[(index + turn) % len(verdicts)], hint)
        results[info.notebook] = (*results.get(info.notebook, ()), found)
    extras = tuple(info.name for info in infos.values() if not info.core)
    return Entry(student, row.slug, "a", "k", "bubblewrap", results, {}, extras, "2027-05-05 08:00 UTC")


def smallest_of(info: ExerciseInfo) -> Smallest:
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    got, right = Outcome("value", x[..., :4, :4]), Outcome("value", x[..., ::2, ::2])
    case = Case(next(iter(info.groups)), {"x": x, "stride": 2}, "stride 2")
    return Smallest(case, got, right, "the shape is (1, 1, 4, 4) and (1, 1, 3, 3) is expected", shrunk=True)


@pytest.fixture
def look(open_page: Any, accessible: Any, shoot: Any, tmp_path: Path) -> Any:
    """Open a page's text, assert that it can be used at every width and scheme, and keep pictures of it."""

    def looked(name: str, text: str) -> Any:
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        page = open_page(path.as_uri())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for size, where in ((DESK, "desk"), (PHONE, "phone")):
                page.set_viewport_size(size)
                shoot(page, f"{name}-{scheme}-{where}", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], where
            accessible(page)
        return page

    return looked


def test_a_feedback_page(look: Any, row: Row, infos: dict[str, ExerciseInfo]) -> None:
    entry = entry_of(row, infos, "ann", 1)
    smallest = {r.name: smallest_of(infos[r.name]) for r in entry.flat if r.verdict is Verdict.PA}
    assert smallest
    outputs = {"lesson_1": as_submitted.outputs_of(CELLS)}
    text = student_page.page(
        entry, infos, f"{row.key} {row.title}", show_cases=True, smallest=smallest, outputs=outputs
    )  # fmt: skip
    page = look("feedback", text)
    page.get_by_text("Replay").first.click()
    assert page.get_by_text("import torch").first.is_visible()


def test_a_class_summary(look: Any, row: Row, infos: dict[str, ExerciseInfo]) -> None:
    students = ["ann", "ben", "a-student-with-quite-a-long-name@students.example.org", *(f"s{n:03}" for n in range(9))]
    entries = [entry_of(row, infos, student, turn) for turn, student in enumerate(students)]
    summary = class_report.summarise(entries, f"{row.key} {row.title}")
    page = look("class-summary", class_report.page(summary, {"ann": "feedback/ann.html"}))
    assert page.get_by_role("link", name="ann").count() == 1
    assert page.get_by_role("img", name="Number of submissions by score").is_visible()
