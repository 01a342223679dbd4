"""The HTML of generated pages: templates in templates/, escaped by default, passed through MyST as one raw block."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from autograder.chapter.markup import raw

_SPAN = re.compile(r"`([^`]+)`|\$([^$]+)\$")


@lru_cache(maxsize=1)
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["prose"] = prose
    return made


def render(template: str, **values: Any) -> str:
    """Return a filled template as HTML."""
    return _templates().get_template(template).render(**values).strip()


def block(template: str, **values: Any) -> str:
    """Return a filled template as a MyST block; empty lines would end it and are taken out."""
    return raw(re.sub(r"\n\s*\n", "\n", render(template, **values)))


def prose(text: str) -> Markup:
    """Return a sentence of plain Markdown, with code spans and formulas only, as HTML."""
    out, last, text = [], 0, " ".join(text.split())
    for found in _SPAN.finditer(text):
        out.append(escape(text[last : found.start()]))
        code, formula = found.groups()
        out.append(
            f"<code>{escape(code)}</code>" if code else f'<span class="math notranslate">{escape(formula)}</span>'
        )
        last = found.end()
    return Markup("".join([*out, escape(text[last:])]))
