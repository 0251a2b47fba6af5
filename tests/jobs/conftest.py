"""What tests of exports share: a small run that has learned something."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vlseg.jobs import export as exporting
from vlseg.jobs.evaluate import evaluate_on
from vlseg.jobs.scoring import EvaluateOptions
from vlseg.jobs.train import train_run
from vlseg.models import as_module
from vlseg.models.exported.write import exported_part, retell, write_exported
from vlseg.models.protocol import Segmenter
from vlseg.records import RunConfig


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, disc_writer: Callable[..., Path]) -> Path:
    """data/ and run/, which finds the discs; enough of val to judge images by; for reading only."""
    root = tmp_path_factory.mktemp("learned")
    data = disc_writer(root / "data", (24, 24, 4), 32)
    values = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(values | {"intensity": {"kind": "bits_stored", "bits": 12}}))
    config = RunConfig(
        model="clipseg-tiny",
        model_arguments={"image_size": 32},
        data=[str(data)],
        prompt="p1",
        threads=1,
        device="cpu",
        epochs=16,
        learning_rate=3e-3,
        threshold="val",
    )
    train_run(config, root / "run")
    evaluate_on(str(root / "run"), [str(data)], EvaluateOptions(threads=1, device="cpu", pictures=False))
    return root


@pytest.fixture(scope="module")
def graphs_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The graphs of one model are written once and copied then: writing them takes seconds."""
    root, known = tmp_path_factory.mktemp("graphs"), dict[str, Path]()

    def written(model: Segmenter, folder: Path, *, threshold: float | None = None) -> None:
        weights = [float(tensor.double().sum()) for tensor in as_module(model).state_dict().values()]
        key = repr((model.spec, weights))
        if key not in known:
            known[key] = root / str(len(known))
            known[key].mkdir()
            write_exported(model, known[key])
        shutil.copytree(known[key], folder, dirs_exist_ok=True)
        own = model.spec.threshold if threshold is None else threshold
        retell(folder, exported_part(folder) | {"threshold": own})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "write_exported", written)
        yield
