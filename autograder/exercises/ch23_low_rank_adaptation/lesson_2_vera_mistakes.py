"""Chapter 23, notebook 2: the known mistakes with `VeRALinear` and its projections."""

import math

import torch
from torch import nn

from autograder.declare.exercise import mistaken


class Mistaken(nn.Module):
    mistake = ""

    def __init__(self, base, A, B, d_initial=0.1):
        super().__init__()
        self.base = base
        if self.mistake != "base trains":
            base.requires_grad_(False)
        if self.mistake in ("copies", "sliced"):
            A, B = A[:, : base.in_features], B[: base.out_features]
        if self.mistake in ("copies", "whole copies"):
            A, B = A.clone(), B.clone()
        if self.mistake == "projections train":
            self.A, self.B = nn.Parameter(A), nn.Parameter(B)
        else:
            self.register_buffer("A", A, persistent=self.mistake == "saves all")
            self.register_buffer("B", B, persistent=self.mistake == "saves all")
        start = {"starts at one": 1.0, "ignores d initial": 0.1, "b and d exchanged": 0.0}.get(self.mistake, d_initial)
        self.d = nn.Parameter(torch.full((len(A),), start))
        self.b = nn.Parameter(torch.full((base.out_features,), 0.0))
        if self.mistake == "b and d exchanged":
            self.b.data.fill_(d_initial)

    def parts(self):
        A, B = self.A[:, : self.base.in_features], self.B[: self.base.out_features]
        if self.mistake == "last rows":
            A, B = self.A[:, -self.base.in_features :], self.B[-self.base.out_features :]
        if self.mistake == "last columns of a":
            A = self.A[:, -self.base.in_features :]
        if self.mistake == "last rows of b":
            B = self.B[-self.base.out_features :]
        return (A, B) if self.mistake == "one dtype" else (A.to(self.base.weight.dtype), B.to(self.base.weight.dtype))

    def delta(self):
        A, B = self.parts()
        if self.mistake == "no b in delta":
            return (B * self.d) @ A
        return self.b[:, None] * (B * self.d) @ A

    def forward(self, x):
        A, B = self.parts()
        branch = (x @ A.T * self.d) @ B.T * self.b
        if self.mistake == "divides by r":
            branch = branch / len(self.d)
        if self.mistake == "bias too":
            return (self.base(x) if self.base.bias is None else self.base(x) + self.base.bias * self.b) + branch
        return self.base(x) + branch


class VeRALinear__one_dtype(Mistaken):
    mistake = "one dtype"


class VeRALinear__base_trains(Mistaken):
    mistake = "base trains"


class VeRALinear__copies(Mistaken):
    mistake = "copies"


class VeRALinear__projections_train(Mistaken):
    mistake = "projections train"


class VeRALinear__saves_all(Mistaken):
    mistake = "saves all"


class VeRALinear__starts_at_one(Mistaken):
    mistake = "starts at one"


class VeRALinear__last_rows(Mistaken):
    mistake = "last rows"


class VeRALinear__last_columns_of_a(Mistaken):
    mistake = "last columns of a"


class VeRALinear__last_rows_of_b(Mistaken):
    mistake = "last rows of b"


class VeRALinear__sliced(Mistaken):
    mistake = "sliced"


class VeRALinear__whole_copies(Mistaken):
    mistake = "whole copies"


class VeRALinear__ignores_d_initial(Mistaken):
    mistake = "ignores d initial"


class VeRALinear__b_and_d_exchanged(Mistaken):
    mistake = "b and d exchanged"


class VeRALinear__no_b_in_delta(Mistaken):
    mistake = "no b in delta"


class VeRALinear__divides_by_r(Mistaken):
    mistake = "divides by r"


def projections_with_mistake(mistake, shapes, r, *, seed):
    g = torch.Generator().manual_seed(seed)
    rows, columns = max(o for o, _ in shapes), max(i for _, i in shapes)
    if mistake == "first shape":
        rows, columns = shapes[0]
    bounds = [math.sqrt(6 / columns), math.sqrt(6 / r)]
    if mistake == "bound of linear":
        bounds = [math.sqrt(1 / columns), math.sqrt(1 / r)]
    if mistake == "same bound":
        bounds = [bounds[0], bounds[0]]
    if mistake == "bound of rows":
        bounds = [math.sqrt(6 / r), math.sqrt(6 / rows)]
    if mistake == "global seed":
        torch.manual_seed(seed)
        g = torch.default_generator
    A, B = torch.empty(r, columns), torch.empty(rows, r)
    for matrix, bound in [(B, bounds[1]), (A, bounds[0])] if mistake == "b first" else [(A, bounds[0]), (B, bounds[1])]:
        matrix.uniform_(-bound, bound, generator=g)
        if mistake == "seeds twice":
            g.manual_seed(seed)
    return A, B


def shared_projections__first_shape(shapes, r, *, seed):
    return projections_with_mistake("first shape", shapes, r, seed=seed)


def shared_projections__bound_of_linear(shapes, r, *, seed):
    return projections_with_mistake("bound of linear", shapes, r, seed=seed)


def shared_projections__same_bound(shapes, r, *, seed):
    return projections_with_mistake("same bound", shapes, r, seed=seed)


def shared_projections__b_first(shapes, r, *, seed):
    return projections_with_mistake("b first", shapes, r, seed=seed)


def shared_projections__seeds_twice(shapes, r, *, seed):
    return projections_with_mistake("seeds twice", shapes, r, seed=seed)


def shared_projections__bound_of_rows(shapes, r, *, seed):
    return projections_with_mistake("bound of rows", shapes, r, seed=seed)


def shared_projections__global_seed(shapes, r, *, seed):
    return projections_with_mistake("global seed", shapes, r, seed=seed)


MISTAKES = (
    mistaken(
        VeRALinear__one_dtype,
        "Your layer breaks if A and B have another dtype than the base, as they have in a model in bfloat16. Bring the "
        "parts that you use to the dtype of d: .to(self.d.dtype).",
        "library difference: peft brings them together in the forward pass",
        Mistaken,
    ),
    mistaken(
        VeRALinear__base_trains,
        "The weights of `base` are still trainable. Freeze them.",
        "student mistake: freezing forgotten where nothing of the base is used as a parameter",
        Mistaken,
    ),
    mistaken(
        VeRALinear__copies,
        "Your layer keeps its own copy of A and B. Register the matrices as they are and slice when you use "
        "them, so "
        "that all layers share one memory.",
        "card: hidden case same storage (data_ptr) in all layers",
        Mistaken,
    ),
    mistaken(
        VeRALinear__projections_train,
        "Your A and B are parameters, so they would be trained. Fixed tensors are buffers.",
        "card trap: A and B are frozen, only d and b learn",
        Mistaken,
    ),
    mistaken(
        VeRALinear__saves_all,
        "A and B are in the state_dict. With persistent=False they are not: the seed brings them back.",
        "library difference: register_buffer saves unless told otherwise",
        Mistaken,
    ),
    mistaken(
        VeRALinear__starts_at_one,
        "d starts at 1. It starts at `d_initial`, 0.1 by default.",
        "library difference: peft creates d by torch.randn and b by torch.ones before it resets them",
        Mistaken,
    ),
    mistaken(
        VeRALinear__last_rows,
        "You take the last columns of A and rows of B. This layer uses the first ones.",
        "student mistake: a negative slice",
        Mistaken,
    ),
    mistaken(
        VeRALinear__last_columns_of_a,
        "You take the last columns of A. This layer uses the first ones.",
        "student mistake: a negative slice",
        Mistaken,
    ),
    mistaken(
        VeRALinear__last_rows_of_b,
        "You take the last rows of B. This layer uses the first ones.",
        "student mistake: a negative slice",
        Mistaken,
    ),
    mistaken(
        VeRALinear__sliced,
        "Your buffers hold the part that this layer needs. Register A and B whole, and slice in the methods.",
        "student mistake: the slice taken once, in the constructor",
        Mistaken,
    ),
    mistaken(
        VeRALinear__whole_copies,
        "Your layer keeps its own copy of A and B. Register the matrices as they are, so that all layers share one "
        "memory.",
        "card: hidden case same storage (data_ptr) in all layers",
        Mistaken,
    ),
    mistaken(
        VeRALinear__ignores_d_initial,
        "d starts at 0.1 whatever `d_initial` is.",
        "student mistake: the default written into the code",
        Mistaken,
    ),
    mistaken(
        VeRALinear__b_and_d_exchanged,
        "The starts of b and d are exchanged: d starts at d_initial, b at zero.",
        "student mistake: two vectors with short names",
        Mistaken,
    ),
    mistaken(
        VeRALinear__no_b_in_delta,
        "Your delta lacks the factor b of its row: diag(b) B diag(d) A.",
        "student mistake: one of the two vectors forgotten in the merge",
        Mistaken,
    ),
    mistaken(
        VeRALinear__divides_by_r,
        "You divide the branch by r. VeRA has no alpha / r: its vectors set the scale.",
        "library difference: LoRA's scaling carried over",
        Mistaken,
    ),
    mistaken(
        shared_projections__first_shape,
        "Your matrices fit the first layer. They must be as large as the largest: max over all `in`, max over all "
        "`out`, which may come from different layers.",
        "card trap: layers of different shapes slice one pair",
        projections_with_mistake,
    ),
    mistaken(
        shared_projections__bound_of_linear,
        "Your bound is that of nn.Linear, sqrt(1 / columns). Kaiming's for a ReLU is sqrt(6 / columns).",
        "library difference: nn.Linear initializes with a = sqrt(5)",
        projections_with_mistake,
    ),
    mistaken(
        shared_projections__same_bound,
        "B has r columns, so its bound is sqrt(6 / r), another one than that of A.",
        "student mistake: one bound for both",
        projections_with_mistake,
    ),
    mistaken(
        shared_projections__bound_of_rows,
        "Your bounds come from the rows. They come from the COLUMNS of each matrix: that many numbers are summed.",
        "student mistake: fan-out for fan-in",
        projections_with_mistake,
    ),
    mistaken(
        shared_projections__global_seed,
        "You seed the generator of the whole program. Make your own, torch.Generator().manual_seed(seed), and hand "
        "it to uniform_: a layer must not change what others draw.",
        "student mistake: torch.manual_seed(seed)",
        projections_with_mistake,
    ),
    mistaken(
        shared_projections__b_first,
        "You draw B before A. The order matters: the same generator fills A first.",
        "card: peft draws A first, then B",
        projections_with_mistake,
    ),
    mistaken(
        shared_projections__seeds_twice,
        "You reset the generator before the second matrix, so that B begins with the numbers of A.",
        "student mistake: a new generator for each matrix",
        projections_with_mistake,
    ),
)
