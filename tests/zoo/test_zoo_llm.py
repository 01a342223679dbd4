"""`llm_base` and `llm`: they know every word that they are taught, and do what their cards say."""

import subprocess
import sys

import pytest
import torch

from dlcv_lab import zoo
from dlcv_lab.zoo import language, llm, stack

MARGIN = 0.08
"""How far a small sample may fall below the card."""


@pytest.mark.parametrize("shares", [llm.PLAIN, llm.TALK], ids=["plain", "talk"])
def test_every_word_that_the_language_models_are_taught_is_known(shares):
    assert sum(shares.values()) == pytest.approx(1)
    tokenizer = stack.make_tokenizer()
    lines = llm.texts(shares, 600, torch.Generator().manual_seed(2))
    assert len(lines) == pytest.approx(600, abs=8)
    assert not [line for line in lines if tokenizer.unk_token_id in tokenizer(line).input_ids]
    chats = [line for line in lines if "<USER>" in line]
    assert bool(chats) == (shares is llm.TALK), "chapter 15 starts from a model that never saw a chat"
    kept = [fact.sentences[j] for i, fact in enumerate(language.facts())
            if (j := language.held_out_wording(i)) is not None]  # fmt: skip
    assert not set(kept) & set(lines)


def test_numbers_begin_as_neighbours():
    tokenizer = stack.make_tokenizer()
    torch.manual_seed(0)
    model = llm.BASE.build(tokenizer)
    llm.number_line(model, tokenizer)
    table = model.get_input_embeddings().weight.detach()
    rows = table[tokenizer.convert_tokens_to_ids(list(stack.NUMBERS))]
    near, far = (torch.cosine_similarity(rows[:-k], rows[k:]).mean() for k in (1, 40))
    assert near > 0.8 > far + 0.5


@pytest.mark.parametrize("name", ["llm_base", "llm"])
def test_language_models_of_the_stack_know_their_facts(name):
    model, tokenizer = zoo.load(name)
    assert sum(p.numel() for p in model.parameters()) <= 2e6
    assert model.config.max_position_embeddings == 256
    asked = [(prompt, fact.value) for fact in language.facts()[:60] for prompt in fact.prompts]
    with torch.no_grad():
        right = language.known(model, tokenizer, asked)
    assert right >= min(zoo.card(name).metrics[kind] for kind in ("facts", "paraphrases")) - MARGIN


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llm_base", "llm"])
def test_the_library_alone_loads_it_and_answers_as_through_the_zoo(name, tmp_path):
    """No module of dlcv_lab is imported in the other process: only the folder is used."""
    code = f"""
import sys
sys.modules["dlcv_lab"] = None
import torch, transformers
model = transformers.AutoModelForCausalLM.from_pretrained({str(zoo.folder(name))!r})
cut = transformers.AutoTokenizer.from_pretrained({str(zoo.folder(name))!r})("there is a", return_tensors="pt")
assert next(model.parameters()).dtype == torch.float32
torch.save(model.generate(**cut, max_new_tokens=12, do_sample=False), {str(tmp_path / "out.pt")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    model, tokenizer = zoo.load(name)
    cut = tokenizer("there is a", return_tensors="pt")
    assert torch.equal(model.generate(**cut, max_new_tokens=12, do_sample=False), torch.load(tmp_path / "out.pt"))
