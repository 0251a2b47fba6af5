"""What the routes share: the models, the images, and how prompts are answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import Depends, Request

from vlseg.evaluation import Predictor
from vlseg.evaluation.judging import state_of
from vlseg.evaluation.predict import check_prompts as check_targets
from vlseg.records import InputError
from vlseg.serve import schemas
from vlseg.serve.asked import check_prompts
from vlseg.serve.engine import Encoded, Engine, Familiar, Found, Known
from vlseg.serve.gate import Crowd
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.metrics import Metrics
from vlseg.serve.pictures import NOTICE, as_text, grey_png, mask_png
from vlseg.serve.store import Store, Stored
from vlseg.serve.uploads import Upload, read_upload

T = TypeVar("T")
ANSWER_PIXELS = 256_000_000
"""Of all masks of one request: what it may make the server keep at once."""


@dataclass(frozen=True)
class Serving:
    """One server.

    Attributes:
        engines: by model name; the first is the default.
        helpers: threads for what is no model's work: decoding, encoding, files.
        corrections: the dataset's folder, or None where none are taken.
        licences: of models by name, where known.
    """

    engines: Mapping[str, Engine]
    store: Store
    limits: Limits
    crowd: Crowd
    metrics: Metrics
    helpers: ThreadPoolExecutor
    corrections: Path | None
    licences: Mapping[str, str]

    async def aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of `work` on a helper's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.helpers, partial(work, *arguments))

    def engine(self, name: str | None) -> tuple[str, Engine]:
        """The model of that name, or the default.

        Raises:
            Refused: no such model here.
        """
        name = next(iter(self.engines)) if name is None else name
        if name not in self.engines:
            raise Refused(422, "unknown_model", f"model: this server has {', '.join(self.engines)}; name one of them")
        return name, self.engines[name]

    async def read(self, content: bytes, predictor: Predictor) -> Upload:
        """The pixels of an upload, above 8 bit as this model takes them."""
        return await self.aside(read_upload, content, "image", self.limits, predictor.intensity)

    def asked(self, prompts: Sequence[str], predictor: Predictor, size: tuple[int, int]) -> list[str]:
        """The prompts, if this model can be asked them about an image of this size.

        Raises:
            Refused: too many, too long, or no targets of a model that reads no text.
        """
        checked = check_prompts(prompts, self.limits)
        try:
            check_targets(predictor.model, checked)
        except InputError as error:
            raise Refused(422, "unknown_target", f"prompts: {error}") from error
        check_masks(len(checked), size, "prompts")
        return checked

    async def answer(self, asked: "Asked", image: Stored | Upload, encoded: Encoded, known: Known) -> schemas.Answer:
        """The answer to prompts about an encoded image, with its pictures."""
        name, engine = self.engine(asked.model)
        found = await engine.answer(
            encoded, asked.prompts, threshold=asked.threshold, probability=asked.probability, known=known
        )
        results = await self.aside(results_of, engine.predictor, encoded.familiar, image.spacing_mm, found)
        for result in results:
            self.metrics.states.labels(name, result.state).inc()
        return schemas.Answer(
            model=name,
            digest=engine.digest,
            notice=NOTICE,
            width=image.pixels.shape[1],
            height=image.pixels.shape[0],
            spacing_mm=image.spacing_mm,
            familiar=familiar_values(encoded.familiar),
            results=results,
        )


def check_masks(count: int, size: tuple[int, int], field: str) -> None:
    """Raises: Refused: so many masks (H, W) are more than one request may have; the line names the field (413)."""
    most = ANSWER_PIXELS // (size[0] * size[1])
    if count > most:
        raise Refused(413, "too_much_at_once", f"{field}: for an image of this size give at most {most} at once")


@dataclass(frozen=True)
class Asked:
    """What was asked about an image."""

    prompts: Sequence[str]
    model: str
    threshold: float | None
    probability: bool


def results_of(
    predictor: Predictor, familiar: Familiar, spacing: tuple[float, float] | None, found: Sequence[Found]
) -> list[schemas.Result]:
    """What an answer says of each prompt.

    Args:
        predictor: that found it.
        familiar: of the image.
        spacing: (y, x) of a pixel in mm, or None.
        found: for each prompt.
    """
    return [_result(predictor, familiar, spacing, one) for one in found]


def _result(
    predictor: Predictor, familiar: Familiar, spacing: tuple[float, float] | None, found: Found
) -> schemas.Result:
    area = int(np.count_nonzero(found.mask))
    state = state_of(area, familiar.state, finite=found.finite)
    return schemas.Result(
        prompt=found.prompt,
        state=state,
        area_px=area,
        area_mm2=area * spacing[0] * spacing[1] if spacing else None,
        presence=_presence(predictor, found.presence, judged=state != "cannot_judge"),
        unknown_words=predictor.vocabulary.unknown(found.prompt) if predictor.vocabulary else [],
        threshold=found.threshold,
        mask=as_text(mask_png(found.mask)),
        probability=None if found.hundredths is None else as_text(grey_png(found.hundredths)),
    )


def _presence(predictor: Predictor, raw: float | None, *, judged: bool) -> schemas.Presence:
    """What was fitted on validation images does not hold for one that is unlike them: its score stays one."""
    calibration = predictor.presence
    if raw is None or calibration is None or not judged:
        return schemas.Presence(score=raw, calibrated=False, n=None)
    return schemas.Presence(score=calibration.score(raw), calibrated=True, n=calibration.n)


def familiar_values(familiar: Familiar) -> schemas.Familiar:
    """As an answer holds it."""
    return schemas.Familiar(state=familiar.state, reasons=list(familiar.reasons))


def serving_of(request: Request) -> Serving:
    """That of the request's server."""
    serving: Serving = request.app.state.serving
    return serving


Here = Annotated[Serving, Depends(serving_of)]
