"""One table: answers as they are, to worse images, under noise and attack, to changed words; from score rows alone."""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from vlseg.metrics.attacks import ATTACKED, Answered, answered
from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.indices import group_of
from vlseg.metrics.paired import Comparison, compare_paired
from vlseg.records import MEASURED, EvaluationSpec, SampleScore

Kind = Literal["clean", "same", "natural", "scanner", "noise", "attack", "published", "words", "drawn"]
"""What was done. clean: nothing; same: nothing, on the samples of all other rows. natural, scanner: corruptions of any
picture, and of one kind of scanner. noise: random changes of an attack's budget. attack, published: a search's changes
of the image, ours and as it was published. words, drawn: another sentence, found by a search or drawn at random."""
SCANNER_LIKE = ("gain", "shadow", "highlights", "hair", "collimation")
"""Names of the corruptions of one kind of scanner."""
OTHER_WORDS = "scored with other words than any clean answer"

Key = tuple[str, str]
Asked = tuple[EvaluationSpec, Sequence[SampleScore]]
_PLACES: Mapping[Kind, int] = {kind: min(place, 7) for place, kind in enumerate(get_args(Kind))}
"""In the table; words that are drawn stand with those that are found."""


@dataclass(frozen=True)
class RobustnessRow:
    """One condition.

    Attributes:
        severity: of corruptions, whose mean it is.
        arguments: of an attack as rows have them, on the image or the sentence.
        samples: dataset and id of those it is over.
        dice: with the truth, over all targets; of several corruptions the mean of each sample's.
        change: of Dice against the same samples as they are, asked with the same words; None of the row "clean".
        before, after: Dice, empty answers and presence scores of these samples as they are, and under the condition.
        corruptions: how many there are of the kind.
        worst: of several corruptions the one that takes most, and its paired change of Dice.
    """

    kind: Kind
    severity: int | None
    arguments: Mapping[str, Any]
    samples: frozenset[Key]
    dice: Estimate
    change: Comparison | None
    clean_dice: float | None
    before: Answered
    after: Answered
    corruptions: int = 0
    worst: tuple[str, float] | None = None

    @property
    def targeted(self) -> bool:
        """An attack that wants another mask is on the samples for which there is one."""
        return bool(self.arguments) and self.arguments["goal"]["kind"] != "untargeted"

    @property
    def keeps_meaning(self) -> bool:
        """Of changed words: whether they ask for the same."""
        return bool(self.arguments["budget"].get("keeps_meaning"))


@dataclass(frozen=True)
class Robustness:
    """What a run's evaluations of one kind of measurement say together.

    Attributes:
        rows: the first is "clean", over all samples with a clean answer; where all others but those of targeted attacks
            are of the same samples, and these are not all, "same" follows.
        common: where they are not, the same rows, but those of targeted attacks, on the samples that all of these
            share; empty where they share none.
        first_wording: clean scores are known for further wordings, which no row is about.
        left_out: evaluations of corruptions that are not in it: other draws, or fewer samples.
    """

    rows: list[RobustnessRow]
    common: list[RobustnessRow]
    first_wording: bool
    left_out: int

    @property
    def kinds(self) -> set[Kind]:
        """That there are rows of."""
        return {row.kind for row in self.rows}

    @property
    def same_samples(self) -> bool:
        """Whether all rows but "clean" and those of targeted attacks are of the same ones."""
        return len({row.samples for row in self.rows[1:] if not row.targeted}) <= 1


def way_of(spec: EvaluationSpec) -> Hashable:
    """Equal for evaluations of a run that may stand in one table: same data, weights, prompt, threshold, protocol.

    Features from a cache may differ from others in their last digits; changes are taken inside an evaluation.
    """
    values = {name: getattr(spec, name) for name in (*MEASURED, "target") if name != "cached_features"}
    return json.dumps(values, sort_keys=True)


def robustness(evaluations: Iterable[Asked]) -> Robustness | None:
    """The table of evaluations that are measured alike; None where nothing but answers as they are is known.

    A row is paired with the clean answers of its own evaluation, so of the same samples and words. Of searches of one
    budget the one that leaves the lowest mean Dice stands in it; one on fewer samples, too, where it leaves less there.

    Args:
        evaluations: of one run and one `way_of`, with their rows, in any order; conditions other than clean, corrupted
            and attack are not looked at.
    """
    used = [one for one in evaluations if one[0].condition in ("clean", "corrupted", ATTACKED)]
    used.sort(key=lambda one: (one[0].condition != "clean", one[0].cached_features, one[0].query_seed, one[0].id))
    known: dict[tuple[str, str, str], SampleScore] = {}
    for _, rows in used:
        for row in rows:
            if row.condition == "clean" and row.dice is not None:
                known.setdefault((*_key(row), row.wording), row)
    clean: dict[Key, SampleScore] = {}
    for row in known.values():
        clean.setdefault(_key(row), row)
    natural, left_out = _natural(used)
    attacks = [found for spec, rows in used if spec.condition == ATTACKED for found in _attacks(rows, known)]
    found = [*natural, *_strongest(attacks)]
    if not found:
        return None
    found = [_Found("clean", {key: (row, [row]) for key, row in clean.items()}), *sorted(found, key=_place)]
    made = [_row(one, one.samples.keys()) for one in found]
    plain = [one for one, row in zip(found, made, strict=True) if not row.targeted]
    shared = frozenset.intersection(*(frozenset(one.samples) for one in plain))
    common: list[RobustnessRow] = []
    if shared and any(len(one.samples) > len(shared) for one in plain[1:]):
        common = [_row(one, shared) for one in plain]
    elif 0 < len(shared) < len(clean):
        made.insert(1, _row(replace(found[0], kind="same"), shared))
    return Robustness(made, common, len(known) > len(clean), left_out)


@dataclass(frozen=True)
class _Found:
    """A row before it is computed: by sample its clean answer, and those under the condition."""

    kind: Kind
    samples: dict[Key, tuple[SampleScore | None, list[SampleScore]]]
    severity: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def budget(self) -> str:
        """Equal for searches of which one is shown."""
        rest = dict(self.arguments)
        if self.kind != "published":
            rest.pop("search")
        return json.dumps([self.kind, rest], sort_keys=True)

    def dice(self, keys: Iterable[Key]) -> float:
        """The mean over some of its samples."""
        return _mean([_dice(self.samples[key][1]) for key in keys]) or 0.0


def _natural(used: Sequence[Asked]) -> tuple[list[_Found], int]:
    """Means over corruptions by severity, of the evaluation with most samples, then the first draw; how many rest."""
    asked = [one for one in used if one[0].condition == "corrupted"]
    asked.sort(key=lambda one: -len({_key(row) for row in one[1]}))
    found: dict[tuple[Kind, int], _Found] = {}
    for _, rows in asked[:1]:
        clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
        for row in rows:
            if row.condition == "clean" or _key(row) not in clean:
                continue
            kind: Kind = "scanner" if row.condition in SCANNER_LIKE else "natural"
            severity = json.loads(row.condition_arguments)["severity"]
            one = found.setdefault((kind, severity), _Found(kind, {}, severity))
            one.samples.setdefault(_key(row), (clean[_key(row)], []))[1].append(row)
    return list(found.values()), max(0, len(asked) - 1)


def _attacks(rows: Sequence[SampleScore], known: Mapping[tuple[str, str, str], SampleScore]) -> list[_Found]:
    """By attack, of one evaluation. Where only the image changes a clean answer to other words is no partner."""
    clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
    found: dict[str, _Found] = {}
    for row in rows:
        if row.condition != ATTACKED or row.dice is None or _key(row) not in clean:
            continue
        arguments = json.loads(row.condition_arguments)
        if arguments.pop("against", "original") != "original":
            continue
        own: SampleScore | None = clean[_key(row)]
        if not arguments.get("words") and row.wording != clean[_key(row)].wording:
            own = known.get((*_key(row), row.wording))
        one = found.setdefault(json.dumps(arguments, sort_keys=True), _Found(_kind(arguments), {}, arguments=arguments))
        one.samples[_key(row)] = (own, [row])
    return list(found.values())


def _kind(arguments: Mapping[str, Any]) -> Kind:
    method = arguments["search"]["method"]
    if arguments.get("words"):
        return "drawn" if method == "random" else "words"
    if arguments.get("published"):
        return "published"
    return "noise" if method == "noise" else "attack"


def _strongest(found: Sequence[_Found]) -> list[_Found]:
    """Without the searches that another one of their budget is level with on all of their samples."""
    kept: list[_Found] = []
    for one in sorted(found, key=lambda one: (-len(one.samples), one.dice(one.samples))):
        rivals = (other for other in kept if other.budget == one.budget and other.samples.keys() >= one.samples.keys())
        if not any(other.dice(one.samples) <= one.dice(one.samples) for other in rivals):
            kept.append(one)
    return kept


def _place(one: _Found) -> tuple[Any, ...]:
    if not one.arguments:
        return _PLACES[one.kind], one.severity or 0
    budget, goal = one.arguments["budget"], one.arguments["goal"]["kind"]
    told = [str(one.arguments.get(name, "")) for name in ("found_on", "round_trip")]
    if one.arguments.get("words"):
        size = [not budget.get("keeps_meaning"), budget["unit"], str(budget.get("source")), budget["size"]]
    else:
        size = [budget["norm"], budget["place"], budget["epsilon"]]
    told += [one.arguments["search"]["method"]] if one.kind == "published" else []
    return _PLACES[one.kind], goal != "untargeted", goal, *told, *size, one.kind, -len(one.samples)


def _row(one: _Found, keys: Iterable[Key]) -> RobustnessRow:
    wanted = set(keys)
    samples = {key: both for key, both in one.samples.items() if key in wanted}
    after = [rows for _, rows in samples.values()]
    before = [own for own, _ in samples.values() if own is not None]
    groups = [group_of(rows[0], True) for rows in after]
    dices = [_dice(rows) for rows in after]
    partnered = len(before) == len(after)
    change = None
    if one.kind not in ("clean", "same"):
        change = (
            compare_paired([row.dice or 0.0 for row in before], dices, groups, largest=1.0)
            if partnered
            else Comparison(None, None, None, None, 0, 0, reason=OTHER_WORDS)
        )
    return RobustnessRow(
        kind=one.kind,
        severity=one.severity,
        arguments=one.arguments,
        samples=frozenset(samples),
        dice=bootstrap_mean(dices, groups, bounds=(0.0, 1.0)),
        change=change,
        clean_dice=_mean([row.dice for row in before]) if partnered else None,
        before=answered([[row] for row in before] if partnered else []),
        after=answered(after),
        corruptions=len({row.condition for rows in after for row in rows}) if one.severity else 0,
        worst=_worst(samples.values()) if one.severity else None,
    )


def _worst(samples: Iterable[tuple[SampleScore | None, Sequence[SampleScore]]]) -> tuple[str, float] | None:
    """The corruption that takes most of the samples that it was applied to."""
    changes: dict[str, list[float]] = {}
    for own, rows in samples:
        for row in rows:
            if own is not None:
                changes.setdefault(row.condition, []).append((row.dice or 0.0) - (own.dice or 0.0))
    means = {name: sum(values) / len(values) for name, values in changes.items()}
    return min(means.items(), key=lambda one: one[1]) if means else None


def _dice(rows: Sequence[SampleScore]) -> float:
    return sum(row.dice or 0.0 for row in rows) / len(rows)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _key(row: SampleScore) -> Key:
    return row.dataset, row.sample_id
