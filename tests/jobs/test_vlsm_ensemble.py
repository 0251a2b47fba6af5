"""VLSM-Ensemble's networks and UNet-D at a tiny size on real ultrasound, from the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_models import TINY

from vlseg.records import read_record, read_scores

NAMES = [name for name in TINY if name == "unet-d" or name.startswith("vlsm-ensemble-")]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trained_and_evaluated_on_real_ultrasound(
    name: str, shared: Path, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data, run = shared / "data" / "busi_sample", tmp_path / "run"
    arguments = yaml.safe_dump(dict(TINY[name]), default_flow_style=True, width=10**6).strip()
    settings = {"model_arguments": arguments, "max_steps": 3, "threads": 1}
    flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
    start = ("train", "--model", name, "--data", data, "--prompt", "p6", "--device", "cpu", "--out", run)
    done = vlseg(*start, *flags)
    assert done.code == 0, done.err
    record = read_record(run / "run.json")
    assert (record.status, record.summary["steps"]) == ("done", 3)
    done = vlseg("evaluate", run, "--data", data, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    rows = read_scores(Path(done.json["scores"]))
    assert len({row.image_id for row in rows}) == 20
    assert all(row.dice is not None and 0 <= row.dice <= 1 for row in rows)
