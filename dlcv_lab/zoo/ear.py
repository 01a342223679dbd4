"""Train, measure and load `ear`: Whisper's encoder, in transformers' class, for the world's timbres and its speech."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab import world

from .catalogue import CHECKPOINT, Options, Trained
from .eye import probe
from .language import no_bars
from .training import run_steps, start, step_generator

SEED, HELD_OUT_SEED = 26_500, 26_777
STEPS, BATCH, LR = 600, 64, 2e-3
BANDS, HOP, TOKENS, WIDTH = 48, 80, 50, 64
LABELS = (*world.SHAPES, "nothing", *world.VOCABULARY)
"""What the model's own head names: who sounds, nobody, or which of sixteen words is said."""
SEMITONES = 25


def pitch_label(size: Tensor) -> Tensor:
    """Return the semitone above 220 Hz of the sound of radii, int64 in 0 to 24."""
    return (12 * torch.log2(world.pitch(size) / 220)).round().long().clamp(0, SEMITONES - 1)


def sounds(n: int, gen: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n seconds of sound, float32 [N, 8000], who sounds (a label of `LABELS`), and the semitone (-100: nobody)."""
    scene = world.sample(n, gen, sizes=(0.12, 0.32))
    heard = world.sample_sounds(scene, gen, silent=0.06)
    noise = float(10 ** (-2.5 + 1.3 * torch.rand((), generator=gen)))
    label = torch.where(heard.silent, LABELS.index("nothing"), heard.shape)
    semitone = torch.where(heard.silent, -100, pitch_label(heard.size))
    return world.waveform(heard, gen, noise=noise), label, semitone


def words_said(n: int, gen: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n words, float32 [N, 8000], their labels in `LABELS`, and the phoneme of each video frame, int64 [N, 25]."""
    noise = float(10 ** (-2.5 + 1.2 * torch.rand((), generator=gen)))
    said = world.speak(n, gen, words=1, frames=TOKENS // 2, audio_noise=noise)
    return said.audio, torch.tensor([LABELS.index(text) for text in said.text]), said.phonemes


def make_extractor() -> Any:
    """Return transformers' log-mel extractor for one second at 8 kHz: 48 bands, 100 frames.

    Whisper's bands always reach up to 8 kHz; those above 4 kHz are empty here, which the library warns of.
    """
    from transformers import WhisperFeatureExtractor

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter")
        return WhisperFeatureExtractor(
            feature_size=BANDS, sampling_rate=world.SAMPLE_RATE, hop_length=HOP, chunk_length=1, n_fft=512
        )


def listen(extractor: Any, wave: Tensor) -> Tensor:
    """Return what the model takes, float32 [N, 48, 100], of sounds [N, 8000]."""
    found: Tensor = extractor(list(wave.numpy()), sampling_rate=world.SAMPLE_RATE, return_tensors="pt").input_features
    return found


def build() -> Any:
    """Return an untrained model."""
    from transformers import WhisperConfig, WhisperForAudioClassification

    config = WhisperConfig(
        num_mel_bins=BANDS, d_model=WIDTH, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=2 * WIDTH,
        max_source_positions=TOKENS, classifier_proj_size=WIDTH, decoder_layers=1, decoder_attention_heads=2,
        decoder_ffn_dim=WIDTH, vocab_size=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, dtype="float32",
        id2label=dict(enumerate(LABELS)), label2id={name: i for i, name in enumerate(LABELS)},
    )  # fmt: skip
    return WhisperForAudioClassification(config)


def train(folder: Path, options: Options) -> Trained:
    """Train on fresh sounds and words; see `Maker`."""
    torch.manual_seed(SEED)
    model = build() if options.begin is None else load(options.begin)[0]
    extractor = make_extractor()
    from_here = start(
        options, SEED, LR, STEPS,
        f"dlcv_lab.world: {BATCH} fresh seconds a step, half sounds of one of eight shapes or nobody, half spoken "
        "words, under hiss of random strength",
    )  # fmt: skip
    device = options.device
    model.to(device).train()
    heads = nn.ModuleDict(
        {"pitch": nn.Linear(WIDTH, SEMITONES), "phoneme": nn.Linear(2 * WIDTH, len(world.PHONEMES) + 1)}
    ).to(device)
    half = BATCH // 2

    def one_step(step: int) -> Tensor:
        gen = step_generator(from_here.seed, step)
        (heard, who, semitone), (spoken, word, phonemes) = sounds(half, gen), words_said(half, gen)
        told = model.encoder(listen(extractor, torch.cat([heard, spoken])).to(device)).last_hidden_state
        kind = model.classifier(model.projector(told).mean(1))
        frames = told[half:].reshape(half, TOKENS // 2, 2 * WIDTH)
        return (
            F.cross_entropy(kind, torch.cat([who, word]).to(device))
            + F.cross_entropy(heads["pitch"](told[:half].mean(1)), semitone.to(device))
            + F.cross_entropy(heads["phoneme"](frames).flatten(0, 1), phonemes.flatten().to(device))
        )

    matrices = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    seconds = run_steps(
        folder / CHECKPOINT, {"model": model, "heads": heads}, one_step, options,
        steps=from_here.steps, lr=from_here.rate, weight_decay=0.01, matrices=matrices,
    )  # fmt: skip
    extractor.save_pretrained(folder)
    with no_bars():
        model.half().save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")
    return Trained(
        steps=from_here.steps, seed=from_here.seed, seconds=seconds,
        parameters=sum(p.numel() for p in model.parameters()), data=from_here.data,
        limits="It hears one second at a time, of one thing or one word of the mouth's sixteen. Of two sounds at once "
        "it was told nothing, nor of the shapes moon, drop, house and leaf. It sees no lips.",
    )  # fmt: skip


def load(folder: Path, *, device: Any = "cpu") -> Any:
    """Return (model, extractor) as transformers does."""
    from transformers import AutoFeatureExtractor, WhisperForAudioClassification

    with no_bars():
        model = WhisperForAudioClassification.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter")
        extractor = AutoFeatureExtractor.from_pretrained(folder)
    return model.eval().to(device), extractor


@torch.no_grad()
def measure(folder: Path, *, device: str = "cpu") -> dict[str, float]:
    """Return how well it names timbres and words, and what probes read off its tokens; see `Maker`."""
    model, extractor = load(folder, device=device)

    def hear(wave: Tensor) -> tuple[Tensor, Tensor]:
        parts = [model.encoder(listen(extractor, part).to(device)).last_hidden_state for part in wave.split(250)]
        told = torch.cat(parts)
        return told.cpu(), model.classifier(model.projector(told).mean(1)).argmax(1).cpu()

    sets = []
    for i, n in enumerate((1500, 750)):
        gen = torch.Generator().manual_seed(HELD_OUT_SEED + i)
        heard, said = sounds(n, gen), words_said(n // 3, gen)
        sets.append((heard, *hear(heard[0]), said, *hear(said[0])))
    (fit, told, _, spoken, voices, _), (held, told2, named, spoken2, voices2, read) = sets
    loud, loud2 = fit[2] >= 0, held[2] >= 0
    pairs, pairs2 = (tokens.reshape(-1, 2 * WIDTH) for tokens in (voices, voices2))
    return {
        "timbre": float((named == held[1]).float().mean()),
        "word": float((read == spoken2[1]).float().mean()),
        "pitch": probe(told[loud].mean(1), fit[2][loud], told2[loud2].mean(1), held[2][loud2]),
        "pitch class": probe(told[loud].mean(1), fit[2][loud] % 12, told2[loud2].mean(1), held[2][loud2] % 12),
        "phoneme": probe(pairs[:8000], spoken[2].flatten()[:8000], pairs2, spoken2[2].flatten()),
    }
