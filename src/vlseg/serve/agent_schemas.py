"""What the tools of `vlseg mcp` take and give."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from vlseg.serve.schemas import UNKNOWN_WORDS, Body, Familiar, Model, Name, Presence, Threshold

IMAGE = "Path of an image file below a folder that this server may read (see list_models)."
CONTENT = "Instead of a path: the file's content in base64; a data: URL will do."


def _listed(value: Any) -> Any:
    """Some clients send a list as a text of JSON, or one prompt as a text."""
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return [value]
    return found if isinstance(found, list) else [value]


Texts = Annotated[list[str], BeforeValidator(_listed)]


class SegmentArguments(Body):
    """Of segment."""

    prompts: Annotated[
        Texts, Field(min_length=1, description="What to segment, a mask each; names of targets where reads_text is no.")
    ]
    image: Annotated[str | None, Field(description=IMAGE)] = None
    image_base64: Annotated[str | None, Field(description=CONTENT)] = None
    model: Annotated[str | None, Field(max_length=200, description="One of list_models; default: the first.")] = None
    threshold: Threshold | None = None
    show_masks: Annotated[bool, Field(description="Whether the masks come as PNG pictures in the answer.")] = True
    write_masks: Annotated[bool, Field(description="Whether they are written into the server's --out folder.")] = False


class ProbeArguments(Body):
    """Of probe."""

    prompt: Annotated[str, Field(description="What is asked for.")]
    image: Annotated[str | None, Field(description=IMAGE)] = None
    image_base64: Annotated[str | None, Field(description=CONTENT)] = None
    others: Annotated[
        Texts,
        Field(
            default_factory=list,
            max_length=8,
            description="Further things to ask for, e.g. other structures in the image.",
        ),
    ]
    model: Name | None = None
    threshold: Threshold | None = None


class ListArguments(Body):
    """Of list_models: none."""


class MaskFound(BaseModel):
    """The answer to one prompt."""

    prompt: str
    state: Literal["found", "not_found", "cannot_judge"] = Field(
        description="not_found: by this model. cannot_judge: the image is unlike the training; do not rely on the mask."
    )
    area_px: int
    area_mm2: float | None = Field(description="Only where the image's file has a spacing to be trusted.")
    box: tuple[int, int, int, int] | None = Field(
        description="left, top, right, bottom of the mask in pixels, the last two beyond it; null for an empty mask."
    )
    presence: Presence
    unknown_words: list[str] = Field(description=UNKNOWN_WORDS)
    threshold: float
    picture: int | None = Field(description="Which picture of this answer is the mask, from 0.")
    file: str | None = Field(description="Where the mask was written: PNG of 1 bit at the image's size.")


class Segmented(BaseModel):
    """Of segment."""

    notice: str
    model: str
    digest: str = Field(description="Of the model's specification and weights.")
    width: int
    height: int
    familiar: Familiar
    results: list[MaskFound]


class ModelTold(Model):
    """A model of this server, with some prompts of its training."""

    prompts: list[str] = Field(description="Most frequent prompts of its training; empty where they are not known.")


class ModelsTold(BaseModel):
    """Of list_models."""

    notice: str
    models: list[ModelTold]
    readable: list[str] = Field(description="Folders that image paths may lie in.")
    written: str | None = Field(description="Folder that write_masks writes into; null where nothing may be written.")


class Asked(BaseModel):
    """The prompt in other words, or another one, and what its mask has in common with the own prompt's."""

    how: str
    means: Literal["the same", "something else", "nothing", "given"] = Field(
        description="What these words mean beside the prompt's; given: whoever asked knows."
    )
    prompt: str
    area_px: int
    presence: float | None = Field(description="The model's raw score.")
    dice_with_own: float | None = Field(description="1: the same mask. null where both masks are empty.")
    changed_px: int = Field(description="Pixels in which the two masks differ.")


class OnThisImage(BaseModel):
    """How the answer changes with the words, on one image."""

    what: str
    prompt: str
    area_px: int
    familiar: Familiar
    asked: list[Asked]
    says: str


class StoredProbe(BaseModel):
    """A result of `vlseg probe` that lies with the run."""

    what: str
    says: str
    dataset: str
    split: str
    prompt: str = Field(description="The name of the prompts that were asked.")
    same_weights: bool = Field(description="Whether it is of the weights that this server has.")
    selection_index: dict[str, Any]
    chose_none: dict[str, Any]
    presence_index: dict[str, Any]
    folder: str


class Probed(BaseModel):
    """Of probe: two different things, one on this image and one on a test split."""

    notice: str
    model: str
    digest: str
    on_this_image: OnThisImage
    on_a_test_split: list[StoredProbe]
    no_test_split: str | None = Field(description="Why there is none.")
