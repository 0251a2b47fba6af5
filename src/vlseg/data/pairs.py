"""A plain pair of folders: images/ and masks/, paired by stem, split once and written down."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from vlseg.data.entries import Entry
from vlseg.records import InputError, write_text

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
SHARES = {"val": 0.1, "test": 0.1}


def paired_files(root: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Images with the mask of the same stem, by name, and the files that have no partner.

    Raises:
        InputError: a folder is missing, or two files share a stem.
    """
    found = {}
    for kind in ("images", "masks"):
        folder = root / kind
        if not folder.is_dir():
            raise InputError(f"{root}: has no {kind}/; a dataset has images/ and masks/ (and anns/, or --target)")
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        stems: dict[str, Path] = {}
        for file in files:
            if file.stem in stems:
                raise InputError(f"{file}: has the same stem as {stems[file.stem].name}; keep one of them")
            stems[file.stem] = file
        found[kind] = stems
    images, masks = found["images"], found["masks"]
    both = images.keys() & masks.keys()
    alone = [files[stem] for files in (images, masks) for stem in sorted(files.keys() - both)]
    return [(images[stem], masks[stem]) for stem in sorted(both)], alone


def split_pairs(root: Path, target: str | None, seed: int) -> dict[str, list[Entry]]:
    """Seeded 80/10/10 split of the pairs, written to anns/ so that it is made only once.

    Where the folder cannot be written the same split is made again from the same seed.

    Raises:
        InputError: no target, nothing to pair.
    """
    pairs, _ = paired_files(root)
    if target is None:
        raise InputError(f"{root}: has no anns/; say with --target what its masks show, e.g. --target polyp")
    if not pairs:
        raise InputError(f"{root}: no image has a mask of the same name; images/a.png needs masks/a.png")
    order = np.random.default_rng(seed).permutation(len(pairs))
    # Of three or more images at least one goes to val and one to test.
    sizes = {split: max(1, round(share * len(pairs))) if len(pairs) >= 3 else 0 for split, share in SHARES.items()}
    ends = {"val": sizes["val"], "test": sizes["val"] + sizes["test"]}
    chosen = {
        "train": order[ends["test"] :],
        "val": order[: ends["val"]],
        "test": order[ends["val"] : ends["test"]],
    }
    prompts = {"empty": "", "class": target}
    values = {
        split: [
            {"img_name": pairs[i][0].name, "mask_name": pairs[i][1].name, "prompts": prompts, "target": target}
            for i in sorted(indices)
        ]
        for split, indices in chosen.items()
    }
    with suppress(InputError):  # a read-only dataset; the same seed and names give the same split again
        for split, entries in values.items():
            write_text(root / "anns" / f"{split}.json", json.dumps(entries, indent=1) + "\n")
    return {split: [Entry.model_validate(entry) for entry in entries] for split, entries in values.items()}
