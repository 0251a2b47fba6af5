"""Pages in a headless browser: what they ask for and say, and checks that give a list of what is wrong."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

PATIENCE = 60_000
"""Milliseconds; for a machine under load."""
A4 = {"auto": 688, "wide": 1016}
"""CSS pixels between the margins (14 mm) of an A4 page, upright and on its side, by the name of the page in CSS."""
WIDTHS = (390, 768, 1280, 1920)
GRAVE = ("serious", "critical")


class NoBrowserError(Exception):
    """No browser on this machine; the text says why."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, or the one that VLSEG_CHROMIUM names.

    Raises:
        NoBrowserError: neither is there, or it does not start.
    """
    named = os.environ.get("VLSEG_CHROMIUM")
    found = named or shutil.which("chromium")
    if found is None:
        raise NoBrowserError("there is no chromium (.ci/chromium installs Debian's; VLSEG_CHROMIUM names another)")
    arguments = ["--disable-gpu", "--hide-scrollbars", *(["--no-sandbox"] if os.getuid() == 0 else [])]
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=arguments, timeout=PATIENCE)
        except Error as error:
            raise NoBrowserError(f"{found} does not start: {str(error).splitlines()[0]}") from error
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def browser_or_skip() -> Iterator[Browser]:
    """As `chromium`; where there is none the test is skipped, with the reason."""
    try:
        with chromium() as browser:
            yield browser
    except NoBrowserError as error:
        pytest.skip(f"untested: pages in a browser: {error}")


@dataclass
class Opened:
    """A page, and everything that it said and asked for since it was opened."""

    page: Page
    url: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and what scripts raised."""
        return self.said

    def outside(self) -> list[str]:
        """Whatever was asked for beside the file itself and what it holds."""
        return [url for url in self.asked if url.split("#")[0] != self.url and not url.startswith("data:")]


@contextmanager
def open_page(
    browser: Browser, path: Path, width: int = 1280, scheme: str = "light", *, script: bool = True
) -> Iterator[Opened]:
    """The page of a file in a window of its own, loaded."""
    options: dict[str, Any] = {"color_scheme": scheme, "java_script_enabled": script}
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(PATIENCE)
    try:
        page = context.new_page()
        opened = Opened(page, path.resolve().as_uri())
        page.on("console", lambda one: opened.said.append(f"{one.type}: {one.text}") if one.type in LOUD else None)
        page.on("pageerror", lambda error: opened.said.append(f"raised: {error}"))
        page.on("request", lambda request: opened.asked.append(request.url))
        page.goto(opened.url, wait_until="load")
        yield opened
    finally:
        context.close()


LOUD = ("error", "warning")


def unfold(page: Page) -> None:
    """Open everything that is behind a summary."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def axe_findings(page: Page) -> list[str]:
    """What axe calls serious or critical, with the first places; the gallery's first cards stand for all."""
    found = Axe().run(page, {"exclude": [["ul.gallery > li:nth-child(n + 25)"]]}).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}; {len(one['nodes'])} times, first "
        + " | ".join(node["html"][:160] for node in one["nodes"][:3])
        for one in found
        if one["impact"] in GRAVE
    ]


SIDEWAYS = """() => {
  const wide = document.documentElement.scrollWidth, inner = window.innerWidth;
  if (wide <= inner) return [];
  const right = one => Math.round(one.getBoundingClientRect().right);
  const text = one => one.textContent.trim().slice(0, 60);
  const told = one => `${one.tagName} ${one.getAttribute('class')} to ${right(one)}: ${text(one)}`;
  const every = [...document.querySelectorAll('body *')];
  const out = every.filter(one => right(one) > inner + 1 && !one.closest('.scroll *'));
  return [`the page is ${wide} px wide in a window of ${inner}`, ...out.slice(0, 5).map(told)];
}"""


def sideways(page: Page) -> list[str]:
    """That the page must be scrolled sideways, and the first parts that reach out."""
    found: list[str] = page.evaluate(SIDEWAYS)
    return found


TABLES = """widths => [...document.querySelectorAll('table')].flatMap(one => {
  if (!one.getClientRects().length) return [];
  const ends = [one, ...[...one.rows].flatMap(row => [...row.cells])].map(part => part.getBoundingClientRect().right);
  const reach = Math.round(Math.max(...ends)), text = one.textContent.trim().replace(/\\s+/g, ' ').slice(0, 80);
  const width = widths[getComputedStyle(one).page];
  return reach > width + 1 ? [`a table reaches to ${reach} of ${width} px: ${text}`] : [];
})"""
HEADERS = """() => [...document.querySelectorAll('table')]
  .filter(one => one.tHead?.rows.length && !one.closest('.screen'))
  .map(one => one.tHead.rows[one.tHead.rows.length - 1].lastElementChild?.textContent ?? '')"""
"""Of all tables but those that are said to be for screens alone."""


def cut_in_print(page: Page) -> list[str]:
    """Tables wider than the page that they are on, laid out for print on A4."""
    before = page.viewport_size or {"width": 1280, "height": 900}
    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4["auto"], "height": 1000})
    found: list[str] = page.evaluate(TABLES, A4)
    page.set_viewport_size(before)
    page.emulate_media(media="null")
    return found


def missing_in_pdf(page: Page, pdf: Path) -> list[str]:
    """Last columns' headers that are not in the text of the browser's PDF; also where it has no table at all."""
    page.pdf(path=pdf, format="A4", prefer_css_page_size=True)
    text = subprocess.run(["pdftotext", "-raw", pdf, "-"], check=True, capture_output=True, text=True).stdout
    squeezed = _squeezed(text)
    headers: list[str] = page.evaluate(HEADERS)
    return [f"no {header.strip()!r} in the PDF" for header in headers if _squeezed(header) not in squeezed]


def _squeezed(text: str) -> str:
    return re.sub(r"[\s\u00ad-]+", "", text)


def colours(page: Page) -> tuple[float, float]:
    """Luminance in [0, 1] of the page's background and of its text."""
    found: list[str] = page.evaluate(
        "() => { const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]; }"
    )
    background, text = (_luminance(one) for one in found)
    return background, text


def _luminance(colour: str) -> float:
    red, green, blue, *alpha = (float(one) for one in re.findall(r"[\d.]+", colour))
    if alpha and alpha[0] == 0:  # nothing painted: the browser's own paper
        return 1.0
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


BLANK = """() => [...document.images].filter(one => one.complete && !one.naturalWidth)
  .map(one => one.outerHTML.slice(0, 120))"""


TEXT = """() => {
  const main = document.querySelector('main, body').cloneNode(true);
  for (const one of main.querySelectorAll('script, style, form, label')) one.remove();
  return main.textContent.split('\\n').map(line => line.trim()).filter(Boolean);
}"""


def content(page: Page) -> tuple[list[str], int]:
    """Lines of what there is to read but for controls, and how many pictures there are to see."""
    lines: list[str] = page.evaluate(TEXT)
    return lines, page.locator("img:visible, svg:visible").count()


def blank_pictures(page: Page) -> list[str]:
    """Pictures that are there and show nothing."""
    found: list[str] = page.evaluate(BLANK)
    return found
