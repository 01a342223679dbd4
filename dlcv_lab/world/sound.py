"""Let things sound: every shape has a timbre, its size sets the pitch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import words
from .grammar import Say, noun_phrase
from .sampling import generator
from .scene import Scene
from .words import WorldError

SAMPLE_RATE = 8000
_MAX_PARTIALS = 8
# per shape: strengths of the partials, share of noise, tremolo (Hz, depth), strokes a second (0 = held), decay (1/s)
_TIMBRES = {
    "circle": ((1.0,), 0.00, (0.0, 0.0), 0.0, 0.0),
    "square": ((1.0, 0.0, 0.6, 0.0, 0.45, 0.0, 0.35), 0.00, (0.0, 0.0), 0.0, 0.0),
    "triangle": ((1.0, 0.1, 0.0, 0.3, 0.0, 0.5), 0.00, (0.0, 0.0), 2.0, 4.0),
    "star": ((1.0, 0.7, 0.5, 0.35, 0.25), 0.00, (0.0, 0.0), 4.0, 9.0),
    "ring": ((1.0, 0.05), 0.03, (6.0, 0.7), 0.0, 0.0),
    "cross": ((1.0, 0.4), 0.45, (0.0, 0.0), 8.0, 25.0),
    "heart": ((1.0, 0.5, 0.2), 0.00, (0.0, 0.0), 1.5, 7.0),
    "arrow": ((1.0,), 0.80, (0.0, 0.0), 0.0, 0.0),
    "moon": ((1.0, 0.6), 0.05, (2.0, 0.9), 0.0, 0.0),
    "drop": ((1.0, 0.0, 0.3), 0.00, (0.0, 0.0), 3.0, 18.0),
    "house": ((1.0, 0.8, 0.7, 0.6, 0.5, 0.4), 0.10, (9.0, 0.9), 0.0, 0.0),
    "leaf": ((1.0,), 0.60, (5.0, 0.9), 0.0, 0.0),
}


def pitch(size: Tensor) -> Tensor:
    """Return the fundamental in Hz for radii in canvas widths: 880 Hz at 0.12 down two octaves to 220 Hz at 0.32."""
    return 880.0 * torch.exp2(-2 * (size - 0.12) / 0.20)


@dataclass(frozen=True)
class Sounds:
    """Who sounds in each of N scenes: `slot` int64 [N] (-1: nobody in it), `shape` int64 [N], `size` float32 [N].

    `silent` bool [N]: nothing at all is heard. `slot` -1 without `silent` means a sound from off-screen.
    """

    slot: Tensor
    shape: Tensor
    size: Tensor
    silent: Tensor


def sample_sounds(scene: Scene, seed: torch.Generator | int, *, silent: float = 0.0, off_screen: float = 0.0) -> Sounds:
    """Choose who sounds: one object a scene, or nobody, or something off-screen whose shape is not in the picture.

    `silent` and `off_screen` are shares of the scenes. Raises WorldError if they sum to more than 1, or if a scene
    without objects would have to sound.
    """
    if not (silent >= 0 and off_screen >= 0 and silent + off_screen <= 1):
        raise WorldError("The shares of silent and off-screen scenes are >= 0 and sum to at most 1.")
    gen = generator(seed)
    n = len(scene)
    luck = torch.rand(n, generator=gen)
    quiet, away = luck < silent, (luck >= silent) & (luck < silent + off_screen)
    count = scene.count
    if bool(((count == 0) & ~quiet & ~away).any()):
        raise WorldError("A scene without objects can only be silent or hear something off-screen.")
    slot = (torch.rand(n, generator=gen) * count.clamp(min=1)).floor().long()
    # an off-screen shape: the first of a random order that no object of the picture has
    order = torch.rand(n, len(words.SHAPES), generator=gen)
    taken = torch.zeros(n, len(words.ALL_SHAPES)).scatter_add_(1, scene.shape, scene.present.float()).clamp(max=1)
    strange = (order + taken[:, : len(words.SHAPES)] * 2).argmin(1)
    far_size = 0.12 + 0.20 * torch.rand(n, generator=gen)
    own_shape, own_size = (v.gather(1, slot[:, None])[:, 0] for v in (scene.shape, scene.size))
    return Sounds(
        slot=torch.where(quiet | away, -1, slot),
        shape=torch.where(away, strange, own_shape),
        size=torch.where(away, far_size, own_size),
        silent=quiet,
    )


def waveform(sounds: Sounds, seed: torch.Generator | int, seconds: float = 1.0, *, noise: float = 0.01) -> Tensor:
    """Return what is heard, float32 [N, 8000 * seconds] within [-1, 1].

    `noise` is the standard deviation of the hiss over everything; phases are random. Raises WorldError for a duration
    outside 0.05 to 30 seconds.
    """
    if not 0.05 <= seconds <= 30:
        raise WorldError(f"Sounds last 0.05 to 30 seconds; got {seconds}.")
    gen = generator(seed)
    n, length = len(sounds.slot), round(seconds * SAMPLE_RATE)
    t = torch.arange(length) / SAMPLE_RATE
    out = torch.empty(n, length)
    partials = torch.arange(1, _MAX_PARTIALS + 1)
    table = torch.zeros(len(words.ALL_SHAPES), _MAX_PARTIALS)
    rest = torch.zeros(len(words.ALL_SHAPES), 5)
    for i, name in enumerate(words.ALL_SHAPES):
        strengths, breath, (quiver, reach), beats, fall = _TIMBRES[name]
        table[i, : len(strengths)] = torch.tensor(strengths)
        rest[i] = torch.tensor([breath, quiver, reach, beats, fall])
    for start in range(0, n, 64):
        part = slice(start, min(n, start + 64))
        shape, f0 = sounds.shape[part], pitch(sounds.size[part])
        m = len(shape)
        phase = 2 * math.pi * torch.rand(m, 1, generator=gen)
        step = (2 * math.pi * f0)[:, None] * t
        weight = table[shape] * ((f0[:, None] * partials) < 0.47 * SAMPLE_RATE)
        wave = torch.zeros(m, length)
        for k in range(_MAX_PARTIALS):
            if bool(weight[:, k].any()):
                wave += weight[:, k : k + 1] * torch.sin(step * (k + 1) + phase * (k + 1))
        wave = wave / weight.square().sum(1, keepdim=True).sqrt()
        hiss, rate, depth, strokes, decay = (v[:, None] for v in rest[shape].unbind(1))
        wave = wave + hiss * torch.randn(m, length, generator=gen)
        tremolo = 1 - depth * (0.5 + 0.5 * torch.cos(2 * math.pi * rate * t))
        since = torch.where(strokes > 0, (t * strokes) % 1 / strokes.clamp_min(1e-3), torch.tensor(0.0))
        wave = wave * tremolo * torch.exp(-decay * since)
        wave = 0.5 * wave / wave.abs().amax(dim=1, keepdim=True).clamp(min=1e-6)
        loud = (~sounds.silent[part])[:, None]
        out[part] = (wave * loud + noise * torch.randn(m, length, generator=gen)).clamp(-1, 1)
    return out


def mel_filters(bands: int, n_fft: int, low: float = 50.0, high: float = SAMPLE_RATE / 2) -> Tensor:
    """Return triangular mel filters (HTK scale), float32 [bands, n_fft // 2 + 1]."""

    def mel(f: float) -> float:
        return 2595 * math.log10(1 + f / 700)

    edges = 700 * (10 ** (torch.linspace(mel(low), mel(high), bands + 2) / 2595) - 1)
    f = torch.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1)
    up = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(up, down).clamp(min=0)


def log_mel(wave: Tensor, bands: int = 32, frames: int = 32, n_fft: int = 512) -> Tensor:
    """Return log-mel spectrograms, float32 [N, bands, frames] in about [0, 1], low pitches first.

    Powers are clamped at -80 dB below full scale and mapped linearly to [0, 1]. `wave` is [N, L] with L >= n_fft.
    """
    if wave.ndim != 2 or wave.shape[1] < n_fft:
        raise WorldError(f"A spectrogram needs sounds [N, L] with L >= {n_fft}; got {tuple(wave.shape)}.")
    hop = (wave.shape[1] - 1) // (frames - 1) if frames > 1 else wave.shape[1]
    padded = F.pad(wave[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
    window = torch.hann_window(n_fft).to(wave)
    cut = padded.unfold(1, n_fft, hop)[:, :frames] * window
    power = torch.fft.rfft(cut).abs().square() / window.sum().square()
    mel = power @ mel_filters(bands, n_fft).to(wave).T
    return ((10 * torch.log10(mel.clamp(min=1e-8)) + 80) / 80).transpose(1, 2).contiguous()


def sound_captions(sounds: Sounds) -> list[str]:
    """Return what is heard in words: "something rings." or "nothing is heard."."""
    return [
        "nothing is heard." if quiet else f"something {words.SOUND_WORDS[words.ALL_SHAPES[shape]]}."
        for shape, quiet in zip(sounds.shape.tolist(), sounds.silent.tolist())
    ]


def sound_questions(scene: Scene, sounds: Sounds, seed: torch.Generator | int) -> list[tuple[str, str, str]]:
    """Return (question, answer, kind) for each scene, answerable only by listening and looking.

    Kinds: "colour" ("what colour is the one that rings ?"), "place", "seen" ("can you see what rings ?"), "heard" ("can
    you hear the red star ?"). The answers follow from the truth; a silent scene is only asked the last kind.
    """
    gen = generator(seed)
    out = []
    for i, plain in enumerate(scene.plain()):
        slot, quiet = int(sounds.slot[i]), bool(sounds.silent[i])
        verb = words.SOUND_WORDS[words.ALL_SHAPES[int(sounds.shape[i])]]
        kinds = ["heard"] if quiet else ["colour", "place", "seen", "heard"] if slot >= 0 else ["seen"]
        if not plain.things:
            kinds = ["seen"]
        kind = kinds[int(torch.randint(len(kinds), (), generator=gen))]
        thing = next((t for t in plain.things if t.slot == slot), None)
        if kind == "heard":
            asked = plain.things[int(torch.randint(len(plain.things), (), generator=gen))]
            out.append((f"can you hear the {noun_phrase(asked, Say(None))} ?", _yes(asked.slot == slot), kind))
        elif kind == "seen" or thing is None:
            out.append((f"can you see what {verb} ?", _yes(slot >= 0), "seen"))
        elif kind == "colour":
            out.append((f"what colour is the one that {verb} ?", thing.colour, kind))
        else:
            out.append((f"where is the one that {verb} ?", thing.region, kind))
    return out


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"
