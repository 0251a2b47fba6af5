"""UNet-D and VLSM-Ensemble's networks with random weights, on published encoders, or from a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any

from transformers import CLIPSegConfig

from vlseg.models.biomedclipseg.build import build_biomedclipseg, load_biomedclipseg
from vlseg.models.biomedclipseg.model import BiomedClipSeg
from vlseg.models.biomedclipseg.network import SHAPES
from vlseg.models.clipseg.build import build_clipseg, load_clipseg
from vlseg.models.clipseg.model import ClipSeg
from vlseg.models.folder import load_strictly, note_protocol, unnamed_targets
from vlseg.models.hub import locate
from vlseg.models.protocol import Spec
from vlseg.models.tensors import Network, find_weights, network_in, read_tensors
from vlseg.models.vlsm_ensemble.alone import LoneUNetD
from vlseg.models.vlsm_ensemble.model import VlsmEnsemble
from vlseg.models.vlsm_ensemble.networks import BIOMED, C_KEPT, CLIP, BiomedBranch, ClipBranch
from vlseg.models.vlsm_ensemble.unet_d import STRIDE, WIDTHS, UNetD
from vlseg.records import InputError, unknown_name

A, B, C = (f"vlsm-ensemble-{letter}" for letter in "abc")
PROTOCOLS = {A: ("corrected", "published"), B: ("corrected",), C: ("corrected",)}

ANCHORS = {
    "unet-d": "upconv41.weight",
    A: "dense_layer.weight",
    B: "blocks.0.linear1.weight",
    C: "clip_seg.convlast.weight",
}
"""A name that each surely has, by which a file is recognised."""
FILES = ("best.ckpt", "checkpoint.pt", "model.safetensors")
OURS = "network."
"""How names start in files that vlseg wrote."""


def build_unet_d(
    *, image_size: int = 352, size: str = "base", targets: tuple[str, ...] = (), protocol: str = "corrected"
) -> LoneUNetD:
    """UNet-D, one channel per target (one unnamed when none is given).

    Args:
        image_size: side of the square input, a multiple of 16.
        size: "base", or "tiny" for tests.
        targets: one channel each.
        protocol: "corrected".

    Raises:
        InputError: an unknown size or protocol, an image size that does not fit, a target named twice.
    """
    if size not in WIDTHS:
        raise unknown_name("size of unet-d", size, WIDTHS)
    if protocol != "corrected":
        raise unknown_name("protocol of unet-d", protocol, ["corrected"])
    if image_size < STRIDE or image_size % STRIDE:
        raise InputError(f"image_size: {image_size} is not a multiple of {STRIDE}; take 352")
    if len(set(targets)) != len(targets):
        raise InputError(f"targets: a name is given twice in {', '.join(targets)}; name each once")
    names = targets or ("foreground",)
    spec = Spec("unet-d", uses_text=False, image_size=(image_size, image_size), targets=names, protocol=protocol)
    return LoneUNetD(UNetD(WIDTHS[size], len(names)), spec, {"image_size": image_size, "size": size})


def load_unet_d(
    path: Path, *, image_size: int = 352, size: str = "base", targets: Sequence[str] = (), protocol: str | None = None
) -> LoneUNetD:
    """UNet-D from a checkpoint of the published code, a file or a folder that holds one of `FILES`.

    Raises:
        InputError: no UNet-D there, one that does not fit, or as many targets as it has no outputs.
    """
    file, found = _whole(path, "unet-d")
    if found is None or "outconv.weight" not in found.tensors:
        raise InputError(f"{file}: holds no UNet-D (no {ANCHORS['unet-d']}); give another file")
    outputs = len(found.tensors["outconv.weight"])
    if targets and len(targets) != outputs:
        raise InputError(f"targets: {file} has {outputs} outputs, and {len(targets)} targets are named")
    names = tuple(targets) or unnamed_targets(outputs)
    model = build_unet_d(image_size=image_size, size=size, targets=names, protocol=protocol or "corrected")
    load_strictly(model.network, found.tensors, str(file))
    return model


def build_vlsm_ensemble(
    *,
    name: str,
    image_size: int | None = None,
    size: str = "base",
    config: CLIPSegConfig | Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> VlsmEnsemble:
    """Network A (BiomedCLIPSeg and UNet-D), B (CLIPSeg and UNet-D) or C (both) with random weights.

    Args:
        name: vlsm-ensemble-a, -b or -c.
        image_size: a multiple of 16; None = 224, of B 352. The weights are of this size alone.
        size: "base", or "tiny" for tests: of UNet-D and of BiomedCLIPSeg.
        config: of CLIPSeg, as `build_clipseg` takes it; patches of 16.
        tokenizer: folder with PubMedBERT's vocabulary.
        targets: recorded.
        protocol: "corrected", or for A "published".

    Raises:
        InputError: an unknown size or protocol, an image size or a config that does not fit, no tokenizer there.
    """
    if size not in WIDTHS:
        raise unknown_name(f"size of {name}", size, WIDTHS)
    if protocol not in PROTOCOLS[name]:
        raise unknown_name(f"protocol of {name}", protocol, PROTOCOLS[name])
    if name == A and config is not None:
        raise InputError(f"config: is CLIPSeg's, which {A} has none of; leave it out")
    if name == B and tokenizer is not None:
        raise InputError(f"tokenizer: is PubMedBERT's, which {B} does not read with; leave it out")
    biomed = clip = None
    if name != B:
        biomed = build_biomedclipseg(image_size=image_size, size=size, tokenizer=tokenizer, protocol=protocol)
    if name != A:
        side = image_size or (biomed.spec.image_size[0] if biomed else 352)
        clip = build_clipseg(image_size=side, config=config)
    return _joined(name, size, biomed, clip, targets)


def load_vlsm_ensemble(
    path: Path,
    *,
    name: str,
    image_size: int | None = None,
    size: str = "base",
    config: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
    clipseg: str | None = None,
    protocol: str | None = None,
) -> VlsmEnsemble:
    """From published encoders, around which the rest is random, or a checkpoint file of the whole network.

    Encoders: for A and C BiomedCLIP's hub folder (or a trained BiomedCLIPSeg), for B CLIPSeg's; C takes CLIPSeg from
    `clipseg`, a folder, a file or a hub id. Of a checkpoint, whose tokenizer is looked for beside it or in `tokenizer`,
    the size of the images is read off the weights. That of published code is of protocol `published`; B and C, whose
    published form is not offered, are then used as corrected, with a warning.

    Raises:
        InputError: files missing, weights that do not fit, another image size than the weights'.
    """
    file, whole = _whole(path, name) if path.is_file() else (path, None)
    if whole is None:
        return _around(path, name, image_size, size, config, tokenizer, clipseg, protocol)
    if name == C and "decoder.transposed_convolution.weight" in whole.tensors:
        raise InputError(
            f"{file}: its first decoder has the library's default shape (patches of 32), which published code builds; "
            f"{C} has CLIPSeg's: train it anew, or give a checkpoint of code that reads CLIPSeg's settings"
        )
    side = STRIDE * isqrt(len(whole.tensors["reduce2.weight"])) if "reduce2.weight" in whole.tensors else image_size
    if image_size not in (None, side):
        raise InputError(f"image_size: the weights in {file} are of {side} px, not {image_size}; leave it out")
    own = "corrected" if whole.prefix.startswith(OURS) else "published"
    chosen = protocol or (own if own in PROTOCOLS[name] else "corrected")
    words = None if name == B else tokenizer or str(file.parent)
    model = build_vlsm_ensemble(name=name, image_size=side, size=size, config=config, tokenizer=words, protocol=chosen)
    load_strictly(model.network, whole.tensors, str(file))
    note_protocol(own, chosen, str(file))
    return model


def _around(
    path: Path,
    name: str,
    image_size: int | None,
    size: str,
    config: Mapping[str, Any] | None,
    tokenizer: str | None,
    clipseg: str | None,
    protocol: str | None,
) -> VlsmEnsemble:
    """On encoders that were trained elsewhere."""
    if config is not None:
        raise InputError("config: stands in CLIPSeg's own files; leave it out")
    if protocol is not None and protocol not in PROTOCOLS[name]:
        raise unknown_name(f"protocol of {name}", protocol, PROTOCOLS[name])
    if name == C and clipseg is None:
        raise InputError(
            f"{path}: holds the encoders of the first branch; the second is CLIPSeg's: "
            "--set 'model_arguments={clipseg: FOLDER}' with the files of CIDAS/clipseg-rd64-refined (or its hub id)"
        )
    if name != C and clipseg is not None:
        raise InputError(f"clipseg: is the second branch of {C}, and {name} has none; leave it out")
    biomed = clip = None
    if name != B:
        biomed = load_biomedclipseg(
            path, protocol=protocol or "corrected", tokenizer=tokenizer, image_size=image_size, size=size
        )
    if name != A:
        side = biomed.spec.image_size[0] if biomed else image_size
        clip = load_clipseg(path if clipseg is None else locate(clipseg), protocol="corrected", image_size=side)
    model = _joined(name, size, biomed, clip, ())
    model.random_part = "UNet-D"
    return model


def _joined(
    name: str, size: str, biomed: BiomedClipSeg | None, clip: ClipSeg | None, targets: tuple[str, ...]
) -> VlsmEnsemble:
    """The network around its one or two segmenters."""
    first = biomed or clip
    assert first is not None
    widths, side = WIDTHS[size], first.spec.image_size[0]
    places = (side // STRIDE) ** 2
    arguments: dict[str, Any] = {"image_size": side, "size": size}
    branch = None
    if clip is not None:
        patch = clip.network.config.vision_config.patch_size
        if patch != STRIDE:
            raise InputError(
                f"config: CLIPSeg's patches are of {patch} px; {name} needs {STRIDE}, the stride of UNet-D"
            )
        maps, kept = (1, C_KEPT[:1]) if biomed is None else (2, C_KEPT)
        branch = ClipBranch(clip.network, widths, places, maps, kept)
        arguments["config"] = clip.network.config.to_dict()
    network: BiomedBranch | ClipBranch | None = branch
    if biomed is not None:
        network = BiomedBranch(biomed.network, SHAPES[size], widths, places, branch)
    assert network is not None
    members: dict[str, BiomedClipSeg | ClipSeg] = {}
    if biomed is not None:
        members[BIOMED] = biomed
    if clip is not None:
        members[CLIP] = clip
    return VlsmEnsemble(network, members, replace(first.spec, name=name, targets=targets), arguments)


def _whole(path: Path, name: str) -> tuple[Path, Network | None]:
    """The file, and the whole network in it; None where it has none."""
    file = find_weights(path, FILES) if path.is_dir() else path
    return file, network_in(read_tensors(file), (ANCHORS[name],), str(file))
