"""Requests made to do harm, for a guarded app that takes prompts as JSON."""

import itertools
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from asking import BEARER, TOKEN, guard

from vlseg.serve.asked import check_prompts
from vlseg.serve.guard import Guard
from vlseg.serve.limits import Limits, Refused

OWN = "http://127.0.0.1:8000"
JSON = {**BEARER, "content-type": "application/json"}
FORM = {**BEARER, "content-type": "multipart/form-data; boundary=b"}


class Hostile(NamedTuple):
    """A request, how it is answered, and the memory in MB that it may take, its body included."""

    status: int
    code: str
    most: int
    method: str = "GET"
    target: str = "/v1/models"
    headers: dict[str, str] | list[tuple[str, str]] = BEARER
    pieces: Iterable[bytes | float] = ()
    host: str = "127.0.0.1:8000"


async def prompts_app(scope: Any, receive: Any, send: Any) -> None:
    """Says by a status whether the prompts in the body may be asked."""
    content = (await receive())["body"]
    status, body = 200, b""
    try:
        check_prompts(json.loads(content)["prompts"] if content else ["polyp"], Limits())
    except Refused as refused:
        status, body = refused.status, json.dumps({"error": {"code": refused.code}}).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


def prompts_guard() -> Guard:
    return guard(prompts_app, seconds=1)


def _asked(*prompts: str) -> dict[str, Any]:
    content = json.dumps({"prompts": prompts}).encode()
    return {"method": "POST", "headers": {**JSON, "content-length": str(len(content))}, "pieces": [content]}


def _changed(**headers: str) -> dict[str, Any]:
    return {"method": "POST", "headers": {"content-length": "0", **headers}}


def cases(cookie: str) -> dict[str, Hostile]:
    """Case: request. `cookie` is a good one."""
    endless = itertools.repeat(b"x" * 65_536)
    return {
        "No token": Hostile(401, "token_missing", 1, headers={}),
        "A wrong token": Hostile(401, "token_wrong", 1, headers={"authorization": "Bearer " + TOKEN[::-1]}),
        "The token in another address than `/`": Hostile(
            401, "token_missing", 1, target=f"/v1/models?token={TOKEN}", headers={}
        ),
        "A cookie that was changed": Hostile(401, "token_missing", 1, headers={"cookie": cookie[:-1] + "x"}),
        "Another Host (DNS rebinding)": Hostile(403, "host_not_allowed", 1, host="evil.example:8000"),
        "Two Hosts": Hostile(400, "header_twice", 1, headers=[*BEARER.items(), ("host", "evil.example")]),
        "Another Origin, with the token": Hostile(
            403, "origin_not_allowed", 1, headers={**BEARER, "origin": "http://evil.example"}
        ),
        "Another port's Origin, with the cookie": Hostile(
            403, "origin_not_allowed", 1, **_changed(cookie=cookie, origin="http://127.0.0.1:3000")
        ),
        "`Origin: null`, with the cookie": Hostile(
            403, "origin_not_allowed", 1, **_changed(cookie=cookie, origin="null")
        ),
        "A change with the cookie and no Origin": Hostile(403, "origin_missing", 1, **_changed(cookie=cookie)),
        "TRACE": Hostile(405, "method_not_allowed", 1, method="TRACE"),
        "70 headers": Hostile(
            400, "headers_too_large", 1, headers=[*BEARER.items(), *((f"x{number}", "y") for number in range(70))]
        ),
        "A form that says 1 TB": Hostile(
            413, "too_large", 1, method="POST", headers={**FORM, "content-length": str(10**12)}, pieces=endless
        ),
        "A form in pieces without end": Hostile(
            413, "too_large", 80, method="POST", headers={**FORM, "transfer-encoding": "chunked"}, pieces=endless
        ),
        "A body that is longer than it says": Hostile(
            400, "length_invalid", 1, method="POST", headers={**FORM, "content-length": "3"}, pieces=[b"abcd"]
        ),
        "A length and pieces at once": Hostile(
            400,
            "length_unclear",
            1,
            method="POST",
            headers={**FORM, "content-length": "3", "transfer-encoding": "chunked"},
            pieces=[b"abc"],
        ),
        "No length": Hostile(411, "length_missing", 1, method="POST", headers=FORM),
        "A slow upload": Hostile(
            408,
            "too_slow",
            1,
            method="POST",
            headers={**FORM, "content-length": "99"},
            pieces=[b"x", 0.6, b"x", 0.6, b"x"],
        ),
        "A prompt of 10 MB": Hostile(413, "too_large", 1, **_asked("x" * 10_000_000)),
        "A prompt of 1 MB": Hostile(422, "prompt_too_long", 8, **_asked("x" * 1_000_000)),
        "100,000 prompts": Hostile(422, "too_many_prompts", 20, **_asked(*["polyp"] * 100_000)),
        "An empty prompt": Hostile(422, "prompt_empty", 1, **_asked(" ")),
        "A prompt with NUL": Hostile(422, "prompt_unseen_character", 1, **_asked("pol\0yp")),
        "A prompt with a right-to-left override": Hostile(
            422, "prompt_unseen_character", 1, **_asked("no \u202epylop")
        ),
        "A prompt with a lone surrogate": Hostile(422, "prompt_unseen_character", 1, **_asked("\ud800")),
        "The prompt `../../etc/passwd`": Hostile(200, "", 1, **_asked("../../etc/passwd")),
        "The prompt `<script>alert(1)</script>`": Hostile(200, "", 1, **_asked("<script>alert(1)</script>")),
    }
