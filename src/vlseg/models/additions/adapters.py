"""VLSM-Adapter (Dhakal et al., MICCAI 2024, arXiv:2405.06196): small bottlenecks in the frozen encoders.

An adapter gives x + relu(W2 relu(W1 x)), as the published code has it: what it adds is never negative.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.additions.addition import IMAGE_PART, TEXT_PART, Addition
from vlseg.models.additions.towers import Tower, image_tower, text_tower, towers_of
from vlseg.models.protocol import Segmenter

DENSE_WIDTH = 64


class Adapter(nn.Module):
    """A bottleneck beside the identity."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., width) to the same."""
        return hidden + F.relu(self.up(F.relu(self.down(hidden))))

    def hook(self, module: nn.Module, given: Any, output: Any) -> Any:
        """As a forward hook: on what a module gives, alone or first of a tuple."""
        if isinstance(output, tuple):
            return (self(output[0]), *output[1:])
        return self(output)


class Dense(nn.Module):
    """Adapters behind attention and MLP of a tower's first blocks, before each is added to the hidden state."""

    def __init__(self, tower: Tower, blocks: int, bottleneck: int) -> None:
        super().__init__()
        attention = [Adapter(tower.width, bottleneck) for _ in range(blocks)]
        mlp = [Adapter(tower.width, bottleneck) for _ in range(blocks)]
        for adapter, place in zip(attention + mlp, [*tower.attentions[:blocks], *tower.mlps[:blocks]], strict=True):
            place.register_forward_hook(adapter.hook)
        self.attention, self.mlp = nn.ModuleList(attention), nn.ModuleList(mlp)


def dense(model: Segmenter, *, text: bool = True, width: int = DENSE_WIDTH) -> Addition:
    """Adapters in the blocks before the last tapped one, of the image encoder and, with `text`, of the text encoder."""
    blocks, tower = max(towers_of(model, "dense").taps), image_tower(model, "dense")
    modules: dict[str, nn.Module] = {IMAGE_PART: Dense(tower, blocks, width)}
    if text:
        tower = text_tower(model, "dense")
        modules[TEXT_PART] = Dense(tower, min(blocks, len(tower.blocks)), width)
    return Addition(modules)
