"""What is stored with a model when its training ends, how it travels, and what old models get by vlseg calibrate."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import NAMES, made

from vlseg.evaluation import Judging, load, read_judging, write_judging
from vlseg.jobs.datasets import open_pool
from vlseg.jobs.judging import Fitting, fit_judging
from vlseg.jobs.train import train_run
from vlseg.records import RunConfig

Run = Callable[..., Any]
COUNTS = (12, 12, 2)
QUICK = ("biomedclipseg", "clipseg-tiny", "unet", "ensemble")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, disc_writer: Callable[..., Path]) -> Path:
    """data/, where every other image's second disc is said to be absent, and run/: clipseg-tiny, a few steps."""
    root = tmp_path_factory.mktemp("judged")
    data = disc_writer(root / "data", COUNTS, 32)
    for split in ("train", "val"):
        entries = json.loads((data / "anns" / f"{split}.json").read_text())
        empty = np.zeros((32, 32), np.uint8)
        for entry in entries[1::2]:
            write_mask(data / "masks" / entry["mask_name"], empty)
    train_run(config(data), root / "run")
    return root


def write_mask(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask).save(path)


def config(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "model_arguments": {"image_size": 32},
        "data": [str(data)],
        "prompt": "p1",
        "threads": 1,
        "device": "cpu",
        "batch_size": 4,
        "max_steps": 4,
    }
    return RunConfig(**(values | changes))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "judging").iterdir())}


def test_training_stores_it_and_the_model_folder_alone_has_it(place: Path, tmp_path: Path) -> None:
    found = read_judging(place / "run" / "model")
    assert found.familiarity is not None
    assert found.presence is not None
    assert found.vocabulary is not None
    assert found.familiarity.told.n == 12
    assert found.familiarity.told.rate == pytest.approx(1 / 13)
    assert (found.presence.n, found.presence.present) == (24, 12)
    assert found.vocabulary.words == ("bright", "dark", "disc")
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    for source in (place / "run", tmp_path / "model"):
        predictor = load(str(source), device="cpu")
        assert (predictor.presence, predictor.vocabulary) == (found.presence, found.vocabulary)
        assert predictor.familiarity is not None
        assert predictor.familiarity.told == found.familiarity.told


def test_the_models_digest_is_that_without_it(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "judging")
    bare = load(str(tmp_path / "model"), device="cpu")
    assert (bare.familiarity, bare.presence, bare.vocabulary) == (None, None, None)
    assert bare.judge(np.zeros((20, 20, 3), np.float32)) is None
    assert bare.digest == load(str(place / "run"), device="cpu").digest


def test_nothing_in_it_names_an_image_or_a_patient(place: Path) -> None:
    for name, content in contents(place / "run" / "model").items():
        assert not any(word in content for word in (b"train0", b"val0", b".png", str(place).encode())), name
    assert sum(map(len, contents(place / "run" / "model").values())) < 20_000


def test_predict_says_when_it_cannot_judge(place: Path, tmp_path: Path, vlseg: Run) -> None:
    usual, odd = place / "data" / "images" / "test0.png", tmp_path / "white.png"
    write_mask(odd, np.full((32, 32), 255, np.uint8))
    states = {}
    for image in (usual, odd):
        flags = ("--image", image, "--prompt", "bright disc", "--prompt", "blue disc", "--out", tmp_path / image.stem)
        states[image.stem] = vlseg("predict", place / "run", *flags, "--device", "cpu", "--json").json["masks"]
    assert [mask["state"] for mask in states["white"]] == ["cannot_judge"] * 2
    assert states["white"][0]["familiar"]["state"] == "unlike"
    assert states["white"][0]["familiar"]["reasons"]
    for mask in states["test0"]:
        assert mask["familiar"] == {"state": "usual", "reasons": []}
        assert mask["state"] == ("found" if mask["area_px"] else "not_found")
        assert mask["present"] == (mask["area_px"] > 0)
    assert [mask["unknown_words"] for mask in states["test0"]] == [[], ["blue"]]
    flags = ("--image", odd, "--prompt", "blue disc", "--out", tmp_path / "lines", "--device", "cpu")
    line = vlseg("predict", place / "run", *flags).out.splitlines()[0]
    assert "cannot judge: colours unlike the training images" in line
    assert line.endswith("not in its training: blue")
    flags = ("--image", usual, "--prompt", "disc", "--out", tmp_path / "none", "--threshold", "1", "--device", "cpu")
    assert vlseg("predict", place / "run", *flags).out.splitlines()[0].endswith('"disc", not found by this model')


def test_half_precision_judges_alike(place: Path) -> None:
    image = np.full((40, 50, 3), 0.43, np.float32)
    verdicts = [load(str(place / "run"), device="cpu", precision=one).judge(image) for one in ("fp32", "bf16")]
    assert verdicts[0] is not None
    assert verdicts[1] is not None
    assert verdicts[1].score == pytest.approx(verdicts[0].score, rel=0.05)


def test_calibrate_writes_what_training_wrote(place: Path, tmp_path: Path, vlseg: Run) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model" / "judging")
    done = vlseg("calibrate", tmp_path / "run", "--device", "cpu", "--threads", "1", "--json")
    assert done.code == 0, done.err
    again, first = read_judging(tmp_path / "run" / "model"), read_judging(place / "run" / "model")
    assert again.vocabulary == first.vocabulary
    assert again.familiarity is not None
    assert first.familiarity is not None
    assert again.familiarity.threshold == pytest.approx(first.familiarity.threshold, rel=1e-4)
    assert again.presence is not None
    assert first.presence is not None
    assert again.presence.slope == pytest.approx(first.presence.slope, rel=1e-3)
    assert done.json["familiarity"]["n"] == 12
    assert done.json["presence"]["n"] == 24
    assert done.json["missing"] == []


def test_calibrate_of_a_models_folder_needs_data(place: Path, tmp_path: Path, vlseg: Run) -> None:
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "judging")
    flags = ("--prompt", "p1", "--device", "cpu")
    refused = vlseg("calibrate", tmp_path / "model", *flags)
    assert refused.code == 2
    assert "give --data" in refused.err
    done = vlseg("calibrate", tmp_path / "model", "--data", place / "data", *flags)
    assert done.code == 0, done.err
    assert "at most 7.7% of images like them are called unlike" in done.out
    assert "presence: a probability, from 24 samples of val, 12 with the target" in done.out
    assert read_judging(tmp_path / "model").vocabulary is not None


def test_calibrate_refuses_other_data_and_unfinished_runs(
    place: Path, tmp_path: Path, vlseg: Run, make_dataset: Callable[..., Path]
) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    before = contents(tmp_path / "run" / "model")
    other = make_dataset("other", counts=(10, 10, 1))
    for flags, line in (
        (("--data", other), "is not what"),
        (("--prompt", "p1"), "leave --prompt and --target out"),
    ):
        refused = vlseg("calibrate", tmp_path / "run", "--device", "cpu", *flags)
        assert refused.code == 2
        assert line in refused.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "status": "running"}))
    refused = vlseg("calibrate", tmp_path / "run", "--device", "cpu")
    assert refused.code == 2
    assert "--resume --out" in refused.err
    assert vlseg("calibrate", tmp_path / "nothing").code == 2
    assert contents(tmp_path / "run" / "model") == before


def test_what_val_does_not_allow_is_said_and_nothing_old_stays(
    place: Path, tmp_path: Path, vlseg: Run, make_dataset: Callable[..., Path]
) -> None:
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    few = make_dataset("few", counts=(10, 8, 1))
    done = vlseg("calibrate", tmp_path / "model", "--data", few, "--prompt", "p1", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert "val has 8 patients" in done.json["missing"][0]
    assert "16 samples with and 0 without" in done.json["missing"][1]
    assert sorted(contents(tmp_path / "model")) == ["vocabulary.json"]


def test_prompts_that_tell_the_label_teach_no_presence(place: Path, tmp_path: Path, vlseg: Run) -> None:
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    data = tmp_path / "data"
    shutil.copytree(place / "data", data)
    info = json.loads((data / "dataset.json").read_text())
    info["prompt_sources"]["p1"] = ["class", "label"]
    (data / "dataset.json").write_text(json.dumps(info))
    done = vlseg("calibrate", tmp_path / "model", "--data", data, "--prompt", "p1", "--device", "cpu", "--json")
    assert done.json["presence"] is None
    assert "may tell whether the target is there" in done.json["missing"][0]


@pytest.mark.parametrize(("dress", "prompt", "told"), [(None, "class+attributes", False), ("busi", "p1", True)])
def test_phantoms_may_be_described_but_not_announced(
    tmp_path: Path, vlseg: Run, dress: str | None, prompt: str, told: bool
) -> None:
    counts = ("--train", "4", "--val", "6" if dress else "60", "--test", "1", "--size", "32")
    data = tmp_path / "data"
    assert vlseg("data", "phantom", "--out", data, *counts, *(("--as", dress) if dress else ())).code == 0
    made("clipseg-tiny").save(tmp_path / "model")
    flags = ("--data", data, "--prompt", prompt, "--device", "cpu", "--json")
    done = vlseg("calibrate", tmp_path / "model", *flags)
    assert done.code == 0, done.err
    assert (done.json["presence"] is None) == told
    assert any("(label)" in line for line in done.json["missing"]) == told


def test_used_at_another_size_it_is_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = load(str(place / "run"), device="cpu", arguments={"image_size": 64})
    assert predictor.familiarity is None
    assert predictor.presence is None
    assert predictor.vocabulary is not None
    assert "fitted to 'clipseg-tiny' of protocol 'corrected' at 32x32" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["familiarity.json", "familiarity.safetensors", "vocabulary.json"])
def test_broken_files_are_named_with_the_mend(place: Path, tmp_path: Path, vlseg: Run, name: str) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / "model" / "judging" / name).write_text("{}")
    flags = ("--image", place / "data" / "images" / "test0.png", "--prompt", "disc", "--out", tmp_path / "out")
    refused = vlseg("predict", tmp_path / "run", *flags, "--device", "cpu")
    assert refused.code == 2
    assert name in refused.err
    assert "vlseg calibrate" in refused.err
    mended = vlseg("calibrate", tmp_path / "run", "--device", "cpu")
    assert mended.code == 0, mended.err
    assert vlseg("predict", tmp_path / "run", *flags, "--device", "cpu").code == 0


def test_what_is_cut_off_leaves_no_half(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    stored = read_judging(tmp_path / "model")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vlseg.evaluation.judging._write", stop)
    with pytest.raises(KeyboardInterrupt):
        write_judging(tmp_path / "model", stored)
    assert read_judging(tmp_path / "model") == Judging()
    assert not list((tmp_path / "model").glob("*judging*"))


def test_files_of_a_later_version_are_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run" / "model", tmp_path / "model")
    path = tmp_path / "model" / "judging" / "presence.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(Exception, match="later vlseg"):
        read_judging(tmp_path / "model")


@pytest.mark.slow
def test_merged_it_goes_along(place: Path, tmp_path: Path, vlseg: Run) -> None:
    made("clipseg").save(tmp_path / "base")
    changes = {"model": "clipseg", "model_arguments": {}, "weights": str(tmp_path / "base"), "regime": "lora"}
    train_run(config(place / "data", **changes, max_steps=2), tmp_path / "run")
    assert vlseg("merge", tmp_path / "run", "--out", tmp_path / "plain").code == 0
    assert contents(tmp_path / "plain") == contents(tmp_path / "run" / "model")
    image = np.full((32, 32, 3), 0.4, np.float32)
    verdicts = [load(str(tmp_path / one), device="cpu").judge(image) for one in ("run", "plain")]
    assert verdicts[0] is not None
    assert verdicts[1] is not None
    assert verdicts[0].score == pytest.approx(verdicts[1].score, rel=1e-3)


@pytest.mark.parametrize("name", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in NAMES])
def test_every_model_judges_with_its_encoders_features(name: str, place: Path) -> None:
    model = made(name)
    prompt = "p1"
    pool = open_pool([str(place / "data")], prompt, named=True)
    fitting = Fitting(model, pool, pool.split("train"), pool.split("val"), torch.device("cpu"), "fp32")
    if not model.spec.uses_text:
        known = {"bright disc": model.spec.targets[0], "dark disc": model.spec.targets[1]}
        fitting = renamed(fitting, known)
    found = fit_judging(fitting)
    assert isinstance(found, Judging)
    assert found.familiarity is not None, found.missing
    assert found.familiarity.parts[0].features is not None
    assert found.presence is not None, found.missing


def renamed(fitting: Fitting, names: dict[str, str]) -> Fitting:
    """The same samples under the model's own names of targets."""

    def under(items: Any) -> list[Any]:
        return [replace(one, sample=replace(one.sample, target=names[one.sample.target])) for one in items]

    return replace(fitting, trained=under(fitting.trained), val=under(fitting.val))
