"""The page of a study: its numbers are those of the records, whatever the study came to."""

import csv
import html
import io
import re
from pathlib import Path
from typing import Any

import pytest
from study_cells import evaluated, labels
from study_facts_made import a_run, facts, probed, worth

from vlseg.records.study import Hole, TableSpec
from vlseg.reports.study_cost import cost, environment_of, peak, sittings, told_bytes, told_hours
from vlseg.reports.study_facts import STATES, StudyFacts, StudySearch
from vlseg.reports.study_page import write_study_page

GIB = 2**30


def page(made: StudyFacts, folder: Path) -> str:
    return write_study_page(made, folder).read_text(encoding="utf-8")


def words(text: str) -> str:
    """What a reader reads."""
    plain = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", plain)).split())


def test_an_empty_study_has_a_page(tmp_path: Path) -> None:
    told = words(page(facts(), tmp_path))
    assert "No run is planned yet." in told
    assert "The study asks nothing that a table could show." in told
    assert "What is not done" not in told
    assert "0 s of work in 0 runs that ended." in told


@pytest.mark.parametrize("odd", ["<script>alert(1)</script>", "a & b", "\"quoted\" 'twice'", "{{ title }}", "é ü −"])
def test_whatever_a_study_holds_is_text_on_its_page(odd: str, tmp_path: Path) -> None:
    runs = [a_run(odd, "failed", error=odd, parts=(odd,), labels=labels(model=odd)), a_run("x", host=odd)]
    holes = [Hole(what=odd, why=odd, parts=[odd]), Hole(what="left out", why=odd)]
    cells = [evaluated(0.5, model=odd), worth(0.1, model=odd)]
    specs = [TableSpec(name="t", title=odd, note=odd)]
    search = StudySearch(odd, (odd,), (odd,), 2)
    made = facts(runs, cells, title=odd, note=odd, holes=holes, specs=specs, searches=[search])
    text = page(made, tmp_path)
    assert text.count("<script>") == 1, "the page's own"
    assert words(text).count(odd) > 12


def test_a_half_done_study_says_what_is_not_done_and_how_to_go_on(tmp_path: Path) -> None:
    runs = [
        a_run("good"),
        *(a_run(f"bad-{i}", "failed", error="weights do not fit") for i in range(40)),
        a_run("stuck", "waits", why="waits for bad-0, which failed"),
        a_run("old", "outdated", why="outdated: what it depends on has changed"),
        a_run("now", "running", why="running"),
        a_run("later", "planned", why="planned"),
    ]
    told = words(page(facts(runs, folder="my study"), tmp_path))
    assert "1 of 45 runs is done, 40 failed" in told
    assert "40 runs: weights do not fit bad-0, bad-1, bad-2 and 37 more" in told
    assert "vlseg study run './my study' --retry" in told
    assert "Waiting for a run that failed stuck" in told
    assert "counts nowhere on this page: old" in told
    done = words(page(facts([a_run("good")]), tmp_path))
    assert "--retry" not in done
    assert "What is not done" not in done


def test_missing_data_and_weights_stand_with_what_mends_them(tmp_path: Path) -> None:
    why = "data/busi: no such folder; --data busi=FOLDER"
    holes = [Hole(what="busi", why=why, parts=["one"]), Hole(what="busi", why=why, parts=["one", "two"])]
    holes += [Hole(what="left out", why="of no use", labels={"data": d}) for d in ("camus", "busi")]
    told = words(page(facts([a_run(), a_run("p", "failed", error="x")], holes=holes), tmp_path))
    assert "vlseg study run ./s --retry --skip-missing" in told, "without it a study with holes does not start"
    assert told.count(why) == 1
    assert "(parts: one, two)" in told
    assert "2 combinations: of no use" in told
    assert "Missing here: busi; what needs it is left out." in told
    kept = words(page(facts([a_run(), a_run("p", "failed", error="x")], holes=holes[2:]), tmp_path))
    assert "--skip-missing" not in kept


def test_the_table_of_runs_is_that_of_the_records(tmp_path: Path) -> None:
    runs = [
        a_run("t", kind="train", values={"": {"best_val_dice": 0.75}}, environment={"peak_memory_bytes": 3 * GIB // 2}),
        a_run("e", values={"a": {"dice": {"mean": 0.5}}, "b": {"dice": {"mean": 0.7}}}, data=("a", "b"), seconds=12.5),
        a_run("f", "failed", values={"a": {"dice": {"mean": 0.9}}}, error="late", place=""),
        a_run("p", "planned", labels=labels(asked="class", seed=""), why="planned"),
    ]
    text = page(facts(runs), tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text(encoding="utf-8"))))
    assert [row["run"] for row in rows] == ["t", "e", "f", "p"]
    assert [row["Dice"] for row in rows] == ["0.750 (val)", "0.500 to 0.700", "", ""], "a failed run has no score"
    assert [row["peak GiB"] for row in rows] == ["1.50", "", "", ""]
    assert [row["state"] for row in rows] == ["done", "done", "failed", "to be made"]
    assert rows[1]["seconds"] == "12.5"
    assert rows[3]["prompt"] == "p6 → class"
    for row in rows:
        shown = re.search(rf'<th scope="row" class="name">{row["run"]}(.*?)</tr>', text, re.DOTALL)
        assert shown is not None
        assert all(html.escape(row[name]) in shown[1] for name in ("Dice", "state", "prompt", "peak GiB"))


def test_worths_and_searches_are_shown_with_their_numbers(tmp_path: Path) -> None:
    runs = [
        a_run(f"t{i}", kind="train", values={"": {"best_val_dice": value}}, labels=labels(learning_rate=str(i)))
        for i, value in enumerate((0.6, 0.8, 0.7))
    ]
    runs.append(a_run("t3", "failed", kind="train", error="diverged", labels=labels(learning_rate="3")))
    search = StudySearch("find", ("learning_rate",), ("t0", "t1", "t2", "t3"), 6)
    text = page(facts(runs, [worth(0.0613, data="busi"), probed((0.1, 0.2))], searches=[search]), tmp_path)
    told = words(text)
    assert "4 of 6 trials asked for, 3 with a result; the best so far is trial 1 with val Dice 0.800." in told
    assert re.findall(r'<th scope="row">(\d)</th><td>(\d)</td>', text)[:4] == [
        ("1", "1"),
        ("2", "2"),
        ("0", "0"),
        ("3", "3"),
    ]
    assert "+6.1 no interval: 3 seeds, fewer than 5" in told
    assert "71 3 seeds 80.0 71.0 60.0 20.0 10.0" in told, "the honest one is the mean over seeds of 70, 71 and 72"


def test_the_page_asks_nothing_of_a_network(tmp_path: Path) -> None:
    made = facts([a_run()], [evaluated(0.5)], specs=[TableSpec(name="t")])
    text = page(made, tmp_path)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert "@import" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


def test_hours_and_memory_add_up_by_kind_and_by_part() -> None:
    runs = [
        a_run("a", kind="train", seconds=3600.0, parts=("one", "two"), size=GIB),
        a_run("b", kind="train", seconds=7200.0, parts=("two",), size=3 * GIB),
        a_run("c", seconds=90.0, parts=("two",)),
        a_run("d", "failed", seconds=900.0, parts=("two",), error="x"),
        a_run("e", "planned"),
    ]
    runs = [
        a if a.kind != "train" else type(a)(**{**vars(a), "environment": {"peak_memory_bytes": (i + 1) * GIB}})
        for i, a in enumerate(runs)
    ]
    found = cost(runs)
    assert found["total"] == {"runs": 4, "hours": "3.3 h", "longest": "2.0 h", "peak": "2.00 GiB", "disk": "4.00 GiB"}
    assert {name: (row["runs"], row["hours"]) for name, row in found["kinds"].items()} == {
        "training": (2, "3.0 h"),
        "evaluation": (2, "16.5 min"),
    }
    assert {name: (row["runs"], row["hours"]) for name, row in found["parts"].items()} == {
        "one": (1, "1.0 h"),
        "two": (3, "2.3 h"),
    }
    assert found["failed"] == "15.0 min"
    assert peak(runs) == ("2.00", "b")
    assert peak(runs[2:]) is None


def test_the_run_that_is_named_for_its_memory_is_the_first_that_tells_it() -> None:
    """What a process had taken stays its largest for all runs that it makes afterwards."""
    environment = {"peak_memory_bytes": GIB}
    runs = [a_run(f"r{i}", ended=f"2026-11-26T0{9 - i}:00:00+00:00", environment=environment) for i in range(3)]
    assert peak(runs) == ("1.00", "r2")


def test_environments_are_counted() -> None:
    runs = [
        a_run(
            f"r{i}",
            kind="train",
            host=f"node{i % 2}",
            environment={"packages": {"torch": f"2.{i // 2}"}, "device": "cpu"},
        )
        for i in range(3)
    ]
    found = environment_of([*runs, a_run("e", host="node0"), a_run("p", "planned")])
    assert found["machine"] == [("node0", 3), ("node1", 1)]
    assert found["torch"] == [("2.0", 2), ("2.1", 1)]
    assert found["device"] == [("cpu", 3)]
    assert found["git revision"] == [("not known", 4)]


def test_a_pause_of_half_an_hour_parts_two_sittings() -> None:
    def at(hour: str, seconds: float, host: str = "a") -> Any:
        return a_run(hour, ended=f"2026-11-26T{hour}:00+00:00", seconds=seconds, host=host)

    found = sittings([at("09:00", 600.0), at("09:20", 900.0, "b"), at("12:00", 1800.0), at("12:29", 60.0)])
    told = [(one.begin[-5:], one.end[-5:], one.runs, one.work, one.machines) for one in found]
    assert told == [("08:50", "09:20", 2, "25.0 min", ("a", "b")), ("11:30", "12:29", 2, "31.0 min", ("a",))]
    assert [len(sittings([at("09:00", 60.0), at(hour, 60.0)])) for hour in ("09:30", "09:32")] == [1, 2]
    assert sittings([a_run("p", "planned")]) == []


def test_amounts_in_words() -> None:
    assert [told_hours(seconds) for seconds in (0, 59, 60, 3599, 3600, 36000)] == [
        *("0 s", "59 s", "1.0 min", "60.0 min", "1.0 h", "10.0 h"),
    ]
    assert [told_bytes(size) for size in (0, 2048, 5 * 2**20, 3 * GIB // 2)] == ["0 KiB", "2 KiB", "5 MiB", "1.50 GiB"]
    assert set(STATES) == {"done", "failed", "waits", "outdated", "running", "interrupted", "planned"}
