"""Prompts made from masks, tables, predictions and answers; what the words draw on is written down."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import read_dataset
from vlseg.jobs.datasets import open_dataset
from vlseg.jobs.make_prompts import MakeOptions, make_prompts
from vlseg.prompts import annotate, select
from vlseg.records import InputError, Sample

MakeDataset = Callable[..., Path]


def texts(root: Path, name: str, split: str = "train") -> dict[str, tuple[str, ...]]:
    dataset = annotate(read_dataset(root))
    return {sample.id: sample.prompts[name] for sample in dataset.split(split)}


def test_words_from_masks_are_marked_so(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    made = make_prompts(root, tmp_path / "out", MakeOptions())
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    rows = {row["name"]: row for row in made.prompts}
    assert rows["class"]["sources"] == ["class"]
    assert rows["class+size"]["sources"] == ["class", "mask"]
    assert not rows["class+size"]["deployable"]
    assert "class+age" in made.left_out
    dataset = open_dataset(tmp_path / "out")
    assert dataset.info.prompt_sources["class+size"] == {"class", "mask"}
    assert dataset.info.prompt_sources["p2"] == {"class", "user"}
    bright = [s for s in dataset.split("train") if s.target == "bright disc"]
    assert {s.prompts["class+location"][0] for s in bright} == {"bright disc in the left of the image"}
    assert {s.prompts["class+shape"][0] for s in bright} <= {"round bright disc", "oval bright disc"}
    assert all("one" in s.prompts["class+shape+color+size+number+location"][0] for s in bright)
    assert {a.source for s in bright for a in s.attributes} == {"mask"}
    assert len(select(dataset, "class+size", "test")) == 6


def test_metadata_is_deployable(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    names = [f"{split}{n}" for split, count in (("train", 6), ("val", 2), ("test", 3)) for n in range(count)]
    table = tmp_path / "t.csv"
    table.write_text("file,age:metadata,sex:metadata,finding\n" + "".join(f"{n}.png,61,female,scar\n" for n in names))
    options = MakeOptions(measure="mask", deployable=True, table=table)
    made = make_prompts(root, tmp_path / "out", options)
    assert all(row["deployable"] for row in made.prompts)
    assert "class+size" in made.left_out
    assert set(texts(tmp_path / "out", "class+age").values()) == {
        ("bright disc of a sixty-one-year-old patient",),
        ("dark disc of a sixty-one-year-old patient",),
    }
    attributes = {a.name for s in read_dataset(tmp_path / "out").samples for a in s.attributes}
    assert attributes == {"age", "sex"}


def test_a_first_prediction_is_measured_instead_of_the_truth(trained: Path, tmp_path: Path) -> None:
    options = MakeOptions(measure="prediction", run=str(trained / "run"), device="cpu")
    made = make_prompts(trained / "data", tmp_path / "out", options)
    measured = [row for row in made.prompts if row["name"] not in ("empty", "class", "class+description")]
    assert all(row["sources"] == ["class", "image"] and row["deployable"] for row in measured)
    with pytest.raises(InputError, match="--run"):
        make_prompts(trained / "data", tmp_path / "none", MakeOptions(measure="prediction"))


def test_empty_masks_get_the_class_alone(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    Image.new("L", (32, 32)).save(root / "masks" / "train1_dark.png")
    make_prompts(root, tmp_path / "out", MakeOptions())
    found = texts(tmp_path / "out", "class+shape+color+size+number+location")
    assert found["train/train1_dark.png"] == ("dark disc",)


def test_own_templates_and_the_published_location(make_dataset: MakeDataset, tmp_path: Path) -> None:
    template = tmp_path / "t.yaml"
    template.write_text('prompts: {mine: "A {size} {target}[ at {location}]"}\n')
    make_prompts(make_dataset(), tmp_path / "out", MakeOptions(template=str(template), published_location=True))
    assert {text[0].split()[-2:][-1] for text in texts(tmp_path / "out", "mine").values()} == {"left", "right"}
    assert all(text[0].startswith("A ") for text in texts(tmp_path / "out", "mine").values())


def test_a_table_of_other_images_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,age\nzzz.png,3\n")
    with pytest.raises(InputError, match="'zzz' is no image"):
        make_prompts(make_dataset(), tmp_path / "out", MakeOptions(table=table))
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_is_told_before_images_are_measured(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_: Sequence[Sample]) -> Iterator[Sample]:
        raise AssertionError("the images were measured first")

    data = make_dataset()
    (tmp_path / "file").write_text("kept")
    for place, why in ((tmp_path / "file", "is a file"), (data, "is not empty")):
        with pytest.raises(InputError, match=why):
            make_prompts(data, place, MakeOptions(), progress=measured)
    monkeypatch.setattr("vlseg.records.files.os.access", lambda *_: False)
    with pytest.raises(InputError, match=f"no rights in {re.escape(str(tmp_path))}"):
        make_prompts(data, tmp_path / "new" / "below", MakeOptions(), progress=measured)


def test_prompts_for_the_real_lvit_sample(shared: Path, tmp_path: Path) -> None:
    """Foreign layouts get prompts, too; their files stay where they are."""
    source = shared / "data" / "lvit_monuseg_sample"
    with pytest.raises(InputError, match="give --target"):
        make_prompts(source, tmp_path / "out", MakeOptions())
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    (copy / "dataset.json").write_text('{"targets": ["nuclei"]}')
    made = make_prompts(copy, tmp_path / "out", MakeOptions())
    dataset = open_dataset(tmp_path / "out")
    assert all(sample.image_path.exists() and sample.mask_paths[0].exists() for sample in dataset.samples)
    assert {"class+size", "class+color"} <= {row["name"] for row in made.prompts}
    assert dataset.info.prompt_sources["text"] == {"unknown"}


def tiny_vqa(folder: Path) -> Path:
    """A ViLT of a few thousand random parameters in the published layout."""
    from transformers import BertTokenizerFast, ViltConfig, ViltForQuestionAnswering, ViltImageProcessor, ViltProcessor

    folder.mkdir()
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] what is the shape color of bright dark disc in green box ?".split()
    (folder / "vocab.txt").write_text("\n".join(words))
    config = ViltConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        id2label={0: "Oval", 1: "Round"},
        label2id={"Oval": 0, "Round": 1},
    )
    ViltForQuestionAnswering(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab_file=str(folder / "vocab.txt"))
    ViltProcessor(ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=16), tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_question_answering_model_gives_shape_and_color(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    vqa = str(tiny_vqa(tmp_path / "vqa"))
    boxed = make_prompts(root, tmp_path / "boxed", MakeOptions(vqa=vqa, device="cpu"))
    shapes = {text[0].split()[0] for text in texts(tmp_path / "boxed", "class+shape").values()}
    assert shapes <= {"oval", "round"}
    assert {row["name"]: row["sources"] for row in boxed.prompts}["class+shape"] == ["class", "mask"]
    plain = make_prompts(root, tmp_path / "plain", MakeOptions(vqa=vqa, device="cpu", deployable=True))
    assert {row["name"]: row["sources"] for row in plain.prompts}["class+shape"] == ["class", "image"]
    with pytest.raises(InputError, match="--vqa"):
        make_prompts(root, tmp_path / "none", MakeOptions(vqa=str(tmp_path / "absent")))


def test_make_and_train_from_the_command_line(
    make_dataset: MakeDataset, vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    done = vlseg("prompts", "make", make_dataset(), "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert {row["name"] for row in done.json["prompts"]} >= {"class", "class+size", "class+location"}
    run = tmp_path / "run"
    settings = ["--set", "max_steps=2", "--set", 'model_arguments={"image_size": 32}', "--device", "cpu"]
    data = ["--data", tmp_path / "out", "--prompt", "class+location"]
    trained = vlseg("train", "--model", "clipseg-tiny", *data, "--out", run, *settings, "--json")
    assert trained.code == 0, trained.err
    record = json.loads((run / "run.json").read_text())
    assert record["prompt_sources"] == ["class", "mask"]
    assert not record["deployable"]
    assert vlseg("prompts", "make", make_dataset("b"), "--out", tmp_path / "out").code == 2


def test_moved_files_are_named(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    make_prompts(root, tmp_path / "out", MakeOptions())
    root.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="'files' points to"):
        read_dataset(tmp_path / "out")


def test_images_are_measured_as_they_are_read(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    for path in (root / "images").glob("*.png"):
        pixels = np.asarray(Image.open(path))
        red = np.stack([pixels, pixels // 6, pixels // 6], axis=2)
        Image.fromarray(red).save(path)
    make_prompts(root, tmp_path / "out", MakeOptions())
    found = {text[0].split()[0] for text in texts(tmp_path / "out", "class+color").values()}
    assert found <= {"red", "brown", "black"}
    assert "red" in found
