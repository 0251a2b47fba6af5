"""Overload, time-outs, clients that leave, and the end."""

import asyncio
import threading
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from served import HEADERS, app_of, asking, picture, pixels, png, predictor, run, uploaded

from vlseg.evaluation import Predictor
from vlseg.serve.limits import Limits

FILES = {"image": ("a.png", png(pixels()))}
ASKED = {"prompts": "polyp"}


class Held:
    """A predictor whose images wait until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.predictor: Predictor = predictor()
        self.release = threading.Event()
        self.encoded = 0
        encode = self.predictor.model.encode_image

        def held(inputs: Any) -> Any:
            self.release.wait(20)
            self.encoded += len(inputs)
            return encode(inputs)

        monkeypatch.setattr(self.predictor.model, "encode_image", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not come true in time")


def test_a_full_queue_answers_429_with_retry_after(held: Held) -> None:
    app = app_of({"tiny": held.predictor}, limits=Limits(queue=3))
    crowd = app.state.serving.crowd

    async def work() -> None:
        async with asking(app) as client:
            inside = [asyncio.create_task(client.post("/v1/segment", files=FILES, data=ASKED)) for _ in range(3)]
            await until(lambda: crowd.open == 3)
            outside = await client.post("/v1/segment", files=FILES, data=ASKED)
            assert outside.status_code == 429
            assert outside.json()["error"]["code"] == "overloaded"
            assert 1 <= int(outside.headers["Retry-After"]) <= 60
            # What costs nothing is answered all the same.
            assert (await client.get("/v1/models")).status_code == 200
            assert "vlseg_requests_open 3.0" in (await client.get("/metrics")).text
            held.release.set()
            assert [answer.status_code for answer in await asyncio.gather(*inside)] == [200] * 3
            assert (await client.post("/v1/segment", files=FILES, data=ASKED)).status_code == 200

    run(work())


def test_an_answer_that_takes_too_long_is_503_and_frees_its_place(held: Held) -> None:
    app = app_of({"tiny": held.predictor}, limits=Limits(seconds=0.3))

    async def work() -> None:
        async with asking(app) as client:
            answer = await client.post("/v1/segment", files=FILES, data=ASKED)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timed_out")
            assert "Retry-After" in answer.headers
            assert app.state.serving.crowd.open == 0
            held.release.set()
            await until(lambda: held.encoded == 1)

    run(work())


async def leave(app: FastAPI, path: str, body: bytes, content_type: str, when: Any) -> list[dict[str, Any]]:
    """Asks as a client that hangs up once `when` is true; what was sent to it."""
    sent: list[dict[str, Any]] = []
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await until(when)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    headers = {**HEADERS, "Host": "localhost", "Content-Type": content_type, "Content-Length": str(len(body))}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return sent


def test_a_client_that_leaves_frees_its_place_and_its_work(held: Held) -> None:
    app = app_of({"tiny": held.predictor})
    crowd = app.state.serving.crowd
    request = httpx2.Request("POST", "http://localhost/v1/segment", files=FILES, data=ASKED)
    body, content_type = request.read(), request.headers["Content-Type"]

    async def work() -> None:
        async with asking(app) as client:
            first = asyncio.create_task(client.post("/v1/segment", files=FILES, data=ASKED))
            await until(lambda: crowd.open == 1)
            await asyncio.sleep(0.05)  # the first is on the worker, the second waits behind it
            await leave(app, "/v1/segment", body, content_type, lambda: crowd.open == 2)
            assert crowd.open == 1
            held.release.set()
            assert (await first).status_code == 200
            assert held.encoded == 1

    run(work())


def test_a_closed_connection_frees_its_place(held: Held) -> None:
    """Over the network: the place is free while the model still computes for nobody."""
    app = app_of({"tiny": held.predictor})
    crowd = app.state.serving.crowd
    request = httpx2.Request("POST", "http://localhost/v1/segment", files=FILES, data=ASKED, headers=HEADERS)
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())

    async def work() -> None:
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST /v1/segment HTTP/1.1\r\n{head}\r\n".encode() + body)
        await until(lambda: crowd.open == 1)
        writer.close()
        await until(lambda: crowd.open == 0)
        assert held.encoded == 0
        held.release.set()
        server.should_exit = True
        await serving

    run(work())


def test_a_stopping_server_finishes_what_it_does_and_takes_no_more(held: Held) -> None:
    app = app_of({"tiny": held.predictor})
    crowd = app.state.serving.crowd

    async def work() -> None:
        async with asking(app) as client:
            running = asyncio.create_task(client.post("/v1/segment", files=FILES, data=ASKED))
            await until(lambda: crowd.open == 1)
            crowd.closed = True
            refused = await client.post("/v1/segment", files=FILES, data=ASKED)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            assert "Retry-After" in refused.headers
            held.release.set()
            answer = await running
            (want,) = predictor().segment(pixels(), ["polyp"])
            assert np.array_equal(picture(answer.json()["results"][0]["mask"]), want.mask)

    run(work())


def test_the_event_loop_answers_while_the_model_works(held: Held) -> None:
    app = app_of({"tiny": held.predictor})

    async def work() -> None:
        async with asking(app) as client:
            slow = asyncio.create_task(client.post("/v1/segment", files=FILES, data=ASKED))
            await until(lambda: app.state.serving.crowd.open == 1)
            for _ in range(20):
                assert (await asyncio.wait_for(client.get("/healthz"), 5)).status_code == 200
            assert not slow.done()
            held.release.set()
            assert (await slow).status_code == 200

    run(work())


def test_a_broken_weight_gives_no_bare_empty_mask() -> None:
    import torch

    model = predictor()
    with torch.no_grad():
        next(model.model.mask_decoder.parameters()).fill_(float("nan"))

    async def work() -> httpx2.Response:
        async with asking(app_of({"tiny": model})) as client:
            return await client.post("/v1/segment", files=FILES, data=ASKED)

    answer = run(work())
    (result,) = answer.json()["results"]
    assert (answer.status_code, result["state"], result["presence"]["score"]) == (200, "cannot_judge", None)


def test_the_end_forgets_everything() -> None:
    app = app_of()

    async def work() -> None:
        async with app.router.lifespan_context(app), asking(app) as client:
            await uploaded(client)
            assert app.state.serving.store.count == 1
        assert app.state.serving.store.count == 0
        assert app.state.serving.crowd.closed

    run(work())
