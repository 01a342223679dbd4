"""The student's commands: what they print and write, and the exit codes that programs read."""

import hashlib
import json
import sys

import nbformat
import pytest

from dlcv_lab.checking.packs import find_chapter
from dlcv_lab.checking.submit import find_notebooks, submit_folder
from dlcv_lab.cli import main

SETUP = 'import torch\nfrom dlcv_lab import check, start\nstart("ch98")'
STUB = 'def f(x, stride=1):\n    """Return every stride-th row of 2 x."""\n    raise NotImplementedError'
RIGHT = "def f(x, stride=1):\n    return 2 * x[::stride]"
WRONG = "def f(x, stride=1):\n    return 2 * x"
G = "def g(x):\n    return f(x).sum(0)"


def save(folder, *cells, name="lesson_1"):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (SETUP, *cells)])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.ipynb"
    nbformat.write(book, path)
    return path


@pytest.fixture
def dlcv(course, monkeypatch, capsys):
    """Run `dlcv` with some words; return (exit code, standard output, standard error)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["dlcv", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["check"], "say what to check"),
        (["check", "ch98", "--all"], "say what to check"),
        (["check", "ch97"], "Did you mean 'ch98'?"),
        (["check", "ch98.ff"], "Did you mean 'f'?"),
        (["check", "ch98"], "no notebook of ch98 (lesson_1.ipynb) lies in"),
        (["submit", "ch98"], "no notebook of ch98 (lesson_1.ipynb) lies in"),
        (["submit"], "Missing argument"),
        (["hint"], "Missing argument"),
        (["hint", "ch98.h"], "has no exercise 'h'"),
        (["check", "ch98", "--bogus"], "No such option"),
        (["lab", "nowhere"], "nowhere is no folder"),
    ],
)
def test_a_wrong_call_ends_with_two_and_one_sentence(dlcv, words, said):
    code, out, err = dlcv(*words)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err + out


@pytest.mark.parametrize("verb", ["lab", "check", "hint", "next", "progress", "submit", "doctor"])
def test_every_verb_has_help_with_an_example(dlcv, verb):
    code, out, _ = dlcv(verb, "--help")
    assert code == 0
    assert f"dlcv {verb}" in out.partition("Example")[2]


def test_hints_are_counted_together_with_those_of_the_notebook(dlcv):
    assert "What comes out?" in dlcv("hint", "ch98.f")[1]
    assert "hint 2 of 3" in dlcv("hint", "ch98.f")[1]


@pytest.mark.slow
def test_check_judges_the_saved_notebook(dlcv, course):
    save(course / "ch98_small", WRONG, G)
    code, out, _ = dlcv("check", "ch98", "--json")
    found = {item["name"]: item for item in json.loads(out)}
    assert code == 1
    assert (found["f"]["verdict"], found["f"]["score"]) == ("PA", 1.0)
    assert found["f"]["hint"] == "Where does `stride` come in?"
    assert found["g"]["verdict"] == "OK"
    save(course / "ch98_small", RIGHT, G)
    code, out, _ = dlcv("check", "ch98.f")
    assert code == 0
    assert "OK right" in out
    following = json.loads(dlcv("next", "--json")[1])  # another chapter's, where a release with packs is in reach
    assert following is None or not following["exercise"].startswith("ch98.")
    rows = {row["chapter"]: row for row in json.loads(dlcv("progress", "--json")[1])}
    assert (rows["ch98"]["solved"], rows["ch98"]["next"]) == (["f", "g"], None)


@pytest.mark.slow
def test_an_exercise_that_uses_a_missing_one_is_right_with_a_stand_in(dlcv, course):
    save(course, STUB, G)
    code, out, _ = dlcv("check", "ch98", "--json")
    found = {item["name"]: item for item in json.loads(out)}
    assert (code, found["f"]["verdict"], found["g"]["verdict"]) == (1, "NA", "OK")
    assert found["g"]["notes"] == ["right, given a working f"]


@pytest.mark.slow
def test_submit_writes_a_receipt_and_warns_where_the_running_notebook_differs(dlcv, course):
    path = save(course / "ch98_small", WRONG, G)
    code, out, _ = dlcv("submit", "ch98")
    assert code == 0
    assert "partly right" in " ".join(out.split())
    held = json.loads((course / "ch98_small" / "submission.json").read_text())
    assert held["files"] == {"lesson_1.ipynb": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert held["official"] is False
    assert {item["name"]: item["verdict"] for item in held["results"]} == {"f": "PA", "g": "OK"}
    assert set(held["versions"]) == {"dlcv-lab", "torch", "python"}


def test_submit_names_what_it_does_not_read_and_another_python(dlcv, course):
    from dataclasses import replace

    from dlcv_lab.checking.packs import find_chapter
    from dlcv_lab.checking.submit import submit_folder

    place = course / "ch98_small"
    path = save(place, WRONG, G)
    (place / "lesson_1__20261104104101.ipynb").write_bytes(path.read_bytes())
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    chapter = replace(find_chapter("ch98"), python="3.99")
    receipt = submit_folder(chapter, place)
    assert any("lesson_1__20261104104101.ipynb lies beside lesson_1.ipynb" in warning for warning in receipt.warnings)
    assert any("with Python 3.99 and this is Python 3." in warning for warning in receipt.warnings)
    assert "pointer of Git LFS" in receipt.results[0].message


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the file is empty"),
        (b"%PDF", "the file is a PDF"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b'{"nbformat": 3, "worksheets": []}', "in format 3 and 4 is needed"),
        (b" " * (21 * 2**20), "more than 20 MiB|the file is empty"),
    ],
)
def test_an_unreadable_notebook_is_named_with_a_remedy(dlcv, course, raw, reason):
    import re

    folder = course / "ch98_small"
    folder.mkdir()
    (folder / "lesson_1.ipynb").write_bytes(raw)
    code, out, _ = dlcv("check", "ch98", "--json")
    results = json.loads(out)
    assert code == 1
    assert {item["verdict"] for item in results} == {"UR"}
    assert "lesson_1.ipynb" in results[0]["message"]
    assert re.search(reason, results[0]["message"])


def test_notebooks_are_found_in_the_chapters_folder_here_and_as_copies(course):
    chapter = find_chapter("ch98")
    assert find_notebooks(chapter, course) == {}
    copy = save(course, RIGHT, name="lesson_1-Copy1")
    assert find_notebooks(chapter, course) == {"lesson_1": copy.resolve()}
    exact = save(course, RIGHT)
    assert find_notebooks(chapter, course) == {"lesson_1": exact.resolve()}
    inside = save(course / "ch98_small", RIGHT)
    assert find_notebooks(chapter, course) == {"lesson_1": inside.resolve()}
    assert find_notebooks(chapter, course / "ch98_small") == {"lesson_1": inside.resolve()}


def test_a_notebook_of_another_chapter_is_not_taken(course):
    path = save(course, RIGHT)
    path.write_text(path.read_text().replace("ch98", "ch97"))
    assert find_notebooks(find_chapter("ch98"), course) == {}


@pytest.mark.slow
def test_the_verb_warns_where_the_running_notebook_and_the_file_disagree(course):
    save(course / "ch98_small", STUB, "def g(x):\n    raise NotImplementedError")
    names: dict = {"__name__": "__main__"}
    import linecache

    linecache.cache["<cell>"] = (1, None, RIGHT.splitlines(keepends=True), "<cell>")
    exec(compile(RIGHT, "<cell>", "exec"), names)
    receipt = submit_folder(find_chapter("ch98"), course, names)
    assert any("f in your running notebook differs from the one saved" in text for text in receipt.warnings)
    same = dict(names)
    save(course / "ch98_small", RIGHT)
    assert submit_folder(find_chapter("ch98"), course, same).warnings == ()


def test_doctor_names_a_remedy_for_every_line_that_fails(dlcv):
    code, out, _ = dlcv("doctor", "--json")
    found = json.loads(out)
    assert {"Python", "torch", "exercises", "disk"} <= {item["name"] for item in found}
    assert all(item["remedy"] for item in found if item["ok"] is False)
    assert code == int(any(item["ok"] is False for item in found))
