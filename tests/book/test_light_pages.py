"""Pages are light: pictures lie beside them, icons are our own, search loads where one searches."""

from __future__ import annotations

import base64
import json
import sys

from nbformat.v4 import new_code_cell, new_notebook, new_output

from autograder.base import paths
from autograder.book import pictures

sys.path.insert(0, str(paths.CHECKOUT / "book" / "_ext"))
import dlcv_book

BIG = base64.b64encode(bytes(range(256)) * 10).decode()
SMALL = base64.b64encode(b"tiny").decode()


def page(html: str):
    output = new_output("display_data", data={"text/html": html, "text/plain": "a picture"})
    return new_notebook(cells=[new_code_cell("show(x)", outputs=[output])])


def html_of(notebook) -> str:
    return notebook.cells[0].outputs[0].data["text/html"]


def test_a_picture_becomes_a_file_that_is_loaded_late(tmp_path):
    made = page(f'<img alt="a" src="data:image/webp;base64,{BIG}" width="3" height="4">')
    (file,) = pictures.separate(made, tmp_path)
    assert file.read_bytes() == base64.b64decode(BIG)
    assert html_of(made) == (
        f'<img loading="lazy" decoding="async" alt="a" src="pictures/{file.name}" width="3" height="4">'
    )


def test_frames_of_a_filmstrip_become_files_too(tmp_path):
    frames = json.dumps([[f"data:image/webp;base64,{BIG}", "one"], [f"data:image/png;base64,{BIG}", "two"]])
    made = page(f'<script type="application/json">{frames}</script>')
    files = pictures.separate(made, tmp_path)
    assert sorted(file.suffix for file in files) == [".png", ".webp"]
    assert "base64" not in html_of(made)


def test_what_is_tiny_stays_in_the_page(tmp_path):
    made = page(f'<img alt="a" src="data:image/webp;base64,{SMALL}">')
    assert pictures.separate(made, tmp_path) == set()
    assert SMALL in html_of(made)


def test_the_same_picture_twice_is_one_file(tmp_path):
    made = page(f'<img src="data:image/webp;base64,{BIG}"><img src="data:image/webp;base64,{BIG}">')
    assert len(pictures.separate(made, tmp_path)) == 1


def test_icons_of_the_library_are_cut_and_other_rules_stay():
    style = (
        '.fa-0:before{content:"0"}.fa-a:before,.fa-b::before{content:"\\f1"}.fade{opacity:0}.fa-solid{font-weight:900}'
    )
    assert dlcv_book._ICONS.sub("", style) == ".fade{opacity:0}.fa-solid{font-weight:900}"
