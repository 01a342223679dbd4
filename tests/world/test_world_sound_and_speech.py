"""Sounds and speech."""

import pytest
import torch

from dlcv_lab import world


def _sounding(shape, size):
    scene = world.make({"shape": shape, "size": size})
    return world.sample_sounds(scene, 0)


@pytest.mark.parametrize("shape", world.ALL_SHAPES)
@pytest.mark.parametrize("size", [0.13, 0.2, 0.3])
def test_pitch_follows_size(shape, size):
    wave = world.waveform(_sounding(shape, size), 0, 2.0)
    spectrum = torch.fft.rfft(wave[0] * torch.hann_window(16000)).abs()
    heard = float(spectrum[40:].argmax() + 40) / 2
    assert heard == pytest.approx(float(world.pitch(torch.tensor(size))), rel=0.02)


def test_smaller_things_sound_higher():
    pitch = world.pitch(torch.tensor([0.12, 0.22, 0.32]))
    assert pitch.tolist() == pytest.approx([880, 440, 220])


def test_timbres_can_be_told_apart():
    # spectra at one pitch, averaged over time and relative to their own loudness
    waves = torch.cat([world.waveform(_sounding(shape, 0.25), seed, 1.0) for shape in world.SHAPES for seed in (0, 1)])
    mel = world.log_mel(waves).unflatten(0, (8, 2))
    shape_of = torch.cat([mel.mean(3), mel.std(3) * 3], 2)
    shape_of = shape_of - shape_of.mean(2, keepdim=True)
    gap = torch.cdist(shape_of[:, 0], shape_of[:, 1])
    assert gap.argmin(1).tolist() == list(range(8))


def test_sounds_repeat_and_stay_in_range():
    sounds = world.sample_sounds(world.sample(20, 0), 0)
    wave = world.waveform(sounds, 1)
    assert wave.shape == (20, 8000)
    assert float(wave.abs().max()) <= 1
    assert torch.equal(wave, world.waveform(sounds, 1))


def test_silent_and_off_screen_shares():
    scene = world.sample(600, 0, objects=(1, 3))
    sounds = world.sample_sounds(scene, 0, silent=0.25, off_screen=0.25)
    assert float(sounds.silent.float().mean()) == pytest.approx(0.25, abs=0.06)
    away = (sounds.slot < 0) & ~sounds.silent
    assert float(away.float().mean()) == pytest.approx(0.25, abs=0.06)
    for i in away.nonzero()[:, 0].tolist():
        assert world.ALL_SHAPES[int(sounds.shape[i])] not in {t.shape for t in scene[i].plain()[0].things}
    here = (sounds.slot >= 0).nonzero()[:, 0]
    assert torch.equal(sounds.shape[here], scene.shape[here, sounds.slot[here]])
    assert bool(scene.present[here, sounds.slot[here]].all())
    loud = world.waveform(sounds, 0).square().mean(1)
    assert float(loud[sounds.silent].max()) < 0.001 < float(loud[~sounds.silent].min())


def test_spectrograms_are_patches_of_32_by_32():
    mel = world.log_mel(world.waveform(world.sample_sounds(world.sample(3, 0), 0), 0))
    assert mel.shape == (3, 32, 32)
    assert -0.01 <= float(mel.min()) <= float(mel.max()) <= 1.1


def test_mel_filters_cover_the_band_without_gaps():
    bank = world.mel_filters(32, 512)
    assert bank.shape == (32, 257)
    assert bool((bank >= 0).all())
    assert bool((bank.sum(1) > 0).all())
    assert bool((bank.sum(0)[8:250] > 0).all())


def test_a_pure_tone_lights_the_right_band():
    t = torch.arange(8000) / 8000
    low, high = (world.log_mel(torch.sin(2 * torch.pi * f * t)[None])[0].mean(1).argmax() for f in (300.0, 3000.0))
    assert int(low) < 8 < 24 < int(high)


def test_speech_has_the_promised_shapes():
    speech = world.speak(5, 0)
    assert speech.video.shape == (5, 24, 1, 16, 16)
    assert speech.audio.shape == (5, 24 * 320)
    assert speech.spectra.shape == (5, 24, 8)
    assert speech.phonemes.shape == speech.visemes.shape == (5, 24)
    assert torch.equal(speech.video, world.speak(5, 0).video)
    assert torch.equal(speech.audio, world.speak(5, 0).audio)


def test_frames_spell_the_transcript():
    speech = world.speak(40, 1)
    for row, text in zip(speech.phonemes.tolist(), speech.text):
        spelled, previous = "", None
        for unit in row:
            if unit == world.SILENCE:
                spelled += " "
            elif unit != previous:
                spelled += world.PHONEMES[unit]
            previous = unit
        assert spelled.split() == text.split()


def test_twelve_phonemes_on_seven_visemes():
    assert len(world.PHONEMES) == 12
    assert len(world.VISEMES) == 7
    assert set(world.VISEME_OF) == set(world.PHONEMES)
    assert set(world.VISEME_OF.values()) | {"rest"} == set(world.VISEMES)


def test_homophenes_look_alike_and_sound_different():
    looks = {w: tuple(world.VISEME_OF[p] for p in w) for w in world.VOCABULARY}
    assert looks["bat"] == looks["pat"] == looks["mat"]
    assert looks["bat"] != looks["fan"]
    bat, mat, pot = (
        world.speak(1, 3, texts=[w], frames=12, audio_noise=0, video_noise=0) for w in ("bat", "mat", "pot")
    )
    assert torch.equal(bat.video, mat.video)
    assert float((bat.spectra - mat.spectra).abs().max()) > 0.1
    assert float((bat.video - pot.video).abs().max()) > 0.3


def test_frames_of_one_phoneme_sound_alike():
    speech = world.speak(200, 0, audio_noise=0)
    means = torch.stack([speech.spectra[speech.phonemes == k].mean(0) for k in range(13)])
    guess = torch.cdist(speech.spectra.flatten(0, 1), means).argmin(1)
    assert float((guess == speech.phonemes.flatten()).float().mean()) > 0.55


def test_noise_is_adjustable():
    quiet, loud = (world.speak(3, 0, audio_noise=a, video_noise=a) for a in (0.0, 0.3))
    assert float((quiet.audio - loud.audio).std()) > 0.15
    assert float((quiet.video - loud.video).std()) > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: world.speak(1, 0, texts=["hello"]), "not in the mouth's vocabulary"),
        (lambda: world.speak(1, 0, words=4), "needs at least"),
        (lambda: world.waveform(_sounding("star", 0.2), 0, 0.0), "0.05 to 30"),
        (lambda: world.log_mel(torch.zeros(2, 100)), "L >= 512"),
        (lambda: world.sample_sounds(world.sample(1, 0, objects=0), 0), "without objects"),
        (lambda: world.sample_sounds(world.sample(1, 0), 0, silent=0.7, off_screen=0.7), "sum to at most 1"),
    ],
)
def test_impossible_sounds_are_clear_errors(call, message):
    with pytest.raises(world.WorldError, match=message):
        call()
