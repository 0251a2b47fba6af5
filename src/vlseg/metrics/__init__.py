"""Scores of masks and aggregates of score rows: pure functions, free of torch."""

from vlseg.metrics.aggregate import EMPTY_RULE, INDEPENDENT_NOTE, Aggregate, Presence, aggregate
from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.overlap import dice_score, iou_score
from vlseg.metrics.surface import (
    PairScores,
    Surface,
    SurfaceDistances,
    average_symmetric_surface_distance,
    hausdorff_distance,
    hausdorff_distance_95,
    normalized_surface_dice,
    score_pair,
    surface_distances,
)

__all__ = [
    "EMPTY_RULE",
    "INDEPENDENT_NOTE",
    "Aggregate",
    "Estimate",
    "PairScores",
    "Presence",
    "Surface",
    "SurfaceDistances",
    "aggregate",
    "average_symmetric_surface_distance",
    "bootstrap_mean",
    "dice_score",
    "hausdorff_distance",
    "hausdorff_distance_95",
    "iou_score",
    "normalized_surface_dice",
    "score_pair",
    "surface_distances",
]
