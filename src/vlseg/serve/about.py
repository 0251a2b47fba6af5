"""Routes that tell: the models and their words, health, metrics, the page and the description of the API."""

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from vlseg.serve import schemas
from vlseg.serve.describe import page_of
from vlseg.serve.limits import Refused
from vlseg.serve.logs import STATIC
from vlseg.serve.metrics import CONTENT_TYPE
from vlseg.serve.segmenting import errors
from vlseg.serve.serving import Here, Serving

router = APIRouter()
open_router = APIRouter()
"""Needs no token."""


@router.get("/v1/models", response_model=schemas.Models, responses=errors(), tags=["models"])
async def models(serving: Here) -> schemas.Models:
    """The models that requests may name."""
    return schemas.Models(models=models_of(serving))


def models_of(serving: Serving) -> list[schemas.Model]:
    """What is told of each model; the first is the default."""
    found: list[schemas.Model] = []
    for name, engine in serving.engines.items():
        predictor = engine.predictor
        spec, calibration = predictor.model.spec, predictor.presence
        found.append(
            schemas.Model(
                name=name,
                default=not found,
                reads_text=spec.uses_text,
                targets=list(spec.targets),
                image_size=spec.image_size,
                threshold=predictor.threshold,
                presence=schemas.ModelPresence(
                    calibrated=calibration is not None, n=None if calibration is None else calibration.n
                ),
                licence=serving.licences.get(name),
            )
        )
    return found


@router.get("/v1/models/{name}/words", response_model=schemas.Words, responses=errors(404), tags=["models"])
async def words(name: str, serving: Here) -> schemas.Words:
    """Words and prompts of the training: for suggestions, and to mark words that the model never saw."""
    if name not in serving.engines:
        raise Refused(404, "unknown_model", f"name: this server has {', '.join(serving.engines)}; name one of them")
    vocabulary = serving.engines[name].predictor.vocabulary
    if vocabulary is None:
        return schemas.Words(words=[], prompts=[])
    return schemas.Words(words=list(vocabulary.words), prompts=list(vocabulary.prompts))


@open_router.get("/healthz", response_model=schemas.Health, tags=["server"])
async def healthz() -> schemas.Health:
    """Whether the server answers; needs no token."""
    return schemas.Health()


@router.get(
    "/metrics",
    response_class=Response,
    responses={**errors(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    tags=["server"],
)
async def metrics(serving: Here) -> Response:
    """Counts and times for Prometheus."""
    return Response(serving.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The description of the API as a page without scripts."""
    return HTMLResponse(page_of(request.app.openapi()))


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return _file(STATIC / "index.html")


@router.get("/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """A file of the page."""
    files = {path.name: path for path in STATIC.iterdir() if path.is_file()}
    if name not in files:
        raise Refused(404, "no_such_file", "path: the page has no such file")
    return _file(files[name])


def _file(path: Path) -> Response:
    """Whole, as no browser may keep it; a part that is asked for and is not there would be an error in plain text."""
    return Response(path.read_bytes(), media_type=mimetypes.guess_type(path.name)[0])
