"""What the command and the card say of an export, where it could be false."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import made

from vlseg.evaluation import Judging, load, read_judging, write_judging
from vlseg.evaluation.presence import fit_presence
from vlseg.jobs import export as exporting
from vlseg.jobs.export import export
from vlseg.jobs.export_asked import ExportOptions
from vlseg.jobs.export_card import begun_with
from vlseg.metrics import dice_score
from vlseg.models import as_module, load_model
from vlseg.models.exported.lighter import lighten
from vlseg.models.exported.write import exported_part, write_exported
from vlseg.records import InputError

pytestmark = pytest.mark.usefixtures("graphs_once")
ONNX = ExportOptions("onnx", threads=1)
FP16 = replace(ONNX, weights="fp16")
INT8 = replace(ONNX, weights="int8")


def saved(folder: Path, change: Callable[[torch.nn.Parameter, str], object]) -> Path:
    """A small model of which some weights are changed."""
    model = made("unet")
    with torch.no_grad():
        for name, weight in as_module(model).named_parameters():
            change(weight, name)
    model.save(folder)
    return folder


def flat(weight: torch.nn.Parameter, name: str) -> None:
    if name.startswith("decoder.head"):
        weight.fill_(0.1 if name.endswith("bias") else 0)


def test_a_network_that_says_the_same_everywhere_is_exported(tmp_path: Path) -> None:
    """Its logits' deviation is the rounding of their mean, of which every other rounding is a large part."""
    found = export(str(saved(tmp_path / "flat", flat)), tmp_path / "out", ONNX)
    assert found.problem is None
    assert found.parity.largest < 1e-3
    (asked,) = load(str(tmp_path / "out"), device="cpu").segment(np.zeros((20, 30, 3), np.uint8), ["dark cyst"])
    assert np.ptp(asked.probability) < 1e-6


def test_answers_that_are_not_finite_already_in_torch_are_not_the_exports_fault(tmp_path: Path) -> None:
    model = saved(tmp_path / "boom", lambda weight, name: weight.mul_(1e30))
    with pytest.raises(InputError, match=r"not finite \(NaN or infinity\) in PyTorch itself; train it again"):
        export(str(model), tmp_path / "out", ONNX)
    assert not (tmp_path / "out").exists()


def test_what_is_asked_for_is_named(learned: Path, tmp_path: Path) -> None:
    """Not the files' numbers where it is what computes."""
    model, bf16 = str(learned / "run" / "model"), ExportOptions("openvino", computes="bf16", threads=1)
    with pytest.raises(InputError, match=r"^--computes bf16: what it costs in Dice cannot be measured"):
        export(model, tmp_path / "out", bf16)
    assert (bf16.numbers, bf16.asked) == ("fp32 computed in bf16", "--computes bf16")
    assert (FP16.numbers, FP16.asked) == ("fp16", "--weights-as fp16")


def test_ranges_are_blamed_only_where_there_are_some(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer's int8 has none: nothing else is tried, and nothing is said of convolutions."""
    costs, lightened = exporting.cost, exporting.lighten
    tried: list[bool] = []
    monkeypatch.setattr(exporting, "cost", lambda *given: replace(costs(*given), exported=1.5))  # type: ignore[type-var]
    monkeypatch.setattr(exporting, "lighten", lambda *given: tried.append(lightened(*given)))
    found = export(str(learned / "run"), tmp_path / "out", INT8)
    assert tried == [True]
    assert not any("convolutions" in note for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ranged"), [("clipseg", False), ("unet", True)])
def test_which_models_have_ranges(name: str, ranged: bool, tmp_path: Path) -> None:
    model = made(name)
    asked = "a polyp" if model.spec.uses_text else model.spec.targets[0]
    write_exported(model, tmp_path)
    image = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
    assert lighten(tmp_path, "int8", [(image, asked)]) is ranged


@torch.no_grad()
@pytest.mark.parametrize("name", ["clipseg-tiny", pytest.param("clipseg", marks=pytest.mark.slow)])
def test_an_int8_answer_does_not_depend_on_what_is_asked_beside_it(name: str, tmp_path: Path) -> None:
    """Neither on other images nor on other prompts, shorter or longer: a server asks those of others together."""
    write_exported(made(name), tmp_path)
    lighten(tmp_path, "int8")
    assert any(graph.get("alone") for graph in exported_part(tmp_path)["graphs"].values())
    model = load_model(str(tmp_path))
    draw = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 40, 50, generator=draw) * tone for tone in (1, 0.2, 0.01)]
    prompts = ["", "a polyp", "many words " * 20]
    together = model.forward(model.prepare(images), model.tokenize(prompts)).logits
    for row, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
        alone = model.forward(model.prepare([image]), model.tokenize([prompt])).logits
        assert (alone - together[row : row + 1]).abs().max() < 1e-4 * together.std()


@pytest.mark.parametrize("judged", [True, False])
def test_a_calibration_that_is_kept_is_said_to_be_pytorchs(
    judged: bool, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing says which images are usual."""
    run = tmp_path / "run"
    shutil.copytree(learned / "run", run)
    stored = read_judging(run / "model")
    assert stored.familiarity is not None
    calibration = fit_presence([0.1, 0.2, 0.9, 0.7] * 10, [False, False, True, True] * 10)
    write_judging(run / "model", Judging(stored.familiarity if judged else None, calibration, stored.vocabulary))
    monkeypatch.setattr(exporting, "changed_verdicts", lambda *_: (0, 24))
    export(str(run), tmp_path / "out", FP16)
    assert exporting.PRESENCE_KEPT in (tmp_path / "out" / "README.md").read_text()
    assert read_judging(tmp_path / "out").presence == calibration


def test_results_in_pytorch_are_those_in_pytorch(learned: Path, tmp_path: Path) -> None:
    """Evaluations by another engine are none, and one of a few images says so."""
    run = tmp_path / "run"
    shutil.copytree(learned / "run", run)
    (spec,) = run.glob("evaluations/*/spec.json")
    for name, changes in (
        ("graphs", {"engine": "onnx fp32", "threshold": 0.123}),
        ("few", {"precision": "bf16", "condition_arguments": {"limit": 5}, "target": "dark disc"}),
    ):
        shutil.copytree(spec.parent, run / "evaluations" / name)
        told = json.loads(spec.read_text()) | changes
        (run / "evaluations" / name / "spec.json").write_text(json.dumps(told))
    export(str(run), tmp_path / "out", ONNX)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| data | test | p1 |" in text
    assert "| data | test, limit 5, dark disc alone, bf16 | p1 |" in text
    assert "0.123" not in text


def test_a_run_that_went_on_from_a_run_began_where_that_began(learned: Path, tmp_path: Path) -> None:
    """The licence is that of the first weights, through runs and their model folders."""
    for name, weights in (("first", "CIDAS/clipseg-rd64-refined"), ("second", str(tmp_path / "first" / "model"))):
        shutil.copytree(learned / "run", tmp_path / name)
        record = json.loads((tmp_path / name / "run.json").read_text())
        record["config"]["weights"] = weights
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    assert begun_with(str(tmp_path / "second")) == "CIDAS/clipseg-rd64-refined"
    assert begun_with(str(learned / "run")) is None
    assert begun_with("") is None
    assert begun_with(str(tmp_path / "mine.pth")) == str(tmp_path / "mine.pth")
    export(str(tmp_path / "second"), tmp_path / "out", ONNX)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Weights from CIDAS/clipseg-rd64-refined: " in text
    assert str(tmp_path) not in text
    record["config"]["weights"] = str(tmp_path / "mine.pth")
    (tmp_path / "second" / "run.json").write_text(json.dumps(record))
    export(str(tmp_path / "second"), tmp_path / "other", ONNX)
    text = (tmp_path / "other" / "README.md").read_text()
    assert "Weights from mine.pth, whose licence vlseg does not know" in text
    assert str(tmp_path) not in text


def dataset(folder: Path, source: Path, emptied: Callable[[int], bool], kept: slice = slice(None)) -> Path:
    """The discs, some of val's without anything in their mask, or some left out."""
    shutil.copytree(source, folder)
    entries = json.loads((folder / "anns" / "val.json").read_text())[kept]
    (folder / "anns" / "val.json").write_text(json.dumps(entries))
    for number, entry in enumerate(entries):
        if emptied(number):
            Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "masks" / entry["mask_name"])
    return folder


def by_hand(source: Path, data: Path) -> list[float]:
    """Dice of val, both empty is 1, from predictions and mask files, in the order of the annotations."""
    predictor, scores = load(str(source), device="cpu", threads=1), []
    for entry in json.loads((data / "anns" / "val.json").read_text()):
        (found,) = predictor.segment(data / "images" / entry["img_name"], [entry["prompts"]["p1"]])
        truth = np.asarray(Image.open(data / "masks" / entry["mask_name"])) > 127
        both = int(found.mask.sum()) + int(truth.sum())
        scores.append(2 * int((found.mask & truth).sum()) / both if both else 1.0)
        assert scores[-1] == pytest.approx(dice_score(found.mask, truth))
    return scores


def test_the_cost_is_what_masks_and_truths_give_by_hand(learned: Path, tmp_path: Path) -> None:
    """With truths that are empty among them; each is asked by itself here, and together there."""
    data = dataset(tmp_path / "data", learned / "data", lambda number: number % 8 == 0)
    run = learned / "run"
    found = export(str(run / "model"), tmp_path / "out", replace(INT8, data=(str(data),), prompt="p1"))
    assert found.cost is not None
    one, other = by_hand(run / "model", data), by_hand(tmp_path / "out", data)
    assert found.cost.torch == pytest.approx(np.mean(one), abs=1e-9)
    assert found.cost.exported == pytest.approx(np.mean(other), abs=1e-9)
    assert (found.cost.compared.n, found.cost.compared.n_groups) == (48, 24)
    text = (tmp_path / "out" / "README.md").read_text()
    assert found.cost.compared.ci95 is not None or "95 % interval of" not in text
    assert f"Dice {np.mean(other):.4f}, in PyTorch {np.mean(one):.4f}" in text
