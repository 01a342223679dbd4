"""`ear`: the library alone loads it, and it hears what its card says."""

import subprocess
import sys

import pytest
import torch

from dlcv_lab import world, zoo
from dlcv_lab.zoo import ear

MARGIN = 0.08
"""How far a small sample may fall below the card."""


@pytest.fixture(scope="module")
def parts():
    return zoo.load("ear")


def test_pitch_labels_are_semitones_above_220_hz():
    size = torch.tensor([0.32, 0.22, 0.12])
    assert ear.pitch_label(size).tolist() == [0, 12, 24], "two octaves"
    step = 0.20 / 24
    assert ear.pitch_label(0.32 - step * torch.arange(25)).tolist() == list(range(25))


def test_it_is_taught_what_is_heard():
    wave, who, semitone = ear.sounds(200, torch.Generator().manual_seed(0))
    assert wave.shape == (200, 8000)
    quiet = who == ear.LABELS.index("nothing")
    assert 0 < int(quiet.sum()) < 40
    assert torch.equal(semitone == -100, quiet)
    assert float(wave[quiet].square().mean()) < float(wave[~quiet].square().mean()) / 4
    wave, word, phonemes = ear.words_said(50, torch.Generator().manual_seed(1))
    assert wave.shape == (50, 8000)
    for label, row in zip(word.tolist(), phonemes.tolist()):
        spoken = [world.PHONEMES[p] for p, before in zip(row, [-1, *row]) if p != before and p != world.SILENCE]
        assert "".join(spoken) == ear.LABELS[label]


def test_it_names_timbres_and_words(parts):
    model, extractor = parts
    assert type(model).__name__ == "WhisperForAudioClassification"
    metrics = zoo.card("ear").metrics
    heard, said = (draw(150, torch.Generator().manual_seed(9)) for draw in (ear.sounds, ear.words_said))
    with torch.no_grad():
        for name, (wave, label, _) in (("timbre", heard), ("word", said)):
            named = model(ear.listen(extractor, wave)).logits.argmax(1)
            assert float((named == label).float().mean()) >= metrics[name] - MARGIN
    assert [model.config.id2label[i] for i in range(len(ear.LABELS))] == list(ear.LABELS)


def test_two_tokens_belong_to_a_frame_of_the_lips(parts):
    model, extractor = parts
    wave, _, phonemes = ear.words_said(4, torch.Generator().manual_seed(2))
    with torch.no_grad():
        tokens = model.encoder(ear.listen(extractor, wave)).last_hidden_state
    assert tokens.shape == (4, 2 * phonemes.shape[1], ear.WIDTH)


@pytest.mark.slow
def test_the_library_alone_loads_it_and_hears_as_through_the_zoo(parts, tmp_path):
    """No module of dlcv_lab is imported in the other process: only the folder is used."""
    wave, _, _ = ear.sounds(3, torch.Generator().manual_seed(3))
    torch.save(wave, tmp_path / "wave.pt")
    code = f"""
import sys
sys.modules["dlcv_lab"] = None
import torch, transformers
folder, here = {str(zoo.folder("ear"))!r}, {str(tmp_path)!r}
model = transformers.WhisperForAudioClassification.from_pretrained(folder)
extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
assert next(model.parameters()).dtype == torch.float32
wave = list(torch.load(here + "/wave.pt").numpy())
with torch.no_grad():
    torch.save(model(**extractor(wave, sampling_rate=8000, return_tensors="pt")).logits, here + "/out.pt")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    model, extractor = parts
    with torch.no_grad():
        assert torch.allclose(model(ear.listen(extractor, wave)).logits, torch.load(tmp_path / "out.pt"), atol=1e-4)
