"""The server as an ASGI application."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vlseg import __version__
from vlseg.evaluation import Predictor
from vlseg.serve import about, segmenting, taking
from vlseg.serve.access import Access
from vlseg.serve.engine import Engine
from vlseg.serve.forms import invalid, not_json
from vlseg.serve.gate import ClientLeftError, Crowd, Gate, refusal
from vlseg.serve.guard import Guard
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.metrics import Measured, Metrics
from vlseg.serve.pictures import NOTICE
from vlseg.serve.serving import Serving
from vlseg.serve.store import MEMORY, Store

SWEEPS = 5.0
"""Seconds between two looks for images whose time is over."""
TOKEN = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="The token that `vlseg serve` prints. Programs that share it share their images as well, unless each "
    "sends a random `Vlseg-Session` header. Pages have a cookie instead.",
)
"""For the description alone: the guard has asked before."""
LEFT = 499
"""The status, which nobody sees, of a request whose client left."""


def create_app(
    models: Mapping[str, Predictor | Sequence[Predictor]],
    *,
    access: Access,
    limits: Limits | None = None,
    corrections: Path | None = None,
    licences: Mapping[str, str] | None = None,
    memory: int = MEMORY,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The API and the page over some models.

    Args:
        models: by the names that requests give; the first is the default. Several of one model are its copies, each on
            a device of its own.
        access: who may ask.
        limits: of requests and of what is kept; None: the defaults.
        corrections: a folder for corrected masks, a dataset of vlseg's own layout; None: none are taken.
        licences: of models by name, where known.
        memory: bytes of images and features in memory.
        clock: seconds, for the age of images.
    """
    limits = limits or Limits()
    serving = make_serving(models, limits, corrections=corrections, licences=licences or {}, memory=memory, clock=clock)
    app = FastAPI(
        title="vlseg",
        version=__version__,
        summary="Segmentation of 2D medical images by what is typed.",
        description=f"{NOTICE} Programs send the header Authorization: Bearer TOKEN.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.serving = serving
    routers = [segmenting.router, taking.router, *([taking.corrections_router] if corrections else []), about.router]
    for router in routers:
        app.include_router(router, dependencies=[Security(TOKEN)])
    app.include_router(about.open_router)
    _answer_errors(app)
    app.add_middleware(Gate, crowd=serving.crowd)
    app.add_middleware(Guard, access=access, limits=limits)
    app.add_middleware(Measured, metrics=serving.metrics)
    return app


def make_serving(
    models: Mapping[str, Predictor | Sequence[Predictor]],
    limits: Limits,
    *,
    corrections: Path | None = None,
    licences: Mapping[str, str],
    memory: int = MEMORY,
    clock: Callable[[], float] = time.monotonic,
) -> Serving:
    """What answers, without the web; arguments as for `create_app`."""
    crowd, store = Crowd(limits.queue), Store(limits, memory, clock)
    metrics = Metrics(crowd, store)
    copies = {name: [one] if isinstance(one, Predictor) else list(one) for name, one in models.items()}
    devices = {str(one.device) for inside in copies.values() for one in inside}
    workers = {device: ThreadPoolExecutor(1, f"model-{device}", _at_home, (device,)) for device in devices}
    engines = {
        name: Engine(
            [(one, workers[str(one.device)]) for one in inside],
            crowd=lambda: crowd.open,
            seen=partial(_seen, metrics, name),
            patience=limits.seconds / 2,  # so that an answer that was begun is not lost to the time-out
        )
        for name, inside in copies.items()
    }
    helpers = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), "helper")
    return Serving(engines, store, limits, crowd, metrics, helpers, corrections, licences)


def _at_home(device: str) -> None:
    """On a device's own thread: what names no GPU lands on this one."""
    if torch.device(device).index is not None:
        torch.cuda.set_device(device)


def _seen(metrics: Metrics, model: str, step: str, count: int) -> None:
    metrics.batches.labels(model, step).observe(count)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    serving: Serving = app.state.serving

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEPS)
            serving.store.sweep()

    serving.crowd.closed = False
    sweeping = asyncio.create_task(sweep())
    try:
        yield
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        serving.crowd.closed = True
        serving.store.clear()


def _answer_errors(app: FastAPI) -> None:
    """Every error as the one JSON body."""

    async def refused(request: Request, error: Any) -> Response:
        return refusal(error, request.app.state.serving.crowd)

    async def wrong(request: Request, error: Any) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return refusal(not_json(f"broken at character {first['loc'][-1] + 1}"))
        return refusal(invalid(error.errors()))

    async def http(request: Request, error: Any) -> Response:
        headers = error.headers or {}
        response = refusal(_unanswerable(error, headers.get("Allow")))
        response.headers.update(headers)
        return response

    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=LEFT)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(RequestValidationError, wrong)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientLeftError, left)
    app.add_exception_handler(ClientDisconnect, left)


def _unanswerable(error: HTTPException, allowed: str | None) -> Refused:
    """What Starlette and FastAPI refuse by themselves: no such path or method, or a body that no reader takes."""
    if error.status_code == 404:
        return Refused(404, "no_such_path", "path: this server has no such path; /docs lists those that it has")
    if error.status_code == 405:
        return Refused(
            405, "no_such_method", f"method: this path takes {allowed or 'another one'}; /docs says for what"
        )
    coded = isinstance(error.__cause__, UnicodeDecodeError)
    return not_json("not UTF-8" if coded else "nested too deep, or with a number too long")
