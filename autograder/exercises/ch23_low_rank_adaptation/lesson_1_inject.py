"""Chapter 23, notebook 1: `inject_lora`."""

import re

import torch
from torch import nn

from autograder.declare import Alternative, Exercise, alternative, case, slip


def inject_cases(d):
    """Draw sizes; the patterns are chosen so that a part of a name, or its first letter, is not enough."""

    def model(group, note, targets, r=2, missing="", heads=0):
        sizes = {"width": d.whole(3, 5), "depth": d.whole(2, 4), "heads": heads}
        return case(group, note, targets=targets, r=r, alpha=5.0, missing=missing, **sizes)

    attention = "every linear layer of a model with nn.MultiheadAttention"
    return [
        model("plain", "q of every block, not qkv", [r".*\.q"]),
        model("plain", "two patterns, r = 3", [r"blocks\.\d+\.qkv", r".*\.mlp\.2"], 3),
        model("plain", "one layer at the top", ["head"]),
        model("edge", "two patterns that match the same layers", [r".*\.q", r"blocks.*\.q"]),
        model("edge", "a part of a layer's name: no match", [r".*\.q", "qk"], missing="qk"),
        model("edge", "the end of a layer's name: no match", ["q"], missing="q"),
        model("edge", "a layer that is not there, one that is: no match", ["decoder.*", "head"], missing="decoder.*"),
        model("edge", "a layer that is not linear: no match", ["norm"], missing="norm"),
        model("edge", attention, [".*"], heads=1),
        model("edge", "the out_proj of nn.MultiheadAttention: no match", ["attn.out_proj"], 2, "out_proj", heads=1),
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

        def forward(self, x):
            for block in self.blocks:
                x = x + block.q(x) + block.qkv(x)[..., :width] + block.mlp(x)
            return self.head(self.norm(x if not data["heads"] else self.attn(x, x, x)[0]))

    torch.manual_seed(0)
    model = Net()
    weights = {name: m.weight.detach().clone() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    try:
        count = ns.inject_lora(model, data["targets"], data["r"], data["alpha"])
    except ValueError as error:
        if data["missing"] and data["missing"] not in str(error):
            raise probing.Unusable(f"the ValueError does not name {data['missing']!r}; it says: {error}") from None
        raise
    kept = {name: getattr(m, "base", m) for name, m in ((name, model.get_submodule(name)) for name in weights)}
    for name in weights:  # an update that is not zero must come through; A may have been drawn in any order
        layer = model.get_submodule(name)
        if isinstance(layer, ns.LoRALinear):
            layer.A.data = torch.cos(torch.arange(layer.A.numel()) + len(name)).view(layer.A.shape)
            layer.B.data = torch.sin(torch.arange(layer.B.numel()) + len(name)).view(layer.B.shape)
    return {
        "returned": int(count),
        "output, with other A and B": model(torch.linspace(-1, 1, 3 * width).view(3, width)).detach(),
        "LoRA layers": ", ".join(name for name, m in model.named_modules() if isinstance(m, ns.LoRALinear)),
        "trainable": ", ".join(name for name, p in model.named_parameters() if p.requires_grad),
        "trainable numbers": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "scaling": sorted(float(m.scaling) for m in model.modules() if isinstance(m, ns.LoRALinear)),
        "pretrained weights are kept": all(torch.equal(kept[name].weight, weights[name]) for name in weights),
    }


class LoRALinear__peft(nn.Module):
    """peft's layer under the names of this notebook, for those whose own does not work yet."""

    def __init__(self, base, r, alpha, dropout=0.0):
        super().__init__()
        from peft.tuners.lora import Linear, LoraConfig

        self.base = base.requires_grad_(False)
        config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout)
        layer = Linear(base, "default", config=config, r=r, lora_alpha=alpha, lora_dropout=dropout)
        self.__dict__["layer"] = layer  # not a submodule: its parameters have the names A and B here
        self.A, self.B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        self.scaling, self.dropout = layer.scaling["default"], layer.lora_dropout["default"]

    @property
    def merged(self):
        return self.layer.merged

    def forward(self, x):
        return self.layer(x)

    def merge(self):
        if not self.merged:
            self.layer.merge()

    def unmerge(self):
        if self.merged:
            self.layer.unmerge()


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


def matching(by):
    """Both questions whether an expression matches a name, asked by another call."""
    return {f"re.fullmatch(target, name) for {each}": f"{by} for {each}" for each in ("name", "target")}


UNMATCHED = "not any(re.fullmatch(target, name) for name in layers)"
MISTAKES = (
    slip("derived", {"type(module) is nn.Linear": "isinstance(module, nn.Linear)"},
         "You wrap the out_proj of nn.MultiheadAttention as well. Attention reads its weight and never calls "
         "it, so the branch is passed over or the model breaks. Take type(layer) is nn.Linear, not isinstance.",
         "library difference: peft wraps out_proj without a word, and nothing learns"),
    slip("searches", matching("re.search(target, name)"),
         "A part of a name is enough for you. The expression must match the whole name: re.fullmatch.",
         "card: hidden case 'q' and 'qkv'"),
    slip("from_the_start", matching("re.match(target, name)"),
         're.match accepts a name that only begins as the expression says, so ".*\\.q" takes qkv, too. Use '
         "re.fullmatch.",
         "student mistake: re.match for re.fullmatch"),
    slip("rest_trains", {"model.requires_grad_(False)": ""},
         "Everything outside the target layers is still trainable. Freeze the whole model first.",
         "student mistake: each LoRALinear freezes its own base only"),
    slip("freezes_at_the_end",
         {"model.requires_grad_(False)": "",
          "return sum":
            "model.requires_grad_(False)\n"
            "return sum"},
         "Nothing is trainable: you freeze the model after the new A's and B's are in it. Freeze before.",
         "student mistake: the order of freezing and injecting"),
    slip("silent", {UNMATCHED: "False"},
         "An expression that matches no nn.Linear passes without a word. Raise a ValueError that names it.",
         "library difference: peft raises for target modules that it does not find"),
    slip("top_level", {"model.named_modules()": "model.named_children()", UNMATCHED: "False"},
         "You look at the children of the model only. model.named_modules() goes through all levels.",
         "student mistake: named_children for named_modules"),
    slip("dotted_name",
         {"setattr(holder, child, ": "setattr(model, name, "},
         "You set \"blocks.0.q\" on the model itself: that adds a layer which nobody calls. Set `q` on the "
         "module that holds it.",
         "student mistake: setattr takes no path"),
    slip("counts_layers",
         {"sum(p.numel() for p in model.parameters() if p.requires_grad)":
            "sum(isinstance(module, LoRALinear) for module in model.modules())"},
         "You return how many layers were replaced. Asked for is how many numbers are trainable.",
         "student mistake: layers for parameters"),
    slip("ends_of_names", matching('re.fullmatch(".*" + target, name)'),
         'The end of a name is enough for you, so "q" takes every layer whose name ends in q. The expression must '
         "match the whole name.",
         "library difference: peft takes a list of names as ends of names"),
    slip("no_expression", {"called {target!r}; there are {', '.join(layers)}": "called so"},
         "Your ValueError comes at the right time, but its message does not contain the expression that "
         "matches nothing.",
         "student mistake: a constant message; who reads it has to guess which expression was meant"),
    slip("twice",
         {"if any(re.fullmatch(target, name) for target in targets):":
            "for _ in [target for target in targets if re.fullmatch(target, name)]:"},
         "A layer that two expressions match is wrapped twice, a LoRALinear around a LoRALinear. Go through "
         "the layers and ask whether ANY expression matches.",
         "student mistake: the loop over expressions outside, the one over layers inside"),
    slip("own_alpha", {"r, alpha))": "r, 2 * r))"},
         "You do not hand `alpha` on to LoRALinear.",
         "student mistake: alpha = 2 r, as in the experiments of the notebook"),
    slip("new_layers",
         {"setattr(holder, child, LoRALinear(getattr(holder, child), r, alpha))":
            "\n"
            "              old = getattr(holder, child)\n"
            "              new = nn.Linear(old.in_features, old.out_features, old.bias is not None)\n"
            "              setattr(holder, child, LoRALinear(new, r, alpha))\n"
            "          "},
         "You wrap new layers, so the pretrained weights are lost. Hand the old layer to LoRALinear.",
         "student mistake: nn.Linear(in_features, out_features) made again"),
)  # fmt: skip

INJECT = Exercise(
    name="inject_lora",
    methods=("ch23/lora",),
    groups={"plain": 2, "edge": 1},
    cases=inject_cases,
    probe=inject_probe,
    uses=("LoRALinear",),
    standins=(Alternative(name="LoRALinear", code=(LoRALinear__peft,)),),
    alternatives=(alternative(inject_lora__by_parents), alternative(inject_lora__one_pattern_at_a_time)),
    misconceptions=MISTAKES,
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
