"""`eye` and the words of its stack: the library alone loads it, and it sees what its card says."""

import subprocess
import sys

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from dlcv_lab import world, zoo
from dlcv_lab.zoo import eye, stack

MARGIN = 0.08
"""How far a small sample may fall below the card."""


def test_the_tokenizer_has_the_special_tokens_and_numbers_of_one_token():
    tokenizer = stack.make_tokenizer()
    assert tokenizer.pad_token_id == 0
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    assert set(stack.SPECIALS) <= set(tokenizer.all_special_tokens)
    assert " ".join(tokenizer.tokenize("The box [7,12,99,100] <image> <RET>\nand <IMG>")) == (
        "the box [ 7 , 12 , 99 , 1 0 0 ] <image> <RET> <NL> and <IMG>"
    )
    assert tokenizer("a star").input_ids[0] == tokenizer.bos_token_id
    closed = stack.make_tokenizer(closed=True)
    assert closed("a star").input_ids[-1] == closed.eos_token_id
    assert closed.get_vocab() == tokenizer.get_vocab()


def test_sixteen_merged_tokens_are_the_two_by_two_squares():
    patches = torch.arange(64.0).view(1, 64, 1)
    merged = eye.merge(patches)
    assert merged.shape == (1, 16, 4)
    assert merged[0, 0].tolist() == [0, 1, 8, 9]
    assert merged[0, 5].tolist() == [18, 19, 26, 27]
    assert merged[0, 15].tolist() == [54, 55, 62, 63]


def test_the_eye_begins_by_seeing_as_the_vision_transformer_does():
    """Its last block is the identity, a picture twice as large is seen half as sharply; one normalisation differs."""
    vit, model = zoo.load("vit")[0], eye.build().eval()
    eye.begin_as_vit(model, vit)
    small = world.render(world.sample(32, 0, sizes=("big",)), 32)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        theirs = vit.forward_features(eye.normalise(small))
        ours = vit.norm(model(eye.normalise(large)).last_hidden_state)
        embedded = vit._pos_embed(vit.patch_embed(eye.normalise(small)))
        assert torch.allclose(model.embeddings(eye.normalise(large)), embedded, atol=1e-5)
        layers = model.encoder.layers
        x = layers[2](ours, attention_mask=None)
        x = x[0] if isinstance(x, tuple) else x
        last = layers[3](x, attention_mask=None)
        assert torch.equal(x, last[0] if isinstance(last, tuple) else last), "the fourth block does nothing yet"
    assert float(torch.cosine_similarity(ours, theirs, dim=-1).mean()) > 0.5


def test_owners_say_what_lies_on_each_patch():
    sights = eye.sights(64, torch.Generator().manual_seed(0))
    slot, kind = eye.owners(sights)
    masks = world.sight_masks(sights, eye.SIZE)
    for i in range(64):
        for patch in (slot[i] >= 0).nonzero()[:, 0].tolist():
            y, x = 8 * (patch // 8), 8 * (patch % 8)
            share = masks[i, :, y : y + 8, x : x + 8].float().mean((1, 2))
            assert float(share[slot[i, patch]]) == float(share.max()) >= eye.COVERED
            assert kind[i, patch] == sights.kind[i, slot[i, patch]]
        empty = (slot[i] == -1).view(8, 8).repeat_interleave(8, 0).repeat_interleave(8, 1)
        assert not (masks[i].any(0) & empty).any()


def test_the_eye_names_shape_and_colour_at_a_place():
    model, processor = zoo.load("eye")
    assert type(model).__name__ == "CLIPVisionModel"
    sets = [world.sample_sights(n, seed, objects=(1, 4)) for n, seed in ((1200, 1), (300, 2))]
    parts = []
    for sights in sets:
        patches, whole = eye.features(model, world.render_sights(sights, eye.SIZE))
        assert patches.shape == (len(sights), 64, 96)
        rows, slots = ((sights.kind >= 0) & (sights.kind < len(world.ALL_SHAPES))).nonzero(as_tuple=True)
        at = patches[rows, eye.best_patch(sights)[rows, slots]]
        parts.append((at, sights.kind[rows, slots], sights.colour[rows, slots], whole, sights.count))
    (x, shape, colour, whole, count), (x2, shape2, colour2, whole2, count2) = parts
    metrics = zoo.card("eye").metrics
    assert eye.probe(x, shape, x2, shape2) >= metrics["shape"] - MARGIN
    assert eye.probe(x, colour, x2, colour2) >= metrics["colour"] - MARGIN
    assert eye.probe(whole, count, whole2, count2) >= metrics["count"] - MARGIN
    picture = world.render_sights(sets[0], eye.SIZE)[:1]
    taken = processor(images=to_pil_image(picture[0]), return_tensors="pt").pixel_values
    assert torch.allclose(taken, eye.normalise(picture), atol=0.01)


@pytest.mark.slow
def test_the_library_alone_loads_it_and_answers_as_through_the_zoo(tmp_path):
    """No module of dlcv_lab is imported in the other process: only the folder is used."""
    to_pil_image(world.render(world.sample(1, 4, objects=2), eye.SIZE)[0]).save(tmp_path / "picture.png")
    code = f"""
import sys
sys.modules["dlcv_lab"] = None
import torch, transformers
from PIL import Image
folder, here = {str(zoo.folder("eye"))!r}, {str(tmp_path)!r}
model = transformers.CLIPVisionModel.from_pretrained(folder)
processor = transformers.AutoImageProcessor.from_pretrained(folder)
assert next(model.parameters()).dtype == torch.float32
with torch.no_grad():
    seen = model(**processor(images=Image.open(here + "/picture.png"), return_tensors="pt"))
torch.save(seen.last_hidden_state, here + "/out.pt")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    model, processor = zoo.load("eye")
    with torch.no_grad():
        ours = model(**processor(images=Image.open(tmp_path / "picture.png"), return_tensors="pt")).last_hidden_state
    assert torch.allclose(ours, torch.load(tmp_path / "out.pt"), atol=1e-5)
