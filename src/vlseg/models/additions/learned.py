"""Modules of prompt tuning: what gives the vectors at the input of each block.

`at` gives those among the words, or the only ones, (length, width) or a set for each row; `image_at` those among an
image's tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.additions.towers import Towers, image_tower
from vlseg.models.protocol import ImageFeatures, Output, PromptFeatures, Segmenter, Tokens


class Learned(nn.Module):
    """Vectors (depth, length, width)."""

    def __init__(self, depth: int, length: int, width: int, std: float, first: Tensor | None = None) -> None:
        super().__init__()
        self.vectors = nn.Parameter(std * torch.randn(depth, length, width))
        if first is not None:
            self.vectors.data[0] = first

    def at(self, index: int) -> Tensor:
        """Those of a block's input."""
        return self.vectors[index]


class Conditioned(Learned):
    """Vectors with a bias that a small network makes of the image; at its start it makes none."""

    def __init__(
        self, model: Segmenter, towers: Towers, bottleneck: int, *, first: Tensor | None, depth: int, **of_vectors: Any
    ) -> None:
        super().__init__(depth, first=first, **of_vectors)
        width = towers.image_vector_width or image_tower(model, "cocoop").width
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, self.vectors.shape[-1])
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self._model, self._towers = [model], towers  # in a list: no member of this module
        self._bias: Tensor | None = None

    def at(self, index: int) -> Tensor:
        """Those of a block's input, (B, length, width) as an image is decoded, else (length, width) without a bias."""
        return self.vectors[index] if self._bias is None else self.vectors[index] + self._bias[:, None]

    def encode_prompts(self, tokens: Tokens) -> PromptFeatures:
        """The tokens: what is read of them depends on the image."""
        return tokens

    def decode(self, image: ImageFeatures, prompts: PromptFeatures) -> Output:
        """Each row's sentence is read with its image's bias, then the model decodes."""
        seen = self._towers.image_vector(image)
        self._bias = self.up(F.relu(self.down(F.layer_norm(seen, seen.shape[-1:]))))
        try:
            read = self._model[0].encode_prompts(Tokens(prompts.tensors))
        finally:
            self._bias = None
        return self._model[0].decode(image, read)


class Coupled(Learned):
    """MaPLe: words, and what a small network a block makes of them as the image's."""

    def __init__(
        self, text: int, image: int, bottleneck: int, *, depth: int, first: Tensor | None, **of_vectors: Any
    ) -> None:
        super().__init__(depth, width=text, first=first, **of_vectors)
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Linear(text, bottleneck),
                nn.ReLU(),
                nn.Linear(bottleneck, image, bias=False),
                nn.LayerNorm(image),
            )
            for _ in range(depth)
        )

    def image_at(self, index: int) -> Tensor:
        """The image's."""
        result: Tensor = self.projections[index](self.vectors[index])
        return result


class Shared(Learned):
    """Narrow vectors with two linear maps a block, to words and to the image's."""

    def __init__(self, text: int, image: int, *, depth: int, **of_vectors: Any) -> None:
        super().__init__(depth, **of_vectors)
        width = self.vectors.shape[-1]
        self.to_text = nn.ModuleList(nn.Linear(width, text) for _ in range(depth))
        self.to_image = nn.ModuleList(nn.Linear(width, image) for _ in range(depth))

    def at(self, index: int) -> Tensor:
        """The words."""
        result: Tensor = self.to_text[index](self.vectors[index])
        return result

    def image_at(self, index: int) -> Tensor:
        """The image's."""
        result: Tensor = self.to_image[index](self.vectors[index])
        return result


class Attending(Learned):
    """Vectors as wide as both encoders that attend to each other, a layer a block, then part into words and image's.

    Words and image's are computed each at their time: in training their dropout is drawn apart.
    """

    def __init__(
        self, text: int, image: int, *, heads: int, feedforward: int, dropout: float, depth: int, **of_vectors: Any
    ) -> None:
        super().__init__(depth, width=text + image, **of_vectors)
        self.text = text
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(text + image, heads, feedforward, dropout, batch_first=True, norm_first=True)
            for _ in range(depth)
        )

    def at(self, index: int) -> Tensor:
        """The words."""
        return self._mixed(index)[:, : self.text]

    def image_at(self, index: int) -> Tensor:
        """The image's."""
        return self._mixed(index)[:, self.text :]

    def _mixed(self, index: int) -> Tensor:
        result: Tensor = self.layers[index](self.vectors[index : index + 1])[0]
        return result
