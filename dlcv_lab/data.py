"""Real pictures: handwritten digits and photographs that need no network, and the full data sets that do.

Everything comes back as float32 images [N, C, H, W] in [0, 1] and int64 labels [N]. `python -m dlcv_lab.data mnist`
fetches a full data set ahead of time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Scale = Literal["laptop", "full"]
Part = Literal["train", "test"]

# photographs in scikit-image's wheel: no download, on no machine
PHOTOS = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "moon": "moon.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}
_FULL = {"mnist": "MNIST", "cifar10": "CIFAR10"}


class Labelled(NamedTuple):
    """Images x [N, C, H, W] float32 in [0, 1] and their classes y [N] int64: `x, y = data.digits()`."""

    x: Tensor
    y: Tensor


class Split(NamedTuple):
    """Two disjoint parts of a data set: `train, test = data.split(x, y)`."""

    train: Labelled
    test: Labelled


class MissingDataError(RuntimeError):
    """A data set is not on this machine and cannot be fetched now."""


def digits(scale: Scale = "laptop") -> Labelled:
    """Return handwritten digits, ten classes: 1797 of 8x8 pixels ("laptop") or 70000 of 28x28 ("full": MNIST).

    The small ones are scikit-learn's copy of the UCI "Optical recognition of handwritten digits"; the large ones are
    fetched once and kept in `cache_folder()`, the 60000 for training first. Both have ink 1 on paper 0.

    Raises:
        MissingDataError: `scale="full"` and the data are neither in the cache nor to be had from the network.
    """
    _check_scale(scale)
    if scale == "laptop":
        x, y = _small_digits()
        return Labelled(x.clone(), y.clone())
    parts = [_full("mnist", part) for part in ("train", "test")]
    return Labelled(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))


def cifar10(part: Part = "train") -> Labelled:
    """Return CIFAR-10, colour photographs of ten classes [N, 3, 32, 32]: 50000 ("train") or 10000 ("test").

    There is no laptop-sized copy: 170 MB are fetched once and kept in `cache_folder()`.

    Raises:
        MissingDataError: the data are neither in the cache nor to be had from the network.
    """
    return _full("cifar10", part)


def split(x: Tensor, y: Tensor, test: float = 0.25, generator: torch.Generator | None = None) -> Split:
    """Shuffle the pairs (x[i], y[i]) and split off the fraction `test`, with every class in both parts in proportion.

    `y` [N] int64 gives the classes. Without a generator the shuffle is always the same one.

    Raises:
        ValueError: x and y differ in length, or a part would be empty.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} images but {len(y)} labels: they must be as many")
    rng = _generator(generator)
    order = torch.randperm(len(y), generator=rng)
    chosen = torch.zeros(len(y), dtype=torch.bool)
    for k in y.unique().tolist():
        members = order[y[order] == k]
        chosen[members[: round(test * len(members))]] = True
    held_out = chosen[order]
    if held_out.all() or not held_out.any():
        raise ValueError(f"a test part of {test} of {len(y)} images leaves one part empty")
    train_at, test_at = order[~held_out], order[held_out]
    return Split(Labelled(x[train_at], y[train_at]), Labelled(x[test_at], y[test_at]))


def scattered_digits(
    canvas: int = 16,
    generator: torch.Generator | None = None,
    *,
    n: int | None = None,
    source: Labelled | tuple[Tensor, Tensor] | None = None,
    top: tuple[int, int] | None = None,
    left: tuple[int, int] | None = None,
) -> Labelled:
    """Put every digit at a random place of an empty canvas: x [n, 1, canvas, canvas], y [n].

    `n` digits are drawn from `source` (all of `digits()` unless told otherwise) with replacement; without `n` every
    digit of the source comes once, in order. `top` and `left` limit where the upper left corner of the digit may lie,
    both ends included: `left=(0, 2)` keeps the digits at the left edge. Without a generator the places are always the
    same ones. No pixel of a digit is lost.

    Raises:
        ValueError: the canvas is smaller than a digit, or a range of places leaves the canvas.
    """
    x, y = digits() if source is None else source
    rng = _generator(generator)
    if n is not None:
        drawn = torch.randint(len(y), (n,), generator=rng)
        x, y = x[drawn], y[drawn]
    (count, channels), (h, w) = x.shape[:2], x.shape[2:]
    if canvas < max(h, w):
        raise ValueError(f"a canvas of {canvas}x{canvas} pixels is smaller than a digit of {h}x{w}")
    rows = _places("top", top, canvas - h, count, rng)
    columns = _places("left", left, canvas - w, count, rng)
    out = x.new_zeros(count, channels, canvas, canvas)
    i = torch.arange(count)[:, None, None, None]
    c = torch.arange(channels)[None, :, None, None]
    r = rows[:, None, None, None] + torch.arange(h)[None, None, :, None]
    s = columns[:, None, None, None] + torch.arange(w)[None, None, None, :]
    out[i, c, r, s] = x
    return Labelled(out, y.clone())


def photo(name: str, size: int | tuple[int, int] | None = None) -> Tensor:
    """Return a photograph, float32 [C, H, W] in [0, 1]; C is 3 for colour, 1 for black and white.

    `size` cuts out the largest centred piece with that form (a whole number means a square) and scales it with
    antialiasing. The names are those of `PHOTOS`.

    Raises:
        ValueError: there is no photograph of that name.
    """
    if name not in PHOTOS:
        raise ValueError(f"no photograph is called {name!r}; there are {', '.join(sorted(PHOTOS))}")
    image = _photo_file(name).clone()
    if size is None:
        return image
    height, width = (size, size) if isinstance(size, int) else size
    _, h, w = image.shape
    scale = min(h / height, w / width)
    cut_h, cut_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (h - cut_h) // 2, (w - cut_w) // 2
    piece = image[None, :, top : top + cut_h, left : left + cut_w]
    return torch.nn.functional.interpolate(piece, (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)


def crops(image: Tensor, n: int, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Cut `n` square pieces of `size` pixels at random places out of `image` [C, H, W]: [n, C, size, size].

    Raises:
        ValueError: `image` is not [C, H, W] or smaller than a piece.
    """
    if image.ndim != 3 or min(image.shape[1:]) < size:
        raise ValueError(f"crops of {size}x{size} need one image [C, H, W] at least as large, not {list(image.shape)}")
    rng = _generator(generator)
    rows = torch.randint(image.shape[1] - size + 1, (n,), generator=rng).tolist()
    columns = torch.randint(image.shape[2] - size + 1, (n,), generator=rng).tolist()
    return torch.stack([image[:, r : r + size, c : c + size] for r, c in zip(rows, columns)])


def cache_folder() -> Path:
    """Return where full data sets are kept: the variable DLCV_DATA, else `.cache/dlcv-lab` in your home folder."""
    return Path(os.environ.get("DLCV_DATA") or Path.home() / ".cache" / "dlcv-lab")


def fetch(name: str) -> None:
    """Download the data set "mnist" or "cifar10" into `cache_folder()` and verify its checksums; no work if there.

    Raises:
        MissingDataError: the network cannot be reached.
    """
    for part in (True, False):
        _torchvision(name, train=part)


@lru_cache(maxsize=1)
def _small_digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images).to(torch.float32)[:, None] / 16  # ink is counted from 0 to 16
    return x, torch.from_numpy(bunch.target).to(torch.int64)


@lru_cache(maxsize=4)
def _photo_file(name: str) -> Tensor:
    import skimage
    from skimage.io import imread

    pixels = torch.from_numpy(imread(Path(skimage.__file__).parent / "data" / PHOTOS[name]).copy())
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    return pixels.permute(2, 0, 1).to(torch.float32).contiguous() / 255


def _full(name: str, part: Part) -> Labelled:
    if part not in ("train", "test"):
        raise ValueError(f"the parts of {_FULL[name]} are 'train' and 'test', not {part!r}")
    pictures = _torchvision(name, train=part == "train")
    x = torch.as_tensor(pictures.data)
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    return Labelled(x.to(torch.float32).div_(255).contiguous(), torch.as_tensor(pictures.targets, dtype=torch.int64))


def _torchvision(name: str, *, train: bool) -> Any:
    """Return torchvision's data set, fetched with its checksums and its progress bar if it is not there yet."""
    from torchvision import datasets

    if name not in _FULL:
        raise ValueError(f"no full data set is called {name!r}; there are {', '.join(sorted(_FULL))}")
    folder = cache_folder()
    make: Callable[..., Any] = getattr(datasets, _FULL[name])
    try:
        return make(folder, train=train, download=True)
    except (OSError, RuntimeError) as error:  # no network, a broken download, a full disk
        raise MissingDataError(
            f"{_FULL[name]} is not in {folder} and could not be fetched: {error}. "
            f"On a machine with network run `python -m dlcv_lab.data {name}` "
            f"(set DLCV_DATA to choose the folder and copy it here), or use scale='laptop'."
        ) from error


def _places(name: str, wish: tuple[int, int] | None, last: int, count: int, rng: torch.Generator) -> Tensor:
    low, high = wish or (0, last)
    if not 0 <= low <= high <= last:
        raise ValueError(f"{name}=({low}, {high}) leaves the canvas: the digit's corner can be at 0 to {last}")
    return torch.randint(low, high + 1, (count,), generator=rng)


def _generator(generator: torch.Generator | None) -> torch.Generator:
    return torch.Generator().manual_seed(0) if generator is None else generator


def _check_scale(scale: str) -> None:
    if scale not in ("laptop", "full"):
        raise ValueError(f"scale is 'laptop' or 'full', not {scale!r}")


def main(arguments: Sequence[str]) -> int:
    """Fetch the full data sets named on the command line."""
    try:
        for name in arguments or sorted(_FULL):
            fetch(name)
            print(f"{_FULL[name]} is in {cache_folder()}")
    except (MissingDataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
