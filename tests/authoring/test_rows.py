"""A row that does not hold together is refused with a sentence that names the file and the remedy."""

from pathlib import Path

import pytest

from autograder.chapter import row_checks, rows
from autograder.chapter.extras import extras_of
from autograder.chapter.rows import RowError

LESSON = "chapters/ch99_demo/lesson_1.md"
SOLUTION = "solutions/ch99_demo.py"
EXERCISES = "autograder/exercises/ch99_demo.py"


def test_the_skeleton_has_no_findings(demo):
    assert row_checks.findings(demo) == []
    assert demo.key == "ch99"
    assert [exercise.name for exercise in demo.exercises] == ["box_blur", "unsharp"]


@pytest.mark.parametrize(
    ("line", "extras"),
    [("", []), ("import timm", ["vl"]), ("import peft", ["vl"]), ("import open_clip, peft", ["vl"]),
     ("from diffusers import DDIMScheduler", ["diffusion"]), ("from dlcv_lab import show, zoo", ["diffusion", "vl"]),
     ("import timm\nfrom diffusers import DDIMScheduler", ["diffusion", "vl"])],
)  # fmt: skip
def test_the_extras_of_a_chapter_are_read_from_its_imports(demo, edit, line, extras):
    edit(SOLUTION, "import torch\n", f"import torch\n{line}\n")
    assert extras_of(rows.load_row("ch99")) == extras


def test_a_chapter_is_found_by_number_key_and_slug(demo):
    assert {rows.resolve(name) for name in ("99", "ch99", "ch99_demo", "chapters/ch99_demo/")} == {"ch99_demo"}


def test_an_unknown_chapter_suggests_the_nearest(demo):
    with pytest.raises(RowError, match=r"no chapter 'ch98_demo'; did you mean 'ch99_demo'\?"):
        rows.load_row("ch98_demo")


@pytest.mark.parametrize("missing", [SOLUTION, EXERCISES])
def test_a_missing_column_names_the_file_to_write(demo, workshop: Path, missing):
    (workshop / missing).unlink()
    with pytest.raises(RowError, match=missing):
        rows.load_row("ch99")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (LESSON, "# exercise: unsharp", "# exercise: unsharpen", "no exercise is called 'unsharpen'"),
        (LESSON, "# exercise: unsharp", "# exercise: box_blur", "stands twice"),
        (LESSON, "# show: contrast", "# show: brightness", "no function or class is called 'brightness'"),
        (LESSON, "# question: where_blur_hurts", "1 + 1", "no lesson asks 'where_blur_hurts'"),
        (LESSON, "import math\n", "import math\n" + "import os\n" * 4, "the set-up cell has 13 lines; 12 are allowed"),
        (LESSON, 'start("ch99")', 'start("ch98")', 'must end with start("ch99")'),
        (LESSON, "noise = ", "plt.show()\nnoise = ", "a bare plt.show()"),
        (LESSON, "noise = ", "pass\n" * 35 + "noise = ", "36 lines; 35 are allowed"),
        (LESSON, "noise = ", "a = 1" + " + 1" * 40 + "\nnoise = ", "a line of code that is read has 165 columns"),
        (LESSON, ', name="contrast")', ")", "predict has no name"),
        (LESSON, 'reveal("contrast"', 'reveal("other"', "'contrast' is answered 0 times"),
        (LESSON, 'reveal("contrast"', 'reveal("other"', "answers no prediction of this lesson"),
        (LESSON, "/ contrast(noise), fmt", '/ contrast(noise), right="a third", fmt', "right='a third') is fixed"),
        (LESSON, ":::{quick} A window", ":::{quick} A?\n- [x] b\n- c\n\nd.\n:::\n" * 3 + ":::{quick} A window",
         "has 4 quick questions; 3 are allowed"),
        (LESSON, "noise = ", "noise == = ", "not valid Python"),
        (LESSON, ":tags: [deterministic]", ":tags: [raises-exception]", "'raises-exception' is not allowed"),
        (LESSON, 'needs("box_blur"', 'needs("blur"', "needs('blur') names no exercise"),
        (LESSON, "throws detail away", "BEGIN SOLUTION", "may stand in solutions only"),
        (LESSON, "minutes: 20\n", "", "the front matter lacks 'minutes'"),
        (SOLUTION, "    ### BEGIN SOLUTION\n    if", "    if", "do not come in pairs"),
        (SOLUTION, "### BEGIN SOLUTION\n    middle", "# put BEGIN SOLUTION\n    middle", "stands inside other text"),
        (SOLUTION, "return y / k**2\n    ### END SOLUTION", "y = y / k**2\n    ### END SOLUTION\n    return y",
         "given lines stand after the region"),
        (SOLUTION, "y = torch.zeros(", "y = np.zeros(", "the solution uses np"),
        (SOLUTION, 'middle + amount * (middle - box_blur(x, 3))', "contrast(x)", "the solution uses contrast"),
        (EXERCISES, 'uses=("box_blur",),', "uses=(),", "the solution uses box_blur"),
        (EXERCISES, 'box_blur__pooled', 'box_blur__sums', "two variants are called 'sums'"),
        (EXERCISES, "alternative(box_blur__pooled), alternative(box_blur__unfolded)", "alternative(box_blur__pooled),",
         "box_blur has 1 alternatives; declare at least 2"),
        (EXERCISES, '"You add the average and take the detail away: that blurs. Add the detail."', '""',
         "'wrong_sign' needs its hint"),
        (EXERCISES, 'difficulty="easy"', 'difficulty="simple"', "write one of easy, medium, hard"),
        (EXERCISES, "    oracle=blur_library,", "    probe=blur_cases,", "takes ['d']; it takes (ns, data)"),
        (SOLUTION, "y / k**2", "y * k**-2", "box_blur: the slip 'sums': the piece 'y / k**2' does not stand"),
        (EXERCISES, '("ch99/box_blur",),\n    groups={"plain": 1}', '("ch03/convv",),\n    groups={"plain": 1}',
         "the method 'ch03/convv' is not in book/methods.csv"),
        (EXERCISES, "x[1:-1, 1:-1] - amount * box_blur(x, 3)", "helper(x)", "the variant 'weighted' uses helper"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_file(demo, edit, file, old, new, says):
    edit(file, old, new)
    found = row_checks.findings(rows.load_row("ch99"))
    assert any(says in finding for finding in found), found
    column = Path(file).parts[0]
    assert all(column in finding or "ch99" in finding for finding in found)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (EXERCISES, 'name="unsharp"', 'name="box_blur"', "two exercises are called 'box_blur'"),
        (EXERCISES, "import torch\n", "import no_such_module\n", "cannot be imported"),
        (EXERCISES, "box_blur__pooled", "pooled", r"mend \S+/ch99_demo.py:\d+: .*alternative\(pooled\)"),
        (SOLUTION, "def unsharp(", "def sharpen(", "no function or class is called 'unsharp'"),
        (LESSON, "# show: contrast", "# show: contrast\nx = 1", "a placeholder stands alone in its cell"),
        (LESSON, "---\njupytext", "jupytext", "no front matter"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(demo, edit, file, old, new, says):
    edit(file, old, new)
    with pytest.raises(RowError, match=says):
        rows.load_row("ch99")


def test_a_region_without_its_end_is_told_once(demo, edit):
    edit(SOLUTION, "    return y / k**2\n    ### END SOLUTION\n", "    return y / k**2\n")
    found = [finding for finding in row_checks.findings(rows.load_row("ch99")) if "box_blur" in finding]
    assert len(found) == 1, found


def test_fewer_than_three_misconceptions_are_refused(demo, edit, workshop: Path):
    text = (workshop / EXERCISES).read_text()
    start = text.index('        slip("corner"')
    end = text.index("    ),\n    hints", start)
    edit(EXERCISES, text[start:end], "")
    assert any("unsharp has 2 misconceptions" in finding for finding in row_checks.findings(rows.load_row("ch99")))


def test_a_name_shown_in_another_chapter_may_be_graded_here(demo, workshop: Path):
    other = workshop / "chapters" / "ch98_other" / "lesson_1.md"
    other.parent.mkdir()
    other.write_text((workshop / LESSON).read_text().replace("# show: contrast", "# show: box_blur"))
    assert row_checks.findings(rows.load_row("ch99")) == []


def test_two_chapters_of_one_number_are_refused(demo, workshop: Path):
    (workshop / "chapters" / "ch99_other").mkdir()
    (workshop / "chapters" / "ch99_other" / "lesson_1.md").write_text("")
    with pytest.raises(RowError, match="two chapters have the number ch99"):
        rows.slugs()
