"""Chapter 3, notebook 2: cases, probe and variants of `train_epoch`."""

import torch
from torch import nn

from autograder.declare.exercise import alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def epoch_cases(rng: torch.Generator) -> list[Case]:
    """Draw small data sets, an order, and a model's first weights; 1 to 4 steps each."""

    def case(group: str, n: int, batch_size: int, note: str, *, norm: bool = False, stale: bool = False) -> Case:
        features, hidden, classes = 4, 5, 3
        data = {
            "x": torch.randn(n, features, generator=rng),
            "y": torch.randint(classes, (n,), generator=rng),
            "perm": torch.randperm(n, generator=rng),
            "batch_size": batch_size,
            "w1": torch.randn(hidden, features, generator=rng),
            "w2": torch.randn(classes, hidden, generator=rng),
            "norm": norm,
            "stale": stale,
        }
        return Case(group, data, note)

    return [
        case("plain", 9, 3, "9 samples in batches of 3"),
        case("plain", 12, 4, "12 samples in batches of 4"),
        case("edge", 10, 4, "a smaller last batch"),
        case("edge", 5, 8, "one batch with all samples"),
        case("edge", 8, 4, "a model that was in eval mode", norm=True),
        case("edge", 6, 3, "old gradients lie in the model", stale=True),
    ]


def epoch_probe(ns, data):
    """Run one epoch on a tiny model and return the losses and every number the model ends with."""
    norm = nn.BatchNorm1d(5) if data["norm"] else nn.Identity()
    model = nn.Sequential(nn.Linear(4, 5), norm, nn.Tanh(), nn.Linear(5, 3)).to(data["x"].dtype).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.25)
        model[0].weight.copy_(data["w1"])
        model[3].weight.copy_(data["w2"])
    opt = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    if data["stale"]:
        for p in model.parameters():
            p.grad = torch.ones_like(p)
    losses = ns.train_epoch(model, data["x"], data["y"], data["perm"], batch_size=data["batch_size"], opt=opt)
    return {"losses": losses, "state": dict(model.state_dict())}


def train_epoch__by_index(model, x, y, perm, *, batch_size, opt):
    model.train()
    losses, x, y = [], x[perm], y[perm]
    for start in range(0, len(perm), batch_size):
        model.zero_grad()
        loss = nn.CrossEntropyLoss()(model(x[start : start + batch_size]), y[start : start + batch_size])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def train_epoch__by_formula(model, x, y, perm, *, batch_size, opt):
    def step(rows):
        opt.zero_grad(set_to_none=False)
        log_p = torch.log_softmax(model(x[rows]), dim=1)
        loss = -log_p[torch.arange(len(rows)), y[rows]].mean()
        loss.backward()
        opt.step()
        return loss.item()

    model.train(True)
    return [step(rows) for rows in torch.split(perm, batch_size)]


EPOCH_ALTERNATIVES = (alternative(train_epoch__by_index), alternative(train_epoch__by_formula))
EPOCH_MISCONCEPTIONS = (
    slip("gradients_add_up", {"opt.zero_grad()": ""},
         "Your gradients of earlier batches are still in the sum: backward() ADDS to .grad, so empty it in "
         "every batch with opt.zero_grad().",
         "library difference: PyTorch accumulates gradients; the zero_grad question of its forum"),
    slip("cleared_once",
         {"losses = []": "losses = []\nopt.zero_grad()",
          "    opt.zero_grad()\n    loss.backward()": "    loss.backward()"},
         "You clear the gradients once, before the loop, so those of all batches add up. Clear them for every "
         "batch.",
         "student mistake: zero_grad outside the loop"),
    slip("cleared_too_late",
         {"opt.zero_grad()\nloss.backward()": "loss.backward()\nopt.zero_grad()"},
         "You clear the gradients between backward and step: the step sees none, and nothing is learned. "
         "Clear them before backward.",
         "student mistake: zero_grad after backward"),
    slip("loss_after_step",
         {"losses.append(loss.item())":
          "losses.append(F.cross_entropy(model(x[batch]), y[batch]).item())"},
         "You measure each loss again, behind the step. Promised is the one that led to the step, from before "
         "it.",
         "student mistake: the loss computed twice"),
    slip("softmax_twice",
         {"model(x[batch])": "model(x[batch]).softmax(1)"},
         "You apply a softmax before F.cross_entropy, which applies one itself. Hand it the scores as they "
         "are.",
         "library difference: F.cross_entropy takes logits"),
    slip("ignores_perm", {"perm.split": "torch.arange(len(x)).split"},
         "You visit the samples in their stored order. The order of the visit is perm.",
         "student mistake: slicing x instead of perm"),
    slip("labels_not_permuted",
         {"for batch in perm.split(batch_size):": "for k, batch in enumerate(perm.split(batch_size)):",
          "y[batch])": "y[k * batch_size :][: len(batch)])"},
         "Pictures come in the order perm, but your labels in the stored order: pictures and labels no longer "
         "belong together.", "student mistake: shuffling x but not y"),
    slip("drops_last",
         {"for batch in perm.split(batch_size):":
            "for batch in perm[: len(perm) // batch_size * batch_size].split(batch_size):"},
         "The last, smaller batch is missing: len(perm) // batch_size counts only the full ones.",
         "library difference: DataLoader(drop_last=True)"),
    slip("skips_short",
         {"for batch in perm.split(batch_size):":
          "for batch in [one for one in perm.split(batch_size) if len(one) == batch_size]:"},
         "The last, smaller batch is missing: len(perm) // batch_size counts only the full ones.",
         "library difference: DataLoader(drop_last=True)"),
    slip("mode_as_found", {"model.train()": ""},
         "The model came in eval mode and stayed in it. Call model.train() first, or batch norm and dropout do "
         "their test-time work during training.",
         "student mistake: model.eval() in the test loop and no model.train() after it"),
    slip("sum", {"y[batch])": 'y[batch], reduction="sum")'},
         "Your losses are sums over the batch. The mean is asked for, so that the step does not grow with the "
         "batch size.", "card trap of chapter 2: sum or mean over the batch"),
)  # fmt: skip
