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
from vlseg.prompts.variants import (
    FOREIGN,
    UNCOMMON,
    Phrase,
    chooser,
    misspelt,
    negated,
    other_values,
    paraphrased,
    phrases,
    shuffled,
    translated,
    with_words,
)

__all__ = [
    "BUILT_IN",
    "FOREIGN",
    "UNCOMMON",
    "Phrase",
    "PromptRow",
    "Prompted",
    "Rendered",
    "Spelling",
    "Template",
    "TextCase",
    "annotate",
    "chooser",
    "describe",
    "head_noun",
    "mend",
    "mirrored",
    "misspelt",
    "names_a_place",
    "negated",
    "other_values",
    "paraphrased",
    "phrases",
    "proofread",
    "read_template",
    "render",
    "resolve_name",
    "select",
    "shuffled",
    "sources_of",
    "spelling_of",
    "translated",
    "with_targets",
    "with_words",
]
