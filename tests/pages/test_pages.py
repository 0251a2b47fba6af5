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
