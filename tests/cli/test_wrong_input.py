"""Bad input: one clear line, exit code 2, nothing half-written. Odd but sound input simply works."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeDataset = Callable[..., Path]


def edit(root: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / "anns" / "train.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def drop_annotations(root: Path) -> None:
    for path in (root / "anns").iterdir():
        path.unlink()


TRAIN = ["train", "--model", "clipseg-tiny", "--data", "{data}", "--prompt", "p1", "--out", "{out}", "--threads", "1",
         "--set", "max_steps=1", "--set", "model_arguments={{image_size: 32}}"]  # fmt: skip

CASES: dict[str, tuple[list[str], Callable[[Path], Any], str]] = {
    "missing folder": ([*TRAIN, "--data", "{data}x"], lambda root: None, "discsx: no such folder"),
    "missing annotation file": (TRAIN, drop_annotations, "holds none of train.json"),
    "broken JSON": (TRAIN, lambda root: (root / "anns" / "train.json").write_text("[{"), r"train\.json: broken JSON"),
    "entry without image": (TRAIN, lambda r: edit(r, lambda e: e[0].pop("img_name")), "entry 0.*img_name"),
    "missing image": (TRAIN, lambda r: (r / "images" / "train0.png").unlink(), r"train0\.png: no such file"),
    "truncated image": (TRAIN, lambda r: truncate(r / "images" / "train0.png"), r"train0\.png: cannot be decoded"),
    "zero-byte image": (TRAIN, lambda r: (r / "images" / "train0.png").write_bytes(b""), r"train0\.png.*0 bytes"),
    "mask of another size": (
        TRAIN,
        lambda r: Image.new("L", (5, 5), 255).save(r / "masks" / "train0_dark.png"),
        r"train0_dark\.png: is 5x5 pixels, its image .*train0\.png is 32x32",
    ),
    "unknown model": ([*TRAIN, "--model", "clipseg-tiney"], lambda r: None, "did you mean 'clipseg-tiny'"),
    "unknown prompt": ([*TRAIN, "--prompt", "p11"], lambda r: None, r"unknown prompt of discs 'p11'.*p2"),
    "a target for a prompt": (
        [*TRAIN, "--prompt", "dark disc"], lambda r: None,
        r"'dark disc' is a target of discs; .* \(class, empty, p0, p1, p2\), e.g. --prompt class --target 'dark disc'"
    ),
    "a folder of DICOM": (
        ["data", "prepare", "own", "--source", "{data}/anns", "--target", "disc", "--out", "{out}"],
        lambda r: [file.rename(file.with_suffix(".dcm")) for file in (r / "anns").iterdir()],
        r"no image with a mask is found there \(3 other files \(3 \.dcm\)",
    ),
    "unknown regime": ([*TRAIN, "--regime", "half"], lambda r: None, "regime.*decoder"),
    "unknown key": ([*TRAIN, "--set", "learningrate=1"], lambda r: None, "did you mean 'learning_rate'"),
    "wrong type": ([*TRAIN, "--set", "epochs=many"], lambda r: None, "field 'epochs'"),
    "no value": ([*TRAIN, "--set", "epochs"], lambda r: None, "key=value"),
    "unknown model argument": (
        [*TRAIN, "--set", "model_arguments={{layers: 3}}"], lambda r: None, "model_arguments.*layers"
    ),
    "prompt absent from one entry": (
        TRAIN,
        lambda r: edit(r, lambda e: e[1]["prompts"].pop("p1")),
        r"train\.json: entry train/train0_dark\.png has no prompt 'p1'",
    ),
    "no training data": (TRAIN, lambda r: (r / "anns" / "train.json").write_text("[]"), "no training sample"),
    "unknown target": ([*TRAIN, "--target", "liver"], lambda r: None, "unknown target of discs 'liver'"),
    "missing data": (["train"], lambda r: None, "--data: is missing"),
    "unknown device": ([*TRAIN, "--device", "tpu"], lambda r: None, "field 'device'"),
    "fp16 on a CPU": ([*TRAIN, "--device", "cpu", "--precision", "fp16"], lambda r: None, "bf16 or fp32"),
    "no weights there": ([*TRAIN, "--weights", "{data}"], lambda r: None, r"holds no config\.json"),
    "no run there": (["evaluate", "{data}", "--data", "{data}"], lambda r: None, r"holds no config\.json"),
    "unknown dataset json field value": (
        TRAIN,
        lambda r: (r / "dataset.json").write_text('{"symmetries": ["mirror"]}'),
        r"dataset\.json: field 'symmetries",
    ),
    "report of nothing": (["report", "{data}"], lambda r: None, r"no run\.json"),
    "prepare without a source": (
        ["data", "prepare", "kvasir-seg", "--out", "{out}"], lambda r: None, r"Get kvasir-seg\.zip from https"
    ),
    "prepare an unknown set": (
        ["data", "prepare", "kvasirseg", "--source", "{data}", "--out", "{out}"], lambda r: None, "mean 'kvasir-seg'"
    ),
    "prepare from nowhere": (
        ["data", "prepare", "busi", "--source", "{data}x", "--out", "{out}"], lambda r: None, "discsx: no such file"
    ),
    "prepare from another set": (
        ["data", "prepare", "camus", "--source", "{data}", "--out", "{out}"], lambda r: None, "no images.*of CAMUS"
    ),
    "own data without a target": (
        ["data", "prepare", "own", "--source", "{data}", "--out", "{out}"], lambda r: None, "no image with a mask"
    ),
    "target for a card": (
        ["data", "prepare", "busi", "--source", "{data}", "--target", "x", "--out", "{out}"],
        lambda r: None,
        "has a card",
    ),
    "show nothing known": (["data", "show", "nowhere"], lambda r: None, "unknown dataset 'nowhere'"),
    "convert to the dataset itself": (
        ["data", "convert", "{data}", "--to", "coco", "--out", "{data}"], lambda r: None, "is not empty"
    ),
    "fix into the dataset itself": (["data", "check", "{data}", "--fix", "{data}"], lambda r: None, "is not empty"),
    "unknown template": (
        ["prompts", "make", "{data}", "--out", "{out}", "--template", "defalt"], lambda r: None, "mean 'default'"
    ),
    "prediction without a run": (
        ["prompts", "make", "{data}", "--out", "{out}", "--measure", "prediction"], lambda r: None, "--run"
    ),
    "no such table": (
        ["prompts", "make", "{data}", "--out", "{out}", "--table", "{out}.csv"], lambda r: None, "cannot be read"
    ),
    "unknown pooling": ([*TRAIN, "--set", "pooling=equal"], lambda r: None, "field 'pooling'"),
    "fold without folds": ([*TRAIN, "--set", "fold=1"], lambda r: None, "number of folds"),
    "resume of nothing": (["train", "--resume", "--out", "{out}"], lambda r: None, "no run to resume"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_exit_code_2(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path, case: str
) -> None:
    arguments, spoil, message = CASES[case]
    data, out = make_dataset(), tmp_path / "run"
    spoil(data)
    done = vlseg(*(argument.format(data=data, out=out) for argument in arguments))
    assert done.code == 2, done.err
    told = re.compile("clipseg-tiny on discs, prompt p1: .*")  # what a run says of data it could read
    lines = [line for line in done.err.splitlines() if line.strip() and not told.fullmatch(line)]
    assert len(lines) == 1
    assert lines[0].startswith("vlseg: ")
    assert re.search(message, lines[0]), lines[0]
    assert "Traceback" not in done.err
    assert not (out / "model").exists()


def test_half_precision_on_a_cpu_is_refused_before_anything_is_said(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    data, out = make_dataset(), tmp_path / "run"
    done = vlseg(
        "train", "--model", "clipseg", "--recipe", "published", "--data", data, "--device", "cpu", "--out", out
    )
    assert done.code == 2
    assert done.err == "vlseg: precision: fp16 is not for the CPU; take bf16 or fp32 (--precision fp32)\n"
    assert not out.exists()


def test_a_cache_that_is_no_folder_is_told_before_a_run_begins(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    data, out = make_dataset(), tmp_path / "run"
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        done = vlseg(*(a.format(data=data, out=out) for a in TRAIN), "--regime", "decoder", "--cache", place)
        assert done.code == 2
        assert done.err == f"vlseg: --cache: {place} cannot be written ({tmp_path / 'file'} is a file); give a folder\n"
        assert not out.exists()


def test_unwritable_output(vlseg: Callable[..., Any], make_dataset: MakeDataset, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    place = tmp_path / "file" / "below"
    data = make_dataset()
    done = vlseg(*(a.format(data=data, out=place) for a in TRAIN))
    assert done.code == 2
    image = data / "images" / "test0.png"
    done = vlseg("predict", trained / "run", "--image", image, "--prompt", "dark disc", "--out", place)
    assert done.code == 2
    assert "cannot be written" in done.err
    assert (tmp_path / "file").read_text() == "kept"


def test_folder_that_is_not_empty_is_kept(vlseg: Callable[..., Any], make_dataset: MakeDataset, trained: Path) -> None:
    data = make_dataset()
    done = vlseg(*(a.format(data=data, out=trained / "run") for a in TRAIN))
    assert done.code == 2
    assert "--resume" in done.err
    assert (trained / "run" / "model" / "model.safetensors").exists()


def test_resume_with_other_settings_is_refused(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, trained: Path
) -> None:
    data = make_dataset()
    done = vlseg(*(a.format(data=data, out=trained / "run") for a in TRAIN), "--resume")
    assert done.code == 2
    assert "was started with another device, max_steps" in done.err


def test_a_split_without_samples_names_those_that_have_some(
    vlseg: Callable[..., Any], make_dataset: MakeDataset, trained: Path
) -> None:
    data = make_dataset()
    (data / "anns" / "test.json").unlink()
    done = vlseg("evaluate", trained / "run", "--data", data)
    assert done.err == "vlseg: --split: discs has no samples in 'test'; give --split train or val\n"


def test_debug_shows_the_traceback(vlseg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLSEG_DEBUG", "")
    with pytest.raises(Exception, match="no such folder"):
        vlseg("--debug", "data", "check", tmp_path / "x")


def test_odd_images_simply_work(vlseg: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(np.dstack([grey] * 4)).save(folder / "rgba.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(np.dstack([grey] * 3)).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey).save(folder / "turned.jpg", exif=exif)
    done = vlseg("predict", trained / "run", "--image", folder, "--prompt", "disc", "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    sizes = {Path(mask["image"]).name: (mask["height"], mask["width"]) for mask in done.json["masks"]}
    assert sizes == {
        "one.png": (1, 1), "deep.png": (20, 30), "rgba.png": (20, 30), "palette.png": (20, 30), "grey.png": (20, 30),
        "cmyk.jpg": (20, 30), "turned.jpg": (30, 20),
    }  # fmt: skip
    for mask in done.json["masks"]:
        with Image.open(mask["mask"]) as image:
            assert image.size == (mask["width"], mask["height"])


def test_one_broken_image_does_not_stop_the_others(vlseg: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (9, 9)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"")
    done = vlseg("predict", trained / "run", "--image", folder, "--prompt", "disc", "--out", tmp_path / "m", "--json")
    assert done.code == 1
    assert len(done.json["masks"]) == 1
    assert "b.png" in done.err
    (folder / "a.png").unlink()
    done = vlseg("predict", trained / "run", "--image", folder, "--prompt", "disc", "--out", tmp_path / "n")
    assert done.code == 2
    assert not (tmp_path / "n").exists()
