"""Which answers a page shows of many: own prompts first, then samples spread evenly by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlseg.metrics import ATTACKED, SMOOTHED, budget_words
from vlseg.records import MEASURED, SampleScore
from vlseg.records.pictures import OUTLINES, PICTURES
from vlseg.reports.attacks import search_name
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk

ELSEWHERE = ("mean_image", "other_image")
"""Conditions under which another image was shown: an answer has no place on the sample's."""
AGAIN = ("selection", "val")
"""Conditions whose answers are those to own prompts, held against other targets, or serve a threshold alone."""


@dataclass(frozen=True)
class Row:
    """One scored answer: row `index` of an evaluation of a run."""

    run: RunOnDisk
    evaluation: EvaluationOnDisk
    index: int

    @property
    def score(self) -> SampleScore:
        """Its row of scores.parquet."""
        return self.evaluation.scores[self.index]

    @property
    def sample(self) -> tuple[str, str]:
        """Dataset and id."""
        return self.score.dataset, self.score.sample_id

    @property
    def condition(self) -> str:
        """In words."""
        return condition_words(self.score, self.evaluation.spec.condition_arguments)


@dataclass(frozen=True)
class Chosen:
    """What `choose` took: rows, and in words what of how much; `words` is empty where nothing is left out."""

    rows: list[Row]
    words: str = ""


def answers(runs: Sequence[RunOnDisk]) -> tuple[list[Row], dict[str, int]]:
    """All answers that evaluations with pictures hold, each once, and how many are left out by reason."""
    rows: list[Row] = []
    seen: set[tuple[object, ...]] = set()
    out = {"elsewhere": 0, "again": 0}
    for run in runs:
        kept = [one for one in run.evaluations if has_pictures(one)]
        for evaluation in sorted(kept, key=lambda one: (one.spec.condition != "clean", one.name)):
            way = repr([getattr(evaluation.spec, name) for name in MEASURED])
            for index, score in enumerate(evaluation.scores):
                asked = (score.dataset, score.sample_id, score.wording, score.condition, score.condition_arguments)
                key = (run.folder, way, *asked)
                if score.condition in ELSEWHERE:
                    out["elsewhere"] += 1
                elif score.condition in AGAIN or key in seen:
                    out["again"] += 1
                else:
                    seen.add(key)
                    rows.append(Row(run, evaluation, index))
    return rows, out


def has_pictures(evaluation: EvaluationOnDisk) -> bool:
    """Whether the evaluation kept small images and outlines."""
    return (evaluation.folder / PICTURES / OUTLINES).exists()


def condition_words(score: SampleScore, arguments: Mapping[str, object]) -> str:
    """How it was asked, for people, e.g. "swapped, against what the words name".

    Args:
        score: one row.
        arguments: of the whole evaluation's condition.
    """
    if score.condition == "clean":
        return "own prompt"
    held = {"original": "against the own target", "named": "against what the words name"}
    if score.condition == ATTACKED:
        given = json.loads(score.condition_arguments)
        held["wanted"] = "against the mask that is wanted"
        words = f"under {search_name(given)}, {budget_words(given)}"
        return ", ".join([words, *(held[given[name]] for name in ("against",) if name in given)])
    if score.condition == SMOOTHED:
        return f"smoothed with sigma {json.loads(score.condition_arguments)['sigma']:g}"
    given = {**arguments, **json.loads(score.condition_arguments)}
    more = [
        held.get(str(value), str(value)) if name == "against" else f"{name} {value}" for name, value in given.items()
    ]
    return ", ".join([score.condition.replace("_", " "), *more])


def choose(rows: Sequence[Row], most: int) -> Chosen:
    """At most `most` rows: all of own prompts before any other, of each the same samples for all runs.

    Samples are spread evenly over all by name, and each comes with all of its rows.
    """
    if len(rows) <= most:
        return Chosen(list(rows))
    own = [row for row in rows if row.score.condition == "clean"]
    others = [row for row in rows if row.score.condition != "clean"]
    if len(own) > most:
        taken, words = _spread(own, most)
        return Chosen(taken, f"those to the own prompts of {words}" + (", and none of the others" if others else ""))
    taken, words = _spread(others, most - len(own))
    start = "all to the samples' own prompts, and of the others" if own else ""
    return Chosen([*own, *taken], f"{start} those to {words}".strip())


def _spread(rows: Sequence[Row], most: int) -> tuple[list[Row], str]:
    """The rows of as many samples as fit, and in words how many these are."""
    of: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        of.setdefault(row.sample, []).append(row)
    names = sorted(of)
    count = min(len(names), most * len(names) // len(rows) + 1)
    while count:
        taken = [row for place in range(count) for row in of[names[place * len(names) // count]]]
        if len(taken) <= most:
            return taken, f"{count:,} of {len(names):,} samples, spread evenly by name"
        count = min(count - 1, count * most // len(taken))
    return list(of[names[0]][:most]), f"one sample of {len(names):,}, as many as fit" if most else "no sample"
