"""`vlseg report STUDY`: the page is of the ledger's records and the plan, and of nothing else."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ledgers import planned, record, take, write_study
from study_cells import labels

from vlseg.records import InputError
from vlseg.records.study import Hole, Plan, Planned, parse_study
from vlseg.studies import ledger
from vlseg.studies.report import write_study_report
from vlseg.studies.status import look, status
from vlseg.studies.tables import cells_of, reasons_of

Vlseg = Callable[..., Any]


def run(name: str, kind: str = "evaluate", **more: Any) -> Planned:
    return planned(name, kind, labels=labels(model=name[0]), data={"kvasir-seg": "d"}, **more)


def dice(mean: float) -> dict[str, Any]:
    ends = [mean - 0.02, mean + 0.02]
    return {"kvasir-seg": {"n": 9, "dice": {"mean": mean, "std": 0.1, "ci95": ends, "n": 9, "reason": None}}}


def close(study: Path, one: Planned, *, identity: str = "i", error: str | None = None, **more: Any) -> None:
    lease = take(study, one)
    lease.at.work.mkdir(exist_ok=True)
    found = record(one, lease, error=error, identity=identity, **more)
    if error:
        ledger.fail(lease, found, "trace")
    else:
        ledger.publish(lease, found)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """Two evaluations are done, a training failed, what reads it waits, one is outdated, one is planned."""
    study = tmp_path / "half"
    runs = [
        run("a"),
        run("b"),
        run("t", "train"),
        run("w", needs=["t"]),
        run("x", needs=["w"]),
        run("o"),
        run("p"),
    ]
    write_study(study, runs, title="Half", tables=[{"name": "dice"}])
    close(study, runs[0], values=dice(0.5), seconds=60.0, host="one")
    close(study, runs[1], values=dice(0.7), seconds=30.0, host="two")
    close(study, runs[2], error="out of memory")
    close(study, runs[5], values=dice(0.9), identity="another")
    return study


def text(study: Path) -> str:
    page = write_study_report(study, Plan.read(study)).page
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).split())


def test_a_half_done_study_is_told_as_its_status_has_it(half: Path) -> None:
    told = text(half)
    assert "2 of 7 runs are done, 1 failed, 2 wait for one that failed, 1 is outdated, 1 is still to be made." in told
    found = status(half, Plan.read(half))
    assert (found.counts["done"], found.counts["failed"], len(found.blocked)) == (2, 1, 2)
    assert found.total == 7
    assert "out of memory" in told
    assert "1.5 min of work in 3 runs that ended" in told
    assert "50.00" in told
    assert "70.00" in told
    assert "90.00" not in told, "an outdated result counts nowhere"


def test_reasons_name_the_run_that_failed_wherever_it_stands_in_the_plan(half: Path) -> None:
    plan = Plan.read(half)
    backwards = plan.model_copy(update={"runs": plan.runs[::-1]})
    for one in (plan, backwards):
        reasons = reasons_of(look(half, one))
        assert reasons == {
            "t": "failed: out of memory",
            "w": "waits for t, which failed",
            "x": "waits for t, which failed",
            "o": "outdated: what it depends on has changed",
            "p": "planned",
        }
    _, holes = cells_of(plan, look(half, plan))
    assert {hole.what for hole in holes} == {"w", "x", "o", "p"}


def test_a_result_that_cannot_be_read_is_no_result(half: Path) -> None:
    plan = Plan.read(half)
    at = ledger.state_of(half, "b")
    assert at is not None
    (at.folder / "record.json").write_text("{")
    assert reasons_of(look(half, plan))["b"] == "its result cannot be read"
    assert "1 of 7 runs is done" in text(half)


def test_what_was_left_out_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    runs = [run("a")]
    hole = Hole(what="busi", why="data/busi: no such folder; --data busi=FOLDER", labels={"data": "busi"}, parts=["p"])
    study = tmp_path / "s"
    write_study(study, runs)
    plan = Plan.read(study).model_copy(update={"holes": [hole]})
    plan.write(study)
    close(study, runs[0], values=dice(0.5))
    told = text(study)
    assert "The only run is done. Missing here: busi; what needs it is left out." in told
    assert "data/busi: no such folder; --data busi=FOLDER (parts: p)" in told


def test_memory_devices_and_packages_come_from_the_trainings_own_records(tmp_path: Path) -> None:
    study = tmp_path / "s"
    runs = [run("t", "train"), run("u", "train")]
    write_study(study, runs)
    for one, values in zip(runs, ({"peak_memory_bytes": 3 * 2**29, "packages": {"torch": "9.9"}}, None), strict=True):
        lease = take(study, one)
        lease.at.work.mkdir()
        (lease.at.work / "run.json").write_text(json.dumps(values) if values else "broken")
        ledger.publish(lease, record(one, lease, values={"": {"best_val_dice": 0.5}}))
    told = text(study)
    assert "Most memory: 1.50 GiB, first seen in t ." in told
    assert "torch 9.9 (1)" in told


def test_the_command_names_the_page_and_keeps_its_keys(half: Path, vlseg: Vlseg) -> None:
    found = vlseg("report", half, "--json").json
    assert set(found) == {"command", "study", "report", "tables", "files"}
    assert Path(found["report"]) == half / "report" / "report.html"
    assert Path(found["report"]).is_file()
    assert Path(found["tables"]) == half / "report" / "tables" / "index.md"
    assert f"Report: {half}/report/report.html" in vlseg("report", half).out


@pytest.mark.parametrize("option", ["--out", "--title", "--figures"])
def test_options_of_runs_are_refused_for_a_study(option: str, half: Path, vlseg: Vlseg) -> None:
    done = vlseg("report", half, option, "x")
    assert done.code == 2
    assert option in done.err
    assert not (half / "report").exists()


def test_the_same_records_give_the_same_page_and_torch_is_not_loaded(half: Path) -> None:
    program = (
        "import sys\nfrom vlseg.cli import main\n"
        f"try:\n    main(['report', {str(half)!r}])\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('LOADED', [name for name in ('torch', 'transformers', 'optuna') if name in sys.modules])"
    )
    pages = set()
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "LOADED []"
        pages.add((half / "report" / "report.html").read_text())
    assert len(pages) == 1


def test_a_study_whose_folder_cannot_be_written_says_so(half: Path) -> None:
    (half / "report").write_text("in the way")
    with pytest.raises(InputError, match="report"):
        write_study_report(half, Plan.read(half))


def test_a_search_is_read_without_its_journal(tmp_path: Path) -> None:
    part = {"name": "p", "models": ["unet"], "data": ["d"], "search": {"space": {"learning_rate": [0.1, 0.2]}}}
    spec = parse_study({"name": "s", "parts": [part | {"search": part["search"] | {"trials": 4}}]}, "here")
    runs = [planned(f"t{i}", "train", labels=labels(learning_rate=str(i))) for i in range(2)]
    search = {"name": "find", "search": spec.parts[0].search, "runs": ["t0", "t1"]}
    study = tmp_path / "s"
    Plan(study=spec, runs=runs, searches=[search]).write(study)
    for value, one in enumerate(runs):
        ledger.enter(study, one.name)
        close(study, one, values={"": {"best_val_dice": 0.5 + value / 10}})
    told = text(study)
    assert "Of the 4 trials searched with, 2 have not been asked for yet." in told
    assert "2 of 4 trials asked for, 2 with a result; the best so far is trial 1 with val Dice 0.600." in told
