"""Oracle tests of chapter 99: the references against independent libraries and exact properties."""

import pytest
import torch
import torch.nn.functional as F

from solutions.ch99_demo import box_blur, contrast, unsharp


@pytest.mark.method("ch99/box_blur")
@pytest.mark.parametrize(("H", "W", "k"), [(6, 6, 3), (5, 9, 2), (4, 4, 4)])
def test_box_blur_equals_average_pooling(H: int, W: int, k: int) -> None:
    x = torch.randn(H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(box_blur(x, k), F.avg_pool2d(x[None, None], k, stride=1)[0, 0])


@pytest.mark.method("ch99/box_blur")
def test_unsharp_leaves_a_flat_picture_alone() -> None:
    torch.testing.assert_close(unsharp(torch.full((5, 5), 3.0)), torch.full((3, 3), 3.0))


@pytest.mark.method("ch99/contrast")
def test_contrast_is_the_population_standard_deviation() -> None:
    assert contrast(torch.tensor([[1.0, 3.0]])) == pytest.approx(1.0)
