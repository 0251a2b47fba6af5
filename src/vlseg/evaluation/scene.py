"""What the queries of a probe are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlseg.prompts import Phrase, Prompted, phrases, resolve_name
from vlseg.records import Dataset


@dataclass(frozen=True)
class Scene:
    """What the queries of one dataset are made from.

    Attributes:
        dataset: for what its prompt names hold.
        prompted: the samples to ask about, with a truth.
        masks: (H, W) bool by sample id.
        seed: of every choice.
        whole: all samples of the split, whose words, values and images are chosen from, so that asking about fewer of
            them asks the same; default: those asked about.
    """

    dataset: Dataset
    prompted: Sequence[Prompted]
    masks: Mapping[str, np.ndarray]
    seed: int
    whole: Sequence[Prompted] = ()

    @property
    def all(self) -> Sequence[Prompted]:
        """What is chosen from."""
        return self.whole or self.prompted

    @cached_property
    def of_image(self) -> Mapping[str, Sequence[Prompted]]:
        """The samples to ask about by image."""
        found: dict[str, list[Prompted]] = {}
        for item in self.prompted:
            found.setdefault(item.sample.image_id, []).append(item)
        return found

    @cached_property
    def known(self) -> Mapping[str, Sequence[Phrase]]:
        """The phrases of every sample's prompt by sample id."""
        key = resolve_name(self.dataset, self.all[0].prompt) if self.all else None
        return {one.sample.id: phrases(self.dataset, one.sample, key, one.wordings[0]) for one in self.all}

    @cached_property
    def values(self) -> Sequence[Phrase]:
        """One phrase of each value of each attribute."""
        found = {(phrase.attribute, phrase.words): phrase for own in self.known.values() for phrase in own}
        return list(found.values())

    @cached_property
    def texts(self) -> Mapping[str | None, Mapping[str, Sequence[Prompted]]]:
        """The samples by target and prompt; prompts that name something, sorted."""
        found: dict[str | None, dict[str, list[Prompted]]] = {}
        for item in sorted(self.all, key=lambda one: one.wordings[0]):
            if not denies(item.wordings[0]):
                found.setdefault(item.sample.target, {}).setdefault(item.wordings[0], []).append(item)
        return found


def denies(text: str) -> bool:
    """The text says that something is not there: "no polyp"."""
    return text.strip().lower().startswith("no ")
