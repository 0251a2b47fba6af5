"""Near-duplicate images: planted copies are found, images that only look alike are not."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from vlseg.checks.near import Descriptor, Near, describe_image, describe_images, near_duplicates
from vlseg.checks.near_align import align, sampling
from vlseg.checks.near_pairs import _confirmed, _levels
from vlseg.records import InputError


def _crop(left: float, top: float, right: float, bottom: float) -> Callable[[Image.Image], Image.Image]:
    """Takes these shares off the four sides."""

    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return image.crop(tuple(round(edge) for edge in box))

    return change


def _resize(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((round(image.width * factor), round(image.height * factor)))


def _brighten(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.point(lambda value: min(255, round(value * factor)))


# What is done to the image, and the JPEG quality it is then saved with (None: BMP).
COPIES: dict[str, tuple[list[Callable[[Image.Image], Image.Image]], int | None]] = {
    "quality 40": ([], 40),
    "quality 90": ([], 90),
    "half the size": ([_resize(0.5)], None),
    "twice the size": ([_resize(2)], None),
    "darker": ([_brighten(0.9)], None),
    "brighter": ([_brighten(1.1)], None),
    "centre": ([_crop(0.025, 0.025, 0.025, 0.025)], None),
    "centre, 5 % off each side": ([_crop(0.05, 0.05, 0.05, 0.05)], None),
    "corner, top left off": ([_crop(0.05, 0.05, 0, 0)], None),
    "corner, top right off": ([_crop(0, 0.05, 0.05, 0)], None),
    "corner, bottom left off": ([_crop(0.05, 0, 0, 0.05)], None),
    "corner, bottom right off": ([_crop(0, 0, 0.05, 0.05)], None),
    "left off": ([_crop(0.05, 0, 0, 0)], None),
    "right off": ([_crop(0, 0, 0.05, 0)], None),
    "top off": ([_crop(0, 0.05, 0, 0)], None),
    "bottom off": ([_crop(0, 0, 0, 0.05)], None),
    "centre, small, dark, quality 40": ([_crop(0.05, 0.05, 0.05, 0.05), _resize(0.5), _brighten(0.9)], 40),
    "corner, large, bright, quality 50": ([_crop(0, 0.05, 0.05, 0), _resize(2), _brighten(1.1)], 50),
}


def _texture(seed: int, size: int = 240) -> np.ndarray:
    """Speckle at two scales under one and the same frame: a bright disc, black outside, a dark band in it."""
    rng = np.random.default_rng(seed)
    speckle = sum(gaussian_filter(rng.normal(size=(size, size)), scale) * scale for scale in (3, 8))
    yy, xx = np.mgrid[:size, :size] / size - 0.5
    frame = 120 - 60 * np.exp(-((yy / 0.1) ** 2))
    return np.where(xx**2 + yy**2 < 0.23, np.clip(frame + 60 * speckle, 0, 255), 0).astype(np.uint8)


def _save_textures(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(_texture(index)).convert("RGB").save(path)
    return paths


def _copies(paths: list[Path], folder: Path, kind: str) -> list[Path]:
    changes, quality = COPIES[kind]
    copies = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        for change in changes:
            image = change(image)
        copies.append(folder / f"copy_{path.stem}{'.jpg' if quality else '.bmp'}")
        image.save(copies[-1], **({"quality": quality} if quality else {}))
    return copies


def _indices(pairs: list[Near]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in pairs}


@pytest.mark.parametrize("kind", COPIES)
def test_changed_copies_and_only_they_are_pairs(tmp_path: Path, kind: str) -> None:
    originals = _save_textures(tmp_path, 4)
    pairs = near_duplicates(describe_images(originals + _copies(originals, tmp_path, kind)))
    assert _indices(pairs) == {(index, index + 4) for index in range(4)}
    assert all(0.8 < pair.similarity <= 1.0001 for pair in pairs)


def test_different_images_of_alike_layout_are_not_pairs(tmp_path: Path) -> None:
    assert near_duplicates(describe_images(_save_textures(tmp_path, 24))) == []


def test_two_images_alone_are_judged_like_many(tmp_path: Path) -> None:
    original, other = _save_textures(tmp_path, 2)
    (copy,) = _copies([original], tmp_path, "quality 40")
    assert _indices(near_duplicates(describe_images([original, copy]))) == {(0, 1)}
    assert near_duplicates(describe_images([original, other])) == []


def test_exact_copies_are_all_pairs_however_many(tmp_path: Path) -> None:
    originals = _save_textures(tmp_path, 2)
    descriptors = describe_images([originals[0], originals[1], *[originals[0]] * 3])
    pairs = near_duplicates(descriptors, per_image=1)
    assert _indices(pairs) == {(0, 2), (0, 3), (0, 4), (2, 3), (2, 4), (3, 4)}
    assert {pair.similarity for pair in pairs} == {1.0}


def test_flat_images_are_pairs_only_when_all_pixels_are_the_same(tmp_path: Path) -> None:
    ramp = np.linspace(90, 110, 64, dtype=np.uint8)
    flat = [np.full((64, 64), value, np.uint8) for value in (0, 0, 255)]
    flat += [np.full((80, 64), 0, np.uint8), np.tile(ramp, (64, 1)), np.tile(ramp[::-1], (64, 1))]
    paths = [tmp_path / f"{index}.png" for index in range(len(flat))]
    for path, pixels in zip(paths, flat, strict=True):
        Image.fromarray(pixels).save(path)
    assert near_duplicates(describe_images(paths)) == [Near(0, 1, 1.0)]


def test_unreadable_files_are_in_no_pair(tmp_path: Path) -> None:
    (original,) = _save_textures(tmp_path, 1)
    cut = tmp_path / "cut.jpg"
    Image.fromarray(_texture(0)).save(cut)
    cut.write_bytes(cut.read_bytes()[:600])
    (tmp_path / "empty.png").touch()
    paths = [cut, tmp_path / "empty.png", original, tmp_path / "missing.png", original]
    descriptors = describe_images(paths)
    assert [descriptor is None for descriptor in descriptors] == [True, True, False, True, False]
    assert _indices(near_duplicates(descriptors)) == {(2, 4)}


def test_orientation_depth_and_palette_do_not_hide_a_copy(tmp_path: Path) -> None:
    pixels = _texture(0)
    Image.fromarray(pixels).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise to stand upright
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "turned.jpg", exif=exif, quality=90)
    Image.fromarray(pixels.astype(np.uint16) * 7).save(tmp_path / "deep.png")
    palette = Image.fromarray(pixels).convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    names = ["upright.png", "turned.jpg", "deep.png", "palette.png"]
    pairs = near_duplicates(describe_images([tmp_path / name for name in names]))
    assert _indices(pairs) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_nothing_to_compare(tmp_path: Path) -> None:
    (path,) = _save_textures(tmp_path, 1)
    assert near_duplicates([]) == near_duplicates([None]) == near_duplicates([describe_image(path), None]) == []


@pytest.mark.parametrize("arguments", [{"threshold": 0}, {"threshold": 1.5}, {"per_image": 0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError):
        near_duplicates([], **arguments)


def test_no_workers_are_refused() -> None:
    with pytest.raises(InputError):
        describe_images([], workers=0)


@pytest.mark.slow
def test_copies_of_real_ultrasound_are_found(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "data" / "busi_sample" / "images").glob("*.png"))
    real = describe_images(paths)
    known = {
        ("127_normal", "32_normal"),
        ("48_normal", "56_normal"),
        ("39_normal", "48_normal"),
        ("39_normal", "56_normal"),
        ("404_benign", "415_benign"),
        ("118_malignant", "119_malignant"),
    }  # the same image, saved twice; the last with and without calipers
    assert {(paths[one].stem, paths[two].stem) for one, two in _indices(near_duplicates(real))} <= known

    few, chosen = paths[::4], real[::4]
    for kind in COPIES:
        found = _indices(near_duplicates(chosen + describe_images(_copies(few, tmp_path, kind))))
        recall = np.mean([(index, index + len(few)) in found for index in range(len(few))])
        assert recall >= 0.95, kind


def test_comparisons_are_shown_and_all_pass_the_bar(tmp_path: Path) -> None:
    originals = _save_textures(tmp_path, 4)
    descriptors = describe_images(originals + _copies(originals, tmp_path, "centre"))
    shown: list[tuple[int, int]] = []

    def bar(blocks: Sequence[object]) -> Iterator[object]:
        for done, block in enumerate(blocks, 1):
            shown.append((done, len(blocks)))
            yield block

    assert near_duplicates(descriptors, bar=bar) == near_duplicates(descriptors)
    assert [place for place in shown if place[0] == 1] == [(1, 1), (1, 1)]  # the search and the close comparison
    assert shown[-1][0] == shown[-1][1]


def test_a_pair_that_no_longer_changes_is_left_alone_and_the_others_are_aligned_on() -> None:
    scales = gaussian_filter(np.random.default_rng(0).normal(size=(1, 96, 96)), (0, 5, 5)).astype(np.float32)
    crops = np.array([(0, 0, 1, 1), (0.04, 0.02, 0.95, 0.97), (0.0, 0.05, 1, 0.94)], dtype=np.float32)
    moving = np.repeat(scales, 3, axis=0)
    down, across = (sampling(crops[:, axis], crops[:, axis + 2], 96) for axis in (1, 0))
    still = down @ moving @ across.transpose(0, 2, 1)
    found, correlation = align(still, moving, np.tile(crops[:1], (3, 1)), steps=12)
    assert np.allclose(found, crops, atol=3e-3)
    assert correlation.min() > 0.999
    # Independent: the correlation that is told is that of the images sampled by hand at the crops found.
    for image, crop, told in zip(still, found, correlation, strict=True):
        y, x = ((crop[a] + crop[a + 2] * (np.arange(96) + 0.5) / 96) * 96 - 0.5 for a in (1, 0))
        sampled = map_coordinates(scales[0], np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")
        assert np.corrcoef(sampled.ravel(), image.ravel())[0, 1] == pytest.approx(told, abs=2e-3)


@pytest.mark.parametrize("alike", [(0.0, 1.0), (0.5, 0.6)])
def test_candidates_that_one_of_the_steps_drops_all_of_are_no_pairs(alike: tuple[float, float]) -> None:
    """The coarse pictures are much the same, the fine ones are not, or not even the coarse ones align."""
    rng = np.random.default_rng(0)
    common = gaussian_filter(rng.normal(size=(96, 96)), 4)
    own = gaussian_filter(rng.normal(size=(2, 96, 96)), (0, 2.5, 2.5))
    mixed = [alike[0] * common / common.std() + alike[1] * one / one.std() for one in own]
    images = [np.clip(128 + 30 * one, 0, 255).astype(np.uint8) for one in mixed]
    assert near_duplicates([Descriptor(image, None) for image in images]) == []
    with_all = np.array([(0, 1)]), np.array([(0, 0, 1, 1)], dtype=np.float32)
    fine = _levels(np.stack(images))[2]
    for coarse in (np.stack([own[0], own[1]]), np.stack([common, common])):
        small, middle = (
            coarse.reshape(2, side, 96 // side, side, 96 // side).mean(axis=(2, 4)).astype(np.float16)
            for side in (32, 48)
        )
        assert _confirmed([small, middle, fine], *with_all, threshold=0.75) == []
