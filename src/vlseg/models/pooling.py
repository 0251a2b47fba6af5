"""One vector an image from what an encoder gives, whichever model it is."""

import torch
from torch import Tensor

from vlseg.models.protocol import ImageFeatures, ImageSize

FEWEST_CHANNELS = 8
"""Maps with fewer channels are the picture itself, which some decoders are handed as well."""
ALIKE = 0.05
"""How far the ratio of a map's sides may be from the input's."""


def pooled_features(features: ImageFeatures, image_size: ImageSize) -> Tensor | None:
    """Every feature's mean over the places of the image.

    Maps (B, C, h, w) give C numbers, outputs of blocks (B, blocks, tokens, width) blocks * width, tokens
    (B, tokens, width) width, vectors all of theirs. Maps that are the picture are left out.

    Args:
        features: of B images.
        image_size: the network's input (h, w).

    Returns:
        (B, D) float32 on the CPU; None where nothing is left.
    """
    found = [_pooled(tensor.float(), image_size) for _, tensor in sorted(features.tensors.items()) if _told(tensor)]
    vectors = [vector for vector in found if vector is not None]
    return torch.cat(vectors, dim=1).cpu() if vectors else None


def _told(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and 2 <= tensor.ndim <= 4


def _pooled(tensor: Tensor, image_size: ImageSize) -> Tensor | None:
    if tensor.ndim == 2:
        return tensor
    if tensor.ndim == 3:
        return tensor.mean(dim=1)
    if tensor.shape[1] >= FEWEST_CHANNELS:
        return tensor.mean(dim=(2, 3))
    (height, width), sides = tensor.shape[2:], image_size[0] / image_size[1]
    if abs(height / width / sides - 1) < ALIKE:
        return None
    return tensor.mean(dim=2).flatten(1)
