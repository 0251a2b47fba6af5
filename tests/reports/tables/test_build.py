"""What a table claims: its mean, range, difference and flag, and what it says of what is not there."""

import json
from typing import Any

import numpy as np
import pytest
from study_cells import estimate, evaluated, labels

from vlseg.metrics import EMPTY_RULE, Aggregate, Estimate, aggregate
from vlseg.records import InputError, SampleScore, score_columns
from vlseg.records.study import Cell, Hole, TableSpec
from vlseg.reports.published import published_table
from vlseg.reports.tables import Entry, Table, build_table

INDIVIDUAL = "medvlsm/table2/individual"
NO_NUMBERS = ("groups_known", "presence", "distance_unit", "absent_empty_reason", "note")


def spec(**fields: Any) -> TableSpec:
    """Read again from JSON, as a study's is."""
    return TableSpec.model_validate_json(TableSpec(**{"name": "t", **fields}).model_dump_json())


def at(table: Table, row: str, column: str) -> Entry:
    return table.entries[(row,), (column,)]


def test_seeds_make_a_mean_a_range_and_half_the_widest_interval() -> None:
    cells = [evaluated(0.90, 0.01, seed=0), evaluated(0.94, 0.03, seed=1), evaluated(0.92, 0.02, seed=2)]
    entry = at(build_table(cells, spec(published=INDIVIDUAL)), "cris", "kvasir-seg")
    published = published_table(INDIVIDUAL).find({"model": "cris", "data": "kvasir-seg"})
    assert published is not None
    assert published.value is not None
    assert entry.mean == pytest.approx(92)
    assert entry.spread == pytest.approx(4)
    assert entry.half_width == pytest.approx(3)
    assert entry.n == 100
    assert entry.difference == pytest.approx(92 - published.value)
    assert entry.flagged is False


@pytest.mark.parametrize(("over", "flagged"), [(-0.001, False), (0.001, True)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_difference_is_flagged_just_beyond_range_and_half_width(over: float, flagged: bool, sign: int) -> None:
    centre = 0.9139 + sign * (0.04 + 0.03 + over)
    cells = [evaluated(centre + shift, 0.03, seed=i) for i, shift in enumerate((-0.02, 0.0, 0.02))]
    entry = at(build_table(cells, spec(published=INDIVIDUAL)), "cris", "kvasir-seg")
    assert entry.flagged is flagged


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_of_a_trained_model_are_not_judged(seeds: int) -> None:
    cells = [evaluated(0.5, seed=seed) for seed in range(seeds)]
    entry = at(build_table(cells, spec(published=INDIVIDUAL)), "cris", "kvasir-seg")
    assert entry.difference == pytest.approx(50 - 91.39)
    assert entry.flagged is None
    assert ("one seed: no range" in entry.notes) == (seeds == 1)


def test_an_untrained_model_is_judged_without_seeds() -> None:
    own = {"seed": "", "regime": "zero_shot", "trained_on": "", "prompt": "", "share": ""}
    cell = evaluated(0.60, asked="p1", **own)
    entry = at(build_table([cell], spec(columns="asked", published="medvlsm/prompts/zero-shot")), "cris", "p1")
    assert entry.beside == pytest.approx(31.11)
    assert entry.flagged is True
    assert "not trained here: no range" in entry.notes


def test_without_interval_nothing_is_judged_and_the_reason_stands_there() -> None:
    cells = [evaluated(0.2, None, reason="8 groups, fewer than 10", seed=seed) for seed in range(3)]
    entry = at(build_table(cells, spec(published=INDIVIDUAL)), "cris", "kvasir-seg")
    assert entry.flagged is None
    assert entry.half_width is None
    assert "no interval (8 groups, fewer than 10)" in entry.notes


def _drawn(
    rng: np.random.Generator, seeds: int, n: int, apart: float = 0.01, same: bool = True
) -> tuple[list[Cell], float]:
    """Runs of one method on one test set, and the mean of another seed's run on it (or on another): what is printed.

    `apart`: standard deviation of the seeds' true means.
    """
    cases = rng.normal(0.8, 0.15, n)
    tests = [cases if same else rng.normal(0.8, 0.15, n), *[cases] * seeds]
    runs = [test + rng.normal(0, apart) + rng.normal(0, 0.05, n) for test in tests]
    cells = []
    for seed, scores in enumerate(runs[1:]):
        half = 1.98 * float(scores.std(ddof=1)) / n**0.5
        cells.append(evaluated(float(scores.mean()), half, n, seed=seed))
    return cells, 100 * float(runs[0].mean())


def _flags(repeats: int, seeds: int, n: int, shift: float = 0.0, **own: Any) -> float:
    """How many in a hundred methods are flagged that are better by `shift` points than what is printed."""
    rng = np.random.default_rng(3)
    flags = 0
    for _ in range(repeats):
        cells, printed = _drawn(rng, seeds, n, **own)
        # What is printed is moved onto a number that really is.
        moved = [_moved(cell, (91.39 - printed + shift) / 100) for cell in cells]
        flags += bool(at(build_table(moved, spec(published=INDIVIDUAL)), "cris", "kvasir-seg").flagged)
    return 100 * flags / repeats


def test_methods_as_good_as_published_are_rarely_flagged_and_shifted_ones_are() -> None:
    assert _flags(300, 3, 100) <= 3
    assert _flags(100, 3, 100, shift=-15) >= 97
    assert _flags(100, 3, 100, shift=15) >= 97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "n", "own", "low", "high"),
    [
        (3, 60, {}, 0, 4),
        (3, 600, {}, 2, 5),
        (3, 60, {"same": False}, 3.5, 8),
        (3, 600, {"same": False}, 5, 9.5),
        (3, 2000, {"apart": 0.02}, 11, 17),
        (3, 2000, {"apart": 0.02, "same": False}, 12, 18),
        (5, 600, {}, 0, 2),
        (5, 600, {"same": False}, 1, 4.5),
        (5, 2000, {"apart": 0.02}, 3.5, 7.5),
    ],
)
def test_how_often_a_method_as_good_as_published_is_flagged(
    seeds: int, n: int, own: dict[str, Any], low: float, high: float
) -> None:
    """The figures of docs/studies-tables.md, within what 1,500 repetitions allow."""
    assert low <= _flags(1500, seeds, n, **own) <= high


def _moved(cell: Cell, by: float) -> Cell:
    dice = cell.values["dice"]
    moved = dice | {"mean": dice["mean"] + by, "ci95": [end + by for end in dice["ci95"]]}
    return Cell(cell.kind, cell.labels, {**cell.values, "dice": moved})


def test_folds_of_a_seed_are_averaged_before_the_range_is_taken() -> None:
    cells = [
        evaluated(value, seed=seed, fold=str(fold))
        for seed, values in enumerate([(0.8, 0.9), (0.7, 0.9)])
        for fold, value in enumerate(values)
    ]
    entry = at(build_table(cells, spec()), "cris", "kvasir-seg")
    assert entry.mean == pytest.approx(82.5)
    assert entry.spread == pytest.approx(5)
    assert entry.runs[0].folds == (("0", pytest.approx(80)), ("1", pytest.approx(90)))
    lacking = at(build_table(cells[:3], spec()), "cris", "kvasir-seg")
    assert "seed 1 lacks fold 1" in lacking.notes


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.9", True])
def test_what_is_no_number_is_left_out_and_said(value: Any) -> None:
    cells = [evaluated(0.9, seed=0), evaluated(0.8, seed=1)]
    cells.append(evaluated(None, seed=2, values={"dice": {"mean": value, "ci95": None, "n": 0, "reason": "broken"}}))
    entry = at(build_table(cells, spec()), "cris", "kvasir-seg")
    assert entry.mean == pytest.approx(85)
    assert "seed 2 left out: broken" in entry.notes
    alone = at(build_table(cells[2:], spec()), "cris", "kvasir-seg")
    assert alone.mean is None
    assert alone.hole == "no value: broken"


def test_two_cells_of_the_same_labels_are_an_error_that_names_both() -> None:
    with pytest.raises(InputError, match=r"table 't'.*two cells of the same labels.*= 0\.9; .*= 0\.8;"):
        build_table([evaluated(0.9), evaluated(0.8)], spec())
    with pytest.raises(InputError, match="two cells of the same labels"):
        build_table([evaluated(0.9), evaluated(0.9)], spec())


def test_a_run_that_two_parts_want_counts_once() -> None:
    nan = {"extra": float("nan")}
    cells = [evaluated(0.9, part=part, values=json.loads(json.dumps(nan))) for part in ("individual", "prompts")]
    entry = at(build_table(cells, spec()), "cris", "kvasir-seg")
    assert len(entry.runs) == 1
    other = evaluated(0.8, part="prompts")
    with pytest.raises(InputError, match=r"part individual.*part prompts.*name part in where"):
        build_table([cells[0], other], spec())


def test_cells_that_differ_in_more_than_the_seed_are_no_mean() -> None:
    cells = [evaluated(0.9, seed=0, asked="p1"), evaluated(0.8, seed=1, asked="p6")]
    with pytest.raises(InputError, match=r"one place holds cells whose asked is 'p1' and 'p6'.*rows, columns or where"):
        build_table(cells, spec())
    assert at(build_table(cells, spec(where={"asked": ["p1"]})), "cris", "kvasir-seg").mean == pytest.approx(90)
    by_both = build_table(cells, spec(rows=["model", "asked"]))
    assert by_both.rows == (("cris", "p1"), ("cris", "p6"))


def test_order_then_natural_order() -> None:
    cells = [evaluated(0.9, asked=f"p{i}", model=model) for i in (10, 2, 1) for model in ("b", "a", "z")]
    table = build_table(cells, spec(columns="asked", order={"model": ["z"]}))
    assert table.columns == (("p1",), ("p2",), ("p10",))
    assert table.rows == (("z",), ("a",), ("b",))
    shuffled = build_table(cells[::-1], spec(columns="asked", order={"model": ["z"]}))
    assert (shuffled.rows, shuffled.columns) == (table.rows, table.columns)


def test_published_only_rows_stand_where_order_names_them() -> None:
    table = build_table([evaluated(0.9)], spec(published=INDIVIDUAL, order={"model": ["cris", "cited-sota", "typo"]}))
    assert table.rows == (("cris",), ("cited-sota",))
    entry = at(table, "cited-sota", "kvasir-seg")
    assert (entry.mean, entry.beside, entry.difference) == (None, pytest.approx(95.02), None)
    assert any("Dumitru 2023" in note for note in entry.beside_notes)


def test_published_only_rows_have_the_other_labels_empty() -> None:
    cells = [evaluated(0.9, asked=asked) for asked in ("p6", "class")]
    order = {"model": ["cris", "clipseg", "cited-sota"], "data": ["kvasir-seg", "busi"]}
    table = build_table(cells, spec(rows=["model", "asked"], published=INDIVIDUAL, order=order))
    assert table.rows == (("cris", "class"), ("cris", "p6"), ("clipseg", ""), ("cited-sota", ""))
    assert table.entries[("cited-sota", ""), ("busi",)].beside == pytest.approx(89.8)
    both = spec(rows=["data", "model"], columns="asked", published="medvlsm/prompts/finetuned", order=order)
    assert build_table(cells, both).rows == (("kvasir-seg", "cris"),)


def test_phantoms_get_no_difference_and_a_line_above() -> None:
    cells = [evaluated(0.2, seed=seed) for seed in range(3)]
    table = build_table(cells, spec(published=INDIVIDUAL), phantoms=True)
    entry = at(table, "cris", "kvasir-seg")
    assert entry.beside == pytest.approx(91.39)
    assert entry.difference is None
    assert entry.flagged is None
    assert "comparable" in table.above[0]


def test_another_test_set_gets_no_difference_and_says_why() -> None:
    own = {"data": "busi", "trained_on": "busi"}
    table = build_table([evaluated(0.8, **own)], spec(published="medvlsm/prompts/finetuned"))
    entry = at(table, "cris", "busi")
    assert entry.beside == pytest.approx(83.42)
    assert entry.difference is None
    assert any(note.startswith("not comparable: ") and "without tumour" in note for note in entry.beside_notes)


@pytest.mark.parametrize("own", [{"condition": "swapped"}, {"split": "val"}, {"share": "0.1"}, {"model": "guide"}])
def test_what_was_not_published_has_nothing_beside(own: dict[str, str]) -> None:
    table = build_table([evaluated(0.9, **own)], spec(published=INDIVIDUAL))
    assert [entry.published for entry in table.entries.values()] == [None]


def test_a_value_that_cannot_be_read_is_beside_with_its_reason() -> None:
    cell = probed({"shape": {"wrong": -0.01}}, data="isic-2016")
    table = build_table([cell], spec(kind="probe", metric="attributes.shape.wrong", published="medvlsm/language-use"))
    entry = at(table, "cris", "isic-2016")
    assert entry.published is not None
    assert (entry.beside, entry.difference) == (None, None)
    assert "not readable in the figure" in entry.beside_notes


def probed(
    attributes: dict[str, dict[str, float | None]], tests: list[dict[str, Any]] | None = None, **own: Any
) -> Cell:
    values = {"attributes": attributes, "tests": tests or [], "selection_index": {"value": 0.3, "ci95": None, "n": 9}}
    return Cell("probe", {k: v for k, v in labels(**own).items() if k != "condition"}, values)


def test_a_probe_by_attribute_stands_beside_the_language_use_figure() -> None:
    tests = [{"name": "wrong_size", "n": 90, "delta_dice": -0.02, "ci95": [-0.03, -0.01], "reason": None}]
    cells = [
        probed({"size": {"wrong": -0.02, "random": -0.05}, "shape": {"wrong": 0.0, "random": None}}, tests, seed=seed)
        for seed in range(3)
    ]
    table = build_table(
        cells,
        spec(
            kind="probe",
            rows="attribute",
            columns=["data", "change"],
            metric="attributes.{attribute}.{change}",
            published="medvlsm/language-use",
            where={"change": ["wrong", "random"]},
        ),
    )
    entry = table.entries[("size",), ("kvasir-seg", "wrong")]
    assert (entry.mean, entry.beside) == (pytest.approx(-2), pytest.approx(-6))
    assert entry.half_width == pytest.approx(1)
    assert entry.n == 90
    assert entry.flagged is True
    other = table.entries[("size",), ("kvasir-seg", "random")]
    assert (other.difference, other.flagged) == (pytest.approx(-5 + 7.6), None)
    assert table.entries[("shape",), ("kvasir-seg", "random")].mean is None
    one = build_table(cells, spec(kind="probe", metric="attributes.size.wrong", published="medvlsm/language-use"))
    assert at(one, "cris", "kvasir-seg").difference == pytest.approx(4)


def test_what_a_leak_is_worth_by_seed() -> None:
    interval = {"difference": 0.1, "ci95": [0.05, 0.15], "n": 40}
    rows = [{"seed": i, "leaking": 0.8 + 0.01 * i, "worth": interval} for i in (3, 7)]
    both = {"worth": {"mean": 0.1, "ci95": None, "reason": "2 seeds, fewer than 5"}, "seeds": rows}
    cell = Cell("worth", labels(seed=""), both)
    by_seed = at(build_table([cell], spec(kind="worth", metric="seeds.{seed}.leaking")), "cris", "kvasir-seg")
    assert [run.seed for run in by_seed.runs] == ["3", "7"]
    assert by_seed.spread == pytest.approx(4)
    worth = at(build_table([cell], spec(kind="worth", metric="seeds.{seed}.worth")), "cris", "kvasir-seg")
    assert (worth.mean, worth.half_width) == (pytest.approx(10), pytest.approx(5))
    whole = at(build_table([cell], spec(kind="worth", metric="worth")), "cris", "kvasir-seg")
    assert not any("left out" in note for note in whole.notes)
    left = {"only_first": 0, "only_second": 11, "undefined": 0, "other_truth": 4}
    few = Cell("worth", cell.labels, {**both, "seeds": [{**row, "n": 2, "left_out": left} for row in rows]})
    (note,) = [note for note in at(build_table([few], spec(kind="worth", metric="worth")), "cris", "kvasir-seg").notes
               if "left out" in note]  # fmt: skip
    assert (
        note
        == "compared are 2 samples, left out 11 asked under the leaking prompt alone, 4 of another truth under each"
    )
    assert whole.notes == ("over all seeds at once: no range", "no interval (2 seeds, fewer than 5)")


def scored(index: int, **changes: Any) -> SampleScore:
    usual: dict[str, Any] = dict.fromkeys(score_columns())
    usual |= {"dataset": "d", "split": "test", "sample_id": f"s{index}", "image_id": f"i{index}", "target": "polyp"}
    usual |= {"condition": "clean", "condition_arguments": "{}", "distance_unit": "px", "image_diagonal": 50.0}
    usual |= {"dice": 0.5 + 0.01 * index, "iou": 0.4, "hd95": 3.0 * index, "nsd": 0.6, "nsd_tolerance": 2.0}
    usual |= {"area_error": -4, "empty_target": False, "empty_pred": False, "presence_score": 0.9}
    return SampleScore(**(usual | changes))


NUMBERS = [name for name in Aggregate.__dataclass_fields__ if name not in NO_NUMBERS]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_of_a_real_aggregate_can_be_a_table(name: str) -> None:
    found = aggregate([scored(i) for i in range(12)], groups_known=False)
    cell = Cell("evaluate", labels(), json.loads(json.dumps(found.to_json())))
    entry = at(build_table([cell], spec(metric=name)), "cris", "kvasir-seg")
    given = getattr(found, name)
    value = given.mean if isinstance(given, Estimate) else given
    if value is None:
        assert entry.hole.startswith("no value: ")
        return
    plain = name in ("hd", "hd95", "hd95_penalised", "assd", "area_error", "area_error_size", "false_lesions")
    times = 1 if plain or (name.startswith("n") and name != "nsd") else 100
    assert entry.mean == pytest.approx(times * value)
    if isinstance(given, Estimate) and given.ci95 is not None:
        assert entry.half_width == pytest.approx(times * (given.ci95[1] - given.ci95[0]) / 2)
    elif isinstance(given, Estimate):
        assert f"no interval ({given.reason})" in entry.notes


@pytest.mark.parametrize("metric", ["absent_empty", "presence.auroc"])
def test_the_reason_of_a_share_that_is_not_there_is_given(metric: str) -> None:
    found = aggregate([scored(i) for i in range(12)], groups_known=False).to_json()
    entry = at(build_table([Cell("evaluate", labels(), found)], spec(metric=metric)), "cris", "kvasir-seg")
    assert entry.hole == "no value: no absent targets"


def test_evaluations_and_probes_are_kept_apart() -> None:
    cells = [evaluated(0.9), probed({"size": {"wrong": -0.02}})]
    assert at(build_table(cells, spec()), "cris", "kvasir-seg").mean == pytest.approx(90)
    index = build_table(cells, spec(kind="probe", metric="selection_index", scale=1))
    assert at(index, "cris", "kvasir-seg").mean == pytest.approx(0.3)


def test_distances_are_not_taken_times_a_hundred_and_other_units_are_not_compared() -> None:
    distance = {"hd95": estimate(50.0, 4.0)}
    table = spec(metric="hd95", published="vlsm-adapter/table1/hd95")
    cells = [evaluated(0.9, values=distance, seed=seed) for seed in range(3)]
    entry = at(build_table(cells, table), "cris", "kvasir-seg")
    assert (entry.mean, entry.difference) == (pytest.approx(50), pytest.approx(50 - 55.23))
    assert entry.flagged is True
    other = at(build_table([evaluated(0.9, values=distance | {"distance_unit": "mm"})], table), "cris", "kvasir-seg")
    assert other.difference is None
    assert "not comparable: published in pixels" in other.beside_notes
    assert "distances in mm" in other.notes


def test_a_published_table_of_another_metric_is_refused() -> None:
    with pytest.raises(InputError, match=r"table 't': shows dice_present, but .* is of dice"):
        build_table([], spec(metric="dice_present", published=INDIVIDUAL))
    with pytest.raises(InputError, match="did you mean 'medvlsm/table2/individual'"):
        build_table([], spec(published="medvlsm/table2/individul"))


def test_a_metric_that_no_cell_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"table 't': unknown metric 'dise'; did you mean 'dice'"):
        build_table([evaluated(0.9)], spec(metric="dise"))


def test_holes_stand_in_their_places_and_are_never_dropped() -> None:
    holes = [
        Hole(what="cris on camus", why="failed: NaN", labels=labels(data="camus"), parts=["individual"]),
        Hole(what="dataset busi", why="no such folder", labels={"data": "busi"}),
        Hole(what="weights of guide", why="not found"),
        Hole(what="elsewhere", why="planned", labels=labels(data="camus"), parts=["pooled"]),
        Hole(what="seed 3", why="planned", labels=labels(seed=3)),
    ]
    cells = [evaluated(0.9), evaluated(0.8, model="clipseg")]
    table = build_table(cells, spec(where={"part": "individual"}, published=INDIVIDUAL), holes[:3] + holes[4:])
    assert at(table, "cris", "camus").hole == "failed: NaN"
    assert at(table, "cris", "camus").beside == pytest.approx(91.09)
    assert {at(table, model, "busi").hole for model in ("cris", "clipseg")} == {"no such folder"}
    assert "Not done: weights of guide: not found" in table.notes
    assert "missing: planned" in at(table, "cris", "kvasir-seg").notes
    assert "missing: planned" not in at(table, "clipseg", "kvasir-seg").notes
    assert (("clipseg",), ("camus",)) in table.entries  # beside it stands what was published
    elsewhere = [Hole(what="x", why="y", labels={"data": "camus", "model": "cris"}, parts=["pooled"])]
    assert build_table(cells, spec(where={"part": "individual"}), elsewhere).columns == (("kvasir-seg",),)


@pytest.mark.parametrize("name", ["part", "seed"])
def test_a_hole_of_one_part_or_seed_stands_in_no_other_s_row(name: str) -> None:
    cells = [evaluated(0.9, **{name: value}) for value in ("1", "2")]
    hole = Hole(what="x", why="planned", labels=labels(data="busi", **{name: "1"}))
    table = build_table(cells, spec(rows=[name, "model"]), [hole])
    assert table.entries[("1", "cris"), ("busi",)].hole == "planned"
    assert (("2", "cris"), ("busi",)) not in table.entries


def test_a_probe_that_is_planned_is_no_hole_of_an_evaluation() -> None:
    cells = [evaluated(0.9)]
    hole = Hole(what="x", why="planned", labels=labels(seed=0), kind="probe")
    dice = build_table(cells, spec(), [hole])
    assert dice == build_table(cells, spec())
    index = build_table(cells, spec(kind="probe", metric="selection_index"), [hole])
    assert at(index, "cris", "kvasir-seg").hole == "planned"


def test_many_holes_of_one_place_are_told_by_reason() -> None:
    whys = ["planned"] * 5 + ["failed: the loss is not a number (nan)"] * 2
    holes = [Hole(what=f"run{i}", why=why, labels=labels(seed=i)) for i, why in enumerate(whys)]
    assert at(build_table([], spec(), holes[:5]), "cris", "kvasir-seg").hole == "planned"
    told = "planned (run0, run1, run2 and 2 more); failed: the loss is not a number (nan) (run5, run6)"
    assert at(build_table([], spec(), holes), "cris", "kvasir-seg").hole == told


def test_a_table_of_holes_alone_and_an_empty_one() -> None:
    whole = Hole(what="dataset camus", why="no such folder", labels={"data": "camus"})
    table = build_table([], spec(), [whole])
    assert [entry.hole for entry in table.entries.values()] == ["no such folder"]
    assert "No cell of the study belongs to this table." in build_table([], spec()).notes


def marked(cells: list[Cell], **fields: Any) -> set[tuple[str, str]]:
    table = build_table(cells, spec(**fields))
    return {(row[0], column[0]) for (row, column), entry in table.entries.items() if entry.best}


def test_the_best_of_each_column_is_marked_by_the_metrics_direction() -> None:
    cells = [evaluated(v, model=m, values={"hd95": estimate(100 * v)}) for m, v in (("a", 0.8), ("b", 0.9))]
    assert marked(cells) == {("b", "kvasir-seg")}
    assert marked(cells, metric="hd95") == {("a", "kvasir-seg")}
    assert marked(cells[:1]) == set()


def test_a_mean_over_runs_of_different_n_is_not_the_best() -> None:
    cells = [evaluated(0.9, model="a", seed=seed, n=n) for seed, n in enumerate((100, 90))]
    cells += [evaluated(0.8, model="b", seed=seed, n=100) for seed in range(2)]
    table = build_table(cells, spec())
    assert at(table, "a", "kvasir-seg").n is None
    assert "n differs between runs (100, 90)" in at(table, "a", "kvasir-seg").notes
    assert "kvasir-seg: n differs (100, 90), no best is marked." in table.notes
    assert marked(cells) == set()


def test_what_holds_of_several_columns_is_said_once() -> None:
    cells = [evaluated(0.9, model=m, asked=p) for m in "ab" for p in ("p1", "p2")]
    notes = build_table(cells, spec(columns="asked")).notes
    assert "p1 / kvasir-seg, p2 / kvasir-seg: all are equal as shown, no best is marked." in notes


def test_ties_as_shown_are_all_marked_and_said() -> None:
    cells = [evaluated(v, model=m) for m, v in (("a", 0.90001), ("b", 0.90004), ("c", 0.8))]
    assert marked(cells) == {("a", "kvasir-seg"), ("b", "kvasir-seg")}
    assert "kvasir-seg: 2 share the best value as shown." in build_table(cells, spec()).notes


def test_cells_of_another_n_another_dataset_or_leaking_words_are_not_compared() -> None:
    table = build_table([evaluated(0.9, model="a"), evaluated(0.8, model="b", n=90)], spec())
    assert not any(entry.best for entry in table.entries.values())
    assert "kvasir-seg: n differs (100, 90), no best is marked." in table.notes
    by_data = [evaluated(0.1 * i, data=data, asked="p1") for i, data in enumerate("ab", 1)]
    assert marked(by_data, rows="data", columns="asked") == set()
    leak = {"deployable": False, "prompt_source": ["class", "mask"]}
    mixed = [
        evaluated(v, model=m, values=leak if m in "ab" else {})
        for m, v in zip("abcd", (0.9, 0.8, 0.7, 0.6), strict=True)
    ]
    assert marked(mixed) == {("a", "kvasir-seg"), ("c", "kvasir-seg")}


def test_leaks_groups_and_protocols_are_footnotes() -> None:
    leak = {"deployable": False, "prompt_source": ["class", "mask", "label"]}
    cells = [
        evaluated(0.9, values=leak),
        evaluated(0.8, model="clipseg", values=leak | {"prompt_sources": ["unknown"]}, protocol="corrected"),
        evaluated(0.7, model="unet", values=leak | {"told": "nothing"}),
        evaluated(0.6, model="guide", values={"note": "Images treated as independent."}),
    ]
    table = build_table(cells, spec())
    notes = {model: at(table, model, "kvasir-seg").notes for model in ("cris", "clipseg", "unet", "guide")}
    leaks = {model: at(table, model, "kvasir-seg").leaks for model in notes}
    assert leaks == {"cris": True, "clipseg": True, "unet": False, "guide": False}
    assert "the prompt tells of the truth: it has words from the label and the mask" in notes["cris"]
    assert any("is not known: they may tell of the truth" in note for note in notes["clipseg"])
    assert "protocol corrected" in notes["clipseg"]
    assert not any("truth" in note for note in (*notes["unet"], *notes["guide"]))
    assert "Images treated as independent" in notes["guide"]
    assert EMPTY_RULE in table.notes


@pytest.mark.parametrize("key", ["medvlsm/prompts/finetuned", "medvlsm/table2/pooled-all", "vlsm-adapter/table1/iou"])
def test_a_study_of_every_published_cell_has_something_beside_each(key: str) -> None:
    published = published_table(key)
    cells = []
    for one in published.cells:
        own = {"trained_on": "all" if published.trained == "pool" else one.labels["data"], **one.labels}
        cells.append(evaluated(0.5, values={published.metric: estimate(0.5)}, **own))
    rows = ["model", "asked"] if "asked" in published.cells[0].labels else "model"
    table = build_table(cells, spec(rows=rows, metric=published.metric, published=key))
    assert len(table.entries) == len(published.cells)
    assert all(entry.published is not None for entry in table.entries.values())


def test_no_difference_is_taken_of_folds() -> None:
    """Each is trained without a part of the images that the published model has seen."""
    cells = [evaluated(0.9, 0.01, seed=seed, fold=str(fold)) for seed in range(3) for fold in range(2)]
    entry = at(build_table(cells, spec(published="medvlsm/table2/individual")), "cris", "kvasir-seg")
    assert entry.beside is not None
    assert (entry.difference, entry.flagged) == (None, None)
    assert "not comparable: ours are folds, each trained without a part of the images" in entry.beside_notes
