"""U-Net, U-Net++ and DeepLabV3+ of segmentation-models-pytorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlseg.models.architecture import Architecture, Published, later
from vlseg.models.medvlsm import CNN_RECIPE
from vlseg.models.packaged import LITE0

RESNET50 = Published(
    "smp-hub/resnet50.imagenet",
    ("model.safetensors",),
    "that of its hub page; trained on ImageNet",
    "published",
    revision="00cb74e366966d59cd9a35af57e618af9f88efe9",
    note="the encoder, by model_arguments={encoder_weights: imagenet} or a file; others by the library's names",
    whole=False,
)


def as_before_if_unsaid(folder: Path) -> Mapping[str, Any]:
    """Folders from before it was written down: ImageNet's normalisation for every encoder, computed as the library."""
    from vlseg.models.folder import read_config
    from vlseg.models.smp.normalisation import IMAGENET

    saved = read_config(folder)["vlseg"]["arguments"]
    return {} if "normalisation" in saved else {"normalisation": IMAGENET, "tensorflow": False}


def _of(name: str, library_class: str) -> Architecture:
    def is_the_librarys(folder: Path, config: Mapping[str, Any]) -> bool:
        """A folder that the library's own save_pretrained wrote."""
        return config.get("_model_class") == library_class

    return Architecture(
        about=f"{library_class} of segmentation-models-pytorch: a CNN that reads no text, a channel for each target",
        build=later("vlseg.models.smp.build:build_smp", name=name),
        load=later("vlseg.models.smp.build:load_smp", name=name),
        recognises=is_the_librarys,
        restored=as_before_if_unsaid,
        initial=frozenset({"encoder_weights"}),
        protocols=("corrected", "published"),
        published=(RESNET50, LITE0),
        recipes={"corrected": {"learning_rate": 1e-3, "batch_size": 8}, "published": CNN_RECIPE},
    )


UNET = _of("smp-unet", "Unet")
UNETPLUSPLUS = _of("smp-unetplusplus", "UnetPlusPlus")
DEEPLABV3PLUS = _of("smp-deeplabv3plus", "DeepLabV3Plus")
