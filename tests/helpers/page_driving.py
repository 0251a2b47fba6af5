"""The page of `vlseg serve` in a browser: opened, asked, drawn on, and what it gave to be saved."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from browsing import LOUD, PATIENCE
from PIL import Image
from playwright.sync_api import Browser, Download, Page, Request, Route

Scheme = Literal["light", "dark"]
BRIGHT, DARK = "bright disc", "dark disc"
"""What the model of the page's tests was trained on."""
NOTICE = "Research use, not a medical device."
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""What changed is drawn in the next frame."""
PIXELS = """([id, places]) => {
  const shown = document.getElementById(id), copy = document.createElement('canvas');
  [copy.width, copy.height] = [shown.width, shown.height];
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  return places.map(([x, y]) => [...context.getImageData(x * copy.width, y * copy.height, 1, 1).data]);
}"""


@dataclass
class Shown:
    """The page, with all that it said, asked for and raised."""

    page: Page
    base: str
    said: list[str] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)

    def elsewhere(self) -> list[str]:
        """What was asked for at another origin; files given to the browser (blob:) are the page's own."""
        return [one.url for one in self.asked if not one.url.startswith((f"{self.base}/", f"blob:{self.base}/"))]

    def upload(self, path: Path) -> None:
        """Opens an image."""
        self.page.set_input_files("#file", path)
        self.page.locator("#empty").wait_for(state="hidden")
        self.page.locator("[aria-busy]").wait_for(state="detached")
        self.painted()

    def type(self, number: int, text: str) -> dict[str, Any]:
        """Types a prompt into the field of that number; the server's result once the page shows it."""
        with self.page.expect_response(lambda one: asks(one.request, text)) as found:
            self.page.get_by_label(f"Prompt {number}", exact=True).fill(text)
        result: dict[str, Any] = found.value.json()["results"][0]
        self.settled()
        return result

    def painted(self) -> None:
        """What was changed until now is shown."""
        self.page.evaluate(FRAMES)

    def settled(self) -> None:
        """No question is open."""
        self.painted()
        self.page.locator(".row[data-asking]").first.wait_for(state="detached")

    def pixel(self, canvas: str, x: float, y: float) -> list[int]:
        """Red, green, blue and alpha that a canvas shows at a place in [0, 1]."""
        return self.pixels(canvas, [(x, y)])[0]

    def pixels(self, canvas: str, places: list[tuple[float, float]]) -> list[list[int]]:
        """The same for many places."""
        self.painted()
        found: list[list[int]] = self.page.evaluate(PIXELS, [canvas, places])
        return found

    def told(self, number: int) -> str:
        """What stands below a prompt."""
        self.painted()
        return self.page.locator(".row").nth(number - 1).locator(".told").inner_text()

    def set_threshold(self, k: int) -> None:
        """Of the selected prompt, in hundredths."""
        self.page.get_by_label("Threshold", exact=True).fill(str(k))
        self.page.get_by_text(f"{k / 100:.2f}", exact=True).wait_for()

    def save(self, button: str) -> bytes:
        """The file that a button gives."""
        with self.page.expect_download() as found:
            self.page.get_by_role("button", name=button, exact=True).click()
        return content(found.value)

    def mask(self) -> np.ndarray:
        """Of the selected prompt, (H, W) bool, as it is saved."""
        with Image.open(io.BytesIO(self.save("Selected mask (PNG)"))) as image:
            assert image.info["Comment"] == "Research use, not a medical device."
            assert image.mode == "L"
            values = np.asarray(image)
        assert set(np.unique(values)) <= {0, 255}
        return values > 0

    def drag(self, size: tuple[int, int], *points: tuple[float, float], canvas: str = "#canvas-a") -> None:
        """The pointer goes down at the first point of the image (x, y; the whole is in sight), and on to the others."""
        box = self.page.locator(canvas).bounding_box()
        assert box is not None
        scale = min(box["width"] / size[1], box["height"] / size[0])
        places = [
            (
                box["x"] + box["width"] / 2 + (x - size[1] / 2) * scale,
                box["y"] + box["height"] / 2 + (y - size[0] / 2) * scale,
            )
            for x, y in points
        ]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up()
        self.painted()


def asks(request: Request, text: str) -> bool:
    """Whether a request is about that prompt."""
    return request.url.endswith("/segment") and request.post_data_json.get("prompts") == [text]


def content(download: Download) -> bytes:
    """The bytes that the browser would have saved."""
    return Path(download.path()).read_bytes()


def unzipped(archive: bytes) -> dict[str, bytes]:
    """The files of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@contextmanager
def page_at(
    browser: Browser, address: str, width: int = 1280, scheme: Scheme = "light", **more: Any
) -> Iterator[Shown]:
    """The page behind its printed address in a window and a session of its own, as `visited`."""
    with tab(browser, **more) as page, visited(page, address, width, scheme) as shown:
        yield shown


@contextmanager
def tab(browser: Browser, **more: Any) -> Iterator[Page]:
    """A window of its own. It costs twice as much as a page, so that tests may share one."""
    context = browser.new_context(**more)
    context.set_default_timeout(PATIENCE)
    try:
        yield context.new_page()
    finally:
        context.close()


@contextmanager
def visited(page: Page, address: str, width: int = 1280, scheme: Scheme = "light") -> Iterator[Shown]:
    """The page behind its printed address, new; its console must stay silent, and nothing is asked of others."""
    shown = Shown(page, re.split(r"/\?", address)[0])
    listeners: dict[Any, Callable[[Any], None]] = {
        "console": lambda one: shown.said.append(f"{one.type}: {one.text}") if one.type in LOUD else None,
        "pageerror": lambda error: shown.said.append(f"raised: {error}"),
        "request": lambda request: shown.asked.append(request),
    }
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        page.goto(address)
        page.locator("body[data-ready]").wait_for()
        yield shown
        assert not shown.said, shown.said
        assert not shown.elsewhere(), shown.elsewhere()
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.unroute_all()


def disc(size: tuple[int, int], x: float, y: float, across: float) -> np.ndarray:
    """(H, W) bool: pixels whose centre is within a brush at a point of the image."""
    yy, xx = np.mgrid[: size[0], : size[1]]
    found: np.ndarray = np.hypot(xx + 0.5 - x, yy + 0.5 - y) <= across / 2
    return found


def changed(shown: Shown, path: str, change: Callable[[Any], None]) -> None:
    """From now on that route's answers are changed on their way."""

    def handle(route: Route) -> None:
        answer = route.fetch()
        values = answer.json()
        change(values)
        route.fulfill(response=answer, json=values)

    shown.page.route(path, handle)
