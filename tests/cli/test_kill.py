"""SIGKILL at random moments, resumed each time: the scores of a run never interrupted, to the last byte."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

MakeDataset = Callable[..., Path]
KILLS = int(os.environ.get("VLSEG_KILLS", "3"))
"""Set to 20 for the long form, which trains longer as well."""


def command(data: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "vlseg", "train", "--model", "clipseg-tiny", "--data", str(data), "--prompt", "p2",
        "--out", str(out), "--resume", "--threads", "1", "--device", "cpu", "--seed", "4",
        "--set", "model_arguments={image_size: 64}", "--set", f"epochs={40 * KILLS}", "--set", "batch_size=4",
        "--set", "schedule=plateau", "--set", "patience=null", "--set", "validate_every=25",
    ]  # fmt: skip


def wait_for_checkpoint(process: subprocess.Popen[bytes], path: Path) -> None:
    """Until this sitting has written a checkpoint of its own, or has ended."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    while process.poll() is None and (path.stat().st_mtime_ns if path.exists() else 0) == before:
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_runs_end_with_the_same_scores(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(24, 4, 6), size=64)
    subprocess.run(command(data, tmp_path / "straight" / "run"), check=True, capture_output=True)
    chance = random.Random(20)
    out = tmp_path / "killed" / "run"
    kills = 0
    while True:
        process = subprocess.Popen(command(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if kills == KILLS:
            assert process.wait(timeout=600) == 0
            break
        if chance.random() < 0.8:
            wait_for_checkpoint(process, out / "checkpoints" / "last.pt")
        time.sleep(chance.uniform(0, 2.5))
        if process.poll() is not None:
            assert process.returncode == 0
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    print(f"{kills} kills")  # shown with -s
    assert kills >= min(KILLS, 5)
    weights = [
        safetensors.torch.load_file(tmp_path / run / "run" / "model" / "model.safetensors")
        for run in ("straight", "killed")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for run in ("straight", "killed"):
        evaluate = [
            sys.executable,
            "-m",
            "vlseg",
            "evaluate",
            str(tmp_path / run / "run"),
            "--data",
            str(data),
            "--threads",
            "1",
        ]
        subprocess.run([*evaluate, "--out", str(tmp_path / f"scores-{run}")], check=True, capture_output=True)
    scores = [(tmp_path / f"scores-{run}" / "scores.parquet").read_bytes() for run in ("straight", "killed")]
    assert scores[0] == scores[1]
