"""Routes that segment: one image at once, or one that is kept for further prompts."""

from fastapi import APIRouter, Request, Response

from vlseg.serve import schemas
from vlseg.serve.engine import Encoded
from vlseg.serve.forms import Session, form_body, read_form
from vlseg.serve.gate import attended
from vlseg.serve.logs import log_prompts
from vlseg.serve.serving import Asked, Here, Serving, familiar_values
from vlseg.serve.store import Stored

router = APIRouter(tags=["segment"])
ERRORS = {
    400: "The form or its fields cannot be read.",
    401: "No token, or a wrong one.",
    403: "A host or an origin that this server does not answer.",
    404: "This session has no such image.",
    408: "The request came too slowly.",
    411: "The request does not say its length.",
    413: "Too many bytes, pixels or frames.",
    415: "No form, or no image that can be read.",
    422: "A field is wrong; the message names it.",
    429: "The server is full; Retry-After says when to try again.",
    503: "The server is stopping, or the answer took too long.",
}


LATER: dict[str, object] = {
    "headers": {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait."}}
}
"""What comes with an answer that may be another one later."""


def errors(*codes: int) -> dict[int | str, dict[str, object]]:
    """Those statuses for OpenAPI, with what every route may answer."""
    return {
        code: {"model": schemas.ErrorBody, "description": ERRORS[code], **(LATER if code in (429, 503) else {})}
        for code in sorted({*codes, 400, 401, 403, 408, 413, 422, 429, 503})
    }


@router.post(
    "/v1/segment",
    response_model=schemas.Answer,
    responses=errors(411, 415),
    openapi_extra=form_body(schemas.SegmentForm),
)
async def segment(request: Request, serving: Here, session: Session) -> schemas.Answer:
    """Masks of an image for one or many prompts; nothing is kept."""
    content, form = await read_form(request, schemas.SegmentForm, serving.limits)
    model, engine = serving.engine(form.model)

    async def work() -> schemas.Answer:
        engine.check_room()
        upload = await serving.read(content, engine.predictor)
        size = (upload.pixels.shape[0], upload.pixels.shape[1])
        prompts = serving.asked(form.prompts, engine.predictor, size)
        log_prompts(session, prompts)
        encoded = await engine.encode(upload.pixels)
        asked = Asked(prompts, model, form.threshold, form.probability)
        return await serving.answer(asked, upload, encoded, {})

    return await attended(request, work(), serving.limits.seconds)


@router.post(
    "/v1/images",
    response_model=schemas.ImageInfo,
    status_code=201,
    responses=errors(411, 415),
    openapi_extra=form_body(schemas.UploadForm),
)
async def upload_image(request: Request, serving: Here, session: Session) -> schemas.ImageInfo:
    """Keeps an image in memory, encoded, so that each prompt about it costs the text and the decoder only.

    Its id is of this session alone. It is dropped after a time without use, by DELETE, or as the one that was used
    longest ago when the session uploads more than it may keep.
    """
    content, form = await read_form(request, schemas.UploadForm, serving.limits)
    model, engine = serving.engine(form.model)

    async def work() -> schemas.ImageInfo:
        engine.check_room()
        upload = await serving.read(content, engine.predictor)
        encoded = await engine.encode(upload.pixels)
        image = serving.store.add(
            session, upload.pixels, upload.spacing_mm, {model: encoded}, engine.predictor.intensity
        )
        return schemas.ImageInfo(
            id=image.id,
            width=image.size[1],
            height=image.size[0],
            expires_in_s=serving.limits.keep_seconds,
            familiar=familiar_values(encoded.familiar),
        )

    return await attended(request, work(), serving.limits.seconds)


@router.post("/v1/images/{id}/segment", response_model=schemas.Answer, responses=errors(404, 411))
async def segment_image(
    id: str, ask: schemas.SegmentAsk, request: Request, serving: Here, session: Session
) -> schemas.Answer:
    """Masks of a stored image for one or many prompts. Another model than before encodes it once more."""
    image = serving.store.get(session, id)
    model, engine = serving.engine(ask.model)
    prompts = serving.asked(ask.prompts, engine.predictor, image.size)
    image.check_read_for(engine.predictor)
    log_prompts(session, prompts)

    async def work() -> schemas.Answer:
        encoded = await _encoded(serving, session, image, model)
        asked = Asked(prompts, model, ask.threshold, ask.probability)
        return await serving.answer(asked, image, encoded, serving.store.known(session, model, encoded.place))

    return await attended(request, work(), serving.limits.seconds)


async def _encoded(serving: Serving, session: str, image: Stored, model: str) -> Encoded:
    found = image.encoded.get(model)
    if found is None:
        found = await serving.engines[model].encode(image.pixels)
        serving.store.keep(session, image, model, found)
    return found


@router.delete("/v1/images/{id}", status_code=204, responses=errors(404))
async def delete_image(id: str, serving: Here, session: Session) -> Response:
    """Forgets a stored image at once."""
    serving.store.drop(session, id)
    return Response(status_code=204)
