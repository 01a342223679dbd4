"""The demo: chapter 3 from lesson to feedback, with a small class. What holds for every chapter is in tests/rows."""

import json

import pytest

from autograder.demo import run as demo
from autograder.demo import sample_pages
from autograder.demo.sample_class import CLASS

pytestmark = pytest.mark.slow


@pytest.mark.sandbox
def test_the_demo_gives_every_sample_submission_its_due(capfd):
    assert demo.run(book=False) == 0
    scores = {entry["student"]: entry for entry in json.loads(demo.place().scores.read_text())["students"]}
    assert set(scores) == {sample.student for sample in CLASS}
    assert scores["ada"]["score"] == scores["grace"]["score"] == scores["ada"]["max_score"]
    assert scores["eve"]["score"] == scores["li"]["score"] == 0
    assert all(entry["isolation"] == "bubblewrap" for entry in scores.values())
    told = capfd.readouterr().out
    assert "not as it should be" not in told
    feedback = demo.place().course / "feedback"
    assert {path.name for path in feedback.iterdir() if path.is_dir()} == set(scores)
    for name, page in sample_pages.made(demo.place().course).items():  # what the book shows is what comes out
        held = (sample_pages.FOLDER / f"{name}.html").read_text(encoding="utf-8")
        assert sample_pages.kind(page) == sample_pages.kind(held), name
