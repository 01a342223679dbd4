"""The authors' verbs: exit codes, JSON, and messages that name the remedy."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autograder.cli import register
from dlcv_lab.cli.frame import FINDINGS, USAGE, Trouble


@pytest.fixture
def dlcv():
    app = typer.Typer(rich_markup_mode="rich")
    register(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def code_of(result):
    return result.exception.code if isinstance(result.exception, Trouble) else result.exit_code


def test_every_verb_explains_itself(dlcv):
    for words in (
        "new-chapter",
        "assemble",
        "verify",
        "slips",
        "release",
        "methods",
        "syllabus",
        "course init",
        "claims run",
    ):
        result = dlcv(*words.split(), "--help")
        assert result.exit_code == 0
        assert "Usage:" in result.output


def test_from_a_new_chapter_to_its_notebooks(workshop, dlcv):
    assert dlcv("new-chapter", "ch99_demo").exit_code == 0
    result = dlcv("syllabus", "99", "--json")
    assert json.loads(result.output)[0]["hours"] == 0.3
    assert dlcv("claims", "run", "ch99").exit_code == 0
    shown = dlcv("claims", "show", "ch99", "--json")
    assert json.loads(shown.output)["ch99_demo"][0]["id"] == "blur_divides_noise"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("assemble ch98", FINDINGS, "did you mean 'ch99'"),
        ("verify ch99 --only nothing", USAGE, "has no exercise 'nothing'"),
        ("release ch99", USAGE, "--to DIR"),
        ("release ch99 --to x --edition free", USAGE, "course, self-study"),
        ("release ch99 --course nowhere", USAGE, "dlcv course init"),
        ("claims run ch99 --only nothing", USAGE, "no claim 'nothing'"),
        ("verify ch99 --only nothing --only unsharp", USAGE, "has no exercise 'nothing'"),
        ("claims run ch99 --only nothing --only blur_divides_noise", USAGE, "no claim 'nothing'"),
        ("new-chapter ch99_other", FINDINGS, "is taken"),
        ("syllabus 99 --hours-a-week 0", USAGE, "above 0"),
    ],
)
def test_what_can_be_mended_is_one_message(demo, dlcv, words, code, says):
    result = dlcv(*words.split())
    assert code_of(result) == code
    assert says in str(result.exception)


def test_several_names_are_given_with_commas_or_again_and_again(demo, dlcv, monkeypatch):
    from autograder.chapter import ledger
    from autograder.release import verify_together

    asked: list[list[str]] = []
    monkeypatch.setattr(ledger, "run_claims", lambda slug, only, *rest: asked.append(list(only)) or [])
    monkeypatch.setattr(verify_together, "verify_rows", lambda *given, only, **more: asked.append(list(only)) or [])
    for words in ("--only box_blur --only unsharp", "--only box_blur,unsharp", "--only box_blur, --only unsharp", ""):
        assert dlcv("verify", "ch99", *words.split()).exit_code == 0
        assert dlcv("claims", "run", "ch99", *words.split()).exit_code == 0
    assert asked == [["box_blur", "unsharp"]] * 6 + [[]] * 2


def test_a_course_is_made(demo, dlcv, tmp_path: Path):
    result = dlcv("course", "init", tmp_path / "cv", "--chapters", "99")
    assert result.exit_code == 0
    assert "Keep a backup of the secret" in result.output
    assert (tmp_path / "cv" / "course.toml").exists()


@pytest.mark.slow
def test_verify_prints_json_and_exits_with_1_on_findings(demo, edit, dlcv):
    edit("autograder/exercises/ch99_demo.py", '"return amount"', '"return 1.0 * middle + amount"')  # fmt: skip
    result = dlcv("verify", "ch99", "--only", "unsharp", "--seeds", "1", "--json")
    assert result.exit_code == FINDINGS
    report = json.loads(result.stdout)[0]
    assert report["exercise"] == "ch99.unsharp"
    assert {"name": "detail_only", "verdict": "OK", "hint_fired": False} in report["misconceptions"]
    assert any("passes on the public cases" in finding for finding in report["findings"])
