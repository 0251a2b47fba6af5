"""What smaller weights and other numbers cost trained models, exported as `vlseg export` does it.

    python benchmarks/export_cost.py FOLDER [--only clipseg] [--data BUSI]

FOLDER keeps data, runs and features; what is there is used, and a killed training goes on. Two models:

clipseg  CLIPSeg ViT-B/16 at 352 px. Published weights are no part of this project, so its encoders are random and stay
         so; its decoder trains on phantoms, where the words choose between two classes of objects.
guide    EfficientNet-Lite0 and MiniLM, pretrained, frozen; the decoder trains on images of BUSI (624, reduced).

For each export: the mean Dice on the run's val set, the paired difference to PyTorch's in single precision with its
interval over patients, and the Dice of its masks to PyTorch's, mean and least over samples. Writes
results/export_cost.json, anew after each export; docs/export.md shows it (`python benchmarks/export_cost.py --table`).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import torch
from export_cost_data import by_class, start
from machine import machine

from vlseg.evaluation import Prediction, Query, Setting, clean_queries, evaluate, load, model_answers, ready
from vlseg.jobs.export_checks import CPU, MOST_LOST, Held, calibration_examples, held_of
from vlseg.jobs.results import Result, gather, paired
from vlseg.jobs.settings import config_of
from vlseg.jobs.train import train_run
from vlseg.models import Segmenter, load_model
from vlseg.models.exported.lighter import lighten, to_openvino
from vlseg.models.exported.write import write_exported
from vlseg.records import finished_run

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "export_cost.json"
BUSI = HERE.parent.parent / "shared" / "data" / "busi_train_small"
TRAIN, VAL = 150, 120
KINDS = {
    "onnx fp16": ("onnx", "fp16", "f32"),
    "onnx int8": ("onnx", "int8", "f32"),
    "openvino fp16": ("openvino", "fp16", "f32"),
    "openvino int8": ("openvino", "int8", "f32"),
    "openvino bf16": ("openvino", "fp32", "bf16"),
}
COMMON: dict[str, Any] = {"device": "cpu", "threads": 1, "augment": False}
Row = dict[str, Any]
Masks = dict[tuple[str, str], np.ndarray]


def trained(name: str, root: Path, busi: Path) -> Path:
    """The run's folder; trained where it is not yet, as `vlseg train` does it with these options."""
    run = root / name
    if (run / "run.json").exists():
        train_run(None, run, resume=True)
        return run
    if name == "clipseg":
        if not (root / "data").exists():
            by_class(root / "data", train=TRAIN, val=VAL)
        if not (root / "start").exists():
            start(root / "start")
        own = {"weights": str(root / "start"), "data": [str(root / "data")], "regime": "decoder", "batch_size": 4}
        own |= {"epochs": 14, "learning_rate": 1e-3, "patience": None, "validate_every": 2, "validate_limit": 40}
    else:
        own = {"data": [str(busi)], "prompt": "p6", "epochs": 25, "validate_every": 5}
    train_run(config_of({**COMMON, **own, "model": name, "feature_cache": str(root / f"features-{name}")}), run)
    return run


def measured(run: Path, kinds: Sequence[str]) -> Iterator[Row]:
    """The task's Dice in PyTorch and what a kind of export costs, of one kind after the other."""
    predictor = load(str(run), device="cpu", threads=1)
    held = held_of(run, [], None, None, "val")
    assert held is not None
    model = ready(predictor.model, CPU)
    before, masks = scored(model, held, predictor.threshold)
    config, samples = finished_run(run).config, len(before.values)
    row: Row = {
        "model": model.spec.name,
        "data": held.pool.name,
        "prompt": held.pool.prompt,
        "image_size": model.spec.image_size[0],
        "threshold": predictor.threshold,
        "regime": config["regime"],
        "epochs": config["epochs"],
        "samples": samples,
        "images": len({item.sample.image_id for item in held.items}),
        "groups": len(set(before.groups.values())),
        "dice": mean(before),
        "date": time.strftime("%Y-%m-%d"),
    }
    examples = calibration_examples(model, held)
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            found, fell_back = exported(kind, model, Path(folder), predictor.threshold, held, before, examples)
            after, others = found
        compared = paired(before, after)
        overlaps = [overlap(masks[key], others[key]) for key in masks]
        cost = {
            "dice": mean(after),
            "difference": compared.difference,
            "ci95": compared.ci95,
            "masks_dice_mean": float(np.mean(overlaps)),
            "masks_dice_least": float(np.min(overlaps)),
            "convolutions_in_single_precision": fell_back,
        }
        print(row["model"], kind, cost, flush=True)
        yield {**row, "kinds": {kind: cost}}


def exported(
    kind: str,
    model: Segmenter,
    folder: Path,
    threshold: float,
    held: Held,
    before: Result,
    examples: Sequence[tuple[np.ndarray, str]],
) -> tuple[tuple[Result, Masks], bool]:
    """Scores and masks of a kind; like `vlseg export`, int8 convolutions are given up where they move the Dice."""
    engine, weights, computes = KINDS[kind]
    for number, shown in enumerate([examples, ()] if weights == "int8" else [()]):
        place = folder / str(number)
        place.mkdir()
        write_exported(model, place, threshold=threshold)
        if engine == "onnx":
            lighten(place, weights, shown)
        else:
            to_openvino(place, weights=weights, computes="bf16" if computes == "bf16" else "f32", examples=shown)
        other = ready(load_model(str(place)), CPU)
        found = scored(other, held, threshold)
        if abs(mean(found[0]) - mean(before)) <= MOST_LOST:
            break
    return found, number > 0


def scored(model: Segmenter, held: Held, threshold: float) -> tuple[Result, Masks]:
    """A Dice for each sample, and each answer's mask."""
    spec, infos = model.spec, held.pool.infos
    setting = Setting(spec.name, spec.protocol, spec.engine, 0, CPU, threshold)
    masks: Masks = {}
    own = model_answers(model, setting, None, infos)

    def answer(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        for query, prediction in zip(group, own(image, group), strict=True):
            masks[query.prompted.sample.id, query.wording] = prediction.mask
            yield prediction

    return gather(spec.engine, "dice", evaluate(answer, clean_queries(held.items), infos, setting)), masks


def mean(result: Result) -> float:
    """Over samples."""
    return float(np.mean(list(result.values.values())))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks; 1 where both are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def table(told: Row) -> str:
    """What docs/export.md shows."""
    head = ["", "Dice of the task", "difference in points, 95 % interval", "masks' Dice to PyTorch's, mean and least"]
    lines = [head, ["---"] * len(head)]
    for row in told["rows"]:
        where = f"{row['model']}, {row['data']}, {row['samples']} samples of {row['groups']} groups"
        lines.append([f"**{where}**, PyTorch fp32", f"{row['dice']:.4f}", "", ""])
        for kind, found in row["kinds"].items():
            low, high = found["ci95"]
            lines.append(
                [
                    kind + (" (convolutions in single precision)" if found["convolutions_in_single_precision"] else ""),
                    f"{found['dice']:.4f}",
                    f"{100 * found['difference']:+.3f} [{100 * low:+.3f}, {100 * high:+.3f}]",
                    f"{found['masks_dice_mean']:.4f}, {found['masks_dice_least']:.4f}",
                ]
            )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def store(row: Row) -> None:
    """Beside what other kinds of the same model, and other models, gave."""
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    rows = {one["model"]: one for one in told["rows"]}
    kinds = rows.get(row["model"], row)["kinds"] | row["kinds"]
    rows[row["model"]] = {**row, "kinds": {kind: kinds[kind] for kind in KINDS if kind in kinds}}
    packages = {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}
    told = {"machine": machine("cpu"), "packages": packages, "rows": [rows[name] for name in sorted(rows)]}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", default=["clipseg", "guide"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--data", type=Path, default=BUSI)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.table or asked.folder is None:
        print(table(json.loads(RESULTS.read_text())))
        return
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        for row in measured(trained(name, asked.folder, asked.data), asked.kinds):
            store(row)


if __name__ == "__main__":
    main()
