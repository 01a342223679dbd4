"""MyST for notebooks: Lab, Colab and VS Code know plain Markdown and HTML, so roles and directives are rewritten."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from autograder.chapter import quick
from autograder.chapter.references import Reference, as_link

ADMONITIONS = {
    name: name.capitalize()
    for name in ("note", "warning", "tip", "important", "hint", "caution", "attention", "danger", "error")
} | {"seealso": "See also"}

# a role with its content, or a code span that must be left alone
_INLINE = re.compile(
    r"\{(?P<role>[a-zA-Z][\w:+.-]*)\}(?P<tick>`+)(?P<text>.+?)(?P=tick)(?!`)|(?P<fence>`+)(?:.+?)(?P=fence)(?!`)", re.S
)
_OPEN = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,}|:{3,})(?:\{(?P<name>[\w:.-]+)\})?[ \t]*(?P<title>.*)$")
_TARGET = re.compile(r"^\((?P<label>[^)\s]+)\)=\s*$")


class MarkupError(Exception):
    """A role or directive that notebooks cannot show; the message says what to write instead."""


def raw(html: str) -> str:
    """Return a block of HTML as MyST passes it through."""
    return f"```{{raw}} html\n{html}\n```\n"


class Rewriter:
    """Rewrites the Markdown of one lesson.

    Args:
        references: the bibliography.
        headings: label -> text, for `{ref}`.
    """

    def __init__(self, references: Mapping[str, Reference], headings: Mapping[str, str] | None = None) -> None:
        self.references = references
        self.headings = headings or {}
        self.cited: list[str] = []

    def rewrite(self, text: str) -> str:
        """Return the text with MyST's roles, directives and targets as Markdown and HTML."""
        lines = text.split("\n")
        out: list[str] = []
        prose: list[str] = []

        def flush() -> None:
            if prose:
                out.append(_INLINE.sub(self._inline, "\n".join(prose)))
                prose.clear()

        index = 0
        while index < len(lines):
            line = lines[index]
            opening = _OPEN.match(line)
            if _TARGET.match(line) or line.startswith("% "):
                index += 1
                continue
            if not opening:
                prose.append(line)
                index += 1
                continue
            flush()
            stop = _closing(lines, index, opening["fence"])
            body = lines[index + 1 : stop]
            if opening["name"] is None and not opening["fence"].startswith(":"):
                out += lines[index : stop + 1]
            else:
                name = opening["name"] or ""
                new = self._directive(name, _INLINE.sub(self._inline, opening["title"].strip()), body)
                out += [opening["indent"] + part if part else part for part in new.split("\n")]
            index = stop + 1
        flush()
        return "\n".join(out)

    def _inline(self, match: re.Match[str]) -> str:
        role, text = match["role"], match["text"]
        if role is None:
            return match[0]
        if role.split(":")[0] == "cite":
            return self._cite(role, text)
        words, target = _split_target(text)
        roles: dict[str, Callable[[], str]] = {
            "ref": lambda: words or self.headings.get(target, target),
            "numref": lambda: words or self.headings.get(target, target),
            "doc": lambda: words or target.rsplit("/", 1)[-1].replace("_", " "),
            "term": lambda: words or target,
            "abbr": lambda: text,
            "math": lambda: f"${text}$",
            "sub": lambda: f"<sub>{text}</sub>",
            "sup": lambda: f"<sup>{text}</sup>",
            "kbd": lambda: f"<kbd>{text}</kbd>",
        }
        if role not in roles:
            raise MarkupError(f"the role {{{role}}} cannot be shown in a notebook; known: cite, {', '.join(roles)}")
        return roles[role]()

    def _cite(self, role: str, text: str) -> str:
        keys = [key.strip() for key in text.split(",")]
        for key in keys:
            if key not in self.references:
                raise MarkupError(f"the citation key {key!r} is not in book/references; add it to the chapter's file")
            if key not in self.cited:
                self.cited.append(key)
        links = [as_link(self.references[key]) for key in keys]
        return " and ".join(links) if role.startswith("cite:t") else f"({'; '.join(links)})"

    def _directive(self, name: str, title: str, body: list[str]) -> str:
        if name == "quick":
            try:
                return quick.as_markdown(quick.parse(title, [_INLINE.sub(self._inline, line) for line in body]))
            except quick.QuickError as error:
                raise MarkupError(str(error)) from None
        options, body = _options(body)
        inner = self.rewrite("\n".join(body)).strip("\n")
        if name in ("dropdown", "toggle") or "dropdown" in options.get("class", ""):
            state = " open" if "open" in options else ""
            summary = title if name == "dropdown" and title else title or "Show"
            return f"<details{state}>\n<summary>{summary}</summary>\n\n{inner}\n\n</details>"
        if name in ADMONITIONS or name == "admonition":
            head = title if name == "admonition" else ADMONITIONS[name]
            if name != "admonition" and title:
                inner = f"{title}\n\n{inner}".rstrip()
            quoted = f"**{head.rstrip('.')}.** {inner}"
            return "\n".join(f"> {line}".rstrip() for line in quoted.split("\n"))
        if name == "math":
            return "$$\n" + "\n".join([*([title] if title else []), *body]).strip("\n") + "\n$$"
        if name == "bibliography":
            return "\n".join(f"- {as_link(self.references[key])}: {self.references[key].title}." for key in self.cited)
        if name in ("div", "margin", "sidebar", ""):
            return f"**{title}.** {inner}" if title and name in ("margin", "sidebar") else inner
        raise MarkupError(
            f"the directive {{{name}}} cannot be shown in a notebook; known: dropdown, quick, admonition, math, "
            f"bibliography, margin, {', '.join(ADMONITIONS)} (pictures are made by `show` in a code cell)"
        )


def _split_target(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.*?)\s*<([^<>]+)>", text, re.S)
    return (found[1], found[2]) if found else ("", text)


def _closing(lines: list[str], start: int, fence: str) -> int:
    for index in range(start + 1, len(lines)):
        line = lines[index].strip()
        if line and set(line) == {fence[0]} and len(line) >= len(fence):
            return index
    raise MarkupError(f"the block that opens with {lines[start].strip()!r} is not closed")


def _options(body: list[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    index = 0
    while index < len(body) and (found := re.match(r"^\s*:([\w-]+):\s*(.*)$", body[index])):
        options[found[1]] = found[2]
        index += 1
    return options, body[index:]


def headings(text: str) -> dict[str, str]:
    """Return label -> heading for every `(label)=` that stands above a heading."""
    found = re.findall(r"^\(([^)\s]+)\)=\s*\n+#+\s*(.+)$", text, re.M)
    return {label: heading.strip() for label, heading in found}
