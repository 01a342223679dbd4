"""What every worker needs, imported once by the process that forks the workers (see `warm_start.workers_context`)."""

from __future__ import annotations

import atexit
import os
import sys
from multiprocessing import forkserver

from autograder.release.warm_start import without_collections

if getattr(sys.modules["__main__"], "main", None) is forkserver.main:  # and nowhere else
    atexit.register(os._exit, 0)  # it has nothing to write, and taking torch apart would take a second

with without_collections():
    import torch._dynamo  # noqa: F401  # the first optimizer asks for it

    import autograder.grade.marking  # noqa: F401
