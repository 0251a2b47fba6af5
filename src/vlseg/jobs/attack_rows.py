"""Rows of a model under attack: asking it, scoring its answers, keeping what is done."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from vlseg.evaluation import Answer, Prediction, Query, evaluate, read_truths
from vlseg.evaluation.answers import prompt_of
from vlseg.evaluation.predict import answer_prompts
from vlseg.evaluation.query import Truth
from vlseg.jobs.attack_plan import Planned
from vlseg.jobs.attack_published import wording
from vlseg.jobs.attack_samples import Chosen
from vlseg.jobs.attack_search import Found, Key, aim, key_of
from vlseg.jobs.evaluation_folder import replacing_evaluation
from vlseg.jobs.scoring import NO_CEILINGS, Evaluated, Job, plain_rows, write_evaluation
from vlseg.metrics import ATTACKED, Calibration, aggregate
from vlseg.models.device import autocast
from vlseg.prompts import Prompted
from vlseg.records import EvaluationSpec, SampleScore, read_scores, write_scores
from vlseg.records.pictures import AttackPicture, Pictures, write_attack_pictures, write_pictures

Given = Mapping[str, Mapping[Key, Found]]
"""By attack and sample."""


@dataclass
class Side:
    """A model whose answers are scored, and its rows so far; `items` by sample."""

    job: Job
    items: dict[Key, Prompted]
    spec: EvaluationSpec
    folder: Path
    planned: list[Planned]
    rows: list[SampleScore] = field(default_factory=list)
    pictures: Pictures | None = None
    attacked: list[AttackPicture] = field(default_factory=list)

    @property
    def partial(self) -> Path:
        """Rows of a part of the images, for when the attack is cut off."""
        return self.folder.resolve().with_name(f".attack-{self.spec.identity}.partial")


def score_some(side: Side, items: Sequence[Prompted], chosen: Chosen, given: Given, seed: int, number: int) -> None:
    """The rows of some images, as they are and under every attack."""
    job = side.job
    queries, names = [], {}
    for item in (side.items[key_of(item)] for item in items):
        queries.append(Query(item, item.wordings[0], item.sample, (Truth(item.sample),), reference=True))
        wanted = None if chosen.wanted is None else _wanted_mask(item, chosen.wanted[key_of(item)], job)
        for one in side.planned:
            said = wording(item, seed, "score") if one.published else item.wordings[0]
            query = Query(item, said, item.sample, _truths(one, item, wanted), ATTACKED)
            names[id(query)] = one.name
            queries.append(query)
    rows = evaluate(_answers(job, given, names), queries, job.pool.infos, job.setting, pictures=side.pictures)
    side.rows += rows
    if side.pictures is None:
        write_scores(side.partial / f"{number}.parquet", rows)


def _wanted_mask(item: Prompted, wanted: Prompted, job: Job) -> np.ndarray:
    """The mask of another sample, at the size of this one's."""
    height, width = read_truths([item], job.pool.infos)[item.sample.id].shape
    return aim(wanted, job.pool.infos, (height, width))


def _truths(one: Planned, item: Prompted, wanted: np.ndarray | None) -> tuple[Truth, ...]:
    arguments = one.arguments()
    if wanted is None:
        return (Truth(item.sample, arguments),)
    return (
        Truth(item.sample, {**arguments, "against": "original"}),
        Truth(item.sample, {**arguments, "against": "wanted"}, mask=wanted),
    )


def _answers(job: Job, given: Given, names: Mapping[int, str]) -> Answer:
    """The model's answers to images as they are, and to what attacks made of them."""
    model, setting = job.model, job.setting
    assert model is not None

    def answer(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        clean = [query for query in group if query.condition == "clean"]
        own = dict(zip((key_of(query.prompted) for query in clean), job.answer(image, clean), strict=True))
        for query in group:
            key = key_of(query.prompted)
            inputs = None if query.condition == "clean" else given[names[id(query)]][key].inputs
            if inputs is None:
                yield own[key]
                continue
            with torch.inference_mode(), autocast(setting.precision, setting.device):
                features = model.encode_image(inputs)
            yield from answer_prompts(
                model,
                features,
                inputs,
                [prompt_of(model, query)],
                device=setting.device,
                precision=setting.precision,
                threshold=setting.threshold,
            )

    return answer


def kept_rows(side: Side, number: int) -> list[SampleScore] | None:
    """The rows of some images from before the attack was cut off."""
    file = side.partial / f"{number}.parquet"
    return read_scores(file) if side.pictures is None and file.exists() else None


def written(side: Side, begin: float) -> Evaluated:
    """The evaluation of all rows, whole; `begin`: time.monotonic() at the start, for the record."""
    with replacing_evaluation(side.folder) as new:
        if side.pictures is not None:
            write_pictures(new, list(side.pictures.images.values()), side.pictures.outlines)
            write_attack_pictures(new, side.attacked)
        spec = write_evaluation(new, side.spec, side.rows, Calibration(), NO_CEILINGS, begin)
    shutil.rmtree(side.partial, ignore_errors=True)
    whole = aggregate(plain_rows(side.rows), groups_known=spec.groups_known)
    return Evaluated(spec, side.rows, whole, side.folder, Calibration())
