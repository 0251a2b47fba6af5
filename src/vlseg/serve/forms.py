"""Multipart forms, read into memory alone."""

import re
import sys
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from vlseg.serve.access import OWN_SESSION
from vlseg.serve.limits import Limits, Refused

T = TypeVar("T", bound=BaseModel)
_PART = 64 * 1024
"""Bytes of a field that is no file."""
_FIELD = re.compile(r"[A-Za-z0-9_]{1,50}")
"""Names of fields as messages quote them."""
LISTS = frozenset({"prompts"})


class _InMemory(MultiPartParser):
    """Files are images of patients: none goes to the disk's temporary folder."""

    spool_max_size = sys.maxsize

    def on_part_end(self) -> None:
        """A field that is no file is UTF-8, as browsers and libraries send it; Starlette takes others for Latin-1.

        Raises:
            Refused: any other bytes (422).
        """
        part = self._current_part
        if part.file is not None:
            super().on_part_end()
            return
        try:
            self.items.append((part.field_name, part.data.decode()))
        except UnicodeDecodeError as error:
            raise Refused(422, "not_utf8", f"{_shown(part.field_name)}: is not UTF-8; send it so") from error


async def read_form(request: Request, fields: type[T], limits: Limits) -> tuple[bytes, T]:
    """The bytes of the file in the field `image`, and the other fields.

    Raises:
        Refused: no form, no image or two, or fields that are wrong or not UTF-8.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refused(415, "not_a_form", "Content-Type: send multipart/form-data with a field image")
    parser = _InMemory(
        request.headers, request.stream(), max_files=2, max_fields=limits.prompts + 8, max_part_size=_PART
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, "bad_form", f"form: {error.message}") from error
    try:
        images = [value for value in form.getlist("image") if isinstance(value, UploadFile)]
        others = [name for name, value in form.multi_items() if isinstance(value, UploadFile) and name != "image"]
        if len(images) != 1 or others or len(form.getlist("image")) != 1:
            raise Refused(422, "one_image", "image: give one file in the field image, and no other file")
        content = await images[0].read()
    finally:
        await form.close()
    return content, _parsed(fields, form.multi_items())


def _parsed(fields: type[T], items: list[tuple[str, UploadFile | str]]) -> T:
    values: dict[str, Any] = {}
    for name, value in items:
        if isinstance(value, UploadFile):
            continue
        if name in LISTS:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Refused(422, "twice", f"{_shown(name)}: is given twice; give it once")
        else:
            values[name] = value
    try:
        return fields.model_validate(values)
    except ValidationError as error:
        raise invalid(error.errors()) from error


def invalid(errors: Any) -> Refused:
    """The first of pydantic's errors as one line: where, and what it should be; never what was sent."""
    first = errors[0]
    names = [str(part) for part in first["loc"] if part != "body"]
    if not names:
        line = "body: is no JSON object; send one, with the header Content-Type: application/json"
        return Refused(422, "invalid", line)
    place = ".".join(map(_shown, names))
    return Refused(422, "invalid", f"{place}: {first['msg']}")


def _shown(name: str) -> str:
    """A field's name as messages quote it."""
    return name if _FIELD.fullmatch(name) else "(other)"


def not_json(why: str) -> Refused:
    """A body that cannot be read as JSON; `why` quotes nothing of it."""
    return Refused(400, "not_json", f"body: is no JSON ({why}); send an object with the fields that /docs names")


def form_body(fields: type[BaseModel]) -> dict[str, Any]:
    """The form's description for OpenAPI."""
    schema = fields.model_json_schema(ref_template="#/components/schemas/{model}")
    image = {"type": "string", "format": "binary", "description": "PNG, JPEG, WebP, BMP, TIFF or GIF."}
    fields_of = {name: _without_null(value) for name, value in schema["properties"].items()}
    properties = {"image": image, **fields_of}
    required = ["image", *schema.get("required", [])]
    body = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A field of a form is left out where JSON has null."""
    chosen = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    return {key: value for key, value in schema.items() if key not in ("anyOf", "default")} | (
        chosen[0] if len(chosen) == 1 else {}
    )


OwnSession = Annotated[
    str | None,
    Header(
        alias="Vlseg-Session",
        pattern=OWN_SESSION.pattern,
        description="Of a program, at random: images are of one session. Programs that send none share one.",
        examples=["yd0mYw0hTkiXkqzGwYV2kw"],
    ),
]
"""For the description alone: the guard has read it, and a page's session is its cookie."""


def session_of(request: Request, own: OwnSession = None) -> str:
    """The session that the guard found."""
    session: str = request.state.session
    return session


Session = Annotated[str, Depends(session_of)]
