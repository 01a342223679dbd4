"""One function for the device and one for the seed: nothing else in the book decides either."""

from __future__ import annotations

import os
import random

import numpy as np
import torch


def device(prefer: str | None = None) -> torch.device:
    """Return the device to compute on: `prefer`, else the variable DLCV_DEVICE, else the best one there is.

    Without a wish the order is a CUDA GPU, Apple's GPU ("mps"), the CPU.

    Raises:
        ValueError: the device that was asked for is unknown to torch or not there.
    """
    wish = prefer or os.environ.get("DLCV_DEVICE")
    if wish is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    asked_by = "the argument" if prefer else "the environment variable DLCV_DEVICE"
    try:
        chosen = torch.device(wish)
    except RuntimeError as error:
        raise ValueError(f"{asked_by} asks for the device {wish!r}; use 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(chosen.type, False):
        raise ValueError(f"{asked_by} asks for the device {wish!r}, but this machine has none; use 'cpu'")
    return chosen


def seed(n: int) -> None:
    """Seed the random numbers of Python, NumPy (its old global state) and torch on every device.

    Raises:
        ValueError: `n` is not in [0, 2**32).
    """
    if not 0 <= n < 2**32:
        raise ValueError(f"a seed is a whole number from 0 to 2**32 - 1, not {n}")
    random.seed(n)
    np.random.seed(n)
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        torch.manual_seed(n)
    else:  # the same stream; `torch.manual_seed` would load the compiler and note a traceback per kind of device
        torch.default_generator.manual_seed(n)
