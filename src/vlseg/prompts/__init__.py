"""Text and where its words come from. Strings only."""

from vlseg.prompts.annotate import (
    Prompted,
    PromptRow,
    annotate,
    describe,
    resolve_name,
    select,
    sources_of,
    texts_of,
    with_targets,
)
from vlseg.prompts.meaning import meaning, same_words, synonyms
from vlseg.prompts.mirror import mirrored, mirrored_name, names_a_place
from vlseg.prompts.phrases import Phrase, other_values, phrases, with_words
from vlseg.prompts.proofread import TextCase, head_noun, mend, proofread
from vlseg.prompts.spelling import Spelling, known_words, spelling_of
from vlseg.prompts.template import BUILT_IN, Rendered, Template, read_template, render
from vlseg.prompts.variants import (
    FOREIGN,
    UNCOMMON,
    chooser,
    misspelt,
    negated,
    other_side,
    paraphrased,
    shuffled,
    translated,
)
from vlseg.prompts.vocabulary import Vocabulary, vocabulary_of

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
    "Vocabulary",
    "annotate",
    "chooser",
    "describe",
    "head_noun",
    "known_words",
    "meaning",
    "mend",
    "mirrored",
    "mirrored_name",
    "misspelt",
    "names_a_place",
    "negated",
    "other_side",
    "other_values",
    "paraphrased",
    "phrases",
    "proofread",
    "read_template",
    "render",
    "resolve_name",
    "same_words",
    "select",
    "shuffled",
    "sources_of",
    "spelling_of",
    "synonyms",
    "texts_of",
    "translated",
    "vocabulary_of",
    "with_targets",
    "with_words",
]
