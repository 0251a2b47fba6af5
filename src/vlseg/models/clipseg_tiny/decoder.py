"""The mask decoder: image features steered by the sentence (FiLM), cheap because it runs once per prompt."""

from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.clipseg_tiny.image import GROUPS

START_BIAS = -2.0
"""Of the output: foreground is rare, so an empty mask is the start; without it training can stay there."""


class FilmBlock(nn.Module):
    """x + GELU(scale * norm(conv(x)) + shift), scale and shift from the sentence."""

    def __init__(self, channels: int, text: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.film = nn.Linear(text, 2 * channels)

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        """(B, C, h, w) and (B, text) to (B, C, h, w)."""
        scale, shift = self.film(sentence)[..., None, None].chunk(2, dim=1)
        result: Tensor = x + F.gelu(self.norm(self.convolution(x)) * (1 + scale) + shift)
        return result


class MaskDecoder(nn.Module):
    """Features of an image and a sentence to logits (B, 1, H, W)."""

    def __init__(self, width: int = 64, fine: int = 16, text: int = 96, blocks: int = 3) -> None:
        super().__init__()
        self.first_film = nn.Linear(text, 2 * width)
        self.blocks = nn.ModuleList([FilmBlock(width, text) for _ in range(blocks)])
        self.kernel = nn.Conv2d(width, fine + 1, 1)

    def forward(self, fine: Tensor, coarse: Tensor, sentence: Tensor) -> Tensor:
        """(B, fine, H/2, W/2), (B, width, H/4, W/4), (B, text) to (B, 1, H, W)."""
        scale, shift = self.first_film(sentence)[..., None, None].chunk(2, dim=1)
        x = F.gelu(coarse * (1 + scale) + shift)
        for block in self.blocks:
            x = block(x, sentence)
        # Each coarse place says how to weigh the fine features: edges sharper than the coarse grid.
        kernel = F.interpolate(self.kernel(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        half = kernel[:, :1] + (kernel[:, 1:] * fine).sum(dim=1, keepdim=True) * fine.shape[1] ** -0.5
        return F.interpolate(half + START_BIAS, scale_factor=2.0, mode="bilinear", align_corners=False)
