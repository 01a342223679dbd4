"""Chapter 28, notebook 1: cases, probe and variants of ESD's target and loss."""

import torch
import torch.nn.functional as F

from autograder.declare.exercise import Alternative, Exercise
from autograder.declare.slips import slip
from autograder.exercises.ch28_concept_unlearning.lesson_1_losses import network_case
from dlcv_lab.checking.model import Case


def esd_cases(rng: torch.Generator) -> list[Case]:
    """Draw eta of 0, 1 and others, batches of one and more; some targets are small enough for a reader's head."""
    f32, f64 = torch.float32, torch.float64
    eta = 0.5 + float(torch.rand((), generator=rng))

    def target(note: str, shape: tuple[int, ...], eta: float, dtype: torch.dtype | None = None) -> Case:
        if dtype is None:  # whole numbers, the two never the same
            e_null = torch.randint(-3, 4, shape, generator=rng).float()
            e_cond = e_null + torch.randint(1, 4, shape, generator=rng) * torch.tensor([1.0, -1.0])[: shape[-1]]
        else:
            e_null, e_cond = (torch.randn(shape, generator=rng, dtype=dtype) for _ in range(2))
        return Case("target", {"e_null": e_null, "e_cond": e_cond, "eta": eta, "ask": "target"}, note)

    return [
        target("eta = 1", (1, 1, 2, 2), 1.0),
        target("eta = 2", (1, 2, 1, 2), 2.0),
        target("another eta, two examples", (2, 3, 4, 5), eta, f64),
        target("eta = 0", (1, 1, 3, 2), 0.0),
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
        return ns.esd_target(data["e_null"], data["e_cond"], data["eta"])
    unet, frozen = Net(data["weight"]), Net(data["frozen"])
    options = {} if data["eta"] is None else {"eta": data["eta"]}
    loss = ns.esd_loss(unet, frozen, data["x"], data["t"], data["target"], data["anchor"], **options)
    mine, other = torch.autograd.grad(loss, [unet.weight, frozen.weight], allow_unused=True)
    mine = torch.zeros_like(unet.weight) if mine is None else mine
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
        slip("towards", {"return (1 + eta) * e_null - eta * e_cond": "return e_null + eta * (e_cond - e_null)"},
             "Your target is ordinary guidance TOWARDS the concept. ESD reverses the sign of eta.",
             "student mistake: the formula of classifier-free guidance taken over"),
        slip("around_the_concept",
             {"return (1 + eta) * e_null - eta * e_cond": "return e_cond - eta * (e_cond - e_null)"},
             "You start from e_cond. Start from e_null: e_null - eta (e_cond - e_null). (The authors' newer "
             "code does start from e_cond; its eta is larger by one.)",
             "library difference: eps_from = eps_c in the new official code"),
        slip("null_alone", {"(1 + eta) * e_null": "e_null"},
             "Your formula lacks eta * e_null: the two factors (1 + eta) and -eta must sum to 1.",
             "student mistake: brackets lost"),
        slip("sum_is_not_one", {"1 + eta": "1 - eta"},
             "Your factors are 1 - eta and -eta. Without the brackets e_null has the factor 1 + eta, so that "
             "the two sum to 1.", "student mistake: minus times minus"),
        slip("only_the_step", {"(1 + eta) * e_null": "eta * e_null"},
             "Your target is the step alone. It starts from e_null: e_null - eta (e_cond - e_null).",
             "student mistake: the first term forgotten"),
        slip("no_eta", {"return (1 + eta) * e_null - eta * e_cond": "return 2 * e_null - e_cond"},
             "Your target is the same for every eta. Multiply the difference by it.",
             "student mistake: an argument that is not used"),
        slip("exchanged", {"esd_target(e_null, e_cond, eta)": "esd_target(e_cond, e_null, eta)"},
             "You hand the two predictions to esd_target in the wrong order: first that of the empty prompt.",
             "student mistake: two arguments exchanged"),
        slip("own_null", {"frozen(x_t, t, null)": "unet(x_t, t, null)"},
             "The prediction for the empty prompt comes from `unet`, which changes. Both labels come from `frozen`.",
             "student mistake: only one of the two taken from the copy"),
        slip("own_concept", {"frozen(x_t, t, concept)": "unet(x_t, t, concept)"},
             "The label's prediction for the concept comes from `unet`, which changes. Both come from `frozen`.",
             "student mistake: only one of the two taken from the copy"),
        slip("own_labels_learn",
             {("with torch.no_grad():\n"
               "    e_null, e_cond = frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample"):
                "e_null, e_cond = unet(x_t, t, null).sample, unet(x_t, t, concept).sample"},
             "Your labels come from `unet`, and the gradient flows through them. Both come from `frozen`, "
             "under torch.no_grad().", "student mistake: the loss of self-training"),
        slip("trains_the_teacher", {"F.mse_loss(unet(": "F.mse_loss(frozen("},
             "You compare a prediction of `frozen` with the target, so `unet` is never asked and learns nothing.",
             "student mistake: the two networks exchanged"),
        slip("absolute", {"F.mse_loss": "F.l1_loss"},
             "You take absolute differences. The loss is a mean of squares.", "student mistake: L1 for L2"),
        slip("own_labels",
             {"frozen(x_t, t, null)": "unet(x_t, t, null)",
              "frozen(x_t, t, concept)": "unet(x_t, t, concept)"},
             "You take the labels from the network that is being trained. Both come from `frozen`: else the "
             "target runs away from the network that chases it.", "card trap: theta* is the frozen copy"),
        slip("teacher_learns",
             {("with torch.no_grad():\n"
               "    e_null, e_cond = frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample"):
                "e_null, e_cond = frozen(x_t, t, null).sample, frozen(x_t, t, concept).sample"},
             "The value is right, but a gradient reaches the frozen network. Put its calls under torch.no_grad().",
             "card: the teacher gets no gradient"),
        slip("empty_prompt", {"F.mse_loss(unet(x_t, t, concept)": "F.mse_loss(unet(x_t, t, null)"},
             "You train the prediction for the empty prompt. The one for the CONCEPT shall change.",
             "student mistake: esd-u ('unconditional') misread"),
        slip("sums", {"esd_target(e_null, e_cond, eta))": 'esd_target(e_null, e_cond, eta), reduction="sum")'},
             "Your loss is too large: take the mean over all elements.", "student mistake: sum for mean"),
        slip("always_one", {"e_cond, eta)": "e_cond, 1.0)"},
             "Your loss has the same value for every eta. Hand eta on to esd_target.",
             "student mistake: an argument that is not used"),
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
)  # fmt: skip
