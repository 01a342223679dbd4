"""Draw what the diffusion models of the zoo paint: `python tools/zoo_sheets.py [sd] [uncond] [video]`.

Writes book/zoo/sd.png (64 prompts), uncond.png and video.png (64 prompts, eight frames each, two clips a row), and
prints the prompts with what the reader makes of the pictures. Run it again after training, and look at what changed.
"""

from __future__ import annotations

import sys

import torch
from the_zoo import OUT, save

from dlcv_lab import world, zoo
from dlcv_lab.zoo import diffusion, unconditional, video
from dlcv_lab.zoo.motions import read_motions


def sd_prompts() -> list[str]:
    """Return 64 prompts: 40 of a colour and a shape, then styles, marks, textures, places, grounds and pairs."""
    plain = [diffusion.plain_prompts()[i] for i in range(64) if (i + i // 8) % 8 < 5]
    return [
        *plain,
        *diffusion.styled_prompts()[0][::6],
        *diffusion.marked_prompts()[0][::4],
        "a blue striped square.",
        "a red checkered circle.",
        "a green spotted heart.",
        "a yellow star at the top left.",
        "a purple ring at the bottom right.",
        "a red cross on a green background.",
        "an orange circle on a gridded blue background.",
        "nothing on a pink background.",
        "an emerald pentagram.",
        "a scarlet valentine.",
        "a red circle to the left of a blue square.",
        "a green star and a purple heart.",
    ]


def draw_sd() -> None:
    prompts = sd_prompts()
    images = diffusion.paint(zoo.load("sd"), prompts)
    save("sd", images, 8)
    for prompt, fine in zip(prompts, world.obeys(images, prompts).tolist()):
        print("obeyed  " if fine else "not read", prompt)


def draw_uncond() -> None:
    images = unconditional.sample(zoo.load("uncond"), 32)
    save("uncond", images, 8)
    print(*[f"{[f'{t.colour} {t.shape}' for t in plain.things]}" for plain in world.read(images).plain()])


def draw_video() -> None:
    prompts = video.prompts(13)[0][:64]
    frames = video.paint(zoo.load("video"), prompts)
    save("video", frames.flatten(0, 1), 2 * frames.shape[1])
    for prompt, motion in zip(prompts, read_motions(frames)):
        print(f"{motion:8s}", prompt)


def main() -> None:
    """Draw the named sheets, or all."""
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    known = {"sd": draw_sd, "uncond": draw_uncond, "video": draw_video}
    for name in sys.argv[1:] or known:
        known[name]()


if __name__ == "__main__":
    main()
