"""What `vlseg evaluate` prints for answers whose scores follow from the areas alone."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlseg.cli.options import finish
from vlseg.jobs.evaluate import EvaluateOptions, evaluate_either, evaluate_masks, summary
from vlseg.records import InputError

MakeDataset = Callable[..., Path]
OPTIONS = EvaluateOptions(prompt="p1")


def answers(data: Path, folder: Path, give: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """A mask file for each truth of the test split, and the truths by file name."""
    folder.mkdir()
    truths = {}
    for path in sorted((data / "masks").glob("test*.png")):
        truth = np.asarray(Image.open(path)) > 0
        truths[path.name] = truth
        Image.fromarray(give(truth).astype(np.uint8) * 255).save(folder / path.name)
    return truths


def test_oracle_all_nothing_and_a_constant(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(1, 1, 3))
    disc = np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 8
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "oracle": lambda truth: truth,
        "all": np.ones_like,
        "nothing": np.zeros_like,
        "disc": lambda truth: disc,
    }
    for name, give in kinds.items():
        truths = answers(data, tmp_path / name, give)
        evaluated = evaluate_masks(tmp_path / name, [str(data)], OPTIONS, tmp_path / f"{name} scores")
        values = summary(evaluated)
        pairs = [(give(truth), truth) for truth in truths.values()]
        dice = [2 * (pred & truth).sum() / (pred.sum() + truth.sum()) for pred, truth in pairs]
        iou = [(pred & truth).sum() / (pred | truth).sum() for pred, truth in pairs]
        assert values["n"] == 6
        assert values["dice"]["mean"] == pytest.approx(np.mean(dice))
        assert values["iou"]["mean"] == pytest.approx(np.mean(iou))
        assert {row.area - (row.area_error or 0) for row in evaluated.scores} == {int(t.sum()) for _, t in pairs}
        assert (values["hd95"]["mean"] is None) == (name == "nothing")
        if name in ("oracle", "nothing"):
            assert values["nsd"]["mean"] == (name == "oracle")
        assert values["calibration"]["reason"] == "mask files hold no probabilities"
        assert evaluated.spec.distance_units == ["px"]


def test_masks_that_changed_do_not_replace_scores(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = make_dataset(counts=(1, 1, 2))
    answers(data, tmp_path / "m", lambda truth: truth)
    first = evaluate_either(None, tmp_path / "m", [str(data)], OPTIONS)
    again = evaluate_either(None, tmp_path / "m", [str(data)], OPTIONS)
    assert first.folder == again.folder
    (tmp_path / "other").mkdir()
    answers(data, tmp_path / "other" / "m", np.zeros_like)
    other = evaluate_either(None, tmp_path / "other" / "m", [str(data)], OPTIONS)
    assert other.folder != first.folder
    assert len(list(first.folder.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("condition", "swapped"), ("threshold", 0.3), ("uncertainty", "flip"), ("weights", "x"), ("protocol", "x")],
)
def test_options_of_models_are_refused_for_masks(option: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--{option}.*with --masks"):
        evaluate_masks(tmp_path, [], EvaluateOptions(**{option: value}))  # type: ignore[arg-type]


def test_one_of_model_and_masks(tmp_path: Path) -> None:
    for source, masks in ((None, None), ("run", tmp_path)):
        with pytest.raises(InputError, match="one of the two"):
            evaluate_either(source, masks, [], OPTIONS)


def test_what_is_printed_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    finish("evaluate", {"a": [float("nan"), 1.0], "b": {"c": float("inf")}, "d": (None, "x")}, [], as_json=True)
    line = capsys.readouterr().out
    assert "NaN" not in line
    assert json.loads(line) == {"command": "evaluate", "a": [None, 1.0], "b": {"c": None}, "d": [None, "x"]}
