"""Directions and montages, edits by the thousand, ranked answers, long documents, composed classes."""

from collections import Counter

import pytest
import torch

from dlcv_lab import world
from dlcv_lab.world import words
from dlcv_lab.world.fact_wordings import SUBJECT_FACTS, WIDE_FACTS
from dlcv_lab.zoo import language


def turned(clips):
    """Return by how much a clip's path turns around the middle of the canvas, clockwise positive, from its centres."""
    path = world.trajectory(clips, 16) - 0.5
    angle = torch.atan2(path[..., 1], path[..., 0])
    step = torch.remainder(angle.diff(dim=1) + torch.pi, 2 * torch.pi) - torch.pi
    return step.sum(1)


@pytest.mark.parametrize("motion", world.MOTIONS[1:])
def test_the_direction_said_is_the_direction_taken(motion):
    clips = world.sample_clips(200, 3, motions=(motion,), shrink=True)
    said = world.clip_directions(clips)
    scene = world.frames(clips, 16)
    x, y, size, turn = (getattr(scene, name)[:, 0].view(200, 16) for name in ("x", "y", "size", "rotation"))
    goes = {
        "to the right": x[:, -1] > x[:, 0] + 0.1,
        "to the left": x[:, -1] < x[:, 0] - 0.1,
        "downwards": y[:, -1] > y[:, 0] + 0.1,
        "upwards": y[:, -1] < y[:, 0] - 0.1,
        "outwards": size[:, -1] > size[:, 0] * 1.5,
        "inwards": size[:, -1] < size[:, 0] / 1.5,
        "clockwise": (turned(clips) if motion != "rotate" else turn[:, -1] - turn[:, 0]) > 1,
        "anticlockwise": (turned(clips) if motion != "rotate" else turn[:, -1] - turn[:, 0]) < -1,
    }
    ways = {"slide": 4}.get(motion, 2)
    assert len(set(said)) == ways
    assert all(bool(goes[way][i]) for i, way in enumerate(said))


def test_captions_with_directions_are_read_back():
    clips = world.sample_clips(200, 4, shrink=True)
    for text, motion, way in zip(
        world.clip_captions(clips, 5, directions=True), clips.motion.tolist(), world.clip_directions(clips)
    ):
        read = world.read_clip_caption(text)
        assert read["motion"] == world.MOTIONS[motion]
        assert read["direction"] == (None if way == "outwards" else way)


def test_without_shrink_clips_are_those_of_before():
    clips = world.sample_clips(50, 1)
    assert bool((clips.pace > 0).all())
    plain, more = (
        world.sample_clips(50, 1, motions=("slide",)),
        world.sample_clips(50, 1, motions=("slide",), shrink=True),
    )
    assert torch.equal(plain.pace, more.pace)


@pytest.mark.parametrize("same_object", [True, False])
def test_montages_change_their_motion_at_the_borders_and_nowhere_else(same_object):
    cut = world.montage(60, 2, shots=3, steps=24, same_object=same_object)
    assert cut.shot.shape == cut.motion.shape == cut.border.shape == (60, 24)
    assert cut.render(16).shape == (60, 24, 3, 16, 16)
    assert not cut.border[:, 0].any()
    assert torch.equal(cut.border.sum(1), torch.full((60,), 2))
    assert torch.equal(cut.border[:, 1:], cut.motion.diff(dim=1) != 0)
    assert torch.equal(cut.border.long().cumsum(1), cut.shot)
    lengths = torch.stack([(cut.shot == k).sum(1) for k in range(3)], 1)
    assert int(lengths.min()) >= 4
    assert len(set(map(tuple, lengths.tolist()))) > 20, "cuts fall anywhere"
    shape, colour = (getattr(cut.scene, name)[:, 0].view(60, 24) for name in ("shape", "colour"))
    changes = (shape.diff(dim=1) != 0) | (colour.diff(dim=1) != 0)
    assert not (changes & ~cut.border[:, 1:]).any()
    assert changes.any() != same_object


def test_a_montage_shows_in_each_shot_what_its_caption_says():
    cut = world.montage(40, 8, motions=("slide", "grow"), steps=20)
    x, y, size = (getattr(cut.scene, name)[:, 0].view(40, 20) for name in ("x", "y", "size"))
    for i in range(40):
        for k, (way, text) in enumerate(zip(cut.directions[i], cut.captions[i])):
            rows = (cut.shot[i] == k).nonzero()[:, 0]
            first, last = rows[0], rows[-1]
            read = world.read_clip_caption(text)
            assert world.MOTIONS[int(cut.motion[i, first])] == read["motion"]
            if read["motion"] == "grow":
                assert (size[i, last] > size[i, first]) == (way == "outwards")
            else:
                gone = {"to the right": x[i, last] - x[i, first], "to the left": x[i, first] - x[i, last],
                        "downwards": y[i, last] - y[i, first], "upwards": y[i, first] - y[i, last]}[way]  # fmt: skip
                assert gone > 0.3, "every shot runs its motion from the beginning to the end"


def test_montages_that_cannot_be_are_refused():
    with pytest.raises(world.WorldError, match="do not fit into 11 frames"):
        world.montage(1, 0, steps=11)
    with pytest.raises(world.WorldError, match="allow two"):
        world.montage(1, 0, motions=("slide",))
    assert len(world.montage(0, 0)) == 0


def test_three_thousand_edits_whose_test_subjects_never_come_up_in_training():
    names = [fact.subject for fact in language.facts()]
    facts = world.acquaintances(1100, 3, names)
    assert len(facts) == 3300
    assert len({fact.subject for fact in facts}) == 1100
    known = set(language.word_list())
    assert {word for fact in facts for text in fact.sentences for word in text.split()} <= known, "gpt knows every word"
    made = world.edit_set(facts, 100, 4)
    assert (len(made.train), len(made.test)) == (3000, 300)
    held = {edit.old.subject for edit in made.test}
    trained = {fact.subject for edit in made.train for fact in (edit.old, *edit.unrelated)}
    assert not held & trained
    for edit in (*made.train[:300], *made.test):
        assert edit.new.value != edit.old.value
        assert edit.new.value in WIDE_FACTS[edit.old.about]
        assert len({edit.new.prompts[0], *edit.new.prompts[1:]}) == 4, "a wording and three paraphrases"
        assert len(edit.unrelated) == 4
        assert all(f.about == edit.old.about and f.subject != edit.old.subject for f in edit.unrelated)


def test_an_attribute_has_24_values_of_one_word_each():
    vocabulary = set(world.vocabulary())
    for about, values in WIDE_FACTS.items():
        assert len(set(values)) == len(values) == 24, about
        assert set(values) <= vocabulary
    assert not set(WIDE_FACTS) & set(SUBJECT_FACTS)
    drawn = Counter(fact.value for fact in world.acquaintances(500, 0) if fact.about == "coat")
    assert len(drawn) == 24


def test_too_few_names_or_subjects_are_told():
    with pytest.raises(world.WorldError, match="Of 3 names 6 pairs"):
        world.acquaintances(7, 0, ["zib", "dox", "lak"])
    assert len({f.subject for f in world.acquaintances(6, 0, ["zib", "dox", "lak"])}) == 6
    with pytest.raises(world.WorldError, match="cannot be cut"):
        world.edit_set(world.acquaintances(20, 0), 18, 0)


def test_a_hundred_candidates_are_graded_by_what_they_mean():
    scene = world.sample(40, 1, objects=(2, 3), textures=world.TEXTURES)
    for talk, before in zip(world.ranked(world.dialogs(scene, 2), 3), world.dialogs(scene, 2)):
        for turn, old in zip(talk.turns, before.turns):
            assert (turn.question, turn.answer) == (old.question, old.answer)
            assert len(turn.candidates) == len(set(turn.candidates)) == len(turn.relevance) == 100
            grade = dict(zip(turn.candidates, turn.relevance))
            assert turn.candidates[turn.index] == turn.answer
            assert [said for said, value in grade.items() if value == 1] == [turn.answer]
            assert grade[f"it is {turn.answer}"] == 0.9
            if turn.answer in words.COLOURS:
                assert grade[words.COLOUR_SYNONYMS[turn.answer][1]] == 0.8
                warm = turn.answer in ("red", "orange", "yellow", "brown")
                assert grade["a warm colour" if warm else "a cold colour"] == 0.4
                wrong = [grade[c] for c in words.COLOURS if c in grade and c != turn.answer]
                assert wrong == [0.0] * len(wrong) != []
            if turn.answer == "top left":
                assert grade["top"] == grade["left"] == 0.4
                assert grade.get("bottom left", 0) == 0
    with pytest.raises(world.WorldError, match="were asked for"):
        world.ranked(world.dialogs(scene[0], 1), 0, 3)


@pytest.mark.parametrize("form", ["flamingo", "article", "html"])
def test_long_documents_have_two_pictures_and_fill_256_tokens(form):
    made = world.documents(20, 5, 2, form=form, length=256, objects=(1, 3))
    counts = [len(world.document_tokens(each.text)) for each in made]
    assert all(230 <= count <= 256 for count in counts), counts
    assert all(each.text.count("<image>") == len(each.scene) == 2 for each in made)


def test_what_a_long_document_says_after_a_picture_is_true_of_it():
    checked = 0
    for each in world.documents(10, 6, 2, length=200, objects=(2, 3)):
        for text, plain in zip(each.text.split("<image>")[1:], each.scene.plain()):
            for sentence in text.replace("<EOC>", "").replace("? ", "?|").replace(" .", ".").split("."):
                if "?|" in sentence:
                    question, reply = sentence.split("|")
                    assert world.answer(question, plain) == reply.strip()
                elif sentence.strip():
                    assert world.is_true(sentence, plain), sentence
                checked += bool(sentence.strip())
    assert checked > 100


def test_documents_without_a_length_are_those_of_before():
    texts = [each.text for each in world.documents(2, 9)]
    assert texts[0].count("<EOC>") == 3
    assert all(len(world.document_tokens(text)) < 120 for text in texts)
    with pytest.raises(world.WorldError, match="captions alone"):
        world.documents(1, 0, 3, length=10)


@pytest.mark.parametrize(("kind", "total", "new"), [("mark", 42, 21), ("texture", 24, 8)])
def test_composed_classes_are_new_by_their_combination_alone(kind, total, new):
    base, fresh = world.composed_classes(kind)
    assert (len(base) + len(fresh), len(fresh)) == (total, new)
    assert not {each.name for each in base} & {each.name for each in fresh}
    assert {each.shape for each in base} == {each.shape for each in fresh}
    assert {getattr(each, kind) for each in base} == {getattr(each, kind) for each in fresh}
    known = set(language.word_list())
    assert {word for each in (*base, *fresh) for word in each.name.split()} <= known


def test_pictures_of_composed_classes_show_their_class():
    base, _ = world.composed_classes("mark", seed=3)
    drawn = world.composed(base, 60, 4, size=64)
    for label, plain in zip(drawn.labels.tolist(), drawn.scene.plain()):
        thing = plain.things[0]
        assert (thing.shape, thing.mark) == (base[label].shape, base[label].mark)
        assert world.is_true(f"a {base[label].name}.", plain)
    assert drawn.names == tuple(each.name for each in base)
    with pytest.raises(world.WorldError, match='"mark" or "texture"'):
        world.composed_classes("size")
    with pytest.raises(world.WorldError, match="At least one class"):
        world.composed((), 1, 0)
    with pytest.raises(world.WorldError, match="lack some shape"):
        world.composed_classes("mark", new=1.0)
