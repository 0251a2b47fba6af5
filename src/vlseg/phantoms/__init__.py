"""Made-up datasets on which words matter, their prompts and their truths."""

from vlseg.phantoms.dataset import PhantomSummary, write_phantoms

__all__ = ["PhantomSummary", "write_phantoms"]
