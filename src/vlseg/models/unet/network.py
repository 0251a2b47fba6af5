"""The encoder and the decoder both U-Nets are made of."""

from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.protocol import ImageFeatures

GROUPS = 8
STRIDE = 16
"""The encoder halves the image four times."""
WIDTHS = (24, 56, 112, 208)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the input's side."""
START_BIAS = -2.0
"""Of the output: foreground is rare, so an empty mask is the start."""


def convolve(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, group norm, GELU; group norm because batches are small and of few patients."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(GROUPS, outputs), nn.GELU())


class Encoder(nn.Module):
    """Pixels (B, 3, H, W), H and W multiples of 16, to four maps, finest first."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(convolve(inputs, outputs, stride=2), convolve(outputs, outputs))
            for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False)
        )

    def forward(self, pixels: Tensor) -> ImageFeatures:
        """`stage0` (B, 24, H/2, W/2) to `stage3` (B, 208, H/16, W/16)."""
        maps = {}
        for number, stage in enumerate(self.stages):
            pixels = stage(pixels)
            maps[f"stage{number}"] = pixels
        return ImageFeatures(maps)


class Decoder(nn.Module):
    """Encoder maps to logits (B, channels, H, W); a steering vector per row scales and shifts each level.

    Skips are added, not concatenated: the decoder runs once per prompt, the encoder once per image, so the
    budget lies in the encoder.
    """

    def __init__(self, channels: int, steering: int = 0) -> None:
        super().__init__()
        wide, narrow = WIDTHS[:0:-1], WIDTHS[-2::-1]
        self.narrowings = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(wide, narrow, strict=True))
        self.blends = nn.ModuleList(convolve(width, width) for width in narrow)
        self.films = nn.ModuleList(nn.Linear(steering, 2 * width) for width in narrow if steering)
        self.head = nn.Conv2d(WIDTHS[0], channels, 1)
        nn.init.constant_(self.head.bias, START_BIAS)  # type: ignore[arg-type]

    def forward(self, maps: ImageFeatures, steering: Tensor | None = None) -> Tensor:
        """Maps of `Encoder` and, if built with it, steering vectors (B, steering)."""
        x = maps.tensors[f"stage{len(WIDTHS) - 1}"]
        for level, (narrow, blend) in enumerate(zip(self.narrowings, self.blends, strict=True)):
            x = F.interpolate(narrow(x), scale_factor=2.0) + maps.tensors[f"stage{len(WIDTHS) - 2 - level}"]
            if steering is not None:
                scale, shift = self.films[level](steering)[..., None, None].chunk(2, dim=1)
                x = x * (1 + scale) + shift
            x = blend(x)
        return F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear", align_corners=False)
