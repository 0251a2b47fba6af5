"""BiomedCLIPSeg with random weights, on BiomedCLIP's, or from a published checkpoint."""

from pathlib import Path

from transformers import BertTokenizer

from vlseg.models.biomedclipseg.model import TAPS, BiomedClipSeg
from vlseg.models.biomedclipseg.network import SHAPES, Network
from vlseg.models.biomedclipseg.tokenizer import load_tokenizer, spelling_tokenizer
from vlseg.models.folder import load_strictly, note_protocol
from vlseg.models.hub import locate
from vlseg.models.protocol import Spec
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError, unknown_name

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors")
TOWER = "visual.trunk.cls_token"
"""A name that BiomedCLIP surely has, by which a file is recognised."""


def build_biomedclipseg(
    *,
    name: str = "biomedclipseg",
    image_size: int | None = None,
    size: str = "base",
    tokenizer: str | None = None,
    decoder: str | None = None,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> BiomedClipSeg:
    """BiomedCLIPSeg with random encoders.

    Args:
        name: "biomedclipseg", or "biomedclipseg-d" whose decoder starts from CLIPSeg's.
        image_size: a multiple of 16; None = 224.
        size: "base", or "tiny" for tests.
        tokenizer: folder with PubMedBERT's vocabulary; None spells words out, which only random weights can take.
        decoder: CLIPSeg weights (folder, file or hub id) to take the decoder from.
        targets: recorded.
        protocol: "corrected" or "published".

    Raises:
        InputError: an unknown size or protocol, an image size that does not fit, weights or tokenizer not there.
    """
    if size not in SHAPES:
        raise unknown_name("size of biomedclipseg", size, SHAPES)
    shape = SHAPES[size]
    side = image_size or shape.side
    if protocol not in TAPS:
        raise unknown_name("protocol of biomedclipseg", protocol, TAPS)
    if side < shape.patch or side % shape.patch:
        raise InputError(f"image_size: {side} is not a multiple of {shape.patch}; take {shape.side}")
    network = Network(shape)
    if decoder is not None:
        fill_decoder(network, locate(decoder))
    words: BertTokenizer = load_tokenizer(Path(tokenizer)) if tokenizer else spelling_tokenizer()
    spec = Spec(name=name, uses_text=True, image_size=(side, side), targets=targets, protocol=protocol)
    return BiomedClipSeg(network, words, spec, size)


def load_biomedclipseg(
    path: Path,
    *,
    name: str = "biomedclipseg",
    protocol: str | None = None,
    decoder: str | None = None,
    tokenizer: str | None = None,
    image_size: int | None = None,
    size: str = "base",
) -> BiomedClipSeg:
    """From BiomedCLIP's hub folder (the decoder is random, or CLIPSeg's), or from a MedVLSM checkpoint file.

    A checkpoint holds the whole network; its protocol is `published` unless given, and its tokenizer is looked for
    beside it or in `tokenizer`. `decoder` is a folder, a file or a hub id.

    Raises:
        InputError: files missing, weights that do not fit, or "biomedclipseg-d" on bare encoders without `decoder`.
    """
    file = find_weights(path, FILES) if path.is_dir() else path
    found = network_in(read_tensors(file), (f"biomedclip.{TOWER}", TOWER), str(file))
    if found is None:
        raise InputError(
            f"{file}: holds no BiomedCLIP (no {TOWER}); give BiomedCLIP's files or a trained BiomedCLIPSeg"
        )
    whole = found.anchor != TOWER
    if not whole and name == "biomedclipseg-d" and decoder is None:
        raise InputError(
            f"{path}: holds BiomedCLIP's encoders; biomedclipseg-d takes its decoder from CLIPSeg: "
            "--set 'model_arguments={decoder: FOLDER}' with the files of CIDAS/clipseg-rd64-refined (or its hub id)"
        )
    chosen = protocol or ("published" if whole else "corrected")
    words = tokenizer or str(file.parent)
    model = build_biomedclipseg(name=name, image_size=image_size, size=size, tokenizer=words, protocol=chosen)
    if whole:
        load_strictly(model.network, found.tensors, str(file))
        note_protocol("published", chosen, str(path))
    else:
        load_strictly(model.network.biomedclip, found.tensors, str(file))
        model.random_part = "decoder" if decoder is None else None
    if decoder is not None:
        fill_decoder(model.network, locate(decoder))
    return model


def fill_decoder(network: Network, path: Path) -> None:
    """Take the decoder of a CLIPSeg folder or file.

    Raises:
        InputError: no decoder there, or one that does not fit.
    """
    from vlseg.models.clipseg.build import decoder_weights

    load_strictly(network.decoder, decoder_weights(path), str(path))
