"""Chapter 28, notebook 2: cases, probe and variants of Receler's eraser."""

import torch
from torch import nn

from autograder.declare.exercise import Exercise, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def eraser_cases(rng: torch.Generator) -> list[Case]:
    """Draw widths, ranks and weights; the attentions are called with positions and with keywords."""

    def case(group: str, ask: str, note: str, dim: int, rank: int, B: int = 2, dtype=torch.float32) -> Case:
        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=rng, dtype=dtype)

        data = {
            "ask": ask, "dim": dim, "rank": rank, "h": draw(B, 5, dim), "states": draw(B, 3, 4), "more": 0,
            "weights": [draw(rank, dim), draw(rank), draw(dim, rank), draw(dim)],
        }  # fmt: skip
        return Case(group, data, note)

    wide = case("wrapper", "wrapped", "an attention that reads more features than it returns", 4, 2)
    wide.data["more"] = 2
    return [
        case("eraser", "start", "before training", 6, 2),
        case("eraser", "output", "with weights", 5, 3),
        case("eraser", "output", "one example, rank above the width, float64", 3, 4, 1, torch.float64),
        case("wrapper", "wrapped", "behind an attention", 6, 2),
        case("wrapper", "wrapped", "one example", 4, 1, 1),
        wide,
        case("wrapper", "off", "switched off", 6, 2),
        case("wrapper", "keywords", "called with keywords, as diffusers does", 5, 2),
    ]


def eraser_probe(ns, data):
    """Build an eraser, or wrap a small attention, and say how it starts or what it computes."""

    class Attention(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.to_q, self.to_k = nn.Linear(dim + data["more"], dim, bias=False), nn.Linear(4, dim, bias=False)
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
        moving = [p is not None and bool(p.abs().max() > 0) for p in (eraser.down.weight, eraser.down.bias)]
        return {"parameters": shapes, "output": eraser(h), "down's weight and bias are not zero": moving}
    if data["ask"] == "output":
        eraser = ns.Eraser(data["dim"], data["rank"])
        fill(eraser)
        return eraser(h)
    given = Attention(data["dim"])
    layer = ns.AttnWithEraser(given, data["rank"]).to(h.dtype)
    h = torch.cat([h, h[..., : data["more"]]], -1).requires_grad_()
    before = layer(h, data["states"]).detach()
    fill(layer.eraser)
    if data["ask"] == "keywords":
        return layer(h, encoder_hidden_states=data["states"], attention_mask=None, scale=0.5)
    if data["ask"] == "off":
        layer.enabled = False
        y = layer(h, data["states"])
        last = "None" if layer.last is None else layer.last
        return {"output": y, "attention alone": layer.attention(h, data["states"]), "last of the pass before": last}
    y = layer(h, data["states"])
    if layer.last is None or not layer.last.requires_grad:
        return {"output": y, "last": layer.last, "last has a history": False}
    found = torch.autograd.grad(layer.last.square().sum(), [layer.eraser.down.weight], retain_graph=True)
    through = torch.autograd.grad(y.sum(), [h], allow_unused=True)[0]
    return {
        "before training": before, "output": y, "last": layer.last, "gradient of last": found[0],
        "last has a history": True, "gradient at the input": torch.zeros_like(h) if through is None else through,
        "attention": {"the one given": layer.attention is given, "can learn": given.to_q.weight.requires_grad},
    }  # fmt: skip


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


ERASER = Exercise(
    name="Eraser",
    defines=("Eraser", "AttnWithEraser"),
    methods=("ch28/receler_eraser",),
    groups={"eraser": 1, "wrapper": 2},
    cases=eraser_cases,
    probe=eraser_probe,
    alternatives=(alternative(Eraser__sequential, AttnWithEraser__branches), alternative(Eraser__by_hand)),
    misconceptions=(
        slip("small_start", {"nn.init.zeros_(self.up.weight)": "", "nn.init.zeros_(self.up.bias)": ""},
             "A new eraser already says something. Weight AND bias of `up` start at zero, so that nothing "
             "changes before training.", "card: zero-initialised, the model is bitwise equal at the start"),
        slip("weight_left",
             {"nn.init.zeros_(self.up.weight)": ""},
             "The weight of `up` does not start at zero, so the eraser speaks before it has learned anything.",
             "student mistake: the bias alone set to zero"),
        slip("bias_left", {"nn.init.zeros_(self.up.bias)": ""},
             "The weight of `up` is zero, its bias is not: nn.Linear draws biases at random. Zero both.",
             "card trap: up zero-init including the bias"),
        slip("both_zero",
             {"nn.init.zeros_(self.up.bias)":
                "nn.init.zeros_(self.up.bias)\n"
                "nn.init.zeros_(self.down.weight)\n"
                "nn.init.zeros_(self.down.bias)"},
             "You zeroed `down`, too. Then neither layer ever gets a gradient (as with LoRA's two matrices). "
             "Zero `up` only.", "student mistake: chapter 23's question, A and B both zero"),
        slip("both_weights_zero",
             {"nn.init.zeros_(self.up.bias)":
                "nn.init.zeros_(self.up.bias)\n"
                "nn.init.zeros_(self.down.weight)"},
             "You zeroed `down`, too. Then neither layer ever gets a gradient (as with LoRA's two matrices). "
             "Zero `up` only.", "student mistake: both weights in one loop"),
        slip("relu", {"F.gelu": "F.relu"},
             "The nonlinearity is GELU, not ReLU.", "student mistake: another adapter's nonlinearity"),
        slip("linear", {"F.gelu(self.down(h))": "self.down(h)"},
             "Nothing stands between your two layers, so they are one matrix. Put a GELU there.",
             "student mistake: LoRA taken over"),
        slip("rough", {"F.gelu(self.down(h))": 'F.gelu(self.down(h), approximate="tanh")'},
             "Your GELU is the approximation by tanh. Here it is the exact one, F.gelu without options.",
             "library difference: approximate='tanh' of other models"),
        slip("no_down_bias",
             {"nn.init.zeros_(self.up.bias)":
                "nn.init.zeros_(self.up.bias)\n"
                "nn.init.zeros_(self.down.bias)"},
             "You zeroed the bias of `down`. It starts as nn.Linear starts it; only `up` begins at zero.",
             "first reader: no case told it from the right answer"),
        slip("residual", {"return self.up(": "return h + self.up("},
             "Your eraser returns h plus the change. It returns the change alone; the wrapper adds it.",
             "student mistake: the residual connection written twice"),
        slip("input", {"self.eraser(h)": "self.eraser(args[0])"},
             "Your eraser reads the attention's input. It reads its OUTPUT, which holds what the words brought in.",
             "student mistake: an adapter beside the layer instead of behind it"),
        slip("replaces", {"return h + self.last": "return self.last"},
             "You return the eraser's output alone. Add it to the attention's.", "student mistake: addition forgotten"),
        slip("never_off", {"if not self.enabled:": "if False:"},
             "With `enabled = False` your eraser still speaks. The attention's output must come out untouched.",
             "card: enabled=False is the old model, also after training"),
        slip("detached",
             {("self.last = self.eraser(h)\n"
               "return h + self.last"):
                "out = self.eraser(h)\n"
                "self.last = out.detach()\n"
                "return h + out"},
             "`last` has no gradient history. The regularisation of the next exercise needs it: do not detach.",
             "student mistake: detach for everything that is stored"),
        slip("keywords_lost",
             {"h = self.attention(*args, **kwargs)":
                'states = {} if len(args) > 1 else {"encoder_hidden_states": kwargs["encoder_hidden_states"]}\n'
                "h = self.attention(*args, **states)"},
             "A keyword argument gets lost on its way to the attention. Hand on *args and **kwargs.",
             "card: hidden case, attn2 called with attention_mask and other keywords"),
        slip("keywords_dropped",
             {"self.attention(*args, **kwargs)": "self.attention(*args)"},
             "Keyword arguments are lost: hand on *args and **kwargs, exactly as they come.",
             "student mistake: *args alone"),
        slip("clears_last",
             {("if not self.enabled:\n"
               "    return h"):
                "if not self.enabled:\n"
                "    self.last = None\n"
                "    return h"},
             "`last` is lost when the eraser is switched off. It stays that of the latest pass with `enabled` True.",
             "first reader: no case told it from the right answer"),
        slip("speaks_unheard",
             {("if not self.enabled:\n"
               "    return h"):
                "if not self.enabled:\n"
                "    self.last = self.eraser(h)\n"
                "    return h"},
             "Switched off, your eraser still computes and changes `last`. Return before that.",
             "first reader: no case told it from the right answer"),
        slip("cut", {"self.eraser(h)": "self.eraser(h.detach())"},
             "No gradient flows back through what your eraser reads. Hand it the attention's output, not a "
             "detached one: erasers of earlier layers and attacked prompts learn through it.",
             "first reader: no case told it from the right answer"),
        slip("no_gradient",
             {"h = self.attention(*args, **kwargs)":
                "with torch.no_grad():\n"
                "    h = self.attention(*args, **kwargs)"},
             "You call the attention under torch.no_grad(), so nothing before it can learn, an attacked prompt "
             "neither.", "first reader: no case told it from the right answer"),
        slip("freezes",
             {"self.eraser = Eraser(":
                "attention.requires_grad_(False)\n"
                "self.eraser = Eraser("},
             "You freeze the attention. The wrapper changes nothing about it; who trains what is decided elsewhere.",
             "first reader: no case told it from the right answer"),
        slip("copies",
             {"self.eraser = Eraser(":
                "self.attention = copy.deepcopy(attention)\n"
                "self.eraser = Eraser("},
             "You keep a copy of the attention. Keep the module that was given.",
             "first reader: no case told it from the right answer"),
        slip("input_width", {"to_q.out_features": "to_q.in_features"},
             "Your eraser is as wide as the attention's input. It reads the output: to_q.out_features.",
             "first reader: no case told it from the right answer"),
        slip("no_last",
             {("self.last = self.eraser(h)\n"
               "return h + self.last"):
                "return h + self.eraser(h)"},
             "`last` stays None. Keep the eraser's output in self.last at every pass with `enabled` True.",
             "student mistake: an attribute forgotten"),
        slip("sum",
             {("self.last = self.eraser(h)\n"
               "return h + self.last"):
                "self.last = h + self.eraser(h)\n"
                "return self.last"},
             "`last` holds the sum. It is what the eraser adds, alone.",
             "student mistake: the result kept in place of the part"),
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
)  # fmt: skip
