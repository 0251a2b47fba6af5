"""A tiny app behind the guard, asked without a server."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from vlseg.serve.guard import Access, Guard
from vlseg.serve.limits import Limits

TOKEN = "t0ken-of-this-test_server~1"
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Tells the session, the method and the body's length; a careless app, which allows every origin."""
    message = await receive()
    said = {
        "session": scope["state"]["session"],
        "method": scope["method"],
        "bytes": len(message.get("body", b"")),
        "last": not message.get("more_body", False),
    }
    headers = [
        (b"content-type", b"application/json"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Cache-Control", b"public"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})


def guard(app: Any = echo, access: Access | None = None, **limits: Any) -> Guard:
    if "bytes" in limits:
        limits.setdefault("json_bytes", limits["bytes"])
    return Guard(app, access or Access(TOKEN), Limits(**limits))


def ask(*arguments: Any, **more: Any) -> Answered:
    """`ask_later`, now."""
    return asyncio.run(ask_later(*arguments, **more))


async def ask_later(
    asked: Guard,
    method: str = "GET",
    target: str = "/v1/models",
    headers: dict[str, str] | list[tuple[str, str]] = BEARER,
    pieces: Iterable[bytes | float] = (),
    *,
    host: str | None = "127.0.0.1:8000",
    port: int = 8000,
) -> Answered:
    """One request. `pieces` are of the body; a number waits so many seconds, and the body's end is sent after them."""
    path, _, query = target.partition("?")
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    named = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    if host is not None:
        named.insert(0, (b"host", host.encode()))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": named,
        "server": ("127.0.0.1", port),
        "state": {},
    }
    coming, sent = iter(pieces), []

    async def receive() -> dict[str, Any]:
        for piece in coming:
            if isinstance(piece, bytes):
                return {"type": "http.request", "body": piece, "more_body": True}
            await asyncio.sleep(piece)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asked(scope, receive, send)
    start = [message for message in sent if message["type"] == "http.response.start"]
    assert len(start) == 1
    body = b"".join(message.get("body", b"") for message in sent[1:])
    back = {name.decode().lower(): value.decode() for name, value in start[0]["headers"]}
    return Answered(start[0]["status"], back, body)


def cookie(asked: Guard, port: int = 8000) -> str:
    """What a browser sends after it opened the printed address."""
    return ask(asked, target=f"/?token={TOKEN}", headers={}, port=port).headers["set-cookie"].partition(";")[0]
