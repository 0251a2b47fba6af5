"""vlseg report"""

from pathlib import Path
from typing import Annotated

import typer

from vlseg.cli.options import Json, finish


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or a folder of runs.", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option(help="The page; default report.html in the first folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    json: Json = False,
) -> None:
    """One HTML page of one or several runs; opens offline, needs no script."""
    from vlseg.jobs.compare import comparison_for_report
    from vlseg.reports import find_runs, write_report

    found = [run for folder in runs for run in find_runs(folder)]
    heading = title or f"Report of {runs[0].resolve().name}"
    comparison = comparison_for_report(found)
    page = write_report(found, out or runs[0] / "report.html", title=heading, comparison=comparison)
    finish("report", {"report": str(page), "runs": [str(run) for run in found]}, [f"Report: {page}"], as_json=json)
