"""A finished picture: the bytes of an image, its alternative text, and how a notebook or a page shows it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160  # pixels of the file per inch; a page shows 110 CSS pixels per inch
CSS_PER_INCH = 110
_SMALL = 40_000  # bytes: above this a picture may be stored with loss, if that is smaller

CARD_STYLE = (
    "background:#fff;border:1px solid #d5d9df;border-radius:8px;box-sizing:border-box;max-width:100%;height:auto"
)


@dataclass(frozen=True)
class Picture:
    """One picture as it goes into the page: WebP or PNG bytes, width and height in CSS pixels, and words for it."""

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int
    alt: str

    @property
    def source(self) -> str:
        """The picture as the value of an `src` attribute."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"

    @property
    def html(self) -> str:
        """The picture as an HTML figure on an opaque white card, readable on light and dark pages."""
        return (
            f'<figure class="dlcv-picture" style="margin:0.6em 0">'
            f'<img class="dark-light" alt="{html.escape(self.alt, quote=True)}" src="{self.source}" '
            f'width="{self.width}" height="{self.height}" style="{CARD_STYLE}"></figure>'
        )

    def pixels(self) -> Any:
        """Return the picture as a PIL image in RGB."""
        from PIL import Image

        return Image.open(io.BytesIO(self.data)).convert("RGB")

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.alt}


def from_figure(figure: Figure, alt: str) -> Picture:
    """Draw a matplotlib figure, cut to what is drawn on it, with a narrow margin and an opaque background."""
    from PIL import Image

    raw = io.BytesIO()
    ground = figure.get_facecolor()
    figure.savefig(raw, format="png", dpi=DPI, facecolor=ground, bbox_inches="tight", pad_inches=0.12)
    return from_pixels(Image.open(raw), alt, scale=CSS_PER_INCH / DPI)


def from_pixels(image: Any, alt: str, *, scale: float = 1.0) -> Picture:
    """Encode a PIL image, without loss where that stays small; `scale` is CSS pixels per pixel of the file."""
    data = encode(image)
    return Picture(data, "image/webp", round(image.width * scale), round(image.height * scale), alt)


def encode(image: Any, *, quality: int = 88, exact_below: int = _SMALL) -> bytes:
    """Return WebP bytes of a PIL image: exact up to `exact_below` bytes, else with loss where that is smaller."""
    image = image.convert("RGB")
    exact = io.BytesIO()
    image.save(exact, "WEBP", lossless=True, quality=60, method=4)
    if exact.tell() <= exact_below:
        return exact.getvalue()
    lossy = io.BytesIO()
    image.save(lossy, "WEBP", quality=quality, method=4)
    return min(exact.getvalue(), lossy.getvalue(), key=len)


def need_alt(alt: Any, what: str) -> str:
    """Return the stripped alternative text.

    Raises:
        TypeError: there is none, or it is no text.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise TypeError(
            f'{what} needs alt="...": one or two sentences that tell a reader who cannot see the picture what is in it'
        )
    return " ".join(alt.split())


_collected: ContextVar[list[Picture] | None] = ContextVar("dlcv_collected", default=None)


@contextmanager
def collecting() -> Iterator[list[Picture]]:
    """Gather the pictures that would have been shown, in place of showing them."""
    gathered: list[Picture] = []
    token = _collected.set(gathered)
    try:
        yield gathered
    finally:
        _collected.reset(token)


def deliver(picture: Picture, display: bool) -> Picture | None:
    """Show the picture now and return None, or return it: when `display` is false or somebody is collecting."""
    gathered = _collected.get()
    if gathered is not None:
        gathered.append(picture)
        return picture
    if not display:
        return picture
    from IPython.display import display as show_in_notebook

    show_in_notebook(picture)
    return None
