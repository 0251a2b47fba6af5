"""Two U-Nets of one budget: image-only, and steered by the name of a target."""

from vlseg.models.unet.build import build_unet, build_unet_target
from vlseg.models.unet.model import TargetUNet, UNet

__all__ = ["TargetUNet", "UNet", "build_unet", "build_unet_target"]
