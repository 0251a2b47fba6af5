"""Folders from others: what config.json and the files may not do."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from exporting import ENGINES, exported, retold
from onnx import TensorProto, helper
from tiny_models import made

from vlseg.models import load_model
from vlseg.models.exported.checked import read_told
from vlseg.models.exported.run import Model
from vlseg.records import InputError


@pytest.fixture
def foreign(folder: Path, tmp_path: Path) -> Path:
    """A copy, beside a file that is nobody's business."""
    shutil.copytree(folder, tmp_path / "foreign")
    (tmp_path / "secret.onnx").write_bytes((folder / "decoder.onnx").read_bytes())
    (tmp_path / "secret.json").write_text('{"model": {"type": "BPE"}}')
    return tmp_path / "foreign"


def tell(folder: Path, *keys: str, value: Any) -> None:
    """Write one field of what config.json tells."""
    config = json.loads((folder / "config.json").read_text())
    place = config["vlseg"]["exported"]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    retold(folder, config)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "name", ["../secret.onnx", "{outside}/secret.onnx", "a/b.onnx", "..", "", "..\\secret.onnx", "C:x"]
)
def test_graphs_lie_in_the_folder_itself(foreign: Path, name: str) -> None:
    """With the right digest: it would be read, and an ensemble would copy it."""
    found = name.format(outside=foreign.parent)
    tell(foreign, "graphs", "decoder", "files", value={found: digest(foreign.parent / "secret.onnx")})
    with pytest.raises(
        InputError, match=r"config\.json: its 'graphs' is not what vlseg writes; export the model again"
    ):
        load_model(str(foreign))


SENTENCES = {"kind": "clip", "file": "tokenizer.json", "length": 77, "padding": 0}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("words",), SENTENCES | {"file": "../secret.json"}),
        (("words",), SENTENCES | {"file": "/etc/passwd"}),
        (("words",), SENTENCES | {"length": 10**12}),
        (("words",), {"kind": "beside", "parts": {"a": SENTENCES | {"file": "../secret.json"}}}),
        (("words",), {"kind": "other"}),
        (("words", "length"), 10**12),
        (("words", "first"), 1024),
        (("prepare", "size"), [10**9, 10**9]),
        (("prepare", "size"), [32]),
        (("prepare", "size"), [0, 32]),
        (("prepare", "mean"), [float("nan")] * 3),
        (("prepare", "std"), [0, 0, 0]),
        (("prepare", "fit"), "other"),
        (("engine",), "tensorrt"),
        (("threshold",), "0.5"),
        (("threshold",), 2),
        (("targets",), [1]),
        (("graphs",), {}),
        (("graphs",), []),
        (("graphs", "decoder", "inputs"), None),
        (("graphs", "decoder", "outputs"), ["other"]),
        (("graphs", "decoder", "computes"), "f64"),
        (("uses_text",), "yes"),
    ],
)
def test_what_vlseg_does_not_write_is_one_line(foreign: Path, keys: tuple[str, ...], value: Any) -> None:
    tell(foreign, *keys, value=value)
    with pytest.raises(InputError, match=rf"config\.json: its '{keys[0]}' (is|are) not .*; export the model again"):
        load_model(str(foreign))


def test_an_empty_part_and_an_absurd_size_are_one_line(foreign: Path) -> None:
    with pytest.raises(InputError, match="image_size: 1600000 is more than 8192; take 32"):
        load_model(str(foreign), arguments={"image_size": 1_600_000})
    config = json.loads((foreign / "config.json").read_text())
    for part in ({}, [], 5):
        config["vlseg"]["exported"] = part
        (foreign / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match="export the model again"):
            Model(foreign)


@pytest.mark.parametrize("name", ["clipseg-tiny", "unet", "unet-target"])
@pytest.mark.slow
def test_what_vlseg_writes_passes(tmp_path: Path, name: str) -> None:
    assert read_told(exported(made(name), tmp_path / name))["engine"] == "onnx"


def outside(path: Path) -> None:
    """A graph whose weights lie in the file above its folder."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../secret.onnx"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("pixel_values", "fine")]
    node = helper.make_node("Add", ["pixel_values", "w"], ["fine"])
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())


def narrow(path: Path) -> None:
    """A graph that opens and does not take the inputs."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [7]) for name in ("pixel_values", "fine")]
    graph = helper.make_graph([helper.make_node("Relu", ["pixel_values"], ["fine"])], "graph", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))


def encoded(folder: Path, engine: str) -> None:
    model = load_model(str(folder), arguments={"engine": engine})
    model.encode_image(model.prepare([torch.rand(3, 20, 30)]))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b"no graph"), outside, narrow], ids=["no graph", "outside", "narrow"]
)
def test_what_an_engine_refuses_is_one_line(foreign: Path, engine: str, spoil: Callable[[Path], Any]) -> None:
    """The digest is right: it is another's folder, not a broken one."""
    path = foreign / "image_encoder.onnx"
    spoil(path)
    tell(foreign, "graphs", "image_encoder", "files", value={path.name: digest(path)})
    with pytest.raises(InputError, match=rf"image_encoder\.onnx: {engine} cannot (open|compute) it") as caught:
        encoded(foreign, engine)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_is_none_is_one_line(foreign: Path) -> None:
    tell(foreign, "words", value=SENTENCES)
    tell(foreign, "beside", value={})
    for text in (None, "{", "[]", '{"model": {"type": "BPE"}}', '{"model": {"type": "Unigram"}}'):
        if text is not None:
            (foreign / "tokenizer.json").write_text(text)
        with pytest.raises(InputError, match=r"tokenizer\.json: is missing or no tokenizer.*export the model again"):
            load_model(str(foreign)).tokenize(["a polyp"])
