"""Pictures carry words, honest scales and the same colours everywhere."""

import itertools

import numpy as np
import pytest
import torch

from dlcv_lab import charts, colour, layout, matrices, mosaic, palette, show, start
from dlcv_lab.card import Picture, collecting, encode

SHOWN = {
    "images": lambda **k: show.images(torch.rand(2, 1, 4, 4), **k),
    "call": lambda **k: show(torch.rand(4, 4), **k),
    "grid": lambda **k: show.grid(torch.eye(3), **k),
    "curves": lambda **k: show.curves({"a": [1, 2, 3]}, **k),
    "bars": lambda **k: show.bars({"a": 1.0, "b": (2.0, 0.5)}, **k),
    "scatter": lambda **k: show.scatter(torch.randn(9, 2), **k),
    "contours": lambda **k: show.contours(torch.rand(3, 4), x=range(4), y=range(3), paths={"a": torch.rand(5, 2)}, **k),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_picture_needs_words(name):
    for missing in ({"alt": ""}, {"alt": "  "}, {"alt": None}):
        with pytest.raises(TypeError, match="cannot see"):
            SHOWN[name](**missing)
    with pytest.raises(TypeError, match="alt"):
        SHOWN[name]()


@pytest.mark.parametrize("name", SHOWN)
def test_words_reach_html_and_plain_text(name):
    picture = SHOWN[name](alt='A "quoted" <b> & more.', display=False)
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert 'alt="A &quot;quoted&quot; &lt;b&gt; &amp; more."' in bundle["text/html"]
    assert 'src="data:image/webp;base64,' in bundle["text/html"]
    assert bundle["text/plain"] == 'A "quoted" <b> & more.'


def test_shown_once_and_returned_never(monkeypatch):
    import IPython.display

    seen = []
    monkeypatch.setattr(IPython.display, "display", seen.append)
    assert show(torch.rand(4, 4), alt="Noise.") is None
    assert [type(item) for item in seen] == [Picture]
    with collecting() as gathered:
        assert show(torch.rand(4, 4), alt="Noise.") is gathered[0]
    assert len(seen) == 1


def test_a_figure_of_your_own_is_closed():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    picture = show.figure(figure, alt="A line.", display=False)
    assert not plt.fignum_exists(figure.number)
    assert picture.width > 300


def test_pictures_do_not_depend_on_the_readers_own_style():
    import matplotlib

    plain = show.curves({"a": [1, 3, 2]}, alt="x", display=False)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 7}):
        assert show.curves({"a": [1, 3, 2]}, alt="x", display=False).data == plain.data
        assert matplotlib.rcParams["font.size"] == 30


def test_background_is_opaque_white():
    pixels = np.asarray(show.bars({"a": 1}, alt="x", display=False).pixels())
    assert (pixels[0] == 255).all()
    assert (pixels[:, 0] == 255).all()


@pytest.mark.parametrize(
    ("images", "count"),
    [
        (torch.rand(5, 7), 1),
        (torch.rand(1, 5, 7), 1),
        (torch.rand(3, 5, 7), 1),
        (torch.rand(4, 3, 5, 7), 4),
        (np.zeros((2, 1, 5, 7), dtype=np.uint8), 2),
        ([torch.rand(5, 7), np.zeros((3, 2, 2)), torch.rand(2, 1, 4, 4)], 4),
        (torch.rand(3, 5, 7, dtype=torch.bfloat16), 1),
        (torch.rand(5, 7, requires_grad=True), 1),
    ],
)
def test_shapes_that_are_images(images, count):
    assert len([mosaic.pixels(panel) for panel in mosaic.single_images(images)]) == count
    assert show.images(images, alt="x", display=False).width > 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(8, 8, 3), r"\[8, 8, 3\].*permute\(2, 0, 1\)"),
        (torch.rand(5, 8, 8), r"5 grey images.*x\[:, None\]"),
        (torch.rand(8), r"shape \[8\]"),
        (torch.rand(2, 1, 1, 8, 8), r"\[2, 1, 1, 8, 8\]"),
        (torch.rand(0, 1, 8, 8), "empty"),
        (torch.rand(1, 0, 8), r"\[1, 0, 8\]"),
        (torch.rand(101, 1, 2, 2), "at most 100"),
        ("photo.png", "not str"),
    ],
)
def test_shapes_that_are_not_name_the_remedy(images, message):
    with pytest.raises(ValueError, match=message):
        show.images(images, alt="x")


def test_titles_must_match():
    with pytest.raises(ValueError, match="2 images but 3 titles"):
        show.images(torch.rand(2, 1, 4, 4), titles="abc", alt="x")


def limits(*images, vmin=None, vmax=None, share=True):
    return mosaic.limits_of([mosaic.pixels(image) for image in images], vmin, vmax, share)


def test_limits_are_the_unit_interval_if_everything_lies_there():
    scales, said = limits(torch.full((2, 2), 0.25), torch.full((2, 2), 0.5))
    assert scales == [(0, 1), (0, 1)]
    assert said == ["Black is 0, white is 1."]


def test_limits_outside_are_shared_and_stated():
    scales, said = limits(torch.tensor([[-2.0, 0]]), torch.tensor([[0.0, 5]]))
    assert scales == [(-2, 5), (-2, 5)]
    assert said == ["Black is \N{MINUS SIGN}2, white is 5."]
    scales, _ = limits(torch.tensor([[-2.0, 0]]), torch.tensor([[0.0, 5]]), share=False)
    assert scales == [(-2, 0), (0, 5)]


def test_clipped_colours_and_values_that_are_no_numbers_are_stated():
    _, said = limits(torch.tensor([-0.5, 2.0, 0.0]).view(3, 1, 1))
    assert said == ["Colours from \N{MINUS SIGN}0.5 to 2 are clipped to [0, 1]."]
    _, said = limits(torch.tensor([[float("nan"), 1.0]]))
    assert said == ["Black is 0, white is 1.", "1 values are not finite (pink)."]


def test_uint8_is_the_unit_interval():
    assert mosaic.pixels(np.full((2, 2), 255, dtype=np.uint8)).max() == 1


def test_pixels_are_square_and_true():
    """A 2x3 image must come out as blocks of exactly the colours asked for, in the right places, as wide as high."""
    image = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    with layout.style():
        figure = mosaic.draw_images([mosaic.pixels(image)], [(0.0, 1.0)], [], None, "", "gray", None, None)
    width, height = figure.get_size_inches() * figure.axes[0].get_position().size
    assert width / height == pytest.approx(3 / 2)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image.numpy())


@pytest.mark.parametrize("n", range(1, 101))
def test_a_mosaic_has_a_place_for_every_image(n):
    assert 1 <= mosaic.columns_for(n) <= 10


@pytest.mark.parametrize("width", [0.6, 1.5, 4.0])
def test_wrapped_text_fits_and_loses_nothing(width):
    text = (
        "A convolution/cross-correlation with $k \\times k$ weights keeps_the_names_of_things and is shift-equivariant"
    )
    lines = layout.wrap(text, width, 10).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(layout.text_width(line, 10) <= width * 72 for line in lines if "$" not in line)
    assert any("$k \\times k$" in line for line in lines)


def test_wrap_keeps_line_breaks_and_the_empty_text():
    assert layout.wrap("a\nb", 3, 10) == "a\nb"
    assert layout.wrap("", 3, 10) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (0.25, "0.25"), (-1.5, "−1.5"), (1234.4, "1234"), (1e-5, "1.0e−05"), (3.14159, "3.14")],
)
def test_numbers_in_captions(value, text):
    assert layout.number(value) == text.replace("−", "\N{MINUS SIGN}")


def test_labels_beside_curves_never_overlap():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = rng.integers(1, 9)
        wishes = np.sort(rng.random(n))[::-1]
        heights = np.full(n, 0.1)
        middles = charts.spaced(wishes, heights)
        gaps = -np.diff(middles)
        assert (gaps >= 0.1 - 1e-9).all()
        assert max(middles) <= 1 + 1e-9
        assert min(middles) >= -1e-9
    assert charts.spaced([0.9, 0.5, 0.1], [0.1] * 3) == [0.9, 0.5, 0.1]


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ({}, "at least one curve"),
        ({"a": ([1, 2], [1, 2, 3])}, r"'a'.*\[2\], \[3\]"),
        ({"a": []}, "same number"),
        ({"a": torch.zeros(2, 2)}, r"\[2, 2\]"),
    ],
)
def test_curves_that_make_no_sense(series, message):
    with pytest.raises(ValueError, match=message):
        show.curves(series, alt="x")


def test_curves_take_tensors_lists_and_spreads():
    xs = torch.tensor([1.0, 2, 4])
    with layout.style():
        figure = charts.draw_curves(
            {"a": (xs, [1.0, 2.0, 3.0], np.full(3, 0.5)), "b": [torch.tensor(1.0), 2, 3]},
            xlabel="", ylabel="", title=None, log="x", ylim=None, lines={"chance": 0.1}, spread="s", note=None,
        )  # fmt: skip
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1, 1], [2, 2], [4, 3]])
    assert figure.get_supxlabel() == "Bands: mean ± s."
    assert {text.get_text() for text in axes.texts} == {"a", "b", "chance"}


def test_bars_say_their_values():
    with layout.style():
        figure = charts.draw_bars(
            {"a": 0.5, "b": (0.25, 0.125)},
            xlabel="", title=None, fmt=".1%", log=False, xlim=None, lines=None, spread="s", note=None,
        )  # fmt: skip
    assert [text.get_text() for text in figure.axes[0].texts] == ["50.0%", "25.0% ± 12.5%"]
    with pytest.raises(ValueError, match="at least one bar"):
        show.bars({}, alt="x")


def test_scatter_checks_its_points():
    with pytest.raises(ValueError, match=r"\[4, 3\]"):
        show.scatter(torch.zeros(4, 3), alt="x")
    with pytest.raises(ValueError, match="4 points but 3 labels"):
        show.scatter(torch.zeros(4, 2), labels=[0, 1, 2], alt="x")


def test_contours_check_their_grid_and_survive_paths_that_run_away():
    with pytest.raises(ValueError, match=r"\[3, 4\]"):
        show.contours(torch.rand(4, 3), x=range(4), y=range(3), alt="x")
    with pytest.raises(ValueError, match="path 'a'"):
        show.contours(torch.rand(3, 4), x=range(4), y=range(3), paths={"a": torch.rand(5)}, alt="x")
    away = torch.tensor([[1.0, 1.0], [1e30, -1e30], [float("inf"), float("nan")]])
    flat = torch.zeros(3, 4)
    assert show.contours(flat, x=range(4), y=range(3), paths={"a": away}, points={"m": (1, 1)}, alt="x", display=False)


def test_log_axes_are_spelled_out():
    with pytest.raises(ValueError, match="'z'"):
        show.curves({"a": [1, 2]}, log="z", alt="x")


def texts_of(table, **options):
    with layout.style():
        figure = matrices.draw_grid(
            matrices.matrices_of(table),
            **{
                "names": None, "annotate": None, "title": None, "row_names": None, "column_names": None, "xlabel": "",
                "ylabel": "", "limits": (None, None), "share": True, "cmap": None, "marks": [(0, 1)],
                "note": None, **options,
            },
        )  # fmt: skip
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_grids_print_their_numbers():
    assert texts_of(torch.tensor([[1, -2], [0, 10]])) == ["1", "\N{MINUS SIGN}2", "0", "10"]
    assert texts_of(torch.tensor([[0.5, 1.0]])) == ["0.50", "1"]
    assert texts_of(torch.tensor([[0.5, 1.0]]), annotate=".3f") == ["0.500", "1.000"]
    assert texts_of(torch.tensor([[0.5, float("nan")]]))[1] == "nan"
    assert texts_of(torch.zeros(3, 3), annotate=False) == texts_of(torch.zeros(17, 17)) == []
    assert texts_of(torch.tensor([[True, False]])) == ["1", "0"]


def test_grids_put_zero_in_the_middle_of_signed_numbers():
    table = np.array([[-1.0, 3.0]])
    assert matrices._grid_limits([table], (None, None)) == (-3, 3, True)
    assert matrices._grid_limits([-table.clip(max=0)], (None, None)) == (0, 1, False)
    with pytest.raises(ValueError, match=r"\[3\]"):
        show.grid(torch.zeros(3), alt="x")


def test_one_name_one_colour():
    start("ch03")
    assert colour("Batch-Norm") == colour("batch norm") == colour("batch_norm")
    first = colour("a method nobody has heard of")
    assert palette.marks(["linear", "mlp", "a method nobody has heard of"])[2].colour == first
    start("ch03")
    assert colour("a method nobody has heard of") == first


def test_no_two_marks_of_a_picture_are_alike():
    for names in (["yours", "training", "cnn", "sgd"], [f"method {i}" for i in range(10)]):
        drawn = palette.marks(names)
        assert len({(mark.colour, mark.dash) for mark in drawn}) == len(names)
        assert len({mark.marker for mark in drawn}) == len(names)
    assert len({mark.colour for mark in palette.marks([f"thing {i}" for i in range(10)])}) == 10


# Machado, Oliveira and Fernandes (2009), full severity
_SEEN = {
    "all cones": np.eye(3),
    "no long-wave cones": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "no middle-wave cones": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
}  # fmt: skip


def linear_rgb(code):
    c = np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", _SEEN)
def test_everybody_can_tell_the_colours_apart(eyes):
    seen = [lab(np.array(_SEEN[eyes]) @ linear_rgb(code)) for code in palette.COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20


@pytest.mark.parametrize("name", palette.COLOURS)
def test_colours_stand_out_from_the_card(name):
    luminance = linear_rgb(palette.COLOURS[name]) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 3


def test_small_pictures_are_stored_without_loss():
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    picture = Picture(encode(Image.fromarray(pixels)), "image/webp", 40, 30, "noise")
    np.testing.assert_array_equal(np.asarray(picture.pixels()), pixels)
