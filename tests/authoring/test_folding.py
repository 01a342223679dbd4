"""What a page prints of a cell: computing is read, drawing folds, asking and alternative texts are not shown."""

from __future__ import annotations

import ast

import pytest

from autograder.chapter import folding, rows

CELL = """needs("f", picture="a curve")
x = torch.arange(3)  # kept
# why it is drawn
show.curves({"f": x}, alt=f"A curve of {len(x)} points, "
            "rising.", title="f rises")
print(x)
reveal("way", x[0], right="up" if x[0] > 0 else "down")"""


def test_computing_is_read_drawing_folds_and_asking_is_left_out():
    read, folded = folding.split(CELL)
    assert read == "x = torch.arange(3)  # kept"
    assert folded == '# why it is drawn\nshow.curves({"f": x}, title="f rises")\nprint(x)'


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('show.images(x, alt="é: a picture", cols=2)', "show.images(x, cols=2)"),
        ('show.images(alt="a", cols=2)', "show.images(cols=2)"),
        ('show.images(\n    x, alt="a",\n    cols=2,\n)', "show.images(\n    x, cols=2,\n)"),
        ('show.images(x,\n            alt="a")', "show.images(x)"),
        ('show.images(\n    x,\n    alt=(\n        "a"\n        "b"\n    ),\n)', "show.images(\n    x,\n)"),
        ('y = "é"; show.images(x, alt="a")', 'y = "é"; show.images(x)'),
    ],
)
def test_alternative_texts_are_taken_out_wherever_they_stand(source, left):
    assert folding.split(source) == ("", left)


def test_a_function_that_draws_belongs_to_the_picture():
    source = "a = 1\n\n\n@cached\ndef draw(k):\n    return show.images(a * k)\n\n\ninteract(draw, k=[1, 2])"
    assert folding.split(source) == ("a = 1", source[source.index("@cached") :])


def test_figures_drawn_by_hand_are_drawing():
    source = "a = 1\nfrom matplotlib.figure import Figure\nfig = Figure()\nshow.figure(fig)"
    assert folding.split(source) == ("a = 1", source[6:])


@pytest.mark.parametrize(
    ("source", "hidden"),
    [
        ("show.images(x)", True),
        ('needs("f")\ninteract(f, k=[1, 2])', True),
        ('reveal("way", 3)', True),
        ("y = show.images(x)", False),
        ("y = 1\nshow.images(y)", False),
        ('predict("?", ["a", "b"], mine=...)', False),  # there the reader writes
        ("%pip list", False),
    ],
)
def test_a_notebook_folds_cells_that_do_nothing_but_draw_or_answer(source, hidden):
    assert folding.only_draws(source) is hidden


@pytest.mark.parametrize("slug", rows.slugs())
def test_what_is_left_of_every_cell_of_the_book_is_python_without_asking(slug):
    for lesson in rows.load_row(slug).notebooks:
        for cell in lesson.cells:
            if cell.kind == "given":
                for part in folding.split(cell.source):
                    body = ast.parse(part).body
                    assert "alt=" not in part
                    assert not any(folding._asks(node) for node in body)
