"""Where published weights come from: place, pinned revision, checksum, licence, protocol."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ANY_FILES = ("*.json", "*.txt", "model.safetensors", "pytorch_model.bin")
"""What is fetched from a hub repository that is not listed here."""


@dataclass(frozen=True)
class Published:
    """Weights that somebody published.

    Attributes:
        model: the name in MODELS that takes them.
        place: hub id, or address of a file to fetch by hand.
        files: what is needed of it.
        licence: of the weights, by their publisher.
        protocol: that belongs to them.
        whole: they segment as they are; otherwise a part of the network starts random.
        revision: pinned commit of a hub repository; None = none is pinned: give --revision.
        sha256: of the one file, where known.
        mirrors: other places of the same weights.
        note: what to know.
    """

    model: str
    place: str
    files: tuple[str, ...]
    licence: str
    protocol: str
    revision: str | None = None
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    note: str = ""
    whole: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


_HUB = ("config.json", "pytorch_model.bin", "vocab.json", "merges.txt", "tokenizer_config.json")
_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_RN50 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
_RN101 = "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"

WEIGHTS: tuple[Published, ...] = (
    Published(
        "clipseg",
        "CIDAS/clipseg-rd64-refined",
        _HUB,
        "Apache-2.0 by its hub page; the original repository excludes the weights from its MIT licence",
        "corrected",
        revision="583b388deb98a04feb3e1f816dcdb8f3062ee205",
    ),
    Published("clipseg-rd64", "CIDAS/clipseg-rd64", _HUB, "as CIDAS/clipseg-rd64-refined", "corrected"),
    Published(
        "biomedclipseg",
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        (
            "open_clip_config.json",
            "open_clip_pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ),
        "MIT",
        "corrected",
        revision="2584124ff32fcf3f2946e901aff906086e2d39bf",
        mirrors=("naotous/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224_original",),
        note="the encoders; the decoder is trained by you, from random weights or (biomedclipseg-d) from CLIPSeg's",
        whole=False,
    ),
    Published(
        "cris",
        f"{_OPENAI}/{_RN50}/RN50.pt",
        ("RN50.pt",),
        "MIT (OpenAI CLIP)",
        "corrected",
        sha256=_RN50,
        note="CLIP's towers, around which CRIS is random",
        whole=False,
    ),
    Published(
        "cris",
        f"{_OPENAI}/{_RN101}/RN101.pt",
        ("RN101.pt",),
        "MIT (OpenAI CLIP)",
        "corrected",
        sha256=_RN101,
        note="as RN50.pt, the larger tower",
        whole=False,
    ),
    Published(
        "cris",
        "no official place",
        ("cris_best.pth",),
        "not stated",
        "original",
        note="the authors never published weights (CRIS.pytorch issues 3 and 13): people train them on RefCOCO with "
        "the authors' code, or use a file that a user of that code shared; either loads with --weights FILE",
    ),
    *(
        Published(
            model,
            "smp-hub/resnet50.imagenet",
            ("model.safetensors",),
            "that of its hub page; trained on ImageNet",
            "published",
            revision="00cb74e366966d59cd9a35af57e618af9f88efe9",
            note="the encoder, by model_arguments={encoder_weights: imagenet} or a file; others by the library's names",
            whole=False,
        )
        for model in ("smp-unet", "smp-unetplusplus", "smp-deeplabv3plus")
    ),
)
"""All weights that vlseg knows of."""

PUBLISHED: Mapping[str, Published] = {place: one for one in WEIGHTS for place in (one.place, *one.mirrors)}
"""By hub id or address."""


def whence(model: str) -> str:
    """One line: where to get weights for a model that has no default ones."""
    known = [one for one in WEIGHTS if one.model == model.removesuffix("-d")]
    told = [one.note for one in known if one.whole] or [f"published are {one.note}" for one in known]
    return "; ".join(["give --weights RUN, FOLDER, FILE or a hub id", *told])


def default_weights(model: str) -> str | None:
    """The hub id that a model's bare name stands for, where it can segment as it is."""
    return {"clipseg": "CIDAS/clipseg-rd64-refined", "clipseg-rd64": "CIDAS/clipseg-rd64"}.get(model)
