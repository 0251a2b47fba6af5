"""One server with its page for all tests of a process."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from browsing import browser_or_skip
from page_driving import Shown, tab, visited
from PIL import Image
from playwright.sync_api import Browser, Page

import vlseg
from vlseg.evaluation import Predictor

ODD = 0.4567
"""A model's own threshold between two positions of the page's slider."""


class Served(NamedTuple):
    """`vlseg serve` as a process: where it answers, its model, usual images, one unlike them, and its dataset."""

    address: str
    run: Path
    images: list[Path]
    unlike: Path
    corrections: Path


@pytest.fixture(scope="session")
def page_run(tmp_path_factory: pytest.TempPathFactory, disc_writer: Callable[..., Path]) -> Path:
    """A folder with data/ and run/: a model that finds bright and dark discs and knows which images are usual."""
    from vlseg.jobs.train import train_run
    from vlseg.records import RunConfig

    root = tmp_path_factory.mktemp("page-run")
    data = disc_writer(root / "data", (24, 24, 8), 32)
    config = RunConfig(
        model="clipseg-tiny",
        model_arguments={"image_size": 32},
        data=[str(data)],
        prompt="p1",
        threads=1,
        device="cpu",
        batch_size=6,
        max_steps=24,
        learning_rate=2e-3,
    )
    train_run(config, root / "run")
    return root


@pytest.fixture(scope="session")
def served_page(page_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The run, the same with another threshold of its own ("odd"), and a folder for corrections."""
    from vlseg.evaluation import load

    root = tmp_path_factory.mktemp("served-page")
    odd = root / "odd"
    shutil.copytree(page_run / "run", odd)
    values = json.loads((odd / "run.json").read_text())
    assert values["threshold"] == 0.5
    (odd / "run.json").write_text(json.dumps({**values, "threshold": ODD}))
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(colours).save(root / "unlike.png")
    predictor = load(page_run / "run", device="cpu", threads=1)
    tests = sorted((page_run / "data" / "images").glob("test*.png"))
    usual = [path for path in tests if predictor.judge(path).state == "usual"]
    assert len(usual) >= 5
    command = [sys.executable, "-m", "vlseg", "serve", f"discs={page_run / 'run'}", str(odd), "--port", "0"]
    command += ["--corrections", str(root / "kept"), "--threads", "1", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            assert running.stdout is not None
            address = running.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            yield Served(address, page_run / "run", usual, root / "unlike.png", root / "kept")
        finally:
            running.terminate()
            running.wait(30)


@pytest.fixture(scope="module")
def page_browser() -> Iterator[Browser]:
    with browser_or_skip() as found:
        yield found


@pytest.fixture(scope="module")
def predictor(served_page: Served) -> Predictor:
    return vlseg.load(str(served_page.run), device="cpu", threads=1)


@pytest.fixture(scope="module")
def page_tab(page_browser: Browser) -> Iterator[Page]:
    with tab(page_browser) as page:
        yield page


@pytest.fixture
def shown(served_page: Served, page_tab: Page) -> Iterator[Shown]:
    with visited(page_tab, served_page.address) as found:
        yield found


@pytest.fixture
def opened(shown: Shown, served_page: Served) -> Shown:
    shown.upload(served_page.images[0])
    return shown
