"""Graphs with smaller weights, and as OpenVINO's files: what becomes smaller, what stays, how near the answers are."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_models import TARGETS, made

from vlseg.models.exported.engines import openvino_core
from vlseg.models.exported.lighter import _products_in_fixed_ranges, lighten, to_openvino
from vlseg.models.exported.run import Model
from vlseg.models.exported.smaller import as_bytes, as_halves, in_halves
from vlseg.models.exported.write import exported_part, write_exported
from vlseg.records import InputError

PROMPTS = ["a dark cyst at the left", ""]


class Graphs(dict[str, Path]):
    """By model a folder in single precision, written when it is asked for; for reading only."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def __missing__(self, name: str) -> Path:
        (self.root / name).mkdir()
        write_exported(made(name), self.root / name)
        self[name] = self.root / name
        return self[name]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    return Graphs(tmp_path_factory.mktemp("graphs"))


def answer(folder: Path) -> np.ndarray:
    model = Model(folder, threads=1)
    image = np.random.default_rng(0).random((50, 70, 3), np.float32)
    words = PROMPTS if model.told["uses_text"] else model.told["targets"]
    features, prompts = model.encode_image(model.prepare([image])), model.encode_prompts(model.tokenize(words))
    rows = [0] * len(words)
    return model.decode({name: one[rows] for name, one in features.items()}, prompts)["logits"]


def kinds(path: Path) -> dict[int, int]:
    """Bytes of a graph's weights by ONNX's number of their type."""
    found: dict[int, int] = {}
    for tensor in onnx.load(str(path)).graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        found[tensor.data_type] = found.get(tensor.data_type, 0) + values.nbytes
    return found


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".onnx", ".bin", ".xml"))


@pytest.mark.parametrize("name", [pytest.param("clipseg", marks=pytest.mark.slow), "clipseg-tiny", "unet"])
@pytest.mark.parametrize(("engine", "weights"), [("onnx", "fp16"), ("onnx", "int8"), ("openvino", "int8")])
def test_smaller_weights_answer_nearly_the_same(
    name: str, engine: str, weights: str, graphs: Graphs, tmp_path: Path
) -> None:
    folder = tmp_path / "lighter"
    shutil.copytree(graphs[name], folder)
    if engine == "onnx":
        lighten(folder, weights)
    else:
        to_openvino(folder, weights=weights)
    told = exported_part(folder)
    assert (told["engine"], told["weights"]) == (engine, weights)
    assert size(folder) < 0.8 * size(graphs[name])
    one, other = answer(graphs[name]), answer(folder)  # which checks the files' digests
    difference = np.abs(one - other).max() / one.std()
    assert 0 < difference < (0.02 if weights == "fp16" else 0.5)


@pytest.mark.slow
def test_openvino_in_single_precision_is_the_same(graphs: Graphs, tmp_path: Path) -> None:
    """Its writer would take halves where nothing is said."""
    folder = tmp_path / "openvino"
    shutil.copytree(graphs["clipseg"], folder)
    to_openvino(folder)
    assert not list(folder.glob("*.onnx"))
    one, other = answer(graphs["clipseg"]), answer(folder)
    assert np.abs(one - other).max() < 1e-3 * one.std()


@pytest.mark.slow
def test_what_becomes_int8(graphs: Graphs, tmp_path: Path) -> None:
    """Of transformers the products; the convolution that reads the image stays. Of convolutional networks these."""
    for name in ("clipseg", "unet"):
        shutil.copytree(graphs[name], tmp_path / name)
        lighten(tmp_path / name, "int8")
    encoder = onnx.load(str(tmp_path / "clipseg" / "image_encoder.onnx"))
    operations = [node.op_type for node in encoder.graph.node]
    assert "MatMulInteger" in operations
    (patches,) = [node for node in encoder.graph.node if node.op_type == "Conv"]
    before = {node.output[0]: node for node in encoder.graph.node}
    assert before[patches.input[1]].op_type == "Cast"  # from halves; of int8 there would be a scale
    found = kinds(tmp_path / "unet" / "image_encoder.onnx")
    assert found[onnx.TensorProto.INT8] > 4 * sum(of for kind, of in found.items() if kind != onnx.TensorProto.INT8)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_convolutional_networks_compute_in_int8_where_examples_give_the_ranges(
    engine: str, graphs: Graphs, tmp_path: Path
) -> None:
    folder = tmp_path / "unet"
    shutil.copytree(graphs["unet"], folder)
    draw = np.random.default_rng(1)
    examples = [(draw.random((40, 60, 3), np.float32), TARGETS[0]) for _ in range(4)]
    if engine == "onnx":
        lighten(folder, "int8", examples)
        nodes = [node.op_type for node in onnx.load(str(folder / "image_encoder.onnx")).graph.node]
        assert nodes.count("QuantizeLinear") > nodes.count("Conv") > 0
    else:
        to_openvino(folder, weights="int8", examples=examples)
    assert size(folder) < 0.5 * size(graphs["unet"])
    one, other = answer(graphs["unet"]), answer(folder)
    assert 0 < np.abs(one - other).mean() < 0.1 * one.std()


def test_openvino_computes_products_in_int8_where_examples_give_the_ranges(tmp_path: Path) -> None:
    """Otherwise the engine finds each input's scale itself, at each call; what is no weight's product stays."""
    path, draw = tmp_path / "graph.onnx", np.random.default_rng(0)
    weights = {name: draw.normal(size=(64, 64)).astype(np.float32) for name in ("one", "two")}
    nodes = [
        onnx.helper.make_node("MatMul", ["given", "one"], ["first"], name="first"),
        onnx.helper.make_node("MatMul", ["first", "two"], ["second"], name="second"),
        onnx.helper.make_node("MatMul", ["first", "second"], ["found"], name="found"),
    ]
    given, found = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [64, 64]) for name in ("given", "found")
    )
    tensors = [onnx.numpy_helper.from_array(one, name) for name, one in weights.items()]
    made_graph = onnx.helper.make_graph(nodes, "products", [given], [found], tensors)
    onnx.save(onnx.helper.make_model(made_graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    rows = [draw.normal(size=(64, 64)).astype(np.float32) for _ in range(4)]
    _products_in_fixed_ranges(path, [{"given": one} for one in rows])
    in_halves(path)
    compiled = openvino_core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    told = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [tuple(one[key].astype(str) for key in ("layerType", "runtimePrecision")) for one in told]
    assert sorted(one for one in kinds if one[0] in ("FullyConnected", "MatMul")) == [
        ("FullyConnected", "u8"),
        ("FullyConnected", "u8"),
        ("MatMul", "f32"),
    ]
    first = rows[0] @ weights["one"]
    truth = first @ (first @ weights["two"])
    answered = compiled({"given": rows[0]})[0]
    assert 0 < np.abs(answered - truth).mean() < 0.05 * truth.std()


def test_int8_is_off_by_half_a_step_of_its_row() -> None:
    values = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32) * np.array([1, 9, 0.1])[None, None]
    values[:, :, 1] = 0
    small, scale = as_bytes(values.astype(np.float32), axis=2)
    assert (small.dtype, scale.shape) == (np.int8, (1, 1, 3))
    again = small * scale
    assert np.abs(again - values).max(axis=(0, 1)) == pytest.approx(np.zeros(3), abs=float(scale.max()) / 2)
    assert (np.abs(again - values) <= scale / 2 + 1e-7).all()
    assert not again[:, :, 1].any()


def test_halves_do_not_become_infinite() -> None:
    small, _ = as_halves(np.array([1e9, -1e9, 1.0], np.float32))
    assert small.dtype == np.float16
    assert np.isfinite(small).all()


def test_only_single_precision_is_made_lighter(graphs: Graphs, tmp_path: Path) -> None:
    shutil.copytree(graphs["unet"], tmp_path / "unet")
    lighten(tmp_path / "unet", "fp16")
    for again in (lambda: lighten(tmp_path / "unet", "int8"), lambda: to_openvino(tmp_path / "unet")):
        with pytest.raises(InputError, match="holds onnx graphs of fp16"):
            again()
    with pytest.raises(InputError, match="holds no exported graphs"):
        lighten(_model_folder(tmp_path), "int8")


def _model_folder(root: Path) -> Path:
    made("unet").save(root / "plain")
    return root / "plain"


@pytest.mark.slow
def test_openvino_is_written_and_run_without_a_socket(graphs: Graphs, tmp_path: Path) -> None:
    """Other ways to the same files tell their maker of it."""
    shutil.copytree(graphs["unet"], tmp_path / "unet")
    program = f"""
import sys
from pathlib import Path
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith("socket.") else None)
import numpy as np
from vlseg.models.exported.lighter import to_openvino
from vlseg.models.exported.engines import openvino_core
from vlseg.models.exported.run import Model
folder = Path({str(tmp_path / "unet")!r})
to_openvino(folder, weights="int8")
model = Model(folder, threads=1)
model.segment(np.zeros((40, 40, 3), np.uint8), model.told["targets"])
print(sorted(set(seen)))
"""
    done: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
