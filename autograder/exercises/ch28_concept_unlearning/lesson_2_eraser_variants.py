"""Chapter 28, notebook 2: right and wrong versions of Receler's eraser, as people write them."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class Eraser__sequential(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down = nn.Linear(dim, rank)
        self.up = nn.Linear(rank, dim)
        self.up.weight.data.zero_()
        self.up.bias.data.zero_()
        self.gelu = nn.GELU()

    def forward(self, h):
        for layer in (self.down, self.gelu, self.up):
            h = layer(h)
        return h


class AttnWithEraser__branches(nn.Module):
    def __init__(self, attention, rank):
        super().__init__()
        self.attention, self.enabled, self.last = attention, True, None
        self.eraser = Eraser(len(attention.to_q.weight), rank)

    def forward(self, *args, **kwargs):
        out = self.attention(*args, **kwargs)
        if self.enabled:
            self.last = self.eraser(out)
            out = out + self.last
        return out


class Eraser__by_hand(nn.Module):
    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        with torch.no_grad():
            for p in self.up.parameters():
                p.fill_(0)

    def forward(self, h):
        z = torch.einsum("bnd,rd->bnr", h, self.down.weight) + self.down.bias
        z = 0.5 * z * (1 + torch.erf(z / 2**0.5))
        return torch.einsum("bnr,dr->bnd", z, self.up.weight) + self.up.bias


class Plain(nn.Module):
    zeroed = ("up.weight", "up.bias")

    def __init__(self, dim, rank):
        super().__init__()
        self.down, self.up = nn.Linear(dim, rank), nn.Linear(rank, dim)
        for name in self.zeroed:
            nn.init.zeros_(self.get_parameter(name))

    def forward(self, h):
        return self.up(F.gelu(self.down(h)))


class Eraser__small_start(Plain):
    zeroed = ()


class Eraser__bias_left(Plain):
    zeroed = ("up.weight",)


class Eraser__both_zero(Plain):
    zeroed = ("down.weight", "down.bias", "up.weight", "up.bias")


class Eraser__both_weights_zero(Plain):
    zeroed = ("down.weight", "up.weight", "up.bias")


class Eraser__no_down_bias(Plain):
    zeroed = ("down.bias", "up.weight", "up.bias")


class Eraser__relu(Plain):
    def forward(self, h):
        return self.up(F.relu(self.down(h)))


class Eraser__linear(Plain):
    def forward(self, h):
        return self.up(self.down(h))


class Eraser__rough(Plain):
    def forward(self, h):
        return self.up(F.gelu(self.down(h), approximate="tanh"))


class Eraser__residual(Plain):
    def forward(self, h):
        return h + self.up(F.gelu(self.down(h)))


class Wrapper(nn.Module):
    mistake = ""

    def __init__(self, attention, rank):
        super().__init__()
        self.attention, self.enabled, self.last = attention, True, None
        width = attention.to_q.in_features if self.mistake == "input's width" else attention.to_q.out_features
        self.eraser = Eraser(width, rank)
        if self.mistake == "copies":
            self.attention = copy.deepcopy(attention)
        if self.mistake == "freezes":
            attention.requires_grad_(False)

    def forward(self, *args, **kwargs):
        h = self.attention(*args) if self.mistake == "keywords lost" and len(args) > 1 else None
        if self.mistake == "keywords lost" and h is None:
            h = self.attention(args[0], encoder_hidden_states=kwargs["encoder_hidden_states"])
        with torch.set_grad_enabled(self.mistake != "no gradient"):
            h = self.attention(*args, **kwargs) if h is None else h
        if not self.enabled and self.mistake == "clears last":
            self.last = None
        if not self.enabled and self.mistake == "speaks unheard":
            self.last = self.eraser(h)
        if not self.enabled and self.mistake != "never off":
            return h
        out = self.eraser(args[0] if self.mistake == "input" else h.detach() if self.mistake == "cut" else h)
        if self.mistake != "no last":
            self.last = out.detach() if self.mistake == "detached" else h + out if self.mistake == "sum" else out
        return out if self.mistake == "replaces" else h + out


class AttnWithEraser__input(Wrapper):
    mistake = "input"


class AttnWithEraser__replaces(Wrapper):
    mistake = "replaces"


class AttnWithEraser__never_off(Wrapper):
    mistake = "never off"


class AttnWithEraser__detached(Wrapper):
    mistake = "detached"


class AttnWithEraser__keywords_lost(Wrapper):
    mistake = "keywords lost"


class AttnWithEraser__clears_last(Wrapper):
    mistake = "clears last"


class AttnWithEraser__speaks_unheard(Wrapper):
    mistake = "speaks unheard"


class AttnWithEraser__cut(Wrapper):
    mistake = "cut"


class AttnWithEraser__no_gradient(Wrapper):
    mistake = "no gradient"


class AttnWithEraser__freezes(Wrapper):
    mistake = "freezes"


class AttnWithEraser__copies(Wrapper):
    mistake = "copies"


class AttnWithEraser__input_width(Wrapper):
    mistake = "input's width"


class AttnWithEraser__no_last(Wrapper):
    mistake = "no last"


class AttnWithEraser__sum(Wrapper):
    mistake = "sum"
