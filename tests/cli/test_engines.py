"""An exported folder, and `--engine`, with every command that takes a model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import retold
from PIL import Image

from vlseg import load
from vlseg.cli.compare import _crossing
from vlseg.models import as_module, load_model
from vlseg.models.exported.write import write_exported
from vlseg.records import EvaluationSpec, InputError, read_scores

Vlseg = Callable[..., Any]
PLAIN = ("--threads", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the run, as graphs."""
    folder = tmp_path_factory.mktemp("exported") / "graphs"
    folder.mkdir()
    model = load_model(str(trained / "run"))
    as_module(model).eval()
    write_exported(model, folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all tests, as a user's."""
    monkeypatch.setenv("VLSEG_CACHE", str(tmp_path_factory.getbasetemp() / "kept"))


def test_predict_gives_the_masks_of_torch(vlseg: Vlseg, trained: Path, exported: Path, tmp_path: Path) -> None:
    asked = ("--image", trained / "data" / "images", "--prompt", "bright disc", "--prompt", "dark disc", *PLAIN)
    ways = {
        "torch": (trained / "run", "--engine", "torch"),
        "run-onnx": (trained / "run", "--engine", "onnx"),
        "run-openvino": (trained / "run", "--engine", "openvino"),
        "folder": (exported,),
        "folder-openvino": (exported, "--engine", "openvino"),
    }
    found, digests = {}, set()
    for name, (source, *engine) in ways.items():
        done = vlseg("predict", source, *engine, *asked, "--out", tmp_path / name, "--json")
        assert done.code == 0, done.err
        found[name] = [np.asarray(Image.open(mask["mask"])) for mask in done.json["masks"]]
        digests |= {mask["digest"] for mask in done.json["masks"]}
    for masks in found.values():
        assert len(masks) == 22
        assert all(np.mean(one != other) < 0.001 for one, other in zip(masks, found["torch"], strict=True))
    assert any(mask.any() for mask in found["torch"])
    assert len(digests) == 3  # torch's weights, and the graphs under either engine


def test_jobs_go_on_with_graphs(vlseg: Vlseg, trained: Path, exported: Path, tmp_path: Path) -> None:
    images = sorted((trained / "data" / "images").glob("*.png"))[:3]
    (tmp_path / "jobs.json").write_text(json.dumps([{"image": str(one), "prompts": ["disc"]} for one in images]))
    asked = ("--jobs", tmp_path / "jobs.json", "--out", tmp_path / "out", *PLAIN)
    assert vlseg("predict", exported, *asked).code == 0
    assert "3 of them were there" in vlseg("predict", exported, *asked).out
    assert "were there" not in vlseg("predict", exported, *asked, "--engine", "openvino").out


def test_evaluate_and_compare(vlseg: Vlseg, trained: Path, exported: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    data = ("--data", trained / "data", "--prompt", "p1", "--json", *PLAIN)
    torch = vlseg("evaluate", run, *data, "--out", tmp_path / "torch")
    graphs = vlseg("evaluate", exported, *data, "--out", tmp_path / "graphs")
    kept = vlseg("evaluate", exported, *data, "--out", tmp_path / "kept", "--cache", tmp_path / "features")
    engine = vlseg("evaluate", run, *data, "--engine", "onnx")
    assert "data-test-p1-onnx" in engine.json["scores"]
    dice = [[row.dice for row in read_scores(Path(one.json["scores"]))] for one in (torch, graphs, kept, engine)]
    assert np.abs(np.array(dice) - dice[0]).max() < 0.01
    spec = EvaluationSpec.read(tmp_path / "graphs" / "spec.json")
    assert (spec.engine, spec.model, spec.protocol) == ("onnx fp32", "clipseg-tiny", "corrected")
    assert EvaluationSpec.read(tmp_path / "torch" / "spec.json").engine == "torch"
    compared = vlseg("compare", tmp_path / "torch", tmp_path / "graphs", "--json")
    assert compared.code == 0
    assert "engine torch, onnx fp32" in compared.json["pairs"][0]["differs"]


def test_a_run_scored_by_an_engine_has_a_report(vlseg: Vlseg, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    assert vlseg("evaluate", run, "--data", trained / "data", "--engine", "onnx", *PLAIN).code == 0
    assert vlseg("report", run, "--out", tmp_path / "report").code == 0


def test_probe_robustness_and_calibrate(vlseg: Vlseg, trained: Path, exported: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(exported, own)
    data = ("--data", trained / "data", "--prompt", "p1")
    assert vlseg("probe", own, *data, "--out", tmp_path / "probe", *PLAIN).code == 0
    assert vlseg("calibrate", own, *data, *PLAIN).code == 0
    assert load(str(own), device="cpu").vocabulary is not None
    noise = ("--condition", "corrupted", "--out", tmp_path / "noise")
    assert vlseg("evaluate", own, *data, *noise, *PLAIN).code == 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("attack {source} --data {data} --method fgsm --epsilon 2/255 --prompt p1 --out {out}", "give the run"),
        ("train --weights {source} --data {data} --prompt p1 --out {out}", "give the run"),
        ("merge {source} --out {out}", "to which nothing was added"),
        ("predict {source} --image {image} --prompt disc --out {out} --engine torch", "leave --engine torch out"),
        ("predict {source} --image {image} --prompt disc --out {out} --precision bf16", "leave out bf16"),
        ("predict {source} --image {image} --prompt disc --out {out} --device cuda", "take auto or cpu"),
        ("predict {source} --image {image} --prompt disc --out {out} --set protocol=published", "export it under"),
        ("evaluate {source} --data {data} --prompt p1 --engine torch", "leave --engine torch out"),
        ("serve {source} --engine onnx --device cuda", "take auto or cpu"),
    ],
)
def test_what_graphs_cannot_is_one_line(
    vlseg: Vlseg, trained: Path, exported: Path, tmp_path: Path, command: str, told: str
) -> None:
    image = trained / "data" / "images" / "test0.png"
    places = {"source": exported, "data": trained / "data", "image": image, "out": tmp_path / "out"}
    done = vlseg(*command.format(**places).split())
    (line,) = [line for line in done.err.splitlines() if line.startswith("vlseg: ")]
    assert (done.code, told in line) == (2, True), line
    assert not (tmp_path / "out").exists()


def test_members_of_an_ensemble(vlseg: Vlseg, trained: Path, exported: Path, tmp_path: Path) -> None:
    """Their graphs are copied, so that the ensemble stands alone."""
    own = tmp_path / "own"
    shutil.copytree(exported, own)
    members = f"model_arguments={{members: [{trained / 'run'}, {own}]}}"
    train = ("--data", trained / "data", "--prompt", "p1", "--set", members, *PLAIN, "--out", tmp_path / "run")
    assert vlseg("train", "--model", "ensemble", *train).code == 0
    shutil.rmtree(own)
    image = Image.open(trained / "data" / "images" / "test0.png")
    both, one = (
        load(str(source), device="cpu").segment(image, ["disc"])[0] for source in (tmp_path / "run", trained / "run")
    )
    assert np.abs(both.probability - one.probability).max() < 1e-4


def test_images_are_read_as_the_training_read_them(exported: Path, tmp_path: Path) -> None:
    """16-bit images by the policy that the export wrote; refused where the training had several."""
    Image.fromarray(np.full((32, 32), 1023, np.uint16)).save(tmp_path / "deep.png")
    folder = tmp_path / "graphs"
    shutil.copytree(exported, folder)
    config = json.loads((folder / "config.json").read_text())

    def brightest(intensity: object) -> float:
        config["vlseg"]["exported"]["intensity"] = intensity
        retold(folder, config)
        return float(load(str(folder), device="cpu").read(tmp_path / "deep.png").max())

    assert brightest({"kind": "bits_stored", "bits": 10}) == pytest.approx(1)
    assert brightest({"kind": "full_range"}) == pytest.approx(1023 / 65535)
    with pytest.raises(InputError, match="convert it to 8 bits"):
        brightest(None)
    with pytest.raises(InputError, match="export the run again"):
        brightest({"king": "full_range"})


def test_the_cache_of_graphs_is_the_default(vlseg: Vlseg, trained: Path, tmp_path: Path) -> None:
    image = trained / "data" / "images" / "test0.png"
    asked = ("--image", image, "--prompt", "disc", "--out", tmp_path / "out", "--engine", "onnx", *PLAIN)
    assert vlseg("predict", trained / "run", *asked).code == 0
    contexts = vlseg("cache", "info", "--json").json["contexts"]
    (context,) = (one for one in contexts if one["holds"] == "graphs")  # others are OpenVINO's, compiled
    assert context["model"] == "clipseg-tiny"


@pytest.mark.parametrize("size", ["abc", "0", "-32", "1.5", "true"])
def test_a_size_to_export_at_is_a_number_of_pixels(tmp_path: Path, vlseg: Callable[..., Any], size: str) -> None:
    done = vlseg("export", "unet", "--format", "onnx", "--out", tmp_path / "out", "--set", f"image_size={size}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"--set image_size={size}: is no number of pixels; give a whole one" in done.err
    assert not (tmp_path / "out").exists()


def test_what_a_model_without_a_record_was_trained_on_is_not_told() -> None:
    """It may well be the data that it was scored on."""
    row = {"run": "a", "means": {"busi": 0.5}, "in_domain": None, "trained_on": ()}
    assert _crossing(row) == "a: busi 0.500; what it was trained on is not recorded"
    assert _crossing(row | {"trained_on": ("other",)}).endswith("; not scored on data it was trained on")
