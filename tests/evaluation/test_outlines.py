"""An outline shows its mask: drawn back it covers it, nothing vanishes, nothing drifts, bytes are bounded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import filled, rings
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from vlseg.evaluation.outlines import LATEST, MOST, WANTED, grid_size, outline
from vlseg.metrics import dice_score

Mask = np.ndarray


def disc(radius: float, shape: tuple[int, int] = (470, 560), centre: tuple[float, float] = (200, 250)) -> Mask:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def box(shape: tuple[int, int], top: int, left: int, bottom: int, right: int) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def blobs(seed: int, shape: tuple[int, int], coarse: float, share: float) -> Mask:
    """Parts and holes of any form, some at the image's edge."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), coarse)
    return noise > np.quantile(noise, 1 - share)


def covered(mask: Mask) -> float:
    """Dice of a mask with its outline drawn back at the mask's own size."""
    return dice_score(filled(outline(mask), *grid_size(mask.shape), mask.shape), mask)


def border(mask: Mask) -> np.ndarray:
    """Points on the edges of pixels that border on the background or on the image's edge, in units of the grid."""
    framed = np.pad(mask, 1)
    across = np.argwhere(framed[1:, 1:-1] != framed[:-1, 1:-1])[:, ::-1]
    down = np.argwhere(framed[1:-1, 1:] != framed[1:-1, :-1])[:, ::-1]
    parts = np.linspace(0, 1, 2 + 512 // max(mask.shape))
    points = np.concatenate(
        [ends + part * np.array(way) for part in parts for ends, way in ((across, (1, 0)), (down, (0, 1)))]
    )
    return points * np.array(grid_size(mask.shape)) / mask.shape[::-1]


def without_small_holes(mask: Mask) -> Mask:
    """Those of less than two units are filled."""
    labels, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled_up = mask.copy()
    unit = max(mask.shape) / 256
    for label, place in enumerate(ndimage.find_objects(labels)[1:], start=2):
        if all(one.stop - one.start < 2.1 * unit for one in place):
            filled_up |= labels[1:-1, 1:-1] == label
    return filled_up


def along(data: str) -> np.ndarray:
    """Points on the path, a tenth of a unit apart."""
    pieces = []
    for ring in rings(data):
        for start, stop in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            steps = max(2, int(10 * np.hypot(*(stop - start))))
            pieces.append(start + np.linspace(0, 1, steps)[:, None] * (stop - start))
    return np.concatenate(pieces)


def farthest(points: np.ndarray, others: np.ndarray) -> float:
    """How far a point is from the nearest of the others, at most."""
    # Unbalanced, as in metrics: balancing a tree of so many points on few lines may end the process.
    return float(cKDTree(others, balanced_tree=False, compact_nodes=False).query(points)[0].max())


SHAPES: dict[str, tuple[Mask, float]] = {
    "disc": (disc(150), 0.99),
    "small disc": (disc(20), 0.96),
    "lesion of five pixels": (disc(2.5), 0.75),
    "ring": (disc(150) & ~disc(100), 0.98),
    "ring with a part inside": (disc(150) & ~disc(100) | disc(40), 0.98),
    "parts": (disc(60) | disc(30, centre=(400, 500)) | disc(15, centre=(30, 30)), 0.97),
    "over the corner": (disc(100, centre=(0, 0)), 0.98),
    "over each edge": (disc(260, centre=(235, 280)), 0.99),
    "everything": (np.ones((300, 200), dtype=bool), 1.0),
    "everything but a hole": (~disc(50), 0.99),
    "phantom, pixels of eight units": (disc(9, (32, 32), (14, 17)), 0.99),
    "one pixel of nine": (box((3, 3), 1, 1, 2, 2), 1.0),
    "one of one": (np.ones((1, 1), dtype=bool), 1.0),
    "corners that touch": (np.eye(3, dtype=bool), 0.98),
    "stripe of an image 1000 x 20": (box((20, 1000), 5, 100, 15, 900), 0.9),
    "large image": (disc(900, (2400, 3000), (1200, 1500)), 0.99),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_outline_covers_its_mask(name: str) -> None:
    mask, least = SHAPES[name]
    assert covered(mask) >= least


@pytest.mark.parametrize("seed", range(12))
def test_border_and_path_are_never_more_than_two_units_apart(seed: int) -> None:
    """Also after hundreds of moves in whole units: nothing adds up. Sizes on both sides of the grid's."""
    size = ((90, 70), (240, 300), (470, 560), (1500, 1100))[seed % 4]
    mask = blobs(seed, size, max(size) / 40, 0.1 + 0.07 * seed)
    data = outline(mask)
    truth, path = border(without_small_holes(mask)), along(data)
    assert farthest(truth, path) <= 2  # nothing is missing
    assert farthest(path, border(mask)) <= 2  # and none is made up
    assert covered(mask) > 0.93


@pytest.mark.parametrize("place", [(0, 0), (2999, 3999), (0, 3999), (1234, 2345)])
def test_three_pixels_of_a_large_image_do_not_vanish(place: tuple[int, int]) -> None:
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[place[0], max(0, place[1] - 2) : place[1] + 1] = True
    (ring,) = rings(outline(mask))
    width, height = grid_size(mask.shape)
    assert (ring.max(axis=0) - ring.min(axis=0) == 1).all()  # a unit wide and high
    assert ring.min() >= 0
    assert (ring.max(axis=0) <= (width, height)).all()
    assert np.abs(ring.mean(axis=0) - np.array(place[::-1]) * 256 / 4000).max() < 1


def test_a_line_of_one_pixel_is_a_line_from_end_to_end() -> None:
    mask = np.zeros((3000, 4000), dtype=bool)
    np.fill_diagonal(mask[:, 200:3200], True)
    path = along(outline(mask))
    assert farthest(border(mask), path) < 1
    mask[:] = False
    mask[77] = True
    assert np.ptp(np.concatenate(rings(outline(mask)))[:, 0]) == 256


def test_specks_in_one_unit_do_not_cancel_each_other() -> None:
    mask = np.zeros((4000, 4000), dtype=bool)
    mask[[100, 104, 108], [100, 104, 108]] = True
    assert len(rings(outline(mask))) == 1


def test_nothing_and_holes_below_a_unit() -> None:
    assert outline(np.zeros((20, 30), dtype=bool)) == ""
    mask = disc(700, (2000, 2000), (1000, 1000))
    plain = outline(mask)
    mask[1000, 1000] = False
    assert outline(mask) == plain


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [200, 1500])
def test_noise_stays_within_the_bytes_and_is_shown_where_it_is(share: float, size: int) -> None:
    mask = np.zeros((size, size), dtype=bool)
    mask[:, : size // 2] = np.random.default_rng(0).random((size, size // 2)) < share
    data = outline(mask)
    assert 0 < len(data) <= MOST
    path = along(data)
    rows, columns = np.nonzero(mask & ~filled(data, 256, 256, mask.shape))
    missed = np.stack([columns + 0.5, rows + 0.5], axis=-1) * 256 / size
    assert not len(missed) or farthest(missed, path) <= 8  # a pixel of the coarsest tracing
    assert path[:, 0].max() <= 128 + 8


def test_grid() -> None:
    assert grid_size((600, 800, 3)) == (256, 192)
    assert grid_size((32, 16)) == (128, 256)
    assert grid_size((1, 4000)) == (256, 1)


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        ("busi_train_small/masks/*_malignant.png", 0.95, WANTED),
        ("chest_xray_sample/masks/*", 0.97, WANTED),
        ("chase_db1/masks/*", 0.78, 4_000),  # a mask averaged down to the grid has 0.86
        ("lvit_monuseg_sample/*/labelcol/*", 0.8, MOST),  # hundreds of nuclei
    ],
)
def test_real_masks(shared: Path, pattern: str, least: float, most: int) -> None:
    files = sorted((shared / "data").glob(pattern))[:3]
    assert files
    for file in files:
        with Image.open(file) as image:
            mask = np.asarray(image.convert("L")) > 127
        assert len(outline(mask)) <= most
        assert covered(mask) >= least, file


def test_the_tolerance_is_raised_before_parts_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import vlseg.evaluation.outlines as module

    mask = blobs(0, (700, 900), 12, 0.3)
    found: list[float] = []
    plain: Callable[..., str] = module._path

    def noted(points: np.ndarray, ends: np.ndarray, kept: np.ndarray, size: np.ndarray) -> str:
        found.append(float(kept.sum()))
        return plain(points, ends, kept, size)

    monkeypatch.setattr(module, "_path", noted)
    data = outline(mask)
    assert len(found) > 1  # more than WANTED at first
    assert found == sorted(found, reverse=True)
    assert (
        len(rings(data))
        == ndimage.label(mask, np.ones((3, 3)))[1] + ndimage.label(np.pad(~mask, 1, constant_values=True))[1] - 1
    )
    assert LATEST <= 1
