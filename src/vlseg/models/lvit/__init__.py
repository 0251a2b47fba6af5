"""LViT, LViT without text, and the U-Net that a training of both may start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlseg.models.architecture import Architecture, Published, later
from vlseg.models.guide import GUIDE
from vlseg.models.packaged import MINILM
from vlseg.records import read_json

FILES = ("best_model-LViT.pth.tar", "best_model-LViT_pretrain.pth.tar")
"""What the authors' code calls its checkpoints."""

WEIGHTS = Published(
    "no official place",
    FILES,
    "not stated",
    "published",
    note="the authors never published weights (LViT issues 10, 21 and 30): people train it with their code, whose "
    "best_model-LViT.pth.tar loads with --weights FILE",
)
BERT = Published(
    "google-bert/bert-base-uncased",
    ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    "Apache-2.0",
    "published",
    revision="86b5e0934494bd15c9632b12f734a8a67f723594",
    mirrors=("bert-base-uncased",),
    note="the words' vectors, frozen",
    whole=False,
)


def is_lvit(folder: Path, config: Mapping[str, Any]) -> bool:
    """A folder with a checkpoint of the authors' code."""
    return any((folder / name).is_file() for name in FILES)


def restored(folder: Path) -> Mapping[str, Any]:
    """Where the text encoder's files lie, and the protocol whose layers the weights are."""
    config = read_json(folder / "config.json", "a model folder holds config.json and model.safetensors")
    return {**GUIDE.restored(folder), "saved_protocol": config["vlseg"]["protocol"]}


_OWN = {"optimizer": "adam", "weight_decay": 0.0, "learning_rate": 1e-3, "batch_size": 4, "patience": 50}

# The authors' for MoNuSeg (issue 37), as far as training here has it. Otherwise than theirs: the rate stays where it
# is, and theirs fell to a tenth and started again every ten epochs; images are flipped and turned by quarters where
# the words allow it, turned by up to 20 degrees every time, and change in brightness; the best Dice is val's at native
# size, from the first epoch on.
_PUBLISHED = {
    **_OWN,
    "protocol": "published",
    "loss": "lvit",
    "batch_size": 2,
    "epochs": 2000,
    "schedule": "constant",
    "warmup_steps": 0,
    "clip_norm": None,
    "rotate": 20,
    "seed": 666,
}

LVIT = Architecture(
    about="LViT-T (Li et al. 2023): a convolutional U-Net beside one of transformers, which a sentence enters",
    build=later("vlseg.models.lvit.build:build_lvit"),
    load=later("vlseg.models.lvit.load:load_lvit"),
    recognises=is_lvit,
    restored=restored,
    starts_from=frozenset({"lvit-unet"}),
    text_encoder="BERT, frozen",
    protocols=("corrected", "published"),
    published=(WEIGHTS, BERT, MINILM),
    recipes={
        "corrected": {**_OWN, "model_arguments": {"text": MINILM.place}},
        "published": {**_PUBLISHED, "model_arguments": {"text": BERT.place}},
    },
)
LVIT_TW = Architecture(
    about="LViT-TW: LViT without text, a channel for each target",
    build=later("vlseg.models.lvit.build:build_lvit_tw"),
    load=later("vlseg.models.lvit.load:load_lvit_tw"),
    starts_from=frozenset({"lvit-unet"}),
    protocols=("corrected", "published"),
    recipes={"corrected": _OWN, "published": _PUBLISHED},
)
LVIT_UNET = Architecture(
    about="LViT's U-Net alone, which LViT's trainings start from; a channel for each target",
    build=later("vlseg.models.lvit.build:build_unet"),
    load=later("vlseg.models.lvit.load:load_unet"),
    protocols=("corrected", "published"),
    recipes={"corrected": _OWN, "published": _PUBLISHED},
)
