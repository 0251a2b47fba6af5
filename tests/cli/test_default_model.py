"""vlseg train without --model."""

import json
import re
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from weights_here import installed

from vlseg.jobs.settings import config_from_options
from vlseg.models import packaged
from vlseg.records import InputError, read_config, read_record

MakeDataset = Callable[..., Path]
SMALL = ("--threads", "1", "--device", "cpu", "--set", "epochs=1")
TINY = "model_arguments={image_size: 64, encoder: test_efficientnet, encoder_weights: null, text: hashed}"


def config(*settings: str, recipe: str | None = None, **given: Any) -> Any:
    return config_from_options({"data": ["d"], **given}, settings, recipe=recipe)


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(wanted: str) -> None:
        raise PackageNotFoundError(wanted)

    packaged.packaged.cache_clear()
    monkeypatch.setattr(packaged, "distribution", absent)


def test_guide_on_packaged_encoders_is_what_a_user_gets(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lite0", "minilm"):
        installed(name)
    assert config() == config(model="guide")
    assert config().model_arguments == {"encoder_weights": "lite0", "text": "minilm"}
    monkeypatch.chdir(tmp_path)
    data = make_dataset()
    done = vlseg("train", "--data", data, "--prompt", "p1", *SMALL, "--set", "batch_size=6", "--json")
    assert (done.code, done.json["run"]) == (0, "runs/guide"), done.err
    assert read_record(Path("runs/guide/run.json")).config["regime"] == "freeze_encoders"
    assert vlseg("train", "--resume", "--json").json["run"] == "runs/guide"


def test_help_says_what_is_taken(vlseg: Callable[..., Any]) -> None:
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", vlseg("train", "--help").out).split())
    assert "default: guide, or the model of --weights" in words


@pytest.mark.parametrize("given", [(), ("--model", "guide")])
def test_without_the_packages_one_line_names_both(
    given: tuple[str, ...], vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path, without_packages: None
) -> None:
    out = tmp_path / "run"
    done = vlseg("train", *given, "--data", make_dataset(), "--out", out)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert all(str(one.package) in done.err for one in packaged.PACKAGED.values())
    assert ("--model: is not given" in done.err) is not bool(given)
    assert not out.exists()
    # What needs none of them is not stopped.
    assert config(TINY).model == "guide"
    assert config(model="unet").model == "unet"


def test_weights_say_which_model_it_is(
    vlseg: Callable[..., Any], trained: Path, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """Of a run or model folder; the recipe's own start does not get in the way of theirs."""
    assert config(weights=str(trained / "run")) == config(weights=str(trained / "run"), model="clipseg-tiny")
    assert config(weights=str(trained / "run" / "model")).model == "clipseg-tiny"
    data, blind = make_dataset(), tmp_path / "blind"
    start = ("train", "--data", data, "--prompt", "p1", *SMALL)
    assert vlseg(*start, "--out", blind, "--set", TINY.replace("hashed", "none")).code == 0
    done = vlseg(*start, "--out", tmp_path / "again", "--weights", blind)
    assert done.code == 0, done.err
    assert read_config(tmp_path / "again" / "config.yaml").model == "guide"
    for weights in ("best.ckpt", "CIDAS/clipseg-rd64-refined", str(tmp_path / "gone")):
        with pytest.raises(InputError, match=f"--weights: {weights} is no folder .*: give --model"):
            config(weights=weights)


def test_a_recipe_that_the_default_lacks_names_models_that_have_it() -> None:
    with pytest.raises(InputError, match="--recipe published: is not of guide, the default; give --model: clipseg, "):
        config(TINY, recipe="published")
    with pytest.raises(InputError, match="recipe 'publised'"):
        config(TINY, recipe="publised")


def test_resume_takes_the_runs_own_model_or_says_that_another_was_named(
    vlseg: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    done = vlseg("train", "--resume", "--out", tmp_path / "nothing")
    assert done.err == f"vlseg: {tmp_path / 'nothing'}: no run to resume there; give --data to start one\n"
    done = vlseg("train", "--resume", "--out", trained / "run", "--data", trained / "data", "--set", TINY)
    assert "was started with another model, " in done.err
    assert "resume with --out and --resume alone" in done.err
    assert vlseg("train", "--resume", "--out", trained / "run").code == 0


def test_a_grid_is_gone_on_with_by_the_same_command(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """Nothing but --data need be given: the model has a default."""
    grid = (
        "train",
        "--data",
        make_dataset(),
        "--grid",
        "seed=[0, 1]",
        "--out",
        tmp_path / "runs",
        *SMALL,
        "--set",
        TINY,
    )
    first = vlseg(*grid, "--json")
    assert (first.code, first.json["status"]) == (0, "done"), first.err
    assert vlseg(*grid, "--resume", "--json").json["runs"] == first.json["runs"]
    for run in first.json["runs"]:
        assert json.loads((Path(run["run"]) / "run.json").read_text())["config"]["model"] == "guide"
