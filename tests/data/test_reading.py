"""Formats that simply work, masks that are read rightly, and wrong ones that are refused."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import load_mask, read_dataset, read_image, read_mask, with_mask_max
from vlseg.records import InputError, IntensityPolicy

MakeDataset = Callable[..., Path]
GREY = np.linspace(0, 255, 6 * 9).reshape(6, 9).astype(np.uint8)
HALF = np.zeros((6, 9), bool)
HALF[:, :4] = True


def rgba(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colour, colour, colour, alpha]).astype(np.uint8), "RGBA")


def as_palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255] + [0] * 762)
    return image


def test_what_the_system_refuses_is_told_once_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_image(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be opened (Is a directory); give a file, not a folder"


@pytest.mark.parametrize(
    ("name", "image", "tolerance"),
    [
        ("grey.png", Image.fromarray(GREY), 0),
        ("rgb.png", Image.fromarray(np.dstack([GREY] * 3)), 0),
        ("rgba.png", rgba(GREY, np.full_like(GREY, 7)), 0),
        ("grey_alpha.png", rgba(GREY, np.full_like(GREY, 7)).convert("LA"), 0),
        ("palette.png", Image.fromarray(GREY).convert("P"), 0),
        ("deep.png", Image.fromarray(GREY.astype(np.uint16) * 257), 1e-4),
        ("float.tif", Image.fromarray(GREY.astype(np.float32) / 255), 1e-6),
        ("cmyk.jpg", Image.fromarray(np.dstack([GREY] * 3)).convert("CMYK"), 0.06),
        ("grey.bmp", Image.fromarray(GREY), 0),
    ],
)
def test_image_formats(tmp_path: Path, name: str, image: Image.Image, tolerance: float) -> None:
    image.save(tmp_path / name, **({"quality": 100} if name.endswith("jpg") else {}))
    pixels = read_image(tmp_path / name)
    assert (pixels.shape, pixels.dtype) == ((6, 9, 3), np.float32)
    np.testing.assert_allclose(pixels, np.dstack([GREY / 255] * 3), atol=tolerance + 1e-6)


def test_one_bit_and_one_pixel_images(tmp_path: Path) -> None:
    Image.fromarray(HALF).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 0], HALF)
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png").tolist() == [[[1, 0, 0]]]


def test_exif_turns_image_and_mask_alike(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    pixels = np.kron(HALF, np.ones((8, 8))).astype(np.uint8) * 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(pixels > 0, -1)
    image = read_image(tmp_path / "a.jpg")
    np.testing.assert_array_equal(image[:, :, 0] > 0.5, expected)
    np.testing.assert_array_equal(read_mask([tmp_path / "a.png"], size=image.shape[:2]), expected)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (IntensityPolicy("full_range"), [0, 1000 / 65535, 4095 / 65535]),
        (IntensityPolicy("bits_stored", bits=12), [0, 1000 / 4095, 1]),
        (IntensityPolicy("window", low=500, high=1500), [0, 0.5, 1]),
    ],
)
def test_intensity_policies(tmp_path: Path, policy: IntensityPolicy, expected: list[float]) -> None:
    Image.fromarray(np.array([[0, 1000, 4095]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png", policy)[0, :, 0], expected, atol=1e-6)


def test_the_full_range_of_fractions_is_0_to_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.25, 1, 200]], np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0, :, 0], [0, 0.25, 1, 1])


def test_percentile_policy_uses_the_file_itself(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1000, 2000, (50, 50)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    low, high = np.percentile(values, [0.5, 99.5])
    pixels = read_image(tmp_path / "a.png", IntensityPolicy("percentile"))[:, :, 0]
    np.testing.assert_allclose(pixels, np.clip((values - low) / (high - low), 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.fromarray(HALF.astype(np.uint8) * 255), {}),
        (Image.fromarray(HALF), {}),
        (Image.fromarray(np.dstack([HALF * 255] * 3).astype(np.uint8)), {}),
        (Image.fromarray(np.dstack([HALF * 255, HALF * 0, HALF * 0]).astype(np.uint8)), {}),
        (rgba(HALF * 255, np.full(HALF.shape, 255)), {}),
        (rgba(np.zeros(HALF.shape), HALF * 255), {}),
        (as_palette(HALF), {}),
        (Image.fromarray(HALF.astype(np.uint16) * 65535), {"mask_max": 65535}),
        (Image.fromarray(HALF.astype(np.uint8)), {"mask_max": 1}),
        (Image.fromarray(np.where(HALF, 2, 1).astype(np.uint8)), {"mask_value": 2}),
        (as_palette(HALF), {"mask_value": 1}),
        (Image.fromarray(np.where(HALF, 200, 3).astype(np.uint8)), {"mask_max": 201}),
    ],
)
def test_masks_read_rightly(tmp_path: Path, image: Image.Image, options: dict[str, int]) -> None:
    image.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask([tmp_path / "m.png"], **options), HALF)


def test_jpeg_masks_keep_their_shape(tmp_path: Path) -> None:
    disc = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 20
    Image.fromarray(disc.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=75)
    assert len(np.unique(np.asarray(Image.open(tmp_path / "m.jpg")))) > 10
    assert (read_mask([tmp_path / "m.jpg"]) != disc).sum() <= 8


def test_truth_is_the_union_of_files(tmp_path: Path) -> None:
    for name, mask in (("a.png", HALF), ("b.png", HALF[:, ::-1])):
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / name)
    union = read_mask([tmp_path / "a.png", tmp_path / "b.png"])
    np.testing.assert_array_equal(union, HALF | HALF[:, ::-1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (HALF.astype(np.uint8), "0/255"),
        (np.kron([[0, 1, 2]], np.ones((6, 3))).astype(np.uint8) * 100, "mask_value"),
    ],
)
def test_never_a_silently_wrong_mask(tmp_path: Path, values: np.ndarray, message: str) -> None:
    Image.fromarray(values).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=message):
        read_mask([tmp_path / "m.png"], mask_max=255 if values.max() == 1 else 200)


def test_mask_of_another_size_names_both(tmp_path: Path) -> None:
    Image.fromarray(HALF).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m\.png: is 9x6 pixels, its image .*i\.png is 9x7"):
        read_mask([tmp_path / "m.png"], size=(7, 9), image=tmp_path / "i.png")


def truncated() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()[:400]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "0 bytes"), (b"hello", "not an image"), (truncated(), "cannot be decoded")],
)
def test_broken_images_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"broken.png.*{message}"):
        read_image(path)


def test_order_ids_and_fingerprint_are_stable(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    first, second = read_dataset(root), read_dataset(root)
    assert first == second
    assert [sample.split for sample in first.samples] == ["train"] * 12 + ["val"] * 4 + ["test"] * 6
    assert len({sample.id for sample in first.samples}) == len(first.samples)
    assert not first.info.groups_known
    (root / "masks" / "test0_dark.png").write_bytes((root / "masks" / "test1_dark.png").read_bytes())
    assert read_dataset(root).info.fingerprint != first.info.fingerprint


def test_optional_keys(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    path = root / "anns" / "test.json"
    entries = json.loads(path.read_text())
    entries[0] |= {
        "id": "case", "group": "p1", "site": "north", "spacing": [0.5, 0.4], "spacing_source": "dicom",
        "mask_value": 255, "attributes": [{"name": "side", "value": "left", "source": "user", "referring": True}],
        "prompt_sources": {"p1": ["user"]},
    }  # fmt: skip
    entries[1]["mask"] = None
    path.write_text(json.dumps(entries))
    sample, unlabelled = read_dataset(root).split("test")[:2]
    assert (sample.id, sample.group, sample.site, sample.spacing) == ("case", "p1", "north", (0.5, 0.4))
    assert (sample.mask_value, sample.attributes[0].referring) == (255, True)
    assert sample.prompt_sources == {"p1": frozenset({"user"})}
    assert unlabelled.mask_paths == ()


def test_a_repeated_entry_keeps_an_id_of_its_own(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    path = root / "anns" / "test.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([*entries, entries[0]]))
    ids = [sample.id for sample in read_dataset(root).split("test")]
    assert ids[-1] == f"{ids[0]}#2"


def test_pair_of_folders_is_split_once_and_written(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for index in range(20):
            Image.fromarray(HALF.astype(np.uint8) * 255).save(tmp_path / folder / f"{index:02d}.png")
    first = read_dataset(tmp_path, target="polyp")
    assert {name: len(first.split(name)) for name in ("train", "val", "test")} == {"train": 16, "val": 2, "test": 2}
    assert {sample.target for sample in first.samples} == {"polyp"}
    assert (tmp_path / "anns" / "test.json").exists()
    Image.fromarray(HALF).save(tmp_path / "images" / "new.png")
    Image.fromarray(HALF).save(tmp_path / "masks" / "new.png")
    again = read_dataset(tmp_path)
    assert [sample.id for sample in again.samples] == [sample.id for sample in first.samples]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("img_name"), "entry 0: field 'img_name'"),
        (lambda e: e.pop("mask_name"), "entry 0: field 'mask_name'"),
        (lambda e: e.pop("prompts"), "entry 0: field 'prompts'"),
        (lambda e: e.update(prompts={"p1": 3}), "entry 0: field 'prompts.p1"),
        (lambda e: e.update(prompts={"p1": []}), "empty list"),
        (lambda e: e.update(spacing=[0, 1]), "spacing"),
        (lambda e: e.update(img_name="../../etc/passwd"), "leads out"),
    ],
)
def test_wrong_entries_are_named(make_dataset: MakeDataset, change: Callable[[Any], Any], message: str) -> None:
    root = make_dataset()
    path = root / "anns" / "train.json"
    entries = json.loads(path.read_text())
    change(entries[0])
    path.write_text(json.dumps(entries))
    with pytest.raises(InputError, match=message):
        read_dataset(root)


def test_mask_range_decides_foreground(make_dataset: MakeDataset) -> None:
    """A set of 0/1 masks is read as well as one of 0/255."""
    root = make_dataset()
    for path in (root / "masks").iterdir():
        Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
    dataset = with_mask_max(read_dataset(root))
    assert dataset.info.mask_max == 1
    assert load_mask(dataset.samples[0], dataset.info, None).any()


def deep_png(path: Path, values: np.ndarray) -> None:
    """(H, W, 3), or (H, W, 2) for grey with alpha, uint16 as PNG, written by hand: Pillow cannot."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {3: 2, 2: 4}[channels], 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
    )
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def deep_tiff(path: Path, values: np.ndarray, order: str) -> None:
    """(H, W, 3) uint16 as an uncompressed TIFF of either byte order."""
    height, width, _ = values.shape
    data = values.astype(f"{order}u2").tobytes()
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    start = 8 + len(bits) + len(data)
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
        (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    entries = b""
    for tag, kind, count, value in tags:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    path.write_bytes(head + bits + data + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0")


@pytest.mark.parametrize("kind", ["png", "<", ">"])
def test_colours_of_16_bit_are_read_at_their_depth(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(3).integers(0, 4096, (20, 30, 3)).astype(np.uint16)
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    if kind == "png":
        deep_png(path, values)
    else:
        deep_tiff(path, values, kind)
    np.testing.assert_allclose(read_image(path), values / 65535, atol=1e-7)
    np.testing.assert_allclose(read_image(path, IntensityPolicy("bits_stored", bits=12)), values / 4095, atol=1e-6)


def test_deep_grey_with_alpha_is_refused_not_cut(tmp_path: Path) -> None:
    deep_png(tmp_path / "a.png", np.zeros((4, 4, 2), np.uint16))
    with pytest.raises(InputError, match=r"a\.png: 16-bit grey with transparency"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    pixels = np.zeros((5, 5), np.float32)
    pixels[1, 2] = value
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    for read in (read_image, lambda path: read_mask([path])):
        with pytest.raises(InputError, match=r"a\.tif: holds pixels that are no finite numbers"):
            read(tmp_path / "a.tif")
