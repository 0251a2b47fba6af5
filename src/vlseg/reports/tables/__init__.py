"""A study's cells as tables: ours beside what was published, the difference, and whether it is more than noise."""

from vlseg.reports.tables.build import build_table
from vlseg.reports.tables.files import build_tables, to_csv, write_built, write_tables
from vlseg.reports.tables.html import to_html
from vlseg.reports.tables.latex import to_latex
from vlseg.reports.tables.markdown import to_markdown
from vlseg.reports.tables.table import Entry, Run, Table
from vlseg.reports.tables.values import check_specs

__all__ = [
    "Entry",
    "Run",
    "Table",
    "build_table",
    "build_tables",
    "check_specs",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "write_built",
    "write_tables",
]
