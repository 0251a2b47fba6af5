"""Many images on the page: a table of what the predictor says, and a file of it."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_driving import BRIGHT, DARK, NOTICE, Shown, content
from playwright.sync_api import Route

import vlseg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
FORMULA = "=dark disc"


def test_a_folder(shown: Shown, served_page: Any, tmp_path: Path) -> None:
    """Images are named by their place in it; other files are left out and counted."""
    for place in ("a/1.png", "b/1.png"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_bytes(served_page.images[0].read_bytes())
    (tmp_path / "notes.txt").write_text("x")
    shown.page.get_by_role("link", name="Many images").click()
    shown.page.get_by_label("A folder").set_input_files(tmp_path)
    shown.page.get_by_text("2 images; 1 other file is left out").wait_for()
    shown.page.get_by_label("Prompts, one a line").fill(BRIGHT)
    shown.page.get_by_role("button", name="Segment").click()
    shown.page.locator("#results-body tr").nth(1).wait_for()
    names = shown.page.locator("#results-body th").all_inner_texts()
    assert names == [f"{tmp_path.name}/a/1.png", f"{tmp_path.name}/b/1.png"]
    assert shown.page.inner_text("#many-status") == "Done: 2 of 2 images."
    _stopped_and_gone_on(shown)
    shown.page.get_by_label("Images", exact=True).set_input_files(served_page.images[0])
    assert shown.page.get_by_label("A folder").input_value() == ""  # else it would say that two are chosen
    shown.page.get_by_label("Prompts, one a line").fill("\n".join(f"disc {number}" for number in range(13)))
    shown.page.get_by_role("button", name="Segment").click()
    shown.page.get_by_text("prompts: 13 lines, at most 12 at once; remove some").wait_for()


def _stopped_and_gone_on(shown: Shown) -> None:
    """The server goes after the first image: the table stays, and the same button asks for the other one alone."""
    heard: list[str] = []

    def handle(route: Route) -> None:
        heard.append(route.request.url)
        if len(heard) == 1:
            route.continue_()
        else:
            shown.page.locator("#results-body tr").wait_for()
            shown.page.get_by_label("A folder").dispatch_event("change")
            assert button.is_disabled()  # one at a time
            route.abort()

    button = shown.page.get_by_role("button", name="Segment")
    shown.page.route("**/v1/segment", handle)
    shown.page.get_by_label("Prompts, one a line").fill(DARK)
    button.click()
    shown.page.get_by_text("Stopped: 1 of 2 images. “Segment” goes on with the others.").wait_for()
    shown.page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    shown.page.unroute("**/v1/segment")
    before = len(shown.asked)
    button.click()
    shown.page.get_by_text("Done: 2 of 2 images.").wait_for()
    assert len(shown.asked) == before + 1
    shown.said.clear()  # the browser's own line on what was not answered


def _drawn(shown: Shown, file: Path) -> np.ndarray:
    """Where a file's small picture with the first prompt's mask is coloured."""
    canvas = (
        shown.page.locator("#results-body tr")
        .filter(has_text=file.name)
        .filter(has_text=BRIGHT)
        .locator("button canvas")
    )
    read = "one => [one.width, ...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
    width, *values = canvas.evaluate(read)
    pixels = np.asarray(values).reshape(-1, width, 4)
    found: np.ndarray = pixels[..., 2] - pixels[..., 0] > 8  # the first look is blue, the image is grey
    return found


def test_many_images(shown: Shown, served_page: Any) -> None:
    """The table says what the predictor says for each image and prompt, sorts, and is saved as CSV."""
    predictor = vlseg.load(str(served_page.run), device="cpu", threads=1)
    files = served_page.images[:5]
    expected = {
        (file.name, prompt): int(predictor.segment(file, [prompt])[0].mask.sum())
        for file in files
        for prompt in (BRIGHT, DARK, FORMULA)
    }
    shown.page.get_by_role("link", name="Many images").click()
    shown.page.get_by_label("Images", exact=True).set_input_files([*files, served_page.unlike])
    shown.page.get_by_text("6 images", exact=True).wait_for()
    shown.page.get_by_label("Prompts, one a line").fill(f"{BRIGHT}\n\n{DARK}\n{FORMULA}\n{DARK}\n")
    shown.page.get_by_role("button", name="Segment").click()
    shown.page.locator("#results-body tr").nth(17).wait_for()
    shown.page.locator("#many-run:enabled").wait_for()
    with shown.page.expect_download() as found:
        shown.page.get_by_role("button", name="Table (CSV)").click()
    lines = list(csv.DictReader(io.StringIO(content(found.value).decode())))
    own = [one for one in lines if one["image"] != "unlike.png"]
    assert {(one["image"], one["prompt"].removeprefix("'")): int(one["area_px"]) for one in own} == expected
    assert {one["prompt"] for one in lines} == {BRIGHT, DARK, f"'{FORMULA}"}
    assert {one["state"] for one in lines if one["image"] == "unlike.png"} == {"cannot_judge"}
    assert {one["notice"] for one in lines} == {NOTICE}
    button = shown.page.get_by_role("button", name="Area", exact=True)
    for direction in ("ascending", "descending"):
        button.click()
        heading = shown.page.get_by_role("columnheader", name="Area")
        assert heading.get_attribute("aria-sort") == direction
        shown_areas = [
            int(one.split()[0].replace(",", ""))
            for one in shown.page.locator("#results-body td:nth-child(4)").all_inner_texts()
        ]
        assert shown_areas == sorted(shown_areas, reverse=direction == "descending")
    (own,) = predictor.segment(files[3], [BRIGHT])
    at = np.arange(72) * 32 // 72
    np.testing.assert_array_equal(_drawn(shown, files[3]), own.mask[at][:, at])
    shown.page.get_by_role("button", name=files[3].name).first.click()
    shown.page.locator('.row[data-state="found"]').nth(1).wait_for()
    assert shown.told(2).startswith(f"Found · {expected[files[3].name, DARK]:,} px")
    assert [one.method for one in shown.asked if one.url.endswith("/v1/images")] == ["POST"]
    shown.page.get_by_role("link", name="Many images").click()
    shown.page.locator("#many").wait_for()
    assert shown.page.evaluate("document.activeElement.textContent") == files[3].name
