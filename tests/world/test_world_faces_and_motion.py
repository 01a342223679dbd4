"""Smileys and clips."""

import math

import pytest
import torch

from dlcv_lab import world


def test_faces_render_and_repeat():
    faces = world.sample_faces(20, 0, glasses=0.5, skins=world.SKINS)
    images = world.render_faces(faces)
    assert images.shape == (20, 3, 32, 32)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert torch.equal(images, world.render_faces(world.sample_faces(20, 0, glasses=0.5, skins=world.SKINS)))


def test_the_eight_emotions_can_be_told_apart():
    train, test = (world.sample_faces(400, seed, spread=0.08) for seed in (0, 1))
    means = torch.stack([world.render_faces(train[train.emotion == k]).mean(0) for k in range(8)])
    images = world.render_faces(test)
    # even the nearest mean picture, blind to backgrounds, knows most of them
    middle = slice(6, 26)
    gap = torch.cdist(images[..., middle, middle].flatten(1), means[..., middle, middle].flatten(1))
    assert float((gap.argmin(1) == test.emotion).float().mean()) > 0.6


def test_mouth_curvature_moves_the_mouth_continuously():
    face = world.sample_faces(1, 0, emotions=("contentment",), spread=0)
    curves = torch.linspace(-1, 1, 9)
    many = face[torch.zeros(9, dtype=torch.int64)]
    features = many.features.clone()
    features[:, world.FEATURES.index("curve")] = curves
    images = world.render_faces(many.replace(features=features), 64)
    steps = (images[1:] - images[:-1]).abs().mean((1, 2, 3))
    assert float(steps.min()) > 0
    assert float(steps.max()) < 6 * float(steps.min())


def test_parts_move_where_they_are_told():
    face = world.sample_faces(1, 0, spread=0, emotions=("awe",))
    shift = torch.zeros(1, 3, 2)
    shift[0, 2, 0] = 0.3
    moved = face.replace(shift=shift)
    centres = world.part_centres(moved, 32) - world.part_centres(face, 32)
    assert centres[0, 2].tolist() == pytest.approx([0.3 * float(face.size[0]) * 32, 0], abs=1e-4)
    changed = (world.render_faces(moved, 64) - world.render_faces(face, 64)).abs().amax((0, 1)) > 0.05
    rows = changed.nonzero()[:, 0]
    assert int(rows.min()) > 32


def test_glasses_and_light():
    face = world.sample_faces(1, 0)
    plain = world.render_faces(face)
    assert float((world.render_faces(face.replace(glasses=True)) - plain).abs().max()) > 0.3
    assert float(world.brightness(world.render_faces(face.replace(light=0.5)))) < 0.6 * float(world.brightness(plain))
    assert float(world.colourfulness(world.render_faces(face.replace(vivid=0.0)))) < 0.02


def test_faces_on_scenes_cover_only_their_box():
    scene = world.render(world.sample(4, 0, objects=3))
    faces = world.sample_faces(4, 0, sizes=(0.2, 0.25), position="free")
    images = world.render_faces(faces, 32, onto=scene)
    for image, bare, box in zip(images, scene, world.face_boxes(faces, 32)):
        changed = ((image - bare).abs().amax(0) > 1e-4).nonzero()
        assert bool((changed[:, 1] + 1 >= box[0] - 1).all() & (changed[:, 1] <= box[2] + 1).all())
        assert bool((changed[:, 0] + 1 >= box[1] - 1).all() & (changed[:, 0] <= box[3] + 1).all())


def test_emotion_instructions_have_the_fixed_form_and_give_nothing_away():
    faces = world.sample_faces(30, 0, glasses=0.3)
    for rows, attributes in zip(world.affect_instructions(faces, 0), world.face_attributes(faces)):
        table = {row["kind"]: row for row in rows}
        assert table["categorical"]["answer"] == f"Predict emotion: {attributes['emotion']}"
        assert table["categorical"]["question"].endswith("Predict emotion:")
        for row in (table["reasoning"], table["detail"]):
            assert attributes["emotion"] not in row["answer"]
        assert attributes["expression"] not in table["reasoning"]["question"]
        assert 0 <= attributes["brightness"] <= 1
        assert 0 <= attributes["colourfulness"] <= 1


def _clip(motion, direction="to the right", steps=8, **options):
    return world.sample_clips(12, 0, motions=(motion,), directions=(direction,), grounds=("white",), **options)


def test_tracked_centroids_follow_the_true_path():
    for motion in ("slide", "bounce", "orbit", "spiral"):
        clips = _clip(motion, shapes=("circle", "square"), colours=("red", "blue"))
        empty = world.render(clips.scene.replace(present=False))
        found = world.centroids(world.render_clips(clips, 64), torch.nn.functional.interpolate(empty, size=64))
        gap = (found - world.trajectory(clips)).norm(dim=-1)
        assert float(gap.max()) < 0.02, motion


def test_slides_go_straight_in_their_direction():
    for direction, axis, sign in (
        ("to the right", 0, 1),
        ("downwards", 1, 1),
        ("to the left", 0, -1),
        ("upwards", 1, -1),
    ):
        path = world.trajectory(_clip("slide", direction))
        step = path[:, 1:] - path[:, :-1]
        assert bool((step[..., axis] * sign > 0.03).all())
        assert float(step[..., 1 - axis].abs().max()) < 1e-6
        assert float((step[..., axis] - step[:, :1, axis]).abs().max()) < 1e-5


def test_orbits_keep_their_distance_and_spirals_come_closer():
    radius = (world.trajectory(_clip("orbit")) - 0.5).norm(dim=-1)
    assert float((radius - 0.28).abs().max()) < 1e-5
    radius = (world.trajectory(_clip("spiral")) - 0.5).norm(dim=-1)
    assert bool((radius[:, 1:] < radius[:, :-1]).all())


def test_growing_things_grow_and_stay():
    clips = _clip("grow")
    scene = world.frames(clips)
    size = scene.size[:, 0].unflatten(0, (12, 8))
    assert bool((size[:, 1:] > size[:, :-1]).all())
    area = world.area_fraction(scene, 64)[:, 0].unflatten(0, (12, 8))
    assert bool((area[:, -1] > 3 * area[:, 0]).all())


def test_rotation_can_be_seen_on_every_shape():
    clips = world.sample_clips(60, 0, motions=("rotate",))
    images = world.render_clips(clips, 32)
    assert float((images[:, 1:] - images[:, :-1]).abs().amax((2, 3, 4)).amin(1).min()) > 0.1
    turn = world.frames(clips).rotation[:, 0].unflatten(0, (60, 8))
    assert bool(((turn[:, -1] - turn[:, 0]).abs() > math.pi).all())


@pytest.mark.parametrize("motion", ["slide", "bounce", "rotate", "grow", "orbit", "spiral"])
def test_nothing_leaves_the_canvas(motion):
    clips = world.sample_clips(200, 1, motions=(motion,))
    scene = world.frames(clips, 16)
    low = torch.minimum(scene.x - scene.size, scene.y - scene.size)
    high = torch.maximum(scene.x + scene.size, scene.y + scene.size)
    assert float(low.min()) >= -0.02
    assert float(high.max()) <= 1.02


def test_the_same_motion_with_other_objects():
    clips = _clip("spiral")
    other = clips.of(clips.scene.replace(shape="star", colour="green"))
    assert torch.equal(world.trajectory(other), world.trajectory(clips))
    assert float((world.render_clips(other) - world.render_clips(clips)).abs().max()) > 0.3


def test_still_clips_stand_still():
    images = world.render_clips(_clip("still"))
    assert float((images[:, 1:] - images[:, :-1]).abs().max()) == 0


@pytest.mark.parametrize("seed", [None, 0])
def test_clip_captions_read_back(seed):
    clips = world.sample_clips(80, 0)
    for text, plain, motion, way in zip(
        world.clip_captions(clips, seed), clips.scene.plain(), clips.motion.tolist(), clips.direction.tolist()
    ):
        said = world.read_clip_caption(text)
        assert said["shape"] == plain.things[0].shape
        assert said["colour"] == plain.things[0].colour
        assert said["motion"] == world.MOTIONS[motion]
        if said["motion"] == "slide":
            assert said["direction"] == world.DIRECTIONS[way]


def test_clips_have_any_length_and_size():
    assert world.render_clips(_clip("slide"), 16, 16).shape == (12, 16, 3, 16, 16)
