"""Everything that segments: the contract, building by name, loading from a folder, a file or the hub.

What needs torch is imported when it is first asked for: names, recipes and where weights come from are known without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlseg.models.architecture import Architecture, Published
from vlseg.models.registry import DEFAULT_MODEL, MODELS, architecture_of, known_models, model_of

if TYPE_CHECKING:
    from vlseg.models.loading import build_model, load_model, retargeted
    from vlseg.models.protocol import (
        ImageFeatures,
        Inputs,
        Output,
        PromptFeatures,
        Rows,
        Segmenter,
        Spec,
        Tokens,
        as_module,
    )

_LATER = {
    **dict.fromkeys(("build_model", "load_model", "retargeted"), "vlseg.models.loading"),
    **dict.fromkeys(("ImageFeatures", "Inputs", "Output", "PromptFeatures", "Rows"), "vlseg.models.protocol"),
    **dict.fromkeys(("Segmenter", "Spec", "Tokens", "as_module"), "vlseg.models.protocol"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'vlseg.models' has no attribute '{name}'")
    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "Architecture",
    "ImageFeatures",
    "Inputs",
    "Output",
    "PromptFeatures",
    "Published",
    "Rows",
    "Segmenter",
    "Spec",
    "Tokens",
    "architecture_of",
    "as_module",
    "build_model",
    "known_models",
    "load_model",
    "model_of",
    "retargeted",
]
