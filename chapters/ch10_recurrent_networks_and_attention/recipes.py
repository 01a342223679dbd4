"""The chapter's networks, each trained by the reference for a few minutes of one core."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcv_lab import world
from dlcv_lab.zoo.recipes import Training, recipe, step_generator
from solutions import ch10_recurrent_networks_and_attention as ours

SEED, TRAINED, HELD_OUT = 10_000, 101, 102
MOTIONS = world.words.MOTIONS[1:]
TRANSLATED = {"sentences": "share of 600 new sentences of one to five things translated without a wrong word"}
TOLD = {"true": "share of 500 captions that are true of their new pictures"}


def pick(n: int, size: int, step: int) -> Tensor:
    """Return which examples of n make the batch of a step."""
    return torch.randint(n, (size,), generator=step_generator(SEED, step))


def say(net: nn.Module, source: Tensor, longest: int) -> Tensor:
    """Return what a translator or captioner says, greedily."""
    with torch.no_grad():
        return ours.greedy_decode(net.decoder.step, net.encode(source), len(source), longest)


def teacher_forced(net: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    logits, _ = net(source, ours.shift_right(target, ours.BOS))
    return ours.masked_cross_entropy(logits, target, target != ours.PAD)


def translating(attend: bool) -> Training:
    net, (source, target) = ours.Translator(attend=attend), ours.draw_sentences(20_000, TRAINED)

    def loss(step: int) -> Tensor:
        chosen = pick(len(source), 64, step)
        return teacher_forced(net, source[chosen], target[chosen])

    def measure() -> dict[str, float]:
        given, wanted = ours.draw_sentences(600, HELD_OUT)
        return {"sentences": float((say(net, given, wanted.shape[1]) == wanted).all(1).float().mean())}

    return Training(net, loss, measure)


def words(row: Tensor) -> str:
    """Write a row of numbers as a caption."""
    return " ".join(ours.CAPTION_WORDS[k] for k in row.tolist() if k > ours.EOS) + "."


def true_share(said: Tensor, scenes: world.Scene) -> float:
    """Return the share of captions that the world can read and finds true."""

    def judged(text: str, plain: object) -> bool:
        try:
            return world.is_true(text, plain)
        except world.WorldError:
            return False

    pairs = zip((words(row) for row in said), scenes.plain())
    return sum(judged(*pair) for pair in pairs) / len(said)


def captioning(attend: bool) -> Training:
    net, (x, target, _) = ours.Captioner(attend=attend), ours.draw_captioned(8_000, TRAINED)

    def loss(step: int) -> Tensor:
        net.train()
        chosen = pick(len(x), 48, step)
        return teacher_forced(net, x[chosen], target[chosen])

    def measure() -> dict[str, float]:
        net.eval()
        pictures, wanted, scenes = ours.draw_captioned(500, HELD_OUT)
        return {"true": true_share(say(net, pictures, wanted.shape[1]), scenes)}

    return Training(net, loss, measure)


COMMON = {"seed": SEED, "limits": "It knows the chapter's own small sentences, and nothing else."}


@recipe(**COMMON, steps=700, lr=5e-3, data="20 000 sentences, 64 a step", figures=TRANSLATED)
def translator() -> Training:
    """A translator that looks at every word of the source."""
    return translating(attend=True)


@recipe(**COMMON, steps=700, lr=5e-3, data="20 000 sentences, 64 a step", figures=TRANSLATED)
def translator_fixed() -> Training:
    """A translator that has one vector for the whole sentence."""
    return translating(attend=False)


@recipe(**COMMON, steps=700, lr=4e-3, data="8000 captioned pictures, 48 a step", figures=TOLD)
def captioner() -> Training:
    """A captioner that looks at the places of the picture."""
    return captioning(attend=True)


@recipe(**COMMON, steps=700, lr=4e-3, data="8000 captioned pictures, 48 a step", figures=TOLD)
def captioner_fixed() -> Training:
    """A captioner that has one vector for the whole picture."""
    return captioning(attend=False)


CLIPS = {"seed": SEED, "limits": "It has seen single things that move on a still ground, 16x16 pixels."}


@recipe(
    **CLIPS, steps=400, lr=3e-3, data="3000 clips of 12 frames, 32 a step",
    figures={"accuracy": "share of 600 new clips whose action is named"},
)  # fmt: skip
def actions() -> Training:
    """A recurrent network over frames, trained to name six actions."""
    net, (x, y) = ours.VideoNet(6), ours.draw_actions(3000, TRAINED)

    def scores(video: Tensor) -> Tensor:
        return ours.classify_clips(net.cnn, net.rnn, net.head, video, torch.ones(video.shape[:2], dtype=torch.bool))

    def loss(step: int) -> Tensor:
        chosen = pick(len(x), 32, step)
        return F.cross_entropy(scores(x[chosen]), y[chosen])

    def measure() -> dict[str, float]:
        video, label = ours.draw_actions(600, HELD_OUT)
        return {"accuracy": float((scores(video).argmax(1) == label).float().mean())}

    return Training(net, loss, measure)


@recipe(
    **CLIPS, steps=400, lr=3e-3, data="3000 clips of 12 frames, 32 a step",
    figures={"accuracy": "share of 600 new clips whose action is named"},
)  # fmt: skip
def actions_blind() -> Training:
    """The same frames, scored one by one and averaged: nothing knows their order."""
    net, (x, y) = nn.Sequential(ours.FrameNet(), nn.ReLU(), nn.Linear(48, 6)), ours.draw_actions(3000, TRAINED)

    def scores(video: Tensor) -> Tensor:
        return net(video.flatten(0, 1)).unflatten(0, video.shape[:2]).mean(1)

    def loss(step: int) -> Tensor:
        chosen = pick(len(x), 32, step)
        return F.cross_entropy(scores(x[chosen]), y[chosen])

    def measure() -> dict[str, float]:
        video, label = ours.draw_actions(600, HELD_OUT)
        return {"accuracy": float((scores(video).argmax(1) == label).float().mean())}

    return Training(net, loss, measure)


def indexing(bidirectional: bool) -> Training:
    net, montage = ours.VideoNet(len(MOTIONS), bidirectional=bidirectional), world.montage(1500, TRAINED)
    x, y = montage.render(16), montage.motion - 1

    def loss(step: int) -> Tensor:
        chosen = pick(len(x), 16, step)
        return F.cross_entropy(net(x[chosen]).flatten(0, 1), y[chosen].flatten())

    def measure() -> dict[str, float]:
        new = world.montage(200, HELD_OUT)
        named = net(new.render(16)).argmax(2)
        found = [ours.boundary_f1(*pair) for pair in zip(named, new.motion - 1)]
        return {"frames": float((named == new.motion - 1).float().mean()), "borders": sum(found) / len(found)}

    return Training(net, loss, measure)


INDEXED = {
    "frames": "share of the frames of 200 new videos whose motion is named",
    "borders": "F1 of the borders, one frame of tolerance, mean over videos",
}


@recipe(**CLIPS, steps=400, lr=4e-3, data="1500 videos of three shots, 16 a step", figures=INDEXED)
def index_forward() -> Training:
    """A motion for every frame, from the frames up to it."""
    return indexing(bidirectional=False)


@recipe(**CLIPS, steps=400, lr=4e-3, data="1500 videos of three shots, 16 a step", figures=INDEXED)
def index_both() -> Training:
    """A motion for every frame, from the whole video."""
    return indexing(bidirectional=True)


@recipe(
    **CLIPS, steps=800, lr=1e-2, data="2000 grey films, 16 a step: five frames given, five foretold",
    figures={"mse": "mean squared error of five foretold frames, 300 new films", "copy": "of the last frame repeated"},
)  # fmt: skip
def foreteller() -> Training:
    """A ConvLSTM that foretells films of a moving thing."""
    net, films = ours.Foreteller(), ours.draw_films(2000, TRAINED)

    def loss(step: int) -> Tensor:
        batch = films[pick(len(films), 16, step)]
        given = 9 if step < 500 else 5  # first every true frame is read, then its own after the fifth
        return F.binary_cross_entropy(net(batch[:, :given], 10 - given), batch[:, 1:])

    def measure() -> dict[str, float]:
        new = ours.draw_films(300, HELD_OUT)
        told, copied = net(new[:, :5], 5)[:, 4:], new[:, 4:5].expand(-1, 5, -1, -1, -1)
        return {"mse": float(F.mse_loss(told, new[:, 5:])), "copy": float(F.mse_loss(copied, new[:, 5:]))}

    return Training(net, loss, measure)
