"""Time and memory of `vlseg data check` on synthetic images with masks, and what it finds of planted copies.

python benchmarks/check_images.py [--images 10000] [--side 384] [--copies 200]
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from scipy import ndimage

from vlseg.jobs.check import check_data


def write_image(root: Path, index: int, side: int) -> None:
    """Texture at several scales with a blob, and the blob as the mask."""
    rng = np.random.default_rng(index)
    texture = sum(
        ndimage.zoom(rng.normal(size=(4 * 2**level, 4 * 2**level)), side / (4 * 2**level), order=1) / 2**level
        for level in range(5)
    )
    yy, xx = np.mgrid[:side, :side] / side
    centre, radius = rng.uniform(0.25, 0.75, 2), rng.uniform(0.05, 0.2)
    mask = (yy - centre[0]) ** 2 + (xx - centre[1]) ** 2 < radius**2
    pixels = np.clip(120 + 30 * texture + 40 * mask, 0, 255).astype(np.uint8)
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
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "check_images.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        for kind in ("images", "masks", "anns"):
            (root / kind).mkdir(parents=True)
        with ProcessPoolExecutor() as pool:
            list(
                pool.map(
                    write_image, [root] * asked.images, range(asked.images), [asked.side] * asked.images, chunksize=50
                )
            )
        test = asked.images // 10
        for number in range(asked.copies):
            plant_copy(root, test + number, number, number % 4)
        entries = [
            {"img_name": f"{n}.jpg", "mask_name": f"{n}.png", "target": "blob", "prompts": {"p0": "", "p1": "blob"}}
            for n in range(asked.images)
        ]
        (root / "anns" / "test.json").write_text(json.dumps(entries[:test]))
        (root / "anns" / "train.json").write_text(json.dumps(entries[test:]))
        begin = time.perf_counter()
        findings, _ = check_data([root])
        seconds = time.perf_counter() - begin
    near = sum(finding.count for finding in findings if finding.code == "near_duplicate")
    across = sum(finding.count for finding in findings if finding.code == "near_duplicate" and finding.split is None)
    result = {
        "images": asked.images,
        "side": asked.side,
        "seconds": round(seconds, 1),
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
