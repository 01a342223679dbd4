"""Scenes and pictures: what is drawn is what the scene says, the same bytes every time."""

import math

import pytest
import torch
from skimage import draw

from dlcv_lab import world


def test_a_scene_is_plain_batched_data():
    scene = world.sample(5, 0, objects=(0, 4))
    assert len(scene) == 5
    assert scene.slots == 4
    assert scene.shape.dtype == scene.colour.dtype == scene.background.dtype == torch.int64
    assert scene.size.dtype == scene.x.dtype == torch.float32
    assert scene.present.dtype == torch.bool
    assert torch.equal(scene.count, scene.present.sum(1))
    assert len(scene[1]) == 1
    assert len(scene[torch.tensor([True, False, True, False, True])]) == 3


def test_images_have_the_promised_shape_dtype_and_range():
    scene = world.sample(
        3, 0, objects=(1, 4), textures=world.TEXTURES, backgrounds=world.BACKGROUNDS, styles=world.STYLES
    )
    for size in (32, 64):
        images = world.render(scene, size)
        assert images.shape == (3, 3, size, size)
        assert images.dtype == torch.float32
        assert float(images.min()) >= 0
        assert float(images.max()) <= 1


def test_the_same_seed_gives_the_same_bytes():
    looks = dict(
        objects=(1, 4), textures=world.TEXTURES, marks=world.MARKS, backgrounds=world.BACKGROUNDS, styles=world.STYLES
    )
    first, second = (world.render(world.sample(40, 7, **looks)) for _ in range(2))
    assert first.numpy().tobytes() == second.numpy().tobytes()
    other = world.render(world.sample(40, 8, **looks))
    assert first.numpy().tobytes() != other.numpy().tobytes()


def test_a_generator_advances_and_a_seed_does_not():
    gen = torch.Generator().manual_seed(3)
    assert not torch.equal(world.sample(9, gen).x, world.sample(9, gen).x)
    assert torch.equal(world.sample(9, 3).x, world.sample(9, 3).x)


def test_a_picture_does_not_depend_on_its_batch():
    scene = world.sample(
        300, 1, objects=(1, 3), backgrounds=world.BACKGROUNDS, styles=world.STYLES, textures=world.TEXTURES
    )
    whole = world.render(scene)
    alone = torch.cat([world.render(scene[i]) for i in (0, 131, 299)])
    assert torch.allclose(whole[[0, 131, 299]], alone, atol=1e-6)


def _turn(points, x, y, r, angle):
    c, s = math.cos(angle), math.sin(angle)
    return [(y + r * (s * p + c * q), x + r * (c * p - s * q)) for p, q in points]


def _polygon(points, x, y, r, angle, n):
    rows, columns = zip(*_turn(points, x, y, r, angle))
    return torch.from_numpy(draw.polygon2mask((n, n), [(a, b) for a, b in zip(rows, columns)]))


def _disc(p, q, radius, x, y, r, angle, n):
    ((row, column),) = _turn([(p, q)], x, y, r, angle)
    mask = torch.zeros(n, n, dtype=torch.bool)
    rr, cc = draw.disk((row, column), radius * r, shape=(n, n))
    mask[rr, cc] = True
    return mask


def independent_mask(shape, x, y, r, angle, n):
    """Draw a shape with scikit-image from its corners and discs; pixel centres lie on whole numbers there."""
    at = (x - 0.5, y - 0.5, r, angle, n)
    star = [
        ((1.0, 0.45)[k % 2] * math.sin(math.pi * k / 5), -(1.0, 0.45)[k % 2] * math.cos(math.pi * k / 5))
        for k in range(10)
    ]
    polygons = {
        "square": [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)],
        "triangle": [(0, -0.98), (0.98 * math.sin(math.pi / 3), 0.49), (-0.98 * math.sin(math.pi / 3), 0.49)],
        "star": star,
        "cross": [(-0.27, -0.92), (0.27, -0.92), (0.27, -0.27), (0.92, -0.27), (0.92, 0.27), (0.27, 0.27)]
        + [(0.27, 0.92), (-0.27, 0.92), (-0.27, 0.27), (-0.92, 0.27), (-0.92, -0.27), (-0.27, -0.27)],
        "arrow": [(-0.92, -0.27), (0.04, -0.27), (0.04, -0.8), (0.96, 0), (0.04, 0.8), (0.04, 0.27), (-0.92, 0.27)],
        "house": [
            (0, -0.96),
            (0.84, -0.08),
            (0.58, -0.08),
            (0.58, 0.78),
            (-0.58, 0.78),
            (-0.58, -0.08),
            (-0.84, -0.08),
        ],
    }
    if shape in polygons:
        return _polygon(polygons[shape], *at)
    if shape == "circle":
        return _disc(0, 0, 0.92, *at)
    if shape == "ring":
        return _disc(0, 0, 0.96, *at) & ~_disc(0, 0, 0.50, *at)
    if shape == "moon":
        return _disc(0, 0, 0.94, *at) & ~_disc(0.42, 0, 0.70, *at)
    if shape == "leaf":
        radius = (0.5**2 + 0.98**2) / (2 * 0.5)
        return _disc(0, radius - 0.5, radius, *at) & _disc(0, 0.5 - radius, radius, *at)
    if shape == "drop":
        turn = math.asin(0.60 / 1.32)
        edge = (0.60 * math.cos(turn), 0.34 - 0.60 * math.sin(turn))
        return _disc(0, 0.34, 0.60, *at) | _polygon([(0, -0.98), edge, (-edge[0], edge[1])], *at)
    # heart: tangent from the tip to the lobes, found numerically and not by the formula of the renderer
    best = max(
        (k / 4000 * math.pi for k in range(4000)),
        key=lambda t: _slope(0.42 + 0.47 * math.cos(t), -0.31 + 0.47 * math.sin(t)),
    )
    tx, ty = 0.42 + 0.47 * math.cos(best), -0.31 + 0.47 * math.sin(best)
    body = _polygon([(0, 0.95), (tx, ty), (0.42, -0.31), (0, -0.33), (-0.42, -0.31), (-tx, ty)], *at)
    return body | _disc(0.42, -0.31, 0.47, *at) | _disc(-0.42, -0.31, 0.47, *at)


def _slope(x, y):
    return math.atan2(x, 0.95 - y)


@pytest.mark.parametrize("shape", world.ALL_SHAPES)
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_masks_agree_with_an_independent_rasteriser(shape, angle):
    n = 256
    scene = world.make({"shape": shape, "size": 0.3, "x": 0.52, "y": 0.47, "rotation": angle})
    mine = world.object_masks(scene, n)[0, 0]
    other = independent_mask(shape, 0.52 * n, 0.47 * n, 0.3 * n, angle, n)
    union, shared = (mine | other).sum(), (mine & other).sum()
    assert shared / union > 0.985
    assert abs(int(mine.sum()) - int(other.sum())) < 0.012 * int(other.sum())


@pytest.mark.parametrize("shape", world.ALL_SHAPES)
def test_smoothed_coverage_sums_to_the_area(shape):
    coarse = world.make({"shape": shape, "size": 0.28, "rotation": 0.2})
    _, alpha = world.cutouts(coarse, 32)
    area = float(world.object_masks(coarse, 512).float().mean())
    assert float(alpha.mean()) == pytest.approx(area, rel=0.03)


def test_every_shape_fits_in_its_radius():
    for shape in world.ALL_SHAPES:
        scene = world.make({"shape": shape, "size": 0.4})
        rows, columns = world.object_masks(scene, 256)[0, 0].nonzero(as_tuple=True)
        far = ((rows + 0.5 - 128) ** 2 + (columns + 0.5 - 128) ** 2).sqrt().max()
        assert 0.85 * 0.4 * 256 < float(far) <= 0.4 * 256 + 1


def test_sampled_objects_lie_on_the_canvas_and_apart():
    scene = world.sample(400, 2, objects=4)
    assert bool(((scene.x - scene.size >= -1e-6) & (scene.x + scene.size <= 1 + 1e-6)).all())
    assert bool(((scene.y - scene.size >= -1e-6) & (scene.y + scene.size <= 1 + 1e-6)).all())
    masks = world.object_masks(scene, 32, visible=False)
    assert int(masks.sum(1).max()) == 1


def test_objects_in_front_hide_those_behind():
    back = {"shape": "square", "colour": "red", "size": 0.3}
    front = {"shape": "circle", "colour": "blue", "size": 0.2}
    for order, winner in (((back, front), "blue"), ((front, {**back, "size": 0.3}), "red")):
        image = world.render(world.make(*order))[0]
        expected = world.colour_rgb()[world.label("colour", winner)]
        assert torch.allclose(image[:, 16, 16], expected, atol=0.02)


def test_the_middle_of_an_object_has_its_colour_exactly():
    for colour, rgb in zip(world.COLOURS, world.colour_rgb()):
        image = world.render(world.make({"shape": "circle", "colour": colour, "size": 0.4}))[0]
        assert torch.allclose(image[:, 16, 16], rgb, atol=1e-5)


_SIGHT = {
    "normal": torch.eye(3),
    "deuteranopia": torch.tensor(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": torch.tensor(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": torch.tensor(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def _lab(rgb, sight):
    from skimage.color import rgb2lab

    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ sight.T).clamp(0, 1)
    encoded = torch.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return torch.from_numpy(rgb2lab(encoded[None].double().numpy())[0])


@pytest.mark.parametrize("sight", _SIGHT)
def test_the_eight_colours_can_be_told_apart_by_everyone(sight):
    # Machado, Oliveira and Fernandes 2009; a CIE Lab distance of 10 is plainly visible
    lab = _lab(world.colour_rgb(), _SIGHT[sight])
    gap = torch.cdist(lab, lab) + 1e3 * torch.eye(8)
    assert float(gap.min()) > 25


def test_every_colour_stands_out_from_every_background():
    lab, ground = (_lab(rgb, _SIGHT["normal"]) for rgb in (world.colour_rgb(), world.ground_rgb()))
    assert float(torch.cdist(lab, ground).min()) > 25


def test_textures_marks_backgrounds_and_styles_change_the_picture():
    base = world.make({"shape": "circle", "size": 0.4, "x": 0.5, "y": 0.5})
    plain = world.render(base)
    for field, options in (
        ("texture", world.TEXTURES),
        ("mark", world.MARKS),
        ("background", world.BACKGROUNDS),
        ("style", world.STYLES),
    ):
        seen = [world.render(base.replace(**{field: word})) for word in options]
        assert torch.equal(seen[0], plain)
        for i, one in enumerate(seen):
            for other in seen[i + 1 :]:
                assert float((one - other).abs().max()) > 0.05, (field, options[i])


def test_no_style_is_a_grey_blob():
    scene = world.sample(60, 4, sizes=("big",))
    for style in world.STYLES:
        images = world.render(scene.replace(style=style))
        inside = world.object_masks(scene, 32)[:, :1]
        gap = [
            (images[i, :, inside[i, 0]].mean(1) - images[i, :, ~inside[i, 0]].mean(1)).abs().max() for i in range(60)
        ]
        assert float(torch.stack(gap).quantile(0.05)) > 0.05, style


def test_cat_fills_up_missing_slots():
    joined = world.cat([world.sample(2, 0), world.sample(3, 0, objects=3)])
    assert joined.slots == 3
    assert joined.count.tolist() == [1, 1, 3, 3, 3]
    assert torch.equal(world.render(joined)[:2], world.render(world.sample(2, 0)))


def test_replace_by_word_sets_all():
    scene = world.sample(4, 0).replace(colour="green", style="sketch")
    assert set(scene.colour.flatten().tolist()) == {world.COLOURS.index("green")}
    assert set(scene.style.tolist()) == {world.STYLES.index("sketch")}


def test_attributes_are_uniform_and_independent():
    scene = world.sample(8000, 0)
    table = torch.zeros(8, 8).index_put_((scene.shape[:, 0], scene.colour[:, 0]), torch.ones(8000), accumulate=True)
    chi = ((table - 125).square() / 125).sum()
    assert float(chi) < 63 + 5 * math.sqrt(2 * 63)


def test_shape_weights_make_classes_unbalanced():
    scene = world.sample(4000, 0, shapes=("circle", "star"), shape_weights=(9, 1))
    assert float((scene.shape == 0).float().mean()) == pytest.approx(0.9, abs=0.03)


def test_distinct_objects_differ_in_shape_or_colour():
    scene = world.sample(300, 0, objects=4, shapes=("circle", "star"), colours=("red", "blue"), distinct=True)
    kinds = scene.shape * 8 + scene.colour
    assert all(len(set(row)) == 4 for row in kinds.tolist())


def test_a_scene_moves_between_devices():
    scene = world.sample(4, 0, objects=2)
    assert torch.equal(scene.to("cpu").x, scene.x)
    meta = scene.to("meta")
    assert meta.device.type == "meta"
    if torch.cuda.is_available():
        far = world.render(scene.to("cuda"))
        assert far.device.type == "cuda"
        assert torch.allclose(far.cpu(), world.render(scene), atol=1e-4)
