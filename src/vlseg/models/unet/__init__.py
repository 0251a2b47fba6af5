"""Two U-Nets of one budget: image-only, and steered by the name of a target."""

from vlseg.models.architecture import Architecture, later

_RECIPES = {"corrected": {"learning_rate": 2e-3, "presence_weight": 0.3}}

UNET = Architecture(
    about="a small U-Net that reads no text, a channel for each target: a control",
    build=later("vlseg.models.unet.build:build_unet"),
    recipes=_RECIPES,
)
UNET_TARGET = Architecture(
    about="the same U-Net, told the target by its number instead of by words: a control",
    build=later("vlseg.models.unet.build:build_unet_target"),
    recipes=_RECIPES,
)
