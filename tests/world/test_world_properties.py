"""Properties that hold of any scene that can be drawn."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcv_lab import world


def some(words):
    return st.lists(st.sampled_from(words), min_size=1, max_size=4, unique=True)


scenes = st.builds(
    lambda seed, low, more, overlap, **looks: world.sample(
        6, seed, objects=(low, min(4, low + more)), overlap=overlap, **looks
    ),
    seed=st.integers(0, 2**31),
    low=st.integers(0, 4),
    more=st.integers(0, 4),
    overlap=st.floats(0, 1),
    shapes=some(world.ALL_SHAPES),
    colours=some(world.COLOURS),
    textures=some(world.TEXTURES),
    marks=some(world.MARKS),
    backgrounds=some(world.BACKGROUNDS),
    grounds=some(world.GROUNDS),
    styles=some(world.STYLES),
    rotation=st.sampled_from(["upright", "tilt", "free"]),
)
few = settings(max_examples=25, deadline=None)


@few
@given(scenes, st.integers(0, 10**6))
def test_every_caption_is_true(scene, seed):
    for level in (1, 2, 3):
        for text, plain in zip(world.caption(scene, level, seed), scene.plain()):
            assert world.is_true(text, plain)


@few
@given(scenes)
def test_truth_agrees_with_itself(scene):
    masks, boxes = world.object_masks(scene), world.boxes(scene)
    assert int(masks.sum(1).max()) <= 1
    assert not bool(masks[~scene.present].any())
    for i, k in masks.flatten(2).any(2).nonzero().tolist():
        x1, y1, x2, y2 = boxes[i, k].int().tolist()
        inside = masks[i, k, y1:y2, x1:x2]
        assert int(inside.sum()) == int(masks[i, k].sum())
        assert all(bool(edge.any()) for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


@few
@given(scenes)
def test_images_are_finite_and_in_range_and_repeat(scene):
    images = world.render(scene)
    assert bool(images.isfinite().all())
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert torch.equal(images, world.render(scene))


@few
@given(scenes, st.integers(0, 10**6))
def test_references_reach_their_target_or_are_refused(scene, seed):
    for plain in scene.plain():
        for thing in plain.things:
            try:
                text = world.refer(plain, thing.slot, seed)
            except world.WorldError:
                continue
            assert world.resolve(text, plain) == thing.slot


@few
@given(scenes, st.integers(0, 10**6))
def test_every_answer_is_true(scene, seed):
    for rows, plain in zip(world.questions(scene, seed, 3, paraphrase=True), scene.plain()):
        assert all(world.answer(text, plain) == reply for text, reply, _ in rows)


@few
@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(2, 4))
def test_every_asked_answer_and_its_complement_are_true(seed, prior, objects):
    asked = world.ask(8, seed, prior=prior, objects=objects)
    other = world.complement(asked, seed)
    for questions in (asked, other):
        for text, reply, plain in zip(questions.text, questions.answer, questions.scene.plain()):
            assert world.answer(text, plain) == reply
    assert all(a != b for a, b in zip(asked.answer, other.answer))
