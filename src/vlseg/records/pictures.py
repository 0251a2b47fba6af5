"""What an evaluation keeps to be looked at: a small copy of each image, the outlines of truth and answer of each row.

EVALUATION/pictures/images.parquet and outlines.parquet. They show patients: to be kept as the images are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vlseg.records.errors import InputError
from vlseg.records.files import replacing

PICTURES = "pictures"
IMAGES, OUTLINES, ATTACKED = "images.parquet", "outlines.parquet", "attacked.parquet"
GRID = 256
"""Length of an image's longer side in the units of outlines; the longer side of the small copy in pixels, at most."""


@dataclass(frozen=True)
class SmallImage:
    """A small copy of one image.

    Attributes:
        dataset, image_id: as in the score rows.
        width, height: in units of outlines, the longer one GRID.
        content: a WebP file of at most GRID pixels a side.
    """

    dataset: str
    image_id: str
    width: int
    height: int
    content: bytes


@dataclass(frozen=True)
class Outline:
    """The outlines that belong to one row of scores.parquet, as data of an SVG path: "M3 4l5 0l0 7z".

    Empty for an empty mask. None where there is no truth, or where the answer was not given on this image.
    """

    truth: str | None
    answer: str | None


@dataclass(frozen=True)
class Pictures:
    """`outlines[i]` belongs to row i of the evaluation's scores."""

    images: dict[tuple[str, str], SmallImage]
    outlines: list[Outline]


@dataclass(frozen=True)
class AttackPicture:
    """One sample under one attack, as WebP files at the size at which the image was attacked.

    Attributes:
        dataset, sample_id: as in the score rows.
        arguments: the row's condition arguments, but for what it is held against.
        before, after: the image as it is, and as it was attacked.
        change: ten times what is between them, around grey.
    """

    dataset: str
    sample_id: str
    arguments: str
    before: bytes
    after: bytes
    change: bytes


def write_attack_pictures(evaluation: Path, pictures: Sequence[AttackPicture]) -> None:
    """Write EVALUATION/pictures/attacked.parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words, files = ("dataset", "sample_id", "arguments"), ("before", "after", "change")
    schema = pa.schema([*((name, pa.string()) for name in words), *((name, pa.binary()) for name in files)])
    with replacing(evaluation / PICTURES / ATTACKED) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in pictures], schema=schema), temporary)


def read_attack_pictures(evaluation: Path) -> list[AttackPicture]:
    """What an evaluation kept; none where it kept nothing.

    Raises:
        InputError: a file that cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = evaluation / PICTURES / ATTACKED
    if not file.exists():
        return []
    try:
        with pq.ParquetFile(file) as opened:
            return [AttackPicture(**row) for row in opened.read().to_pylist()]
    except (OSError, pa.ArrowException, TypeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); attack again, or delete the file") from error


def write_pictures(evaluation: Path, images: Sequence[SmallImage], outlines: Sequence[Outline]) -> None:
    """Write both files into the folder of an evaluation, each whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    small = pa.schema(
        [
            ("dataset", pa.string()),
            ("image_id", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("content", pa.binary()),
        ]
    )
    lines = pa.schema([("truth", pa.string()), ("answer", pa.string())])
    for name, rows, schema in ((IMAGES, images, small), (OUTLINES, outlines, lines)):
        with replacing(evaluation / PICTURES / name) as temporary:
            pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), temporary)


def read_pictures(evaluation: Path, rows: int) -> Pictures | None:
    """What an evaluation kept; None where it kept nothing.

    Args:
        evaluation: its folder.
        rows: how many its scores have.

    Raises:
        InputError: files that cannot be read, or outlines of other scores.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = evaluation / PICTURES
    if not (folder / OUTLINES).exists():
        return None
    try:
        with pq.ParquetFile(folder / IMAGES) as file:
            images = [SmallImage(**row) for row in file.read().to_pylist()]
        with pq.ParquetFile(folder / OUTLINES) as file:
            outlines = [Outline(**row) for row in file.read().to_pylist()]
    except (OSError, pa.ArrowException, TypeError) as error:
        reason = f"no {IMAGES} there" if isinstance(error, FileNotFoundError) else str(error)
        raise InputError(f"{folder}: cannot be read ({reason}); evaluate again, or delete the folder") from error
    if len(outlines) != rows:
        raise InputError(f"{folder}: has {len(outlines)} rows, the scores {rows}; evaluate again, or delete the folder")
    return Pictures({(image.dataset, image.image_id): image for image in images}, outlines)
