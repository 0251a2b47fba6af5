"""From `vlseg predict` to `vlseg evaluate --masks`, as docs/runs.md has it."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.evaluation.mask_names import JOURNAL, PREDICTIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")


@pytest.fixture
def told(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The page's commands, in a folder where data/polyp and runs/polyp are and the page's jobs have been written."""
    for name, place in (("data", trained / "data"), ("runs", trained / "run")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "polyp").symlink_to(place)
    monkeypatch.chdir(tmp_path)
    (code, commands) = re.search(r"called `p1`:\n\n```python\n(.+?)```\n\n```sh\n(.+?)```", PAGE, re.S).groups()  # type: ignore[union-attr]
    exec(compile(code, "docs/runs.md", "exec"), {})
    return [shlex.split(line)[1:] for line in commands.splitlines()]


def means(values: dict[str, Any]) -> tuple[Any, Any]:
    return values["dice"]["mean"], values["n"]


def test_masks_of_jobs_score_as_the_run_does(told: list[list[str]], vlseg: Callable[..., Any]) -> None:
    predict, evaluate = told
    assert vlseg(*predict, "--device", "cpu", "--threads", "1").code == 0
    scored = vlseg(*evaluate, "--json")
    own = vlseg(
        "evaluate", "runs/polyp", "--data", "data/polyp", "--out", "own", "--threads", "1", "--device", "cpu", "--json"
    )
    assert (scored.code, own.code) == (0, 0)
    assert means(scored.json) == means(own.json)
    assert scored.json["n"] > 0


def test_what_a_killed_run_noted_counts_and_what_it_began_does_not(
    told: list[list[str]], vlseg: Callable[..., Any]
) -> None:
    predict, evaluate = told
    vlseg(*predict, "--device", "cpu", "--threads", "1")
    before = vlseg(*evaluate, "--json", "--out", "before").json
    rows = json.loads(Path("masks", PREDICTIONS).read_text())
    for row in rows:  # names that tell nothing: the table alone does
        new = f"mask-{rows.index(row)}.png"
        Path("masks", row["file"]).rename(Path("masks", new))
        row["file"] = new
    journal, noted = Path("masks", JOURNAL), "".join(json.dumps(row) + "\n" for row in rows)
    Path("masks", PREDICTIONS).unlink()
    journal.write_text(noted)
    assert means(vlseg(*evaluate, "--json", "--out", "after").json) == means(before)
    begun = {"image": rows[0]["image"], "prompt": rows[0]["prompt"], "begun": rows[0]["file"].removesuffix(".png")}
    journal.write_text(noted + json.dumps(begun) + "\n")
    refused = vlseg(*evaluate, "--out", "again")
    assert refused.code == 2
    assert f"no mask for 1 of {len(rows)} prompts" in refused.err
