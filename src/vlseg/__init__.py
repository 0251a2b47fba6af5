"""vlseg: vision-language segmentation of 2D medical images. An image and a sentence go in, a mask comes out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlseg.evaluation import Predictor

__version__ = "0.1.0"


def load(source: str, **options: Any) -> "Predictor":
    """A predictor from a run's folder, a model's folder or a hub id; see `vlseg.evaluation.load`.

    The import of torch waits until here.
    """
    from vlseg.evaluation import load as load_predictor

    return load_predictor(source, **options)


__all__ = ["__version__", "load"]
