"""BiomedCLIPSeg."""

from vlseg.models.biomedclipseg.build import build_biomedclipseg, load_biomedclipseg
from vlseg.models.biomedclipseg.model import BiomedClipSeg

__all__ = ["BiomedClipSeg", "build_biomedclipseg", "load_biomedclipseg"]
