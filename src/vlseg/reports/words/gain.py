"""What the sentence adds over the class: against a run that is told no more, or the ceiling of all such answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlseg.metrics import Comparison, Estimate, bootstrap_mean, compare_paired, group_of
from vlseg.records import EvaluationSpec, RunRecord, SampleScore
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, alike
from vlseg.reports.words.cell import Cell
from vlseg.reports.words.numbers import counted, decimal, estimate, points, why
from vlseg.reports.words.reading import changed, shown, upright
from vlseg.reports.words.sentences import alone

Rows = Sequence[SampleScore]
Key = tuple[str, str, str]

SAME = ("split", "target", "protocol", "precision", "condition")
"""Fields of two evaluations, beside the state of the data, for which a difference would be one of measurement."""
NOT_THE_METHOD = frozenset(
    ("prompt", "seed", "data", "device", "threads", "workers", "devices", "nodes", "precision", "trackers")
    + ("feature_cache", "feature_limit_gib", "image_cache", "threshold", "protocol", "checkpoint_activations")
)
"""Settings of two runs that need no word beside their difference."""


@dataclass(frozen=True)
class Gain:
    """A run that is told the prompt, less the best run that is told the class alone, over the same present targets.

    Attributes:
        control: its name.
        controls: how many runs there were to choose the best from, all over these targets.
        change: of the Dice; one test.
        score: Dice of the run that is told the prompt, over the same targets.
        targets: how many of these it was scored on; the control may have been asked about fewer.
        unlike: settings in which the two runs differ beside what they are told.
    """

    control: str
    controls: int
    change: Comparison
    score: Estimate
    targets: int
    unlike: tuple[str, ...]


def says_more(rows: Rows) -> bool:
    """Whether the prompts tell samples of one class apart; where a class always has the same words, they do not.

    Where no class has two samples nothing shows that its words are always the same: by their sources they say more.
    """
    if not {one for row in rows for one in row.prompt_sources.split(",")} - {"class", "none", ""}:
        return False
    wordings: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        wordings.setdefault((row.dataset, row.sample_id), set()).add(row.wording)
    by_class: dict[str | None, set[frozenset[str]]] = {}
    targets = {(row.dataset, row.sample_id): row.target for row in rows}
    for key, words in wordings.items():
        by_class.setdefault(targets[key], set()).add(frozenset(words))
    alone = len(set(targets.values())) == len(targets)
    return alone or any(len(kinds) > 1 for kinds in by_class.values())


def names_class(rows: Rows) -> bool:
    """Whether the prompts tell samples of two classes apart; of one class alone, whether there are words at all."""
    words: dict[str | None, set[str]] = {}
    for row in rows:
        words.setdefault(row.target, set()).add(row.wording.strip())
    kinds = {frozenset(one) for one in words.values()}
    return len(kinds) > 1 if len(words) > 1 else kinds != {frozenset({""})}


def tells_class(evaluation: EvaluationOnDisk) -> bool:
    """`names_class` of its rows, found once."""
    found: bool = _kept(evaluation, "words.tells_class", lambda: names_class(evaluation.scores))
    return found


def tells_more(evaluation: EvaluationOnDisk) -> bool:
    """`says_more` of its rows, found once: every line of a table asks it of every run."""
    found: bool = _kept(evaluation, "words.tells_more", lambda: says_more(evaluation.scores))
    return found


def _kept(evaluation: EvaluationOnDisk, what: str, compute: Callable[[], Any]) -> Any:
    """As a cached property of the evaluation keeps it."""
    kept = vars(evaluation)
    if what not in kept:
        kept[what] = compute()
    return kept[what]


def is_control(run: RunOnDisk, evaluation: EvaluationOnDisk) -> bool:
    """A run that was trained and tested on no more than the class."""
    if run.record.status != "done" or evaluation.spec.condition != "clean":
        return False
    if evaluation.spec.told == "target":
        return True
    own = evaluation.spec.prompt == run.record.prompt
    return evaluation.spec.told == "prompt" and own and not tells_more(evaluation) and tells_class(evaluation)


def gain_over_class(
    run: RunOnDisk, evaluation: EvaluationOnDisk, runs: Sequence[RunOnDisk], *, dataset: str | None = None
) -> Gain | None:
    """None where no other run is a control on the same data, trained on the same and measured in the same way.

    Args:
        run: the run that is told the prompt.
        evaluation: its evaluation.
        runs: all runs at hand.
        dataset: of a pool, the part to compare on.
    """
    own = _present(evaluation, dataset)
    found: list[tuple[float, RunOnDisk, list[Key], dict[Key, _Sample]]] = []
    for other in runs:
        if other.folder == run.folder or not _trained_alike(run.record, other.record):
            continue
        for one in other.clean:
            if not _measured_alike(evaluation.spec, one.spec) or not is_control(other, one):
                continue
            theirs = _present(one, dataset)
            keys = [key for key in own if key in theirs and own[key].area == theirs[key].area]
            if keys:
                found.append((sum(theirs[key].dice for key in keys) / len(keys), other, keys, theirs))
    if not found:
        return None
    # The best of scores over different targets may be that of the easy ones.
    widest = max((keys for _, _, keys, _ in found), key=len)
    found = [one for one in found if one[2] == widest]
    _, best, keys, theirs = max(found, key=lambda one: one[0])
    values, groups = [own[key].dice for key in keys], [own[key].group for key in keys]
    change = compare_paired([theirs[key].dice for key in keys], values, groups, largest=1.0)
    controls = len({other.folder for _, other, *_ in found})
    score = bootstrap_mean(values, groups, bounds=(0, 1))
    return Gain(best.record.id, controls, change, score, len(own), _unlike(run.record, best.record))


@dataclass(frozen=True)
class _Sample:
    dice: float
    group: tuple[str, str]
    area: int


def _present(evaluation: EvaluationOnDisk, dataset: str | None) -> dict[Key, _Sample]:
    """The present targets, all or those of one dataset."""
    found: dict[Key, _Sample] = _kept(evaluation, "words.present", lambda: _averaged(evaluation.scores))
    return found if dataset is None else {key: one for key, one in found.items() if key[0] == dataset}


def _averaged(rows: Rows) -> dict[Key, _Sample]:
    """Present targets, the wordings of each averaged."""
    values: dict[Key, list[SampleScore]] = {}
    for row in rows:
        if row.condition == "clean" and row.dice is not None and not row.empty_target:
            values.setdefault((row.dataset, row.split, row.sample_id), []).append(row)
    return {
        key: _Sample(
            float(np.mean([row.dice or 0.0 for row in inside])),
            group_of(inside[0], True),
            inside[0].area - (inside[0].area_error or 0),
        )
        for key, inside in values.items()
    }


def _measured_alike(first: EvaluationSpec, second: EvaluationSpec) -> bool:
    return (first.dataset, first.data_fingerprint) == (second.dataset, second.data_fingerprint) and all(
        getattr(first, name) == getattr(second, name) for name in SAME
    )


def _trained_alike(first: RunRecord, second: RunRecord) -> bool:
    """On the same data; in how far otherwise is told beside the difference."""
    return (first.trained_on, first.data_fingerprint, first.fold) == (
        second.trained_on,
        second.data_fingerprint,
        second.fold,
    )


def _unlike(first: RunRecord, second: RunRecord) -> tuple[str, ...]:
    names = dict.fromkeys((*first.config, *second.config))
    return tuple(
        name for name in names if name not in NOT_THE_METHOD and _setting(first, name) != _setting(second, name)
    )


def _setting(record: RunRecord, name: str) -> object:
    value = record.config.get(name)
    # What a model is told beside the image is what the two are compared for.
    return {key: one for key, one in value.items() if key != "text"} if name == "model_arguments" and value else value


def adds_over_class(
    run: RunOnDisk, evaluation: EvaluationOnDisk, runs: Sequence[RunOnDisk], *, dataset: str | None = None
) -> Cell:
    """The cell: the difference from the best control, or how far the score lies above the ceiling of the class."""
    spec = evaluation.spec
    if spec.told != "prompt":
        told = {"target": "told the class alone", "nothing": "told nothing"}
        return Cell(note=told.get(spec.told, "nobody can say what it was told"))
    if not tells_more(evaluation):
        return Cell(note="its words are the class alone" if tells_class(evaluation) else "its words tell nothing")
    gain = gain_over_class(run, evaluation, runs, dataset=dataset)
    if gain is not None:
        change = gain.change
        best = f"the best of {gain.controls}, {gain.control}" if gain.controls > 1 else gain.control
        missing = "" if change.ci95 else why(change.reason, groups_known=spec.groups_known)
        part_of = "" if change.n == gain.targets else f"on {change.n:,} of {counted(gain.targets, 'target')}"
        note = "; ".join(part for part in (f"over {best}", part_of, missing) if part)
        return Cell(points(change.difference, change.ci95), note, change.difference, change.ci95)
    above = _above_ceiling(evaluation) if dataset is None else None
    if above is None:
        return Cell(note="no run was told the class alone")
    if above <= 0:
        return Cell(note=f"not above what the class alone could reach ({decimal(spec.class_ceiling)})")
    return Cell(
        points(above), f"above the most that the class alone could reach ({decimal(spec.class_ceiling)})", above
    )


def _above_ceiling(evaluation: EvaluationOnDisk) -> float | None:
    mean, ceiling = evaluation.whole.dice_present.mean, evaluation.spec.class_ceiling
    return None if mean is None or ceiling is None else mean - ceiling


def about_words(run: RunOnDisk, evaluation: EvaluationOnDisk, runs: Sequence[RunOnDisk], *, who: str = "it") -> str:
    """What the sentence adds over the class, in one sentence; empty where nothing can be said.

    Args:
        run: the run that is told the prompt.
        evaluation: its evaluation.
        runs: all runs at hand, controls among them.
        who: the subject.
    """
    spec = evaluation.spec
    if spec.told != "prompt" or not tells_more(evaluation):
        return ""
    gain = gain_over_class(run, evaluation, runs)
    above = _above_ceiling(evaluation)
    ceiling = ""
    if above is not None and above > 0:
        ceiling = f"no answer that knows the class alone could pass {decimal(spec.class_ceiling)} on these images"
    if gain is not None:
        parts = [_about_gain(gain, spec, who), ceiling if gain.change.n == gain.targets else ""]
        return "; ".join(part for part in parts if part) + "."
    if ceiling:
        score = f"Dice {estimate(evaluation.whole.dice_present)}"
        return f"Told the sentence, {who} reaches {score} over targets that are there{alone(spec)}; {ceiling}."
    return ""


def _about_gain(gain: Gain, spec: EvaluationSpec, who: str) -> str:
    change, score = gain.change, f"Dice {estimate(gain.score)}"
    best = f"{gain.control}, the best of {gain.controls} runs" if gain.controls > 1 else f"{gain.control}, a run"
    told = f"{best} told the class alone"
    on = f"over the same {counted(change.n, 'target')} that are there"
    if change.n < gain.targets:
        on = f"over the {change.n:,} of {counted(gain.targets, 'target')} that are there on which both were scored"
    on += alone(spec)
    unlike = f" (the two differ in {_listed(gain.unlike)}, too)" if gain.unlike else ""
    if shown(change) == 0:
        reason = "" if change.ci95 else f" ({why(change.reason, groups_known=spec.groups_known)})"
        size = f"{points(change.difference, change.ci95, word='points')}{reason}"
        return (
            f"No gain over knowing the class could be shown: {who} reaches {score}, {size} against {told}, {on}{unlike}"
        )
    size = _size(change, spec)
    if shown(change) < 0:
        return f"Told the sentence, {who} reaches {score}, {size} below {told}, {on}{unlike}"
    if gain.unlike:
        return f"Told the sentence, {who} reaches {score}, {size} above {told}, {on}{unlike}"
    against = f"{who} reaches {score}, against {told}, {on}, one training each"
    return f"The sentence adds {size} over knowing the class: {against}"


def _size(change: Comparison, spec: EvaluationSpec) -> str:
    """Without a sign: the direction is in the words."""
    value, ends = upright(change)
    reason = "" if ends else f" ({why(change.reason, groups_known=spec.groups_known)})"
    return f"{points(value, ends, sign=False, word='points')}{reason}"


def _listed(names: Sequence[str]) -> str:
    names = [name.replace("_", " ") for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def asked_alike(asked: EvaluationSpec, scored: EvaluationSpec) -> bool:
    """Whether a probe's questions were put to what the scores are of; kept features are no more than a rounding."""
    same = alike(asked.model_copy(update={"cached_features": scored.cached_features}), scored)
    return same and asked.target == scored.target


def about_class_prompt(run: RunOnDisk, evaluation: EvaluationOnDisk, *, who: str = "it") -> str:
    """The same model asked with the class alone, from its probe; empty where no change could be shown.

    It is a measure of what the sentence adds only where the model was trained on these words, too.

    Args:
        run: whose evaluation it is.
        evaluation: under the prompt that says more.
        who: the subject.
    """
    probes = [one for one in run.under("probe") if asked_alike(one.spec, evaluation.spec)]
    effects = [effect for probe in probes for effect in probe.use.effects if effect.name == "class_only"]
    change = effects[0].original if effects and changed(effects[0]) else None
    if change is None or change.difference is None:
        return ""
    size = _size(change, evaluation.spec)
    how = f"{size} {'lower' if change.difference < 0 else 'higher'}"
    if run.record.config.get("class_prompt_share"):
        return f"Asked for the class alone, which it was trained to answer, too, {who} scores {how}."
    return (
        f"Asked for the class alone, {who} scores {how}; it was not trained on these words, so this is not what the "
        "sentence adds."
    )
