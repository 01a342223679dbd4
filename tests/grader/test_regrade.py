"""When we were wrong: regrade, void, override; what people decided survives, and nothing is lowered unasked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from grader_helpers import SLUG, Class, write
from nbgrader.api import Gradebook
from typer.testing import CliRunner

from autograder.base import paths
from autograder.base.code_text import code_only
from autograder.chapter import content_version, rows
from autograder.cli import grading, marks
from autograder.grade import recording, regrade
from autograder.grade.journal import Journal
from autograder.grade.overrides import Decision, DecisionLog
from autograder.release import course as courses
from autograder.release import packing
from autograder.release.nbgrader_release import generate
from dlcv_lab.checking.model import Verdict
from dlcv_lab.cli.frame import Trouble

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]
STEM = "lesson_1"
FORGIVING = "def box_blur(x, k):\n    return x.unfold(0, min(k, x.shape[0]), 1).unfold(1, k, 1).mean((2, 3))\n"
TOO_LARGE = '        case("edge", "window too large", x=d.normal(3, 5), k=4),\n'


def run(*arguments: str) -> tuple[int, str]:
    """Run a verb in this process; exit code and what was printed."""
    app = typer.Typer()
    grading.register(app)
    marks.register(app)
    one = ("--workers", "1") if arguments[0] in ("grade", "regrade") else ()
    result = CliRunner().invoke(app, [*arguments, *one], env={"COLUMNS": "200"})
    if isinstance(result.exception, Trouble):
        return result.exception.code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@contextmanager
def changed(old: str, new: str, file: Callable[[], Path] = lambda: paths.exercises() / f"{SLUG}.py") -> Iterator[None]:
    """Edit the chapter's files as its author would, and put them back."""
    path = file()
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new), encoding="utf-8")
    rows.forget(SLUG)
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")
        rows.forget(SLUG)


@pytest.fixture(scope="module")
def graded(klass: Class, tmp_path_factory: pytest.TempPathFactory) -> courses.Course:
    """A class of three, graded once; dan accepts windows that do not fit."""
    root = tmp_path_factory.mktemp("course")
    course, _ = courses.init_course(root, chapters=["ch99"])
    generate(paths.source(SLUG), SLUG, root / "student", course)
    blur, unsharp = klass.reference("box_blur"), klass.reference("unsharp")
    handed_in = {"alice": klass.honest(), "dan": klass.hand_in(box_blur=FORGIVING, unsharp=unsharp),
                 "carol": klass.hand_in(box_blur=blur)}  # fmt: skip
    for student, raw in handed_in.items():
        write(root / "submitted" / student / SLUG / f"{STEM}.ipynb", raw)
    code, said = run("grade", "--chapter", "ch99", "--course", str(root))
    assert code == 0, said
    return course


@pytest.fixture
def course(graded: courses.Course, tmp_path: Path) -> courses.Course:
    shutil.copytree(graded.root, tmp_path / "course")
    return courses.load_course(tmp_path / "course")


def scores(course: courses.Course) -> dict[str, float]:
    return {entry.student: entry.score for entry in recording.latest(course, SLUG)}


def in_gradebook(course: courses.Course, student: str) -> float:
    with Gradebook(course.database) as book:
        return float(book.find_grade("ch99-box_blur-check", STEM, SLUG, student).score)


def test_the_content_version_follows_the_code_and_not_the_words(klass: Class) -> None:
    def versions() -> dict[str, str]:
        row = rows.load_row(SLUG)
        return {info.name: info.version for info in packing.infos_of(row)}

    before = versions()
    with changed("You add the window up.", "You only add the window up."):
        assert versions() == before
    with changed("def blur_cases(d):", "# a note\ndef blur_cases(d):"):
        assert versions() == before
    with changed(TOO_LARGE, ""):
        assert versions()["box_blur"] != before["box_blur"]
        assert versions()["unsharp"] == before["unsharp"]
    with changed('groups={"plain": 2, "edge": 1}', 'groups={"plain": 1, "edge": 2}'):
        assert versions()["box_blur"] != before["box_blur"]
    with changed('    """Average over', '    """Take the mean of', lambda: paths.solutions() / f"{SLUG}.py"):
        assert versions() == before


def test_code_only_drops_words_and_keeps_strings() -> None:
    text = '"""doc"""\ndef f(x):  # hé\n    """Döc "x" # no"""\n    # why\n\n    return f"{x}#"  # after\n'
    assert code_only(text) == 'def f(x):\n    return f"{x}#"'
    assert code_only("lambda x: (") == "lambda x: ("


def test_the_version_is_stored_with_release_and_verdict(course: courses.Course) -> None:
    now = {info.name: info.version for info in packing.infos_of(rows.load_row(SLUG))}
    for entry in recording.journal_of(course, SLUG).latest().values():
        assert {result.name: result.version for result in entry.flat} == now
    content_version.note_release(course.journal, rows.load_row(SLUG), now)
    content_version.note_release(course.journal, rows.load_row(SLUG), now)
    assert content_version.released(course.journal, SLUG) == now
    assert len((course.journal / content_version.RELEASES).read_text().splitlines()) == 1


def test_a_regrade_shows_first_then_writes_and_keeps_what_people_did(course: courses.Course) -> None:
    before = scores(course)
    assert before["dan"] < before["alice"]
    with Gradebook(course.database) as book:
        answer = book.find_grade("ch99-where_blur_hurts", STEM, SLUG, "dan")
        answer.manual_score, answer.extra_credit, answer.needs_manual_grade = 1.5, 0.5, False
        book.find_comment("ch99-where_blur_hurts", STEM, SLUG, "dan").manual_comment = "nearly"
        book.db.commit()
        book.grant_extension(SLUG, "dan", days=2)
    with changed(TOO_LARGE, ""):
        code, said = run("regrade", "ch99", "--course", str(course.root))
        assert code == 0, said
        assert "Nothing was written" in said
        assert "dan" in said
        assert "the exercise changed" in said
        assert scores(course) == before
        pending = regrade.pending(course, SLUG)
        assert pending.exists()
        out = course.root / "table.json"
        code, said = run("regrade", "ch99", "--course", str(course.root), "--apply", "--json", str(out))
        assert code == 0, said
        assert not pending.exists()
        table = {(item["student"], item["exercise"]): item for item in json.loads(out.read_text())}
        assert {exercise for _, exercise in table} == {"box_blur", "unsharp"}, "what uses it is judged again, too"
        assert table["dan", "box_blur"]["new"]["verdict"] == "OK"
        code, said = run("regrade", "ch99", "--course", str(course.root))
        assert "nothing to judge again" in said
    assert scores(course)["dan"] == before["alice"]
    assert in_gradebook(course, "dan") == 3
    with Gradebook(course.database) as book:
        answer = book.find_grade("ch99-where_blur_hurts", STEM, SLUG, "dan")
        assert (answer.manual_score, answer.extra_credit, answer.needs_manual_grade) == (1.5, 0.5, False)
        assert book.find_comment("ch99-where_blur_hurts", STEM, SLUG, "dan").manual_comment == "nearly"
        assert book.find_submission(SLUG, "dan").extension == timedelta(days=2)


def test_nothing_is_lowered_unless_asked(course: courses.Course) -> None:
    before = scores(course)
    stricter = '        case("plain", "too large, too", x=d.normal(2, 2), k=3),\n'  # dan now fails a plain case as well
    with changed(TOO_LARGE, TOO_LARGE + stricter):
        code, said = run("regrade", "ch99", "--exercise", "box_blur", "--course", str(course.root), "--never-lower")
        assert code == 0, said
        assert "(kept)" in said
        code, said = run("regrade", "ch99", "--exercise", "ch99.box_blur", "--course", str(course.root), "--apply")
        assert code == 0, said
        assert scores(course) == before
        notes = recording.journal_of(course, SLUG).latest()["dan"].flat[0].notes
        assert any("judged again it would get" in note for note in notes)
        code, said = run("regrade", "ch99", "--exercise", "box_blur", "--course", str(course.root), "--may-lower",
                         "--apply")  # fmt: skip
        assert code == 0, said
        assert scores(course)["dan"] < before["dan"]


def test_changed_files_are_left_to_grade(course: courses.Course, klass: Class) -> None:
    write(course.root / "submitted" / "dan" / SLUG / f"{STEM}.ipynb", klass.honest())
    shutil.rmtree(course.root / "submitted" / "carol")
    row = rows.load_row(SLUG)
    held = recording.journal_of(course, SLUG).latest()
    work = regrade.find_work(row, held, recording.handed_in(course, row, course.root / "x"), ["unsharp"])
    assert [submission.student for submission in work.submissions] == ["alice"]
    assert "other files" in work.left_out["dan"]
    assert "nothing of theirs" in work.left_out["carol"]
    with pytest.raises(rows.RowError, match="has no exercise 'blur'"):
        regrade.find_work(row, held, [], ["blur"])


def test_a_fault_of_the_grader_keeps_the_old_verdict(course: courses.Course) -> None:
    from dataclasses import replace

    row = rows.load_row(SLUG)
    old = recording.journal_of(course, SLUG).latest()["alice"]
    broken = tuple(replace(result, verdict=Verdict.XX, score=0.0) for result in old.flat)
    merged, (change,) = regrade.merge(row, old, replace(old, results={STEM: broken}), {"box_blur": "named"}, level="x")
    assert change.fault
    assert merged.flat[0].verdict is Verdict.OK


def test_an_override_counts_survives_a_regrade_and_can_be_lifted(course: courses.Course) -> None:
    folder = ("--course", str(course.root))
    before = scores(course)
    assert run("override", "dan", "ch99.box_blur", "3", *folder)[0] == 2
    assert run("override", "dan", "ch99.box_blur", "4", "--why", "x", *folder)[0] == 2
    assert run("override", "nobody", "ch99.box_blur", "3", "--why", "x", *folder)[0] == 2
    assert run("override", "dan", "ch99.unsharp", "1", "--why", "x", *folder)[0] == 2
    code, said = run("override", "dan", "ch99.box_blur", "2.5", "--why", "the text <b>was</b> unclear", *folder)
    assert code == 0, said
    assert scores(course)["dan"] == 2.5
    assert in_gradebook(course, "dan") == 2.5
    page = next((course.root / "feedback" / "dan" / SLUG).glob("*.html")).read_text()
    assert "2.5 points by decision of a marker: the text &lt;b&gt;was&lt;/b&gt; unclear" in page
    assert run("grade", "--chapter", "ch99", *folder)[0] == 0
    assert in_gradebook(course, "dan") == 2.5
    log = DecisionLog(course.journal, SLUG)
    assert run("override", "dan", "ch99.box_blur", "--undo", *folder)[0] == 0
    assert scores(course) == before
    assert in_gradebook(course, "dan") == before["dan"]
    assert [one.kind for one in log.history()] == ["override", "lift"], "the log only grows"


def test_void_gives_everyone_full_points_and_is_reversible(course: courses.Course) -> None:
    folder = ("--course", str(course.root))
    before = scores(course)
    assert run("void", "ch99.box_blur", *folder)[0] == 2
    assert run("void", "ch99.unsharp", "--why", "x", *folder)[0] == 2
    code, said = run("void", "ch99.box_blur", "--why", "the exercise was wrong", *folder)
    assert code == 0, said
    assert set(scores(course).values()) == {before["alice"]}
    assert in_gradebook(course, "dan") == 3
    verdicts = {entry.flat[0].verdict for entry in recording.journal_of(course, SLUG).latest().values()}
    assert Verdict.PA in verdicts, "the journal keeps what the judge said"
    summary = json.loads((course.journal / f"{SLUG}.summary.json").read_text())
    assert summary["exercises"][0]["right"] < summary["exercises"][0]["tried"]
    assert run("void", "ch99.box_blur", "--undo", *folder)[0] == 0
    assert scores(course) == before
    assert run("void", "ch99.box_blur", "--undo", *folder)[0] == 2


def test_a_void_exercise_needs_no_verdict_and_an_override_wins_over_it(course: courses.Course) -> None:
    from dataclasses import replace

    log = DecisionLog(course.journal, SLUG)
    entry = recording.journal_of(course, SLUG).latest()["alice"]
    fault = replace(entry.flat[0], verdict=Verdict.XX, score=0.0)
    log.append(Decision("void", "box_blur", "our own mistake"))
    assert log.marks().apply("alice", [fault])[0].verdict is Verdict.NA
    assert log.marks().apply("alice", [fault])[0].score == 3
    log.append(Decision("override", "box_blur", "copied", "alice", 0.0))
    with log.path.open("ab") as sink:
        sink.write(b'{"format": 1, "kind": "ov')  # the power went here
    log.append(Decision("lift", "box_blur", "", "bob"))
    assert log.marks().apply("alice", [fault])[0].score == 0
    assert len(log.history()) == 3
    assert all(one.when for one in log.history())


def test_explain_tells_versions_verdicts_decisions_and_marks_by_hand(course: courses.Course) -> None:
    folder = ("--course", str(course.root))
    DecisionLog(course.journal, SLUG).append(Decision("override", "box_blur", "seen in the lab", "dan", 3.0))
    with Gradebook(course.database) as book:
        book.find_grade("ch99-box_blur-check", STEM, SLUG, "dan").manual_score = 2.0
        book.find_comment("ch99-box_blur", STEM, SLUG, "dan").manual_comment = "come and see me"
        book.db.commit()
    version = packing.infos_of(rows.load_row(SLUG))[0].version
    receipt = {"results": [{"name": "box_blur", "version": version}]}
    write(course.root / "submitted" / "dan" / SLUG / "submission.json", json.dumps(receipt).encode())
    code, said = run("explain", "dan", "ch99.box_blur", "--replay", *folder)
    assert code == 0, said
    for part in ("student's receipt says " + version[:8], "journal 2", "PA 2 of 3", "override to 3: seen in the lab",
                 "mark by hand: 2", "comment: come and see me", "window too large", "run(sys.modules"):  # fmt: skip
        assert part in said, part


def test_late_penalties_and_extensions_hold_for_dlcv_grade(course: courses.Course) -> None:
    (course.root / "late_rule.py").write_text(
        "from nbgrader.plugins import LateSubmissionPlugin\n"
        "class OnePoint(LateSubmissionPlugin):\n"
        "    def late_submission_penalty(self, student, score, seconds):\n"
        "        return 1.0\n"
    )
    config = course.root / "nbgrader_config.py"
    rule = 'c.AssignLatePenalties.plugin_class = "late_rule.OnePoint"\n'
    config.write_text(config.read_text() + f"import sys\nsys.path.insert(0, {str(course.root)!r})\n" + rule)
    due = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with Gradebook(course.database) as book:
        book.update_or_create_assignment(SLUG, duedate=due.isoformat())
        book.grant_extension(SLUG, "carol", days=1)
    for student in ("alice", "carol"):
        stamp = course.root / "submitted" / student / SLUG / "timestamp.txt"
        stamp.write_text("2026-03-02 06:00:00 UTC")
    assert run("grade", "--chapter", "ch99", "--course", str(course.root))[0] == 0
    with Gradebook(course.database) as book:
        penalties = {s: book.find_submission(SLUG, s).late_submission_penalty for s in ("alice", "carol", "dan")}
    assert penalties == {"alice": 1.0, "carol": 0.0, "dan": 0.0}


def test_two_decisions_at_once_are_both_kept(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    log = DecisionLog(tmp_path, SLUG)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: log.append(Decision("override", "box_blur", "w" * 500, f"s{i}", 1.0)), range(40)))
    assert len(log.marks().overrides) == 40


def test_an_unwritable_log_is_named(tmp_path: Path) -> None:
    from autograder.grade.journal import JournalError

    (tmp_path / f"{SLUG}.decisions.jsonl").mkdir()
    with pytest.raises(JournalError, match="Nothing was decided"):
        DecisionLog(tmp_path, SLUG).append(Decision("void", "box_blur", "x"))


def test_a_regrade_without_verdicts_says_what_to_do(course: courses.Course) -> None:
    (course.journal / f"{SLUG}.jsonl").unlink()
    code, said = run("regrade", "ch99", "--course", str(course.root))
    assert code == 2
    assert "dlcv grade --chapter ch99" in said
    assert Journal(course.journal / f"{SLUG}.jsonl").latest() == {}
