"""What holds for every figure."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_figures import SVG, change, checked, estimate

from vlseg.metrics import Effect, Ranks, RiskCoverage
from vlseg.reports import figures
from vlseg.reports.environment import page_environment
from vlseg.reports.figures import Figure

EFFECT = Effect("wrong_shape", change(-0.2), 0.5, None, estimate(0.8))
FIGURES: dict[str, Callable[[], Figure | None]] = {
    "attributes": lambda: figures.attributes([("a", {"shape": {"wrong": EFFECT, "random": EFFECT}})]),
    "critical_difference": lambda: figures.critical_difference(
        Ranks(("a", "b", "c"), (1.0, 2.0, 3.0), 9, 9.0, 9.0, 0.01, 1.2, 0.05, (("a", "b"), ("b", "c")))
    ),
    "differences": lambda: figures.differences([("a", change(0.1)), ("b", change(-0.1))]),
    "domain_shift": lambda: figures.domain_shift(
        [(str(i), {str(j): 0.1 * j for j in range(9)}, "0") for i in range(3)]
    ),
    "intervals": lambda: figures.intervals([("a", estimate(0.5)), ("b", estimate(0.2, None))], lines={"ceiling": 0.7}),
    "language_slopes": lambda: figures.language_slopes([EFFECT]),
    "learning_curves": lambda: figures.learning_curves([("a", [{"step": 1.0, "loss": 0.5, "val_dice": 0.4}])]),
    "prompt_curves": lambda: figures.prompt_curves({"a": {"p0": estimate(0.3), "p1": estimate(0.5)}}, leaking={"p1"}),
    "reliability": lambda: figures.reliability([("a", [(0.1, 0.2, 10), (0.9, 0.7, 5)])]),
    "risk_curves": lambda: figures.risk_curves([("a", RiskCoverage((0.5, 1.0), (0.1, 0.2), 0.1, 0.1, 0.2))]),
    "robustness": lambda: figures.robustness({"pgd": {0.0: estimate(0.9), 0.03: estimate(0.4)}}, levels=True),
    "severities": lambda: figures.severities({("blur", 1): EFFECT}, 0.7),
    "swapped_prompts": lambda: figures.swapped_prompts([("own", estimate(0.8)), ("other", estimate(0.1))]),
}


def test_every_figure_is_here() -> None:
    assert set(FIGURES) == set(figures.__all__) - {"Figure"}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_numbers_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = checked(FIGURES[name]()), checked(FIGURES[name]())
    assert first == second
    files = [one.write(tmp_path / folder) for one, folder in ((first, "a"), (second, "b"))]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()
    ids = [node.get("id") for node in ET.parse(files[0][0]).iter() if node.get("id")]
    assert len(ids) == len(set(ids))


def test_all_share_a_page() -> None:
    """No id at all, so none twice; nothing that reaches beyond its own drawing."""
    page = "".join(checked(draw()).inline for draw in FIGURES.values())
    root = ET.fromstring(f"<div>{page}</div>")
    assert len(root) == len(FIGURES)
    assert not [node for node in root.iter() if "id" in node.attrib or node.tag == f"{SVG}style"]
    assert not re.search(r"<script|<style|href|url\(|<!--|http(?!://www\.w3\.org/2000/svg)", page)


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_drawn_outside(name: str) -> None:
    """There are no clip paths in the page: what lies beyond the axes must not be drawn at all."""
    figure = checked(FIGURES[name]())
    width, height = (float(one) for one in ET.fromstring(figure.inline).get("viewBox", "").split()[2:])
    for node in ET.fromstring(figure.inline).iter(f"{SVG}path"):
        numbers = np.array(re.findall(r"-?\d+(?:\.\d+)?", node.get("d", "")), dtype=float).reshape(-1, 2)
        moved = re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", node.get("transform", ""))
        points = numbers + (np.array(moved.groups(), dtype=float) if moved else 0)
        assert points.min() >= -1
        assert (points.max(axis=0) <= (width + 1, height + 1)).all()


def test_the_page_scrolls_a_wide_figure_in_a_region_of_its_own() -> None:
    show = page_environment().get_template("parts.html.j2").module.figure  # type: ignore[attr-defined]
    wide, narrow = checked(FIGURES["domain_shift"]()), checked(FIGURES["intervals"]())
    assert wide.wide
    assert '<div class="scroll" role="region"' in show(wide)
    assert "scroll" not in show(narrow)
    for one in (wide, narrow):
        assert one.inline in show(one)
        assert show(one).startswith('<figure class="figure">')
    assert show(None) == ""
