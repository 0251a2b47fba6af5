"""Time and memory of `vlseg data check` on synthetic images with masks, and what it finds of planted copies.

python benchmarks/check_images.py [--images 10000] [--side 384] [--copies 200]
python benchmarks/check_images.py --kind chest --side 224 --out benchmarks/results/check_look_alikes.json

`chest` draws look-alikes: one chest, slightly deformed by patient, in the frames and with the markers of some sites
(`--sites 1`: all in one frame). The planted copies are changed in the twenty ways of `look_alikes.COPIES` by turns.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from look_alikes import COPIES, DIFFICULTIES, SITES, Pixels, changed, chest
from PIL import Image
from scipy import ndimage

from vlseg.checks.collect import Collector
from vlseg.checks.near_copies import check_near
from vlseg.checks.near_pairs import Bar
from vlseg.jobs.check import check_data
from vlseg.records import View


def texture(index: int, side: int) -> Pixels:
    """Noise at several scales."""
    rng = np.random.default_rng(index)
    noise = sum(
        ndimage.zoom(rng.normal(size=(4 * 2**level, 4 * 2**level)), side / (4 * 2**level), order=1) / 2**level
        for level in range(5)
    )
    return 120 + 30 * np.asarray(noise)


KINDS: dict[str, Callable[..., Pixels]] = {"texture": texture, "chest": chest}


def write_image(root: Path, index: int, side: int, kind: str, options: dict[str, Any]) -> None:
    """An image with a blob, and the blob as the mask."""
    rng = np.random.default_rng([3, index])
    yy, xx = np.mgrid[:side, :side] / side
    centre, radius = rng.uniform(0.25, 0.75, 2), rng.uniform(0.05, 0.2)
    mask = (yy - centre[0]) ** 2 + (xx - centre[1]) ** 2 < radius**2
    pixels = np.clip(KINDS[kind](index, side, **options) + 40 * mask * (kind == "texture"), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(root / "images" / f"{index}.jpg", quality=90)
    Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{index}.png")


def plant_copy(root: Path, source: int, target: int) -> None:
    """A copy of the image `source` in place of `target`."""
    copy, quality = changed(Image.open(root / "images" / f"{source}.jpg"), list(COPIES)[target % len(COPIES)])
    copy.save(root / "images" / f"{target}.jpg", quality=quality)
    mask = Image.open(root / "masks" / f"{target}.png")
    mask.resize(copy.size, Image.Resampling.NEAREST).save(root / "masks" / f"{target}.png")


def write_set(root: Path, asked: argparse.Namespace) -> dict[str, str]:
    """The dataset, a tenth of it in test; gives the kind of change of each planted copy's (test) image."""
    for folder in ("images", "masks", "anns"):
        (root / folder).mkdir(parents=True)
    options = {"sites": asked.sites, "difficulty": asked.difficulty} if asked.kind == "chest" else {}
    with ProcessPoolExecutor(asked.processes) as pool:
        write = partial(write_image, root, side=asked.side, kind=asked.kind, options=options)
        list(pool.map(write, range(asked.images), chunksize=50))
    test = asked.images // 10
    for number in range(asked.copies):
        plant_copy(root, test + number, number)
    entries = [
        {"img_name": f"{n}.jpg", "mask_name": f"{n}.png", "target": "blob", "prompts": {"p0": "", "p1": "blob"}}
        for n in range(asked.images)
    ]
    (root / "anns" / "test.json").write_text(json.dumps(entries[:test]))
    (root / "anns" / "train.json").write_text(json.dumps(entries[test:]))
    return {f"{number}.jpg": list(COPIES)[number % len(COPIES)] for number in range(asked.copies)}


def checked_pairs(root: Path) -> tuple[set[frozenset[str]], float, float]:
    """Runs the check; the pairs of near duplicates (findings name a few examples only), seconds, processor seconds."""
    pairs: set[frozenset[str]] = set()

    def keep(datasets: Any, found: Collector, bar: Bar) -> None:
        add = found.add

        def record(*told: Any, **more: Any) -> None:
            pairs.add(frozenset(view.file.name for view in told if isinstance(view, View)))
            add(*told, **more)

        with patch.object(found, "add", record):
            check_near(datasets, found, bar)

    begin, cpu = time.perf_counter(), time.process_time()
    with patch("vlseg.checks.check_near", keep):
        check_data([root])
    return pairs, time.perf_counter() - begin, time.process_time() - cpu


def main() -> None:
    """Write, check, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 10_000), ("side", 384), ("copies", 200), ("sites", SITES), ("processes", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kind", choices=list(KINDS), default="texture")
    parser.add_argument("--difficulty", choices=list(DIFFICULTIES), default="chest")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "check_images.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        planted = write_set(Path(folder) / "set", asked)
        load = os.getloadavg()[0]
        pairs, seconds, cpu = checked_pairs(Path(folder) / "set")
    test = asked.images // 10
    expected = {frozenset((copy, f"{test + int(Path(copy).stem)}.jpg")): kind for copy, kind in planted.items()}
    result = {
        "images": asked.images,
        "kind": asked.kind,
        "side": asked.side,
        **({"sites": asked.sites, "difficulty": asked.difficulty} if asked.kind == "chest" else {}),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "load_before": round(load, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "planted_copies": asked.copies,
        "planted_copies_found": len(expected.keys() & pairs),
        "missed_by_kind": dict(Counter(kind for pair, kind in expected.items() if pair not in pairs)),
        "other_pairs": len(pairs - expected.keys()),
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
