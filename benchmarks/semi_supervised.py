"""What pseudo-labels and the LV loss are worth with a quarter of the labels, and that a killed run ends the same.

    python benchmarks/semi_supervised.py --work FOLDER [--data FOLDER] [--epochs 14] [--seeds 3] [--no-whole]

`guide` with EfficientNet-Lite0 and all-MiniLM-L6-v2, both frozen, at 128 px, batch 8, one thread, told the class: on a
quarter of the labels alone, with pseudo-labels, with pseudo-labels and the LV loss (0.1), and on all labels. All arms
have the same epochs (those with pseudo-labels the second half of them on all images) and no early stop; the weights
with the best val Dice are scored on test. The first run with both is trained once more, killed by SIGKILL after its
first pseudo-labels, and resumed. Runs that lie in the work folder are not trained again. Writes
results/semi_supervised.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from vlseg.cli import main as vlseg
from vlseg.jobs.compare import compare_runs
from vlseg.metrics import bootstrap_mean
from vlseg.models import as_module, load_model
from vlseg.records import read_record, read_scores

HERE = Path(__file__).parent
QUARTER = {"label_share": 0.25}
ARMS: dict[str, dict[str, Any]] = {
    "labels": QUARTER,
    "epi": {**QUARTER, "pseudo_labels": "epi"},
    "epilv": {**QUARTER, "pseudo_labels": "epi", "lv_weight": 0.1},
    "all": {},
}
MODEL = "{encoder_weights: lite0, text: minilm, image_size: 128}"


def command(data: Path, work: Path, arm: str, seed: int, epochs: int, out: Path) -> list[str]:
    """`vlseg train` of one run."""
    settings = {"seed": seed, "epochs": epochs, "batch_size": 8, "threads": 1, "feature_views": 4, "patience": "null"}
    settings |= {"model_arguments": MODEL, **ARMS[arm]}
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    places = ["--data", str(data), "--cache", str(work / "feat"), "--out", str(out)]
    return ["train", "--model", "guide", *places, *given]


def call(arguments: list[str]) -> None:
    """A command of vlseg in this process.

    Raises:
        SystemExit: it failed.
    """
    try:
        vlseg(arguments)
    except SystemExit as end:
        if end.code:
            raise


def killed_and_resumed(arguments: list[str], out: Path) -> int:
    """Train into `out`, SIGKILL after a checkpoint that names pseudo-labels, and go on; at which step it was killed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-m", "vlseg"]
    with subprocess.Popen([*python, *arguments], env=environment, stderr=subprocess.DEVNULL) as process:
        last = out / "checkpoints" / "last.pt"
        state: dict[str, Any] = {}
        while state.get("pseudo_labels") is None or state["progress"]["batch"] == 0:
            if process.poll() is not None:
                raise SystemExit("the run ended before it could be killed")
            time.sleep(0.5)
            state = torch.load(last, weights_only=True) if last.exists() else {}
        process.send_signal(signal.SIGKILL)
    subprocess.run([*python, "train", "--resume", "--out", str(out)], env=environment, check=True)
    return int(state["progress"]["step"])


def same_weights(one: Path, two: Path) -> bool:
    """Whether two runs left the same weights, bit by bit."""
    first, second = (as_module(load_model(str(run))).state_dict() for run in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def figures(runs: dict[tuple[str, int], Path]) -> dict[str, Any]:
    """Dice on test of each run, and of runs of one seed the paired differences, with 95 % intervals over the images."""
    found = compare_runs(list(runs.values()))
    which = {told["run"]: arm for told, arm in zip(found["runs"], runs, strict=True)}
    rows = []
    for (arm, seed), out in runs.items():
        scores = [row for file in out.glob("evaluations/*/scores.parquet") for row in read_scores(file)]
        dice = bootstrap_mean(
            [row.dice for row in scores], [row.group or row.image_id for row in scores], bounds=(0.0, 1.0)
        )
        summary = read_record(out / "run.json").summary
        rows.append(
            {"arm": arm, "seed": seed, "dice": dice.mean, "ci95": dice.ci95, "n": dice.n}
            | {"dice_present": mean(row.dice for row in scores if not row.empty_target)}
            | {"absent": sum(row.empty_target for row in scores)}
            | {"absent_left_empty": sum(row.empty_target and row.empty_pred for row in scores)}
            | {key: summary[key] for key in ("best_val_dice", "best_step", "steps")}
        )
    pairs = []
    for pair in found["pairs"]:
        (arm, seed), (other, second) = which[pair["first"]], which[pair["second"]]
        if seed == second:
            told = {key: pair[key] for key in ("difference", "ci95", "p", "n")}
            pairs.append({"arm": other, "minus": arm, "seed": seed, **told})
    means = {
        arm: mean(row["dice"] for row in rows if row["arm"] == arm) for arm in dict.fromkeys(arm for arm, _ in runs)
    }
    return {"means": means, "runs": rows, "differences": pairs}


def main() -> None:
    """Train what is missing, score, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "busi_train_small")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-whole", action="store_true", help="leave out the arm with all labels")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "semi_supervised.json")
    options = parser.parse_args()
    arms = [arm for arm in ARMS if not (options.no_whole and arm == "all")]
    runs = {(arm, seed): options.work / "runs" / f"{arm}-{seed}" for seed in range(options.seeds) for arm in arms}
    for (arm, seed), out in runs.items():
        if not (out / "model").exists():
            call(command(options.data, options.work, arm, seed, options.epochs, out))
        if not list(out.glob("evaluations/*/scores.parquet")):
            call(["evaluate", str(out), "--data", str(options.data), "--cache", str(options.work / "feat")])
    found = {"date": date.today().isoformat(), "data": options.data.name, "epochs": options.epochs, **figures(runs)}
    arm, seed = "epilv", 0
    out = options.work / "runs" / "killed"
    if not (out / "model").exists():
        step = killed_and_resumed(command(options.data, options.work, arm, seed, options.epochs, out), out)
        (options.work / "killed_at").write_text(str(step))
    killed = {"arm": arm, "seed": seed, "killed_after_step": int((options.work / "killed_at").read_text())}
    found["killed"] = {**killed, "same_weights": same_weights(runs[arm, seed], out)}
    text = json.dumps(found, indent=1)
    print(text)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
