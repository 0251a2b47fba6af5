"""EfficientNet-Lite0 as the package of its weights names it, under timm's names."""

import re
from collections.abc import Mapping
from pathlib import Path

from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from vlseg.models.tensors import read_tensors
from vlseg.records import InputError

ENCODERS = ("timm-tf_efficientnet_lite0", "tu-tf_efficientnet_lite0")
"""What the libraries call the network."""

DEPTHS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage (EfficientNet-B0's: Tan & Le 2019, table 1): the package counts through, timm by stage."""

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""In the first block, which does not widen its input."""
INSIDE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
AFTER_FEATURES = ("conv_head.", "bn2.", "classifier.")
"""How the layers behind the last stage start, by timm's names: a pyramid of features goes without them."""


def read_lite0(path: Path) -> dict[str, Tensor]:
    """All tensors by the names of timm's `tf_efficientnet_lite0`, the classifier's among them.

    The network takes RGB in [0, 1] less 0.5, over 0.5.

    Args:
        path: the package's file, or one with timm's names already.

    Raises:
        InputError: not readable, or a name that the package's network has not.
    """
    tensors = read_tensors(path)
    return timm_names(tensors, str(path)) if "_conv_stem.weight" in tensors else tensors


def timm_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The same tensors under timm's names, each by its layer's kind.

    Raises:
        InputError: a name that the table does not know, or two that come to the same.
    """
    renamed = {_timm_name(name): tensor for name, tensor in tensors.items()}
    if None in renamed or len(renamed) != len(tensors):
        unknown = [name for name in tensors if _timm_name(name) is None]
        raise InputError(
            f"{where}: is not EfficientNet-Lite0 as its package holds it: {len(unknown)} unknown tensors "
            f"({', '.join(unknown[:5])})"
        )
    return {str(name): tensor for name, tensor in renamed.items()}


def as_tensorflow(encoder: nn.Module) -> None:
    """Lets segmentation-models-pytorch's EfficientNet-Lite compute as TensorFlow's, which its weights come from.

    The library pads strided convolutions on all sides and divides with batch norm's usual 1e-5; the weights were
    trained with padding at the right and the bottom and with 1e-3, as timm has it. They fit either, and give other
    features.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.__class__ = Conv2dSame
            module.padding = (0, 0)
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3


def _timm_name(name: str) -> str | None:
    if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        block, layer, tensor = int(found[1]), found[2], found[3]
        theirs = (FIRST if block == 0 else INSIDE).get(layer)
        places = [(stage, index) for stage, depth in enumerate(DEPTHS) for index in range(depth)]
        if theirs is None or block >= len(places):
            return None
        stage, index = places[block]
        return f"blocks.{stage}.{index}.{theirs}.{tensor}"
    layer, _, tensor = name.partition(".")
    return f"{OUTSIDE[layer]}.{tensor}" if layer in OUTSIDE and tensor else None
