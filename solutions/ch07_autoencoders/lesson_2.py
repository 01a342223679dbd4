"""The variational autoencoder: its loss term by term, its plane of faces, arithmetic with codes, and its limits.

Notebook 2 of chapter 7. Axes: B or N pictures, d numbers of a code, n places of a grid along each side.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dlcv_lab import world


def reparameterize(
    mu: Float[Tensor, "B d"],
    logvar: Float[Tensor, "B d"],
    eps: Float[Tensor, "B d"],
) -> Float[Tensor, "B d"]:
    """Draw a code from N(mu, sigma^2) out of noise: z = mu + sigma * eps.

    `logvar` is the log of the variance sigma^2, so sigma = exp(logvar / 2). eps is
    drawn from N(0, 1) by whoever calls. Gradients reach mu and logvar through z.
    Kingma & Welling, ICLR 2014, section 2.4.
    """
    ### BEGIN SOLUTION
    return mu + (0.5 * logvar).exp() * eps
    ### END SOLUTION


def kl_std_normal(
    mu: Float[Tensor, "B ..."],
    logvar: Float[Tensor, "B ..."],
) -> Float[Tensor, "B"]:
    """Return KL(N(mu, sigma^2) || N(0, I)) of every picture, in nats.

    The sum over ALL axes but the first of (mu^2 + sigma^2 - 1 - log sigma^2) / 2, where
    logvar is log sigma^2. Kingma & Welling, ICLR 2014, appendix B.
    """
    ### BEGIN SOLUTION
    each = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
    return each.flatten(1).sum(1)
    ### END SOLUTION


def negative_elbo(
    x: Float[Tensor, "B ..."],
    x_hat: Float[Tensor, "B ..."],
    kl: Float[Tensor, "B"],
    sigma: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, "B"]]:
    """Return the VAE's loss, and log p(x|z) of every picture.

    The decoder says: pixel i of the picture is drawn from a Gaussian with mean
    x_hat_i and standard deviation sigma, independently of the other pixels. So
    log p(x|z) is the SUM over the D pixels of the log densities, each of them
    -(x_i - x_hat_i)^2 / (2 sigma^2) - log(sigma) - log(2 pi) / 2. The loss is the MEAN
    over the B pictures of kl - log p(x|z): minus the evidence lower bound (ELBO).
    Kingma & Welling, ICLR 2014, equations 3 and 10.
    """
    ### BEGIN SOLUTION
    misses = (x - x_hat).square().flatten(1) / (2 * sigma**2)
    log_px_z = -(misses + math.log(sigma) + 0.5 * math.log(2 * math.pi)).sum(1)
    return (kl - log_px_z).mean(), log_px_z
    ### END SOLUTION


class VAE(nn.Module):
    """An autoencoder whose encoder answers with a Gaussian: a mean and a log variance.

    Pictures (B, 1, 24, 24), codes of `latent` numbers; layers as in `AutoEncoder`.
    """

    def __init__(self, latent: int = 2, hidden: int = 128, side: int = 24) -> None:
        super().__init__()
        sizes, self.side = (side * side, hidden, hidden), side
        self.encoder = self.layers(*sizes, 2 * latent)
        self.decoder = self.layers(latent, *reversed(sizes))

    @staticmethod
    def layers(fed: int, first: int, second: int, made: int) -> nn.Sequential:
        """Return three linear layers with SiLU between them."""
        two = [nn.Linear(fed, first), nn.SiLU(), nn.Linear(first, second), nn.SiLU()]
        return nn.Sequential(*two, nn.Linear(second, made))

    def encode(self, x: Tensor) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B d"]]:
        """Return mean and log variance of q(z|x)."""
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B 1 side side"]:
        """Return the mean of p(x|z)."""
        pixels = self.decoder(z).sigmoid()
        return pixels.reshape(len(z), 1, self.side, self.side)


class FaceVAE(nn.Module):
    """A convolutional VAE for colour pictures (B, 3, 32, 32); codes of 24 numbers."""

    def __init__(self, latent: int = 24) -> None:
        super().__init__()

        def down(fed: int, made: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(fed, made, 4, 2, padding=1), nn.SiLU())

        def up(fed: int, made: int) -> nn.Sequential:
            larger = nn.ConvTranspose2d(fed, made, 4, 2, padding=1)
            return nn.Sequential(nn.SiLU(), larger)

        self.encoder = nn.Sequential(
            down(3, 16), down(16, 32), down(32, 64),
            nn.Flatten(), nn.Linear(1024, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, 1024), nn.Unflatten(1, (64, 4, 4)),
            up(64, 32), up(32, 16), up(16, 3),
        )  # fmt: skip

    def encode(self, x: Tensor) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B d"]]:
        """Return mean and log variance of q(z|x)."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B 3 32 32"]:
        """Return the mean of p(x|z)."""
        return self.decoder(z).sigmoid()


def manifold_grid(
    decode: Callable[[Float[Tensor, "M 2"]], Tensor],
    n: int,
) -> tuple[Float[Tensor, "n*n ..."], Float[Tensor, "n*n 2"]]:
    """Draw the plane of a model with two numbers; return n x n pictures and codes.

    Along each axis stand n codes that share the Gaussian evenly: u_i = (i + 1/2) / n
    for i = 0 ... n - 1, pushed through the inverse of the Gaussian's distribution
    function, torch.special.ndtri. Row by row, as one reads; the FIRST number of a code
    grows from left to right, the SECOND from top to bottom. `decode` is called once,
    with all n * n codes (float32), and draws the pictures.
    """
    ### BEGIN SOLUTION
    z = torch.special.ndtri((torch.arange(n) + 0.5) / n)
    rows, columns = torch.meshgrid(z, z, indexing="ij")
    codes = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
    return decode(codes), codes
    ### END SOLUTION


def draw_album(
    n: int,
    seed: int,
    *,
    moved: float = 0.05,
    emotions: tuple[str, ...] = ("amusement", "anger", "awe", "sadness"),
    glasses: float = 0.5,
) -> tuple[Float[Tensor, "N 3 32 32"], Int[Tensor, "N 3"]]:
    """Draw n colour faces; return them and emotion, glasses (0 or 1) and skin.

    Faces are off the middle by up to `moved` of the width, in any of eight skins.
    """
    plain = {"grounds": ("white",), "sizes": (0.42, 0.42), "spread": 0.05}
    look = plain | {"skins": world.SKINS, "emotions": emotions, "glasses": glasses}
    faces = world.sample_faces(n, seed, **look)
    at = torch.rand(2, n, generator=torch.Generator().manual_seed(seed))
    faces = faces.replace(**dict(zip("xy", 0.5 + moved * (2 * at - 1))))
    labels = torch.stack([faces.emotion, faces.glasses.long(), faces.skin], dim=1)
    return world.render_faces(faces, 32), labels


def latent_analogy(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    decode: Callable[[Tensor], Tensor],
    a_prime: Float[Tensor, "P C H W"],
    a: Float[Tensor, "Q C H W"],
    b: Float[Tensor, "N C H W"],
) -> Float[Tensor, "N C H W"]:
    """Draw b as a_prime is to a: decode the code of b + mean of a_prime - mean of a.

    `encode(x)` returns mean and log variance of the codes; the means are the codes that
    count, and no noise is drawn. P, Q and N may differ: average the codes of a_prime,
    and those of a, over their pictures, then move every code of b by the difference.
    Nothing is trained here: the answer carries no graph.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        there, here, start = (encode(x)[0] for x in (a_prime, a, b))
        return decode(start + there.mean(0) - here.mean(0))
    ### END SOLUTION


def active_units(mu: Float[Tensor, "N d"], threshold: float = 1e-2) -> int:
    """Count the numbers of a code that say something about the picture.

    mu holds the means of the codes of N pictures. A unit is active where its variance
    over the pictures (divide by N) is larger than the threshold. Burda et al., ICLR
    2016, appendix C.
    """
    ### BEGIN SOLUTION
    return int((mu.var(0, unbiased=False) > threshold).sum())
    ### END SOLUTION


def sharpness(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N"]:
    """Return how sharp each picture is: the mean square of its Laplacian.

    The Laplacian of a pixel is the sum of its four neighbours (above, below, left,
    right) minus four times itself, for each channel by itself and only where all four
    neighbours exist. The mean runs over these (H - 2)(W - 2) places and the channels.
    """
    ### BEGIN SOLUTION
    upright = x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1]
    sideways = x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:]
    laplacian = upright + sideways - 4 * x[:, :, 1:-1, 1:-1]
    return laplacian.square().mean((1, 2, 3))
    ### END SOLUTION
