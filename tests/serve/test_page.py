"""The page of a real `vlseg serve` in a real browser: what is shown is what the server and the predictor say."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_driving import BRIGHT, DARK, NOTICE, Shown, changed
from PIL import Image
from scipy import ndimage
from served import picture

from vlseg.evaluation import Prediction, Predictor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def two_decimals(score: float) -> str:
    """As the page has it."""
    if 0.995 < score < 1:
        return ">\u00a00.99"
    return "<\u00a00.01" if 0 < score < 0.005 else f"{score:.2f}"


def test_type_and_see(opened: Shown, served_page: Any, predictor: Predictor) -> None:
    """Mask, area, score and state of two prompts; the address has lost its token."""
    assert opened.page.url == f"{opened.base}/"
    for number, prompt in enumerate((BRIGHT, "dark zebra"), start=1):
        if number > 1:
            opened.page.get_by_role("button", name="Add a prompt").click()
        result = opened.type(number, prompt)
        (own,) = predictor.segment(served_page.images[0], [prompt])
        assert own.mask.any()
        mask = opened.mask()
        np.testing.assert_array_equal(mask, own.mask)
        np.testing.assert_array_equal(mask, picture(result["mask"]))
        assert own.presence is not None
        told = f"Found · {own.mask.sum():,} px · presence score {two_decimals(own.presence)}"
        assert opened.told(number).startswith(told)
    assert opened.page.locator(".unknown mark").all_inner_texts() == ["zebra"]
    assert "not calibrated, so no probability" in opened.page.inner_text("#presence")
    assert "mm" not in opened.told(1)
    assert len(opened.page.locator(".row").all()) == 2


def test_the_image_is_sent_once_and_typing_asks_when_it_pauses(opened: Shown) -> None:
    """Of keys that come quickly one question is left; a new prompt sends no image."""
    opened.page.get_by_label("Prompt 1", exact=True).press_sequentially(BRIGHT, delay=20)
    opened.page.locator('.row[data-state="found"]').wait_for()
    opened.settled()
    opened.type(1, DARK)
    asked = [one.url.rsplit("/", 1)[1] for one in opened.asked if one.method == "POST"]
    assert asked == ["images", "segment", "segment"]


def test_a_late_answer_is_dropped(opened: Shown, served_page: Any, predictor: Predictor) -> None:
    """The first answer is held back until the second one is shown; nothing is saved under the words of another."""
    opened.type(1, "disc")
    waiting: list[Any] = []
    opened.page.route("**/segment", lambda route: waiting.append(route) if not waiting else route.continue_())
    opened.page.get_by_label("Prompt 1", exact=True).fill(BRIGHT)
    while not waiting:
        opened.page.wait_for_timeout(20)
    assert opened.told(1) == "Asking… · the mask is still that of “disc”"
    for name in ("Selected mask (PNG)", "All masks (zip)", "Session", "Keep these masks"):
        assert opened.page.get_by_role("button", name=name, exact=True).is_disabled()
    opened.type(1, DARK)
    waiting[0].continue_()
    opened.page.wait_for_timeout(400)
    (own,) = predictor.segment(served_page.images[0], [DARK])
    np.testing.assert_array_equal(opened.mask(), own.mask)
    opened.page.unroute("**/segment")


def of(predictor: Predictor, served_page: Any, prompt: str) -> Prediction:
    (found,) = predictor.segment(served_page.images[0], [prompt])
    return found


def test_the_threshold_is_numpys(opened: Shown, served_page: Any, predictor: Predictor) -> None:
    """At every position tried the mask is exactly `p > k / 100` in float32."""
    opened.type(1, BRIGHT)
    probability = of(predictor, served_page, BRIGHT).probability
    assert opened.page.get_by_label("Threshold", exact=True).input_value() == "50"
    assert opened.page.inner_text("#threshold-value") == "0.50 (the model's own)"
    seen = set()
    for k in (0, 1, 7, 29, 50, 57, 90, 99):
        opened.set_threshold(k)
        mask = opened.mask()
        np.testing.assert_array_equal(mask, probability > np.float32(k / 100))
        assert f"{mask.sum():,} px" in opened.told(1)
        seen.add(int(mask.sum()))
    assert len(seen) > 3
    opened.page.get_by_role("button", name="The model's own").click()
    np.testing.assert_array_equal(opened.mask(), probability > np.float32(0.5))


def test_a_threshold_between_two_positions(opened: Shown, served_page: Any, predictor: Predictor) -> None:
    """The other model's own threshold is 0.4567: its mask is shown exactly, until the slider is moved."""
    opened.type(1, BRIGHT)
    with opened.page.expect_response(lambda one: one.url.endswith("/segment")):
        opened.page.get_by_label("Model", exact=True).select_option("odd")
    opened.settled()
    opened.page.get_by_text("0.4567 (the model's own)").wait_for()
    probability = of(predictor, served_page, BRIGHT).probability
    np.testing.assert_array_equal(opened.mask(), probability > np.float32(0.4567))
    opened.set_threshold(46)
    np.testing.assert_array_equal(opened.mask(), probability > np.float32(0.46))


def without(predictor: Predictor, images: list[Path], prompt: str) -> tuple[np.ndarray, float]:
    """A usual image from which what the model found is painted out, and the highest probability that is left."""
    for path in images:
        pixels = np.asarray(Image.open(path).convert("RGB")).copy()
        (found,) = predictor.segment(pixels, [prompt])
        noise = np.random.default_rng(1).normal(110, 12, found.mask.shape)
        pixels[ndimage.binary_dilation(found.mask, iterations=2)] = 110
        pixels = np.where(pixels == 110, noise.clip(0, 255)[..., None], pixels).astype(np.uint8)
        (left,) = predictor.segment(pixels, [prompt])
        if predictor.judge(pixels).state == "usual" and not left.mask.any():
            return pixels, float(left.probability.max())
    pytest.fail("no image of the made-up data is usual and has nothing to be found")


def test_never_a_bare_empty_mask(shown: Shown, served_page: Any, predictor: Predictor, tmp_path: Path) -> None:
    """Found, not found and cannot judge, each with its reason."""
    shown.upload(served_page.images[1])
    shown.type(1, BRIGHT)
    assert shown.page.inner_text("#state").startswith("Found: the model marks ")
    gone, highest = without(predictor, served_page.images, BRIGHT)
    Image.fromarray(gone).save(tmp_path / "gone.png")
    shown.upload(tmp_path / "gone.png")
    shown.settled()
    assert shown.page.inner_text("#state") == (
        "Not found by this model: no pixel is above the threshold 0.50; the highest probability is at most "
        f"{np.ceil(highest * 100) / 100:.2f}. This does not say that it is not there."
    )
    assert shown.told(1).startswith("Not found by this model · 0 px")
    shown.upload(served_page.unlike)
    shown.settled()
    assert shown.told(1).startswith("Cannot judge · ")
    assert "more colour than any of the training images" in shown.page.inner_text("#state")
    empty = not shown.mask().any()
    told = "Its mask is empty, which does not say that nothing is there." if empty else "do not rely on it."
    assert shown.page.inner_text("#state").endswith(told)
    assert shown.page.inner_text("#familiar").startswith("The model cannot judge this image")


def test_the_highest_probability_is_not_below_the_true_one(
    opened: Shown, served_page: Any, predictor: Predictor
) -> None:
    opened.type(1, "a zebra")
    opened.set_threshold(99)
    highest = of(predictor, served_page, "a zebra").probability.max()
    told = re.search(r"at most (\d\.\d\d)", opened.page.inner_text("#state"))
    if told is None:
        assert highest > np.float32(0.99)
    else:
        assert float(told[1]) - 0.01 <= highest <= float(told[1])


def test_what_changes_if_i_say_instead(opened: Shown, served_page: Any, predictor: Predictor) -> None:
    """Two prompts side by side, and areas only in one, only in the other, in both."""
    opened.type(1, "disc")
    opened.page.get_by_role("button", name="Instead… of").click()
    field = opened.page.get_by_label("Prompt 2", exact=True)
    assert field.evaluate("one => one === document.activeElement")
    assert field.input_value() == "disc"
    opened.page.get_by_text("Nothing changes: the two masks are the same").wait_for()
    opened.type(2, BRIGHT)
    first, second = of(predictor, served_page, "disc").mask, of(predictor, served_page, BRIGHT).mask
    expected = [int((first & ~second).sum()), int((second & ~first).sum()), int((first & second).sum())]
    assert expected[2] > 0
    assert sum(expected[:2]) > 0
    cells = opened.page.locator("#numbers tbody td:nth-child(2)").all_inner_texts()
    assert cells == [f"{one:,} px" for one in expected]
    dice = 2 * expected[2] / (first.sum() + second.sum())
    assert f"(Dice): {dice:.3f}" in opened.page.inner_text("#difference-words")
    assert opened.page.locator("#panes figure > canvas:visible").count() == 3
    _same_view(opened)
    opened.page.get_by_role("button", name="Side by side").click()
    opened.painted()
    assert opened.page.locator("#panes figure > canvas:visible").count() == 1


def _same_view(shown: Shown) -> None:
    """What is zoomed in one picture is zoomed in the others: their middles show the same place."""
    page = shown.page
    box = page.locator("#canvas-b").bounding_box()
    assert box is not None
    page.locator("#opacity").fill("0")
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.4)
    page.mouse.wheel(0, -1200)
    places = [(x / 8, y / 8) for x in range(1, 8) for y in range(1, 8)]
    found = [shown.pixels(f"canvas-{name}", places) for name in ("a", "b")]
    same = [one == other and one[3] == 255 for one, other in zip(*found, strict=True)]
    assert np.mean(same) > 0.6  # elsewhere runs the outline of one of them; noise is not alike by chance


def test_zoom_and_pan(opened: Shown) -> None:
    """With the whole image in sight a corner of the window is bare; zoomed in it is not, and back again."""
    canvas = opened.page.locator("#canvas-a")

    def bare() -> bool:
        return opened.pixel("canvas-a", 0.01, 0.5)[3] == 0

    assert bare()
    canvas.press("+")
    canvas.press("+")
    assert not bare()
    canvas.press("0")
    assert bare()
    canvas.hover()
    opened.page.mouse.wheel(0, -600)
    assert not bare()
    for _ in range(12):
        canvas.press("Shift+ArrowLeft")
    assert bare()  # the image's left edge is in the middle now
    opened.page.get_by_role("button", name="Fit").click()
    assert bare()
    opened.page.get_by_role("button", name="Zoom in").click(click_count=3)
    assert not bare()


def test_the_pictures_place_is_right(opened: Shown, served_page: Any) -> None:
    """The bright disc is shown where it is in the file, in its colour."""
    opened.type(1, BRIGHT)
    opened.page.locator("#opacity").fill("100")
    mask = opened.mask()
    yy, xx = np.nonzero(mask)
    box = opened.page.locator("#canvas-a").bounding_box()
    assert box is not None
    scale = min(box["width"], box["height"]) / 32
    x = 0.5 + (xx.mean() + 0.5 - 16) * scale / box["width"]
    y = 0.5 + (yy.mean() + 0.5 - 16) * scale / box["height"]
    red, _, blue, _ = opened.pixel("canvas-a", x, y)
    assert blue - red > 60  # the first look is blue
    away = opened.pixel("canvas-a", 1 - x, y)
    assert abs(away[2] - away[0]) < 30


def test_spacing_and_calibrated_presence(opened: Shown, served_page: Any) -> None:
    """As servers with formats that have a spacing, and calibrated models, answer."""

    def change(values: Any) -> None:
        values["spacing_mm"] = [0.5, 0.25]
        judged = values["results"][0]["state"] != "cannot_judge"
        values["results"][0]["presence"] = {"score": 0.914, "calibrated": judged, "n": 80 if judged else None}

    changed(opened, "**/segment", change)
    area = opened.type(1, BRIGHT)["area_px"]
    assert opened.told(1).startswith(f"Found · {area} px, {area / 8:.1f} mm² · presence 0.91 (n = 80)")
    told = "Probability that it is there: 0.91 (calibrated on n = 80 validation samples)."
    assert opened.page.inner_text("#presence") == told
    opened.upload(served_page.unlike)
    assert " · presence score 0.91" in opened.told(1)
    told = "Presence score 0.91; no probability for an image that the model cannot judge."
    assert opened.page.inner_text("#presence") == told


def test_the_overlay_is_the_servers(opened: Shown) -> None:
    opened.type(1, BRIGHT)
    with Image.open(io.BytesIO(opened.save("Overlay"))) as image:
        assert image.size == (32, 32)
        assert image.info["Comment"] == NOTICE
