"""Which figures a study has, by its cells, and that each is drawn from the cells' own numbers."""

import csv
import io
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from study_cells import evaluated, labels

from vlseg.records.study import Cell
from vlseg.reports.study_drawing import Drawing, write_figures
from vlseg.reports.study_figures import MOST, drawings
from vlseg.reports.study_scores import names_of, scores

SETS = ("kvasir-seg", "cvc-clinicdb", "bkai-igh", "busi", "camus", "isic-2016")


def methods(models: int = 3, sets: int = 6, **own: Any) -> list[Cell]:
    return [
        evaluated(0.5 + 0.05 * m + 0.01 * d, model=f"m{m}", data=data, **own)
        for m in range(models)
        for d, data in enumerate(SETS[:sets])
    ]


def across(model: str = "cris", **own: Any) -> list[Cell]:
    return [
        evaluated(0.9 if on == data else 0.6 + 0.01 * i + 0.02 * j, model=model, trained_on=on, data=data, **own)
        for i, on in enumerate(SETS[:2])
        for j, data in enumerate(SETS[:3])
    ]


def probe(dice: float, change: float, names: tuple[str, ...] = ("empty", "class_only"), **own: Any) -> Cell:
    tests = [
        {
            "name": name,
            "n": 20,
            "n_groups": 20,
            "dice": dice,
            "delta_dice": change,
            "ci95": [change - 0.1, change + 0.1],
        }
        for name in names
    ]
    return Cell("probe", labels(**own), {"tests": tests})


def kinds(cells: list[Cell]) -> list[str]:
    return [one.kind for one in drawings(cells)]


def one(cells: list[Cell], kind: str) -> Drawing:
    (found,) = [drawing for drawing in drawings(cells) if drawing.kind == kind]
    return found


def test_what_is_drawn_follows_from_the_cells() -> None:
    assert kinds([]) == []
    assert kinds([evaluated(0.5)]) == [], "a single number needs no figure"
    assert kinds(methods()) == ["ranks", "intervals"]
    assert "ranks" not in kinds(methods(models=1)) + kinds(methods(sets=1))
    assert kinds(across()) == ["matrix", "intervals"]
    assert "matrix" not in kinds(across()[:3]), "trained on one dataset alone"
    prompts = [evaluated(0.5, half_width=None, asked=name, prompt=name) for name in ("class", "p1", "p2")]
    assert kinds(prompts) == ["prompts"], "without any interval the table says as much"
    assert kinds(prompts[:2]) == []
    assert kinds([probe(0.4, -0.1)]) == ["slopes"]
    assert (
        kinds([evaluated(0.5, condition="swapped", model=f"m{i}", data=data) for i in range(4) for data in SETS]) == []
    )


def test_a_study_of_untrained_models_has_intervals_of_these() -> None:
    cells = [evaluated(0.3 + i / 10, model=f"m{i}", trained_on="", seed="") for i in range(3)]
    found = one(cells, "intervals")
    assert found.caption.startswith("Untrained models. One run each.")
    assert [label for label, _ in found.values["values"]] == ["m0", "m1", "m2"]


def test_a_score_is_the_mean_over_seeds_of_the_mean_over_folds_and_each_run_counts_once() -> None:
    cells = [evaluated(0.1 * fold + seed, seed=seed, fold=str(fold)) for seed in (0, 1) for fold in range(1, 4 - seed)]
    again = [Cell(cell.kind, {**cell.labels, "part": "again"}, cell.values) for cell in cells]
    (score,) = scores([*cells, *again])
    assert score.mean == pytest.approx(fmean([fmean([0.1, 0.2, 0.3]), fmean([1.1, 1.2])]))
    assert score.runs == 5


def test_lines_are_a_runs_own_interval_or_the_widest_of_several_around_their_mean() -> None:
    (alone,) = scores([evaluated(0.5, 0.03)])
    assert alone.ends == pytest.approx((0.47, 0.53))
    cells = [evaluated(0.5, 0.02, seed=0), evaluated(0.6, 0.05, seed=1)]
    (several,) = scores(cells)
    assert several.ends == pytest.approx((0.5, 0.6))
    (lacking,) = scores([*cells, evaluated(0.7, None, seed=2)])
    assert lacking.ends is None
    (none,) = scores([evaluated(0.5), evaluated(None, seed=1)])
    assert none.runs == 1


def test_a_matrix_holds_the_means_of_its_cells_and_no_other() -> None:
    cells = [*across(seed=0), *across(seed=1), evaluated(0.1, trained_on="busi", data="busi")]
    found = one(cells, "matrix")
    values = {on: row for on, row, _ in found.values["runs"]}
    assert list(values) == list(SETS[:2]), "what is asked about one dataset alone is no row"
    for on, row in values.items():
        for data, value in row.items():
            own = [c for c in cells if (c.labels["trained_on"], c.labels["data"]) == (on, data)]
            assert value == pytest.approx(fmean(c.values["dice"]["mean"] for c in own))
    assert "Means over 2 runs" in found.caption
    assert [seen for *_, seen in found.values["runs"]] == [{SETS[0]}, {SETS[1]}]
    pooled = [evaluated(0.5, trained_on="all", data=data) for data in SETS[:3]]
    (drawing,) = [d for d in drawings([*cells, *pooled], pools={"all": SETS[:2]}) if d.kind == "matrix"]
    assert drawing.values["runs"][-1][2] >= set(SETS[:2]), "a pool's own datasets have a frame"
    assert SETS[2] not in drawing.values["runs"][-1][2]
    both = [*across(), *across("clipseg"), *across(asked="class")]
    titles = [drawing.title for drawing in drawings(both) if drawing.kind == "matrix"]
    assert titles == ["cris, p6", "clipseg, p6", "cris, p6 → class"]


def test_ranks_are_of_methods_that_share_their_datasets_under_one_prompt_where_there_are_many() -> None:
    cells = [*methods(4), *methods(1, sets=2, asked="p7", prompt="p7")]
    found = one(cells, "ranks")
    assert set(found.values["found"].methods) == {f"m{i}, p6" for i in range(4)}
    assert "1 without a result on one of these datasets is left out." in found.caption
    assert found.values["found"].methods[0] == "m3, p6", "the best first"
    many = [*methods(7, asked="class", prompt="class"), *methods(8, values={"deployable": False})]
    chosen = one(many, "ranks")
    assert "Under the prompt 'p6' alone." in chosen.caption
    assert len(chosen.values["found"].methods) == 8
    equal = one([*methods(7, asked="class", prompt="class"), *methods(7, values={"deployable": False})], "ranks")
    assert "Under the prompt 'class' alone." in equal.caption, "of equal ones the honest prompt"


def test_methods_whose_prompt_tells_of_the_truth_are_marked() -> None:
    leaky = {"deployable": False}
    cells = [*methods(2), *methods(2, asked="p7", prompt="p7", values=leaky)]
    for kind in ("ranks", "intervals"):
        found = one(cells, kind)
        assert "†: the prompt tells of the truth, or may." in found.caption
        assert {row["method"] for row in found.rows} == {"m0, p6", "m1, p6", "m0, p7 †", "m1, p7 †"}
        assert "†" not in one(methods(3), kind).caption
    reads_nothing = {**leaky, "told": "nothing"}
    assert "†" not in one(methods(3, values=reads_nothing), "ranks").caption, "its answers were told of no prompt"
    assert "tells of the truth" in one(across(values=leaky), "matrix").caption
    assert "tells of the truth" not in one(across(), "matrix").caption


def test_scores_of_the_test_split_are_not_mixed_with_others() -> None:
    val = evaluated(0.9, split="val")
    assert [one.mean for one in scores([evaluated(0.5), val])] == [0.5]
    assert [one.mean for one in scores([val])] == [0.9]


def test_ranks_are_on_the_datasets_that_failures_left_to_all() -> None:
    cells = [c for c in methods(4) if (c.labels["model"], c.labels["data"]) not in {("m0", "busi"), ("m1", "busi")}]
    (found,) = [d.values["found"] for d in drawings(cells) if d.kind == "ranks"]
    assert (len(found.methods), found.n_datasets) == (4, 5)


def test_prompts_of_trained_and_untrained_models_stand_apart_in_their_order() -> None:
    names = ("p10", "p2", "p1")
    trained = [evaluated(0.5 + i / 10, asked=name, prompt=name) for i, name in enumerate(names)]
    plain = [
        evaluated(0.2, asked=name, prompt=name, trained_on="", seed="", values={"deployable": name != "p2"})
        for name in names
    ]
    found = {one.title: one for one in drawings([*trained, *plain]) if one.kind == "prompts"}
    assert set(found) == {"kvasir-seg, trained on it", "kvasir-seg, untrained"}
    curves = found["kvasir-seg, trained on it"].values["curves"]
    assert {prompt: e.mean for prompt, e in curves["cris"].items()} == pytest.approx({"p1": 0.7, "p2": 0.6, "p10": 0.5})
    assert list(curves["cris"]) == ["p1", "p2", "p10"]
    assert found["kvasir-seg, untrained"].values["leaking"] == {"p2"}
    late = [evaluated(0.4, model="a", asked=name, prompt=name) for name in ("p2", "p3", "p10")]
    gaps = one([*late, *trained], "prompts").values["curves"]
    assert list(gaps["a"]) == ["p1", "p2", "p3", "p10"], "a prompt that the first line lacks keeps its place"
    assert [name for name, e in gaps["a"].items() if e.mean is None] == ["p1"]
    asked_otherwise = [evaluated(0.5, asked=name, prompt="p6") for name in names]
    assert kinds(asked_otherwise)[:1] != ["prompts"], (
        "trained with one prompt and asked with others is another question"
    )


def test_slopes_are_means_over_probes_of_the_conditions_that_all_have() -> None:
    cells = [probe(0.4, -0.1, seed=0), probe(0.6, -0.3, ("empty", "swapped"), seed=1, data="busi", trained_on="busi")]
    (effect,) = one(cells, "slopes").values["effects"]
    assert effect.name == "empty"
    assert effect.dice == pytest.approx(0.5)
    assert effect.original.difference == pytest.approx(-0.2)
    assert effect.original.ci95 is None, "a mean over probes has no interval of its own"
    (alone, _) = one(cells[:1], "slopes").values["effects"]
    assert alone.original.ci95 == pytest.approx((-0.2, 0.0))
    assert kinds([probe(0.4, -0.1, ("empty",)), probe(0.4, -0.1, ("swapped",), seed=1)]) == []


def test_what_is_beyond_the_most_of_a_kind_is_told() -> None:
    cells = [cell for i in range(MOST + 2) for cell in across(f"m{i}")]
    found = [drawing for drawing in drawings(cells) if drawing.kind == "matrix"]
    assert len(found) == MOST
    assert found[-1].caption.endswith(f"2 more of this kind are not drawn: m{MOST}; m{MOST + 1}.")
    exactly = [cell for i in range(MOST) for cell in across(f"m{i}")]
    assert "not drawn" not in drawings(exactly)[0].caption


def test_names_say_what_differs_within_a_model_and_no_more() -> None:
    plain = [{"model": "a", "regime": "full"}, {"model": "b", "regime": "decoder"}]
    assert names_of(plain) == ["a", "b"]
    assert names_of([*plain, {"model": "a", "regime": "decoder"}]) == ["a, full", "b, decoder", "a, decoder"]
    shares = [{"model": "a", "share": share, "seed": share} for share in ("0.5", "1")]
    assert names_of(shares) == ["a, 0.5", "a, 1"]
    assert names_of(shares, ("share",)) == ["a", "a"]


def test_figures_are_written_with_their_numbers_and_old_ones_go(tmp_path: Path) -> None:
    (ranked,) = [d for d in drawings(methods(), phantoms=True) if d.kind == "ranks"]
    assert ranked.values["measured"] == "Dice, made-up,"
    cells = [*across(), *across(model="Cris")]
    written = write_figures(drawings(cells, phantoms=True), tmp_path)
    assert len({figure.name.lower() for _, figure in written}) == len(written), "on any file system"
    for drawing, figure in written:
        rows = list(csv.DictReader(io.StringIO((tmp_path / f"{figure.name}.csv").read_text())))
        assert len(rows) == len(drawing.rows)
        assert (tmp_path / f"{figure.name}.png").read_bytes().startswith(b"\x89PNG")
        assert "made-up images" in (tmp_path / f"{figure.name}.svg").read_text()
        assert figure.caption.startswith("Made-up images.")
        for row in rows:
            (own,) = [c for c in cells if all(c.labels[k] == row[k] for k in ("model", "trained_on", "data"))]
            assert float(row["dice"]) == own.values["dice"]["mean"]
    (tmp_path / "mine.csv").write_text("kept")
    assert write_figures(drawings(across()), tmp_path) != []
    assert (tmp_path / "mine.csv").exists()
    assert len(list(tmp_path.glob("domain-shift*.csv"))) == 1
