"""What runs: definitions, imports and the assignments that an exercise reaches, from source text alone."""

import ast
import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcv_lab.checking.extract import extract, grade_id, reached_sources
from dlcv_lab.checking.magics import as_python
from dlcv_lab.checking.model import ExerciseInfo
from dlcv_lab.checking.notebook_reader import Cell, UnreadableError, read_cells

STUB = 'def f(x):\n    """Double x."""\n    raise NotImplementedError'


def info(name="f", defines=("f",), stub=STUB, uses=()) -> ExerciseInfo:
    return ExerciseInfo(
        "ch98", name, "lesson", defines, 1.0, True, {"plain": 1.0}, 5, "easy", "", uses, ("a", "b", "c"), stub,
        "def run(ns, data):\n    return ns.f(**data)\n", "import torch",
    )  # fmt: skip


def program(*cells, infos=None, **changes):
    """Extract exercise f; a cell is its text, or (text, exercise whose solution cell it is)."""
    pairs = [(cell, None) if isinstance(cell, str) else (cell[0], grade_id(f"ch98.{cell[1]}")) for cell in cells]
    made = [Cell(number, home, text) for number, (text, home) in enumerate(pairs, 1)]
    first = info(**changes)
    return extract(made, first, infos or [first])


SOLUTION = ("def f(x):\n    return helper(x) * factor", "f")


def test_helpers_and_reached_assignments_count_and_the_rest_is_dropped():
    found = program(
        "import numpy as np\nfactor = base + 1\nbase = 1\nother = load()\nprint(1)\nplt.show()",
        "def helper(x):\n    return np.abs(x)",
        SOLUTION,
        "result = f(3)\nassert result == 6",
    )
    assert found.statements == (
        "import numpy as np",
        "factor = base + 1",
        "base = 1",
        "def helper(x):\n    return np.abs(x)",
        SOLUTION[0],
    )
    assert found.attempted
    assert found.setup == "import torch"


@pytest.mark.parametrize(
    "text",
    [
        "lut = [1, 2]",
        "from functools import partial\nlut = partial(print, 2)",
        "a, lut = 1, 2",
        "lut: int = 3",
        "class Lut:\n    pass\nlut = Lut()\nlut.size = 3",
        "lut = {}\nlut['a'] = 1",
        "lut = 0\nlut += 2",
        "for i in range(3):\n    lut = i",
    ],
)
def test_every_way_to_bind_a_name_counts(text):
    found = program(text, ("def f(x):\n    return lut", "f"))
    assert "\n".join(found.statements[:-1]) == text


def test_a_definition_under_if_or_try_counts_without_the_calls_beside_it():
    found = program(
        "if True:\n    print('hi')\n    def helper(x):\n        return x\nelse:\n    crash()",
        "try:\n    from fast import factor\nexcept ImportError:\n    factor = 2\n    warn()",
        SOLUTION,
    )
    assert "print" not in "".join(found.statements)
    assert "crash" not in "".join(found.statements)
    assert "warn" not in "".join(found.statements)
    assert "def helper" in found.statements[0]
    assert "factor = 2" in found.statements[1]


def test_magics_are_dropped_and_the_body_of_a_timed_cell_counts():
    found = program(
        "%matplotlib inline\n!pip install x\nfactor = 2\nx = !ls\nf?",
        "%%time\ndef helper(x):\n    return x",
        "%%bash\nrm -rf /",
        SOLUTION,
    )
    assert found.statements == ("factor = 2", "def helper(x):\n    return x", SOLUTION[0])
    assert not found.notes


def test_names_local_to_a_function_do_not_reach_a_demo_of_the_same_name():
    found = program(
        "photo = load()\nout = f(photo)\nloss = train(50)",
        ("def f(x):\n    out = 2 * x\n    loss = [photo for photo in out]\n    return loss", "f"),
    )
    assert len(found.statements) == 1


def test_a_variable_that_a_function_reads_is_reached_from_inner_functions_too():
    found = program("factor = 2", ("def f(x):\n    return [g() for g in (lambda: factor * x,)]", "f"))
    assert found.statements[0] == "factor = 2"


def test_filling_a_reached_variable_counts():
    found = program(
        "lut = []\nother = []\nlut.append(1)\nother.append(2)\nplt.plot(lut)\nf.cache_clear()",
        "for i in range(3):\n    lut.append(i)\n    print(i)",
        ("def f(x):\n    return lut[x] + plt.x", "f"),
    )
    assert found.statements[:-1] == ("lut = []", "lut.append(1)", "for i in range(3):\n    lut.append(i)")


def test_blocks_keep_only_what_counts():
    found = program(
        "with torch.no_grad():\n    factor = 2\n    print(factor)\n    slow = train()",
        "try:\n    risky()\nexcept ValueError:\n    pass",
        "def helper(x):\n    return x",
        SOLUTION,
    )
    assert found.statements[0] == "with torch.no_grad():\n    factor = 2"
    assert len(found.statements) == 3


def test_what_only_looks_like_a_magic_inside_a_text_stays():
    text = 'text = """\n%d items\n!important\n"""'
    assert program("%matplotlib inline\n" + text, ("def f(x):\n    return text", "f")).statements[0] == text


@pytest.mark.parametrize("line", ["!echo it's", "%timeit f(", "%%", "?f", "files = !ls *.png", "!pip install \\\n  x"])
def test_odd_magics_cost_nothing_else(line):
    found = program("def helper(x):\n    " + line + "\n    return x\nfactor = 2", SOLUTION)
    assert found.notes == ()
    assert "factor = 2" in found.statements


def test_blocks_nested_beyond_reason_are_skipped():
    chain = "if a:\n    b = 1\n" + "".join(f"elif a == {i}:\n    b = {i}\n" for i in range(3000))
    for odd in (chain, "factor = " + "+".join(["1"] * 20_000), "factor = " + "(" * 150 + "1" + ")" * 150):
        found = program(odd, SOLUTION)
        assert found.statements[-1] == SOLUTION[0]


def test_a_thousand_definitions_of_one_name_leave_one():
    found = program("\n".join(f"def f(x):\n    return {i}" for i in range(2000)))
    assert found.statements == ("def f(x):\n    return 1999",)


def test_only_the_code_of_the_exercise_is_looked_at_for_forbidden_names():
    sources = ["def mine(x):\n    return lut", "lut = F.a()", "def demo(x):\n    return F.b(x)",
               "def f(x):\n    return mine(x) + used(x)", "def used(x):\n    return F.c(x)"]  # fmt: skip
    assert reached_sources(sources, ["f"], ["used"]) == [sources[0], sources[1], sources[3]]


def test_a_cell_that_is_no_python_is_skipped_and_named():
    found = program("def helper(x: return x", SOLUTION)
    assert found.statements == (SOLUTION[0],)
    assert "cell 1 was skipped: syntax error in line 1" in found.notes[0]


def test_a_syntax_error_in_the_solution_cell_is_an_attempt():
    found = program(("def f(x):\n    return x +", "f"))
    assert found.attempted
    assert not found.statements


@pytest.mark.parametrize(
    "cells",
    [
        (),
        ((STUB, "f"),),
        (("# my thoughts\n" + STUB, "f"),),
        (("def f(x):\n    '''Other words.'''\n    raise NotImplementedError", "f"),),
        ("print('busy')",),
    ],
)
def test_the_stub_or_nothing_is_not_attempted(cells):
    assert not program(*cells).attempted


def test_the_last_cell_with_the_grade_id_is_the_solution():
    found = program(("def f(x):\n    return 1", "f"), ("def f(x):\n    return 2", "f"))
    assert found.statements == ("def f(x):\n    return 2",)


def test_an_experiment_elsewhere_does_not_replace_the_solution_cell():
    found = program(("def f(x):\n    return 2", "f"), "def f(x):\n    return 'experiment'")
    assert found.statements == ("def f(x):\n    return 2",)


def test_a_solution_in_another_cell_counts_where_the_solution_cell_holds_the_stub():
    found = program((STUB, "f"), "def f(x):\n    return 7")
    assert found.statements == ("def f(x):\n    return 7",)
    assert found.attempted


def test_a_solution_whose_grade_id_is_lost_is_found_by_its_name():
    assert program("def f(x):\n    return 1", "def f(x):\n    return 7").statements == ("def f(x):\n    return 7",)


def test_a_solution_that_is_no_def_counts():
    found = program(("f = lambda x: 2 * x", "f"))
    assert found.attempted
    assert found.statements == ("f = lambda x: 2 * x",)


def test_another_exercises_solution_comes_along():
    g = info("g", ("g",), "def g(x):\n    raise NotImplementedError")
    f = info(uses=("g",))
    found = program(("def g(x):\n    return 3", "g"), ("def f(x):\n    return g(x)", "f"), infos=[f, g], uses=("g",))
    assert found.statements == ("def g(x):\n    return 3", "def f(x):\n    return g(x)")


def test_decorated_functions_keep_their_decorators():
    found = program(("import functools\n@functools.cache\ndef f(x):\n    return x", "f"))
    assert found.statements[-1].startswith("@functools.cache\n")


CHECK = "check('f')"


def test_what_the_solution_cell_binds_stays_and_later_cells_only_add_names():
    cells = ["factor = 2", ("def f(x):\n    return helper(x) * factor", "f"), CHECK]
    later = "f = 3\nfactor = 9\nhelper = abs\nfactor += 1\ndel factor"
    found = program(*cells, later)
    assert found.statements == ("factor = 2", cells[1][0], "helper = abs")
    assert found.stands == (1, 2, 2)
    assert found.otherwise == (
        "factor = 2",
        cells[1][0],
        "f = 3",
        "factor = 9",
        "helper = abs",
        "factor += 1",
        "del factor",
    )
    assert program(*cells).otherwise == ()
    assert program("import math", *cells, "import math").otherwise == ()


def test_an_attribute_of_a_module_is_set_where_somebody_asks_for_it():
    patch = "torch.Tensor.twice = lambda x: 2 * x"
    other = "torch.backends.cudnn.benchmark = True\nloss = torch.train()\nfor i in range(9):\n    torch.save(loss, 'f')"
    found = program("import torch", patch, other, ("def f(x):\n    return x.twice()", "f"))
    assert found.statements[:-1] == ("import torch", patch)


@pytest.mark.parametrize(
    "text",
    [
        "if (lut := 2) > 1:\n    pass",
        "while True:\n    lut = 3\n    break",
        "match 3:\n    case int(lut):\n        pass",
        "lut = []\n[lut.append(i) for i in range(3)]",
        "lut = [3]\nlast = lut.pop()",
        "def init():\n    global lut\n    lut = 2\ndef main():\n    init()\nmain()",
        "lut = 1\ndel lut",
    ],
)
def test_every_way_to_bind_or_change_a_name_counts(text):
    found = program(text, ("def f(x):\n    return lut", "f"))
    assert "\n".join(found.statements[:-1]) == text


def test_calls_that_may_be_missed_are_remembered():
    cells = "lut = []\nfill(lut)\nprint(lut)\nexec('size = 2')\nfit(range(3))"
    found = program(cells, ("def f(x):\n    return lut, size, range(x)", "f"))
    assert found.left_out == (("`fill(lut)` in cell 1", "lut"), ("`exec('size = 2')` in cell 1", "size"))


def test_what_a_given_cell_does_is_not_said_to_be_missed():
    wanted = Cell(3, "ch98-f", "def f(x):\n    return lut")
    for given_ in (
        Cell(2, None, "needs('f')\nfor n in range(3):\n    fill(lut)"),
        Cell(2, None, "fill(lut)", given=True),
    ):
        cells = [Cell(1, None, "lut = []"), given_, wanted]
        assert extract(cells, info(), [info()]).left_out == ()


def test_a_cell_that_was_run_is_named_by_the_number_beside_it():
    cells = [Cell(1, None, "lut = []\nfill(lut)", count=7), Cell(2, "ch98-f", "def f(x):\n    return lut")]
    assert extract(cells, info(), [info()]).left_out == (("`fill(lut)` in cell [7]", "lut"),)
    raw = {"nbformat": 4, "cells": [{"cell_type": "code", "source": "1", "execution_count": n, "metadata": {"tags": t}}
                                    for n, t in ((7, []), (None, ["setup"]), ("7", 3), (-1, None))]}  # fmt: skip
    read = read_cells(json.dumps(raw).encode())
    assert [(cell.called, cell.given) for cell in read] == [("[7]", False), ("2", True), ("3", False), ("4", False)]


def test_two_thousand_magics_are_read_as_one_is():
    """IPython looks at the whole cell again for each of them: four minutes."""
    source = "x = 1\n" + "".join(f"%time y{n} = {n}\n!ls {n}\n" for n in range(1000))
    begun = time.process_time()
    found = as_python(source).text
    assert time.process_time() - begun < 20
    assert found.startswith("x = 1\nget_ipython().run_line_magic('time', 'y0 = 0')\nget_ipython().system('ls 0')\n")
    assert len(ast.parse(found).body) == 2001
    inside = 'a = """\n%time q\n!ls\n%foo\n"""\n%time b = 1\n'
    assert as_python(inside).text.startswith(inside[: inside.index("%time b")])


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ((("def f_(x):\n    return 2", "f"),), "cell 1 defines `f_`"),
        (("%%writefile mine.py\ndef f(x):\n    return 2",), "cell 1 begins with %%writefile"),
        (("%%bash\nls", STUB), ""),
        ((), "no cell of the saved notebook defines `f`"),
        ((STUB,), ""),
    ],
)
def test_what_is_not_attempted_says_why(cells, reason):
    found = program(*cells)
    assert not found.attempted
    assert reason in found.reason if reason else found.reason == ""


def test_a_markdown_cell_is_named():
    prose = Cell(2, None, "Like this:\n\n```\ndef f(x):\n    ...\n```", "markdown")
    assert extract([Cell(1, "ch98-f", STUB), prose], info(), [info()]).reason == ""
    made = [Cell(1, "ch98-f", "def f(x):\n    return 2", "markdown")]
    assert "cell 1, which should define `f`, is a Markdown cell" in extract(made, info(), [info()]).reason


def test_the_digest_depends_on_the_code_that_counts_and_on_nothing_else():
    one = program(SOLUTION, "factor = 2")
    assert one.digest == program("print('x')", SOLUTION, "", "factor = 2").digest
    assert one.digest != program(SOLUTION, "factor = 3").digest


def notebook(**changes) -> bytes:
    cell = {"cell_type": "code", "source": ["a = 1\n", "b"], "metadata": {"nbgrader": {"grade_id": "ch98-f"}}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]} | changes).encode()


def test_a_notebook_is_read_with_or_without_byte_order_mark():
    expected = [Cell(1, "ch98-f", "a = 1\nb")]
    assert read_cells(notebook()) == expected
    assert read_cells(b"\xef\xbb\xbf" + notebook()) == expected


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        ('{"cells": []}'.encode("utf-16"), "UTF-16 and not UTF-8 text; open it"),
        (b'{"cells":\n ["\xe9"]}', r"not UTF-8 text \(line 2, byte 13\)"),
        (b"%PDF-1.4", "a PDF; hand in the .ipynb"),
        (b"PK\x03\x04...", "a zip archive"),
        (b"<!DOCTYPE html>", "a web page; download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "pointer of Git LFS .* `git lfs pull`"),
        (
            b'{\n "cells": [\n<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> 3f2c\n]}',
            r"conflict in line 3 \(<<<<<<< HEAD\); choose",
        ),
        (b"plain text", "no JSON at line 1"),
        (b'{"nbformat": 4,', "no JSON"),
        (b"[]", "not a notebook"),
        (b"3", "not a notebook"),
        (notebook(nbformat=3), "in format 3 and 4 is needed"),
        (notebook(nbformat="4"), "in format 4 and 4 is needed"),
        (notebook(cells={}), "no list of cells"),
        (notebook(cells=[{}] * 10_001), "10001 cells"),
        (b"[" * 200_000, "no notebook program writes|no JSON"),
        (b" " * (20 * 2**20) + b"{}", "20 MiB and 20|21 MiB|clear the outputs"),
        (b'{"nbformat": ' + b"9" * 100_000 + b"}", "no notebook program writes"),
    ],
)
def test_what_is_no_notebook_is_refused_in_one_sentence(raw, sentence):
    with pytest.raises(UnreadableError, match=sentence) as caught:
        read_cells(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "cell",
    [None, 3, [], {"cell_type": "code", "source": 5}, {"cell_type": "code", "source": [1]}, {"cell_type": ["code"]},
     {"cell_type": "markdown", "source": "x"}],
)  # fmt: skip
def test_odd_cells_are_passed_over(cell):
    (read,) = read_cells(notebook(cells=[cell]))
    assert read.kind != "code" or read.source == ""


@pytest.mark.parametrize("metadata", [None, [], {"nbgrader": 3}, {"nbgrader": {"grade_id": 7}}])
def test_odd_metadata_is_no_metadata(metadata):
    cells = [{"cell_type": "code", "source": "x", "metadata": metadata}]
    assert read_cells(notebook(cells=cells)) == [Cell(1, None, "x")]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw):
    with contextlib.suppress(UnreadableError):
        read_cells(raw)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_cells_can_be_extracted(texts):
    assert isinstance(program(*texts, SOLUTION).statements, tuple)
