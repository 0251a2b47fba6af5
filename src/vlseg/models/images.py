"""Image steps shared by the models: to the network's size and back."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vlseg.models.protocol import ImageSize, Inputs

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


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


def letterbox(rgb: Sequence[Tensor], size: ImageSize, mean: Sequence[float], std: Sequence[float]) -> Inputs:
    """As `resize_and_normalise`, but the aspect ratio is kept: centred, the rest filled with the mean (then 0)."""
    fitted = [
        resize_and_normalise([image], _fitted(image, size), mean, std).tensors["pixel_values"][0] for image in rgb
    ]
    sizes = torch.tensor([image.shape[-2:] for image in rgb], device=rgb[0].device)
    return Inputs({"pixel_values": torch.stack([_padded(image, size) for image in fitted]), "original_size": sizes})


def letterbox_masks(masks: Sequence[Tensor], size: ImageSize) -> Tensor:
    """Masks (H_i, W_i), 0/1, to (B, 1, h, w) in [0, 1] with the geometry of `letterbox`."""
    return torch.stack([_padded(resize_masks([mask], _fitted(mask, size))[0], size) for mask in masks])


def restore_letterboxed(logits: Tensor, inputs: Inputs) -> list[Tensor]:
    """Logits (B, C, h, w) without the filled borders, at the images' original sizes, in float32."""
    restored = []
    size = (logits.shape[-2], logits.shape[-1])
    for row, (height, width) in zip(logits, inputs.tensors["original_size"].tolist(), strict=True):
        rows, columns = _scaled((int(height), int(width)), size)
        top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
        inside = row[None, :, top : top + rows, left : left + columns].float()
        restored.append(F.interpolate(inside, size=(int(height), int(width)), mode="bilinear", align_corners=False)[0])
    return restored


def _scaled(original: ImageSize, size: ImageSize) -> ImageSize:
    scale = min(size[0] / original[0], size[1] / original[1])
    return max(1, min(size[0], round(original[0] * scale))), max(1, min(size[1], round(original[1] * scale)))


def _fitted(image: Tensor, size: ImageSize) -> ImageSize:
    return _scaled((image.shape[-2], image.shape[-1]), size)


def _padded(image: Tensor, size: ImageSize) -> Tensor:
    rows, columns = size[0] - image.shape[-2], size[1] - image.shape[-1]
    return F.pad(image, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
