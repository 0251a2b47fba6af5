"""What an attack is, as data: budget, goal and search, free of torch.

The repr of each evaluates to it again (`vlseg.attacks.parse_attack` does so safely), and so does its JSON: it is what
tables and records name an attack by.
"""

import ast
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vlseg.records import InputError, unknown_name

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
        _known("norm", self.norm, get_args(Norm))
        _known("place", self.place, get_args(Place))
        object.__setattr__(self, "epsilon", _number("epsilon", self.epsilon, least=0))


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
        _known("kind", self.kind, get_args(Kind))
        _known("loss", self.loss, get_args(Loss))


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
        _known("method", self.method, get_args(Method))
        _known("keep", self.keep, get_args(Keep))
        for name, default in (("steps", STEPS[self.method]), ("random_start", self.method in _STARTS_AT_RANDOM)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        for name, least in (("steps", 1), ("restarts", 1)):
            object.__setattr__(self, name, _whole(name, getattr(self, name), least))
        object.__setattr__(self, "momentum", _number("momentum", self.momentum, least=0))
        if self.step_size is not None:
            object.__setattr__(self, "step_size", _number("step_size", self.step_size, least=0))
        self._check()

    def _check(self) -> None:
        method = self.method
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise InputError(f"seed: {self.seed!r} is no whole number")
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


_PARTS = {"Attack": Attack, "Budget": Budget, "Goal": Goal, "Search": Search}
_FIELDS: Mapping[str, type[Budget] | type[Goal] | type[Search]] = {"budget": Budget, "goal": Goal, "search": Search}


def attack_to_json(attack: Attack) -> str:
    """One line of JSON that `parse_attack` reads."""
    return json.dumps(dataclasses.asdict(attack))


def parse_attack(text: str) -> Attack:
    """The attack of a repr or of `attack_to_json`; nothing in the text is executed.

    Raises:
        InputError: neither, an unknown name, or a value that a part refuses.
    """
    if text.lstrip().startswith("{"):
        try:
            return attack_from(json.loads(text))
        except ValueError as error:
            raise InputError(f"attack: is no JSON ({error}); give what attack_to_json writes") from error
    try:
        made = _made(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"attack: {text[:80]!r} is no attack; give Attack(budget=..., goal=..., search=...)"
        ) from error
    if not isinstance(made, Attack):
        raise InputError(f"attack: {text[:80]!r} is a {type(made).__name__}; give Attack(...)")
    return made


def attack_from(values: Mapping[str, Any]) -> Attack:
    """The attack of a mapping as JSON and YAML have it; what is left out is as it is by default.

    Raises:
        InputError: an unknown name, or a value that a part refuses.
    """
    for name in values:
        if name not in _FIELDS:
            raise unknown_name("part of an attack", name, _FIELDS)
    return Attack(**{name: _built(_FIELDS[name], name, given) for name, given in values.items()})


def _built(part: Any, name: str, given: Any) -> Any:
    if not isinstance(given, Mapping):
        raise InputError(f"{name}: must be a mapping of its settings, is {given!r}")
    known = [one.name for one in dataclasses.fields(part)]
    for key in given:
        if key not in known:
            raise unknown_name(f"setting of {name}", str(key), known)
    return part(**given)


def _made(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name) or node.func.id not in _PARTS or node.args:
        raise ValueError("no part of an attack")
    values = {str(word.arg): _made(word.value) for word in node.keywords}
    return _built(_PARTS[node.func.id], node.func.id, values)


def _known(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise unknown_name(name, str(value), known)


def _number(name: str, value: object, *, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise InputError(f"{name}: {value!r} is no number of at least {least:g}")
    return float(value)


def _whole(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}: {value!r} is no whole number of at least {least}")
    return value
