"""The U-Nets in the segmenter's steps: the controls that read no text."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vlseg.models.folder import our_part, write_model
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens
from vlseg.models.unet.network import STRIDE, Decoder, Encoder
from vlseg.records import unknown_name

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
STEERING = 16
"""Width of a target's embedding."""


class _Steps(nn.Module):
    """What both have in common: images in, logits back to size, saving."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Encoder()

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input, shifted and scaled to about [-2, 2]."""
        return resize_and_normalise(rgb, self.spec.image_size, MEAN, STD)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W), 0/1, to (B, 1, h, w) in [0, 1]."""
        return resize_masks(masks, self.spec.image_size)

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """Four maps, `stage0` at half the side to `stage3` at a sixteenth."""
        features: ImageFeatures = self.encoder(inputs.tensors["pixel_values"])
        return features

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def portable(self) -> Portable:
        """Stretched images."""
        return Portable(MEAN, STD, any_size=STRIDE)

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors."""
        arguments = {"image_size": self.spec.image_size[0]}
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())


class UNet(_Steps):
    """Image-only: channel i of the logits is the mask of spec.targets[i]."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.decoder = Decoder(len(spec.targets))

    def tokenize(self, prompts: Sequence[str]) -> None:
        """No text is read."""
        return

    def encode_prompts(self, tokens: Tokens | None) -> None:
        """No text is read."""
        return

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None = None) -> Output:
        """Logits (B, number of targets, h, w)."""
        return Output(self.decoder(image))

    def forward(self, inputs: Inputs, tokens: Tokens | None = None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; every parameter is in one."""
        return {"image_encoder": [self.encoder], "mask_decoder": [self.decoder]}


class TargetUNet(_Steps):
    """Told which target to segment by a learned embedding; the control for "reads language"."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.embedding = nn.Embedding(len(spec.targets), STEERING)
        self.decoder = Decoder(1, STEERING)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Names of targets to `target` (B,), their indices.

        Raises:
            InputError: a name the model was not built for; the known ones are listed.
        """
        for name in prompts:
            if name not in self.spec.targets:
                raise unknown_name("target", name, self.spec.targets)
        indices = [self.spec.targets.index(name) for name in prompts]
        return Tokens({"target": torch.tensor(indices, dtype=torch.int64)})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        """`steering` (B, 16)."""
        if tokens is None:
            raise ValueError("unet-target needs tokens; call tokenize with names of targets first")
        return PromptFeatures({"steering": self.embedding(tokens.tensors["target"])})

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """Logits (B, 1, h, w)."""
        if prompts is None:
            raise ValueError("unet-target needs prompt features; call encode_prompts first")
        return Output(self.decoder(image, prompts.tensors["steering"]))

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; every parameter is in one."""
        return {"image_encoder": [self.encoder], "mask_decoder": [self.decoder, self.embedding]}

    def portable(self) -> Portable:
        """Stretched images, names of targets."""
        words = {"kind": "targets", "targets": list(self.spec.targets)}
        return Portable(MEAN, STD, words=words, any_size=STRIDE)
