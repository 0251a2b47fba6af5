"""The API and the page over predictors, and tools for agents. What needs torch is imported when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlseg.serve.limits import Limits

if TYPE_CHECKING:
    from vlseg.serve.access import Access
    from vlseg.serve.app import create_app

__all__ = ["Access", "Limits", "create_app"]
_LATER = {"Access": "vlseg.serve.access", "create_app": "vlseg.serve.app"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
