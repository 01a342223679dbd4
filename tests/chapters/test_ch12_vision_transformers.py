"""Chapter 12 against timm, torchvision, transformers, a public code's numbers and exact properties.

Functions with an oracle beside their exercise are compared in tests/chapters/test_oracles.py; here is what needs a
trained model, a library of its own, or no library at all.
"""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlcv_lab import count_params, world, zoo
from solutions import ch12_vision_transformers as ours

GOLDEN = Path(__file__).parents[1] / "golden"
EXAMPLE = {
    "X": [[1, 0, 0], [1, 0, 1], [0, 2, 0], [0, 1, 1], [2, 0, 0]],
    "Wq": [[1, 0, 1], [0, 1, 0], [1, 0, 0]],
    "Wk": [[1, 0, 0], [0, 1, 1], [0, 0, 1]],
    "Wv": [[0, 1, 0], [1, 0, 0], [0, 0, 2]],
}


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(mine, theirs, **kwargs):
    torch.testing.assert_close(mine, theirs, **({"rtol": 1e-9, "atol": 1e-9} | kwargs))


def example():
    return {name: torch.tensor(rows, dtype=torch.float64) for name, rows in EXAMPLE.items()}


@pytest.fixture(scope="module")
def scenes():
    scene = world.sample(24, 0, backgrounds=("noise", "grid"), sizes=("medium", "big"))
    return (world.render(scene) - 0.5) / 0.5, scene


@pytest.mark.method("ch12/vit_patch_embed")
def test_patches_lose_nothing_and_a_convolution_embeds_them():
    for B, C, H, W, p in ((2, 3, 8, 12, 4), (1, 1, 6, 3, 3), (3, 2, 5, 5, 1), (2, 3, 4, 4, 4), (0, 3, 4, 4, 2)):
        x = draw(B, C, H, W)
        patches = ours.patchify(x, p)
        assert patches.shape == (B, (H // p) * (W // p), C * p * p)
        assert torch.equal(ours.unpatchify(patches, p, (H, W)), x)
    x, layer = draw(2, 3, 8, 12), nn.Conv2d(3, 5, 4, 4).double()
    close(ours.embed_patches(x, layer.weight, layer.bias), layer(x).flatten(2).transpose(1, 2))
    close(ours.PatchEmbed(4, 3, 5).double().forward(x).shape, torch.Size((2, 6, 5)))


@pytest.mark.method("ch12/vit_patch_embed")
def test_the_official_order_of_pixels_permutes_the_rows_of_e():
    x, p = draw(2, 3, 8, 8), 4
    theirs = x.permute(0, 2, 3, 1).reshape(2, 2, p, 2, p, 3).permute(0, 1, 3, 2, 4, 5).reshape(2, 4, p * p * 3)
    order = torch.arange(3 * p * p).reshape(3, p, p).permute(1, 2, 0).flatten()
    assert torch.equal(ours.patchify(x, p)[..., order], theirs)


@pytest.mark.method("ch12/vit_patch_embed", "ch12/vit")
def test_half_precision_empty_and_broken_inputs():
    for kind, off in ((torch.bfloat16, 4e-2), (torch.float16, 5e-3)):
        x = draw(2, 3, 8, 8, dtype=torch.float32).to(kind)
        assert torch.equal(ours.unpatchify(ours.patchify(x, 4), 4, (8, 8)), x)
        model = ours.ViT(size=8, p=4, width=12, depth=2, heads=3).eval()
        exact = model(x.float())
        torch.testing.assert_close(model.to(kind)(x).float(), exact, rtol=off, atol=off)
    model = ours.ViT(size=8, p=4, width=12, depth=1, heads=3).eval()
    assert model(torch.zeros(0, 3, 8, 8)).shape == (0, 8)
    x = draw(2, 3, 8, 8, dtype=torch.float32)
    x[0, 0, 0, 0] = math.nan
    assert model(x)[0].isnan().all()
    assert model(x)[1].isfinite().all()
    with pytest.raises(ValueError, match="heads"):
        ours.ViT(width=10, heads=3)


@pytest.mark.method("ch12/vit_tokens")
def test_resized_positions_equal_timm_and_differ_from_torchvision_by_the_corners():
    from timm.layers import resample_abs_pos_embed
    from torchvision.models.vision_transformer import interpolate_embeddings

    pos = draw(1, 1 + 6 * 6, 8, dtype=torch.float32)
    for new in ((9, 9), (3, 12), (6, 6), (2, 2)):
        theirs = resample_abs_pos_embed(pos, list(new), [6, 6], num_prefix_tokens=1, antialias=False)
        close(ours.resize_pos(pos, (6, 6), new), theirs, rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.resize_pos(pos, (6, 6), (8, 8))[:, 0], pos[:, 0])
    state = interpolate_embeddings(32, 4, {"encoder.pos_embedding": pos})["encoder.pos_embedding"]
    grid = pos[:, 1:].mT.reshape(1, 8, 6, 6)
    corners = F.interpolate(grid, size=(8, 8), mode="bicubic", align_corners=True).flatten(2).mT
    close(state[:, 1:], corners, rtol=1e-5, atol=1e-5)
    assert (ours.resize_pos(pos, (6, 6), (8, 8)) - state).abs().max() > 0.01


@pytest.mark.method("ch12/vit_tokens")
def test_without_positions_the_order_of_the_patches_is_not_seen():
    torch.manual_seed(0)
    model = ours.ViT(size=8, p=2, width=12, depth=2, heads=3).double().eval()
    x, order = draw(3, 3, 8, 8), torch.randperm(16)
    moved = ours.unpatchify(ours.patchify(x, 2)[:, order], 2, (8, 8))
    with torch.no_grad():
        assert (model(x) - model(moved)).abs().max() > 1e-4
        model.pos_embed.zero_()
        close(model(x), model(moved))
        nn.init.normal_(model.cls_token)
        close(model(x), model(moved))


@pytest.mark.method("ch12/vit_qkv_example")
def test_the_worked_example_to_the_last_digit():
    Q, K, V, A, Y = ours.vit_qkv(**example())
    close(Q, torch.tensor([[1, 0, 1], [2, 0, 1], [0, 2, 0], [1, 1, 0], [2, 0, 2]]).double())
    close(K, torch.tensor([[1, 0, 0], [1, 1, 1], [0, 2, 0], [0, 2, 1], [2, 0, 0]]).double())
    close(V, torch.tensor([[0, 1, 0], [0, 1, 2], [2, 0, 0], [1, 0, 2], [0, 2, 0]]).double())
    assert [round(a, 4) for a in A[0].tolist()] == [0.1633, 0.2909, 0.0917, 0.1633, 0.2909]
    assert [round(y, 4) for y in Y[0].tolist()] == [0.3466, 1.0359, 0.9083]
    e = [math.exp(s / math.sqrt(3)) for s in (1, 2, 0, 1, 2)]  # the scores are whole numbers, so this is all there is
    e = torch.tensor(e, dtype=torch.float64)
    close(A[0], e / e.sum())
    close(Y[0], torch.stack([2 * e[2] + e[3], e[0] + e[1] + 2 * e[4], 2 * e[1] + 2 * e[3]]) / e.sum())
    assert A.shape == (5, 5)
    assert Y.shape == (5, 3)  # as many rows as X
    close(A.sum(1), torch.ones(5).double())


@pytest.mark.method("ch12/vit_qkv_example")
def test_one_head_of_the_class_is_the_function():
    layer, X = ours.SelfAttention(4, 2).double(), draw(5, 4)
    nn.init.zeros_(layer.qkv.bias)
    nn.init.zeros_(layer.proj.bias)
    q, k, v = layer.qkv.weight.reshape(3, 2, 2, 4)
    heads = [ours.vit_qkv(X, q[i], k[i], v[i]) for i in range(2)]
    out, A = layer(X[None])
    close(A[0], torch.stack([head[3] for head in heads]))
    close(out[0], torch.cat([head[4] for head in heads], dim=1) @ layer.proj.weight.T)


@pytest.mark.method("ch12/vit")
def test_the_zoos_weights_give_timms_numbers(scenes):
    x, _ = scenes
    theirs, _ = zoo.load("vit")
    mine = ours.ViT().eval()
    mine.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(mine(x), theirs(x), rtol=1e-5, atol=1e-5)
        z, A = mine.encode(x)
        torch.testing.assert_close(z, theirs.forward_features(x), rtol=1e-5, atol=1e-5)
    for a, b in zip(A, ours.attentions_of(theirs, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert count_params(mine) == ours.vit_param_count(32, 4, 3, 96, 3, 192, 8) == 236_360


@pytest.mark.method("ch12/vit")
def test_torchvisions_vit_with_the_same_weights():
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    theirs = (
        VisionTransformer(16, 4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5).double().eval()
    )
    for value in theirs.parameters():
        nn.init.normal_(value, std=0.4)
    mine = ours.ViT(size=16, p=4, width=8, depth=2, heads=2, classes=5).double().eval()
    state = {"cls_token": theirs.class_token, "pos_embed": theirs.encoder.pos_embedding}
    pairs = {"patch_embed.proj": theirs.conv_proj, "norm": theirs.encoder.ln, "head": theirs.heads.head}
    for i, layer in enumerate(theirs.encoder.layers):
        own = f"blocks.{i}."
        pairs |= {own + "norm1": layer.ln_1, own + "norm2": layer.ln_2, own + "mlp.fc1": layer.mlp[0],
                  own + "mlp.fc2": layer.mlp[3], own + "attn.proj": layer.self_attention.out_proj}  # fmt: skip
        state |= {own + "attn.qkv.weight": layer.self_attention.in_proj_weight,
                  own + "attn.qkv.bias": layer.self_attention.in_proj_bias}  # fmt: skip
    for name, part in pairs.items():
        state |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    mine.load_state_dict(state)
    x = draw(2, 3, 16, 16)
    close(mine(x), theirs(x))


@pytest.mark.method("ch12/vit")
def test_the_sizes_of_the_paper():
    base, large, huge = (768, 12, 3072), (1024, 24, 4096), (1280, 32, 5120)
    counts = {(16, base): 86_567_656, (32, base): 88_224_232, (16, large): 304_326_632, (14, huge): 632_045_800}
    for (p, (width, depth, mlp)), count in counts.items():
        assert ours.vit_param_count(224, p, 3, width, depth, mlp, 1000) == count
    from torchvision.models import vit_b_16

    with torch.device("meta"):
        assert count_params(vit_b_16()) == counts[16, base]
        mine = ours.ViT(size=224, p=16, width=768, depth=12, heads=12, mlp_ratio=4, classes=1000)
    assert count_params(mine) == counts[16, base]


@pytest.mark.method("ch12/vit_class_output")
def test_only_the_first_row_of_the_last_block_reaches_the_scores(scenes):
    x, _ = scenes
    vit, _ = zoo.load("vit")
    with torch.no_grad():
        z = vit.patch_embed(x)
        z = ours.add_tokens(z, vit.cls_token, vit.pos_embed)
        for block in vit.blocks[:-1]:
            z = block(z)
        first = ours.last_block_class_row(vit.blocks[-1], z)
        torch.testing.assert_close(first, vit.blocks[-1](z)[:, 0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(vit.head(vit.norm(first)), vit(x), rtol=1e-5, atol=1e-5)
        out = vit.forward_features(x)
        spoilt = torch.cat([out[:, :1], torch.randn_like(out[:, 1:])], dim=1)
        assert torch.equal(ours.classify(spoilt, vit.head), ours.classify(out, vit.head))
        assert not torch.allclose(ours.classify(spoilt, vit.head, "avg"), ours.classify(out, vit.head, "avg"))


@pytest.mark.method("ch12/vit_class_output")
def test_the_mean_of_the_patches_is_timms_global_pool():
    from timm.models.vision_transformer import global_pool_nlc

    z, head = draw(3, 7, 4), nn.Linear(4, 2).double()
    for pool in ("token", "avg"):
        close(ours.classify(z, head, pool), head(global_pool_nlc(z, pool, num_prefix_tokens=1)))


@pytest.mark.method("ch12/vit_attention_map")
def test_the_map_is_that_of_transformers():
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8,
                       patch_size=2, attn_implementation="eager")  # fmt: skip
    theirs = ViTForImageClassification(config).eval()
    with torch.no_grad():
        A = theirs(draw(2, 3, 8, 8, dtype=torch.float32), output_attentions=True).attentions[-1]
    found = ours.cls_attention(A, (4, 4))
    assert found.shape == (2, 4, 4)
    for b in range(2):
        for n in range(16):
            row, column = divmod(n, 4)
            torch.testing.assert_close(found[b, row, column], A[b, :, 0, n + 1].mean())
    torch.testing.assert_close(found.sum((1, 2)), 1 - A[:, :, 0, 0].mean(1))


@pytest.mark.method("ch12/vit_attention_map")
def test_pointing_knows_the_best_and_the_worst_map(scenes):
    _, scene = scenes
    masks = world.object_masks(scene, 32)[:, 0]
    inside = F.avg_pool2d(masks.float()[:, None], 4)[:, 0]
    assert ours.pointing_game(inside, masks) == 1.0
    assert ours.pointing_game(-inside, masks) == 0.0
    assert ours.pointing_game(3 * inside + 7, masks) == 1.0


@pytest.mark.method("ch12/attention_rollout")
def test_rollout_equals_the_public_code_on_its_numbers():
    found = json.loads((GOLDEN / "attention_attention_rollout.json").read_text(encoding="utf-8"))
    assert found["method"] == "ch12/attention_rollout"
    tensor = lambda v: torch.tensor(v["values"], dtype=torch.float64).reshape(v["shape"])  # noqa: E731
    rollout = ours.attention_rollout(list(tensor(found["inputs"]["attentions"])))
    close(rollout, tensor(found["outputs"]["rollout_matrix"]))
    row = rollout[0, 0, 1:].reshape(2, 2)  # the code's mask is scaled to a maximum of 1
    close(row / row.max(), tensor(found["outputs"]["mask"]))


@pytest.mark.method("ch12/attention_rollout")
def test_rollout_keeps_shares_and_knows_its_limits():
    attentions = [torch.softmax(draw(2, 3, 6, 6, seed=s), dim=-1) for s in range(4)]
    rollout = ours.attention_rollout(attentions)
    close(rollout.sum(2), torch.ones(2, 6).double())
    assert (rollout >= 0).all()
    own = torch.eye(6).double()
    close(ours.attention_rollout([own.expand(2, 3, 6, 6)] * 5), own.expand(2, 6, 6))
    close(ours.attention_rollout(attentions[:1]), (attentions[0].mean(1) + own) / 2)
    first, second = (A.mean(1) for A in attentions[:2])
    close(ours.attention_rollout(attentions[:2]), (own + first + second + second @ first) / 4)  # the four paths
    mixing = [torch.full((1, 1, 6, 6), 1 / 6, dtype=torch.float64)] * 40
    close(ours.attention_rollout(mixing), torch.full((1, 6, 6), 1 / 6, dtype=torch.float64))
    order = torch.randperm(6)
    moved = [A[:, :, order][..., order] for A in attentions]
    close(ours.attention_rollout(moved), rollout[:, order][..., order])
    before = [A.clone() for A in attentions]
    ours.attention_rollout(attentions)
    assert all(torch.equal(a, b) for a, b in zip(attentions, before, strict=True))


@pytest.mark.method("ch12/attention_rollout")
def test_rollout_in_half_precision_and_with_a_nan():
    attentions = [torch.softmax(draw(1, 2, 9, 9, seed=s, dtype=torch.float32), dim=-1) for s in range(3)]
    for kind, off in ((torch.bfloat16, 2e-2), (torch.float16, 2e-3)):
        low = ours.attention_rollout([A.to(kind) for A in attentions])
        torch.testing.assert_close(low.float(), ours.attention_rollout(attentions), rtol=off, atol=off)
    attentions[1][0, 0, 0, 0] = math.nan
    assert ours.attention_rollout(attentions)[0, 0].isnan().all()
    assert ours.attention_rollout(attentions[:1]).isfinite().all()


@pytest.mark.method("ch12/attention_rollout", "ch12/vit_attention_map")
def test_covering_a_patch_of_a_linear_model_takes_away_its_own_part():
    x, weight = draw(3, 2, 4, 6), draw(3, 2, 4, 6, seed=1)
    model = lambda x: torch.stack([(x * w).flatten(1).sum(1) for w in weight], dim=1)  # noqa: E731
    y, before = torch.tensor([2, 0, 1]), x.clone()
    drop = ours.occlusion_drop(model, x, y, 2)
    close(drop, F.avg_pool2d((x * weight[y]).sum(1, keepdim=True), 2)[:, 0] * 4)
    close(drop.sum((1, 2)), model(x)[range(3), y])  # a linear model's score is the sum of all drops
    assert torch.equal(x, before)


@pytest.mark.method("ch12/attention_rollout")
def test_rank_correlation_is_scipys():
    from scipy.stats import spearmanr

    a, b = draw(4, 20), draw(4, 20, seed=1)
    theirs = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    close(ours.rank_correlation(a, b), torch.tensor(theirs).double())
    close(ours.rank_correlation(a, a.exp()), torch.ones(4).double())
    close(ours.rank_correlation(a, -a), -torch.ones(4).double())


@pytest.mark.method("ch12/vit", "ch12/vit_class_output", "ch12/vit_tokens")
@pytest.mark.parametrize("name", ["token", "gap"])
def test_the_checkpoints_fit_and_are_half_a_megabyte_at_most(name):
    model = ours.ViT(size=16, p=2, channels=1, width=48, depth=3, heads=3, classes=10)
    zoo.checkpoint(f"ch12/{name}", into=model)
    files = list((zoo.folder(f"ch12/{name}")).glob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) < 512 * 1024
