"""Faces and labels among the objects of a scene: the truth says what the picture shows."""

import pytest
import torch

from dlcv_lab import world

FACES = range(len(world.ALL_SHAPES), len(world.ALL_SHAPES) + len(world.EMOTIONS))
GLYPHS = range(FACES.stop, len(world.SIGHT_KINDS))


def test_at_most_one_face_and_one_label_and_the_asked_shares():
    sights = world.sample_sights(2000, 0, objects=(1, 4), faces=0.3, labels=0.6)
    face = torch.isin(sights.kind, torch.tensor(FACES)).sum(1)
    label = torch.isin(sights.kind, torch.tensor(GLYPHS)).sum(1)
    assert int(face.max()) == int(label.max()) == 1
    assert float(face.float().mean()) == pytest.approx(0.3, abs=0.03)
    several = sights.count > 1
    assert float(label[several].float().mean()) == pytest.approx(0.6, abs=0.03)
    assert torch.equal(sights.face >= 0, face > 0)
    assert len(sights.faces) == int(face.sum())
    assert set(sights.count.tolist()) == {1, 2, 3, 4}


def test_faces_have_their_kind_and_colour():
    sights = world.sample_sights(200, 1, faces=1.0, labels=0.0)
    assert torch.equal(sights.kind[:, 0] - FACES.start, sights.faces.emotion)
    assert [world.SIGHT_COLOURS[c] for c in sights.colour[:, 0]] == [world.SKINS[s] for s in sights.faces.skin]
    assert not sights.scene.present.any(), "no object lies below a face"


def test_masks_cover_what_is_painted_and_nothing_else():
    sights = world.sample_sights(200, 2, objects=(1, 4), backgrounds=("plain",))
    images = world.render_sights(sights, 64)
    empty = world.render(sights.scene.replace(present=False), 64)
    painted = (images - empty).abs().amax(1) > 0.06
    masks = world.sight_masks(sights, 64)
    assert masks.shape == (200, 4, 64, 64)
    inside = masks.any(1)
    assert not (masks.sum(1) > 1).any(), "things lie apart"
    wider = torch.nn.functional.max_pool2d(inside.float()[:, None], 5, 1, 2)[:, 0] > 0
    assert not (painted & ~wider).any(), "nothing is painted away from the masks"
    assert (masks.flatten(2).any(2) == sights.present).all()


def test_labels_show_their_glyph():
    sights = world.sample_sights(100, 3, faces=0.0, labels=1.0, sizes=("big",))
    images, masks = world.render_sights(sights, 64), world.sight_masks(sights, 64)
    for image, mask, kind in zip(images, masks[:, 0], sights.kind[:, 0].tolist()):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        patch = image[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        scale = (patch.shape[0] - 2) // 5
        ink = patch[1:-1, 1:-1][::scale, ::scale] < 0.5
        assert torch.equal(ink, world.glyph_mask(world.SIGHT_KINDS[kind]))


def test_letters_and_digits_look_different():
    masks = [world.glyph_mask(glyph) for glyph in world.GLYPHS]
    assert len(masks) == 22
    assert all(int((a ^ b).sum()) > 0 for i, a in enumerate(masks) for b in masks[:i])


def test_names_and_captions_say_what_is_there():
    sights = world.sample_sights(50, 4, objects=(1, 3))
    for names, caption, kinds in zip(sights.names(), sights.captions(), sights.kind.tolist()):
        assert len(names) == sum(k >= 0 for k in kinds)
        assert all(name in caption for name in names)
        assert all(world.SIGHT_KINDS[k] in caption for k in kinds if k >= 0)


def test_emotion_instructions_are_true_and_reasoning_does_not_name_the_emotion():
    sights = world.sample_sights(300, 5, faces=0.7, labels=0.4, objects=(1, 4))
    told = world.sight_instructions(sights, 6)
    rows = (sights.face >= 0).nonzero()[:, 0].tolist()
    assert len(told) == len(rows) == len(sights.faces)
    asked = set()
    for turns, row in zip(told, rows):
        emotion = world.SIGHT_KINDS[int(sights.kind[row, sights.face[row]])]
        colour = world.SIGHT_COLOURS[int(sights.colour[row, sights.face[row]])]
        said = {turn["kind"]: turn for turn in turns}
        assert said["categorical"]["answer"] == f"Predict emotion: {emotion}"
        assert said["detail"]["answer"] == sights.captions()[row]
        assert emotion not in said["reasoning"]["question"] + said["reasoning"]["answer"]
        talk = said["conversation"]
        asked.add(talk["question"])
        if "emotion" in talk["question"]:
            assert talk["answer"] == f"{emotion}."
        elif "colour" in talk["question"]:
            assert talk["answer"] == f"{colour}."
        elif "how many" in talk["question"]:
            assert talk["answer"] == f"{world.NUMBERS[int(sights.count[row])]}."
        else:
            others = [name for name in sights.names()[row] if "face" not in name]
            assert all(name in talk["answer"] for name in others)
            assert others or talk["answer"] == "nothing."
    assert len(asked) == 4


def test_the_same_seed_gives_the_same_pictures():
    one, two = (world.render_sights(world.sample_sights(20, 7, objects=(1, 4)), 32) for _ in range(2))
    assert torch.equal(one, two)


def test_impossible_sights_are_refused():
    with pytest.raises(world.WorldError, match="between 0 and 1"):
        world.sample_sights(2, 0, faces=1.5)
    with pytest.raises(world.WorldError, match="lie apart"):
        world.sample_sights(2, 0, objects=2, overlap=0.5)
    with pytest.raises(world.WorldError, match="at least one"):
        world.sample_sights(50, 0, objects=(0, 1))
    with pytest.raises(world.WorldError, match="no kind of instruction"):
        world.sight_instructions(world.sample_sights(2, 0), 0, ("chatter",))
