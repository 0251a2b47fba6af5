"""Weights of ONNX graphs in fewer bytes: halves, and int8 with a scale for each of the results' places."""

import contextlib
import importlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.records import InputError

SMALL = 1024
"""Tensors of fewer numbers stay: scales, shifts and the like, which weigh nothing and matter."""
FLOAT = 1
"""ONNX's number for single precision."""
CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}
"""Operations that convolve, and the axis of their weights that the results have."""


def convolutional(path: Path) -> bool:
    """Whether most of a graph's large weights are convolutions'."""
    graph = package("onnx", "export").load(str(path)).graph
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer if large(tensor)}
    theirs = {used for node in graph.node if node.op_type in CONVOLUTIONS for used in node.input}
    return bool(2 * sum(size for name, size in sizes.items() if name in theirs) >= sum(sizes.values()) > 0)


def in_bytes(path: Path, axes: Mapping[str, int]) -> None:
    """Store weights of some operations as int8; `axes` names those and the axis of the weights that the results have.

    Of convolutions only where most of the graph is theirs: a lone one reads the image, costs much and weighs little.
    """
    onnx = package("onnx", "export")
    model = onnx.load(str(path))
    found = {}
    for tensor in model.graph.initializer:
        axis = _axis(model.graph, tensor.name, len(tensor.dims), axes) if large(tensor) else None
        if axis is not None:
            found[tensor.name] = axis
    if not convolutional(path):
        convolved = [name for name in found if _readers(model.graph, name)[0][0].op_type in CONVOLUTIONS]
        found = {name: axis for name, axis in found.items() if name not in convolved}
    _store(model, {name: partial(as_bytes, axis=axis) for name, axis in found.items()})
    onnx.save(model, str(path))


def in_halves(path: Path) -> None:
    """Store all large tensors of single precision as halves; scales of int8 stay, by which engines know it."""
    onnx = package("onnx", "export")
    model = onnx.load(str(path))
    scales = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.input[1:]}
    smaller = [one.name for one in model.graph.initializer if large(one) and one.name not in scales]
    _store(model, dict.fromkeys(smaller, as_halves))
    onnx.save(model, str(path))


def large(tensor: Any) -> bool:
    """Whether a tensor of a graph is of single precision and worth making smaller."""
    return bool(tensor.data_type == FLOAT) and math.prod(tensor.dims) >= SMALL


def _store(model: Any, smaller: Mapping[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]]) -> None:
    """Replace tensors by smaller ones, and lay before their use the steps that make them single precision again.

    Engines do these steps once, as they open the graph; a dequantising node would be run at every call.
    """
    onnx = package("onnx", "export")
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


def as_halves(values: np.ndarray) -> tuple[np.ndarray, None]:
    """Numbers beyond the range become its ends: infinity would make the mask of it."""
    limit = np.float32(np.finfo(np.float16).max)
    return values.clip(-limit, limit).astype(np.float16), None


def as_bytes(values: np.ndarray, *, axis: int) -> tuple[np.ndarray, np.ndarray]:
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


def package(name: str, extra: str) -> Any:
    """A package that only some need, or `InputError` with the extra of vlseg that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{error.name} is not installed; pip install vlseg[{extra}]") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without onnxruntime's advice, which it gives the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
