"""What foreground is, judged over a whole set: label maps, colours and odd values are refused, fringes are not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from vlseg.data import load_mask, mask_range, read_dataset, read_image, read_mask, with_mask_max
from vlseg.data.cards import find_card
from vlseg.data.images import open_image
from vlseg.data.mask_map import mapped, read_mask_map
from vlseg.data.prepare import prepare
from vlseg.jobs.check import check_data
from vlseg.records import InputError

MakeDataset = Callable[..., Path]
DISC = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 15
BOX = np.zeros((64, 64), bool)
BOX[4:14, 4:24] = True
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 759


def grey(*labels: tuple[np.ndarray, int], ground: int = 0) -> Image.Image:
    values = np.full((64, 64), ground, np.uint8)
    for where, value in labels:
        values[where] = value
    return Image.fromarray(values)


def coloured(*labels: tuple[np.ndarray, tuple[int, int, int]], ground: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    pixels = np.full((64, 64, 3), ground, np.uint8)
    for where, colour in labels:
        pixels[where] = colour
    return Image.fromarray(pixels)


def palette(colours: list[int], *labels: tuple[np.ndarray, int]) -> Image.Image:
    image = Image.fromarray(np.asarray(grey(*labels)), "P")
    image.putpalette(colours)
    return image


def vessel(value: int, seed: int) -> np.ndarray:
    """A line one pixel wide that wanders from left to right."""
    rng = np.random.default_rng(seed)
    values = np.zeros((64, 64), np.uint8)
    rows = np.clip(32 + np.cumsum(rng.integers(-1, 2, 64)), 0, 63)
    values[rows, np.arange(64)] = value
    return values


def saved(folder: Path, images: list[Image.Image], suffix: str = ".png", **options: int) -> list[Path]:
    paths = [folder / f"{number}{suffix}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        image.save(path, **options)
    return paths


def transparent(image: Image.Image, alpha: np.ndarray) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(alpha.astype(np.uint8) * 255))
    return image


REFUSED: dict[str, list[Image.Image]] = {
    "labels 1 and 2, one each file": [grey((DISC, 1)), grey((DISC, 2))],
    "labels 4 and 5, one each file": [grey((DISC, 4)), grey((DISC, 5))],
    "labels 1, 2, 3": [grey((DISC, 1)), grey((DISC, 2)), grey((DISC, 3))],
    "100 and 255": [grey((DISC, 100)), grey((DISC, 255))],
    "127 and 255": [grey((DISC, 255)), grey((DISC, 127)), grey((DISC, 255))],
    "127 and 255 in one file": [grey((DISC, 127), (BOX, 255))],
    "210 and 255, one each file": [grey((DISC, 255)), grey((DISC, 210)), grey((BOX, 255))],
    "0/1 among 0/255": [grey((DISC, 255)), grey((DISC, 1))],
    "label 1 beside a void of 255": [grey((DISC, 1), (BOX, 255))],
    "labels 254 and 255": [grey((DISC, 254), (BOX, 255))],
    "background 1, lesion 2": [grey((DISC, 2), ground=1)],
    "vessels at 127 and 255": [Image.fromarray(np.maximum(vessel(255, 0), vessel(127, 1)))],
    "vessels at 127, others at 255": [Image.fromarray(vessel(255, n)) for n in range(9)]
    + [Image.fromarray(np.maximum(vessel(127, 9), np.where(BOX, 255, 0).astype(np.uint8)))],
    "specks of 2 x 2 at 127": [grey((DISC, 255), (np.pad(np.ones((2, 2), bool), ((5, 57), (5, 57))), 127))],
    "negative labels": [Image.fromarray(np.where(DISC, 1, np.where(BOX, -1, 0)).astype(np.int32))],
    "fractions": [Image.fromarray(np.where(DISC, 0.4, 0).astype(np.float32))],
    "red and green": [coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0)))],
    "red here, green there": [coloured((DISC, (255, 0, 0))), coloured((DISC, (0, 255, 0)))],
    "red here, white there": [coloured((DISC, (255, 0, 0))), grey((DISC, 255))],
    "red on blue": [coloured((DISC, (255, 0, 0)), ground=(0, 0, 255))],
    "red on white": [coloured((DISC, (255, 0, 0)), ground=(255, 255, 255))],
    "one hue, two tones": [coloured((DISC, (128, 0, 0)), (BOX, (255, 0, 0)))],
    "palette of VOC": [palette(VOC, (DISC, 1), (BOX, 2))],
    "palette without colours": [palette([0, 0, 0] * 256, (DISC, 1))],
    "alpha against colour": [transparent(coloured((BOX, (255, 255, 255))), DISC)],
}
SUFFIX = {"fractions": ".tif", "negative labels": ".tif"}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_leave_foreground_open_are_refused(tmp_path: Path, name: str) -> None:
    paths = saved(tmp_path, REFUSED[name], SUFFIX.get(name, ".png"))
    with pytest.raises(InputError, match=r"\d\.(png|tif): .*(mask-map|0/255)") as error:
        mask_range(paths)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "images",
    [
        [grey((DISC, 127)), grey()],
        [grey((DISC, 1)), grey((BOX, 1))],
        [coloured((DISC, (255, 0, 0))), coloured()],
        [coloured((DISC, (0, 128, 0)))],
        [palette(VOC, (DISC, 1))],
        [transparent(coloured(), DISC)],
        [transparent(coloured((DISC, (255, 255, 255))), DISC)],
        [grey((DISC, 255)).convert("1"), grey((DISC, 255)), grey((DISC, 255)).convert("RGB")],
        [Image.fromarray(DISC.astype(np.float32))],
    ],
)
def test_zero_and_one_value_is_a_mask_whatever_the_value(tmp_path: Path, images: list[Image.Image]) -> None:
    paths = saved(tmp_path, images, ".tif" if images[0].mode == "F" else ".png")
    np.testing.assert_array_equal(read_mask(paths[:1], mask_max=mask_range(paths)), DISC)


FRINGED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bilinear, half": lambda a: np.asarray(Image.fromarray(a).resize((32, 32), Image.Resampling.BILINEAR)),
    "bicubic, 1.7": lambda a: np.asarray(Image.fromarray(a).resize((109, 109), Image.Resampling.BICUBIC)),
    "lanczos, 0.4": lambda a: np.asarray(Image.fromarray(a).resize((26, 26), Image.Resampling.LANCZOS)),
    "means of 2 x 2": lambda a: np.rint(a.reshape(32, 2, 32, 2).mean((1, 3))).astype(np.uint8),
    "blurred": lambda a: np.rint(ndimage.gaussian_filter(a.astype(float), 2)).astype(np.uint8),
}


@pytest.mark.parametrize("how", FRINGED)
@pytest.mark.parametrize("quality", [None, 75, 95])
def test_fringes_of_resizing_and_compression_stay_masks(tmp_path: Path, how: str, quality: int | None) -> None:
    images = [Image.fromarray(FRINGED[how](np.where(m, 255, 0).astype(np.uint8))) for m in (DISC, BOX | DISC)]
    paths = saved(
        tmp_path, images, *((".png",) if quality is None else (".jpg",)), **({"quality": quality} if quality else {})
    )
    full = mask_range(paths)
    for path in paths:
        np.testing.assert_array_equal(read_mask([path], mask_max=full), np.asarray(Image.open(path)) > full / 2)


def test_real_masks_read_as_a_plain_threshold(shared: Path) -> None:
    for name in ("busi_sample", "chase_db1", "chest_xray_sample", "lvit_monuseg_sample"):
        dataset = with_mask_max(read_dataset(shared / "data" / name, target="x"))
        for sample in dataset.samples[:12]:
            plain = np.asarray(Image.open(sample.mask_paths[0]).convert("L")) > 127
            np.testing.assert_array_equal(load_mask(sample, dataset.info, None), plain)


def test_thin_real_structures_may_be_resized_and_not_relabelled(shared: Path, tmp_path: Path) -> None:
    masks = [Image.open(path).convert("L") for path in sorted((shared / "data/chase_db1/masks").iterdir())[:2]]
    half = [mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.BILINEAR) for mask in masks]
    assert mask_range(saved(tmp_path, half)) == 255
    with pytest.raises(InputError, match="127"):
        mask_range(saved(tmp_path, [masks[0], masks[1].point(lambda value: value // 2)]))


def test_pages_that_differ_are_refused(tmp_path: Path) -> None:
    first, second = grey((DISC, 255)), grey((BOX, 255))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(InputError, match=r"a\.tif: has 2 pages"):
        mask_range([tmp_path / "a.tif"])
    first.save(tmp_path / "a.tif", save_all=True, append_images=[first])
    np.testing.assert_array_equal(read_mask([tmp_path / "a.tif"]), DISC)


def source(root: Path, masks: list[Image.Image]) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate(masks):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{number}.png")
        mask.save(root / "masks" / f"{number}.png")
    return root


def test_prepare_refuses_before_it_writes(tmp_path: Path) -> None:
    root = source(tmp_path / "s", [grey((DISC, 255)), grey((DISC, 127)), grey((BOX, 255))])
    with pytest.raises(InputError, match=r"1\.png: holds several labels \(127: \d+ px"):
        prepare(None, root, tmp_path / "out", target="polyp")
    assert not (tmp_path / "out").exists()


def test_prepare_keeps_masks_of_any_one_value(tmp_path: Path) -> None:
    root = source(tmp_path / "s", [grey((DISC, 127)), grey((BOX, 127)), grey()])
    prepare(None, root, tmp_path / "out", target="polyp")
    areas = sorted(int((np.asarray(Image.open(path)) == 255).sum()) for path in (tmp_path / "out/masks").iterdir())
    assert areas == sorted([int(DISC.sum()), int(BOX.sum()), 0])


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0))), '{"#ff0000": "tumour", "#00ff00": "left kidney"}'),
        (coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0))), "tumour: [[255, 0, 0]]\nleft kidney: '#00ff00'\n"),
        (palette(VOC, (DISC, 1), (BOX, 2)), "1: tumour\n2: left kidney\n"),
        (grey((DISC, 127), (BOX, 255)), '{"tumour": 127, "left kidney": [255]}'),
    ],
)
def test_a_declared_label_map_makes_one_target_of_each(tmp_path: Path, mask: Image.Image, text: str) -> None:
    root = source(tmp_path / "s", [mask] * 3)
    (tmp_path / "map.yaml").write_text(text)
    prepare(None, root, tmp_path / "out", mask_map=tmp_path / "map.yaml")
    dataset = with_mask_max(read_dataset(tmp_path / "out"))
    assert len(dataset.samples) == 6
    for sample in dataset.samples:
        expected = {"tumour": DISC & ~BOX, "left kidney": BOX}[sample.target or ""]
        np.testing.assert_array_equal(load_mask(sample, dataset.info, None), expected)


def test_one_file_with_a_further_label_stops_preparing(tmp_path: Path) -> None:
    root = source(tmp_path / "s", [grey((DISC, 1))] * 3 + [grey((DISC, 1), (BOX, 2))])
    (tmp_path / "map.json").write_text('{"1": "liver"}')
    with pytest.raises(InputError, match=r"3\.png: holds 2 \(\d+ px\), which --mask-map does not declare"):
        prepare(None, root, tmp_path / "out", mask_map=tmp_path / "map.json")
    assert not (tmp_path / "out").exists()


def test_a_declared_union_and_ignored_colours_of_compressed_masks(tmp_path: Path) -> None:
    image = coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0)), (np.roll(BOX, 45, 0), (0, 0, 255)))
    (path,) = saved(tmp_path, [image], ".jpg", quality=90)
    (tmp_path / "map.json").write_text('{"polyp": ["#ff0000", "#00ff00"], "background": "#0000ff"}')
    found = mapped(open_image(path), str(path), read_mask_map(tmp_path / "map.json"))
    assert list(found) == ["polyp"]
    assert (found["polyp"] != (DISC | BOX) & ~np.roll(BOX, 45, 0)).mean() < 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"#ff0000": "tumour"}', r"#00ff00 \(200 px\), which --mask-map does not declare"),
        ('{"1": "tumour"}', "does not declare"),
        ('{"#ff0000": "a", "b": ["#ff0000"]}', "declared twice"),
        ('{"#ff0000": "a", "1": "b"}', "values and colours"),
        ('{"#ff0000": null}', "names no target"),
        ('{"a": "b"}', "give a value"),
        ("[1, 2]", "must map"),
        ("{", "neither JSON nor YAML"),
    ],
)
def test_a_map_that_does_not_fit_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (path,) = saved(tmp_path, [coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0)))])
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        mapped(open_image(path), str(path), read_mask_map(tmp_path / "map.json"))
    assert "\n" not in str(error.value)


def test_dataset_json_may_declare_the_value(tmp_path: Path) -> None:
    root = source(tmp_path / "s", [grey((DISC, 1), (BOX, 2))] * 3)
    (root / "dataset.json").write_text(json.dumps({"mask_value": 2}))
    dataset = with_mask_max(read_dataset(root, target="box"))
    np.testing.assert_array_equal(load_mask(dataset.samples[0], dataset.info, None), BOX)
    (root / "dataset.json").write_text(json.dumps({"mask_value": 7}))
    with pytest.raises(InputError, match=r"holds a declared value \(7\), this one holds 0, 1, 2"):
        with_mask_max(read_dataset(root))


def test_a_value_is_no_choice_among_colours(tmp_path: Path) -> None:
    """Red and green have the same largest channel."""
    two = coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0)))
    root = source(tmp_path / "s", [two] * 3)
    (root / "dataset.json").write_text(json.dumps({"mask_value": 255}))
    dataset = read_dataset(root, target="box")
    message = r"holds several colours \(#ff0000, #00ff00\); make one target of each"
    with pytest.raises(InputError, match=message):
        with_mask_max(dataset)
    with pytest.raises(InputError, match=message):
        load_mask(dataset.samples[0], dataset.info, None)
    findings, _ = check_data([root], near=False)
    assert {f.code for f in findings if f.severity == "error"} == {"label_map"}
    (tmp_path / "map.json").write_text('{"255": "box"}')
    with pytest.raises(InputError, match="holds #ff0000, #00ff00, which --mask-map does not declare"):
        mapped(two, "a.png", read_mask_map(tmp_path / "map.json"))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "F", "I", "I;16"])
def test_prepared_images_read_as_their_sources(tmp_path: Path, mode: str) -> None:
    root = source(tmp_path / "s", [grey((DISC, 255))] * 3)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    made = {
        "F": lambda: Image.fromarray(pixels[:, :, 0].astype(np.float32) / 300),
        "I": lambda: Image.fromarray(pixels[:, :, 0].astype(np.int32) * 900 - 1000),
        "I;16": lambda: Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 100),
    }.get(mode, lambda: Image.fromarray(pixels).convert(mode))()
    (root / "images" / "1.png").unlink()
    made.save(root / "images" / "1.tif")
    prepare(None, root, tmp_path / "out", target="x")
    (written,) = (tmp_path / "out" / "images").glob("1.*")
    named = {sample.image_path.name for sample in read_dataset(tmp_path / "out").samples}
    assert written.name in named
    np.testing.assert_array_equal(read_image(written), read_image(root / "images" / "1.tif"))


def test_prepare_says_that_further_pages_are_left(tmp_path: Path) -> None:
    root = source(tmp_path / "s", [grey((DISC, 255))] * 3)
    (root / "images" / "1.png").unlink()
    grey((DISC, 200)).save(root / "images" / "1.tif", save_all=True, append_images=[grey((BOX, 200))])
    done = prepare(None, root, tmp_path / "out", target="x")
    assert any("images/1.tif: the first is used" in line for line in done.left_out)


def test_the_colours_of_neopolyp_are_declared_as_one(tmp_path: Path) -> None:
    for number in range(4):
        for kind, image in (
            ("train", grey((DISC, 90))),
            ("train_gt", coloured((DISC, (255, 0, 0)), (BOX, (0, 255, 0)))),
        ):
            folder = tmp_path / "s" / kind / kind
            folder.mkdir(parents=True, exist_ok=True)
            image.convert("RGB").save(folder / f"{number}.jpeg", quality=95)
    prepare(find_card("bkai-igh"), tmp_path / "s", tmp_path / "out")
    for path in (tmp_path / "out" / "masks").iterdir():
        assert ((np.asarray(Image.open(path)) > 0) != (DISC | BOX)).mean() < 0.01


def test_a_file_that_was_changed_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    for value in (255, 100, 7):
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
        assert mask_range([path]) == value
