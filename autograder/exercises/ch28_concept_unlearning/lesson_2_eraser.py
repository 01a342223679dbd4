"""Chapter 28, notebook 2: cases, probe and variants of Receler's eraser."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.exercise import Alternative, Exercise, Misconception
from dlcv_lab.checking.model import Case


def eraser_cases(rng: torch.Generator) -> list[Case]:
    """Draw widths, ranks and weights; the attentions are called with positions and with keywords."""

    def case(group: str, ask: str, note: str, dim: int, rank: int, B: int = 2, dtype=torch.float32) -> Case:
        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=dtype)

        data = {
            "ask": ask, "dim": dim, "rank": rank, "h": draw(B, 5, dim), "states": draw(B, 3, 4),
            "weights": [draw(rank, dim), draw(rank), draw(dim, rank), draw(dim)],
        }  # fmt: skip
        return Case(group, data, note)

    return [
        case("eraser", "start", "before training", 6, 2),
        case("eraser", "output", "with weights", 5, 3),
        case("eraser", "output", "one example, rank above the width, float64", 3, 4, 1, torch.float64),
        case("wrapper", "wrapped", "behind an attention", 6, 2),
        case("wrapper", "wrapped", "one example", 4, 1, 1),
        case("wrapper", "off", "switched off", 6, 2),
        case("wrapper", "keywords", "called with keywords, as diffusers does", 5, 2),
    ]


def eraser_probe(ns, data):
    """Build an eraser, or wrap a small attention, and say how it starts or what it computes."""

    class Attention(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.to_q, self.to_k = nn.Linear(dim, dim, bias=False), nn.Linear(4, dim, bias=False)
            for k, p in enumerate(self.parameters()):
                p.data = torch.cos(torch.arange(p.numel(), dtype=torch.float64) + k).view(p.shape)

        def forward(self, hidden_states, encoder_hidden_states=None, attention_mask=None, scale=1.0):
            keys = self.to_k(encoder_hidden_states).mean(1, keepdim=True)
            return scale * torch.tanh(self.to_q(hidden_states) + keys)

    h = data["h"]
    down, down_bias, up, up_bias = data["weights"]

    def fill(eraser):
        eraser.to(h.dtype)
        eraser.down.weight.data, eraser.down.bias.data = down.clone(), down_bias.clone()
        eraser.up.weight.data, eraser.up.bias.data = up.clone(), up_bias.clone()

    if data["ask"] == "start":
        eraser = ns.Eraser(data["dim"], data["rank"]).to(h.dtype)
        shapes = {name: list(p.shape) for name, p in eraser.named_parameters()}
        moving = bool(eraser.down.weight.abs().max() > 0)
        return {"parameters": shapes, "output": eraser(h), "down is not zero": moving}
    if data["ask"] == "output":
        eraser = ns.Eraser(data["dim"], data["rank"])
        fill(eraser)
        return eraser(h)
    layer = ns.AttnWithEraser(Attention(data["dim"]), data["rank"]).to(h.dtype)
    before = layer(h, data["states"])
    fill(layer.eraser)
    if data["ask"] == "keywords":
        return layer(h, encoder_hidden_states=data["states"], attention_mask=None, scale=0.5)
    if data["ask"] == "off":
        layer.enabled = False
        return {"output": layer(h, data["states"]), "attention alone": layer.attention(h, data["states"])}
    y = layer(h, data["states"])
    (gradient,) = torch.autograd.grad(layer.last.square().sum(), [layer.eraser.down.weight])
    return {"before training": before, "output": y, "last": layer.last, "gradient of last": gradient}


class Eraser__sequential(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down = nn.Linear(dim, rank)
        self.up = nn.Linear(rank, dim)
        self.up.weight.data.zero_()
        self.up.bias.data.zero_()
        self.gelu = nn.GELU()

    def forward(self, h):
        for layer in (self.down, self.gelu, self.up):
            h = layer(h)
        return h


class AttnWithEraser__branches(nn.Module):
    def __init__(self, attention, rank):
        super().__init__()
        self.attention, self.enabled, self.last = attention, True, None
        self.eraser = Eraser(len(attention.to_q.weight), rank)

    def forward(self, *args, **kwargs):
        out = self.attention(*args, **kwargs)
        if self.enabled:
            self.last = self.eraser(out)
            out = out + self.last
        return out


class Eraser__by_hand(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        with torch.no_grad():
            for p in self.up.parameters():
                p.fill_(0)

    def forward(self, h):
        z = torch.einsum("bnd,rd->bnr", h, self.down.weight) + self.down.bias
        z = 0.5 * z * (1 + torch.erf(z / 2**0.5))
        return torch.einsum("bnr,dr->bnd", z, self.up.weight) + self.up.bias


class Eraser__small_start(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)

    def forward(self, h):
        return self.up(F.gelu(self.down(h)))


class Eraser__bias_left(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        nn.init.zeros_(self.up.weight)

    def forward(self, h):
        return self.up(F.gelu(self.down(h)))


class Eraser__both_zero(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        for p in self.parameters():
            nn.init.zeros_(p)

    def forward(self, h):
        return self.up(F.gelu(self.down(h)))


class Eraser__relu(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return self.up(F.relu(self.down(h)))


class Eraser__residual(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h):
        return h + self.up(F.gelu(self.down(h)))


class Wrapper(nn.Module):
    mistake = ""

    def __init__(self, attention, rank):
        super().__init__()
        self.attention, self.enabled, self.last = attention, True, None
        self.eraser = Eraser(attention.to_q.out_features, rank)

    def forward(self, *args, **kwargs):
        h = self.attention(*args) if self.mistake == "keywords lost" and len(args) > 1 else None
        if self.mistake == "keywords lost" and h is None:
            h = self.attention(args[0], encoder_hidden_states=kwargs["encoder_hidden_states"])
        h = self.attention(*args, **kwargs) if h is None else h
        if not self.enabled and self.mistake != "never off":
            return h
        out = self.eraser(args[0] if self.mistake == "input" else h)
        self.last = out.detach() if self.mistake == "detached" else out
        return out if self.mistake == "replaces" else h + out


class AttnWithEraser__input(Wrapper):
    mistake = "input"


class AttnWithEraser__replaces(Wrapper):
    mistake = "replaces"


class AttnWithEraser__never_off(Wrapper):
    mistake = "never off"


class AttnWithEraser__detached(Wrapper):
    mistake = "detached"


class AttnWithEraser__keywords_lost(Wrapper):
    mistake = "keywords lost"


def mistaken(variant, hint: str, source_of: str) -> Misconception:
    """Name a misconception after its class."""
    owner, name = variant.__name__.split("__")
    return Misconception(
        name=name, code=(variant,) if owner == "Eraser" else (Wrapper, variant), hint=hint, source_of=source_of
    )


ERASER = Exercise(
    name="Eraser",
    defines=("Eraser", "AttnWithEraser"),
    methods=("ch28/receler_eraser",),
    groups={"eraser": 1, "wrapper": 2},
    cases=eraser_cases,
    probe=eraser_probe,
    alternatives=(
        Alternative(name="sequential", code=(Eraser__sequential, AttnWithEraser__branches)),
        Alternative(name="by_hand", code=(Eraser__by_hand,)),
    ),
    misconceptions=(
        mistaken(
            Eraser__small_start,
            "A new eraser already says something. Weight AND bias of `up` start at zero, so that nothing changes "
            "before training.",
            "card: zero-initialised, the model is bitwise equal at the start",
        ),
        mistaken(
            Eraser__bias_left,
            "The weight of `up` is zero, its bias is not: nn.Linear draws biases at random. Zero both.",
            "card trap: up zero-init including the bias",
        ),
        mistaken(
            Eraser__both_zero,
            "You zeroed `down`, too. Then neither layer ever gets a gradient (as with LoRA's two matrices). Zero `up` "
            "only.",
            "student mistake: chapter 23's question, A and B both zero",
        ),
        mistaken(
            Eraser__relu,
            "The nonlinearity is GELU, not ReLU.",
            "student mistake: another adapter's nonlinearity",
        ),
        mistaken(
            Eraser__residual,
            "Your eraser returns h plus the change. It returns the change alone; the wrapper adds it.",
            "student mistake: the residual connection written twice",
        ),
        mistaken(
            AttnWithEraser__input,
            "Your eraser reads the attention's input. It reads its OUTPUT, which holds what the words brought in.",
            "student mistake: an adapter beside the layer instead of behind it",
        ),
        mistaken(
            AttnWithEraser__replaces,
            "You return the eraser's output alone. Add it to the attention's.",
            "student mistake: addition forgotten",
        ),
        mistaken(
            AttnWithEraser__never_off,
            "With `enabled = False` your eraser still speaks. The attention's output must come out untouched.",
            "card: enabled=False is the old model, also after training",
        ),
        mistaken(
            AttnWithEraser__detached,
            "`last` has no gradient history. The regularisation of the next exercise needs it: do not detach.",
            "student mistake: detach for everything that is stored",
        ),
        mistaken(
            AttnWithEraser__keywords_lost,
            "A keyword argument gets lost on its way to the attention. Hand on *args and **kwargs.",
            "card: hidden case, attn2 called with attention_mask and other keywords",
        ),
    ),
    hints=(
        "What must the model paint right after the erasers are put in? Which of the two layers decides that?",
        "Two linear layers; zero weight and bias of `up`. In the wrapper: call the attention with everything that "
        "came; if not enabled, return that; else keep the eraser's output in self.last and add it.",
        "self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim); nn.init.zeros_(self.up.weight); "
        "h = self.attention(*args, **kwargs); self.last = self.eraser(h); return h + self.last",
    ),
    good_for="adding a switchable part to a model that somebody else built",
    minutes=20,
    core=True,
)
