"""Figures of a page, each also as a file."""

from vlseg.reports.figures.attacks import robustness
from vlseg.reports.figures.curves import learning_curves, reliability, risk_curves, severities
from vlseg.reports.figures.intervals import differences, intervals
from vlseg.reports.figures.language import attributes, language_slopes, swapped_prompts
from vlseg.reports.figures.matrix import domain_shift
from vlseg.reports.figures.prompts import prompt_curves
from vlseg.reports.figures.ranks import critical_difference
from vlseg.reports.figures.style import Figure

__all__ = [
    "Figure",
    "attributes",
    "critical_difference",
    "differences",
    "domain_shift",
    "intervals",
    "language_slopes",
    "learning_curves",
    "prompt_curves",
    "reliability",
    "risk_curves",
    "robustness",
    "severities",
    "swapped_prompts",
]
