"""vlseg export: held against PyTorch, measured, refused where it costs too much, with a card."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import TARGETS, made

from vlseg.evaluation import load, read_judging
from vlseg.jobs import export as exporting
from vlseg.jobs.evaluate import evaluate_on
from vlseg.jobs.export import export
from vlseg.jobs.export_asked import Exported, ExportOptions
from vlseg.jobs.scoring import EvaluateOptions
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.models.exported.write import exported_part
from vlseg.models.protocol import Segmenter
from vlseg.records import InputError, RunConfig, read_record

pytestmark = pytest.mark.usefixtures("graphs_once")
MakeDataset = Callable[..., Path]
ONNX = ExportOptions("onnx", threads=1)
INT8 = replace(ONNX, weights="int8")


@pytest.fixture(scope="module")
def int8(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(str(learned / "run"), tmp_path_factory.mktemp("int8") / "out", INT8)


def test_what_int8_costs_is_what_two_evaluations_say(learned: Path, int8: Exported, tmp_path: Path) -> None:
    assert int8.problem is None
    assert int8.cost is not None
    assert int8.cost.compared.n == 48
    assert int8.cost.compared.n_groups == 24
    for source, value in ((learned / "run", int8.cost.torch), (int8.folder, int8.cost.exported)):
        options = EvaluateOptions(prompt="p1", split="val", threads=1, device="cpu", threshold=int8.threshold)
        found = evaluate_on(str(source), [str(learned / "data")], options, tmp_path / source.name)
        assert found.aggregate.dice.mean == pytest.approx(value, abs=1e-9)
    difference = int8.cost.compared.difference
    assert difference == pytest.approx(int8.cost.exported - int8.cost.torch, abs=1e-12)
    assert int8.cost.torch > 0.5
    told = exported_part(int8.folder)["dice"]
    assert (told["torch"], told["exported"], told["n"]) == (int8.cost.torch, int8.cost.exported, 48)


def test_threshold_and_reading_of_deep_images_are_the_runs(learned: Path, int8: Exported) -> None:
    record, told = read_record(learned / "run" / "run.json"), exported_part(int8.folder)
    assert told["threshold"] == record.threshold
    assert (told["intensity"]["kind"], told["intensity"]["bits"]) == ("bits_stored", 12)
    assert load(str(int8.folder), device="cpu").threshold == record.threshold


def test_the_card_says_what_the_record_says(learned: Path, int8: Exported) -> None:
    text, record = (int8.folder / "README.md").read_text(), read_record(learned / "run" / "run.json")
    assert int8.cost is not None
    for told in (
        "Research use, not a medical device",
        record.data_fingerprint,
        "Prompt `p1`, its words from: class",
        f"Threshold {record.threshold:g} (chosen on val)",
        f"Dice {int8.cost.exported:.4f}, in PyTorch {int8.cost.torch:.4f}",
        "n = 48 of 24 groups (val of data, prompt p1)",
        "| data | test | p1 |",
        "weights int8",
        "The run started from no whole published model",
        'python run.py image.png "bright disc" --out masks',
    ):
        assert told in text
    assert str(learned) not in text
    assert str(int8.folder) not in text


def test_the_judge_is_held_against_the_exports_features(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = read_judging(learned / "run" / "model")
    assert judged.familiarity is not None
    monkeypatch.setattr(exporting, "changed_verdicts", lambda *_: (0, 24))
    same = export(str(learned / "run"), tmp_path / "same", INT8)
    assert any("the same verdict on all 24" in note for note in same.notes)
    files = {path.name: path.read_bytes() for path in (learned / "run" / "model" / "judging").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "same" / "judging").iterdir()} == files
    monkeypatch.setattr(exporting, "changed_verdicts", lambda *_: (3, 24))
    again = export(str(learned / "run"), tmp_path / "refitted", INT8)
    assert any("another verdict on 3 of 24, so it is fitted anew" in note for note in again.notes)
    assert (tmp_path / "refitted" / "judging" / "familiarity.json").is_file()
    elsewhere = replace(INT8, data=(str(learned / "data"),), split="test")
    again = export(str(learned / "run"), tmp_path / "left-out", elsewhere)
    assert any("so it is left out" in note for note in again.notes)
    left = read_judging(tmp_path / "left-out")
    assert left.familiarity is None
    assert left.presence is None
    assert left.vocabulary is not None


def worse(change: Callable[[Segmenter], None]) -> Callable[..., Segmenter]:
    """In place of what opens the export: PyTorch's model with a change."""

    def opened(place: str, **more: Any) -> Segmenter:
        model = load_model(place, **more)
        if model.spec.engine != "torch":
            inner = model.decode
            model.decode = lambda *given: _shifted(inner(*given), change)  # type: ignore[method-assign]
        return model

    return opened


def _shifted(output: Any, change: Any) -> Any:
    return replace(output, logits=change(output.logits))


def test_more_than_a_point_lost_is_not_left_as_done(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vlseg: Callable[..., Any]
) -> None:
    monkeypatch.setattr(exporting, "load_model", worse(lambda logits: logits - 4))
    run, out = learned / "run", tmp_path / "out"
    asked = ("export", run, "--format", "onnx", "--weights-as", "int8", "--out", out, "--threads", 1, "--json")
    done = vlseg(*asked)
    assert done.code == 1
    assert "int8 costs more than a point of Dice" in done.err
    assert done.json["status"] == "failed"
    assert done.json["cost"]["difference"] < -0.01
    assert [path.name for path in tmp_path.iterdir()] == []
    done = vlseg(*asked, "--accept")
    assert (done.code, done.json["status"]) == (0, "done")
    assert f"in PyTorch {done.json['cost']['torch']:.4f}" in (out / "README.md").read_text()


def test_ranges_that_change_the_masks_are_left_out(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then inputs are scaled at each call, and convolutions' weights alone are int8, which the card says."""
    costs = exporting.cost
    tries: list[float] = []

    def costing(*given: Any) -> Any:
        found = costs(*given)
        assert found is not None
        tries.append(found.exported)
        return replace(found, exported=found.torch + 0.02) if len(tries) == 1 else found

    monkeypatch.setattr(exporting, "cost", costing)
    found = export(str(learned / "run"), tmp_path / "out", INT8)
    assert len(tries) == 2
    assert found.cost is not None
    assert found.cost.exported == tries[1]
    assert any(note.startswith("int8 has no fixed ranges") for note in found.notes)
    assert "int8 has no fixed ranges" in (tmp_path / "out" / "README.md").read_text()
    assert b"QuantizeLinear" not in (tmp_path / "out" / "image_encoder.onnx").read_bytes().replace(
        b"DynamicQuantizeLinear", b""
    )


def test_single_precision_that_answers_otherwise_is_never_left(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "load_model", worse(lambda logits: logits + 0.002 * logits.std()))
    found = export(str(learned / "run"), tmp_path / "out", replace(ONNX, accept=True))
    assert "answers otherwise than in PyTorch" in str(found.problem)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(exporting, "load_model", worse(lambda logits: logits * torch.nan))
    assert export(str(learned / "run"), tmp_path / "out", INT8).problem is not None


def test_unmeasured_weights_are_refused_unless_accepted(learned: Path, tmp_path: Path) -> None:
    model = str(learned / "run" / "model")
    with pytest.raises(InputError, match=r"nothing says which data it is for.*give --data with a val set, or --accept"):
        export(model, tmp_path / "out", INT8)
    assert not (tmp_path / "out").exists()
    taken = export(model, tmp_path / "out", replace(INT8, accept=True))
    assert taken.parity.made_up
    assert taken.cost is None
    assert "not measured" in (tmp_path / "out" / "README.md").read_text()
    assert exported_part(tmp_path / "out")["dice"] is None
    measured = export(model, tmp_path / "on", replace(INT8, data=(str(learned / "data"),), prompt="p1"))
    assert measured.cost is not None
    assert measured.cost.compared.n == 48


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "tflite"}, "--format.*tflite"),
        ({"weights": "int4"}, "--weights-as.*int4"),
        ({"format": "hf", "weights": "int8"}, "--weights-as: is for graphs"),
        ({"computes": "bf16"}, "--computes: is OpenVINO's"),
        ({"prompt": "p9"}, "p9"),
        ({"data": ("nowhere",)}, "nowhere"),
        ({"split": "train2"}, "train2"),
    ],
)
def test_wrong_options(changes: dict[str, Any], words: str, learned: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        export(str(learned / "run"), tmp_path / "out", replace(ONNX, **changes))
    assert not (tmp_path / "out").exists()


def test_an_export_is_not_exported_and_a_folder_is_not_overwritten(int8: Exported, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is exported already"):
        export(str(int8.folder), tmp_path / "out", ONNX)
    with pytest.raises(InputError, match="not empty"):
        export(str(int8.folder), int8.folder, ONNX)


def test_moved_data_leave_single_precision_unmeasured(learned: Path, tmp_path: Path) -> None:
    shutil.copytree(learned / "run", tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace(str(learned / "data"), str(tmp_path / "gone")))
    found = export(str(tmp_path / "run"), tmp_path / "out", ONNX)
    assert found.problem is None
    assert any("not held against images with masks" in note for note in found.notes)
    with pytest.raises(InputError, match="gone"):
        export(str(tmp_path / "run"), tmp_path / "again", INT8)
    named = replace(INT8, data=(str(learned / "data"),))
    found = export(str(tmp_path / "run"), tmp_path / "again", named)
    assert found.cost is not None


def test_whole_folders_answer_the_same(learned: Path, tmp_path: Path) -> None:
    found = export(str(learned / "run"), tmp_path / "hf", replace(ONNX, format="hf"))
    assert found.problem is None
    assert found.opens is None
    assert found.parity.largest == 0
    assert (tmp_path / "hf" / "judging").is_dir()
    text = (tmp_path / "hf" / "README.md").read_text()
    assert "transformers" not in text
    image = np.asarray(Image.open(learned / "data" / "images" / "test0.png").convert("RGB"))
    one, other = (load(place, device="cpu", threshold=0.3) for place in (learned / "run", tmp_path / "hf"))
    assert np.array_equal(one.segment(image, ["dark disc"])[0].mask, other.segment(image, ["dark disc"])[0].mask)


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["full", "lora"])
def test_clipseg_opens_in_transformers(regime: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Also with LoRA, which is folded into its weights; the same logits as the run's."""
    import transformers

    made("clipseg").save(tmp_path / "start")
    config = RunConfig(
        model="clipseg",
        weights=str(tmp_path / "start"),
        model_arguments={"image_size": 64},
        data=[str(make_dataset())],
        prompt="p1",
        regime=regime,
        threads=1,
        device="cpu",
        max_steps=3,
        learning_rate=0.01,
    )
    train_run(config, tmp_path / "run")
    found = export(str(tmp_path / "run"), tmp_path / "hf", ExportOptions("hf"))
    assert found.opens == "CLIPSegForImageSegmentation"
    assert "transformers.CLIPSegForImageSegmentation" in (tmp_path / "hf" / "README.md").read_text()
    theirs = transformers.CLIPSegForImageSegmentation.from_pretrained(tmp_path / "hf").eval()
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")(["a dark disc"], return_tensors="pt")
    ours = load_model(str(tmp_path / "run"))
    as_module(ours).eval()
    inputs = ours.prepare([torch.rand(3, 64, 64)])
    with torch.no_grad():
        one = ours.forward(inputs, ours.tokenize(["a dark disc"])).logits
        other = theirs(pixel_values=inputs.tensors["pixel_values"], **tokens).logits
    assert (one.squeeze() - other.squeeze()).abs().max() < 1e-3 * one.std()
    graphs = export(str(tmp_path / "run"), tmp_path / "onnx", ONNX)
    assert graphs.problem is None


@pytest.mark.slow
def test_at_another_size(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    made("clipseg").save(tmp_path / "model")
    done = vlseg("export", tmp_path / "model", "--format", "onnx", "--set", "image_size=96", "--data", make_dataset(),
                 "--prompt", "p1", "--out", tmp_path / "out", "--json")  # fmt: skip
    assert done.code == 0
    assert exported_part(tmp_path / "out")["prepare"]["size"] == [96, 96]
    assert done.json["parity"]["largest"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "computes"), [("fp32", "f32"), ("fp16", "f32"), ("int8", "f32"), ("fp32", "bf16")])
def test_openvino(weights: str, computes: str, learned: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    run, out = learned / "run", tmp_path / "out"
    done = vlseg("export", run, "--format", "openvino", "--weights-as", weights, "--computes", computes, "--out", out,
                 "--threads", 1, "--json")  # fmt: skip
    assert done.code == 0
    assert exported_part(out)["graphs"]["decoder"]["computes"] == computes
    if weights == "int8":  # single logits may be far off; what is promised is the masks' Dice
        assert abs(done.json["cost"]["difference"]) <= 0.01
        assert done.json["parity"]["mask_dice"] > 0.95
    else:
        assert done.json["parity"]["largest"] < (1e-4 if (weights, computes) == ("fp32", "f32") else 0.3)
    assert (done.json["cost"] is None) == ((weights, computes) == ("fp32", "f32"))


def test_image_only_models(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """All targets' channels are compared; the card asks for one by its name."""
    made("unet").save(tmp_path / "unet")
    found = export(str(tmp_path / "unet"), tmp_path / "out", ONNX)
    assert found.problem is None
    assert f'"{TARGETS[0]}"' in (tmp_path / "out" / "README.md").read_text()
