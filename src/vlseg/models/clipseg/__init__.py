"""CLIPSeg, with the refined decoder and with the plain one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlseg.models.architecture import Architecture, Published, later
from vlseg.models.medvlsm import RECIPE

_FILES = ("config.json", "pytorch_model.bin", "vocab.json", "merges.txt", "tokenizer_config.json")

REFINED_WEIGHTS = Published(
    "CIDAS/clipseg-rd64-refined",
    _FILES,
    "Apache-2.0 by its hub page; the original repository excludes the weights from its MIT licence",
    "corrected",
    revision="583b388deb98a04feb3e1f816dcdb8f3062ee205",
)
PLAIN_WEIGHTS = Published("CIDAS/clipseg-rd64", _FILES, "as CIDAS/clipseg-rd64-refined", "corrected")


def is_refined(folder: Path, config: Mapping[str, Any]) -> bool:
    """A folder of transformers' with the three-convolution decoder."""
    return _is_clipseg(config) and bool(config.get("use_complex_transposed_convolution", False))


def is_plain(folder: Path, config: Mapping[str, Any]) -> bool:
    """A folder of transformers' with a single convolution at the end."""
    return _is_clipseg(config) and not config.get("use_complex_transposed_convolution", False)


def _is_clipseg(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") == "clipseg"


CLIPSEG = Architecture(
    about="CLIPSeg (Lüddecke & Ecker 2022) with its refined decoder",
    build=later("vlseg.models.clipseg.build:build_clipseg"),
    load=later("vlseg.models.clipseg.build:load_clipseg"),
    recognises=is_refined,
    loads_saved=True,  # they are transformers' folders
    initial=frozenset({"config", "clip"}),
    text_encoder="CLIP, 77 tokens",
    protocols=("corrected", "published"),
    published=(REFINED_WEIGHTS,),
    recipes={
        # Encoders that were trained on much more than this data move slowly; a decoder from CLIPSeg adapts.
        "corrected": {"learning_rate": 2e-4, "encoder_rate": 0.05, "batch_size": 4, "schedule": "plateau"},
        "published": RECIPE,
    },
)
CLIPSEG_RD64 = replace(
    CLIPSEG,
    about="CLIPSeg with its plain decoder",
    build=later("vlseg.models.clipseg.build:build_clipseg", name="clipseg-rd64"),
    recognises=is_plain,
    published=(PLAIN_WEIGHTS,),
)
