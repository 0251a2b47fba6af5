"""Effects of conditions, from rows written here."""

import json

import numpy as np
import pytest

from vlseg.metrics import language_use
from vlseg.records import SampleScore


def answers(
    condition: str, dice: np.ndarray, against: str | None = None, own: float | None = None
) -> list[SampleScore]:
    """One row an image."""
    told = {} if against is None else {"against": against}
    values: dict[str, object] = {
        "dataset": "d", "split": "test", "group": None, "site": None, "target": "t", "named_target": "t", "prompt": "p",
        "wording": "w", "prompt_sources": "class", "deployable": True, "condition": condition,
        "condition_arguments": json.dumps(told), "model": "m", "run_id": "r", "seed": 0, "protocol": "corrected",
        "threshold": 0.5, "precision": "fp32", "iou": None, "hd95": None, "hd": None, "nsd": None,
        "nsd_tolerance": 2.0, "assd": None, "distance_unit": "px", "spacing": None, "image_diagonal": 9.0,
        "presence_score": None, "area": 1, "area_error": 0, "empty_target": False, "empty_pred": False,
        "overlap": 0.5, "own_dice": own,
    }  # fmt: skip
    return [
        SampleScore(**(values | {"sample_id": f"s{i}", "image_id": f"i{i}", "dice": float(one)}))  # type: ignore[arg-type]
        for i, one in enumerate(dice)
    ]


def test_what_could_be_found_fits_the_family_that_p_is_corrected_for() -> None:
    """Three conditions, two of which name something: Holm covers three tests of the own target and two of the named."""
    rng = np.random.default_rng(0)
    rows = answers("clean", rng.random(40))
    for condition in ("swapped", "absent_structure"):
        rows += answers(condition, rng.random(40), "original", own=0.5)
        rows += answers(condition, rng.random(40), "named", own=0.5)
    rows += answers("empty", rng.random(40))
    found = {effect.name: effect for effect in language_use(rows, groups_known=False).effects}
    assert {effect.original.family for effect in found.values()} == {3}
    towards = [found[name].towards for name in ("swapped", "absent_structure")]
    assert [one.family for one in towards if one] == [2, 2]
    p = [one.p for one in towards if one and one.p is not None]
    assert [one.p_holm for one in towards if one][p.index(min(p))] == pytest.approx(min(1.0, 2 * min(p)))
    for one in towards:
        assert one is not None
        assert one.detectable_holm is not None
        assert one.detectable is not None
        assert one.detectable_holm > one.detectable  # the same as alone would claim power that the correction takes
