"""CLIPSeg."""

from vlseg.models.clipseg.build import build_clipseg, load_clipseg, refined_config
from vlseg.models.clipseg.model import ClipSeg

__all__ = ["ClipSeg", "build_clipseg", "load_clipseg", "refined_config"]
