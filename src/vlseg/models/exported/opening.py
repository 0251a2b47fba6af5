"""Opening a folder's graphs: early where PyTorch is still being imported, and OpenVINO's compiled ones kept.

Nothing here needs PyTorch.
"""

import hashlib
import io
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import psutil

from vlseg.models.exported.engines import openvino_core
from vlseg.models.exported.run import Model
from vlseg.records import InputError, replacing, write_text

GRAPHS = "graphs"
"""In the folder of a context that keeps a model's graphs in place of features."""
COMPILED = "graphs, compiled"
"""What a context holds that keeps them as OpenVINO compiled them."""
DIGEST_BYTES = 32
"""Before a compiled graph stands its SHA-256."""

_Key = tuple[Path, str, int, str | None]
"""Folder, what its config.json says, threads, engine."""
_early: dict[_Key, Future[Model]] = {}
_mapped: list[Any] = []
"""Compiled graphs read their weights from these for as long as they live: to be safe until the process ends."""
_saying = Lock()
_said: set[str] = set()


def cache_folder() -> Path:
    """Where graphs are kept: VLSEG_CACHE, else vlseg/engines in the user's cache."""
    named = os.environ.get("VLSEG_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlseg/engines"


def kept_at(context: Mapping[str, Any]) -> tuple[Path, str]:
    """Where what a context tells apart is kept, there already or not; and the context as it lies there."""
    text = json.dumps(context, sort_keys=True, indent=1) + "\n"
    return cache_folder() / hashlib.sha256(text.encode()).hexdigest()[:20], text


def open_early(source: str, *, threads: int | None, engine: str | None) -> None:
    """Begin to open the graphs of an exported folder in a thread, for `open_graphs` to find them open.

    Anything else is left alone, and what is wrong is told by `open_graphs`.

    Args:
        source: what is asked for a model; perhaps an exported folder.
        threads: that were asked for; None = what torch will take.
        engine: that was asked for; None = what it was exported for.
    """
    folder = Path(source)
    try:
        ours = json.loads((folder / "config.json").read_text("utf-8"))["vlseg"]
        own = ours["exported"]["engine"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(str(engine or own))
    if package is None or (folder / "run.json").exists():
        return
    try:
        import_module(package)  # here, so that no two threads import at a time
    except ImportError:
        return
    count = torch_threads(threads)
    pool = ThreadPoolExecutor(1, thread_name_prefix="open")
    _early[_key(folder, ours, count, engine)] = pool.submit(_open, folder, ours, count, engine, None)
    pool.shutdown(wait=False)


def open_graphs(folder: Path, ours: Mapping[str, Any], *, threads: int, engine: str | None, size: int | None) -> Model:
    """The graphs in a folder, checked against their digests.

    Args:
        folder: that was exported.
        ours: the part "vlseg" of its config.json.
        threads: of the processor.
        engine: "onnx" or "openvino"; None = what it was exported for.
        size: side of the square input; None = as exported.

    Raises:
        ImportError: the engine is not installed.
        ValueError: see `Model`.
    """
    early = _early.pop(_key(folder, ours, threads, engine), None) if size is None else None
    return _open(folder, ours, threads, engine, size) if early is None else early.result()


def torch_threads(asked: int | None) -> int:
    """How many threads torch will take when it is imported, as far as that is known before; those that are asked for.

    Where it takes another number, what was opened early is opened again.
    """
    named = os.environ.get("MKL_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    if asked is not None or (named.isdecimal() and int(named)):
        return asked or int(named)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def _key(folder: Path, ours: Mapping[str, Any], threads: int, engine: str | None) -> _Key:
    return folder, json.dumps(ours, sort_keys=True), threads, engine


def _open(folder: Path, ours: Mapping[str, Any], threads: int, engine: str | None, size: int | None) -> Model:
    def compiled(path: Path, settings: Mapping[str, Any]) -> Any:
        return _kept_compiled(path, ours, settings)

    return Model(folder, threads=threads, engine=engine, size=size, compiled=compiled)


def _kept_compiled(path: Path, ours: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """A graph as OpenVINO compiled it before, else compiled now and kept.

    What is kept holds the weights and is as large as the graph: without them (OpenVINO's CACHE_MODE for small files) a
    decoder came back with a wrong constant. It is checked against its digest before it is used; what is damaged is
    made anew.
    """
    core = openvino_core()
    graphs = ours["exported"]["graphs"]
    context = {
        "model": ours["model"],
        "holds": COMPILED,
        "protocol": ours["protocol"],
        "digests": {name: graph["files"] for name, graph in graphs.items()},
        "settings": dict(settings),
        "processor": [core.get_property("CPU", one) for one in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")],
        "libraries": {"openvino": version("openvino")},
    }
    place, text = kept_at(context)
    file = place / GRAPHS / f"{path.stem}.blob"
    if (blob := _whole(file)) is not None:
        try:
            compiled = core.import_model(blob, "CPU", dict(settings))
            _mapped.append(blob)
            return compiled
        except RuntimeError:  # of a build of OpenVINO that does not read it
            pass
    _say(f"compiling '{ours['model']}' for OpenVINO, once; kept in {place.parent} (vlseg cache info shows it)")
    compiled = core.compile_model(str(path), "CPU", dict(settings))
    stream = io.BytesIO()
    compiled.export_model(stream)
    try:
        write_text(place / "context.json", text)
        with replacing(file) as new:
            new.write_bytes(hashlib.sha256(stream.getbuffer()).digest() + stream.getbuffer())
    except InputError as error:
        _say(f"{error}; compiling will take as long the next time: name another folder in VLSEG_CACHE")
    return compiled


def _whole(file: Path) -> Any:
    """What is kept in a file, as a tensor over it; None where there is nothing, or not what was written."""
    try:
        mapped = np.memmap(file, np.uint8, mode="c")  # c: OpenVINO wants to be able to write, and the file stays
    except (OSError, ValueError):  # absent; empty
        return None
    if hashlib.sha256(mapped[DIGEST_BYTES:].data).digest() != mapped[:DIGEST_BYTES].tobytes():
        return None
    import openvino

    return openvino.Tensor(mapped[DIGEST_BYTES:], shared_memory=True)


def _say(line: str) -> None:
    """Once for all graphs of a model, which are opened at the same time."""
    with _saying:
        if line not in _said:
            _said.add(line)
            print(line, file=sys.stderr)
