"""Chapter 28, notebook 1: cases, probe and variants of `trainable_names`."""

import torch
from torch import nn

from autograder.declare.exercise import Exercise, Misconception, alternative
from autograder.declare.slips import slip
from dlcv_lab.checking.model import Case


def names_cases(rng: torch.Generator) -> list[Case]:
    """Draw the number of blocks; the networks of the edges have look-alikes of attn2."""

    def case(group: str, note: str, part: str, alike: bool = False) -> Case:
        return Case(group, {"part": part, "blocks": int(torch.randint(1, 4, (), generator=rng)), "alike": alike}, note)

    return [
        case("kv", "keys and values", "kv"),
        case("esd-x", "inside the cross-attentions", "esd-x"),
        case("esd-u", "outside the cross-attentions", "esd-u"),
        case("edge", "a module called attn20, and attn2 at the top", "esd-x", True),
        case("edge", "the same network, outside", "esd-u", True),
        case("edge", "the same network, keys and values", "kv", True),
        case("edge", "no such part", "esd-y"),
    ]


def names_probe(ns, data):
    """Build a network with the module names of a U-Net of diffusers and ask for the names."""

    class Attention(nn.Module):
        def __init__(self, text):
            super().__init__()
            self.to_q, self.to_k, self.to_v = (nn.Linear(n, 4, bias=False) for n in (4, text, text))
            self.norm_q = nn.LayerNorm(4)
            self.to_out = nn.ModuleList([nn.Linear(4, 4), nn.Dropout(0.0)])

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.attn1, self.attn2 = nn.LayerNorm(4), Attention(4), Attention(6)
            if data["alike"]:
                self.attn20, self.pre_attn2 = Attention(6), nn.Linear(4, 4)
            self.ff = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv_in, self.time = nn.Conv2d(3, 4, 3), nn.Linear(2, 4)
            self.down = nn.ModuleList([Block() for _ in range(data["blocks"])])
            self.norm = nn.GroupNorm(2, 4)
            if data["alike"]:
                self.attn2, self.to_k = Attention(6), nn.Linear(4, 4, bias=False)
            self.conv_out = nn.Conv2d(4, 3, 1)

    return [str(name) for name in ns.trainable_names(Net(), data["part"])]


def trainable_names__by_parameters(unet, part):
    if part not in {"kv", "esd-x", "esd-u"}:
        raise ValueError(part)
    found = []
    for name, _ in unet.named_parameters():
        *path, _leaf = name.split(".")
        layer = unet.get_submodule(".".join(path))
        cross = "attn2" in path
        ok = {"kv": cross and path[-1] in ("to_k", "to_v"), "esd-x": cross, "esd-u": not cross}[part]
        if ok and isinstance(layer, (nn.Linear, nn.Conv2d)):
            found.append(name)
    return found


def trainable_names__by_recursion(unet, part):
    if part != "kv" and part != "esd-x" and part != "esd-u":
        raise ValueError("unknown part: " + str(part))

    def walk(module, path):
        inside = any(step == "attn2" for step in path)
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            wanted = inside != (part == "esd-u") and (part != "kv" or path[-1] in ("to_k", "to_v"))
            return [".".join([*path, leaf]) for leaf, _ in module.named_parameters()] if wanted else []
        return [name for child, inner in module.named_children() for name in walk(inner, [*path, child])]

    return walk(unet, [])


def trainable_names__names_alone(unet, part):
    if part not in ("kv", "esd-x", "esd-u"):
        raise ValueError(part)
    names = [name for name, _ in unet.named_parameters()]
    if part == "kv":
        return [name for name in names if "attn2" in name and ("to_k" in name or "to_v" in name)]
    return [name for name in names if ("attn2" in name) == (part == "esd-x")]


NAMES = Exercise(
    name="trainable_names",
    methods=("ch28/esd", "ch28/ablating_concepts"),
    groups={"kv": 1, "esd-x": 1, "esd-u": 1, "edge": 1},
    cases=names_cases,
    probe=names_probe,
    alternatives=(alternative(trainable_names__by_parameters), alternative(trainable_names__by_recursion)),
    misconceptions=(
        slip("part_of_a_name", {'inside = "attn2" in path': 'inside = "attn2" in name'},
             "You look for the letters 'attn2' anywhere in the name, so attn20 is one for you, too. Split the "
             "name at its dots and compare the parts.", 'card trap: "attn2" must not match "attn20"'),
        slip("self_attention_too", {'inside = "attn2" in path': 'inside = "attn2" in path or "attn1" in path'},
             "You count attn1 as a cross-attention. attn1 is self-attention: its keys come from the picture.",
             "student mistake: every attention reads the prompt"),
        slip("keys_of_all", {'inside = "attn2" in path': 'inside = "attn2" in path or part == "kv"'},
             "Your kv holds keys and values from outside of the cross-attentions, such as those of attn1, "
             "which are made of the picture.", "student mistake: every to_k taken"),
        slip("keys_of_both",
             {'inside = "attn2" in path': 'inside = "attn2" in path or (part == "kv" and "attn1" in path)'},
             "Your kv holds keys and values from outside of the cross-attentions, such as those of attn1, "
             "which are made of the picture.", "student mistake: both attentions of a block"),
        slip("queries", {'("to_k", "to_v")': '("to_q", "to_k", "to_v")'},
             "Your kv holds to_q. Queries come from the picture; only keys and values are made of words.",
             "student mistake: all three projections"),
        slip("exchanged", {'(part == "esd-u")': '(part == "esd-x")'},
             "Your esd-x and esd-u are exchanged: x is the cross-attention, u everything outside.",
             "student mistake: the two letters"),
        Misconception(
            name="names_alone",
            code=(trainable_names__names_alone,),
            hint="You choose by letters in the name, so norms come along, and attn20. Ask each module for its type, "
            "and split its name at the dots.",
            source_of="first reader: the shortest solution that people write",
        ),
        slip("layers",
             {"return [name for name, _":
              "return [name.rpartition(\".\")[0] for name, _"},
             "You return the names of layers. Parameters are wanted, such as \"to_k.weight\".",
             "student mistake: named_modules in place of named_parameters"),
        slip("norms", {"(nn.Linear, nn.Conv2d)": "(nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)"},
             "There are norms in your list. Only nn.Linear and nn.Conv2d are trained.",
             "card: norms are excluded everywhere"),
        slip("no_biases", {"in module.named_parameters()": 'in module.named_parameters() if leaf == "weight"'},
             "Biases are missing: to_out.0 has one, convolutions have. Both belong to esd-x and esd-u.",
             "card: biases of to_out included"),
        slip("everything", {'inside == (part == "esd-u")': '(not inside and part != "esd-u")'},
             "Your esd-u contains the cross-attentions. It is everything OUTSIDE of them (u as in unconditional).",
             "student mistake: esd-u read as the whole U-Net"),
        slip("strict", {'part != "kv" or path': 'part == "esd-u" or path'},
             "Your esd-x holds to_k and to_v only; that is kv. esd-x takes to_q and to_out.0 besides.",
             "library difference: esd-x-strict of the official code"),
        slip("no_convolutions", {"(nn.Linear, nn.Conv2d)": "nn.Linear"},
             "Your esd-u has no convolutions. Most of a U-Net's parameters outside attention are in nn.Conv2d.",
             "student mistake: linear layers only"),
        slip("silent", {'raise ValueError(f"part is \'kv\', \'esd-x\' or \'esd-u\', not {part!r}")': "return []"},
             "An unknown part passes without a word. Raise a ValueError.", "student mistake: no check of an argument"),
    ),
    hints=(
        "Of which module is a parameter? How do you tell attn2 from attn20, and a LayerNorm from a Linear?",
        "Go through named_modules(); split each name at the dots; inside = 'attn2' in the parts. Take Linear and "
        "Conv2d that are inside (kv, esd-x) or outside (esd-u); for kv the last part must be to_k or to_v. Collect "
        "module name + '.' + parameter name.",
        'inside = "attn2" in name.split("."); if isinstance(module, (nn.Linear, nn.Conv2d)) and inside != (part == '
        '"esd-u"): chosen |= {f"{name}.{leaf}" for leaf, _ in module.named_parameters()}; at the end filter '
        "unet.named_parameters() by chosen, for the order",
    ),
    good_for="fine-tuning exactly the part of a model that you mean",
    minutes=15,
    core=True,
)  # fmt: skip
