"""What the records say, in sentences and in the short texts of cells: for page, terminal and figures alike.

Every function is pure and gives plain text; whoever shows it on a page escapes it.
"""

from vlseg.reports.words import numbers
from vlseg.reports.words.cell import Cell
from vlseg.reports.words.certificates import about_certificates, about_guarantee
from vlseg.reports.words.gain import about_words, adds_over_class
from vlseg.reports.words.reading import about_language, reading_cell
from vlseg.reports.words.screen import first_screen, reads, spoken_of
from vlseg.reports.words.sentences import about_comparison, about_leak, about_scores, differs

__all__ = [
    "Cell",
    "about_certificates",
    "about_comparison",
    "about_guarantee",
    "about_language",
    "about_leak",
    "about_scores",
    "about_words",
    "adds_over_class",
    "differs",
    "first_screen",
    "numbers",
    "reading_cell",
    "reads",
    "spoken_of",
]
