"""The checks of pages find what they are for: each on a page that is broken in one way, and on none that is whole."""

import shutil
from pathlib import Path

import pytest
from browsing import (
    Opened,
    axe_findings,
    blank_pictures,
    colours,
    cut_in_print,
    missing_in_pdf,
    open_page,
    sideways,
)
from playwright.sync_api import Browser

WHOLE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark }} body {{ color: #111; background: #fff }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; background: #111 }} }}
@page {{ margin: 14mm }}</style></head><body><main><h1>A page</h1>
<table><thead><tr><th>first</th><th>the last one</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>
{}</main></body></html>"""
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
OTHER = "http://127.0.0.1:9/elsewhere.png"


def written(folder: Path, part: str = "") -> Path:
    path = folder / "page.html"
    path.write_text(WHOLE.format(part), encoding="utf-8")
    return path


def every_finding(opened: Opened, folder: Path) -> dict[str, list[str]]:
    found = {
        "complaints": opened.complaints(),
        "outside": opened.outside(),
        "axe": axe_findings(opened.page),
        "sideways": sideways(opened.page),
        "print": cut_in_print(opened.page),
        "blank": blank_pictures(opened.page),
    }
    if shutil.which("pdftotext"):
        found["pdf"] = missing_in_pdf(opened.page, folder / "page.pdf")
    return {name: ones for name, ones in found.items() if ones}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_whole_page_is_found_whole(scheme: str, browser: Browser, tmp_path: Path) -> None:
    page = written(tmp_path, f'<img alt="a dot" src="{PIXEL}"><script>console.log("said to nobody")</script>')
    with open_page(browser, page, scheme=scheme) as opened:
        assert every_finding(opened, tmp_path) == {}
        assert opened.asked[0] == opened.url
        background, text = colours(opened.page)
        assert (background < text) == (scheme == "dark")


@pytest.mark.parametrize(
    ("part", "finds"),
    [
        (f'<img alt="elsewhere" src="{OTHER}">', {"outside", "complaints", "blank"}),
        (f'<style>body {{ background-image: url("{OTHER}") }}</style>', {"outside", "complaints"}),
        ('<img alt="" src="data:image/png;base64,AAAA">', {"blank"}),
        ("<script>console.error('oh')</script>", {"complaints"}),
        ("<script>console.warn('oh')</script>", {"complaints"}),
        ("<script>throw new Error('oh')</script>", {"complaints"}),
        (
            "<script>fetch('data:,1').then(() => fetch('other.json')).catch(() => {})</script>",
            {"outside", "complaints"},
        ),
        ('<p style="color: #999; background: #aaa">Grey on grey.</p>', {"axe"}),
        (f'<img src="{PIXEL}">', {"axe"}),
        ('<div style="width: 2000px">wide</div>', {"sideways"}),
        ('<div class="scroll" style="overflow: auto" tabindex="0"><div style="width: 2000px">wide</div></div>', set()),
    ],
)
def test_what_is_broken_is_found(part: str, finds: set[str], browser: Browser, tmp_path: Path) -> None:
    with open_page(browser, written(tmp_path, part)) as opened:
        opened.page.wait_for_timeout(200)
        assert set(every_finding(opened, tmp_path)) == finds


def test_grey_text_of_the_dark_page_is_found_there_alone(browser: Browser, tmp_path: Path) -> None:
    page = written(tmp_path, '<p style="color: #333">Read me.</p>')
    for scheme, count in (("light", 0), ("dark", 1)):
        with open_page(browser, page, scheme=scheme) as opened:
            assert len(axe_findings(opened.page)) == count


def test_a_table_too_wide_for_paper_is_found(browser: Browser, tmp_path: Path) -> None:
    cells = "".join(f"<th>column{index}</th>" for index in range(40))
    table = f'<table style="width: 2000px"><thead><tr>{cells}</tr></thead></table>'
    with open_page(browser, written(tmp_path, f'<div style="overflow: auto" tabindex="0">{table}</div>')) as opened:
        found = every_finding(opened, tmp_path)
    assert found.keys() - {"pdf"} == {"print"}
    assert "a table reaches to 2" in found["print"][0]
    if shutil.which("pdftotext"):
        assert found["pdf"] == ["no 'column39' in the PDF"]


def test_a_narrow_window_is_narrow(browser: Browser, tmp_path: Path) -> None:
    page = written(tmp_path, '<div style="width: 600px">wide for a phone</div>')
    for width, found in ((390, True), (1280, False)):
        with open_page(browser, page, width) as opened:
            assert bool(sideways(opened.page)) == found


def test_what_only_a_script_writes_is_missing_without(browser: Browser, tmp_path: Path) -> None:
    page = written(tmp_path, "<p id=p></p><script>document.querySelector('#p').textContent = 'written'</script>")
    texts = []
    for script in (True, False):
        with open_page(browser, page, script=script) as opened:
            texts.append(opened.page.locator("#p").text_content())
    assert texts == ["written", ""]
