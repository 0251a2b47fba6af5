"""Made-up runs as records: as many rows, small images and runs as asked for, without any training.

The numbers look like those of a usable model: most answers good, some lost, some targets absent; two images a patient.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from vlseg.records import EvaluationSpec, RunConfig, RunRecord, SampleScore, write_record, write_scores, write_text
from vlseg.records.pictures import GRID, Outline, SmallImage, write_pictures

TARGETS = ("dark cyst", "bright mass", "shadow")
BEGIN = datetime(2026, 11, 1, 8, tzinfo=UTC)
HEIGHT = 192
"""Of small images, whose width is GRID."""


@dataclass(frozen=True)
class Shape:
    """Of one sample: an ellipse of the truth and one of the answer, in units of outlines."""

    truth: tuple[float, float, float, float] | None
    answer: tuple[float, float, float, float] | None


def write_run(
    folder: Path,
    samples: int,
    *,
    seed: int = 0,
    dataset: str = "made-up",
    images: int | None = None,
    per_image: int = 1,
) -> Path:
    """A finished run with one clean evaluation of so many samples; so many different small images (None = all)."""
    name = folder.name
    record = record_of(name, dataset, seed)
    folder.mkdir(parents=True)
    write_record(folder / "run.json", record)
    steps = [
        f"{step},{0.9 * 0.985**step + 0.1:.4f},{0.9 - 0.6 * 0.97**step if step % 5 == 0 else ''}" for step in range(200)
    ]
    write_text(folder / "history.csv", "\n".join(["step,loss,val_dice", *steps]) + "\n")
    rows, shapes = rows_of(name, samples, seed, dataset, per_image)
    evaluation = folder / "evaluations" / f"{dataset}-test-p1"
    evaluation.mkdir(parents=True)
    write_scores(evaluation / "scores.parquet", rows)
    kept = list({row.image_id: None for row in rows})[: images if images is not None else None]
    if kept:
        write_pictures(evaluation, list(small_images(kept, dataset, seed)), [outline_of(shape) for shape in shapes])
    write_text(evaluation / "spec.json", json.dumps(spec_of(record, evaluation.name).model_dump(mode="json"), indent=1))
    return folder


def record_of(name: str, dataset: str, seed: int) -> RunRecord:
    """Of a run that is done."""
    return RunRecord(
        id=name,
        status="done",
        config=RunConfig(model="clipseg-tiny", data=["data"], prompt="p1", seed=seed).model_dump(mode="json"),
        protocol="corrected",
        device="cpu",
        precision="fp32",
        threads=2,
        seeds={"data": seed, "model": seed},
        packages={"torch": "2.8.0", "numpy": "2.2.0"},
        data_fingerprint="0123456789abcdef",
        dataset=dataset,
        datasets=[dataset],
        prompt="p1",
        prompt_sources=["class", "user"],
        deployable=True,
        started=BEGIN,
        ended=BEGIN + timedelta(minutes=9),
        peak_memory_bytes=3 << 30,
    )


def spec_of(record: RunRecord, name: str) -> EvaluationSpec:
    """Of the clean evaluation of a run on its own data."""
    return EvaluationSpec(
        id=name,
        identity=f"{record.id}-{name}",
        model="clipseg-tiny",
        answers=record.id,
        run_id=record.id,
        dataset=record.dataset,
        data_fingerprint=record.data_fingerprint,
        split="test",
        prompt=record.prompt,
        prompt_sources=record.prompt_sources,
        deployable=record.deployable,
        protocol=record.protocol,
        seed=record.config["seed"],
        groups_known=True,
        distance_units=["px"],
        text_blind_ceiling=0.61,
        class_ceiling=0.74,
        seconds=60.0,
    )


def rows_of(run: str, samples: int, seed: int, dataset: str, per_image: int) -> tuple[list[SampleScore], list[Shape]]:
    """So many rows, `per_image` of one image, and what each shows."""
    rng = np.random.default_rng([20261126, seed])
    rows, shapes = [], []
    for index in range(samples):
        image = index // per_image
        absent = rng.random() < 0.15
        empty = rng.random() < (0.85 if absent else 0.03)
        dice = float(absent and empty) if absent or empty else float(rng.beta(9, 1.6))
        area, error = int(rng.integers(300, 6000)), int(rng.normal(0, 120))
        x, y, a, b = rng.uniform(60, 196), rng.uniform(50, 142), rng.uniform(12, 50), rng.uniform(10, 40)
        truth = None if absent else (x, y, a, b)
        answer = None if empty else (x + rng.normal(0, 4), y + rng.normal(0, 4), a * rng.uniform(0.85, 1.15), b)
        target = TARGETS[index % len(TARGETS)]
        words = f"a {('small', 'large')[index % 2]} {target} in the {('left', 'right', 'middle')[index % 3]}"
        shapes.append(Shape(truth, answer))
        distance = None if absent or empty else float(rng.gamma(2.0, 4.0))
        row = SampleScore(
            dataset=dataset,
            split="test",
            sample_id=f"image-{image:05d}-{index % per_image}",
            image_id=f"image-{image:05d}",
            group=f"patient-{image // 2:05d}",
            site=("north", "south")[image % 2],
            target=target,
            named_target=target,
            prompt="p1",
            wording=words,
            prompt_sources="class,user",
            deployable=True,
            condition="clean",
            condition_arguments="{}",
            model="clipseg-tiny",
            run_id=run,
            seed=seed,
            protocol="corrected",
            threshold=0.5,
            precision="fp32",
            dice=dice,
            iou=dice / (2 - dice),
            hd95=distance,
            hd=None if distance is None else distance * 1.4,
            nsd=dice,
            nsd_tolerance=2.0,
            assd=None if distance is None else distance / 3,
            distance_unit="px",
            spacing=None,
            image_diagonal=640.0,
            presence_score=float(np.clip(rng.normal(0.15 if absent else 0.85, 0.2), 0, 1)),
            area=0 if empty else max(1, area + error),
            area_error=error if not (absent or empty) else (0 if absent and empty else area if absent else -area),
            empty_target=absent,
            empty_pred=empty,
            pixels=512 * 384,
            pixel_precision=None if empty else dice,
            pixel_recall=None if absent else dice,
            lesions=0 if absent else 1,
            lesions_found=0 if absent or empty else 1,
            false_lesions=int(absent and not empty),
            brier=float(rng.beta(2, 20)),
            uncertainty=float(np.clip(0.9 - dice + rng.normal(0, 0.1), 0, 1)),
            attributes=json.dumps(
                {"class": target, "size": ("small", "large")[index % 2], "sex": "mf"[image // 2 % 2]}
            ),
        )
        rows.append(row)
    return rows, shapes


def small_images(names: Sequence[str], dataset: str, seed: int) -> Iterator[SmallImage]:
    """Grey, speckled, each another: about as hard to compress as ultrasound."""
    for index, name in enumerate(names):
        rng = np.random.default_rng([seed, index])
        coarse = Image.fromarray(rng.integers(20, 200, (12, 16), dtype=np.uint8)).resize((GRID, HEIGHT), 3)
        speckle = rng.gamma(4.0, 0.25, (HEIGHT // 2, GRID // 2)).repeat(2, 0).repeat(2, 1)
        pixels = np.clip(np.asarray(coarse) * speckle, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="WEBP", quality=75, method=2)
        yield SmallImage(dataset, name, GRID, HEIGHT, file.getvalue())


def outline_of(shape: Shape) -> Outline:
    """Both ellipses as path data; an absent one is an empty path."""
    return Outline(_path(shape.truth), _path(shape.answer))


def _path(ellipse: tuple[float, float, float, float] | None) -> str:
    if ellipse is None:
        return ""
    x, y, a, b = ellipse
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    points = np.stack([x + a * np.cos(angles), y + b * np.sin(angles)], axis=1).round().astype(int)
    steps = np.diff(points, axis=0)
    return f"M{points[0, 0]} {points[0, 1]}" + "".join(f"l{dx} {dy}" for dx, dy in steps if dx or dy) + "z"


def copies(rows: Sequence[SampleScore], condition: str, loss: float, seed: int) -> list[SampleScore]:
    """The same samples under a condition that costs about so much Dice."""
    rng = np.random.default_rng([20261127, seed])
    found = []
    for row in rows:
        dice = None if row.dice is None else float(np.clip(row.dice - rng.uniform(0, 2 * loss), 0, 1))
        found.append(replace(row, condition=condition, dice=dice, iou=None if dice is None else dice / (2 - dice)))
    return found
