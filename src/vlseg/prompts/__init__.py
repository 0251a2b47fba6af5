"""Text and where its words come from. Strings only."""

from vlseg.prompts.annotate import Prompted, PromptRow, annotate, describe, resolve_name, select, sources_of
from vlseg.prompts.compose import compose
from vlseg.prompts.mirror import mirrored, names_a_place

__all__ = [
    "PromptRow",
    "Prompted",
    "annotate",
    "compose",
    "describe",
    "mirrored",
    "names_a_place",
    "resolve_name",
    "select",
    "sources_of",
]
