"""Time and memory of `vlseg data check` on synthetic images with masks, and what it finds of planted copies.

python benchmarks/check_images.py [--images 10000] [--side 384] [--copies 200]
python benchmarks/check_images.py --kind chest --side 224 --out benchmarks/results/check_look_alikes.json

`chest` draws look-alikes: one chest, slightly deformed by patient, in the frames and with the markers of some sites.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import ndimage

from vlseg.jobs.check import check_data

Pixels = NDArray[np.float64]
SITES = 150  # frames of the chest films


def texture(index: int, side: int) -> Pixels:
    """Noise at several scales."""
    rng = np.random.default_rng(index)
    noise = sum(
        ndimage.zoom(rng.normal(size=(4 * 2**level, 4 * 2**level)), side / (4 * 2**level), order=1) / 2**level
        for level in range(5)
    )
    return 120 + 30 * np.asarray(noise)


@cache
def template(side: int) -> Pixels:
    """A chest: flanks, lungs, spine, heart, ribs."""
    yy, xx = np.mgrid[:side, :side] / side - 0.5
    chest = 150 - 60 * (np.abs(xx) > 0.42) + 50 * np.exp(-((xx / 0.05) ** 2))
    chest += 35 * np.exp(-(((xx - 0.06) / 0.13) ** 2 + ((yy - 0.15) / 0.14) ** 2))
    for middle in (-0.2, 0.2):
        chest -= 90 * np.exp(-((((xx - middle) / 0.13) ** 2 + (yy / 0.3) ** 2) ** 2))
    for top in np.linspace(-0.38, 0.3, 9):
        rib = yy - top - 1.2 * xx**2 - 0.1 * np.abs(xx)
        chest += 20 * np.exp(-((rib / 0.012) ** 2)) * (np.abs(xx) < 0.4)
    return np.asarray(chest)


def field(rng: np.random.Generator, cells: int, side: int) -> Pixels:
    """Smooth noise."""
    return ndimage.zoom(rng.normal(size=(cells, cells)), -(-side // cells), order=1)[:side, :side]


def chest(index: int, side: int) -> Pixels:
    """A film: the site's frame and marker, the patient's build, the film's own noise."""
    site, patient = np.random.default_rng([1, index % SITES]), np.random.default_rng([2, index])
    yy, xx = np.mgrid[:side, :side]
    scale = 1 + 0.06 * patient.normal(size=2)
    at = [
        (place - side / 2) * size + side / 2 + side * (0.02 * field(patient, 5, side) + 0.03 * patient.normal())
        for place, size in zip((yy, xx), scale, strict=True)
    ]
    film = ndimage.map_coordinates(template(side), at, order=1, mode="nearest")
    film += 5 * field(patient, 8, side) + 8 * field(patient, 28, side) + 4 * field(patient, 56, side)
    film = (film - 128) * (1 + 0.15 * patient.normal()) + 128 + 10 * patient.normal()
    top, left, bottom, right = (site.uniform(0, 0.12, 4) * side).astype(int)
    film[:top], film[:, :left], film[side - bottom :], film[:, side - right :] = 0, 0, 0, 0
    for down, across in (site.uniform(0.05, 0.85, (3, 2)) * side).astype(int):
        film[down : down + side // 16, across : across + side // 10] = 255
    return np.asarray(film)


KINDS = {"texture": texture, "chest": chest}


def write_image(root: Path, index: int, side: int, kind: str) -> None:
    """An image with a blob, and the blob as the mask."""
    rng = np.random.default_rng([3, index])
    yy, xx = np.mgrid[:side, :side] / side
    centre, radius = rng.uniform(0.25, 0.75, 2), rng.uniform(0.05, 0.2)
    mask = (yy - centre[0]) ** 2 + (xx - centre[1]) ** 2 < radius**2
    pixels = np.clip(KINDS[kind](index, side) + 40 * mask * (kind == "texture"), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(root / "images" / f"{index}.jpg", quality=90)
    Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{index}.png")


def plant_copy(root: Path, source: int, target: int, kind: int) -> None:
    """The image `source`, recompressed, resized, brightened or cropped, in place of `target`."""
    image = Image.open(root / "images" / f"{source}.jpg").convert("L")
    side = image.width
    edge = round(0.025 * side)
    changed = [
        image,
        image.resize((side // 2, side // 2)).resize((side, side)),
        ImageEnhance.Brightness(image).enhance(1.1),
        image.crop((edge, edge, side - edge, side - edge)).resize((side, side)),
    ][kind]
    changed.save(root / "images" / f"{target}.jpg", quality=70)


def main() -> None:
    """Write, check, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 10_000), ("side", 384), ("copies", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kind", choices=list(KINDS), default="texture")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "check_images.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        for kind in ("images", "masks", "anns"):
            (root / kind).mkdir(parents=True)
        with ProcessPoolExecutor() as pool:
            write = partial(write_image, root, side=asked.side, kind=asked.kind)
            list(pool.map(write, range(asked.images), chunksize=50))
        test = asked.images // 10
        for number in range(asked.copies):
            plant_copy(root, test + number, number, number % 4)
        entries = [
            {"img_name": f"{n}.jpg", "mask_name": f"{n}.png", "target": "blob", "prompts": {"p0": "", "p1": "blob"}}
            for n in range(asked.images)
        ]
        (root / "anns" / "test.json").write_text(json.dumps(entries[:test]))
        (root / "anns" / "train.json").write_text(json.dumps(entries[test:]))
        begin, cpu = time.perf_counter(), time.process_time()
        findings, _ = check_data([root])
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    near = sum(finding.count for finding in findings if finding.code == "near_duplicate")
    across = sum(finding.count for finding in findings if finding.code == "near_duplicate" and finding.split is None)
    result = {
        "images": asked.images,
        "kind": asked.kind,
        "side": asked.side,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "planted_copies": asked.copies,
        "found_across_splits": across,
        "near_duplicates_in_all": near,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
