"""The image encoder: any of timm's networks that halve an image down to strides 4, 8, 16 and 32."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from vlseg.models.folder import load_strictly
from vlseg.models.tensors import network_in
from vlseg.records import InputError

STRIDES = (4, 8, 16, 32)
CLASSIFIERS = ("fc.", "_fc.", "classifier.", "last_linear.", "head.")


class Pyramid(nn.Module):
    """Pixels (B, 3, H, W) to the maps at `STRIDES`, finest first, with what the encoder expects of an image.

    `mean` and `std` are those that timm's configuration of the encoder names: they belong to its published weights.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = _features(name)
        info = self.network.feature_info
        reductions = list(info.reduction())
        if any(reductions.count(stride) != 1 for stride in STRIDES):
            raise InputError(
                f"encoder: '{name}' has maps at strides {', '.join(map(str, reductions))}; guide needs one each at "
                f"{', '.join(map(str, STRIDES))}: take tf_efficientnet_lite0, resnet18 or convnext_atto"
            )
        self.levels = [reductions.index(stride) for stride in STRIDES]
        self.channels = [int(info.channels()[level]) for level in self.levels]
        self.ends = [str(info.module_name(level)).replace(".", "_") for level in self.levels]
        self.channels_last = str(getattr(self.network, "output_fmt", "NCHW")).endswith("NHWC")
        self.mean, self.std = (tuple(self.network.pretrained_cfg[key]) for key in ("mean", "std"))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Maps (B, channels[i], H / STRIDES[i], W / STRIDES[i])."""
        maps = self.network(pixels)
        chosen = [maps[level] for level in self.levels]
        return [one.movedim(-1, 1).contiguous() for one in chosen] if self.channels_last else chosen

    def last_stages(self, count: int) -> list[nn.Module]:
        """What computes the `count` coarsest maps from the one before them; all of it where `count` is their number."""
        if count == len(STRIDES):
            return [self.network]
        units = self._units()
        names = [name for name, _ in units]
        first = 1 + names.index(self.ends[-count - 1]) if count else len(units)
        return [module for _, module in units[first:] if any(True for _ in module.parameters())]

    def _units(self) -> list[tuple[str, nn.Module]]:
        """The pieces of the network in order, fine enough that each map is the output of one."""
        units: list[tuple[str, nn.Module]] = []
        for name, child in self.network.named_children():
            inside = any(end.startswith(f"{name}_") for end in self.ends)
            parts = child.named_children() if inside else [("", child)]
            units += [(f"{name}_{part}".rstrip("_"), module) for part, module in parts]
        return units


def try_size(pyramid: Pyramid, image_size: int) -> None:
    """Timm's transformers take one size only, and say so when they are run.

    Raises:
        InputError: the encoder does not take images of that size.
    """
    try:
        with torch.no_grad():
            pyramid.eval()(torch.zeros(1, 3, image_size, image_size))
    except (AssertionError, RuntimeError) as error:
        why = " ".join(str(error).split())[:120]
        raise InputError(f"image_size: {image_size} does not suit encoder '{pyramid.name}' ({why})") from error
    pyramid.train()


def fill_pyramid(pyramid: Pyramid, tensors: Mapping[str, Tensor], where: str) -> None:
    """The weights of timm's whole network of that name, with or without its classifier.

    Raises:
        InputError: tensors are missing, left over, of another shape or not finite.
    """
    whole = timm.create_model(pyramid.name, pretrained=False, num_classes=0)
    known = whole.state_dict()
    anchor = max((key for key in known if key.endswith(".weight")), key=len)
    found = network_in(tensors, (anchor,), where)
    if found is not None:  # of another encoder: the strict loading names what is wrong
        tensors = found.tensors
    kept = {key: tensor for key, tensor in tensors.items() if key in known or not key.startswith(CLASSIFIERS)}
    load_strictly(whole, kept, where)
    loaded = {key.replace(".", "_"): tensor for key, tensor in whole.state_dict().items()}
    ours = pyramid.network.state_dict()
    pyramid.network.load_state_dict({key: loaded[key.replace(".", "_")] for key in ours})


def _features(name: str) -> Any:
    try:
        return timm.create_model(name, features_only=True, pretrained=False)
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise InputError(
            f"encoder: '{name}' is no image pyramid of timm ({why}); take tf_efficientnet_lite0, resnet18 or "
            "convnext_atto"
        ) from error
