"""Chapter 28, notebook 2: cases, probe and variants of `attack_step`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise, mistaken
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
            self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)

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
        "losses": [loss if type(loss) is float else f"a {type(loss).__name__}" for loss in losses],
        "prompt": prompt.detach().clone(),
        "states are unchanged": bool((states == data["states"]).all()),
        "network has gradients": net.weight.grad is not None,
        "network is unchanged": bool((net.weight == data["weight"]).all()),
        "parts that can learn": [name for name, p in net.named_parameters() if p.requires_grad],
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
    K, end = len(prompt), states.shape[1]
    if first + K > end - (mistake == "too strict") and mistake != "silent":
        raise ValueError("too many vectors")
    if mistake in ("freezes", "frees"):
        unet.requires_grad_(False)
    attacked = states.clone()
    start = first + 1 if mistake == "shifted" and first + 1 + K <= states.shape[1] else first
    if mistake == "added":
        attacked[:, start : start + K] += prompt
    elif mistake == "first example":
        attacked[0, start : start + K] = prompt
    elif mistake in ("inserted", "appended"):
        place = first if mistake == "inserted" else end - K
        attacked = torch.cat([states[:, :place], prompt.expand(len(states), -1, -1), states[:, place:]], 1)[:, :end]
    else:
        attacked[:, start : start + K] = prompt
    reduction = "sum" if mistake == "sum" else "mean"
    loss = F.mse_loss(unet(x_t, t, attacked).sample, wanted, reduction=reduction)
    if mistake == "absolute":
        loss = F.l1_loss(unet(x_t, t, attacked).sample, wanted)
    if mistake == "negated":
        loss = -loss
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
    if mistake == "frees":
        unet.requires_grad_(True)
    if mistake == "loss afterwards":
        attacked = torch.cat([states[:, :first], prompt.expand(len(states), -1, -1), states[:, first + K :]], 1)
        loss = F.mse_loss(unet(x_t, t, attacked).sample, wanted)
    return loss.detach() if mistake == "tensor" else loss.item()


def attack_step__freezes(*args):
    return attack_with_mistake("freezes", *args)


def attack_step__frees(*args):
    return attack_with_mistake("frees", *args)


def attack_step__tensor(*args):
    return attack_with_mistake("tensor", *args)


def attack_step__loss_afterwards(*args):
    return attack_with_mistake("loss afterwards", *args)


def attack_step__negated(*args):
    return attack_with_mistake("negated", *args)


def attack_step__inserted(*args):
    return attack_with_mistake("inserted", *args)


def attack_step__appended(*args):
    return attack_with_mistake("appended", *args)


def attack_step__absolute(*args):
    return attack_with_mistake("absolute", *args)


def attack_step__silent(*args):
    return attack_with_mistake("silent", *args)


def attack_step__too_strict(*args):
    return attack_with_mistake("too strict", *args)


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
            attack_with_mistake,
        ),
        mistaken(
            attack_step__shifted,
            "Your vectors stand one position too far right. They begin at `first`.",
            "student mistake: the start token counted twice",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__added,
            "You add the vectors to the states. They take their place.",
            "student mistake: += for =",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__first_example,
            "Only the first example is attacked. The prompt is the same for the whole batch.",
            "card: adv is shared across the batch",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__away,
            "Your prompt moves away from `wanted`. The attack makes the loss SMALLER.",
            "student mistake: gradient ascent, as in attacks on classifiers",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__network_too,
            "The prompt is right, but a gradient is left at the network, where the eraser's next step would find it. "
            "Ask for the gradient at `prompt` alone.",
            "card trap: the gradient of L_Adv must not reach the eraser",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__piles_up,
            "An older gradient of `prompt` is added to the new one. Replace it, or clear it first.",
            "student mistake: zero_grad forgotten",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__sum,
            "Your loss is a sum. Take the mean.",
            "student mistake: reduction",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__freezes,
            "You freeze the network and leave it so. The eraser could not learn afterwards: ask autograd for the "
            "gradient at `prompt` alone, and leave requires_grad as it is.",
            "first reader: no case told it from the right answer",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__frees,
            "You set requires_grad of the whole network back to True, and so free what was frozen. Leave it as it is.",
            "first reader: no case told it from the right answer",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__tensor,
            "You return a tensor. loss.item() gives the number, and lets the graph go.",
            "first reader: no case told it from the right answer",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__loss_afterwards,
            "You return the loss after the step. Return the one before, from which the step was computed.",
            "student mistake: a second pass for the report",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__negated,
            "Your loss is negative, so the prompt moves away from `wanted`. The attack makes the error SMALLER.",
            "student mistake: gradient ascent, as in attacks on classifiers",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__inserted,
            "You insert the vectors and move the rest to the right. They take the PLACE of K states.",
            "student mistake: insertion for replacement",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__appended,
            "Your vectors stand at the end. They begin at position `first`.",
            "student mistake: an argument that is not used",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__absolute,
            "You take absolute differences. The loss is a mean of squares.",
            "student mistake: L1 for L2",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__silent,
            "Vectors that reach beyond the last position must raise a ValueError, before anything else happens.",
            "student mistake: no check of an argument",
            attack_with_mistake,
        ),
        mistaken(
            attack_step__too_strict,
            "You refuse a prompt that ends at the last position. first + K may be as large as the number of positions.",
            "student mistake: one off",
            attack_with_mistake,
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
