"""Uploads are read as `vlseg predict` reads the same file, by content, and whatever they hold they end in an answer."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hostile_files import png, saved
from PIL import Image

from vlseg.data import unit_range
from vlseg.data.images import read_pixels
from vlseg.evaluation.predictor import Predictor
from vlseg.records import IntensityPolicy
from vlseg.serve.limits import Limits, Refused
from vlseg.serve.uploads import FORMATS, read_upload

LIMITS = Limits()


def _picture(mode: str) -> Image.Image:
    rng = np.random.default_rng(3)
    if mode == "F":
        return Image.fromarray(rng.random((31, 45), np.float32) * 1.4 - 0.2)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (31, 45), dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(rng.integers(-9, 70_000, (31, 45), dtype=np.int32))
    return Image.fromarray(rng.integers(0, 256, (31, 45, 4), dtype=np.uint8)).convert(mode)


FILES = [
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
    *(("TIFF", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")),
    *(("GIF", mode) for mode in ("L", "P")),
]


@pytest.mark.parametrize(("kind", "mode"), FILES)
@pytest.mark.parametrize(
    "policy", [IntensityPolicy(), IntensityPolicy("percentile"), IntensityPolicy("bits_stored", 12)]
)
def test_read_as_predict_reads_it(kind: str, mode: str, policy: IntensityPolicy, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(saved(_picture(mode), kind))
    got = read_upload(path.read_bytes(), "image", LIMITS, policy)
    wanted = read_pixels(path, policy)
    assert got.pixels.dtype == wanted.dtype
    assert np.array_equal(got.pixels, wanted)
    assert got.pixels.shape == (31, 45, 3)


def test_read_as_the_predictor_reads_it(tmp_path: Path) -> None:
    class Policy:
        intensity = IntensityPolicy("window", low=1000, high=9000)
        _as_trained = Predictor._as_trained

    path = tmp_path / "deep.png"
    path.write_bytes(saved(_picture("I;16"), "PNG"))
    wanted = Predictor.read(Policy(), path)  # type: ignore[arg-type]
    got = read_upload(path.read_bytes(), "image", LIMITS, Policy.intensity)
    assert np.array_equal(unit_range(got.pixels), wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_by_its_exif(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[0x0112] = orientation
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }[orientation]
    for kind in ("PNG", "TIFF"):
        got = read_upload(saved(Image.fromarray(pixels), kind, exif=tags), "image", LIMITS)
        assert np.array_equal(got.pixels, turned)


def test_sixteen_bits_a_channel_are_kept() -> None:
    """Against values counted by hand: Pillow alone keeps the high byte."""
    rows = b"\0" + struct.pack(">9H", 0, 1, 255, 256, 257, 4095, 40_000, 65_534, 65_535)
    got = read_upload(png(3, 1, bits=16, pixels=rows), "image", LIMITS).pixels
    wanted = np.array([0, 1, 255, 256, 257, 4095, 40_000, 65_534, 65_535]) / 65_535
    assert np.array_equal(got.reshape(-1), wanted.astype(np.float32))


@pytest.mark.parametrize("kind", ["full_range", "bits_stored", "window", "percentile"])
def test_scaled_in_parts_as_in_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import vlseg.data.images as images

    policy = IntensityPolicy(kind, bits=12, low=300, high=50_001)  # type: ignore[arg-type]
    for mode, full in (("I;16", 65_535.0), ("I", 65_535.0), ("F", 1.0)):
        values = np.asarray(_picture(mode))
        exact = values.astype(np.float64)
        low, high = {
            "full_range": (0.0, full),
            "bits_stored": (0.0, 4095.0),
            "window": (300.0, 50_001.0),
            "percentile": tuple(np.percentile(exact, images.PERCENTILES)),
        }[kind]
        wanted = np.clip((exact - low) / (high - low), 0, 1).astype(np.float32)
        monkeypatch.setattr(images, "_SCALED_AT_ONCE", 100)
        assert np.array_equal(images._scale(values, policy, full), wanted)


def test_files_above_8_bit_are_refused_where_the_model_was_trained_on_several_readings() -> None:
    with pytest.raises(Refused) as caught:
        read_upload(saved(_picture("I;16"), "PNG"), "image", LIMITS, None)
    assert (caught.value.status, caught.value.code) == (422, "image_too_deep")
    assert read_upload(saved(_picture("L"), "PNG"), "image", LIMITS, None).pixels.dtype == np.uint8


def test_dots_per_inch_are_no_spacing() -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        assert read_upload(saved(_picture("RGB"), kind, dpi=(254, 254)), "image", LIMITS).spacing_mm is None


def test_a_jpeg_with_a_preview_is_the_picture() -> None:
    big, small = _picture("RGB"), Image.new("RGB", (9, 9))
    data = saved(big, "MPO", save_all=True, append_images=[small])
    assert read_upload(data, "image", LIMITS).pixels.shape == (31, 45, 3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_pictures_are_refused_rather_than_one_answered(kind: str) -> None:
    data = saved(Image.new("RGB", (9, 9)), kind, save_all=True, append_images=[Image.new("RGB", (9, 9), "white")])
    with pytest.raises(Refused, match="save the one that you mean"):
        read_upload(data, "image", LIMITS)
    assert read_upload(data, "image", Limits(frames=2)).pixels.max() == 0


def test_no_decoder_runs_but_the_six() -> None:
    """PostScript starts another program; the others are little used and little tested."""
    Image.init()
    for kind in ("PPM", "TGA", "PCX", "ICO", "JPEG2000", "SGI", "DDS", "ICNS", "AVIF", "MSP"):
        if kind in Image.SAVE:
            mode = "1" if kind == "MSP" else "RGB"
            with pytest.raises(Refused) as caught:
                read_upload(saved(_picture("RGB").convert(mode), kind), "image", LIMITS)
            assert caught.value.status == 415, kind
    assert set(FORMATS) == {"PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"}


def test_the_message_is_one_line_that_names_the_field() -> None:
    for data in (b"", b"<svg/>", saved(_picture("RGB"), "PNG")[:60], saved(_picture("RGB"), "JPEG")[:200]):
        with pytest.raises(Refused) as caught:
            read_upload(data, "image", LIMITS)
        assert caught.value.message.startswith("image: ")
        assert "\n" not in caught.value.message
        assert "0x" not in caught.value.message


@pytest.mark.parametrize("limits", [{"pixels": 31 * 45 - 1}, {"bytes": 100}])
def test_limits_hold(limits: dict[str, int]) -> None:
    data = saved(_picture("RGB"), "PNG")
    with pytest.raises(Refused) as caught:
        read_upload(data, "image", Limits(**limits))
    assert caught.value.status == 413
    assert read_upload(data, "image", Limits(pixels=31 * 45, bytes=len(data))).pixels.shape == (31, 45, 3)


@pytest.mark.parametrize(("kind", "mode"), FILES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_end_in_pixels_or_a_refusal(kind: str, mode: str) -> None:
    """Warnings of Pillow about odd tags go nowhere; any other error fails this test."""
    good = saved(_picture(mode), kind)
    rng = np.random.default_rng([len(kind), len(mode)])
    ended = set()
    for _ in range(60):
        data = bytearray(good)
        for place in rng.integers(0, min(len(data), 300), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        if rng.random() < 0.2:
            del data[rng.integers(0, len(data)) :]
        try:
            assert read_upload(bytes(data), "image", Limits(pixels=10_000)).pixels.shape[2] == 3
            ended.add(200)
        except Refused as refused:
            ended.add(refused.status)
    assert ended <= {200, 413, 415, 422}
    assert len(ended) > 1
