"""What the command line must not load, and what it says about questions that no program marks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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


def test_written_questions_are_named_though_no_program_marks_them(tmp_path, monkeypatch, capsys):
    from dlcv_lab.cli import main

    notebook = {"stem": "lesson_1", "title": "One", "minutes": 5, "exercises": [], "written": ["why"]}
    contents = {"chapter": "ch98", "slug": "ch98_small", "title": "Small", "version": "0", "notebooks": [notebook]}
    place = tmp_path / "packs" / "ch98_small" / "chapter.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(contents))
    monkeypatch.setenv("DLCV_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("DLCV_BUILD", str(tmp_path / "build"))
    monkeypatch.chdir(tmp_path)

    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dlcv", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        return capsys.readouterr().out

    assert json.loads(said("progress", "--json"))[0]["written"] == ["why"]
    assert "marked by hand" in said("progress")
