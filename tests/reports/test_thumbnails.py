"""Many images within a number of bytes."""

import base64
import io

import pytest
from pictured import small_image
from PIL import Image

from vlseg.records.pictures import GRID
from vlseg.reports.thumbnails import SIDES, thumbnails

IMAGES = [small_image(f"image {number}", GRID) for number in range(45)]


def sizes(urls: list[str]) -> set[int]:
    return {max(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size) for url in urls}


def test_with_room_images_stay_as_they_were_kept() -> None:
    found = thumbnails(IMAGES, 10_000_000)
    assert found.side == GRID
    assert [base64.b64decode(url.partition(",")[2]) for url in found.urls] == IMAGES


@pytest.mark.parametrize("budget", [250_000, 120_000, 60_000])
def test_the_budget_holds_and_no_larger_size_would(budget: int) -> None:
    found = thumbnails(IMAGES, budget)
    assert sum(map(len, found.urls)) <= budget
    assert sizes(found.urls) == {found.side}
    larger = thumbnails(IMAGES, budget * 2)
    assert larger.side > found.side
    assert sum(map(len, larger.urls)) > budget


def test_without_room_they_are_as_small_as_they_get() -> None:
    assert thumbnails(IMAGES, 0).side == SIDES[-1]
    assert thumbnails([], 0).urls == []


def test_a_smaller_image_is_not_made_larger() -> None:
    assert sizes(thumbnails([small_image("one", 32)], 0).urls) == {32}
