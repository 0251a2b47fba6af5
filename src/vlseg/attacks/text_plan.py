"""What an attack on the sentence is, as data: budget, goal and search, free of torch."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vlseg.attacks.plan import Goal
from vlseg.attacks.reading import check_known, plan_from, read_plan, whole
from vlseg.records import InputError

Unit = Literal["typos", "words", "suffix", "order"]
Source = Literal["synonyms", "vocabulary", "near"]
TextMethod = Literal["greedy", "gradient", "random"]

_SOURCES: Mapping[str, tuple[Source, ...]] = {
    "typos": (),
    "words": ("synonyms", "vocabulary", "near"),
    "suffix": ("vocabulary",),
    "order": (),
}
"""By unit, the first by default."""


@dataclass(frozen=True)
class TextBudget:
    """What may be changed of the sentence, and how far.

    Attributes:
        unit: "typos": a letter is dropped, doubled, changed for or followed by one beside it on the keyboard, or two
            letters swap, in words of four letters or more, one in every four letters of a word; never so that a known
            word appears. "words": a word is put in another's place. "suffix": words are appended. "order": two words
            beside each other swap.
        size: how many: typos, words that are another, words that are appended, swaps.
        source: where words are from, of "words" and "suffix". "synonyms" and "vocabulary": the lexicon's. "near": those
            of the vocabulary that lie nearest to the word in the model's token embedding. None: "synonyms" of "words",
            "vocabulary" of "suffix".
        ends: typos may change the first and the last letter of a word.
        keeps_meaning: whether the sentence asks for the same as before. Follows from the rest, so that it is left out,
            and stands in every record: True for typos and synonyms. Where it is False, a worse mask may be the right
            answer to another question.
    """

    unit: Unit = "typos"
    size: int = 2
    source: Source | None = None
    ends: bool = False
    keeps_meaning: bool | None = None

    def __post_init__(self) -> None:
        check_known("unit", self.unit, get_args(Unit))
        whole("size", self.size, 0)
        sources = _SOURCES[self.unit]
        if self.source is None and sources:
            object.__setattr__(self, "source", sources[0])
        if self.source is not None and self.source not in sources:
            mend = f"take {' or '.join(sources)}" if sources else "leave it out"
            raise InputError(f"source: {self.source!r} is none of {self.unit}; {mend}")
        if not isinstance(self.ends, bool):
            raise InputError(f"ends: {self.ends!r} is neither true nor false")
        if self.ends and self.unit != "typos":
            raise InputError(f"ends: {self.unit} have none; leave it out, or take typos")
        keeps = self.unit == "typos" or self.source == "synonyms"
        if self.keeps_meaning not in (None, keeps):
            whose = f"{self.unit} from {self.source}" if self.source else self.unit
            raise InputError(f"keeps_meaning: is {keeps} of {whose}, not {self.keeps_meaning}; leave it out")
        object.__setattr__(self, "keeps_meaning", keeps)


@dataclass(frozen=True)
class TextSearch:
    """How a sentence is looked for.

    Attributes:
        method: "greedy": of the sentences that are one change away the one that serves the goal most, step by step;
            only answers are asked of the model. "gradient": the same, and gradients of the loss at the tokens' vectors
            choose half of those that are asked (after HotFlip, Ebrahimi et al. 2018, and GCG, Zou et al. 2023).
            "random": sentences of the whole budget, drawn; the control.
        steps: None: as many as the budget's size for typos and order, twice as many for words and suffix, whose words
            can be changed again.
        candidates: sentences that are asked at each step; drawn where there are more, or half of them those of the
            largest estimated loss ("gradient").
        seed: of the draws.
    """

    method: TextMethod = "greedy"
    steps: int | None = None
    candidates: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_known("method", self.method, get_args(TextMethod))
        if self.steps is not None:
            whole("steps", self.steps, 1)
        whole("candidates", self.candidates, 1)
        whole("seed", self.seed, None)


@dataclass(frozen=True)
class TextAttack:
    """A budget, a goal and a search: everything that decides what is done to a sentence, but for the lexicon."""

    budget: TextBudget = field(default_factory=TextBudget)
    goal: Goal = field(default_factory=Goal)
    search: TextSearch = field(default_factory=TextSearch)

    def __post_init__(self) -> None:
        if self.search.steps is None:
            again = 2 if self.budget.unit in ("words", "suffix") else 1
            steps = max(1, again * self.budget.size)
            object.__setattr__(self, "search", dataclasses.replace(self.search, steps=steps))

    @property
    def keeps_meaning(self) -> bool:
        """Whether the sentence asks for the same as before; where not, a worse mask may be right."""
        return bool(self.budget.keeps_meaning)

    @property
    def steps(self) -> int:
        """Of the search."""
        assert self.search.steps is not None  # set when it was made
        return self.search.steps


_PARTS: Mapping[str, type] = {"budget": TextBudget, "goal": Goal, "search": TextSearch}


def text_attack_to_json(attack: TextAttack) -> str:
    """One line of JSON that `parse_text_attack` reads."""
    return json.dumps(dataclasses.asdict(attack))


def parse_text_attack(text: str) -> TextAttack:
    """The attack of a repr or of `text_attack_to_json`; nothing in the text is executed.

    Raises:
        InputError: neither, an unknown name, or a value that a part refuses.
    """
    return read_plan(text, TextAttack, _PARTS)


def text_attack_from(values: Mapping[str, Any]) -> TextAttack:
    """The attack of a mapping as JSON and YAML have it; what is left out is as it is by default.

    Raises:
        InputError: an unknown name, or a value that a part refuses.
    """
    return plan_from(values, TextAttack, _PARTS)
