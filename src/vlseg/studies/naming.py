"""A planned run: its name, which follows from what it is, and its identity, which is all that its result depends on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vlseg.records import InputError, RunConfig
from vlseg.records.names import file_name
from vlseg.records.protocols import OF_KIND, PROTOCOLS
from vlseg.records.study import Kind, Planned
from vlseg.studies.places import Places, contents

FEATURES = "features"
"""In a planned configuration: the study's own cache, wherever the study lies."""
RUN = "run:"
"""In a planned configuration, before a run's name: the model that it left."""
USUAL = (
    *("model", "trained_on", "prompt", "protocol", "regime", "seed", "fold", "share"),
    *("data", "asked", "condition", "split"),
)
"""Labels that every run or evaluation has; others are a part's own axes."""
BESIDE = (
    "data",
    "weights",
    "revision",
    "device",
    "threads",
    "workers",
    "feature_cache",
    "feature_limit_gib",
    "compile",
    "devices",
    "nodes",
    "trackers",
)
"""Settings of a run that give it no other name: where things lie (their content is in the identity) and on what it
runs."""


def planned_run(
    kind: Kind,
    model: str,
    labels: Mapping[str, str],
    config: Mapping[str, Any],
    places: Places,
    data: Sequence[str],
    needs: Sequence[str],
    known: Mapping[str, Planned],
) -> Planned:
    """A run with its name and identity."""
    if kind != "train" and not places.spec.pictures:
        config = {**config, "pictures": False}
    named = {
        key: value
        for key, value in config.items()
        if key not in (*BESIDE, "masks", "cache", "pictures") and _said(key, value)
    }
    beside = {key: labels[key] for key in BESIDE if key in labels}  # where they are an axis
    mark = digest([kind, model, named, list(data), list(needs), beside])[:8]
    told = [labels[key] for key in ("model", "trained_on", "prompt") if labels.get(key)]
    told += [f"{key}-{value[:20]}" for key, value in labels.items() if key not in USUAL]
    told += [
        f"{key}-{value}"
        for key, usual in (("share", "1"), ("fold", ""))
        if (value := labels.get(key, "")) not in (usual, "")
    ]
    if kind != "train":
        told += [kind, labels["data"], labels["asked"]] + (
            [c] if (c := labels.get("condition", "clean")) != "clean" else []
        )
    told += [f"s{labels['seed']}"] if labels.get("seed") else []
    name = file_name("_".join(told))
    weights = config.get("weights")
    depends = {
        "config": named | {"cached": config.get("cache") is not None or config.get("feature_cache") is not None},
        "arguments": contents(config.get("model_arguments") or {}),
        "data": places.fingerprints(data),
        "weights": places.weights(weights, config.get("revision")) if weights and not weights.startswith(RUN) else None,
        "masks": contents({"masks": config["masks"]}) if "masks" in config else None,
        "protocols": {room: PROTOCOLS[room] for room in OF_KIND[kind]},
        "needs": [known[need].identity for need in needs],
    }
    near = known[needs[0]].near if kind != "train" and needs else _near(model, config, data)
    return Planned(
        name=f"{name}-{mark}",
        kind=kind,
        labels=dict(labels),
        parts=[],
        config=dict(config),
        data={label: places.folder(label) for label in data},
        needs=list(needs),
        identity=digest(depends),
        near=near,
    )


def _said(key: str, value: Any) -> bool:
    """Whether a setting is other than usual: fields that later versions add give no run another name."""
    known = RunConfig.model_fields.get(key)
    usual = None if known is None or known.is_required() else known.get_default(call_default_factory=True)
    return bool(value != usual)


def _near(model: str, config: Mapping[str, Any], data: Sequence[str]) -> str:
    """Equal for runs that share the features of images."""
    return digest([model, config.get("weights"), config.get("model_arguments"), sorted(data)])[:8]


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of plain values; what JSON does not know counts as its text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def settings_over(options: Mapping[str, Any], level: Mapping[str, Any]) -> dict[str, Any]:
    """The options with another level of settings over them; "model_arguments.x" is one of the model's arguments."""
    merged = dict(options)
    for key, value in level.items():
        outer, dot, inner = key.partition(".")
        if outer == "model_arguments":
            given = {inner: value} if dot else value
            if not isinstance(given, Mapping):
                raise InputError(f"model_arguments: '{value}' is no mapping; write {{name: value}}")
            merged[outer] = {**merged.get(outer, {}), **given}
        else:
            merged[key] = value
    return merged
