"""Scores of tensors equal those of arrays."""

import numpy as np
import pytest
import torch

from vlseg.evaluation import score_tensors
from vlseg.metrics import precision_recall, score_pair
from vlseg.records import InputError


def masks(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (count, *rng.integers(3, 30, 2))
    pred, target = (rng.random(shape) < rng.uniform(0.02, 0.9, (count, 1, 1)) for _ in range(2))
    pred[0], pred[1], target[1], target[2] = False, False, False, False
    return pred, target


def check(device: str) -> None:
    for seed in range(8):
        pred, target = masks(seed)
        spacing = (0.7, 1.9) if seed % 2 else None
        for surface in ("edge", "contour"):
            found = score_tensors(
                torch.from_numpy(pred).to(device),
                torch.from_numpy(target).to(device),
                spacing=spacing,
                nsd_tolerance=1.5,
                surface=surface,  # type: ignore[arg-type]
            )
            for index, (one, other) in enumerate(zip(pred, target, strict=True)):
                expected = score_pair(one, other, spacing=spacing, nsd_tolerance=1.5, surface=surface)  # type: ignore[arg-type]
                precision, recall = precision_recall(one, other)
                for name in ("dice", "iou", "hd95", "hd", "nsd", "assd"):
                    agree(found[name][index], getattr(expected, name))
                agree(found["pixel_precision"][index], precision)
                agree(found["pixel_recall"][index], recall)


def agree(found: torch.Tensor, expected: float | None) -> None:
    if expected is None:
        assert found.isnan()
    else:
        assert float(found) == pytest.approx(expected, abs=1e-9)


def test_every_score_equals_that_of_arrays() -> None:
    check("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_every_score_equals_that_of_arrays_on_a_gpu() -> None:
    check("cuda")


def test_long_borders_are_measured_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlseg.evaluation import tensor_scores

    pred, target = (torch.from_numpy(mask) for mask in masks(3))
    whole = score_tensors(pred, target)
    monkeypatch.setattr(tensor_scores, "PAIRS_AT_ONCE", 7)
    for name, values in score_tensors(pred, target).items():
        torch.testing.assert_close(values, whole[name], equal_nan=True, rtol=0, atol=0)


def test_wrong_input_is_one_line() -> None:
    right = torch.zeros(2, 4, 5, dtype=torch.bool)
    assert score_tensors(right[:0], right[:0])["hd95"].shape == (0,)
    for pred, target, words in (
        (right.float(), right, "bool"),
        (right[0], right, "bool"),
        (right, right.transpose(1, 2), "same size"),
    ):
        with pytest.raises(InputError, match=words):
            score_tensors(pred, target)
    with pytest.raises(InputError, match="tolerance"):
        score_tensors(right, right, nsd_tolerance=-1)
    with pytest.raises(InputError, match="spacing"):
        score_tensors(right, right, spacing=(0.0, 1.0))
    with pytest.raises(InputError, match="surface"):
        score_tensors(right, right, surface="voxel")  # type: ignore[arg-type]
