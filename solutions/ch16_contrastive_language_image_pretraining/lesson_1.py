"""Chapter 16, notebook 1: the contrastive loss, a small CLIP, zero-shot classification, retrieval and search."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def clip_loss(img: Float[Tensor, "N D"], txt: Float[Tensor, "N D"], log_scale: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Return CLIP's symmetric contrastive loss of N pairs; row i of `img` belongs to row i of `txt`.

    Both are features as the towers give them, not yet of length one: normalise each row (eps 1e-12, as
    `F.normalize`). The similarities Z = exp(log_scale) * img @ txt.T are logits: each image has to pick its text among
    the N texts, each text its image among the N images. The loss is the mean of the two mean cross-entropies (Radford
    et al. 2021, figure 3). The trap: the parameter is the LOGARITHM of the factor.
    """
    ### BEGIN SOLUTION
    Z = log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(txt, dim=1).T  # (N, N)
    own = torch.arange(len(Z), device=Z.device)
    return (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2
    ### END SOLUTION


class TextTower(nn.Module):
    """A causal transformer over word ids; the feature is what it knows at the last word, the end token.

    `ids` are (B, T) and 0 behind the end. The end token has the highest id of all, so `ids.argmax(1)` finds it: CLIP
    does the same. A causal tower reads left to right, so only the end has seen the whole text; what stands behind it
    cannot change the feature.
    """

    def __init__(
        self, vocab: int, *, context: int = 16, width: int = 64, layers: int = 1, heads: int = 2, out: int = 64
    ):
        super().__init__()
        self.words = nn.Embedding(vocab, width)
        self.places = nn.Parameter(torch.randn(context, width) * 0.1)
        nn.init.normal_(self.words.weight, std=0.5)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, out, bias=False)

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B out"]:
        T = ids.shape[1]
        future = torch.full((T, T), -math.inf, device=ids.device).triu(1)
        x = self.blocks(self.words(ids) + self.places[:T], mask=future)  # (B, T, width)
        at_end = x[torch.arange(len(ids), device=ids.device), ids.argmax(1)]  # (B, width)
        return self.project(self.norm(at_end))


class TinyCLIP(nn.Module):
    """Two towers into one space of D numbers, and a learned factor for the similarities.

    The image tower is a small convolutional network. `logit_scale` is the logarithm of the factor and begins at
    ln(1 / 0.07), about 2.66, as in CLIP.
    """

    def __init__(self, text: nn.Module, *, channels: int = 32, D: int = 64):
        super().__init__()
        layers: list[nn.Module] = []
        for c, d, stride in ((3, channels, 2), (channels, 2 * channels, 2), (2 * channels, 4 * channels, 1)):
            layers += [nn.Conv2d(c, d, 3, stride, padding=1, bias=False), nn.BatchNorm2d(d), nn.ReLU()]
        self.image = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.project = nn.Linear(4 * channels, D, bias=False)
        self.text = text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        return self.project(self.image(images))

    def encode_text(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        return self.text(ids)


def clip_train_step(
    model: nn.Module,
    images: Float[Tensor, "B 3 H W"],
    ids: Int[Tensor, "B T"],
    optimizer: torch.optim.Optimizer,
    *,
    max_scale: float = 100.0,
) -> float:
    """Do one training step on a batch of pairs and return the loss (before the step) as a Python float.

    `model` has `encode_image(images)`, `encode_text(ids)` and the parameter `logit_scale`, a logarithm. Use
    `clip_loss`; clear old gradients; let the optimizer step; then bring `logit_scale` back into [0, ln max_scale],
    in place and without recording a gradient.
    """
    ### BEGIN SOLUTION
    loss = clip_loss(model.encode_image(images), model.encode_text(ids), model.logit_scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, math.log(max_scale))
    return loss.item()
    ### END SOLUTION


def zero_shot_logits(
    img: Float[Tensor, "B D"], classes: Float[Tensor, "K D"], log_scale: Float[Tensor, ""]
) -> Float[Tensor, "B K"]:
    """Return the logits of B images for K classes: exp(log_scale) times the cosine of image and class vector.

    Neither `img` nor `classes` need to have length one. One row of `classes` is one class, the features of a text such
    as "a photo of a cat". (open_clip keeps its class vectors as columns, [D, K].)
    """
    ### BEGIN SOLUTION
    return log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(classes, dim=1).T
    ### END SOLUTION


def ensemble_classifier(
    encode: Callable[[list[str]], Tensor], names: list[str], templates: list[str]
) -> Float[Tensor, "K D"]:
    """Return one class vector per name: the mean direction of its prompts, of length one.

    A prompt is `template.format(name)`. `encode` takes a list of texts and returns their features (n, D), of any
    length. For each class: bring the features of its prompts to length one, average them, bring the mean to length one
    (a mean of zero stays zero, as with `F.normalize`). Rows are in the order of `names`.
    """
    ### BEGIN SOLUTION
    rows = []
    for name in names:
        features = encode([template.format(name) for template in templates])  # (P, D)
        rows.append(F.normalize(features, dim=1).mean(0))
    return F.normalize(torch.stack(rows), dim=1)
    ### END SOLUTION


def recall_at_k(
    sim: Float[Tensor, "I T"], txt2img: Int[Tensor, "T"], ks: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Return recall at each k in `ks`, as shares from 0 to 1 under the keys "i2t_R@1", "t2i_R@1" and so on.

    `sim[i, t]` is the similarity of image i and text t, and text t describes image `txt2img[t]`; an image may have any
    number of texts. Ties count against you:

    - text to image: text t is a hit if fewer than k OTHER images have a similarity >= that of its own image;
    - image to text: image i is a hit if fewer than k texts of OTHER images have a similarity >= that of the best of its
      own texts. Images without a text are left out of the mean.

    A similarity that is NaN counts against you as well: as a rival it is ahead, and where it is the query's own (one of
    an image's own texts), all rivals are ahead.
    """
    ### BEGIN SOLUTION
    own = torch.arange(len(sim), device=sim.device)[:, None] == txt2img[None]  # (I, T)
    score = sim[txt2img, torch.arange(len(txt2img), device=sim.device)]  # (T,)
    images_ahead = (~(sim < score) & ~own).sum(0)  # (T,); NaN is not below anything, nothing is below NaN
    best = sim.masked_fill(~own, -math.inf).amax(1, keepdim=True)  # (I, 1)
    texts_ahead = (~(sim < best) & ~own).sum(1)[own.any(1)]  # (images that have a text,)
    found = {f"i2t_R@{k}": float((texts_ahead < k).float().mean()) for k in ks}
    return found | {f"t2i_R@{k}": float((images_ahead < k).float().mean()) for k in ks}
    ### END SOLUTION


def without_doubles(features: Float[Tensor, "N D"], threshold: float = 0.94) -> list[int]:
    """Return the indices that stay when near-duplicates are removed: the first of each group, in order.

    Two features belong to one group if their cosine exceeds the threshold, or if a chain of such pairs links them.
    """
    unit = F.normalize(features.float(), dim=1)
    close = unit @ unit.T > threshold
    group = torch.arange(len(features))
    while True:  # every member takes the smallest index among its neighbours, until nothing changes
        smaller = torch.where(close, group[None], len(features)).amin(1).minimum(group)
        if torch.equal(smaller, group):
            return torch.unique(group).tolist()
        group = smaller


class SearchIndex:
    """Find the nearest of many features by cosine, looking only into the `probe` nearest of `lists` clusters.

    An inverted file: features are grouped around centres by k-means, and a query is compared with the centres first.
    With probe = lists the answer is exact.
    """

    def __init__(self, features: Float[Tensor, "N D"], *, lists: int = 32, rounds: int = 8, seed: int = 0):
        self.features = F.normalize(features.float(), dim=1)
        start = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:lists]
        self.centres = self.features[start]
        for _ in range(rounds):
            self.home = (self.features @ self.centres.T).argmax(1)  # (N,)
            sums = torch.zeros_like(self.centres).index_add_(0, self.home, self.features)
            self.centres = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), self.centres)
        self.home = (self.features @ self.centres.T).argmax(1)

    def search(self, query: Float[Tensor, "D"], k: int, probe: int) -> tuple[list[int], int]:
        """Return the indices of the k nearest, best first (fewer if fewer were seen), and how many were compared."""
        query = F.normalize(query.float(), dim=0)
        near = (self.centres @ query).topk(min(probe, len(self.centres))).indices
        seen = torch.isin(self.home, near).nonzero()[:, 0]
        best = (self.features[seen] @ query).topk(min(k, len(seen))).indices
        return seen[best].tolist(), len(self.centres) + len(seen)
