"""What an attack is, as data: budget, goal and search, free of torch.

The repr of each evaluates to it again (`vlseg.attacks.parse_attack` does so safely), and so does its JSON: it is what
tables and records name an attack by.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vlseg.attacks.reading import check_known, number, plan_from, read_plan, whole
from vlseg.records import InputError

Norm = Literal["linf", "l2"]
Place = Literal["input", "native"]
Kind = Literal["untargeted", "erase", "make", "move"]
Loss = Literal["ce", "dice", "both"]
Method = Literal["fgsm", "pgd", "segpgd", "apgd", "spsa", "noise", "universal"]
Keep = Literal["worst", "last"]


@dataclass(frozen=True)
class Budget:
    """What may be changed: the RGB image, and how far.

    Attributes:
        norm: "linf", the largest change of a value; "l2", the root of the sum of squares over all values of the image.
        epsilon: in units of the image's range [0, 1] (8-bit steps are 1/255).
        place: "input": the image at the size at which it lies in the network's input, before normalisation; "native":
            at its own size, through the model's `prepare`.
    """

    norm: Norm = "linf"
    epsilon: float = 8 / 255
    place: Place = "input"

    def __post_init__(self) -> None:
        check_known("norm", self.norm, get_args(Norm))
        check_known("place", self.place, get_args(Place))
        object.__setattr__(self, "epsilon", number("epsilon", self.epsilon, least=0))


@dataclass(frozen=True)
class Goal:
    """What counts as success, and what is maximised on the way.

    Attributes:
        kind: "untargeted": away from the truth; "erase": towards an empty mask; "make": towards a mask of something
            that is not there; "move": towards the mask of another structure. The last two are told which mask.
        loss: "ce": cross-entropy, the mean over the pixels; "dice": soft Dice loss; "both": their sum. Dice alone did
            most on small trained models, but least where their logits were thirty times as large; the sum was second,
            close to the first, on both.
    """

    kind: Kind = "untargeted"
    loss: Loss = "both"

    def __post_init__(self) -> None:
        check_known("kind", self.kind, get_args(Kind))
        check_known("loss", self.loss, get_args(Loss))


STEPS: Mapping[str, int] = {"fgsm": 1, "pgd": 20, "segpgd": 20, "apgd": 20, "spsa": 20, "noise": 20, "universal": 5}
"""By method, where none are given; passes over the data of "universal"."""
_STARTS_AT_RANDOM = frozenset({"pgd", "segpgd", "apgd", "noise"})


@dataclass(frozen=True)
class Search:
    """How a perturbation is looked for.

    Attributes:
        method: "fgsm" (Goodfellow et al. 2015), "pgd" (Madry et al. 2018), "segpgd" (Gu et al. 2022), "apgd" (Croce and
            Hein 2020), "spsa" (no gradient is asked of the model; Uesato et al. 2018), "noise" (random, of the whole
            budget, a new one each step), "universal" (one for all images; Moosavi-Dezfooli et al. 2017, by PGD).
        steps: None: as `STEPS` says. fgsm takes one.
        step_size: in the budget's units. None: epsilon for fgsm, 2.5 epsilon / steps for the others; apgd starts from
            2 epsilon and halves it itself; universal takes 2.5 epsilon / the number of its updates.
        restarts: searches from other random starts.
        random_start: None: as the method has it (fgsm, spsa and universal start from the image).
        momentum: of the gradients, each divided by its mean absolute value (Dong et al. 2018); 0 is none.
            apgd has its own of 0.75.
        keep: "worst": the step that did most, the image as it is included; "last": the last step. Both: the restart
            that did most.
        seed: of the random draws.
    """

    method: Method = "pgd"
    steps: int | None = None
    step_size: float | None = None
    restarts: int = 1
    random_start: bool | None = None
    momentum: float = 0.0
    keep: Keep = "worst"
    seed: int = 0

    def __post_init__(self) -> None:
        check_known("method", self.method, get_args(Method))
        check_known("keep", self.keep, get_args(Keep))
        for name, default in (("steps", STEPS[self.method]), ("random_start", self.method in _STARTS_AT_RANDOM)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        for name, least in (("steps", 1), ("restarts", 1)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        object.__setattr__(self, "momentum", number("momentum", self.momentum, least=0))
        if self.step_size is not None:
            object.__setattr__(self, "step_size", number("step_size", self.step_size, least=0))
        self._check()

    def _check(self) -> None:
        method = self.method
        whole("seed", self.seed, None)
        if not isinstance(self.random_start, bool):
            raise InputError(f"random_start: {self.random_start!r} is neither true nor false")
        if method == "fgsm" and self.steps != 1:
            raise InputError(f"steps: fgsm takes one step, not {self.steps}; take pgd for more")
        if method == "noise" and not self.random_start:
            raise InputError("random_start: noise is nothing but random starts; leave it out")
        if self.momentum and method not in ("pgd", "segpgd", "spsa", "universal"):
            raise InputError(f"momentum: {method} has none to set; leave it out, or take pgd")
        if self.step_size is not None and method in ("apgd", "noise"):
            raise InputError(f"step_size: {method} sets its own; leave it out, or take pgd")
        if self.restarts > 1 and method == "universal":
            raise InputError("restarts: a universal perturbation is searched for once; leave them out")
        if self.restarts > 1 and not self.random_start and method != "spsa":
            raise InputError("restarts: without a random start they are all the same; set random_start, or take one")


@dataclass(frozen=True)
class Attack:
    """A budget, a goal and a search: everything that decides what is done to a sample."""

    budget: Budget = field(default_factory=Budget)
    goal: Goal = field(default_factory=Goal)
    search: Search = field(default_factory=Search)

    def __post_init__(self) -> None:
        if self.search.method == "segpgd" and self.goal.loss == "dice":
            raise InputError("loss: segpgd weighs the cross-entropy of pixels; take ce or both")

    @property
    def step_size(self) -> float:
        """The first step, in the budget's units."""
        if self.search.step_size is not None:
            return self.search.step_size
        assert self.search.steps is not None  # set when it was made
        factor = {"fgsm": 1.0, "apgd": 2.0}.get(self.search.method, 2.5 / self.search.steps)
        return factor * self.budget.epsilon


_PARTS: Mapping[str, type] = {"budget": Budget, "goal": Goal, "search": Search}


def attack_to_json(attack: Attack) -> str:
    """One line of JSON that `parse_attack` reads."""
    return json.dumps(dataclasses.asdict(attack))


def parse_attack(text: str) -> Attack:
    """The attack of a repr or of `attack_to_json`; nothing in the text is executed.

    Raises:
        InputError: neither, an unknown name, or a value that a part refuses.
    """
    return read_plan(text, Attack, _PARTS)


def attack_from(values: Mapping[str, Any]) -> Attack:
    """The attack of a mapping as JSON and YAML have it; what is left out is as it is by default.

    Raises:
        InputError: an unknown name, or a value that a part refuses.
    """
    return plan_from(values, Attack, _PARTS)
