"""U-Net, U-Net++ and DeepLabV3+ of segmentation-models-pytorch."""

from vlseg.models.smp.build import build_smp, load_smp
from vlseg.models.smp.model import SmpModel

__all__ = ["SmpModel", "build_smp", "load_smp"]
