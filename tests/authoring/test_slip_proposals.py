"""`dlcv slips`: mutations of a reference as slips, and which of them the cases let through."""

from __future__ import annotations

import ast
import json

import pytest

from autograder.chapter import new_chapter, rows
from autograder.cli import register
from autograder.declare import slip
from autograder.release import mutations, slip_proposals
from autograder.sandbox import SandboxRunner
from dlcv_lab.cli.frame import USAGE, Trouble

EXERCISES = "autograder/exercises/ch99_demo.py"
SOURCE = '''def f(x: Float[Tensor, "N D"], n: int, *, keep=True):
    """Do it."""
    given = x * 7
    ### BEGIN SOLUTION
    y = torch.sqrt(x.T) + 1  # a comment with x.T
    if not keep and n < 3:
        y -= -n
    with torch.no_grad():
        z = y.sum(dim=0, keepdim=True)
    return helper(y, z), (y if keep else z)
    ### END SOLUTION
'''


@pytest.fixture
def proposed(demo):
    exercise = demo.exercise_by_name["box_blur"]
    return list(mutations.proposals(exercise, {"f": SOURCE}))


@pytest.mark.parametrize(
    ("what", "made"),
    [
        ("operator", "y = torch.sqrt(x.T) - 1"),
        ("drops_sqrt", "y = x.T + 1"),
        ("not_transposed", "y = torch.sqrt(x) + 1"),
        ("one_more", "y = torch.sqrt(x.T) + 2"),
        ("compares", "if not keep and n <= 3:"),
        ("and_or", "if not keep or n < 3:"),
        ("drops_not", "if keep and n < 3:"),
        ("never", "if False:"),
        ("drops_sign", "y -= n"),
        ("overwrites", "y = -n"),
        ("drops_statement", "        pass"),
        ("without_with", "    z = y.sum(dim=0, keepdim=True)\n"),
        ("mean_for_sum", "z = y.mean(dim=0, keepdim=True)"),
        ("drops_dim", "z = y.sum(keepdim=True)"),
        ("drops_keepdim", "z = y.sum(dim=0)"),
        ("other_keepdim", "z = y.sum(dim=0, keepdim=False)"),
        ("swaps_arguments", "return helper(z, y), (y if keep else z)"),
        ("swaps_items", "return y if keep else z, (helper(y, z))"),
        ("always", "return helper(y, z), (y)"),
        ("ignores_keep", "    keep = True\n    y = torch.sqrt(x.T) + 1"),
        ("without", "y = torch.sqrt(x.T)\n"),
        ("by_count_x", "return (helper(y, z)) / len(x), (y if keep else z)"),
        ("times_count_x", "return (helper(y, z)) * len(x), (y if keep else z)"),
        ("by_length_x", "return (helper(y, z)) / x.shape[-1], (y if keep else z)"),
        ("other_axis", "z = y.sum(dim=1, keepdim=True)"),
    ],
)
def test_each_kind_of_mutation_is_proposed(proposed, what, made):
    assert any(one.name == what and made in one.source() for one in proposed), [
        one.source() for one in proposed if one.name == what
    ]


def test_proposals_apply_differ_from_each_other_and_leave_given_lines_alone(proposed):
    trees = [one.tree() for one in proposed]
    assert len(set(trees)) == len(trees) > 20
    assert all("given = x * 7" in one.source() for one in proposed)
    assert all(len(piece.old) > 2 for one in proposed for piece in one.pieces)


@pytest.mark.parametrize(
    ("source", "what", "made", "clause"),
    [
        ("for part in x:\n        y = y - part", "first_round", "list(x)[:1]", "a loop ends after its first round"),
        ("for part in x:\n        y = y - part", "reversed", "(part) - (y)", "taken the wrong way round"),
        (
            "y = n**2 * x.mean(0)",
            "absolute",
            "abs(n) * x",
            "absolute values stand where squares belong, where `n` comes",
        ),
        ("y = x.mean(0)", "amax_for_mean", "x.amax(0)", "`amax` stands where `mean` belongs, where `x` comes in"),
        ("y = x.mean(0)", "other_axis", "x.mean(1)", "a step goes along another axis, where `x` comes in"),
        ("y = x - n", "operator", "x + n", "a sum stands where a difference belongs, where `x` and `n` come in"),
        ("y = n - x", "by_count_x", "(n) / len(x)", "divided by the length of `x` that must not be"),
        ("if n > 1:\n        raise ValueError(n)", "never", "if False", ""),
        ("y = x.float()", "drops_float", "y = x", ""),
    ],
)
def test_a_mutation_is_told_without_a_word_of_the_solution(demo, source, what, made, clause):
    text = (
        f"def f(x: Tensor, n):\n    ### BEGIN SOLUTION\n    y = 0\n    {source}\n    return y\n    ### END SOLUTION\n"
    )
    found = mutations.proposals(demo.exercise_by_name["box_blur"], {"f": text})
    told = [one.hint for one in found if one.name == what and made in one.source()]
    assert told
    assert all(clause in hint if clause else not hint for hint in told), told


def test_a_line_can_be_pasted_as_it_is(proposed):
    for one in proposed:
        call = ast.parse("(" + slip_proposals.line_of(one) + ")", mode="eval").body.elts[0]
        name, pieces, *rest = map(ast.literal_eval, call.args)
        assert slip(name, pieces, *rest).on({"f": SOURCE}).tree() == one.tree()


@pytest.fixture(scope="module")
def runner():
    """One warm sandbox for all tests here."""
    lesson = (new_chapter.SKELETON / "lesson_1.md").read_text()
    setup = lesson[lesson.index("import math") : lesson.index('start("ch99")')]
    with SandboxRunner(None, "ch99", setup=setup) as runner:
        yield runner


@pytest.fixture
def propose(demo, runner):
    def run(name):
        row = rows.load_row("ch99")
        return slip_proposals.propose(row, row.exercise_by_name[name], runner, draws=1)

    return run


@pytest.mark.slow
def test_what_passes_is_named_and_what_has_an_answer_of_its_own_is_a_candidate(propose, edit):
    found = propose("unsharp")
    fates = {(one.slip.name, one.fate) for one in found}
    assert ("operator", "known") in fates  # the sign, which a slip of the skeleton tells
    assert not any(one.fate == "passes" for one in found)
    assert any(one.fate == "candidate" and one.wrong for one in found)


@pytest.mark.slow
def test_a_weak_set_of_cases_lets_mutations_pass(propose, edit):
    edit(EXERCISES, '        case("edge", "window too large", x=d.normal(3, 5), k=4),\n', "")
    found = propose("box_blur")
    passes = [slip_proposals.line_of(one.slip) for one in found if one.fate == "passes"]
    assert any(line.startswith('slip("never"') for line in passes), passes
    report = list(slip_proposals.told(found))
    assert report[0].startswith(f"{len(passes)} mutations pass")
    assert report[1 : 1 + len(passes)] == [f"    {line}" for line in passes]


@pytest.mark.slow
def test_the_verb_writes_json_and_refuses_an_unknown_exercise(demo):
    import typer
    from typer.testing import CliRunner

    app = typer.Typer(rich_markup_mode="rich")
    register(app)
    result = CliRunner().invoke(app, ["slips", "ch99.unsharp", "--draws", "0", "--json"])
    told = json.loads(result.stdout)
    assert {"slip", "fate", "verdict", "wrong", "known"} == set(told[0])
    wrong = CliRunner().invoke(app, ["slips", "ch99.unsharpen"])
    assert isinstance(wrong.exception, Trouble)
    assert wrong.exception.code == USAGE
    assert "it has box_blur, unsharp" in str(wrong.exception)
