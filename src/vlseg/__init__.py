"""vlseg: vision-language segmentation of 2D medical images. An image and a sentence go in, a mask comes out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlseg.client import Client
    from vlseg.evaluation import Predictor

__version__ = "0.1.0"


def load(source: str, **options: Any) -> "Predictor":
    """A predictor from a run's folder, a model's folder or a hub id; see `vlseg.evaluation.load`.

    The import of torch waits until here.
    """
    from vlseg.evaluation import load as load_predictor

    return load_predictor(source, **options)


def __getattr__(name: str) -> Any:
    """`vlseg.Client`, imported when it is asked for: what it needs takes time."""
    if name == "Client":
        from vlseg.client import Client

        return Client
    raise AttributeError(f"module 'vlseg' has no attribute '{name}'")


__all__ = ["Client", "__version__", "load"]
