"""Metrics against stored library results and, on random masks, against the libraries themselves."""

from pathlib import Path

import numpy as np
import pytest
import surface_distance
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
    with np.load(golden / "metrics.npz") as file:
        stored = {name: file[name] for name in file.files}
    pairs = []
    for index, (height, width) in enumerate(stored["height_width"]):
        masks = [stored[name][index, :height, :width] > 0 for name in ("pred", "target")]
        expected = {name: float(stored[name][index]) for name in stored if stored[name].dtype.kind == "f"}
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


def test_stored_results_of_the_contour_convention(golden: Path) -> None:
    for pred, target, expected in stored_pairs(golden):
        scores = score_pair(pred, target, surface="contour")
        for ours, name in (
            ("hd95", "hd95_surface_distance"),
            ("hd", "hd100_surface_distance"),
            ("nsd", "nsd2_surface_distance"),
        ):
            value = getattr(scores, ours)
            if not np.isfinite(expected[name]):
                assert value is None or not (pred.any() and target.any())
            elif pred.any() and target.any():
                assert value == pytest.approx(expected[name], abs=1e-9)
            else:
                assert value == 0.0  # the share of one surface without the other


def contour_by_the_library(
    pred: np.ndarray, target: np.ndarray, spacing: tuple[float, float], tolerance: float
) -> tuple[float, float, float, float]:
    """HD95, HD, NSD and ASSD of the surface-distance library."""
    found = surface_distance.compute_surface_distances(target, pred, spacing)
    lengths = np.concatenate([found["surfel_areas_gt"], found["surfel_areas_pred"]])
    distances = np.concatenate([found["distances_gt_to_pred"], found["distances_pred_to_gt"]])
    return (
        surface_distance.compute_robust_hausdorff(found, 95),
        surface_distance.compute_robust_hausdorff(found, 100),
        surface_distance.compute_surface_dice_at_tolerance(found, tolerance),
        float((lengths * distances).sum() / lengths.sum()),
    )


def check_contour(seed: int) -> None:
    pred, target = random_masks(seed)
    rng = np.random.default_rng([seed, 1])
    spacing = None if seed % 3 == 0 else tuple(rng.uniform(0.2, 3, 2).tolist())
    tolerance = float(rng.uniform(0, 3))
    scores = score_pair(pred, target, spacing=spacing, nsd_tolerance=tolerance, surface="contour")  # type: ignore[arg-type]
    expected = contour_by_the_library(pred, target, spacing or (1.0, 1.0), tolerance)  # type: ignore[arg-type]
    assert (scores.hd95, scores.hd, scores.nsd, scores.assd) == pytest.approx(expected, abs=1e-12)


def test_random_masks_in_the_contour_convention_equal_the_library() -> None:
    for seed in range(150):
        check_contour(seed)


@pytest.mark.slow
def test_thousands_of_random_masks_in_both_conventions() -> None:
    for seed in range(150, 4150):
        check_contour(seed)
        pred, target = random_masks(seed)
        scores = score_pair(pred, target)
        expected = _edge_by_all_pairs(pred, target)
        assert (scores.hd95, scores.hd, scores.nsd, scores.assd) == pytest.approx(expected, abs=1e-9)


def _edge_by_all_pairs(pred: np.ndarray, target: np.ndarray) -> tuple[float, float, float, float]:
    first, second = (_edge_points(mask) for mask in (pred, target))
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    one, two = distances.min(1), distances.min(0)
    both = np.concatenate([one, two])
    hd95 = max(float(np.percentile(one, 95)), float(np.percentile(two, 95)))
    return hd95, float(both.max()), float((both <= 2).mean()), float(both.mean())


def _edge_points(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside).astype(float)


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
    edges = [_edge_points(mask) * spacing for mask in (pred, target)]
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
