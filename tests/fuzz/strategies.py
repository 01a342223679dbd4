"""Random notebooks, from bytes without sense to nearly right ones, for hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

_names = st.sampled_from(["box_blur", "unsharp", "x", "k", "torch", "F", "y", "check", "__name__", "ß", "_"])
_parts = st.sampled_from([
    "def {n}(x, k):\n    return {e}\n", "class {n}:\n    pass\n", "{n} = {e}\n", "{n} += {e}\n", "import {n}\n",
    "from torch import *\n", "for {n} in {e}:\n    {n}\n", "if {e}:\n    {n} = {e}\nelse:\n    pass\n",
    "try:\n    {n} = {e}\nexcept Exception:\n    pass\n", "with {n} as {n}:\n    pass\n", "@{n}\ndef {n}(): ...\n",
    "%%time\n", "%{n}\n", "!{n}\n", "{n}?\n", "%%bash\n{n}\n", "\t{n}\n", "{n}.{n} = {e}\n", "{n}[{e}] = {e}\n",
    "def {n}(x, k): return {e}\n", "raise {n}\n", "del {n}\n", "global {n}\n", "lambda {n}: {e}\n", "match {n}:\n    case _: pass\n",  # noqa: E501
    "async def {n}(): await {n}\n", "'''", "\"\"\"{n}", "\\\n", "#{n}\n", "{n}: {n} = {e}\n", "yield {n}\n", "\x00", "\r", "\f",  # noqa: E501
])  # fmt: skip
_expressions = st.recursive(
    st.sampled_from(["1", "x", "k", "None", "x.shape", "torch.zeros(3)", "'text'", "1e999", "0x", "...", "[]", "x @ x"]),  # noqa: E501
    lambda inner: st.builds("({} + {})".format, inner, inner) | st.builds("f({})".format, inner)
    | st.builds("[{} for _ in {}]".format, inner, inner) | st.builds("lambda: {}".format, inner),
    max_leaves=8,
)  # fmt: skip


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Draw the text of a cell: fragments of Python and IPython, mended or not, or any text."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=60))
    parts = draw(st.lists(_parts, max_size=6))
    return "".join(part.replace("{n}", draw(_names)).replace("{e}", draw(_expressions)) for part in parts)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_grade_ids = st.sampled_from(["ch99-box_blur", "ch99-unsharp", "ch99-box_blur-check", "", "x" * 300])


@st.composite
def cells(draw: st.DrawFn) -> Any:
    """Draw a cell: a sound one, or one in which any part may be anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(_json)
    text = draw(sources())
    cell: dict[str, Any] = {
        "cell_type": draw(st.sampled_from(["code", "code", "code", "markdown", "raw", "heading"])),
        "metadata": draw(st.just({"nbgrader": {"grade_id": draw(_grade_ids), "grade": False}}) | _json),
        "source": draw(st.just(text) | st.just(text.splitlines(keepends=True))),
        "outputs": draw(st.just([]) | _json),
    }
    for name in draw(st.lists(st.sampled_from(sorted(cell)), max_size=1)):
        if draw(st.booleans()):
            cell[name] = draw(_json)
        else:
            del cell[name]
    return cell


@st.composite
def notebooks(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a file that pretends to be a notebook."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    nb: Any = {"nbformat": draw(st.sampled_from([4, 4, 4, 4, 3, 5, "4", None])), "metadata": draw(_json),
               "cells": draw(st.lists(cells(), max_size=8)), "nbformat_minor": draw(st.integers(0, 9))}  # fmt: skip
    raw = json.dumps(nb, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    harm = draw(st.integers(0, 19))
    if harm == 0:
        return raw[: draw(st.integers(0, len(raw)))]
    if harm == 1:
        at = draw(st.integers(0, len(raw)))
        return raw[:at] + draw(st.binary(max_size=4)) + raw[at:]
    return raw


@st.composite
def submissions(draw: st.DrawFn, release: dict[str, Any]) -> bytes:
    """Draw a released notebook with random solution cells and random cells between."""
    nb = json.loads(json.dumps(release))
    for cell in nb["cells"]:
        mark = cell["metadata"].get("nbgrader", {})
        if mark.get("solution") and cell["cell_type"] == "code" and draw(st.integers(0, 3)):
            name = mark["grade_id"].split("-")[1]
            body = draw(_expressions)
            cell["source"] = f"def {name}(x, k=3, *, amount=1.0):\n    return {body}\n" + draw(sources())
    for _ in range(draw(st.integers(0, 3))):
        made = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": draw(sources())}
        nb["cells"].insert(draw(st.integers(0, len(nb["cells"]))), made)
    return json.dumps(nb).encode("utf-8", "surrogatepass")
