"""An image-only CNN of segmentation-models-pytorch in the segmenter's steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from vlseg.models.folder import our_part, write_model
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.models.portable import Portable
from vlseg.models.protocol import ImageFeatures, Inputs, Output, Spec

STRIDE = 32
"""The encoders halve the image five times."""
PADDED_BY_SIZE = (Conv2dSame, MaxPool2dSame, AvgPool2dSame)
"""Layers as TensorFlow pads them: torch takes minutes to write them for every size."""


class SmpModel(nn.Module):
    """Channel i of the logits is the mask of spec.targets[i]."""

    def __init__(self, network: Any, spec: Spec, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        # Convolutions are a fifth faster with the channels innermost, on CPUs and on GPUs.
        self.network = network.to(memory_format=torch.channels_last)
        self.spec = spec
        self.arguments = dict(arguments)

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """Images (3, H, W) in [0, 1], stretched to the square, normalised as the encoder's weights were trained."""
        pixels = self.arguments["normalisation"]
        return resize_and_normalise(rgb, self.spec.image_size, pixels["mean"], pixels["std"])

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """Masks (H, W) to (B, 1, h, w)."""
        return resize_masks(masks, self.spec.image_size)

    def tokenize(self, prompts: Sequence[str]) -> None:
        """No text is read."""
        return

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """The encoder's maps, `stage0` (the padded input itself) to the coarsest."""
        pixels = inputs.tensors["pixel_values"]
        height, width = pixels.shape[-2:]
        # Zero is the mean colour; the border is cut off again after decoding.
        padded = F.pad(pixels, (0, -width % STRIDE, 0, -height % STRIDE)).contiguous(memory_format=torch.channels_last)
        return ImageFeatures({f"stage{number}": stage for number, stage in enumerate(self.network.encoder(padded))})

    def encode_prompts(self, tokens: object) -> None:
        """No text is read."""
        return

    def decode(self, image: ImageFeatures, prompts: object = None) -> Output:
        """Logits (B, number of targets, h, w)."""
        # Features read from disk give the same bits only in the same order in memory.
        stages = [
            image.tensors[f"stage{number}"].contiguous(memory_format=torch.channels_last)
            for number in range(len(image.tensors))
        ]
        logits = self.network.segmentation_head(self.network.decoder(stages))
        height, width = self.spec.image_size
        return Output(logits[..., :height, :width] if self._is_padded() else logits)

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: object = None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Trainable parts; every parameter is in one."""
        decoder = [self.network.decoder, self.network.segmentation_head]
        return {"image_encoder": [self.network.encoder], "mask_decoder": decoder}

    def portable(self) -> Portable:
        """Stretched images; every size where neither the input nor a layer is padded by its size."""
        pixels = self.arguments["normalisation"]
        fixed = self._is_padded() or any(isinstance(module, PADDED_BY_SIZE) for module in self.network.modules())
        return Portable(pixels["mean"], pixels["std"], any_size=0 if fixed else STRIDE)

    def save(self, folder: Path) -> None:
        """config.json and model.safetensors."""
        part = our_part(self.spec.name, self.spec.protocol, self.spec.targets, self.arguments)
        write_model(folder, {"vlseg": part}, self.state_dict())

    def _is_padded(self) -> bool:
        return any(side % STRIDE for side in self.spec.image_size)


class LoneNorm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch holds one value per channel: there is no spread."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w)."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def lone_pooling(network: Any) -> Any:
    """DeepLabV3+ pools a map to one pixel before a batch norm, which a batch of one image would break."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = LoneNorm
    return network
