"""Chapter 28, notebook 1: cases, probes and variants of `ablation_loss` and of ESD's target and loss."""

import torch
import torch.nn.functional as F

from autograder.exercise import Alternative, Exercise, Misconception
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
    """Call the loss with a small network in place of the U-Net; return the loss and the gradient."""
    from types import SimpleNamespace

    class Net(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(weight.clone())

        def forward(self, sample, timestep, encoder_hidden_states, **_):
            shift = (encoder_hidden_states.mean(1) @ self.weight.T)[:, :, None, None]
            late = timestep.view(-1, 1, 1, 1) / 1000
            return SimpleNamespace(sample=torch.tanh(sample * (1 + late) + shift))

    net = Net(data["weight"])
    loss = ns.ablation_loss(net, data["x"], data["t"], data["target"], data["anchor"])
    if data["ask"] == "value":
        return loss.detach()
    return {"loss": loss.detach(), "gradient": torch.autograd.grad(loss, [net.weight])[0]}


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


def esd_cases(rng: torch.Generator) -> list[Case]:
    """Draw eta of 0, 1 and others, batches of one and more."""
    f32, f64 = torch.float32, torch.float64
    eta = 0.5 + float(torch.rand((), generator=rng))
    return [
        network_case(rng, "target", "eta = 1", 2, f32, eta=1.0),
        network_case(rng, "target", "another eta, one example", 1, f64, eta=eta),
        network_case(rng, "target", "eta = 0", 2, f32, eta=0.0),
        network_case(rng, "loss", "eta as it is by default", 3, f32, eta=None),
        network_case(rng, "loss", "eta = 2.5, one example, float64", 1, f64, eta=2.5),
    ]


def esd_probe(ns, data):
    """Ask for the target, or for the loss, its gradient, and whether the frozen network was left alone."""
    from types import SimpleNamespace

    class Net(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = nn.Parameter(weight.clone())

        def forward(self, sample, timestep, encoder_hidden_states, **_):
            shift = (encoder_hidden_states.mean(1) @ self.weight.T)[:, :, None, None]
            late = timestep.view(-1, 1, 1, 1) / 1000
            return SimpleNamespace(sample=torch.tanh(sample * (1 + late) + shift))

    if data["ask"] == "target":
        return ns.esd_target(data["x"], data["x"].flip(-1), data["eta"])
    unet, frozen = Net(data["weight"]), Net(data["frozen"])
    options = {} if data["eta"] is None else {"eta": data["eta"]}
    loss = ns.esd_loss(unet, frozen, data["x"], data["t"], data["target"], data["anchor"], **options)
    mine, other = torch.autograd.grad(loss, [unet.weight, frozen.weight], allow_unused=True)
    return {"loss": loss.detach(), "gradient": mine, "frozen network has a gradient": other is not None}


def esd_target__lerp(e_null, e_cond, eta):
    return torch.lerp(e_null, e_cond, -eta)


def esd_loss__one_call(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    both = frozen(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([null, concept])).sample.detach()
    goal = esd_target(*both.chunk(2), eta)
    return (unet(x_t, t, concept).sample - goal).pow(2).mean()


def esd_target__difference(e_null, e_cond, eta):
    return e_null - eta * (e_cond - e_null)


def esd_loss__student_first(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    output = unet(x_t, t, concept).sample
    with torch.no_grad():
        goal = frozen(x_t, t, null).sample * (1 + eta) - eta * frozen(x_t, t, concept).sample
    return F.mse_loss(output, goal)


def esd_target__towards(e_null, e_cond, eta):
    return e_null + eta * (e_cond - e_null)


def esd_target__around_the_concept(e_null, e_cond, eta):
    return e_cond - eta * (e_cond - e_null)


def esd_target__null_alone(e_null, e_cond, eta):
    return e_null - eta * e_cond


def esd_loss__own_labels(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    with torch.no_grad():
        goal = esd_target(unet(x_t, t, null).sample, unet(x_t, t, concept).sample, eta)
    return F.mse_loss(unet(x_t, t, concept).sample, goal)


def esd_loss__teacher_learns(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    goal = esd_target(frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample, eta)
    return F.mse_loss(unet(x_t, t, concept).sample, goal)


def esd_loss__empty_prompt(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    with torch.no_grad():
        goal = esd_target(frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample, eta)
    return F.mse_loss(unet(x_t, t, null).sample, goal)


def esd_loss__sums(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    with torch.no_grad():
        goal = esd_target(frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample, eta)
    return F.mse_loss(unet(x_t, t, concept).sample, goal, reduction="sum")


def esd_loss__always_one(unet, frozen, x_t, t, concept, null, *, eta=1.0):
    with torch.no_grad():
        goal = esd_target(frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample, 1.0)
    return F.mse_loss(unet(x_t, t, concept).sample, goal)


def esd_mistake(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its function."""
    return Misconception(name=variant.__name__.split("__")[1], code=(variant,), hint=hint, source_of=source_of)


ESD = Exercise(
    name="esd_loss",
    defines=("esd_target", "esd_loss"),
    methods=("ch28/esd",),
    groups={"target": 1, "loss": 2},
    cases=esd_cases,
    probe=esd_probe,
    alternatives=(
        Alternative(name="one_call", code=(esd_target__lerp, esd_loss__one_call)),
        Alternative(name="student_first", code=(esd_target__difference, esd_loss__student_first)),
    ),
    misconceptions=(
        esd_mistake(
            esd_target__towards,
            "Your target is ordinary guidance TOWARDS the concept. ESD reverses the sign of eta.",
            "student mistake: the formula of classifier-free guidance taken over",
        ),
        esd_mistake(
            esd_target__around_the_concept,
            "You start from e_cond. Start from e_null: e_null - eta (e_cond - e_null). (The authors' newer code does "
            "start from e_cond; its eta is larger by one.)",
            "library difference: eps_from = eps_c in the new official code",
        ),
        esd_mistake(
            esd_target__null_alone,
            "Your formula lacks eta * e_null: the two factors (1 + eta) and -eta must sum to 1.",
            "student mistake: brackets lost",
        ),
        esd_mistake(
            esd_loss__own_labels,
            "You take the labels from the network that is being trained. Both come from `frozen`: else the target "
            "runs away from the network that chases it.",
            "card trap: theta* is the frozen copy",
        ),
        esd_mistake(
            esd_loss__teacher_learns,
            "The value is right, but a gradient reaches the frozen network. Put its calls under torch.no_grad().",
            "card: the teacher gets no gradient",
        ),
        esd_mistake(
            esd_loss__empty_prompt,
            "You train the prediction for the empty prompt. The one for the CONCEPT shall change.",
            "student mistake: esd-u ('unconditional') misread",
        ),
        esd_mistake(
            esd_loss__sums,
            "Your loss is too large: take the mean over all elements.",
            "student mistake: sum for mean",
        ),
        esd_mistake(
            esd_loss__always_one,
            "Your loss has the same value for every eta. Hand eta on to esd_target.",
            "student mistake: an argument that is not used",
        ),
    ),
    hints=(
        "Which network knows what a ring looks like, also after training? For which prompt shall the trained one give "
        "another answer?",
        "Under torch.no_grad() call `frozen` twice, with null and with concept; combine the two by esd_target; mean "
        "squared error against unet(x_t, t, concept).sample.",
        "with torch.no_grad(): e_null, e_cond = frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample; "
        "F.mse_loss(unet(x_t, t, concept).sample, esd_target(e_null, e_cond, eta))",
    ),
    good_for="forgetting with nothing but the model's own knowledge",
    minutes=15,
    core=True,
)
