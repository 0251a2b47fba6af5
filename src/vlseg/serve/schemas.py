"""What requests and answers hold, as the OpenAPI description has them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from vlseg.serve.pictures import NOTICE

MASK = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACAQAAAABazTCJAAAADElEQVR4nGNoYHAAAAHEAMGYZjUWAAAAAElFTkSuQmCC"
GREY = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4nGOIEmHkCgYAAoIAzfq6FDQAAAAASUVORK5CYII="
Threshold = Annotated[float, Field(ge=0, le=1, description="On probabilities: the mask is where they are above it.")]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$", examples=["#0072b2"])]
Name = Annotated[str, Field(max_length=200, description="One of GET /v1/models; default: the first.")]
UNKNOWN_WORDS = (
    "Words of the prompt that training prompts of fewer than five patients had, or none; articles and the like are "
    "left out; empty where nothing is stored."
)
MOST_FIELDS = 32
"""Of a JSON object that is sent; none has a third of it."""
_FAMILIAR: dict[str, Any] = {"state": "usual", "reasons": []}
_RESULT: dict[str, Any] = {
    "prompt": "polyp",
    "state": "found",
    "area_px": 2,
    "area_mm2": 0.08,
    "presence": {"score": 0.93, "calibrated": True, "n": 80},
    "unknown_words": [],
    "threshold": 0.5,
    "mask": MASK,
    "probability": GREY,
}


def _shown(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class Body(BaseModel):
    """A JSON body: fields that it does not know are refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, values: Any) -> Any:
        # An error for each of a million unknown fields takes gigabytes; so lists of texts stop at the first.
        if isinstance(values, dict) and len(values) > MOST_FIELDS:
            raise PydanticCustomError("too_many_fields", "Has over {most} fields; see /docs", {"most": MOST_FIELDS})
        return values


class Error(BaseModel):
    """What went wrong, and how to mend it."""

    code: str = Field(description="In snake_case, for programs.", examples=["too_many_pixels"])
    message: str = Field(description="One line that names the field and the mend.")


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    model_config = _shown({"error": {"code": "prompt_empty", "message": "prompt 1: is empty; type what to segment"}})

    error: Error


class Familiar(BaseModel):
    """Whether the image is like those that the model was trained on; unknown: it has nothing stored to judge by."""

    state: Literal["usual", "unlike", "unknown"]
    reasons: list[str] = Field(description="One line each.")


class Presence(BaseModel):
    """How sure the model is that the named thing is there."""

    score: float | None = Field(description="0 to 1; a probability only where calibrated.")
    calibrated: bool = Field(
        description="Whether it was fitted on validation samples; never where the state is cannot_judge."
    )
    n: int | None = Field(description="On how many.")


class Result(BaseModel):
    """The answer to one prompt."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RESULT]})

    prompt: str
    state: Literal["found", "not_found", "cannot_judge"] = Field(
        description="not_found: by this model. cannot_judge: the image is unlike the training; the mask comes all the "
        "same."
    )
    area_px: int
    area_mm2: float | None = Field(description="Only where the image's file has a spacing to be trusted.")
    presence: Presence
    unknown_words: list[str] = Field(description=UNKNOWN_WORDS)
    threshold: float
    mask: str = Field(description="PNG of 1 bit at the image's size, in base64.")
    probability: str | None = Field(
        description="PNG of 8 bits, in base64: 100 p rounded up. A value above k is a probability above k / 100."
    )


class Answer(BaseModel):
    """Masks of one image, one for each prompt, in order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "polyp-run",
                    "digest": "0f3c9ab51c2d7e64",
                    "notice": NOTICE,
                    "width": 2,
                    "height": 2,
                    "spacing_mm": [0.2, 0.2],
                    "familiar": _FAMILIAR,
                    "results": [_RESULT],
                }
            ]
        }
    )

    model: str
    digest: str = Field(description="Of the model's specification and weights.")
    notice: str = Field(examples=[NOTICE])
    width: int
    height: int
    spacing_mm: tuple[float, float] | None = Field(description="(y, x).")
    familiar: Familiar
    results: list[Result]


class SegmentForm(Body):
    """The fields of a form beside its image."""

    prompts: Annotated[list[str], FailFast()] = Field(
        min_length=1, description="What to segment; give the field again for more.", examples=[["polyp", "small polyp"]]
    )
    model: Name | None = None
    threshold: Threshold | None = None
    probability: bool = Field(False, description="Whether the probabilities are wanted.")


class UploadForm(Body):
    """The fields of a form beside its image."""

    model: Name | None = None


class SegmentAsk(Body):
    """Prompts about a stored image."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"prompts": ["polyp", "small polyp"], "probability": True}]}
    )

    prompts: Annotated[list[str], FailFast()] = Field(
        min_length=1, description="Sentences; names of targets for models that read no text."
    )
    model: Name | None = None
    threshold: Threshold | None = None
    probability: bool = Field(False, description="Whether the probabilities are wanted.")


class ImageInfo(BaseModel):
    """A stored image."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "yd0mYw0hTkiXkqzGwYV2kw",
                    "width": 640,
                    "height": 480,
                    "expires_in_s": 900,
                    "familiar": _FAMILIAR,
                }
            ]
        }
    )

    id: str = Field(description="Of this session alone.")
    width: int
    height: int
    expires_in_s: float = Field(description="It is dropped when nobody asks for it in this time.")
    familiar: Familiar


class ModelPresence(BaseModel):
    """Whether presence scores are calibrated, and on how many validation samples."""

    calibrated: bool
    n: int | None


class Model(BaseModel):
    """A model of this server."""

    name: str
    default: bool
    reads_text: bool = Field(description="False: prompts are names of its targets.")
    targets: list[str]
    image_size: tuple[int, int] = Field(description="(h, w) of the network's input; images may have any size.")
    threshold: float
    presence: ModelPresence
    licence: str | None


class Models(BaseModel):
    """The models of this server."""

    model_config = _shown(
        {
            "models": [
                {
                    "name": "polyp-run",
                    "default": True,
                    "reads_text": True,
                    "targets": ["polyp"],
                    "image_size": [160, 160],
                    "threshold": 0.5,
                    "presence": {"calibrated": True, "n": 80},
                    "licence": "Apache-2.0",
                }
            ]
        }
    )

    models: list[Model]


class Words(BaseModel):
    """What the training prompts had; empty where the model has nothing stored."""

    model_config = _shown({"words": ["polyp", "small"], "prompts": ["polyp", "small polyp"]})

    words: list[str]
    prompts: list[str]


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"


class ExportItem(Body):
    """A mask to be exported."""

    prompt: str = Field(max_length=2000)
    mask: str = Field(description="PNG of 1 bit, or of 8 with 0 and 255, at the image's size, in base64.")
    colour: Colour = "#00bcd4"
    threshold: Threshold | None = None
    edited: bool = Field(False, description="Whether a person changed it.")


class ExportAsk(Body):
    """What to export of a stored image."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"what": "coco", "items": [{"prompt": "polyp", "mask": MASK, "colour": "#0072b2"}]}]
        },
    )

    what: Literal["masks", "coco", "overlay", "session"]
    items: Annotated[list[ExportItem], FailFast(), Field(min_length=1, max_length=64)]


class CorrectionItem(Body):
    """A mask that a person takes for the truth."""

    prompt: str = Field(max_length=2000)
    target: str = Field(min_length=1, max_length=200, description="The structure's name.", examples=["polyp"])
    mask: str = Field(description="PNG of 1 bit, or of 8 with 0 and 255, at the image's size, in base64.")


class CorrectionAsk(Body):
    """Corrected masks of a stored image."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "image_id": "yd0mYw0hTkiXkqzGwYV2kw",
                    "items": [{"prompt": "polyp", "target": "polyp", "mask": MASK}],
                    "patient": "unknown",
                }
            ]
        },
    )

    image_id: str = Field(max_length=200)
    items: Annotated[list[CorrectionItem], FailFast(), Field(min_length=1, max_length=64)]
    patient: str = Field(
        "unknown",
        min_length=1,
        max_length=200,
        description="A pseudonym: images of one patient stay in one split. 'unknown' where it is not known.",
    )


class Corrected(BaseModel):
    """What was kept."""

    model_config = _shown({"sample_ids": ["0f3c9ab51c2d7e64a1b2c3d4__polyp-5e884898"], "dataset": "data/corrected"})

    sample_ids: list[str]
    dataset: str = Field(description="The folder on the server.")
