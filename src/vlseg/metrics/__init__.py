"""Scores of masks and aggregates of score rows: pure functions, free of torch."""

from vlseg.metrics.aggregate import EMPTY_RULE, INDEPENDENT_NOTE, Aggregate, Presence, aggregate
from vlseg.metrics.bootstrap import Estimate, bootstrap_mean, two_level_bootstrap
from vlseg.metrics.overlap import dice_score, iou_score
from vlseg.metrics.paired import Comparison, MixedEffect, compare_paired, holm, mixed_effect
from vlseg.metrics.regions import (
    Calibration,
    Lesions,
    RiskCoverage,
    band,
    brier_score,
    count_lesions,
    precision_recall,
    risk_coverage,
)
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
    "Calibration",
    "Comparison",
    "Estimate",
    "Lesions",
    "MixedEffect",
    "PairScores",
    "Presence",
    "RiskCoverage",
    "Surface",
    "SurfaceDistances",
    "aggregate",
    "average_symmetric_surface_distance",
    "band",
    "bootstrap_mean",
    "brier_score",
    "compare_paired",
    "count_lesions",
    "dice_score",
    "hausdorff_distance",
    "hausdorff_distance_95",
    "holm",
    "iou_score",
    "mixed_effect",
    "normalized_surface_dice",
    "precision_recall",
    "risk_coverage",
    "score_pair",
    "surface_distances",
    "two_level_bootstrap",
]
