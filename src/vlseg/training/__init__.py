"""fit(): one loop for every model."""

from vlseg.training.freezing import REGIMES
from vlseg.training.loop import FitResult, fit

__all__ = ["REGIMES", "FitResult", "fit"]
