"""Regimes that add weights, from the command line: trained, killed and resumed, evaluated, gone on with."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from extended_models import CASES, IDS
from resuming import straight_and_resumed
from tiny_models import TINY, made

from vlseg.jobs.train import train_run
from vlseg.models import load_model
from vlseg.models.additions import suits_cache
from vlseg.models.additions.extended import Extended
from vlseg.records import InputError, RunConfig, read_record, read_scores

MakeDataset = Callable[..., Path]
Row = tuple[str, str, Mapping[str, Any]]
SHOWN = IDS.index("dense_v-clipseg")
ROWS = [
    pytest.param(*row, id=name, marks=[] if number == SHOWN else [pytest.mark.slow])
    for number, (row, name) in enumerate(zip(CASES, IDS, strict=True))
]


def config(data: Path, regime: str, model: str, arguments: Mapping[str, Any], **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": model,
        "regime": regime,
        "regime_arguments": dict(arguments),
        "data": [str(data)],
        "prompt": "p1",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "max_steps": 4,
        "augment": False,
    }
    return RunConfig(**(values | changes))


@pytest.mark.parametrize(("regime", "model", "arguments"), ROWS)
def test_train_and_evaluate_from_the_command_line(
    regime: str,
    model: str,
    arguments: Mapping[str, Any],
    make_dataset: MakeDataset,
    tmp_path: Path,
    vlseg: Callable[..., Any],
) -> None:
    data, base, run = make_dataset(counts=(4, 1, 2)), tmp_path / "base", tmp_path / "run"
    made(model).save(base)
    told = yaml.safe_dump(dict(arguments), default_flow_style=True, width=10**6).strip()
    settings = {"max_steps": 2, "regime_arguments": told, "batch_size": 2}
    flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
    flags += ["--cache", str(tmp_path / "features")] if suits_cache(regime) else []
    done = vlseg(
        *("train", "--model", model, "--weights", base, "--regime", regime, "--data", data, "--prompt", "p1"),
        *("--out", run, "--device", "cpu", *flags),
    )
    assert done.code == 0, done.err
    done = vlseg("evaluate", run, "--data", data, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert all(row.dice is not None and 0 <= row.dice <= 1 for row in read_scores(Path(done.json["scores"])))


REAL = [row for row in CASES if row[:2] in (("dense_vlc", "clipseg"), ("lora", "biomedclipseg"), ("maple", "clipseg"))]


@pytest.mark.slow
@pytest.mark.parametrize(("regime", "model", "arguments"), REAL, ids=[row[0] for row in REAL])
def test_trained_and_evaluated_on_real_ultrasound(
    regime: str, model: str, arguments: Mapping[str, Any], shared: Path, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data, run = shared / "data" / "busi_sample", tmp_path / "run"
    made(model).save(tmp_path / "base")
    on = {"weights": str(tmp_path / "base"), "prompt": "p6", "max_steps": 3}
    record = train_run(config(data, regime, model, arguments, **on), run)
    assert (record.status, record.summary["steps"]) == ("done", 3)
    done = vlseg("evaluate", run, "--data", data, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    rows = read_scores(Path(done.json["scores"]))
    assert len({row.image_id for row in rows}) == 20
    assert all(row.dice is not None and 0 <= row.dice <= 1 for row in rows)


@pytest.mark.parametrize(("regime", "model", "arguments"), ROWS)
def test_resumed_ends_with_the_same_weights(
    regime: str,
    model: str,
    arguments: Mapping[str, Any],
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_dataset(counts=(4, 0, 1))
    made(model).save(tmp_path / "base")
    wanted = config(data, regime, model, arguments, weights=str(tmp_path / "base"))
    one, two = straight_and_resumed(wanted, tmp_path, monkeypatch)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_random_weights_are_kept_beside_and_their_decoder_trains(make_dataset: MakeDataset, tmp_path: Path) -> None:
    row = CASES[SHOWN]
    wanted = config(make_dataset(), *row, model_arguments=dict(TINY[row[1]]))
    train_run(wanted, tmp_path / "run")
    assert (tmp_path / "run" / "model" / "base" / "config.json").exists()
    model = load_model(str(tmp_path / "run"))
    assert isinstance(model, Extended)
    assert model.trains_decoder
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    train_run(wanted.model_copy(update={"weights": str(tmp_path / "elsewhere"), "max_steps": 1}), tmp_path / "on")
    assert load_model(str(tmp_path / "on")).spec == model.spec


def test_what_cannot_be_is_said_before_anything_is_written(make_dataset: MakeDataset, tmp_path: Path) -> None:
    regime, model, arguments = CASES[SHOWN]
    tiny = {"model_arguments": dict(TINY[model])}
    data = make_dataset()
    train_run(config(data, regime, model, arguments, **tiny, max_steps=1), tmp_path / "first")
    first = {"weights": str(tmp_path / "first")}
    unet = {"model_arguments": dict(TINY["unet"])}
    for wrong, words in (
        (config(data, "dense", model, {}, **tiny), "regime 'dense'"),
        (config(data, "full", model, {"width": 3}, **tiny), "takes none"),
        (config(data, regime, model, {"size": 3}, **tiny), "regime_arguments of"),
        (config(data, regime, model, {"train_decoder": "yes"}, **tiny), "true or false"),
        (config(data, regime, "unet", {}, **unet), "is not for 'unet'"),
        (config(data, regime, model, {}, **tiny, protocol="published"), "take corrected"),
        (config(data, "full", model, {}, **first), "start from the weights that it was put onto"),
        (config(data, regime, model, {"width": 5}, **first), "cannot go onto"),
    ):
        with pytest.raises(InputError, match=words):
            train_run(wrong, tmp_path / "no")
        assert not (tmp_path / "no").exists()
    with pytest.raises(InputError, match="inside the image encoder"):
        train_run(config(data, regime, model, arguments, **tiny, feature_cache=str(tmp_path / "c")), tmp_path / "no")


def test_members_of_an_ensemble_keep_what_was_added(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, (regime, model, arguments) = make_dataset(), CASES[SHOWN]
    made(model).save(tmp_path / "base")
    for seed in (0, 1):
        one = config(data, regime, model, arguments, weights=str(tmp_path / "base"), seed=seed, max_steps=1)
        train_run(one, tmp_path / str(seed))
    members = {"members": [str(tmp_path / "0"), str(tmp_path / "1")], "combine": "stack"}
    train_run(config(data, "full", "ensemble", {}, model_arguments=members, max_steps=1), tmp_path / "all")
    for seed in (0, 1):
        (tmp_path / str(seed)).rename(tmp_path / f"moved-{seed}")
    both: Any = load_model(str(tmp_path / "all"))
    for seed, member in enumerate(both.segmenters):
        alone: Any = load_model(str(tmp_path / f"moved-{seed}"))
        assert all(torch.equal(tensor, alone.stored()[name]) for name, tensor in member.stored().items())
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="put it back there"):
        load_model(str(tmp_path / "all"))
    (tmp_path / "elsewhere").rename(tmp_path / "base")
    load_model(str(tmp_path / "all"))


@pytest.mark.slow
def test_two_processes_train_what_one_does(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, (regime, model, arguments) = make_dataset(), CASES[SHOWN]
    made(model).save(tmp_path / "base")
    found = []
    for devices in (1, 2):
        wanted = config(data, regime, model, arguments, weights=str(tmp_path / "base"), max_steps=2)
        train_run(wanted.model_copy(update={"devices": devices}), tmp_path / str(devices))
        trained: Any = load_model(str(tmp_path / str(devices)))
        found.append(trained.stored())
    assert all(torch.allclose(tensor, found[1][name], atol=2e-5) for name, tensor in found[0].items())
    assert read_record(tmp_path / "2" / "run.json").processes == 2
