"""`interact`: sliders in a live notebook, and in the book a strip of frames that is dragged without a kernel."""

from __future__ import annotations

import html
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlcv_lab.card import Picture, collecting, encode, from_figure
from dlcv_lab.context import in_book
from dlcv_lab.touch import Touch

MOST_FRAMES = 40

Values = list[Any]


def interact(fn: Callable[..., Any], *, touch: Touch | None = None, **params: Any) -> None:
    """Let the reader change the arguments of `fn` and see what it shows.

    `fn(**values)` shows or returns one picture (`show...(...)`), or returns a matplotlib figure or HTML text. Each
    parameter is a list of values, a `range`, `(low, high, n)` for n evenly spaced numbers, or a bool for a switch; the
    one in the middle comes first, or the bool given. In a live notebook every parameter gets a slider; while the book
    is built all frames are drawn ahead and one strip of them is emitted, which needs neither kernel nor network. A live
    model as `touch`, such as `touch.kernel(...)`, takes the strip's place on a page with scripts.

    Raises:
        ValueError: a parameter has no values, or the book would need more than 40 frames.
        TypeError: `fn` gives nothing that can be shown.
    """
    choices = {name: values_of(name, param) for name, param in params.items()}
    if not choices:
        raise ValueError("interact needs at least one parameter, such as k=[1, 3, 5]")
    from IPython.display import display

    if in_book():
        words = "A picture with a slider for " + " and ".join(name.replace("_", " ") for name in choices) + "."
        strip = filmstrip_html(fn, **params)
        display({"text/html": touch.around(strip) if touch else strip, "text/plain": words}, raw=True)
    else:
        display(_sliders(fn, choices, params))


def filmstrip_html(fn: Callable[..., Any], **params: Any) -> str:
    """Return the strip of frames of `interact` as HTML that stands alone: no kernel, no script host, no network.

    Raises:
        ValueError: there would be more than 40 frames.
        TypeError: `fn` gives something other than a picture.
    """
    choices = {name: values_of(name, param) for name, param in params.items()}
    n = 1
    for values in choices.values():
        n *= len(values)
    if n > MOST_FRAMES:
        counts = " x ".join(f"{len(values)} ({name})" for name, values in choices.items())
        raise ValueError(
            f"{counts} = {n} frames are too heavy for a page: at most {MOST_FRAMES}. Give fewer values, such as "
            f"(low, high, {MOST_FRAMES // max(1, n // max(len(v) for v in choices.values())) or 2}), or a shorter list."
        )
    frames = [_frame(fn, dict(zip(choices, values))) for values in itertools.product(*choices.values())]
    return _strip(choices, {name: _first(params[name], values) for name, values in choices.items()}, frames)


def values_of(name: str, param: Any) -> Values:
    """Return the values that a parameter of `interact` takes, in the order of its slider."""
    if isinstance(param, bool):
        return [False, True]
    if isinstance(param, tuple):
        if len(param) != 3 or not isinstance(param[2], int) or param[2] < 2:
            raise ValueError(
                f"{name}={param} must be (low, high, n) with n at least 2; write a list to give the values"
            )
        low, high, n = param
        spaced = [low + (high - low) * k / (n - 1) for k in range(n)]
        whole = all(isinstance(end, int) for end in (low, high)) and all(float(v).is_integer() for v in spaced)
        return [int(value) for value in spaced] if whole else [round(float(value), 10) for value in spaced]
    if isinstance(param, (str, bytes, Mapping)) or not isinstance(param, (Sequence, range)):
        raise ValueError(f"{name} must be a list, a range, (low, high, n) or a bool, not {type(param).__name__}")
    if len(param) == 0:
        raise ValueError(f"{name} has no values")
    return list(param)


def label(value: Any) -> str:
    """Write a value for the reader, such as "0.25" or "on"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
    return str(value).replace("-", "\N{MINUS SIGN}") if isinstance(value, int) else str(value)


def _first(param: Any, values: Values) -> int:
    """Return the place of the value to begin with."""
    return int(param) if isinstance(param, bool) else (len(values) - 1) // 2


def _result(fn: Callable[..., Any], values: Mapping[str, Any]) -> Picture | str:
    """Call `fn` and return its picture, or its HTML."""
    with collecting() as shown:
        result = fn(**values)
    said = ", ".join(f"{name} = {label(value)}" for name, value in values.items())
    if result is None and shown:
        result = shown[-1]
    if isinstance(result, (Picture, str)):
        return result
    if hasattr(result, "savefig"):
        import sys

        picture = from_figure(result, f"The figure for {said}.")
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(result)
        return picture
    if hasattr(result, "_repr_html_"):
        return str(result._repr_html_())
    raise TypeError(f"{getattr(fn, '__name__', 'fn')} must show or return a picture; for {said} it gave {result!r}")


def _sliders(fn: Callable[..., Any], choices: Mapping[str, Values], params: Mapping[str, Any]) -> Any:
    """Return the live widget: one labelled slider a parameter above the picture."""
    import ipywidgets as widgets
    from IPython.display import HTML, display

    controls: dict[str, Any] = {}
    for name, values in choices.items():
        text = name.replace("_", " ")
        if isinstance(params[name], bool):
            controls[name] = widgets.Checkbox(value=params[name], description=text, indent=True)
        else:
            controls[name] = widgets.SelectionSlider(
                options=[(label(value), value) for value in values],
                index=_first(params[name], values),
                description=text,
                continuous_update=False,
                style={"description_width": "initial"},
                layout={"width": "420px", "max_width": "100%"},
            )

    def redraw(**values: Any) -> None:
        result = _result(fn, values)
        display(result if isinstance(result, Picture) else HTML(result))

    return widgets.VBox([*controls.values(), widgets.interactive_output(redraw, controls)])


def _frame(fn: Callable[..., Any], values: Mapping[str, Any]) -> Picture:
    result = _result(fn, values)
    if isinstance(result, Picture):
        return result
    raise TypeError(
        "a filmstrip in the book is made of pictures: let the function show or return one, not HTML text "
        f"({', '.join(values)})"
    )


def _strip(choices: Mapping[str, Values], first: Mapping[str, int], frames: Sequence[Picture]) -> str:
    """Build the HTML: one image element, one range input a parameter, and the frames as data beside them."""
    frames = _same_size(frames)
    steps: dict[str, int] = {}
    place = 0
    stride = len(frames)
    for name, values in choices.items():
        stride //= len(values)
        steps[name] = stride
        place += stride * first[name]
    middle = frames[place]
    rows = []
    for name, values in choices.items():
        text = html.escape(name.replace("_", " "))
        said = html.escape(json.dumps([label(value) for value in values], ensure_ascii=False), quote=True)
        now = html.escape(label(values[first[name]]))
        rows.append(
            f'<label class="dlcv-strip-row"><span>{text}</span>'
            f'<input type="range" min="0" max="{len(values) - 1}" step="1" value="{first[name]}" autocomplete="off" '
            f'aria-label="{text}" aria-valuetext="{now}" data-values="{said}" data-stride="{steps[name]}">'
            f'<output aria-hidden="true">{now}</output></label>'
        )
    data = json.dumps([[frame.source, frame.alt] for frame in frames], ensure_ascii=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return (
        f'<figure class="dlcv-filmstrip" role="group" aria-label="Picture with a slider" style="margin:0.6em 0">'
        f'<style>{_STYLE}</style><div class="dlcv-strip-card">'
        f'<img class="dark-light" alt="{html.escape(middle.alt, quote=True)}" src="{middle.source}" '
        f'width="{middle.width}" height="{middle.height}">'
        f'<div class="dlcv-strip-controls">{"".join(rows)}'
        f'<span class="dlcv-strip-hint">Drag, or use the arrow keys.</span></div></div>'
        f'<script type="application/json">{data}</script><script>{_SCRIPT}</script></figure>'
    )


def _same_size(frames: Sequence[Picture]) -> list[Picture]:
    """Pad frames with white to one size, so that nothing jumps, and encode them tightly, since there are many."""
    from PIL import Image

    images = [frame.pixels() for frame in frames]
    width, height = max(image.width for image in images), max(image.height for image in images)
    css = (max(frame.width for frame in frames), max(frame.height for frame in frames))
    out = []
    for frame, image in zip(frames, images):
        page = Image.new("RGB", (width, height), "white")
        page.paste(image, (0, 0))
        out.append(Picture(encode(page, quality=78, exact_below=12_000), "image/webp", *css, frame.alt))
    return out


# the controls stand on the white card with the picture, so that they are readable on a page of any colour
_STYLE = (
    ".dlcv-strip-card{display:inline-block;max-width:100%;box-sizing:border-box;text-align:left;line-height:1.5;"
    "background:#fff;color:#1f2328;color-scheme:light;border:1px solid #d5d9df;border-radius:8px;overflow:hidden}"
    ".dlcv-strip-card img{display:block;max-width:100%;height:auto;margin:0 auto;padding:0!important;border:0}"
    ".dlcv-strip-controls{padding:.1em .9em .5em;width:21em;min-width:100%;max-width:100%;box-sizing:border-box}"
    ".dlcv-strip-row{display:flex;align-items:center;gap:.7em;margin:.2em 0 0;font-size:.95em}"
    ".dlcv-strip-row>span{min-width:5.5em}"
    ".dlcv-strip-row>input{flex:1;min-width:0;height:2em;margin:0;touch-action:pan-y;cursor:pointer;"
    "accent-color:#15378e}"
    ".dlcv-strip-row>output{min-width:4em;font-weight:600;font-variant-numeric:tabular-nums;color:#1f2328}"
    ".dlcv-strip-hint{font-size:.8em;color:#5b626c}"
    "@media print{.dlcv-strip-row>input,.dlcv-strip-hint{display:none!important}}"
)

# the strip finds itself through its own script element, so any number of strips share a page; `hold` keeps the decoded
# frames, so that dragging does not flicker; frames change at once, without a transition, which is what
# prefers-reduced-motion asks for
_SCRIPT = (
    "(function(s){var f=s.closest('.dlcv-filmstrip'),"
    "d=JSON.parse(f.querySelector('script[type=\"application/json\"]').textContent),"
    "img=f.querySelector('img'),r=[].slice.call(f.querySelectorAll('input')),hold=[];"
    "function draw(){var k=0;r.forEach(function(i){var v=JSON.parse(i.dataset.values)[+i.value];"
    "k+=i.value*i.dataset.stride;i.setAttribute('aria-valuetext',v);"
    "i.parentNode.querySelector('output').textContent=v});"
    "img.src=d[k][0];img.alt=d[k][1]}"
    "function warm(){if(hold.length)return;d.forEach(function(x){var i=new Image();i.src=x[0];hold.push(i)})}"
    "r.forEach(function(i){i.addEventListener('input',draw);"
    "i.addEventListener('pointerenter',warm);i.addEventListener('focus',warm)});"
    "var start=r.map(function(i){return i.defaultValue}),kept;"
    "window.addEventListener('beforeprint',function(){kept=r.map(function(i){return i.value});"
    "r.forEach(function(i,n){i.value=start[n]});draw()});"
    "window.addEventListener('afterprint',function(){if(kept){r.forEach(function(i,n){i.value=kept[n]});draw()}})"
    "})(document.currentScript)"
)
