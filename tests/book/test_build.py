"""The built book: strict, closed in itself, light, and with words for every picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from autograder.base import paths
from autograder.book import web_book
from autograder.chapter import methods, rows
from autograder.release import leaks

pytestmark = pytest.mark.slow

LOADS = {
    ("script", "src"),
    ("link", "href"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("object", "data"),
}
STORED_LINKS = {"canonical", "search", "next", "prev", "index", "author", "license"}  # links that load nothing


class Page(HTMLParser):
    """What a page loads, where it leads, and what its pictures say."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.ids: set[str] = set()
        self.pictures: list[str | None] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        for name, value in found.items():
            if (tag, name) in LOADS and value and not (tag == "link" and found.get("rel") in STORED_LINKS):
                self.loads.append(value)
        if tag == "a" and found.get("href"):
            self.leads.append(str(found["href"]))
        if tag == "img" and "logo" not in str(found.get("class")):
            self.pictures.append(found.get("alt"))


@pytest.fixture(scope="session")
def pages(built_book: Path) -> dict[str, Page]:
    found = {path.relative_to(built_book).as_posix(): Page(path) for path in built_book.rglob("*.html")}
    return {name: page for name, page in found.items() if not name.startswith("_static/")}


def outside(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ftp")


def test_every_kind_of_page_is_there(pages):
    wanted = {
        "index",
        "chapters",
        "methods",
        "claims",
        "notation",
        "bibliography",
        "licence",
        "search",
        "howto/student",
    }
    lessons = {
        f"chapters/{slug}/{name}"
        for slug in rows.slugs()
        for name in ("index", *(lesson.stem for lesson in rows.load_row(slug).notebooks))
    }
    assert {f"{name}.html" for name in wanted | lessons} <= set(pages)


def test_no_page_loads_anything_from_outside(pages):
    assert {name: bad for name, page in pages.items() if (bad := [a for a in page.loads if outside(a)])} == {}


def test_everything_that_a_page_loads_from_the_book_is_there(built_book, pages):
    missing = {
        (name, address)
        for name, page in pages.items()
        for address in page.loads
        if not outside(address) and urlsplit(address).scheme == "" and urlsplit(address).path
        if not (built_book / name).parent.joinpath(unquote(urlsplit(address).path)).exists()
    }
    assert missing == set()


def test_search_loads_its_index_alone(pages):
    with_index = {name for name, page in pages.items() if any("searchindex" in address for address in page.loads)}
    assert with_index == {"search.html"}


def test_what_students_must_not_see_is_on_no_page(built_book):
    made = built_book.parent / "pages"
    assert list(made.rglob("*.ipynb"))
    assert leaks.find_leaks([made], [rows.load_row(slug) for slug in rows.slugs()]) == []


def test_no_style_sheet_loads_anything_from_outside(built_book):
    found = {}
    for path in built_book.rglob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
        named = re.findall(r"url\(\s*['\"]?((?:https?:)?//[^)'\"]+)", text) + re.findall(
            r"@import\s+['\"](//|http[^'\"]*)", text
        )
        found.update({path.name: named} if named else {})
    assert found == {}


def inside(pages: dict[str, Page]) -> Iterator[tuple[str, str, str]]:
    """Yield (page, target page, fragment) of every link that stays in the book."""
    for name, page in pages.items():
        for address in page.leads:
            parts = urlsplit(address)
            if parts.scheme or address.startswith("//"):
                continue
            here = Path(name).parent
            target = (Path("/") / here / unquote(parts.path)).as_posix() if parts.path else "/" + name
            pieces: list[str] = []
            for piece in target.split("/"):
                pieces = pieces[:-1] if piece == ".." else pieces + [piece] if piece not in ("", ".") else pieces
            yield name, "/".join(pieces), unquote(parts.fragment)


def test_every_link_inside_the_book_leads_somewhere(pages, built_book):
    dead = {
        f"{name} -> {target}#{fragment}"
        for name, target, fragment in inside(pages)
        if (fragment and fragment not in pages[target].ids if target in pages else not (built_book / target).is_file())
    }
    assert dead == set()


def test_every_picture_has_words(pages):
    for name, page in pages.items():
        assert None not in page.pictures, f"{name} has a picture without alt"
        if "/lesson" in name:
            assert all(page.pictures), f"{name} has a picture of the lesson with an empty alt"


def test_pages_are_light(built_book):
    heavy = {
        path.name: round(path.stat().st_size / 2**20, 1)
        for path in built_book.rglob("*.html")
        if path.stat().st_size > 6 * 2**20
    }
    assert heavy == {}


def test_every_method_stands_on_the_map(built_book):
    text = (built_book / "methods.html").read_text(encoding="utf-8")
    assert sorted(re.findall(r'data-key="([^"]+)"', text)) == sorted(method.key for method in methods.table())


def test_no_page_names_the_machine_that_made_it(built_book):
    for path in built_book.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert str(paths.CHECKOUT) not in text, path
        assert str(Path.home()) + "/" not in text, path


def test_lesson_pages_show_stubs_and_no_solution(built_book):
    for slug in rows.slugs():
        row = rows.load_row(slug)
        for lesson in row.notebooks:
            text = (built_book / "chapters" / slug / f"{lesson.stem}.html").read_text(encoding="utf-8")
            assert text.count("NotImplementedError") >= len(lesson.named("exercise"))
            assert "A worked solution" not in text
            assert "BEGIN SOLUTION" not in text


def test_a_warning_stops_the_build_and_is_said_each_time(tmp_path):
    source = tmp_path / "source"
    web_book.mirror(paths.CHECKOUT / "book", source / "book")
    (source / "_config.yml").write_bytes((paths.CHECKOUT / "_config.yml").read_bytes())
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (source / "book" / "index.md").write_text("# Home\n\nSee {ref}`ch05`.\n\n{cite:p}`nobody2000nothing`\n")
    (source / "build" / "pages").mkdir(parents=True)
    (source / "build" / "pages" / "elsewhere.json").write_text('{"ch05": {"title": "chapter 5", "address": ""}}')
    for _ in range(2):  # Sphinx's own cache would keep quiet the second time
        with pytest.raises(web_book.BookError, match="nobody2000nothing") as stopped:
            web_book.run_jupyter_book(source, tmp_path)
        assert "ch05" not in str(stopped.value), "a chapter that this book lacks is no warning"
