"""How features are judged, and three tasks whose answers the picture itself provides.

Notebook 1 of chapter 4. Axes: N pictures, D features, K classes, Q colour bins, T tiles, P permutations.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor, nn

from dlcv_lab import world


def draw_pictures(
    n: int,
    seed: int,
    *,
    natural: bool = False,
    ground: bool = False,
) -> tuple[Float[Tensor, "N 3 32 32"], Int[Tensor, "N"], Int[Tensor, "N"]]:
    """Draw n pictures of one upright thing; return them, its shape (0 to 5) and colour.

    `natural` gives every shape a colour of its own, else shape and colour are
    independent. `ground` stands the things on a darker ground.
    """
    shapes, grounds = world.UPRIGHT_SHAPES, ("plain", "gradient", "noise", "grid")
    look = {"rotation": "upright", "sizes": (0.18, 0.28), "backgrounds": grounds}
    if natural:
        look["pairs"] = list(zip(shapes, world.COLOURS[:6]))
    if ground:
        picture = world.upright(n, seed, **look)
        x, scene = picture.images, picture.scene
    else:
        scene = world.sample(n, seed, **look, **({} if natural else {"shapes": shapes}))
        x = world.render(scene, 32)
    number = torch.zeros(len(world.ALL_SHAPES), dtype=torch.int64)
    number[world.labels("shape", shapes)] = torch.arange(6)
    return x, number[scene.shape[:, 0]], scene.colour[:, 0]


class Encoder(nn.Module):
    """The one encoder of the chapter: pictures (N, 3, H, W) to features (N, 64).

    Three 3x3 convolutions with stride 2, batch norm and ReLU, then the mean over all
    places. 23 696 parameters. `maps` returns what stands before the mean: (N, 64, H/8,
    W/8), sizes rounded up.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fed, made in ((3, 16), (16, 32), (32, 64)):
            conv = nn.Conv2d(fed, made, 3, stride=2, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(made), nn.ReLU()]
        self.maps = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 64"]:
        """Return the features h, the mean of the maps over all places."""
        return self.maps(x).mean((2, 3))


def extract_features(
    encoder: nn.Module,
    x: Float[Tensor, "N C H W"],
    batch_size: int = 256,
) -> Float[Tensor, "N D"]:
    """Compute the features of all pictures with a frozen encoder.

    `encoder(x[i:j])` gives the features (j - i, D) of some pictures. Feed it
    `batch_size` pictures at a time, in order; the last batch may be smaller. The
    encoder computes in evaluation mode (batch norm then uses its running statistics and
    leaves them alone) and without building a graph. Afterwards it is in the mode,
    training or evaluation, in which you found it.
    """
    ### BEGIN SOLUTION
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        h = torch.cat([encoder(part) for part in x.split(batch_size)])
    encoder.train(was_training)
    return h
    ### END SOLUTION


def softmax_regression(
    h: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    num_classes: int,
    l2: float = 1e-3,
) -> tuple[Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Fit the linear classifier of chapter 1 until it no longer changes; return (W, b).

    Minimises the mean cross-entropy plus l2 / 2 times the sum of W squared; b is free.
    """
    D, start = h.shape[1], h.new_zeros(num_classes, h.shape[1] + 1, dtype=torch.float64)
    weights, kind, h = start.requires_grad_(), h.dtype, h.detach().double()
    exact = {"tolerance_grad": 1e-9, "line_search_fn": "strong_wolfe"}
    solver = torch.optim.LBFGS([weights], max_iter=500, **exact)

    def closure() -> Tensor:
        solver.zero_grad()
        W, b = weights[:, :D], weights[:, D]
        loss = F.cross_entropy(h @ W.T + b, y) + l2 / 2 * W.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    W, b = weights.detach().to(kind).split(D, dim=1)
    return W, b[:, 0]


def linear_probe(
    h: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    h_test: Float[Tensor, "M D"],
    num_classes: int,
    l2: float = 1e-3,
) -> Float[Tensor, "M K"]:
    """Train a linear classifier on frozen features; return the class scores of others.

    First standardise: from every feature, of both sets, subtract its mean over the N
    training pictures and divide by its standard deviation there (the root of the mean
    squared deviation: unbiased=False). A feature that is constant in training is
    divided by 1. Then `W, b = softmax_regression(h, y, num_classes, l2)` of the cell
    above fits the classifier; its scores are W h + b.
    """
    ### BEGIN SOLUTION
    mean, std = h.mean(0), h.std(0, unbiased=False)
    std = torch.where(std > 1e-6, std, 1.0)
    W, b = softmax_regression((h - mean) / std, y, num_classes, l2)
    return (h_test - mean) / std @ W.T + b
    ### END SOLUTION


def knn_predict(
    h: Float[Tensor, "N D"],
    y: Int[Tensor, "N"],
    h_test: Float[Tensor, "M D"],
    k: int,
    num_classes: int,
) -> Int[Tensor, "M"]:
    """Classify by the k most similar training pictures; nothing is trained.

    Similarity is the cosine of two feature vectors. Each of the k neighbours has one
    vote; the class with most votes wins, and of several such the one with the smallest
    number.

    Raises:
        ValueError: k is larger than N.
    """
    ### BEGIN SOLUTION
    if k > len(h):
        raise ValueError(f"{k} neighbours wanted, but there are {len(h)} pictures")
    cosine = F.normalize(h_test, dim=1) @ F.normalize(h, dim=1).T  # (M, N)
    nearest = y[cosine.topk(k, dim=1).indices]  # (M, k)
    return F.one_hot(nearest, num_classes).sum(1).argmax(1)
    ### END SOLUTION


def few_labels(
    y: Int[Tensor, "N"],
    n: int,
    perm: Int[Tensor, "N"],
) -> Int[Tensor, "K*n"]:
    """Return the places of the first n pictures of every class, in the order `perm`.

    Raises:
        ValueError: a class has fewer than n.
    """
    chosen = []
    for label in y.unique():
        places = perm[y[perm] == label][:n]
        if len(places) < n:
            raise ValueError(f"class {int(label)} has {len(places)} pictures, not {n}")
        chosen.append(places)
    return torch.cat(chosen)


def rotate_batch(
    x: Float[Tensor, "N C H W"],
) -> tuple[Float[Tensor, "4*N C H W"], Int[Tensor, "4*N"]]:
    """Turn every picture by 0, 90, 180 and 270 degrees, and say by how much.

    Counter-clockwise, as one sees the picture. The four copies of a picture stand
    beside each other: picture 0 at 0, 90, 180, 270, then picture 1. A label is the
    number of quarter turns, int64. RotNet, Gidaris et al., ICLR 2018.

    Raises:
        ValueError: the pictures are not square.
    """
    ### BEGIN SOLUTION
    if x.shape[2] != x.shape[3]:
        raise ValueError(f"pictures of {x.shape[2]}x{x.shape[3]} pixels are not square")
    turned = torch.stack([x.rot90(k, (2, 3)) for k in range(4)], dim=1)
    return turned.flatten(0, 1), torch.arange(4, device=x.device).repeat(len(x))
    ### END SOLUTION


def select_permutations(
    P: int,
    first: Int[Tensor, "T"],
    candidates: Int[Tensor, "M T"],
) -> Int[Tensor, "P T"]:
    """Choose P permutations of T tiles that differ from each other in many places.

    The Hamming distance of two permutations counts the slots in which they differ.
    Begin with `first`. Then add P - 1 times the candidate whose SUM of distances to all
    those chosen so far is largest; of several, the one that stands first in
    `candidates`. No permutation is chosen twice, even if it stands there twice, and
    `first` may be among them. Noroozi & Favaro, ECCV 2016, algorithm 1.

    Raises:
        ValueError: there are not P different permutations.
    """
    ### BEGIN SOLUTION
    chosen, taken = [first], -len(first) * P  # a taken one stays below 0 to the end
    total = torch.zeros(len(candidates), dtype=torch.int64)
    while len(chosen) < P:
        different = candidates != chosen[-1]  # (M, T)
        total += different.sum(1)
        total[~different.any(1)] = taken
        best = total.argmax()  # the first of the largest
        if total[best] < 0:
            raise ValueError(f"there are only {len(chosen)} different permutations")
        chosen.append(candidates[best])
    return torch.stack(chosen)
    ### END SOLUTION


def make_jigsaw(
    x: Float[Tensor, "N C H W"],
    perm: Int[Tensor, "N T"],
    offsets: Int[Tensor, "N T 2"],
    grid: int,
    tile: int,
) -> Float[Tensor, "N T C tile tile"]:
    """Cut pictures into grid x grid cells, a tile out of each cell, and shuffle.

    T = grid * grid cells are numbered row by row. From cell c of picture n comes the
    tile whose upper left pixel lies offsets[n, c] = (down, right) pixels inside the
    cell. Slot s of the answer holds the tile of cell perm[n, s].

    Raises:
        ValueError: `grid` does not divide H and W, or a tile leaves its cell.
    """
    N, C, H, W = x.shape
    ### BEGIN SOLUTION
    if H % grid or W % grid:
        raise ValueError(f"a grid of {grid} does not divide {H}x{W} pixels")
    high, wide = H // grid, W // grid
    most = torch.tensor([high - tile, wide - tile])
    if (offsets < 0).any() or (offsets > most).any():
        raise ValueError("a tile leaves its cell")
    out = x.new_empty(N, grid * grid, C, tile, tile)
    for n in range(N):
        for slot, cell in enumerate(perm[n].tolist()):
            down, right = offsets[n, cell].tolist()
            top, left = cell // grid * high + down, cell % grid * wide + right
            out[n, slot] = x[n, :, top : top + tile, left : left + tile]
    return out
    ### END SOLUTION


class JigsawNet(nn.Module):
    """Look at all tiles with ONE encoder, then name the permutation.

    `forward`: tiles (N, T, 3, t, t) to scores (N, P). Each tile is normalised by its
    own mean and standard deviation, so that its brightness does not give it away.
    """

    def __init__(self, encoder: nn.Module, tiles: int, permutations: int) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = nn.Linear(64 * tiles, 128)
        self.head = nn.Sequential(hidden, nn.ReLU(), nn.Linear(128, permutations))

    def forward(self, tiles: Float[Tensor, "N T 3 t t"]) -> Float[Tensor, "N P"]:
        """Return a score for every permutation."""
        h = self.encoder(normalise(tiles.flatten(0, 1)))  # (N * T, 64)
        return self.head(h.reshape(len(tiles), -1))


def normalise(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Give every picture mean 0 and deviation 1 in each colour; flat ones become 0."""
    mean, std = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)
    return (x - mean) / (std + 1e-2)


def to_lab(x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
    """Split colour into lightness L (here 0 to 1) and two axes a, b (about 100)."""
    lab = torch.from_numpy(rgb2lab(x.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
    return lab.float() * torch.tensor([0.01, 1, 1]).reshape(3, 1, 1)


def to_rgb(lab: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
    """Undo `to_lab`; colours that no screen has are clipped."""
    lab = lab * torch.tensor([100.0, 1, 1]).reshape(3, 1, 1)
    rgb = torch.from_numpy(lab2rgb(lab.permute(0, 2, 3, 1).numpy()))
    return rgb.permute(0, 3, 1, 2)


def colour_bins(ab: Float[Tensor, "M 2"], step: float = 20.0) -> Float[Tensor, "Q 2"]:
    """Return the cells of a grid in the ab plane that hold a pixel in a thousand."""
    cells, count = (ab / step).round().unique(dim=0, return_counts=True)
    return cells[count > len(ab) / 1000] * step


def soft_encode(
    ab: Float[Tensor, "N 2"],
    bins: Float[Tensor, "Q 2"],
    k: int = 5,
    sigma: float = 5.0,
) -> Float[Tensor, "N Q"]:
    """Write each colour as a distribution over colour bins.

    The k bins nearest to the colour (Euclidean distance d in the ab plane) share it in
    proportion to exp(-d^2 / (2 sigma^2)); all others get 0. Every row sums to 1, even
    for a colour so far away that all those exponentials are 0 in floating point.
    Zhang et al., ECCV 2016, section 2.1.

    Raises:
        ValueError: k is larger than Q.
    """
    ### BEGIN SOLUTION
    if k > len(bins):
        raise ValueError(f"{k} bins wanted, but there are {len(bins)}")
    d2 = (ab[:, None] - bins).square().sum(2)  # (N, Q)
    near, index = d2.topk(k, dim=1, largest=False)
    share = (-near / (2 * sigma**2)).softmax(1)  # softmax subtracts the largest first
    return torch.zeros_like(d2).scatter(1, index, share)
    ### END SOLUTION


def rebalance_weights(p: Float[Tensor, "Q"], lam: float = 0.5) -> Float[Tensor, "Q"]:
    """Return the weight of each colour bin, so that rare colours count for more.

    p holds the share of every bin among all pixels and sums to 1. w_q is proportional
    to 1 / ((1 - lam) p_q + lam / Q), and scaled so that a pixel weighs 1 on average:
    the sum over q of p_q w_q is 1. Zhang et al., ECCV 2016, equation 4.
    """
    ### BEGIN SOLUTION
    w = 1 / ((1 - lam) * p + lam / len(p))
    return w / (p * w).sum()
    ### END SOLUTION


def annealed_mean(
    logits: Float[Tensor, "N Q"],
    bins: Float[Tensor, "Q 2"],
    T: float = 0.38,
) -> Float[Tensor, "N 2"]:
    """Turn scores of colour bins into one colour: the mean after sharpening.

    T = 1 is the plain mean, which is dull; T towards 0 is the most likely bin. Zhang et
    al., ECCV 2016, equation 5: p^(1/T), normalised, is the softmax of logits / T.
    """
    return (logits / T).softmax(1) @ bins


class ColourNet(nn.Module):
    """Guess colours from lightness: (N, 1, 32, 32) to scores (N, `outputs`, 8, 8)."""

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Conv2d(64, 4 * outputs, 1)  # four places a cell of the 4x4 map

    def forward(self, light: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N Q H/4 W/4"]:
        """Return one row of scores, or one colour, for every fourth pixel."""
        maps = self.encoder.maps(light.expand(-1, 3, -1, -1))
        return F.pixel_shuffle(self.head(maps), 2)
