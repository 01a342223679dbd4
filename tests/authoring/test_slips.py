"""Slips: patches of a solution's own text, and what a row says about those that do not fit."""

from __future__ import annotations

import dataclasses

import pytest

from autograder.chapter import content_version, row_checks, rows
from autograder.declare import slips
from autograder.declare.draws import Draws
from autograder.declare.slips import combined, slip
from autograder.declare.text import bound_names
from autograder.release import packing

LAYER = '''class Layer:
    """A layer with a scale."""

    def __init__(self, scale):
        given = 1  # scale * x stands here, too, but this line is given
        ### BEGIN SOLUTION
        self.scale = scale  # not scale * x
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        for turn in range(2):

            # twice
            x = self.scale * x
            print(turn)
        return x
        ### END SOLUTION

    def back(self, x):
        ### BEGIN SOLUTION
        x = x / self.scale
        return x
        ### END SOLUTION
'''
HALF = '''def half(x):
    """Divide."""
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION
'''
PARTS = {"Layer": LAYER, "half": HALF}


def made(pieces, name="one"):
    return slip(name, pieces, "a sentence", "student mistake").on(PARTS)


def test_a_piece_of_a_line_is_replaced_and_only_what_changes_is_returned():
    text = made({"x / 2": "x / 3"}).source()
    assert text == 'def half(x):\n    """Divide."""\n    return x / 3\n'
    assert bound_names(made({"x / 2": "x", "self.scale * x": "x"}).source()) == {"Layer", "half"}


def test_lines_are_written_without_the_indentation_of_the_first_and_comments_do_not_count():
    old = """
    for turn in range(2):
        x = self.scale * x
        print(turn)
    """
    text = made({old: "x = x + 1\nx = x * 2"}).source()
    assert "    def forward(self, x):\n        x = x + 1\n        x = x * 2\n        return x\n" in text
    assert "#" not in text


def test_whole_lines_are_removed():
    assert "range(2):\n            x = self.scale * x\n        return x" in made({"print(turn)": ""}).source()


def test_an_added_line_takes_the_indentation_of_its_neighbour():
    text = made({"print(turn)": "print(turn)\nif turn:\n    break"}).source()
    assert "            print(turn)\n            if turn:\n                break\n" in text


def test_a_piece_that_fills_its_line_means_that_line():
    assert "        return 0\n" in made({("forward", "return x"): "return 0"}).source()
    assert made({"return x / 2": "return x"}).source().endswith("    return x\n")


def test_a_function_or_method_can_be_named():
    assert "x = x / 1\n" in made({("Layer.back", "self.scale"): "1"}).source()
    with pytest.raises(slips.SlipError, match="inside __init__"):
        made({("__init__", "x / self.scale"): "1"}).source()


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ({"given = 1": "given = 2"}, r"'given = 1' does not stand in the solution regions of Layer, half"),
        ({"x / 4": "x"}, r"does not stand .*near it: .*copy it from the solution as it is now"),
        ({"return x": "return 0"}, r"'return x' stands 3 times .*\(function, piece\)"),
        ({"scal": "x"}, "does not stand"),  # not in the middle of a name
        ({"x / 2": "x", "return x / 2": "return 0"}, "two of its pieces overlap"),
        ({"x / 2": "(x"}, r"no valid Python .*'return \(x'.*mend the replacement"),
        ({("back", "x = x / self.scale\nreturn x"): ""}, "needs `pass`"),
    ],
)
def test_a_slip_that_does_not_fit_says_why(pieces, says):
    with pytest.raises(slips.SlipError, match=rf"(?s)the slip 'one': .*{says}"):
        made(pieces).tree()


def test_a_slip_of_no_row_says_where_to_take_it_from():
    with pytest.raises(slips.SlipError, match="load_row"):
        slip("one", {"x": "y"}, "a sentence", "student mistake").source()


def test_slips_compose_where_they_do_not_overlap():
    first, second = made({"x / 2": "x / 3"}, "first"), made({"self.scale * x": "x"}, "second")
    both = combined(first, second)
    assert both is not None
    assert both.name == "first+second"
    assert "x / 3" in both.source()
    assert "x = x\n" in both.source()
    assert combined(first, made({"return x / 2": "return 0"})) is None


@pytest.fixture
def with_slips(demo):
    def change(*own):
        exercise = demo.exercise_by_name["unsharp"]
        parts = {name: demo.source(name) for name in exercise.defines}
        return dataclasses.replace(exercise, misconceptions=tuple(one.on(parts) for one in own))

    return change


def test_a_row_refuses_slips_that_are_the_reference_or_one_another(with_slips):
    middle = "x[1:-1, 1:-1]"
    exercise = with_slips(
        slip("same", {middle: "x[1:-1,  1:-1]"}, "a sentence", "a source"),
        slip("corner", {middle: "x[:-2, :-2]"}, "a sentence", "a source"),
        slip("again", {middle: "(x[:-2, :-2])"}, "a sentence", "a source"),
        slip("gone", {"no such piece": ""}, "a sentence", "a source"),
    )
    found = list(slips.faults(exercise))
    assert [fault.split(";")[0] for fault in found[:2]] == [
        "unsharp: the slip 'same': it is the reference itself",
        "unsharp: the slips 'corner' and 'again' make the same solution",
    ]
    assert "the piece 'no such piece'" in found[2]
    assert len(found) == 3


def test_a_row_names_the_file_of_a_slip_that_no_longer_applies(demo, edit):
    file = "autograder/exercises/ch99_demo.py"
    first = '        slip("wrong_sign"'
    edit(file, first, "        slip('drifted', {'no such piece': ''}, 'a long sentence', 'a source'),\n" + first)
    found = [finding for finding in row_checks.findings(rows.load_row("ch99")) if "drifted" in finding]
    assert len(found) == 1
    assert found[0].startswith(file.split("/")[0])
    assert "unsharp: the slip 'drifted'" in found[0]


def test_another_import_or_mistake_in_the_file_leaves_the_version_and_another_draw_does_not(demo, edit, monkeypatch):
    def version():
        row = rows.load_row("ch99")
        return packing.info_of(row, row.exercise_by_name["box_blur"]).version

    file, before = "autograder/exercises/ch99_demo.py", version()
    edit(file, "import Exercise, Question,", "import Exercise, Question, mistaken,")
    assert version() == before
    edit(file, '{"y / k**2": "y / k"}', '{"y / k**2": "y / k / 2"}')
    assert version() == before
    monkeypatch.setattr(Draws, "normal", Draws.uniform)
    assert version() != before


def test_a_changed_mistake_expires_no_verdict_but_is_verified_and_packed_again(demo, with_slips):
    before = demo.exercise_by_name["unsharp"]
    after = with_slips(slip("corner", {"x[1:-1, 1:-1]": "x[:-2, :-2]"}, "a sentence", "a source"))
    info = packing.info_of(demo, before)
    assert packing.info_of(demo, after).version == info.version
    assert content_version.wording_of(after) != content_version.wording_of(before)
    changed = dataclasses.replace(demo, exercises=(after,))
    assert content_version.verified_as(changed, info) != content_version.verified_as(demo, info)


def test_changes_that_say_the_same_in_two_definitions_are_made_at_once():
    one, other = made({"x / 2": "x / 3"}), made({"x / self.scale": "x / 3"}, "two")
    (both,) = slips.alike([one, other, dataclasses.replace(made({"x / 2": "x"}, "three"), hint="other")])
    assert both.name == "one"
    assert "return x / 3" in both.source()
    assert "x = x / 3" in both.source()
    assert slips.alike([one, made({"x / 2": "x / 4"}, "two")]) == []
    assert slips.alike([one, other], 0) == []
