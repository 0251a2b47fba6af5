"""fit(): one loop for every model."""

from vlseg.training.loop import FitResult, fit
from vlseg.training.freezing import REGIMES

__all__ = ["REGIMES", "FitResult", "fit"]
