"""Figures of a page, each also as a file."""

from vlseg.reports.figures.old import (
    attribute_bars,
    forest,
    language_test,
    learning_curves,
    reliability,
    risk_curves,
    severities,
)
from vlseg.reports.figures.style import Figure

__all__ = [
    "Figure",
    "attribute_bars",
    "forest",
    "language_test",
    "learning_curves",
    "reliability",
    "risk_curves",
    "severities",
]
