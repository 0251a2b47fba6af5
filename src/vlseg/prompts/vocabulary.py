"""The words and sentences that a model was trained with: only those that several patients share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from rapidfuzz import fuzz, process, utils

from vlseg.prompts.annotate import Prompted
from vlseg.prompts.meaning import split_words, words_of

SHARED_BY = 5
"""Patients (images where they are unknown) that a word or sentence must occur with to be kept: one that fewer have
could say who it is about."""
MOST_PROMPTS = 200
FUNCTION_WORDS = frozenset("a an the this that these those is are there of in on at to with".split())
"""English words that name nothing: marked as unknown they teach people to pass over the mark. Words that deny (no, not,
without), join (and, or), count or say where (left, above) are not among them, as they change what is asked for."""
LIKENESS = 50.0
"""Of suggestions, from 0 to 100."""


@dataclass(frozen=True)
class Vocabulary:
    """Words in lower case, sorted; prompts as written, most frequent first; names of targets.

    `shared_by` is how many patients have each of the words and prompts at least; names of targets are kept whatever
    their number.
    """

    words: tuple[str, ...]
    prompts: tuple[str, ...]
    targets: tuple[str, ...]
    shared_by: int = SHARED_BY

    def unknown(self, prompt: str) -> list[str]:
        """The prompt's words, in order and in lower case, that are neither among those kept nor FUNCTION_WORDS."""
        known = FUNCTION_WORDS.union(self.words)
        return [word for word in dict.fromkeys(split_words(prompt)) if word not in known]

    def suggest(self, text: str, n: int = 5) -> list[str]:
        """Up to n prompts and targets most like what was typed; the most frequent ones for nothing."""
        choices = list(dict.fromkeys([*self.prompts, *self.targets]))
        if not split_words(text):
            return choices[:n]
        found = process.extract(
            text, choices, scorer=fuzz.WRatio, processor=utils.default_process, limit=n, score_cutoff=LIKENESS
        )
        return [choice for choice, _, _ in found]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "words": list(self.words),
            "prompts": list(self.prompts),
            "targets": list(self.targets),
            "shared_by": self.shared_by,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `to_json` gave. Raises KeyError or TypeError for anything else."""
        words, prompts, targets = (tuple(map(str, values[name])) for name in ("words", "prompts", "targets"))
        return cls(words, prompts, targets, int(values["shared_by"]))


def vocabulary_of(
    trained: Sequence[Prompted], targets: Sequence[str], *, reads_text: bool, shared_by: int = SHARED_BY
) -> Vocabulary:
    """Of the samples that a model was trained on.

    Args:
        trained: with every wording that training may have shown.
        targets: names of the datasets' targets.
        reads_text: False for models that are told a target or nothing: their words are those of the targets.
        shared_by: see `Vocabulary`.
    """
    named = {word for target in targets for word in words_of(target)}
    words: dict[str, set[tuple[str, str]]] = {}
    prompts: dict[str, set[tuple[str, str]]] = {}
    for item in trained if reads_text else ():
        sample = item.sample
        patient = (sample.dataset, sample.group if sample.group is not None else f"image {sample.image_id}")
        for wording in item.wordings:
            prompts.setdefault(wording.strip(), set()).add(patient)
            for word in words_of(wording):
                words.setdefault(word, set()).add(patient)
    shared = [word for word, patients in words.items() if len(patients) >= shared_by]
    common = [text for text, patients in prompts.items() if text and len(patients) >= shared_by]
    common.sort(key=lambda text: (-len(prompts[text]), text))
    return Vocabulary(tuple(sorted({*shared, *named})), tuple(common[:MOST_PROMPTS]), tuple(targets), shared_by)
