"""Chapter 16, notebook 2: other losses and batches, locked towers, language models as text towers, and data."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn


def siglip_loss(
    img: Float[Tensor, "N D"], txt: Float[Tensor, "N D"], log_scale: Float[Tensor, ""], bias: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return SigLIP's loss of N pairs: every image and every text answer yes or no to "do you belong together?".

    Normalise the rows of `img` and `txt` (neither has length one). With z = exp(log_scale) * cosine + bias and
    y = +1 for i = j, -1 else, the loss is -sum over all N * N entries of log sigmoid(y z), divided by N, not by N * N
    (Zhai et al. 2023, equation 1).
    """
    ### BEGIN SOLUTION
    z = log_scale.exp() * F.normalize(img, dim=1) @ F.normalize(txt, dim=1).T + bias  # (N, N)
    y = 2 * torch.eye(len(z), dtype=z.dtype, device=z.device) - 1
    return -F.logsigmoid(y * z).sum() / len(z)
    ### END SOLUTION


def grad_cache_step(
    image_net: nn.Module,
    text_net: nn.Module,
    images: Tensor,
    ids: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    chunk: int,
) -> float:
    """Add the gradients of the loss of the WHOLE batch to `.grad`, with at most `chunk` examples in a graph at a time.

    `loss(img, txt)` takes the features of the whole batch and returns a number; it may hold parameters of its own, such
    as a temperature, whose gradient is added once. Neither call an optimizer nor clear gradients. Return the loss as
    a float. The last chunk may be smaller. (Gao et al. 2021, GradCache; Pham et al. 2023, BASIC.)

    Three passes: features of all chunks without a graph; loss and its gradient with respect to the features; each chunk
    once more with a graph, into which its share of that gradient is fed by `features.backward(gradient)` before the
    next chunk begins.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        img = torch.cat([image_net(part) for part in images.split(chunk)])
        txt = torch.cat([text_net(part) for part in ids.split(chunk)])
    img.requires_grad_()
    txt.requires_grad_()
    value = loss(img, txt)
    value.backward()
    for net, inputs, gradient in ((image_net, images, img.grad), (text_net, ids, txt.grad)):
        for part, share in zip(inputs.split(chunk), gradient.split(chunk)):
            net(part).backward(share)
    return value.item()
    ### END SOLUTION


class Locked(nn.Module):
    """A tower that stays as it is: no gradients, no updates, and evaluation mode whatever `train()` says.

    Without the last, batch normalisation would go on changing its running statistics: a frozen network that moves.
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.tower(x)


@torch.no_grad()
def cached_features(tower: nn.Module, inputs: Tensor, batch: int = 256) -> Tensor:
    """Compute the features of a locked tower once, in evaluation mode; training then reads them from memory."""
    was_training = tower.training
    tower.eval()
    features = torch.cat([tower(part) for part in inputs.split(batch)])
    tower.train(was_training)
    return features


def pool_text(hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], how: str = "last") -> Float[Tensor, "B D"]:
    """Make one feature of the hidden states of each text; `mask` is True at real tokens.

    Padding may stand at the left or at the right. `how` is "last" (the state at the last real token), "first" (at the
    first one) or "mean" (over the real tokens only). A text without any token gives zeros. Raise ValueError for another
    `how`. What stands at padding has no influence, not even NaN or infinity (0 times either is NaN).
    """
    ### BEGIN SOLUTION
    if how not in ("last", "first", "mean"):
        raise ValueError(f'how is "last", "first" or "mean", not {how!r}')
    hidden = hidden.masked_fill(~mask[..., None], 0)
    if how == "mean":
        return hidden.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    places = torch.arange(mask.shape[1], device=mask.device)
    at = torch.where(mask, places, -1).amax(1) if how == "last" else mask.int().argmax(1)
    return hidden[torch.arange(len(hidden), device=mask.device), at.clamp(min=0)]
    ### END SOLUTION


class ShareLockHead(nn.Sequential):
    """All that ShareLock trains: an MLP from the features of a frozen language model to those of a frozen image model.

    `layers` - 1 times linear, batch norm, ReLU, dropout, then one linear layer; with no layers it does nothing.
    """

    def __init__(self, d_txt: int, d_img: int, *, hidden: int = 4096, layers: int = 4, p: float = 0.2) -> None:
        parts: list[nn.Module] = []
        for i in range(layers - 1):
            parts += [nn.Linear(hidden if i else d_txt, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(p)]
        if layers:
            parts.append(nn.Linear(hidden if layers > 1 else d_txt, d_img))
        super().__init__(*parts)


def exclusive_split(
    captions: Sequence[str], held_out: Sequence[str], synonyms: dict[str, list[str]]
) -> tuple[list[int], list[int]]:
    """Split captions so that no held-out concept is named in training; return the indices (train, test).

    A caption goes to the test side if it names a word of `held_out`, or one of that word's `synonyms` (a word may have
    none there). A name is found in any case ("Ring", "ring"), as a whole word: neither a letter, a digit, an underscore
    nor a hyphen stands directly before or behind it; a plural "s" may follow ("rings"), no other ending. "ring" is not
    in "spring" and not in "ring-road". Names may have several words. All other captions go to the training side; the
    order stays.
    """
    ### BEGIN SOLUTION
    names = [name for word in held_out for name in (word, *synonyms.get(word, []))]
    found = [re.compile(rf"(?<![\w-]){re.escape(name)}s?(?![\w-])", re.IGNORECASE) for name in names]
    test = [i for i, text in enumerate(captions) if any(pattern.search(text) for pattern in found)]
    hit = set(test)
    return [i for i in range(len(captions)) if i not in hit], test
    ### END SOLUTION


def laion_filter(
    urls: Sequence[str],
    alts: Sequence[str],
    img: Float[Tensor, "N D"],
    txt: Float[Tensor, "N D"],
    *,
    threshold: float = 0.3,
) -> list[str]:
    """Return for every crawled pair "short", "double", "unlike" or "kept": the first test of LAION that it fails.

    1. "short": the alt-text has fewer than 5 characters.
    2. "double": an earlier pair that was not "short" has the same url AND the same alt-text (whatever became of it).
    3. "unlike": the cosine of its features `img` and `txt` (of any length) is below the threshold; equal is enough. A
       feature of zeros has the cosine 0.
    """
    ### BEGIN SOLUTION
    cosine = F.cosine_similarity(img, txt, dim=1)
    seen: set[tuple[str, str]] = set()
    reasons = []
    for url, alt, likeness in zip(urls, alts, cosine.tolist()):
        if len(alt) < 5:
            reasons.append("short")
        elif (url, alt) in seen:
            reasons.append("double")
        else:
            seen.add((url, alt))
            reasons.append("kept" if likeness >= threshold else "unlike")
    return reasons
    ### END SOLUTION


def match_entries(text: str, metadata: Sequence[str]) -> list[int]:
    """Return the indices, ascending, of the metadata entries that occur in a text as MetaCLIP looks for them.

    Put a space before and behind each of the characters , . ; : ? ! and ` (back-tick); turn tab, newline and carriage
    return into a space; put one space at both ends of the text. An entry occurs if " " + entry + " " is a substring.
    Case matters; an entry that occurs several times is listed once.
    """
    ### BEGIN SOLUTION
    spaced = " " + re.sub(r"([,.;:?!`])", r" \1 ", text) + " "
    spaced = re.sub(r"[\t\n\r]", " ", spaced)
    return [i for i, entry in enumerate(metadata) if f" {entry} " in spaced]
    ### END SOLUTION


def balance(matches: Sequence[Sequence[int]], n_entries: int, t: float, u: Sequence[Sequence[float]]) -> list[bool]:
    """Decide which texts MetaCLIP keeps, so that frequent entries keep about t texts and rare ones keep all.

    `matches[i]` are the entries of text i, and `u[i][j]` in [0, 1) is the random number for its j-th entry. An entry
    with n texts has the probability p = t / n where n > t, else 1: t = math.inf keeps every text with an entry. A text
    is kept if u < p (strictly) for AT LEAST ONE of its entries; a text without entries is dropped. An entry that stands
    twice in `matches[i]` counts twice and is drawn for twice.
    """
    ### BEGIN SOLUTION
    counts = [0] * n_entries
    for entries in matches:
        for entry in entries:
            counts[entry] += 1
    return [
        any(counts[entry] <= t or draw < t / counts[entry] for entry, draw in zip(entries, draws))
        for entries, draws in zip(matches, u)
    ]
    ### END SOLUTION


def align_filter(records: Sequence[Any], *, least: int = 200, ratio: float = 3.0, sharing: int = 10) -> list[str]:
    """Return for every record the first test of ALIGN that it fails, or "kept".

    Pictures: not marked unsafe, shorter side above `least`, aspect ratio below `ratio`. Texts: shared by at most
    `sharing` pictures, 3 to 20 words, and no word so rare that it occurs once in the whole crawl. Nothing looks at
    picture and text together: that is the point.
    """
    texts, words = Counter(r.alt for r in records), Counter(w for r in records for w in r.alt.split())
    reasons = []
    for record in records:
        sides, said = sorted((record.width, record.height)), record.alt.split()
        tests = {
            "unsafe": record.nsfw,
            "small": sides[0] <= least,
            "narrow": sides[1] / sides[0] >= ratio,
            "shared": texts[record.alt] > sharing,
            "length": not 3 <= len(said) <= 20,
            "rare word": any(words[word] < 2 for word in said),
        }
        reasons.append(next((name for name, failed in tests.items() if failed), "kept"))
    return reasons


def conceptual_filter(text: str, lexicon: dict[str, str], *, strict: bool = True) -> str:
    """Return "kept" or the first test of Conceptual Captions' text filter that a text fails.

    `lexicon` gives the part of speech of known words. Strict (CC3M): unknown words at most a tenth; determiner, noun
    and preposition present (a verb is no substitute); no proper name, that is no unknown word with a capital letter;
    capitals at most half of the words; each word at most twice. Else (CC12M): 3 to 256 words, determiner and noun
    present, half of the words known. The paper prints no thresholds; these are ours.
    """
    words = [word.strip(".,;:!?") for word in text.split()]
    kinds = [lexicon.get(word.lower(), "unknown") for word in words]
    if len(words) < 3 or len(words) > 256:
        return "length"
    if kinds.count("unknown") > (0.1 if strict else 0.5) * len(words):
        return "unknown words"
    if "det" not in kinds or "noun" not in kinds:
        return "no determiner and noun"
    if strict and "prep" not in kinds:
        return "no preposition"
    if strict and any(kind == "unknown" and word[:1].isupper() for word, kind in zip(words, kinds)):
        return "proper name"
    if strict and sum(word[:1].isupper() for word in words) > max(1, len(words) / 2):
        return "capitals"
    return "repetition" if strict and max(Counter(words).values()) > 2 else "kept"


def assign_images(S: Float[Tensor, "I T"]) -> list[int]:
    """Return for each image of a page the sentence that it is put beside, so that the sum of similarities is largest.

    Each sentence gets at most one image (a linear assignment, as in Multimodal C4). If there are more images than
    sentences, the images that the best assignment leaves over each go to their most similar sentence, taken or not.
    No image: an empty list. `S` may be of any floating dtype, bfloat16 too, and may require a gradient.

    Raises:
        ValueError: there are images, but no sentence to put them beside.
    """
    ### BEGIN SOLUTION
    if len(S) == 0:
        return []
    if S.shape[1] == 0:
        raise ValueError(f"{len(S)} images, but no sentence")
    chosen = S.argmax(1).tolist()
    rows, columns = linear_sum_assignment(S.detach().double().numpy(), maximize=True)
    for i, t in zip(rows.tolist(), columns.tolist()):
        chosen[i] = t
    return chosen
    ### END SOLUTION


def effective_robustness(id_acc: float, ood_acc: float, base_id: Sequence[float], base_ood: Sequence[float]) -> float:
    """Return by how much a model's accuracy under a shift exceeds what its ordinary accuracy predicts.

    The prediction comes from baseline models with the accuracies `base_id` and `base_ood`: a straight line fitted by
    least squares through logit(base_id), logit(base_ood), with logit(p) = ln(p / (1 - p)). Return
    ood_acc - sigmoid(a + b logit(id_acc)). Before every logit bring an accuracy into [0.001, 0.999]; subtract from
    `ood_acc` as it is. Raise ValueError for fewer than two baseline models, and where all of `base_id` are equal (in
    these bounds): no line is best then. However steep the line, nothing overflows. (Taori et al. 2020; Fang et al.
    2022.)
    """
    ### BEGIN SOLUTION
    if len(base_id) < 2:
        raise ValueError("a line needs at least two baseline models")

    def logit(accuracy: float) -> float:
        p = min(max(accuracy, 0.001), 0.999)
        return math.log(p / (1 - p))

    x, y = [logit(value) for value in base_id], [logit(value) for value in base_ood]
    if min(x) == max(x):
        raise ValueError("baseline models of one accuracy determine no line")
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((p - mx) * (q - my) for p, q in zip(x, y)) / sum((p - mx) ** 2 for p in x)
    at = my + slope * (logit(id_acc) - mx)
    return ood_acc - (1 + math.tanh(at / 2)) / 2  # the sigmoid of `at`, without an exponential that overflows
    ### END SOLUTION
