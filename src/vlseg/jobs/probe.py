"""`vlseg probe`: does it read the prompt?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.evaluation import Query, Scene, clean_queries, probe_queries, read_truths
from vlseg.jobs.scoring import Evaluated, EvaluateOptions, Job, open_job, prompted_split, score
from vlseg.metrics import Effect, LanguageUse, language_use
from vlseg.prompts import Prompted
from vlseg.records import InputError


@dataclass(frozen=True)
class Probed:
    """What a probe found, and its evaluation on disk."""

    use: LanguageUse
    evaluated: Evaluated


def probe_on(
    source: str, data: list[str], options: EvaluateOptions, out: Path | None = None, *, limit: int | None = None
) -> Probed:
    """Ask a model about a split in its own words and in others; docs/probe.md says what is asked.

    Args:
        source: run folder, model folder, hub id or model name.
        data: dataset folders.
        options: as for an evaluation; `condition` is not used.
        out: the evaluation's folder; default: inside the run.
        limit: ask about so many images only, spread evenly over the split.

    Raises:
        InputError: an unknown source, dataset, prompt or split, or no sample with a truth.
    """
    begin = time.monotonic()
    job = open_job(source, data, options, out)
    whole = _with_truth(job, options.split, None)
    prompted = _spread(whole, limit)
    if not prompted:
        raise InputError(f"{job.pool.name}: no {options.split} sample has a mask; the probe needs truths")
    queries: list[Query] = []
    for dataset in job.pool.datasets:
        inside = [item for item in prompted if item.sample.dataset == dataset.info.name]
        whole_set = [item for item in whole if item.sample.dataset == dataset.info.name]
        masks = read_truths(inside, job.pool.infos)
        queries += probe_queries(Scene(dataset, inside, masks, options.seed, whole_set))
    evaluated = score(job, queries + _val_queries(job, limit), begin=begin, condition="probe", limit=limit)
    return Probed(language_use(evaluated.scores, groups_known=evaluated.spec.groups_known), evaluated)


def _with_truth(job: Job, split: str, limit: int | None) -> list[Prompted]:
    return _spread([item for item in prompted_split(job.pool, split) if item.sample.mask_paths], limit)


def _spread(prompted: list[Prompted], limit: int | None) -> list[Prompted]:
    """All samples of so many images, spread evenly."""
    images = list(dict.fromkeys((item.sample.dataset, item.sample.image_id) for item in prompted))
    if limit is None or limit >= len(images):
        return prompted
    kept = {images[int(index)] for index in np.linspace(0, len(images) - 1, limit)}
    return [item for item in prompted if (item.sample.dataset, item.sample.image_id) in kept]


def _val_queries(job: Job, limit: int | None) -> list[Query]:
    """The val split in its own words, where presence can be told there: for the threshold alone."""
    if not any(sample.split == "val" for dataset in job.pool.datasets for sample in dataset.samples):
        return []
    prompted = _with_truth(job, "val", limit)
    kinds: set[bool] = set()
    for name in job.pool.infos:
        inside = [item for item in prompted if item.sample.dataset == name]
        kinds |= {bool(mask.any()) for mask in read_truths(inside, job.pool.infos).values()}
    if len(kinds) < 2:
        return []
    return [replace(query, condition="val") for query in clean_queries(prompted)]


def summary(probed: Probed) -> dict[str, Any]:
    """The machine-readable last line of `vlseg probe`."""
    use, spec = probed.use, probed.evaluated.spec
    return {
        "selection_index": asdict(use.selection),
        "chose_none": asdict(use.chose_none),
        "presence_index": asdict(use.presence),
        "tests": [_test(effect) for effect in use.effects],
        "attributes": attributes(use.effects),
        "not_asked": use.not_asked,
        "family": f"{len(use.effects)} conditions of this probe; the changes towards what is named are a second one",
        "dataset": spec.dataset,
        "split": spec.split,
        "prompt": spec.prompt,
        "prompt_source": spec.prompt_sources,
        "deployable": spec.deployable,
        "scores": str(probed.evaluated.folder / "scores.parquet"),
    }


def _test(effect: Effect) -> dict[str, Any]:
    change = effect.original
    return {
        "name": effect.name,
        "n": change.n,
        "n_groups": change.n_groups,
        "delta_dice": change.difference,
        "ci95": change.ci95,
        "p": change.p,
        "p_holm": change.p_holm,
        "detectable": change.detectable,
        "detectable_holm": change.detectable_holm,
        "reason": change.reason,
        "dice": effect.dice,
        "dice_named": asdict(effect.named) if effect.named else None,
        "delta_dice_named": asdict(effect.towards) if effect.towards else None,
        "iou_with_own": asdict(effect.overlap),
    }


def attributes(effects: Sequence[Effect]) -> dict[str, Mapping[str, float | None]]:
    """By attribute, the change of Dice when it is wrong, left out, or a random word."""
    rows: dict[str, dict[str, float | None]] = {}
    for effect in effects:
        kind, _, name = effect.name.partition("_")
        if kind in ("wrong", "without", "random"):
            rows.setdefault(name, {})[kind] = effect.original.difference
    return dict(rows)
