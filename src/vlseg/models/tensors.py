"""Weight files as plain tensors, whatever they are wrapped in, and with nothing in them executed."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from vlseg.models.manifest import published
from vlseg.models.protocol import Segmenter, as_module
from vlseg.records import InputError, from_system, read_json

UNPICKLE = ", not weights alone; load it where it was made and save its state_dict with torch.save"

SHARDED = ".index.json"
"""What the list of a sharded file is called behind the file's own name, as transformers and the hub write it."""

NOT_WEIGHTS = (
    "optim",
    "sched",
    "lr_sched",
    "scaler",
    "grad_scaler",
    "callback",
    "loop",
    "hyper",
    "rng",
    "random",
    "amp",
)
"""How the keys start under which training codes keep tensors that are no weights."""

NO_WEIGHTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself; fetch it with git lfs pull"),
    (b"<!doctype", "is a web page, not weights; its address led to a page: fetch the file itself"),
    (b"<html", "is a web page, not weights; its address led to a page: fetch the file itself"),
    (b"\x89hdf", "is an HDF5 file, which Keras writes; torch's weights are needed"),
)
"""First bytes, in lower case, of what is often found in place of weights."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a weights file under their names.

    Takes what torch.save and safetensors write, whatever the file is called; the list of a sharded file
    (`*.safetensors.index.json`, `*.bin.index.json`), whose shards lie beside it; and OpenAI's published CLIP files.
    Mappings in mappings (`state_dict`, `model`, a trainer's own) give names with a slash: `state_dict/net.conv.weight`.
    What else training codes keep (optimisers, schedules, losses, paths) is passed over. Pickles are read with
    `weights_only`: whatever they name beside tensors and plain values becomes an inert stand-in.

    Raises:
        InputError: no such file, not readable so, a pickled model or a program instead of its weights, no tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.name.endswith(SHARDED):
        return _shards(path)
    try:
        values = _values(path)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(from_system(error, str(path))) from error
    except Exception as error:  # a broken pickle raises anything
        told = " ".join(str(error).split())
        if named := re.search(r"Unsupported global: GLOBAL ([\w.]+)", told):  # torch's oldest format
            raise InputError(f"{path}: holds a pickled object ({named[1]}){UNPICKLE}") from error
        reason = (told.partition("WeightsUnpickler error: ")[2] or told or type(error).__name__)[:160]
        raise InputError(
            f"{path}: cannot be read as weights ({reason}); if another program reads it, save its state_dict alone "
            "with torch.save"
        ) from error
    if isinstance(values, StandIn):
        raise InputError(f"{path}: holds a pickled model ({values.stands_for}){UNPICKLE}")
    if not isinstance(values, Mapping):
        raise InputError(
            f"{path}: holds a value of type {type(values).__name__}, not weights by name; save the model's state_dict "
            "with torch.save"
        )
    tensors = dict(_flat(values, ""))
    if not any(tensor.ndim for tensor in tensors.values()):
        objects = [f"{key}: {value.stands_for}" for key, value in values.items() if isinstance(value, StandIn)]
        more = f", but pickled objects ({', '.join(objects[:3])}){UNPICKLE}" if objects else ""
        raise InputError(f"{path}: holds no tensors{more}")
    return tensors


def _values(path: Path) -> Any:
    """What the file holds, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(64)
    told = next((text for start, text in NO_WEIGHTS if head.lstrip().lower().startswith(start)), None)
    if told or not head:
        raise InputError(f"{path}: {told or 'is empty; fetch it again'}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return safetensors.torch.load_file(path)
    if not head.startswith(b"PK"):
        return _torch_file(path)
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: is cut short (its end is missing); fetch or copy it again")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return _scripted(path)
    if not any(name.endswith("data.pkl") for name in names):
        raise InputError(f"{path}: is an archive of other files ({names[0] if names else 'none'}, ...), not weights")
    unknown = get_unsafe_globals_in_checkpoint(path)
    with safe_globals([(_stand_in(name), name) for name in unknown]):
        return _torch_file(path)


def _torch_file(path: Path) -> Any:
    with path.open("rb") as stream:  # of a path torch judges by its name
        return torch.load(stream, map_location="cpu", weights_only=True)


def _scripted(path: Path) -> Any:
    """A TorchScript archive is a program, which runs when it is read: only those that are known by their checksum."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found not in {one.sha256 for one in published()}:
        raise InputError(f"{path}: is a TorchScript archive, which is a program{UNPICKLE}")
    return torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]


def _shards(index: Path) -> dict[str, Tensor]:
    """All tensors that the list names, each from its shard."""
    listed = read_json(index, "it lists the shards of the weights")
    places = listed.get("weight_map") if isinstance(listed, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise InputError(f"{index}: has no weight_map (tensor to file); fetch it again")
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(places.values()):
        if Path(name).name != name:
            raise InputError(f"{index}: names '{name}', which is not a file beside it")
        if not (index.parent / name).is_file():
            raise InputError(f"{index}: its shard {name} is missing; put it into {index.parent}")
        tensors |= read_tensors(index.parent / name)
    lacking = [key for key in places if key not in tensors]
    if lacking:
        raise InputError(f"{index}: {len(lacking)} listed tensors are in no shard ({', '.join(lacking[:5])})")
    return tensors


def _flat(values: Mapping[Any, Any], place: str) -> Iterator[tuple[str, Tensor]]:
    for key, value in values.items():
        if not isinstance(key, str) or (not isinstance(value, Tensor) and key.lower().startswith(NOT_WEIGHTS)):
            continue
        if isinstance(value, Tensor):
            yield f"{place}{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{place}{key}/")


class StandIn:
    """In place of any class or function that a pickle names: takes all arguments, imports and does nothing."""

    stands_for = "an object"

    def __new__(cls, *_: object, **__: object) -> Self:
        """Whatever it is made with."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forget it."""


def _stand_in(name: str) -> type[StandIn]:
    return type("StandIn", (StandIn,), {"stands_for": name})


@dataclass(frozen=True)
class Network:
    """The tensors of one network out of a file.

    Attributes:
        tensors: by the network's own names.
        prefix: what stood before each of them within its mapping, e.g. "net." or "module.".
        anchor: the name by which they were found.
    """

    tensors: dict[str, Tensor]
    prefix: str
    anchor: str


BESIDE = ("mean", "std", "pixel_mean", "pixel_std")
"""Buffers that training codes put beside a network: how its images were normalised."""

AVERAGES = frozenset({"ema", "swa", "avg", "average", "averaged", "teacher", "shadow"})
"""Where one file holds a network twice, these words name the copy that was not trained itself."""


def network_in(tensors: Mapping[str, Tensor], anchors: Sequence[str], where: str | None = None) -> Network | None:
    """The network that has one of these names, without whatever stands before them; None where there is none.

    Wrappers (`state_dict/`), Lightning's and DataParallel's prefixes (`net.`, `module.`), torch.compile's `_orig_mod.`:
    all names that start as the anchor does belong to the network. Position tables of old versions are left out.

    Args:
        tensors: of a file.
        anchors: names that the network surely has; the first one that is found decides.
        where: names the file in a warning that counts the tensors beside the network; None: there is no warning.
    """
    plain = {key.replace("_orig_mod.", ""): tensor for key, tensor in tensors.items()}
    for anchor in anchors:
        starts = [key[: -len(anchor)] for key in plain if key.replace("/", ".").endswith(anchor)]
        starts = [start for start in starts if not start or start.endswith((".", "/"))]
        if not starts:
            continue
        start = min(starts, key=lambda one: (not AVERAGES.isdisjoint(re.split(r"[./_]", one.lower())), len(one)))
        names = {key: key.removeprefix(start) for key in plain if key.startswith(start)}
        names = {key: name for key, name in names.items() if name not in BESIDE}
        if where:
            _note_unused([key for key in plain if key not in names and plain[key].ndim], where)
        kept = {name.replace("/", "."): plain[key] for key, name in names.items() if not name.endswith("position_ids")}
        return Network(kept, start.rpartition("/")[2], anchor)
    return None


def _note_unused(keys: Sequence[str], where: str) -> None:
    if not keys:
        return
    told = f"{', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
    shifted = any(key.replace("/", ".").rpartition(".")[2] in BESIDE for key in keys)
    more = "; images are normalised as the model's published code does, not by these" if shifted else ""
    warnings.warn(f"{where}: {len(keys)} tensors beside the network are not used ({told}){more}", stacklevel=4)


def find_weights(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that the folder holds, whole or as the list of its shards.

    Raises:
        InputError: none of them.
    """
    for name in names:
        for found in (folder / name, folder / f"{name}{SHARDED}"):
            if found.exists():
                return found
    raise InputError(f"{folder}: holds none of {', '.join(names)}; put the weights file there")


def model_digest(model: Segmenter) -> str:
    """Sixteen hexadecimal digits of the model's specification and of all its weights and buffers."""
    digest = hashlib.sha256(repr(model.spec).encode())
    for name, tensor in sorted(as_module(model).state_dict().items()):
        add_to_digest(digest, name, tensor)
    return digest.hexdigest()[:16]


def add_to_digest(digest: Any, name: str, tensor: Tensor) -> None:
    """Let a digest depend on a tensor: its name, type, shape and values, wherever it lies."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    if tensor.numel():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
