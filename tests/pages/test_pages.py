"""Every page in a browser: silent, offline, accessible, at any width, dark, printed, without script."""

import shutil
from pathlib import Path

import pytest
from browsing import (
    WIDTHS,
    axe_findings,
    blank_pictures,
    colours,
    content,
    cut_in_print,
    missing_in_pdf,
    open_page,
    sideways,
    unfold,
)
from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PAGES = ("run_page", "runs_page", "study_page", "check_page")


@pytest.fixture(params=PAGES)
def path(request: pytest.FixtureRequest, browser: Browser) -> Path:
    page: Path = request.getfixturevalue(request.param)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_silent_and_offline_and_accessible(path: Path, scheme: str, browser: Browser) -> None:
    with open_page(browser, path, scheme=scheme) as opened:
        unfold(opened.page)
        assert axe_findings(opened.page) == []
        assert blank_pictures(opened.page) == []
        assert opened.complaints() == []
        assert opened.outside() == []
        background, text = colours(opened.page)
        assert (background < 0.2 and text > 0.7) if scheme == "dark" else (background > 0.9 and text < 0.3)


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_never_scrolled_sideways(path: Path, width: int, browser: Browser) -> None:
    with open_page(browser, path, width) as opened:
        assert sideways(opened.page) == []
        unfold(opened.page)
        assert sideways(opened.page) == []


def test_it_is_accessible_on_a_phone(path: Path, browser: Browser) -> None:
    with open_page(browser, path, 390) as opened:
        unfold(opened.page)
        assert axe_findings(opened.page) == []


def test_no_table_is_cut_in_print(path: Path, browser: Browser, tmp_path: Path) -> None:
    with open_page(browser, path) as opened:
        assert opened.page.locator("table thead").count() > 0
        assert cut_in_print(opened.page) == []
        if shutil.which("pdftotext") is None:
            pytest.skip("untested: the text of a printed page: no pdftotext (poppler-utils)")
        assert missing_in_pdf(opened.page, tmp_path / "page.pdf") == []


def test_everything_is_there_without_script(path: Path, browser: Browser) -> None:
    found = []
    for script in (True, False):
        with open_page(browser, path, script=script) as opened:
            found.append(content(opened.page))
            assert blank_pictures(opened.page) == []
            controls = opened.page.locator("form:visible, input:visible, select:visible, button:visible").count()
            assert script or controls == 0
    assert found[0] == found[1]
    assert len(found[0][0]) > 20


CARDS = """() => [...document.querySelectorAll('ul.gallery > li')].map(one => [
  one.dataset.k, one.dataset.v.split(' ')[0], one.querySelector('small').textContent, one.textContent.toLowerCase()])"""
"""Of each card in the order shown: values of filters, Dice, name, all its words."""

FIRST = "dice => Number(document.querySelector('ul.gallery > li').dataset.v.split(' ')[0]) === dice"


def dice(card: list[str]) -> float:
    return float(card[1])


@pytest.mark.parametrize("width", [390, 1280])
def test_the_gallery_sorts_and_filters(runs_page: Path, width: int, browser: Browser) -> None:
    with open_page(browser, runs_page, width) as opened:
        page = opened.page
        every = page.evaluate(CARDS)
        known = [card for card in every if card[1] != "-"]
        assert (len(every), 0 < len(known) < len(every)) == (180, True)
        order = page.get_by_label("sort by")
        order.select_option("Dice, highest first")

        def shown(count: int) -> list[list[str]]:
            page.get_by_text(f"{count} of 180 shown").wait_for()
            found: list[list[str]] = page.evaluate(CARDS)
            assert len(found) == count
            return found

        expected = sorted(map(dice, known), reverse=True)
        page.wait_for_function(FIRST, arg=expected[0])
        assert [dice(card) for card in shown(180)[: len(known)]] == expected
        order.select_option("Dice, lowest first")
        page.wait_for_function(FIRST, arg=expected[-1])
        lowest = shown(180)
        assert [dice(card) for card in lowest[: len(known)]] == expected[::-1]
        assert {card[1] for card in lowest[len(known) :]} == {"-"}

        target = page.get_by_role("combobox", name="target", exact=True)
        target.select_option("shadow")
        of_target = [card for card in every if "shadow" in card[2]]
        assert 0 < len(of_target) < 180
        assert sorted(card[2] for card in shown(len(of_target))) == sorted(card[2] for card in of_target)

        low, high = 0.8, 0.9
        page.get_by_role("spinbutton", name="from", exact=True).fill(str(low))
        page.get_by_role("spinbutton", name="to", exact=True).fill(str(high))
        between = [card for card in of_target if card[1] != "-" and low <= dice(card) <= high]
        assert 0 < len(between) < len(of_target)
        assert sorted(card[2] for card in shown(len(between))) == sorted(card[2] for card in between)

        page.get_by_role("button", name="show all").click()
        assert sorted(shown(180)) == sorted(every)
        page.get_by_label("search").fill("patient-00003 large")
        found = [card for card in every if "patient-00003" in card[3] and "large" in card[3]]
        assert 0 < len(found) < 180
        assert sorted(shown(len(found))) == sorted(found)
        page.get_by_label("search").fill("no such words")
        assert shown(0) == []
        assert opened.complaints() == []
        assert opened.outside() == []
        assert sideways(page) == []


def test_the_table_of_a_studys_runs_sorts_and_filters(study_page: Path, browser: Browser) -> None:
    with open_page(browser, study_page) as opened:
        page = opened.page
        page.get_by_text("60 runs", exact=True).click()
        head = page.locator("#runs-table thead th").all_text_contents()
        column = head.index("Dice")
        cells = page.locator("#runs-table tbody tr:visible")

        def numbers() -> list[float]:
            texts = [row.locator("th, td").nth(column).text_content() or "" for row in cells.all()]
            return [float(text.split()[0]) for text in texts if text]

        every = numbers()
        assert len(set(every)) > 5
        button = page.locator("#runs-table").get_by_role("button", name="Dice")
        button.click()
        ascending = numbers()
        button.click()
        assert sorted([ascending, numbers()]) == sorted([sorted(every), sorted(every, reverse=True)])
        page.get_by_label("Only runs with").fill("failed")
        assert 0 < cells.count() < 60
        assert all("failed" in (text or "") for text in cells.all_text_contents())
        assert opened.complaints() == []


def test_every_column_of_the_main_table_can_be_read_on_paper(runs_page: Path, browser: Browser) -> None:
    with open_page(browser, runs_page) as opened:
        opened.page.emulate_media(media="print")
        opened.page.set_viewport_size({"width": 688, "height": 1000})
        widths = opened.page.eval_on_selector_all(
            "table.cards thead th", "cells => cells.map(cell => [cell.textContent, cell.getBoundingClientRect().width])"
        )
        assert len(widths) == 7
        assert min(width for name, width in widths if name != "data") > 60


def test_a_long_name_does_not_push_the_numbers_off_the_page(runs_page: Path, tmp_path: Path, browser: Browser) -> None:
    before, main_table, after = runs_page.read_text().partition('<table class="cards">')
    named = after.replace('<th scope="row">', f'<th scope="row">{"n" * 200}', 1)
    assert named != after
    (tmp_path / "p.html").write_text(before + main_table + named)
    for width in WIDTHS:
        with open_page(browser, tmp_path / "p.html", width) as opened:
            unfold(opened.page)
            assert sideways(opened.page) == []
