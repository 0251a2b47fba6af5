"""Data and starting weights of export_cost.py, which a decoder over random encoders can learn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from vlseg.models.clipseg.build import build_clipseg
from vlseg.phantoms import write_phantoms

SIDE = 352


def by_class(folder: Path, *, train: int, val: int) -> None:
    """Easy phantoms where a class is asked for: an entry for each class of an image, all its objects the mask."""
    write_phantoms(folder, level="easy", counts={"train": train, "val": val, "test": 0}, size=SIDE)
    for file in sorted((folder / "anns").glob("*.json")):
        found: dict[tuple[str, str], list[tuple[dict[str, Any], np.ndarray]]] = {}
        for one in json.loads(file.read_text()):
            mask = np.asarray(Image.open(folder / "masks" / one["mask_name"])) > 0
            if mask.any():
                found.setdefault((one["image_id"], one["target"]), []).append((one, mask))
        kept = []
        for (image, target), parts in found.items():
            own = f"{image}-{target.replace(' ', '-')}"
            together = np.any([mask for _, mask in parts], axis=0).astype(np.uint8) * 255
            Image.fromarray(together).save(folder / "masks" / f"{own}.png")
            told = {"id": own, "mask_name": f"{own}.png", "prompts": {"class": target}, "attributes": []}
            kept.append({**parts[0][0], **told})
        file.write_text(json.dumps(kept))
    told = json.loads((folder / "dataset.json").read_text())
    for name in ("text_blind_ceiling", "class_ceiling"):  # of the entries as they were
        del told[name]
    told |= {"name": "phantoms-by-class", "prompt_sources": {"class": ["class"]}}
    (folder / "dataset.json").write_text(json.dumps(told, indent=1))


def start(folder: Path) -> None:
    """CLIPSeg ViT-B/16 with random weights, its decoder as PyTorch draws layers.

    transformers draws the decoder's layers with a deviation of 1: logits of several hundred, which minutes of training
    do not bring down.
    """
    torch.manual_seed(0)
    model = build_clipseg()
    for layer in model.network.decoder.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
    model.save(folder)
