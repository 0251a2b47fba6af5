"""How much a planned run does: steps, validations, images. Counted from annotations alone; free of torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlseg.data import load_pixels, read_dataset
from vlseg.jobs.datasets import of_target
from vlseg.jobs.subsets import choose
from vlseg.prompts import Prompted, annotate, select
from vlseg.records import Dataset, RunConfig
from vlseg.records.estimate import Parts
from vlseg.records.study import Planned


@dataclass(frozen=True)
class Amounts:
    """What a run has to do.

    Attributes:
        parts: "fixed" 1, "entries" of the data that are opened, "images" read or asked about; of a training "steps",
            "validations", "val_reads" (images the first time), "val_images" (of all validations), "threshold_images".
        features: image variants that are encoded unless they are kept already, by whose they are.
        rows: samples an image, at most those that a step takes.
    """

    parts: Parts
    features: dict[str, int] = field(default_factory=dict)
    rows: float = 1.0


class Counting:
    """Amounts of runs; each dataset is read once."""

    def __init__(self) -> None:
        self._datasets: dict[tuple[str, str | None], Dataset] = {}
        self._sides: dict[str, int] = {}
        self._selected: dict[tuple[str, str | None, str, str], list[Prompted]] = {}

    def of(self, run: Planned, runs: Mapping[str, Planned]) -> Amounts:
        """What a run has to do.

        Args:
            run: planned.
            runs: all of the plan, by name.

        Raises:
            InputError: data that cannot be read or chosen from so.
        """
        if run.kind == "train":
            return self._training(run)
        return self._comparing(run, runs) if run.kind == "worth" else self._asking(run)

    def dataset(self, path: str, target: str | None = None) -> Dataset:
        """A dataset with its prompts' sources; masks are not opened."""
        key = (path, target)
        if key not in self._datasets:
            whole = annotate(read_dataset(Path(path), target=target))
            self._datasets[key] = whole if target is None else of_target(whole, target)
        return self._datasets[key]

    def side(self, path: str, target: str | None = None) -> int:
        """Side of a square as large as the dataset's first image."""
        if path not in self._sides:
            dataset = self.dataset(path, target)
            height, width = load_pixels(dataset.samples[0], dataset.info).shape[:2]
            self._sides[path] = round(math.sqrt(height * width))
        return self._sides[path]

    def samples(self, paths: Sequence[str], prompt: str, split: str, target: str | None = None) -> list[Prompted]:
        """Those of a split under a prompt, dataset after dataset."""
        found: list[Prompted] = []
        for path in paths:
            key = (path, target, prompt, split)
            if key not in self._selected:
                self._selected[key] = select(self.dataset(path, target), prompt, split)
            found += self._selected[key]
        return found

    def _training(self, run: Planned) -> Amounts:
        config, paths = RunConfig.model_validate(run.config), list(run.data.values())
        train, val = (self.samples(paths, config.prompt, split, config.target) for split in ("train", "val"))
        chosen = choose(train, val, config)
        images = image_count(_labelled(chosen.train))
        validated = _labelled(chosen.val)
        val_images, limit = image_count(validated), config.validate_limit
        if limit is not None:  # which samples, and so how many images, is drawn
            val_images = min(val_images, limit)
        pseudo = image_count(chosen.train) - images if config.pseudo_labels != "none" else 0
        steps, validations = lengths(config, images, pseudo)
        validations = validations if validated else 0
        parts = {
            "fixed": 1.0,
            "entries": float(sum(len(self.dataset(path, config.target).samples) for path in paths)),
            "images": float(images),
            "steps": float(steps),
            "validations": float(validations),
            "val_reads": float(val_images if validations else 0),
            "val_images": float(validations * val_images),
            "threshold_images": float(image_count(validated)) if config.threshold == "val" else 0.0,
        }
        features = {}
        if config.feature_cache is not None:
            epochs = math.ceil(steps / max(1, epoch_steps(config, images)))
            views = min(config.feature_views, epochs) if config.augment else 1
            features = {f"{run.near} train {'+'.join(paths)}": (images + pseudo) * views}
            if validations:
                features[f"{run.near} val {'+'.join(paths)}"] = val_images
        rows = len(_labelled(chosen.train)) / max(1, images)
        return Amounts(parts, features, min(rows, config.prompts_per_image))

    def _asking(self, run: Planned) -> Amounts:
        config, paths, target = run.config, list(run.data.values()), run.config.get("target")
        asked = self.samples(paths, config["prompt"], config["split"], target)
        if run.kind in ("probe", "attack") or "smoothing" in config:
            asked = _labelled(asked)
        images, limit = image_count(asked), config.get("limit")
        val = 0
        if run.kind == "probe" or config.get("condition") == "blind":  # a threshold, or a rule, is found there
            val = image_count(_labelled(self.samples(paths, config["prompt"], "val", target)))
        if limit is not None:
            images, val = min(images, limit), min(val, limit)
        parts = {
            "fixed": 1.0,
            "entries": float(sum(len(self.dataset(path, target).samples) for path in paths)),
            "images": float(images + val),
        }
        features = {f"{run.near} {config['split']} {'+'.join(paths)}": images} if config.get("cache") else {}
        return Amounts(parts, features, len(asked) / max(1, image_count(asked)))

    def _comparing(self, run: Planned, runs: Mapping[str, Planned]) -> Amounts:
        """Of what a leak is worth: for each pair of trainings its evaluations, all together.

        Either is asked under its own prompt, the leaking one under the other's, and without the image, in two ways.
        """
        paths, split, target = list(run.data.values()), run.config["split"], run.config.get("target")
        pairs = len(run.needs) // 2
        leaking, honest = (
            self.samples(paths, runs[need].config["prompt"], split, target) for need in (run.needs[0], run.needs[-1])
        )
        images = 2 * image_count(honest) + image_count(leaking) + 2 * image_count(_labelled(leaking))
        entries = sum(len(self.dataset(path, target).samples) for path in paths)
        parts = {"fixed": 4.0 * pairs, "entries": 4.0 * pairs * entries, "images": float(pairs * images)}
        return Amounts(parts, {}, len(honest) / max(1, image_count(honest)))


def image_count(items: Sequence[Prompted]) -> int:
    """Different images."""
    return len({(item.sample.dataset, item.sample.image_id) for item in items})


def _labelled(items: Sequence[Prompted]) -> list[Prompted]:
    return [item for item in items if item.sample.mask_paths]


def epoch_steps(config: RunConfig, images: int) -> int:
    """Optimiser steps of an epoch over so many images."""
    batches = math.ceil(images / config.batch_size)
    return batches if config.accumulate == "auto" else math.ceil(batches / config.accumulate)


def lengths(config: RunConfig, images: int, pseudo: int = 0) -> tuple[int, int]:
    """Optimiser steps and validations of a training that is not stopped early.

    Args:
        config: of the training.
        images: with a mask.
        pseudo: without one, which get pseudo-labels.
    """
    warmup = config.warmup_epochs if pseudo else 0
    early, later = epoch_steps(config, images), epoch_steps(config, images + pseudo)
    whole = warmup * early + (config.epochs - warmup) * later
    steps = min(config.max_steps or whole, whole)
    if not steps:
        return 0, 0
    epochs = steps / early if steps < warmup * early else warmup + (steps - warmup * early) / later
    return steps, math.ceil(epochs / config.validate_every)


def new_features(amounts: Amounts, known: dict[str, int]) -> int:
    """Image variants that nobody has encoded before; `known` is brought up to them."""
    new = 0
    for whose, count in amounts.features.items():
        new += max(0, count - known.get(whose, 0))
        known[whose] = max(count, known.get(whose, 0))
    return new
