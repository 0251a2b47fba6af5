"""clipseg-tiny: a small text-prompted segmenter that trains from scratch on a CPU in minutes."""

from vlseg.models.clipseg_tiny.build import build_clipseg_tiny
from vlseg.models.clipseg_tiny.model import ClipSegTiny

__all__ = ["ClipSegTiny", "build_clipseg_tiny"]
