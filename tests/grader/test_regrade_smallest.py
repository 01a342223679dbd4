"""The smallest failing case: simpler cases that fail in the same way, kept, shown after the deadline, and replayed."""

from __future__ import annotations

import base64
import io
import json
import struct
import types
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from grader_helpers import SECRET, SLUG, Class

from autograder.feedback import as_submitted, replay, student_page, writing
from autograder.feedback.shrinking import measure, simpler
from autograder.feedback.smallest import Kept, Shrinker, Smallest
from autograder.grade.journal import Entry
from autograder.grade.marking import infos_by_notebook
from autograder.release.course import Course
from autograder.release.judged_cases import attempt_seed, hidden_pack, student_key
from dlcv_lab.checking.envelope import encode
from dlcv_lab.checking.execute import run_job
from dlcv_lab.checking.judging import judge_outcomes
from dlcv_lab.checking.model import Case, ExerciseResult, Job, Outcome, Pack, Program, Verdict
from dlcv_lab.checking.wire import decode_outcome

STEM = "lesson_1"
SUMS = """
def box_blur(x, k):
    if k > min(x.shape):
        raise ValueError("too large")
    return x.unfold(0, k, 1).unfold(1, k, 1).sum((2, 3))
"""


class InProcess:
    """Runs trusted test code in this process, where the real one has a sandbox."""

    def run(self, job: Job) -> list[Outcome]:
        frames: list[bytes] = []
        run_job(job, lambda index, frame: frames.append(frame))
        return [decode_outcome(frame) for frame in frames]


class FakeMarker:
    """What a Shrinker needs of a marker."""

    def __init__(self, klass: Class) -> None:
        self.row, self.runner = klass.row, InProcess()
        self.info = infos_by_notebook(klass.row)[STEM][0]

    def pack(self, student: str, info: object, program: Program) -> Pack:
        seed = attempt_seed(student_key(SECRET, student), "ch99.box_blur", program.digest)
        return hidden_pack(self.row.exercise_by_name["box_blur"], self.info, seed)


def judged(marker: FakeMarker, code: str) -> tuple[Program, ExerciseResult]:
    program = Program(marker.info.setup, (code,), attempted=True, digest="d")
    pack = marker.pack("ann", None, program)
    job = Job(program, marker.info.probe, tuple(encode(case.data) for case in pack.cases))
    return program, judge_outcomes(pack, marker.runner.run(job))


@pytest.fixture(scope="module")
def found(klass: Class) -> tuple[FakeMarker, Smallest]:
    marker = FakeMarker(klass)
    program, result = judged(marker, SUMS)
    small = Shrinker(marker, seconds=60).smallest("ann", marker.info, program, result)  # type: ignore[arg-type]
    assert small is not None
    return marker, small


def test_a_case_is_cut_down_until_the_mistake_is_plain(found: tuple[FakeMarker, Smallest]) -> None:
    small = found[1]
    assert small.shrunk
    assert small.case.data["x"].numel() <= 4
    assert small.got.value.shape == small.expected.value.shape
    assert not torch.allclose(small.got.value.double(), small.expected.value)


def test_right_work_and_ended_processes_have_no_smallest_case(klass: Class) -> None:
    marker = FakeMarker(klass)
    program, result = judged(marker, klass.reference("box_blur"))
    assert result.verdict is Verdict.OK
    assert Shrinker(marker).smallest("ann", marker.info, program, result) is None  # type: ignore[arg-type]
    other = replace(result, cases=tuple(replace(case, verdict=Verdict.WA) for case in result.cases))
    assert Shrinker(marker).smallest("ann", marker.info, program, other) is None, "other verdicts came now"  # type: ignore[arg-type]


def test_the_authors_own_shrinking_is_used(klass: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = FakeMarker(klass)
    exercise = klass.row.exercise_by_name["box_blur"]

    def shrink(case: Case) -> Sequence[Case]:
        return [replace(case, data={"x": torch.ones(3, 3), "k": 2})]

    monkeypatch.setitem(klass.row.exercise_by_name, "box_blur", replace(exercise, shrink=shrink))
    program, result = judged(marker, SUMS)
    small = Shrinker(marker, seconds=60).smallest("ann", marker.info, program, result)  # type: ignore[arg-type]
    assert small is not None
    assert (tuple(small.case.data["x"].shape), small.case.data["k"]) == ((3, 3), 2)


def test_simpler_cases_are_smaller_consistent_and_keep_what_a_tensor_is() -> None:
    x = torch.randn(2, 3, 6, 6).permute(0, 2, 3, 1).requires_grad_()
    case = Case("plain", {"x": x, "w": torch.randn(4, 3, 3, 3), "y": torch.tensor([0, 3]), "n": 4, "s": 2})
    others = [case, Case("plain", {"s": 1})]
    seen = list(simpler(case, others))
    assert all(one.data["x"].requires_grad for one in seen)
    cut = [one for one in seen if measure(one) < measure(case)]
    assert cut
    for one in cut:
        if one.data["w"].shape[1] != 3:
            assert one.data["x"].shape[-1] == one.data["w"].shape[1], "axes of equal length are cut together"
        assert int(one.data["y"].max()) < max(one.data["w"].shape[0], 4)
    assert {one.data["s"] for one in seen} <= {1, 2}, "only whole numbers that another case has"


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(2, 3), torch.randn(2, 3).t(), torch.arange(6)[::2], torch.zeros(0, 2), torch.tensor(float("inf")),
        torch.tensor([True, False]), torch.randn(2, dtype=torch.float64).requires_grad_(), (1,), [1.5, None, "a"],
        {"a": torch.tensor(2), 3: float("nan")}, torch.randn(3, dtype=torch.complex64),
    ],
)  # fmt: skip
def test_a_literal_builds_the_value_again(value: object) -> None:
    again = eval(replay.literal(value), {"torch": torch})
    assert encode(again, layout=False) == encode(value, layout=False)
    if isinstance(value, torch.Tensor):
        assert again.requires_grad == value.requires_grad
        assert again.is_contiguous() == value.is_contiguous()


def test_the_snippet_shows_the_failure_again(
    found: tuple[FakeMarker, Smallest], capsys: pytest.CaptureFixture[str]
) -> None:
    marker, small = found
    text = replay.snippet(marker.info, small)
    main = types.ModuleType("__main__")
    exec("import torch\n" + SUMS, main.__dict__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "__main__", main)
        exec(text, main.__dict__)
    assert torch.equal(main.yours, small.got.value.to(main.yours.dtype))
    assert torch.equal(main.expected, small.expected.value)
    assert "expected" in capsys.readouterr().out
    large = replace(small, case=Case("plain", {"x": torch.zeros(1000)}))
    assert replay.snippet(marker.info, large) == ""


def entry_of(result: ExerciseResult) -> Entry:
    return Entry("ann", SLUG, "a", "k", "none", {STEM: (result,)}, {})


def test_what_was_found_is_kept_and_shown(found: tuple[FakeMarker, Smallest], tmp_path: Path) -> None:
    marker, small = found
    _, result = judged(marker, SUMS)
    entry, kept = entry_of(result), Kept(tmp_path, SLUG)
    assert kept.get(entry, result) is None
    kept.put(entry, result, small)
    again = kept.get(entry, result)
    assert again is not None
    assert encode(again.case.data) == encode(small.case.data)
    assert kept.get(entry, replace(result, version="other")) is None
    kept.path(entry, result).write_bytes(b"damaged")
    assert kept.get(entry, result) is None
    infos = {"box_blur": marker.info}
    closed = student_page.page(entry, infos, "T", smallest={"box_blur": small})
    assert "Replay" not in closed
    opened = student_page.page(entry, infos, "T", show_cases=True, smallest={"box_blur": small})
    for part in ("The smallest case that fails", "yours", "expected", "Replay", "run(sys.modules"):
        assert part in opened
    assert "<script" not in opened


def test_cases_are_shown_after_each_students_own_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    students = [
        replace(entry_of(ExerciseResult("box_blur", Verdict.WA, 0, 3)), student=name) for name in ("ann", "bob")
    ]
    due = {"ann": now - timedelta(hours=1), "bob": now + timedelta(hours=1)}
    course, row = Course(tmp_path, "c", ("ch99",)), types.SimpleNamespace(key="ch99", slug=SLUG)
    monkeypatch.setattr(writing, "_deadlines", lambda *a: due)
    assert writing._open_for(course, row, students)[0] == {"ann": True, "bob": False}  # type: ignore[arg-type]
    never = replace(course, feedback_cases="never")
    assert not any(writing._open_for(never, row, students)[0].values())  # type: ignore[arg-type]
    monkeypatch.setattr(writing, "_deadlines", lambda *a: {})
    closed, notice = writing._open_for(course, row, students)  # type: ignore[arg-type]
    assert not any(closed.values())
    assert "No deadline of ch99 is known" in notice


def png_of(width: int, height: int, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(min(height, 4))))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_only_sound_pngs_are_shown_and_only_the_image_of_them() -> None:
    body = b"Comment\0<script>"
    note = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    clean, raw = png_of(4, 4), png_of(4, 4, note)
    assert as_submitted.png(base64.b64encode(raw + b"<html>").decode()) == clean
    for bad in (b"GIF89a", clean[:-6], clean.replace(b"IHDR", b"JHDR"), png_of(100_000, 4), b""):
        assert as_submitted.png(base64.b64encode(bad).decode()) is None
    assert as_submitted.png("not base64 \u2603") is None
    from PIL import Image

    with Image.open(io.BytesIO(clean)) as picture:
        assert picture.size == (4, 4)


def test_outputs_are_shown_as_text_capped_and_escaped(found: tuple[FakeMarker, Smallest]) -> None:
    cells = [
        {"cell_type": "code", "source": ["plot(<b>)\n", "more"], "outputs": [
            {"output_type": "stream", "text": ["\x1b[31m<script>alert(1)</script>\n"]},
            {"output_type": "display_data", "data": {"image/png": base64.b64encode(png_of(4, 4)).decode(),
                                                     "text/html": "<script>"}},
            {"output_type": "display_data", "data": {"text/html": "<script>"}},
            {"output_type": "stream", "text": "x" * 10**6},
            {"output_type": "error", "ename": "ValueError", "evalue": 3}, "nonsense", None]},
        {"cell_type": "code", "source": 5, "outputs": {"a": 1}},
        {"cell_type": "code", "outputs": [{"output_type": "stream", "text": f"line {i}"} for i in range(100)]},
    ]  # fmt: skip
    outputs = as_submitted.outputs_of(json.loads(json.dumps(cells)))
    assert len(outputs.shown) == as_submitted.MOST_OUTPUTS
    assert outputs.left_out > 60
    assert all(len(one.text) <= as_submitted.MOST_TEXT + 6 for one in outputs.shown)
    page = student_page.page(entry_of(ExerciseResult("box_blur", Verdict.OK, 3, 3)), {}, "T", outputs={STEM: outputs})
    assert "as submitted, not re-run" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert 'src="data:image/png;base64,' in page
