"""Every regime that adds weights, on every model it is for, in a size that a test can train: one table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiny_models import made

from vlseg.models import load_model
from vlseg.models.additions.base import Base
from vlseg.models.additions.extended import Extended
from vlseg.models.additions.loading import extend

CASES: list[tuple[str, str, Mapping[str, Any]]] = [
    ("dense_v", "clipseg", {"width": 8}),
    ("dense_vl", "clipseg", {"width": 8}),
    ("dense_vl", "clipseg-rd64", {"width": 8}),
    ("coop", "clipseg", {"depth": 2}),
    ("coop", "cris", {"depth": 2}),
    ("cocoop", "clipseg", {"width": 8}),
    ("cocoop", "cris", {"width": 8, "depth": 2}),
    ("vpt", "clipseg", {"depth": 2}),
    ("maple", "clipseg", {"width": 8, "depth": 2}),
    ("maple", "clipseg-rd64", {"width": 8}),
    ("shared_separate", "clipseg", {"width": 8, "depth": 2}),
    ("shared_attention", "clipseg", {"heads": 4, "feedforward": 32, "depth": 2}),
    ("lora", "clipseg", {"rank": 4, "alpha": 16}),
    ("lora", "clipseg-rd64", {"encoders": ["text"], "train_decoder": True}),
    ("lora", "biomedclipseg", {"rank": 2}),
    ("lora", "biomedclipseg-d", {"targets": ["qkv", "query", "mlp.fc1"]}),
    ("lora", "cris", {}),
    ("lora", "guide", {"train_decoder": True}),
    ("lora", "clipseg-tiny", {"encoders": ["image", "decoder"]}),
    ("dense_vlc", "clipseg", {"width": 8, "sentence_width": 4}),
    ("dense_vlc", "biomedclipseg", {"width": 8, "sentence_width": 4}),
    ("shallow_v", "clipseg", {"width": 8}),
    ("shallow_vl", "clipseg", {"width": 8}),
    ("shallow_vlc", "clipseg-rd64", {"width": 8, "sentence_width": 4}),
    ("shallow_vlc", "biomedclipseg", {"width": 8, "sentence_width": 16}),
    ("telescopic_like", "clipseg", {}),
    ("telescopic_like", "biomedclipseg", {}),
    ("coop", "biomedclipseg", {"length": 2}),
    ("vpt", "biomedclipseg", {"length": 2}),
    ("shared_separate", "biomedclipseg", {"length": 2}),
    ("cocoop", "biomedclipseg", {"width": 8}),
    ("maple", "biomedclipseg", {"width": 8, "depth": 2}),
]
"""Regime, model, the regime's arguments. A regime without a row fails `test_the_table_is_complete`."""
IDS = [f"{regime}-{model}" for regime, model, _ in CASES]


def extended(folder: Path, regime: str, model: str, arguments: Mapping[str, Any]) -> Extended:
    """The model with the addition, on a base that is saved in `folder`."""
    if not folder.exists():
        made(model).save(folder)
    base = Base(model, str(folder.absolute()), None, {})
    result = extend(load_model(str(folder)), regime, arguments, base, lambda: made(model))
    result.eval()
    return result
