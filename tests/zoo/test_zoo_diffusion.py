"""The diffusion models of the zoo: files that the library alone loads, prompts, tokens, pages, full scale."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlcv_lab import world, zoo
from dlcv_lab.zoo import anatomy, diffusion, latents, pipelines, text, unconditional, video
from dlcv_lab.zoo.catalogue import MissingModelError, Options

ROOT = Path(__file__).parents[2]

ALONE = """
import sys
from diffusers import DiffusionPipeline
import torch
for folder, prompt in zip(sys.argv[1::2], sys.argv[2::2]):
    pipe = DiffusionPipeline.from_pretrained(folder)
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    kinds = {p.dtype for part in parts for p in part.parameters()}
    assert kinds == {torch.float32}, kinds
    out = pipe(prompt, num_inference_steps=2) if prompt else pipe(batch_size=1, num_inference_steps=2)
    print(type(pipe).__name__, [getattr(f, "size", None) or len(f) for f in getattr(out, "images", None) or out.frames])
assert not any(name.startswith("dlcv_lab") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def sd() -> Any:
    return zoo.load("sd")


@pytest.mark.slow
def test_the_library_alone_loads_the_pipelines(tmp_path: Path) -> None:
    prompts = {"sd": "a red star.", "uncond": ""}
    arguments = [part for name, prompt in prompts.items() for part in (str(zoo.folder(name)), prompt)]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["StableDiffusionPipeline [(32, 32)]", "DDPMPipeline [(32, 32)]"]


@pytest.mark.slow
def test_prompts_and_their_synonyms_are_obeyed(sd: Any) -> None:
    for prompts in (diffusion.plain_prompts()[::4], diffusion.synonym_prompts()[1::4]):
        images = diffusion.paint(sd, prompts)
        assert images.shape == (len(prompts), 3, sd.vae.config.sample_size, sd.vae.config.sample_size)
        assert float(world.obeys(images, prompts).float().mean()) >= zoo.card("sd").metrics["prompt obeyed"] - 0.25


def test_tokens_are_whole_words_and_the_end_is_the_highest() -> None:
    tokenizer = text.make_tokenizer()
    end = tokenizer.eos_token_id
    assert end == len(tokenizer) - 1 == max(tokenizer.get_vocab().values())
    ids = text.encode(tokenizer, ["A five-pointed shape, please.", "", "a red star " * 20])
    assert ids.shape == (3, text.LENGTH)
    assert bool((ids[:, -1] == end).all())
    words = tokenizer.convert_ids_to_tokens(ids[0])
    assert words[:6] == [text.START, "a", "five-pointed", "shape", text.UNKNOWN, text.END]
    assert set(ids[1].tolist()) == {tokenizer.bos_token_id, end}


def test_the_shipped_tokenizer_is_the_one_that_training_makes(sd: Any) -> None:
    said = ["a photo of sks thing on a sand ground.", "an emerald five-pointed shape orbits."]
    assert text.encode(sd.tokenizer, said).tolist() == text.encode(text.make_tokenizer(), said).tolist()
    assert sd.tokenizer.model_max_length == text.LENGTH == sd.text_encoder.config.max_position_embeddings


def test_training_captions_are_true_and_name_what_is_unusual() -> None:
    gen = torch.Generator().manual_seed(3)
    scene = text.sample_scenes(300, gen)
    assert len(scene) == 300
    tokenizer = text.make_tokenizer()
    for plain, said in zip(scene.plain(), text.captions(scene, gen)):
        reading = world.parse(said)
        assert world.is_true(reading, plain), said
        assert plain.style == "flat" or reading.style == plain.style, said
        assert len(tokenizer(said).input_ids) <= text.LENGTH
        if len(plain.things) == 1:
            assert plain.things[0].mark in ("none", reading.mentions[0].mark), said
    assert text.captions(scene[:50], gen, drop=1.0) == [""] * 50


def test_the_page_of_module_names_is_the_model(sd: Any) -> None:
    assert (ROOT / "docs" / "zoo-sd.md").read_text(encoding="utf-8") == anatomy.page()
    untrained = anatomy.tiny()[2]
    assert anatomy.attentions(sd.unet) == anatomy.attentions(untrained)
    assert {a.name for a in anatomy.attentions(sd.unet)} == {
        name for name, _ in sd.unet.named_modules() if name.endswith("attn2")
    }


@pytest.mark.slow
def test_every_model_trains_and_loads_again(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("sd", "uncond", "video")}
    for folder in folders.values():
        folder.mkdir()
    short = Options(steps=2, progress=False)
    made = diffusion.train(folders["sd"], short)
    assert made.parameters == sum(pipelines.parameters(diffusion.load(folders["sd"])).values())
    unconditional.train(folders["uncond"], short)
    video.train(folders["video"], replace(short, begin=folders["sd"]))
    assert diffusion.paint(diffusion.load(folders["sd"]), ["a red star."]).isfinite().all()
    assert unconditional.sample(unconditional.load(folders["uncond"]), 2, steps=2).shape[0] == 2
    assert video.load(folders["video"]).unet.config.motion_max_seq_length == video.FRAMES


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Put a randomly initialised pipeline of other sizes into the hub's cache layout, in place of each real one."""
    import diffusers

    tokenizer = text.make_tokenizer()
    encoder = text.make_text_encoder(tokenizer, width=32)
    unet = diffusion.make_unet(32, size=8)
    stored = {
        "sd": diffusion.assemble(latents.make_vae(), encoder, tokenizer, unet),
        "uncond": diffusers.DDPMPipeline(unconditional.make_unet(16), unconditional.make_scheduler()),
        "video": diffusers.MotionAdapter(
            block_out_channels=unet.config.block_out_channels,
            motion_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=8,
            motion_max_seq_length=4,
        ),
    }
    for name, model in stored.items():
        home = tmp_path / f"models--{pipelines.FULL[name].replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("0" * 40)
        model.save_pretrained(home / "snapshots" / ("0" * 40))
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.slow
def test_full_scale_comes_out_of_the_hubs_cache(hub: Path, offline: None) -> None:
    sizes = SimpleNamespace(sd=8, uncond=16)
    assert pipelines.load_full("sd", cache=hub).unet.config.sample_size == sizes.sd
    assert pipelines.load_full("uncond", cache=hub).unet.config.sample_size == sizes.uncond
    clip = pipelines.load_full("video", cache=hub)("a red star.", num_frames=4, num_inference_steps=1)
    assert len(clip.frames[0]) == 4


@pytest.mark.parametrize("name", ["sd", "uncond", "video"])
def test_without_network_the_error_says_what_to_run(name: str, tmp_path: Path, offline: None) -> None:
    with pytest.raises(MissingModelError) as caught:
        pipelines.load_full(name, cache=tmp_path / "empty")
    said = str(caught.value)
    for part in (pipelines.FULL[name], "python -c", str(tmp_path / "empty")):
        assert part in said
