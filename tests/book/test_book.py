"""The steps of `dlcv book` that need no Sphinx."""

from __future__ import annotations

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from autograder.book import web_book
from autograder.book.lesson_pages import page_of

STUB = 'def f(x):\n    """Add\n    one.\n\n    Args: x.\n    """\n    raise NotImplementedError'


def executed():
    solution = new_code_cell("def f(x):\n    return x + 1", id="ch03-f", outputs=[])
    solution.metadata["dlcv"] = {"exercise": "f", "stub": STUB}
    check = new_code_cell('check("f")', id="ch03-f-check", outputs=[new_output("stream", text="right")])
    check.metadata["dlcv"] = {"check": "f"}
    return new_notebook(cells=[new_markdown_cell("# A", id="a"), solution, check])


def test_a_page_shows_the_stub_and_keeps_what_the_reference_printed():
    page = page_of(executed(), with_solutions=False)
    sources = [cell.source for cell in page.cells]
    assert sources[1] == "```python\ndef f(x):\n```\n\nAdd one."
    assert "raise NotImplementedError" in sources[2]
    assert page.cells[2].metadata["tags"] == ["hide-input"]
    assert "x + 1" not in "".join(sources)
    assert page.cells[3].source, "without source the page would lose the output"
    assert page.cells[3].outputs[0].text == "right"
    assert page.cells[3].metadata["tags"] == ["check", "remove-input"]


def test_a_page_with_solutions_folds_the_reference_below_its_stub():
    page = page_of(executed(), with_solutions=True)
    assert "raise NotImplementedError" in page.cells[2].source
    assert page.cells[3].source.startswith("::::{dropdown} A worked solution of `f`")
    assert "return x + 1" in page.cells[3].source
    assert len({cell.id for cell in page.cells}) == len(page.cells)


def test_mirror_copies_changes_and_removes_what_is_gone(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    (source / "x").mkdir(parents=True)
    (source / "x" / "new").write_text("1")
    (target / "y").mkdir(parents=True)
    (target / "y" / "old").write_text("2")
    web_book.mirror(source, target)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == ["x/new"]
    (source / "x" / "new").write_text("22")
    web_book.mirror(source, target)
    assert (target / "x" / "new").read_text() == "22"


def test_the_log_of_a_build_is_read_without_colours_and_repetition():
    log = "\x1b[31m/a/b.md:3: WARNING: undefined label\x1b[39;49;00m\nreading\n/a/b.md:3: WARNING: undefined label\n"
    assert web_book.warnings_of(log) == ["/a/b.md:3: WARNING: undefined label"]


def test_drawing_folds_below_what_is_read_and_keeps_the_outputs():
    cell = new_code_cell(
        'needs("f")\ny = f(3)\nshow.images(y, alt="three")', id="a", outputs=[new_output("stream", text="7")]
    )
    read, folded = page_of(new_notebook(cells=[cell]), with_solutions=False).cells
    assert (read.source, list(read.outputs)) == ("y = f(3)", [])
    assert folded.source == "show.images(y)"
    assert folded.metadata["tags"] == ["hide-input"]
    assert folded.metadata["mystnb"]["code_prompt_show"] == "The picture's code"
    assert folded.outputs[0].text == "7"


def test_a_long_experiment_folds_as_a_whole():
    source = "\n".join(f"a{n} = {n}" for n in range(15)) + "\nshow.images(a1)"
    (cell,) = page_of(new_notebook(cells=[new_code_cell(source, id="a")]), with_solutions=False).cells
    assert "a10 = 10" in cell.source
    assert cell.metadata["mystnb"]["code_prompt_show"] == "The experiment's code"


def test_a_class_is_asked_for_by_its_signatures():
    stub = 'class A(nn.Module):\n    """Hold a weight."""\n\n    def __init__(self):\n        super().__init__()\n\n'
    stub += '    def forward(self, x):\n        """Scale."""\n        raise NotImplementedError'
    solution = new_code_cell("", id="s")
    solution.metadata["dlcv"] = {"exercise": "A", "stub": stub}
    asked = page_of(new_notebook(cells=[solution]), with_solutions=False).cells[0].source
    assert asked == (
        "```python\nclass A(nn.Module):\n    def __init__(self):\n    def forward(self, x):\n```\n\nHold a weight."
    )


def test_code_that_folds_and_shows_nothing_stands_in_the_next_fold():
    helper = new_code_cell("def draw(x):\n    return x", id="a", metadata={"tags": ["hide-input"]})
    drawing = new_code_cell(
        "draw(3)", id="b", metadata={"tags": ["hide-input"]}, outputs=[new_output("stream", text="7")]
    )
    after = new_code_cell("show.images(y)", id="c")
    first, second = page_of(new_notebook(cells=[helper, drawing, after]), with_solutions=False).cells
    assert first.source == "def draw(x):\n    return x\n\n\ndraw(3)"
    assert first.outputs[0].text == "7"
    assert second.source == "show.images(y)"


def shown(html: str) -> str:
    cell = new_code_cell("x = 1", id="a", outputs=[new_output("display_data", data={"text/html": html})])
    return page_of(new_notebook(cells=[cell]), with_solutions=False).cells[0].outputs[0].data["text/html"]


def test_a_wrong_verdict_is_not_announced_twice():
    told = "<p>For comparison, what a wrong answer reads: ✗ wrong type or shape 0 of 5 cases right. One.</p>"
    assert shown(told) == "<p>✗ wrong type or shape: 0 of 5 cases right. One.</p>"


def test_a_value_that_is_an_option_is_said_once():
    told = '<p class="dlcv-reveal">{}</p>'
    assert shown(told.format("You said “a”; it was b, c: “b, c” is right.")) == told.format(
        "You said “a”; it was “b, c”."
    )
    assert shown(told.format("It was 3: “three” is right.")) == told.format("It was 3: “three” is right.")
