"""Chapter 3, notebook 2: the exercises around a LeNet-like network and three training techniques."""

from autograder.declare.exercise import Exercise, Question
from autograder.exercises.ch03_convolutional_networks import lesson_2_epoch as epoch
from autograder.exercises.ch03_convolutional_networks import lesson_2_grad as grad
from autograder.exercises.ch03_convolutional_networks import lesson_2_lenet as lenet
from autograder.exercises.ch03_convolutional_networks import lesson_2_norm as norm
from autograder.exercises.ch03_convolutional_networks import lesson_2_regular as regular
from dlcv_lab.checking.model import Forbid

LENET = Exercise(
    name="LeNet",
    methods=("ch03/lenet",),
    groups={"plain": 1, "shapes": 1, "edge": 0.5, "gradient": 0.5},
    cases=lenet.lenet_cases,
    probe=lenet.lenet_probe,
    alternatives=lenet.LENET_ALTERNATIVES,
    misconceptions=lenet.LENET_MISCONCEPTIONS,
    hints=(
        "Which operations stand between two layers with weights, and which of them follows the very last layer?",
        "Two stages max_pool(relu(conv(x))), then one flattening that keeps the batch axis, then three linear layers "
        "with a ReLU after the first and the second. Write the shape behind every line: (N, 6, 14, 14), "
        "(N, 16, 5, 5), (N, 400), (N, 120), (N, 84), (N, K).",
        "x = F.max_pool2d(F.relu(self.conv1(x)), 2); the same with conv2; x = x.flatten(1); "
        "x = F.relu(self.fc1(x)); the same with fc2; return the scores of fc3 as they are.",
    ),
    good_for="the template of every CNN in this book",
    minutes=15,
    difficulty="easy",
    core=True,
)

TRAIN_EPOCH = Exercise(
    name="train_epoch",
    methods=("ch03/lenet",),
    groups={"plain": 1, "edge": 1},
    cases=epoch.epoch_cases,
    probe=epoch.epoch_probe,
    alternatives=epoch.EPOCH_ALTERNATIVES,
    misconceptions=epoch.EPOCH_MISCONCEPTIONS,
    hints=(
        "What must be true of the model and of its gradients before a batch's loss is computed, and what happens to "
        "`.grad` when backward() is called twice?",
        "model.train() once; then for every piece of perm: scores, loss, empty gradients, backward, step, note the "
        "loss. `perm.split(batch_size)` gives the pieces, the smaller last one included.",
        "for batch in perm.split(batch_size): loss = F.cross_entropy(model(x[batch]), y[batch]); opt.zero_grad(); "
        "loss.backward(); opt.step(); losses.append(loss.item())",
    ),
    good_for="the loop inside every training run",
    minutes=10,
    difficulty="easy",
    core=True,
)

DROPOUT = Exercise(
    name="dropout",
    methods=("ch03/dropout",),
    groups={"plain": 0.5, "shapes": 0.5, "edge": 0.5, "gradient": 0.5},
    cases=regular.dropout_cases,
    probe=regular.dropout_probe,
    alternatives=regular.DROPOUT_ALTERNATIVES,
    misconceptions=regular.DROPOUT_MISCONCEPTIONS,
    hints=(
        "A unit has the value x and survives with probability 1 - p. By what must the survivor be multiplied so that "
        "its value is x on average?",
        "Three cases: not training (nothing happens), p = 1 (all zeros), otherwise mask and divide by the probability "
        "of keeping.",
        "if not training: return x; if p == 1: return torch.zeros_like(x); return x * keep / (1 - p)",
    ),
    good_for="the simplest regularizer; transformers still use it",
    minutes=10,
    difficulty="easy",
    core=True,
    forbid=Forbid(names=("F.dropout", "nn.Dropout"), aten=("aten.native_dropout*", "aten.bernoulli*")),
)

BATCH_NORM = Exercise(
    name="batch_norm",
    methods=("ch03/batch_norm",),
    groups={"plain": 1, "shapes": 1, "edge": 1, "gradient": 1},
    cases=norm.batch_norm_cases,
    probe=norm.batch_norm_probe,
    alternatives=norm.BATCH_NORM_ALTERNATIVES,
    misconceptions=norm.BATCH_NORM_MISCONCEPTIONS,
    hints=(
        "Which numbers share one mean: those of a picture, of a pixel or of a channel? And where does the docstring "
        "ask for the variance that divides by m, and where for the one that divides by m - 1?",
        "Start with mean, var = running_mean, running_var. In training: refuse m = 1, replace both by the batch's "
        "(biased), and compute new buffers from detached statistics, the variance times m / (m - 1). Then one formula "
        "for both modes.",
        "m = x.numel() // x.shape[1]; mean, var = x.mean(axes), x.var(axes, correction=0); running_mean = "
        "(1 - momentum) * running_mean + momentum * mean.detach(); running_var likewise with var.detach() * m / "
        "(m - 1); normal = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)",
    ),
    good_for="training deep networks; the two modes of a layer",
    minutes=25,
    difficulty="medium",
    core=True,
    forbid=Forbid(
        names=("F.batch_norm", "torch.batch_norm", "nn.BatchNorm1d", "nn.BatchNorm2d"), aten=("aten.*batch_norm*",)
    ),
)

BATCH_NORM_BACKWARD = Exercise(
    name="batch_norm_backward",
    methods=("ch03/batch_norm_backward",),
    groups={"plain": 2, "shapes": 1, "edge": 1},
    cases=grad.backward_cases,
    probe=grad.backward_probe,
    alternatives=grad.BACKWARD_ALTERNATIVES,
    misconceptions=grad.BACKWARD_MISCONCEPTIONS,
    hints=(
        "If you add 1 to a whole column of x, y does not change at all. What does that say about the sum of dx over "
        "the column?",
        "Recompute mean, biased variance and the normalized x. dbeta is the sum of dy, dgamma the sum of dy times the "
        "normalized x. dx is gamma / sqrt(var + eps) times dy minus its mean minus its projection on the normalized x.",
        "dx = gamma.view(shape) / (m * torch.sqrt(var + eps)) * (m * dy - dbeta.view(shape) - normal * "
        "dgamma.view(shape)), with m = x.numel() // x.shape[1]",
    ),
    good_for="back-propagation where samples depend on each other",
    minutes=30,
    difficulty="hard",
    core=True,
    forbid=Forbid(
        names=("torch.autograd", "F.batch_norm", "torch.batch_norm", "nn.BatchNorm1d", "nn.BatchNorm2d"),
        aten=("aten.*batch_norm*",),
    ),
)

AUGMENT = Exercise(
    name="augment",
    methods=("ch03/data_augmentation",),
    groups={"hflip": 1, "pad_crop": 1, "color_cast": 1, "boxes": 1},
    cases=regular.augment_cases,
    probe={name: name for name in ("hflip", "pad_crop", "color_cast")} | {"boxes": "augment_boxes_hflip"},
    alternatives=regular.AUGMENT_ALTERNATIVES,
    misconceptions=regular.AUGMENT_MISCONCEPTIONS,
    hints=(
        "Which axis of (N, C, H, W) does each function touch, and which of its arguments has one entry per picture?",
        "hflip: choose per picture between x and x.flip(-1). pad_crop: F.pad(x, (pad, pad, pad, pad)), then one window "
        "per picture. color_cast: give shift two more axes. Boxes: the new left edge is the mirrored right edge.",
        "torch.where(flip[:, None, None, None], x.flip(-1), x); padded[n, :, i : i + h, j : j + w] for every n; "
        "(x + shift[:, :, None, None]).clamp(0, 1); torch.stack([width - x2, y1, width - x1, y2], dim=1)",
    ),
    good_for="more training pictures for nothing, if the change keeps the label",
    minutes=20,
    difficulty="easy",
    defines=("hflip", "pad_crop", "color_cast", "augment_boxes_hflip"),
)

FOLD_BN = Exercise(
    name="fold_bn",
    methods=("ch03/batch_norm",),
    groups={"plain": 1, "edge": 1},
    cases=grad.fold_cases,
    probe=grad.fold_probe,
    alternatives=grad.FOLD_ALTERNATIVES,
    misconceptions=grad.FOLD_MISCONCEPTIONS,
    hints=(
        "At test time batch norm is gamma (z - mean) / sqrt(var + eps) + beta with z = w x + b. Which part multiplies "
        "x, and which does not?",
        "scale = gamma / sqrt(var + eps), one number per OUTPUT channel. New weights: w times scale. New bias: what "
        "the layer makes of z = b.",
        "w * scale[:, None, None, None], (b - mean) * scale + beta, with zeros for b where b is None",
    ),
    good_for="faster networks after training",
    minutes=10,
    difficulty="easy",
)


ARROWS = Question(
    name="arrows",
    points=4,
    text="""A friend trains a small CNN to tell *arrow to the left* from *arrow to the right*. There are 20 labelled
pictures; in training and test pictures alike, the arrow stands at a random place. The network ends with global max
pooling, one fully connected layer and two scores. The friend

1. mirrors every training picture left to right with probability 1/2, keeping its label;
2. shifts every training picture by a random offset that keeps the arrow inside;
3. puts batch norm behind each convolution and trains with two pictures a batch;
4. writes a program that shows the network one picture at a time, and never calls `model.eval()`.

Say for **each** of the four whether it will help, harm or make no difference, and **why**, in one or two sentences.
Name for one of them the measurement of this notebook that supports you. (About 120 words.)""",
    rubric="""One point each; half a point for the right verdict with a reason that is missing or wrong.
* **1 harms**: the mirrored picture shows the other class, so half of the labels are wrong: the best possible answer is
  a coin toss (about 50 %). Just "augmentation must preserve the label" is enough.
* **2 helps, but little here**: the change matches the test distribution. Full point also for the sharper answer that
  global max pooling already ignores most shifts, so that less is gained than in the notebook.
  "Helps" without a reason: half.
* **3 risky / harms**: the mean and variance of two pictures are noisy estimates, and the output of a picture depends
  on its partner; the slider of this notebook shows it. Full point for the remark that a convolution averages over all
  pixels as well (m = N H W), so that the harm is milder than for vectors.
* **4 harms**: in training mode each picture is normalized by itself, not by the running statistics; besides, the
  buffers keep drifting. Saying "it raises an error for m = 1" is true for vectors only: half a point.
Take away half a point if no measurement is named.""",
    samples=(
        (
            4.0,
            "1 harms: a mirrored left arrow IS a right arrow, so half of the labels in training are wrong and "
            "nothing can be learned from the direction. 2 helps: test arrows stand anywhere too; in the notebook, "
            "matching shifts took 10 labels per class from about .4 to over .8. The gain may be smaller here "
            "because global pooling forgets the place already. 3 is risky: statistics from two pictures are noisy "
            "(the slider at batch size 2), though each channel also averages over its pixels. 4 harms: still in "
            "training mode, each picture is normalized by its own mean and variance instead of the running ones, "
            "so the answers differ from those the weights were trained for.",
        ),
        (
            2.5,
            "1 is bad because flipping changes the label. 2 is good, more data, as in the augmentation plot. 3 is good "
            "since batch norm makes training faster. 4 is bad because dropout and batch norm behave differently in "
            "eval mode, batch norm should use its running mean.",
        ),
        (
            1.0,
            "Augmentation helps against overfitting, so 1 and 2 help. 3 helps because normalization is always good. "
            "4 makes no difference because the weights are the same; only gradients are switched off by eval.",
        ),
    ),
)
