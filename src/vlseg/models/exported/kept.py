"""A model's graphs, exported once for an engine and kept for the next time."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from vlseg.models.device import device_for
from vlseg.models.exported.segmenter import load_exported
from vlseg.models.features import GRAPHS
from vlseg.models.folder import read_config
from vlseg.models.protocol import Segmenter, as_module
from vlseg.models.tensors import model_digest
from vlseg.records import InputError, unknown_name, write_text

ENGINES = {
    "torch": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
"""What computes, and the packages beside torch that this takes."""


def cache_folder() -> Path:
    """Where graphs are kept: VLSEG_CACHE, else vlseg/engines in the user's cache."""
    named = os.environ.get("VLSEG_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlseg/engines"


def check_engine(engine: str | None, device: str, precision: str) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        InputError: an unknown engine, one whose packages are missing, or one that does not compute so.
    """
    if engine is None:
        return
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if missing := [name for name in ENGINES[engine] if find_spec(name) is None]:
        raise InputError(
            f"engine: '{engine}' needs {', '.join(missing)}, not installed here; pip install 'vlseg[export,openvino]'"
        )
    if engine != "torch":
        device_for(engine, device, precision)


def on_engine(model: Segmenter, engine: str | None) -> Segmenter:
    """The model as an engine computes it: itself, or its graphs in single precision, which are exported once and kept.

    Args:
        model: any; its digest, and what its graphs do not hold, tell which graphs are its own.
        engine: see `ENGINES`; None = the model's own.

    Raises:
        InputError: a model that cannot be exported, and why; a cache that cannot be written.
    """
    if engine is None or engine == model.spec.engine:
        return model
    try:
        place = _graphs_of(model)
    except InputError as error:
        raise InputError(f"engine: {str(error).partition('; --format')[0]}; leave --engine out") from error
    return load_exported(place, read_config(place)["vlseg"], None, {"engine": engine})


def _graphs_of(model: Segmenter) -> Path:
    """The folder with the model's graphs, written now where it is not there."""
    from vlseg.models.exported.write import portable_of, write_exported

    portable, spec = portable_of(model), model.spec
    words = {name: json.loads(one.backend_tokenizer.to_str()) for name, one in portable.tokenizers.items()}
    for one in words.values():  # how rows are cut and filled is set by every call
        one.update(truncation=None, padding=None)
    told = repr((portable.mean, portable.std, portable.fit, portable.words)) + json.dumps(words, sort_keys=True)
    context = {
        "model": spec.name,
        "holds": GRAPHS,
        "protocol": spec.protocol,
        "image_size": list(spec.image_size),
        "digest": model_digest(model),
        "preparing": hashlib.sha256(told.encode()).hexdigest(),
        "libraries": {"torch": torch.__version__, "vlseg": version("vlseg")},
    }
    text = json.dumps(context, sort_keys=True, indent=1) + "\n"
    place = cache_folder() / hashlib.sha256(text.encode()).hexdigest()[:20]
    if not (place / GRAPHS / "config.json").exists():
        print(f"exporting '{spec.name}' into {place}, once; vlseg cache info shows what is kept", file=sys.stderr)
        with _appearing(place) as new:
            write_text(new / "context.json", text)
            (new / GRAPHS).mkdir()
            as_module(model).cpu().eval()
            write_exported(model, new / GRAPHS)
    return place / GRAPHS


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """A folder that takes its name when the block ends well; several processes may write it, the first one stays."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise InputError(
            f"{place.parent}: cannot be written ({error.strerror}); name a folder in VLSEG_CACHE"
        ) from error
    try:
        yield new
        with suppress(OSError):  # another process was first
            new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
