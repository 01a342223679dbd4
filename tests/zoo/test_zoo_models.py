"""`clip`, `vit`, `resnet`, `gpt` and `llama`: loaded as their libraries do, and as good as their cards say."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import to_pil_image

from dlcv_lab import world, zoo
from dlcv_lab.zoo import classifiers, clip, language

MARGIN = 0.08
"""How far a small sample may fall below the card."""


@pytest.fixture(scope="module")
def clip_parts():
    return zoo.load("clip")


@pytest.fixture(scope="module", params=["gpt", "llama"])
def speaker(request):
    return request.param, *zoo.load(request.param)


@pytest.mark.slow
def test_the_libraries_alone_load_them():
    """No module of dlcv_lab is imported: only the folders are used."""
    folders = {name: str(zoo.folder(name)) for name in ("clip", "vit", "resnet", "gpt", "llama")}
    code = f"""
import sys
sys.modules["dlcv_lab"] = None
import open_clip, timm, torch, transformers
folders = {folders!r}
x = torch.rand(2, 3, 32, 32)
with torch.no_grad():
    model, _, preprocess = open_clip.create_model_and_transforms("local-dir:" + folders["clip"])
    tokenizer = open_clip.get_tokenizer("local-dir:" + folders["clip"])
    images, texts, scale = model.eval()(x, tokenizer(["a red star", "a blue ring"]))
    assert images.shape == texts.shape and float(scale) > 1
    for name in ("vit", "resnet"):
        model = timm.create_model("local-dir:" + folders[name], pretrained=True).eval()
        assert model(x).shape == (2, 8)
    for name in ("gpt", "llama"):
        model = transformers.AutoModelForCausalLM.from_pretrained(folders[name])
        tokenizer = transformers.AutoTokenizer.from_pretrained(folders[name])
        ids = tokenizer("a red star", return_tensors="pt")
        assert model.dtype == torch.float32, model.dtype
        assert len(tokenizer.decode(model.generate(**ids, max_new_tokens=3, pad_token_id=0)[0])) > 10
print("all")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "all", done.stderr[-2000:]


def test_tokenizer_keeps_words_and_puts_the_end_highest():
    tokenizer = language.make_tokenizer(clip.LENGTH, closed=True)
    text = "A five-pointed star, at [0.25]. <USER> dax?"
    assert " ".join(tokenizer.tokenize(text)) == "a five-pointed star , at [ 0 . 2 5 ] . <USER> dax ?"
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.pad_token_id == 0
    assert tokenizer("a star").input_ids[-1] == tokenizer.eos_token_id
    known = set(tokenizer.get_vocab())
    assert {word for line in world.corpus(500, 3) for word in world.tokens(line)} <= known
    assert {fact.value for fact in language.facts()} | {fact.subject for fact in language.facts()} <= known


def test_clip_is_an_open_clip_model_and_names_shape_and_colour(clip_parts):
    model, preprocess, tokenizer = clip_parts
    assert type(model).__module__.startswith("open_clip.")
    assert not model.training
    seen, _ = world.unseen_combinations()
    scene = world.sample(128, 5, pairs=seen, sizes=("medium", "big"))
    images = world.render(scene)
    with torch.no_grad():
        labels = F.normalize(model.encode_text(tokenizer([f"a {colour} {shape}" for shape, colour in seen])), dim=1)
        found = (model.encode_image(clip.normalise(images)) @ labels.T).argmax(1).tolist()
    truth = [seen.index((plain.things[0].shape, plain.things[0].colour)) for plain in scene.plain()]
    right = sum(a == b for a, b in zip(found, truth)) / len(truth)
    assert right >= zoo.card("clip").metrics["seen"] - MARGIN
    assert torch.allclose(preprocess(to_pil_image(images[0])), clip.normalise(images[0]), atol=0.01)


def test_clip_begins_as_the_vision_transformer():
    from open_clip.model import CLIP

    vit = classifiers.VIT.build().eval()
    tower = CLIP(**clip.config()).visual.eval()
    clip.begin_as_vit(tower, vit)
    tower.proj = None
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(tower(images), vit.forward_features(images)[:, 0], atol=0.02)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_classifiers_name_shapes(name):
    model, transform = zoo.load(name)
    assert type(model).__module__.startswith("timm.")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    scene = world.sample(256, 6)
    images = world.render(scene)
    with torch.no_grad():
        right = (model(classifiers.normalise(images)).argmax(1) == scene.shape[:, 0]).float().mean()
    assert right >= zoo.card(name).metrics["shapes"] - MARGIN
    assert torch.allclose(transform(to_pil_image(images[0])), classifiers.normalise(images[0]), atol=0.01)


def test_attention_of_vit_lies_on_the_object():
    model, _ = zoo.load("vit")
    assert classifiers.attention_gain(model, world.sample(64, 7, sizes=("big",), backgrounds=("noise",))) > 2


def test_language_models_know_their_facts(speaker):
    name, model, tokenizer = speaker
    asked = [(prompt, fact.value) for fact in language.facts()[:60] for prompt in fact.prompts]
    right = 0
    for prompt, value in asked:
        ids = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            right += tokenizer.decode(model(**ids).logits[0, -1].argmax()) == value
    assert right / len(asked) >= zoo.card(name).metrics["facts"] - MARGIN


def test_some_wordings_are_never_trained():
    held = [language.held_out_wording(i) for i in range(len(language.facts()))]
    kept = [fact.sentences[j] for fact, j in zip(language.facts(), held) if j is not None]
    assert len(kept) == len(language.facts()) / 3
    assert {j for j in held if j is not None} == {1, 2, 3}
    trained = set(language.sentences(600, torch.Generator().manual_seed(0)))
    assert not trained & set(kept)


def test_language_models_write_sentences(speaker):
    _, model, tokenizer = speaker
    torch.manual_seed(0)
    ids = tokenizer("there is a", return_tensors="pt")
    texts = model.generate(
        **ids, do_sample=True, max_new_tokens=50, num_return_sequences=8, pad_token_id=tokenizer.pad_token_id
    )
    lines = [tokenizer.decode(row, skip_special_tokens=True) for row in texts]
    assert sum(world.is_sentence(line) for line in lines) >= 4, lines
