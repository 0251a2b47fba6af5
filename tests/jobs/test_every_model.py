"""Each model from the command line at a tiny size: trained, killed and resumed, evaluated, predicted with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from resuming import straight_and_resumed
from tiny_models import NAMES, TINY

from vlseg.jobs.settings import config_from_options
from vlseg.jobs.train import train_run
from vlseg.models import MODELS, architecture_of, as_module, load_model
from vlseg.records import InputError, RunConfig, read_record, read_scores

MakeDataset = Callable[..., Path]
QUICK = ("biomedclipseg", "smp-unet")
PLAIN = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "ensemble"]


def config(data: Path, name: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": name,
        "model_arguments": dict(TINY[name]),
        "data": [str(data)],
        "prompt": "p1",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "max_steps": 4,
        "augment": False,
    }
    return RunConfig(**(values | changes))


@pytest.mark.parametrize("name", PLAIN)
def test_train_evaluate_and_predict_from_the_command_line(
    name: str, make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data, run = make_dataset(counts=(4, 1, 2)), tmp_path / "run"
    arguments = yaml.safe_dump(dict(TINY[name]), default_flow_style=True, width=10**6).strip()
    settings = {"max_steps": 2, "model_arguments": arguments, "batch_size": 2}
    flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
    done = vlseg("train", "--model", name, "--data", data, "--prompt", "p1", "--out", run, "--device", "cpu", *flags)
    assert done.code == 0, done.err
    done = vlseg("evaluate", run, "--data", data, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    rows = read_scores(Path(done.json["scores"]))
    assert {row.model for row in rows} == {name}
    assert all(row.dice is not None and 0 <= row.dice <= 1 for row in rows)
    prompt = "bright disc"
    done = vlseg(
        "predict", run, "--image", data / "images", "--prompt", prompt, "--out", tmp_path / "m", "--device", "cpu"
    )
    assert done.code == 0, done.err
    assert len(list((tmp_path / "m").rglob("*.png"))) == 14  # a mask and an overlay of each image


@pytest.mark.parametrize("name", PLAIN)
def test_resumed_ends_with_the_same_weights(
    name: str, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(counts=(4, 0, 1))  # no val: the last weights, not the best, which may be older than the kill
    one, two = straight_and_resumed(config(data, name), tmp_path, monkeypatch)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    "combine", ["mean", *(pytest.param(how, marks=pytest.mark.slow) for how in ("majority", "stack"))]
)
def test_seeds_become_an_ensemble(
    combine: str, make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data = make_dataset(counts=(4, 1, 3))
    for seed in (0, 1, 2):
        train_run(config(data, "clipseg-tiny", seed=seed), tmp_path / f"seed{seed}")
    members = [str(tmp_path / f"seed{seed}") for seed in (0, 1, 2)]
    arguments = {"members": members, "combine": combine}
    record = train_run(config(data, "ensemble", model_arguments=arguments), tmp_path / "all")
    assert record.status == "done"
    assert record.summary["steps"] == (4 if combine == "stack" else 0)
    done = vlseg("evaluate", tmp_path / "all", "--data", data, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    rows = read_scores(Path(done.json["scores"]))
    assert all(row.uncertainty is not None and 0 <= row.uncertainty <= 1 for row in rows)
    assert done.json["risk_coverage"]["n"] == 6
    for member in members:  # the ensemble holds copies
        shutil.rmtree(member)
    assert vlseg("evaluate", tmp_path / "all", "--data", data, "--device", "cpu", "--out", tmp_path / "x").code == 0


def test_members_that_cannot_answer_together(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    for name in ("clipseg-tiny", "unet"):
        train_run(config(data, name, max_steps=1), tmp_path / name)
    for members, words in (
        ([str(tmp_path / "unet")], "two or more"),
        ([str(tmp_path / "unet"), str(tmp_path / "clipseg-tiny")], "cannot be asked together"),
    ):
        with pytest.raises(InputError, match=words):
            train_run(config(data, "ensemble", model_arguments={"members": members}), tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("name", ["unet", "unet-target", "smp-unet"])
def test_transfer_to_other_targets_keeps_all_but_the_outputs(
    name: str, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    first, second = make_dataset("one"), make_dataset("two")
    for split in ("train", "val", "test"):
        path = second / "anns" / f"{split}.json"
        entries = [entry for entry in json.loads(path.read_text()) if entry["target"] == "bright disc"]
        path.write_text(json.dumps(entries))
    train_run(config(first, name), tmp_path / "source")
    weights = str(tmp_path / "source")
    tiny = {"max_steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0, "regime": "decoder"}
    train_run(config(second, name, weights=weights, **tiny), tmp_path / "transferred")
    source, result = (load_model(str(tmp_path / run)) for run in ("source", "transferred"))
    assert (len(source.spec.targets), len(result.spec.targets)) == (2, 1)
    ours, theirs = as_module(result).state_dict(), as_module(source).state_dict()
    anew = {key for key in ours if ours[key].shape != theirs[key].shape}
    assert anew
    assert all(any(word in key for word in ("head", "embedding")) for key in anew)
    moved = [k for k in ours if k not in anew and not torch.allclose(ours[k].float(), theirs[k].float(), atol=1e-6)]
    assert all("running" in key or "num_batches" in key for key in moved)
    assert read_record(tmp_path / "transferred" / "run.json").config["weights"] == weights
    other = {key: value for key, value in TINY[name].items() if key != "encoder"} | {"image_size": 64}
    if name == "smp-unet":
        with pytest.raises(InputError, match="is built otherwise"):
            train_run(
                config(second, name, weights=weights, model_arguments={**other, "encoder": "resnet34"}), tmp_path / "no"
            )


def test_encoder_weights_from_a_file(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """torchvision's layout, classifier included; and one key renamed."""
    import torchvision

    torch.manual_seed(4)
    weights = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    arguments = {**TINY["smp-unet"], "encoder_weights": str(tmp_path / "resnet18.pth")}
    data = make_dataset(counts=(2, 0, 1))
    frozen = {"regime": "freeze_encoders", "max_steps": 1}
    train_run(config(data, "smp-unet", model_arguments=arguments, **frozen), tmp_path / "run")
    (tmp_path / "resnet18.pth").unlink()
    model = as_module(load_model(str(tmp_path / "run")))  # needs the file no longer
    assert torch.equal(model.state_dict()["network.encoder.conv1.weight"], weights["conv1.weight"])
    weights["conv9.weight"] = weights.pop("conv1.weight")
    torch.save(weights, tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match=r"missing \(conv1\.weight\)"):
        train_run(config(data, "smp-unet", model_arguments=arguments), tmp_path / "other")
    with pytest.raises(InputError, match="not downloadable here"):
        train_run(
            config(data, "smp-unet", model_arguments={**TINY["smp-unet"], "encoder_weights": "imagenet"}),
            tmp_path / "third",
        )


def test_recipes() -> None:
    options = {"data": ["d"]}
    published = config_from_options({"model": "cris", **options}, [], recipe="published")
    assert published is not None
    assert (published.protocol, published.batch_size, published.loss) == ("medvlsm", 32, "published")
    assert (published.learning_rate, published.patience, published.augment) == (2e-5, 20, False)
    own = config_from_options({"model": "cris", **options, "precision": "fp32"}, ["learning_rate=1e-3"])
    assert own is not None
    assert (own.learning_rate, own.encoder_rate, own.loss) == (1e-3, 0.1, "dice_bce")
    inside = config_from_options({"model": "cris", **options}, ["model_arguments={a: {b: [1e-05, x]}}"])
    assert inside is not None
    assert inside.model_arguments == {"a": {"b": [1e-5, "x"]}}
    cnn = config_from_options(
        {"model": "smp-unet", **options}, ["model_arguments={encoder: resnet18}"], recipe="published"
    )
    assert cnn is not None
    assert cnn.model_arguments == {"encoder_weights": "imagenet", "encoder": "resnet18"}
    assert (cnn.optimizer, cnn.learning_rate, cnn.loss, cnn.schedule) == ("adam", 1e-3, "present_dice", "constant")
    for model in MODELS:
        for recipe in architecture_of(model).recipes:
            assert config_from_options({"model": model, **options}, [], recipe=recipe) is not None
    with pytest.raises(InputError, match="model with a recipe 'published' 'unet'"):
        config_from_options({"model": "unet", **options}, [], recipe="published")
    with pytest.raises(InputError, match="unknown recipe 'publised'; did you mean 'published'"):
        config_from_options({"model": "cris", **options}, [], recipe="publised")


def test_encoders_learn_at_their_own_rate(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(2, 0, 1))
    slow = {"max_steps": 1, "optimizer": "adam", "weight_decay": 0.0, "learning_rate": 0.01, "warmup_steps": 0}
    train_run(config(data, "clipseg-tiny", **slow), tmp_path / "one")
    train_run(config(data, "clipseg-tiny", encoder_rate=0.01, **slow), tmp_path / "two")
    one, two = (as_module(load_model(str(tmp_path / run))).state_dict() for run in ("one", "two"))
    torch.manual_seed(0)
    moved = {key for key in one if not torch.equal(one[key], two[key])}
    assert moved
    parts = load_model(str(tmp_path / "one")).parts()
    decoder = {id(p) for module in parts["mask_decoder"] for p in module.parameters()}
    names = dict(as_module(load_model(str(tmp_path / "one"))).named_parameters())
    assert decoder
    assert not any(key.startswith("decoder") and key in moved for key in names)
