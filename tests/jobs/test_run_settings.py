"""A run's model written by itself (export --format hf) answers with the run's threshold and reading, everywhere."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import app_of, asking, picture, run

from vlseg.evaluation import load
from vlseg.jobs.export import export
from vlseg.jobs.export_asked import ExportOptions
from vlseg.jobs.train import train_run
from vlseg.models import build_model, load_model
from vlseg.models.exported.write import exported_part
from vlseg.models.run_settings import RunSettings, kept_settings
from vlseg.records import InputError, IntensityPolicy, RunConfig, read_record
from vlseg.serve.server import copies_of

HF = ExportOptions("hf", threads=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, disc_writer: Callable[..., Path]) -> Path:
    """data/ of 12 bits, run/ with a threshold that halves its masks, hf/ and deep.png; for reading only."""
    root = tmp_path_factory.mktemp("kept")
    data = disc_writer(root / "data", (2, 2, 2), 32)
    told = json.loads((data / "dataset.json").read_text()) | {"intensity": {"kind": "bits_stored", "bits": 12}}
    (data / "dataset.json").write_text(json.dumps(told))
    arguments = {"image_size": 32}
    config = RunConfig(model="clipseg-tiny", model_arguments=arguments, data=[str(data)], prompt="p1", max_steps=1,
                       threads=1, device="cpu", threshold=0.3)  # fmt: skip
    train_run(config, root / "run")
    deep = np.random.default_rng(0).integers(0, 4096, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(root / "deep.png")
    (asked,) = load(str(root / "run"), device="cpu").segment(root / "deep.png", ["a disc"])
    record = json.loads((root / "run" / "run.json").read_text())
    record["threshold"] = float(np.median(asked.probability))
    (root / "run" / "run.json").write_text(json.dumps(record))
    found = export(str(root / "run"), root / "hf", HF)
    assert found.problem is None
    assert not any("threshold" in note for note in found.notes)
    return root


def wanted(root: Path) -> np.ndarray:
    (asked,) = load(str(root / "run"), device="cpu").segment(root / "deep.png", ["a disc"])
    assert 0.3 < asked.mask.mean() < 0.7
    return asked.mask


def test_the_folder_keeps_them_and_the_model_alone_does_not(root: Path) -> None:
    record, found = read_record(root / "run" / "run.json"), load(str(root / "hf"), device="cpu")
    assert kept_settings(root / "hf") == RunSettings(record.threshold, IntensityPolicy("bits_stored", bits=12))
    assert (found.threshold, found.intensity) == (record.threshold, IntensityPolicy("bits_stored", bits=12))
    assert load(str(root / "hf"), device="cpu", threshold=0.9).threshold == 0.9
    assert load(str(root / "run" / "model"), device="cpu").threshold == 0.5 != record.threshold
    assert "--threshold" not in (root / "hf" / "README.md").read_text()


def test_predict_and_evaluate(root: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    asked = ("--image", root / "deep.png", "--prompt", "a disc", "--device", "cpu", "--out", tmp_path / "masks")
    assert vlseg("predict", root / "hf", *asked).code == 0
    with Image.open(tmp_path / "masks" / "deep__a-disc.png") as mask:
        assert np.array_equal(np.asarray(mask) > 0, wanted(root))
    found = []
    for name in ("run", "hf"):
        on = ("--data", root / "data", "--prompt", "p1", "--device", "cpu", "--out", tmp_path / name, "--json")
        done = vlseg("evaluate", root / name, *on)
        assert done.code == 0, done.err
        found.append((done.json["threshold"], done.json["dice"]["mean"]))
    assert found[0] == found[1]


def test_served_to_people_and_to_agents(root: Path) -> None:
    models = {"tiny": copies_of("tiny", str(root / "hf"), {"device": "cpu"})[0]}
    files = {"image": ("deep.png", (root / "deep.png").read_bytes())}

    async def posted() -> Any:
        async with asking(app_of(models)) as client:
            return await client.post("/v1/segment", files=files, data={"prompts": "a disc"})

    answer = run(posted())
    assert answer.status_code == 200, answer.text
    assert np.array_equal(picture(answer.json()["results"][0]["mask"]) > 0, wanted(root))

    pytest.importorskip("mcp_types")
    from vlseg.serve.agent_files import open_folders
    from vlseg.serve.agent_tools import SegmentArguments
    from vlseg.serve.agents import _loaded

    async def asked() -> bytes:
        tools = _loaded({"tiny": str(root / "hf")}, {"device": "cpu"}, open_folders([root], None))
        (mask,) = (await tools.segment(SegmentArguments(image=str(root / "deep.png"), prompts=["a disc"])))[1]
        return mask

    assert np.array_equal(np.asarray(Image.open(io.BytesIO(run(asked())))) > 0, wanted(root))


@pytest.mark.slow
def test_what_is_made_of_the_folder_goes_on_with_them(root: Path, tmp_path: Path) -> None:
    """Graphs, another whole folder, and an ensemble."""
    limit = read_record(root / "run" / "run.json").threshold
    export(str(root / "hf"), tmp_path / "graphs", ExportOptions("onnx", threads=1))
    told = exported_part(tmp_path / "graphs")
    assert (told["threshold"], told["intensity"]["bits"]) == (limit, 12)
    export(str(root / "hf"), tmp_path / "again", HF)
    assert kept_settings(tmp_path / "again") == kept_settings(root / "hf")
    both: Any = build_model("ensemble", arguments={"members": [str(root / "hf"), str(root / "run" / "model")]})
    assert both.thresholds == [limit, 0.5]


def test_a_bare_model_keeps_nothing(tmp_path: Path, root: Path) -> None:
    export(str(root / "run" / "model"), tmp_path / "out", HF)
    assert "run" not in json.loads((tmp_path / "out" / "config.json").read_text())["vlseg"]
    assert load(str(tmp_path / "out"), device="cpu").intensity == IntensityPolicy()


@pytest.mark.parametrize(
    "wrong",
    [
        0.5,
        {"threshold": 0.5},
        {"threshold": 7, "intensity": None},
        {"threshold": True, "intensity": None},
        {"threshold": 0.5, "intensity": {"kind": "guess"}},
        {"threshold": 0.5, "intensity": {"kind": "bits_stored"}},
        {"threshold": 0.5, "intensity": {"kind": "window", "low": 0}},
        {"threshold": 0.5, "intensity": {"depth": 3}},
        {"threshold": 0.5, "intensity": "full_range"},
    ],
)
def test_edited_by_hand_they_are_refused_in_one_line(wrong: Any, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "hf", tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    config["vlseg"]["run"] = wrong
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config\.json: its .* is not what vlseg writes there; export the run again"):
        load(str(tmp_path / "hf"), device="cpu")
    assert load_model(str(tmp_path / "hf")).spec.threshold == 0.5
