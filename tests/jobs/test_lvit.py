"""LViT on real images from the command line, at a tiny size, and that it learns to do as told."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_models import TINY
from weights_here import installed

from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import RunConfig, read_record, read_scores


def train_and_evaluate(
    vlseg: Callable[..., Any],
    data: Path,
    out: Path,
    arguments: Mapping[str, Any],
    *more: object,
    split: str,
    model: str = "lvit",
) -> dict[str, list[float | None]]:
    """Dice of each wording, by image of a split, after two steps."""
    told = yaml.safe_dump({**TINY[model], **arguments}, default_flow_style=True, width=10**6).strip()
    settings = [f"model_arguments={told}", "max_steps=2", "batch_size=2"]
    flags = [flag for one in settings for flag in ("--set", one)]
    done = vlseg("train", "--model", model, "--data", data, "--out", out, "--device", "cpu", *flags, *more)
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
def test_lvit_without_text_and_its_unet_on_busi(shared: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    data = shared / "data" / "busi_sample"
    for name in ("lvit-tw", "lvit-unet"):
        scores = train_and_evaluate(vlseg, data, tmp_path / name, {}, split="test", model=name)
        assert len(scores) == 20


@pytest.mark.slow
def test_monuseg_prepared_from_lvits_own_layout(shared: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """`data prepare` keeps LViT's splits and sentences; LViT starts from its U-Net, as its authors advise."""
    source, data = shared / "data" / "lvit_monuseg_sample", tmp_path / "monuseg"
    done = vlseg("data", "prepare", "monuseg", "--source", source, "--out", data)
    assert done.code == 0, done.err
    unet, run = tmp_path / "unet", tmp_path / "run"
    assert len(train_and_evaluate(vlseg, data, unet, {}, split="val", model="lvit-unet")) == 2
    more = ("--prompt", "text", "--weights", unet)
    scores = train_and_evaluate(vlseg, data, run, {"text": "hashed"}, *more, split="val")
    assert len(scores) == 2
    assert read_record(run / "run.json").prompt == "text"


@pytest.mark.parametrize("regime", ["freeze_encoders", "decoder"])
def test_kept_features_train_as_fresh_ones_do(regime: str, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    data = make_dataset(counts=(4, 0, 0), size=32)
    config = RunConfig(
        model="lvit",
        model_arguments=dict(TINY["lvit"]),
        data=[str(data)],
        prompt="p1",
        regime=regime,
        device="cpu",
        threads=1,
        batch_size=2,
        max_steps=4,
        augment=False,
        feature_precision="fp32",
    )
    kept = config.model_copy(update={"feature_cache": str(tmp_path / "cache")})
    ends = {}
    for name, one in {"fresh": config, "cold": kept, "warm": kept}.items():
        train_run(one, tmp_path / name)
        ends[name] = as_module(load_model(str(tmp_path / name))).state_dict()
    for key, tensor in ends["cold"].items():
        assert torch.equal(tensor, ends["warm"][key]), key
        # Where batch norm follows at once, a bias has no gradient but rounding, which Adam makes a step of.
        if not key.endswith("conv.bias"):
            torch.testing.assert_close(tensor, ends["fresh"][key], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_study_in_which_lvit_starts_from_its_unet(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    parts = [
        {"name": "first", "models": ["lvit-unet"], "data": ["busi"]},
        {
            "name": "second",
            "models": ["lvit", "lvit-tw"],
            "data": ["busi"],
            "prompts": ["p6"],
            "start_from": "first",
            "start_model": "lvit-unet",
        },
    ]
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "started", "parts": parts}))
    done = vlseg("study", "run", file, "--scale", "tiny", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    records = [read_record(path) for path in sorted((tmp_path / "out").glob("runs/*/run.json"))]
    weights = {one.config["model"]: one.config["weights"] for one in records}
    assert set(weights) == {"lvit-unet", "lvit", "lvit-tw"}
    assert weights["lvit-unet"] is None
    assert "lvit-unet" in weights["lvit"]
    assert weights["lvit"] == weights["lvit-tw"]


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
