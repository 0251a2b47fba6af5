"""One hand: colours that all eyes tell apart, names that XML can hold, files that are the same twice."""

import itertools
import logging
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from drawn_figures import ODD, SVG, estimate
from PIL import Image

from vlseg.records import InputError
from vlseg.reports.figures import Figure, intervals
from vlseg.reports.figures.style import BLUE, GREEN, INK, PURPLE, SERIES, VERMILLION, contrast

STYLE_SHEET = Path(__file__).parents[3] / "src/vlseg/reports/templates/style.css"
WHITE, DARK = "#ffffff", "#14191f"
LIGHT_MODE = [BLUE, VERMILLION, GREEN, PURPLE, INK]
DARK_MODE = ["#56b4e9", VERMILLION, GREEN, PURPLE, "#e8edf2"]
"""In the dark the page's own mark and ink take the places of the first and the last."""
EYES = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Of linear RGB (Machado, Oliveira and Fernandes 2009, severity 1)."""


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of linear sRGB, D65."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(x > 216 / 24389, np.cbrt(x), (24389 / 27 * x + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_colours_stand_out_from_both_papers() -> None:
    assert contrast(WHITE, "#000000") == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.01)  # the usual example of WCAG
    for paper, palette in ((WHITE, LIGHT_MODE), (DARK, DARK_MODE), (DARK, LIGHT_MODE[:4])):
        for colour in palette:
            assert contrast(colour, paper) >= 3, (colour, paper)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("palette", [LIGHT_MODE, DARK_MODE], ids=["light", "dark"])
def test_colours_differ_for_all_eyes(eyes: str, palette: list[str]) -> None:
    """15 in L*a*b* is more than six just noticeable differences."""
    seen = {colour: lab(EYES[eyes] @ linear(colour)) for colour in palette}
    for first, second in itertools.combinations(palette, 2):
        assert np.linalg.norm(seen[first] - seen[second]) >= 15, (first, second)


def test_series_differ_without_colour() -> None:
    assert len({marker for _, marker, _ in SERIES}) == len(SERIES)
    assert len({(colour, line) for colour, _, line in SERIES}) == len(SERIES)


def test_the_papers_are_the_style_sheets() -> None:
    text = STYLE_SHEET.read_text()
    light, dark = text.split("prefers-color-scheme: dark")[:2]
    assert f"--paper: {WHITE}" in light
    assert f"--ink: {INK}" in light
    assert f"--mark: {BLUE}" in light
    assert f"--paper: {DARK}" in dark
    assert f"--ink: {DARK_MODE[-1]}" in dark
    assert f"--mark: {DARK_MODE[0]}" in dark


def drawn(name: str = "x") -> Figure:
    figure = intervals([(label, estimate(0.1 * i)) for i, label in enumerate(ODD)], name=name)
    assert figure is not None
    return figure


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = drawn(), drawn()
    assert first == second
    for one, other in zip(first.write(tmp_path / "a"), second.write(tmp_path / "b"), strict=True):
        assert one.read_bytes() == other.read_bytes()
    again = first.write(tmp_path / "c")
    assert again[0].read_bytes() == (tmp_path / "a/x.svg").read_bytes()


def test_files_are_black_on_white_and_large_enough(tmp_path: Path) -> None:
    drawing, picture = drawn("for print").write(tmp_path)
    assert [drawing.name, picture.name] == ["for-print.svg", "for-print.png"]
    text = drawing.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    background = root.find(f".//{SVG}g[@id='patch_1']/{SVG}path")
    assert background is not None
    assert "#ffffff" in (background.get("style") or "")
    assert "currentColor" not in text
    assert "var(" not in text
    assert "dc:date" not in text
    assert "Matplotlib" not in text
    assert 'a <b> & "c"' in [node.text for node in root.iter(f"{SVG}text")]
    with Image.open(picture) as image:
        assert min(image.info["dpi"]) >= 200
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert not {"Software", "date:create", "Creation Time"} & image.info.keys()


def test_the_callers_settings_change_nothing() -> None:
    plain = drawn()
    with mpl.rc_context({"font.size": 30, "text.usetex": False, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert drawn() == plain
        assert mpl.rcParams["font.size"] == 30


def test_nothing_is_said_about_a_letter_that_the_font_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        intervals([("多模态", estimate(0.5))]).write(tmp_path)  # type: ignore[union-attr]
    assert not caplog.records


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        drawn().write(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "file"), [("../../x", "x"), ("a/b c:d", "a-b-c-d"), ("", "figure"), ("é" * 300, "é" * 100)]
)
def test_names_become_files(name: str, file: str) -> None:
    assert drawn(name).name == file
