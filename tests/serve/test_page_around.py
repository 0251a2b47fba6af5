"""The page around its masks: for everybody, on every screen, with any file, and when the server says no."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import blank_pictures, colours, sideways
from page_driving import BRIGHT, DARK, NOTICE, Shown, asks, changed, visited
from PIL import Image
from playwright.sync_api import Page, Route

from vlseg.data import unit_range
from vlseg.evaluation import Predictor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def violations(shown: Shown) -> list[str]:
    """All that axe finds, however small."""
    found = Axe().run(shown.page).response["violations"]
    return [f"{one['id']}: {node['html'][:150]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_accessible_and_never_sideways(scheme: Any, width: int, served_page: Any, page_tab: Page) -> None:
    with visited(page_tab, served_page.address, width, scheme) as shown:
        assert violations(shown) == []
        shown.upload(served_page.unlike if width == 390 else served_page.images[0])
        shown.type(1, "a bright zebra")
        shown.page.get_by_role("button", name="Instead… of").click()
        shown.type(2, DARK)
        shown.page.get_by_text("Keys on the image").click()
        assert violations(shown) == []
        assert blank_pictures(shown.page) == []
        assert sideways(shown.page) == []
        assert shown.page.get_by_text(NOTICE).first.is_visible()
        if width == 1280:
            size = "() => parseFloat(getComputedStyle(document.body).fontSize)"
            before = shown.page.evaluate(size)
            shown.page.evaluate("document.documentElement.style.fontSize = '200%'")
            assert shown.page.evaluate(size) == 2 * before
            assert sideways(shown.page) == []
            shown.page.evaluate("document.documentElement.style.fontSize = ''")
        background, text = colours(shown.page)
        assert (background < 0.2 and text > 0.7) if scheme == "dark" else (background > 0.9 and text < 0.3)
        shown.page.get_by_role("link", name="Many images").click()
        assert violations(shown) == []
        assert sideways(shown.page) == []
        assert shown.page.get_by_text(NOTICE).first.is_visible()


def test_a_full_server_is_asked_again(opened: Shown) -> None:
    refused: list[str] = []

    def handle(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": {"code": "busy", "message": "full"}})

    opened.page.route("**/segment", handle)
    opened.page.get_by_label("Prompt 1", exact=True).fill(BRIGHT)
    opened.page.get_by_text("The server is full; waiting for a place.").wait_for()
    opened.page.locator('.row[data-state="found"]').wait_for()
    assert refused
    opened.said.clear()  # the browser's own line on a status of 429


def test_models_that_read_nothing_are_asked_for_their_targets(shown: Shown, served_page: Any) -> None:
    changed(shown, "**/v1/models", lambda values: [one.update(reads_text=False) for one in values["models"]])
    shown.page.reload()
    shown.page.locator("body[data-ready]").wait_for()
    shown.upload(served_page.images[0])
    field = shown.page.get_by_label("Prompt 1", exact=True)
    assert field.locator("option").all_inner_texts() == ["Choose what to segment", BRIGHT, DARK]
    field.select_option(DARK)
    shown.page.locator('.row[data-state="found"]').wait_for()


def test_the_image_is_dropped_when_the_page_is_left(opened: Shown) -> None:
    opened.type(1, BRIGHT)
    (asked,) = [one.url for one in opened.asked if one.url.endswith("/segment")]
    opened.page.goto(f"{opened.base}/docs")
    again = "url => fetch(url, { method: 'DELETE' }).then(answer => answer.status)"
    assert opened.page.evaluate(again, asked.removesuffix("/segment")) == 404
    opened.said.clear()  # the browser's own line on a status of 404


def test_the_chosen_colours_stay(shown: Shown) -> None:
    shown.page.get_by_label("Colours").select_option("dark")
    assert colours(shown.page)[0] < 0.2
    shown.page.reload()
    shown.page.locator("body[data-ready]").wait_for()
    assert colours(shown.page)[0] < 0.2
    shown.page.get_by_label("Colours").select_option("system")
    assert colours(shown.page)[0] > 0.9


def test_errors_are_the_servers_line(opened: Shown, tmp_path: Path) -> None:
    opened.type(1, BRIGHT)
    (tmp_path / "bad.png").write_bytes(b"no image at all")
    opened.page.set_input_files("#file", tmp_path / "bad.png")
    line = "image: is not PNG, JPEG, WebP, BMP, TIFF or GIF, whatever its name says; save it as PNG"
    opened.page.get_by_role("alert").get_by_text(line).wait_for()
    opened.type(1, DARK)
    assert opened.told(1).startswith("Found")  # the image before is still open
    assert opened.page.get_by_role("alert").is_visible()  # what is said of a file is not taken away by an answer
    opened.page.get_by_role("button", name="Close").click()
    opened.said.clear()  # the browser's own line on a status of 415
    assert not opened.page.get_by_role("alert").is_visible()


def test_a_server_that_is_gone_for_a_while(opened: Shown, served_page: Any) -> None:
    """What was done stays, another model is not half chosen, and back on the page it goes on."""
    opened.type(1, BRIGHT)
    model = opened.page.get_by_label("Model", exact=True)
    alert = opened.page.get_by_role("alert")
    opened.page.route("**/v1/**", lambda route: route.abort())
    opened.page.get_by_label("Prompt 1", exact=True).fill(DARK)
    alert.get_by_text("The server does not answer. If it has ended, start vlseg serve again and open").wait_for()
    opened.page.get_by_label("Prompt 1", exact=True).fill("")
    alert.wait_for(state="hidden")  # nothing is asked any more
    opened.page.get_by_label("Prompt 1", exact=True).fill(DARK)
    alert.wait_for()
    opened.page.unroute("**/v1/**")
    for path in ("words", "images"):  # of the other model
        opened.page.route(f"**/{path}", lambda route: route.abort())
        alert.get_by_role("button").click()
        model.select_option("odd")
        alert.get_by_text("The server does not answer.").wait_for()
        assert model.input_value() == "discs"
        opened.page.unroute(f"**/{path}")
    opened.page.route("**/segment", lambda route: route.fulfill(status=401, json={}))
    opened.page.get_by_label("Prompt 1", exact=True).press("Enter")
    alert.get_by_text("This page's time is over. Open, in another tab, the address").wait_for()
    opened.page.unroute("**/segment")
    opened.page.evaluate("window.dispatchEvent(new Event('focus'))")
    opened.page.locator('.row[data-state="found"]').wait_for()
    assert not alert.is_visible()
    assert json.loads(opened.save("Session"))["page"]["model"] == "discs"
    opened.said.clear()  # the browser's own lines on what was not answered


def test_an_image_that_the_server_dropped_is_sent_again(opened: Shown) -> None:
    opened.type(1, BRIGHT)
    (first,) = [one for one in opened.asked if one.url.endswith("/segment")]
    id = first.url.split("/")[-2]
    gone = "id => fetch(`/v1/images/${id}`, { method: 'DELETE' }).then(answer => answer.status)"
    assert opened.page.evaluate(gone, id) == 204
    with opened.page.expect_response(lambda one: one.ok and asks(one.request, DARK)):
        opened.page.get_by_label("Prompt 1", exact=True).fill(DARK)
    opened.settled()
    assert opened.told(1).startswith("Found")
    assert [one.method for one in opened.asked if one.url.endswith("/v1/images")] == ["POST", "POST"]
    opened.said.clear()  # the browser's own line on a status of 404


@pytest.mark.parametrize("kind", ["tiff", "deep", "seen through"])
def test_images_that_browsers_cannot_show_as_the_model_sees_them(
    kind: str, shown: Shown, predictor: Predictor, tmp_path: Path
) -> None:
    """TIFF, which Chromium does not read, 16 bits, which it cuts, what shows through: as the server reads them."""
    values = np.linspace(9000, 60000, 32 * 32).reshape(32, 32).astype(np.uint16)
    file = tmp_path / ("a.tif" if kind == "tiff" else "a.png")
    picture = Image.fromarray(values if kind == "deep" else (values // 256).astype(np.uint8))
    if kind == "seen through":
        picture = picture.convert("RGB")
        picture.putalpha(Image.fromarray(np.tril(np.full((32, 32), 255, np.uint8))))
    picture.save(file)
    shown.upload(file)
    seen = [shown.pixel("canvas-a", 0.5, at)[0] for at in (0.03, 0.97)]
    pixels = unit_range(predictor.read(file))[[0, 31], 16, 0] * 255
    np.testing.assert_allclose(seen, pixels, atol=2)


def test_suggestions(opened: Shown) -> None:
    """The training's prompts, by the keys alone; what is picked is asked."""
    field = opened.page.get_by_label("Prompt 1", exact=True)
    field.press("ArrowDown")
    assert field.get_attribute("aria-expanded") == "true"
    assert opened.page.locator("[role=option]:visible").all_inner_texts() == [BRIGHT, DARK]
    field.press("Escape")
    assert field.get_attribute("aria-expanded") == "false"
    field.press_sequentially("dar")
    assert opened.page.locator("[role=option]:visible").all_inner_texts() == [DARK]
    field.press("ArrowDown")
    active = field.get_attribute("aria-activedescendant")
    assert opened.page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    with opened.page.expect_response(lambda one: one.url.endswith("/segment")) as found:
        field.press("Enter")
    assert json.loads(found.value.request.post_data or "")["prompts"] == [DARK]
    assert field.input_value() == DARK


def test_paste_and_drop(shown: Shown, served_page: Any) -> None:
    """An image from the clipboard, then one from the desktop."""
    give = """([kind, bytes, on]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(bytes)], 'x.png', { type: 'image/png' }));
      const made = kind === 'paste' ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
      document.querySelector(on).dispatchEvent(made);
    }"""
    shown.page.evaluate("""() => {
      const own = window.fetch;
      window.sent = [];
      window.fetch = (path, options) => {
        const values = options?.body instanceof FormData ? [...options.body.values()] : [];
        window.sent.push(...values.map(one => one.name ?? one));
        return own(path, options);
      };
    }""")
    for kind, on, file in (("paste", "body", 0), ("drop", "#stage", 1)):
        with shown.page.expect_response(lambda one: one.url.endswith("/v1/images")) as found:
            shown.page.evaluate(give, [kind, list(served_page.images[file].read_bytes()), on])
        assert found.value.status == 201
        shown.page.get_by_text("Image of 32 × 32 pixels is open.").wait_for()
    assert shown.page.evaluate("window.sent") == ["image", "discs", "image", "discs"]  # names of files stay here
