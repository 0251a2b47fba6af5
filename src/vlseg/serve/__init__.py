"""The API and the page over predictors."""

from vlseg.serve.app import create_app
from vlseg.serve.guard import Access
from vlseg.serve.limits import Limits

__all__ = ["Access", "Limits", "create_app"]
