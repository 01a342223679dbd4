"""Chapter 28, notebook 2: Receler's three parts, and FMN, SLD and UCE beside it."""

import copy
import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Eraser(nn.Module):
    """Receler's eraser: a bottleneck up(GELU(down(h))) that begins as zero (Huang et al., ECCV 2024).

    Attributes: the linear layers `down` (dim to rank) and `up` (rank to dim), both with biases.
    """

    def __init__(self, dim: int, rank: int) -> None:
        """Make both layers; weight and bias of `up` start at zero, `down` as `nn.Linear` starts it."""
        super().__init__()
        ### BEGIN SOLUTION
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        ### END SOLUTION

    def forward(self, h: Float[Tensor, "B N dim"]) -> Float[Tensor, "B N dim"]:
        """Return what is to be added to h."""
        ### BEGIN SOLUTION
        return self.up(F.gelu(self.down(h)))
        ### END SOLUTION


class AttnWithEraser(nn.Module):
    """A cross-attention whose output passes an eraser: attention(...) + eraser(attention(...)).

    Attributes: `attention`; `eraser`; `enabled`, with False the attention alone; `last`, the eraser's output in the
    latest forward pass with `enabled` True, with its gradient history, None before.
    """

    def __init__(self, attention: nn.Module, rank: int) -> None:
        """Keep the attention, and make an `Eraser` as wide as its output, `attention.to_q.out_features`."""
        super().__init__()
        self.attention, self.enabled, self.last = attention, True, None
        ### BEGIN SOLUTION
        self.eraser = Eraser(attention.to_q.out_features, rank)
        ### END SOLUTION

    def forward(self, *args: object, **kwargs: object) -> Float[Tensor, "B N dim"]:
        """Call the attention with exactly these arguments, and add the eraser's output for its result."""
        ### BEGIN SOLUTION
        h = self.attention(*args, **kwargs)
        if not self.enabled:
            return h
        self.last = self.eraser(h)
        return h + self.last
        ### END SOLUTION


def insert_erasers(unet: nn.Module, rank: int) -> tuple[nn.Module, dict[str, AttnWithEraser]]:
    """Return a frozen copy of the U-Net with an eraser behind every cross-attention, and the wrapped attentions."""
    unet = copy.deepcopy(unet).requires_grad_(False)
    wrapped = {}
    for name, module in list(unet.named_modules()):
        if name.endswith(".attn2"):
            wrapped[name] = AttnWithEraser(module, rank)
            unet.get_submodule(name.removesuffix(".attn2")).attn2 = wrapped[name]
    return unet, wrapped


class KeepProbabilities:
    """An attention processor of diffusers that computes attention step by step and keeps its probabilities."""

    def __init__(self) -> None:
        self.probabilities: Tensor | None = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        """Return the attention's output; store probabilities (B, heads, places, words)."""
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            layer(source).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (B, heads, N, d)
            for layer, source in ((attn.to_q, hidden_states), (attn.to_k, states), (attn.to_v, states))
        )
        self.probabilities = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
        out = (self.probabilities @ v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


def keep_probabilities(unet: nn.Module) -> dict[str, KeepProbabilities]:
    """Let every cross-attention of the U-Net keep its probabilities; return who keeps them, by module name."""
    kept = {}
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            kept[name] = KeepProbabilities()
            module.set_processor(kept[name])
    return kept


def concept_mask(
    probabilities: list[Float[Tensor, "B heads places words"]],
    words: list[int],
    *,
    size: int,
    threshold: float = 0.1,
) -> Float[Tensor, "B size size"]:
    """Return where the concept's words are attended to: 1.0 there, 0.0 elsewhere.

    `probabilities` holds one tensor per cross-attention; only those with size * size places count, in rows from the
    top. Average each over its heads and over the token positions `words`; average the layers; stretch every picture of
    the batch on its own to 0..1, (a - min) / (max - min + 1e-8); 1.0 where the result is at least `threshold`, in the
    dtype of the probabilities.

    Raises:
        ValueError: no layer has size * size places.
    """
    ### BEGIN SOLUTION
    maps = [p[..., words].mean((1, 3)) for p in probabilities if p.shape[2] == size * size]
    if not maps:
        raise ValueError(f"no layer has {size} x {size} places")
    a = torch.stack(maps).mean(0)
    low, high = a.amin(1, keepdim=True), a.amax(1, keepdim=True)
    return ((a - low) / (high - low + 1e-8) >= threshold).to(a.dtype).unflatten(1, (size, size))
    ### END SOLUTION


def localisation_loss(
    outputs: list[Float[Tensor, "B places dim"]], mask: Float[Tensor, "B size size"]
) -> Float[Tensor, ""]:
    """Return Receler's regularisation: erasers shall say nothing outside of the mask.

    For each output o of an eraser (its places form a square, in rows from the top): bring the mask to that square by
    `F.interpolate` with mode "nearest"; take the mean over `dim` of o^2, multiply by 1 - mask, sum over batch and
    places, and divide by the number of places in the whole batch where the mask is 0 (by 1 if there is none). Average
    over the outputs (the official code's form of the paper's equation 5).
    """
    ### BEGIN SOLUTION
    total = 0.0
    for o in outputs:
        side = math.isqrt(o.shape[1])
        outside = 1 - F.interpolate(mask[:, None], size=(side, side), mode="nearest").flatten(1)
        total = total + (o.square().mean(-1) * outside).sum() / outside.sum().clamp(min=1)
    return total / len(outputs)
    ### END SOLUTION


def attack_step(
    unet: nn.Module,
    x_t: Float[Tensor, "B C H W"],
    t: Int[Tensor, "B"],
    states: Float[Tensor, "B N D"],
    prompt: Float[Tensor, "K D"],
    first: int,
    wanted: Float[Tensor, "B C H W"],
    optimizer: torch.optim.Optimizer,
) -> float:
    """Make one step of the attack: change the learned `prompt` so that `unet` predicts the noise `wanted`.

    Put the K vectors of `prompt` in place of the text states at positions first .. first + K - 1 of every example (a
    copy: `states` stays as it is), take the mean squared error of `unet(x_t, t, attacked).sample` against `wanted`,
    and step the `optimizer`, which holds `prompt` alone. A gradient that `prompt` holds from before does not count. The
    parameters of `unet` keep the gradients that they have (none is added) and can learn afterwards as before
    (`requires_grad` stays). Return the loss before the step, as a Python float.

    Raises:
        ValueError: the vectors reach beyond the last position.
    """
    ### BEGIN SOLUTION
    if first + len(prompt) > states.shape[1]:
        raise ValueError(f"positions {first} to {first + len(prompt) - 1} do not fit into {states.shape[1]}")
    attacked = states.clone()
    attacked[:, first : first + len(prompt)] = prompt
    loss = F.mse_loss(unet(x_t, t, attacked).sample, wanted)
    (prompt.grad,) = torch.autograd.grad(loss, [prompt])
    optimizer.step()
    return loss.item()
    ### END SOLUTION


def uce_weight(
    W0: Float[Tensor, "o d"],
    erase: Float[Tensor, "n d"],
    guide: Float[Tensor, "n d"],
    keep: Float[Tensor, "m d"],
    *,
    lam: float = 0.5,
) -> Float[Tensor, "o d"]:
    """Return the weight of UCE's closed form, in the dtype of W0.

    It minimises sum_i |W c_i - W0 g_i|^2 + sum_j |W k_j - W0 k_j|^2 + lam |W - W0|^2 over W, where the rows c_i of
    `erase` are states of erased words, the rows g_i of `guide` those that take their place, and the rows k_j of `keep`
    (m may be 0) what shall stay (Gandikota et al., WACV 2024, equation 7). Compute in float64 and solve a linear
    system; no matrix is inverted.
    """
    ### BEGIN SOLUTION
    W, C, G, K = (part.double() for part in (W0, erase, guide, keep))
    eye = torch.eye(W.shape[1], dtype=W.dtype)
    right = lam * W + W @ G.T @ C + W @ K.T @ K
    left = lam * eye + C.T @ C + K.T @ K
    return torch.linalg.solve(left, right, left=False).to(W0.dtype)
    ### END SOLUTION


def sld_guidance(
    e_null: Float[Tensor, "*s"],
    e_prompt: Float[Tensor, "*s"],
    e_safe: Float[Tensor, "*s"],
    momentum: Float[Tensor, "*s"],
    step: int,
    *,
    guidance: float,
    scale: float,
    warmup: int,
    threshold: float,
    momentum_scale: float,
    beta: float,
) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """Return (noise, new momentum) of one sampling step of Safe Latent Diffusion.

    With s = min(1, scale * |e_prompt - e_safe|), element by element, and s = 0 where e_prompt - e_safe >= threshold:
    g = s * (e_safe - e_null) + momentum_scale * momentum; new momentum = beta * momentum + (1 - beta) * g; and
    noise = e_null + guidance * (e_prompt - e_null - g), without g while step < warmup (the momentum is updated all the
    same). Schramowski et al., CVPR 2023, section 3; the paper prints max(1, .), its code takes the minimum.
    """
    ### BEGIN SOLUTION
    difference = e_prompt - e_safe
    s = torch.where(difference >= threshold, 0.0, (scale * difference.abs()).clamp(max=1.0))
    g = s * (e_safe - e_null) + momentum_scale * momentum
    change = e_prompt - e_null - (g if step >= warmup else 0.0)
    return e_null + guidance * change, beta * momentum + (1 - beta) * g
    ### END SOLUTION


def resteer_loss(
    probabilities: list[Float[Tensor, "B heads places words"]], positions: Bool[Tensor, "B words"]
) -> Float[Tensor, ""]:
    """Return Forget-Me-Not's loss: the Frobenius norm of all attention that goes to the concept's words.

    `positions` says for every example which words belong to the concept. Collect the probabilities of these words over
    all layers, heads and places, and return the root of the sum of their squares, not squared; add 1e-12 under the
    root, so that the gradient is a number where nothing attends (Zhang et al., 2023; the form of the official code).
    Half precision is summed and returned in float32: in float16 1e-12 is 0, and a sum of 65 520 is infinite.
    """
    ### BEGIN SOLUTION
    exact = torch.promote_types(probabilities[0].dtype, torch.float32)
    total = sum((p.to(exact) * positions[:, None, None, :]).square().sum() for p in probabilities)
    return (total + 1e-12).sqrt()
    ### END SOLUTION


def invert_concept(
    unet: nn.Module,
    scheduler: object,
    latents: Float[Tensor, "P C H W"],
    states: Float[Tensor, "1 N D"],
    *,
    first: int,
    slots: int,
    steps: int,
    generator: torch.Generator,
    lr: float = 0.1,
    batch: int = 8,
) -> Float[Tensor, "K D"]:
    """Return learned prompt vectors with which the frozen network denoises the latents: textual inversion as attack."""
    prompt = torch.rand(slots, states.shape[2], generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([prompt], lr=lr)
    for _ in range(steps):
        x = latents[torch.randint(len(latents), (batch,), generator=generator)]
        noise = torch.randn(x.shape, generator=generator)
        t = torch.randint(scheduler.config.num_train_timesteps, (batch,), generator=generator)
        noisy = scheduler.add_noise(x, noise, t)
        attack_step(unet, noisy, t, states.expand(batch, -1, -1), prompt, first, noise, optimizer)
    return prompt.detach()
