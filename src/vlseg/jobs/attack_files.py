"""What is left of a change when the image is written to a file and read again; nothing is written to disk."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlseg.jobs.attack_plan import RoundTrip

JPEG_QUALITY = 75
"""Pillow's own, which whoever saves a .jpg without a thought gets."""


def after_file(image: Tensor, kind: RoundTrip) -> Tensor:
    """The image (3, H, W) as a file of 8 bits (PNG) or as a JPEG gives it back, in [0, 1] on the same device."""
    levels = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    if kind == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, format="JPEG", quality=JPEG_QUALITY)
        with Image.open(buffer) as file:
            levels = np.array(file.convert("RGB"))
    return (torch.from_numpy(levels).permute(2, 0, 1).to(image.dtype) / 255).to(image.device)
