"""Words measured on masks: the published rules on made-up masks and on the real sample; shapes and colours."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from vlseg.data import read_mask
from vlseg.data.measure import (
    COLORS,
    MEASURES,
    color_word,
    components,
    location_words,
    number_of_regions,
    shape_word,
    size_words,
)


def square(side: int, row: int, column: int, size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[row : row + side, column : column + side] = True
    return mask


@pytest.mark.parametrize(
    ("side", "word"),
    [(1, None), (2, "tiny"), (3, "tiny"), (4, "small"), (28, "small"), (29, "medium"), (54, "medium"), (55, "large")],
)
def test_size_is_the_share_of_the_image(side: int, word: str | None) -> None:
    assert size_words(square(side, 10, 10)) == word


def test_sizes_of_several_regions_stand_from_small_to_large() -> None:
    assert size_words(square(40, 0, 0) | square(10, 80, 80) | square(2, 0, 90)) == "tiny, small, medium"
    assert number_of_regions(square(40, 0, 0) | square(10, 80, 80) | square(1, 0, 90)) == 3


def test_touching_corners_are_one_region() -> None:
    assert number_of_regions(square(10, 0, 0) | square(10, 10, 10)) == 1


@pytest.mark.parametrize(
    ("row", "column", "word"),
    [
        (5, 5, "top left"),
        (5, 45, "top"),
        (5, 85, "top right"),
        (45, 5, "left"),
        (45, 45, "center"),
        (45, 85, "right"),
        (85, 5, "bottom left"),
        (85, 45, "bottom"),
        (85, 85, "bottom right"),
    ],
)
def test_location_by_cell(row: int, column: int, word: str) -> None:
    assert location_words(square(10, row, column)) == word
    assert location_words(square(10, row, column), published=True) == word


def test_a_region_in_several_cells_goes_by_its_box() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:50, 20:60] = True  # its centre is in the middle column
    assert location_words(mask) == "center"
    mask[40:50, 2:60] = True
    assert location_words(mask) == "left"


def test_the_published_column_is_a_third_of_the_height() -> None:
    mask = np.zeros((100, 180), bool)
    mask[45:55, 50:110] = True  # centre at 80 of 180: the middle; of the height, 80 of 100: the right
    assert location_words(mask) == "center"
    assert location_words(mask, published=True) == "right"
    two = mask.copy()
    two[90:95, 10:15] = two[90:95, 30:35] = True
    assert location_words(two) == "center, bottom left"
    assert location_words(two, published=True) == "right, bottom left, bottom left"


def ellipse(rows: float, columns: float, angle: float = 0) -> np.ndarray:
    yy, xx = np.mgrid[:100, :100] - 50.0
    turned = np.cos(angle) * yy + np.sin(angle) * xx, -np.sin(angle) * yy + np.cos(angle) * xx
    return (turned[0] / rows) ** 2 + (turned[1] / columns) ** 2 <= 1


def star() -> np.ndarray:
    yy, xx = np.mgrid[:100, :100] - 50.0
    return np.hypot(yy, xx) < 20 + 14 * np.cos(5 * np.arctan2(yy, xx))


@pytest.mark.parametrize("angle", [0, 0.5, 1.2])
def test_shapes(angle: float) -> None:
    assert shape_word(ellipse(20, 20, angle)) == "round"
    assert shape_word(ellipse(30, 18, angle)) == "oval"
    assert shape_word(ellipse(40, 8, angle)) == "elongated"
    assert shape_word(star()) == "irregular"
    assert shape_word(square(1, 5, 5)) == "round"
    assert shape_word(square(30, 5, 5)) == "round"


@pytest.mark.parametrize("name", list(COLORS))
def test_every_color_is_its_own_nearest(name: str) -> None:
    image = np.zeros((10, 10, 3), np.float32)
    mask = square(4, 2, 2, 10)
    image[mask] = np.array(COLORS[name]) / 255
    assert color_word(mask, image) == name


def test_lab_agrees_with_pillow() -> None:
    from PIL import Image, ImageCms

    from vlseg.data.measure import _lab

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (50, 1, 3), dtype=np.uint8)
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB", 6504), "RGB", "LAB"
    )
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform)).reshape(50, 3).astype(float)
    converted[:, 0] *= 100 / 255
    signed = np.where(converted[:, 1:] > 127, converted[:, 1:] - 256, converted[:, 1:])
    ours = _lab(pixels.reshape(50, 3) / 255)
    assert np.abs(ours[:, 0] - converted[:, 0]).max() < 1.5
    assert np.median(np.abs(ours[:, 1:] - signed)) < 12  # another white point; hue and order agree
    assert np.corrcoef(ours[:, 1], signed[:, 0])[0, 1] > 0.98
    assert np.corrcoef(ours[:, 2], signed[:, 1])[0, 1] > 0.98


def test_an_empty_mask_has_no_words() -> None:
    empty = np.zeros((9, 9), bool)
    assert {measure(empty, np.zeros((9, 9, 3), np.float32)) for measure in MEASURES.values()} == {None}
    assert components(empty) == []


WORDS = "one two three four five six seven".split()
TEXT = re.compile(r"(\w+) (.*?) (?:benign|malignant) tumors? (?:at|in) the (.*?) in the breast", re.IGNORECASE)


def test_agreement_with_the_published_words(shared: Path) -> None:
    """On the 100 tumours of the BUSI sample. Where words differ two lesions touch, which had masks of their own."""
    root = shared / "data" / "busi_sample"
    agree = dict.fromkeys(("number", "size", "location", "width"), 0)
    total = 0
    for split in ("train", "val", "test"):
        for entry in json.loads((root / "anns" / f"{split}.json").read_text()):
            if isinstance(entry["prompts"]["p5"], str):
                continue
            match = TEXT.match(entry["prompts"]["p5"][0])
            assert match, entry["prompts"]["p5"]
            mask = read_mask([root / "masks" / entry["mask_name"]])
            total += 1
            agree["number"] += WORDS[number_of_regions(mask) - 1] == match[1].lower()
            agree["size"] += size_words(mask) == match[2].lower()
            agree["location"] += location_words(mask, published=True) == match[3].lower()
            agree["width"] += location_words(mask) == match[3].lower()
    assert (total, agree) == (100, {"number": 96, "size": 100, "location": 96, "width": 66})
