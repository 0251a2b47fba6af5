"""Scores of masks and aggregates of score rows: pure functions, free of torch."""

from vlseg.metrics.aggregate import (
    EMPTY_RULE,
    INDEPENDENT_NOTE,
    Aggregate,
    Presence,
    aggregate,
    independent_note,
    penalised_hd95,
)
from vlseg.metrics.attacks import ATTACKED, AttackEffect, attack_effects, epsilon_words, rising
from vlseg.metrics.bootstrap import Estimate, bootstrap_mean, two_level_mean
from vlseg.metrics.ceiling import Asked, Ceilings, best_text_blind_mask, ceilings, text_blind_ceiling
from vlseg.metrics.crossing import Crossing, crossing
from vlseg.metrics.indices import Choice, Index, choices, chosen, group_of, presence_index, selection_index
from vlseg.metrics.language import Effect, LanguageUse, corruption_effects, language_use
from vlseg.metrics.overlap import dice_score, iou_score
from vlseg.metrics.paired import Comparison, MixedEffect, compare_paired, holm, mixed_effect
from vlseg.metrics.ranks import Ranks, compare_ranks
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
from vlseg.metrics.rewordings import Rewording, budget_words, rewordings
from vlseg.metrics.subgroups import columns, parted, subgroups
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
    "ATTACKED",
    "EMPTY_RULE",
    "INDEPENDENT_NOTE",
    "Aggregate",
    "Asked",
    "AttackEffect",
    "Calibration",
    "Ceilings",
    "Choice",
    "Comparison",
    "Crossing",
    "Effect",
    "Estimate",
    "Index",
    "LanguageUse",
    "Lesions",
    "MixedEffect",
    "PairScores",
    "Presence",
    "Ranks",
    "Rewording",
    "RiskCoverage",
    "Surface",
    "SurfaceDistances",
    "aggregate",
    "attack_effects",
    "average_symmetric_surface_distance",
    "band",
    "best_text_blind_mask",
    "bootstrap_mean",
    "brier_score",
    "budget_words",
    "ceilings",
    "choices",
    "chosen",
    "columns",
    "compare_paired",
    "compare_ranks",
    "corruption_effects",
    "count_lesions",
    "crossing",
    "dice_score",
    "epsilon_words",
    "group_of",
    "hausdorff_distance",
    "hausdorff_distance_95",
    "holm",
    "independent_note",
    "iou_score",
    "language_use",
    "mixed_effect",
    "normalized_surface_dice",
    "parted",
    "penalised_hd95",
    "precision_recall",
    "presence_index",
    "rewordings",
    "rising",
    "risk_coverage",
    "score_pair",
    "selection_index",
    "subgroups",
    "surface_distances",
    "text_blind_ceiling",
    "two_level_mean",
]
