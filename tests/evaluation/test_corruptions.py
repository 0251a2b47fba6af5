"""Image corruptions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlseg.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupted_queries
from vlseg.jobs.datasets import open_pool


def picture(grey: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.2, 0.8, (160, 200, 1 if grey else 3))
    smooth = (image + np.linspace(0, 0.2, 200)[None, :, None]).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(smooth, (160, 200, 3)))


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_more_and_stays_an_image(name: str, grey: bool) -> None:
    image = picture(grey)
    before = image.copy()
    changes = []
    for severity in SEVERITIES:
        one = CORRUPTIONS[name](image, severity, np.random.default_rng(7))
        again = CORRUPTIONS[name](image, severity, np.random.default_rng(7))
        assert (one.shape, one.dtype) == (image.shape, np.float32)
        assert 0 <= one.min() <= one.max() <= 1
        np.testing.assert_array_equal(one, again)
        if grey:
            np.testing.assert_allclose(one[..., 0], one[..., 2], atol=1 / 255)
        changes.append(float(np.abs(one - image).mean()))
    assert changes == sorted(changes)
    assert changes[0] > 0
    np.testing.assert_array_equal(image, before)


def test_strengths_are_those_in_the_documentation() -> None:
    flat = np.full((200, 200, 3), 0.5, dtype=np.float32)
    rng = np.random.default_rng(0)
    assert CORRUPTIONS["gaussian_noise"](flat, 3, rng).std() == pytest.approx(0.08, rel=0.05)
    assert CORRUPTIONS["speckle"](flat, 1, rng).std() == pytest.approx(0.05, rel=0.05)
    assert (CORRUPTIONS["occlusion"](flat, 4, rng) == 0).mean() == pytest.approx(0.16, rel=0.05)
    ramp = np.broadcast_to(np.linspace(0, 1, 200, dtype=np.float32)[None, :, None], (200, 200, 3))
    assert CORRUPTIONS["contrast"](ramp, 2, rng).std() == pytest.approx(0.5 * ramp.std(), rel=0.01)


def test_all_prompts_of_an_image_share_what_is_seen(make_dataset: Callable[..., Path]) -> None:
    pool = open_pool([str(make_dataset(counts=(1, 1, 2)))], "p1")
    queries = corrupted_queries(pool.split("test"), 0)
    assert len(queries) == 4 * (1 + 6 * 5)
    views: dict[tuple[str, str, str], set[int]] = {}
    for query in queries[4:]:
        key = (query.prompted.sample.image_id, query.condition, str(query.truths[0].arguments))
        views.setdefault(key, set()).add(id(query.view))
    assert all(len(found) == 1 for found in views.values())


def test_corrupted_scores_from_the_command_line(trained: Path, vlseg: Callable[..., Any], tmp_path: Path) -> None:
    done = vlseg(
        *("evaluate", trained / "run", "--data", trained / "data", "--condition", "corrupted"),
        *("--device", "cpu", "--out", tmp_path / "c", "--json"),
    )
    assert done.code == 0, done.err
    rows = done.json["corruptions"]
    assert {(row["corruption"], row["severity"]) for row in rows} == {(c, s) for c in CORRUPTIONS for s in SEVERITIES}
    assert all(row["n"] == 6 and row["delta_dice"] is not None for row in rows)
    assert all(row["ci95"] is None and row["reason"] for row in rows)
