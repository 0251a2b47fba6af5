"""LViT (Li et al., IEEE TMI 2023) in the segmenter's steps.

Protocols, which belong to the weights. `published`: ten words, mixed as channels, into places of which the weights fix
the number; channels in the order blue, green, red; a pixel of the network's grid is foreground where one of the four
nearest of the mask is, so that objects grow. `corrected`: any number of words, padding left out; any input of multiples
of 16; red, green, blue; masks that neither grow nor shrink.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.folder import our_part, write_model
from vlseg.models.guide.decoder import longest
from vlseg.models.guide.text import HashedWords, Sentences
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.lvit.network import Network
from vlseg.models.lvit.text import TenWords
from vlseg.models.lvit.unet import UNet
from vlseg.models.portable import TOKENIZER, Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens
from vlseg.records import InputError

Words = Sentences | HashedWords | TenWords
VISIBLE = 0.5 / 255
"""Of a mask of 0 and 255 in 8 bit, less than this share of a pixel is rounded away."""


class Lvit(nn.Module):
    """A network, LViT's or its U-Net, the encoder of its words (None: it reads none), and what builds it again.

    `random_part` is what the weights that were loaded lack.
    """

    def __init__(self, network: Network | UNet, words: Words | None, spec: Spec, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.encoder = words
        self.spec = spec
        self.random_part: str | None = None
        self._arguments = dict(arguments)

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input; its values stay in [0, 1]."""
        size = self.spec.image_size
        if self.spec.protocol != "published":
            return resize_and_normalise(rgb, size, (0.0,) * 3, (1.0,) * 3)
        pixels = torch.cat([_resized(image[None], self.spec) for image in rgb]).flip(1)
        sizes = torch.tensor([image.shape[-2:] for image in rgb], device=pixels.device)
        return Inputs({"pixel_values": pixels, "original_size": sizes})

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W), 0/1, to (B, 1, h, w) in [0, 1]; under `published` every pixel that is touched is 1."""
        if self.spec.protocol != "published":
            return resize_masks(masks, self.spec.image_size)
        return torch.cat([(_resized(mask[None, None].float(), self.spec) >= VISIBLE).float() for mask in masks])

    def tokenize(self, prompts: Sequence[str]) -> Tokens | None:
        """Sentences to the encoder's tokens; None where nothing is read."""
        return None if self.encoder is None else self.encoder.tokenize(prompts)

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """What does not depend on the text: see `Network.encode`."""
        return ImageFeatures(self.network.encode(inputs.tensors["pixel_values"]))

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures | None:
        """`vectors` (B, L, width) and `words` (B, L) bool, L the same for all prompts; None where nothing is read."""
        if self.encoder is None:
            return None
        if tokens is None:
            raise ValueError("lvit needs tokens; call tokenize first")
        assert isinstance(self.network, Network)  # a U-Net has no encoder of words
        vectors, words = self.encoder(tokens)
        length = longest(words)
        read = self.network.words(vectors[:, :length], words[:, :length])
        return PromptFeatures({"vectors": F.pad(read, (0, 0, 0, words.shape[1] - length)), "words": words})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, C, h, w): the published network's sigmoid is left to the caller."""
        if self.encoder is None:
            return Output(self.network.decode(image.tensors, None, None))
        if prompts is None:
            raise ValueError("lvit needs prompt features; call encode_prompts first")
        words = prompts.tensors["words"]
        length = longest(words)
        vectors = prompts.tensors["vectors"][:, :length]
        return Output(self.network.decode(image.tensors, vectors, words[:, :length]))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts (see `Network.parts`). A text encoder is in none: it stays as it came; hashed words train."""
        parts = self.network.parts()
        encoder = self.encoder.encoder if isinstance(self.encoder, TenWords) else self.encoder
        return {**parts, "words": [*parts["words"], encoder]} if isinstance(encoder, HashedWords) else parts

    def portable(self) -> Portable:
        """Stretched images in [0, 1], words by their encoder.

        Raises:
            InputError: under `published`.
        """
        if self.spec.protocol == "published":
            raise InputError(
                f"'{self.spec.name}' under 'published' cannot be exported as graphs: there is no runner for its "
                "blue-green-red images, resized without smoothing, and its ten words; --format hf keeps it whole"
            )
        assert not isinstance(self.encoder, TenWords)  # as above
        words = None if self.encoder is None else self.encoder.portable_words()
        tokenizers = {TOKENIZER: self.encoder.tokenizer} if isinstance(self.encoder, Sentences) else {}
        return Portable((0.0,) * 3, (1.0,) * 3, words=words, tokenizers=tokenizers)

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors and, of a text encoder, its configuration and tokenizer."""
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, self._arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
        if self.encoder is not None:
            self.encoder.save(folder)


def _resized(pixels: Tensor, spec: Spec) -> Tensor:
    """(1, C, H, W) to (1, C, h, w): between the four nearest pixels, as OpenCV does and the published code with it."""
    return F.interpolate(pixels, size=spec.image_size, mode="bilinear", align_corners=False)
