"""Image steps shared by the models: to the network's size and back."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vlseg.models.protocol import ImageSize, Inputs

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resize_and_normalise(rgb: Sequence[Tensor], size: ImageSize, mean: Sequence[float], std: Sequence[float]) -> Inputs:
    """Images (3, H_i, W_i) in [0, 1] to `pixel_values` (B, 3, h, w) and `original_size` (B, 2).

    Antialiased bilinear resize that ignores the aspect ratio, as the published code does.
    Differentiable.
    """
    resized = [
        image
        if tuple(image.shape[-2:]) == size
        else F.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
        for image in rgb
    ]
    pixels = torch.stack(resized)
    shift, scale = (torch.tensor(v, dtype=pixels.dtype, device=pixels.device) for v in (mean, std))
    sizes = torch.tensor([image.shape[-2:] for image in rgb], device=pixels.device)
    return Inputs({"pixel_values": (pixels - shift[:, None, None]) / scale[:, None, None], "original_size": sizes})


def restore_bilinear(logits: Tensor, inputs: Inputs) -> list[Tensor]:
    """Logits (B, C, h, w) to a list of (C, H_i, W_i) at the images' original sizes, in float32."""
    return [
        F.interpolate(row[None].float(), size=(int(h), int(w)), mode="bilinear", align_corners=False)[0]
        for row, (h, w) in zip(logits, inputs.tensors["original_size"].tolist(), strict=True)
    ]


def resize_masks(masks: Sequence[Tensor], size: ImageSize) -> Tensor:
    """Masks (H_i, W_i), 0/1, to (B, 1, h, w) in [0, 1] with the geometry of `resize_and_normalise`.

    Antialiased, not thresholded: a small object keeps its share of a coarse pixel.
    """
    return torch.stack(
        [
            mask[None].float()
            if tuple(mask.shape) == size
            else F.interpolate(mask[None, None].float(), size=size, mode="bilinear", antialias=True)[0]
            for mask in masks
        ]
    )
