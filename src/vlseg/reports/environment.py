"""Templates of all pages, with the filters that they share."""

import jinja2

from vlseg.records import origin
from vlseg.reports import formats
from vlseg.reports.results import told

FILTERS = ("number", "signed", "share", "pvalue", "index", "omitted", "counted")


def page_environment() -> jinja2.Environment:
    """What is written into a page is escaped; a name that a template does not know is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlseg.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {name: getattr(formats, name) for name in FILTERS}
    environment.filters |= {"told": told, "origin": _origin}
    environment.globals["footnotes"] = formats.Footnotes
    return environment


def _origin(sources: list[str], phantoms: list[str] | None = None) -> str:
    return origin(sources, made_up=bool(phantoms))
