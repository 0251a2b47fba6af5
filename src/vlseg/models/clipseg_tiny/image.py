"""The image encoder: a convolutional pyramid with coordinate channels, run once per image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8
STRIDE = 16
"""The encoder halves the image four times."""


def with_coordinates(x: Tensor) -> Tensor:
    """(B, C, h, w) to (B, C + 2, h, w): appended rows and columns in [-1, 1], so that places can be told."""
    batch, _, height, width = x.shape
    rows, columns = _evenly(height, x), _evenly(width, x)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return torch.cat([x, grid.expand(batch, -1, -1, -1)], dim=1)


def _evenly(count: int, like: Tensor) -> Tensor:
    """(count,) from -1 to 1."""
    if torch.compiler.is_exporting():  # linspace would fix the count in a graph
        return torch.arange(count, device=like.device, dtype=like.dtype) * (2 / (count - 1)) - 1
    return torch.linspace(-1, 1, count, device=like.device, dtype=like.dtype)


def convolve(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, group norm, GELU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(GROUPS, outputs), nn.GELU())


class Residual(nn.Module):
    """x + two convolutions of x; shapes stay (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolve(channels, channels), convolve(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        result: Tensor = x + self.body(x)
        return result


class ImageEncoder(nn.Module):
    """Pixels (B, 3, H, W) to `fine` (B, fine, H/2, W/2) and `coarse` (B, width, H/4, W/4)."""

    def __init__(self, width: int = 64, fine: int = 16) -> None:
        super().__init__()
        self.stem = convolve(5, 32, stride=2)
        self.fine = nn.Conv2d(32, fine, 3, padding=1)
        self.quarter = nn.Sequential(convolve(32, 64, stride=2), Residual(64))
        self.eighth = nn.Sequential(convolve(64, 96, stride=2), Residual(96))
        self.sixteenth = nn.Sequential(convolve(96, 96, stride=2), Residual(96))
        self.laterals = nn.ModuleList([nn.Conv2d(inputs, width, 1) for inputs in (64 + 2, 96, 96)])
        self.blend = convolve(width, width)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) with H and W multiples of 16; see the class."""
        half = self.stem(with_coordinates(pixels))
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        near, middle, far = self.laterals
        up = middle(eighth) + F.interpolate(far(sixteenth), scale_factor=2.0)
        coarse = self.blend(near(with_coordinates(quarter)) + F.interpolate(up, scale_factor=2.0))
        return self.fine(half), coarse
