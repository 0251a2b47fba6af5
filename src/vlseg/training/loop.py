"""The one training loop, for every model: freeze, step, validate, checkpoint, resume exactly."""

import math
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from vlseg.data import made_ahead
from vlseg.losses import PUBLISHED_LOSSES, dice_bce_loss, presence_loss
from vlseg.models import Output, Rows, Segmenter, as_module
from vlseg.models.device import check_precision, resolve_device
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, InputError, RunConfig
from vlseg.training.batches import Batch, Draw, EpochBatches, ImageCache, Known, checksum, group_by_image, plan_epoch
from vlseg.training.checkpoint import load_checkpoint, rng_state, save_checkpoint, set_rng_state
from vlseg.training.freezing import apply_regime, parameter_groups, train_mode
from vlseg.training.history import HistoryRow, write_history
from vlseg.training.interrupt import Stop, stop_on_interrupt
from vlseg.training.memory import checkpoint_blocks, images_that_fit, pieces_for
from vlseg.training.progress import ProgressBar
from vlseg.training.schedule import Progress, learning_rate
from vlseg.training.seeds import derived_seed

FABRIC_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
LOG_EVERY = 10
"""Optimiser steps whose mean loss makes one row of history.csv."""
SAVE_SECONDS, SAVE_SHARE = 2.0, 20
"""A checkpoint is due after two seconds, or twenty times what the last one took to write."""


@dataclass(frozen=True)
class FitResult:
    """How training ended. `best_val_dice` is None where nothing was validated."""

    status: Literal["done", "interrupted"]
    steps: int
    epochs: int
    best_val_dice: float | None
    best_step: int | None


class TrainingStep(nn.Module):
    """The forward pass of a step: each image and each distinct row is encoded once, then decoded per prompt."""

    def __init__(self, segmenter: Segmenter, *, compiled: bool = False) -> None:
        """`compiled`: image encoder and decoder through torch.compile; prompts differ in length from step to step."""
        super().__init__()
        self.segmenter = segmenter
        self._encode_image: Callable[[Rows], Rows] = segmenter.encode_image
        self._decode: Callable[[Rows, Rows | None], Output] = segmenter.decode
        if compiled:
            self._encode_image, self._decode = torch.compile(self._encode_image), torch.compile(self._decode)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        tokens: Mapping[str, Tensor],
        image_of: Tensor,
        prompt_of: Tensor,
        channel_of: Tensor,
        encoded: bool,
        encoded_prompts: bool,
        one_each: bool = False,
    ) -> Tensor:
        """Logits (R, 1, h, w) of the R prompts, in the channel of their target; arguments as in `Batch`."""
        # Kept features are widened here, on the device: half the bytes to move.
        image = Rows(inputs).widened() if encoded else self._encode_image(Rows(inputs))
        told = Rows(tokens) if tokens else None
        prompts = told if encoded_prompts else self.segmenter.encode_prompts(told)
        if one_each:
            logits = self._decode(image, None if prompts is None else prompts[prompt_of]).logits
        elif prompts is None:  # nothing is told: one answer an image, of which each row takes its channel
            logits = self._decode(image, None).logits[image_of]
        else:  # one answer for each image and thing told, however many rows ask for it
            pairs, row_of = torch.unique(image_of * len(prompts) + prompt_of, return_inverse=True)
            if len(pairs) == len(row_of):
                logits = self._decode(image[image_of], prompts[prompt_of]).logits
            else:
                logits = self._decode(image[pairs // len(prompts)], prompts[pairs % len(prompts)]).logits[row_of]
        return logits if logits.shape[1] == 1 else logits.take_along_dim(channel_of[:, None, None, None], dim=1)


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

    Args:
        model: a segmenter; also a torch module.
        train: prompted samples; those without a truth are left out.
        infos: dataset info by dataset name.
        config: see RunConfig.
        folder: the run's folder.
        validate: gives the val Dice of the model as it is; None = no validation.
        resume: go on from the last checkpoint.
        known: where features of frozen encoders are kept; None = encode in every step.

    Raises:
        InputError: nothing to train on, a checkpoint of other data, an unknown regime.
        FloatingPointError: the loss is not finite.
    """
    return Fit(model, train, infos, config, folder, validate=validate, resume=resume, known=known).run()


def with_fitting_pieces(
    config: RunConfig,
    model: Segmenter,
    train: Sequence[Prompted],
    infos: Mapping[str, DatasetInfo],
    known: Known | None = None,
) -> RunConfig:
    """The configuration with batch_size and accumulate as numbers, see `RunConfig.accumulate`."""
    if config.accumulate != "auto":
        return config
    one = config.model_copy(update={"batch_size": 1, "accumulate": 1, "compile": False})
    trial = Fit(model, train, infos, one, Path(), known=known)
    batch = trial.first_batch()
    fitting = images_that_fit(model, lambda: trial.batch_loss(batch), trial.fabric.device)
    size, pieces = pieces_for(config.batch_size, fitting)
    return config.model_copy(update={"batch_size": size, "accumulate": pieces})


class Fit:
    """The state of one call of `fit`, whose arguments it takes."""

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
    ) -> None:
        self.model, self.infos, self.config, self.folder, self.validate = model, infos, config, folder, validate
        self.known = known
        self.network = as_module(model)
        self.groups = group_by_image(train)
        if not self.groups:
            raise InputError("data: no training sample has a mask; check the train split and the prompt's name")
        self.training = apply_regime(model, config.regime)
        device = resolve_device(config.device)
        check_precision(config.precision, device)
        self.fabric = Fabric(accelerator=device.type, devices=1, precision=FABRIC_PRECISION[config.precision])
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        adam = kind(
            parameter_groups(model, config.encoder_rate),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        if config.checkpoint_activations:
            checkpoint_blocks(model)
        step = TrainingStep(model, compiled=config.compile)
        self.module, self.optimizer = self.fabric.setup(step, adam)
        self.progress = Progress()
        self.history: list[HistoryRow] = []
        self.status: Literal["done", "interrupted"] = "done"
        reduced_to = max(model.spec.image_size) if config.image_cache == "reduced" else None
        self.cache = ImageCache(infos, reduced_to=reduced_to)
        self.steps_per_epoch = len(self._chunks(0))
        self.total_steps = min(config.max_steps or 10**12, config.epochs * self.steps_per_epoch)
        self.recent: list[float] = []
        self.started = self.saved = time.monotonic()
        self.seconds_before = self.save_cost = 0.0
        if resume and self._last.exists():
            self._load()

    def run(self) -> FitResult:
        """Train to the end, or to an interrupt."""
        with (
            deterministic_on_cpu(self.fabric.device),
            stop_on_interrupt() as stop,
            ProgressBar(self.total_steps, self.progress.step) as bar,
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
        train_mode(self.model, self.training)
        while not self._finished():
            for chunk in self._epoch():
                rate = self._begin_step()
                loss = yield chunk
                self._end_step(loss, rate)
                bar.step(loss, self.progress.best)
                if stop.requested:
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
        return FitResult(self.status, progress.step, progress.epoch, progress.best, progress.best_step)

    @property
    def _last(self) -> Path:
        return self.folder / "checkpoints" / "last.pt"

    @property
    def _best(self) -> Path:
        return self.folder / "checkpoints" / "best.pt"

    def _finished(self) -> bool:
        patience = self.config.patience
        stale = patience is not None and self.progress.since_best >= patience
        return self.progress.step >= self.total_steps or stale

    def _chunks(self, epoch: int) -> list[list[list[Draw]]]:
        """The batches of an epoch, as many together as one optimiser step accumulates."""
        config = self.config
        plan = plan_epoch(
            self.groups,
            seed=config.seed,
            epoch=epoch,
            batch_size=config.batch_size,
            prompts_per_image=config.prompts_per_image,
            pooling=config.pooling,
        )
        if config.accumulate == "auto":
            raise ValueError("accumulate: 'auto' is a wish; see with_fitting_pieces")
        return [plan[start : start + config.accumulate] for start in range(0, len(plan), config.accumulate)]

    def _epoch(self) -> Iterator[list[Batch]]:
        """The rest of the current epoch, an optimiser step at a time."""
        chunks = self._chunks(self.progress.epoch)[self.progress.batch :]
        plan = [draws for chunk in chunks for draws in chunk]
        augmentation = (self.config.seed, self.progress.epoch) if self.config.augment else None
        batches = EpochBatches(plan, self.model, self.cache, self.infos, augmentation, self.known)
        stream = made_ahead(batches.__getitem__, len(plan), self.config.workers)
        for chunk in chunks:
            yield [next(stream) for _ in chunk]

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
        """Random numbers of the coming step (dropout)."""
        torch.manual_seed(derived_seed(self.config.seed, "step", self.progress.step))

    def gradients(self, batches: Sequence[Batch]) -> float:
        """Accumulate the gradients of a step; its mean loss."""
        total = torch.zeros((), device=self.fabric.device)
        for batch in batches:
            loss = self.batch_loss(batch) / len(batches)
            self.fabric.backward(loss)
            total += loss.detach()
        return float(total)  # waits for the device, once a step

    def batch_loss(self, batch: Batch) -> Tensor:
        """The mean loss of a batch."""
        *arguments, masks = self.fabric.to_device(batch.tensors())
        return self.loss(self.module(*arguments, batch.encoded, batch.encoded_prompts, batch.one_each), masks)

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The configured loss of logits (R, 1, h, w) against masks (R, 1, h, w) in [0, 1]."""
        config = self.config
        if config.loss != "dice_bce":
            return PUBLISHED_LOSSES[config.loss](logits, masks)
        weights = {"bce_weight": config.bce_weight, "positive_weight": config.positive_weight}
        loss = dice_bce_loss(logits, masks, **weights)
        return loss + config.presence_weight * presence_loss(logits, masks) if config.presence_weight else loss

    def _end_step(self, loss: float, rate: float) -> None:
        """Move the weights along their gradients."""
        progress = self.progress
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} at step {progress.step}; lower learning_rate or use fp32")
        if self.config.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        progress.step += 1
        progress.batch += 1
        self._log(loss, rate)

    def _log(self, loss: float, rate: float) -> None:
        self.recent.append(loss)
        if self.progress.step % LOG_EVERY == 0 or self.progress.step == self.total_steps:
            mean = sum(self.recent) / len(self.recent)
            row = HistoryRow(self.progress.step, self.progress.epoch, mean, rate, None, self._seconds())
            self.history.append(row)
            self.recent = []

    def _end_epoch(self, bar: ProgressBar) -> None:
        progress = self.progress
        if progress.batch >= self.steps_per_epoch:
            progress.epoch, progress.batch = progress.epoch + 1, 0
        last = progress.step >= self.total_steps
        due = last or (progress.batch == 0 and progress.epoch % self.config.validate_every == 0)
        if self.validate is not None and due and progress.validated_step != progress.step:
            self.network.eval()
            score = self.validate()
            if progress.note_validation(score):
                save_checkpoint(self._best, {"model": self._weights()})
            rate = self.optimizer.param_groups[0]["lr"]
            self.history.append(HistoryRow(progress.step, progress.epoch, None, rate, score, self._seconds()))
            write_history(self.folder / "history.csv", self.history)
            bar.validated(self.folder.name, progress.step, progress.epoch, score, progress.best)
        self._save_if_due()

    def _finish(self) -> None:
        """Leave the best weights in the model, in eval mode."""
        write_history(self.folder / "history.csv", self.history)
        if self.progress.best is not None:
            self._put_back(load_checkpoint(self._best)["model"])
        self.network.eval()

    def _weights(self) -> dict[str, Tensor]:
        """What training changes: trained parameters and the buffers beside them."""
        trained = {id(p) for p in self.network.parameters() if p.requires_grad}
        changing = trained | {id(buffer) for module in self.training for buffer in module.buffers()}
        named = self.network.state_dict(keep_vars=True)
        return {name: tensor.detach() for name, tensor in named.items() if id(tensor) in changing}

    def _put_back(self, weights: Mapping[str, Tensor]) -> None:
        unknown = self.network.load_state_dict(weights, strict=False).unexpected_keys
        if unknown or weights.keys() != self._weights().keys():
            raise InputError(f"{self._last}: holds other weights than this model trains; train into a new folder")

    @cached_property
    def _frozen(self) -> int:
        """CRC-32 of what training does not change: a resumed run must start from the same."""
        changing, sum_so_far = self._weights().keys(), 0
        for name, tensor in sorted(self.network.state_dict().items()):
            if name not in changing:
                sum_so_far = zlib.crc32(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy(), sum_so_far)
        return sum_so_far

    def _seconds(self) -> float:
        return round(self.seconds_before + time.monotonic() - self.started, 2)

    def _save_if_due(self) -> None:
        if time.monotonic() - self.saved > max(SAVE_SECONDS, SAVE_SHARE * self.save_cost):
            self._save()

    def _save(self) -> None:
        begin = time.monotonic()
        state = {
            "model": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "progress": self.progress.state(),
            "history": [row.values() for row in self.history],
            "recent": list(self.recent),
            "seconds": self._seconds(),
            "rng": rng_state(),
            "data": checksum(self.groups),
            "frozen": self._frozen,
        }
        save_checkpoint(self._last, state)
        write_history(self.folder / "history.csv", self.history)
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
        self._put_back(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        self.history = [HistoryRow(*values) for values in state["history"]]
        self.recent = list(state["recent"])
        self.seconds_before = state["seconds"]
        set_rng_state(state["rng"])


def advance(steps: Generator[list[Batch], float, None], loss: float) -> list[Batch] | None:
    """The next step's batches, or None at the end."""
    try:
        return steps.send(loss)
    except StopIteration:
        return None


@contextmanager
def deterministic_on_cpu(device: torch.device) -> Iterator[None]:
    """Exact resume is promised on the CPU; GPUs lack deterministic forms of some operations used here."""
    before = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic  # its attributes are set at import, unseen by type checkers
    filling = deterministic.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        # Would write NaN over every new tensor first: a debugging aid that costs time and decides nothing.
        deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = filling
