"""Prompt tuning: learned vectors among the words, among an image's tokens, or among both.

The six ways of TuneVLSeg (Adhikari et al., ACCV 2024, arXiv:2410.05239): CoOp, CoCoOp (Zhou et al. 2022), VPT (Jia et
al. 2022), MaPLe (Khattak et al. 2023), and shared vectors with two projections or with attention among them. Everywhere
`length` is the number of vectors, and `depth` the number of blocks, from the first one on, whose input has vectors of
its own; 1 is the input of the encoder. `std` is the deviation of random ones.
"""

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from vlseg.models.additions.addition import IMAGE_PART, TEXT_PART, Addition
from vlseg.models.additions.arguments import whole_number
from vlseg.models.additions.learned import Attending, Conditioned, Coupled, Learned, Shared
from vlseg.models.additions.places import InImage, InText
from vlseg.models.additions.towers import Tower, Towers, image_tower, text_tower, towers_of
from vlseg.models.portable import untrimmed
from vlseg.models.protocol import Segmenter
from vlseg.records import InputError

LENGTH, DEPTH, STD = 4, 1, 0.02
WORDS = "a photo of a"
"""What the first block's words start as where they are as many as the vectors."""
BOTTLENECK = 64
"""Width inside CoCoOp's and MaPLe's networks, and of the vectors of shared_separate."""


def coop(
    model: Segmenter, *, length: int = LENGTH, depth: int = DEPTH, std: float = STD, words: str | None = None
) -> Addition:
    """CoOp: learned words.

    Args:
        model: with a transformer that reads.
        length, depth, std: see the module.
        words: what those of the first block start as; None = "a photo of a" where that is as many tokens, else random.
    """
    towers, tower = towers_of(model, "coop"), text_tower(model, "coop")
    _check(length, depth, std, [tower], towers)
    learned = Learned(depth, length, tower.width, std, _embedded(model, towers, words, length))
    place = InText(towers, length, learned.at)
    place.enter(tower, depth)
    return Addition({TEXT_PART: learned}, tokenize=place.tokenize, words=place.portable_words)


def cocoop(
    model: Segmenter,
    *,
    length: int = LENGTH,
    depth: int = DEPTH,
    std: float = STD,
    words: str | None = None,
    width: int = BOTTLENECK,
) -> Addition:
    """CoCoOp: learned words with a bias, the same in every block, that a network of `width` makes of each image.

    Args:
        model: with a transformer that reads.
        length, depth, std, words: as `coop`.
        width: inside the network. It sees `Towers.image_vector`, without mean and at deviation 1.
    """
    towers, tower = towers_of(model, "cocoop"), text_tower(model, "cocoop")
    _check(length, depth, std, [tower], towers)
    whole_number("width", width)
    first = _embedded(model, towers, words, length)
    sizes = {"length": length, "width": tower.width, "std": std}
    learned = Conditioned(model, towers, width, first=first, depth=depth, **sizes)
    place = InText(towers, length, learned.at)
    place.enter(tower, depth)
    return Addition(
        {TEXT_PART: learned},
        tokenize=place.tokenize,
        words=lambda words: untrimmed(place.portable_words(words)),  # what is kept of prompts are the tokens themselves
        encode_prompts=learned.encode_prompts,
        decode=learned.decode,
    )


def vpt(model: Segmenter, *, length: int = LENGTH, depth: int = DEPTH, std: float = STD) -> Addition:
    """VPT: learned tokens of the image, without a position, which the decoder does not get."""
    tower = image_tower(model, "vpt")
    _check(length, depth, std, [tower])
    learned = Learned(depth, length, tower.width, std)
    place = InImage(length, learned.at)
    place.enter(tower, depth)
    return Addition({IMAGE_PART: learned}, image=place.leave)


def maple(
    model: Segmenter,
    *,
    length: int = LENGTH,
    depth: int = DEPTH,
    std: float = STD,
    words: str | None = None,
    width: int = BOTTLENECK,
) -> Addition:
    """MaPLe: learned words, and tokens of the image that a network of `width` makes of them; arguments as `cocoop`."""
    text, image, towers = _both(model, "maple", length, depth, std)
    whole_number("width", width)
    first = _embedded(model, towers, words, length)
    learned = Coupled(text.width, image.width, width, depth=depth, first=first, length=length, std=std)
    return _entered(learned, text, image, towers)


def shared_separate(
    model: Segmenter, *, length: int = LENGTH, depth: int = DEPTH, std: float = STD, width: int = BOTTLENECK
) -> Addition:
    """Vectors of `width`, from which words and tokens of the image are two linear maps."""
    text, image, towers = _both(model, "shared_separate", length, depth, std)
    whole_number("width", width)
    learned = Shared(text.width, image.width, depth=depth, length=length, width=width, std=std)
    return _entered(learned, text, image, towers)


def shared_attention(
    model: Segmenter,
    *,
    length: int = LENGTH,
    depth: int = DEPTH,
    std: float = STD,
    heads: int = 16,
    feedforward: int = 1536,
    dropout: float = 0.25,
) -> Addition:
    """Vectors that attend to each other before they part into words and tokens of the image."""
    text, image, towers = _both(model, "shared_attention", length, depth, std)
    whole_number("heads", heads)
    whole_number("feedforward", feedforward)
    if (text.width + image.width) % heads:
        raise InputError(f"regime_arguments: heads is {heads}, which does not divide {text.width + image.width}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise InputError(f"regime_arguments: dropout is {dropout!r}; give a number from 0 to below 1")
    learned = Attending(
        *(text.width, image.width),
        heads=heads,
        feedforward=feedforward,
        dropout=float(dropout),
        depth=depth,
        length=length,
        std=std,
    )
    return _entered(learned, text, image, towers)


def _both(model: Segmenter, regime: str, length: int, depth: int, std: float) -> tuple[Tower, Tower, Towers]:
    text, image, towers = text_tower(model, regime), image_tower(model, regime), towers_of(model, regime)
    _check(length, depth, std, [text, image], towers)
    return text, image, towers


def _entered(learned: Coupled | Shared | Attending, text: Tower, image: Tower, towers: Towers) -> Addition:
    """The vectors in both encoders."""
    depth, length = learned.vectors.shape[:2]
    words, tokens = InText(towers, length, learned.at), InImage(length, learned.image_at)
    words.enter(text, depth)
    tokens.enter(image, depth)
    return Addition({IMAGE_PART: learned}, tokenize=words.tokenize, words=words.portable_words, image=tokens.leave)


@torch.no_grad()
def _embedded(model: Segmenter, towers: Towers, words: str | None, length: int) -> Tensor | None:
    """The embeddings (length, width) of words; None where None were told and the usual ones are not as many."""
    if words is not None and not isinstance(words, str):
        raise InputError(f"regime_arguments: words is {words!r}; give them in quotes")
    tokens = model.tokenize([WORDS if words is None else words])
    assert tokens is not None  # of a text tower
    ids, mask = tokens.tensors[towers.ids][0], tokens.tensors[towers.mask][0]
    inner = ids[1 : int(mask.sum()) - 1]
    if len(inner) != length:
        if words is None:
            return None
        raise InputError(
            f"regime_arguments: words '{words}' are {len(inner)} tokens, length is {length}; make them one"
        )
    embedding = towers.token_embedding
    assert embedding is not None  # as above
    result: Tensor = embedding(inner.to(next(embedding.parameters()).device))
    return result


def _check(length: int, depth: int, std: float, towers: Sequence[Tower], text: Towers | None = None) -> None:
    """Refuse what a model has no room for."""
    whole_number("length", length)
    whole_number("depth", depth)
    blocks = min(len(tower.blocks) for tower in towers)
    if depth > blocks:
        raise InputError(f"regime_arguments: depth is {depth}; of this model 1 to {blocks} blocks can have vectors")
    if text is not None and length > text.context - 3:  # first token, one word, last token
        raise InputError(f"regime_arguments: length is {length}; this model reads {text.context} tokens: give fewer")
    if isinstance(std, bool) or not isinstance(std, int | float) or not 0 < std < inf:
        raise InputError(f"regime_arguments: std is {std!r}; give a number above 0")
