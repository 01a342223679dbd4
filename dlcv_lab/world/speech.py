"""Let a mouth speak: lip video and audio of a small vocabulary, with homophenes that only the ear can tell apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .rendering import check_canvas
from .sampling import generator
from .shapes import ellipse
from .sound import SAMPLE_RATE, mel_filters
from .words import WorldError

PHONEMES = ("p", "b", "m", "f", "v", "a", "e", "i", "o", "u", "t", "n")
VISEMES = ("rest", "closed", "bitten", "open", "wide", "round", "tongue")
VISEME_OF = {
    "p": "closed",
    "b": "closed",
    "m": "closed",
    "f": "bitten",
    "v": "bitten",
    "a": "open",
    "e": "wide",
    "i": "wide",
    "o": "round",
    "u": "round",
    "t": "tongue",
    "n": "tongue",
}
VOCABULARY = tuple(
    ["bat", "pat", "mat", "fan", "van", "pan", "man", "pin", "bin", "tin", "fin", "net", "ten", "pot", "not", "but"]
)
"""Sixteen words of three phonemes; "bat", "pat" and "mat" look alike, so do "fan" and "van", "pin" and "bin"."""

FRAME_RATE = 25
FRAME_SAMPLES = SAMPLE_RATE // FRAME_RATE
SILENCE = len(PHONEMES)
# per viseme: opening, width, teeth shown, tongue shown, lower lip drawn in
_LIPS = torch.tensor(
    [
        [0.10, 0.72, 0.0, 0.0, 0.0],
        [0.00, 0.54, 0.0, 0.0, 0.8],
        [0.14, 0.66, 1.0, 0.0, 1.0],
        [0.92, 0.66, 0.3, 0.2, 0.0],
        [0.38, 0.98, 0.9, 0.0, 0.0],
        [0.50, 0.36, 0.0, 0.0, 0.0],
        [0.34, 0.70, 0.5, 1.0, 0.0],
    ]
)
# per phoneme: three formants (Hz), strength of the voice, strength of noise, its centre (Hz)
_VOICE = {
    "p": ((500, 900, 2200), 0.00, 0.50, 700),
    "b": ((350, 800, 2100), 0.45, 0.15, 600),
    "m": ((250, 1000, 2200), 0.60, 0.00, 0),
    "f": ((0, 0, 0), 0.00, 0.45, 3000),
    "v": ((300, 1100, 2400), 0.40, 0.30, 2800),
    "a": ((750, 1200, 2500), 1.00, 0.00, 0),
    "e": ((550, 1850, 2500), 1.00, 0.00, 0),
    "i": ((300, 2250, 3000), 0.95, 0.00, 0),
    "o": ((480, 850, 2400), 1.00, 0.00, 0),
    "u": ((320, 700, 2250), 0.95, 0.00, 0),
    "t": ((0, 0, 0), 0.00, 0.60, 3500),
    "n": ((280, 1500, 2600), 0.60, 0.00, 0),
}


@dataclass(frozen=True)
class Speech:
    """N utterances: `video` float32 [N, T, 1, S, S]; `audio` float32 [N, 320 T] at 8 kHz; `spectra` float32 [N, T, 8].

    `phonemes` int64 [N, T] (12 = silence) and `visemes` int64 [N, T] label every frame; `text` is the transcript.
    """

    video: Tensor
    audio: Tensor
    spectra: Tensor
    phonemes: Tensor
    visemes: Tensor
    text: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.text)


def speak(
    n: int,
    seed: torch.Generator | int,
    *,
    words: int = 2,
    frames: int = 24,
    size: int = 16,
    audio_noise: float = 0.01,
    video_noise: float = 0.02,
    texts: list[str] | None = None,
) -> Speech:
    """Draw n utterances of `words` words of `VOCABULARY`, spoken by random voices with random timing.

    Args:
        n: number of utterances.
        seed: CPU generator or int.
        words: words an utterance.
        frames: T, at 25 frames a second; at least 3 frames a phoneme's word and one pause are needed.
        size: width of the mouth pictures.
        audio_noise, video_noise: standard deviation of the noise in sound and pictures.
        texts: say these instead (n is then ignored).

    Raises:
        WorldError: for a word outside the vocabulary, or an utterance that does not fit in the frames.
    """
    gen = generator(seed)
    check_canvas(size)
    if texts is None:
        drawn = torch.randint(len(VOCABULARY), (n, words), generator=gen).tolist()
        texts = [" ".join(VOCABULARY[k] for k in row) for row in drawn]
    for text in texts:
        for word in text.split():
            if word not in VOCABULARY:
                raise WorldError(f"{word!r} is not in the mouth's vocabulary: {', '.join(VOCABULARY)}.")
    rows = [_timing(text, frames, gen) for text in texts]
    phonemes = torch.tensor(rows, dtype=torch.int64).reshape(-1, frames)
    table = torch.tensor([VISEMES.index(VISEME_OF[p]) for p in PHONEMES] + [0])
    visemes = table[phonemes]
    lips = F.pad(_LIPS[visemes].transpose(1, 2), (1, 1), mode="replicate")
    lips = F.avg_pool1d(lips, 3, stride=1).transpose(1, 2) * 0.5 + _LIPS[visemes] * 0.5
    lips = lips + 0.04 * torch.randn(lips.shape, generator=gen)
    video = _mouth(lips.flatten(0, 1), size, gen)[:, None].unflatten(0, (len(texts), frames))
    video = (video + video_noise * torch.randn(video.shape, generator=gen)).clamp(0, 1)
    audio = _voice(phonemes, gen)
    audio = (audio + audio_noise * torch.randn(audio.shape, generator=gen)).clamp(-1, 1)
    return Speech(video, audio, frame_spectra(audio), phonemes, visemes, tuple(texts))


def _timing(text: str, frames: int, gen: torch.Generator) -> list[int]:
    """Spread the phonemes over the frames, two to four frames each, with pauses around words."""
    spoken = text.split()
    needed = 6 * len(spoken) + len(spoken) + 1
    if needed > frames:
        raise WorldError(f"{text!r} needs at least {needed} frames; there are {frames}.")
    units: list[int] = [SILENCE]
    for word in spoken:
        units += [PHONEMES.index(letter) for letter in word] + [SILENCE]
    length = [1 if unit == SILENCE else 2 for unit in units]
    for _ in range(frames - sum(length)):
        free = [k for k, unit in enumerate(units) if length[k] < (3 if unit == SILENCE else 4)] or [len(units) - 1]
        length[free[int(torch.randint(len(free), (), generator=gen))]] += 1
    return [unit for unit, times in zip(units, length) for _ in range(times)]


def _mouth(lips: Tensor, size: int, gen: torch.Generator | None) -> Tensor:
    """Draw mouths, float32 [M, S, S], from opening, width, teeth, tongue and bitten lip [M, 5]."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    m = len(lips)
    move = torch.zeros(m, 2) if gen is None else 0.04 * torch.randn(m, 2, generator=gen)
    x, y = axis[None, None, :] - move[:, :1, None], axis[None, :, None] - move[:, 1:, None]
    gape, wide, teeth, tongue, bitten = (v[:, None, None].clamp(0, 1.1) for v in lips.unbind(1))
    half_w, half_h = 0.88 * wide, 0.78 * gape + 0.02

    def cover(distance: Tensor) -> Tensor:
        return (0.5 - distance * size / 2).clamp(0, 1)

    skin, lip, dark = 0.85, 0.50, 0.10
    picture = torch.full((m, size, size), skin)
    outer = cover(ellipse(x, y, half_w + 0.12, half_h + 0.20 - 0.10 * bitten))
    picture = picture + outer * (lip - picture)
    inner = cover(ellipse(x, y, half_w, half_h))
    picture = picture + inner * (dark - picture)
    top = inner * cover(y + half_h * 0.35) * teeth
    picture = picture + top * (0.97 - picture)
    blob = inner * cover(ellipse(x, y - half_h * 0.5, 0.42, 0.26)) * tongue
    return picture + blob * (0.66 - picture)


def mouth_image(visemes: Tensor, seed: torch.Generator | int, size: int = 32) -> Tensor:
    """Return pictures of mouths for viseme labels int64 [N], float32 [N, 3, size, size] in warm skin tones."""
    gen = generator(seed)
    lips = _LIPS[visemes] + 0.05 * torch.randn(len(visemes), 5, generator=gen)
    grey = _mouth(lips, size, gen)
    tint = torch.tensor([1.02, 0.86, 0.78])[:, None, None]
    red = torch.tensor([0.22, -0.06, -0.04])[:, None, None]
    lipness = (1 - (grey[:, None] - 0.5).abs() * 5).clamp(0, 1)
    return (grey[:, None] * tint + lipness * red).clamp(0, 1)


def _voice(phonemes: Tensor, gen: torch.Generator) -> Tensor:
    """Speak the frames, float32 [N, 320 T]: harmonics shaped by formants, and noise for f, v, p, b and t."""
    n, frames = phonemes.shape
    spec = torch.zeros(len(PHONEMES) + 1, 6)
    for k, name in enumerate(PHONEMES):
        formants, voice, hiss, centre = _VOICE[name]
        spec[k] = torch.tensor([*formants, voice, hiss, centre], dtype=torch.float32)
    length = frames * FRAME_SAMPLES
    t = torch.arange(length) / SAMPLE_RATE
    f0 = 100 + 120 * torch.rand(n, 1, generator=gen)
    per_frame = spec[phonemes]
    out = torch.zeros(n, length)

    def stretch(values: Tensor) -> Tensor:
        """Turn one value a frame into a smooth curve over the samples."""
        return F.interpolate(values[:, None], size=length, mode="linear", align_corners=False)[:, 0]

    for k in range(1, 30):
        f = f0 * k
        gain = torch.zeros(n, frames)
        for i, (width, strength) in enumerate(((90.0, 1.0), (130.0, 0.7), (180.0, 0.35))):
            gain += strength * torch.exp(-0.5 * ((f - per_frame[..., i]) / width).square())
        gain = (gain + 0.02) * per_frame[..., 3] * (f < 3900)
        phase = 2 * math.pi * torch.rand(n, 1, generator=gen)
        out += stretch(gain) * torch.sin(2 * math.pi * f * t + phase)
    noise = torch.randn(n, length, generator=gen)
    bright = noise - torch.cat([noise[:, :1], noise[:, :-1]], 1)
    dull = F.avg_pool1d(F.pad(noise[:, None], (4, 4), mode="reflect"), 9, stride=1)[:, 0] * 2
    share = stretch((per_frame[..., 5] / 3500).clamp(0, 1))
    out = out + 0.6 * stretch(per_frame[..., 4]) * (share * bright + (1 - share) * dull)
    return 0.3 * out / out.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6) / 2


def frame_spectra(audio: Tensor, bands: int = 8) -> Tensor:
    """Return the log-mel bands of every video frame, float32 [N, T, bands] in about [0, 1]; `audio` is [N, 320 T]."""
    cut = audio.unflatten(1, (-1, FRAME_SAMPLES)) * torch.hann_window(FRAME_SAMPLES)
    power = torch.fft.rfft(cut, n=512).abs().square() / FRAME_SAMPLES**2
    mel = power @ mel_filters(bands, 512).T
    return (10 * torch.log10(mel.clamp(min=1e-8)) + 80) / 80
