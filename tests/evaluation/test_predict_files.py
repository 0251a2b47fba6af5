"""No prediction is written over another one, and each says what it is."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import read_image
from vlseg.evaluation import Prediction, Verdict, find_images, load, predict_files
from vlseg.prompts import Vocabulary
from vlseg.records import InputError, IntensityPolicy
from vlseg.records.names import slug


class Counting:
    """Answers each prompt with a mask of as many pixels as it has letters, and one more."""

    def __init__(self, digest: str = "d", *, presence: float = 0.5, threshold: float = 0.5) -> None:
        self.model = SimpleNamespace(spec=SimpleNamespace(name="counting"))
        self.digest, self.threshold, self.precision = digest, threshold, "fp32"
        self.intensity = IntensityPolicy()
        self.presence = presence
        self.vocabulary: Vocabulary | None = None
        self.verdict: Verdict | None = None

    def forget(self, prompts: Sequence[str]) -> None:
        pass

    def judge(self, pixels: np.ndarray) -> Verdict | None:
        return self.verdict

    def read(self, path: Path) -> np.ndarray:
        return read_image(path, self.intensity)

    def segment(self, pixels: np.ndarray, prompts: Sequence[str]) -> list[Prediction]:
        answers = []
        for prompt in prompts:
            probability = np.zeros(pixels.shape[:2], np.float32)
            probability.flat[: len(prompt) + 1] = 1
            answers.append(Prediction(probability, probability > 0.5, self.presence))
        return answers


def image(path: Path, size: tuple[int, int] = (12, 9), **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 90).save(path, **options)
    return path


def predict(source: Path, prompts: Sequence[str], out: Path, predictor: Any = None) -> Any:
    return predict_files(predictor or Counting(), find_images(source, out), prompts, out)


def rows(out: Path) -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found: list[dict[str, Any]] = json.loads((out / "predictions.json").read_text(), parse_constant=refuse)
    return found


def check(out: Path, expected: int) -> None:
    """Each row has a mask of its own that holds what its prompt gives, under names that differ on every system."""
    table = rows(out)
    assert len(table) == expected
    names = [row["file"] for row in table]
    assert len({name.casefold() for name in names}) == expected
    for row in table:
        with Image.open(out / row["file"]) as mask:
            pixels = np.asarray(mask)
            assert mask.mode == "L"
        assert set(np.unique(pixels)) <= {0, 255}
        assert (pixels > 0).sum() == row["area_px"] == len(row["prompt"]) + 1
        assert len(Path(row["file"]).name.encode()) < 255
        assert (out / "overlays" / row["file"]).is_file()


PROMPTS = ["肿瘤 A", "息肉", "Полип", "полип", "", "empty", "Polyp", "polyp", "a b", "a-b", "a_b!", "é", "e\u0301",
           "?" * 3, "x" * 90, "x" * 91, "🫀"]  # fmt: skip


def test_each_answer_has_its_state_and_its_unknown_words(tmp_path: Path) -> None:
    source, predictor = image(tmp_path / "a.png"), Counting()
    predictor.vocabulary = Vocabulary(("round", "tumour"), (), ("tumour",))
    usual, odd = Verdict("usual", 0.5, 1.0, ()), Verdict("unlike", 2.0, 1.0, ("too dark",))
    answered = {}
    for name, predictor.verdict in (("none", None), ("usual", usual), ("odd", odd)):
        predict(source, ["Round tumour", "", "left tumour"], tmp_path / name, predictor)
        answered[name] = rows(tmp_path / name)
    assert [row["state"] for row in answered["none"]] == ["found"] * 3
    assert [row["state"] for row in answered["odd"]] == ["cannot_judge"] * 3
    assert all(row["area_px"] > 0 for row in answered["odd"])  # the mask is written all the same
    assert [row["unknown_words"] for row in answered["usual"]] == [[], [], ["left"]]
    assert answered["none"][0]["familiar"] == {"state": "unknown", "reasons": []}
    assert answered["odd"][0]["familiar"] == {"state": "unlike", "reasons": ["too dark"]}


def test_prompts_of_any_script_lie_beside_each_other(tmp_path: Path) -> None:
    picture = image(tmp_path / "case00.png", (40, 30))
    predict(picture, PROMPTS, tmp_path / "at once")
    check(tmp_path / "at once", len(PROMPTS))
    for _ in range(2):  # the second time each replaces its own
        for prompt in PROMPTS:
            predict(picture, [prompt], tmp_path / "one by one")
    check(tmp_path / "one by one", len(PROMPTS))
    assert slug("肿瘤 A") == "肿瘤-a"
    assert slug("Left lung") == "left-lung"


def test_a_folder_of_other_files_is_said_to_hold_them(tmp_path: Path) -> None:
    for name in ("1.dcm", "2.DCM", "4", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no image .*, but 2 \.dcm, 1 no suffix, 1 \.txt; convert them to PNG"):
        find_images(tmp_path)


def test_images_of_one_name_lie_beside_each_other(tmp_path: Path) -> None:
    source = tmp_path / "images"
    for name in ("a.png", "a.jpg", "A.png", "s1/a.png", "s2/a.png", "overlays/a.png", f"{'n' * 240}.png", ".b.png",
                 ".hidden/c.png"):  # fmt: skip
        image(source / name)
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    image(tmp_path / "elsewhere" / "d.png")
    (source / "s1" / "up").symlink_to(source)
    (source / "cases.csv").write_text("file")
    found = find_images(source)
    assert found.unused == ("cases.csv",)
    assert [found.name(file) for file in found.images] == [
        "A", "a", "a", "linked/d", "n" * 240, "overlays/a", "s1/a", "s2/a",
    ]  # fmt: skip
    out = source / "masks"
    predict(source, ["polyp"], out)
    check(out, 8)
    predict(source, ["polyp", "tumour"], out)  # does not take its own masks for images
    check(out, 16)
    assert (out / "s1" / "a__polyp.png").is_file()


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    picture = image(tmp_path / "case00.png")
    truth = image(tmp_path / "out" / "case00__polyp.png")
    before = truth.read_bytes()
    predict(picture, ["polyp"], tmp_path / "out")
    assert truth.read_bytes() == before
    assert rows(tmp_path / "out")[0]["file"] == "case00__polyp-2.png"


@pytest.mark.parametrize(
    ("other", "message"),
    [(Counting("e"), "another model of this name"), (Counting(threshold=0.1), "another threshold")],
)
def test_predictions_of_another_model_are_not_mixed(other: Counting, message: str, tmp_path: Path) -> None:
    picture = image(tmp_path / "case00.png")
    predict(picture, ["polyp"], tmp_path / "out")
    with pytest.raises(InputError, match=f"{message}.*give another folder"):
        predict(picture, ["tumour"], tmp_path / "out", other)
    check(tmp_path / "out", 1)


def test_a_broken_image_in_the_middle(tmp_path: Path) -> None:
    for name in ("a.png", "c/d.png"):
        image(tmp_path / "i" / name)
    (tmp_path / "i" / "b.png").write_bytes(b"no image")
    masks, failures = predict(tmp_path / "i", ["x"], tmp_path / "o")
    assert [Path(mask.image).name for mask in masks] == ["a.png", "d.png"]
    assert len(failures) == 1
    assert "b.png" in failures[0]


def test_a_presence_that_is_no_number_is_null(tmp_path: Path) -> None:
    predict(image(tmp_path / "a.png"), ["x"], tmp_path / "o", Counting(presence=float("nan")))
    assert rows(tmp_path / "o")[0]["presence"] is None


def test_answers_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    class Broken(Counting):
        def segment(self, pixels: np.ndarray, prompts: Sequence[str]) -> list[Prediction]:
            nothing = np.full(pixels.shape[:2], np.nan, np.float32)
            return [Prediction(nothing, nothing > 0.5, float("nan")) for _ in prompts]

    masks, failures = predict(image(tmp_path / "a.png"), ["x"], tmp_path / "o", Broken())
    assert (masks[0].area_px, masks[0].presence) == (0, None)
    assert "is not a number" in failures[0]


def test_masks_lie_as_the_image_is_shown(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    masks, _ = predict(image(tmp_path / "turned.jpg", exif=exif), ["x"], tmp_path / "o")
    assert (masks[0].width, masks[0].height) == (9, 12)


def test_what_was_written_before_a_failure_is_listed(tmp_path: Path) -> None:
    class Stopping(Counting):
        asked = 0

        def segment(self, pixels: np.ndarray, prompts: Sequence[str]) -> list[Prediction]:
            self.asked += 1
            if self.asked == 2:
                raise KeyboardInterrupt
            return super().segment(pixels, prompts)

    for name in ("a.png", "b.png"):
        image(tmp_path / "i" / name)
    with pytest.raises(KeyboardInterrupt):
        predict(tmp_path / "i", ["x"], tmp_path / "o", Stopping())
    check(tmp_path / "o", 1)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.5])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(InputError, match=r"threshold: .* from 0 to 1"):
        load("nowhere", threshold=threshold)
