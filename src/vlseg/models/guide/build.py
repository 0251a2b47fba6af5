"""guide with a random decoder, on encoders that are random or were trained elsewhere."""

from pathlib import Path

from vlseg.models.guide.image import STRIDES, Pyramid, fill_pyramid, try_size
from vlseg.models.guide.model import Guide, Words
from vlseg.models.guide.text import FILES, HashedWords, load_sentences
from vlseg.models.guide.twins import Nothing, TargetTokens
from vlseg.models.hub import locate_part
from vlseg.models.lite0 import read_lite0
from vlseg.models.packaged import LITE0
from vlseg.models.protocol import Spec
from vlseg.models.tensors import find_weights
from vlseg.records import InputError, unknown_name

LITE0_ENCODER = "tf_efficientnet_lite0"


def build_guide(
    *,
    encoder: str = LITE0_ENCODER,
    encoder_weights: str | None = None,
    text: str = "hashed",
    text_files: str | None = None,
    image_size: int = 224,
    trainable_stages: int = len(STRIDES),
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> Guide:
    """guide; what is not read from files comes from torch's global generator.

    Args:
        encoder: any image pyramid of timm's; images are normalised as its published weights want it.
        encoder_weights: of timm's whole network of that name: a name vlseg knows, a file, a folder or a hub id;
            None = random.
        text: the text encoder: a name vlseg knows, a folder or hub id in transformers' layout with its weights, or
            BiomedCLIP's in open_clip's; "hashed" = words learned from scratch; "none" = the image-only twin; "target" =
            the twin that is told the target.
        text_files: a saved model's folder of the text encoder's configuration and tokenizer, instead of reading `text`.
        image_size: side of the square input, a multiple of 32.
        trainable_stages: how many of the pyramid's maps, from the coarsest, train with the image encoder (0 to 4).
        targets: of the twins: a channel, or a token, for each.
        protocol: "corrected".

    Raises:
        InputError: an unknown encoder or protocol, a size that does not suit, weights that are not there or do not fit.
    """
    if protocol != "corrected":
        raise unknown_name("protocol of guide", protocol, ["corrected"])
    if image_size < STRIDES[-1] or image_size % STRIDES[-1]:
        raise InputError(f"image_size: {image_size} is not a multiple of {STRIDES[-1]}; take 224")
    if isinstance(trainable_stages, bool) or trainable_stages not in range(len(STRIDES) + 1):
        raise InputError(f"trainable_stages: {trainable_stages} is not 0 to {len(STRIDES)}; take 2")
    if not isinstance(text, str):
        raise InputError(f"text: is {text!r}; give minilm, a folder, hashed, none (a twin told nothing) or target")
    if len(set(targets)) != len(targets):
        raise InputError(f"targets: a name is given twice in {', '.join(targets)}; name each once")
    pyramid = Pyramid(encoder)
    try_size(pyramid, image_size)
    if encoder_weights is not None:
        _fill(pyramid, encoder_weights)
    words = _words(text, text_files, targets or ("foreground",))
    spec = Spec(
        name="guide",
        uses_text=words.uses_text,
        uses_target=words.uses_target,
        image_size=(image_size, image_size),
        targets=targets if words.uses_text else targets or ("foreground",),
        protocol=protocol,
    )
    arguments = {"encoder": encoder, "text": text, "image_size": image_size, "trainable_stages": trainable_stages}
    return Guide(pyramid, words, spec, trainable_stages, arguments)


def _words(text: str, files: str | None, targets: tuple[str, ...]) -> Words:
    if text == "hashed":
        return HashedWords()
    if text == "none":
        return Nothing()
    if text == "target":
        return TargetTokens(targets)
    if files is not None:
        return load_sentences(Path(files), weights=False)
    return load_sentences(locate_part(text), weights=True)


def _fill(pyramid: Pyramid, weights: str) -> None:
    if weights == LITE0.place and pyramid.name != LITE0_ENCODER:
        raise InputError(
            f"encoder_weights: '{weights}' are those of {LITE0_ENCODER}, not of '{pyramid.name}'; give a file with its "
            "tensors, or null for random ones"
        )
    place = locate_part(weights)
    file = find_weights(place, FILES) if place.is_dir() else place
    fill_pyramid(pyramid, read_lite0(file), str(file))
