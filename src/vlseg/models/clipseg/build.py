"""CLIPSeg built with random weights, or from a folder in the published (Hugging Face) layout."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegTextConfig, CLIPSegVisionConfig

from vlseg.models.clipseg.model import ClipSeg
from vlseg.models.clipseg.tokenizer import clip_tokenizer, load_tokenizer
from vlseg.models.folder import load_strictly, note_protocol, read_config, saved_part
from vlseg.models.hub import locate
from vlseg.models.protocol import Spec
from vlseg.models.tensors import find_weights, network_in, read_tensors
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


def plain_config() -> CLIPSegConfig:
    """The shape of CIDAS/clipseg-rd64: as the refined one, with a single convolution at the end."""
    return CLIPSegConfig.from_dict({**refined_config().to_dict(), "use_complex_transposed_convolution": False})


CONFIGS: dict[str, Callable[[], CLIPSegConfig]] = {"clipseg": refined_config, "clipseg-rd64": plain_config}
"""By model name."""


def build_clipseg(
    *,
    name: str = "clipseg",
    image_size: int = 352,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
    config: CLIPSegConfig | Mapping[str, Any] | None = None,
) -> ClipSeg:
    """CLIPSeg with random weights; `image_size` is a multiple of the patch (16).

    Args:
        name: "clipseg" (rd64-refined) or "clipseg-rd64".
        image_size: side of the square input.
        targets: recorded.
        protocol: "corrected" or "published".
        config: other sizes, as transformers' CLIPSegConfig or what its config.json holds.

    Raises:
        InputError: an image size that the patches do not fill, or a config that transformers does not take.
    """
    if isinstance(config, Mapping):
        config = _config_of({**CONFIGS[name]().to_dict(), **config}, f"config of {name}")
    network = CLIPSegForImageSegmentation(config or CONFIGS[name]())
    return ClipSeg(network, clip_tokenizer(), _spec(network, image_size, targets, protocol))


def load_clipseg(
    path: Path, *, protocol: str | None = None, image_size: int | None = None, clip: str | None = None
) -> ClipSeg:
    """CLIPSeg from a folder in the hub's layout, or from a file.

    A file is the whole network (a MedVLSM checkpoint, whose protocol is `published`, or the hub's weights file), or the
    original repository's decoder (`rd64-uni*.pth`), which needs `clip`: a folder or hub id with CLIP ViT-B/16 (or
    CLIPSeg) in the hub's layout.

    Raises:
        InputError: files missing, or weights that do not fit (each offending key is named).
    """
    if path.is_dir():
        return _from_folder(path, protocol, image_size)
    tensors = read_tensors(path)
    whole = network_in(tensors, (TOWERS,), str(path))
    if whole is None:
        weights = {f"decoder.{key}": tensor for key, tensor in decoder_in(tensors, path).items()}
        if clip is None:
            raise InputError(
                f"{path}: holds CLIPSeg's decoder alone; give CLIP ViT-B/16 beside it: "
                "--set 'model_arguments={clip: FOLDER}'"
            )
        weights |= _clip_of(locate(clip))
    else:
        weights = whole.tensors
    refined = "decoder.transposed_convolution.4.weight" in weights
    network = CLIPSegForImageSegmentation(refined_config() if refined else plain_config())
    load_strictly(network, weights, str(path))
    trained = whole is not None and whole.prefix.startswith(("net.", "clipseg."))  # MedVLSM's, Lightning's on or off
    spec = _spec(network, image_size or 352, (), protocol or ("published" if trained else "corrected"))
    if trained:
        note_protocol("published", spec.protocol, str(path))
    return ClipSeg(network, clip_tokenizer(), spec)


TOWERS = "clip.text_model.embeddings.token_embedding.weight"
DECODER = "film_mul.weight"
"""Names that every CLIPSeg has, by which a file is recognised."""


def _from_folder(path: Path, protocol: str | None, image_size: int | None) -> ClipSeg:
    """As the hub has it, or as `save` wrote it."""
    values = read_config(path)
    ours = saved_part(values, path)
    values.pop("vlseg", None)
    network = CLIPSegForImageSegmentation(_config_of(values, str(path / "config.json")))
    whole = network_in(read_weights(path), (TOWERS,), str(path))
    if whole is None:
        raise InputError(f"{path}: its weights hold no CLIPSeg (no {TOWERS}); give the folder of the whole model")
    load_strictly(network, whole.tensors, str(path))
    if ours is None:
        spec = _spec(network, image_size or 352, (), protocol or "corrected")
    else:
        size = image_size or ours["arguments"].get("image_size", 352)
        spec = _spec(network, size, tuple(ours["targets"]), protocol or ours["protocol"])
        note_protocol(ours["protocol"], spec.protocol, str(path))
    return ClipSeg(network, load_tokenizer(path), spec)


def _config_of(values: Mapping[str, Any], where: str) -> CLIPSegConfig:
    try:
        return CLIPSegConfig.from_dict(dict(values))
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())[:200]}") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of the weights file in `folder`."""
    return read_tensors(find_weights(folder, WEIGHT_FILES))


def decoder_weights(path: Path) -> dict[str, Tensor]:
    """The decoder of a CLIPSeg folder or file, with transformers' keys.

    Raises:
        InputError: no decoder there.
    """
    return decoder_in(read_weights(path) if path.is_dir() else read_tensors(path), path)


def decoder_in(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The decoder out of a file's tensors, with transformers' keys: a whole network's, or the original repository's.

    Raises:
        InputError: no decoder there.
    """
    found = network_in(tensors, (DECODER,))
    if found is None:
        raise InputError(f"{path}: holds no CLIPSeg, nor its decoder (no {DECODER}); give another file or folder")
    result: dict[str, Tensor] = {}
    for key, value in found.tensors.items():
        name = key
        for theirs, ours in ORIGINAL_NAMES:
            name = re.sub(theirs, ours, name)
        if "in_proj_" in name:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                result[name.replace("in_proj_", f"{part}_proj.")] = piece.clone()
        elif not name.startswith(NOT_DECODER):
            result[name] = value
    return result


NOT_DECODER = ("clip_model.", "model.", "reduce.")
"""What else the original repository's files hold: CLIP's towers, and a layer of the base class that nothing reads."""

ORIGINAL_NAMES = (
    (r"^blocks\.", "layers."),
    (r"^trans_conv\.", "transposed_convolution."),
    (r"\.linear1\.", ".mlp.fc1."),
    (r"\.linear2\.", ".mlp.fc2."),
    (r"\.norm([12])\.", r".layer_norm\1."),
)
"""The decoder's keys in the original repository (timojl/clipseg) and in transformers."""


def _clip_of(folder: Path) -> dict[str, Tensor]:
    """CLIP's towers out of a folder with CLIP or CLIPSeg in the hub's layout."""
    found = network_in(read_weights(folder), (TOWERS.removeprefix("clip."),))
    if found is None:
        raise InputError(f"{folder}: holds no CLIP (no {TOWERS.removeprefix('clip.')}); give CLIP ViT-B/16's folder")
    return {f"clip.{key}": value for key, value in found.tensors.items()}


def _spec(network: CLIPSegForImageSegmentation, size: int, targets: tuple[str, ...], protocol: str) -> Spec:
    patch = network.config.vision_config.patch_size
    if size < patch or size % patch:
        raise InputError(f"image_size: {size} is not a multiple of the patch size {patch}; take {patch * 22}")
    if protocol not in ("published", "corrected"):
        raise InputError(f"protocol: '{protocol}' is unknown for clipseg (known: corrected, published)")
    name = "clipseg" if network.config.use_complex_transposed_convolution else "clipseg-rd64"
    return Spec(name=name, uses_text=True, image_size=(size, size), targets=targets, protocol=protocol)
