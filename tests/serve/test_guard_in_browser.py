"""The guard before a real browser: what its own page may do, and what another server's page on this machine may not."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from asking import TOKEN, guard
from browsing import browser_or_skip
from forking import ended, fork
from playwright.sync_api import Browser, Page

from vlseg.serve.limits import Limits
from vlseg.serve.logs import uvicorn_settings

PAGE = b"""<!doctype html><title>own</title><script>window.inline = true</script><script src="/own.js"></script>
<p style="color: red">own page</p>"""
_reached = [0]


async def answer(send: Any, body: bytes, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


async def own_app(scope: Any, receive: Any, send: Any) -> None:
    """A page, a script, and /count: how many requests to /v1 have passed the guard."""
    if scope["path"] == "/":
        await answer(send, PAGE, b"text/html")
    elif scope["path"] == "/own.js":
        await answer(send, b"window.own = true", b"text/javascript")
    elif scope["path"] == "/count":
        await answer(send, str(_reached[0]).encode(), b"text/plain")
    else:
        _reached[0] += scope["path"].startswith("/v1")
        await answer(send, b"ok", b"text/plain")


async def other_app(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"<!doctype html><title>other</title>", b"text/html")


def _listening() -> socket.socket:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen(16)
    return found


class Servers(NamedTuple):
    own: int
    other: int


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The guarded one, and one of somebody else on this machine. Children of this process, begun before the browser."""
    log = tmp_path_factory.mktemp("servers") / "log"
    children, ports = [], []
    for app in (guard(own_app), other_app):
        listening = _listening()

        def run(app: Any = app, listening: socket.socket = listening) -> None:
            uvicorn.Server(uvicorn.Config(app, **uvicorn_settings(Limits()), lifespan="off")).run(sockets=[listening])

        children.append(fork(run, Path(log)))
        ports.append(int(listening.getsockname()[1]))
        listening.close()
    yield Servers(*ports)
    for child in children:
        os.kill(child, signal.SIGTERM)
        ended(child)


@pytest.fixture(scope="module")
def browser(servers: Servers) -> Iterator[Browser]:
    with browser_or_skip() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def own(servers: Servers, path: str = "/") -> str:
    return f"http://localhost:{servers.own}{path}"


def opened(page: Page, servers: Servers) -> Page:
    page.goto(own(servers, f"/?token={TOKEN}"))
    assert page.title() == "own"
    return page


def test_the_token_leaves_the_address_and_scripts_never_see_the_cookie(page: Page, servers: Servers) -> None:
    opened(page, servers)
    assert page.url == own(servers)
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("document.referrer") == ""
    (cookie,) = page.context.cookies()
    assert cookie["name"] == f"vlseg_session_{servers.own}"
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert page.evaluate("JSON.stringify(performance.getEntries())").find(TOKEN) < 0


FETCH = """async ([url, options]) => {
  try { const back = await fetch(url, options); return back.status } catch (error) { return "blocked" }
}"""


def test_the_own_page_may_ask_and_change(page: Page, servers: Servers) -> None:
    """Browsers send Origin with fetch also where no referrer is sent."""
    opened(page, servers)
    for method in ("GET", "POST", "DELETE"):
        assert page.evaluate(FETCH, ["/v1/x", {"method": method}]) == 200
    assert page.evaluate("window.own")


def test_the_policy_stops_what_a_script_that_slipped_in_would_do(page: Page, servers: Servers) -> None:
    opened(page, servers)
    assert page.evaluate("window.inline") is None
    assert page.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(0, 0, 0)"
    for url in (f"http://localhost:{servers.other}/", f"http://127.0.0.1:{servers.other}/"):
        assert page.evaluate(FETCH, [url, {"mode": "no-cors"}]) == "blocked"
    image = """source => new Promise(done => {
      const image = new Image(); image.onload = () => done(true); image.onerror = () => done(false); image.src = source
    })"""
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    assert page.evaluate(image, pixel)
    assert not page.evaluate(image, f"http://localhost:{servers.other}/")


def count(page: Page) -> int:
    return int(page.evaluate("fetch('/count').then(back => back.text())"))


def test_another_port_of_this_machine_gets_nothing_with_the_cookie(page: Page, servers: Servers) -> None:
    """It is the same site, so that the browser sends the cookie."""
    mine = opened(page, servers)
    before = count(mine)
    evil = page.context.new_page()
    evil.goto(f"http://localhost:{servers.other}/")
    for options in (
        {"mode": "no-cors", "method": "POST", "credentials": "include", "body": "x"},
        {"mode": "no-cors", "method": "GET", "credentials": "include"},
        {"mode": "cors", "method": "POST", "credentials": "include", "body": "x"},
        {"mode": "cors", "method": "DELETE", "credentials": "include"},
        {"mode": "cors", "method": "GET", "credentials": "include", "headers": {"Vlseg-Session": "x"}},
    ):
        assert evil.evaluate(FETCH, [own(servers, "/v1/x"), options]) in ("blocked", 0)
    script = """source => new Promise(done => {
      const one = document.createElement("script")
      one.onload = () => done(true); one.onerror = () => done(false); one.src = source
      document.head.append(one)
    })"""
    assert not evil.evaluate(script, own(servers, "/own.js"))
    form = """url => {
      const form = document.createElement("form"); form.method = "post"; form.action = url
      document.documentElement.append(form); form.submit()
    }"""
    with evil.expect_navigation():
        evil.evaluate(form, own(servers, "/v1/x"))
    assert "origin_not_allowed" in evil.content()
    assert count(mine) == before


def test_it_is_shown_in_no_frame(page: Page, servers: Servers) -> None:
    opened(page, servers)
    evil = page.context.new_page()
    evil.goto(f"http://localhost:{servers.other}/")
    evil.evaluate(
        "url => { document.documentElement.append(document.createElement('iframe')); frames[0].location = url }",
        own(servers),
    )
    evil.wait_for_timeout(500)
    assert all("own page" not in frame.content() for frame in evil.frames)


def test_the_printed_address_may_be_clicked_on_another_site(page: Page, servers: Servers) -> None:
    """A notebook or a terminal in the browser: SameSite=Strict keeps the new cookie back once."""
    page.goto(f"http://127.0.0.1:{servers.other}/")
    link = """url => {
      const link = document.createElement("a"); link.href = url
      document.documentElement.append(link); link.click()
    }"""
    page.evaluate(link, own(servers, f"/?token={TOKEN}"))
    page.wait_for_function("document.title == 'own'", timeout=20_000)
    assert page.url == own(servers)


def test_without_the_token_the_page_says_what_to_open(page: Page, servers: Servers) -> None:
    for path in ("/", "/?token=wrong", "/docs"):
        back = page.goto(own(servers, path))
        assert back is not None
        assert back.status == 401
        assert "vlseg serve" in page.inner_text("body")
