"""MyST becomes what JupyterLab and Colab show; code and unknown text stay as they are."""

import pytest

from autograder.chapter.markup import MarkupError, Rewriter, headings
from autograder.chapter.references import Reference, ReferencesError, load

REFERENCES = {
    "ioffe2015batch": Reference("Ioffe & Szegedy 2015", "Batch Normalization", "https://arxiv.org/abs/1502.03167"),
    "lecun1998gradient": Reference("LeCun et al. 1998", "Gradient-based learning", ""),
}


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("as {cite:p}`ioffe2015batch` say", "as ([Ioffe & Szegedy 2015](https://arxiv.org/abs/1502.03167)) say"),
        ("{cite:t}`lecun1998gradient` say", "LeCun et al. 1998 say"),
        ("see {ref}`the start <sec-a>` and {ref}`sec-a`", "see the start and Where it begins"),
        ("see {doc}`the map <../map>`", "see the map"),
        ("{math}`x^2`", "$x^2$"),
        ("`{cite:p}` and ``{ref}`x` `` stay", "`{cite:p}` and ``{ref}`x` `` stay"),
        ("(sec-a)=\n## Where it begins", "## Where it begins"),
        ("% a note to authors\ntext", "text"),
        (":::{note}\nMind the {math}`k`.\n:::", "> **Note.** Mind the $k$."),
        ("```{admonition} A trap\nTwo\n\nlines\n```", "> **A trap.** Two\n>\n> lines"),
        (":::{dropdown} Answer\nYes.\n:::", "<details>\n<summary>Answer</summary>\n\nYes.\n\n</details>"),
        ("```python\nx = '{cite:p}`a`'\n```", "```python\nx = '{cite:p}`a`'\n```"),
        ("```{math}\nx^2\n```", "$$\nx^2\n$$"),
    ],
)
def test_roles_and_directives_are_rewritten(myst, plain):
    assert Rewriter(REFERENCES, {"sec-a": "Where it begins"}).rewrite(myst) == plain


def test_directives_may_be_nested_and_hold_code():
    text = "::::{dropdown} Answer\n:::{tip}\nTry\n:::\n```python\nx = 1\n```\n::::"
    plain = Rewriter(REFERENCES).rewrite(text)
    assert "> **Tip.** Try" in plain
    assert "```python\nx = 1\n```" in plain


def test_the_bibliography_lists_what_was_cited_before():
    rewriter = Rewriter(REFERENCES)
    rewriter.rewrite("{cite:p}`lecun1998gradient`")
    assert rewriter.rewrite("```{bibliography}\n:filter: x\n```") == "- LeCun et al. 1998: Gradient-based learning."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{cite:p}`nobody2020`", "'nobody2020' is not in book/references;"),
        ("{glue}`x`", "the role {glue} cannot be shown"),
        ("```{figure} a.png\n```", "the directive {figure} cannot be shown"),
        (":::{note}\nnever closed", "is not closed"),
    ],
)
def test_what_notebooks_cannot_show_is_refused(text, says):
    with pytest.raises(MarkupError, match=says):
        Rewriter(REFERENCES).rewrite(text)


def test_headings_are_found_by_label():
    assert headings("(a)=\n\n## One `two`\ntext\n(b)=\n# Three") == {"a": "One `two`", "b": "Three"}


def test_labels_and_links_come_from_bibtex(tmp_path):
    path = tmp_path / "references.bib"
    path.write_text(
        "@article{a, author={Van Gogh, Vincent and Turing, Alan}, title={{T}wo}, year=2001, doi={10.1/2}}\n"
        "@misc{b, author={One, A and Two, B and Three, C}, title={X}, year=2002, eprint={1502.03167}}\n"
        "@misc{c, author={N{\\'e}el, A and others}, title={{\\'E}t{\\'e}}, year=2003}\n"
    )
    found = load([path])
    assert found["a"] == Reference("Van Gogh & Turing 2001", "Two", "https://doi.org/10.1/2")
    assert found["b"].label == "One et al. 2002"
    assert (found["c"].label, found["c"].title) == ("Néel et al. 2003", "Été")
    assert found["b"].link == "https://arxiv.org/abs/1502.03167"


def test_files_are_one_bibliography_and_no_key_stands_twice(tmp_path):
    one, two = tmp_path / "ch01.bib", tmp_path / "ch02.bib"
    one.write_text("@misc{a, author={One, A}, title={X}, year=2002}\n")
    two.write_text("@misc{b, author={Two, B}, title={Y}, year=2003}\n")
    assert load([one, two]).keys() == {"a", "b"}
    two.write_text("@misc{a, author={Two, B}, title={Y}, year=2003}\n")
    with pytest.raises(ReferencesError, match="'a' stands in another file"):
        load([one, two])
    assert len(load()) > 60, "the files of the book"
