"""The page and the docs in a real browser, behind the guard: quiet, within reach, nothing from elsewhere."""

import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from browsing import PATIENCE, axe_findings, browser_or_skip, sideways
from playwright.sync_api import Browser
from served import TOKEN, app_of, predictor

from vlseg.serve.limits import Limits
from vlseg.serve.logs import uvicorn_settings


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    config = uvicorn.Config(app_of({"tiny": predictor()}), port=0, **uvicorn_settings(Limits()))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def browser(base: str) -> Iterator[Browser]:
    with browser_or_skip() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages(base: str, browser: Browser, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page = context.new_page()
    page.on("console", lambda one: said.append(f"{one.type}: {one.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{base}/?token={TOKEN}")
    page.locator("body[data-ready]").wait_for()
    assert page.url == f"{base}/"
    for path in ("/", "/docs"):
        page.goto(base + path)
        assert page.get_by_role("heading", level=1).count() == 1
        assert axe_findings(page) == []
        assert sideways(page) == []
    assert page.get_by_role("link", name="POST /v1/segment").count() == 1
    assert page.get_by_text("Research use, not a medical device.").count() >= 1
    assert said == []
    assert all(one.startswith(f"{base}/") for one in asked)
    context.close()
