"""Two rows of the tables that are no method of adapting: the metrics of GLUE, and weight normalisation."""

from __future__ import annotations

import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from autograder.declare.claim import Claim
from solutions.ch23_low_rank_adaptation import DoRALinear

# slide "Results on GLUE with RoBERTa": SST-2, MRPC, CoLA, QNLI, RTE, STS-B, and the printed average
GLUE = {
    "base FT": (94.8, 90.2, 63.6, 92.8, 78.7, 91.2, 85.2),
    "base BitFit": (93.7, 92.7, 62.0, 91.8, 81.5, 90.8, 85.4),
    "base adapters 0.3M": (94.2, 88.5, 60.8, 93.1, 71.5, 89.7, 83.0),
    "base adapters 0.9M": (94.7, 88.4, 62.6, 93.0, 75.9, 90.3, 84.2),
    "base LoRA": (95.1, 89.7, 63.4, 93.3, 86.6, 91.5, 86.6),
    "base VeRA": (94.6, 89.5, 65.6, 91.8, 78.7, 90.7, 85.2),
    "large adapters P 3M": (96.1, 90.2, 68.3, 94.8, 83.8, 92.1, 87.6),
    "large adapters P 0.8M": (96.6, 89.7, 67.8, 94.8, 80.1, 91.9, 86.8),
    "large adapters H 6M": (96.2, 88.7, 66.5, 94.7, 83.4, 91.0, 86.8),
    "large adapters H 0.8M": (96.3, 87.7, 66.3, 94.7, 72.9, 91.5, 84.9),
    "large LoRA-FA": (96.0, 90.0, 68.0, 94.4, 86.1, 92.0, 87.7),
    "large LoRA": (96.2, 90.2, 68.2, 94.8, 85.2, 92.3, 87.8),
    "large VeRA": (96.1, 90.9, 68.0, 94.4, 85.9, 91.7, 87.8),
}


def glue(_: int) -> dict[str, float]:
    """Recompute the averages of the slide, and score one answer to everything by the metrics of its columns."""
    off = {name: round(abs(sum(row[:6]) / 6 - row[6]), 3) for name, row in GLUE.items()}
    vera, lora = GLUE["base VeRA"], GLUE["base LoRA"]
    truth = [1] * 70 + [0] * 30
    always = [1] * 100
    return {
        "rows": len(GLUE),
        "largest distance of a printed average from the mean of its six columns": max(off.values()),
        "base: LoRA minus VeRA, average": round(lora[6] - vera[6], 1),
        "base: LoRA minus VeRA, average without RTE": round((sum(lora[:6]) - lora[4] - sum(vera[:6]) + vera[4]) / 5, 2),
        "always yes, 70 of 100 are: accuracy": accuracy_score(truth, always),
        "always yes, 70 of 100 are: F1": round(float(f1_score(truth, always)), 4),
        "always yes, 70 of 100 are: Matthews": float(matthews_corrcoef(truth, always)),
    }


def normalised(n: int) -> dict[str, float]:
    """Compare a fresh DoRA with torch's weight normalisation of the same layer, in float64."""
    torch.manual_seed(n)
    plain, x, dy = nn.Linear(6, 4).double(), torch.randn(5, 6).double(), torch.randn(5, 4).double()
    dora = DoRALinear(nn.Linear(6, 4).double(), 2, 4.0)
    dora.base.load_state_dict(plain.state_dict())
    dora.m.data = plain.weight.detach().norm(dim=1)
    normed = weight_norm(plain, dim=0)
    g, v = normed.parametrizations.weight.original0, normed.parametrizations.weight.original1
    dm, dg = torch.autograd.grad(dora(x), dora.m, dy)[0], torch.autograd.grad(normed(x), g, dy)[0][:, 0]
    dv = torch.autograd.grad(normed(x), v, dy)[0]
    return {
        "difference of the weights": float((dora.weight() - normed.weight).abs().max().detach()),
        "difference of the gradients of the lengths": float((dm - dg).abs().max()),
        "cosine of a row of v and its gradient": float(nn.functional.cosine_similarity(dv, v, dim=1).abs().max()),
    }


CLAIMS = [
    Claim(
        id="glue-columns",
        methods=("ch23/glue_metrics",),
        says="RoBERTa on GLUE: the last column is the average of accuracy, F1, Matthews' and Spearman's correlation",
        source="kopiczko2024vera, wang2019glue; slide 'Results on GLUE with RoBERTa'",
        analogue="The slide's 13 rows recomputed; one constant answer scored by scikit-learn.",
        conditions="Numbers as the slide prints them; 100 made-up questions of which 70 are to be answered by yes.",
        threshold="every printed average is the plain mean of its six columns, rounded to its digit",
        measure=glue,
        holds=lambda v: v["largest distance of a printed average from the mean of its six columns"][0] <= 0.05,
        exact=True,
    ),
    Claim(
        id="dora-begins-as-weight-norm",
        methods=("ch23/weight_norm", "ch23/dora"),
        says="See also weight-norm (2016): length and direction of a row are trained apart",
        source="salimans2016weight, section 2.1; slide 'DoRA: Weight-Decomposed Low-Rank Adaptation'",
        analogue="A fresh DoRA layer and torch's weight normalisation of the same layer.",
        conditions="6 inputs, 4 outputs, batch of 5, float64.",
        threshold="weights and gradients of the lengths differ by at most 1e-12; the gradient of v is orthogonal to v",
        measure=normalised,
        holds=lambda v: max(max(values) for values in v.values()) < 1e-12,
        exact=True,
    ),
]
