"""Every model at the size that studies take at scale tiny: it builds without a download, trains, is evaluated."""

import socket
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vlseg.jobs.evaluate import EvaluateOptions, evaluate_on
from vlseg.jobs.settings import config_of
from vlseg.jobs.train import train_run
from vlseg.models import MODELS, architecture_of, as_module, build_model
from vlseg.phantoms import write_dressed

TINY: dict[str, dict[str, Any]] = yaml.safe_load((files("vlseg") / "studies" / "tiny.yaml").read_text())
COUNTS = {"train": 4, "val": 2, "test": 3}
AT_ONCE = ("clipseg", "biomedclipseg", "smp-deeplabv3plus", "guide/target")
EACH = [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in TINY]


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heart") / "camus"
    write_dressed(out, "camus", COUNTS, size=32)
    return out


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a tiny model needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_every_model_that_trains_is_there() -> None:
    assert {name.split("/")[0] for name in TINY} == set(MODELS) - {"ensemble"}  # which is made of members
    assert all(entry.keys() == {"model_arguments", "settings"} for entry in TINY.values())
    twins = {name.split("/")[1]: entry for name, entry in TINY.items() if "/" in name}
    assert {text: entry["model_arguments"]["text"] for text, entry in twins.items()} == {
        "none": "none",
        "target": "target",
    }


@pytest.mark.parametrize("name", TINY)
def test_it_is_small(name: str) -> None:
    model = build_model(name.split("/")[0], arguments=TINY[name]["model_arguments"], targets=("a", "b"))
    assert sum(parameter.numel() for parameter in as_module(model).parameters()) < 3_000_000
    assert model.spec.image_size == (32, 32)


@pytest.mark.parametrize("name", EACH)
def test_it_trains_and_is_evaluated(name: str, heart: Path, tmp_path: Path) -> None:
    model, entry = name.split("/")[0], TINY[name]
    recipe = "published" if "published" in architecture_of(model).recipes else None
    given = {"model": model, "data": [str(heart)], "prompt": "p6", "device": "cpu", "threads": 1}
    config = config_of({**given, "model_arguments": entry["model_arguments"], **entry["settings"]}, recipe)
    record = train_run(config, tmp_path / "run")
    assert (record.status, record.summary["epochs"], record.phantoms) == ("done", 2, ["camus"])
    scored = evaluate_on(str(tmp_path / "run"), [str(heart)], EvaluateOptions(device="cpu", threads=1))
    assert len({(row.image_id, row.target) for row in scored.scores}) == 9
    assert scored.spec.phantoms == ["camus"]


@pytest.mark.parametrize("name", ["clipseg", "cris"])
def test_random_weights_that_were_saved_are_evaluated_as_zero_shot(name: str, heart: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build_model(name, arguments=TINY[name]["model_arguments"], protocol="corrected").save(tmp_path / "weights")
    options = EvaluateOptions(prompt="p1", device="cpu", threads=1)
    scored = evaluate_on(str(tmp_path / "weights"), [str(heart)], options, tmp_path / "evaluation")
    assert len({row.sample_id for row in scored.scores}) == 9
