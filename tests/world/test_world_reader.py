"""The reader: what it says is right, and it says when it does not know."""

import json
import shutil

import pytest
import torch

from dlcv_lab import world
from dlcv_lab.world import reader
from dlcv_lab.world.train_reader import conditions, score


@pytest.fixture(scope="module")
def clean():
    scene = world.sample(1500, 424242)
    return scene, world.render(scene)


def test_shape_and_colour_of_clean_scenes_are_read_right(clean):
    scene, images = clean
    said = world.read(images, unsure_below=0)
    assert float((said.shape == scene.shape[:, 0]).float().mean()) >= 0.99
    assert float((said.colour == scene.colour[:, 0]).float().mean()) >= 0.99
    assert float((said.count == 1).float().mean()) >= 0.99


def test_places_and_sizes_are_read_to_a_pixel(clean):
    scene, images = clean
    said = world.read(images)
    seen = said.found[:, 0]
    gap = (said.x[:, 0] - scene.x[:, 0]).abs() + (said.y[:, 0] - scene.y[:, 0]).abs()
    assert float(gap[seen].mean()) < 1 / 32
    assert float((said.size[:, 0] - scene.size[:, 0]).abs()[seen].mean()) < 1 / 32


def test_what_it_is_sure_of_is_right_more_often():
    images, scene = conditions(800)["noise 0.2"]
    bold, careful = world.read(images, unsure_below=0), world.read(images, unsure_below=0.8)
    sure = careful.shape >= 0
    assert 0.2 < float(sure.float().mean()) < 1
    right = (bold.shape == scene.shape[:, 0]).float()
    assert float(right[sure].mean()) > float(right[~sure].mean()) + 0.1


def test_confidence_is_calibrated(clean):
    scene, images = clean
    hazy = world.degrade(images, "noise", 3, 0.12)
    said = world.read(hazy, unsure_below=0)
    seen = said.found[:, 0]
    confidence = said.confidence["shape"][:, 0][seen]
    right = (said.shape == scene.shape[:, 0])[seen].float()
    assert abs(float(confidence.mean()) - float(right.mean())) < 0.06


def test_pictures_of_nothing_hold_nothing():
    noise = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    empty = world.render(world.sample(60, 0, objects=0, backgrounds=world.BACKGROUNDS))
    for images in (noise, empty, torch.zeros(4, 3, 32, 32), torch.ones(4, 3, 32, 32)):
        assert float((world.read(images).count > 0).float().mean()) < 0.1


def test_unsure_reads_minus_one_and_absent_too(clean):
    _, images = clean
    said = world.read(images[:50], unsure_below=1.01)
    assert bool((said.shape == world.UNSURE).all())
    assert said.plain()[0].style == "unsure"
    none = world.read(torch.ones(1, 3, 32, 32))
    assert bool((none.labels["colour"] == world.UNSURE).all())


def test_larger_images_and_empty_batches():
    scene = world.sample(60, 5, sizes=("big",))
    large = world.read(world.render(scene, 64))
    assert float((large.shape == scene.shape[:, 0]).float().mean()) > 0.95
    assert len(world.read(torch.zeros(0, 3, 32, 32))) == 0


def test_reading_repeats(clean):
    _, images = clean
    one, other = world.read(images[:64]), world.read(images[:64])
    assert torch.equal(one.confidence["shape"], other.confidence["shape"])


def test_pictures_obey_their_captions_and_not_those_of_others():
    scene = world.sample(200, 9, sizes=("medium", "big"))
    images, texts = world.render(scene), world.caption(scene, 1, 0)
    assert float(world.obeys(images, texts).float().mean()) > 0.97
    wrong = texts[1:] + texts[:1]
    truly = [world.is_true(t, p) for t, p in zip(wrong, scene.plain())]
    agrees = [a == b for a, b in zip(world.obeys(images, wrong).tolist(), truly)]
    assert sum(agrees) / 200 > 0.97


def test_extra_objects_matter_only_when_asked():
    pair = world.make({"x": 0.28, "size": 0.18}, {"shape": "star", "colour": "blue", "x": 0.72, "size": 0.2})
    images = world.render(pair)
    assert world.obeys(images, ["a red circle."]).tolist() == [True]
    assert world.obeys(images, ["a red circle."], only=True).tolist() == [False]
    assert world.obeys(images, ["a red circle left of a blue star."], only=True).tolist() == [True]
    assert world.obeys(images, ["a red circle right of a blue star."]).tolist() == [False]


def test_the_card_tells_what_is_measured():
    _, card = world.load_reader()
    images, scene = conditions(600)["clean"]
    row, card_row = score(world.read(images), scene), card["calibration"]["clean"]
    for name in ("shape", "colour", "count", "found"):
        assert row[name] == pytest.approx(card_row[name], abs=0.015)
    assert {"sha256", "parameters", "seed", "steps", "licence", "data", "temperature"} <= set(card)
    assert card["parameters"] == sum(p.numel() for p in world.load_reader()[0].parameters())


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "unreadable card"])
def test_damaged_weights_are_refused(tmp_path, monkeypatch, damage):
    for name in ("reader.safetensors", "reader.json"):
        shutil.copy(reader.WEIGHTS / name, tmp_path / name)
    path = tmp_path / "reader.safetensors"
    raw = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "changed":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "missing":
        path.unlink()
    else:
        (tmp_path / "reader.json").write_text("{")
    monkeypatch.setattr(reader, "WEIGHTS", tmp_path)
    world.load_reader.cache_clear()
    try:
        with pytest.raises(world.WorldError, match="reinstall dlcv-lab"):
            world.read(torch.zeros(1, 3, 32, 32))
    finally:
        world.load_reader.cache_clear()


def test_weights_are_small_and_their_card_is_plain_json():
    assert (reader.WEIGHTS / "reader.safetensors").stat().st_size < 4_000_000
    card = json.loads((reader.WEIGHTS / "reader.json").read_text())
    for row in card["calibration"].values():
        assert all(0 <= value <= 1.5 for value in row.values())


def test_the_calibration_table_keeps_its_promise():
    table = world.load_reader()[1]["calibration"]
    assert table["clean"]["shape"] >= 0.99
    assert table["clean"]["colour"] >= 0.99
    assert table["clean"]["shape unsure"] < 0.02
    assert len(table) >= 12


def test_texture_and_mark_are_read_closely():
    scene = world.sample(
        60,
        31,
        textures=world.TEXTURES,
        marks=("none", "belt", "sash", "eyes"),
        sizes=("big",),
        shapes=("circle", "square"),
    )
    images = world.render(scene)
    near, far = world.read(images, closely=True, unsure_below=0), world.read(images, unsure_below=0)
    for kind, least in (("texture", 0.9), ("mark", 0.85)):
        right = [float((r.labels[kind][:, 0] == getattr(scene, kind)[:, 0]).float().mean()) for r in (near, far)]
        assert right[0] >= least
        assert right[0] > right[1]
