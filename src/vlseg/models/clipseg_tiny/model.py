"""clipseg-tiny in the segmenter's steps."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from vlseg.models.clipseg_tiny.decoder import MaskDecoder
from vlseg.models.clipseg_tiny.image import STRIDE, ImageEncoder
from vlseg.models.clipseg_tiny.text import TextEncoder
from vlseg.models.clipseg_tiny.tokenizer import hash_prompts, portable_words
from vlseg.models.folder import our_part, write_model
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class ClipSegTiny(nn.Module):
    """Convolutional image encoder, hashed words, FiLM decoder. The image is encoded once for all prompts."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.image_encoder = ImageEncoder()
        self.text_encoder = TextEncoder()
        self.mask_decoder = MaskDecoder()

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input, shifted and scaled to about [-2, 2]."""
        return resize_and_normalise(rgb, self.spec.image_size, MEAN, STD)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W), 0/1, to (B, 1, h, w) in [0, 1]."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Sentences to `buckets` (B, 78, 2); words behind the 77th are cut."""
        return hash_prompts(prompts)

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """`fine` (B, 16, h/2, w/2) and `coarse` (B, 64, h/4, w/4)."""
        fine, coarse = self.image_encoder(inputs.tensors["pixel_values"])
        return ImageFeatures({"fine": fine, "coarse": coarse})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        """`sentence` (B, 96)."""
        if tokens is None:
            raise ValueError("clipseg-tiny needs tokens; call tokenize first")
        return PromptFeatures({"sentence": self.text_encoder(tokens.tensors["buckets"])})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, 1, h, w); presence (B,) is the largest of them: the thing is there where it is seen."""
        if prompts is None:
            raise ValueError("clipseg-tiny needs prompt features; call encode_prompts first")
        features = image.tensors
        logits = self.mask_decoder(features["fine"], features["coarse"], prompts.tensors["sentence"])
        return Output(logits, presence=logits.flatten(1).amax(dim=1))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; every parameter is in one."""
        return {
            "image_encoder": [self.image_encoder],
            "text_encoder": [self.text_encoder],
            "mask_decoder": [self.mask_decoder],
        }

    def portable(self) -> Portable:
        """Stretched images, hashed words."""
        return Portable(MEAN, STD, words=portable_words(), any_size=STRIDE)

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors; the tokenizer needs no file."""
        arguments = {"image_size": self.spec.image_size[0]}
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
