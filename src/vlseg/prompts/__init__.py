"""Text and where its words come from. Strings only."""

from vlseg.prompts.annotate import (
    Prompted,
    PromptRow,
    annotate,
    describe,
    resolve_name,
    select,
    sources_of,
    with_targets,
)
from vlseg.prompts.mirror import mirrored, names_a_place
from vlseg.prompts.proofread import TextCase, head_noun, mend, proofread
from vlseg.prompts.spelling import Spelling, spelling_of
from vlseg.prompts.template import BUILT_IN, Rendered, Template, read_template, render

__all__ = [
    "BUILT_IN",
    "PromptRow",
    "Prompted",
    "Rendered",
    "Spelling",
    "Template",
    "TextCase",
    "annotate",
    "describe",
    "head_noun",
    "mend",
    "mirrored",
    "names_a_place",
    "proofread",
    "read_template",
    "render",
    "resolve_name",
    "select",
    "sources_of",
    "spelling_of",
    "with_targets",
]
