"""UNet-D (Dietlmeier et al., MIDL 2025, arXiv:2509.05154), under the keys of its checkpoints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Widths:
    """Channels of UNet-D and of the map that a vision-language branch gives it; the defaults are the published ones."""

    down: tuple[int, int, int, int] = (64, 128, 256, 512)
    middle: int = 1240
    up: tuple[int, int, int, int] = (546, 182, 91, 45)
    told: int = 128


WIDTHS = {"base": Widths(), "tiny": Widths(down=(8, 8, 16, 16), middle=24, up=(16, 16, 8, 8), told=16)}
"""By name; "tiny" is for tests."""

DOWN = (
    ("conv11", "conv12", "bn1"),
    ("conv22", "conv222", "bn2"),
    ("conv33", "conv333", "bn3"),
    ("conv44", "conv444", "bn4"),
)
UP = tuple((f"upconv{level}", f"convup{level}", f"upbn{level}") for level in (4, 3, 2, 1))
"""The layers of each level, by the keys of the checkpoints; downwards from the finest, upwards from the coarsest."""
STRIDE = 16
DROPOUT = 0.1


class ChannelAttention(nn.Module):
    """Efficient channel attention (Wang et al., CVPR 2020): a channel's weight from its neighbours' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = int((math.log2(channels) + 1) / 2)
        width += 1 - width % 2
        self.conv = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        weights: Tensor = self.conv(x.mean(dim=(2, 3))[:, None])[:, 0]
        return x * weights.sigmoid()[:, :, None, None]


class UNetD(nn.Module):
    """Two convolutions a level, no function between them; on the way up one convolution is applied twice.

    Args:
        widths: channels.
        outputs: channels of the result.
        maps: how many maps of `widths.told` channels join the coarsest one; without any, no map is fused at the end,
            and `outconv2`, which the files hold, is not read.
        kept: further layers that the files hold and nothing reads: "gn1", "eca3".
    """

    def __init__(self, widths: Widths, outputs: int = 1, maps: int = 0, kept: Sequence[str] = ()) -> None:
        super().__init__()
        for (first, second, norm), before, after in zip(DOWN, (3, *widths.down), widths.down, strict=False):
            self.add_module(first, nn.Conv2d(before, after, 3, padding=1))
            self.add_module(second, nn.Conv2d(after, after, 3, padding=1))
            self.add_module(norm, nn.BatchNorm2d(after))
        self.drops = nn.ModuleList(nn.Dropout(DROPOUT) for _ in DOWN)
        self.upconv41 = nn.Conv2d(widths.down[-1] + maps * widths.told, widths.middle, 1)
        self.eca4 = ChannelAttention(widths.middle)
        skips = (0, *widths.down[2::-1])
        inputs = [width + skip for width, skip in zip((widths.middle, *widths.up), skips, strict=False)]
        for (grow, twice, norm), before, after in zip(UP, inputs, widths.up, strict=True):
            self.add_module(grow, nn.ConvTranspose2d(before, after, 2, stride=2))
            self.add_module(twice, nn.Conv2d(after, after, 3, padding=1))
            self.add_module(norm, nn.BatchNorm2d(after))
        self.outconv2 = nn.Conv2d(2, outputs, 1)
        self.outconv = nn.Conv2d(widths.up[-1], outputs, 1)
        if "gn1" in kept:
            self.gn1 = nn.GroupNorm(4, widths.down[0])
        if "eca3" in kept:
            self.eca3 = ChannelAttention(inputs[1])
        self.fuses = maps > 0

    def encode(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W), sides multiples of 16, to four maps at a half to a sixteenth of the side."""
        maps, x = [], pixels
        for (first, second, norm), drop in zip(DOWN, self.drops, strict=True):
            for layer in (first, second, norm):
                x = self.get_submodule(layer)(x)
            x = nn.functional.max_pool2d(drop(x.relu()), 2)
            maps.append(x)
        return maps

    def decode(self, maps: Sequence[Tensor], told: Sequence[Tensor] = (), given: Tensor | None = None) -> Tensor:
        """Maps of `encode`, and as built maps (B, told, H/16, W/16) and logits (B, 1, H, W), to (B, outputs, H, W)."""
        x = self.eca4(self.upconv41(torch.cat([*told[:1], maps[-1], *told[1:]], dim=1)))
        for (grow, twice, norm), skip in zip(UP, (*maps[2::-1], None), strict=True):
            for layer in (grow, twice, twice, norm):
                x = self.get_submodule(layer)(x)
            x = x.relu() if skip is None else torch.cat([x.relu(), skip], dim=1)
        logits: Tensor = self.outconv(x)
        return logits if given is None else self.outconv2(torch.cat([given, logits], dim=1))

    def forward(self, pixels: Tensor, told: Sequence[Tensor] = (), given: Tensor | None = None) -> Tensor:
        """Both in a row."""
        return self.decode(self.encode(pixels), told, given)

    def encoder(self) -> list[nn.Module]:
        """The way down."""
        return [*(self.get_submodule(layer) for level in DOWN for layer in level), self.drops]

    def decoder(self) -> list[nn.Module]:
        """The way up, as far as it is read."""
        layers = [self.get_submodule(layer) for level in UP for layer in level]
        return [self.upconv41, self.eca4, *layers, self.outconv, *([self.outconv2] if self.fuses else [])]
