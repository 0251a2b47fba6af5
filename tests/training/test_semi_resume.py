"""Training with images without a mask: a kill changes nothing, nor do other runs in the same process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import straight_and_resumed
from semi_runs import same, semi_config, weights
from torch import Tensor

import vlseg.training.grid as grid_module
from vlseg.jobs.together import train_together
from vlseg.jobs.train import train_run
from vlseg.models import as_module
from vlseg.records import write_config
from vlseg.training.loop import Fit

MakeDataset = Callable[..., Path]


CASES: dict[str, dict[str, Any]] = {
    "plain": {"lv_weight": 0.1},
    "one prompt, pieces": {"prompts_per_image": 1, "accumulate": 2, "epochs": 6, "pseudo_warmup": 0.4},
    "kept features": {"name": "clipseg", "regime": "decoder", "feature_cache": "yes", "lv_weight": 0.1},
    "guide": {"name": "guide", "regime": "freeze_encoders", "zoom": 0.1, "lv_weight": 0.1, "prompt": "p1"},
    "image-only": {"name": "unet"},
    "lvit": {"name": "lvit", "loss": "lvit", "lv_weight": 0.1},
    "small budget": {"image_cache": "reduced", "batch_size": 4, "accumulate": "auto"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("killed_at", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_resume_equals_never_interrupted(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, killed_at: int
) -> None:
    data = make_dataset(counts=(8, 2, 1))
    changes = dict(CASES[case])
    if changes.get("feature_cache"):
        changes["feature_cache"] = str(tmp_path / "features")
    settings = semi_config(data, **changes)
    straight, resumed = straight_and_resumed(settings, tmp_path, monkeypatch, killed_at=killed_at)
    assert same(straight, resumed)
    assert not (tmp_path / "killed" / "checkpoints").exists()


SCRIPT = """
import sys
import vlseg.training.loop as loop
from pathlib import Path
from vlseg.jobs.train import train_run
from vlseg.records import read_config
loop.SAVE_SECONDS = loop.SAVE_SHARE = 0
config = None if sys.argv[3] == "resume" else read_config(Path(sys.argv[1]))
train_run(config, Path(sys.argv[2]), resume=config is None)
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """SIGKILL, three times, at moments that the clock chooses."""
    data = make_dataset(counts=(12, 2, 1))
    settings = semi_config(data, epochs=24, lv_weight=0.1, pseudo_warmup=0.25)
    train_run(settings, tmp_path / "straight")
    write_config(tmp_path / "config.yaml", settings)

    def start(how: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", SCRIPT, str(tmp_path / "config.yaml"), str(tmp_path / "killed"), how]
        return subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)

    last, kills = tmp_path / "killed" / "checkpoints" / "last.pt", 0
    for pause in (0.05, 0.4, 0.8):
        process = start("resume" if kills else "anew")
        before = last.stat().st_mtime_ns if last.exists() else 0
        while process.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(pause)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    assert start("resume").wait() == 0
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "killed"))


def test_gradients_together_are_each_runs_own(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a first step with pseudo-labels, in one pass over the runs and one by one."""
    data = make_dataset(counts=(6, 0, 1))
    kept = {"regime": "decoder", "feature_cache": str(tmp_path / "cache"), "feature_precision": "fp32"}
    start = semi_config(data, "clipseg", epochs=1, augment=False, prompt="p1", batch_size=6, **kept)
    train_run(start.model_copy(update={"pseudo_labels": "none"}), tmp_path / "start")
    found: dict[str, dict[str, Tensor]] = {}
    end_step = Fit._end_step

    def note(self: Fit, loss: float, rate: float) -> None:
        named = as_module(self.model).named_parameters()
        gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}
        found[self.folder.name] = gradients | {"loss": torch.tensor(loss)}
        end_step(self, loss, rate)

    monkeypatch.setattr(Fit, "_end_step", note)
    joint, members = grid_module._joint_losses, []
    monkeypatch.setattr(grid_module, "_joint_losses", lambda *a: members.append(len(a[0])) or joint(*a))
    changes = {"weights": str(tmp_path / "start"), "model_arguments": {}}
    runs = [start.model_copy(update={**changes, "seed": seed, "lv_weight": 0.1 * seed}) for seed in range(2)]
    train_together({tmp_path / f"together{run.seed}": run for run in runs})
    assert members == [2]
    for run in runs:
        train_run(run, tmp_path / f"apart{run.seed}")
        one, alone = found[f"together{run.seed}"], found[f"apart{run.seed}"]
        assert one.keys() == alone.keys()
        for name, gradient in alone.items():
            assert (one[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-7, name
    assert found["apart0"]["loss"] != found["apart1"]["loss"]
