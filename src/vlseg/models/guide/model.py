"""guide in the segmenter's steps: image and words are encoded apart, so both can be kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.folder import our_part, write_model
from vlseg.models.guide.decoder import Decoder
from vlseg.models.guide.image import STRIDES, Pyramid
from vlseg.models.guide.text import HashedWords, Sentences
from vlseg.models.guide.twins import Nothing, TargetTokens
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import TOKENIZER, Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens

Words = Sentences | HashedWords | Nothing | TargetTokens


class Guide(nn.Module):
    """A pyramid, something that tells what to look for, and a decoder.

    `arguments` build it again; `trainable_stages` of the pyramid, the coarsest ones, count as its image encoder.
    """

    def __init__(
        self, pyramid: Pyramid, words: Words, spec: Spec, trainable_stages: int, arguments: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.spec = spec
        self._trainable_stages = trainable_stages
        self._arguments = dict(arguments)
        self.image_encoder = pyramid
        self.words = words
        outputs = 1 if spec.uses_text or spec.uses_target else len(spec.targets)
        self.mask_decoder = Decoder(pyramid.channels, words.width, outputs)

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input with the encoder's own mean and deviation."""
        return resize_and_normalise(rgb, self.spec.image_size, self.image_encoder.mean, self.image_encoder.std)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W), 0/1, to (B, 1, h, w) in [0, 1]."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> Tokens | None:
        """Sentences, or names of targets, to tokens; None where nothing is told."""
        return self.words.tokenize(prompts)

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """`stride4` to `stride32`: the maps (B, channels, h / stride, w / stride)."""
        maps = self.image_encoder(inputs.tensors["pixel_values"])
        return ImageFeatures({f"stride{stride}": one for stride, one in zip(STRIDES, maps, strict=True)})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures | None:
        """`vectors` (B, L, D) and `words` (B, L) bool, of one length for all prompts; None where nothing is told."""
        if isinstance(self.words, Nothing):
            return None
        if tokens is None:
            raise ValueError("guide needs tokens; call tokenize first")
        vectors, words = self.words(tokens)
        return PromptFeatures({"vectors": vectors, "words": words})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, C, h, w); presence (B,) is the largest of them: the thing is there where it is seen."""
        maps = [image.tensors[f"stride{stride}"] for stride in STRIDES]
        if isinstance(self.words, Nothing):
            vectors, words = self.words.for_images(maps[0].shape[0])  # no len(): it fixes the number in a graph
        elif prompts is None:
            raise ValueError("guide needs prompt features; call encode_prompts first")
        else:
            vectors, words = prompts.tensors["vectors"], prompts.tensors["words"]
        quarter = self.mask_decoder(maps, vectors, words)
        logits = F.interpolate(quarter, size=self.spec.image_size, mode="bilinear", align_corners=False)
        return Output(logits, presence=logits.flatten(1).amax(dim=1))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; stages of the pyramid that are never to train are in none.

        Hashed words are a part of their own, `words`: they have no published weights, so `freeze_encoders` trains them.
        """
        parts: dict[str, list[nn.Module]] = {"mask_decoder": [self.mask_decoder]}
        parts.setdefault(self.words.part, []).append(self.words)
        stages = self.image_encoder.last_stages(self._trainable_stages)
        return {"image_encoder": stages, **parts} if stages else parts

    def sides(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """The whole pyramid, whatever of it may train, and what tells: the twins share images' features."""
        return [self.image_encoder], [self.words]

    def portable(self) -> Portable:
        """Stretched images; words by what tells."""
        words = self.words
        tokenizers = {TOKENIZER: words.tokenizer} if isinstance(words, Sentences) else {}
        encoder = self.image_encoder
        return Portable(encoder.mean, encoder.std, words=words.portable_words(), tokenizers=tokenizers)

    def save(self, folder: Path) -> None:
        """config.json, model.safetensors and, of a text encoder, its configuration and tokenizer."""
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, self._arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
        self.words.save(folder)
