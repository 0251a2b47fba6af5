"""Cells of a made-up study, as its ledger gives them to tables."""

from typing import Any

from vlseg.records.study import Cell


def estimate(
    mean: float | None, half_width: float | None = 0.02, n: int = 100, reason: str | None = None
) -> dict[str, Any]:
    """As `Estimate` is written."""
    ends = None if half_width is None or mean is None else [mean - half_width, mean + half_width]
    return {"mean": mean, "std": 0.1, "ci95": ends, "n": n, "reason": reason}


def labels(model: str = "cris", data: str = "kvasir-seg", seed: int | str = 0, **others: str) -> dict[str, str]:
    """All labels that an evaluation has."""
    usual = {
        "part": "individual",
        "model": model,
        "trained_on": data,
        "prompt": "p6",
        "regime": "full",
        "protocol": "published",
        "seed": str(seed),
        "fold": "",
        "share": "1",
        "data": data,
        "asked": "p6",
        "condition": "clean",
        "split": "test",
    }
    return usual | others


def evaluated(
    dice: float | None,
    half_width: float | None = 0.02,
    n: int = 100,
    reason: str | None = None,
    values: dict[str, Any] | None = None,
    kind: str = "evaluate",
    **own: Any,
) -> Cell:
    """An evaluation with this Dice; `own` are labels, `values` further values."""
    usual = {"n": n, "dice": estimate(dice, half_width, n, reason), "told": "prompt", "deployable": True}
    usual |= {"prompt_source": ["class"], "note": None, "distance_unit": "px"}
    return Cell(kind, labels(**own), usual | (values or {}))
