"""Small pictures of findings: the outline runs where the mask's border is, and nowhere else."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vlseg.jobs.check_pictures import SIDE, WIDTH, draw_view
from vlseg.records import View


def written(path: Path, pixels: NDArray[np.generic]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def drawn(file: Path, *masks: Path, mask_value: int | None = None) -> NDArray[np.uint8]:
    content = draw_view(View("a", file, masks, mask_value))
    assert content is not None
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "WEBP"
        return np.asarray(picture.convert("RGB"))


def yellow(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """WebP blurs colour: red and green far above blue."""
    return picture[:, :, :2].min(axis=2).astype(int) > picture[:, :, 2].astype(int) + 60


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    return written(tmp_path / "grey.png", np.full((200, 240), 90, np.uint8))


def test_the_outline_is_the_border_of_the_foreground(tmp_path: Path, grey: Path) -> None:
    mask = np.zeros((200, 240), np.uint8)
    mask[50:120, 60:160] = 255
    line = yellow(drawn(grey, written(tmp_path / "mask.png", mask)))
    rows, columns = np.nonzero(line)
    for found, wanted in ((rows.min(), 50), (rows.max(), 119), (columns.min(), 60), (columns.max(), 159)):
        assert abs(found - wanted) <= 2
    assert not line[56:114, 66:154].any()
    perimeter = 2 * (70 + 100) * WIDTH
    assert 0.6 * perimeter < line.sum() < 1.6 * perimeter


def test_an_empty_mask_has_none_and_a_full_one_frames_the_image(tmp_path: Path, grey: Path) -> None:
    assert not yellow(drawn(grey, written(tmp_path / "none.png", np.zeros((200, 240), np.uint8)))).any()
    full = yellow(drawn(grey, written(tmp_path / "full.png", np.full((200, 240), 255, np.uint8))))
    assert full[0].mean() > 0.9
    assert full[:, -1].mean() > 0.9
    assert not full[10:-10, 10:-10].any()


def test_a_declared_value_is_the_foreground(tmp_path: Path, grey: Path) -> None:
    labels = np.zeros((200, 240), np.uint8)
    labels[20:60, 20:60], labels[120:160, 150:200] = 1, 2
    mask = written(tmp_path / "labels.png", labels)
    one, two = (yellow(drawn(grey, mask, mask_value=value)) for value in (1, 2))
    assert one[:90].any()
    assert not one[90:].any()
    assert two[90:].any()
    assert not two[:90].any()


def test_a_single_pixel_of_a_large_mask_is_seen(tmp_path: Path) -> None:
    image = written(tmp_path / "large.png", np.full((2000, 3000), 90, np.uint8))
    mask = np.zeros((2000, 3000), np.uint8)
    mask[1000, 1500] = 255
    picture = drawn(image, written(tmp_path / "mask.png", mask))
    assert max(picture.shape) == SIDE
    rows, columns = np.nonzero(np.abs(picture.astype(int) - 90).max(axis=2) > 50)
    assert len(rows)
    assert np.hypot(rows - 1000 * SIDE / 3000, columns - SIDE / 2).max() < 6


@pytest.mark.parametrize("kind", ["label map", "sixteen bits", "palette", "float"])
def test_what_is_nearly_black_is_stretched(tmp_path: Path, kind: str) -> None:
    ramp = np.tile(np.arange(64) // 22, (64, 1))
    path = tmp_path / "a.tif"
    if kind == "palette":
        image = Image.fromarray(ramp.astype(np.uint8))
        image.putpalette([0, 0, 0, 120, 0, 0, 0, 255, 0])
        image.save(path)
    else:
        of = {"label map": np.uint8, "sixteen bits": np.uint16, "float": np.float32}[kind]
        written(path, (ramp * (900 if kind == "sixteen bits" else 1)).astype(of))
    picture = drawn(path)
    assert picture.max() > 240
    assert len(np.unique(picture.max(axis=2)[:, [10, 32, 60]])) >= 3


def test_an_ordinary_dark_image_stays_dark(tmp_path: Path) -> None:
    picture = drawn(written(tmp_path / "a.png", np.tile(np.arange(64, dtype=np.uint8), (64, 1))))
    assert picture.max() < 80


@pytest.mark.parametrize("broken", ["image", "mask", "missing"])
def test_what_cannot_be_read_is_none(tmp_path: Path, grey: Path, broken: str) -> None:
    bad = tmp_path / "bad.png"
    if broken != "missing":
        bad.write_bytes(b"no picture")
    view = View("a", grey, (bad,)) if broken == "mask" else View("a", bad)
    assert draw_view(view) is None
