"""What the search for near-copies finds of the pairs that the plain comparison finds, and of planted copies.

PYTHONPATH=tests/helpers python benchmarks/near_recall.py [--films 400] [--data IMAGES] [--chest FILMS]

The plain comparison (`tests/helpers/near_oracle.py`) aligns every candidate to the very top in float64; on `--all`
films every pair, candidate or not. Writes `benchmarks/results/near_recall.json`.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from look_alikes import BEYOND, COPIES, DIFFICULTIES, changed, chest
from near_oracle import align_fully, levels
from PIL import Image

from vlseg.checks.near import THRESHOLD, Descriptor, describe_images, near_duplicates
from vlseg.checks.near_pairs import _candidates, _levels
from vlseg.phantoms import write_phantoms

ROUNDING = 1e-4  # by which single precision moves a correlation: pairs this close to the threshold are counted apart


def films(count: int, difficulty: str) -> list[Image.Image]:
    """Half of them of one frame each, half in thirty frames that many share."""
    places = [*range(count // 2), *(150 * (1 + n // 30) + n % 30 for n in range(count - count // 2))]
    return [Image.fromarray(np.clip(chest(at, 224, difficulty), 0, 255).astype(np.uint8)) for at in places]


def planted(images: list[Image.Image], each: int, folder: Path) -> tuple[list[Path], dict[tuple[int, int], str]]:
    """The images and their copies as files, and the kind of change by pair of indices."""
    rng = np.random.default_rng(7)
    paths, kinds = [], {}
    for image in images:
        paths.append(folder / f"{len(paths)}.png")
        image.save(paths[-1])
    for kind in (*COPIES, *BEYOND):
        for source in rng.choice(len(images), each, replace=False).tolist():
            copy, quality = changed(images[source], kind)
            kinds[source, len(paths)] = kind
            paths.append(folder / f"{len(paths)}.jpg")
            copy.save(paths[-1], quality=quality)
    return paths, kinds


def oracle(thumbnails: np.ndarray, pairs: np.ndarray, starts: np.ndarray) -> dict[tuple[int, int], float]:
    """Correlation of each pair, plainly aligned."""
    contrasts = [levels(thumbnail) for thumbnail in thumbnails]
    return {
        (min(one, other), max(one, other)): align_fully(contrasts[one], contrasts[other], start)
        for (one, other), start in zip(pairs.tolist(), starts, strict=True)
    }


def every_pair(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs, from the whole image."""
    pairs = np.array(list(combinations(range(len(thumbnails)), 2)))
    return pairs, np.tile(np.array((0, 0, 1, 1), dtype=np.float32), (len(pairs), 1))


def compare(descriptors: list[Descriptor], kinds: dict[tuple[int, int], str], whole: bool = False) -> dict[str, Any]:
    """Counts of pairs that the plain comparison finds and the search does not, and the other way round."""
    _, first = np.unique([one.thumbnail.tobytes() for one in descriptors], return_index=True)  # each thumbnail once
    index = sorted(first.tolist())
    thumbnails = np.stack([descriptors[at].thumbnail for at in index])
    begin = time.process_time()
    found = {(pair.first, pair.second) for pair in near_duplicates(descriptors)}
    seconds = time.process_time() - begin
    candidates = every_pair(thumbnails) if whole else _candidates(_levels(thumbnails)[0].astype(np.float32), 50, iter)
    told = {
        tuple(sorted((index[one], index[other]))): value
        for (one, other), value in oracle(thumbnails, *candidates).items()
    }
    plain = {pair for pair, value in told.items() if value >= THRESHOLD + ROUNDING}
    by_kind: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pair, kind in kinds.items():
        by_kind[kind][0] += 1
        by_kind[kind][1] += pair in found
    return {
        "images": len(descriptors),
        "compared_plainly": len(told),
        "of_all_pairs": whole,
        "pairs_of_the_plain_comparison": len(plain),
        "lost": len(plain - found),
        "lost_correlations": sorted(round(told[pair], 4) for pair in plain - found),
        "within_rounding": sum(abs(value - THRESHOLD) < ROUNDING for value in told.values()),
        "found_besides": sum(told.get(pair, 1) < THRESHOLD - ROUNDING for pair in found),
        "planted": sum(n for kind, (n, _) in by_kind.items() if kind in COPIES),
        "planted_found": sum(n for kind, (_, n) in by_kind.items() if kind in COPIES),
        "beyond_found_of": {kind: by_kind[kind][::-1] for kind in BEYOND if kind in by_kind},
        "search_cpu_seconds": round(seconds, 1),
    }


def calibration(real: list[Path]) -> dict[str, Any]:
    """Correlation of films of different patients after full alignment: real ones, and each difficulty's."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        sets = {"real": real}
        for difficulty in DIFFICULTIES:
            sets[difficulty], _ = planted(films(12, difficulty), 0, Path(folder))
            descriptors = describe_images(sets[difficulty])
            sets[difficulty] = [one.thumbnail for one in descriptors if one]
    sets["real"] = [one.thumbnail for one in describe_images(real) if one]
    for name, thumbnails in sets.items():
        values = list(oracle(np.stack(thumbnails), *every_pair(np.stack(thumbnails))).values())
        result[name] = {
            "films": len(thumbnails),
            "quantiles_5_50_95": np.quantile(values, (0.05, 0.5, 0.95)).round(2).tolist(),
        }
    return result


def main() -> None:
    """Draw, search, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--each", type=int, default=4, help="planted copies of each kind")
    parser.add_argument("--all", type=int, default=60, help="films whose pairs are all compared plainly")
    parser.add_argument("--data", type=Path, help="folder of real images")
    parser.add_argument("--chest", type=Path, help="folder of real chest films, of which no two show one patient")
    asked = parser.parse_args()
    results: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "threshold": THRESHOLD}
    if asked.chest:
        results["calibration"] = calibration(sorted(asked.chest.iterdir()))
    sets: dict[str, tuple[list[Image.Image], bool]] = {}
    for difficulty in DIFFICULTIES:
        sets[difficulty] = films(asked.films, difficulty), False
    sets["chest, all pairs"] = films(asked.all, "chest"), True
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(Path(folder) / "phantoms", counts={"train": 150})
        sets["phantoms"] = _opened(Path(folder) / "phantoms" / "images"), False
    if asked.data:
        sets["real"] = _opened(asked.data), False
    for name, (images, whole) in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            paths, kinds = planted(images, 1 if whole else asked.each, Path(folder))
            descriptors = [one for one in describe_images(paths) if one is not None]
        results[name] = compare(descriptors, kinds, whole)
        print(name, json.dumps(results[name]), flush=True)
        at = Path(__file__).parent / "results" / "near_recall.json"
        at.write_text(json.dumps(results, indent=1) + "\n")


def _opened(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("L") for path in sorted(folder.iterdir())]


if __name__ == "__main__":
    main()
