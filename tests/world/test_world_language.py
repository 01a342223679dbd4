"""Language: what is said is true, can be read back, and says only what it should."""

import collections

import pytest
import torch

from dlcv_lab import world


@pytest.fixture(scope="module")
def scenes():
    return world.sample(
        250,
        3,
        objects=(0, 4),
        shapes=world.ALL_SHAPES,
        textures=world.TEXTURES,
        marks=world.MARKS,
        backgrounds=world.BACKGROUNDS,
        styles=world.STYLES,
    )


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_captions_are_true_by_reading_them_back(scenes, level, seed):
    for text, plain in zip(world.caption(scenes, level, seed), scenes.plain()):
        assert world.is_true(text, plain), text


def test_a_full_caption_tells_everything():
    scene = world.make(
        {"shape": "star", "colour": "blue", "size": 0.3, "texture": "stripes", "mark": "belt"},
        ground="sand",
        background="grid",
        style="sketch",
    )
    (text,) = world.caption(scene, 3)
    said = world.parse(text)
    mention = said.mentions[0]
    assert (mention.shape, mention.colour, mention.size, mention.texture, mention.mark, mention.region) == (
        "star",
        "blue",
        "big",
        "stripes",
        "belt",
        "centre",
    )
    assert (said.background, said.ground, said.style) == ("grid", "sand", "sketch")


def test_captions_of_other_scenes_are_mostly_false(scenes):
    texts, plains = world.caption(scenes, 2, 0), scenes.plain()
    hits = sum(world.is_true(texts[i], plains[i - 1]) for i in range(1, len(plains)) if plains[i].things)
    assert hits < 0.02 * len(plains)


def test_levels_grow_in_length(scenes):
    mean = [sum(len(t.split()) for t in world.caption(scenes, level)) for level in (1, 2, 3)]
    assert mean[0] < mean[1] < mean[2]


def test_paraphrases_differ_and_are_true(scenes):
    for texts, plain in zip(world.captions(scenes, 5, 0), scenes.plain()):
        assert len(texts) == 5
        assert all(world.is_true(text, plain) for text in texts)
        if plain.things:
            assert len(set(texts)) == 5


def test_synonyms_mean_the_same():
    tuples = [
        world.parse(text).tuples()
        for text in (
            "a red star on a white background.",
            "a scarlet pentagram on a white canvas.",
            "a scarlet five-pointed shape on a white ground.",
        )
    ]
    assert tuples[0] == tuples[1] == tuples[2]


def test_relations_are_turned_to_one_side():
    left = world.parse("a red circle left of a blue square.").tuples()
    right = world.parse("a blue box to the right of a scarlet disc.").tuples()
    assert left == right
    assert ("circle", "left of", "square") in left


def test_counting_words_are_exact():
    two = world.make({"x": 0.25, "size": 0.15}, {"x": 0.75, "size": 0.15}).plain()[0]
    assert world.is_true("two red circles.", two)
    assert world.is_true("a red circle.", two)
    assert not world.is_true("three red circles.", two)
    assert not world.is_true("a red circle and two red circles.", two)


def test_each_mention_needs_an_object_of_its_own():
    one = world.make({}).plain()[0]
    assert not world.is_true("a red circle and a red circle.", one)


@pytest.mark.parametrize(
    "text", ["a red", "red circle blue", "a red circle on", "a zib", "", "a red blue circle", "left of a circle"]
)
def test_what_is_no_sentence_is_refused(text):
    assert not world.is_grammatical(text)
    with pytest.raises(world.ParseError):
        world.parse(text)


def test_all_twenty_templates_can_be_read():
    assert len(set(world.TEMPLATES)) == 20
    for template in world.TEMPLATES:
        assert world.parse(template.format("a big red circle")).mentions[0].colour == "red"


def test_no_two_words_are_confused():
    from dlcv_lab.world import words

    for tables in (
        (words.SHAPE_SYNONYMS,),
        (words.COLOUR_SYNONYMS, words.TEXTURE_SYNONYMS, words.SIZE_SYNONYMS),
        (words.STYLE_SYNONYMS,),
        (words.BACKGROUND_SYNONYMS,),
        (words.RELATION_SYNONYMS,),
        (words.MOTION_WORDS,),
    ):
        every = [w for table in tables for options in table.values() for w in options]
        assert len(set(every)) == len(every)


def test_referring_expressions_point_at_one_object():
    scenes = world.sample(200, 0, objects=(1, 4), shapes=world.SHAPES[:3], colours=world.COLOURS[:2])
    found = missed = 0
    for plain in scenes.plain():
        for thing in plain.things:
            try:
                text = world.refer(plain, thing.slot, found)
            except world.WorldError:
                missed += 1
                continue
            found += 1
            assert world.resolve(text, plain) == thing.slot
    assert missed < 0.02 * found


def test_of_two_identical_objects_only_their_place_tells():
    twins = world.make({"x": 0.2, "size": 0.15}, {"x": 0.8, "size": 0.15}).plain()[0]
    assert world.refer(twins, 0, 0).split()[1] == "leftmost"
    with pytest.raises(world.WorldError, match="points at object 0 alone"):
        world.refer(twins, 0, 0, kinds=("attribute",))


def test_no_unique_expression_is_a_clear_error():
    same = world.make({"x": 0.5, "y": 0.5, "size": 0.2}, {"x": 0.5, "y": 0.5, "size": 0.2}).plain()[0]
    with pytest.raises(world.WorldError, match="looks and lies alike"):
        world.refer(same, 0, 0)


def test_middle_of_three():
    three = world.make(*({"x": x, "size": 0.1} for x in (0.2, 0.5, 0.8))).plain()[0]
    assert world.resolve("the middle circle", three) == 1


@pytest.mark.parametrize(("box", "text"), [((0, 0, 1, 1), "[0,0,99,99]"), ((0.125, 0.2, 0.5, 0.999), "[13,20,50,99]")])
def test_boxes_as_text(box, text):
    assert world.box_text(box) == text
    assert all(abs(a - b) <= 0.011 for a, b in zip(world.read_box(text), box))


def test_boxes_are_read_from_any_four_numbers():
    assert world.read_box("at (12, 30) to (40,55)") == [0.12, 0.30, 0.40, 0.55]
    assert world.read_box("[40,55,12,30]") == [0.12, 0.30, 0.40, 0.55]
    assert world.read_box("at 3 and 4") is None
    with pytest.raises(world.WorldError, match="x1 < x2"):
        world.box_text((0.5, 0, 0.5, 1))


def test_triplets_tag_what_lies_in_the_box():
    scene = world.sample(30, 0, objects=(1, 3))
    boxes = world.boxes(scene, 64) / 64
    for i, (text, tags, regions) in enumerate(world.triplets(scene, 0)):
        assert world.is_true(text, scene.plain()[i])
        for tag, region in zip(tags, regions):
            thing = scene.plain()[i].things[region.slot]
            assert tag == f"{thing.colour} {thing.shape}"
            assert region.box == pytest.approx(tuple(boxes[i, region.slot].tolist()))
    wrong = world.triplets(scene, 0, wrong_tags=1.0)
    assert sum(a[1] == b[1] for a, b in zip(world.triplets(scene, 0), wrong)) < 5


def test_statements_about_two_images_are_balanced_and_judged_right():
    pairs = world.statements(120, 0, paraphrase=True)
    truth = [world.judge(t, a, b) for t, a, b in zip(pairs.text, pairs.left.plain(), pairs.right.plain())]
    assert truth == list(pairs.truth)
    by_text = collections.defaultdict(list)
    for text, true in zip(pairs.text, pairs.truth):
        by_text[text].append(true)
    assert all(sum(v) * 2 == len(v) for v in by_text.values())


@pytest.mark.parametrize("kind", ["attribute", "relation", "order"])
def test_swapped_captions_have_the_same_words_and_are_false(kind):
    made = 0
    for plain in world.sample(150, 0, objects=2).plain():
        pair = world.swap_caption(plain, kind, 0)
        if pair is None:
            continue
        made += 1
        assert world.is_true(pair[0], plain)
        assert not (world.is_grammatical(pair[1]) and world.is_true(pair[1], plain))
        bare = [collections.Counter(w for w in t.strip(".").split() if w not in ("a", "an")) for t in pair]
        assert bare[0] == bare[1]
    assert made > 100


def test_corrupted_captions_say_which_are_wrong():
    scene = world.sample(400, 0)
    texts, truth = world.corrupt(scene, 0, 0.4)
    assert truth == [world.is_true(t, p) for t, p in zip(texts, scene.plain())]
    assert 0.52 < sum(truth) / 400 < 0.68
    assert all(world.corrupt(scene, 0, 0.0)[1])


def test_polls_are_answered_right_and_half_yes():
    scene = world.sample(200, 0, objects=(1, 4))
    rows = [(q, a, p) for polls, p in zip(world.polls(scene, 0), scene.plain()) for q, a in polls]
    assert all(world.answer(q, p) == a for q, a, p in rows)
    assert 0.4 < sum(a == "yes" for _, a, _ in rows) / len(rows) < 0.6


def test_dialogs_answer_truly_and_use_pronouns_after_names():
    scene = world.sample(60, 0, objects=(1, 3), textures=world.TEXTURES)
    for dialog, plain in zip(world.dialogs(scene, 0), scene.plain()):
        assert world.is_true(dialog.caption, plain)
        assert len(dialog.turns) == 5
        assert not dialog.turns[0].needs_history
        for turn in dialog.turns:
            assert turn.candidates[turn.index] == turn.answer
            assert len(set(turn.candidates)) == len(turn.candidates)
            assert turn.needs_history == (" it " in turn.question)
            if turn.resolved.startswith(("what colour", "where")):
                assert world.answer(turn.resolved, plain) == turn.answer


def test_dialog_text_keeps_caption_and_last_turns():
    dialog = world.dialogs(world.sample(1, 0), 0)[0]
    text = world.dialog_text(dialog, 3, max_turns=1)
    assert text.startswith(dialog.caption)
    assert dialog.turns[2].answer in text
    assert text.endswith(dialog.turns[3].question)
    assert world.dialog_text(dialog, 0) == f"{dialog.caption} {dialog.turns[0].question}"


def test_instructions_are_true_of_their_scene():
    scene = world.sample(40, 0, objects=(1, 3))
    for rows, plain in zip(world.instructions(scene, 0), scene.plain()):
        table = {row["kind"]: row for row in rows}
        assert set(table) == {"conversation", "detail", "reasoning", "categorical"}
        assert world.is_true(table["detail"]["answer"], plain)
        biggest = max(plain.things, key=lambda t: t.size)
        assert table["categorical"]["answer"] == f"predict shape: {biggest.shape}"
        assert not any(
            t.colour in table["reasoning"]["question"] or t.shape in table["reasoning"]["question"]
            for t in plain.things
        )


def test_the_corpus_is_made_of_known_words():
    known = set(world.vocabulary())
    lines = world.corpus(600, 0)
    assert {w for line in lines for w in world.tokens(line)} <= known
    assert 250 <= len(known) <= 500
    chat = world.corpus(200, 0, style="chat")
    assert any(line.startswith("<USER> ") and " <ASSISTANT> " in line for line in chat)


def test_the_corpus_is_read_by_its_own_parser_and_shuffled_lines_are_not():
    lines = world.corpus(400, 0) + world.corpus(100, 1, style="chat")
    assert all(world.is_sentence(line) for line in lines)
    shuffled = [" ".join(sorted(world.tokens(line))) for line in lines if len(line.split()) > 5]
    assert sum(world.is_sentence(line) for line in shuffled) < 0.02 * len(shuffled)
    assert not world.is_sentence("a square is a round thing .")
    assert not world.is_sentence("what colour is the star ? seven .")


def test_captions_and_questions_stay_in_the_vocabulary(scenes):
    known = set(world.vocabulary())
    texts = world.caption(scenes, 3, 0) + [
        q for rows in world.questions(scenes, 0, paraphrase=True) for q, _, _ in rows
    ]
    texts += list(world.statements(40, 0, paraphrase=True).text) + world.clip_captions(world.sample_clips(40, 0), 0)
    texts += world.sound_captions(world.sample_sounds(world.sample(20, 0), 0, silent=0.3))
    texts += world.face_captions(world.sample_faces(40, 0, glasses=0.5), 0)
    missing = {w for text in texts for w in world.tokens(text)} - known
    assert not missing


def test_every_word_has_a_part_of_speech_and_kinds_reach_a_root():
    table = world.lexicon()
    assert set(table) == set(world.vocabulary())
    assert table["circle"] == table["stars"] == "noun"
    assert table["red"] == "adj"
    assert table["two"] == "num"
    for word in (*world.SHAPES, *world.COLOURS):
        chain = [word]
        while chain[-1] in world.HYPERNYMS:
            chain.append(world.HYPERNYMS[chain[-1]])
        assert chain[-1] in ("shape", "colour")


def test_text_is_the_same_for_the_same_seed(scenes):
    assert world.caption(scenes, 3, 5) == world.caption(scenes, 3, 5)
    assert world.corpus(50, 2) == world.corpus(50, 2)
    gen = torch.Generator().manual_seed(1)
    assert world.corpus(50, gen) != world.corpus(50, gen)
