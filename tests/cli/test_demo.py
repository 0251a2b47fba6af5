"""What the demo says at its end."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.jobs.demo import STEPS, DemoResult


def test_it_ends_by_naming_the_page_of_its_own_model(
    vlseg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command names the model that reads, as a shell takes it; the folder named holds the phantoms."""
    out = tmp_path / "a demo"

    def done(folder: Path, **_: Any) -> DemoResult:
        runs = tuple(folder / "runs" / model for model in STEPS)
        figures: dict[str, dict[str, float | None]] = {
            "text": {"dice": 0.9, "absent_empty": 1.0},
            **{name: {"dice": 0.5} for name in ("blind", "image_only", "target_conditioned")},
            "text_swapped": {"dice_vs_original": 0.1, "dice_vs_named": 0.9},
        }
        return DemoResult(runs, 0.5, 0.6, figures, 1.0)

    monkeypatch.setattr("vlseg.jobs.demo.run_demo", done)
    monkeypatch.setattr("vlseg.jobs.compare.comparison_for_report", lambda runs: None)
    monkeypatch.setattr("vlseg.reports.write_report", lambda runs, page, **_: page)
    program = tmp_path / "bin" / "vlseg"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = vlseg("demo", "--out", out).out.splitlines()
    (line,) = [line for line in lines if line.startswith("Type yourself: ")]
    asked = ["serve", str(out / "runs" / "clipseg-tiny")]
    assert shlex.split(line)[2:] == [str(program), *asked]  # a shell would not find it
    assert any(str(out / "data" / "phantoms" / "images") in one for one in lines[lines.index(line) :])
    assert vlseg("demo", "--out", out, "--json").json["serve"] == line.removeprefix("Type yourself: ")
    monkeypatch.setenv("PATH", str(program.parent))
    assert shlex.split(vlseg("demo", "--out", out, "--json").json["serve"]) == ["vlseg", *asked]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    called = vlseg("demo", "--out", out, "--json").json["serve"]
    assert shlex.split(called) == [sys.executable, "-m", "vlseg", *asked]
