"""Chapter 23, notebook 1: cases, probe and variants of `inject_lora`."""

import math
import re

import torch
from torch import nn

from autograder.declare.exercise import Alternative, Exercise, mistaken
from dlcv_lab.checking.model import Case


def inject_cases(rng: torch.Generator) -> list[Case]:
    """Draw sizes; the patterns are chosen so that a part of a name, or its first letter, is not enough."""

    def case(group: str, note: str, targets: list[str], r: int = 2, missing: str = "", heads: int = 0) -> Case:
        width, depth = (int(torch.randint(low, low + 3, (), generator=rng)) for low in (3, 2))
        data = {"targets": targets, "r": r, "alpha": 5.0, "width": width, "depth": depth, "missing": missing}
        return Case(group, data | {"heads": heads}, note)

    return [
        case("plain", "q of every block, not qkv", [r".*\.q"]),
        case("plain", "two patterns, r = 3", [r"blocks\.\d+\.qkv", r".*\.mlp\.2"], 3),
        case("plain", "one layer at the top", ["head"]),
        case("edge", "two patterns that match the same layers", [r".*\.q", r"blocks.*\.q"]),
        case("edge", "a part of a layer's name: no match", [r".*\.q", "qk"], missing="qk"),
        case("edge", "the end of a layer's name: no match", ["q"], missing="q"),
        case("edge", "a layer that is not there, one that is: no match", ["decoder.*", "head"], missing="decoder.*"),
        case("edge", "a layer that is not linear: no match", ["norm"], missing="norm"),
        case("edge", "every linear layer of a model with nn.MultiheadAttention", [".*"], heads=1),
        case("edge", "the out_proj of nn.MultiheadAttention: no match", ["attn.out_proj"], missing="out_proj", heads=1),
    ]


def inject_probe(ns, data):
    """Inject into a small network of blocks and report what is where, and what is trainable."""
    width = data["width"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.qkv = nn.Linear(width, width), nn.Linear(width, 3 * width)
            self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block() for _ in range(data["depth"])])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 7)
            if data["heads"]:
                self.attn = nn.MultiheadAttention(width, data["heads"])

    torch.manual_seed(0)
    model = Net()
    weights = {name: m.weight.detach().clone() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    try:
        count = ns.inject_lora(model, data["targets"], data["r"], data["alpha"])
    except ValueError as error:
        if data["missing"] and data["missing"] not in str(error):
            raise LookupError(f"the ValueError does not name {data['missing']!r}; it says: {error}") from None
        raise
    kept = {name: getattr(m, "base", m) for name, m in ((name, model.get_submodule(name)) for name in weights)}
    return {
        "returned": int(count),
        "LoRA layers": ", ".join(name for name, m in model.named_modules() if isinstance(m, ns.LoRALinear)),
        "trainable": ", ".join(name for name, p in model.named_parameters() if p.requires_grad),
        "trainable numbers": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "scaling": sorted(float(m.scaling) for m in model.modules() if isinstance(m, ns.LoRALinear)),
        "pretrained weights are kept": all(torch.equal(kept[name].weight, weights[name]) for name in weights),
    }


class LoRALinear__plain(nn.Module):
    """A working layer for those whose own does not work yet."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        self.base, self.scaling, self.merged, self.dropout = base, alpha / r, False, nn.Dropout(dropout)
        base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(r, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x):
        return self.base(x) + (0 if self.merged else self.scaling * (self.dropout(x) @ self.A.T @ self.B.T))

    def merge(self):
        self.base.weight.data += 0 if self.merged else (self.scaling * self.B @ self.A).detach()
        self.merged = True

    def unmerge(self):
        self.base.weight.data -= (self.scaling * self.B @ self.A).detach() if self.merged else 0
        self.merged = False


def inject_lora__by_parents(model, targets, r, alpha):
    for p in model.parameters():
        p.requires_grad = False
    used, total = set(), 0
    for prefix, holder in list(model.named_modules()):
        for child, layer in list(holder.named_children()):
            name = f"{prefix}.{child}" if prefix else child
            fits = [target for target in targets if type(layer) is nn.Linear and re.fullmatch(target, name)]
            used.update(fits)
            if fits:
                setattr(holder, child, LoRALinear(layer, r, alpha))
                total += r * (layer.in_features + layer.out_features)
    missed = [target for target in targets if target not in used]
    if missed:
        raise ValueError(f"no nn.Linear matches {missed}")
    return total


def inject_lora__one_pattern_at_a_time(model, targets, r, alpha):
    model.requires_grad_(False)
    linear = {name: module for name, module in model.named_modules() if module.__class__ == nn.Linear}
    chosen = {}
    for target in targets:
        found = {name: linear[name] for name in linear if re.compile(target).fullmatch(name)}
        if len(found) == 0:
            raise ValueError("nothing matches " + target)
        chosen.update(found)
    for name in chosen:
        *path, last = name.split(".")
        holder = model
        for step in path:
            holder = getattr(holder, step)
        setattr(holder, last, LoRALinear(chosen[name], r, alpha))
    return sum(p.numel() for name, p in model.named_parameters() if name.split(".")[-1] in ("A", "B"))


def inject_with_mistake(mistake, model, targets, r, alpha):
    if mistake not in ("freezes at the end", "rest trains"):
        model.requires_grad_(False)
    match = {"searches": re.search, "from the start": re.match}.get(mistake, re.fullmatch)
    linear = isinstance if mistake == "derived" else lambda module, kind: type(module) is kind
    layers = {name: module for name, module in model.named_modules() if linear(module, nn.Linear)}
    if mistake == "top level":
        layers = {name: module for name, module in model.named_children() if linear(module, nn.Linear)}
    if mistake == "ends of names":
        targets = [".*" + target for target in targets]
    for target in targets:
        if mistake not in ("silent", "top level") and not any(match(target, name) for name in layers):
            raise ValueError("nothing matches" if mistake == "no expression" else target)
    for name, layer in layers.items():
        hits = sum(bool(match(target, name)) for target in targets)
        for _ in range(hits if mistake == "twice" else min(hits, 1)):
            holder, child = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            if mistake == "new layers":
                layer = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            setattr(
                holder,
                child,
                LoRALinear(
                    getattr(holder, child) if mistake == "twice" else layer,
                    r,
                    2 * r if mistake == "own alpha" else alpha,
                ),
            )
    if mistake == "freezes at the end":
        model.requires_grad_(False)
    if mistake == "counts layers":
        return sum(isinstance(module, LoRALinear) for module in model.modules())
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def inject_lora__derived(*args):
    return inject_with_mistake("derived", *args)


def inject_lora__searches(*args):
    return inject_with_mistake("searches", *args)


def inject_lora__from_the_start(*args):
    return inject_with_mistake("from the start", *args)


def inject_lora__rest_trains(*args):
    return inject_with_mistake("rest trains", *args)


def inject_lora__freezes_at_the_end(*args):
    return inject_with_mistake("freezes at the end", *args)


def inject_lora__silent(*args):
    return inject_with_mistake("silent", *args)


def inject_lora__top_level(*args):
    return inject_with_mistake("top level", *args)


def inject_lora__counts_layers(*args):
    return inject_with_mistake("counts layers", *args)


def inject_lora__ends_of_names(*args):
    return inject_with_mistake("ends of names", *args)


def inject_lora__no_expression(*args):
    return inject_with_mistake("no expression", *args)


def inject_lora__twice(*args):
    return inject_with_mistake("twice", *args)


def inject_lora__own_alpha(*args):
    return inject_with_mistake("own alpha", *args)


def inject_lora__new_layers(*args):
    return inject_with_mistake("new layers", *args)


INJECT = Exercise(
    name="inject_lora",
    methods=("ch23/lora",),
    groups={"plain": 2, "edge": 1},
    cases=inject_cases,
    probe=inject_probe,
    uses=("LoRALinear",),
    standins=(Alternative(name="LoRALinear", code=(LoRALinear__plain,)),),
    alternatives=(
        Alternative(name="by_parents", code=(inject_lora__by_parents,)),
        Alternative(name="one_pattern_at_a_time", code=(inject_lora__one_pattern_at_a_time,)),
    ),
    misconceptions=(
        mistaken(
            inject_lora__derived,
            "You wrap the out_proj of nn.MultiheadAttention as well. Attention reads its weight and never calls it, so "
            "the branch is passed over or the model breaks. Take type(layer) is nn.Linear, not isinstance.",
            "library difference: peft wraps out_proj without a word, and nothing learns",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__searches,
            "A part of a name is enough for you. The expression must match the whole name: re.fullmatch.",
            "card: hidden case 'q' and 'qkv'",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__from_the_start,
            're.match accepts a name that only begins as the expression says, so ".*\\.q" takes qkv, too. '
            "Use re.fullmatch.",
            "student mistake: re.match for re.fullmatch",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__rest_trains,
            "Everything outside the target layers is still trainable. Freeze the whole model first.",
            "student mistake: each LoRALinear freezes its own base only",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__freezes_at_the_end,
            "Nothing is trainable: you freeze the model after the new A's and B's are in it. Freeze before.",
            "student mistake: the order of freezing and injecting",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__silent,
            "An expression that matches no nn.Linear passes without a word. Raise a ValueError that names it.",
            "library difference: peft raises for target modules that it does not find",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__top_level,
            "You look at the children of the model only. model.named_modules() goes through all levels.",
            "student mistake: named_children for named_modules",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__counts_layers,
            "You return how many layers were replaced. Asked for is how many numbers are trainable.",
            "student mistake: layers for parameters",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__ends_of_names,
            'The end of a name is enough for you, so "q" takes every layer whose name ends in q. The expression '
            "must match the whole name.",
            "library difference: peft takes a list of names as ends of names",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__no_expression,
            "Your ValueError comes at the right time, but its message does not contain the expression that matches "
            "nothing.",
            "student mistake: a constant message; who reads it has to guess which expression was meant",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__twice,
            "A layer that two expressions match is wrapped twice, a LoRALinear around a LoRALinear. Go through the "
            "layers and ask whether ANY expression matches.",
            "student mistake: the loop over expressions outside, the one over layers inside",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__own_alpha,
            "You do not hand `alpha` on to LoRALinear.",
            "student mistake: alpha = 2 r, as in the experiments of the notebook",
            inject_with_mistake,
        ),
        mistaken(
            inject_lora__new_layers,
            "You wrap new layers, so the pretrained weights are lost. Hand the old layer to LoRALinear.",
            "student mistake: nn.Linear(in_features, out_features) made again",
            inject_with_mistake,
        ),
    ),
    hints=(
        'How do you get from the name "blocks.0.q" to the object that holds the layer, and what must happen first, '
        "freezing or replacing?",
        "Freeze the model. Collect the names of all nn.Linear in a list before you change anything. Check that each "
        "expression matches one of them. For each match: split the name at its last dot, take the holder by "
        "model.get_submodule, and set the new layer by setattr.",
        'parent, _, child = name.rpartition("."); holder = model.get_submodule(parent); setattr(holder, child, '
        "LoRALinear(getattr(holder, child), r, alpha)); return sum(p.numel() for p in model.parameters() if "
        "p.requires_grad)",
    ),
    good_for="adapting a model that somebody else wrote, without touching its code",
    minutes=15,
    core=True,
)
