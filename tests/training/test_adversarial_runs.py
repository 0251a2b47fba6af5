"""Runs that train adversarially: killed, by several processes, beside others, and what is refused before they start."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adversarial_runs import apart, same
from adversarial_runs import config_for as plain_config
from resuming import straight_and_resumed
from torch import Tensor

from vlseg.jobs.together import train_together
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.models.additions import ADDITIONS
from vlseg.records import InputError, RunConfig

MakeDataset = Callable[..., Path]


def config_for(data: Path, **changes: Any) -> RunConfig:
    return plain_config(data, **{"adversarial": "pgd", "adversarial_steps": 2, **changes})


def weights(run: Path) -> dict[str, Tensor]:
    return as_module(load_model(str(run))).state_dict()


CASES: dict[str, dict[str, Any]] = {
    "pgd": {"adversarial_share": 0.5},
    "free": {"adversarial": "free"},
    "pgd with batch norm and dropout": {"model": "smp-deeplabv3plus", "accumulate": 2},
    "free, pieces, cut last drawing": {"adversarial": "free", "adversarial_steps": 3, "accumulate": 2, "epochs": 5},
    "free, pseudo-labels": {"adversarial": "free", "label_share": 0.5, "pseudo_labels": "epi"},
}


@pytest.mark.parametrize(
    "case", ["pgd", "free", *(pytest.param(one, marks=pytest.mark.slow) for one in list(CASES)[2:])]
)
@pytest.mark.parametrize("killed_at", [3, pytest.param(6, marks=pytest.mark.slow)])
def test_resume_equals_never_interrupted(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, killed_at: int
) -> None:
    config = config_for(make_dataset(counts=(7, 1, 1)), **CASES[case])
    straight, resumed = straight_and_resumed(config, tmp_path, monkeypatch, killed_at=killed_at)
    assert same(straight, resumed)


def test_free_has_the_steps_rates_and_validations_of_a_plain_run(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, told = make_dataset(counts=(7, 2, 1)), {}
    for how in ("none", "free"):
        config = config_for(data, adversarial=how, adversarial_steps=3, epochs=5, schedule="cosine")
        record = train_run(config, tmp_path / how)
        rows = list(csv.DictReader((tmp_path / how / "history.csv").read_text().splitlines()))
        told[how] = [(row["step"], row["epoch"], row["learning_rate"], row["val_dice"] == "") for row in rows]
        assert (record.summary["steps"], record.summary["epochs"]) == (20, 5)
    assert told["none"] == told["free"]


@pytest.mark.slow
def test_two_processes_attack_what_one_does(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """The same images from the same starts; to what the sign of a gradient near 0 makes of rounding."""
    data = make_dataset(counts=(7, 2, 1))
    settings: dict[str, Any] = {"batch_size": 3, "adversarial_share": 0.5, "max_steps": 2}
    for devices in (1, 2):
        train_run(config_for(data, devices=devices, **settings), tmp_path / str(devices))
    train_run(config_for(data, **{**settings, "adversarial": "none"}), tmp_path / "plain")

    one, two, plain = (weights(tmp_path / name) for name in ("1", "2", "plain"))
    assert apart(one, two) < 0.02 * apart(one, plain)


def test_runs_trained_together_are_those_trained_alone(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    runs = {
        "pgd": config_for(data, epochs=2),
        "free": config_for(data, epochs=2, adversarial="free"),
        "none": config_for(data, epochs=2, adversarial="none"),
    }
    train_together({tmp_path / "together" / name: config for name, config in runs.items()})
    for name, config in runs.items():
        train_run(config, tmp_path / name)
        assert same(weights(tmp_path / name), weights(tmp_path / "together" / name))


def test_a_step_is_cut_to_what_the_attack_takes(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """accumulate=auto measures the pass that asks for the image's gradient, through a frozen encoder as well."""
    found = {}
    for how in ("none", "pgd"):
        config = config_for(
            make_dataset(how), model="clipseg", regime="decoder", adversarial=how, accumulate="auto", epochs=1
        )
        kept = _kept_by_a_step(config, tmp_path / how)
        found[how] = kept
    assert found["pgd"] > 1.5 * found["none"]


def _kept_by_a_step(config: RunConfig, folder: Path) -> int:
    from vlseg.jobs.datasets import open_pool
    from vlseg.models import build_model
    from vlseg.training import Fit
    from vlseg.training.memory import kept_bytes

    pool = open_pool(config.data, config.prompt)
    model = build_model(config.model, arguments=config.model_arguments, targets=pool.targets)
    config = config.model_copy(update={"batch_size": 1, "accumulate": 1})
    trainer = Fit(model, pool.split("train"), pool.infos, config, folder)
    batch = trainer.first_batch()
    return kept_bytes(lambda: trainer.largest_loss(batch), list(as_module(model).parameters()))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"regime": "decoder", "feature_cache": "features"}, "feature_cache: kept features are of images as they are"),
    ({"adversarial": "free", "adversarial_steps": 5}, "give at least 5 epochs, or fewer steps"),
    ({"adversarial": "free", "devices": 2}, "leave devices, nodes, srun and torchrun out, or take pgd"),
    (
        {"adversarial": "free", "adversarial_steps": 3, "label_share": 0.5, "pseudo_labels": "epi"},
        "2 of 4 epochs.*lower adversarial_steps",
    ),
]


@pytest.mark.parametrize(("settings", "line"), REFUSED, ids=str)
def test_what_is_refused_leaves_nothing(
    make_dataset: MakeDataset, tmp_path: Path, settings: dict[str, Any], line: str
) -> None:
    if "feature_cache" in settings:
        settings = {**settings, "feature_cache": str(tmp_path / "features")}
        (tmp_path / "features").mkdir()
    with pytest.raises(InputError, match=line):
        train_run(config_for(make_dataset(), **settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_ensemble_that_cannot_be_attacked_is_refused_before_anything_is_written(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    data = make_dataset()
    for name, size in (("small", 32), ("large", 64)):
        plain = {"adversarial": "none", "epochs": 1, "model_arguments": {"image_size": size}}
        train_run(config_for(data, **plain), tmp_path / name)
    members = {"members": [str(tmp_path / "small"), str(tmp_path / "large")], "combine": "stack"}
    with pytest.raises(InputError, match=r"^adversarial: .*different sizes; leave adversarial out"):
        train_run(config_for(data, model="ensemble", model_arguments=members), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_fractions_are_numbers_and_what_is_none_is_refused() -> None:
    config = RunConfig(model="m", data=["d"], adversarial="pgd", adversarial_epsilon="4/255")  # type: ignore[arg-type]
    assert config.adversarial_epsilon == 4 / 255
    assert (config.attack_steps, config.passes, config.replays) == (7, 8, 1)
    assert config.attack_step_size == pytest.approx(2.5 * 4 / 255 / 7)
    free = config.model_copy(update={"adversarial": "free"})
    assert (free.attack_steps, free.passes, free.replays, free.attack_step_size) == (4, 1, 4, 4 / 255)
    for wrong in ("4/0", "a/255", "1/2/3", "-1/255", "3/2"):
        with pytest.raises(ValueError, match="adversarial_epsilon"):
            RunConfig(model="m", data=["d"], adversarial_epsilon=wrong)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("regime", ADDITIONS)
def test_regimes_that_add_weights_are_attacked_through_what_stays(
    make_dataset: MakeDataset, tmp_path: Path, regime: str
) -> None:
    data, ends = make_dataset(), []
    for how in ({"adversarial": "none"}, {"adversarial_epsilon": 0.0}, {}, {"adversarial": "free"}):
        config = config_for(data, model="clipseg", regime=regime, max_steps=3, **how)
        train_run(config, tmp_path / str(len(ends)))
        ends.append(weights(tmp_path / str(len(ends))))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])
    assert not same(ends[0], ends[3])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_a_compiled_run_is_attacked(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, ends = make_dataset(), []
    for how in ({"compile": True}, {}, {"adversarial": "none"}):
        train_run(config_for(data, max_steps=2, **how), tmp_path / str(len(ends)))
        ends.append(weights(tmp_path / str(len(ends))))
    compiled, plain, without = ends
    assert apart(compiled, plain) < 0.05 * apart(without, plain)
