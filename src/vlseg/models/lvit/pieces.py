"""Pieces of LViT's network, under the names of the tensors in its checkpoints.

Where `whole`, a piece has the tensors that nothing reads as well: the published checkpoints hold them.
"""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 8
DROPOUT = 0.1
TABLE = 14
"""Places along a side of the published network."""
TOKENS = 10
"""Words that the published network reads, neither more nor fewer: they are its channels."""


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU, over a map (B, C, h, w) or a sequence (B, C, N)."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: Tensor) -> Tensor:
        """Other channels, the same places."""
        return F.relu_(self.norm(self.conv(x)))


def convolve(inputs: int, outputs: int) -> Convolution:
    """3x3 over a map."""
    return Convolution(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))


def convolve_sequence(inputs: int, outputs: int) -> Convolution:
    """3 over a sequence."""
    return Convolution(nn.Conv1d(inputs, outputs, 3, padding=1), nn.BatchNorm1d(outputs))


class Down(nn.Module):
    """A map at half the size, convolved twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nConvs = nn.Sequential(convolve(inputs, outputs), convolve(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h / 2, w / 2)."""
        result: Tensor = self.nConvs(F.max_pool2d(x, 2))
        return result


class Product(nn.Conv2d):
    """A convolution whose steps are as long as it is wide, as a product: several times as fast on a processor."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, h / side, w / side, outputs)."""
        side, (count, channels, height, width) = self.kernel_size[0], x.shape
        size = (height // side, width // side)
        rows = x.permute(0, 2, 3, 1)
        if side > 1:
            squares = rows.reshape(count, size[0], side, size[1], side, channels).transpose(2, 3)
            rows = squares.reshape(count, *size, side * side * channels)
        return F.linear(rows, self.weight.permute(0, 2, 3, 1).flatten(1), self.bias)


class PixelAttention(nn.Module):
    """Weighs each pixel of a map by the mean and the largest of its channels ("PLAM")."""

    def __init__(self, channels: int, *, whole: bool) -> None:
        super().__init__()
        self.conv_avg = Product(channels, channels, 1, bias=False)
        self.conv_max = Product(channels, channels, 1, bias=False)
        self.bottleneck = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1))
        if whole:
            self.conv_sig = nn.Sequential(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        mean, largest = F.relu_(self.conv_avg(x)).mean(-1), F.relu_(self.conv_max(x)).amax(-1)
        weight = self.bottleneck(torch.stack([mean, largest, mean + largest], dim=-1))
        result: Tensor = (x.permute(0, 2, 3, 1) * weight).permute(0, 3, 1, 2)
        return result


class Up(nn.Module):
    """A coarse map and the finer one it is joined with, convolved twice."""

    def __init__(self, skip: int, outputs: int, *, whole: bool) -> None:
        super().__init__()
        self.pixModule = PixelAttention(skip, whole=whole)
        self.nConvs = nn.Sequential(convolve(2 * skip, outputs), convolve(outputs, outputs))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, skip, h, w) and (B, skip, 2 h, 2 w) to (B, outputs, 2 h, 2 w)."""
        result: Tensor = self.nConvs(torch.cat([self.pixModule(skip), F.interpolate(x, scale_factor=2.0)], dim=1))
        return result

    def read(self) -> list[nn.Module]:
        """What it computes with."""
        return [self.pixModule.conv_avg, self.pixModule.conv_max, self.pixModule.bottleneck, self.nConvs]


class Embeddings(nn.Module):
    """Places of a map, with a table of where they are.

    The table is resized where the map has another number of places than it.
    """

    def __init__(self, channels: int, patch: int, side: int) -> None:
        super().__init__()
        self.position_embeddings = nn.Parameter(torch.zeros(1, side * side, channels))
        self.patch_embeddings = Product(channels, channels, patch, patch)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, N, C)."""
        squares = self.patch_embeddings(x)
        places = squares.flatten(1, 2) + self._table((squares.shape[1], squares.shape[2]))
        result: Tensor = self.dropout(places)
        return result

    def _table(self, size: tuple[int, int]) -> Tensor:
        side = math.isqrt(self.position_embeddings.shape[1])
        if size == (side, side):
            return self.position_embeddings
        grid = self.position_embeddings.transpose(1, 2).reshape(1, -1, side, side)
        return F.interpolate(grid, size=size, mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    """Two layers with a GELU behind both; the signature is that of timm's."""

    def __init__(self, in_features: int, hidden_features: int, **_: Any) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(in_features, hidden_features), nn.Linear(hidden_features, in_features)
        self.dropout = nn.Dropout(DROPOUT)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to the same."""
        for layer in (self.fc1, self.fc2):
            x = self.dropout(F.gelu(layer(x)))
        return x


class Branch(nn.Module):
    """One transformer block at one scale, with what stands before and behind it; `used` names what is read of it."""

    embeddings: Embeddings
    Encoder_blocks: nn.Sequential
    CTBN: Convolution
    CTBN2: Convolution
    CTBN3: Convolution

    def __init__(self, width: int, patch: int, side: int, used: Collection[str], *, whole: bool) -> None:
        super().__init__()
        block: Any = partial(Block, width, HEADS, qkv_bias=True, norm_layer=nn.LayerNorm, mlp_layer=Mlp)
        pieces: dict[str, Callable[[], nn.Module]] = {
            "embeddings": lambda: Embeddings(width, patch, side),
            "norm": lambda: nn.LayerNorm(width),
            "Encoder_blocks": lambda: nn.Sequential(block()),
            "head": lambda: nn.Linear(width, 1),
            "CTBN": lambda: convolve_sequence(width, width // 2),
            "CTBN2": lambda: convolve_sequence(2 * width, width),
            "CTBN3": lambda: convolve_sequence(TOKENS, side * side),
        }
        self.used = tuple(used)
        for name, piece in pieces.items():
            if whole or name in used:
                self.add_module(name, piece())

    def halved(self, x: Tensor) -> Tensor:
        """A map (B, C, h, w) to its places after the block, at half the width: (B, N, C / 2)."""
        seen = self.Encoder_blocks(self.embeddings(x))
        result: Tensor = self.CTBN(seen.transpose(1, 2)).transpose(1, 2).contiguous()
        return result

    def joined(self, places: Tensor, deeper: Tensor) -> Tensor:
        """(B, N, C) after the block, and those of the deeper scale (B, N, 2 C) added."""
        result: Tensor = self.Encoder_blocks(places) + self.CTBN2(deeper.transpose(1, 2)).transpose(1, 2)
        return result

    def read(self, without: str = "") -> list[nn.Module]:
        """What is used of it, without one."""
        return [self.get_submodule(name) for name in self.used if name != without]


class Reconstruct(nn.Module):
    """Places (B, N, C) to a map (B, C, h, w): a 1x1 convolution, nearest places, batch norm, ReLU."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv, self.norm = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)

    def forward(self, places: Tensor) -> Tensor:
        """`scale` times the size of the square of places."""
        side = math.isqrt(places.shape[1])
        # The published code convolves after it has enlarged: the same numbers, in up to 256 times as many products.
        small = self.conv(places.transpose(1, 2).reshape(places.shape[0], -1, side, side))
        return F.relu_(self.norm(F.interpolate(small, scale_factor=float(self.scale))))


class ReadWords(nn.Module):
    """Places look at words: any number of either, padding left out. Not in the published network.

    That mixes ten words, as channels, into 196 places: both numbers are in its weights, and what it adds to a place is
    the same for all images.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)

    def forward(self, places: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """What is added to places (B, N, C), from words (B, L, C) and mask (B, L) bool: which of them are words."""
        found: Tensor = self.attention(self.norm(places), words, words, key_padding_mask=~mask, need_weights=False)[0]
        return found
