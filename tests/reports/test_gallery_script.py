"""The gallery's script in a real browser: filters, search, sorting, the count that is read aloud."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pictured import absent, evaluation, page, run_of, score

from vlseg.reports.gallery import gallery

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="untested: no chromium")

ROWS = [
    score("p-1", 0.9, target="cyst", wording="a large cyst", area=110, dataset="one"),
    score("p-12", 0.2, target="nodule", wording="a small nodule", area=310, dataset="one"),
    score("p-2", 0.5, target="cyst", wording="ein Knoten", area=210, dataset="two"),
    absent("p-3", marked=False, target="cyst", dataset="two"),
    score("p-2", 0.1, target="cyst", wording="ein Kn0ten", area=10, area_error=-200, dataset="two", condition="typos"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of ROWS in a window of a phone; nothing may be said on the console or asked of a network."""
    file = tmp_path / "page.html"
    file.write_text(page(gallery=gallery([run_of([evaluation(tmp_path / "e", ROWS)])])), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 390, "height": 844})
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    tab.goto(file.as_uri())
    yield tab
    tab.close()
    assert said == []


def samples(tab: Any, count: int) -> list[str]:
    """Of the cards, once so many are said to be shown."""
    tab.wait_for_function(f"document.querySelector('.count').textContent === '{count} of 5 shown'", timeout=10_000)
    return list(tab.eval_on_selector_all("ul.gallery small bdi:first-child", "all => all.map(one => one.textContent)"))


def test_all_is_shown_first_and_nothing_is_wider_than_the_page(shown: Any) -> None:
    assert samples(shown, 5) == ["p-12", "p-2", "p-1", "p-3", "p-2"]
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert shown.locator(".count").get_attribute("aria-live") == "polite"
    labelled = "all => all.every(one => one.labels.length === 1 && one.labels[0].textContent.trim())"
    assert shown.eval_on_selector_all("#gallery-controls :is(input, select)", labelled)


def test_filters_narrow_together_and_all_comes_back(shown: Any) -> None:
    shown.get_by_label("target", exact=True).select_option("cyst")
    assert samples(shown, 4) == ["p-2", "p-1", "p-3", "p-2"]
    shown.get_by_label("dataset").select_option("two")
    assert samples(shown, 3) == ["p-2", "p-3", "p-2"]
    shown.get_by_label("asked with").select_option("own prompt")
    assert samples(shown, 2) == ["p-2", "p-3"]
    shown.get_by_label("target is").select_option("absent")
    assert samples(shown, 1) == ["p-3"]
    shown.get_by_role("button", name="show all").click()
    assert samples(shown, 5) == ["p-12", "p-2", "p-1", "p-3", "p-2"]


def test_a_range_of_dice_leaves_out_what_has_none(shown: Any) -> None:
    shown.get_by_label("from").fill("0")
    assert samples(shown, 4) == ["p-12", "p-2", "p-1", "p-2"]
    shown.get_by_label("to", exact=True).fill("0.5")
    assert samples(shown, 3) == ["p-12", "p-2", "p-2"]
    shown.get_by_label("from").fill("0.95")
    assert samples(shown, 0) == []
    shown.get_by_label("to", exact=True).fill("1")
    shown.get_by_label("from").fill("0.9")
    assert samples(shown, 1) == ["p-1"]


def test_the_search_finds_all_words_and_quotes_one_alone(shown: Any) -> None:
    search = shown.get_by_label("search")
    search.fill("P-1")
    assert samples(shown, 2) == ["p-12", "p-1"]
    search.fill('"p-1"')
    assert samples(shown, 1) == ["p-1"]
    search.fill("ein")
    assert samples(shown, 2) == ["p-2", "p-2"]
    search.fill("ein typos")
    assert samples(shown, 1) == ["p-2"]
    search.fill("(.*[")
    assert samples(shown, 0) == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("Dice, lowest first", ["p-2", "p-12", "p-2", "p-1", "p-3"]),
        ("Dice, highest first", ["p-1", "p-2", "p-12", "p-2", "p-3"]),
        ("name", ["p-1", "p-2", "p-2", "p-3", "p-12"]),
        ("area of the truth, smallest first", ["p-3", "p-1", "p-2", "p-2", "p-12"]),
        ("area of the answer, largest first", ["p-12", "p-2", "p-1", "p-2", "p-3"]),
    ],
)
def test_cards_are_sorted_and_those_without_a_value_come_last(shown: Any, order: str, expected: list[str]) -> None:
    shown.get_by_label("sort by").select_option(order)
    shown.wait_for_timeout(300)
    assert samples(shown, 5) == expected


def test_outlines_can_be_taken_away_and_cards_be_large_by_keyboard(shown: Any) -> None:
    path = shown.locator("ul.gallery path.truth").first
    assert path.is_visible()
    width = shown.locator("ul.gallery li").first.bounding_box()["width"]
    shown.get_by_label("outlines").focus()
    shown.keyboard.press("Space")
    path.wait_for(state="hidden")
    shown.keyboard.press("Tab")
    shown.keyboard.press("Space")
    shown.wait_for_function(f"document.querySelector('ul.gallery li').getBoundingClientRect().width > {1.5 * width}")


def test_on_paper_there_are_twelve_cards_no_controls_and_a_line_that_says_so(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    rows = [score(f"s{number:02d}", 0.5) for number in range(30)]
    file.write_text(page(gallery=gallery([run_of([evaluation(tmp_path / "e", rows)])])), encoding="utf-8")
    tab = browser.new_page()
    tab.goto(file.as_uri())
    note = tab.get_by_text("Only the first cards are printed")
    assert not note.is_visible()
    tab.emulate_media(media="print")
    assert note.is_visible()
    assert not tab.locator("#gallery-controls").is_visible()
    assert sum(tab.locator("ul.gallery li").nth(place).is_visible() for place in range(30)) == 12
    tab.close()
