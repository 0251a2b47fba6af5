"""The same table as markdown, CSV and LaTeX: numbers are recomputed from the CSV, odd labels stay what they are."""

import csv
import io
import re
import shutil
import subprocess
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml
from study_cells import estimate, evaluated, labels

from vlseg.records import InputError
from vlseg.records.study import Cell, Hole, TableSpec
from vlseg.reports.published import published_table
from vlseg.reports.tables import build_table, check_specs, to_csv, to_latex, to_markdown, write_tables

INDIVIDUAL = "medvlsm/table2/individual"
ODD = ["a|b", "100%_x", r"back\slash", "[a](b)*c*", "<i>&amp;", "#1 ~^$", "é − ü", '"q", `c`', "two\nlines"]


def spec(**fields: Any) -> TableSpec:
    return TableSpec(**{"name": "t", **fields})


def study() -> list[Cell]:
    """Three models on three datasets; one model has one seed, one place has no interval."""
    cells = []
    for m, model in enumerate(("cris", "clipseg", "smp-unet")):
        for d, data in enumerate(("kvasir-seg", "busi", "camus")):
            for seed in range(1 if model == "smp-unet" else 3):
                half = None if data == "camus" and model == "cris" else 0.01 + 0.003 * seed
                value = (0.8, 0.88, 0.7)[m] + 0.03 * d + 0.004 * seed
                cells.append(evaluated(value, half, model=model, data=data, trained_on=data, seed=seed))
    return cells


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_number_of_the_csv_follows_from_the_cells_and_from_each_other() -> None:
    cells = study()
    rows = rows_of(to_csv(build_table(cells, spec(published=INDIVIDUAL))))
    assert len(rows) == 9
    published = published_table(INDIVIDUAL)
    for row in rows:
        own = [c for c in cells if (c.labels["model"], c.labels["data"]) == (row["model"], row["data"])]
        seeds = [float(row[name]) for name in row if name.startswith("seed ") and row[name]]
        assert seeds == pytest.approx([100 * c.values["dice"]["mean"] for c in own])
        assert float(row["mean"]) == pytest.approx(fmean(seeds))
        assert row["range"] == "" if len(seeds) == 1 else float(row["range"]) == pytest.approx(max(seeds) - min(seeds))
        ends = [c.values["dice"]["ci95"] for c in own if c.values["dice"]["ci95"]]
        half = max((100 * (high - low) / 2 for low, high in ends), default=None)
        assert (row["half_width"] == "") if half is None else float(row["half_width"]) == pytest.approx(half)
        beside = published.find({"model": row["model"], "data": row["data"]})
        assert beside is not None
        assert (float(row["published"]), row["tag"], row["source"]) == (beside.value, beside.tag, beside.source)
        assert float(row["difference"]) == pytest.approx(float(row["mean"]) - float(row["published"]))
        if half is None or len(seeds) < 3:
            assert row["flagged"] == "not judged"
        else:
            over = abs(float(row["difference"])) > float(row["range"]) + half
            assert row["flagged"] == ("yes" if over else "no")
    assert {row["flagged"] for row in rows} == {"yes", "no", "not judged"}
    for data in ("kvasir-seg", "busi", "camus"):
        column = [row for row in rows if row["data"] == data]
        top = max(column, key=lambda row: float(row["mean"]))
        assert [row["best"] == "yes" for row in column] == [row is top for row in column]


def test_intervals_and_deviations_of_published_values_are_in_the_csv() -> None:
    table = build_table([evaluated(0.8)], spec(published="medvlsm/prompts/finetuned", scale=1))
    (row,) = rows_of(to_csv(table))
    assert [float(row[name]) for name in ("published", "published_low", "published_high")] == [0.8652, 0.8282, 0.8951]
    own = {"data": "camus", "trained_on": "camus", "prompt": "p1", "asked": "p1"}
    (row,) = rows_of(to_csv(build_table([evaluated(0.8, **own)], spec(published="synthetic-boost/real"))))
    assert (row["published"], row["published_std"]) == ("91", "6.33")


def test_the_markdown_shows_what_the_csv_has() -> None:
    table = build_table(study(), spec(title="Individual", published=INDIVIDUAL))
    text = to_markdown(table)
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    csv_rows = {(row["model"], row["data"]): row for row in rows_of(to_csv(table))}
    columns = [column[0] for column in table.columns]
    model = ""
    for line in lines[2:]:
        model = line[0].strip("| ") or model
        for data, cell in zip(columns, line[2:], strict=True):
            row = csv_rows[model, data]
            key = {"ours": "mean", "published": "published", "difference": "difference"}[line[1]]
            shown = float(re.search(r"[−+\d][\d.]*", cell)[0].replace("−", "-"))  # type: ignore[index]
            assert shown == pytest.approx(float(row[key]), abs=0.00501)
            if key == "mean":
                assert cell.startswith("**") == (row["best"] == "yes")
                assert ("(" in cell) == (row["range"] != "")
            if key == "published":
                assert row["tag"] in cell
            if key == "difference":
                assert ("(!)" in cell) == (row["flagged"] == "yes")
                assert ("(?)" in cell) == (row["flagged"] == "not judged")
    assert "one seed: no range" in text
    assert "no interval" in text
    assert "Empty masks: " in text


def test_every_footnote_mark_is_explained_and_every_note_is_marked() -> None:
    holes = [Hole(what="guide on camus", why="failed: out of memory in step 3", labels=labels("guide", "camus"))]
    text = to_markdown(build_table(study(), spec(published=INDIVIDUAL), holes))
    grid = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    notes = [line for line in text.splitlines() if line.startswith("- [")]
    marks = [re.match(r"- \[(\w+)\]", line)[1] for line in notes]  # type: ignore[index]
    assert set(re.findall(r"\[(\w+)\]", grid)) == set(marks)
    assert len(marks) == len(set(marks))
    assert any("out of memory in step 3" in line for line in notes)


def test_what_every_cell_has_is_said_once() -> None:
    cells = [evaluated(0.8, model=model, seed=0) for model in ("a", "b", "c")]
    text = to_markdown(build_table(cells, spec()))
    assert text.count("one seed: no range") == 1
    assert "Every cell: one seed: no range." in text


def test_no_minus_before_a_zero_and_a_true_one_before_others() -> None:
    cells = [evaluated(0.9139 - 0.00001, seed=seed) for seed in range(3)]
    text = to_markdown(build_table(cells, spec(published=INDIVIDUAL)))
    assert "| difference | 0.00 |" in text
    assert "−" in to_markdown(build_table([evaluated(0.5)], spec(published=INDIVIDUAL)))


@pytest.mark.parametrize("odd", ODD)
def test_odd_labels_stay_what_they_are(odd: str) -> None:
    cells = [evaluated(0.9, model=odd), evaluated(0.8, model="plain")]
    table = build_table(cells, spec(title=odd, note=odd, order={"model": [odd]}))
    assert rows_of(to_csv(table))[0]["model"] == odd
    grid = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in grid} == {3}
    shown = re.sub(r"\\(.)", r"\1", grid[2].split(" | ")[0].removeprefix("| "))
    assert shown == " ".join(odd.split())
    plain = build_table([evaluated(0.9, model="x"), cells[1]], spec(title="x", note="x", order={"model": ["x"]}))
    assert len(to_latex(table).splitlines()) == len(to_latex(plain).splitlines())


def latex_document(*tables: str) -> str:
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,longtable,graphicx}\begin{document}"
    return "\n".join([head, *tables, r"\end{document}"])


def wide() -> list[Cell]:
    """More lines than a page holds."""
    return [evaluated(0.5, model=f"model_{i}", data=f"data%{j}", trained_on="") for i in range(60) for j in range(11)]


def test_latex_is_balanced_and_escaped() -> None:
    cells = [evaluated(0.9, model=odd) for odd in ODD]
    for text in (to_latex(build_table(cells, spec(title="% & _"))), to_latex(build_table(wide(), spec()))):
        code = "\n".join(line for line in text.splitlines() if not line.startswith("% "))
        assert code.count(r"\begin{") == code.count(r"\end{")
        bare = re.sub(r"\\[\\{}%&_#$]", "", code)
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"[_#$]", bare)
        rows = [line for line in code.splitlines() if line.endswith(r" \\")]
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1
        assert all(rule in code for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"\begin{longtable}" in text


@pytest.mark.slow
def test_latex_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    cells = [evaluated(0.9, model=odd) for odd in ODD]
    hole = Hole(what="100 %_odd", why="no such folder: /a_b/{c}", labels={"data": "kvasir-seg", "model": "x_y"})
    tables = [
        to_latex(build_table(cells, spec(title="odd %_&", note="#1"), [hole], phantoms=True)),
        to_latex(build_table(study(), spec(published=INDIVIDUAL))),
        to_latex(build_table(wide(), spec(title="long"), phantoms=True)),
        to_latex(build_table([], spec(title="nothing"))),
    ]
    (tmp_path / "t.tex").write_text(latex_document(*tables), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 0
    assert "Missing character" not in done.stdout


def test_all_files_are_written_and_the_index_has_all_tables(tmp_path: Path) -> None:
    specs = [spec(name="one", title="First"), spec(name="two", rows="data", columns="model")]
    written = write_tables(study(), specs, [], tmp_path / "tables")
    assert sorted(path.name for path in written) == sorted(path.name for path in (tmp_path / "tables").iterdir())
    index = (tmp_path / "tables" / "index.md").read_text(encoding="utf-8")
    for name in ("one", "two"):
        assert (tmp_path / "tables" / f"{name}.md").read_text(encoding="utf-8") in index
    again = [path.read_bytes() for path in written]
    write_tables(study()[::-1], specs, [], tmp_path / "tables")
    assert [path.read_bytes() for path in written] == again


def test_where_one_table_fails_no_file_is_touched(tmp_path: Path) -> None:
    write_tables(study(), [spec(name="one")], [], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="table 'two'"):
        write_tables(
            [*study(), study()[0]],
            [spec(name="one", title="new", where={"model": "x"}), spec(name="two")],
            [],
            tmp_path,
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a/b"}, "letters, digits"),
        ({"name": ".."}, "letters, digits"),
        ({"name": "Index"}, "taken"),
        ({"metric": "dise"}, "did you mean 'dice'"),
        ({"metric": "selection_index"}, "unknown metric"),
        ({"kind": "probe"}, "unknown metric 'dice'"),
        ({"published": "medvlsm/table3"}, "did you mean 'medvlsm/table2"),
        ({"where": {"parts": "x"}}, "unknown label 'parts'; did you mean 'part'"),
        ({"rows": ["model", "sed"]}, "did you mean 'seed'"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_runs(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        check_specs([spec(**fields)], list(labels()))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("table '")


def test_names_that_one_file_system_takes_for_the_same_are_refused() -> None:
    with pytest.raises(InputError, match="taken"):
        check_specs([spec(name="a"), spec(name="A")])
    check_specs(
        [spec(name="a"), spec(name="b", kind="probe", metric="attributes.{attribute}.wrong", rows="attribute")],
        list(labels()),
    )


def test_a_label_of_the_metric_may_be_named() -> None:
    values = {"n": 5, "presence": {"auroc": 0.7, "reason": None}, "area_error": estimate(-3)}
    cell = Cell("evaluate", labels(), values)
    table = build_table([cell], spec(rows="what", metric="presence.{what}", where={"what": "auroc"}, scale=1))
    assert rows_of(to_csv(table))[0]["mean"] == "0.7"
    (row,) = rows_of(to_csv(build_table([cell], spec(metric="area_error"))))
    assert (row["mean"], row["best"]) == ("-3", "no")


def test_ten_thousand_cells_into_all_tables_take_under_three_seconds(tmp_path: Path) -> None:
    prompts = [f"p{i}" for i in range(10)]
    models = ["cris", "clipseg", "biomedclipseg", "biomedclipseg-d", "smp-unet", "smp-unetplusplus", "guide"]
    sets = ["kvasir-seg", "cvc-clinicdb", "bkai-igh", "isic-2016", "dfuc-2022", "camus", "busi", "chexlocalize"]
    cells = [
        evaluated(0.5 + 0.001 * seed, part="prompts", model=m, data=d, trained_on=d, prompt=p, asked=p, seed=seed)
        for m in models
        for d in sets
        for p in prompts
        for seed in range(18)
    ]
    assert len(cells) == 10_080
    finetuned = {"rows": ["data", "model"], "columns": "asked", "published": "medvlsm/prompts/finetuned"}
    specs = [spec(name="finetuned", **finetuned)]
    specs += [spec(name=f"by-data-{p}", where={"asked": p}, published=INDIVIDUAL) for p in prompts]
    specs += [spec(name=f"by-prompt-{d}", where={"data": d}, columns="asked") for d in sets]
    holes = [Hole(what="a run", why="planned", labels={**cell.labels, "seed": "99"}) for cell in cells[::18]]
    begin = time.process_time()
    write_tables(cells, specs, holes, tmp_path)
    assert time.process_time() - begin < 3


def test_the_tables_of_the_documentation_can_be_made() -> None:
    text = (Path(__file__).parents[3] / "docs" / "studies-tables.md").read_text(encoding="utf-8")
    given = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])["tables"]
    specs = [TableSpec(**one) for one in given]
    check_specs(specs, list(labels()))
    cells = [evaluated(0.9, values={"hd95": estimate(30)}), evaluated(0.8, part="prompts")]
    attributes = {"attributes": {"size": {"wrong": -0.1, "random": -0.2, "without": 0.0}}}
    cells.append(Cell("probe", labels(), attributes))
    tables = [build_table(cells, one) for one in specs]
    assert all(any(entry.difference is not None for entry in table.entries.values()) for table in tables)


def test_tables_of_an_earlier_study_go_and_other_files_stay(tmp_path: Path) -> None:
    write_tables(study(), [spec(), spec(name="old.one")], [], tmp_path)
    (tmp_path / "mine.md").write_text("notes")
    write_tables(study(), [spec()], [], tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"index.md", "mine.md", "t.md", "t.csv", "t.tex"}
