"""Corrections on the page, what is saved, and the table of many images; in a real browser."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_driving import BRIGHT, DARK, NOTICE, Shown, content, disc, page_at, unzipped
from PIL import Image
from playwright.sync_api import Browser, Dialog
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from vlseg.data import read_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SIZE = (32, 32)


@pytest.fixture
def opened(shown: Shown, served_page: Any) -> Shown:
    shown.upload(served_page.images[2])
    shown.type(1, BRIGHT)
    return shown


def set_brush(shown: Shown, tool: str, across: int) -> None:
    shown.page.get_by_role("radio", name=tool).check()
    shown.page.locator("#brush").fill(str(across))


def test_brush_and_undo(opened: Shown) -> None:
    """Add, erase, undo, redo, discard: masks are those of the same strokes in NumPy, to the pixel."""
    before = opened.mask()
    set_brush(opened, "Add", 7)
    opened.drag(SIZE, (25.5, 26.5))
    added = before | disc(SIZE, 25.5, 26.5, 7)
    assert added.sum() > before.sum()
    np.testing.assert_array_equal(opened.mask(), added)
    set_brush(opened, "Erase", 5)
    x, y = (float(one.mean()) // 1 + 0.5 for one in reversed(np.nonzero(before)))
    opened.drag(SIZE, (x, y))
    erased = added & ~disc(SIZE, x, y, 5)
    assert erased.sum() < added.sum()
    np.testing.assert_array_equal(opened.mask(), erased)
    assert "corrected by hand" in opened.told(1)
    assert f"{erased.sum():,} px" in opened.told(1)
    for key, expected in (("z", added), ("z", before), ("y", added), ("Shift+z", erased)):
        opened.page.locator("#canvas-a").press(f"Control+{key}")
        np.testing.assert_array_equal(opened.mask(), expected)
    opened.page.get_by_role("button", name="Discard corrections").click()
    np.testing.assert_array_equal(opened.mask(), before)
    opened.page.get_by_role("button", name="Undo").click()
    np.testing.assert_array_equal(opened.mask(), erased)


def test_a_stroke_has_no_gaps_and_stays_when_the_threshold_moves(opened: Shown) -> None:
    set_brush(opened, "Add", 1)
    opened.drag(SIZE, (1.5, 30.5), (30.5, 30.5))
    assert opened.mask()[30, 1:31].all()
    opened.set_threshold(99)
    assert opened.mask()[30, 1:31].all()
    assert not opened.mask()[31].any()


def test_a_corrected_prompt_is_not_typed_over(opened: Shown) -> None:
    set_brush(opened, "Add", 3)
    opened.drag(SIZE, (4, 4))
    field = opened.page.get_by_label("Prompt 1", exact=True)
    assert field.get_attribute("readonly") is not None
    opened.page.get_by_role("button", name="Undo").click()
    opened.page.locator(".row input:not([readonly])").wait_for()


def test_another_image_is_not_opened_over_corrections_unasked(opened: Shown, served_page: Any) -> None:
    set_brush(opened, "Add", 3)
    opened.drag(SIZE, (4, 4))
    mask = opened.mask()
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    opened.page.once("dialog", refuse)
    opened.page.set_input_files("#file", served_page.images[0])
    np.testing.assert_array_equal(opened.mask(), mask)
    assert asked == ["The open image has corrections that would be lost. Open the other image?"]
    opened.page.once("dialog", lambda dialog: dialog.accept())
    opened.upload(served_page.images[0])
    assert "corrected" not in opened.told(1)


def test_a_removed_prompt_comes_back(opened: Shown) -> None:
    mask = opened.mask()
    opened.page.get_by_role("button", name="Remove").click()
    opened.page.locator(".row").wait_for(state="detached")
    opened.page.get_by_role("button", name="Undo").click()
    opened.page.locator(".row").wait_for()
    np.testing.assert_array_equal(opened.mask(), mask)


def test_keys_alone(served_page: Any, page_browser: Browser, tmp_path: Path) -> None:
    """From the empty page to a corrected and saved mask without a pointer: Tab, letters, arrows, Space, Enter."""
    with page_at(page_browser, served_page.address) as shown:
        keys = shown.page.keyboard
        shown.page.on("filechooser", lambda chooser: chooser.set_files(served_page.images[2]))

        def tab_to(selector: str) -> None:
            for _ in range(80):
                keys.press("Tab")
                if shown.page.evaluate("one => document.activeElement.matches(one)", selector):
                    return
            pytest.fail(f"Tab does not come to {selector}")

        tab_to("#choose")
        keys.press("Enter")
        shown.page.locator("#panes").wait_for()
        tab_to("input[role=combobox]")
        keys.type(BRIGHT)
        keys.press("Enter")
        shown.page.locator('.row[data-state="found"]').wait_for()
        shown.settled()
        before = shown.mask()
        tab_to("#canvas-a")
        keys.press("a")
        for _ in range(11 - 3):
            keys.press("[")
        shown.page.get_by_text("1 px", exact=True).wait_for()
        for _ in range(12):
            keys.press("ArrowDown")
        keys.press("Space")
        for _ in range(5):
            keys.press("ArrowRight")
        keys.press("Space")
        keys.press("ArrowUp")
        shown.page.get_by_text("Brush at 21, 27").wait_for()
        expected = before.copy()
        expected[28, 16:22] = True
        np.testing.assert_array_equal(shown.mask(), expected)
        tab_to("#save-mask")
        with shown.page.expect_download() as found:
            keys.press("Enter")
        assert found.value.suggested_filename == f"{served_page.images[2].stem}-mask.png"
        with Image.open(io.BytesIO(content(found.value))) as image:
            np.testing.assert_array_equal(np.asarray(image) > 0, expected)


def test_touch(served_page: Any, page_browser: Browser) -> None:
    """On a phone: a finger draws, two fingers zoom and take the stroke back that the first one began."""
    with page_at(page_browser, served_page.address, 390, has_touch=True, is_mobile=True) as shown:
        shown.upload(served_page.images[2])
        shown.type(1, BRIGHT)
        before = shown.mask()
        assert not shown.page.locator("#brush").is_visible()  # of no use yet, and the image stays in sight so
        set_brush(shown, "Add", 5)
        shown.page.locator("#canvas-a").scroll_into_view_if_needed()
        box = shown.page.locator("#canvas-a").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = shown.page.context.new_cdp_session(shown.page)

        def fingers(kind: str, *places: float) -> None:
            points = [{"x": x + dx, "y": y, "id": number} for number, dx in enumerate(places)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        assert shown.pixel("canvas-a", 0.01, 0.5)[3] == 0  # beside the image
        fingers("touchStart", -20)
        fingers("touchStart", -20, 20)
        for apart in (30, 50, 70, 90):
            fingers("touchMove", -apart, apart)
        fingers("touchEnd")
        assert shown.pixel("canvas-a", 0.01, 0.5)[3] == 255
        np.testing.assert_array_equal(shown.mask(), before)
        shown.page.locator("#canvas-a").scroll_into_view_if_needed()
        fingers("touchStart", 0)
        fingers("touchMove", 2)
        fingers("touchEnd")
        drawn = shown.mask()
        assert drawn.sum() > before.sum()
        assert drawn[14:18, 13:19].any()


def test_downloads_say_the_same(opened: Shown, served_page: Any, tmp_path: Path) -> None:
    """The zip, COCO's polygons read by pycocotools, and the session hold the masks that are shown."""
    set_brush(opened, "Add", 5)
    opened.drag(SIZE, (27, 4))
    first = opened.mask()
    opened.page.get_by_role("button", name="Add a prompt").click()
    opened.type(2, DARK)
    second = opened.mask()
    files = unzipped(opened.save("All masks (zip)"))
    assert NOTICE in files["README.txt"].decode()
    told = json.loads(files["prompts.json"])["masks"]
    assert [(one["prompt"], one["edited"], one["threshold"]) for one in told] == [
        (BRIGHT, True, 0.5),
        (DARK, False, 0.5),
    ]
    for one, mask in zip(told, (first, second), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(files[one["file"]]))) > 0, mask)
    (tmp_path / "coco.json").write_bytes(opened.save("Polygons (COCO)"))
    coco = COCO(str(tmp_path / "coco.json"))
    assert [one["file_name"] for one in coco.imgs.values()] == [served_page.images[2].name]
    for name, mask in ((BRIGHT, first), (DARK, second)):
        (category,) = coco.getCatIds(catNms=[name])
        (annotation,) = coco.loadAnns(coco.getAnnIds(catIds=[category]))
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert coco_masks.area(coco.annToRLE(annotation)) == mask.sum()
    opened.page.get_by_role("button", name="Show “bright disc”").click()  # hidden: left out of files
    assert len(json.loads(opened.save("Session"))["items"]) == 1


def test_a_session_is_opened_again(opened: Shown, served_page: Any, page_browser: Browser, tmp_path: Path) -> None:
    """Saved, opened on another page, saved again: the same file; and it waits for its image."""
    set_brush(opened, "Erase", 4)
    x, y = (float(one.mean()) + 0.5 for one in reversed(np.nonzero(opened.mask())))
    opened.drag(SIZE, (x, y))
    opened.page.get_by_role("button", name="Add a prompt").click()
    opened.type(2, "dark zebra")
    opened.set_threshold(31)
    saved = opened.save("Session")
    assert json.loads(saved)["notice"] == NOTICE
    assert served_page.images[2].stem not in saved.decode()
    file = tmp_path / "session.json"
    file.write_bytes(saved)
    with page_at(page_browser, served_page.address) as other:
        other.page.set_input_files("#session-file", file)
        other.page.get_by_text("The session is read. Now open its image (32 × 32 pixels).").wait_for()
        other.page.set_input_files("#file", served_page.unlike)
        other.page.get_by_role("alert").get_by_text("image: the session is about one of 32 × 32 pixels").wait_for()
        other.upload(served_page.images[2])
        other.page.locator('.row[data-state="found"]').nth(1).wait_for()
        other.settled()
        other.page.wait_for_timeout(300)
        assert json.loads(other.save("Session")) == json.loads(saved)
        assert "corrected by hand" in other.told(1)
        other.page.locator(".row input").nth(1).focus()
        other.page.get_by_text("0.31", exact=True).wait_for()
        (tmp_path / "no.json").write_text('{"items": 3}')
        other.page.set_input_files("#session-file", tmp_path / "no.json")
        other.page.get_by_role("alert").get_by_text(
            "session: is no session; open a file that Save › Session wrote"
        ).wait_for()
        assert json.loads(other.save("Session")) == json.loads(saved)
        asked: list[str] = []
        other.page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        other.page.set_input_files("#session-file", file)
        other.page.wait_for_timeout(100)
        assert asked == ["The open image has corrections that would be lost. Open the session?"]
        assert "corrected by hand" in other.told(1)
        values = json.loads(saved)
        (tmp_path / "else.json").write_text(json.dumps({**values, "page": {**values["page"], "digest": "x"}}))
        other.page.once("dialog", lambda dialog: dialog.accept())
        other.page.set_input_files("#session-file", tmp_path / "else.json")
        other.page.get_by_role("alert").get_by_text(
            "session: was saved with the model “discs” of other weights"
        ).wait_for()
        other.page.once("dialog", lambda dialog: dialog.accept())
        other.upload(served_page.images[3])
        other.page.set_input_files("#session-file", file)
        other.page.get_by_role("alert").get_by_text(
            "image: is another file than the session's, of the same size"
        ).wait_for()
        other.settled()
        assert other.page.get_by_role("alert").is_visible()  # no answer to a prompt takes it away
        assert other.page.get_by_role("button", name="Undo").is_disabled()


def test_corrections_become_a_dataset(opened: Shown, served_page: Any) -> None:
    """Only when asked for; what is written is the mask that is shown."""
    set_brush(opened, "Add", 6)
    opened.drag(SIZE, (16, 4))
    mask = opened.mask()
    assert not served_page.corrections.exists()
    opened.page.get_by_label("Patient (pseudonym)").fill("p-17")
    assert opened.page.get_by_label("Structure in “bright disc”").input_value() == BRIGHT
    opened.page.get_by_role("button", name="Keep these masks").click()
    opened.page.get_by_text("1 mask is kept in").wait_for()
    (sample,) = read_dataset(served_page.corrections).samples
    assert (sample.target, sample.group) == (BRIGHT, "p-17")
    np.testing.assert_array_equal(np.asarray(Image.open(sample.mask_paths[0])) > 0, mask)
