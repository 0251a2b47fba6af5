"""Readers, checks, phantoms: free of torch."""

from vlseg.data.ceiling import best_text_blind_mask, text_blind_ceiling
from vlseg.data.check import Finding, check_dataset, count_by_severity
from vlseg.data.images import open_image, read_image
from vlseg.data.masks import foreground, mask_values, read_mask
from vlseg.data.phantoms import PhantomSummary, write_phantoms
from vlseg.data.read import load_image, load_mask, read_dataset, with_mask_max

__all__ = [
    "Finding",
    "PhantomSummary",
    "best_text_blind_mask",
    "check_dataset",
    "count_by_severity",
    "foreground",
    "load_image",
    "load_mask",
    "mask_values",
    "open_image",
    "read_dataset",
    "read_image",
    "read_mask",
    "text_blind_ceiling",
    "with_mask_max",
    "write_phantoms",
]
