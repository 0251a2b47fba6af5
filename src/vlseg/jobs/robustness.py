"""`vlseg robustness`: all evaluations that the table is made of; those that are there stay as they are."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlseg.jobs.attack import attack_on
from vlseg.jobs.attack_asked import attacks_of
from vlseg.jobs.attack_plan import AttackOptions
from vlseg.jobs.attack_samples import choose
from vlseg.jobs.attack_search import MEAN_OF_MEMBERS
from vlseg.jobs.evaluate import evaluate_job, evaluate_on
from vlseg.jobs.scoring import EvaluateOptions, Job, describe, open_job, prompted_split
from vlseg.metrics import ATTACKED, Robustness, RobustnessRow, robustness, way_of
from vlseg.records import EvaluationSpec, InputError, read_scores

Say = Callable[[str], None]
WORDS = ("typos", "synonyms", "suffix")
"""How sentences are changed: two ways that keep what they ask for, and one that may not."""


@dataclass(frozen=True)
class Measured:
    """The table of a model on a split.

    Attributes:
        spec: of its clean evaluation.
        folder: that holds all evaluations.
        refused: what could not be done, and why.
    """

    spec: EvaluationSpec
    table: Robustness
    folder: Path
    refused: dict[str, str]


def robustness_of(
    source: str,
    data: list[str],
    options: EvaluateOptions,
    *,
    epsilons: Sequence[str] = (),
    limit: int | None = None,
    say: Say = lambda line: None,
) -> Measured:
    """Evaluate a model as it is, on worse images, under attack and with changed words; what was done stays.

    Args:
        source: a run folder, model folder, hub id or model name.
        data: dataset folders.
        options: as for an evaluation; `condition` and `cache` are not used, `pictures` is of the clean one.
        epsilons: of the attacks on the image, PGD with noise beside it; default 2/255 and 8/255.
        limit: so many samples for all but the clean evaluation, the same for each; default: all.
        say: told what is done, a line at a time.

    Raises:
        InputError: an unknown source, dataset, prompt or split, no number for an epsilon, a split without masks.
    """
    asked = AttackOptions(epsilons=epsilons, seed=options.seed, limit=limit)
    attacks_of(asked)  # a wrong epsilon is told before anything is done
    options = replace(options, condition="clean", cache=None)
    job = open_job(source, data, options)
    if not any(item.sample.mask_paths for item in prompted_split(job.pool, options.split)):
        raise InputError(f"--split: no sample of {job.pool.name} in '{options.split}' has a mask to be held against")
    spec, there = describe(job, "clean"), [one for one, _ in _alike(job)]
    if _missing("as it is", any(one.condition == "clean" for one in there), say):
        evaluate_on(source, data, options)
    bare = replace(options, pictures=False)
    if _missing("worse images", any(_is_corrupted(one, limit, options.seed) for one in there), say):
        _corrupt(replace(job, options=replace(bare, condition="corrupted")), limit)
    refused: dict[str, str] = {}
    for name, what in _attacks(asked, job).items():
        if _missing(name, any(_is_attacked(one, what) for one in there), say):
            try:
                attack_on([source], data, bare, what)
            except InputError as error:  # a model that cannot be attacked so is asked all the rest
                refused[name] = str(error)
    found = [(one, read_scores(folder / "scores.parquet")) for one, folder in _alike(job)]
    table = robustness(found)
    assert table is not None  # corruptions were asked about
    known = any(row.group is not None for _, rows in found for row in rows)
    return Measured(spec.model_copy(update={"groups_known": known}), table, job.base / "evaluations", refused)


def _attacks(asked: AttackOptions, job: Job) -> dict[str, AttackOptions]:
    """By what is attacked; sentences only of a model that reads them."""
    words = AttackOptions(words=WORDS, seed=asked.seed, limit=asked.limit)
    reads = job.spec is not None and job.spec.uses_text
    return {"attacks on the image": asked, **({"attacks on the sentence": words} if reads else {})}


def _corrupt(job: Job, limit: int | None) -> None:
    begin = time.monotonic()
    some = choose(job, job.options.split, "untargeted", limit, job.options.seed).items
    evaluate_job(job, some, begin=begin, limit=limit)


def _missing(what: str, there: bool, say: Say) -> bool:
    say(f"{what}: {'is there' if there else 'measuring'}")
    return not there


def _is_corrupted(spec: EvaluationSpec, limit: int | None, seed: int) -> bool:
    return spec.condition == "corrupted" and _holds(spec, limit) and spec.query_seed == seed


def _is_attacked(spec: EvaluationSpec, asked: AttackOptions) -> bool:
    """Whether an evaluation has all of the attacks, found on the model itself."""
    wanted = [one.arguments() for one in attacks_of(asked)]
    own = [
        {name: value for name, value in one.items() if (name, value) != ("found_on", MEAN_OF_MEMBERS)}
        for one in spec.condition_arguments.get("attacks", ())
    ]
    return spec.condition == ATTACKED and _holds(spec, asked.limit) and all(one in own for one in wanted)


def _holds(spec: EvaluationSpec, limit: int | None) -> bool:
    """Whether an evaluation is over the samples of a limit: it has the same one, or none."""
    return spec.condition_arguments.get("limit") in (None, limit)


def _alike(job: Job) -> list[tuple[EvaluationSpec, Path]]:
    """The evaluations of the model that are measured as the job is, with their folders."""
    way = way_of(describe(job, "clean"))
    files = sorted((job.base / "evaluations").glob("*/spec.json"))
    return [(spec, file.parent) for file in files if way_of(spec := EvaluationSpec.read(file)) == way]


def summary(measured: Measured) -> dict[str, Any]:
    """The machine-readable last line of `vlseg robustness`."""
    spec, table = measured.spec, measured.table
    return {
        "rows": [_values(row) for row in table.rows],
        "common": [_values(row) for row in table.common],
        "same_samples": table.same_samples,
        "first_wording": table.first_wording,
        "refused": measured.refused,
        "dataset": spec.dataset,
        "split": spec.split,
        "prompt": spec.prompt,
        "prompt_source": spec.prompt_sources,
        "told": spec.told,
        "threshold": spec.threshold,
        "evaluations": str(measured.folder),
    }


def _values(row: RobustnessRow) -> dict[str, Any]:
    before, after = asdict(row.before), asdict(row.after)
    return {
        "kind": row.kind,
        "severity": row.severity,
        "attack": dict(row.arguments) or None,
        "epsilon": row.arguments.get("budget", {}).get("epsilon"),
        "keeps_meaning": row.keeps_meaning if row.kind in ("words", "drawn") else None,
        "n": len(row.samples),
        "dice": row.dice.mean,
        "ci95": row.dice.ci95,
        "reason": row.dice.reason,
        "clean_dice": row.clean_dice,
        "change": asdict(row.change) if row.change else None,
        "worst": {"corruption": row.worst[0], "change": row.worst[1]} if row.worst else None,
        **after,
        **{f"clean_{name}": value for name, value in before.items()},
    }
