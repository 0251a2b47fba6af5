"""VLSM-Ensemble (Dietlmeier et al., MIDL 2025): UNet-D, and the networks A, B and C that join it with CLIPSeg."""

from dataclasses import replace
from typing import Any

from vlseg.models.architecture import Architecture, later
from vlseg.models.biomedclipseg import WEIGHTS as BIOMEDCLIP_WEIGHTS
from vlseg.models.biomedclipseg import is_biomedclip, own_tokenizer
from vlseg.models.clipseg import REFINED_WEIGHTS, is_refined
from vlseg.models.medvlsm import RECIPE

_BUILD = "vlseg.models.vlsm_ensemble.build"
_BIOMEDCLIP = replace(BIOMEDCLIP_WEIGHTS, note="the encoders; the rest is trained by you")
_CLIPSEG = replace(REFINED_WEIGHTS, note="CLIPSeg; UNet-D and what joins them is trained by you", whole=False)

UNET_D = Architecture(
    about="UNet-D (Dietlmeier et al. 2025): a U-Net with channel attention, no text, a channel for each target",
    build=later(f"{_BUILD}:build_unet_d"),
    load=later(f"{_BUILD}:load_unet_d"),
    recipes={
        "corrected": {"learning_rate": 1e-3, "batch_size": 8, "schedule": "plateau"},
        # The published code made a schedule and never stepped it. It also loaded the best weights so far after every
        # epoch, stopped by val loss and resized bicubically; here training goes on, stops by Dice, and bilinearly.
        "published": {
            "learning_rate": 1e-5,
            "weight_decay": 1e-3,
            "batch_size": 10,
            "schedule": "constant",
            "warmup_steps": 0,
            "clip_norm": 1.0,
            "epochs": 1000,
            "patience": 20,
            "augment": False,
        },
    },
)


def _network(letter: str, **about: Any) -> Architecture:
    name = f"vlsm-ensemble-{letter}"
    return Architecture(
        build=later(f"{_BUILD}:build_vlsm_ensemble", name=name),
        load=later(f"{_BUILD}:load_vlsm_ensemble", name=name),
        initial=frozenset({"tokenizer", "clipseg"}),
        resizable=frozenset(),  # a layer over places: weights are of one image size
        **about,
    )


# MedVLSM's training with the encoders frozen: A's were, and B's got no gradient through the library's forward.
_PUBLISHED = {**RECIPE, "regime": "decoder", "protocol": "corrected"}

VLSM_ENSEMBLE_A = _network(
    "a",
    about="VLSM-Ensemble A (Dietlmeier et al. 2025): BiomedCLIPSeg and UNet-D stacked in one network",
    recognises=is_biomedclip,
    restored=own_tokenizer,
    text_encoder="PubMedBERT, 256 tokens",
    protocols=("corrected", "published"),
    published=(_BIOMEDCLIP,),
    recipes={
        "corrected": {"learning_rate": 1e-3, "encoder_rate": 0.01, "batch_size": 8, "schedule": "plateau"},
        "published": {**_PUBLISHED, "protocol": "published"},
    },
)
VLSM_ENSEMBLE_B = _network(
    "b",
    about="VLSM-Ensemble B: CLIPSeg and UNet-D stacked in one network",
    recognises=is_refined,
    text_encoder="CLIP, 77 tokens",
    protocols=("corrected",),
    published=(_CLIPSEG,),
    recipes={
        "corrected": {"learning_rate": 5e-4, "encoder_rate": 0.02, "batch_size": 4, "schedule": "plateau"},
        "published": _PUBLISHED,
    },
)
VLSM_ENSEMBLE_C = _network(
    "c",
    about="VLSM-Ensemble C: BiomedCLIPSeg and CLIPSeg, a UNet-D beside each, in one network",
    recognises=is_biomedclip,
    restored=own_tokenizer,
    text_encoder="PubMedBERT and CLIP",
    protocols=("corrected",),
    published=(_BIOMEDCLIP, replace(_CLIPSEG, note="the second branch")),
    recipes={
        "corrected": {"learning_rate": 5e-4, "encoder_rate": 0.02, "batch_size": 4, "schedule": "plateau"},
        "published": _PUBLISHED,
    },
)
