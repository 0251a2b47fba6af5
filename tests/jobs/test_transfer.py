"""Weights of one run or file as the start of another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import straight_and_resumed
from tiny_models import TINY, made

from vlseg.jobs.train import train_run
from vlseg.models import Segmenter, as_module, load_model, retargeted
from vlseg.records import InputError, RunConfig, read_record

MakeDataset = Callable[..., Path]
BOTH = ("dark cyst", "bright nodule")


def config(data: Path, name: str, **changes: Any) -> RunConfig:
    """A step that moves nothing."""
    still = {"max_steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0, "regime": "decoder", "augment": False}
    values = {"model": name, "data": [str(data)], "prompt": "p1", "device": "cpu", "threads": 1, "batch_size": 2}
    return RunConfig(**(values | still | changes))


def one_target(root: Path, kept: str) -> Path:
    for split in ("train", "val", "test"):
        path = root / "anns" / f"{split}.json"
        entries = [entry for entry in json.loads(path.read_text()) if entry["target"] == kept]
        path.write_text(json.dumps(entries))
    return root


def channels(model: Segmenter, target: str) -> torch.Tensor:
    inputs = model.prepare([torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(2))])
    if model.spec.uses_target:
        return model.forward(inputs, model.tokenize([target])).logits[0, 0]
    return model.forward(inputs, None).logits[0, model.spec.targets.index(target)]


@pytest.mark.parametrize("name", ["smp-unet", "unet", "unet-target"])
@torch.no_grad()
def test_targets_keep_their_own_outputs_in_any_order(name: str, tmp_path: Path) -> None:
    """Swapped, one less, one more, and one that is another's: never the outputs of another target."""
    source = made(name)
    source.save(tmp_path)
    for targets in ((BOTH[1], BOTH[0]), (BOTH[1],), ("polyp", *BOTH)):
        model = retargeted(source, targets, str(tmp_path))
        as_module(model).eval()
        assert model.spec.targets == targets
        for target in set(targets) & set(BOTH):
            torch.testing.assert_close(channels(model, target), channels(source, target), rtol=1e-4, atol=1e-4)
    model = retargeted(source, ("polyp", "nevus"), str(tmp_path))
    as_module(model).eval()
    for target, other in zip(model.spec.targets, BOTH, strict=True):
        assert (channels(model, target) - channels(source, other)).abs().max() > 1e-3


def test_the_saved_models_own_arguments_hold(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Encoder and size need not be said again; a contradiction is named, another size taken."""
    data, arguments = make_dataset("one"), dict(TINY["smp-unet"])
    other = one_target(make_dataset("two"), "dark disc")
    train_run(config(data, "smp-unet", model_arguments=arguments), tmp_path / "source")
    weights = {"weights": str(tmp_path / "source")}
    train_run(config(other, "smp-unet", **weights), tmp_path / "same")
    assert load_model(str(tmp_path / "same")).spec.image_size == (64, 64)
    train_run(config(other, "smp-unet", **weights, model_arguments={"image_size": 96}), tmp_path / "larger")
    assert load_model(str(tmp_path / "larger")).spec.image_size == (96, 96)
    for data_of_two in (data, other):
        with pytest.raises(InputError, match="its encoder is 'resnet18', not 'resnet34'"):
            train_run(
                config(data_of_two, "smp-unet", **weights, model_arguments={"encoder": "resnet34"}), tmp_path / "no"
            )


@pytest.mark.parametrize(
    "prefix", ["net.", pytest.param("", marks=pytest.mark.slow), pytest.param("network.", marks=pytest.mark.slow)]
)
def test_from_any_checkpoint_of_a_cnn(prefix: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    """MedVLSM's, the library's own and a run's; one with as many outputs as targets keeps them."""
    data = one_target(make_dataset(), "dark disc")
    network = as_module(made("smp-unet")).get_submodule("network")
    values = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    file = tmp_path / "best.ckpt"
    torch.save({"model" if prefix == "network." else "state_dict": values}, file)
    model = load_model(str(file), name="smp-unet", arguments={**TINY["smp-unet"], "targets": list(BOTH)})
    assert model.spec.targets == BOTH
    assert model.spec.protocol == ("published" if prefix == "net." else "corrected")
    start = {"weights": str(file), "model_arguments": dict(TINY["smp-unet"])}
    run = tmp_path / "run"
    train_run(config(data, "smp-unet", **start), run)
    result = as_module(load_model(str(run))).get_submodule("network").state_dict()
    assert torch.equal(result["encoder.conv1.weight"], network.state_dict()["encoder.conv1.weight"])
    assert len(result["segmentation_head.0.weight"]) == 1
    assert read_record(run / "run.json").config["weights"] == str(file)
    single = {key: value[:1] if "segmentation_head" in key else value for key, value in values.items()}
    torch.save({"state_dict": single}, file)
    train_run(config(data, "smp-unet", **start), tmp_path / "kept")
    kept = as_module(load_model(str(tmp_path / "kept"))).get_submodule("network").state_dict()
    head = "segmentation_head.0.weight"
    torch.testing.assert_close(kept[head], network.state_dict()[head][:1], rtol=0, atol=1e-6)
    renamed = {key.replace("layer1.0.conv1", "layer1.0.conv9"): value for key, value in single.items()}
    torch.save({"state_dict": renamed}, file)
    with pytest.raises(InputError, match=r"missing \(encoder\.layer1\.0\.conv1\.weight\).*conv9"):
        train_run(config(data, "smp-unet", **start), tmp_path / "no")
    torch.save({"state_dict": {"conv1.weight": torch.ones(1)}}, file)
    with pytest.raises(InputError, match="an encoder alone is given with"):
        train_run(config(data, "smp-unet", **start), tmp_path / "no")


def test_an_ensemble_takes_the_threshold_that_a_run_chose(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(2, 1, 1))
    arguments = {"model_arguments": dict(TINY["clipseg-tiny"])}
    for name, threshold in (("one", 0.3), ("two", 0.6)):
        train_run(config(data, "clipseg-tiny", **arguments, threshold=threshold), tmp_path / name)
    members = [str(tmp_path / name) for name in ("one", "two")]
    train_run(config(data, "ensemble", model_arguments={"members": members}), tmp_path / "both")
    assert read_record(tmp_path / "both" / "run.json").threshold == pytest.approx(0.45)


def test_stacking_resumes_exactly(make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(counts=(4, 1, 1))
    for seed in (0, 1):
        train_run(config(data, "clipseg-tiny", model_arguments={"image_size": 32}, seed=seed), tmp_path / f"seed{seed}")
    arguments = {"members": [str(tmp_path / f"seed{seed}") for seed in (0, 1)], "combine": "stack"}
    stacked = config(data, "ensemble", model_arguments=arguments, max_steps=4, learning_rate=0.01)
    one, two = straight_and_resumed(stacked, tmp_path, monkeypatch)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["stack.weight"], torch.full_like(one["stack.weight"], 0.5))


def test_a_trained_cris_keeps_its_protocols_threshold(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """0.35 under a published protocol, in validation, in the record and in evaluation."""
    data = make_dataset(counts=(2, 1, 1))
    arguments = dict(TINY["cris"])
    train_run(config(data, "cris", model_arguments=arguments, protocol="medvlsm"), tmp_path / "run")
    record = read_record(tmp_path / "run" / "run.json")
    assert (record.threshold, record.threshold_origin) == (0.35, "default")
    train_run(config(data, "cris", model_arguments=arguments), tmp_path / "ours")
    assert read_record(tmp_path / "ours" / "run.json").threshold == 0.5
