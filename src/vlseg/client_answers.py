"""Answers of a server as `vlseg.Client` gives them."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

State = Literal["found", "not_found", "cannot_judge"]


class ServerError(Exception):
    """The server refused or failed.

    Attributes:
        status: of HTTP; 0 where no answer came.
        code: in snake_case.
        message: one line that names the field and the mend.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Familiar:
    """Whether the image is like those of the training: "usual", "unlike" or "unknown"; and why."""

    state: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """The answer to one prompt.

    Attributes:
        state: "found", "not_found" (by this model), or "cannot_judge": the image is unlike the training.
        mask: (H, W) bool, whatever the state.
        hundredths: (H, W) uint8 where asked for: above k where the probability is above k / 100.
        area_px, area_mm2: of the mask; mm2 only where the file has a spacing to be trusted.
        presence: the score in [0, 1] that the named thing is there; a probability only if `presence_calibrated`, which
            was done on `presence_n` validation samples.
        unknown_words: words that training prompts of fewer than five patients had, or none; articles and the like are
            left out; empty where nothing is stored.
        threshold: on probabilities.
    """

    prompt: str
    state: State
    mask: NDArray[np.bool_]
    hundredths: NDArray[np.uint8] | None
    area_px: int
    area_mm2: float | None
    presence: float | None
    presence_calibrated: bool
    presence_n: int | None
    unknown_words: tuple[str, ...]
    threshold: float


@dataclass(frozen=True)
class Answer:
    """Masks of one image, one for each prompt, in order; `digest` says which weights gave them."""

    model: str
    digest: str
    notice: str
    width: int
    height: int
    spacing_mm: tuple[float, float] | None
    familiar: Familiar
    results: tuple[Result, ...]


def _picture(text: str) -> NDArray[Any]:
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as image:
        return np.asarray(image)


def familiar_of(values: Mapping[str, Any]) -> Familiar:
    """From JSON."""
    return Familiar(values["state"], tuple(values["reasons"]))


def answer_of(values: Mapping[str, Any]) -> Answer:
    """From JSON."""
    spacing = values["spacing_mm"]
    return Answer(
        model=values["model"],
        digest=values["digest"],
        notice=values["notice"],
        width=values["width"],
        height=values["height"],
        spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
        familiar=familiar_of(values["familiar"]),
        results=tuple(_result(one) for one in values["results"]),
    )


def _result(values: Mapping[str, Any]) -> Result:
    presence = values["presence"]
    return Result(
        prompt=values["prompt"],
        state=values["state"],
        mask=_picture(values["mask"]).astype(bool),
        hundredths=None if values["probability"] is None else _picture(values["probability"]),
        area_px=values["area_px"],
        area_mm2=values["area_mm2"],
        presence=presence["score"],
        presence_calibrated=presence["calibrated"],
        presence_n=presence["n"],
        unknown_words=tuple(values["unknown_words"]),
        threshold=values["threshold"],
    )
