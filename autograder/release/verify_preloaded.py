"""What every worker of `dlcv verify` needs, imported once by the process that forks the workers."""

from __future__ import annotations

from autograder.release.warm_start import without_collections

with without_collections():
    import torch._dynamo  # noqa: F401  # the first optimizer asks for it

    import autograder.release.verify  # noqa: F401
