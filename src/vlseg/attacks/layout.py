"""How a model's own `prepare` lays an image out in the network's input, and what it makes of its colours.

`prepare` is opaque: normalisation, order of channels, letterbox and members are the model's own. Where it does no more
than resize, letterbox and weigh channels, what black, red, green and blue become tells all of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlseg.models import Inputs, Segmenter

CLOSE = 1e-4
"""Of weights of one channel at two places, how far they may be apart."""


class NotPlainError(ValueError):
    """A `prepare` that does more than resize, letterbox and weigh channels; the message says what."""


@dataclass(frozen=True)
class Layout:
    """Of one tensor of the input, for images of one size.

    Attributes:
        box: rows and columns where the image lies; around them is padding.
        weights: (3, 3), what red, green and blue add to each channel of the input.
        black: (3, h, w), what black becomes inside the box.
    """

    box: tuple[slice, slice]
    weights: Tensor
    black: Tensor


def pixel_names(inputs: Inputs, model: Segmenter) -> list[str]:
    """The names of the tensors that hold the image at the network's size.

    Raises:
        NotPlainError: there is none.
    """
    found = [
        name
        for name, tensor in inputs.tensors.items()
        if tensor.is_floating_point()
        and tensor.ndim == 4
        and tensor.shape[1] == 3
        and tuple(tensor.shape[-2:]) == tuple(model.spec.image_size)
    ]
    if not found:
        raise NotPlainError("its inputs hold no image of its size")
    return found


def layout_of(model: Segmenter, rgb: Tensor, name: str) -> Layout:
    """The layout of images of the size of `rgb` (3, H, W) in the input's tensor `name`.

    Raises:
        NotPlainError: the tensor does not depend on the pixels, or channels are not weighed alike everywhere.
    """
    black, gains = _probed(model, rgb, name)
    inside = gains.abs().amax((0, 1)) > 0
    rows, columns = (torch.nonzero(inside.any(axis)).flatten() for axis in (1, 0))
    if len(rows) == 0:
        raise NotPlainError("its input does not depend on the pixels")
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    gains = gains[..., *box]
    weights = gains.flatten(2).mean(2)
    if bool((gains - weights[..., None, None]).abs().max() > CLOSE) or bool(torch.linalg.det(weights).abs() < CLOSE):
        raise NotPlainError("its channels are not weighed alike everywhere")
    return Layout(box, weights, black[..., *box])


def _probed(model: Segmenter, rgb: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """What black becomes, (3, h, w), and what red, green and blue add to it, (3, 3, h, w)."""
    colours = torch.cat([rgb.new_zeros(1, 3), torch.eye(3, dtype=rgb.dtype, device=rgb.device)])
    plain = [colour[:, None, None].expand_as(rgb).contiguous() for colour in colours]
    found = model.prepare(plain).tensors[name]
    return found[0], found[1:] - found[0]
