"""Chapter 3, notebook 2: cases, probe and variants of `LeNet`."""

import torch
from torch import Tensor, nn

from autograder.declare.exercise import Alternative, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def lenet_cases(rng: torch.Generator) -> list[Case]:
    """Draw batches of pictures; the weights come from a formula in the probe, so that packs stay small."""

    def case(group: str, n: int, note: str, channels: int = 1, classes: int = 10, grad: bool = False) -> Case:
        args = {} if (channels, classes) == (1, 10) else {"in_channels": channels, "num_classes": classes}
        phase = float(torch.rand((), generator=rng))
        x = torch.randn(n, channels, 32, 32, generator=rng)
        return Case(group, {"args": args, "x": x, "phase": phase, "grad": grad}, note)

    return [
        case("plain", 3, "3 grey pictures"),
        case("plain", 5, "5 grey pictures"),
        case("shapes", 2, "colour, 6 classes", channels=3, classes=6),
        case("shapes", 1, "a batch of one picture"),
        case("edge", 0, "an empty batch"),
        case("gradient", 2, "gradients of pictures and weights", grad=True),
    ]


def lenet_probe(ns, data):
    """Fill the weights by a formula, run the network and, in a gradient case, back-propagate."""

    def wave(n, phase):  # n numbers between -1 and 1 without visible pattern
        return torch.sin(torch.arange(n, dtype=torch.float64) * 12.9898 + 78.233 * phase)

    x = data["x"].clone().requires_grad_() if data["grad"] else data["x"]
    model = ns.LeNet(**data["args"]).to(x.dtype)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            size = 2.5 / p[0].numel() ** 0.5 if p.ndim > 1 else 0.3
            p.copy_((size * wave(p.numel(), data["phase"] + sum(map(ord, name)))).float().view_as(p))
    scores = probing.call(model, x)
    if not data["grad"]:
        return {"scores": scores}
    loss = (scores * wave(scores.numel(), 0.5).to(x.dtype).view_as(scores)).sum()
    names, params = zip(*sorted(model.named_parameters()), strict=True)
    dx, *grads = torch.autograd.grad(loss, [x, *params])
    along = {n: (g * wave(g.numel(), 0.1).to(g.dtype).view_as(g)).sum() for n, g in zip(names, grads, strict=True)}
    return {"scores": scores, "dx": dx, "weights": along}


class Layers(nn.Module):
    """The given constructor; every variant below is a `Layers` with its own `forward`."""

    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)


class LeNet__pools_first(Layers):
    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            x = nn.MaxPool2d(2)(conv(x)).clamp(min=0)
        x = x.reshape(-1, 400)
        for layer in (self.fc1, self.fc2):
            x = torch.relu(layer(x))
        return self.fc3(x)


class LeNet__sequential(nn.Module):
    def __init__(self, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(in_channels, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        eyes = nn.Sequential(self.conv1, nn.ReLU(), nn.MaxPool2d(2), self.conv2, nn.ReLU(), nn.MaxPool2d(2))
        head = nn.Sequential(nn.Flatten(), self.fc1, nn.ReLU(), self.fc2, nn.ReLU(), self.fc3)
        return head(eyes(x))


LENET_ALTERNATIVES = (
    Alternative(name="pools_first", code=(Layers, LeNet__pools_first)),
    alternative(LeNet__sequential),
)
LENET_MISCONCEPTIONS = (
    slip("no_relu_fc1", {"x = F.relu(self.fc1(x))": "x = self.fc1(x)"},
         "Your scores equal those of a network without the ReLU between fc1 and fc2: two linear layers in a "
         "row collapse into one.", "card trap: missing ReLU after fc1"),
    slip("channels_last", {"x.flatten(1)": "x.permute(0, 2, 3, 1).flatten(1)"},
         "Your flattening runs over row, column, channel. fc1 expects channel, row, column, the order in which "
         "the tensor lies in memory.", "library difference: Keras flattens (H, W, C), PyTorch (C, H, W)"),
    slip("no_relu_fc2",
         {"x = F.relu(self.fc2(x))": "x = self.fc2(x)"},
         "There is no ReLU behind fc2: fc2 and fc3 are one linear layer then.",
         "student mistake: missing ReLU after fc2"),
    slip("softmax", {"return self.fc3(x)": "return self.fc3(x).softmax(1)"},
         "Your rows are probabilities. Return the scores of fc3: F.cross_entropy applies the softmax itself.",
         "student mistake: softmax before F.cross_entropy, a frequent question on the PyTorch forum"),
    slip("relu_on_scores", {"return self.fc3(x)": "return F.relu(self.fc3(x))"},
         "Your scores are never negative: the last layer, fc3, has no ReLU behind it.",
         "student mistake: one loop over all layers with the ReLU inside"),
    slip("average_pooling",
         {"x = F.max_pool2d(F.relu(self.conv1(x)), 2)": "x = F.avg_pool2d(F.relu(self.conv1(x)), 2)",
          "x = F.max_pool2d(F.relu(self.conv2(x)), 2)": "x = F.avg_pool2d(F.relu(self.conv2(x)), 2)"},
         "You pool by the average. The modern form takes the largest of each 2x2 block.",
         "paper: the subsampling layers S2 and S4 of LeCun et al. 1998 average"),
    slip("tanh",
         {"x = F.max_pool2d(F.relu(self.conv1(x)), 2)": "x = F.max_pool2d(torch.tanh(self.conv1(x)), 2)",
          "x = F.max_pool2d(F.relu(self.conv2(x)), 2)": "x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)",
          "x = F.relu(self.fc1(x))": "x = torch.tanh(self.fc1(x))",
          "x = F.relu(self.fc2(x))": "x = torch.tanh(self.fc2(x))"},
         "You squash with tanh as the paper did. The modern form uses ReLU after every layer but the last.",
         "paper: the squashing function of LeCun et al. 1998 is a scaled tanh"),
    slip("guessed_axis", {"x.flatten(1)": "x.view(x.shape[0], -1)"},
         "With an empty batch, view(N, -1) cannot guess the second size (0 x anything = 0). x.flatten(1) can.",
         "library difference: view(0, -1) is ambiguous, flatten(1) is not"),
)  # fmt: skip
