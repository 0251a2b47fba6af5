"""Runs made by hand whose evaluations keep pictures, and pages that hold nothing else."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from vlseg.records import EvaluationSpec, RunRecord, SampleScore
from vlseg.records.pictures import Outline, SmallImage, write_pictures
from vlseg.reports.examples import Examples
from vlseg.reports.gallery import Gallery
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk

TRUTH, ANSWER = "M60 40l40 0l0 40l-40 0z", "M64 44l40 0l0 40l-40 0z"

PAGE = """{% extends "base.html.j2" %}
{% from "pictures.html.j2" import pictures_head %}
{% from "examples.html.j2" import examples_section %}
{% from "gallery.html.j2" import gallery_section %}
{% block head %}{{ pictures_head(examples, gallery) }}{% endblock %}
{% block main %}
{% if examples %}{{ examples_section(examples) }}{% endif %}
{% if gallery %}{{ gallery_section(gallery) }}{% endif %}
{% endblock %}"""


def score(sample: str, dice: float | None, **changes: Any) -> SampleScore:
    """A row; `dice` None: there is no truth. `arguments` are the condition's."""
    arguments = json.dumps(changes.pop("arguments", {}))
    row = SampleScore(
        dataset="d", split="test", sample_id=sample, image_id=f"image of {sample}", group=None, site=None,
        target="cyst", named_target="cyst", prompt="p", wording=f"the cyst of {sample}",
        prompt_sources="class,mask", deployable=False,
        condition="clean", condition_arguments=arguments, model="m", run_id="r", seed=0, protocol="corrected",
        threshold=0.5, precision="fp32", dice=dice, iou=dice, hd95=1.0, hd=1.0, nsd=dice, nsd_tolerance=2.0, assd=1.0,
        distance_unit="px", spacing=None, image_diagonal=9.0, presence_score=None, area=100,
        area_error=None if dice is None else 10, empty_target=None if dice is None else False, empty_pred=False,
        pixels=1000,
    )  # fmt: skip
    return replace(row, **changes)


def absent(sample: str, *, marked: bool, **changes: Any) -> SampleScore:
    """A row of a target that is not in its image."""
    area = changes.pop("area", 50) * marked
    return score(
        sample, 0.0 if marked else 1.0, empty_target=True, empty_pred=not marked, area=area, area_error=area, **changes
    )


def small_image(name: str, side: int = 64) -> bytes:
    """Noise that depends on the name alone, as WebP."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (side // 4, side // 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side * 3 // 4)).save(file, format="WEBP", quality=75)
    return file.getvalue()


def evaluation(folder: Path, rows: Sequence[SampleScore], *, pictures: bool = True, **spec: Any) -> EvaluationOnDisk:
    """An evaluation in `folder`; outlines are squares, empty where the row says so, of other images than the sample's
    none."""
    values: dict[str, Any] = {
        "id": "x", "model": "m", "run_id": "r", "dataset": "d", "data_fingerprint": "f", "split": "test", "prompt": "p",
        "prompt_sources": ["class", "mask"], "deployable": False, "protocol": "corrected",
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    if pictures:
        names = dict.fromkeys((row.dataset, row.image_id) for row in rows)
        images = [SmallImage(dataset, image, 256, 192, small_image(image)) for dataset, image in names]
        write_pictures(folder, images, [_outline(row) for row in rows])
    return EvaluationOnDisk(folder, EvaluationSpec(**(values | spec)), list(rows))


def _outline(row: SampleScore) -> Outline:
    truth = None if row.empty_target is None else "" if row.empty_target else TRUTH
    answer = None if row.condition in ("mean_image", "other_image") else "" if row.empty_pred else ANSWER
    return Outline(truth, answer)


def run_of(evaluations: Sequence[EvaluationOnDisk], name: str = "r") -> RunOnDisk:
    """A run with these evaluations."""
    record = RunRecord(
        id=name, status="done", config={"data": ["x"]}, protocol="corrected", device="cpu", precision="fp32", threads=1,
        seeds={"run": 0}, started=datetime(2026, 1, 1, tzinfo=UTC), dataset="d", prompt="p",
    )  # fmt: skip
    return RunOnDisk(Path(name), record, [], list(evaluations))


def page(examples: Examples | None = None, gallery: Gallery | None = None) -> str:
    """A page of these parts alone."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlseg.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(PAGE).render(title="t", examples=examples, gallery=gallery)
