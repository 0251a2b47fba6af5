"""A process that measures what kinds of runs cost, on a few images each. Nothing of it stays, nothing counts as a run.

It has the environment of a worker, and its scratch folder lies in the study. A line of JSON for each kind goes to
stdout as soon as it is known.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vlseg.jobs.attack import attack_on
from vlseg.jobs.attack_plan import attack_options
from vlseg.jobs.datasets import open_pool
from vlseg.jobs.evaluate import evaluate_job, evaluate_masks
from vlseg.jobs.fitting import OpenRun, close_run, open_run, trainer_of, untrained
from vlseg.jobs.probe import probe_on
from vlseg.jobs.run_folder import begin
from vlseg.jobs.scoring import Evaluated, EvaluateOptions, open_job, prompted_split
from vlseg.prompts import Prompted
from vlseg.records import RunConfig
from vlseg.records.estimate import KindCost, Parts
from vlseg.records.ledger import state_of
from vlseg.records.pictures import PICTURES
from vlseg.records.study import Plan, Planned
from vlseg.studies.execute import asked, training_config
from vlseg.studies.holding import Stopping, end_with, limit_memory
from vlseg.studies.naming import RUN
from vlseg.training import Fit, FitResult
from vlseg.training.checkpoint import save_checkpoint
from vlseg.training.precision import deterministic_on_cpu
from vlseg.training.weights import changing_weights

STEPS_SECONDS = 15.0
"""Where a few steps of the whole batch would take longer, smaller ones are measured."""
FEW, MORE = 4, 16
"""Images that are asked about; MORE where that takes less than a second."""
WARM_SECONDS = 5.0
"""The first kind is measured twice where that takes less: what is loaded only once is no part of a run."""
ROW_BYTES = 75.0
"""Of scores.parquet, beyond the few that are measured."""


class Pilot:
    """What was measured and made so far in this process.

    Attributes:
        clock: seconds; of the wall, unless a test counts otherwise.
    """

    def __init__(self, study: Path, scratch: Path, clock: Callable[[], float] = time.perf_counter) -> None:
        self.study, self.scratch, self.clock = study, scratch, clock
        self.plan = Plan.read(study)
        self.runs = {run.name: run for run in self.plan.runs}
        self._trained: dict[str, Path] = {}
        self._entry: dict[tuple[str, ...], float] = {}
        self._warm: set[str] = set()
        self._count = 0

    def measure(self, name: str, like: str | None = None) -> KindCost:
        """What the run of a name costs.

        Args:
            name: in the plan.
            like: the training whose model is asked, where it was measured here, too.

        Raises:
            Exception: whatever stops such a run.
        """
        run = self.runs[name]
        start = self.clock()
        found = self._measured(run, like)
        if run.kind not in self._warm and self.clock() - start < WARM_SECONDS:
            found = self._measured(run, like)
        self._warm.add(run.kind)
        return found

    def _measured(self, run: Planned, like: str | None) -> KindCost:
        shutil.rmtree(self.scratch / "features", ignore_errors=True)  # to be encoded anew
        if run.kind == "train":
            return self._training(run)
        return {
            "evaluate": self._evaluation,
            "probe": self._probe,
            "attack": self._attack,
            "masks": self._masks,
        }[run.kind](run, like)

    def _new(self) -> Path:
        self._count += 1
        return self.scratch / str(self._count)

    def _timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        start = self.clock()
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self.clock() - start, result

    def _training(self, run: Planned) -> KindCost:
        config, folder = self._config(run), self._new()
        with ExitStack() as held:
            reading, started = self._timed(lambda: begin(config, folder, held, places=None))
            making, opened = self._timed(lambda: open_run(started, held))
            entries = sum(len(dataset.samples) for dataset in opened.pool.datasets)
            opened.val = _few([item for item in opened.val if item.sample.mask_paths], FEW)
            preparing, trainer = self._timed(lambda: trainer_of(opened))
            if trainer is None:
                seconds, result = self._timed(lambda: untrained(opened))
                parts = {"val_reads": seconds / max(1, _images(opened.val))}
            else:
                with deterministic_on_cpu(trainer.arithmetic.device):
                    parts = self._steps(opened, trainer) | self._validation(opened, trainer)
                result = FitResult("done", 1, 1, 0.5, 1)
            parts["threshold_images"] = parts.get("val_images", 0.0) + parts.get("features", 0.0)
            closing, _ = self._timed(lambda: close_run(opened, result))
        self._trained[run.name] = folder
        self._entry[tuple(run.data.values())] = reading / max(1, entries)
        parts |= {"entries": reading / max(1, entries), "fixed": making + preparing + closing}
        size = {"fixed": float(_bytes(folder))}
        if trainer is not None and trainer.known is not None:
            size["features"] = float(self._feature_bytes())
        return KindCost(what="", seconds=parts, bytes=size)

    def _config(self, run: Planned) -> RunConfig:
        """That of the run, features kept in the scratch folder, what another run has yet to learn left out."""
        weights = str(run.config.get("weights") or "")
        if weights.startswith(RUN):
            at = state_of(self.study, weights.removeprefix(RUN))
            if at is None or at.state != "done":
                run = run.model_copy(update={"config": {**run.config, "weights": None}})
        config = training_config(self.study, run)
        cache = None if config.feature_cache is None else str(self.scratch / "features")
        return config.model_copy(update={"feature_cache": cache, "threshold": None, "validate_limit": None})

    def _feature_bytes(self) -> float:
        files = list((self.scratch / "features").glob("*/*/*.safetensors"))
        return max((file.stat().st_size for file in files), default=0)  # prompts' are smaller

    def _steps(self, opened: OpenRun, trainer: Fit) -> Parts:
        """Of an optimiser step; of an image that is read the first time, or encoded."""
        config = trainer.config
        accumulate = config.accumulate if isinstance(config.accumulate, int) else 1
        batch = config.batch_size
        small = min(2, batch)  # batch norm needs more than one
        trainer.config = config.model_copy(update={"batch_size": small, "accumulate": 1, "workers": 0})
        first, _ = self._timed(lambda: self._step(trainer))
        if first < STEPS_SECONDS / 4:
            first, _ = self._timed(lambda: self._step(trainer))
        guess = first * batch / small
        if 4 * guess > STEPS_SECONDS:
            batch = max(small, int(batch * STEPS_SECONDS / (4 * guess)))
        other = {"batch_size": batch, "accumulate": 1, "workers": 0, "seed": config.seed + 1}
        trainer.config = config.model_copy(update=other)  # of another seed: images that are new
        store = trainer.known.store if trainer.known is not None else None
        before = store.used if store is not None else 0
        cold, _ = self._timed(trainer.first_batch)
        added = (store.used if store is not None else 0) - before
        preparing, _ = self._timed(trainer.first_batch)
        repeats = 1 if guess > 1 else 5
        whole = self._timed(lambda: self._step(trainer, repeats))[0] / repeats
        if config.workers:
            whole = max(whole - preparing, preparing / config.workers)
        share = config.batch_size / batch
        encoded = added / self._feature_bytes() if added else 0
        trainer.config = config
        once = max(0.0, cold - preparing)
        return {
            "steps": whole * accumulate * share,
            "images": 0.0 if store is not None else once / batch,
            "features": once / encoded if encoded else 0.0,
        }

    def _step(self, trainer: Fit, times: int = 1) -> None:
        for _ in range(times):
            trainer.gradients([trainer.first_batch()])
            trainer.arithmetic.step(trainer.optimizer, trainer.config.clip_norm)

    def _validation(self, opened: OpenRun, trainer: Fit) -> Parts:
        """Of an image that is validated on, of one the first time, and of a validation beside its images."""
        if trainer.validate is None:
            return {}
        trainer.network.eval()
        first, _ = self._timed(trainer.validate)
        again, _ = self._timed(trainer.validate)
        weights = changing_weights(trainer.network, trainer.training)
        path = opened.out / "checkpoints" / "best.pt"
        saving, _ = self._timed(lambda: save_checkpoint(path, {"model": weights}))
        images = _images(opened.val)
        once = 0.0 if trainer.known is not None else max(0.0, first - again) / images
        return {"val_images": again / images, "val_reads": once, "validations": saving}

    def _evaluation(self, run: Planned, like: str | None) -> KindCost:
        source, options = self._source(run, like)
        paths = list(run.data.values())
        opening, job = self._timed(lambda: open_job(source, paths, options, self._new()))
        entry = self._of_entry(run, job.prompt)
        entries = sum(len(dataset.samples) for dataset in job.pool.datasets)
        prompted = prompted_split(job.pool, options.split)
        size: Parts = {}

        def ask(count: int) -> float:
            items = _few(prompted, count, several=options.condition == "swapped")
            folder = replace(job, out=self._new())
            seconds, evaluated = self._timed(lambda: evaluate_job(folder, items, begin=time.monotonic()))
            size.update(_size(evaluated, _images(items)))
            return seconds

        few = FEW * 4 if options.condition == "swapped" else FEW
        cold, warm = ask(few), ask(few)
        count = few * MORE // FEW if warm < 1 else 2 * few
        there = _images(prompted)
        larger = warm, min(few, there)
        if there > few:
            larger = ask(count), min(count, there)
        image = max(0.0, larger[0] - warm) / max(1, larger[1] - few) if there > few else warm / there
        blind = options.condition == "blind"  # whose rule is found on val, all of it in each call
        val = _images([item for item in job.pool.split("val") if item.sample.mask_paths]) if blind else 0
        seconds = {
            "entries": entry,
            "fixed": max(0.0, opening - entry * entries) + max(0.0, warm - image * (min(few, there) + val)),
            "images": image,
            "features": max(0.0, cold - warm) / min(few, there) if options.cache else 0.0,
        }
        return KindCost(what="", seconds=seconds, bytes=size)

    def _of_entry(self, run: Planned, prompt: str) -> float:
        """Seconds for each entry of the data when they are opened."""
        paths = tuple(run.data.values())
        if paths not in self._entry:
            seconds, pool = self._timed(lambda: open_pool(list(paths), prompt))
            self._entry[paths] = seconds / max(1, sum(len(dataset.samples) for dataset in pool.datasets))
        return self._entry[paths]

    def _source(self, run: Planned, like: str | None) -> tuple[str, EvaluateOptions]:
        """What is asked: the run's model if it is there, or that of a training that was measured."""
        at = state_of(self.study, run.needs[0]) if run.needs else None
        trained = None
        if run.needs and (at is None or at.state != "done"):
            need = like or run.needs[0]
            if need not in self._trained:
                self._training(self.runs[need])
            trained = self._trained[need]
        source, options = asked(self.study, run, trained)
        return source, replace(options, cache=self.scratch / "features" if options.cache else None)

    def _probe(self, run: Planned, like: str | None) -> KindCost:
        source, options = self._source(run, like)
        paths = list(run.data.values())
        return self._asking(
            run, options, lambda limit: probe_on(source, paths, options, self._new(), limit=limit).evaluated
        )

    def _attack(self, run: Planned, like: str | None) -> KindCost:
        source, options = self._source(run, like)
        paths = list(run.data.values())

        def attack(limit: int) -> Evaluated:
            asked = attack_options(run.config["attack"], limit)
            return attack_on([source], paths, options, asked, out=self._new())[0].evaluated

        return self._asking(run, options, attack)

    def _asking(self, run: Planned, options: EvaluateOptions, call: Callable[[int], Evaluated]) -> KindCost:
        """Of a job that can be limited, by two limits."""
        paths = list(run.data.values())
        size: Parts = {}

        def ask(limit: int) -> tuple[float, int]:
            seconds, evaluated = self._timed(lambda: call(limit))
            images = len({(row.dataset, row.image_id, row.condition == "val") for row in evaluated.scores})
            size.update(_size(evaluated, max(1, images)))
            return seconds, images

        few, one = ask(1)
        more, several = ask(MORE if few < 1 else FEW)
        image = max(0.0, more - few) / max(1, several - one)
        entry = self._of_entry(run, options.prompt or "class")
        entries = sum(len(dataset.samples) for dataset in open_pool(paths, options.prompt or "class").datasets)
        fixed = max(0.0, few - image * one - entry * entries)
        return KindCost(what="", seconds={"entries": entry, "fixed": fixed, "images": image}, bytes=size)

    def _masks(self, run: Planned, like: str | None) -> KindCost:
        options = EvaluateOptions(
            prompt=run.config["prompt"],
            split=run.config["split"],
            target=run.config.get("target"),
            pictures=run.config.get("pictures", True),
        )
        paths, folder = list(run.data.values()), self._new()
        seconds, evaluated = self._timed(lambda: evaluate_masks(Path(run.config["masks"]), paths, options, folder))
        images = len({(row.dataset, row.image_id) for row in evaluated.scores})
        return KindCost(
            what="", seconds={"images": seconds / max(1, images)}, bytes={"fixed": float(_bytes(evaluated.folder))}
        )


def _few(items: Sequence[Prompted], count: int, *, several: bool = False) -> list[Prompted]:
    """All samples of the first so many images; `several`: of those with more than one sample first."""
    images: dict[tuple[str, str], list[Prompted]] = {}
    for item in items:
        images.setdefault((item.sample.dataset, item.sample.image_id), []).append(item)
    order = sorted(images.values(), key=lambda inside: -len(inside)) if several else list(images.values())
    return [item for inside in order[:count] for item in inside]


def _images(items: Sequence[Prompted]) -> int:
    return max(1, len({(item.sample.dataset, item.sample.image_id) for item in items}))


def _size(evaluated: Evaluated, images: int) -> Parts:
    """Bytes of an evaluation's folder, whatever the number of images and of each."""
    pictures = _bytes(evaluated.folder / PICTURES)
    rows = ROW_BYTES * len(evaluated.scores)
    return {"fixed": float(_bytes(evaluated.folder) - pictures), "images": (rows + pictures) / images}


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """`python -m vlseg.studies.pilot STUDY SCRATCH [GIB]`: runs on stdin, a line of JSON for each on stdout."""
    end_with(os.getppid(), Stopping())
    study, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        limit_memory(float(sys.argv[3]))
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what jobs print is no answer
    try:
        pilot = Pilot(study, scratch)
        for line in sys.stdin:
            asked_for = json.loads(line)
            try:
                found = pilot.measure(asked_for["run"], asked_for.get("like"))
            except Exception as error:
                found = KindCost(what="", unknown=" ".join(str(error).split())[:300] or type(error).__name__)
            print(json.dumps({"kind": asked_for["kind"], "cost": found.model_dump()}), file=told, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
