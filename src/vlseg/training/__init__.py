"""fit(): one loop for every model."""

from vlseg.training.freezing import REGIMES, trained_parts
from vlseg.training.grid import fit_together, runs_as_one, share_frozen
from vlseg.training.loop import Fit, FitResult, fit
from vlseg.training.pieces import with_fitting_pieces

__all__ = [
    "REGIMES",
    "Fit",
    "FitResult",
    "fit",
    "fit_together",
    "runs_as_one",
    "share_frozen",
    "trained_parts",
    "with_fitting_pieces",
]
