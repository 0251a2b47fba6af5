"""Every model in a size that a test can train."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import CLIPSegConfig

from vlseg.models import Segmenter, architecture_of, as_module, build_model
from vlseg.models.clipseg.build import refined_config

TARGETS = ("dark cyst", "bright nodule")
SMALL = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}


def small_clipseg(*, refined: bool) -> dict[str, Any]:
    values = refined_config().to_dict()
    values["vision_config"] |= {**SMALL, "num_hidden_layers": 5}
    values["text_config"] |= {**SMALL, "num_hidden_layers": 2}
    values |= {"projection_dim": 24, "extract_layers": [0, 1, 3], "reduce_dim": 16, "decoder_intermediate_size": 32}
    return CLIPSegConfig.from_dict({**values, "use_complex_transposed_convolution": refined}).to_dict()


TINY: dict[str, Mapping[str, Any]] = {
    "clipseg": {"image_size": 64, "config": small_clipseg(refined=True)},
    "clipseg-rd64": {"image_size": 64, "config": small_clipseg(refined=False)},
    "cris": {"image_size": 64, "backbone": "tiny"},
    "biomedclipseg": {"size": "tiny"},
    "biomedclipseg-d": {"size": "tiny"},
    "smp-unet": {"image_size": 64, "encoder": "resnet18"},
    "smp-unetplusplus": {"image_size": 64, "encoder": "resnet18"},
    "smp-deeplabv3plus": {"image_size": 70, "encoder": "resnet18"},  # padded to 96 inside
    "unet-d": {"image_size": 32, "size": "tiny"},
    "vlsm-ensemble-a": {"size": "tiny"},
    "vlsm-ensemble-b": {"image_size": 64, "size": "tiny", "config": small_clipseg(refined=True)},
    "vlsm-ensemble-c": {"size": "tiny", "config": small_clipseg(refined=True)},
    "lvit": {"image_size": 32, "width": 8},
    "lvit-tw": {"image_size": 32, "width": 8},
    "lvit-unet": {"image_size": 32, "width": 8},
    "ensemble": {"combine": "stack"},
    "clipseg-tiny": {"image_size": 32},
    "guide": {"image_size": 64, "encoder": "test_efficientnet", "encoder_weights": None, "text": "hashed"},
    "unet": {"image_size": 32},
    "unet-target": {"image_size": 32},
}
NAMES = list(TINY)
READING = [name for name in NAMES if architecture_of(name).text_encoder or name == "ensemble"]  # its members read


def made(name: str, **more: Any) -> Segmenter:
    torch.manual_seed(0)
    if name == "ensemble":
        more = {"members": [made("clipseg"), made("clipseg-tiny")], **more}
    model = build_model(name, arguments={**TINY[name], **more}, targets=TARGETS)
    as_module(model).eval()
    return model


# One that reads nothing and is not told the target either answers for every target at once.
IMAGE_ONLY = [name for name in NAMES if name not in READING and not made(name).spec.uses_target]
