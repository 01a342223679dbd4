"""Grade on Slurm: dask-jobqueue submits worker jobs, the scheduler and the journal stay with the one who typed.

`python -m autograder.grade.schedulers_slurm` prints the job script that would be submitted; it needs no Slurm. Queue,
account, memory and wall time come from dask-jobqueue's own settings (~/.config/dask/jobqueue.yaml).
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from autograder.grade.pool import Elsewhere
from autograder.grade.schedulers import _PLAIN, EXTRA, SchedulerError, far

DEFAULTS = {"cores": 1, "processes": 1, "memory": "4 GiB"}
ONE_THREAD = [f"export {name}_NUM_THREADS=1" for name in ("OMP", "MKL", "OPENBLAS")]


def cluster() -> Any:
    """Return a cluster without any job yet.

    Raises:
        SchedulerError: dask-jobqueue is not installed, or its settings are not usable.
    """
    try:
        import dask
        from dask_jobqueue import SLURMCluster
    except ModuleNotFoundError:
        raise SchedulerError(EXTRA) from None
    own: dict[str, Any] = {name: dask.config.get(f"jobqueue.slurm.{name}", None) for name in DEFAULTS}
    settings: dict[str, Any] = {name: own[name] or value for name, value in DEFAULTS.items()}
    prologue = [*ONE_THREAD, *(dask.config.get("jobqueue.slurm.job-script-prologue", None) or [])]
    try:
        return SLURMCluster(**settings, job_name="dlcv-grade", python=sys.executable,
                            job_script_prologue=prologue)  # fmt: skip
    except ValueError as error:
        raise SchedulerError(f"dask-jobqueue's settings cannot be used: {error}") from None


@contextlib.contextmanager
def on_slurm(jobs: int) -> Iterator[Elsewhere]:
    """Submit `jobs` worker jobs, yield what `grade_class(elsewhere=...)` takes, and cancel the jobs at the end."""
    if shutil.which("sbatch") is None:
        raise SchedulerError("`sbatch` is not on the path: --slurm works on a machine from which Slurm jobs are sent")
    with cluster() as made:
        from distributed import Client

        made.scale(jobs=jobs)
        with Client(made, set_as_default=False, serializers=_PLAIN, deserializers=_PLAIN) as client:
            yield far(client)


def job_script() -> str:
    """Return the script that Slurm would be given for one worker."""
    with cluster() as made:
        return str(made.job_script())


if __name__ == "__main__":
    print(job_script(), end="")
