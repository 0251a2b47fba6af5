"""What `vlseg attack` is asked for, as attacks: one for each budget, with noise of the same budget beside it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vlseg.attacks import Attack, Budget, Goal, Search, TextAttack, parse_attack
from vlseg.attacks.plan import Kind, Loss, Method, Norm, Place
from vlseg.attacks.text_plan import TextMethod
from vlseg.records import InputError, unknown_name

RoundTrip = Literal["8bit", "jpeg"]
Preset = Literal["published"]

EPSILONS = ("2/255", "8/255")
PUBLISHED_EPSILONS = ("0.01", "0.03", "0.1", "0.5")
PUBLISHED_STEPS: Mapping[str, int] = {"fgsm": 1, "pgd": 40}
PUBLISHED_STEP = 2 / 255
"""Of PGD, in normalised units: 40 of them reach 0.31, so that a budget of 0.5 is never reached."""


@dataclass(frozen=True)
class AttackOptions:
    """What to do; None = what the method or the preset does by itself.

    Attributes:
        epsilons, step_size: numbers or fractions as they were typed, e.g. "2/255".
        attacks: whole attacks as repr or JSON, in place of all else.
        limit: samples; spread over datasets, targets, present and absent.
        round_trip: what is done to the attacked image before it is scored.
        words: change the sentence in these ways instead of the image; each with all `sizes`.
        candidates: sentences that are asked at each step.
        check_gradients: compare searches by gradient with ones that see none (`vlseg.attacks.check_masking`).
    """

    method: Method | TextMethod | None = None
    epsilons: Sequence[str] = ()
    norm: Norm = "linf"
    place: Place = "input"
    goal: Kind = "untargeted"
    loss: Loss = "both"
    steps: int | None = None
    step_size: str | None = None
    restarts: int = 1
    seed: int = 0
    attacks: Sequence[str] = ()
    limit: int | None = None
    round_trip: RoundTrip | None = None
    preset: Preset | None = None
    words: Sequence[str] = ()
    sizes: Sequence[int] = ()
    candidates: int | None = None
    check_gradients: bool = False


@dataclass(frozen=True)
class Planned:
    """One kind of row: an attack, and what is done with what it found.

    Attributes:
        attack: on the image; None where it is done as published, or on the sentence.
        published: the method and epsilon (normalised units) of the published attack.
        control: noise, or random sentences, beside an attack.
        extra: what the row's arguments say beyond the attack.
        words: on the sentence.
    """

    attack: Attack | None
    published: tuple[str, float] | None = None
    control: bool = False
    round_trip: RoundTrip | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    words: TextAttack | None = None

    def arguments(self) -> dict[str, Any]:
        """Of the rows: the attack's JSON (`vlseg attack --attack` does it again), and what else was done."""
        if self.attack is not None:
            told = {"round_trip": self.round_trip} if self.round_trip else {}
            return {**dataclasses.asdict(self.attack), **told, **self.extra}
        if self.words is not None:
            return {**dataclasses.asdict(self.words), "words": True, **self.extra}
        assert self.published is not None
        method, epsilon = self.published
        step = epsilon if method == "fgsm" else PUBLISHED_STEP
        search = {"method": method, "steps": PUBLISHED_STEPS[method], "step_size": step, "random_start": False}
        return {
            "published": True,
            "budget": {"norm": "linf", "epsilon": epsilon, "units": "normalised", "place": "input", "clip": False},
            "goal": {"kind": "untargeted", "loss": "published"},
            "search": search | {"restarts": 1, "keep": "last"},
            "round_trip": "file",
            "prompt": "redrawn",
            "found_on_target": "the image's last",
            **self.extra,
        }

    @property
    def name(self) -> str:
        """The attack's repr, or in words what was published."""
        if self.attack is not None or self.words is not None:
            return repr(self.attack or self.words)
        assert self.published is not None
        return f"published {self.published[0]}, epsilon {self.published[1]:g} in normalised units"


def attack_options(values: Mapping[str, Any], limit: int | None = None) -> AttackOptions:
    """Of plain values, as a study has them."""
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    lists["epsilons"] = tuple(str(one) for one in values.get("epsilons", ()))
    return AttackOptions(**{**values, **lists}, limit=limit)


def planned(options: AttackOptions) -> list[Planned]:
    """The attacks on images, by growing budget, each followed by noise of its budget; not for a preset.

    Raises:
        InputError: what is no number, does not go together, or is unknown.
    """
    if options.attacks:
        only_attacks(options)
        asked = [parse_attack(text) for text in options.attacks]
    else:
        asked = [_attack(options, epsilon) for epsilon in _epsilons(options)]
    found = []
    for attack in dict.fromkeys(asked):
        found.append(Planned(attack, round_trip=options.round_trip))
        if attack.search.method != "noise":
            found.append(Planned(noise_beside(attack), control=True, round_trip=options.round_trip))
    return each_once(found)


def each_once(found: Sequence[Planned]) -> list[Planned]:
    """Two searches of one budget share their control where it looks at as much; it stands behind the last of them."""
    return list({one.name: one for one in reversed(found)}.values())[::-1]


def published(options: AttackOptions, deviation: float) -> list[Planned]:
    """As it was published, and beside each the attack of the same strength without round trip and redrawn prompt.

    Args:
        options: method and epsilons (in normalised units) may be chosen.
        deviation: what a normalised unit is in units of the image's range.

    Raises:
        InputError: options that the preset sets itself.
    """
    given = given_of(options, but=("preset", "method", "epsilons", "seed", "limit"))
    if given:
        raise InputError(f"{option_of(given[0])}: is set by --preset published; leave it out")
    if options.method not in (None, *PUBLISHED_STEPS):
        raise unknown_name("method of --preset published", str(options.method), PUBLISHED_STEPS)
    epsilons = sorted({number("epsilon", text) for text in options.epsilons or PUBLISHED_EPSILONS})
    found = []
    methods: Sequence[Any] = (options.method,) if options.method else ("fgsm", "pgd")
    for method in methods:
        for epsilon in epsilons:
            search = Search(method=method, steps=PUBLISHED_STEPS[method], seed=options.seed)
            honest = Attack(Budget("linf", epsilon * deviation), Goal(), search)
            extra = {"epsilon_of_range": epsilon * deviation, "seed": options.seed}
            found += [Planned(None, published=(method, epsilon), extra=extra), Planned(honest)]
    return found


def number(name: str, text: str) -> float:
    """A number of at least 0, or a fraction: "0.01", "2/255".

    Raises:
        InputError: neither.
    """
    top, slash, bottom = str(text).partition("/")
    try:
        value = float(top) / (float(bottom) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"--{name}: '{text}' is no number of at least 0; give one such as 2/255 or 0.01")
    return value


def _epsilons(options: AttackOptions) -> list[float]:
    if not options.epsilons and options.norm == "l2":
        raise InputError("--epsilon: with --norm l2 it depends on the image's size; give one, e.g. --epsilon 2")
    found = {number("epsilon", text) for text in options.epsilons or EPSILONS}
    if options.norm == "linf" and max(found) > 1:
        raise InputError(
            f"--epsilon: {max(found):g} is more than the image's range [0, 1]; for grey levels of 8 bits write "
            f"{max(found):g}/255"
        )
    return sorted(found)


def _attack(options: AttackOptions, epsilon: float) -> Attack:
    step = None if options.step_size is None else number("step-size", options.step_size)
    method: Any = options.method or "pgd"
    search = Search(method, options.steps, step, options.restarts, seed=options.seed)
    return Attack(Budget(options.norm, epsilon, options.place), Goal(options.goal, options.loss), search)


def noise_beside(attack: Attack) -> Attack:
    """Noise of the budget that looks at as many images; a universal change is one draw for each image."""
    found, universal = attack.search, attack.search.method == "universal"
    search = Search(
        "noise",
        steps=1 if universal else found.steps,
        restarts=found.restarts,
        keep="last" if universal else found.keep,
        seed=found.seed,
    )
    return replace(attack, search=search)


def only_attacks(options: AttackOptions) -> None:
    """Whole attacks leave nothing else to say of them; a seed draws the samples then.

    Raises:
        InputError: something was said.
    """
    given = given_of(options, but=("attacks", "limit", "seed", "round_trip", "check_gradients"))
    if given:
        raise InputError(f"{option_of(given[0])}: --attack says everything by itself; leave it out")


def given_of(options: AttackOptions, but: Sequence[str] = ()) -> list[str]:
    """The options that are not as they are by default."""
    usual = AttackOptions()
    names = [one.name for one in dataclasses.fields(options) if one.name not in but]
    return [name for name in names if getattr(options, name) != getattr(usual, name)]


def option_of(name: str) -> str:
    """As it is typed."""
    return f"--{ {'epsilons': 'epsilon', 'sizes': 'size', 'attacks': 'attack'}.get(name, name).replace('_', '-') }"
