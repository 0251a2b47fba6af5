"""Every simulated number in docs/statistics.md is one of the committed results."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "interval_coverage.json").read_text())
    return values


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "statistics.md").read_text()


def shares(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"(\d+\.\d) %", text)]


def test_coverage_of_one_model(results: dict[str, Any], page: str) -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+)(?: \(not reported\))? \|(.*)\|$", page, re.MULTILINE)
    shown = {(int(n), int(groups)): shares(rest) for n, groups, rest in rows}
    expected = {
        (case["n"], case["groups"]): [round(100 * case["coverage"][m], 1) for m in ("percentile", "bca", "t")]
        for case in results["cases"]
    }
    assert shown == expected
    assert f"{results['trials']:,} trials" in page
    assert f"true mean Dice {results['true_mean']:.3f}" in page


def test_coverage_over_seeds(results: dict[str, Any], page: str) -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \((\d+)\) \|(.*)\|$", page, re.MULTILINE)
    shown = {(name, int(groups), int(images)): shares(rest) for name, groups, images, rest in rows}
    expected: dict[tuple[str, int, int], list[float]] = {}
    for one in results["two_level"]:
        pair = [round(100 * one[kind]["coverage"], 1) for kind in ("ours", "percentile")]
        expected.setdefault((one["spread"], one["groups"], one["images"]), []).extend(pair)
    assert shown == expected
    assert f"{results['two_level_trials']:,} trials" in page
    usual = [
        one["ours"]["coverage"] for one in results["two_level"]
        if (one["spread"], one["groups"]) != ("no patient differs", 10)
    ]  # fmt: skip
    assert 0.925 <= min(usual) <= max(usual) <= 0.975
    assert f"{100 * min(one['patients']['coverage'] for one in results['two_level']):.1f} % of the time" in page


def test_error_and_power(results: dict[str, Any], page: str) -> None:
    errors = results["type_one_error_at_0.05"].values()
    assert f"rejects {100 * min(errors):.1f} to {100 * max(errors):.1f}\ntimes in a hundred" in page
    assert 0.04 <= min(errors) <= max(errors) <= 0.06
    families = [one for one in results["power"] if one["family"] > 1]
    for kind in ("power_stated_for_the_family", "power_stated_alone"):
        found = [100 * one[kind] for one in families]
        assert f"{min(found):.0f} to {max(found):.0f}" in page
    assert all(0.77 <= one["power_stated_for_the_family"] <= 0.83 for one in results["power"])


def test_coverage_where_the_interval_is_cut(results: dict[str, Any], page: str) -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \|((?: [\d.]+ % \|){3}) (\S+, \S+) \| (\S+, \S+) \|$", page, re.MULTILINE)
    shown = {(name, int(groups)): [*shares(rest), t, cut] for name, groups, rest, t, cut in rows}
    expected = {
        (one["scenario"], one["groups"]): [
            *(round(100 * one[kind]["coverage"], 1) for kind in ("t", "gaffke", "both")),
            *(f"{one[kind]['below']:.3f}, {one[kind]['above']:.3f}" for kind in ("t", "both")),
        ]
        for one in results["bounded"]
        if one["unequal"] and one["groups"] in (12, 41, 100)
    }
    assert shown == expected
    assert f"{results['bounded_trials']:,} trials" in page


def test_the_cut_costs_little_coverage_and_shortens_what_runs_away(results: dict[str, Any], page: str) -> None:
    lost = [one["t"]["coverage"] - one["both"]["coverage"] for one in results["bounded"]]
    assert max(lost) < 0.01
    assert f"costs {100 * max(lost):.1f} points of coverage at most" in page
    for one in results["bounded"]:
        assert all(one["both"][side] <= one["t"][side] for side in ("below", "above"))
    away = [one for one in results["bounded"] if one["scenario"].startswith("change, 9") and one["groups"] <= 100]
    assert away
    assert all(one["both"]["below"] < 0.9 * one["t"]["below"] for one in away)
