"""The commands end to end on a small dataset, in one process."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.models import MODELS
from vlseg.records import read_record, read_scores

MakeDataset = Callable[..., Path]
SMALL = ["--set", "model_arguments={image_size: 32}", "--threads", "1", "--device", "cpu"]


def test_an_interrupted_training_ends_as_ctrl_c_does(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it stopped at a step's border: a script takes it neither for done nor for a fault."""
    stopped = read_record(trained / "run" / "run.json").model_copy(update={"status": "interrupted"})
    monkeypatch.setattr("vlseg.jobs.train.train_run", lambda *_, **__: stopped)
    monkeypatch.setattr("vlseg.studies.worker.execute", lambda *_: None)
    start = ("train", "--model", "clipseg-tiny", "--data", make_dataset(), "--prompt", "p1", "--out", tmp_path / "run")
    for more in ([], ["--grid", "seed=[0, 1]"]):
        done = vlseg(*start, *more, "--json")
        assert (done.code, done.json["status"]) == (130, "interrupted")


def test_train_evaluate_predict_report(vlseg: Callable[..., object], make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, run = make_dataset(), tmp_path / "run"
    done = vlseg("train", "--model", "clipseg-tiny", "--data", data, "--prompt", "p2", "--out", run, "--json",
                 "--set", "epochs=2", "--set", "threshold=val", *SMALL)  # fmt: skip
    assert done.code == 0
    assert done.json["command"] == "train"
    assert (done.json["status"], done.json["epochs"]) == ("done", 2)
    record = read_record(run / "run.json")
    assert record.threshold_origin == "val"
    assert record.prompt_sources == ["class", "user"]
    assert record.deployable
    assert not (run / "checkpoints").exists()

    done = vlseg("evaluate", run, "--data", data, "--json", "--threads", "1")
    assert done.code == 0
    assert done.json["n"] == 6
    assert {"mean", "std", "ci95"} <= done.json["dice"].keys()
    assert {"iou", "hd95", "nsd", "prompt", "prompt_source"} <= done.json.keys()
    scores = read_scores(Path(done.json["scores"]))
    assert len(scores) == 12  # two wordings each
    assert scores[0].threshold == record.threshold

    swapped = vlseg("evaluate", run, "--data", data, "--condition", "swapped", "--json", "--threads", "1")
    rows = read_scores(Path(swapped.json["scores"]))
    assert {row.condition for row in rows} == {"swapped"}
    assert {row.condition_arguments for row in rows} == {'{"against": "original"}', '{"against": "named"}'}
    assert all(row.named_target != row.target for row in rows if "original" in row.condition_arguments)
    assert all(row.named_target == row.target for row in rows if "named" in row.condition_arguments)

    out = tmp_path / "masks"
    done = vlseg("predict", run, "--image", data / "images", "--prompt", "bright disc", "--prompt", "dark disc",
                 "--out", out, "--json", "--threads", "1")  # fmt: skip
    assert done.code == 0
    assert len(done.json["masks"]) == 22
    first = done.json["masks"][0]
    assert {"image", "prompt", "mask", "area_px", "present"} <= first.keys()
    mask = np.asarray(Image.open(first["mask"]))
    assert mask.shape == (32, 32)
    assert (mask > 0).sum() == first["area_px"]
    assert json.loads((out / "predictions.json").read_text())[0]["mask"] == first["mask"]

    done = vlseg("report", run, "--json")
    assert done.code == 0
    page = Path(done.json["report"]).read_text()
    assert "Does it read the prompt?" in page


def test_zero_shot_by_model_folder(
    vlseg: Callable[..., object], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = vlseg("evaluate", trained / "run" / "model", "--data", trained / "data", "--prompt", "p0", "--json")
    assert done.code == 0
    # The empty prompt names none of the two discs: there is no truth to score against.
    assert done.json["n"] == 0
    assert done.json["n_without_truth"] == 3
    assert all(row.dice is None for row in read_scores(Path(done.json["scores"])))
    assert str(done.json["scores"]).startswith("evaluations")


def test_class_prompt_falls_back_to_the_target(vlseg: Callable[..., object], trained: Path, tmp_path: Path) -> None:
    done = vlseg(
        "evaluate", trained / "run", "--data", trained / "data", "--prompt", "class", "--out", tmp_path, "--json"
    )
    assert {row.wording for row in read_scores(tmp_path / "scores.parquet")} == {"bright disc", "dark disc"}
    assert done.json["prompt_source"] == ["class"]


def test_same_evaluation_gives_the_same_bytes(vlseg: Callable[..., object], trained: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        vlseg("evaluate", trained / "run", "--data", trained / "data", "--out", tmp_path / name, "--threads", "1")
    assert (tmp_path / "a" / "scores.parquet").read_bytes() == (tmp_path / "b" / "scores.parquet").read_bytes()


def test_image_only_models_take_the_target_channel(
    vlseg: Callable[..., object], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    data = make_dataset()
    for model in ("unet", "unet-target"):
        run = tmp_path / model
        done = vlseg(
            "train", "--model", model, "--data", data, "--prompt", "p1", "--out", run, "--set", "epochs=1", *SMALL
        )
        assert done.code == 0
        done = vlseg("evaluate", run, "--data", data, "--json")
        assert done.json["n"] == 6
        done = vlseg(
            "predict", run, "--image", data / "images" / "test0.png", "--prompt", "polyp", "--out", tmp_path / "m"
        )
        assert done.code == 2
        assert "bright disc, dark disc" in done.err


def test_finished_run_is_returned_as_it_is(vlseg: Callable[..., object], trained: Path) -> None:
    before = (trained / "run" / "run.json").read_bytes()
    done = vlseg("train", "--resume", "--out", trained / "run", "--json")
    assert (done.code, done.json["status"]) == (0, "done")
    assert (trained / "run" / "run.json").read_bytes() == before


def test_pair_of_folders_in_three_commands(
    vlseg: Callable[..., object], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    source, data = make_dataset(), tmp_path / "own"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    for index in range(6):
        shutil.copy(source / "images" / f"train{index}.png", data / "images" / f"case{index}.png")
        shutil.copy(source / "masks" / f"train{index}_dark.png", data / "masks" / f"case{index}.png")
    assert vlseg("data", "check", data, "--target", "disc").code == 0
    run = tmp_path / "run"
    done = vlseg(
        "train",
        "--model",
        "clipseg-tiny",
        "--data",
        data,
        "--target",
        "disc",
        "--out",
        run,
        "--set",
        "epochs=1",
        *SMALL,
    )
    assert done.code == 0
    assert vlseg("evaluate", run, "--data", data, "--json").json["n"] == 1


def test_prompts_show_marks_the_leak(vlseg: Callable[..., object], shared: Path) -> None:
    done = vlseg("prompts", "show", shared / "data" / "busi_sample", "--json")
    rows = {row["name"]: row for row in done.json["prompts"]}
    assert rows["p0"]["deployable"]
    assert (rows["p1"]["alias"], rows["p1"]["deployable"]) == ("class+presence", False)
    assert "label" in rows["p1"]["sources"]
    assert "mask" in rows["p6"]["sources"]


def test_data_check_exit_codes(vlseg: Callable[..., object], make_dataset: MakeDataset) -> None:
    data = make_dataset()
    sound = vlseg("data", "check", data, "--json")
    assert (sound.code, sound.json["errors"]) == (0, 0)
    (data / "images" / "train0.png").unlink()
    broken = vlseg("data", "check", data, "--json")
    assert broken.code == 1
    assert broken.json["findings"][0]["code"] == "missing_file"


@pytest.mark.slow
def test_models_table(vlseg: Callable[..., object]) -> None:
    cards = {card["name"]: card for card in vlseg("models", "--json").json["models"]}
    assert set(cards) == set(MODELS)
    assert cards["ensemble"]["parameters"] is None
    assert [one["place"] for one in cards["biomedclipseg-d"]["published"]] == [
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "CIDAS/clipseg-rd64-refined",
    ]
    assert "never published weights" in vlseg("models", "cris").out
    assert "vlsm-ensemble-b: VLSM-Ensemble B: CLIPSeg and UNet-D" in vlseg("models", "vlsm-ensemble-b").out
    assert cards["lvit-tw"]["about"].startswith("LViT-TW: LViT without text")
    assert cards["clipseg"]["parameters"] == 150_747_746
    assert cards["clipseg"]["decoder"] == 1_127_009
    assert cards["cris"]["protocols"] == ["corrected", "original", "medvlsm", "attention_mask"]
    measured = vlseg("models", "unet", "--measure", "--json").json["measured"][0]
    assert 0 < measured["predict_seconds"] < measured["step_seconds"] * 100
    assert measured["step_bytes"] >= measured["predict_bytes"] > 10**8
    assert vlseg("models", "clipsegg").code == 2


def test_phantom_command(vlseg: Callable[..., object], tmp_path: Path) -> None:
    out = tmp_path / "p"
    done = vlseg("data", "phantom", "--out", out, "--train", 4, "--val", 2, "--test", 2, "--seed", 5, "--json")
    assert done.code == 0
    assert 0.3 < done.json["text_blind_ceiling"]["test"] < 0.9
    assert vlseg("data", "check", out).code == 0
    assert vlseg("data", "phantom", "--out", out).code == 2
