"""Source text is taken as written, and names are found where Python finds them."""

import ast

import pytest

from autograder.chapter import source

TEXT = '''\
import math

CONSTANT = 2


@staticmethod
def first(x, *, k=CONSTANT):
    """One."""
    # why
    ### BEGIN SOLUTION
    return x * k  # twice
    ### END SOLUTION


class Second:
    """Two."""

    def one(self):
        ### BEGIN SOLUTION
        return 1
        ### END SOLUTION

    def two(self):
        return 2
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(TEXT)
    return path


def test_decorators_comments_and_the_last_marker_are_kept(file):
    text = source.definition_source(file, "first")
    assert text.startswith("@staticmethod\ndef first")
    assert "# why" in text
    assert text.endswith("### END SOLUTION")


def test_the_stub_is_valid_python_that_keeps_the_signature(file):
    stub = source.stub_of(source.definition_source(file, "first"))
    assert "return x * k" not in stub
    assert stub.endswith("    raise NotImplementedError")
    assert ast.get_docstring(ast.parse(stub).body[0]) == "One."


def test_the_stub_is_what_nbgrader_releases(file):
    from nbformat.v4 import new_code_cell
    from nbgrader.preprocessors import ClearSolutions

    for name in ("first", "Second"):
        text = source.definition_source(file, name)
        cell = new_code_cell(text)
        ClearSolutions(code_stub={"python": source.STUB})._replace_solution_region(cell, "python")
        assert source.stub_of(text) == cell.source


@pytest.mark.parametrize("odd", [f"{source.BEGIN}\n{source.BEGIN}\n{source.END}", f"{source.BEGIN}\n1"])
def test_markers_without_a_partner_are_refused(odd):
    with pytest.raises(source.SourceError, match="SOLUTION"):
        source.stub_of(odd)


def test_statements_have_the_text_of_the_standard_library():
    text = TEXT + "a = 1; b = 'é'; c = a\nif a:\n    d = (\n        b)\n"
    expected = [ast.get_source_segment(text, node) for node in ast.parse(text).body]
    assert [found for found, _ in source._binders(text)] == expected


def test_a_class_keeps_its_given_methods(file):
    stub = source.stub_of(source.definition_source(file, "Second"))
    assert "return 1" not in stub
    assert stub.endswith("        return 2")
    assert source.region_faults(source.definition_source(file, "Second"), "Second") == []


@pytest.mark.parametrize(
    ("code", "free"),
    [
        ("def f(x):\n    return F.relu(x) + g(x)", {"F", "g"}),
        ("def f(x: Float[Tensor, 'N C']) -> Tensor: return x", {"Float", "Tensor"}),
        ("def f(x, k=K):\n    def g(y):\n        return y + x + z\n    return g(k)", {"K", "z"}),
        ("def f():\n    return [math.pi for i in range(3) if i]", {"math"}),
        ("class A(nn.Module):\n    size = 3\n    def forward(self, x):\n        return helper(x)", {"nn", "helper"}),
        ("def f():\n    import math\n    return math.pi + len([])", set()),
        ("def f():\n    global total\n    total = 1", {"total"}),
    ],
)
def test_free_names_are_the_globals_that_code_reads(code, free):
    assert source.free_names(code) - {"total"} == free - {"total"}


def test_reachable_takes_what_is_needed_and_nothing_else():
    text = "A = 1\nB = A + 1\ndef f():\n    return B\ndef g():\n    return 0\n"
    assert source.reachable(text, ["f"]) == "A = 1\nB = A + 1\ndef f():\n    return B"
