"""Rows of a model under attack: asking it, scoring its answers, keeping what is done."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from vlseg.records import EvaluationSpec, SampleScore, read_scores, write_scores, write_text
from vlseg.records.pictures import AttackPicture, Pictures, write_attack_pictures, write_pictures

Given = Mapping[str, Mapping[Key, Found]]
"""By attack and sample."""
Asked = Mapping[str, Sequence[Sequence[int]]]
"""By attack on the sentence, of each sample, see `Side.asked`."""


@dataclass
class Side:
    """A model whose answers are scored, and its rows so far.

    Attributes:
        items: by sample.
        asked: by attack on the sentence, for each sample whose sentence it can change: how many sentences were asked,
            and of how many a gradient was taken besides.
        checks: what `vlseg attack --check-gradients` found.
    """

    job: Job
    items: dict[Key, Prompted]
    spec: EvaluationSpec
    folder: Path
    planned: list[Planned]
    rows: list[SampleScore] = field(default_factory=list)
    pictures: Pictures | None = None
    attacked: list[AttackPicture] = field(default_factory=list)
    asked: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)

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
        wanted = wanted_mask(item, chosen, job)
        for one in side.planned:
            said = wording(item, seed, "score") if one.published else item.wordings[0]
            query = Query(item, said, item.sample, truths(one, item, wanted), ATTACKED)
            names[id(query)] = one.name
            queries.append(query)
    rows = evaluate(_answers(job, given, names), queries, job.pool.infos, job.setting, pictures=side.pictures)
    keep(side, rows, number)


def keep(side: Side, rows: list[SampleScore], number: int, asked: Asked | None = None) -> None:
    """Add the rows of a part, and on disk for when the attack is cut off; the rows last."""
    asked = asked or {}
    _add(side, rows, asked)
    if side.pictures is None:
        write_text(side.partial / f"{number}.json", json.dumps(asked))
        write_scores(side.partial / f"{number}.parquet", rows)


def _add(side: Side, rows: Sequence[SampleScore], asked: Asked) -> None:
    side.rows += rows
    for name, counts in asked.items():
        side.asked.setdefault(name, []).extend((queries, gradients) for queries, gradients in counts)


def wanted_mask(item: Prompted, chosen: Chosen, job: Job) -> np.ndarray | None:
    """The mask that the goal wants, at the size of the sample's own; None where it wants none."""
    if chosen.wanted is None:
        return None
    height, width = read_truths([item], job.pool.infos)[item.sample.id].shape
    return aim(chosen.wanted[key_of(item)], job.pool.infos, (height, width))


def truths(one: Planned, item: Prompted, wanted: np.ndarray | None) -> tuple[Truth, ...]:
    """What an answer under attack is held against, a row each."""
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


def take_kept(sides: Sequence[Side], number: int) -> bool:
    """Take over the rows of a part from before the attack was cut off, where every side has them."""
    files = [(side.partial / f"{number}.parquet", side.partial / f"{number}.json") for side in sides]
    if any(side.pictures is not None for side in sides) or not all(one.exists() for both in files for one in both):
        return False
    for side, (rows, asked) in zip(sides, files, strict=True):
        _add(side, read_scores(rows), json.loads(asked.read_text(encoding="utf-8")))
    return True


def written(side: Side, begin: float) -> Evaluated:
    """The evaluation of all rows, whole; `begin`: time.monotonic() at the start, for the record."""
    with replacing_evaluation(side.folder) as new:
        if side.pictures is not None:
            write_pictures(new, list(side.pictures.images.values()), side.pictures.outlines)
            if side.attacked:
                write_attack_pictures(new, side.attacked)
        noted = side.spec.model_copy(update={"attack_notes": _notes(side)})
        spec = write_evaluation(new, noted, side.rows, Calibration(), NO_CEILINGS, begin)
    shutil.rmtree(side.partial, ignore_errors=True)
    whole = aggregate(plain_rows(side.rows), groups_known=spec.groups_known)
    return Evaluated(spec, side.rows, whole, side.folder, Calibration())


def _notes(side: Side) -> dict[str, Any]:
    """What the record says of its attacks beside the rows."""
    notes: dict[str, Any] = {}
    if side.asked:
        notes["asked"] = [
            {
                "attack": one.arguments(),
                "queries": sum(queries for queries, _ in side.asked[one.name]) / len(side.asked[one.name]),
                "gradients": sum(gradients for _, gradients in side.asked[one.name]) / len(side.asked[one.name]),
            }
            for one in side.planned
            if side.asked.get(one.name)
        ]
    return notes | ({"gradients": side.checks} if side.checks else {})
