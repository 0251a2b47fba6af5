"""vlseg report"""

from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Json, finish


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, a folder of runs, or a study.", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option(help="The page; default report.html in the first folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show small copies of the images that were scored.")
    ] = True,
    figures: Annotated[Path | None, typer.Option(help="Folder for each figure as SVG and PNG.")] = None,
    json: Json = False,
) -> None:
    """One HTML page of one or several runs, or of a study with its tables; it opens offline and needs no script."""
    if len(runs) == 1 and (runs[0] / "plan.json").exists():
        _study(runs[0], {"--out": out, "--title": title, "--figures": figures}, as_json=json)
        return
    from vlseg.jobs.compare import comparison_for_report
    from vlseg.reports import find_runs, write_report

    found = list({run.resolve(): run for folder in runs for run in find_runs(folder)}.values())
    first = runs[0].resolve()
    heading = title or f"Report of {first.parent.name if first.name == 'runs' else first.name}"
    comparison = comparison_for_report(found)
    page = write_report(
        found, out or runs[0] / "report.html", title=heading, comparison=comparison, images=images, figures=figures
    )
    finish("report", {"report": str(page), "runs": [str(run) for run in found]}, [f"Report: {page}"], as_json=json)


def _study(folder: Path, given: dict[str, object], *, as_json: bool) -> None:
    from vlseg.records import InputError
    from vlseg.records.study import Plan
    from vlseg.studies.report import write_study_report

    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option}: is of runs; the report of a study is {folder / 'report'}, under its own title")
    written = write_study_report(folder, Plan.read(folder))
    values = {
        "study": str(folder),
        "report": str(written.page),
        "tables": str(written.tables),
        "files": [str(file) for file in written.files],
    }
    lines = [
        f"Report: {written.page}",
        f"Tables: {written.tables}",
    ]
    if any((folder / "runs").glob("*/run.json")):
        lines.append(f"a page of its runs: vlseg report {folder / 'runs'}")
    finish("report", values, lines, as_json=as_json)
