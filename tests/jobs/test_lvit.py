"""LViT on real images from the command line, at a tiny size, and that it learns to do as told."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_models import TINY
from weights_here import installed

from vlseg.jobs.train import train_run
from vlseg.records import RunConfig, read_record, read_scores


def train_and_evaluate(
    vlseg: Callable[..., Any], data: Path, out: Path, arguments: Mapping[str, Any], *more: object, split: str
) -> dict[str, list[float | None]]:
    """Dice of each wording, by image of a split, after two steps."""
    told = yaml.safe_dump({**TINY["lvit"], **arguments}, default_flow_style=True, width=10**6).strip()
    settings = [f"model_arguments={told}", "max_steps=2", "batch_size=2"]
    flags = [flag for one in settings for flag in ("--set", one)]
    done = vlseg("train", "--model", "lvit", "--data", data, "--out", out, "--device", "cpu", *flags, *more)
    assert done.code == 0, done.err
    done = vlseg("evaluate", out, "--data", data, "--split", split, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    scores: dict[str, list[float | None]] = {}
    for row in read_scores(Path(done.json["scores"])):
        scores.setdefault(row.image_id, []).append(row.dice)
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["corrected", "published"])
def test_busi_with_its_sentences(protocol: str, shared: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    installed("minilm")
    data, run = shared / "data" / "busi_sample", tmp_path / "run"
    more = ("--prompt", "p6", "--set", f"protocol={protocol}")
    scores = train_and_evaluate(vlseg, data, run, {"text": "minilm"}, *more, split="test")
    assert len(scores) == 20
    assert all(dice is not None and 0 <= dice <= 1 for row in scores.values() for dice in row)
    assert read_record(run / "run.json").protocol == protocol


@pytest.mark.slow
def test_monuseg_in_lvits_own_layout(shared: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    data = shared / "data" / "lvit_monuseg_sample"
    more = ("--target", "nuclei", "--prompt", "text")
    scores = train_and_evaluate(vlseg, data, tmp_path / "run", {}, *more, split="val")
    assert len(scores) == 2
    assert read_record(tmp_path / "run" / "run.json").prompt == "text"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["corrected", "published"])
def test_two_discs_are_told_apart_by_their_sentences(
    protocol: str, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """Who does not read answers alike for both of an image's discs: 2/3 at most, for both together."""
    data = make_dataset(counts=(24, 8, 0), size=64)
    config = RunConfig(
        model="lvit",
        model_arguments={"image_size": 64, "width": 8},
        protocol=protocol,
        data=[str(data)],
        prompt="p1",
        device="cpu",
        threads=1,
        batch_size=4,
        max_steps=150,
        optimizer="adam",
        weight_decay=0.0,
        augment=False,
        validate_every=5,
    )
    assert train_run(config, tmp_path / "run").summary["best_val_dice"] > 0.8
