"""Chapter 16, notebook 1: cases, probe and variants of `clip_train_step`."""

import math

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def step_cases(rng: torch.Generator) -> list[Case]:
    """Draw a linear image tower and a table of words; the factor begins in the middle, near 100 and near 1."""

    def case(group: str, note: str, log_scale: float, *, stale: bool = False, **more) -> Case:
        data = {
            "images": torch.randn(5, 4, generator=rng, dtype=torch.float64),
            "ids": torch.randint(0, 6, (5,), generator=rng),
            "image_tower": torch.randn(4, 3, generator=rng, dtype=torch.float64),
            "words": torch.randn(6, 3, generator=rng, dtype=torch.float64),
            "log_scale": log_scale,
            "stale": stale,
            "lr": 0.2 if group == "step" else 1e-3,  # a large step would leave the range at the other end
        }
        return Case(group, data | {"more": more}, note)

    return [
        case("step", "two steps", 2.0),
        case("step", "gradients are left over from before", 1.5, stale=True),
        case("clamp", "the factor is above 100", 6.0),
        case("clamp", "the factor is below 1", -2.0),
        case("clamp", "max_scale = 5", 3.0, max_scale=5.0),
    ]


def step_probe(ns, data):
    """Do two steps of plain gradient descent and return the losses and what the model has become."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.image_tower = nn.Parameter(data["image_tower"].clone())
            self.words = nn.Parameter(data["words"].clone())
            self.logit_scale = nn.Parameter(torch.tensor(data["log_scale"], dtype=torch.float64))

        def encode_image(self, images):
            return images @ self.image_tower

        def encode_text(self, ids):
            return self.words[ids]

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=data["lr"])
    if data["stale"]:
        for p in model.parameters():
            p.grad = torch.ones_like(p)
    losses = [ns.clip_train_step(model, data["images"], data["ids"], optimizer, **data["more"]) for _ in range(2)]
    return {
        "losses": [float(loss) for loss in losses],
        "is a float": [type(loss).__name__ for loss in losses],
        "image tower": model.image_tower.detach(),
        "words": model.words.detach(),
        "logit_scale": model.logit_scale.detach(),
        "is still trained": model.logit_scale.requires_grad and isinstance(model.logit_scale, nn.Parameter),
    }


def clip_loss__given(img, txt, log_scale):
    Z = log_scale.exp() * F.cosine_similarity(img[:, None], txt[None], dim=2)
    return (2 * Z.trace() - Z.logsumexp(1).sum() - Z.logsumexp(0).sum()) / (-2 * len(Z))


def clip_train_step__data(model, images, ids, optimizer, *, max_scale=100.0):
    for p in model.parameters():
        p.grad = None
    img, txt = model.encode_image(images), model.encode_text(ids)
    loss = clip_loss(img, txt, model.logit_scale)
    loss.backward()
    optimizer.step()
    model.logit_scale.data = model.logit_scale.data.clamp(min=0.0, max=math.log(max_scale))
    return float(loss)


def clip_train_step__copied(model, images, ids, optimizer, *, max_scale=100.0):
    optimizer.zero_grad(set_to_none=False)
    loss = clip_loss(model.encode_image(images), model.encode_text(ids), model.logit_scale)
    value = loss.detach().clone()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        if model.logit_scale > math.log(max_scale):
            model.logit_scale.fill_(math.log(max_scale))
        elif model.logit_scale < 0:
            model.logit_scale.zero_()
    return value.item()


STEP = Exercise(
    name="clip_train_step",
    methods=("ch16/clip_train",),
    groups={"step": 2, "clamp": 1},
    cases=step_cases,
    probe=step_probe,
    uses=("clip_loss",),
    standins=(Alternative(name="clip_loss", code=(clip_loss__given,)),),
    alternatives=(alternative(clip_train_step__data), alternative(clip_train_step__copied)),
    misconceptions=(
        slip("no_clamp",
             {("with torch.no_grad():\n"
               "    model.logit_scale.clamp_(0, math.log(max_scale))"):
                ""},
             "After the step `logit_scale` may lie outside [0, ln max_scale]. Clamp it, in place, under no_grad.",
             "paper: CLIP clips the factor at 100, 'which we found necessary to prevent training instability'"),
        slip("too_early",
             {"loss = clip_loss(":
                "with torch.no_grad():\n"
                "    model.logit_scale.clamp_(0, math.log(max_scale))\n"
                "loss = clip_loss(",
              ("with torch.no_grad():\n"
               "    model.logit_scale.clamp_(0, math.log(max_scale))"):
                ""},
             "You clamp `logit_scale` before the step, so the step may push it out again. Clamp after it.",
             "card trap: clamped after the step [open_clip_train]"),
        slip("between",
             {("optimizer.step()\n"
               "with torch.no_grad():\n"
               "    model.logit_scale.clamp_(0, math.log(max_scale))"):
                "with torch.no_grad():\n"
                "    model.logit_scale.clamp_(0, math.log(max_scale))\n"
                "optimizer.step()"},
             "You clamp `logit_scale` before the step, so the step may push it out again. Clamp after it.",
             "student mistake: the clamp stands between backward and step"),
        slip("always_100", {"math.log(max_scale)": "math.log(100)"},
             "Your upper end is ln 100 whatever the caller says. It is ln(max_scale).",
             "student mistake: the paper's number in place of the argument"),
        slip("new_parameter",
             {("with torch.no_grad():\n"
               "    model.logit_scale.clamp_(0, math.log(max_scale))"):
                "model.logit_scale = nn.Parameter(model.logit_scale.detach().clamp(0, math.log(max_scale)))"},
             "You put a new parameter in the place of `logit_scale`; the optimizer still holds the old one, "
             "and the new one never learns. Change the old one in place, under no_grad.",
             "student mistake: model.logit_scale = nn.Parameter(...)"),
        slip("nothing_moves",
             {("optimizer.zero_grad()\n"
               "loss.backward()"):
                "loss.backward()\n"
                "optimizer.zero_grad()"},
             "The weights do not move: there are no gradients when the optimizer steps (cleared after "
             "`backward`?), or it does not step.", "student mistake: zero_grad between backward and step"),
        slip("no_log", {"math.log(max_scale)": "max_scale"},
             "The upper end is ln(max_scale), since `logit_scale` is a logarithm; e to the power 100 is no "
             "limit at all.", "student mistake: clamp(0, 100) on a logarithm"),
        slip("no_lower_end", {"clamp_(0, ": "clamp_(None, "},
             "There is a lower end, too: `logit_scale` stays at 0 or above, the factor at 1 or above.",
             "library difference: open_clip_train clamps to [0, ln 100]"),
        slip("gradients_pile_up", {"optimizer.zero_grad()": ""},
             "Gradients of earlier steps are still in `.grad` and are added to yours. Clear them before `backward`.",
             "student mistake: zero_grad forgotten"),
        slip("twice_exp", {"model.logit_scale)": "model.logit_scale.exp())"},
             "You hand `clip_loss` the factor. It wants the logarithm, `model.logit_scale`, and takes exp itself.",
             "library difference: open_clip's ClipLoss wants logit_scale.exp()"),
        slip("after_the_step",
             {"optimizer.step()":
                "optimizer.step()\n"
                "with torch.no_grad():\n"
                "    loss = clip_loss(model.encode_image(images), model.encode_text(ids), model.logit_scale)"},
             "You return the loss of the changed model. Return the one that you called backward on.",
             "student mistake: a second forward pass for the report"),
        slip("after_everything",
             {"    model.logit_scale.clamp_(0, math.log(max_scale))":
                "    model.logit_scale.clamp_(0, math.log(max_scale))\n"
                "    loss = clip_loss(model.encode_image(images), model.encode_text(ids), model.logit_scale)"},
             "You return the loss of the changed model. Return the one that you called backward on.",
             "student mistake: a second forward pass for the report"),
        slip("tensor", {"loss.item()": "loss"},
             "You return a tensor, which keeps the whole graph alive. Return a Python number: loss.item().",
             "student mistake: a list of losses that fills the memory"),
    ),
    hints=(
        "Which five things does every training step do, and which one is CLIP's own?",
        "loss = clip_loss(image features, text features, model.logit_scale); clear gradients; backward; step; clamp "
        "under torch.no_grad(); return loss.item().",
        "with torch.no_grad(): model.logit_scale.clamp_(0, math.log(max_scale))",
    ),
    good_for="the whole training program of CLIP, but for the data",
    minutes=15,
    core=True,
)  # fmt: skip
