"""The CNN baselines with random weights, or on an encoder trained elsewhere."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn

from vlseg.models.folder import load_strictly, read_config, unnamed_targets
from vlseg.models.lite0 import AFTER_FEATURES, as_tensorflow, read_lite0
from vlseg.models.lite0 import ENCODERS as LITE0_ENCODERS
from vlseg.models.packaged import PACKAGED, packaged
from vlseg.models.protocol import Spec
from vlseg.models.smp.model import STRIDE, SmpModel, lone_pooling
from vlseg.models.smp.normalisation import IMAGENET, checked, normalisation_of
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError, unknown_name

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "smp-unet": smp.Unet,
    "smp-unetplusplus": smp.UnetPlusPlus,
    "smp-deeplabv3plus": smp.DeepLabV3Plus,
}


def build_smp(
    *,
    name: str = "smp-unet",
    image_size: int = 256,
    encoder: str = "resnet50",
    encoder_weights: str | None = None,
    normalisation: Mapping[str, Sequence[float]] | None = None,
    tensorflow: bool | None = None,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> SmpModel:
    """An image-only CNN with one channel per target.

    Args:
        name: smp-unet, smp-unetplusplus or smp-deeplabv3plus.
        image_size: side of the square that images are resized to; padded inside to a multiple of 32.
        encoder: any name that segmentation-models-pytorch knows, or "tu-NAME" for timm's.
        encoder_weights: None = random; "lite0" for timm-tf_efficientnet_lite0 comes with vlseg[weights]; "imagenet" (or
            another name the library knows) downloads or takes the cache; a file with the encoder's tensors works
            offline, e.g. torchvision's resnet50.
        normalisation: mean and std of the channels; None = those of the encoder's published weights.
        tensorflow: whether an EfficientNet-Lite computes as its weights were trained (see `as_tensorflow`) or as the
            library has it; None = as they were trained.
        targets: one channel each (one unnamed when none is given).
        protocol: "corrected" or "published"; the latter computes as the library has it, and normalises every encoder's
            images as ImageNet's, where its weights are not a package's.

    Raises:
        InputError: an unknown encoder or protocol, weights that cannot be had, a target named twice.
    """
    if protocol not in ("corrected", "published"):
        raise unknown_name(f"protocol of {name}", protocol, ("corrected", "published"))
    if image_size < STRIDE:
        raise InputError(f"image_size: {image_size} is less than {STRIDE}; take 256")
    if len(set(targets)) != len(targets):
        raise InputError(f"targets: a name is given twice in {', '.join(targets)}; name each once")
    names = targets or ("foreground",)
    file = _weights_file(encoder, encoder_weights)
    network = _network(name, encoder, None if file else encoder_weights, len(names))
    if file is not None:
        _fill_encoder(network, file, encoder)
    if encoder.startswith("tu-"):
        _try_size(network, image_size, encoder)
    computed = _computed(encoder, encoder_weights, protocol, normalisation, tensorflow)
    if computed.get("tensorflow"):
        as_tensorflow(network.encoder)
    spec = Spec(name=name, uses_text=False, image_size=(image_size, image_size), targets=names, protocol=protocol)
    return SmpModel(lone_pooling(network), spec, {"image_size": image_size, "encoder": encoder, **computed})


def _computed(
    encoder: str,
    weights: str | None,
    protocol: str,
    normalisation: Mapping[str, Sequence[float]] | None,
    tensorflow: bool | None,
) -> dict[str, Any]:
    """What the weights' names and shapes do not show, for the model's folder to keep."""
    as_published = protocol == "published" and weights not in PACKAGED  # which were trained in one way
    own = IMAGENET if as_published else normalisation_of(encoder, weights)
    computed: dict[str, Any] = {"normalisation": own if normalisation is None else checked(normalisation)}
    if encoder.startswith(LITES):
        computed["tensorflow"] = not as_published if tensorflow is None else tensorflow
    return computed


def load_smp(
    path: Path,
    *,
    name: str = "smp-unet",
    image_size: int = 256,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    normalisation: Mapping[str, Sequence[float]] | None = None,
    targets: Sequence[str] = (),
    protocol: str | None = None,
) -> SmpModel:
    """A whole network: a MedVLSM checkpoint, the library's own state_dict or folder, or a run's checkpoint.

    Args:
        path: the file, or a folder that holds one of `FILES`.
        name: which architecture it is.
        image_size: side of the square that images are resized to.
        encoder: that it was built with; None: what the library's folder says, else resnet50.
        encoder_weights: not used, the file has them.
        normalisation: mean and std of the channels; None = those of the encoder's published weights.
        targets: whose the outputs are, in order; without, they get numbers.
        protocol: "corrected" or "published", which are the same network here.

    Raises:
        InputError: no network in the file, one that does not fit, or as many targets as it has no outputs.
    """
    file = find_weights(path, FILES) if path.is_dir() else path
    found = network_in(read_tensors(file), (HEAD,), str(file))
    if found is None:
        raise InputError(
            f"{file}: holds no network of segmentation-models-pytorch (no {HEAD}); an encoder alone is given with "
            "--set 'model_arguments={encoder_weights: FILE}'"
        )
    outputs = len(found.tensors[HEAD])
    if targets and len(targets) != outputs:
        raise InputError(f"targets: {file} has {outputs} outputs, and {len(targets)} targets are named")
    model = build_smp(
        name=name,
        image_size=image_size,
        encoder=encoder or _told_encoder(path, name) or "resnet50",
        normalisation=normalisation,
        tensorflow=found.prefix.startswith(OURS),
        targets=tuple(targets) or unnamed_targets(outputs),
        protocol=protocol or ("published" if found.prefix.startswith("net.") else "corrected"),
    )
    load_strictly(model.network, found.tensors, str(file))
    return model


def _told_encoder(path: Path, name: str) -> str | None:
    """What the config.json of the library's save_pretrained says, where all else is as it is built here.

    Raises:
        InputError: another option, which the weights' shapes need not show (how maps are enlarged, dilations).
    """
    config = read_config(path) if (path / "config.json").exists() else {}
    if "_model_class" not in config:
        return None
    for key, parameter in inspect.signature(ARCHITECTURES[name]).parameters.items():
        own = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if key in config and key not in TAKEN_OVER and config[key] != own:
            raise InputError(f"{path / 'config.json'}: its {key} is {config[key]!r}; {name} is built with {own!r} here")
    return str(config["encoder_name"]) if "encoder_name" in config else None


TAKEN_OVER = ("encoder_name", "encoder_weights", "classes", "activation")
"""Options of the library's that may be any: what we read, and a last step that logits go without."""

HEAD = "segmentation_head.0.weight"
OURS = "network."
"""How names start in files that vlseg wrote, whose folder's config.json says more."""

LITES = "timm-tf_efficientnet_lite"
FILES = ("best.ckpt", "best.pt", "model.safetensors", "pytorch_model.bin")


def _weights_file(encoder: str, weights: str | None) -> Path | None:
    """The encoder's weights in a file, where they are; None: random, or what the library has by that name."""
    if weights not in PACKAGED:
        return Path(weights) if weights and Path(weights).is_file() else None
    if weights != "lite0" or encoder not in LITE0_ENCODERS:
        raise InputError(
            f"encoder_weights '{weights}': are not of encoder '{encoder}'; lite0 are of {' and '.join(LITE0_ENCODERS)}"
        )
    return packaged(weights)


def _network(name: str, encoder: str, weights: str | None, classes: int) -> Any:
    if not encoder.startswith("tu-") and encoder not in smp.encoders.encoders:
        raise unknown_name("encoder", encoder, smp.encoders.encoders)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`timm-` encoders are deprecated")  # the lock holds a version with them
            return ARCHITECTURES[name](encoder_name=encoder, encoder_weights=weights, classes=classes)
    except Exception as error:  # the hub raises many kinds: offline, not found, disk full
        if weights is None or isinstance(error, KeyError | ValueError) or "Unknown model" in str(error):
            raise InputError(f"{name} with encoder '{encoder}': {' '.join(str(error).split())[:200]}") from error
        raise InputError(
            f"encoder_weights '{weights}' of {encoder}: not in the local cache and not downloadable here "
            f"({type(error).__name__}); fetch {_file_of(encoder, weights)} or another file with the encoder's tensors "
            "(torchvision's), and give it: --set 'model_arguments={encoder_weights: FILE}'"
        ) from error


def _try_size(network: Any, image_size: int, encoder: str) -> None:
    """Timm's transformers take one size only, and say so when they are run."""
    side = image_size + -image_size % STRIDE
    try:
        with torch.no_grad():
            network.eval().encoder(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError) as error:
        raise InputError(f"image_size: {image_size} does not suit encoder '{encoder}' ({error})") from error
    network.train()


def _file_of(encoder: str, weights: str) -> str:
    """The published file behind the library's name for it."""
    settings = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {}).get(weights, {})
    if "repo_id" in settings:
        return f"model.safetensors of the hub's {settings['repo_id']} (commit {settings['revision'][:12]})"
    return f"model.safetensors of the hub's timm/{encoder.removeprefix('tu-')}"


HEADS = ("fc.", "_fc.", "classifier.", "last_linear.", "head.")


def _fill_encoder(network: Any, file: Path, encoder: str) -> None:
    """Classifiers are left out, and what timm's pyramids lack behind their last stage; everything else must fit."""
    tensors = read_lite0(file) if encoder in LITE0_ENCODERS else read_tensors(file)
    pyramid = encoder.startswith("tu-")
    module = network.encoder.model if pyramid else network.encoder
    anchor = max((key for key in module.state_dict() if key.endswith(".weight")), key=len)
    found = network_in(tensors, (anchor,), str(file))
    weights = tensors if found is None else found.tensors  # of another encoder: the strict loading names what is wrong
    without = (*HEADS, *AFTER_FEATURES) if pyramid else HEADS
    kept = {key: tensor for key, tensor in weights.items() if not key.startswith(without)}
    load_strictly(module, kept, str(file))
