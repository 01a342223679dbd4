"""The chapter's models, trained by the reference longer than a lesson can.

`train_*` of the claims use the same losses with fewer steps and other seeds.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch07_autoencoders as ours

SEED, FACES, HELD_OUT = 7_000, 71, 72
SIGMA, FINE = 0.2, 0.1  # noise of a pixel, for the grey faces and for the album
DIVISORS = (8, 2, 8)  # emotions, glasses or none, skins
Loss = Callable[[int], Tensor]


def picked(x: Tensor, seed: int, step: int, n: int = 128) -> tuple[Tensor, torch.Generator]:
    """Return the pictures of one step, and the generator of its other draws."""
    rng = step_generator(seed, step)
    return x[torch.randint(len(x), (n,), generator=rng)], rng


def squares(model: nn.Module, x: Tensor, seed: int) -> Loss:
    """Return the loss of an autoencoder: the squared error, summed over the pixels."""

    def loss(step: int) -> Tensor:
        batch, _ = picked(x, seed, step)
        return (model(batch)[0] - batch).square().flatten(1).sum(1).mean()

    return loss


def bound(model: nn.Module, x: Tensor, seed: int, sigma: float, n: int = 128) -> Loss:
    """Return the loss of a variational autoencoder."""

    def loss(step: int) -> Tensor:
        batch, rng = picked(x, seed, step, n)
        mu, logvar = model.encode(batch)
        z = ours.reparameterize(mu, logvar, torch.randn(mu.shape, generator=rng))
        return ours.negative_elbo(batch, model.decode(z), ours.kl_std_normal(mu, logvar), sigma)[0]

    return loss


class Judge(nn.Module):
    """Read emotion, glasses and skin off a colour face: (N, 3, 32, 32) to scores (N, 8 + 2 + 8)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fed, made in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(fed, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, sum(DIVISORS)))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def album(n: int = 8000, seed: int = FACES) -> tuple[Tensor, Tensor]:
    return ours.draw_album(n, seed)


@torch.no_grad()
def drawn_again(model: nn.Module, x: Tensor) -> float:
    """Return the mean squared error of a pixel, codes at their means."""
    z = model.encode(x)
    return float(F.mse_loss(model.decode(z if isinstance(z, Tensor) else z[0]), x))


ERROR = {"mse": "mean squared error of a pixel of 1000 held-out pictures drawn again, codes at their means"}
GREY = "4000 grey faces of 24x24 pixels, 128 a step"
ALBUM = "8000 colour faces of 32x32 pixels of four emotions, with and without glasses, {} a step"
LIMITS = "It has seen the world's faces, and no others."


def grey(model: nn.Module, make: Callable[..., Loss], *rest: float) -> Training:
    x, held_out = ours.draw_faces(4000, FACES)[0], ours.draw_faces(1000, HELD_OUT)[0]
    return Training(model, make(model, x, SEED, *rest), lambda: {"mse": drawn_again(model, held_out)})


PLAIN = {"steps": 4000, "lr": 3e-3, "seed": SEED, "figures": ERROR, "data": GREY, "limits": LIMITS}
FEW = PLAIN | {"steps": 2500}


@recipe(**PLAIN, tolerance={"mse": 0.001})
def autoencoder() -> Training:
    """An autoencoder with two numbers."""
    return grey(ours.AutoEncoder(2), squares)


@recipe(**PLAIN, tolerance={"mse": 0.001})
def vae() -> Training:
    """A variational autoencoder with two numbers, sigma = 0.2."""
    return grey(ours.VAE(2), bound, SIGMA)


@recipe(**FEW)
def vae_005() -> Training:
    """A variational autoencoder with eight numbers, sigma = 0.05."""
    return grey(ours.VAE(8), bound, 0.05)


@recipe(**FEW)
def vae_020() -> Training:
    """A variational autoencoder with eight numbers, sigma = 0.2."""
    return grey(ours.VAE(8), bound, 0.2)


@recipe(**FEW)
def vae_080() -> Training:
    """A variational autoencoder with eight numbers, sigma = 0.8."""
    return grey(ours.VAE(8), bound, 0.8)


@recipe(**FEW)
def vae_320() -> Training:
    """A variational autoencoder with eight numbers, sigma = 3.2."""
    return grey(ours.VAE(8), bound, 3.2)


@recipe(steps=4000, lr=2e-3, seed=SEED, data=ALBUM.format(64), limits=LIMITS, figures=ERROR, tolerance={"mse": 0.001})
def face_vae() -> Training:
    """A convolutional variational autoencoder of colour faces."""
    model = ours.FaceVAE()
    x, held_out = album()[0], album(1000, HELD_OUT)[0]
    return Training(model, bound(model, x, SEED, FINE, 64), lambda: {"mse": drawn_again(model, held_out)})


@recipe(
    steps=400, lr=3e-3, seed=SEED, data=ALBUM.format(128), limits=LIMITS, least={"emotion": 0.95},
    figures={k: f"accuracy for the {k}, 1000 held-out faces" for k in ("emotion", "glasses", "skin")},
)  # fmt: skip
def face_judge() -> Training:
    """A classifier that reads emotion, glasses and skin off a face."""
    model, (x, y), (held_out, truth) = Judge(), album(), album(1000, HELD_OUT)

    def loss(step: int) -> Tensor:
        chosen = torch.randint(len(x), (128,), generator=step_generator(SEED, step))
        scores = model(x[chosen]).split(DIVISORS, dim=1)
        return torch.stack([F.cross_entropy(s, y[chosen, k]) for k, s in enumerate(scores)]).sum()

    def measure() -> dict[str, float]:
        scores = model(held_out).split(DIVISORS, dim=1)
        right = [float((s.argmax(1) == truth[:, k]).float().mean()) for k, s in enumerate(scores)]
        return dict(zip(("emotion", "glasses", "skin"), right, strict=True))

    return Training(model, loss, measure)
