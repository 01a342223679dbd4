"""The verbs of the notebook, in one place: `from dlcv_lab import check, hint, needs, ...` comes here."""

from dlcv_lab.checking.check import check
from dlcv_lab.checking.help import hint, show_solution, stuck, submit
from dlcv_lab.checking.needs import needs
from dlcv_lab.checking.predictions import predict

__all__ = ["check", "hint", "needs", "predict", "show_solution", "stuck", "submit"]
