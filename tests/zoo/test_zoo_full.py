"""`scale="full"`: the loading code is the real one; the files here are small and random, in the hub's cache layout."""

import json

import pytest
import torch
from PIL import Image

from dlcv_lab import world, zoo
from dlcv_lab.zoo import clip, fetching


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Give an empty cache of the hub, and no network; return a function that adds a repository's folder to it."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(name):
        home = tmp_path / ("models--" + fetching.SOURCES[name].repo.replace("/", "--"))
        folder = home / "snapshots" / "0123abcd"
        folder.mkdir(parents=True)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text("0123abcd")
        return folder

    return add


def put_clip(folder):
    import open_clip
    from safetensors.torch import save_file

    sizes = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 48, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    settings = {"model_cfg": sizes, "preprocess_cfg": clip.PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    save_file(open_clip.model.CLIP(**sizes).state_dict(), folder / "open_clip_model.safetensors")


def put_text_model(folder, config):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate([*letters, "<end>"])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>").save_pretrained(folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def put_timm(folder, architecture, **sizes):
    import timm
    from timm.models import save_for_hf

    model = timm.create_model(architecture, **sizes)
    save_for_hf(model, str(folder), model_args=sizes, safe_serialization=True)


@pytest.mark.parametrize("name", sorted(fetching.SOURCES))
def test_without_the_model_the_error_says_how_to_get_it(hub, name, tmp_path):
    with pytest.raises(zoo.MissingModelError) as caught:
        zoo.load(name, scale="full")
    said = str(caught.value)
    assert fetching.SOURCES[name].repo in said
    assert f"hf download {fetching.SOURCES[name].repo} --include" in said
    assert str(tmp_path) in said


def test_half_a_model_is_not_taken_for_one(hub):
    folder = hub("clip")
    put_clip(folder)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(zoo.MissingModelError, match="holds no weights"):
        zoo.load("clip", scale="full")
    (folder / "open_clip_model.safetensors").write_bytes(b"torn")
    with pytest.raises(zoo.MissingModelError, match="cannot be loaded"):
        zoo.load("clip", scale="full")


def likeness(scale):
    """A cell as a lesson has it: no size is written down, so it runs at either scale."""
    model, preprocess, tokenizer = zoo.load("clip", scale=scale)
    images = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    with torch.no_grad():
        seen = model.encode_image(torch.stack([preprocess(image) for image in images]))
        read = model.encode_text(tokenizer(["a red star", "a green ring"]))
    return seen @ read.T, model.visual.image_size, model.visual.positional_embedding.shape[0] - 1


def test_a_cell_on_clip_runs_at_both_scales(hub):
    put_clip(hub("clip"))
    for scale, size, patches in (("laptop", 32, 64), ("full", 48, 9)):
        table, image_size, count = likeness(scale)
        assert table.shape == (3, 2)
        assert (torch.as_tensor(image_size).max(), count) == (size, patches)


def surprise(name, scale):
    """Another cell: how surprised a language model is by a sentence, token by token."""
    model, tokenizer = zoo.load(name, scale=scale)
    ids = tokenizer("there is a red star .", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(ids).logits
    assert logits.shape == (1, ids.shape[1], model.config.vocab_size)
    return torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none")


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_a_cell_on_language_runs_at_both_scales(hub, name):
    from transformers import GPT2Config, LlamaConfig

    small = {
        "gpt": GPT2Config(vocab_size=257, n_positions=40, n_embd=24, n_layer=1, n_head=3),
        "llama": LlamaConfig(
            vocab_size=257, hidden_size=24, num_hidden_layers=1, num_attention_heads=3, num_key_value_heads=1,
            intermediate_size=40,
        ),
    }  # fmt: skip
    put_text_model(hub(name), small[name])
    words, letters = surprise(name, "laptop"), surprise(name, "full")
    assert len(letters) > len(words), "the real tokenizers cut finer"


@pytest.mark.parametrize(
    ("name", "architecture", "sizes"),
    [
        (
            "vit",
            "vit_tiny_patch16_224",
            {"img_size": 48, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 5},
        ),
        ("resnet", "resnet10t", {"channels": [8, 8, 16, 16], "num_classes": 5}),
    ],
)
def test_a_cell_on_classifiers_runs_at_both_scales(hub, name, architecture, sizes):
    put_timm(hub(name), architecture, **sizes)
    picture = Image.new("RGB", (50, 60), "red")
    for scale, classes in (("laptop", len(world.SHAPES)), ("full", 5)):
        model, transform = zoo.load(name, scale=scale)
        assert not model.training
        with torch.no_grad():
            assert model(transform(picture)[None]).shape == (1, classes)


@pytest.mark.slow
def test_full_sizes_have_the_shapes_that_the_papers_name():
    """On the meta device: nothing is allocated, nothing is fetched."""
    import open_clip
    import timm
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    with torch.device("meta"):
        vit = timm.create_model(fetching.SOURCES["vit"].repo.split("/")[1].split(".")[0])
        resnet = timm.create_model(fetching.SOURCES["resnet"].repo.split("/")[1].split(".")[0])
        pair = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32"))
        gpt = AutoModelForCausalLM.from_config(GPT2Config())
        llama = AutoModelForCausalLM.from_config(
            LlamaConfig(
                vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                num_attention_heads=32, num_key_value_heads=4,
            )
        )  # fmt: skip
        ids = torch.zeros(2, 7, dtype=torch.long)
        assert vit(torch.empty(2, 3, 224, 224)).shape == resnet(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
        assert pair.encode_image(torch.empty(2, 3, 224, 224)).shape == (2, 512)
        assert gpt(ids).logits.shape == (2, 7, 50257)
    count = {name: sum(p.numel() for p in model.parameters()) for name, model in
             {"vit": vit, "resnet": resnet, "clip": pair, "gpt": gpt, "llama": llama}.items()}  # fmt: skip
    assert count == {
        "vit": 22_050_664, "resnet": 25_557_032, "clip": 151_277_313, "gpt": 124_439_808, "llama": 1_100_048_384,
    }  # fmt: skip
