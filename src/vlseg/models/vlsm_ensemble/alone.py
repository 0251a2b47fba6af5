"""UNet-D alone, in the segmenter's steps: the part of VLSM-Ensemble that reads no text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlseg.models.folder import our_part, write_model
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Spec, Tokens
from vlseg.models.vlsm_ensemble.unet_d import DOWN, STRIDE, UNetD

NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
"""The published code divides by 255 and leaves it at that."""


class LoneUNetD(nn.Module):
    """Image-only: channel i of the logits is the mask of spec.targets[i]."""

    def __init__(self, network: UNetD, spec: Spec, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.arguments = dict(arguments)

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1] to the square input, in [0, 1]."""
        return resize_and_normalise(rgb, self.spec.image_size, NO_MEAN, NO_STD)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) to (B, 1, h, w)."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> None:
        """No text is read."""
        return

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """Four maps, `stage1` at half the side to `stage4` at a sixteenth."""
        maps = self.network.encode(inputs.tensors["pixel_values"])
        return ImageFeatures({f"stage{number}": one for number, one in enumerate(maps, 1)})

    def encode_prompts(self, tokens: Tokens | None) -> None:
        """No text is read."""
        return

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None = None) -> Output:
        """Logits (B, number of targets, h, w)."""
        return Output(self.network.decode([image.tensors[f"stage{number + 1}"] for number in range(len(DOWN))]))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None = None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; `outconv2` is in none."""
        return {"image_encoder": self.network.encoder(), "mask_decoder": self.network.decoder()}

    def portable(self) -> Portable:
        """Stretched images."""
        return Portable(NO_MEAN, NO_STD, any_size=STRIDE)

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors."""
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, self.arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())
