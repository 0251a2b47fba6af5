"""An exported model's graphs, checked and opened by ONNX Runtime or OpenVINO."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Graph = Callable[[Mapping[str, np.ndarray]], Arrays]
Compile = Callable[[Path, Mapping[str, Any]], Any]
"""A graph's file and OpenVINO's settings to a compiled model."""


def check_file(path: Path, digest: str) -> None:
    """Raises: ValueError: a file is missing or has another SHA-256."""
    if not path.is_file():
        raise ValueError(f"{path}: is missing; export the model again")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError(f"{path}: is not the file that was exported; export the model again")


def opened(folder: Path, told: Mapping[str, Any], engine: str, threads: int | None, compiled: Compile | None) -> Graph:
    """A graph of a folder, ready to be asked.

    Args:
        folder: holds its files.
        told: what config.json says of it.
        engine: "onnx" or "openvino".
        threads: of the processor; None = as many as the engine takes.
        compiled: how OpenVINO's graphs are compiled; None = anew, and nothing is kept.

    Raises:
        ImportError: the engine is not installed.
        ValueError: a file that is missing or changed, or that the engine cannot read; asked, what it cannot compute.
    """
    for name, digest in told["files"].items():
        check_file(folder / name, digest)
    path = folder / next(iter(told["files"]))
    if engine == "onnx" and path.suffix != ".onnx":
        raise ValueError(f"{path}: is OpenVINO's; ONNX Runtime does not read it: export with --format onnx")
    with _in_a_line(f"{path}: {engine} cannot open it"):
        graph = (
            _onnx(path, told, threads) if engine == "onnx" else _openvino(path, told, threads, compiled or _compiled)
        )

    def answered(given: Mapping[str, np.ndarray]) -> Arrays:
        with _in_a_line(f"{path}: {engine} cannot compute it"):
            return graph(given)

    return answered


@contextmanager
def _in_a_line(what: str) -> Iterator[None]:
    """Engines raise anything, of many lines."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{what} ({reason}); export the model again, or take the other engine") from error


def _onnx(path: Path, told: Mapping[str, Any], threads: int | None) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    # Whichever thread opens the graph, its numbers below the normal range count as 0, as in the threads of PyTorch.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if "pixel_values" not in told["inputs"]:
        # Threads that wait busily take the small graphs' processors from each other: twice as long on two cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(given: Mapping[str, np.ndarray]) -> Arrays:
        found = session.run(None, {name: np.ascontiguousarray(given[name]) for name in told["inputs"]})
        return dict(zip(told["outputs"], found, strict=True))

    return run


@cache
def openvino_core() -> Any:
    """OpenVINO, kept until the process ends: once unloaded it makes a segmentation fault of a Ctrl-C."""
    import openvino

    return openvino.Core()


def _compiled(path: Path, settings: Mapping[str, Any]) -> Any:
    return openvino_core().compile_model(str(path), "CPU", dict(settings))


def _openvino(path: Path, told: Mapping[str, Any], threads: int | None, compile_graph: Compile) -> Graph:
    # Numbers as exported: bfloat16 is taken where the export was checked with it.
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": told.get("computes", "f32"), "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = compile_graph(path, settings)

    def run(given: Mapping[str, np.ndarray]) -> Arrays:
        request = compiled.create_infer_request()
        found = request.infer({name: np.ascontiguousarray(given[name]) for name in told["inputs"]})
        return {name: np.array(found[number]) for number, name in enumerate(told["outputs"])}

    return run
