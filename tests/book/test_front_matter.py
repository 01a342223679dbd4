"""The pages that people write: their commands exist, vendored files keep their licence."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from autograder.base import paths
from autograder.chapter import book_plan

BOOK = paths.CHECKOUT / "book"
PAGES = sorted([*BOOK.glob("*.md"), *(BOOK / "howto").glob("*.md")])


def verbs(text: str) -> set[str]:
    """Return the verbs after `dlcv` in code blocks and code spans, with a group's second word: "claims run"."""
    code = re.findall(r"```(?:bash|yaml)\n(.*?)```", text, re.S) + re.findall(r"`([^`\n]+)`", text)
    found = re.findall(r"(?:^|\s)dlcv ((?:course|claims|zoo) \w[\w-]*|[a-z][\w-]*)", "\n".join(code))
    return set(found)


def known(app: typer.Typer) -> set[str]:
    command = typer.main.get_command(app)
    names: set[str] = set()
    for name, inner in getattr(command, "commands", {}).items():
        names |= {name} | {f"{name} {sub}" for sub in getattr(inner, "commands", {})}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_on_a_page_exists(page):
    from dlcv_lab.cli import build_app

    missing = verbs(page.read_text(encoding="utf-8")) - known(build_app())
    assert not missing, f"{page.name} names commands that dlcv does not have"


def examples() -> list[str]:
    """Return every line of a code block that calls dlcv, without its comment."""
    blocks = [
        block for page in PAGES for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    ]
    lines = [line.split("#")[0].split(">")[0].strip() for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("dlcv ")})


@pytest.mark.parametrize("line", examples())
def test_every_example_has_options_that_dlcv_takes(line):
    from dlcv_lab.cli import build_app

    command = typer.main.get_command(build_app())
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("dlcv", words)  # parses without running; an unknown option or missing argument raises


def test_the_how_to_pages_are_those_of_the_contents():
    assert {path.stem for path in (BOOK / "howto").glob("*.md")} == set(book_plan.HOWTO)


def test_pages_speak_to_the_reader_in_short_lines():
    for page in PAGES:
        long = [
            line
            for line in page.read_text(encoding="utf-8").splitlines()
            if len(line) > 130 and not line.startswith(("|", "  <", "!["))
        ]
        assert not long, page.name


def test_katex_lies_in_the_book_with_its_licence_and_only_local_fonts():
    home = BOOK / "_static" / "vendor" / "katex"
    assert "MIT" in (home / "LICENSE").read_text(encoding="utf-8")
    named = set(re.findall(r"url\(([^)]+)\)", (home / "katex.min.css").read_text(encoding="utf-8")))
    assert named == {f"fonts/{path.name}" for path in (home / "fonts").iterdir()}


def test_the_runtime_of_models_lies_in_the_book_with_its_licence():
    home = BOOK / "_static" / "vendor" / "onnxruntime"
    assert "MIT" in (home / "LICENSE").read_text(encoding="utf-8")
    assert (home / "ThirdPartyNotices.txt").is_file()
    version = (home / "VERSION").read_text(encoding="utf-8").split()[1].rstrip(",")
    assert f"ONNX Runtime Web v{version}" in (home / "ort.wasm.min.js").read_text(encoding="utf-8")[:200]
    assert f'"version":"{version}"' in (home / "runtime.js").read_text(encoding="utf-8")[:200]


@pytest.mark.parametrize(("name", "most"), [("katex", 2), ("onnxruntime", 6)])
def test_vendored_files_stay_small(name, most):
    size = sum(path.stat().st_size for path in (BOOK / "_static" / "vendor" / name).rglob("*") if path.is_file())
    assert size < most * 2**20


def test_the_plan_has_one_short_sentence_a_chapter():
    raw = tomllib.loads(Path(BOOK / "chapters.toml").read_text(encoding="utf-8"))
    for part in raw["parts"]:
        for chapter in part["chapters"]:
            assert chapter["after"].endswith("."), chapter["slug"]
            assert len(chapter["after"]) <= 180, chapter["slug"]


def test_the_book_wears_the_colours_of_its_pictures():
    from dlcv_lab.palette import COLOURS

    style = (BOOK / "_static" / "book.css").read_text(encoding="utf-8")
    assert f"--pst-color-primary: {COLOURS['blue']};" in style
    assert f"--pst-color-secondary: {COLOURS['vermilion']};" in style
    logo = (BOOK / "_static" / "logo.svg").read_text(encoding="utf-8")
    assert COLOURS["blue"] in logo
    assert COLOURS["vermilion"] in logo
