"""Condition smoothed: what is certified of a model under noise, beside its answers to the images as they are."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from vlseg.data import load_mask
from vlseg.evaluation import Query, smoothed_answers, smoothed_queries
from vlseg.jobs.scoring import Evaluated, EvaluateOptions, Job
from vlseg.jobs.subsets import spread
from vlseg.metrics import GUESSES, SMOOTHED, Smoothing, certificates, draws_needed
from vlseg.prompts import Prompted
from vlseg.records import InputError


def check_smoothing(options: EvaluateOptions) -> None:
    """Raises: InputError: settings of the smoothing under another condition."""
    if options.condition != SMOOTHED and (options.smoothing is not None or options.limit is not None):
        raise InputError(
            "--sigma, --draws, --tau, --alpha, --place and --limit: are for --condition smoothed; add it, or leave "
            "them out"
        )


def smoothed(job: Job, prompted: Sequence[Prompted]) -> tuple[Job, list[Query]]:
    """The job that answers smoothed queries as well, and the queries of the samples that have a mask.

    Raises:
        InputError: no such sample, or too few draws to certify a pixel of the largest image.
    """
    options = job.options
    smoothing = options.smoothing or Smoothing()
    infos = job.pool.infos
    labelled = [item for item in prompted if item.sample.mask_paths]
    if not labelled:
        raise InputError(f"condition smoothed: no {options.split} sample of {job.pool.name} has a mask; give --split")
    chosen = spread(
        labelled,
        options.limit,
        options.seed,
        lambda item: not load_mask(item.sample, infos[item.sample.dataset], None).any(),
    )
    _check_draws(job, chosen, smoothing)
    assert job.model is not None  # mask files are not smoothed
    answer = smoothed_answers(job.answer, job.model, job.setting, smoothing, options.seed)
    arguments = {**asdict(smoothing), "sigmas": list(smoothing.sigmas), "guesses": GUESSES}
    job = replace(job, answer=answer, marks=(*job.marks, *_marks(smoothing)), arguments=arguments)
    return job, smoothed_queries(chosen, smoothing)


def _check_draws(job: Job, chosen: Sequence[Prompted], smoothing: Smoothing) -> None:
    """All pixels of an answer are tested together: on the largest image most draws are needed."""
    of_image = {(item.sample.dataset, item.sample.image_id): item.sample for item in chosen}
    shapes = {key: load_mask(one, job.pool.infos[one.dataset], None).shape for key, one in of_image.items()}
    key = max(shapes, key=lambda one: shapes[one][0] * shapes[one][1])
    height, width = shapes[key]
    needed = draws_needed(height * width, smoothing.tau, smoothing.alpha)
    if smoothing.draws < needed:
        raise InputError(
            f"--draws: {smoothing.draws} draws cannot certify any pixel of {key[1]} ({width} x {height}) with tau "
            f"{smoothing.tau:g} and alpha {smoothing.alpha:g} for all its pixels; give --draws {needed} or more"
        )


def _marks(smoothing: Smoothing) -> list[str]:
    """What the evaluation's name says: all sigmas, and what else is not as usual."""
    usual = Smoothing()
    told = ["sigma-" + "-".join(f"{sigma:g}" for sigma in smoothing.sigmas)]
    for name in ("draws", "tau", "alpha", "place"):
        value = getattr(smoothing, name)
        if value != getattr(usual, name):
            told.append(f"{name}-{value}")
    return told


def certificate_values(evaluated: Evaluated) -> list[dict[str, Any]]:
    """By sigma, plain values; `name` is the sigma, by which tables of studies find them."""
    found = certificates(evaluated.scores, groups_known=evaluated.spec.groups_known)
    return [{"name": f"{one.sigma:g}", **asdict(one)} for one in found]
