"""Questions: true answers, and a language prior that is exactly as strong as asked."""

import collections

import pytest
import torch

from dlcv_lab import world


@pytest.mark.parametrize("paraphrase", [False, True])
def test_every_answer_is_true(paraphrase):
    asked = world.ask(400, 0, paraphrase=paraphrase, textures=world.TEXTURES)
    for text, reply, plain in zip(asked.text, asked.answer, asked.scene.plain()):
        assert world.answer(text, plain) == reply, text


def test_changed_scenes_still_hold_their_objects():
    asked = world.ask(300, 1)
    assert torch.equal(asked.scene.count, torch.full((300,), 3))
    assert int(world.object_masks(asked.scene, 32, visible=False).sum(1).max()) == 1


def test_without_prior_the_question_does_not_tell_the_answer():
    asked = world.ask(3000, 0, ("exist", "spatial", "compare"))
    share = sum(a == "yes" for a in asked.answer) / 3000
    assert abs(share - 0.5) < 0.04
    # the best guess by question, learned on one half, is no better than chance on the other
    votes = collections.defaultdict(collections.Counter)
    for text, reply in zip(asked.text[:1500], asked.answer[:1500]):
        votes[text][reply] += 1
    hits = [votes[t].most_common(1)[0][0] == a for t, a in zip(asked.text[1500:], asked.answer[1500:]) if t in votes]
    assert abs(sum(hits) / len(hits) - 0.5) < 0.06


@pytest.mark.parametrize("prior", [0.0, 0.5, 1.0])
def test_the_prior_is_as_strong_as_asked(prior):
    asked = world.ask(2400, 3, ("colour",), prior=prior)
    table = collections.defaultdict(collections.Counter)
    for text, reply in zip(asked.text, asked.answer):
        table[text][reply] += 1
    top = sum(counts.most_common(1)[0][1] for counts in table.values()) / 2400
    expected = prior + (1 - prior) / 8
    assert abs(top - expected) < 0.06
    assert all(world.answer(t, p) == a for t, a, p in zip(asked.text, asked.answer, asked.scene.plain()))


def test_a_complement_changes_the_answer_and_little_else():
    asked = world.ask(300, 0)
    other = world.complement(asked, 1)
    assert other.text == asked.text
    assert all(a != b for a, b in zip(asked.answer, other.answer))
    assert all(world.answer(t, p) == a for t, a, p in zip(other.text, other.answer, other.scene.plain()))
    same = (asked.scene.shape == other.scene.shape) & (asked.scene.colour == other.scene.colour)
    assert float(same.float().mean()) > 0.5
    assert torch.equal(asked.scene.background, other.scene.background)


def test_questions_about_given_scenes():
    scene = world.sample(120, 0, objects=(1, 4), textures=world.TEXTURES)
    kinds = collections.Counter()
    for rows, plain in zip(world.questions(scene, 0, 4, paraphrase=True), scene.plain()):
        assert 1 <= len(rows) <= 4
        for text, reply, kind in rows:
            assert world.answer(text, plain) == reply
            kinds[kind] += 1
    assert set(kinds) == {"exist", "count", "colour", "shape", "spatial", "compare", "where"}


def test_all_answers_are_in_the_list():
    assert set(world.ask(500, 0).answer) <= set(world.ANSWERS)
    assert len(set(world.ANSWERS)) == len(world.ANSWERS)


def test_some_answers_by_hand():
    plain = world.make(
        {"shape": "star", "colour": "red", "x": 0.2, "size": 0.15}, {"x": 0.8, "colour": "blue"}
    ).plain()[0]
    expected = {
        "is there a scarlet pentagram ?": "yes",
        "is there a red circle ?": "no",
        "how many blue objects are there ?": "one",
        "how many objects are there ?": "two",
        "what colour is the circle ?": "blue",
        "what shape is the red object ?": "star",
        "is the star to the left of the circle ?": "yes",
        "is the star bigger than the circle ?": "no",
        "are there more stars than circles ?": "no",
        "where is the disc ?": "right",
        "is there exactly one star ?": "yes",
    }
    assert {q: world.answer(q, plain) for q in expected} == expected


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("what colour is the circle ?", "has 2"),
        ("what colour is the heart ?", "has 0"),
        ("who are you ?", "expected a question"),
        ("is there a red circle square ?", "expected the end"),
    ],
)
def test_questions_without_answer_are_clear_errors(question, message):
    plain = world.make({"x": 0.2, "size": 0.15}, {"x": 0.8, "size": 0.15}).plain()[0]
    with pytest.raises(world.WorldError, match=message):
        world.answer(question, plain)


def test_sound_questions_need_both_senses():
    scene = world.sample(200, 0, objects=2, distinct=True)
    sounds = world.sample_sounds(scene, 0, silent=0.2, off_screen=0.2)
    kinds = collections.Counter()
    for i, ((text, reply, kind), plain) in enumerate(zip(world.sound_questions(scene, sounds, 0), scene.plain())):
        kinds[kind] += 1
        slot = int(sounds.slot[i])
        if kind == "colour":
            assert reply == plain.things[slot].colour
        elif kind == "seen":
            assert reply == ("yes" if slot >= 0 else "no")
        elif kind == "place":
            assert reply == plain.things[slot].region
        else:
            assert (reply == "yes") == (
                slot >= 0 and plain.things[slot].colour in text and plain.things[slot].shape in text
            )
    assert set(kinds) == {"colour", "place", "seen", "heard"}
