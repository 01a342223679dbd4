"""What the exercises of notebook 1 share: draws, stand-ins, forbidden operations."""

import torch

from autograder.declare.exercise import Variant
from autograder.exercises.ch03_convolutional_networks import lesson_1_pool_variants as pool
from dlcv_lab.checking.model import Forbid

STANDINS = {
    "output_size": Variant(name="output_size", code=(pool.conv_out__standin,)),
    "im2col": Variant(name="im2col", code=(pool.im2col__standin,)),
}
NO_CONVOLUTION = Forbid(
    aten=("aten.convolution*", "aten.conv1d*", "aten.conv2d*", "aten.conv3d*", "aten.mkldnn_convolution*"),
    names=("F.conv2d", "F.unfold", "nn.Conv2d", "nn.Unfold", "nn.functional.conv2d", "torch.conv2d", "scipy.signal"),
)


def draw(rng, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=rng, dtype=dtype)


def between(rng, low, high):
    """Draw a whole number, both ends included."""
    return int(torch.randint(low, high + 1, (), generator=rng))
