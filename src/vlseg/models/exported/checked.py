"""What config.json of an exported folder says, checked: such folders come from others, too.

Nothing outside the folder is named, and no size is so large that the computer stands still.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LARGEST_SIDE = 8192
"""Of an input, in pixels."""
MOST_TOKENS = 4096
MOST_BUCKETS = 2**31


def read_told(folder: Path) -> dict[str, Any]:
    """The part of config.json that tells of the graphs.

    Raises:
        ValueError: a folder of another kind, or one whose config.json says something that vlseg does not write.
    """
    path = folder / "config.json"
    try:
        told: Any = json.loads(path.read_text("utf-8"))["vlseg"]["exported"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder}: holds no model that vlseg exported; its config.json says none") from error
    if not isinstance(told, dict):
        raise ValueError(f"{path}: 'exported' is no object; export the model again")
    for name, fits in (_FIELDS | ({"beside": _files} if "beside" in told else {})).items():
        try:
            fine = fits(told[name])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            fine = False
        if not fine:
            raise ValueError(f"{path}: its '{name}' is not what vlseg writes; export the model again")
    wanted = {"image_encoder", "decoder"} | ({"prompt_encoder"} if told["words"] is not None else set())
    if set(told["graphs"]) != wanted or "logits" not in told["graphs"]["decoder"]["outputs"]:
        raise ValueError(f"{path}: its 'graphs' are not those of a model; export the model again")
    return told


def _plain(name: Any) -> bool:
    """Whether it names a file in the folder itself, on every system."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def _whole(number: Any, low: int, high: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and low <= number <= high


def _numbers(given: Any, count: int) -> bool:
    return len(given) == count and all(isinstance(one, int | float) and math.isfinite(one) for one in given)


def _texts(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(one, str) for one in given)


def _files(given: Any) -> bool:
    return all(_plain(name) and isinstance(digest, str) for name, digest in given.items())


def _graphs(given: Any) -> bool:
    return all(
        bool(graph["files"])
        and _files(graph["files"])
        and _texts(graph["inputs"])
        and _texts(graph["outputs"])
        and graph.get("computes", "f32") in ("f32", "bf16")
        for graph in given.values()
    )


def _prepare(given: Any) -> bool:
    return (
        len(given["size"]) == 2
        and all(_whole(side, 1, LARGEST_SIDE) for side in given["size"])
        and _whole(given.get("any_size", 0), 0, LARGEST_SIDE)
        and given["fit"] in ("stretch", "letterbox")
        and _numbers(given["mean"], 3)
        and _numbers(given["std"], 3)
        and all(one > 0 for one in given["std"])
    )


def _words(given: Any) -> bool:
    if given is None:
        return True
    return bool(_KINDS[given["kind"]](given))


def _sentences(given: Mapping[str, Any]) -> bool:
    length, before = given["length"], given.get("fillers", [])
    return (
        _plain(given["file"])
        and _whole(length, 2 + len(before), MOST_TOKENS)
        and all(_whole(one, 0, MOST_BUCKETS) for one in (given["padding"], *before))
    )


def _hashed(given: Mapping[str, Any]) -> bool:
    return (
        _whole(given["length"], 1, MOST_TOKENS)
        and _whole(given["first"], 0, MOST_BUCKETS)
        and _whole(given["buckets"], given["first"] + 1, MOST_BUCKETS)
        and all(_whole(given[name], 0, MOST_BUCKETS) for name in ("padding", "start"))
        and _texts(given["salts"])
        and len(given["salts"]) == 2
    )


def _beside(given: Mapping[str, Any]) -> bool:
    return bool(given["parts"]) and all(one["kind"] != "beside" and _words(one) for one in given["parts"].values())


_KINDS = {
    "clip": _sentences,
    "bert": _sentences,
    "hashed": _hashed,
    "targets": lambda given: _texts(given["targets"]),
    "beside": _beside,
}
_FIELDS = {
    "engine": lambda one: one in ("onnx", "openvino"),
    "weights": lambda one: one in ("fp32", "fp16", "int8"),
    "uses_text": lambda one: isinstance(one, bool),
    "uses_target": lambda one: isinstance(one, bool),
    "targets": _texts,
    "threshold": lambda one: _numbers([one], 1) and 0 <= one <= 1,
    "prepare": _prepare,
    "words": _words,
    "graphs": _graphs,
}
"""Of each field whether it is as vlseg writes it."""
