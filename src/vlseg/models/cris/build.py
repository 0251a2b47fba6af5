"""CRIS with random weights, from a published file, or on CLIP's ResNet."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vlseg.models.clipseg.tokenizer import clip_tokenizer
from vlseg.models.cris.model import DROPOUT, Cris, Network
from vlseg.models.cris.shape import SHAPES
from vlseg.models.folder import load_strictly, note_protocol
from vlseg.models.protocol import Spec
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError, unknown_name

FILES = ("cris_best.pth", "best_model.pth", "cris.pt", "best.ckpt", "RN50.pt", "RN101.pt")
"""What a folder is searched for: whole networks (the authors' and MedVLSM's names) before CLIP's towers alone."""

CLIP_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files hold beside the weights."""


def build_cris(
    *,
    image_size: int = 416,
    backbone: str = "rn50",
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> Cris:
    """CRIS with random weights; `image_size` is a multiple of 32.

    Raises:
        InputError: an unknown backbone or protocol, or an image size that does not fit.
    """
    if backbone not in SHAPES:
        raise unknown_name("backbone of cris", backbone, SHAPES)
    if protocol not in DROPOUT:
        raise unknown_name("protocol of cris", protocol, DROPOUT)
    if image_size < 32 or image_size % 32:
        raise InputError(f"image_size: {image_size} is not a multiple of 32; take 416")
    spec = Spec(
        name="cris",
        uses_text=True,
        image_size=(image_size, image_size),
        targets=targets,
        threshold=0.5 if protocol == "corrected" else 0.35,
        protocol=protocol,
    )
    shape = replace(SHAPES[backbone], dropout=DROPOUT[protocol])
    return Cris(Network(shape), clip_tokenizer(), spec, backbone)


def load_cris(path: Path, *, protocol: str | None = None, image_size: int = 416, backbone: str | None = None) -> Cris:
    """CRIS from a published file: a whole network, or CLIP's RN50 or RN101, around which the rest is random.

    A folder is searched for such a file by its usual names.

    A whole network is `{"state_dict": {"module...."}}` of the authors' code, or a MedVLSM checkpoint (`net.`); its
    protocol is `original` or `medvlsm` accordingly, unless given. The backbone is read off the weights; one that is
    given must fit them.

    Raises:
        InputError: no file, or weights that do not fit; every missing and left-over key is counted, five are named.
    """
    path = find_weights(path, FILES) if path.is_dir() else path
    found = network_in(read_tensors(path), (f"backbone.{TOWER}", TOWER), str(path))
    if found is None:
        raise InputError(f"{path}: holds no CRIS, nor CLIP's ResNet (no {TOWER}); give another file")
    if found.anchor != TOWER:
        own = "medvlsm" if found.prefix.startswith("net.") else "original"
        model = build_cris(
            image_size=image_size,
            backbone=backbone or _backbone(found.tensors, "backbone."),
            protocol=protocol or own,
        )
        load_strictly(model.network, found.tensors, str(path))
        note_protocol(own, model.spec.protocol, str(path))
        return model
    weights = {key: tensor for key, tensor in found.tensors.items() if key not in CLIP_EXTRAS}
    shape = backbone or _backbone(weights, "")
    model = build_cris(image_size=image_size, backbone=shape, protocol=protocol or "corrected")
    fresh = {key: tensor for key, tensor in model.network.backbone.state_dict().items() if key.startswith(FRESH)}
    load_strictly(model.network.backbone, {**weights, **fresh}, str(path))
    model.random_part = "decoder"
    return model


TOWER = "visual.conv1.weight"
"""A name that CLIP's ResNet surely has, by which a file is recognised."""

FRESH = "visual.attnpool.connect."
"""The branch that CLIP's file lacks."""


def _backbone(weights: Mapping[str, Tensor], prefix: str) -> str:
    """The known shape with as many blocks in its third layer."""
    start = f"{prefix}visual.layer3."
    blocks = len({key.removeprefix(start).split(".")[0] for key in weights if key.startswith(start)})
    for name in ("rn101", "tiny"):
        if blocks == SHAPES[name].vision_layers[2]:
            return name
    return "rn50"  # whatever else does not fit is named by the strict loading
