"""Every kind of page: no serious finding of axe-core, and a picture, light on a desk and dark on a phone."""

from __future__ import annotations

import pytest

from autograder import rows

pytestmark = [pytest.mark.slow, pytest.mark.browser]

DESK, PHONE = 1280, 360


def kinds() -> list[str]:
    fixed = ["index", "chapters", "methods", "claims", "tour_of_the_world", "howto/student", "notation",
             "bibliography", "licence", "search", "teaching/index"]  # fmt: skip
    slug = "ch03_convolutional_networks"
    lesson = rows.load_row(slug).notebooks[0].stem
    return [*fixed, f"chapters/{slug}/index", f"chapters/{slug}/{lesson}", f"teaching/{slug}"]


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("name", kinds())
def test_a_page_can_be_used_by_everyone(visit, accessible, shoot, name, width, scheme):
    page = visit(name, width=width, scheme=scheme)
    long = page.evaluate("document.documentElement.scrollHeight") > 6000
    shoot(page, f"book-{name}-{scheme}-{'phone' if width == PHONE else 'desk'}", full_page=not long)
    accessible(page)  # what is hidden depends on the width, what has contrast on the scheme
