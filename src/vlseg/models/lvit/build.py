"""LViT with random weights, on a frozen text encoder, or from a checkpoint of the authors' code."""

import math
from pathlib import Path

from torch import Tensor

from vlseg.models.folder import load_strictly, note_protocol
from vlseg.models.guide.text import HashedWords, Sentences, load_sentences
from vlseg.models.hub import locate_part
from vlseg.models.lvit import BERT, FILES
from vlseg.models.lvit.model import Lvit, Words
from vlseg.models.lvit.network import PATCHES, Network, Shape
from vlseg.models.lvit.pieces import HEADS, TABLE
from vlseg.models.lvit.text import TenWords
from vlseg.models.packaged import PACKAGED
from vlseg.models.protocol import Spec
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError, unknown_name

STRIDE = PATCHES[0]
PROTOCOLS = ("corrected", "published")
TOWER = "downVit.embeddings.position_embeddings"
"""A name that LViT surely has, by which a file is recognised."""


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
    if len(set(targets)) != len(targets):
        raise InputError(f"targets: a name is given twice in {', '.join(targets)}; name each once")
    spec = _spec("lvit-tw", image_size, width, targets or ("foreground",), protocol)
    shape = Shape(width=width, text=None, outputs=len(spec.targets), published=protocol == "published")
    return Lvit(Network(shape), None, spec, {"image_size": image_size, "width": width})


def load_lvit(
    path: Path, *, protocol: str | None = None, text: str | None = None, image_size: int | None = None
) -> Lvit:
    """LViT from a checkpoint of the authors' code, or a folder that holds one; `published` unless said otherwise.

    It holds no text encoder: `text` names one, BERT's published one unless given. Under `corrected` the layer that
    reads words is another one and starts random, and the tensors that nothing reads are left behind.

    Raises:
        InputError: no LViT, weights that do not fit, or a text encoder that is not there or of another width.
    """
    file = find_weights(path, FILES) if path.is_dir() else path
    found = network_in(read_tensors(file), (TOWER,), str(file))
    if found is None:
        raise InputError(f"{file}: holds no LViT (no {TOWER}); give a checkpoint of its authors' code")
    shape, source = _shape(found.tensors, file), text or BERT.place
    side, chosen = image_size or shape.side * STRIDE, protocol or "published"
    model = build_lvit(text=source, image_size=side, width=shape.width, protocol=chosen)
    if model.network.shape.text != shape.text:
        raise InputError(
            f"{file}: reads vectors of {shape.text} a word, and those of text '{source}' have "
            f"{model.network.shape.text}: --set 'model_arguments={{text: FOLDER}}' with the encoder it was trained with"
        )
    note_protocol("published", chosen, str(path))
    if chosen == "published":
        load_strictly(model.network, found.tensors, str(file))
        return model
    if shape.side != TABLE:
        raise InputError(
            f"{file}: is made for images of {shape.side * STRIDE}; under protocol 'corrected' start from one for "
            f"{TABLE * STRIDE}, or leave the protocol out"
        )
    whole = Network(shape)
    load_strictly(whole, found.tensors, str(file))
    theirs = whole.state_dict()
    model.network.load_state_dict({name: theirs.get(name, own) for name, own in model.network.state_dict().items()})
    model.random_part = "reader of words"
    return model


def _spec(name: str, image_size: int, width: int, targets: tuple[str, ...], protocol: str) -> Spec:
    if protocol not in PROTOCOLS:
        raise unknown_name(f"protocol of {name}", protocol, PROTOCOLS)
    if image_size < STRIDE or image_size % STRIDE:
        raise InputError(f"image_size: {image_size} is not a multiple of {STRIDE}; take 224")
    if width < HEADS or width % HEADS:
        raise InputError(f"width: {width} is not a multiple of {HEADS}; take 64")
    reads = name == "lvit"
    return Spec(
        name=name,
        uses_text=reads,
        image_size=(image_size, image_size),
        targets=targets,
        protocol=protocol,
        image_features_depend_on_text=reads,
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


def _shape(tensors: dict[str, Tensor], file: Path) -> Shape:
    """Of a checkpoint, off its tensors."""
    names = ("inc.conv.weight", "text_module4.weight", TOWER)
    lacking = [name for name in names if name not in tensors]
    if lacking:
        raise InputError(f"{file}: lacks {', '.join(lacking)} of LViT; give a checkpoint of its authors' code")
    first, text, table = (tensors[name].shape for name in names)
    if len(first) != 4 or len(text) != 3 or len(table) != 3:
        raise InputError(
            f"{file}: its {', '.join(names)} are not shaped as LViT's; give a checkpoint of its authors' code"
        )
    return Shape(width=first[0], text=text[1], published=True, side=math.isqrt(table[1]))
