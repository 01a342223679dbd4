"""Grade on many machines: submissions go to a Dask cluster as bytes, entries come back as JSON, one journal is here.

What travels to a worker: the notebooks of one student and a key that was derived for this student. What stays: the
secret, the journal, the gradebook. Nothing that a student made is ever pickled or unpickled, on either side.
docs/decisions/0015 says why.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from autograder.chapter.rows import load_row
from autograder.grade.journal import Entry, from_plain
from autograder.grade.marking import infos_by_notebook, version
from autograder.grade.pool import Elsewhere, Plan
from autograder.grade.submissions import Submission, read_bytes
from autograder.release.judged_cases import key_id, student_key
from dlcv_lab.checking.envelope import encode

EXTRA = "the extra [cluster] is not installed; run `pip install -c constraints.txt -e './autograder[cluster]'`"
_PLAIN = ["dask", "msgpack"]  # how values may travel: never as pickles
_CONNECT = 30  # seconds
_LOOK = 20  # seconds between two looks at the scheduler


class SchedulerError(RuntimeError):
    """The cluster cannot be used; the message says what to do. The journal keeps every verdict."""


@contextlib.contextmanager
def at(address: str) -> Iterator[Elsewhere]:
    """Connect to the Dask scheduler at `address` and yield what `grade_class(elsewhere=...)` takes.

    Raises:
        SchedulerError: nothing answers there, or Dask is not installed.
    """
    distributed = _dask()
    try:
        client = distributed.Client(address, timeout=_CONNECT, set_as_default=False, serializers=_PLAIN,
                                    deserializers=_PLAIN)  # fmt: skip
    except (OSError, TimeoutError, ValueError) as error:
        raise SchedulerError(
            f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`, or correct --scheduler"
        ) from None
    with client:
        yield far(client)


def far(client: Any) -> Elsewhere:
    """Return the function that judges submissions on the workers of a Dask client."""

    def run(plan: Plan, submissions: list[Submission], lost: Callable[[str], None]) -> Iterator[Entry]:
        from autograder.grade import schedulers_worker

        running: dict[Any, Submission] = {}
        rest = list(submissions)
        task = _Tasks(plan)
        try:
            while rest or running:
                while rest and len(running) < 2 * max(1, _threads(client)):
                    submission = rest.pop(0)
                    future = client.submit(schedulers_worker.mark, task.of(submission), pure=False)
                    running[future] = submission
                for future in _finished(client, list(running)):
                    submission = running.pop(future)
                    entry = _entry(future)
                    if entry is None:
                        lost(submission.student)
                    else:
                        yield entry
        finally:
            _leave(client, list(running))

    return run


class _Tasks:
    """Writes the tasks of a run."""

    def __init__(self, plan: Plan) -> None:
        from autograder.grade.schedulers_worker import software

        self.secret = plan.secret
        self.common = {
            "chapter": plan.chapter,
            "level": plan.level,
            "only": list(plan.only),
            "key": key_id(plan.secret),
            "version": version(infos_by_notebook(load_row(plan.chapter))),
            "software": software(),
        }

    def of(self, submission: Submission) -> bytes:
        """Return the task of a submission; a file that cannot be read becomes a problem of its own."""
        files, problems = {}, dict(submission.problems)
        for stem, path in submission.files.items():
            try:
                files[stem] = read_bytes(path)
            except OSError as error:
                problems[stem] = f"the file cannot be read: {error.strerror or error}"
        own = {"student": submission.student, "student_key": student_key(self.secret, submission.student)}
        return encode({**self.common, **own, "files": files, "problems": problems})


def _finished(client: Any, running: list[Any]) -> list[Any]:
    """Wait for at least one task, looking from time to time whether the scheduler is still there."""
    distributed = _dask()
    while True:
        try:
            with client.as_current():
                return list(distributed.wait(running, timeout=_LOOK, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if client.status != "running":
                raise _gone() from None
        except distributed.client.FuturesCancelledError:
            raise _gone() from None


def _gone() -> SchedulerError:
    return SchedulerError(
        "the connection to the Dask scheduler was lost; what was judged before is in the journal: start the scheduler "
        "and run the same command again"
    )


def _entry(future: Any) -> Entry | None:
    """Return what a task gave, or None where its worker died or failed."""
    if future.status != "finished":
        if future.status in ("cancelled", "lost"):
            raise _gone()
        return None
    told = json.loads(future.result())
    if "refused" in told:
        raise SchedulerError(f"{told['refused']}. Verdicts must not depend on where they are made, so the run stops")
    return from_plain(told)


def _threads(client: Any) -> int:
    return sum(client.nthreads().values()) if client.status == "running" else 1


def _leave(client: Any, running: list[Any]) -> None:
    """Take back what has not begun and let the workers' sandboxes go."""
    from autograder.grade import schedulers_worker

    with contextlib.suppress(Exception):
        client.cancel(running, force=True)
        client.run(schedulers_worker.rest, on_error="ignore")


def _dask() -> Any:
    try:
        import distributed
    except ModuleNotFoundError:
        raise SchedulerError(EXTRA) from None
    return distributed
