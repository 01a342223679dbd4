"""Oracle tests of chapter 99: exact properties. What `oracle=` compares with a library is tested in test_oracles.py."""

import pytest
import torch

from solutions.ch99_demo import contrast, unsharp


@pytest.mark.method("ch99/box_blur")
def test_unsharp_leaves_a_flat_picture_alone() -> None:
    torch.testing.assert_close(unsharp(torch.full((5, 5), 3.0)), torch.full((3, 3), 3.0))


@pytest.mark.method("ch99/contrast")
def test_contrast_is_the_population_standard_deviation() -> None:
    assert contrast(torch.tensor([[1.0, 3.0]])) == pytest.approx(1.0)
