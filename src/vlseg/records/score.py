"""One row per (image, target, prompt wording, condition). Aggregates are computed from these alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from vlseg.records.errors import InputError
from vlseg.records.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

SCORE_FORMAT = 1
"""Version of the columns of scores.parquet."""


@dataclass(frozen=True)
class SampleScore:
    """One scored prediction.

    Distances (`hd95`, `hd`, `assd`) are None where undefined (a mask is empty): the rule for
    empty masks acts on aggregation. `dice` and `iou` are None only when there is no truth.
    `area` and `area_error` (predicted minus true) are pixels at native size. `threshold` acts on
    probabilities. `spacing` is "y,x" in mm or None; `distance_unit` is "px" or "mm". `pixels` is the image's
    number of pixels. Lesions are connected regions. `brier` is over the band around truth and prediction.
    `uncertainty` is the case's, where it was asked for. `overlap` is the IoU with the answer to the sample's own
    prompt, where another condition was asked, and `own_dice` the Dice of that answer with this row's truth.
    `attributes` is a JSON object of the sample's attributes. Of a smoothed model `abstained` is the share of pixels
    that it does not answer, `certified_dice` a lower bound (`vlseg.metrics.certified_dice`) and `certified_accuracy`
    the share of pixels that are certified and right.
    """

    dataset: str
    split: str
    sample_id: str
    image_id: str
    group: str | None
    site: str | None
    target: str | None
    named_target: str | None
    prompt: str
    wording: str
    prompt_sources: str
    deployable: bool
    condition: str
    condition_arguments: str
    model: str
    run_id: str
    seed: int
    protocol: str
    threshold: float
    precision: str
    dice: float | None
    iou: float | None
    hd95: float | None
    hd: float | None
    nsd: float | None
    nsd_tolerance: float
    assd: float | None
    distance_unit: str
    spacing: str | None
    image_diagonal: float
    presence_score: float | None
    area: int
    area_error: int | None
    empty_target: bool | None
    empty_pred: bool
    pixels: int | None = None
    pixel_precision: float | None = None
    pixel_recall: float | None = None
    lesions: int | None = None
    lesions_found: int | None = None
    false_lesions: int | None = None
    brier: float | None = None
    uncertainty: float | None = None
    overlap: float | None = None
    attributes: str = "{}"
    own_dice: float | None = None
    abstained: float | None = None
    certified_dice: float | None = None
    certified_accuracy: float | None = None


def score_columns() -> list[str]:
    """The column names of scores.parquet, in order."""
    return [column.name for column in fields(SampleScore)]


def _schema() -> "pa.Schema":
    import pyarrow as pa

    plain = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    columns = []
    for name, hint in get_type_hints(SampleScore).items():
        kinds = [kind for kind in plain if kind is hint or kind in getattr(hint, "__args__", ())]
        columns.append(pa.field(name, plain[kinds[0]], nullable=type(None) in getattr(hint, "__args__", ())))
    return pa.schema(columns, metadata={"vlseg_score_format": str(SCORE_FORMAT)})


def write_scores(path: Path, scores: Sequence[SampleScore]) -> None:
    """Write scores.parquet, whole or not at all; the same scores give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(score) for score in scores], schema=_schema())
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def read_scores(path: Path) -> list[SampleScore]:
    """Read scores.parquet back; unknown columns of a later version are ignored.

    Raises:
        InputError: missing, broken, or without a column that every version has.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = set(score_columns())
    try:
        # Not pq.read_table, which loads pandas where that is installed: a second or more.
        with pq.ParquetFile(path) as file:
            rows: list[dict[str, Any]] = file.read().to_pylist()
        return [SampleScore(**{key: value for key, value in row.items() if key in names}) for row in rows]
    except (OSError, pa.ArrowException, TypeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise InputError(f"{path}: cannot be read ({reason}); evaluate again, or delete its folder") from error
