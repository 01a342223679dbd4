"""Exercises of notebook 2: the three pieces of the variational autoencoder's loss."""

import math

import torch
from torch.distributions import Independent, Normal, kl_divergence

from autograder.declare import Exercise, alternative, case, mistaken, slip
from dlcv_lab.checking import probing

DOUBLE = torch.float64


def draw_cases(d):
    def draw(group, note, *shape, dtype=torch.float32, spread=1.0):
        parts = {name: d.normal(*shape, dtype=dtype) for name in ("mu", "logvar", "eps")}
        parts["logvar"] = spread * parts["logvar"]
        return case(group, note, **parts)

    return [
        draw("value", "4 codes of 2 numbers", 4, 2),
        draw("value", "3 codes of 5 numbers, variances large and small", 3, 5, spread=3.0),
        draw("gradient", "gradients of mean and log variance", 3, 4),
        case("edge", "no noise: the mean", mu=d.normal(3, 2), logvar=d.normal(3, 2), eps=torch.zeros(3, 2)),
        case("edge", "log variance -50: next to no spread", mu=d.normal(2, 3), logvar=torch.full((2, 3), -50.0),
             eps=d.normal(2, 3)),
        draw("edge", "float64", 2, 3, dtype=DOUBLE),
    ]  # fmt: skip


def draw_gradient(ns, data):
    value, (mu, logvar, eps) = probing.gradients(ns.reparameterize, [data["mu"], data["logvar"], data["eps"]])
    return {"z": value, "gradient of mu": mu, "gradient of logvar": logvar, "gradient of eps": eps}


def draw_library(data):
    return torch.distributions.AffineTransform(data["mu"], data["logvar"].exp().sqrt())(data["eps"])


def reparameterize__root(mu, logvar, eps):
    return torch.addcmul(mu, logvar.exp().sqrt(), eps)


def reparameterize__power(mu, logvar, eps):
    return eps * math.e ** (logvar / 2) + mu


REPARAMETERIZE = Exercise(
    name="reparameterize",
    methods=("ch07/vae",),
    core=True,
    groups={"value": 0.5, "gradient": 0.5, "edge": 0.5},
    cases=draw_cases,
    probe={"gradient": draw_gradient},
    oracle=draw_library,
    minutes=6,
    difficulty="easy",
    good_for="the one line that lets a gradient through a dice roll",
    alternatives=(alternative(reparameterize__root), alternative(reparameterize__power)),
    misconceptions=(
        slip("variance", {"(0.5 * logvar).exp()": "logvar.exp()"},
             "You multiply the noise by the variance. sigma is its root: exp(logvar / 2).",
             "card trap: exp(logvar) used as sigma"),
        slip("log_as_sigma", {"(0.5 * logvar).exp()": "logvar"},
             "You multiply the noise by the log variance. Undo the log: sigma = exp(logvar / 2).",
             "student mistake: log not undone"),
        slip("detached", {"(0.5 * logvar).exp()": "(0.5 * logvar).detach().exp()"},
             "No gradient reaches logvar. Do not detach: that the noise comes from outside is the whole trick.",
             "student mistake: sampling under no_grad"),
        slip("own_noise", {"* eps": "* torch.randn_like(eps)"},
             "You draw noise of your own. Use eps, which whoever calls has drawn.", "student mistake: eps ignored"),
        slip("minus", {"mu + (0.5 * logvar)": "mu + (-0.5 * logvar)"},
             "Your spread shrinks as logvar grows: exp(-logvar / 2) is 1 / sigma.", "student mistake: sign"),
    ),
    hints=(
        "If the log of the variance is 2, what is the variance, and what is its root?",
        "sigma = exp(logvar / 2); stretch the noise by it, then move it by mu.",
        "return mu + (0.5 * logvar).exp() * eps",
    ),
)  # fmt: skip


def kl_cases(d):
    flat = d.normal(4, 3)
    return [
        case("value", "4 codes of 3 numbers", mu=flat, logvar=d.normal(4, 3)),
        case("value", "codes that are maps: 2 x 3 x 2 numbers", mu=d.normal(2, 2, 3, 2), logvar=d.normal(2, 2, 3, 2)),
        case("gradient", "gradients of mean and log variance", mu=d.normal(3, 2), logvar=d.normal(3, 2)),
        case("edge", "the prior itself: 0", mu=torch.zeros(2, 4), logvar=torch.zeros(2, 4)),
        case("edge", "one code, far away", mu=50 * d.normal(1, 3), logvar=5 * d.normal(1, 3)),
        case("edge", "log variance -50", mu=d.normal(2, 2), logvar=torch.full((2, 2), -50.0)),
        case("edge", "float64", mu=d.normal(3, 2, dtype=DOUBLE), logvar=d.normal(3, 2, dtype=DOUBLE)),
    ]


def kl_gradient(ns, data):
    value, (mu, logvar) = probing.gradients(ns.kl_std_normal, [data["mu"], data["logvar"]])
    return {"kl": value, "gradient of mu": mu, "gradient of logvar": logvar}


def kl_library(data):
    mu, sigma = data["mu"], (0.5 * data["logvar"]).exp()
    axes = mu.ndim - 1
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return kl_divergence(Independent(Normal(mu, sigma), axes), Independent(prior, axes))


def kl_std_normal__by_sigma(mu, logvar):
    sigma = torch.exp(logvar / 2)
    each = (mu * mu + sigma * sigma - 1) / 2 - torch.log(sigma)
    return each.reshape(len(mu), -1).sum(dim=1)


def kl_std_normal__paper(mu, logvar):
    axes = tuple(range(1, mu.ndim))
    return -0.5 * torch.sum(1 + logvar - mu**2 - torch.exp(logvar), dim=axes)


def kl_std_normal__other_way(mu, logvar):
    each = 0.5 * (logvar + (1 + mu.square()) / logvar.exp() - 1)
    return each.flatten(1).sum(1)


KL_STD_NORMAL = Exercise(
    name="kl_std_normal",
    methods=("ch07/vae",),
    core=True,
    groups={"value": 1.0, "gradient": 0.5, "edge": 1.0},
    cases=kl_cases,
    probe={"gradient": kl_gradient},
    oracle=kl_library,
    minutes=12,
    difficulty="easy",
    good_for="a distance between distributions that needs no sampling",
    alternatives=(alternative(kl_std_normal__by_sigma), alternative(kl_std_normal__paper)),
    misconceptions=(
        slip("no_half", {"0.5 * (mu.square()": "1.0 * (mu.square()"},
             "Your KL is exactly twice as large: the factor 1/2 is missing.", "student mistake: factor"),
        slip("mean", {".sum(1)": ".mean(1)"},
             "You average over the numbers of the code. The KL of independent numbers is the SUM of theirs.",
             "card trap: sums and means mixed"),
        slip("last_axis", {"each.flatten(1).sum(1)": "each.sum(-1)"},
             "You sum over the last axis only. Codes may be maps: sum over all axes but the first.",
             "student mistake: one axis"),
        slip("sign", {"mu.square() + logvar.exp() - 1 - logvar": "1 + logvar - mu.square() - logvar.exp()"},
             "Your KL is negative. It is never below 0: turn the sign.", "card trap: KL sign"),
        slip("no_one", {" - 1 - logvar": " - logvar"},
             "At the prior itself the KL is 0, yours is not: subtract 1 for every number.",
             "student mistake: constant forgotten"),
        slip("variance_as_log", {"logvar.exp() - 1 - logvar": "logvar.exp() - 1 - logvar / 2"},
             "log sigma^2 is logvar itself, not half of it: the half stands in front of the bracket already.",
             "student mistake: log sigma for log sigma^2"),
        slip("logvar_as_log_sigma", {"logvar.exp() - 1 - logvar": "(2 * logvar).exp() - 1 - 2 * logvar"},
             "You read logvar as log sigma. It is the log of the variance: sigma^2 = exp(logvar).",
             "student mistake: log sigma for log sigma^2"),
        slip("over_batch", {".sum(1)": ".sum()"},
             "You sum over the pictures, too. Return one KL a picture.", "student mistake: one number for a batch"),
        mistaken(kl_std_normal__other_way,
                 "You compute KL(N(0, I) || N(mu, sigma^2)), the other direction. The first one is the encoder's.",
                 "card trap: KL direction"),
    ),
    hints=(
        "What is it for mu = 0 and sigma = 1? And for mu = 2, sigma = 1?",
        "Each number of the code adds (mu^2 + sigma^2 - 1 - log sigma^2) / 2, and log sigma^2 is what you are given.",
        "return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)",
    ),
)  # fmt: skip


def elbo_cases(d):
    def pictures(group, note, *shape, sigma=0.2, dtype=torch.float32, **other):
        x, x_hat = (d.uniform(*shape, dtype=dtype) for _ in range(2))
        return case(
            group,
            note,
            **({"x": x, "x_hat": x_hat} | other),
            kl=d.uniform(shape[0], low=0.5, high=5, dtype=dtype),
            sigma=sigma,
        )

    same = d.uniform(2, 1, 3, 3)
    return [
        pictures("value", "3 faces of 4x4 pixels", 3, 1, 4, 4),
        pictures("value", "2 rows of 6 pixels, sigma 0.5", 2, 6, sigma=0.5),
        pictures("gradient", "gradients of the drawn picture and of the KL", 3, 1, 3, 3, sigma=0.3),
        pictures("edge", "drawn without a mistake", 2, 1, 3, 3, sigma=0.1, x=same, x_hat=same.clone()),
        pictures("edge", "sigma 1", 2, 3, 2, 2, sigma=1.0),
        pictures("edge", "one picture, float64", 1, 1, 5, 4, dtype=DOUBLE),
    ]  # fmt: skip


def elbo_gradient(ns, data):
    def loss(x_hat, kl):
        answer = probing.call(ns.negative_elbo, data["x"], x_hat, kl, data["sigma"])
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise probing.Unusable("(loss, log_px_z) is expected; your code returns something else")
        return answer[0]

    value, (x_hat, kl) = probing.gradients(loss, [data["x_hat"], data["kl"]])
    return {"loss": value, "gradient of x_hat": x_hat, "gradient of kl": kl}


def elbo_library(data):
    density = Normal(data["x_hat"], data["sigma"])
    log_px_z = Independent(density, data["x"].ndim - 1).log_prob(data["x"])
    return data["kl"].mean() - log_px_z.mean(), log_px_z


def negative_elbo__library(x, x_hat, kl, sigma):
    log_px_z = torch.distributions.Normal(x_hat, sigma).log_prob(x).flatten(1).sum(1)
    return torch.mean(kl - log_px_z), log_px_z


def negative_elbo__constant_apart(x, x_hat, kl, sigma):
    pixels = x[0].numel()
    error = ((x_hat - x) ** 2).reshape(len(x), -1).sum(dim=1)
    log_px_z = -error / (2 * sigma * sigma) - pixels * math.log(sigma * (2 * math.pi) ** 0.5)
    return kl.mean() - log_px_z.mean(), log_px_z


def negative_elbo__constants_once(x, x_hat, kl, sigma):
    error = (x - x_hat).square().flatten(1).sum(1)
    log_px_z = -error / (2 * sigma**2) - math.log(sigma) - math.log(2 * math.pi) / 2
    return (kl - log_px_z).mean(), log_px_z


NEGATIVE_ELBO = Exercise(
    name="negative_elbo",
    methods=("ch07/vae",),
    core=True,
    groups={"value": 1.5, "gradient": 0.5, "edge": 1.0},
    cases=elbo_cases,
    probe={"gradient": elbo_gradient},
    oracle=elbo_library,
    returns=("loss", "log_px_z"),
    minutes=15,
    difficulty="medium",
    good_for="two terms in one unit, so that they may be added",
    alternatives=(alternative(negative_elbo__library), alternative(negative_elbo__constant_apart)),
    misconceptions=(
        slip("mean_over_pixels", {"math.log(2 * math.pi)).sum(1)": "math.log(2 * math.pi)).mean(1)"},
             "You average over the pixels but the KL is a sum: that weighs the KL as many times too much as there are "
             "pixels. log p(x|z) is a SUM over the pixels.", "card trap: mean over pixels, sum over the code"),
        slip("sum_over_pictures", {"(kl - log_px_z).mean()": "(kl - log_px_z).sum()"},
             "You add up over the pictures. The loss is their mean.", "student mistake: sum for mean"),
        slip("sign", {"(kl - log_px_z)": "(kl + log_px_z)"},
             "Your loss rewards bad drawings. It is the KL MINUS log p(x|z).", "student mistake: sign"),
        slip("gain", {"(kl - log_px_z)": "(log_px_z - kl)"},
             "You return the bound itself, which is to grow. A loss is to shrink: turn its sign.",
             "student mistake: ELBO for minus ELBO"),
        slip("not_squared", {"(2 * sigma**2)": "(2 * sigma)"},
             "Divide the squared error by twice the VARIANCE, sigma squared.", "student mistake: sigma for sigma^2"),
        slip("no_half", {"(2 * sigma**2)": "sigma**2"},
             "The Gaussian has a 1/2 in its exponent: divide by 2 sigma^2.", "student mistake: factor"),
        slip("no_log_sigma", {" + math.log(sigma)": ""},
             "The term -log sigma of each pixel is missing: without it no two values of sigma can be compared.",
             "student mistake: normalisation forgotten"),
        slip("no_pi", {" + 0.5 * math.log(2 * math.pi)": ""},
             "The term -log(2 pi) / 2 of each pixel is missing.", "library difference: gaussian_nll_loss(full=False)"),
        slip("sign_of_log", {"return (kl - log_px_z).mean(), log_px_z": "return (kl - log_px_z).mean(), -log_px_z"},
             "Your second part is minus log p(x|z). Return log p(x|z) itself.", "student mistake: sign"),
        slip("error_alone", {" + math.log(sigma) + 0.5 * math.log(2 * math.pi)": ""},
             "Both constants are missing: every pixel adds -log(sigma) - log(2 pi) / 2 as well.",
             "student mistake: squared error for log density"),
        mistaken(negative_elbo__constants_once,
                 "You add -log(sigma) - log(2 pi) / 2 once a picture. Every pixel has a density of its own: add them "
                 "once a PIXEL.", "student mistake: constants outside the sum"),
    ),
    hints=(
        "What is the log density of one pixel under a Gaussian with mean x_hat and deviation sigma?",
        "For one pixel: -(x - x_hat)^2 / (2 sigma^2) - log(sigma) - log(2 pi) / 2. Sum over all axes but the first.",
        "log_px_z = -((x - x_hat).square() / (2 * sigma**2) + math.log(sigma) + 0.5 * math.log(2 * math.pi))"
        ".flatten(1).sum(1); return (kl - log_px_z).mean(), log_px_z",
    ),
)  # fmt: skip
