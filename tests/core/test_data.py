"""Data need no network at laptop scale and are the same on every machine."""

import socket
import types

import numpy as np
import pytest
import torch

from dlcv_lab import data


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_digits(no_network):
    x, y = data.digits()
    assert x.shape == (1797, 1, 8, 8)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert (x.min(), x.max()) == (0, 1)
    assert y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert y[:10].tolist() == list(range(10))


def test_digits_belong_to_the_caller():
    data.digits().x.zero_()
    assert data.digits().x.sum() > 0


def test_split_is_a_stratified_partition():
    y = data.digits().y
    train, test = data.split(torch.arange(len(y)), y, test=0.25)
    assert sorted(train.x.tolist() + test.x.tolist()) == list(range(len(y)))
    assert torch.equal(train.y, y[train.x])
    for k in range(10):
        assert int((test.y == k).sum()) == round(0.25 * int((y == k).sum()))


def test_split_follows_its_generator():
    x, y = data.digits()
    again = data.split(x, y, generator=torch.Generator().manual_seed(0))
    other = data.split(x, y, generator=torch.Generator().manual_seed(1))
    assert torch.equal(data.split(x, y).test.x, again.test.x)
    assert not torch.equal(other.test.x, again.test.x)


@pytest.mark.parametrize("test", [0.0, 1.0])
def test_split_never_leaves_a_part_empty(test):
    with pytest.raises(ValueError, match="empty"):
        data.split(torch.zeros(8, 1), torch.zeros(8, dtype=torch.int64), test=test)


def test_split_needs_pairs():
    with pytest.raises(ValueError, match="3 images but 2 labels"):
        data.split(torch.zeros(3, 1), torch.zeros(2, dtype=torch.int64))


def test_scattered_digits_keep_every_pixel():
    small, y = data.digits()
    x, labels = data.scattered_digits(20)
    assert x.shape == (1797, 1, 20, 20)
    assert torch.equal(labels, y)
    assert torch.equal(x.sum((1, 2, 3)), small.sum((1, 2, 3)))
    i = 17
    rows, columns = x[i, 0].nonzero().T
    inner_rows, inner_columns = small[i, 0].nonzero().T
    top, left = int(rows.min() - inner_rows.min()), int(columns.min() - inner_columns.min())
    assert torch.equal(x[i, 0, top : top + 8, left : left + 8], small[i, 0])


def test_scattered_digits_use_every_place_and_only_the_places_asked_for():
    one = data.Labelled(torch.ones(1, 1, 8, 8), torch.tensor([3]))
    x, y = data.scattered_digits(11, n=400, source=one, top=(1, 2))
    rows = {int(image[0].sum(1).nonzero()[0]) for image in x}
    columns = {int(image[0].sum(0).nonzero()[0]) for image in x}
    assert rows == {1, 2}
    assert columns == {0, 1, 2, 3}
    assert y.tolist() == [3] * 400


def test_scattered_digits_are_deterministic():
    a = data.scattered_digits(16, torch.Generator().manual_seed(4), n=20)
    b = data.scattered_digits(16, torch.Generator().manual_seed(4), n=20)
    c = data.scattered_digits(16, torch.Generator().manual_seed(5), n=20)
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.x, c.x)


def test_scattered_digits_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="smaller than a digit"):
        data.scattered_digits(7)
    with pytest.raises(ValueError, match="leaves the canvas"):
        data.scattered_digits(16, left=(0, 9))


@pytest.mark.parametrize("name", sorted(data.PHOTOS))
def test_photos_come_from_the_wheel(no_network, name):
    image = data.photo(name)
    assert image.ndim == 3
    assert image.shape[0] in (1, 3)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1


def test_photo_sizes_keep_the_proportions():
    whole = data.photo("coffee")
    assert whole.shape == (3, 400, 600)
    assert data.photo("coffee", (64, 96)).shape == (3, 64, 96)
    square = data.photo("coffee", 400)
    assert torch.allclose(square, whole[:, :, 100:500], atol=1e-6)


def test_unknown_photo_names_the_known_ones():
    with pytest.raises(ValueError, match="astronaut"):
        data.photo("lena")


def test_crops_are_pieces_of_the_image():
    image = torch.arange(12 * 9.0).reshape(1, 12, 9)
    pieces = data.crops(image, 30, 4, torch.Generator().manual_seed(0))
    assert pieces.shape == (30, 1, 4, 4)
    for piece in pieces:
        r, c = divmod(int(piece[0, 0, 0]), 9)
        assert torch.equal(piece, image[:, r : r + 4, c : c + 4])
    with pytest.raises(ValueError, match=r"\[1, 12, 9\]"):
        data.crops(image, 1, 10)


def test_full_scale_without_network_says_what_to_do(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("DLCV_DATA", str(tmp_path))
    with pytest.raises(data.MissingDataError) as caught:
        data.digits(scale="full")
    for part in ("MNIST", str(tmp_path), "python -m dlcv_lab.data mnist"):
        assert part in str(caught.value)


def test_unknown_scale():
    with pytest.raises(ValueError, match="'laptop' or 'full'"):
        data.digits(scale="huge")


def test_the_command_reports_failure(no_network, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DLCV_DATA", str(tmp_path))
    assert data.main(["cifar10"]) == 1
    assert "CIFAR10" in capsys.readouterr().err
    assert data.main(["imagenet"]) == 1
    assert "mnist" in capsys.readouterr().err


def write_idx(path, values):
    """Write the file format of MNIST: two zeros, the type, the number of axes, their lengths, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + lengths + values.numpy().tobytes())


def test_full_digits_come_from_the_cache_training_part_first(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("DLCV_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    for n, part in ((3, "train"), (2, "t10k")):
        write_idx(raw / f"{part}-images-idx3-ubyte", torch.full((n, 28, 28), 51 * n, dtype=torch.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", torch.full((n,), n, dtype=torch.uint8))
    x, y = data.digits(scale="full")
    assert x.shape == (5, 1, 28, 28)
    assert x.dtype == torch.float32
    assert y.tolist() == [3, 3, 3, 2, 2]
    torch.testing.assert_close(x[:, 0, 0, 0], torch.tensor([0.6, 0.6, 0.6, 0.4, 0.4]))


def test_colour_pictures_get_their_channels_first(monkeypatch):
    pictures = types.SimpleNamespace(data=np.zeros((4, 32, 32, 3), dtype=np.uint8), targets=[0, 9, 1, 2])
    pictures.data[..., 2] = 255
    monkeypatch.setattr(data, "_torchvision", lambda name, train: pictures)
    x, y = data.cifar10("test")
    assert x.shape == (4, 3, 32, 32)
    assert x[:, 2].min() == 1 > x[:, :2].max()
    assert y.tolist() == [0, 9, 1, 2]
    with pytest.raises(ValueError, match="'train' and 'test'"):
        data.cifar10("all")
