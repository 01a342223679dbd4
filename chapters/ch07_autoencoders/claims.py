"""Measured claims of chapter 7. Explored on the seeds 0 to 5; conditions and thresholds were fixed, then measured.

Where a claim speaks of the chapter's checkpoints, its seeds draw pictures and codes; where it trains, weights as well.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from autograder.declare.claim import Claim
from autograder.declare.kept import kept
from chapters.ch07_autoencoders import recipes
from dlcv_lab import fit, seed, world, zoo
from solutions import ch07_autoencoders as ours

SEEDS = (20, 21, 22)
CHECKPOINT = "The chapter's checkpoints; faces and codes drawn anew by each seed; "
SIGMAS = (0.05, 0.2, 0.8, 3.2)


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def generator(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def loaded(name: str, module: nn.Module) -> nn.Module:
    zoo.checkpoint(f"ch07/{name}", into=module)
    return module.eval()


def junk(x: Tensor, n: int) -> dict[str, Tensor]:
    """Return pictures that are no faces: negatives, turned, with shuffled pixels, other things."""
    order = torch.randperm(576, generator=generator(n))
    grey = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return {
        "negatives": 1 - x,
        "turned": x.flip(2),
        "shuffled": x.flatten(1)[:, order].reshape(x.shape),
        "things": (world.icons(len(x), n, size=24).images * grey).sum(1, keepdim=True),
    }


@kept
def rejecting(n: int) -> dict[str, float]:
    """Return how well p(x) and a softmax's confidence tell faces from junk, and how many junk pictures each accepts."""
    seed(n)
    (x, y, _), (real, names, _) = ours.draw_faces(2000, 100 + n), ours.draw_faces(600, 200 + n)
    softmax = nn.Sequential(nn.Flatten(), nn.Linear(576, 8))
    fit(softmax, (x, y), lr=3e-2, steps=1000, progress=False, generator=generator(n))
    mu, var, log_py = ours.fit_gaussians(x.flatten(1), y, 8)

    @torch.no_grad()
    def read(pictures: Tensor) -> tuple[Tensor, ...]:
        likely = ours.log_likelihood(pictures.flatten(1), mu, var)
        return softmax(pictures).softmax(1), *ours.bayes_classifier(likely, log_py)

    limit = read(x)[2].quantile(0.01)
    found, strange = read(real[:300]), junk(real[300:], n)
    rest = [read(pictures) for pictures in strange.values()]
    truth = [1] * 300 + [0] * sum(len(r[2]) for r in rest)
    confidence = torch.cat([found[0].amax(1), *[r[0].amax(1) for r in rest]])
    evidence = torch.cat([found[2], *[r[2] for r in rest]])
    return {
        "softmax right": float((found[0].argmax(1) == names[:300]).float().mean()),
        "Gaussians right": float((found[1].argmax(1) == names[:300]).float().mean()),
        "AUROC of confidence": float(roc_auc_score(truth, confidence)),
        "AUROC of p(x)": float(roc_auc_score(truth, evidence)),
        "negatives named with 0.9": float((rest[0][0].amax(1) > 0.9).float().mean()),
        "junk rejected": float((evidence[300:] < limit).float().mean()),
    }


def competing(_: int) -> dict[str, float]:
    """Sum the three kinds of probability over all black and white pictures of 3x3 pixels."""
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 9)
    ink = 0.1 + 0.8 * torch.rand(3, 9, dtype=torch.float64, generator=generator(0))
    log_px_y = (every[:, None] * ink.log() + (1 - every[:, None]) * (1 - ink).log()).sum(2)
    log_py_x, log_px = ours.bayes_classifier(log_px_y, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64).log())
    return {
        "p(y|x) over labels, from 1": float((log_py_x.exp().sum(1) - 1).abs().max()),
        "p(x) over pictures, from 1": abs(float(log_px.exp().sum()) - 1),
        "p(x|y) over pictures, from 1": float((log_px_y.exp().sum(0) - 1).abs().max()),
    }


@torch.no_grad()
def squeezing(n: int) -> dict[str, float]:
    """Return the error of drawing new faces again from two numbers."""
    x, held_out = ours.draw_faces(2000, 300 + n)[0], ours.draw_faces(500, 400 + n)[0]
    model = loaded("autoencoder", ours.AutoEncoder(2))
    linear = {d: float(F.mse_loss(ours.pca_reconstruct(x, held_out, d), held_out)) for d in (2, 8)}
    return {"autoencoder, 2": recipes.drawn_again(model, held_out), "PCA, 2": linear[2], "PCA, 8": linear[8]}


@kept
def straight(n: int) -> dict[str, float]:
    """Train a linear autoencoder with four numbers to the end; return its error and that of PCA on the same faces."""
    seed(n)
    x = F.avg_pool2d(ours.draw_faces(500, 500 + n)[0], 3).flatten(1)
    x = x - x.mean(0)
    model = nn.Sequential(nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False))
    solver = torch.optim.LBFGS(model.parameters(), max_iter=2000, tolerance_change=1e-14, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = (model(x) - x).square().sum(1).mean()
        loss.backward()
        return loss

    solver.step(closure)
    error = (model(x) - x).square().sum(1).mean().item()
    pca = PCA(4).fit(x.numpy())
    best = torch.from_numpy(pca.inverse_transform(pca.transform(x.numpy()))).float()
    return {"over PCA": error / float((best - x).square().sum(1).mean())}


@torch.no_grad()
def drawing(n: int) -> dict[str, float]:
    """Return what random codes of autoencoder and VAE are drawn as, and how both draw faces again."""
    x, held_out = ours.draw_faces(2000, 600 + n)[0], ours.draw_faces(1000, 700 + n)[0]
    plain, model = loaded("autoencoder", ours.AutoEncoder(2)), loaded("vae", ours.VAE(2))
    noise, z = torch.randn(1000, 2, generator=generator(n)), plain.encode(x)
    kind = z.mean(0) + noise * z.std(0)

    def apart(pictures: Tensor) -> Tensor:
        return torch.cdist(pictures.flatten(1), x.flatten(1)).amin(1)

    limit = apart(held_out).quantile(0.99)
    found = {"autoencoder": plain.decode(kind), "VAE": model.decode(noise)}
    strange = {f"strange, {k}": float((apart(made) > limit).float().mean()) for k, made in found.items()}
    lonely = ours.hole_score(z, kind)
    odd = apart(found["autoencoder"]) > limit
    return strange | {
        "hole score, strange": float(lonely[odd].median()),
        "hole score, others": float(lonely[~odd].median()),
        "error, autoencoder": recipes.drawn_again(plain, held_out),
        "error, VAE": recipes.drawn_again(model, held_out),
    }


def touching(_: int) -> dict[str, float]:
    """Compare the ELBO of probabilistic PCA with the log likelihood that torch computes."""
    rng = generator(1)
    W = torch.linalg.qr(torch.randn(6, 2, generator=rng, dtype=torch.float64))[0] * torch.tensor([2.0, 1.0]).double()
    s, x = 0.3, torch.randn(40, 6, generator=rng, dtype=torch.float64)
    truth = torch.distributions.LowRankMultivariateNormal(
        torch.zeros(6).double(), W, torch.full((6,), s**2, dtype=torch.float64)
    )
    M = W.T @ W + s**2 * torch.eye(2, dtype=torch.float64)  # diagonal, for the columns of W are orthogonal

    def elbo(moved: float, wider: float) -> Tensor:
        mu = x @ W @ torch.linalg.inv(M) + moved
        var = (s**2 / M.diagonal() * wider).expand_as(mu)
        _, log_px_z = ours.negative_elbo(x, mu @ W.T, torch.zeros(40).double(), s)
        spread = (var[:, None] * W.square()).sum((1, 2)) / (2 * s**2)  # the mean over z of what the draw adds
        return log_px_z - spread - ours.kl_std_normal(mu, var.log())

    gap = [truth.log_prob(x) - elbo(*away) for away in ((0.0, 1.0), (0.2, 1.0), (0.0, 2.0))]
    return {
        "gap at the true posterior": float(gap[0].abs().max()),
        "least gap, moved": float(gap[1].min()),
        "least gap, wider": float(gap[2].min()),
    }


@torch.no_grad()
def walking(n: int) -> dict[str, float]:
    """Return how well a straight rule reads the mouth off two numbers, and how alike neighbours on the sheet are."""
    model = loaded("vae", ours.VAE(2))
    x, _, mouth = ours.draw_faces(1000, 800 + n)
    mu = torch.cat([model.encode(x)[0], torch.ones(1000, 1)], 1)
    rule = torch.linalg.lstsq(mu[:500], mouth[:500, None]).solution
    told = (mu[500:] @ rule)[:, 0]
    sheet = ours.manifold_grid(model.decode, 13)[0].flatten(1).reshape(13, 13, -1)
    order = torch.randperm(169, generator=generator(n))
    steps = float((sheet[:, 1:] - sheet[:, :-1]).square().mean())
    return {
        "correlation": float(torch.corrcoef(torch.stack([told, mouth[500:]]))[0, 1]),
        "neighbours over any two": steps / float((sheet.flatten(0, 1)[order] - sheet.flatten(0, 1)).square().mean()),
    }


def warping(n: int) -> dict[str, float]:
    """Push Gaussian numbers into an exponential distribution; return Kolmogorov's distance, and the ring's rim."""
    z = torch.randn(4000, dtype=torch.float64, generator=generator(n))
    x = -torch.log1p(-torch.special.ndtr(z))
    sorted_u = (1 - torch.exp(-x)).sort().values
    even = torch.arange(1, 4001) / 4000
    points = torch.randn(4000, 2, generator=generator(n))
    ring = points / 10 + F.normalize(points, dim=1)
    return {
        "Kolmogorov distance": float((sorted_u - even).abs().max()),
        "least radius of the ring": float(ring.norm(dim=1).min()),
    }


@torch.no_grad()
def adding(n: int) -> dict[str, float]:
    """Return how many faces get glasses and keep emotion and skin, by codes and by pixels, mean of four tries."""
    model, judge = loaded("face_vae", ours.FaceVAE()), loaded("face_judge", recipes.Judge())
    b, truth = ours.draw_album(200, 900 + n, glasses=0.0)
    wanted = truth.clone()
    wanted[:, 1] = 1

    def worked(pictures: Tensor) -> float:
        found = torch.stack([s.argmax(1) for s in judge(pictures).split(recipes.DIVISORS, dim=1)], 1)
        return float((found == wanted).all(1).float().mean())

    found: dict[str, float] = {}
    for size in (1, 32):
        codes, pixels = [], []
        for k in range(4):
            with_them = ours.draw_album(size, 2000 + 100 * n + 2 * k, glasses=1.0)[0]
            without = ours.draw_album(size, 2001 + 100 * n + 2 * k, glasses=0.0)[0]
            codes.append(worked(ours.latent_analogy(model.encode, model.decode, with_them, without, b)))
            pixels.append(worked((b + with_them.mean(0) - without.mean(0)).clamp(0, 1)))
        found |= {f"codes, {size}": mean(codes), f"pixels, {size}": mean(pixels)}
    return found


@torch.no_grad()
def blurring(n: int) -> dict[str, float]:
    """Return the sharpness of drawn faces, in units of real ones'."""
    model = loaded("vae", ours.VAE(2))
    x = ours.draw_faces(1000, 1000 + n)[0]
    real = float(ours.sharpness(x).mean())
    made = model.decode(torch.randn(1000, 2, generator=generator(n)))
    again = model.decode(model.encode(x)[0])
    return {
        "drawn anew": float(ours.sharpness(made).mean()) / real,
        "again": float(ours.sharpness(again).mean()) / real,
    }


@kept
def collapsing(n: int) -> dict[str, float]:
    """Train VAEs that expect more and more noise; return units in use, KL and error."""
    x, held_out = ours.draw_faces(2000, 1100 + n)[0], ours.draw_faces(500, 1200 + n)[0]
    found = {}
    for sigma in SIGMAS:
        seed(n)
        model = ours.VAE(8)
        loss, adam = recipes.bound(model, x, n, sigma), torch.optim.Adam(model.parameters(), 2e-3)
        for step in range(600):
            value = loss(step)
            adam.zero_grad()
            value.backward()
            adam.step()
        with torch.no_grad():
            mu, logvar = model.encode(held_out)
            found |= {
                f"units, {sigma}": float(ours.active_units(mu)),
                f"KL, {sigma}": float(ours.kl_std_normal(mu, logvar).mean()),
                f"error, {sigma}": float(F.mse_loss(model.decode(mu), held_out)),
            }
    return found


def averaging(_: int) -> dict[str, float]:
    """Let one code stand for a line at either of two places; return how the best picture differs from their mean."""
    line = torch.zeros(2, 1, 5, 5)
    line[0, 0, :, 1] = line[1, 0, :, 3] = 1
    drawn = torch.full((1, 1, 5, 5), 0.3).requires_grad_()
    solver = torch.optim.SGD([drawn], lr=5.0)
    for _step in range(200):
        loss = F.mse_loss(drawn.expand(2, -1, -1, -1), line)
        solver.zero_grad()
        loss.backward()
        solver.step()
    return {
        "from the mean": float((drawn.detach() - line.mean(0)).abs().max()),
        "sharpness over a line's": float(ours.sharpness(drawn.detach()) / ours.sharpness(line[:1])),
    }


def falls(v: dict[str, list[float]], what: str, *, strictly: bool) -> bool:
    values = [mean(v[f"{what}, {sigma}"]) for sigma in SIGMAS]
    return all(a > b if strictly else a >= b for a, b in pairwise(values))


CLAIMS = [
    Claim(
        id="competition", methods=("ch07/model_taxonomy",),
        says="Labels compete for mass in p(y|x), images in p(x), and images once per label in p(x|y)",
        source="slides 'Conditional Generative Model: Learn p(x|y)'",
        analogue="All 512 black and white pictures of 3x3 pixels, three classes.",
        conditions="Independent pixels; every sum in float64.",
        threshold="each sum is 1, to 1e-12", measure=competing,
        holds=lambda v: max(max(x) for x in v.values()) < 1e-12, exact=True,
    ),
    Claim(
        id="rejection", methods=("ch07/model_taxonomy",),
        says="A generative model can reject unreasonable inputs by assigning them small values",
        source="slides 'Conditional Generative Model: Learn p(x|y)'",
        analogue="Eight Gaussians fitted to faces meet negatives, faces upside down, shuffled pixels and other things.",
        conditions="2000 faces; rejected is what is less likely than 99 % of them; 300 of each kind of junk.",
        threshold="AUROC of p(x) at least 0.95 and above that of softmax's confidence; 95 % of junk rejected",
        measure=rejecting, seeds=SEEDS,
        holds=lambda v: (
            mean(v["AUROC of p(x)"]) >= 0.95
            and all(a > b for a, b in zip(v["AUROC of p(x)"], v["AUROC of confidence"]))
            and mean(v["junk rejected"]) >= 0.95
        ),
    ),
    Claim(
        id="no-rejection", methods=("ch07/model_taxonomy",),
        says="A discriminative model has no way to handle unreasonable inputs: it must give label distributions for "
        "all images",
        source="slides 'Conditional Generative Model: Learn p(x|y)'",
        analogue="Softmax on raw pixels, as good at naming emotions as the Gaussians, meets negatives of faces.",
        conditions="Linear classifier, Adam 3e-2, 1000 steps, 2000 faces.",
        threshold="right within 2 points of the Gaussians; at least 30 % of negatives named with more than 0.9",
        measure=rejecting, seeds=SEEDS,
        holds=lambda v: (
            abs(mean(v["softmax right"]) - mean(v["Gaussians right"])) <= 0.02
            and mean(v["negatives named with 0.9"]) >= 0.3
        ),
        reason="A linear classifier of 576 pixels keeps its scores small on much that it has not seen, so confidence "
        "is a fair detector here (figure 'AUROC of confidence'), if a worse one than p(x). That softmax must label "
        "everything is exact (claim 'competition'); that it is sure of it depends on the start of the weights.",
    ),
    Claim(
        id="few-numbers", methods=("ch07/ae",),
        says="Latent variables as deep representations: a nonlinear code beats a linear one of the same size",
        source="slide 'GenAI? Let's Start from Autoencoder'; hinton2006reducing, figure 2",
        analogue="New faces drawn again from two numbers, and by PCA from two and from eight.",
        conditions=CHECKPOINT + "2000 faces for PCA, 500 new ones.",
        threshold="error at most 0.8 of PCA's with two numbers, and below PCA's with eight",
        measure=squeezing, seeds=SEEDS,
        holds=lambda v: (
            mean(v["autoencoder, 2"]) <= 0.8 * mean(v["PCA, 2"]) and mean(v["autoencoder, 2"]) < mean(v["PCA, 8"])
        ),
    ),
    Claim(
        id="linear-is-pca", methods=("ch07/ae",),
        says="A linear autoencoder does no better than PCA, and as well when trained to the end",
        source="hinton2006reducing, introduction",
        analogue="64 pixels to 4 numbers and back, without bias, centred faces.",
        conditions="500 faces of 8x8 pixels; L-BFGS, at most 2000 steps; error over scikit-learn's PCA.",
        threshold="between 1 - 1e-4 and 1.02", measure=straight, seeds=SEEDS,
        holds=lambda v: all(1 - 1e-4 <= x <= 1.02 for x in v["over PCA"]),
    ),
    Claim(
        id="holes", methods=("ch07/ae_limitation",),
        says="The limitation of an autoencoder: codes of our own choice are not drawn as faces",
        source="slide 'What's the Limitation of Autoencoder?'",
        analogue="1000 random codes with the mean and deviation of the real ones.",
        conditions=CHECKPOINT + "strange is what is farther from 2000 faces than 99 % of 1000 new faces.",
        threshold="at least 20 % strange; their median hole score is larger than that of the others",
        measure=drawing, seeds=SEEDS,
        holds=lambda v: (
            mean(v["strange, autoencoder"]) >= 0.2
            and all(a > b for a, b in zip(v["hole score, strange"], v["hole score, others"]))
        ),
    ),
    Claim(
        id="holes-close", methods=("ch07/vae",),
        says="Now z is a distribution, easy to sample from",
        source="slide 'From Autoencoder to Variational Autoencoder'; kingma2014auto",
        analogue="The same noise given to the VAE's decoder.",
        conditions=CHECKPOINT + "as for the autoencoder.",
        threshold="at most a third of the autoencoder's share is strange", measure=drawing, seeds=SEEDS,
        holds=lambda v: mean(v["strange, VAE"]) <= mean(v["strange, autoencoder"]) / 3,
    ),
    Claim(
        id="price", methods=("ch07/vae",),
        says="A VAE gives up reconstruction for codes that can be sampled",
        source="kingma2014auto, equation 3: the KL is a price on codes",
        analogue="New faces drawn again by both, codes at their means.",
        conditions=CHECKPOINT + "1000 new faces.",
        threshold="the VAE's error is more than 1.5 times the autoencoder's", measure=drawing, seeds=SEEDS,
        holds=lambda v: mean(v["error, VAE"]) > 1.5 * mean(v["error, autoencoder"]),
        reason="With two numbers and a pixel noise of 0.2 the clouds are small against the islands: the price is paid "
        "in nats, and hardly in pixels. It is paid in pixels where sigma is larger (claim 'collapse').",
    ),
    Claim(
        id="bound", methods=("ch07/vae",),
        says="The ELBO is a lower bound on log p(x), and equal to it where q is the true posterior",
        source="kingma2014auto, equation 1; tipping1999probabilistic",
        analogue="Probabilistic PCA with orthogonal columns, whose posterior and likelihood are known.",
        conditions="Six pixels, two numbers, float64; likelihood from torch.distributions.LowRankMultivariateNormal.",
        threshold="gap below 1e-10 at the posterior, above 0.01 beside it",
        measure=touching, exact=True,
        holds=lambda v: (
            v["gap at the true posterior"][0] < 1e-10
            and v["least gap, moved"][0] > 0.01 and v["least gap, wider"][0] > 0.01
        ),
    ),
    Claim(
        id="manifold", methods=("ch07/vae_manifold",),
        says="Learned manifold: the two numbers follow what changes in a face",
        source="slide 'Example Results: (a) Learned Frey Face manifold'; kingma2014auto, figure 4",
        analogue="How far a mouth is turned up, read off the two numbers by a straight rule; neighbours on the sheet.",
        conditions=CHECKPOINT + "rule from 500 faces, correlation on 500 others; sheet of 13x13.",
        threshold="correlation above 0.8; neighbours differ at most a third as much as any two",
        measure=walking, seeds=SEEDS,
        holds=lambda v: mean(v["correlation"]) > 0.8 and mean(v["neighbours over any two"]) <= 1 / 3,
    ),
    Claim(
        id="gaussian-suffices", methods=("ch07/vae_manifold",),
        says="Why a Gaussian distribution is sufficient: a function makes any other of it",
        source="slide 'Limitation of VAE?'; doersch2016tutorial, figure 2",
        analogue="Gaussian numbers pushed into an exponential distribution, and a plane's into a ring.",
        conditions="4000 numbers a seed.",
        threshold="Kolmogorov distance below 1.63 / sqrt(4000), the 1 % limit; no point of the ring inside radius 1",
        measure=warping, seeds=SEEDS,
        holds=lambda v: (
            max(v["Kolmogorov distance"]) < 1.63 / math.sqrt(4000) and min(v["least radius of the ring"]) >= 1
        ),
    ),
    Claim(
        id="arithmetic", methods=("ch07/latent_arithmetic",),
        says="A' - A + B = B': an attribute is a direction, and several examples make it",
        source="slide 'Example Results: A' - A + B = B''; radford2016unsupervised, section 6.3.2",
        analogue="Glasses put on 200 bare faces; judged by a classifier that must also find emotion and skin kept.",
        conditions=CHECKPOINT + "1 and 32 faces on each side, mean of four draws.",
        threshold="at least 0.7 with 32, and 0.1 more than with 1", measure=adding, seeds=SEEDS,
        holds=lambda v: mean(v["codes, 32"]) >= 0.7 and mean(v["codes, 32"]) - mean(v["codes, 1"]) >= 0.1,
    ),
    Claim(
        id="beats-pixels", methods=("ch07/latent_arithmetic",),
        says="Arithmetic with codes is more than arithmetic with pixels, where faces move",
        source="radford2016unsupervised, figure 7 (pixels shown beside)",
        analogue="The same sum taken of the pictures themselves.",
        conditions=CHECKPOINT + "faces up to 0.05 of the width off the middle; 32 on each side.",
        threshold="at least 0.1 more", measure=adding, seeds=SEEDS,
        holds=lambda v: mean(v["codes, 32"]) - mean(v["pixels, 32"]) >= 0.1,
    ),
    Claim(
        id="blur", methods=("ch07/vae_limits",),
        says="Pictures of a VAE are blurred",
        source="slide 'Limitation of VAE?'",
        analogue="Mean squared Laplacian of faces drawn anew, over that of real ones.",
        conditions=CHECKPOINT + "1000 of each.",
        threshold="below 0.7", measure=blurring, seeds=SEEDS,
        holds=lambda v: mean(v["drawn anew"]) < 0.7,
    ),
    Claim(
        id="mean-picture", methods=("ch07/vae_limits",),
        says="Where one code stands for two pictures, squared error draws their mean",
        source="the minimum of a squared error; slide 'Limitation of VAE?'",
        analogue="A line at either of two places, drawn by gradient descent on both at once.",
        conditions="5x5 pixels, 200 steps.",
        threshold="equal to the mean to 1e-5, and 0.6 times as sharp as a line",
        measure=averaging, exact=True,
        holds=lambda v: v["from the mean"][0] < 1e-5 and abs(v["sharpness over a line's"][0] - 0.6) < 1e-4,
    ),
    Claim(
        id="collapse", methods=("ch07/vae_limits",),
        says="Posterior collapse: where the decoder expects enough noise, no number of the code is in use",
        source="burda2016importance, appendix C; slide 'Limitation of VAE?'",
        analogue="Units in use, KL and error over the decoder's sigma.",
        conditions="Eight numbers; sigma 0.05, 0.2, 0.8, 3.2; 600 steps of Adam 2e-3, 2000 faces.",
        threshold="units never rise and end at 0, the KL falls and the error rises at every step",
        measure=collapsing, seeds=SEEDS, cheap=False,
        holds=lambda v: (
            falls(v, "units", strictly=False) and max(v["units, 3.2"]) == 0 and falls(v, "KL", strictly=True)
            and not any(
                mean(v[f"error, {a}"]) >= mean(v[f"error, {b}"]) for a, b in pairwise(SIGMAS)
            )
        ),
    ),
]  # fmt: skip
