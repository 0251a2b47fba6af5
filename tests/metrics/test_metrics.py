"""Metrics against stored library results and, on random masks, against the libraries themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from sklearn.metrics import f1_score, jaccard_score

from vlseg.metrics import (
    average_symmetric_surface_distance,
    dice_score,
    hausdorff_distance,
    hausdorff_distance_95,
    iou_score,
    normalized_surface_dice,
    score_pair,
    surface_distances,
)
from vlseg.records import InputError

EMPTY = np.zeros((5, 6), bool)
FULL = np.ones((5, 6), bool)


def stored_pairs(golden: Path) -> list[tuple[np.ndarray, np.ndarray, dict[str, float]]]:
    stored = np.load(golden / "metrics.npz")
    pairs = []
    for index, (height, width) in enumerate(stored["height_width"]):
        masks = [stored[name][index, :height, :width] > 0 for name in ("pred", "target")]
        expected = {name: float(stored[name][index]) for name in stored.files if stored[name].dtype.kind == "f"}
        pairs.append((masks[0], masks[1], expected))
    return pairs


def test_stored_results(golden: Path) -> None:
    pairs = stored_pairs(golden)
    assert len(pairs) == 200
    for pred, target, expected in pairs:
        scores = score_pair(pred, target)
        for ours, name in (
            ("dice", "dice_sklearn"),
            ("iou", "iou_sklearn"),
            ("hd95", "hd95_scipy"),
            ("nsd", "nsd2_scipy"),
        ):
            value = getattr(scores, ours)
            if np.isfinite(expected[name]):
                assert value == pytest.approx(expected[name], abs=1e-9)
            elif ours == "hd95":
                assert value is None
            else:
                assert value == (1.0 if not pred.any() and not target.any() else 0.0)


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 40, 2))
    masks = [rng.random(shape) < rng.uniform(0.02, 0.9) for _ in range(2)]
    for mask in masks:
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    return masks[0], masks[1]


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")
@pytest.mark.parametrize("seed", range(150))
def test_random_masks_against_libraries(seed: int) -> None:
    pred, target = random_masks(seed)
    spacing = (0.7, 1.3) if seed % 2 else None
    tensors = [torch.from_numpy(mask)[None, None] for mask in (pred, target)]
    options = {"include_background": True, "spacing": list(spacing) if spacing else None}
    scores = score_pair(pred, target, spacing=spacing, nsd_tolerance=1.5)
    assert scores.dice == pytest.approx(f1_score(target.ravel(), pred.ravel()))
    assert scores.iou == pytest.approx(jaccard_score(target.ravel(), pred.ravel()))
    assert scores.hd95 == pytest.approx(float(compute_hausdorff_distance(*tensors, percentile=95, **options)), rel=1e-4)
    assert scores.hd == pytest.approx(float(compute_hausdorff_distance(*tensors, **options)), rel=1e-5)
    nsd = compute_surface_dice(*tensors, class_thresholds=[1.5], **options)
    assert scores.nsd == pytest.approx(float(nsd), abs=1e-6)
    assert scores.assd == pytest.approx(_assd_by_all_pairs(pred, target, spacing or (1, 1)))


def _assd_by_all_pairs(pred: np.ndarray, target: np.ndarray, spacing: tuple[float, float]) -> float:
    edges = []
    for mask in (pred, target):
        padded = np.pad(mask, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        edges.append(np.argwhere(mask & ~inside) * spacing)
    distances = np.linalg.norm(edges[0][:, None] - edges[1][None], axis=2)
    return float(np.concatenate([distances.min(1), distances.min(0)]).mean())


@pytest.mark.parametrize(("pred", "target", "overlap"), [(EMPTY, EMPTY, 1.0), (EMPTY, FULL, 0.0), (FULL, EMPTY, 0.0)])
def test_empty_masks(pred: np.ndarray, target: np.ndarray, overlap: float) -> None:
    scores = score_pair(pred, target)
    assert (scores.dice, scores.iou, scores.nsd) == (overlap, overlap, overlap)
    assert (scores.hd95, scores.hd, scores.assd) == (None, None, None)
    assert hausdorff_distance_95(pred, target) is None
    assert hausdorff_distance(pred, target) is None
    assert average_symmetric_surface_distance(pred, target) is None
    assert normalized_surface_dice(pred, target) == overlap
    assert surface_distances(pred, target) is None


def test_single_functions_equal_the_joint_call() -> None:
    pred, target = random_masks(7)
    scores = score_pair(pred, target, spacing=(2.0, 1.0))
    assert scores.dice == dice_score(pred, target)
    assert scores.iou == iou_score(pred, target)
    assert scores.hd95 == hausdorff_distance_95(pred, target, (2.0, 1.0))
    assert scores.hd == hausdorff_distance(pred, target, (2.0, 1.0))
    assert scores.nsd == normalized_surface_dice(pred, target, 2.0, (2.0, 1.0))
    assert scores.assd == average_symmetric_surface_distance(pred, target, (2.0, 1.0))


def test_masks_of_two_shapes_are_refused() -> None:
    for function in (score_pair, dice_score, iou_score, hausdorff_distance_95, normalized_surface_dice):
        with pytest.raises(InputError, match=r"\(5, 6\) and \(6, 5\)"):
            function(EMPTY, FULL.T)  # type: ignore[operator]
