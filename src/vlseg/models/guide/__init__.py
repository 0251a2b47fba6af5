"""guide: an image pyramid and the words of a sentence, joined by a small decoder that alone needs training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlseg.models.architecture import Architecture, later
from vlseg.models.packaged import LITE0, MINILM

TEXT_FOLDER = "text"
"""In a model's folder: configuration and tokenizer of the text encoder, whose weights lie with the rest."""


def _text_files(folder: Path) -> Mapping[str, Any]:
    place = folder / TEXT_FOLDER
    return {"text_files": str(place)} if place.is_dir() else {}


GUIDE = Architecture(
    about="pretrained image and text encoders, frozen by its recipe, and a small decoder that looks at the words",
    build=later("vlseg.models.guide.build:build_guide"),
    restored=_text_files,
    initial=frozenset({"encoder_weights"}),
    resizable=frozenset({"image_size", "trainable_stages"}),
    text_encoder="all-MiniLM-L6-v2, 128",
    published=(LITE0, MINILM),
    recipes={
        "corrected": {
            "model_arguments": {"encoder_weights": "lite0", "text": "minilm"},
            "regime": "freeze_encoders",
            "learning_rate": 1e-3,
            "encoder_rate": 0.05,
            "batch_size": 16,
            "epochs": 30,
            "max_steps": 2000,  # large sets need fewer epochs
            "zoom": 0.25,
            "rotate": 10,
            "feature_views": 8,
            "presence_weight": 0.3,
            "class_prompt_share": 0.3,
            "attribute_dropout": 0.1,
        }
    },
)
