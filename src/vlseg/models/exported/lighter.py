"""Exported graphs with smaller weights, and as OpenVINO's own files.

What was chosen was measured on CLIPSeg (ViT-B/16, 352 px, one thread of a server processor with VNNI), milliseconds of
the image encoder: ONNX Runtime 379 in single precision, 160 with int8; OpenVINO 361, 214 in bfloat16, 204 with int8
weights, 137 where examples fix the inputs' ranges, which saves ONNX Runtime nothing (161). The decoder stays as it is:
int8 there costs more of the masks than in both encoders and saves 7 ms.
"""

import contextlib
import importlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vlseg.models.exported.run import Arrays, Model, openvino_core
from vlseg.models.exported.write import exported_part, retell
from vlseg.records import InputError

Example = tuple[np.ndarray, str]
"""An image (H, W, 3) float32 in [0, 1], and a prompt or a target's name."""
WEIGHTS = ("fp32", "fp16", "int8")
SMALL = 1024
"""Tensors of fewer numbers stay: scales, shifts and the like, which weigh nothing and matter."""
DECODER_STAYS = 0.1
"""A decoder with less than this share of all bytes stays in single precision."""
FLOAT = 1
"""ONNX's number for single precision."""
PRODUCTS = {"MatMul": 1, "Gemm": 1}
"""Operations with weights, and the axis of these that the results have."""
BETWEEN = ["Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool"]
"""Operations that convolutional graphs do in int8; onnxruntime's quantizer fails on others where they read weights."""
CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}


def lighten(folder: Path, weights: str, examples: Sequence[Example] = ()) -> bool:
    """Rewrite the ONNX graphs of a folder with smaller weights.

    fp16: halves, which the engine turns into single precision as it opens the graph: half the size, the same speed.
    int8: matrix products in int8, their inputs' scale found at each call. Convolutional graphs: with examples all in
    int8, with the ranges that these reach; without, their weights alone, computed in single precision. The rest in
    halves.

    Args:
        folder: that `write_exported` wrote, in single precision.
        weights: "fp32" (nothing is done), "fp16" or "int8".
        examples: images as the model will see, best of its training, and what is asked of each.

    Returns:
        Whether a graph has the examples' ranges.

    Raises:
        InputError: graphs that are not ONNX in single precision; a package that is not installed.
    """
    told = _single(folder)
    if weights == "fp32":
        return False
    stays, ranged = _staying(folder, told), False
    fed = _fed(folder, examples) if weights == "int8" else {}
    for name, graph in told["graphs"].items():
        path = folder / graph["files"][0]
        if weights == "int8" and name not in stays:
            if _convolutional(path) and fed.get(name):
                _all_in_int8(path, fed[name])
                ranged = True
            else:
                _in_bytes(path, CONVOLUTIONS)
                _products_in_int8(path)
        _in_halves(path)
        if _ranges_of_calls(path):
            graph["alone"] = True
    retell(folder, {**told, "weights": weights})
    return ranged


def to_openvino(
    folder: Path,
    *,
    weights: str = "fp32",
    computes: Literal["f32", "bf16"] = "f32",
    examples: Sequence[Example] = (),
) -> bool:
    """Turn the ONNX graphs of a folder into OpenVINO's files (.xml and .bin), which take their place.

    Args:
        folder: that `write_exported` wrote, in single precision.
        weights: of the files; with "int8", weights of matrix products and convolutions alone.
        computes: in what the engine calculates, where the processor can.
        examples: images as the model will see and what is asked of each: with int8 the inputs' ranges are fixed by
            them, and the engine finds none at each call.

    Returns:
        As `lighten`.

    Raises:
        InputError: as `lighten`.
    """
    told = _single(folder)
    openvino = _package("openvino", "openvino")
    stays, ranged = _staying(folder, told), False
    fed = _fed(folder, examples) if weights == "int8" else {}
    graphs = {}
    for name, graph in told["graphs"].items():
        path = folder / graph["files"][0]
        if weights == "int8" and name not in stays:
            if not fed.get(name):
                _in_bytes(path, PRODUCTS | CONVOLUTIONS)
            else:
                (_all_in_int8 if _convolutional(path) else _products_in_fixed_ranges)(path, fed[name])
                ranged = True
        if weights != "fp32":
            _in_halves(path)
        files = [f"{name}.xml", f"{name}.bin"]
        network = openvino_core().read_model(str(path))
        openvino.save_model(network, str(folder / files[0]), compress_to_fp16=False)
        del network  # it holds the file
        path.unlink()
        graphs[name] = {**graph, "files": files, "computes": computes}
    retell(folder, {**told, "engine": "openvino", "weights": weights, "graphs": graphs})
    return ranged


def _single(folder: Path) -> dict[str, Any]:
    told = exported_part(folder)
    if told["engine"] != "onnx" or told["weights"] != "fp32":
        raise InputError(f"{folder}: holds {told['engine']} graphs of {told['weights']}; export it again as fp32 first")
    return {
        **told,
        "graphs": {name: {**graph, "files": list(graph["files"])} for name, graph in told["graphs"].items()},
    }


def _staying(folder: Path, told: Mapping[str, Any]) -> set[str]:
    sizes = {name: (folder / graph["files"][0]).stat().st_size for name, graph in told["graphs"].items()}
    return {"decoder"} if sizes["decoder"] < DECODER_STAYS * sum(sizes.values()) else set()


def _products_in_int8(path: Path) -> None:
    """Matrix products with fixed weights, int8 by rows of the result; inputs by their range at each call."""
    quantization = _package("onnxruntime.quantization", "export")
    with _quiet():
        quantization.quantize_dynamic(
            str(path),
            str(path),
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )


def _ranges_of_calls(path: Path) -> bool:
    """Whether scales are found at each call, over all rows that are asked together."""
    nodes = _package("onnx", "export").load(str(path)).graph.node
    return any(node.op_type == "DynamicQuantizeLinear" for node in nodes)


def _fed(folder: Path, examples: Sequence[Example]) -> dict[str, list[Arrays]]:
    """What the image encoder and the decoder are given for the examples, in single precision."""
    fed: dict[str, list[Arrays]] = {"image_encoder": [], "decoder": []}
    model = Model(folder) if examples else None
    for image, prompt in examples:
        assert model is not None
        inputs = model.prepare([image])
        features, prompts = model.encode_image(inputs), model.encode_prompts(model.tokenize([prompt]))
        fed["image_encoder"].append(inputs)
        named = {f"image.{name}": one for name, one in features.items()}
        fed["decoder"].append(named | {f"prompt.{name}": one for name, one in (prompts or {}).items()})
    return fed


def _convolutional(path: Path) -> bool:
    """Whether most of a graph's large weights are convolutions'."""
    graph = _package("onnx", "export").load(str(path)).graph
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer if _large(tensor)}
    theirs = {used for node in graph.node if node.op_type in CONVOLUTIONS for used in node.input}
    return bool(2 * sum(size for name, size in sizes.items() if name in theirs) >= sum(sizes.values()) > 0)


def _all_in_int8(path: Path, fed: Sequence[Arrays]) -> None:
    """What convolutional graphs consist of, with the ranges of its inputs over what the graph is fed."""
    _in_fixed_ranges(path, fed, op_types_to_quantize=BETWEEN)


def _products_in_fixed_ranges(path: Path, fed: Sequence[Arrays]) -> None:
    """Products with fixed weights alone; what lies between them stays in single precision."""
    graph = _package("onnx", "export").load(str(path)).graph
    fixed = {tensor.name for tensor in graph.initializer if _large(tensor)}
    chosen = [node.name for node in graph.node if node.op_type in PRODUCTS and node.input[1] in fixed]
    _in_fixed_ranges(
        path, fed, nodes_to_quantize=chosen, extra_options={"OpTypesToExcludeOutputQuantization": list(PRODUCTS)}
    )


def _in_fixed_ranges(path: Path, fed: Sequence[Arrays], **chosen: Any) -> None:
    """Operations that are `chosen`, as the quantizer takes them, with the ranges of what they get for these inputs."""
    quantization = _package("onnxruntime.quantization", "export")
    needed = {one.name for one in _package("onnx", "export").load(str(path)).graph.input}

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.left = iter(fed)

        def get_next(self) -> Arrays | None:
            arrays = next(self.left, None)
            return None if arrays is None else {name: one for name, one in arrays.items() if name in needed}

    with _quiet():
        quantization.quantize_static(
            str(path),
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
            **chosen,
        )


def _in_bytes(path: Path, axes: Mapping[str, int]) -> None:
    """Store weights of some operations as int8; `axes` names those and the axis of the weights that the results have.

    Of convolutions only where most of the graph is theirs: a lone one reads the image, costs much and weighs little.
    """
    onnx = _package("onnx", "export")
    model = onnx.load(str(path))
    found = {}
    for tensor in model.graph.initializer:
        axis = _axis(model.graph, tensor.name, len(tensor.dims), axes) if _large(tensor) else None
        if axis is not None:
            found[tensor.name] = axis
    if not _convolutional(path):
        convolved = [name for name in found if _readers(model.graph, name)[0][0].op_type in CONVOLUTIONS]
        found = {name: axis for name, axis in found.items() if name not in convolved}
    _store(model, {name: partial(_bytes, axis=axis) for name, axis in found.items()})
    onnx.save(model, str(path))


def _in_halves(path: Path) -> None:
    """Store all large tensors of single precision as halves; scales of int8 stay, by which engines know it."""
    onnx = _package("onnx", "export")
    model = onnx.load(str(path))
    scales = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input[1:]}
    smaller = [one.name for one in model.graph.initializer if _large(one) and one.name not in scales]
    _store(model, dict.fromkeys(smaller, _halves))
    onnx.save(model, str(path))


def _large(tensor: Any) -> bool:
    return bool(tensor.data_type == FLOAT) and math.prod(tensor.dims) >= SMALL


def _store(model: Any, smaller: Mapping[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]]) -> None:
    """Replace tensors by smaller ones, and lay before their use the steps that make them single precision again.

    Engines do these steps once, as they open the graph; a dequantising node would be run at every call.
    """
    onnx = _package("onnx", "export")
    graph, steps = model.graph, []
    for tensor in [one for one in graph.initializer if one.name in smaller]:
        small, scale = smaller[tensor.name](onnx.numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.append(onnx.numpy_helper.from_array(small, f"{tensor.name}.small"))
        cast = tensor.name if scale is None else f"{tensor.name}.cast"
        steps.append(onnx.helper.make_node("Cast", [f"{tensor.name}.small"], [cast], to=FLOAT))
        if scale is not None:
            graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{tensor.name}.scale"))
            steps.append(onnx.helper.make_node("Mul", [cast, f"{tensor.name}.scale"], [tensor.name]))
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _halves(values: np.ndarray) -> tuple[np.ndarray, None]:
    """Numbers beyond the range become its ends: infinity would make the mask of it."""
    limit = np.float32(np.finfo(np.float16).max)
    return values.clip(-limit, limit).astype(np.float16), None


def _bytes(values: np.ndarray, *, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Int8 and a scale for each place of the axis, even about zero."""
    others = tuple(other for other in range(values.ndim) if other != axis)
    scale = np.abs(values).max(axis=others, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.round(values / scale).astype(np.int8), scale.astype(np.float32)


def _readers(graph: Any, name: str) -> list[tuple[Any, int]]:
    return [(node, place) for node in graph.node for place, used in enumerate(node.input) if used == name]


def _axis(graph: Any, name: str, dimensions: int, axes: Mapping[str, int]) -> int | None:
    """The axis of the results among a weight's own; None where it is used otherwise."""
    found = set()
    for node, place in _readers(graph, name):
        turned = any(one.name == "transB" and one.i for one in node.attribute)
        fits = place == 1 and node.op_type in axes and (dimensions == 2 or node.op_type in CONVOLUTIONS)
        found.add((1 - axes[node.op_type] if turned else axes[node.op_type]) if fits else None)
    return found.pop() if len(found) == 1 else None


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; pip install vlseg[{extra}]") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice, which it gives the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
