"""A model's encoders as additions see them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from vlseg.models.protocol import ImageFeatures, Segmenter
from vlseg.records import InputError


@dataclass(frozen=True)
class Tower:
    """A transformer encoder.

    Attributes:
        blocks: in their order, those that reach the mask and no others. The first thing that each takes and gives
            (alone or first of a tuple) is the hidden state.
        attentions, mlps: of each block; what they give (alone or first of a tuple) is added to the hidden state.
        width: of the hidden state.
        entry: what the sequence, its positions with it, goes into before the first block; None = that block.
        batch_first: hidden states are (B, L, width); otherwise (L, B, width).
    """

    blocks: Sequence[nn.Module]
    attentions: Sequence[nn.Module]
    mlps: Sequence[nn.Module]
    width: int
    batch_first: bool = True
    entry: nn.Module | None = None


def class_token(image: ImageFeatures) -> Tensor:
    """The first token behind the last tapped block, (B, width), of features that are taps (B, taps, tokens, width)."""
    return image.tensors["taps"][:, -1, 0]


@dataclass(frozen=True)
class Towers:
    """Both encoders of a model.

    Attributes:
        image: None where it is no transformer.
        text: None where it is none.
        taps: the image tower's blocks, counted from 0, whose outputs the decoder gets.
        token_embedding: of the text tower: (B, L) ids to (B, L, width).
        ids, mask: names of the token ids, and of the mask of those that count, in the model's `Tokens`.
        filler: an id that stands for a learned vector: an ordinary word's, before which and after which nothing ends.
        context: how many tokens a sentence may have, the first and the last one with it.
        sentence_width: of the vector of a sentence that the decoder gets.
        projection: gives that vector, from the text tower's state.
        image_vector: one vector (B, width) of each image, from its features.
        image_vector_width: its width; 0 = the image tower's.
        sentence_at_end: that state is the end-of-text token's, whose id is the highest; otherwise the first token's.
    """

    image: Tower | None = None
    text: Tower | None = None
    taps: tuple[int, ...] = ()
    token_embedding: nn.Module | None = None
    ids: str = "input_ids"
    mask: str = "attention_mask"
    filler: int = 0
    context: int = 0
    sentence_width: int = 0
    projection: nn.Module | None = None
    image_vector: Callable[[ImageFeatures], Tensor] = class_token
    image_vector_width: int = 0
    sentence_at_end: bool = True


@runtime_checkable
class HasTowers(Protocol):
    """A segmenter whose encoders additions can be put into."""

    def towers(self) -> Towers:
        """Its encoders."""
        ...


def towers_of(model: Segmenter, regime: str) -> Towers:
    """A model's encoders.

    Raises:
        InputError: none that additions can be put into, or the protocol lets no gradient into them.
    """
    if not isinstance(model, HasTowers):
        raise _not_for(model, regime, "no encoder of it is a transformer that additions know")
    return model.towers()


def image_tower(model: Segmenter, regime: str) -> Tower:
    """A model's image encoder.

    Raises:
        InputError: it is no transformer.
    """
    if (tower := towers_of(model, regime).image) is None:
        if model.spec.protocol == "published":
            raise InputError(
                f"regime: '{regime}' is not for '{model.spec.name}' under protocol 'published', in which no gradient "
                "reaches its image encoder; take --set protocol=corrected, coop, cocoop or decoder"
            )
        raise _not_for(model, regime, "its image encoder is no transformer")
    return tower


def text_tower(model: Segmenter, regime: str) -> Tower:
    """A model's text encoder.

    Raises:
        InputError: it is no transformer.
    """
    if (tower := towers_of(model, regime).text) is None:
        raise _not_for(model, regime, "its text encoder is no transformer")
    return tower


def _not_for(model: Segmenter, regime: str, why: str) -> InputError:
    return InputError(f"regime: '{regime}' is not for '{model.spec.name}': {why}; take lora, decoder or another model")
