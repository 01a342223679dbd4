"""Exercises of notebook 2: attention through all layers, what happens when a patch is covered, and a question."""

import torch
import torch.nn.functional as F

from autograder.declare import Exercise, alternative, case, mistaken, slip
from autograder.declare.exercise import Question

DOUBLE = torch.float64


def rollout_cases(d):
    def layers(L, B, h, N, dtype=DOUBLE):
        return [torch.softmax(2 * d.normal(B, h, N, N, dtype=dtype), dim=-1) for _ in range(L)]

    loose = [d.uniform(1, 2, 4, 4, low=0.1, high=2, dtype=DOUBLE) for _ in range(2)]
    return [
        case("layers", "three layers, two heads, five tokens", attentions=layers(3, 2, 2, 5)),
        case("layers", "two layers of one head", attentions=layers(2, 1, 1, 4)),
        case("layers", "four layers, three heads, float32", attentions=layers(4, 2, 3, 3, torch.float32)),
        case("edge", "a single layer", attentions=layers(1, 2, 2, 4)),
        case("edge", "rows that do not sum to 1", attentions=loose),
        case("edge", "every token sees only itself", attentions=[torch.eye(3).expand(2, 2, 3, 3)] * 3),
    ]


def rollout_library(data):
    import numpy as np

    attentions = [A.detach().double().numpy() for A in data["attentions"]]
    pictures = []
    for b in range(len(attentions[0])):
        steps = []
        for A in attentions:
            step = np.mean(A[b], axis=0) + np.identity(A.shape[-1])
            steps.append(np.diag(1 / step.sum(1)) @ step)
        pictures.append(np.linalg.multi_dot([*steps[::-1], np.identity(len(steps[0]))]))
    return torch.from_numpy(np.stack(pictures))


def attention_rollout__backwards(attentions):
    N = attentions[0].shape[-1]
    product = None
    for A in reversed(attentions):
        step = (A.sum(1) / A.shape[1]).clone()
        step[:, range(N), range(N)] += 1
        step = F.normalize(step, p=1, dim=-1)
        product = step if product is None else product @ step
    return product


def attention_rollout__einsum(attentions):
    own = torch.eye(attentions[0].shape[-1], dtype=attentions[0].dtype)[None]
    steps = [A.mean(dim=1) + own for A in attentions]
    steps = [torch.einsum("bij,bi->bij", s, 1 / s.sum(-1)) for s in steps]
    out = steps.pop(0)
    for step in steps:
        out = torch.einsum("bij,bjk->bik", step, out)
    return out


def attention_rollout__columns(attentions):
    A = attentions[0]
    own = torch.eye(A.shape[-1], dtype=A.dtype)
    out = own.expand(len(A), -1, -1)
    for A in attentions:
        step = A.mean(1) + own
        out = step / step.sum(2)[:, None] @ out
    return out


ATTENTION_ROLLOUT = Exercise(
    name="attention_rollout",
    methods=("ch12/attention_rollout",),
    core=True,
    groups={"layers": 2.0, "edge": 1.0},
    cases=rollout_cases,
    oracle=rollout_library,
    minutes=15,
    difficulty="medium",
    good_for="what a token holds after it has been mixed three times",
    alternatives=(alternative(attention_rollout__backwards), alternative(attention_rollout__einsum)),
    misconceptions=(
        slip("order", {"rollout = step @ rollout": "rollout = rollout @ step"},
             "You multiply in the wrong order. Output token = (last layer) ... (first layer) x input: the later layer "
             "stands on the left.", "card trap: order of the product"),
        slip("no_residual", {"A.mean(1) + own": "A.mean(1)"},
             "The residual path is missing: a token also keeps what it had. Add the identity.",
             "student mistake: residual"),
        slip("not_normalised", {"step = step / step.sum(2, keepdim=True)": ""},
             "Your rows do not sum to 1 any more: after the identity was added, divide each row by its sum.",
             "card trap: no renormalisation"),
        slip("divided_at_the_end", {"step = step / step.sum(2, keepdim=True)": "",
             "return rollout": "return rollout / rollout.sum(2, keepdim=True)"},
             "You divide once, at the end. That is right where rows of A sum to 1, and only there: divide in every "
             "layer.", "student mistake: a special case taken for the rule"),
        slip("halved", {"step = step / step.sum(2, keepdim=True)": "step = step / 2"},
             "Dividing by 2 is right where rows of A sum to 1, and only there. Divide by each row's own sum.",
             "student mistake: a special case taken for the rule"),
        slip("largest_head", {"A.mean(1)": "A.amax(1)"},
             "You take the largest of the heads. The text wants their mean.", "library difference: vit-explain's max"),
        slip("last_layer", {"rollout = step @ rollout": "rollout = step"},
             "You keep only the last layer. Every layer multiplies what came before.", "student mistake: assignment"),
        slip("without_first", {"for A in attentions:": "for A in attentions[1:]:"},
             "The first layer is missing from the product.", "student mistake: off by one"),
        slip("identity_at_the_end", {"step = A.mean(1) + own": "step = A.mean(1)",
             "return rollout": "return (rollout + own) / 2"},
             "You add the identity once, at the end. Every layer has a residual path of its own.",
             "student mistake: identity outside of the loop"),
        mistaken(attention_rollout__columns,
                 "You divide column j by the sum of ROW j. Keep the axis: step.sum(2, keepdim=True).",
                 "library difference: vit-explain divides along the wrong axis"),
    ),
    hints=(
        "If one layer makes x1 = S1 x0 and the next x2 = S2 x1, what matrix makes x2 of x0?",
        "In every layer: mean over the heads, plus identity, rows divided by their sums. Start with the identity and "
        "multiply each layer from the left.",
        "for A in attentions: step = A.mean(1) + eye; step = step / step.sum(2, keepdim=True); rollout = step @ "
        "rollout",
    ),
)  # fmt: skip


def occlusion_cases(d):
    def drawn(B, C, H, W, p, K=3, **more):
        return {"x": d.normal(B, C, H, W, dtype=DOUBLE), "y": d.integers(0, K - 1, B), "p": p,
                "weight": d.normal(K, C * H * W, dtype=DOUBLE), **more}  # fmt: skip

    return [
        case("drop", "two pictures of 4 x 6, patches of 2 x 2", **drawn(2, 1, 4, 6, 2)),
        case("drop", "colours, 6 x 3, patches of 3 x 3", **drawn(3, 3, 6, 3, 3)),
        case("drop", "one patch", **drawn(2, 2, 2, 2, 2)),
        case("graph", "no graph, though the weights want one", **drawn(2, 1, 4, 2, 2), ask="graph"),
    ]


def occlusion_probe(ns, data):
    weight = data["weight"]
    drop = probing.call(
        ns.occlusion_drop, lambda x: torch.tanh(x.flatten(1)) @ weight.T, data["x"], data["y"], data["p"]
    )
    return {"drop": drop}


def occlusion_graph(ns, data):
    weight = data["weight"].clone().requires_grad_()
    drop = probing.call(
        ns.occlusion_drop, lambda x: torch.tanh(x.flatten(1)) @ weight.T, data["x"], data["y"], data["p"]
    )
    return {"drop": drop.detach(), "carries a graph": drop.requires_grad}


def occlusion_by_terms(data):
    """The model is a sum over pixels, so a patch's drop is the sum of its own terms."""
    x, y, p = data["x"].detach(), data["y"], data["p"]
    terms = torch.tanh(x) * data["weight"].detach()[y].reshape(x.shape)
    return {"drop": F.avg_pool2d(terms.sum(1, keepdim=True), p)[:, 0] * p * p}


def occlusion_drop__masked(model, x, y, p):
    B, _, H, W = x.shape
    drops = []
    with torch.no_grad():
        before = model(x).gather(1, y[:, None])
        for n in range((H // p) * (W // p)):
            i, j = divmod(n, W // p)
            keep = torch.ones(H, W, dtype=x.dtype)
            keep[i * p : i * p + p, j * p : j * p + p] = 0
            drops.append(before - model(x * keep).gather(1, y[:, None]))
    return torch.cat(drops, dim=1).reshape(B, H // p, W // p)


def occlusion_drop__one_by_one(model, x, y, p):
    out = torch.zeros(len(x), x.shape[2] // p, x.shape[3] // p, dtype=x.dtype)
    for b in range(len(x)):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                other = x[b : b + 1].clone()
                other[..., p * i : p * i + p, p * j : p * j + p] = 0.0
                out[b, i, j] = (model(x[b : b + 1]) - model(other))[0, y[b]].detach()
    return out


OCCLUSION_DROP = Exercise(
    name="occlusion_drop",
    methods=("ch12/attention_rollout", "ch12/vit_attention_map"),
    groups={"drop": 1.5, "graph": 0.5},
    cases=occlusion_cases,
    probe={"drop": occlusion_probe, "graph": occlusion_graph},
    oracle={"drop": occlusion_by_terms},
    minutes=15,
    difficulty="medium",
    good_for="asking the model in place of its attention",
    alternatives=(alternative(occlusion_drop__masked), alternative(occlusion_drop__one_by_one)),
    misconceptions=(
        slip("sign", {"whole - model(covered)[every, y]": "model(covered)[every, y] - whole"},
             "Your sign is turned round: the drop is the score before, minus the score with the patch covered.",
             "student mistake: sign"),
        slip("stays_covered", {"covered = x.clone()": "covered = x.clone() if i == j == 0 else covered"},
             "Your patches stay covered, one more each time. Start from the whole picture for every patch.",
             "student mistake: clone outside of the loop"),
        slip("in_place", {"covered = x.clone()": "covered = x"},
             "You cover x itself, so the patches stay covered and the caller's picture is changed. Cover a copy: "
             "x.clone().", "student mistake: a second name for the same tensor"),
        slip("size", {"whole - model(covered)[every, y]": "(whole - model(covered)[every, y]).abs()"},
             "You drop the sign. A patch whose covering RAISES the score has a negative drop.",
             "student mistake: absolute value"),
        slip("one_channel", {"covered[:, :, i * p": "covered[:, :1, i * p"},
             "You cover channel 0 alone. All channels of the patch become 0.", "student mistake: channels"),
        slip("one_pixel", {"i * p : (i + 1) * p, j * p : (j + 1) * p] = 0":
             "i * p : i * p + 1, j * p : j * p + 1] = 0"},
             "You cover one pixel. A patch is p x p.", "student mistake: slice"),
        slip("all_classes", {"whole = model(x)[every, y]": "whole = model(x).amax(1)"},
             "Before, you take the largest score, whatever its class. Take that of class y, as afterwards.",
             "student mistake: highest class"),
        slip("probability", {"whole - model(covered)[every, y]":
             "model(x).softmax(1)[every, y] - model(covered).softmax(1)[every, y]"},
             "You compare probabilities. The text wants logits, which do not saturate.", "student mistake: softmax"),
        slip("mean_grey", {"j * p : (j + 1) * p] = 0": "j * p : (j + 1) * p] = x.mean()"},
             "You cover with the mean of the pictures. The text wants 0.", "library difference: other baselines"),
        slip("graph", {"with torch.no_grad():": "with torch.enable_grad():"},
             "The numbers are right, but they carry a graph of many forward passes. Use torch.no_grad().",
             "student mistake: no_grad forgotten"),
    ),
    hints=(
        "How many forward passes does it take, and what differs between them?",
        "The score of y for the whole pictures once; then, for every (i, j), a fresh copy of x with one patch set to "
        "0, and the difference of the scores of y.",
        "covered = x.clone(); covered[:, :, i * p : (i + 1) * p, j * p : (j + 1) * p] = 0; drop[:, i, j] = whole - "
        "model(covered)[every, y], with every = torch.arange(len(x))",
    ),
)  # fmt: skip


WHAT_IT_SHOWS = Question(
    name="what_it_shows",
    points=4,
    text="""A colleague shows you the attention map of a ViT that calls a picture "husky". The map is bright on the snow
behind the dog. "It looks at the snow, so it decides by the snow", she says.

1. Name two reasons why a bright patch in the first row of the last A need not be what the decision hangs on.
2. Which experiment would you run to find out, and what would you expect to see if she is right?
3. What does attention rollout add to the raw map, and what does it still leave out?

(About 150 words.)""",
    rubric="""\
* **1 (2 points)**, one each of two: the last layer mixes *tokens*, which already hold what earlier layers brought
  from other patches; attention says how much of a value is taken, not what the value does to the score (it may be
  small, or cancel); what lies on the residual path counts as well; heads differ and a mean hides it; a bright place
  may hold a token used as a notepad.
* **2 (1 point)**: an intervention: cover the snow (or the dog), or exchange the background, and see the score of
  "husky" fall, more than for covering as many other patches.
* **3 (1 point)**: it follows attention through all layers, residual paths included, back to the patches (half a
  point); it knows nothing of values, MLPs and signs (half a point).""",
    samples=(
        (
            4.0,
            "First, the tokens of the last layer are no longer patches: the token at the snow may carry what it "
            "collected from the dog two layers earlier. Second, A only says how large a share is taken; if the value "
            "there is small or at right angles to the class's weights, nothing follows. I would cover the snow with "
            "grey, and the dog, and compare how far the score falls; if she is right, it falls with the snow and "
            "hardly with the dog. Rollout multiplies the layers, with the residual path, so it speaks about patches "
            "again; it still knows no values, no MLP and no sign.",
        ),
        (2.0, "Attention is not explanation, because the layers mix. I would cover the snow and look at the score."),
        (0.5, "One should take the mean over more heads."),
    ),
)
