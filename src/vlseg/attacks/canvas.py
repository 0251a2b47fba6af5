"""The image that an attack changes, and how it reaches the network.

`prepare` is affine in the pixels and opaque, so it is asked how it lays the image out (`layout`). At "input" the image
is solved from that and has the size at which it lies in the input, without padding. The network is given its own input
plus what `prepare` makes of the change; no change is no change to the last bit.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlseg.attacks.layout import CLOSE, NotPlainError, layout_of, pixel_names
from vlseg.attacks.plan import Place
from vlseg.models import Inputs, Rows, Segmenter
from vlseg.records import InputError


@dataclass(frozen=True)
class Canvas:
    """One image to attack.

    Attributes:
        image: (3, h, w), RGB in [0, 1].
        inputs: one row, the model's own for the image as it came.
        key: what random draws derive from: the values of the image as it came.
        again: one row, the model's for `image`; None at "native", where both are one.
    """

    image: Tensor
    inputs: Inputs
    key: str
    again: Inputs | None = None


def canvas_of(model: Segmenter, rgb: Tensor, place: Place) -> Canvas:
    """The image (3, H, W) as the attack changes it.

    In an ensemble "input" is the largest member's; the others get the change as their `prepare` resizes it.

    Raises:
        InputError: no RGB image in [0, 1]; or, at "input", a `prepare` that does more than resize, letterbox and weigh
            channels, or members that lay the image out differently.
    """
    _check(rgb)
    rgb = rgb.float()
    with torch.no_grad():
        inputs = model.prepare([rgb])
        if place == "native":
            return Canvas(rgb, inputs, key_of(rgb))
        try:
            name = pixel_names(inputs, model)[0]
            image = _solved(model, rgb, inputs.tensors[name], name)
        except NotPlainError as error:
            raise _refused(model, str(error)) from error
        again = model.prepare([image])
        if not _alike(model, rgb, image) or not _close(inputs.tensors[name], again.tensors[name]):
            raise _refused(model, "its members lay the image out in different ways, or it is not a plain resizing")
        return Canvas(image, inputs, key_of(rgb), again)


def inputs_of(model: Segmenter, canvases: Sequence[Canvas], images: Tensor) -> Inputs:
    """The network's inputs for images (B, 3, h, w), row i a change of canvas i. Differentiable."""
    prepared = model.prepare(list(images))
    if canvases[0].again is None:
        return prepared
    own = Rows.join([canvas.inputs for canvas in canvases])
    again = Rows.join([canvas.again for canvas in canvases if canvas.again is not None])
    return Inputs(
        {
            name: tensor + (prepared.tensors[name] - again.tensors[name]) if tensor.is_floating_point() else tensor
            for name, tensor in own.tensors.items()
        }
    )


def key_of(image: Tensor) -> str:
    """A name for an image by its values."""
    pixels = image.detach().cpu().contiguous()
    return hashlib.sha256(pixels.numpy().tobytes() + str(tuple(pixels.shape)).encode()).hexdigest()


def _check(rgb: Tensor) -> None:
    if rgb.ndim != 3 or rgb.shape[0] != 3 or not rgb.is_floating_point():
        raise InputError(f"image: must be (3, H, W) of floats, RGB in [0, 1], is {rgb.dtype} of {tuple(rgb.shape)}")
    if not bool(((rgb >= 0) & (rgb <= 1)).all()):
        raise InputError(
            f"image: values must be in [0, 1], are from {rgb.min():g} to {rgb.max():g}; divide by the range"
        )


def _solved(model: Segmenter, rgb: Tensor, pixels: Tensor, name: str) -> Tensor:
    """The image (3, h, w) at the size at which it lies in `pixels` (1, 3, H, W)."""
    layout = layout_of(model, rgb, name)
    values = (pixels[0][..., *layout.box] - layout.black).double()
    solved = torch.linalg.solve(layout.weights.T.double(), values.flatten(1)).reshape(values.shape)
    image: Tensor = solved.to(rgb.dtype).clamp(0, 1)
    return image


def _alike(model: Segmenter, rgb: Tensor, image: Tensor) -> bool:
    """Whether every tensor has its padding at the same places for both images' sizes."""
    laid = []
    for one in (rgb, image):
        white, black = (model.prepare([torch.full_like(one, value)]).tensors for value in (1.0, 0.0))
        laid.append({key: (white[key] - black[key]) != 0 for key in white if white[key].is_floating_point()})
    first, second = laid
    return all(torch.equal(first[key], second[key]) for key in first)


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= CLOSE)


def _refused(model: Segmenter, why: str) -> InputError:
    return InputError(f"place: 'input' cannot be found for {model.spec.name}: {why}; take 'native'")
