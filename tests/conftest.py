"""What all tests share."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and golden outputs beside the project; tests that need it skip without it."""
    folder = Path(os.environ.get("VLSEG_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("reference data (VLSEG_SHARED or ../shared) is not here")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Inputs and outputs of the published networks."""
    return shared / "golden"


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small dataset in MedVLSM's layout: a bright disc left and a dark one right in noise.

    Every image has two entries, one per disc, so that the prompt decides the mask.
    """

    def make(name: str = "discs", counts: tuple[int, int, int] = (6, 2, 3), size: int = 32) -> Path:
        root = tmp_path / name
        for folder in ("images", "masks", "anns"):
            (root / folder).mkdir(parents=True)
        yy, xx = np.mgrid[:size, :size]
        for split, count in zip(("train", "val", "test"), counts, strict=True):
            entries = []
            for index in range(count):
                rng = np.random.default_rng([index, len(split)])
                pixels = rng.normal(110, 12, (size, size))
                image = f"{split}{index}.png"
                for word, column, tone in (("bright", 0.25, 90), ("dark", 0.75, -80)):
                    centre = (size * rng.uniform(0.35, 0.65), size * column)
                    disc = (yy - centre[0]) ** 2 + (xx - centre[1]) ** 2 < (size * rng.uniform(0.12, 0.2)) ** 2
                    pixels = pixels + tone * disc
                    mask = f"{split}{index}_{word}.png"
                    Image.fromarray(disc.astype(np.uint8) * 255).save(root / "masks" / mask)
                    prompts = {"p0": "", "p1": f"{word} disc", "p2": [f"{word} disc", f"a {word} round disc"]}
                    entries.append({"img_name": image, "mask_name": mask, "prompts": prompts, "target": f"{word} disc"})
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / "images" / image)
            (root / "anns" / f"{split}.json").write_text(json.dumps(entries))
        sources = {"p0": ["none"], "p1": ["class"], "p2": ["class", "user"]}
        (root / "dataset.json").write_text(json.dumps({"name": name, "prompt_sources": sources}))
        return root

    return make
