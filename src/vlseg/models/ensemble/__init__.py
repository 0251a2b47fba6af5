"""Plain ensembles."""

from vlseg.models.ensemble.build import build_ensemble, load_ensemble
from vlseg.models.ensemble.model import Ensemble

__all__ = ["Ensemble", "build_ensemble", "load_ensemble"]
