"""The book's own Sphinx extension: local maths, plain addresses, and one clear message where pages are missing.

* the cards above exercises get their look and an address (`lesson_1.html#exercise-conv2d`);
* lines of code wrap with a hanging indent, what a cell printed wraps unless its columns stand below each other, and
  verdict tables know their headings, for narrow windows;
* a number stays with its percent sign, its thousands and its deviation, a formula with the comma behind it;
* pictures of the pages that people write load when they are scrolled to, as those of the lessons do;
* every page says in a sentence what it is about, with its first picture, to whoever lists or shares it;
* maths is set by the KaTeX copy in book/_static/vendor, so that no page asks a content network for anything;
* `book/howto/student.md` becomes `howto/student.html` and `build/pages/methods.md` becomes `methods.html`: where a page
  is made is not the reader's business, and addresses stay when that place moves;
* pictures and notebooks of the lessons lie as files beside their pages, models for pages in _static/zoo, and unused
  icons of the theme are left out;
* a reference to a chapter that this book lacks becomes a link to the whole book, or else its title as plain words;
* `jupyter-book build .` typed before the pages of the chapters were made stops with the command that makes them.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from docutils import nodes
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.config import Config
    from sphinx.environment import BuildEnvironment
    from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

PREFIXES = ("build/pages/", "book/")
GENERATED = PREFIXES[0]
ELSEWHERE = "elsewhere.json"  # beside the generated pages: {label: {"title", "address"}} of what this book lacks
BESIDE = ("pictures", "notebooks")  # folders beside the lesson pages
MODELS = "zoo"  # scripts that hand models to pages, beside the generated pages
DEEP = 8  # columns
_ICONS = re.compile(r'(?:\.fa-[\w-]+:{1,2}before,?)+\{content:"[^"]*"\}')  # two thousand rules, none of them used


def plain(docname: str) -> str:
    """Return the address, without suffix, of a source page: `book/notation` -> `notation`."""
    for prefix in PREFIXES:
        if docname.startswith(prefix):
            return docname[len(prefix) :]
    return docname


class ExerciseCards(SphinxTransform):
    """Give the cards above exercises and questions, which notebooks see as quotations, a class and an address."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for quote in self.document.findall(nodes.block_quote):
            strong = next(quote.findall(nodes.strong), None)
            name = next(strong.findall(nodes.literal), None) if strong is not None else None
            kind = strong.astext().split(" ")[0].lower() if strong is not None else ""
            if name is None or kind not in ("exercise", "question"):
                continue
            core = "· core" in quote.astext().split("\n")[0]
            quote["classes"] += ["exercise-card", f"{kind}-card", "core" if core else "extra"]
            quote["ids"].append(f"{kind}-{name.astext().replace('_', '-')}")


_TIED = re.compile(r"(?<=\d) (?=%)|(?<=\d) (?=\d{3}(?!\d))|(?<=±) (?=[\d.])|(?<=[\d)]) (?=±)")
_CLOSING = re.compile(r"[,.;:!?)\]’”]+")


class TogetherOnALine(SphinxTransform):
    """Keep what is one thing on one line: "58 %", "12 042 240", ".93 ± .01", and a formula with its full stop."""

    default_priority = 880  # after the substitutions of quotes

    def apply(self, **kwargs: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            if isinstance(text.parent, nodes.literal | nodes.literal_block | nodes.raw | nodes.math | nodes.math_block):
                continue
            tied = _TIED.sub("\N{NO-BREAK SPACE}", text)
            if tied != text:
                text.parent.replace(text, nodes.Text(tied))
        for formula in list(self.document.findall(nodes.math)):
            after = formula.next_node(descend=False, siblings=True)
            found = _CLOSING.match(after) if isinstance(after, nodes.Text) else None
            if found:
                formula["closing"] = found[0]
                after.parent.replace(after, nodes.Text(after[found.end() :]))


class LatePictures(SphinxTransform):
    """Load pictures when they are scrolled to; the first one of a page may stand on its first screen."""

    default_priority = 881

    def apply(self, **kwargs: Any) -> None:
        for picture in list(self.document.findall(nodes.image))[1:]:
            picture["loading"] = "lazy"


class PlainIndex:
    """Sphinx's search index with plain addresses on disk and source names in memory."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def dumps(self, data: dict[str, Any]) -> str:
        return self.inner.dumps({**data, "docnames": [plain(name) for name in data["docnames"]]})

    def loads(self, text: str) -> dict[str, Any]:
        data = self.inner.loads(text)
        # the list of files still has the source names
        return {**data, "docnames": [str(Path(name).with_suffix("").as_posix()) for name in data["filenames"]]}

    def dump(self, data: dict[str, Any], stream: TextIO) -> None:
        stream.write(self.dumps(data))

    def load(self, stream: TextIO) -> dict[str, Any]:
        return self.loads(stream.read())


class BookBuilder(StandaloneHTMLBuilder):
    """The HTML builder, with addresses that do not show how the checkout is laid out."""

    name = "html"

    def init(self) -> None:
        super().init()
        self.indexer_format = PlainIndex(self.indexer_format)  # type: ignore[assignment]

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        return super().get_target_uri(plain(docname), typ)

    def get_outfilename(self, pagename: str) -> str:
        return super().get_outfilename(plain(pagename))


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    if node.get("closing"):
        self.body.append('<span class="together">')
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(self.encode(node.astext()) + "</span>")
    if node.get("closing"):
        self.body.append(self.encode(node["closing"]) + "</span>")
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math math-block notranslate nohighlight", tabindex="0"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    formula = node.astext().strip()
    if "\\\\" in formula and "\\begin{" not in formula:
        formula = f"\\begin{{aligned}}{formula}\\end{{aligned}}"
    self.body.append(f'<span class="tex">{self.encode(formula)}</span></div>\n')
    raise nodes.SkipNode


def add_katex(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Load KaTeX on the pages that have a formula, and only there."""
    if app.builder.format != "html":
        return
    # the domain's own has_equations also says yes for the pages above one with a formula
    if app.env.get_domain("math").data["has_equations"].get(pagename, False):
        app.add_css_file("vendor/katex/katex.min.css")
        app.add_js_file("vendor/katex/katex.min.js", defer="defer")
        app.add_js_file("maths.js", defer="defer")


def describe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Say what a page is about, and with which picture, to whoever lists or shares it."""
    if doctree is None or app.builder.format != "html":
        return
    words = next((" ".join(p.astext().split()) for p in doctree.findall(nodes.paragraph) if len(p.astext()) > 60), "")
    short = words if len(words) <= 160 else words[:157].rsplit(" ", 1)[0] + " …"
    title = html.escape(re.sub(r"<[^>]+>", "", str(context.get("title", ""))))
    tags = [f'<meta property="og:title" content="{title}">', '<meta property="og:type" content="article">']
    if short:
        tags += [f'<meta {kind}="{name}" content="{html.escape(short)}">'
                 for kind, name in (("name", "description"), ("property", "og:description"))]  # fmt: skip
    found = re.search(r'<img\b[^>]*\ssrc="((?:\.\./)*(?:[\w/]*/)?(?:pictures|_images)/[^"]+)"', context.get("body", ""))
    base = str(app.config.dlcv_book.get("published") or "")
    if found:
        place = found[1]
        if base:  # whoever shares a page needs the whole address
            place = (
                base.rstrip("/") + "/" + posixpath.normpath(posixpath.join(posixpath.dirname(plain(pagename)), place))
            )
        tags.append(f'<meta property="og:image" content="{html.escape(place)}">')
    context["metatags"] = context.get("metatags", "") + "\n".join(tags)


_CODE = re.compile(r'(<div class="output [^>]*>)?(<div class="highlight"><pre)>(.*?)(</pre></div>)', re.S)
_TAG = re.compile(r"<(/?)span[^>]*>")


def hang(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Make every line of code a block that knows its indentation, so that it wraps with a hanging indent."""
    if context.get("body"):
        body = _CODE.sub(_hung, context["body"])
        context["body"] = re.sub(r'<span class="pre">(?=--\w)', '<span class="pre together">', body)


def _hung(found: re.Match[str]) -> str:
    printed, begin, code, end = found.groups()
    columns = ' class="columns"' if printed and in_columns(code) else ""
    return f"{printed or ''}{begin}{columns}>{in_lines(code)}{end}"


def in_lines(code: str) -> str:
    """Return highlighted code with every line in a span; a colour that goes on over lines is opened again in each."""
    out: list[str] = []
    going: list[str] = []  # the spans that are open
    for line in code.removesuffix("\n").split("\n"):
        text = html.unescape(re.sub(r"<[^>]+>", "", line))
        opened = "".join(going)
        for tag in _TAG.finditer(line):
            if tag[1]:
                going.pop()
            else:
                going.append(tag[0])
        indent = len(text) - len(text.lstrip(" "))
        line = re.sub(r"(?<= )--[a-z][\w-]*", r'<span class="together">\g<0></span>', line)  # not broken at a hyphen
        style = f' style="--in:{indent}"' if indent else ""
        if indent > DEEP:  # a narrow window shows a part of such an indentation
            line = re.sub(r"^((?:<span[^>]*>)*)( +)", r'\1<span class="deep">\2</span>', line)
        out.append(f'<span class="line"{style}>{opened}{line}{"</span>" * len(going)}\n</span>')
    return "".join(out)


def in_columns(printed: str) -> bool:
    """Tell whether printed lines are a table of columns, which is spoilt by wrapping: half of them or more, and two at
    the least, have several spaces in a row between words."""
    lines = [line for line in html.unescape(re.sub(r"<[^>]+>", "", printed)).split("\n") if line.strip()]
    spaced = sum(bool(re.search(r"\S {2,}\S", line)) for line in lines)
    return spaced >= max(2, len(lines) / 2)


def elsewhere(app: Sphinx, env: BuildEnvironment, node: pending_xref, inside: nodes.Node) -> nodes.Node | None:
    """Turn a reference to a chapter that is not in this book into a link, or into words, in place of a warning."""
    path = Path(app.srcdir) / GENERATED / ELSEWHERE
    if node.get("refdomain") != "std" or node.get("reftype") not in ("ref", "numref") or not path.exists():
        return None
    place = json.loads(path.read_text(encoding="utf-8")).get(node["reftarget"])
    if place is None:
        return None
    words = inside.astext() if node.get("refexplicit") else place["title"]
    if not place["address"]:
        return nodes.inline(words, words, classes=["elsewhere"])
    return nodes.reference(words, words, refuri=place["address"], internal=False, classes=["elsewhere"])


def lighten(app: Sphinx, error: Exception | None) -> None:
    """Lay the files of the lessons beside their pages, and take unused icons out of the theme's style sheet."""
    if error is not None or app.builder.format != "html":
        return
    home, out = Path(app.srcdir) / GENERATED, Path(app.outdir)
    for name in BESIDE:
        for old in out.glob(f"chapters/*/{name}"):
            shutil.rmtree(old)
        for folder in home.glob(f"chapters/*/{name}"):
            shutil.copytree(folder, out / folder.relative_to(home))
    if (home / MODELS).is_dir():
        shutil.copytree(home / MODELS, out / "_static" / MODELS, dirs_exist_ok=True)
    style = out / "_static" / "styles" / "pydata-sphinx-theme.css"
    if style.exists():
        style.write_text(_ICONS.sub("", style.read_text(encoding="utf-8")), encoding="utf-8")


def missing_pages(srcdir: Path, docnames: list[str], suffixes: list[str]) -> list[str]:
    """Return the pages of the table of contents that must be generated first and are not there."""
    return [
        name
        for name in docnames
        if name.startswith(GENERATED) and not any((srcdir / f"{name}{suffix}").exists() for suffix in ["", *suffixes])
    ]


def require_pages(app: Sphinx, config: Config) -> None:
    """Stop with one message where the table of contents names pages that have not been made yet."""
    site_map = getattr(config, "external_site_map", None)
    if site_map is None:
        return
    missing = missing_pages(Path(app.srcdir), list(site_map), list(config.source_suffix))
    if missing:
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        sys.stderr.write(
            f"\n{len(missing)} pages of _toc.yml are made from chapters/ and are not there yet ({shown}).\n"
            "Run `dlcv book` (or `make book`): it runs the lessons, makes these pages and builds the book.\n"
            "After that, `jupyter-book build .` works too.\n"
        )
        raise SystemExit(2)


def list_references(app: Sphinx, config: Any) -> None:
    """Let the bibliography be all files of book/references, so that a chapter's authors touch theirs alone."""
    home = Path(app.srcdir)
    config.bibtex_bibfiles = [path.relative_to(home).as_posix() for path in sorted(home.glob("book/references/*.bib"))]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("comments_config", {}, "")  # jupyter-book sets it, also where sphinx-comments is not loaded
    app.add_config_value("dlcv_book", {}, "")  # read by autograder.release.launch_buttons
    app.add_builder(BookBuilder, override=True)
    app.add_html_math_renderer("katex", (visit_math, None), (visit_math_block, None))
    app.add_transform(ExerciseCards)
    app.add_post_transform(TogetherOnALine)
    app.add_post_transform(LatePictures)
    app.connect("html-page-context", add_katex)
    app.connect("html-page-context", hang)
    app.connect("html-page-context", describe)
    app.connect("missing-reference", elsewhere)
    app.connect("build-finished", lighten)
    app.connect("config-inited", list_references)
    app.connect("config-inited", require_pages, priority=950)  # after sphinx-external-toc read _toc.yml
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
