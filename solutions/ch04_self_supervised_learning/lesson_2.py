"""Two views of one picture: contrastive losses, losses without negatives, and how a collapse is seen.

Notebook 2 of chapter 4. Axes: N pictures, D numbers of a projection z, M pairs.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def random_view(
    x: Float[Tensor, "N 3 H W"],
    rng: torch.Generator,
    *,
    crop: float = 0.4,
    jitter: float = 1.0,
) -> Float[Tensor, "N 3 H W"]:
    """Return a random view of each picture: another crop, perhaps mirrored, recoloured.

    A crop holds at least the share `crop` of the area. Colours are turned around the
    grey axis by up to `jitter` half turns, made brighter or darker, and one picture in
    five becomes grey; 0 leaves them alone.
    """
    N = len(x)
    side = (crop + (1 - crop) * torch.rand(N, generator=rng)).sqrt()
    move = (1 - side)[:, None] * (2 * torch.rand(N, 2, generator=rng) - 1)
    flip = torch.randint(2, (N,), generator=rng) * 2 - 1.0
    theta = torch.zeros(N, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = flip * side, side, move
    places = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, places, padding_mode="reflection", align_corners=False)

    angle = math.pi * jitter * (2 * torch.rand(N, 1, 1, generator=rng) - 1)
    grey, eye = torch.full((3, 3), 1 / 3), torch.eye(3)
    turn = torch.tensor([[0, -1.0, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix = grey + angle.cos() * (eye - grey) + angle.sin() * turn  # (N, 3, 3)
    fade = (torch.rand(N, 1, 1, generator=rng) < 0.2 * min(jitter, 1)).float()
    matrix = fade * grey + (1 - fade) * matrix
    matrix = matrix * (1 + 0.4 * jitter * (2 * torch.rand(N, 1, 1, generator=rng) - 1))
    return torch.einsum("ncij,nkc->nkij", x, matrix).clamp(0, 1)


def to_patches(
    x: Float[Tensor, "N C H W"],
    size: int,
    stride: int,
) -> Float[Tensor, "N G G C size size"]:
    """Cut a picture into a grid of overlapping patches, row by row."""
    return x.unfold(2, size, stride).unfold(3, size, stride).permute(0, 2, 3, 1, 4, 5)


def causal_mean(z: Float[Tensor, "N G G D"]) -> Float[Tensor, "N G G D"]:
    """Return the context: at each place the mean of its column down to its own row."""
    rows = torch.arange(1, z.shape[1] + 1, device=z.device).reshape(-1, 1, 1)
    return z.cumsum(1) / rows


def info_nce(
    pred: Float[Tensor, "M D"],
    target: Float[Tensor, "M D"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return how badly each prediction finds its target among all M, on average.

    The score of prediction i and target j is pred[i] . target[j] / temperature: a plain
    dot product, nothing is normalised. Prediction i should pick target i; the other M -
    1 are its negatives. The loss is the mean over i of the softmax cross-entropy, in
    this direction only. Van den Oord et al., 2018, equation 4.
    """
    ### BEGIN SOLUTION
    scores = pred @ target.T / temperature  # (M, M), row i: one prediction
    return (scores.logsumexp(1) - scores.diagonal()).mean()
    ### END SOLUTION


def nt_xent(
    z1: Float[Tensor, "N D"],
    z2: Float[Tensor, "N D"],
    temperature: float = 0.5,
) -> Float[Tensor, ""]:
    """Return SimCLR's loss of two views of N pictures, z1[n] and z2[n] of picture n.

    All 2N rows are scaled to length 1 (a row of zeros stays as it is, as `F.normalize`
    leaves it); scores are dot products (then cosines) divided by the temperature. Each
    of the 2N views picks its partner, the other view of its picture, among the 2N - 1
    views that are not itself. The loss is the mean over all 2N of the softmax cross-
    entropy. Chen et al., ICML 2020, equation 1 and algorithm 1.
    """
    ### BEGIN SOLUTION
    N = len(z1)
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    scores = z @ z.T / temperature
    itself = torch.eye(2 * N, dtype=torch.bool, device=z.device)
    scores = scores.masked_fill(itself, -math.inf)
    partner = torch.arange(2 * N, device=z.device).roll(N)
    return F.cross_entropy(scores, partner)
    ### END SOLUTION


def byol_loss(
    p1: Float[Tensor, "N D"],
    p2: Float[Tensor, "N D"],
    t1: Float[Tensor, "N D"],
    t2: Float[Tensor, "N D"],
) -> Float[Tensor, ""]:
    """Return BYOL's loss: a prediction should point where the other view's target does.

    p1, p2 are the online network's predictions from views 1 and 2; t1, t2 the target
    network's projections of views 1 and 2. The distance of p and t is the squared
    distance of the two after scaling both to length 1, that is 2 - 2 cos(p, t). p1 is
    compared with t2 and p2 with t1; both distances are added, and the mean is taken
    over the N pictures. No gradient flows into t1 and t2. Grill et al., NeurIPS 2020,
    equation 2.
    """
    ### BEGIN SOLUTION
    p1, p2, t1, t2 = (F.normalize(v, dim=1) for v in (p1, p2, t1.detach(), t2.detach()))
    return ((p1 - t2).square().sum(1) + (p2 - t1).square().sum(1)).mean()
    ### END SOLUTION


def ema_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Let the target network follow the online network slowly; change it in place.

    Every parameter of the target becomes tau times itself plus (1 - tau) times the
    online network's; both have the same parameters in the same order. No graph is
    built. Buffers (batch norm's running statistics) stay as they are.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), online.parameters()):
            slow.copy_(tau * slow + (1 - tau) * fast)
    ### END SOLUTION


def cross_correlation(
    za: Float[Tensor, "N D"],
    zb: Float[Tensor, "N D"],
    eps: float = 1e-5,
) -> Float[Tensor, "D D"]:
    """Correlate the features of two views over the N pictures.

    Standardise every feature of each view over the N pictures: subtract its mean,
    divide by sqrt(variance + eps), the variance with 1/N. Entry (i, j) is the mean over
    the pictures of feature i of view a times feature j of view b.
    """
    ### BEGIN SOLUTION
    a = (za - za.mean(0)) / (za.var(0, unbiased=False) + eps).sqrt()
    b = (zb - zb.mean(0)) / (zb.var(0, unbiased=False) + eps).sqrt()
    return a.T @ b / len(a)
    ### END SOLUTION


def barlow_loss(c: Float[Tensor, "D D"], lam: float = 5e-3) -> Float[Tensor, ""]:
    """Return the Barlow Twins loss of a cross-correlation matrix, without changing it.

    The sum over i of (1 - c_ii)^2, plus lam times the sum of all other entries squared.
    Zbontar et al., ICML 2021, equation 1.
    """
    ### BEGIN SOLUTION
    same = c.diagonal()
    return (1 - same).square().sum() + lam * (c.square().sum() - same.square().sum())
    ### END SOLUTION


def effective_rank(z: Float[Tensor, "N D"]) -> float:
    """Say how many directions the features really use: 1 to D, and 0 for none.

    Subtract the mean of every feature. p_k is the k-th singular value of what remains
    divided by their sum; the effective rank is exp(-sum of p_k log p_k), where 0 log 0
    is 0. If all rows are the same to about 1e-6 of their size, the answer is 0.
    Roy & Vetterli, 2007.
    """
    ### BEGIN SOLUTION
    sigma = torch.linalg.svdvals(z - z.mean(0))
    if sigma.sum() <= 1e-6 * z.norm():
        return 0.0
    p = sigma / sigma.sum()
    return math.exp(-torch.special.xlogy(p, p).sum().item())
    ### END SOLUTION


def feature_std(z: Float[Tensor, "N D"]) -> float:
    """Return the mean deviation of a feature after scaling each row to length 1.

    About 1 / sqrt(D) where the rows point everywhere, 0 where they all agree.
    """
    return F.normalize(z, dim=1).std(0).mean().item()


def alignment(z1: Float[Tensor, "N D"], z2: Float[Tensor, "N D"]) -> float:
    """Return the mean squared distance of two views' unit vectors: 0 is perfect."""
    apart = F.normalize(z1, dim=1) - F.normalize(z2, dim=1)
    return apart.square().sum(1).mean().item()


def uniformity(z: Float[Tensor, "N D"], t: float = 2.0) -> float:
    """Return the log of the mean exp(-t d^2) over pairs of unit vectors: low is wide."""
    return torch.pdist(F.normalize(z, dim=1)).square().mul(-t).exp().mean().log().item()


def projection_head(kind: str, dim: int = 64, out: int = 32) -> nn.Module:
    """Return g, from h to z: "none", "linear", or "nonlinear" with a hidden layer."""
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(dim, out, bias=False)
    if kind == "nonlinear":
        last = nn.Linear(dim, out, bias=False)
        return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), last)
    raise ValueError(f'no head is called {kind!r}: "none", "linear" or "nonlinear"')
