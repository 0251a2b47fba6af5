"""BiomedCLIPSeg, with a decoder from random weights and (-d) from CLIPSeg's."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlseg.models.architecture import Architecture, Published, later
from vlseg.models.clipseg import REFINED_WEIGHTS
from vlseg.models.medvlsm import RECIPE

WEIGHTS = Published(
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    ("open_clip_config.json", "open_clip_pytorch_model.bin", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    "MIT",
    "corrected",
    revision="2584124ff32fcf3f2946e901aff906086e2d39bf",
    mirrors=("naotous/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224_original",),
    note="the encoders; the decoder is trained by you, from random weights or (biomedclipseg-d) from CLIPSeg's",
    whole=False,
)


def is_biomedclip(folder: Path, config: Mapping[str, Any]) -> bool:
    """A folder of open_clip's, which BiomedCLIP is published in."""
    return (folder / "open_clip_config.json").exists()


def own_tokenizer(folder: Path) -> Mapping[str, Any]:
    """The vocabulary lies beside the weights."""
    return {"tokenizer": str(folder)}


BIOMEDCLIPSEG = Architecture(
    about="BiomedCLIP's encoders, CLIPSeg's decoder from random weights (Poudel et al. 2024)",
    build=later("vlseg.models.biomedclipseg.build:build_biomedclipseg"),
    load=later("vlseg.models.biomedclipseg.build:load_biomedclipseg"),
    recognises=is_biomedclip,
    restored=own_tokenizer,
    initial=frozenset({"decoder", "tokenizer"}),
    text_encoder="PubMedBERT, 256 tokens",
    protocols=("corrected", "published"),
    published=(WEIGHTS,),
    recipes={
        "corrected": {"learning_rate": 1e-3, "encoder_rate": 0.01, "batch_size": 8, "schedule": "plateau"},
        "published": {**RECIPE, "regime": "decoder"},
    },
)
BIOMEDCLIPSEG_D = replace(
    BIOMEDCLIPSEG,
    about="BiomedCLIP's encoders, CLIPSeg's decoder from CLIPSeg (Poudel et al. 2024)",
    build=later("vlseg.models.biomedclipseg.build:build_biomedclipseg", name="biomedclipseg-d"),
    load=later("vlseg.models.biomedclipseg.build:load_biomedclipseg", name="biomedclipseg-d"),
    published=(WEIGHTS, replace(REFINED_WEIGHTS, note="the decoder of biomedclipseg-d", whole=False)),
    recipes={
        **BIOMEDCLIPSEG.recipes,
        "corrected": {"learning_rate": 5e-4, "encoder_rate": 0.02, "batch_size": 8, "schedule": "plateau"},
    },
)
