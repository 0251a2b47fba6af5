"""CLIPSeg built with random weights, or from a folder in the published (Hugging Face) layout."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegTextConfig, CLIPSegVisionConfig

from vlseg.models.clipseg.model import ClipSeg
from vlseg.models.clipseg.tokenizer import clip_tokenizer, load_tokenizer
from vlseg.models.folder import load_strictly, read_config
from vlseg.models.protocol import Spec
from vlseg.records import InputError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def refined_config() -> CLIPSegConfig:
    """The shape of CIDAS/clipseg-rd64-refined: ViT-B/16, taps 3, 6, 9, 64-wide decoder, three convolutions.

    The library's defaults are another network (patch 32, plain upsampling).
    """
    return CLIPSegConfig(
        text_config=CLIPSegTextConfig(eos_token_id=49407, bos_token_id=49406, pad_token_id=49407).to_dict(),
        vision_config=CLIPSegVisionConfig(patch_size=16, image_size=224).to_dict(),
        projection_dim=512,
        extract_layers=[3, 6, 9],
        reduce_dim=64,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=2048,
        conditional_layer=0,
        use_complex_transposed_convolution=True,
    )


def build_clipseg(
    *,
    image_size: int = 352,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
    config: CLIPSegConfig | None = None,
) -> ClipSeg:
    """CLIPSeg with random weights; `image_size` is a multiple of the patch (16).

    Raises:
        InputError: an image size that the patches do not fill.
    """
    network = CLIPSegForImageSegmentation(config or refined_config())
    return ClipSeg(network, clip_tokenizer(), _spec(network, image_size, targets, protocol))


def load_clipseg(folder: Path, *, protocol: str | None = None, image_size: int | None = None) -> ClipSeg:
    """CLIPSeg from a folder in the published layout: config.json, weights, tokenizer files.

    Raises:
        InputError: files missing, or weights that do not fit (each offending key is named).
    """
    values = read_config(folder)
    ours: dict[str, Any] = values.pop("vlseg", {})
    network = CLIPSegForImageSegmentation(CLIPSegConfig.from_dict(values))
    load_strictly(network, published_layout(read_weights(folder)), str(folder))
    size = image_size or ours.get("arguments", {}).get("image_size", 352)
    spec = _spec(network, size, tuple(ours.get("targets", ())), protocol or ours.get("protocol", "corrected"))
    return ClipSeg(network, load_tokenizer(folder), spec)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of the weights file in `folder`; a pickle is read with `weights_only`."""
    for name in WEIGHT_FILES:
        path = folder / name
        if path.exists() and path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.exists():
            return dict(torch.load(path, map_location="cpu", weights_only=True))
    raise InputError(f"{folder}: holds none of {', '.join(WEIGHT_FILES)}; put the weights file there")


def published_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys as transformers names them: without MedVLSM's prefixes and old versions' position tables."""
    for prefix in ("net.", "clipseg."):
        if weights and all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return {key: tensor for key, tensor in weights.items() if not key.endswith(".position_ids")}


def _spec(network: CLIPSegForImageSegmentation, size: int, targets: tuple[str, ...], protocol: str) -> Spec:
    patch = network.config.vision_config.patch_size
    if size < patch or size % patch:
        raise InputError(f"image_size: {size} is not a multiple of the patch size {patch}; take {patch * 22}")
    if protocol not in ("published", "corrected"):
        raise InputError(f"protocol: '{protocol}' is unknown for clipseg (known: corrected, published)")
    return Spec(name="clipseg", uses_text=True, image_size=(size, size), targets=targets, protocol=protocol)
