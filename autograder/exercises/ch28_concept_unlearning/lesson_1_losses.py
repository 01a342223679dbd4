"""Chapter 28, notebook 1: cases, probe and variants of `ablation_loss`."""

import torch

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def network_case(rng: torch.Generator, group: str, note: str, B: int, dtype: torch.dtype, **more) -> Case:
    """Draw latents, times, states and the weights of two small networks."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=dtype)

    data = {
        "x": draw(B, 3, 4, 5), "t": torch.randint(0, 1000, (B,), generator=rng), "target": draw(B, 6, 4),
        "anchor": draw(B, 6, 4), "weight": draw(3, 4), "frozen": draw(3, 4), "ask": group,
    }  # fmt: skip
    return Case(group, data | more, note)


def ablation_cases(rng: torch.Generator) -> list[Case]:
    """Draw batches of one and more, with different times, and one whose two prompts are the same."""
    same = network_case(rng, "value", "both prompts the same", 2, torch.float32)
    same.data["anchor"] = same.data["target"].clone()
    return [
        network_case(rng, "value", "three examples at different times", 3, torch.float32),
        same,
        network_case(rng, "gradient", "the gradient at the network's weight", 3, torch.float32),
        network_case(rng, "gradient", "one example, float64", 1, torch.float64),
    ]


def ablation_probe(ns, data):
    """Call the loss with a small network in place of the U-Net; return the loss, the gradient, what else changed."""
    from types import SimpleNamespace

    class Net(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(weight.clone())
            self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)

        def forward(self, sample, timestep, encoder_hidden_states, **_):
            shift = (encoder_hidden_states.mean(1) @ self.weight.T)[:, :, None, None]
            late = timestep.view(-1, 1, 1, 1) / 1000
            return SimpleNamespace(sample=torch.tanh(sample * (1 + late) + shift))

    net = Net(data["weight"])
    loss = ns.ablation_loss(net, data["x"], data["t"], data["target"], data["anchor"])
    if data["ask"] == "value":
        return loss.detach()
    free = [name for name, p in net.named_parameters() if p.requires_grad]
    left = net.weight.grad is not None
    gradient = torch.autograd.grad(loss, [net.weight])[0]
    return {"loss": loss.detach(), "gradient": gradient, "parts that can learn": free, "a gradient is left": left}


def ablation_loss__one_call(unet, x_t, t, target, anchor):
    both = unet(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([target, anchor])).sample
    mine, label = both.chunk(2)
    return (mine - label.detach()).square().mean()


def ablation_loss__anchor_later(unet, x_t, t, target, anchor):
    output = unet(x_t, t, encoder_hidden_states=target).sample
    label = unet(x_t, t, encoder_hidden_states=anchor).sample.detach()
    return ((output - label) ** 2).sum() / output.numel()


ABLATION = Exercise(
    name="ablation_loss",
    methods=("ch28/ablating_concepts",),
    groups={"value": 1, "gradient": 2},
    cases=ablation_cases,
    probe=ablation_probe,
    alternatives=(alternative(ablation_loss__one_call), alternative(ablation_loss__anchor_later)),
    misconceptions=(
        slip("no_stop",
             {("with torch.no_grad():\n"
               "    label = unet(x_t, t, anchor).sample"):
                "label = unet(x_t, t, anchor).sample"},
             "The value is right, the gradient is not: it also flows through the anchor's prediction, which "
             "would bend circles towards rings. The anchor is the label: compute it under torch.no_grad().",
             "card trap: sg[...] around the anchor's prediction"),
        slip("wrong_stop",
             {("with torch.no_grad():\n"
               "    label = unet(x_t, t, anchor).sample"):
                "label = unet(x_t, t, anchor).sample",
              "target).sample, label": "target).sample.detach(), label"},
             "You stop the gradient at the target's prediction. That teaches circles to become rings; the "
             "ANCHOR'S prediction is the label.", "student mistake: the two branches exchanged"),
        slip("states",
             {("with torch.no_grad():\n"
               "    label = unet(x_t, t, anchor).sample"):
                "label = unet(x_t, t, target).sample.detach()",
              "return F.mse_loss(unet(x_t, t, target).sample, label)":
                "return F.mse_loss(unet(x_t, t, target).sample, label) + F.mse_loss(target, anchor)"},
             "You compare text states. Compare what the network predicts for them: two calls of `unet`.",
             "student mistake: the text encoder edited in place of the U-Net"),
        slip("sums",
             {"return F.mse_loss(unet(x_t, t, target).sample, label)":
                'return F.mse_loss(unet(x_t, t, target).sample, label, reduction="sum") / len(x_t)'},
             "Your loss is too large: take the mean over all elements, not only over the batch.",
             "student mistake: sum over pixels"),
        slip("total", {", label)": ', label, reduction="sum")'},
             "Your loss is a sum. Take the mean over all elements.",
             "student mistake: the norm of the formula taken as it stands"),
        slip("root",
             {"return F.mse_loss(unet(x_t, t, target).sample, label)":
                "return torch.linalg.vector_norm(unet(x_t, t, target).sample - label)"},
             "Your loss is a norm, the root of a sum. The formula squares it, and the code takes the mean.",
             "student mistake: the norm without its square"),
        slip("absolute", {"F.mse_loss": "F.l1_loss"},
             "You take absolute differences. The loss is a mean of squares.", "student mistake: L1 for L2"),
        slip("frees",
             {("with torch.no_grad():\n"
               "    label = unet(x_t, t, anchor).sample"):
                "unet.requires_grad_(False)\n"
                "label = unet(x_t, t, anchor).sample\n"
                "unet.requires_grad_(True)"},
             "You switch requires_grad of the whole network off and on, and so free what was frozen. "
             "torch.no_grad() around one call leaves the parameters alone.",
             "first reader: no case told it from the right answer"),
        slip("backward_inside",
             {"return F.mse_loss(unet(x_t, t, target).sample, label)":
                "loss = F.mse_loss(unet(x_t, t, target).sample, label)\n"
                "loss.backward(retain_graph=True)\n"
                "return loss"},
             "You call backward() in here. The training loop does that, and every gradient would count twice.",
             "first reader: no case told it from the right answer"),
        slip("latents",
             {("with torch.no_grad():\n"
               "    label = unet(x_t, t, anchor).sample"):
                "",
              ", label)": ", x_t)"},
             "You compare the prediction with x_t. The label is the network's own prediction for the anchor.",
             "student mistake: a reconstruction loss"),
    ),
    hints=(
        "Which of the two predictions is the label? May a label have a gradient?",
        "Under torch.no_grad(), call the network with the anchor's states. Call it again with the target's states, "
        "outside. Mean squared error.",
        "with torch.no_grad(): label = unet(x_t, t, anchor).sample; F.mse_loss(unet(x_t, t, target).sample, label)",
    ),
    good_for="making one word mean what another one means",
    minutes=15,
    core=True,
)  # fmt: skip
