"""The one training loop, for every model: freeze, step, validate, checkpoint, resume exactly."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vlseg.data import made_ahead
from vlseg.data.seeds import derived_seed
from vlseg.models import Segmenter, as_module
from vlseg.models.device import check_precision, resolve_device
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, InputError, RunConfig
from vlseg.training.adversarial import Adversary
from vlseg.training.augment import Augmentation
from vlseg.training.batches import (
    Batch,
    Draw,
    EpochBatches,
    ImageCache,
    Known,
    checksum,
    group_by_image,
    part_of,
)
from vlseg.training.checkpoint import load_checkpoint, rng_state, save_checkpoint, set_rng_state
from vlseg.training.distributed import (
    add_gradients,
    add_up,
    average_tensors,
    broadcast,
    is_first,
    rank,
    share_tensors,
    world,
)
from vlseg.training.drawing import chunks_of, repeated, rewording_for, steps_shown
from vlseg.training.freezing import apply_regime, parameter_groups, train_mode
from vlseg.training.history import HistoryRow, Journal
from vlseg.training.interrupt import Stop, stop_on_interrupt
from vlseg.training.memory import checkpoint_blocks
from vlseg.training.precision import Arithmetic, deterministic_on_cpu
from vlseg.training.progress import ProgressBar
from vlseg.training.schedule import Progress, learning_rate
from vlseg.training.semi import SemiSupervised, has_unlabelled
from vlseg.training.step import TrainingStep, counted_rows, training_loss
from vlseg.training.weights import changing_weights, frozen_checksum, put_back, running_statistics

SAVE_SECONDS, SAVE_SHARE = 2.0, 20
"""A checkpoint is due after two seconds, or twenty times what the last one took to write."""


@dataclass(frozen=True)
class FitResult:
    """How training ended.

    Attributes:
        status: interrupted by Ctrl-C, or done.
        steps, epochs: done, over all sittings; an epoch that was not finished does not count.
        best_val_dice: of the weights that are kept; None where nothing was validated. A gain below 1e-4 is none.
        best_step: when it was reached.
        seconds: spent, over all sittings.
        skipped: of the steps, those whose gradients overflowed in fp16 and were left out.
    """

    status: Literal["done", "interrupted"]
    steps: int
    epochs: int
    best_val_dice: float | None
    best_step: int | None
    seconds: float = 0.0
    skipped: int = 0


def fit(
    model: Segmenter,
    train: Sequence[Prompted],
    infos: Mapping[str, DatasetInfo],
    config: RunConfig,
    folder: Path,
    *,
    validate: Callable[[], float] | None = None,
    resume: bool = False,
    known: Known | None = None,
) -> FitResult:
    """Train `model` in place and leave in it the weights of the best val Dice (else the last).

    Writes history.csv and checkpoints/ into `folder`. With `resume` it goes on from
    checkpoints/last.pt where there is one. On a CPU with the same thread count and versions an
    interrupted and resumed run ends with exactly the weights of an uninterrupted one.

    Where several processes train together (see `vlseg.training.distributed`) all call this alike; each takes its part
    of every batch, and the first one writes.

    Args:
        model: a segmenter; also a torch module.
        train: prompted samples; those without a truth are left out, or get pseudo-labels (see `RunConfig`).
        infos: dataset info by dataset name.
        config: see RunConfig.
        folder: the run's folder.
        validate: gives the val Dice of the model as it is; None = no validation.
        resume: go on from the last checkpoint.
        known: where features of frozen encoders are kept; None = encode in every step.

    Raises:
        InputError: nothing to train on, a checkpoint of other data, an unknown regime.
        FloatingPointError: the loss or the gradients are not finite.
    """
    return Fit(model, train, infos, config, folder, validate=validate, resume=resume, known=known).run()


class Fit:
    """The state of one call of `fit`, whose arguments it takes.

    `tell` is given all rows of history.csv that a killed run would still have, after each checkpoint and at the end.
    """

    def __init__(
        self,
        model: Segmenter,
        train: Sequence[Prompted],
        infos: Mapping[str, DatasetInfo],
        config: RunConfig,
        folder: Path,
        *,
        validate: Callable[[], float] | None = None,
        resume: bool = False,
        known: Known | None = None,
        tell: Callable[[Sequence[HistoryRow]], None] | None = None,
    ) -> None:
        self.model, self.infos, self.config, self.folder, self.validate = model, infos, config, folder, validate
        self.known = known
        self.tell = tell or (lambda rows: None)
        self.network = as_module(model)
        self.labelled = group_by_image(train)
        if not self.labelled:
            raise InputError("data: no training sample has a mask; check the train split and the prompt's name")
        self.training = apply_regime(model, config.regime)
        device = resolve_device(config.device)
        check_precision(config.precision, device)
        self.arithmetic = Arithmetic(config.precision, device)
        self.network.to(device)
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            parameter_groups(model, config.encoder_rate),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        if config.checkpoint_activations:
            checkpoint_blocks(model)
        self.module = TrainingStep(model, compiled=config.compile)
        self.running_statistics = running_statistics(self.training)
        share_tensors(list(self.network.state_dict().values()))  # all start from the same
        self.stop, self.stops = Stop(), False
        self.progress = Progress()
        self.journal = Journal()
        self.parts: list[dict[str, Tensor]] = []
        self.adversary = None if config.adversarial == "none" else Adversary(model, config, self.arithmetic)
        self.status: Literal["done", "interrupted"] = "done"
        reduced_to = max(model.spec.image_size) if config.image_cache == "reduced" else None
        self.cache = ImageCache(infos, reduced_to=reduced_to)
        self.semi: SemiSupervised | None = None
        self.warmup, self.groups = 0, self.labelled
        if has_unlabelled(train, config):
            self.warmup, self.groups = config.warmup_epochs, group_by_image(train, unlabelled=True)
            self.semi = SemiSupervised(model, train, config, folder / "checkpoints", device, known)
        self.early_steps = len(self._chunks(0)) if self.warmup else 0
        self.later_steps = len(self._chunks(self.warmup))
        steps = self.warmup * self.early_steps + (config.epochs - self.warmup) * self.later_steps
        self.total_steps = min(config.max_steps or 10**12, steps)
        self.saved, self.save_cost = time.monotonic(), 0.0
        if broadcast(resume and self._last.exists()):
            self._load()

    def run(self) -> FitResult:
        """Train to the end, or to an interrupt."""
        with (
            deterministic_on_cpu(self.arithmetic.device),
            stop_on_interrupt() as stop,
            ProgressBar(self.total_steps, self.progress.step, silent=not is_first()) as bar,
        ):
            steps = self.steps(bar, stop)
            chunk = next(steps, None)
            while chunk is not None:
                chunk = advance(steps, self.gradients(chunk))
        return self.result()

    def steps(self, bar: ProgressBar, stop: Stop) -> Generator[list[Batch], float, None]:
        """The run, an optimiser step at a time: yields a step's batches and is sent their mean loss.

        Whoever drives it accumulates the gradients in between; random numbers, modes and the rate are set before.
        """
        self.stop = stop
        train_mode(self.model, self.training)
        while not self._finished():
            for chunk in self._epoch():
                rate = self._begin_step()
                loss = yield chunk
                self._end_step(loss, rate)
                bar.step(loss, self.progress.best)
                if self.stops or (world() == 1 and stop.requested):
                    self._save()
                    self.status = "interrupted"
                    return
                self._save_if_due()
                if self.progress.step >= self.total_steps:
                    break
            self._end_epoch(bar)
        # Again for a run that was killed between its last step and its last validation.
        self._end_epoch(bar)
        self._finish()

    def result(self) -> FitResult:
        """How it ended."""
        progress = self.progress
        return FitResult(
            self.status,
            progress.step,
            progress.epoch,
            progress.best,
            progress.best_step,
            seconds=self.journal.seconds(),
            skipped=progress.skipped,
        )

    @property
    def _last(self) -> Path:
        return self.folder / "checkpoints" / "last.pt"

    @property
    def _history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def _best(self) -> Path:
        return self.folder / "checkpoints" / "best.pt"

    def _finished(self) -> bool:
        patience = self.config.patience
        stale = patience is not None and self.progress.since_best >= patience
        warming = self.semi is not None and self.semi.labels.epoch is None
        return self.progress.step >= self.total_steps or (stale and not warming)

    def _chunks(self, epoch: int) -> list[list[list[Draw]]]:
        """The batches of an epoch, as many together as one optimiser step accumulates."""
        return chunks_of(self.groups if epoch >= self.warmup else self.labelled, self.config, epoch)

    def _epoch(self) -> Iterator[list[Batch]]:
        """The rest of the current epoch, an optimiser step at a time."""
        self._make_pseudo_labels()
        config, progress = self.config, self.progress
        first = self.warmup if progress.epoch >= self.warmup else 0
        drawn = first + (progress.epoch - first) // config.replays * config.replays
        chunks = self._chunks(drawn)
        shown = steps_shown(progress.epoch - drawn, progress.batch, len(chunks), config.replays)
        wanted = chunks[shown[0] : shown[-1] + 1] if shown else []
        plan = [part_of(draws, rank(), world()) for chunk in wanted for draws in chunk]
        augmentation = Augmentation(config.seed, drawn, config.zoom, config.rotate) if config.augment else None
        rewording = rewording_for(self.model.spec, config, drawn, self.infos)
        batches = EpochBatches(
            plan, self.model, self.cache, self.infos, augmentation, self.known, rewording, self.semi, drawn
        )
        yield from repeated(made_ahead(batches.__getitem__, len(plan), config.workers), chunks, shown, drawn)

    def _make_pseudo_labels(self) -> None:
        """Those of the current epoch, by the weights that it starts from, unless they are there.

        The first ones end the warm-up: what patience and plateau have counted until then was of another training.
        """
        semi, progress = self.semi, self.progress
        if semi is None or progress.epoch < self.warmup or semi.labels.epoch == progress.epoch:
            return
        if semi.labels.epoch is None:
            progress.since_best, progress.since_drop, progress.plateau_factor = 0, 0, 1.0
        self.network.eval()
        semi.labels.update(progress.epoch, self._answers(semi))

    def _answers(self, semi: SemiSupervised) -> Iterator[np.ndarray]:
        """Probabilities (h, w) of the samples without a mask, in order, on the images as they are."""
        batches = EpochBatches(semi.plan, self.model, self.cache, self.infos, None, self.known)
        for batch in made_ahead(batches.__getitem__, len(semi.plan), self.config.workers):
            with torch.no_grad():
                probabilities = self._forward(batch)[0].sigmoid()[:, 0].cpu().numpy()
            yield from probabilities

    def first_batch(self) -> Batch:
        """The first batch of the run, with everything in the mode that training has."""
        train_mode(self.model, self.training)
        return next(self._epoch())[0]

    def _begin_step(self) -> float:
        """Random numbers, modes and the rate of the coming step; the rate."""
        self.seed_step()
        train_mode(self.model, self.training)
        rate = learning_rate(self.config, self.progress, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        return rate

    def seed_step(self) -> None:
        """Random numbers of the coming step (dropout); each process has its own."""
        other = ("rank", rank()) if rank() else ()
        torch.manual_seed(derived_seed(self.config.seed, "step", self.progress.step, *other))

    def gradients(self, batches: Sequence[Batch]) -> float:
        """Accumulate the gradients of a step; its mean loss. Both are those of the whole step in every process."""
        total = torch.zeros((), device=self.arithmetic.device)
        for number, (batch, share) in enumerate(zip(batches, self._shares(batches), strict=True)):
            seen = self.adversary.against(batch, number, self._unnoted_loss) if self.adversary else batch
            loss = self.batch_loss(seen) / len(batches) * share
            self.arithmetic.backward(loss)
            if self.adversary:
                self.adversary.learn()
            total += loss.detach()
        return self._joined(float(total))  # waits for the device, once a step

    def _shares(self, batches: Sequence[Batch]) -> list[float]:
        """How much of each whole batch's loss this process's part is."""
        if world() == 1:
            return [1.0] * len(batches)
        counts = [0 if batch.spare else counted_rows(self.config, batch.masks) for batch in batches]
        return [count / total if total else 1.0 for count, total in zip(counts, add_up(counts), strict=True)]

    def _joined(self, loss: float) -> float:
        """The loss of the whole step, whose gradients, and batch norm's statistics, are those of all processes then."""
        if world() == 1:
            return loss
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        has_gradient = [float(parameter.grad is not None) for parameter in trained]
        # Comes before gradients are exchanged: a process that has failed is noticed here, where nothing hangs.
        loss, stop, *known = add_up([loss, float(self.stop.requested), *has_gradient])
        self.stops = stop > 0
        add_gradients(trained, known)
        average_tensors(self.running_statistics)
        return loss

    def batch_loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch."""
        logits, masks = self._forward(batch)
        return self.loss(logits, masks, batch)

    def largest_loss(self, batch: Batch) -> Tensor:
        """The loss of a batch in the pass of a step that takes most memory."""
        return self.adversary.largest(batch, self._unnoted_loss) if self.adversary else self.batch_loss(batch)

    def _unnoted_loss(self, batch: Batch) -> Tensor:
        """`batch_loss`, which history.csv is not told of."""
        logits, masks = self._forward(batch)
        return training_loss(self.config, logits, masks, batch.pseudo, batch.references)[0]

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits and masks, both (R, 1, h, w) float32 on the device."""
        *arguments, masks = batch.tensors(self.arithmetic.device)
        with self.arithmetic.autocast():
            logits = self.module(*arguments, batch.encoded, batch.encoded_prompts, batch.one_each)
        return logits.float(), masks

    def loss(self, logits: Tensor, masks: Tensor, batch: Batch) -> Tensor:
        """The loss of a batch's logits (R, 1, h, w) against its masks (R, 1, h, w) in [0, 1], on one device."""
        loss, parts = training_loss(self.config, logits, masks, batch.pseudo, batch.references)
        if parts:
            self.parts.append({name: part.detach() for name, part in parts.items()})
        return loss

    def _end_step(self, loss: float, rate: float) -> None:
        """Move the weights along their gradients."""
        progress = self.progress
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {progress.step}; lower learning_rate or use fp32")
        if not self.arithmetic.step(self.optimizer, self.config.clip_norm):
            progress.skipped += 1
        progress.step += 1
        progress.batch += 1
        self.journal.step(
            progress, loss, rate, [{name: float(part) for name, part in parts.items()} for parts in self.parts]
        )
        self.parts = []
        if progress.step == self.total_steps:
            self.journal.close(progress)

    def _end_epoch(self, bar: ProgressBar) -> None:
        progress = self.progress
        if progress.batch >= (self.later_steps if progress.epoch >= self.warmup else self.early_steps):
            progress.epoch, progress.batch = progress.epoch + 1, 0
        last = progress.step >= self.total_steps
        due = last or (progress.batch == 0 and progress.epoch % self.config.validate_every == 0)
        if self.validate is not None and due and progress.validated_step != progress.step:
            self.network.eval()
            score = self.validate()
            if progress.note_validation(score) and is_first():
                save_checkpoint(self._best, {"model": self._weights()})
            self.journal.validated(progress, score)
            if is_first():
                self.journal.write(self._history)
            bar.validated(self.folder.name, progress.step, progress.epoch, score, progress.best)
        self._save_if_due()

    def _finish(self) -> None:
        """Leave the best weights in the model, in eval mode."""
        self.journal.close(self.progress)  # steps before an early stop
        self._write_history()
        if self.progress.best is not None and self.progress.best_step != self.progress.step:
            if is_first():
                self._put_back(self._best, load_checkpoint(self._best)["model"])
            share_tensors(list(self._weights().values()))
        self.network.eval()

    def _write_history(self) -> None:
        """Write the rows and tell them: after a checkpoint or at the end, for what a kill undoes is never told."""
        if is_first():
            self.journal.write(self._history)
            self.tell(self.journal.rows)

    def _weights(self) -> dict[str, Tensor]:
        return changing_weights(self.network, self.training)

    def _put_back(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        put_back(self.network, weights, self._weights().keys(), path)

    @cached_property
    def _frozen(self) -> int:
        return frozen_checksum(self.network, self._weights().keys())

    def _save_if_due(self) -> None:
        if time.monotonic() - self.saved > max(SAVE_SECONDS, SAVE_SHARE * self.save_cost):
            self._save()

    def _save(self) -> None:
        if not is_first():
            return
        begin = time.monotonic()
        state = {
            "model": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.arithmetic.state(),
            "progress": self.progress.state(),
            **self.journal.state(),
            "rng": rng_state(),
            "data": checksum(self.groups),
            "frozen": self._frozen,
            "pseudo_labels": self.semi.labels.epoch if self.semi else None,
            "adversary": self.adversary.state() if self.adversary else None,
        }
        save_checkpoint(self._last, state)
        if self.semi:
            self.semi.labels.forget_others()
        self._write_history()
        self.saved = time.monotonic()
        self.save_cost = self.saved - begin

    def _load(self) -> None:
        state = load_checkpoint(self._last)
        if state["data"] != checksum(self.groups):
            raise InputError(f"{self._last}: was trained on other samples or prompts; train into a new folder")
        if state["frozen"] != self._frozen:
            raise InputError(
                f"{self._last}: the weights that the run started from have changed; train into a new folder"
            )
        self._put_back(self._last, state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.arithmetic.restore(state["scaler"])
        self.progress = Progress(**state["progress"])
        self.journal.restore(state)
        set_rng_state(state["rng"])
        if self.semi:
            self.semi.labels.restore(state["pseudo_labels"])
        if self.adversary:
            self.adversary.restore(state["adversary"])


def advance(steps: Generator[list[Batch], float, None], loss: float) -> list[Batch] | None:
    """The next step's batches, or None at the end."""
    try:
        return steps.send(loss)
    except StopIteration:
        return None
