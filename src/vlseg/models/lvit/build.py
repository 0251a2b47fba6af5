"""LViT and its U-Net with random weights, LViT on a frozen text encoder."""

from pathlib import Path

from vlseg.models.guide.text import HashedWords, Sentences, load_sentences
from vlseg.models.hub import locate_part
from vlseg.models.lvit import BERT
from vlseg.models.lvit.model import Lvit, Words
from vlseg.models.lvit.network import PATCHES, Network, Shape
from vlseg.models.lvit.pieces import HEADS
from vlseg.models.lvit.start import NAME
from vlseg.models.lvit.text import TenWords
from vlseg.models.lvit.unet import UNet
from vlseg.models.packaged import PACKAGED
from vlseg.models.protocol import Spec
from vlseg.records import InputError, unknown_name

STRIDE = PATCHES[0]
PROTOCOLS = ("corrected", "published")


def build_lvit(
    *,
    text: str = "hashed",
    text_files: str | None = None,
    saved_protocol: str | None = None,
    image_size: int = 224,
    width: int = 64,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> Lvit:
    """LViT; what is not read from files comes from torch's global generator.

    Args:
        text: the text encoder, which stays frozen: a name vlseg knows, a folder or hub id in transformers' layout with
            its weights; "hashed" = words learned from scratch. Its width is that of the first projection's input.
        text_files: a saved model's folder of the text encoder's configuration and tokenizer, instead of reading `text`.
        saved_protocol: a saved model's own; another one has other layers.
        image_size: side of the square input, a multiple of 16; under `published` the weights are bound to it.
        width: channels of the first map, a multiple of 8.
        targets: recorded.
        protocol: "corrected" or "published".

    Raises:
        InputError: an unknown protocol, a size that does not suit, a text encoder that is not there or does not fit.
    """
    spec = _spec("lvit", image_size, width, targets, protocol)
    if saved_protocol not in (None, protocol):
        raise InputError(
            f"protocol: this lvit was trained under '{saved_protocol}', whose layers '{protocol}' lacks; leave the "
            "protocol out, or train anew under it"
        )
    if not isinstance(text, str):
        raise InputError(
            f"text: is {text!r}; give minilm, a folder, a hub id or hashed (without text: --model lvit-tw)"
        )
    words = _words(text, text_files, protocol)
    published = protocol == "published"
    shape = Shape(width=width, text=words.width, published=published, side=image_size // STRIDE)
    return Lvit(Network(shape), words, spec, {"text": text, "image_size": image_size, "width": width})


def build_lvit_tw(
    *, image_size: int = 224, width: int = 64, targets: tuple[str, ...] = (), protocol: str = "corrected"
) -> Lvit:
    """LViT without text, a channel for each target (one unnamed where none is given).

    Raises:
        InputError: an unknown protocol, a size that does not suit, a target that is named twice.
    """
    spec = _spec("lvit-tw", image_size, width, _named_once(targets), protocol)
    shape = Shape(width=width, text=None, outputs=len(spec.targets), published=protocol == "published")
    return Lvit(Network(shape), None, spec, {"image_size": image_size, "width": width})


def build_unet(
    *, image_size: int = 224, width: int = 64, targets: tuple[str, ...] = (), protocol: str = "corrected"
) -> Lvit:
    """LViT's U-Net alone, a channel for each target; see `vlseg.models.lvit.unet`.

    Raises:
        InputError: as `build_lvit_tw`.
    """
    spec = _spec(NAME, image_size, width, _named_once(targets), protocol)
    network = UNet(width, len(spec.targets), published=protocol == "published")
    return Lvit(network, None, spec, {"image_size": image_size, "width": width})


def _named_once(targets: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(targets)) != len(targets):
        raise InputError(f"targets: a name is given twice in {', '.join(targets)}; name each once")
    return targets or ("foreground",)


def _spec(name: str, image_size: int, width: int, targets: tuple[str, ...], protocol: str) -> Spec:
    if protocol not in PROTOCOLS:
        raise unknown_name(f"protocol of {name}", protocol, PROTOCOLS)
    if image_size < STRIDE or image_size % STRIDE:
        raise InputError(f"image_size: {image_size} is not a multiple of {STRIDE}; take 224")
    if width < HEADS or width % HEADS:
        raise InputError(f"width: {width} is not a multiple of {HEADS}; take 64")
    return Spec(
        name=name,
        uses_text=name == "lvit",
        image_size=(image_size, image_size),
        targets=targets,
        protocol=protocol,
    )


def _words(text: str, files: str | None, protocol: str) -> Words:
    encoder: Sentences | HashedWords
    if text == "hashed":
        encoder = HashedWords()
    elif files is not None:
        encoder = load_sentences(Path(files), weights=False)
    else:
        encoder = load_sentences(_located(text), weights=True)
    return TenWords(encoder) if protocol == "published" else encoder


def _located(text: str) -> Path:
    short = text in BERT.mirrors and not Path(text).exists()
    try:
        return locate_part(BERT.place if short else text)
    except InputError as error:
        if text in PACKAGED:
            raise
        raise InputError(
            f"text: '{text}' is no folder here, and not to be had from the hub; fetch {', '.join(BERT.files)} of "
            f"{BERT.place} into a folder and give that: --set 'model_arguments={{text: FOLDER}}', or text: minilm"
        ) from error
