"""LViT's U-Net of convolutions alone, from which a training of LViT starts.

`corrected` is that branch of LViT as it is, pixel attention included, so that every tensor means there what it means
here. `published` is the U-Net of the authors' code: other steps on the way up, under names that are mostly LViT's.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vlseg.models.lvit.pieces import Down, Up, convolve


class LearnedUp(nn.Module):
    """A coarse map, enlarged by a convolution that is learned, and the finer one, convolved twice."""

    def __init__(self, skip: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(skip, skip, 2, 2)
        self.nConvs = nn.Sequential(convolve(2 * skip, outputs), convolve(outputs, outputs))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, skip, h, w) and (B, skip, 2 h, 2 w) to (B, outputs, 2 h, 2 w)."""
        result: Tensor = self.nConvs(torch.cat([self.up(x), skip], dim=1))
        return result


class UNet(nn.Module):
    """Pixels (B, 3, h, w), of multiples of 16, to logits (B, outputs, h, w)."""

    def __init__(self, width: int, outputs: int, *, published: bool) -> None:
        super().__init__()
        one, two, four, eight = (width * factor for factor in (1, 2, 4, 8))

        def up(skip: int, channels: int) -> nn.Module:
            return LearnedUp(skip, channels) if published else Up(skip, channels, whole=False)

        self.inc = convolve(3, one)
        self.down1, self.down2 = Down(one, two), Down(two, four)
        self.down3, self.down4 = Down(four, eight), Down(eight, eight)
        self.up4, self.up3, self.up2, self.up1 = up(eight, four), up(four, two), up(two, one), up(one, one)
        self.outc = nn.Conv2d(one, outputs, 1)
        self.to(memory_format=torch.channels_last)

    def encode(self, pixels: Tensor) -> dict[str, Tensor]:
        """`map1` to `map5` (B, C, h / 2^n, w / 2^n)."""
        maps = [self.inc(pixels.contiguous(memory_format=torch.channels_last))]
        for down in (self.down1, self.down2, self.down3, self.down4):
            maps.append(down(maps[-1]))
        return {f"map{number}": one for number, one in enumerate(maps, 1)}

    def decode(self, image: Mapping[str, Tensor], words: Tensor | None, mask: Tensor | None) -> Tensor:
        """What `encode` gave to logits; `words` and `mask` are LViT's: nothing is read of them."""
        x = image["map5"]
        for number, up in ((4, self.up4), (3, self.up3), (2, self.up2), (1, self.up1)):
            x = up(x, image[f"map{number}"])
        logits: Tensor = self.outc(x)
        return logits

    def parts(self) -> dict[str, list[nn.Module]]:
        """The way down and the way up."""
        return {
            "image_encoder": [self.inc, self.down1, self.down2, self.down3, self.down4],
            "mask_decoder": [self.up1, self.up2, self.up3, self.up4, self.outc],
        }
