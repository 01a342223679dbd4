"""Models of labels and models of pictures; the autoencoder, and the holes between its codes.

Notebook 1 of chapter 7. Axes: N pictures, D pixels, K classes, d numbers of a code, M codes asked about.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dlcv_lab import world


def draw_faces(
    n: int,
    seed: int,
) -> tuple[Float[Tensor, "N 1 24 24"], Int[Tensor, "N"], Float[Tensor, "N"]]:
    """Draw n grey faces of eight emotions; return them, the emotions and the mouths.

    Every face is as large as the others and in the middle; no two of one emotion make
    quite the same face. A mouth is a number: how far its corners are turned up.
    """
    look = {"grounds": ("white",), "spread": 0.15, "sizes": (0.46, 0.46)}
    faces = world.sample_faces(n, seed, **look).replace(x=0.5, y=0.5)
    colour = world.render_faces(faces, 24)
    grey = colour.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    mouth = faces.features[:, world.FEATURES.index("curve")]
    return (colour * grey).sum(1, keepdim=True), faces.emotion, mouth


def fit_gaussians(
    x: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    num_classes: int,
    floor: float = 1e-2,
) -> tuple[Float[Tensor, "K D"], Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Fit one Gaussian a class; return means, variances and log shares of the classes.

    Pixels are independent inside a class: every pixel has a mean and a variance of its
    own. The variance is the mean squared deviation from the class mean (divide by the
    number of pictures of the class, not by one less), and `floor` is ADDED to it: a
    pixel that never changes would make every other picture impossible. The share of a
    class is its number of pictures divided by N.

    Raises:
        ValueError: a class has no picture.
    """
    ### BEGIN SOLUTION
    mu, var, count = [], [], torch.bincount(y, minlength=num_classes)
    if (count == 0).any():
        raise ValueError(f"a class has no picture: {count.tolist()}")
    for label in range(num_classes):
        mine = x[y == label]
        mu.append(mine.mean(0))
        var.append(mine.var(0, unbiased=False) + floor)
    return torch.stack(mu), torch.stack(var), (count.to(x.dtype) / len(y)).log()
    ### END SOLUTION


def log_likelihood(
    x: Float[Tensor, "N D"],
    mu: Float[Tensor, "K D"],
    var: Float[Tensor, "K D"],
) -> Float[Tensor, "N K"]:
    """Return log p(x|y): the log density of every picture under every class."""
    density = torch.distributions.Normal(mu, var.sqrt())
    return torch.stack([density.log_prob(one).sum(1) for one in x])


def bayes_classifier(
    log_px_y: Float[Tensor, "N K"],
    log_py: Float[Tensor, "K"],
) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N"]]:
    """Turn a model of pictures into one of labels; return log p(y|x) and log p(x).

    log_px_y holds log p(x|y), log_py the log shares of the classes. Then p(x) is the
    sum over y of p(x|y) p(y), and p(y|x) = p(x|y) p(y) / p(x). Log densities may lie in
    the thousands, below or above zero, where exp gives 0 or infinity: stay in logs. A
    class with share 0 has log_py = -inf; its log p(y|x) is -inf, the others' finite.
    """
    ### BEGIN SOLUTION
    joint = log_px_y + log_py
    log_px = joint.logsumexp(1)
    return joint - log_px[:, None], log_px
    ### END SOLUTION


class AutoEncoder(nn.Module):
    """Write pictures as few numbers, and draw them again from these alone.

    `encoder` and `decoder` are each an nn.Sequential: Linear, SiLU, Linear, SiLU,
    Linear. The encoder goes from side * side pixels to `hidden`, `hidden` and `latent`
    numbers, and nothing follows its last layer; the decoder goes the same way back, and
    nn.Sigmoid follows its last layer, so that pixels lie between 0 and 1.
    """

    def __init__(self, latent: int = 2, hidden: int = 128, side: int = 24) -> None:
        super().__init__()
        self.side = side
        ### BEGIN SOLUTION
        self.encoder = nn.Sequential(
            nn.Linear(side * side, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, side * side), nn.Sigmoid(),
        )  # fmt: skip
        ### END SOLUTION

    def encode(self, x: Float[Tensor, "N 1 side side"]) -> Float[Tensor, "N d"]:
        """Return the codes z. Pictures may lie in memory in any order."""
        ### BEGIN SOLUTION
        return self.encoder(x.flatten(1))
        ### END SOLUTION

    def decode(self, z: Float[Tensor, "N d"]) -> Float[Tensor, "N 1 side side"]:
        """Return pictures drawn from codes, which need not come from `encode`."""
        ### BEGIN SOLUTION
        return self.decoder(z).unflatten(1, (1, self.side, self.side))
        ### END SOLUTION

    def forward(
        self,
        x: Float[Tensor, "N 1 side side"],
    ) -> tuple[Float[Tensor, "N 1 side side"], Float[Tensor, "N d"]]:
        """Return the pictures drawn again, and their codes."""
        ### BEGIN SOLUTION
        z = self.encode(x)
        return self.decode(z), z
        ### END SOLUTION


def pca_reconstruct(
    train: Float[Tensor, "N 1 H W"],
    x: Float[Tensor, "M 1 H W"],
    d: int,
) -> Float[Tensor, "M 1 H W"]:
    """Draw pictures again from d numbers in the best linear way there is.

    The numbers are the coordinates along the d directions in which the training
    pictures differ most: principal component analysis.
    """
    centre = train.flatten(1).mean(0)
    _, _, directions = torch.linalg.svd(train.flatten(1) - centre, full_matrices=False)
    z = (x.flatten(1) - centre) @ directions[:d].T
    return (z @ directions[:d] + centre).reshape(x.shape)


def hole_score(
    codes: Float[Tensor, "N d"],
    query: Float[Tensor, "M d"],
    k: int = 3,
) -> Float[Tensor, "M"]:
    """Return how far from all codes each query lies: 1 is usual, more is a hole.

    The score is the distance (Euclidean) from a query to the k-th nearest code, divided
    by what is usual: the median, over the N codes, of the distance to the k-th nearest
    OTHER code. Another code at the very same place counts as one. torch.median, which
    takes the lower of two middle values, is meant.

    Raises:
        ValueError: there are no k other codes.
    """
    ### BEGIN SOLUTION
    if not 0 < k < len(codes):
        raise ValueError(f"{len(codes)} codes have no {k} other codes each")
    exact = "donot_use_mm_for_euclid_dist"
    among = torch.cdist(codes, codes, compute_mode=exact)  # (N, N), 0 to itself
    usual = among.kthvalue(k + 1, dim=1).values.median()
    far = torch.cdist(query, codes, compute_mode=exact).kthvalue(k, dim=1)
    return far.values / usual
    ### END SOLUTION


def interpolate(
    z0: Float[Tensor, "d"],
    z1: Float[Tensor, "d"],
    n: int,
    mode: str = "lerp",
) -> Float[Tensor, "n d"]:
    """Walk from one code to another in n stops, both ends included (n >= 2).

    "lerp" walks straight: (1 - t) z0 + t z1, for t from 0 to 1 in equal steps. "slerp"
    walks on an arc: with the angle a between the two vectors,
    sin((1 - t) a) / sin(a) z0 + sin(t a) / sin(a) z1 (Shoemake 1985). Where the two
    point along one line, in the same or in opposite directions (the cosine of the angle
    is within 1e-6 of 1 or -1), or one of them is zero, "slerp" walks straight as well.

    Raises:
        ValueError: another mode, or n below 2.
    """
    if mode not in ("lerp", "slerp") or n < 2:
        raise ValueError(f"no walk of {n} stops by {mode!r}")
    t = torch.linspace(0, 1, n, dtype=z0.dtype, device=z0.device)[:, None]  # (n, 1)
    ### BEGIN SOLUTION
    straight = (1 - t) * z0 + t * z1
    cosine = F.cosine_similarity(z0, z1, dim=0)
    alone = not (z0.any() and z1.any())
    if mode == "lerp" or alone or cosine.abs() > 1 - 1e-6:
        return straight
    a = cosine.acos()
    return ((1 - t) * a).sin() / a.sin() * z0 + (t * a).sin() / a.sin() * z1
    ### END SOLUTION
