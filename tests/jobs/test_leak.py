"""What a leak is worth, and models on data they were not trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlseg.jobs.compare import compare_runs
from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
from vlseg.jobs.train import train_run
from vlseg.records import RunConfig, read_scores

MakeDataset = Callable[..., Path]


def tiny(root: Path, out: Path, *, prompt: str, seed: int) -> Path:
    config = RunConfig(
        model="clipseg-tiny",
        model_arguments={"image_size": 32},
        data=[str(root)],
        prompt=prompt,
        seed=seed,
        max_steps=12,
        threads=1,
        device="cpu",
    )
    train_run(config, out)
    return out


@pytest.fixture
def runs(make_dataset: MakeDataset, tmp_path: Path) -> tuple[Path, list[Path], list[Path]]:
    """A dataset whose p3 gives the place away, and two seeds trained on it and on p1."""
    root = make_dataset(counts=(6, 2, 12))
    for split in ("train", "val", "test"):
        path = root / "anns" / f"{split}.json"
        entries = json.loads(path.read_text())
        for entry in entries:
            entry["prompts"]["p3"] = f"{entry['prompts']['p1']} on the left"
        path.write_text(json.dumps(entries))
    info = json.loads((root / "dataset.json").read_text())
    info["prompt_sources"]["p3"] = ["class", "mask"]
    (root / "dataset.json").write_text(json.dumps(info))
    leaking = [tiny(root, tmp_path / f"leaking{seed}", prompt="p3", seed=seed) for seed in (0, 1)]
    honest = [tiny(root, tmp_path / f"honest{seed}", prompt="p1", seed=seed) for seed in (0, 1)]
    return root, leaking, honest


@pytest.mark.slow
def test_worth_is_the_difference_of_the_two_evaluations(
    runs: tuple[Path, list[Path], list[Path]], vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    root, leaking, honest = runs
    sources = [flag for one in leaking for flag in ("--leaking", one)]
    sources += [flag for one in reversed(honest) for flag in ("--honest", one)]  # paired by seed, not by order
    done = vlseg("prompts", "worth", *sources, "--data", root, "--device", "cpu", "--threads", 1, "--json")
    assert done.code == 0, done.err
    values = done.json
    assert [row["seed"] for row in values["seeds"]] == [0, 1]
    for row, first, second in zip(values["seeds"], leaking, honest, strict=True):
        a = [one.dice for one in read_scores(first / "evaluations" / "discs-test-p3" / "scores.parquet")]
        b = [one.dice for one in read_scores(second / "evaluations" / "discs-test-p1" / "scores.parquet")]
        assert row["worth"]["difference"] == pytest.approx(np.mean(a) - np.mean(b))
        assert row["worth"]["n"] == 24
        assert row["leaking"] - row["honest"] == pytest.approx(row["worth"]["difference"])
        assert row["leaking_present"] == pytest.approx(np.mean(a))  # every target is present
        assert json.loads((first / "leak_worth.json").read_text()) == {
            k: v for k, v in values.items() if k != "command"
        }
        assert row["leaking_model_honest_prompt"] is not None
        blind = read_scores(first / "evaluations" / "discs-test-p3-image_blind" / "scores.parquet")
        assert {one.condition for one in blind} == {"mean_image", "other_image"}
        assert row["blind_mean_image"] == pytest.approx(
            np.mean([one.dice for one in blind if one.condition == "mean_image"])
        )
    assert values["worth"]["reason"] == "2 seeds, fewer than 5"
    page = tmp_path / "report.html"
    assert vlseg("report", *leaking, *honest, "--out", page).code == 0
    text = page.read_text()
    assert text.count("<summary>By seed</summary>") == 1
    assert "Run against run" in text
    assert "No comparison" not in text  # scored under two prompts each, compared under their own
    assert f"{values['seeds'][0]['worth']['difference']:+.3f}" in text
    assert "worth of the leak" in vlseg("prompts", "worth", *sources, "--data", root, "--device", "cpu").out


def test_what_is_not_a_leak_against_an_honest_prompt_is_refused(
    runs: tuple[Path, list[Path], list[Path]], vlseg: Callable[..., Any]
) -> None:
    root, leaking, honest = runs
    swapped = vlseg("prompts", "worth", "--leaking", honest[0], "--honest", leaking[0], "--data", root)
    assert swapped.code == 2
    assert "not deployable" in swapped.err
    uneven = vlseg("prompts", "worth", "--leaking", leaking[0], "--leaking", leaking[1], "--honest", honest[0])
    assert uneven.code == 2


def test_a_run_on_data_it_was_not_trained_on(
    make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    one, two = make_dataset("one", (4, 1, 12)), make_dataset("two", (4, 1, 12), 48)
    paths = [tiny(one, tmp_path / "run-one", prompt="p1", seed=0), tiny(two, tmp_path / "run-two", prompt="p1", seed=0)]
    for run in paths:
        for data in (one, two):
            evaluate_on(str(run), [str(data)], EvaluateOptions(device="cpu", threads=1))
    rows = compare_runs(paths)["cross_dataset"]
    assert [row["trained_on"] for row in rows] == [("one",), ("two",)]
    for row in rows:
        inside = row["means"][row["trained_on"][0]]
        outside = next(mean for name, mean in row["means"].items() if name not in row["trained_on"])
        assert row["drop"] == pytest.approx(inside - outside)
        assert row["drop_ci95"] is not None
    assert "cross-dataset" in vlseg("compare", *paths).out
