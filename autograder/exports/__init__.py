"""Marks on their way out: Gradescope, nbgrader's CSV, Canvas, Moodle, JUnit XML, JSON lines (docs/exports.md)."""

from __future__ import annotations


class ExportError(ValueError):
    """A file that cannot be read or written as asked; the message names it and the remedy. Nothing was written."""
