"""Corruptions of one kind of scanner."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from vlseg.data.cards import card_names, find_card
from vlseg.evaluation import CORRUPTIONS, SCANNERS, SEVERITIES, corrupted_queries
from vlseg.jobs.datasets import open_pool

KINDS = {name: corrupt for kinds in SCANNERS.values() for name, corrupt in kinds.items()}
FLAT = np.full((200, 240, 3), 0.5, dtype=np.float32)


def seeded(number: int = 7) -> np.random.Generator:
    return np.random.default_rng(number)


@pytest.mark.parametrize("size", [(120, 200), (33, 20), (256, 256), (1, 1)])
@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_each_severity_changes_more_and_stays_an_image(name: str, grey: bool, size: tuple[int, int]) -> None:
    image = seeded(0).uniform(0.3, 0.7, (*size, 1 if grey else 3)).astype(np.float32)
    image = np.ascontiguousarray(np.broadcast_to(image, (*size, 3)))
    before = image.copy()
    for seed in range(4):
        changes = []
        for severity in SEVERITIES:
            one = KINDS[name](image, severity, seeded(seed))
            assert (one.shape, one.dtype) == (image.shape, np.float32)
            assert 0 <= one.min() <= one.max() <= 1
            np.testing.assert_array_equal(one, KINDS[name](image, severity, seeded(seed)))
            assert name == "hair" or not grey or bool((one == one[..., :1]).all())
            changes.append(float(np.abs(one - image).mean()))
        if min(size) > 20:
            assert all(less < more for less, more in pairwise(changes)), (seed, changes)
            assert changes[0] > 0
            assert not np.array_equal(one, KINDS[name](image, 5, seeded(seed + 10)))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", KINDS)
def test_a_severity_has_more_of_the_same(name: str) -> None:
    """What a lower one changes a higher one changes as well."""
    mild, hard = (np.abs(KINDS[name](FLAT, severity, seeded()) - FLAT).max(2) for severity in (2, 4))
    assert (hard > 0.01)[mild > 0.05].all()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_strengths_are_those_in_the_documentation(severity: int) -> None:
    made = {name: corrupt(FLAT, severity, seeded()) for name, corrupt in KINDS.items()}
    at = severity - 1
    rows = made["gain"][:, :1, :1]
    assert np.abs(rows / 0.5 - 1).max() == pytest.approx((0.2, 0.35, 0.5, 0.7, 0.9)[at], rel=0.1)
    np.testing.assert_array_equal(made["gain"], np.broadcast_to(rows, FLAT.shape))
    bottom = made["shadow"][-1, :, 0]
    assert (bottom < 0.25).mean() == pytest.approx((0.08, 0.14, 0.21, 0.3, 0.4)[at], abs=0.03)
    assert bottom.min() == pytest.approx(0.025, abs=0.002)
    assert (made["shadow"][: 200 // 20] == 0.5).all()  # above it all is as it was
    spots = ndimage.label(made["highlights"][..., 0] > 0.75)[1]
    assert 0.3 * (6, 15, 40, 90, 200)[at] <= spots <= (6, 15, 40, 90, 200)[at]  # they overlap
    assert made["highlights"].min() == 0.5
    assert made["hair"].max() == 0.5
    assert made["hair"].min() < 0.25
    behind = (0.05, 0.1, 0.18, 0.28, 0.4)[at]
    assert (made["collimation"][..., 0] > 0.25).mean() == pytest.approx((1 - behind) ** 2, abs=0.04)
    assert made["collimation"].min() == pytest.approx(0.015, abs=0.001)


def test_every_modality_is_a_cards() -> None:
    assert set(SCANNERS) <= {find_card(name).modality for name in card_names()}
    assert not set(KINDS) & set(CORRUPTIONS)


def test_the_datasets_modality_decides(make_dataset: Callable[..., Path]) -> None:
    folder = make_dataset(counts=(1, 1, 2))
    plain = open_pool([str(folder)], "p1")
    info = folder / "dataset.json"
    values = json.loads(info.read_text()) if info.exists() else {}
    info.write_text(json.dumps({**values, "modality": "ultrasound"}))
    pool = open_pool([str(folder)], "p1")
    assert (plain.datasets[0].info.modality, pool.datasets[0].info.modality) == ("", "ultrasound")
    name = pool.datasets[0].info.name
    queries = corrupted_queries(pool.split("test"), 0, {name: SCANNERS["ultrasound"], "other": SCANNERS["dermoscopy"]})
    assert {query.condition for query in queries[4:]} == {*CORRUPTIONS, "gain", "shadow"}
    assert len(queries) == 4 * (1 + 8 * 5)
    assert len(corrupted_queries(plain.split("test"), 0)) == 4 * (1 + 6 * 5)


def test_scanners_corruptions_are_scored(trained: Path, vlseg: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained / "data", data)
    info = data / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "modality": "dermoscopy"}))
    done = vlseg(
        *("evaluate", trained / "run", "--data", data, "--condition", "corrupted"),
        *("--device", "cpu", "--out", tmp_path / "c", "--json"),
    )
    assert done.code == 0, done.err
    assert {row["corruption"] for row in done.json["corruptions"]} == {*CORRUPTIONS, "hair"}
