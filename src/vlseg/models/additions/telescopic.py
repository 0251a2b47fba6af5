"""Adapters placed as Telescopic Adapters are (WACV 2026, arXiv:2512.13855), with widths of our own.

Published: CLIPSeg frozen; two adapters in each of the image encoder's layers 1 to 9 and of the text encoder's 7 to 9,
one on the sentence's vector; bottlenecks that grow with depth; a learnable scale; 613 thousand trained parameters. The
widths themselves, where in a layer the adapters stand, their activation and their start are ours.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.additions.adapters import adapt
from vlseg.models.additions.addition import IMAGE_PART, TEXT_PART, Addition
from vlseg.models.additions.towers import Tower, image_tower, text_tower, towers_of
from vlseg.models.protocol import Segmenter

IMAGE_WIDTHS = (8, 16, 32)
"""Of the first, middle and last third of the image encoder's layers."""
TEXT_WIDTHS = (4, 8, 16)
"""Of the text encoder's last layers that have some."""
SENTENCE_WIDTH = 16


class ScaledAdapter(nn.Module):
    """x + s W2 relu(W1 x); s is learned from 1, W2 starts at zero, so that training starts from the model as it was."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.scale = nn.Parameter(self.up.bias.new_ones(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., width) to the same."""
        adapted: Tensor = hidden + self.scale * self.up(F.relu(self.down(hidden)))
        return adapted


def telescopic(model: Segmenter) -> Addition:
    """Adapters behind attention and MLP of the blocks before the last tapped one, the deeper the wider.

    Raises:
        InputError: a model that it is not for.
    """
    regime = "telescopic_like"
    towers, image, text = towers_of(model, regime), image_tower(model, regime), text_tower(model, regime)
    if towers.projection is None:
        raise ValueError("towers(): 'projection' is needed for an adapter on the sentence's vector")
    blocks = max(towers.taps)
    last = min(blocks, len(text.blocks))
    sentence = ScaledAdapter(towers.sentence_width, SENTENCE_WIDTH)
    adapt(towers.projection, sentence)
    told = nn.ModuleDict({"blocks": _in_blocks(text, last - max(1, last // 3), last, TEXT_WIDTHS)})
    told["sentence"] = sentence
    return Addition({IMAGE_PART: _in_blocks(image, 0, blocks, IMAGE_WIDTHS), TEXT_PART: told})


def _in_blocks(tower: Tower, first: int, end: int, widths: tuple[int, ...]) -> nn.ModuleList:
    """Two adapters in each of some blocks, in widths that are dealt out evenly over them."""
    made: list[nn.Module] = []
    for block in range(first, end):
        width = widths[(block - first) * len(widths) // (end - first)]
        pair = [ScaledAdapter(tower.width, width) for _ in range(2)]
        for place, adapter in zip((tower.attentions[block], tower.mlps[block]), pair, strict=True):
            adapt(place, adapter)
        made += pair
    return nn.ModuleList(made)
