"""Chapter 28, notebook 2: cases, probe and variants of `attack_step`."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
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
        "losses": losses,
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


ATTACK = Exercise(
    name="attack_step",
    methods=("ch28/receler_adversarial",),
    groups={"step": 2, "steps": 1, "edge": 1},
    cases=attack_cases,
    probe=attack_probe,
    alternatives=(alternative(attack_step__cat), alternative(attack_step__backward_inputs)),
    misconceptions=(
        slip("in_place",
             {"optimizer.step()":
                "states[:] = attacked.detach()\n"
                "optimizer.step()"},
             "You write the learned vectors into `states` itself. Work on a copy.",
             "card: positions outside the slots, and the caller's tensor, stay as they are"),
        slip("shifted",
             {"attacked[:, first : first + len(prompt)] = prompt":
                "first = min(first + 1, states.shape[1] - len(prompt))\n"
                "attacked[:, first : first + len(prompt)] = prompt"},
             "Your vectors stand one position too far right. They begin at `first`.",
             "student mistake: the start token counted twice"),
        slip("added", {"] = prompt": "] += prompt"},
             "You add the vectors to the states. They take their place.", "student mistake: += for ="),
        slip("first_example", {"attacked[:, first": "attacked[0, first"},
             "Only the first example is attacked. The prompt is the same for the whole batch.",
             "card: adv is shared across the batch"),
        slip("away",
             {"(prompt.grad,) = torch.autograd.grad(loss, [prompt])":
                "prompt.grad = -torch.autograd.grad(loss, [prompt])[0]"},
             "Your prompt moves away from `wanted`. The attack makes the loss SMALLER.",
             "student mistake: gradient ascent, as in attacks on classifiers"),
        slip("network_too",
             {"(prompt.grad,) = torch.autograd.grad(loss, [prompt])":
                "optimizer.zero_grad()\n"
                "loss.backward()"},
             "The prompt is right, but a gradient is left at the network, where the eraser's next step would "
             "find it. Ask for the gradient at `prompt` alone.",
             "card trap: the gradient of L_Adv must not reach the eraser"),
        slip("piles_up", {"(prompt.grad,) = torch.autograd.grad(loss, [prompt])": "loss.backward(inputs=[prompt])"},
             "An older gradient of `prompt` is added to the new one. Replace it, or clear it first.",
             "student mistake: zero_grad forgotten"),
        slip("sum",
             {"F.mse_loss(unet(x_t, t, attacked).sample, wanted)":
                'F.mse_loss(unet(x_t, t, attacked).sample, wanted, reduction="sum")'},
             "Your loss is a sum. Take the mean.", "student mistake: reduction"),
        slip("freezes",
             {"attacked = states.clone()":
                "unet.requires_grad_(False)\n"
                "attacked = states.clone()"},
             "You freeze the network and leave it so. The eraser could not learn afterwards: ask autograd for "
             "the gradient at `prompt` alone, and leave requires_grad as it is.",
             "first reader: no case told it from the right answer"),
        slip("frees",
             {"attacked = states.clone()":
                "unet.requires_grad_(False)\n"
                "attacked = states.clone()",
              "optimizer.step()":
                "optimizer.step()\n"
                "unet.requires_grad_(True)"},
             "You set requires_grad of the whole network back to True, and so free what was frozen. Leave it "
             "as it is.", "first reader: no case told it from the right answer"),
        slip("tensor", {"loss.item()": "loss.detach()"},
             "You return a tensor. loss.item() gives the number, and lets the graph go.",
             "first reader: no case told it from the right answer"),
        slip("loss_afterwards",
             {"optimizer.step()":
                "optimizer.step()\n"
                "attacked = states.clone()\n"
                "attacked[:, first : first + len(prompt)] = prompt\n"
                "loss = F.mse_loss(unet(x_t, t, attacked).sample, wanted)"},
             "You return the loss after the step. Return the one before, from which the step was computed.",
             "student mistake: a second pass for the report"),
        slip("negated", {"loss = F.mse_loss": "loss = -F.mse_loss"},
             "Your loss is negative, so the prompt moves away from `wanted`. The attack makes the error SMALLER.",
             "student mistake: gradient ascent, as in attacks on classifiers"),
        slip("inserted",
             {("attacked = states.clone()\n"
               "attacked[:, first : first + len(prompt)] = prompt"):
                "new = prompt.expand(len(states), -1, -1)\n"
                "attacked = torch.cat([states[:, :first], new, states[:, first:]], 1)[:, : states.shape[1]]"},
             "You insert the vectors and move the rest to the right. They take the PLACE of K states.",
             "student mistake: insertion for replacement"),
        slip("inserted_whole",
             {"attacked = states.clone()\nattacked[:, first : first + len(prompt)] = prompt":
              "new = prompt.expand(len(states), -1, -1)\n"
              "attacked = torch.cat([states[:, :first], new, states[:, first:]], dim=1)"},
             "You insert the vectors and move the rest to the right. They take the PLACE of K states.",
             "student mistake: a list's insert"),
        slip("one_late",
             {"attacked[:, first : first + len(prompt)] = prompt":
              "attacked[:, first + 1 : first + 1 + len(prompt)] = prompt"},
             "Your vectors stand one position too far right. They begin at `first`.",
             "student mistake: one off"),
        slip("appended", {"attacked[:, first : first + len(prompt)] = prompt": "attacked[:, -len(prompt) :] = prompt"},
             "Your vectors stand at the end. They begin at position `first`.",
             "student mistake: an argument that is not used"),
        slip("absolute", {"F.mse_loss": "F.l1_loss"},
             "You take absolute differences. The loss is a mean of squares.", "student mistake: L1 for L2"),
        slip("silent", {"if first + len(prompt) > states.shape[1]:": "if False:"},
             "Vectors that reach beyond the last position must raise a ValueError, before anything else happens.",
             "student mistake: no check of an argument"),
        slip("too_strict", {"> states.shape[1]:": ">= states.shape[1]:"},
             "You refuse a prompt that ends at the last position. first + K may be as large as the number of "
             "positions.", "student mistake: one off"),
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
)  # fmt: skip
