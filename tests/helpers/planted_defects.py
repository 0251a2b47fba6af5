"""Defects of a dataset, one each, planted into the discs of `make_dataset`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage


def edit(root: Path, split: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / "anns" / f"{split}.json"
    entries = json.loads(path.read_text())
    changed = change(entries)
    path.write_text(json.dumps(entries if changed is None else changed))


def small(root: Path, name: str) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(root / "masks" / name)


def rescale(root: Path, name: str) -> None:
    path = root / "masks" / name
    Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)


def blank(root: Path, name: str) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "masks" / name)


def labels(root: Path, name: str) -> None:
    values = np.zeros((32, 32), np.uint8)
    values[4:12], values[16:24] = 120, 255
    Image.fromarray(values).save(root / "masks" / name)


def blur(root: Path, name: str) -> None:
    path = root / "masks" / name
    Image.open(path).resize((16, 16)).resize((32, 32), Image.Resampling.BILINEAR).save(path)


def rewrite(root: Path, text: str) -> None:
    edit(root, "train", lambda e: e[0]["prompts"].update(p1=text) and None)


def fill(root: Path, name: str) -> None:
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(root / "masks" / name)


def recompress(root: Path) -> None:
    image = textured(5)
    image.save(root / "images" / "train0.png")
    image.resize((64, 64), Image.Resampling.BICUBIC).save(root / "images" / "x.jpg", quality=70)
    Image.open(root / "images" / "x.jpg").resize((96, 96)).save(root / "images" / "test0.png")
    for name in ("train0_bright", "train0_dark", "test0_bright", "test0_dark"):
        path = root / "masks" / f"{name}.png"
        Image.open(path).resize((96, 96), Image.Resampling.NEAREST).save(path)


def textured(seed: int, side: int = 96) -> Image.Image:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2)
    return Image.fromarray(np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8))


def turn(root: Path) -> None:
    path = root / "images" / "train1.png"
    image = Image.open(path)
    exif = image.getexif()
    exif[0x0112] = 3
    image.save(path, exif=exif)


def deepen(root: Path) -> None:
    for path in (root / "images").glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)


def copy_image(root: Path, _: str) -> None:
    (root / "images" / "test0.png").write_bytes((root / "images" / "train0.png").read_bytes())


def halve(root: Path) -> None:
    """One mask of the whole set at 0/127: in its own file nothing is odd."""
    path = root / "masks" / "train1_dark.png"
    Image.open(path).point(lambda value: value // 2).save(path)


def tint(root: Path) -> None:
    for word, channel in (("dark", 0), ("bright", 1)):
        path = root / "masks" / f"train1_{word}.png"
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.dstack([mask * (channel == other) for other in range(3)])).save(path)


def invert(root: Path) -> None:
    for path in (root / "masks").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def add_page(root: Path, folder: str, name: str) -> None:
    path = root / folder / f"{name}.png"
    image = Image.open(path)
    image.save(path.with_suffix(".tif"), save_all=True, append_images=[Image.eval(image, lambda value: 255 - value)])
    path.with_suffix(".tif").rename(path)


def make_nan(root: Path) -> None:
    path = root / "images" / "train1.png"
    pixels = np.asarray(Image.open(path).convert("L")).astype(np.float32)
    pixels[0, 0] = np.nan
    Image.fromarray(pixels).save(path, "TIFF")


def declare(root: Path, values: list[int]) -> None:
    """Each entry of train says which value is foreground, by turns; the masks hold 0 and 255."""
    edit(root, "train", lambda e: [x.update(mask_value=values[i % len(values)]) for i, x in enumerate(e)] and None)


PLANTED: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("missing_file", "error", lambda root: (root / "images" / "train1.png").unlink()),
    ("undecodable", "error", lambda root: (root / "masks" / "train1_dark.png").write_bytes(b"")),
    ("size_mismatch", "error", lambda root: small(root, "train1_dark.png")),
    ("odd_mask_values", "error", lambda root: rescale(root, "train1_dark.png")),
    ("label_map", "error", lambda root: labels(root, "train1_dark.png")),
    ("non_binary_mask", "note", lambda root: blur(root, "train1_dark.png")),
    ("empty_mask", "note", lambda root: blank(root, "train1_dark.png")),
    ("split_leak", "error", lambda root: copy_image(root, "")),
    ("duplicate_entry", "warning", lambda root: edit(root, "train", lambda e: [*e, e[0]])),
    ("empty_split", "warning", lambda root: edit(root, "val", lambda e: [])),
    ("missing_split", "warning", lambda root: (root / "anns" / "val.json").unlink()),
    ("missing_prompt_key", "warning", lambda root: edit(root, "train", lambda e: e[0]["prompts"].pop("p2") and None)),
    ("ambiguous_prompt", "note", lambda root: edit(root, "train", lambda e: e[0]["prompts"].update(p1="dark disc"))),
    ("prompt_type_mixture", "note", lambda root: edit(root, "train", lambda e: e[0]["prompts"].update(p2="x"))),
    ("broken_json", "error", lambda root: (root / "anns" / "val.json").write_text("[{")),
    ("wording_count", "note", lambda root: edit(root, "train", lambda e: e[0]["prompts"].update(p2=["a disc"]))),
    ("degenerate_box", "note", lambda root: edit(root, "train", lambda e: e[0].update(bbox=[9, 9, 0, 0]))),
    ("redundant_file", "warning", lambda root: shutil.copy(root / "anns" / "test.json", root / "anns" / "testB.json")),
    ("announces_absence", "warning", lambda root: (rewrite(root, "no bright disc"), blank(root, "train0_bright.png"))),
    ("contradicts_mask", "warning", lambda root: rewrite(root, "no bright disc")),
    ("number_agreement", "note", lambda root: rewrite(root, "two bright disc")),
    ("repeated_word", "note", lambda root: rewrite(root, "bright bright disc")),
    ("stray_blank", "note", lambda root: rewrite(root, "bright disc ")),
    ("stray_article", "note", lambda root: rewrite(root, "two bright a round discs")),
    ("misspelling", "note", lambda root: rewrite(root, "bright disc of abnromal texture")),
    ("full_mask", "warning", lambda root: fill(root, "train1_dark.png")),
    ("untrained_target", "warning", lambda root: edit(root, "test", lambda e: e[0].update(target="square") and None)),
    ("near_duplicate", "warning", lambda root: recompress(root)),
    ("exif_orientation", "note", lambda root: turn(root)),
    ("bit_depth", "warning", lambda root: deepen(root)),
    ("label_map", "error", halve),
    ("label_map", "error", tint),
    ("several_pages", "warning", lambda root: add_page(root, "images", "train1")),
    ("undecodable", "error", lambda root: add_page(root, "masks", "train1_dark")),
    ("undecodable", "error", make_nan),
    ("absent_value", "warning", lambda root: declare(root, [255, 7])),
    ("absent_value", "error", lambda root: declare(root, [7])),
    ("bad_path", "error", lambda root: edit(root, "val", lambda e: e[0].update(img_name="../x.png"))),
]
