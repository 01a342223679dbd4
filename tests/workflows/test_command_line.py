"""What the command line must not load, and what it says about questions that no program marks."""

from __future__ import annotations

import subprocess
import sys

HELP = """
import sys
from dlcv_lab.cli import build_app
build_app()
heavy = {"torch", "numpy", "matplotlib", "nbgrader", "sphinx", "IPython"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""


def test_the_verbs_are_known_before_torch_is_loaded():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
