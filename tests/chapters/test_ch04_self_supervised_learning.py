"""Chapter 4 against official code's numbers, libraries and exact properties, and its prose against its own cells.

Most functions have an oracle beside their exercise (tests/chapters/test_oracles.py); here are the others. The golden
files say which code gave their numbers; where the chapter follows a paper and a code differs, both are held.
"""

import copy
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autograder.base import paths
from autograder.chapter import lesson as lessons
from dlcv_lab import count_params, pictures, world
from solutions import ch04_self_supervised_learning as ours

SLUG = "ch04_self_supervised_learning"
GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name):
    """Return the inputs and the outputs of one golden file."""
    found = json.loads((GOLDEN / f"ssl_{name}.json").read_text(encoding="utf-8"))
    sides = []
    for side in ("inputs", "outputs"):
        table = found[side]
        sides.append(
            {
                k: torch.tensor(v["values"], dtype=getattr(torch, v["dtype"])).reshape(v["shape"])
                for k, v in table.items()
            }
        )
    return sides


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def exact(number):
    return torch.tensor(number, dtype=torch.float64)


def close(mine, theirs, **kwargs):
    torch.testing.assert_close(mine, theirs, **({"rtol": 1e-9, "atol": 1e-9} | kwargs))


def with_gradients(function, *inputs):
    leaves = [t.clone().requires_grad_() for t in inputs]
    value = function(*leaves)
    return value.detach(), torch.autograd.grad(value, leaves)


@pytest.mark.method("ch04/simclr")
def test_nt_xent_equals_the_public_code_and_half_of_googles():
    given, wanted = golden("simclr")
    z = given["z"]
    value, slopes = with_gradients(lambda z: ours.nt_xent(z[:4], z[4:], 0.5), z)
    close(value, wanted["loss"])
    close(slopes[0], wanted["grad_z"])
    a, b = F.normalize(z[:4], dim=1), F.normalize(z[4:], dim=1)
    labels, own = torch.arange(4), torch.eye(4, dtype=torch.bool)
    loss_a = F.cross_entropy(torch.cat([a @ b.T / 0.5, (a @ a.T / 0.5).masked_fill(own, -1e9)], 1), labels)
    loss_b = F.cross_entropy(torch.cat([b @ a.T / 0.5, (b @ b.T / 0.5).masked_fill(own, -1e9)], 1), labels)
    close(loss_a + loss_b, 2 * wanted["loss"])  # the TensorFlow code's objective


@pytest.mark.method("ch04/simclr")
def test_nt_xent_is_log_of_the_others_where_all_agree_and_zero_for_one_picture():
    for n in (2, 64):
        same = draw(1, 5).expand(n, 5)
        for temperature in (0.05, 0.5, 7.0):
            close(ours.nt_xent(same, same, temperature), exact(math.log(2 * n - 1)), atol=1e-7)
    assert ours.nt_xent(draw(1, 3), draw(1, 3, seed=1)) == 0
    a, b = draw(6, 4), draw(6, 4, seed=1)
    close(ours.nt_xent(a, b), ours.nt_xent(b, a))
    close(ours.nt_xent(a * torch.rand(6, 1, dtype=torch.float64).add(0.1), 1e6 * b), ours.nt_xent(a, b))


@pytest.mark.method("ch04/simclr", "ch04/cpc", "ch04/byol", "ch04/barlow_twins")
def test_half_precision_is_near_and_a_nan_is_not_hidden():
    a, b = draw(8, 6, dtype=torch.float32), draw(8, 6, seed=1, dtype=torch.float32)
    losses = {
        "info_nce": ours.info_nce,
        "nt_xent": ours.nt_xent,
        "byol": lambda a, b: ours.byol_loss(a, b, b, a),
        "barlow": lambda a, b: ours.barlow_loss(ours.cross_correlation(a, b)),
    }
    for name, loss in losses.items():
        for kind, off in ((torch.bfloat16, 6e-2), (torch.float16, 1e-2)):
            torch.testing.assert_close(loss(a.to(kind), b.to(kind)).float(), loss(a, b), rtol=off, atol=off, msg=name)
        broken = a.clone()
        broken[2, 1] = math.nan
        assert loss(broken, b).isnan(), name


@pytest.mark.method("ch04/cpc")
def test_info_nce_equals_two_public_codes_with_their_conventions():
    given, wanted = golden("cpc")
    both = lambda pred, z: torch.stack([ours.info_nce(z[k], pred[k]) for k in range(2)]).mean()  # noqa: E731
    value, slopes = with_gradients(both, given["pred"], given["z"])  # each encoding picks its prediction
    close(value, wanted["loss"])
    close(slopes[0], wanted["grad_pred"])
    close(slopes[1], wanted["grad_z"])
    given, wanted = golden("cpc_infonce_cosine")
    scaled = lambda q, k: ours.info_nce(F.normalize(q, dim=1), F.normalize(k, dim=1), 0.1)  # noqa: E731
    value, slopes = with_gradients(scaled, given["query"], given["key"])
    close(value, wanted["loss"])
    close(slopes[0], wanted["grad_query"])
    close(slopes[1], wanted["grad_key"])


@pytest.mark.method("ch04/cpc")
def test_equal_targets_cost_log_m_and_the_context_sees_no_row_below():
    for m in (1, 5, 300):
        close(ours.info_nce(draw(m, 3), torch.zeros(m, 3).double()), exact(math.log(m)))
    assert ours.info_nce(1e4 * draw(5, 3), 1e4 * draw(5, 3, seed=1)).isfinite()
    z = draw(2, 5, 5, 3).requires_grad_()
    for row in range(5):
        (slope,) = torch.autograd.grad(ours.causal_mean(z)[:, row].sum(), z)
        assert (slope[:, row + 1 :] == 0).all()
        assert (slope[:, : row + 1] != 0).all()
    x = draw(2, 3, 32, 32)
    patches = ours.to_patches(x, 12, 5)
    assert patches.shape == (2, 5, 5, 3, 12, 12)
    close(patches[1, 2, 4], x[1, :, 10:22, 20:32])


@pytest.mark.method("ch04/byol")
def test_byol_equals_the_public_code_and_only_predictions_learn():
    given, wanted = golden("byol")
    names = ("p1", "p2", "t1", "t2")
    leaves = [given[name].clone().requires_grad_() for name in names]
    value = ours.byol_loss(*leaves)
    value.backward()
    close(value.detach(), wanted["loss"])
    close(leaves[0].grad, wanted["grad_p1"])
    close(leaves[1].grad, wanted["grad_p2"])
    assert leaves[2].grad is None
    assert leaves[3].grad is None
    p, t = given["p1"], given["t1"]
    close(ours.byol_loss(p, t, t, p), exact(0.0))
    close(ours.byol_loss(p, t, -t, -p), exact(8.0))
    cosine = lambda a, b: 2 - 2 * F.cosine_similarity(a, b)  # noqa: E731
    close(value.detach(), (cosine(given["p1"], given["t2"]) + cosine(given["p2"], given["t1"])).mean())


@pytest.mark.method("ch04/byol")
def test_the_moving_average_equals_the_public_code_and_torchs():
    given, wanted = golden("byol")
    pair = [nn.Linear(4, 3, bias=False).double() for _ in range(2)]
    for layer, name in zip(pair, ("target_weight", "online_weight")):
        layer.weight.data.copy_(given[name])
    ours.ema_update(*pair, 0.99)
    close(pair[0].weight.detach(), wanted["target_weight_after"])
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    theirs = AveragedModel(online, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(online)  # its first call copies
    target = copy.deepcopy(online).requires_grad_(False)
    for _ in range(3):
        for p in online.parameters():
            p.data.add_(torch.randn_like(p))
        ours.ema_update(target, online, 0.9)
        theirs.update_parameters(online)
    for mine, their in zip(target.parameters(), theirs.module.parameters()):
        torch.testing.assert_close(mine, their)
        assert not mine.requires_grad
    before = copy.deepcopy(target)
    ours.ema_update(target, online, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), before.parameters()))


@pytest.mark.method("ch04/barlow_twins")
def test_barlow_twins_equals_the_official_code():
    given, wanted = golden("barlow_twins")
    close(ours.cross_correlation(given["z1"], given["z2"]), wanted["cross_correlation"])
    value, slopes = with_gradients(
        lambda a, b: ours.barlow_loss(ours.cross_correlation(a, b), 0.0051), given["z1"], given["z2"]
    )
    close(value, wanted["loss"])
    close(slopes[0], wanted["grad_z1"])
    close(slopes[1], wanted["grad_z2"])


@pytest.mark.method("ch04/barlow_twins")
def test_the_cross_correlation_is_numpys_and_forgets_scale_and_place():
    a, b = draw(20, 3), draw(20, 3, seed=1)
    theirs = np.corrcoef(a.numpy().T, b.numpy().T)[:3, 3:]
    np.testing.assert_allclose(ours.cross_correlation(a, b, eps=0), theirs, atol=1e-12)
    moved = a * torch.tensor([3.0, 0.5, 10.0]) + torch.tensor([1.0, -7.0, 2.0])
    close(ours.cross_correlation(moved, b, eps=0), ours.cross_correlation(a, b, eps=0))
    basis = torch.linalg.qr(a - a.mean(0))[0]
    assert ours.barlow_loss(ours.cross_correlation(basis, basis, eps=0)) < 1e-12
    # the paper's pseudo-code divides by N - 1 in the deviation: a feature never fully agrees with itself
    unbiased = (basis / basis.std(0)).T @ (basis / basis.std(0)) / 20
    close(unbiased.diagonal(), torch.full((3,), 19 / 20, dtype=torch.float64))


@pytest.mark.method("ch04/colorization")
def test_colours_equal_the_official_code():
    given, wanted = golden("colorization")
    close(ours.soft_encode(given["ab"], given["bins"], 5, 5.0), wanted["soft_encoding"])
    factor = ours.rebalance_weights(given["prior"], 0.5)
    close(factor, wanted["prior_factor"])
    close(factor[wanted["soft_encoding"].argmax(1)], wanted["pixel_weight"])
    close(ours.annealed_mean(given["logits"], given["bins"], 0.38), wanted["annealed_mean"])


@pytest.mark.method("ch04/colorization")
def test_rebalancing_follows_the_paper_where_the_code_leaves_empty_bins_out():
    p = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)
    paper = ours.rebalance_weights(p)
    close((p * paper).sum(), exact(1.0))
    close(paper[3] / paper[0], exact((0.25 + 0.125) / 0.125))
    # the code's uniform part spreads over non-empty bins: the paper's formula without the empty one
    code = ours.rebalance_weights(p[:3])
    mixed = 0.5 * p[:3] + 0.5 / 3
    close(code, 1 / mixed / (p[:3] / mixed).sum())
    assert (code - paper[:3]).abs().max() > 1e-3
    close(ours.rebalance_weights(p, lam=1.0), torch.ones(4).double())


@pytest.mark.method("ch04/colorization")
def test_the_annealed_mean_goes_from_the_mean_to_the_mode_and_lab_comes_back():
    logits, bins = draw(6, 9), 40 * draw(9, 2, seed=1)
    close(ours.annealed_mean(logits, bins, 1.0), logits.softmax(1) @ bins)
    close(ours.annealed_mean(logits, bins, 1e-4), bins[logits.argmax(1)])
    assert ours.annealed_mean(1e4 * logits, bins).isfinite().all()
    x = ours.draw_pictures(4, 0)[0]
    torch.testing.assert_close(ours.to_rgb(ours.to_lab(x)), x, atol=2e-3, rtol=0)
    cells = ours.colour_bins(torch.tensor([[0.0, 9.0]] * 600 + [[31.0, -29.0]] * 1400))
    assert cells.tolist() == [[0.0, 0.0], [40.0, -20.0]]
    net = ours.ColourNet(ours.Encoder(), 7)
    assert net(x[:, :1]).shape == (4, 7, 8, 8)


@pytest.mark.method("ch04/jigsaw")
def test_the_permutation_set_equals_the_official_code():
    _, wanted = golden("jigsaw_permutations")
    orders = torch.tensor(list(itertools.permutations(range(4))))
    assert torch.equal(ours.select_permutations(6, orders[7], orders), wanted["permutations"])


@pytest.mark.method("ch04/jigsaw")
def test_a_puzzle_without_gap_and_in_order_is_the_picture_and_tiles_share_one_encoder():
    x = draw(2, 3, 12, 12, dtype=torch.float32)
    order, none = torch.arange(9).expand(2, 9), torch.zeros(2, 9, 2, dtype=torch.int64)
    tiles = ours.make_jigsaw(x, order, none, 3, 4)
    columns = tiles.flatten(2).transpose(1, 2)
    assert torch.equal(F.fold(columns, (12, 12), 4, stride=4), x)
    shuffled = ours.make_jigsaw(x, order.flip(1), none, 3, 4)
    assert torch.equal(shuffled.flip(1), tiles)
    seen = []
    net = ours.JigsawNet(ours.Encoder(), 9, 20).eval()
    net.head[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].reshape(2, 9, 64)))
    assert net(tiles).shape == (2, 20)
    net(shuffled)
    torch.testing.assert_close(seen[1].flip(1), seen[0])
    assert (ours.normalise(torch.ones(1, 3, 4, 4)) == 0).all()


@pytest.mark.method("ch04/rotnet")
def test_four_turns_are_none_and_the_answer_is_no_view_of_the_input():
    x = draw(2, 3, 4, 4)
    turned, labels = ours.rotate_batch(x)
    assert labels.dtype == torch.int64
    again, _ = ours.rotate_batch(turned[1::4])
    close(again[3::4], x)
    turned.zero_()
    assert (x != 0).all()
    # circles on plain ground: four equal copies, so no network is better than guessing
    disc = world.render(world.sample(3, 0, shapes=("circle",), position="centre", grounds=("white",)), 32)
    copies, labels = ours.rotate_batch(disc)
    torch.testing.assert_close(copies[0::4], copies[1::4], atol=2e-2, rtol=0)
    scores = draw(3, 4).repeat_interleave(4, dim=0)
    assert F.cross_entropy(scores, labels) >= math.log(4)


@pytest.mark.method("ch04/pretrain_probe")
def test_the_probe_equals_scikit_learns_logistic_regression():
    y = torch.arange(60) % 3
    h = draw(60, 5) * torch.tensor([1, 5, 0.1, 2, 1]) + y[:, None] * 0.7
    scale = StandardScaler().fit(h[:40])
    for l2 in (1e-3, 1e-1):
        theirs = LogisticRegression(C=1 / (40 * l2), tol=1e-10, max_iter=5000)
        theirs.fit(scale.transform(h[:40]), y[:40])
        mine = ours.linear_probe(h[:40], y[:40], h[40:], 3, l2)
        np.testing.assert_allclose(mine.softmax(1), theirs.predict_proba(scale.transform(h[40:])), atol=1e-4)


@pytest.mark.method("ch04/pretrain_probe")
def test_the_encoder_is_as_described_and_few_labels_are_the_first_of_each_class():
    encoder = ours.Encoder()
    assert count_params(encoder) == 23_696
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, 64)
    assert encoder.maps(torch.rand(2, 3, 14, 14)).shape == (2, 64, 2, 2)
    y, perm = torch.tensor([0, 1, 0, 1, 1, 0]), torch.tensor([5, 4, 3, 2, 1, 0])
    assert ours.few_labels(y, 2, perm).tolist() == [5, 2, 4, 3]
    with pytest.raises(ValueError, match="class 0 has 3"):
        ours.few_labels(y, 4, perm)
    x, shape, colour = ours.draw_pictures(300, 0)
    assert x.shape == (300, 3, 32, 32)
    assert shape.unique().tolist() == list(range(6))
    _, shape, colour = ours.draw_pictures(300, 0, natural=True)
    assert torch.equal(colour, world.labels("colour", world.COLOURS[:6])[shape])


@pytest.mark.method("ch04/projection_head")
def test_heads_have_the_sizes_of_the_text():
    assert count_params(ours.projection_head("none")) == 0
    assert count_params(ours.projection_head("linear")) == 64 * 32
    assert count_params(ours.projection_head("nonlinear")) == 64 * 64 + 64 + 64 * 32
    h = draw(3, 64, dtype=torch.float32)
    assert torch.equal(ours.projection_head("none")(h), h)
    with pytest.raises(ValueError, match="deep"):
        ours.projection_head("deep")


@pytest.mark.method("ch04/collapse_and_shortcuts")
def test_meters_read_the_extremes_exactly():
    basis = torch.linalg.qr(draw(40, 6) - draw(40, 6).mean(0))[0]
    assert ours.effective_rank(basis - basis.mean(0)) <= 6 + 1e-9
    assert ours.effective_rank(draw(30, 1) @ draw(1, 5, seed=1)) == pytest.approx(1, abs=1e-6)
    assert ours.effective_rank(torch.full((5, 3), 2.5)) == 0
    same = draw(1, 4).expand(10, 4)
    assert ours.feature_std(same) == pytest.approx(0, abs=1e-12)
    assert ours.uniformity(same) == pytest.approx(0, abs=1e-9)
    assert ours.alignment(same, 3 * same) == pytest.approx(0, abs=1e-12)
    spread = draw(4000, 16)
    assert ours.feature_std(spread) * 4 == pytest.approx(1, abs=0.02)
    z = draw(7, 3)
    unit = F.normalize(z, dim=1)
    pairs = [math.exp(-2 * float((unit[i] - unit[j]).square().sum())) for i in range(7) for j in range(i)]
    assert ours.uniformity(z) == pytest.approx(math.log(sum(pairs) / 21))


@pytest.mark.method("ch04/simclr")
def test_a_view_is_a_picture_again_and_without_jitter_keeps_its_colours():
    x, rng = ours.draw_pictures(8, 0)[0], torch.Generator().manual_seed(0)
    view = ours.random_view(x, rng)
    assert view.shape == x.shape
    assert view.min() >= 0
    assert view.max() <= 1
    plain = torch.full((4, 3, 32, 32), 0.3)
    plain[:, 0] = 0.8
    torch.testing.assert_close(ours.random_view(plain, rng, jitter=0), plain)
    assert (ours.random_view(plain, rng) - plain).abs().max() > 0.1


def run_cells(number, monkeypatch):
    """Run the given cells of a lesson with the reference, drawing nothing; return its names."""
    for name in ("images", "grid", "curves", "bars", "scatter", "contours", "figure"):
        monkeypatch.setattr(pictures.Show, name, staticmethod(lambda *_, **__: None), raising=False)
    revealed: dict = {}
    silent = {name: lambda *_, **__: None for name in ("needs", "predict", "interact")}
    silent["reveal"] = lambda name, value, **_: revealed.setdefault(name, value)
    names: dict = {"revealed": revealed}
    for cell in lessons.read(paths.chapters() / SLUG / f"lesson_{number}.md").cells:
        if cell.kind == "setup":
            exec(cell.source.replace('start("ch04")', ""), names)
            names |= {name: value for name, value in vars(ours).items() if not name.startswith("_")} | silent
        elif cell.kind == "given":
            exec(cell.source, names)
    return names


@pytest.mark.slow
def test_the_prose_of_notebook_1_says_what_its_cells_compute(monkeypatch):
    names = run_cells(1, monkeypatch)
    track, told, chance = names["track"], names["told"], 1 / 6
    # "the training pictures are learned by heart; on new ones hardly better than a guess"
    assert names["history"].loss[-1] < 0.1
    assert track["trained on the 60 labels"] < chance + 0.1
    assert track["random encoder"] < chance + 0.1
    assert track["trained on all 4000 labels"] > 0.95
    # "far better than the random encoder's", and the shortcut
    assert track["rotation"] > track["random encoder"] + 0.1
    assert names["named"]["ground"] > 0.95
    assert names["probed"]["ground"] < names["probed"]["without ground"] - 0.1
    assert names["revealed"]["ground"] == "names more turns, and its features are worse"
    assert abs(names["probed"]["ground"] - track["random encoder"]) < 0.06  # "no longer does"
    # each pretext beats the random encoder where its answer needs the thing, the jigsaw by little
    assert track["jigsaw"] < track["random encoder"] + 0.1
    assert track["jigsaw"] > track["random encoder"] + 0.02
    assert names["solved"] > 5 / 24
    assert told["natural colours"] > told["random encoder"] + 0.03
    assert told["natural colours"] > told["colours at random"] + 0.03
    # "greedy as it is, the choice reaches the best there can be"
    assert names["chosen"] == pytest.approx(names["most"], abs=5e-4)
    assert names["chosen"] > names["drawn"] + 0.2
    # "squared error, careful and pale"
    assert names["ratio"] > 1.1


@pytest.mark.slow
def test_the_prose_of_notebook_2_says_what_its_cells_compute(monkeypatch):
    names = run_cells(2, monkeypatch)
    told, asked, sides, spread = (names[k] for k in ("revealed", "asked", "sides", "spread"))
    # "on the left the pictures fan out, on the right they huddle together until all answers are one"
    last = {name: 1 - float(film[149].mean(0).norm()) for name, film in names["films"].items()}
    first = {name: 1 - float(film[0].mean(0).norm()) for name, film in names["films"].items()}
    assert last["with negatives"] > max(0.25, 3 * first["with negatives"])
    assert last["without"] < 0.02
    # "without colour changes, the colour is the quickest way"
    assert told["jitter"] == "the kind worse, the colour better"
    assert asked["kind, with"] > asked["kind, without"] + 0.05
    # the head: colour is lost, the kind equal
    assert told["head"] < -0.03
    assert abs(sides["kind from h"] - sides["kind from z"]) < 0.06
    # BYOL: whole and without average stand, the collapsed run has the lowest loss of all
    assert min(spread["whole"], spread["no average"]) > 0.4
    assert spread["neither predictor nor stop"] < 0.1
    ends = {name: loss for name, (loss, _) in names["runs"].items()}
    assert min(ends, key=ends.get) == "neither predictor nor stop"
    # Barlow Twins: "the diagonal stands out"
    assert names["own"] > 0.7
    assert names["rest"] < 0.2
    assert names["was"] < names["own"] - 0.3
    # the race: pre-training helps most where labels are few
    race, curves = names["race"], names["curves"]
    assert max(race, key=race.get) == "all labels"
    assert race["SimCLR"] > race["the sixty labels alone"] + 0.1
    assert race["random weights"] < race["BYOL"] < race["random weights"] + 0.1
    assert race["Barlow Twins"] > race["BYOL"] + 0.05
    assert max(race, key=lambda name: race[name] * (name != "all labels")) == "rotation"
    gains = [a - b for a, b in zip(curves["fine-tuned"], curves["from scratch"])]
    assert min(gains) > 0.1
    assert curves["probe"][0] > curves["fine-tuned"][0]  # "with ten labels the probe is best"
    assert curves["fine-tuned"][2] > curves["probe"][2]  # "with a hundred, fine-tuning is"
