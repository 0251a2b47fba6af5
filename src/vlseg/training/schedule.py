"""The learning rate at a step, and the bookkeeping of the best validation."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from vlseg.records import RunConfig

PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.1, 5
"""MedVLSM's: a tenth of the rate after five validations without a better score."""
MINIMAL_GAIN = 1e-4


@dataclass
class Progress:
    """What decides about stopping and the rate; plain values, so that it goes into a checkpoint."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_step: int | None = None
    since_best: int = 0
    plateau_factor: float = 1.0
    since_drop: int = 0
    validated_step: int = -1
    skipped: int = 0

    def note_validation(self, score: float) -> bool:
        """Record a validation; True when it is the best so far."""
        self.validated_step = self.step
        better = self.best is None or score > self.best + MINIMAL_GAIN
        if better:
            self.best, self.best_step = score, self.step
            self.since_best = self.since_drop = 0
            return True
        self.since_best += 1
        self.since_drop += 1
        if self.since_drop > PLATEAU_PATIENCE:
            self.plateau_factor *= PLATEAU_FACTOR
            self.since_drop = 0
        return False

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def learning_rate(config: RunConfig, progress: Progress, total_steps: int) -> float:
    """The rate for the coming optimiser step `progress.step` (from 0)."""
    warm = min(1.0, (progress.step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "plateau":
        return config.learning_rate * warm * progress.plateau_factor
    if config.schedule == "constant":
        return config.learning_rate * warm
    done = max(0, progress.step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
