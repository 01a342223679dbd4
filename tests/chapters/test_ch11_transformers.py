"""Chapter 11 against torch's and transformers' own modules, official numbers and exact properties.

Most functions have an oracle beside their exercise (tests/chapters/test_oracles.py); here are the modules, whose
weights are carried over one by one, and the properties that no library states.
"""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autograder.base import paths
from chapters.ch11_transformers import recipes
from dlcv_lab import count_params, world
from solutions import ch11_transformers as ours

GOLDEN = Path(__file__).parents[1] / "golden"


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(mine, theirs, **kwargs):
    torch.testing.assert_close(mine, theirs, **({"rtol": 1e-9, "atol": 1e-9} | kwargs))


def golden(name):
    found = json.loads((GOLDEN / f"attention_{name}.json").read_text(encoding="utf-8"))
    sides = []
    for side in ("inputs", "outputs"):
        sides.append(
            {
                k: torch.tensor(v["values"], dtype=getattr(torch, v["dtype"])).reshape(v["shape"])
                for k, v in found[side].items()
            }
        )
    return (*sides, found["arguments"])


@pytest.mark.method("ch11/self_attention")
def test_equal_keys_give_the_mean_and_a_lone_token_gives_its_value():
    v = draw(2, 5, 3)
    y, A = ours.attend(torch.full((2, 4, 5), 7.0, dtype=torch.float64), v)
    close(y, v.mean(1, keepdim=True).expand(-1, 4, -1))
    close(A, torch.full((2, 4, 5), 0.2, dtype=torch.float64))
    x, Wq, Wk, Wv = draw(2, 1, 4), draw(3, 4), draw(3, 4), draw(5, 4)
    close(ours.self_attention(x, Wq, Wk, Wv)[0], x @ Wv.T)


@pytest.mark.method("ch11/self_attention")
def test_shuffled_tokens_give_shuffled_answers():
    x, Wq, Wk, Wv = draw(2, 6, 4), draw(3, 4), draw(3, 4, seed=1), draw(5, 4)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    close(ours.self_attention(x[:, order], Wq, Wk, Wv)[0], ours.self_attention(x, Wq, Wk, Wv)[0][:, order])


@pytest.mark.method("ch11/self_attention", "ch11/sdpa_masks")
def test_half_precision_is_near_and_a_nan_is_not_hidden():
    x, W = draw(2, 5, 4, dtype=torch.float32), draw(4, 4, seed=1, dtype=torch.float32)
    for kind, off in ((torch.float16, 1e-2), (torch.bfloat16, 1e-1)):
        near = ours.self_attention(x.to(kind), *[W.to(kind)] * 3)[0].float()
        torch.testing.assert_close(near, ours.self_attention(x, W, W, W)[0], rtol=off, atol=off)
    broken = x.clone()
    broken[0, 2, 1] = math.nan
    y = ours.self_attention(broken, W, W, W)[0]
    assert y[0].isnan().all()
    assert y[1].isfinite().all()
    big = ours.sdpa((200 * x).half(), x.half(), x.half(), torch.ones(5, 5, dtype=torch.bool).tril())[0]
    assert big.isfinite().all()
    empty = ours.sdpa(x[:0], x[:0], x[:0])[0]
    assert empty.shape == (0, 5, 4)


@pytest.mark.method("ch11/sdpa_masks")
def test_a_causal_answer_does_not_move_when_later_tokens_change():
    q, k, v = (draw(1, 6, 4, seed=s) for s in range(3))
    mask = ours.causal_mask(6)
    before = ours.sdpa(q, k, v, mask)[0]
    for t in range(6):
        k2, v2 = k.clone(), v.clone()
        k2[:, t + 1 :], v2[:, t + 1 :] = 1e6, -1e6
        assert torch.equal(ours.sdpa(q, k2, v2, mask)[0][:, : t + 1], before[:, : t + 1])


@pytest.mark.method("ch11/sdpa_masks")
def test_masked_keys_get_no_gradient_and_blind_rows_give_zeros():
    q, k, v = (draw(2, 4, 3, seed=s).requires_grad_() for s in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[:, 1], mask[2] = False, False
    y, A = ours.sdpa(q, k, v, mask)
    assert (A[:, :, 1] == 0).all()
    assert (y[:, 2] == 0).all()
    close(A.sum(2), mask.any(1).double().expand(2, 4))
    y.square().sum().backward()
    assert (k.grad[:, 1] == 0).all()
    assert (v.grad[:, 1] == 0).all()
    assert (q.grad[:, 2] == 0).all()
    assert k.grad.isfinite().all()


def carried(library, mine):
    """Carry a nn.MultiheadAttention's weights over to the chapter's module."""
    weights, biases = library.in_proj_weight.chunk(3), library.in_proj_bias.chunk(3)
    with torch.no_grad():
        for layer, weight, bias in zip((mine.query, mine.key, mine.value), weights, biases):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        mine.out.load_state_dict(library.out_proj.state_dict())
    return mine


@pytest.mark.method("ch11/multi_head")
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_equal_the_librarys_weight_for_weight(heads):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(8, heads, batch_first=True).double()
    nn.init.normal_(theirs.in_proj_bias)
    mine = carried(theirs, ours.MultiHeadAttention(8, heads).double())
    x, memory = draw(3, 4, 8).requires_grad_(), draw(3, 5, 8, seed=1)
    causal = ours.causal_mask(4)
    for given, mask in (((x, x, x), causal), ((x, memory, memory), None)):
        y, A = theirs(*given, attn_mask=None if mask is None else ~mask, average_attn_weights=False)
        y2, A2 = mine(x, None if given[1] is x else memory, mask)
        close(y2, y)
        close(A2, A)
        slopes = [torch.autograd.grad(out.square().sum(), x)[0] for out in (y, y2)]
        close(*slopes)
    assert count_params(mine) == count_params(theirs) == 4 * 64 + 4 * 8
    with pytest.raises(ValueError):
        ours.MultiHeadAttention(8, 3)


@pytest.mark.method("ch11/multi_head")
def test_two_heads_are_two_attentions_side_by_side():
    torch.manual_seed(0)
    layer = ours.MultiHeadAttention(6, 2).double()
    x = draw(2, 5, 6)
    parts = [layer.query(x), layer.key(x), layer.value(x)]
    alone = [ours.sdpa(*(p[:, :, i : i + 3] for p in parts))[0] for i in (0, 3)]
    close(layer(x)[0], layer.out(torch.cat(alone, dim=2)))
    close(layer.merge(layer.split(x)), x)


@pytest.mark.method("ch11/positional_encoding")
def test_positions_equal_transformers_table_up_to_its_order():
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    for n, D in ((7, 8), (300, 64)):
        theirs = MarianSinusoidalPositionalEmbedding(n, D)
        table = theirs.create_weight() if hasattr(theirs, "create_weight") else theirs.weight
        mine = ours.sinusoidal_positions(n, D)
        torch.testing.assert_close(torch.cat([mine[:, 0::2], mine[:, 1::2]], 1), table.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.method("ch11/positional_encoding")
def test_a_shift_is_one_rotation_for_all_places():
    PE = ours.sinusoidal_positions(200, 16).double()
    for k in (0, 1, 7, -5):
        M = ours.shift_matrix(k, 16)
        places = torch.arange(max(0, -k), 200 - max(0, k))
        close(PE[places] @ M.T, PE[places + k], atol=1e-6)
        close(M @ M.T, torch.eye(16, dtype=torch.float64))
    close(ours.shift_matrix(2, 16) @ ours.shift_matrix(3, 16), ours.shift_matrix(5, 16))
    close(PE.square().sum(1), torch.full((200,), 8.0, dtype=torch.float64), atol=1e-5)


@pytest.mark.method("ch11/parallel_and_pooling")
def test_the_pooled_answer_does_not_know_the_order():
    x, W, valid = draw(2, 6, 4), draw(4, 4, seed=1), torch.ones(2, 6, dtype=torch.bool)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    pooled = [ours.masked_mean_pool(ours.self_attention(z, W, W, W)[0], valid) for z in (x, x[:, order])]
    close(*pooled)
    close(pooled[0], ours.self_attention(x, W, W, W)[0].mean(1))
    assert ours.masked_mean_pool(x[:, :0], valid[:, :0]).eq(0).all()


@pytest.mark.method("ch11/norms")
def test_groups_of_one_channel_are_instances_and_one_group_is_a_layer():
    x = draw(3, 6, 4, 5)
    close(ours.four_norms(x, "group", 6), ours.four_norms(x, "instance"))
    close(ours.four_norms(x, "group", 1), ours.four_norms(x, "layer"))
    alone = torch.cat([ours.four_norms(x[i : i + 1], "layer") for i in range(3)])
    close(alone, ours.four_norms(x, "layer"))
    assert not torch.allclose(ours.four_norms(x[:1], "batch"), ours.four_norms(x, "batch")[:1])
    for kind in ("batch", "layer", "instance", "group"):
        assert ours.four_norms(torch.full((2, 4, 3, 3), 5.0), kind).eq(0).all()
    token = draw(2, 5, 8)
    close(ours.standardise(token, (2,)), F.layer_norm(token, (8,)))


def filled(model, seed=0):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double()


@pytest.mark.method("ch11/residual_encoder")
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_encoder_layer_equals_the_librarys(norm_first):
    mine = filled(ours.EncoderLayer(8, 2, 12, norm_first=norm_first))
    theirs = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first).double()
    names = {"attention": "self_attn", "feed.0": "linear1", "feed.2": "linear2"}
    state = mine.state_dict()
    for old, new in names.items():
        state = {k.replace(old, new, 1) if k.startswith(old) else k: v for k, v in state.items()}
    theirs.load_state_dict(state)
    x = draw(3, 4, 8).requires_grad_()
    valid = torch.tensor([[True] * 4, [True, True, False, False], [True, False, True, True]])
    for mask in (None, valid):
        y = mine(x, mask)
        y2 = theirs(x, src_key_padding_mask=None if mask is None else ~mask)
        close(y, y2)
        close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (y, y2)))


@pytest.mark.method("ch11/residual_encoder")
def test_a_pre_norm_layer_with_silent_parts_is_the_identity():
    layer = ours.EncoderLayer(8, 2, 12, norm_first=True).double()
    for silent in (layer.attention.out_proj, layer.feed[2]):
        nn.init.zeros_(silent.weight)
        nn.init.zeros_(silent.bias)
    x = draw(2, 5, 8)
    assert torch.equal(layer(x), x)


@pytest.mark.method("ch11/decoder")
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_decoder_layer_equals_the_librarys(norm_first):
    mine = filled(ours.DecoderLayer(8, 2, 12, norm_first=norm_first))
    theirs = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first).double()
    names = {"attention": "self_attn", "cross": "multihead_attn", "feed.0": "linear1", "feed.2": "linear2"}
    state = mine.state_dict()
    for old, new in names.items():
        state = {k.replace(old, new, 1) if k.startswith(old) else k: v for k, v in state.items()}
    theirs.load_state_dict(state)
    x, memory = draw(2, 4, 8).requires_grad_(), draw(2, 5, 8, seed=1).requires_grad_()
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    for mask in (None, valid):
        y = mine(x, memory, mask)
        y2 = theirs(x, memory, tgt_mask=later, memory_key_padding_mask=None if mask is None else ~mask)
        close(y, y2)
        for mine_, theirs_ in zip(*(torch.autograd.grad(out.square().sum(), [x, memory]) for out in (y, y2))):
            close(mine_, theirs_)


@pytest.mark.method("ch11/decoder", "ch11/transformer")
def test_teacher_forced_scores_equal_those_of_writing_word_by_word():
    torch.manual_seed(0)
    model = recipes.captioner().double()
    images, words = ours.draw_scenes(3, 5)
    memory = model.encode(images.double())
    together = model.decode(words[:, :-1], memory)
    for t in range(1, words.shape[1]):
        close(model.decode(words[:, :t], memory)[:, -1], together[:, t - 1])


@pytest.mark.method("ch11/greedy_decoding")
def test_greedy_decoding_equals_transformers_generate():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=12, n_positions=32, n_embd=16, n_layer=2, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    start = torch.tensor([[3, 5], [7, 4], [9, 10], [6, 8]])
    for end in (1, 2, 5, 11):
        theirs = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=end,
            pad_token_id=0,
        )
        mine = ours.greedy_decode(lambda words: model(words).logits, start, end, 0, 12)
        assert torch.equal(mine, theirs)


@pytest.mark.method("ch11/kv_cache")
def test_the_cache_equals_transformers_and_changes_no_word():
    from transformers import DynamicCache

    mine, theirs = ours.KVCache(), DynamicCache()
    assert mine.length == 0
    for step, t in enumerate((3, 1, 2)):
        for layer in range(2):
            k, v = draw(2, 4, t, 3, seed=10 * step + layer), draw(2, 4, t, 3, seed=100 * step + layer)
            for a, b in zip(mine.update(layer, k, v), theirs.update(k, v, layer)):
                assert torch.equal(a, b)
    assert mine.length == theirs.get_seq_length() == 6


@pytest.mark.method("ch11/kv_cache")
def test_scores_with_a_cache_equal_those_without_for_any_cutting():
    torch.manual_seed(0)
    model = recipes.captioner().double()
    images, words = ours.draw_scenes(3, 5)
    memory, words = model.encode(images.double()), words[:, :-1]
    whole = model.decode(words, memory)
    for sizes in ([1] * 9, [4, 1, 4], [9], [2, 7]):
        cache, cross = ours.KVCache(), {}
        parts = [ours.decode_cached(model, part, memory, cache, cross) for part in words.split(sizes, 1)]
        close(torch.cat(parts, 1), whole)
        assert cache.length == 9


@pytest.mark.method("ch11/transformer")
def test_the_rate_equals_the_annotated_transformers():
    given, wanted, options = golden("noam_rate")
    mine = [ours.noam_lr(step, options["model_size"], options["warmup"]) for step in given["steps"].tolist()]
    close(torch.tensor(mine, dtype=torch.float64), wanted["rate"], atol=0)
    rates = [ours.noam_lr(step, 64, 100) for step in range(400)]
    assert max(range(400), key=rates.__getitem__) == 100


@pytest.mark.method("ch11/transformer")
def test_label_smoothing_equals_the_annotated_transformers():
    given, wanted, options = golden("label_smoothing")
    logits = given["logits"].requires_grad_()
    loss = ours.label_smoothing_loss(logits, given["target"], options["smoothing"], options["padding_idx"])
    close(loss, wanted["loss"])
    close(torch.autograd.grad(loss, logits)[0], wanted["grad_wrt_logits"])
    plain = ours.label_smoothing_loss(logits, given["target"], 0.0)
    close(plain, F.cross_entropy(logits, given["target"], ignore_index=0, reduction="sum"))


@pytest.mark.method("ch11/transformer")
def test_the_papers_model_has_as_many_weights_as_it_says():
    with torch.device("meta"):
        body = nn.ModuleList(
            [ours.EncoderLayer(512, 8, 2048) for _ in range(6)] + [ours.DecoderLayer(512, 8, 2048) for _ in range(6)]
        )
        theirs = nn.Transformer(512, 8, 6, 6, 2048)
    assert count_params(body) == 6 * 3_152_384 + 6 * 4_204_032
    assert count_params(theirs) == count_params(body) + 2 * 1024  # the library norms once more at both ends


@pytest.mark.method("ch11/transformer")
def test_captions_say_what_is_drawn():
    _, words = ours.draw_scenes(50, 7)
    scene = world.sample(50, 7, objects=2, sizes=("medium",), rotation="upright", grounds=("white",))
    for row, plain in zip(words.tolist(), scene.plain()):
        text = " ".join(ours.WORDS[w] for w in row if w > ours.END)
        assert world.is_true(f"{text}.", plain), text
        assert row[0] == ours.START
        assert ours.END in row


@pytest.mark.method("ch11/transformer")
def test_the_lesson_and_the_reference_know_the_same_words():
    source = (paths.chapters() / "ch11_transformers" / "lesson_2.md").read_text(encoding="utf-8")
    cell = source[source.index("PAD, START, END = ") :].split("```")[0]
    found = {"world": world}
    exec(cell, found)
    assert found["WORDS"] == ours.WORDS
    assert (found["PAD"], found["START"], found["END"]) == (ours.PAD, ours.START, ours.END)
    assert (
        f"{count_params(recipes.captioner()):,}".replace(",", " ") in source
    )  # the weights that its last section names
