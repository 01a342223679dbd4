"""Chapter 5 against libraries, official numbers and exact properties.

Most functions have an oracle beside their exercise (tests/chapters/test_oracles.py); here are the others.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import nn
from torchmetrics import classification, segmentation

from autograder.base import paths
from autograder.chapter import lesson as lessons
from dlcv_lab import count_params, pictures, zoo
from solutions import ch05_segmentation as ours

SLUG = "ch05_segmentation"
GOLDEN = Path(__file__).parent.parent / "golden"
K = 5


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def golden(name):
    found = json.loads((GOLDEN / f"segmentation_{name}.json").read_text())
    kinds = {"int64": torch.int64, "float64": torch.float64}
    return {
        part: {key: torch.tensor(v["values"], dtype=kinds[v["dtype"]]).reshape(v["shape"])
               for key, v in found[part].items()}
        for part in ("inputs", "outputs")
    }  # fmt: skip


def masks(seed, classes=K, void=True):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (3, 12, 10), generator=rng)
    wrong = torch.rand(target.shape, generator=rng) < 0.3
    pred = torch.where(wrong, torch.randint(classes, target.shape, generator=rng), target)
    if void:
        target[:, :2] = 255
    return pred, target


@pytest.mark.method("ch05/seg_metrics")
@pytest.mark.parametrize("seed", range(4))
def test_five_scores_equal_those_of_torchmetrics(seed):
    pred, target = masks(seed)
    scores = ours.seg_scores(ours.confusion_matrix(pred, target, K))
    kept = target != 255
    options = {"num_classes": K, "ignore_index": 255}
    theirs = {
        "pixel_acc": classification.MulticlassAccuracy(average="micro", **options)(pred, target),
        "mean_acc": classification.MulticlassAccuracy(average="macro", **options)(pred, target),
        "miou": classification.MulticlassJaccardIndex(average="macro", **options)(pred, target),
        "fwiou": classification.MulticlassJaccardIndex(average="weighted", **options)(pred, target),
        "iou": classification.MulticlassJaccardIndex(average="none", **options)(pred, target),
    }
    for name, value in theirs.items():
        torch.testing.assert_close(scores[name], value.double(), atol=1e-6, rtol=0)
    one = segmentation.MeanIoU(num_classes=K, per_class=True, input_format="index")
    whole = one(pred[kept][None], target[kept][None]).squeeze()
    torch.testing.assert_close(scores["iou"], whole.double(), atol=1e-6, rtol=0)
    counts = classification.MulticlassConfusionMatrix(**options)(pred, target)
    assert torch.equal(ours.confusion_matrix(pred, target, K), counts)


@pytest.mark.method("ch05/seg_metrics")
@pytest.mark.parametrize("radius", [1, 2])
def test_the_score_near_edges_equals_torchmetrics_with_all_else_ignored(radius):
    from skimage.segmentation import find_boundaries

    _, y = ours.labelled_scenes(6, 3)
    pred = y.roll(1, 2)
    near = torch.stack([torch.from_numpy(find_boundaries(m.numpy(), connectivity=2, mode="thick")) for m in y])
    if radius == 2:
        near = F.max_pool2d(near[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    only = torch.where(near, y, 255)
    theirs = classification.MulticlassJaccardIndex(num_classes=K, ignore_index=255)(pred, only)
    assert ours.boundary_iou(pred, y, K, radius).item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.method("ch05/seg_metrics")
def test_scores_equal_the_official_numbers_of_fcn():
    numbers = golden("seg_metrics")
    given, expected = numbers["inputs"], numbers["outputs"]
    counts = ours.confusion_matrix(given["prediction"], given["target"], 4)
    assert torch.equal(counts, expected["hist"])
    scores = ours.seg_scores(counts)
    for mine, theirs in (("pixel_acc", "overall_accuracy"), ("mean_acc", "mean_accuracy"), ("miou", "mean_iu"),
                         ("fwiou", "fwavacc")):  # fmt: skip
        torch.testing.assert_close(scores[mine], expected[theirs])
    torch.testing.assert_close(scores["iou"].nan_to_num(-1), expected["class_iu_nan_as_minus_one"])


@pytest.mark.method("ch05/seg_metrics")
def test_batches_add_up_and_dice_follows_from_iou():
    pred, target = masks(7)
    parts = sum(ours.confusion_matrix(p, t, K) for p, t in zip(pred, target))
    whole = ours.confusion_matrix(pred, target, K)
    assert torch.equal(parts, whole)
    iou = ours.seg_scores(whole)["iou"]
    n = whole.double()
    torch.testing.assert_close(2 * iou / (1 + iou), 2 * n.diag() / (n.sum(0) + n.sum(1)))
    assert ours.seg_scores(torch.zeros(3, 3, dtype=torch.int64))["miou"].isnan()


@pytest.mark.method("ch05/pixel_classification")
def test_the_loss_is_the_librarys_and_survives_half_precision_and_no_labels():
    s = draw(2, K, 6, 7).requires_grad_()
    _, target = masks(1)
    y, weight = target[:2, :6, :7], draw(K, seed=2).abs()
    mine, theirs = ours.pixel_cross_entropy(s, y, weight), F.cross_entropy(s, y, weight, ignore_index=255)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, s)[0] for loss in (mine, theirs)))
    half = ours.pixel_cross_entropy(s.detach().half(), y)
    torch.testing.assert_close(half.double(), F.cross_entropy(s, y, ignore_index=255).detach(), atol=1e-2, rtol=0)
    nothing = ours.pixel_cross_entropy(s, torch.full_like(y, 255))
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, s)[0].any()
    assert ours.pixel_cross_entropy(s * torch.nan, y).isnan()  # a broken network is not hidden


@pytest.mark.method("ch05/grouping")
def test_groups_are_a_fixed_point_of_scikit_learns_k_means():
    picture = ours.labelled_scenes(1, 5)[0][0].double()
    mine = ours.group_pixels(picture, 3, steps=100).flatten()
    colours = picture.flatten(1).T
    centres = torch.stack([colours[mine == j].mean(0) for j in range(3)])
    theirs = KMeans(3, init=centres.numpy(), n_init=1, tol=0).fit(colours.numpy())
    assert (torch.from_numpy(theirs.labels_) == mine).all()
    assert ours.group_pixels(torch.ones(3, 4, 5), 2).shape == (4, 5)  # fewer colours than groups


@pytest.mark.method("ch05/sliding_window_seg", "ch05/fc_to_conv")
def test_the_window_and_the_convolutionalised_classifier_give_the_same_labels():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 9, 5)).double()
    x = draw(3, 11, 9)
    slid = ours.sliding_window_segment(net, x, 7)
    dense = ours.convolutionalize(net, (3, 7, 7))
    assert torch.equal(slid, dense(F.pad(x[None], [3] * 4, mode="reflect"))[0].argmax(0))
    dense[-1].weight.data.zero_()
    assert net[-1].weight.any()


@pytest.mark.method("ch05/dense_fullres")
def test_a_score_of_the_plain_net_sees_fifteen_pixels_a_side():
    net = ours.plain_net().eval()
    for weights in net.parameters():
        weights.data.abs_()  # so that no ReLU is silent
    x = torch.ones(1, 3, 33, 33, requires_grad=True)
    net(x)[0, :, 16, 16].sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    assert (seen.any(0).sum().item(), seen.any(1).sum().item()) == (15, 15)


@pytest.mark.method("ch05/recurrent_scene")
def test_three_looks_are_the_network_unrolled():
    net = nn.Conv2d(K + 3, K, 3, padding=1).double()
    x = draw(2, 3, 8, 8)
    first = net(torch.cat([torch.zeros(2, K, 8, 8), x], 1))
    second = net(torch.cat([first.softmax(1), x], 1))
    scores = ours.recurrent_segment(net, x, K, 3)
    assert len(scores) == 3
    torch.testing.assert_close(scores[0], first)
    torch.testing.assert_close(scores[1], second)
    scores[2].sum().backward()
    assert net.weight.grad[:, :K].any()  # the gradient reaches back through the answers


@pytest.mark.method("ch05/transposed_conv")
def test_stamps_equal_torch_and_are_the_adjoint_of_a_convolution():
    w, z, x = draw(3, 2, 4, 4), draw(2, 3, 5, 4, seed=1), draw(2, 2, 10, 8, seed=2)
    up = ours.conv_transpose2d(z, w, 2, 1)
    torch.testing.assert_close(up, F.conv_transpose2d(z, w, stride=2, padding=1))
    down = F.conv2d(x, w, stride=2, padding=1)
    torch.testing.assert_close((down * z).sum(), (x * up).sum())
    assert torch.autograd.gradcheck(
        lambda z, w: ours.conv_transpose2d(z, w, 3, 1, 1), (z[:1, :, :2, :2].requires_grad_(), w.requires_grad_())
    )
    assert ours.conv_transpose2d(z[:0], w, 2, 1).shape == (0, 2, 10, 8)
    half = ours.conv_transpose2d(z.detach().half(), w.detach().half(), 2, 1)
    torch.testing.assert_close(half.double(), up.detach(), atol=5e-2, rtol=1e-2)


@pytest.mark.method("ch05/transposed_conv")
def test_the_transposed_matrix_makes_the_same_picture():
    w, z = draw(3, 3), draw(4, 4, seed=1)
    A = ours.strided_matrix(w, 8, 2, 1)
    by_stamps = ours.conv_transpose2d(z[None, None], w[None, None], 2, 1, 1)
    torch.testing.assert_close((A.T @ z.flatten()).reshape(8, 8), by_stamps[0, 0])
    x = draw(8, 8, seed=2)
    down = F.conv2d(x[None, None], w[None, None], stride=2, padding=1)
    torch.testing.assert_close(A @ x.flatten(), down.flatten())


@pytest.mark.method("ch05/transposed_conv")
def test_bilinear_kernels_equal_the_official_ones_and_interpolate():
    for name, expected in golden("bilinear_kernel")["outputs"].items():
        torch.testing.assert_close(ours.bilinear_kernel(int(name.split("_")[1])), expected)
    x = draw(1, 1, 6, 5)
    for s in (2, 4, 8):
        mine = ours.conv_transpose2d(x, ours.bilinear_kernel(2 * s)[None, None], s, s // 2)
        theirs, rim = F.interpolate(x, scale_factor=s, mode="bilinear"), slice(s // 2, -s // 2)
        torch.testing.assert_close(mine[..., rim, rim], theirs[..., rim, rim])


@pytest.mark.method("ch05/unpooling")
def test_unpooling_equals_the_library_and_pooling_undoes_it():
    x = draw(2, 3, 7, 9).requires_grad_()
    values, places = F.max_pool2d(x, 2, return_indices=True)
    mine, theirs = ours.max_unpool2d(values, places, (7, 9)), F.max_unpool2d(values, places, 2, output_size=(7, 9))
    assert torch.equal(mine, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(up.square().sum(), x, retain_graph=True)[0] for up in (mine, theirs))
    )
    assert torch.equal(ours.unpool_nearest(values, 3), F.interpolate(values, scale_factor=3, mode="nearest"))
    kept = values.detach().abs()
    for up in (ours.unpool_nearest(kept), ours.bed_of_nails(kept), ours.max_unpool2d(kept, places, (7, 9))):
        assert torch.equal(F.max_pool2d(up, 2), kept)  # true of values that are not negative


def random_net(kind, **options):
    torch.manual_seed(0)
    net = kind(3, (3, 4, 5), **options).double().eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return net


@pytest.mark.method("ch05/fcn")
@pytest.mark.parametrize("size", [(16, 24), (13, 11)])
def test_fcn_is_its_layers_by_hand_and_silent_skips_change_only_the_steps(size):
    x = draw(2, 3, *size)
    net = random_net(ours.FCN)

    def up(s, like):
        return F.interpolate(s, like.shape[2:], mode="bilinear", align_corners=False)

    pool = nn.MaxPool2d(2)
    h1 = pool(net.down1(x))
    h2 = pool(net.down2(h1))
    coarse = net.score(net.bottom(pool(net.down3(h2))))
    torch.testing.assert_close(net(x), up(up(up(coarse, h2) + net.skip2(h2), h1) + net.skip1(h1), x))
    net.skips = 1
    torch.testing.assert_close(net(x), up(up(coarse, h2) + net.skip2(h2), x))
    net.skips = 0
    torch.testing.assert_close(net(x), up(coarse, x))


@pytest.mark.method("ch05/segnet")
@pytest.mark.parametrize("size", [(16, 24), (13, 11)])
def test_segnet_is_a_chain_of_the_librarys_pooling_and_unpooling(size):
    net, x = random_net(ours.SegNet), draw(2, 3, *size)
    pool, unpool, y, stack = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2), x, []
    for part in (net.down1, net.down2, net.down3):
        full = part(y)
        y, places = pool(full)
        stack.append((places, full.shape))
    for part in (net.up3, net.up2, net.up1):
        places, shape = stack.pop()
        y = part(unpool(y, places, output_size=shape))
    torch.testing.assert_close(net(x), net.score(y))
    net.train()(x).sum().backward()
    assert net.down1[0].weight.grad.abs().sum() > 0


@pytest.mark.method("ch05/unet")
@pytest.mark.parametrize("size", [(16, 24), (13, 11)])
def test_unet_is_its_layers_by_hand(size):
    net, x = random_net(ours.UNet), draw(2, 3, *size)
    h1 = net.down1(x)
    h2 = net.down2(F.max_pool2d(h1, 2))
    h3 = net.down3(F.max_pool2d(h2, 2))
    y = net.bottom(F.max_pool2d(h3, 2))
    for left, up, join in ((h3, net.up3, net.join3), (h2, net.up2, net.join2), (h1, net.up1, net.join1)):
        beside = torch.zeros(2, up.out_channels, *left.shape[2:], dtype=x.dtype)
        small = up(y)
        beside[:, :, : small.shape[2], : small.shape[3]] = small
        y = join(torch.cat([left, beside], 1))
    torch.testing.assert_close(net(x), net.score(y))


@pytest.mark.method("ch05/deconvnet")
def test_deconvnet_keeps_its_shape_and_passes_through_one_column():
    net = random_net(ours.DeconvNet)
    x = draw(2, 3, 32, 32)
    assert net(x).shape == (2, 3, 32, 32)
    column = []
    net.fold.register_forward_hook(lambda *args: column.append(args[2].shape))
    net(x)
    assert column == [(2, 10, 1, 1)]
    assert count_params(ours.DeconvNet()) > 3 * count_params(ours.SegNet())


@pytest.mark.method("ch05/fcn", "ch05/segnet", "ch05/unet", "ch05/dense_fullres", "ch05/recurrent_scene")
def test_every_checkpoint_fits_its_class():
    nets = {
        "full": ours.plain_net(), "recurrent": ours.plain_net(3 + K, norm=False), "fcn32": ours.FCN(skips=0),
        "fcn16": ours.FCN(skips=1), "fcn8": ours.FCN(), "segnet": ours.SegNet(), "deconvnet": ours.DeconvNet(),
        "unet": ours.UNet(),
    }  # fmt: skip
    for name, net in nets.items():
        zoo.checkpoint(f"ch05/{name}", into=net)


def run_cells(number, monkeypatch):
    """Run the given cells of a lesson with the reference, drawing nothing; return its names."""
    for name in ("images", "grid", "curves", "bars", "scatter", "contours", "figure"):
        monkeypatch.setattr(pictures.Show, name, staticmethod(lambda *_, **__: None), raising=False)
    revealed: dict[str, float] = {}
    silent = {name: lambda *_, **__: None for name in ("needs", "predict", "interact")}
    silent["reveal"] = lambda name, value, **_: revealed.setdefault(name, float(value))
    names: dict = {"revealed": revealed}
    for cell in lessons.read(paths.chapters() / SLUG / f"lesson_{number}.md").cells:
        if cell.kind == "setup" and not cell.source.startswith("# show"):
            exec(cell.source.replace('start("ch05")', ""), names)
            names |= vars(ours) | silent
        elif cell.kind == "given":
            exec(cell.source, names)
    return names


@pytest.mark.slow
def test_the_prose_of_notebook_1_says_what_its_cells_compute(monkeypatch):
    names = run_cells(1, monkeypatch)
    told, found, agree = names["revealed"], names["found"], names["agree"]
    # "where a thing is one colour and the ground another, grouping finds it"; "a slow change ... misleads it"
    assert agree["plain things, plain ground"] > 0.8
    assert agree["plain things, shaded ground"] < 0.7
    # the lazy painter: "about 85 %", four of five classes 0
    assert told["lazy"] == pytest.approx(0.86, abs=0.02)
    assert names["lazy"]["iou"].eq(0).sum() == 4
    # the slip: "one pixel is nothing to the accuracy and a disaster near the edges"
    y = names["test_y"][3:4]
    moved = y.roll(1, 2)
    assert (moved == y).double().mean() > 0.9
    assert ours.boundary_iou(moved, y, K) < 0.75
    assert names["same"] == 1  # "nothing was approximated"
    assert told["faster"] > 1.5
    # "sixteen times the labels, and about the same mIoU"
    assert abs(told["whole"]) < 0.1
    # "a window of 15x15 turns out to be enough"
    assert found["full resolution"] > 0.9 > found["patches"] + 0.3
    assert names["times"] > 5
    assert 0.005 < told["looks"] < 0.15


@pytest.mark.slow
def test_the_prose_of_notebook_2_says_what_its_cells_compute(monkeypatch):
    names = run_cells(2, monkeypatch)
    told, ious = names["revealed"], names["ious"]
    # its own two scores are those of notebook 1
    x, y = names["x"], names["y"]
    pred = names["drawn"]["FCN-8s"]
    assert torch.equal(x, names["scenes"](200, 1)[0])
    assert torch.equal(ours.labelled_scenes(200, 1)[1], y)
    assert ious["FCN-8s"][0] == pytest.approx(
        ours.seg_scores(ours.confusion_matrix(pred, y, K))["miou"].item(), abs=1e-6
    )
    assert ious["FCN-8s"][1] == pytest.approx(ours.boundary_iou(pred, y, K).item(), abs=1e-6)
    assert names["gap"] < 1e-12
    assert names["off"]["max-unpooling"] == 0 < min(names["off"]["nearest"], names["off"]["bed of nails"])
    # "without a skip the mIoU is about 0.6", rising; what the skips buy are the edges
    assert ious["FCN-32s"][0] == pytest.approx(0.6, abs=0.03)
    assert ious["FCN-32s"][0] < ious["FCN-16s"][0] < ious["FCN-8s"][0]
    assert told["skips"] == pytest.approx(0.9, abs=0.05)
    assert told["nails"] > 0.3
    assert names["copies"] == 64 * names["places"]
    # DeconvNet "has not paid"; U-Net is the best of the six that go down and up; full resolution keeps up with it
    assert ious["DeconvNet"][0] < ious["SegNet"][0] - 0.05
    six = [name for name in names["nets"] if name != "full resolution"]
    assert max(six, key=lambda name: ious[name][0]) == max(six, key=lambda name: ious[name][1]) == "U-Net"
    assert abs(ious["full resolution"][0] - ious["U-Net"][0]) < 0.03
    assert min(names["nets"], key=lambda name: count_params(names["nets"][name])) == "full resolution"
    assert ious["SegNet"][0] >= ious["FCN-8s"][0]
    assert (names["cut"]["all"] == 0).all()  # "with all skips cut, no thing is left"
    blobs = names["drawn"]["FCN-32s"]  # "one triangle is not seen at all", among the six that are shown
    assert (blobs[2] == 0).all()
    assert (names["y"][2] == 3).any()
    assert (blobs[:6, :, -1] > 0).any()  # "some run out to the border"
