"""Exercises of notebook 2: the forward passes of FCN, SegNet and U-Net."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare.draws import case
from autograder.declare.exercise import Exercise, Variant, alternative
from autograder.declare.probes import shipped
from autograder.declare.slips import slip


@shipped
def filled(model, phase, dtype):
    """Give every weight and statistic of a network a number from a formula, so that packs stay small."""
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if not value.is_floating_point():
                continue
            at = torch.arange(value.numel(), dtype=torch.float64)
            wave = torch.sin(at * 12.9898 + 78.233 * phase + sum(map(ord, name)))
            size = 2.5 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.4
            number = 1 + size * wave if "running_var" in name or (value.ndim == 1 and "weight" in name) else size * wave
            value.copy_(number.reshape(value.shape))
    return model.to(dtype).eval()


@shipped
def looked_at(model, data):
    """Return what a network answers, and in a gradient case what reaches the picture and the first weights."""
    if not data.get("grad"):
        return {"scores": model(data["x"])}
    x = data["x"].clone().requires_grad_()
    scores = model(x)
    wave = torch.sin(torch.arange(scores.numel()) * 0.7).to(scores.dtype).reshape(scores.shape)
    first = model.down1[0].weight
    found = torch.autograd.grad((scores * wave).sum(), [x, first], allow_unused=True)
    return {"scores": scores.detach(), "to the picture": found[0], "to the first weights": found[1]}


def net_cases(d, **options):
    def picture(group, note, H=16, W=16, N=2, **more):
        return case(group, note, x=d.normal(N, 3, H, W), phase=d.real(0.1, 1.0), **more)

    return [
        picture("plain", "two pictures of 16 x 16"),
        picture("plain", "16 rows of 24, one picture", W=24, N=1),
        picture("edge", "13 x 11 pixels", H=13, W=11),
        picture("edge", "8 x 9 pixels", H=8, W=9, N=1),
        picture("gradient", "gradients", grad=True),
    ]


def fcn_cases(d):
    more = ("plain", "no skip", 0), ("plain", "one skip", 1), ("edge", "no skip, 13 x 11 pixels", 0)
    cases = [case(c.group, c.note, **c.data, skips=2) for c in net_cases(d)]
    for group, note, skips in more:
        x = d.normal(1, 3, 13, 11) if group == "edge" else d.normal(2, 3, 16, 16)
        cases.append(case(group, note, x=x, phase=d.real(0.1, 1.0), skips=skips))
    return cases


def fcn_probe(ns, data):
    return looked_at(filled(ns.FCN(3, (3, 4, 5), skips=data["skips"]), data["phase"], data["x"].dtype), data)


def segnet_probe(ns, data):
    return looked_at(filled(ns.SegNet(3, (3, 4, 5)), data["phase"], data["x"].dtype), data)


def unet_probe(ns, data):
    return looked_at(filled(ns.UNet(3, (3, 4, 5)), data["phase"], data["x"].dtype), data)


class FcnParts(nn.Module):
    def __init__(self, K=5, widths=(12, 24, 48), skips=2):
        super().__init__()
        a, b, c = widths
        self.skips = skips
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        self.bottom = block(c, c)
        self.score = nn.Conv2d(c, K, 1)
        self.skip2, self.skip1 = nn.Conv2d(b, K, 1), nn.Conv2d(a, K, 1)


class FCN__list(FcnParts):
    def forward(self, x):
        maps, sizes = [], [x.shape[-2:]]
        h = x
        for down in (self.down1, self.down2, self.down3):
            h = nn.functional.max_pool2d(down(h), 2)
            maps.append(h)
            sizes.append(h.shape[-2:])
        scores = self.score(self.bottom(h))
        finer = [(self.skip2, maps[1]), (self.skip1, maps[0])][: self.skips]
        for skip, h in finer:
            up = nn.functional.interpolate(scores, h.shape[-2:], mode="bilinear", align_corners=False)
            scores = skip(h) + up
        return nn.functional.interpolate(scores, sizes[0], mode="bilinear", align_corners=False)


class FCN__three_ways(FcnParts):
    def forward(self, x):
        def larger(s, like):
            return F.interpolate(s, size=tuple(like.shape[2:]), mode="bilinear")

        pool = nn.MaxPool2d(2)
        h1 = pool(self.down1(x))
        h2 = pool(self.down2(h1))
        s = self.score(self.bottom(pool(self.down3(h2))))
        if self.skips == 0:
            return larger(s, x)
        s = self.skip2(h2) + larger(s, h2)
        if self.skips == 1:
            return larger(s, x)
        return larger(self.skip1(h1) + larger(s, h1), x)


FCN_EXERCISE = Exercise(
    name="FCN",
    methods=("ch05/fcn",),
    core=True,
    groups={"plain": 1.5, "edge": 1.0, "gradient": 0.5},
    cases=fcn_cases,
    probe=fcn_probe,
    minutes=15,
    difficulty="medium",
    good_for="the first network that was trained for pixels from end to end",
    hints=(
        "Which of the three maps has the size that s has after its first enlargement?",
        "Keep h1 and h2 under names of their own. s = self.score(self.bottom(h3)). Each skip is one enlargement to the "
        "size of a kept map, and one addition of that map's own scores. The last enlargement is always there.",
        "if self.skips >= 1: s = F.interpolate(s, size=h2.shape[2:], mode='bilinear') + self.skip2(h2); the same with "
        "h1 and skip1 for skips >= 2; return F.interpolate(s, size=x.shape[2:], mode='bilinear')",
    ),
    alternatives=(
        alternative(FcnParts, FCN__list, name="list"),
        alternative(FcnParts, FCN__three_ways, name="three_ways"),
    ),
    misconceptions=(
        slip("no_bottom", {"self.score(self.bottom(h3))": "self.score(h3)"},
             "bottom is missing: the coarsest scores are score(bottom(h3)).", "student mistake: layer forgotten"),
        slip("all_skips", {"if self.skips >= 1:": "if True:", "if self.skips >= 2:": "if True:"},
             "With two skips you are right. Ask self.skips how many finer maps take part.",
             "student mistake: option never used"),
        slip("replaces", {"s = s + self.skip2(h2)": "s = self.skip2(h2)",
             "s = s + self.skip1(h1)": "s = self.skip1(h1)"},
             "Without skips you are right. A skip is ADDED to the enlarged coarse scores; you throw these away.",
             "card trap: summed"),
        slip("nearest", {('s = F.interpolate(s, size=h2.shape[2:], mode="bilinear")'):
             's = F.interpolate(s, size=h2.shape[2:])',
             's = F.interpolate(s, size=h1.shape[2:], mode="bilinear")': 's = F.interpolate(s, size=h1.shape[2:])',
             'F.interpolate(s, size=x.shape[2:], mode="bilinear")': 'F.interpolate(s, size=x.shape[2:])'},
             "You enlarge with F.interpolate's default, nearest. The text wants mode='bilinear'.",
             "library difference: the default mode is nearest"),
        slip("corners", {'size=x.shape[2:], mode="bilinear"': 'size=x.shape[2:], mode="bilinear", align_corners=True'},
             "Your last enlargement pins the corner pixels together. Leave align_corners at False.",
             "library difference: align_corners"),
        slip("corners_everywhere", {
             'h2.shape[2:], mode="bilinear"': 'h2.shape[2:], mode="bilinear", align_corners=True',
             'h1.shape[2:], mode="bilinear"': 'h1.shape[2:], mode="bilinear", align_corners=True',
             'x.shape[2:], mode="bilinear"': 'x.shape[2:], mode="bilinear", align_corners=True'},
             "Your enlargements pin the corner pixels together. Leave align_corners at False.",
             "library difference: align_corners"),
        slip("direct", {'s = F.interpolate(s, size=h1.shape[2:], mode="bilinear")\ns = s + self.skip1(h1)':
             's = F.interpolate(s, size=x.shape[2:], mode="bilinear")\n'
             's = s + F.interpolate(self.skip1(h1), size=x.shape[2:], mode="bilinear")'},
             "One skip is right. With two, enlarge to the size of h1, add, and only then enlarge the sum to the "
             "picture.",
             "student mistake: both enlarged to full size at once"),
        slip("eight_times", {'size=x.shape[2:], mode="bilinear"':
             'scale_factor=2 ** (3 - self.skips), mode="bilinear"'},
             "Sizes that 8 divides are right. Enlarge to the size of x: 8 times a map that was rounded down is too "
             "small.", "card trap: sizes not divisible by 8"),
    ),
)  # fmt: skip


def max_unpool2d__standin(x, indices, out_size):
    flat = torch.zeros(*x.shape[:2], out_size[0] * out_size[1], dtype=x.dtype)
    return flat.scatter_add(2, indices.flatten(2), x.flatten(2)).unflatten(2, tuple(out_size))


class SegNetParts(nn.Module):
    def __init__(self, K=5, widths=(12, 24, 48)):
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        self.up3, self.up2, self.up1 = block(c, b), block(b, a), block(a, a)
        self.score = nn.Conv2d(a, K, 1)


class SegNet__library(SegNetParts):
    def forward(self, x):
        kept = []
        for down in [self.down1, self.down2, self.down3]:
            full = down(x)
            x, places = nn.MaxPool2d(2, return_indices=True)(full)
            kept.insert(0, (places, full.shape))
        for (places, shape), up in zip(kept, [self.up3, self.up2, self.up1]):
            x = up(nn.MaxUnpool2d(2)(x, places, output_size=shape[2:]))
        return self.score(x)


class SegNet__unrolled(SegNetParts):
    def forward(self, x):
        h1 = self.down1(x)
        p1, i1 = F.max_pool2d(h1, 2, return_indices=True)
        h2 = self.down2(p1)
        p2, i2 = F.max_pool2d(h2, 2, return_indices=True)
        h3 = self.down3(p2)
        p3, i3 = F.max_pool2d(h3, 2, return_indices=True)
        u3 = self.up3(max_unpool2d(p3, i3, tuple(h3.shape[2:])))
        u2 = self.up2(max_unpool2d(u3, i2, tuple(h2.shape[2:])))
        return self.score(self.up1(max_unpool2d(u2, i1, tuple(h1.shape[2:]))))


SEGNET_EXERCISE = Exercise(
    name="SegNet",
    methods=("ch05/segnet",),
    core=True,
    groups={"plain": 1.0, "edge": 1.0, "gradient": 0.5},
    cases=net_cases,
    probe=segnet_probe,
    uses=("max_unpool2d",),
    standins=(Variant(name="max_unpool2d", code=(max_unpool2d__standin,)),),
    minutes=15,
    difficulty="medium",
    good_for="an encoder and its mirror image",
    hints=(
        "Which pooling must be undone first? What does max_unpool2d want to know besides the values?",
        "A list of pairs (indices, size before pooling), appended on the way down and popped from its end on the way "
        "up.",
        "x, indices = F.max_pool2d(x, 2, return_indices=True); kept.append((indices, size)); later "
        "x = up(max_unpool2d(x, *kept.pop()))",
    ),
    alternatives=(
        alternative(SegNetParts, SegNet__library, name="library"),
        alternative(SegNetParts, SegNet__unrolled, name="unrolled"),
    ),
    misconceptions=(
        slip("first_first", {"kept.pop()": "kept.pop(0)"},
             "The indices do not fit the size: undo the last pooling first, each with its own indices and the size "
             "that its map had before it.",
             "card trap: index order reversed"),
        slip("doubles", {"size = x.shape[2:]": "size = (x.shape[2] // 2 * 2, x.shape[3] // 2 * 2)"},
             "Even sizes are right. An odd map lost a row in pooling: remember its size before, and come back to it.",
             "card trap: sizes must be remembered"),
        slip("size_after_pooling", {"size = x.shape[2:]\nx, indices = F.max_pool2d(x, 2, return_indices=True)":
             "x, indices = F.max_pool2d(x, 2, return_indices=True)\nsize = x.shape[2:]"},
             "The indices do not fit the size: undo the last pooling first, each with its own indices and the size "
             "that its map had before it.",
             "student mistake: order of two lines"),
        slip("forgets_indices", {"max_unpool2d(x, *kept.pop())": "F.interpolate(x, size=kept.pop()[1])"},
             "You enlarge without the indices. SegNet puts every value back where its maximum was.",
             "student mistake: nearest up-sampling"),
        slip("no_score", {"return self.score(x)": "return x"},
             "The last layer, score, is missing: you return feature maps, not K scores a pixel.",
             "student mistake: layer forgotten"),
        slip("softmax", {"return self.score(x)": "return self.score(x).softmax(1)"},
             "You return probabilities. Return the scores; the loss applies the softmax.",
             "paper: SegNet's last layer is a softmax"),
    ),
)  # fmt: skip


class UNetParts(nn.Module):
    def __init__(self, K=5, widths=(12, 24, 48)):
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.down3 = block(3, a), block(a, b), block(b, c)
        self.bottom = block(c, c)
        self.up3 = nn.ConvTranspose2d(c, c, 2, stride=2)
        self.up2 = nn.ConvTranspose2d(c, b, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(b, a, 2, stride=2)
        self.join3, self.join2, self.join1 = block(2 * c, c), block(2 * b, b), block(2 * a, a)
        self.score = nn.Conv2d(a, K, 1)


class UNet__recursive(UNetParts):
    def level(self, x, n):
        if n == 4:
            return self.bottom(x)
        left = getattr(self, f"down{n}")(x)
        below = getattr(self, f"up{n}")(self.level(F.max_pool2d(left, 2), n + 1))
        right = torch.zeros_like(left[:, : below.shape[1]])
        right[:, :, : below.shape[2], : below.shape[3]] = below
        return getattr(self, f"join{n}")(torch.cat((left, right), dim=1))

    def forward(self, x):
        return self.score(self.level(x, 1))


class UNet__unrolled(UNetParts):
    def forward(self, x):
        def beside(left, up):
            gap = [left.shape[3] - up.shape[3], left.shape[2] - up.shape[2]]
            return torch.cat([left, nn.ZeroPad2d((0, gap[0], 0, gap[1]))(up)], 1)

        h1 = self.down1(x)
        h2 = self.down2(F.max_pool2d(h1, 2))
        h3 = self.down3(F.max_pool2d(h2, 2))
        y = self.bottom(F.max_pool2d(h3, 2))
        y = self.join3(beside(h3, self.up3(y)))
        y = self.join2(beside(h2, self.up2(y)))
        return self.score(self.join1(beside(h1, self.up1(y))))


UNET_EXERCISE = Exercise(
    name="UNet",
    methods=("ch05/unet",),
    core=True,
    groups={"plain": 1.0, "edge": 1.0, "gradient": 0.5},
    cases=net_cases,
    probe=unet_probe,
    minutes=20,
    difficulty="medium",
    good_for="segmentation, and later every diffusion model",
    hints=(
        "Join 3 takes 2 c channels: c from the left and c from below. Before or after which pooling do the left ones "
        "have the right size?",
        "Keep the output of every down *before* pooling it. On the way up: pop the kept map, up(x), F.pad what came up "
        "to its size, torch.cat([left, x], 1), join.",
        "left, x = kept.pop(), up(x); x = F.pad(x, (0, left.shape[3] - x.shape[3], 0, left.shape[2] - x.shape[2])); "
        "x = join(torch.cat([left, x], 1))",
    ),
    alternatives=(
        alternative(UNetParts, UNet__recursive, name="recursive"),
        alternative(UNetParts, UNet__unrolled, name="unrolled"),
    ),
    misconceptions=(
        slip("below_first", {"[left, F.pad(x, (0, columns, 0, rows))]": "[F.pad(x, (0, columns, 0, rows)), left]"},
             "The order of the two halves is exchanged: the kept map comes first. The weights of join know.",
             "card trap: concat order"),
        slip("no_bottom", {"x = self.bottom(x)": ""},
             "bottom is missing: it stands between the last pooling and the first up.",
             "student mistake: layer forgotten"),
        slip("keeps_after_pooling", {"kept.append(x)\nx = F.max_pool2d(x, 2)":
             "x = F.max_pool2d(x, 2)\nkept.append(x)"},
             "You keep the maps after pooling: half the size, so that your scores come out too small. Keep each map "
             "before it is pooled.", "student mistake: order of two lines"),
        slip("pads_top", {"(0, columns, 0, rows)": "(columns, 0, rows, 0)"},
             "Sizes that 8 divides are right. Elsewhere pad at the bottom and on the right; you pad at the top and on "
             "the left.", "card trap: pad the up-sampled map right and bottom"),
        slip("stretches", {"F.pad(x, (0, columns, 0, rows))": "F.interpolate(x, size=left.shape[2:])"},
             "Sizes that 8 divides are right. Elsewhere you stretch what came up; pad it with zeros.",
             "student mistake: resize instead of pad"),
        slip("skips_cut", {"kept.append(x)": "kept.append(x.detach())"},
             "The scores are right, but no gradient flows back through the skips.",
             "student mistake: detached copy"),
        slip("no_skips", {"kept.append(x)": "kept.append(torch.zeros_like(x))"},
             "The left half's maps do not arrive. Keep each map before it is pooled.", "student mistake: empty skip"),
    ),
)  # fmt: skip
