"""Ground truth: tight boxes, visible masks, keypoints and labels."""

import pytest
import torch
from torchvision.ops import masks_to_boxes

from dlcv_lab import world


@pytest.fixture(scope="module")
def crowd():
    return world.sample(80, 5, objects=(0, 4), overlap=0.6, shapes=world.ALL_SHAPES)


def test_boxes_are_tight_to_the_visible_mask(crowd):
    masks, boxes = world.object_masks(crowd, 48), world.boxes(crowd, 48)
    for i, k in masks.flatten(2).any(2).nonzero().tolist():
        expected = masks_to_boxes(masks[i, k][None])[0] + torch.tensor([0.0, 0.0, 1.0, 1.0])
        assert torch.equal(boxes[i, k], expected)
    assert bool((boxes[~masks.flatten(2).any(2)] == 0).all())


def test_boxes_are_those_of_all_masks_however_many():
    scene = world.sample(300, 1, objects=2)
    whole = world.boxes(scene)
    assert torch.equal(whole[200:], world.boxes(scene[200:]))


def test_visible_masks_never_overlap_and_lie_inside_the_silhouettes(crowd):
    seen, whole = world.object_masks(crowd, 48), world.object_masks(crowd, 48, visible=False)
    assert int(seen.sum(1).max()) == 1
    assert not bool((seen & ~whole).any())
    assert torch.equal(seen.any(1), whole.any(1))


def test_semantic_and_instance_maps_tell_the_same_story(crowd):
    semantic, instance = world.semantic_masks(crowd, 48), world.instance_masks(crowd, 48)
    assert semantic.dtype == instance.dtype == torch.int64
    assert torch.equal(semantic > 0, instance > 0)
    for k in range(4):
        here = instance == k + 1
        assert torch.equal(semantic[here], (crowd.shape[:, k, None, None] + 1).expand_as(semantic)[here])


def test_void_pixels_are_exactly_the_borders():
    scene = world.make({"shape": "square", "size": 0.3})
    plain, void = world.semantic_masks(scene, 32)[0], world.semantic_masks(scene, 32, void=True)[0]
    border = void == world.VOID
    inner = (plain > 0) & ~border
    assert int(border.sum()) > 0
    # taking one pixel off all round a square leaves a square
    side = int((plain > 0).any(0).sum())
    assert int(inner.sum()) == (side - 2) ** 2
    assert torch.equal(void[~border], plain[~border])


def test_pictures_without_object_have_empty_targets():
    target = world.targets(world.sample(1, 0, objects=0))[0]
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["masks"].shape == (0, 32, 32)


def test_targets_follow_torchvision(crowd):
    for i, target in enumerate(world.targets(crowd, 32)):
        assert target["masks"].dtype == torch.uint8
        width = target["boxes"][:, 2:] - target["boxes"][:, :2]
        assert bool((width > 0).all())
        assert set((target["labels"] - 1).tolist()) <= set(crowd.shape[i].tolist())


def test_keypoints_turn_with_the_object():
    points = world.keypoints(world.make({"shape": "arrow", "size": 0.25, "rotation": 0.0}), 32)[0, 0]
    assert points[2].tolist() == pytest.approx([24, 16, 1])
    down = world.keypoints(world.make({"shape": "arrow", "size": 0.25, "rotation": torch.pi / 2}), 32)[0, 0]
    assert down[2].tolist() == pytest.approx([16, 24, 1], abs=1e-4)
    # the drawn arrow has its tip there as well
    scene = world.make({"shape": "arrow", "size": 0.25, "rotation": torch.pi / 2})
    rows = world.object_masks(scene, 32)[0, 0].any(1).nonzero()
    assert int(rows.max()) in (22, 23)


def test_multi_labels_list_what_is_present(crowd):
    labels = world.multi_label(crowd, "colour")
    for i, plain in enumerate(crowd.plain()):
        assert {world.COLOURS[c] for c in labels[i].nonzero()[:, 0].tolist()} == {t.colour for t in plain.things}


def test_area_fraction_counts_visible_pixels(crowd):
    assert torch.allclose(
        world.area_fraction(crowd, 32).sum(1), world.object_masks(crowd, 32).any(1).float().mean((1, 2))
    )


def test_size_labels_agree_with_size_words(crowd):
    label = world.size_label(crowd)
    for i, plain in enumerate(crowd.plain()):
        assert [world.SIZES[int(label[i, t.slot])] for t in plain.things] == [t.size_word for t in plain.things]


def test_brightness_and_colourfulness_of_known_pictures():
    grey = torch.full((1, 3, 8, 8), 0.5)
    assert float(world.brightness(grey)) == pytest.approx(0.5)
    assert float(world.colourfulness(grey)) == pytest.approx(0, abs=1e-5)
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    assert float(world.brightness(red)) == pytest.approx(0.299)
    # rg = 255, yb = 127.5 everywhere: no spread, mean length 285.1
    assert float(world.colourfulness(red)) == pytest.approx(0.3 * (255**2 + 127.5**2) ** 0.5 / 109, rel=1e-4)


def test_cutouts_paste_to_the_same_picture():
    scene = world.make({"shape": "star", "colour": "blue", "size": 0.3}, ground="white")
    colours, alpha = world.cutouts(scene, 32)
    empty = world.render(scene.replace(present=False))
    pasted = torch.where(alpha > 0, colours, empty)
    assert torch.allclose(pasted, world.render(scene), atol=1e-6)


def test_edges_surround_the_objects():
    scene = world.make({"shape": "circle", "size": 0.3})
    edge = world.edge_map(scene, 64)[0, 0] > 0
    mask = world.object_masks(scene, 64)[0, 0]
    far = (world.distances(scene, 64)[0, 0].abs())[edge]
    assert float(far.max()) < 1.5
    assert bool((edge & mask).any())


def test_strokes_resemble_the_scene_only_roughly():
    scene = world.sample(8, 0, sizes=("big",))
    rough, true = world.strokes(scene, 0, 32), world.render(scene)
    gap = (rough - true).abs().mean()
    assert 0.01 < float(gap) < 0.2
