"""Chapter 16, notebook 2, at `scale="full"`: its own cells, on small random models in the hub's cache layout."""

import re
from pathlib import Path

import pytest
import test_zoo_full as small

import solutions.ch16_contrastive_language_image_pretraining as solutions

hub = small.hub
LESSON = Path(__file__).parents[2] / "chapters" / "ch16_contrastive_language_image_pretraining" / "lesson_2.md"


@pytest.fixture
def cells():
    """Give the code cells of the notebook."""
    text = LESSON.read_text(encoding="utf-8")
    return re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(cells, start, names, *changes):
    """Run the first cell that holds `start`, with some of its text changed."""
    cell = re.sub(r"^:tags:.*\n", "", next(cell for cell in cells if start in cell))
    for old, new in changes:
        assert old in cell, f"the cell with {start!r} has no {old!r} any more"
        cell = cell.replace(old, new)
    exec(compile(cell, LESSON, "exec"), names)


def put_models(hub):
    from transformers import GPT2Config

    small.put_clip(hub("clip"))
    small.put_text_model(hub("gpt"), GPT2Config(vocab_size=257, n_positions=60, n_embd=24, n_layer=1, n_head=3))
    sizes = {"img_size": 48, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 5}
    small.put_timm(hub("vit"), "vit_tiny_patch16_224", **sizes)


@pytest.mark.slow
def test_the_cells_on_frozen_models_and_on_the_judge_run_on_models_of_other_sizes(hub, cells):
    put_models(hub)
    names = dict(vars(solutions))
    run(cells, 'start("ch16")', names, ('\nstart("ch16")', ""))
    names["needs"] = lambda *exercises, picture: None
    names["reveal"] = lambda *told, **more: None
    run(cells, "from dlcv_lab.world import words as lexicon", names)
    run(cells, "def contrast(", names)
    run(cells, "def of(", names)
    run(cells, "hidden_words = ", names, ("6000", "300"))
    run(cells, "SCALE = ", names, ('SCALE = "laptop"', 'SCALE = "full"'))
    run(cells, "def look(", names, ("600", "40"))
    assert names["seen_by_vit"].shape == (len(names["keep"]), 24)
    run(cells, "head = ShareLockHead(said.shape[1]", names, ("steps=300", "steps=3"))
    assert len(names["by_feature"]) == 8

    names["crawl"], names["records"] = names["world"].web(60, 0)
    run(cells, "def judged(", names)
    assert names["by_eye"].shape == names["by_text"].shape == (60, 24)
    run(cells, "keeps, strict = ", names)
    run(cells, "def similarities(", names, ("pages(120,", "pages(3,"))
    assert set(names["keeps"]) >= {"flat", "sketch"}
