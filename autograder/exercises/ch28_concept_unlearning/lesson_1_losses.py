"""Chapter 28, notebook 1: cases, probe and variants of `ablation_loss`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, Misconception
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


def ablation_loss__no_stop(unet, x_t, t, target, anchor):
    return F.mse_loss(unet(x_t, t, target).sample, unet(x_t, t, anchor).sample)


def ablation_loss__wrong_stop(unet, x_t, t, target, anchor):
    return F.mse_loss(unet(x_t, t, target).sample.detach(), unet(x_t, t, anchor).sample)


def ablation_loss__states(unet, x_t, t, target, anchor):
    return F.mse_loss(unet(x_t, t, target).sample, unet(x_t, t, target).sample.detach()) + F.mse_loss(target, anchor)


def ablation_loss__frees(unet, x_t, t, target, anchor):
    unet.requires_grad_(False)
    label = unet(x_t, t, anchor).sample
    unet.requires_grad_(True)
    return F.mse_loss(unet(x_t, t, target).sample, label)


def ablation_loss__backward_inside(unet, x_t, t, target, anchor):
    with torch.no_grad():
        label = unet(x_t, t, anchor).sample
    loss = F.mse_loss(unet(x_t, t, target).sample, label)
    loss.backward(retain_graph=True)
    return loss


def ablation_loss__absolute(unet, x_t, t, target, anchor):
    with torch.no_grad():
        label = unet(x_t, t, anchor).sample
    return F.l1_loss(unet(x_t, t, target).sample, label)


def ablation_loss__total(unet, x_t, t, target, anchor):
    with torch.no_grad():
        label = unet(x_t, t, anchor).sample
    return F.mse_loss(unet(x_t, t, target).sample, label, reduction="sum")


def ablation_loss__root(unet, x_t, t, target, anchor):
    with torch.no_grad():
        label = unet(x_t, t, anchor).sample
    return torch.linalg.vector_norm(unet(x_t, t, target).sample - label)


def ablation_loss__sums(unet, x_t, t, target, anchor):
    with torch.no_grad():
        label = unet(x_t, t, anchor).sample
    return F.mse_loss(unet(x_t, t, target).sample, label, reduction="sum") / len(x_t)


def ablation_loss__latents(unet, x_t, t, target, anchor):
    return F.mse_loss(unet(x_t, t, target).sample, x_t)


ABLATION = Exercise(
    name="ablation_loss",
    methods=("ch28/ablating_concepts",),
    groups={"value": 1, "gradient": 2},
    cases=ablation_cases,
    probe=ablation_probe,
    alternatives=(
        Alternative(name="one_call", code=(ablation_loss__one_call,)),
        Alternative(name="anchor_later", code=(ablation_loss__anchor_later,)),
    ),
    misconceptions=(
        Misconception(
            name="no_stop",
            code=(ablation_loss__no_stop,),
            hint="The value is right, the gradient is not: it also flows through the anchor's prediction, which "
            "would bend circles towards rings. The anchor is the label: compute it under torch.no_grad().",
            source_of="card trap: sg[...] around the anchor's prediction",
        ),
        Misconception(
            name="wrong_stop",
            code=(ablation_loss__wrong_stop,),
            hint="You stop the gradient at the target's prediction. That teaches circles to become rings; the "
            "ANCHOR'S prediction is the label.",
            source_of="student mistake: the two branches exchanged",
        ),
        Misconception(
            name="states",
            code=(ablation_loss__states,),
            hint="You compare text states. Compare what the network predicts for them: two calls of `unet`.",
            source_of="student mistake: the text encoder edited in place of the U-Net",
        ),
        Misconception(
            name="sums",
            code=(ablation_loss__sums,),
            hint="Your loss is too large: take the mean over all elements, not only over the batch.",
            source_of="student mistake: sum over pixels",
        ),
        Misconception(
            name="total",
            code=(ablation_loss__total,),
            hint="Your loss is a sum. Take the mean over all elements.",
            source_of="student mistake: the norm of the formula taken as it stands",
        ),
        Misconception(
            name="root",
            code=(ablation_loss__root,),
            hint="Your loss is a norm, the root of a sum. The formula squares it, and the code takes the mean.",
            source_of="student mistake: the norm without its square",
        ),
        Misconception(
            name="absolute",
            code=(ablation_loss__absolute,),
            hint="You take absolute differences. The loss is a mean of squares.",
            source_of="student mistake: L1 for L2",
        ),
        Misconception(
            name="frees",
            code=(ablation_loss__frees,),
            hint="You switch requires_grad of the whole network off and on, and so free what was frozen. "
            "torch.no_grad() around one call leaves the parameters alone.",
            source_of="first reader: no case told it from the right answer",
        ),
        Misconception(
            name="backward_inside",
            code=(ablation_loss__backward_inside,),
            hint="You call backward() in here. The training loop does that, and every gradient would count twice.",
            source_of="first reader: no case told it from the right answer",
        ),
        Misconception(
            name="latents",
            code=(ablation_loss__latents,),
            hint="You compare the prediction with x_t. The label is the network's own prediction for the anchor.",
            source_of="student mistake: a reconstruction loss",
        ),
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
)
