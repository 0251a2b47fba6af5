"""Who may ask: the token, the session, hosts and origins."""

import hashlib
import secrets
from dataclasses import dataclass, field

from starlette.datastructures import QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vlseg.records import InputError
from vlseg.serve.limits import Limits

COOKIE = "vlseg_session"


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: 20 to 256 letters, digits, and -_.~
        hosts: names that the server is asked by, without port.
        origins: further origins of pages that may ask ("https://seg.example.org"); the server's own is always one.
        secure: the browser speaks TLS, with the server or with the proxy before it.
    """

    token: str
    hosts: frozenset[str] = LOOPBACK
    origins: frozenset[str] = frozenset()
    secure: bool = False


def check_binding(host: str, tls: bool, behind_proxy: bool) -> None:
    """Raises: InputError: a host that other machines reach, without TLS and not behind a proxy."""
    if host not in LOOPBACK and not tls and not behind_proxy:
        raise InputError(f"--host: {host} is reached by others; give --certificate and --key, or --behind-proxy")


@dataclass
class Guard:
    """ASGI middleware before everything; after it `scope["state"]["session"]` is an opaque id."""

    app: ASGIApp
    access: Access
    limits: Limits = field(default_factory=Limits)
    _cookies: set[str] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self.app(scope, receive, send)
            return
        session = self._session(HTTPConnection(scope))
        if session is None:
            await self._other(scope)(scope, receive, send)
            return
        scope.setdefault("state", {})["session"] = hashlib.sha256(session.encode()).hexdigest()[:32]
        await self.app(scope, receive, send)

    def _session(self, asked: HTTPConnection) -> str | None:
        kind, _, given = asked.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and secrets.compare_digest(given.encode(), self.access.token.encode()):
            return "header " + asked.headers.get("vlseg-session", "default")
        cookie = asked.cookies.get(COOKIE, "")
        return f"cookie {cookie}" if cookie in self._cookies else None

    def _other(self, scope: Scope) -> Response:
        given = QueryParams(scope["query_string"]).get("token", "")
        if scope["path"] == "/" and secrets.compare_digest(given.encode(), self.access.token.encode()):
            cookie = secrets.token_urlsafe(32)
            self._cookies.add(cookie)
            response = RedirectResponse("/", 303)
            response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=self.access.secure)
            return response
        error = {"code": "no_token", "message": "Authorization: give the server's token, 'Bearer TOKEN'"}
        return JSONResponse({"error": error}, 401)
