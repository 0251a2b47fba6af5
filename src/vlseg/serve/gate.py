"""How many requests are worked on: overload, shutdown, time-outs and clients that leave."""

import asyncio
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vlseg.serve.limits import Refused

T = TypeVar("T")
LONGEST_RETRY = 60


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


@dataclass
class Crowd:
    """Requests that are worked on or wait.

    Attributes:
        limit: of them; more are answered with 429.
        closed: the server is stopping; new ones are answered with 503.
        open: their number.
    """

    limit: int
    closed: bool = False
    open: int = 0
    _seconds: float = field(default=0.5)

    def retry_after(self) -> int:
        """Whole seconds after which there should be a place: a running mean of what a request took."""
        return min(LONGEST_RETRY, max(1, math.ceil(self._seconds)))

    def took(self, seconds: float) -> None:
        """Counts a finished request."""
        self._seconds += 0.1 * (seconds - self._seconds)


@dataclass
class Gate:
    """Lets requests that cost something in while there is room; their body is there by then, bounded by the guard."""

    app: ASGIApp
    crowd: Crowd

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self.crowd.closed:
            stopping = Refused(503, "stopping", "the server is stopping; ask it again when it is back")
            await refusal(stopping, self.crowd)(scope, receive, send)
        elif scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif self.crowd.open >= self.crowd.limit:
            full = Refused(429, "overloaded", f"the server works on {self.crowd.open} requests; try again later")
            await refusal(full, self.crowd)(scope, receive, send)
        else:
            self.crowd.open += 1
            begin = time.monotonic()
            try:
                await self.app(scope, receive, send)
            finally:
                self.crowd.open -= 1
                self.crowd.took(time.monotonic() - begin)


def refusal(refused: Refused, crowd: Crowd | None = None) -> JSONResponse:
    """The error as every route answers it; where it may pass later (429, 503), after how many seconds."""
    headers = {}
    if refused.status in (429, 503):
        seconds = refused.retry_after or (crowd.retry_after() if crowd else 1)
        headers["Retry-After"] = str(seconds)
    content = {"error": {"code": refused.code, "message": refused.message}}
    return JSONResponse(content, refused.status, headers=headers)


async def attended(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The result of `work` while somebody waits for it; the request's body has been read.

    Raises:
        Refused: it took longer than `seconds` (503).
        ClientLeftError: the client closed the connection; the work is cancelled.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if gone in done:
            raise ClientLeftError
        raise Refused(503, "timed_out", f"the answer took longer than {seconds:g} s; try again later, or ask for less")
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
