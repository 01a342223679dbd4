"""What a mutation of a solution is in words that tell the mistake and nothing of the solution's text.

Each is a clause for "Your answers are exactly those that come when ...". Of names it speaks the parameters that the
student knows from the stub.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "a difference stands where a sum belongs",
    ast.Sub: "a sum stands where a difference belongs",
    ast.Mult: "a division stands where a product belongs",
    ast.Div: "a product stands where a division belongs",
    ast.FloorDiv: "a quotient is not rounded down",
    ast.Mod: "the quotient stands where the remainder belongs",
    ast.Pow: "a product stands where a power belongs",
}
_WITHOUT: dict[type[ast.operator], str] = {
    ast.Add: "a term of a sum is left out",
    ast.Sub: "what has to be subtracted is left out",
    ast.Mult: "a factor is left out",
    ast.Div: "a division is left out",
    ast.Pow: "a power is left out",
}
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "equal values are let in by a comparison that has to leave them out",
    ast.Gt: "equal values are let in by a comparison that has to leave them out",
    ast.LtE: "equal values are left out by a comparison that has to let them in",
    ast.GtE: "equal values are left out by a comparison that has to let them in",
}
_PLAIN = {
    "and_or": "of two conditions one is enough where both are needed, or the other way round",
    "drops_sign": "a minus sign is missing",
    "drops_not": "a condition is not turned round that has to be",
    "always": "a condition is not looked at: one of its two branches is always taken",
    "never": "a condition is not looked at: one of its two branches is always taken",
    "not_transposed": "a matrix is not transposed that has to be",
    "swaps_items": "two parts are exchanged",
    "swaps_arguments": "two arguments of a call are exchanged",
    "overwrites": "a value is overwritten in every round where it has to be added up",
    "without_with": "what has to stand inside a `with` stands outside",
    "drops_statement": "one step is left out",
    "other_axis": "a step goes along another axis",
    "absolute": "absolute values stand where squares belong",
    "first_round": "a loop ends after its first round",
    "not_first": "a loop leaves out its first round",
    "not_last": "a loop leaves out its last round",
    "backwards": "a loop runs from the last to the first",
    "reversed": "a difference or quotient is taken the wrong way round",
}
_BY = {
    "by_count_": "a result is divided by the length of `{}` that must not be",
    "times_count_": "a result is multiplied by the length of `{}` that must not be",
    "by_length_": "a result is divided by the last size of `{}` that must not be",
}
# steps that are about the form of numbers, not about their values
_FORMS = frozenset(
    ("to", "float", "double", "int", "long", "item", "tolist", "clone", "detach", "contiguous", "reshape", "view",
     "flatten", "expand", "squeeze", "unsqueeze", "type_as", "list", "tuple", "len", "range")
)  # fmt: skip


def clause(what: str, node: ast.AST, around: Iterable[ast.AST], known: Collection[str]) -> str:
    """Say what a mutation does.

    Args:
        what: its kind, as `mutations.Edit` has it.
        node: the syntax that is changed.
        around: the syntax around it, the nearest first.
        known: the parameters that the student knows.

    Returns:
        A clause, or "" for one that tells nothing (a check that raises, a conversion).
    """
    said = _said(what, node)
    if not said or (what.startswith("drops_") and what[6:] in _FORMS):
        return ""
    if isinstance(node, ast.If) and any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
        return ""
    if what.startswith(("ignores_", "by_", "times_")):
        return said
    names = next((found for each in (node, *around) if (found := _names(each, known))), [])
    return said + (f", where {_listed(names)} come{'s' * (len(names) == 1)} in" if 0 < len(names) <= 2 else "")


def _said(what: str, node: ast.AST) -> str:
    if what == "operator" and isinstance(node, ast.BinOp):
        return _OPERATORS.get(type(node.op), "")
    if what == "without" and isinstance(node, ast.BinOp):
        return _WITHOUT.get(type(node.op), "")
    if what == "compares" and isinstance(node, ast.Compare):
        return _COMPARED.get(type(node.ops[0]), "a comparison is turned round")
    if what in ("one_more", "one_less"):
        return "a whole number (an index, an axis, a limit or a count) is one too " + (
            "large" if what == "one_more" else "small")  # fmt: skip
    if what in _PLAIN:
        return _PLAIN[what]
    if "_for_" in what:
        wrong, right = what.split("_for_")
        return f"`{wrong}` stands where `{right}` belongs"
    for begin, text in _BY.items():
        if what.startswith(begin):
            return text.format(what[len(begin) :])
    if what.startswith("ignores_"):
        return f"`{what[8:]}` is not looked at, as if it always had its default"
    if what.startswith("drops_"):
        return f"`{what[6:]}` is left out"
    if what.startswith("other_"):
        return f"`{what[6:]}` has the other value"
    return ""


def _names(node: ast.AST, known: Collection[str]) -> list[str]:
    return list(dict.fromkeys(each.id for each in ast.walk(node) if isinstance(each, ast.Name) and each.id in known))


def _listed(names: list[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
