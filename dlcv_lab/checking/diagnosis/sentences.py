"""What the generic diagnoser says."""

from __future__ import annotations

from dlcv_lab.checking.messages import say
from dlcv_lab.checking.model import Diagnosis


def generic(key: str, **given: object) -> Diagnosis:
    """Return the sentence of a key, with its evidence filled in."""
    return Diagnosis(key, say(f"diagnosis.{key}", **given), "generic")
