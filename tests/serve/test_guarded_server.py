"""The guard and the log behind a real server and raw sockets: what no client library would send."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from asking import TOKEN, echo, guard
from forking import ended, fork

from vlseg.serve.connections import TimedProtocol
from vlseg.serve.limits import Limits
from vlseg.serve.logs import PathOnly, PlaceOnly, log_prompts, logged_path, uvicorn_settings

LONG = 20_000_000
"""Bytes that no system keeps for a client that reads none."""
SECRET = "left-lower-lobe-secret"


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    log_prompts("0123456789abcdef", [SECRET])
    if scope["path"] == "/v1/images/slow":
        await asyncio.sleep(0.6)
    if scope["path"] == "/v1/images/long":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LONG)]})
        await send({"type": "http.response.body", "body": b"x" * LONG})
        return
    if scope["path"] == "/v1/segment":
        raise ValueError(f"cannot find {SECRET}")
    await echo(scope, receive, send)


class Running(NamedTuple):
    port: int
    log: Path
    stop: Callable[[], str]


def _started(log: Path, **settings: Any) -> Running:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(16)

    def run() -> None:
        config = uvicorn.Config(guard(app, seconds=1), **uvicorn_settings(Limits(queue=4), **settings))
        uvicorn.Server(config).run(sockets=[listening])

    child = fork(run, log)
    port = int(listening.getsockname()[1])
    listening.close()

    def stop() -> str:
        os.kill(child, signal.SIGTERM)
        ended(child)
        return log.read_text()

    return Running(port, log, stop)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = _started(tmp_path / "log")
    yield running
    try:
        running.stop()
    except (ProcessLookupError, ChildProcessError):
        return  # the test has stopped it


def send(port: int, *pieces: bytes) -> bytes:
    """What comes back until the server closes or says nothing for 3 s."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as asked:
        for piece in pieces:
            asked.sendall(piece)
        back = b""
        try:
            while more := asked.recv(65536):
                back += more
        except (TimeoutError, ConnectionResetError):
            pass
        return back


def request(port: int, line: str, *headers: str, body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    lines = [f"{line} HTTP/1.1", f"Host: {host}:{port}", "Connection: close", *headers]
    return send(port, "\r\n".join([*lines, "", ""]).encode() + body)


BEARER = f"Authorization: Bearer {TOKEN}"


def test_the_log_has_no_token_prompt_file_name_or_body(server: Running) -> None:
    names = ["Content-Type: multipart/form-data; boundary=b", "Content-Length: 99"]
    part = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + SECRET.encode() + b'.png"\r\n\r\n\x89PNG'
    )
    assert b" 303 " in request(server.port, f"GET /?token={TOKEN}")
    assert b" 401 " in request(server.port, f"GET /{SECRET}?token={TOKEN}&q={SECRET}")
    assert b" 200 " in request(server.port, f"GET /v1/models?q={SECRET}", BEARER)
    assert b" 200 " in request(server.port, f"DELETE /v1/images/{SECRET}", BEARER)
    failed = request(server.port, "POST /v1/segment", BEARER, *names, body=part + b"x" * (99 - len(part)))
    assert b" 500 " in failed
    assert SECRET.encode() not in failed
    assert b" 403 " in request(server.port, "GET /v1/models", BEARER, host=f"{SECRET}.example")
    assert b" 405 " in request(server.port, f"{SECRET.upper()} /v1/models", BEARER)
    assert b" 400 " in send(server.port, f"GET {SECRET} {TOKEN}\r\n\r\n".encode())
    assert b" 400 " in send(server.port, f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n".encode())
    log = server.stop()
    assert TOKEN not in log
    assert SECRET not in log.lower()
    assert '"GET / HTTP/1.1" 303' in log
    assert '"GET (other) HTTP/1.1" 401' in log
    assert '"GET /v1/models HTTP/1.1" 200' in log
    assert '"DELETE /v1/images/- HTTP/1.1" 200' in log
    assert "ValueError" in log
    assert f"{Path(__file__).name}:" in log


def test_prompts_are_in_the_log_where_it_is_asked_for(tmp_path: Path) -> None:
    running = _started(tmp_path / "log", log_prompts=True)
    assert b" 200 " in request(running.port, "GET /v1/models", BEARER)
    log = running.stop()
    assert f'session 01234567: ["{SECRET}"]' in log
    assert TOKEN not in log


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /v1/models HTTP/1.0\r\n%s\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n%s\r\n\r\n", 400),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\n%s\r\n\r\n", 403),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            400,
        ),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: -3\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: 99999999\r\n\r\nabc", 413),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Length: 30\r\n\r\nslow", 408),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", 411),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 200),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\n%s\r\nX-Forwarded-Host: x\r\nX-Forwarded-Proto: https\r\n\r\n", 200),
    ],
)
def test_odd_requests(server: Running, raw: bytes, status: int) -> None:
    back = send(server.port, raw.replace(b"%s", BEARER.encode() + b"\r\nConnection: close"))
    assert back.split(b" ")[1] == str(status).encode()
    assert back.count(b"HTTP/1.1 ") == 1 or b" 400 " in back


def test_connections_that_ask_nothing_keep_nobody_out(server: Running) -> None:
    """uvicorn's own limit counts them, and answers with plain text."""
    with ExitStack() as held:
        for _ in range(40):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=3))
        back = request(server.port, "GET /v1/models", BEARER)
    assert back.startswith(b"HTTP/1.1 200 ")
    assert uvicorn_settings(Limits())["limit_concurrency"] is None


@pytest.mark.parametrize("begun", [b"", b"GET /v1/mod", b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_connections_that_ask_nothing_are_closed(begun: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a byte comes now and then, and after a whole request before."""
    monkeypatch.setattr(TimedProtocol, "header_seconds", 0.5)
    running = _started(tmp_path / "log")
    whole = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n\r\n".encode()
    for before in (b"", whole) if begun else (b"",):
        with socket.create_connection(("127.0.0.1", running.port), timeout=3) as asked:
            if before:
                asked.sendall(before)
                assert b" 200 " in asked.recv(65536)
            asked.sendall(begun)
            start = time.monotonic()
            asked.settimeout(0.1)
            back = None
            while back != b"" and time.monotonic() - start < 3:
                try:
                    asked.sendall(b"y" if begun else b"")
                    back = asked.recv(100)
                except TimeoutError:
                    continue
                except (ConnectionResetError, BrokenPipeError):
                    back = b""
            assert back == b""
            assert 0.3 < time.monotonic() - start < 2
    running.stop()


def test_a_request_is_answered_however_long_its_answer_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedProtocol, "header_seconds", 0.2)
    running = _started(tmp_path / "log")
    slow = f"GET /v1/images/slow HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\nConnection: close\r\n\r\n".encode()
    assert b" 200 " in send(running.port, slow[:20], slow[20:])
    running.stop()


def test_a_client_that_takes_no_answer_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedProtocol, "stuck_seconds", 0.3)
    running = _started(tmp_path / "log")
    long = f"GET /v1/images/long HTTP/1.1\r\nHost: localhost\r\n{BEARER}\r\n\r\n".encode()
    for pause, whole in ((0.05, True), (2.0, False)):
        with socket.create_connection(("127.0.0.1", running.port), timeout=3) as asked:
            asked.sendall(long)
            time.sleep(pause)
            got, more = 0, b"x"
            try:
                while more and got < LONG:
                    more = asked.recv(2**20)
                    got += len(more)
            except ConnectionResetError:
                pass
            assert (got >= LONG) is whole, got
    running.stop()


def test_of_an_error_the_log_has_types_and_places_of_the_whole_chain() -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(SECRET) from error
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", None, sys.exc_info())
    said = PlaceOnly().format(record)
    assert SECRET not in said
    assert [line for line in said.splitlines() if not line.startswith("  ")] == ["failed", "ValueError", "KeyError"]
    assert said.count(f"{Path(__file__).name}:") == 2


def test_forwarded_headers_count_behind_a_proxy_alone() -> None:
    assert uvicorn_settings(Limits())["proxy_headers"] is False
    assert uvicorn_settings(Limits(), behind_proxy=True)["proxy_headers"] is True


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("2001:db8::7:0", "2001:db8::7:0"),
        ("[fe80::1%jane]:0", "fe80::1:0"),
        ("abe:0", "(other)"),
        ("", "(other)"),
        ("jane-doe:0", "(other)"),
        ("1.2.3.4\x1b[2J:0", "(other)"),
    ],
)
def test_addresses_in_the_log_are_addresses(said: str, logged: str) -> None:
    """Behind a proxy they are from X-Forwarded-For, which may say anything."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s %s %s %s %s", (said, "GET", "/", "1.1", 200), None)
    assert PathOnly().filter(record)
    assert record.getMessage() == f"{logged} GET / 1.1 200"


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        ("/?token=x", "/"),
        ("/v1/images/abc/segment", "/v1/images/-/segment"),
        ("/v1/models/a-run/words", "/v1/models/-/words"),
        ("/v1/images/abc/segment/more", "(other)"),
        ("/v1/segment?prompt=polyp", "/v1/segment"),
        ("/static/docs.css", "/static/docs.css"),
        ("/static/" + "x" * 99, "(other)"),
        ("/static/a-name", "(other)"),
        ("/static/../page.js", "(other)"),
        ("/a%0Ab", "(other)"),
        ("/v1/images/a\nb", "/v1/images/-"),
        ("//evil.example/", "(other)"),
        ("", "(other)"),
    ],
)
def test_paths_in_the_log(target: str, logged: str) -> None:
    assert logged_path(target) == logged
