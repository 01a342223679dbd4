"""The claims of chapter 99."""

import torch

from autograder.declare.claim import Claim
from solutions.ch99_demo import box_blur, contrast


def noise_ratio(seed: int) -> dict[str, float]:
    noise = torch.randn(256, 256, generator=torch.Generator().manual_seed(seed))
    return {"ratio": contrast(box_blur(noise, 3)) / contrast(noise)}


CLAIMS = [
    Claim(
        id="blur_divides_noise",
        methods=("ch99/box_blur", "ch99/contrast"),
        says="averaging n independent values divides their standard deviation by sqrt(n)",
        source="002, What is a Convolution?",
        analogue="contrast of white noise before and after a 3 x 3 average",
        conditions="256 x 256 standard normal noise, three seeds",
        threshold="mean ratio within 0.01 of 1/3",
        measure=noise_ratio,
        holds=lambda figures: abs(sum(figures["ratio"]) / len(figures["ratio"]) - 1 / 3) < 0.01,
    )
]
