"""Every kind of page: no serious finding of axe-core, and pictures of it, light and dark, on a desk and on a phone."""

from __future__ import annotations

import pytest

from autograder.chapter import rows

pytestmark = [pytest.mark.slow, pytest.mark.browser]

WIDTHS = {"desk": 1280, "phone": 360}
SETTLED = """() => [...document.querySelectorAll("pre")].every((box) =>
    box.tabIndex === 0 || (box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight))"""  # .3 s late
LONG = 6000  # pixels; of a longer page the beginning is kept


def kinds() -> list[str]:
    fixed = ["index", "chapters", "methods", "claims", "tour_of_the_world", "the_zoo", "grader_benchmark",
             "howto/student", "howto/instructor", "notation", "bibliography", "licence", "search?q=convolution",
             "teaching/index"]  # fmt: skip
    slug = "ch03_convolutional_networks"
    lesson = rows.load_row(slug).notebooks[0].stem
    return [*fixed, f"chapters/{slug}/index", f"chapters/{slug}/{lesson}", f"teaching/{slug}"]


@pytest.mark.parametrize("name", kinds())
def test_a_page_can_be_used_by_everyone(visit, accessible, shoot, name):
    page = visit(name.replace("?", ".html?"))
    for where, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        long = page.evaluate("document.documentElement.scrollHeight") > LONG
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
            shoot(page, f"book-{name.split('?')[0]}-{scheme}-{where}", full_page=not long)
            if (where, scheme) in (("desk", "light"), ("phone", "dark")):
                page.wait_for_function(SETTLED)  # the theme gives a box its tab stop after a pause
                # what is hidden depends on the width, what has contrast on the scheme
                accessible(page, levels=("minor", "moderate", "serious", "critical"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["feedback", "report"])
def test_the_samples_can_be_read_by_everyone(visit, accessible, shoot, name, scheme):
    page = visit(f"_static/samples/{name}", scheme=scheme, width=WIDTHS["phone"])
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS["phone"]
    shoot(page, f"sample-{name}-{scheme}", full_page=False)
    accessible(page, levels=("minor", "moderate", "serious", "critical"))
