"""What is there is kept, by digest; what was begun when a process was killed is made again under its name."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import made

from vlseg.evaluation import Ask, Prediction, Predictor, Wanted, Written, find_images, predict_files, predict_missing
from vlseg.evaluation.mask_names import JOURNAL, PREDICTIONS, Names, PredictedMask
from vlseg.evaluation.predictor import PROMPTS_KEPT
from vlseg.models import PromptFeatures
from vlseg.records import InputError

WRITING = import_module("vlseg.evaluation.predict_files")


class Noting(Predictor):
    """A tiny model that notes what it is asked."""

    def __init__(self, **more: Any) -> None:
        super().__init__(made("clipseg-tiny"), device="cpu", **more)
        self.asked: list[list[str]] = []
        self.encoded: list[str] = []
        self.held = 0

    def segment(self, image: Any, prompts: Sequence[str]) -> list[Prediction]:
        self.asked.append(list(prompts))
        return super().segment(image, prompts)

    def _prompt_features(self, prompts: Sequence[str]) -> PromptFeatures:
        self.encoded += [prompt for prompt in prompts if prompt not in self._known]
        features = super()._prompt_features(prompts)
        self.held = max(self.held, len(self._known))
        return features


class Ended(BaseException):
    """The process is killed: nothing is tidied up."""


def pictures(folder: Path, count: int = 3) -> list[Path]:
    rng = np.random.default_rng(5)
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (24, 30, 3), dtype=np.uint8)).save(path)
    return paths


def asks(images: Sequence[Path], prompts: Sequence[str] = ("disc", "cyst"), limit: float | None = None) -> list[Ask]:
    return [Ask(image, tuple(Wanted(prompt, image.stem, limit) for prompt in prompts)) for image in images]


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / PREDICTIONS).read_text())
    return found


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_same_files_as_for_a_folder(tmp_path: Path) -> None:
    images = pictures(tmp_path / "i")
    predict_files(Noting(), find_images(tmp_path / "i"), ["disc", "cyst"], tmp_path / "o")
    predict_missing(Noting(), asks(images), tmp_path / "p")
    one, other = files(tmp_path / "o"), files(tmp_path / "p")
    assert one.keys() == other.keys()
    assert len(one) == 13
    assert all(one[name] == other[name] for name in one if name != PREDICTIONS)
    assert rows(tmp_path / "o") == json.loads(other[PREDICTIONS].decode().replace("/p/", "/o/"))


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "i"), tmp_path / "o"
    first = predict_missing(Noting(), asks(images), out)
    before, table = files(out), rows(out)
    again = Noting()
    second = predict_missing(again, asks(images), out)
    assert again.asked == []
    assert second == Written(first.masks, [], kept=6)
    assert files(out) == before
    further = Noting()
    third = predict_missing(further, asks(images[:1], ["disc", "nodule"]), out)
    assert further.asked == [["nodule"]]
    assert third.kept == 1
    assert [mask.prompt for mask in third.masks] == ["disc", "nodule"]
    assert rows(out)[:6] == table


def test_what_a_folder_gave_is_kept(tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "i"), tmp_path / "o"
    predict_files(Noting(), find_images(tmp_path / "i"), ["disc"], out)
    again = Noting()
    predict_missing(again, asks(images), out)
    assert again.asked == [["cyst"]] * 3


@pytest.mark.parametrize("change", ["image", "threshold", "model", "precision", "mask", "overlay"])
def test_what_changed_is_made_anew_under_its_name(tmp_path: Path, change: str) -> None:
    images, out = pictures(tmp_path / "i"), tmp_path / "o"
    predict_missing(Noting(), asks(images), out)
    names, before = set(files(out)), rows(out)
    again = Noting(precision="bf16") if change == "precision" else Noting()
    expected = [["disc", "cyst"]] * 3
    if change == "image":
        Image.new("RGB", (30, 24), "navy").save(images[1])
        expected = [["disc", "cyst"]]
    elif change == "model":
        for parameter in again.model.parameters():  # type: ignore[attr-defined]
            parameter.data.mul_(1.25)
    elif change in ("mask", "overlay"):
        (out / ("overlays" if change == "overlay" else ".") / before[3]["file"]).unlink()
        expected = [[before[3]["prompt"]]]
    predict_missing(again, asks(images, limit=0.4 if change == "threshold" else None), out)
    assert again.asked == expected
    assert set(files(out)) == names
    after = rows(out)
    assert [row["file"] for row in after] == [row["file"] for row in before]
    assert {row["threshold"] for row in after} == {0.4 if change == "threshold" else again.threshold}
    assert {row["digest"] for row in after} == {again.digest}


def test_a_threshold_of_its_own(tmp_path: Path) -> None:
    images, predictor = pictures(tmp_path / "i", 1), Noting()
    (probability,) = (one.probability for one in predictor.segment(images[0], ["disc"]))
    limit = float(np.quantile(probability, 0.3))
    (mask,) = predict_missing(predictor, asks(images, ["disc"], limit), tmp_path / "o").masks
    assert mask.threshold == limit
    with Image.open(mask.mask) as written:
        assert np.array_equal(np.asarray(written) > 0, probability > limit)
    assert 0.6 < mask.area_px / probability.size < 0.8


def test_masks_that_are_not_asked_for_must_be_this_models(tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "i"), tmp_path / "o"
    predict_missing(Noting(), asks(images), out)
    predict_missing(Noting(threshold=0.7), asks(images[:1]), out)  # another threshold is fine beside
    other = Noting()
    for parameter in other.model.parameters():  # type: ignore[attr-defined]
        parameter.data.mul_(1.25)
    with pytest.raises(InputError, match="predictions of another model of this name"):
        predict_missing(other, asks(images[:2]), out)


def test_prompts_are_encoded_once_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlseg.evaluation.predictor.PROMPTS_KEPT", 4)
    monkeypatch.setattr(WRITING, "PROMPTS_KEPT", 4)
    images, predictor = pictures(tmp_path / "i", 4), Noting()
    shared = [f"thing {number}" for number in range(8)]
    wanted = [Ask(image, tuple(Wanted(prompt, "x") for prompt in (*shared, f"only {image.stem}"))) for image in images]
    predict_missing(predictor, wanted, tmp_path / "o")
    assert sorted(predictor.encoded) == sorted({*shared, *(f"only {number}" for number in range(4))})
    assert predictor.held == 9  # what no later image asks is dropped
    assert predictor.prompts_kept == 4 < PROMPTS_KEPT


@pytest.mark.parametrize("when", ["asked", "begun", "mask", "overlay", "noted"])
def test_killed_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The files of a run never interrupted, whatever step it died in."""
    images = pictures(tmp_path / "i")
    predict_missing(Noting(), asks(images), tmp_path / "whole")
    out = tmp_path / "o"
    with monkeypatch.context() as patch:
        patch.setattr("vlseg.evaluation.mask_names.Names.write", lambda self: self._journal and self._journal.close())
        dying(patch, when)
        with pytest.raises(Ended):
            predict_missing(Noting(), asks(images), out)
    assert not (out / PREDICTIONS).exists()
    with (out / JOURNAL).open("a") as journal:
        journal.write('{"image": "cut o')
    again = Noting()
    predict_missing(again, asks(images), out)
    assert files(out).keys() == files(tmp_path / "whole").keys()
    whole = {(row["image"], row["prompt"]): {**row, "mask": "", "overlay": ""} for row in rows(tmp_path / "whole")}
    found = {(row["image"], row["prompt"]): {**row, "mask": "", "overlay": ""} for row in rows(out)}
    for row in whole.values():
        row["presence"] = pytest.approx(row["presence"], abs=1e-6)  # prompts asked together round otherwise
    assert found == whole
    assert 0 < sum(map(len, again.asked)) < 6


def dying(patch: pytest.MonkeyPatch, when: str) -> None:
    """The process ends at the third time that it comes to a step."""
    places = {
        "asked": (Noting, "segment"),
        "begun": (Names, "give"),
        "mask": (WRITING, "overlay"),
        "overlay": (WRITING, "state_of"),
        "noted": (Names, "done"),
    }
    place, name = places[when]
    real, met = getattr(place, name), 0

    def step(*arguments: Any, **more: Any) -> Any:
        nonlocal met
        met += 1
        if met >= 3:
            raise Ended
        return real(*arguments, **more)

    patch.setattr(place, name, step)


def test_an_interruption_lists_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, out = pictures(tmp_path / "i"), tmp_path / "o"
    with monkeypatch.context() as patch:
        dying(patch, "asked")
        with pytest.raises(Ended):
            predict_missing(Noting(), asks(images), out)
    assert len(rows(out)) == 4
    assert not (out / JOURNAL).exists()


def test_answers_that_are_no_numbers_are_asked_again(tmp_path: Path) -> None:
    images, out, broken = pictures(tmp_path / "i", 1), tmp_path / "o", Noting()
    for parameter in broken.model.parameters():  # type: ignore[attr-defined]
        parameter.data.fill_(float("nan"))
    for _ in range(2):
        written = predict_missing(broken, asks(images), out)
        assert len(written.failures) == 2
        assert written.kept == 0


def test_a_broken_image_is_named_each_time(tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "i"), tmp_path / "o"
    images[1].write_bytes(b"no image")
    for kept in (0, 4):
        written = predict_missing(Noting(), asks(images), out)
        assert (len(written.masks), written.kept) == (4, kept)
        assert [str(images[1]) in line for line in written.failures] == [True]
    for image in images:
        image.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"0\.png"):
        predict_missing(Noting(), asks(images), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_was_killed_is_predicted_under_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "i")
    found, out = find_images(tmp_path / "i"), tmp_path / "o"
    with monkeypatch.context() as patch:
        patch.setattr("vlseg.evaluation.mask_names.Names.write", lambda self: self._journal and self._journal.close())
        dying(patch, "asked")
        with pytest.raises(Ended):
            predict_files(Noting(), found, ["disc"], out)
    (out / "mine__disc.png").write_bytes(b"another file")
    predict_files(Noting(), found, ["disc", "cyst"], out)
    masks = {f"{stem}__{prompt}.png" for stem in "012" for prompt in ("disc", "cyst")}
    assert files(out).keys() == {*masks, *(f"overlays/{name}" for name in masks), "mine__disc.png", PREDICTIONS}


def test_an_interruption_while_a_mask_is_waited_for_lists_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, met = Future.result, 0

    def waiting(self: Any, timeout: float | None = None) -> Any:
        nonlocal met
        if isinstance(found := real(self, timeout), PredictedMask):
            met += 1
            if met == 1:
                raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Future, "result", waiting)
    out = tmp_path / "o"
    with pytest.raises(KeyboardInterrupt):
        predict_missing(Noting(), asks(pictures(tmp_path / "i")), out)
    assert len(rows(out)) == len(list(out.glob("*.png"))) > 0
