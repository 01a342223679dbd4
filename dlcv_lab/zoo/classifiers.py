"""Two classifiers of shapes: `vit`, timm's vision transformer, and `resnet`, timm's ResNet of torchvision's form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcv_lab import world
from dlcv_lab.world.scene import Scene

from .catalogue import CHECKPOINT, Options, Trained
from .training import run_steps, start, step_generator

HELD_OUT_SEED = 12_777
MEAN = STD = 0.5
PREPROCESS = {
    "input_size": (3, 32, 32),
    "interpolation": "bicubic",
    "mean": (MEAN,) * 3,
    "std": (STD,) * 3,
    "crop_pct": 1.0,
}
_OURS = {"tag": "dlcv_lab", "license": "mit", "origin_url": None, "paper_ids": None}
GREY = 0.3
CLUTTER = ("noise", "grid", "gradient")


def scenes(n: int, gen: torch.Generator, done: float = 1.0) -> Scene:
    """Draw n scenes of one object for the moment at which the share `done` of the training is over.

    First big objects in the middle, then big ones anywhere, then all: half as `world.sample` draws them, half with
    textures and backgrounds. The twelve pairs of shape and colour that are held out for `clip` never come.
    """
    seen, _ = world.unseen_combinations()
    if done < 0.4:
        return world.sample(n, gen, pairs=seen, sizes=("big",), position="centre" if done < 0.15 else "free")
    half = n // 2
    varied = {"textures": world.TEXTURES, "backgrounds": world.BACKGROUNDS, "sizes": ("medium", "big")}
    return world.cat([world.sample(half, gen, pairs=seen), world.sample(n - half, gen, pairs=seen, **varied)])


def hidden(model: Any) -> list[torch.nn.Parameter]:
    """Return the matrices of a transformer's blocks, which `run_steps` trains by Muon where a model is trained on.

    From nothing it learnt shapes as well, but its class token then looked past the objects: docs/decisions/0011.
    """
    return [p for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2]


def some_grey(images: Tensor, gen: torch.Generator) -> Tensor:
    """Return the images, each without its colours by the chance `GREY`: a shape has to be known in any colour."""
    from torchvision.transforms.functional import rgb_to_grayscale

    grey = (torch.rand(len(images), generator=gen) < GREY).to(images.device)
    return torch.where(grey[:, None, None, None], rgb_to_grayscale(images, num_output_channels=3), images)


def normalise(images: Tensor) -> Tensor:
    """Return images in [0, 1] as the transform hands them to the model."""
    return (images - MEAN) / STD


@dataclass(frozen=True)
class Classifier:
    """How a classifier is made: timm's architecture, its arguments, and how it is trained."""

    architecture: str
    arguments: dict[str, Any]
    seed: int
    steps: int
    rate: float
    batch: int = 64
    attends: bool = False
    """Whether it has a class token whose attention can be compared with the object's mask."""

    def build(self) -> Any:
        """Return an untrained model."""
        import timm
        from timm.layers import build_sincos2d_pos_embed

        model: Any = timm.create_model(self.architecture, num_classes=len(world.SHAPES), **self.arguments)
        if hasattr(model, "pos_embed"):  # a transformer that knows its grid from the first step learns much faster
            grid = build_sincos2d_pos_embed(list(model.patch_embed.grid_size), model.embed_dim, temperature=100.0)
            with torch.no_grad():
                model.pos_embed[0, model.num_prefix_tokens :] = 0.4 * grid
        return model

    def train(self, folder: Path, options: Options) -> Trained:
        """Train on fresh scenes, first on easy ones if it begins with nothing; see `Maker`."""
        torch.manual_seed(self.seed)
        device = options.device
        model = (self.load(options.begin)[0] if options.begin else self.build()).to(device).train()
        from_here = start(
            options, self.seed, self.rate, self.steps,
            f"dlcv_lab.world: {self.batch} fresh scenes of one object a step, half with textures and backgrounds, "
            f"{100 * GREY:.0f} % without colour",
        )  # fmt: skip

        def one_step(step: int) -> Tensor:
            gen = step_generator(from_here.seed, step)
            scene = scenes(self.batch, gen, 1.0 if options.begin else step / from_here.steps)
            images = normalise(some_grey(world.render(scene.to(device)), gen))
            return F.cross_entropy(model(images), scene.shape[:, 0].to(device), label_smoothing=0.05)

        seconds = run_steps(
            folder / CHECKPOINT, {"model": model}, one_step, options,
            steps=from_here.steps, lr=from_here.rate, weight_decay=0.05,
            matrices=hidden(model) if options.begin else (),
        )  # fmt: skip
        self.save(model, folder)
        return Trained(
            steps=from_here.steps,
            seed=from_here.seed,
            seconds=seconds,
            parameters=sum(p.numel() for p in model.parameters()),
            data=from_here.data,
            limits="It names one of eight shapes, whatever it sees: other shapes, several objects and painting styles "
            "were not in its training. Small objects on clutter are hard.",
        )

    def save(self, model: Any, folder: Path) -> None:
        """Write a model in timm's format, weights in half precision."""
        from timm.models import save_for_hf

        save_for_hf(
            model.half(), str(folder),
            model_config={"label_names": list(world.SHAPES), "pretrained_cfg": _OURS},
            model_args=self.arguments,
            data_config=PREPROCESS,
            safe_serialization=True,
        )  # fmt: skip

    def load(self, folder: Path, *, device: Any = "cpu") -> Any:
        """Return (model, transform) as timm does."""
        import timm

        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().to(device)
        settings = timm.data.resolve_data_config(model=model)
        return model, timm.data.create_transform(**settings, is_training=False)

    @torch.no_grad()
    def measure(self, folder: Path, *, device: str = "cpu") -> dict[str, float]:
        """Return the accuracy on held-out scenes, and how well attention finds the object; see `Maker`."""
        model, _ = self.load(folder, device=device)
        found = {}
        clean = world.sample(2000, HELD_OUT_SEED)
        clutter = world.sample(1000, HELD_OUT_SEED + 1, backgrounds=CLUTTER, sizes=("medium", "big"))
        for name, scene in (("shapes", clean), ("shapes_on_clutter", clutter)):
            parts = [model(normalise(part.to(device))).argmax(1).cpu() for part in world.render(scene).split(250)]
            found[name] = float((torch.cat(parts) == scene.shape[:, 0]).float().mean())
        if self.attends:
            found["attention_gain"] = attention_gain(model, clutter[:500], device)
        return found


def attention_gain(model: Any, scene: Scene, device: Any = "cpu") -> float:
    """Return how much more attention the class token of the last block pays to a patch of the object than to others.

    1 means that it looks everywhere alike. A patch belongs to the object if the true mask touches it.
    """
    from timm.utils import AttentionExtract

    for block in model.blocks:
        block.attn.fused_attn = False  # the fused kernel does not show its probabilities
    maps = AttentionExtract(model, method="hook")(normalise(world.render(scene).to(device)))
    last = list(maps.values())[-1].mean(1)[:, 0, model.num_prefix_tokens :].cpu()  # [N, patches], mean over heads
    mask = world.object_masks(scene, 32)[:, :1].float()
    touched = F.adaptive_max_pool2d(mask, round(last.shape[1] ** 0.5)).flatten(1)
    return float((last * touched).sum() / touched.sum() / ((last * (1 - touched)).sum() / (1 - touched).sum()))


VIT = Classifier(
    architecture="vit_tiny_patch16_224",
    arguments={"img_size": 32, "patch_size": 4, "embed_dim": 96, "depth": 3, "num_heads": 3, "mlp_ratio": 2.0},
    seed=12_000,
    steps=4000,
    rate=2e-3,
    attends=True,
)
RESNET = Classifier(
    architecture="resnet18",
    arguments={"layers": [1, 1, 1, 1], "channels": [32, 48, 64, 96], "output_stride": 8},
    seed=3_000,
    steps=1200,
    rate=3e-3,
    batch=32,
)
