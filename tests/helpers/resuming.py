"""A run that never stopped beside one that was killed and resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import vlseg.training.loop as fit_module
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import RunConfig


class KilledError(BaseException):
    """Stands for a SIGKILL."""


@contextmanager
def killed_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The training within the block is killed right after the checkpoint of a step; of step 0, before its first one."""
    save = fit_module.Fit._save

    def save_then_die(self: Any) -> None:
        if step:
            save(self)
        if self.progress.step == step or not step:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(fit_module.Fit, "_save", save_then_die)
        with pytest.raises(KilledError):
            yield


def straight_and_resumed(
    config: RunConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, *, killed_at: int = 2
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of both; the second was killed right after the checkpoint of a step."""
    train_run(config, folder / "straight")
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    with killed_after(killed_at, monkeypatch):
        train_run(config, folder / "killed")
    train_run(None, folder / "killed", resume=True)
    straight, resumed = (as_module(load_model(str(folder / run))).state_dict() for run in ("straight", "killed"))
    return straight, resumed
