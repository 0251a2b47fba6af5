"""A model's graphs, exported once for an engine and kept for the next time."""

import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from vlseg.models.device import device_for
from vlseg.models.exported.opening import GRAPHS, kept_at
from vlseg.models.exported.segmenter import Exported, load_exported
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
        place, context = _place_of(model)
        kept = _opened(place, engine) if (place / GRAPHS).exists() else None
        if kept is None:
            _write(model, place, context)
    except InputError as error:
        raise InputError(f"engine: {str(error).partition('; --format')[0]}; leave --engine out") from error
    return kept or _read(place, engine)


def _read(place: Path, engine: str) -> Exported:
    return load_exported(place / GRAPHS, read_config(place / GRAPHS)["vlseg"], None, {"engine": engine})


def _opened(place: Path, engine: str) -> Exported | None:
    """What is kept there; where that is damaged it is taken away.

    Raises:
        InputError: it is damaged and cannot be taken away.
    """
    try:
        return _read(place, engine)
    except (InputError, KeyError, TypeError) as error:
        print(f"{place}: what is kept there is damaged ({error})", file=sys.stderr)
    gone = Path(_named_for_now(place))
    try:
        place.rename(gone)  # at once: another process finds all of it or nothing
    except FileNotFoundError:  # another process took it away
        return None
    except OSError as error:
        raise InputError(
            f"{place}: is damaged and cannot be removed ({error.strerror}); remove it, or name another folder in "
            "VLSEG_CACHE"
        ) from error
    shutil.rmtree(gone, ignore_errors=True)
    return None


def _place_of(model: Segmenter) -> tuple[Path, str]:
    """Where the model's graphs are kept, there already or not; and what tells them from all others'."""
    from vlseg.models.exported.write import portable_of

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
    return kept_at(context)


def _write(model: Segmenter, place: Path, context: str) -> None:
    from vlseg.models.exported.write import write_exported

    print(f"exporting '{model.spec.name}' into {place}, once; vlseg cache info shows what is kept", file=sys.stderr)
    with _appearing(place) as new:
        write_text(new / "context.json", context)
        (new / GRAPHS).mkdir()
        as_module(model).cpu().eval()
        write_exported(model, new / GRAPHS)


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """A folder that takes its name when the block ends well; several processes may write it, the first one stays."""
    new = place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_killed(place.parent)
        new = Path(_named_for_now(place))
        new.mkdir()
        yield new
        if place.exists() and not (place / GRAPHS).exists():  # a rest of it
            shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):  # another process was first
            new.rename(place)
    except OSError as error:
        raise InputError(
            f"{place.parent}: cannot be written ({error.strerror or error}); name a folder in VLSEG_CACHE"
        ) from error
    finally:
        if new != place:
            shutil.rmtree(new, ignore_errors=True)


def _named_for_now(place: Path) -> str:
    """A name beside `place` that nobody else takes, and that says whose it is."""
    return str(place.with_name(f".{place.name}.{os.getpid()}.{platform.node()}.{secrets.token_hex(4)}"))


def _remove_killed(folder: Path) -> None:
    """What processes of this machine were writing when they were killed: as large as the model."""
    for left in folder.glob(f".{'?' * 20}.*.{platform.node()}.*"):
        number = left.name.split(".")[2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
