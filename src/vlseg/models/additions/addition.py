"""What a regime puts into a model, and what it changes of the model's steps."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlseg.models.protocol import ImageFeatures, Output, PromptFeatures, Segmenter, Tokens

IMAGE_PART, TEXT_PART, DECODER_PART = "image_additions", "text_additions", "decoder_additions"
"""Parts that additions are listed under, by what they work inside of. What serves both encoders is the image's."""
PARTS = (IMAGE_PART, TEXT_PART, DECODER_PART)


@dataclass(frozen=True)
class Addition:
    """Modules that were put into a model, by hooks or in the place of its own, and steps that are other ones now.

    Attributes:
        modules: what trains, by part (`PARTS`).
        inside: they are already members of the model's own modules (LoRA); otherwise hooks of these call them.
        apart: of what is inside: while it lasts the model is as it was.
        tokenize: of the tokens that the model's own tokenizer gives.
        words: the same, of `Portable.words`, for those who run the model elsewhere.
        image: of the features that the model's own image encoder gives.
        encode_prompts: instead of the model's own.
        decode: instead of the model's own.
        merge: puts what was added into the model's own weights and takes it out; None where that is not exact.
        write: the stored weights by name into a folder, in a layout that others read; None: `added.safetensors`.
        read: what `write` wrote.
    """

    modules: Mapping[str, nn.Module]
    inside: bool = False
    apart: Callable[[], AbstractContextManager[None]] = nullcontext
    tokenize: Callable[[Tokens], Tokens] | None = None
    words: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    image: Callable[[ImageFeatures], ImageFeatures] | None = None
    encode_prompts: Callable[[Tokens], PromptFeatures] | None = None
    decode: Callable[[ImageFeatures, PromptFeatures], Output] | None = None
    merge: Callable[[], Segmenter] | None = None
    write: Callable[[Path, Mapping[str, Tensor]], None] | None = None
    read: Callable[[Path], Mapping[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.modules) - set(PARTS):
            raise ValueError(f"{unknown}: additions lie in {', '.join(PARTS)}")
        if (self.tokenize is None) != (self.words is None):
            raise ValueError("an addition that changes the tokens says how, in `words`")
