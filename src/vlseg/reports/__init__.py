"""Run records to pages. Reads disk only."""

from vlseg.reports.load import find_runs, load_run
from vlseg.reports.page import write_report

__all__ = ["find_runs", "load_run", "write_report"]
