"""LViT from checkpoints of its authors' code, and a training of it from a U-Net's weights."""

import math
from pathlib import Path

from torch import Tensor

from vlseg.models.folder import load_strictly, note_protocol, unnamed_targets
from vlseg.models.lvit import BERT, FILES
from vlseg.models.lvit.build import STRIDE, build_lvit, build_lvit_tw, build_unet
from vlseg.models.lvit.model import Lvit
from vlseg.models.lvit.network import Network, Shape
from vlseg.models.lvit.pieces import TABLE
from vlseg.models.lvit.start import NAME, Trained, published_unet, saved_unet, start_from
from vlseg.models.packaged import MINILM
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError

TOWER = "downVit.embeddings.position_embeddings"
"""A name that LViT surely has, by which a file is recognised."""


def load_lvit(
    path: Path,
    *,
    protocol: str | None = None,
    text: str | None = None,
    image_size: int | None = None,
    width: int | None = None,
) -> Lvit:
    """LViT from a checkpoint of the authors' code, or a folder that holds one; `published` unless said otherwise.

    It holds no text encoder: `text` names one, BERT's published one unless given. Under `corrected` the layer that
    reads words is another one and starts random, and the tensors that nothing reads are left behind.

    A run's folder or a checkpoint that holds the U-Net alone starts a training of LViT under the U-Net's protocol;
    words are then those of the protocol's recipe unless `text` is given.

    Raises:
        InputError: no LViT, weights that do not fit, or a text encoder that is not there or of another width.
    """
    unet = saved_unet(path) if path.is_dir() else None
    if unet is None:
        file = find_weights(path, FILES) if path.is_dir() else path
        tensors = read_tensors(file)
        found = network_in(tensors, (TOWER,), str(file))
        if found is not None:
            return _whole(found.tensors, file, protocol, text, image_size, width)
        unet = published_unet(file, tensors)
    if unet is None:
        raise InputError(f"{file}: holds no LViT (no {TOWER}); give a checkpoint of its authors' code")
    chosen = protocol or unet.protocol
    own = BERT.place if chosen == "published" else MINILM.place
    side = image_size or unet.image_size
    _check_width(width, unet.width, path)
    model = build_lvit(text=text or own, image_size=side, width=unet.width, protocol=chosen)
    start_from(unet, model, str(path))
    return model


def load_lvit_tw(
    path: Path, *, protocol: str | None = None, image_size: int | None = None, width: int | None = None
) -> Lvit:
    """LViT without text from a U-Net's weights, to start a training; nobody published LViT without text.

    Raises:
        InputError: no U-Net of LViT's, weights that do not fit, or another protocol.
    """
    unet = _unet(path)
    _check_width(width, unet.width, path)
    side, chosen = image_size or unet.image_size, protocol or unet.protocol
    model = build_lvit_tw(image_size=side, width=unet.width, targets=_targets(unet), protocol=chosen)
    start_from(unet, model, str(path))
    return model


def load_unet(
    path: Path, *, protocol: str | None = None, image_size: int | None = None, targets: tuple[str, ...] = ()
) -> Lvit:
    """The U-Net of a checkpoint of the authors' code, `published`; `targets` are those of its channels.

    Raises:
        InputError: no such checkpoint, weights that do not fit, or another protocol, whose layers are others.
    """
    unet = _unet(path)
    if protocol not in (None, unet.protocol):
        raise InputError(f"{path}: is '{unet.protocol}', whose layers '{protocol}' lacks; leave the protocol out")
    named = tuple(targets) or _targets(unet)
    if len(named) != unet.outputs:
        raise InputError(f"{path}: has {unet.outputs} outputs, and targets names {len(named)}; name one for each")
    side = image_size or unet.image_size
    model = build_unet(image_size=side, width=unet.width, targets=named, protocol=unet.protocol)
    load_strictly(model.network, unet.network.state_dict(), str(path))
    return model


def _unet(path: Path) -> Trained:
    unet = saved_unet(path) if path.is_dir() else None
    if unet is None:
        file = find_weights(path, FILES) if path.is_dir() else path
        unet = published_unet(file, read_tensors(file))
    if unet is None:
        raise InputError(
            f"{path}: holds no U-Net of LViT's; give a run of {NAME}, or a checkpoint of the authors' code"
        )
    return unet


def _targets(unet: Trained) -> tuple[str, ...]:
    return unet.targets or unnamed_targets(unet.outputs)


def _check_width(asked: int | None, width: int, where: Path) -> None:
    if asked not in (None, width):
        raise InputError(f"width: the weights in {where} are of width {width}, not {asked}; leave it out")


def _whole(
    tensors: dict[str, Tensor],
    file: Path,
    protocol: str | None,
    text: str | None,
    image_size: int | None,
    width: int | None,
) -> Lvit:
    """All of LViT, from a checkpoint's tensors."""
    shape, source = _shape(tensors, file), text or BERT.place
    side, chosen = image_size or shape.side * STRIDE, protocol or "published"
    _check_width(width, shape.width, file)
    model = build_lvit(text=source, image_size=side, width=shape.width, protocol=chosen)
    network = model.network
    assert isinstance(network, Network)
    if network.shape.text != shape.text:
        raise InputError(
            f"{file}: reads vectors of {shape.text} a word, and those of text '{source}' have "
            f"{network.shape.text}: --set 'model_arguments={{text: FOLDER}}' with the encoder it was trained with"
        )
    note_protocol("published", chosen, str(file))
    if chosen == "published":
        load_strictly(network, tensors, str(file))
        return model
    if shape.side != TABLE:
        raise InputError(
            f"{file}: is made for images of {shape.side * STRIDE}; under protocol 'corrected' start from one for "
            f"{TABLE * STRIDE}, or leave the protocol out"
        )
    whole = Network(shape)
    load_strictly(whole, tensors, str(file))
    theirs = whole.state_dict()
    network.load_state_dict({name: theirs.get(name, own) for name, own in network.state_dict().items()})
    model.random_part = "reader of words"
    return model


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
