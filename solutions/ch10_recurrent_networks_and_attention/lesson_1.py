"""Cells that carry a state from step to step, their way back, and what they read in videos.

Notebook 1 of chapter 10. Axes: B sequences, T steps, E numbers of an input, D of a state, K classes, C H W of a frame.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dlcv_lab import world


def masked_cross_entropy(
    logits: Float[Tensor, "B T K"],
    target: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Average the cross-entropy over the steps that count.

    `mask` is True where a step counts. The mean is over all such steps of the whole
    batch, so that a long sequence counts for more than a short one. Where the mask is
    False, `target` may hold anything, even numbers that are no class. Where no step of
    the batch counts, the loss is 0.
    """
    ### BEGIN SOLUTION
    total = F.cross_entropy(logits[mask], target[mask], reduction="sum")
    return total / mask.sum().clamp(min=1)
    ### END SOLUTION


def rnn_forward(
    x: Float[Tensor, "B T E"],
    h0: Float[Tensor, "B D"],
    W_ih: Float[Tensor, "D E"],
    W_hh: Float[Tensor, "D D"],
    b_ih: Float[Tensor, "D"],
    b_hh: Float[Tensor, "D"],
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B T D"]:
    """Run the vanilla recurrent network over a batch of sequences; return every state.

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), from h0 on; Elman, Cognitive
    Science 1990, with the two biases of `torch.nn.RNN`. Place t of the answer holds
    the state AFTER input t. Where `mask` is False there is no input: the state stays
    as it was before (without a mask all inputs count).
    """
    ### BEGIN SOLUTION
    h, states = h0, []
    for t in range(x.shape[1]):
        new = torch.tanh(x[:, t] @ W_ih.T + b_ih + h @ W_hh.T + b_hh)
        h = new if mask is None else torch.where(mask[:, t, None], new, h)
        states.append(h)
    return torch.stack(states, dim=1)
    ### END SOLUTION


def rnn_backward(
    x: Float[Tensor, "B T E"],
    h0: Float[Tensor, "B D"],
    hs: Float[Tensor, "B T D"],
    dhs: Float[Tensor, "B T D"],
    W_ih: Float[Tensor, "D E"],
    W_hh: Float[Tensor, "D D"],
) -> tuple[
    Float[Tensor, "B T E"],
    Float[Tensor, "B D"],
    Float[Tensor, "D E"],
    Float[Tensor, "D D"],
    Float[Tensor, "D"],
]:
    """Go back through time: return (dx, dh0, dW_ih, dW_hh, db), without autograd.

    `hs` are the states that `rnn_forward` returned, all inputs counting. dhs[:, t] is
    the gradient of the loss with respect to hs[:, t] as an OUTPUT; what reaches it
    through later states is for you to add. db is the gradient of b_ih, and b_hh has
    the same. The weights are used T times: their gradients are sums over steps and
    sequences. Werbos, Proc. IEEE 1990.
    """
    ### BEGIN SOLUTION
    dx, dh = torch.zeros_like(x), torch.zeros_like(h0)
    dW_ih, dW_hh = torch.zeros_like(W_ih), torch.zeros_like(W_hh)
    db = torch.zeros_like(W_hh[0])
    for t in reversed(range(x.shape[1])):
        before = hs[:, t - 1] if t > 0 else h0
        da = (dh + dhs[:, t]) * (1 - hs[:, t] ** 2)  # (B, D): through the tanh
        dx[:, t] = da @ W_ih
        dW_ih += da.T @ x[:, t]
        dW_hh += da.T @ before
        db += da.sum(0)
        dh = da @ W_hh  # what reaches the state before
    return dx, dh, dW_ih, dW_hh, db
    ### END SOLUTION


def clip_gradients(
    grads: list[Float[Tensor, "..."]],
    most: float,
) -> tuple[list[Float[Tensor, "..."]], Float[Tensor, ""]]:
    """Shorten a gradient that is too long; return the new gradients and the old norm.

    All tensors together are ONE long vector with a Euclidean norm. Where the norm is
    above `most`, every tensor is multiplied by most / norm; else all stay as they are.
    The tensors given are not changed. Pascanu, Mikolov and Bengio, ICML 2013,
    algorithm 1.
    """
    ### BEGIN SOLUTION
    norm = torch.sqrt(sum(g.square().sum() for g in grads))
    factor = most / norm if norm > most else torch.ones_like(norm)
    return [g * factor for g in grads], norm
    ### END SOLUTION


def lstm_cell(
    x: Float[Tensor, "B E"],
    h: Float[Tensor, "B D"],
    c: Float[Tensor, "B D"],
    W_ih: Float[Tensor, "4*D E"],
    W_hh: Float[Tensor, "4*D D"],
    b_ih: Float[Tensor, "4*D"],
    b_hh: Float[Tensor, "4*D"],
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Do one step of long short-term memory; return the new (h, c).

    a = W_ih x + b_ih + W_hh h + b_hh has 4 D numbers, in four blocks of D, in this
    order: input gate i, forget gate f, candidate g, output gate o. Gates pass through
    the logistic function, the candidate through tanh. Then c' = f * c + i * g and
    h' = o * tanh(c'), element by element. Hochreiter and Schmidhuber, Neural
    Computation 1997; the forget gate is from Gers et al., 2000. The blocks stand as in
    `torch.nn.LSTMCell`.
    """
    ### BEGIN SOLUTION
    a = x @ W_ih.T + b_ih + h @ W_hh.T + b_hh
    i, f, g, o = a.chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
    ### END SOLUTION


def gru_cell(
    x: Float[Tensor, "B E"],
    h: Float[Tensor, "B D"],
    W_ih: Float[Tensor, "3*D E"],
    W_hh: Float[Tensor, "3*D D"],
    b_ih: Float[Tensor, "3*D"],
    b_hh: Float[Tensor, "3*D"],
) -> Float[Tensor, "B D"]:
    """Do one step of a gated recurrent unit; return the new state.

    Weights and biases are three blocks of D: reset gate r, update gate z, candidate n.
    With a = W_ih x + b_ih and u = W_hh h + b_hh, block by block,
    r = logistic(a_r + u_r), z = logistic(a_z + u_z), n = tanh(a_n + r * u_n), and
    h' = (1 - z) * n + z * h: z KEEPS. This is `torch.nn.GRUCell`; in Cho et al., EMNLP
    2014, r multiplies h before the matrix.
    """
    ### BEGIN SOLUTION
    a_r, a_z, a_n = (x @ W_ih.T + b_ih).chunk(3, dim=1)
    u_r, u_z, u_n = (h @ W_hh.T + b_hh).chunk(3, dim=1)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)
    n = torch.tanh(a_n + r * u_n)
    return (1 - z) * n + z * h
    ### END SOLUTION


ACTIONS = ("to the right", "downwards", "to the left", "upwards", "outwards", "inwards")


def draw_actions(
    n: int,
    seed: int,
    steps: int = 12,
) -> tuple[Float[Tensor, "N T 3 16 16"], Int[Tensor, "N"]]:
    """Draw n clips of a thing that slides, grows or shrinks, and the action of each.

    Six actions in three pairs: each is another one's film run backwards.
    """
    clips = world.sample_clips(n, seed, motions=("slide", "grow"), shrink=True)
    ways = world.clip_directions(clips)
    return world.render_clips(clips, 16, steps), torch.tensor([*map(ACTIONS.index, ways)])


class FrameNet(nn.Module):
    """Turn frames (N, 3, 16, 16) into 48 features each; places stay told apart."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fed, made, stride in ((3, 16, 1), (16, 24, 2), (24, 32, 2)):
            layers += [nn.Conv2d(fed, made, 3, stride, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 48))

    def forward(self, x: Float[Tensor, "N 3 16 16"]) -> Float[Tensor, "N 48"]:
        """Return the features of every frame by itself."""
        return self.layers(x)


class VideoNet(nn.Module):
    """A network a frame, a GRU over the frames, and scores: `cnn`, `rnn` and `head`.

    `bidirectional` adds a second GRU, which reads the video from its end.
    """

    def __init__(self, K: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.cnn = FrameNet()
        self.rnn = nn.GRU(48, 48, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(96 if bidirectional else 48, K)

    def forward(self, video: Float[Tensor, "B T 3 16 16"]) -> Float[Tensor, "B T K"]:
        """Return scores at every frame; all videos have all T frames."""
        features = self.cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        return self.head(self.rnn(features)[0])


def classify_clips(
    cnn: nn.Module,
    rnn: nn.Module,
    head: nn.Module,
    video: Float[Tensor, "B T C H W"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B K"]:
    """Score every clip by what the recurrent network knows after its last frame.

    `cnn` turns pictures (N, C, H, W) into features (N, E), `rnn` is an `nn.GRU` or
    `nn.RNN` with batch_first=True: its first answer are the states (B, T, D). `head`
    turns states (B, D) into scores (B, K). `mask` is True for the frames of a clip,
    which stand first, and False for the padding behind them; each clip has a frame.
    The padding must not change the scores. Donahue et al., CVPR 2015, in small.
    """
    ### BEGIN SOLUTION
    features = cnn(video.flatten(0, 1)).unflatten(0, video.shape[:2])  # (B, T, E)
    states = rnn(features)[0]
    last = mask.sum(1) - 1  # the state there has seen no padding yet
    return head(states[torch.arange(len(states)), last])
    ### END SOLUTION


def boundary_f1(
    pred: Int[Tensor, "T"],
    true: Int[Tensor, "T"],
    tol: int = 1,
) -> float:
    """Score the borders between segments: the F1 of found and true ones.

    Two rows of labels, one a frame. A border is a frame t >= 1 whose label differs
    from the one before. A found border is right where a true one lies at most `tol`
    frames away; a true border can be claimed by ONE found one only, and as many
    pairs as possible are made. F1 = 2 pairs / (found + true borders), and 1.0 where
    neither row has a border. Returns a Python float.

    Raises:
        ValueError: the rows differ in length.
    """
    if len(pred) != len(true):
        raise ValueError(f"{len(pred)} and {len(true)} labels")
    ### BEGIN SOLUTION
    found = (pred[1:] != pred[:-1]).nonzero().flatten().tolist()
    wanted = (true[1:] != true[:-1]).nonzero().flatten().tolist()
    if not found and not wanted:
        return 1.0
    pairs, free = 0, list(wanted)
    for place in found:  # in the order of time the first that is near is the best choice
        near = [w for w in free if abs(w - place) <= tol]
        if near:
            free.remove(near[0])
            pairs += 1
    return 2 * pairs / (len(found) + len(wanted))
    ### END SOLUTION


def conv_lstm_step(
    x: Float[Tensor, "B C H W"],
    h: Float[Tensor, "B D H W"],
    c: Float[Tensor, "B D H W"],
    W: Float[Tensor, "4*D C+D k k"],
    b: Float[Tensor, "4*D"],
) -> tuple[Float[Tensor, "B D H W"], Float[Tensor, "B D H W"]]:
    """Do one step of an LSTM whose states are maps; return the new (h, c).

    One convolution of x and h, stacked in this order along the channels, gives 4 D
    maps of the same height and width (zero padding). They are four blocks of D in the
    order i, f, o, g, which is not the order of `lstm_cell`. Then all is as there:
    c' = f * c + i * g, h' = o * tanh(c'), with logistic gates and tanh of g. Shi et
    al., NeurIPS 2015, without their peepholes.

    Raises:
        ValueError: k is even.
    """
    ### BEGIN SOLUTION
    k = W.shape[2]
    if k % 2 == 0:
        raise ValueError(f"a kernel of {k} pixels has no middle")
    a = F.conv2d(torch.cat([x, h], dim=1), W, b, padding=k // 2)
    i, f, o, g = a.chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c
    ### END SOLUTION


class Foreteller(nn.Module):
    """Read some grey frames and foretell those that follow: a ConvLSTM and a 1x1 layer.

    `forward`: T frames (B, T, 1, H, W) and n to T + n - 1 frames: place t holds what is
    foretold to follow frame t. The last n come after all that was given; there each
    foretold frame is read as the next input.
    """

    def __init__(self, D: int = 12, k: int = 5) -> None:
        super().__init__()
        first = nn.Conv2d(1 + D, 4 * D, k)  # gives the usual start of a convolution
        self.D, self.W, self.b = D, first.weight, first.bias
        self.out = nn.Conv2d(D, 1, 1)
        nn.init.constant_(self.out.bias, -2.0)  # most pixels are empty

    def forward(self, frames: Float[Tensor, "B T 1 H W"], n: int) -> Float[Tensor, "B T+n-1 1 H W"]:
        """Return what follows every frame, given or foretold."""
        B, T, _, H, W = frames.shape
        h = c = frames.new_zeros(B, self.D, H, W)
        told: list[Tensor] = []
        for t in range(T + n - 1):
            x = frames[:, t] if t < T else told[-1]
            h, c = conv_lstm_step(x, h, c, self.W, self.b)
            told.append(self.out(h).sigmoid())
        return torch.stack(told, dim=1)


def draw_films(n: int, seed: int, steps: int = 10) -> Float[Tensor, "N T 1 16 16"]:
    """Draw grey films of a thing that slides or circles: 1 on the thing, 0 elsewhere."""
    look = {"motions": ("slide", "orbit"), "sizes": (0.15, 0.2)}
    clips = world.sample_clips(n, seed, **look)
    inside = world.object_masks(world.frames(clips, steps), 16)[:, :1]
    return inside.float().unflatten(0, (n, steps))
