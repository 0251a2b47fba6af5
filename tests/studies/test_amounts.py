"""Amounts of work against what runs really did."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.jobs.train import train_run
from vlseg.records import RunConfig
from vlseg.records.study import Planned
from vlseg.studies.amounts import Amounts, Counting, lengths, new_features

CASES: dict[str, dict[str, Any]] = {
    "plain": {"epochs": 2},
    "accumulated": {"epochs": 2, "accumulate": 2},
    "automatic": {"epochs": 2, "accumulate": "auto"},
    "ends within an epoch": {"epochs": 3, "max_steps": 5},
    "ends with an epoch": {"epochs": 3, "max_steps": 4},
    "more steps than epochs": {"epochs": 2, "max_steps": 50},
    "seldom validated": {"epochs": 5, "validate_every": 2},
    "seldom and cut": {"epochs": 9, "validate_every": 3, "max_steps": 11},
    "a share": {"epochs": 2, "train_share": 0.5},
    "fewer labels": {"epochs": 4, "label_share": 0.5},
    "pseudo-labels": {"epochs": 4, "label_share": 0.5, "pseudo_labels": "epi"},
    "pseudo-labels, seldom validated": {
        "epochs": 7,
        "validate_every": 2,
        "label_share": 0.5,
        "pseudo_labels": "epi",
        "pseudo_warmup": 0.4,
    },
    "pseudo-labels cut": {"epochs": 6, "max_steps": 8, "label_share": 0.5, "pseudo_labels": "epi"},
    "pseudo-labels without need": {"epochs": 2, "pseudo_labels": "epi"},
    "a fold": {"epochs": 2, "folds": 4, "fold": 1},
    "one prompt an image": {"epochs": 2, "prompts_per_image": 1},
    "few validated": {"epochs": 2, "validate_limit": 1},
    "one target": {"epochs": 2, "target": "dark disc", "batch_size": 5},
    "free": {"epochs": 5, "adversarial": "free", "adversarial_steps": 2},
    "pooled": {"epochs": 2, "pooled": True, "pooling": "dataset"},
}


def planned(config: RunConfig, kind: str = "train") -> Planned:
    values: dict[str, Any] = {
        "name": "run",
        "kind": kind,
        "labels": {"model": "clipseg-tiny", "trained_on": "discs"},
        "parts": ["one"],
        "config": config.model_dump(mode="json"),
        "data": {Path(path).name: path for path in config.data},
        "identity": "0",
        "near": "n",
    }
    return Planned.model_validate(values)


def counted(config: RunConfig) -> Amounts:
    run = planned(config)
    return Counting().of(run, {run.name: run})


@pytest.mark.parametrize("case", CASES)
def test_steps_and_validations_are_those_of_the_run(
    case: str, make_dataset: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = dict(CASES[case])
    data = [str(make_dataset(counts=(6, 2, 3)))]
    if values.pop("pooled", False):
        data.append(str(make_dataset("more", counts=(5, 3, 1))))
    usual = {"batch_size": 3, "patience": None, "prompt": "p1", "threads": 1, "device": "cpu"}
    model = {"model": "clipseg-tiny", "model_arguments": {"image_size": 32}}
    config = RunConfig.model_validate({**model, **usual, "data": data, **values})

    found = counted(config).parts
    record = train_run(config, tmp_path / "run")

    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        validations = sum(1 for row in csv.DictReader(file) if row["val_dice"])
    images = re.search(r"training on \d+ samples of (\d+) images", capsys.readouterr().err)
    assert images is not None
    assert found["steps"] == record.summary["steps"]
    assert found["validations"] == validations
    assert found["images"] == int(images[1])
    assert found["val_images"] == found["val_reads"] * validations


def test_images_are_counted_not_samples(make_dataset: Callable[..., Path]) -> None:
    config = RunConfig(model="clipseg-tiny", data=[str(make_dataset(counts=(6, 2, 3)))], prompt="p1")
    found = counted(config)
    assert (found.parts["images"], found.parts["entries"], found.rows) == (6, 22, 2)  # two discs an image


def test_kept_features_are_those_of_each_variant_shown(make_dataset: Callable[..., Path]) -> None:
    data = [str(make_dataset(counts=(6, 2, 3)))]
    config = RunConfig(model="guide", data=data, prompt="p1", feature_cache="features", feature_views=4, epochs=3)
    assert sorted(counted(config).features.values()) == [2, 18]  # three epochs show three of four variants at most
    plain = config.model_copy(update={"augment": False})
    assert sorted(counted(plain).features.values()) == [2, 6]


def test_features_are_paid_by_the_first_that_needs_them() -> None:
    known: dict[str, int] = {}
    one, larger = Amounts({}, {"a": 4}), Amounts({}, {"a": 6, "b": 1})
    assert [new_features(each, known) for each in (one, one, larger, larger)] == [4, 0, 3, 0]


def test_an_evaluation_is_counted_in_images(make_dataset: Callable[..., Path]) -> None:
    config = RunConfig(model="unet", data=[str(make_dataset(counts=(6, 2, 3)))], prompt="p1")
    asked = {"prompt": "p1", "split": "test", "condition": "clean"}
    run = planned(config, "evaluate").model_copy(update={"config": asked})
    assert Counting().of(run, {run.name: run}).parts["images"] == 3
    blind = run.model_copy(update={"config": {**asked, "condition": "blind"}})
    assert Counting().of(blind, {run.name: run}).parts["images"] == 5
    probe = run.model_copy(update={"kind": "probe", "config": {**asked, "limit": 2}})
    assert Counting().of(probe, {run.name: run}).parts["images"] == 4


def test_a_run_without_epochs_over_data_has_no_steps() -> None:
    config = RunConfig(model="unet", data=["x"], batch_size=4, epochs=3)
    assert lengths(config, 0) == (0, 0)
    assert lengths(config, 4) == (3, 3)
