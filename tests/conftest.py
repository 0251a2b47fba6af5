"""What all tests share."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: one that begins last would keep a single worker busy for minutes."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def kept_graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What engines keep lies in a folder of the tests, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLSEG_CACHE", str(tmp_path_factory.mktemp("engines")))
        yield


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


def write_discs(root: Path, counts: tuple[int, int, int], size: int) -> Path:
    """A small dataset in MedVLSM's layout: a bright disc left and a dark one right in noise.

    Every image has two entries, one per disc, so that the prompt decides the mask.
    """
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
    (root / "dataset.json").write_text(json.dumps({"name": root.name, "prompt_sources": sources}))
    return root


@pytest.fixture(scope="session")
def disc_writer() -> Callable[[Path, tuple[int, int, int], int], Path]:
    """`write_discs`, for fixtures that last longer than a test."""
    return write_discs


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes the discs into a folder of the test's own."""

    def make(name: str = "discs", counts: tuple[int, int, int] = (6, 2, 3), size: int = 32) -> Path:
        return write_discs(tmp_path / name, counts, size)

    return make


class Finished(NamedTuple):
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on the last line of stdout."""
        values: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return values


@pytest.fixture
def vlseg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Finished:
        from vlseg.cli import main

        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ (discs) and run/ (clipseg-tiny, a few steps), for reading only."""
    from vlseg.jobs.train import train_run
    from vlseg.records import RunConfig

    root = tmp_path_factory.mktemp("trained")
    data = write_discs(root / "data", (6, 2, 3), 32)
    config = RunConfig(
        model="clipseg-tiny",
        model_arguments={"image_size": 32},
        data=[str(data)],
        prompt="p1",
        threads=1,
        device="cpu",
        batch_size=3,
        max_steps=6,
    )
    train_run(config, root / "run")
    return root
