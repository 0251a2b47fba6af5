"""Routes that take masks out: as files, or into a dataset."""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response

from vlseg.serve import schemas
from vlseg.serve.asked import check_prompts
from vlseg.serve.corrections import keep
from vlseg.serve.export import KINDS, exported
from vlseg.serve.forms import Session
from vlseg.serve.gate import attended
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.segmenting import errors
from vlseg.serve.serving import Here, check_masks

router = APIRouter(tags=["export"])
corrections_router = APIRouter(tags=["export"])
FILE = {"schema": {"type": "string", "format": "binary"}}


@router.post(
    "/v1/images/{id}/export",
    response_class=Response,
    responses={
        **errors(404, 411),
        200: {
            "description": "The file: a zip of masks, COCO's JSON with polygons, a PNG, or the session's JSON.",
            "content": {"application/zip": FILE, "image/png": FILE, "application/json": {"schema": {}}},
        },
    },
)
async def export(id: str, ask: schemas.ExportAsk, request: Request, serving: Here, session: Session) -> Response:
    """A file of masks of a stored image. COCO's polygons stand for exactly the masks' pixels."""
    image = serving.store.get(session, id)
    check_masks(len(ask.items), image.size, "items")
    _check({f"items.{number}.prompt": item.prompt for number, item in enumerate(ask.items)}, serving.limits)
    content = await attended(request, serving.aside(exported, ask, image), serving.limits.seconds)
    media, name = KINDS[ask.what]
    return Response(content, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}"'})


@corrections_router.post(
    "/v1/corrections", response_model=schemas.Corrected, status_code=201, responses=errors(404, 411)
)
async def correct(ask: schemas.CorrectionAsk, request: Request, serving: Here, session: Session) -> schemas.Corrected:
    """Adds masks of a stored image to the server's dataset of corrections; only where it was started with one."""
    image = serving.store.get(session, ask.image_id)
    if serving.corrections is None:
        raise Refused(404, "no_corrections", "path: this server keeps no corrections; start it with --corrections")
    check_masks(len(ask.items), image.size, "items")
    prompts = {f"items.{number}.prompt": item.prompt for number, item in enumerate(ask.items)}
    targets = {f"items.{number}.target": item.target for number, item in enumerate(ask.items)}
    _check({**prompts, **targets, "patient": ask.patient}, serving.limits)
    folder = serving.corrections
    ids = await attended(request, serving.aside(keep, folder, ask, image), serving.limits.seconds)
    return schemas.Corrected(sample_ids=ids, dataset=str(folder))


def _check(texts: Mapping[str, str], limits: Limits) -> None:
    """What goes into files is held to what may be asked; an empty prompt names nothing and harms nobody.

    Raises:
        Refused: with 422, which names the field.
    """
    for field, text in texts.items():
        if text == "" and field.endswith("prompt"):
            continue
        try:
            check_prompts([text], limits)
        except Refused as refused:
            blank = refused.code == "prompt_empty"
            told = "holds blanks alone; give a name" if blank else refused.message.partition(": ")[2]
            raise Refused(refused.status, refused.code, f"{field}: {told}") from refused
