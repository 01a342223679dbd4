"""The verbs of the notebook, in one place: `from dlcv_lab import check, hint, needs, ...` comes here."""

from dlcv_lab.checking.check import check
from dlcv_lab.checking.help import hint, show_solution, stuck, submit
from dlcv_lab.checking.needs import needs
from dlcv_lab.checking.predictions import foreseen, predict, reveal

__all__ = ["check", "foreseen", "hint", "needs", "predict", "reveal", "show_solution", "stuck", "submit"]
