"""What Prometheus may ask: counts and times, never a prompt, a name or a pixel."""

import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vlseg.serve.gate import Crowd
from vlseg.serve.logs import logged_path
from vlseg.serve.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCH = (1, 2, 4, 8, 16)


class Metrics:
    """The counters of one server."""

    def __init__(self, crowd: Crowd, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "vlseg_requests", "Answered requests.", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "vlseg_request_seconds",
            "Time of a request, the reading of its body included.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "vlseg_batch_size",
            "Requests that one batch of a model answered.",
            ("model", "step"),
            buckets=BATCH,
            registry=self.registry,
        )
        self.states = Counter(
            "vlseg_answers", "Answers to prompts by state.", ("model", "state"), registry=self.registry
        )
        self._gauge("vlseg_requests_open", "Requests that are worked on or wait.", lambda: crowd.open)
        self._gauge("vlseg_images", "Images in memory.", lambda: store.count)
        self._gauge("vlseg_image_bytes", "Bytes of images and features in memory.", lambda: store.nbytes)

    def _gauge(self, name: str, about: str, value: "type[object] | object") -> None:
        Gauge(name, about, registry=self.registry).set_function(value)  # type: ignore[arg-type]

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)


@dataclass
class Measured:
    """Counts requests by route and status; what no route answers is "(other)"."""

    app: ASGIApp
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.monotonic(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = logged_path(scope["path"])
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE") else "(other)"
            self.metrics.requests.labels(method, route, str(status) if status else "left").inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - begin)
