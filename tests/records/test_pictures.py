"""Small images and outlines: written whole, read back, never those of other scores."""

from pathlib import Path

import pytest

from vlseg.records import InputError
from vlseg.records.pictures import Outline, SmallImage, read_pictures, write_pictures

IMAGE = SmallImage("d", "i", 256, 128, b"RIFF")
LINES = [Outline("M0 0l5 0l0 5z", ""), Outline(None, "M1 1l2 0l0 2z")]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_pictures(tmp_path, 2) is None
    write_pictures(tmp_path, [IMAGE], LINES)
    found = read_pictures(tmp_path, 2)
    assert found is not None
    assert found.images == {("d", "i"): IMAGE}
    assert found.outlines == LINES


def test_outlines_of_other_scores_and_broken_files_are_one_line(tmp_path: Path) -> None:
    write_pictures(tmp_path, [IMAGE], LINES)
    with pytest.raises(InputError, match="2 rows, the scores 3; evaluate again"):
        read_pictures(tmp_path, 3)
    (tmp_path / "pictures" / "images.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        read_pictures(tmp_path, 2)
