"""CRIS."""

from vlseg.models.cris.build import build_cris, load_cris
from vlseg.models.cris.model import Cris

__all__ = ["Cris", "build_cris", "load_cris"]
