"""Oracle tests of chapter 16, notebook 1: open_clip, scikit-learn, SciPy, and exact properties."""

import math

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from torch import nn

from solutions.ch16_contrastive_language_image_pretraining.lesson_1 import (
    SearchIndex,
    TextTower,
    TinyCLIP,
    clip_loss,
    clip_train_step,
    ensemble_classifier,
    recall_at_k,
    without_doubles,
    zero_shot_logits,
)

DOUBLE = torch.float64


@pytest.fixture(params=range(3))
def rng(request):
    torch.manual_seed(request.param)
    return torch.Generator().manual_seed(request.param)


def draw(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=DOUBLE)


@pytest.mark.method("ch16/clip_loss")
@pytest.mark.parametrize("log_scale", [0.0, math.log(1 / 0.07), math.log(100)])
def test_the_loss_equals_open_clip_forward_and_gradient(rng, log_scale):
    img, txt = (draw(rng, 5, 7).requires_grad_() for _ in range(2))
    t = torch.tensor(log_scale, dtype=DOUBLE, requires_grad=True)
    mine = clip_loss(img, txt, t)
    theirs = ClipLoss()(F.normalize(img, dim=1), F.normalize(txt, dim=1), t.exp())
    torch.testing.assert_close(mine, theirs)
    inputs = [img, txt, t]
    torch.testing.assert_close(torch.autograd.grad(mine, inputs), torch.autograd.grad(theirs, inputs))


@pytest.mark.method("ch16/clip_loss")
def test_limits_and_symmetries_of_the_loss(rng):
    img, txt, t = draw(rng, 6, 4), draw(rng, 6, 4), torch.tensor(1.3, dtype=DOUBLE)
    same = torch.ones(6, 4, dtype=DOUBLE)
    assert clip_loss(same, same, t).item() == pytest.approx(math.log(6))
    assert clip_loss(img[:1], txt[:1], t).item() == pytest.approx(0.0, abs=1e-12)
    order = torch.randperm(6, generator=rng)
    torch.testing.assert_close(clip_loss(img[order], txt[order], t), clip_loss(img, txt, t))
    torch.testing.assert_close(clip_loss(txt, img, t), clip_loss(img, txt, t))
    assert not torch.allclose(clip_loss(img.roll(1, 0), txt, t), clip_loss(img, txt, t))


@pytest.mark.method("ch16/clip_loss")
def test_the_gradient_of_the_logits_is_the_formula_of_the_lesson(rng):
    Z = draw(rng, 5, 5).requires_grad_()
    own = torch.arange(5)
    loss = (F.cross_entropy(Z, own) + F.cross_entropy(Z.T, own)) / 2
    formula = (Z.softmax(1) + Z.softmax(0) - 2 * torch.eye(5, dtype=DOUBLE)) / 10
    torch.testing.assert_close(torch.autograd.grad(loss, Z)[0], formula.detach())


def copied_from(theirs, mine):
    """Give the book's text tower the weights of open_clip's."""
    mine.words.weight.data = theirs.token_embedding.weight.data
    mine.places.data = theirs.positional_embedding.data
    mine.norm.load_state_dict(theirs.ln_final.state_dict())
    mine.project.weight.data = theirs.text_projection.data.T
    for a, b in zip(mine.blocks.layers, theirs.transformer.resblocks):
        a.self_attn.load_state_dict(b.attn.state_dict())
        for ours, other in ((a.linear1, b.mlp.c_fc), (a.linear2, b.mlp.c_proj), (a.norm1, b.ln_1), (a.norm2, b.ln_2)):
            ours.load_state_dict(other.state_dict())


@pytest.mark.method("ch16/clip_train")
def test_the_text_tower_equals_open_clips_on_the_same_weights(rng):
    vision = {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    words = {"context_length": 9, "vocab_size": 21, "width": 32, "heads": 2, "layers": 2}
    theirs = open_clip.model.CLIP(embed_dim=12, vision_cfg=vision, text_cfg=words).eval()
    mine = TextTower(21, context=9, width=32, layers=2, heads=2, out=12).eval()
    copied_from(theirs, mine)
    ids = torch.zeros(4, 9, dtype=torch.long)
    for row, n in zip(ids, (1, 4, 8, 5)):
        row[:n] = torch.randint(1, 20, (n,), generator=rng)
        row[n] = 20
    torch.testing.assert_close(mine(ids), theirs.encode_text(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.method("ch16/clip_train")
def test_what_stands_behind_the_end_changes_nothing_and_what_stands_before_it_does(rng):
    tower = TextTower(30, context=8).eval()
    ids = torch.tensor([[3, 4, 29, 0, 0, 0, 0, 0]])
    behind, before = ids.clone(), ids.clone()
    behind[0, 5], before[0, 0] = 7, 9
    assert torch.equal(tower(ids), tower(behind))
    assert not torch.allclose(tower(ids), tower(before))


@pytest.mark.method("ch16/clip_train")
def test_a_training_step_is_that_of_open_clips_loss(rng):
    models = [TinyCLIP(TextTower(12, out=8), channels=4, D=8).double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    images, ids = torch.rand(6, 3, 8, 8, generator=rng, dtype=DOUBLE), torch.randint(1, 12, (6, 5), generator=rng)
    mine, theirs = (torch.optim.SGD(m.parameters(), lr=0.3) for m in models)
    value = clip_train_step(models[0], images, ids, mine)
    u, v = (F.normalize(f, dim=1) for f in (models[1].encode_image(images), models[1].encode_text(ids)))
    loss = ClipLoss()(u, v, models[1].logit_scale.exp())
    loss.backward()
    theirs.step()
    assert value == pytest.approx(loss.item())
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        torch.testing.assert_close(a, b)


@pytest.mark.method("ch16/clip_train")
def test_the_factor_stays_between_1_and_100():
    model = TinyCLIP(nn.Embedding(4, 8), channels=4, D=8)
    model.logit_scale.data.fill_(9.0)
    clip_train_step(model, torch.rand(4, 3, 8, 8), torch.arange(4), torch.optim.SGD(model.parameters(), lr=1e-4))
    assert model.logit_scale.item() == pytest.approx(math.log(100))


@pytest.mark.method("ch16/clip_train")
def test_counts_of_the_real_models_on_meta():
    sizes = {"ViT-B-32": 151_277_313, "ViT-B-16": 149_620_737, "ViT-L-14": 427_616_513, "RN50": 102_007_137}
    for name, count in sizes.items():
        with torch.device("meta"):
            model = open_clip.CLIP(**open_clip.get_model_config(name))
        assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.method("ch16/zero_shot")
def test_logits_are_scaled_cosines_and_their_gradient_is_that_of_torch(rng):
    img, classes = draw(rng, 4, 6).requires_grad_(), draw(rng, 3, 6).requires_grad_()
    t, dy = torch.tensor(2.0, dtype=DOUBLE), draw(rng, 4, 3)
    mine = zero_shot_logits(img, classes, t)
    theirs = t.exp() * F.cosine_similarity(img[:, None], classes[None], dim=-1)
    torch.testing.assert_close(mine, theirs)
    grads = [torch.autograd.grad(y, [img, classes], dy) for y in (mine, theirs)]
    torch.testing.assert_close(*grads)
    best = zero_shot_logits(img, classes, torch.tensor(0.0)).argmax(1)
    assert torch.equal(mine.argmax(1), best)  # the factor decides no arg-max


class Words:
    """Encode a text by the sum of fixed vectors of its letters."""

    def __init__(self, rng):
        self.table = torch.randn(128, 5, generator=rng)

    def __call__(self, texts):
        return torch.stack([self.table[torch.tensor([ord(c) % 128 for c in text])].sum(0) for text in texts])


@pytest.mark.method("ch16/prompt_ensembles")
def test_the_ensemble_equals_open_clips_transposed(rng):
    encode = Words(rng)

    class Model(nn.Module):
        def encode_text(self, texts, normalize=False):
            return F.normalize(encode(texts), dim=-1) if normalize else encode(texts)

    def as_list(texts):
        class Texts(list):
            def to(self, device):
                return self

        return Texts(texts)

    names, templates = ["cat", "big dog", "x"], ["a {}.", "{}", "photo of a {}"]
    calls = [lambda c, t=t: t.format(c) for t in templates]
    theirs = open_clip.build_zero_shot_classifier(Model(), as_list, names, calls)
    torch.testing.assert_close(ensemble_classifier(encode, names, templates), theirs.T)


@pytest.mark.method("ch16/prompt_ensembles")
def test_one_template_is_no_ensemble_and_order_does_not_matter(rng):
    encode, names = Words(rng), ["cat", "dog"]
    single = ensemble_classifier(encode, names, ["a {}"])
    torch.testing.assert_close(single, F.normalize(encode(["a cat", "a dog"]), dim=1))
    several = [ensemble_classifier(encode, names, order) for order in (["a {}", "{}!"], ["{}!", "a {}"])]
    torch.testing.assert_close(*several)


@pytest.mark.method("ch16/retrieval_recall")
@pytest.mark.parametrize("k", [1, 3, 7])
def test_recall_equals_scikit_learns_top_k_where_each_image_has_one_text(rng, k):
    from sklearn.metrics import top_k_accuracy_score

    sim = draw(rng, 20, 20) + torch.eye(20, dtype=DOUBLE)
    found = recall_at_k(sim, torch.arange(20), (k,))
    for name, scores in (("i2t", sim), ("t2i", sim.T)):
        expected = top_k_accuracy_score(np.arange(20), scores.numpy(), k=k, labels=np.arange(20))
        assert found[f"{name}_R@{k}"] == pytest.approx(expected)


@pytest.mark.method("ch16/retrieval_recall")
def test_a_model_that_scores_all_alike_recalls_nothing():
    found = recall_at_k(torch.zeros(6, 12), torch.arange(6).repeat(2), (1, 5, 11))
    assert found == {"i2t_R@1": 0, "i2t_R@5": 0, "i2t_R@11": 1, "t2i_R@1": 0, "t2i_R@5": 0, "t2i_R@11": 1}


@pytest.mark.method("ch16/clip_retrieval")
def test_with_all_lists_the_index_equals_scikit_learns_exact_search(rng):
    from sklearn.neighbors import NearestNeighbors

    features, queries = torch.randn(200, 8, generator=rng), torch.randn(5, 8, generator=rng)
    exact = NearestNeighbors(n_neighbors=7, metric="cosine", algorithm="brute").fit(features.numpy())
    index = SearchIndex(features, lists=12)
    for query in queries:
        hits, compared = index.search(query, 7, probe=12)
        assert hits == exact.kneighbors(query[None].numpy(), return_distance=False)[0].tolist()
        assert compared == 212
        few, seen = index.search(query, 7, probe=2)
        assert seen < 212
        assert set(few) <= set(range(200))


@pytest.mark.method("ch16/clip_retrieval")
def test_doubles_are_the_connected_components_of_scipy(rng):
    from scipy.sparse.csgraph import connected_components

    angles = torch.rand(60, generator=rng) * 6.28
    features = torch.stack([angles.cos(), angles.sin()], 1)
    close = F.cosine_similarity(features[:, None], features[None], dim=2) > 0.995
    _, group = connected_components(close.numpy(), directed=False)
    first = [int(np.flatnonzero(group == g)[0]) for g in dict.fromkeys(group.tolist())]
    assert without_doubles(features, 0.995) == sorted(first)


@pytest.mark.method("ch16/retrieval_recall")
def test_a_model_that_gives_nan_recalls_nothing_and_one_nan_is_a_rival_ahead():
    everything = recall_at_k(torch.full((4, 4), math.nan), torch.arange(4), (1, 3))
    assert set(everything.values()) == {0.0}
    sim = torch.eye(3)
    sim[0, 1] = math.nan  # image 0 and text 1 lose their first place, all else stays
    assert recall_at_k(sim, torch.arange(3), (1, 2)) == pytest.approx(
        {"i2t_R@1": 2 / 3, "i2t_R@2": 1.0, "t2i_R@1": 2 / 3, "t2i_R@2": 1.0}
    )
