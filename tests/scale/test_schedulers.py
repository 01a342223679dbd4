"""One worker, two workers, a Dask cluster, Slurm's job script: the same verdicts to the last byte."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from grader_helpers import SECRET, SLUG, Class, lasting, write
from scale_helpers import EXPECTED, STEM, Dask

from autograder.grade import schedulers, schedulers_slurm, schedulers_worker, submissions
from autograder.grade.journal import Entry, Journal
from autograder.grade.marking import infos_by_notebook, version
from autograder.grade.pool import Plan, grade_class
from autograder.grade.schedulers import SchedulerError
from autograder.release import judged_cases
from autograder.sandbox import detect
from dlcv_lab.checking.envelope import decode, encode

GOLDEN = Path(__file__).parent / "golden" / "slurm_job.sh"


def plan() -> Plan:
    return Plan(SLUG, SECRET, detect())


def collected(place: Path, tmp_path: Path) -> list[submissions.Submission]:
    return submissions.collect(place, SLUG, [STEM], tmp_path / "unpacked")


def verdict_bytes(entries: list[Entry]) -> dict[str, bytes]:
    """Return what the journal would hold about each student, times and memory left out."""
    return {entry.student: json.dumps(lasting(entry), sort_keys=True).encode() for entry in entries}


def verdicts(entries: list[Entry]) -> dict[str, str]:
    return {entry.student: " ".join(str(result.verdict) for result in entry.flat) for entry in entries}


@pytest.fixture(scope="module")
def alone(handed_in: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The verdicts of one worker in this process."""
    entries = list(grade_class(plan(), collected(handed_in, tmp_path_factory.mktemp("alone")), workers=1))
    assert verdicts(entries) == EXPECTED
    return verdict_bytes(entries)


@pytest.mark.slow
@pytest.mark.sandbox
def test_two_workers_and_a_dask_cluster_give_the_bytes_of_one_worker(
    alone: dict[str, bytes], handed_in: Path, dask: Dask, tmp_path: Path
) -> None:
    dask.work(2)
    handed = collected(handed_in, tmp_path)
    assert verdict_bytes(list(grade_class(plan(), handed, workers=2))) == alone
    journal = Journal(tmp_path / "journal.jsonl")
    with schedulers.at(dask.address) as elsewhere:
        entries = list(grade_class(plan(), handed, journal=journal, elsewhere=elsewhere))
    assert verdict_bytes(entries) == alone
    assert verdict_bytes(list(journal.latest().values())) == alone


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_worker_with_other_exercises_is_refused(
    handed_in: Path, dask: Dask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedulers, "version", lambda infos: "another one")
    dask.work(1)
    with schedulers.at(dask.address) as elsewhere, pytest.raises(SchedulerError, match="other exercises"):
        list(grade_class(plan(), collected(handed_in, tmp_path)[:1], elsewhere=elsewhere))


def test_a_task_holds_the_key_of_one_student_and_never_the_secret(
    klass: Class, handed_in: Path, tmp_path: Path
) -> None:
    tasks = schedulers._Tasks(plan())
    raws = {s.student: tasks.of(s) for s in collected(handed_in, tmp_path)}
    assert all(SECRET not in raw for raw in raws.values())
    told = decode(raws["alice"], schedulers_worker.MAX_TASK)
    assert told["student_key"] == judged_cases.student_key(SECRET, "alice")
    assert judged_cases.student_key(SECRET, "bob") not in raws["alice"]
    assert told["version"] == version(infos_by_notebook(klass.row))


def test_a_worker_with_other_software_or_less_isolation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"software": schedulers_worker.software(), "level": detect()}
    assert schedulers_worker.unlike(task) == ""
    assert "the run has 0.1" in schedulers_worker.unlike(task | {"software": {"torch": "0.1"}})
    monkeypatch.setattr(schedulers_worker.sandbox, "detect", lambda: "none")
    assert "isolation 'none'" in schedulers_worker.unlike(task | {"level": "uid"})
    refused = json.loads(schedulers_worker.mark(encode(task | {"level": "uid"})))
    assert "refused" in refused


def test_an_address_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "_CONNECT", 1)
    with pytest.raises(SchedulerError, match=r"127\.0\.0\.1:9"), schedulers.at("tcp://127.0.0.1:9"):
        pass


def test_the_job_script_for_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    script = schedulers_slurm.job_script().replace(sys.executable, "PYTHON")
    script = re.sub(r"tcp://\S+", "tcp://SCHEDULER", script)
    assert script == GOLDEN.read_text()


def test_without_slurm_the_message_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SchedulerError, match="sbatch"), schedulers_slurm.on_slurm(1):
        pass


SBATCH = """#!/bin/sh
# stands in for Slurm: keeps a copy of the job script, as Slurm does, and runs it at once
cp "$1" "{log}.sh"
setsid bash "{log}.sh" >/dev/null 2>"{log}" &
echo "$!" >> "{pids}"
echo "Submitted batch job $!"
"""


@pytest.mark.slow
@pytest.mark.sandbox
def test_worker_jobs_are_submitted_grade_and_are_cancelled(
    alone: dict[str, bytes], handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real dask-jobqueue with a stand-in for `sbatch` and `scancel`."""
    pids = tmp_path / "pids"
    for name, text in (
        ("sbatch", SBATCH.format(log=tmp_path / "job.log", pids=pids)),
        ("scancel", f'#!/bin/sh\nfor job in "$@"; do kill -- -"$job"; done\ntouch "{tmp_path}/cancelled"\n'),
    ):
        write(tmp_path / "bin" / name, text.encode()).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with schedulers_slurm.on_slurm(1) as elsewhere:
        entries = list(grade_class(plan(), collected(handed_in, tmp_path), elsewhere=elsewhere))
    assert verdict_bytes(entries) == alone
    assert len(pids.read_text().split()) == 1
    assert (tmp_path / "cancelled").exists()
