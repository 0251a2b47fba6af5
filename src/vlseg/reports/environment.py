"""Templates of all pages, with the filters that they share."""

import jinja2

from vlseg.records import origin
from vlseg.reports import formats
from vlseg.reports.results import origin_of, told
from vlseg.reports.words import numbers
from vlseg.reports.words.robust import row_name, worst_words

FILTERS = {
    "number": numbers.decimal,
    "signed": numbers.signed,
    "share": numbers.percent,
    "pvalue": numbers.p_value,
    "index": formats.index,
    "omitted": formats.omitted,
    "counted": formats.counted,
    "told": told,
    "part": formats.part_name,
    "moment": formats.moment,
    "condition": numbers.condition_name,
    "row_name": row_name,
    "worst_words": worst_words,
    "points": formats.points_of,
}


def page_environment() -> jinja2.Environment:
    """What is written into a page is escaped; a name that a template does not know is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlseg.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {**FILTERS, "origin": _origin, "origin_of": origin_of}
    environment.globals["footnotes"] = formats.Footnotes
    return environment


def _origin(sources: list[str], phantoms: list[str] | None = None) -> str:
    return origin(sources, made_up=bool(phantoms))
