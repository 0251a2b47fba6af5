"""The API and the page over predictors."""

from vlseg.serve.access import Access
from vlseg.serve.app import create_app
from vlseg.serve.limits import Limits

__all__ = ["Access", "Limits", "create_app"]
