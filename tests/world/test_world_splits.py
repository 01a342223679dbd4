"""Splits, presets, domains, tasks and episodes."""

import pytest
import torch

from dlcv_lab import world


@pytest.mark.parametrize("kind", ["shape", "colour", "texture", "style"])
@pytest.mark.parametrize("seed", [0, 1])
def test_disjoint_classes_share_nothing_and_lose_nothing(kind, seed):
    base, new = world.disjoint_classes(kind, 2, seed)
    assert not set(base) & set(new)
    every = world.SHAPES if kind == "shape" else world.names(kind)
    assert set(base) | set(new) == set(every)


@pytest.mark.parametrize("held_out", [1, 12, 32])
def test_unseen_combinations_are_unseen_but_their_parts_are_not(held_out):
    seen, unseen = world.unseen_combinations(held_out)
    assert len(unseen) == held_out
    assert len(seen) + len(unseen) == 64
    assert not set(seen) & set(unseen)
    assert {s for s, _ in seen} == set(world.SHAPES)
    assert {c for _, c in seen} == set(world.COLOURS)
    scene = world.sample(500, 0, pairs=seen, objects=2)
    shown = {(t.shape, t.colour) for plain in scene.plain() for t in plain.things}
    assert not shown & set(unseen)


@pytest.mark.parametrize("name", world.DOMAINS)
def test_domains_keep_classes_and_change_the_look(name):
    out = world.domain(name, 40, 0)
    assert out.images.shape == (40, 3, 32, 32)
    assert 0 <= float(out.images.min()) <= float(out.images.max()) <= 1
    assert torch.equal(out.labels, out.scene.shape[:, 0])
    if name != "clean":
        assert float((out.images - world.domain("clean", 40, 0).images).abs().mean()) > 0.008


def test_tasks_follow_each_other_with_prompts_for_each_class():
    stream = world.tasks(24, 0, test=8)
    assert [t.name for t in stream] == list(world.TASKS)
    for task in stream:
        assert task.train.images.shape == (24, 3, 32, 32)
        assert len(task.test.images) == 8
        assert len(task.prompts) == len(task.train.names)
        assert 0 <= int(task.train.labels.min()) <= int(task.train.labels.max()) < len(task.prompts)
        assert not torch.equal(task.train.images[:8], task.test.images)


def test_task_labels_are_what_their_scene_shows():
    counting, position, colours = world.tasks(50, 1, ("counting", "position", "fine colours"))
    assert torch.equal(counting.train.labels + 1, counting.train.scene.count)
    for label, plain in zip(position.train.labels.tolist(), position.train.scene.plain()):
        assert world.REGIONS[label] == plain.things[0].region
    for label, plain in zip(colours.train.labels.tolist(), colours.train.scene.plain()):
        assert colours.train.names[label] == f"a {plain.things[0].shade_word} {plain.things[0].colour} object"


def test_episodes_name_their_classes_with_new_words():
    one = world.episode(0, ways=3, shots=2, queries=6)
    assert len(one.support) == 6
    assert one.support_label.bincount().tolist() == [2, 2, 2]
    assert one.query_label.bincount().tolist() == [2, 2, 2]
    assert len(set(one.names)) == 3
    assert not set(one.names) & set(world.vocabulary())
    for scene, labels in ((one.support, one.support_label), (one.query, one.query_label)):
        for plain, label in zip(scene.plain(), labels.tolist()):
            assert (plain.things[0].shape, plain.things[0].texture) == one.classes[label]


def test_novel_classes_are_never_trained():
    train, novel = world.class_pairs("train"), world.class_pairs("novel")
    assert len(train) == len(novel) == 24
    assert not set(train) & set(novel)


def test_fast_questions_need_the_name():
    for seed in range(40):
        item = world.fast_question(seed)
        plain = item.scene.plain()[0]
        assert item.answer in item.options
        assert len(set(item.options)) == 4
        assert plain.things[0].colour != plain.things[1].colour
        name = item.question.split()[-2]
        shape, texture = item.episode.classes[item.episode.names.index(name)]
        assert [t.colour for t in plain.things if (t.shape, t.texture) == (shape, texture)] == [item.answer]


def test_bursty_pages_repeat_few_classes_under_local_names():
    scene, label, kind = world.page(0, 8, 3, bursty=True)
    assert len(scene) == 8
    assert len(set(kind.tolist())) <= 3
    table = {k: {v for q, v in zip(kind.tolist(), label.tolist()) if q == k} for k in set(kind.tolist())}
    assert all(len(v) == 1 for v in table.values())
    fixed = [world.page(s, 8, 3, bursty=False) for s in range(5)]
    assert all(torch.equal(k % 8, lab) for _, lab, k in fixed)


def test_icons_are_centred_or_anywhere():
    centred, free = world.icons(50, 0), world.icons(50, 0, position="random")
    assert centred.images.shape == (50, 3, 32, 32)
    assert bool((centred.scene.x == 0.5).all())
    assert float(free.scene.x.std()) > 0.05
    six = world.icons(60, 0, shapes=("star", "ring"))
    assert [six.names[i] for i in six.labels] == [p.things[0].shape for p in six.scene.plain()]


def test_xor_defeats_a_linear_rule():
    out = world.xor(400, 0)
    for label, plain in zip(out.labels.tolist(), out.scene.plain()):
        thing = plain.things[0]
        assert label == ((thing.shape == "circle") != (thing.colour == "red"))
    assert 0.4 < float(out.labels.float().mean()) < 0.6


def test_inside_ring_means_inside():
    out = world.inside_ring(200, 0)
    gap = ((out.scene.x[:, 0] - out.scene.x[:, 1]) ** 2 + (out.scene.y[:, 0] - out.scene.y[:, 1]) ** 2).sqrt()
    hole = 0.5 * out.scene.size[:, 0]
    assert torch.equal(out.labels == 1, gap + out.scene.size[:, 1] <= hole)
    assert int(world.object_masks(out.scene, 64, visible=False).sum(1).max()) == 1


def test_same_colour_is_balanced():
    out = world.same_colour(300, 0)
    assert torch.equal(out.labels == 1, out.scene.colour[:, 0] == out.scene.colour[:, 1])
    assert 0.4 < float(out.labels.float().mean()) < 0.6


def test_flipping_an_arrow_changes_its_label():
    out = world.arrows(20, 0, position="centre", grounds=("white",))
    flipped = out.scene.replace(rotation=torch.pi * out.labels[:, None].float())
    assert torch.allclose(world.render(flipped), out.images.flip(-1), atol=1e-3)


def test_upright_scenes_stand_on_a_line_and_show_which_way_is_up():
    out = world.upright(30, 0)
    assert bool((out.scene.rotation == 0).all())
    for turns in (1, 2, 3):
        assert float((out.images.rot90(turns, (2, 3)) - out.images).abs().mean((1, 2, 3)).min()) > 0.01


def test_natural_shapes_have_their_own_colour():
    out = world.natural(60, 0)
    assert all(world.NATURAL_COLOURS[p.things[0].shape] == p.things[0].colour for p in out.scene.plain())


def test_sprites_have_24_modes():
    out = world.sprites(500, 0)
    assert len(out.names) == 24
    for label, plain in zip(out.labels.tolist(), out.scene.plain()):
        assert out.names[label] == f"{plain.things[0].colour} {plain.things[0].shape}"
    assert len(set(out.labels.tolist())) == 24


def test_biases_are_as_strong_as_asked():
    scene = world.biased(2000, 0, 0.8)
    hits = [world.NATURAL_COLOURS[p.things[0].shape] == p.things[0].colour for p in scene.plain()]
    assert sum(hits) / 2000 == pytest.approx(0.8 + 0.2 / 8, abs=0.03)
    together = [{t.shape for t in p.things} for p in world.cooccurring(1500, 0, 0.9).plain()]
    circles = [shapes for shapes in together if "circle" in shapes]
    assert sum("square" in shapes for shapes in circles) / len(circles) == pytest.approx(0.9, abs=0.05)


def test_textures_go_on_across_tile_borders():
    sheets = world.textured_sheets(20, 0, size=32)
    inside = (sheets[..., 14] - sheets[..., 13]).abs().mean()
    border = (sheets[..., 16] - sheets[..., 15]).abs().mean()
    stranger = (sheets[..., 16] - sheets.roll(1, 0)[..., 15]).abs().mean()
    assert float(border) < 1.6 * float(inside)
    assert float(border) < 0.7 * float(stranger)


def test_photos_show_the_same_creature_in_other_places():
    who = world.creature(2)
    album = world.photos(who, 6, 0)
    for plain in album.plain():
        assert (plain.things[0].shape, plain.things[0].texture, plain.things[0].mark) == ("heart", "checker", "half")
    assert len({round(p.things[0].x, 3) for p in album.plain()}) == 6


def test_creatures_are_outside_of_what_samples_show():
    kinds = {
        tuple(world.creature(k).plain()[0].things[0][1:3]) + (world.creature(k).plain()[0].things[0].texture,)
        for k in range(4)
    }
    assert len(kinds) == 4


@pytest.mark.parametrize("kind", ["noise", "blur", "small"])
def test_damage_is_visible_and_bounded(kind):
    images = world.render(world.sample(6, 0))
    out = world.degrade(images, kind, 0)
    assert out.shape == images.shape
    assert 0.005 < float((out - images).abs().mean()) < 0.3
    assert 0 <= float(out.min()) <= float(out.max()) <= 1


def test_numbers_are_written_where_they_can_be_read():
    images, texts, scene = world.numbers(6, 0, digits=3)
    plain = world.render(scene, 64)
    for image, bare, text in zip(images, plain, texts):
        changed = (image - bare).abs().amax(0) > 1e-6
        rows, columns = changed.nonzero(as_tuple=True)
        assert int(rows.max() - rows.min()) + 1 <= 7
        dark = (image < 0.06).all(0)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert int(dark.sum()) >= int(world.glyph_mask(text).sum()) - 1


def test_panoramas_hold_one_tiny_number():
    images, texts, scene = world.panoramas(3, 0)
    assert images.shape == (3, 3, 32, 96)
    assert len(texts) == 3
    assert len(scene) == 9
