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
KILLS = 20


def command(data: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "vlseg", "train", "--model", "clipseg-tiny", "--data", str(data), "--prompt", "p2",
        "--out", str(out), "--resume", "--threads", "1", "--device", "cpu", "--seed", "4",
        "--set", "model_arguments={image_size: 64}", "--set", "epochs=60", "--set", "batch_size=4",
        "--set", "schedule=plateau", "--set", "patience=null", "--set", "validate_every=5",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_runs_end_with_the_same_scores(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(24, 4, 6), size=64)
    begin = time.monotonic()
    subprocess.run(command(data, tmp_path / "straight" / "run"), check=True, capture_output=True)
    seconds = time.monotonic() - begin
    # Imports take a good part of a sitting; a kill then strikes before, in or after training.
    chance = random.Random(20)
    kills = 0
    for _ in range(KILLS * 5):
        process = subprocess.Popen(
            command(data, tmp_path / "killed" / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=chance.uniform(0.2, 0.9) * seconds if kills < KILLS else 600)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            break
    print(f"{kills} kills, straight run {seconds:.0f} s")  # shown with -s
    assert kills >= 3
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
            str(tmp_path / run),
            "--data",
            str(data),
            "--threads",
            "1",
        ]
        subprocess.run([*evaluate, "--out", str(tmp_path / f"scores-{run}")], check=True, capture_output=True)
    scores = [(tmp_path / f"scores-{run}" / "scores.parquet").read_bytes() for run in ("straight", "killed")]
    assert scores[0] == scores[1]
