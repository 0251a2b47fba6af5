"""Made-up datasets on which words matter, their prompts and their truths."""

from vlseg.phantoms.dataset import PhantomSummary, write_phantoms
from vlseg.phantoms.dressed import TINY_COUNTS, DressedSummary, dressed_names, write_dressed

__all__ = ["TINY_COUNTS", "DressedSummary", "PhantomSummary", "dressed_names", "write_dressed", "write_phantoms"]
