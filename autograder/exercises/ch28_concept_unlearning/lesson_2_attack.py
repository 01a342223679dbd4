"""Chapter 28, notebook 2: cases, probe and variants of `attack_step`."""

import torch
import torch.nn.functional as F

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def attack_cases(rng: torch.Generator) -> list[Case]:
    """Draw positions and batches; one prompt reaches beyond the end, one network has no gradients to keep."""

    def case(group: str, note: str, B: int, K: int, first: int, steps: int = 1, dtype=torch.float32) -> Case:
        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=dtype)

        data = {
            "x": draw(B, 3, 2, 2), "t": torch.randint(0, 1000, (B,), generator=rng), "states": draw(B, 7, 4),
            "prompt": draw(K, 4), "first": first, "wanted": draw(B, 3, 2, 2), "weight": draw(7, 4, 3), "steps": steps,
            "left over": draw(K, 4),
        }  # fmt: skip
        return Case(group, data, note)

    return [
        case("step", "two vectors in a batch of three", 3, 2, 2),
        case("step", "one vector, one example, float64", 1, 1, 1, dtype=torch.float64),
        case("steps", "three steps by one optimizer", 2, 2, 3, steps=3),
        case("edge", "up to the last position", 2, 3, 4),
        case("edge", "one position too far", 2, 3, 5),
    ]


def attack_probe(ns, data):
    """Attack a small network; return losses, the learned prompt, and what else was changed."""
    from types import SimpleNamespace

    class Net(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(weight.clone())

        def forward(self, sample, timestep, encoder_hidden_states, **_):
            shift = torch.einsum("bnd,ndc->bc", encoder_hidden_states, self.weight)[:, :, None, None]
            return SimpleNamespace(sample=torch.tanh(sample * (1 + timestep.view(-1, 1, 1, 1) / 1000) + shift / 4))

    net, prompt = Net(data["weight"]), nn.Parameter(data["prompt"].clone())
    prompt.grad = data["left over"].clone()
    optimizer = torch.optim.SGD([prompt], lr=0.1, momentum=0.9)
    states = data["states"].clone()
    arguments = (data["x"], data["t"], states, prompt, data["first"], data["wanted"], optimizer)
    losses = [ns.attack_step(net, *arguments) for _ in range(data["steps"])]
    return {
        "losses": [float(loss) for loss in losses],
        "prompt": prompt.detach().clone(),
        "states are unchanged": bool((states == data["states"]).all()),
        "network has gradients": net.weight.grad is not None,
        "network is unchanged": bool((net.weight == data["weight"]).all()),
    }


def attack_step__cat(unet, x_t, t, states, prompt, first, wanted, optimizer):
    last = first + prompt.shape[0]
    if last > states.shape[1]:
        raise ValueError("too many vectors")
    middle = prompt.unsqueeze(0).expand(len(states), -1, -1)
    attacked = torch.cat([states[:, :first], middle, states[:, last:]], dim=1)
    loss = (unet(x_t, t, attacked).sample - wanted).square().mean()
    prompt.grad = torch.autograd.grad(loss, prompt)[0]
    optimizer.step()
    return float(loss.detach())


def attack_step__backward_inputs(unet, x_t, t, states, prompt, first, wanted, optimizer):
    places = range(first, first + len(prompt))
    if places.stop > states.shape[1]:
        raise ValueError(f"no place for {places}")
    optimizer.zero_grad()
    attacked = states.clone()
    for k, place in enumerate(places):
        attacked[:, place] = prompt[k]
    loss = F.mse_loss(unet(x_t, t, attacked).sample, wanted)
    loss.backward(inputs=[prompt])
    optimizer.step()
    return loss.item()


def attack_with_mistake(mistake, unet, x_t, t, states, prompt, first, wanted, optimizer):
    if first + len(prompt) > states.shape[1]:
        raise ValueError("too many vectors")
    K = len(prompt)
    attacked = states.clone()
    start = first + 1 if mistake == "shifted" and first + 1 + K <= states.shape[1] else first
    if mistake == "added":
        attacked[:, start : start + K] += prompt
    elif mistake == "first example":
        attacked[0, start : start + K] = prompt
    else:
        attacked[:, start : start + K] = prompt
    reduction = "sum" if mistake == "sum" else "mean"
    loss = F.mse_loss(unet(x_t, t, attacked).sample, wanted, reduction=reduction)
    if mistake == "away":
        prompt.grad = -torch.autograd.grad(loss, prompt)[0]
    elif mistake == "network too":
        optimizer.zero_grad()
        loss.backward()
    elif mistake == "piles up":
        loss.backward(inputs=[prompt])
    else:
        (prompt.grad,) = torch.autograd.grad(loss, [prompt])
    if mistake == "in place":
        states[:] = attacked.detach()
    optimizer.step()
    return loss.item()


def attack_step__in_place(*args):
    return attack_with_mistake("in place", *args)


def attack_step__shifted(*args):
    return attack_with_mistake("shifted", *args)


def attack_step__added(*args):
    return attack_with_mistake("added", *args)


def attack_step__first_example(*args):
    return attack_with_mistake("first example", *args)


def attack_step__away(*args):
    return attack_with_mistake("away", *args)


def attack_step__network_too(*args):
    return attack_with_mistake("network too", *args)


def attack_step__piles_up(*args):
    return attack_with_mistake("piles up", *args)


def attack_step__sum(*args):
    return attack_with_mistake("sum", *args)


def mistaken(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function."""
    name = variant.__name__.split("__")[1]
    return Misconception(name=name, code=(attack_with_mistake, variant), hint=hint, source_of=source_of)


ATTACK = Exercise(
    name="attack_step",
    methods=("ch28/receler_adversarial",),
    groups={"step": 2, "steps": 1, "edge": 1},
    cases=attack_cases,
    probe=attack_probe,
    alternatives=(
        Alternative(name="cat", code=(attack_step__cat,)),
        Alternative(name="backward_inputs", code=(attack_step__backward_inputs,)),
    ),
    misconceptions=(
        mistaken(
            attack_step__in_place,
            "You write the learned vectors into `states` itself. Work on a copy.",
            "card: positions outside the slots, and the caller's tensor, stay as they are",
        ),
        mistaken(
            attack_step__shifted,
            "Your vectors stand one position too far right. They begin at `first`.",
            "student mistake: the start token counted twice",
        ),
        mistaken(
            attack_step__added,
            "You add the vectors to the states. They take their place.",
            "student mistake: += for =",
        ),
        mistaken(
            attack_step__first_example,
            "Only the first example is attacked. The prompt is the same for the whole batch.",
            "card: adv is shared across the batch",
        ),
        mistaken(
            attack_step__away,
            "Your prompt moves away from `wanted`. The attack makes the loss SMALLER.",
            "student mistake: gradient ascent, as in attacks on classifiers",
        ),
        mistaken(
            attack_step__network_too,
            "The prompt is right, but a gradient is left at the network, where the eraser's next step would find it. "
            "Ask for the gradient at `prompt` alone.",
            "card trap: the gradient of L_Adv must not reach the eraser",
        ),
        mistaken(
            attack_step__piles_up,
            "An older gradient of `prompt` is added to the new one. Replace it, or clear it first.",
            "student mistake: zero_grad forgotten",
        ),
        mistaken(
            attack_step__sum,
            "Your loss is a sum. Take the mean.",
            "student mistake: reduction",
        ),
    ),
    hints=(
        "Which tensor may have a gradient after this step, and which may not?",
        "Check the length; clone the states and write the prompt into the slice of all examples; loss; the gradient "
        "by torch.autograd.grad at the prompt alone, stored in prompt.grad; optimizer.step().",
        "attacked = states.clone(); attacked[:, first : first + len(prompt)] = prompt; (prompt.grad,) = "
        "torch.autograd.grad(loss, [prompt]); optimizer.step(); return loss.item()",
    ),
    good_for="finding out what a model still knows",
    minutes=20,
    core=True,
)
