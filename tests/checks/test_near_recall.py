"""The search loses none of the pairs that the plain comparison finds, and none of the copies, among look-alikes."""

from pathlib import Path

import numpy as np
import pytest
from look_alikes import COPIES, changed, chest
from near_oracle import align_fully, climb, levels
from PIL import Image
from scipy.ndimage import gaussian_filter

from vlseg.checks.near import THRESHOLD, Descriptor, describe_images, near_duplicates
from vlseg.checks.near_align import align
from vlseg.checks.near_pairs import _candidates, _levels

ROUNDING = 1e-4  # what single precision may move a correlation by
HARD = [
    330,
    1200,
    1227,
    1527,
    1212,
    1512,
    150,
    300,
    930,
    471,
    1671,
    783,
    1083,
    321,
]  # steps of fixed slopes end low here


def _film(index: int, difficulty: str) -> Image.Image:
    return Image.fromarray(np.clip(chest(index, 224, difficulty), 0, 255).astype(np.uint8))


def _described(images: list[Image.Image], folder: Path, quality: int = 90) -> list[Descriptor]:
    paths = [folder / f"{index}.jpg" for index in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path, quality=quality)
    return [one for one in describe_images(paths) if one is not None]


def _plain(descriptors: list[Descriptor]) -> set[tuple[int, int]]:
    thumbnails = np.stack([one.thumbnail for one in descriptors])
    contrasts = [levels(thumbnail) for thumbnail in thumbnails]
    pairs, starts = _candidates(_levels(thumbnails)[0].astype(np.float32), 50, iter)
    return {
        (min(one, other), max(one, other))
        for (one, other), start in zip(pairs.tolist(), starts, strict=True)
        if align_fully(contrasts[one], contrasts[other], start) >= THRESHOLD + ROUNDING
    }


def _found(descriptors: list[Descriptor]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in near_duplicates(descriptors)}


def test_films_so_alike_that_other_patients_pass_for_copies_lose_no_pair(tmp_path: Path) -> None:
    described = _described([_film(index, "extreme") for index in HARD], tmp_path)
    plain = _plain(described)
    assert len(plain) >= 5
    assert plain <= _found(described)


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", ["chest", "hard"])
def test_no_pair_and_no_copy_is_lost_among_look_alikes(tmp_path: Path, difficulty: str) -> None:
    films = [_film(index % 6 + 150 * index, difficulty) for index in range(30)]
    described = _described(films, tmp_path)
    copies = {}
    for number, kind in enumerate(COPIES):
        copy, quality = changed(films[number], kind)
        (tmp_path / kind).mkdir()
        copies[number, len(described)] = kind
        described += _described([copy], tmp_path / kind, quality)
    found = _found(described)
    assert [kind for pair, kind in copies.items() if pair not in found] == []
    assert _plain(described) <= found


def test_order_does_not_matter(tmp_path: Path) -> None:
    """So `data prepare --regroup`, which lists images in another order than the check, joins the same."""
    films = [_film(index % 3 + 150 * index, "extreme") for index in range(10)]
    described = _described(films, tmp_path)
    order = np.random.default_rng(0).permutation(len(described)).tolist()
    found = _found(described)
    assert found
    shuffled = {tuple(sorted((order[one], order[other]))) for one, other in _found([described[at] for at in order])}
    assert shuffled == found


def test_an_alignment_ends_where_the_plain_one_does() -> None:
    """Images that share half of their pattern: with slopes of the pixel grid this one ended 0.0018 below the top."""
    rng = np.random.default_rng(1)
    common, one, other = gaussian_filter(rng.normal(size=(3, 96, 96)), (0, 3, 3))
    images = [common + 0.7 * own for own in (one, other)]
    still, moving = (levels(np.clip(128 + 270 * image, 0, 255).astype(np.uint8))[1] for image in images)
    start = np.array([(0.02, -0.01, 0.98, 1.01)], dtype=np.float32)
    _, told = align(still[None].astype(np.float32), moving[None].astype(np.float32), start, steps=20, settled=1e-6)
    assert told[0] == pytest.approx(climb(still, moving, start[0])[1], abs=3e-4)
