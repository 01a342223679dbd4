"""One procedural world on which every method of the course is run.

A `Scene` is plain data; `render` turns a batch of scenes into images; everything else is ground truth read off the
scene: masks, boxes, language, sound, motion. All randomness comes from a CPU `torch.Generator` or an int seed.

    scene = world.sample(4, seed=0)
    images = world.render(scene)                   # float32 [4, 3, 32, 32] in [0, 1]
    world.caption(scene)                           # ["a big orange square on a ...", ...]
    world.read(images).plain()                     # what a reader finds in them
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PLACES = {
    "words": (
        "ALL_SHAPES BACKGROUNDS COLOURS EMOTIONS GROUNDS MARKS MOTIONS NOVEL_SHAPES NUMBERS REGIONS RELATIONS "
        "SHAPES SIZES SOLID_SHAPES STYLES TEXTURES THIN_SHAPES UPRIGHT_SHAPES WorldError colour_rgb ground_rgb label "
        "labels names"
    ),
    "scene": "MAX_OBJECTS Plain Scene Thing cat make",
    "sampling": "sample",
    "rendering": "render",
    "styles": "edges luma stylise",
    "truth": (
        "VOID area_fraction boxes brightness colourfulness cutouts distances edge_map instance_masks keypoints "
        "mask_boxes multi_label object_masks semantic_masks size_label strokes targets"
    ),
    "grammar": "TEMPLATES Say article caption captions noun_phrase plural related relation",
    "parsing": "Mention ParseError Reading is_grammatical is_true parse",
    "answering": "ANSWERS KINDS answer answers_of questions",
    "asking": "Questions ask complement",
    "referring": "Region box_text read_box refer resolve triplets",
    "two_images": "Pairs corrupt judge objects_listed polls statements swap_caption",
    "talking": "Dialog Turn dialog_text dialogs instructions",
    "ranking": "ranked",
    "affect": "affect_instructions face_attributes face_captions",
    "facts": "Edit EditSet Fact acquaintances edit_set edits individuals nonce_words",
    "crawling": "ALT_KINDS Document Page Record document_tokens documents pages web",
    "text": "HYPERNYMS class_facts corpus is_sentence lexicon tokens vocabulary",
    "presets": (
        "NATURAL_COLOURS Labelled arrows biased colour_cast cooccurring creature degrade icons inside_ring labelled "
        "natural photos same_colour sprites textured_sheets upright xor"
    ),
    "splits": (
        "DOMAINS TASKS Composed Episode FastQuestion Task class_pairs composed composed_classes disjoint_classes "
        "domain episode fast_question page tasks unseen_combinations"
    ),
    "faces": "FEATURES SKINS Faces expression face_boxes part_centres render_faces sample_faces",
    "cutting": "Montage montage",
    "video": (
        "DIRECTIONS TURNS Clips centroids clip_captions clip_directions frames read_clip_caption render_clips "
        "sample_clips trajectory"
    ),
    "sound": "SAMPLE_RATE Sounds log_mel mel_filters pitch sample_sounds sound_captions sound_questions waveform",
    "speech": "PHONEMES SILENCE VISEMES VISEME_OF VOCABULARY Speech frame_spectra mouth_image speak",
    "glyphs": "GLYPHS glyph_mask numbers panoramas write",
    "sights": "SIGHT_COLOURS SIGHT_KINDS Sights render_sights sample_sights sight_instructions sight_masks",
    "reader": "Readout UNSURE load_reader obeys read",
}
_HOMES = {name: module for module, listed in _PLACES.items() for name in listed.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import the module that defines a public name when it is first used."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"The world has no {name!r}; see help(dlcv_lab.world) or docs/world.md.")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


if TYPE_CHECKING:
    from .rendering import render as render
    from .sampling import sample as sample
    from .scene import Scene as Scene
