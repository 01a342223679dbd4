"""Exercises of notebook 1: a block, and the vision transformer."""

import torch
import torch.nn.functional as F
from torch import nn

from autograder.declare import Exercise, alternative, case, slip
from autograder.declare.exercise import Variant
from autograder.declare.probes import shipped
from solutions.ch12_vision_transformers.lesson_1 import MLP, PatchEmbed, SelfAttention

DOUBLE = torch.float64


@shipped
def filled(model, phase, dtype):
    """Give every parameter of a module a number from a formula of its name, so that packs stay small."""
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            at = torch.arange(value.numel(), dtype=torch.float64)
            wave = torch.sin(at * 12.9898 + 78.233 * phase + sum(map(ord, name)))
            size = 1.7 / max(1, value[0].numel()) ** 0.5 if value.ndim == 2 or value.ndim == 4 else 0.5
            norm = "norm" in name and "weight" in name
            value.copy_((1 + size * wave if norm else size * wave).reshape(value.shape))
    return model.to(dtype).eval()


@shipped
def waved(value):
    """Return one number that hangs on every entry of a tensor in another way."""
    return (value * torch.sin(torch.arange(value.numel()) * 0.7).to(value.dtype).reshape(value.shape)).sum()


def block_cases(d):
    def drawn(B, N, D, heads, ratio, scale=1.0):
        return {"z": scale * d.normal(B, N, D, dtype=DOUBLE), "heads": heads, "ratio": ratio, "phase": d.real(0.1, 1.0)}

    return [
        case("forward", "two sequences of five tokens, two heads", **drawn(2, 5, 4, 2, 2.0)),
        case("forward", "one head, hidden layer four times as wide", **drawn(1, 3, 3, 1, 4.0)),
        case("forward", "small numbers, where eps is felt", **drawn(2, 4, 4, 2, 2.0, 2e-3)),
        case("forward", "a hidden layer of int(6 * 1.5) units", **drawn(1, 4, 6, 3, 1.5)),
        case("gradient", "gradients", **drawn(2, 3, 4, 2, 2.0), grad=True),
    ]


def block_probe(ns, data):
    block = filled(ns.Block(data["z"].shape[2], data["heads"], data["ratio"]), data["phase"], data["z"].dtype)
    names = sorted(f"{name} {tuple(value.shape)}" for name, value in block.named_parameters())
    if not data.get("grad"):
        out = probing.call(block, data["z"])
        if not isinstance(out, tuple) or len(out) != 2:
            raise probing.Unusable("Block returns the tokens and the attention: `return z, A`")
        return {"parameters": names, "tokens": out[0], "attention": out[1]}
    z = data["z"].clone().requires_grad_()
    first = block.get_parameter("norm1.weight")
    found = torch.autograd.grad(waved(block(z)[0]), [z, first], allow_unused=True)
    return {"to the tokens": found[0], "to norm1": found[1]}


def timm_block(data):
    from functools import partial

    from timm.models.vision_transformer import Block

    block = Block(data["z"].shape[2], data["heads"], data["ratio"], qkv_bias=True,
                  norm_layer=partial(nn.LayerNorm, eps=1e-6))  # fmt: skip
    block.attn.fused_attn = False
    return filled(block, data["phase"], data["z"].dtype)


def block_library(data):
    block, seen = timm_block(data), []
    block.attn.attn_drop.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    names = sorted(f"{name} {tuple(value.shape)}" for name, value in block.named_parameters())
    if not data.get("grad"):
        return {"parameters": names, "tokens": block(data["z"]), "attention": seen[0]}
    z = data["z"].clone().requires_grad_()
    found = torch.autograd.grad(waved(block(z)), [z, block.norm1.weight])
    return {"to the tokens": found[0], "to norm1": found[1]}


class Block__in_lists(nn.Module):
    def __init__(self, width, heads, mlp_ratio=4.0):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn, self.mlp = SelfAttention(width, heads), MLP(width, int(mlp_ratio * width))

    def forward(self, z):
        y, A = self.attn(self.norm1(z))
        talked = torch.add(z, y)
        return torch.add(talked, self.mlp(self.norm2(talked))), A


class Block__spelt_out(nn.Module):
    def __init__(self, width, heads, mlp_ratio=4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm([width], 1e-6)
        self.norm2 = nn.LayerNorm([width], 1e-6)
        self.attn = SelfAttention(width, heads)
        hidden = int(width * mlp_ratio)
        self.mlp = MLP(width, hidden)

    def forward(self, z):
        changes, A = self.attn(F.layer_norm(z, z.shape[-1:], self.norm1.weight, self.norm1.bias, 1e-6))
        z = z + changes
        z = z + self.mlp(F.layer_norm(z, z.shape[-1:], self.norm2.weight, self.norm2.bias, 1e-6))
        return z, A


BLOCK = Exercise(
    name="Block",
    methods=("ch12/vit",),
    core=True,
    groups={"forward": 2.5, "gradient": 0.5},
    cases=block_cases,
    probe=block_probe,
    oracle=block_library,
    minutes=15,
    difficulty="medium",
    good_for="where the norm stands, and why it matters",
    alternatives=(alternative(Block__in_lists), alternative(Block__spelt_out)),
    misconceptions=(
        slip("default_eps", {"self.norm1 = nn.LayerNorm(width, eps=1e-6)": "self.norm1 = nn.LayerNorm(width)",
             "self.norm2 = nn.LayerNorm(width, eps=1e-6)": "self.norm2 = nn.LayerNorm(width)"},
             "Tokens of ordinary size are right, small ones are not: nn.LayerNorm has eps = 1e-5 by itself. The ViT "
             "uses 1e-6.", "library difference: eps of nn.LayerNorm"),
        slip("post_norm", {"y, A = self.attn(self.norm1(z))\nz = z + y\nreturn z + self.mlp(self.norm2(z)), A":
             "y, A = self.attn(z)\nz = self.norm1(z + y)\nreturn self.norm2(z + self.mlp(z)), A"},
             "Your norms come after the sums, as in the transformer of 2017. Here each comes before its layer, and the "
             "residual path stays bare.", "card trap: pre-norm"),
        slip("no_first_residual", {"z = z + y": "z = y"},
             "The residual path around the attention is missing: z' = z + attn(...).", "student mistake: residual"),
        slip("no_second_residual", {"return z + self.mlp(self.norm2(z)), A": "return self.mlp(self.norm2(z)), A"},
             "The residual path around the MLP is missing: z'' = z' + mlp(...).", "student mistake: residual"),
        slip("no_norm2", {"self.mlp(self.norm2(z))": "self.mlp(z)"},
             "The MLP gets tokens without a norm: mlp(norm2(z')).", "student mistake: norm forgotten"),
        slip("no_norm1", {"self.attn(self.norm1(z))": "self.attn(z)"},
             "The attention gets tokens without a norm: attn(norm1(z)).", "student mistake: norm forgotten"),
        slip("one_norm", {"self.mlp(self.norm2(z))": "self.mlp(self.norm1(z))"},
             "You use norm1 twice. The MLP has a norm of its own, norm2.", "student mistake: copied line"),
        slip("in_parallel", {"y, A = self.attn(self.norm1(z))\nz = z + y\nreturn z + self.mlp(self.norm2(z)), A":
             "y, A = self.attn(self.norm1(z))\nreturn z + y + self.mlp(self.norm2(z)), A"},
             "Attention and MLP both start from z. The MLP works on z', after the attention was added.",
             "student mistake: z and z'"),
        slip("shared_norm", {"self.norm2 = nn.LayerNorm(width, eps=1e-6)": "self.norm2 = self.norm1"},
             "norm1 and norm2 are one layer with you. Each learns numbers of its own: make a second nn.LayerNorm.",
             "student mistake: one object under two names"),
        slip("residual_of_norm", {"y, A = self.attn(self.norm1(z))\nz = z + y\nreturn z + self.mlp(self.norm2(z)), A":
             "z = self.norm1(z)\ny, A = self.attn(z)\nz = self.norm2(z + y)\nreturn z + self.mlp(z), A"},
             "Your residual paths start from the norms. They start from z and from z', which stay as they are.",
             "student mistake: residual of the norm"),
        slip("narrow_mlp", {"int(width * mlp_ratio)": "width"},
             "The hidden layer of the MLP must have int(width * mlp_ratio) units.", "student mistake: ratio unused"),
    ),
    hints=(
        "Two sums, two norms. What goes into the attention: z, or the norm of z? And what is it added to?",
        "__init__: norm1, attn, norm2, mlp. forward: y, A = attn(norm1(z)); z = z + y; then the same with the MLP, "
        "starting from the new z.",
        "y, A = self.attn(self.norm1(z)); z = z + y; z = z + self.mlp(self.norm2(z)); return z, A",
    ),
)  # fmt: skip


def vit_cases(d):
    def drawn(B, size, p, C=3, width=4, depth=2, heads=2, K=3):
        return {"x": d.normal(B, C, size, size, dtype=DOUBLE), "phase": d.real(0.1, 1.0),
                "options": {"size": size, "p": p, "channels": C, "width": width, "depth": depth, "heads": heads,
                            "classes": K}}  # fmt: skip

    return [
        case("forward", "two colour pictures, four patches, two blocks", **drawn(2, 4, 2)),
        case("forward", "grey, nine patches, one block, one head", **drawn(1, 6, 2, C=1, depth=1, heads=1)),
        case("forward", "one patch, three blocks", **drawn(3, 2, 2, depth=3, width=6, heads=3)),
        case("attention", "tokens and attention of every block", **drawn(2, 4, 2, depth=3), ask="inside"),
        case("gradient", "gradients of class token, positions and pixels", **drawn(2, 4, 2), ask="learned"),
    ]


def vit_logits(ns, data):
    return probing.call(filled(ns.ViT(**data["options"]), data["phase"], data["x"].dtype), data["x"])


def vit_inside(ns, data):
    model = filled(ns.ViT(**data["options"]), data["phase"], data["x"].dtype)
    found = probing.call(model.encode, data["x"])
    if not isinstance(found, tuple) or len(found) != 2:
        raise probing.Unusable("encode returns the tokens and the list of attentions: `return z, attentions`")
    return {"tokens": found[0], "attentions": list(found[1])}


def vit_learned(ns, data):
    model = filled(ns.ViT(**data["options"]), data["phase"], data["x"].dtype)
    x = data["x"].clone().requires_grad_()
    leaves = [x, model.cls_token, model.pos_embed]
    found = torch.autograd.grad(waved(model(x)), leaves, allow_unused=True)
    return dict(zip(("to the pixels", "to the class token", "to the positions"), found))


def timm_vit(data):
    from timm.models.vision_transformer import VisionTransformer

    o = data["options"]
    model = VisionTransformer(img_size=o["size"], patch_size=o["p"], in_chans=o["channels"], embed_dim=o["width"],
                              depth=o["depth"], num_heads=o["heads"], mlp_ratio=2.0,
                              num_classes=o["classes"])  # fmt: skip
    for block in model.blocks:
        block.attn.fused_attn = False
    return filled(model, data["phase"], data["x"].dtype)


def vit_library(data):
    return timm_vit(data)(data["x"])


def vit_library_inside(data):
    model, seen = timm_vit(data), []
    for block in model.blocks:
        block.attn.attn_drop.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    return {"tokens": model.forward_features(data["x"]), "attentions": seen}


def vit_library_learned(data):
    model, x = timm_vit(data), data["x"].clone().requires_grad_()
    found = torch.autograd.grad(waved(model(x)), [x, model.cls_token, model.pos_embed])
    return dict(zip(("to the pixels", "to the class token", "to the positions"), found))


class VitParts(nn.Module):
    def __init__(self, size=32, p=4, channels=3, width=96, depth=3, heads=3, mlp_ratio=2.0, classes=8):
        super().__init__()
        self.patch_embed = PatchEmbed(p, channels, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (size // p) ** 2 + 1, width))
        self.blocks = nn.ModuleList([Block(width, heads, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)


class ViT__by_hand(VitParts):
    def encode(self, x):
        patches = self.patch_embed(x)
        z = torch.cat([self.cls_token.repeat(len(x), 1, 1), patches], dim=1) + self.pos_embed
        maps = []
        for k in range(len(self.blocks)):
            z, A = self.blocks[k](z)
            maps += [A]
        return self.norm(z), maps

    def forward(self, x):
        return self.head(self.encode(x)[0])[:, 0]


class ViT__early_first(VitParts):
    def encode(self, x):
        tokens = add_tokens(self.patch_embed(x), self.cls_token, self.pos_embed)
        steps = []
        for block in self.blocks:
            steps.append(block(tokens))
            tokens = steps[-1][0]
        return F.layer_norm(tokens, tokens.shape[-1:], self.norm.weight, self.norm.bias, 1e-6), [A for _, A in steps]

    def forward(self, x):
        first = self.encode(x)[0].select(1, 0)
        return F.linear(first, self.head.weight, self.head.bias)


def add_tokens__standin(patches, cls, pos):
    return torch.cat([cls.repeat(len(patches), 1, 1), patches], dim=1) + pos


class Block__timm(nn.Module):
    def __init__(self, width, heads, mlp_ratio=4.0):
        from functools import partial

        from timm.models.vision_transformer import Block

        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        inside = Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=norm)
        inside.attn.fused_attn = False  # else nobody sees the attention
        self.norm1, self.attn, self.norm2, self.mlp = inside.norm1, inside.attn, inside.norm2, inside.mlp
        self.__dict__["inside"] = inside  # not a second time among the parameters

    def forward(self, z):
        seen = []
        hook = self.attn.attn_drop.register_forward_hook(lambda _, given, out: seen.append(given[0]))
        z = self.inside(z)
        hook.remove()
        return z, seen[0]


VIT = Exercise(
    name="ViT",
    methods=("ch12/vit", "ch12/vit_class_output"),
    core=True,
    groups={"forward": 2.0, "attention": 1.0, "gradient": 1.0},
    cases=vit_cases,
    probe={"forward": vit_logits, "inside": vit_inside, "learned": vit_learned},
    oracle={"forward": vit_library, "inside": vit_library_inside, "learned": vit_library_learned},
    uses=("add_tokens", "Block"),
    standins=(
        Variant(name="add_tokens", code=(add_tokens__standin,)),
        Variant(name="Block", code=(Block__timm,)),
    ),
    minutes=20,
    difficulty="medium",
    good_for="a model whose weights come from a library and whose code does not",
    alternatives=(
        alternative(VitParts, ViT__by_hand, name="by_hand"),
        alternative(VitParts, ViT__early_first, name="early_first"),
    ),
    misconceptions=(
        slip("no_last_norm", {"self.norm(z), attentions": "z, attentions"},
             "The last norm is missing: after all blocks comes self.norm.", "card trap: final norm missing"),
        slip("last_token", {"self.head(z[:, 0])": "self.head(z[:, -1])"},
             "You read the last token, a patch. The class token is token 0.", "student mistake: appended"),
        slip("probabilities", {"self.head(z[:, 0])": "self.head(z[:, 0]).softmax(1)"},
             "You return probabilities. forward returns the logits: what the head gives, without a softmax.",
             "student mistake: softmax in the model"),
        slip("mean_of_patches", {"self.head(z[:, 0])": "self.head(z[:, 1:].mean(1))"},
             "You average the patch tokens. Here the scores come from the class token alone.",
             "card trap: token or GAP"),
        slip("mean_of_heads", {"attentions.append(A)": "attentions.append(A.mean(1))"},
             "You average A over the heads. encode returns all of it, (B, h, N+1, N+1) of each block.",
             "student mistake: heads averaged too early"),
        slip("added_up", {"attentions.append(A)": "attentions += A"},
             "attentions += A puts each picture of A into the list by itself. Append A as a whole.",
             "student mistake: += for append"),
        slip("mean", {"self.head(z[:, 0])": "self.head(z.mean(1))"},
             "You average over all tokens. The scores come from the class token alone.", "card trap: token or GAP"),
        slip("no_tokens", {"add_tokens(self.patch_embed(x), self.cls_token, self.pos_embed)":
             "torch.cat([self.cls_token.expand(len(x), 1, -1), self.patch_embed(x)], 1)"},
             "The positions are missing: add self.pos_embed, as `add_tokens` does.", "student mistake: positions"),
        slip("first_block_only", {"z, A = block(z)": "z, A = self.blocks[0](z)"},
             "You run the first block again and again. Each block has its own weights.", "student mistake: blocks[0]"),
        slip("fresh_start", {"z, A = block(z)": "_, A = block(z)"},
             "What a block returns is thrown away: the next one must start from it.", "student mistake: z not kept"),
        slip("last_attention", {"return self.norm(z), attentions": "return self.norm(z), attentions[-1:]"},
             "encode returns the attention of EVERY block, in order.", "student mistake: only the last one"),
        slip("norm_in_every_block", {"attentions.append(A)": "attentions.append(A)\nz = self.norm(z)"},
             "The last norm comes once, after all blocks.", "student mistake: indentation"),
    ),
    hints=(
        "Follow the shapes: (B, 3, 32, 32), (B, 64, D), (B, 65, D), ..., (B, K). Which part makes which step?",
        "patch_embed, then add_tokens with self.cls_token and self.pos_embed, then all blocks in a loop that keeps z "
        "and collects A, then self.norm. The head reads z[:, 0].",
        "z = add_tokens(self.patch_embed(x), self.cls_token, self.pos_embed); for block in self.blocks: z, A = "
        "block(z); attentions.append(A); return self.norm(z), attentions. forward: self.head(self.encode(x)[0][:, 0])",
    ),
)  # fmt: skip
