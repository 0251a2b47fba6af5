"""The decoder: places of the image look at each other and at the words, from coarse to fine."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.portable import used_columns

WIDTHS = (128, 128, 64, 32)
"""Channels at strides 32, 16, 8 and 4."""
HEADS, GROUPS = 4, 8
START_BIAS = -2.0
"""Of the output: foreground is rare, so an empty mask is the start."""


def innermost(maps: Tensor) -> Tensor:
    """The same maps (B, C, h, w) with the channels innermost in memory.

    Convolutions and the widening of maps are up to five times faster so on a CPU, and rows of places need no copy.
    """
    # Not by memory_format: vmap (training.grid) knows none.
    return maps.movedim(1, -1).contiguous().movedim(-1, 1)


def longest(mask: Tensor) -> int:
    """Columns of `mask` (B, L) that are not padding in every row: the others are masked, and can be left out."""
    try:
        return used_columns(mask)
    except RuntimeError:  # several runs in one pass (training.grid): no number can be read, and nothing is left out
        return mask.shape[1]


def places(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """(height * width, channels): sines and cosines of a place's row and column in [-1, 1].

    The slowest wave is half a period long over the image: it tells left from right.
    """
    waves = math.pi / 2 * 2 ** torch.linspace(0, 4, channels // 4, device=like.device)
    axes = [(torch.arange(size, device=like.device) + 0.5) / size * 2 - 1 for size in (height, width)]
    rows, columns = (torch.cat([(waves * axis[:, None]).sin(), (waves * axis[:, None]).cos()], 1) for axis in axes)
    grid = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
    return torch.cat(grid, 2).flatten(0, 1).to(like.dtype)


class Attention(nn.Module):
    """(B, N, width) look at (B, M, other); no bias on queries and keys, which would change nothing."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(other, width, bias=False)
        self.value = nn.Linear(other, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` (B, M) bool: what may be looked at."""
        query, key, value = (
            one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (self.query(x), self.key(seen), self.value(seen))
        )
        allowed = None if mask is None else mask[:, None, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        result: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return result


class ReadingBlock(nn.Module):
    """Pre-norm: where `full` places look at each other, at the words, and think; else they only look at the words."""

    def __init__(self, width: int, words: int, *, full: bool) -> None:
        super().__init__()
        self.full = full
        self.cross_norm = nn.LayerNorm(width)
        self.cross = Attention(width, words)
        if full:
            self.self_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.own = Attention(width, width)
            self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """(B, C, h, w), words (B, L, other) and mask (B, L) to (B, C, h, w)."""
        height, width = x.shape[-2:]
        rows = x.flatten(2).transpose(1, 2) + places(height, width, x.shape[1], x)
        if self.full:
            normed = self.self_norm(rows)
            rows = rows + self.own(normed, normed)
        rows = rows + self.cross(self.cross_norm(rows), words, mask)
        if self.full:
            rows = rows + self.feed(self.forward_norm(rows))
        result: Tensor = rows.transpose(1, 2).unflatten(2, (height, width))
        return result


def convolve(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, group norm, GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.GroupNorm(GROUPS, outputs), nn.GELU()
    )


class Decoder(nn.Module):
    """Maps at strides 4, 8, 16 and 32 and the vectors of words to logits at stride 4."""

    def __init__(self, channels: Sequence[int], words: int, outputs: int) -> None:
        """`channels` of the maps, finest first; `words` is the width of a vector."""
        super().__init__()
        self.words = nn.Sequential(nn.LayerNorm(words), nn.Linear(words, WIDTHS[0]))
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(theirs, ours, 1, bias=False), nn.GroupNorm(GROUPS, ours))
            for theirs, ours in zip(reversed(channels), WIDTHS, strict=True)
        )
        self.readers = nn.ModuleList(
            ReadingBlock(width, WIDTHS[0], full=level < 2) for level, width in enumerate(WIDTHS[:3])
        )
        steps = zip(WIDTHS, WIDTHS[1:], (1, 3, 3), strict=False)
        self.narrowings = nn.ModuleList(convolve(wide, narrow, kernel) for wide, narrow, kernel in steps)
        self.last = convolve(WIDTHS[-1], WIDTHS[-1], 3)
        self.mask = nn.Conv2d(WIDTHS[-1], outputs, 1)
        self.presence = nn.Linear(WIDTHS[0], outputs)
        nn.init.constant_(self.presence.bias, START_BIAS)

    def forward(self, maps: Sequence[Tensor], words: Tensor, mask: Tensor) -> Tensor:
        """Maps, finest first, words (B, L, D) and mask (B, L) bool to logits (B, outputs, H / 4, W / 4).

        What the coarsest places see together says how likely the thing is there at all: it is added everywhere.
        """
        length = longest(mask)
        maps = [innermost(one) for one in maps]
        told, mask = self.words(words[:, :length]), mask[:, :length]
        coarse = self.readers[0](self.laterals[0](maps[-1]), told, mask)
        presence = self.presence(coarse.mean(dim=(-2, -1)))
        x = coarse
        for level in range(1, len(WIDTHS)):
            skip = self.laterals[level](maps[-1 - level])
            narrow = self.narrowings[level - 1](x)
            x = skip + F.interpolate(narrow, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            if level < len(self.readers):
                x = self.readers[level](x, told, mask)
        # One output for 32 inputs: as a product it is twice as fast as the convolution that it is.
        found = F.linear(self.last(x).movedim(1, -1), self.mask.weight.flatten(1), self.mask.bias)
        logits: Tensor = found.movedim(-1, 1) + presence[..., None, None]
        return logits
