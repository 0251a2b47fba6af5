"""Every regime on one table: a small CLIPSeg, trained on one made-up dataset, is adapted to another.

    python benchmarks/regimes.py [--first 1800] [--steps 250] [--seeds 3] [--images 60] [--regimes full dense_vl ...]

The network is that of CLIPSeg with the plain decoder, small: 64 px, patches of 8, width 96 and six layers (text 64 and
two), taps behind 1, 3 and 5. It is trained whole on easy phantoms until it reads which class is named (its selection
index on them is in the result); then each regime starts from it and takes the same number of
steps on hard ones (class by texture, weak contrast, other shapes), where it is asked about the test images. The widths
of adapters are the published ones in proportion to the network's. One thread; times are the processor's.
Prints a table and writes results/regimes.json, anew after each regime.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vlseg.jobs.evaluate import EvaluateOptions
from vlseg.jobs.probe import probe_on
from vlseg.jobs.train import train_run
from vlseg.metrics import bootstrap_mean
from vlseg.models import as_module, load_model
from vlseg.models.additions import ADDITIONS
from vlseg.phantoms import write_phantoms
from vlseg.records import RunConfig
from vlseg.records.run import FREEZING
from vlseg.training.freezing import apply_regime

HERE = Path(__file__).parent
PROMPT = "class"
REGIMES = (
    *("full", "freeze_text_encoder", "decoder"),
    *("dense_v", "dense_vl", "dense_vlc", "shallow_v", "shallow_vl", "shallow_vlc", "telescopic_like"),
    *("lora", "coop", "cocoop", "vpt", "maple", "shared_separate", "shared_attention"),
)
DENSE, SHALLOW = {"width": 8}, {"width": 64}
SENTENCE = {"sentence_width": 32}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "dense_v": DENSE,
    "dense_vl": DENSE,
    "dense_vlc": DENSE | SENTENCE,
    "shallow_v": SHALLOW,
    "shallow_vl": SHALLOW,
    "shallow_vlc": SHALLOW | SENTENCE,
}
"""Where the published values are in proportion to the network's width."""
IMAGE = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4, "num_hidden_layers": 6}
TEXT = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2}
TOKENS = {"eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407}
SMALL = {
    "image_size": 64,
    "config": {
        "vision_config": {**IMAGE, "patch_size": 8, "image_size": 64},
        "text_config": {**TEXT, **TOKENS},
        "projection_dim": 64,
        "extract_layers": [1, 3, 5],
        "reduce_dim": 32,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 128,
    },
}
TRAINING: dict[str, Any] = {
    "model": "clipseg-rd64",
    "prompt": PROMPT,
    "device": "cpu",
    "threads": 1,
    "batch_size": 8,
    "prompts_per_image": 8,  # all that an image is asked at once: what tells them apart is the words
    "epochs": 10_000,
    "patience": None,
    "validate_every": 10_000,
    "learning_rate": 5e-4,
}


def main() -> None:
    """Train, ask, write after each regime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--first", type=int, default=1800)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--regimes", nargs="+", default=REGIMES)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "regimes.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    told = {name: getattr(asked, name) for name in ("steps", "first", "seeds", "images")}
    told |= {"processor": platform.machine(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in compare(Path(folder), asked):
            rows.append(row)
            print(line(row), flush=True)
            asked.out.write_text(json.dumps({**told, "rows": rows}, indent=1) + "\n")


def compare(work: Path, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each regime, and one for the network before it was adapted."""
    easy, hard, first = work / "easy", work / "hard", work / "first"
    write_phantoms(easy, level="easy", counts={"train": 240, "val": 3, "test": asked.images}, size=64)
    write_phantoms(hard, level="hard", counts={"train": 120, "val": 3, "test": asked.images}, size=64, seed=1)
    train_run(RunConfig(**TRAINING, data=[str(easy)], model_arguments=SMALL, max_steps=asked.first), first)
    own = answers(first, easy, work / "own")
    yield together("none, on its own dataset", [{"trained": 0, "processor_s": 0.0, **own}])
    yield together("none", [{"trained": 0, "processor_s": 0.0, **answers(first, hard, work / "before")}])
    for regime in asked.regimes:
        if regime not in (*FREEZING, *ADDITIONS):
            print(f"{regime}: is not there yet")
            continue
        yield together(regime, [adapted(regime, seed, first, hard, work, asked.steps) for seed in range(asked.seeds)])


def adapted(regime: str, seed: int, first: Path, data: Path, work: Path, steps: int) -> dict[str, Any]:
    """One training, and what its model answers."""
    run = work / f"{regime}-{seed}"
    config = RunConfig(
        **TRAINING,
        data=[str(data)],
        weights=str(first),
        regime=regime,
        regime_arguments=ARGUMENTS.get(regime, {}),
        encoder_rate=0.1 if regime in FREEZING else 1.0,
        max_steps=steps,
        seed=seed,
    )
    start = time.process_time()
    train_run(config, run)
    spent = time.process_time() - start
    model = load_model(str(run))
    apply_regime(model, regime)
    trained = sum(parameter.numel() for parameter in as_module(model).parameters() if parameter.requires_grad)
    return {"trained": trained, "processor_s": spent, **answers(run, data, work / f"asked-{regime}-{seed}")}


def answers(run: Path, data: Path, out: Path) -> dict[str, Any]:
    """The selection index, and Dice by sample with its patient, on the test images that show what is named."""
    probed = probe_on(str(run), [str(data)], EvaluateOptions(device="cpu", threads=1, prompt=PROMPT), out)
    clean = [row for row in probed.evaluated.scores if row.condition == "clean" and not row.empty_target]
    return {
        "selection_index": probed.use.selection.value,
        "dice": {f"{row.sample_id} {row.prompt}": (row.dice, row.group or row.image_id) for row in clean},
    }


def together(regime: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all seeds: Dice of each sample as the seeds' mean, its interval over patients."""
    samples = found[0]["dice"]
    means = [statistics.mean(one["dice"][name][0] for one in found) for name in samples]
    estimate = bootstrap_mean(means, [group for _, group in samples.values()])
    return {
        "regime": regime,
        "trained": found[0]["trained"],
        "processor_s": round(statistics.mean(one["processor_s"] for one in found), 1),
        "dice": estimate.mean,
        "dice_ci95": estimate.ci95,
        "n": len(means),
        "dice_of_seeds": [statistics.mean(dice for dice, _ in one["dice"].values()) for one in found],
        "selection_index_of_seeds": [one["selection_index"] for one in found],
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    low, high = row["dice_ci95"] or (float("nan"), float("nan"))
    chosen = [one for one in row["selection_index_of_seeds"] if one is not None]
    index = f"{statistics.mean(chosen):.3f} ({min(chosen):.3f} to {max(chosen):.3f})" if chosen else "-"
    cells = (
        row["regime"],
        f"{row['trained']:,}",
        row["processor_s"],
        f"{row['dice']:.3f} [{low:.3f}, {high:.3f}]",
        index,
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
