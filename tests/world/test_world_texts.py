"""The web, documents, and facts about individuals."""

import collections

import pytest

from dlcv_lab import world


def test_web_records_have_the_promised_mix_and_truth():
    scene, records = world.web(1500, 0)
    plains = scene.plain()
    shares = collections.Counter(r.kind for r in records)
    assert shares["good"] / 1500 == pytest.approx(0.30, abs=0.05)
    assert set(shares) == set(world.ALT_KINDS)
    for record, plain in zip(records, plains):
        assert world.is_true(record.caption, plain)
        assert record.label == f"{plain.things[0].colour} {plain.things[0].shape}"
        if record.kind == "good":
            assert world.is_true(record.alt, plain)
        elif record.kind in ("filename", "camera", "foreign", "spam"):
            assert not world.is_grammatical(record.alt)
    wrong = [world.is_true(r.alt, p) for r, p in zip(records, plains) if r.kind == "wrong"]
    assert sum(wrong) < 0.1 * len(wrong)


def test_web_classes_follow_zipf():
    scene, _ = world.web(4000, 1)
    counts = scene.shape.flatten().bincount(minlength=8).float()
    assert counts.tolist() == sorted(counts.tolist(), reverse=True)
    assert float(counts[0] / counts[3]) == pytest.approx(4, rel=0.25)


def test_duplicates_copy_an_earlier_record():
    _, records = world.web(400, 2)
    for i, record in enumerate(records):
        if record.kind == "duplicate":
            assert record.alt in {r.alt for r in records[:i]}


def test_pages_know_which_sentence_belongs_to_which_picture():
    for page in world.pages(20, 0, 6, 3):
        assert len(page.sentences) == 6
        assert len(page.scene) == 3
        assert len(set(page.belongs)) == 3
        for line, plain in zip(page.belongs, page.scene.plain()):
            assert world.is_true(page.sentences[line], plain)


@pytest.mark.parametrize("form", ["flamingo", "article", "html"])
def test_documents_have_a_mark_for_every_picture(form):
    for document in world.documents(5, 0, 3, form=form):
        assert document.text.count("<image>") == len(document.scene) == 3
    assert world.documents(1, 0, form=form)[0].text == world.documents(1, 0, form=form)[0].text


def test_flamingo_documents_alternate_picture_and_true_caption():
    for document in world.documents(10, 0, 2, form="flamingo"):
        texts = [t.removesuffix("<EOC>") for t in document.text.split("<image>")[1:]]
        assert all(world.is_true(t, p) for t, p in zip(texts, document.scene.plain()))


def test_three_hundred_facts_about_a_hundred_creatures():
    facts = world.individuals(100, 0)
    assert len(facts) == 300
    assert len({f.subject for f in facts}) == 100
    for fact in facts:
        assert len(set(fact.prompts)) == 4
        assert all(s == f"{p} {fact.value} ." for p, s in zip(fact.prompts, fact.sentences))
        assert all(fact.subject in p.split() for p in fact.prompts)
    assert facts == world.individuals(100, 0)


def test_edits_change_one_fact_and_name_others_that_stay():
    facts = world.individuals(60, 0)
    news = world.edits(facts, 50, 1)
    touched = {e.old.subject for e in news}
    assert len({(e.old.subject, e.old.about) for e in news}) == 50
    for edit in news:
        assert (edit.old.subject, edit.old.about) == (edit.new.subject, edit.new.about)
        assert edit.old.value != edit.new.value
        assert len(edit.unrelated) == 4
        assert all(f.subject not in touched and f in facts for f in edit.unrelated)


def test_made_up_words_are_new_and_different():
    names = world.nonce_words(600, 0)
    assert len(set(names)) == 600
    assert not set(names) & set(world.vocabulary())


def test_too_much_is_a_clear_error():
    with pytest.raises(world.WorldError, match="need more than"):
        world.edits(world.individuals(3, 0), 9, 0)
    with pytest.raises(world.WorldError, match="do not make a page"):
        world.pages(1, 0, 2, 3)
    with pytest.raises(world.WorldError, match="form is"):
        world.documents(1, 0, form="pdf")
