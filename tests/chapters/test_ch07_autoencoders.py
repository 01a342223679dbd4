"""Chapter 7 against libraries and exact properties, and its prose against its own cells.

Most functions have an oracle beside their exercise (tests/chapters/test_oracles.py); here are the others, and what an
oracle does not say: limits, invariances, half precision.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from sklearn.decomposition import PCA
from sklearn.naive_bayes import GaussianNB
from torch import nn
from torch.distributions import LowRankMultivariateNormal

from autograder.base import paths
from autograder.chapter import lesson as lessons
from chapters.ch07_autoencoders import recipes
from dlcv_lab import zoo
from solutions import ch07_autoencoders as ours

SLUG = "ch07_autoencoders"


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(mine, theirs, **kwargs):
    torch.testing.assert_close(mine, theirs, **({"rtol": 1e-9, "atol": 1e-9} | kwargs))


@pytest.mark.method("ch07/model_taxonomy")
def test_gaussians_and_bayes_are_scikit_learns_naive_bayes():
    x, y = draw(60, 5), torch.arange(60) % 3
    mu, var, log_py = ours.fit_gaussians(x, y, 3, floor=0.05)
    theirs = GaussianNB(var_smoothing=0.05 / x.var(0, unbiased=False).max().item()).fit(x.numpy(), y.numpy())
    log_py_x, log_px = ours.bayes_classifier(ours.log_likelihood(x, mu, var), log_py)
    close(log_py_x, torch.from_numpy(theirs.predict_log_proba(x.numpy())))
    joint = theirs.predict_joint_log_proba(x.numpy())
    close(log_px, torch.from_numpy(joint).logsumexp(1))


@pytest.mark.method("ch07/model_taxonomy")
def test_p_of_y_given_x_sums_to_one_and_survives_extremes():
    for shift in (-1e5, 0.0, 1e5):
        log_py_x, log_px = ours.bayes_classifier(draw(7, 4) + shift, draw(4).log_softmax(0))
        close(log_py_x.exp().sum(1), torch.ones(7).double())
        assert log_px.isfinite().all()
    log_py_x, _ = ours.bayes_classifier(draw(3, 2), torch.tensor([1.0, 0.0]).double().log())
    close(log_py_x[:, 0], torch.zeros(3).double())
    assert (log_py_x[:, 1] == -math.inf).all()


@pytest.mark.method("ch07/ae")
def test_the_linear_baseline_is_scikit_learns_pca():
    train, x = draw(50, 1, 4, 4), draw(20, 1, 4, 4, seed=1)
    theirs = PCA(5).fit(train.flatten(1).numpy())
    again = theirs.inverse_transform(theirs.transform(x.flatten(1).numpy()))
    close(ours.pca_reconstruct(train, x, 5), torch.from_numpy(again).reshape(x.shape))
    close(ours.pca_reconstruct(train, x, 16), x)


@pytest.mark.method("ch07/ae")
def test_the_autoencoder_has_the_layers_it_says_and_a_narrow_place():
    model = ours.AutoEncoder(2, hidden=128, side=24)
    sizes = [576, 128, 128, 2, 128, 128, 576]
    wanted = sum(a * b + b for a, b in pairwise(sizes))
    assert sum(p.numel() for p in model.parameters()) == wanted
    x = draw(3, 1, 24, 24, dtype=torch.float32).sigmoid()
    again, z = model(x)
    assert again.shape == x.shape
    assert z.shape == (3, 2)
    assert torch.equal(again, model.decode(z))  # nothing passes beside the code
    assert again.min() >= 0
    assert again.max() <= 1


@pytest.mark.method("ch07/ae_limitation")
def test_hole_scores_do_not_change_under_moves_turns_and_scales():
    codes, query = draw(40, 2), 2 * draw(10, 2, seed=1)
    score = ours.hole_score(codes, query)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    close(ours.hole_score(5 * codes @ turn + 3, 5 * query @ turn + 3), score)
    grid = torch.cartesian_prod(*[torch.arange(20.0)] * 2)
    assert ours.hole_score(grid, grid[:5] + 0.0, k=1).abs().max() == 0
    assert ours.hole_score(grid, torch.tensor([[30.0, 0.0]]), k=1) == 11


@pytest.mark.method("ch07/ae_limitation")
def test_an_arc_keeps_length_and_speed_and_both_walks_reach_their_ends():
    a, b = F.normalize(draw(2, 9), dim=1)
    arc = ours.interpolate(a, b, 11, "slerp")
    close(arc.norm(dim=1), torch.ones(11).double())
    cosines = (arc[1:] * arc[:-1]).sum(1)
    close(cosines, cosines[:1].expand(10))
    for mode in ("lerp", "slerp"):
        way = ours.interpolate(3 * a, b, 4, mode)
        close(way[[0, -1]], torch.stack([3 * a, b]))
    straight = ours.interpolate(a, -a, 5, "slerp")
    close(straight, torch.linspace(1, -1, 5).double()[:, None] * a)
    with pytest.raises(ValueError, match="stops"):
        ours.interpolate(a, b, 1)


@pytest.mark.method("ch07/vae")
def test_the_kl_is_diffusers_and_zero_only_at_the_prior():
    mu, logvar = draw(3, 4, 2, 2), draw(3, 4, 2, 2, seed=1)
    theirs = DiagonalGaussianDistribution(torch.cat([mu, logvar], dim=1))
    close(ours.kl_std_normal(mu, logvar), theirs.kl())
    assert (ours.kl_std_normal(mu, logvar) > 0).all()
    assert ours.kl_std_normal(torch.zeros(2, 3), torch.zeros(2, 3)).abs().max() == 0
    for logvar in (-50.0, 50.0):
        assert ours.kl_std_normal(torch.zeros(1, 2), torch.full((1, 2), logvar)).isfinite().all()


@pytest.mark.method("ch07/vae")
def test_a_drawn_code_has_the_mean_and_spread_asked_for_and_its_gradients():
    mu, logvar, eps = (draw(2, 3, seed=k).requires_grad_() for k in range(3))
    z = ours.reparameterize(mu, logvar, eps)
    slopes = torch.autograd.grad(z.sum(), (mu, logvar))
    close(slopes[0], torch.ones_like(mu))
    close(slopes[1], eps * (0.5 * logvar).exp() / 2)
    many = ours.reparameterize(torch.full((100_000, 1), 3.0), torch.full((100_000, 1), math.log(4.0)),
                               draw(100_000, 1, dtype=torch.float32))  # fmt: skip
    assert abs(float(many.mean()) - 3) < 0.03
    assert abs(float(many.std()) - 2) < 0.03


@pytest.mark.method("ch07/vae")
def test_with_the_true_posterior_a_single_draw_tells_log_p_of_x_exactly():
    W = torch.linalg.qr(draw(6, 2))[0] * torch.tensor([2.0, 0.7]).double()
    s, x = 0.4, draw(5, 6, seed=1)
    truth = LowRankMultivariateNormal(torch.zeros(6).double(), W, torch.full((6,), s**2, dtype=torch.float64)).log_prob(
        x
    )
    M = (W.T @ W).diagonal() + s**2
    mu, logvar = x @ W / M, (s**2 / M).log().expand(5, 2)
    for seed in range(3):
        eps = draw(5, 2, seed=seed)
        z = ours.reparameterize(mu, logvar, eps)
        ratio = (-0.5 * eps.square() - 0.5 * logvar + 0.5 * z.square()).sum(1)  # log q(z|x) - log p(z)
        _, log_px_z = ours.negative_elbo(x, z @ W.T, torch.zeros(5).double(), s)
        close(log_px_z - ratio, truth)


@pytest.mark.method("ch07/vae")
def test_the_loss_is_torchs_gaussian_loss_and_works_in_half_precision():
    x, x_hat, kl = draw(4, 1, 3, 3), draw(4, 1, 3, 3, seed=1), draw(4, seed=2).exp()
    loss, log_px_z = ours.negative_elbo(x, x_hat, kl, 0.3)
    theirs = F.gaussian_nll_loss(x_hat, x, torch.full_like(x, 0.09), full=True, reduction="none")
    close(-log_px_z, theirs.flatten(1).sum(1))
    close(loss, (kl - log_px_z).mean())
    half = ours.negative_elbo(x.bfloat16(), x_hat.bfloat16(), kl.bfloat16(), 0.3)[0]
    assert half.dtype == torch.bfloat16
    assert abs(float(half) - float(loss)) < 0.03 * abs(float(loss))


@pytest.mark.method("ch07/vae_manifold")
def test_the_grid_stands_on_scipys_quantiles_in_reading_order():
    pictures, codes = ours.manifold_grid(lambda z: z[:, 0] + 10 * z[:, 1], 5)
    z = torch.from_numpy(scipy.stats.norm.ppf((np.arange(5) + 0.5) / 5)).float()
    torch.testing.assert_close(codes[:5, 0], z)
    torch.testing.assert_close(codes[::5, 1], z)
    assert (codes[:5, 1] == codes[0, 1]).all()
    torch.testing.assert_close(pictures, codes[:, 0] + 10 * codes[:, 1])
    assert ours.manifold_grid(lambda z: z, 1)[1].abs().max() == 0


@pytest.mark.method("ch07/latent_arithmetic")
def test_with_a_linear_decoder_arithmetic_of_codes_is_that_of_pictures():
    q, _ = torch.linalg.qr(draw(16, 16))
    a_prime, a, b = (draw(n, 1, 4, 4, seed=n) for n in (3, 5, 2))
    encode = lambda x: (x.flatten(1) @ q, torch.zeros(len(x), 16))  # noqa: E731
    decode = lambda z: (z @ q.T).reshape(-1, 1, 4, 4)  # noqa: E731
    close(ours.latent_analogy(encode, decode, a_prime, a, b), b + a_prime.mean(0) - a.mean(0))
    close(ours.latent_analogy(encode, decode, a, a, b), b)


@pytest.mark.method("ch07/latent_arithmetic")
def test_the_album_draws_what_it_is_asked_for():
    x, labels = ours.draw_album(64, 3, glasses=1.0, emotions=("awe",))
    assert x.shape == (64, 3, 32, 32)
    assert labels[:, 1].all()
    assert len(labels[:, 0].unique()) == 1
    judge = recipes.Judge()
    zoo.checkpoint("ch07/face_judge", into=judge)
    with torch.no_grad():
        found = torch.stack([s.argmax(1) for s in judge.eval()(x).split(recipes.DIVISORS, dim=1)], 1)
    assert (found == labels).float().mean() > 0.98


@pytest.mark.method("ch07/vae_limits")
def test_units_are_counted_by_variance_and_walls_and_slopes_are_not_sharp():
    assert ours.active_units(torch.full((9, 4), 7.0)) == 0
    assert ours.active_units(draw(1000, 6)) == 6
    wall, down = torch.full((1, 1, 6, 6), 0.7), torch.arange(6.0)[:, None].expand(1, 3, 6, 6)
    assert ours.sharpness(wall).abs().max() < 1e-12
    assert ours.sharpness(down) == 0
    x = draw(2, 3, 8, 8)
    stencil = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).double().expand(3, 1, 3, 3)
    close(ours.sharpness(x), F.conv2d(x, stencil, groups=3).square().mean((1, 2, 3)))
    close(ours.sharpness(2 * x + 5), 4 * ours.sharpness(x))


@pytest.mark.method("ch07/vae")
def test_notebook_2_draws_the_faces_of_notebook_1_and_one_decoder_fits_both():
    lesson = lessons.read(paths.chapters() / SLUG / "lesson_2.md")
    text = next(cell.source for cell in lesson.cells if "def grey_faces" in cell.source)
    given = text[text.index("def grey_faces") : text.index("EMOTIONS =")]
    from dlcv_lab import world

    names = {"world": world, "torch": torch}
    exec(given, names)
    for mine, theirs in zip(names["grey_faces"](20, 5), ours.draw_faces(20, 5), strict=True):
        assert torch.equal(mine, theirs)
    plain = nn.ModuleDict({"encoder": ours.VAE.layers(576, 128, 128, 2), "decoder": ours.VAE.layers(2, 128, 128, 576)})
    model = ours.AutoEncoder(2)
    for module in (plain, model):
        zoo.checkpoint("ch07/autoencoder", into=module)
    z = draw(4, 2, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(plain["decoder"](z).sigmoid().reshape(4, 1, 24, 24), model.decode(z))
