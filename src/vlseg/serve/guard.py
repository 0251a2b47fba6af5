"""What stands before every request: who may ask, sizes and times, headers of answers."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from vlseg.serve.access import (
    Access,
    check_binding,
    check_host,
    check_origin,
    check_page,
    cookie_name,
    headers_of,
    is_token,
    new_cookie,
    page_session,
    program_session,
    token_in,
)
from vlseg.serve.limits import Limits, Refused

__all__ = ["Access", "Guard", "check_binding"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

METHODS = ("GET", "HEAD", "POST", "DELETE")
OPEN = frozenset({"/healthz"})
"""What needs no token."""
BODIES_HELD = 8
"""Bodies of the largest size that are in memory at one time, those being received and those being answered."""
REQUESTS_FOR_A_PLACE = 8
"""Requests that are open at one time, for each of `Limits.queue`: the gate counts those that cost something once their
body is there; bodies that arrive slowly and short requests stand beside them."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS: Mapping[bytes, bytes] = {
    b"content-security-policy": CONTENT_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>vlseg</title>{again}</head>
<body><h1>vlseg</h1><p>Open the address that <code>vlseg serve</code> printed: it has the token in it.</p></body>
</html>
"""
_AGAIN = '<meta http-equiv="refresh" content="0; url=/">'
"""Where another site's page (a notebook, a terminal in the browser) held the address, the browser keeps the new cookie
back until a page of this server asks."""


class _GoneError(Exception):
    """Whoever asked has hung up."""


class Guard:
    """ASGI middleware before everything; after it `scope["state"]["session"]` is an opaque id, None without a token.

    A body is taken in whole before the app is called. What the app sets of the guard's own headers is replaced, and
    nothing may allow other origins.
    """

    def __init__(self, app: App, access: Access, limits: Limits = Limits()) -> None:
        self.app, self.access, self.limits = app, access, limits
        self._held = self._requests = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket would pass by everything below
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send, head=scope["method"] == "HEAD")
        try:
            await self._pass_on(scope, receive, answer)
        except _GoneError:
            return
        except Refused as refused:
            await answer.refuse(refused, scope)
        except Exception:
            if not answer.started:
                line = "the server failed; its log says where"
                await answer.refuse(Refused(500, "internal", line), scope)
            raise

    async def _pass_on(self, scope: MutableMapping[str, Any], receive: Receive, answer: "_Answer") -> None:
        headers, method = headers_of(scope), scope["method"]
        check_host(headers, self.access)
        check_origin(headers, self.access)
        if method == "OPTIONS":
            await answer.whole(204, [(b"allow", ", ".join(METHODS).encode())])
            return
        if method not in METHODS:
            raise Refused(405, "method_not_allowed", f"method: must be one of {', '.join(METHODS)}")
        token = token_in(scope["query_string"]) if scope["path"] == "/" and method in ("GET", "HEAD") else None
        if token is not None:
            await self._open(token, scope, headers, answer)
            return
        session = self._session(scope, headers)
        form = headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        most = self.limits.bytes if form else self.limits.json_bytes
        if session is None:  # whoever has no token may ask for what is open, and fills no memory
            most = 0
        length = _length(method, headers, most)
        need = most if length is None else length
        if self._held + need > BODIES_HELD * self.limits.bytes:
            raise Refused(429, "too_busy", "the server takes in other images; ask again", retry_after=1)
        if session is not None and self._requests >= REQUESTS_FOR_A_PLACE * self.limits.queue:
            raise Refused(429, "too_busy", f"the server has {self._requests} requests open; ask again", retry_after=1)
        self._held += need
        self._requests += 1
        try:
            body = await self._body(length, most, receive) if need else b""
            self._held += len(body) - need
            need = len(body)
            inner = {**scope, "state": {**scope.get("state", {}), "session": session}}
            inner["method"] = "GET" if method == "HEAD" else method
            replayed = _replayed(body, receive)
            del body  # what the app has read of it is kept by the app alone
            await self.app(inner, replayed, answer.send)
        finally:
            self._held -= need
            self._requests -= 1

    async def _open(
        self, token: str, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], answer: "_Answer"
    ) -> None:
        """The printed address: the token goes out of it, a cookie comes in its place."""
        if not is_token(token, self.access):
            raise Refused(401, "token_wrong", "token: is not this server's; open the address that it printed")
        extra = [(b"location", b"/")]
        if page_session(scope, headers, self.access) is None:
            cookie = new_cookie(cookie_name(scope, self.access), self.access, self.limits.cookie_seconds)
            extra.append((b"set-cookie", cookie.encode()))
        await answer.whole(303, extra)

    def _session(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str | None:
        session = program_session(headers, self.access)
        if session is None:
            session = page_session(scope, headers, self.access)
            if session is not None:
                check_page(scope["method"], headers)
        if session is None and scope["path"] not in OPEN:
            line = "token: is missing; send Authorization: Bearer TOKEN, or open the address that the server printed"
            raise Refused(401, "token_missing", line)
        return session

    async def _body(self, length: int | None, most: int, receive: Receive) -> bytes:
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self.limits.seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _GoneError
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise _too_large(most)
        except TimeoutError as error:
            line = f"body: did not arrive within {self.limits.seconds:g} s; send it faster, or make the image smaller"
            raise Refused(408, "too_slow", line) from error
        if length is not None and len(body) != length:
            raise Refused(400, "length_invalid", "header content-length: is not the body's length; send that")
        return bytes(body)


def _length(method: str, headers: Mapping[bytes, bytes], most: int) -> int | None:
    """Bytes of the body as announced; None where it comes in pieces."""
    sent = headers.get(b"content-length")
    if sent is None:
        if b"transfer-encoding" in headers:
            return None
        if method == "POST":
            raise Refused(411, "length_missing", "header content-length: is missing; send the body's length")
        return 0
    if not re.fullmatch(rb"[0-9]{1,15}", sent):
        raise Refused(400, "length_invalid", "header content-length: is no number; send the body's length")
    if int(sent) > most:
        raise _too_large(most)
    return int(sent)


def _too_large(most: int) -> Refused:
    return Refused(413, "too_large", f"body: is beyond {most} bytes; send less, or a smaller image")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what comes after it."""
    waiting = [body]
    del body

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


class _Answer:
    """The way back, which adds the guard's headers."""

    def __init__(self, send: Send, *, head: bool) -> None:
        self._send, self._head, self.started = send, head, False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            kept = [
                (name, value)
                for name, value in message.get("headers", [])
                if name.lower() not in _ALWAYS and not name.lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *_ALWAYS.items()]}
        elif message["type"] == "http.response.body" and self._head:
            message = {**message, "body": b""}
        await self._send(message)

    async def whole(self, status: int, headers: Headers, body: bytes = b"") -> None:
        length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, refused: Refused, scope: Mapping[str, Any]) -> None:
        sent = {name.lower(): value for name, value in scope["headers"]}
        headers: Headers = [(b"connection", b"close")] if scope["method"] not in ("GET", "HEAD") else []
        if refused.retry_after is not None:
            headers.append((b"retry-after", str(refused.retry_after).encode()))
        if refused.status == 405:
            headers.append((b"allow", ", ".join(METHODS).encode()))
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if refused.status == 401 and b"text/html" in sent.get(b"accept", b"") and scope["method"] in ("GET", "HEAD"):
            elsewhere = refused.code == "token_missing" and sent.get(b"sec-fetch-site") in (b"cross-site", b"same-site")
            page = _PAGE.format(again=_AGAIN if elsewhere and scope["path"] == "/" else "")
            await self.whole(401, [*headers, (b"content-type", b"text/html; charset=utf-8")], page.encode())
            return
        body = json.dumps({"error": {"code": refused.code, "message": refused.message}}).encode()
        await self.whole(refused.status, [*headers, (b"content-type", b"application/json")], body)
