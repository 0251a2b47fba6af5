"""LViT's network (Li et al., IEEE TMI 2023, arXiv:2206.14718), under the names of the tensors in its checkpoints.

A U-Net of convolutions and one of transformers on 14 x 14 places side by side. Sentences enter at the first scale of
the transformers alone, so that nearly all of the way down is computed once for an image, whatever is asked of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlseg.models.lvit.pieces import (
    TABLE,
    Branch,
    Down,
    PixelAttention,
    ReadWords,
    Reconstruct,
    Up,
    convolve,
)

PATCHES = (16, 8, 4, 2)
"""Sides of a place at the four scales, in pixels of their maps: a sixteenth of the input's at all of them."""


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes:
        width: channels of the first map, 64 as published; a multiple of 8.
        text: width of a word's vector, 768 as published; None: it reads nothing.
        outputs: channels of the logits.
        published: words are mixed into a fixed number of places, and the tensors that nothing reads are there;
            otherwise places look at words, and there are none of those.
        side: places along a side of the input, to which the weights are bound where `published`.
    """

    width: int = 64
    text: int | None = 768
    outputs: int = 1
    published: bool = False
    side: int = TABLE


class Network(nn.Module):
    """Pixels (B, 3, h, w), of multiples of 16, and the vectors of words to logits (B, outputs, h, w)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        reads = shape.text is not None
        whole = shape.published and reads  # nobody published a network without words
        one, two, four, eight = widths = [shape.width * factor for factor in (1, 2, 4, 8)]
        side = shape.side if whole else TABLE

        def branch(level: int, *used: str) -> Branch:
            return Branch(widths[level], PATCHES[level], side, ("Encoder_blocks", *used), whole=whole)

        self.inc = convolve(3, one)
        self.downVit = branch(0, "embeddings", *(("CTBN3",) if whole else ()))
        self.downVit1, self.downVit2, self.downVit3 = (branch(level, "embeddings", "CTBN") for level in (1, 2, 3))
        self.upVit, self.upVit1, self.upVit2 = (branch(level, "CTBN2") for level in (0, 1, 2))
        self.upVit3 = branch(3)
        self.down1, self.down2, self.down3, self.down4 = (
            Down(one, two),
            Down(two, four),
            Down(four, eight),
            Down(eight, eight),
        )
        self.up4, self.up3 = Up(eight, four, whole=whole), Up(four, two, whole=whole)
        self.up2, self.up1 = Up(two, one, whole=whole), Up(one, one, whole=whole)
        self.outc = nn.Conv2d(one, shape.outputs, 1)
        self.reconstruct1, self.reconstruct2 = Reconstruct(one, PATCHES[0]), Reconstruct(two, PATCHES[1])
        self.reconstruct3, self.reconstruct4 = Reconstruct(four, PATCHES[2]), Reconstruct(eight, PATCHES[3])
        if whole:
            for number, width in enumerate(widths, 1):
                self.add_module(f"pix_module{number}", PixelAttention(width, whole=True))
        if shape.text is not None:
            self.text_module4 = nn.Conv1d(shape.text, eight, 3, padding=1)
            self.text_module3 = nn.Conv1d(eight, four, 3, padding=1)
            self.text_module2 = nn.Conv1d(four, two, 3, padding=1)
            self.text_module1 = nn.Conv1d(two, one, 3, padding=1)
        self.reader = ReadWords(one) if reads and not whole else None
        self.to(memory_format=torch.channels_last)

    def encode(self, pixels: Tensor) -> dict[str, Tensor]:
        """What of an image needs no sentence.

        Returns:
            `map1` to `map5` (B, C, h / 2^n, w / 2^n); `places` (B, N, width), those of the first scale; `half2` to
            `half4` (B, N, C / 2), what the other scales make of theirs.
        """
        map1 = self.inc(pixels.contiguous(memory_format=torch.channels_last))
        map2 = self.down1(map1)
        map3 = self.down2(map2)
        map4 = self.down3(map3)
        return {
            "map1": map1,
            "map2": map2,
            "map3": map3,
            "map4": map4,
            "map5": self.down4(map4),
            "places": self.downVit.embeddings(map1),
            "half2": self.downVit1.halved(map2),
            "half3": self.downVit2.halved(map3),
            "half4": self.downVit3.halved(map4),
        }

    def words(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Vectors of words (B, L, text) to those that places read (B, L, width); `mask` (B, L) bool is which are words.

        What is no word is zero before each convolution, so that its number changes nothing.
        """
        vectors = _only(vectors, mask)
        for convolution in (self.text_module4, self.text_module3, self.text_module2, self.text_module1):
            vectors = _only(convolution(vectors.transpose(1, 2)).transpose(1, 2), mask)
        return vectors

    def decode(self, image: Mapping[str, Tensor], words: Tensor | None, mask: Tensor | None) -> Tensor:
        """What `encode` and `words` gave, row by row, to logits (B, outputs, h, w)."""
        down1 = self.downVit.Encoder_blocks(self._told(image["places"], words, mask))
        down2 = torch.cat([image["half2"], down1], dim=2)
        down3 = torch.cat([image["half3"], down2], dim=2)
        down4 = torch.cat([image["half4"], down3], dim=2)
        up4 = self.upVit3.Encoder_blocks(down4)
        up3 = self.upVit2.joined(down3, up4)
        up2 = self.upVit1.joined(down2, up3)
        up1 = self.upVit.joined(down1, up2)
        x = self.up4(image["map5"], self.reconstruct4(up4) + image["map4"])
        x = self.up3(x, self.reconstruct3(up3) + image["map3"])
        x = self.up2(x, self.reconstruct2(up2) + image["map2"])
        x = self.up1(x, self.reconstruct1(up1) + image["map1"])
        logits: Tensor = self.outc(x)
        return logits

    def _told(self, places: Tensor, words: Tensor | None, mask: Tensor | None) -> Tensor:
        """The places of the first scale with what words say."""
        if words is None or mask is None:
            return places
        told: Tensor
        told = self.downVit.CTBN3(words) if self.reader is None else self.reader(places, words, mask)
        return places + told

    def parts(self) -> dict[str, list[nn.Module]]:
        """By part what trains; what no logit depends on is in none.

        The way down is the image encoder, what turns the vectors of words into what places read is `words`, which
        trains with frozen encoders, too, and the way up the decoder.
        """
        down = [self.downVit, self.downVit1, self.downVit2, self.downVit3]
        up = [self.upVit, self.upVit1, self.upVit2, self.upVit3]
        encoder = [module for branch in down for module in branch.read("CTBN3")]
        decoder = [module for branch in up for module in branch.read()]
        decoder += [module for step in (self.up1, self.up2, self.up3, self.up4) for module in step.read()]
        ends = [self.reconstruct1, self.reconstruct2, self.reconstruct3, self.reconstruct4, self.outc]
        parts = {
            "image_encoder": [self.inc, self.down1, self.down2, self.down3, self.down4, *encoder],
            "mask_decoder": [*decoder, *ends],
        }
        if self.shape.text is None:
            return parts
        reader: nn.Module = self.downVit.CTBN3 if self.reader is None else self.reader
        words: list[nn.Module] = [self.text_module1, self.text_module2, self.text_module3, self.text_module4, reader]
        return {**parts, "words": words}


def _only(vectors: Tensor, mask: Tensor) -> Tensor:
    """Vectors (B, L, C), zero where `mask` (B, L) says that there is no word."""
    return torch.where(mask[..., None], vectors, torch.zeros_like(vectors))
