"""One HTML page of a dataset check, with thumbnails of what was found."""

import base64
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image, ImageOps

from vlseg.records import AREA_EDGES, DatasetStatistics, Finding, count_by_severity, write_text

SIDE = 128


def write_check_page(findings: Sequence[Finding], statistics: Sequence[DatasetStatistics], out: Path) -> Path:
    """Write a page that opens offline: findings with pictures, numbers by split, mask areas.

    The page holds small copies of the images it shows: patient data, to be kept like the dataset itself.

    Raises:
        InputError: `out` cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlseg.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    values = {
        "counts": count_by_severity(findings),
        "findings": [(finding, [_thumbnail(file) for file in finding.files]) for finding in findings],
        "statistics": [(one, _histogram(one)) for one in statistics],
    }
    write_text(out, environment.get_template("check.html.j2").render(values))
    return out


def _thumbnail(path: Path) -> dict[str, str | None]:
    """The file's name and its picture as a data URL; None where it cannot be shown."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I") or image.mode == "F":
                image = ImageOps.autocontrast(image.convert("F").point(lambda value: value / 256).convert("L"))
            picture = image.convert("RGB")
            picture.thumbnail((SIDE, SIDE))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return {"name": path.name, "url": None}
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80)
    return {"name": path.name, "url": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"}


def _histogram(one: DatasetStatistics) -> list[dict[str, Any]]:
    """Rows of the table of mask areas: the bin in words, and by split the count and its share of the largest bin."""
    if one.areas is None:
        return []
    largest = max((count for counts in one.areas.values() for count in counts), default=0) or 1
    rows = []
    for index, (low, high) in enumerate(pairwise(AREA_EDGES)):
        counts = {split: values[index] for split, values in one.areas.items()}
        bars = {split: round(100 * count / largest) for split, count in counts.items()}
        rows.append({"bin": f"{low:.1%} to {high:.1%}", "counts": counts, "bars": bars})
    return rows
